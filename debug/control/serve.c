/*
 * Sockets of the control server: listening, clients, lines in and answers out without ever
 * blocking. Main thread; called from session_dispatch when a descriptor is ready.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "debug/control/rpc.h"
#include "debug/local_socket.h"
#include "debug/session_priv.h"
#include "vmm/base/esc.h"
#include "vmm/base/log.h"
#include "vmm/base/x.h"

#define READ_BYTES 0x10000u

static void on_client(void *arg, unsigned events);

/* ---- sending ----------------------------------------------------------------------------------
 */

static size_t unsent(const struct client *cl)
{
    return cl->out.len - cl->sent;
}

static void set_events(struct client *cl)
{
    bool reads = !cl->eof && !cl->held && unsent(cl) < CONTROL_UNSENT_MAX;
    unsigned events = reads ? EPOLLIN : 0;

    if (unsent(cl))
        events |= EPOLLOUT;
    session_watch_fd(cl->c->s, cl->fd, events ? events : EPOLLHUP, on_client, cl);
}

void client_push(struct client *cl)
{
    if (cl->fd < 0 || cl->gone || (cl->corked && unsent(cl) < CONTROL_UNSENT_MAX))
        return;
    while (unsent(cl)) {
        ssize_t n = send(cl->fd, cl->out.data + cl->sent, unsent(cl), MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            cl->gone |= errno != EAGAIN;
            break;
        }
        cl->sent += (size_t)n;
    }
    if (!unsent(cl)) {
        buf_clear(&cl->out);
        cl->sent = 0;
    } else if (cl->sent > CONTROL_UNSENT_MAX) {
        buf_eat(&cl->out, cl->sent);
        cl->sent = 0;
    }
    if (cl->gone)
        control_later(cl->c);
    else
        set_events(cl);
}

/* ---- receiving --------------------------------------------------------------------------------
 */

static bool must_wait(const struct client *cl)
{
    return cl->gone || cl->held || cl->c->close_asked || unsent(cl) >= CONTROL_UNSENT_MAX;
}

/* One whole line; false when it stays where it is. */
static bool take_line(struct client *cl, char *line, size_t len)
{
    if (cl->skips) {
        cl->skips = false; /* the end of what was refused */
    } else if (len > CONTROL_LINE_MAX) {
        rpc_too_long(cl);
    } else if (!rpc_line(cl, line, len)) {
        cl->held = true;
        return false;
    }
    return true;
}

/* The lines that `in` has. */
static void take_lines(struct client *cl)
{
    size_t at = 0;

    while (!must_wait(cl) && cl->in.len > at) {
        char *line = cl->in.data + at, *end = memchr(line, '\n', cl->in.len - at);
        size_t len = end ? (size_t)(end - line) : cl->in.len - at;

        if (!end && !cl->eof)
            break;
        if (end)
            *end = 0;
        if (!take_line(cl, line, len)) {
            if (end)
                *end = '\n';
            break;
        }
        at += len + (end != NULL);
    }
    buf_eat(&cl->in, at);
    if (must_wait(cl))
        return;
    if (cl->in.len > CONTROL_LINE_MAX) {
        if (!cl->skips)
            rpc_too_long(cl);
        cl->skips = true;
        buf_clear(&cl->in);
    }
    cl->gone |= cl->eof && !cl->in.len && !cl->wait.result && !unsent(cl);
}

void client_feed(struct client *cl, const void *bytes, size_t len)
{
    buf_add(&cl->in, bytes, len);
    take_lines(cl);
}

/* The end of input is no reason to keep back answers: `printf … | nc -U` says all at once. */
static void read_client(struct client *cl)
{
    char bytes[READ_BYTES];
    ssize_t n = recv(cl->fd, bytes, sizeof bytes, MSG_DONTWAIT);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    cl->eof |= n == 0;
    cl->gone |= n < 0;
    client_feed(cl, bytes, n > 0 ? (size_t)n : 0);
}

/* ---- clients ----------------------------------------------------------------------------------
 */

void client_fini(struct client *cl)
{
    wait_fini(&cl->wait);
    filter_free(cl->filter);
    cmd_client_fini(&cl->cmd);
    buf_fini(&cl->in);
    buf_fini(&cl->out);
    free(cl->name);
}

static void close_fd(struct control *c, int fd)
{
    if (fd < 0)
        return;
    session_watch_fd(c->s, fd, 0, NULL, NULL);
    close(fd);
}

static void forget(struct control *c, unsigned i)
{
    struct client *cl = c->client[i];

    log_info("control: client %u left", cl->number);
    close_fd(c, cl->fd);
    client_fini(cl);
    free(cl);
    c->client[i] = NULL;
}

static void reap(struct control *c)
{
    for (unsigned i = 0; i < CONTROL_CLIENTS_MAX; i++)
        if (c->client[i] && c->client[i]->gone)
            forget(c, i);
}

static void on_client(void *arg, unsigned events)
{
    struct client *cl = arg;
    struct control *c = cl->c;

    if (c->busy)
        return; /* a command that waits within: its turn comes */
    if (events & EPOLLOUT)
        client_push(cl);
    if (events & EPOLLIN)
        read_client(cl);
    else if (events & (EPOLLHUP | EPOLLERR))
        cl->gone = true;
    else
        take_lines(cl); /* what waited for room */
    if (!cl->gone && cl->lost && rpc_has_room(cl))
        log_debug("control: client %u reads again", cl->number);
    client_push(cl);
    if (!c->close_asked)
        reap(c);
}

static void refuse(int fd)
{
    static const char line[] =
        "{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32006,\"message\":\"there are as "
        "many "
        "clients as vmscope takes; `control status` in vmscope shows how many\"}}\n";

    (void)!send(fd, line, sizeof line - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    close(fd);
}

static void on_listen(void *arg, unsigned events)
{
    struct control *c = arg;
    int fd = accept4(c->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    struct client *cl;
    unsigned i = 0;

    (void)events;
    if (fd < 0) {
        if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
            log_error("control: cannot accept a client: %s", strerror(errno));
        return;
    }
    while (i < CONTROL_CLIENTS_MAX && c->client[i])
        i++;
    if (i == CONTROL_CLIENTS_MAX) {
        refuse(fd);
        return;
    }
    cl = xcalloc(1, sizeof *cl);
    cl->c = c;
    cl->fd = fd;
    cl->number = ++c->numbers;
    cl->cmd = (struct cmd_client){.s = c->s, .quit_status = -1};
    if (session_watch_fd(c->s, fd, EPOLLIN, on_client, cl) < 0) {
        refuse(fd);
        free(cl);
        return;
    }
    c->client[i] = cl;
    log_info("control: client %u came", cl->number);
}

/* ---- what must wait for the end of a turn -----------------------------------------------------
 */

void control_later(struct control *c)
{
    uint64_t one = 1;

    if (c->later_fd >= 0 && write(c->later_fd, &one, sizeof one) < 0 && errno != EAGAIN)
        log_error("control: cannot wake the main loop: %s", strerror(errno));
}

/* `source FILE` of this client goes on at a stop; its answer was given long ago. */
static void run_waiting(struct client *cl)
{
    struct out o = {0};
    json_t *data;

    if (!cmd_is_waiting(&cl->cmd) || session_state(cl->c->s) == SS_RUNNING)
        return;
    (void)cmd_report_stop(&cl->cmd, &o); /* a failure is in `o`, and ends the file */
    data = json_loadb(buf_str(&o.json), o.json.len, JSON_ALLOW_NUL, NULL);
    rpc_notify(cl, "sourced",
               json_pack("{s:o, s:o, s:b}", "text", rpc_text(buf_str(&o.text), o.text.len), "data",
                         data ? data : json_object(), "failed", o.failed));
    out_fini(&o);
}

static void on_later(void *arg, unsigned events)
{
    struct control *c = arg;
    uint64_t n;

    (void)events;
    if (read(c->later_fd, &n, sizeof n) < 0 || c->busy)
        return;
    if (c->close_asked) {
        c->close_asked = false;
        control_close(c->s);
        return;
    }
    for (unsigned i = 0; i < CONTROL_CLIENTS_MAX; i++) {
        struct client *cl = c->client[i];

        if (!cl || cl->gone)
            continue;
        run_waiting(cl);
        take_lines(cl); /* what a wait held back */
        client_push(cl);
        if ((cl->tells & (TELL_TRACE | TELL_MODE)) && control_trace(cl))
            control_later(c);
    }
    reap(c);
}

static void on_timer(void *arg, unsigned events)
{
    struct control *c = arg;
    uint64_t n;

    (void)events;
    if (read(c->timer_fd, &n, sizeof n) > 0)
        control_timeouts(c);
}

/* ---- listening --------------------------------------------------------------------------------
 */

static int bind_path(struct control *c, const char *path, struct err *e)
{
    c->listen_fd = local_socket_listen("control", path, e);
    if (c->listen_fd < 0)
        return c->listen_fd;
    c->path = xstrdup(path);
    return 0;
}

static int open_fds(struct control *c, struct err *e)
{
    c->later_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    c->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    c->sub = session_subscribe(c->s,
                               EV_STOPPED | EV_RUNNING | EV_CONSOLE | EV_POINTS | EV_STATE |
                                   EV_RESET | EV_TRACE | EV_STORM,
                               control_event, c);
    if (c->later_fd < 0 || c->timer_fd < 0 || c->sub < 0 ||
        session_watch_fd(c->s, c->later_fd, EPOLLIN, on_later, c) < 0 ||
        session_watch_fd(c->s, c->timer_fd, EPOLLIN, on_timer, c) < 0 ||
        session_watch_fd(c->s, c->listen_fd, EPOLLIN, on_listen, c) < 0)
        return err_set(e, ENOSPC, "cannot listen for control: too many descriptors are in use");
    return 0;
}

int control_listen(struct session *s, const char *where, struct err *e)
{
    struct control *c;
    int rc;

    if (s->control)
        return err_set(e, EALREADY,
                       "vmscope listens for control already, at unix:%s; `control close` ends that",
                       s->control->path);
    if (strncmp(where, "unix:", 5))
        return err_set(e, EINVAL, "cannot listen for control at \"%.100s\": say unix:PATH", where);
    c = s->control = xcalloc(1, sizeof *c);
    c->s = s;
    c->listen_fd = c->later_fd = c->timer_fd = c->sub = -1;
    rc = bind_path(c, where + 5, e);
    if (rc == 0)
        rc = open_fds(c, e);
    if (rc < 0) {
        control_close(s);
        return rc;
    }
    log_info("listening for control at %s", c->path);
    return 0;
}

void control_close(struct session *s)
{
    struct control *c = s->control;

    if (!c)
        return;
    if (c->busy) {
        c->close_asked = true;
        return;
    }
    for (unsigned i = 0; i < CONTROL_CLIENTS_MAX; i++) {
        if (c->client[i]) {
            client_push(c->client[i]);
            forget(c, i);
        }
    }
    session_unsubscribe(s, c->sub);
    close_fd(c, c->listen_fd);
    close_fd(c, c->later_fd);
    close_fd(c, c->timer_fd);
    if (c->path && unlink(c->path) < 0)
        log_warn("control: cannot remove %s: %s", c->path, strerror(errno));
    free(c->path);
    free(c);
    s->control = NULL;
}

bool control_is_listening(const struct session *s)
{
    return s->control != NULL;
}

unsigned control_clients(const struct session *s)
{
    unsigned n = 0;

    for (unsigned i = 0; s->control && i < CONTROL_CLIENTS_MAX; i++)
        n += s->control->client[i] != NULL;
    return n;
}

bool control_holds(const struct session *s)
{
    return s->control && (control_clients(s) || session_state(s) != SS_ENDED);
}

void control_describe(const struct session *s, struct buf *out)
{
    const struct control *c = s->control;
    char word[120];

    if (!c) {
        buf_adds(out, "Nobody listens for control; `control listen unix:PATH` does.\n");
        return;
    }
    buf_addf(out, "Listening for control at unix:%s, clients: %u.\n",
             esc_cut(word, sizeof word, c->path, strlen(c->path)), control_clients(s));
    for (unsigned i = 0; i < CONTROL_CLIENTS_MAX; i++) {
        const struct client *cl = c->client[i];

        if (cl && cl->lost_ever)
            buf_addf(out, "Client %u%s%s: %llu notifications dropped, since it does not read.\n",
                     cl->number, cl->name ? ", " : "", cl->name ? cl->name : "",
                     (unsigned long long)cl->lost_ever);
        else if (cl)
            buf_addf(out, "Client %u%s%s.\n", cl->number, cl->name ? ", " : "",
                     cl->name ? cl->name : "");
    }
}
