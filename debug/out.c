/*
 * The sink of commands. Text is written at once, except that a table waits for its last row so
 * that columns can be aligned; JSON members collect in `members` and become one object at out_end.
 */
#include "debug/out.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/esc.h"
#include "vmm/base/x.h"

#define COLUMNS_MAX 16
/* Integers above this are not exact in the doubles that most JSON readers use. */
#define JSON_EXACT_MAX (1ull << 53)

struct out_table {
    const char *const *columns;
    const char *empty;
    bool records; /* JSON alone */
    unsigned count, cell;
    size_t rows;
    struct buf json;   /* array elements */
    char **text;       /* rows * count cells */
    size_t text_cells; /* filled */
    char **note;       /* per row: lines below it, or NULL */
};

void out_init(struct out *o)
{
    *o = (struct out){0};
}

static void table_free(struct out *o)
{
    struct out_table *t = o->table;

    if (!t)
        return;
    for (size_t i = 0; i < t->text_cells; i++)
        free(t->text[i]);
    free(t->text);
    for (size_t i = 0; t->note && i < t->rows; i++)
        free(t->note[i]);
    free(t->note);
    buf_fini(&t->json);
    free(t);
    o->table = NULL;
}

void out_fini(struct out *o)
{
    table_free(o);
    buf_fini(&o->text);
    buf_fini(&o->json);
    buf_fini(&o->members);
    buf_fini(&o->names);
    buf_fini(&o->lines);
    buf_fini(&o->error);
    out_init(o);
}

/* ---- JSON ---------------------------------------------------------------------------------- */

static void json_u64(struct buf *b, uint64_t v, bool hex)
{
    if (v <= JSON_EXACT_MAX)
        buf_addf(b, "%llu", (unsigned long long)v);
    else
        buf_addf(b, hex ? "\"0x%llx\"" : "\"%llu\"", (unsigned long long)v);
}

/* True when `name` is in the list of names taken, and adds it otherwise. */
static bool name_taken(struct out *o, const char *name)
{
    char line[80];

    snprintf(line, sizeof line, "\n%s\n", name);
    if (strstr(buf_str(&o->names), line))
        return true;
    buf_adds(&o->names, line);
    return false;
}

/* Starts a member: a unique name and the colon. */
static void member(struct out *o, const char *key)
{
    char base[56], name[72];
    unsigned again = 1;

    snprintf(base, sizeof base, "%s", key);
    for (char *p = base; *p; p++) {
        if (*p == ' ' || *p == '\n')
            *p = '_';
    }
    snprintf(name, sizeof name, "%s", base);
    while (name_taken(o, name))
        snprintf(name, sizeof name, "%s_%u", base, ++again);
    if (o->members.len)
        buf_addc(&o->members, ',');
    esc_json(&o->members, name, strlen(name));
    buf_addc(&o->members, ':');
}

void out_end(struct out *o)
{
    const char *comma = "";

    if (o->table)
        out_table_end(o);
    buf_clear(&o->json);
    buf_addc(&o->json, '{');
    if (o->failed) {
        buf_adds(&o->json, "\"error\":");
        esc_json(&o->json, buf_str(&o->error), o->error.len);
        comma = ",";
    }
    if (o->lines.len) {
        buf_addf(&o->json, "%s\"text\":[%s]", comma, buf_str(&o->lines));
        comma = ",";
    }
    if (o->members.len) {
        buf_adds(&o->json, comma);
        buf_add(&o->json, o->members.data, o->members.len);
    }
    buf_addc(&o->json, '}');
}

/* ---- lines and pairs ----------------------------------------------------------------------- */

static void text_line(struct out *o, const char *s, size_t len)
{
    esc_console(&o->text, s, len);
    buf_addc(&o->text, '\n');
}

static void __attribute__((format(printf, 3, 0)))
add_line(struct out *o, bool in_json, const char *fmt, va_list ap)
{
    struct buf b = {0};

    buf_vaddf(&b, fmt, ap);
    text_line(o, buf_str(&b), b.len);
    if (in_json) {
        if (o->lines.len)
            buf_addc(&o->lines, ',');
        esc_json(&o->lines, buf_str(&b), b.len);
    }
    buf_fini(&b);
}

void out_line(struct out *o, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    add_line(o, true, fmt, ap);
    va_end(ap);
}

void out_text(struct out *o, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    add_line(o, false, fmt, ap);
    va_end(ap);
}

void out_error(struct out *o, const char *fmt, ...)
{
    struct buf b = {0}; /* an argument may be the error so far */
    va_list ap;

    if (o->table)
        out_table_end(o);
    va_start(ap, fmt);
    buf_vaddf(&b, fmt, ap);
    va_end(ap);
    buf_fini(&o->error);
    o->error = b;
    o->error_at = o->text.len;
    text_line(o, buf_str(&o->error), o->error.len);
    o->failed = true;
}

void out_error_from(struct out *o, const char *file, unsigned line)
{
    char *sentence;

    if (!o->failed)
        return;
    sentence = xstrdup(buf_str(&o->error));
    o->text.len = o->error_at;
    out_error(o, "%s:%u: %s", file, line, sentence);
    free(sentence);
}

static void kv_text(struct out *o, const char *key, const char *value)
{
    out_text(o, "%-18s %s", key, value);
}

void out_json_str(struct out *o, const char *key, const char *value)
{
    member(o, key);
    esc_json(&o->members, value, strlen(value));
}

void out_json_u64(struct out *o, const char *key, uint64_t value)
{
    member(o, key);
    json_u64(&o->members, value, false);
}

void out_json_hex(struct out *o, const char *key, uint64_t value)
{
    member(o, key);
    json_u64(&o->members, value, true);
}

void out_json_bool(struct out *o, const char *key, bool value)
{
    member(o, key);
    buf_adds(&o->members, value ? "true" : "false");
}

void out_kv_str(struct out *o, const char *key, const char *value)
{
    kv_text(o, key, value);
    out_json_str(o, key, value);
}

void out_kv_u64(struct out *o, const char *key, uint64_t value)
{
    char s[24];

    snprintf(s, sizeof s, "%llu", (unsigned long long)value);
    kv_text(o, key, s);
    out_json_u64(o, key, value);
}

void out_kv_hex(struct out *o, const char *key, uint64_t value)
{
    char s[24];

    snprintf(s, sizeof s, "0x%llx", (unsigned long long)value);
    kv_text(o, key, s);
    out_json_hex(o, key, value);
}

/* ---- tables -------------------------------------------------------------------------------- */

static void table_open(struct out *o, const char *name, const char *empty,
                       const char *const columns[], bool records)
{
    struct out_table *t;

    if (o->table)
        out_table_end(o);
    t = xcalloc(1, sizeof *t);
    t->columns = columns;
    t->empty = empty;
    t->records = records;
    while (columns[t->count])
        t->count++;
    BUG_ON(t->count == 0 || t->count > COLUMNS_MAX);
    member(o, name);
    o->table = t;
}

void out_table(struct out *o, const char *name, const char *empty, const char *const columns[])
{
    table_open(o, name, empty, columns, false);
}

void out_records(struct out *o, const char *name, const char *const columns[])
{
    table_open(o, name, NULL, columns, true);
}

/* Behind the usual value, if the column has one. */
static const char *column_head(const struct out_table *t, unsigned i)
{
    const char *s = t->columns[i];

    return *s == '~' ? strchr(s + 1, '~') + 1 : s;
}

static const char *column_name(const struct out_table *t, unsigned i)
{
    const char *s = column_head(t, i);

    return s + (*s == '>');
}

/* Does the column say nothing in any row? */
static bool column_is_usual(const struct out_table *t, unsigned i)
{
    const char *usual = t->columns[i] + 1;
    size_t len = (size_t)(column_head(t, i) - t->columns[i]);

    for (size_t r = 0; len && r < t->rows; r++) {
        const char *cell = t->text[r * t->count + i];

        if (strlen(cell) != len - 2 || strncmp(cell, usual, len - 2) != 0)
            return false;
    }
    return len != 0;
}

static void cell_text(struct out_table *t, const char *s, size_t len)
{
    struct buf b = {0};

    if (t->records)
        return;
    esc_console(&b, s, len);
    /* A cell is one line: a newline in it would break the row. */
    for (size_t i = 0; i < b.len; i++) {
        if (b.data[i] == '\n' || b.data[i] == '\t')
            b.data[i] = ' ';
    }
    t->text[t->text_cells++] = buf_take(&b);
}

/* Fills up the present row, so that every row has all its cells. */
static void row_close(struct out_table *t)
{
    if (!t->rows)
        return;
    for (; t->cell < t->count; t->cell++)
        cell_text(t, "", 0);
    buf_addc(&t->json, '}');
}

void out_row(struct out *o)
{
    struct out_table *t = o->table;

    BUG_ON(!t);
    row_close(t);
    if (t->rows++)
        buf_addc(&t->json, ',');
    buf_addc(&t->json, '{');
    t->cell = 0;
    if (!t->records)
        t->text = xrealloc(t->text, t->rows * t->count, sizeof *t->text);
    t->note = xrealloc(t->note, t->rows, sizeof *t->note);
    t->note[t->rows - 1] = NULL;
}

/* The JSON name of the next cell. */
static struct out_table *cell_start(struct out *o)
{
    struct out_table *t = o->table;
    struct buf name = {0};

    BUG_ON(!t || !t->rows || t->cell >= t->count);
    buf_adds(&name, column_name(t, t->cell));
    for (size_t i = 0; i < name.len; i++) {
        if (name.data[i] == ' ')
            name.data[i] = '_';
    }
    if (t->cell++)
        buf_addc(&t->json, ',');
    esc_json(&t->json, buf_str(&name), name.len);
    buf_addc(&t->json, ':');
    buf_fini(&name);
    return t;
}

void out_cell(struct out *o, const char *fmt, ...)
{
    struct out_table *t = cell_start(o);
    struct buf b = {0};
    va_list ap;

    va_start(ap, fmt);
    buf_vaddf(&b, fmt, ap);
    va_end(ap);
    esc_json(&t->json, buf_str(&b), b.len);
    cell_text(t, buf_str(&b), b.len);
    buf_fini(&b);
}

void out_cell_u64(struct out *o, uint64_t v)
{
    struct out_table *t = cell_start(o);
    char s[24];

    json_u64(&t->json, v, false);
    cell_text(t, s, (size_t)snprintf(s, sizeof s, "%llu", (unsigned long long)v));
}

void out_cell_hex(struct out *o, uint64_t v)
{
    struct out_table *t = cell_start(o);
    char s[24];

    json_u64(&t->json, v, true);
    cell_text(t, s, (size_t)snprintf(s, sizeof s, "0x%llx", (unsigned long long)v));
}

void out_cell_bool(struct out *o, bool v)
{
    struct out_table *t = cell_start(o);

    buf_adds(&t->json, v ? "true" : "false");
    cell_text(t, v ? "y" : "n", 1);
}

void out_cell_num(struct out *o, double v, const char *fmt, ...)
{
    struct out_table *t = cell_start(o);
    struct buf b = {0};
    va_list ap;

    if (isfinite(v))
        buf_addf(&t->json, "%.10g", v);
    else
        buf_adds(&t->json, "null");
    va_start(ap, fmt);
    buf_vaddf(&b, fmt, ap);
    va_end(ap);
    cell_text(t, buf_str(&b), b.len);
    buf_fini(&b);
}

/* Each line moved in, as gdb shows a breakpoint's commands. */
static void note_text(struct buf *to, const char *text)
{
    while (*text) {
        size_t n = strcspn(text, "\n");

        buf_adds(to, "        ");
        esc_console(to, text, n);
        buf_addc(to, '\n');
        text += n + (text[n] == '\n');
    }
}

void out_row_note(struct out *o, const char *key, const char *fmt, ...)
{
    struct out_table *t = o->table;
    struct buf b = {0}, all = {0};
    va_list ap;

    BUG_ON(!t || !t->rows || t->cell != t->count);
    va_start(ap, fmt);
    buf_vaddf(&b, fmt, ap);
    va_end(ap);
    if (key) {
        buf_addc(&t->json, ',');
        esc_json(&t->json, key, strlen(key));
        buf_addc(&t->json, ':');
        esc_json(&t->json, buf_str(&b), b.len);
    }
    if (t->note[t->rows - 1])
        buf_adds(&all, t->note[t->rows - 1]);
    note_text(&all, buf_str(&b));
    free(t->note[t->rows - 1]);
    t->note[t->rows - 1] = buf_take(&all);
    buf_fini(&b);
}

/* Cells on the terminal: a UTF-8 character counts once. */
static size_t cells_of(const char *s)
{
    size_t n = 0;

    for (; *s; s++)
        n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}

#define LEFT_OUT SIZE_MAX /* for a width */

static void line_of_cells(struct buf *line, const struct out_table *t, const size_t width[],
                          const char *const cells[])
{
    buf_clear(line);
    for (unsigned c = 0; c < t->count; c++) {
        size_t pad = width[c] - cells_of(cells[c]);
        bool right = column_head(t, c)[0] == '>';

        if (width[c] == LEFT_OUT)
            continue;

        for (size_t i = 0; right && i < pad; i++)
            buf_addc(line, ' ');
        buf_adds(line, cells[c]);
        for (size_t i = 0; !right && i < pad; i++)
            buf_addc(line, ' ');
        buf_adds(line, "  ");
    }
    while (line->len && line->data[line->len - 1] == ' ')
        line->data[--line->len] = 0;
}

static void table_text(struct out *o, const struct out_table *t)
{
    const char *heads[COLUMNS_MAX];
    size_t width[COLUMNS_MAX];
    struct buf line = {0};

    for (unsigned c = 0; c < t->count; c++) {
        heads[c] = column_name(t, c);
        width[c] = cells_of(heads[c]);
        for (size_t r = 0; r < t->rows; r++) {
            size_t n = cells_of(t->text[r * t->count + c]);

            if (n > width[c])
                width[c] = n;
        }
        if (column_is_usual(t, c))
            width[c] = LEFT_OUT;
    }
    line_of_cells(&line, t, width, heads);
    buf_addf(&o->text, "%s\n", buf_str(&line));
    for (size_t r = 0; r < t->rows; r++) {
        line_of_cells(&line, t, width, (const char *const *)&t->text[r * t->count]);
        buf_addf(&o->text, "%s\n%s", buf_str(&line), t->note[r] ? t->note[r] : "");
    }
    buf_fini(&line);
}

void out_table_end(struct out *o)
{
    struct out_table *t = o->table;

    if (!t)
        return;
    row_close(t);
    buf_addf(&o->members, "[%s]", buf_str(&t->json));
    if (t->rows && !t->records)
        table_text(o, t);
    else if (!t->rows && t->empty)
        out_text(o, "%s", t->empty);
    table_free(o);
}
