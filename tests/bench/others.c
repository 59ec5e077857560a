/*
 * What has no bare counterpart: reading a recording, and the time to the first byte of a guest.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "debug/trace/trace_file.h"
#include "debug/trace/trace_stat.h"
#include "tests/bench/bench.h"
#include "vmm/base/clock.h"

#define REPORT_RECORDS 3000000u
#define REPORT_TARGET  10e6
#define STARTS         9
#define START_MS       20

static void must(int r, const struct err *e)
{
    if (r < 0)
        die("%s", e->msg);
}

static void make_recording(struct trace_names *names)
{
    struct trace_writer *w;
    struct err e = {0};

    must(trace_create(&w, trace_path, 1, "guest=bench\n", names, &e), &e);
    for (uint32_t i = 0; i < REPORT_RECORDS; i++) {
        struct exit_event ev = {.seq = i,
                                .at_ns = 1000000 + i * 7000ull + i % 13,
                                .guest_ns = 6000 + i * 7 % 400,
                                .host_ns = 300 + i * 11 % 90,
                                .rip = 0x100000 + i % 5 * 4,
                                .reason = KVM_EXIT_IO,
                                .size = 1};

        ev.u.io.port = i & 1 ? 0x3f8 : 0x3fd;
        ev.u.io.write = i & 1;
        ev.u.io.count = 1;
        ev.u.io.value = i & 0xff;
        trace_put(w, &ev);
    }
    must(trace_finish(w, &e), &e);
}

/* Reads and counts all of it; records a second of processor time. */
static double count_recording(void)
{
    static struct exit_event batch[256];
    static struct trace_stats stats;
    struct trace_reader *r;
    struct err e = {0};
    struct lap l;
    struct rate rate;
    size_t n;

    stat_init(&stats);
    lap_begin(&l, CLOCK_THREAD_CPUTIME_ID);
    must(trace_open(&r, trace_path, &e), &e);
    while ((n = trace_read(r, batch, 256)))
        for (size_t i = 0; i < n; i++)
            stat_add(&stats, &batch[i], true);
    rate = lap_end(&l, REPORT_RECORDS);
    if (stats.records != REPORT_RECORDS)
        die("%llu records counted", (unsigned long long)stats.records);
    trace_close(r);
    stat_fini(&stats);
    return rate.cpu;
}

void bench_report(void)
{
    struct trace_names *names = names_new();
    double best = 0;

    make_recording(names);
    for (int pass = 0; pass < 5; pass++) {
        double rate = count_recording();

        best = rate > best ? rate : best;
    }
    names_free(names);
    printf("%-26s %.1f million records/s of a core (best of 5)  target %.0f  ", "report counts",
           best / 1e6, REPORT_TARGET / 1e6);
    verdict(best >= REPORT_TARGET);
}

static void first_byte(void *arg, unsigned event, const void *data)
{
    uint64_t *at = arg;

    (void)event;
    (void)data;
    if (!*at)
        *at = clock_ns();
}

static double start_ms(void)
{
    uint64_t t0 = clock_ns(), at = 0;
    struct session *s = bench_open(&guest_hello);
    struct err e = {0};

    session_subscribe(s, EV_CONSOLE, first_byte, &at);
    must(session_run(s, &e), &e);
    if (!session_wait(s, 10000000000u, NULL) || !at)
        die("the guest printed nothing");
    session_close(s);
    return (double)(at - t0) / 1e6;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

void bench_start(void)
{
    double ms[STARTS];

    for (int i = 0; i < STARTS; i++)
        ms[i] = start_ms();
    qsort(ms, STARTS, sizeof *ms, by_value);
    printf("%-26s %.1f ms (%.1f-%.1f) after start  target %d  ", "first guest byte", ms[STARTS / 2],
           ms[0], ms[STARTS - 1], START_MS);
    verdict(ms[STARTS / 2] <= START_MS);
}
