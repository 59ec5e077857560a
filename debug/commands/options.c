/*
 * The option table behind `set` and `show`. A name may be typed with blanks, dots or underscores
 * for its hyphens, and cut while it is unambiguous. Main thread.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "debug/commands/commands.h"
#include "vmm/base/near.h"
#include "vmm/base/x.h"

struct option {
    const char *name;
    const char *const *values; /* ended by NULL */
    const char *help;
    unsigned (*get)(struct cmd_client *c);
    void (*set)(struct cmd_client *c, unsigned value);
};

static const char *const off_on[] = {"off", "on", NULL};
static const char *const lock_values[] = {"off", "on", "step", NULL};
static const char *const flavors[] = {"intel", "att", NULL};

static unsigned get_step_irq(struct cmd_client *c)
{
    return session_step_irq(c->s);
}

static void set_step_irq(struct cmd_client *c, unsigned v)
{
    session_set_step_irq(c->s, v != 0);
}

static unsigned get_lock(struct cmd_client *c)
{
    return session_sched_lock(c->s);
}

static void set_lock(struct cmd_client *c, unsigned v)
{
    static const enum sched_lock of[] = {SCHED_OFF, SCHED_ON, SCHED_STEP};

    session_set_sched_lock(c->s, of[v]);
}

static unsigned get_flavor(struct cmd_client *c)
{
    return cmd_state(c)->att;
}

static void set_flavor(struct cmd_client *c, unsigned v)
{
    cmd_state(c)->att = v != 0;
    disasm_syntax(session_disasm(c->s), v ? DISASM_ATT : DISASM_INTEL);
}

static unsigned get_pending(struct cmd_client *c)
{
    return cmd_state(c)->pending_symbols;
}

static void set_pending(struct cmd_client *c, unsigned v)
{
    cmd_state(c)->pending_symbols = v != 0;
}

static unsigned get_registers(struct cmd_client *c)
{
    return session_registers_allowed(c->s);
}

static void set_registers(struct cmd_client *c, unsigned v)
{
    session_allow_points(c->s, v != 0, session_bytes_allowed(c->s));
}

static unsigned get_bytes(struct cmd_client *c)
{
    return session_bytes_allowed(c->s);
}

static void set_bytes(struct cmd_client *c, unsigned v)
{
    session_allow_points(c->s, session_registers_allowed(c->s), v != 0);
}

static const struct option options[] = {
    {"breakpoint-bytes", off_on,
     "whether bytes may be planted in the guest's code, which it may read", get_bytes, set_bytes},
    {"breakpoint-pending", off_on, "whether a breakpoint may wait for symbols that know its place",
     get_pending, set_pending},
    {"breakpoint-registers", off_on,
     "whether points may use debug registers, which the guest may want itself", get_registers,
     set_registers},
    {"disassembly-flavor", flavors, "syntax of x/i, disassemble and the code panel", get_flavor,
     set_flavor},
    {"scheduler-locking", lock_values,
     "what other vCPUs do: off they run, on they stand, step they stand while one is stepped",
     get_lock, set_lock},
    {"step-irq", off_on, "whether a stepped vCPU takes interrupts", get_step_irq, set_step_irq},
};

/* The first `words` words of *text joined by hyphens; false when there are fewer. *rest is moved
 * behind them. */
static bool join(const char *text, unsigned words, char *dst, size_t cap, const char **rest)
{
    char word[40];
    size_t n = 0;

    *dst = 0;
    for (; words; words--) {
        if (!cmd_word(&text, word, sizeof word))
            return false;
        n += (size_t)snprintf(dst + n, cap - n, "%s%s", n ? "-" : "", word);
        if (n >= cap)
            return false;
    }
    for (; *dst; dst++) {
        if (*dst == '.' || *dst == '_')
            *dst = '-';
    }
    *rest = text;
    return true;
}

/* Options that `name` begins; *found is the last of them. */
static unsigned matches(const char *name, const struct option **found)
{
    size_t len = strlen(name);
    unsigned n = 0;

    for (size_t i = 0; i < ARRAY_LEN(options); i++) {
        if (strncmp(options[i].name, name, len))
            continue;
        *found = &options[i];
        n++;
        if (!options[i].name[len])
            return 1;
    }
    return n;
}

/* Do these words begin the names of several options? Joined in `prefix` then. */
static bool is_family(const char *text, char *prefix, size_t cap)
{
    const struct option *one;
    const char *rest;

    for (unsigned words = 3; words; words--)
        if (join(text, words, prefix, cap, &rest))
            return !*rest && matches(prefix, &one) > 1;
    return false;
}

/* Which of those that `name` begins are meant? */
static void say_ambiguous(const char *name, struct err *e)
{
    struct buf list = {0};

    for (size_t i = 0; i < ARRAY_LEN(options); i++)
        if (!strncmp(options[i].name, name, strlen(name)))
            buf_addf(&list, "%s%s", list.len ? ", " : "", options[i].name);
    err_set(e, EINVAL, "`%s` may be %s", name, buf_str(&list));
    buf_fini(&list);
}

static const struct option *find(const char **text, struct err *e)
{
    const struct option *found = NULL;
    const char *rest;
    char name[100];
    struct near near = {.word = name};

    for (unsigned words = 3; words; words--) {
        unsigned n = join(*text, words, name, sizeof name, &rest) ? matches(name, &found) : 0;

        if (n > 1) {
            say_ambiguous(name, e);
            return NULL;
        }
        if (n) {
            *text = rest;
            return found;
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(options); i++)
        near_offer(&near, options[i].name);
    err_set(e, EINVAL,
            "there is no option `%s`%s%s%s: `show` lists the options; to assign use "
            "`set LEFT = VALUE`",
            *text, near.best ? ", did you mean `" : "", near.best ? near.best : "",
            near.best ? "`?" : "");
    return NULL;
}

int cmd_option_set(struct cmd_client *c, const char *text, struct out *o)
{
    struct err e = {0};
    const struct option *opt = find(&text, &e);
    struct buf list = {0};

    if (!opt)
        return cmd_fail(o, &e);
    if (!*text && opt->values == off_on)
        text = "on"; /* as gdb: a switch without a value is switched on */
    for (unsigned i = 0; opt->values[i]; i++) {
        if (!strcmp(text, opt->values[i])) {
            opt->set(c, i);
            buf_fini(&list);
            return 0;
        }
        buf_addf(&list, "%s%s", i ? ", " : "", opt->values[i]);
    }
    out_error(o, "`%s` takes one of %s, not `%s`", opt->name, buf_str(&list), text);
    buf_fini(&list);
    return -EINVAL;
}

static void row(struct cmd_client *c, const struct option *opt, struct out *o)
{
    out_row(o);
    out_cell(o, "%s", opt->name);
    out_cell(o, "%s", opt->values[opt->get(c)]);
    out_cell(o, "%s", opt->help);
}

int cmd_option_show(struct cmd_client *c, const char *text, struct out *o)
{
    static const char *const columns[] = {"option", "value", "meaning", NULL};
    const struct option *only = NULL;
    struct err e = {0};
    char prefix[100] = "";

    if (*text && !is_family(text, prefix, sizeof prefix) && !(only = find(&text, &e)))
        return cmd_fail(o, &e);
    out_table(o, "options", NULL, columns);
    for (size_t i = 0; i < ARRAY_LEN(options); i++) {
        if (only ? only == &options[i] : !strncmp(options[i].name, prefix, strlen(prefix)))
            row(c, &options[i], o);
    }
    out_table_end(o);
    return 0;
}

char *cmd_complete_option(struct cmd_client *c, const char *args, size_t n)
{
    const char *blank = strrchr(args, ' ');
    const char *names[ARRAY_LEN(options) + 1] = {0};
    struct err e = {0};

    if (blank) {
        const char *text = args;
        const struct option *opt = find(&text, &e);

        if (opt)
            return cmd_complete_words(opt->values, args, n);
    }
    for (size_t i = 0; i < ARRAY_LEN(options); i++)
        names[i] = options[i].name;
    (void)c;
    return cmd_complete_words(names, args, n);
}
