/* Framing of gdb's remote protocol. */
#include <stdlib.h>

#include "debug/gdb/packet.h"
#include "tests/test.h"

/* Feeds text and returns the events as letters: R ready, B bad, + - and I. */
static const char *events_of(struct packet_in *in, const char *bytes, size_t len)
{
    static char out[64];
    size_t at = 0, n = 0;

    while (at < len && n < sizeof out - 1) {
        size_t used;
        enum packet_event ev = packet_feed(in, bytes + at, len - at, &used);

        at += used;
        if (ev != PACKET_NONE)
            out[n++] = ".RB+-I"[ev];
    }
    out[n] = 0;
    return out;
}

static void takes_a_packet(void)
{
    struct packet_in in = {0};

    CHECK_STR(events_of(&in, "+$m0,4#fd", 9), "+R");
    CHECK_STR(buf_str(&in.body), "m0,4");
    CHECK_STR(events_of(&in, "\x03", 1), "I");
    CHECK_STR(events_of(&in, "$#00", 4), "R");
    CHECK_EQ(in.body.len, 0);
    packet_in_fini(&in);
}

static void takes_it_byte_by_byte(void)
{
    struct packet_in in = {0};
    const char *text = "$qC#b4";
    const char *last = "";

    for (size_t i = 0; i < 6; i++)
        last = events_of(&in, text + i, 1);
    CHECK_STR(last, "R");
    CHECK_STR(buf_str(&in.body), "qC");
    packet_in_fini(&in);
}

static void unescapes(void)
{
    struct packet_in in = {0};
    /* } 0x03 is #, } 0x5d is } */
    CHECK_STR(events_of(&in, "$X}\x03}]#b2", 9), "R");
    CHECK_EQ(in.body.len, 3);
    CHECK(!memcmp(in.body.data, "X#}", 3));
    packet_in_fini(&in);
}

static void refuses_what_is_wrong(void)
{
    struct packet_in in = {0};
    char *big = malloc(PACKET_MAX + 100);
    size_t used;

    CHECK(big);
    CHECK_STR(events_of(&in, "$qC#b5", 6), "B");
    CHECK_STR(events_of(&in, "$qC#zz", 6), "B");
    CHECK_STR(events_of(&in, "$qC#b", 5), "");
    CHECK_STR(events_of(&in, "4", 1), "R");
    CHECK_STR(events_of(&in, "garbage \x01\xff", 10), "");
    /* a packet cut by the next one's $ */
    CHECK_STR(events_of(&in, "$m0,4$qC#b4", 11), "R");
    CHECK_STR(buf_str(&in.body), "qC");
    memset(big, 'a', PACKET_MAX + 100);
    big[0] = '$';
    memcpy(big + PACKET_MAX + 90, "#00", 3);
    CHECK_EQ(packet_feed(&in, big, PACKET_MAX + 93, &used), PACKET_BAD);
    CHECK_EQ(used, PACKET_MAX + 93);
    CHECK(in.body.len <= PACKET_MAX);
    CHECK_STR(events_of(&in, "$qC#b4", 6), "R");
    free(big);
    packet_in_fini(&in);
}

/* What a client makes of a frame: run lengths and escapes undone. -1 when it is not one. */
static int64_t decode(const char *p, size_t len, char *out, size_t cap)
{
    uint8_t sum = 0;
    size_t n = 0;

    if (len < 4 || p[0] != '$' || p[len - 3] != '#')
        return -1;
    for (size_t i = 1; i < len - 3; i++) {
        sum = (uint8_t)(sum + (uint8_t)p[i]);
        if (p[i] == '#' || p[i] == '$' || n >= cap)
            return -1;
        if (p[i] == '*') {
            int count = (uint8_t)p[++i] - 29;

            sum = (uint8_t)(sum + (uint8_t)p[i]);
            if (count < 3 || count > 97 || !n || n + (size_t)count > cap)
                return -1;
            memset(out + n, out[n - 1], (size_t)count);
            n += (size_t)count;
        } else if (p[i] == '}') {
            out[n++] = (char)(p[++i] ^ 0x20);
            sum = (uint8_t)(sum + (uint8_t)p[i]);
        } else {
            out[n++] = p[i];
        }
    }
    if (hex_digit(p[len - 2]) * 16 + hex_digit(p[len - 1]) != sum)
        return -1;
    return (int64_t)n;
}

static void frames_come_back(void)
{
    static const char *const texts[] = {"",    "OK",       "0000",    "00000000000",
                                        "***", "}}}}}}}}", "a#b$c*d}"};
    char out[256];

    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct buf b = {0};
        size_t len = strlen(texts[i]);

        packet_frame(&b, texts[i], len);
        CHECK_EQ(decode(b.data, b.len, out, sizeof out), (int64_t)len);
        CHECK(!memcmp(out, texts[i], len));
        buf_fini(&b);
    }
}

static void every_run_length(void)
{
    char text[700], out[700];

    for (size_t n = 0; n <= sizeof text; n++) {
        struct buf b = {0};

        memset(text, 'f', n);
        packet_frame(&b, text, n);
        CHECK_EQ(decode(b.data, b.len, out, sizeof out), (int64_t)n);
        CHECK(!memcmp(out, text, n));
        if (n > 100)
            CHECK(b.len < n / 20 + 20);
        buf_fini(&b);
    }
}

/* Runs and special bytes are found wherever they begin: long stretches are looked at 16 bytes at a
 * time. */
static void runs_at_every_offset(void)
{
    static const char *const inner[] = {"aaaa", "#", "$", "}", "*", "aaaaaaaaaaaaaaaaaaaaaaa"};
    char text[64], out[64];

    for (size_t k = 0; k < sizeof inner / sizeof *inner; k++)
        for (size_t at = 0; at + strlen(inner[k]) <= sizeof text; at++) {
            size_t n = strlen(inner[k]);
            struct buf b = {0};

            for (size_t i = 0; i < sizeof text; i++)
                text[i] = (char)('b' + i % 3);
            memcpy(text + at, inner[k], n);
            packet_frame(&b, text, sizeof text);
            CHECK_EQ(decode(b.data, b.len, out, sizeof out), (int64_t)sizeof text);
            CHECK(!memcmp(out, text, sizeof text));
            /* '$', "#xx", and an escape's byte more or a run's fewer */
            CHECK_EQ(b.len, sizeof text + 4 + (n == 1) - (n == 4) - (n > 4 ? n - 3 : 0));
            buf_fini(&b);
        }
}

static void random_bytes(void)
{
    uint32_t x = 12345;
    char text[512], out[512];

    for (int round = 0; round < 2000; round++) {
        struct buf b = {0};
        size_t len = (size_t)round % sizeof text;

        for (size_t i = 0; i < len; i++) {
            x = x * 1664525 + 1013904223;
            text[i] = x >> 30 ? "#$*}\0"[x >> 24 & 3] : (char)(x >> 16);
        }
        packet_frame(&b, text, len);
        CHECK_EQ(decode(b.data, b.len, out, sizeof out), (int64_t)len);
        CHECK(!memcmp(out, text, len));
        buf_fini(&b);
    }
}

static void hex(void)
{
    const char *p = "12abF,", *end = p + 6;
    uint64_t v;
    uint8_t bytes[4];
    size_t n;

    CHECK(hex_u64(&p, end, &v));
    CHECK_EQ(v, 0x12abf);
    CHECK_EQ(*p, ',');
    CHECK(!hex_u64(&p, end, &v));
    p = "10000000000000000";
    CHECK(!hex_u64(&p, p + 17, &v));
    p = "ffffffffffffffff";
    CHECK(hex_u64(&p, p + 16, &v));
    CHECK_EQ(v, UINT64_MAX);
    p = "0aFF";
    CHECK(hex_bytes(p, p + 4, bytes, 4, &n));
    CHECK_EQ(n, 2);
    CHECK_EQ(bytes[1], 0xff);
    CHECK(!hex_bytes(p, p + 3, bytes, 4, &n));
    CHECK(!hex_bytes(p, p + 4, bytes, 1, &n));
}

static const struct test tests[] = {
    {"takes_a_packet", takes_a_packet},
    {"takes_it_byte_by_byte", takes_it_byte_by_byte},
    {"unescapes", unescapes},
    {"refuses_what_is_wrong", refuses_what_is_wrong},
    {"frames_come_back", frames_come_back},
    {"every_run_length", every_run_length},
    {"runs_at_every_offset", runs_at_every_offset},
    {"random_bytes", random_bytes},
    {"hex", hex},
};
TEST_MAIN(tests)
