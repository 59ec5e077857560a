/*
 * Draws the whole screen on a canvas: top line, titles, panels, answers, prompt, key bar, help.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "tui/ui.h"

/* ---- top line ------------------------------------------------------------------------------- */

static const char *rate_text(uint64_t n, char *dst, size_t cap)
{
    if (n >= 10000000)
        snprintf(dst, cap, "%" PRIu64 "M", n / 1000000);
    else if (n >= 10000)
        snprintf(dst, cap, "%" PRIu64 "k", n / 1000);
    else
        snprintf(dst, cap, "%" PRIu64, n);
    return dst;
}

static void right_part(const struct view_status *st, char *dst, size_t cap)
{
    char rate[24], cpus[64] = "", mode[40] = "";
    bool plain = !strcmp(st->cpu_status, "stopped") || !strcmp(st->cpu_status, "running");

    if (st->cpus > 1)
        snprintf(cpus, sizeof cpus, "vCPU %u of %u%s%.20s  ", st->vcpu, st->cpus, plain ? "" : " ",
                 plain ? "" : st->cpu_status);
    if (st->mode[0] && st->state != SS_RUNNING) /* it was that at the last stop */
        snprintf(mode, sizeof mode, "%s CPL%u  ", st->mode, st->cpl);
    snprintf(dst, cap, "%.50s%s%" PRIu64 ".%03us  %s exits/s ", cpus, mode,
             st->guest_ns / 1000000000, (unsigned)(st->guest_ns % 1000000000 / 1000000),
             rate_text(st->exits_per_s, rate, sizeof rate));
}

static void draw_top(const struct ui *ui, struct canvas *c)
{
    const struct view_status *st = &ui->v.status;
    struct rect r = ui->lay.title;
    char right[160];
    struct pen p;
    int rw;

    right_part(st, right, sizeof right);
    rw = canvas_width(right);
    canvas_fill(c, r, ' ', ST_STATUS);
    p = pen_new(c, (struct rect){r.x, r.y, r.w > rw ? r.w - rw - 1 : 0, 1});
    pen_row(&p, 0);
    pen_put(&p, ST_STATUS, " %s ", st->guest[0] ? st->guest : "vmscope");
    if (st->state == SS_RUNNING)
        pen_put(&p, ST_RUNNING, " running ");
    else if (st->state == SS_ENDED || st->fault)
        pen_put(&p, ST_ENDED, " %s: %s ", st->state == SS_ENDED ? "ended" : "stopped", st->stop);
    else
        pen_put(&p, ST_STOPPED, " stopped%s%s ", st->stop[0] ? ": " : "", st->stop);
    if (st->state != SS_RUNNING && st->where[0])
        pen_put(&p, ST_STATUS, " %s", st->where);
    p = pen_new(c, r);
    pen_row(&p, 0);
    pen_to(&p, r.w - rw);
    pen_text(&p, ST_STATUS, right);
}

/* ---- panels --------------------------------------------------------------------------------- */

static bool needs_stop(enum panel_id p)
{
    return p == PANEL_CODE || p == PANEL_REGISTERS || p == PANEL_STACK || p == PANEL_MEMORY;
}

/* Without scripts that make panes there is nothing to go to. */
static bool is_offered(const struct ui *ui, enum panel_id p)
{
    return p != PANEL_PANES || ui->v.panes.count;
}

static int tabs_width(const struct ui *ui, const struct slot *s)
{
    int w = 0;

    for (unsigned i = 0; i < s->count; i++)
        if (i != s->front && is_offered(ui, s->panel[i]))
            w += 3 + (int)strlen(panel_table[s->panel[i]]->title);
    return w;
}

/* Names of the panels behind, at the right end of the title row. */
static void draw_tabs(const struct ui *ui, struct canvas *c, const struct slot *s)
{
    int w = tabs_width(ui, s);
    struct pen p = pen_new(c, (struct rect){s->r.x + s->r.w - w, s->r.y, w, 1});

    pen_row(&p, 0);
    for (unsigned i = 0; i < s->count && w < s->r.w; i++)
        if (i != s->front && is_offered(ui, s->panel[i]))
            pen_put(&p, ST_TAB, " %u %s", panel_digit(s->panel[i]),
                    panel_table[s->panel[i]]->title);
}

static void draw_panel(const struct ui *ui, struct canvas *c, struct rect r, enum panel_id id,
                       int title_w)
{
    const struct panel *panel = panel_table[id];
    bool focus = ui->focus == id && (ui->mode == UI_PANELS || ui->mode == UI_TYPING);
    struct pen p = pen_new(c, (struct rect){r.x, r.y, title_w, 1});
    char sub[120] = "";

    canvas_fill(c, (struct rect){r.x, r.y, r.w, 1}, CH_HLINE, ST_DIM);
    pen_row(&p, 0);
    pen_put(&p, focus ? ST_FOCUS : ST_TITLE, " %u %s ", panel_digit(id), panel->title);
    if (ui->v.stale && needs_stop(id))
        snprintf(sub, sizeof sub, "running\u2026");
    else if (panel->subtitle)
        panel->subtitle(&ui->v, sub, sizeof sub);
    if (sub[0] && pen_left(&p) >= 10)
        pen_put(&p, ST_TAB, " %s ", sub);
    panel->draw(&ui->v, c, (struct rect){r.x, r.y + 1, r.w, r.h - 1}, focus);
}

static void draw_body(const struct ui *ui, struct canvas *c)
{
    if (ui->zoom) {
        draw_panel(ui, c, ui->lay.body, ui->focus, ui->lay.body.w);
        return;
    }
    for (int i = 0; i < 2; i++)
        if (ui->lay.divider[i] >= 0)
            canvas_fill(c, (struct rect){ui->lay.divider[i], ui->lay.body.y, 1, ui->lay.body.h},
                        CH_VLINE, ST_DIM);
    for (unsigned i = 0; i < ui->lay.slots; i++) {
        const struct slot *s = &ui->lay.slot[i];

        draw_panel(ui, c, s->r, s->panel[s->front], s->r.w - tabs_width(ui, s));
        draw_tabs(ui, c, s);
    }
}

/* ---- answers -------------------------------------------------------------------------------- */

static const enum style *identity(void)
{
    static enum style map[STYLES];

    for (int i = 0; i < STYLES; i++)
        map[i] = (enum style)i;
    return map;
}

unsigned frame_answer_rows(const struct ui *ui)
{
    unsigned need = lines_rows(&ui->answers, ui->answer_lines, ui->lay.w);
    unsigned most = ui->lay.body.h > 0 ? (unsigned)ui->lay.body.h * 2 / 3 : 1;

    return need < 3 ? 3 : need < most ? need : most;
}

/* Over the panels, above the prompt, as high as the last answer needs. */
static void draw_answers(const struct ui *ui, struct canvas *c)
{
    struct rect r = {0, 0, ui->lay.w, (int)frame_answer_rows(ui)};
    struct pen p;

    r.y = ui->lay.prompt.y - r.h;
    canvas_fill(c, (struct rect){0, r.y - 1, r.w, 1}, CH_HLINE, ST_DIM);
    canvas_fill(c, r, ' ', ST_NORMAL);
    p = pen_new(c, (struct rect){0, r.y - 1, r.w, 1});
    pen_row(&p, 0);
    pen_put(&p, ST_TITLE, " Answers ");
    pen_put(&p, ST_TAB,
            ui->answers_scroll ? " PgDn: more, Esc closes " : " PgUp PgDn scroll, Esc closes ");
    lines_draw(&ui->answers, NULL, c, r, ui->answers_scroll, identity());
}

/* ---- prompt and bar ------------------------------------------------------------------------- */

static void draw_prompt(const struct frame_prompt *pr, struct rect r, struct canvas *c,
                        struct frame_cursor *cur)
{
    struct pen p = pen_new(c, r);
    char before[1024];
    size_t n = pr->cursor < sizeof before - 1 ? pr->cursor : sizeof before - 1;
    const char *line = pr->line;
    int room, at;

    pen_row(&p, 0);
    pen_text(&p, ST_PROMPT, pr->label);
    room = pen_left(&p) - 1;
    snprintf(before, sizeof before, "%.*s", (int)n, pr->line);
    at = canvas_width(before);
    for (; at > room && *line; at--) { /* a long line moves left until its cursor shows */
        uint32_t ch;

        line += canvas_utf8(line, (unsigned)strnlen(line, 4), &ch);
    }
    cur->x = r.x + p.x + at;
    cur->y = r.y;
    pen_text(&p, ST_NORMAL, line);
}

static void draw_line(const struct ui *ui, const struct frame_prompt *prompt, struct canvas *c,
                      struct frame_cursor *cur)
{
    struct rect r = ui->lay.prompt;
    struct pen p = pen_new(c, r);

    pen_row(&p, 0);
    if (ui->mode == UI_PROMPT)
        draw_prompt(prompt, r, c, cur);
    else if (ui->mode == UI_QUIT)
        pen_put(&p, ST_PROMPT, "Leave vmscope and end the guest? y leaves, any other key stays");
    else if (ui->mode == UI_HELP)
        pen_put(&p, ST_HINT, "The manual says more: man vmscope. Commands: type : and help.");
    else if (ui->message[0])
        pen_text(&p, ui->message_style, ui->message);
    else
        pen_put(&p, ST_HINT, "%s: %s", panel_table[ui->focus]->title, panel_table[ui->focus]->keys);
}

static void bar_item(struct pen *p, const char *key, const char *word)
{
    if (p->x + canvas_width(key) + canvas_width(word) + 1 > p->r.w)
        return;
    pen_put(p, ST_BARKEY, "%s", key);
    pen_put(p, ST_BAR, " %s", word);
    pen_to(p, p->x + 1);
}

/* A key that only makes sense on a stopped guest is not offered while it runs. */
static void bar_row(const struct ui *ui, struct pen *p, const struct key_row *row)
{
    bool runs = ui->v.status.state == SS_RUNNING;
    char one[16], two[16], keys[40];
    const char *word = row->bar;

    if (runs && row->action == ACT_NONE)
        return;
    if (row->action == ACT_TOGGLE_RUN)
        word = runs ? "stop" : "run";
    snprintf(keys, sizeof keys, "%s", key_text(row->key, one, sizeof one));
    if (row->key2 && p->r.w >= 124)
        snprintf(keys, sizeof keys, "%s/%s", key_text(row->key, one, sizeof one),
                 key_text(row->key2, two, sizeof two));
    bar_item(p, keys, word);
}

static void draw_bar(const struct ui *ui, struct canvas *c)
{
    struct pen p = pen_new(c, ui->lay.bar);

    pen_row(&p, 0);
    switch (ui->mode) {
    case UI_PROMPT:
        bar_item(&p, "Enter", ui->prompt_goto ? "go" : "run");
        bar_item(&p, "Tab", "complete");
        bar_item(&p, "Up", "history");
        bar_item(&p, "PgUp", "answers");
        bar_item(&p, "Ctrl-C", ui->v.status.state == SS_RUNNING ? "stop" : "clear");
        bar_item(&p, "Esc", "leave");
        return;
    case UI_TYPING:
        bar_item(&p, "Ctrl-]", "leave");
        bar_item(&p, "F5", ui->v.status.state == SS_RUNNING ? "stop" : "run");
        return;
    case UI_HELP:
        bar_item(&p, "Up Down PgUp PgDn", "scroll");
        bar_item(&p, "any other key", "back");
        return;
    case UI_QUIT:
        bar_item(&p, "y", "leave");
        bar_item(&p, "n", "stay");
        return;
    case UI_PANELS:
        for (const struct key_row *row = key_table; row->help; row++)
            if (row->bar)
                bar_row(ui, &p, row);
    }
}

/* ---- help ----------------------------------------------------------------------------------- */

void frame_help(struct buf *out)
{
    char one[16], two[16];

    buf_adds(out, "Keys\n");
    for (const struct key_row *row = key_table; row->help; row++) {
        size_t start = out->len;

        if (row->action == ACT_PANEL) /* the panels follow below */
            continue;
        buf_addf(out, "  %s", key_text(row->key, one, sizeof one));
        if (row->key2)
            buf_addf(out, " %s", key_text(row->key2, two, sizeof two));
        while (out->len - start < 14)
            buf_addc(out, ' ');
        buf_addf(out, "%s", row->help);
        if (row->line && !row->line2)
            buf_addf(out, " (%s)", row->line);
        buf_addc(out, '\n');
    }
    buf_adds(out, "\nPanels (Tab or number; arrows, PgUp, PgDn, wheel scroll)\n");
    for (unsigned i = 0; panel_table[i]; i++) {
        buf_addf(out, "  %u %-10s %s\n", panel_digit(i), panel_table[i]->title,
                 panel_table[i]->help);
        buf_addf(out, "               %s\n", panel_table[i]->keys);
    }
    buf_adds(out, "\nCommands: : then help lists them; help NAME explains one.\n");
}

static void draw_help(struct ui *ui, struct canvas *c)
{
    struct rect r = ui->lay.body;
    struct pen p = pen_new(c, r);
    struct buf text = {0};
    const char *s;
    unsigned line = 0;

    frame_help(&text);
    canvas_fill(c, r, ' ', ST_NORMAL);
    for (s = buf_str(&text); *s; line++) {
        size_t n = strcspn(s, "\n");

        if (line >= ui->help_scroll && pen_row(&p, (int)(line - ui->help_scroll)))
            pen_put(&p, *s != ' ' ? ST_TITLE : ST_NORMAL, "%.*s", (int)n, s);
        s += n + (s[n] == '\n');
    }
    ui->help_rows = line;
    buf_fini(&text);
}

/* ---- all ------------------------------------------------------------------------------------ */

static void draw_too_small(const struct ui *ui, struct canvas *c)
{
    char text[160];

    snprintf(text, sizeof text,
             "vmscope needs %dx%d characters and has %dx%d here: enlarge the window. Ctrl-C stops "
             "the guest, q quits.",
             LAYOUT_MIN_W, LAYOUT_MIN_H, ui->lay.w, ui->lay.h);
    panel_hint(c, (struct rect){0, 0, c->w, c->h}, text);
    if (ui->mode == UI_QUIT)
        panel_hint(c, (struct rect){0, c->h - 1, c->w, 1}, "Leave? y/n");
}

void frame_draw(struct ui *ui, const struct frame_prompt *prompt, struct canvas *c,
                struct frame_cursor *cur)
{
    *cur = (struct frame_cursor){-1, -1};
    if (ui->lay.too_small) {
        draw_too_small(ui, c);
        return;
    }
    draw_top(ui, c);
    if (ui->mode == UI_HELP)
        draw_help(ui, c);
    else
        draw_body(ui, c);
    if (ui->answers_open && ui->mode != UI_HELP)
        draw_answers(ui, c);
    draw_line(ui, prompt, c, cur);
    draw_bar(ui, c);
}
