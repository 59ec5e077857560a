/*
 * What the rows of the command table share: the client's memory between commands, parsing of
 * arguments, and the functions of every row. Only debug/cmd*.c and debug/commands/ include it.
 * Main thread.
 */
#ifndef DEBUG_COMMANDS_COMMANDS_H
#define DEBUG_COMMANDS_COMMANDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "debug/cmd.h"
#include "debug/format.h"
#include "debug/out.h"
#include "debug/session.h"
#include "debug/symbols/sym.h"
#include "disasm/disasm.h"
#include "vmm/base/err.h"

struct display {
    int id;
    bool enabled;
    struct format format;
    char *expr; /* owned */
};

struct variable {
    char *name; /* owned, without $ */
    uint64_t value;
};

struct collecting;

struct waiting {
    char *line, *file; /* owned; file may be NULL */
    unsigned number;
    bool of_point; /* from the commands of the point that stopped the guest */
    struct waiting *next;
};

struct cmd_state {
    const struct cmd *last; /* what an empty line repeats, or NULL */
    char *last_args;        /* owned */
    struct waiting *waiting, **waiting_end;
    unsigned depth;                /* nesting of cmd_exec */
    struct collecting *collecting; /* `commands` reads lines (point_commands.c); or NULL */
    bool pending_symbols;          /* set breakpoint pending */
    bool of_point;                 /* the line that runs is from a point's commands */

    /* values: $1 is value[0] */
    uint64_t *value;
    size_t values;
    struct variable *var;
    size_t vars;

    struct display *display;
    size_t displays;
    int last_display;

    /* where `x` goes on */
    struct format x_format;
    bool x_known;
    enum space x_space;
    uint64_t x_next;

    bool att; /* set disassembly-flavor */
};

/* Never NULL; made on first use. */
struct cmd_state *cmd_state(struct cmd_client *c);

/* ---- arguments (args.c) -------------------------------------------------------------------- */

/* out_error with the sentence of `e`; returns -e->code (or -EINVAL). */
int cmd_fail(struct out *o, const struct err *e);
const char *cmd_blanks(const char *p);
/* The next word, cut to `cap`; moves *p behind it and the blanks that follow. False at the end. */
bool cmd_word(const char **p, char *dst, size_t cap);
/* True (and *p moved) when the next word is `word`. */
bool cmd_keyword(const char **p, const char *word);
/* A malloc'ed copy without blanks at either end. */
char *cmd_trim_dup(const char *s, size_t len);
/* Up to the first `stop` character outside parentheses, brackets and quotes; points at it or at
 * the end of the text. */
const char *cmd_scan(const char *p, char stop);
/* Evaluates with `$1`, `$name`, `$pc`, `$sp`, `$_` filled in. */
int cmd_eval(struct cmd_client *c, const char *text, uint64_t *v, struct err *e);
/* An expression as a count of 1 and up; `dflt` when args is empty. */
int cmd_count(struct cmd_client *c, const char *args, uint64_t dflt, uint64_t *n, struct out *o);
/* " <main+4>", or empty. Returns dst. */
const char *cmd_symbol(struct cmd_client *c, uint64_t addr, char *dst, size_t cap);
/* Linear address of the next instruction of the focus vCPU; false while running. */
bool cmd_pc(struct cmd_client *c, uint64_t *pc);
/* Convenience variables; names without $. */
void cmd_var_set(struct cmd_client *c, const char *name, uint64_t v);
bool cmd_var_get(struct cmd_client *c, const char *name, uint64_t *v);
/* Adds a value to the history and returns its number. */
size_t cmd_value_add(struct cmd_client *c, uint64_t v);
/* Completion of a symbol, register or variable at the end of `args`. */
char *cmd_complete_expr(struct cmd_client *c, const char *args, size_t n);
char *cmd_complete_command(struct cmd_client *c, const char *args, size_t n);
char *cmd_complete_file(struct cmd_client *c, const char *args, size_t n);
/* From a list ended by NULL; completes the last word of args. */
char *cmd_complete_words(const char *const *words, const char *args, size_t n);

/* Sentence and -EBUSY unless there is a guest that stands. */
int cmd_need_stopped(struct cmd_client *c, struct out *o);

struct location {
    enum space space;
    uint64_t addr;
};
/* symbol, *EXPR, EXPR, SEG:OFF, FILE.c:LINE, phys:ADDR. */
int cmd_location(struct cmd_client *c, const char *text, struct location *out, struct err *e);

/* ---- printing ------------------------------------------------------------------------------ */

/* One instruction as a line: "=> 0x7c00 <start+4>:\tmov ax, bx"; also a JSON record row when a
 * table of cmd_insn_columns is open. `base` (may be NULL) prints <+off> instead. */
extern const char *const cmd_insn_columns[];
void cmd_print_insn(struct cmd_client *c, const struct insn *in, bool is_current, bool raw,
                    const struct symbol *base, struct out *o);
/* Does x /FMT at an address; used by x, xp and display. */
int cmd_examine(struct cmd_client *c, const struct format *f, enum space sp, uint64_t addr,
                struct out *o);
void cmd_displays(struct cmd_client *c, struct out *o);
/* set and show (options.c). */
int cmd_option_set(struct cmd_client *c, const char *text, struct out *o);
int cmd_option_show(struct cmd_client *c, const char *text, struct out *o);
char *cmd_complete_option(struct cmd_client *c, const char *args, size_t n);

/* What a point does at its hit: "do ACTION" at the end of a line. */
struct cmd_action {
    enum point_do kind;
    char *text; /* owned, or NULL */
};
/* Cuts it off `line` in place; DO_STOP when there is none. */
int cmd_action_take(char *line, struct cmd_action *a, struct err *e);
void cmd_action_fini(struct cmd_action *a);
const char *cmd_action_name(enum point_do kind);
/* session_point_add with that action; sets $bpnum. */
int cmd_point_add(struct cmd_client *c, struct point_spec *spec, const struct cmd_action *a,
                  struct err *e);
/* Calls `fn` for each number or range in "1 3-5"; without arguments for all points. */
typedef int cmd_point_fn(struct cmd_client *c, int id, void *arg);
int cmd_each_point(struct cmd_client *c, const char *args, struct out *o, cmd_point_fn *fn,
                   void *arg);
/* KIND [WHAT] [if EXPR] [do ACTION] as a catchpoint; without `do` it does `otherwise`. */
int cmd_catch_point(struct cmd_client *c, const char *args, enum point_do otherwise, bool temporary,
                    struct out *o);
/* KIND [WHAT] [if EXPR] as an expression over records, appended; another expression as it is. */
int cmd_catch_filter(struct cmd_client *c, const char *args, struct buf *out, struct err *e);
/* A line while `commands` reads them. */
int cmd_collect_line(struct cmd_client *c, const char *line, struct out *o);
void cmd_collect_drop(struct cmd_state *st);

/* The parts of "LOCATION [thread N] [if EXPR] [thread N] [do ACTION]"; strings are owned, also
 * after an error. */
struct cmd_point_args {
    char *where, *condition;
    struct cmd_action action;
    int vcpu;
};
int cmd_point_split(struct cmd_client *c, const char *args, struct cmd_point_args *a,
                    struct err *e);
void cmd_point_args_fini(struct cmd_point_args *a);
/* Cuts "thread N" or "vcpu N" off the end of `text` in place; *vcpu stays as it is without. */
int cmd_vcpu_take(struct cmd_client *c, char *text, int *vcpu, struct err *e);

/* Of the trace commands. */
char *cmd_complete_exits(struct cmd_client *c, const char *args, size_t n);
char *cmd_complete_trace(struct cmd_client *c, const char *args, size_t n);

/* ---- rows ---------------------------------------------------------------------------------- */

/* clang-format off */
#define CMD_ROWS(X) \
    X(continue) X(stepi) X(stepto) X(nexti) X(finish) X(until) X(stop) X(reset) X(run) X(quit) \
    X(break) X(tbreak) X(dprintf) X(catch) X(tcatch) X(commands) X(end) X(silent) X(delete) X(disable) X(enable) \
    X(condition) X(ignore) X(info_breakpoints) \
    X(watch) X(rwatch) X(awatch) X(info_watchpoints) X(info_catchpoints) \
    X(info_registers) X(info_all_registers) X(print) X(set) X(set_var) X(show) X(output) \
    X(x) X(xp) X(disassemble) X(display) X(undisplay) X(info_display) X(dump) X(restore) X(find) \
    X(info_line) X(info_symbol) X(info_address) X(info_functions) X(symbol_file) \
    X(add_symbol_file) X(backtrace) \
    X(info_exits) X(trace) X(explain) X(storm) X(info_counters) X(info_assists) \
    X(info_devices) X(info_cpus) X(vcpu) X(info_walk) X(info_tab) X(info_gdt) \
    X(info_idt) X(info_tss) X(info_mem) X(info_guest) X(info_kvm) X(info_log) X(info_stop) \
    X(kaslr) X(gdb_listen) X(gdb_close) X(gdb_status) \
    X(control_listen) X(control_close) X(control_status) \
    X(send) X(type) X(echo) X(source) X(help) X(apropos) X(info) \
    X(lua) X(help_lua) X(info_scripts)

#define X(name) int cmd_##name##_run(struct cmd_client *c, const char *args, struct out *o);
CMD_ROWS(X)
#undef X
/* clang-format on */

/* `trace stacks …` (stacks.c), from cmd_trace_run. */
int cmd_trace_stacks(struct cmd_client *c, const char *args, struct out *o);

#endif
