/*
 * KIND [WHAT…] [thread N] [if EXPR] [do ACTION]: one grammar for everything that the guest does
 * which is not reaching an address, for `catch`, `trace` and `trace filter`. A row says how the
 * words behind the kind become a filter. Main thread.
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
    struct buf *condition;
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

/* Nothing more of what is to be caught. */
static bool is_over(const struct making *m)
{
    const char *p = m->rest;

    return !*p || cmd_keyword(&p, "if") || cmd_keyword(&p, "thread") || cmd_keyword(&p, "vcpu");
}

/* A number or expression as the next word, unless that is over. */
static int number(struct making *m, uint64_t *v)
{
    char word[120];

    if (is_over(m))
        return 0;
    if (!cmd_word(&m->rest, word, sizeof word))
        return 0;
    return cmd_eval(m->c, word, v, m->e) < 0 ? -EINVAL : 1;
}

static bool is_direction(const char *p)
{
    return cmd_keyword(&p, "in") || cmd_keyword(&p, "out") || cmd_keyword(&p, "read") ||
           cmd_keyword(&p, "write");
}

/* A[-B] of `field`, which is no more than `max`; nothing leaves it open. */
static int range(struct making *m, const char *field, uint64_t max)
{
    char word[120], *dash;
    uint64_t a, b;

    if (is_over(m) || is_direction(m->rest) || !cmd_word(&m->rest, word, sizeof word))
        return 0;
    dash = strchr(word, '-');
    if (dash)
        *dash = 0;
    if (cmd_eval(m->c, word, &a, m->e) < 0 || (dash && cmd_eval(m->c, dash + 1, &b, m->e) < 0))
        return -EINVAL;
    if (!dash)
        b = a;
    if (b < a)
        return err_set(m->e, EINVAL,
                       "nothing lies between 0x%" PRIx64 " and 0x%" PRIx64
                       ": the lower end comes first, as in `catch io 0x60-0x64`",
                       a, b);
    if (b > max)
        return err_set(m->e, EINVAL, "0x%" PRIx64 " can never be: %s goes up to 0x%" PRIx64, b,
                       field, max);
    if (b > a)
        term(m, "%s >= 0x%" PRIx64 " && %s <= 0x%" PRIx64, field, a, field, b);
    else
        term(m, "%s == 0x%" PRIx64, field, a);
    return 0;
}

static bool direction(struct making *m, const char *reads, const char *writes)
{
    if (cmd_keyword(&m->rest, reads))
        term(m, "write == 0");
    else if (cmd_keyword(&m->rest, writes))
        term(m, "write == 1");
    else
        return false;
    return true;
}

/* The direction may stand before the range or behind it. */
static int directed_range(struct making *m, const char *reads, const char *writes,
                          const char *field, uint64_t max)
{
    bool said = direction(m, reads, writes);

    if (range(m, field, max) < 0)
        return -EINVAL;
    if (direction(m, reads, writes) && said)
        return err_set(m->e, EINVAL, "say `%s` or `%s` once: without either both are meant", reads,
                       writes);
    return 0;
}

static int make_io(struct making *m)
{
    return directed_range(m, "in", "out", "port", 0xffff);
}

static int make_mmio(struct making *m)
{
    return directed_range(m, "read", "write", "gpa", UINT64_MAX);
}

static int make_rdmsr(struct making *m)
{
    return range(m, "msr", UINT32_MAX);
}

static int make_irq(struct making *m)
{
    return range(m, "vector", 255);
}

static int make_msr(struct making *m)
{
    m->spec->catch_reason_last = KVM_EXIT_X86_WRMSR;
    return directed_range(m, "read", "write", "msr", UINT32_MAX);
}

static int make_cpuid(struct making *m)
{
    uint64_t v = 0;
    int r = number(m, &v);

    if (r > 0 && v > UINT32_MAX)
        return err_set(m->e, EINVAL, "a leaf of CPUID has 32 bits, 0x%" PRIx64 " has more", v);
    m->spec->catch_has_leaf = r > 0;
    m->spec->catch_leaf = (uint32_t)v;
    return r < 0 ? r : 0;
}

static int make_post(struct making *m)
{
    term(m, "port == 0x%x && write == 1", TESTDEV_POST);
    return range(m, "value", UINT32_MAX);
}

/* VECTOR or its name, as 14 or pf; 1 when there was one. */
static int exception(struct making *m, int *vector)
{
    static const char *const names[] = {"de", "db", "nmi", "bp", "of", "br", "ud",
                                        "nm", "df", NULL,  "ts", "np", "ss", "gp",
                                        "pf", NULL, "mf",  "ac", "mc", "xm"};
    const char *p = m->rest;
    char word[40];
    uint64_t v = 0;
    int r;

    if (cmd_word(&p, word, sizeof word)) {
        const char *name = word[0] == '#' ? word + 1 : word;

        for (int i = 0; i < (int)(sizeof names / sizeof names[0]); i++) {
            if (names[i] && !strcasecmp(names[i], name)) {
                *vector = i;
                m->rest = p;
                return 1;
            }
        }
    }
    r = number(m, &v);
    if (r > 0 && v > 31)
        return err_set(m->e, EINVAL,
                       "exceptions have the vectors 0 to 31, not %" PRIu64
                       "; `catch irq` waits for "
                       "interrupts",
                       v);
    if (r > 0)
        *vector = (int)v;
    return r;
}

static int make_exception(struct making *m)
{
    int r;

    m->spec->catch_vector = -1;
    r = exception(m, &m->spec->catch_vector);
    return r < 0 ? r : 0;
}

static int make_triple(struct making *m)
{
    int vector = 0, r = exception(m, &vector);

    if (r > 0)
        term(m, "vector == %d", vector);
    return r < 0 ? r : 0;
}

static int no_mode(struct making *m)
{
    struct buf names = {0};

    for (unsigned i = 0; i < CPU_MODES; i++)
        buf_addf(&names, "%s%s", i ? ", " : "", cpu_mode_name((enum cpu_mode)i));
    err_set(m->e, EINVAL,
            "`mode` is followed by `to` and one of %s, by `ring` and a level, or by neither",
            buf_str(&names));
    buf_fini(&names);
    return -EINVAL;
}

/* [to] MODE, ring N, or both. */
static int make_mode(struct making *m)
{
    bool to = cmd_keyword(&m->rest, "to"), named = false;
    uint64_t ring;
    int r;

    for (unsigned i = 0; i < CPU_MODES && !named; i++) {
        const char *name = cpu_mode_name((enum cpu_mode)i);

        named = cmd_keyword(&m->rest, name);
        if (named)
            term(m, "mode == %s", name);
    }
    if (!cmd_keyword(&m->rest, "ring"))
        return (to && !named) || (!named && !is_over(m)) ? no_mode(m) : 0;
    r = number(m, &ring);
    if (r == 0 || (r > 0 && ring > 3))
        return err_set(m->e, EINVAL, "behind `ring` must stand 0, 1, 2 or 3");
    if (r > 0)
        term(m, "cpl == %" PRIu64, ring);
    return r < 0 ? r : 0;
}

static int make_cr3(struct making *m)
{
    return range(m, "cr3", UINT64_MAX);
}

static int make_debug_exit(struct making *m)
{
    return range(m, "value", UINT32_MAX);
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
        if (!*p)
            return err_set(m->e, EINVAL, "the text %s does not end: a `\"` is missing", m->rest);
        p++;
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
    {"mode", CATCH_MODE, 0, make_mode, NULL},
    {"cr3", CATCH_CR3, 0, make_cr3, NULL},
    {"console", CATCH_CONSOLE, 0, make_console, NULL},
    {"reset", CATCH_RESET, 0, make_plain, NULL},
    {"triple", CATCH_TRIPLE, 0, make_triple, "kind == shutdown"},
    {"debug-exit", CATCH_DEBUG_EXIT, 0, make_debug_exit,
     "kind == io && port == 0xf4 && write == 1"},
    {"debugexit", CATCH_DEBUG_EXIT, 0, make_debug_exit, "kind == io && port == 0xf4 && write == 1"},
};

/* Records that are not made where an exit could still be caught. */
static bool is_caught(unsigned reason)
{
    return reason != EXIT_KERNEL && reason != EXIT_DEVICE && reason != EXIT_RUN &&
           reason != EXIT_STOP;
}

/* The table has the exits of all processors that KVM knows. */
static bool is_foreign(unsigned reason)
{
    return strstr(exit_kind_help(reason), " only: ") != NULL;
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

static int take_vcpu(struct making *m)
{
    uint64_t v;
    int r;

    if (!cmd_keyword(&m->rest, "thread") && !cmd_keyword(&m->rest, "vcpu"))
        return 0;
    r = number(m, &v);
    if (r < 0)
        return r;
    if (!r || v >= session_cpus(m->c->s))
        return err_set(m->e, EINVAL, "behind `thread` must stand the number of a vCPU, 0 to %u",
                       session_cpus(m->c->s) - 1);
    m->spec->vcpu = (int)v;
    return 0;
}

/* [thread N] [if EXPR], or the two the other way round. */
static int ends(struct making *m)
{
    int r = take_vcpu(m);

    if (r < 0 || !cmd_keyword(&m->rest, "if"))
        return r;
    if (!*m->rest)
        return err_set(m->e, EINVAL, "behind `if` must stand an expression");
    buf_adds(m->condition, m->rest);
    m->rest += strlen(m->rest);
    m->spec->condition = buf_str(m->condition);
    return cmd_vcpu_take(m->c, m->condition->data, &m->spec->vcpu, m->e);
}

/* KIND [WHAT…] [thread N] [if EXPR]; `record` (may be NULL) gets what the kind is in a filter of
 * records. */
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
    if (!k && is_foreign((unsigned)reason))
        return err_set(m->e, ENOTSUP, "`%s` is no exit of x86 (%s)", word,
                       exit_kind_help((unsigned)reason));
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
    if (rc >= 0)
        rc = ends(m);
    if (rc < 0)
        return rc;
    if (*m->rest)
        return err_set(m->e, EINVAL,
                       "behind `%s` may stand `thread N`, `if EXPR` and `do ACTION`, not `%.80s`",
                       word, m->rest);
    if (record && m->spec->vcpu >= 0)
        term(m, "vcpu == %d", m->spec->vcpu);
    return 0;
}

int cmd_catch_filter(struct cmd_client *c, const char *args, struct buf *out, struct err *e)
{
    struct point_spec spec = {.kind = POINT_CATCH, .vcpu = -1};
    struct buf filter = {0}, text = {0}, condition = {0};
    struct making m = {.c = c,
                       .rest = args,
                       .spec = &spec,
                       .filter = &filter,
                       .text = &text,
                       .condition = &condition,
                       .e = e};
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
    buf_fini(&condition);
    return rc;
}

/* Exits of x86 that come only after a capability or an interrupt chip was asked for. */
static bool is_unasked(unsigned reason)
{
    switch (reason) {
    case KVM_EXIT_EXCEPTION:
    case KVM_EXIT_SET_TPR:
    case KVM_EXIT_TPR_ACCESS:
    case KVM_EXIT_IOAPIC_EOI:
    case KVM_EXIT_HYPERV:
    case KVM_EXIT_DIRTY_RING_FULL:
    case KVM_EXIT_AP_RESET_HOLD:
    case KVM_EXIT_X86_BUS_LOCK:
    case KVM_EXIT_XEN:
    case KVM_EXIT_NOTIFY:
        return true;
    default:
        return false;
    }
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
    if (is_exit && is_unasked(spec->catch_reason))
        return "KVM makes this exit only for those who ask for it, and vmscope does not: it is not "
               "to be expected";
    return NULL;
}

int cmd_catch_point(struct cmd_client *c, const char *args, enum point_do otherwise, bool temporary,
                    struct out *o)
{
    struct point_spec spec = {.kind = POINT_CATCH, .vcpu = -1, .temporary = temporary};
    struct buf filter = {0}, text = {0}, condition = {0};
    struct err e = {0};
    struct cmd_action action;
    char *line = xstrdup(args), *shown;
    struct making m = {.c = c,
                       .rest = line,
                       .spec = &spec,
                       .filter = &filter,
                       .text = &text,
                       .condition = &condition,
                       .e = &e};
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
        out_text(o, "%s %d (%s)", temporary ? "Temporary catchpoint" : "Catchpoint", id, shown);
        out_json_u64(o, "id", (uint64_t)id);
        never = never_seen(c, &spec);
        if (never)
            out_line(o, "Note: %s.", never);
    }
    buf_fini(&filter);
    buf_fini(&text);
    buf_fini(&condition);
    cmd_action_fini(&action);
    free(shown);
    free(line);
    return id < 0 ? id : 0;
}

int cmd_catch_run(struct cmd_client *c, const char *args, struct out *o)
{
    return cmd_catch_point(c, args, DO_STOP, false, o);
}

int cmd_tcatch_run(struct cmd_client *c, const char *args, struct out *o)
{
    return cmd_catch_point(c, args, DO_STOP, true, o);
}
