/*
 * SHA-256 of bytes in memory. The constants are computed as the standard defines them: the first
 * 32 bits of the fractional parts of square and cube roots of the first primes.
 */
#include "vmm/base/sha256.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* floor(2^32 * frac(p^(1/n))), n 2 or 3, by bisection in integers. */
static uint32_t root_bits(uint32_t p, unsigned n)
{
    /* x = p^(1/n) * 2^32 lies below 2^37 for p < 312. */
    uint64_t low = 0, high = 1ull << 37;

    while (high - low > 1) {
        uint64_t x = low + (high - low) / 2;
        /* Compares x^n with p * 2^(32 n), without the bits that do not fit. */
        unsigned __int128 square = (unsigned __int128)x * x;
        bool above;

        if (n == 2) {
            above = square > (unsigned __int128)p << 64;
        } else {
            unsigned __int128 want = (unsigned __int128)p << 96;

            above = square > want / x;
        }
        if (above)
            high = x;
        else
            low = x;
    }
    return (uint32_t)low;
}

static bool is_prime(unsigned n)
{
    for (unsigned d = 2; d * d <= n; d++)
        if (n % d == 0)
            return false;
    return n > 1;
}

struct sha {
    uint32_t k[64], h[8];
};

static void begin(struct sha *s)
{
    unsigned n = 0;

    for (unsigned p = 2; n < 64; p++) {
        if (!is_prime(p))
            continue;
        s->k[n] = root_bits(p, 3);
        if (n < 8)
            s->h[n] = root_bits(p, 2);
        n++;
    }
}

static uint32_t turn(uint32_t x, unsigned n)
{
    return x >> n | x << (32 - n);
}

static void block(struct sha *s, const uint8_t *b)
{
    uint32_t w[64], v[8];

    for (unsigned i = 0; i < 16; i++)
        w[i] = (uint32_t)b[4 * i] << 24 | (uint32_t)b[4 * i + 1] << 16 |
               (uint32_t)b[4 * i + 2] << 8 | b[4 * i + 3];
    for (unsigned i = 16; i < 64; i++)
        w[i] = w[i - 16] + w[i - 7] + (turn(w[i - 15], 7) ^ turn(w[i - 15], 18) ^ w[i - 15] >> 3) +
               (turn(w[i - 2], 17) ^ turn(w[i - 2], 19) ^ w[i - 2] >> 10);
    memcpy(v, s->h, sizeof v);
    for (unsigned i = 0; i < 64; i++) {
        uint32_t one = v[7] + (turn(v[4], 6) ^ turn(v[4], 11) ^ turn(v[4], 25)) +
                       ((v[4] & v[5]) ^ (~v[4] & v[6])) + s->k[i] + w[i];
        uint32_t two = (turn(v[0], 2) ^ turn(v[0], 13) ^ turn(v[0], 22)) +
                       ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));

        memmove(v + 1, v, 7 * sizeof v[0]);
        v[4] += one;
        v[0] = one + two;
    }
    for (unsigned i = 0; i < 8; i++)
        s->h[i] += v[i];
}

void sha256_hex(const void *bytes, size_t len, char out[65])
{
    const uint8_t *p = bytes;
    uint8_t tail[128] = {0};
    size_t left = len % 64, end = left < 56 ? 64 : 128;
    struct sha s;

    begin(&s);
    for (size_t i = 0; i + 64 <= len; i += 64)
        block(&s, p + i);
    if (left)
        memcpy(tail, p + len - left, left);
    tail[left] = 0x80;
    for (unsigned i = 0; i < 8; i++)
        tail[end - 1 - i] = (uint8_t)((uint64_t)len * 8 >> 8 * i);
    block(&s, tail);
    if (end == 128)
        block(&s, tail + 64);
    for (unsigned i = 0; i < 8; i++)
        snprintf(out + 8 * i, 9, "%08x", (unsigned)s.h[i]);
}
