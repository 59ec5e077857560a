/*
 * The session: control, state and observation of one machine. Main thread.
 */
#include "debug/session.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "debug/control/control.h"
#include "debug/engine.h"
#include "debug/expr.h"
#include "debug/fields.h"
#include "debug/gdb/gdb.h"
#include "debug/points/catch.h"
#include "debug/points/hooks.h"
#include "debug/points/watch_by.h"
#include "debug/session_priv.h"
#include "debug/stop.h"
#include "debug/symbols/sym.h"
#include "debug/trace/trace_names.h"
#include "debug/trace/tracer.h"
#include "disasm/disasm.h"
#include "vmm/base/clock.h"
#include "vmm/base/log.h"
#include "vmm/base/x.h"

/* How often running vCPUs are looked at from outside: dead and stuck ones are found, pending points
 * placed. Often while gate hooks wait for the guest to set up its IDT (hooks.h). */
#define WATCH_NS      200000000
#define WATCH_FAST_NS 2000000
#define LINGER_NS     100000u

/* Console output that the front end has not taken yet; past this the guest outruns us and the rest
 * is dropped and counted. */
#define CONSOLE_PENDING_MAX (16u << 20)

/* ---- called on vCPU threads -------------------------------------------------------------------
 */

void session_ring(struct session *s)
{
    uint64_t one = 1;

    if (!atomic_exchange(&s->bell_rung, 1) && write(s->bell_fd, &one, sizeof one) < 0)
        log_error("cannot wake the main loop: %s", strerror(errno));
}

static void on_console(void *arg, enum console_chan chan, const void *bytes, size_t len)
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

static void on_parked(void *arg, struct vcpu *v)
{
    struct engine *g = arg;

    if (vm_all_parked(v->vm))
        session_ring(g->session);
}

/* ---- opening ------------------------------------------------------------------------------------
 */

static bool symbol_text(void *arg, uint64_t addr, char *dst, size_t cap)
{
    const struct symbol *y = symbols_lookup(((struct session *)arg)->symbols, addr);

    if (!y || strlen(y->name) >= cap)
        return false;
    memcpy(dst, y->name, strlen(y->name) + 1);
    return true;
}

static bool symbol_name(void *arg, uint64_t addr, char *dst, size_t cap)
{
    return symbols_format(arg, addr, dst, cap);
}

/* In epoll's data a row of client_fd is its number, above it how often it was used: what was ready
 * may be another's by the time that its turn comes. Our own descriptors are told apart from those.
 */
#define FD_BELL  UINT64_MAX
#define FD_WATCH (UINT64_MAX - 1)

static int watch_fds(struct session *s, struct err *e)
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

/* Size and time of the file that symbols came from, to see whether it is the same at a reset. */
static void look_at_file(const char *path, struct symbol_file *f)
{
    struct stat st;

    *f = (struct symbol_file){.known = !stat(path, &st)};
    if (!f->known)
        return;
    f->ino = st.st_ino;
    f->bytes = st.st_size;
    f->mtime = st.st_mtim;
}

/* "FILE[@ADDR]"; without --symbols the image's own, whose lack is no error. Into `t`. */
static int read_symbols(struct session *s, struct symbols *t, struct symbol_file *f, struct err *e)
{
    const char *spec = s->cfg.symbols, *at = spec ? strrchr(spec, '@') : NULL;
    int64_t slide = 0, n;
    char *path, *end;

    if (!spec) {
        struct err quiet = {0};

        *f = (struct symbol_file){0};
        if (!s->vm->boot.symbols)
            return 0;
        look_at_file(s->vm->boot.symbols, f);
        if (symbols_load(t, s->vm->boot.symbols, 0, &quiet) < 0)
            log_info("no symbols: %s", quiet.msg);
        return 0;
    }
    path = xstrdup(spec);
    if (at) {
        slide = (int64_t)strtoull(at + 1, &end, 0);
        if (!at[1] || *end) {
            free(path);
            return err_set(e, EINVAL, "--symbols %s: \"%s\" is not an address", spec, at + 1);
        }
        path[at - spec] = 0;
    }
    look_at_file(path, f);
    n = symbols_load(t, path, slide, e);
    free(path);
    return n < 0 ? (int)n : 0;
}

static bool same_file(const struct symbol_file *a, const struct symbol_file *b)
{
    return a->known == b->known && a->ino == b->ino && a->bytes == b->bytes &&
           a->mtime.tv_sec == b->mtime.tv_sec && a->mtime.tv_nsec == b->mtime.tv_nsec;
}

static void tell_line(struct session *s, const char *text)
{
    struct log_line l = {.point_id = -1, .text = text};

    session_publish(s, EV_LOG, &l);
}

/* The image was loaded again: symbols of a file that was built anew since are, too. */
static void renew_symbols(struct session *s)
{
    struct symbols *probe = symbols_new();
    struct symbol_file now = {0};
    struct err e = {0};
    struct buf told = {0};
    int rc = read_symbols(s, probe, &now, &e);

    symbols_free(probe);
    if (!now.known || same_file(&now, &s->symbol_file))
        return;
    if (rc < 0 || s->symbols_chosen) {
        tell_line(s, rc < 0
                         ? "The file with the symbols has changed and cannot be read; the old ones "
                           "stay."
                         : "The file of the guest has changed; `symbol-file` reads symbols anew.");
        s->symbol_file = now;
        return;
    }
    (void)tracer_lock(s->tracer); /* its thread looks names up */
    symbols_clear(s->symbols);
    (void)read_symbols(s, s->symbols, &s->symbol_file, NULL);
    tracer_unlock(s->tracer);
    buf_adds(&told, "The file with the symbols has changed: they were read again.");
    tell_line(s, buf_str(&told));
    buf_clear(&told);
    session_points_resolve(s, &told);
    if (told.len)
        tell_line(s, (told.data[told.len - 1] = 0, buf_str(&told)));
    buf_fini(&told);
}

static void stopped_at_entry(struct session *s)
{
    struct vcpu *v = s->vm->cpu[0];

    s->state = SS_STOPPED;
    s->focus = 0;
    buf_clear(&s->commands);
    s->silent = false;
    memset(s->engine.past, 0, sizeof s->engine.past);
    memset(s->engine.judged, 0xff, sizeof s->engine.judged);
    memset(s->engine.report, 0, sizeof s->engine.report);
    for (unsigned i = 0; i < s->vm->cpus; i++)
        s->told_rip[i] = UINT64_MAX; /* a point at the entry is still to be hit */
    s->last = (struct stop_info){
        .kind = STOP_ENTRY,
        .rip = v->regs->rip,
        .cs_base = v->sregs->cs.base,
        .point_id = -1,
        .vector = -1,
    };
    stop_describe(s, &s->last, NULL);
}

int session_open(struct session **out, const struct session_config *cfg, struct err *e)
{
    struct session *s = xcalloc(1, sizeof *s);
    struct vm_config vc = {
        .mem_bytes = cfg->mem_bytes ? cfg->mem_bytes : 128ull << 20,
        .cpus = cfg->cpus ? cfg->cpus : 1,
        .cpu_features = cfg->cpu_features,
        .irqchip_kernel = cfg->irqchip_kernel,
        .slow_clock = cfg->slow_clock,
        .visible_all = cfg->visible_all,
        .boot = cfg->boot,
        .ring_records = cfg->ring_records ? cfg->ring_records : 65536,
        .arg = &s->engine,
        .body = engine_body,
        .access = engine_access,
        .console = on_console,
        .trapped = engine_trapped,
        .parked = on_parked,
    };
    int rc;

    *out = NULL;
    s->cfg = *cfg;
    s->engine.session = s;
    s->engine.assist_off = cfg->assist_off;
    s->sched = SCHED_STEP;
    s->bell_fd = s->watch_fd = s->poll_fd = -1;
    s->symbols = symbols_new();
    s->disasm = disasm_new();
    disasm_symbols(s->disasm, symbol_name, s->symbols);
    pthread_mutex_init(&s->console_lock, NULL);
    rc = watch_fds(s, e);
    if (rc == 0)
        rc = vm_open(&s->vm, &vc, e);
    if (rc == 0) {
        engine_init(&s->engine, s->vm);
        s->engine.stack_symbols = s->symbols;
        s->engine.symbol_text = symbol_text;
        s->engine.symbol_arg = s;
        s->engine.log = session_on_log;
        s->engine.log_arg = s;
        rc = read_symbols(s, s->symbols, &s->symbol_file, e);
    }
    if (rc < 0) {
        session_close(s);
        return rc;
    }
    s->tracer = tracer_new(s);
    stopped_at_entry(s);
    if ((cfg->gdb && gdb_listen(s, cfg->gdb, e) < 0) ||
        (cfg->control && control_listen(s, cfg->control, e) < 0)) {
        session_close(s);
        return -e->code;
    }
    *out = s;
    return 0;
}

void session_close(struct session *s)
{
    if (!s)
        return;
    gdb_close(s);
    control_close(s);
    if (s->vm) {
        vm_park(s->vm);
        tracer_free(s->tracer);
        engine_fini(&s->engine);
        vm_close(s->vm);
    }
    for (unsigned i = 0; i < CONSOLE_CHANS; i++)
        buf_fini(&s->console[i]);
    buf_fini(&s->logs);
    buf_fini(&s->commands);
    symbols_free(s->symbols);
    disasm_free(s->disasm);
    disasm_free(s->step_disasm);
    if (s->kernel_ring_on)
        ring_fini(&s->kernel_ring);
    if (s->bell_fd >= 0)
        close(s->bell_fd);
    if (s->watch_fd >= 0)
        close(s->watch_fd);
    if (s->poll_fd >= 0)
        close(s->poll_fd);
    pthread_mutex_destroy(&s->console_lock);
    free(s);
}

const struct session_config *session_cfg(const struct session *s)
{
    return &s->cfg;
}

const struct boot_state *session_boot(const struct session *s)
{
    return &s->vm->boot;
}

struct vm *session_vm(struct session *s)
{
    return s->vm;
}

struct tracer *session_tracer(struct session *s)
{
    return s->tracer;
}

void session_set_exit_text(struct session *s,
                           bool (*fn)(void *arg, const struct exit_event *ev, struct buf *out),
                           void *arg)
{
    s->live = (struct names_live){.what = fn, .arg = arg, .symbols = s->symbols};
    tracer_set_live(s->tracer, &s->live);
}

bool session_exit_text(struct session *s, const struct exit_event *ev, struct buf *out)
{
    return s->live.what && s->live.what(s->live.arg, ev, out);
}

void session_changed(struct session *s)
{
    session_publish(s, EV_STATE, NULL);
}

struct symbols *session_symbols(struct session *s)
{
    return s->symbols;
}

struct disasm *session_disasm(struct session *s)
{
    return s->disasm;
}

/* ---- events
 * -------------------------------------------------------------------------------------- */

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

static void deliver_console(struct session *s)
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

/* ---- running and stopping
 * -------------------------------------------------------------------------- */

void session_set_watch(struct session *s)
{
    struct itimerspec when = {0};
    long ns = 0;

    if (s->state == SS_RUNNING)
        ns = hooks_wanted(&s->engine) || watch_waits(&s->engine.points.watches) ? WATCH_FAST_NS
                                                                                : WATCH_NS;
    if (ns == s->watch_ns)
        return;
    s->watch_ns = ns;
    when.it_value.tv_nsec = when.it_interval.tv_nsec = ns;
    if (timerfd_settime(s->watch_fd, 0, &when, NULL) < 0)
        log_error("cannot set the watch timer: %s", strerror(errno));
}

/* Is a report that was not told yet still worth telling? */
static bool still_counts(const struct session *s, const struct stop_info *si)
{
    const struct bp *b = points_get(&s->engine.points, si->point_id);

    return b && b->pub.enabled && !b->pub.spec.hidden;
}

/* The stop that counts: the earliest reason of a vCPU that ran; none at all means that somebody
 * asked. Reports that were overtaken wait for the next run. */
static struct stop_report *first_report(struct session *s)
{
    struct stop_report *first = NULL;

    for (unsigned i = 0; i < s->vm->cpus; i++) {
        struct stop_report *r = &s->engine.report[i];

        if (r->present && r->late && !still_counts(s, &r->info))
            r->present = false;
        if (r->present && (s->run_mask >> i & 1) && (!first || r->at_ns < first->at_ns))
            first = r;
    }
    return first;
}

void session_launch(struct session *s, uint32_t mask)
{
    for (unsigned i = 0; i < s->vm->cpus; i++) {
        const struct vcpu *v = s->vm->cpu[i];

        s->cpu[i].have = 0;
        if (!(mask >> i & 1))
            continue;
        /* Whoever goes on from an instruction at which its stop was shown passes the points there;
         * a vCPU that merely came to stand at one has still to report it. */
        s->engine.past[i] |= s->told_rip[i] == v->sregs->cs.base + v->regs->rip &&
                             s->engine.judged[i] == s->told_rip[i];
        s->told_rip[i] = UINT64_MAX;
    }
    s->run_mask = mask;
    points_refresh(&s->engine.points);
    watch_resync(&s->engine.points.watches);
    s->state = SS_RUNNING;
    s->user_stop = false;
    session_set_watch(s);
    if (first_report(s)) {
        session_ring(s); /* another vCPU hit something at the same time: that is told first */
        return;
    }
    tracer_launched(s->tracer);
    vm_run(s->vm, mask);
}

static int must_be_stopped(const struct session *s, struct err *e)
{
    if (s->state == SS_RUNNING)
        return err_set(e, EBUSY, "the guest is running; stop it first (Ctrl-C or `stop`)");
    return 0;
}

int session_can_run(const struct session *s, struct err *e)
{
    if (s->state == SS_ENDED)
        return err_set(e, ESRCH, "the guest has ended; `run` starts it again from its entry");
    return must_be_stopped(s, e);
}

int session_run(struct session *s, struct err *e)
{
    int rc = session_can_run(s, e);

    if (rc < 0)
        return rc;
    s->over_left = 0;
    session_launch_all(s);
    session_publish(s, EV_RUNNING, NULL);
    return 0;
}

int session_stop(struct session *s)
{
    if (s->state != SS_RUNNING)
        return 0;
    s->user_stop = true;
    s->over_left = 0;
    vm_park_ask(s->vm);
    return 0;
}

static bool ends_guest(enum stop_kind k)
{
    return k == STOP_POWER_OFF || k == STOP_DEBUG_EXIT || k == STOP_HALTED ||
           k == STOP_TRIPLE_FAULT;
}

static bool resets(const struct session *s, enum stop_kind k)
{
    return (k == STOP_RESET && s->cfg.on_reset == ON_RESET_RESET) ||
           (k == STOP_TRIPLE_FAULT && s->cfg.on_triple_fault == ON_TRIPLE_RESET);
}

static void publish_stop(struct session *s, struct stop_info si, const struct exit_event *ev)
{
    const struct vcpu *v;

    s->focus = si.vcpu;
    v = s->vm->cpu[si.vcpu];
    si.rip = v->regs->rip;
    si.cs_base = v->sregs->cs.base;
    si.steps = s->engine.job[si.vcpu].made;
    s->state = ends_guest(si.kind) ? SS_ENDED : SS_STOPPED;
    if (si.kind == STOP_WATCHPOINT)
        watch_find_by(s, &si);
    stop_describe(s, &si, ev);
    s->last = si;
    s->told_rip[si.vcpu] = si.cs_base + si.rip;
    for (unsigned i = 0; i < s->vm->cpus; i++)
        s->engine.report[i].late = s->engine.report[i].present;
    tracer_stopped(s->tracer, si.kind, si.point_id);
    session_points_told(s, si.vcpu);
    deliver_console(s);
    session_deliver_logs(s);
    session_publish(s, EV_STOPPED, &s->last);
}

/* The first, and then each tenth power: a boot loop is told without drowning what it prints. */
static void tell_resets(struct session *s)
{
    uint64_t n = s->resets;
    char text[200];

    while (n % 10 == 0)
        n /= 10;
    if (n != 1)
        return;
    if (s->resets == 1)
        snprintf(text, sizeof text, "The guest resets itself.");
    else
        snprintf(text, sizeof text,
                 "The guest has reset itself %llu times: a boot loop? `catch reset` and "
                 "--on-triple-fault stop show where.",
                 (unsigned long long)s->resets);
    tell_line(s, text);
}

uint64_t session_resets(const struct session *s)
{
    return s->resets;
}

static void reset_and_go(struct session *s)
{
    struct err e = {0};

    s->state = SS_STOPPED;
    s->resets++;
    tell_resets(s);
    if (session_reset_quiet(s, &e) < 0 || session_run(s, &e) < 0) {
        struct stop_info si = {.kind = STOP_HOST_ERROR, .point_id = -1, .vector = -1};

        snprintf(si.text, sizeof si.text, "the reset failed: %.300s", e.msg);
        publish_stop(s, si, NULL);
    }
}

static void all_parked(struct session *s)
{
    struct stop_report *r = first_report(s);
    struct stop_info si = {.kind = STOP_USER, .vcpu = s->focus, .point_id = -1, .vector = -1};

    vm_park(s->vm);
    points_reassert(&s->engine.points); /* views of memory show what the guest has written */
    if (r) {
        si = r->info;
        r->present = false;
    }
    if (r && si.point_id < 0 && resets(s, si.kind)) {
        reset_and_go(s);
        return;
    }
    if (s->over_left && (si.kind == STOP_STEP || si.kind == STOP_TEMPORARY) && --s->over_left) {
        const struct vcpu *v = s->vm->cpu[si.vcpu];

        /* Nobody is shown this stop, but the points here were asked. */
        s->told_rip[si.vcpu] = v->sregs->cs.base + v->regs->rip;
        points_drop_hidden(&s->engine.points);
        session_over_once(s, si.vcpu);
        return;
    }
    if (!r && !s->user_stop) {
        vm_run(s->vm, s->run_mask); /* nobody asked: a stray park */
        return;
    }
    publish_stop(s, si, r ? &r->ev : NULL);
}

static void watch_tick(struct session *s)
{
    if (s->state != SS_RUNNING) {
        session_set_watch(s); /* a stop leaves it set: the next of many steps needs it again */
        return;
    }
    for (unsigned i = 0; i < s->vm->cpus; i++)
        vcpu_kick(s->vm->cpu[i]);
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
    deliver_console(s);
    session_deliver_logs(s);
    if (was_ready(s->watch_fd, FD_WATCH, ev, n))
        watch_tick(s);
    if (s->state == SS_RUNNING && vm_all_parked(s->vm))
        all_parked(s);
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

bool session_is_held(const struct session *s)
{
    return gdb_holds(s) || control_holds(s);
}

bool session_stepped_from_outside(const struct session *s)
{
    return gdb_stepped(s);
}

void session_quit(struct session *s, int status)
{
    s->quit_asked = true;
    s->quit_status = status;
}

bool session_quit_asked(const struct session *s, int *status)
{
    if (status && s->quit_asked)
        *status = s->quit_status;
    return s->quit_asked;
}

void session_set_scripts(struct session *s, const struct cmd_scripts *scripts)
{
    s->scripts = scripts;
}

const struct cmd_scripts *session_scripts(const struct session *s)
{
    return s->scripts;
}

int session_fd(const struct session *s)
{
    return s->poll_fd;
}

bool session_wait(struct session *s, uint64_t timeout_ns, const volatile int *interrupt)
{
    uint64_t start = clock_ns();

    for (;;) {
        uint64_t gone = clock_ns() - start;
        struct pollfd p = {.fd = s->poll_fd, .events = POLLIN};
        int ms = -1;

        if (s->state != SS_RUNNING)
            return true;
        if ((interrupt && *interrupt) || (timeout_ns != UINT64_MAX && gone >= timeout_ns))
            return false;
        if (timeout_ns != UINT64_MAX) {
            uint64_t left = (timeout_ns - gone + 999999) / 1000000;

            ms = left > 60000 ? 60000 : (int)left;
        }
        if (poll(&p, 1, ms) > 0)
            session_dispatch(s);
    }
}

/* ---- small state
 * ---------------------------------------------------------------------------------- */

enum session_state session_state(const struct session *s)
{
    return s->state;
}

const struct stop_info *session_last_stop(const struct session *s)
{
    return &s->last;
}

unsigned session_cpus(const struct session *s)
{
    return s->vm->cpus;
}

unsigned session_focus(const struct session *s)
{
    return s->focus;
}

int session_set_focus(struct session *s, unsigned vcpu, struct err *e)
{
    if (vcpu >= s->vm->cpus)
        return err_set(e, EINVAL, "there is no vCPU %u: this machine has %u (0 to %u)", vcpu,
                       s->vm->cpus, s->vm->cpus - 1);
    s->focus = vcpu;
    session_publish(s, EV_STATE, NULL);
    return 0;
}

const char *session_cpu_status(const struct session *s, unsigned vcpu)
{
    return vcpu < s->vm->cpus ? vcpu_status(s->vm->cpu[vcpu]) : "absent";
}

void session_set_step_irq(struct session *s, bool on)
{
    s->engine.step_irq = on;
}

bool session_step_irq(const struct session *s)
{
    return s->engine.step_irq;
}

void session_set_sched_lock(struct session *s, enum sched_lock v)
{
    s->sched = v;
}

enum sched_lock session_sched_lock(const struct session *s)
{
    return s->sched;
}

int session_reset_quiet(struct session *s, struct err *e)
{
    int rc;

    hooks_forget(&s->engine);
    rc = vm_reset(s->vm, e);
    for (unsigned i = 0; i < s->vm->cpus; i++)
        s->cpu[i].have = 0;
    points_replant(&s->engine.points);
    if (rc == 0)
        renew_symbols(s);
    session_publish(s, EV_RESET, NULL);
    return rc;
}

int session_reset(struct session *s, struct err *e)
{
    int rc = must_be_stopped(s, e);

    if (rc < 0)
        return rc;
    rc = session_reset_quiet(s, e);
    if (rc < 0)
        return rc;
    stopped_at_entry(s);
    session_publish(s, EV_STOPPED, &s->last);
    return 0;
}

/* ---- console and devices
 * ------------------------------------------------------------------------------ */

size_t session_input(struct session *s, enum door_input in, const void *bytes, size_t len)
{
    return vm_input(s->vm, in, bytes, len);
}

const char *session_device_name(struct session *s, unsigned i)
{
    return i < s->vm->m.devs ? s->vm->m.dev[i].ops->name : NULL;
}

int session_device_describe(struct session *s, const char *name, struct buf *out)
{
    struct dev *d;

    pthread_mutex_lock(&s->vm->m.lock);
    d = machine_dev(&s->vm->m, name);
    if (d)
        dev_describe(d, out);
    pthread_mutex_unlock(&s->vm->m.lock);
    return d ? 0 : -ENOENT;
}

const char *session_reg_name(struct session *s, const struct exit_event *ev)
{
    struct machine *m = &s->vm->m;
    const char *name = NULL;
    struct dev *d = NULL;
    uint64_t off = 0;
    bool write = false;

    if (ev->reason == EXIT_ASSIST)
        return names_assisted(ev, s->insn_text, sizeof s->insn_text);
    if (ev->reason == EXIT_DEVICE)
        return ev->u.device.id < m->devs ? m->dev[ev->u.device.id].ops->name : NULL;
    if (ev->reason == KVM_EXIT_IO) {
        d = bus_port_dev(m, ev->u.io.port); /* the port map does not change while it runs */
        off = ev->u.io.port;
        write = ev->u.io.write;
    } else if (ev->reason == KVM_EXIT_MMIO) {
        if (ev->flags & EXIT_F_RAM)
            return "watched memory";
        d = bus_mmio_dev(m, ev->u.mmio.gpa, &off);
        write = ev->u.mmio.write != 0;
    }
    if (d && d->ops->reg_name)
        name = d->ops->reg_name(d, off, write);
    return name ? name : d ? d->ops->name : NULL;
}

uint64_t session_guest_time(struct session *s)
{
    uint64_t now;

    pthread_mutex_lock(&s->vm->m.lock);
    now = door_now(&s->vm->m.door);
    pthread_mutex_unlock(&s->vm->m.lock);
    return now;
}
