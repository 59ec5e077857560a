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
    cmd_action_fini(&a->action);
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

int cmd_vcpu_take(struct cmd_client *c, char *text, int *vcpu, struct err *e)
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

/* The first `if` is the keyword; a later one belongs to the expression. */
static const char *find_if(const char *args)
{
    const char *cond = find_keyword(args, "if");

    while (cond && cond > args) {
        char *head = xasprintf("%.*s", (int)(cond - args), args);
        const char *earlier = find_keyword(head, "if");
        const char *next = earlier ? args + (earlier - head) : NULL;

        free(head);
        if (!next)
            break;
        cond = next;
    }
    return cond;
}

int cmd_point_split(struct cmd_client *c, const char *args, struct cmd_point_args *a, struct err *e)
{
    char *line = xstrdup(args);
    const char *cond;
    int r;

    *a = (struct cmd_point_args){.vcpu = -1};
    r = cmd_action_take(line, &a->action, e);
    cond = find_if(line);
    a->where = cmd_trim_dup(line, cond ? (size_t)(cond - line) : strlen(line));
    if (cond)
        a->condition = cmd_trim_dup(cond + 2, strlen(cond + 2));
    free(line);
    if (!r)
        r = cmd_vcpu_take(c, a->where, &a->vcpu, e);
    if (!r && a->condition)
        r = cmd_vcpu_take(c, a->condition, &a->vcpu, e);
    if (!r && a->condition && !*cmd_blanks(a->condition))
        r = err_set(e, EINVAL, "behind `if` must stand an expression");
    return r;
}

/* A location that means nothing yet may come to mean something with other symbols. */
static int find_location(struct cmd_client *c, const char *text, struct location *at, bool *waits,
                         struct err *e)
{
    struct err why = {0};
    int r = cmd_location(c, text, at, &why);
    bool unknown = r == -ENOENT || strstr(why.msg, "no symbol");

    *waits = r && unknown && cmd_state(c)->pending_symbols && !strchr(text, '$') &&
             strncmp(text, "phys:", 5) != 0;
    if (!r || *waits)
        return 0;
    return err_set(e, why.code, "%s%s", why.msg,
                   unknown ? "; with `set breakpoint pending on` a breakpoint waits for it" : "");
}

static void tell_break(struct cmd_client *c, const struct point *p, const char *what, struct out *o)
{
    bool phys = p->spec.space == SPACE_PHYS;
    char name[200];

    if (p->spec.unresolved)
        out_text(o, "%s %d (%s) pending: it waits for symbols that know this.", what, p->id,
                 p->spec.location);
    else
        out_text(o, "%s %d at %s0x%llx%s%s", what, p->id, phys ? "phys:" : "",
                 (unsigned long long)p->spec.addr,
                 phys ? "" : cmd_symbol(c, p->spec.addr, name, sizeof name),
                 strncmp(p->method, "waiting", 7) ? "" : " (pending: nothing is mapped there yet)");
    out_json_u64(o, "id", (uint64_t)p->id);
    out_json_hex(o, "address", p->spec.addr);
    out_json_bool(o, "pending", p->pending);
}

static int make_break(struct cmd_client *c, struct cmd_point_args *a, bool temporary, struct out *o)
{
    struct point_spec spec = {.kind = POINT_BREAK, .temporary = temporary};
    struct location at = {0};
    struct err e = {0};
    int r;

    if (!*cmd_blanks(a->where)) { /* as in gdb: here */
        r = cmd_need_stopped(c, o);
        if (r)
            return r;
        cmd_pc(c, &at.addr);
    } else {
        r = find_location(c, a->where, &at, &spec.unresolved, &e);
    }
    if (!r && temporary && a->action.kind != DO_STOP)
        r = err_set(&e, EINVAL,
                    "`tbreak` is deleted by its stop, and this one would not stop: use `break`");
    if (!r) {
        spec.space = at.space;
        spec.addr = at.addr;
        spec.location = a->where;
        spec.condition = a->condition;
        spec.vcpu = a->vcpu;
        r = cmd_point_add(c, &spec, &a->action, &e);
    }
    if (r < 0)
        return cmd_fail(o, &e);
    tell_break(c, session_point(c->s, r),
               temporary                  ? "Temporary breakpoint"
               : a->action.kind == DO_LOG ? "Dprintf"
                                          : "Breakpoint",
               o);
    return 0;
}

static int add_break(struct cmd_client *c, const char *args, bool temporary, struct out *o)
{
    struct cmd_point_args a;
    struct err e = {0};
    int r = cmd_point_split(c, args, &a, &e);

    r = r ? cmd_fail(o, &e) : make_break(c, &a, temporary, o);
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

/* gdb's form of `break LOCATION do log "FORMAT", EXPR…`. */
int cmd_dprintf_run(struct cmd_client *c, const char *args, struct out *o)
{
    const char *comma = cmd_scan(args, ',');
    char *line;
    int r;

    if (!*comma || comma == args) {
        out_error(o,
                  "`dprintf` takes LOCATION,\"FORMAT\"[,EXPR…], as in `dprintf main,\"here\\n\"`");
        return -EINVAL;
    }
    line = xasprintf("%.*s do log %s", (int)(comma - args), args, comma + 1);
    r = add_break(c, line, false, o);
    free(line);
    return r;
}

/* ---- changing
 * ------------------------------------------------------------------------------------ */

int cmd_each_point(struct cmd_client *c, const char *args, struct out *o, cmd_point_fn *fn,
                   void *arg)
{
    char word[40];

    if (!*args) {
        const struct point *p;
        int id = 0;

        while ((p = session_point_next(c->s, id))) {
            id = p->id;
            fn(c, id, arg);
        }
        return 0;
    }
    while (cmd_word(&args, word, sizeof word)) {
        char *end;
        long a = strtol(word, &end, 10), b = a;

        if (*end == '-')
            b = strtol(end + 1, &end, 10);
        if (*end || a < 1 || b < a || b - a > 10000 || b > INT32_MAX) {
            out_error(o, "`%s` is not the number of a breakpoint, nor a range such as 2-4", word);
            return -EINVAL;
        }
        for (long id = a; id <= b; id++) {
            if (!session_point(c->s, (int)id) || fn(c, (int)id, arg)) {
                out_error(o, "No breakpoint number %ld.", id);
                return -ENOENT;
            }
        }
    }
    return 0;
}

static int del(struct cmd_client *c, int id, void *arg)
{
    (void)arg;
    return session_point_del(c->s, id);
}

static int enable(struct cmd_client *c, int id, void *arg)
{
    return session_point_enable(c->s, id, *(const bool *)arg);
}

struct ending {
    enum point_end end;
    uint64_t stops;
};

static int enable_until(struct cmd_client *c, int id, void *arg)
{
    const struct ending *n = arg;

    session_point_dispose(c->s, id, n->end, n->stops);
    return session_point_enable(c->s, id, true);
}

int cmd_delete_run(struct cmd_client *c, const char *args, struct out *o)
{
    cmd_keyword(&args, "breakpoints");
    return cmd_each_point(c, args, o, del, NULL);
}

int cmd_disable_run(struct cmd_client *c, const char *args, struct out *o)
{
    bool on = false;

    cmd_keyword(&args, "breakpoints");
    return cmd_each_point(c, args, o, enable, &on);
}

int cmd_enable_run(struct cmd_client *c, const char *args, struct out *o)
{
    struct ending n = {.end = POINT_DISABLE, .stops = 1};
    struct err e = {0};
    bool on = true;
    char word[80];

    cmd_keyword(&args, "breakpoints");
    if (cmd_keyword(&args, "once"))
        return cmd_each_point(c, args, o, enable_until, &n);
    if (cmd_keyword(&args, "delete")) {
        n.end = POINT_DELETE;
        return cmd_each_point(c, args, o, enable_until, &n);
    }
    if (!cmd_keyword(&args, "count"))
        return cmd_each_point(c, args, o, enable, &on);
    if (!cmd_word(&args, word, sizeof word) || cmd_eval(c, word, &n.stops, &e) ||
        n.stops - 1 >= INT64_MAX) { /* -1 is no count either */
        out_error(o, "`enable count` takes a count of 1 and up, and then breakpoints: %s",
                  e.msg[0] ? e.msg : "no such count stands there");
        return -EINVAL;
    }
    return cmd_each_point(c, args, o, enable_until, &n);
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
    if (!*args) {
        out_error(o, "how often to pass breakpoint %d is missing, as in `ignore %d 99`", id, id);
        return -EINVAL;
    }
    if (cmd_eval(c, args, &n, &e))
        return cmd_fail(o, &e);
    if (n > INT64_MAX) /* below 0 is 0, as in gdb */
        n = 0;
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
