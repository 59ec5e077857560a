/*
 * Which points are at the instruction about to execute, and what reaching one means: conditions,
 * counts, and the stop. vCPU threads.
 */
#include "debug/engine/engine_int.h"

#include <stdio.h>
#include <string.h>

#include "debug/points/watch_rest.h"
#include "vmm/base/le.h"

static enum stop_kind kind_of(const struct point_spec *spec)
{
    if (spec->hidden)
        return STOP_TEMPORARY;
    return spec->kind == POINT_WATCH   ? STOP_WATCHPOINT
           : spec->kind == POINT_CATCH ? STOP_CATCH
                                       : STOP_BREAKPOINT;
}

/* What the point does instead of stopping the guest. False: it stops. */
static bool point_acts(struct engine *g, struct vcpu *v, struct bp *b, struct exit_event *ev,
                       const char *detail, const char **why)
{
    const struct point_spec *spec = &b->pub.spec;

    if (spec->action == DO_LOG)
        engine_log_point(g, v, b, ev, detail);
    if (spec->action == DO_LOG || spec->action == DO_COUNT)
        return true;
    return spec->hit && !exit_hook_point(g, v, ev, spec->hit, spec->hit_arg, why);
}

/* Is this hit one of those to be ignored? Several vCPUs may ask at once. */
static bool ignored(struct bp *b)
{
    uint64_t left = atomic_load(&b->ignore_left);

    while (left)
        if (atomic_compare_exchange_weak(&b->ignore_left, &left, left - 1))
            return true;
    return false;
}

/* The stack is lower than it will be: is this a call within the one that is waited for? */
static bool is_deeper(struct vcpu *v, const struct bp *b)
{
    struct walk_regs r;
    uint8_t now[8], pushed[8];

    if (!b->return_slot)
        return true;
    vcpu_walk_regs(v, &r);
    le_store(pushed, b->slot_bytes, b->pub.spec.addr - v->sregs->cs.base);
    return walk_read(&v->vm->mem, &r, b->return_slot, now, b->slot_bytes) != b->slot_bytes ||
           !memcmp(now, pushed, b->slot_bytes);
}

struct stop_info *engine_point_hit(struct engine *g, struct vcpu *v, struct bp *b,
                                   struct exit_event *ev, const char *detail)
{
    const char *said = NULL;
    struct stop_info *si;
    struct err why; /* not cleared as a whole: most conditions are false */
    bool first;

    why.code = 0;
    why.msg[0] = '\0';
    if (b->pub.spec.vcpu >= 0 && b->pub.spec.vcpu != (int)v->id)
        return NULL;
    if (b->min_rsp && v->regs->rsp < b->min_rsp && is_deeper(v, b))
        return NULL;
    if (!engine_holds(g, v, b->cond, ev, &why) ||
        !engine_test_holds(g, v, b->pub.spec.test, &why)) {
        atomic_fetch_add(&b->false_hits, 1);
        return NULL;
    }
    atomic_fetch_add(&b->hits, 1);
    if (ignored(b))
        return NULL;
    watch_rest_settle(&g->points.watches, v); /* what is told or shown is the state after it */
    /* A condition that has no value stops, whatever was to be done. */
    if (!why.code && point_acts(g, v, b, ev, detail, &said))
        return NULL;
    atomic_fetch_or(&b->stopped, 1u << v->id);
    first = !g->report[v->id].present;
    si = engine_stop(g, v, kind_of(&b->pub.spec));
    if (first || si->kind == STOP_TEMPORARY) { /* of several the first; stop.c tells the others */
        si->kind = kind_of(&b->pub.spec);
        si->point_id = b->pub.id;
    }
    if (why.code)
        snprintf(si->text, sizeof si->text,
                 "its condition \"%.120s\" could not be evaluated: %.200s",
                 b->pub.spec.condition ? b->pub.spec.condition : "from gdb", why.msg);
    else if (said && !si->text[0])
        snprintf(si->text, sizeof si->text, "%.400s", said);
    return si;
}

static bool point_counts(struct engine *g, struct vcpu *v, struct bp *b)
{
    return engine_point_hit(g, v, b, NULL, NULL) != NULL;
}

bool engine_linear_to_gpa(struct vcpu *v, uint64_t linear, uint64_t *gpa)
{
    struct walk_regs r;

    vcpu_walk_regs(v, &r);
    return walk_gpa(&v->vm->mem, &r, linear, gpa);
}

bool engine_points_hit(struct engine *g, struct vcpu *v)
{
    uint64_t at = vcpu_linear_rip(v), gpa;
    bool stops = false;

    g->judged[v->id] = at;
    for (struct bp *b = points_at(&g->points, at); b; b = b->same_addr)
        if (b->pub.spec.addr == at)
            stops |= point_counts(g, v, b);
    if (g->points.phys_points && engine_linear_to_gpa(v, at, &gpa)) {
        for (unsigned i = 0; i < g->points.count; i++) {
            struct bp *b = g->points.bp[i];

            if (b->pub.enabled && b->pub.spec.kind == POINT_BREAK &&
                b->pub.spec.space == SPACE_PHYS && b->pub.spec.addr == gpa)
                stops |= point_counts(g, v, b);
        }
    }
    return stops;
}

struct plant *engine_plant_here(struct engine *g, struct vcpu *v)
{
    uint64_t gpa;

    if (!g->points.plants || !engine_linear_to_gpa(v, vcpu_linear_rip(v), &gpa))
        return NULL;
    return points_plant(&g->points, gpa);
}

bool engine_register_here(const struct engine *g, const struct vcpu *v)
{
    uint64_t at = vcpu_linear_rip(v);

    for (unsigned i = 0; i < g->points.dr_usable; i++)
        if (g->points.dr_owner[i] && g->points.dr_owner[i]->pub.spec.addr == at)
            return true;
    return false;
}

bool engine_stepped_here(struct engine *g, struct vcpu *v)
{
    return (g->points.step_points || g->points.page_points) &&
           (g->points.phys_points || points_at(&g->points, vcpu_linear_rip(v)) != NULL);
}

/* A vCPU that halts stands behind its HLT, where an interrupt comes first and leads back to. */
static bool halts(const struct vcpu *v)
{
    return atomic_load(&v->idle) != VCPU_ACTIVE || vcpu_sleeps_inside(v);
}

bool engine_points_here(struct engine *g, struct vcpu *v)
{
    return g->points.exec_points && !vcpu_event_queued(v) &&
           (engine_plant_here(g, v) || engine_register_here(g, v) || engine_stepped_here(g, v)) &&
           !halts(v);
}

void engine_want_debug(struct engine *g, struct vcpu_debug *want)
{
    *want = (struct vcpu_debug){.sw_bp = g->points.int3_planted};
    for (unsigned i = 0; i < 4; i++) {
        if (!g->points.dr_owner[i])
            continue;
        want->dr[i] = g->points.dr_owner[i]->pub.spec.addr;
        want->dr7 |= 2u << 2 * i;
    }
    if (want->dr7)
        want->dr7 |= 0x400; /* bit 10 reads as one */
}
