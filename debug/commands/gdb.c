/*
 * gdb listen, close and status. Main thread.
 */
#include <errno.h>

#include "debug/commands/commands.h"
#include "debug/gdb/gdb.h"

static void describe(struct cmd_client *c, struct out *o)
{
    struct buf b = {0};

    gdb_describe(c->s, &b);
    if (b.len)
        b.data[b.len - 1] = 0;
    out_text(o, "%s", buf_str(&b));
    out_json_bool(o, "listening", gdb_is_listening(c->s));
    if (gdb_port(c->s))
        out_json_u64(o, "port", gdb_port(c->s));
    buf_fini(&b);
}

int cmd_gdb_listen_run(struct cmd_client *c, const char *args, struct out *o)
{
    struct err e = {0};

    if (!*args) {
        out_error(o, "gdb listen: say where: [HOST:]PORT or unix:PATH, as in `gdb listen 1234`");
        return -EINVAL;
    }
    if (gdb_listen(c->s, args, &e) < 0)
        return cmd_fail(o, &e);
    describe(c, o);
    return 0;
}

int cmd_gdb_close_run(struct cmd_client *c, const char *args, struct out *o)
{
    (void)args;
    if (!gdb_is_listening(c->s)) {
        out_error(o, "gdb close: nobody listens; `gdb listen 1234` begins");
        return -ENOENT;
    }
    gdb_close(c->s);
    out_line(o, "No longer listening for gdb.");
    return 0;
}

int cmd_gdb_status_run(struct cmd_client *c, const char *args, struct out *o)
{
    (void)args;
    describe(c, o);
    return 0;
}
