/*
 * Devices and interrupts on the timeline. A line raised or a vector requested is a mark on the
 * track of devices, an interrupt given is an instant on its vCPU and the begin of a slice on the
 * track of the vCPU's handlers, which lasts to its EOI; a flow ties the three. Where the EOI was
 * not recorded (chips in the kernel, automatic EOI, exceptions) the first exit behind it stands for
 * it.
 */
#include <inttypes.h>
#include <string.h>

#include "debug/trace/trace_out_perfetto.h"
#include "vmm/base/esc.h"

static void instant(struct perfetto *w, unsigned track, const char *name, const char *cat,
                    uint64_t at_ns)
{
    perfetto_begin(w);
    fprintf(w->f,
            "{\"ph\":\"i\",\"s\":\"t\",\"pid\":%u,\"tid\":%u,\"ts\":%.3f,\"cat\":\"%s\",\"name\":"
            "%s}",
            PERFETTO_PID, track, perfetto_us(w, at_ns), cat, perfetto_quoted(w, name));
}

/* Flows bind to slices, so a moment in which one begins is the shortest slice there is. */
static void moment(struct perfetto *w, unsigned track, const char *name, const char *cat,
                   uint64_t at_ns)
{
    perfetto_slice(w, track, name, cat, at_ns, 1);
    fputs("}", w->f);
}

static void flow(struct perfetto *w, char phase, uint64_t id, unsigned track, uint64_t at_ns)
{
    perfetto_begin(w);
    fprintf(w->f,
            "{\"ph\":\"%c\",%s\"id\":%" PRIu64
            ",\"pid\":%u,\"tid\":%u,\"ts\":%.3f,\"cat\":\"interrupt\",\"name\":\"interrupt\"}",
            phase, phase == 'f' ? "\"bp\":\"e\"," : "", id, PERFETTO_PID, track,
            perfetto_us(w, at_ns));
}

/* From cause to handler to the exit by which it ended. */
static void close_irq(struct perfetto *w, unsigned cpu, unsigned vector, uint64_t end_ns)
{
    struct open_irq *o = &w->cpu[cpu].open[vector];
    char name[60];

    if (!w->cpu[cpu].irqs) {
        snprintf(name, sizeof name, "interrupts of vCPU %u", cpu);
        perfetto_track_name(w, IRQ_TRACK + cpu, name);
        w->cpu[cpu].irqs = true;
    }
    snprintf(name, sizeof name, "interrupt 0x%x", vector);
    perfetto_slice(w, IRQ_TRACK + cpu, name, "interrupt", o->given_ns,
                   end_ns > o->given_ns ? end_ns - o->given_ns : 1);
    fputs("}", w->f);
    w->flows++;
    if (o->cause_ns >= w->zero && o->cause_ns) {
        flow(w, 's', w->flows, DEVICE_TRACK, o->cause_ns);
        flow(w, 't', w->flows, IRQ_TRACK + cpu, o->given_ns);
    } else {
        flow(w, 's', w->flows, IRQ_TRACK + cpu, o->given_ns);
    }
    flow(w, 'f', w->flows, cpu + 1, end_ns);
    *o = (struct open_irq){0};
}

void perfetto_given(struct perfetto *w, const struct exit_event *ev)
{
    unsigned cpu = ev->vcpu, vector = ev->u.inject.vector, line = ev->u.inject.line;
    struct open_irq *o;
    char name[40];

    snprintf(name, sizeof name, "%s 0x%x",
             ev->u.inject.kind == 1   ? "NMI"
             : ev->u.inject.kind == 2 ? "exception"
                                      : "interrupt",
             vector);
    instant(w, cpu + 1, name, "inject", ev->at_ns);
    if (ev->u.inject.kind || vector >= VECTORS)
        return;
    o = &w->cpu[cpu].open[vector];
    if (o->given_ns && o->exit_ns)
        close_irq(w, cpu, vector, o->exit_ns);
    *o = (struct open_irq){.given_ns = ev->at_ns};
    if (line && line <= LINES && w->raised_ns[line - 1])
        o->cause_ns = w->raised_ns[line - 1];
    else
        o->cause_ns = w->cpu[cpu].requested_ns[vector];
    w->cpu[cpu].requested_ns[vector] = 0;
    if (line && line <= LINES)
        w->raised_ns[line - 1] = 0;
}

void perfetto_irq_exit(struct perfetto *w, const struct exit_event *ev)
{
    for (unsigned v = 0; v < VECTORS; v++) {
        struct open_irq *o = &w->cpu[ev->vcpu].open[v];

        if (o->given_ns && !o->exit_ns && ev->at_ns > o->given_ns)
            o->exit_ns = ev->at_ns;
    }
}

/* The 8259s do not know whose interrupt it was: the vCPU that got the vector last. */
static void eoi(struct perfetto *w, const struct exit_event *ev)
{
    const struct exit_device *d = &ev->u.device;
    unsigned best = MACHINE_CPUS_MAX;
    uint64_t given = 0;

    if (d->vector >= VECTORS)
        return;
    for (unsigned i = 0; i < MACHINE_CPUS_MAX; i++) {
        uint64_t at = w->cpu[i].open[d->vector].given_ns;

        if ((d->cpu != DEVICE_NO_CPU && i != d->cpu) || at <= given || at > ev->at_ns)
            continue;
        best = i;
        given = at;
    }
    if (best < MACHINE_CPUS_MAX)
        close_irq(w, best, d->vector, ev->at_ns);
}

void perfetto_device(struct perfetto *w, const struct exit_event *ev)
{
    const struct exit_device *d = &ev->u.device;
    struct buf what = {0};

    if (!w->device_track) {
        perfetto_track_name(w, DEVICE_TRACK, "devices");
        w->device_track = true;
    }
    exit_format(ev, names_reg(w->n, ev), &what);
    if (d->event == DEVICE_EOI) {
        instant(w, DEVICE_TRACK, buf_str(&what), "device", ev->at_ns);
        eoi(w, ev);
    } else {
        moment(w, DEVICE_TRACK, buf_str(&what), "device", ev->at_ns);
    }
    buf_fini(&what);
    if (d->event == DEVICE_LINE && d->line < LINES)
        w->raised_ns[d->line] = ev->at_ns;
    if (d->event == DEVICE_REQUEST && d->vector < VECTORS && d->cpu < MACHINE_CPUS_MAX)
        w->cpu[d->cpu].requested_ns[d->vector] = ev->at_ns;
}

void perfetto_irq_end(struct perfetto *w)
{
    for (unsigned c = 0; c < MACHINE_CPUS_MAX; c++)
        for (unsigned v = 0; v < VECTORS; v++)
            if (w->cpu[c].open[v].exit_ns)
                close_irq(w, c, v, w->cpu[c].open[v].exit_ns);
}
