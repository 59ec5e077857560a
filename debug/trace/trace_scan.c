/*
 * The sliced pass. Every `stride`-th match is remembered; when the list is full, every other one of
 * it is forgotten and the stride doubles.
 */
#include "debug/trace/trace_scan.h"

#include <stdlib.h>

#include "vmm/base/x.h"

#define MARKS_MAX  (1u << 19)
#define SCAN_BATCH 512u

struct trace_scan {
    struct trace_reader *reader;
    const struct trace_filter *filter;
    const struct trace_names *names;
    struct trace_stats stats;
    struct storm_watch storms;
    uint64_t read, matched;
    uint64_t *mark; /* record number of match i * stride */
    size_t marks, cap;
    uint64_t stride;
    bool done;
    uint64_t step[SCAN_STEPS], first_ns;
    double step_ns;
    struct exit_event batch[SCAN_BATCH];
};

struct trace_scan *scan_new(const char *path, const struct trace_filter *f,
                            const struct trace_names *n, struct err *e)
{
    struct trace_scan *s = xcalloc(1, sizeof *s);

    if (trace_open(&s->reader, path, e) < 0) {
        free(s);
        return NULL;
    }
    s->filter = f;
    s->names = n;
    s->stride = 1;
    stat_init(&s->stats);
    storm_init(&s->storms);
    s->first_ns = trace_info(s->reader)->first_ns;
    s->step_ns = (double)(trace_info(s->reader)->last_ns - s->first_ns + 1) / SCAN_STEPS;
    trace_seek(s->reader, 0);
    return s;
}

void scan_free(struct trace_scan *s)
{
    if (!s)
        return;
    trace_close(s->reader);
    stat_fini(&s->stats);
    free(s->mark);
    free(s);
}

static void remember(struct trace_scan *s, uint64_t record)
{
    if (s->matched % s->stride)
        return;
    if (s->marks == MARKS_MAX) {
        for (size_t i = 0; i < s->marks / 2; i++)
            s->mark[i] = s->mark[2 * i];
        s->marks /= 2;
        s->stride *= 2;
        if (s->matched % s->stride)
            return;
    }
    if (s->marks == s->cap) {
        s->cap = s->cap ? 2 * s->cap : 1024;
        s->mark = xrealloc(s->mark, s->cap, sizeof *s->mark);
    }
    s->mark[s->marks++] = record;
}

/* A hostile file may have times outside of what its blocks say. */
static void step(struct trace_scan *s, uint64_t at_ns)
{
    double i = at_ns > s->first_ns ? (double)(at_ns - s->first_ns) / s->step_ns : 0;

    s->step[i < SCAN_STEPS ? (unsigned)i : SCAN_STEPS - 1]++;
}

const uint64_t *scan_steps(const struct trace_scan *s)
{
    return s->step;
}

/* Gaps (damage) leave record numbers where the index has them: the reader passes over a damaged
 * block as a whole, so numbers are asked of it. */
bool scan_some(struct trace_scan *s, uint64_t records)
{
    while (records && !s->done) {
        uint64_t first = trace_position(s->reader);
        size_t n = trace_read(s->reader, s->batch, SCAN_BATCH);

        if (!n) {
            s->done = true;
            storm_follow(&s->storms, &s->stats, s->names, trace_info(s->reader)->last_ns, true);
            break;
        }
        first = trace_position(s->reader) - n > first ? trace_position(s->reader) - n : first;
        for (size_t i = 0; i < n; i++) {
            const struct exit_event *ev = &s->batch[i];
            bool wanted = filter_match(s->filter, ev);

            stat_add(&s->stats, ev, wanted);
            if (!wanted)
                continue;
            storm_follow(&s->storms, &s->stats, s->names, ev->at_ns, false);
            step(s, ev->at_ns);
            remember(s, first + i);
            s->matched++;
        }
        s->read += n;
        records -= n < records ? n : records;
    }
    s->stats.dropped = trace_info(s->reader)->dropped;
    return !s->done;
}

bool scan_done(const struct trace_scan *s)
{
    return s->done;
}

uint64_t scan_read(const struct trace_scan *s)
{
    return s->read;
}

uint64_t scan_matched(const struct trace_scan *s)
{
    return s->matched;
}

const struct trace_stats *scan_stats(const struct trace_scan *s)
{
    return &s->stats;
}

const struct storm_watch *scan_storms(const struct trace_scan *s)
{
    return &s->storms;
}

void scan_near(const struct trace_scan *s, uint64_t m, uint64_t *record, uint64_t *match)
{
    uint64_t i = m / s->stride;

    if (!s->marks) {
        *record = *match = 0;
        return;
    }
    i = i < s->marks ? i : s->marks - 1;
    *record = s->mark[i];
    *match = i * s->stride;
}

uint64_t scan_match_before(const struct trace_scan *s, uint64_t record)
{
    size_t low = 0, high = s->marks;

    while (low < high) {
        size_t mid = low + (high - low) / 2;

        if (s->mark[mid] <= record)
            low = mid + 1;
        else
            high = mid;
    }
    return low ? (low - 1) * s->stride : 0;
}
