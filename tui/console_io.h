/*
 * Where a guest's console goes without a screen: descriptors, files and pseudo-terminals, and the
 * modes of the user's terminal. Main thread.
 */
#ifndef TUI_CONSOLE_IO_H
#define TUI_CONSOLE_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tui/opts.h"
#include "vmm/base/buf.h"
#include "vmm/base/err.h"

/* ---- output -------------------------------------------------------------------------------- */

struct sink {
    int fd;        /* -1: nothing is written */
    int slave;     /* of a pseudo-terminal, kept open; -1 */
    bool owned;    /* fd is closed by sink_close */
    bool escape;   /* a terminal: guest bytes pass esc_console */
    bool mid_line; /* the last byte written was no newline */
    bool lossy;    /* a pseudo-terminal that nobody reads: bytes are dropped and counted */
    uint64_t dropped;
    int error;       /* errno of the write that failed; later writes do nothing */
    struct buf held; /* an unfinished UTF-8 sequence */
};

/* `stdio_fd` is what SERIAL_STDIO and SERIAL_DEFAULT mean. Announces a pseudo-terminal's name on
 * standard error. */
int sink_open(struct sink *s, const struct serial_choice *c, int stdio_fd, struct err *e);
void sink_close(struct sink *s);
/* The guest's bytes, escaped for a terminal. Gives up at `deadline_ns` (CLOCK_MONOTONIC;
 * UINT64_MAX: never) with ETIME in s->error. */
void sink_guest(struct sink *s, const void *bytes, size_t len, uint64_t deadline_ns);
/* Text of vmscope's own on a line of its own. */
void sink_text(struct sink *s, const char *text, size_t len, uint64_t deadline_ns);

/* "vmscope: SENTENCE" on standard error, whatever the names in it hold. */
void console_complain(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* ---- the terminal --------------------------------------------------------------------------- */

/* Remembers the modes of standard input when it is a terminal in the foreground; they come back at
 * exit, in bug() and on fatal signals. True when it is one. */
bool terminal_open(void);
/* Keys go to the guest one by one, without echo; Ctrl-C, Ctrl-\ and Ctrl-Z stay ours. */
void terminal_guest(void);
/* As it was. Async-signal-safe. */
void terminal_restore(void);

#endif
