/*
 * See pass.h. The byte at RIP is lifted and the next instruction's is covered for one entry, which
 * no other vCPU sees.
 */
#include "debug/points/pass.h"

#include "debug/engine/engine.h"
#include "vmm/insn_head.h"
#include "vmm/insn_plain.h"
#include "vmm/onestep.h"
#include "vmm/x86_bits.h"

#define ICEBP 0xf1

/* Something that the next entry would deliver first, or that asks for more than one entry. */
static bool is_busy(const struct vcpu *v)
{
    const struct kvm_vcpu_events *e = v->events;

    return v->injected >= 0 || v->own_tf || (v->regs->rflags & RFLAGS_TF) || v->irq_pending_ns ||
           v->idt_hidden || e->exception.injected || e->exception.pending ||
           e->interrupt.injected || e->nmi.injected || e->nmi.pending || e->smi.pending ||
           v->vm->m.irqchip_kernel;
}

static bool icebp_leaves(const struct vcpu *v)
{
    enum cpu_mode m = cpu_mode_of(v->sregs, v->regs->rflags);

    return v->vm->probe.emulated && v->vm->probe.icebp[probe_mode_of(m, 0)] == HOW_INTERNAL;
}

/* Points at other bytes of the same instruction: a step lifts these as well. */
static bool has_more(const struct engine *g, const struct plant *pl, unsigned len)
{
    for (unsigned i = 1; i < len; i++)
        if (points_plant(&g->points, pl->gpa + i))
            return true;
    return false;
}

enum pass pass_plain(struct engine *g, struct vcpu *v, struct plant *pl)
{
    struct plant *other;
    struct onestep_ops ops;
    struct vcpu_debug want;
    struct exit_event ev;
    struct insn_head h;
    uint64_t from = vcpu_linear_rip(v);
    uint8_t *here = mem_ptr(&v->vm->mem, pl->gpa, 1), *next, covered;
    unsigned falls;

    if (!here || g->points.watches.stepped || is_busy(v) || !icebp_leaves(v))
        return PASS_NO;
    engine_alone_begin(g, v);
    *here = pl->original;
    insn_head_read(v, &h);
    if (!insn_plain(v, &h, &falls) || !falls || falls + pl->gpa % PAGE_BYTES >= PAGE_BYTES ||
        has_more(g, pl, falls)) {
        *here = pl->byte;
        engine_alone_end(g);
        return PASS_NO;
    }
    next = here + falls;
    covered = *next;
    other = points_plant(&g->points, pl->gpa + falls);
    if (!other)
        *next = ICEBP;
    engine_ops(g, &ops);
    v->run->request_interrupt_window = 0;
    engine_want_debug(g, &want);
    vcpu_enter(v, &want, &ev);
    ev.flags |= EXIT_F_STEPPED;
    ops.saw(ops.arg, v, &ev);
    vcpu_commit(v, &ev);
    if (!other)
        *next = covered;
    *here = pl->byte;
    engine_alone_end(g);
    if (vcpu_linear_rip(v) == from + falls) {
        g->judged[v->id] = UINT64_MAX;
        return PASS_MADE;
    }
    return ev.reason == EXIT_KICK ? PASS_KICKED : PASS_NO;
}
