/*
 * The terminal: the only file behind this header knows curses. Main thread, one screen.
 */
#ifndef TUI_SCREEN_H
#define TUI_SCREEN_H

#include <stdbool.h>

#include "tui/canvas.h"
#include "tui/ui.h"
#include "vmm/base/err.h"

/* Takes the terminal over. -ENOTTY or -EINVAL with a sentence when there is none or its kind is
 * unknown. */
int screen_open(struct err *e);
/* Gives it back as it was; harmless when it is not open. */
void screen_close(void);
/* The same for Ctrl-Z, and back. */
void screen_suspend(void);
void screen_resume(void);
bool screen_has_colours(void);
/* Asks the terminal for its size again (after SIGWINCH). */
void screen_size(int *w, int *h);
/* Shows a canvas; only what differs from the last one is sent. `full` sends everything. */
void screen_draw(const struct canvas *c, const struct theme *theme, struct frame_cursor cur,
                 bool full);
/* The next key that is waiting, decoded (keys.h); false when there is none. Never blocks. */
bool screen_key(int *key, int *x, int *y);
/* Whether Ctrl-C was typed while something held the loop for long and nobody read keys; what was
 * typed with it is dropped then, else it stays. Ask often. False without a screen. */
bool screen_interrupted(void);
/* The loop has its turn: it was not held for long. */
void screen_turn(void);
/* Whether keys that screen_interrupted saw wait for screen_key: the terminal shows them no more. */
bool screen_put_back(void);
/* Restores the terminal with write(2) and tcsetattr alone: for signal handlers and bug(). */
void screen_emergency(void);

#endif
