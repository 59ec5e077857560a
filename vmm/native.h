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
void native_free(struct native *n);

#endif
