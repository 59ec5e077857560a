/*
 * `explain`: one exit in words. Main thread.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "debug/commands/commands.h"
#include "debug/explain.h"
#include "debug/tracer.h"
#include "vmm/vm.h"

/* The newest record of a vCPU that is an exit rather than a note. */
static bool newest(struct session *s, unsigned vcpu, struct exit_event *ev)
{
    struct trace_cursor c;

    session_trace_start(s, &c, true);
    for (uint64_t seq = c.next[vcpu]; seq--;) {
        if (!session_trace_get(s, vcpu, seq, ev))
            return false;
        if (ev->reason != EXIT_KICK && ev->reason != EXIT_INJECT)
            return true;
    }
    return false;
}

/* "N" or "VCPU:N". */
static bool parse(const char *args, unsigned *vcpu, uint64_t *seq)
{
    char *end;
    uint64_t v = strtoull(args, &end, 0);

    if (end != args && *end == ':') {
        *vcpu = v < MACHINE_CPUS_MAX ? (unsigned)v : MACHINE_CPUS_MAX;
        args = end + 1;
        v = strtoull(args, &end, 0);
    }
    *seq = v;
    return end != args && !*end && *args != '-';
}

int cmd_explain_run(struct cmd_client *c, const char *args, struct out *o)
{
    unsigned vcpu = session_focus(c->s);
    struct exit_event ev;
    uint64_t seq;

    if (!*args) {
        if (!newest(c->s, vcpu, &ev)) {
            out_error(o, "vCPU %u has not left the guest yet", vcpu);
            return -ENOENT;
        }
    } else if (!parse(args, &vcpu, &seq)) {
        out_error(o,
                  "`explain` takes the number of a record, as `info exits last` shows it, or "
                  "VCPU:NUMBER, not `%.60s`",
                  args);
        return -EINVAL;
    } else if (vcpu >= session_cpus(c->s) || !session_trace_get(c->s, vcpu, seq, &ev)) {
        out_error(o,
                  "vCPU %u has no record %" PRIu64 ": it is not there yet, or was overwritten "
                  "(`info exits last` shows what is kept)",
                  vcpu, seq);
        return -ENOENT;
    }
    explain_print(&ev, tracer_names(session_tracer(c->s)), session_vm(c->s)->probe.emulated, o);
    return 0;
}
