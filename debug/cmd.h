/*
 * Commands: parse, dispatch, complete, help. One table (cmds.c) serves the prompt, keys, batch
 * files, gdb's `monitor` and scripts: all call cmd_exec. Main thread.
 *
 * A front end calls cmd_exec with a line and shows the sink; after each stop of the guest it calls
 * cmd_report_stop. Lines that wait for a stop (from `source FILE`, or given to cmd_queue) are run
 * by these two calls, so they need no loop of their own.
 */
#ifndef DEBUG_CMD_H
#define DEBUG_CMD_H

#include <stdbool.h>
#include <stddef.h>

#include "debug/out.h"
#include "debug/session.h"
#include "vmm/base/buf.h"
#include "vmm/base/err.h"

/* Longer lines are refused: no command needs them, and who sends them is not a person. */
#define CMD_LINE_MAX 4096u

/* A pane that a script draws, for whoever has a screen. Zero-initialise, give back with buf_fini.
 * `text` is lines, safe for a terminal but for bytes below PANE_STYLES + 1, which switch the style
 * to byte - 1 (a newline, 10, is never one: PANE_STYLES stays below); each line begins with
 * PANE_NORMAL. */
enum pane_style {
    PANE_NORMAL,
    PANE_DIM,
    PANE_TITLE,
    PANE_ADDR,
    PANE_NAME,
    PANE_NUMBER,
    PANE_CHANGED,
    PANE_ERROR,
    PANE_STYLES,
};
struct pane {
    char name[32], title[48];
    char keys[160]; /* names of keys that it wants, with blanks around each: " d Enter " */
    struct buf text;
};

/* The script host as commands and the screen see it (scripts/ is above this folder). */
struct cmd_scripts {
    void *arg;
    /* Runs code, or the file of that name. 0, or -errno after out_error. */
    int (*run)(void *arg, const char *code, bool is_file, struct out *o);
    /* Help of one name of the API; an empty name lists all. */
    int (*help)(void *arg, const char *name, struct out *o);
    /* The function that a script's expression means, as the `hit` of a point. 0 with *fn and
     * *fn_arg, or -errno with a sentence. */
    int (*point)(void *arg, const char *function, hook_fn **fn, void **fn_arg, struct err *e);
    /* The point with that function has this id, or was not made (negative). */
    void (*pointed)(void *arg, void *fn_arg, int id);
    /* Hooks, points, devices and waiting scripts. */
    int (*list)(void *arg, struct out *o);
    /* The i-th pane as it looks now in a place of that size; false past the end. `out` NULL: only
     * asks whether there is one. */
    bool (*pane)(void *arg, unsigned i, unsigned cols, unsigned rows, struct pane *out);
};

/* What a command may need from its front end beside the session; shared by all commands of one
 * client. Zero-initialise, set `s`, give back with cmd_client_fini. */
struct cmd_client {
    struct session *s;       /* NULL before a guest is open: most commands then say so */
    bool quit;               /* set by `quit` */
    int quit_status;         /* exit status asked by `quit N`, -1 none */
    struct cmd_state *state; /* displays, last x address, repeat: cmd.c's own */
};
/* Frees what the commands keep for the client; the session is not theirs. */
void cmd_client_fini(struct cmd_client *c);

#define CMD_STOPPED    1u  /* needs a stopped guest */
#define CMD_REPEAT     2u  /* an empty line repeats it */
#define CMD_NO_SESSION 4u  /* works without a guest */
#define CMD_GO_ON      8u  /* repeated without its arguments: it goes on where it was (x) */
#define CMD_CONTROL    16u /* may set the guest running */

struct cmd {
    const char *group; /* heading in `help`; rows of one group stand together */
    const char *name;  /* "stepi", or two words: "info registers" */
    const char *alias; /* "si", or NULL; several separated by blanks. For a name of two words an
                          alias stands for the last word. */
    const char *usage; /* "[COUNT]" */
    const char *help;  /* first line: summary; the rest: details and an example */
    unsigned flags;
    /* `args` is the rest of the line, trimmed, never NULL. 0 or -errno after out_error. */
    int (*run)(struct cmd_client *c, const char *args, struct out *o);
    /* Optional: `args` with its last word completed in the n-th way, malloc'ed; NULL past the
     * last. */
    char *(*complete)(struct cmd_client *c, const char *args, size_t n);
};
/* A row of cmd_add; its row.run and row.complete are NULL. */
struct cmd_added {
    struct cmd row;
    int (*run)(void *arg, struct cmd_client *c, const char *args, struct out *o);
    char *(*complete)(void *arg, const char *args, size_t n); /* as in struct cmd; or NULL */
    void *arg;
};

/* Ended by a row without name. */
extern const struct cmd cmd_table[];

/* Rows that a client adds beside the table; borrowed until cmd_remove. -EEXIST with a sentence
 * when a row has that name, -ENOSPC past 256. */
int cmd_add(const struct cmd_added *row, struct err *e);
void cmd_remove(const struct cmd_added *row);
/* The i-th row of the table and then of those added; NULL past the end. */
const struct cmd *cmd_at(size_t i);

/* Runs one line. Unknown, ambiguous or misplaced commands are errors in `o`. An empty line repeats
 * the last repeatable command. Unambiguous prefixes are accepted, gdb's one-letter forms too; text
 * behind `#` at the start of a line is a comment. Returns 0 or -errno. Control commands return
 * while the guest still runs. */
int cmd_exec(struct cmd_client *c, const char *line, struct out *o);
/* What to print when the guest stopped: the reason, the next instruction, then `display` items;
 * then runs the commands of its points and waiting lines. Returns 0, or the -errno of a waiting
 * line that failed. */
int cmd_report_stop(struct cmd_client *c, struct out *o);
/* Adds a line to those that run as soon as the guest is stopped; `file` and `number` name its
 * origin in errors (copied, may be NULL). A failing line removes all that wait behind it. */
void cmd_queue(struct cmd_client *c, const char *line, const char *file, unsigned number);
bool cmd_is_waiting(const struct cmd_client *c);
/* True between `commands` and its `end`: the lines are kept, not run. */
bool cmd_is_collecting(const struct cmd_client *c);
/* At a stop: runs what the points that made it have to run (`commands`), or begins to: the guest
 * may run again afterwards. *silent: they want the stop not to be told. 0, or a line's -errno.
 * cmd_report_stop does so itself. */
int cmd_stop_commands(struct cmd_client *c, struct out *o, bool *silent);
/* The n-th completion (from 0) of `line` as a whole new line; malloc'ed, NULL past the end. */
char *cmd_complete(struct cmd_client *c, const char *line, size_t n);
/* A C-like text with \n \r \t \e \\ \xNN \NNN, with or without quotes around it. */
int cmd_text(const char *text, struct buf *bytes, struct err *e);
/* The row that the words at the start of *line name, by the rules of cmd_exec; *line is moved
 * behind them. NULL with a sentence. */
const struct cmd *cmd_find(const char **line, struct err *e);

#endif
