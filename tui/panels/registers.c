/*
 * The registers panel: values of one width side by side, column by column; registers made of flags
 * get a row with their names. Changed ones are marked.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "tui/panel.h"

static bool has_own_row(const struct view_reg *r)
{
    return r->bits > 64 || r->note[0] || !strcmp(r->name, "rip") || !strcmp(r->name, "eip");
}

static bool same_class(const struct view_reg *a, const struct view_reg *b)
{
    return a->group == b->group && a->bits == b->bits && !has_own_row(a) && !has_own_row(b);
}

/* Registers [first, first+count) that share `rows` rows. The general ones run down the columns, for
 * that is their order in people's heads; short ones, as selectors, run along the row. */
struct run {
    unsigned first, count, rows, cols;
    bool down;
    int name_w, cell_w;
};

static int hex_digits(const struct view_reg *r)
{
    return (r->bits + 3) / 4;
}

static struct run run_at(const struct view_registers *regs, unsigned first, int w)
{
    struct run run = {.first = first, .cols = 1};
    const struct view_reg *head = &regs->reg[first];

    do {
        int n = (int)strlen(regs->reg[first + run.count].name);

        run.name_w = n > run.name_w ? n : run.name_w;
        run.count++;
    } while (first + run.count < regs->count && same_class(head, &regs->reg[first + run.count]));
    run.cell_w = run.name_w + 1 + hex_digits(head);
    if (run.count > 1 && (w + 1) / (run.cell_w + 1) > 1)
        run.cols = (unsigned)((w + 1) / (run.cell_w + 1));
    run.down = head->group == RG_GENERAL;
    run.rows = (run.count + run.cols - 1) / run.cols;
    return run;
}

static void draw_reg(struct pen *p, const struct view *v, const struct view_reg *r, int name_w)
{
    enum style num = v->stale ? ST_DIM : r->changed ? ST_CHANGED : ST_NUMBER;

    pen_put(p, v->stale ? ST_DIM : ST_NAME, "%-*s ", name_w, r->name);
    if (r->bits <= 64) {
        pen_put(p, num, "%0*" PRIx64, hex_digits(r), r->value);
    } else {
        for (int i = (r->bits + 7) / 8; i-- > 0;)
            pen_put(p, num, "%02x", r->bytes[i]);
    }
}

static void draw_run_row(struct pen *p, const struct view *v, const struct run *run, unsigned row,
                         bool focus)
{
    for (unsigned col = 0; col < run->cols; col++) {
        unsigned i = run->down ? col * run->rows + row : row * run->cols + col;
        const struct view_reg *r = &v->regs.reg[run->first + i];
        int x = (int)col * (run->cell_w + 1);

        if (i >= run->count)
            break;
        pen_to(p, x);
        draw_reg(p, v, r, run->name_w);
        if (run->count == 1 && r->note[0])
            pen_put(p, v->stale ? ST_DIM : r->changed ? ST_CHANGED : ST_SYMBOL, " %s", r->note);
        if (focus && run->first + i == v->regs.sel)
            canvas_select(p->c, (struct rect){p->r.x + x, p->r.y + p->y, p->x - x, 1});
    }
}

static void draw(const struct view *v, struct canvas *c, struct rect r, bool focus)
{
    const struct view_registers *regs = &v->regs;
    struct pen p = pen_new(c, r);
    unsigned line = 0;

    if (!regs->count)
        panel_hint(c, r, "Registers show when the guest stops (c).");
    for (unsigned i = 0; i < regs->count;) {
        struct run run = run_at(regs, i, r.w);

        for (unsigned row = 0; row < run.rows; row++, line++)
            if (line >= regs->first && pen_row(&p, (int)(line - regs->first)))
                draw_run_row(&p, v, &run, row, focus);
        i += run.count;
    }
}

/* The line that register `sel` is drawn in. */
static unsigned line_of(const struct view_registers *regs, unsigned sel, int w)
{
    unsigned line = 0;

    for (unsigned i = 0; i < regs->count;) {
        struct run run = run_at(regs, i, w);

        if (sel < i + run.count)
            return line + (run.down ? (sel - i) % run.rows : (sel - i) / run.cols);
        line += run.rows;
        i += run.count;
    }
    return line;
}

/* The first register drawn in a line; the last register for lines beyond the end. */
static unsigned reg_at(const struct view_registers *regs, unsigned line, int w)
{
    for (unsigned i = 0; i < regs->count;) {
        struct run run = run_at(regs, i, w);

        if (line < run.rows)
            return run.down ? i + line : i + line * run.cols;
        line -= run.rows;
        i += run.count;
    }
    return regs->count - 1;
}

/* Moves what is shown by lines; the selection comes along when it would leave the panel. */
static bool scroll_key(struct view_registers *regs, int key, unsigned rows, int w)
{
    unsigned last = line_of(regs, regs->count - 1, w), line;
    bool page = key == K_PGUP || key == K_PGDN;

    if (!page && key != K_WHEEL_UP && key != K_WHEEL_DOWN)
        return false;
    panel_scroll_key(key, last >= rows ? last + 1 - rows : 0, rows, &regs->first);
    line = line_of(regs, regs->sel, w);
    if (line < regs->first)
        regs->sel = reg_at(regs, regs->first, w);
    else if (line >= regs->first + rows)
        regs->sel = reg_at(regs, regs->first + rows - 1, w);
    return true;
}

/* Moves the selection on the grid of its run; leaving it at an edge moves by one register. */
static unsigned neighbour(const struct view_registers *regs, int w, int dx, int dy)
{
    unsigned sel = regs->sel, i = 0, by, at;
    struct run run = run_at(regs, 0, w);

    for (; sel >= i + run.count; run = run_at(regs, i, w))
        i += run.count;
    at = sel - i;
    by = run.down == (dx != 0) ? (run.down ? run.rows : run.cols) : 1;
    if (dx + dy > 0)
        return at + by < run.count ? sel + by : dx ? sel : sel + 1 < regs->count ? sel + 1 : sel;
    return at >= by ? sel - by : dx ? sel : sel ? sel - 1 : 0;
}

static unsigned key(struct view *v, int key, struct panel_ask *ask)
{
    struct view_registers *regs = &v->regs;
    int w = v->cols[PANEL_REGISTERS];
    unsigned rows = (unsigned)v->rows[PANEL_REGISTERS], line, none = 0;

    if (!regs->count)
        return PANEL_IGNORED;
    if (scroll_key(regs, key, rows, w)) {
        return PANEL_HANDLED;
    } else if (key == K_LEFT || key == K_RIGHT) {
        regs->sel = neighbour(regs, w, key == K_RIGHT ? 1 : -1, 0);
    } else if (key == K_UP || key == K_DOWN) {
        regs->sel = neighbour(regs, w, 0, key == K_DOWN ? 1 : -1);
    } else if (key == K_ENTER) {
        const struct view_reg *r = &regs->reg[regs->sel];

        ask->to_code = !strcmp(r->name, "rip") || !strcmp(r->name, "eip");
        ask->to_memory = !ask->to_code;
        ask->addr = ask->to_code ? v->code.rip_linear : r->value;
    } else if (!panel_list_key(key, regs->count, rows, &none, &regs->sel)) {
        return PANEL_IGNORED;
    }
    line = line_of(regs, regs->sel, w);
    if (line < regs->first)
        regs->first = line;
    if (rows && line >= regs->first + rows)
        regs->first = line - rows + 1;
    return PANEL_HANDLED;
}

static void describe(const struct view *v, struct buf *out)
{
    const struct view_reg *r = &v->regs.reg[v->regs.sel];

    if (v->regs.sel >= v->regs.count)
        return;
    buf_addf(out, "%s = 0x%" PRIx64, r->name, r->value);
    if (r->bits <= 64)
        buf_addf(out, " = %" PRIu64, r->value);
    if (r->bits <= 64 && r->value >> (r->bits - 1) & 1)
        buf_addf(out, " = %" PRId64, (int64_t)(r->value << (64 - r->bits)) >> (64 - r->bits));
    if (r->note[0])
        buf_addf(out, "  %s", r->note);
    buf_addf(out, "  (set $%s = VALUE changes it)", r->name);
}

const struct panel panel_registers = {
    .id = PANEL_REGISTERS,
    .name = "registers",
    .title = "Registers",
    .help = "registers of the focused vCPU; marked ones changed since the last stop",
    .keys = "arrows select and scroll to more groups, Enter shows memory at the value",
    .draw = draw,
    .key = key,
    .describe = describe,
};
