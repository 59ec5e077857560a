/*
 * What the parts of the Perfetto export share: trace_out_perfetto.c writes tracks, slices and
 * counters, trace_out_irq.c what devices and interrupts did. One thread.
 */
#ifndef DEBUG_TRACE_OUT_PERFETTO_H
#define DEBUG_TRACE_OUT_PERFETTO_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "debug/trace/trace_names.h"
#include "vmm/base/buf.h"
#include "vmm/exit.h"
#include "vmm/machine.h"

#define PERFETTO_PID 1u
#define DEVICE_TRACK 90u  /* what devices did */
#define IRQ_TRACK    100u /* plus the vCPU's number: its handlers */
#define VECTORS      256u
#define LINES        MACHINE_GSIS
#define KINDS        80u

/* An interrupt that was given to a vCPU and not ended yet. */
struct open_irq {
    uint64_t given_ns;
    uint64_t exit_ns;  /* its first exit; ends it where no EOI was recorded */
    uint64_t cause_ns; /* when a device asked for it; 0 unknown */
};

struct perfetto {
    FILE *f;
    const struct trace_names *n;
    uint64_t zero; /* ns that are ts 0 */
    bool any;
    uint64_t flows;
    struct buf text;
    bool device_track;
    struct {
        bool seen, irqs;
        uint64_t halted_ns; /* end of the halt's exit, 0 none */
        struct open_irq open[VECTORS];
        uint64_t requested_ns[VECTORS];
    } cpu[MACHINE_CPUS_MAX];
    uint64_t raised_ns[LINES];
    /* counters */
    uint64_t step_ns, step_end;
    uint32_t count[KINDS];
    bool used[KINDS];
};

/* The comma and newline before each event but the first. */
void perfetto_begin(struct perfetto *w);
/* `text` as a JSON string, until the next call. */
const char *perfetto_quoted(struct perfetto *w, const char *text);
/* A slice up to, but without, its closing brace, so that arguments may follow. */
void perfetto_slice(struct perfetto *w, unsigned track, const char *name, const char *cat,
                    uint64_t from, uint64_t ns);
void perfetto_track_name(struct perfetto *w, unsigned track, const char *name);
/* Microseconds from the begin of the trace. */
double perfetto_us(const struct perfetto *w, uint64_t ns);

/* A record of kind `device`. */
void perfetto_device(struct perfetto *w, const struct exit_event *ev);
/* A record of kind `inject`. */
void perfetto_given(struct perfetto *w, const struct exit_event *ev);
/* An exit of a vCPU: the first one behind an interrupt may have to stand for its end. */
void perfetto_irq_exit(struct perfetto *w, const struct exit_event *ev);
/* The end of the trace: what is still open. */
void perfetto_irq_end(struct perfetto *w);

#endif
