/*
 * The memory that an instruction reads and writes, as formulas over the registers: explicit
 * operands, string elements and the stack, for far transfers that of one ring. What is read of
 * descriptor tables, and what goes through gates, is not here.
 */
#ifndef DISASM_ACCESS_H
#define DISASM_ACCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct disasm;

enum access_segment { ACCESS_ES, ACCESS_CS, ACCESS_SS, ACCESS_DS, ACCESS_FS, ACCESS_GS };

#define ACCESS_NONE (-1)
#define ACCESS_MAX  4

/* Address: segment base + ((base + index * scale + disp) cut to `addr_bits`). */
struct access {
    bool read, write;
    uint16_t size; /* bytes, at least 1 */
    uint8_t segment;
    int8_t base, index; /* register number as encoded (0 rax, 1 rcx, … 15), or ACCESS_NONE */
    uint8_t scale;
    uint8_t index_bits; /* of the index register only so many count; 0: all */
    uint8_t addr_bits;
    /* BT and its kin reach beyond their operand by this register's value in bits, cut to `size`
     * bytes and taken as signed; or ACCESS_NONE. */
    int8_t bit;
    int64_t disp;
    /* How executing changes the base register: +size or -size of a pop or push; a string element
     * adds `step` with DF clear and subtracts it with DF set. */
    int8_t step;
    bool is_string, is_repeated; /* repeated: once for each count in rCX */
};

/* Decodes as disasm_one does and fills up to ACCESS_MAX; returns how many, -1 for bytes that are no
 * instruction. *len gets the instruction's length. */
int disasm_accesses(struct disasm *d, unsigned bits, uint64_t addr, const uint8_t *bytes, size_t n,
                    struct access out[ACCESS_MAX], unsigned *len);

/* An instruction that does no more than load at most 8 bytes, as an operand of general registers:
 * MOV and its kin, arithmetic, comparisons. */
struct load {
    unsigned len;  /* of the instruction */
    uint16_t gprs; /* general registers that it may change, a bit each by number; flags as well */
    struct access access;
    /* A move, which changes no flag: into so many bits from `low` on of that general register, with
     * zeros or the sign before them; 32 bits clear those above. ACCESS_NONE: it is no move. */
    int8_t into;
    uint8_t low, bits;
    bool is_signed;
};

/* Decodes as disasm_accesses; false when it is another kind of instruction. */
bool disasm_load(struct disasm *d, unsigned bits, uint64_t addr, const uint8_t *bytes, size_t n,
                 struct load *out);

/* Registers for access_address: general ones in the order of their numbers, segment bases in that
 * of enum access_segment. */
struct access_regs {
    uint64_t gpr[16];
    uint64_t base[6];
    bool df, is_long;
};

/* Linear address of an access, from registers before the instruction, or after it (`after`, right
 * unless it loaded its own base or index register). */
uint64_t access_address(const struct access *a, const struct access_regs *r, bool after);

#endif
