/*
 * Bounded little-endian reads, used by every parser of files, packets and guest tables.
 */
#ifndef VMM_BASE_LE_H
#define VMM_BASE_LE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct bytes {
    const uint8_t *p;
    size_t n;
};

static inline bool le_has(struct bytes b, uint64_t off, uint64_t len)
{
    return off <= b.n && len <= b.n - off;
}

/* The part [off, off+len) clipped to what there is. */
static inline struct bytes le_sub(struct bytes b, uint64_t off, uint64_t len)
{
    if (off > b.n)
        off = b.n;
    if (len > b.n - off)
        len = b.n - off;
    return (struct bytes){b.p + off, (size_t)len};
}

static inline uint64_t le_load(const uint8_t *p, unsigned size_bytes)
{
    uint64_t v = 0;

    for (unsigned i = size_bytes; i-- > 0;)
        v = v << 8 | p[i];
    return v;
}

static inline void le_store(uint8_t *p, unsigned size_bytes, uint64_t v)
{
    for (unsigned i = 0; i < size_bytes; i++, v >>= 8)
        p[i] = (uint8_t)v;
}

/* A value of 1 to 8 bytes at `off`; false (and *out = 0) when it is not all there. */
static inline bool le_get(struct bytes b, uint64_t off, unsigned size_bytes, uint64_t *out)
{
    *out = 0;
    if (!le_has(b, off, size_bytes))
        return false;
    *out = le_load(b.p + off, size_bytes);
    return true;
}

/* The value at `off`, or 0 when it is not all there: for optional fields after a size check. */
static inline uint64_t le_at(struct bytes b, uint64_t off, unsigned size_bytes)
{
    uint64_t v;

    le_get(b, off, size_bytes, &v);
    return v;
}

#endif
