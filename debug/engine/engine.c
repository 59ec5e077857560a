/*
 * The parts of the engine put together, and what the machine calls in it. vCPU threads, except init
 * and fini.
 */
#include "debug/engine/engine.h"

#include "debug/engine/engine_int.h"
#include "debug/points/catch.h"
#include "debug/points/watch_ask.h"
#include "debug/points/watch_run.h"
#include "vmm/base/clock.h"
#include "vmm/onestep.h"

void engine_init(struct engine *g, struct vm *vm)
{
    g->vm = vm;
    pthread_mutex_init(&g->alone, NULL);
    pthread_cond_init(&g->alone_cond, NULL);
    points_init(&g->points, vm);
    exit_hooks_init(&g->exit_hooks);
}

void engine_fini(struct engine *g)
{
    exit_hooks_fini(&g->exit_hooks);
    points_fini(&g->points);
    pthread_cond_destroy(&g->alone_cond);
    pthread_mutex_destroy(&g->alone);
}

/* The first reason of a vCPU counts; all vCPUs are asked to park. */
struct stop_info *engine_stop(struct engine *g, struct vcpu *v, enum stop_kind kind)
{
    struct stop_report *r = &g->report[v->id];

    if (!r->present) {
        r->present = true;
        r->late = false;
        r->then = STOP_NONE;
        r->at_ns = clock_ns();
        r->info = (struct stop_info){.kind = kind, .vcpu = v->id, .point_id = -1, .vector = -1};
    }
    vm_park_ask(g->vm);
    return &r->info;
}

void engine_trapped(void *arg, struct vcpu *v, uint64_t gpa, unsigned len, bool write,
                    uint8_t *bytes)
{
    struct engine *g = arg;

    if (!watch_ask(g, v, gpa, len, write, bytes))
        watch_trapped(&g->points.watches, v, gpa, len, write, bytes);
}

void engine_dma(void *arg, struct vcpu *v, const struct dev *d, uint64_t gpa, void *dst,
                const void *src, size_t len)
{
    watch_dma(&((struct engine *)arg)->points.watches, v, d, gpa, dst, src, len);
}

bool engine_access(void *arg, struct vcpu *v, struct exit_event *ev)
{
    return exit_hooks_access(arg, v, ev);
}

void engine_tell(struct engine *g, struct vcpu *v, struct exit_event *ev)
{
    if (exit_hooks_any(&g->exit_hooks) && !(ev->flags & EXIT_F_RAM))
        exit_hooks_saw(g, v, ev);
    if (g->points.catches)
        catch_exits(g, v, ev);
}

/* Exits of which it turns out later what they are: the guest's, a planted byte, the end of a step
 * behind a hidden IDT, an instruction to be carried out. */
static bool is_open(const struct exit_event *ev)
{
    return ev->reason == KVM_EXIT_SHUTDOWN || ev->reason == KVM_EXIT_INTERNAL_ERROR;
}

void engine_saw(void *arg, struct vcpu *v, struct exit_event *ev)
{
    struct engine *g = arg;

    if (v->wish != WISH_NONE)
        engine_board_wish(g, v, ev);
    if (ev->reason == KVM_EXIT_DEBUG && ev->u.debug.exception == 1 && v->data.dr7)
        watch_fired(&g->points.watches, v, ev->u.debug.dr6, ev->flags & EXIT_F_STEPPED,
                    ev->u.debug.dr6 & 0xf & ~watch_dr_bits(&g->points.watches));
    watch_store_down(g, v, ev);
    if (v->data.dr7 &&
        (ev->reason == KVM_EXIT_IO ||
         (ev->reason == KVM_EXIT_MMIO && !ev->u.mmio.write && !(ev->flags & EXIT_F_RAM))))
        watch_passed_by(&g->points.watches, v, ev->reason == KVM_EXIT_IO && ev->u.io.write);
    if (!is_open(ev))
        engine_tell(g, v, ev);
    if (atomic_load_explicit(&g->console.due, memory_order_relaxed) >> v->id & 1)
        catch_texts(g, v);
}

void engine_ops(struct engine *g, struct onestep_ops *out)
{
    *out = (struct onestep_ops){.arg = g, .saw = engine_saw};
}
