/*
 * The main thread's turn: what happened since the last one (the session's events, the guest's
 * output, time, deferred functions) is told to hooks and stories. The session calls it when the
 * bell or the timer is ready. All on the main thread but host_ring.
 */
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "scripts/lua_int.h"
#include "vmm/base/clock.h"
#include "vmm/base/log.h"

void host_ring(struct scripts *h)
{
    uint64_t one = 1;

    if (write(h->bell_fd, &one, sizeof one) < 0 && errno != EAGAIN)
        log_error("cannot wake the script host: %s", strerror(errno));
}

static int deferred_in_lua(lua_State *L)
{
    struct scripts *h = lua_touserdata(L, 1);
    unsigned n = h->deferred_count;

    lua_rawgeti(L, LUA_REGISTRYINDEX, h->deferred);
    lua_newtable(L); /* those that come meanwhile wait for the next turn */
    lua_rawseti(L, LUA_REGISTRYINDEX, h->deferred);
    h->deferred_count = 0;
    for (unsigned i = 1; i <= n; i++) {
        lua_rawgeti(L, 2, i);
        story_start(h, L, 0, "deferred", NULL);
    }
    return 0;
}

static void run_deferred(struct scripts *h)
{
    struct entry in = {.is_main = true};

    host_enter(h, &in, h->L, host_main_ns(h));
    if (h->deferred_count)
        host_protect(h, deferred_in_lua, h);
    host_flush(h);
    host_leave(&in);
}

static void quit(struct scripts *h)
{
    if (!h->quit_asked)
        return;
    h->quit_asked = false;
    h->client->quit = true;
    if (h->quit_status >= 0)
        h->client->quit_status = h->quit_status;
    session_stop(h->s);
}

static void set_timer(struct scripts *h, uint64_t at)
{
    struct itimerspec when = {0};

    if (at == h->timer_at)
        return;
    h->timer_at = at;
    if (at != UINT64_MAX)
        when.it_value = clock_timespec(at + 1); /* a time of 0 would disarm it */
    if (timerfd_settime(h->timer_fd, TFD_TIMER_ABSTIME, &when, NULL) < 0)
        log_error("cannot set the script timer: %s", strerror(errno));
}

void turn_console_lines(struct scripts *h)
{
    for (int c = 0; c < CONSOLE_CHANS; c++) {
        struct buf *b = &h->console_line[c];
        const char *end;

        while (b->len && (end = memchr(b->data, '\n', b->len))) {
            size_t n = (size_t)(end - b->data), text = n;

            while (text && b->data[text - 1] == '\r')
                text--;
            hooks_on_line(h, c, b->data, text);
            buf_eat(b, n + 1);
        }
        if (b->len > CONSOLE_KEEP)
            buf_clear(b); /* no line is that long */
    }
}

static void turn(void *arg, int fd)
{
    struct scripts *h = arg;
    uint64_t n, at, tick;

    if (fd >= 0 && read(fd, &n, sizeof n) < 0 && errno != EAGAIN)
        log_error("cannot read a descriptor of the script host: %s", strerror(errno));
    if (fd == h->timer_fd)
        h->timer_at = UINT64_MAX; /* it is over */
    turn_console_lines(h);
    if (h->reset_news) {
        h->reset_news = false;
        hooks_on_reset(h);
    }
    if (h->trace_news) {
        h->trace_news = false;
        hooks_on_trace(h);
    }
    if (h->stop_news) {
        h->stop_news = false;
        hooks_on_stop(h, session_last_stop(h->s));
    }
    run_deferred(h);
    tick = hooks_on_time(h, clock_ns());
    stories_wake(h);
    quit(h);
    at = stories_deadline(h);
    set_timer(h, at < tick ? at : tick);
}

static void keep_console(struct scripts *h, const struct console_text *t)
{
    struct console_tail *c = &h->console[t->chan];

    buf_add(&c->text, t->bytes, t->len);
    buf_add(&h->console_line[t->chan], t->bytes, t->len);
    if (c->text.len > 2 * CONSOLE_KEEP) {
        size_t cut = c->text.len - CONSOLE_KEEP;

        buf_eat(&c->text, cut);
        c->seen = c->seen > cut ? c->seen - cut : 0;
    }
}

static void on_event(void *arg, unsigned event, const void *data)
{
    struct scripts *h = arg;

    switch (event) {
    case EV_STOPPED:
        panes_on_stop(h);
        extend_on_stop(h);
        if (!h->hooks && !h->stories)
            return; /* nobody waits: steps are made by the thousand */
        h->stop_news = true;
        break;
    case EV_CONSOLE:
        keep_console(h, data);
        break;
    case EV_RESET:
        h->reset_news = true;
        break;
    case EV_TRACE:
        if (!h->cursor_set)
            return;
        h->trace_news = true;
        break;
    default:
        return;
    }
    host_ring(h);
}

void turn_now(struct scripts *h)
{
    turn(h, -1);
}

void turn_listen(struct scripts *h)
{
    h->subscription =
        session_subscribe(h->s, EV_STOPPED | EV_CONSOLE | EV_RESET | EV_TRACE, on_event, h);
}

int turn_open(struct scripts *h, struct err *e)
{
    h->bell_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    h->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (h->bell_fd < 0 || h->timer_fd < 0 || session_fd_add(h->s, h->bell_fd, turn, h) < 0 ||
        session_fd_add(h->s, h->timer_fd, turn, h) < 0)
        return err_set(e, errno ? errno : ENOSPC, "cannot make descriptors for scripts");
    return 0;
}

void turn_close(struct scripts *h)
{
    if (h->bell_fd >= 0) {
        session_fd_del(h->s, h->bell_fd);
        close(h->bell_fd);
    }
    if (h->timer_fd >= 0) {
        session_fd_del(h->s, h->timer_fd);
        close(h->timer_fd);
    }
}
