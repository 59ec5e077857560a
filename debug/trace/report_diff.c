/*
 * Two recordings side by side: where they part and meet again, vCPU by vCPU (report_align.c), and
 * how counts and rates changed. What differs from run to run anyway is left out of the comparison:
 * times, kicks and interrupts, and values read from devices.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "debug/trace/report_int.h"
#include "vmm/base/x.h"

/* ---- where they part ------------------------------------------------------------------------- */

static void print_side(const char *side, struct report *p, const struct exit_event *ev, bool ended,
                       struct out *o)
{
    struct trace_names *n = trace_names(p->reader);
    struct buf what = {0};
    char place[200];

    if (ended) {
        out_text(o, "  %s  ends here", side);
        out_json_str(o, side, "end");
        return;
    }
    names_what(n, ev, &what);
    names_place(n, ev->cs_base + ev->rip, ev->flags & EXIT_F_PAST, place, sizeof place);
    buf_addf(&what, " at 0x%" PRIx64 "%s%s%s", ev->cs_base + ev->rip, place[0] ? " <" : "", place,
             place[0] ? ">" : "");
    out_text(o, "  %s  #%" PRIu64 "  %s: %s", side, ev->seq, exit_kind_name(ev->reason),
             buf_str(&what));
    out_json_str(o, side, buf_str(&what));
    buf_fini(&what);
}

static void what_text(struct report *p, const struct exit_event *ev, bool ended, struct buf *out)
{
    char place[200];

    buf_clear(out);
    if (ended) {
        buf_adds(out, "(end)");
        return;
    }
    names_what(trace_names(p->reader), ev, out);
    if (names_place(trace_names(p->reader), ev->cs_base + ev->rip, ev->flags & EXIT_F_PAST, place,
                    sizeof place)[0])
        buf_addf(out, " at %s", place);
}

/* Where they differ, after the first place. */
static void print_differences(struct report *a, struct report *b, const struct alignment *al,
                              struct out *o)
{
    static const char *const columns[] = {">exit of a", ">of b", ">only a", ">only b",
                                          "a has",      "b has", NULL};
    struct buf text = {0};

    out_table(o, "differences", NULL, columns);
    for (unsigned i = 0; i < al->differences && i < ALIGN_SHOWN; i++) {
        const struct difference *d = &al->difference[i];

        out_row(o);
        out_cell_u64(o, d->at_a + 1);
        out_cell_u64(o, d->at_b + 1);
        out_cell_u64(o, d->only_a);
        out_cell_u64(o, d->only_b);
        what_text(a, &d->a, d->a_ended, &text);
        out_cell(o, "%s", buf_str(&text));
        what_text(b, &d->b, d->b_ended, &text);
        out_cell(o, "%s", buf_str(&text));
    }
    out_table_end(o);
    buf_fini(&text);
    if (al->differences > ALIGN_SHOWN)
        out_text(o, "and %" PRIu64 " more places", al->differences - ALIGN_SHOWN);
    if (al->lost)
        out_text(o, "Behind the last of these they are too different to be aligned.");
    out_text(o,
             "in all: %" PRIu64 " of a's %" PRIu64 " exits and b's %" PRIu64 " are alike; %" PRIu64
             " are only in a, %" PRIu64 " only in b",
             al->alike, al->exits_a, al->exits_b, al->only_a, al->only_b);
}

static void print_alignment(struct report *a, struct report *b, unsigned cpu,
                            const struct alignment *al, struct out *o)
{
    const struct difference *d = &al->difference[0];

    out_json_bool(o, "diverges", al->differences != 0);
    out_json_u64(o, "alike", al->alike);
    out_json_u64(o, "only_in_a", al->only_a);
    out_json_u64(o, "only_in_b", al->only_b);
    if (!al->differences) {
        out_text(o, "vCPU %u: all %" PRIu64 " exits are alike", cpu, al->alike);
        return;
    }
    out_text(o, "vCPU %u: %" PRIu64 " exits are alike, then", cpu, d->at_a);
    print_side("a", a, &d->a, d->a_ended, o);
    print_side("b", b, &d->b, d->b_ended, o);
    print_differences(a, b, al, o);
}

static void print_partings(struct report *a, struct report *b, struct check_diff *found,
                           struct out *o)
{
    unsigned cpus = trace_info(a->reader)->cpus > trace_info(b->reader)->cpus
                        ? trace_info(a->reader)->cpus
                        : trace_info(b->reader)->cpus;
    struct alignment *al = xcalloc(1, sizeof *al);

    for (unsigned c = 0; c < cpus && c < MACHINE_CPUS_MAX; c++) {
        align(a, b, c, al);
        found->differ += al->only_a + al->only_b;
        print_alignment(a, b, c, al, o);
    }
    free(al);
}

/* ---- what changed ---------------------------------------------------------------------------- */

struct change {
    struct buf label;
    uint64_t a, b;
    double rate_a, rate_b;
};

static int by_label(const void *x, const void *y)
{
    return strcmp(buf_str(&((const struct change *)x)->label),
                  buf_str(&((const struct change *)y)->label));
}

static int by_change(const void *x, const void *y)
{
    const struct change *p = x, *q = y;
    uint64_t d = p->a > p->b ? p->a - p->b : p->b - p->a,
             g = q->a > q->b ? q->a - q->b : q->b - q->a;

    return d != g ? (d > g ? -1 : 1) : by_label(x, y);
}

static size_t add_rows(struct change *list, size_t n, struct report *p, const struct table_ask *ask,
                       bool second)
{
    size_t rows;
    struct table_row *row = table_rows(&p->stats, trace_names(p->reader), ask, &rows);
    double seconds = (double)stat_span_ns(&p->stats) / 1e9;

    for (size_t i = 0; i < rows; i++) {
        struct change *c = &list[n++];

        *c = (struct change){0};
        table_label(ask->by, &row[i].example->key, trace_names(p->reader), &c->label);
        *(second ? &c->b : &c->a) = row[i].sum.count;
        *(second ? &c->rate_b : &c->rate_a) = seconds > 0 ? (double)row[i].sum.count / seconds : 0;
    }
    free(row);
    return n;
}

static size_t merge(struct change *list, size_t n)
{
    size_t kept = 0;

    qsort(list, n, sizeof *list, by_label);
    for (size_t i = 0; i < n; i++) {
        if (kept && !by_label(&list[kept - 1], &list[i])) {
            list[kept - 1].a += list[i].a;
            list[kept - 1].b += list[i].b;
            list[kept - 1].rate_a += list[i].rate_a;
            list[kept - 1].rate_b += list[i].rate_b;
            buf_fini(&list[i].label);
        } else {
            list[kept++] = list[i];
        }
    }
    qsort(list, kept, sizeof *list, by_change);
    return kept;
}

static void rate_cell(struct out *o, double rate)
{
    out_cell_num(o, rate, rate < 100 ? "%.1f" : "%.0f", rate);
}

static void print_changes(struct report *a, struct report *b, const struct table_ask *ask,
                          struct out *o)
{
    const char *const columns[] = {table_by_names[ask->by], ">a", ">b", ">change", ">a per second",
                                   ">b per second",         NULL};
    struct change *list = xcalloc(a->stats.cells + b->stats.cells + 2, sizeof *list);
    size_t n = merge(list, add_rows(list, add_rows(list, 0, a, ask, false), b, ask, true));

    out_table(o, "changes", "Neither has exits.", columns);
    for (size_t i = 0; i < n; i++) {
        const struct change *c = &list[i];

        if (!ask->top || i < ask->top) {
            double change = (double)(int64_t)(c->b - c->a);

            out_row(o);
            out_cell(o, "%s", buf_str(&c->label));
            out_cell_u64(o, c->a);
            out_cell_u64(o, c->b);
            out_cell_num(o, change, "%+.0f", change);
            rate_cell(o, c->rate_a);
            rate_cell(o, c->rate_b);
        }
        buf_fini(&list[i].label);
    }
    out_table_end(o);
    free(list);
}

static void step_before(void *arg, const struct exit_event *ev)
{
    check_add_before(arg, ev);
}

static void step_now(void *arg, const struct exit_event *ev)
{
    check_add(arg, ev);
}

void diff_print(struct report *a, struct report *b, const struct table_ask *ask,
                struct report_check *check, struct check_diff *found, struct out *o)
{
    *found = (struct check_diff){0};
    print_partings(a, b, found, o);
    report_count(a, check ? step_before : NULL, check);
    report_count(b, check ? step_now : NULL, check);
    print_changes(a, b, ask, o);
    out_text(o, "a ran %.3f s, b %.3f s", (double)stat_span_ns(&a->stats) / 1e9,
             (double)stat_span_ns(&b->stats) / 1e9);
}
