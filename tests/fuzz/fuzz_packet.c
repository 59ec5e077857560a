/* Bytes of a remote client: parsed whole and byte by byte they give the same packets; and whatever
 * is framed can be unframed. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "debug/gdb/stub.h"
#include "vmm/base/x.h"

/* A hash over all events and bodies, fed in pieces of `piece` bytes. */
static uint64_t parse(const uint8_t *data, size_t size, size_t piece)
{
    struct packet_in in = {0};
    uint64_t hash = 1;

    for (size_t at = 0; at < size;) {
        size_t n = size - at < piece ? size - at : piece, used;
        enum packet_event ev = packet_feed(&in, data + at, n, &used);

        BUG_ON(used > n || (!used && ev == PACKET_NONE));
        at += used;
        if (ev != PACKET_NONE)
            hash = hash * 31 + (uint64_t)ev;
        for (size_t i = 0; ev == PACKET_READY && i < in.body.len; i++)
            hash = hash * 31 + (uint8_t)in.body.data[i];
    }
    packet_in_fini(&in);
    return hash;
}

static void round_trip(const uint8_t *data, size_t size)
{
    struct packet_in in = {0};
    struct buf b = {0};
    size_t used;

    packet_frame(&b, data, size);
    BUG_ON(packet_feed(&in, b.data, b.len, &used) != PACKET_READY || used != b.len);
    BUG_ON(memchr(data, '*', size) == NULL && in.body.len > size); /* only shorter, by runs */
    packet_in_fini(&in);
    buf_fini(&b);
}

/* The table's row for a body, and what handlers read behind its name. */
static void meaning(const char *body, size_t size)
{
    const char *rest = body, *end = body + size;
    const struct packet_row *row = packet_find(body, size, &rest);
    uint8_t bytes[64];
    uint64_t number;
    size_t len;

    BUG_ON(row && (rest != body + strlen(row->name) || rest > end));
    BUG_ON(!row && rest != body);
    while (rest < end) {
        const char *was = rest;

        BUG_ON(hex_bytes(rest, end, bytes, sizeof bytes, &len) && len != (size_t)(end - rest) / 2);
        if (hex_u64(&rest, end, &number))
            BUG_ON(rest <= was || rest > end);
        else
            rest++;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t whole = parse(data, size, size ? size : 1);

    BUG_ON(parse(data, size, 1) != whole || parse(data, size, 7) != whole);
    round_trip(data, size);
    meaning((const char *)data, size);
    return 0;
}
