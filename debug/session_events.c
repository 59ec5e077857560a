/*
 * What a session tells its clients: events, lines, and what the guest prints. Main thread, except
 * session_ring and session_on_console.
 */
#include "debug/session_priv.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "debug/points/catch.h"
#include "vmm/base/log.h"

/* Console output that the front end has not taken yet; past this the guest outruns us and the rest
 * is dropped and counted. */
#define CONSOLE_PENDING_MAX (16u << 20)

void session_ring(struct session *s)
{
    uint64_t one = 1;

    if (!atomic_exchange(&s->bell_rung, 1) && write(s->bell_fd, &one, sizeof one) < 0)
        log_error("cannot wake the main loop: %s", strerror(errno));
}

void session_on_console(void *arg, enum console_chan chan, const void *bytes, size_t len)
{
    struct engine *g = arg;
    struct session *s = g->session;

    if (g->points.catch_texts)
        catch_console(g, chan, bytes, len);
    pthread_mutex_lock(&s->console_lock);
    if (s->console[chan].len + len <= CONSOLE_PENDING_MAX)
        buf_add(&s->console[chan], bytes, len);
    else
        s->console_dropped += len;
    pthread_mutex_unlock(&s->console_lock);
    session_ring(s);
}

int session_subscribe(struct session *s, unsigned mask, session_fn *fn, void *arg)
{
    for (int i = 0; i < SUBSCRIBERS_MAX; i++) {
        if (!s->sub[i].fn) {
            s->sub[i].mask = mask;
            s->sub[i].fn = fn;
            s->sub[i].arg = arg;
            return i;
        }
    }
    return -ENOSPC;
}

void session_unsubscribe(struct session *s, int handle)
{
    if (handle >= 0 && handle < SUBSCRIBERS_MAX)
        s->sub[handle].fn = NULL;
}

void session_publish(struct session *s, unsigned event, const void *data)
{
    for (int i = 0; i < SUBSCRIBERS_MAX; i++)
        if (s->sub[i].fn && (s->sub[i].mask & event))
            s->sub[i].fn(s->sub[i].arg, event, data);
}

void session_changed(struct session *s)
{
    session_publish(s, EV_STATE, NULL);
}

void session_tell_line(struct session *s, const char *text)
{
    struct log_line l = {.point_id = -1, .text = text};

    session_publish(s, EV_LOG, &l);
}

void session_deliver_console(struct session *s)
{
    for (unsigned c = 0; c < CONSOLE_CHANS; c++) {
        struct buf take;

        pthread_mutex_lock(&s->console_lock);
        take = s->console[c];
        s->console[c] = (struct buf){0};
        pthread_mutex_unlock(&s->console_lock);
        if (take.len) {
            struct console_text t = {
                .chan = (enum console_chan)c, .bytes = take.data, .len = take.len};

            session_publish(s, EV_CONSOLE, &t);
        }
        buf_fini(&take);
    }
    if (s->console_dropped) {
        log_warn("%llu bytes of console output were dropped: the guest prints faster than they "
                 "can be shown",
                 (unsigned long long)s->console_dropped);
        s->console_dropped = 0;
    }
}
