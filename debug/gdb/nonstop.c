/*
 * Non-stop mode: each vCPU is stopped and continued for itself. The machine below stops as a whole,
 * so the others are let go again at once, and while any runs, it is held for the moment that a
 * request takes. Stops are told as notifications, one at a time; the client takes the next with
 * vStopped. Main thread.
 */
#include <errno.h>
#include <string.h>

#include "debug/gdb/stub.h"
#include "vmm/base/log.h"

static void queue(struct gdb *g, const struct stop_info *si, unsigned vcpu)
{
    struct gdb_nonstop *ns = &g->ns;

    ns->running &= ~(1u << vcpu);
    ns->act[vcpu] = ACT_NONE;
    if (ns->queued >> vcpu & 1)
        return;
    ns->queued |= 1u << vcpu;
    ns->info[vcpu] = *si;
    ns->info[vcpu].vcpu = vcpu;
    ns->order[ns->count++] = vcpu;
}

/* Takes the first out of the queue. */
static void tell_first(struct gdb *g, struct buf *out)
{
    struct gdb_nonstop *ns = &g->ns;
    unsigned vcpu = ns->order[0];

    ns->queued &= ~(1u << vcpu);
    memmove(ns->order, ns->order + 1, --ns->count * sizeof ns->order[0]);
    if (!gdb_end_of(&ns->info[vcpu], out))
        gdb_stop_of(g, &ns->info[vcpu], true, out);
}

static void notify(struct gdb *g)
{
    struct buf b = {0};

    if (g->ns.notified || !g->ns.count)
        return;
    g->ns.notified = true;
    buf_adds(&b, "Stop:");
    tell_first(g, &b);
    gdb_notify(g, b.data, b.len);
    buf_fini(&b);
}

/* The client took the one it was told of. */
void pk_vstopped(struct gdb *g, const char *p, const char *end)
{
    (void)p;
    (void)end;
    g->ns.notified = g->ns.count > 0;
    if (g->ns.count)
        tell_first(g, &g->reply);
    else
        reply_ok(g);
}

/* Lets go whoever shall run; a machine that is held is changed under way. */
static int go(struct gdb *g, struct err *e)
{
    struct resume r = {0};
    int rc = 0;

    for (unsigned i = 0; i < session_cpus(g->s); i++)
        if (!(g->ns.running >> i & 1))
            g->ns.act[i] = ACT_NONE;
    if (!g->ns.running)
        return 0;
    gdb_fill_resume(g, g->ns.act, &r);
    gdb_points_sync(g, false);
    g->ours = true;
    rc = session_resume(g->s, &r, e);
    g->ours = false;
    return rc;
}

/* The same, where somebody may be asked for what cannot be done (`first`: the new ones): who does
 * not run after all is told to stand, and so is a machine of which nobody runs. */
static void go_or_tell(struct gdb *g, uint32_t first, bool held)
{
    struct stop_info quiet = {.kind = STOP_NONE, .point_id = -1};
    uint32_t blamed = first ? first : g->ns.running;
    struct err e = {0};

    while (go(g, &e) < 0) {
        log_info("gdb's vCPUs do not go on: %s", e.msg);
        for (unsigned i = 0; i < session_cpus(g->s); i++)
            if (blamed >> i & 1)
                queue(g, &quiet, i);
        blamed = g->ns.running;
    }
    if (held && !g->ns.running)
        session_unhold_stopped(g->s);
}

/* "?": the vCPU in focus stands, the others run: gdb 13 cannot take in several stops at once while
 * it connects. */
void gdb_ns_why(struct gdb *g)
{
    struct stop_info si = {.kind = STOP_ENTRY, .vcpu = session_focus(g->s), .point_id = -1};

    g->ns = (struct gdb_nonstop){0};
    gdb_stop_of(g, &si, false, &g->reply);
    g->ns.notified = true;
    for (unsigned i = 0; i < session_cpus(g->s); i++)
        if (i != si.vcpu) {
            g->ns.running |= 1u << i;
            g->ns.act[i] = ACT_CONTINUE;
        }
    go_or_tell(g, 0, session_hold(g->s));
}

static void queue_own(struct gdb *g)
{
    for (unsigned i = 0; i < session_cpus(g->s); i++) {
        const struct stop_info *own = session_stop_of(g->s, i);

        if (own && (g->ns.running >> i & 1))
            queue(g, own, i);
    }
}

/* A stop of the machine: those that stopped themselves are told, the others go on. */
void gdb_ns_stopped(struct gdb *g)
{
    const struct stop_info *si = session_last_stop(g->s);
    bool all = session_state(g->s) == SS_ENDED || si->kind == STOP_USER;

    if (si->kind == STOP_POWER_OFF || si->kind == STOP_DEBUG_EXIT) {
        g->ns.running = g->ns.queued = g->ns.count = 0; /* the end is told once */
        queue(g, si, si->vcpu);
    } else {
        queue_own(g);
    }
    for (unsigned i = 0; i < session_cpus(g->s); i++)
        if ((g->ns.running >> i & 1) && (all || i == si->vcpu))
            queue(g, si, i);
    go_or_tell(g, 0, false);
    notify(g);
}

/* vCont: answered at once; stops come as notifications. */
void gdb_ns_vcont(struct gdb *g, const enum gdb_action act[], const struct gdb_range range[])
{
    struct stop_info quiet = {.kind = STOP_NONE, .point_id = -1};
    uint32_t start = 0, halt = 0;
    bool held;

    for (unsigned i = 0; i < session_cpus(g->s); i++) {
        bool runs = g->ns.running >> i & 1;

        if (act[i] == ACT_STOP && runs)
            halt |= 1u << i;
        if (act[i] != ACT_STOP && act[i] != ACT_NONE && !runs) {
            start |= 1u << i;
            g->ns.act[i] = act[i];
            g->range[i] = range[i];
        }
    }
    reply_ok(g);
    if (!start && !halt)
        return;
    held = session_hold(g->s);
    queue_own(g);
    for (unsigned i = 0; i < session_cpus(g->s); i++)
        if (halt >> i & 1)
            queue(g, &quiet, i);
    g->ns.running |= start;
    go_or_tell(g, start, held);
    g->ns.tell = g->ns.count > 0; /* after the OK */
}

void gdb_ns_after_reply(struct gdb *g)
{
    if (g->ns.tell)
        notify(g);
    g->ns.tell = false;
}

void gdb_ns_leave(struct gdb *g)
{
    struct err e = {0};

    if (!g->non_stop || !session_hold(g->s))
        return;
    for (unsigned i = 0; i < session_cpus(g->s); i++)
        g->ns.act[i] = ACT_CONTINUE;
    g->ns.running = (uint32_t)((1ull << session_cpus(g->s)) - 1);
    if (go(g, &e) < 0)
        session_unhold(g->s);
}

void pk_non_stop(struct gdb *g, const char *p, const char *end)
{
    if (end - p != 2 || (p[1] != '0' && p[1] != '1')) {
        reply_errno(g, EINVAL);
        return;
    }
    g->non_stop = p[1] == '1';
    g->ns = (struct gdb_nonstop){0};
    reply_ok(g);
}
