/*
 * The log panel: vmscope's own log, newest at the bottom.
 */
#include <stdio.h>

#include "tui/panel.h"

static void draw(const struct view *v, struct canvas *c, struct rect r, bool focus)
{
    const struct view_log *log = &v->log;
    struct pen p = pen_new(c, r);

    (void)focus;
    if (!log->rows)
        panel_hint(c, r, "Nothing logged. VMSCOPE_LOG=module:debug logs more.");
    for (unsigned i = 0; i < log->rows && pen_row(&p, (int)i); i++)
        pen_text(&p, ST_NORMAL, log->row[i]);
}

static unsigned key(struct view *v, int key, struct panel_ask *ask)
{
    struct view_log *log = &v->log;
    unsigned page = v->rows[PANEL_LOG] > 1 ? (unsigned)v->rows[PANEL_LOG] - 1 : 1, by = 1;
    unsigned most = log->newest > UINT16_MAX ? UINT16_MAX : (unsigned)log->newest;

    (void)ask;
    if (key == K_PGUP || key == K_PGDN)
        by = page;
    if (key == K_WHEEL_UP || key == K_WHEEL_DOWN)
        by = 3;
    if (key == K_UP || key == K_PGUP || key == K_WHEEL_UP)
        log->scroll = log->scroll + by < most ? log->scroll + by : most;
    else if (key == K_DOWN || key == K_PGDN || key == K_WHEEL_DOWN)
        log->scroll -= log->scroll < by ? log->scroll : by;
    else if (key == K_END)
        log->scroll = 0;
    else
        return PANEL_IGNORED;
    return PANEL_HANDLED | PANEL_REFILL;
}

const struct panel panel_log = {
    .id = PANEL_LOG,
    .name = "log",
    .title = "Log",
    .help = "vmscope's own log",
    .keys = "PgUp and PgDn scroll, End returns to the newest",
    .draw = draw,
    .key = key,
};
