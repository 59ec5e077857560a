/*
 * The vCPU's loop while the guest runs. vCPU threads only, except init and fini.
 */
#include "debug/engine.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "debug/fields.h"
#include "debug/points/catch.h"
#include "debug/points/hooks.h"
#include "debug/points/pass.h"
#include "debug/points/point_log.h"
#include "debug/points/watch_rest.h"
#include "debug/points/watch_run.h"
#include "debug/stacks.h"
#include "disasm/disasm.h"
#include "vmm/assist.h"
#include "vmm/base/clock.h"
#include "vmm/base/esc.h"
#include "vmm/base/le.h"
#include "vmm/base/log.h"
#include "vmm/base/x.h"
#include "vmm/onestep.h"
#include "vmm/transfer.h"

#define DR6_BS 0x4000u

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

/* ---- stopping
 * ------------------------------------------------------------------------------------ */

static uint64_t linear_rip(const struct vcpu *v)
{
    return v->sregs->cs.base + v->regs->rip;
}

/* The first reason of a vCPU counts; all vCPUs are asked to park. */
struct stop_info *engine_stop(struct engine *g, struct vcpu *v, enum stop_kind kind)
{
    struct stop_report *r = &g->report[v->id];

    if (!r->present) {
        r->present = true;
        r->late = false;
        r->at_ns = clock_ns();
        r->info = (struct stop_info){.kind = kind, .vcpu = v->id, .point_id = -1, .vector = -1};
    }
    vm_park_ask(g->vm);
    return &r->info;
}

/* ---- being alone
 * --------------------------------------------------------------------------------- */

static void alone_pause(struct engine *g)
{
    pthread_mutex_lock(&g->alone);
    g->paused++;
    pthread_cond_broadcast(&g->alone_cond);
    while (g->alone_owner)
        pthread_cond_wait(&g->alone_cond, &g->alone);
    g->paused--;
    pthread_mutex_unlock(&g->alone);
}

static void kick_all(struct engine *g)
{
    for (unsigned i = 0; i < g->vm->cpus; i++)
        vcpu_kick(g->vm->cpu[i]);
}

void engine_alone_begin(struct engine *g, struct vcpu *v)
{
    if (g->vm->cpus == 1)
        return;
    if (g->alone_owner == v) { /* only v itself makes that so */
        g->alone_depth++;
        return;
    }
    pthread_mutex_lock(&g->alone);
    while (g->alone_owner) { /* somebody else is: wait as a paused one */
        g->paused++;
        pthread_cond_broadcast(&g->alone_cond);
        while (g->alone_owner)
            pthread_cond_wait(&g->alone_cond, &g->alone);
        g->paused--;
    }
    g->alone_owner = v;
    atomic_store(&g->alone_wanted, 1);
    kick_all(g);
    while (g->paused + 1 < g->in_body)
        if (!vcpu_wait_a_while(&g->alone_cond, &g->alone))
            kick_all(g);
    pthread_mutex_unlock(&g->alone);
}

void engine_alone_end(struct engine *g)
{
    if (g->vm->cpus == 1)
        return;
    if (g->alone_depth) {
        g->alone_depth--;
        return;
    }
    pthread_mutex_lock(&g->alone);
    g->alone_owner = NULL;
    atomic_store(&g->alone_wanted, 0);
    pthread_cond_broadcast(&g->alone_cond);
    pthread_mutex_unlock(&g->alone);
}

static void body_count(struct engine *g, int change)
{
    pthread_mutex_lock(&g->alone);
    while (change > 0 && g->alone_owner)
        pthread_cond_wait(&g->alone_cond, &g->alone);
    g->in_body += (unsigned)change;
    pthread_cond_broadcast(&g->alone_cond);
    pthread_mutex_unlock(&g->alone);
}

/* ---- conditions
 * ---------------------------------------------------------------------------------- */

struct env_arg {
    struct engine *g;
    struct vcpu *v;
    const struct exit_event *ev;
    struct vcpu_state *slow; /* parts that are not in the kvm_run page, fetched on demand */
};

static bool env_reg(void *arg, int id, uint64_t *value)
{
    struct env_arg *a = arg;
    const struct reg_desc *d = &reg_table[id];
    uint64_t more = watch_rest_reg(&a->g->points.watches, a->v, id);
    struct vcpu_state st;
    struct reg_value rv;

    if (d->kind == 'R' && d->part == VS_REGS) { /* most are: no need to copy them all */
        *value = more + le_load((const uint8_t *)a->v->regs +
                                    (d->offset - offsetof(struct vcpu_state, regs)),
                                d->size);
        return true;
    }
    st.have = VS_REGS | VS_SREGS;
    if (d->part & VS_REGS)
        st.regs = *a->v->regs;
    else if (d->part & VS_SREGS)
        st.sregs = *a->v->sregs;
    else if (vcpu_get_state(a->v, d->part, &st) < 0)
        return false;
    if (reg_read(&st, id, &rv) < 0)
        return false;
    *value = rv.u;
    return true;
}

static bool env_mem(void *arg, uint64_t linear, void *dst, size_t len)
{
    struct env_arg *a = arg;
    struct walk_regs r;

    vcpu_walk_regs(a->v, &r);
    for (size_t done = 0; done < len;) {
        struct walk w;
        size_t n = PAGE_BYTES - ((linear + done) & (PAGE_BYTES - 1));

        n = n < len - done ? n : len - done;
        walk(&a->g->vm->mem, &r, linear + done, &w);
        if (w.result != WALK_OK || mem_read(&a->g->vm->mem, w.gpa, (char *)dst + done, n) != n)
            return false;
        points_hide(&a->g->points, w.gpa, (uint8_t *)dst + done, n);
        done += n;
    }
    return true;
}

static bool env_field(void *arg, int id, uint64_t *value)
{
    struct env_arg *a = arg;

    return a->ev && field_table[id].get(a->ev, value);
}

static bool env_text(void *arg, int fn, uint64_t x, char *dst, size_t cap)
{
    struct env_arg *a = arg;

    (void)fn; /* symbol() is the only one */
    return a->g->symbol_text && a->g->symbol_text(a->g->symbol_arg, x, dst, cap);
}

int engine_eval(struct engine *g, struct vcpu *v, const struct expr *x, const struct exit_event *ev,
                uint64_t *value, struct err *e)
{
    struct env_arg a = {.g = g, .v = v, .ev = ev};
    struct expr_env env = {
        .arg = &a, .reg = env_reg, .mem = env_mem, .field = env_field, .text = env_text};

    return expr_eval(x, &env, value, e);
}

/* A condition that cannot be evaluated stops the guest: a breakpoint is never lost silently. */
static bool holds(struct engine *g, struct vcpu *v, const struct expr *x,
                  const struct exit_event *ev, struct err *why)
{
    uint64_t value;

    if (!x)
        return true;
    if (engine_eval(g, v, x, ev, &value, why) < 0)
        return true;
    return value != 0;
}

/* The same for a condition in a client's own language. */
static bool test_holds(struct engine *g, struct vcpu *v, const struct point_test *t,
                       struct err *why)
{
    struct env_arg a = {.g = g, .v = v};
    struct expr_env env = {.arg = &a, .reg = env_reg, .mem = env_mem};

    return !t || t->holds(t, &env, why) != 0;
}

/* ---- execution points
 * ------------------------------------------------------------------------------ */

static enum stop_kind kind_of(const struct point_spec *spec)
{
    if (spec->kind == POINT_WATCH)
        return STOP_WATCHPOINT;
    if (spec->kind == POINT_CATCH)
        return STOP_CATCH;
    return spec->hidden ? STOP_TEMPORARY : STOP_BREAKPOINT;
}

/* DO_LOG: the line with its values, or what is known of the hit. */
static void point_logs(struct engine *g, struct vcpu *v, const struct bp *b,
                       const struct exit_event *ev, const char *detail)
{
    struct env_arg a = {.g = g, .v = v, .ev = ev};
    struct expr_env env = {
        .arg = &a, .reg = env_reg, .mem = env_mem, .field = env_field, .text = env_text};
    struct buf line = {0};

    if (b->log)
        point_log_format(b->log, &env, &line);
    else if (detail)
        buf_adds(&line, detail);
    else if (ev)
        exit_format(ev, ev->reason == EXIT_ASSIST ? NULL : session_reg_name(g->session, ev), &line);
    g->log(g->log_arg, v, b->pub.id, buf_str(&line), b->log != NULL);
    buf_fini(&line);
}

/* What the point does instead of stopping the guest. False: it stops. */
static bool point_acts(struct engine *g, struct vcpu *v, struct bp *b, struct exit_event *ev,
                       const char *detail, const char **why)
{
    const struct point_spec *spec = &b->pub.spec;

    if (spec->action == DO_LOG)
        point_logs(g, v, b, ev, detail);
    if (spec->action == DO_LOG || spec->action == DO_COUNT)
        return true;
    return spec->hit && !exit_hook_point(g, v, ev, spec->hit, spec->hit_arg, b->pub.id, why);
}

struct stop_info *engine_point_hit(struct engine *g, struct vcpu *v, struct bp *b,
                                   struct exit_event *ev, const char *detail)
{
    const char *said = NULL;
    struct stop_info *si;
    struct err why = {0};
    bool first;

    if (b->pub.spec.vcpu >= 0 && b->pub.spec.vcpu != (int)v->id)
        return NULL;
    if (b->min_rsp && v->regs->rsp < b->min_rsp)
        return NULL;
    if (!holds(g, v, b->cond, ev, &why) || !test_holds(g, v, b->pub.spec.test, &why)) {
        atomic_fetch_add(&b->false_hits, 1);
        return NULL;
    }
    atomic_fetch_add(&b->hits, 1);
    if (atomic_load(&b->ignore_left)) {
        atomic_fetch_sub(&b->ignore_left, 1);
        return NULL;
    }
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

void engine_trapped(void *arg, struct vcpu *v, uint64_t gpa, unsigned len, bool write,
                    uint8_t *bytes)
{
    watch_trapped(&((struct engine *)arg)->points.watches, v, gpa, len, write, bytes);
}

static bool linear_to_gpa(struct vcpu *v, uint64_t linear, uint64_t *gpa)
{
    struct walk_regs r;

    vcpu_walk_regs(v, &r);
    return walk_gpa(&v->vm->mem, &r, linear, gpa);
}

/* All points at the instruction about to execute; true when one of them stops the guest. */
bool engine_points_hit(struct engine *g, struct vcpu *v)
{
    uint64_t at = linear_rip(v), gpa;
    bool stops = false;

    g->judged[v->id] = at;
    for (struct bp *b = points_at(&g->points, at); b; b = b->same_addr)
        if (b->pub.spec.addr == at)
            stops |= point_counts(g, v, b);
    if (g->points.phys_points && linear_to_gpa(v, at, &gpa)) {
        for (unsigned i = 0; i < g->points.count; i++) {
            struct bp *b = g->points.bp[i];

            if (b->pub.enabled && b->pub.spec.kind == POINT_BREAK &&
                b->pub.spec.space == SPACE_PHYS && b->pub.spec.addr == gpa)
                stops |= point_counts(g, v, b);
        }
    }
    return stops;
}

static struct plant *plant_here(struct engine *g, struct vcpu *v)
{
    uint64_t gpa;

    if (!g->points.plants || !linear_to_gpa(v, linear_rip(v), &gpa))
        return NULL;
    return points_plant(&g->points, gpa);
}

bool engine_register_here(const struct engine *g, const struct vcpu *v)
{
    uint64_t at = linear_rip(v);

    for (unsigned i = 0; i < g->points.dr_usable; i++)
        if (g->points.dr_owner[i] && g->points.dr_owner[i]->pub.spec.addr == at)
            return true;
    return false;
}

/* Is there an event that the next entry delivers, before the instruction at RIP? */
static bool event_queued(const struct vcpu *v)
{
    return v->events->exception.injected || v->events->interrupt.injected;
}

/* Points that nothing but a look finds; those by physical address are looked for in any case. */
static bool stepped_here(struct engine *g, struct vcpu *v)
{
    return (g->points.step_points || g->points.page_points) &&
           (g->points.phys_points || points_at(&g->points, linear_rip(v)) != NULL);
}

static bool points_here(struct engine *g, struct vcpu *v)
{
    return g->points.exec_points && !event_queued(v) &&
           (plant_here(g, v) || engine_register_here(g, v) || stepped_here(g, v));
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

/* ---- exits
 * -------------------------------------------------------------------------------------------- */

static void board_wish(struct engine *g, struct vcpu *v, struct exit_event *ev)
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

/* Every exit, on any path, passes here before its record is kept. */
static void saw(void *arg, struct vcpu *v, struct exit_event *ev)
{
    struct engine *g = arg;

    if (v->wish != WISH_NONE)
        board_wish(g, v, ev);
    if (exit_hooks_any(&g->exit_hooks) && !(ev->flags & EXIT_F_RAM))
        exit_hooks_saw(g, v, ev);
    if (ev->reason == KVM_EXIT_DEBUG && ev->u.debug.exception == 1 && v->data.dr7)
        watch_fired(&g->points.watches, v, ev->u.debug.dr6, ev->flags & EXIT_F_STEPPED,
                    ev->u.debug.dr6 & 0xf & ~watch_dr_bits(&g->points.watches));
    if (g->points.catches)
        catch_exits(g, v, ev);
    if (atomic_load_explicit(&g->console.due, memory_order_relaxed))
        catch_texts(g, v);
}

bool engine_access(void *arg, struct vcpu *v, struct exit_event *ev)
{
    return exit_hooks_access(arg, v, ev);
}

static void note_delivered(struct engine *g, struct vcpu *v, bool yes);

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
    note_delivered(g, v, true);
    return false;
}

void engine_ops(struct engine *g, struct onestep_ops *out)
{
    *out = (struct onestep_ops){.arg = g, .saw = saw};
}

/* A stop that stop_error.c has the words for. */
static void report_exit(struct engine *g, struct vcpu *v, enum stop_kind kind,
                        const struct exit_event *ev)
{
    engine_stop(g, v, kind);
    g->report[v->id].ev = *ev;
}

static void report_stuck(struct engine *g, struct vcpu *v)
{
    struct exit_event ev = {.reason = EXIT_KICK};

    ev.rip = v->regs->rip;
    ev.cs_base = v->sregs->cs.base;
    ev.mode = (uint8_t)cpu_mode_of(v->sregs, v->regs->rflags);
    report_exit(g, v, STOP_STUCK, &ev);
}

static void report_paging(struct engine *g, struct vcpu *v, const char *kind)
{
    struct stop_info *si = engine_stop(g, v, STOP_INTERNAL_ERROR);

    snprintf(si->text, sizeof si->text,
             "the guest turns on %s paging, which this host's KVM cannot do (it pages only in long "
             "mode); run this guest on a machine with hardware virtualization",
             kind);
}

static void report_shutdown(struct engine *g, struct vcpu *v, struct exit_event *ev)
{
    const char *kind = vcpu_paging_refused(v, linear_rip(v));
    struct stop_info *si;
    int id;

    if (kind && ev->u.shutdown.vector == 13) {
        report_paging(g, v, kind);
        return;
    }
    id = catch_of(g, v, CATCH_TRIPLE, ev);
    si = engine_stop(g, v, STOP_TRIPLE_FAULT);
    if (id > 0)
        *si = (struct stop_info){.kind = STOP_TRIPLE_FAULT, .vcpu = v->id, .point_id = id};
    si->vector = ev->u.shutdown.vector;
    si->code = ev->u.shutdown.error_code;
}

/* All vCPUs halted with interrupts off, or still waiting for their start: the end. */
static void check_dead(struct engine *g, struct vcpu *v)
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

/* With the kernel's interrupt chips HLT never leaves the kernel: a kick shows whether the vCPU is
 * halted with interrupts off. */
static void check_kernel_halt(struct engine *g, struct vcpu *v)
{
    enum vcpu_idle idle;

    if (!g->vm->m.irqchip_kernel)
        return;
    idle = vcpu_ask_idle(v);
    atomic_store(&v->idle, idle);
    check_dead(g, v);
    /* It is the kernel that waits, so the loop must go on entering it. */
    if (idle != VCPU_WAIT_SIPI || v->id)
        atomic_store(&v->idle, VCPU_ACTIVE);
}

enum verdict {
    GO,      /* enter again */
    GO_PAST, /* the point at RIP was looked at: step over it first */
    STOPPED, /* stop() was called */
};

/* The guest's own int3, seen because ours leave the guest too: it takes its #BP. As an interrupt,
 * past the byte: a KVM without the processor's help at the next RIP gives the exception itself at
 * the byte now and then, which then happens twice. */
static void give_back_int3(struct vcpu *v)
{
    if (!soft_int_allowed(v, 3)) {
        queue_event(v, 13, false, true, 3 << 3 | 2);
        return;
    }
    v->regs->rip++;
    queue_event(v, 3, true, false, 0);
}

/* The guest's own trap flag has had its instruction. */
static void give_trap(struct vcpu *v)
{
    vcpu_dr6_add(v, DR6_BS);
    queue_event(v, 1, false, false, 0);
}

/* KVM forgets the trap flag when a store leaves the guest, which no store to memory does unless its
 * page is trapped. */
static void trap_store(struct vcpu *v)
{
    if (!(v->regs->rflags & RFLAGS_TF))
        return;
    vcpu_settle(v);
    give_trap(v);
}

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

/* The instruction that KVM refused is carried out; an event that it raises is queued, for KVM to
 * deliver with the next entry. */
static bool assisted(struct engine *g, struct vcpu *v, struct exit_event *ev)
{
    struct assist_event raise;

    if (!assist(g, v, ev, false, &raise))
        return false;
    if (raise.vector >= 0)
        queue_event(v, raise.vector, raise.is_interrupt, raise.has_ec, raise.ec);
    return true;
}

static void note_delivered(struct engine *g, struct vcpu *v, bool yes)
{
    g->delivered[v->id].rip = yes ? linear_rip(v) : UINT64_MAX;
    g->delivered[v->id].rsp = v->regs->rsp;
}

/* Still at the handler that a step entered? Another handler's hook may be reached as soon as that
 * one has returned, without an exit in between. */
static bool was_delivered(const struct engine *g, const struct vcpu *v)
{
    return g->delivered[v->id].rip == linear_rip(v) && g->delivered[v->id].rsp == v->regs->rsp;
}

/* A gate hook has put the vCPU back into ring 3: at a planted int3, or carried out its call. An
 * interrupt that it queued comes before the instruction at RIP, and so before a point there. */
static enum verdict on_hooked(struct engine *g, struct vcpu *v)
{
    const struct plant *pl = plant_here(g, v);

    if (event_queued(v) || !pl || pl->hook) /* the next hook has its turn at the next entry */
        return GO;
    return engine_points_hit(g, v) ? STOPPED : GO_PAST;
}

/* The vCPU stands at a byte of ours: a gate hook, a point, or both. */
static enum verdict on_plant(struct engine *g, struct vcpu *v, const struct plant *pl,
                             struct exit_event *ev)
{
    bool stops = false;

    if (pl->hook) {
        if (!was_delivered(g, v) && hook_taken(g, v, ev))
            return on_hooked(g, v);
        stops = catch_exceptions(g, v, hook_vectors_here(g, v));
    }
    return engine_points_hit(g, v) || stops ? STOPPED : GO_PAST;
}

/* A debug register makes each entry of an emulating KVM dear, and must be taken back for the step
 * past it. A point that the guest passes all the time had better be a byte. */
#define OFTEN 64

static void leave_registers(struct engine *g, const struct vcpu *v)
{
    for (unsigned i = 0; i < g->points.dr_usable; i++) {
        const struct bp *b = g->points.dr_owner[i];

        /* With several vCPUs each pass over a byte makes the others wait; without paging code and
         * data tend to share pages, and writes to the page of a byte are trapped. */
        if (b && b->pub.spec.addr == linear_rip(v) && g->vm->probe.emulated && g->vm->cpus == 1 &&
            v->sregs->cr0 >> 31 &&
            (atomic_load(&b->hits) + atomic_load(&b->false_hits)) % OFTEN == OFTEN - 1 &&
            points_leave_dr(&g->points, i))
            watch_guard_apply(&g->points.watches);
    }
}

static enum verdict on_debug(struct engine *g, struct vcpu *v, const struct vcpu_debug *want,
                             struct exit_event *ev)
{
    unsigned data = v->data.dr7 ? watch_dr_bits(&g->points.watches) : 0;
    const struct plant *pl;

    if (ev->u.debug.exception == 3) {
        pl = plant_here(g, v);
        if (pl)
            return on_plant(g, v, pl, ev);
        give_back_int3(v);
        return GO;
    }
    /* The guest steps itself, which is seen because points of ours are on. One at the instruction
     * that comes next has its turn when the guest is back from its handler. */
    if ((ev->u.debug.dr6 & DR6_BS) && !want->step) {
        give_trap(v);
        return GO;
    }
    if (ev->u.debug.dr6 & (want->dr7 ? 0xf : 0) & ~data) {
        if (engine_points_hit(g, v))
            return STOPPED;
        leave_registers(g, v);
        return GO_PAST;
    }
    return GO;
}

/* After a kick: a vCPU that has not moved for a while is stepped; one whose steps do not end is
 * stuck. */
static bool is_stuck(struct engine *g, struct vcpu *v)
{
    struct stuck *s = &g->stuck[v->id];
    struct onestep_info info;
    bool held = v->hold_irq;

    if (atomic_load(&v->idle) != VCPU_ACTIVE || !stuck_suspect(s, v) || vcpu_sleeps_inside(v))
        return false;
    v->hold_irq = true;
    do {
        info.last.guest_ns = 0;
    } while (!engine_one_step(g, v, &info) && info.last.reason != EXIT_KICK && s->stood &&
             !vcpu_parking(v));
    v->hold_irq = held;
    vcpu_show_idt(v);
    vcpu_dr6_restore(v);
    if (!g->report[v->id].present && stuck_tried(s, v, info.last.guest_ns))
        report_stuck(g, v);
    return g->report[v->id].present;
}

/* Does an event still wait that the entry was to deliver? The #UD that processors' KVM queues along
 * with its refusal is none. */
static bool undelivered(const struct vcpu *v)
{
    return v->events->interrupt.injected ||
           (v->events->exception.injected && v->events->exception.nr != 6);
}

/* An access to a trapped page may be that of an event's delivery, made again and again. */
static bool moved_on(const struct watch_cpu *c, const struct vcpu *v, const struct exit_event *ev)
{
    return c->kicked && (ev->reason != KVM_EXIT_MMIO || !stuck_same(&c->kicked_regs, v->regs));
}

/* Exits that ask for nothing, or that were served before (vcpu.c). To enter again after any other
 * would mean the same exit for ever. */
static bool is_answered(unsigned reason)
{
    switch (reason) {
    case KVM_EXIT_IO:
    case KVM_EXIT_MMIO:
    case KVM_EXIT_X86_RDMSR:
    case KVM_EXIT_X86_WRMSR:
    case KVM_EXIT_HYPERCALL:
    case KVM_EXIT_IRQ_WINDOW_OPEN:
    case KVM_EXIT_INTR:
    case KVM_EXIT_NMI:
    case KVM_EXIT_SET_TPR:
    case KVM_EXIT_TPR_ACCESS:
    case KVM_EXIT_IOAPIC_EOI:
    case KVM_EXIT_DIRTY_RING_FULL:
    case KVM_EXIT_X86_BUS_LOCK:
    case KVM_EXIT_NOTIFY:
    case EXIT_ASSIST:
    case EXIT_RUN: /* a step that needed no entry */
        return true;
    default:
        return false;
    }
}

/* Deals with one exit that no device answers. */
static enum verdict on_exit(struct engine *g, struct vcpu *v, const struct vcpu_debug *want,
                            struct exit_event *ev)
{
    struct onestep_ops ops = {.arg = g, .saw = saw};
    struct onestep_info info;
    const char *kind;
    struct plant *pl;

    if (ev->reason != EXIT_KICK) { /* it gets on, wherever the next kick finds it */
        if (!(ev->flags & EXIT_F_RAM))
            stuck_clear(&g->stuck[v->id]);
        if (moved_on(&g->points.watches.cpu[v->id], v, ev))
            g->points.watches.cpu[v->id].kicked = false;
    }
    switch (ev->reason) {
    case KVM_EXIT_DEBUG:
        return on_debug(g, v, want, ev);
    case KVM_EXIT_INTERNAL_ERROR:
        if (undelivered(v)) { /* refused was its frame, not the instruction at RIP */
            if (watch_recover(g, v, ev, &ops, &info))
                return GO;
            report_exit(g, v, STOP_INTERNAL_ERROR, ev);
            return STOPPED;
        }
        pl = plant_here(g, v);
        if (pl && pl->hook && (kind = hook_paging(g, v))) {
            report_paging(g, v, kind);
            return STOPPED;
        }
        if (pl)
            return on_plant(g, v, pl, ev);
        /* Code in a trapped page: points there have not been asked yet. */
        if (!ev->u.internal.insn_len && g->points.watches.trapped &&
            (engine_register_here(g, v) || stepped_here(g, v)))
            return engine_points_hit(g, v) ? STOPPED : GO_PAST;
        if (assisted(g, v, ev))
            return GO;
        if (watch_recover(g, v, ev, &ops, &info))
            return GO;
        report_exit(g, v, STOP_INTERNAL_ERROR, ev);
        return STOPPED;
    case KVM_EXIT_SHUTDOWN:
        if (hook_taken_early(g, v, ev)) /* its frame could not be pushed, and need not be */
            return on_hooked(g, v);
        if (watch_recover(g, v, ev, &ops, &info))
            return GO;
        report_shutdown(g, v, ev);
        return STOPPED;
    case KVM_EXIT_HLT:
        check_dead(g, v);
        return GO;
    case EXIT_KICK:
        check_kernel_halt(g, v);
        watch_kicked(g, v, &ops);
        return is_stuck(g, v) ? STOPPED : GO;
    case KVM_EXIT_SYSTEM_EVENT:
        if (ev->u.system.type == KVM_SYSTEM_EVENT_SHUTDOWN)
            engine_stop(g, v, STOP_POWER_OFF);
        else if (ev->u.system.type == KVM_SYSTEM_EVENT_RESET)
            engine_stop(g, v, STOP_RESET);
        else
            report_exit(g, v, STOP_HOST_ERROR, ev);
        return STOPPED;
    default:
        if (is_answered(ev->reason))
            return GO;
        report_exit(g, v, STOP_HOST_ERROR, ev);
        return STOPPED;
    }
}

/* ---- stepping -------------------------------------------------------------------------------- */

/* An #UD under a step: the same as KVM's refusal, when the processor has the instruction. */
static bool undefined(void *arg, struct vcpu *v, struct exit_event *ev, struct assist_event *raise)
{
    struct exit_event again = *ev;

    again.u.internal.suberror = KVM_INTERNAL_ERROR_EMULATION;
    if (!assist(arg, v, &again, true, raise) || raise->vector == 6)
        return false;
    *ev = again;
    vcpu_commit(v, ev);
    return true;
}

/* The step stands before an instruction that KVM refused: carried out here, up to the first
 * instruction of the handler when it raises something. `lifted`: the plant whose byte is out of the
 * way, so that what was refused is the guest's own instruction. */
static bool assisted_step(struct engine *g, struct vcpu *v, const struct onestep_ops *ops,
                          const struct plant *lifted, struct onestep_info *info)
{
    const struct plant *pl = plant_here(g, v);
    struct assist_event raise;

    if ((pl && pl != lifted) || !assist(g, v, &info->last, true, &raise))
        return false;
    vcpu_commit(v, &info->last);
    return raise.vector < 0 || vcpu_deliver(v, ops, raise.vector, raise.has_ec, raise.ec,
                                            raise.is_interrupt, info) != ONE_OTHER;
}

/* What a step that ended oddly means. True when the instruction was carried out after all. */
static bool after_odd_step(struct engine *g, struct vcpu *v, const struct onestep_ops *ops,
                           const struct plant *lifted, struct onestep_info *info)
{
    struct vcpu_debug none = {0};
    struct exit_event ev = info->last;
    bool ours;

    if (info->last.reason == EXIT_KICK)
        return false;
    if (info->last.reason == KVM_EXIT_INTERNAL_ERROR && assisted_step(g, v, ops, lifted, info))
        return true;
    /* A refusal at a planted byte is no trap's fault, but where the step began it is lifted. */
    ours = info->last.reason == KVM_EXIT_INTERNAL_ERROR && plant_here(g, v) &&
           linear_rip(v) != g->points.watches.cpu[v->id].step_from;
    if (!ours && watch_recover(g, v, &ev, ops, info))
        return info->last.reason != EXIT_KICK;
    on_exit(g, v, &none, &info->last);
    return false;
}

/* Planted bytes that no trap guards: the guest may have put other code there. */
static void plant_again(struct engine *g, struct vcpu *v)
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
        report_stuck(g, v);
    }
    return true;
}

/* `go_on`: of a job that nobody interrupts, as many as may follow at once; those before the last
 * are counted, and `info->told` says whether that one is. */
static bool make_steps(struct engine *g, struct vcpu *v, struct onestep_info *info,
                       bool (*go_on)(void *arg, struct vcpu *v))
{
    struct onestep_ops ops = {.arg = g, .saw = saw, .undefined = undefined, .again = go_on};
    struct plant *pl = plant_here(g, v);
    uint8_t *hva = pl ? mem_ptr(&g->vm->mem, pl->gpa, 1) : NULL;
    bool alone = hva || g->vm->methods.step_enters_free; /* step_guard.h */
    struct watches *w = &g->points.watches;
    uint64_t judged = g->judged[v->id];
    enum onestep r;
    bool made, by_hand;

    g->before[v->id] = *v->regs;
    w->cpu[v->id].step_from = linear_rip(v);
    g->judged[v->id] = UINT64_MAX;
    if (alone)
        engine_alone_begin(g, v);
    if (hva && *hva != pl->byte)
        pl->original = *hva; /* the guest has put other code there */
    if (hva) {
        *hva = pl->original;
        pl->lifted = true;
    }
    by_hand = w->trapped && vcpu_steps_by_hand(v);
    if (by_hand)
        watch_expect_all(w, v);
    else if (w->stepped || v->data.dr7)
        watch_expect(w, v);
    r = vcpu_onestep(v, &ops, info);
    if (w->stepped || by_hand)
        watch_expected(w, v, r != ONE_OTHER && (info->vector < 0 || info->trapped));
    made = r != ONE_OTHER || after_odd_step(g, v, &ops, pl, info);
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
    plant_again(g, v);
    if (r == ONE_HALT)
        check_dead(g, v);
    if (w->stepped)
        watch_compare(w, v);
    w->cpu[v->id].step_from = 0;
    if (!made || info->partial)
        g->judged[v->id] = judged; /* it still stands there */
    return made;
}

bool engine_one_step(struct engine *g, struct vcpu *v, struct onestep_info *info)
{
    return make_steps(g, v, info, NULL);
}

static void report_steps(struct engine *g, struct vcpu *v, const struct onestep_info *info)
{
    struct stop_info *si = engine_stop(g, v, STOP_STEP);

    si->vector = info->vector;
}

/* Does the step job end here by what it was to look for? */
static bool arrived(struct engine *g, const struct cpu_job *job, struct vcpu *v,
                    const struct catch_before *before)
{
    uint32_t want = job->to == STEP_TO_BRANCH ? INSN_BRANCH
                    : job->to == STEP_TO_CALL ? INSN_CALL
                    : job->to == STEP_TO_RET  ? INSN_RET | INSN_IRET | INSN_SYSRET
                                              : 0;
    const struct plant *pl = plant_here(g, v);
    struct catch_before now;
    struct insn in;
    uint8_t bytes[15];
    unsigned n;

    switch (job->to) {
    case STEP_TO_COUNT:
        return false;
    case STEP_TO_MODE:
        catch_look(g, v, &now);
        return now.mode != before->mode || now.cpl != before->cpl;
    case STEP_TO_CR3:
        return v->sregs->cr3 != before->cr3;
    default:
        break;
    }
    n = vcpu_fetch(v, bytes);
    if (!n)
        return true; /* nothing more can be executed */
    if (pl)
        bytes[0] = pl->original;
    disasm_one(job->disasm, cpu_mode_bits(cpu_mode_of(v->sregs, v->regs->rflags)), linear_rip(v),
               bytes, n, &in);
    return in.effects & want;
}

static void count_step(struct engine *g, struct vcpu *v, struct cpu_job *job,
                       const struct catch_before *before)
{
    job->made++;
    job->steps--;
    if ((job->each && !job->each(job->each_arg, v)) || arrived(g, job, v, before))
        job->steps = 0;
}

/* Does nobody want to look between two steps? Points, catches and watches change only while this
 * vCPU is parked or paused; for what others ask of it meanwhile see steps_again. */
static bool steps_unseen(const struct engine *g, const struct vcpu *v, const struct cpu_job *job)
{
    const struct points *p = &g->points;

    return job->steps > 1 && job->to != STEP_TO_MODE && job->to != STEP_TO_CR3 && !p->exec_points &&
           !p->plants && !p->catches && !p->watches.pages && !v->data.dr7 &&
           !g->vm->methods.step_enters_free;
}

/* A step of a job was made, by `steps_unseen`. Others who want something of the vCPU kick it, or
 * set what the body looks at. */
static bool steps_again(void *arg, struct vcpu *v)
{
    struct engine *g = arg;
    struct cpu_job *job = &g->job[v->id];

    count_step(g, v, job, NULL);
    if (!job->steps || vcpu_parking(v) || atomic_load_explicit(&v->kicked, memory_order_relaxed) ||
        exit_hooks_any(&g->exit_hooks) ||
        atomic_load_explicit(&g->alone_wanted, memory_order_relaxed) ||
        atomic_load_explicit(&g->points.look, memory_order_relaxed) ||
        (!v->hold_irq &&
         atomic_load_explicit(&g->vm->m.cpu[v->id].attention, memory_order_relaxed)))
        return false;
    g->before[v->id] = *v->regs;
    return true;
}

/* Steps of a JOB_STEP. A point at the new RIP ends the job early, as it would end a run. */
static void step_job(struct engine *g, struct vcpu *v, struct cpu_job *job)
{
    struct onestep_info info;
    struct catch_before before;
    bool made, stopped;

    catch_look(g, v, &before);
    made = make_steps(g, v, &info, steps_unseen(g, v, job) ? steps_again : NULL);
    stopped = watch_noted(g, v) && watch_judge(g, v);
    if (!made)
        return;
    if (!info.told)
        count_step(g, v, job, &before);
    if (g->points.catch_steps)
        stopped |= catch_changes(g, v, &before);
    if (g->points.catch_vectors && info.vector >= 0 && info.vector < 32)
        stopped |= catch_exceptions(g, v, 1u << info.vector);
    if (stopped)
        return;
    if (points_here(g, v)) {
        if (engine_points_hit(g, v)) {
            g->report[v->id].info.vector = info.vector;
            return;
        }
    }
    if (!job->steps)
        report_steps(g, v, &info);
}

/* A vCPU that was running freely may come to be stepped or parked at a gate hook that has not had
 * its turn: nobody is to see the guest in a handler that it never entered. */
static bool left_at_hook(struct engine *g, struct vcpu *v)
{
    struct exit_event ev = {.reason = EXIT_KICK, .vcpu = (uint8_t)v->id};
    const struct plant *pl = plant_here(g, v);

    return hook_taken_early(g, v, &ev) ||
           (pl && pl->hook && !was_delivered(g, v) && hook_taken(g, v, &ev));
}

/* A vCPU that parks where a point is, before it could be hit there, hits it now: whoever goes on
 * from an instruction that was shown passes its points. Not while it halts: an interrupt may come
 * first and bring it here again. */
static void hit_while_parking(struct engine *g, struct vcpu *v)
{
    if (g->past[v->id] || g->judged[v->id] == linear_rip(v) || v->wish != WISH_NONE ||
        v->injected >= 0 || event_queued(v) || atomic_load(&v->idle) != VCPU_ACTIVE)
        return;
    g->judged[v->id] = linear_rip(v);
    if (points_here(g, v))
        g->past[v->id] = !engine_points_hit(g, v); /* they have counted */
}

/* ---- the body
 * ---------------------------------------------------------------------------------------------- */

/* Steps over the instruction at a point that was dealt with. False when a kick came first: then
 * it is still to be stepped over, or the point would count twice. */
static bool go_past(struct engine *g, struct vcpu *v)
{
    struct plant *pl = plant_here(g, v);
    struct onestep_info info;
    bool held = v->hold_irq, made;

    if (pl && !engine_register_here(g, v)) {
        enum pass passed = pass_plain(g, v, pl);

        note_delivered(g, v, false);
        if (passed != PASS_NO)
            return passed == PASS_MADE;
    }
    v->hold_irq = true;
    made = engine_one_step(g, v, &info);
    note_delivered(g, v, made && info.vector >= 0);
    v->hold_irq = held;
    vcpu_show_idt(v);
    vcpu_dr6_restore(v);
    if (watch_noted(g, v))
        watch_judge(g, v);
    return made && !info.partial;
}

/* Running while a watchpoint or catchpoint needs a look after each instruction. */
static void run_by_steps(struct engine *g, struct vcpu *v)
{
    struct onestep_info info;
    struct catch_before before;
    bool past = g->past[v->id], made;

    if (left_at_hook(g, v))
        return;
    g->past[v->id] = false;
    catch_look(g, v, &before);
    if (!past && points_here(g, v)) {
        if (engine_points_hit(g, v))
            return;
        past = true;
    }
    made = engine_one_step(g, v, &info);
    g->past[v->id] = past && (!made || info.partial);
    note_delivered(g, v, made && info.vector >= 0);
    if (watch_noted(g, v))
        watch_judge(g, v);
    if (made && g->points.catch_steps)
        catch_changes(g, v, &before);
    if (made && g->points.catch_vectors && info.vector >= 0 && info.vector < 32)
        catch_exceptions(g, v, 1u << info.vector);
    if (g->vm->probe.emulated || g->points.catch_vectors)
        hooks_refresh(g, v);
}

/* LIDT makes no exit. A guest that takes its first exception soon after it would take it unseen, so
 * until a caught exception has a handler the beginning is stepped; a guest that needs longer to get
 * there is only looked at now and then (session.c's watch). */
#define AWAIT_STEPS 100000

static bool await_handlers(struct engine *g)
{
    return hooks_missing(g) && atomic_fetch_add(&g->hooks.steps, 1) < AWAIT_STEPS;
}

/* KVM made the loads of an instruction and refused it then, while they were being completed. */
static enum verdict on_refused(struct engine *g, struct vcpu *v, const struct vcpu_debug *want)
{
    struct exit_event ev = v->refused;
    enum verdict next;

    v->refused.reason = 0;
    saw(g, v, &ev);
    next = on_exit(g, v, want, &ev);
    if (watch_noted(g, v) && watch_judge(g, v) && next == GO)
        next = STOPPED;
    vcpu_commit(v, &ev);
    return next;
}

static void body_once(struct engine *g, struct vcpu *v)
{
    struct cpu_job *job = &g->job[v->id];
    struct vcpu_debug want;
    struct exit_event ev;
    enum verdict next;
    bool string;

    if (atomic_load_explicit(&g->points.look, memory_order_relaxed))
        hooks_refresh(g, v);
    if (job->kind == JOB_STEP) {
        g->past[v->id] = false;
        step_job(g, v, job);
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
    if (g->vm->probe.emulated || g->points.pending ||
        (g->points.catch_vectors | g->hooks.look[v->id].vectors))
        hooks_refresh(g, v);
    if (watch_deliver(g, v))
        return;
    engine_want_debug(g, &want);
    g->judged[v->id] = UINT64_MAX;
    v->ram_stored = false;
    vcpu_enter(v, &want, &ev);
    saw(g, v, &ev);
    next = on_exit(g, v, &want, &ev);
    v->refused.reason = 0;
    string = watch_noted(g, v) && watch_in_string(&g->points.watches, v);
    if (string) {
        vcpu_commit(v, &ev); /* before the records of the rest */
        watch_finish_string(g, v);
        next = GO;
    }
    if (watch_noted(g, v) && watch_judge(g, v) && next == GO)
        next = STOPPED;
    if (v->ram_stored)
        trap_store(v);
    if (next == STOPPED)
        ev.flags |= EXIT_F_STOPPED;
    if (!string)
        vcpu_commit(v, &ev);
    if (next == GO && v->refused.reason == KVM_EXIT_INTERNAL_ERROR)
        next = on_refused(g, v, &want);
    if (atomic_load_explicit(&g->stack_depth, memory_order_relaxed))
        stacks_put(g, v, &ev);
    watch_renew(g, v);
    plant_again(g, v);
    g->past[v->id] = next == GO_PAST;
    note_delivered(g, v, false);
}

void engine_body(void *arg, struct vcpu *v)
{
    struct engine *g = arg;

    body_count(g, 1);
    hooks_look(g, v);
    v->hold_irq = g->job[v->id].kind == JOB_STEP && !g->step_irq;
    while (!vcpu_parking(v)) {
        if (atomic_load_explicit(&g->alone_wanted, memory_order_acquire))
            alone_pause(g);
        int injected = v->injected;

        if (!vcpu_ready(v)) {
            check_dead(g, v);
            continue;
        }
        if (injected < 0 && v->injected >= 0 &&
            (exit_hooks_any(&g->exit_hooks) || g->points.catches) && !saw_injected(g, v))
            continue;
        if (g->vm->cpus == 1 || !g->points.watches.trapped) {
            body_once(g, v);
        } else if (watch_turn_take(g, v)) {
            body_once(g, v);
            watch_turn_give(g);
        }
    }
    vcpu_settle(v);
    if (watch_noted(g, v))
        watch_judge(g, v); /* what the last access did is not lost with the stop */
    if (g->job[v->id].kind == JOB_RUN && !g->past[v->id] && v->injected < 0 &&
        g->judged[v->id] != linear_rip(v))
        (void)left_at_hook(g, v);
    hit_while_parking(g, v);
    vcpu_show_idt(v);
    vcpu_dr6_restore(v);
    v->hold_irq = false;
    body_count(g, -1);
}
