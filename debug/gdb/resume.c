/*
 * Letting the guest go: c, s, vCont and their kin, interrupts, detaching and killing. Main thread,
 * but for the test of a range step.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "debug/gdb/stub.h"
#include "vmm/vcpu.h"

/* ---- resuming -------------------------------------------------------------------------------- */

/* Range step: on while the program counter stays in the range. vCPU thread. */
static bool in_range(void *arg, const struct vcpu *v)
{
    const struct gdb_range *r = arg;
    enum cpu_mode mode = cpu_mode_of(v->sregs, v->regs->rflags);
    uint64_t pc = v->regs->rip + (mode == MODE_LONG64 ? 0 : v->sregs->cs.base);

    return mode == r->mode && pc >= r->start && pc < r->end;
}

void gdb_fill_resume(struct gdb *g, const enum gdb_action act[], struct resume *r)
{
    for (unsigned i = 0; i < session_cpus(g->s); i++) {
        if (act[i] == ACT_CONTINUE)
            r->run |= 1u << i;
        if (act[i] == ACT_STEP || act[i] == ACT_RANGE)
            r->step |= 1u << i;
        if (act[i] == ACT_RANGE) {
            r->each = in_range;
            g->range[i].mode = session_mode(g->s, i);
        } else {
            g->range[i] = (struct gdb_range){0}; /* no address is in it: one step */
        }
        r->each_arg[i] = &g->range[i];
    }
}

/* The client believes in a state that is gone: it hears of the present one instead of running on
 * from a place it has not seen. */
static bool tell_instead(struct gdb *g, const enum gdb_action act[])
{
    static const char moved[] =
        "vmscope: the guest was moved by others or by `monitor`; it stands here\n";
    bool owed = g->stop_owed;

    if (!owed && !g->moved)
        return false;
    g->moved = false;
    if (!owed)
        gdb_console(g, moved, sizeof moved - 1);
    /* A gdb that only means to get off a breakpoint goes on from a SIGTRAP: behind the `exec` of a
     * `stepi` across a change of mode, say. */
    g->step_hides = act[session_last_stop(g->s)->vcpu] == ACT_STEP;
    gdb_tell_stop(g);
    g->step_hides = false;
    return true;
}

/* Behind a HLT. */
static bool sleeps(struct gdb *g, uint32_t one)
{
    unsigned vcpu = (unsigned)__builtin_ctz(one);
    const struct vcpu_state *st = session_cpu(g->s, vcpu, VS_REGS | VS_SREGS);
    uint8_t op;

    return st &&
           session_mem_read(g->s, vcpu, SPACE_LINEAR, st->sregs.cs.base + st->regs.rip - 1, &op,
                            1) == 1 &&
           op == 0xf4;
}

static void resume(struct gdb *g, const enum gdb_action act[], const struct gdb_range range[])
{
    struct resume r = {0};
    struct err e = {0};
    int rc;

    if (g->non_stop) {
        gdb_ns_vcont(g, act, range);
        return;
    }
    g->no_reply = true;
    if (session_state(g->s) == SS_RUNNING) { /* another client did: wait with it */
        g->moved = false;
        g->state = GDB_WAITING;
        return;
    }
    if (tell_instead(g, act))
        return;
    memcpy(g->range, range, sizeof g->range);
    gdb_fill_resume(g, act, &r);
    if (!r.run && !r.step) {
        gdb_tell_stop(g);
        return;
    }
    /* A sole step makes no difference to points, and gdb takes its own out only for that; one that
     * has to wait for an interrupt lets the guest run. */
    if (r.run || r.each || (r.step & (r.step - 1)) || sleeps(g, r.step))
        gdb_points_sync(g, false);
    g->ours = true;
    rc = session_resume(g->s, &r, &e);
    g->ours = false;
    g->stepping = !r.run && !r.each;
    g->state = GDB_WAITING;
    if (rc < 0) {
        struct buf b = {0};

        buf_addf(&b, "vmscope: %s\n", e.msg);
        gdb_console(g, b.data, b.len);
        buf_fini(&b);
        gdb_tell_stop(g);
    }
}

/* Steps of old clients run one vCPU or all, as the session's scheduler setting says. */
static void resume_old(struct gdb *g, bool step)
{
    static const struct gdb_range none[MACHINE_CPUS_MAX];
    enum gdb_action act[MACHINE_CPUS_MAX] = {ACT_NONE};
    unsigned who = g->run_thread < session_cpus(g->s) ? g->run_thread : g->thread;
    bool others =
        session_sched_lock(g->s) == SCHED_OFF || (!step && session_sched_lock(g->s) == SCHED_STEP);

    for (unsigned i = 0; i < session_cpus(g->s); i++)
        act[i] = others ? ACT_CONTINUE : ACT_NONE;
    act[who] = step ? ACT_STEP : ACT_CONTINUE;
    resume(g, act, none);
}

/* "c ADDR" and "s ADDR" go on from elsewhere. False after an error reply. */
static bool jump(struct gdb *g, const char *p, const char *end)
{
    const struct desc *d = gdb_desc(g);
    const struct vcpu_state *st;
    struct err e = {0};
    struct reg_value v;
    uint8_t bytes[8];
    const char *why;
    uint64_t to;
    int id;

    if (p == end)
        return true;
    st = session_cpu(g->s, g->thread, VS_REGS | VS_SREGS);
    if (!st || !hex_u64(&p, end, &to) || p != end) {
        reply_errno(g, EINVAL);
        return false;
    }
    for (unsigned i = 0; i < 8; i++)
        bytes[i] = (uint8_t)(to >> 8 * i);
    why = desc_write(d, d->pc, st, g->linear, bytes, &id, &v);
    if (why || session_reg_set(g->s, g->thread, id, &v, &e) < 0) {
        reply_error(g, "cannot go on from there: %s", why ? why : e.msg);
        return false;
    }
    return true;
}

void pk_c(struct gdb *g, const char *p, const char *end)
{
    if (jump(g, p, end))
        resume_old(g, false);
}

void pk_s(struct gdb *g, const char *p, const char *end)
{
    if (jump(g, p, end))
        resume_old(g, true);
}

/* "C sig[;addr]": a guest has no signals. */
static const char *skip_signal(const char *p, const char *end)
{
    while (p < end && *p != ';')
        p++;
    return p < end ? p + 1 : end;
}

void pk_C(struct gdb *g, const char *p, const char *end)
{
    pk_c(g, skip_signal(p, end), end);
}

void pk_S(struct gdb *g, const char *p, const char *end)
{
    pk_s(g, skip_signal(p, end), end);
}

void pk_vcont_query(struct gdb *g, const char *p, const char *end)
{
    (void)p;
    (void)end;
    reply_str(g, "vCont;c;C;s;S;r;t");
}

/* One "action[:thread]" without its semicolon; *vcpu is -1 for all. */
static bool parse_action(struct gdb *g, const char **p, const char *end, enum gdb_action *act,
                         struct gdb_range *range, int *vcpu)
{
    uint64_t ignored;
    char c;

    if (*p == end)
        return false;
    c = *(*p)++;
    *act = c == 'c' || c == 'C'   ? ACT_CONTINUE
           : c == 's' || c == 'S' ? ACT_STEP
           : c == 'r'             ? ACT_RANGE
           : c == 't'             ? ACT_STOP
                                  : ACT_NONE;
    if (*act == ACT_NONE || ((c == 'C' || c == 'S') && !hex_u64(p, end, &ignored)))
        return false;
    if (c == 'r' && (!hex_u64(p, end, &range->start) || *p == end || *(*p)++ != ',' ||
                     !hex_u64(p, end, &range->end)))
        return false;
    *vcpu = -1;
    if (*p < end && **p == ':') {
        ++*p;
        if (!thread_id(g, p, end, vcpu))
            return false;
    }
    return *p == end || **p == ';';
}

/* The leftmost action that names a thread is its own. */
void pk_vcont(struct gdb *g, const char *p, const char *end)
{
    enum gdb_action act[MACHINE_CPUS_MAX] = {ACT_NONE};
    struct gdb_range ranges[MACHINE_CPUS_MAX] = {0};
    bool stop = false;

    while (p < end) {
        struct gdb_range range = {0};
        enum gdb_action a;
        int vcpu;

        if (*p++ != ';' || !parse_action(g, &p, end, &a, &range, &vcpu)) {
            reply_errno(g, EINVAL);
            return;
        }
        stop |= a == ACT_STOP;
        for (int i = 0; i < (int)session_cpus(g->s); i++)
            if (act[i] == ACT_NONE && (vcpu < 0 || vcpu == i)) {
                act[i] = a;
                ranges[i] = range;
            }
    }
    if (stop && !g->non_stop && session_state(g->s) == SS_RUNNING) {
        g->no_reply = true;
        g->state = GDB_WAITING;
        session_stop(g->s);
        return;
    }
    resume(g, act, ranges);
}

/* There is no record of the past: gdb says so itself when it hears that the log begins here. */
void pk_reverse(struct gdb *g, const char *p, const char *end)
{
    (void)p;
    (void)end;
    reply_fmt(g, "T05thread:%x;replaylog:begin;", g->thread + 1);
}

/* ---- stopping and leaving
 * ------------------------------------------------------------------------ */

void gdb_interrupt(struct gdb *g)
{
    if (session_state(g->s) == SS_RUNNING)
        session_stop(g->s);
}

void pk_vctrlc(struct gdb *g, const char *p, const char *end)
{
    (void)p;
    (void)end;
    gdb_interrupt(g);
    reply_ok(g);
}

void pk_extended(struct gdb *g, const char *p, const char *end)
{
    (void)p;
    (void)end;
    g->extended = true;
    reply_ok(g);
}

void pk_detach(struct gdb *g, const char *p, const char *end)
{
    struct err e = {0};

    (void)p;
    (void)end;
    gdb_points_sync(g, true);
    gdb_ns_leave(g);
    g->ours = true;
    if (session_state(g->s) == SS_STOPPED)
        session_run(g->s, &e);
    g->ours = false;
    g->detached = !g->extended;
    g->moved = g->over = true; /* should it go on talking, it has to look again */
    reply_ok(g);
}

static void restart(struct gdb *g, bool tell)
{
    g->run_asked = tell;
    g->reset_asked = true;
    g->moved = g->stop_owed = g->over = false;
    g->state = GDB_STOPPED; /* nobody waits any more for a stop of what ran until now */
    if (session_state(g->s) == SS_RUNNING)
        session_stop(g->s);
    else
        gdb_stopped(g);
}

void pk_kill(struct gdb *g, const char *p, const char *end)
{
    (void)p;
    (void)end;
    g->no_reply = true;
    gdb_points_sync(g, true);
    g->killed = !g->extended;
    restart(g, false);
    g->over = true;
    g->lost = !g->extended;
}

void pk_vkill(struct gdb *g, const char *p, const char *end)
{
    (void)p;
    (void)end;
    gdb_points_sync(g, true);
    g->killed = !g->extended;
    restart(g, false);
    g->over = true;
    reply_ok(g);
}

void pk_restart(struct gdb *g, const char *p, const char *end)
{
    (void)p;
    (void)end;
    g->no_reply = true;
    restart(g, false);
}

void pk_vrun(struct gdb *g, const char *p, const char *end)
{
    (void)p;
    (void)end;
    g->no_reply = true;
    restart(g, true);
}

void pk_vattach(struct gdb *g, const char *p, const char *end)
{
    (void)p;
    (void)end;
    g->moved = g->stop_owed = g->over = false;
    if (g->non_stop) { /* what runs is told to stand by a notification */
        gdb_interrupt(g);
        reply_ok(g);
        return;
    }
    g->no_reply = true;
    g->state = GDB_WAITING;
    if (session_state(g->s) == SS_RUNNING)
        session_stop(g->s);
    else
        gdb_tell_stop(g);
}
