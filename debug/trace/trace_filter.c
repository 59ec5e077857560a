/*
 * Expressions over exit records.
 */
#include "debug/trace/trace_filter.h"

#include <stdlib.h>
#include <string.h>

#include "debug/expr.h"
#include "debug/fields.h"
#include "vmm/base/x.h"

struct trace_filter {
    struct expr *x;
    const struct trace_names *names;
    uint64_t fields; /* bit of each field that is read */
};

struct lookup {
    const struct trace_names *names;
    uint64_t fields;
};

static bool on_symbol(void *arg, const char *name, uint64_t *value)
{
    return field_constant(name, value) || names_address(((struct lookup *)arg)->names, name, value);
}

static int on_field(void *arg, const char *name)
{
    int id = field_by_name(name);

    if (id >= 0)
        ((struct lookup *)arg)->fields |= 1ull << (id & 63);
    return id;
}

static int on_text_fn(void *arg, const char *name)
{
    (void)arg;
    return strcmp(name, "symbol") ? -1 : 0;
}

struct trace_filter *filter_compile(const char *text, const struct trace_names *n, struct err *e)
{
    struct lookup l = {.names = n};
    const struct expr_names names = {
        .arg = &l, .symbol = on_symbol, .field = on_field, .text_fn = on_text_fn};
    struct expr *x = expr_compile(text, &names, e);
    struct trace_filter *f;

    if (!x)
        return NULL;
    f = xcalloc(1, sizeof *f);
    f->x = x;
    f->names = n;
    f->fields = l.fields;
    return f;
}

void filter_free(struct trace_filter *f)
{
    if (!f)
        return;
    expr_free(f->x);
    free(f);
}

void filter_names(struct trace_filter *f, const struct trace_names *n)
{
    if (f)
        f->names = n;
}

const char *filter_text(const struct trace_filter *f)
{
    return f ? expr_text(f->x) : "";
}

struct env_arg {
    const struct trace_names *names;
    const struct exit_event *ev;
};

static bool env_field(void *arg, int id, uint64_t *value)
{
    return field_table[id].get(((struct env_arg *)arg)->ev, value);
}

static bool env_text(void *arg, int fn, uint64_t x, char *dst, size_t cap)
{
    const struct env_arg *a = arg;
    bool past = (a->ev->flags & EXIT_F_PAST) && x == a->ev->cs_base + a->ev->rip;
    uint64_t start;
    const char *name = names_symbol(a->names, x - (past ? 1 : 0), &start);

    (void)fn;
    if (!name || strlen(name) >= cap)
        return false;
    memcpy(dst, name, strlen(name) + 1);
    return true;
}

bool filter_match(const struct trace_filter *f, const struct exit_event *ev)
{
    struct env_arg arg = {.ev = ev};
    const struct expr_env env = {.arg = &arg, .field = env_field, .text = env_text};
    uint64_t v;

    if (!f)
        return true;
    arg.names = f->names;
    return expr_eval(f->x, &env, &v, NULL) == 0 && v;
}

bool filter_next(struct filter_stream *s, const struct trace_filter *f, const struct exit_event *ev)
{
    bool *last = &s->wanted[ev->vcpu % MACHINE_CPUS_MAX];

    if (ev->reason == EXIT_STACK)
        return *last;
    if (ev->reason == EXIT_DEVICE || ev->reason == EXIT_KERNEL)
        return filter_match(f, ev);
    *last = filter_match(f, ev);
    return *last;
}

bool filter_needs_records(const struct trace_filter *f, const char **word)
{
    static const char *const words[] = {"value", "count",   "cr3",      "seq",
                                        "at_ns", "stepped", "guest_ns", "host_ns"};

    for (size_t i = 0; f && i < ARRAY_LEN(words); i++) {
        int id = field_by_name(words[i]);

        if (id >= 0 && f->fields >> (id & 63) & 1) {
            *word = words[i];
            return true;
        }
    }
    return false;
}
