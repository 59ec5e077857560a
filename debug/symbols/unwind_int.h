/*
 * Registers on their way outwards. Private to unwind*.c.
 */
#ifndef DEBUG_UNWIND_INT_H
#define DEBUG_UNWIND_INT_H

#include "debug/symbols/unwind.h"

/* By DWARF numbers of the x86-64 psABI (3.6.2), also for 32-bit code: unwind_cfi.c translates. */
enum { DW_RBX = 3, DW_RBP = 6, DW_RSP = 7, DW_RIP = 16, DW_REGS = 17 };

struct unwind_regs {
    uint64_t v[DW_REGS];
    uint32_t known; /* bit n: v[n] is */
};

static inline bool unwind_knows(const struct unwind_regs *r, unsigned n)
{
    return r->known >> n & 1;
}

static inline void unwind_set(struct unwind_regs *r, unsigned n, uint64_t v)
{
    r->v[n] = v;
    r->known |= 1u << n;
}

enum cfi_result {
    CFI_NONE,      /* no information for this pc */
    CFI_OK,        /* *r is the caller's now */
    CFI_OUTERMOST, /* the information says that nobody called this */
    CFI_FAILED,    /* the stack could not be read, or the rule is beyond us */
};

/* One step outwards by call frame information. `pc` is linear and inside the instruction that
 * runs; *is_signal tells that the frame was entered between two instructions (interrupt), so the
 * caller's pc must be taken as it is. */
enum cfi_result unwind_cfi(const struct unwind_env *env, uint64_t pc, struct unwind_regs *r,
                           bool *is_signal);

/* When an event or SYSCALL has just led to `pc`, the first instruction of its handler: makes *r
 * that of what it came from, whose pc must be taken as it is, and says true. */
bool unwind_event(const struct unwind_env *env, uint64_t pc, struct unwind_regs *r);

#endif
