/*
 * What an exit means that no device answers: a point, the guest debugging itself, a refusal, an
 * end. vCPU threads.
 */
#include "debug/engine/engine_int.h"

#include "debug/points/catch.h"
#include "debug/points/hooks.h"
#include "debug/points/watch_run.h"
#include "vmm/deliver.h"
#include "vmm/insn_head.h"
#include "vmm/onestep.h"
#include "vmm/transfer.h"
#include "vmm/x86_bits.h"

/* The guest's own int3, seen because ours leave the guest too: it takes its #BP. As an interrupt,
 * past the byte: a KVM without the processor's help at the next RIP gives the exception itself at
 * the byte now and then, which then happens twice. */
static enum verdict give_back_int3(struct engine *g, struct vcpu *v, const struct exit_event *ev)
{
    struct assist_event bp = {.vector = 3, .is_interrupt = true, .is_soft = true, .insn_len = 1};

    v->regs->rip++;
    return engine_give(g, v, &bp, ev);
}

/* Behind prefixes it may be a byte of ours, at an instruction's second byte. */
static bool is_own_int3(struct vcpu *v)
{
    struct insn_head h;

    insn_head_read(v, &h);
    return h.n && h.opcode_at == 0;
}

/* The guest's own trap flag has had its instruction. */
static enum verdict give_trap(struct engine *g, struct vcpu *v, const struct exit_event *ev)
{
    vcpu_dr6_add(v, DR6_BS);
    return engine_give(g, v, &(struct assist_event){.vector = 1}, ev);
}

enum verdict engine_trap_store(struct engine *g, struct vcpu *v, const struct exit_event *ev,
                               bool parks)
{
    if (!(v->regs->rflags & RFLAGS_TF))
        return GO;
    vcpu_settle(v);
    if (!parks)
        return give_trap(g, v, ev);
    vcpu_dr6_add(v, DR6_BS);
    event_queue(v, &(struct assist_event){.vector = 1});
    return GO;
}

void engine_note_delivered(struct engine *g, struct vcpu *v, bool yes)
{
    g->delivered[v->id].rip = yes ? vcpu_linear_rip(v) : UINT64_MAX;
    g->delivered[v->id].rsp = v->regs->rsp;
}

bool engine_was_delivered(const struct engine *g, const struct vcpu *v)
{
    return g->delivered[v->id].rip == vcpu_linear_rip(v) && g->delivered[v->id].rsp == v->regs->rsp;
}

/* A gate hook has put the vCPU back into ring 3: at a planted int3, or carried out its call. An
 * interrupt that it queued comes before the instruction at RIP, and so before a point there. */
static enum verdict on_hooked(struct engine *g, struct vcpu *v)
{
    const struct plant *pl = engine_plant_here(g, v);

    if (vcpu_event_queued(v) || !pl || pl->hook) /* the next hook has its turn at the next entry */
        return GO;
    return engine_points_hit(g, v) ? STOPPED : GO_PAST;
}

/* The vCPU stands at a byte of ours: a gate hook, a point, or both. */
static enum verdict on_plant(struct engine *g, struct vcpu *v, const struct plant *pl,
                             struct exit_event *ev)
{
    bool stops = false;

    if (pl->hook) {
        if (!engine_was_delivered(g, v) && hook_taken(g, v, ev))
            return on_hooked(g, v);
        stops = catch_exceptions(g, v, hook_vectors_here(g, v));
    }
    return engine_points_hit(g, v) || stops ? STOPPED : GO_PAST;
}

/* A debug register makes each entry of an emulating KVM dear, and must be taken back for the step
 * past it. A point that the guest passes all the time had better be a byte. */
#define OFTEN 64
static void leave_registers(struct engine *g, const struct vcpu *v)
{
    for (unsigned i = 0; i < g->points.dr_usable; i++) {
        const struct bp *b = g->points.dr_owner[i];

        /* With several vCPUs each pass over a byte makes the others wait; without paging code and
         * data tend to share pages, and writes to the page of a byte are trapped. */
        if (b && b->pub.spec.addr == vcpu_linear_rip(v) && g->vm->probe.emulated &&
            g->vm->cpus == 1 && v->sregs->cr0 >> 31 &&
            (atomic_load(&b->hits) + atomic_load(&b->false_hits)) % OFTEN == OFTEN - 1 &&
            points_guards(&g->points, b) && points_leave_dr(&g->points, i))
            points_guard(&g->points);
    }
}

static enum verdict on_debug(struct engine *g, struct vcpu *v, const struct vcpu_debug *want,
                             struct exit_event *ev)
{
    unsigned data = v->data.dr7 ? watch_dr_bits(&g->points.watches) : 0;
    const struct plant *pl;

    if (ev->u.debug.exception == 3) {
        pl = engine_plant_here(g, v);
        if (pl)
            return on_plant(g, v, pl, ev);
        return is_own_int3(v) || !engine_plants_ahead(g, v) ? give_back_int3(g, v, ev) : GO_PAST;
    }
    /* The guest steps itself, which is seen because points of ours are on. One at the instruction
     * that comes next has its turn when the guest is back from its handler. */
    if ((ev->u.debug.dr6 & DR6_BS) && !want->step)
        return give_trap(g, v, ev);
    if (ev->u.debug.dr6 & (want->dr7 ? 0xf : 0) & ~data) {
        pl = engine_plant_here(g, v);
        if (pl && pl->hook) /* whose byte would have been next: the call may not be the guest's */
            return on_plant(g, v, pl, ev);
        if (engine_points_hit(g, v))
            return STOPPED;
        leave_registers(g, v);
        return GO_PAST;
    }
    return GO;
}

/* After a kick: has the vCPU not moved for a while? Then it is stepped (body.c, step_standing) with
 * the traps lifted. That is right wherever it is, so that the clock decides no more than when to
 * try. */
static void look_whether_stands(struct engine *g, struct vcpu *v, const struct exit_event *ev)
{
    bool traps = watch_stands(g, v, ev);
    bool stuck = atomic_load(&v->idle) == VCPU_ACTIVE && stuck_suspect(&g->stuck[v->id], v);

    g->stands[v->id] = (traps || stuck) && !vcpu_sleeps_inside(v);
}

/* Does an event still wait that the entry was to deliver? The #UD that processors' KVM queues along
 * with its refusal is none. */
static bool undelivered(const struct vcpu *v)
{
    return v->events->interrupt.injected ||
           (v->events->exception.injected && v->events->exception.nr != 6);
}

/* An access to a trapped page may be that of an event's delivery, made again and again. */
static bool moved_on(const struct watch_cpu *c, const struct vcpu *v, const struct exit_event *ev)
{
    return c->kicked && (ev->reason != KVM_EXIT_MMIO || !stuck_same(&c->kicked_regs, v->regs));
}

/* Exits that ask for nothing, or that were served before (vcpu.c). To enter again after any other
 * would mean the same exit for ever. */
static bool is_answered(unsigned reason)
{
    switch (reason) {
    case KVM_EXIT_IO:
    case KVM_EXIT_MMIO:
    case KVM_EXIT_X86_RDMSR:
    case KVM_EXIT_X86_WRMSR:
    case KVM_EXIT_HYPERCALL:
    case KVM_EXIT_IRQ_WINDOW_OPEN:
    case KVM_EXIT_INTR:
    case KVM_EXIT_NMI:
    case KVM_EXIT_SET_TPR:
    case KVM_EXIT_TPR_ACCESS:
    case KVM_EXIT_IOAPIC_EOI:
    case KVM_EXIT_DIRTY_RING_FULL:
    case KVM_EXIT_X86_BUS_LOCK:
    case KVM_EXIT_NOTIFY:
    case EXIT_ASSIST:
    case EXIT_RUN: /* a step that needed no entry */
        return true;
    default:
        return false;
    }
}

/* Past the trap that a refusal may be of, or told. With the traps lifted the guest may have come to
 * its end. */
static enum verdict on_refusal(struct engine *g, struct vcpu *v, const struct onestep_ops *ops,
                               struct exit_event *ev)
{
    struct onestep_info info;

    info.last.reason = EXIT_RUN; /* no exit yet */
    if (watch_recover(g, v, ev, ops, &info))
        return GO;
    if (info.last.reason == KVM_EXIT_SHUTDOWN)
        engine_report_shutdown(g, v, &info.last);
    else
        engine_report_exit(g, v, STOP_INTERNAL_ERROR, ev);
    return STOPPED;
}

static enum verdict on_exit(struct engine *g, struct vcpu *v, const struct vcpu_debug *want,
                            struct exit_event *ev)
{
    struct onestep_ops ops = {.arg = g, .saw = engine_saw};
    struct onestep_info info;
    enum verdict next;
    const char *kind;
    struct plant *pl;

    if (ev->reason != EXIT_KICK) { /* it gets on, wherever the next kick finds it */
        if (!(ev->flags & EXIT_F_RAM))
            stuck_clear(&g->stuck[v->id]);
        if (moved_on(&g->points.watches.cpu[v->id], v, ev))
            g->points.watches.cpu[v->id].kicked = false;
    }
    switch (ev->reason) {
    case KVM_EXIT_DEBUG:
        return on_debug(g, v, want, ev);
    case KVM_EXIT_INTERNAL_ERROR:
        if (undelivered(v)) /* refused was its frame */
            return on_refusal(g, v, &ops, ev);
        pl = engine_plant_here(g, v);
        if (pl && pl->hook && (kind = hook_paging(g, v))) {
            engine_report_paging(g, v, kind);
            return STOPPED;
        }
        if (pl) {
            ev->flags |= EXIT_F_OURS;
            return on_plant(g, v, pl, ev);
        }
        /* Code in a trapped page: points there have not been asked yet. */
        if (!ev->u.internal.insn_len && g->points.watches.trapped &&
            (engine_register_here(g, v) || engine_stepped_here(g, v)))
            return engine_points_hit(g, v) ? STOPPED : GO_PAST;
        if (engine_plants_ahead(g, v))
            return GO_PAST;
        if (engine_assisted(g, v, ev, &next))
            return next;
        return on_refusal(g, v, &ops, ev);
    case KVM_EXIT_SHUTDOWN:
        if (hook_taken_early(g, v, ev)) /* its frame could not be pushed, and need not be */
            return on_hooked(g, v);
        if (watch_recover(g, v, ev, &ops, &info))
            return GO;
        engine_report_shutdown(g, v, ev);
        return STOPPED;
    case KVM_EXIT_HLT:
        engine_check_dead(g, v);
        return GO;
    case EXIT_KICK:
        vcpu_forget_fault(v);
        engine_check_kernel_halt(g, v);
        if (engine_spun(g, v, ev, &next))
            return next;
        look_whether_stands(g, v, ev);
        return GO;
    case KVM_EXIT_SYSTEM_EVENT:
        if (ev->u.system.type == KVM_SYSTEM_EVENT_SHUTDOWN)
            engine_stop(g, v, STOP_POWER_OFF);
        else if (ev->u.system.type == KVM_SYSTEM_EVENT_RESET)
            engine_stop(g, v, STOP_RESET);
        else
            engine_report_exit(g, v, STOP_HOST_ERROR, ev);
        return STOPPED;
    default:
        if (is_answered(ev->reason))
            return GO;
        engine_report_exit(g, v, STOP_HOST_ERROR, ev);
        return STOPPED;
    }
}

enum verdict engine_on_exit(struct engine *g, struct vcpu *v, const struct vcpu_debug *want,
                            struct exit_event *ev)
{
    bool was_assist = ev->reason == EXIT_ASSIST; /* a step's, told already */
    enum verdict next = on_exit(g, v, want, ev);

    if (ev->reason == EXIT_ASSIST && !was_assist)
        engine_tell(g, v, ev);
    return next;
}
