/*
 * Stops that no point asked for: what the board wishes, faults that end the guest, vCPUs that
 * cannot go on. vCPU threads.
 */
#include "debug/engine/engine_int.h"

#include <stdio.h>

#include "debug/points/catch.h"
#include "vmm/transfer.h"

void engine_board_wish(struct engine *g, struct vcpu *v, struct exit_event *ev)
{
    struct stop_info *si;
    int id;

    switch (v->wish) {
    case WISH_NONE:
        break;
    case WISH_POWER_OFF:
        engine_stop(g, v, STOP_POWER_OFF);
        break;
    case WISH_RESET:
        id = catch_of(g, v, CATCH_RESET, ev);
        si = engine_stop(g, v, STOP_RESET);
        if (id > 0)
            *si =
                (struct stop_info){.kind = STOP_RESET, .vcpu = v->id, .point_id = id, .vector = -1};
        break;
    case WISH_DEBUG_EXIT:
        catch_of(g, v, CATCH_DEBUG_EXIT, ev);
        engine_stop(g, v, STOP_DEBUG_EXIT)->code = v->wish_value;
        break;
    }
}

void engine_report_exit(struct engine *g, struct vcpu *v, enum stop_kind kind,
                        const struct exit_event *ev)
{
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
    id = catch_of(g, v, CATCH_TRIPLE, ev);
    si = engine_stop(g, v, STOP_TRIPLE_FAULT);
    if (id > 0)
        *si = (struct stop_info){.kind = STOP_TRIPLE_FAULT, .vcpu = v->id, .point_id = id};
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
