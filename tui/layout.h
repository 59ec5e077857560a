/*
 * Where panels go on a screen of a given size. Pure.
 */
#ifndef TUI_LAYOUT_H
#define TUI_LAYOUT_H

#include <stdbool.h>

#include "tui/canvas.h"
#include "tui/view.h"

#define LAYOUT_MIN_W 80
#define LAYOUT_MIN_H 24
#define LAYOUT_SLOTS 8

/* A place with one or more panels, of which one is in front. */
struct slot {
    struct rect r; /* with the title row */
    unsigned count;
    enum panel_id panel[PANELS];
    unsigned front; /* index in panel[] */
};

struct layout {
    int w, h;
    bool too_small;
    unsigned slots;
    struct slot slot[LAYOUT_SLOTS];
    struct rect title, body, prompt, bar;
    int divider[2]; /* columns of vertical lines, -1 none */
};

/* Lays out a screen. Panels in front of `old` (may be NULL) stay in front. */
void layout_make(struct layout *l, int w, int h, const struct layout *old);
/* The slot that holds a panel. */
struct slot *layout_slot(struct layout *l, enum panel_id p);
/* Puts a panel in front of its slot. */
void layout_front(struct layout *l, enum panel_id p);
bool layout_is_front(const struct layout *l, enum panel_id p);
/* The content of a slot (below its title). */
struct rect layout_inner(const struct slot *s);
/* The front panel at a cell, or PANELS. */
enum panel_id layout_hit(const struct layout *l, int x, int y);

#endif
