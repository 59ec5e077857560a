/*
 * What values a register can hold: the rules reg_write keeps. Private to regs.c, regs_check.c and
 * the page walker. Sources: Intel SDM 3A 2.5, 4.1; what KVM_SET_SREGS and KVM_SET_MSRS refuse.
 */
#ifndef VMM_REGS_CHECK_H
#define VMM_REGS_CHECK_H

#include "vmm/regs.h"

#define CR0_PE 1ull
#define CR0_ET (1ull << 4)
#define CR0_WP (1ull << 16)
#define CR0_NW (1ull << 29)
#define CR0_CD (1ull << 30)
#define CR0_PG (1ull << 31)

#define CR4_PSE   (1ull << 4)
#define CR4_PAE   (1ull << 5)
#define CR4_PGE   (1ull << 7)
#define CR4_LA57  (1ull << 12)
#define CR4_PCIDE (1ull << 17)

#define EFER_LME (1ull << 8)
#define EFER_LMA (1ull << 10)
#define EFER_NXE (1ull << 11)

#define RFLAGS_ONE (1ull << 1)
#define RFLAGS_VM  (1ull << 17)
#define DR6_ONES   0xffff0ff0ull
#define DR7_ONE    (1ull << 10)

/* NULL, or why the register cannot hold *v (static text). May set bits in *v that are always one.
 * Looks at the rest of `s` only where that part was fetched. */
const char *reg_refusal(const struct vcpu_state *s, int id, uint64_t *v);

#endif
