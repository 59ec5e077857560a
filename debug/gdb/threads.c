/*
 * vCPUs as threads: vCPU n is thread n + 1. Main thread.
 */
#include <errno.h>
#include <string.h>

#include "debug/gdb/stub.h"

/* How many threads there are for the client. */
static unsigned shown(const struct gdb *g)
{
    return g->over ? 0 : session_cpus(g->s);
}

void pk_H(struct gdb *g, const char *p, const char *end)
{
    char op = p < end ? *p++ : 0;
    int vcpu;

    if ((op != 'g' && op != 'c') || !thread_id(g, &p, end, &vcpu) || p != end) {
        reply_errno(g, EINVAL);
        return;
    }
    if (op == 'c')
        g->run_thread = vcpu < 0 ? UINT32_MAX : (unsigned)vcpu;
    else if (vcpu >= 0)
        g->thread = (unsigned)vcpu;
    reply_ok(g);
}

void pk_T(struct gdb *g, const char *p, const char *end)
{
    int vcpu;

    if (thread_id(g, &p, end, &vcpu) && p == end && vcpu >= 0 && !g->over)
        reply_ok(g);
    else
        reply_errno(g, ESRCH);
}

void pk_qC(struct gdb *g, const char *p, const char *end)
{
    (void)p;
    (void)end;
    reply_fmt(g, "QC%x", g->thread + 1);
}

void pk_threads_first(struct gdb *g, const char *p, const char *end)
{
    (void)p;
    (void)end;
    for (unsigned i = 0; i < shown(g); i++)
        reply_fmt(g, "%c%x", i ? ',' : 'm', i + 1);
    if (!shown(g))
        reply_str(g, "l");
}

void pk_threads_next(struct gdb *g, const char *p, const char *end)
{
    (void)p;
    (void)end;
    reply_str(g, "l");
}

/* One line for people about a vCPU: "running, long64, ring 0". */
static void gdb_thread_text(struct gdb *g, unsigned vcpu, struct buf *out)
{
    const struct vcpu_state *st = session_cpu(g->s, vcpu, VS_REGS | VS_SREGS);

    buf_adds(out, session_cpu_status(g->s, vcpu));
    if (st)
        buf_addf(out, ", %s, ring %u", cpu_mode_name(cpu_mode_of(&st->sregs, st->regs.rflags)),
                 cpu_cpl(&st->sregs));
}

void pk_thread_extra(struct gdb *g, const char *p, const char *end)
{
    struct buf b = {0};
    int vcpu;

    if (p < end)
        p++;
    if (!thread_id(g, &p, end, &vcpu) || p != end || vcpu < 0) {
        reply_errno(g, EINVAL);
        return;
    }
    buf_addf(&b, "vCPU %d: ", vcpu);
    gdb_thread_text(g, (unsigned)vcpu, &b);
    hex_add(&g->reply, b.data, b.len);
    buf_fini(&b);
}

void pk_threads_xml(struct gdb *g, const char *p, const char *end)
{
    if (end - p > 1 && p[0] == '0' && p[1] == ',') {
        buf_clear(&g->threads_xml);
        buf_adds(&g->threads_xml, "<?xml version=\"1.0\"?>\n<threads>\n");
        for (unsigned i = 0; i < shown(g); i++) {
            buf_addf(&g->threads_xml, "<thread id=\"%x\" core=\"%u\" name=\"vCPU %u\">", i + 1, i,
                     i);
            gdb_thread_text(g, i, &g->threads_xml);
            buf_adds(&g->threads_xml, "</thread>\n");
        }
        buf_adds(&g->threads_xml, "</threads>\n");
    }
    reply_xfer(g, &g->threads_xml, p, end);
}
