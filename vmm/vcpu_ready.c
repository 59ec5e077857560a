/*
 * What comes before a vCPU enters the guest: alarms that are due, INIT and start-up messages, NMIs
 * and interrupts given, sleep in HLT. The engine calls vcpu_ready on the vCPU's thread.
 */
#include "vmm/vcpu_int.h"

#include <errno.h>
#include <string.h>

#include "vmm/base/clock.h"
#include "vmm/base/log.h"
#include "vmm/devices/lapic.h"
#include "vmm/x86_boot.h"

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
    if (at != DOOR_NEVER)
        when.it_value = clock_timespec(at);
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

/* This thread alone writes its ring and counters, so no locked addition is needed. */
void vcpu_note(struct vcpu *v, struct exit_event *ev)
{
    _Atomic uint64_t *c = &v->counts[exit_counter(ev->reason)];

    ring_put(&v->ring, ev);
    atomic_store_explicit(c, atomic_load_explicit(c, memory_order_relaxed) + 1,
                          memory_order_relaxed);
}

void vcpu_event_here(const struct vcpu *v, unsigned reason, struct exit_event *ev)
{
    *ev = (struct exit_event){
        .at_ns = v->last_ns,
        .rip = v->regs->rip,
        .cs_base = v->sregs->cs.base,
        .cr3 = v->sregs->cr3,
        .reason = (uint16_t)reason,
        .vcpu = (uint8_t)v->id,
        .mode = (uint8_t)cpu_mode_of(v->sregs, v->regs->rflags),
        .cpl = (uint8_t)cpu_cpl(v->sregs),
    };
}

void vcpu_inject_event(const struct vcpu *v, unsigned vector, struct exit_event *ev)
{
    vcpu_event_here(v, EXIT_INJECT, ev);
    ev->u.inject.vector = vector;
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

    if (attn & CPU_ATTN_INIT)
        take_init(v);
    if (attn & CPU_ATTN_SIPI) {
        if (l->sipi_vector >= 0 && atomic_load(&v->idle) == VCPU_WAIT_SIPI)
            start_ap(v, (unsigned)l->sipi_vector);
        l->sipi_vector = -1; /* a SIPI to a running processor is ignored (SDM 3, "MP Init") */
    }
    if ((attn & CPU_ATTN_NMI) && !v->hold_irq && atomic_load(&v->idle) != VCPU_WAIT_SIPI) {
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
    vcpu_sleep(v);
    v->last_ns = ticks_sync(&v->ticks);
    return false;
}
