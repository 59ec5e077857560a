/*
 * What a front end with a screen takes, in the order in which it has to be taken and given back:
 * signals, the screen, the prompt. Main thread, one at a time.
 */
#ifndef TUI_FULLSCREEN_H
#define TUI_FULLSCREEN_H

#include "tui/prompt.h"
#include "vmm/base/err.h"

/* 0, or -errno with a sentence and nothing taken. `calls` is copied; none is made yet. */
int fullscreen_open(const struct prompt_calls *calls, struct err *e);
/* Gives all back. `died_of`: the signal that ended the loop, or 0; with one the result is -EINTR
 * and a sentence, else 0. */
int fullscreen_close(int died_of, struct err *e);

#endif
