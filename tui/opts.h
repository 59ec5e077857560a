/*
 * The command line. One table (opts.c) gives parsing, --help and the man page's list. Only options
 * whose feature exists are in it. Main thread.
 */
#ifndef TUI_OPTS_H
#define TUI_OPTS_H

#include <stdbool.h>
#include <stdint.h>

#include "debug/session.h"
#include "debug/trace/report.h"
#include "vmm/base/buf.h"
#include "vmm/base/err.h"

enum subcommand { SUB_WORKBENCH, SUB_RUN, SUB_DOCTOR, SUB_REPORT, SUB_GDBINIT, SUBCOMMANDS };

enum serial_kind {
    SERIAL_DEFAULT,
    SERIAL_STDIO,
    SERIAL_STDERR,
    SERIAL_PTY,
    SERIAL_FILE,
    SERIAL_NONE,
};
struct serial_choice {
    enum serial_kind kind;
    const char *path; /* SERIAL_FILE */
};

/* -e 'CMD' or -x FILE, in the order given. */
struct opt_command {
    bool is_file;
    const char *text;
};

/* --send TEXT, once the first `after` of the expected patterns were seen. */
struct opt_send {
    const char *text;
    unsigned after;
};

struct opts {
    enum subcommand sub;
    struct session_config session;
    struct serial_choice serial, debugcon;
    bool stop_at_entry, json, help, version, dump_docs;
    const char *dump_lua;        /* "types" or "reference" */
    struct opt_command *command; /* owned */
    unsigned commands;
    uint64_t timeout_ns; /* 0: none */
    const char **script; /* --script, owned list; strings stay in argv */
    unsigned scripts;
    bool script_sandbox;
    enum { AUTOLOAD_ASK, AUTOLOAD_YES, AUTOLOAD_NO } autoload;
    const char **expect, **fail; /* regular expressions; owned lists */
    const char **condition;      /* --check, likewise */
    unsigned expects, fails, conditions;
    struct opt_send *send; /* owned */
    unsigned sends;
    uint64_t max_exits; /* 0: any */
    const char *junit, *json_file, *keep;
    int argc; /* as given to opts_parse, for the command that reruns this */
    char **argv;
    const char *log;
    const char *trace; /* --trace FILE */
    struct report_ask report;
    char **owned; /* copies that session.boot points to */
    unsigned owned_count;
};

/* Fills `o` (which is zeroed first); strings stay in argv. -EINVAL with one sentence that names
 * the nearest known option or value. Give back with opts_fini, also after an error. */
int opts_parse(struct opts *o, int argc, char **argv, struct err *e);
void opts_fini(struct opts *o);
/* The text of --help. */
void opts_help(enum subcommand sub, struct buf *out);
/* The man page's lists of options and commands, in mdoc, each between its begin and end marks. */
void opts_docs(struct buf *out);

#endif
