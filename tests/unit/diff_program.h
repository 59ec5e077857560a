/*
 * Random guest programs for test_diff.c: balanced on the stack, bounded in time, without any
 * source of chance, so that two runs of one must end alike. A seed gives one program; its image
 * covers [DP_AT, DP_AT + DP_BYTES) and starts at its first byte. What it is made of: diff_emit.h
 * and the units beside it.
 */
#ifndef TESTS_UNIT_DIFF_PROGRAM_H
#define TESTS_UNIT_DIFF_PROGRAM_H

#include "tests/unit/diff_system.h"

static const struct {
    unsigned weight;
    void (*emit)(struct program *p);
} dp_unit[] = {
    {6, dp_alu_reg},
    {6, dp_misc_reg},
    {4, dp_load_imm},
    {10, dp_alu_mem},
    {4, dp_odd_mem},
    {4, dp_push_pop},
    {2, dp_pushf},
    {3, dp_popf},
    {2, dp_sti_cli},
    {2, dp_mov_ss},
    {4, dp_repeat},
    {4, dp_io},
    {2, dp_mmio},
    {4, dp_fault},
    {2, dp_iret},
    {2, dp_soft_int},
    {4, dp_branch},
    {4, dp_loop},
    {3, dp_call},
    {2, dp_self_modify},
    {2, dp_pusha},
    {2, dp_own_steps},
    {2, dp_read_code},
    {2, dp_bits},
    {2, dp_legacy},
    {2, dp_enter},
    {6, dp_sse_mem},
    {3, dp_sse_reg},
    {4, dp_x87_mem},
    {3, dp_x87_reg},
    {4, dp_avx_mem},
    {1, dp_save_fpu},
    {2, dp_segment_stack},
    {1, dp_load_pointer},
    {3, dp_through_segment},
    {2, dp_string_segment},
    {2, dp_based_stack},
    {2, dp_far_jump},
    {2, dp_far_call},
    {3, dp_visit},
    {3, dp_syscall},
    {4, dp_system},
    {2, dp_halt},
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
    {1, 3, 0, false, true},  {4, 3, 0, false, true},  {7, 0, 0, false, true},
    {11, 0, 2, true, false},
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
    if (g.vector == 7)
        DP_CODE_BYTES(p, 0x0f, 0x06); /* clts */
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

/* SYSCALL's, in ring 0 on ring 3's stack. */
static void dp_syscall_handler(struct program *p)
{
    p->at = DP_SYSCALLED;
    dp_put(p, 0xff, 1);
    dp_modrm_abs(p, 0, DP_COUNTER);
    DP_CODE_BYTES(p, 0x48, 0x0f, 0x07);
}

static void dp_store(struct program *p, uint32_t at, uint64_t value, unsigned bytes)
{
    le_store(p->image + at - DP_AT, bytes, value);
}

static void dp_descriptors(struct program *p)
{
    uint64_t code32 = 0x00cf9b000000ffff, code16 = 0x00009b000000ffff, code64 = 0x00af9b000000ffff;
    bool is_prot = p->kind == DP_PROT;

    dp_store(p, DP_GDT + X86_SEL_CODE, is_prot ? code32 : code64, 8);
    dp_store(p, DP_GDT + X86_SEL_DATA, 0x00cf93000000ffff, 8);
    dp_store(p, DP_GDT + (DP_SYSRET_SS & ~7), 0x00cff3000000ffff, 8);
    dp_store(p, DP_GDT + (DP_USER_CS & ~7), 0x00affb000000ffff, 8);
    dp_store(p, DP_GDT + (DP_USER_SS & ~7), 0x00cff3000000ffff, 8);
    dp_store(p, DP_GDT + DP_TR, 0x0000890000002068 | (uint64_t)DP_TSS << 16, 8);
    dp_store(p, DP_GDT + DP_OTHER_CS, is_prot ? code16 : code32, 8);
    dp_store(p, DP_GDT + DP_BASED, 0x00cf92000000ffff | DP_SEG_BASE << 16, 8);
    dp_store(p, DP_GDT + DP_ABSENT, 0x00cf13000000ffff, 8);
    dp_store(p, DP_GDT_POINTER, 0x77 | (uint64_t)DP_GDT << 16, 8);
}

/* The first 2 MiB, for ring 3 too, and a stack of ring 0. */
static void dp_paging(struct program *p)
{
    dp_store(p, DP_TSS + 4, DP_KSTACK, 8);
    dp_store(p, DP_TSS + 102, 0x68, 2); /* every port is allowed: hosts show IOPL differently */
    dp_store(p, DP_TSS + 0x2068, 0xff, 1);
    dp_store(p, DP_TABLES, (DP_TABLES + 0x1000) | 7, 8);
    dp_store(p, DP_TABLES + 0x1000, (DP_TABLES + 0x2000) | 7, 8);
    dp_store(p, DP_TABLES + 0x2000, (DP_TABLES + 0x3000) | 7, 8);
    for (uint64_t i = 0; i < 512; i++)
        dp_store(p, (uint32_t)(DP_TABLES + 0x3000 + 8 * i), i << 12 | 7, 8);
    /* Where SYSCALL leads must be the supervisor's: a KVM that leaves it in ring 3 shows there. */
    dp_store(p, DP_TABLES + 0x3000 + 8 * (DP_SYSCALLED >> 12), (DP_SYSCALLED & ~0xfffu) | 3, 8);
    for (uint64_t i = 0; i < 3; i++) /* absent, read-only, the supervisor's */
        dp_store(p, (uint32_t)(DP_TABLES + 0x3000 + 8 * ((DP_NO_PAGE >> 12) + i)),
                 (DP_NO_PAGE + (i << 12)) | (const uint8_t[]){6, 5, 3}[i], 8);
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
    dp_descriptors(p);
    if (p->kind == DP_LONG3)
        dp_paging(p);
}

static void dp_wrmsr(struct program *p, uint32_t msr, uint64_t value)
{
    dp_put(p, 0xb9, 1);
    dp_put(p, msr, 4);
    dp_put(p, 0xb8, 1);
    dp_put(p, value, 4);
    dp_put(p, 0xba, 1);
    dp_put(p, value >> 32, 4);
    DP_CODE_BYTES(p, 0x0f, 0x30);
}

static void dp_to_ring3(struct program *p)
{
    dp_put(p, 0xb8, 1);
    dp_put(p, DP_TABLES, 4);
    DP_CODE_BYTES(p, 0x0f, 0x22, 0xd8);                    /* mov cr3 */
    DP_CODE_BYTES(p, 0x66, 0xb8, DP_TR, 0, 0x0f, 0, 0xd8); /* ltr */
    /* Data segments of ring 3: a processor's iretq clears those of ring 0, an emulating KVM's does
     * not, but for the ones that are stepped. */
    DP_CODE_BYTES(p, 0x66, 0xb8, DP_USER_SS, 0, 0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xe0, 0x8e, 0xe8);
    dp_wrmsr(p, 0xc0000080, 0x501); /* EFER: SCE, LME, LMA */
    dp_wrmsr(p, 0xc0000081, (DP_SYSRET_SS - 8ull) << 48 | (uint64_t)X86_SEL_CODE << 32);
    dp_wrmsr(p, 0xc0000082, DP_SYSCALLED);
    dp_wrmsr(p, 0xc0000084, 0x700);
    dp_wrmsr(p, 0xc0000100, DP_SEG_BASE);
}

/* CR0: NE, MP and no EM; CR4: OSFXSR, OSXMMEXCPT, and OSXSAVE with XCR0 where AVX is. */
static void dp_fpu_on(struct program *p)
{
    uint32_t from;

    DP_CODE_BYTES(p, 0x0f, 0x20, 0xc0, 0x24, 0xf3, 0x0c, 0x22, 0x0f, 0x22, 0xc0);
    DP_CODE_BYTES(p, 0x0f, 0x20, 0xe0, 0x80, 0xcc, 0x06, 0x0f, 0x22, 0xe0, 0xdb, 0xe3);
    if (p->kind == DP_REAL)
        return;
    DP_CODE_BYTES(p, 0xb8, 1, 0, 0, 0, 0x0f, 0xa2);                          /* cpuid */
    DP_CODE_BYTES(p, 0xc1, 0xe9, 26, 0x80, 0xe1, 5, 0x80, 0xf9, 5, 0x75, 0); /* XSAVE and AVX */
    from = p->at;
    DP_CODE_BYTES(p, 0x0f, 0x20, 0xe0, 0x0d, 0, 0, 4, 0, 0x0f, 0x22, 0xe0);
    DP_CODE_BYTES(p, 0x31, 0xc9, 0x31, 0xd2, 0xb8, 7, 0, 0, 0, 0x0f, 0x01, 0xd1);
    dp_put(p, 0xc6, 1);
    dp_modrm_abs(p, 0, DP_HAS_AVX);
    dp_put(p, 1, 1);
    dp_end_if(p, from);
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
    dp_fpu_on(p);
    if (p->kind != DP_REAL) {
        DP_CODE_BYTES(p, 0x0f, 0x01);
        dp_modrm_abs(p, 2, DP_GDT_POINTER);
    }
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
    dp_store(p, DP_HAS_AVX, 0, 1);
    memset(p->image + DP_FX - DP_AT, 0, DP_FX_BYTES); /* XRSTOR checks the header */
    dp_set_up(p);
    dp_tables(p);
    dp_syscall_handler(p);
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

/* The functions real16, prot32, long_ring0 and long_ring3 for rows of a test table, each of which
 * calls fn(enum dp_kind). */
#define DP_TESTS(fn)                                                                               \
    static void real16(void)                                                                       \
    {                                                                                              \
        fn(DP_REAL);                                                                               \
    }                                                                                              \
    static void prot32(void)                                                                       \
    {                                                                                              \
        fn(DP_PROT);                                                                               \
    }                                                                                              \
    static void long_ring0(void)                                                                   \
    {                                                                                              \
        fn(DP_LONG0);                                                                              \
    }                                                                                              \
    static void long_ring3(void)                                                                   \
    {                                                                                              \
        fn(DP_LONG3);                                                                              \
    }

#endif
