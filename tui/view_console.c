/*
 * The guest's console as lines of safe text. Colour sequences and the like are swallowed, for they
 * change only the look; every other escape shows as \x1b and reaches no terminal.
 */
#include <stdio.h>
#include <string.h>

#include "tui/view.h"
#include "vmm/base/esc.h"

#define OPEN_MAX 4096 /* a longer line is broken here */

static void close_line(struct view_console *con)
{
    lines_add(&con->lines, buf_str(&con->open), (uint8_t)con->open_chan);
    buf_clear(&con->open);
    if (con->scroll && con->scroll < con->lines.count)
        con->scroll++; /* what the user looks at stays where it is */
}

static void add_bytes(struct view_console *con, const char *bytes, size_t len)
{
    esc_console(&con->open, bytes, len);
    if (con->open.len >= OPEN_MAX)
        close_line(con);
}

/* True while `c` belongs to a terminal sequence ESC [ digits ; … letter that starts in con->esc.
 * One that only sets colours or clears is dropped, any other is shown escaped. */
static bool eat_escape(struct view_console *con, char c)
{
    if (!con->esc && c != 0x1b)
        return false;
    con->esc_bytes[con->esc++] = c;
    if (con->esc == 1 || (con->esc == 2 && c == '['))
        return true;
    if (con->esc > 2 && (c == 'm' || c == 'K')) {
        con->esc = 0;
        return true;
    }
    if (con->esc > 2 && con->esc < sizeof con->esc_bytes && ((c >= '0' && c <= '9') || c == ';'))
        return true;
    add_bytes(con, con->esc_bytes, con->esc);
    con->esc = 0;
    return true;
}

/* Removes the last character shown, for a backspace. */
static void rub_out(struct buf *b)
{
    size_t n = b->len;

    while (n && ((unsigned char)b->data[n - 1] & 0xc0) == 0x80)
        n--;
    if (!n)
        return;
    b->len = n - 1;
    b->data[b->len] = '\0';
}

/* The start of a multi-byte character must reach esc_console with its rest. */
static size_t run_of_text(const char *s, size_t n)
{
    size_t i = 0;

    while (i < n && s[i] != '\n' && s[i] != '\r' && s[i] != '\b' && s[i] != 0x1b && s[i] != '\t')
        i++;
    return i;
}

static void add_one(struct view_console *con, char c)
{
    if (c == '\n') {
        close_line(con);
    } else if (c == '\b') {
        rub_out(&con->open);
    } else if (c == '\t') {
        buf_pad(&con->open, (con->open.len | 7) + 1);
    }
}

void view_console_add(struct view *v, enum console_chan chan, const void *bytes, size_t len)
{
    struct view_console *con = &v->console;
    const char *s = bytes;

    con->bytes += len;
    if (chan != con->open_chan && con->open.len)
        close_line(con);
    con->open_chan = chan;
    while (len) {
        size_t n;

        if (con->cr && *s != '\n' && *s != '\r') /* a bare return overwrites the line */
            buf_clear(&con->open);
        con->cr = *s == '\r';
        if (con->esc || *s == 0x1b) {
            eat_escape(con, *s);
            n = 1;
        } else if ((n = run_of_text(s, len)) != 0) {
            n = n > 1024 ? 1024 : n;
            add_bytes(con, s, n);
        } else {
            add_one(con, *s);
            n = 1;
        }
        s += n;
        len -= n;
    }
}
