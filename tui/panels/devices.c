/*
 * The devices panel: the state of one device, field by field.
 */
#include <stdio.h>
#include <string.h>

#include "tui/panel.h"

static void draw_names(struct pen *p, const struct view_devices *d, bool focus)
{
    for (unsigned i = 0; i < d->count; i++) {
        int x = p->x, w = (int)strlen(d->name[i]);

        /* Names before the chosen one go when they would push it out. */
        if (i < d->sel && d->sel - i > 3)
            continue;
        pen_put(p, i == d->sel ? ST_TITLE : ST_TAB, "%s", d->name[i]);
        if (focus && i == d->sel)
            canvas_select(p->c, (struct rect){p->r.x + x, p->r.y, w, 1});
        pen_to(p, p->x + 1);
    }
}

static void draw(const struct view *v, struct canvas *c, struct rect r, bool focus)
{
    const struct view_devices *d = &v->devices;
    struct pen p = pen_new(c, r);
    const char *s = buf_str(&d->text);
    int y = 1;

    if (!d->count || !pen_row(&p, 0)) {
        panel_hint(c, r, "This machine has no devices to show.");
        return;
    }
    draw_names(&p, d, focus);
    for (unsigned line = 0; *s && y < r.h; line++) {
        size_t n = strcspn(s, "\n");

        if (line >= d->first && pen_row(&p, y++))
            pen_put(&p, ST_NORMAL, "%.*s", (int)(n < 300 ? n : 300), s);
        s += n + (s[n] == '\n');
    }
}

static unsigned key(struct view *v, int key, struct panel_ask *ask)
{
    struct view_devices *d = &v->devices;
    unsigned rows = v->rows[PANEL_DEVICES] > 1 ? (unsigned)v->rows[PANEL_DEVICES] - 1 : 1;

    (void)ask;
    return panel_pages_key(key, d->count, buf_str(&d->text), rows, &d->sel, &d->first);
}

static void subtitle(const struct view *v, char *dst, size_t cap)
{
    const struct view_devices *d = &v->devices;

    if (d->count)
        snprintf(dst, cap, "%u of %u, Left/Right", d->sel + 1, d->count);
    else
        dst[0] = '\0';
}

const struct panel panel_devices = {
    .id = PANEL_DEVICES,
    .name = "devices",
    .title = "Devices",
    .help = "the state of each device, field by field",
    .keys = "Left and Right choose a device, Up and Down scroll",
    .draw = draw,
    .key = key,
    .subtitle = subtitle,
};
