/*
 * One entry of a vCPU into the guest: what KVM is told before it, and what is made of the exit. The
 * engine's body calls vcpu_enter and vcpu_commit in a loop on the vCPU's thread.
 */
#include "vmm/vcpu_int.h"

#include <errno.h>
#include <linux/kvm_para.h>
#include <string.h>

#include "vmm/access.h"
#include "vmm/devices/lapic.h"
#include "vmm/far.h"
#include "vmm/insn_head.h"
#include "vmm/x86_bits.h"

#define SYNC_ALL (KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS | KVM_SYNC_X86_EVENTS)

/* An interrupt that could not be given for this long on a KVM that emulates ring 0 gets a stepped
 * window: that KVM looks at its window request only every 1024 instructions, so a guest which
 * opens its window briefly (sti; nop; cli) would starve. */
#define STARVED_NS    1000000u
#define STARVED_STEPS 4096

/* A settled access is at most 16 bytes in parts of 8, or a page-crossing string element. Reads of a
 * string instruction from a trapped page go on one by one until KVM comes back after 1024. */
#define SETTLE_RUNS_MAX 64
#define SETTLE_RAM_MAX  8192

/* ---- debug state ----------------------------------------------------------------------------- */

static bool same_debug(const struct vcpu_debug *a, const struct vcpu_debug *b)
{
    return a->step == b->step && a->sw_bp == b->sw_bp && a->dr7 == b->dr7 &&
           (!a->dr7 || !memcmp(a->dr, b->dr, sizeof a->dr));
}

/* KVM keeps the trap flag only while nothing rewrote the registers, so a step is armed before
 * every entry; a KVM that emulates ring 0 reads the request itself and needs it only once. */
static bool must_arm(const struct vcpu *v, const struct vcpu_debug *want)
{
    if (!same_debug(want, &v->debug_set))
        return true;
    if (!want->step)
        return false;
    return !v->debug_valid || !v->vm->probe.emulated || cpu_cpl(v->sregs) != 0;
}

static void add_data(struct vcpu_debug *to, const struct vcpu_debug *data)
{
    for (unsigned i = 0; i < 4; i++) {
        if (!(data->dr7 >> 2 * i & 3) || (to->dr7 >> 2 * i & 3))
            continue;
        to->dr[i] = data->dr[i];
        to->dr7 |= 0x400 | (data->dr7 & (3u << 2 * i | 0xfu << (16 + 4 * i)));
    }
}

static int tell_debug(struct vcpu *v, const struct vcpu_debug *want)
{
    struct kvm_guest_debug d = {0};
    int rc;

    if (want->step)
        vcpu_flush(v); /* dirty registers would be applied after this call and undo it */
    /* Otherwise they must wait: applied while a step is still armed they get a trap flag. */
    if (want->step)
        d.control |= KVM_GUESTDBG_SINGLESTEP;
    if (want->step && v->hold_irq && v->vm->m.irqchip_kernel && v->vm->probe.block_irq)
        d.control |= KVM_GUESTDBG_BLOCKIRQ;
    if (want->sw_bp)
        d.control |= KVM_GUESTDBG_USE_SW_BP;
    if (want->dr7) {
        d.control |= KVM_GUESTDBG_USE_HW_BP;
        memcpy(d.arch.debugreg, want->dr, sizeof want->dr);
        d.arch.debugreg[7] = want->dr7;
    }
    if (d.control)
        d.control |= KVM_GUESTDBG_ENABLE;
    rc = kvm_set_guest_debug(v->fd, &d);
    v->debug_set = *want;
    v->debug_valid = rc == 0;
    return rc;
}

static int arm(struct vcpu *v, const struct vcpu_debug *want)
{
    struct vcpu_debug with_data;

    if (v->data.dr7) {
        with_data = *want;
        add_data(&with_data, &v->data);
        want = &with_data;
    }
    return must_arm(v, want) ? tell_debug(v, want) : 0;
}

/* ---- one entry ------------------------------------------------------------------------------- */

static uint32_t saturate(uint64_t ns)
{
    return ns > UINT32_MAX ? UINT32_MAX : (uint32_t)ns;
}

/* A kick came: where the one before it did? */
static void note_kick(struct vcpu *v)
{
    bool same = !memcmp(&v->kicked_regs, v->regs, sizeof v->kicked_regs);
    unsigned n = atomic_load_explicit(&v->stood, memory_order_relaxed);

    v->kicked_regs = *v->regs;
    atomic_store_explicit(&v->stood, same ? n + 1 : 0, memory_order_relaxed);
}

static void fill(struct vcpu *v, struct exit_event *ev, int rc)
{
    const struct kvm_run *run = v->run;

    ev->rip = v->regs->rip;
    ev->cs_base = v->sregs->cs.base;
    ev->cr3 = v->sregs->cr3;
    ev->vcpu = (uint8_t)v->id;
    ev->mode = (uint8_t)cpu_mode_of(v->sregs, v->regs->rflags);
    ev->cpl = (uint8_t)cpu_cpl(v->sregs);
    if (rc == -EINTR || rc == -EAGAIN) {
        ev->reason = EXIT_KICK;
        note_kick(v);
        return;
    }
    if (atomic_load_explicit(&v->stood, memory_order_relaxed))
        atomic_store_explicit(&v->stood, 0, memory_order_relaxed);
    if (rc < 0) {
        ev->reason = EXIT_ERROR;
        ev->u.fail.errno_ = -rc;
    } else {
        ev->reason = (uint16_t)run->exit_reason;
    }
}

static void note_debug(const struct vcpu *v, struct exit_event *ev)
{
    const struct kvm_run *run = v->run;

    ev->u.debug.exception = run->debug.arch.exception;
    ev->u.debug.pc = run->debug.arch.pc;
    ev->u.debug.dr6 = run->debug.arch.dr6;
    ev->u.debug.dr7 = run->debug.arch.dr7;
}

static void note_internal(struct vcpu *v, struct exit_event *ev)
{
    const struct kvm_run *run = v->run;

    ev->u.internal.suberror = run->internal.suberror;
    ev->u.internal.ndata = run->internal.ndata;
    ev->u.internal.data0 = run->internal.data[0];
    if (run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION &&
        (run->emulation_failure.flags & KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES) &&
        run->emulation_failure.ndata >= 3) {
        unsigned n = run->emulation_failure.insn_size;

        ev->u.internal.insn_len = (uint8_t)(n > 15 ? 15 : n);
        memcpy(ev->u.internal.insn, run->emulation_failure.insn_bytes, ev->u.internal.insn_len);
    } else if (run->internal.suberror != KVM_INTERNAL_ERROR_EMULATION || !run->internal.ndata) {
        /* Others come without the bytes, and kernels before 5.14 tell none. */
        ev->u.internal.insn_len = (uint8_t)vcpu_fetch(v, ev->u.internal.insn);
    }
}

/* An emulating KVM latches a HLT whose exit a kick or a step took the place of, and reports it one
 * instruction later, perhaps in the handler of an interrupt. That one has not halted. */
static bool is_halted_here(struct vcpu *v)
{
    struct walk_regs r;
    uint8_t insn;

    vcpu_walk_regs(v, &r);
    return walk_read(&v->vm->mem, &r, v->sregs->cs.base + v->regs->rip - 1, &insn, 1) != 1 ||
           insn == 0xf4;
}

static void serve(struct vcpu *v, struct exit_event *ev)
{
    const struct vm_config *cfg = &v->vm->cfg;
    struct kvm_run *run = v->run;

    if (exit_is_access(ev->reason)) {
        access_note(v, ev);
        v->unsettled = true;
        if ((ev->flags & EXIT_F_RAM) || !cfg->access || !cfg->access(cfg->arg, v, ev))
            vcpu_serve(v, ev);
        return;
    }
    switch (ev->reason) {
    case KVM_EXIT_HLT:
        if (is_halted_here(v))
            atomic_store(&v->idle, run->if_flag ? VCPU_HALTED : VCPU_DEAD);
        break;
    case KVM_EXIT_DEBUG:
        note_debug(v, ev);
        break;
    case KVM_EXIT_INTERNAL_ERROR:
        note_internal(v, ev);
        break;
    case KVM_EXIT_FAIL_ENTRY:
        ev->u.fail.hardware_reason = run->fail_entry.hardware_entry_failure_reason;
        break;
    case KVM_EXIT_UNKNOWN:
        ev->u.fail.hardware_reason = run->hw.hardware_exit_reason;
        break;
    case KVM_EXIT_HYPERCALL: /* there are none; the answer goes to RAX at the next entry */
        run->hypercall.ret = (uint64_t)-KVM_ENOSYS;
        v->unsettled = true;
        break;
    case KVM_EXIT_SYSTEM_EVENT:
        ev->u.system.type = run->system_event.type;
        break;
    case KVM_EXIT_SHUTDOWN:
        ev->u.shutdown.vector = v->events->exception.nr;
        ev->flags |= v->idt_hidden ? EXIT_F_OURS : 0;
        ev->u.shutdown.has_error_code = v->events->exception.has_error_code;
        ev->u.shutdown.error_code = v->events->exception.error_code;
        break;
    default:
        break;
    }
}

static void sync_cr8(struct vcpu *v)
{
    struct machine *m = &v->vm->m;

    if (m->irqchip_kernel || v->run->cr8 == v->cr8_seen)
        return;
    pthread_mutex_lock(&m->lock);
    lapic_set_cr8(m, v->id, (uint8_t)v->run->cr8);
    pthread_mutex_unlock(&m->lock);
    v->cr8_seen = v->run->cr8;
}

static void note_given(struct vcpu *v)
{
    const struct kvm_vcpu_events *e = v->events;

    v->given = (struct vcpu_given){.rip = v->regs->rip,
                                   .rsp = v->regs->rsp,
                                   .rflags = v->regs->rflags,
                                   .cs = v->sregs->cs,
                                   .vector = v->injected};
    v->given.is_interrupt = v->injected >= 0 || e->interrupt.injected;
    if (v->injected < 0 && e->interrupt.injected) {
        v->given.vector = e->interrupt.nr;
    } else if (v->injected < 0 && e->exception.injected) {
        v->given.vector = e->exception.nr;
        v->given.has_ec = e->exception.has_error_code;
        v->given.error_code = e->exception.error_code;
    }
}

/* A kick ends an entry wherever it is, also when what the guest did has led to an exception behind
 * the hidden IDT, or to a triple fault, and the next entry would only report that. Then this exit
 * is taken for that one: who goes by its kick would take the exception for the guest's, or would
 * have forgotten what the entry was to deliver. */
static int show_shutdown(struct vcpu *v, int rc)
{
    struct kvm_vcpu_events *e = v->events;
    bool hidden = v->idt_hidden && (e->exception.injected || e->exception.pending);
    bool triple = (e->flags & KVM_VCPUEVENT_VALID_TRIPLE_FAULT) && e->triple_fault.pending;

    if (rc != -EINTR || (!hidden && !triple))
        return rc;
    if (hidden)
        e->exception.injected = e->exception.pending = 0;
    e->triple_fault.pending = 0;
    vcpu_dirty(v, VS_EVENTS);
    v->run->exit_reason = KVM_EXIT_SHUTDOWN;
    return 0;
}

/* KVM_RUN with the shared registers asked for. */
static int run_once(struct vcpu *v)
{
    const struct kvm_vcpu_events *e = v->events;
    int rc;

    v->run->kvm_valid_regs = SYNC_ALL;
    rc = kvm_run(v->fd);
    v->unsettled = v->idt_shown = false;
    if (v->injected >= 0 && !(e->interrupt.injected && e->interrupt.nr == v->injected))
        v->injected = -1;
    return show_shutdown(v, rc);
}

int vcpu_run_nothing(struct vcpu *v)
{
    int rc;

    v->run->immediate_exit = 1;
    rc = run_once(v);
    v->run->immediate_exit = 0;
    /* A kick may have come in between: its flags are still there, only its exit was used up. */
    if (atomic_load(&v->kicked))
        v->run->immediate_exit = 1;
    return rc;
}

/* Such a KVM latches a HLT that is stepped and reports it later, perhaps when the interrupt has
 * been served: the guest would halt once more, for an interrupt that has come already. */
static bool is_hlt_next(struct vcpu *v)
{
    struct insn_head h;

    insn_head_read(v, &h);
    return h.special == SP_HLT;
}

/* Steps an emulated vCPU up to a point where a waiting interrupt can be given. True when that is
 * all that happened; false leaves another exit for the caller to report. */
static bool step_to_window(struct vcpu *v, const struct vcpu_debug *want, int *rc)
{
    struct vcpu_debug stepping = *want;

    stepping.step = true;
    v->run->request_interrupt_window = 0;
    for (unsigned i = 0; i < STARVED_STEPS; i++) {
        if (is_hlt_next(v)) {
            *rc = arm(v, want);
            if (*rc == 0)
                *rc = run_once(v);
            return false;
        }
        if ((*rc = arm(v, &stepping)) < 0)
            return false;
        *rc = run_once(v);
        if (*rc < 0 || v->run->exit_reason != KVM_EXIT_DEBUG ||
            (v->run->debug.arch.dr6 & (want->dr7 ? 0xf : 0)))
            return false;
        if (v->run->ready_for_interrupt_injection)
            break;
    }
    v->irq_pending_ns = 0;
    return true;
}

void vcpu_enter(struct vcpu *v, const struct vcpu_debug *want, struct exit_event *ev)
{
    uint64_t entered = v->last_ns; /* a clock call saved: what lies between is a few branches */
    int rc = arm(v, want);
    bool windowed = false;

    *ev = (struct exit_event){0};
    if (!want->step)
        vcpu_give_tf(v);
    if (want->step)
        v->run->request_interrupt_window = 0; /* on hardware it would pre-empt the step for ever */
    v->wish = WISH_NONE;
    note_given(v);
    if (rc == 0 && v->irq_pending_ns && !want->step && v->vm->probe.emulated &&
        cpu_cpl(v->sregs) == 0 && !(v->regs->rflags & RFLAGS_TF) &&
        entered - v->irq_pending_ns > STARVED_NS)
        windowed = step_to_window(v, want, &rc);
    else if (rc == 0)
        rc = run_once(v);
    ev->at_ns = ticks_ns(&v->ticks);
    ev->guest_ns = saturate(ev->at_ns - entered);
    fill(v, ev, rc);
    if (want->step)
        ev->flags |= EXIT_F_STEPPED;
    if (windowed)
        ev->reason = EXIT_KICK;
    sync_cr8(v);
    if (ev->reason < EXIT_OUR_FIRST)
        serve(v, ev);
}

bool vcpu_step_on(struct vcpu *v, struct exit_event *ev)
{
    uint64_t entered = v->last_ns;
    int rc;

    v->wish = WISH_NONE;
    note_given(v);
    rc = run_once(v);
    *ev = (struct exit_event){.at_ns = ticks_ns(&v->ticks), .flags = EXIT_F_STEPPED};
    ev->guest_ns = saturate(ev->at_ns - entered);
    fill(v, ev, rc);
    sync_cr8(v);
    if (ev->reason == KVM_EXIT_DEBUG && !(v->run->debug.arch.dr6 & 0xf)) {
        note_debug(v, ev);
        vcpu_commit(v, ev);
        return true;
    }
    if (ev->reason < EXIT_OUR_FIRST)
        serve(v, ev);
    return false;
}

bool vcpu_event_queued(const struct vcpu *v)
{
    return v->injected >= 0 || v->events->exception.injected || v->events->interrupt.injected;
}

bool vcpu_sleeps_inside(const struct vcpu *v)
{
    uint32_t state;

    return v->vm->m.irqchip_kernel &&
           (kvm_get_mp_state(v->fd, &state) < 0 || state != KVM_MP_STATE_RUNNABLE);
}

void vcpu_commit(struct vcpu *v, struct exit_event *ev)
{
    v->last_ns = ticks_ns(&v->ticks);
    ev->host_ns = saturate(v->last_ns - ev->at_ns);
    vcpu_note(v, ev);
}

void vcpu_settle(struct vcpu *v)
{
    vcpu_settle_to(v, NULL, NULL);
}

/* A far return takes two words off the stack. KVM's emulator begins it anew when a load from a page
 * without memory is answered, and counts the first word once more. */
struct far_return {
    uint64_t rsp, mask, word, wrong;
};

#define STACK_LOADS_BYTES 32u /* above RSP: eight registers of 32 bits */

/* May the load in hand, of a page without memory, be one of the stack's? Most are not, and are told
 * by their place. */
static bool is_stack_load(const struct vcpu *v)
{
    const struct kvm_run *run = v->run;

    return v->unsettled && run->exit_reason == KVM_EXIT_MMIO && !run->mmio.is_write &&
           ((run->mmio.phys_addr - v->sregs->ss.base - v->regs->rsp) & (PAGE_BYTES - 1)) <
               STACK_LOADS_BYTES;
}

static bool is_far_return(const struct vcpu *v, const struct insn_head *h, struct far_return *f)
{
    if (h->special != SP_RETF)
        return false;
    f->rsp = v->regs->rsp;
    f->mask = v->sregs->cs.l || v->sregs->ss.db ? UINT64_MAX : 0xffff;
    f->word = far_operand_bytes(v->sregs, h->rexw, h->opsize);
    f->wrong = 3 * f->word + h->imm;
    return true;
}

static void mend_far_return(struct vcpu *v, const struct far_return *f)
{
    if (((v->regs->rsp - f->rsp) & f->mask) != f->wrong)
        return;
    v->regs->rsp = (v->regs->rsp & ~f->mask) | ((v->regs->rsp - f->word) & f->mask);
    vcpu_dirty(v, VS_REGS);
}

static void complete(struct vcpu *v, bool (*enough)(void *arg, struct vcpu *v), void *arg)
{
    unsigned ram = 0;

    v->refused.reason = 0;
    for (unsigned i = 0; v->unsettled && i - ram < SETTLE_RUNS_MAX && ram < SETTLE_RAM_MAX; i++) {
        struct exit_event part = {0};
        int rc;

        rc = vcpu_run_nothing(v);
        if (rc < 0)
            break; /* EINTR: completed */
        part.reason = (uint16_t)v->run->exit_reason;
        if (part.reason == KVM_EXIT_INTERNAL_ERROR || part.reason == KVM_EXIT_SHUTDOWN) {
            v->refused = (struct exit_event){.at_ns = ticks_ns(&v->ticks)};
            fill(v, &v->refused, 0);
            serve(v, &v->refused);
        }
        if (part.reason != KVM_EXIT_MMIO && part.reason != KVM_EXIT_IO)
            break;       /* or the end of a step that the completion finished */
        serve(v, &part); /* the next fragment of the same access */
        ram += (part.flags & EXIT_F_RAM) != 0;
        if (enough && enough(arg, v))
            return;
    }
    v->unsettled = false;
}

/* POPA, begun anew for each of its loads, takes words that it took before: what it gives to the
 * registers is told here beforehand. */
static bool is_pop_all(struct vcpu *v, const struct insn_head *h, struct kvm_regs *end)
{
    __u64 *const into[8] = {&end->rdi, &end->rsi, &end->rbp, NULL,
                            &end->rbx, &end->rdx, &end->rcx, &end->rax};
    uint64_t stack = v->sregs->ss.db ? UINT32_MAX : 0xffff, rsp = v->regs->rsp;
    unsigned bytes = far_operand_bytes(v->sregs, false, h->opsize);
    struct walk_regs r;

    if (h->opcode_at >= h->n || h->b[h->opcode_at] != 0x61 || v->sregs->cs.l)
        return false;
    vcpu_walk_regs(v, &r);
    *end = *v->regs;
    for (unsigned i = 0; i < 8; i++) {
        uint64_t word = 0;

        if (walk_read(&v->vm->mem, &r, v->sregs->ss.base + ((rsp + i * bytes) & stack), &word,
                      bytes) != bytes)
            return false;
        if (into[i])
            *into[i] = (bytes == 4 ? 0 : *into[i] & ~0xffffull) | word;
    }
    end->rsp = (rsp & ~stack) | ((rsp + 8 * bytes) & stack);
    end->rip += h->opcode_at + 1u;
    return true;
}

/* Loads from pages without memory, of an instruction that KVM's emulator begins anew for each. */
struct anew {
    struct far_return far;
    struct kvm_regs popped;
    bool is_far, is_pop_all;
};

static bool is_begun_anew(struct vcpu *v, struct anew *a)
{
    struct insn_head h;

    a->is_far = a->is_pop_all = false;
    if (!is_stack_load(v))
        return false;
    insn_head_read(v, &h);
    a->is_far = is_far_return(v, &h, &a->far);
    a->is_pop_all = is_pop_all(v, &h, &a->popped);
    return a->is_far || a->is_pop_all;
}

static void mend_begun_anew(struct vcpu *v, const struct anew *a)
{
    if (a->is_far)
        mend_far_return(v, &a->far);
    if (a->is_pop_all && v->regs->rip == a->popped.rip) {
        *v->regs = a->popped;
        vcpu_dirty(v, VS_REGS);
    }
}

void vcpu_settle_stack_loads(struct vcpu *v)
{
    struct anew anew;

    if (!is_begun_anew(v, &anew))
        return;
    complete(v, NULL, NULL);
    mend_begun_anew(v, &anew);
}

void vcpu_settle_to(struct vcpu *v, bool (*enough)(void *arg, struct vcpu *v), void *arg)
{
    struct anew anew;

    (void)is_begun_anew(v, &anew);
    complete(v, enough, arg);
    mend_begun_anew(v, &anew);
}

void vcpu_dirty(struct vcpu *v, uint32_t parts)
{
    if (parts & VS_REGS)
        v->run->kvm_dirty_regs |= KVM_SYNC_X86_REGS;
    if (parts & VS_SREGS) {
        /* KVM sets bits of interrupts that it was about to inject and never clears them in the
         * shared copy; written back, each would inject its interrupt once more. */
        memset(v->sregs->interrupt_bitmap, 0, sizeof v->sregs->interrupt_bitmap);
        v->run->kvm_dirty_regs |= KVM_SYNC_X86_SREGS;
    }
    if (parts & VS_EVENTS)
        v->run->kvm_dirty_regs |= KVM_SYNC_X86_EVENTS;
    v->debug_valid = false;
    v->idt_shown = false;
}

void vcpu_flush(struct vcpu *v)
{
    if (v->run->kvm_dirty_regs)
        vcpu_run_nothing(v);
}

void vcpu_refresh(struct vcpu *v)
{
    vcpu_run_nothing(v);
    sync_cr8(v);
}
