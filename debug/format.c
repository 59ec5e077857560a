/*
 * gdb's output formats (GDB manual, "Output Formats" and "Examining Memory"). Any thread.
 */
#include "debug/format.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static int letter(struct format *f, char c, struct err *e)
{
    static const char sizes[] = "b\1h\2w\4g\10";

    if (c == 'r') {
        f->raw = true;
        return 0;
    }
    for (const char *s = sizes; *s; s += 2) {
        if (c == *s) {
            f->size = (uint8_t)s[1];
            return 0;
        }
    }
    if (!strchr("xduotacfsiz", c))
        return err_set(e, EINVAL,
                       "there is no format letter `%c`: formats are x d u o t a c f s i z, units "
                       "b h w g (1, 2, 4, 8 bytes), r adds raw bytes",
                       isprint((unsigned char)c) ? c : '?');
    f->letter = c;
    return 0;
}

int format_parse(const char **text, struct format *out, struct err *e)
{
    const char *p = *text;

    *out = (struct format){0};
    while (*p == ' ' || *p == '\t')
        p++;
    if (*p != '/') {
        *text = p;
        return 0;
    }
    p++;
    if (isdigit((unsigned char)*p)) {
        unsigned n = 0;

        for (; isdigit((unsigned char)*p); p++) {
            n = n * 10 + (unsigned)(*p - '0');
            if (n > FORMAT_COUNT_MAX)
                return err_set(e, EINVAL, "the count after `/` is too large: at most %u",
                               FORMAT_COUNT_MAX);
        }
        if (!n)
            return err_set(e, EINVAL, "the count after `/` is 0: nothing to show");
        out->count = n;
    }
    for (; *p && !isspace((unsigned char)*p) && isalpha((unsigned char)*p); p++) {
        int r = letter(out, *p, e);

        if (r)
            return r;
    }
    while (*p == ' ' || *p == '\t')
        p++;
    *text = p;
    return 0;
}

const char *format_text(const struct format *f, char dst[32])
{
    struct buf b = {0};

    if (f->count)
        buf_addf(&b, "%u", f->count);
    if (f->letter)
        buf_addc(&b, f->letter);
    if (f->size)
        buf_addc(&b, f->size == 1 ? 'b' : f->size == 2 ? 'h' : f->size == 4 ? 'w' : 'g');
    if (f->raw)
        buf_addc(&b, 'r');
    snprintf(dst, 32, "%s%s", b.len ? "/" : "", buf_str(&b));
    buf_fini(&b);
    return dst;
}

/* Sign-extends the low `size` bytes. */
static int64_t format_signed(uint64_t v, unsigned size)
{
    unsigned unused = 64 - 8 * size;

    return (int64_t)(v << unused) >> unused;
}

static void binary(struct buf *out, uint64_t v, unsigned size, bool padded)
{
    unsigned bits = 8 * size;

    while (!padded && bits > 1 && !(v >> (bits - 1) & 1))
        bits--;
    while (bits-- > 0)
        buf_addc(out, v >> bits & 1 ? '1' : '0');
}

static void character(struct buf *out, uint64_t v)
{
    static const char named[] = "\a\b\t\n\v\f\r\033\\'";
    static const char letters[] = "abtnvfre\\'";
    unsigned char c = (unsigned char)v;
    const char *at = c ? strchr(named, c) : NULL;

    buf_addf(out, "%d '", (signed char)c);
    if (at)
        buf_addf(out, "\\%c", letters[at - named]);
    else if (isprint(c))
        buf_addc(out, (char)c);
    else
        buf_addf(out, "\\%03o", c);
    buf_addc(out, '\'');
}

static void real(struct buf *out, uint64_t v, unsigned size)
{
    if (size == 4) {
        uint32_t low = (uint32_t)v;
        float f;

        memcpy(&f, &low, sizeof f);
        buf_addf(out, "%.9g", (double)f);
    } else if (size == 8) {
        double d;

        memcpy(&d, &v, sizeof d);
        buf_addf(out, "%.17g", d);
    } else {
        buf_addf(out, "%" PRId64, format_signed(v, size));
    }
}

void format_value(struct buf *out, uint64_t v, unsigned size, char letter, bool padded)
{
    if (size < 8)
        v &= (1ull << 8 * size) - 1;
    switch (letter) {
    case 'd':
        buf_addf(out, "%" PRId64, format_signed(v, size));
        break;
    case 'u':
        buf_addf(out, "%" PRIu64, v);
        break;
    case 'o':
        if (padded)
            buf_addf(out, "0%0*" PRIo64, (int)(8 * size + 2) / 3, v);
        else
            buf_addf(out, v ? "0%" PRIo64 : "%" PRIo64, v);
        break;
    case 't':
        binary(out, v, size, padded);
        break;
    case 'c':
        character(out, v);
        break;
    case 'f':
        real(out, v, size);
        break;
    case 'z':
        buf_addf(out, "0x%0*" PRIx64, (int)(2 * size), v);
        break;
    case 'a':
        buf_addf(out, "0x%" PRIx64, v);
        break;
    default:
        buf_addf(out, "0x%0*" PRIx64, padded ? (int)(2 * size) : 1, v);
    }
}

unsigned format_per_line(char letter, unsigned size)
{
    if (letter == 's' || letter == 'i')
        return 1;
    if (letter == 'a' && size == 8)
        return 2;
    if (letter == 't')
        return size == 1 ? 8 : size == 2 ? 8 : size == 4 ? 2 : 1;
    if (letter == 'c')
        return 8;
    return size == 8 ? 2 : size == 4 ? 4 : 8;
}
