/*
 * The trace event format that Perfetto and Chrome load: a track for each vCPU with the time in the
 * guest, in handlers and halted as slices, one for its interrupts, tied to the exit that follows by
 * flows, and counters of exits a second by kind.
 */
#include "debug/trace_out.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/esc.h"
#include "vmm/base/x.h"

#define PID           1u
#define IRQ_TRACK     100u /* plus the vCPU's number */
#define COUNTER_STEPS 400u
#define KINDS         80u

struct writer {
    FILE *f;
    const struct trace_names *n;
    uint64_t zero; /* ns that are ts 0 */
    bool any;
    uint64_t flows;
    struct buf text;
    struct {
        bool seen;
        uint64_t halted_ns; /* end of the halt's exit, 0 none */
        uint64_t irq_ns;    /* when an interrupt was given that no exit followed yet */
        unsigned vector;
    } cpu[MACHINE_CPUS_MAX];
    /* counters */
    uint64_t step_ns, step_end;
    uint32_t count[KINDS];
    bool used[KINDS];
};

static double us(const struct writer *w, uint64_t ns)
{
    return (double)(int64_t)(ns - w->zero) / 1000;
}

static void begin(struct writer *w)
{
    fputs(w->any ? ",\n" : "\n", w->f);
    w->any = true;
}

static void slice(struct writer *w, unsigned track, const char *name, const char *cat,
                  uint64_t from, uint64_t ns)
{
    if (from < w->zero) { /* what began before the trace is cut to it */
        ns -= w->zero - from < ns ? w->zero - from : ns;
        from = w->zero;
    }
    buf_clear(&w->text);
    esc_json(&w->text, name, strlen(name));
    begin(w);
    fprintf(w->f,
            "{\"ph\":\"X\",\"pid\":%u,\"tid\":%u,\"ts\":%.3f,\"dur\":%.3f,\"cat\":\"%s\","
            "\"name\":%s",
            PID, track, us(w, from), (double)ns / 1000, cat, buf_str(&w->text));
}

static void exit_slice(struct writer *w, const struct exit_event *ev)
{
    uint64_t linear = ev->cs_base + ev->rip, value;
    struct buf what = {0};
    char place[200];

    export_what(ev, w->n, &what);
    slice(w, ev->vcpu + 1u, buf_str(&what), exit_kind_name(ev->reason), ev->at_ns, ev->host_ns);
    fprintf(w->f, ",\"args\":{\"seq\":%" PRIu64 ",\"rip\":\"0x%" PRIx64 "\"", ev->seq, linear);
    if (names_place(w->n, linear, ev->flags & EXIT_F_PAST, place, sizeof place)[0]) {
        buf_clear(&w->text);
        esc_json(&w->text, place, strlen(place));
        fprintf(w->f, ",\"place\":%s", buf_str(&w->text));
    }
    if (export_value(ev, &value))
        fprintf(w->f, ",\"value\":\"0x%" PRIx64 "\"", value);
    fputs("}}", w->f);
    buf_fini(&what);
}

static void interrupt(struct writer *w, const struct exit_event *ev)
{
    unsigned c = ev->vcpu % MACHINE_CPUS_MAX;

    begin(w);
    fprintf(w->f,
            "{\"ph\":\"i\",\"s\":\"t\",\"pid\":%u,\"tid\":%u,\"ts\":%.3f,\"cat\":\"inject\","
            "\"name\":\"%s 0x%x\"}",
            PID, ev->vcpu + 1u, us(w, ev->at_ns), ev->u.inject.kind == 1 ? "NMI" : "interrupt",
            ev->u.inject.vector);
    w->cpu[c].irq_ns = ev->at_ns;
    w->cpu[c].vector = ev->u.inject.vector;
}

/* The first exit behind an interrupt: a slice on the track of interrupts as long as that took, and
 * a flow from it to the exit. */
static void end_interrupt(struct writer *w, const struct exit_event *ev)
{
    unsigned c = ev->vcpu % MACHINE_CPUS_MAX;
    uint64_t from = w->cpu[c].irq_ns;
    char name[40];

    if (!from || ev->at_ns < from)
        return;
    w->cpu[c].irq_ns = 0;
    snprintf(name, sizeof name, "interrupt 0x%x", w->cpu[c].vector);
    slice(w, IRQ_TRACK + c, name, "interrupt", from, ev->at_ns - from);
    fputs("}", w->f);
    w->flows++;
    begin(w);
    fprintf(w->f,
            "{\"ph\":\"s\",\"id\":%" PRIu64 ",\"pid\":%u,\"tid\":%u,\"ts\":%.3f,\"cat\":"
            "\"interrupt\",\"name\":\"to its first exit\"}",
            w->flows, PID, IRQ_TRACK + c, us(w, from));
    begin(w);
    fprintf(w->f,
            "{\"ph\":\"f\",\"bp\":\"e\",\"id\":%" PRIu64 ",\"pid\":%u,\"tid\":%u,\"ts\":%.3f,"
            "\"cat\":\"interrupt\",\"name\":\"to its first exit\"}",
            w->flows, PID, ev->vcpu + 1u, us(w, ev->at_ns));
}

static void counters(struct writer *w, uint64_t at_ns)
{
    const char *sep = "";

    if (at_ns < w->step_end)
        return;
    begin(w);
    fprintf(w->f, "{\"ph\":\"C\",\"pid\":%u,\"ts\":%.3f,\"name\":\"exits/s\",\"args\":{", PID,
            us(w, w->step_end - w->step_ns));
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

static void mark(struct writer *w, const struct exit_event *ev)
{
    begin(w);
    fprintf(
        w->f,
        "{\"ph\":\"i\",\"s\":\"p\",\"pid\":%u,\"tid\":%u,\"ts\":%.3f,\"cat\":\"machine\",\"name\":"
        "\"%s\"}",
        PID, ev->vcpu + 1u, us(w, ev->at_ns),
        ev->reason == EXIT_RUN ? "the machine runs" : "the machine stops");
    for (unsigned i = 0; i < MACHINE_CPUS_MAX; i++)
        w->cpu[i].halted_ns = 0;
}

static void track_name(struct writer *w, unsigned track, const char *name, unsigned n)
{
    begin(w);
    fprintf(w->f,
            "{\"ph\":\"M\",\"pid\":%u,\"tid\":%u,\"name\":\"thread_name\",\"args\":{\"name\":\"%s "
            "%u\"}}",
            PID, track, name, n);
}

static void put(void *arg, const struct exit_event *ev)
{
    struct writer *w = arg;
    unsigned c = ev->vcpu % MACHINE_CPUS_MAX;
    uint64_t entered = ev->at_ns - ev->guest_ns;

    if (ev->vcpu >= MACHINE_CPUS_MAX)
        return; /* a broken file; there is no such track */
    if (!w->cpu[c].seen) {
        w->cpu[c].seen = true;
        track_name(w, c + 1, "vCPU", c);
        track_name(w, IRQ_TRACK + c, "interrupts of vCPU", c);
    }
    counters(w, ev->at_ns);
    if (!stat_is_note(ev->reason)) {
        w->count[stat_counter(ev->reason)]++;
        w->used[stat_counter(ev->reason)] = true;
    }
    if (ev->reason == EXIT_RUN || ev->reason == EXIT_STOP) {
        mark(w, ev);
        return;
    }
    if (ev->reason == EXIT_INJECT) {
        interrupt(w, ev);
        return;
    }
    if (w->cpu[c].halted_ns && entered > w->cpu[c].halted_ns) {
        slice(w, c + 1, "halted", "hlt", w->cpu[c].halted_ns, entered - w->cpu[c].halted_ns);
        fputs("}", w->f);
    }
    w->cpu[c].halted_ns = ev->reason == KVM_EXIT_HLT ? ev->at_ns + ev->host_ns : 0;
    slice(w, c + 1, ev->cpl == 3 ? "guest (user)" : "guest", "guest", entered, ev->guest_ns);
    fputs("}", w->f);
    end_interrupt(w, ev);
    exit_slice(w, ev);
}

void export_perfetto(struct report *p, FILE *f)
{
    const struct trace_info *in = trace_info(p->reader);
    uint64_t span = in->last_ns > in->first_ns ? in->last_ns - in->first_ns : 1;
    struct writer *w = xcalloc(1, sizeof *w);
    char guest[200];

    w->f = f;
    w->n = trace_names(p->reader);
    w->zero = in->first_ns;
    w->step_ns = span / COUNTER_STEPS + 1;
    w->step_end = in->first_ns + w->step_ns;
    trace_meta(p->reader, "guest", guest, sizeof guest);
    fputs("{\"displayTimeUnit\":\"ns\",\"otherData\":{\"producer\":\"vmscope\"},\"traceEvents\":[",
          f);
    begin(w);
    esc_json(&w->text, guest, strlen(guest));
    fprintf(f, "{\"ph\":\"M\",\"pid\":%u,\"name\":\"process_name\",\"args\":{\"name\":%s}}", PID,
            buf_str(&w->text));
    report_count(p, put, w);
    counters(w, w->step_end);
    fputs("\n]}\n", f);
    buf_fini(&w->text);
    free(w);
}
