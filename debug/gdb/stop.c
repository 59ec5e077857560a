/*
 * Telling the client that the guest stands: stop replies, the change of architecture, what was
 * asked for while it still ran. Main thread.
 *
 * gdb learns registers once and keeps to them. When the guest stands in another mode than the
 * description the client has, the stop is told as the event `exec`: gdb then forgets the
 * description, asks for it again, inserts its breakpoints anew and resumes, and at that resume the
 * stop itself is told, without running. The path that goes with `exec` is the kernel's; gdb reads
 * the file through vFile if it is not the one it has.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "debug/gdb/stub.h"
#include "vmm/base/x.h"

/* ---- what a stop is in gdb's words ----------------------------------------------------------- */

/* gdb's signal numbers (its include/gdb/signals.def). */
enum { SIG_INT = 2, SIG_TRAP = 5, SIG_ABRT = 6, SIG_SEGV = 11 };

static int signal_of(const struct stop_info *si, bool news)
{
    switch (si->kind) {
    case STOP_USER:
        return news ? SIG_INT : SIG_TRAP;
    case STOP_NONE:
        return 0; /* a vCPU that vCont;t stopped */
    case STOP_TRIPLE_FAULT:
        return SIG_SEGV;
    case STOP_INTERNAL_ERROR:
    case STOP_HOST_ERROR:
        return SIG_ABRT;
    case STOP_STUCK:
        return SIG_INT;
    default:
        return SIG_TRAP;
    }
}

static void add_reason(struct gdb *g, const struct stop_info *si, struct buf *out)
{
    static const char *const watch[] = {"", "", "watch", "rwatch", "awatch"};
    const struct gdb_point *p = gdb_point_of(g, si);

    if (!p)
        return;
    if (p->type >= 2)
        buf_addf(out, "%s:%llx;", watch[p->type], (unsigned long long)si->addr);
    else if (p->type == 0 && g->client.swbreak)
        buf_adds(out, "swbreak:;");
    else if (p->type == 1 && g->client.hwbreak)
        buf_adds(out, "hwbreak:;");
    if (g->client.lldb)
        buf_adds(out, p->type >= 2 ? "reason:watchpoint;" : "reason:breakpoint;");
}

/* Debuggers show signals and their own breakpoints; everything else of ours they hear as text. */
bool gdb_needs_words(const struct gdb *g, const struct stop_info *si)
{
    switch (si->kind) {
    case STOP_NONE:
    case STOP_ENTRY:
    case STOP_STEP:
    case STOP_TEMPORARY: /* of ours: the step of a vCPU that slept */
    case STOP_USER:
        return false;
    case STOP_BREAKPOINT:
    case STOP_WATCHPOINT:
        return (!gdb_point_of(g, si) && !gdb_point_is_out(g, si)) ||
               strstr(si->text, "could not be evaluated");
    default:
        return true;
    }
}

/* What lldb wants beside: names and the list of threads. */
static void add_lldb(struct gdb *g, const struct stop_info *si, struct buf *out)
{
    if (si->kind == STOP_STEP || gdb_point_is_out(g, si))
        buf_adds(out, "reason:trace;");
    if (gdb_needs_words(g, si)) {
        buf_adds(out, "reason:exception;description:");
        hex_add(out, si->text, strlen(si->text));
        buf_addc(out, ';');
    }
    buf_addf(out, "name:vCPU %u;", si->vcpu);
    if (!g->client.list_threads)
        return;
    for (unsigned i = 0; i < session_cpus(g->s); i++)
        buf_addf(out, "%s%x", i ? "," : "threads:", i + 1);
    buf_addc(out, ';');
}

/* The body of a stop reply without events; `news`: not for somebody who has just come. */
static void gdb_stop_body(struct gdb *g, bool news, struct buf *out)
{
    gdb_stop_of(g, session_last_stop(g->s), news, out);
}

void gdb_stop_of(struct gdb *g, const struct stop_info *si, bool news, struct buf *out)
{
    const struct desc *d = gdb_desc(g);
    int sig = signal_of(si, news);

    if (sig == SIG_TRAP && g->step_hides && !gdb_point_of(g, si))
        sig = SIG_INT;
    buf_addf(out, "T%02xthread:%x;", sig, si->vcpu + 1);
    add_reason(g, si, out);
    if (g->client.lldb)
        add_lldb(g, si, out);
    /* In non-stop mode other vCPUs run by now, and registers are asked for when they are wanted. */
    for (unsigned n = 0; n < d->core && !g->non_stop; n++) {
        buf_addf(out, "%02x:", n);
        gdb_reg_hex(g, si->vcpu, n, out);
        buf_addc(out, ';');
    }
}

/* ---- telling -------------------------------------------------------------------------------- */

static void tell_words(struct gdb *g, const struct stop_info *si)
{
    struct buf b = {0};

    if (!gdb_needs_words(g, si) || g->client.lldb)
        return;
    buf_addf(&b, "vmscope: %s\n", si->text);
    gdb_console(g, b.data, b.len);
    buf_fini(&b);
}

void gdb_flush_print(struct gdb *g)
{
    struct buf take;

    pthread_mutex_lock(&g->print_lock);
    take = g->print;
    g->print = (struct buf){0};
    pthread_mutex_unlock(&g->print_lock);
    if (take.len)
        gdb_console(g, take.data, take.len);
    buf_fini(&take);
}

bool gdb_end_of(const struct stop_info *si, struct buf *out)
{
    if (si->kind != STOP_POWER_OFF && si->kind != STOP_DEBUG_EXIT)
        return false;
    buf_addf(out, "W%02x", si->kind == STOP_DEBUG_EXIT ? (si->code << 1 | 1) & 0xff : 0);
    return true;
}

static bool tell_end(struct gdb *g, const struct stop_info *si)
{
    struct buf b = {0};

    if (!gdb_end_of(si, &b))
        return false;
    gdb_send(g, b.data, b.len);
    buf_fini(&b);
    g->over = true;
    return true;
}

static void exec_body(struct gdb *g, unsigned vcpu, struct buf *out)
{
    struct buf path = {0};

    g->stop_owed = true;
    gdb_points_forgotten(g);
    gdb_exec_name(g, &path);
    buf_addf(out, "T05thread:%x;exec:", vcpu + 1);
    hex_add(out, buf_str(&path), path.len);
    buf_addc(out, ';');
    buf_fini(&path);
}

/* True when the stop has to wait because the client must learn another architecture first. */
static bool tell_arch(struct gdb *g, const struct stop_info *si)
{
    enum gdb_arch want = gdb_arch_wanted(g, si->vcpu);
    struct buf b = {0};

    if (want == g->arch || !g->client.exec_events || !g->arch_told)
        return false;
    g->arch = want;
    exec_body(g, si->vcpu, &b);
    gdb_send(g, b.data, b.len);
    buf_fini(&b);
    return true;
}

void gdb_tell_stop(struct gdb *g)
{
    const struct stop_info *si = session_last_stop(g->s);
    struct buf b = {0};

    g->thread = si->vcpu;
    gdb_flush_print(g);
    if (g->stop_owed) {
        g->stop_owed = false;
    } else {
        tell_words(g, si);
        if (tell_end(g, si) || tell_arch(g, si)) {
            g->state = GDB_STOPPED;
            return;
        }
    }
    gdb_stop_body(g, true, &b);
    gdb_send(g, b.data, b.len);
    g->state = GDB_STOPPED;
    buf_fini(&b);
}

/* ---- when it stands -----------------------------------------------------------------------------
 */

static void reset(struct gdb *g)
{
    struct err e = {0};
    bool was = g->ours;

    g->ours = true;
    if (session_reset(g->s, &e) < 0)
        gdb_console(g, e.msg, strlen(e.msg));
    g->ours = was;
}

void gdb_stopped(struct gdb *g)
{
    if (g->reset_asked) {
        g->reset_asked = false;
        g->ns = (struct gdb_nonstop){0};
        reset(g);
    }
    if (g->run_asked) {
        g->run_asked = false;
        g->arch_told = false; /* a client that runs a program asks what it is without an `exec` */
        g->arch = gdb_arch_wanted(g, session_last_stop(g->s)->vcpu);
        gdb_tell_stop(g);
    } else if (g->state == GDB_WAITING) {
        gdb_tell_stop(g);
    } else if (g->state == GDB_COMING) {
        g->state = GDB_STOPPED;
    }
}

/* While gdb waits it shows what is said; at other times that is no moment for it. */
static void say_log(struct gdb *g, const struct log_line *l)
{
    char *line;

    if (g->state != GDB_WAITING)
        return;
    line = xasprintf("%s\n", l->text);
    gdb_console(g, line, strlen(line));
    free(line);
}

/* `monitor commands`: what the points have to run answers in gdb. True when the guest runs again,
 * and gdb is to hear nothing of the stop. */
static bool ran_commands(struct gdb *g)
{
    struct out o = {0};
    bool silent;

    if (g->state != GDB_WAITING)
        return false;
    g->ours = g->busy = true;
    (void)cmd_stop_commands(&g->cmd, &o, &silent); /* its sentence is in `o` */
    g->ours = g->busy = false;
    gdb_take_quit(g);
    if (o.text.len)
        gdb_console(g, buf_str(&o.text), o.text.len);
    out_fini(&o);
    return session_state(g->s) == SS_RUNNING;
}

/* Somebody else, or a command of the client's, moves the guest that the client has seen standing.
 */
static void note_move(struct gdb *g)
{
    g->moved |= g->state == GDB_STOPPED && (!g->ours || g->monitoring);
}

static void on_stop(struct gdb *g)
{
    bool wanted = g->reset_asked || g->state == GDB_COMING;

    if (!g->non_stop && !g->reset_asked)
        note_move(g);
    if (g->ours || (g->fd < 0 && !wanted))
        return;
    if (session_state(g->s) == SS_RUNNING) { /* another client let it go on at once */
        if (wanted)
            session_stop(g->s);
        return;
    }
    if (!wanted && g->non_stop) {
        gdb_ns_stopped(g);
        return;
    }
    if (g->reset_asked)
        gdb_stopped(g);
    else if (g->soon)
        gdb_soon_over(g);
    else if (!ran_commands(g))
        gdb_stopped(g);
    gdb_feed(g);
}

void gdb_event(void *arg, unsigned event, const void *data)
{
    struct gdb *g = arg;

    if (event == EV_LOG)
        say_log(g, data);
    else if (event == EV_STOPPED)
        on_stop(g);
    else if (!g->non_stop)
        note_move(g);
}

/* "?": asked after every connect and after R. */
void pk_why(struct gdb *g, const char *p, const char *end)
{
    (void)p;
    (void)end;
    g->moved = g->stop_owed = g->over = false;
    if (g->non_stop) {
        gdb_ns_why(g);
        return;
    }
    if (session_state(g->s) == SS_RUNNING) {
        g->no_reply = true; /* another client let it go: told when it stands */
        g->state = GDB_WAITING;
        session_stop(g->s);
        return;
    }
    if (!g->arch_told)
        g->arch = gdb_arch_wanted(g, session_last_stop(g->s)->vcpu);
    g->thread = session_last_stop(g->s)->vcpu;
    /* A file that gdb has loaded itself may stand in the way of real mode: files.c. */
    if (g->arch == GDB_8086 && g->arch_told && g->client.exec_events)
        exec_body(g, g->thread, &g->reply);
    else
        gdb_stop_body(g, false, &g->reply);
}
