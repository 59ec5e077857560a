/*
 * Packets that only lldb sends ("lldb-gdb-remote.txt" of its sources describes them). Main thread.
 */
#include <errno.h>
#include <string.h>

#include "debug/gdb/stub.h"
#include "vmm/base/esc.h"
#include "vmm/walk.h"

static const char *triple(const struct gdb *g)
{
    return g->arch == GDB_X86_64 ? "x86_64-unknown-unknown" : "i386-unknown-unknown";
}

static void add_machine(struct gdb *g)
{
    if (!g->arch_told && session_state(g->s) != SS_RUNNING)
        g->arch = gdb_arch_wanted(g, session_last_stop(g->s)->vcpu);
    reply_str(g, "triple:");
    hex_add(&g->reply, triple(g), strlen(triple(g)));
    reply_fmt(g, ";endian:little;ptrsize:%u;", g->arch == GDB_X86_64 ? 8 : 4);
}

void pk_host_info(struct gdb *g, const char *p, const char *end)
{
    (void)p;
    (void)end;
    g->client.lldb = true;
    add_machine(g);
}

void pk_process_info(struct gdb *g, const char *p, const char *end)
{
    (void)p;
    (void)end;
    reply_str(g, "pid:1;");
    add_machine(g);
}

void pk_list_threads(struct gdb *g, const char *p, const char *end)
{
    (void)p;
    (void)end;
    g->client.list_threads = g->client.lldb = true;
    reply_ok(g);
}

void pk_suffix(struct gdb *g, const char *p, const char *end)
{
    (void)p;
    (void)end;
    g->client.suffix = g->client.lldb = true;
    reply_ok(g);
}

void pk_error_strings(struct gdb *g, const char *p, const char *end)
{
    (void)p;
    (void)end;
    g->client.error_strings = g->client.lldb = true;
    reply_ok(g);
}

/* Offsets are those of G and, as far as it goes, of g. */
void pk_register_info(struct gdb *g, const char *p, const char *end)
{
    const struct desc *d = gdb_desc(g);
    const struct desc_reg *r;
    unsigned offset = 0;
    uint64_t n;

    if (!hex_u64(&p, end, &n) || p != end || n >= d->count) {
        reply_str(g, "E45");
        return;
    }
    for (unsigned i = 0; i < n; i++)
        offset += d->reg[i].bytes;
    r = &d->reg[n];
    reply_fmt(g, "name:%s;bitsize:%u;offset:%u;encoding:%s;format:%s;set:%s;", r->name,
              r->bytes * 8u, offset, r->bytes > 8 ? "vector" : "uint",
              r->bytes > 8 ? "vector-uint8" : "hex",
              n < d->core ? "General Purpose Registers"
              : r->group  ? r->group
                          : "Floating Point Registers");
    if (n == d->pc)
        reply_str(g, "generic:pc;");
    else if (n == d->sp)
        reply_str(g, "generic:sp;");
    else if (n == d->bp)
        reply_str(g, "generic:fp;");
    else if (n == d->flags)
        reply_str(g, "generic:flags;");
}

static const char *reason_of(const struct gdb *g, const struct stop_info *si, unsigned vcpu)
{
    if (vcpu != si->vcpu)
        return "none";
    if (gdb_needs_words(g, si))
        return "exception";
    if (gdb_point_is_out(g, si))
        return "trace";
    return si->kind == STOP_BREAKPOINT   ? "breakpoint"
           : si->kind == STOP_WATCHPOINT ? "watchpoint"
           : si->kind == STOP_STEP       ? "trace"
                                         : "none";
}

static void add_thread(struct gdb *g, const struct stop_info *si, unsigned vcpu)
{
    const struct desc *d = gdb_desc(g);
    const char *reason = reason_of(g, si, vcpu);

    reply_fmt(g, "{\"tid\":%u,\"name\":\"vCPU %u\",\"reason\":\"%s\",", vcpu + 1, vcpu, reason);
    if (!strcmp(reason, "exception")) {
        reply_str(g, "\"description\":");
        esc_json(&g->reply, si->text, strlen(si->text));
        reply_str(g, ",");
    }
    reply_str(g, "\"registers\":{");
    for (unsigned n = 0; n < d->core; n++) {
        reply_fmt(g, "%s\"%u\":\"", n ? "," : "", n);
        gdb_reg_hex(g, vcpu, n, &g->reply);
        reply_str(g, "\"");
    }
    reply_str(g, "}}");
}

void pk_threads_json(struct gdb *g, const char *p, const char *end)
{
    const struct stop_info *si = session_last_stop(g->s);

    (void)p;
    (void)end;
    for (unsigned i = 0; i < session_cpus(g->s); i++) {
        reply_str(g, i ? "," : "[");
        add_thread(g, si, i);
    }
    reply_str(g, "]");
}

/* The page that holds the address, or the hole around it as far as this page goes. */
void pk_memory_region(struct gdb *g, const char *p, const char *end)
{
    struct walk w;
    uint64_t addr, size;

    if (p == end || (p++, !hex_u64(&p, end, &addr)) || p != end) {
        reply_errno(g, EINVAL);
        return;
    }
    if (session_walk(g->s, g->thread, addr, &w) < 0) {
        reply_errno(g, EBUSY);
        return;
    }
    size = w.result == WALK_OK ? w.page_bytes : PAGE_BYTES;
    addr &= ~(size - 1);
    reply_fmt(g, "start:%llx;size:%llx;", (unsigned long long)addr, (unsigned long long)size);
    if (w.result == WALK_OK)
        reply_fmt(g, "permissions:r%s%s;", w.mode == PAGING_NONE || w.writable ? "w" : "",
                  w.mode == PAGING_NONE || w.executable ? "x" : "");
}
