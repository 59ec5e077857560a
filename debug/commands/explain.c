/*
 * `explain`: one exit in words. Main thread.
 */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "debug/commands/commands.h"
#include "debug/stacks.h"
#include "debug/trace/explain.h"
#include "debug/trace/trace_stat.h"
#include "debug/trace/tracer.h"
#include "vmm/vm.h"

/* The newest record of a vCPU that is an exit rather than a note. */
static bool newest(struct session *s, unsigned vcpu, struct exit_event *ev)
{
    struct trace_cursor c;

    session_trace_start(s, &c, true);
    for (uint64_t seq = c.next[vcpu]; seq--;) {
        if (!session_trace_get(s, vcpu, seq, ev))
            return false;
        if (ev->reason != EXIT_KICK && !stat_is_note(ev->reason))
            return true;
    }
    return false;
}

/* "N", "VCPU:N", "device:N" or "kernel:N". */
static bool parse(struct session *s, const char *args, unsigned *source, uint64_t *seq)
{
    static const char device[] = "device:", kernel[] = "kernel:";
    char *end;
    uint64_t v;

    if (!strncmp(args, device, strlen(device))) {
        *source = session_trace_devices(s);
        args += strlen(device);
    } else if (!strncmp(args, kernel, strlen(kernel))) {
        *source = session_trace_kernel(s);
        args += strlen(kernel);
    } else {
        v = strtoull(args, &end, 0);
        if (end != args && *end == ':') {
            *source = v < session_cpus(s) ? (unsigned)v : UINT_MAX;
            args = end + 1;
        }
    }
    *seq = strtoull(args, &end, 0);
    return end != args && !*end && *args != '-';
}

/* They stand behind their exit, when they were recorded. */
static void callers(struct session *s, unsigned source, const struct exit_event *ev, struct out *o)
{
    struct stack_frames frames = {0};
    struct exit_event next;

    for (uint64_t seq = ev->seq + 1;
         ev->reason < EXIT_OUR_FIRST && session_trace_get(s, source, seq, &next) &&
         next.reason == EXIT_STACK && stacks_take(&frames, &next);
         seq++)
        ;
    explain_callers(&frames, tracer_names(session_tracer(s)), o);
}

int cmd_explain_run(struct cmd_client *c, const char *args, struct out *o)
{
    unsigned source = session_focus(c->s);
    struct exit_event ev;
    uint64_t seq;

    if (!*args) {
        if (!newest(c->s, source, &ev)) {
            out_error(o, "vCPU %u has not left the guest yet", source);
            return -ENOENT;
        }
    } else if (!parse(c->s, args, &source, &seq)) {
        out_error(o,
                  "`explain` takes the number of a record, as `info exits last` shows it, or "
                  "VCPU:NUMBER, device:NUMBER or kernel:NUMBER, not `%.60s`",
                  args);
        return -EINVAL;
    } else if (!session_trace_get(c->s, source, seq, &ev)) {
        out_error(o,
                  "there is no record %.60s: it is not there yet, or was overwritten (`info exits "
                  "last` shows what is kept)",
                  args);
        return -ENOENT;
    }
    explain_print(&ev, tracer_names(session_tracer(c->s)), session_vm(c->s)->probe.emulated, o);
    callers(c->s, source, &ev, o);
    return 0;
}
