/*
 * Units of the random programs of diff_program.h: whole numbers, memory, the stack, flags, ports
 * and device memory. Each leaves the stack as it was.
 */
#ifndef TESTS_UNIT_DIFF_UNITS_H
#define TESTS_UNIT_DIFF_UNITS_H

#include "tests/unit/diff_emit.h"

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
    bool is_wide;

    dp_start(p);
    switch (dp_below(p, 8)) {
    case 0:
        if (dp_below(p, 2))
            dp_put(p, 0xf0, 1);
        dp_size(p);
        DP_CODE_BYTES(p, 0x0f, 0xb1); /* cmpxchg */
        dp_modrm_abs(p, dp_below(p, 8), dp_unsplit(p, a));
        break;
    case 1:
        if (dp_below(p, 2))
            dp_put(p, 0xf0, 1);
        is_wide = p->bits == 64 && dp_below(p, 2);
        if (is_wide)
            dp_put(p, 0x48, 1);
        DP_CODE_BYTES(p, 0x0f, 0xc7); /* cmpxchg8b, cmpxchg16b */
        dp_modrm_abs(p, 1, is_wide ? a & ~15u : dp_unsplit(p, a));
        break;
    case 5:
        dp_size(p);
        DP_CODE_BYTES(p, 0x0f, (uint8_t)(0xa4 | dp_below(p, 2) << 3)); /* shld, shrd */
        dp_modrm_abs(p, dp_below(p, 8), a);
        dp_put(p, 1, 1); /* by more, OF is undefined */
        break;
    case 6:
        dp_put(p, 0xf3, 1);
        DP_CODE_BYTES(p, 0x0f, 0xb8); /* popcnt */
        dp_modrm_abs(p, dp_reg(p, false), a);
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

/* bt, bts, btr, btc by a number or a register, which reaches beyond the operand. CF alone is
 * defined after them. */
static void dp_bits(struct program *p)
{
    bool by_reg = dp_below(p, 2);
    unsigned what = dp_below(p, 4), r = dp_reg(p, false);
    uint32_t a = DP_DATA + 0x180 + dp_below(p, 0x480);

    if (by_reg)
        dp_mov32(p, r, dp_below(p, 0x400) - (p->bits == 64 ? 0 : 0x200));
    dp_start(p);
    if (what && p->kind != DP_LONG3 && dp_below(p, 3) == 0)
        dp_put(p, 0xf0, 1);
    dp_size(p);
    DP_CODE_BYTES(p, 0x0f, (uint8_t)(by_reg ? 0xa3 | what << 3 : 0xba));
    dp_modrm_abs(p, by_reg ? r : 4 + what, a);
    if (!by_reg)
        dp_put(p, dp_below(p, 16), 1);
    DP_I(p, 0x19, (uint8_t)(0xc0 | 9 * r)); /* sbb r, r */
}

/* What only 16- and 32-bit code has. */
static void dp_legacy(struct program *p)
{
    if (p->bits == 64 || p->no_events)
        return;
    dp_mov_imm(p, 3, DP_DATA);
    dp_start(p);
    switch (dp_below(p, 5)) {
    case 0:
        dp_put(p, 0x27 + 8 * dp_below(p, 4), 1); /* daa, das, aaa, aas: OF is undefined */
        break;
    case 1:
        DP_CODE_BYTES(p, (uint8_t)(0xd4 + dp_below(p, 2)), 10); /* aam, aad */
        break;
    case 2:
        dp_put(p, 0xd7, 1); /* xlat */
        return;
    default:
        dp_put(p, 0xce, 1); /* into */
        return;
    }
    DP_I(p, 0x84, 0xc0); /* test al, al */
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
    if (p->bits != 16 && dp_below(p, 4) == 0)
        flags |= 0x200000; /* ID */
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

/* Registers of string instructions: of the segment's width or, with a prefix, another. */
static void dp_string_regs(struct program *p, uint32_t count, uint32_t from, uint32_t to,
                           bool other_width)
{
    const uint32_t value[] = {[1] = count, [6] = from, [7] = to};

    for (unsigned r = 1; r < 8; r += r == 1 ? 5 : 1) {
        if (other_width)
            dp_mov32(p, r, value[r]);
        else
            dp_mov_imm(p, r, value[r]);
    }
}

static void dp_repeat(struct program *p)
{
    static const uint8_t ops[] = {0xa4, 0xa5, 0xaa, 0xab, 0xac, 0xad, 0xa6, 0xa7, 0xae, 0xaf};
    unsigned op = ops[dp_below(p, 10)];
    bool other_width = dp_below(p, 4) == 0;

    if (p->cx_busy)
        return;
    dp_string_regs(p, dp_below(p, 17), DP_DATA + 0x180 + dp_below(p, 0x380),
                   (dp_below(p, 4) ? DP_DATA + 0x180 : DP_DATA + 0xf80) + dp_below(p, 0x280),
                   other_width);
    if (dp_below(p, 2))
        DP_I(p, (uint8_t)(0xfc + dp_below(p, 2)));
    dp_start(p);
    if (other_width)
        dp_put(p, 0x67, 1);
    if (dp_below(p, 4))
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
    dp_string_regs(p, 1 + dp_below(p, 5), DP_DATA + 0x180 + dp_below(p, 0x380),
                   DP_DATA + 0x180 + dp_below(p, 0x380), false);
    dp_start(p);
    if (dp_below(p, 4))
        dp_put(p, 0xf3, 1);
    if (dp_below(p, 3) == 0)
        dp_put(p, 0x66, 1);
    dp_put(p, 0x6c + dp_below(p, 4), 1); /* ins, outs */
}

static void dp_mmio(struct program *p)
{
    unsigned form = dp_below(p, 8);
    uint32_t a = DP_MMIO + 8 * dp_below(p, 4), data = dp_data(p);

    if ((p->kind != DP_PROT && p->kind != DP_LONG0) || p->bits == 16 || (form > 4 && p->cx_busy))
        return;
    if (form > 4) { /* string instructions from and to it */
        dp_string_regs(p, 1 + dp_below(p, 3), form == 5 ? a : data, form == 5 ? data : a, false);
        DP_I(p, 0xfc);
        DP_I(p, 0xf3, (uint8_t)(form == 7 ? 0xab : 0xa4 + dp_below(p, 2)));
        return;
    }
    dp_mov_imm(p, 6, a);
    dp_start(p);
    if (p->bits == 64)
        dp_put(p, 0x67, 1); /* above 2 GiB a 32-bit displacement would be sign-extended */
    DP_CODE_BYTES(p, ((const uint8_t[]){0x88, 0x89, 0x8a, 0x8b, 0x01})[form],
                  (uint8_t)((const uint8_t[]){0, 2, 3}[dp_below(p, 3)] << 3 | 6));
}

/* ENTER of some depth copies what is pushed below the old frame. Of 16-bit code on a 32-bit stack
 * it takes all of EBP, and KVM's emulator pushes twice as much as LEAVE pops. */
static void dp_enter(struct program *p)
{
    unsigned level = dp_below(p, 4);

    if (p->kind == DP_PROT && p->bits == 16)
        return;
    if (p->bits == 64)
        DP_I(p, 0x48, 0x89, 0xe5); /* mov bp, sp */
    else
        DP_I(p, 0x89, 0xe5);
    for (unsigned i = 0; i < level; i++)
        DP_I(p, (uint8_t)(0x50 + dp_below(p, 4)));
    DP_I(p, 0xc8, (uint8_t)(8 * dp_below(p, 5)), 0, (uint8_t)level);
    DP_I(p, 0xc9);
    for (unsigned i = 0; i < level; i++)
        DP_I(p, (uint8_t)(0x58 + dp_reg(p, false)));
}

static void dp_pusha(struct program *p)
{
    if (p->bits == 64)
        return;
    DP_I(p, 0x60);
    dp_units(p, dp_below(p, 3));
    DP_I(p, 0x61);
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

#endif
