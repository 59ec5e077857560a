/*
 * The stack panel: words from the stack pointer up, with what they point to.
 */
#include <inttypes.h>
#include <stdio.h>

#include "tui/panel.h"

static void draw_word(struct pen *p, const struct view *v, const struct view_word *word)
{
    const struct view_stack *st = &v->stack;
    int64_t off = (int64_t)(word->addr - st->sp);
    int digits = panel_digits(word->addr);
    char mark[24];

    if (p->r.w >= 58 + digits - 8)
        pen_put(p, v->stale ? ST_DIM : ST_ADDR, "%0*" PRIx64 " ", digits, word->addr);
    snprintf(mark, sizeof mark, "%c%02" PRIx64, off < 0 ? '-' : '+',
             (uint64_t)(off < 0 ? -off : off));
    pen_cell(p, off ? ST_DIM : ST_NAME, 5, off ? mark : "sp\u2192");
    if (!word->mapped) {
        pen_put(p, ST_DIM, "not mapped");
        return;
    }
    pen_put(p,
            v->stale        ? ST_DIM
            : word->changed ? ST_CHANGED
                            : ST_NUMBER,
            "%0*" PRIx64, (int)st->word * 2, word->value);
    if (word->is_frame)
        pen_put(p, ST_NAME, " frame");
    if (word->note[0])
        pen_put(p, v->stale ? ST_DIM : word->is_code ? ST_SYMBOL : ST_ASCII, " %s", word->note);
}

static void draw(const struct view *v, struct canvas *c, struct rect r, bool focus)
{
    const struct view_stack *st = &v->stack;
    struct pen p = pen_new(c, r);

    if (!st->rows)
        panel_hint(c, r, "The stack shows when the guest stops (c).");
    for (unsigned i = 0; i < st->rows && pen_row(&p, (int)i); i++) {
        draw_word(&p, v, &st->row[i]);
        if (focus && i == st->sel)
            canvas_select(c, (struct rect){r.x, r.y + (int)i, r.w, 1});
    }
}

static unsigned key(struct view *v, int key, struct panel_ask *ask)
{
    struct view_stack *st = &v->stack;
    int page = v->rows[PANEL_STACK] > 1 ? v->rows[PANEL_STACK] - 1 : 1;
    unsigned rows = st->rows;

    if (!rows)
        return PANEL_IGNORED;
    switch (key) {
    case K_UP:
        if (st->sel)
            st->sel--;
        else
            st->scroll--;
        break;
    case K_DOWN:
        if (st->sel + 1 < rows)
            st->sel++;
        else
            st->scroll++;
        break;
    case K_PGUP:
        st->scroll -= page;
        break;
    case K_PGDN:
        st->scroll += page;
        break;
    case K_WHEEL_UP:
        st->scroll -= 3;
        break;
    case K_WHEEL_DOWN:
        st->scroll += 3;
        break;
    case K_HOME:
        st->scroll = 0;
        st->sel = 0;
        break;
    case K_ENTER:
        if (st->sel < rows) {
            ask->to_code = st->row[st->sel].is_code;
            ask->to_memory = !ask->to_code;
            ask->addr = st->row[st->sel].value;
        }
        return PANEL_HANDLED;
    default:
        return PANEL_IGNORED;
    }
    return PANEL_HANDLED | PANEL_REFILL;
}

static void subtitle(const struct view *v, char *dst, size_t cap)
{
    if (v->stack.rows)
        snprintf(dst, cap, "0x%" PRIx64, v->stack.sp);
    else
        dst[0] = '\0';
}

static void describe(const struct view *v, struct buf *out)
{
    const struct view_word *w = &v->stack.row[v->stack.sel];

    if (v->stack.sel >= v->stack.rows || !w->mapped)
        return;
    buf_addf(out, "0x%" PRIx64 ": 0x%" PRIx64 " = %" PRIu64, w->addr, w->value, w->value);
    if (w->note[0])
        buf_addf(out, "  %s", w->note);
    buf_adds(out, w->is_code ? "  (Enter: code there)" : "  (Enter: memory there)");
}

const struct panel panel_stack = {
    .id = PANEL_STACK,
    .name = "stack",
    .title = "Stack",
    .help = "words from the stack pointer up, with symbols and text they point to",
    .keys = "Enter follows the word, Home returns to the stack pointer",
    .draw = draw,
    .key = key,
    .subtitle = subtitle,
    .describe = describe,
};
