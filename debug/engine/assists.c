/*
 * Instructions that KVM refused, carried out for it and seen by watchpoints. vCPU threads.
 */
#include "debug/engine/engine_int.h"

#include <string.h>

#include "debug/points/watch_run.h"
#include "vmm/assist.h"
#include "vmm/deliver.h"
#include "vmm/onestep.h"

/* The assist, seen by watchpoints: what it touches passes no trap, so they want to see each
 * instruction `singly`, as steps do. */
static bool assist(struct engine *g, struct vcpu *v, struct exit_event *ev, bool singly,
                   struct assist_event *raise)
{
    struct watches *w = &g->points.watches;
    bool done;

    g->why_refused[v->id] = NULL;
    if (g->assist_off)
        return false;
    if (w->trapped || w->stepped || v->data.dr7)
        watch_expect_all(w, v);
    done = vcpu_assist(v, ev, singly || w->trapped || w->stepped || v->data.dr7, raise,
                       &g->why_refused[v->id]);
    if (w->trapped || w->stepped || v->data.dr7)
        watch_expected(w, v, done && raise->vector < 0);
    return done;
}

enum verdict engine_give(struct engine *g, struct vcpu *v, struct assist_event *event,
                         const struct exit_event *ev)
{
    struct exit_event down = *ev;

    if (event_give(v, event) != DELIVER_SHUTDOWN)
        return GO;
    down.reason = KVM_EXIT_SHUTDOWN;
    down.u.shutdown.vector = event->vector;
    down.u.shutdown.error_code = event->ec;
    engine_report_shutdown(g, v, &down);
    return STOPPED;
}

bool engine_assisted(struct engine *g, struct vcpu *v, struct exit_event *ev, enum verdict *next)
{
    struct assist_event raise;

    if (!assist(g, v, ev, false, &raise))
        return false;
    *next = raise.vector >= 0 ? engine_give(g, v, &raise, ev) : GO;
    return true;
}

bool engine_spun(struct engine *g, struct vcpu *v, struct exit_event *ev, enum verdict *next)
{
    struct exit_event made_up = *ev;
    bool done;

    if (vcpu_event_queued(v) || atomic_load(&v->idle) != VCPU_ACTIVE || !vcpu_spins(v) ||
        engine_points_here(g, v))
        return false;
    memset(&made_up.u, 0, sizeof made_up.u);
    made_up.reason = KVM_EXIT_INTERNAL_ERROR;
    made_up.u.internal.suberror = KVM_INTERNAL_ERROR_EMULATION;
    engine_alone_begin(g, v);
    done = engine_assisted(g, v, &made_up, next);
    engine_alone_end(g);
    if (!done)
        return false;
    *ev = made_up;
    atomic_store_explicit(&g->spins, 1, memory_order_relaxed);
    return true;
}

bool engine_undefined(void *arg, struct vcpu *v, struct exit_event *ev, struct assist_event *raise)
{
    struct exit_event again = *ev;
    struct engine *g = arg;
    bool alone = vcpu_spins(v), done;

    if (alone) { /* there has been no exit */
        vcpu_event_here(v, 0, &again);
        engine_alone_begin(g, v);
    }
    again.u.internal.suberror = KVM_INTERNAL_ERROR_EMULATION;
    done = assist(g, v, &again, true, raise) && raise->vector != 6;
    if (alone)
        engine_alone_end(g);
    if (!done)
        return false;
    *ev = again;
    engine_tell(g, v, ev);
    vcpu_commit(v, ev);
    return true;
}

bool engine_assisted_step(struct engine *g, struct vcpu *v, const struct onestep_ops *ops,
                          const struct plant *lifted, struct onestep_info *info)
{
    const struct plant *pl = engine_plant_here(g, v);
    struct assist_event raise;

    if ((pl && pl != lifted) || !assist(g, v, &info->last, true, &raise))
        return false;
    engine_tell(g, v, &info->last);
    vcpu_commit(v, &info->last);
    return raise.vector < 0 || vcpu_deliver(v, ops, &raise, info) != ONE_OTHER;
}
