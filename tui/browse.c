/*
 * State of the trace browser: where it is, what is selected, what keys and commands do.
 */
#include "tui/browse.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "debug/out.h"
#include "debug/trace/explain.h"
#include "debug/trace/report.h"
#include "debug/trace/trace_counters.h"
#include "tui/panel.h"
#include "vmm/base/esc.h"
#include "vmm/base/x.h"

#define SLICE_RECORDS 200000u /* of the background's count between two looks at the keys */
#define FIND_MAX      2000000u

const struct browse_key_row browse_keys[] = {
    {'1', 0, NULL, "the records"},
    {'2', 0, NULL, "a table of them: b changes what is counted, o the order"},
    {'3', 0, NULL, "storms"},
    {'4', 0, NULL, "histograms of the times in handlers and in the guest"},
    {'5', 0, NULL, "what KVM itself counted"},
    {K_TAB, K_SHIFT_TAB, "page", "the next page, and the one before"},
    {K_ENTER, 0, "explain", "explain the record; in a table: show the records of the row"},
    {'/', 'f', "filter", "only records that match an expression: kind==io && port==0x3f8"},
    {'F', 0, NULL, "no filter"},
    {'g', 0, "goto", "to a record's number, or a time: 1.5s, 20ms, 300us"},
    {'[', ']', NULL, "one fiftieth of the time back, and on"},
    {'b', 0, NULL, "table: count by the next key"},
    {'o', 0, NULL, "table: the next order"},
    {'e', 0, NULL, "open and close the explanation, which follows the selection"},
    {'J', 'K', NULL, "scroll the explanation"},
    {':', 0, "command", "type a command; help lists them"},
    {'T', 0, NULL, "next theme"},
    {KEY_CTRL('l'), 0, NULL, "draw the screen anew"},
    {KEY_CTRL('z'), 0, NULL, "back to the shell; fg returns"},
    {'?', K_F0 + 1, "help", "this help"},
    {'q', K_F0 + 10, "quit", "leave"},
    {0},
};

static void message(struct browse *b, enum style st, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static void message(struct browse *b, enum style st, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(b->message, sizeof b->message, fmt, ap);
    va_end(ap);
    b->message_style = st;
}

/* ---- opening --------------------------------------------------------------------------------- */

/* Adds `n` records spread evenly over [from, to), in steps. */
static void spread(struct browse *b, double n, double from, double to)
{
    for (unsigned k = (unsigned)from; k < SCAN_STEPS && k < to; k++) {
        double low = k > from ? k : from, high = k + 1 < to ? k + 1 : to;

        b->step[k] += (uint64_t)(1000 * n * (high - low) / (to - from));
    }
}

/* Records over time as far as the index knows: those of a block are spread over its time. */
static void make_steps(struct browse *b)
{
    const struct trace_info *in = trace_info(b->reader);
    double span = (double)(in->last_ns - in->first_ns) + 1;
    uint64_t first, n, records = 0, at, from = 0;

    for (size_t i = 0; trace_block_at(b->reader, i, &first, &n, &at); i++) {
        if (!n || at < in->first_ns || at > in->last_ns)
            continue;
        if (records && at > from)
            spread(b, (double)records, (double)(from - in->first_ns) / span * SCAN_STEPS,
                   (double)(at - in->first_ns) / span * SCAN_STEPS);
        from = at;
        records = n;
    }
    if (records && in->last_ns > from)
        spread(b, (double)records, (double)(from - in->first_ns) / span * SCAN_STEPS, SCAN_STEPS);
}

static int start_scan(struct browse *b, struct err *e)
{
    struct trace_scan *fresh = scan_new(b->path, b->filter, trace_names(b->reader), e);

    if (!fresh)
        return -e->code;
    scan_free(b->scan);
    b->scan = fresh;
    b->text_read = UINT64_MAX;
    return 0;
}

int browse_open(struct browse *b, const char *path, const char *symbols, struct err *e)
{
    const struct report_ask ask = {.symbols = symbols};
    const char *slash = strrchr(path, '/');
    char kvm[60], name[120];
    int rc;

    *b = (struct browse){.stale = true};
    rc = report_open_reader(&b->reader, path, &ask, e);
    if (rc == 0) {
        b->path = xstrdup(path);
        rc = start_scan(b, e);
    }
    if (rc < 0) {
        browse_close(b);
        return rc;
    }
    slash = slash ? slash + 1 : path;
    b->name = xstrdup(esc_cut(name, sizeof name, slash, strlen(slash)));
    trace_meta(b->reader, "kvm", kvm, sizeof kvm);
    b->emulated = !strncmp(kvm, "emulating", 9);
    b->v.status.cpus = trace_info(b->reader)->cpus;
    b->known = trace_info(b->reader)->records;
    b->by = BY_WHAT;
    make_steps(b);
    if (trace_info(b->reader)->problem[0])
        message(b, ST_ERROR, "%s", trace_info(b->reader)->problem);
    return 0;
}

void browse_close(struct browse *b)
{
    scan_free(b->scan);
    filter_free(b->filter);
    trace_close(b->reader);
    free(b->path);
    free(b->name);
    free(b->row);
    buf_fini(&b->text);
    buf_fini(&b->explain);
    *b = (struct browse){0};
}

void browse_resize(struct browse *b, int w, int h)
{
    b->w = w;
    b->h = h;
    b->stale = true;
}

/* ---- records --------------------------------------------------------------------------------- */

static uint64_t count(const struct browse *b)
{
    return b->known;
}

/* Reads up to `max` matching records from match `m` on, with their numbers. */
static unsigned read_matches(struct browse *b, uint64_t m, unsigned max, struct exit_event *out,
                             uint64_t *number)
{
    uint64_t record = m, match = m, looked = 0;
    unsigned n = 0;

    if (b->filter)
        scan_near(b->scan, m, &record, &match);
    trace_seek(b->reader, record);
    while (n < max && match < count(b) && looked++ < FIND_MAX) {
        uint64_t at = trace_position(b->reader);
        struct exit_event ev;

        if (!trace_read(b->reader, &ev, 1))
            break;
        if (b->filter && !filter_match(b->filter, &ev))
            continue;
        if (match++ < m)
            continue;
        out[n] = ev;
        number[n++] = at;
    }
    return n;
}

static void fill_row(struct browse *b, unsigned i, const struct exit_event *ev)
{
    const struct trace_names *n = trace_names(b->reader);
    struct view_exit *row = &b->v.exits.row[i];
    struct buf own = {0};
    char place[sizeof row->where];

    if (ev->reason == EXIT_ASSIST || ev->reason == EXIT_STACK)
        names_what(n, ev, &own);
    view_exit_format(ev, names_reg(n, ev), own.len ? buf_str(&own) : NULL,
                     trace_info(b->reader)->first_ns, row);
    row->index = b->top + i;
    if (row->where[0] &&
        names_place(n, ev->cs_base + ev->rip, ev->flags & EXIT_F_PAST, place, sizeof place)[0])
        memcpy(row->where, place, sizeof place);
    buf_fini(&own);
}

static void fill_records(struct browse *b)
{
    static struct exit_event ev[VIEW_ROWS];
    int rows = browse_list_rows(b);
    unsigned max = rows < 1 ? 1 : rows > VIEW_ROWS ? VIEW_ROWS : (unsigned)rows, n;

    if (b->sel >= count(b))
        b->sel = count(b) ? count(b) - 1 : 0;
    if (b->sel < b->top)
        b->top = b->sel;
    if (b->sel >= b->top + max)
        b->top = b->sel - max + 1;
    n = read_matches(b, b->top, max, ev, b->row_record);
    for (unsigned i = 0; i < n; i++)
        fill_row(b, i, &ev[i]);
    b->v.exits.rows = n;
    b->v.exits.sel = b->sel;
    b->v.exits.next = count(b);
    b->has_selected = b->sel - b->top < n;
    if (b->has_selected) {
        b->selected = ev[b->sel - b->top];
        b->selected_record = b->row_record[b->sel - b->top];
    }
}

static void fill_explain(struct browse *b)
{
    struct out o = {0};

    buf_clear(&b->explain);
    if (!b->has_selected)
        return;
    explain_print(&b->selected, trace_names(b->reader), b->emulated, &o);
    trace_seek(b->reader, b->selected_record + 1);
    explain_following(&b->selected, b->reader, &o);
    out_end(&o);
    buf_add(&b->explain, o.text.data, o.text.len);
    out_fini(&o);
}

/* ---- going to places ------------------------------------------------------------------------- */

/* The first record at or behind a time, by the blocks and then one by one. */
static uint64_t record_at(struct browse *b, uint64_t at_ns)
{
    uint64_t first, records, from, best = 0;
    struct exit_event ev;

    for (size_t i = 0; trace_block_at(b->reader, i, &first, &records, &from); i++)
        if (records && from <= at_ns)
            best = first;
    trace_seek(b->reader, best);
    for (unsigned n = 0; n < 2 * TRACE_BLOCK_RECORDS; n++) {
        uint64_t at = trace_position(b->reader);

        if (!trace_read(b->reader, &ev, 1))
            break;
        if (ev.at_ns >= at_ns)
            return at;
        best = at;
    }
    return best;
}

/* Selects the record, or with a filter the first match behind it. */
static void go_record(struct browse *b, uint64_t record)
{
    uint64_t m = record, at;
    struct exit_event ev;

    if (b->filter) {
        m = scan_match_before(b->scan, record);
        for (unsigned n = 0; n < FIND_MAX && m + 1 < count(b); n++, m++)
            if (!read_matches(b, m, 1, &ev, &at) || at >= record)
                break;
    }
    b->sel = m < count(b) ? m : count(b) ? count(b) - 1 : 0;
    b->top = b->sel > 2 ? b->sel - 2 : 0;
    b->page = PAGE_RECORDS;
    b->stale = true;
}

static void go_time(struct browse *b, uint64_t at_ns)
{
    go_record(b, record_at(b, at_ns));
}

static void move_time(struct browse *b, int steps)
{
    const struct trace_info *in = trace_info(b->reader);
    uint64_t part = (in->last_ns - in->first_ns) / 50 + 1, at = b->selected.at_ns;

    if (!b->has_selected)
        return;
    if (steps < 0)
        go_time(b, at > in->first_ns + part ? at - part : in->first_ns);
    else
        go_time(b, at + part < in->last_ns ? at + part : in->last_ns);
}

/* ---- commands -------------------------------------------------------------------------------- */

static void do_filter(struct browse *b, const char *args)
{
    struct trace_filter *fresh = NULL, *old = b->filter;
    struct err e = {0};
    bool off = !*args || !strcmp(args, "off");
    uint64_t record = b->has_selected ? b->selected_record : 0;

    if (!off && !(fresh = filter_compile(args, trace_names(b->reader), &e))) {
        message(b, ST_ERROR, "%s", e.msg);
        return;
    }
    b->filter = fresh;
    if (start_scan(b, &e) < 0) {
        b->filter = old;
        filter_free(fresh);
        message(b, ST_ERROR, "%s", e.msg);
        return;
    }
    filter_free(old);
    b->known = off ? trace_info(b->reader)->records : 0;
    b->top = b->sel = 0;
    if (off)
        go_record(b, record);
    b->page = PAGE_RECORDS;
    b->message[0] = 0;
    b->stale = true;
}

static void do_goto(struct browse *b, const char *args)
{
    static const struct {
        const char *unit;
        double ns;
    } units[] = {{"s", 1e9}, {"ms", 1e6}, {"us", 1e3}, {"ns", 1}};
    const struct trace_info *in = trace_info(b->reader);
    char *end;
    double v = strtod(args, &end);

    if (end == args || !(v >= 0) || v > 1e18) {
        message(b, ST_ERROR,
                "goto takes a record's number, or a time with its unit: 1.5s, 20ms, "
                "300us");
        return;
    }
    while (*end == ' ')
        end++;
    if (!*end) {
        if (v < 1 || v > (double)in->records)
            message(b, ST_ERROR, "the records have numbers from 1 to %" PRIu64, in->records);
        else
            go_record(b, (uint64_t)v - 1);
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        if (strcmp(end, units[i].unit))
            continue;
        go_time(b, in->first_ns + (uint64_t)(v * units[i].ns));
        return;
    }
    message(b, ST_ERROR, "`%.20s` is no unit of time: there are s, ms, us and ns", end);
}

static void do_by(struct browse *b, const char *args)
{
    int by = table_by_name(args);

    if (by < 0) {
        message(b, ST_ERROR,
                "records are counted by kind, port, gpa, msr, vector, rip, symbol, "
                "vcpu, device, what or site");
        return;
    }
    b->by = (enum table_by)by;
    b->page = PAGE_TABLE;
    b->row_sel = b->row_top = 0;
    b->text_read = UINT64_MAX;
}

static void do_sort(struct browse *b, const char *args)
{
    int sort = table_sort_name(args);

    if (sort < 0) {
        message(b, ST_ERROR, "the orders are count, time, mean, p99 and max");
        return;
    }
    b->sort = (enum table_sort)sort;
    b->page = PAGE_TABLE;
    b->text_read = UINT64_MAX;
}

static void show(struct browse *b, enum browse_page page)
{
    b->page = page;
    b->text_scroll = 0;
    b->text_read = UINT64_MAX;
    b->stale = true;
}

static void do_storm(struct browse *b, const char *args)
{
    (void)args;
    show(b, PAGE_STORMS);
}

static void do_hist(struct browse *b, const char *args)
{
    (void)args;
    show(b, PAGE_HIST);
}

static void do_counters(struct browse *b, const char *args)
{
    (void)args;
    show(b, PAGE_COUNTERS);
}

static void do_explain(struct browse *b, const char *args)
{
    if (*args)
        do_goto(b, args);
    b->page = PAGE_RECORDS;
    b->explain_open = true;
    b->explain_scroll = 0;
    b->stale = true;
}

static void do_help(struct browse *b, const char *args)
{
    (void)args;
    b->mode = BROWSE_HELP;
    b->text_scroll = 0;
}

static void do_quit(struct browse *b, const char *args)
{
    (void)args;
    b->leave = true;
}

const struct browse_command browse_commands[] = {
    {"filter", "EXPR | off", "only records that match", do_filter},
    {"goto", "N | TIME", "to a record's number, or a time from the begin: 20ms", do_goto},
    {"explain", "[N | TIME]", "explain the selected record, or that one", do_explain},
    {"by", "KEY", "a table by kind, port, gpa, msr, vector, rip, symbol, vcpu, device, what, site",
     do_by},
    {"sort", "ORDER", "of the table: count, time, mean, p99, max", do_sort},
    {"storm", "", "the storms", do_storm},
    {"hist", "", "histograms", do_hist},
    {"counters", "", "what KVM counted", do_counters},
    {"help", "", "keys and commands", do_help},
    {"quit", "", "leave", do_quit},
    {NULL, NULL, NULL, NULL},
};

static void open_prompt(struct browse *b, const char *label)
{
    b->prompt = label;
    b->mode = BROWSE_PROMPT;
    b->message[0] = 0;
}

void browse_line(struct browse *b, const char *line)
{
    size_t n;

    b->mode = BROWSE_KEYS;
    while (*line == ' ')
        line++;
    if (!strcmp(b->prompt, "filter: ")) {
        do_filter(b, line);
        return;
    }
    if (!strcmp(b->prompt, "go to: ")) {
        if (*line)
            do_goto(b, line);
        return;
    }
    n = strcspn(line, " ");
    for (const struct browse_command *c = browse_commands; n && c->name; c++) {
        if (strncmp(c->name, line, n) || strlen(c->name) < n)
            continue;
        c->run(b, line + n + strspn(line + n, " "));
        return;
    }
    if (n)
        message(b, ST_ERROR, "there is no command `%.*s` here: `help` lists them", (int)n, line);
}

char *browse_complete(const char *line, size_t n)
{
    for (const struct browse_command *c = browse_commands; c->name; c++)
        if (!strncmp(c->name, line, strlen(line)) && !n--)
            return xstrdup(c->name);
    return NULL;
}

/* ---- what is counted ------------------------------------------------------------------------- */

bool browse_work(struct browse *b)
{
    bool more = scan_some(b->scan, SLICE_RECORDS);

    if (b->filter)
        b->known = scan_matched(b->scan);
    b->stale = true;
    return more;
}

static void fill_table(struct browse *b)
{
    struct table_ask ask = {.by = b->by, .sort = b->sort};
    size_t room = browse_list_rows(b) > 1 ? (size_t)browse_list_rows(b) - 1 : 1;

    if (b->text_read != scan_read(b->scan)) {
        free(b->row);
        b->row = table_rows(scan_stats(b->scan), trace_names(b->reader), &ask, &b->rows);
        b->rows = b->rows < BROWSE_ROWS ? b->rows : BROWSE_ROWS;
        b->text_read = scan_read(b->scan);
    }
    if (b->row_sel >= b->rows)
        b->row_sel = b->rows ? b->rows - 1 : 0;
    if (b->row_sel < b->row_top)
        b->row_top = b->row_sel;
    if (b->row_sel >= b->row_top + room)
        b->row_top = b->row_sel - room + 1;
}

static void fill_text(struct browse *b)
{
    struct trace_counters c;
    struct out o = {0};

    if (b->text_read == scan_read(b->scan))
        return;
    b->text_read = scan_read(b->scan);
    if (b->page == PAGE_HIST) {
        table_hist(scan_stats(b->scan), NULL, -1, &o);
    } else if (b->page == PAGE_STORMS) {
        storm_print(scan_storms(b->scan), trace_info(b->reader)->first_ns,
                    trace_info(b->reader)->last_ns, &o);
    } else {
        counters_load(&c, b->reader);
        counters_print(&c, &o);
        counters_fini(&c);
    }
    out_end(&o);
    buf_clear(&b->text);
    buf_add(&b->text, o.text.data, o.text.len);
    out_fini(&o);
}

void browse_fill(struct browse *b)
{
    if (!b->stale)
        return;
    b->stale = false;
    switch (b->page) {
    case PAGE_RECORDS:
        fill_records(b);
        if (b->explain_open)
            fill_explain(b);
        break;
    case PAGE_TABLE:
        fill_table(b);
        break;
    default:
        fill_text(b);
        break;
    }
}

/* ---- keys ------------------------------------------------------------------------------------ */

/* panel_list_key works on unsigned; a recording may be longer. */
static bool move_records(struct browse *b, int key)
{
    unsigned rows = browse_list_rows(b) > 0 ? (unsigned)browse_list_rows(b) : 1;
    uint64_t n = count(b), base, sel64;
    unsigned first, sel;

    if (key == K_HOME || key == K_END) {
        b->sel = key == K_HOME || !n ? 0 : n - 1;
        return true;
    }
    base = b->sel > 1000000 ? b->sel - 1000000 : 0;
    sel = (unsigned)(b->sel - base);
    first = b->top > base ? (unsigned)(b->top - base) : 0;
    sel64 = n > base ? n - base : 0;
    if (!panel_list_key(key, sel64 > 2000000 ? 2000000 : (unsigned)sel64, rows, &first, &sel))
        return false;
    b->sel = base + sel;
    b->top = base + first;
    return true;
}

static unsigned text_lines(const struct buf *t)
{
    unsigned n = 0;

    for (size_t i = 0; i < t->len; i++)
        n += t->data[i] == '\n';
    return n;
}

static bool move(struct browse *b, int key)
{
    unsigned rows = browse_list_rows(b) > 0 ? (unsigned)browse_list_rows(b) : 1;
    unsigned first, sel;

    if (b->page == PAGE_RECORDS)
        return move_records(b, key);
    if (b->page == PAGE_TABLE) {
        first = (unsigned)b->row_top;
        sel = (unsigned)b->row_sel;
        if (!panel_list_key(key, (unsigned)b->rows, rows > 1 ? rows - 1 : 1, &first, &sel))
            return false;
        b->row_top = first;
        b->row_sel = sel;
        return true;
    }
    return panel_scroll_key(key, text_lines(&b->text), rows, &b->text_scroll);
}

/* The records behind a row of the table. */
static void drill(struct browse *b)
{
    const struct table_row *r = b->row_sel < b->rows ? &b->row[b->row_sel] : NULL;
    struct buf expr = {0};

    if (!r)
        return;
    if (table_filter(b->by, &r->example->key, trace_names(b->reader), &expr)) {
        do_filter(b, buf_str(&expr));
    } else {
        message(b, ST_ERROR, "this row has no expression of its own: count by what or site (b)");
    }
    buf_fini(&expr);
}

static void enter(struct browse *b)
{
    if (b->page == PAGE_TABLE) {
        drill(b);
    } else if (b->page == PAGE_RECORDS) {
        b->explain_open = !b->explain_open;
        b->explain_scroll = 0;
    }
}

/* A click: on the time line it goes there, in the list it selects. */
static void click(struct browse *b, int x, int y)
{
    const struct trace_info *in = trace_info(b->reader);
    int list = 1 + BROWSE_GRAPH_H + 1;

    if (y >= 1 && y < list && b->w > 1) {
        go_time(b,
                in->first_ns + (uint64_t)((double)(in->last_ns - in->first_ns) * x / (b->w - 1)));
    } else if (b->page == PAGE_RECORDS && y >= list && y < list + browse_list_rows(b)) {
        if (b->top + (uint64_t)(y - list) < count(b))
            b->sel = b->top + (uint64_t)(y - list);
    } else if (b->page == PAGE_TABLE && y > list && y < list + browse_list_rows(b)) {
        b->row_sel = b->row_top + (size_t)(y - list - 1);
    }
}

static void other_key(struct browse *b, int key)
{
    switch (key) {
    case K_TAB:
        show(b, (enum browse_page)((b->page + 1) % PAGES));
        break;
    case K_SHIFT_TAB:
        show(b, (enum browse_page)((b->page + PAGES - 1) % PAGES));
        break;
    case '/':
    case 'f':
        open_prompt(b, "filter: ");
        break;
    case 'F':
        do_filter(b, "off");
        break;
    case 'g':
        open_prompt(b, "go to: ");
        break;
    case ':':
        open_prompt(b, "> ");
        break;
    case '[':
    case ']':
        move_time(b, key == '[' ? -1 : 1);
        break;
    case 'b':
        do_by(b, table_by_names[(b->by + (b->page == PAGE_TABLE)) % BY_COUNT]);
        break;
    case 'o':
        do_sort(b, table_sort_names[(b->sort + (b->page == PAGE_TABLE)) % SORTS]);
        break;
    case 'e':
        b->explain_open = !b->explain_open;
        b->page = PAGE_RECORDS;
        break;
    case 'J':
        b->explain_scroll += b->explain_scroll + 1 < text_lines(&b->explain);
        break;
    case 'K':
        b->explain_scroll -= b->explain_scroll > 0;
        break;
    case 'T':
        b->theme = theme_next(b->theme, b->has_colours);
        break;
    case KEY_CTRL('l'):
        b->redraw = true;
        break;
    case KEY_CTRL('z'):
        b->suspend = true;
        break;
    case KEY_CTRL('c'):
        message(b, ST_MESSAGE, "q leaves.");
        break;
    case '?':
    case K_F0 + 1:
        do_help(b, "");
        break;
    case 'q':
    case K_F0 + 10:
        b->leave = true;
        break;
    default:
        break;
    }
}

static void help_key(struct browse *b, int key)
{
    static const int scrolls[] = {K_UP,   K_DOWN, K_PGUP,     K_PGDN,
                                  K_HOME, K_END,  K_WHEEL_UP, K_WHEEL_DOWN};

    for (size_t i = 0; i < ARRAY_LEN(scrolls); i++)
        if (key == scrolls[i]) {
            panel_scroll_key(key, 60, 10, &b->text_scroll);
            return;
        }
    b->mode = BROWSE_KEYS;
    b->text_scroll = 0;
}

void browse_key(struct browse *b, int key, int x, int y)
{
    b->stale = true;
    if (b->mode == BROWSE_HELP) {
        help_key(b, key);
        return;
    }
    if (key == K_CLICK) {
        click(b, x, y);
        return;
    }
    if (move(b, key)) {
        b->message[0] = 0;
        b->explain_scroll = 0;
        return;
    }
    if (key >= '1' && key < '1' + PAGES)
        show(b, (enum browse_page)(key - '1'));
    else if (key == K_ENTER)
        enter(b);
    else
        other_key(b, key);
}
