/*
 * What this host's KVM really intercepts, found by micro-guests of a few instructions (capability
 * bits promise more than hosts keep). Run once at start; the result decides the methods of the
 * debugger (vmm/method.h) and is printed by `vmscope doctor`.
 */
#ifndef VMM_PROBE_H
#define VMM_PROBE_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/base/err.h"

/* What happened to the event under test. */
enum probe_how {
    HOW_UNKNOWN,  /* not run */
    HOW_NEVER,    /* nothing happened, the guest ran on */
    HOW_DEBUG,    /* KVM_EXIT_DEBUG: intercepted as promised, RIP where it belongs */
    HOW_INTERNAL, /* KVM_EXIT_INTERNAL_ERROR suberror 1 with RIP at the instruction */
    HOW_GUEST,    /* delivered to the guest's own handler */
    HOW_SHUTDOWN,
    HOW_HLT,
    HOW_MMIO,
    HOW_IO,
    HOW_MSR,
    HOW_RUNS,  /* instruction tests: carried out */
    HOW_STUCK, /* no exit within the time bound */
    HOW_OTHER, /* anything else: another exit, or the right one at the wrong place */
    PROBE_HOWS,
};

enum probe_mode { PM_REAL, PM_PROT, PM_LONG0, PM_LONG3, PM_COMPAT3, PROBE_MODES };

/* Instructions that emulating hosts are known to lack, tried in long mode ring 0 (IRET_PROT in
 * 32-bit protected mode, INT_HIGH in real mode). HOW_GUEST: an exception, as on processors without
 * the instruction. */
enum probe_insn {
    PI_CMPXCHG16B,
    PI_POPCNT,
    PI_LZCNT,
    PI_TZCNT,
    PI_MOVBE,
    PI_RDTSCP,
    PI_XGETBV,
    PI_FWAIT,
    PI_FLD1,
    PI_PXOR,
    PI_MOVD,
    PI_LDMXCSR,
    PI_VPXOR,
    PI_BMI_ANDN,
    PI_CRC32,
    PI_RDPID,
    PI_CLAC,
    PI_INT_N,
    PI_INT3,
    PI_INT_HIGH, /* int n of real mode from 0x80 on; HOW_STUCK: its vector is taken as negative */
    PI_IRET_PROT,
    PI_LRET_OUTER,
    PI_INVPCID,
    PI_FXSAVE,
    PI_XSAVE,
    PI_VMCALL, /* HOW_STUCK: neither carried out nor refused, for ever */
    PROBE_INSNS,
};

#define PROBE_NO_DELTA (-128)

struct probe {
    enum probe_how step[PROBE_MODES];
    enum probe_how int3[PROBE_MODES];  /* with KVM_GUESTDBG_USE_SW_BP */
    enum probe_how icebp[PROBE_MODES]; /* 0xF1 */
    enum probe_how hw_exec[PROBE_MODES];
    enum probe_how hw_write[PROBE_MODES];
    enum probe_how hw_access[PROBE_MODES];
    enum probe_how ro_slot_write[PROBE_MODES];
    enum probe_how hole_read[PROBE_MODES];
    enum probe_how hole_fetch[PROBE_MODES];
    uint8_t int3_vector[PROBE_MODES]; /* where int3 is HOW_GUEST: 3, or 6 when it became #UD */
    enum probe_how planted_hlt;       /* long ring 0 */
    enum probe_how step_hlt;
    enum probe_how step_iret;   /* HOW_DEBUG: the step over iretq stops at its target */
    enum probe_how step_fault;  /* step onto ud2: HOW_DEBUG stops at the handler's first insn,
                                   HOW_OTHER one later, HOW_GUEST the handler runs free */
    enum probe_how step_hidden; /* ring-3 step with IDT limit 0: HOW_SHUTDOWN, vector 1, all kept */
    enum probe_how gate_exec;   /* debug register on the gate target of a ring-3 int3 */
    enum probe_how msr_filter;
    enum probe_how syscall_ring3; /* HOW_RUNS: arrives in ring 0 */
    enum probe_how int_ring3;     /* int n through a DPL-3 gate */
    enum probe_how insn[PROBE_INSNS];
    bool insn_wrong[PROBE_INSNS]; /* carried out with a wrong result (lzcnt as bsr) */
    bool hw_exec_honours_rf;
    unsigned hw_exec_count; /* how many at once, 0 to 4 */
    bool paging32;          /* 32-bit paging without EFER.LME */
    bool paging_pae;
    bool shutdown_keeps_state; /* registers and exception.nr survive KVM_EXIT_SHUTDOWN */
    bool hidden_idt;           /* IDT limit 0 makes a usable exception trap, rings 0 and 3 */
    bool out_exit_past;        /* RIP is past the instruction at an OUT exit */
    bool sync_regs;            /* KVM_CAP_SYNC_REGS with all three parts */
    bool block_irq;            /* KVM_GUESTDBG_BLOCKIRQ holds back what the kernel's chips have */
    bool insn_counter_exact;   /* stat insn_emulation counts every ring-0 instruction */
    int inject_bp_rip_delta;   /* pushed RIP minus RIP for INJECT_BP; PROBE_NO_DELTA: no event */
    bool emulated;             /* ring 0 runs in KVM's emulator */
    /* Measured, different each time: */
    double ring0_minsn, ring3_minsn; /* speed, million instructions a second */
    double pio_exits_s, steps_s;     /* OUT exits and ring-0 single steps a second */
    uint64_t took_ns;
};

const char *probe_how_name(enum probe_how h);  /* a short phrase for people */
const char *probe_how_key(enum probe_how h);   /* one word, for tables */
const char *probe_mode_key(enum probe_mode m); /* one word: real prot long0 long3 compat3 */
const char *probe_insn_name(enum probe_insn i);

/* Runs it on an open /dev/kvm descriptor; every run is bounded. -errno with a sentence only when
 * no VM can be made at all. Any thread, several at once; makes its own VM and closes it. Uses one
 * real-time signal, blocked in the calling thread meanwhile: no handler, no process-wide timer. */
int probe_run(int kvm, struct probe *out, struct err *e);
/* The same from a cache file below $XDG_RUNTIME_DIR or /tmp keyed by boot, kernel and /dev/kvm,
 * else by running. Never fails because of the cache; `took_ns` stays that of the run that measured.
 */
int probe_cached(int kvm, struct probe *out, struct err *e);

/* The result as text, one "name value…" line a field, and back; for the cache and for reports.
 * probe_from_text is false for a text that is not complete and in range. */
struct buf;
void probe_to_text(const struct probe *p, struct buf *out);
bool probe_from_text(const char *text, struct probe *out);
/* Equal but for the measured speeds. When not and `why` is given: names the first field. */
bool probe_equal(const struct probe *a, const struct probe *b, const char **why);

#endif
