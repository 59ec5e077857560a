/*
 * The workbench's state: what is shown, what has the keys, and what a key does. Knows no curses:
 * loop.c feeds keys and events, frame.c draws. Main thread.
 */
#ifndef TUI_UI_H
#define TUI_UI_H

#include <stdbool.h>

#include "debug/cmd.h"
#include "tui/layout.h"
#include "tui/lines.h"
#include "tui/panel.h"
#include "tui/view.h"

enum ui_mode {
    UI_PANELS, /* keys go to the focused panel and the key table */
    UI_PROMPT, /* to the command line */
    UI_TYPING, /* to the guest's COM1 */
    UI_HELP,
    UI_QUIT, /* the question */
};

/* What the loop has to do for us. */
enum ui_wish { UI_WISH_NONE, UI_WISH_REDRAW, UI_WISH_SUSPEND, UI_WISH_LEAVE };

struct ui {
    struct session *s;
    struct cmd_client *c;
    struct view v;
    struct layout lay;
    enum ui_mode mode, mode_before; /* before: where help and the question return to */
    enum panel_id focus;
    bool zoom;
    bool prompt_goto; /* the prompt asks for an expression to go to */
    enum panel_id goto_panel;
    struct lines answers;  /* of commands; kind is the style */
    unsigned answer_lines; /* of the last command */
    unsigned answers_scroll;
    bool answers_open;
    char message[640];
    enum style message_style;
    unsigned help_scroll, help_rows;
    const struct theme *theme;
    bool has_colours;
    enum ui_wish wish;
    bool refill; /* the view must be filled before it is drawn */
};

void ui_init(struct ui *ui, struct session *s, struct cmd_client *c);
void ui_fini(struct ui *ui);
void ui_resize(struct ui *ui, int w, int h);
/* A key as screen.c decodes it; x and y only for the mouse. */
void ui_key(struct ui *ui, int key, int x, int y);
/* A finished line from the prompt. */
void ui_line(struct ui *ui, const char *line);
/* The guest stopped: call before ui_fill. */
void ui_stopped(struct ui *ui);
/* Fills the view for what is visible. */
void ui_fill(struct ui *ui);
/* Shows text as the answer to what was typed. */
void ui_answer(struct ui *ui, const char *text);
void ui_message(struct ui *ui, enum style st, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Puts the line of a key row into dst with {cursor} and {number} replaced. */
void ui_expand(const char *line, uint64_t cursor, int number, char *dst, size_t cap);

/* ---- frame.c: drawing ---------------------------------------------------------------------- */

struct frame_prompt {
    const char *label, *line; /* UTF-8 */
    size_t cursor;            /* byte in line */
};
struct frame_cursor {
    int x, y; /* -1: hidden */
};
/* Draws everything; `c` has the screen's size. */
void frame_draw(struct ui *ui, const struct frame_prompt *prompt, struct canvas *c,
                struct frame_cursor *cur);
/* Rows the last answer may take above the prompt. */
unsigned frame_answer_rows(const struct ui *ui);
/* Rows of the help text. */
void frame_help(struct buf *out);

#endif
