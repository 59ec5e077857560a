/*
 * One instruction, exactly. Called by the engine on the vCPU's thread. The facts about each kind of
 * host are in docs/kvm-notes.md.
 */
#include "vmm/onestep.h"

#include <string.h>

#include "vmm/base/le.h"
#include "vmm/vcpu.h"

#define RFLAGS_TF 0x100u
#define RFLAGS_IF 0x200u
#define RFLAGS_RF 0x10000u
#define MSR_STAR   0xc0000081u
#define MSR_LSTAR  0xc0000082u
#define MSR_SFMASK 0xc0000084u
#define CR0_PE    1u
#define EFER_LMA  0x400u

/* How often one step may enter the guest: a rep outs makes one exit an element. */
#define ENTRIES_MAX 100000

static const struct vcpu_debug step_flag = {.step = true};

/* ---- what stands at RIP ---------------------------------------------------------------------- */

enum special {
    SP_NONE,
    SP_HLT,
    SP_INT,       /* int n, int3, int1: operand is the vector */
    SP_IRET,
    SP_SYSRET,
    SP_SYSCALL,
    SP_PUSHF,
    SP_IDT_INSN,  /* 0F 01: lidt, sidt and relatives must see the real IDT */
};

struct insn_head {
    enum special special;
    unsigned len; /* whole length for SP_HLT, SP_INT, SP_PUSHF */
    int vector;
    bool rexw, opsize;
    bool is_int_n, icebp; /* which of the SP_INT kind */
};

static bool is_prefix(uint8_t b)
{
    switch (b) {
    case 0x26: case 0x2e: case 0x36: case 0x3e: case 0x64: case 0x65:
    case 0x66: case 0x67: case 0xf0: case 0xf2: case 0xf3:
        return true;
    default:
        return false;
    }
}

static void classify(struct vcpu *v, struct insn_head *h)
{
    uint8_t b[15];
    unsigned n = vcpu_fetch(v, b), i = 0;

    *h = (struct insn_head){.vector = -1};
    while (i < n && is_prefix(b[i])) {
        h->opsize |= b[i] == 0x66;
        i++;
    }
    if (i < n && v->sregs->cs.l && (v->sregs->efer & EFER_LMA) && (b[i] & 0xf0) == 0x40)
        h->rexw = b[i++] >> 3 & 1;
    if (i >= n)
        return;
    h->len = i + 1;
    switch (b[i]) {
    case 0xf4:
        h->special = SP_HLT;
        break;
    case 0xcc:
        h->special = SP_INT;
        h->vector = 3;
        break;
    case 0xf1:
        h->special = SP_INT;
        h->icebp = true;
        h->vector = 1;
        break;
    case 0xcd:
        if (i + 1 >= n)
            return;
        h->special = SP_INT;
        h->is_int_n = true;
        h->vector = b[i + 1];
        h->len = i + 2;
        break;
    case 0xcf:
        h->special = SP_IRET;
        break;
    case 0x9c:
        h->special = SP_PUSHF;
        break;
    case 0x0f:
        if (i + 1 >= n)
            return;
        if (b[i + 1] == 0x05)
            h->special = SP_SYSCALL;
        else if (b[i + 1] == 0x07)
            h->special = SP_SYSRET;
        else if (b[i + 1] == 0x01)
            h->special = SP_IDT_INSN;
        break;
    default:
        break;
    }
}

/* ---- small pieces --------------------------------------------------------------------------- */

static uint64_t linear_rip(const struct vcpu *v)
{
    return v->sregs->cs.base + v->regs->rip;
}

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

static void hide_idt(struct vcpu *v)
{
    if (v->idt_hidden)
        return;
    v->idt_limit_real = v->sregs->idt.limit;
    v->sregs->idt.limit = 0;
    v->idt_hidden = true;
    vcpu_dirty(v, VS_SREGS);
}

void vcpu_show_idt(struct vcpu *v)
{
    if (!v->idt_hidden)
        return;
    v->sregs->idt.limit = v->idt_limit_real;
    v->idt_hidden = false;
    vcpu_dirty(v, VS_SREGS);
}

bool vcpu_gate_target(struct vcpu *v, int vector, uint64_t *linear)
{
    uint64_t base = v->sregs->idt.base;
    unsigned limit = v->idt_hidden ? v->idt_limit_real : v->sregs->idt.limit;
    unsigned size = !(v->sregs->cr0 & CR0_PE) ? 4 : long_mode(v) ? 16 : 8;
    unsigned at = (unsigned)vector * size;
    uint8_t g[16];

    if (at + size - 1 > limit || !read_linear(v, base + at, g, size))
        return false;
    if (size == 4) {
        *linear = le_load(g, 2) + (le_load(g + 2, 2) << 4);
        return true;
    }
    if (!(g[5] & 0x80))
        return false; /* not present */
    *linear = le_load(g, 2) | le_load(g + 6, 2) << 16;
    if (size == 16)
        *linear |= le_load(g + 8, 4) << 32;
    return true; /* code segments of handlers have base 0 in every system seen; DR is linear */
}

static void enter(struct vcpu *v, const struct onestep_ops *ops, const struct vcpu_debug *want,
                  struct exit_event *ev)
{
    vcpu_enter(v, want, ev);
    ev->flags |= EXIT_F_STEPPED;
    if (ops->saw)
        ops->saw(ops->arg, v, ev);
    vcpu_commit(v, ev);
}

/* Runs to a linear address by a debug register, serving what happens on the way. */
static enum onestep run_to(struct vcpu *v, const struct onestep_ops *ops, uint64_t linear,
                           struct onestep_info *out)
{
    struct vcpu_debug at = {.dr = {linear}, .dr7 = 0x402};

    for (unsigned i = 0; i < ENTRIES_MAX; i++) {
        enter(v, ops, &at, &out->last);
        if (out->last.reason == KVM_EXIT_DEBUG)
            return ONE_DONE;
        if (out->last.reason != KVM_EXIT_IO && out->last.reason != KVM_EXIT_MMIO)
            return ONE_OTHER;
    }
    return ONE_OTHER;
}

enum onestep vcpu_deliver(struct vcpu *v, const struct onestep_ops *ops, int vector, bool has_ec,
                          uint32_t error_code, bool is_interrupt, struct onestep_info *out)
{
    uint64_t target;
    bool known;

    vcpu_show_idt(v);
    known = vcpu_gate_target(v, vector, &target);
    v->events->exception.injected = v->events->exception.pending = 0;
    v->events->interrupt.injected = 0;
    if (is_interrupt) {
        v->events->interrupt.injected = 1;
        v->events->interrupt.nr = (uint8_t)vector;
        v->events->interrupt.soft = 0;
    } else {
        v->events->exception.injected = 1;
        v->events->exception.nr = (uint8_t)vector;
        v->events->exception.has_error_code = has_ec;
        v->events->exception.error_code = error_code;
    }
    v->regs->rflags &= ~(uint64_t)RFLAGS_RF;
    vcpu_dirty(v, VS_REGS | VS_EVENTS);
    out->vector = vector;
    if (known)
        return run_to(v, ops, target, out);
    /* No gate: the processor goes on to #GP, #DF, shutdown; the next exit tells. */
    enter(v, ops, &(struct vcpu_debug){0}, &out->last);
    return ONE_OTHER;
}

/* The DPL of the gate decides whether ring 3 may use int n; int1 (icebp) is exempt (SDM, INT n). */
static bool soft_int_allowed(struct vcpu *v, const struct insn_head *h)
{
    unsigned size = long_mode(v) ? 16 : 8;
    uint8_t access;

    if (cpu_cpl(v->sregs) == 0 || h->icebp)
        return true;
    return read_linear(v, v->sregs->idt.base + (unsigned)h->vector * size + 5, &access, 1) &&
           (access >> 5 & 3) >= cpu_cpl(v->sregs);
}

/* ---- steps that this file makes itself ------------------------------------------------------- */

static enum onestep step_halt(struct vcpu *v, const struct insn_head *h)
{
    v->regs->rip += h->len;
    vcpu_dirty(v, VS_REGS);
    vcpu_flush(v);
    if (v->vm->m.irqchip_kernel)
        kvm_set_mp_state(v->fd, KVM_MP_STATE_HALTED);
    else
        atomic_store(&v->idle, v->regs->rflags & RFLAGS_IF ? VCPU_HALTED : VCPU_DEAD);
    return ONE_HALT;
}

static enum onestep step_int(struct vcpu *v, const struct onestep_ops *ops,
                             const struct insn_head *h, struct onestep_info *out)
{
    if (!soft_int_allowed(v, h))
        return vcpu_deliver(v, ops, 13, true, (uint32_t)h->vector << 3 | 2, false, out);
    v->regs->rip += h->len;
    return vcpu_deliver(v, ops, h->vector, false, 0, h->is_int_n, out);
}

static void user_segment(struct kvm_segment *s, uint64_t selector, bool code, bool is64)
{
    *s = (struct kvm_segment){
        .limit = 0xffffffff,
        .selector = (uint16_t)selector,
        .type = code ? 11 : 3,
        .present = 1,
        .dpl = 3,
        .db = code ? !is64 : 1,
        .s = 1,
        .l = code && is64,
        .g = 1,
    };
}

/* Loads what iretq to ring 3 pops; a KVM that emulates ring 0 loses the step at that point. */
static bool load_user_frame(struct vcpu *v, const uint64_t f[5])
{
    uint8_t d[8];
    uint64_t gdt_at = v->sregs->gdt.base + (f[1] & 0xfff8);
    bool is64;

    if (!read_linear(v, gdt_at, d, 8))
        return false;
    is64 = d[6] >> 5 & 1;
    v->regs->rip = f[0];
    v->regs->rflags = (f[2] & 0x3f7fd5u) | 2;
    v->regs->rsp = f[3];
    user_segment(&v->sregs->cs, f[1], true, is64);
    user_segment(&v->sregs->ss, f[4], false, false);
    vcpu_dirty(v, VS_REGS | VS_SREGS);
    vcpu_flush(v);
    return true;
}

static enum onestep step_iretq(struct vcpu *v, const struct onestep_ops *ops,
                               struct onestep_info *out)
{
    uint64_t f[5];

    if (!read_linear(v, v->regs->rsp, f, sizeof f))
        return ONE_OTHER;
    vcpu_show_idt(v);
    if ((f[1] & 3) == 3 && load_user_frame(v, f))
        return ONE_DONE;
    return run_to(v, ops, f[0], out);
}

static void kernel_segment(struct kvm_segment *s, uint64_t selector, bool code)
{
    user_segment(s, selector, code, code);
    s->dpl = 0;
}

/* SYSCALL as the processor makes it (AMD APM volume 3): RCX and R11 take RIP and RFLAGS, segments
 * come from STAR, the entry from LSTAR, and SFMASK clears flags. */
void vcpu_syscall(struct vcpu *v, uint64_t return_rip)
{
    uint64_t star = vcpu_msr(v, MSR_STAR), mask = vcpu_msr(v, MSR_SFMASK);
    uint64_t flags = v->regs->rflags & ~(uint64_t)(RFLAGS_TF | RFLAGS_RF);

    vcpu_show_idt(v);
    v->regs->rcx = return_rip;
    v->regs->r11 = flags;
    v->regs->rip = vcpu_msr(v, MSR_LSTAR);
    v->regs->rflags = (flags & ~mask) | 2;
    kernel_segment(&v->sregs->cs, star >> 32 & 0xfffc, true);
    kernel_segment(&v->sregs->ss, (star >> 32 & 0xfffc) + 8, false);
    vcpu_dirty(v, VS_REGS | VS_SREGS);
    vcpu_flush(v);
}

static enum onestep step_sysret(struct vcpu *v)
{
    uint64_t star = vcpu_msr(v, MSR_STAR);
    uint64_t f[5] = {v->regs->rcx, ((star >> 48) + 16) | 3, v->regs->r11, v->regs->rsp,
                     ((star >> 48) + 8) | 3};

    vcpu_show_idt(v);
    v->regs->rip = f[0];
    v->regs->rflags = (f[2] & 0x3c7fd7u) | 2;
    user_segment(&v->sregs->cs, f[1], true, true);
    user_segment(&v->sregs->ss, f[4], false, false);
    vcpu_dirty(v, VS_REGS | VS_SREGS);
    vcpu_flush(v);
    return ONE_DONE;
}

/* ---- the step that KVM makes ------------------------------------------------------------------ */

/* The stack image of a pushf made under the trap flag shows it; the guest must not see it. */
static void scrub_pushf(struct vcpu *v)
{
    struct walk_regs r;
    uint8_t flags[2];

    vcpu_walk_regs(v, &r);
    if (walk_read(&v->vm->mem, &r, v->sregs->ss.base + v->regs->rsp, flags, 2) != 2)
        return;
    flags[1] &= (uint8_t)~(RFLAGS_TF >> 8);
    walk_write(&v->vm->mem, &r, v->sregs->ss.base + v->regs->rsp, flags, 2);
}

static bool moved(const struct vcpu *v, uint64_t from)
{
    return linear_rip(v) != from;
}

/* SHUTDOWN while the IDT is hidden: an exception, with its number in the events. */
static enum onestep after_hidden(struct vcpu *v, const struct onestep_ops *ops, unsigned cpl,
                                 struct onestep_info *out)
{
    int nr = v->events->exception.nr;
    bool has_ec = v->events->exception.has_error_code;
    uint32_t ec = v->events->exception.error_code;

    if (nr == 1 && cpl == 3)
        return ONE_DONE; /* the trap flag itself */
    return vcpu_deliver(v, ops, nr, has_ec, ec, false, out);
}

static enum onestep step_by_kvm(struct vcpu *v, const struct onestep_ops *ops,
                                struct onestep_info *out)
{
    uint64_t from = linear_rip(v);
    unsigned cpl = cpu_cpl(v->sregs);

    for (unsigned i = 0; i < ENTRIES_MAX; i++) {
        enter(v, ops, &step_flag, &out->last);
        switch (out->last.reason) {
        case KVM_EXIT_DEBUG:
            return ONE_DONE;
        case KVM_EXIT_HLT:
            return ONE_HALT;
        case KVM_EXIT_SHUTDOWN:
            if (!v->idt_hidden)
                return ONE_OTHER;
            return after_hidden(v, ops, cpl, out);
        case KVM_EXIT_IO:
        case KVM_EXIT_MMIO:
        case KVM_EXIT_X86_RDMSR:
        case KVM_EXIT_X86_WRMSR:
            vcpu_settle(v);
            if (moved(v, from))
                return ONE_DONE;
            break; /* the next element of a string, or the rest of a read-modify-write */
        default:
            return ONE_OTHER;
        }
    }
    return ONE_OTHER;
}

/* An interrupt was given before this step: the step ends at its handler's first instruction. */
static enum onestep arrive_at_handler(struct vcpu *v, const struct onestep_ops *ops,
                                      struct onestep_info *out)
{
    uint64_t target;

    out->vector = v->injected;
    vcpu_show_idt(v);
    if (vcpu_gate_target(v, v->injected, &target))
        return run_to(v, ops, target, out);
    enter(v, ops, &(struct vcpu_debug){0}, &out->last);
    return ONE_OTHER;
}

enum onestep vcpu_onestep(struct vcpu *v, const struct onestep_ops *ops, struct onestep_info *out)
{
    bool emulated = v->vm->probe.emulated;
    unsigned cpl = cpu_cpl(v->sregs);
    bool real = !(v->sregs->cr0 & CR0_PE);
    struct insn_head h;
    enum onestep r;

    *out = (struct onestep_info){.vector = -1};
    if (v->injected >= 0)
        return arrive_at_handler(v, ops, out);
    classify(v, &h);
    if (emulated && h.special == SP_HLT && cpl == 0)
        return step_halt(v, &h);
    if (emulated && !real) {
        if (h.special == SP_INT)
            return step_int(v, ops, &h, out);
        if (h.special == SP_IRET && cpl == 0 && h.rexw && v->sregs->cs.l)
            return step_iretq(v, ops, out);
        if (h.special == SP_SYSRET && cpl == 0 && h.rexw)
            return step_sysret(v);
        if (h.special == SP_SYSCALL && cpl == 3 && v->vm->probe.syscall_ring3 != HOW_RUNS) {
            vcpu_syscall(v, v->regs->rip + h.len + 1);
            return ONE_DONE;
        }
    }
    /* Hidden only where it is needed and can do no harm: not in real mode, where an IVT limit of
     * 0 is not an exception trap, and never over an instruction that reads or loads the IDTR. */
    if (v->vm->probe.hidden_idt && !real && h.special != SP_IDT_INSN)
        hide_idt(v);
    else
        vcpu_show_idt(v);
    r = step_by_kvm(v, ops, out);
    if (r == ONE_DONE && h.special == SP_PUSHF && (!emulated || cpl == 3))
        scrub_pushf(v);
    if (r == ONE_DONE && h.special == SP_SYSCALL) {
        v->regs->r11 &= ~(uint64_t)RFLAGS_TF;
        vcpu_dirty(v, VS_REGS);
    }
    return r;
}
