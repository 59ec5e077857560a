/*
 * Commands: parse, dispatch, complete, help. One table (cmds.c) serves the prompt, keys, batch
 * files, gdb's `monitor` and scripts: all call cmd_exec. Main thread.
 */
#ifndef DEBUG_CMD_H
#define DEBUG_CMD_H

#include <stdbool.h>
#include <stddef.h>

#include "debug/out.h"

struct session;

/* What a command may need from its front end beside the session; shared by all commands of one
 * client. Zero-initialise, set `s`, give back with cmd_client_fini. */
struct cmd_client {
    struct session *s; /* NULL before a guest is open: most commands then say so */
    bool quit;         /* set by `quit` */
    int quit_status;   /* exit status asked by `quit N`, -1 none */
    struct cmd_state *state; /* displays, last x address, repeat: cmd.c's own */
};
void cmd_client_fini(struct cmd_client *c);

#define CMD_STOPPED    1u /* needs a stopped guest */
#define CMD_REPEAT     2u /* an empty line repeats it */
#define CMD_NO_SESSION 4u /* works without a guest */

struct cmd {
    const char *name;  /* "stepi", or two words: "info registers" */
    const char *alias; /* "si", or NULL; several separated by blanks */
    const char *usage; /* "[COUNT]" */
    const char *help;  /* first line: summary; the rest: details and an example */
    unsigned flags;
    /* `args` is the rest of the line, trimmed, never NULL. 0 or -errno after out_error. */
    int (*run)(struct cmd_client *c, const char *args, struct out *o);
    /* Optional: the n-th completion of the word that `args` ends with, malloc'ed, or NULL. */
    char *(*complete)(struct cmd_client *c, const char *args, size_t n);
};

/* Ended by a row without name. */
extern const struct cmd cmd_table[];

/* Runs one line. Unknown, ambiguous or misplaced commands are errors in `o`. An empty line repeats
 * the last repeatable command. Unambiguous prefixes are accepted, gdb's one-letter forms too.
 * Returns 0 or -errno. Control commands return while the guest still runs. */
int cmd_exec(struct cmd_client *c, const char *line, struct out *o);
/* What to print when the guest stopped: the reason, the next instruction, then `display` items. */
void cmd_report_stop(struct cmd_client *c, struct out *o);
/* The n-th completion (from 0) of `line` as a whole new line; malloc'ed, NULL past the end. */
char *cmd_complete(struct cmd_client *c, const char *line, size_t n);
/* Help of one command or a topic list; used by `help` and the man page. */
void cmd_help(const char *name, struct out *o);

#endif
