/*
 * --fail-if and --check: an expression in which count(EXPR) and its like stand for numbers over all
 * records. Each is replaced by its value, then the rest is an ordinary expression.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "debug/expr.h"
#include "debug/session_priv.h"
#include "debug/trace/report_int.h"
#include "debug/trace/tracer.h"
#include "vmm/base/x.h"

struct check_fn {
    const char *name;
    const char *help;
    bool diff; /* has a meaning with --diff alone */
    uint64_t (*value)(const struct report_check *c, const struct report_term *t);
};

static uint64_t v_count(const struct report_check *c, const struct report_term *t)
{
    (void)c;
    return t->sum.count;
}

static uint64_t v_rate(const struct report_check *c, const struct report_term *t)
{
    uint64_t ns = stat_span_ns(c->stats);

    return ns ? (uint64_t)((double)t->sum.count * 1e9 / (double)ns) : 0;
}

static uint64_t v_share(const struct report_check *c, const struct report_term *t)
{
    return c->stats->records ? 100 * t->sum.count / c->stats->records : 0;
}

static uint64_t v_mean(const struct report_check *c, const struct report_term *t)
{
    (void)c;
    return t->sum.count ? t->sum.host_sum / t->sum.count : 0;
}

static uint64_t v_p50(const struct report_check *c, const struct report_term *t)
{
    (void)c;
    return stat_quantile(t->sum.hist, 0.5, t->sum.host_min, t->sum.host_max);
}

static uint64_t v_p99(const struct report_check *c, const struct report_term *t)
{
    (void)c;
    return stat_quantile(t->sum.hist, 0.99, t->sum.host_min, t->sum.host_max);
}

static uint64_t v_max(const struct report_check *c, const struct report_term *t)
{
    (void)c;
    return t->sum.host_max;
}

static uint64_t v_before(const struct report_check *c, const struct report_term *t)
{
    (void)c;
    return t->before;
}

static uint64_t v_differ(const struct report_check *c, const struct report_term *t)
{
    (void)t;
    return c->diff ? c->diff->differ : 0;
}

static const struct check_fn fns[] = {
    {"count", "exits", false, v_count},
    {"rate", "exits a second", false, v_rate},
    {"share", "percent of all exits", false, v_share},
    {"mean", "ns in handlers", false, v_mean},
    {"p50", "ns in handlers", false, v_p50},
    {"p99", "ns in handlers", false, v_p99},
    {"max", "ns in handlers", false, v_max},
    {"before", "exits of the other recording", true, v_before},
    {"differ", "exits that are in one of the two recordings alone", true, v_differ},
};

static bool word_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/* The end of "(…)" at `open`, just behind its parenthesis; NULL when it is not closed. */
static const char *closing(const char *open)
{
    int depth = 0;
    char quote = 0;

    for (const char *p = open; *p; p++) {
        if (quote) {
            quote = *p == quote ? 0 : quote;
        } else if (*p == '"' || *p == '\'') {
            quote = *p;
        } else if (*p == '(') {
            depth++;
        } else if (*p == ')' && !--depth) {
            return p + 1;
        }
    }
    return NULL;
}

static const struct check_fn *fn_at(const char *text, const char *p)
{
    for (size_t i = 0; i < ARRAY_LEN(fns); i++) {
        size_t n = strlen(fns[i].name);

        if (!strncmp(p, fns[i].name, n) && p[n] == '(' && (p == text || !word_char(p[-1])))
            return &fns[i];
    }
    return NULL;
}

static int parse(struct report_check *c, const char *option, const char *text,
                 const struct trace_names *n, bool diff, struct err *e)
{
    *c = (struct report_check){.option = option, .text = text};
    for (const char *p = text; *p; p++) {
        const struct check_fn *fn = fn_at(text, p);
        struct report_term *t;
        const char *end;
        char *inner;

        if (!fn)
            continue;
        if (fn->diff && !diff)
            return err_set(e, EINVAL,
                           "%s: %s() compares two recordings, as `vmscope report "
                           "--diff` does",
                           option, fn->name);
        if (c->terms == CHECK_TERMS_MAX)
            return err_set(e, E2BIG, "%s has more than %u counts", option, CHECK_TERMS_MAX);
        end = closing(p + strlen(fn->name));
        if (!end)
            return err_set(e, EINVAL, "%s: the parenthesis of %s( is not closed", option, fn->name);
        t = &c->term[c->terms++];
        t->fn = fn;
        t->from = (size_t)(p - text);
        t->len = (size_t)(end - p);
        inner = xasprintf("%.*s", (int)(t->len - strlen(fn->name) - 2), p + strlen(fn->name) + 1);
        if (inner[strspn(inner, " ")] && !(t->filter = filter_compile(inner, n, e))) {
            free(inner);
            return err_prefix(e, "%s, in %s()", option, fn->name);
        }
        free(inner);
        p = end - 1;
    }
    return 0;
}

int check_parse(struct report_check *c, const char *text, const struct trace_names *n, bool diff,
                struct err *e)
{
    int r = parse(c, "--fail-if", text, n, diff, e);

    if (!r && !c->terms)
        return err_set(e, EINVAL,
                       "--fail-if needs a number over the records, as in 'count(kind=="
                       "mmio) > 1000'; there are count, rate, share, mean, p50, p99 and "
                       "max, and with --diff before and differ");
    return r;
}

void check_add_before(struct report_check *c, const struct exit_event *ev)
{
    if (stat_is_note(ev->reason) && ev->reason != EXIT_INJECT)
        return;
    for (unsigned i = 0; i < c->terms; i++)
        c->term[i].before += filter_match(c->term[i].filter, ev);
}

void check_add(struct report_check *c, const struct exit_event *ev)
{
    if (stat_is_note(ev->reason) && ev->reason != EXIT_INJECT)
        return;
    for (unsigned i = 0; i < c->terms; i++) {
        struct stat_sum *s = &c->term[i].sum;

        if (!filter_match(c->term[i].filter, ev))
            continue;
        if (!s->count++ || ev->host_ns < s->host_min)
            s->host_min = ev->host_ns;
        if (ev->host_ns > s->host_max)
            s->host_max = ev->host_ns;
        s->host_sum += ev->host_ns;
        s->hist[stat_bucket(ev->host_ns)]++;
    }
}

/* The expression with numbers in place of counts. */
static void fill_in(struct report_check *c, const struct trace_stats *stats, struct buf *line)
{
    size_t at = 0;

    c->stats = stats;
    for (unsigned i = 0; i < c->terms; i++) {
        const struct report_term *t = &c->term[i];

        buf_add(line, c->text + at, t->from - at);
        buf_addf(line, "%" PRIu64, t->fn->value(c, t));
        at = t->from + t->len;
    }
    buf_adds(line, c->text + at);
}

int check_value(struct report_check *c, const struct trace_stats *stats, struct buf *told,
                struct err *e)
{
    struct buf line = {0};
    struct expr *x;
    uint64_t v = 0;
    int rc;

    fill_in(c, stats, &line);
    x = expr_compile(buf_str(&line), NULL, e);
    rc = x ? expr_eval(x, NULL, &v, e) : -EINVAL;
    expr_free(x);
    if (rc == 0)
        buf_addf(told, "%s: %s is %s", c->text, buf_str(&line), v ? "true" : "false");
    buf_fini(&line);
    return rc < 0 ? err_prefix(e, "--fail-if %s", c->text) : v != 0;
}

void check_fini(struct report_check *c)
{
    for (unsigned i = 0; i < c->terms; i++)
        filter_free(c->term[i].filter);
    c->terms = 0;
}

/* ---- of a live guest --------------------------------------------------------------------------
 */

/* Sums over what the statistics keep: sites, not records. */
static int add_sites(struct report_check *c, const struct trace_stats *stats, struct err *e)
{
    for (unsigned i = 0; i < c->terms; i++) {
        struct report_term *t = &c->term[i];
        const char *word;

        if (t->filter && filter_needs_records(t->filter, &word))
            return err_set(e, EINVAL,
                           "%s: the statistics of a live guest do not keep `%s` of each exit; "
                           "--trace FILE and `vmscope report --fail-if` look at every record",
                           c->option, word);
        for (unsigned k = 0; k < stats->cells; k++) {
            const struct stat_cell *cell = &stats->cell[k];
            struct exit_event ev;

            stat_key_event(&cell->key, &ev);
            if ((!stat_is_note(ev.reason) || ev.reason == EXIT_INJECT) &&
                filter_match(t->filter, &ev))
                stat_sum_add(&t->sum, cell);
        }
    }
    return 0;
}

int check_session(struct session *s, const char *text, struct buf *told, struct err *e)
{
    const struct trace_names *names = tracer_names(session_tracer(s));
    struct expr_names known = session_names(s);
    struct trace_stats *stats;
    struct report_check c;
    struct buf line = {0};
    struct expr *x = NULL;
    uint64_t v = 0;
    int rc = parse(&c, "--check", text, names, false, e);

    if (!rc) {
        stats = tracer_lock(session_tracer(s));
        rc = add_sites(&c, stats, e);
        if (!rc)
            fill_in(&c, stats, &line);
        tracer_unlock(session_tracer(s));
    }
    if (!rc && !told)
        rc = (x = expr_compile(buf_str(&line), &known, e)) ? 0 : -EINVAL;
    else if (!rc)
        rc = session_eval(s, session_focus(s), buf_str(&line), &v, e);
    if (!rc && told)
        buf_adds(told, buf_str(&line));
    expr_free(x);
    buf_fini(&line);
    check_fini(&c);
    return rc < 0 ? err_prefix(e, "--check %s", text) : v != 0;
}
