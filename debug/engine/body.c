/*
 * The vCPU's loop while the guest runs. vCPU threads.
 */
#include "debug/engine/engine_int.h"

#include <stdio.h>

#include "debug/points/catch.h"
#include "debug/points/hooks.h"
#include "debug/points/pass.h"
#include "debug/points/watch_run.h"
#include "debug/stacks.h"
#include "vmm/onestep.h"

/* The interrupt that the next entry brings; its record is in the ring already. False: the guest
 * stops. */
static bool saw_injected(struct engine *g, struct vcpu *v)
{
    struct onestep_info info;
    struct exit_event ev;
    int vector = v->injected;

    vcpu_inject_event(v, (unsigned)v->injected, &ev);
    ev.at_ns = v->last_ns;
    exit_hooks_saw(g, v, &ev);
    if (g->points.catches)
        catch_exits(g, v, &ev);
    if (!g->report[v->id].present)
        return true;
    /* Shown at the handler's first instruction, not wherever its next exit is. */
    if (engine_one_step(g, v, &info) && g->report[v->id].info.kind == STOP_CATCH)
        g->report[v->id].info.vector = vector;
    engine_note_delivered(g, v, true);
    return false;
}

/* A vCPU that was running freely may come to be stepped or parked at a gate hook that has not had
 * its turn: nobody is to see the guest in a handler that it never entered. */
static bool left_at_hook(struct engine *g, struct vcpu *v)
{
    struct exit_event ev = {.reason = EXIT_KICK, .vcpu = (uint8_t)v->id};
    const struct plant *pl = engine_plant_here(g, v);

    return hook_taken_early(g, v, &ev) ||
           (pl && pl->hook && !engine_was_delivered(g, v) && hook_taken(g, v, &ev));
}

/* A vCPU that parks where a point is, before it could be hit there, hits it now: whoever goes on
 * from an instruction that was shown passes its points. Not while it halts: an interrupt may come
 * first and bring it here again. */
static void hit_while_parking(struct engine *g, struct vcpu *v)
{
    if (g->past[v->id] || g->judged[v->id] == vcpu_linear_rip(v) || v->wish != WISH_NONE ||
        vcpu_event_queued(v) || atomic_load(&v->idle) != VCPU_ACTIVE)
        return;
    g->judged[v->id] = vcpu_linear_rip(v);
    if (engine_points_here(g, v))
        g->past[v->id] = !engine_points_hit(g, v); /* they have counted */
}

/* After a step from `from`, whose points were dealt with: is it still to be stepped over, or would
 * they count twice? A kick may come before it, in it, and when only its event is left to deliver.
 */
static bool not_past(const struct vcpu *v, uint64_t from, bool made,
                     const struct onestep_info *info)
{
    return (!made || info->partial) && (vcpu_linear_rip(v) == from || vcpu_event_queued(v));
}

/* Steps over the instruction at a point that was dealt with. False: not yet. */
static bool go_past(struct engine *g, struct vcpu *v)
{
    struct plant *pl = engine_plant_here(g, v);
    uint64_t from = vcpu_linear_rip(v);
    struct onestep_info info;
    bool held = v->hold_irq, made;

    if (pl && !engine_register_here(g, v)) {
        enum pass passed = pass_plain(g, v, pl);

        engine_note_delivered(g, v, false);
        if (passed != PASS_NO)
            return passed == PASS_MADE;
    }
    v->hold_irq = true;
    made = engine_one_step(g, v, &info);
    engine_note_delivered(g, v, made && info.vector >= 0);
    v->hold_irq = held;
    vcpu_show_idt(v);
    vcpu_dr6_restore(v);
    if (watch_noted(g, v))
        watch_judge(g, v);
    return !not_past(v, from, made, &info);
}

/* One instruction of a run, with a look before and after it. False: it is still to be made. */
static bool run_one(struct engine *g, struct vcpu *v, enum traps traps, struct onestep_info *info)
{
    struct catch_before before;
    bool past = g->past[v->id], made;
    uint64_t from = vcpu_linear_rip(v);

    info->last.reason = EXIT_RUN;
    info->last.guest_ns = 0;
    if (left_at_hook(g, v))
        return true;
    g->past[v->id] = false;
    catch_look(g, v, &before);
    if (!past && engine_points_here(g, v)) {
        if (engine_points_hit(g, v))
            return true;
        past = true;
    }
    made = engine_make_steps(g, v, info, NULL, traps);
    g->past[v->id] = past && not_past(v, from, made, info);
    engine_note_delivered(g, v, made && info->vector >= 0);
    if (watch_noted(g, v))
        watch_judge(g, v);
    if (made && g->points.catch_steps)
        catch_changes(g, v, &before);
    if (made && g->points.catch_vectors && info->vector >= 0 && info->vector < 32)
        catch_exceptions(g, v, 1u << info->vector);
    return made;
}

/* Running while a watchpoint or catchpoint needs a look after each instruction. */
static void run_by_steps(struct engine *g, struct vcpu *v)
{
    struct onestep_info info;

    (void)run_one(g, v, TRAPS_STAY, &info);
    if (g->vm->probe.emulated || g->points.catch_vectors)
        hooks_refresh(g, v);
}

/* The vCPU may be held up by a trap, or by an instruction that KVM never ends. One whose steps do
 * not end either is stuck. */
static void step_standing(struct engine *g, struct vcpu *v)
{
    struct stuck *s = &g->stuck[v->id];
    struct onestep_info info;
    struct stuck_try try = {0};
    bool held = v->hold_irq;

    g->stands[v->id] = false;
    v->hold_irq = true;
    stuck_try_begin(&try, v);
    while (!run_one(g, v, TRAPS_LIFTED, &info) && info.last.reason != EXIT_KICK && s->stood &&
           !vcpu_parking(v))
        ;
    v->hold_irq = held;
    if (!g->report[v->id].present && stuck_tried(s, v, &try, &info.last))
        engine_report_stuck(g, v);
}

/* LIDT makes no exit. A guest that takes its first exception soon after it would take it unseen, so
 * until a caught exception has a handler the beginning is stepped; a guest that needs longer to get
 * there is only looked at now and then (session_loop.c's watch). */
#define AWAIT_STEPS 100000
static bool await_handlers(struct engine *g)
{
    return hooks_missing(g) && atomic_fetch_add(&g->hooks.steps, 1) < AWAIT_STEPS;
}

/* Judges what watchpoints have noted since; a stop decided before stays as it is. */
static enum verdict judged(struct engine *g, struct vcpu *v, enum verdict next)
{
    return watch_noted(g, v) && watch_judge(g, v) && next == GO ? STOPPED : next;
}

/* KVM made the loads of an instruction and refused it then, while they were being completed. */
static enum verdict on_refused(struct engine *g, struct vcpu *v, const struct vcpu_debug *want)
{
    struct exit_event ev = v->refused;
    enum verdict next;

    v->refused.reason = 0;
    engine_saw(g, v, &ev);
    next = engine_on_exit(g, v, want, &ev);
    next = judged(g, v, next);
    vcpu_commit(v, &ev);
    return next;
}

static bool follows_hooks(const struct engine *g, const struct vcpu *v)
{
    return g->vm->probe.emulated || g->points.pending || g->points.movable ||
           (g->points.catch_vectors | g->hooks.look[v->id].vectors);
}

/* A load from a trapped page may be the first half of a locked instruction, whose store belongs to
 * the same turn (watch_run.h), though nobody watches those bytes. */
static bool is_shared_load(const struct engine *g, const struct vcpu *v,
                           const struct exit_event *ev)
{
    return g->vm->cpus > 1 && v->unsettled && (ev->flags & EXIT_F_RAM) &&
           ev->reason == KVM_EXIT_MMIO && !ev->u.mmio.write;
}

/* One entry, and what its exit means. */
static enum verdict enter_once(struct engine *g, struct vcpu *v, const struct vcpu_debug *want,
                               struct exit_event *ev)
{
    enum verdict next;
    bool string;

    v->ram_stored = false;
    vcpu_enter(v, want, ev);
    engine_saw(g, v, ev);
    next = engine_on_exit(g, v, want, ev);
    v->refused.reason = 0;
    vcpu_settle_stack_loads(v);
    string = watch_noted(g, v) && watch_in_string(&g->points.watches, v);
    if (string) {
        vcpu_commit(v, ev); /* before the records of the rest */
        watch_finish_string(g, v);
        next = GO;
    }
    next = judged(g, v, next);
    if (is_shared_load(g, v, ev)) {
        vcpu_settle(v);
        next = judged(g, v, next);
    }
    watch_renew(g, v); /* may settle: a read-modify-write stores then */
    if (v->ram_stored && engine_trap_store(g, v, ev, next == STOPPED) == STOPPED)
        next = STOPPED;
    if (next == STOPPED)
        ev->flags |= EXIT_F_STOPPED;
    if (!string)
        vcpu_commit(v, ev);
    if (next == GO && v->refused.reason)
        next = on_refused(g, v, want);
    if (ev->reason != EXIT_KICK || !engine_was_delivered(g, v)) /* or it is there still */
        engine_note_delivered(g, v, false);
    return next;
}

/* An access to a trapped page leaves nothing to look at before the next entry but what others ask
 * for; points, catches and watches change only while this vCPU is parked or paused. */
static bool again_alike(struct engine *g, struct vcpu *v, const struct exit_event *ev)
{
    const struct watches *w = &g->points.watches;

    return (ev->flags & EXIT_F_RAM) && g->vm->cpus == 1 && !vcpu_asked(v) &&
           !vcpu_event_queued(v) && !w->stepped && !w->unguarded && !g->points.catch_vectors &&
           !g->stands[v->id] && !atomic_load_explicit(&g->points.look, memory_order_relaxed) &&
           !atomic_load_explicit(&g->stack_depth, memory_order_relaxed) &&
           (!follows_hooks(g, v) || hooks_same(g, v));
}

static bool deliver_past_traps(struct engine *g, struct vcpu *v)
{
    struct vcpu_debug none = {0};
    struct onestep_info info;

    if (watch_deliver(g, v, &info))
        return true;
    return info.last.reason == KVM_EXIT_SHUTDOWN &&
           engine_on_exit(g, v, &none, &info.last) == STOPPED;
}

static void body_once(struct engine *g, struct vcpu *v)
{
    struct cpu_job *job = &g->job[v->id];
    struct vcpu_debug want;
    struct exit_event ev;
    enum verdict next;
    uint64_t changes;

    if (atomic_load_explicit(&g->points.look, memory_order_relaxed))
        hooks_refresh(g, v);
    if (job->kind == JOB_STEP) {
        g->past[v->id] = false;
        engine_step_job(g, v, job);
        return;
    }
    if (g->stands[v->id]) {
        step_standing(g, v);
        return;
    }
    if (g->points.watches.stepped || g->points.catch_steps || g->points.step_points ||
        await_handlers(g)) {
        run_by_steps(g, v);
        return;
    }
    if (g->past[v->id]) {
        g->past[v->id] = !go_past(g, v);
        return;
    }
    if (v->idt_hidden) { /* it was stepped until a moment ago */
        vcpu_show_idt(v);
        vcpu_dr6_restore(v);
    }
    /* Before the entry, not after the exit: the instructions since the last free run may have been
     * stepped, and the guest's tables come to be meanwhile. */
    if (follows_hooks(g, v))
        hooks_refresh(g, v);
    if (deliver_past_traps(g, v))
        return;
    engine_want_debug(g, &want);
    g->judged[v->id] = UINT64_MAX;
    changes = g->points.changes; /* an access may move a point to a debug register */
    do
        next = enter_once(g, v, &want, &ev);
    while (next == GO && again_alike(g, v, &ev) && g->points.changes == changes);
    if (atomic_load_explicit(&g->stack_depth, memory_order_relaxed))
        stacks_put(g, v, &ev);
    engine_plant_again(g, v);
    g->past[v->id] = next == GO_PAST;
}

/* Completes the access in hand; the rest of a read-modify-write stores. */
static void settle_parking(struct engine *g, struct vcpu *v)
{
    struct exit_event ev = {.reason = EXIT_KICK, .rip = v->regs->rip, .cs_base = v->sregs->cs.base};

    v->ram_stored = false;
    vcpu_settle(v);
    if (v->ram_stored)
        (void)engine_trap_store(g, v, &ev, true);
}

/* An INIT took the vCPU away from where it stood; who stepped it is told when it does not start
 * again at once. */
static void took_init(struct engine *g, struct vcpu *v)
{
    struct stop_info *si;

    g->inits[v->id] = v->inits;
    g->past[v->id] = false;
    g->judged[v->id] = UINT64_MAX;
    engine_note_delivered(g, v, false);
    if (g->job[v->id].kind != JOB_STEP || atomic_load(&v->idle) != VCPU_WAIT_SIPI)
        return;
    si = engine_stop(g, v, STOP_STEP);
    if (si->kind == STOP_STEP)
        snprintf(si->text, sizeof si->text, "An INIT reset vCPU %u: it waits for its start-up IPI",
                 v->id);
}

void engine_body(void *arg, struct vcpu *v)
{
    struct engine *g = arg;

    engine_body_count(g, 1);
    hooks_look(g, v);
    v->hold_irq = g->job[v->id].kind == JOB_STEP && !g->step_irq;
    while (!vcpu_parking(v)) {
        if (atomic_load_explicit(&g->alone_wanted, memory_order_acquire))
            engine_alone_pause(g);
        int injected = v->injected;

        bool ready = vcpu_ready(v);

        if (v->inits != g->inits[v->id])
            took_init(g, v);
        if (!ready) {
            engine_check_dead(g, v);
            continue;
        }
        if (injected < 0 && v->injected >= 0 &&
            (exit_hooks_any(&g->exit_hooks) || g->points.catches) && !saw_injected(g, v))
            continue;
        /* What one vCPU's access passes through, or one's step is compared by, is shared by all. */
        if (g->vm->cpus == 1 || !(g->points.watches.trapped || g->points.watches.stepped)) {
            body_once(g, v);
        } else if (watch_turn_take(g, v)) {
            body_once(g, v);
            watch_turn_give(g);
        }
    }
    settle_parking(g, v);
    if (watch_noted(g, v))
        watch_judge(g, v); /* what the last access did is not lost with the stop */
    if (g->job[v->id].kind == JOB_RUN && !g->past[v->id] && v->injected < 0 &&
        g->judged[v->id] != vcpu_linear_rip(v))
        (void)left_at_hook(g, v);
    hit_while_parking(g, v);
    vcpu_show_idt(v);
    vcpu_dr6_restore(v);
    v->hold_irq = false;
    engine_body_count(g, -1);
}
