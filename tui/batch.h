/*
 * `vmscope run`: a session without a screen. The guest's COM1 is standard output, standard input
 * is COM1; commands of -x and -e run one after the other, each waited for; Ctrl-C opens a prompt.
 * Main thread.
 */
#ifndef TUI_BATCH_H
#define TUI_BATCH_H

#include "tui/opts.h"

struct session;

enum {
    STATUS_OK = 0,
    STATUS_USAGE = 2, /* usage, load or host error */
    STATUS_TIMEOUT = 4,
    STATUS_TRIPLE_FAULT = 6,
    STATUS_COMMAND = 8,   /* a command of -x or -e failed */
    STATUS_INTERNAL = 10, /* this host's KVM could not go on */
};

/* Blocks the signals that batch_run reads; before session_open, so that none is lost. */
void batch_signals(void);
/* Runs to the end and returns the exit status. When a signal ended it, *signal is its number and
 * the caller dies of it. */
int batch_run(struct session *s, const struct opts *o, int *signal);

#endif
