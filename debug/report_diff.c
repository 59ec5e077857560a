/*
 * Two recordings side by side: where they first part, vCPU by vCPU, and how counts and rates
 * changed. What differs from run to run anyway is left out of the comparison: times, kicks and
 * interrupts, and values read from devices that count.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "debug/report_int.h"
#include "vmm/base/x.h"

/* ---- the first divergence -------------------------------------------------------------------- */

/* What two runs of a deterministic guest have in common. */
static bool matters(const struct exit_event *ev, unsigned vcpu)
{
    return ev->vcpu == vcpu && ev->reason != EXIT_KICK && !stat_is_note(ev->reason) &&
           ev->reason != KVM_EXIT_IRQ_WINDOW_OPEN && ev->reason != KVM_EXIT_DEBUG;
}

static bool written(const struct exit_event *ev, uint64_t *value)
{
    if (ev->reason == KVM_EXIT_IO && ev->u.io.write)
        *value = ev->u.io.value;
    else if (ev->reason == KVM_EXIT_MMIO && ev->u.mmio.write)
        *value = ev->u.mmio.value;
    else if (ev->reason == KVM_EXIT_X86_WRMSR)
        *value = ev->u.msr.value;
    else
        return false;
    return true;
}

static bool alike(const struct exit_event *a, const struct exit_event *b)
{
    struct stat_key x = stat_key_of(a), y = stat_key_of(b);
    uint64_t v = 0, w = 0;

    return !memcmp(&x, &y, sizeof x) && written(a, &v) == written(b, &w) && v == w;
}

struct stream {
    struct trace_reader *r;
    unsigned vcpu;
    struct exit_event batch[64];
    size_t at, have;
};

static bool next(struct stream *s, struct exit_event *ev)
{
    for (;;) {
        while (s->at < s->have) {
            *ev = s->batch[s->at++];
            if (matters(ev, s->vcpu))
                return true;
        }
        s->have = trace_read(s->r, s->batch, ARRAY_LEN(s->batch));
        s->at = 0;
        if (!s->have)
            return false;
    }
}

struct parting {
    bool a_ended, b_ended;
    uint64_t same; /* exits that are alike */
    struct exit_event a, b;
};

static bool part(struct report *a, struct report *b, unsigned vcpu, struct parting *d)
{
    static struct stream x, y;
    bool more_a, more_b;

    x = (struct stream){.r = a->reader, .vcpu = vcpu};
    y = (struct stream){.r = b->reader, .vcpu = vcpu};
    trace_seek(x.r, 0);
    trace_seek(y.r, 0);
    for (d->same = 0;; d->same++) {
        more_a = next(&x, &d->a);
        more_b = next(&y, &d->b);
        if (!more_a || !more_b || !alike(&d->a, &d->b))
            break;
    }
    d->a_ended = !more_a;
    d->b_ended = !more_b;
    return more_a || more_b;
}

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

static void print_partings(struct report *a, struct report *b, struct out *o)
{
    unsigned cpus = trace_info(a->reader)->cpus > trace_info(b->reader)->cpus
                        ? trace_info(a->reader)->cpus
                        : trace_info(b->reader)->cpus;

    for (unsigned c = 0; c < cpus && c < MACHINE_CPUS_MAX; c++) {
        struct parting d;
        bool parts = part(a, b, c, &d);

        out_json_bool(o, "diverges", parts);
        out_json_u64(o, "alike", d.same);
        if (!parts) {
            out_text(o, "vCPU %u: all %" PRIu64 " exits are alike", c, d.same);
            continue;
        }
        out_text(o, "vCPU %u: %" PRIu64 " exits are alike, then", c, d.same);
        print_side("a", a, &d.a, d.a_ended, o);
        print_side("b", b, &d.b, d.b_ended, o);
    }
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

void diff_print(struct report *a, struct report *b, const struct table_ask *ask, struct out *o)
{
    print_partings(a, b, o);
    report_count(a, NULL, NULL);
    report_count(b, NULL, NULL);
    print_changes(a, b, ask, o);
    out_text(o, "a ran %.3f s, b %.3f s", (double)stat_span_ns(&a->stats) / 1e9,
             (double)stat_span_ns(&b->stats) / 1e9);
}
