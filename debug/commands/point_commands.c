/*
 * `commands N` … `end`: lines to run when a point stops the guest. They are kept with the point, so
 * that every client sees them, and run by the front end that tells the stop (cmd.c). Main thread.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "debug/commands/commands.h"
#include "vmm/base/x.h"

#define LINES_MAX 1000u

struct collecting {
    int *id;
    size_t ids;
    struct buf lines;
    unsigned count, depth; /* of nested `commands` */
};

static void collecting_free(struct cmd_state *st)
{
    if (!st->collecting)
        return;
    free(st->collecting->id);
    buf_fini(&st->collecting->lines);
    free(st->collecting);
    st->collecting = NULL;
}

void cmd_collect_drop(struct cmd_state *st)
{
    collecting_free(st);
}

static int add_id(struct cmd_client *c, int id, void *arg)
{
    struct collecting *k = arg;

    if (!session_point(c->s, id))
        return -ENOENT;
    k->id = xrealloc(k->id, k->ids + 1, sizeof *k->id);
    k->id[k->ids++] = id;
    return 0;
}

int cmd_commands_run(struct cmd_client *c, const char *args, struct out *o)
{
    struct cmd_state *st = cmd_state(c);
    char number[24];
    uint64_t last;
    int r;

    st->collecting = xcalloc(1, sizeof *st->collecting);
    if (!*args) { /* as in gdb: the point made last */
        if (!cmd_var_get(c, "bpnum", &last)) {
            out_error(o, "no breakpoint was set: `commands` needs one, or the number of one");
            collecting_free(st);
            return -ENOENT;
        }
        snprintf(number, sizeof number, "%llu", (unsigned long long)last);
        args = number;
    }
    r = cmd_each_point(c, args, o, add_id, st->collecting);
    if (r) {
        collecting_free(st);
        return r;
    }
    out_text(o,
             "Type commands for breakpoint(s) %s, one per line.\nEnd with a line saying just "
             "\"end\".",
             args);
    return 0;
}

int cmd_end_run(struct cmd_client *c, const char *args, struct out *o)
{
    (void)c;
    (void)args;
    out_error(o, "`end` ends the lines of `commands`, and none were begun");
    return -EINVAL;
}

int cmd_silent_run(struct cmd_client *c, const char *args, struct out *o)
{
    (void)c;
    (void)args;
    out_error(o, "`silent` means something as the first line of `commands` alone");
    return -EINVAL;
}

static int finish(struct cmd_client *c, struct out *o)
{
    struct cmd_state *st = cmd_state(c);
    struct collecting *k = st->collecting;
    int r = 0;

    for (size_t i = 0; i < k->ids; i++) {
        if (session_point_commands(c->s, k->id[i], buf_str(&k->lines))) {
            out_error(o, "No breakpoint number %d.", k->id[i]); /* deleted meanwhile */
            r = -ENOENT;
        }
    }
    collecting_free(st);
    return r;
}

/* Mistakes are told now, not at the hit. */
static int check(const char *line, struct err *e)
{
    const char *p = line;

    return cmd_find(&p, e) ? 0 : -EINVAL;
}

int cmd_collect_line(struct cmd_client *c, const char *line, struct out *o)
{
    struct collecting *k = cmd_state(c)->collecting;
    char *text = cmd_trim_dup(line, strlen(line));
    const char *p = text;
    struct err e = {0};
    int r = 0;

    if (!strcmp(text, "end") && !k->depth) {
        free(text);
        return finish(c, o);
    }
    if (!*text || *text == '#') {
        free(text);
        return 0;
    }
    if (k->count == LINES_MAX)
        r = err_set(&e, E2BIG,
                    "`commands` takes at most %u lines: put them in a file and `source` it",
                    LINES_MAX);
    else
        r = check(text, &e);
    if (r) {
        cmd_fail(o, &e);
        free(text);
        return r;
    }
    if (cmd_keyword(&p, "commands"))
        k->depth++;
    else if (!strcmp(text, "end"))
        k->depth--;
    buf_addf(&k->lines, "%s\n", text);
    k->count++;
    free(text);
    return 0;
}

bool cmd_is_collecting(const struct cmd_client *c)
{
    return c->state && c->state->collecting;
}
