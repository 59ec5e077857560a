/*
 * A rectangle of cells (character + semantic style), the only thing that panels draw on. Pure: no
 * terminal, so goldens need none. It is also the last guard before a terminal: a cell never holds
 * a control character or one that is not exactly one column wide. Main thread.
 */
#ifndef TUI_CANVAS_H
#define TUI_CANVAS_H

#include <stdbool.h>
#include <stdint.h>

#include "tui/theme.h"
#include "vmm/base/buf.h"

struct rect {
    int x, y, w, h;
};

struct cell {
    uint32_t ch;   /* Unicode, one column wide */
    uint8_t style; /* enum style */
    bool selected; /* shown reversed on top of its style */
};

struct canvas {
    int w, h;
    struct cell *cell; /* w * h, row by row */
};

void canvas_init(struct canvas *c, int w, int h);
void canvas_fini(struct canvas *c);
void canvas_fill(struct canvas *c, struct rect r, uint32_t ch, enum style st);
void canvas_select(struct canvas *c, struct rect r);
/* One cell; outside the canvas it does nothing. An unsafe `ch` becomes '?'. */
void canvas_put(struct canvas *c, int x, int y, uint32_t ch, enum style st);
/* NULL outside. */
const struct cell *canvas_at(const struct canvas *c, int x, int y);
/* What to show for `ch` on a terminal that has ASCII only. */
char canvas_ascii(uint32_t ch);
/* Decodes one character of UTF-8 from s (n bytes, at least 1); returns the bytes used. Invalid or
 * unsafe ones give '?'. */
unsigned canvas_utf8(const char *s, unsigned n, uint32_t *ch);
/* Columns that a UTF-8 text takes on a canvas. */
int canvas_width(const char *s);
/* Appends rows as UTF-8 without trailing blanks; with `styles` a second block with a letter of
 * the style of each cell ('.' plain, upper case when selected). For goldens. */
void canvas_dump(const struct canvas *c, bool styles, struct buf *out);

/* Writes rows inside a rectangle, from left to right. What does not fit is cut, and the row's last
 * cell then is the mark of truncation. */
struct pen {
    struct canvas *c;
    struct rect r;
    int x, y; /* relative to r */
    bool full;
};
struct pen pen_new(struct canvas *c, struct rect r);
/* To the start of row y. False when the rectangle has no such row. */
bool pen_row(struct pen *p, int y);
void pen_put(struct pen *p, enum style st, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void pen_text(struct pen *p, enum style st, const char *text);
/* At most `cols` columns of text, cut with the mark, then padded with blanks to `cols`. */
void pen_cell(struct pen *p, enum style st, int cols, const char *text);
/* Moves right to column x (never left). */
void pen_to(struct pen *p, int x);
/* Columns left in this row. */
int pen_left(const struct pen *p);

#define CH_ARROW 0x2192u /* → */
#define CH_DOT   0x25cfu /* ● */
#define CH_RING  0x25cbu /* ○ */
#define CH_HLINE 0x2500u /* ─ */
#define CH_VLINE 0x2502u /* │ */
#define CH_MORE  0x2026u /* … */

#endif
