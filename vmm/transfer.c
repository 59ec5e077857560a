/*
 * Far control transfers by the manual. vCPU thread.
 */
#include "vmm/transfer.h"

#include "vmm/base/le.h"
#include "vmm/insn_head.h"
#include "vmm/vcpu.h"

#define RFLAGS_IF 0x200u
#define RFLAGS_RF 0x10000u
#define RFLAGS_VM 0x20000u
#define EFER_LMA  0x400u

#define MSR_SYSENTER_CS  0x174u
#define MSR_SYSENTER_ESP 0x175u
#define MSR_SYSENTER_EIP 0x176u

/* Bits that IRET takes from the image: all but reserved ones, VM, VIF and VIP. */
#define IRET_FLAGS 0x257fd5u

static bool read_linear(struct vcpu *v, uint64_t at, void *dst, size_t len)
{
    struct walk_regs r;

    vcpu_walk_regs(v, &r);
    return walk_read(&v->vm->mem, &r, at, dst, len) == len;
}

static bool long_mode(const struct vcpu *v)
{
    return v->sregs->efer & EFER_LMA;
}

bool segment_load(struct vcpu *v, uint16_t selector, struct kvm_segment *s)
{
    uint64_t base = selector & 4 ? v->sregs->ldt.base : v->sregs->gdt.base;
    uint32_t limit = selector & 4 ? v->sregs->ldt.limit : v->sregs->gdt.limit;
    uint8_t d[8];

    *s = (struct kvm_segment){.selector = selector};
    if (!(selector & 0xfffc)) {
        s->unusable = 1;
        return true;
    }
    if ((selector | 7u) > limit || !read_linear(v, base + (selector & 0xfff8u), d, 8))
        return false;
    s->base = le_load(d + 2, 3) | (uint64_t)d[7] << 24;
    s->limit = (uint32_t)(le_load(d, 2) | (d[6] & 15u) << 16);
    s->type = d[5] & 15;
    s->s = d[5] >> 4 & 1;
    s->dpl = d[5] >> 5 & 3;
    s->present = d[5] >> 7;
    s->avl = d[6] >> 4 & 1;
    s->l = d[6] >> 5 & 1;
    s->db = d[6] >> 6 & 1;
    s->g = d[6] >> 7;
    if (s->g)
        s->limit = s->limit << 12 | 0xfff;
    s->type |= s->s; /* loading sets the accessed bit */
    return s->present && s->s;
}

bool frame_read(struct vcpu *v, uint64_t linear, struct user_frame *f)
{
    return read_linear(v, linear, f, sizeof *f);
}

bool frame_load(struct vcpu *v, const struct user_frame *f)
{
    struct kvm_segment cs, ss;

    if (!segment_load(v, (uint16_t)f->cs, &cs) || !segment_load(v, (uint16_t)f->ss, &ss))
        return false;
    if (ss.unusable) /* a null SS is legal in 64-bit mode outside ring 3 */
        ss.dpl = f->cs & 3;
    v->regs->rip = f->rip;
    v->regs->rflags = (f->rflags & IRET_FLAGS) | 2;
    v->regs->rsp = f->rsp;
    v->sregs->cs = cs;
    v->sregs->ss = ss;
    vcpu_dirty(v, VS_REGS | VS_SREGS);
    return true;
}

/* The flat segments that SYSCALL and SYSRET load without looking at a table. */
static struct kvm_segment flat(uint16_t selector, bool code, unsigned dpl)
{
    return (struct kvm_segment){
        .limit = 0xffffffff,
        .selector = selector,
        .type = code ? 11 : 3,
        .present = 1,
        .dpl = (uint8_t)dpl,
        .db = !code,
        .s = 1,
        .l = code,
        .g = 1,
    };
}

void syscall_load(struct vcpu *v, uint64_t return_rip)
{
    uint16_t sel = (uint16_t)(vcpu_msr(v, MSR_STAR) >> 32 & 0xfffc);
    uint64_t flags = v->regs->rflags & ~(uint64_t)(RFLAGS_TF | RFLAGS_RF);

    v->regs->rcx = return_rip;
    v->regs->r11 = flags;
    v->regs->rip = vcpu_msr(v, MSR_LSTAR);
    v->regs->rflags = (flags & ~vcpu_msr(v, MSR_SFMASK)) | 2;
    v->sregs->cs = flat(sel, true, 0);
    v->sregs->ss = flat((uint16_t)(sel + 8), false, 0);
    vcpu_dirty(v, VS_REGS | VS_SREGS);
}

void sysret_load(struct vcpu *v)
{
    uint16_t sel = (uint16_t)(vcpu_msr(v, MSR_STAR) >> 48);

    v->regs->rip = v->regs->rcx;
    v->regs->rflags = (v->regs->r11 & 0x3c7fd7u) | 2;
    v->sregs->cs = flat((uint16_t)((sel + 16) | 3), true, 3);
    v->sregs->ss = flat((uint16_t)((sel + 8) | 3), false, 3);
    vcpu_dirty(v, VS_REGS | VS_SREGS);
}

bool sysenter_load(struct vcpu *v)
{
    uint16_t sel = (uint16_t)(vcpu_msr(v, MSR_SYSENTER_CS) & 0xfffc);
    bool lm = long_mode(v);

    if (!sel)
        return false;
    v->regs->rip = vcpu_msr(v, MSR_SYSENTER_EIP) & (lm ? UINT64_MAX : 0xffffffff);
    v->regs->rsp = vcpu_msr(v, MSR_SYSENTER_ESP) & (lm ? UINT64_MAX : 0xffffffff);
    v->regs->rflags &= ~(uint64_t)(RFLAGS_VM | RFLAGS_IF | RFLAGS_RF);
    v->sregs->cs = flat(sel, true, 0);
    v->sregs->cs.l = lm;
    v->sregs->cs.db = !lm;
    v->sregs->ss = flat((uint16_t)(sel + 8), false, 0);
    vcpu_dirty(v, VS_REGS | VS_SREGS);
    return true;
}

bool sysexit_load(struct vcpu *v, bool to64)
{
    uint16_t sel = (uint16_t)(vcpu_msr(v, MSR_SYSENTER_CS) & 0xfffc);

    if (!sel)
        return false;
    v->regs->rip = to64 ? v->regs->rdx : (uint32_t)v->regs->rdx;
    v->regs->rsp = to64 ? v->regs->rcx : (uint32_t)v->regs->rcx;
    v->sregs->cs = flat((uint16_t)((sel + (to64 ? 32 : 16)) | 3), true, 3);
    v->sregs->cs.l = to64;
    v->sregs->cs.db = !to64;
    v->sregs->ss = flat((uint16_t)((sel + (to64 ? 40 : 24)) | 3), false, 3);
    vcpu_dirty(v, VS_REGS | VS_SREGS);
    return true;
}

bool swapgs_load(struct vcpu *v)
{
    uint64_t kernel = vcpu_msr(v, MSR_KERNEL_GS_BASE);

    if (vcpu_set_msr(v, MSR_KERNEL_GS_BASE, v->sregs->gs.base) < 0)
        return false;
    v->sregs->gs.base = kernel;
    vcpu_dirty(v, VS_SREGS);
    return true;
}

static unsigned operand_size(const struct vcpu *v, const struct insn_head *h)
{
    if (v->sregs->cs.l && long_mode(v))
        return h->rexw ? 8 : h->opsize ? 2 : 4;
    return v->sregs->cs.db != h->opsize ? 4 : 2;
}

/* Data segments that the outer ring may not use are nulled (SDM, RET and IRET). */
static void drop_inner_segments(struct vcpu *v, unsigned cpl)
{
    struct kvm_segment *const data[] = {&v->sregs->ds, &v->sregs->es, &v->sregs->fs, &v->sregs->gs};

    for (unsigned i = 0; i < 4; i++) {
        bool conforming = (data[i]->type & 12) == 12;

        if (!data[i]->unusable && data[i]->dpl < cpl && !conforming)
            *data[i] = (struct kvm_segment){.unusable = 1};
    }
}

bool far_return(struct vcpu *v, const struct insn_head *h, bool flags)
{
    unsigned size = operand_size(v, h), cpl = cpu_cpl(v->sregs), n = flags ? 3 : 2;
    bool to64 = size == 8 && flags; /* iretq always pops RSP and SS */
    uint64_t mask = v->sregs->cs.l ? UINT64_MAX : v->sregs->ss.db ? 0xffffffff : 0xffff;
    uint64_t at = v->regs->rsp & mask, value[5] = {0}, rsp;
    struct kvm_segment cs, ss = v->sregs->ss;
    uint8_t raw[40];
    bool outer;

    if (!read_linear(v, (v->sregs->cs.l ? 0 : ss.base) + at, raw, size * n))
        return false;
    for (unsigned i = 0; i < n; i++)
        value[i] = le_load(raw + i * size, size);
    if (flags && (value[2] & RFLAGS_VM) && cpl == 0)
        return false; /* to virtual-8086 mode: left to KVM */
    if (!segment_load(v, (uint16_t)value[1], &cs) || cs.unusable || !(cs.type & 8))
        return false;
    outer = (value[1] & 3) > cpl;
    if ((value[1] & 3) < cpl)
        return false;
    rsp = at + size * n + h->imm;
    if (outer || to64) {
        uint64_t more = at + size * n + h->imm;

        if (!read_linear(v, (v->sregs->cs.l ? 0 : v->sregs->ss.base) + more, raw, size * 2))
            return false;
        rsp = le_load(raw, size);
        if (!segment_load(v, (uint16_t)le_load(raw + size, size), &ss))
            return false;
        if (outer)
            rsp += h->imm;
    }
    if (outer)
        drop_inner_segments(v, (unsigned)value[1] & 3);
    v->regs->rip = value[0];
    v->regs->rsp = outer || to64 ? rsp : (v->regs->rsp & ~mask) | (rsp & mask);
    if (flags) {
        uint64_t may = IRET_FLAGS & (size == 2 ? 0xffff : UINT64_MAX);

        if (cpl)
            may &= ~(uint64_t)0x3000; /* IOPL changes only in ring 0 */
        if (cpl > (v->regs->rflags >> 12 & 3))
            may &= ~(uint64_t)0x200;
        v->regs->rflags = (v->regs->rflags & ~may) | (value[2] & may) | 2;
    }
    v->sregs->cs = cs;
    v->sregs->cs.dpl = value[1] & 3;
    ss.dpl = value[1] & 3;
    v->sregs->ss = ss;
    vcpu_dirty(v, VS_REGS | VS_SREGS);
    return true;
}

bool soft_int_allowed(struct vcpu *v, int vector)
{
    unsigned size = long_mode(v) ? 16 : 8;
    uint8_t access;

    if (cpu_cpl(v->sregs) == 0)
        return true;
    return read_linear(v, v->sregs->idt.base + (unsigned)vector * size + 5, &access, 1) &&
           (access >> 5 & 3u) >= cpu_cpl(v->sregs);
}

/* A fault's frame holds flags with RF set, those of traps, aborts and interrupts do not. SDM volume
 * 3, "Instruction-Breakpoint Exception Condition". */
static bool is_fault(int vector)
{
    return vector < 32 && vector != 1 && vector != 2 && vector != 3 && vector != 4 && vector != 8 &&
           vector != 18;
}

/* KVM tells nobody of an int3 or into that it has still to deliver ("injected" and "pending" stay
 * 0), so that a kick in between would hide it: they are given as interrupts, whose frame is the
 * same. */
static bool is_hidden(int vector)
{
    return vector == 3 || vector == 4;
}

void queue_event(struct vcpu *v, int vector, bool is_interrupt, bool has_ec, uint32_t ec)
{
    is_interrupt |= is_hidden(vector);
    v->events->exception.injected = v->events->exception.pending = 0;
    v->events->interrupt.injected = 0;
    if (is_interrupt) {
        v->events->interrupt.injected = 1;
        v->events->interrupt.nr = (uint8_t)vector;
        v->events->interrupt.soft = 0; /* RIP is already past the instruction */
    } else {
        v->events->exception.injected = 1;
        v->events->exception.nr = (uint8_t)vector;
        v->events->exception.has_error_code = has_ec;
        v->events->exception.error_code = ec;
    }
    if (!is_interrupt && is_fault(vector))
        v->regs->rflags |= RFLAGS_RF;
    else
        v->regs->rflags &= ~(uint64_t)RFLAGS_RF;
    vcpu_dirty(v, VS_REGS | VS_EVENTS);
}
