/*
 * The tracer's thread and what the main thread asks of it. One lock guards all; the thread holds
 * it while it drains the rings (a few microseconds at a time, or a block's compression).
 */
#include "debug/trace/tracer.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "debug/session.h"
#include "debug/session_priv.h"
#include "debug/symbols/sym.h"
#include "debug/trace/trace_file.h"
#include "debug/trace/trace_filter.h"
#include "debug/trace/tracepoints.h"
#include "vmm/base/clock.h"
#include "vmm/base/esc.h"
#include "vmm/base/log.h"
#include "vmm/base/x.h"
#include "vmm/vm.h"

/* A ring of 65536 records fills in half a second at the fastest rate seen; smaller rings are only
 * asked for by tests, which drain by hand. */
#define PUMP_NS  10000000
#define FLUSH_NS 250000000u
#define BATCH    512u

struct tracer {
    struct session *s;
    pthread_t thread;
    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t wake;
    bool running, quit;
    bool asleep; /* waits for the machine to run; otherwise it looks again within PUMP_NS */
    struct trace_cursor cursor;
    struct trace_stats stats;
    uint64_t marks; /* seq of EXIT_RUN and EXIT_STOP */
    struct trace_names *names;
    size_t names_symbols; /* of the session when the names were made */
    struct trace_filter *filter;
    struct filter_stream stream;
    struct trace_writer *file;
    uint64_t flushed_ns;
    int file_error;
    struct storm_watch storms;
    uint64_t storms_told;
    struct kvmstats *counters; /* NULL: none, and why */
    char no_counters[200];
    bool counters_stale;        /* their rates begin anew */
    struct tracepoints *kernel; /* NULL: off */
    struct exit_event batch[BATCH];
};

/* ---- on either thread, locked ---------------------------------------------------------------- */

static void take(struct tracer *t, const struct exit_event *ev)
{
    bool wanted = filter_next(&t->stream, t->filter, ev);

    stat_add(&t->stats, ev, wanted);
    if (t->file && wanted)
        trace_put(t->file, ev);
}

/* Everything that the rings hold now, or about that much: a running vCPU could feed us for ever. */
static void kernel_event(void *arg, struct exit_event *ev)
{
    session_kernel_put(((struct tracer *)arg)->s, ev);
}

static void pump(struct tracer *t)
{
    uint64_t limit;
    size_t n;

    if (t->kernel)
        tracepoints_drain(t->kernel, kernel_event, t);
    limit = 2 * session_exit_count(t->s) + 64 * BATCH;

    do {
        n = session_trace_next(t->s, &t->cursor, t->batch, BATCH);
        for (size_t i = 0; i < n; i++)
            take(t, &t->batch[i]);
        limit -= n < limit ? n : limit;
    } while (n && limit);
    t->stats.dropped = t->cursor.dropped;
    if (t->file)
        trace_put_dropped(t->file, t->cursor.dropped);
}

static void put_counters(struct tracer *t, uint64_t now)
{
    struct buf text = {0};

    kvmstats_save(t->counters, &text);
    trace_put_text(t->file, TRACE_COUNTERS, buf_str(&text), text.len, now);
    buf_fini(&text);
}

static void read_counters(struct tracer *t)
{
    if (!t->counters)
        return;
    kvmstats_read(t->counters);
    put_counters(t, clock_ns());
}

static void counters_due(struct tracer *t)
{
    uint64_t now = clock_ns();

    if (!t->counters)
        return;
    if (t->counters_stale)
        kvmstats_restart(t->counters, now);
    else if (kvmstats_due(t->counters, now) && t->file)
        put_counters(t, now);
    t->counters_stale = false;
}

static void flush_due(struct tracer *t)
{
    uint64_t now = clock_ns();

    if (!t->file || now - t->flushed_ns < FLUSH_NS)
        return;
    t->flushed_ns = now;
    if (trace_flush(t->file) < 0 && !t->file_error) {
        t->file_error = 1;
        log_error("the trace file cannot be written any more; records are lost from here on");
    }
}

/* Windows follow the clock while the machine runs; a stop ends one early. */
static void storm_due(struct tracer *t, uint64_t least_ns)
{
    uint64_t now = clock_ns();

    if (now - t->storms.window_ns < least_ns)
        return;
    if (storm_window(&t->storms, &t->stats, t->names, now))
        session_ring(t->s);
}

/* Needs the main thread: symbols are loaded there. */
static void refresh_names(struct tracer *t)
{
    size_t now = symbols_count(session_symbols(t->s));
    struct trace_names *old = t->names;
    struct buf text = {0};

    if (now == t->names_symbols)
        return;
    t->names = names_with_symbols(old, session_symbols(t->s));
    names_free(old);
    t->names_symbols = now;
    filter_names(t->filter, t->names);
    if (!t->file)
        return;
    names_save(t->names, &text);
    trace_put_text(t->file, TRACE_NAMES, buf_str(&text), text.len, clock_ns());
    buf_fini(&text);
}

/* ---- the thread ------------------------------------------------------------------------------ */

static void *work(void *arg)
{
    struct tracer *t = arg;

    pthread_mutex_lock(&t->lock);
    while (!t->quit) {
        struct timespec until;

        if (!t->running) {
            t->asleep = true;
            pthread_cond_wait(&t->wake, &t->lock);
            t->asleep = false;
            continue;
        }
        pump(t);
        flush_due(t);
        counters_due(t);
        storm_due(t, STORM_WINDOW_NS);
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += PUMP_NS;
        if (until.tv_nsec >= 1000000000) {
            until.tv_nsec -= 1000000000;
            until.tv_sec++;
        }
        pthread_cond_timedwait(&t->wake, &t->lock, &until);
    }
    pthread_mutex_unlock(&t->lock);
    return NULL;
}

struct tracer *tracer_new(struct session *s)
{
    struct tracer *t = xcalloc(1, sizeof *t);
    pthread_condattr_t attr;
    sigset_t all, old;
    int rc;

    t->s = s;
    stat_init(&t->stats);
    storm_init(&t->storms);
    t->names = names_of_machine(s);
    t->names_symbols = SIZE_MAX; /* none yet: copied when somebody asks or a storm may come */
    t->counters = kvmstats_open(session_vm(s), t->no_counters, sizeof t->no_counters);
    session_trace_start(s, &t->cursor, false);
    pthread_mutex_init(&t->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&t->wake, &attr);
    pthread_condattr_destroy(&attr);
    /* Signals are for the threads that wait for them. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    rc = pthread_create(&t->thread, NULL, work, t);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    BUG_ON(rc);
    return t;
}

void tracer_free(struct tracer *t)
{
    struct err e = {0};

    if (!t)
        return;
    pthread_mutex_lock(&t->lock);
    t->quit = true;
    pthread_cond_signal(&t->wake);
    pthread_mutex_unlock(&t->lock);
    pthread_join(t->thread, NULL);
    if (tracer_file_end(t, &e) < 0)
        log_error("%s", e.msg);
    filter_free(t->filter);
    kvmstats_close(t->counters);
    tracepoints_close(t->kernel);
    names_free(t->names);
    stat_fini(&t->stats);
    pthread_cond_destroy(&t->wake);
    pthread_mutex_destroy(&t->lock);
    free(t);
}

/* ---- the session's side ---------------------------------------------------------------------- */

static void mark(struct tracer *t, unsigned reason, unsigned kind, int point)
{
    struct exit_event ev = {
        .seq = t->marks++,
        .at_ns = clock_ns(),
        .reason = (uint16_t)reason,
        .vcpu = (uint8_t)session_focus(t->s),
        .u.stop = {.kind = kind, .point = point},
    };

    pump(t);
    stat_add(&t->stats, &ev, false);
    if (t->file)
        trace_put(t->file, &ev);
}

void tracer_launched(struct tracer *t)
{
    pthread_mutex_lock(&t->lock);
    mark(t, EXIT_RUN, 0, -1);
    t->storms.window_ns = clock_ns();
    stat_mark(&t->stats);
    t->running = true;
    t->counters_stale = true;
    if (t->asleep) /* not for each of many steps: they would wait for the lock it takes */
        pthread_cond_signal(&t->wake);
    pthread_mutex_unlock(&t->lock);
}

void tracer_stopped(struct tracer *t, unsigned kind, int point)
{
    pthread_mutex_lock(&t->lock);
    mark(t, EXIT_STOP, kind, point);
    storm_due(t, STORM_WINDOW_NS / 4);
    t->running = false;
    if (t->file)
        trace_flush(t->file);
    pthread_mutex_unlock(&t->lock);
}

void tracer_tick(struct tracer *t)
{
    pthread_mutex_lock(&t->lock);
    refresh_names(t);
    pthread_mutex_unlock(&t->lock);
}

bool tracer_storm_news(struct tracer *t, char *text, size_t cap)
{
    const struct storm_watch *w = &t->storms;
    bool news;

    pthread_mutex_lock(&t->lock);
    news = w->seen != t->storms_told && w->storms;
    t->storms_told = w->seen;
    if (news)
        snprintf(text, cap, "%s", w->storm[w->storms - 1].text);
    pthread_mutex_unlock(&t->lock);
    return news;
}

void tracer_storms(struct tracer *t, struct storm_watch *out)
{
    pthread_mutex_lock(&t->lock);
    *out = t->storms;
    pthread_mutex_unlock(&t->lock);
}

void tracer_storm_limits(struct tracer *t, double min_rate, double min_share)
{
    pthread_mutex_lock(&t->lock);
    t->storms.min_rate = min_rate;
    t->storms.min_share = min_share;
    pthread_mutex_unlock(&t->lock);
}

struct trace_stats *tracer_lock(struct tracer *t)
{
    pthread_mutex_lock(&t->lock);
    pump(t);
    return &t->stats;
}

void tracer_unlock(struct tracer *t)
{
    pthread_mutex_unlock(&t->lock);
}

const struct trace_names *tracer_names(struct tracer *t)
{
    pthread_mutex_lock(&t->lock);
    refresh_names(t);
    pthread_mutex_unlock(&t->lock);
    return t->names; /* changed only by this thread */
}

void tracer_set_live(struct tracer *t, const struct names_live *live)
{
    pthread_mutex_lock(&t->lock);
    names_set_live(t->names, live);
    pthread_mutex_unlock(&t->lock);
}

const struct kvmstats *tracer_counters_lock(struct tracer *t, char *why, size_t cap)
{
    pthread_mutex_lock(&t->lock);
    snprintf(why, cap, "%s", t->no_counters);
    if (t->counters)
        kvmstats_read(t->counters);
    return t->counters;
}

int tracer_kernel(struct tracer *t, const char *names, struct buf *told, struct err *e)
{
    struct tracepoints *fresh = NULL, *old;

    if (names && !(fresh = tracepoints_open(session_vm(t->s), names, told, e)))
        return -e->code;
    pthread_mutex_lock(&t->lock);
    pump(t);
    old = t->kernel;
    t->kernel = fresh;
    pthread_mutex_unlock(&t->lock);
    tracepoints_close(old);
    return 0;
}

/* ---- the file -------------------------------------------------------------------------------- */

static void meta_text(struct tracer *t, struct buf *out)
{
    const struct session_config *cfg = session_cfg(t->s);
    const char *image = cfg->boot.image ? cfg->boot.image : "";

    buf_adds(out, "guest=");
    esc_line(out, image, strlen(image));
    buf_addf(out, "\nmemory_bytes=%llu\ncpus=%u\nirqchip=%s\nkvm=%s\n",
             (unsigned long long)session_mem(t->s)->ram_bytes, session_cpus(t->s),
             cfg->irqchip_kernel ? "kernel" : "user",
             session_vm(t->s)->probe.emulated ? "emulating ring 0" : "hardware");
    if (t->filter) {
        buf_adds(out, "filter=");
        esc_line(out, filter_text(t->filter), strlen(filter_text(t->filter)));
        buf_addc(out, '\n');
    }
}

int tracer_file(struct tracer *t, const char *path, struct err *e)
{
    struct trace_writer *w;
    struct buf meta = {0};
    int rc;

    pthread_mutex_lock(&t->lock);
    if (t->file) {
        char name[160];

        esc_cut(name, sizeof name, trace_put_path(t->file), strlen(trace_put_path(t->file)));
        pthread_mutex_unlock(&t->lock);
        return err_set(e, EBUSY, "the trace already goes to %s: `trace off` ends that", name);
    }
    pump(t);
    refresh_names(t);
    meta_text(t, &meta);
    rc = trace_create(&w, path, session_cpus(t->s), buf_str(&meta), t->names, e);
    buf_fini(&meta);
    if (rc == 0) {
        t->file = w;
        t->file_error = 0;
        t->flushed_ns = clock_ns();
        read_counters(t);
        if (t->running)
            mark(t, EXIT_RUN, 0, -1);
    }
    pthread_mutex_unlock(&t->lock);
    return rc;
}

int tracer_file_end(struct tracer *t, struct err *e)
{
    int rc = 0;

    pthread_mutex_lock(&t->lock);
    if (t->file) {
        pump(t);
        trace_flush(t->file);
        read_counters(t);
        rc = trace_finish(t->file, e);
        t->file = NULL;
    }
    pthread_mutex_unlock(&t->lock);
    return rc;
}

void tracer_status(struct tracer *t, struct tracer_status *st)
{
    *st = (struct tracer_status){0};
    pthread_mutex_lock(&t->lock);
    pump(t);
    st->writing = t->file != NULL;
    if (t->file) {
        const char *path = trace_put_path(t->file);

        esc_cut(st->path, sizeof st->path, path, strlen(path));
        st->records = trace_put_records(t->file);
        st->bytes = trace_put_bytes(t->file);
        st->lost = trace_put_lost(t->file);
    }
    if (t->kernel) {
        snprintf(st->kernel, sizeof st->kernel, "%s", tracepoints_names(t->kernel));
        st->kernel_lost = tracepoints_lost(t->kernel);
    }
    if (t->filter)
        esc_cut(st->filter, sizeof st->filter, filter_text(t->filter),
                strlen(filter_text(t->filter)));
    pthread_mutex_unlock(&t->lock);
}

int tracer_filter(struct tracer *t, const char *text, struct err *e)
{
    struct trace_filter *f = NULL, *old;

    pthread_mutex_lock(&t->lock);
    refresh_names(t);
    if (text && *text && !(f = filter_compile(text, t->names, e))) {
        pthread_mutex_unlock(&t->lock);
        return -EINVAL;
    }
    pump(t); /* what has happened so far is judged by the old one */
    old = t->filter;
    t->filter = f;
    pthread_mutex_unlock(&t->lock);
    filter_free(old);
    return 0;
}
