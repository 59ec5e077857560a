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
#define INSN_PRIV    (1u << 11) /* needs privilege level 0; cli and sti: or IOPL */
#define INSN_LOADS   (1u << 12) /* has an explicit memory operand that is read */
#define INSN_STORES  (1u << 13) /* … that is written; not push, call and other stack traffic */
#define INSN_BAD     (1u << 14) /* bytes that are no instruction; len is 1 */
#define INSN_FAR     (1u << 15) /* loads CS from an operand or the stack */
#define INSN_BRANCH                                                                                \
    (INSN_CALL | INSN_RET | INSN_JMP | INSN_JCC | INSN_INT | INSN_IRET | INSN_SYSCALL | INSN_SYSRET)

struct insn {
    uint64_t addr;
    uint8_t len; /* 1 to 15 */
    uint8_t bytes[15];
    uint32_t effects;
    bool has_target;  /* a direct branch; far ones only with a 32-bit offset */
    uint64_t target;  /* in the terms of `addr`: linear when that was */
    bool has_mem_abs; /* RIP-relative or absolute operand; in 16-bit code an offset in DS */
    uint64_t mem_abs;
    char mnemonic[24];  /* with its prefix: "rep movsb" */
    char operands[136]; /* with a symbol name where the callback knew one */
};

/* Writes "name+0x12" for `addr` into dst (NUL-terminated, safe for a terminal) and returns true, or
 * returns false. */
typedef bool disasm_symbol_fn(void *arg, uint64_t addr, char *dst, size_t cap);

struct disasm; /* used by one thread at a time */

/* Never NULL; given back with disasm_free, which takes NULL too. Intel syntax, no symbols. */
struct disasm *disasm_new(void);
void disasm_free(struct disasm *d);
void disasm_syntax(struct disasm *d, enum disasm_syntax syntax);
/* `fn` NULL: plain numbers again. */
void disasm_symbols(struct disasm *d, disasm_symbol_fn *fn, void *arg);

/* Decodes one instruction of code size `bits` (16, 32, 64) from `bytes` (n of them, at least 1).
 * Truncated or invalid bytes give INSN_BAD with mnemonic "(bad)". Returns the length. `addr` may
 * be linear in 16-bit code too: targets are then linear as well (Capstone alone would cut them to
 * 16 bits), but do not wrap at the end of the segment. */
unsigned disasm_one(struct disasm *d, unsigned bits, uint64_t addr, const uint8_t *bytes, size_t n,
                    struct insn *out);

/* Start of the instruction `count` before `addr` (fewer when n bytes hold fewer; at most the last
 * DISASM_BACK_MAX bytes are looked at), found by decoding forward from every earlier offset and
 * taking the chain that most of them end in. `before` holds the n bytes that end at `addr`.
 * Returns how far before `addr` it starts (0 when n or count is 0). */
#define DISASM_BACK_MAX 1024u
size_t disasm_back(struct disasm *d, unsigned bits, uint64_t addr, const uint8_t *before, size_t n,
                   unsigned count);

#endif
