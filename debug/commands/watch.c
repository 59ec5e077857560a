/*
 * Watchpoints: watch, rwatch, awatch and their list. Main thread.
 */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "debug/commands/commands.h"
#include "debug/expr.h"
#include "debug/symbols/sym.h"
#include "vmm/base/x.h"

/* What gdb takes for *ADDRESS: an int. */
#define DEFAULT_BYTES 4

struct target {
    enum space space;
    uint64_t addr, len;
};

/* Bytes of the type in "*(TYPE*)REST"; *rest is behind the parenthesis. 0: not of that form. */
static unsigned cast_bytes(const char *text, const char **rest)
{
    const char *p, *name, *end;
    size_t n;

    if (*text != '*' || *(p = cmd_blanks(text + 1)) != '(')
        return 0;
    name = p = cmd_blanks(p + 1);
    while (isalnum((unsigned char)*p) || *p == '_')
        p++;
    n = (size_t)(p - name);
    end = cmd_blanks(p);
    if (!n || *end != '*' || *(end = cmd_blanks(end + 1)) != ')')
        return 0;
    *rest = end + 1;
    return expr_type_bytes(name, n);
}

/* The comma that sets off the length: the last one outside parentheses. */
static const char *length_comma(const char *text)
{
    const char *found = NULL;
    int depth = 0;

    for (const char *p = text; *p; p++) {
        if (*p == '(' || *p == '[')
            depth++;
        else if (*p == ')' || *p == ']')
            depth--;
        else if (*p == ',' && depth == 0)
            found = p;
    }
    return found;
}

static int plain_target(struct cmd_client *c, const char *text, struct target *t, struct err *e)
{
    const struct symbol *y = symbols_find(session_symbols(c->s), text);
    struct location at;
    const char *rest;
    unsigned bytes = cast_bytes(text, &rest);
    int r;

    if (*text == '$' && !length_comma(text))
        return err_set(e, EINVAL,
                       "%s is a register, and only memory can be watched: write *(u64*)%s for the "
                       "memory it points to",
                       text, text);
    if (bytes) {
        t->len = bytes;
        return cmd_eval(c, rest, &t->addr, e);
    }
    r = cmd_location(c, text, &at, e);
    t->space = at.space;
    t->addr = at.addr;
    t->len = y && y->size ? y->size : DEFAULT_BYTES;
    return r;
}

static int parse_target(struct cmd_client *c, const char *text, struct target *t, struct err *e)
{
    const char *comma = length_comma(text);
    char *head;
    int r;

    *t = (struct target){.space = SPACE_LINEAR};
    if (!comma)
        return plain_target(c, text, t, e);
    head = cmd_trim_dup(text, (size_t)(comma - text));
    if (*head == '$') { /* with a length: what the register points to */
        r = cmd_eval(c, head, &t->addr, e);
    } else {
        r = plain_target(c, head, t, e);
    }
    free(head);
    return r ? r : cmd_eval(c, comma + 1, &t->len, e);
}

static const char *kind_text(enum watch_access access)
{
    return access == WATCH_READ     ? "Read watchpoint"
           : access == WATCH_ACCESS ? "Access (read/write) watchpoint"
                                    : "Watchpoint";
}

static int add_watch(struct cmd_client *c, const char *args, enum watch_access access,
                     struct out *o)
{
    struct point_spec spec = {.kind = POINT_WATCH, .access = access};
    struct cmd_point_args a;
    struct target t = {0};
    struct err e = {0};
    int r;

    while (cmd_keyword(&args, "-location") || cmd_keyword(&args, "-l"))
        ;
    if (cmd_keyword(&args, "-w") && access == WATCH_CHANGE)
        spec.access = WATCH_WRITE;
    r = cmd_point_split(c, args, &a, &e);
    if (!r && !*a.where)
        r = err_set(&e, EINVAL,
                    "what to watch is missing: a symbol, *(u32*)ADDRESS, or ADDRESS,LENGTH");
    if (!r)
        r = parse_target(c, a.where, &t, &e);
    if (!r) {
        spec.space = t.space;
        spec.addr = t.addr;
        spec.len = t.len;
        spec.location = a.where;
        spec.condition = a.condition;
        spec.vcpu = a.vcpu;
        r = cmd_point_add(c, &spec, &a.action, &e);
    }
    if (r < 0) {
        cmd_fail(o, &e);
    } else {
        const struct point *p = session_point(c->s, r);

        out_text(o, "%s %d: %s (%llu byte%s at %s0x%llx, %s%s)", kind_text(spec.access), r, a.where,
                 (unsigned long long)t.len, t.len == 1 ? "" : "s",
                 t.space == SPACE_PHYS ? "phys:" : "", (unsigned long long)t.addr,
                 p->pending ? "pending: nothing is mapped there yet" : "by ",
                 p->pending ? "" : p->method);
        out_json_u64(o, "id", (uint64_t)r);
        out_json_hex(o, "address", t.addr);
        out_json_u64(o, "length", t.len);
        r = 0;
    }
    cmd_point_args_fini(&a);
    return r;
}

int cmd_watch_run(struct cmd_client *c, const char *args, struct out *o)
{
    return add_watch(c, args, WATCH_CHANGE, o);
}

int cmd_rwatch_run(struct cmd_client *c, const char *args, struct out *o)
{
    return add_watch(c, args, WATCH_READ, o);
}

int cmd_awatch_run(struct cmd_client *c, const char *args, struct out *o)
{
    return add_watch(c, args, WATCH_ACCESS, o);
}
