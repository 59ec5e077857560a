/*
 * Queries: what both sides can, and documents that are read in parts. Main thread.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "debug/gdb/stub.h"
#include "debug/symbols/kaslr.h"

/* True when `word` is one of the items separated by ';'. */
static bool has_item(const char *p, const char *end, const char *word)
{
    size_t n = strlen(word);

    while (p < end) {
        const char *semi = memchr(p, ';', (size_t)(end - p));
        size_t len = (size_t)((semi ? semi : end) - p);

        if (len == n && !memcmp(p, word, n))
            return true;
        p += len + 1;
    }
    return false;
}

void pk_supported(struct gdb *g, const char *p, const char *end)
{
    if (p < end)
        p++;
    g->client.swbreak = has_item(p, end, "swbreak+");
    g->client.hwbreak = has_item(p, end, "hwbreak+");
    g->client.exec_events = has_item(p, end, "exec-events+");
    reply_fmt(g,
              "PacketSize=%x;QStartNoAckMode+;qXfer:features:read+;qXfer:memory-map:read+;"
              "qXfer:exec-file:read+;qXfer:threads:read+;swbreak+;hwbreak+;vContSupported+;"
              "QNonStop+;ConditionalBreakpoints+;BreakpointCommands+;QThreadEvents+;exec-events+;"
              "binary-upload+;error-message+;ReverseStep+;ReverseContinue+",
              PACKET_MAX);
}

void pk_no_ack(struct gdb *g, const char *p, const char *end)
{
    (void)p;
    (void)end;
    g->no_ack_next = true;
    reply_ok(g);
}

void pk_attached(struct gdb *g, const char *p, const char *end)
{
    (void)p;
    (void)end;
    reply_str(g, "1");
}

/* Where nothing is known, nothing is said: zeros would undo what the user gave to symbol-file. A
 * kernel that was moved while we had its symbols is known for sure. */
void pk_offsets(struct gdb *g, const char *p, const char *end)
{
    const char *spec = session_cfg(g->s)->symbols, *at = spec ? strrchr(spec, '@') : NULL;
    uint64_t slide = at ? strtoull(at + 1, NULL, 0) : 0;
    struct kaslr k;

    (void)p;
    (void)end;
    if (session_state(g->s) != SS_RUNNING && kaslr_find(g->s, g->thread, &k, NULL) == 0 && k.symbol)
        slide += (uint64_t)k.slide;
    if (slide)
        reply_fmt(g, "Text=%llx;Data=%llx;Bss=%llx", (unsigned long long)slide,
                  (unsigned long long)slide, (unsigned long long)slide);
}

void pk_symbol(struct gdb *g, const char *p, const char *end)
{
    (void)p;
    (void)end;
    reply_ok(g);
}

void pk_tstatus(struct gdb *g, const char *p, const char *end)
{
    (void)g;
    (void)p;
    (void)end;
}

/* ---- qXfer ------------------------------------------------------------------------------------
 */

void pk_features(struct gdb *g, const char *p, const char *end)
{
    static const char name[] = "target.xml:";

    if ((size_t)(end - p) < sizeof name || memcmp(p, name, sizeof name - 1)) {
        reply_str(g, "E00");
        return;
    }
    p += sizeof name - 1;
    if (end - p > 1 && p[0] == '0' && p[1] == ',') {
        if (!g->arch_told)
            g->arch = gdb_arch_wanted(g, session_last_stop(g->s)->vcpu);
        g->arch_told = true;
        buf_clear(&g->xml);
        desc_xml(gdb_desc(g), &g->xml);
    }
    reply_xfer(g, &g->xml, p, end);
}

/* gdb means addresses as the guest's code sees them, and page tables may put RAM anywhere; what is
 * not there is found out by reading, which here has no side effects. So all of it counts as RAM. */
void pk_map(struct gdb *g, const char *p, const char *end)
{
    if (!g->map.len)
        buf_adds(&g->map, "<?xml version=\"1.0\"?>\n"
                          "<!DOCTYPE memory-map PUBLIC \"+//IDN gnu.org//DTD GDB Memory Map V1.0"
                          "//EN\" \"http://sourceware.org/gdb/gdb-memory-map.dtd\">\n<memory-map>\n"
                          "<memory type=\"ram\" start=\"0x0\" length=\"0x8000000000000000\"/>\n"
                          "<memory type=\"ram\" start=\"0x8000000000000000\" "
                          "length=\"0x8000000000000000\"/>\n</memory-map>\n");
    reply_xfer(g, &g->map, p, end);
}

void gdb_exec_path(const struct gdb *g, struct buf *out)
{
    const char *spec = session_cfg(g->s)->symbols, *file = session_boot(g->s)->symbols;
    char *copy = NULL, *at, *full;

    if (spec) {
        copy = strdup(spec);
        at = copy ? strrchr(copy, '@') : NULL;
        if (at)
            *at = 0;
        file = copy;
    }
    full = file ? realpath(file, NULL) : NULL;
    if (full)
        buf_adds(out, full);
    free(full);
    free(copy);
}

void gdb_exec_name(const struct gdb *g, struct buf *out)
{
    gdb_exec_path(g, out);
    if (!out->len)
        buf_adds(out, "vmscope-guest"); /* gdb does not find it and keeps the symbols it has */
    if (g->arch == GDB_8086)
        buf_adds(out, ":16");
}

void pk_exec_file(struct gdb *g, const char *p, const char *end)
{
    const char *colon = memchr(p, ':', (size_t)(end - p));
    struct buf path = {0};

    gdb_exec_path(g, &path);
    if (path.len && g->arch == GDB_8086)
        buf_adds(&path, ":16");
    if (colon && path.len)
        reply_xfer(g, &path, colon + 1, end);
    else
        reply_errno(g, EINVAL);
    buf_fini(&path);
}

/* ---- modes
 * ---------------------------------------------------------------------------------------- */

void pk_thread_events(struct gdb *g, const char *p, const char *end)
{
    (void)p;
    (void)end;
    reply_ok(g);
}

/* QEMU's bits: 1 single-step is possible, 2 no interrupts meanwhile, 4 no timers meanwhile. */
void pk_sstepbits(struct gdb *g, const char *p, const char *end)
{
    (void)p;
    (void)end;
    reply_str(g, "ENABLE=1,NOIRQ=2,NOTIMER=4");
}

void pk_sstep_get(struct gdb *g, const char *p, const char *end)
{
    (void)p;
    (void)end;
    reply_str(g, session_step_irq(g->s) ? "0x1" : "0x7");
}

void pk_sstep_set(struct gdb *g, const char *p, const char *end)
{
    uint64_t bits;

    if (p == end || (p++, !hex_u64(&p, end, &bits)) || p != end || bits > 7) {
        reply_errno(g, EINVAL);
        return;
    }
    session_set_step_irq(g->s, !(bits & 2));
    reply_ok(g);
}
