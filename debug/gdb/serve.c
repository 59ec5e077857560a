/*
 * Sockets of the remote stub: listening, one client, bytes in and out without ever blocking. Main
 * thread; called from session_dispatch when a descriptor is ready.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "debug/gdb/stub.h"
#include "debug/local_socket.h"
#include "vmm/base/clock.h"
#include "vmm/base/esc.h"
#include "vmm/base/log.h"
#include "vmm/base/x.h"

/* No more packets are looked at while this much is unsent: a client that asks without reading gets
 * no more memory of ours. Text printed by breakpoints is dropped then, too. */
#define UNSENT_MAX (1u << 20)
#define READ_BYTES 0x10000u

static void on_client(void *arg, unsigned events);

/* ---- sending ------------------------------------------------------------------------------------
 */

static size_t unsent(const struct gdb *g)
{
    return g->out.len - g->sent;
}

static void set_events(struct gdb *g)
{
    unsigned events = unsent(g) < UNSENT_MAX && g->unread.len < UNSENT_MAX ? EPOLLIN : 0;

    if (unsent(g))
        events |= EPOLLOUT;
    if (!events)
        events = EPOLLHUP;
    if (events != g->events)
        session_watch_fd(g->s, g->fd, events, on_client, g);
    g->events = events;
}

static void push(struct gdb *g)
{
    while (g->fd >= 0 && unsent(g)) {
        ssize_t n = send(g->fd, g->out.data + g->sent, unsent(g), MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            g->lost |= errno != EAGAIN;
            break;
        }
        g->sent += (size_t)n;
    }
    if (!unsent(g) || g->sent >= UNSENT_MAX) { /* a slow reader must not make it grow */
        buf_eat(&g->out, g->sent);
        g->sent = 0;
    }
}

/* Everything from `at` on in g->out is one frame. */
static void sent_frame(struct gdb *g, size_t at)
{
    if (!g->no_ack) {
        buf_clear(&g->last);
        buf_add(&g->last, g->out.data + at, g->out.len - at);
    }
    push(g);
    if (unsent(g))
        set_events(g);
}

void gdb_send_frame(struct gdb *g, const struct buf *frame)
{
    size_t at = g->out.len;

    if (g->fd < 0)
        return;
    buf_add(&g->out, buf_str(frame), frame->len);
    sent_frame(g, at);
}

void gdb_send(struct gdb *g, const void *body, size_t len)
{
    size_t at = g->out.len;

    if (g->fd < 0)
        return;
    if (log_wants(LOG_DEBUG, __FILE__)) {
        char text[160];

        log_debug("> %s", esc_cut(text, sizeof text, body, len));
    }
    if (len && *(const char *)body == 'O' && len > 2 && unsent(g) > UNSENT_MAX)
        return;
    packet_frame(&g->out, body, len);
    sent_frame(g, at);
}

void gdb_notify(struct gdb *g, const void *body, size_t len)
{
    if (g->fd < 0)
        return;
    packet_notify(&g->out, body, len);
    push(g);
    if (g->fd >= 0 && unsent(g))
        set_events(g);
}

/* ---- the client
 * ---------------------------------------------------------------------------------- */

/* The next one starts as if it were the first. */
static void forget_client(struct gdb *g)
{
    session_watch_fd(g->s, g->fd, 0, NULL, NULL);
    close(g->fd);
    g->fd = -1;
    log_info("%s left", g->peer ? g->peer : "the client");
    gdb_points_sync(g, true);
    gdb_ns_leave(g);
    gdb_files_close(g);
    gdb_soon_forget(g);
    cmd_client_fini(&g->cmd);
    g->cmd = (struct cmd_client){.s = g->s, .quit_status = -1};
    pthread_mutex_lock(&g->print_lock);
    buf_clear(&g->print);
    pthread_mutex_unlock(&g->print_lock);
    free(g->peer);
    g->peer = NULL;
    packet_in_fini(&g->in);
    g->in = (struct packet_in){0};
    buf_clear(&g->unread);
    buf_clear(&g->out);
    buf_clear(&g->last);
    gdb_ahead_fini(g);
    g->sent = 0;
    g->state = GDB_NOBODY;
    g->client = (struct gdb_client){0};
    g->no_ack = g->no_ack_next = g->lost = g->extended = g->phys = false;
    g->run_asked = g->stop_owed = g->moved = g->arch_told = g->over = false;
    g->non_stop = false;
    g->ns = (struct gdb_nonstop){0};
    g->thread = g->tscs = 0;
    g->run_thread = UINT32_MAX;
}

/* A session that another client keeps stopped is ours as soon as it is asked for. */
static void greet(struct gdb *g, int fd, char *peer)
{
    g->fd = fd;
    g->peer = peer;
    g->detached = g->killed = false;
    g->run_thread = UINT32_MAX;
    g->thread = session_focus(g->s);
    g->events = 0;
    set_events(g);
    log_info("%s attached", peer);
    if (session_state(g->s) == SS_RUNNING) {
        g->state = GDB_COMING;
        session_stop(g->s);
    } else {
        g->state = GDB_STOPPED;
    }
}

static void refuse(struct gdb *g, int fd)
{
    static const char sentence[] =
        "E.another debugger is attached to this guest already; `gdb status` in vmscope shows it";
    struct buf b = {0};

    packet_frame(&b, sentence, sizeof sentence - 1);
    (void)!send(fd, b.data, b.len, MSG_NOSIGNAL | MSG_DONTWAIT);
    buf_fini(&b);
    close(fd);
    log_warn("a second debugger was refused: %s is attached", g->peer);
}

static char *peer_name(int fd)
{
    struct sockaddr_storage a;
    socklen_t len = sizeof a;
    char host[INET6_ADDRSTRLEN + 1] = "?", service[16] = "?";

    if (getpeername(fd, (struct sockaddr *)&a, &len) < 0 || a.ss_family == AF_UNIX)
        return xstrdup("a debugger");
    getnameinfo((struct sockaddr *)&a, len, host, sizeof host, service, sizeof service,
                NI_NUMERICHOST | NI_NUMERICSERV);
    return xasprintf("a debugger at %s:%s", host, service);
}

static void on_listen(void *arg, unsigned events)
{
    struct gdb *g = arg;
    int one = 1, fd = accept4(g->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

    (void)events;
    if (fd < 0) {
        if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
            log_error("cannot accept a debugger: %s", strerror(errno));
        return;
    }
    if (g->fd >= 0) {
        refuse(g, fd);
        return;
    }
    if (!g->path && setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) < 0)
        log_warn("packets will be slow: %s", strerror(errno));
    greet(g, fd, peer_name(fd));
}

/* ---- receiving
 * ------------------------------------------------------------------------------------ */

static void one_event(struct gdb *g, enum packet_event ev)
{
    switch (ev) {
    case PACKET_READY:
        if (!g->no_ack)
            buf_addc(&g->out, '+');
        gdb_packet(g, buf_str(&g->in.body), g->in.body.len);
        if (g->no_ack_next)
            g->no_ack = true;
        break;
    case PACKET_BAD:
        if (!g->no_ack)
            buf_addc(&g->out, '-');
        push(g);
        break;
    case PACKET_NACK:
        if (!g->no_ack && g->last.len)
            buf_add(&g->out, g->last.data, g->last.len);
        push(g);
        break;
    case PACKET_INTERRUPT:
        gdb_interrupt(g);
        break;
    case PACKET_ACK:
    case PACKET_NONE:
        break;
    }
}

/* Between packets: sends, and closes what is over. The stub may be gone then. */
static void tidy(struct gdb *g)
{
    push(g);
    if (g->fd >= 0 && (g->lost || g->close_asked))
        forget_client(g);
    if (g->close_asked)
        gdb_close(g->s);
    else if (g->fd >= 0)
        set_events(g);
}

void gdb_feed(struct gdb *g)
{
    size_t at = 0;

    if (g->busy)
        return; /* in a stop that a packet caused: whoever is busy goes on */
    g->busy = true;
    while (g->fd >= 0 && at < g->unread.len && g->state != GDB_COMING && !g->soon &&
           !g->close_asked && !g->lost && unsent(g) < UNSENT_MAX) {
        size_t used;
        enum packet_event ev = packet_feed(&g->in, g->unread.data + at, g->unread.len - at, &used);

        at += used;
        one_event(g, ev);
    }
    buf_eat(&g->unread, at);
    g->busy = false;
    tidy(g);
}

static void read_client(struct gdb *g)
{
    char bytes[READ_BYTES];
    ssize_t n = recv(g->fd, bytes, sizeof bytes, MSG_DONTWAIT);

    if (n > 0)
        buf_add(&g->unread, bytes, (size_t)n);
    else if (n == 0 || (errno != EAGAIN && errno != EINTR))
        g->lost = true;
}

static void on_client(void *arg, unsigned events)
{
    struct gdb *g = arg;

    if (events & EPOLLOUT)
        push(g);
    if (events & EPOLLIN)
        read_client(g);
    else if (events & (EPOLLHUP | EPOLLERR))
        g->lost = true;
    gdb_feed(g); /* and what waited for room */
}

/* Text that a breakpoint's commands printed while the guest runs. */
static void on_print(void *arg, unsigned events)
{
    struct gdb *g = arg;
    uint64_t n;

    (void)events;
    if (read(g->print_fd, &n, sizeof n) < 0)
        return;
    if (g->state == GDB_WAITING) /* else it is shown with the next stop */
        gdb_flush_print(g);
}

/* ---- listening
 * ------------------------------------------------------------------------------------- */

static int listen_unix(struct gdb *g, const char *path, struct err *e)
{
    g->listen_fd = local_socket_listen("gdb", path, e);
    if (g->listen_fd < 0)
        return g->listen_fd;
    g->path = xstrdup(path);
    return 0;
}

/* "[HOST:]PORT", HOST also as [IPv6]. */
static int split(const char *where, char *host, size_t cap, const char **port, struct err *e)
{
    const char *colon = strrchr(where, ':');
    size_t len = colon ? (size_t)(colon - where) : 0;
    char *end;

    if (len && where[0] == '[' && where[len - 1] == ']') {
        where++;
        len -= 2;
    }
    if (len >= cap)
        return err_set(e, EINVAL, "cannot listen for gdb: the host's name is too long");
    if (len)
        memcpy(host, where, len);
    host[len] = 0;
    if (!len)
        memcpy(host, "127.0.0.1", 10);
    *port = colon ? colon + 1 : where;
    errno = 0;
    if (**port < '0' || **port > '9' || strtoul(*port, &end, 10) > 65535 || *end)
        return err_set(e, EINVAL,
                       "cannot listen for gdb at \"%.100s\": give [HOST:]PORT with a port of 0 to "
                       "65535, or unix:PATH",
                       where);
    return 0;
}

static bool is_loopback(const struct sockaddr *a)
{
    if (a->sa_family == AF_INET)
        return ntohl(((const struct sockaddr_in *)(const void *)a)->sin_addr.s_addr) >> 24 == 127;
    return IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)(const void *)a)->sin6_addr);
}

static int listen_tcp(struct gdb *g, const char *where, struct err *e)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *ai = NULL;
    struct sockaddr_in6 got; /* the port is at the same place for IPv4 */
    socklen_t len = sizeof got;
    const char *port = "";
    char host[256];
    int one = 1, rc;

    rc = split(where, host, sizeof host, &port, e);
    if (rc < 0)
        return rc;
    rc = getaddrinfo(host, port, &hints, &ai);
    if (rc)
        return err_set(e, EINVAL, "cannot listen for gdb at %s: %s", where, gai_strerror(rc));
    g->listen_fd = socket(ai->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (g->listen_fd < 0 ||
        setsockopt(g->listen_fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) < 0 ||
        bind(g->listen_fd, ai->ai_addr, ai->ai_addrlen) < 0 || listen(g->listen_fd, 4) < 0 ||
        getsockname(g->listen_fd, (struct sockaddr *)&got, &len) < 0)
        rc = err_set(e, errno, "cannot listen for gdb at %s:%s: %s%s", host, port, strerror(errno),
                     errno == EADDRINUSE ? "; port 0 takes a free one" : "");
    else if (!is_loopback(ai->ai_addr))
        g->open_to_all = true;
    freeaddrinfo(ai);
    if (rc == 0) {
        g->port = ntohs(got.sin6_port);
        g->where = xasprintf(strchr(host, ':') ? "[%s]:%u" : "%s:%u", host, g->port);
    }
    return rc;
}

static struct gdb *stub_new(struct session *s)
{
    struct gdb *g = xcalloc(1, sizeof *g);

    g->s = s;
    g->cmd = (struct cmd_client){.s = s, .quit_status = -1};
    g->listen_fd = g->fd = -1;
    for (unsigned i = 0; i < GDB_FILES; i++)
        g->file[i].fd = -1;
    g->print_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    g->soon_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    g->linear = true;
    g->run_thread = UINT32_MAX;
    pthread_mutex_init(&g->print_lock, NULL);
    g->sub = session_subscribe(s, EV_STOPPED | EV_RUNNING | EV_LOG, gdb_event, g);
    if (g->print_fd >= 0)
        session_watch_fd(s, g->print_fd, EPOLLIN, on_print, g);
    if (g->soon_fd >= 0)
        session_watch_fd(s, g->soon_fd, EPOLLIN, gdb_on_soon, g);
    return g;
}

int gdb_listen(struct session *s, const char *where, struct err *e)
{
    int rc;

    if (s->gdb)
        return err_set(e, EALREADY, "vmscope listens for gdb already, at %s; `gdb close` ends that",
                       s->gdb->where);
    s->gdb = stub_new(s);
    rc = strncmp(where, "unix:", 5) ? listen_tcp(s->gdb, where, e)
                                    : listen_unix(s->gdb, where + 5, e);
    if (rc == 0 && s->gdb->path)
        s->gdb->where = xstrdup(where);
    if (rc == 0)
        rc = session_watch_fd(s, s->gdb->listen_fd, EPOLLIN, on_listen, s->gdb);
    if (rc < 0) {
        if (!e->code)
            err_set(e, -rc, "cannot listen for gdb: %s", strerror(-rc));
        gdb_close(s);
        return rc;
    }
    log_info("listening for gdb at %s", s->gdb->where);
    return 0;
}

void gdb_close(struct session *s)
{
    struct gdb *g = s->gdb;

    if (!g)
        return;
    if (g->busy) { /* `monitor gdb close`: once its answer is sent */
        g->close_asked = true;
        return;
    }
    g->close_asked = false;
    if (g->fd >= 0) {
        if (g->state == GDB_WAITING && !g->non_stop)
            gdb_send(g, "X0f", 3); /* the machine goes with us */
        forget_client(g);
    }
    session_unsubscribe(s, g->sub);
    if (g->listen_fd >= 0) {
        session_watch_fd(s, g->listen_fd, 0, NULL, NULL);
        close(g->listen_fd);
    }
    if (g->path)
        unlink(g->path);
    if (g->print_fd >= 0) {
        session_watch_fd(s, g->print_fd, 0, NULL, NULL);
        close(g->print_fd);
    }
    if (g->soon_fd >= 0) {
        session_watch_fd(s, g->soon_fd, 0, NULL, NULL);
        close(g->soon_fd);
    }
    gdb_files_close(g);
    gdb_ahead_fini(g);
    packet_in_fini(&g->in);
    buf_fini(&g->unread);
    buf_fini(&g->out);
    buf_fini(&g->last);
    buf_fini(&g->reply);
    buf_fini(&g->xml);
    buf_fini(&g->map);
    buf_fini(&g->threads_xml);
    buf_fini(&g->print);
    cmd_client_fini(&g->cmd);
    pthread_mutex_destroy(&g->print_lock);
    free(g->scratch);
    free(g->point);
    free(g->where);
    free(g->path);
    free(g);
    s->gdb = NULL;
}

bool gdb_is_listening(const struct session *s)
{
    return s->gdb != NULL;
}

unsigned gdb_port(const struct session *s)
{
    return s->gdb ? s->gdb->port : 0;
}

bool gdb_holds(const struct session *s)
{
    const struct gdb *g = s->gdb;

    if (!g)
        return false;
    if (g->fd >= 0)
        return true;
    return !g->killed && !g->detached && session_state(s) != SS_ENDED;
}

bool gdb_stepped(const struct session *s)
{
    return s->gdb && s->gdb->fd >= 0 && s->gdb->stepping && s->last.kind == STOP_STEP;
}

void gdb_describe(const struct session *s, struct buf *out)
{
    const struct gdb *g = s->gdb;

    if (!g) {
        buf_adds(out, "Nobody listens for gdb; `gdb listen 1234` does.\n");
        return;
    }
    buf_addf(out, "Listening for gdb at %s.\n", g->where);
    if (g->open_to_all)
        buf_adds(out, "Warning: that port is open to the network; whoever reaches it reads and "
                      "changes the guest.\n");
    if (g->fd < 0) {
        buf_adds(out, "No debugger is attached.\n");
        return;
    }
    buf_addf(out, "%s%s is attached%s: it %s, sees the guest as %s and has %u breakpoint%s.\n",
             g->peer, "", g->client.lldb ? " (lldb)" : "",
             g->state == GDB_WAITING ? "waits for a stop" : "knows that the guest stands",
             desc_arch_name(g->arch), g->points, g->points == 1 ? "" : "s");
}
