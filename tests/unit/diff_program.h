/*
 * Random guest programs for test_diff.c: balanced on the stack, bounded in time, without any
 * source of chance, so that two runs of one must end alike. A seed gives one program; its image
 * covers [DP_AT, DP_AT + DP_BYTES) and starts at its first byte.
 *
 *   7000 set-up   8000 code   9000 handlers   a000 data, two pages   c000 stack   e000 stack of
 *   ring 0   10000 page tables (ring 3)   14000 IDT   15000 GDT   15800 TSS
 */
#ifndef TESTS_UNIT_DIFF_PROGRAM_H
#define TESTS_UNIT_DIFF_PROGRAM_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "vmm/base/le.h"
#include "vmm/boot.h"
#include "vmm/testdev_abi.h"
#include "vmm/x86_boot.h"

#define DP_AT        0x7000u
#define DP_BYTES     0x11000u
#define DP_CODE      0x8000u
#define DP_HANDLERS  0x9000u
#define DP_DATA      0xa000u
#define DP_WATCHED   0xa7c0u /* 8 bytes that only marked instructions touch */
#define DP_COUNTER   0xaf00u /* counted up by the handler of vector 40h */
#define DP_STACK_TOP 0xd000u
#define DP_KSTACK    0xf000u
#define DP_TABLES    0x10000u
#define DP_IDT       0x14000u
#define DP_GDT       0x15000u
#define DP_TSS       0x15800u
#define DP_PORT      0x5000u     /* a device of the test's own */
#define DP_MMIO      0xfe100000u /* and its memory */
#define DP_NO_PORT   0x9990u

#define DP_USER_CS 0x43
#define DP_USER_SS 0x4b
#define DP_TR      0x50

enum dp_kind { DP_REAL, DP_PROT, DP_LONG0, DP_LONG3, DP_KINDS };
static const char *const dp_kind_name[DP_KINDS] = {"real16", "prot32", "long ring 0",
                                                   "long ring 3"};

#define DP_READS  1u
#define DP_WRITES 2u

struct dp_ins {
    uint16_t at;
    uint8_t access; /* to DP_WATCHED, DP_READS | DP_WRITES */
};

#define DP_INS_MAX   1500u
#define DP_UNITS_MAX 200u
#define DP_SUBS      3u

struct program {
    enum dp_kind kind;
    unsigned bits;
    uint64_t rng;
    uint8_t image[DP_BYTES];
    uint32_t at; /* where the next byte goes */
    struct dp_ins ins[DP_INS_MAX];
    unsigned count, units, unit[DP_UNITS_MAX]; /* units: where each of the outermost starts */
    bool cx_busy, in_sub, reads_code;
    unsigned depth;
    uint32_t call_at[64]; /* direct calls to patch, and the subroutine each wants */
    uint8_t call_sub[64];
    unsigned calls;
    uint32_t end_of_units, last; /* last: where RIP is at the debug exit */
};

static inline uint64_t dp_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15ull;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

static unsigned dp_below(struct program *p, unsigned n)
{
    return (unsigned)(dp_random(&p->rng) % n);
}

/* ---- bytes ------------------------------------------------------------------------------------
 */

static void dp_put(struct program *p, uint64_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        p->image[p->at++ - DP_AT] = (uint8_t)(value >> 8 * i);
}

static void dp_bytes(struct program *p, unsigned n, const uint8_t *b)
{
    for (unsigned i = 0; i < n; i++)
        dp_put(p, b[i], 1);
}
#define DP_CODE_BYTES(p, ...)                                                                      \
    dp_bytes(p, sizeof((const uint8_t[]){__VA_ARGS__}), (const uint8_t[]){__VA_ARGS__})
/* One instruction. */
#define DP_I(p, ...)                                                                               \
    do {                                                                                           \
        dp_start(p);                                                                               \
        DP_CODE_BYTES(p, __VA_ARGS__);                                                             \
    } while (0)

static struct dp_ins *dp_start(struct program *p)
{
    struct dp_ins *i = &p->ins[p->count < DP_INS_MAX - 1 ? p->count++ : p->count];

    i->at = (uint16_t)p->at;
    i->access = 0;
    return i;
}

static unsigned dp_word(const struct program *p)
{
    return p->bits / 8;
}

static unsigned dp_imm_bytes(const struct program *p)
{
    return p->bits == 16 ? 2 : 4;
}

/* ---- operands ---------------------------------------------------------------------------------
 */

/* A register that the program may change: no stack pointer, and no counter of a loop. */
static unsigned dp_reg(struct program *p, bool byte)
{
    for (;;) {
        unsigned r = dp_below(p, 8);

        if (byte ? p->cx_busy && (r & 3) == 1 : r == 4 || (p->cx_busy && r == 1))
            continue;
        return r;
    }
}

static uint32_t dp_data(struct program *p)
{
    switch (dp_below(p, 8)) {
    case 0:
        return DP_DATA + 0xff9 + dp_below(p, 7); /* across two pages */
    case 1:
        return DP_DATA + 0x1000 + dp_below(p, 0xe00);
    default:
        return DP_DATA + dp_below(p, 0x780);
    }
}

static void dp_modrm_abs(struct program *p, unsigned reg, uint32_t addr)
{
    if (p->bits == 16) {
        dp_put(p, reg << 3 | 6, 1);
        dp_put(p, addr, 2);
    } else if (p->bits == 32) {
        dp_put(p, reg << 3 | 5, 1);
        dp_put(p, addr, 4);
    } else {
        DP_CODE_BYTES(p, (uint8_t)(reg << 3 | 4), 0x25);
        dp_put(p, addr, 4);
    }
}

static void dp_mov_imm(struct program *p, unsigned reg, uint64_t value)
{
    dp_start(p);
    dp_put(p, 0xb8 + reg, 1);
    dp_put(p, value, dp_imm_bytes(p));
}

struct dp_mem {
    bool by_reg; /* through SI, DI or BX with a displacement of 8 bits */
    unsigned base;
    uint32_t addr;
    int8_t disp;
    bool watched;
};

/* A lock across two cache lines: hosts slow programs down that use it, down to a standstill. */
static uint32_t dp_unsplit(const struct program *p, uint32_t addr)
{
    return p->kind == DP_LONG3 && (addr & 63) > 56 ? addr & ~7u : addr;
}

/* Chooses a memory operand and emits what sets its base register up. */
static struct dp_mem dp_mem(struct program *p)
{
    static const unsigned bases[] = {6, 7, 3};
    struct dp_mem m = {.watched = dp_below(p, 5) == 0, .by_reg = dp_below(p, 3) == 0};

    m.addr = m.watched ? DP_WATCHED : dp_unsplit(p, dp_data(p));
    if (m.by_reg) {
        m.base = bases[dp_below(p, 3)];
        m.disp = (int8_t)dp_below(p, 256);
        dp_mov_imm(p, m.base, m.addr - (uint32_t)(int32_t)m.disp);
    }
    return m;
}

static void dp_modrm(struct program *p, unsigned reg, const struct dp_mem *m)
{
    static const uint8_t rm16[8] = {[6] = 4, [7] = 5, [3] = 7};

    if (!m->by_reg) {
        dp_modrm_abs(p, reg, m->addr);
        return;
    }
    dp_put(p, 0x40 | reg << 3 | (p->bits == 16 ? rm16[m->base] : m->base), 1);
    dp_put(p, (uint8_t)m->disp, 1);
}

/* An operand-size prefix now and then, or REX.W. Returns the operand's size in bytes. */
static unsigned dp_size(struct program *p)
{
    unsigned r = dp_below(p, 4);

    if (r == 0) {
        dp_put(p, 0x66, 1);
        return p->bits == 16 ? 4 : 2;
    }
    if (p->bits == 64 && r == 1) {
        dp_put(p, 0x48, 1);
        return 8;
    }
    return p->bits == 16 ? 2 : 4;
}

/* ---- units: each leaves the stack as it was ----------------------------------------------------
 */

static void dp_units(struct program *p, unsigned n);

static void dp_alu_reg(struct program *p)
{
    bool byte = dp_below(p, 3) == 0;
    unsigned op = dp_below(p, 8) << 3, dst = dp_reg(p, byte), src = dp_below(p, 8);

    dp_start(p);
    if (!byte)
        dp_size(p);
    DP_CODE_BYTES(p, (uint8_t)(op | (byte ? 0 : 1)), (uint8_t)(0xc0 | src << 3 | dst));
}

static void dp_misc_reg(struct program *p)
{
    unsigned r = dp_reg(p, false), s = dp_below(p, 8), cc = dp_below(p, 16);

    dp_start(p);
    switch (dp_below(p, 12)) {
    case 0:
        dp_put(p, 0x98 + dp_below(p, 2) * (r != 2), 1); /* cbw, cwd */
        break;
    case 1:
        DP_CODE_BYTES(p, 0x0f, (uint8_t)(0x40 | cc), (uint8_t)(0xc0 | r << 3 | s));
        break;
    case 2:
        DP_CODE_BYTES(p, 0x0f, 0xaf, (uint8_t)(0xc0 | r << 3 | s));
        break;
    case 3:
        DP_CODE_BYTES(p, 0xc1, (uint8_t)(0xc0 | dp_below(p, 8) % 6 << 3 | r),
                      (uint8_t)(1 + dp_below(p, 7)));
        break;
    case 4:
        dp_put(p, 0xf8 + dp_below(p, 2), 1); /* clc, stc */
        break;
    case 5:
        dp_put(p, 0xfc + dp_below(p, 2), 1); /* cld, std */
        break;
    case 6:
        dp_put(p, 0x9e + dp_below(p, 2), 1); /* sahf, lahf */
        break;
    case 7:
        DP_CODE_BYTES(p, 0x0f, (uint8_t)(0x90 | cc), (uint8_t)(0xc0 | dp_reg(p, true)));
        break;
    case 8:
        DP_CODE_BYTES(p, 0x0f, 0xb6, (uint8_t)(0xc0 | r << 3 | s));
        break;
    case 9:
        dp_size(p);
        DP_CODE_BYTES(p, 0xf7, (uint8_t)(0xc0 | (2 + dp_below(p, 2)) << 3 | r));
        break;
    case 10:
        dp_put(p, 0x90, 1);
        break;
    default:
        DP_CODE_BYTES(p, 0x85, (uint8_t)(0xc0 | s << 3 | r));
        break;
    }
}

static void dp_load_imm(struct program *p)
{
    dp_mov_imm(p, dp_reg(p, false), dp_random(&p->rng));
}

/* reg/mem and mem/reg of all sizes, plain, read-modify-write and locked. */
static void dp_alu_mem(struct program *p)
{
    struct dp_mem m = dp_mem(p);
    bool byte = dp_below(p, 3) == 0;
    unsigned op = dp_below(p, 8), reg = dp_reg(p, byte), w = byte ? 0 : 1;
    struct dp_ins *i = dp_start(p);
    uint8_t access = 0;
    unsigned form = dp_below(p, 12);

    if (form < 3 && op < 7 && dp_below(p, 2))
        dp_put(p, 0xf0, 1); /* lock */
    if (!byte)
        dp_size(p);
    switch (form) {
    case 0:
    case 1:
    case 2:
        dp_put(p, op << 3 | w, 1);
        access = op == 7 ? DP_READS : DP_READS | DP_WRITES;
        break;
    case 3:
    case 4:
        dp_put(p, op << 3 | 2 | w, 1);
        access = DP_READS;
        break;
    case 5:
    case 6:
        dp_put(p, 0x88 | w, 1);
        access = DP_WRITES;
        break;
    case 7:
        dp_put(p, 0x8a | w, 1);
        access = DP_READS;
        break;
    case 8:
        dp_put(p, 0x86 | w, 1); /* xchg */
        access = DP_READS | DP_WRITES;
        break;
    case 9:
        DP_CODE_BYTES(p, 0x0f, (uint8_t)(0xc0 | w)); /* xadd */
        access = DP_READS | DP_WRITES;
        break;
    case 10:
        dp_put(p, 0xfe | w, 1);
        reg = dp_below(p, 2); /* inc, dec */
        access = DP_READS | DP_WRITES;
        break;
    default:
        dp_put(p, 0xf6 | w, 1);
        reg = 2 + dp_below(p, 2); /* not, neg */
        access = DP_READS | DP_WRITES;
        break;
    }
    dp_modrm(p, reg, &m);
    i->access = m.watched ? access : 0;
}

/* Accesses whose count is not the same on all processors; never to DP_WATCHED. */
static void dp_odd_mem(struct program *p)
{
    uint32_t a = dp_data(p);

    dp_start(p);
    switch (dp_below(p, 6)) {
    case 0:
        if (dp_below(p, 2))
            dp_put(p, 0xf0, 1);
        dp_size(p);
        DP_CODE_BYTES(p, 0x0f, 0xb1); /* cmpxchg */
        dp_modrm_abs(p, dp_below(p, 8), dp_unsplit(p, a));
        break;
    case 1:
        DP_CODE_BYTES(p, 0x0f, 0xba); /* bt, bts, btr, btc */
        dp_modrm_abs(p, 4 + dp_below(p, 4), a);
        dp_put(p, dp_below(p, 16), 1);
        break;
    case 2:
        dp_put(p, 0xc1, 1);
        dp_modrm_abs(p, (unsigned[]){0, 1, 4, 5, 7}[dp_below(p, 5)], a);
        dp_put(p, 1 + dp_below(p, 7), 1);
        break;
    case 3:
        DP_CODE_BYTES(p, 0x0f, (uint8_t)(0x90 | dp_below(p, 16))); /* setcc */
        dp_modrm_abs(p, 0, a);
        break;
    case 4:
        DP_CODE_BYTES(p, 0x0f, (uint8_t)(0x40 | dp_below(p, 16))); /* cmovcc */
        dp_modrm_abs(p, dp_reg(p, false), a);
        break;
    default:
        dp_put(p, 0xc7, 1); /* mov mem, imm */
        dp_modrm_abs(p, 0, a);
        dp_put(p, dp_random(&p->rng), dp_imm_bytes(p));
        break;
    }
}

static void dp_push_pop(struct program *p)
{
    uint32_t from = dp_data(p), to = dp_data(p);

    dp_start(p);
    switch (dp_below(p, 3)) {
    case 0:
        dp_put(p, 0x50 + dp_below(p, 8), 1);
        break;
    case 1:
        dp_put(p, 0x68, 1);
        dp_put(p, dp_random(&p->rng), dp_imm_bytes(p));
        break;
    default:
        dp_put(p, 0xff, 1);
        dp_modrm_abs(p, 6, from);
        break;
    }
    dp_units(p, dp_below(p, 3));
    dp_start(p);
    if (dp_below(p, 3)) {
        dp_put(p, 0x58 + dp_reg(p, false), 1);
    } else {
        dp_put(p, 0x8f, 1);
        dp_modrm_abs(p, 0, to);
    }
}

/* Flags that a program may have in any mode: arithmetic ones and the direction. */
#define DP_FLAGS 0xcd5u

static void dp_pushf(struct program *p)
{
    DP_I(p, 0x9c);
    if (p->kind == DP_LONG3) { /* hosts show ring 3 different IF and IOPL */
        DP_I(p, 0x81, 0x24, 0x24, DP_FLAGS & 255, DP_FLAGS >> 8, 0, 0);
        DP_I(p, 0x81, 0x0c, 0x24, 0, 2, 0, 0);
    }
    if (dp_below(p, 2))
        DP_I(p, 0x9d);
    else
        DP_I(p, (uint8_t)(0x58 + dp_reg(p, false)));
}

static void dp_popf(struct program *p)
{
    uint32_t flags = ((uint32_t)dp_random(&p->rng) & DP_FLAGS) | 2;

    if (p->kind == DP_LONG3 || dp_below(p, 2))
        flags |= 0x200;
    dp_start(p);
    dp_put(p, 0x68, 1);
    dp_put(p, flags, dp_imm_bytes(p));
    DP_I(p, 0x9d);
}

static void dp_sti_cli(struct program *p)
{
    if (p->kind == DP_LONG3)
        return;
    DP_I(p, (uint8_t)(0xfa + dp_below(p, 2)));
    if (dp_below(p, 2))
        DP_I(p, 0x90);
    if (dp_below(p, 2))
        DP_I(p, 0xfa);
}

static void dp_mov_ss(struct program *p)
{
    unsigned r = dp_reg(p, false);

    if (dp_below(p, 2) || p->bits == 64) {
        DP_I(p, 0x8c, (uint8_t)(0xd0 | r));
        DP_I(p, 0x8e, (uint8_t)(0xd0 | r));
    } else {
        DP_I(p, 0x16);
        DP_I(p, 0x17);
    }
}

static void dp_repeat(struct program *p)
{
    static const uint8_t ops[] = {0xa4, 0xa5, 0xaa, 0xab, 0xac, 0xa6, 0xae, 0xaf};
    unsigned op = ops[dp_below(p, 8)];

    if (p->cx_busy)
        return;
    dp_mov_imm(p, 1, dp_below(p, 17));
    dp_mov_imm(p, 6, DP_DATA + 0x180 + dp_below(p, 0x380));
    dp_mov_imm(p, 7, (dp_below(p, 4) ? DP_DATA + 0x180 : DP_DATA + 0xf80) + dp_below(p, 0x280));
    if (dp_below(p, 2))
        DP_I(p, (uint8_t)(0xfc + dp_below(p, 2)));
    dp_start(p);
    dp_put(p, 0xf2 + (op < 0xa6 || (op >= 0xaa && op < 0xae) || dp_below(p, 2)), 1);
    if (op & 1)
        dp_size(p);
    dp_put(p, op, 1);
}

static void dp_io(struct program *p)
{
    static const uint16_t ports[] = {DP_PORT, DP_PORT + 4, DP_NO_PORT, TESTDEV_POST};
    unsigned form = dp_below(p, 6);

    if (form < 2) {
        DP_I(p, form ? 0xe6 : 0xe4, TESTDEV_POST);
        return;
    }
    dp_mov_imm(p, 2, ports[dp_below(p, 4)]);
    if (form < 5 || p->cx_busy) {
        dp_start(p);
        if (dp_below(p, 3) == 0)
            dp_put(p, 0x66, 1);
        dp_put(p, 0xec + dp_below(p, 4), 1);
        return;
    }
    dp_mov_imm(p, 1, 1 + dp_below(p, 5));
    dp_mov_imm(p, 6, DP_DATA + 0x180 + dp_below(p, 0x380));
    dp_mov_imm(p, 7, DP_DATA + 0x180 + dp_below(p, 0x380));
    DP_I(p, 0xf3, (uint8_t)(0x6e + dp_below(p, 2))); /* rep outs */
}

static void dp_mmio(struct program *p)
{
    unsigned form = dp_below(p, 5);
    uint32_t a = DP_MMIO + 8 * dp_below(p, 4);

    if (p->kind != DP_PROT && p->kind != DP_LONG0)
        return;
    dp_mov_imm(p, 6, a);
    dp_start(p);
    if (p->bits == 64)
        dp_put(p, 0x67, 1); /* above 2 GiB a 32-bit displacement would be sign-extended */
    DP_CODE_BYTES(p, ((const uint8_t[]){0x88, 0x89, 0x8a, 0x8b, 0x01})[form],
                  (uint8_t)((const uint8_t[]){0, 2, 3}[dp_below(p, 3)] << 3 | 6));
}

static void dp_fault(struct program *p)
{
    switch (dp_below(p, 5)) {
    case 0:
        DP_I(p, 0x0f, 0x0b); /* ud2 */
        break;
    case 1:
        dp_mov_imm(p, 0, 0);
        dp_mov_imm(p, 2, 0);
        DP_I(p, 0xf7, 0xf0); /* div by zero */
        break;
    case 2:
        DP_I(p, 0xcc);
        break;
    case 3:
        if (p->kind == DP_LONG3) {
            DP_I(p, 0xf4); /* #GP */
        } else if (p->kind != DP_REAL) {
            dp_mov_imm(p, 0, 0xfff8);
            DP_I(p, 0x8e, 0xc0); /* #GP: no such descriptor */
        }
        break;
    default:
        if (p->bits == 64) {
            dp_start(p);
            dp_put(p, 0xa0 + dp_below(p, 4), 1); /* #PF, not mapped */
            dp_put(p, 0x7f0000000000, 8);
        }
        break;
    }
}

static void dp_iret(struct program *p)
{
    uint32_t patch;

    if (p->bits == 64) {
        unsigned r = p->cx_busy ? 2 : 1;

        DP_I(p, 0x89, (uint8_t)(0xe0 | r)); /* mov esp, r */
        dp_start(p);
        dp_put(p, 0x68, 1);
        dp_put(p, p->kind == DP_LONG3 ? DP_USER_SS : X86_SEL_DATA, 4);
        DP_I(p, (uint8_t)(0x50 + r));
        DP_I(p, 0x9c);
        dp_start(p);
        dp_put(p, 0x68, 1);
        dp_put(p, p->kind == DP_LONG3 ? DP_USER_CS : X86_SEL_CODE, 4);
    } else {
        DP_I(p, 0x9c);
        DP_I(p, 0x0e);
    }
    dp_start(p);
    dp_put(p, 0x68, 1);
    patch = p->at;
    dp_put(p, 0, dp_imm_bytes(p));
    if (p->bits == 64)
        DP_I(p, 0x48, 0xcf);
    else
        DP_I(p, 0xcf);
    if (dp_below(p, 2))
        dp_put(p, 0x0b0f, 2); /* never reached */
    le_store(p->image + patch - DP_AT, dp_imm_bytes(p), p->at);
}

static void dp_soft_int(struct program *p)
{
    DP_I(p, 0xcd, dp_below(p, 4) ? 0x40 : 3);
}

/* A conditional branch over a few units. */
static void dp_branch(struct program *p)
{
    uint32_t patch;
    bool near = dp_below(p, 2);

    dp_start(p);
    if (near) {
        DP_CODE_BYTES(p, 0x0f, (uint8_t)(0x80 | dp_below(p, 16)));
        dp_put(p, 0, dp_imm_bytes(p));
        patch = p->at;
        dp_units(p, 1 + dp_below(p, 2));
        le_store(p->image + patch - dp_imm_bytes(p) - DP_AT, dp_imm_bytes(p), p->at - patch);
        return;
    }
    DP_CODE_BYTES(p, dp_below(p, 16) ? (uint8_t)(0x70 | dp_below(p, 16)) : 0xe3, 0);
    patch = p->at;
    dp_alu_reg(p);
    dp_alu_reg(p);
    p->image[patch - 1 - DP_AT] = (uint8_t)(p->at - patch);
}

static void dp_loop(struct program *p)
{
    uint32_t top;

    if (p->cx_busy)
        return;
    dp_mov_imm(p, 1, 1 + dp_below(p, 6));
    p->cx_busy = true;
    top = p->at;
    dp_units(p, 1 + dp_below(p, 3));
    if (p->at - top < 120) {
        DP_I(p, 0xe2, (uint8_t)(top - p->at - 2));
    } else {
        DP_I(p, 0xff, 0xc9); /* dec cx */
        DP_I(p, 0x0f, 0x85);
        dp_put(p, top - p->at - dp_imm_bytes(p), dp_imm_bytes(p));
    }
    p->cx_busy = false;
}

static void dp_call(struct program *p)
{
    if (p->in_sub || p->calls == 64)
        return;
    p->call_sub[p->calls] = (uint8_t)dp_below(p, DP_SUBS);
    if (dp_below(p, 2)) {
        DP_I(p, 0xe8);
        p->call_at[p->calls++] = p->at;
        dp_put(p, 0, dp_imm_bytes(p));
        return;
    }
    DP_I(p, 0xb8);
    p->call_at[p->calls++] = p->at | 1u << 31; /* absolute */
    dp_put(p, 0, dp_imm_bytes(p));
    DP_I(p, 0xff, 0xd0);
}

/* Writes the immediate of the next instruction but one. */
static void dp_self_modify(struct program *p)
{
    uint32_t patch, r = dp_reg(p, false);

    dp_start(p);
    dp_put(p, 0xc6, 1);
    dp_modrm_abs(p, 0, 0);
    patch = p->at - dp_imm_bytes(p);
    dp_put(p, dp_below(p, 256), 1);
    DP_I(p, 0xeb, 0); /* older processors want a jump here */
    le_store(p->image + patch - DP_AT, dp_imm_bytes(p), p->at + 1 + dp_below(p, 2));
    dp_mov_imm(p, r, dp_random(&p->rng));
}

static void dp_pusha(struct program *p)
{
    if (p->bits == 64) {
        DP_I(p, 0xc8, (uint8_t)(8 * dp_below(p, 5)), 0, 0); /* enter, leave */
        DP_I(p, 0xc9);
        return;
    }
    DP_I(p, 0x60);
    dp_units(p, dp_below(p, 3));
    DP_I(p, 0x61);
}

static void dp_trap_flag(struct program *p, bool on)
{
    DP_I(p, 0x9c);
    DP_I(p, 0x58);
    dp_start(p);
    dp_put(p, on ? 0x0d : 0x25, 1); /* or, and ax */
    dp_put(p, on ? 0x100 : ~0x100u, dp_imm_bytes(p));
    DP_I(p, 0x50);
    DP_I(p, 0x9d);
}

/* The guest steps itself: its handler counts. In real mode KVM's emulator traps behind INT as well,
 * where a processor has cleared the flag. */
static void dp_own_steps(struct program *p)
{
    static void (*const emit[])(struct program *) = {dp_alu_reg, dp_misc_reg, dp_load_imm,
                                                     dp_alu_mem, dp_pushf,    dp_soft_int};

    dp_trap_flag(p, true);
    for (unsigned n = 1 + dp_below(p, 4); n--;)
        emit[dp_below(p, p->kind == DP_REAL ? 5 : 6)](p);
    dp_trap_flag(p, false);
}

/* Adds up its own code, or copies of it go to the data. Planted bytes show there. */
static void dp_read_code(struct program *p)
{
    if (p->cx_busy || !p->reads_code)
        return;
    DP_I(p, 0xfc);
    dp_mov_imm(p, 6, DP_CODE + dp_below(p, 0x300));
    if (dp_below(p, 2)) {
        dp_mov_imm(p, 7, DP_DATA + 0x1800 + dp_below(p, 0x100));
        dp_mov_imm(p, 1, 1 + dp_below(p, 40));
        DP_I(p, 0xf3, 0xa4);
        return;
    }
    dp_mov_imm(p, 1, 1 + dp_below(p, 12));
    DP_I(p, 0xac);       /* lodsb */
    DP_I(p, 0x00, 0xc3); /* add bl, al */
    DP_I(p, 0xe2, 0xfb); /* loop */
}

static const struct {
    unsigned weight;
    void (*emit)(struct program *p);
} dp_unit[] = {
    {6, dp_alu_reg},  {6, dp_misc_reg},  {4, dp_load_imm},  {10, dp_alu_mem}, {4, dp_odd_mem},
    {4, dp_push_pop}, {2, dp_pushf},     {3, dp_popf},      {2, dp_sti_cli},  {2, dp_mov_ss},
    {4, dp_repeat},   {4, dp_io},        {2, dp_mmio},      {4, dp_fault},    {2, dp_iret},
    {2, dp_soft_int}, {4, dp_branch},    {4, dp_loop},      {3, dp_call},     {2, dp_self_modify},
    {2, dp_pusha},    {2, dp_own_steps}, {2, dp_read_code},
};
#define DP_UNIT_KINDS (sizeof dp_unit / sizeof dp_unit[0])

static bool dp_full(const struct program *p)
{
    return p->at > DP_CODE + 0xc00 || p->count > DP_INS_MAX - 200;
}

static void dp_one_unit(struct program *p)
{
    unsigned total = 0, pick, i;

    for (i = 0; i < DP_UNIT_KINDS; i++)
        total += dp_unit[i].weight;
    pick = dp_below(p, total);
    for (i = 0; pick >= dp_unit[i].weight; i++)
        pick -= dp_unit[i].weight;
    dp_unit[i].emit(p);
}

static void dp_units(struct program *p, unsigned n)
{
    if (p->depth >= 4)
        return;
    p->depth++;
    while (n-- && !dp_full(p))
        dp_one_unit(p);
    p->depth--;
}

/* ---- the rest of the image ---------------------------------------------------------------------
 */

static void dp_exit(struct program *p)
{
    DP_I(p, 0xb0, 0);
    DP_I(p, 0xe6, TESTDEV_EXIT);
    DP_CODE_BYTES(p, 0xeb, 0xfe);
}

/* Ends the program before unit `n`; for narrowing a failure down. */
static inline void dp_cut(struct program *p, unsigned n)
{
    static const uint8_t end[] = {0xb0, 0, 0xe6, TESTDEV_EXIT, 0xeb, 0xfe};

    unsigned kept = 0;

    if (n >= p->units)
        return;
    memcpy(p->image + p->unit[n] - DP_AT, end, sizeof end);
    p->last = p->unit[n] + 4;
    for (unsigned i = 0; i < p->count; i++) /* those that the end overwrote are none any more */
        if (p->ins[i].at <= p->unit[n] || p->ins[i].at >= p->unit[n] + sizeof end)
            p->ins[kept++] = p->ins[i];
    p->count = kept;
}

struct dp_gate {
    uint8_t vector, dpl, skip; /* skip: length of the instruction to pass over */
    bool error_code, counts;
};
static const struct dp_gate dp_gates[] = {
    {0, 0, 2, false, false}, {3, 3, 0, false, false}, {6, 0, 2, false, false},
    {13, 0, 0, true, false}, {14, 0, 9, true, false}, {0x40, 3, 0, false, true},
    {1, 0, 0, false, true},
};
#define DP_GATES (sizeof dp_gates / sizeof dp_gates[0])

static uint32_t dp_handler_at(unsigned gate)
{
    return DP_HANDLERS + 0x40 * gate;
}

static void dp_handler(struct program *p, unsigned n)
{
    struct dp_gate g = dp_gates[n];

    p->at = dp_handler_at(n);
    if (g.vector == 13)
        g.skip = p->kind == DP_LONG3 ? 1 : 2;
    if (g.counts) {
        dp_put(p, 0xff, 1);
        dp_modrm_abs(p, 0, DP_COUNTER);
    }
    if (p->bits == 16) {
        if (g.skip)
            DP_CODE_BYTES(p, 0x55, 0x89, 0xe5, 0x83, 0x46, 0x02, g.skip, 0x5d);
        dp_put(p, 0xcf, 1);
        return;
    }
    if (g.error_code && p->bits == 64)
        dp_put(p, 0x48, 1);
    if (g.error_code)
        DP_CODE_BYTES(p, 0x83, 0xc4, (uint8_t)dp_word(p));
    if (g.skip && p->bits == 64)
        dp_put(p, 0x48, 1);
    if (g.skip)
        DP_CODE_BYTES(p, 0x83, 0x04, 0x24, g.skip);
    if (p->bits == 64)
        dp_put(p, 0x48, 1);
    dp_put(p, 0xcf, 1);
}

static void dp_store(struct program *p, uint32_t at, uint64_t value, unsigned bytes)
{
    le_store(p->image + at - DP_AT, bytes, value);
}

static void dp_tables(struct program *p)
{
    for (unsigned i = 0; i < DP_GATES && p->kind != DP_REAL; i++) {
        uint64_t h = dp_handler_at(i);
        uint32_t at = DP_IDT + dp_gates[i].vector * (p->bits == 64 ? 16 : 8);

        dp_store(p, at,
                 (h & 0xffff) | X86_SEL_CODE << 16 |
                     (0x8e00ull + ((uint64_t)dp_gates[i].dpl << 13)) << 32,
                 8);
    }
    dp_store(p, DP_IDT + 0xff0, p->bits == 64 ? 0x41f : 0x20f, 2);
    dp_store(p, DP_IDT + 0xff2, DP_IDT, 8);
    if (p->kind != DP_LONG3)
        return;
    dp_store(p, DP_GDT + X86_SEL_CODE, 0x00af9b000000ffff, 8);
    dp_store(p, DP_GDT + X86_SEL_DATA, 0x00cf93000000ffff, 8);
    dp_store(p, DP_GDT + 0x40, 0x00affb000000ffff, 8);
    dp_store(p, DP_GDT + 0x48, 0x00cff3000000ffff, 8);
    dp_store(p, DP_GDT + DP_TR, 0x0000890000002068 | (uint64_t)DP_TSS << 16, 8);
    dp_store(p, DP_GDT + 0x70, 0x6f | (uint64_t)DP_GDT << 16, 8);
    dp_store(p, DP_TSS + 4, DP_KSTACK, 8);
    dp_store(p, DP_TSS + 102, 0x68, 2); /* every port is allowed: hosts show IOPL differently */
    dp_store(p, DP_TSS + 0x2068, 0xff, 1);
    dp_store(p, DP_TABLES, (DP_TABLES + 0x1000) | 7, 8);
    dp_store(p, DP_TABLES + 0x1000, (DP_TABLES + 0x2000) | 7, 8);
    dp_store(p, DP_TABLES + 0x2000, (DP_TABLES + 0x3000) | 7, 8);
    for (uint64_t i = 0; i < 512; i++)
        dp_store(p, (uint32_t)(DP_TABLES + 0x3000 + 8 * i), i << 12 | 7, 8);
}

static void dp_to_ring3(struct program *p)
{
    DP_CODE_BYTES(p, 0x0f, 0x01, 0x14, 0x25); /* lgdt */
    dp_put(p, DP_GDT + 0x70, 4);
    dp_put(p, 0xb8, 1);
    dp_put(p, DP_TABLES, 4);
    DP_CODE_BYTES(p, 0x0f, 0x22, 0xd8);                    /* mov cr3 */
    DP_CODE_BYTES(p, 0x66, 0xb8, DP_TR, 0, 0x0f, 0, 0xd8); /* ltr */
    /* Data segments of ring 3: a processor's iretq clears those of ring 0, an emulating KVM's does
     * not, but for the ones that are stepped. */
    DP_CODE_BYTES(p, 0x66, 0xb8, DP_USER_SS, 0, 0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xe0, 0x8e, 0xe8);
}

static void dp_set_up(struct program *p)
{
    p->at = DP_AT;
    dp_put(p, 0xfa, 1);
    dp_put(p, 0xbc, 1);
    dp_put(p, p->kind == DP_LONG3 ? DP_KSTACK : DP_STACK_TOP, dp_imm_bytes(p));
    for (unsigned i = 0; i < DP_GATES && p->kind == DP_REAL; i++) {
        DP_CODE_BYTES(p, 0xc7, 0x06);
        dp_put(p, dp_gates[i].vector * 4, 2);
        dp_put(p, dp_handler_at(i), 2);
        DP_CODE_BYTES(p, 0xc7, 0x06);
        dp_put(p, dp_gates[i].vector * 4 + 2, 2);
        dp_put(p, 0, 2);
    }
    DP_CODE_BYTES(p, 0xb0, 0xff, 0xe6, 0x21, 0xe6, 0xa1); /* no interrupts */
    if (p->kind == DP_LONG3)
        dp_to_ring3(p);
    if (p->kind != DP_REAL) {
        DP_CODE_BYTES(p, 0x0f, 0x01);
        dp_modrm_abs(p, 3, DP_IDT + 0xff0);
    }
    DP_CODE_BYTES(p, 0xe6, TESTDEV_POST); /* an exit, after which every host knows the new IDT */
    if (p->kind == DP_LONG3) {
        DP_CODE_BYTES(p, 0x6a, DP_USER_SS, 0x68);
        dp_put(p, DP_STACK_TOP, 4);
        dp_put(p, 0x68, 1);
        dp_put(p, 0x202, 4);
        DP_CODE_BYTES(p, 0x6a, DP_USER_CS, 0x68);
        dp_put(p, DP_CODE, 4);
    }
    for (unsigned r = 0; r < 8; r++) {
        if (r == 4)
            continue;
        if (p->bits == 64)
            dp_put(p, 0x48, 1);
        dp_put(p, 0xb8 + r, 1);
        dp_put(p, dp_random(&p->rng), dp_word(p));
    }
    if (p->kind == DP_LONG3) {
        DP_CODE_BYTES(p, 0x48, 0xcf);
    } else {
        dp_put(p, 0xe9, 1);
        dp_put(p, DP_CODE - p->at - dp_imm_bytes(p), dp_imm_bytes(p));
    }
}

/* `reads_code`: it reads its own instructions, too. */
static void dp_make_reading(struct program *p, enum dp_kind kind, uint64_t seed, bool reads_code)
{
    uint32_t sub[DP_SUBS];

    memset(p, 0, sizeof *p);
    p->reads_code = reads_code;
    p->kind = kind;
    p->bits = (const unsigned[]){16, 32, 64, 64}[kind];
    p->rng = seed;
    for (unsigned i = 0; i < 0x2000; i++)
        p->image[DP_DATA - DP_AT + i] = (uint8_t)dp_random(&p->rng);
    dp_set_up(p);
    dp_tables(p);
    for (unsigned i = 0; i < DP_GATES; i++)
        dp_handler(p, i);
    p->at = DP_CODE;
    for (unsigned n = 20 + dp_below(p, 60); p->units < n && !dp_full(p);) {
        p->unit[p->units++] = p->at;
        dp_one_unit(p);
    }
    p->end_of_units = p->at;
    p->last = p->at + 4;
    dp_exit(p);
    p->in_sub = p->cx_busy = true;
    for (unsigned i = 0; i < DP_SUBS; i++) {
        sub[i] = p->at;
        for (unsigned n = 1 + dp_below(p, 3); n--;)
            dp_one_unit(p);
        if (dp_below(p, 2))
            DP_I(p, 0xc3);
        else
            DP_I(p, 0xc2, 0, 0);
    }
    for (unsigned i = 0; i < p->calls; i++) {
        uint32_t at = p->call_at[i] & ~(1u << 31), to = sub[p->call_sub[i]];

        dp_store(p, at, p->call_at[i] >> 31 ? to : to - at - dp_imm_bytes(p), dp_imm_bytes(p));
    }
}

static inline void dp_make(struct program *p, enum dp_kind kind, uint64_t seed)
{
    dp_make_reading(p, kind, seed, false);
}

#endif
