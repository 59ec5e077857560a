/*
 * One architectural instruction, whatever is planted or watched where the vCPU stands. vCPU
 * threads.
 */
#include "debug/engine/engine_int.h"

#include "debug/points/watch_run.h"
#include "vmm/onestep.h"

/* What a step that ended oddly means. True when the instruction was carried out after all. */
static bool after_odd_step(struct engine *g, struct vcpu *v, const struct onestep_ops *ops,
                           const struct plant *lifted, struct onestep_info *info)
{
    struct vcpu_debug none = {0};
    struct exit_event ev = info->last;
    bool ours;

    if (info->last.reason == EXIT_KICK)
        return false;
    if (info->last.reason == KVM_EXIT_INTERNAL_ERROR &&
        engine_assisted_step(g, v, ops, lifted, info))
        return true;
    /* A refusal at a planted byte is no trap's fault, but where the step began it is lifted. */
    ours = info->last.reason == KVM_EXIT_INTERNAL_ERROR && engine_plant_here(g, v) &&
           vcpu_linear_rip(v) != g->points.watches.cpu[v->id].step_from;
    if (!ours && watch_recover(g, v, &ev, ops, info))
        return info->last.reason != EXIT_KICK;
    engine_on_exit(g, v, &none, &info->last);
    return false;
}

void engine_plant_again(struct engine *g, struct vcpu *v)
{
    if (!g->points.watches.unguarded || !points_overwritten(&g->points, &g->looked[v->id]))
        return;
    engine_alone_begin(g, v);
    points_reassert(&g->points);
    engine_alone_end(g);
}

/* A step that KVM says it made, but did not. */
static bool step_stood(struct engine *g, struct vcpu *v, const struct kvm_regs *before,
                       const struct onestep_ops *ops, struct onestep_info *info)
{
    struct exit_event ev = {.reason = EXIT_KICK};
    struct stuck *s = &g->stuck[v->id];

    if (!stuck_stood(s, v, before))
        return false;
    /* An emulating KVM does some accesses (SGDT's) again and again when the page is trapped. */
    if (watch_recover(g, v, &ev, ops, info)) {
        s->stood = 0;
        return info->last.reason == EXIT_KICK;
    }
    if (s->stood >= STUCK_STOOD_MAX) {
        s->stood = 0;
        engine_report_stuck(g, v);
    }
    return true;
}

bool engine_make_steps(struct engine *g, struct vcpu *v, struct onestep_info *info,
                       bool (*go_on)(void *arg, struct vcpu *v), enum traps traps)
{
    struct onestep_ops ops = {
        .arg = g, .saw = engine_saw, .undefined = engine_undefined, .again = go_on};
    struct plant *pl = engine_plant_here(g, v);
    uint8_t *hva = pl ? mem_ptr(&g->vm->mem, pl->gpa, 1) : NULL;
    bool alone = hva || g->vm->methods.step_enters_free; /* step_guard.h */
    struct watches *w = &g->points.watches;
    uint64_t judged = g->judged[v->id];
    enum onestep r;
    bool made, by_hand;

    g->before[v->id] = *v->regs;
    w->cpu[v->id].step_from = vcpu_linear_rip(v);
    g->judged[v->id] = UINT64_MAX;
    if (alone)
        engine_alone_begin(g, v);
    if (hva && *hva != pl->byte)
        pl->original = *hva; /* the guest has put other code there */
    if (hva) {
        *hva = pl->original;
        pl->lifted = true;
    }
    if (traps == TRAPS_LIFTED && w->trapped) {
        struct exit_event kick = {.reason = EXIT_KICK};

        r = watch_recover(g, v, &kick, &ops, info) && info->last.reason != EXIT_KICK ? ONE_DONE
                                                                                     : ONE_OTHER;
        made = r == ONE_DONE;
    } else {
        by_hand = w->trapped && vcpu_steps_by_hand(v);
        if (by_hand)
            watch_expect_all(w, v);
        else if (w->stepped || v->data.dr7)
            watch_expect(w, v);
        r = vcpu_onestep(v, &ops, info);
        if (w->stepped || by_hand)
            watch_expected(w, v, r != ONE_OTHER && (info->vector < 0 || info->trapped));
        if (w->stepped && r == ONE_DONE && info->vector >= 0)
            watch_entered(w, v);
        made = r != ONE_OTHER || after_odd_step(g, v, &ops, pl, info);
    }
    if ((made && !info->partial && info->vector < 0) ||
        (!made && info->last.reason == KVM_EXIT_MMIO && (info->last.flags & EXIT_F_RAM)))
        made = !step_stood(g, v, &g->before[v->id], &ops, info) && made;
    if (hva) {
        if (*hva != pl->original)
            pl->original = *hva; /* the instruction rewrote itself */
        *hva = pl->byte;
        pl->lifted = false;
    }
    if (alone)
        engine_alone_end(g);
    engine_plant_again(g, v);
    if (r == ONE_HALT)
        engine_check_dead(g, v);
    if (w->stepped)
        watch_compare(w, v);
    w->cpu[v->id].step_from = 0;
    if (!made || info->partial)
        g->judged[v->id] = judged; /* it still stands there */
    return made;
}

bool engine_one_step(struct engine *g, struct vcpu *v, struct onestep_info *info)
{
    return engine_make_steps(g, v, info, NULL, TRAPS_STAY);
}
