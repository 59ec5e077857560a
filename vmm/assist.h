/*
 * Carrying out what this host's KVM refuses: an emulating KVM ends in KVM_EXIT_INTERNAL_ERROR at
 * instructions that its emulator lacks. The stop is exact and restartable, so vmscope does the
 * instruction itself and the guest goes on; each one is counted and leaves a record. vCPU thread,
 * but for the names.
 *
 * Control transfers and system instructions are done by the manual (vmm/transfer.c,
 * vmm/assist_system.c); everything that needs no privilege is left to the processor
 * (vmm/native.c).
 */
#ifndef VMM_ASSIST_H
#define VMM_ASSIST_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/exit.h"

struct vcpu;

/* What was carried out; exit_event.u.assist.what. */
enum assist_kind {
    ASSIST_INT,
    ASSIST_IRET,
    ASSIST_RETF,
    ASSIST_GATE,
    ASSIST_TASK,
    ASSIST_SYSCALL,
    ASSIST_USER_INT,
    ASSIST_SYSENTER,
    ASSIST_FWAIT,
    ASSIST_X87,
    ASSIST_MMX,
    ASSIST_SSE,
    ASSIST_AVX,
    ASSIST_AVX512,
    ASSIST_BITS,
    ASSIST_CX16,
    ASSIST_XSAVE,
    ASSIST_XGETBV,
    ASSIST_RDTSCP,
    ASSIST_SMAP,
    ASSIST_CACHE,
    ASSIST_SEGMENT,
    ASSIST_INVPCID,
    ASSIST_MONITOR,
    ASSIST_BCD,
    ASSIST_BOUND,
    ASSIST_ENTER,
    ASSIST_ARPL,
    ASSIST_UNDEFINED,
    ASSIST_NOP,
    ASSIST_LOCK,
    ASSIST_KINDS,
};

/* An event that the guest must take now: its RIP already is what the handler's frame shall hold.
 * vector -1: none. */
struct assist_event {
    int vector;
    bool is_interrupt; /* from outside, or int n: no exception */
    bool is_soft;      /* int n, int3, into: the gate's privilege counts */
    bool is_before;    /* #DB of a breakpoint register: a fault, unlike the others */
    uint8_t insn_len;  /* RIP is so far behind the instruction that a fault on the way is of */
    bool has_ec;
    uint32_t ec;
};

/* True when the refused instruction at RIP was carried out, or found to raise an event that the
 * caller must give to the guest; `ev` becomes an EXIT_ASSIST record. False: it stays refused, and
 * `why` is a phrase about it (static text) or NULL when there is nothing to say. Unless `singly`,
 * refused instructions close behind it may be carried out with it: one record tells of the first,
 * the counts of all. The `why` assist_why_v86: it leads to a mode that this KVM lacks. */
extern const char assist_why_v86[];
bool vcpu_assist(struct vcpu *v, struct exit_event *ev, bool singly, struct assist_event *raise,
                 const char **why);

/* Does the vCPU stand at an instruction at which this KVM spins, neither carrying it out nor
 * leaving the guest, and which vcpu_assist (with a refusal made up for it) does? These are `int n`
 * of real mode from vector 80h on, which KVM takes for a signed number, reading the table below
 * address 0; and locked instructions of 64-bit ring 3 whose operand crosses a cache line, where the
 * host watches for those and lets them wait, which each kick interrupts. The latter are carried out
 * without the lock: no other vCPU may be in the guest meanwhile. */
bool vcpu_spins(struct vcpu *v);

/* Makes `ev` the record of an assisted SYSCALL or int n of ring 3, before registers change. */
void vcpu_assist_note(struct vcpu *v, struct exit_event *ev, bool is_syscall);

/* The instruction at linear address `at` turns on paging outside long mode, which this host's KVM
 * cannot do (it answers with #GP): "32-bit" or "PAE", static text; else NULL. */
const char *vcpu_paging_refused(struct vcpu *v, uint64_t at);

/* Name of assist kind `what` ("int n", "x87"); NULL past the end. Any thread. */
const char *assist_name(unsigned what);
/* One line about it for people; NULL past the end. */
const char *assist_help(unsigned what);
/* How many instructions of that kind were carried out for this vCPU; any thread. */
uint64_t vcpu_assist_count(const struct vcpu *v, unsigned what);

#endif
