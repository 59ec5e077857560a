/*
 * The prompt of `vmscope run`: readline on the user's terminal, fed when standard input is
 * readable. There is one, for readline is global. Main thread.
 */
#ifndef TUI_BATCH_PROMPT_H
#define TUI_BATCH_PROMPT_H

#include <stdbool.h>

struct cmd_client;

/* Shows the prompt; `done` gets each finished line (NULL at Ctrl-D), after which the prompt is
 * closed. Completion asks `c`. */
void batch_prompt_open(struct cmd_client *c, void (*done)(void *arg, const char *line), void *arg);
/* Takes what standard input has. */
void batch_prompt_read(void);
/* Draws the line again, after the process was suspended. */
void batch_prompt_redraw(void);
/* Leaves the terminal as it was. Harmless when no prompt is open. */
void batch_prompt_close(void);
bool batch_prompt_is_open(void);

#endif
