/*
 * Growable bytes. One thread a buffer.
 */
#include "vmm/base/buf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/x.h"

static void reserve(struct buf *b, size_t extra)
{
    size_t need = b->len + extra + 1;

    BUG_ON(need <= extra);
    if (need <= b->cap)
        return;
    b->cap = need < 2 * b->cap ? 2 * b->cap : need < 64 ? 64 : need;
    b->data = xrealloc(b->data, b->cap, 1);
}

void buf_add(struct buf *b, const void *bytes, size_t len)
{
    reserve(b, len);
    if (len)
        memcpy(b->data + b->len, bytes, len);
    b->len += len;
    b->data[b->len] = 0;
}

void buf_addc(struct buf *b, char c)
{
    buf_add(b, &c, 1);
}

void buf_adds(struct buf *b, const char *s)
{
    buf_add(b, s, strlen(s));
}

void buf_vaddf(struct buf *b, const char *fmt, va_list ap)
{
    va_list again;
    int n;

    reserve(b, 127);
    va_copy(again, ap);
    n = vsnprintf(b->data + b->len, b->cap - b->len, fmt, ap);
    BUG_ON(n < 0);
    if ((size_t)n >= b->cap - b->len) {
        reserve(b, (size_t)n);
        vsnprintf(b->data + b->len, b->cap - b->len, fmt, again);
    }
    va_end(again);
    b->len += (size_t)n;
}

void buf_addf(struct buf *b, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    buf_vaddf(b, fmt, ap);
    va_end(ap);
}

void buf_pad(struct buf *b, size_t column)
{
    size_t start = b->len;

    while (start && b->data[start - 1] != '\n')
        start--;
    while (b->len - start < column)
        buf_addc(b, ' ');
}

void buf_eat(struct buf *b, size_t len)
{
    if (len > b->len)
        len = b->len;
    if (!len)
        return;
    memmove(b->data, b->data + len, b->len - len + 1);
    b->len -= len;
}

bool buf_read_line(struct buf *b, FILE *f, size_t max)
{
    int c = 0;

    buf_clear(b);
    while (b->len < max && c != '\n' && (c = getc(f)) != EOF)
        buf_addc(b, c ? (char)c : 1);
    return b->len && !ferror(f);
}

void buf_clear(struct buf *b)
{
    b->len = 0;
    if (b->data)
        b->data[0] = 0;
}

const char *buf_str(const struct buf *b)
{
    return b->data ? b->data : "";
}

char *buf_take(struct buf *b)
{
    char *s;

    reserve(b, 0);
    b->data[b->len] = 0;
    s = b->data;
    *b = (struct buf){0};
    return s;
}

void buf_fini(struct buf *b)
{
    free(b->data);
    *b = (struct buf){0};
}
