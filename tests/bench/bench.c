/*
 * What watching costs, as ratios measured in one run: the two sides of a row alternate, in short
 * laps, so that a busy host slows both; the median of the pairs counts, the spread is shown. Fails
 * only when it cannot measure.
 *
 *   bench [exits | steps | points | scripts | stops | report | start]...
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/bench/bench.h"
#include "vmm/base/clock.h"

#define PAIRS 9

void die(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    fputs("bench: ", stderr);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
    exit(1);
}

int need(int r, const char *what)
{
    if (r < 0)
        die("%s: %s", what, strerror(errno));
    return r;
}

static uint64_t cpu_ns(clockid_t clock)
{
    struct timespec t;

    need(clock_gettime(clock, &t), "the thread's clock");
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void lap_begin(struct lap *l, clockid_t cpu_clock)
{
    l->clock = cpu_clock;
    l->cpu_ns = cpu_ns(cpu_clock);
    l->wall_ns = clock_ns();
}

struct rate lap_end(const struct lap *l, uint64_t done)
{
    uint64_t wall = clock_ns() - l->wall_ns, cpu = cpu_ns(l->clock) - l->cpu_ns;

    return (struct rate){(double)done * 1e9 / (double)wall, (double)done * 1e9 / (double)cpu};
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double median(double v[PAIRS])
{
    qsort(v, PAIRS, sizeof *v, by_value);
    return v[PAIRS / 2];
}

void verdict(bool met)
{
    puts(met ? "met" : "NOT MET");
    fflush(stdout);
}

static const char *row_text; /* only rows whose name has it */

bool row_wanted(const char *what)
{
    return !row_text || strstr(what, row_text);
}

void row_print(const struct row *r)
{
    double of[PAIRS], ours[PAIRS], ratio[PAIRS], cpu[PAIRS], mid, mid_cpu;

    if (!row_wanted(r->what))
        return;
    for (int i = 0; i < PAIRS; i++) {
        struct rate a, b;

        /* Alternate who goes first. */
        if (i & 1) {
            b = r->ours(r->ours_arg);
            a = r->of(r->of_arg);
        } else {
            a = r->of(r->of_arg);
            b = r->ours(r->ours_arg);
        }
        of[i] = a.wall;
        ours[i] = b.wall;
        ratio[i] = b.wall / a.wall;
        cpu[i] = b.cpu / a.cpu;
    }
    mid = median(ratio);
    mid_cpu = median(cpu);
    printf("%-26s %8.0f %-8s  %9s %8.0f  ratio %.2f (%.2f-%.2f)  cpu %.2f  target %.3g  ", r->what,
           median(ours), r->unit, r->base, median(of), mid, ratio[PAIRS / 4], ratio[PAIRS * 3 / 4],
           mid_cpu, r->target);
    if (mid < r->target && mid_cpu >= r->target)
        fputs("by processor time ", stdout);
    verdict(mid >= r->target || mid_cpu >= r->target);
}

static const struct group {
    const char *name;
    void (*run)(void);
} groups[] = {
    {"exits", bench_exits},     {"steps", bench_steps}, {"points", bench_points},
    {"scripts", bench_scripts}, {"stops", bench_stops}, {"report", bench_report},
    {"start", bench_start},
};

static bool is_wanted(const char *name, int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (!strcmp(argv[i], name))
            return true;
    return argc < 2;
}

int main(int argc, char **argv)
{
    const char *dir = getenv("TMPDIR");

    snprintf(image_path, sizeof image_path, "%.40s/vmscope-bench.%d", dir ? dir : "/tmp", getpid());
    snprintf(trace_path, sizeof trace_path, "%s.vtr", image_path);
    if (access("/dev/kvm", R_OK | W_OK)) {
        printf("nothing to measure: /dev/kvm cannot be used here (%s)\n", strerror(errno));
        return 0;
    }
    row_text = getenv("BENCH_ROW");
    session_close(bench_open(&guest_hello)); /* what a host probe costs is paid here */
    for (unsigned i = 0; i < sizeof groups / sizeof groups[0]; i++)
        if (is_wanted(groups[i].name, argc, argv))
            groups[i].run();
    unlink(image_path);
    unlink(trace_path);
    return 0;
}
