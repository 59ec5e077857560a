/*
 * Memory packets. RAM only: nothing here can touch a device. Main thread.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "debug/gdb/stub.h"
#include "vmm/base/x.h"

#define PART_BYTES (1u << 20)

static enum space space_of(const struct gdb *g)
{
    return g->phys ? SPACE_PHYS : SPACE_LINEAR;
}

static bool addr_len(const char **p, const char *end, uint64_t *addr, uint64_t *len)
{
    if (!hex_u64(p, end, addr) || *p == end || **p != ',')
        return false;
    ++*p;
    return hex_u64(p, end, len);
}

int64_t gdb_mem_read(struct gdb *g, uint64_t addr, void *dst, size_t len)
{
    return session_mem_read(g->s, g->thread, space_of(g), addr, dst, len);
}

/* The readable prefix, in g->scratch; nothing readable is an error. */
static uint8_t *read_part(struct gdb *g, const char *p, const char *end, size_t max, uint64_t *addr,
                          int64_t *n)
{
    uint64_t len;

    if (!addr_len(&p, end, addr, &len) || p != end) {
        reply_errno(g, EINVAL);
        return NULL;
    }
    if (len > max)
        len = max;
    if (!g->scratch)
        g->scratch = xmalloc(PACKET_MAX); /* kept: memory of that size would come anew each time */
    *n = gdb_mem_read(g, *addr, g->scratch, len);
    if (*n <= 0 && len) {
        reply_errno(g, EFAULT);
        return NULL;
    }
    return g->scratch;
}

void pk_m(struct gdb *g, const char *p, const char *end)
{
    uint64_t addr;
    int64_t n = 0;
    uint8_t *bytes = read_part(g, p, end, PACKET_MAX / 2, &addr, &n);

    if (!bytes)
        return;
    g->no_reply = gdb_ahead_send(g, addr, bytes, (size_t)n);
    if (!g->no_reply)
        hex_add(&g->reply, bytes, (size_t)n);
}

/* gdb's form of the reply starts with b; lldb's is the bytes alone, and it finds out whether the
 * packet is known by reading nothing. */
void pk_x(struct gdb *g, const char *p, const char *end)
{
    uint64_t addr;
    int64_t n = 0;
    uint8_t *bytes;

    if (end - p > 2 && end[-1] == '0' && end[-2] == ',') {
        g->client.plain_x = true;
        reply_ok(g);
        return;
    }
    bytes = read_part(g, p, end, PACKET_MAX - 1, &addr, &n);
    if (!bytes)
        return;
    if (!g->client.plain_x)
        buf_addc(&g->reply, 'b');
    buf_add(&g->reply, bytes, (size_t)n);
}

static void write_at(struct gdb *g, uint64_t addr, const void *bytes, uint64_t len)
{
    int64_t n = len ? session_mem_write(g->s, g->thread, space_of(g), addr, bytes, len) : 0;

    if (n == (int64_t)len)
        reply_ok(g);
    else
        reply_error(g, "only %lld of %llu bytes at 0x%llx are RAM", n < 0 ? 0 : (long long)n,
                    (unsigned long long)len, (unsigned long long)addr);
}

void pk_M(struct gdb *g, const char *p, const char *end)
{
    uint64_t addr, len;
    uint8_t *bytes;
    size_t n = 0;

    if (!addr_len(&p, end, &addr, &len) || p == end || *p++ != ':' || len > PACKET_MAX / 2) {
        reply_errno(g, EINVAL);
        return;
    }
    bytes = xmalloc(len + 1);
    if (!hex_bytes(p, end, bytes, len, &n) || n != len)
        reply_error(g, "the packet has not %llu bytes of hex", (unsigned long long)len);
    else
        write_at(g, addr, bytes, len);
    free(bytes);
}

void pk_X(struct gdb *g, const char *p, const char *end)
{
    uint64_t addr, len;

    if (!addr_len(&p, end, &addr, &len) || p == end || *p++ != ':')
        reply_errno(g, EINVAL);
    else if ((uint64_t)(end - p) != len)
        reply_error(g, "the packet has not %llu bytes", (unsigned long long)len);
    else
        write_at(g, addr, p, len);
}

/* ---- searching and summing ------------------------------------------------------------------- */

/* Reads [addr, addr+len) in parts that overlap by `keep` bytes. Ends where nothing is mapped. */
static bool find_bytes(struct gdb *g, uint64_t addr, uint64_t len, const void *pattern, size_t plen,
                       uint64_t *found)
{
    uint8_t *part = xmalloc(PART_BYTES + plen);
    bool hit = false;

    while (!hit && len >= plen) {
        size_t want = len < PART_BYTES + plen ? (size_t)len : PART_BYTES + plen;
        int64_t n = gdb_mem_read(g, addr, part, want);
        uint8_t *at = n >= (int64_t)plen ? memmem(part, (size_t)n, pattern, plen) : NULL;

        if (at) {
            *found = addr + (uint64_t)(at - part);
            hit = true;
        }
        if (n < (int64_t)want || want == len)
            break;
        addr += want - plen + 1;
        len -= want - plen + 1;
    }
    free(part);
    return hit;
}

/* "qSearch:memory:addr;length;pattern", the pattern in bytes. */
void pk_search(struct gdb *g, const char *p, const char *end)
{
    uint64_t addr, len, at;

    if (p == end || *p++ != ':' || !hex_u64(&p, end, &addr) || p == end || *p++ != ';' ||
        !hex_u64(&p, end, &len) || p == end || *p++ != ';' || p == end)
        reply_errno(g, EINVAL);
    else if (find_bytes(g, addr, len, p, (size_t)(end - p), &at))
        reply_fmt(g, "1,%llx", (unsigned long long)at);
    else
        reply_str(g, "0");
}

/* CRC-32 as gdb computes it: polynomial 0x04c11db7, most significant bit first, from all ones,
 * without a final inversion (gdb manual, "qCRC" and its libiberty's xcrc32). */
static uint32_t crc32_msb(uint32_t crc, const uint8_t *p, size_t len)
{
    static uint32_t table[256];

    if (!table[1])
        for (uint32_t i = 0; i < 256; i++) {
            uint32_t c = i << 24;

            for (int b = 0; b < 8; b++)
                c = c & 0x80000000u ? c << 1 ^ 0x04c11db7u : c << 1;
            table[i] = c;
        }
    while (len--)
        crc = crc << 8 ^ table[(crc >> 24 ^ *p++) & 0xff];
    return crc;
}

void pk_crc(struct gdb *g, const char *p, const char *end)
{
    uint64_t addr, len;
    uint32_t crc = 0xffffffff;
    uint8_t *part;

    if (p == end || *p++ != ':' || !addr_len(&p, end, &addr, &len) || p != end) {
        reply_errno(g, EINVAL);
        return;
    }
    part = xmalloc(PART_BYTES);
    while (len) {
        size_t want = len < PART_BYTES ? (size_t)len : PART_BYTES;

        if (gdb_mem_read(g, addr, part, want) != (int64_t)want)
            break;
        crc = crc32_msb(crc, part, want);
        addr += want;
        len -= want;
    }
    free(part);
    if (len)
        reply_errno(g, EFAULT);
    else
        reply_fmt(g, "C%x", crc);
}

/* ---- QEMU's switch to physical addresses
 * --------------------------------------------------------- */

void pk_phys_get(struct gdb *g, const char *p, const char *end)
{
    (void)p;
    (void)end;
    reply_str(g, g->phys ? "1" : "0");
}

void pk_phys_set(struct gdb *g, const char *p, const char *end)
{
    if (end - p != 2 || (p[1] != '0' && p[1] != '1')) {
        reply_errno(g, EINVAL);
        return;
    }
    g->phys = p[1] == '1';
    reply_ok(g);
}
