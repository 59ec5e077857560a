/*
 * Columns of slots. A layout is a row of the table below: up to three columns, each a list of
 * slots with a share of the height. The first row that fits the screen's width is taken.
 */
#include "tui/layout.h"

#include <string.h>

#include "vmm/base/x.h"

#define END PANELS

/* One slot of a column: its panels, the least rows with the title, and its share of the rest. */
struct slot_plan {
    enum panel_id panel[5]; /* ended by END; empty: no slot */
    int least, share;
};
struct column_plan {
    int width; /* columns; 0: takes what is left */
    struct slot_plan slot[4];
};
struct layout_plan {
    int min_w, min_h;
    struct column_plan column[3];
};

/* Registers need 41 columns for two 64-bit values side by side, a dump of 16 bytes 75. */
/* clang-format off */
static const struct layout_plan plans[] = {
    {170, 40, {
        {0,  {{{PANEL_CODE, END}, 12, 5}, {{PANEL_EXITS, END}, 8, 4}}},
        {76, {{{PANEL_REGISTERS, END}, 10, 1}, {{PANEL_STACK, END}, 6, 2}, {{PANEL_MEMORY, END}, 6, 2}}},
        {48, {{{PANEL_CONSOLE, END}, 6, 3}, {{PANEL_POINTS, END}, 5, 1}, {{PANEL_DEVICES, PANEL_LOG, PANEL_PANES, END}, 6, 2}}}}},
    {124, 36, {
        {0,  {{{PANEL_CODE, END}, 12, 4}, {{PANEL_EXITS, END}, 7, 3}, {{PANEL_CONSOLE, PANEL_LOG, PANEL_PANES, END}, 6, 2}}},
        {58, {{{PANEL_REGISTERS, END}, 13, 1}, {{PANEL_STACK, END}, 6, 2}, {{PANEL_MEMORY, END}, 6, 2},
              {{PANEL_POINTS, PANEL_DEVICES, END}, 5, 1}}}}},
    {100, 30, {
        {0,  {{{PANEL_CODE, END}, 12, 3}, {{PANEL_EXITS, PANEL_PANES, END}, 6, 2}, {{PANEL_CONSOLE, PANEL_DEVICES, PANEL_LOG, END}, 6, 1}}},
        {41, {{{PANEL_REGISTERS, END}, 12, 0}, {{PANEL_STACK, END}, 5, 1}, {{PANEL_MEMORY, END}, 5, 1}, {{PANEL_POINTS, END}, 3, 0}}}}},
    {0, 0, {
        {0,  {{{PANEL_CODE, END}, 10, 2}, {{PANEL_EXITS, PANEL_PANES, END}, 5, 2}, {{PANEL_CONSOLE, PANEL_POINTS, PANEL_DEVICES, PANEL_LOG, END}, 6, 1}}},
        {41, {{{PANEL_REGISTERS, END}, 12, 0}, {{PANEL_STACK, END}, 5, 1}, {{PANEL_MEMORY, END}, 4, 1}}}}},
};
/* clang-format on */

static const struct layout_plan *plan_for(int w, int h)
{
    size_t i = 0;

    while (i + 1 < ARRAY_LEN(plans) && (w < plans[i].min_w || h < plans[i].min_h))
        i++;
    return &plans[i];
}

static void add_slot(struct layout *l, const struct slot_plan *p, struct rect r)
{
    struct slot *s = &l->slot[l->slots++];

    *s = (struct slot){.r = r};
    for (unsigned i = 0; i < ARRAY_LEN(p->panel) && p->panel[i] != END; i++)
        s->panel[s->count++] = p->panel[i];
}

static void lay_column(struct layout *l, const struct column_plan *col, int x, int w)
{
    unsigned n = 0;
    int least = 0, shares = 0, y = l->body.y;

    for (; n < ARRAY_LEN(col->slot) && col->slot[n].least; n++) {
        least += col->slot[n].least;
        shares += col->slot[n].share;
    }
    for (unsigned i = 0; i < n && l->slots < LAYOUT_SLOTS; i++) {
        const struct slot_plan *p = &col->slot[i];
        int spare = l->body.h - least, h = p->least;

        if (shares > 0)
            h += spare * p->share / shares;
        if (i + 1 == n) /* the last one takes what rounding left over */
            h = l->body.y + l->body.h - y;
        add_slot(l, p, (struct rect){x, y, w, h});
        y += h;
    }
}

void layout_make(struct layout *l, int w, int h, const struct layout *old)
{
    const struct layout_plan *plan = plan_for(w, h);
    struct layout before = {0};
    int fixed = 0, x = 0;
    unsigned columns = 0;

    if (old)
        before = *old; /* `old` may be `l` */
    *l = (struct layout){.w = w, .h = h, .divider = {-1, -1}};
    l->too_small = w < LAYOUT_MIN_W || h < LAYOUT_MIN_H;
    if (l->too_small)
        return;
    l->title = (struct rect){0, 0, w, 1};
    l->body = (struct rect){0, 1, w, h - 3};
    l->prompt = (struct rect){0, h - 2, w, 1};
    l->bar = (struct rect){0, h - 1, w, 1};
    for (; columns < ARRAY_LEN(plan->column) && plan->column[columns].slot[0].least; columns++)
        fixed += plan->column[columns].width + (columns > 0);
    for (unsigned i = 0; i < columns; i++) {
        int cw = plan->column[i].width ? plan->column[i].width : w - fixed;

        lay_column(l, &plan->column[i], x, cw);
        x += cw;
        if (i + 1 < columns)
            l->divider[i] = x++;
    }
    for (unsigned i = 0; i < before.slots; i++)
        if (before.slot[i].front)
            layout_front(l, before.slot[i].panel[before.slot[i].front]);
}

struct slot *layout_slot(struct layout *l, enum panel_id p)
{
    for (unsigned i = 0; i < l->slots; i++)
        for (unsigned k = 0; k < l->slot[i].count; k++)
            if (l->slot[i].panel[k] == p)
                return &l->slot[i];
    return NULL;
}

void layout_front(struct layout *l, enum panel_id p)
{
    struct slot *s = layout_slot(l, p);

    for (unsigned k = 0; s && k < s->count; k++)
        if (s->panel[k] == p)
            s->front = k;
}

bool layout_is_front(const struct layout *l, enum panel_id p)
{
    for (unsigned i = 0; i < l->slots; i++)
        if (l->slot[i].panel[l->slot[i].front] == p)
            return true;
    return false;
}

struct rect layout_inner(const struct slot *s)
{
    return (struct rect){s->r.x, s->r.y + 1, s->r.w, s->r.h > 0 ? s->r.h - 1 : 0};
}

enum panel_id layout_hit(const struct layout *l, int x, int y)
{
    for (unsigned i = 0; i < l->slots; i++) {
        const struct rect *r = &l->slot[i].r;

        if (x >= r->x && x < r->x + r->w && y >= r->y && y < r->y + r->h)
            return l->slot[i].panel[l->slot[i].front];
    }
    return PANELS;
}
