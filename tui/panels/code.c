/*
 * The code panel: disassembly around RIP or any other place, with symbols, breakpoints and branch
 * targets.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "tui/panel.h"

#define BYTES_SHOWN 8

struct columns {
    int digits, bytes, mnemonic;
};

static struct columns columns_for(const struct view_code *code, int w)
{
    uint64_t high = code->rows ? code->row[code->rows - 1].addr : 0;
    struct columns k = {panel_digits(high), 0, w < 50 ? 5 : 7};

    if (w < 48) /* the title has the whole address */
        k.digits = 8;
    if (w - k.digits >= 50)
        k.bytes = 2 * BYTES_SHOWN + 2;
    return k;
}

/* Capstone writes "qword ptr [rax]"; in a narrow panel the "ptr" says nothing. */
static void squeeze(char *text)
{
    char *at;

    while ((at = strstr(text, " ptr [")) != NULL)
        memmove(at, at + 4, strlen(at + 4) + 1);
}

static void draw_bytes(struct pen *p, const struct view_insn *in, int cols)
{
    int end = p->x + cols;

    for (unsigned i = 0; i < in->len && i < BYTES_SHOWN; i++)
        pen_put(p, ST_DIM, "%02x", in->bytes[i]);
    if (in->len > BYTES_SHOWN)
        pen_put(p, ST_DIM, "+");
    pen_to(p, end);
}

static void draw_label(struct pen *p, const struct view_insn *in, bool stale)
{
    pen_to(p, 2);
    if (in->label[0])
        pen_put(p, stale ? ST_DIM : ST_SYMBOL, "%s:", in->label);
    if (in->source[0])
        pen_put(p, ST_DIM, "  %s", in->source);
}

/* Where a direct branch leads, seen from here. */
static void draw_flow(struct pen *p, const struct view_insn *in)
{
    if (in->has_target && in->target != in->addr)
        pen_put(p, ST_DIM, in->target < in->addr ? " \u2191" : " \u2193");
    if (in->hint[0])
        pen_put(p, ST_CHANGED, " %s", in->hint);
}

static void draw_insn(struct pen *p, const struct view *v, const struct view_insn *in,
                      struct columns k)
{
    enum style st = in->is_rip ? ST_RIP : in->branch ? ST_BRANCH : ST_INSN;
    char operands[sizeof in->operands];

    if (v->stale)
        st = ST_DIM;
    pen_put(p, ST_POINT, "%s", !in->point ? " " : in->point_enabled ? "\u25cf" : "\u25cb");
    pen_put(p, v->stale ? ST_DIM : ST_RIP, "%s", in->is_rip ? "\u2192" : " ");
    pen_put(p, v->stale ? ST_DIM : ST_ADDR, "%0*" PRIx64 " ", k.digits,
            k.digits == 8 ? in->addr & UINT32_MAX : in->addr);
    if (!in->mapped) {
        pen_put(p, ST_DIM, "not mapped");
        return;
    }
    if (k.bytes)
        draw_bytes(p, in, k.bytes);
    snprintf(operands, sizeof operands, "%s", in->operands);
    if (pen_left(p) < 44)
        squeeze(operands);
    pen_put(p, in->bad && !v->stale ? ST_ERROR : st, "%-*s ", k.mnemonic, in->mnemonic);
    pen_text(p, st, operands);
    if (!v->stale)
        draw_flow(p, in);
}

static void draw(const struct view *v, struct canvas *c, struct rect r, bool focus)
{
    const struct view_code *code = &v->code;
    struct columns k = columns_for(code, r.w);
    struct pen p = pen_new(c, r);

    if (!code->rows) {
        panel_hint(c, r,
                   v->stale ? "The guest runs; its code shows when it stops (c)." : "No code yet.");
        return;
    }
    for (unsigned i = 0; i < code->rows && pen_row(&p, (int)i); i++) {
        const struct view_insn *in = &code->row[i];

        if (in->is_label)
            draw_label(&p, in, v->stale);
        else
            draw_insn(&p, v, in, k);
        if (focus && i == code->sel && !in->is_label)
            canvas_select(c, (struct rect){r.x, r.y + (int)i, r.w, 1});
    }
}

/* Moves the selection by `by` instructions; past an edge the text scrolls. */
static void move(struct view_code *code, int by)
{
    int step = by < 0 ? -1 : 1;

    for (; by; by -= step) {
        int at = (int)code->sel + step;

        while (at >= 0 && at < (int)code->rows && code->row[at].is_label)
            at += step;
        if (at < 0 || at >= (int)code->rows) {
            code->scroll += by;
            return;
        }
        code->sel = (unsigned)at;
    }
}

static void follow(const struct view_insn *in, struct panel_ask *ask)
{
    if (in->has_target) {
        ask->to_code = true;
        ask->addr = in->target;
    } else if (in->has_mem) {
        ask->to_memory = true;
        ask->addr = in->mem;
    }
}

static unsigned key(struct view *v, int key, struct panel_ask *ask)
{
    struct view_code *code = &v->code;
    int page = v->rows[PANEL_CODE] > 1 ? v->rows[PANEL_CODE] - 1 : 1;

    if (!code->rows)
        return PANEL_IGNORED;
    switch (key) {
    case K_UP:
        move(code, -1);
        break;
    case K_DOWN:
        move(code, 1);
        break;
    case K_PGUP:
        code->scroll -= page;
        break;
    case K_PGDN:
        code->scroll += page;
        break;
    case K_WHEEL_UP:
        code->scroll -= 3;
        break;
    case K_WHEEL_DOWN:
        code->scroll += 3;
        break;
    case K_HOME:
        view_goto_code(v, code->rip_linear);
        break;
    case K_ENTER:
        follow(&code->row[code->sel < code->rows ? code->sel : 0], ask);
        return PANEL_HANDLED;
    default:
        return PANEL_IGNORED;
    }
    if (code->sel < code->rows)
        code->cursor = code->row[code->sel].addr;
    return PANEL_HANDLED | PANEL_REFILL;
}

static void subtitle(const struct view *v, char *dst, size_t cap)
{
    const struct view_code *code = &v->code;

    if (!code->rows)
        dst[0] = '\0';
    else if (code->where[0])
        snprintf(dst, cap, "%s", code->where);
    else if (code->segmented && code->top <= code->rip_linear &&
             code->rip_linear <= code->row[code->rows - 1].addr)
        snprintf(dst, cap, "%04x:%04" PRIx64, code->cs, code->rip);
    else
        snprintf(dst, cap, "0x%" PRIx64, code->top);
}

static void describe(const struct view *v, struct buf *out)
{
    const struct view_insn *in = &v->code.row[v->code.sel];

    if (v->code.sel >= v->code.rows || in->is_label)
        return;
    buf_addf(out, "0x%" PRIx64 ": ", in->addr);
    for (unsigned i = 0; i < in->len; i++)
        buf_addf(out, "%02x", in->bytes[i]);
    buf_addf(out, "  %s %s", in->mnemonic, in->operands);
    if (in->has_target)
        buf_addf(out, "  (Enter: go to 0x%" PRIx64 ")", in->target);
    else if (in->has_mem)
        buf_addf(out, "  (Enter: memory at 0x%" PRIx64 ")", in->mem);
}

const struct panel panel_code = {
    .id = PANEL_CODE,
    .name = "code",
    .title = "Code",
    .help = "disassembly; the arrow is the instruction that runs next",
    .keys = "Enter follows a branch or an address, Home and . show RIP, Bksp goes back",
    .draw = draw,
    .key = key,
    .subtitle = subtitle,
    .describe = describe,
};
