/*
 * One vCPU's thread and the primitives that run it. vm.c starts and commands it; the engine's body
 * calls vcpu_ready, vcpu_enter and vcpu_commit in a loop on this thread.
 */
#include "vmm/vcpu.h"

#include <errno.h>
#include <linux/futex.h>
#include <linux/kvm_para.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "vmm/access.h"
#include "vmm/base/clock.h"
#include "vmm/base/log.h"
#include "vmm/base/x.h"
#include "vmm/devices/lapic.h"
#include "vmm/native.h"
#include "vmm/x86_bits.h"
#include "vmm/x86_boot.h"

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

static __thread struct vcpu *self;

struct vcpu *vcpu_self(void)
{
    return self;
}

/* Not a real-time signal: those queue, one entry for each kick, in a queue that all processes of a
 * user share; while it is full kicks are lost and nobody can make a timer. SIGURG waits once
 * however often it is sent, and debuggers pass it on without a stop. */
#define SIG_KICK SIGURG

/* The only signal handler of vCPU threads: two stores. */
static void on_kick(int sig)
{
    (void)sig;
    if (self) {
        self->run->immediate_exit = 1;
        atomic_store(&self->kicked, 1);
    }
}

static long futex(_Atomic uint32_t *word, int op, uint32_t value)
{
    return syscall(SYS_futex, (uint32_t *)word, op, value, NULL, NULL, 0);
}

void vcpu_kick(struct vcpu *v)
{
    if (self == v)
        return; /* its own flags are looked at before the next entry anyway */
    atomic_store(&v->kicked, 1);
    futex(&v->kicked, FUTEX_WAKE_PRIVATE, 1);
    (void)pthread_kill(v->thread, SIG_KICK); /* fails only for a thread that has ended */
}

#define KICK_AGAIN_NS 20000000u
#define SHORT_RUN_NS  100000u
#define AWAKE_NS      100000u

bool vcpu_wait_a_while(pthread_cond_t *cond, pthread_mutex_t *lock)
{
    uint64_t until = clock_ns() + KICK_AGAIN_NS;
    struct timespec at = {.tv_sec = (time_t)(until / 1000000000u),
                          .tv_nsec = (long)(until % 1000000000u)};

    return pthread_cond_clockwait(cond, lock, CLOCK_MONOTONIC, &at) != ETIMEDOUT;
}

/* ---- time ------------------------------------------------------------------------------------ */

/* The earliest alarm in host time, told to the keeper's timer. Needs the machine lock. */
void vm_alarm_update(struct vm *vm)
{
    struct door *d = &vm->m.door;
    uint64_t next = door_next(d), at = DOOR_NEVER;
    struct itimerspec when = {0};

    if (next != DOOR_NEVER && d->running)
        at = door_host_time(d, next);
    if (at == atomic_load(&vm->alarm_host_ns))
        return;
    atomic_store(&vm->alarm_host_ns, at);
    if (at != DOOR_NEVER) {
        when.it_value.tv_sec = (time_t)(at / 1000000000u);
        when.it_value.tv_nsec = (long)(at % 1000000000u);
    }
    if (timer_settime(vm->cpu[atomic_load(&vm->keeper)]->timer, TIMER_ABSTIME, &when, NULL) < 0)
        log_error("cannot set the alarm timer: %s", strerror(errno));
}

static void run_alarms(struct vm *vm)
{
    pthread_mutex_lock(&vm->m.lock);
    door_run_alarms(&vm->m.door);
    atomic_store(&vm->alarm_host_ns, 0); /* it fired: whatever comes next is new to the timer */
    vm_alarm_update(vm);
    pthread_mutex_unlock(&vm->m.lock);
}

/* ---- before the guest is entered ------------------------------------------------------------- */

static void start_ap(struct vcpu *v, unsigned vector)
{
    x86_sipi_state((uint8_t)vector, v->vm->signature, v->sregs, v->regs);
    vcpu_dirty(v, VS_REGS | VS_SREGS);
    atomic_store(&v->idle, VCPU_ACTIVE);
}

static void take_init(struct vcpu *v)
{
    lapic_init_cpu(&v->vm->m, v->id);
    v->events->exception.injected = v->events->exception.pending = 0;
    v->events->interrupt.injected = 0;
    v->events->nmi.injected = v->events->nmi.pending = v->events->nmi.masked = 0;
    v->idt_hidden = false; /* the one that a step hid is gone */
    v->inits++;
    x86_reset_state(v->vm->signature, v->sregs, v->regs);
    vcpu_dirty(v, VS_REGS | VS_SREGS | VS_EVENTS);
    atomic_store(&v->idle, v->id == 0 ? VCPU_ACTIVE : VCPU_WAIT_SIPI);
}

static unsigned counter_of(unsigned reason)
{
    if (reason >= EXIT_OUR_FIRST)
        return 64 + (reason - EXIT_OUR_FIRST) % 16;
    return reason < 63 ? reason : 63;
}

/* This thread alone writes its ring and counters, so no locked addition is needed. */
void vcpu_note(struct vcpu *v, struct exit_event *ev)
{
    _Atomic uint64_t *c = &v->counts[counter_of(ev->reason)];

    ring_put(&v->ring, ev);
    atomic_store_explicit(c, atomic_load_explicit(c, memory_order_relaxed) + 1,
                          memory_order_relaxed);
}

void vcpu_inject_event(const struct vcpu *v, unsigned vector, struct exit_event *ev)
{
    *ev = (struct exit_event){
        .rip = v->regs->rip,
        .cs_base = v->sregs->cs.base,
        .cr3 = v->sregs->cr3,
        .reason = EXIT_INJECT,
        .vcpu = (uint8_t)v->id,
        .mode = (uint8_t)cpu_mode_of(v->sregs, v->regs->rflags),
        .cpl = (uint8_t)cpu_cpl(v->sregs),
        .u.inject = {.vector = vector},
    };
}

static void note_injected(struct vcpu *v, unsigned vector, bool nmi)
{
    struct exit_event ev;

    vcpu_inject_event(v, vector, &ev);
    ev.at_ns = ticks_ns(&v->ticks);
    ev.u.inject.kind = nmi;
    ev.u.inject.line = nmi ? 0 : (uint16_t)v->vm->m.cpu[v->id].line;
    vcpu_note(v, &ev);
}

/* INIT, SIPI and NMI. Needs the machine lock. */
static void take_signals(struct vcpu *v, unsigned attn)
{
    struct cpu_lines *l = &v->vm->m.cpu[v->id];

    if (attn & CPU_ATTN_INIT) {
        l->init = false;
        take_init(v);
    }
    if (attn & CPU_ATTN_SIPI) {
        if (l->sipi_vector >= 0 && atomic_load(&v->idle) == VCPU_WAIT_SIPI)
            start_ap(v, (unsigned)l->sipi_vector);
        l->sipi_vector = -1; /* a SIPI to a running processor is ignored (SDM 3, "MP Init") */
    }
    if ((attn & CPU_ATTN_NMI) && !v->hold_irq && atomic_load(&v->idle) != VCPU_WAIT_SIPI) {
        l->nmi = false;
        vcpu_flush(v);
        if (kvm_nmi(v->fd) < 0)
            log_error("vCPU %u did not take an NMI", v->id);
        else
            note_injected(v, 2, true);
        atomic_store(&v->idle, VCPU_ACTIVE);
        atomic_fetch_and(&l->attention, ~CPU_ATTN_NMI);
    }
    atomic_fetch_and(&l->attention, ~(attn & (CPU_ATTN_INIT | CPU_ATTN_SIPI)));
}

/* KVM's word that an interrupt can be given dates from the last exit: an event that was queued or
 * flags that were changed since come first. */
static bool may_interrupt(const struct vcpu *v)
{
    if (v->events->interrupt.injected || v->events->exception.injected ||
        v->events->exception.pending)
        return false;
    return !v->run->kvm_dirty_regs || (v->regs->rflags & 0x200);
}

/* Gives the next interrupt, or asks KVM for a window. Needs the machine lock. */
static void take_interrupt(struct vcpu *v)
{
    struct machine *m = &v->vm->m;
    int vector = intr_vector(m, v->id);

    v->run->request_interrupt_window = 0;
    if (vector < 0) {
        atomic_fetch_and(&m->cpu[v->id].attention, ~CPU_ATTN_INTR);
        v->irq_pending_ns = 0;
        return;
    }
    /* A halted vCPU goes on by an interrupt or not at all, held or not. */
    if (v->hold_irq && atomic_load(&v->idle) != VCPU_HALTED)
        return;
    if (atomic_load(&v->idle) == VCPU_HALTED && v->run->if_flag)
        atomic_store(&v->idle, VCPU_ACTIVE);
    if (!v->run->ready_for_interrupt_injection || !may_interrupt(v)) {
        v->run->request_interrupt_window = 1;
        if (!v->irq_pending_ns)
            v->irq_pending_ns = v->last_ns;
        return;
    }
    vector = intr_ack(m, v->id);
    if (vector < 0)
        return;
    vcpu_flush(v);
    if (kvm_interrupt(v->fd, (unsigned)vector) < 0) {
        log_error("vCPU %u did not take interrupt %d", v->id, vector);
        return;
    }
    v->run->ready_for_interrupt_injection = 0; /* one at a time, until KVM says so again */
    v->irq_pending_ns = 0;
    v->injected = vector;
    note_injected(v, (unsigned)vector, false);
    v->run->request_interrupt_window = intr_vector(m, v->id) >= 0;
}

static void look_outside(struct vcpu *v, unsigned attn)
{
    struct machine *m = &v->vm->m;

    pthread_mutex_lock(&m->lock);
    take_signals(v, attn);
    if (!m->irqchip_kernel)
        take_interrupt(v);
    pthread_mutex_unlock(&m->lock);
}

static bool alarm_due(const struct vcpu *v)
{
    return atomic_load_explicit(&v->vm->alarm_host_ns, memory_order_relaxed) <= v->last_ns &&
           atomic_load(&v->vm->keeper) == v->id;
}

bool vcpu_asked(const struct vcpu *v)
{
    return atomic_load_explicit(&v->park, memory_order_relaxed) ||
           atomic_load_explicit(&v->kicked, memory_order_relaxed) || alarm_due(v) ||
           atomic_load_explicit(&v->vm->m.cpu[v->id].attention, memory_order_relaxed) ||
           atomic_load_explicit(&v->idle, memory_order_relaxed) != VCPU_ACTIVE;
}

bool vcpu_ready(struct vcpu *v)
{
    struct vm *vm = v->vm;
    unsigned attn;

    v->run->immediate_exit = 0;
    if (atomic_load_explicit(&v->kicked, memory_order_relaxed)) { /* a locked store is not free */
        atomic_store(&v->kicked, 0);
        v->last_ns = ticks_sync(&v->ticks); /* it may have been the alarm's */
    }
    if (vcpu_parking(v))
        return false;
    if (alarm_due(v))
        run_alarms(vm);
    attn = atomic_load(&vm->m.cpu[v->id].attention);
    if (attn)
        look_outside(v, attn);
    if (atomic_load_explicit(&v->idle, memory_order_relaxed) == VCPU_ACTIVE)
        return true;
    /* Sleeps until a kick: interrupts, alarms (the timer's signal) and parking all kick. */
    futex(&v->kicked, FUTEX_WAIT_PRIVATE, 0);
    v->last_ns = ticks_sync(&v->ticks);
    return false;
}

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
    } else if (rc < 0) {
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

/* KVM_RUN that executes nothing: completes an access, applies dirty registers, refreshes copies. */
static int run_nothing(struct vcpu *v)
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

/* Steps an emulated vCPU up to a point where a waiting interrupt can be given. True when that is
 * all that happened; false leaves another exit for the caller to report. */
static bool step_to_window(struct vcpu *v, const struct vcpu_debug *want, int *rc)
{
    struct vcpu_debug stepping = *want;

    stepping.step = true;
    v->run->request_interrupt_window = 0;
    for (unsigned i = 0; i < STARVED_STEPS; i++) {
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

void vcpu_settle_to(struct vcpu *v, bool (*enough)(void *arg, struct vcpu *v), void *arg)
{
    unsigned ram = 0;

    v->refused.reason = 0;
    for (unsigned i = 0; v->unsettled && i - ram < SETTLE_RUNS_MAX && ram < SETTLE_RAM_MAX; i++) {
        struct exit_event part = {0};
        int rc;

        rc = run_nothing(v);
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
        run_nothing(v);
}

void vcpu_refresh(struct vcpu *v)
{
    run_nothing(v);
    sync_cr8(v);
}

/* ---- thread ---------------------------------------------------------------------------------- */

static int setup_kvm(struct vcpu *v, const struct cpuid_table *cpuid)
{
    struct vm *vm = v->vm;
    int bytes, rc;

    v->fd = kvm_create_vcpu(vm->fd, v->id);
    if (v->fd < 0)
        return v->fd;
    bytes = kvm_vcpu_mmap_bytes(vm->kvm);
    if (bytes < 0)
        return bytes;
    v->run_bytes = (size_t)bytes;
    v->run = mmap(NULL, v->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
    if (v->run == MAP_FAILED) {
        v->run = NULL;
        return -errno;
    }
    v->regs = &v->run->s.regs.regs;
    v->sregs = &v->run->s.regs.sregs;
    v->events = &v->run->s.regs.events;
    rc = kvm_set_cpuid(v->fd, cpuid);
    if (rc < 0)
        return rc;
    rc = run_nothing(v); /* fills the shared registers */
    return rc == 0 || rc == -EINTR ? 0 : rc;
}

static int make_timer(struct vcpu *v)
{
    struct sigevent se = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIG_KICK};

    se._sigev_un._tid = (pid_t)syscall(SYS_gettid);
    if (timer_create(CLOCK_MONOTONIC, &se, &v->timer) < 0)
        return -errno;
    v->timer_made = true;
    return 0;
}

/* Under vm->ctl. */
static void rest(struct vcpu *v)
{
    if (v->vm->m.irqchip_kernel)
        v->idle_inside = vcpu_ask_idle(v);
    v->parked = true;
}

/* Who steps wants the next step soon. */
static void wait_awake(struct vcpu *v, uint64_t began_ns)
{
    struct awake *a = &v->awake;

    awake_begin(a, AWAKE_NS);
    if (a->now_ns - began_ns > SHORT_RUN_NS)
        return;
    while (!atomic_load_explicit(&v->wanted, memory_order_relaxed) && awake_on(a))
        ;
}

static void *thread_main(void *arg)
{
    struct vcpu *v = arg;
    struct vm *vm = v->vm;
    int rc = setup_kvm(v, v->cpuid);
    uint64_t began;

    if (rc == 0)
        rc = make_timer(v);
    ticks_init(&v->ticks);
    self = rc == 0 ? v : NULL;
    pthread_mutex_lock(&vm->ctl);
    v->start_rc = rc;
    rest(v);
    pthread_cond_broadcast(&vm->acked);
    while (rc == 0) {
        while (!v->go && !v->call && !v->quit)
            pthread_cond_wait(&v->wake, &vm->ctl);
        if (v->quit)
            break;
        atomic_store(&v->wanted, false);
        pthread_mutex_unlock(&vm->ctl);
        if (v->call) {
            v->call(v->call_arg, v);
            pthread_mutex_lock(&vm->ctl);
            v->call = NULL;
            rest(v);
        } else {
            v->last_ns = began = ticks_sync(&v->ticks);
            vm->cfg.body(vm->cfg.arg, v);
            pthread_mutex_lock(&vm->ctl);
            v->go = false;
            rest(v);
            atomic_fetch_sub(&vm->running, 1);
            pthread_mutex_unlock(&vm->ctl);
            vm->cfg.parked(vm->cfg.arg, v);
            pthread_cond_broadcast(&vm->acked);
            wait_awake(v, began);
            pthread_mutex_lock(&vm->ctl);
        }
        pthread_cond_broadcast(&vm->acked);
    }
    pthread_mutex_unlock(&vm->ctl);
    self = NULL;
    return NULL;
}

static int start_thread(struct vcpu *v)
{
    struct sigaction sa = {.sa_handler = on_kick};
    sigset_t block, old;
    int rc;

    sigemptyset(&sa.sa_mask);
    if (sigaction(SIG_KICK, &sa, NULL) < 0)
        return -errno;
    /* Every signal but the kick belongs to the main thread. */
    sigfillset(&block);
    sigdelset(&block, SIG_KICK);
    sigdelset(&block, SIGSEGV);
    sigdelset(&block, SIGBUS);
    sigdelset(&block, SIGFPE);
    sigdelset(&block, SIGILL);
    sigdelset(&block, SIGABRT);
    pthread_sigmask(SIG_SETMASK, &block, &old);
    rc = -pthread_create(&v->thread, NULL, thread_main, v);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return rc;
}

int vcpu_start(struct vm *vm, unsigned id, const struct cpuid_table *cpuid, struct err *e)
{
    struct vcpu *v = xcalloc(1, sizeof *v);
    int rc;

    v->vm = vm;
    v->id = id;
    v->fd = v->injected = -1;
    v->cpuid = cpuid;
    pthread_cond_init(&v->wake, NULL);
    ring_init(&v->ring, vm->cfg.ring_records);
    rc = start_thread(v);
    if (rc == 0) {
        pthread_mutex_lock(&vm->ctl);
        while (!v->parked)
            pthread_cond_wait(&vm->acked, &vm->ctl);
        rc = v->start_rc;
        pthread_mutex_unlock(&vm->ctl);
        v->started = true;
    }
    vm->cpu[id] = v;
    v->cpuid = NULL;
    if (rc < 0)
        return err_set(e, -rc, "cannot make vCPU %u: %s", id, strerror(-rc));
    return 0;
}

void vcpu_end(struct vcpu *v)
{
    struct vm *vm = v->vm;

    if (v->started) {
        pthread_mutex_lock(&vm->ctl);
        v->quit = true;
        atomic_store(&v->wanted, true);
        pthread_cond_signal(&v->wake);
        pthread_mutex_unlock(&vm->ctl);
        pthread_join(v->thread, NULL);
    }
    if (v->timer_made)
        timer_delete(v->timer);
    native_free(v->native);
    if (v->run)
        munmap(v->run, v->run_bytes);
    if (v->fd >= 0)
        close(v->fd);
    ring_fini(&v->ring);
    pthread_cond_destroy(&v->wake);
    free(v);
}
