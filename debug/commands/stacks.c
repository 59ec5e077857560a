/*
 * `trace stacks`: callers with each exit. Main thread.
 */
#include <errno.h>
#include <stdlib.h>

#include "debug/commands/commands.h"
#include "debug/session.h"
#include "debug/stacks.h"

static int told(struct cmd_client *c, struct out *o)
{
    unsigned depth = session_stacks(c->s);

    out_json_u64(o, "stacks", depth);
    if (depth)
        out_text(o, "With each exit up to %u callers are recorded.", depth);
    else
        out_text(o, "Exits are recorded without their callers.");
    return 0;
}

int cmd_trace_stacks(struct cmd_client *c, const char *args, struct out *o)
{
    unsigned long depth = STACKS_DEPTH;
    char *end;

    if (!*args)
        return told(c, o);
    if (cmd_keyword(&args, "off")) {
        depth = 0;
    } else if (!cmd_keyword(&args, "on")) {
        out_error(o, "`trace stacks` takes `on [DEPTH]` or `off`, not `%.60s`", args);
        return -EINVAL;
    } else if (*args) {
        depth = strtoul(args, &end, 10);
        args = end;
        if (depth < 1 || depth > STACKS_DEPTH_MAX)
            depth = 0, args = "?";
    }
    if (*args) {
        out_error(o, "`trace stacks on` takes a depth from 1 to %u", STACKS_DEPTH_MAX);
        return -EINVAL;
    }
    session_set_stacks(c->s, (unsigned)depth);
    return told(c, o);
}
