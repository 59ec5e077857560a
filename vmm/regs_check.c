/*
 * Values that a register cannot hold, each with its reason. The processor or KVM would refuse
 * them too, but only with a number, and for the whole part at once.
 */
#include "vmm/regs_check.h"

#include <stddef.h>

#include "vmm/base/x.h"
#include "vmm/x86_bits.h"

/* Every bit that the row's flag table names. */
static uint64_t named_bits(int id)
{
    uint64_t mask = 0;

    for (const struct reg_flag *f = reg_table[id].flags; f && f->name; f++)
        mask |= ((f->width < 64 ? 1ull << f->width : 0) - 1) << f->low;
    return mask;
}

static bool canonical(const struct vcpu_state *s, uint64_t v)
{
    unsigned top = (s->have & VS_SREGS) && (s->sregs.cr4 & CR4_LA57) ? 56 : 47;
    uint64_t high = v >> top;

    return high == 0 || high == UINT64_MAX >> top;
}

static const char *check_rflags(const struct vcpu_state *s, uint64_t *v)
{
    *v |= RFLAGS_ONE;
    if (*v & ~(named_bits(REG_rflags) | RFLAGS_ONE))
        return "reserved bits are set (3, 5, 15 and 22 up must be 0)";
    if ((*v & RFLAGS_VM) && (s->have & VS_SREGS) && (s->sregs.efer & EFER_LMA))
        return "VM cannot be set in long mode";
    return NULL;
}

static const char *check_cr0(const struct vcpu_state *s, uint64_t *v)
{
    *v |= CR0_ET;
    if (*v & ~named_bits(REG_cr0))
        return "bits are set that CR0 does not have";
    if ((*v & CR0_PG) && !(*v & CR0_PE))
        return "PG needs PE: there is no paging in real mode";
    if ((*v & CR0_NW) && !(*v & CR0_CD))
        return "NW needs CD";
    if ((*v & CR0_PG) && (s->sregs.efer & EFER_LME) && !(s->sregs.cr4 & CR4_PAE))
        return "PG with EFER.LME needs CR4.PAE; set that first";
    if (!(*v & CR0_PG) && s->sregs.cs.l && (s->sregs.efer & EFER_LMA))
        return "PG cannot be cleared in 64-bit code; clear L in cs_attr first";
    if (!(*v & CR0_PG) && (s->sregs.cr4 & CR4_PCIDE))
        return "PG cannot be cleared while CR4.PCIDE is set";
    return NULL;
}

static const char *check_cr3(const struct vcpu_state *s, uint64_t *v)
{
    const uint64_t lam = 3ull << 61;

    if (s->sregs.efer & EFER_LMA)
        return *v >> 52 & ~(lam >> 52) ? "bits above the largest physical address are set" : NULL;
    return *v >> 32 ? "it has 32 bits outside long mode" : NULL;
}

static const char *check_cr4(const struct vcpu_state *s, uint64_t *v)
{
    uint64_t changed = *v ^ s->sregs.cr4;
    bool lma = s->sregs.efer & EFER_LMA;

    if (*v & ~named_bits(REG_cr4))
        return "bits are set that CR4 does not have";
    if (lma && !(*v & CR4_PAE))
        return "PAE cannot be cleared in long mode";
    if (lma && (changed & CR4_LA57))
        return "LA57 cannot change in long mode";
    if (!lma && (*v & CR4_PCIDE))
        return "PCIDE needs long mode";
    if ((changed & *v & CR4_PCIDE) && (s->sregs.cr3 & 0xfff))
        return "PCIDE cannot be set while the low 12 bits of CR3 are not 0";
    return NULL;
}

static const char *check_efer(const struct vcpu_state *s, uint64_t *v)
{
    bool lma = (*v & EFER_LME) && (s->sregs.cr0 & CR0_PG);

    if (*v & ~named_bits(REG_efer))
        return "bits are set that EFER does not have";
    if ((s->sregs.cr0 & CR0_PG) && ((*v ^ s->sregs.efer) & EFER_LME))
        return "LME cannot change while paging is on";
    if (!!(*v & EFER_LMA) != lma)
        return lma ? "LMA cannot be cleared while LME and CR0.PG are set"
                   : "LMA cannot be set by itself; it follows from LME and CR0.PG";
    return NULL;
}

static const char *check_cr8(const struct vcpu_state *s, uint64_t *v)
{
    (void)s;
    return *v > 15 ? "a task priority is 0 to 15" : NULL;
}

static const char *check_apic_base(const struct vcpu_state *s, uint64_t *v)
{
    (void)s;
    if (*v & ~named_bits(REG_apic_base))
        return "reserved bits are set";
    return (*v & 0xc00) == 0x400 ? "EXTD (x2APIC) needs EN" : NULL;
}

static const char *check_xcr0(const struct vcpu_state *s, uint64_t *v)
{
    const uint64_t avx512 = 0xe0, mpx = 0x18, amx = 3ull << 17;

    (void)s;
    if (*v & ~named_bits(REG_xcr0))
        return "bits are set that name no known state";
    if (!(*v & 1))
        return "X87 is always set";
    if ((*v & 4) && !(*v & 2))
        return "AVX needs SSE";
    if ((*v & avx512) && ((*v & avx512) != avx512 || !(*v & 4)))
        return "OPMASK, ZMM_HI256 and HI16_ZMM go together, and need AVX";
    if ((*v & mpx) && (*v & mpx) != mpx)
        return "BNDREGS and BNDCSR go together";
    if ((*v & amx) && (*v & amx) != amx)
        return "TILECFG and TILEDATA go together";
    return NULL;
}

static const char *check_dr6(const struct vcpu_state *s, uint64_t *v)
{
    (void)s;
    /* BLD and RTM among them are active low: a plain 0 from a user means "nothing happened". */
    *v |= DR6_ONES;
    return *v >> 32 ? "bits above 31 are set" : NULL;
}

static const char *check_dr7(const struct vcpu_state *s, uint64_t *v)
{
    (void)s;
    *v |= DR7_ONE;
    return *v & ~(named_bits(REG_dr7) | DR7_ONE) ? "reserved bits are set" : NULL;
}

static const char *check_canonical(const struct vcpu_state *s, uint64_t *v)
{
    return canonical(s, *v) ? NULL : "the address is not canonical";
}

/* Entering a guest with another one fails as a whole; outside long mode they have 32 bits. */
static const char *check_base(const struct vcpu_state *s, uint64_t *v)
{
    if ((s->have & VS_SREGS) && !(s->sregs.efer & EFER_LMA) && *v >> 32)
        return "it has 32 bits outside long mode";
    return check_canonical(s, v);
}

static const char *check_pat(const struct vcpu_state *s, uint64_t *v)
{
    (void)s;
    for (unsigned i = 0; i < 64; i += 8) {
        uint64_t type = *v >> i & 0xff;

        if (type > 7 || type == 2 || type == 3)
            return "each byte is a memory type: 0, 1, 4, 5, 6 or 7";
    }
    return NULL;
}

static const char *check_tsc_aux(const struct vcpu_state *s, uint64_t *v)
{
    (void)s;
    return *v >> 32 ? "it has 32 bits" : NULL;
}

static const struct {
    int id;
    const char *(*check)(const struct vcpu_state *s, uint64_t *v);
} checks[] = {
    {REG_rflags, check_rflags},
    {REG_cr0, check_cr0},
    {REG_cr3, check_cr3},
    {REG_cr4, check_cr4},
    {REG_cr8, check_cr8},
    {REG_efer, check_efer},
    {REG_apic_base, check_apic_base},
    {REG_xcr0, check_xcr0},
    {REG_dr6, check_dr6},
    {REG_dr7, check_dr7},
    {REG_fs_base, check_base},
    {REG_gs_base, check_base},
    {REG_tr_base, check_base},
    {REG_ldtr_base, check_base},
    {REG_gdtr_base, check_base},
    {REG_idtr_base, check_base},
    {REG_msr_lstar, check_canonical},
    {REG_msr_cstar, check_canonical},
    {REG_msr_kernel_gs_base, check_canonical},
    {REG_msr_sysenter_esp, check_canonical},
    {REG_msr_sysenter_eip, check_canonical},
    {REG_msr_pat, check_pat},
    {REG_msr_tsc_aux, check_tsc_aux},
};

const char *reg_refusal(const struct vcpu_state *s, int id, uint64_t *v)
{
    for (size_t i = 0; i < ARRAY_LEN(checks); i++)
        if (checks[i].id == id)
            return checks[i].check(s, v);
    return NULL;
}
