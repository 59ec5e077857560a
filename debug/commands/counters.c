/*
 * `info counters`: KVM's own statistics. Main thread.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "debug/commands/commands.h"
#include "debug/trace/kvmstats.h"
#include "debug/trace/tracer.h"

int cmd_info_counters_run(struct cmd_client *c, const char *args, struct out *o)
{
    static const char *const columns[] = {"counter", ">value",  ">per second",
                                          "of",      "meaning", NULL};
    bool all = !strcmp(args, "all");
    const struct kvmstats *k;
    char why[200];

    if (*args && !all) {
        out_error(o, "`info counters` takes nothing, or `all` for those that are zero too");
        return -EINVAL;
    }
    k = tracer_counters_lock(session_tracer(c->s), why, sizeof why);
    if (!k) {
        tracer_unlock(session_tracer(c->s));
        out_error(o, "KVM's counters cannot be read: %s", why);
        return -ENOTSUP;
    }
    out_table(o, "counters", "All are zero: the guest has not run.", columns);
    for (size_t i = 0; i < kvmstats_count(k); i++) {
        const struct kvm_counter *n = kvmstats_at(k, i);

        if (!all && !n->value && n->rate <= 0)
            continue;
        out_row(o);
        out_cell(o, "%s", n->name);
        out_cell_u64(o, n->value);
        if (n->grows)
            out_cell_num(o, n->rate, n->rate < 100 ? "%.1f" : "%.0f", n->rate);
        else
            out_cell(o, "-");
        out_cell(o, "%s", n->of_vm ? "VM" : "vCPUs");
        out_cell(o, "%s", n->help ? n->help : "");
    }
    out_table_end(o);
    tracer_unlock(session_tracer(c->s));
    return 0;
}
