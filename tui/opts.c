/*
 * The option table and its parser. Values are checked here as far as they can be without the
 * host; what the host refuses is said by session_open. Main thread, before anything else runs.
 */
#include "tui/opts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "debug/cmd.h"
#include "tui/opts_values.h"
#include "vmm/base/near.h"
#include "vmm/base/x.h"

#define IN_WORKBENCH (1u << SUB_WORKBENCH)
#define IN_RUN       (1u << SUB_RUN)
#define IN_DOCTOR    (1u << SUB_DOCTOR)
#define IN_REPORT    (1u << SUB_REPORT)
#define IN_GUEST     (IN_WORKBENCH | IN_RUN)
#define IN_GDBINIT   (1u << SUB_GDBINIT)
#define IN_ALL       (IN_GUEST | IN_DOCTOR | IN_REPORT | IN_GDBINIT)

struct option_row {
    char letter;      /* 0: none */
    const char *name; /* long name without dashes, or NULL */
    const char *arg;  /* "SIZE"; NULL: takes none */
    unsigned where;   /* IN_*; 0: everywhere, and not listed */
    const char *help;
    opt_setter *set; /* `value` is never NULL */
};

static int set_stop(struct opts *o, const char *value, struct err *e)
{
    (void)value;
    (void)e;
    o->stop_at_entry = true;
    return 0;
}

static int set_help(struct opts *o, const char *value, struct err *e)
{
    (void)value;
    (void)e;
    o->help = true;
    return 0;
}

static int set_version(struct opts *o, const char *value, struct err *e)
{
    (void)value;
    (void)e;
    o->version = true;
    return 0;
}

static int set_docs(struct opts *o, const char *value, struct err *e)
{
    (void)value;
    (void)e;
    o->dump_docs = true;
    return 0;
}

static int set_lua(struct opts *o, const char *value, struct err *e)
{
    if (strcmp(value, "types") && strcmp(value, "reference"))
        return err_set(e, EINVAL, "--dump-lua prints types or reference, not `%s`", value);
    o->dump_lua = value;
    return 0;
}

static int set_log(struct opts *o, const char *value, struct err *e)
{
    (void)e;
    o->log = value;
    return 0;
}

/* clang-format off */
static const struct option_row table[] = {
{'m', "memory", "SIZE", IN_GUEST, "guest memory, as 64M or 2G; 128M unless given", opt_memory},
{'c', "cpus", "N", IN_GUEST, "number of vCPUs, 1 to 16", opt_cpus},
{0, "cpu", "[+-]FEATURE,…", IN_GUEST, "CPU features to add or hide, by their names in /proc/cpuinfo",
 opt_cpu},
{0, "boot", "KIND", IN_GUEST, "how to load the image: auto, flat, elf, multiboot, multiboot2, linux "
 "or pvh", opt_boot},
{0, "load-addr", "ADDRESS", IN_GUEST, "where a flat image goes; 0x7c00 unless given", opt_load_addr},
{0, "mode", "MODE", IN_GUEST, "mode in which a flat image is entered: real, prot or long", opt_mode},
{0, "append", "STRING", IN_GUEST, "command line for the guest", opt_append},
{0, "initrd", "FILE", IN_GUEST, "initial RAM disk for Linux", opt_initrd},
{0, "module", "FILE[,STRING]", IN_GUEST, "a boot module and its arguments; may be repeated",
 opt_module},
{0, "serial", "WHERE", IN_GUEST, "where COM1 is connected: stdio, pty, file:PATH or none; `run` "
 "uses stdio; the workbench takes file:PATH, which it fills beside its serial panel", opt_serial},
{0, "debugcon", "WHERE", IN_RUN, "where bytes written to port 0xE9 go: stderr (unless given), "
 "stdio, file:PATH or none", opt_debugcon},
{0, "irqchip", "SIDE", IN_GUEST, "interrupt chips and timer in vmscope (user) or in KVM (kernel)",
 opt_irqchip},
{0, "slow-clock", "N", IN_GUEST, "the guest's timers run N times slower than the host's clock, for "
 "guests that this host runs so slowly that their timer ticks leave no time for work; unless given, "
 "20 for Linux where KVM emulates ring 0, else 1",
 opt_slow_clock},
{'S', NULL, NULL, IN_GUEST, "stop at the guest's first instruction, as the workbench always does; "
 "`run` then takes commands from its standard input unless -x or -e gives them", set_stop},
{'x', "command", "FILE", IN_GUEST, "run the commands of a file (`-`: standard input); may be "
 "repeated", opt_command_file},
{'e', "eval", "CMD", IN_GUEST, "run one command; may be repeated", opt_command_text},
{0, "script", "FILE[,KEY=VALUE…]", IN_GUEST, "run a Lua script, by its path or by the name of one "
 "that came with vmscope, before the guest starts; may be repeated", opt_script},
{0, "autoload", "ask|yes|no", IN_GUEST, "run the script that lies beside the guest, GUEST.lua; the "
 "workbench asks first unless given, `run` then leaves it alone", opt_autoload},
{0, "script-sandbox", NULL, IN_GUEST, "scripts get no files and no programs of the host", opt_sandbox},
{0, "expect", "REGEX", IN_RUN, "the guest must print a line that matches; ends with status 0 when all "
 "were seen, with 8 when not; may be repeated", opt_expect},
{0, "fail", "REGEX", IN_RUN, "end with status 8 as soon as the guest prints a line that matches; may be "
 "repeated", opt_fail},
{0, "send", "TEXT", IN_RUN, "type TEXT on the serial line (\\r is Enter) once each --expect before it on the "
 "command line was seen; those behind it are looked for from then on; may be repeated", opt_send},
{0, "check", "EXPR", IN_RUN, "must hold at the end, or the status is 8: registers, memory, symbols and "
 "exits, as `$rax == 5 && count(kind==mmio) < 100`; may be repeated", opt_check},
{0, "max-exits", "N", IN_RUN, "end with status 8 after N exits", opt_max_exits},
{0, "junit", "FILE", IN_RUN, "write the outcome as JUnit XML", opt_junit},
{0, "keep", "DIR", IN_RUN, "where a failed check leaves console, registers, trace and screen; a new "
 "folder in $TMPDIR unless given", opt_keep},
{0, "timeout", "SECONDS", IN_RUN, "end with status 4 when the guest has not ended by then",
 opt_timeout},
{0, "on-triple-fault", "WHAT", IN_GUEST, "stop, reset or exit at a triple fault; stop unless given",
 opt_triple},
{0, "visible", "WHAT", IN_GUEST, "which accesses become exits: default, or all, which has KVM "
 "hand over every MSR access too (slower)", opt_visible},
{0, "trace", "FILE", IN_GUEST, "stream the record of every exit to FILE, for `vmscope report`",
 opt_trace},
{0, "symbols", "FILE[@ADDRESS]", IN_GUEST | IN_REPORT | IN_GDBINIT, "take symbols and lines from FILE, moved by ADDRESS",
 opt_symbols},
{0, "assist", "on|off", IN_GUEST, "carry out instructions that this host's KVM refuses; on unless "
 "given", opt_assist},
{0, "gdb", "[HOST:]PORT|unix:PATH", IN_GUEST | IN_GDBINIT, "listen for gdb or lldb; on 127.0.0.1 unless HOST is "
 "given", opt_gdb},
{0, "control", "unix:PATH", IN_GUEST, "let other programs drive the session by JSON-RPC over a socket",
 opt_control},
{0, "by", "KEY", IN_REPORT, "count exits by kind (unless given), port, gpa, msr, vector, rip, "
 "symbol, vcpu, device, what or site", opt_report_by},
{0, "top", "N", IN_REPORT, "rows of a table; 20 unless given", opt_report_top},
{0, "sort", "ORDER", IN_REPORT, "order of rows: count (unless given), time, mean, p99 or max",
 opt_report_sort},
{0, "if", "EXPR", IN_REPORT, "only records that match, as `kind==io && port==0x3f8`",
 opt_report_filter},
{0, "hist", NULL, IN_REPORT, "histograms of the time in handlers and in the guest",
 opt_report_hist},
{0, "storms", NULL, IN_REPORT, "the operations that flooded the guest with exits, and when",
 opt_report_storms},
{0, "counters", NULL, IN_REPORT, "what KVM itself counted while the trace was recorded",
 opt_report_counters},
{0, "diff", "FILE", IN_REPORT, "compare this recording with the other: where they first part, and "
 "how counts changed", opt_report_diff},
{0, "fail-if", "EXPR", IN_REPORT, "end with status 8 when true, as `count(kind==mmio) > 1000`; "
 "also rate, share (percent), mean, p50, p99 and max (ns)", opt_report_fail_if},
{0, "export", "FORMAT", IN_REPORT, "write perfetto (timeline), folded (flame graph), csv, jsonl, "
 "svg or html", opt_report_export},
{'o', "output", "FILE", IN_REPORT, "where an export goes; standard output unless given",
 opt_report_output},
{0, "list", "N", IN_REPORT, "list N records instead of a table", opt_report_list},
{0, "explain", "N", IN_REPORT, "explain record N, from 1, in words", opt_report_explain},
{0, "from", "N", IN_REPORT, "begin the list at record N, from 1", opt_report_from},
{0, "json", "[=FILE]", IN_RUN | IN_DOCTOR | IN_REPORT, "print JSON instead of text, one object a line; `run` with =FILE: print text, and "
 "write the outcome to FILE as JSON", opt_json},
{0, "log", "FILE", IN_ALL, "append vmscope's own log to FILE (levels: VMSCOPE_LOG)", set_log},
{'h', "help", NULL, IN_ALL, "show this", set_help},
{'V', "version", NULL, IN_ALL, "show the version", set_version},
{0, "dump-docs", NULL, 0, "print the man page's tables", set_docs},
{0, "dump-lua", "WHAT", 0, "print the scripting interface: types (for editors) or reference", set_lua},
};
/* clang-format on */

static const struct {
    const char *name, *usage, *help;
} subs[SUBCOMMANDS] = {
    [SUB_WORKBENCH] = {"", "[OPTIONS] GUEST",
                       "the workbench: guest, registers, code and exits on the screen; a recorded "
                       "trace (FILE.vtr) opens without a machine"},
    [SUB_RUN] = {"run", "[OPTIONS] GUEST",
                 "the same without a screen: the guest's serial line on standard output"},
    [SUB_DOCTOR] = {"doctor", "[--json]",
                    "what this host's KVM can do, and the method chosen for each feature"},
    [SUB_REPORT] = {"report", "[OPTIONS] FILE",
                    "analyse a recorded exit trace (--trace FILE, `trace on FILE`)"},
    [SUB_GDBINIT] = {"gdbinit", "[OPTIONS] GUEST",
                     "print a .gdbinit with which gdb finds the guest and its symbols"},
};

/* ---- parsing ------------------------------------------------------------------------------- */

static const struct option_row *by_letter(char letter)
{
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        if (letter && table[i].letter == letter)
            return &table[i];
    }
    return NULL;
}

/* By the first `len` bytes of a long name. */
static const struct option_row *by_name(const char *name, size_t len)
{
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        if (table[i].name && strlen(table[i].name) == len && !strncmp(table[i].name, name, len))
            return &table[i];
    }
    return NULL;
}

static int unknown_option(const char *arg, size_t len, struct err *e)
{
    size_t dashes = strspn(arg, "-");
    char word[64];
    struct near near = {.word = word};

    if (dashes > len)
        dashes = len;
    snprintf(word, sizeof word, "%.*s", (int)(len - dashes), arg + dashes);
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        if (table[i].name && table[i].where)
            near_offer(&near, table[i].name);
    }
    if (near.best)
        return err_set(e, EINVAL, "there is no option `%.*s`: did you mean `--%s`?", (int)len, arg,
                       near.best);
    return err_set(e, EINVAL, "there is no option `%.*s`: `vmscope --help` lists all", (int)len,
                   arg);
}

/* "[=FILE]": only what is attached is its value. */
static bool takes(const struct option_row *row)
{
    return row->arg && strncmp(row->arg, "[=", 2) != 0;
}

static int apply(struct opts *o, const struct option_row *row, const char *given, const char *value,
                 struct err *e)
{
    int r;

    if (row->where && !(row->where & 1u << o->sub))
        return err_set(e, EINVAL,
                       "the option %s is not for `vmscope%s%s`: `vmscope --help` says "
                       "where it belongs",
                       given, *subs[o->sub].name ? " " : "", subs[o->sub].name);
    if (takes(row) ? !value || (!*value && row->set != opt_append) : row->arg && value && !*value)
        return err_set(e, EINVAL, "the option %s needs a value: %s", given, row->arg);
    if (!row->arg && value)
        return err_set(e, EINVAL, "the option %s takes no value, so `%s` cannot stand behind it",
                       given, value);
    r = row->set(o, value ? value : "", e);
    return r ? err_prefix(e, "%s", given) : 0;
}

/* "--name", "--name=value" or "--name value". */
static int long_option(struct opts *o, char **argv, int *i, struct err *e)
{
    const char *arg = argv[*i], *name = arg + 2;
    size_t len = strcspn(name, "=");
    const struct option_row *row = by_name(name, len);
    const char *value = name[len] ? name + len + 1 : NULL;
    char given[64];

    if (!row)
        return unknown_option(arg, len + 2, e);
    snprintf(given, sizeof given, "--%s", row->name);
    if (takes(row) && !value && argv[*i + 1])
        value = argv[++*i];
    return apply(o, row, given, value, e);
}

/* "-S", "-m 64M", "-m64M", "-Sc2". */
static int short_options(struct opts *o, char **argv, int *i, struct err *e)
{
    const char *arg = argv[*i];

    for (const char *p = arg + 1; *p; p++) {
        const struct option_row *row = by_letter(*p);
        char given[] = {'-', *p, 0};
        const char *value = NULL;
        int r;

        if (!row)
            return unknown_option(arg, strlen(arg), e);
        if (row->arg && p[1])
            value = p + 1;
        else if (row->arg && argv[*i + 1])
            value = argv[++*i];
        r = apply(o, row, given, value, e);
        if (r || row->arg)
            return r;
    }
    return 0;
}

/* A first word that names no file may be a mistyped subcommand; "help" is what other programs have.
 */
static int check_word(const char *word, struct err *e)
{
    struct near near = {.word = word};

    if (!access(word, F_OK))
        return 0;
    for (int s = SUB_RUN; s < SUBCOMMANDS; s++)
        near_offer(&near, subs[s].name);
    if (!strcmp(word, "help"))
        near.best = "--help";
    if (!near.best)
        return 0;
    return err_set(e, ENOENT, "there is no file `%s`: did you mean `vmscope %s`?", word, near.best);
}

static int guest(struct opts *o, const char *arg, struct err *e)
{
    if (o->sub == SUB_DOCTOR)
        return err_set(e, EINVAL, "`vmscope doctor` takes no guest, so `%s` cannot stand there",
                       arg);
    if (o->session.boot.image && o->sub == SUB_WORKBENCH && check_word(o->session.boot.image, e))
        return -e->code;
    if (o->session.boot.image)
        return err_set(e, EINVAL, "there are two guests, `%s` and `%s`: one run has one%s",
                       o->session.boot.image, arg,
                       o->json ? " (a file for --json is attached: --json=FILE)" : "");
    o->session.boot.image = arg;
    return 0;
}

static int check(const struct opts *o, struct err *e)
{
    if (o->help || o->version || o->dump_docs || o->dump_lua || o->sub == SUB_DOCTOR)
        return 0;
    if (!o->session.boot.image || !*o->session.boot.image)
        return err_set(e, EINVAL, "the %s is missing: `vmscope%s%s FILE` (--help tells more)",
                       o->sub == SUB_REPORT ? "trace file" : "guest", *subs[o->sub].name ? " " : "",
                       subs[o->sub].name);
    if (o->sub == SUB_WORKBENCH && check_word(o->session.boot.image, e))
        return -e->code;
    if (o->sub == SUB_WORKBENCH && (o->serial.kind == SERIAL_STDIO || o->serial.kind == SERIAL_PTY))
        return err_set(e, EINVAL,
                       "--serial stdio and pty need `vmscope run`: the workbench uses the "
                       "terminal itself");
    return 0;
}

int opts_parse(struct opts *o, int argc, char **argv, struct err *e)
{
    int i = 1, r = 0;
    bool only_names = false;

    *o = (struct opts){.argc = argc, .argv = argv};
    for (int s = SUB_RUN; argc > 1 && s < SUBCOMMANDS; s++) {
        if (!strcmp(argv[1], subs[s].name)) {
            o->sub = (enum subcommand)s;
            i = 2;
        }
    }
    for (; !r && i < argc; i++) {
        const char *arg = argv[i];

        if (!only_names && !strcmp(arg, "--"))
            only_names = true;
        else if (!only_names && arg[0] == '-' && arg[1] == '-')
            r = long_option(o, argv, &i, e);
        else if (!only_names && arg[0] == '-' && arg[1])
            r = short_options(o, argv, &i, e);
        else
            r = guest(o, arg, e);
    }
    return r ? r : check(o, e);
}

void opts_fini(struct opts *o)
{
    for (unsigned i = 0; i < o->owned_count; i++)
        free(o->owned[i]);
    free(o->owned);
    free(o->command);
    free(o->script);
    free(o->expect);
    free(o->fail);
    free(o->condition);
    free(o->send);
    *o = (struct opts){0};
}

/* ---- help ---------------------------------------------------------------------------------- */

/* Appends `text` from `column` on, broken at blanks before column 80. */
static void fill(struct buf *out, size_t column, const char *text)
{
    size_t at = column;

    while (*text) {
        size_t n = strcspn(text, " ");

        if (at + n > 79 && at > column) {
            out->data[out->len - 1] = '\n'; /* the blank before this word */
            buf_pad(out, column);
            at = column;
        }
        buf_add(out, text, n);
        at += n;
        text += n;
        if (*text == ' ') {
            buf_addc(out, ' ');
            at++;
            text++;
        }
    }
    buf_addc(out, '\n');
}

static void option_text(const struct option_row *row, struct buf *out)
{
    buf_adds(out, "  ");
    if (row->letter)
        buf_addf(out, "-%c%s", row->letter, row->name ? ", " : "");
    else
        buf_adds(out, "    ");
    if (row->name)
        buf_addf(out, "--%s", row->name);
    if (row->arg)
        buf_addf(out, "%s%s", takes(row) ? " " : "", row->arg);
}

/* Which subcommands take it, where it is not for the workbench. */
static void option_places(const struct option_row *row, struct buf *out)
{
    const char *sep = "  (";

    if (row->where & IN_WORKBENCH)
        return;
    for (int s = 0; s < SUBCOMMANDS; s++)
        if (row->where >> s & 1) {
            buf_addf(out, "%s%s", sep, subs[s].name);
            sep = ", ";
        }
    buf_adds(out, " only)");
}

void opts_help(enum subcommand sub, struct buf *out)
{
    buf_adds(out, "usage:\n");
    for (int s = 0; s < SUBCOMMANDS; s++) {
        if (sub != SUB_WORKBENCH && s != (int)sub)
            continue;
        buf_addf(out, "  vmscope%s%s %s", *subs[s].name ? " " : "", subs[s].name, subs[s].usage);
        buf_adds(out, "\n      ");
        fill(out, 6, subs[s].help);
    }
    buf_adds(out, "\noptions:\n");
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        /* The first page shows what any of the subcommands takes. */
        unsigned shown = sub == SUB_WORKBENCH ? IN_ALL : 1u << sub;

        if (!(table[i].where & shown))
            continue;
        option_text(&table[i], out);
        if (sub == SUB_WORKBENCH)
            option_places(&table[i], out);
        buf_adds(out, "\n      ");
        fill(out, 6, table[i].help);
    }
    if (sub == SUB_DOCTOR || sub == SUB_REPORT)
        return;
    buf_adds(out, "\nExit status of `run`: 0 the guest powered off or halted for ever; odd, "
                  "((v<<1)|1) & 0xff,\nwhen it wrote v to port 0xF4; 2 usage, load or host "
                  "error; 4 time-out; 6 triple fault;\n8 a command, script or check failed; 10 the "
                  "host's KVM could "
                  "not go on.\n");
}

/* ---- man page ------------------------------------------------------------------------------ */

/* Text as mdoc takes it: a line must not begin with a dot or a quote, and \ is an escape. */
static void mdoc_text(struct buf *out, const char *text)
{
    bool start = true;

    for (; *text; text++) {
        if (start && (*text == '.' || *text == '\''))
            buf_adds(out, "\\&");
        if (*text == '\\')
            buf_adds(out, "\\e");
        else if (*text == '`')
            buf_adds(out, "\\(ga");
        else if (!strncmp(text, "…", 3)) {
            buf_adds(out, "...");
            text += 2;
        } else
            buf_addc(out, *text);
        start = *text == '\n';
    }
    buf_addc(out, '\n');
}

/* An argument in quotes, for it may hold blanks and punctuation. */
static void mdoc_arg(struct buf *out, const char *arg)
{
    buf_adds(out, " Ar \"");
    for (; *arg; arg++) {
        if (!strncmp(arg, "…", 3)) {
            buf_adds(out, "...");
            arg += 2;
        } else {
            buf_addc(out, *arg);
        }
    }
    buf_adds(out, "\"");
}

static void docs_options(struct buf *out)
{
    buf_adds(out, ".\\\" begin options\n.Bl -tag -width Ds\n");
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        const struct option_row *row = &table[i];

        if (!row->where)
            continue;
        buf_adds(out, ".It");
        if (row->letter)
            buf_addf(out, " Fl %c%s", row->letter, row->name ? " ," : "");
        if (row->name)
            buf_addf(out, " Fl -%s", row->name);
        if (row->arg)
            mdoc_arg(out, row->arg);
        buf_addc(out, '\n');
        mdoc_text(out, row->help);
    }
    buf_adds(out, ".El\n.\\\" end options\n");
}

static void docs_commands(struct buf *out)
{
    const char *group = "";

    buf_adds(out, ".\\\" begin commands\n");
    for (const struct cmd *r = cmd_table; r->name; r++) {
        if (strcmp(r->group, group)) {
            buf_addf(out, "%s.Ss %s\n.Bl -tag -width Ds\n", *group ? ".El\n" : "", r->group);
            group = r->group;
        }
        buf_addf(out, ".It Ic %s", r->name);
        if (*r->usage)
            mdoc_arg(out, r->usage);
        buf_addc(out, '\n');
        mdoc_text(out, r->help);
        if (r->alias)
            buf_addf(out, "Also: %s.\n", r->alias);
    }
    buf_adds(out, ".El\n.\\\" end commands\n");
}

void opts_docs(struct buf *out)
{
    docs_options(out);
    docs_commands(out);
}
