/*
 * The trace event format that Perfetto and Chrome load: a track for each vCPU with the time in the
 * guest, in handlers and halted as slices, tracks for devices and interrupts (trace_out_irq.c), and
 * counters: exits a second by kind, and what KVM itself counted.
 */
#include "debug/trace/trace_out_perfetto.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "debug/trace/trace_counters.h"
#include "debug/trace/trace_out.h"
#include "vmm/base/esc.h"
#include "vmm/base/x.h"

#define COUNTER_STEPS 400u

double perfetto_us(const struct perfetto *w, uint64_t ns)
{
    return (double)(int64_t)(ns - w->zero) / 1000;
}

void perfetto_begin(struct perfetto *w)
{
    fputs(w->any ? ",\n" : "\n", w->f);
    w->any = true;
}

const char *perfetto_quoted(struct perfetto *w, const char *text)
{
    buf_clear(&w->text);
    esc_json(&w->text, text, strlen(text));
    return buf_str(&w->text);
}

void perfetto_slice(struct perfetto *w, unsigned track, const char *name, const char *cat,
                    uint64_t from, uint64_t ns)
{
    if (from < w->zero) { /* what began before the trace is cut to it */
        ns -= w->zero - from < ns ? w->zero - from : ns;
        from = w->zero;
    }
    perfetto_begin(w);
    fprintf(w->f,
            "{\"ph\":\"X\",\"pid\":%u,\"tid\":%u,\"ts\":%.3f,\"dur\":%.3f,\"cat\":\"%s\","
            "\"name\":%s",
            PERFETTO_PID, track, perfetto_us(w, from), (double)ns / 1000, cat,
            perfetto_quoted(w, name));
}

static void exit_slice(struct perfetto *w, const struct exit_event *ev)
{
    uint64_t linear = ev->cs_base + ev->rip;
    struct exit_access access;
    struct buf what = {0};
    char place[200];

    export_what(ev, w->n, &what);
    perfetto_slice(w, ev->vcpu + 1u, buf_str(&what), exit_kind_name(ev->reason), ev->at_ns,
                   ev->host_ns);
    fprintf(w->f, ",\"args\":{\"seq\":%" PRIu64 ",\"rip\":\"0x%" PRIx64 "\"", ev->seq, linear);
    if (names_place(w->n, linear, ev->flags & EXIT_F_PAST, place, sizeof place)[0])
        fprintf(w->f, ",\"place\":%s", perfetto_quoted(w, place));
    if (exit_access(ev, &access))
        fprintf(w->f, ",\"value\":\"0x%" PRIx64 "\"", access.value);
    fputs("}}", w->f);
    buf_fini(&what);
}

static void counters(struct perfetto *w, uint64_t at_ns)
{
    const char *sep = "";

    if (at_ns < w->step_end)
        return;
    perfetto_begin(w);
    fprintf(w->f, "{\"ph\":\"C\",\"pid\":%u,\"ts\":%.3f,\"name\":\"exits/s\",\"args\":{",
            PERFETTO_PID, perfetto_us(w, w->step_end - w->step_ns));
    for (unsigned k = 0; k < KINDS; k++) {
        if (!w->used[k])
            continue;
        fprintf(w->f, "%s\"%s\":%.0f", sep, exit_kind_name(k < 64 ? k : EXIT_OUR_FIRST + k - 64),
                (double)w->count[k] * 1e9 / (double)w->step_ns);
        w->count[k] = 0;
        sep = ",";
    }
    fputs("}}", w->f);
    w->step_end += (at_ns - w->step_end) / w->step_ns * w->step_ns + w->step_ns;
}

/* ---- what KVM counted ------------------------------------------------------------------------ */

/* A track for each counter that grew: its rate from one reading to the next. */
static void kvm_counters(struct perfetto *w, struct trace_reader *r)
{
    struct trace_counters c;

    counters_load(&c, r);
    for (size_t i = 0; i < c.names; i++) {
        const char *name = perfetto_quoted(w, c.name[i]);

        for (size_t p = 0; counters_growth(&c, i) && p + 1 < c.points; p++) {
            uint64_t from = c.value[p * c.names + i], to = c.value[(p + 1) * c.names + i];
            double seconds = (double)(c.at_ns[p + 1] - c.at_ns[p]) / 1e9;

            perfetto_begin(w);
            fprintf(
                w->f,
                "{\"ph\":\"C\",\"pid\":%u,\"cat\":\"kvm\",\"ts\":%.3f,\"name\":%s,\"args\":{\"per "
                "second\":%.1f}}",
                PERFETTO_PID, perfetto_us(w, c.at_ns[p] > w->zero ? c.at_ns[p] : w->zero), name,
                to > from ? (double)(to - from) / seconds : 0);
        }
    }
    counters_fini(&c);
}

static void mark(struct perfetto *w, const struct exit_event *ev)
{
    perfetto_begin(w);
    fprintf(
        w->f,
        "{\"ph\":\"i\",\"s\":\"p\",\"pid\":%u,\"tid\":%u,\"ts\":%.3f,\"cat\":\"machine\",\"name\":"
        "\"%s\"}",
        PERFETTO_PID, ev->vcpu + 1u, perfetto_us(w, ev->at_ns),
        ev->reason == EXIT_RUN ? "the machine runs" : "the machine stops");
    for (unsigned i = 0; i < MACHINE_CPUS_MAX; i++)
        w->cpu[i].halted_ns = 0;
}

void perfetto_track_name(struct perfetto *w, unsigned track, const char *name)
{
    perfetto_begin(w);
    fprintf(w->f,
            "{\"ph\":\"M\",\"pid\":%u,\"tid\":%u,\"name\":\"thread_name\",\"args\":{\"name\":\"%s"
            "\"}}",
            PERFETTO_PID, track, name);
}

static void put(void *arg, const struct exit_event *ev)
{
    struct perfetto *w = arg;
    unsigned c = ev->vcpu % MACHINE_CPUS_MAX;
    uint64_t entered = ev->at_ns - ev->guest_ns;
    char name[24];

    if (ev->vcpu >= MACHINE_CPUS_MAX)
        return; /* a broken file; there is no such track */
    if (ev->reason == EXIT_STACK)
        return;
    if (ev->reason == EXIT_DEVICE) {
        perfetto_device(w, ev);
        return;
    }
    if (!w->cpu[c].seen) {
        w->cpu[c].seen = true;
        snprintf(name, sizeof name, "vCPU %u", c);
        perfetto_track_name(w, c + 1, name);
    }
    counters(w, ev->at_ns);
    if (!stat_is_note(ev->reason)) {
        w->count[exit_counter(ev->reason)]++;
        w->used[exit_counter(ev->reason)] = true;
    }
    if (ev->reason == EXIT_RUN || ev->reason == EXIT_STOP) {
        mark(w, ev);
        return;
    }
    if (ev->reason == EXIT_INJECT) {
        perfetto_given(w, ev);
        return;
    }
    if (w->cpu[c].halted_ns && entered > w->cpu[c].halted_ns) {
        perfetto_slice(w, c + 1, "halted", "hlt", w->cpu[c].halted_ns,
                       entered - w->cpu[c].halted_ns);
        fputs("}", w->f);
    }
    w->cpu[c].halted_ns = ev->reason == KVM_EXIT_HLT ? ev->at_ns + ev->host_ns : 0;
    perfetto_slice(w, c + 1, ev->cpl == 3 ? "guest (user)" : "guest", "guest", entered,
                   ev->guest_ns);
    fputs("}", w->f);
    if (!stat_is_note(ev->reason))
        perfetto_irq_exit(w, ev);
    exit_slice(w, ev);
}

void export_perfetto(struct report *p, FILE *f)
{
    const struct trace_info *in = trace_info(p->reader);
    uint64_t span = in->last_ns > in->first_ns ? in->last_ns - in->first_ns : 1;
    struct perfetto *w = xcalloc(1, sizeof *w);
    char guest[200];

    w->f = f;
    w->n = trace_names(p->reader);
    w->zero = in->first_ns;
    w->step_ns = span / COUNTER_STEPS + 1;
    w->step_end = in->first_ns + w->step_ns;
    trace_meta(p->reader, "guest", guest, sizeof guest);
    fputs("{\"displayTimeUnit\":\"ns\",\"otherData\":{\"producer\":\"vmscope\"},\"traceEvents\":[",
          f);
    perfetto_begin(w);
    fprintf(f, "{\"ph\":\"M\",\"pid\":%u,\"name\":\"process_name\",\"args\":{\"name\":%s}}",
            PERFETTO_PID, perfetto_quoted(w, guest));
    report_count(p, put, w);
    perfetto_irq_end(w);
    counters(w, w->step_end);
    kvm_counters(w, p->reader);
    fputs("\n]}\n", f);
    buf_fini(&w->text);
    free(w);
}
