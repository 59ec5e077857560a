/*
 * The theme table. See theme.h.
 */
#include "tui/theme.h"

#include <stdlib.h>
#include <string.h>

#define B LOOK_BOLD
#define D LOOK_DIM
#define R LOOK_REVERSE
#define U LOOK_UNDER

enum { BLACK, RED, GREEN, YELLOW, BLUE, MAGENTA, CYAN, WHITE };

/* clang-format off */
const struct theme theme_table[] = {
    {"dark", "for a dark background", true, {
        [ST_NORMAL]  = {-1, -1, 0},          [ST_DIM]     = {-1, -1, D},
        [ST_TITLE]   = {CYAN, -1, 0},        [ST_FOCUS]   = {BLACK, CYAN, 0},
        [ST_TAB]     = {-1, -1, D},          [ST_STATUS]  = {WHITE, BLUE, 0},
        [ST_RUNNING] = {BLACK, GREEN, 0},    [ST_STOPPED] = {BLACK, YELLOW, 0},
        [ST_ENDED]   = {WHITE, RED, B},      [ST_BARKEY]  = {-1, -1, B},
        [ST_BAR]     = {BLACK, CYAN, 0},     [ST_PROMPT]  = {GREEN, -1, B},
        [ST_MESSAGE] = {-1, -1, 0},          [ST_ERROR]   = {RED, -1, B},
        [ST_HINT]    = {-1, -1, D},          [ST_ADDR]    = {CYAN, -1, 0},
        [ST_NAME]    = {-1, -1, D},          [ST_NUMBER]  = {-1, -1, 0},
        [ST_CHANGED] = {YELLOW, -1, B},      [ST_INSN]    = {-1, -1, 0},
        [ST_BRANCH]  = {MAGENTA, -1, 0},     [ST_SYMBOL]  = {GREEN, -1, 0},
        [ST_RIP]     = {-1, -1, B},          [ST_POINT]   = {RED, -1, B},
        [ST_ASCII]   = {GREEN, -1, 0},       [ST_KIND]    = {YELLOW, -1, 0},
    }},
    {"light", "for a light background", true, {
        [ST_NORMAL]  = {-1, -1, 0},          [ST_DIM]     = {-1, -1, D},
        [ST_TITLE]   = {BLUE, -1, B},        [ST_FOCUS]   = {WHITE, BLUE, B},
        [ST_TAB]     = {-1, -1, D},          [ST_STATUS]  = {WHITE, BLUE, 0},
        [ST_RUNNING] = {BLACK, GREEN, 0},    [ST_STOPPED] = {BLACK, YELLOW, 0},
        [ST_ENDED]   = {WHITE, RED, B},      [ST_BARKEY]  = {-1, -1, B},
        [ST_BAR]     = {WHITE, BLUE, 0},     [ST_PROMPT]  = {BLUE, -1, B},
        [ST_MESSAGE] = {-1, -1, 0},          [ST_ERROR]   = {RED, -1, B},
        [ST_HINT]    = {-1, -1, D},          [ST_ADDR]    = {BLUE, -1, 0},
        [ST_NAME]    = {-1, -1, D},          [ST_NUMBER]  = {-1, -1, 0},
        [ST_CHANGED] = {RED, -1, B},         [ST_INSN]    = {-1, -1, 0},
        [ST_BRANCH]  = {MAGENTA, -1, 0},     [ST_SYMBOL]  = {BLUE, -1, B},
        [ST_RIP]     = {-1, -1, B},          [ST_POINT]   = {RED, -1, B},
        [ST_ASCII]   = {BLUE, -1, 0},        [ST_KIND]    = {MAGENTA, -1, 0},
    }},
    {"mono", "no colours", false, {
        [ST_NORMAL]  = {-1, -1, 0},          [ST_DIM]     = {-1, -1, D},
        [ST_TITLE]   = {-1, -1, U},          [ST_FOCUS]   = {-1, -1, R},
        [ST_TAB]     = {-1, -1, D},          [ST_STATUS]  = {-1, -1, R},
        [ST_RUNNING] = {-1, -1, R | B},      [ST_STOPPED] = {-1, -1, R | B},
        [ST_ENDED]   = {-1, -1, R | B},      [ST_BARKEY]  = {-1, -1, B},
        [ST_BAR]     = {-1, -1, R},          [ST_PROMPT]  = {-1, -1, B},
        [ST_MESSAGE] = {-1, -1, 0},          [ST_ERROR]   = {-1, -1, B},
        [ST_HINT]    = {-1, -1, D},          [ST_ADDR]    = {-1, -1, 0},
        [ST_NAME]    = {-1, -1, 0},          [ST_NUMBER]  = {-1, -1, 0},
        [ST_CHANGED] = {-1, -1, B | U},      [ST_INSN]    = {-1, -1, 0},
        [ST_BRANCH]  = {-1, -1, B},          [ST_SYMBOL]  = {-1, -1, 0},
        [ST_RIP]     = {-1, -1, B},          [ST_POINT]   = {-1, -1, B},
        [ST_ASCII]   = {-1, -1, 0},          [ST_KIND]    = {-1, -1, 0},
    }},
    {0},
};

static const char letters[STYLES] = {
    [ST_NORMAL] = '.',  [ST_DIM] = 'd',     [ST_TITLE] = 't',   [ST_FOCUS] = 'f',
    [ST_TAB] = 'b',     [ST_STATUS] = 's',  [ST_RUNNING] = 'g', [ST_STOPPED] = 'o',
    [ST_ENDED] = 'e',   [ST_BARKEY] = 'k',  [ST_BAR] = 'w',     [ST_PROMPT] = 'p',
    [ST_MESSAGE] = 'm', [ST_ERROR] = 'x',   [ST_HINT] = 'h',    [ST_ADDR] = 'a',
    [ST_NAME] = 'n',    [ST_NUMBER] = '0',  [ST_CHANGED] = 'c', [ST_INSN] = 'i',
    [ST_BRANCH] = 'j',  [ST_SYMBOL] = 'y',  [ST_RIP] = 'r',     [ST_POINT] = 'q',
    [ST_ASCII] = 'l',   [ST_KIND] = 'v',
};
/* clang-format on */

const struct theme *theme_by_name(const char *name)
{
    for (const struct theme *t = theme_table; t->name; t++)
        if (!strcmp(t->name, name))
            return t;
    return NULL;
}

const struct theme *theme_choose(bool has_colours)
{
    const char *no = getenv("NO_COLOR"), *name = getenv("VMSCOPE_THEME");
    const struct theme *t = name ? theme_by_name(name) : NULL;

    if (!has_colours || (no && *no))
        return theme_by_name("mono");
    return t ? t : theme_table;
}

const struct theme *theme_next(const struct theme *t, bool has_colours)
{
    if (!has_colours)
        return theme_by_name("mono");
    return t[1].name ? t + 1 : theme_table;
}

char theme_letter(enum style st)
{
    return st < STYLES ? letters[st] : '!';
}
