/*
 * Watchpoints while the guest runs. vCPU threads.
 */
#include "debug/points/watch_run.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "debug/engine/engine.h"
#include "debug/points/watch_pages.h"
#include "debug/points/watch_rest.h"
#include "vmm/base/clock.h"
#include "vmm/base/log.h"
#include "vmm/onestep.h"
#include "vmm/transfer.h"
#include "vmm/x86_bits.h"

/* When traps in the way eat more than a quarter of the time, the pages in question are watched by
 * steps: a change of slots takes microseconds on an idle host and milliseconds on a busy one. */
#define RECOVER_MIN_NS    100000000
#define RECOVER_WINDOW_NS 2000000000
#define RECOVERS_MIN      8 /* one may have been slow by chance */

/* An entry that a kick ended sooner may not have got to the guest at all. */
#define STANDS_NS 50000

/* How long a vCPU waits for its turn before it asks the one inside to leave, when that has been
 * inside for as long for each two vCPUs: one that shares a processor with the others has to come to
 * run at all, or nobody gets on. */
#define TURN_NS 500000
/* Turns that one vCPU takes in a row while others wait, who would hardly ever wake in time. */
#define TURNS_MAX 16

/* ---- the decision -------------------------------------------------------------------------------
 */

bool watch_noted(const struct engine *g, const struct vcpu *v)
{
    return g->points.watches.cpu[v->id].hits != 0;
}

/* Not every method sees the read of an instruction that reads and writes: told is what was asked.
 */
static bool tells_read(const struct watch_hit *h)
{
    return h->read && (h->bp->pub.spec.access & WATCH_READ);
}

static void tell_hit(const struct watch_hit *h, char *dst, size_t cap)
{
    char by[60] = "";

    if (h->dma)
        snprintf(by, sizeof by, " by device %.40s", h->dma->ops->name);
    else if (h->by)
        snprintf(by, sizeof by, " by 0x%llx", (unsigned long long)h->by);
    snprintf(dst, cap, "%s at 0x%llx%s, old value 0x%0*llx, new value 0x%0*llx",
             !h->write        ? "read"
             : !tells_read(h) ? "written"
                              : "read and written",
             (unsigned long long)(h->bp->pub.spec.addr + h->off), by, (int)(2 * h->len),
             (unsigned long long)h->old_value, (int)(2 * h->len), (unsigned long long)h->new_value);
}

static bool judge_one(struct engine *g, struct vcpu *v, const struct watch_hit *h)
{
    struct stop_info *si;
    char detail[160];

    detail[0] = '\0';
    if (!watch_counts(h))
        return false;
    if (h->bp->pub.spec.action == DO_LOG)
        tell_hit(h, detail, sizeof detail);
    si = engine_point_hit(g, v, h->bp, NULL, detail);
    if (!si)
        return false;
    if (si->kind != STOP_WATCHPOINT || si->point_id != h->bp->pub.id)
        return true; /* another stop came first */
    si->addr = h->bp->pub.spec.addr + h->off;
    si->old_value = h->old_value;
    si->new_value = h->new_value;
    si->value_len = h->len;
    si->access = (tells_read(h) ? WATCH_READ : 0u) | (h->write ? WATCH_WRITE : 0u);
    si->by = h->by;
    si->device = h->dma ? h->dma->ops->name : NULL;
    return true;
}

void watch_finish_string(struct engine *g, struct vcpu *v)
{
    struct watch_cpu *c = &g->points.watches.cpu[v->id];
    uint64_t at = v->sregs->cs.base + v->regs->rip;
    struct onestep_info info;
    bool held = v->hold_irq;

    for (unsigned i = 0; i < c->hits; i++)
        if (!c->hit[i].by)
            c->hit[i].by = at;
    vcpu_settle(v);
    if (vcpu_parking(v) || v->sregs->cs.base + v->regs->rip != at)
        return;
    v->hold_irq = true;
    engine_one_step(g, v, &info);
    v->hold_irq = held;
    vcpu_show_idt(v);
    vcpu_dr6_restore(v);
}

/* Reads of an instruction that stays where it is, because KVM cannot carry it out or it faults: who
 * carries it out, or the guest when it comes back to it, reads again. */
static void drop_unfinished(struct watch_cpu *c, const struct vcpu *v)
{
    uint64_t at = v->sregs->cs.base + v->regs->rip;
    unsigned kept = 0;

    for (unsigned i = 0; i < c->hits; i++)
        if (c->hit[i].write || c->hit[i].by != at)
            c->hit[kept++] = c->hit[i];
    c->hits = kept;
}

static bool can_judge(void *arg, struct vcpu *v)
{
    return watch_rest_open(arg, v);
}

bool watch_judge(struct engine *g, struct vcpu *v)
{
    struct watch_cpu *c = &g->points.watches.cpu[v->id];
    bool stops = false;

    if (!watch_rest_open(&g->points.watches, v)) {
        bool reads = v->run->exit_reason == KVM_EXIT_MMIO && !v->run->mmio.is_write;

        /* May note more: the store of a read-modify-write, whose own rest changes nothing. */
        vcpu_settle_to(v, can_judge, &g->points.watches);
        if (reads || v->refused.reason == KVM_EXIT_INTERNAL_ERROR)
            drop_unfinished(c, v);
    }
    for (unsigned i = 0; i < c->hits; i++) {
        struct watch_hit h = c->hit[i]; /* completing the access may add some */

        stops |= judge_one(g, v, &h);
    }
    c->hits = 0;
    watch_rest_close(&g->points.watches, v);
    return stops;
}

/* ---- traps in the way
 * ------------------------------------------------------------------------------
 */

/* An event whose frame KVM could not push. Processors keep it queued, and so does an entry that was
 * to deliver it and got nowhere; with the kernel's interrupt controllers the vector is left behind
 * in the events. Faults happen again by themselves. */
static bool event_waits(const struct vcpu *v, const struct exit_event *ev, struct vcpu_given *out)
{
    const struct kvm_vcpu_events *e = v->events;

    *out = (struct vcpu_given){.vector = e->exception.nr,
                               .has_ec = e->exception.has_error_code,
                               .error_code = e->exception.error_code};
    if (e->exception.injected || e->exception.pending)
        return true;
    /* The guest's own int3 or trap: RIP is past it, so that it does not happen again. */
    if (ev->reason == KVM_EXIT_SHUTDOWN && v->vm->probe.emulated &&
        (e->exception.nr == 3 || (e->exception.nr == 1 && v->given.vector < 0)))
        return true;
    *out = (struct vcpu_given){.vector = e->interrupt.nr, .is_interrupt = true};
    if (e->interrupt.injected)
        return true;
    if (ev->reason == KVM_EXIT_SHUTDOWN && v->vm->m.irqchip_kernel && e->interrupt.nr >= 32 &&
        !e->exception.nr && (v->regs->rflags & 0x200))
        return true;
    *out = v->given;
    return ev->reason == KVM_EXIT_SHUTDOWN && v->given.vector >= 0 &&
           v->given.rip == v->regs->rip && v->given.rsp == v->regs->rsp;
}

/* An #UD that KVM queued because its emulator gave up is no event of the guest's. */
static void forget_bogus_ud(struct vcpu *v, const struct exit_event *ev)
{
    if (ev->reason != KVM_EXIT_INTERNAL_ERROR || v->events->exception.nr != 6 ||
        !(v->events->exception.injected || v->events->exception.pending))
        return;
    v->events->exception.injected = v->events->exception.pending = 0;
    vcpu_dirty(v, VS_EVENTS);
}

/* The instruction behind which an event waits, when that was its cause: INT n or INT3, past which
 * RIP is already; else where the vCPU stands. */
static uint64_t event_origin(const struct vcpu *v, int vector)
{
    uint64_t at = v->sregs->cs.base + v->regs->rip;
    struct walk_regs r;
    uint8_t b[2];

    vcpu_walk_regs(v, &r);
    if (walk_read(&v->vm->mem, &r, at - 2, b, 2) != 2)
        return at;
    if (b[0] == 0xcd && b[1] == vector)
        return at - 2;
    return b[1] == 0xcc && vector == 3 ? at - 1 : at;
}

/* A #DB that is queued already comes before its instruction if its frame is to say so. */
static bool was_before(const struct vcpu *v, const struct vcpu_given *event)
{
    return event->vector == 1 && v->events->exception.injected && (v->regs->rflags & RFLAGS_RF);
}

static enum onestep lifted_step(struct watches *w, struct vcpu *v, const struct exit_event *ev,
                                const struct onestep_ops *ops, struct onestep_info *info)
{
    struct vcpu_given event;
    enum onestep r;

    info->trapped = info->partial = false;
    info->vector = -1;
    info->last.reason = EXIT_RUN; /* no exit yet */
    if (event_waits(v, ev, &event)) {
        w->cpu[v->id].step_from = event_origin(v, event.vector);
        r = vcpu_deliver(v, ops,
                         &(struct assist_event){.vector = event.vector,
                                                .is_interrupt = event.is_interrupt,
                                                .is_before = was_before(v, &event),
                                                .has_ec = event.has_ec,
                                                .ec = event.error_code},
                         info);
    } else {
        watch_expect(w, v);
        r = vcpu_onestep(v, ops, info);
        watch_expected(w, v, r != ONE_OTHER && (info->vector < 0 || info->trapped));
    }
    if (r == ONE_DONE && info->vector >= 0)
        watch_entered(w, v);
    return r;
}

static bool set_lift(struct engine *g, struct vcpu *v, bool all)
{
    struct watches *w = &g->points.watches;
    struct slots *s = &g->vm->slots;
    struct err e = {0};

    if (all)
        slots_lift_all(s, true);
    else if (!watch_pages_lift_system(w, v))
        return false;
    for (size_t i = 0; i < w->pages; i++)
        w->page[i]->lifted_last = false;
    for (size_t i = 0; i < s->pages; i++) {
        struct watch_page *p = s->page[i].lifted ? watch_page_at(w, s->page[i].gpa) : NULL;

        if (p)
            watch_remember(w, p);
    }
    if (slots_apply(s, &e) < 0)
        log_error("watchpoints: %s", e.msg);
    return true;
}

static bool costs_too_much(struct watches *w, uint64_t since)
{
    uint64_t now = clock_ns();

    if (now - w->recover_since > RECOVER_WINDOW_NS) {
        w->recover_since = since;
        w->recover_ns = w->recovers = 0;
    }
    w->recover_ns += now - since;
    w->recovers++;
    return w->recovers >= RECOVERS_MIN && w->recover_ns > RECOVER_MIN_NS &&
           w->recover_ns * 4 > now - w->recover_since;
}

/* From now on the pages that were lifted last are compared. */
static void trouble_lifted(struct watches *w)
{
    for (size_t i = 0; i < w->pages; i++)
        w->page[i]->troubled |= w->page[i]->lifted_last;
}

static void clear_lift(struct engine *g, struct vcpu *v, uint64_t since)
{
    struct watches *w = &g->points.watches;
    struct slots *s = &g->vm->slots;
    struct err e = {0};

    for (size_t i = 0; i < s->pages; i++) {
        struct watch_page *p = s->page[i].lifted ? watch_page_at(w, s->page[i].gpa) : NULL;

        if (p) {
            watch_compare_page(w, v, p);
            p->lifted_last = true;
        }
    }
    points_reassert(&g->points);
    slots_lift_all(s, false);
    if (slots_apply(s, &e) < 0)
        log_error("watchpoints: %s", e.msg);
    if (costs_too_much(w, since)) {
        trouble_lifted(w);
        atomic_store(&w->stale, 1);
    }
}

/* Can a trap have caused this exit? On a processor a shutdown is always the guest's own. */
static bool may_be_trap(const struct engine *g, const struct exit_event *ev)
{
    if (!g->points.watches.trapped)
        return false;
    return ev->reason == KVM_EXIT_INTERNAL_ERROR || ev->reason == EXIT_KICK ||
           (ev->reason == KVM_EXIT_SHUTDOWN && g->vm->probe.shutdown_keeps_state);
}

/* The guest's end on a host that resets the vCPU then: nothing is left to be tried. */
static bool is_gone(const struct engine *g, const struct exit_event *last)
{
    return last->reason == KVM_EXIT_SHUTDOWN && !g->vm->probe.shutdown_keeps_state;
}

bool watch_recover(struct engine *g, struct vcpu *v, const struct exit_event *ev,
                   const struct onestep_ops *ops, struct onestep_info *info)
{
    struct watch_cpu *c = &g->points.watches.cpu[v->id];
    struct kvm_regs before = *v->regs;
    struct exit_event cause = *ev;
    enum onestep r = ONE_OTHER;
    uint64_t from = c->step_from, since = clock_ns();
    struct vcpu_given event;
    /* Who is held up by no event of its own is so by an access, to whatever page. */
    bool all = ev->reason == EXIT_KICK && !event_waits(v, ev, &event);

    if (!may_be_trap(g, ev))
        return false;
    c->step_from = v->sregs->cs.base + v->regs->rip;
    forget_bogus_ud(v, ev);
    engine_alone_begin(g, v);
    for (int n = all; n < 2 && (r == ONE_OTHER || stuck_same(&before, v->regs)); n++) {
        if (!set_lift(g, v, n))
            continue;
        r = lifted_step(&g->points.watches, v, &cause, ops, info);
        clear_lift(g, v, since);
        if (info->last.reason == EXIT_KICK || is_gone(g, &info->last))
            break;          /* somebody wants the vCPU: again later */
        cause = info->last; /* an event that it was to deliver may wait still */
    }
    engine_alone_end(g);
    vcpu_show_idt(v); /* the step may have hidden it, and the guest runs on */
    vcpu_dr6_restore(v);
    c->step_from = from;
    return r != ONE_OTHER || info->last.reason == EXIT_KICK;
}

static bool any_armed(const struct slots *s)
{
    for (size_t i = 0; i < s->pages; i++)
        if (!s->page[i].lifted)
            return true;
    return false;
}

void watch_store_down(struct engine *g, struct vcpu *v, const struct exit_event *ev)
{
    uint64_t since = clock_ns();

    if (ev->reason != KVM_EXIT_IO || ev->u.io.write || ev->u.io.count < 2 ||
        !(v->regs->rflags & RFLAGS_DF) || !any_armed(&g->vm->slots))
        return;
    engine_alone_begin(g, v);
    set_lift(g, v, true);
    watch_passed_by(&g->points.watches, v, false);
    clear_lift(g, v, since);
    engine_alone_end(g);
}

bool watch_double_fault(struct engine *g, struct vcpu *v, const struct user_frame *f)
{
    struct watches *w = &g->points.watches;
    struct kvm_regs regs = *v->regs;
    struct kvm_sregs sregs = *v->sregs;
    struct exit_event ev = {.reason = KVM_EXIT_SHUTDOWN};
    struct onestep_info info;
    struct onestep_ops ops;
    bool in_the_way;

    if (!w->trapped || !frame_load(v, f))
        return false;
    in_the_way = watch_pages_lift_system(w, v) != 0;
    slots_lift_all(&g->vm->slots, false); /* was only asked, not applied */
    engine_ops(g, &ops);
    if (in_the_way && watch_recover(g, v, &ev, &ops, &info))
        return true;
    *v->regs = regs;
    *v->sregs = sregs;
    vcpu_dirty(v, VS_REGS | VS_SREGS);
    return false;
}

bool watch_deliver(struct engine *g, struct vcpu *v, struct onestep_info *info)
{
    struct exit_event ev = {.reason = EXIT_KICK};
    struct onestep_ops ops;
    unsigned in_the_way;

    info->last.reason = EXIT_RUN; /* no exit yet */
    if (g->vm->probe.emulated || !g->points.watches.trapped || !vcpu_event_queued(v))
        return false;
    in_the_way = watch_pages_lift_system(&g->points.watches, v);
    slots_lift_all(&g->vm->slots, false); /* was only asked, not applied */
    engine_ops(g, &ops);
    return in_the_way && watch_recover(g, v, &ev, &ops, info);
}

/* A watchpoint that has moved depends on other tables than before. */
static void refresh(struct engine *g, struct vcpu *v)
{
    engine_alone_begin(g, v);
    if (watch_refresh(&g->points.watches))
        atomic_store(&g->points.look, 1);
    points_guard(&g->points); /* a stack may have come to a planted byte */
    engine_alone_end(g);
}

void watch_renew(struct engine *g, struct vcpu *v)
{
    const struct watch_cpu *c = &g->points.watches.cpu[v->id];
    bool moved =
        g->points.watches.trapped && (c->gdt != v->sregs->gdt.base || c->idt != v->sregs->idt.base);

    if (!moved && !atomic_load_explicit(&g->points.watches.stale, memory_order_relaxed))
        return;
    vcpu_settle(v);
    refresh(g, v);
}

bool watch_stands(struct engine *g, struct vcpu *v, const struct exit_event *ev)
{
    struct watches *w = &g->points.watches;
    struct watch_cpu *c = &w->cpu[v->id];
    bool was_kicked = c->kicked;

    if (!w->pages)
        return false;
    if (g->vm->cpus == 1 || atomic_exchange(&w->look, 0))
        refresh(g, v);
    /* A kick for another's turn alone says nothing of this vCPU. */
    if (ev->guest_ns < STANDS_NS || atomic_load(&g->alone_wanted))
        return false;
    if (!w->trapped || atomic_load(&v->idle) != VCPU_ACTIVE)
        return false;
    c->kicked = !was_kicked || !stuck_same(&c->kicked_regs, v->regs);
    c->kicked_regs = *v->regs;
    return !c->kicked;
}

/* ---- turns
 * ------------------------------------------------------------------------------------------
 */

bool watch_turn_take(struct engine *g, struct vcpu *v)
{
    struct timespec until = clock_timespec(clock_ns() + TURN_NS);
    bool mine;

    pthread_mutex_lock(&g->alone);
    g->turn_waits++;
    if ((g->turn || (g->turn_last == v && g->turns >= TURNS_MAX && g->turn_waits > 1)) &&
        pthread_cond_clockwait(&g->alone_cond, &g->alone, CLOCK_MONOTONIC, &until) == ETIMEDOUT &&
        g->turn && clock_ns() - g->turn_since >= TURN_NS * (g->vm->cpus / 2)) {
        vcpu_kick(g->turn);
        g->turn_since = clock_ns();
    }
    g->turn_waits--;
    mine = !g->turn && !g->alone_owner;
    if (mine) {
        g->turns = g->turn_last == v ? g->turns + 1 : 1;
        g->turn = v;
        g->turn_last = v;
        g->turn_since = clock_ns();
    }
    pthread_mutex_unlock(&g->alone);
    return mine;
}

void watch_turn_give(struct engine *g)
{
    pthread_mutex_lock(&g->alone);
    g->turn = NULL;
    pthread_cond_broadcast(&g->alone_cond);
    pthread_mutex_unlock(&g->alone);
}
