/*
 * Capstone behind "bytes + code size + address -> struct insn". Knows no machine and no symbols:
 * names come through a callback. A leaf: libc and Capstone only (and vmm/base).
 */
#ifndef DISASM_DISASM_H
#define DISASM_DISASM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum disasm_syntax { DISASM_INTEL, DISASM_ATT };

/* What the instruction does to control and to the outside, as a mask. */
#define INSN_CALL    (1u << 0)
#define INSN_RET     (1u << 1) /* near or far */
#define INSN_JMP     (1u << 2)
#define INSN_JCC     (1u << 3) /* also loop, jrcxz */
#define INSN_INT     (1u << 4) /* int n, int3, into, icebp */
#define INSN_IRET    (1u << 5)
#define INSN_SYSCALL (1u << 6) /* syscall, sysenter */
#define INSN_SYSRET  (1u << 7)
#define INSN_HLT     (1u << 8)
#define INSN_IO      (1u << 9) /* in, out, ins, outs */
#define INSN_REP     (1u << 10)
#define INSN_PRIV    (1u << 11)
#define INSN_LOADS   (1u << 12) /* has an explicit memory operand that is read */
#define INSN_STORES  (1u << 13)
#define INSN_BAD     (1u << 14) /* bytes that are no instruction; len is 1 */
#define INSN_FAR     (1u << 15)
#define INSN_BRANCH  (INSN_CALL | INSN_RET | INSN_JMP | INSN_JCC | INSN_INT | INSN_IRET |          \
                      INSN_SYSCALL | INSN_SYSRET)

struct insn {
    uint64_t addr;
    uint8_t len; /* 1 to 15 */
    uint8_t bytes[15];
    uint32_t effects;
    bool has_target; /* a direct branch */
    uint64_t target;
    bool has_mem_abs; /* RIP-relative or absolute operand */
    uint64_t mem_abs;
    char mnemonic[24];
    char operands[136]; /* with symbol names where the callback knew one */
};

/* Writes "name+0x12" for `addr` into dst (NUL-terminated) and returns true, or returns false. */
typedef bool disasm_symbol_fn(void *arg, uint64_t addr, char *dst, size_t cap);

struct disasm; /* one thread */

struct disasm *disasm_new(void);
void disasm_free(struct disasm *d);
void disasm_syntax(struct disasm *d, enum disasm_syntax syntax);
void disasm_symbols(struct disasm *d, disasm_symbol_fn *fn, void *arg);

/* Decodes one instruction of code size `bits` (16, 32, 64) from `bytes` (n of them, at least 1).
 * Truncated or invalid bytes give INSN_BAD with mnemonic "(bad)". Returns the length. */
unsigned disasm_one(struct disasm *d, unsigned bits, uint64_t addr, const uint8_t *bytes, size_t n,
                    struct insn *out);

/* Start of the instruction `count` before `addr`, found by decoding forward from several earlier
 * offsets and taking the alignment most of them agree on. `before` holds the n bytes that end at
 * `addr`. Returns how far before `addr` it starts (0 when n is 0). */
size_t disasm_back(struct disasm *d, unsigned bits, uint64_t addr, const uint8_t *before, size_t n,
                   unsigned count);

#endif
