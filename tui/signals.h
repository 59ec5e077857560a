/*
 * Signals of a program that owns the terminal: those that end, stop or resize it arrive as bytes on
 * a pipe, those that kill it restore the terminal first. They may be delivered on any thread: the
 * vCPU threads exist before the screen does. One user at a time. Main thread.
 */
#ifndef TUI_SIGNALS_H
#define TUI_SIGNALS_H

#include <stdbool.h>

#include "vmm/base/err.h"

int signals_open(struct err *e);
void signals_close(void);
/* Readable when one has arrived. */
int signals_fd(void);
/* Empties the pipe; then signals_take says which came. */
void signals_drain(void);
/* Whether this one has come since it was last asked for: SIGINT, SIGWINCH, SIGTSTP, SIGCONT. */
bool signals_take(int sig);
/* The one that ends us (SIGTERM, SIGHUP, SIGQUIT), or 0. */
int signals_ending(void);
/* Stops our whole job as the terminal's own Ctrl-Z would, so that a shell script or make around us
 * stops too; returns when it goes on, with the screen taken again. In a job without a shell nothing
 * stops us, and we go on after a second. */
void signals_suspend(void);
/* One that ends the program, or SIGINT, has arrived and was not taken. Any time. */
bool signals_wait(void);

#endif
