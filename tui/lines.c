/*
 * A ring of lines and how it is drawn, wrapped and from the bottom up. See lines.h.
 */
#include "tui/lines.h"

#include <stdlib.h>
#include <string.h>

#include "vmm/base/x.h"

void lines_init(struct lines *l, unsigned cap)
{
    *l = (struct lines){.line = xcalloc(cap, sizeof *l->line), .cap = cap};
}

void lines_fini(struct lines *l)
{
    for (unsigned i = 0; i < l->cap; i++)
        free(l->line[i].text);
    free(l->line);
    *l = (struct lines){0};
}

void lines_add(struct lines *l, const char *text, uint8_t kind)
{
    unsigned at = (l->first + l->count) % l->cap;

    if (l->count == l->cap)
        l->first = (l->first + 1) % l->cap;
    else
        l->count++;
    free(l->line[at].text);
    l->line[at] = (struct line){xstrdup(text), kind};
}

const struct line *lines_at(const struct lines *l, unsigned i)
{
    return &l->line[(l->first + i) % l->cap];
}

static unsigned rows_of(const char *text, int w)
{
    int n = canvas_width(text);

    return n == 0 || w <= 0 ? 1 : (unsigned)((n + w - 1) / w);
}

unsigned lines_rows(const struct lines *l, unsigned n, int w)
{
    unsigned rows = 0;

    for (unsigned i = l->count > n ? l->count - n : 0; i < l->count; i++)
        rows += rows_of(lines_at(l, i)->text, w);
    return rows;
}

/* Draws row `part` of a wrapped line at row y of the rectangle. */
static void draw_part(struct canvas *c, struct rect r, int y, const char *text, unsigned part,
                      enum style st)
{
    size_t n = strlen(text);
    uint64_t skip = (uint64_t)part * (uint64_t)r.w;
    uint32_t ch;

    for (int x = 0; n && x < r.w;) {
        unsigned used = canvas_utf8(text, n > 4 ? 4 : (unsigned)n, &ch);

        text += used;
        n -= used;
        if (skip)
            skip--;
        else
            canvas_put(c, r.x + x++, r.y + y, ch, st);
    }
}

void lines_draw(const struct lines *l, const char *open, struct canvas *c, struct rect r,
                unsigned scroll, const enum style *styles)
{
    int y = r.h - 1 + (int)scroll;
    enum style st = ST_NORMAL;

    if (r.w <= 0)
        return;
    for (unsigned i = open ? 0 : 1; i <= l->count && y >= 0; i++) {
        const struct line *line = i ? lines_at(l, l->count - i) : NULL;
        const char *text = line ? line->text : open;

        if (line)
            st = styles[line->kind];
        for (unsigned k = rows_of(text, r.w); k-- > 0; y--)
            if (y >= 0 && y < r.h)
                draw_part(c, r, y, text, k, st);
    }
}
