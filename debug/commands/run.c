/*
 * Run control. Every row returns at once; the end arrives as EV_STOPPED and is told by
 * cmd_report_stop. Main thread.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "debug/commands/commands.h"
#include "vmm/base/x.h"

static int done(struct out *o, int r, const struct err *e)
{
    if (r < 0)
        return cmd_fail(o, e);
    return 0;
}

int cmd_continue_run(struct cmd_client *c, const char *args, struct out *o)
{
    const struct stop_info *stop = session_last_stop(c->s);
    struct err e = {0};
    uint64_t n;
    int r = cmd_count(c, args, 1, &n, o);

    if (r)
        return r;
    if (n > 1) {
        if (stop->kind != STOP_BREAKPOINT && stop->kind != STOP_WATCHPOINT &&
            stop->kind != STOP_CATCH) {
            out_error(o,
                      "the guest did not stop at a breakpoint, so there is none to pass %llu "
                      "times: use `continue` alone",
                      (unsigned long long)n - 1);
            return -EINVAL;
        }
        r = session_point_ignore(c->s, stop->point_id, n - 1);
        if (r) {
            out_error(o, "breakpoint %d is gone, so it cannot be ignored", stop->point_id);
            return r;
        }
        out_line(o, "Will ignore next %llu crossings of breakpoint %d.", (unsigned long long)n - 1,
                 stop->point_id);
    }
    r = session_run(c->s, &e);
    if (!r && !cmd_state(c)->of_point) /* as in gdb */
        out_text(o, "Continuing.");
    return done(o, r, &e);
}

int cmd_stepi_run(struct cmd_client *c, const char *args, struct out *o)
{
    struct err e = {0};
    uint64_t n;
    int r = cmd_count(c, args, 1, &n, o);

    return r ? r : done(o, session_step(c->s, session_focus(c->s), n, &e), &e);
}

int cmd_stepto_run(struct cmd_client *c, const char *args, struct out *o)
{
    static const char *const words[] = {[STEP_TO_BRANCH] = "branch",
                                        [STEP_TO_CALL] = "call",
                                        [STEP_TO_RET] = "ret",
                                        [STEP_TO_MODE] = "mode",
                                        [STEP_TO_CR3] = "cr3"};
    struct err e = {0};

    for (unsigned i = STEP_TO_BRANCH; i <= STEP_TO_CR3; i++)
        if (!strcmp(args, words[i]))
            return done(o, session_step_to(c->s, session_focus(c->s), (enum step_to)i, &e), &e);
    out_error(o, "step to what? branch, call, ret, mode or cr3");
    return -EINVAL;
}

int cmd_nexti_run(struct cmd_client *c, const char *args, struct out *o)
{
    struct err e = {0};
    uint64_t n;
    int r = cmd_count(c, args, 1, &n, o);

    return r ? r : done(o, session_step_over(c->s, session_focus(c->s), n, &e), &e);
}

int cmd_finish_run(struct cmd_client *c, const char *args, struct out *o)
{
    struct err e = {0};
    char name[200];
    uint64_t pc;
    bool known = cmd_pc(c, &pc);
    int r;

    if (*args) {
        out_error(o, "`finish` takes no argument: it runs until the present function returned");
        return -EINVAL;
    }
    r = session_finish(c->s, session_focus(c->s), &e);
    if (!r && known)
        out_text(o, "Run till exit from 0x%llx%s", (unsigned long long)pc,
                 cmd_symbol(c, pc, name, sizeof name));
    return done(o, r, &e);
}

int cmd_until_run(struct cmd_client *c, const char *args, struct out *o)
{
    struct location at;
    struct err e = {0};

    if (cmd_location(c, args, &at, &e))
        return cmd_fail(o, &e);
    if (at.space == SPACE_PHYS) {
        out_error(o,
                  "`until` takes a linear address; for a physical one use `tbreak %s` and "
                  "`continue`",
                  args);
        return -EINVAL;
    }
    return done(o, session_until(c->s, at.addr, &e), &e);
}

int cmd_stop_run(struct cmd_client *c, const char *args, struct out *o)
{
    int r;

    (void)args;
    if (session_state(c->s) != SS_RUNNING) {
        out_line(o, "The guest stands already.");
        return 0;
    }
    r = session_stop(c->s);
    if (r)
        out_error(o, "cannot stop the guest: %s", strerror(-r));
    return r;
}

int cmd_reset_run(struct cmd_client *c, const char *args, struct out *o)
{
    struct err e = {0};
    int r;

    (void)args;
    r = session_reset(c->s, &e);
    if (r)
        return cmd_fail(o, &e);
    out_line(o, "The guest stands at its entry again.");
    return 0;
}

int cmd_run_run(struct cmd_client *c, const char *args, struct out *o)
{
    const struct stop_info *stop = session_last_stop(c->s);
    struct err e = {0};

    (void)args;
    if (!stop || stop->kind != STOP_ENTRY) {
        if (session_reset(c->s, &e))
            return cmd_fail(o, &e);
        out_text(o, "Starting from the beginning.");
    }
    return done(o, session_run(c->s, &e), &e);
}

int cmd_quit_run(struct cmd_client *c, const char *args, struct out *o)
{
    char *end;
    long n = -1;

    if (*args) {
        n = strtol(args, &end, 0);
        if (*end || n < 0 || n > 255) {
            out_error(o, "an exit status is a number from 0 to 255, not `%s`", args);
            return -EINVAL;
        }
    }
    c->quit = true;
    c->quit_status = (int)n;
    return 0;
}
