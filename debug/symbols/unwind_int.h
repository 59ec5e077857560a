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

/* Linear addresses of the segments; an interrupt in real mode changes the code's. */
struct unwind_bases {
    uint64_t cs, ss;
};

#define UNWIND_VECTORS 256u

/* The guest's handlers, read once a trace. Given back with unwind_gates_free. */
struct unwind_gates {
    struct {
        uint64_t to; /* linear */
        bool with_code;
    } gate[UNWIND_VECTORS];
    unsigned count;
    struct unwind_stub *stub; /* unwind_stub.c's, NULL until it is asked */
};
struct unwind_gates *unwind_gates_new(const struct unwind_env *env);
void unwind_gates_free(struct unwind_gates *g);
/* Does a gate lead to this address? */
bool unwind_is_handler(const struct unwind_gates *g, uint64_t start);
/* The frame that the processor pushed at `sp` (an offset in SS), when it can be one: makes *r that
 * of what was interrupted, whose pc must be taken as it is, and says true. Registers other than RIP
 * and RSP are left alone. */
bool unwind_take_frame(const struct unwind_env *env, uint64_t sp, struct unwind_regs *r,
                       struct unwind_bases *bases);
/* The same when an event or SYSCALL has just led to `pc`, the first instruction of its handler. */
bool unwind_event(const struct unwind_env *env, const struct unwind_gates *g, uint64_t pc,
                  struct unwind_regs *r, struct unwind_bases *bases);
/* The same when `pc` is further into a handler that has no frame information: the code between a
 * gate and `pc` says what it has pushed. */
bool unwind_stub(const struct unwind_env *env, struct unwind_gates *g, uint64_t pc,
                 struct unwind_regs *r, struct unwind_bases *bases);

#endif
