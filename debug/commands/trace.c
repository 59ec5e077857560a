/*
 * `info exits`: how often the guest left, for what, and the newest records. Main thread.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "debug/commands/commands.h"
#include "vmm/base/near.h"
#include "vmm/base/x.h"

#define LAST_MAX 100000u

static unsigned reason_of(unsigned counter)
{
    return counter < 64 ? counter : EXIT_OUR_FIRST + counter - 64;
}

static int by_count(const void *a, const void *b, void *counts)
{
    const uint64_t *n = counts;
    uint64_t x = n[*(const unsigned *)a], y = n[*(const unsigned *)b];

    return x < y ? 1 : x > y ? -1 : *(const unsigned *)a < *(const unsigned *)b ? -1 : 1;
}

static int table(struct cmd_client *c, struct out *o)
{
    static const char *const columns[] = {"kind",        ">count",  ">share",
                                          ">per second", "meaning", NULL};
    uint64_t counts[EXIT_COUNTERS] = {0}, total = 0;
    unsigned order[EXIT_COUNTERS];
    double seconds = (double)session_guest_time(c->s) / 1e9;

    session_exit_counts(c->s, counts);
    for (unsigned i = 0; i < EXIT_COUNTERS; i++) {
        order[i] = i;
        total += counts[i];
    }
    qsort_r(order, EXIT_COUNTERS, sizeof order[0], by_count, counts);
    out_table(o, "exits", "The guest has not left KVM_RUN yet.", columns);
    for (unsigned i = 0; i < EXIT_COUNTERS && counts[order[i]]; i++) {
        uint64_t n = counts[order[i]];
        double share = 100.0 * (double)n / (double)total;
        double rate = seconds > 0 ? (double)n / seconds : 0;

        out_row(o);
        out_cell(o, "%s", exit_kind_name(reason_of(order[i])));
        out_cell_u64(o, n);
        out_cell_num(o, share, "%.1f%%", share);
        out_cell_num(o, rate, rate < 100 ? "%.1f" : "%.0f", rate);
        out_cell(o, "%s", exit_kind_help(reason_of(order[i])));
    }
    out_table_end(o);
    if (total)
        out_text(o, "%" PRIu64 " exits in %.3f s of guest time", total, seconds);
    out_json_u64(o, "total", total);
    out_json_u64(o, "guest_ns", session_guest_time(c->s));
    return 0;
}

/* The newest `n` records (of one reason when it is not negative), oldest first; the caller frees.
 */
static struct exit_event *newest(struct cmd_client *c, size_t n, int reason, size_t *count,
                                 uint64_t *dropped)
{
    struct exit_event *ring = xcalloc(n, sizeof *ring), *chunk = xcalloc(512, sizeof *chunk), *out;
    struct trace_cursor *cur = xcalloc(1, sizeof *cur);
    size_t seen = 0, got;
    uint64_t limit = session_exit_count(c->s) + 1; /* a running guest would feed us for ever */

    session_trace_start(c->s, cur, false);
    while (limit && (got = session_trace_next(c->s, cur, chunk, limit < 512 ? limit : 512))) {
        for (size_t i = 0; i < got; i++) {
            if (reason < 0 || chunk[i].reason == reason)
                ring[seen++ % n] = chunk[i];
        }
        limit -= got;
    }
    *dropped = cur->dropped;
    *count = seen < n ? seen : n;
    out = xcalloc(*count + 1, sizeof *out);
    for (size_t i = 0; i < *count; i++)
        out[i] = ring[(seen - *count + i) % n];
    free(ring);
    free(chunk);
    free(cur);
    return out;
}

static void record_row(struct cmd_client *c, const struct exit_event *ev, uint64_t first_ns,
                       struct out *o)
{
    uint64_t linear = ev->cs_base + ev->rip;
    struct buf what = {0};
    char name[200];

    exit_format(ev, session_reg_name(c->s, ev), &what);
    out_row(o);
    out_cell_u64(o, ev->seq);
    out_cell_num(o, (double)(ev->at_ns - first_ns) / 1000, "+%.1f",
                 (double)(ev->at_ns - first_ns) / 1000);
    out_cell_u64(o, ev->vcpu);
    out_cell(o, "0x%" PRIx64 "%s", linear, cmd_symbol(c, linear, name, sizeof name));
    out_cell(o, "%s", exit_kind_name(ev->reason));
    out_cell(o, "%s", buf_str(&what));
    out_cell_num(o, ev->guest_ns / 1000.0, "%.1f", ev->guest_ns / 1000.0);
    out_cell_num(o, ev->host_ns / 1000.0, "%.1f", ev->host_ns / 1000.0);
    buf_fini(&what);
}

static int last(struct cmd_client *c, size_t n, int reason, struct out *o)
{
    static const char *const columns[] = {">seq", ">at us",    ">cpu",     "rip", "kind",
                                          "what", ">guest us", ">host us", NULL};
    size_t count;
    uint64_t dropped;
    struct exit_event *ev = newest(c, n, reason, &count, &dropped);

    out_table(o, "records", "There is no such record: the guest has not left KVM_RUN for it yet.",
              columns);
    for (size_t i = 0; i < count; i++)
        record_row(c, &ev[i], ev[0].at_ns, o);
    out_table_end(o);
    out_json_u64(o, "dropped", dropped);
    free(ev);
    return 0;
}

int cmd_info_exits_run(struct cmd_client *c, const char *args, struct out *o)
{
    char word[40], *end;
    unsigned long n = 20;
    int reason = -1;

    if (!*args)
        return table(c, o);
    if (!cmd_keyword(&args, "last")) {
        out_error(o, "`info exits` takes nothing, or `last [COUNT] [KIND]`");
        return -EINVAL;
    }
    while (cmd_word(&args, word, sizeof word)) {
        unsigned long v = strtoul(word, &end, 10);

        if (!*end && v >= 1 && v <= LAST_MAX) {
            n = v;
        } else if ((reason = exit_kind_by_name(word)) < 0) {
            out_error(o,
                      "`%s` is neither a count from 1 to %u nor a kind of exit: `help catch` "
                      "lists the kinds",
                      word, LAST_MAX);
            return -EINVAL;
        }
    }
    return last(c, n, reason, o);
}
