/*
 * From cells to tables: groups, order, text.
 */
#include "debug/trace/trace_table.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/x.h"

const char *const table_by_names[] = {
    [BY_KIND] = "kind",     [BY_PORT] = "port", [BY_GPA] = "gpa",       [BY_MSR] = "msr",
    [BY_VECTOR] = "vector", [BY_RIP] = "rip",   [BY_SYMBOL] = "symbol", [BY_VCPU] = "vcpu",
    [BY_DEVICE] = "device", [BY_WHAT] = "what", [BY_SITE] = "site",     [BY_COUNT] = NULL,
};
const char *const table_sort_names[] = {
    [SORT_COUNT] = "count", [SORT_TIME] = "time", [SORT_MEAN] = "mean",
    [SORT_P99] = "p99",     [SORT_MAX] = "max",   [SORTS] = NULL};

static int index_of(const char *const *names, const char *name)
{
    for (int i = 0; names[i]; i++)
        if (!strcmp(names[i], name))
            return i;
    return -1;
}

int table_by_name(const char *name)
{
    return index_of(table_by_names, name);
}

int table_sort_name(const char *name)
{
    return index_of(table_sort_names, name);
}

/* ---- groups ---------------------------------------------------------------------------------- */

static uint64_t text_hash(const char *text)
{
    uint64_t h = 0xcbf29ce484222325u;

    for (; *text; text++)
        h = (h ^ (uint8_t)*text) * 0x100000001b3u;
    return h;
}

static bool is_msr(unsigned reason)
{
    return reason == KVM_EXIT_X86_RDMSR || reason == KVM_EXIT_X86_WRMSR;
}

static const char *device_of(const struct stat_key *k, const struct trace_names *n)
{
    struct exit_event ev;

    stat_key_event(k, &ev);
    return names_dev(n, &ev);
}

static uint64_t past(const struct stat_key *k)
{
    return k->flags & EXIT_F_PAST ? 1 : 0;
}

/* False when exits of this key have no such property. */
static bool group_of(enum table_by by, const struct stat_key *k, const struct trace_names *n,
                     uint64_t g[2])
{
    uint64_t start;
    const char *text;

    g[0] = g[1] = 0;
    switch (by) {
    case BY_KIND:
        g[0] = k->reason;
        return true;
    case BY_PORT:
        g[0] = k->what << 1 | k->write;
        return k->reason == KVM_EXIT_IO;
    case BY_GPA:
        g[0] = k->what;
        g[1] = k->write;
        return k->reason == KVM_EXIT_MMIO;
    case BY_MSR:
        g[0] = k->what << 1 | k->write;
        return is_msr(k->reason);
    case BY_VECTOR:
        g[0] = k->what;
        g[1] = k->reason;
        return k->reason == EXIT_INJECT || k->reason == KVM_EXIT_SHUTDOWN;
    case BY_RIP:
        g[0] = k->rip;
        g[1] = past(k);
        return !(k->flags & STAT_FOLDED) && !stat_is_note(k->reason);
    case BY_SYMBOL:
        text = names_symbol(n, k->rip - past(k), &start);
        g[0] = text ? start : 0;
        g[1] = text != NULL;
        return !(k->flags & STAT_FOLDED) && !stat_is_note(k->reason);
    case BY_VCPU:
        g[0] = k->vcpu;
        return !stat_is_note(k->reason);
    case BY_DEVICE:
        text = device_of(k, n);
        g[0] = text ? text_hash(text) : k->reason;
        g[1] = (text != NULL) | (stat_is_note(k->reason) ? 2u : 0);
        return true;
    case BY_WHAT:
    case BY_SITE:
        g[0] = k->what;
        g[1] = (uint64_t)k->reason << 24 | (uint64_t)k->size << 16 | (uint64_t)k->flags << 8 |
               k->write;
        if (by == BY_SITE)
            g[1] ^= k->rip * 0x9e3779b97f4a7c15u;
        return true;
    case BY_COUNT:
        break;
    }
    return false;
}

/* ---- texts ----------------------------------------------------------------------------------- */

static void add_reg_name(const struct stat_key *k, const struct trace_names *n, struct buf *out)
{
    struct exit_event ev;
    const char *name;

    stat_key_event(k, &ev);
    name = names_reg(n, &ev);
    if (name)
        buf_addf(out, " (%s)", name);
    else if (k->flags & EXIT_F_UNCLAIMED)
        buf_adds(out, " (no device)");
}

static void add_size(const struct stat_key *k, struct buf *out)
{
    if (k->size)
        buf_addf(out, ", %u byte%s", k->size, k->size == 1 ? "" : "s");
}

static void add_what(const struct stat_key *k, const struct trace_names *n, struct buf *out)
{
    struct exit_event ev;
    const char *s = k->flags & EXIT_F_STRING ? "s" : "";

    stat_key_event(k, &ev);
    if (k->flags & STAT_FOLDED) {
        buf_addf(out, "%s (other sites)", exit_kind_name(k->reason));
    } else if (k->reason == KVM_EXIT_IO) {
        buf_addf(out, "%s%s 0x%" PRIx64, k->write ? "out" : "in", s, k->what);
        add_reg_name(k, n, out);
        add_size(k, out);
    } else if (k->reason == KVM_EXIT_MMIO) {
        buf_addf(out, "%s 0x%" PRIx64, k->write ? "write" : "read", k->what);
        add_reg_name(k, n, out);
        add_size(k, out);
    } else if (is_msr(k->reason)) {
        const char *name = exit_msr_name((uint32_t)k->what);

        buf_addf(out, "%s 0x%" PRIx64, k->write ? "wrmsr" : "rdmsr", k->what);
        if (name)
            buf_addf(out, " (%s)", name);
    } else if (k->reason == EXIT_KERNEL) {
        buf_adds(out, "kernel: ");
        exit_kernel_what(ev.u.kernel.event, ev.u.kernel.number, k->write,
                         (unsigned)(k->what >> 32 & 3), out);
    } else if (k->reason == EXIT_DEVICE) {
        exit_device_what(&ev.u.device, names_dev(n, &ev), out);
    } else if (k->reason == EXIT_INJECT || k->reason == KVM_EXIT_SHUTDOWN ||
               k->reason == KVM_EXIT_SYSTEM_EVENT) {
        exit_format(&ev, NULL, out);
    } else {
        buf_adds(out, exit_kind_name(k->reason));
    }
}

static void add_place(const struct stat_key *k, const struct trace_names *n, struct buf *out)
{
    char name[200];

    buf_addf(out, "0x%" PRIx64, k->rip);
    if (names_place(n, k->rip, past(k) != 0, name, sizeof name)[0])
        buf_addf(out, " <%s>", name);
}

void table_label(enum table_by by, const struct stat_key *k, const struct trace_names *n,
                 struct buf *out)
{
    uint64_t start;
    const char *text;

    switch (by) {
    case BY_KIND:
        buf_adds(out, exit_kind_name(k->reason));
        break;
    case BY_PORT:
        buf_addf(out, "0x%" PRIx64 " %s", k->what, k->write ? "out" : "in");
        add_reg_name(k, n, out);
        break;
    case BY_GPA:
        buf_addf(out, "0x%" PRIx64 " %s", k->what, k->write ? "write" : "read");
        add_reg_name(k, n, out);
        break;
    case BY_RIP:
        add_place(k, n, out);
        break;
    case BY_SYMBOL:
        text = names_symbol(n, k->rip - past(k), &start);
        buf_adds(out, text ? text : "(no symbol)");
        break;
    case BY_VCPU:
        buf_addf(out, "%u", k->vcpu);
        break;
    case BY_DEVICE:
        text = device_of(k, n);
        if (text)
            buf_addf(out, "%s%s", text, stat_is_note(k->reason) ? ": what it did" : "");
        else
            buf_addf(out, "(%s)", exit_kind_name(k->reason));
        break;
    case BY_SITE:
        add_what(k, n, out);
        if (k->reason == EXIT_DEVICE) /* it was at no instruction */
            break;
        buf_adds(out, " at ");
        add_place(k, n, out);
        break;
    case BY_MSR:
    case BY_VECTOR:
    case BY_WHAT:
    case BY_COUNT:
        add_what(k, n, out);
        break;
    }
}

/* What was done, as conditions. */
static void filter_what(const struct stat_key *k, struct buf *out)
{
    struct exit_event ev;

    stat_key_event(k, &ev);
    buf_addf(out, "kind==%s", exit_kind_name(k->reason));
    if (k->reason == KVM_EXIT_IO)
        buf_addf(out, " && port==0x%" PRIx64 " && write==%u", k->what, k->write);
    else if (k->reason == KVM_EXIT_MMIO)
        buf_addf(out, " && gpa==0x%" PRIx64 " && write==%u", k->what, k->write);
    else if (is_msr(k->reason))
        buf_addf(out, " && msr==0x%" PRIx64, k->what);
    else if (k->reason == EXIT_INJECT)
        buf_addf(out, " && vector==0x%x", ev.u.inject.vector);
    else if (k->reason == EXIT_KERNEL && exit_kernel_name(ev.u.kernel.event))
        buf_addf(out, " && event==k_%s && number==0x%x", exit_kernel_name(ev.u.kernel.event),
                 ev.u.kernel.number);
    else if (k->reason == EXIT_DEVICE && exit_device_name(ev.u.device.event))
        buf_addf(out, " && event==d_%s", exit_device_name(ev.u.device.event));
    if (k->size)
        buf_addf(out, " && size==%u", k->size);
    if (k->reason == EXIT_DEVICE && ev.u.device.line != EXIT_NO_LINE)
        buf_addf(out, " && line==%u", ev.u.device.line);
}

bool table_filter(enum table_by by, const struct stat_key *k, const struct trace_names *n,
                  struct buf *out)
{
    uint64_t start;
    const char *text;

    if (k->flags & STAT_FOLDED && by != BY_KIND && by != BY_VCPU)
        return false;
    switch (by) {
    case BY_KIND:
        buf_addf(out, "kind==%s", exit_kind_name(k->reason));
        return true;
    case BY_VCPU:
        buf_addf(out, "vcpu==%u", k->vcpu);
        return true;
    case BY_RIP:
        buf_addf(out, "rip==0x%" PRIx64, k->rip);
        return true;
    case BY_SYMBOL:
        text = names_symbol(n, k->rip - past(k), &start);
        if (!text || strpbrk(text, "\"\\"))
            return false;
        buf_addf(out, "symbol(rip)==\"%s\"", text);
        return true;
    case BY_PORT:
    case BY_GPA:
    case BY_MSR:
        buf_addf(out, "%s==0x%" PRIx64 " && write==%u", table_by_names[by], k->what, k->write);
        return true;
    case BY_VECTOR:
    case BY_WHAT:
        filter_what(k, out);
        return true;
    case BY_SITE:
        filter_what(k, out);
        if (k->reason != EXIT_DEVICE)
            buf_addf(out, " && rip==0x%" PRIx64, k->rip);
        return true;
    case BY_DEVICE: /* a device has many ports */
    case BY_COUNT:
        break;
    }
    return false;
}

/* ---- rows ------------------------------------------------------------------------------------ */

struct grouped {
    uint64_t g[2];
    uint32_t cell;
};

static int by_group(const void *a, const void *b)
{
    const struct grouped *x = a, *y = b;

    if (x->g[0] != y->g[0])
        return x->g[0] < y->g[0] ? -1 : 1;
    if (x->g[1] != y->g[1])
        return x->g[1] < y->g[1] ? -1 : 1;
    return x->cell < y->cell ? -1 : 1;
}

struct order {
    enum table_sort sort;
    uint32_t trip;
};

static uint64_t weight(const struct table_row *r, const struct order *by)
{
    const struct stat_sum *s = &r->sum;

    switch (by->sort) {
    case SORT_TIME:
        return stat_cost_ns(s, by->trip);
    case SORT_MEAN:
        return s->count ? s->host_sum / s->count : 0;
    case SORT_P99:
        return stat_quantile(s->hist, 0.99, s->host_min, s->host_max);
    case SORT_MAX:
        return s->host_max;
    case SORT_COUNT:
    case SORTS:
        break;
    }
    return s->count;
}

static int by_weight(const void *a, const void *b, void *arg)
{
    uint64_t x = weight(a, arg), y = weight(b, arg);
    const struct table_row *r = a, *q = b;

    if (x != y)
        return x > y ? -1 : 1;
    if (r->group[0] != q->group[0])
        return r->group[0] < q->group[0] ? -1 : 1;
    return r->group[1] < q->group[1] ? -1 : 1;
}

static size_t group_cells(const struct trace_stats *t, const struct trace_names *n,
                          const struct table_ask *ask, struct grouped *list)
{
    size_t count = 0;

    for (unsigned i = 0; i < t->cells; i++) {
        struct exit_event ev;

        stat_key_event(&t->cell[i].key, &ev);
        if (!group_of(ask->by, &t->cell[i].key, n, list[count].g) ||
            (ask->filter && !filter_match(ask->filter, &ev)))
            continue;
        list[count++].cell = i;
    }
    if (count)
        qsort(list, count, sizeof *list, by_group);
    return count;
}

struct table_row *table_rows(const struct trace_stats *t, const struct trace_names *n,
                             const struct table_ask *ask, size_t *count)
{
    struct grouped *list = xcalloc(t->cells + 1, sizeof *list);
    size_t cells = group_cells(t, n, ask, list), rows = 0;
    struct order order = {ask->sort, stat_trip_ns(t)};
    struct table_row *row = NULL, *r = NULL;

    for (size_t i = 0; i < cells; i++)
        rows += !i || memcmp(list[i].g, list[i - 1].g, sizeof list[i].g);
    row = xcalloc(rows + 1, sizeof *row);
    for (size_t i = 0; i < cells; i++) {
        const struct stat_cell *c = &t->cell[list[i].cell];

        if (!i || memcmp(list[i].g, list[i - 1].g, sizeof list[i].g)) {
            r = r ? r + 1 : row;
            memcpy(r->group, list[i].g, sizeof r->group);
            r->example = c;
        }
        stat_sum_add(&r->sum, c);
    }
    free(list);
    if (rows)
        qsort_r(row, rows, sizeof *row, by_weight, &order);
    *count = rows;
    return row;
}

/* ---- printing -------------------------------------------------------------------------------- */

static double percent(uint64_t part, uint64_t whole)
{
    return whole ? 100.0 * (double)part / (double)whole : 0;
}

static void us_cell(struct out *o, uint64_t ns)
{
    double us = (double)ns / 1000;

    out_cell_num(o, us, us < 1000 ? "%.2f" : "%.0f", us);
}

static void print_row(const struct trace_stats *t, const struct trace_names *n,
                      const struct table_ask *ask, const struct table_row *r, uint32_t trip,
                      struct out *o)
{
    const struct stat_sum *s = &r->sum;
    double seconds = (double)stat_span_ns(t) / 1e9;
    double rate = seconds > 0 ? (double)s->count / seconds : 0;
    double share = percent(s->count, t->records);
    double time = percent(stat_cost_ns(s, trip), stat_active_ns(t));
    bool note = stat_is_note(r->example->key.reason) && s->host_max == 0;
    struct buf label = {0};

    table_label(ask->by, &r->example->key, n, &label);
    out_row(o);
    out_cell(o, "%s", buf_str(&label));
    out_cell_u64(o, s->count);
    out_cell_num(o, rate, rate < 100 ? "%.1f" : "%.0f", rate);
    if (note) { /* no exit, so no share and no time */
        for (int i = 0; i < 7; i++)
            out_cell(o, "-");
        buf_fini(&label);
        return;
    }
    out_cell_num(o, share, "%.1f%%", share);
    out_cell_num(o, time, "%.1f%%", time);
    us_cell(o, s->host_min);
    us_cell(o, s->count ? s->host_sum / s->count : 0);
    us_cell(o, stat_quantile(s->hist, 0.50, s->host_min, s->host_max));
    us_cell(o, stat_quantile(s->hist, 0.99, s->host_min, s->host_max));
    us_cell(o, s->host_max);
    buf_fini(&label);
}

/* Marks of the machine itself are no exits. */
static void table_summary(const struct trace_stats *t, struct out *o)
{
    double seconds = (double)stat_span_ns(t) / 1e9;
    uint32_t trip = stat_trip_ns(t);
    uint64_t wait = 0;
    struct buf line = {0};

    for (unsigned i = 0; i < t->cells; i++)
        wait += t->cell[i].wait_sum;
    buf_addf(&line, "%" PRIu64 " exits in %.3f s of running", t->records, seconds);
    if (seconds > 0)
        buf_addf(&line, ", %.0f a second", (double)t->records / seconds);
    if (wait)
        buf_addf(&line, "; halted %.1f%% of the time", percent(wait, stat_active_ns(t)));
    if (trip)
        buf_addf(&line, "; a crossing costs %.1f us here", trip / 1000.0);
    out_text(o, "%s", buf_str(&line));
    if (t->skipped)
        out_text(o, "%" PRIu64 " more exits did not pass the filter and are not counted",
                 t->skipped);
    if (t->folded)
        out_text(o, "%" PRIu64 " exits came from more than %u places and are counted by kind alone",
                 t->folded, STAT_CELLS_MAX);
    if (t->dropped)
        out_text(o, "%" PRIu64 " records were overwritten before they could be counted",
                 t->dropped);
    out_json_u64(o, "total", t->records);
    out_json_u64(o, "running_ns", stat_span_ns(t));
    out_json_u64(o, "halted_ns", wait);
    out_json_u64(o, "crossing_ns", trip);
    out_json_u64(o, "skipped", t->skipped);
    out_json_u64(o, "folded", t->folded);
    out_json_u64(o, "dropped", t->dropped);
    buf_fini(&line);
}

void table_print(const struct trace_stats *t, const struct trace_names *n,
                 const struct table_ask *ask, struct out *o)
{
    const char *const columns[] = {table_by_names[ask->by],
                                   ">count",
                                   ">per second",
                                   ">exits",
                                   ">time",
                                   ">min us",
                                   ">mean",
                                   ">p50",
                                   ">p99",
                                   ">max",
                                   NULL};
    size_t rows;
    struct table_row *row = table_rows(t, n, ask, &rows);
    uint32_t trip = stat_trip_ns(t);

    out_table(o, "exits",
              t->records || t->notes ? "No exit that was counted has such a key."
              : ask->empty           ? ask->empty
                                     : "The guest has not left KVM_RUN yet.",
              columns);
    for (size_t i = 0; i < rows && (!ask->top || i < ask->top); i++)
        print_row(t, n, ask, &row[i], trip, o);
    out_table_end(o);
    if (ask->top && rows > ask->top)
        out_text(o, "%zu more rows: `top %zu` shows all", rows - ask->top, rows);
    table_summary(t, o);
    free(row);
}

/* ---- histograms ------------------------------------------------------------------------------ */

#define BAR_MAX 40

static void print_hist(const char *name, const char *what, const uint32_t hist[STAT_BUCKETS],
                       struct out *o)
{
    static const char *const columns[] = {">from ns", ">to ns", ">count", ">share", "", NULL};
    uint64_t octave[32] = {0}, total = 0, most = 0;
    unsigned first = 32, last = 0;

    for (unsigned b = 0; b < STAT_BUCKETS; b++) {
        uint64_t low = stat_bucket_floor(b);
        unsigned k = low ? 63u - (unsigned)__builtin_clzll(low) : 0;

        octave[k] += hist[b];
        total += hist[b];
    }
    for (unsigned k = 0; k < 32; k++) {
        if (octave[k] > most)
            most = octave[k];
        if (octave[k] && first == 32)
            first = k;
        if (octave[k])
            last = k;
    }
    out_text(o, "%s", what);
    out_table(o, name, "nothing was counted", columns);
    for (unsigned k = first; k <= last && total; k++) {
        char bar[BAR_MAX + 1] = {0};
        double share = percent(octave[k], total);

        memset(bar, '#', most ? (size_t)((octave[k] * BAR_MAX + most - 1) / most) : 0);
        out_row(o);
        out_cell_u64(o, k ? 1ull << k : 0);
        out_cell_u64(o, 2ull << k);
        out_cell_u64(o, octave[k]);
        out_cell_num(o, share, "%.1f%%", share);
        out_cell(o, "%s", bar);
    }
    out_table_end(o);
}

void table_hist(const struct trace_stats *t, const struct trace_filter *filter, int reason,
                struct out *o)
{
    struct stat_sum sum = {0};
    uint32_t guest[STAT_BUCKETS] = {0};

    for (unsigned i = 0; i < t->cells; i++) {
        struct exit_event ev;

        stat_key_event(&t->cell[i].key, &ev);
        if ((reason < 0 || reason == ev.reason) && filter_match(filter, &ev))
            stat_sum_add(&sum, &t->cell[i]);
    }
    for (unsigned k = 0; k < 80; k++)
        for (unsigned b = 0; b < STAT_BUCKETS; b++)
            if (reason < 0 || k == exit_counter((unsigned)reason))
                guest[b] += t->guest_hist[k][b];
    print_hist("handler_ns", "time in handlers", sum.hist, o);
    if (!filter)
        print_hist("guest_ns", "time inside KVM_RUN before the exit", guest, o);
}

/* ---- lists ----------------------------------------------------------------------------------- */

const char *const table_list_columns[] = {">seq", ">at us",    ">cpu",     "rip", "kind",
                                          "what", ">guest us", ">host us", NULL};

void table_list_row(const struct exit_event *ev, const struct trace_names *n, uint64_t zero_ns,
                    struct out *o)
{
    uint64_t linear = ev->cs_base + ev->rip;
    double at = (double)(int64_t)(ev->at_ns - zero_ns) / 1000;
    struct buf what = {0};
    char name[200];

    names_what(n, ev, &what);
    names_place_now(n, ev, name, sizeof name);
    out_row(o);
    out_cell_u64(o, ev->seq);
    out_cell_num(o, at, "%+.1f", at);
    if (exit_has_cpu(ev))
        out_cell_u64(o, ev->vcpu);
    else
        out_cell(o, "-");
    if (ev->reason == EXIT_DEVICE)
        out_cell(o, "-");
    else
        out_cell(o, "0x%" PRIx64 "%s%s%s", linear, name[0] ? " <" : "", name, name[0] ? ">" : "");
    out_cell(o, "%s", exit_kind_name(ev->reason));
    out_cell(o, "%s", buf_str(&what));
    out_cell_num(o, ev->guest_ns / 1000.0, "%.1f", ev->guest_ns / 1000.0);
    out_cell_num(o, ev->host_ns / 1000.0, "%.1f", ev->host_ns / 1000.0);
    buf_fini(&what);
}
