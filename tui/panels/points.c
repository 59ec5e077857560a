/*
 * The points panel: breakpoints, watchpoints, catchpoints with their hits.
 */
#include <inttypes.h>
#include <stdio.h>

#include "tui/panel.h"

static void draw_point(struct pen *p, const struct view_point *pt)
{
    char text[40];

    pen_put(p, ST_POINT, pt->enabled ? "\u25cf" : "\u25cb");
    snprintf(text, sizeof text, "%d", pt->id);
    pen_cell(p, ST_NUMBER, 4, text);
    pen_cell(p, ST_NORMAL, 6, pt->kind);
    if (p->r.w >= 60) {
        pen_cell(p, ST_SYMBOL, 24, pt->what);
        pen_to(p, p->x + 1);
    } else {
        pen_put(p, ST_SYMBOL, "%s ", pt->what);
    }
    pen_put(p, ST_DIM, "%" PRIu64 " hit%s", pt->hits, pt->hits == 1 ? "" : "s");
    if (pt->pending)
        pen_put(p, ST_ERROR, " pending");
    else if (pt->method[0])
        pen_put(p, ST_DIM, ", %s", pt->method);
    if (pt->condition[0])
        pen_put(p, ST_NORMAL, " if %s", pt->condition);
}

static void draw(const struct view *v, struct canvas *c, struct rect r, bool focus)
{
    const struct view_points *pts = &v->points;
    struct pen p = pen_new(c, r);

    if (!pts->count)
        panel_hint(c, r,
                   "No breakpoints: b at a line of code, or : break EXPR, watch EXPR, "
                   "catch io.");
    for (unsigned i = pts->first; i < pts->count && pen_row(&p, (int)(i - pts->first)); i++) {
        draw_point(&p, &pts->point[i]);
        if (focus && i == pts->sel)
            canvas_select(c, (struct rect){r.x, r.y + p.y, r.w, 1});
    }
}

static unsigned key(struct view *v, int key, struct panel_ask *ask)
{
    struct view_points *pts = &v->points;
    const struct view_point *pt = pts->sel < pts->count ? &pts->point[pts->sel] : NULL;

    if (panel_list_key(key, pts->count, (unsigned)v->rows[PANEL_POINTS], &pts->first, &pts->sel))
        return PANEL_HANDLED;
    if (!pt || (key != K_ENTER && key != K_DEL && key != 'd' && key != ' '))
        return PANEL_IGNORED;
    if (key == K_ENTER) {
        ask->to_code = pt->code;
        ask->to_memory = !pt->code && pt->addr;
        ask->addr = pt->addr;
    } else if (key == ' ') {
        snprintf(ask->line, sizeof ask->line, "%s %d", pt->enabled ? "disable" : "enable", pt->id);
    } else {
        snprintf(ask->line, sizeof ask->line, "delete %d", pt->id);
    }
    return PANEL_HANDLED;
}

static void subtitle(const struct view *v, char *dst, size_t cap)
{
    if (v->points.count)
        snprintf(dst, cap, "%u", v->points.count + v->points.more);
    else
        dst[0] = '\0';
}

static void describe(const struct view *v, struct buf *out)
{
    const struct view_point *pt = &v->points.point[v->points.sel];

    if (v->points.sel >= v->points.count)
        return;
    buf_addf(out, "%d: %s %s at 0x%" PRIx64 ", %" PRIu64 " hits", pt->id, pt->kind, pt->what,
             pt->addr, pt->hits);
    if (pt->condition[0])
        buf_addf(out, ", if %s", pt->condition);
    buf_adds(out, "  (Enter shows it, Space switches it, d deletes it)");
}

const struct panel panel_points = {
    .id = PANEL_POINTS,
    .name = "points",
    .title = "Points",
    .help = "breakpoints, watchpoints and catchpoints with their hits",
    .keys = "Enter shows the place, Space switches on and off, d deletes",
    .draw = draw,
    .key = key,
    .subtitle = subtitle,
    .describe = describe,
};
