/*
 * Units of the random programs of diff_program.h: x87, MMX, SSE and, where CPUID told the set-up of
 * it, AVX and XSAVE.
 */
#ifndef TESTS_UNIT_DIFF_FPU_H
#define TESTS_UNIT_DIFF_FPU_H

#include "tests/unit/diff_emit.h"

/* 0F opcodes with a register and a memory operand; `prefix` 0: none. */
struct dp_vector {
    uint8_t prefix, opcode, access, align;
    bool has_imm;
};

static const struct dp_vector dp_sse[] = {
    {0, 0x10, DP_READS, 1, false},     /* movups */
    {0, 0x11, DP_WRITES, 1, false},    /**/
    {0, 0x28, DP_READS, 16, false},    /* movaps */
    {0, 0x29, DP_WRITES, 16, false},   /**/
    {0x66, 0x6f, DP_READS, 16, false}, /* movdqa */
    {0x66, 0x7f, DP_WRITES, 16, false},
    {0xf3, 0x6f, DP_READS, 1, false}, /* movdqu */
    {0xf3, 0x7f, DP_WRITES, 1, false},
    {0xf3, 0x10, DP_READS, 1, false}, /* movss */
    {0xf3, 0x11, DP_WRITES, 1, false},
    {0xf2, 0x10, DP_READS, 1, false}, /* movsd */
    {0xf2, 0x11, DP_WRITES, 1, false},
    {0xf3, 0x7e, DP_READS, 1, false}, /* movq */
    {0x66, 0xd6, DP_WRITES, 1, false},
    {0x66, 0x6e, DP_READS, 1, false}, /* movd */
    {0x66, 0x7e, DP_WRITES, 1, false},
    {0, 0x12, DP_READS, 1, false}, /* movlps, movhps */
    {0, 0x17, DP_WRITES, 1, false},
    {0, 0x2b, DP_WRITES, 16, false}, /* movntps, movntdq, movnti */
    {0x66, 0xe7, DP_WRITES, 16, false},
    {0, 0xc3, DP_WRITES, 1, false},
    {0, 0x58, DP_READS, 16, false}, /* addps, mulsd, paddd, pxor */
    {0xf2, 0x59, DP_READS, 1, false},
    {0x66, 0xfe, DP_READS, 16, false},
    {0x66, 0xef, DP_READS, 16, false},
    {0xf3, 0x2a, DP_READS, 1, false}, /* cvtsi2ss, ucomiss, pshufd */
    {0, 0x2e, DP_READS, 1, false},
    {0x66, 0x70, DP_READS, 16, true},
    {0, 0x6f, DP_READS, 1, false}, /* movq, paddb of MMX */
    {0, 0x7f, DP_WRITES, 1, false},
    {0, 0xfc, DP_READS, 1, false},
};

static void dp_sse_mem(struct program *p)
{
    const struct dp_vector *v = &dp_sse[dp_below(p, sizeof dp_sse / sizeof dp_sse[0])];
    struct dp_mem m = dp_mem_aligned(p, v->align);
    struct dp_ins *i = dp_start(p);

    if (v->prefix)
        dp_put(p, v->prefix, 1);
    DP_CODE_BYTES(p, 0x0f, v->opcode);
    dp_modrm(p, dp_below(p, 8), &m);
    if (v->has_imm)
        dp_put(p, dp_below(p, 256), 1);
    i->access = m.watched ? v->access : 0;
}

static void dp_sse_reg(struct program *p)
{
    unsigned x = dp_below(p, 8), y = dp_below(p, 8), r = dp_reg(p, false);
    uint32_t a = dp_data(p);

    dp_start(p);
    switch (dp_below(p, 8)) {
    case 0:
        DP_CODE_BYTES(p, 0x66, 0x0f, 0xef, (uint8_t)(0xc0 | x << 3 | y)); /* pxor */
        break;
    case 1:
        DP_CODE_BYTES(p, 0x0f, 0x58, (uint8_t)(0xc0 | x << 3 | y)); /* addps */
        break;
    case 2:
        DP_CODE_BYTES(p, 0x66, 0x0f, 0xd7, (uint8_t)(0xc0 | r << 3 | x)); /* pmovmskb */
        break;
    case 3:
        DP_CODE_BYTES(p, 0x66, 0x0f, 0x6e, (uint8_t)(0xc0 | x << 3 | r)); /* movd */
        break;
    case 4:
        DP_CODE_BYTES(p, 0x0f, 0xc6, (uint8_t)(0xc0 | x << 3 | y), (uint8_t)dp_below(p, 256));
        break;
    case 5:
        DP_CODE_BYTES(p, 0x0f, 0x77); /* emms */
        break;
    case 6:
        DP_CODE_BYTES(p, 0x0f, 0x2e, (uint8_t)(0xc0 | x << 3 | y)); /* ucomiss */
        break;
    default: /* stmxcsr, ldmxcsr */
        DP_CODE_BYTES(p, 0x0f, 0xae);
        dp_modrm_abs(p, 3, a);
        DP_I(p, 0x0f, 0xae);
        dp_modrm_abs(p, 2, a);
        break;
    }
}

static const struct {
    uint8_t opcode, reg, access;
} dp_x87[] = {
    {0xd9, 0, DP_READS},  {0xdd, 0, DP_READS},  {0xdb, 5, DP_READS},  /* fld m32, m64, m80 */
    {0xd9, 2, DP_WRITES}, {0xdd, 2, DP_WRITES},                       /* fst m32, m64 */
    {0xd9, 3, DP_WRITES}, {0xdd, 3, DP_WRITES}, {0xdb, 7, DP_WRITES}, /* fstp m32, m64, m80 */
    {0xdf, 0, DP_READS},  {0xdb, 0, DP_READS},  {0xdf, 5, DP_READS},  /* fild m16, m32, m64 */
    {0xdf, 3, DP_WRITES}, {0xdb, 3, DP_WRITES}, {0xdf, 7, DP_WRITES}, /* fistp m16, m32, m64 */
    {0xd8, 0, DP_READS},  {0xdc, 1, DP_READS},  {0xda, 0, DP_READS},  /* fadd, fmul, fiadd */
    {0xd9, 7, DP_WRITES}, {0xdd, 7, DP_WRITES},                       /* fnstcw, fnstsw */
};

static void dp_x87_mem(struct program *p)
{
    unsigned n = dp_below(p, sizeof dp_x87 / sizeof dp_x87[0]);
    bool is_m80 = dp_x87[n].opcode == 0xdb && dp_x87[n].reg > 3;
    /* Across pages, QEMU as a processor has the rest of ten bytes in the page of its own memory
     * that happens to follow. */
    struct dp_mem m = dp_mem_aligned(p, is_m80 ? 16 : 1);
    struct dp_ins *i = dp_start(p);

    dp_put(p, dp_x87[n].opcode, 1);
    dp_modrm(p, dp_x87[n].reg, &m);
    i->access = m.watched ? dp_x87[n].access : 0;
}

static void dp_x87_reg(struct program *p)
{
    static const uint8_t ops[][2] = {
        {0xd9, 0xe8}, {0xd9, 0xeb}, {0xd9, 0xc9}, /* fld1, fldpi, fxch */
        {0xde, 0xc1}, {0xd9, 0xfa}, {0xd9, 0xe1}, /* faddp, fsqrt, fabs */
        {0xdb, 0xe3}, {0xdf, 0xe0}, {0xd9, 0xf7}, /* fninit, fnstsw, fincstp */
        {0xdd, 0xc0}, {0xdb, 0xf1}, {0xd9, 0xfc}, /* ffree, fcomi, frndint */
    };
    unsigned n = dp_below(p, sizeof ops / sizeof ops[0] + 2);
    uint32_t a = dp_data(p);

    if (n > sizeof ops / sizeof ops[0]) {
        DP_I(p, 0x9b);
    } else if (n == sizeof ops / sizeof ops[0]) { /* another rounding and precision */
        dp_poke(p, a, 0x37f & ~(dp_below(p, 16) << 8), 2);
        DP_I(p, 0xd9);
        dp_modrm_abs(p, 5, a);
    } else {
        DP_I(p, ops[n][0], ops[n][1]);
    }
}

/* What only a processor with AVX does: a forward jump that the end patches. */
static uint32_t dp_if_avx(struct program *p)
{
    dp_start(p);
    dp_put(p, 0xf6, 1);
    dp_modrm_abs(p, 0, DP_HAS_AVX);
    dp_put(p, 1, 1);
    DP_I(p, 0x74, 0);
    return p->at;
}

static void dp_end_if(struct program *p, uint32_t from)
{
    p->image[from - 1 - DP_AT] = (uint8_t)(p->at - from);
}

/* The second byte of a VEX prefix of two: L and pp, no second source. */
static void dp_avx_mem(struct program *p)
{
    static const struct dp_vector ops[] = {
        {0xfc, 0x10, DP_READS, 1, false},  {0xfc, 0x11, DP_WRITES, 1, false},  /* vmovups */
        {0xfe, 0x6f, DP_READS, 1, false},  {0xfe, 0x7f, DP_WRITES, 1, false},  /* vmovdqu */
        {0xfc, 0x28, DP_READS, 32, false}, {0xfc, 0x29, DP_WRITES, 32, false}, /* vmovaps */
        {0xd4, 0x58, DP_READS, 1, false},  {0xd1, 0xef, DP_READS, 1, false},   /* vaddps, vpxor */
        {0xfa, 0x7e, DP_READS, 1, false},  {0xf9, 0xd6, DP_WRITES, 1, false},  /* vmovq */
    };
    const struct dp_vector *v = &ops[dp_below(p, sizeof ops / sizeof ops[0])];
    struct dp_mem m;
    struct dp_ins *i;
    uint32_t from;

    if (p->bits == 16) /* not in real mode; QEMU does not know it in any 16-bit code */
        return;
    from = dp_if_avx(p);
    m = dp_mem_aligned(p, v->align);
    i = dp_start(p);
    DP_CODE_BYTES(p, 0xc5, v->prefix, v->opcode);
    dp_modrm(p, dp_below(p, 8), &m);
    i->access = m.watched ? v->access : 0;
    if (dp_below(p, 4) == 0)
        DP_I(p, 0xc5, 0xf8, 0x77); /* vzeroupper */
    dp_end_if(p, from);
}

/* The whole state to memory and back, with something in between that is undone. */
static void dp_save_fpu(struct program *p)
{
    bool is_xsave = p->kind != DP_REAL && dp_below(p, 2);
    unsigned ext = is_xsave ? 4 : 0;
    uint32_t from = is_xsave ? dp_if_avx(p) : 0;

    if (is_xsave) {
        dp_mov_imm(p, 0, 7);
        dp_mov_imm(p, 2, 0);
    }
    DP_I(p, 0x0f, 0xae);
    dp_modrm_abs(p, ext, DP_FX);
    if (dp_below(p, 2))
        dp_sse_reg(p);
    else
        DP_I(p, 0xd9, 0xe8);
    if (is_xsave) {
        dp_mov_imm(p, 0, 7);
        dp_mov_imm(p, 2, 0);
    }
    DP_I(p, 0x0f, 0xae);
    dp_modrm_abs(p, ext + 1, DP_FX);
    if (is_xsave)
        dp_end_if(p, from);
}

#endif
