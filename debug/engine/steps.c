/*
 * One architectural instruction, whatever is planted or watched where the vCPU stands. vCPU
 * threads.
 */
#include "debug/engine/engine_int.h"

#include "debug/points/watch_run.h"
#include "vmm/insn_shape.h"
#include "vmm/onestep.h"

/* One with the traps lifted, of a vCPU that does not move. */
static bool lifted_step_made(struct engine *g, struct vcpu *v, const struct onestep_ops *ops,
                             struct onestep_info *info)
{
    struct exit_event kick = {.reason = EXIT_KICK};
    struct vcpu_debug none = {0};

    if (watch_recover(g, v, &kick, ops, info))
        return info->last.reason != EXIT_KICK;
    if (info->last.reason == KVM_EXIT_SHUTDOWN)
        engine_on_exit(g, v, &none, &info->last);
    return false;
}

/* What a step that ended oddly means. True when the instruction was carried out after all. */
static bool after_odd_step(struct engine *g, struct vcpu *v, const struct onestep_ops *ops,
                           const struct plant *lifted, struct onestep_info *info)
{
    struct vcpu_debug none = {0};
    struct exit_event ev = info->last;
    bool ours;

    if (info->last.reason == EXIT_KICK) /* KVM may make an access to a trapped page for ever */
        return watch_stands(g, v, &ev) && lifted_step_made(g, v, ops, info);
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

/* ---- bytes of ours in the instruction ---------------------------------------------------------
 */

/* Planted bytes from RIP on, as far as an instruction can reach: points may be at several of its
 * bytes. */
struct lifted {
    struct plant *plant[INSN_BYTES_MAX];
    unsigned count;
};

static void find_plants(struct engine *g, struct vcpu *v, struct lifted *l)
{
    uint64_t at = vcpu_linear_rip(v), gpa = 0;

    l->count = 0;
    for (unsigned i = 0; i < INSN_BYTES_MAX && g->points.plants; i++, gpa++) {
        struct plant *pl;

        if ((!i || !((at + i) & (PAGE_BYTES - 1))) && !engine_linear_to_gpa(v, at + i, &gpa))
            return;
        pl = points_plant(&g->points, gpa);
        if (pl && mem_ptr(&g->vm->mem, gpa, 1))
            l->plant[l->count++] = pl;
    }
}

bool engine_plants_ahead(struct engine *g, struct vcpu *v)
{
    struct lifted l;

    find_plants(g, v, &l);
    return l.count && l.plant[0] != engine_plant_here(g, v);
}

static void lift(struct engine *g, const struct lifted *l)
{
    for (unsigned i = 0; i < l->count; i++) {
        struct plant *pl = l->plant[i];
        uint8_t *hva = mem_ptr(&g->vm->mem, pl->gpa, 1);

        if (*hva != pl->byte)
            pl->original = *hva; /* the guest has put other code there */
        *hva = pl->original;
        pl->lifted = true;
    }
}

static void put_back(struct engine *g, const struct lifted *l)
{
    for (unsigned i = 0; i < l->count; i++) {
        struct plant *pl = l->plant[i];
        uint8_t *hva = mem_ptr(&g->vm->mem, pl->gpa, 1);

        if (*hva != pl->original)
            pl->original = *hva; /* the instruction rewrote itself */
        *hva = pl->byte;
        pl->lifted = false;
    }
}

bool engine_make_steps(struct engine *g, struct vcpu *v, struct onestep_info *info,
                       bool (*go_on)(void *arg, struct vcpu *v), enum traps traps)
{
    struct onestep_ops ops = {
        .arg = g,
        .saw = engine_saw,
        .undefined = g->assist_off ? NULL : engine_undefined,
        .again = go_on,
    };
    struct plant *pl;
    struct watches *w = &g->points.watches;
    uint64_t judged = g->judged[v->id];
    struct lifted lifted;
    enum onestep r;
    bool made, by_hand, alone;

    find_plants(g, v, &lifted);
    alone = lifted.count || g->vm->methods.step_enters_free; /* step_guard.h */
    g->before[v->id] = *v->regs;
    w->cpu[v->id].step_from = vcpu_linear_rip(v);
    g->judged[v->id] = UINT64_MAX;
    if (alone) {
        engine_alone_begin(g, v);
        find_plants(g, v, &lifted); /* who was alone before may have moved some */
    }
    pl = engine_plant_here(g, v);
    lift(g, &lifted);
    if (traps == TRAPS_LIFTED && w->trapped) {
        made = lifted_step_made(g, v, &ops, info);
        r = made ? ONE_DONE : ONE_OTHER;
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
    put_back(g, &lifted);
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
