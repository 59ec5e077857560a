/*
 * How each feature of the debugger is carried out on this host, chosen from what the probe saw. A
 * ladder per feature names the methods from best to worst with the condition of each rung; the
 * engine uses what is picked here and `vmscope doctor` prints the same.
 *
 * VMSCOPE_FORCE_METHODS picks a lower rung, for tests: "FEATURE[.MODE]=METHOD,…", for example
 * "step=exact,break.long0=icebp,watch-write=read-only-slot". Modes are those of probe_mode_key. A
 * method that this host cannot do, or an unknown word, is logged and changes nothing.
 */
#ifndef VMM_METHOD_H
#define VMM_METHOD_H

#include <stdbool.h>

#include "vmm/base/buf.h"
#include "vmm/probe.h"
#include "vmm/regs.h"

enum method_feature {
    MF_STEP,         /* one instruction */
    MF_BREAK,        /* breakpoints, any number */
    MF_WATCH_WRITE,  /* stop when data is written */
    MF_WATCH_ACCESS, /* stop when data is read or written */
    MF_CATCH,        /* stop at a chosen exception of the guest */
    MF_HALT,         /* HLT while stepping (long0 row: all of ring 0) */
    MF_REINJECT,     /* give the guest its own INT3 back (long0 row: all modes) */
    MF_SYSCALL,      /* SYSCALL from ring 3 (long3 alone) */
    MF_SOFT_INT,     /* INT n */
    MF_AUTOPSY,      /* state after a triple fault (long0 row: all modes) */
    METHOD_FEATURES,
};

enum method {
    METHOD_NONE,        /* not possible here */
    METHOD_TRAP,        /* step: KVM_GUESTDBG_SINGLESTEP is enough */
    METHOD_EXACT,       /* step: trap flag with hidden IDT; HLT, IRET, INT and faults by hand */
    METHOD_INT3,        /* 0xCC, KVM_EXIT_DEBUG exception 3, RIP at it */
    METHOD_ICEBP,       /* 0xF1, emulation failure with RIP at it */
    METHOD_GATE,        /* 0xCC: in ring 0 as ICEBP, in ring 3 caught at its handler */
    METHOD_DEBUG_REG,   /* KVM_GUESTDBG_USE_HW_BP: at most four */
    METHOD_RO_SLOT,     /* the page becomes read-only memory */
    METHOD_NO_SLOT,     /* the page has no memory */
    METHOD_STEPPING,    /* run by single steps and look after each */
    METHOD_HANDLERS,    /* breakpoints on the targets of the IDT's gates */
    METHOD_HALT_EXIT,   /* halt: the exit takes the place of the step's end */
    METHOD_HALT_DECODE, /* halt: never let KVM step it, advance RIP and idle ourselves */
    METHOD_INJECT_AT,   /* re-inject with RIP at the INT3: KVM adds its length */
    METHOD_INJECT_PAST, /* re-inject with RIP moved past it first */
    METHOD_NATIVE,      /* the processor or KVM does it */
    METHOD_RESCUE,      /* carried out by vmscope after KVM gave up or did half */
    METHOD_LIVE,        /* autopsy: registers are intact at the exit */
    METHOD_HISTORY,     /* autopsy: KVM has reset the vCPU; from the last stop and records */
    METHODS,
};

#define METHOD_RUNGS_MAX 8

/* All usable methods of one feature in one mode, best first; ends with METHOD_NONE. */
struct method_pick {
    enum method ladder[METHOD_RUNGS_MAX];
    bool is_forced; /* ladder[0] comes from VMSCOPE_FORCE_METHODS */
};

struct methods {
    struct method_pick pick[METHOD_FEATURES][PROBE_MODES];
    bool rf_skips_break;   /* RFLAGS.RF passes an execution debug register */
    bool step_enters_free; /* a fault while stepping runs its handler freely: break its gates */
};

/* Any thread; reads the environment. */
void methods_choose(const struct probe *p, struct methods *out);
/* The same with the forcing text given (NULL: none). Problems in it go to `complaints`, a line
 * each (NULL: to the log). */
void methods_choose_forced(const struct probe *p, const char *force, struct methods *out,
                           struct buf *complaints);

static inline enum method method_of(const struct methods *m, enum method_feature f,
                                    enum probe_mode mode)
{
    return m->pick[f][mode].ladder[0];
}
/* True when `how` is among the usable methods there. */
bool method_usable(const struct methods *m, enum method_feature f, enum probe_mode mode,
                   enum method how);
/* False when the feature has one answer for all modes, or none in this mode (see the enum). */
bool method_applies(enum method_feature f, enum probe_mode mode);

const char *method_name(enum method m); /* one word, as in VMSCOPE_FORCE_METHODS */
const char *method_help(enum method m); /* a phrase for people */
const char *method_feature_name(enum method_feature f);
const char *method_feature_help(enum method_feature f);
/* Why the pick is what it is: one line of what the probe saw about this rung and those above. */
void method_reason(const struct probe *p, const struct methods *m, enum method_feature f,
                   enum probe_mode mode, struct buf *out);

/* The probe's mode that stands for a vCPU's mode and privilege level. */
enum probe_mode probe_mode_of(enum cpu_mode mode, unsigned cpl);

#endif
