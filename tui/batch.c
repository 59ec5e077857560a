/*
 * The loop of `vmscope run`. Three things take turns: the guest runs (its console is copied, keys
 * go to COM1), the next command of -x or -e runs, or a person is at the prompt. Main thread.
 */
#include "tui/batch.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "debug/cmd.h"
#include "debug/gdb/gdb.h"
#include "scripts/lua_host.h"
#include "tui/autoload.h"
#include "tui/batch_int.h"
#include "tui/batch_prompt.h"
#include "tui/checks.h"
#include "tui/commands_in.h"
#include "tui/console_io.h"
#include "vmm/base/clock.h"
#include "vmm/base/esc.h"
#include "vmm/base/x.h"

/* COM1 takes no more for now: how soon to offer the rest again. */
#define RETRY_MS 10
/* A vCPU that cannot be parked is no reason to hang at the end. */
#define PARK_NS 2000000000ull

static const int watched[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP};

static void watched_set(sigset_t *set)
{
    sigemptyset(set);
    for (size_t i = 0; i < ARRAY_LEN(watched); i++)
        sigaddset(set, watched[i]);
}

void batch_signals(void)
{
    sigset_t set;

    watched_set(&set);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
}

static bool is_running(const struct batch *b)
{
    return session_state(b->s) == SS_RUNNING;
}

static void on_event(void *arg, unsigned event, const void *data)
{
    struct batch *b = arg;

    if (event == EV_CONSOLE)
        batch_out_console(b, data);
    else if (event == EV_STOPPED)
        b->stopped = !session_stepped_from_outside(b->s);
    else if (event == EV_STORM)
        batch_out_storm(b, data);
    else if (event == EV_LOG)
        batch_out_log(b, data);
    else
        b->started = true;
}

/* ---- commands ------------------------------------------------------------------------------- */

static void exec(struct batch *b, const struct command_line *l)
{
    struct out o = {0};
    const char *text = l->text + strspn(l->text, " \t\r\n");
    int r;

    if (!*text && !b->interactive)
        return; /* in a file an empty line repeats nothing */
    r = cmd_exec(&b->c, l->text, &o);
    if (r && l->file) {
        out_error_from(&o, l->file, l->number);
        out_end(&o);
    }
    if (o.text.len || b->o->json)
        batch_out_answer(b, "command", l->text, &o);
    b->failed |= r != 0 && !b->interactive;
    out_fini(&o);
}

static void report(struct batch *b)
{
    struct out o = {0};
    int r = cmd_report_stop(&b->c, &o);

    if (b->has_commands || b->interactive)
        batch_out_answer(b, "stop", NULL, &o);
    b->failed |= r != 0 && !b->interactive;
    out_fini(&o);
}

static void on_prompt_line(void *arg, const char *line)
{
    struct batch *b = arg;
    struct command_line l = {.text = (char *)line};

    if (!line)
        b->done = true;
    else
        exec(b, &l);
}

/* Scripts have set their hooks and none of them started the guest. */
static void start_after_scripts(struct batch *b)
{
    struct err e = {0};

    if (!session_run(b->s, &e))
        return;
    batch_say(b, e.msg, strlen(e.msg));
    b->failed = true;
}

/* All that can be done without waiting. */
static void advance(struct batch *b)
{
    struct command_line l;

    while (!b->done) {
        if (b->died_of || b->timed_out || b->out.error || b->failed || b->c.quit ||
            session_quit_asked(b->s, &b->c.quit_status) || scripts_broken(b->scripts) ||
            checks_over(b->checks)) {
            b->done = true;
        } else if (is_running(b)) {
            return;
        } else if (b->stopped) {
            b->stopped = false;
            batch_debug_lines(b, NULL, 0);
            report(b);
        } else if (!scripts_idle(b->scripts)) {
            return;
        } else if (batch_prompt_is_open() || commands_in_wants(&b->in)) {
            return;
        } else if (commands_in_next(&b->in, &l)) {
            exec(b, &l);
        } else if (b->interactive) {
            terminal_restore();
            batch_prompt_open(&b->c, on_prompt_line, b);
            return;
        } else if (cmd_is_collecting(&b->c)) {
            static const char why[] = "the lines of `commands` have no `end`\n";

            batch_say(b, why, sizeof why - 1);
            b->failed = true;
        } else if (b->has_scripts && !b->started && !b->has_commands) {
            start_after_scripts(b);
        } else if (session_is_held(b->s)) { /* a debugger has it, or is awaited */
            return;
        } else {
            b->done = true;
        }
    }
}

/* ---- waiting ----------------------------------------------------------------------------------
 */

static void suspend(struct batch *b)
{
    bool at_prompt = batch_prompt_is_open();
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTSTP);
    terminal_restore();
    /* Not SIGSTOP: without a shell that could continue us the kernel passes this one by. */
    kill(getpid(), SIGTSTP);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    sigprocmask(SIG_BLOCK, &set, NULL);
    if (at_prompt)
        batch_prompt_redraw();
    (void)b;
}

static void on_signal(struct batch *b)
{
    struct signalfd_siginfo si;

    if (read(b->signal_fd, &si, sizeof si) != sizeof si)
        return;
    if (si.ssi_signo == SIGTSTP) {
        suspend(b);
    } else if (si.ssi_signo != SIGINT || !b->terminal || b->o->json) {
        b->died_of = (int)si.ssi_signo;
    } else if (batch_prompt_is_open()) {
        b->done = true;
    } else if (is_running(b)) {
        b->interactive = true;
        b->in.next = b->in.count; /* as in gdb, Ctrl-C ends a script too */
        session_stop(b->s);
    } else {
        b->died_of = SIGINT;
    }
}

static void offer_typed(struct batch *b)
{
    size_t n = session_input(b->s, DOOR_COM1, buf_str(&b->typed), b->typed.len);

    buf_eat(&b->typed, n);
}

/* What --send says goes the way of what is typed. */
static void take_sends(struct batch *b)
{
    while (is_running(b) && checks_send(b->checks, &b->typed))
        ;
    if (b->typed.len && is_running(b))
        offer_typed(b);
}

static void read_keys(struct batch *b, int fd)
{
    char bytes[4096];
    ssize_t n = read(fd, bytes, sizeof bytes);

    if (n > 0)
        buf_add(&b->typed, bytes, (size_t)n);
    else if (fd == STDIN_FILENO && (n == 0 || (errno != EINTR && errno != EAGAIN)))
        b->stdin_to_com1 = false; /* the guest runs on without input */
    offer_typed(b);
}

static void look_at_time(struct batch *b)
{
    b->timed_out = clock_ns() >= b->deadline_ns || b->out.error == ETIME;
}

static int poll_ms(const struct batch *b)
{
    uint64_t now = clock_ns(), left;
    int ms = b->typed.len && is_running(b) ? RETRY_MS : -1;

    if (b->deadline_ns == UINT64_MAX)
        return ms;
    left = b->deadline_ns > now ? (b->deadline_ns - now) / 1000000 + 1 : 0;
    if (left > 1000000)
        left = 1000000;
    return ms >= 0 && (uint64_t)ms < left ? ms : (int)left;
}

static void wait(struct batch *b)
{
    enum { SESSION, SIGNALS, INPUT, PTY, COUNT };
    struct pollfd p[COUNT] = {{.fd = session_fd(b->s), .events = POLLIN},
                              {.fd = b->signal_fd, .events = POLLIN},
                              {.fd = -1, .events = POLLIN},
                              {.fd = -1, .events = POLLIN}};
    bool to_guest = is_running(b) && !b->typed.len;

    if (batch_prompt_is_open() || commands_in_wants(&b->in) || (to_guest && b->stdin_to_com1))
        p[INPUT].fd = STDIN_FILENO;
    if (to_guest && b->com1_file.slave >= 0)
        p[PTY].fd = b->com1_file.fd;
    if (is_running(b) && b->stdin_to_com1)
        terminal_guest();
    int n = poll(p, COUNT, poll_ms(b));

    BUG_ON(n < 0 && errno != EINTR);
    if (n < 0)
        return;
    if (p[SIGNALS].revents)
        on_signal(b);
    if (p[SESSION].revents)
        session_dispatch(b->s);
    if (p[INPUT].revents && batch_prompt_is_open())
        batch_prompt_read();
    else if (p[INPUT].revents && commands_in_wants(&b->in))
        commands_in_read(&b->in);
    else if (p[INPUT].revents && to_guest)
        read_keys(b, STDIN_FILENO);
    else if (b->typed.len && is_running(b))
        offer_typed(b);
    if (p[PTY].revents)
        read_keys(b, b->com1_file.fd);
    take_sends(b);
    look_at_time(b);
}

/* ---- begin and end ------------------------------------------------------------------------------
 */

static struct sink *choose_sink(struct batch *b, const struct serial_choice *c, struct sink *file,
                                struct sink *dflt, struct err *e)
{
    if (c->kind == SERIAL_DEFAULT)
        return dflt;
    if (c->kind == SERIAL_STDIO)
        return &b->out;
    if (c->kind == SERIAL_STDERR)
        return &b->err;
    return sink_open(file, c, STDOUT_FILENO, e) ? NULL : file;
}

/* The signals are blocked and wait for the loop, which does not turn while a script runs. */
static bool is_signalled(void)
{
    sigset_t set;

    if (sigpending(&set))
        return false;
    for (size_t i = 0; i < ARRAY_LEN(watched); i++)
        if (watched[i] != SIGTSTP && sigismember(&set, watched[i]) == 1)
            return true;
    return false;
}

static int begin_scripts(struct batch *b, struct err *e)
{
    bool ran = false;
    struct scripts_config cfg = {.sandbox = b->o->script_sandbox,
                                 .interrupted = is_signalled,
                                 .print = batch_out_script,
                                 .arg = b};
    int r;

    if (b->deadline_ns != UINT64_MAX)
        cfg.deadline_ns = b->deadline_ns;
    r = scripts_open(&b->scripts, b->s, &b->c, &cfg, e);

    b->has_scripts = b->o->scripts > 0;
    if (!r)
        r = autoload(b->scripts, b->o, false, &ran, e);
    b->has_scripts |= ran;
    for (unsigned i = 0; !r && i < b->o->scripts; i++)
        r = scripts_run_file(b->scripts, b->o->script[i], e);
    return r;
}

static int begin(struct batch *b, struct err *e)
{
    static const struct serial_choice standard = {0};
    sigset_t set;
    int r;

    b->com1_file = b->debug_file = (struct sink){.fd = -1, .slave = -1};
    b->start_ns = clock_ns();
    b->deadline_ns = b->o->timeout_ns ? b->start_ns + b->o->timeout_ns : UINT64_MAX;
    b->c = (struct cmd_client){.s = b->s, .quit_status = -1};
    (void)!sink_open(&b->out, &standard, STDOUT_FILENO, e);
    (void)!sink_open(&b->err, &standard, STDERR_FILENO, e);
    if (b->o->json)
        b->out.escape = false;
    b->com1 = choose_sink(b, &b->o->serial, &b->com1_file, &b->out, e);
    b->debugcon = b->com1 ? choose_sink(b, &b->o->debugcon, &b->debug_file, &b->err, e) : NULL;
    if (!b->debugcon)
        return -e->code;
    r = commands_in_load(&b->in, b->o, e);
    if (r)
        return r;
    watched_set(&set);
    b->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (b->signal_fd < 0)
        return err_set(e, errno, "cannot watch signals: %s", strerror(errno));
    b->terminal = terminal_open();
    b->has_commands = b->in.count > 0;
    b->stdin_to_com1 = b->com1 == &b->out && !b->in.use_stdin;
    if (b->o->stop_at_entry && !b->has_commands && !session_is_held(b->s))
        b->interactive = b->stopped = true;
    r = checks_new(&b->checks, b->s, b->o, e);
    if (!r)
        r = begin_scripts(b, e);
    if (r || b->has_commands || b->o->stop_at_entry || b->has_scripts)
        return r;
    return session_run(b->s, e);
}

static int status_of_stop(const struct stop_info *stop)
{
    switch (stop->kind) {
    case STOP_DEBUG_EXIT:
        return (int)((stop->code << 1 | 1) & 0xff);
    case STOP_TRIPLE_FAULT:
        return STATUS_TRIPLE_FAULT;
    case STOP_INTERNAL_ERROR:
    case STOP_STUCK:
    case STOP_HOST_ERROR:
        return STATUS_INTERNAL;
    default:
        return STATUS_OK;
    }
}

/* Why it ended, as a sentence, and the status that goes with it. */
static int verdict(struct batch *b, struct buf *why)
{
    const struct stop_info *stop = session_last_stop(b->s);
    const char *script;

    if (b->died_of) {
        buf_addf(why, "ended by signal %d (%s)", b->died_of, strsignal(b->died_of));
        return STATUS_USAGE;
    }
    if (b->timed_out) {
        buf_addf(why, "the guest did not end within %g s: %s", (double)b->o->timeout_ns / 1e9,
                 stop->text);
        return STATUS_TIMEOUT;
    }
    if (scripts_failed(b->scripts, &script)) {
        buf_addf(why, "a script failed: %.*s", (int)strcspn(script, "\n"), script);
        return STATUS_COMMAND;
    }
    if (b->out.error) {
        buf_addf(why, "cannot write to standard output: %s", strerror(b->out.error));
        return STATUS_USAGE;
    }
    if (b->failed) {
        buf_adds(why, "a command failed, so the rest was not run");
        return STATUS_COMMAND;
    }
    if ((b->c.quit || session_quit_asked(b->s, NULL)) && b->c.quit_status >= 0) {
        buf_addf(why, "quit with status %d", b->c.quit_status);
        return b->c.quit_status;
    }
    buf_addf(why, "%s", stop->text[0] ? stop->text : stop_kind_name(stop->kind));
    return status_of_stop(stop);
}

static void end(struct batch *b, int status, const char *why, const struct buf *told)
{
    double seconds = (double)(clock_ns() - b->start_ns) / 1e9;
    struct buf text = {0}, resets = {0};

    b->deadline_ns = clock_ns() + PARK_NS; /* the last words may take a moment */
    batch_debug_lines(b, NULL, 0);
    if (b->o->json) {
        buf_addf(&text,
                 "{\"end\":{\"status\":%d,\"exits\":%" PRIu64 ",\"resets\":%" PRIu64
                 ",\"seconds\":%.3f,"
                 "\"sentence\":",
                 status, session_exit_count(b->s), session_resets(b->s), seconds);
        esc_json(&text, why, strlen(why));
        buf_adds(&text, "}}\n");
        batch_out_line(b, &text);
        buf_clear(&text);
    }
    buf_add(&text, buf_str(told), told->len);
    if (session_resets(b->s))
        buf_addf(&resets, ", %" PRIu64 " reset%s", session_resets(b->s),
                 session_resets(b->s) == 1 ? "" : "s");
    buf_addf(&text, "vmscope: %s (%" PRIu64 " exits in %.2f s%s)\n", why, session_exit_count(b->s),
             seconds, buf_str(&resets));
    buf_fini(&resets);
    if (b->com1_file.dropped)
        buf_addf(&text, "vmscope: %" PRIu64 " bytes of the serial line had no reader\n",
                 b->com1_file.dropped);
    batch_say(b, buf_str(&text), text.len);
    buf_fini(&text);
}

static void fini(struct batch *b)
{
    batch_prompt_close();
    terminal_restore();
    if (b->signal_fd >= 0)
        close(b->signal_fd);
    sink_close(&b->com1_file);
    sink_close(&b->debug_file);
    sink_close(&b->out);
    sink_close(&b->err);
    commands_in_fini(&b->in);
    cmd_client_fini(&b->c);
    buf_fini(&b->typed);
    buf_fini(&b->debug_line);
}

/* A command or script that did not come to its end may have been cut short by these. */
static void look_once_more(struct batch *b)
{
    look_at_time(b);
    if (is_signalled())
        on_signal(b);
}

int batch_run(struct session *s, const struct opts *o, int *died_of)
{
    struct batch *b = xcalloc(1, sizeof *b);
    struct err e = {0};
    struct buf why = {0}, told = {0};
    int handle, status;

    b->s = s;
    b->o = o;
    b->signal_fd = -1;
    handle =
        session_subscribe(s, EV_STOPPED | EV_CONSOLE | EV_RUNNING | EV_STORM | EV_LOG, on_event, b);
    if (begin(b, &e) && !scripts_failed(b->scripts, NULL)) {
        status = e.code == EIO ? STATUS_INTERNAL : STATUS_USAGE;
        buf_adds(&why, e.msg);
    } else {
        b->done |= e.code != 0;
        for (advance(b); !b->done; advance(b))
            wait(b);
        look_once_more(b);
        gdb_close(
            s); /* before the stop, which would be told to a debugger that is about to lose us */
        if (is_running(b) && !session_stop(s))
            session_wait(s, PARK_NS, NULL);
        scripts_end(b->scripts);
        status = verdict(b, &why);
        if (!b->died_of)
            status = checks_verdict(b->checks, status,
                                    b->timed_out || b->failed || scripts_failed(b->scripts, NULL),
                                    &why, &told, &b->c);
    }
    batch_prompt_close();
    terminal_restore();
    end(b, status, buf_str(&why), &told);
    buf_fini(&told);
    checks_free(b->checks);
    scripts_close(b->scripts);
    session_unsubscribe(s, handle);
    *died_of = b->died_of;
    buf_fini(&why);
    fini(b);
    free(b);
    return status;
}
