/*
 * Instructions that this KVM's emulator lacks, carried out by the processor itself: each vCPU has,
 * once it needs one, a second small VM which sees the same memory, and in it the one instruction
 * runs in ring 3 of 64-bit code, which even a software KVM leaves to the processor. That VM's page
 * tables map just the pages that the instruction touches, each found by walking the guest's own
 * tables with the guest's rights; every event in it ends its run, because it has no IDT.
 *
 * For instructions that need no privilege: x87, SSE, AVX, bit counting, cmpxchg16b, xsave. The
 * rest is vmm/assist_system.c. vCPU thread.
 */
#ifndef VMM_NATIVE_H
#define VMM_NATIVE_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/insn_shape.h"

struct vcpu;
struct native;

/* An exception that the guest has to take instead of the instruction's result. */
struct native_fault {
    int vector; /* -1: none */
    bool has_ec;
    uint32_t ec;
};

/* Carries out `s`, the instruction at the vCPU's RIP: its registers, memory and RIP change, or the
 * fault is filled in (with CR2 set) and nothing changes but what the processor itself would have
 * done (accessed bits). `fpu`: the instruction uses the state that XSAVE keeps. False when it
 * cannot be done here: `why` then is a phrase, static text. */
bool native_run(struct vcpu *v, const struct insn_shape *s, bool fpu, struct native_fault *fault,
                const char **why);
/* Instructions that native_batch carries out at most. */
#define NATIVE_BATCH 128u

/* Carries out the instruction at RIP together with those behind it: entering the second VM and
 * carrying the FPU state there and back costs more than a hundred instructions do. 64-bit code
 * only. It goes on while `may` (called with `arg`) allows the class of the next, or it is a plain
 * one (insn_is_plain), and ends before one that jumps, faults, is at a debug register's address or
 * lies on another page. Returns how many were carried out, their classes in class_of (IC_NONE: a
 * plain one); 0 when native_run has to do it, with nothing changed. */
unsigned native_batch(struct vcpu *v, bool (*may)(void *arg, enum insn_class c), void *arg,
                      uint8_t class_of[NATIVE_BATCH]);
void native_free(struct native *n);

#endif
