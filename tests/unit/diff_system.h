/*
 * Units of the random programs of diff_program.h: segments, far jumps and returns, code of another
 * width, tables, control and model-specific registers.
 */
#ifndef TESTS_UNIT_DIFF_SYSTEM_H
#define TESTS_UNIT_DIFF_SYSTEM_H

#include "tests/unit/diff_flow.h"
#include "tests/unit/diff_fpu.h"

enum { DP_ES = 0, DP_SS = 2, DP_DS = 3, DP_FS = 4, DP_GS = 5 };

/* ---- segments ---------------------------------------------------------------------------------
 */

static uint16_t dp_flat(const struct program *p)
{
    return p->kind == DP_REAL ? 0 : X86_SEL_DATA;
}

static uint16_t dp_based(const struct program *p)
{
    return p->kind == DP_REAL ? DP_SEG_BASE >> 4 : DP_BASED;
}

static void dp_load_segment(struct program *p, unsigned segment, uint16_t selector)
{
    unsigned r = dp_reg(p, false);

    dp_mov_imm(p, r, selector);
    DP_I(p, 0x8e, (uint8_t)(0xc0 | segment << 3 | r));
}

/* Pushes one segment and pops it into another. In 64-bit code only FS and GS can be. */
static void dp_segment_stack(struct program *p)
{
    static const uint8_t old_push[] = {0x06, 0x0e, 0x16, 0x1e},
                         old_pop[] = {0x07, 0x07, 0x17, 0x1f};
    unsigned from = dp_below(p, 6), to = dp_below(p, 2);
    bool narrow = dp_below(p, 4) == 0;

    if (p->kind == DP_LONG3)
        return;
    if (p->bits == 64) {
        from = DP_FS + (from & 1);
        to = DP_FS + to;
        dp_load_segment(p, from, dp_flat(p));
    } else {
        to = to ? DP_GS : DP_ES;
        if (from == 1)
            from = DP_DS;
    }
    for (unsigned n = 0; n < 2; n++) {
        unsigned segment = n ? to : from;

        dp_start(p);
        if (narrow && p->bits == 64)
            dp_put(p, 0x66, 1);
        if (segment >= DP_FS)
            DP_CODE_BYTES(p, 0x0f, (uint8_t)(0xa0 | (segment == DP_GS) << 3 | n));
        else
            dp_put(p, n ? old_pop[segment] : old_push[segment], 1);
    }
}

/* LES, LFS, LGS: a pointer from memory. */
static void dp_load_pointer(struct program *p)
{
    static const uint8_t opcode[] = {0xc4, 0xb4, 0xb5};
    unsigned which = dp_below(p, 3);

    if (p->bits == 64)
        return;
    dp_poke(p, DP_POINTER, dp_below(p, 0x10000), dp_word(p));
    dp_poke(p, DP_POINTER + dp_word(p), dp_flat(p), 2);
    dp_start(p);
    if (which)
        dp_put(p, 0x0f, 1);
    dp_put(p, opcode[which], 1);
    dp_modrm_abs(p, dp_reg(p, false), DP_POINTER);
}

/* Accesses through FS or GS with a base. Ring 3 got its base by the MSR. */
static void dp_through_segment(struct program *p)
{
    static void (*const emit[])(struct program *) = {dp_alu_mem, dp_odd_mem, dp_sse_mem,
                                                     dp_bits,    dp_alu_mem, dp_x87_mem};
    unsigned segment = p->kind == DP_LONG3 ? DP_FS : DP_FS + dp_below(p, 2);

    if (p->kind != DP_LONG3)
        dp_load_segment(p, segment, dp_based(p));
    p->prefix = segment == DP_FS ? 0x64 : 0x65;
    p->seg_base = DP_SEG_BASE;
    for (unsigned n = 1 + dp_below(p, 3); n--;)
        emit[dp_below(p, sizeof emit / sizeof emit[0])](p);
    p->prefix = 0;
    p->seg_base = 0;
}

/* String instructions whose target has a base, in 64-bit code ignored, and their source at times.
 */
static void dp_string_segment(struct program *p)
{
    uint32_t base = p->bits == 64 ? 0 : DP_SEG_BASE, from = DP_DATA + 0x180 + dp_below(p, 0x280);
    bool through_fs = dp_below(p, 2);

    if (p->kind == DP_LONG3 || p->cx_busy)
        return;
    if (through_fs)
        dp_load_segment(p, DP_FS, dp_based(p));
    dp_load_segment(p, DP_ES, dp_based(p));
    dp_string_regs(p, 1 + dp_below(p, 9), through_fs ? from - DP_SEG_BASE : from,
                   DP_DATA + (dp_below(p, 2) ? 0x180 : 0xf80) + dp_below(p, 0x280) - base, false);
    DP_I(p, 0xfc);
    dp_start(p);
    if (through_fs)
        dp_put(p, 0x64, 1);
    DP_CODE_BYTES(p, 0xf3, (uint8_t)(0xa4 + dp_below(p, 2)));
    dp_load_segment(p, DP_ES, dp_flat(p));
}

/* The same stack through a segment with a base. A KVM that emulates pushes the frames of protected
 * mode's events without it. */
static void dp_based_stack(struct program *p)
{
    static const uint8_t modrm[] = {0xec, 0xc4}; /* sub, add sp */

    if ((p->kind != DP_REAL && p->kind != DP_PROT) || p->based)
        return;
    p->based = true;
    p->no_events = p->kind == DP_PROT;
    for (unsigned n = 0; n < 2; n++) {
        dp_load_segment(p, DP_SS, n ? dp_flat(p) : dp_based(p));
        dp_start(p);
        if (p->bits == 16 && p->kind == DP_PROT)
            dp_put(p, 0x66, 1);
        DP_CODE_BYTES(p, 0x81, modrm[n]);
        dp_put(p, DP_SEG_BASE, p->kind == DP_PROT ? 4 : 2);
        if (!n)
            dp_units(p, 1 + dp_below(p, 3));
    }
    p->based = p->no_events = false;
}

/* ---- far transfers ----------------------------------------------------------------------------
 */

static uint16_t dp_code_selector(const struct program *p)
{
    if (p->kind == DP_REAL)
        return (uint16_t)(p->cs_base >> 4);
    return p->bits == (p->kind == DP_PROT ? 32 : 64) ? X86_SEL_CODE : DP_OTHER_CS;
}

/* A far jump or call to `target`, or to what follows where that is 0, with the selector and the
 * base that are to be. */
static void dp_far(struct program *p, bool is_call, uint32_t target, uint16_t selector,
                   uint32_t base)
{
    if (p->bits == 64) {
        uint32_t patch;

        dp_poke(p, DP_POINTER, 0, 4);
        patch = p->at - 4;
        dp_poke(p, DP_POINTER + 4, selector, 2);
        DP_I(p, 0xff);
        dp_modrm_abs(p, is_call ? 3 : 5, DP_POINTER);
        le_store(p->image + patch - DP_AT, 4, (target ? target : p->at) - base);
        return;
    }
    dp_start(p);
    dp_put(p, is_call ? 0x9a : 0xea, 1);
    dp_put(p, (target ? target : p->at + dp_imm_bytes(p) + 2) - base, dp_imm_bytes(p));
    dp_put(p, selector, 2);
}

static void dp_far_jump(struct program *p)
{
    if (p->kind != DP_LONG3)
        dp_far(p, false, 0, dp_code_selector(p), p->cs_base);
}

/* jmp over; function: … retf; over: call function. */
static void dp_far_call(struct program *p)
{
    uint32_t from, function;

    if (p->kind == DP_LONG3)
        return;
    DP_I(p, 0xe9);
    dp_put(p, 0, dp_imm_bytes(p));
    from = p->at;
    function = p->at;
    dp_units(p, 1 + dp_below(p, 2));
    if (dp_below(p, 2))
        DP_I(p, 0xcb);
    else
        DP_I(p, 0xca, 0, 0);
    le_store(p->image + from - dp_imm_bytes(p) - DP_AT, dp_imm_bytes(p), p->at - from);
    dp_far(p, true, function, dp_code_selector(p), p->cs_base);
}

/* For a while in code of another width, or of real mode at another CS. */
static void dp_visit(struct program *p)
{
    unsigned bits = p->bits;
    bool in_sub = p->in_sub;
    uint16_t home = dp_code_selector(p);

    if (p->kind == DP_LONG3 || p->visits)
        return;
    p->visits = p->in_sub = true;
    if (p->kind == DP_REAL) {
        uint32_t base = 16 * (1 + dp_below(p, 0x700));

        dp_far(p, false, 0, (uint16_t)(base >> 4), base);
        p->cs_base = base;
    } else {
        dp_far(p, false, 0, DP_OTHER_CS, 0);
        p->bits = p->kind == DP_PROT ? 16 : 32;
    }
    dp_units(p, 1 + dp_below(p, 4));
    dp_far(p, false, 0, home, 0);
    p->bits = bits;
    p->cs_base = 0;
    p->visits = false;
    p->in_sub = in_sub;
}

static void dp_syscall(struct program *p)
{
    if (p->kind == DP_LONG3 && !p->cx_busy)
        DP_I(p, 0x0f, 0x05);
}

/* ---- registers of the system ------------------------------------------------------------------
 */

static void dp_tables_stored(struct program *p)
{
    unsigned ext = dp_below(p, 2); /* sgdt, sidt; then lgdt, lidt */

    DP_I(p, 0x0f, 0x01);
    dp_modrm_abs(p, ext, DP_POINTER);
    DP_I(p, 0x0f, 0x01);
    dp_modrm_abs(p, 2 + ext, DP_POINTER);
}

/* CR0.TS: the next instruction of the FPU goes to a handler that clears it, and is made after it:
 * no access that counts. */
static void dp_task_switched(struct program *p)
{
    unsigned r = dp_reg(p, false);

    if (p->no_events)
        return;
    DP_I(p, 0x0f, 0x20, (uint8_t)(0xc0 | r));
    DP_I(p, 0x83, (uint8_t)(0xc8 | r), 8); /* or r, 8 */
    DP_I(p, 0x0f, 0x22, (uint8_t)(0xc0 | r));
    dp_start(p);
    DP_CODE_BYTES(p, 0x0f, dp_below(p, 2) ? 0x10 : 0x11); /* movups */
    dp_modrm_abs(p, dp_below(p, 8), dp_data(p));
}

static void dp_msr(struct program *p)
{
    static const uint32_t msr[] = {0xc0000102, 0x174, 0x176}; /* KERNEL_GS_BASE, SYSENTER_* */
    uint32_t which = msr[dp_below(p, 3)];

    if (p->cx_busy)
        return;
    dp_mov32(p, 1, which);
    dp_mov32(p, 0, dp_below(p, 0x10000));
    dp_mov32(p, 2, 0);
    DP_I(p, 0x0f, 0x30);
    DP_I(p, 0x0f, 0x32);
}

static void dp_cpuid(struct program *p)
{
    if (p->cx_busy)
        return;
    dp_mov32(p, 0, dp_below(p, 2) << 31);
    DP_I(p, 0x0f, 0xa2);
}

static void dp_control(struct program *p)
{
    unsigned r = dp_reg(p, false), cr = (const unsigned[]){0, 3, 4}[dp_below(p, 3)];

    DP_I(p, 0x0f, 0x20, (uint8_t)(0xc0 | cr << 3 | r));
    if (dp_below(p, 2))
        DP_I(p, 0x0f, 0x22, (uint8_t)(0xc0 | cr << 3 | r));
}

/* Debug registers that stay off. */
static void dp_debug_registers(struct program *p)
{
    unsigned r = dp_reg(p, false), n = dp_below(p, 4);

    DP_I(p, 0x0f, 0x23, (uint8_t)(0xc0 | n << 3 | r));
    DP_I(p, 0x0f, 0x21, (uint8_t)(0xc0 | (dp_below(p, 2) ? n : 7) << 3 | r));
}

static void dp_lapic_write(struct program *p, uint32_t reg, uint32_t value)
{
    dp_mov_imm(p, 6, DP_LAPIC + reg);
    dp_start(p);
    DP_CODE_BYTES(p, 0xc7, 0x06);
    dp_put(p, value, 4);
}

/* HLT that an interrupt to itself ends, which waits for the shadow of STI to pass. */
static void dp_halt(struct program *p)
{
    if (p->kind == DP_REAL || p->kind == DP_LONG3 || p->bits == 16 || p->no_events)
        return;
    DP_I(p, 0xfa);
    dp_lapic_write(p, 0xf0, 0x1ff);    /* spurious vector: enabled */
    dp_lapic_write(p, 0x300, 0x40040); /* to itself: vector 0x40 */
    DP_I(p, 0xfb);
    DP_I(p, 0xf4);
    DP_I(p, 0xfa);
    dp_lapic_write(p, 0xb0, 0); /* end of interrupt */
}

static void dp_selectors(struct program *p)
{
    unsigned r = dp_reg(p, false), n = dp_below(p, 6);

    if (p->kind == DP_REAL)
        return;
    dp_mov_imm(p, r, (const uint16_t[]){X86_SEL_DATA, X86_SEL_CODE, DP_ABSENT}[dp_below(p, 3)]);
    if (n < 2)
        DP_I(p, 0x0f, 0x00, (uint8_t)(0xc0 | n << 3 | r)); /* sldt, str */
    else if (n < 4)
        DP_I(p, 0x0f, 0x00, (uint8_t)(0xe0 | (n & 1) << 3 | r)); /* verr, verw */
    else
        DP_I(p, 0x0f, (uint8_t)(n - 2), (uint8_t)(0xc0 | r << 3 | r)); /* lar, lsl */
}

static void dp_system(struct program *p)
{
    static void (*const emit[])(struct program *) = {
        dp_tables_stored, dp_task_switched,   dp_msr,       dp_cpuid,
        dp_control,       dp_debug_registers, dp_selectors,
    };
    unsigned r = dp_reg(p, false);

    if (p->kind == DP_LONG3)
        return;
    switch (dp_below(p, 10)) {
    case 0:
        DP_I(p, 0x0f, 0x01, (uint8_t)(0xe0 | r)); /* smsw, lmsw */
        DP_I(p, 0x0f, 0x01, (uint8_t)(0xf0 | r));
        break;
    case 1:
        DP_I(p, 0x0f, 0x06); /* clts */
        break;
    case 2:
        dp_start(p);
        DP_CODE_BYTES(p, 0x0f, 0x01); /* invlpg */
        dp_modrm_abs(p, 7, dp_data(p));
        break;
    default:
        emit[dp_below(p, sizeof emit / sizeof emit[0])](p);
        break;
    }
}

#endif
