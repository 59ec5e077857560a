/*
 * The panes panel: what scripts draw, one pane at a time. Keys that a pane asked for become the
 * command `pane NAME key KEY`, so a script's pane is moved by the same words at the prompt.
 */
#include <stdio.h>
#include <string.h>

#include "tui/panel.h"

static const enum style styles[PANE_STYLES] = {
    [PANE_NORMAL] = ST_NORMAL,   [PANE_DIM] = ST_DIM,     [PANE_TITLE] = ST_TITLE,
    [PANE_ADDR] = ST_ADDR,       [PANE_NAME] = ST_NAME,   [PANE_NUMBER] = ST_NUMBER,
    [PANE_CHANGED] = ST_CHANGED, [PANE_ERROR] = ST_ERROR,
};

/* One line; its parts begin with a byte that says their style. */
static void draw_line(struct pen *p, const char *s, size_t len)
{
    enum style st = ST_NORMAL;

    while (len) {
        uint8_t first = (uint8_t)*s;
        size_t n = 1;

        if (first && first <= PANE_STYLES) {
            st = styles[first - 1];
            s++;
            len--;
            continue;
        }
        while (n < len && (uint8_t)s[n] > PANE_STYLES)
            n++;
        pen_put(p, st, "%.*s", (int)n, s);
        s += n;
        len -= n;
    }
}

static void draw(const struct view *v, struct canvas *c, struct rect r, bool focus)
{
    const struct view_panes *d = &v->panes;
    struct pen p = pen_new(c, r);
    const char *s = buf_str(&d->pane.text);
    int y = 0;

    (void)focus;
    if (!d->count) {
        panel_hint(c, r,
                   "No script has made a pane: tui.pane{…} does, `help lua tui.pane` says how.");
        return;
    }
    for (unsigned line = 0; *s && y < r.h; line++) {
        size_t n = strcspn(s, "\n");

        if (line >= d->first && pen_row(&p, y++))
            draw_line(&p, s, n);
        s += n + (s[n] == '\n');
    }
}

/* The pane's own keys come first. */
static bool pane_key(const struct view_panes *d, int key, struct panel_ask *ask)
{
    char text[16], word[20];

    if (!d->count || key >= K_WHEEL_UP)
        return false;
    snprintf(word, sizeof word, " %s ", key_text(key, text, sizeof text));
    if (!strstr(d->pane.keys, word))
        return false;
    word[strlen(word) - 1] = '\0';
    snprintf(ask->line, sizeof ask->line, "pane %s key%s", d->pane.name, word);
    return true;
}

static unsigned key(struct view *v, int key, struct panel_ask *ask)
{
    struct view_panes *d = &v->panes;
    unsigned rows = v->rows[PANEL_PANES] > 1 ? (unsigned)v->rows[PANEL_PANES] : 1;

    if (pane_key(d, key, ask))
        return PANEL_HANDLED | PANEL_REFILL;
    return panel_pages_key(key, d->count, buf_str(&d->pane.text), rows, &d->sel, &d->first);
}

static void subtitle(const struct view *v, char *dst, size_t cap)
{
    const struct view_panes *d = &v->panes;

    dst[0] = '\0';
    if (d->count > 1)
        snprintf(dst, cap, "%s, %u of %u, Left/Right", d->pane.title, d->sel + 1, d->count);
    else if (d->count)
        snprintf(dst, cap, "%s", d->pane.title);
}

const struct panel panel_panes = {
    .id = PANEL_PANES,
    .name = "panes",
    .title = "Panes",
    .help = "what scripts draw",
    .keys = "Left and Right choose a pane, Up and Down scroll; a pane may know more keys",
    .draw = draw,
    .key = key,
    .subtitle = subtitle,
};
