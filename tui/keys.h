/*
 * Keys: the codes that screen.c delivers, and the one key table. A row binds a key to a command
 * line (what the prompt would run) or to an action of the screen itself; function-key bar, help
 * screen and man page are printed from it. Plain data.
 */
#ifndef TUI_KEYS_H
#define TUI_KEYS_H

#include <stdbool.h>
#include <stddef.h>

/* A key is a Unicode character, CTRL('x'), or one of these. ALT is or-ed in. */
#define KEY_CTRL(c) ((c)&0x1f)
#define KEY_ALT     0x400000
enum {
    K_NONE = 0,
    K_TAB = 9,
    K_ENTER = 13,
    K_ESC = 27,
    K_BACKSPACE = 127,
    K_UP = 0x200000,
    K_DOWN,
    K_LEFT,
    K_RIGHT,
    K_HOME,
    K_END,
    K_PGUP,
    K_PGDN,
    K_INS,
    K_DEL,
    K_SHIFT_TAB,
    K_F0, /* K_F0 + n is function key n, 1 to 12 */
    K_F12 = K_F0 + 12,
    K_WHEEL_UP,
    K_WHEEL_DOWN,
    K_CLICK,
    K_RESIZE,
};

enum key_action {
    ACT_NONE, /* runs `line` */
    ACT_TOGGLE_RUN,
    ACT_TOGGLE_POINT,
    ACT_NEXT_CPU,
    ACT_PROMPT,
    ACT_GOTO,
    ACT_HELP,
    ACT_QUIT,
    ACT_NEXT_PANEL,
    ACT_PREV_PANEL,
    ACT_PANEL, /* digits: the panel of that number */
    ACT_ZOOM,
    ACT_ANSWERS, /* shows or hides the answers of commands */
    ACT_HOME,    /* code panel back to RIP */
    ACT_BACK,
    ACT_THEME,
    ACT_REDRAW,
    ACT_SUSPEND,
    ACT_INTERRUPT,
};

struct key_row {
    int key, key2; /* key2: a second key for the same, 0 none */
    enum key_action action;
    const char *line;  /* command line; {cursor} is the selected code address, {number} the
                          breakpoint there or the next vCPU */
    const char *line2; /* ACT_TOGGLE_*: the other line */
    const char *bar;   /* word for the function-key bar, NULL: not in it */
    const char *help;  /* what it does, for the help screen */
};

/* Ended by a row without help. */
extern const struct key_row key_table[];
const struct key_row *key_find(int key);
/* "F5", "Ctrl-C", "s", "PgUp": static or in dst. */
const char *key_text(int key, char *dst, size_t cap);

#endif
