/*
 * Text out and in: printk, the queue of typed characters, two helpers for strings.
 */
#include "guests/tinyos/tinyos.h"

#include <stdarg.h>

#define TYPED_MAX 64 /* a power of two */

static volatile unsigned typed_head, typed_tail;
static char typed[TYPED_MAX];

void console_write(const char *bytes, size_t len)
{
    serial_write(bytes, len);
    vga_write(bytes, len);
}

static size_t str_len(const char *s)
{
    size_t n = 0;
    while (s[n])
        n++;
    return n;
}

static void padded(const char *s, unsigned width, bool left)
{
    size_t len = str_len(s);
    if (left)
        console_write(s, len);
    for (size_t i = len; i < width; i++)
        console_write(" ", 1);
    if (!left)
        console_write(s, len);
}

/* Digits of `v`, right-aligned in `out`; returns where they begin. */
static char *digits(uint64_t v, unsigned base, unsigned least, char out[24])
{
    char *p = out + 23;
    *p = 0;
    for (unsigned n = 0; v || n < least; n++) {
        *--p = "0123456789abcdef"[v % base];
        v /= base;
    }
    if (base == 16) {
        *--p = 'x';
        *--p = '0';
    }
    return p;
}

void printk(const char *fmt, ...)
{
    char number[24];
    va_list ap;
    va_start(ap, fmt);
    while (*fmt) {
        size_t plain = 0;
        while (fmt[plain] && fmt[plain] != '%')
            plain++;
        console_write(fmt, plain);
        fmt += plain;
        if (!*fmt++)
            break;
        bool left = *fmt == '-';
        fmt += left;
        unsigned width = 0;
        for (; *fmt >= '0' && *fmt <= '9'; fmt++)
            width = width * 10 + (unsigned)(*fmt - '0');
        switch (*fmt++) {
        case 's':
            padded(va_arg(ap, const char *), width, left);
            break;
        case 'd':
            padded(digits(va_arg(ap, uint64_t), 10, 1, number), width, left);
            break;
        case 'x':
            padded(digits(va_arg(ap, uint64_t), 16, 1, number), width, left);
            break;
        case 'p':
            padded(digits(va_arg(ap, uint64_t), 16, 16, number), width, left);
            break;
        case 'c':
            number[0] = (char)va_arg(ap, int);
            console_write(number, 1);
            break;
        case '%':
            console_write("%", 1);
            break;
        default: /* a mistake in the caller: stop before its arguments are misread */
            va_end(ap);
            return;
        }
    }
    va_end(ap);
}

void console_typed(char c)
{
    if (typed_head - typed_tail < TYPED_MAX)
        typed[typed_head++ % TYPED_MAX] = c;
}

int console_poll(void)
{
    if (typed_head == typed_tail) /* a loop around this leaves interrupts on */
        return -1;
    uint64_t flags = irq_save();
    int c = -1;
    if (typed_head != typed_tail)
        c = (unsigned char)typed[typed_tail++ % TYPED_MAX];
    irq_restore(flags);
    return c;
}

char console_getc(void)
{
    uint64_t flags = irq_save();
    while (typed_head == typed_tail)
        cpu_wait();
    char c = typed[typed_tail++ % TYPED_MAX];
    irq_restore(flags);
    return c;
}

bool str_equal(const char *a, const char *b)
{
    while (*a && *a == *b) {
        a++;
        b++;
    }
    return *a == *b;
}

bool str_number(const char *s, uint64_t *out)
{
    unsigned base = 10;
    if (s[0] == '0' && s[1] == 'x') {
        base = 16;
        s += 2;
    }
    uint64_t v = 0;
    do {
        unsigned d;
        if (*s >= '0' && *s <= '9')
            d = (unsigned)(*s - '0');
        else if (base == 16 && *s >= 'a' && *s <= 'f')
            d = (unsigned)(*s - 'a') + 10;
        else
            return false;
        v = v * base + d;
    } while (*++s);
    *out = v;
    return true;
}
