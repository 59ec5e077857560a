/*
 * What the main thread waits for: the bell of the vCPUs, the descriptors of clients, and the time
 * to look at running vCPUs. Main thread.
 */
#include "debug/session_priv.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "debug/points/hooks.h"
#include "debug/trace/tracer.h"
#include "vmm/base/clock.h"
#include "vmm/base/log.h"

#define LINGER_NS 100000u

/* In epoll's data a row of client_fd is its number, above it how often it was used: what was ready
 * may be another's by the time that its turn comes. Our own descriptors are told apart from those.
 */
#define FD_BELL  UINT64_MAX
#define FD_WATCH (UINT64_MAX - 1)

int session_open_loop(struct session *s, struct err *e)
{
    struct epoll_event bell = {.events = EPOLLIN, .data.u64 = FD_BELL};
    struct epoll_event watch = {.events = EPOLLIN, .data.u64 = FD_WATCH};

    s->bell_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    s->watch_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    s->poll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (s->bell_fd < 0 || s->watch_fd < 0 || s->poll_fd < 0 ||
        epoll_ctl(s->poll_fd, EPOLL_CTL_ADD, s->bell_fd, &bell) < 0 ||
        epoll_ctl(s->poll_fd, EPOLL_CTL_ADD, s->watch_fd, &watch) < 0)
        return err_set(e, errno, "cannot make event descriptors: %s", strerror(errno));
    return 0;
}

static uint64_t fd_data(const struct session *s, int row)
{
    return (uint64_t)s->client_fd[row].uses << 32 | (uint32_t)row;
}

static int fd_row(const struct session *s, int fd)
{
    for (int i = 0; i < SESSION_FDS; i++)
        if ((s->client_fd[i].fn || s->client_fd[i].watch) && s->client_fd[i].fd == fd)
            return i;
    return -1;
}

static int fd_put(struct session *s, int fd, unsigned events, void (*fn)(void *arg, int fd),
                  session_fd_fn *watch, void *arg)
{
    int row = fd_row(s, fd), op = row < 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
    struct epoll_event ev = {.events = events};

    for (int i = 0; i < SESSION_FDS && row < 0; i++)
        if (!s->client_fd[i].fn && !s->client_fd[i].watch)
            row = i;
    if (row < 0)
        return -ENOSPC;
    s->client_fd[row].uses += op == EPOLL_CTL_ADD;
    ev.data.u64 = fd_data(s, row);
    if (epoll_ctl(s->poll_fd, op, fd, &ev) < 0)
        return -errno;
    s->client_fd[row].fd = fd;
    s->client_fd[row].fn = fn;
    s->client_fd[row].watch = watch;
    s->client_fd[row].arg = arg;
    return 0;
}

int session_watch_fd(struct session *s, int fd, unsigned events, session_fd_fn *fn, void *arg)
{
    if (events)
        return fd_put(s, fd, events, NULL, fn, arg);
    session_fd_del(s, fd);
    return 0;
}

int session_fd_add(struct session *s, int fd, void (*fn)(void *arg, int fd), void *arg)
{
    return fd_put(s, fd, EPOLLIN, fn, NULL, arg);
}

void session_fd_del(struct session *s, int fd)
{
    int row = fd_row(s, fd);

    if (row < 0)
        return;
    s->client_fd[row].fn = NULL;
    s->client_fd[row].watch = NULL;
    if (epoll_ctl(s->poll_fd, EPOLL_CTL_DEL, fd, NULL) < 0)
        log_error("cannot stop watching a descriptor: %s", strerror(errno));
}

/* One descriptor a turn: what its function does may close others that are ready, too. These are
 * still ready at the next call. */
static void client_fd(struct session *s, const struct epoll_event *ev, int n)
{
    for (int i = 0; i < n; i++) {
        uint32_t row = (uint32_t)ev[i].data.u64;

        if (row >= SESSION_FDS || ev[i].data.u64 != fd_data(s, (int)row) ||
            (!s->client_fd[row].fn && !s->client_fd[row].watch))
            continue;
        if (s->client_fd[row].fn)
            s->client_fd[row].fn(s->client_fd[row].arg, s->client_fd[row].fd);
        else
            s->client_fd[row].watch(s->client_fd[row].arg, ev[i].events);
        return;
    }
}

/* Reads `fd` when it is the one that `data` names among those that are ready. */
static bool was_ready(int fd, uint64_t data, const struct epoll_event *ev, int n)
{
    uint64_t count;

    for (int i = 0; i < n; i++)
        if (ev[i].data.u64 == data)
            return read(fd, &count, sizeof count) == sizeof count;
    return false;
}

void session_set_watch(struct session *s)
{
    struct itimerspec when = {0};
    long ns = 0;

    if (s->state == SS_RUNNING)
        ns = hooks_wanted(&s->engine) || watch_waits(&s->engine.points.watches) ||
                     atomic_load_explicit(&s->engine.spins, memory_order_relaxed)
                 ? SESSION_WATCH_FAST_NS(s)
                 : SESSION_WATCH_NS;
    if (ns == s->watch_ns)
        return;
    s->watch_ns = ns;
    when.it_value.tv_nsec = when.it_interval.tv_nsec = ns;
    if (timerfd_settime(s->watch_fd, 0, &when, NULL) < 0)
        log_error("cannot set the watch timer: %s", strerror(errno));
}

static void watch_tick(struct session *s)
{
    if (s->state != SS_RUNNING) {
        session_set_watch(s); /* a stop leaves it set: the next of many steps needs it again */
        return;
    }
    s->unlooked_ns += s->watch_ns;
    if (s->unlooked_ns >= SESSION_WATCH_NS || watch_waits(&s->engine.points.watches)) {
        atomic_store(&s->engine.points.watches.look, 1);
        s->unlooked_ns = 0;
    }
    for (unsigned i = 0; i < s->vm->cpus; i++)
        vcpu_tick(s->vm->cpu[i]);
    session_set_watch(s);
    tracer_tick(s->tracer);
}

static bool trace_news(struct session *s)
{
    uint64_t n = session_exit_count(s);
    bool news = n != s->trace_seen;

    s->trace_seen = n;
    return news;
}

/* One step is sooner done than this thread is woken. Whoever rings meanwhile is heard by the turn
 * that follows. */
static bool linger(struct session *s)
{
    if (!s->brief)
        return false;
    s->brief = false;
    if (s->state != SS_RUNNING)
        return false;
    atomic_store(&s->bell_rung, 1);
    awake_begin(&s->awake, LINGER_NS);
    while (!vm_all_parked(s->vm) && awake_on(&s->awake))
        ;
    return true;
}

static void turn(struct session *s)
{
    struct epoll_event ev[SESSION_FDS + 2];
    int n = epoll_wait(s->poll_fd, ev, SESSION_FDS + 2, 0);
    char storm[600];

    (void)was_ready(s->bell_fd, FD_BELL, ev, n);
    atomic_store(&s->bell_rung, 0); /* behind the reading: who rings between is heard below */
    session_deliver_console(s);
    session_deliver_logs(s);
    if (was_ready(s->watch_fd, FD_WATCH, ev, n))
        watch_tick(s);
    if (s->state == SS_RUNNING && vm_all_parked(s->vm))
        session_all_parked(s);
    if (trace_news(s))
        session_publish(s, EV_TRACE, NULL);
    if (tracer_storm_news(s->tracer, storm, sizeof storm))
        session_publish(s, EV_STORM, storm);
    client_fd(s, ev, n);
}

void session_dispatch(struct session *s)
{
    do
        turn(s);
    while (linger(s));
}

int session_fd(const struct session *s)
{
    return s->poll_fd;
}

bool session_wait(struct session *s, uint64_t timeout_ns, const volatile int *interrupt)
{
    struct patience patience = {0};

    for (;;) {
        uint64_t gone = patience_used(&patience, clock_ns());
        struct pollfd p = {.fd = s->poll_fd, .events = POLLIN};
        int ms = -1;

        if (s->state != SS_RUNNING)
            return true;
        if ((interrupt && *interrupt) || (timeout_ns != UINT64_MAX && gone >= timeout_ns))
            return false;
        if (timeout_ns != UINT64_MAX) {
            uint64_t left = timeout_ns - gone;

            left = left < PATIENCE_LOOK_NS ? left : PATIENCE_LOOK_NS;
            ms = (int)((left + 999999) / 1000000);
        }
        if (poll(&p, 1, ms) > 0)
            session_dispatch(s);
    }
}
