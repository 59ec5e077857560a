/*
 * What values a register can hold: the rules reg_write keeps. Private to regs.c and regs_check.c.
 * Sources: Intel SDM 3A 2.5, 4.1; what KVM_SET_SREGS and KVM_SET_MSRS refuse.
 */
#ifndef VMM_REGS_CHECK_H
#define VMM_REGS_CHECK_H

#include "vmm/regs.h"

/* NULL, or why the register cannot hold *v (static text). May set bits in *v that are always one.
 * Looks at the rest of `s` only where that part was fetched. */
const char *reg_refusal(const struct vcpu_state *s, int id, uint64_t *v);

#endif
