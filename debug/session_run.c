/*
 * The machine set going and brought to a stand: which stop counts, what is told of it, and resets.
 * Main thread.
 */
#include "debug/session_priv.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "debug/points/hooks.h"
#include "debug/points/watch_by.h"
#include "debug/stop.h"
#include "debug/trace/tracer.h"

/* Is a report that was not told yet still worth telling? What vanished with the exit is; what would
 * happen again by itself is not, nor a step that somebody else's stop has ended. */
static bool still_counts(const struct session *s, const struct stop_report *r)
{
    const struct bp *b = points_get(&s->engine.points, r->info.point_id);

    switch (r->info.kind) {
    case STOP_BREAKPOINT:
    case STOP_WATCHPOINT:
    case STOP_CATCH:
        return b && b->pub.enabled;
    case STOP_INTERNAL_ERROR:
    case STOP_HOST_ERROR:
        return s->vm->cpu[r->info.vcpu]->regs->rip == r->ev.rip;
    case STOP_POWER_OFF:
    case STOP_DEBUG_EXIT:
    case STOP_RESET:
    case STOP_TRIPLE_FAULT:
    case STOP_HOOK:
        return true;
    default:
        return false;
    }
}

/* The stop that counts: the earliest reason of a vCPU that ran; none at all means that somebody
 * asked. Reports that were overtaken wait for the next run. */
static struct stop_report *first_report(struct session *s)
{
    struct stop_report *first = NULL;

    for (unsigned i = 0; i < s->vm->cpus; i++) {
        struct stop_report *r = &s->engine.report[i];

        if (r->present && r->late && !still_counts(s, r))
            r->present = false;
        if (r->present && (s->run_mask >> i & 1) && (!first || r->at_ns < first->at_ns))
            first = r;
    }
    return first;
}

void session_launch(struct session *s, uint32_t mask)
{
    for (unsigned i = 0; i < s->vm->cpus; i++) {
        const struct vcpu *v = s->vm->cpu[i];

        s->cpu[i].have = 0;
        if (!(mask >> i & 1))
            continue;
        /* Whoever goes on from an instruction at which its stop was shown passes the points there;
         * a vCPU that merely came to stand at one has still to report it. */
        s->engine.past[i] |=
            s->told_rip[i] == vcpu_linear_rip(v) && s->engine.judged[i] == s->told_rip[i];
        s->told_rip[i] = UINT64_MAX;
    }
    s->run_mask = mask;
    points_refresh(&s->engine.points);
    watch_resync(&s->engine.points.watches);
    s->state = SS_RUNNING;
    s->user_stop = false;
    session_set_watch(s);
    if (first_report(s)) {
        session_ring(s); /* another vCPU hit something at the same time: that is told first */
        return;
    }
    tracer_launched(s->tracer);
    vm_run(s->vm, mask);
}

static int must_be_stopped(const struct session *s, struct err *e)
{
    if (s->state == SS_RUNNING)
        return err_set(e, EBUSY, "the guest is running; stop it first (Ctrl-C or `stop`)");
    return 0;
}

int session_can_run(const struct session *s, struct err *e)
{
    if (s->state == SS_ENDED)
        return err_set(e, ESRCH, "the guest has ended; `run` starts it again from its entry");
    return must_be_stopped(s, e);
}

int session_run(struct session *s, struct err *e)
{
    int rc = session_can_run(s, e);

    if (rc < 0)
        return rc;
    session_go(s);
    return 0;
}

int session_stop(struct session *s)
{
    if (s->state != SS_RUNNING)
        return 0;
    s->user_stop = true;
    vm_park_ask(s->vm);
    return 0;
}

static void forget_stops(struct session *s)
{
    memset(s->engine.past, 0, sizeof s->engine.past);
    memset(s->engine.judged, 0xff, sizeof s->engine.judged);
    memset(s->engine.report, 0, sizeof s->engine.report);
    for (unsigned i = 0; i < s->vm->cpus; i++)
        s->told_rip[i] = UINT64_MAX; /* a point at the entry is still to be hit */
}

void session_stopped_at_entry(struct session *s)
{
    struct vcpu *v = s->vm->cpu[0];

    s->state = SS_STOPPED;
    s->focus = 0;
    buf_clear(&s->commands);
    s->silent = false;
    forget_stops(s);
    s->last = (struct stop_info){
        .kind = STOP_ENTRY,
        .rip = v->regs->rip,
        .cs_base = v->sregs->cs.base,
        .point_id = -1,
        .vector = -1,
    };
    stop_describe(s, &s->last, NULL);
}

/* Reset without an event. */
static int session_reset_quiet(struct session *s, struct err *e)
{
    int rc;

    hooks_forget(&s->engine);
    rc = vm_reset(s->vm, e);
    forget_stops(s); /* what other vCPUs had to say is of the run before */
    for (unsigned i = 0; i < s->vm->cpus; i++)
        s->cpu[i].have = 0;
    points_replant(&s->engine.points);
    if (rc == 0)
        session_renew_symbols(s);
    session_publish(s, EV_RESET, NULL);
    return rc;
}

int session_reset(struct session *s, struct err *e)
{
    int rc = must_be_stopped(s, e);

    if (rc < 0)
        return rc;
    rc = session_reset_quiet(s, e);
    if (rc < 0)
        return rc;
    session_stopped_at_entry(s);
    session_publish(s, EV_STOPPED, &s->last);
    return 0;
}

static bool ends_guest(enum stop_kind k)
{
    return k == STOP_POWER_OFF || k == STOP_DEBUG_EXIT || k == STOP_HALTED ||
           k == STOP_TRIPLE_FAULT;
}

static bool resets(const struct session *s, enum stop_kind k)
{
    return (k == STOP_RESET && s->cfg.on_reset == ON_RESET_RESET) ||
           (k == STOP_TRIPLE_FAULT && s->cfg.on_triple_fault == ON_TRIPLE_RESET);
}

static void publish_stop(struct session *s, struct stop_info si, const struct exit_event *ev)
{
    const struct vcpu *v;

    s->focus = si.vcpu;
    v = s->vm->cpu[si.vcpu];
    si.rip = v->regs->rip;
    si.cs_base = v->sregs->cs.base;
    si.steps = s->engine.job[si.vcpu].made;
    s->state = ends_guest(si.kind) && !s->engine.report[si.vcpu].present ? SS_ENDED : SS_STOPPED;
    if (si.kind == STOP_WATCHPOINT)
        watch_find_by(s, &si);
    stop_describe(s, &si, ev);
    s->last = si;
    s->told_rip[si.vcpu] = si.cs_base + si.rip;
    for (unsigned i = 0; i < s->vm->cpus; i++)
        s->engine.report[i].late = s->engine.report[i].present;
    tracer_stopped(s->tracer, si.kind, si.point_id);
    session_points_told(s, si.vcpu);
    session_deliver_console(s);
    session_deliver_logs(s);
    session_publish(s, EV_STOPPED, &s->last);
}

/* What a catchpoint held up happens when the guest goes on: it is told then, before anything runs.
 */
static void hold_up(const struct session *s, struct stop_report *r)
{
    enum stop_kind then = r->then;

    r->then = STOP_NONE;
    if (!resets(s, then) && (!ends_guest(then) || ends_guest(r->info.kind)))
        return;
    r->info = (struct stop_info){.kind = then,
                                 .vcpu = r->info.vcpu,
                                 .point_id = -1,
                                 .vector = then == STOP_TRIPLE_FAULT ? r->then_vector : -1,
                                 .code = r->then_code};
    r->present = true;
}

/* The first, and then each tenth power: a boot loop is told without drowning what it prints. */
static void tell_resets(struct session *s)
{
    uint64_t n = s->resets;
    char text[200];

    while (n % 10 == 0)
        n /= 10;
    if (n != 1)
        return;
    if (s->resets == 1)
        snprintf(text, sizeof text, "The guest resets itself.");
    else
        snprintf(text, sizeof text,
                 "The guest has reset itself %llu times: a boot loop? `catch reset` and "
                 "--on-triple-fault stop show where.",
                 (unsigned long long)s->resets);
    session_tell_line(s, text);
}

uint64_t session_resets(const struct session *s)
{
    return s->resets;
}

static void reset_and_go(struct session *s)
{
    struct err e = {0};

    s->state = SS_STOPPED;
    s->resets++;
    tell_resets(s);
    if (session_reset_quiet(s, &e) < 0 || session_run(s, &e) < 0) {
        struct stop_info si = {.kind = STOP_HOST_ERROR, .point_id = -1, .vector = -1};

        snprintf(si.text, sizeof si.text, "the reset failed: %.300s", e.msg);
        publish_stop(s, si, NULL);
    }
}

void session_all_parked(struct session *s)
{
    struct stop_report *r = first_report(s);
    struct stop_info si = {.kind = STOP_USER, .vcpu = s->focus, .point_id = -1, .vector = -1};

    vm_park(s->vm);
    points_reassert(&s->engine.points); /* views of memory show what the guest has written */
    if (r) {
        si = r->info;
        r->present = false;
        hold_up(s, r);
    }
    if (r && si.point_id < 0 && resets(s, si.kind)) {
        reset_and_go(s);
        return;
    }
    if (s->finish.point && si.point_id == s->finish.point) {
        if (!s->user_stop) {
            session_finish_follow(s);
            return;
        }
        si.kind = STOP_USER;
    }
    if (s->over_left && (si.kind == STOP_STEP || si.kind == STOP_TEMPORARY) && --s->over_left) {
        /* Nobody is shown this stop, but the points here were asked. */
        s->told_rip[si.vcpu] = vcpu_linear_rip(s->vm->cpu[si.vcpu]);
        points_drop_hidden(&s->engine.points);
        if (!s->user_stop) {
            session_over_once(s, si.vcpu);
            return;
        }
        si.kind = STOP_USER; /* between two of the steps */
    }
    if (!r && !s->user_stop) {
        vm_run(s->vm, s->run_mask); /* nobody asked: a stray park */
        return;
    }
    publish_stop(s, si, r ? &r->ev : NULL);
}
