/*
 * The table of exports, and those that are lines of text.
 */
#include "debug/trace/trace_out.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/esc.h"
#include "vmm/regs.h"

const struct trace_export trace_exports[] = {
    {"perfetto", "timeline for ui.perfetto.dev and chrome://tracing (trace event format, JSON)",
     export_perfetto},
    {"folded", "folded stacks for flame graphs: vCPU, ring, callers, function, operation",
     export_folded},
    {"csv", "one line a record, comma-separated, with a heading", export_csv},
    {"jsonl", "one JSON object a record", export_jsonl},
    {"svg", "a picture: exits over time, and what they were", export_svg},
    {"html", "a page: timeline, tables, histograms", export_html},
    {NULL, NULL, NULL},
};

void export_what(const struct exit_event *ev, const struct trace_names *n, struct buf *out)
{
    struct stat_key k = stat_key_of(ev);

    if (ev->reason == EXIT_DEVICE || ev->reason == EXIT_STACK)
        names_what(n, ev, out); /* with times and addresses */
    else
        table_label(BY_WHAT, &k, n, out);
}

struct lines {
    FILE *f;
    const struct trace_names *n;
    struct buf line, part;
};

/* ---- CSV (RFC 4180) -------------------------------------------------------------------------- */

static void csv_text(struct buf *out, const char *text)
{
    buf_addc(out, '"');
    for (; *text; text++) {
        if (*text == '"')
            buf_addc(out, '"');
        buf_addc(out, *text);
    }
    buf_addc(out, '"');
}

static void csv_row(void *arg, const struct exit_event *ev)
{
    struct lines *l = arg;
    static const char *const space[] = {
        [EXIT_PORT] = "port", [EXIT_GPA] = "gpa", [EXIT_MSR] = "msr"};
    struct exit_access a;
    char place[200];

    buf_clear(&l->line);
    buf_addf(&l->line, "%" PRIu64 ",%" PRIu64 ",", ev->seq, ev->at_ns);
    if (exit_has_cpu(ev))
        buf_addf(&l->line, "%u", ev->vcpu);
    buf_addf(&l->line, ",%s,0x%" PRIx64 ",", exit_kind_name(ev->reason), ev->cs_base + ev->rip);
    csv_text(&l->line, names_place(l->n, ev->cs_base + ev->rip, ev->flags & EXIT_F_PAST, place,
                                   sizeof place));
    buf_addf(&l->line, ",%s,%u,", cpu_mode_name((enum cpu_mode)ev->mode), ev->cpl);
    if (exit_access(ev, &a))
        buf_addf(&l->line, "%s,0x%" PRIx64 ",%u,%s,0x%" PRIx64, space[a.space], a.at, ev->size,
                 a.write ? "write" : "read", a.value);
    else if (ev->reason == EXIT_INJECT)
        buf_addf(&l->line, "vector,0x%x,,,", ev->u.inject.vector);
    else
        buf_adds(&l->line, ",,,,");
    buf_addf(&l->line, ",%u,%u,%u,", ev->guest_ns, ev->host_ns, ev->flags);
    buf_clear(&l->part);
    export_what(ev, l->n, &l->part);
    csv_text(&l->line, buf_str(&l->part));
    buf_addc(&l->line, '\n');
    fwrite(l->line.data, 1, l->line.len, l->f);
}

static void lines_of(struct report *p, FILE *f, report_fn *each)
{
    struct lines l = {.f = f, .n = trace_names(p->reader)};

    report_count(p, each, &l);
    buf_fini(&l.line);
    buf_fini(&l.part);
}

void export_csv(struct report *p, FILE *f)
{
    fputs("seq,at_ns,vcpu,kind,rip,place,mode,cpl,space,address,size,direction,value,guest_ns,"
          "host_ns,flags,what\n",
          f);
    lines_of(p, f, csv_row);
}

/* ---- JSON lines ------------------------------------------------------------------------------ */

/* What a record that is no exit tells, as numbers. */
static void json_event(const struct exit_event *ev, struct buf *out)
{
    const struct exit_device *d = &ev->u.device;
    const char *name;

    if (ev->reason == EXIT_INJECT) {
        buf_addf(out, ",\"vector\":%u", ev->u.inject.vector);
        if (ev->u.inject.line)
            buf_addf(out, ",\"line\":%u", ev->u.inject.line - 1u);
    }
    if (ev->reason == EXIT_KERNEL && (name = exit_kernel_name(ev->u.kernel.event)))
        buf_addf(out, ",\"event\":\"%s\",\"number\":%u", name, ev->u.kernel.number);
    if (ev->reason != EXIT_DEVICE || !(name = exit_device_name(d->event)))
        return;
    buf_addf(out, ",\"event\":\"%s\"", name);
    if (d->line != EXIT_NO_LINE)
        buf_addf(out, ",\"line\":%u", d->line);
    if (d->vector != EXIT_NO_VECTOR)
        buf_addf(out, ",\"vector\":%u", d->vector);
    if (d->event == DEVICE_TIMER_SET)
        buf_addf(out, ",\"after_ns\":%" PRIu64, d->value);
    if (d->event == DEVICE_DMA)
        buf_addf(out, ",\"gpa\":\"0x%" PRIx64 "\",\"bytes\":%" PRIu64 ",\"write\":%s", d->value,
                 d->len, d->write ? "true" : "false");
}

void export_json_record(const struct exit_event *ev, const struct trace_names *n, struct buf *out)
{
    uint64_t linear = ev->cs_base + ev->rip;
    struct exit_access access;
    struct buf what = {0};
    char place[200];

    buf_addf(out, "{\"seq\":%" PRIu64 ",\"at_ns\":%" PRIu64 ",\"kind\":\"%s\"", ev->seq, ev->at_ns,
             exit_kind_name(ev->reason));
    if (exit_has_cpu(ev))
        buf_addf(out, ",\"vcpu\":%u", ev->vcpu);
    if (ev->reason != EXIT_DEVICE)
        buf_addf(out,
                 ",\"rip\":\"0x%" PRIx64 "\",\"mode\":\"%s\",\"cpl\":%u,\"guest_ns\":%u,"
                 "\"host_ns\":%u,\"flags\":%u",
                 linear, cpu_mode_name((enum cpu_mode)ev->mode), ev->cpl, ev->guest_ns, ev->host_ns,
                 ev->flags);
    json_event(ev, out);
    if (names_place(n, linear, ev->flags & EXIT_F_PAST, place, sizeof place)[0]) {
        buf_adds(out, ",\"place\":");
        esc_json(out, place, strlen(place));
    }
    if (exit_access(ev, &access))
        buf_addf(out, ",\"value\":\"0x%" PRIx64 "\"", access.value);
    export_what(ev, n, &what);
    buf_adds(out, ",\"what\":");
    esc_json(out, buf_str(&what), what.len);
    buf_addc(out, '}');
    buf_fini(&what);
}

static void json_row(void *arg, const struct exit_event *ev)
{
    struct lines *l = arg;

    buf_clear(&l->line);
    export_json_record(ev, l->n, &l->line);
    buf_addc(&l->line, '\n');
    fwrite(l->line.data, 1, l->line.len, l->f);
}

void export_jsonl(struct report *p, FILE *f)
{
    lines_of(p, f, json_row);
}
