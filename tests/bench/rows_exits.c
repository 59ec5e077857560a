/*
 * A storm of port writes: what a record, the statistics and a trace file cost an exit, and that
 * points elsewhere cost it nothing.
 */
#include <time.h>

#include "debug/trace/tracer.h"
#include "tests/bench/bench.h"

static struct rate bare_storm(const void *arg)
{
    struct bare b;
    struct lap l;
    struct rate r;

    (void)arg;
    bare_open(&b, &guest_storm);
    lap_begin(&l, CLOCK_THREAD_CPUTIME_ID);
    do
        bare_enter(&b);
    while (b.run->exit_reason == KVM_EXIT_IO && b.run->io.port != 0xf4);
    r = lap_end(&l, guest_storm.rounds);
    bare_close(&b);
    return r;
}

static struct rate storm(const void *arg)
{
    struct session *s = bench_open(&guest_storm);
    const char *file = arg;
    struct err e = {0};
    struct rate r;

    if (file && tracer_file(session_tracer(s), file, &e) < 0)
        die("%s", e.msg);
    r = bench_run(s, guest_storm.rounds);
    if (session_exit_count(s) < guest_storm.rounds)
        die("%llu exits recorded", (unsigned long long)session_exit_count(s));
    session_close(s);
    return r;
}

struct many {
    enum point_kind kind;
    unsigned count, stride;
};

/* Points where the guest never comes. */
static struct rate storm_with(const void *arg)
{
    const struct many *m = arg;
    struct session *s = bench_open_sized(&guest_storm, 16u << 20);
    struct rate r;

    for (unsigned i = 0; i < m->count; i++)
        bench_point(s, &(struct point_spec){.kind = m->kind,
                                            .space = SPACE_LINEAR,
                                            .addr = 0x100000 + i * m->stride,
                                            .len = 8,
                                            .access = WATCH_WRITE,
                                            .vcpu = -1});
    r = bench_run(s, guest_storm.rounds);
    session_close(s);
    return r;
}

void bench_exits(void)
{
    static const struct many few_breaks = {POINT_BREAK, 10, 16}, breaks = {POINT_BREAK, 10000, 16};
    static const struct many few_watches = {POINT_WATCH, 10, 8192},
                             watches = {POINT_WATCH, 1000, 8192};
    const struct row rows[] = {
        {"PIO exits, ring", "bare", "exits/s", bare_storm, NULL, storm, NULL, 0.85},
        {"PIO exits, ring and file", "bare", "exits/s", bare_storm, NULL, storm, trace_path, 0.80},
        {"10,000 breakpoints", "10", "exits/s", storm_with, &few_breaks, storm_with, &breaks, 0.95},
        {"1,000 watchpoints", "10", "exits/s", storm_with, &few_watches, storm_with, &watches,
         0.95},
    };

    for (unsigned i = 0; i < sizeof rows / sizeof rows[0]; i++)
        row_print(&rows[i]);
}
