/*
 * Stops that no point asked for: what the board wishes, faults that end the guest, vCPUs that
 * cannot go on. vCPU threads.
 */
#include "debug/engine/engine_int.h"

#include <stdio.h>

#include "debug/points/catch.h"
#include "vmm/transfer.h"

/* A stop that ends the run, whoever debugs it. A catchpoint for it comes first, and holds it up
 * until the guest goes on; so does anything else that stopped the vCPU before. */
static struct stop_info *end_run(struct engine *g, struct vcpu *v, enum stop_kind kind,
                                 uint32_t code, int caught)
{
    struct stop_report *r = &g->report[v->id];
    struct stop_info *si = engine_stop(g, v, kind);

    if (caught > 0 || si->kind != kind) {
        r->then = kind;
        r->then_code = code;
    }
    if (si->kind == kind)
        si->code = code;
    return si;
}

void engine_board_wish(struct engine *g, struct vcpu *v, struct exit_event *ev)
{
    switch (v->wish) {
    case WISH_NONE:
        break;
    case WISH_POWER_OFF:
        end_run(g, v, STOP_POWER_OFF, 0, 0);
        break;
    case WISH_RESET:
        end_run(g, v, STOP_RESET, 0, catch_of(g, v, CATCH_RESET, ev));
        break;
    case WISH_DEBUG_EXIT:
        end_run(g, v, STOP_DEBUG_EXIT, v->wish_value, catch_of(g, v, CATCH_DEBUG_EXIT, ev));
        break;
    }
}

void engine_report_exit(struct engine *g, struct vcpu *v, enum stop_kind kind,
                        struct exit_event *ev)
{
    if (ev->reason == KVM_EXIT_INTERNAL_ERROR)
        engine_tell(g, v, ev);
    engine_stop(g, v, kind);
    g->report[v->id].ev = *ev;
}

void engine_report_stuck(struct engine *g, struct vcpu *v)
{
    struct exit_event ev = {.reason = EXIT_KICK};

    ev.rip = v->regs->rip;
    ev.cs_base = v->sregs->cs.base;
    ev.mode = (uint8_t)cpu_mode_of(v->sregs, v->regs->rflags);
    engine_report_exit(g, v, STOP_STUCK, &ev);
}

void engine_report_paging(struct engine *g, struct vcpu *v, const char *kind)
{
    struct stop_info *si = engine_stop(g, v, STOP_INTERNAL_ERROR);

    snprintf(si->text, sizeof si->text,
             "the guest turns on %s paging, which this host's KVM cannot do (it pages only in long "
             "mode); run this guest on a machine with hardware virtualization",
             kind);
}

void engine_report_shutdown(struct engine *g, struct vcpu *v, struct exit_event *ev)
{
    const char *kind = vcpu_paging_refused(v, vcpu_linear_rip(v));
    struct stop_info *si;
    int id;

    if (kind && ev->u.shutdown.vector == 13) {
        engine_report_paging(g, v, kind);
        return;
    }
    engine_tell(g, v, ev);
    id = catch_of(g, v, CATCH_TRIPLE, ev);
    si = end_run(g, v, STOP_TRIPLE_FAULT, ev->u.shutdown.error_code, id);
    if (id > 0) /* the story is the fault's, not the exit's */
        *si = (struct stop_info){.kind = STOP_TRIPLE_FAULT, .vcpu = v->id, .point_id = id};
    g->report[v->id].then_vector = ev->u.shutdown.vector;
    if (si->kind != STOP_TRIPLE_FAULT)
        return;
    si->vector = ev->u.shutdown.vector;
    si->code = ev->u.shutdown.error_code;
}

void engine_check_dead(struct engine *g, struct vcpu *v)
{
    if (atomic_load(&v->idle) != VCPU_DEAD)
        return;
    for (unsigned i = 0; i < g->vm->cpus; i++) {
        int idle = atomic_load(&g->vm->cpu[i]->idle);

        if (idle != VCPU_DEAD && idle != VCPU_WAIT_SIPI)
            return;
    }
    engine_stop(g, v, STOP_HALTED);
}

void engine_check_kernel_halt(struct engine *g, struct vcpu *v)
{
    enum vcpu_idle idle;

    if (!g->vm->m.irqchip_kernel)
        return;
    idle = vcpu_ask_idle(v);
    atomic_store(&v->idle, idle);
    engine_check_dead(g, v);
    /* It is the kernel that waits, so the loop must go on entering it. */
    if (idle != VCPU_WAIT_SIPI || v->id)
        atomic_store(&v->idle, VCPU_ACTIVE);
}
