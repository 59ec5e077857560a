/*
 * Lines of safe text with an end: the guest's console, and the answers of commands. Main thread.
 */
#ifndef TUI_LINES_H
#define TUI_LINES_H

#include <stdint.h>

#include "tui/canvas.h"

struct line {
    char *text;
    uint8_t kind; /* the owner's own: which channel, or which style */
};
struct lines {
    struct line *line; /* ring of `cap` */
    unsigned cap, count, first;
};

void lines_init(struct lines *l, unsigned cap);
void lines_fini(struct lines *l);
/* Adding to a full one drops the oldest. `text` is copied. */
void lines_add(struct lines *l, const char *text, uint8_t kind);
/* i from 0 (oldest kept) to count - 1. */
const struct line *lines_at(const struct lines *l, unsigned i);
/* Rows that the newest `n` lines take when wrapped at `w` columns. */
unsigned lines_rows(const struct lines *l, unsigned n, int w);
/* Draws them wrapped, the newest at the bottom, moved up by `scroll` rows. `open` (may be NULL) is
 * a line still being written. `styles` gives the style of each kind. */
void lines_draw(const struct lines *l, const char *open, struct canvas *c, struct rect r,
                unsigned scroll, const enum style *styles);

#endif
