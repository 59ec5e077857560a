/*
 * `monitor CMD`: any command of vmscope's, with the same grammar and output, and the few words that
 * are about this connection. Main thread.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "debug/gdb/stub.h"
#include "vmm/base/log.h"
#include "vmm/base/x.h"

#define COMPLETIONS_MAX 200

/* The word at *line is `word`; *line behind it and the blanks. */
static bool word(const char **line, const char *text)
{
    size_t n = strlen(text);
    const char *p = *line + strspn(*line, " \t");

    if (strncmp(p, text, n) || (p[n] && p[n] != ' ' && p[n] != '\t'))
        return false;
    *line = p + n + strspn(p + n, " \t");
    return true;
}

static void own_arch(struct gdb *g, const char *args, struct out *o)
{
    if (!*args) {
        out_line(o, "gdb sees the guest as %s (%s).", desc_arch_name(g->arch),
                 g->arch_pinned ? "pinned" : "auto");
        return;
    }
    if (!strcmp(args, "auto")) {
        g->arch_pinned = false;
        out_line(o, "The architecture follows the processor's mode, at the next stop.");
        return;
    }
    for (unsigned a = 0; a < GDB_ARCHES; a++) {
        const char *name = desc_arch_name((enum gdb_arch)a);
        const char *short_name = a == GDB_X86_64 ? "x86-64" : name;

        if (strcmp(args, name) && strcmp(args, short_name))
            continue;
        g->arch_pinned = true;
        g->arch_pin = (enum gdb_arch)a;
        out_line(o, "gdb sees the guest as %s from the next stop on.", name);
        return;
    }
    out_error(o, "monitor arch: \"%.40s\" is none of auto, i8086, i386 and x86-64", args);
}

static void own_realmode(struct gdb *g, const char *args, struct out *o)
{
    if (!strcmp(args, "linear") || !strcmp(args, "offset"))
        g->linear = *args == 'l';
    else if (*args) {
        out_error(o, "monitor realmode: \"%.40s\" is neither linear nor offset", args);
        return;
    }
    out_line(o, "$pc and $sp are %s.",
             g->linear ? "linear addresses (base of CS or SS added)" : "offsets into CS and SS");
}

/* How many ways there are to go on. */
static size_t complete(struct gdb *g, const char *line, struct out *o)
{
    size_t n = 0, ways = 0;
    char *full;

    for (; n < COMPLETIONS_MAX && (full = cmd_complete(&g->cmd, line, n)); n++) {
        if (strcmp(full, line)) {
            out_line(o, "%s", full);
            ways++;
        }
        free(full);
    }
    if (n == COMPLETIONS_MAX)
        out_line(o, "… and more");
    return ways;
}

/* gdb completes its own words only; this tells how a line of ours can go on. gdb takes blanks off
 * the end, so a whole word is completed by what may follow it, too. */
static void own_complete(struct gdb *g, const char *line, struct out *o)
{
    char *next = xasprintf("%s ", line);

    if (!complete(g, line, o))
        complete(g, next, o);
    free(next);
}

/* `monitor arch`, `monitor realmode` …: the words that are the stub's own. False: not one. */
static bool gdb_monitor_own(struct gdb *g, const char *line, struct out *o)
{
    if (word(&line, "arch"))
        own_arch(g, line, o);
    else if (word(&line, "realmode"))
        own_realmode(g, line, o);
    else if (word(&line, "complete"))
        own_complete(g, line, o);
    else
        return false;
    out_end(o);
    return true;
}

static void add_own_help(const char *line, struct out *o)
{
    if (!word(&line, "help") || *line)
        return;
    out_line(o, "Only in gdb's monitor:");
    out_line(o, "  arch auto|i8086|i386|x86-64   what gdb is told that the guest is");
    out_line(o, "  complete LINE                 how a command line can go on");
    out_line(o, "  realmode linear|offset        whether $pc and $sp include segment bases");
}

/* `quit` ends vmscope, also when the commands of a breakpoint say it. */
void gdb_take_quit(struct gdb *g)
{
    if (g->cmd.quit)
        session_quit(g->s, g->cmd.quit_status);
    g->cmd.quit = false;
}

/* ---- commands that let the guest go -----------------------------------------------------------
 */

/* `monitor next` is over soon and answers with where it led; `monitor continue` may never be. */
#define SOON_NS 500000000u
#define LOOK_NS 50000000u

static void set_timer(struct gdb *g, long ns)
{
    struct itimerspec when = {.it_value.tv_nsec = ns, .it_interval.tv_nsec = ns};

    if (timerfd_settime(g->soon_fd, 0, &when, NULL) < 0)
        log_error("cannot set the timer of a monitor command: %s", strerror(errno));
}

static void wait_a_moment(struct gdb *g)
{
    g->no_reply = g->soon = true;
    g->soon_waited = (struct patience){.look_ns = LOOK_NS};
    patience_used(&g->soon_waited, clock_ns());
    set_timer(g, LOOK_NS);
}

void gdb_soon_forget(struct gdb *g)
{
    if (g->soon)
        set_timer(g, 0);
    g->soon = false;
}

void gdb_soon_over(struct gdb *g)
{
    struct out o = {0};

    gdb_soon_forget(g);
    g->ours = g->busy = true;
    (void)cmd_report_stop(&g->cmd, &o); /* a sentence of what its points run is in `o` */
    g->ours = g->busy = false;
    gdb_take_quit(g);
    if (session_state(g->s) == SS_RUNNING)
        out_line(&o, "The guest runs; `continue` in gdb waits for its next stop.");
    else
        out_line(&o,
                 "gdb itself sees that at its next `stepi` or `continue`, which does not move.");
    gdb_console(g, buf_str(&o.text), o.text.len);
    gdb_send(g, "OK", 2);
    out_fini(&o);
}

void gdb_on_soon(void *arg, unsigned events)
{
    struct gdb *g = arg;
    uint64_t n;

    (void)events;
    if (read(g->soon_fd, &n, sizeof n) == sizeof n && g->soon &&
        patience_used(&g->soon_waited, clock_ns()) >= SOON_NS) {
        gdb_soon_over(g);
        gdb_feed(g);
    }
}

/* The text goes out as console output, so its length is not bounded by a packet's. */
void pk_rcmd(struct gdb *g, const char *p, const char *end)
{
    struct out o = {0};
    size_t n = (size_t)(end - p) / 2;
    char *line = xmalloc(n + 1);
    bool ran;

    if (p == end || !hex_bytes(p + 1, end, line, n + 1, &n)) {
        reply_errno(g, EINVAL);
        free(line);
        return;
    }
    line[n] = 0;
    ran = session_state(g->s) == SS_RUNNING;
    gdb_points_tidy(g);
    g->ours = g->monitoring = true;
    if (!gdb_monitor_own(g, line, &o)) {
        (void)cmd_exec(&g->cmd, line, &o); /* its sentence is in `o` */
        add_own_help(line, &o);
    }
    g->ours = g->monitoring = false;
    gdb_take_quit(g);
    if (o.text.len)
        gdb_console(g, buf_str(&o.text), o.text.len);
    out_fini(&o);
    free(line);
    if (session_state(g->s) == SS_RUNNING && !ran && g->state == GDB_STOPPED && !g->non_stop)
        wait_a_moment(g);
    else
        reply_ok(g);
}
