/*
 * KIND [WHAT…] [if EXPR] [do ACTION]: one grammar for everything that the guest does which is not
 * reaching an address, for `catch`, `trace` and `trace filter`. A row says how the words behind the
 * kind become a filter. Main thread.
 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "debug/commands/commands.h"
#include "vmm/base/buf.h"
#include "vmm/base/near.h"
#include "vmm/base/x.h"
#include "vmm/exit.h"
#include "vmm/testdev_abi.h"

struct making {
    struct cmd_client *c;
    const char *rest; /* of the command line, moved as words are taken */
    struct point_spec *spec;
    struct buf *filter; /* terms joined by && */
    struct buf *text;   /* CATCH_CONSOLE */
    struct err *e;
};

static void term(struct making *m, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void term(struct making *m, const char *fmt, ...)
{
    va_list ap;

    if (m->filter->len)
        buf_adds(m->filter, " && ");
    va_start(ap, fmt);
    buf_vaddf(m->filter, fmt, ap);
    va_end(ap);
}

/* A number or expression as the next word, unless `if` or the end comes. */
static int number(struct making *m, uint64_t *v)
{
    char word[120];
    const char *p = m->rest;

    if (cmd_keyword(&p, "if") || !*m->rest)
        return 0;
    if (!cmd_word(&m->rest, word, sizeof word))
        return 0;
    return cmd_eval(m->c, word, v, m->e) < 0 ? -EINVAL : 1;
}

/* A[-B] of `field`; nothing leaves it open. */
static int range(struct making *m, const char *field)
{
    char word[120], *dash;
    const char *p = m->rest;
    uint64_t a, b;

    if (cmd_keyword(&p, "if") || !cmd_word(&m->rest, word, sizeof word))
        return 0;
    dash = strchr(word, '-');
    if (dash)
        *dash = 0;
    if (cmd_eval(m->c, word, &a, m->e) < 0 || (dash && cmd_eval(m->c, dash + 1, &b, m->e) < 0))
        return -EINVAL;
    if (dash)
        term(m, "%s >= 0x%" PRIx64 " && %s <= 0x%" PRIx64, field, a, field, b);
    else
        term(m, "%s == 0x%" PRIx64, field, a);
    return 0;
}

static void direction(struct making *m, const char *reads, const char *writes)
{
    if (cmd_keyword(&m->rest, reads))
        term(m, "write == 0");
    else if (cmd_keyword(&m->rest, writes))
        term(m, "write == 1");
}

static int make_io(struct making *m)
{
    direction(m, "in", "out");
    if (range(m, "port") < 0)
        return -EINVAL;
    direction(m, "in", "out");
    return 0;
}

static int make_mmio(struct making *m)
{
    direction(m, "read", "write");
    if (range(m, "gpa") < 0)
        return -EINVAL;
    direction(m, "read", "write");
    return 0;
}

static int make_rdmsr(struct making *m)
{
    return range(m, "msr");
}

static int make_irq(struct making *m)
{
    return range(m, "vector");
}

static int make_msr(struct making *m)
{
    m->spec->catch_reason_last = KVM_EXIT_X86_WRMSR;
    direction(m, "read", "write");
    return range(m, "msr");
}

static int make_cpuid(struct making *m)
{
    uint64_t v;
    int r = number(m, &v);

    m->spec->catch_has_leaf = r > 0;
    m->spec->catch_leaf = (uint32_t)v;
    return r < 0 ? r : 0;
}

static int make_post(struct making *m)
{
    term(m, "port == 0x%x && write == 1", TESTDEV_POST);
    return range(m, "value");
}

static int make_exception(struct making *m)
{
    static const char *const names[] = {"de", "db", "nmi", "bp", "of", "br", "ud",
                                        "nm", "df", NULL,  "ts", "np", "ss", "gp",
                                        "pf", NULL, "mf",  "ac", "mc", "xm"};
    const char *p = m->rest;
    char word[40];
    uint64_t v = 0;
    int r;

    m->spec->catch_vector = -1;
    if (cmd_word(&p, word, sizeof word)) {
        const char *name = word[0] == '#' ? word + 1 : word;

        for (int i = 0; i < (int)(sizeof names / sizeof names[0]); i++) {
            if (names[i] && !strcasecmp(names[i], name)) {
                m->spec->catch_vector = i;
                m->rest = p;
                return 0;
            }
        }
    }
    r = number(m, &v);
    if (r < 0)
        return r;
    if (v > 31)
        return err_set(m->e, EINVAL,
                       "exceptions have the vectors 0 to 31, not %" PRIu64
                       "; `catch irq` waits for "
                       "interrupts",
                       v);
    if (r)
        m->spec->catch_vector = (int)v;
    return 0;
}

static int make_int3(struct making *m)
{
    m->spec->catch_vector = 3;
    return 0;
}

static int make_console(struct making *m)
{
    const char *p = m->rest;
    char *text;
    size_t n;
    int rc;

    if (*p == '"') {
        for (p++; *p && *p != '"'; p++)
            p += *p == '\\' && p[1];
        p += *p == '"';
    } else {
        while (*p && !isspace((unsigned char)*p))
            p++;
    }
    text = cmd_trim_dup(m->rest, (size_t)(p - m->rest));
    rc = cmd_text(text, m->text, m->e);
    free(text);
    m->rest = cmd_blanks(p);
    n = m->text->len;
    if (rc == 0 && (!n || n > 200 || memchr(m->text->data, 0, n)))
        rc = err_set(m->e, EINVAL,
                     "a text of 1 to 200 characters without NUL is needed, as in `catch console "
                     "\"panic\"`");
    m->spec->catch_text = buf_str(m->text);
    return rc;
}

static int make_plain(struct making *m)
{
    (void)m;
    return 0;
}

/* Kinds with words of their own; any other name of an exit that happens on x86 works without.
 * `record` is what a filter of records makes of it; NULL: no record tells it. */
static const struct kind {
    const char *name;
    enum catch_what what;
    unsigned reason;
    int (*make)(struct making *m);
    const char *record;
} kinds[] = {
    {"io", CATCH_EXIT, KVM_EXIT_IO, make_io, "kind == io"},
    {"mmio", CATCH_EXIT, KVM_EXIT_MMIO, make_mmio, "kind == mmio"},
    {"msr", CATCH_EXIT, KVM_EXIT_X86_RDMSR, make_msr, "(kind == rdmsr || kind == wrmsr)"},
    {"rdmsr", CATCH_EXIT, KVM_EXIT_X86_RDMSR, make_rdmsr, "kind == rdmsr"},
    {"wrmsr", CATCH_EXIT, KVM_EXIT_X86_WRMSR, make_rdmsr, "kind == wrmsr"},
    {"irq", CATCH_EXIT, EXIT_INJECT, make_irq, "kind == inject"},
    {"post", CATCH_EXIT, KVM_EXIT_IO, make_post, "kind == io"},
    {"exception", CATCH_EXCEPTION, 0, make_exception, NULL},
    {"int3", CATCH_EXCEPTION, 0, make_int3, NULL},
    {"cpuid", CATCH_CPUID, 0, make_cpuid, NULL},
    {"mode", CATCH_MODE, 0, make_plain, NULL},
    {"cr3", CATCH_CR3, 0, make_plain, NULL},
    {"console", CATCH_CONSOLE, 0, make_console, NULL},
    {"reset", CATCH_RESET, 0, make_plain, NULL},
    {"triple", CATCH_TRIPLE, 0, make_plain, "kind == shutdown"},
    {"debug-exit", CATCH_DEBUG_EXIT, 0, make_plain, "kind == io && port == 0xf4 && write == 1"},
    {"debugexit", CATCH_DEBUG_EXIT, 0, make_plain, "kind == io && port == 0xf4 && write == 1"},
};

/* Records that are not made where an exit could still be caught. */
static bool is_caught(unsigned reason)
{
    return reason != EXIT_KERNEL && reason != EXIT_DEVICE && reason != EXIT_RUN &&
           reason != EXIT_STOP;
}

static const struct kind *kind_named(const char *word)
{
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (!strcmp(kinds[i].name, word))
            return &kinds[i];
    return NULL;
}

static int no_kind(const char *word, struct err *e)
{
    struct near near = {.word = word};

    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        near_offer(&near, kinds[i].name);
    for (unsigned i = 0; exit_kind_at(i); i++)
        near_offer(&near, exit_kind_at(i)->name);
    return err_set(e, EINVAL, "there is nothing called `%s` to catch%s%s%s: `help catch` lists it",
                   word, near.best ? ", did you mean `" : "", near.best ? near.best : "",
                   near.best ? "`?" : "");
}

/* KIND [WHAT…] [if EXPR]; `record` (may be NULL) gets what the kind is in a filter of records. */
static int parse(struct making *m, struct buf *record)
{
    const struct kind *k;
    char word[40];
    int rc, reason;

    if (!cmd_word(&m->rest, word, sizeof word))
        return err_set(m->e, EINVAL,
                       "what to catch is missing, as in `catch io 0x64` or `catch exception pf`");
    k = kind_named(word);
    reason = k ? -1 : exit_kind_by_name(word);
    if (!k && reason < 0)
        return no_kind(word, m->e);
    if (!k && !record && !is_caught((unsigned)reason))
        return err_set(m->e, ENOTSUP,
                       "`%s` is a kind of record that nothing can be caught at: `trace filter` and "
                       "`info exits last 20 %s` know it",
                       word, word);
    if (record && k && !k->record)
        return err_set(
            m->e, ENOTSUP,
            "`%s` leaves no record of its own that could be filtered: `trace %s` logs it", word,
            word);
    m->spec->catch_what = k ? k->what : CATCH_EXIT;
    m->spec->catch_reason = k ? k->reason : (unsigned)reason;
    if (record)
        buf_addf(record, k ? "%s" : "kind == %s", k ? k->record : word);
    rc = k ? k->make(m) : 0;
    if (rc < 0)
        return rc;
    if (*m->rest && !cmd_keyword(&m->rest, "if"))
        return err_set(m->e, EINVAL, "behind `%s` may stand `if EXPR` and `do ACTION`, not `%.80s`",
                       word, m->rest);
    else if (*m->rest)
        m->spec->condition = m->rest;
    return 0;
}

int cmd_catch_filter(struct cmd_client *c, const char *args, struct buf *out, struct err *e)
{
    struct point_spec spec = {.kind = POINT_CATCH};
    struct buf filter = {0}, text = {0};
    struct making m = {
        .c = c, .rest = args, .spec = &spec, .filter = &filter, .text = &text, .e = e};
    const char *p = args;
    char word[40];
    int rc;

    if (!cmd_word(&p, word, sizeof word) || (!kind_named(word) && exit_kind_by_name(word) < 0) ||
        strchr("=!<>&|", *p ? *p : 'x')) {
        buf_adds(out, args);
        return 0;
    }
    rc = parse(&m, out);
    if (rc == 0 && filter.len)
        buf_addf(out, " && %s", buf_str(&filter));
    if (rc == 0 && spec.condition)
        buf_addf(out, " && (%s)", spec.condition);
    buf_fini(&filter);
    buf_fini(&text);
    return rc;
}

/* What keeps this from ever being seen, as things stand. */
static const char *never_seen(struct cmd_client *c, const struct point_spec *spec)
{
    const struct session_config *cfg = session_cfg(c->s);
    bool is_exit = spec->catch_what == CATCH_EXIT;

    if (cfg->irqchip_kernel && is_exit &&
        (spec->catch_reason == KVM_EXIT_HLT || spec->catch_reason == EXIT_INJECT))
        return "with --irqchip kernel KVM halts vCPUs and gives them interrupts by itself: start "
               "without it to see these";
    if (is_exit && !cfg->visible_all &&
        (spec->catch_reason == KVM_EXIT_X86_RDMSR || spec->catch_reason == KVM_EXIT_X86_WRMSR))
        return "KVM answers the MSRs that it knows by itself: start with --visible all to see "
               "every access";
    return NULL;
}

int cmd_catch_point(struct cmd_client *c, const char *args, enum point_do otherwise, struct out *o)
{
    struct point_spec spec = {.kind = POINT_CATCH, .vcpu = -1};
    struct buf filter = {0}, text = {0};
    struct err e = {0};
    struct cmd_action action;
    char *line = xstrdup(args), *shown;
    struct making m = {
        .c = c, .rest = line, .spec = &spec, .filter = &filter, .text = &text, .e = &e};
    const char *never;
    int id = cmd_action_take(line, &action, &e);

    if (strlen(line) == strlen(args)) /* no `do` */
        action.kind = otherwise;
    shown = cmd_trim_dup(line, strlen(line));
    spec.location = shown;
    if (id == 0)
        id = parse(&m, NULL);
    if (id == 0) {
        spec.catch_filter = filter.len ? buf_str(&filter) : NULL;
        id = cmd_point_add(c, &spec, &action, &e);
    }
    if (id < 0) {
        cmd_fail(o, &e);
    } else {
        out_text(o, "Catchpoint %d (%s)", id, shown);
        out_json_u64(o, "id", (uint64_t)id);
        never = never_seen(c, &spec);
        if (never)
            out_line(o, "Note: %s.", never);
    }
    buf_fini(&filter);
    buf_fini(&text);
    cmd_action_fini(&action);
    free(shown);
    free(line);
    return id < 0 ? id : 0;
}

int cmd_catch_run(struct cmd_client *c, const char *args, struct out *o)
{
    return cmd_catch_point(c, args, DO_STOP, o);
}
