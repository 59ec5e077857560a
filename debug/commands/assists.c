/*
 * `info assists`: what vmscope did in place of this host's KVM. Main thread.
 */
#include "debug/commands/commands.h"

int cmd_info_assists_run(struct cmd_client *c, const char *args, struct out *o)
{
    static const char *const columns[] = {"kind", ">count", "meaning", NULL};
    uint64_t counts[ASSIST_KINDS], total = 0;

    (void)args;
    session_assist_counts(c->s, counts);
    out_table(o, "assists",
              session_assist_on(c->s)
                  ? "No instruction of the guest had to be carried out for this host's KVM."
                  : "The assist is off (--assist off).",
              columns);
    for (unsigned i = 0; i < ASSIST_KINDS; i++) {
        if (!counts[i])
            continue;
        total += counts[i];
        out_row(o);
        out_cell(o, "%s", assist_name(i));
        out_cell_u64(o, counts[i]);
        out_cell(o, "%s", assist_help(i));
    }
    out_table_end(o);
    out_json_u64(o, "total", total);
    out_json_bool(o, "on", session_assist_on(c->s));
    return 0;
}
