/*
 * The exits panel: one row for each return from the guest, live.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "tui/panel.h"

/* Columns appear as the width allows. */
struct columns {
    int when, vcpu, kind, where, ns;
};

static struct columns columns_for(const struct view *v, int w)
{
    struct columns k = {.when = 9};

    if (w >= 50)
        k.kind = w >= 70 ? 9 : 7;

    k.vcpu = v->status.cpus > 1 ? 3 : 0;
    if (w >= 56)
        k.ns = 7;
    if (w >= 72)
        k.where = w >= 100 ? 30 : 20;
    if (w >= 60)
        k.when = 12;
    return k;
}

static void draw_exit(struct pen *p, const struct view_exit *ev, struct columns k)
{
    char text[24];

    snprintf(text, sizeof text, "%*.*s", k.when - 1, k.when - 1, ev->when);
    pen_cell(p, ST_DIM, k.when, text);
    if (k.vcpu) {
        snprintf(text, sizeof text, "%u", ev->vcpu);
        pen_cell(p, ST_NUMBER, k.vcpu, ev->no_cpu ? "" : text);
    }
    if (!k.kind) {
        pen_text(p, ev->unclaimed ? ST_ERROR : ST_NORMAL, ev->brief);
        return;
    }
    pen_cell(p, ev->unclaimed ? ST_ERROR : ST_KIND, k.kind - 1, ev->kind);
    pen_to(p, p->x + 1);
    if (ev->source && !ev->where[0]) { /* at no instruction, and nothing was measured */
        pen_text(p, ST_NORMAL, ev->what);
        return;
    }
    if (k.where || k.ns) {
        int room = pen_left(p) - k.where - k.ns - (k.where > 0) - (k.ns > 0);
        const char *what = canvas_width(ev->what) <= room ? ev->what : ev->brief;

        pen_cell(p, ST_NORMAL, room > 0 ? room : 0, strcmp(what, ev->kind) ? what : "");
    } else {
        pen_text(p, ST_NORMAL, ev->what);
    }
    if (k.where) {
        pen_to(p, p->x + 1);
        pen_cell(p, ST_SYMBOL, k.where, ev->where);
    }
    if (k.ns) {
        char dur[16];

        snprintf(text, sizeof text, "%7s", panel_duration(dur, sizeof dur, ev->guest_ns));
        pen_to(p, p->x + 1);
        pen_cell(p, ST_DIM, k.ns, ev->source ? "" : text);
    }
}

static void draw(const struct view *v, struct canvas *c, struct rect r, bool focus)
{
    const struct view_exits *ex = &v->exits;
    struct columns k = columns_for(v, r.w);
    struct pen p = pen_new(c, r);

    if (!ex->rows)
        panel_hint(c, r,
                   "No exits yet: s steps one instruction, c runs the guest. Each return "
                   "of the guest to its monitor becomes a line here.");
    for (unsigned i = 0; i < ex->rows && pen_row(&p, (int)i); i++) {
        draw_exit(&p, &ex->row[i], k);
        if (focus && ex->row[i].index == ex->sel)
            canvas_select(c, (struct rect){r.x, r.y + (int)i, r.w, 1});
    }
}

static uint64_t oldest(const struct view_exits *ex)
{
    return ex->next > VIEW_EXITS ? ex->next - VIEW_EXITS : 0;
}

static const struct view_exit *selected(const struct view_exits *ex)
{
    for (unsigned i = 0; i < ex->rows; i++)
        if (ex->row[i].index == ex->sel)
            return &ex->row[i];
    return NULL;
}

static unsigned key(struct view *v, int key, struct panel_ask *ask)
{
    struct view_exits *ex = &v->exits;
    unsigned rows = v->rows[PANEL_EXITS] > 0 ? (unsigned)v->rows[PANEL_EXITS] : 1;
    uint64_t low = oldest(ex), count = ex->next - low;
    unsigned first, sel;

    if (key == K_ENTER) {
        const struct view_exit *ev = selected(ex);

        if (ev) {
            if (ev->source)
                snprintf(ask->line, sizeof ask->line, "explain %s:%" PRIu64, ev->source, ev->seq);
            else
                snprintf(ask->line, sizeof ask->line, "explain %u:%" PRIu64, ev->vcpu, ev->seq);
            ask->to_code = v->status.state != SS_RUNNING && ev->where[0];
            ask->addr = ev->rip;
        }
        return PANEL_HANDLED;
    }
    if (!ex->next)
        return PANEL_IGNORED;
    first = ex->top < low ? 0 : (unsigned)(ex->top - low);
    sel = ex->sel < low ? 0 : (unsigned)(ex->sel - low);
    if (!panel_list_key(key, (unsigned)count, rows, &first, &sel))
        return PANEL_IGNORED;
    ex->top = low + first;
    ex->sel = low + sel;
    ex->follow = ex->sel + 1 == ex->next;
    return PANEL_HANDLED | PANEL_REFILL;
}

static void subtitle(const struct view *v, char *dst, size_t cap)
{
    const struct view_exits *ex = &v->exits;
    int n = snprintf(dst, cap, "%" PRIu64, v->status.exits);

    if (ex->dropped && n > 0 && (size_t)n < cap)
        n += snprintf(dst + n, cap - (size_t)n, ", %" PRIu64 " not shown", ex->dropped);
    if (!ex->follow && ex->next && n > 0 && (size_t)n < cap)
        snprintf(dst + n, cap - (size_t)n, ", End: newest");
}

static void describe(const struct view *v, struct buf *out)
{
    const struct view_exit *ev = selected(&v->exits);
    char dur[16];

    if (!ev)
        return;
    buf_addf(out, "#%" PRIu64, ev->seq);
    if (v->status.cpus > 1 && !ev->no_cpu)
        buf_addf(out, " vCPU %u", ev->vcpu);
    buf_addf(out, " %s", ev->what);
    if (ev->where[0])
        buf_addf(out, ", at %s", ev->where);
    if (ev->source)
        return;
    buf_addf(out, ", %s in the guest", panel_duration(dur, sizeof dur, ev->guest_ns));
    buf_addf(out, ", %s in the handler", panel_duration(dur, sizeof dur, ev->host_ns));
}

const struct panel panel_exits = {
    .id = PANEL_EXITS,
    .name = "exits",
    .title = "Exits",
    .help = "every return of the guest to its monitor, newest at the bottom",
    .keys = "Enter explains the exit and shows the code that caused it, End follows the newest",
    .draw = draw,
    .key = key,
    .subtitle = subtitle,
    .describe = describe,
};
