/*
 * What gdb is told about registers: for each architecture that a vCPU can be described as, the
 * list of gdb's registers in gdb's order, printed as target.xml, read from and turned into values
 * of the register table (vmm/regs.def). Plain data: touches no machine.
 *
 * With `linear` the program counter and the stack pointer are linear addresses (CS.base + RIP,
 * SS.base + RSP), because gdb knows no segments: in real mode `x/i $pc` then shows the right bytes.
 */
#ifndef DEBUG_GDB_DESC_H
#define DEBUG_GDB_DESC_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/base/buf.h"
#include "vmm/regs.h"

enum gdb_arch { GDB_8086, GDB_386, GDB_X86_64, GDB_ARCHES };

/* How a register of gdb's is made from the table's. */
enum desc_how {
    DR_WHOLE,   /* the low bytes of the row */
    DR_PC,      /* RIP, linear on request */
    DR_SP,      /* RSP, likewise */
    DR_FTAG,    /* the full x87 tag word, from the abridged one */
    DR_LOW32,   /* bits 0-31 of the row (fioff, fooff) */
    DR_HIGH16,  /* bits 32-47 (fiseg, foseg) */
    DR_YMM_HIGH /* bytes 16-31 of a YMM register */
};

struct desc_reg {
    char name[20];
    const char *type;    /* of gdb's predefined ones; NULL: flags of the row */
    const char *group;   /* gdb's register group, or NULL */
    const char *feature; /* the feature it belongs to */
    uint16_t bytes;
    uint8_t how; /* enum desc_how */
    int16_t id;  /* row in reg_table */
};

#define DESC_MAX 176

struct desc {
    enum gdb_arch arch;
    unsigned count;
    unsigned core;              /* the first ones: general registers and selectors, sent in `g` */
    unsigned pc, sp, bp, flags; /* numbers */
    struct desc_reg reg[DESC_MAX];
};

/* Fills *d with the registers of one architecture in gdb's order; `avx`: with the upper halves of
 * the vector registers. Owns nothing. */
void desc_build(struct desc *d, enum gdb_arch arch, bool avx);
/* Appends the target description for gdb (GDB manual, "Target Description Format"). */
void desc_xml(const struct desc *d, struct buf *out);
/* "i8086", "i386", "i386:x86-64". */
const char *desc_arch_name(enum gdb_arch a);
/* The architecture in whose terms gdb understands a mode. */
enum gdb_arch desc_arch_of(enum cpu_mode m);

/* The VS_* parts that register `n` is read from. */
uint32_t desc_parts(const struct desc *d, unsigned n);
/* Little-endian bytes of register `n` (reg[n].bytes of them); false when it has no value here. */
bool desc_read(const struct desc *d, unsigned n, const struct vcpu_state *st, bool linear,
               uint8_t dst[32]);
/* The row and value that writing `bytes` to register `n` means; NULL, or why it cannot be done
 * (static text, as reg_write's). `st` has the parts of desc_parts. */
const char *desc_write(const struct desc *d, unsigned n, const struct vcpu_state *st, bool linear,
                       const uint8_t *bytes, int *id, struct reg_value *v);

#endif
