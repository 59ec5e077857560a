/*
 * catch KIND [WHAT…] [if EXPR]: one grammar for everything that the guest does which is not
 * reaching an address. A row says how the words behind the kind become a filter. Main thread.
 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "debug/commands/commands.h"
#include "vmm/base/buf.h"
#include "vmm/base/near.h"
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

/* Kinds with words of their own; any other name of an exit (`info exits`, `help catch`) works
 * without. CPUID is carried out inside every KVM and makes no exit that could be caught. */
static const struct {
    const char *name;
    enum catch_what what;
    unsigned reason;
    int (*make)(struct making *m);
} kinds[] = {
    {"io", CATCH_EXIT, KVM_EXIT_IO, make_io},
    {"mmio", CATCH_EXIT, KVM_EXIT_MMIO, make_mmio},
    {"rdmsr", CATCH_EXIT, KVM_EXIT_X86_RDMSR, make_rdmsr},
    {"wrmsr", CATCH_EXIT, KVM_EXIT_X86_WRMSR, make_rdmsr},
    {"irq", CATCH_EXIT, EXIT_INJECT, make_irq},
    {"post", CATCH_EXIT, KVM_EXIT_IO, make_post},
    {"exception", CATCH_EXCEPTION, 0, make_exception},
    {"int3", CATCH_EXCEPTION, 0, make_int3},
    {"mode", CATCH_MODE, 0, make_plain},
    {"cr3", CATCH_CR3, 0, make_plain},
    {"console", CATCH_CONSOLE, 0, make_console},
    {"reset", CATCH_RESET, 0, make_plain},
    {"triple", CATCH_TRIPLE, 0, make_plain},
    {"debug-exit", CATCH_DEBUG_EXIT, 0, make_plain},
};

static int find_kind(struct making *m, const char *kind, int (**make)(struct making *m))
{
    struct near near = {.word = kind};
    int reason;

    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        near_offer(&near, kinds[i].name);
        if (strcmp(kinds[i].name, kind))
            continue;
        m->spec->catch_what = kinds[i].what;
        m->spec->catch_reason = kinds[i].reason;
        *make = kinds[i].make;
        return 0;
    }
    if (!strcmp(kind, "cpuid"))
        return err_set(m->e, ENOTSUP,
                       "CPUID is carried out inside KVM and never leaves it: it cannot be caught");
    reason = exit_kind_by_name(kind);
    if (reason >= 0) {
        m->spec->catch_what = CATCH_EXIT;
        m->spec->catch_reason = (unsigned)reason;
        *make = make_plain;
        return 0;
    }
    for (unsigned i = 0; exit_kind_at(i); i++)
        near_offer(&near, exit_kind_at(i)->name);
    return err_set(
        m->e, EINVAL, "there is nothing called `%s` to catch%s%s%s: `help catch` lists it", kind,
        near.best ? ", did you mean `" : "", near.best ? near.best : "", near.best ? "`?" : "");
}

static int parse(struct making *m)
{
    int (*make)(struct making * m) = make_plain;
    char kind[40];
    int rc;

    if (!cmd_word(&m->rest, kind, sizeof kind))
        return err_set(m->e, EINVAL,
                       "what to catch is missing, as in `catch io 0x64` or `catch exception pf`");
    rc = find_kind(m, kind, &make);
    if (rc == 0)
        rc = make(m);
    if (rc < 0)
        return rc;
    if (*m->rest && !cmd_keyword(&m->rest, "if"))
        return err_set(m->e, EINVAL, "behind `%s` may stand `if EXPR`, not `%.80s`", kind, m->rest);
    if (*m->rest)
        m->spec->condition = m->rest;
    return 0;
}

int cmd_catch_run(struct cmd_client *c, const char *args, struct out *o)
{
    struct point_spec spec = {.kind = POINT_CATCH, .vcpu = -1, .location = args};
    struct buf filter = {0}, text = {0};
    struct err e = {0};
    struct making m = {
        .c = c, .rest = args, .spec = &spec, .filter = &filter, .text = &text, .e = &e};
    int id = parse(&m);

    if (id == 0) {
        spec.catch_filter = filter.len ? buf_str(&filter) : NULL;
        id = session_point_add(c->s, &spec, &e);
    }
    buf_fini(&filter);
    buf_fini(&text);
    if (id < 0)
        return cmd_fail(o, &e);
    out_text(o, "Catchpoint %d (%s)", id, args);
    out_json_u64(o, "id", (uint64_t)id);
    return 0;
}
