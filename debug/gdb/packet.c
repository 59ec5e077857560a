/*
 * Framing of the remote serial protocol. Pure: bytes in, packets out.
 */
#include "debug/gdb/packet.h"

#include <emmintrin.h>
#include <string.h>

/* ---- receiving -------------------------------------------------------------------------- */

static void begin(struct packet_in *in)
{
    buf_clear(&in->body);
    in->sum = 0;
    in->too_long = false;
    in->state = IN_BODY;
}

static void keep(struct packet_in *in, const char *bytes, size_t len)
{
    if (in->body.len + len > PACKET_MAX) {
        in->too_long = true; /* goes on to the checksum, so that we stay in step */
        return;
    }
    buf_add(&in->body, bytes, len);
}

static enum packet_event idle_byte(struct packet_in *in, uint8_t c)
{
    switch (c) {
    case '$':
        begin(in);
        return PACKET_NONE;
    case '+':
        return PACKET_ACK;
    case '-':
        return PACKET_NACK;
    case 3:
        return PACKET_INTERRUPT;
    default:
        return PACKET_NONE; /* noise between packets */
    }
}

/* Ordinary bytes up to the next special one, at once: memory writes are long. */
static size_t body_run(struct packet_in *in, const char *p, size_t len)
{
    size_t n = 0;
    uint8_t sum = in->sum;

    while (n < len && p[n] != '#' && p[n] != '}' && p[n] != '$')
        sum = (uint8_t)(sum + (uint8_t)p[n++]);
    in->sum = sum;
    if (n)
        keep(in, p, n);
    return n;
}

static void body_special(struct packet_in *in, char c)
{
    if (c == '$') { /* the rest of the former packet was lost: a new one starts */
        begin(in);
    } else if (c == '#') {
        in->state = IN_SUM1;
    } else {
        in->sum = (uint8_t)(in->sum + '}');
        in->state = IN_ESCAPE;
    }
}

static enum packet_event sum_byte(struct packet_in *in, uint8_t c)
{
    int d = hex_digit(c);

    if (d < 0)
        d = 0x100; /* no checksum is like that */
    if (in->state == IN_SUM1) {
        in->want = (uint8_t)(d << 4);
        in->too_long |= d > 15;
        in->state = IN_SUM2;
        return PACKET_NONE;
    }
    in->state = IN_IDLE;
    if (in->too_long || d > 15 || (in->want | d) != in->sum)
        return PACKET_BAD;
    return PACKET_READY;
}

enum packet_event packet_feed(struct packet_in *in, const void *bytes, size_t len, size_t *used)
{
    const char *p = bytes;
    enum packet_event ev = PACKET_NONE;
    size_t i = 0;

    while (i < len && ev == PACKET_NONE) {
        char c = p[i], plain;

        switch (in->state) {
        case IN_IDLE:
            ev = idle_byte(in, (uint8_t)c);
            i++;
            break;
        case IN_BODY:
            i += body_run(in, p + i, len - i);
            if (i < len)
                body_special(in, p[i++]);
            break;
        case IN_ESCAPE:
            in->sum = (uint8_t)(in->sum + (uint8_t)c);
            plain = (char)(c ^ 0x20);
            keep(in, &plain, 1);
            in->state = IN_BODY;
            i++;
            break;
        case IN_SUM1:
        case IN_SUM2:
            ev = sum_byte(in, (uint8_t)c);
            i++;
            break;
        }
    }
    *used = i;
    return ev;
}

void packet_in_fini(struct packet_in *in)
{
    buf_fini(&in->body);
}

/* ---- sending ------------------------------------------------------------------------------ */

/* A repeat count n is sent as the character n + 29, printable and neither '#', '$', '+' nor '-':
 * at most 97 copies of the byte before it. Counts that look like an escape or another run are
 * avoided, too: not every client reads them. */
#define RLE_MAX 97
#define RLE_MIN 3

static const bool is_special[256] = {['#'] = true, ['$'] = true, ['}'] = true, ['*'] = true};

/* `n` (0 and up) further copies of a byte that is already out. */
static void add_repeats(struct buf *out, char c, size_t n)
{
    while (n) {
        size_t now = n > RLE_MAX ? RLE_MAX : n;

        while (now >= RLE_MIN && strchr("#$+-*}", (int)(now + 29)))
            now--;
        if (now >= RLE_MIN) {
            char rle[2] = {'*', (char)(now + 29)};

            buf_add(out, rle, 2);
        } else {
            now = 1;
            buf_addc(out, c);
        }
        n -= now;
    }
}

#define WINDOW 14 /* starts of runs that 16 comparisons of neighbours decide */

/* Bit i: p[i] is special, or p[i] to p[i + 3] are equal. Reads 17 bytes. */
static unsigned stops_in_window(const uint8_t *p)
{
    __m128i a = _mm_loadu_si128((const __m128i *)(const void *)p);
    __m128i b = _mm_loadu_si128((const __m128i *)(const void *)(p + 1));
    unsigned same = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(a, b));
    __m128i special = _mm_or_si128(
        _mm_or_si128(_mm_cmpeq_epi8(a, _mm_set1_epi8('#')), _mm_cmpeq_epi8(a, _mm_set1_epi8('$'))),
        _mm_or_si128(_mm_cmpeq_epi8(a, _mm_set1_epi8('}')), _mm_cmpeq_epi8(a, _mm_set1_epi8('*'))));

    return ((same & same >> 1 & same >> 2) | (unsigned)_mm_movemask_epi8(special)) &
           ((1u << WINDOW) - 1);
}

/* The length of the part of [p, end) that can be copied as it is: no special byte, no run. A dump
 * of guest memory spends its time here, hence the 16 bytes at a time. */
static size_t plain_run(const uint8_t *p, const uint8_t *end)
{
    const uint8_t *s = p;

    for (; end - s > 16; s += WINDOW) {
        unsigned stops = stops_in_window(s);

        if (stops)
            return (size_t)(s - p) + (unsigned)__builtin_ctz(stops);
    }
    while (s < end && !is_special[*s]) {
        if (end - s >= 4 && s[0] == s[1] && s[1] == s[2] && s[2] == s[3])
            break;
        s++;
    }
    return (size_t)(s - p);
}

/* Modulo 256. Eight bytes at a time, in four lanes of 16 bits that are emptied before they can
 * overflow: a dump of guest memory spends much of its time here. */
static uint8_t sum_of(const char *p, size_t len)
{
    const uint64_t even = 0x00ff00ff00ff00ffull;
    uint64_t sum = 0, word;

    while (len >= 8) {
        size_t words = len / 8 < 128 ? len / 8 : 128;
        uint64_t lanes = 0;

        for (size_t i = 0; i < words; i++, p += 8) {
            memcpy(&word, p, 8);
            lanes += (word & even) + (word >> 8 & even);
        }
        len -= 8 * words;
        sum += (lanes & 0xffff) + (lanes >> 16 & 0xffff) + (lanes >> 32 & 0xffff) + (lanes >> 48);
    }
    while (len--)
        sum += (uint8_t)*p++;
    return (uint8_t)sum;
}

static void frame(struct buf *out, char lead, const void *body, size_t len)
{
    const uint8_t *p = body, *end = p + len;
    char tail[3] = "#";
    size_t start;
    uint8_t sum;

    buf_addc(out, lead);
    start = out->len;
    while (p < end) {
        size_t n = plain_run(p, end);

        buf_add(out, p, n);
        p += n;
        if (p == end)
            break;
        if (is_special[*p]) {
            char esc[2] = {'}', (char)(*p ^ 0x20)};

            buf_add(out, esc, 2);
            p++;
            continue;
        }
        n = 1;
        while (p + n < end && p[n] == *p)
            n++;
        buf_addc(out, (char)*p);
        add_repeats(out, (char)*p, n - 1);
        p += n;
    }
    sum = sum_of(out->data + start, out->len - start);
    tail[1] = "0123456789abcdef"[sum >> 4];
    tail[2] = "0123456789abcdef"[sum & 15];
    buf_add(out, tail, 3);
}

void packet_frame(struct buf *out, const void *body, size_t len)
{
    frame(out, '$', body, len);
}

void packet_notify(struct buf *out, const void *body, size_t len)
{
    frame(out, '%', body, len);
}

/* ---- hex ------------------------------------------------------------------------------------ */

void hex_add(struct buf *out, const void *bytes, size_t len)
{
    static const char digits[] = "0123456789abcdef";
    static char pair[256][2]; /* main thread */
    const uint8_t *p = bytes;
    char part[4096];

    if (!pair[0][0])
        for (unsigned i = 0; i < 256; i++) {
            pair[i][0] = digits[i >> 4];
            pair[i][1] = digits[i & 15];
        }
    while (len) {
        size_t n = len < sizeof part / 2 ? len : sizeof part / 2;

        for (size_t i = 0; i < n; i++)
            memcpy(part + 2 * i, pair[p[i]], 2);
        buf_add(out, part, 2 * n);
        p += n;
        len -= n;
    }
}

int hex_digit(int c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

bool hex_u64(const char **p, const char *end, uint64_t *out)
{
    const char *s = *p;
    uint64_t v = 0;
    int d;

    for (; s < end && (d = hex_digit((uint8_t)*s)) >= 0; s++) {
        if (v >> 60)
            return false;
        v = v << 4 | (unsigned)d;
    }
    if (s == *p)
        return false;
    *p = s;
    *out = v;
    return true;
}

bool hex_bytes(const char *p, const char *end, void *dst, size_t cap, size_t *len)
{
    size_t n = (size_t)(end - p) / 2;

    if ((end - p) % 2 || n > cap)
        return false;
    for (size_t i = 0; i < n; i++) {
        int hi = hex_digit((uint8_t)p[2 * i]), lo = hex_digit((uint8_t)p[2 * i + 1]);

        if (hi < 0 || lo < 0)
            return false;
        ((uint8_t *)dst)[i] = (uint8_t)(hi << 4 | lo);
    }
    *len = n;
    return true;
}
