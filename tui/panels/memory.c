/*
 * The memory panel: hex and ASCII, linear or physical; changed bytes are marked.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "tui/panel.h"

static void draw_row(struct pen *p, const struct view *v, unsigned off, int digits, bool focus)
{
    const struct view_memory *m = &v->memory;
    uint64_t addr = m->base + off;
    unsigned n = m->per_row;
    int hex_x;

    pen_put(p, v->stale ? ST_DIM : ST_ADDR, "%0*" PRIx64 " ", digits,
            digits == 8 ? addr & UINT32_MAX : addr);
    hex_x = p->x;
    for (unsigned i = off; i < off + n && i < m->len; i++) {
        enum style st = v->stale || !m->ok[i] ? ST_DIM : m->changed[i] ? ST_CHANGED : ST_NUMBER;

        if (m->ok[i])
            pen_put(p, st, "%02x", m->byte[i]);
        else
            pen_put(p, st, "??");
        if (focus && m->base + i == m->cursor)
            canvas_select(p->c, (struct rect){p->r.x + p->x - 2, p->r.y + p->y, 2, 1});
        pen_to(p, p->x + 1);
    }
    pen_to(p, hex_x + 3 * (int)n);
    for (unsigned i = off; i < off + n && i < m->len; i++) {
        bool print = m->ok[i] && m->byte[i] >= 0x20 && m->byte[i] < 0x7f;
        enum style st = v->stale ? ST_DIM : m->changed[i] ? ST_CHANGED : print ? ST_ASCII : ST_DIM;

        pen_put(p, st, "%c", print ? m->byte[i] : m->ok[i] ? '.' : ' ');
    }
}

static void draw(const struct view *v, struct canvas *c, struct rect r, bool focus)
{
    const struct view_memory *m = &v->memory;
    struct pen p = pen_new(c, r);
    int digits = panel_digits(m->base + m->len);

    if (!m->len || !m->per_row) {
        panel_hint(c, r, "Memory shows when the guest stops (c); g goes to an expression.");
        return;
    }
    if (r.w < digits + 1 + 4 * (int)m->per_row)
        digits = 8;
    for (unsigned i = 0; i * m->per_row < m->len && pen_row(&p, (int)i); i++)
        draw_row(&p, v, i * m->per_row, digits, focus);
}

/* Keeps the cursor on screen by moving whole rows. */
static void show_cursor(struct view *v)
{
    struct view_memory *m = &v->memory;
    uint64_t n = m->per_row ? m->per_row : 8;
    uint64_t room = n * (uint64_t)(v->rows[PANEL_MEMORY] > 0 ? v->rows[PANEL_MEMORY] : 1);
    uint64_t above = m->base - m->cursor;

    if (above - 1 < UINT64_MAX / 2) /* the cursor is before the base, modulo 2^64 */
        m->base -= n * (1 + (above - 1) / n);
    if (m->cursor - m->base >= room)
        m->base += n * (1 + (m->cursor - m->base - room) / n);
}

static bool pointer_at(const struct view_memory *m, uint64_t *value)
{
    uint64_t off = m->cursor - m->base;

    *value = 0;
    if (off >= m->len || m->len - off < 8)
        return false;
    for (unsigned i = 8; i-- > 0;) {
        if (!m->ok[off + i])
            return false;
        *value = *value << 8 | m->byte[off + i];
    }
    return true;
}

static unsigned key(struct view *v, int key, struct panel_ask *ask)
{
    struct view_memory *m = &v->memory;
    uint64_t row = m->per_row ? m->per_row : 8, value;
    uint64_t page = row * (uint64_t)(v->rows[PANEL_MEMORY] > 1 ? v->rows[PANEL_MEMORY] - 1 : 1);

    switch (key) {
    case K_UP:
        m->cursor -= row;
        break;
    case K_DOWN:
        m->cursor += row;
        break;
    case K_LEFT:
        m->cursor--;
        break;
    case K_RIGHT:
        m->cursor++;
        break;
    case K_PGUP:
        m->cursor -= page;
        m->base -= page;
        break;
    case K_PGDN:
        m->cursor += page;
        m->base += page;
        break;
    case K_WHEEL_UP:
        m->cursor -= 3 * row;
        m->base -= 3 * row;
        break;
    case K_WHEEL_DOWN:
        m->cursor += 3 * row;
        m->base += 3 * row;
        break;
    case 'p':
        m->space = m->space == SPACE_PHYS ? SPACE_LINEAR : SPACE_PHYS;
        break;
    case K_ENTER:
        if (pointer_at(m, &value)) {
            ask->to_memory = true;
            ask->addr = value;
            ask->space = m->space;
        }
        return PANEL_HANDLED;
    default:
        return PANEL_IGNORED;
    }
    m->placed = true;
    show_cursor(v);
    return PANEL_HANDLED | PANEL_REFILL;
}

static void subtitle(const struct view *v, char *dst, size_t cap)
{
    const struct view_memory *m = &v->memory;

    if (!m->len)
        dst[0] = '\0';
    else
        snprintf(dst, cap, "%s0x%" PRIx64 "%s%s", m->space == SPACE_PHYS ? "physical " : "",
                 m->base, m->where[0] ? " " : "", m->where);
}

static void describe(const struct view *v, struct buf *out)
{
    const struct view_memory *m = &v->memory;
    uint64_t off = m->cursor - m->base, value;

    if (off >= m->len)
        return;
    if (!m->ok[off]) {
        buf_addf(out, "0x%" PRIx64 ": nothing is mapped there", m->cursor);
        return;
    }
    buf_addf(out, "0x%" PRIx64 ": 0x%02x = %u", m->cursor, m->byte[off], m->byte[off]);
    if (pointer_at(m, &value))
        buf_addf(out, ", u16 0x%04x, u32 0x%08x, u64 0x%016" PRIx64 "  (Enter follows it)",
                 (unsigned)(value & 0xffff), (unsigned)(value & UINT32_MAX), value);
}

const struct panel panel_memory = {
    .id = PANEL_MEMORY,
    .name = "memory",
    .title = "Memory",
    .help = "bytes of guest memory; marked ones changed since the last stop",
    .keys = "arrows move the byte cursor, p linear/physical, Enter follows the pointer, g goes to",
    .draw = draw,
    .key = key,
    .subtitle = subtitle,
    .describe = describe,
};
