/*
 * Semantic styles, and the themes that say what they look like. Panels name what a cell means;
 * only screen.c turns the look into curses attributes. Plain data.
 */
#ifndef TUI_THEME_H
#define TUI_THEME_H

#include <stdbool.h>
#include <stdint.h>

enum style {
    ST_NORMAL,
    ST_DIM,     /* frames, units, what is stale while the guest runs */
    ST_TITLE,   /* a panel's title */
    ST_FOCUS,   /* the title of the panel that has the keys */
    ST_TAB,     /* names of panels behind this one */
    ST_STATUS,  /* the top line */
    ST_RUNNING, /* "running" in it */
    ST_STOPPED,
    ST_ENDED,
    ST_BARKEY, /* a key in the bottom line */
    ST_BAR,    /* its meaning */
    ST_PROMPT,
    ST_MESSAGE,
    ST_ERROR,
    ST_HINT, /* what an empty panel teaches */
    ST_ADDR,
    ST_NAME, /* of a register, a column, a device */
    ST_NUMBER,
    ST_CHANGED, /* differs from the last stop */
    ST_INSN,
    ST_BRANCH, /* an instruction that may leave the straight line */
    ST_SYMBOL,
    ST_RIP,   /* the line that runs next */
    ST_POINT, /* breakpoint marks */
    ST_ASCII,
    ST_KIND, /* kind of an exit */
    STYLES,
};

#define LOOK_BOLD    1u
#define LOOK_DIM     2u
#define LOOK_REVERSE 4u
#define LOOK_UNDER   8u

/* Colours are the terminal's eight; -1 is its own foreground or background. */
struct look {
    int8_t fg, bg;
    uint8_t attr; /* LOOK_* */
};

struct theme {
    const char *name;
    const char *help;
    bool colour; /* wants colours */
    struct look look[STYLES];
};

/* Ended by a row without name; the first is the default. */
extern const struct theme theme_table[];
/* By name, NULL when there is none. */
const struct theme *theme_by_name(const char *name);
/* The theme for this terminal: mono without colours or with NO_COLOR set (and not empty), else
 * VMSCOPE_THEME, else the default. */
const struct theme *theme_choose(bool has_colours);
/* The next one in the table that this terminal can show. */
const struct theme *theme_next(const struct theme *t, bool has_colours);
/* The letter of a style in goldens. */
char theme_letter(enum style st);

#endif
