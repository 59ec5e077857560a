/*
 * The commands of -x and -e as one sequence of lines. Files are read before the guest starts;
 * standard input (`-x -`) line by line as it comes. Main thread.
 */
#ifndef TUI_COMMANDS_IN_H
#define TUI_COMMANDS_IN_H

#include <stdbool.h>
#include <stddef.h>

#include "tui/opts.h"
#include "vmm/base/buf.h"
#include "vmm/base/err.h"

struct command_line {
    char *text;       /* owned; NULL: what standard input brings */
    const char *file; /* NULL: -e */
    unsigned number;
};

struct commands_in {
    struct command_line *line;
    size_t count, next;
    bool use_stdin, eof; /* a row stands for standard input; it ended */
    struct buf pending;  /* what was read from it */
    char *current;       /* its last line */
    unsigned stdin_line;
};

/* -errno with a sentence when a file cannot be read. */
int commands_in_load(struct commands_in *in, const struct opts *o, struct err *e);
void commands_in_fini(struct commands_in *in);
/* True when the next line must be read from standard input first (commands_in_read). */
bool commands_in_wants(const struct commands_in *in);
/* Reads what standard input has; call when it is readable. */
void commands_in_read(struct commands_in *in);
/* The next line; valid until the next call. False when there is none now. */
bool commands_in_next(struct commands_in *in, struct command_line *out);

#endif
