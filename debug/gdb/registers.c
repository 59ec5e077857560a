/*
 * g, G, p and P: registers in terms of the description that the client has. Main thread.
 */
#include <errno.h>
#include <string.h>

#include "debug/gdb/stub.h"
#include "vmm/base/le.h"
#include "vmm/vm.h"

const struct desc *gdb_desc(struct gdb *g)
{
    if (!g->desc_made[g->arch]) {
        const struct cpu_feature *avx = cpu_feature_find("avx", 3);
        const struct cpuid_table *cpuid = session_vm(g->s)->cpuid;

        desc_build(&g->desc[g->arch], g->arch, avx && cpuid && cpuid_has(cpuid, avx));
        g->desc_made[g->arch] = true;
    }
    return &g->desc[g->arch];
}

enum gdb_arch gdb_arch_wanted(struct gdb *g, unsigned vcpu)
{
    return g->arch_pinned ? g->arch_pin : desc_arch_of(session_mode(g->s, vcpu));
}

/* gdb keeps all registers while it calls a function of the guest's and writes all back. Time is not
 * turned back with them (this KVM may even refuse to): a value of the TSC's that the client was
 * told changes nothing. */
static void tsc_told(struct gdb *g, uint64_t value)
{
    g->tsc[g->tscs++ % GDB_TSCS] = value;
}

static bool tsc_was_told(const struct gdb *g, uint64_t value)
{
    unsigned n = g->tscs < GDB_TSCS ? g->tscs : GDB_TSCS;

    for (unsigned i = 0; i < n; i++)
        if (g->tsc[i] == value)
            return true;
    return false;
}

void gdb_reg_hex(struct gdb *g, unsigned vcpu, unsigned n, struct buf *out)
{
    const struct desc *d = gdb_desc(g);
    const struct vcpu_state *st = session_cpu(g->s, vcpu, desc_parts(d, n) | VS_REGS | VS_SREGS);
    uint8_t bytes[32];

    if (st && desc_read(d, n, st, g->linear, bytes)) {
        hex_add(out, bytes, d->reg[n].bytes);
        if (d->reg[n].id == REG_msr_tsc)
            tsc_told(g, le_load(bytes, 8));
    } else
        for (unsigned i = 0; i < d->reg[n].bytes; i++)
            buf_adds(out, "xx");
}

/* Only the general registers: a shorter reply than the description is allowed, and a stop would
 * otherwise cost the whole FPU and every MSR. The others are asked for with p. */
void pk_g(struct gdb *g, const char *p, const char *end)
{
    const struct desc *d = gdb_desc(g);

    (void)p;
    (void)end;
    for (unsigned n = 0; n < d->core; n++)
        gdb_reg_hex(g, g->thread, n, &g->reply);
}

static int write_one(struct gdb *g, unsigned n, const uint8_t *bytes, struct err *e)
{
    const struct desc *d = gdb_desc(g);
    const struct vcpu_state *st =
        session_cpu(g->s, g->thread, desc_parts(d, n) | VS_REGS | VS_SREGS);
    struct reg_value v;
    const char *why;
    uint8_t now[32];
    int id;

    if (!st)
        return err_set(e, EIO, "cannot read %s", d->reg[n].name);
    if (desc_read(d, n, st, g->linear, now) && !memcmp(now, bytes, d->reg[n].bytes))
        return 0; /* G writes all back to change one */
    if (d->reg[n].id == REG_msr_tsc && tsc_was_told(g, le_load(bytes, 8)))
        return 0;
    why = desc_write(d, n, st, g->linear, bytes, &id, &v);
    if (why)
        return err_set(e, EINVAL, "cannot set %s: %s", d->reg[n].name, why);
    return session_reg_set(g->s, g->thread, id, &v, e);
}

void pk_G(struct gdb *g, const char *p, const char *end)
{
    const struct desc *d = gdb_desc(g);
    struct err e = {0};
    uint8_t bytes[32];

    for (unsigned n = 0; n < d->count && p < end; n++) {
        size_t digits = 2u * d->reg[n].bytes, len;

        if ((size_t)(end - p) < digits) {
            reply_error(g, "the packet ends within %s", d->reg[n].name);
            return;
        }
        if (*p != 'x' && (!hex_bytes(p, p + digits, bytes, sizeof bytes, &len) ||
                          write_one(g, n, bytes, &e) < 0)) {
            reply_error(g, "%s", e.code ? e.msg : "the registers are not in hex");
            return;
        }
        p += digits;
    }
    reply_ok(g);
}

void pk_p(struct gdb *g, const char *p, const char *end)
{
    uint64_t n;

    if (!hex_u64(&p, end, &n) || p != end || n >= gdb_desc(g)->count)
        reply_errno(g, EINVAL);
    else
        gdb_reg_hex(g, g->thread, (unsigned)n, &g->reply);
}

void pk_P(struct gdb *g, const char *p, const char *end)
{
    const struct desc *d = gdb_desc(g);
    struct err e = {0};
    uint8_t bytes[32];
    uint64_t n;
    size_t len;

    if (!hex_u64(&p, end, &n) || n >= d->count || p == end || *p++ != '=')
        reply_error(g, "there is no such register");
    else if (!hex_bytes(p, end, bytes, sizeof bytes, &len) || len != d->reg[n].bytes)
        reply_error(g, "%s has %u bytes", d->reg[n].name, d->reg[n].bytes);
    else if (write_one(g, (unsigned)n, bytes, &e) < 0)
        reply_error(g, "%s", e.msg);
    else
        reply_ok(g);
}
