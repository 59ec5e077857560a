/*
 * One exit explained for people who learn: what the processor did, why that leaves the guest, what
 * KVM handed out, what vmscope answered and what the guest sees next. Any thread.
 */
#ifndef DEBUG_EXPLAIN_H
#define DEBUG_EXPLAIN_H

#include <stdbool.h>

#include "debug/out.h"
#include "debug/trace/trace_names.h"
#include "vmm/exit.h"

/* The text of one reason. */
struct explain_kind {
    unsigned reason;
    const char *did;    /* "The guest executed IN or OUT …" */
    const char *vtx;    /* why VT-x leaves the guest, with the basic exit reason */
    const char *svm;    /* the same for SVM, with the exit code */
    const char *here;   /* on a KVM that emulates ring 0; NULL: as above */
    const char *answer; /* what the VMM does */
    const char *next;   /* what the guest sees */
    const char *manual;
};

/* NULL for reasons that x86 never gives. */
const struct explain_kind *explain_kind(unsigned reason);
/* The same for one record: what the kernel or a device tells is explained by its event, where
 * `reason` is the event's number. */
const struct explain_kind *explain_event(const struct exit_event *ev);
/* Prints everything about a record. `emulated`: this host's KVM emulates ring 0 (or the host on
 * which it was recorded did). */
void explain_print(const struct exit_event *ev, const struct trace_names *n, bool emulated,
                   struct out *o);

struct stack_frames;
/* Behind explain_print: who called the code that the exit came from; nothing without frames. */
void explain_callers(const struct stack_frames *s, const struct trace_names *n, struct out *o);

#endif
