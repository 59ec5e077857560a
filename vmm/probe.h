/*
 * What this host's KVM really intercepts, found by micro-guests of a few instructions (capability
 * bits promise more than hosts keep). Run once at start; the result decides the methods of the
 * debugger and is printed by `vmscope doctor`.
 */
#ifndef VMM_PROBE_H
#define VMM_PROBE_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/base/err.h"

/* What happened to the event under test. */
enum probe_how {
    HOW_UNKNOWN,   /* not run */
    HOW_NEVER,     /* nothing happened, the guest ran on */
    HOW_DEBUG,     /* KVM_EXIT_DEBUG: intercepted as promised */
    HOW_INTERNAL,  /* KVM_EXIT_INTERNAL_ERROR suberror 1 with RIP at the instruction */
    HOW_GUEST,     /* delivered to the guest's own handler */
    HOW_SHUTDOWN,
    HOW_HLT,
    HOW_MMIO,
    HOW_IO,
    HOW_MSR,
    HOW_RUNS,  /* instruction tests: carried out */
    HOW_STUCK, /* no exit within the time bound */
    HOW_OTHER,
};

enum probe_mode { PM_REAL, PM_PROT, PM_LONG0, PM_LONG3, PM_COMPAT3, PROBE_MODES };

/* Instructions that emulating hosts are known to lack, tried in long mode ring 0. */
enum probe_insn {
    PI_CMPXCHG16B, PI_POPCNT, PI_LZCNT, PI_TZCNT, PI_MOVBE, PI_RDTSCP, PI_XGETBV, PI_FWAIT,
    PI_FLD1, PI_PXOR, PI_MOVD, PI_LDMXCSR, PI_VPXOR, PI_BMI_ANDN, PI_CRC32, PI_RDPID, PI_CLAC,
    PI_INT_N, PI_INT3, PI_IRET_PROT, PI_LRET_OUTER, PI_INVPCID, PI_FXSAVE, PI_XSAVE,
    PROBE_INSNS,
};

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
    enum probe_how planted_hlt; /* long ring 0 */
    enum probe_how step_hlt;
    enum probe_how msr_filter;
    enum probe_how syscall_ring3; /* HOW_RUNS: arrives in ring 0 */
    enum probe_how int_ring3;     /* int n through a DPL-3 gate */
    enum probe_how insn[PROBE_INSNS];
    bool insn_wrong[PROBE_INSNS]; /* carried out with a wrong result (lzcnt as bsr) */
    bool hw_exec_honours_rf;
    unsigned hw_exec_count; /* how many at once, 0 to 4 */
    bool paging32;          /* 32-bit paging without EFER.LME */
    bool paging_pae;
    bool shutdown_keeps_state;  /* registers and exception.nr survive KVM_EXIT_SHUTDOWN */
    bool hidden_idt;            /* IDT limit 0 makes a usable exception trap */
    bool out_exit_past;         /* RIP is past the instruction at an OUT exit */
    bool sync_regs;             /* KVM_CAP_SYNC_REGS with all three parts */
    bool block_irq;             /* KVM_GUESTDBG_BLOCKIRQ offered */
    bool insn_counter_exact;    /* stat insn_emulation counts every ring-0 instruction */
    int inject_bp_rip_delta;    /* pushed RIP minus RIP for INJECT_BP */
    double ring0_minsn, ring3_minsn; /* speed, million instructions a second */
    bool emulated;              /* ring 0 runs in KVM's emulator */
    uint64_t took_ns;
};

const char *probe_how_name(enum probe_how h); /* a short phrase for people */
const char *probe_mode_name(enum probe_mode m);
const char *probe_insn_name(enum probe_insn i);

/* Runs it on an open /dev/kvm descriptor; every run is bounded. -errno with a sentence only when
 * no VM can be made at all. Any thread; makes its own VM and closes it. */
int probe_run(int kvm, struct probe *out, struct err *e);
/* The same from a cache file below $XDG_RUNTIME_DIR or /tmp keyed by boot and kernel, else by
 * running. Never fails because of the cache. */
int probe_cached(int kvm, struct probe *out, struct err *e);

#endif
