/*
 * Reading ahead: a debugger that dumps memory asks for one part after the other, and takes far
 * longer to decode a reply than we take to make it. So the reply to the request that probably comes
 * next is made meanwhile. Memory may change in between; the bytes are read and compared when the
 * request is there, which is cheap beside making a frame of them. Main thread.
 */
#include <stdlib.h>
#include <string.h>

#include "debug/gdb/stub.h"
#include "vmm/base/x.h"

#define WORTH_BYTES 0x1000u

/* A reply that was made is sent if it says what memory holds now. */
bool gdb_ahead_send(struct gdb *g, uint64_t addr, const uint8_t *bytes, size_t len)
{
    struct gdb_ahead *a = &g->ahead;
    bool hit = a->made && a->addr == addr && a->len == len && !memcmp(a->bytes, bytes, len);

    a->made = false;
    a->wanted = a->follows == addr && len >= WORTH_BYTES && addr + len > addr;
    a->follows = a->addr = addr + len;
    a->len = len;
    if (hit)
        gdb_send_frame(g, &a->frame);
    return hit;
}

/* Called when the reply before it is on its way. */
void gdb_ahead_make(struct gdb *g)
{
    struct gdb_ahead *a = &g->ahead;
    struct buf hex = {0};

    if (!a->wanted)
        return;
    a->wanted = false;
    if (!a->bytes)
        a->bytes = xmalloc(PACKET_MAX / 2);
    if (gdb_mem_read(g, a->addr, a->bytes, a->len) != (int64_t)a->len)
        return;
    hex_add(&hex, a->bytes, a->len);
    buf_clear(&a->frame);
    packet_frame(&a->frame, hex.data, hex.len);
    buf_fini(&hex);
    a->made = true;
}

void gdb_ahead_fini(struct gdb *g)
{
    free(g->ahead.bytes);
    buf_fini(&g->ahead.frame);
    g->ahead = (struct gdb_ahead){0};
}
