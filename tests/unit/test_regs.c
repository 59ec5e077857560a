/* The register table: rows, names, partial registers, values that are refused, XSAVE's bits. */
#include <errno.h>

#include "tests/test.h"
#include "vmm/base/le.h"
#include "vmm/base/x.h"
#include "vmm/regs.h"

static struct vcpu_state st;

static void fresh(void)
{
    memset(&st, 0, sizeof st);
    st.have = VS_ALL;
    st.xcrs.nr_xcrs = 1;
    memset(st.msr_known, 1, sizeof st.msr_known);
}

static int put(int id, uint64_t v, const char **why)
{
    struct reg_value r = reg_from_u64(id, v);

    return reg_write(&st, id, &r, why);
}

static uint64_t get(int id)
{
    struct reg_value v;

    return reg_read(&st, id, &v) ? 0xdeadull << 48 : v.u;
}

static void rows_are_whole(void)
{
    for (int i = 0; i < REG_COUNT; i++) {
        const struct reg_desc *d = &reg_table[i];

        if (!d->name || !d->help || !d->help[0] || !d->part || !d->bits || d->bits > 256 ||
            d->group >= RG_GROUPS)
            TEST_FAIL("row %d (%s) is not whole", i, d->name ? d->name : "?");
        if ((size_t)d->offset + d->size > sizeof st || d->hi_offset + 16u > sizeof st)
            TEST_FAIL("%s lies outside the state", d->name);
        if (reg_by_name(d->name) != i)
            TEST_FAIL("%s is not found by its name", d->name);
        uint64_t seen = 0;

        for (const struct reg_flag *f = d->flags; f && f->name; f++) {
            uint64_t mask = ((1ull << f->width) - 1) << f->low;

            if (seen & mask || !f->help || f->low + f->width > d->bits)
                TEST_FAIL("%s.%s overlaps, has no help or is too high", d->name, f->name);
            seen |= mask;
        }
    }
    for (unsigned i = 0; i < RG_GROUPS; i++)
        CHECK(reg_group_names[i]);
    CHECK_EQ(reg_msr_index[reg_table[REG_msr_star].msr_slot], 0xc0000081);
}

static void order_is_gdbs(void)
{
    static const char *const order[] = {"rax", "rbx",    "rcx", "rdx", "rsi", "rdi", "rbp", "rsp",
                                        "r8",  "r9",     "r10", "r11", "r12", "r13", "r14", "r15",
                                        "rip", "rflags", "cs",  "ss",  "ds",  "es",  "fs",  "gs"};

    for (size_t i = 0; i < ARRAY_LEN(order); i++)
        CHECK_STR(reg_table[i].name, order[i]);
}

static void every_integer_round_trips(void)
{
    for (int i = 0; i < REG_COUNT; i++) {
        const struct reg_desc *d = &reg_table[i];
        struct reg_value v, back;
        uint8_t pattern[32];

        fresh();
        if (d->flags || i == REG_cr8 || i == REG_msr_pat || i == REG_msr_tsc_aux)
            continue;
        for (unsigned b = 0; b < 32; b++)
            pattern[b] = (uint8_t)(0x11 + b);
        v = reg_from_bytes(i, pattern, 32);
        if (d->kind == 'M' || i == REG_cr3 || strstr(d->name, "_base"))
            v = reg_from_u64(i, 0x12345678);
        if (i == REG_mxcsr)
            v = reg_from_u64(i, 0x1fa0);
        if (reg_write(&st, i, &v, NULL) || reg_read(&st, i, &back))
            TEST_FAIL("%s cannot be written and read", d->name);
        if (back.len != v.len || memcmp(back.bytes, v.bytes, v.len))
            TEST_FAIL("%s came back changed", d->name);
    }
}

static void partial_names(void)
{
    static const struct {
        const char *name;
        int id, low, width;
    } want[] = {
        {"eax", REG_rax, 0, 32},       {"ax", REG_rax, 0, 16},     {"AL", REG_rax, 0, 8},
        {"ah", REG_rax, 8, 8},         {"dh", REG_rdx, 8, 8},      {"sil", REG_rsi, 0, 8},
        {"ebp", REG_rbp, 0, 32},       {"r8d", REG_r8, 0, 32},     {"r15w", REG_r15, 0, 16},
        {"r12b", REG_r12, 0, 8},       {"eip", REG_rip, 0, 32},    {"ip", REG_rip, 0, 16},
        {"pc", REG_rip, 0, 64},        {"sp", REG_rsp, 0, 64},     {"spl", REG_rsp, 0, 8},
        {"eflags", REG_rflags, 0, 32}, {"xmm3", REG_xmm3, 0, 128}, {"lstar", REG_msr_lstar, 0, 64},
    };
    struct reg_part p;

    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        if (!reg_partial(want[i].name, &p))
            TEST_FAIL("%s is unknown", want[i].name);
        if (p.id != want[i].id || p.low != want[i].low || p.width != want[i].width)
            TEST_FAIL("%s is bits %u+%u of %s", want[i].name, p.low, p.width, reg_table[p.id].name);
    }
    CHECK(!reg_partial("eex", &p));
    CHECK(!reg_partial("", &p));
    CHECK(reg_by_name("ax") == -1);
    CHECK_EQ(reg_by_name("RIP"), REG_rip);
    for (unsigned i = 0; reg_alias_at(i); i++)
        CHECK(reg_partial(reg_alias_at(i), &p));
}

static void partial_values(void)
{
    const uint64_t whole = 0x1122334455667788;
    struct reg_part ah, eax, rax;

    CHECK(reg_partial("ah", &ah) && reg_partial("eax", &eax) && reg_partial("rax", &rax));
    CHECK_EQ(reg_part_get(&ah, whole), 0x77);
    CHECK_EQ(reg_part_get(&rax, whole), whole);
    CHECK_EQ(reg_part_put(&ah, whole, 0xab), 0x112233445566ab88);
    CHECK_EQ(reg_part_put(&eax, whole, ~1ull), 0x11223344fffffffe);
    CHECK_EQ(reg_part_put(&rax, whole, 5), 5);
}

static void refused(int id, uint64_t v, const char *reason)
{
    const char *why = NULL;
    struct vcpu_state before = st;
    int err = put(id, v, &why);

    if (err != -EINVAL)
        TEST_FAIL("%s = 0x%llx gave %d", reg_table[id].name, (unsigned long long)v, err);
    if (!why || !strstr(why, reason))
        TEST_FAIL("%s: reason is \"%s\"", reg_table[id].name, why ? why : "(none)");
    if (memcmp(&before, &st, sizeof st))
        TEST_FAIL("%s: the state changed all the same", reg_table[id].name);
}

static void impossible_values(void)
{
    fresh();
    refused(REG_cr0, 0x80000000, "needs PE");
    refused(REG_cr0, 0x20000001, "NW needs CD");
    refused(REG_cr0, 1ull << 32, "does not have");
    refused(REG_cr3, 1ull << 32, "32 bits");
    refused(REG_cr4, 1ull << 40, "does not have");
    refused(REG_cr4, 1 << 17, "long mode");
    refused(REG_cr8, 16, "priority");
    refused(REG_efer, 2, "does not have");
    refused(REG_efer, 0x400, "by itself");
    refused(REG_rflags, 1 << 3, "reserved");
    refused(REG_cs, 0x10000, "wider");
    refused(REG_xcr0, 2, "always set");
    refused(REG_xcr0, 5, "AVX needs SSE");
    refused(REG_xcr0, 0x27, "go together");
    refused(REG_apic_base, 0x400, "EXTD");
    refused(REG_dr7, 1ull << 33, "reserved");
    refused(REG_msr_lstar, 0x0000800000000000, "canonical");
    refused(REG_msr_pat, 2, "memory type");
    refused(REG_mxcsr, 0x10000, "MXCSR");
    refused(REG_fs_base, 1ull << 32, "32 bits");
    refused(REG_gdtr_base, 1ull << 32, "32 bits");
    st.sregs.cr0 = 0x80000001;
    st.sregs.cr4 = 0x20;
    st.sregs.efer = 0x500;
    st.sregs.cs.l = 1;
    refused(REG_cr0, 1, "64-bit code");
    refused(REG_cr4, 0, "PAE");
    refused(REG_cr4, 0x1020, "LA57");
    refused(REG_efer, 0, "paging is on");
    refused(REG_efer, 0x100, "LMA cannot be cleared");
    refused(REG_rflags, 1 << 17, "long mode");
    refused(REG_cr3, 1ull << 53, "physical");
    refused(REG_gs_base, 0x8000000000000000, "canonical");
    refused(REG_idtr_base, 0x0000800000000000, "canonical");
    CHECK(!put(REG_rip, 0x8000000000000000, NULL));
}

static void side_effects(void)
{
    fresh();
    CHECK(!put(REG_cs, 0x1234, NULL));
    CHECK_EQ(st.sregs.cs.base, 0x12340);
    st.sregs.cs = (struct kvm_segment){.selector = 0xf000, .base = 0xffff0000};
    CHECK(!put(REG_cs, 0xf000, NULL));
    CHECK_EQ(st.sregs.cs.base, 0xffff0000);
    st.sregs.cr4 = 0x20;
    CHECK(!put(REG_efer, 0x100, NULL));
    CHECK(!put(REG_cr0, 0x80000001, NULL));
    CHECK_EQ(st.sregs.efer, 0x500);
    CHECK_EQ(st.sregs.cr0, 0x80000011);
    CHECK(!put(REG_cs, 8, NULL));
    CHECK_EQ(st.sregs.cs.base, 0xffff0000);
    CHECK(!put(REG_cr0, 1, NULL));
    CHECK_EQ(st.sregs.efer, 0x100);
    CHECK(!put(REG_rflags, 0, NULL));
    CHECK_EQ(st.regs.rflags, 2);
}

static void absent_parts(void)
{
    struct reg_value v;
    const char *why = NULL;

    fresh();
    st.have = VS_REGS;
    CHECK(!reg_read(&st, REG_rax, &v));
    CHECK_EQ(reg_read(&st, REG_cr0, &v), -ENODATA);
    CHECK_EQ(put(REG_xmm0, 1, &why), -ENODATA);
    CHECK(why);
    st.have = VS_ALL;
    st.msr_known[reg_table[REG_msr_tsc].msr_slot] = false;
    CHECK_EQ(reg_read(&st, REG_msr_tsc, &v), -ENODATA);
    st.xcrs.nr_xcrs = 0;
    CHECK_EQ(reg_read(&st, REG_xcr0, &v), -ENODATA);
    CHECK_EQ(reg_read(&st, REG_COUNT, &v), -EINVAL);
    CHECK_EQ(reg_read(&st, -1, &v), -EINVAL);
}

static void segment_attributes(void)
{
    char text[80];

    fresh();
    st.sregs.cs =
        (struct kvm_segment){.type = 11, .s = 1, .dpl = 3, .present = 1, .l = 1, .g = 1, .avl = 1};
    CHECK_EQ(get(REG_cs_attr), 0xb0fb);
    CHECK_STR(reg_flags_text(REG_cs_attr, 0xb0fb, text, sizeof text), "TYPE=0xb S DPL=3 P AVL L G");
    CHECK(!put(REG_ss_attr, 0x4093, NULL));
    CHECK(st.sregs.ss.type == 3 && st.sregs.ss.s && st.sregs.ss.db && !st.sregs.ss.unusable);
    CHECK(!put(REG_ss_attr, 0, NULL));
    CHECK(st.sregs.ss.unusable);
    st.sregs.ds = (struct kvm_segment){.present = 1, .unusable = 1, .type = 3};
    CHECK_EQ(get(REG_ds_attr), 3);
}

static void flag_text(void)
{
    char t[64];

    CHECK_STR(reg_flags_text(REG_rflags, 0x3246, t, sizeof t), "PF ZF IF IOPL=3");
    CHECK_STR(reg_flags_text(REG_cr0, 0x80000011, t, sizeof t), "PE ET PG");
    CHECK_STR(reg_flags_text(REG_efer, 0x10d01, t, sizeof t), "SCE LME LMA NXE +0x10000");
    CHECK_STR(reg_flags_text(REG_dr6, 0xffff0ff0, t, sizeof t), "");
    CHECK_STR(reg_flags_text(REG_rax, 5, t, sizeof t), "");
    CHECK_STR(reg_flags_text(REG_rflags, 0x3246, t, 6), "PF ZF");
    CHECK_EQ(strlen(reg_flags_text(REG_cr4, UINT64_MAX, t, sizeof t)), 63);
}

static uint64_t bv(void)
{
    return le_load((const uint8_t *)&st.xsave + 512, 8);
}

static void xsave_initial_state(void)
{
    uint8_t *x = (uint8_t *)&st.xsave;
    struct reg_value v;

    fresh();
    memset(x, 0xee, 512);
    memset(x + 576, 0xee, 256);
    CHECK_EQ(get(REG_fctrl), 0x37f);
    CHECK_EQ(get(REG_mxcsr), 0x1f80);
    CHECK_EQ(get(REG_st0), 0);
    CHECK_EQ(get(REG_xmm3), 0);
    CHECK(!reg_read(&st, REG_ymm3, &v) && v.len == 32 && v.bytes[16] == 0);
    le_store(x + 512, 8, 4);
    CHECK(!reg_read(&st, REG_ymm3, &v) && v.bytes[0] == 0 && v.bytes[31] == 0xee);
    CHECK_EQ(get(REG_mxcsr), 0xeeeeeeee);
    le_store(x + 512, 8, 3);
    CHECK_EQ(get(REG_st7), 0xeeeeeeeeeeeeeeee);
    CHECK(!reg_read(&st, REG_ymm15, &v) && v.bytes[15] == 0xee && v.bytes[16] == 0);
}

static void xsave_bits_on_write(void)
{
    uint8_t *x = (uint8_t *)&st.xsave;
    struct reg_value v = {0};

    fresh();
    memset(x, 0xee, 512);
    memset(x + 28, 0, 4);
    memset(x + 576, 0xee, 256);
    CHECK(!put(REG_xmm1, 7, NULL));
    CHECK_EQ(bv(), 2);
    CHECK_EQ(get(REG_xmm1), 7);
    CHECK_EQ(get(REG_xmm2), 0);
    CHECK_EQ(get(REG_mxcsr), 0x1f80);
    CHECK(!put(REG_st1, 9, NULL));
    CHECK_EQ(bv(), 3);
    CHECK_EQ(get(REG_fctrl), 0x37f);
    CHECK_EQ(get(REG_st0), 0);
    CHECK_EQ(get(REG_xmm1), 7);
    v = reg_from_u64(REG_ymm1, 5);
    v.bytes[31] = 0x44;
    CHECK(!reg_write(&st, REG_ymm1, &v, NULL));
    CHECK_EQ(bv(), 7);
    CHECK_EQ(get(REG_xmm1), 5);
    CHECK_EQ(x[592 + 15], 0x44);
    CHECK_EQ(x[608], 0);
    fresh();
    CHECK(!put(REG_mxcsr, 0x1fa0, NULL));
    CHECK_EQ(bv(), 2);
    CHECK_EQ(get(REG_mxcsr), 0x1fa0);
}

static void modes(void)
{
    struct kvm_sregs s = {0};

    CHECK_EQ(cpu_mode_of(&s, 0), MODE_REAL);
    s.ss.dpl = 3;
    CHECK_EQ(cpu_cpl(&s), 0);
    s.cr0 = 1;
    CHECK_EQ(cpu_cpl(&s), 3);
    CHECK_EQ(cpu_mode_of(&s, 0), MODE_PROT16);
    CHECK_EQ(cpu_mode_of(&s, 1 << 17), MODE_V86);
    s.cs.db = 1;
    CHECK_EQ(cpu_mode_of(&s, 0), MODE_PROT32);
    s.efer = 0x500;
    CHECK_EQ(cpu_mode_of(&s, 0), MODE_COMPAT32);
    s.cs.db = 0;
    CHECK_EQ(cpu_mode_of(&s, 0), MODE_COMPAT16);
    s.cs.l = 1;
    CHECK_EQ(cpu_mode_of(&s, 0), MODE_LONG64);
    CHECK_STR(cpu_mode_name(MODE_LONG64), "long64");
    CHECK_EQ(cpu_mode_bits(MODE_COMPAT32), 32);
    for (unsigned m = 0; m < CPU_MODES; m++)
        CHECK(cpu_mode_name((enum cpu_mode)m) && cpu_mode_bits((enum cpu_mode)m));
}

static const struct test tests[] = {
    {"regs: every row is whole", rows_are_whole},
    {"regs: the order is gdb's", order_is_gdbs},
    {"regs: values round-trip", every_integer_round_trips},
    {"regs: partial names", partial_names},
    {"regs: partial values", partial_values},
    {"regs: impossible values have a reason", impossible_values},
    {"regs: writes reach as far as on the processor", side_effects},
    {"regs: parts that were not fetched", absent_parts},
    {"regs: segment attributes", segment_attributes},
    {"regs: flag text", flag_text},
    {"regs: XSAVE's initial state", xsave_initial_state},
    {"regs: XSTATE_BV follows writes", xsave_bits_on_write},
    {"regs: modes", modes},
};
TEST_MAIN(tests)
