/*
 * A panel: one file in panels/ and one row in panels/table.c. It draws a part of the view on a
 * canvas and turns keys into new wishes in the view or into something it asks of the loop. It
 * calls neither the session nor the terminal. Main thread.
 */
#ifndef TUI_PANEL_H
#define TUI_PANEL_H

#include "tui/canvas.h"
#include "tui/keys.h"
#include "tui/view.h"

/* What a panel asks for, carried out by ui.c after its key function returned. */
struct panel_ask {
    char line[160]; /* a command line to run; empty: none */
    bool to_code, to_memory;
    uint64_t addr;
    enum space space;
    bool type; /* console: start typing to the guest */
};

/* Answers of panel->key, as a mask. */
#define PANEL_IGNORED 0u
#define PANEL_HANDLED 1u
#define PANEL_REFILL  2u /* the wish changed: fill the view again */

struct panel {
    enum panel_id id;
    const char *name;  /* "code"; unique */
    const char *title; /* "Code" */
    const char *help;  /* one line */
    const char *keys;  /* its own keys, one line for the help screen */
    /* Draws the content (the title is the frame's). `focus`: it has the keys, show a selection. */
    void (*draw)(const struct view *v, struct canvas *c, struct rect r, bool focus);
    unsigned (*key)(struct view *v, int key, struct panel_ask *ask);
    /* Optional: what follows the title ("0x7c00 linear"). */
    void (*subtitle)(const struct view *v, char *dst, size_t cap);
    /* Optional: the selected thing in one sentence, for the message line. */
    void (*describe)(const struct view *v, struct buf *out);
};

/* In order of enum panel_id; ended by NULL. */
extern const struct panel *const panel_table[];
extern const struct panel panel_code, panel_registers, panel_stack, panel_memory, panel_exits,
    panel_console, panel_points, panel_devices, panel_log, panel_panes;

/* Draws a sentence over as many rows as it needs, for empty panels. */
void panel_hint(struct canvas *c, struct rect r, const char *text);
/* The usual movement of a selection in a list of `count` with `rows` visible: true when `key` is
 * one of them. Keeps *first <= *sel < *first + rows. */
bool panel_list_key(int key, unsigned count, unsigned rows, unsigned *first, unsigned *sel);
/* The same for text without a selection: moves *first within 0 to `last`. */
bool panel_scroll_key(int key, unsigned last, unsigned rows, unsigned *first);
/* Keys of a panel that shows one of `count` texts: Left and Right choose, others scroll `text`, of
 * which `rows` lines are visible. Returns what a panel's key function does. */
unsigned panel_pages_key(int key, unsigned count, const char *text, unsigned rows, unsigned *sel,
                         unsigned *first);
/* "ns" as "123ns", "4.5us", "12ms": at most 6 columns. */
const char *panel_duration(char *dst, size_t cap, uint64_t ns);
/* The digit that goes to a panel: 1 to 9, and 0 for the tenth. */
unsigned panel_digit(unsigned id);
/* Hex digits an address needs here: 4, 8 or 16. */
int panel_digits(uint64_t highest);

#endif
