/*
 * The trace browser on a canvas: top line, time line, page, explanation, prompt, key bar.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "debug/trace/trace_stat.h"
#include "tui/browse.h"
#include "tui/panel.h"

#define TOP_ROWS (1 + BROWSE_GRAPH_H + 1)

static const char *const page_names[PAGES] = {"Records", "Table", "Storms", "Histograms",
                                              "Counters"};

static int body_rows(const struct browse *b)
{
    return b->h - TOP_ROWS - 2;
}

static int browse_explain_rows(const struct browse *b)
{
    return b->explain_open && b->page == PAGE_RECORDS ? body_rows(b) / 2 : 0;
}

int browse_list_rows(const struct browse *b)
{
    return body_rows(b) - browse_explain_rows(b);
}

/* ---- top ------------------------------------------------------------------------------------- */

static void draw_title(const struct browse *b, struct canvas *c)
{
    const struct trace_info *in = trace_info(b->reader);
    double seconds = (double)(in->last_ns - in->first_ns) / 1e9;
    struct pen p = pen_new(c, (struct rect){0, 0, b->w, 1});

    canvas_fill(c, (struct rect){0, 0, b->w, 1}, ' ', ST_STATUS);
    pen_row(&p, 0);
    pen_put(&p, ST_STATUS, " %s ", b->name);
    pen_put(&p, ST_STOPPED, " recorded ");
    pen_put(&p, ST_STATUS, " %" PRIu64 " records, %.3f s, %u vCPU%s", in->records, seconds,
            in->cpus, in->cpus == 1 ? "" : "s");
    if (in->dropped)
        pen_put(&p, ST_ENDED, " %" PRIu64 " lost ", in->dropped);
    if (b->filter) {
        pen_put(&p, ST_STATUS, "  %" PRIu64 " match: ", b->known);
        pen_text(&p, ST_STATUS, filter_text(b->filter));
    }
}

/* The most of the steps that fall into a column. */
static uint64_t column(const struct browse *b, const uint64_t *step, int x)
{
    unsigned a = (unsigned)((uint64_t)x * SCAN_STEPS / (unsigned)b->w);
    unsigned z = (unsigned)((uint64_t)(x + 1) * SCAN_STEPS / (unsigned)b->w);
    uint64_t most = 0;

    for (unsigned i = a; i < SCAN_STEPS && (i < z || i == a); i++)
        if (step[i] > most)
            most = step[i];
    return most;
}

/* Records over time, and under it where the selected one is. */
static void draw_graph(const struct browse *b, struct canvas *c)
{
    static const uint32_t bars[] = {' ',     0x2581u, 0x2582u, 0x2583u, 0x2584u,
                                    0x2585u, 0x2586u, 0x2587u, 0x2588u};
    const struct trace_info *in = trace_info(b->reader);
    /* Until all are counted the index has to do. */
    const uint64_t *step = b->filter || scan_done(b->scan) ? scan_steps(b->scan) : b->step;
    int y = 1 + BROWSE_GRAPH_H;
    uint64_t most = 0;
    struct pen p;

    for (unsigned i = 0; i < SCAN_STEPS; i++)
        most = step[i] > most ? step[i] : most;
    for (int x = 0; x < b->w && most; x++) {
        uint64_t eighths = (8u * BROWSE_GRAPH_H * column(b, step, x) + most - 1) / most;

        for (int r = 0; r < BROWSE_GRAPH_H; r++, eighths -= eighths < 8 ? eighths : 8)
            canvas_put(c, x, y - 1 - r, bars[eighths < 8 ? eighths : 8], ST_KIND);
    }
    canvas_fill(c, (struct rect){0, y, b->w, 1}, CH_HLINE, ST_DIM);
    p = pen_new(c, (struct rect){0, y, b->w, 1});
    pen_row(&p, 0);
    for (int i = 0; i < PAGES; i++)
        pen_put(&p, b->page == (enum browse_page)i ? ST_FOCUS : ST_TAB, " %d %s ", i + 1,
                page_names[i]);
    if (!scan_done(b->scan) && in->records)
        pen_put(&p, ST_CHANGED, " counted %u%% ",
                (unsigned)(100 * scan_read(b->scan) / in->records));
    if (b->has_selected && b->page == PAGE_RECORDS && in->last_ns > in->first_ns) {
        double at = (double)(int64_t)(b->selected.at_ns - in->first_ns) /
                    (double)(in->last_ns - in->first_ns);

        canvas_put(c, (int)(at * (b->w - 1)), y, CH_DOT, ST_RIP);
    }
}

/* ---- pages ----------------------------------------------------------------------------------- */

static void draw_text(const struct buf *text, unsigned scroll, struct canvas *c, struct rect r)
{
    struct pen p = pen_new(c, r);
    const char *s = buf_str(text);
    unsigned line = 0;

    for (; *s; line++) {
        size_t n = strcspn(s, "\n");

        if (line >= scroll && pen_row(&p, (int)(line - scroll)))
            pen_put(&p, ST_NORMAL, "%.*s", (int)n, s);
        s += n + (s[n] == '\n');
    }
}

static void put_us(struct pen *p, uint64_t ns)
{
    char text[24], dur[16];

    snprintf(text, sizeof text, "%8s", panel_duration(dur, sizeof dur, ns));
    pen_cell(p, ST_NUMBER, 9, text);
}

static void draw_row(const struct browse *b, struct pen *p, const struct table_row *r)
{
    const struct trace_stats *t = scan_stats(b->scan);
    const struct stat_sum *s = &r->sum;
    bool note = stat_is_note(r->example->key.reason) && !s->host_max;
    double seconds = (double)stat_span_ns(t) / 1e9;
    double share = t->records ? 100.0 * (double)s->count / (double)t->records : 0;
    double cost = stat_active_ns(t)
                      ? 100.0 * (double)stat_cost_ns(s, stat_trip_ns(t)) / (double)stat_active_ns(t)
                      : 0;
    struct buf label = {0};
    char text[40];

    table_label(b->by, &r->example->key, trace_names(b->reader), &label);
    pen_cell(p, ST_NORMAL, b->w > 76 ? b->w - 66 : 10, buf_str(&label));
    buf_fini(&label);
    snprintf(text, sizeof text, "%11" PRIu64, s->count);
    pen_cell(p, ST_NUMBER, 12, text);
    snprintf(text, sizeof text, "%9.0f", seconds > 0 ? (double)s->count / seconds : 0);
    pen_cell(p, ST_NUMBER, 10, text);
    if (note)
        return;
    snprintf(text, sizeof text, "%5.1f%%", share);
    pen_cell(p, ST_NUMBER, 7, text);
    snprintf(text, sizeof text, "%5.1f%%", cost);
    pen_cell(p, ST_NUMBER, 8, text);
    put_us(p, s->count ? s->host_sum / s->count : 0);
    put_us(p, stat_quantile(s->hist, 0.99, s->host_min, s->host_max));
    put_us(p, s->host_max);
}

static void draw_table(const struct browse *b, struct canvas *c, struct rect r)
{
    static const char *const heads[] = {"count", "per second", "exits", "time",
                                        "mean",  "p99",        "max"};
    static const int widths[] = {12, 10, 7, 8, 9, 9, 9};
    struct pen p = pen_new(c, r);
    char text[24];

    pen_row(&p, 0);
    pen_cell(&p, ST_NAME, b->w > 76 ? b->w - 66 : 10, table_by_names[b->by]);
    for (int i = 0; i < 7; i++) {
        snprintf(text, sizeof text, "%*s", widths[i] - 1, heads[i]);
        pen_cell(&p, ST_NAME, widths[i], text);
    }
    for (size_t i = b->row_top; i < b->rows && pen_row(&p, 1 + (int)(i - b->row_top)); i++) {
        draw_row(b, &p, &b->row[i]);
        if (i == b->row_sel)
            canvas_select(c, (struct rect){r.x, r.y + 1 + (int)(i - b->row_top), r.w, 1});
    }
    if (!b->rows)
        panel_hint(c, (struct rect){r.x, r.y + 1, r.w, r.h - 1},
                   scan_done(b->scan) ? "No record has such a key: b counts by the next one."
                                      : "Counting\u2026");
}

static void draw_records(const struct browse *b, struct canvas *c, struct rect r)
{
    if (b->v.exits.rows)
        panel_exits.draw(&b->v, c, r, true);
    else
        panel_hint(c, r,
                   !trace_info(b->reader)->records
                       ? "The file has no records: the guest did not run while it was written."
                   : scan_done(b->scan) ? "No record matches the filter: F shows all."
                                        : "No record matches so far\u2026");
}

static void draw_page(const struct browse *b, struct canvas *c)
{
    struct rect r = {0, TOP_ROWS, b->w, browse_list_rows(b)};
    int more = browse_explain_rows(b);
    struct pen p;

    switch (b->page) {
    case PAGE_RECORDS:
        draw_records(b, c, r);
        break;
    case PAGE_TABLE:
        draw_table(b, c, r);
        break;
    default:
        draw_text(&b->text, b->text_scroll, c, r);
        break;
    }
    if (more < 2)
        return;
    canvas_fill(c, (struct rect){0, r.y + r.h, b->w, 1}, CH_HLINE, ST_DIM);
    p = pen_new(c, (struct rect){0, r.y + r.h, b->w, 1});
    pen_row(&p, 0);
    pen_put(&p, ST_TITLE, " Explanation of record %" PRIu64 " ", b->selected_record + 1);
    pen_put(&p, ST_TAB, " J K scroll, e closes ");
    draw_text(&b->explain, b->explain_scroll, c, (struct rect){0, r.y + r.h + 1, b->w, more - 1});
}

static void draw_help(struct browse *b, struct canvas *c)
{
    struct buf text = {0};
    char one[16], two[16];

    buf_adds(&text, "Keys (arrows, PgUp, PgDn, Home, End and the wheel move; a click on the time "
                    "line goes there)\n");
    for (const struct browse_key_row *k = browse_keys; k->help; k++) {
        size_t at = text.len;

        buf_addf(&text, "  %s", key_text(k->key, one, sizeof one));
        if (k->key2)
            buf_addf(&text, " %s", key_text(k->key2, two, sizeof two));
        while (text.len - at < 14)
            buf_addc(&text, ' ');
        buf_addf(&text, "%s\n", k->help);
    }
    buf_adds(&text, "\nCommands\n");
    for (const struct browse_command *k = browse_commands; k->name; k++) {
        size_t at = text.len;

        buf_addf(&text, "  %s %s", k->name, k->usage);
        while (text.len - at < 24)
            buf_addc(&text, ' ');
        buf_addf(&text, "%s\n", k->help);
    }
    draw_text(&text, b->text_scroll, c, (struct rect){0, TOP_ROWS, b->w, body_rows(b)});
    buf_fini(&text);
}

/* ---- bottom ---------------------------------------------------------------------------------- */

static void draw_prompt(const struct browse *b, const struct frame_prompt *pr, struct canvas *c,
                        struct frame_cursor *cur)
{
    struct pen p = pen_new(c, (struct rect){0, b->h - 2, b->w, 1});
    char before[1024];
    const char *line = pr->line;
    int room, at;

    pen_row(&p, 0);
    pen_text(&p, ST_PROMPT, pr->label);
    room = pen_left(&p) - 1;
    snprintf(before, sizeof before, "%.*s",
             (int)(pr->cursor < sizeof before - 1 ? pr->cursor : sizeof before - 1), pr->line);
    at = canvas_width(before);
    for (; at > room && *line; at--) { /* a long line moves left until its cursor shows */
        uint32_t ch;

        line += canvas_utf8(line, (unsigned)strnlen(line, 4), &ch);
    }
    *cur = (struct frame_cursor){p.x + at, b->h - 2};
    pen_text(&p, ST_NORMAL, line);
}

static void draw_message(const struct browse *b, struct canvas *c)
{
    struct pen p = pen_new(c, (struct rect){0, b->h - 2, b->w, 1});
    struct buf text = {0};

    pen_row(&p, 0);
    if (b->message[0]) {
        pen_text(&p, b->message_style, b->message);
    } else if (b->page == PAGE_RECORDS && b->has_selected) {
        pen_put(&p, ST_HINT, "record %" PRIu64 " of %" PRIu64 ": ", b->selected_record + 1,
                trace_info(b->reader)->records);
        panel_exits.describe(&b->v, &text);
        pen_text(&p, ST_HINT, buf_str(&text));
    } else if (b->page == PAGE_TABLE) {
        pen_put(&p, ST_HINT, "Enter shows the records of a row, b counts by another key, o sorts");
    }
    buf_fini(&text);
}

static void draw_bar(const struct browse *b, struct canvas *c)
{
    struct pen p = pen_new(c, (struct rect){0, b->h - 1, b->w, 1});
    char key[16];

    pen_row(&p, 0);
    if (b->mode == BROWSE_PROMPT) {
        pen_put(&p, ST_BARKEY, "Enter");
        pen_put(&p, ST_BAR, " go ");
        pen_put(&p, ST_BARKEY, "Esc");
        pen_put(&p, ST_BAR, " leave");
        return;
    }
    for (const struct browse_key_row *k = browse_keys; k->help; k++) {
        if (!k->bar)
            continue;
        pen_put(&p, ST_BARKEY, "%s", key_text(k->key, key, sizeof key));
        pen_put(&p, ST_BAR, " %s", k->bar);
        pen_to(&p, p.x + 1);
    }
}

void browse_draw(struct browse *b, const struct frame_prompt *prompt, struct canvas *c,
                 struct frame_cursor *cur)
{
    char text[120];

    *cur = (struct frame_cursor){-1, -1};
    if (b->w < LAYOUT_MIN_W || b->h < LAYOUT_MIN_H) {
        snprintf(text, sizeof text,
                 "vmscope needs %dx%d characters and has %dx%d here: enlarge the window. q quits.",
                 LAYOUT_MIN_W, LAYOUT_MIN_H, b->w, b->h);
        panel_hint(c, (struct rect){0, 0, c->w, c->h}, text);
        return;
    }
    draw_title(b, c);
    draw_graph(b, c);
    if (b->mode == BROWSE_HELP)
        draw_help(b, c);
    else
        draw_page(b, c);
    if (b->mode == BROWSE_PROMPT)
        draw_prompt(b, prompt, c, cur);
    else
        draw_message(b, c);
    draw_bar(b, c);
}
