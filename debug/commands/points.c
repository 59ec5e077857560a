/*
 * Breakpoints and catchpoints. Main thread.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "debug/commands/commands.h"
#include "vmm/base/x.h"

void cmd_point_args_fini(struct cmd_point_args *a)
{
    free(a->where);
    free(a->condition);
}

/* Start of the last keyword `word` that stands between blanks outside quotes, or NULL. */
static const char *find_keyword(const char *text, const char *word)
{
    size_t len = strlen(word);
    const char *found = NULL;

    for (const char *p = text; *p; p++) {
        bool start = p == text || isspace((unsigned char)p[-1]);

        if (start && !strncmp(p, word, len) &&
            (isspace((unsigned char)p[len]) || (!p[len] || p[len] == '(')))
            found = p;
    }
    return found;
}

/* Cuts "thread N" or "vcpu N" off the end of `text` in place. */
static int take_vcpu(struct cmd_client *c, char *text, int *vcpu, struct err *e)
{
    const char *at = find_keyword(text, "thread"), *p;
    char *end;
    long n;

    if (!at)
        at = find_keyword(text, "vcpu");
    if (!at)
        return 0;
    p = cmd_blanks(at + strcspn(at, " \t"));
    n = strtol(p, &end, 10);
    if (end == p || *cmd_blanks(end))
        return err_set(e, EINVAL,
                       "behind `thread` must stand the number of a vCPU, as in `thread 0`");
    if (n < 0 || (unsigned long)n >= session_cpus(c->s))
        return err_set(e, EINVAL, "there is no vCPU %ld: this guest has %u (from 0)", n,
                       session_cpus(c->s));
    *vcpu = (int)n;
    text[at - text] = 0;
    return 0;
}

int cmd_point_split(struct cmd_client *c, const char *args, struct cmd_point_args *a, struct err *e)
{
    const char *cond = find_keyword(args, "if"), *next;
    int r;

    *a = (struct cmd_point_args){.vcpu = -1};
    /* The first `if` is the keyword; a later one belongs to the expression. */
    while (cond && (next = cond) && cond > args) {
        char *head = xasprintf("%.*s", (int)(cond - args), args);
        const char *earlier = find_keyword(head, "if");

        next = earlier ? args + (earlier - head) : NULL;
        free(head);
        if (!next)
            break;
        cond = next;
    }
    a->where = cmd_trim_dup(args, cond ? (size_t)(cond - args) : strlen(args));
    if (cond)
        a->condition = cmd_trim_dup(cond + 2, strlen(cond + 2));
    r = take_vcpu(c, a->where, &a->vcpu, e);
    if (!r && a->condition)
        r = take_vcpu(c, a->condition, &a->vcpu, e);
    if (!r && a->condition && !*cmd_blanks(a->condition))
        r = err_set(e, EINVAL, "behind `if` must stand an expression");
    return r;
}

static int add_break(struct cmd_client *c, const char *args, bool temporary, struct out *o)
{
    struct cmd_point_args a;
    struct point_spec spec = {.kind = POINT_BREAK};
    struct location at = {0};
    struct err e = {0};
    char name[200];
    int r = cmd_point_split(c, args, &a, &e);

    if (!r && !*cmd_blanks(a.where)) { /* as in gdb: here */
        r = cmd_need_stopped(c, o);
        if (r)
            goto out;
        cmd_pc(c, &at.addr);
    } else if (!r) {
        r = cmd_location(c, a.where, &at, &e);
    }
    if (!r) {
        spec.space = at.space;
        spec.addr = at.addr;
        spec.location = a.where;
        spec.condition = a.condition;
        spec.vcpu = a.vcpu;
        spec.temporary = temporary;
        r = session_point_add(c->s, &spec, &e);
    }
    if (r < 0) {
        cmd_fail(o, &e);
        goto out;
    }
    cmd_var_set(c, "bpnum", (uint64_t)r);
    out_text(o, "%s %d at %s0x%llx%s", temporary ? "Temporary breakpoint" : "Breakpoint", r,
             at.space == SPACE_PHYS ? "phys:" : "", (unsigned long long)at.addr,
             at.space == SPACE_PHYS ? "" : cmd_symbol(c, at.addr, name, sizeof name));
    out_json_u64(o, "id", (uint64_t)r);
    out_json_u64(o, "address", at.addr);
    r = 0;
out:
    cmd_point_args_fini(&a);
    return r;
}

int cmd_break_run(struct cmd_client *c, const char *args, struct out *o)
{
    return add_break(c, args, false, o);
}

int cmd_tbreak_run(struct cmd_client *c, const char *args, struct out *o)
{
    return add_break(c, args, true, o);
}

/* ---- changing
 * ------------------------------------------------------------------------------------ */

/* Calls `fn` for each id or range in "1 3-5"; without arguments for all. */
static int each_point(struct cmd_client *c, const char *args, struct out *o,
                      int (*fn)(struct session *s, int id))
{
    char word[40];

    if (!*args) {
        const struct point *p;
        int id = 0;

        while ((p = session_point_next(c->s, id))) {
            id = p->id;
            fn(c->s, id);
        }
        return 0;
    }
    while (cmd_word(&args, word, sizeof word)) {
        char *end;
        long a = strtol(word, &end, 10), b = a;

        if (*end == '-')
            b = strtol(end + 1, &end, 10);
        if (*end || a < 1 || b < a || b - a > 10000) {
            out_error(o, "`%s` is not the number of a breakpoint, nor a range such as 2-4", word);
            return -EINVAL;
        }
        for (long id = a; id <= b; id++) {
            if (!session_point(c->s, (int)id) || fn(c->s, (int)id)) {
                out_error(o, "No breakpoint number %ld.", id);
                return -ENOENT;
            }
        }
    }
    return 0;
}

static int enable(struct session *s, int id)
{
    return session_point_enable(s, id, true);
}

static int disable(struct session *s, int id)
{
    return session_point_enable(s, id, false);
}

int cmd_delete_run(struct cmd_client *c, const char *args, struct out *o)
{
    cmd_keyword(&args, "breakpoints");
    return each_point(c, args, o, session_point_del);
}

int cmd_disable_run(struct cmd_client *c, const char *args, struct out *o)
{
    return each_point(c, args, o, disable);
}

int cmd_enable_run(struct cmd_client *c, const char *args, struct out *o)
{
    return each_point(c, args, o, enable);
}

/* The number in front of `condition` and `ignore`. */
static int point_number(struct cmd_client *c, const char **args, int *id, struct out *o)
{
    char word[40], *end;
    long n;

    if (!cmd_word(args, word, sizeof word)) {
        out_error(o, "the number of a breakpoint is missing: `info breakpoints` lists them");
        return -EINVAL;
    }
    n = strtol(word, &end, 10);
    if (*end || n < 1 || n > INT32_MAX || !session_point(c->s, (int)n)) {
        out_error(o, "No breakpoint number %s.", word);
        return -ENOENT;
    }
    *id = (int)n;
    return 0;
}

int cmd_condition_run(struct cmd_client *c, const char *args, struct out *o)
{
    struct err e = {0};
    int id, r = point_number(c, &args, &id, o);

    if (r)
        return r;
    r = session_point_condition(c->s, id, *args ? args : NULL, &e);
    if (r)
        return cmd_fail(o, &e);
    if (!*args)
        out_line(o, "Breakpoint %d now unconditional.", id);
    return 0;
}

int cmd_ignore_run(struct cmd_client *c, const char *args, struct out *o)
{
    struct err e = {0};
    uint64_t n = 0;
    int id, r = point_number(c, &args, &id, o);

    if (r)
        return r;
    if (*args && cmd_eval(c, args, &n, &e))
        return cmd_fail(o, &e);
    r = session_point_ignore(c->s, id, n);
    if (r) {
        out_error(o, "No breakpoint number %d.", id);
        return r;
    }
    if (n)
        out_line(o, "Will ignore next %llu crossings of breakpoint %d.", (unsigned long long)n, id);
    else
        out_line(o, "Will stop next time breakpoint %d is reached.", id);
    return 0;
}

/* ---- list
 * ---------------------------------------------------------------------------------------- */

static const char *point_type(const struct point_spec *spec)
{
    if (spec->kind != POINT_WATCH)
        return spec->kind == POINT_CATCH ? "catchpoint" : "breakpoint";
    return spec->access == WATCH_READ     ? "read watchpoint"
           : spec->access == WATCH_ACCESS ? "acc watchpoint"
           : spec->access == WATCH_WRITE  ? "write watchpoint"
                                          : "watchpoint";
}

static void point_row(struct cmd_client *c, const struct point *p, struct out *o)
{
    char name[200];

    out_row(o);
    out_cell_u64(o, (uint64_t)p->id);
    out_cell(o, "%s", point_type(&p->spec));
    out_cell(o, "%s", p->spec.temporary ? "del" : "keep");
    out_cell_bool(o, p->enabled);
    if (p->spec.kind == POINT_CATCH)
        out_cell(o, "%s", exit_kind_name(p->spec.catch_reason));
    else if (p->pending)
        out_cell(o, "<pending>");
    else
        out_cell(o, "%s0x%016llx", p->spec.space == SPACE_PHYS ? "phys:" : "",
                 (unsigned long long)p->spec.addr);
    cmd_symbol(c, p->spec.addr, name, sizeof name);
    if (p->spec.kind != POINT_BREAK || p->pending || !*name || p->spec.space == SPACE_PHYS)
        out_cell(o, "%s", p->spec.location ? p->spec.location : "");
    else
        out_cell(o, "%s", name + 1);
    out_cell_u64(o, p->hits);
    out_cell(o, "%s", p->method ? p->method : "");
    out_cell(o, "%s",
             p->spec.condition      ? p->spec.condition
             : p->spec.catch_filter ? p->spec.catch_filter
                                    : "");
    if (p->spec.vcpu >= 0)
        out_cell(o, "vcpu %d", p->spec.vcpu);
    else
        out_cell(o, "all");
    out_cell_u64(o, p->spec.ignore);
    out_cell_u64(o, p->false_hits);
}

static int list_points(struct cmd_client *c, bool watch_only, const char *none, struct out *o)
{
    static const char *const columns[] = {"Num",     "Type",   "Disp", "Enb", "Address",
                                          "What",    ">Hits",  "How",  "If",  "Cpus",
                                          ">Ignore", ">False", NULL};
    int id = 0;

    out_table(o, watch_only ? "watchpoints" : "breakpoints", none, columns);
    for (const struct point *p; (p = session_point_next(c->s, id)); id = p->id)
        if (!watch_only || p->spec.kind == POINT_WATCH)
            point_row(c, p, o);
    out_table_end(o);
    return 0;
}

int cmd_info_breakpoints_run(struct cmd_client *c, const char *args, struct out *o)
{
    (void)args;
    return list_points(c, false,
                       "No breakpoints: `break LOCATION` makes one, `watch` one for data, `catch "
                       "KIND` one for exits.",
                       o);
}

int cmd_info_watchpoints_run(struct cmd_client *c, const char *args, struct out *o)
{
    (void)args;
    return list_points(c, true, "No watchpoints: `watch EXPR` makes one.", o);
}
