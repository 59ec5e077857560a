/*
 * What the random programs of diff_program.h are made of: a program, its bytes and its operands.
 *
 *   7000 set-up   8000 code   9000 handlers   a000 data, two pages   c000 stack   e000 stack of
 *   ring 0   10000 page tables (ring 3)   14000 IDT   15000 GDT   15800 TSS
 */
#ifndef TESTS_UNIT_DIFF_EMIT_H
#define TESTS_UNIT_DIFF_EMIT_H

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
#define DP_COUNTER   0xaf00u /* counted up by handlers of traps */
#define DP_HAS_AVX   0xe010u /* a byte that the set-up writes; CPUID told it */
#define DP_FX        0xba00u /* FXSAVE's and XSAVE's, which only they touch */
#define DP_FX_BYTES  0x400u
#define DP_POINTER   0xbf00u /* far pointers and table registers pass through here */
#define DP_STACK_TOP 0xd000u
#define DP_KSTACK    0xf000u
#define DP_TABLES    0x10000u
#define DP_SYSCALLED 0x9300u
#define DP_IDT       0x14000u
#define DP_GDT       0x15000u
#define DP_TSS       0x15800u
#define DP_PORT      0x5000u     /* a device of the test's own */
#define DP_MMIO      0xfe100000u /* and its memory */
#define DP_NO_PORT   0x9990u
#define DP_LAPIC     0xfee00000u

#define DP_SYSRET_SS   0x3b
#define DP_USER_CS     0x43
#define DP_USER_SS     0x4b
#define DP_TR          0x50
#define DP_OTHER_CS    0x60 /* of another width: 16 bits beside 32, 32 beside 64 */
#define DP_BASED       0x68 /* data with a base */
#define DP_ABSENT      0x70
#define DP_SEG_BASE    0x100u
#define DP_GDT_POINTER (DP_GDT + 0xf0u)
#define DP_NO_PAGE     0x1f0000u /* ring 3: not present, then read-only, then the supervisor's */

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
    bool cx_busy, in_sub, reads_code, visits, based, no_events;
    unsigned depth;
    uint8_t prefix;    /* of each instruction: a segment's, */
    uint32_t seg_base; /* and where that segment starts */
    uint32_t cs_base;
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
    if (p->prefix)
        dp_put(p, p->prefix, 1);
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
        return DP_DATA + 0x1000 + dp_below(p, 0x9c0);
    default:
        return DP_DATA + dp_below(p, 0x780);
    }
}

static void dp_modrm_abs(struct program *p, unsigned reg, uint32_t addr)
{
    addr -= p->seg_base;
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

/* 32 bits in any mode. */
static void dp_mov32(struct program *p, unsigned reg, uint32_t value)
{
    dp_start(p);
    if (p->bits == 16)
        dp_put(p, 0x66, 1);
    dp_put(p, 0xb8 + reg, 1);
    dp_put(p, value, 4);
}

/* Stores a word or doubleword. */
static void dp_poke(struct program *p, uint32_t addr, uint32_t value, unsigned bytes)
{
    dp_start(p);
    if ((bytes == 2) != (p->bits == 16))
        dp_put(p, 0x66, 1);
    dp_put(p, 0xc7, 1);
    dp_modrm_abs(p, 0, addr);
    dp_put(p, value, bytes);
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
static struct dp_mem dp_mem_aligned(struct program *p, unsigned align)
{
    static const unsigned bases[] = {6, 7, 3};
    struct dp_mem m = {.watched = dp_below(p, 5) == 0, .by_reg = dp_below(p, 3) == 0};

    m.addr = (m.watched ? DP_WATCHED : dp_unsplit(p, dp_data(p))) & ~(align - 1);
    if (m.by_reg) {
        m.base = bases[dp_below(p, 3)];
        m.disp = (int8_t)dp_below(p, 256);
        dp_mov_imm(p, m.base, m.addr - p->seg_base - (uint32_t)(int32_t)m.disp);
    }
    return m;
}

static struct dp_mem dp_mem(struct program *p)
{
    return dp_mem_aligned(p, 1);
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

#endif
