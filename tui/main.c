/*
 * The program: options, then a session, then one front end. Main thread.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "debug/cmd.h"
#include "debug/doctor.h"
#include "debug/gdb/gdb.h"
#include "debug/trace/report.h"
#include "debug/trace/trace_file.h"
#include "debug/trace/tracer.h"
#include "scripts/lua_host.h"
#include "tui/autoload.h"
#include "tui/batch.h"
#include "tui/browse.h"
#include "tui/commands_in.h"
#include "tui/console_io.h"
#include "tui/opts.h"
#include "tui/screen.h"
#include "tui/serial.h"
#include "tui/signals.h"
#include "tui/tui.h"
#include "vmm/base/esc.h"
#include "vmm/base/log.h"
#include "vmm/base/version.h"

/* A sentence to standard error; with --json also as the one line on standard output. */
static int fail(const struct opts *o, const struct err *e)
{
    struct buf b = {0};

    console_complain("%s", e->msg);
    if (o->json) {
        esc_json(&b, e->msg, strlen(e->msg));
        printf("{\"end\":{\"status\":%d,\"sentence\":%s}}\n", STATUS_USAGE, buf_str(&b));
    }
    buf_fini(&b);
    return STATUS_USAGE;
}

static int print(struct buf *b)
{
    size_t n = fwrite(buf_str(b), 1, b->len, stdout);
    bool good = n == b->len && !fflush(stdout);

    buf_fini(b);
    return good ? STATUS_OK : STATUS_USAGE;
}

/* Where a debugger can attach: the port may have been chosen by the system. */
static void tell_gdb(struct session *s)
{
    struct buf b = {0};

    if (!gdb_is_listening(s))
        return;
    gdb_describe(s, &b);
    fprintf(stderr, "vmscope: %s", buf_str(&b));
    buf_fini(&b);
}

static int run(const struct opts *o, int *died_of)
{
    struct session *s;
    struct err e = {0};
    int status;

    batch_signals();
    if (session_open(&s, &o->session, &e))
        return fail(o, &e);
    if (o->trace && tracer_file(session_tracer(s), o->trace, &e) < 0) {
        session_close(s);
        return fail(o, &e);
    }
    tell_gdb(s);
    status = batch_run(s, o, died_of);
    session_close(s);
    return status;
}

/* Lines of -x and -e run as soon as the screen shows the first stop. */
static int queue_commands(struct cmd_client *c, const struct opts *o, struct err *e)
{
    struct commands_in in;
    struct command_line l;
    int r = commands_in_load(&in, o, e);

    if (!r && in.use_stdin)
        r = err_set(e, EINVAL, "-x - needs `vmscope run`: the workbench reads keys there");
    while (!r && commands_in_next(&in, &l))
        cmd_queue(c, l.text, l.file, l.number);
    commands_in_fini(&in);
    return r;
}

/* Nobody reads keys while a script holds the main thread. */
static bool is_interrupted(void)
{
    return signals_wait() || screen_interrupted();
}

/* What scripts print is in the log panel. */
static int open_scripts(struct scripts **h, struct cmd_client *c, const struct opts *o,
                        struct err *e)
{
    struct scripts_config cfg = {.sandbox = o->script_sandbox, .interrupted = is_interrupted};
    int r = scripts_open(h, c->s, c, &cfg, e);
    bool ran;

    if (!r)
        r = autoload(*h, o, true, &ran, e);
    for (unsigned i = 0; !r && i < o->scripts; i++)
        r = scripts_run_file(*h, o->script[i], e);
    return r;
}

static int workbench(const struct opts *o)
{
    struct cmd_client c = {.quit_status = -1};
    struct scripts *scripts = NULL;
    struct serial *serial = NULL;
    struct err e = {0};
    int r;

    if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO)) {
        err_set(&e, ENOTTY,
                "the workbench needs a terminal on standard input and output; "
                "`vmscope run %s` needs none",
                o->session.boot.image);
        return fail(o, &e);
    }
    if (session_open(&c.s, &o->session, &e))
        return fail(o, &e);
    tell_gdb(c.s);
    r = o->trace ? tracer_file(session_tracer(c.s), o->trace, &e) : 0;
    if (!r)
        r = open_scripts(&scripts, &c, o, &e);
    if (!r)
        r = queue_commands(&c, o, &e);
    if (!r)
        r = serial_attach(&serial, c.s, &o->serial, &e);
    if (!r)
        r = tui_run(c.s, &c, &e);
    if (r)
        r = fail(o, &e);
    else if (c.quit_status >= 0)
        r = c.quit_status;
    scripts_close(scripts);
    serial_detach(serial);
    cmd_client_fini(&c);
    session_close(c.s);
    return r;
}

static int report(const struct opts *o)
{
    struct report_ask ask = o->report;

    ask.file = o->session.boot.image;
    ask.symbols = o->session.symbols;
    ask.json = o->json;
    return report_main(&ask);
}

/* A recorded trace in place of a guest. */
static int browse(const struct opts *o)
{
    const char *file = o->session.boot.image;
    struct err e = {0};

    if (o->sub == SUB_RUN)
        err_set(&e, EINVAL,
                "%s is a recorded trace, not a guest: `vmscope %s` opens it on the screen, "
                "`vmscope report %s` prints what is in it",
                file, file, file);
    else if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
        err_set(&e, ENOTTY,
                "looking through a trace needs a terminal on standard input and output; "
                "`vmscope report %s` needs none",
                file);
    else if (browse_run(file, o->session.symbols, &e) == 0)
        return STATUS_OK;
    return fail(o, &e);
}

static int main_of(const struct opts *o, int *died_of)
{
    struct buf b = {0};

    if (o->help) {
        opts_help(o->sub, &b);
        return print(&b);
    }
    if (o->version) {
        buf_adds(&b, "vmscope " VMSCOPE_VERSION "\n");
        return print(&b);
    }
    if (o->dump_docs) {
        opts_docs(&b);
        return print(&b);
    }
    if (o->dump_lua) {
        (strcmp(o->dump_lua, "types") ? scripts_reference : scripts_types)(&b);
        return print(&b);
    }
    if (o->sub == SUB_DOCTOR)
        return doctor_main(o->json);
    if (o->sub == SUB_GDBINIT) {
        gdb_init_text(o->session.boot.image, o->session.symbols, o->session.gdb, &b);
        return print(&b);
    }
    if (o->sub == SUB_REPORT)
        return report(o);
    if (trace_is(o->session.boot.image))
        return browse(o);
    return o->sub == SUB_RUN ? run(o, died_of) : workbench(o);
}

static int open_log(const struct opts *o, struct err *e)
{
    const char *levels = getenv("VMSCOPE_LOG");
    int r;

    if (levels)
        log_levels(levels);
    r = o->log ? log_open(o->log) : 0;

    return r ? err_set(e, -r, "cannot write the log to %s: %s", o->log, strerror(-r)) : 0;
}

/* A descriptor that the caller closed would be given to /dev/kvm or a socket, and the guest's text
 * with it. Each is opened the wrong way round, so that using it is still an error. */
static void fill_closed_stdio(void)
{
    static const int flags[] = {O_WRONLY, O_RDONLY, O_RDONLY};

    for (int fd = 0; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", flags[fd]) != fd)
            _exit(STATUS_USAGE); /* nobody can be told */
}

int main(int argc, char **argv)
{
    struct opts o;
    struct err e = {0};
    int status, died_of = 0;

    fill_closed_stdio();
    if (opts_parse(&o, argc, argv, &e) || open_log(&o, &e))
        status = fail(&o, &e);
    else
        status = main_of(&o, &died_of);
    opts_fini(&o);
    if (died_of) { /* so that the shell sees what ended us */
        sigset_t set;

        signal(died_of, SIG_DFL);
        sigemptyset(&set);
        sigaddset(&set, died_of);
        sigprocmask(SIG_UNBLOCK, &set, NULL);
        raise(died_of);
    }
    return status;
}
