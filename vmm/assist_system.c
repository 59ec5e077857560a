/*
 * System and 16/32-bit-only instructions by the manual (Intel SDM volume 2, by name). vCPU thread.
 */
#include "vmm/assist_system.h"

#include "vmm/assist.h"
#include "vmm/base/le.h"
#include "vmm/far.h"
#include "vmm/guest_access.h"
#include "vmm/transfer.h"
#include "vmm/vcpu.h"
#include "vmm/x86_bits.h"

#define MSR_TSC     0x10u
#define MSR_TSC_AUX 0xc0000103u

#define VECTOR_BR 5
#define VECTOR_UD 6
#define VECTOR_GP 13

/* ---- pieces ---------------------------------------------------------------------------------- */

static bool raises(struct assist_event *e, int vector)
{
    *e = (struct assist_event){.vector = vector, .has_ec = vector == VECTOR_GP};
    return true;
}

/* RIP behind the instruction. */
static bool past(struct vcpu *v, const struct insn_shape *s)
{
    uint64_t rip = v->regs->rip + s->len;

    v->regs->rip = s->bits == 64 ? rip : s->bits == 32 ? (uint32_t)rip : (uint16_t)rip;
    vcpu_dirty(v, VS_REGS);
    return true;
}

static unsigned operand_bytes(const struct insn_shape *s)
{
    if (s->rex & 8)
        return 8;
    return (s->bits == 16) == s->opsize ? 4 : 2;
}

static void set_reg(struct vcpu *v, unsigned number, unsigned bytes, uint64_t value)
{
    uint64_t *r = insn_reg(v->regs, number);

    *r = bytes == 2 ? (*r & ~0xffffull) | (value & 0xffff) : bytes == 4 ? (uint32_t)value : value;
}

static void set_flag(struct vcpu *v, uint64_t flag, bool on)
{
    v->regs->rflags = on ? v->regs->rflags | flag : v->regs->rflags & ~flag;
}

static unsigned reg_field(const struct insn_shape *s)
{
    return (s->modrm >> 3 & 7) | (s->rex & 4u) << 1;
}

/* The 16-bit operand in register or memory. */
static bool read_word(struct vcpu *v, const struct insn_shape *s, uint16_t *out,
                      struct assist_event *raise)
{
    uint8_t raw[2];

    if (!insn_has_memory(s)) {
        *out = (uint16_t)*insn_reg(v->regs, (s->modrm & 7) | (s->rex & 1u) << 3);
        return true;
    }
    if (!guest_read(v, insn_linear(s, v->regs, v->sregs), raw, 2, raise))
        return false;
    *out = (uint16_t)le_load(raw, 2);
    return true;
}

/* ---- processor state ------------------------------------------------------------------------- */

static bool do_xgetbv(struct vcpu *v, const struct insn_shape *s, struct assist_event *raise)
{
    struct kvm_xcrs x;

    if (!(v->sregs->cr4 & CR4_OSXSAVE))
        return raises(raise, VECTOR_UD);
    if (kvm_get_xcrs(v->fd, &x) < 0 || !x.nr_xcrs)
        return false;
    /* Register 1 is XCR0 and what is in use; a processor may call everything in use. */
    if ((uint32_t)v->regs->rcx > 1)
        return raises(raise, VECTOR_GP);
    v->regs->rax = (uint32_t)x.xcrs[0].value;
    v->regs->rdx = x.xcrs[0].value >> 32;
    return past(v, s);
}

static bool do_rdtscp(struct vcpu *v, const struct insn_shape *s, struct assist_event *raise)
{
    uint64_t tsc;

    if ((v->sregs->cr4 & CR4_TSD) && cpu_cpl(v->sregs))
        return raises(raise, VECTOR_GP);
    tsc = vcpu_msr(v, MSR_TSC);
    v->regs->rax = (uint32_t)tsc;
    v->regs->rdx = tsc >> 32;
    v->regs->rcx = (uint32_t)vcpu_msr(v, MSR_TSC_AUX);
    return past(v, s);
}

static bool do_rdpid(struct vcpu *v, const struct insn_shape *s)
{
    *insn_reg(v->regs, (s->modrm & 7) | (s->rex & 1u) << 3) = (uint32_t)vcpu_msr(v, MSR_TSC_AUX);
    return past(v, s);
}

static bool do_smap(struct vcpu *v, const struct insn_shape *s, struct assist_event *raise)
{
    if (cpu_cpl(v->sregs))
        return raises(raise, VECTOR_UD);
    set_flag(v, RFLAGS_AC, s->modrm == 0xcb);
    return past(v, s);
}

/* Every translation is dropped, which is more than any form of INVPCID asks for: KVM does so when
 * CR4.PGE changes. */
static bool do_invpcid(struct vcpu *v, const struct insn_shape *s, struct assist_event *raise)
{
    uint8_t descriptor[16];

    if (cpu_cpl(v->sregs))
        return raises(raise, VECTOR_GP);
    if (!guest_read(v, insn_linear(s, v->regs, v->sregs), descriptor, sizeof descriptor, raise))
        return raise->vector >= 0;
    if (*insn_reg(v->regs, reg_field(s)) > 3 || le_load(descriptor, 8) >> 12)
        return raises(raise, VECTOR_GP);
    for (unsigned i = 0; i < 2; i++) {
        v->sregs->cr4 ^= CR4_PGE;
        vcpu_dirty(v, VS_SREGS);
        vcpu_flush(v);
    }
    return past(v, s);
}

static bool do_monitor(struct vcpu *v, const struct insn_shape *s, struct assist_event *raise)
{
    if (cpu_cpl(v->sregs) && s->modrm < 0xfa)
        return raises(raise, VECTOR_UD);
    return past(v, s);
}

static bool do_sysenter(struct vcpu *v, struct assist_event *raise)
{
    if (!(v->sregs->cr0 & CR0_PE) || !sysenter_load(v))
        return raises(raise, VECTOR_GP);
    return true;
}

static bool do_sysexit(struct vcpu *v, const struct insn_shape *s, struct assist_event *raise)
{
    if (!(v->sregs->cr0 & CR0_PE) || cpu_cpl(v->sregs) || !sysexit_load(v, s->rex & 8))
        return raises(raise, VECTOR_GP);
    return true;
}

/* ---- selectors ------------------------------------------------------------------------------- */

/* The descriptor of a selector that the guest asks about. False with `raise`->vector at -1 or #PF:
 * that cannot be told; else `*found` says whether there is one that it may see. */
static bool ask_descriptor(struct vcpu *v, uint16_t selector, struct descriptor *d, bool *found,
                           struct assist_event *raise)
{
    unsigned cpl = cpu_cpl(v->sregs);
    bool conforming;
    struct far f;

    far_begin(&f, v, raise);
    *found = far_descriptor(&f, selector, VECTOR_GP, d);
    if (!*found && raise->vector != VECTOR_GP)
        return false;
    raise->vector = -1;
    conforming = d->seg.s && (d->seg.type & 12) == 12;
    *found = *found && (conforming || (cpl <= d->seg.dpl && (selector & 3u) <= d->seg.dpl));
    return true;
}

/* May LAR (LSL) tell about this system descriptor? SDM, tables "Segment and gate types". */
static bool system_type_valid(const struct vcpu *v, unsigned type, bool limit)
{
    unsigned types = 1u << 2 | 1u << 9 | 1u << 11;

    if (!(v->sregs->efer & EFER_LMA))
        types |= 1u << 1 | 1u << 3;
    if (!limit)
        types |= 1u << 12 | (v->sregs->efer & EFER_LMA ? 0 : 1u << 4 | 1u << 5);
    return types >> type & 1;
}

static bool do_lar_lsl(struct vcpu *v, const struct insn_shape *s, struct assist_event *raise)
{
    bool limit = s->opcode == 3, ok;
    uint16_t selector;
    struct descriptor d;

    if (!read_word(v, s, &selector, raise) || !ask_descriptor(v, selector, &d, &ok, raise))
        return raise->vector >= 0;
    if (ok && !d.seg.s)
        ok = system_type_valid(v, d.seg.type, limit);
    if (ok)
        set_reg(v, reg_field(s), operand_bytes(s),
                limit ? d.seg.limit : le_load(d.raw + 4, 4) & 0xffff00);
    set_flag(v, RFLAGS_ZF, ok);
    return past(v, s);
}

static bool do_verify(struct vcpu *v, const struct insn_shape *s, struct assist_event *raise)
{
    bool write = (s->modrm >> 3 & 7) == 5, ok, code;
    uint16_t selector;
    struct descriptor d;

    if (!read_word(v, s, &selector, raise) || !ask_descriptor(v, selector, &d, &ok, raise))
        return raise->vector >= 0;
    code = d.seg.type & 8;
    ok = ok && d.seg.s && (write ? (d.seg.type & 10) == 2 : !code || (d.seg.type & 2));
    set_flag(v, RFLAGS_ZF, ok);
    return past(v, s);
}

static bool do_segment(struct vcpu *v, const struct insn_shape *s, struct assist_event *raise)
{
    if (!(v->sregs->cr0 & CR0_PE) || (v->regs->rflags & RFLAGS_VM))
        return raises(raise, VECTOR_UD);
    return s->opcode == 0 ? do_verify(v, s, raise) : do_lar_lsl(v, s, raise);
}

static bool do_arpl(struct vcpu *v, const struct insn_shape *s, struct assist_event *raise)
{
    uint16_t want = (uint16_t)*insn_reg(v->regs, s->modrm >> 3 & 7) & 3, have;
    uint8_t raw[2];

    if (!(v->sregs->cr0 & CR0_PE) || (v->regs->rflags & RFLAGS_VM))
        return raises(raise, VECTOR_UD);
    if (!read_word(v, s, &have, raise))
        return raise->vector >= 0;
    if ((have & 3) < want) {
        le_store(raw, 2, (have & 0xfffcu) | want);
        if (!insn_has_memory(s))
            set_reg(v, s->modrm & 7, 2, le_load(raw, 2));
        else if (!guest_write(v, insn_linear(s, v->regs, v->sregs), raw, 2, raise))
            return raise->vector >= 0;
    }
    set_flag(v, RFLAGS_ZF, (have & 3) < want);
    return past(v, s);
}

/* ---- 16- and 32-bit code only ---------------------------------------------------------------- */

static void result_flags(struct vcpu *v, uint8_t al)
{
    set_flag(v, 0x80, al & 0x80);
    set_flag(v, RFLAGS_ZF, !al);
    set_flag(v, 4, !__builtin_parity(al));
}

/* DAA and DAS (SDM, "Operation" of each). */
static void decimal(struct vcpu *v, bool subtract)
{
    uint8_t al = (uint8_t)v->regs->rax;
    bool low = (al & 15) > 9 || (v->regs->rflags & RFLAGS_AF);
    bool high = al > 0x99 || (v->regs->rflags & RFLAGS_CF);
    /* What the low digit's correction borrows is kept by DAS only. */
    bool borrow = subtract && low && al < 6;
    uint8_t by = (uint8_t)((low ? 6 : 0) + (high ? 0x60 : 0));

    al = (uint8_t)(subtract ? al - by : al + by);
    v->regs->rax = (v->regs->rax & ~0xffull) | al;
    set_flag(v, RFLAGS_AF, low);
    set_flag(v, RFLAGS_CF, high || borrow);
    result_flags(v, al);
}

/* AAA and AAS. */
static void ascii(struct vcpu *v, bool subtract)
{
    uint16_t ax = (uint16_t)v->regs->rax;
    bool adjust = (ax & 15) > 9 || (v->regs->rflags & RFLAGS_AF);

    if (adjust)
        ax = (uint16_t)(subtract ? ax - 0x106 : ax + 0x106);
    ax &= 0xff0f;
    v->regs->rax = (v->regs->rax & ~0xffffull) | ax;
    set_flag(v, RFLAGS_AF | RFLAGS_CF, adjust);
}

static bool do_bcd(struct vcpu *v, const struct insn_shape *s)
{
    bool subtract = s->opcode == 0x2f || s->opcode == 0x3f;

    if (s->opcode == 0x27 || s->opcode == 0x2f)
        decimal(v, subtract);
    else
        ascii(v, subtract);
    return past(v, s);
}

static int64_t sign_extend(uint64_t x, unsigned bytes)
{
    return bytes == 2 ? (int16_t)x : (int32_t)x;
}

static bool do_bound(struct vcpu *v, const struct insn_shape *s, struct assist_event *raise)
{
    unsigned n = operand_bytes(s);
    int64_t index = sign_extend(*insn_reg(v->regs, reg_field(s)), n);
    uint8_t raw[8];

    if (!insn_has_memory(s))
        return raises(raise, VECTOR_UD);
    if (!guest_read(v, insn_linear(s, v->regs, v->sregs), raw, 2 * n, raise))
        return raise->vector >= 0;
    if (index < sign_extend(le_load(raw, n), n) || index > sign_extend(le_load(raw + n, n), n))
        return raises(raise, VECTOR_BR);
    return past(v, s);
}

/* The new frame is built aside and written last, so that a fault leaves everything as it was. */
static bool do_enter(struct vcpu *v, const struct insn_shape *s, struct assist_event *raise)
{
    unsigned n = s->bits == 64 ? (s->opsize ? 2 : 8) : operand_bytes(s);
    unsigned level = s->b[s->len - 1] & 31u, size = (unsigned)le_load(s->b + s->len - 3, 2);
    uint64_t mask = s->bits == 64 ? UINT64_MAX : v->sregs->ss.db ? 0xffffffff : 0xffff;
    uint64_t base = s->bits == 64 ? 0 : v->sregs->ss.base, old = v->regs->rbp;
    uint64_t bottom = v->regs->rsp - (uint64_t)n * (level + 1), frame = (v->regs->rsp - n) & mask;
    uint8_t raw[8 * 33];

    le_store(raw + level * n, n, old);
    for (unsigned i = 1; i < level; i++)
        if (!guest_read(v, base + ((old - (uint64_t)n * i) & mask), raw + (level - i) * n, n,
                        raise))
            return raise->vector >= 0;
    if (level)
        le_store(raw, n, frame);
    if (!guest_write(v, base + (bottom & mask), raw, (size_t)n * (level + 1), raise))
        return raise->vector >= 0;
    set_reg(v, 5, n, frame);
    v->regs->rsp = (v->regs->rsp & ~mask) | ((bottom - size) & mask);
    return past(v, s);
}

/* ---- dispatch -------------------------------------------------------------------------------- */

bool assist_system(struct vcpu *v, const struct insn_shape *s, enum insn_class c,
                   struct assist_event *raise)
{
    switch (c) {
    case IC_XGETBV:
        return do_xgetbv(v, s, raise);
    case IC_RDTSCP:
        return do_rdtscp(v, s, raise);
    case IC_RDPID:
        return do_rdpid(v, s);
    case IC_SMAP:
        return do_smap(v, s, raise);
    case IC_INVPCID:
        return do_invpcid(v, s, raise);
    case IC_MONITOR:
        return do_monitor(v, s, raise);
    case IC_SYSENTER:
        return do_sysenter(v, raise);
    case IC_SYSEXIT:
        return do_sysexit(v, s, raise);
    case IC_SEGMENT:
        return do_segment(v, s, raise);
    case IC_ARPL:
        return do_arpl(v, s, raise);
    case IC_BCD:
        return do_bcd(v, s);
    case IC_UNDEFINED:
        return raises(raise, VECTOR_UD);
    case IC_NOP:
        return past(v, s);
    case IC_BOUND:
        return do_bound(v, s, raise);
    case IC_ENTER:
        return do_enter(v, s, raise);
    default:
        return false;
    }
}
