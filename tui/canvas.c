/*
 * Cells and the pen that writes them. See canvas.h.
 */
#include "tui/canvas.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/x.h"

void canvas_init(struct canvas *c, int w, int h)
{
    c->w = w > 0 ? w : 0;
    c->h = h > 0 ? h : 0;
    c->cell = xcalloc((size_t)c->w * (size_t)c->h + 1, sizeof *c->cell);
    canvas_fill(c, (struct rect){0, 0, c->w, c->h}, ' ', ST_NORMAL);
}

void canvas_fini(struct canvas *c)
{
    free(c->cell);
    *c = (struct canvas){0};
}

static struct cell *cell_at(const struct canvas *c, int x, int y)
{
    if (x < 0 || y < 0 || x >= c->w || y >= c->h)
        return NULL;
    return &c->cell[(size_t)y * (size_t)c->w + (size_t)x];
}

const struct cell *canvas_at(const struct canvas *c, int x, int y)
{
    return cell_at(c, x, y);
}

/* Ranges of characters that every terminal shows in one column, neither combining nor double
 * width. Short on purpose: what is missing shows as '?', never as a broken screen. */
static const struct {
    uint32_t first, last;
} narrow[] = {
    {0x20, 0x7e},     {0xa1, 0xac},     {0xae, 0x2ff},    {0x370, 0x377},   {0x37a, 0x37f},
    {0x384, 0x38a},   {0x38e, 0x3a1},   {0x3a3, 0x482},   {0x48a, 0x52f},   {0x2010, 0x2027},
    {0x2030, 0x205e}, {0x20a0, 0x20bf}, {0x2190, 0x2319}, {0x2500, 0x25fc}, {0x2713, 0x2718},
};

static bool is_narrow(uint32_t ch)
{
    for (size_t i = 0; i < ARRAY_LEN(narrow); i++)
        if (ch >= narrow[i].first && ch <= narrow[i].last)
            return true;
    return false;
}

void canvas_put(struct canvas *c, int x, int y, uint32_t ch, enum style st)
{
    struct cell *p = cell_at(c, x, y);

    if (p)
        *p = (struct cell){is_narrow(ch) ? ch : '?', (uint8_t)st, false};
}

void canvas_fill(struct canvas *c, struct rect r, uint32_t ch, enum style st)
{
    for (int y = r.y; y < r.y + r.h && y < c->h; y++)
        for (int x = r.x; x < r.x + r.w && x < c->w; x++)
            canvas_put(c, x, y, ch, st);
}

void canvas_select(struct canvas *c, struct rect r)
{
    for (int y = r.y; y < r.y + r.h; y++)
        for (int x = r.x; x < r.x + r.w; x++) {
            struct cell *p = cell_at(c, x, y);

            if (p)
                p->selected = true;
        }
}

char canvas_ascii(uint32_t ch)
{
    static const struct {
        uint32_t ch;
        char ascii;
    } map[] = {{CH_ARROW, '>'}, {CH_DOT, '*'},  {CH_RING, 'o'}, {CH_HLINE, '-'},
               {CH_VLINE, '|'}, {CH_MORE, '~'}, {0xb7, '.'},    {0x2190, '<'},
               {0x2191, '^'},   {0x2193, 'v'},  {0x2534, '+'},  {0x252c, '+'},
               {0x251c, '+'},   {0x2524, '+'},  {0x253c, '+'},  {0xb5, 'u'}};

    if (ch >= 0x20 && ch < 0x7f)
        return (char)ch;
    for (size_t i = 0; i < ARRAY_LEN(map); i++)
        if (map[i].ch == ch)
            return map[i].ascii;
    return '?';
}

unsigned canvas_utf8(const char *s, unsigned n, uint32_t *ch)
{
    const unsigned char *p = (const unsigned char *)s;
    unsigned want = p[0] < 0x80 ? 1 : p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : p[0] >= 0xc2 ? 2 : 0;
    uint32_t v;

    *ch = '?';
    if (!want || want > n)
        return 1;
    v = want == 1 ? p[0] : p[0] & (0x7fu >> want);
    for (unsigned i = 1; i < want; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return i;
        v = v << 6 | (p[i] & 0x3f);
    }
    if (is_narrow(v))
        *ch = v;
    return want;
}

int canvas_width(const char *s)
{
    size_t n = strlen(s);
    uint32_t ch;
    int cols = 0;

    while (n) {
        unsigned used = canvas_utf8(s, n > 4 ? 4 : (unsigned)n, &ch);

        s += used;
        n -= used;
        cols++;
    }
    return cols;
}

static void add_utf8(struct buf *out, uint32_t ch)
{
    if (ch < 0x80) {
        buf_addc(out, (char)ch);
    } else if (ch < 0x800) {
        buf_addc(out, (char)(0xc0 | ch >> 6));
        buf_addc(out, (char)(0x80 | (ch & 0x3f)));
    } else {
        buf_addc(out, (char)(0xe0 | (ch >> 12 & 0xf)));
        buf_addc(out, (char)(0x80 | (ch >> 6 & 0x3f)));
        buf_addc(out, (char)(0x80 | (ch & 0x3f)));
    }
}

static char style_letter(const struct cell *p)
{
    char c = theme_letter((enum style)p->style);

    return p->selected ? c == '.' ? '#' : (char)toupper((unsigned char)c) : c;
}

void canvas_dump(const struct canvas *c, bool styles, struct buf *out)
{
    for (int block = 0; block < (styles ? 2 : 1); block++) {
        for (int y = 0; y < c->h; y++) {
            const struct cell *row = &c->cell[(size_t)y * (size_t)c->w];
            int end = c->w;

            while (end > 0 && (block ? style_letter(&row[end - 1]) == '.' : row[end - 1].ch == ' '))
                end--;
            for (int x = 0; x < end; x++) {
                if (block)
                    buf_addc(out, style_letter(&row[x]));
                else
                    add_utf8(out, row[x].ch);
            }
            buf_addc(out, '\n');
        }
        if (styles && !block)
            buf_adds(out, "---- styles\n");
    }
}

struct pen pen_new(struct canvas *c, struct rect r)
{
    return (struct pen){.c = c, .r = r};
}

bool pen_row(struct pen *p, int y)
{
    p->x = 0;
    p->y = y;
    p->full = y < 0 || y >= p->r.h || p->r.w <= 0;
    return !p->full;
}

int pen_left(const struct pen *p)
{
    return p->full ? 0 : p->r.w - p->x;
}

/* Writes up to `limit` columns (relative to the rectangle); marks what was cut. */
static void put_clipped(struct pen *p, enum style st, const char *s, int limit)
{
    size_t n = strlen(s);
    uint32_t ch;

    while (n && !p->full) {
        unsigned used = canvas_utf8(s, n > 4 ? 4 : (unsigned)n, &ch);

        if (p->x >= limit) {
            if (limit > 0)
                canvas_put(p->c, p->r.x + limit - 1, p->r.y + p->y, CH_MORE, ST_DIM);
            p->full = limit >= p->r.w;
            return;
        }
        canvas_put(p->c, p->r.x + p->x++, p->r.y + p->y, ch, st);
        s += used;
        n -= used;
    }
}

void pen_text(struct pen *p, enum style st, const char *text)
{
    put_clipped(p, st, text, p->r.w);
}

void pen_put(struct pen *p, enum style st, const char *fmt, ...)
{
    char text[1024];
    va_list ap;

    va_start(ap, fmt);
    if (vsnprintf(text, sizeof text, fmt, ap) < 0)
        text[0] = '\0';
    va_end(ap);
    pen_text(p, st, text);
}

void pen_cell(struct pen *p, enum style st, int cols, const char *text)
{
    int end = p->x + cols;

    put_clipped(p, st, text, end < p->r.w ? end : p->r.w);
    pen_to(p, end);
}

void pen_to(struct pen *p, int x)
{
    if (x > p->x)
        p->x = x;
    if (p->x > p->r.w)
        p->x = p->r.w;
}
