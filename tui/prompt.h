/*
 * The command line: readline without a terminal. Keys are fed to it one by one, and it edits a
 * line that the frame draws; history and ~/.inputrc work as everywhere. Readline is global, so
 * there is one prompt. Main thread.
 */
#ifndef TUI_PROMPT_H
#define TUI_PROMPT_H

#include <stddef.h>

#include "tui/ui.h"

/* `done` gets each finished line. The n-th completion of a line comes from `complete` (malloc'ed,
 * NULL past the end); `list` shows several. */
struct prompt_calls {
    void *arg;
    void (*done)(void *arg, const char *line);
    char *(*complete)(void *arg, const char *line, size_t n);
    void (*list)(void *arg, const char *text);
};
void prompt_init(const struct prompt_calls *calls);
/* Writes the history file. */
void prompt_fini(void);
/* Starts an empty line behind `label` (static text). */
void prompt_open(const char *label);
void prompt_clear(void);
void prompt_key(int key);
/* What to draw; valid until the next call here. */
struct frame_prompt prompt_shown(void);
/* UTF-8 of a character key into dst (at least 5 bytes); returns its length. */
size_t prompt_utf8(int ch, char *dst);

#endif
