/*
 * Refused instructions that ring 3 of another VM could not do for the guest, because they ask for
 * its descriptor tables, control registers or MSRs, or do not exist in 64-bit code: done here by
 * the manual. vCPU thread.
 */
#ifndef VMM_ASSIST_SYSTEM_H
#define VMM_ASSIST_SYSTEM_H

#include <stdbool.h>

#include "vmm/insn_shape.h"

struct vcpu;
struct assist_event;

/* Carries out `s` of class `c`, RIP included; or fills `raise` (RIP then stays). False: not done,
 * nothing changed. */
bool assist_system(struct vcpu *v, const struct insn_shape *s, enum insn_class c,
                   struct assist_event *raise);

#endif
