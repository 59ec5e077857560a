/*
 * Tokens of expressions. The text comes from people, scripts and gdb: bounded, never trusted.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "debug/expr_int.h"
#include "vmm/base/esc.h"
#include "vmm/base/x.h"

int expr_error(const char *text, unsigned column, struct err *e, const char *fmt, ...)
{
    char why[300], shown[120];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(why, sizeof why, fmt, ap);
    va_end(ap);
    esc_cut(shown, sizeof shown, text, strlen(text));
    return err_set(e, EINVAL, "column %u of \"%s\": %s", column, shown, why);
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_name(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || is_digit(c) || c == '_' ||
           c == '.' || c == '@';
}

static int digit_of(char c)
{
    if (is_digit(c))
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : 99;
}

/* The letters behind a number: C's u and l mean nothing here, k, m and g multiply. -1: unknown. */
static int suffix_shift(const char *p, size_t len)
{
    if (len == 1 && strchr("kK", *p))
        return 10;
    if (len == 1 && strchr("mM", *p))
        return 20;
    if (len == 1 && strchr("gG", *p))
        return 30;
    for (size_t i = 0; i < len; i++)
        if (!strchr("uUlL", p[i]))
            return -1;
    return len <= 3 ? 0 : -1;
}

static int lex_number(const char *text, size_t *pos, struct expr_token *t, struct err *e)
{
    const char *p = text + *pos, *start = p;
    int base = 10, shift;
    size_t rest = 0;

    if (*p == '0' && strchr("xXbBoO", p[1]) && p[1]) {
        base = strchr("xX", p[1]) ? 16 : strchr("bB", p[1]) ? 2 : 8;
        p += 2;
        if (digit_of(*p) >= base)
            return expr_error(text, t->column, e, "digits are missing behind \"%.2s\"", start);
    } else if (*p == '0' && is_digit(p[1])) {
        return expr_error(text, t->column, e,
                          "a number cannot start with 0: octal ones start with 0o, hexadecimal "
                          "ones with 0x");
    }
    for (; digit_of(*p) < base; p++) {
        uint64_t digit = (uint64_t)digit_of(*p);

        if (t->number > (UINT64_MAX - digit) / (unsigned)base)
            return expr_error(text, t->column, e, "the number does not fit 64 bits");
        t->number = t->number * (unsigned)base + digit;
    }
    while (is_name(p[rest]))
        rest++;
    shift = suffix_shift(p, rest);
    if (shift < 0 && base == 10 && digit_of(*p) < 16)
        return expr_error(text, t->column, e,
                          "a decimal number has no letters; hexadecimal ones "
                          "start with 0x");
    if (shift < 0)
        return expr_error(text, t->column, e, "the number ends in letters that mean nothing");
    if (shift && t->number >> (64 - shift))
        return expr_error(text, t->column, e, "the number does not fit 64 bits");
    t->number <<= shift;
    t->kind = TOK_NUMBER;
    *pos = (size_t)(p + rest - text);
    return 0;
}

/* One character of a 'c' or "text", with its escapes. -1: a bad escape. */
static int lex_char(const char **p)
{
    static const char from[] = "ntr0ab\\'\"e", to[] = "\n\t\r\0\a\b\\'\"\033";
    const char *found;
    int c = (unsigned char)*(*p)++;

    if (c != '\\')
        return c;
    c = (unsigned char)*(*p)++;
    if (c == 'x' && digit_of((*p)[0]) < 16 && digit_of((*p)[1]) < 16) {
        c = digit_of((*p)[0]) * 16 + digit_of((*p)[1]);
        *p += 2;
        return c;
    }
    found = c ? strchr(from, c) : NULL;
    return found ? (unsigned char)to[found - from] : -1;
}

/* The NUL that ends the text also ends a literal in error: lex_char never steps over it, for the
 * callers stop at it first, and an escape at the end fails. */
static int lex_quoted(const char *text, size_t *pos, struct expr_token *t, struct err *e)
{
    const char *p = text + *pos, quote = *p++;
    size_t n = 0;

    while (*p && *p != quote) {
        int c;

        if (p[0] == '\\' && !p[1])
            break;
        c = lex_char(&p);
        if (c < 0)
            return expr_error(text, (unsigned)(p - text), e,
                              "unknown escape; there are \\n \\t \\r \\0 \\e \\\\ \\' \\\" \\xNN");
        if (n + 1 >= sizeof t->string)
            return expr_error(text, t->column, e, "the text is longer than %u bytes",
                              EXPR_STRING_MAX - 1);
        t->string[n++] = (char)c;
    }
    if (*p != quote)
        return expr_error(text, t->column, e, "the closing %c is missing", quote);
    t->string[n] = '\0';
    *pos = (size_t)(p + 1 - text);
    t->kind = TOK_STRING;
    if (quote == '"')
        return 0;
    if (n != 1)
        return expr_error(text, t->column, e, "there must be one character between the quotes");
    t->kind = TOK_NUMBER;
    t->number = (unsigned char)t->string[0];
    return 0;
}

static int lex_operator(const char *text, size_t *pos, struct expr_token *t, struct err *e)
{
    static const char *const pairs[] = {"<<", ">>", "<=", ">=", "==", "!=", "&&", "||"};
    const char *p = text + *pos;
    char c[2] = {*p, '\0'}, shown[8];

    t->kind = TOK_OPERATOR;
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++)
        if (p[0] == pairs[i][0] && p[1] == pairs[i][1]) {
            memcpy(t->op, pairs[i], 3);
            *pos += 2;
            return 0;
        }
    if (*p == '=')
        return expr_error(text, t->column, e, "\"=\" is no operator here: == compares");
    if (!strchr("+-*/%&|^~!<>()?:", *p))
        return expr_error(text, t->column, e, "\"%s\" has no meaning here",
                          esc_cut(shown, sizeof shown, c, 1));
    memcpy(t->op, c, 2);
    *pos += 1;
    return 0;
}

int expr_lex(const char *text, size_t *pos, struct expr_token *out, struct err *e)
{
    const char *p;

    while (text[*pos] && strchr(" \t\r\n", text[*pos]))
        ++*pos;
    p = text + *pos;
    *out = (struct expr_token){.kind = TOK_END, .column = (unsigned)*pos + 1, .at = p};
    if (!*p)
        return 0;
    if (is_digit(*p))
        return lex_number(text, pos, out, e);
    if (*p == '\'' || *p == '"')
        return lex_quoted(text, pos, out, e);
    if (*p != '$' && !is_name(*p))
        return lex_operator(text, pos, out, e);
    out->kind = *p == '$' ? TOK_REGISTER : TOK_NAME;
    out->at = *p == '$' ? p + 1 : p;
    while (is_name(out->at[out->len]))
        out->len++;
    if (!out->len)
        return expr_error(text, out->column, e, "a register's name is missing behind \"$\"");
    *pos = (size_t)(out->at + out->len - text);
    return 0;
}
