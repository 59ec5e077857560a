/*
 * What all devices share: their state as text, from the field table. Called with the machine lock
 * by `info device`, panels and reports.
 */
#include "vmm/dev.h"

#include <inttypes.h>
#include <string.h>

#include "vmm/machine.h"

/* Element `i` of a field; 0 past its end. */
static uint64_t field_get(const struct dev *d, const struct field *f, unsigned i)
{
    const uint8_t *p = (const uint8_t *)d->state + f->offset + (size_t)i * f->size;
    uint64_t v = 0;

    if (i < f->count && f->size <= sizeof v)
        memcpy(&v, p, f->size); /* the host is little-endian, as x86 is */
    return v;
}

static void add_bits(const struct field *f, uint64_t v, struct buf *out)
{
    const char *sep = " [";

    for (unsigned i = 0; i < 64 && f->bits[i]; i++) {
        if (!(v >> i & 1) || !f->bits[i][0])
            continue;
        buf_addf(out, "%s%s", sep, f->bits[i]);
        sep = " ";
    }
    if (sep[1] == 0)
        buf_addc(out, ']');
}

static void add_scalar(const struct dev *d, const struct field *f, struct buf *out)
{
    uint64_t v = field_get(d, f, 0);

    if (f->size == 8 && v == UINT64_MAX)
        buf_adds(out, "none");
    else if (f->size == 8)
        buf_addf(out, "%" PRIu64, v);
    else
        buf_addf(out, "0x%0*" PRIx64, f->size * 2, v);
    if (f->size > 1 && f->size < 8 && v > 9 && v < 1000000000)
        buf_addf(out, " (%" PRIu64 ")", v);
    if (f->bits)
        add_bits(f, v, out);
}

static bool row_is_zero(const struct dev *d, const struct field *f, unsigned first, unsigned n)
{
    for (unsigned i = first; i < first + n; i++)
        if (field_get(d, f, i))
            return false;
    return true;
}

static void add_row(const struct dev *d, const struct field *f, unsigned first, unsigned n,
                    struct buf *out)
{
    for (unsigned i = first; i < first + n; i++)
        buf_addf(out, "%0*" PRIx64 "%s", f->size * 2, field_get(d, f, i),
                 i + 1 < first + n ? " " : "");
}

/* Up to 8 bytes stand on the line of the name; more follow in rows of 16 bytes, of which those of
 * zeros are left out after the first. */
static void add_array(const struct dev *d, const struct field *f, struct buf *out)
{
    unsigned per_row = f->size ? 16u / f->size : 16;

    if (f->count * f->size <= 8) {
        add_row(d, f, 0, f->count, out);
        return;
    }
    buf_addf(out, "%s\n", f->help);
    for (unsigned i = 0; i < f->count; i += per_row) {
        unsigned n = f->count - i < per_row ? f->count - i : per_row;

        if (i && row_is_zero(d, f, i, n))
            continue;
        buf_addf(out, "  +%02x  ", i * f->size);
        add_row(d, f, i, n, out);
        buf_addc(out, '\n');
    }
}

void dev_describe(const struct dev *d, struct buf *out)
{
    if (d->ops->describe)
        d->ops->describe(d, out);
    for (const struct field *f = d->ops->fields; f->name; f++) {
        if (f->min_cpus > d->m->cpus)
            continue;
        buf_addf(out, "%-20s  ", f->name);
        if (f->count > 1)
            add_array(d, f, out);
        else
            add_scalar(d, f, out);
        if (f->count * f->size > 8)
            continue; /* its help stands above its rows */
        buf_adds(out, "  ");
        buf_pad(out, 48);
        buf_addf(out, "%s\n", f->help);
    }
}
