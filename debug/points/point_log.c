/*
 * Lines of points that log. See point_log.h.
 */
#include "debug/points/point_log.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/x.h"

#define VALUES_MAX 16u
#define WIDTH_MAX  200u
#define TEXT_MAX   200u /* characters of a %s */

struct piece {
    char *plain;       /* text before the value */
    char conversion;   /* 0: the text alone */
    char spec[24];     /* for printf, with its length letters exchanged for ours */
    unsigned cut_bits; /* 8, 16, or 64 */
    struct expr *x;
};

struct point_log {
    unsigned count;
    struct piece piece[VALUES_MAX + 1];
};

void point_log_free(struct point_log *l)
{
    if (!l)
        return;
    for (unsigned i = 0; i <= VALUES_MAX; i++) {
        free(l->piece[i].plain);
        expr_free(l->piece[i].x);
    }
    free(l);
}

/* A decimal number of a conversion; false when it is too large. */
static bool take_number(const char **p)
{
    unsigned v = 0;

    for (; isdigit((unsigned char)**p) && v <= WIDTH_MAX; ++*p)
        v = v * 10 + (unsigned)(**p - '0');
    return v <= WIDTH_MAX;
}

/* What stands behind a percent sign. */
static int conversion(struct piece *c, const char **at, struct err *e)
{
    const char *p = *at;
    size_t half = 0, len;

    p += strspn(p, "-+ #0");
    if (!take_number(&p) || (*p == '.' && (++p, !take_number(&p))) || p - *at > 12)
        return err_set(e, EINVAL, "a width or precision in the format is more than %u", WIDTH_MAX);
    len = (size_t)(p - *at);
    for (; *p && strchr("hlzj", *p); p++)
        half += *p == 'h';
    c->cut_bits = half > 1 ? 8 : half ? 16 : 64;
    c->conversion = *p;
    if (!*p || !strchr("diuxXocsp", *p))
        return err_set(e, EINVAL,
                       "`%.12s` in the format is no conversion: d i u x X o c s p and %%%% are",
                       *at - 1);
    snprintf(c->spec, sizeof c->spec, "%%%s%.*s%s%c", *p == 'p' ? "#" : "", (int)len, *at,
             strchr("sc", *p) ? "" : "ll", *p == 'p' ? 'x' : *p);
    *at = p + 1;
    return 0;
}

static char escaped(char ch)
{
    static const char from[] = "ntrae", to[] = "\n\t\r\a\033";
    const char *p = strchr(from, ch);

    return p && *p ? to[p - from] : ch;
}

/* The format up to its closing quote; *at is moved behind that. */
static int parse_format(struct point_log *l, const char **at, struct err *e)
{
    struct buf text = {0};
    const char *p = *at;
    int rc = 0;

    while (rc == 0 && *p && *p != '"') {
        if (*p == '\\' && p[1]) {
            buf_addc(&text, escaped(p[1]));
            p += 2;
        } else if (*p == '%' && p[1] == '%') {
            buf_addc(&text, '%');
            p += 2;
        } else if (*p != '%') {
            buf_addc(&text, *p++);
        } else if (l->count == VALUES_MAX) {
            rc = err_set(e, E2BIG, "a format has at most %u values", VALUES_MAX);
        } else {
            p++;
            rc = conversion(&l->piece[l->count], &p, e);
            l->piece[l->count++].plain = buf_take(&text);
        }
    }
    if (rc == 0 && *p != '"')
        rc = err_set(e, EINVAL, "the format has no closing quote");
    l->piece[l->count].conversion = rc ? l->piece[l->count].conversion : 0;
    if (!l->piece[l->count].plain)
        l->piece[l->count].plain = buf_take(&text);
    buf_fini(&text);
    *at = p + (*p == '"');
    return rc;
}

/* Up to the comma between two values. */
static size_t value_len(const char *p)
{
    const char *from = p;
    int depth = 0;

    for (; *p && (*p != ',' || depth); p++) {
        if (*p == '\'' && p[1]) {
            p += p[1] == '\\' && p[2] ? 2 : 1;
            while (p[1] && *p != '\'')
                p++;
        }
        depth += *p == '(' || *p == '[';
        depth -= *p == ')' || *p == ']';
    }
    return (size_t)(p - from);
}

static int parse_values(struct point_log *l, const char *p, const struct expr_names *names,
                        struct err *e)
{
    unsigned n = 0;

    p += strspn(p, " \t");
    while (*p == ',') {
        size_t len = value_len(++p);
        char *text;

        if (n == l->count)
            return err_set(e, EINVAL, "there are more values than conversions in the format");
        text = xasprintf("%.*s", (int)len, p);
        l->piece[n].x = expr_compile(text, names, e);
        free(text);
        if (!l->piece[n++].x)
            return -EINVAL;
        p += len;
    }
    if (*p)
        return err_set(e, EINVAL, "behind the format may stand `, EXPR`, not `%.40s`", p);
    if (n < l->count)
        return err_set(e, EINVAL, "the format has %u conversions, but %u values stand behind it",
                       l->count, n);
    return 0;
}

struct point_log *point_log_new(const char *text, const struct expr_names *names, struct err *e)
{
    struct point_log *l;
    int rc = 0;

    text += strspn(text, " \t");
    if (*text != '"') {
        err_set(e, EINVAL, "a format stands in quotes, as in `log \"rax is %%x\", $rax`");
        return NULL;
    }
    text++;
    l = xcalloc(1, sizeof *l);
    rc = parse_format(l, &text, e);
    if (rc == 0)
        rc = parse_values(l, text, names, e);
    if (rc == 0)
        return l;
    point_log_free(l);
    return NULL;
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral" /* built by conversion(), of checked parts */
static void add_text(const struct expr_env *env, uint64_t addr, const char *spec, struct buf *out)
{
    char text[TEXT_MAX + 1];
    size_t n = 0;

    while (n < TEXT_MAX && env->mem && env->mem(env->arg, addr + n, &text[n], 1) && text[n])
        n++;
    text[n] = 0;
    buf_addf(out, spec, text);
}

static void add_value(const struct piece *c, const struct expr_env *env, struct buf *out)
{
    struct err e = {0};
    uint64_t v;

    if (expr_eval(c->x, env, &v, &e) < 0) {
        buf_addf(out, "<%s>", e.msg);
        return;
    }
    if (c->cut_bits < 64)
        v &= (1ull << c->cut_bits) - 1;
    if (c->conversion == 's')
        add_text(env, v, c->spec, out);
    else if (c->conversion == 'c')
        buf_addf(out, c->spec, (int)(v & 0xff));
    else if (strchr("di", c->conversion))
        buf_addf(out, c->spec,
                 c->cut_bits == 8    ? (long long)(int8_t)v
                 : c->cut_bits == 16 ? (long long)(int16_t)v
                                     : (long long)v);
    else
        buf_addf(out, c->spec, (unsigned long long)v);
}
#pragma GCC diagnostic pop

void point_log_format(const struct point_log *l, const struct expr_env *env, struct buf *out)
{
    for (unsigned i = 0; i < l->count; i++) {
        buf_adds(out, l->piece[i].plain);
        add_value(&l->piece[i], env, out);
    }
    buf_adds(out, l->piece[l->count].plain);
}
