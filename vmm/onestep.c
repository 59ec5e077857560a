/*
 * One instruction, exactly. Called by the engine on the vCPU's thread. The facts about each kind of
 * host are in docs/kvm-notes.md.
 */
#include "vmm/onestep.h"

#include <string.h>

#include "vmm/base/le.h"
#include "vmm/deliver.h"
#include "vmm/far.h"
#include "vmm/insn_head.h"
#include "vmm/insn_plain.h"
#include "vmm/insn_shape.h"
#include "vmm/step_guard.h"
#include "vmm/transfer.h"
#include "vmm/vcpu.h"
#include "vmm/x86_bits.h"

#define STI 0xfb

/* How often one step may enter the guest: a rep outs makes one exit an element. */
#define ENTRIES_MAX 100000
/* Accesses that one instruction makes without a repetition: FXSAVE's 64 are the most. */
#define ACCESSES_MAX 1000

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
    if (v->idt_shown) { /* KVM was not told of it, and has it hidden still */
        v->idt_shown = false;
        v->run->kvm_dirty_regs = 0;
        v->debug_valid = true;
        return;
    }
    vcpu_dirty(v, VS_SREGS);
}

void vcpu_show_idt(struct vcpu *v)
{
    bool only = !v->run->kvm_dirty_regs && v->debug_valid;

    if (!v->idt_hidden)
        return;
    v->sregs->idt.limit = v->idt_limit_real;
    v->idt_hidden = false;
    vcpu_dirty(v, VS_SREGS);
    v->idt_shown = only;
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

/* How many kicks in a row one entry takes: a step is short, so a kick can wait for its end; but one
 * that KVM never ends must not be tried for ever. */
#define KICKS_MAX 3
/* The same once a processor's vCPU has moved: the step's end is next. Left there it would be
 * somewhere that no step ends, in a handler whose frame holds the step's trap flag. */
#define KICKS_BEHIND_MAX 1000

static void enter(struct vcpu *v, const struct onestep_ops *ops, const struct vcpu_debug *want,
                  struct exit_event *ev)
{
    uint64_t from = linear_rip(v);
    bool behind = false;

    for (unsigned i = 0; i < (behind ? KICKS_BEHIND_MAX : KICKS_MAX); i++) {
        /* What the kick was for is looked at after the step; but who sleeps in the kernel would be
         * left there by it. */
        if (v->run->immediate_exit && !vcpu_sleeps_inside(v))
            v->run->immediate_exit = 0;
        vcpu_enter(v, want, ev);
        ev->flags |= EXIT_F_STEPPED;
        if (ops->saw)
            ops->saw(ops->arg, v, ev);
        vcpu_commit(v, ev);
        if (ev->reason != EXIT_KICK)
            return;
        vcpu_forget_fault(v);
        behind = want->step && !v->vm->probe.emulated && linear_rip(v) != from;
    }
}

/* The kick came when the step had just ended: it is made, and the kick has told it. */
static enum onestep made_before_kick(struct onestep_info *out)
{
    out->last.reason = EXIT_RUN;
    return ONE_DONE;
}

/* Runs to a linear address by a debug register, serving what happens on the way. */
static enum onestep run_to(struct vcpu *v, const struct onestep_ops *ops, uint64_t linear,
                           struct onestep_info *out)
{
    struct vcpu_debug at = {.dr = {linear}, .dr7 = 0x402};
    uint64_t rsp = v->regs->rsp;

    for (unsigned i = 0; i < ENTRIES_MAX; i++) {
        enter(v, ops, &at, &out->last);
        if (out->last.reason == KVM_EXIT_DEBUG)
            return ONE_DONE;
        /* The kick came between the delivery and the first instruction. */
        if (out->last.reason == EXIT_KICK && linear_rip(v) == linear && v->regs->rsp != rsp &&
            !vcpu_event_queued(v))
            return made_before_kick(out);
        if (out->last.reason != KVM_EXIT_IO && out->last.reason != KVM_EXIT_MMIO)
            return ONE_OTHER;
    }
    return ONE_OTHER;
}

void vcpu_forget_bp(struct vcpu *v)
{
    if (v->events->exception.nr != 3 || v->events->exception.injected ||
        v->events->exception.pending || !v->vm->probe.emulated)
        return;
    v->events->exception.nr = 0;
    vcpu_dirty(v, VS_EVENTS);
}

bool vcpu_forget_ud(struct vcpu *v)
{
    struct kvm_vcpu_events *e = v->events;

    if (!v->vm->probe.emulated || cpu_cpl(v->sregs) != 3 || e->exception.nr != 6 ||
        !(e->exception.injected || e->exception.pending))
        return false;
    e->exception.injected = e->exception.pending = 0;
    vcpu_dirty(v, VS_EVENTS);
    return true;
}

void vcpu_forget_fault(struct vcpu *v)
{
    struct kvm_vcpu_events *e = v->events;
    bool given = v->given.vector >= 0 && v->given.rip == v->regs->rip &&
                 v->given.rsp == v->regs->rsp; /* its delivery may have faulted */

    if (!v->vm->probe.emulated || !v->vm->slots.pages || given ||
        !(e->exception.injected || e->exception.pending) || e->exception.nr < 10 ||
        e->exception.nr > 13)
        return;
    e->exception.injected = e->exception.pending = 0;
    vcpu_dirty(v, VS_EVENTS);
}

/* A shutdown that no entry has told of. */
static void note_shutdown(struct vcpu *v, const struct onestep_ops *ops,
                          const struct assist_event *ev, struct exit_event *last)
{
    last->reason = KVM_EXIT_SHUTDOWN;
    last->flags &= (uint16_t)~EXIT_F_OURS;
    last->u.shutdown.vector = ev->vector;
    last->u.shutdown.error_code = ev->ec;
    if (ops->saw)
        ops->saw(ops->arg, v, last);
}

enum onestep vcpu_deliver(struct vcpu *v, const struct onestep_ops *ops,
                          const struct assist_event *event, struct onestep_info *out)
{
    struct assist_event ev = *event;
    enum delivered done;
    uint64_t target;

    vcpu_show_idt(v);
    done = event_give(v, &ev);
    out->vector = ev.vector;
    if (done == DELIVER_ENTERED) {
        vcpu_forget_bp(v);
        return ONE_DONE;
    }
    if (done == DELIVER_SHUTDOWN) {
        note_shutdown(v, ops, &ev, &out->last);
        return ONE_OTHER;
    }
    if (vcpu_gate_target(v, ev.vector, &target)) {
        enum onestep r = run_to(v, ops, target, out);

        vcpu_forget_bp(v);
        return r;
    }
    /* No gate: the processor goes on to #GP, #DF, shutdown; the next exit tells. */
    enter(v, ops, &(struct vcpu_debug){0}, &out->last);
    return ONE_OTHER;
}

/* ---- steps that this file makes itself ------------------------------------------------------- */

static enum onestep step_halt(struct vcpu *v, const struct insn_head *h)
{
    v->regs->rip += h->len;
    v->events->interrupt.shadow = 0; /* of an `sti` just before: HLT is what it protects */
    vcpu_dirty(v, VS_REGS | VS_EVENTS);
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
    struct assist_event ev = {.vector = h->vector,
                              .is_interrupt = h->is_int_n,
                              .is_soft = !h->icebp,
                              .insn_len = (uint8_t)h->len};

    v->regs->rip += h->len;
    return vcpu_deliver(v, ops, &ev, out);
}

static enum onestep step_iretq(struct vcpu *v, const struct onestep_ops *ops,
                               struct onestep_info *out)
{
    struct user_frame f;

    if (!frame_read(v, v->regs->rsp, &f))
        return ONE_OTHER;
    vcpu_show_idt(v);
    /* To ring 3 a KVM that emulates ring 0 loses the step, so the frame is loaded here. */
    if ((f.cs & 3) == 3 && frame_load(v, &f)) {
        vcpu_flush(v);
        return ONE_DONE;
    }
    return run_to(v, ops, f.rip, out);
}

/* Flags that ring 3 cannot load: IOPL, and IF unless IOPL is 3. */
static uint64_t user_keeps(uint64_t rflags)
{
    return RFLAGS_IOPL | ((rflags & RFLAGS_IOPL) == RFLAGS_IOPL ? 0 : RFLAGS_IF);
}

/* IRETQ within ring 3, where the trap flag that it pops would let the guest run on. */
static bool iretq_user(struct vcpu *v)
{
    uint64_t before = v->regs->rflags, kept = user_keeps(before);
    struct user_frame f;

    if (!frame_read(v, v->regs->rsp, &f) || (f.cs & 3) != 3 || (f.ss & 3) != 3)
        return false;
    vcpu_show_idt(v);
    f.rflags = (f.rflags & ~kept) | (before & kept);
    if (!frame_load(v, &f))
        return false;
    vcpu_flush(v);
    return true;
}

/* POPFQ in ring 3, for the same reason. A trap flag of the guest's own is left to KVM. */
static bool popfq_user(struct vcpu *v, const struct insn_head *h)
{
    /* ID, AC, NT, OF, DF, IF, SF, ZF, AF, PF, CF */
    const uint64_t may = 0x244fd5 & ~user_keeps(v->regs->rflags);
    uint8_t raw[8];
    uint64_t flags;

    if (h->opsize || !read_linear(v, v->regs->rsp, raw, 8))
        return false;
    flags = le_load(raw, 8);
    if (flags & RFLAGS_TF)
        return false;
    v->regs->rflags = (v->regs->rflags & ~(may | 0x10000)) | (flags & may);
    v->regs->rsp += 8;
    v->regs->rip += h->len;
    vcpu_dirty(v, VS_REGS);
    return true;
}

/* MOV SS in ring 3 with the selector that ring 3 has: it changes nothing, but processors hold the
 * trap back over it and one instruction more. Natively run ring 3 sees the host's selectors, which
 * are this program's own. Others fault, and nothing is held back. */
static bool mov_ss_user(struct vcpu *v, const struct insn_head *h)
{
    const uint64_t gpr[16] = {
        v->regs->rax, v->regs->rcx, v->regs->rdx, v->regs->rbx, v->regs->rsp, v->regs->rbp,
        v->regs->rsi, v->regs->rdi, v->regs->r8,  v->regs->r9,  v->regs->r10, v->regs->r11,
        v->regs->r12, v->regs->r13, v->regs->r14, v->regs->r15,
    };
    uint16_t own;

    __asm__("mov %%ss, %0" : "=r"(own));
    if (h->ss_from < 0 || (uint16_t)gpr[h->ss_from] != own)
        return false;
    v->regs->rip += h->len;
    v->regs->rflags &= ~(uint64_t)0x10000;
    vcpu_dirty(v, VS_REGS);
    return true;
}

static enum onestep step_sysret(struct vcpu *v)
{
    vcpu_show_idt(v);
    sysret_load(v);
    vcpu_flush(v);
    return ONE_DONE;
}

/* The guest's own int3 where guards make every int3 leave the guest: its #BP is injected. */
static enum onestep step_own_int3(struct vcpu *v, const struct onestep_ops *ops,
                                  struct onestep_info *out)
{
    const struct assist_event bp = {
        .vector = 3, .is_interrupt = true, .is_soft = true, .insn_len = 1};

    v->regs->rip++;
    return vcpu_deliver(v, ops, &bp, out);
}

/* ---- the step that KVM makes ------------------------------------------------------------------
 */

/* The stack image of a pushf made under the trap flag shows it; the guest is to see its own. */
static void pushed_tf(struct vcpu *v, bool own)
{
    struct walk_regs r;
    uint8_t flags[2];

    vcpu_walk_regs(v, &r);
    if (walk_read(&v->vm->mem, &r, v->sregs->ss.base + v->regs->rsp, flags, 2) != 2)
        return;
    flags[1] = (uint8_t)((flags[1] & ~(RFLAGS_TF >> 8)) | own);
    walk_write(&v->vm->mem, &r, v->sregs->ss.base + v->regs->rsp, flags, 2);
}

/* A #DB of the guest's own making: its handler is entered. `behind`: the instruction was made. */
static enum onestep own_debug(struct vcpu *v, const struct onestep_ops *ops, uint64_t dr6,
                              bool behind, struct onestep_info *out)
{
    vcpu_dr6_add(v, dr6);
    out->trapped = behind;
    return vcpu_deliver(v, ops, &(struct assist_event){.vector = 1, .is_before = !behind}, out);
}

/* Which of the guest's own breakpoint registers a step has met. They are in force while none of
 * ours is; a processor reports those that are switched off as well, and may report one that waits
 * at the next instruction with the step's own trap: it is met there, before that instruction. */
static unsigned own_registers(struct vcpu *v, const struct vcpu_debug *want)
{
    unsigned met = v->run->debug.arch.dr6 & 0xf, on = 0;
    struct kvm_debugregs d;

    if (!met || want->dr7 || v->data.dr7 || kvm_get_debugregs(v->fd, &d) < 0)
        return 0;
    for (unsigned i = 0; i < 4; i++) {
        bool is_exec = !(d.dr7 >> (16 + 4 * i) & 3);

        if ((d.dr7 >> 2 * i & 3) && !(is_exec && (v->run->debug.arch.dr6 & DR6_BS)))
            on |= 1u << i;
    }
    return met & on;
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
    const struct assist_event fault = {.vector = nr,
                                       .has_ec = v->events->exception.has_error_code,
                                       .ec = v->events->exception.error_code};
    struct assist_event raise;

    if (nr == 1 && cpl == 3)
        return ONE_DONE; /* the trap flag itself */
    if (nr == 13 && vcpu_paging_refused(v, linear_rip(v))) {
        vcpu_show_idt(v);
        return ONE_OTHER; /* no fault of the guest's */
    }
    if (nr == 6 && ops->undefined && ops->undefined(ops->arg, v, &out->last, &raise)) {
        if (raise.vector < 0)
            return ONE_DONE;
        return vcpu_deliver(v, ops, &raise, out);
    }
    return vcpu_deliver(v, ops, &fault, out);
}

/* The debug register for that: one that no watchpoint has. -1: there is none, or it would not fire.
 */
static int free_register(const struct vcpu *v)
{
    enum cpu_mode m = cpu_mode_of(v->sregs, v->regs->rflags);

    if (v->vm->probe.hw_exec[probe_mode_of(m, cpu_cpl(v->sregs))] != HOW_DEBUG)
        return -1;
    for (int i = 0; i < 4; i++)
        if (!(v->data.dr7 >> 2 * i & 3))
            return i;
    return -1;
}

/* Where a step over FXSAVE or FXRSTOR is to end, where KVM forgets that; else 0. 64-bit ring 3 it
 * leaves to the processor. */
static uint64_t behind_fxsave(struct vcpu *v, const struct insn_head *h)
{
    unsigned bits = cpu_mode_bits(cpu_mode_of(v->sregs, v->regs->rflags));
    struct insn_shape s;

    if (h->special != SP_FXSAVE || !v->vm->probe.emulated ||
        (cpu_cpl(v->sregs) == 3 && v->sregs->cs.l) || !insn_shape(&s, bits, h->b, h->n))
        return 0;
    return linear_rip(v) + s.len;
}

/* Without a hidden IDT an emulating KVM stops only after a handler's first instruction: debug
 * registers on the handlers of what an instruction can raise stop it before that. BOUND alone
 * raises #BR and is not of the FPU, which raises #NM. */
#define REAL_FAULTS 4u

static uint8_t real_fault(const struct insn_head *h, unsigned i)
{
    const uint8_t vector[REAL_FAULTS] = {0, h->b[h->opcode_at] == 0x62 ? 5 : 7, 6, 13};

    return vector[i];
}

static void stop_at_handlers(struct vcpu *v, const struct insn_head *h, struct vcpu_debug *want)
{
    uint64_t from = linear_rip(v);

    for (unsigned i = 0; i < REAL_FAULTS; i++)
        if (vcpu_gate_target(v, real_fault(h, i), &want->dr[i]) && want->dr[i] != from)
            want->dr7 |= 0x400 | 2u << 2 * i;
}

static int fault_entered(const struct vcpu *v, const struct insn_head *h,
                         const struct vcpu_debug *want, uint64_t next)
{
    uint64_t at = linear_rip(v);

    for (unsigned i = 0; i < REAL_FAULTS && at != next; i++)
        if (want->dr7 >> 2 * i & 2 && want->dr[i] == at)
            return real_fault(h, i);
    return -1;
}

/* A step that KVM makes: of what instruction, from where, and how. */
struct kvm_step {
    const struct insn_head *h;
    const struct step_guard *guard;
    struct vcpu_debug want;
    uint64_t from, rcx;
    unsigned cpl;
};

/* Has the step led into a handler, where its guard is? It is over then, whatever ended the entry.
 */
static bool at_guard(struct vcpu *v, const struct kvm_step *k, struct onestep_info *out)
{
    const struct insn_head *h = k->h;
    uint64_t target;

    if (!guard_hit(v, k->guard, &out->vector))
        return false;
    if (out->vector < 0)
        return true;
    if (h->vector >= 0 && vcpu_gate_target(v, h->vector, &target) && target == linear_rip(v))
        out->vector = h->vector; /* several vectors may share a handler */
    guard_frame_tf(v, out->vector, false);
    return true;
}

/* Enters until the step is over. `entered`: once it was already, and `out->last` says with what. */
static enum onestep run_step(struct vcpu *v, const struct onestep_ops *ops,
                             const struct kvm_step *k, bool entered, struct onestep_info *out)
{
    const struct insn_head *h = k->h;
    uint64_t from = k->from, rcx = k->rcx, target;
    unsigned met, accesses = 0;

    for (unsigned i = 0; i < ENTRIES_MAX; i++) {
        if (i || !entered)
            enter(v, ops, &k->want, &out->last);
        switch (out->last.reason) {
        case KVM_EXIT_DEBUG:
            (void)at_guard(v, k, out);
            if (k->want.step && k->want.dr7 && out->vector < 0 && moved(v, from))
                out->vector = fault_entered(v, h, &k->want, from + h->len);
            if (h->special == SP_INT && out->vector < 0 &&
                vcpu_gate_target(v, h->vector, &target) && target == linear_rip(v))
                out->vector = h->vector;
            if (k->want.step && k->want.dr7 && out->vector >= 0)
                guard_frame_tf(v, out->vector, false);
            met = out->vector < 0 ? own_registers(v, &k->want) : 0;
            if (met)
                return own_debug(v, ops, met, moved(v, from), out);
            if (h->special == SP_REP && !moved(v, from) && !vcpu_parking(v))
                break;
            out->partial = h->special == SP_REP && !moved(v, from);
            /* An emulated compare-and-exchange that lost against another vCPU reports a step
             * although it will be tried again. */
            if (h->locked && !moved(v, from))
                break;
            return ONE_DONE;
        case KVM_EXIT_HLT:
            return ONE_HALT;
        case KVM_EXIT_SHUTDOWN:
            if (!v->idt_hidden)
                return ONE_OTHER;
            if (v->events->exception.nr == 1 && k->cpl == 3 && h->special == SP_REP &&
                !moved(v, from) && !vcpu_parking(v))
                break;
            if (moved(v, from) && v->events->exception.nr == 6) {
                struct insn_head next; /* made with an instruction that holds the trap back */

                insn_head_read(v, &next);
                if (next.special == SP_INT && next.is_int_n)
                    return step_int(v, ops, &next, out);
            }
            out->partial = h->special == SP_REP && !moved(v, from);
            return after_hidden(v, ops, k->cpl, out);
        case KVM_EXIT_IO:
        case KVM_EXIT_MMIO:
        case KVM_EXIT_X86_RDMSR:
        case KVM_EXIT_X86_WRMSR:
            /* Between the elements of a string the next entry completes the last one. */
            if (h->special != SP_REP || moved(v, from) || vcpu_parking(v))
                vcpu_settle(v);
            if (moved(v, from))
                return ONE_DONE;
            if (v->refused.reason == KVM_EXIT_INTERNAL_ERROR) {
                out->last = v->refused;
                v->refused.reason = 0;
                return ONE_OTHER;
            }
            if (v->refused.reason == KVM_EXIT_SHUTDOWN && v->idt_hidden) {
                out->last = v->refused; /* the answer was an exception */
                v->refused.reason = 0;
                return after_hidden(v, ops, k->cpl, out);
            }
            /* The next element of a string, or the rest of a read-modify-write; or one that an
             * emulating KVM makes again and again. */
            accesses = v->regs->rcx == rcx ? accesses + 1 : 0;
            rcx = v->regs->rcx;
            if (accesses > ACCESSES_MAX)
                return ONE_OTHER;
            if (h->special == SP_REP && vcpu_parking(v)) { /* it goes on from there */
                out->partial = true;
                return ONE_DONE;
            }
            break;
        case EXIT_KICK: /* perhaps at the debug register behind a repeated string instruction */
            if (vcpu_event_queued(v) || !moved(v, from))
                return ONE_OTHER;
            if (at_guard(v, k, out) || (!k->want.step && linear_rip(v) == from + h->len))
                return made_before_kick(out);
            return ONE_OTHER;
        default:
            return ONE_OTHER;
        }
    }
    return ONE_OTHER;
}

static enum onestep step_by_kvm(struct vcpu *v, const struct onestep_ops *ops,
                                const struct insn_head *h, const struct step_guard *guard,
                                struct onestep_info *out)
{
    struct kvm_step k = {.h = h,
                         .guard = guard,
                         .want = {.step = true, .sw_bp = guard->count > 0},
                         .from = linear_rip(v),
                         .rcx = v->regs->rcx,
                         .cpl = cpu_cpl(v->sregs)};
    uint64_t behind;
    unsigned falls;
    int dr;

    /* A repeated string instruction is one step, whole: hosts stop in it each time, once more at
     * its end, or not at all. A debug register behind it is quicker than its iterations. After
     * FXSAVE and FXRSTOR an emulating KVM forgets the trap, and runs one instruction more. */
    if (h->special == SP_REP && !v->idt_hidden)
        behind = k.from + h->len;
    else
        behind = behind_fxsave(v, h);
    if (behind && (dr = free_register(v)) >= 0) {
        k.want.step = false;
        k.want.dr[dr] = behind;
        k.want.dr7 = 0x400 | 2u << 2 * dr;
    } else if (v->vm->probe.emulated && !(v->sregs->cr0 & CR0_PE) && h->special != SP_INT &&
               !insn_plain(v, h, &falls)) {
        /* Debug registers cost each entry as much again, so who cannot fault goes without. */
        stop_at_handlers(v, h, &k.want);
    }
    return run_step(v, ops, &k, false, out);
}

/* An event was given before this step: the step ends at its handler's first instruction. */
static enum onestep arrive_at_handler(struct vcpu *v, const struct onestep_ops *ops, int vector,
                                      struct onestep_info *out)
{
    uint64_t target;

    out->vector = vector;
    vcpu_show_idt(v);
    if (vcpu_gate_target(v, vector, &target))
        return run_to(v, ops, target, out);
    enter(v, ops, &(struct vcpu_debug){0}, &out->last);
    return ONE_OTHER;
}

/* Where an instruction that drops or holds back the trap flag goes; 0 for all others. */
static uint64_t lands_at(struct vcpu *v, const struct insn_head *h)
{
    unsigned size = far_operand_bytes(v->sregs, h->rexw, h->opsize);
    uint8_t raw[8];

    switch (h->special) {
    case SP_SYSCALL:
        return vcpu_msr(v, MSR_LSTAR);
    case SP_SYSRET:
        return v->regs->rcx;
    case SP_SHADOW:
        return linear_rip(v) + h->len;
    case SP_IRET: /* the base of the new CS is 0 wherever it matters: real mode keeps TF in sight */
        if (!(v->sregs->cr0 & CR0_PE) ||
            !read_linear(v, v->sregs->ss.base + v->regs->rsp, raw, size))
            return 0;
        return le_load(raw, size);
    default:
        return 0;
    }
}

bool vcpu_steps_by_hand(struct vcpu *v)
{
    struct insn_head h;

    if (!v->vm->probe.emulated || cpu_cpl(v->sregs) != 3 || !v->sregs->cs.l)
        return false;
    insn_head_read(v, &h);
    return h.special == SP_POPF || h.special == SP_SHADOW;
}

/* A lock of ring 3 that might wait for ever: carried out. */
static bool step_lock(struct vcpu *v, const struct onestep_ops *ops, struct onestep_info *out,
                      enum onestep *r)
{
    struct assist_event raise;

    if (!ops->undefined || !vcpu_spins(v) || !ops->undefined(ops->arg, v, &out->last, &raise))
        return false;
    *r = raise.vector < 0 ? ONE_DONE : vcpu_deliver(v, ops, &raise, out);
    return true;
}

static enum onestep step_insn(struct vcpu *v, const struct onestep_ops *ops,
                              const struct insn_head *h, struct onestep_info *out)
{
    bool emulated = v->vm->probe.emulated;
    unsigned cpl = cpu_cpl(v->sregs);
    bool real = !(v->sregs->cr0 & CR0_PE);
    struct step_guard guard; /* a kilobyte: not cleared at each step */
    enum onestep r;

    guard.count = 0;
    if (!emulated && h->special == SP_INT && h->vector == 3 && !h->is_int_n)
        return step_own_int3(v, ops, out);
    if (emulated && h->special == SP_HLT && cpl == 0)
        return step_halt(v, h);
    if (emulated && h->special == SP_INT && (!real || (ops->undefined && vcpu_spins(v))))
        return step_int(v, ops, h, out);
    if (emulated && cpl == 3 && h->locked && step_lock(v, ops, out, &r))
        return r;
    if (emulated && !real) {
        if (h->special == SP_IRET && cpl == 0 && h->rexw && v->sregs->cs.l)
            return step_iretq(v, ops, out);
        if (h->special == SP_IRET && cpl == 3 && h->rexw && v->sregs->cs.l && iretq_user(v))
            return ONE_DONE;
        if (h->special == SP_POPF && cpl == 3 && v->sregs->cs.l && popfq_user(v, h))
            return ONE_DONE;
        if (h->special == SP_SHADOW && cpl == 3 && v->sregs->cs.l && mov_ss_user(v, h))
            return ONE_DONE;
        /* That KVM forgets the trap after swapgs and runs one instruction more. */
        if (h->special == SP_SWAPGS && cpl == 0 && swapgs_load(v)) {
            v->regs->rip += h->len;
            vcpu_dirty(v, VS_REGS);
            return ONE_DONE;
        }
        if (h->special == SP_SYSRET && cpl == 0 && h->rexw)
            return step_sysret(v);
        if (h->special == SP_SYSCALL && cpl == 3 && v->vm->probe.syscall_ring3 != HOW_RUNS) {
            vcpu_show_idt(v);
            syscall_load(v, v->regs->rip + h->len);
            vcpu_flush(v);
            return ONE_DONE;
        }
    }
    /* Hidden only where it is needed and can do no harm: not in real mode, where an IVT limit of
     * 0 is not an exception trap, and never over an instruction that reads or loads the IDTR. */
    if (v->vm->probe.hidden_idt && !real && h->special != SP_IDT_INSN)
        hide_idt(v);
    else
        vcpu_show_idt(v);
    if (emulated && cpl == 3)
        vcpu_dr6_keep(v);
    if (v->vm->methods.step_enters_free && !emulated)
        guard_place(v, &guard, h->vector, lands_at(v, h));
    r = step_by_kvm(v, ops, h, &guard, out);
    guard_lift(&guard);
    if (r == ONE_DONE && h->special == SP_PUSHF && (!emulated || cpl == 3))
        pushed_tf(v, false);
    if (r == ONE_DONE && h->special == SP_SYSCALL) {
        v->regs->r11 &= ~(uint64_t)RFLAGS_TF;
        vcpu_dirty(v, VS_REGS);
    }
    return r;
}

/* ---- the guest's own trap flag ----------------------------------------------------------------
 */

/* Will the instruction at RIP, which loads the flags, set the trap flag? */
static bool loads_tf(struct vcpu *v, const struct insn_head *h)
{
    unsigned slot = far_operand_bytes(v->sregs, h->rexw, h->opsize), skip = 0;
    uint8_t flags[2];

    if (h->special == SP_SYSRET)
        return v->regs->r11 & RFLAGS_TF;
    if (h->special == SP_IRET)
        skip = 2 * slot;
    return read_linear(v, v->sregs->ss.base + v->regs->rsp + skip, flags, 2) &&
           (flags[1] & RFLAGS_TF >> 8);
}

/* A step was made of a guest that steps itself: what KVM, whose trap flag the step had, did not do.
 * `was`, `will`: the guest's own flag before and behind the instruction. */
static enum onestep own_step(struct vcpu *v, const struct onestep_ops *ops,
                             const struct insn_head *h, bool was, bool will, enum onestep r,
                             struct onestep_info *out)
{
    if (v->regs->rflags & RFLAGS_TF) {
        v->regs->rflags &= ~(uint64_t)RFLAGS_TF;
        vcpu_dirty(v, VS_REGS);
    }
    if (r == ONE_OTHER) {
        v->own_tf = was;
        return r;
    }
    if (out->vector >= 0) { /* the way there cleared it */
        guard_frame_tf(v, out->vector, was);
        return r;
    }
    v->own_tf = will;
    if (h->special == SP_PUSHF)
        pushed_tf(v, was);
    if (h->special == SP_SYSCALL && was) {
        v->regs->r11 |= RFLAGS_TF;
        vcpu_dirty(v, VS_REGS);
        v->own_tf = was = !(vcpu_msr(v, MSR_SFMASK) & RFLAGS_TF);
    }
    if (!was || r == ONE_HALT || out->partial ||
        (h->special == SP_SHADOW && h->b[h->opcode_at] != STI))
        return r;
    return own_debug(v, ops, DR6_BS, true, out);
}

static enum onestep step_one(struct vcpu *v, const struct onestep_ops *ops,
                             struct onestep_info *out)
{
    struct insn_head h;
    enum onestep r;
    bool was, will;

    out->vector = -1;
    out->trapped = out->partial = false;
    out->last.reason = EXIT_RUN; /* no exit yet */
    out->last.flags = 0;
    out->last.guest_ns = 0;
    if (v->injected >= 0)
        return arrive_at_handler(v, ops, v->injected, out);
    (void)vcpu_forget_ud(v);
    if (v->events->exception.injected)
        return arrive_at_handler(v, ops, v->events->exception.nr, out);
    if (v->events->interrupt.injected)
        return arrive_at_handler(v, ops, v->events->interrupt.nr, out);
    insn_head_read(v, &h);
    was = v->own_tf || (v->regs->rflags & RFLAGS_TF);
    will = h.special == SP_POPF || h.special == SP_IRET || h.special == SP_SYSRET ? loads_tf(v, &h)
                                                                                  : was;
    if (was) {
        v->own_tf = false;
        v->regs->rflags &= ~(uint64_t)RFLAGS_TF;
        vcpu_dirty(v, VS_REGS);
    }
    r = step_insn(v, ops, &h, out);
    return was || will ? own_step(v, ops, &h, was, will, r, out) : r;
}

/* ---- steps in a row -------------------------------------------------------------------------- */

/* Is the next step one that needs nothing prepared? The last step has left everything as this one
 * wants it, and either no handler can run unseen behind the hidden IDT, or nothing can fault. */
static bool goes_on(struct vcpu *v, const struct insn_head *h)
{
    unsigned falls;

    if (!vcpu_may_step_on(v) || h->special != SP_NONE || h->locked ||
        v->events->exception.injected || v->events->interrupt.injected || v->own_tf ||
        (v->regs->rflags & RFLAGS_TF))
        return false;
    return v->sregs->cr0 & CR0_PE ? v->idt_hidden : !v->idt_hidden && insn_plain(v, h, &falls);
}

/* The same as step_one, for steps that follow one another: most need no more than an entry. */
static enum onestep step_on(struct vcpu *v, const struct onestep_ops *ops, struct onestep_info *out)
{
    static const struct step_guard none;
    struct insn_head h;
    struct kvm_step k = {.h = &h, .guard = &none, .want = {.step = true}};

    insn_head_read(v, &h);
    if (!goes_on(v, &h))
        return step_one(v, ops, out);
    k.from = linear_rip(v);
    k.rcx = v->regs->rcx;
    if (vcpu_step_on(v, &out->last))
        return ONE_DONE;
    if (ops->saw)
        ops->saw(ops->arg, v, &out->last);
    vcpu_commit(v, &out->last);
    return run_step(v, ops, &k, out->last.reason != EXIT_KICK, out);
}

enum onestep vcpu_onestep(struct vcpu *v, const struct onestep_ops *ops, struct onestep_info *out)
{
    bool quick = v->vm->probe.emulated && !v->data.dr7 && !v->vm->slots.pages;
    uint64_t from = linear_rip(v);
    enum onestep r = step_one(v, ops, out);

    out->told = false;
    while (r == ONE_DONE && ops->again && out->vector < 0 && !out->trapped && !out->partial &&
           moved(v, from)) {
        if (!ops->again(ops->arg, v)) {
            out->told = true;
            break;
        }
        from = linear_rip(v);
        r = quick ? step_on(v, ops, out) : step_one(v, ops, out);
    }
    return r;
}
