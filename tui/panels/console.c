/*
 * The console panel: what the guest wrote to its serial ports and to port 0xE9. While typing, keys
 * go to COM1 (the loop sees to that).
 */
#include <stdio.h>

#include "tui/panel.h"

static const enum style chan_styles[CONSOLE_CHANS] = {
    [CONSOLE_COM1] = ST_NORMAL, [CONSOLE_COM2] = ST_ADDR, [CONSOLE_DEBUG] = ST_SYMBOL};

static void draw(const struct view *v, struct canvas *c, struct rect r, bool focus)
{
    const struct view_console *con = &v->console;
    bool cursor = con->typing && focus && !con->scroll;

    if (!con->bytes && !con->typing) {
        panel_hint(c, r,
                   "Nothing written yet. COM1 and port 0xE9 show here; Enter types to the "
                   "guest.");
        return;
    }
    lines_draw(&con->lines, con->open.len || cursor ? buf_str(&con->open) : NULL, c, r, con->scroll,
               chan_styles);
    if (cursor && r.w > 0) {
        int x = canvas_width(buf_str(&con->open)) % r.w;

        canvas_select(c, (struct rect){r.x + x, r.y + r.h - 1, 1, 1});
    }
}

static unsigned key(struct view *v, int key, struct panel_ask *ask)
{
    struct view_console *con = &v->console;
    unsigned page = v->rows[PANEL_CONSOLE] > 1 ? (unsigned)v->rows[PANEL_CONSOLE] - 1 : 1;
    unsigned most = con->lines.count;

    switch (key) {
    case K_ENTER:
        ask->type = true;
        return PANEL_HANDLED;
    case K_UP:
        con->scroll++;
        break;
    case K_DOWN:
        con->scroll -= con->scroll > 0;
        break;
    case K_WHEEL_UP:
        con->scroll += 3;
        break;
    case K_WHEEL_DOWN:
        con->scroll -= con->scroll < 3 ? con->scroll : 3;
        break;
    case K_PGUP:
        con->scroll += page;
        break;
    case K_PGDN:
        con->scroll -= con->scroll < page ? con->scroll : page;
        break;
    case K_HOME:
        con->scroll = most;
        break;
    case K_END:
        con->scroll = 0;
        break;
    default:
        return PANEL_IGNORED;
    }
    if (con->scroll > most)
        con->scroll = most;
    return PANEL_HANDLED;
}

static void subtitle(const struct view *v, char *dst, size_t cap)
{
    const struct view_console *con = &v->console;

    if (con->typing)
        snprintf(dst, cap, "typing; Ctrl-] leaves");
    else if (con->scroll)
        snprintf(dst, cap, "%u up", con->scroll);
    else
        dst[0] = '\0';
}

const struct panel panel_console = {
    .id = PANEL_CONSOLE,
    .name = "console",
    .title = "Console",
    .help = "the guest's serial output and what it wrote to port 0xE9",
    .keys = "Enter types to COM1 until Ctrl-], PgUp and PgDn scroll",
    .draw = draw,
    .key = key,
    .subtitle = subtitle,
};
