/*
 * Records told by their differences from the vCPU's last one: a mask of the words that are not as
 * predicted, then those words. In a storm a record of 96 bytes takes a dozen, which is what makes
 * both files and their reading fast. The layout is in docs/trace-format.md.
 */
#include "debug/trace/trace_file.h"

#include <string.h>

#include "vmm/base/le.h"

_Static_assert(PACK_WORDS == 12, "the mask has 12 bits, the vCPU 4");

#define WORD_SEQ   0u
#define WORD_TIMES 2u /* guest_ns and host_ns: two numbers of their own */

static uint64_t zigzag(uint64_t difference)
{
    return difference << 1 ^ (uint64_t)((int64_t)difference >> 63);
}

static uint64_t unzigzag(uint64_t v)
{
    return v >> 1 ^ (uint64_t)(-(int64_t)(v & 1));
}

static uint8_t *put_varint(uint8_t *at, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        *at++ = (uint8_t)(v | 0x80);
    *at++ = (uint8_t)v;
    return at;
}

/* At most ten bytes; NULL when they are no number. The caller has seen that there are as many. */
static inline const uint8_t *get_varint(const uint8_t *at, uint64_t *v)
{
    uint64_t out = *at++;

    if (out < 0x80) {
        *v = out;
        return at;
    }
    out &= 0x7f;
    for (unsigned shift = 7; shift < 64; shift += 7) {
        uint8_t b = *at++;

        out |= (uint64_t)(b & 0x7f) << shift;
        if (b < 0x80) {
            *v = out;
            return at;
        }
    }
    return NULL;
}

static uint64_t predict(const uint64_t last[PACK_WORDS], unsigned word)
{
    return word == WORD_SEQ ? last[word] + 1 : last[word];
}

size_t pack_put(struct pack *p, const struct exit_event *ev, uint8_t *dst)
{
    uint64_t *last = p->last[ev->vcpu & 15], word[PACK_WORDS];
    uint8_t *at = dst + 2;
    unsigned mask = 0;

    memcpy(word, ev, sizeof word);
    for (unsigned i = 0; i < PACK_WORDS; i++) {
        uint64_t want = predict(last, i);

        if (word[i] == want)
            continue;
        mask |= 1u << i;
        if (i == WORD_TIMES) {
            at = put_varint(at, (uint32_t)word[i]);
            at = put_varint(at, word[i] >> 32);
        } else {
            at = put_varint(at, zigzag(word[i] - want));
        }
    }
    memcpy(last, word, sizeof word);
    mask |= (ev->vcpu & 15u) << 12;
    dst[0] = (uint8_t)mask;
    dst[1] = (uint8_t)(mask >> 8);
    return (size_t)(at - dst);
}

/* Reads PACK_BYTES_MAX bytes at most. */
static inline const uint8_t *get_one(struct pack *p, const uint8_t *at, struct exit_event *out)
{
    unsigned mask = at[0] | (unsigned)at[1] << 8;
    uint64_t *last = p->last[mask >> 12], v, w;

    at += 2;
    if (!(mask & 1u << WORD_SEQ))
        last[WORD_SEQ]++;
    for (unsigned rest = mask & 0xfff; rest; rest &= rest - 1) {
        unsigned i = (unsigned)__builtin_ctz(rest);

        at = get_varint(at, &v);
        if (!at)
            return NULL;
        if (i == WORD_TIMES) {
            at = get_varint(at, &w);
            if (!at)
                return NULL;
            last[i] = (uint32_t)v | w << 32;
        } else {
            last[i] = predict(last, i) + unzigzag(v);
        }
    }
    memcpy(out, last, sizeof *out);
    return at;
}

/* The last records of a block, which a wrong one must not read past: from a copy with zeros
 * behind it. */
static size_t get_tail(struct pack *p, const uint8_t **at, const uint8_t *end,
                       struct exit_event *out, size_t max)
{
    uint8_t copy[3 * PACK_BYTES_MAX] = {0};
    size_t len = (size_t)(end - *at), n = 0, used = 0;

    memcpy(copy, *at, len);
    while (n < max && used < len) {
        const uint8_t *next = get_one(p, copy + used, &out[n]);

        if (!next || (size_t)(next - copy) > len)
            break;
        used = (size_t)(next - copy);
        n++;
    }
    *at += used;
    return n;
}

size_t pack_get(struct pack *p, const uint8_t **at, const uint8_t *end, struct exit_event *out,
                size_t max)
{
    size_t n = 0;

    while (n < max && end - *at >= (ptrdiff_t)PACK_BYTES_MAX) {
        const uint8_t *next = get_one(p, *at, &out[n]);

        if (!next)
            return n;
        *at = next;
        n++;
    }
    if (n < max && *at != end && end - *at < (ptrdiff_t)PACK_BYTES_MAX)
        n += get_tail(p, at, end, out + n, max - n);
    return n;
}
