/*
 * What one instruction of a vCPU touches in memory: disasm/access.h's formulas with the vCPU's
 * registers. Any thread that may look at the vCPU (its own, or the main thread while it stands).
 */
#ifndef DEBUG_OPERANDS_H
#define DEBUG_OPERANDS_H

#include <stdbool.h>
#include <stdint.h>

#include "disasm/access.h"

struct disasm;
struct vcpu;

struct operands {
    int count;
    unsigned insn_len;
    struct {
        uint64_t linear;
        unsigned len;
        bool read, write;
        bool is_repeated; /* a string element, `len` bytes; more follow */
    } at[ACCESS_MAX];
};

/* Decodes the instruction at `linear`; addresses by the present registers, which are those before
 * it, or after it (`after`). False when there is none. */
bool operands_read(struct disasm *d, const struct vcpu *v, uint64_t linear, bool after,
                   struct operands *out);
/* Does one of them touch [gpa, gpa+len), by `v`'s page tables? `write`: as a store, else as a load.
 */
bool operands_touch(const struct operands *o, const struct vcpu *v, uint64_t gpa, unsigned len,
                    bool write);

#endif
