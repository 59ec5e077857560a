/*
 * control listen, close and status. Main thread.
 */
#include <errno.h>

#include "debug/commands/commands.h"
#include "debug/control/control.h"

static void describe(struct cmd_client *c, struct out *o)
{
    struct buf b = {0};

    control_describe(c->s, &b);
    if (b.len)
        b.data[b.len - 1] = 0;
    out_text(o, "%s", buf_str(&b));
    out_json_bool(o, "listening", control_is_listening(c->s));
    out_json_u64(o, "clients", control_clients(c->s));
    buf_fini(&b);
}

int cmd_control_listen_run(struct cmd_client *c, const char *args, struct out *o)
{
    struct err e = {0};

    if (!*args) {
        out_error(o, "control listen: say where, as in `control listen unix:/tmp/vmscope.sock`");
        return -EINVAL;
    }
    if (control_listen(c->s, args, &e) < 0)
        return cmd_fail(o, &e);
    describe(c, o);
    return 0;
}

int cmd_control_close_run(struct cmd_client *c, const char *args, struct out *o)
{
    (void)args;
    if (!control_is_listening(c->s)) {
        out_error(o, "control close: nobody listens; `control listen unix:PATH` begins");
        return -ENOENT;
    }
    control_close(c->s);
    out_line(o, "No longer listening for control.");
    return 0;
}

int cmd_control_status_run(struct cmd_client *c, const char *args, struct out *o)
{
    (void)args;
    describe(c, o);
    return 0;
}
