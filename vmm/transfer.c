/*
 * SYSCALL and its kind by the manual. vCPU thread.
 */
#include "vmm/transfer.h"

#include "vmm/base/le.h"
#include "vmm/far.h"
#include "vmm/vcpu.h"
#include "vmm/x86_bits.h"

#define MSR_SYSENTER_CS  0x174u
#define MSR_SYSENTER_ESP 0x175u
#define MSR_SYSENTER_EIP 0x176u

/* Bits that IRET takes from the image: all but reserved ones, VM, VIF and VIP. */
#define IRET_FLAGS 0x257fd5u

/* What the frame's selector stands for; null gives an unusable segment. */
static bool segment_load(struct far *f, uint16_t selector, struct kvm_segment *s)
{
    struct descriptor d;

    *s = (struct kvm_segment){.selector = selector, .unusable = 1};
    if (!(selector & 0xfffc))
        return true;
    if (!far_descriptor(f, selector, FAR_GP, &d) || !d.seg.present || !d.seg.s)
        return false;
    *s = d.seg;
    s->type |= 1; /* the processor has loaded it before */
    return true;
}

bool frame_read(struct vcpu *v, uint64_t linear, struct user_frame *f)
{
    struct walk_regs r;

    vcpu_walk_regs(v, &r);
    return walk_read(&v->vm->mem, &r, linear, f, sizeof *f) == sizeof *f;
}

bool frame_load(struct vcpu *v, const struct user_frame *f)
{
    struct kvm_segment cs, ss;
    struct assist_event fault;
    struct far t;

    far_begin(&t, v, &fault);
    if (!segment_load(&t, (uint16_t)f->cs, &cs) || !segment_load(&t, (uint16_t)f->ss, &ss))
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
    bool lm = far_is_long(v->sregs);

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
