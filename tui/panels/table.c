/*
 * The panel table, and what panels share. See panel.h.
 */
#include <stdio.h>
#include <string.h>

#include "tui/panel.h"

const struct panel *const panel_table[] = {
    [PANEL_CODE] = &panel_code,
    [PANEL_REGISTERS] = &panel_registers,
    [PANEL_STACK] = &panel_stack,
    [PANEL_MEMORY] = &panel_memory,
    [PANEL_EXITS] = &panel_exits,
    [PANEL_CONSOLE] = &panel_console,
    [PANEL_POINTS] = &panel_points,
    [PANEL_DEVICES] = &panel_devices,
    [PANEL_LOG] = &panel_log,
    [PANEL_PANES] = &panel_panes,
    [PANELS] = NULL,
};

/* Length of the longest prefix of `s` that fits `w` columns without breaking a word. */
static size_t wrap_at(const char *s, int w)
{
    size_t n = strlen(s), cut = (size_t)w;

    if (n <= cut)
        return n;
    while (cut > 0 && s[cut] != ' ')
        cut--;
    return cut ? cut : (size_t)w;
}

void panel_hint(struct canvas *c, struct rect r, const char *text)
{
    struct pen p = pen_new(c, r);

    if (r.w < 2)
        return;
    for (int y = 0; *text && pen_row(&p, y); y++) {
        size_t n = wrap_at(text, r.w - 1);
        bool last = y + 1 == r.h && text[n];

        pen_put(&p, ST_HINT, " %.*s", (int)n, text);
        if (last)
            canvas_put(c, r.x + r.w - 1, r.y + y, CH_MORE, ST_DIM);
        text += n;
        while (*text == ' ')
            text++;
    }
}

bool panel_list_key(int key, unsigned count, unsigned rows, unsigned *first, unsigned *sel)
{
    unsigned page = rows > 1 ? rows - 1 : 1, at = *sel;

    switch (key) {
    case K_UP:
        at -= at > 0;
        break;
    case K_DOWN:
        at++;
        break;
    case K_PGUP:
        at -= at < page ? at : page;
        break;
    case K_PGDN:
        at += page;
        break;
    case K_WHEEL_UP:
        at -= at < 3 ? at : 3;
        break;
    case K_WHEEL_DOWN:
        at += 3;
        break;
    case K_HOME:
        at = 0;
        break;
    case K_END:
        at = count ? count - 1 : 0;
        break;
    default:
        return false;
    }
    *sel = count && at >= count ? count - 1 : count ? at : 0;
    if (*sel < *first)
        *first = *sel;
    if (rows && *sel >= *first + rows)
        *first = *sel - rows + 1;
    return true;
}

bool panel_scroll_key(int key, unsigned last, unsigned rows, unsigned *first)
{
    unsigned top = *first, at = *first;

    /* A list of which one row shows moves like text; only its page is the whole screen. */
    if (key == K_PGUP || key == K_PGDN) {
        rows = rows > 1 ? rows - 1 : 1;
        at = key == K_PGDN ? at + rows : at < rows ? 0 : at - rows;
        *first = at > last ? last : at;
        return true;
    }
    return panel_list_key(key, last + 1, 1, &top, first);
}

/* A last line without its end counts. */
static unsigned text_lines(const char *s)
{
    unsigned n = 0;

    for (; *s; n++) {
        s += strcspn(s, "\n");
        s += *s == '\n';
    }
    return n;
}

unsigned panel_pages_key(int key, unsigned count, const char *text, unsigned rows, unsigned *sel,
                         unsigned *first)
{
    unsigned lines = text_lines(text);

    if (key != K_LEFT && key != K_RIGHT)
        return panel_scroll_key(key, lines > rows ? lines - rows : 0, rows, first) ? PANEL_HANDLED
                                                                                   : PANEL_IGNORED;
    if (key == K_RIGHT && *sel + 1 < count)
        ++*sel;
    if (key == K_LEFT && *sel)
        --*sel;
    *first = 0;
    return PANEL_HANDLED | PANEL_REFILL;
}

const char *panel_duration(char *dst, size_t cap, uint64_t ns)
{
    static const struct {
        uint64_t unit;
        const char *name;
    } units[] = {{1000000000, "s"}, {1000000, "ms"}, {1000, "us"}};

    for (unsigned i = 0; i < 3; i++) {
        uint64_t whole = ns / units[i].unit;

        if (!whole)
            continue;
        if (whole < 10)
            snprintf(dst, cap, "%u.%u%s", (unsigned)whole,
                     (unsigned)(ns % units[i].unit / (units[i].unit / 10)), units[i].name);
        else
            snprintf(dst, cap, "%llu%s", (unsigned long long)whole, units[i].name);
        return dst;
    }
    snprintf(dst, cap, "%uns", (unsigned)ns);
    return dst;
}

int panel_digits(uint64_t highest)
{
    return highest > UINT32_MAX ? 16 : 8;
}

unsigned panel_digit(unsigned id)
{
    return (id + 1) % 10;
}
