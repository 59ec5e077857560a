/*
 * Recursive descent over JSON text. Pure.
 */
#include "debug/json.h"

#include <ctype.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "vmm/base/buf.h"

struct reader {
    const char *text;
    size_t at, len;
    unsigned depth;
    json_fn *fn;
    void *arg;
    struct err *e;
    struct buf word;
};

static int fail(struct reader *r, const char *what)
{
    return err_set(r->e, EINVAL, "JSON, byte %zu: %s", r->at + 1, what);
}

static int tell(struct reader *r, enum json_event ev)
{
    if (r->fn(r->arg, ev, buf_str(&r->word), r->word.len))
        return 0;
    return err_set(r->e, ECANCELED, "JSON, byte %zu: not accepted", r->at + 1);
}

static int peek(struct reader *r)
{
    while (r->at < r->len && strchr(" \t\r\n", r->text[r->at]) && r->text[r->at])
        r->at++;
    return r->at < r->len ? (unsigned char)r->text[r->at] : -1;
}

static bool hex4(struct reader *r, uint32_t *out)
{
    *out = 0;
    for (unsigned i = 0; i < 4; i++) {
        unsigned char c = r->at < r->len ? (unsigned char)r->text[r->at] : 0;

        if (!isxdigit(c))
            return false;
        *out = *out << 4 | (uint32_t)(isdigit(c) ? c - '0' : (c | 32) - 'a' + 10);
        r->at++;
    }
    return true;
}

static void add_utf8(struct buf *b, uint32_t c)
{
    if (c < 0x80) {
        buf_addc(b, (char)c);
    } else if (c < 0x800) {
        buf_addc(b, (char)(0xc0 | c >> 6));
        buf_addc(b, (char)(0x80 | (c & 63)));
    } else if (c < 0x10000) {
        buf_addc(b, (char)(0xe0 | c >> 12));
        buf_addc(b, (char)(0x80 | (c >> 6 & 63)));
        buf_addc(b, (char)(0x80 | (c & 63)));
    } else {
        buf_addc(b, (char)(0xf0 | c >> 18));
        buf_addc(b, (char)(0x80 | (c >> 12 & 63)));
        buf_addc(b, (char)(0x80 | (c >> 6 & 63)));
        buf_addc(b, (char)(0x80 | (c & 63)));
    }
}

static bool unicode(struct reader *r)
{
    uint32_t c, low;

    if (!hex4(r, &c))
        return false;
    if (c >= 0xd800 && c < 0xdc00 && r->at + 1 < r->len && r->text[r->at] == '\\' &&
        r->text[r->at + 1] == 'u') {
        r->at += 2;
        if (!hex4(r, &low))
            return false;
        c = low >= 0xdc00 && low < 0xe000 ? 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00)
                                          : 0xfffd;
    } else if (c >= 0xd800 && c < 0xe000) {
        c = 0xfffd; /* half of a pair */
    }
    add_utf8(&r->word, c);
    return true;
}

static bool escape(struct reader *r)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    char c = r->at < r->len ? r->text[r->at++] : 0;
    const char *p;

    if (c == 'u')
        return unicode(r);
    p = c ? strchr(from, c) : NULL;
    if (p)
        buf_addc(&r->word, to[p - from]);
    return p != NULL;
}

static int string(struct reader *r)
{
    buf_clear(&r->word);
    r->at++;
    for (;;) {
        unsigned char c = r->at < r->len ? (unsigned char)r->text[r->at] : 0;

        if (c < 0x20)
            return fail(r, "a string does not end, or holds a control character");
        r->at++;
        if (c == '"')
            return 0;
        if (c != '\\')
            buf_addc(&r->word, (char)c);
        else if (!escape(r))
            return fail(r, "an escape that JSON does not know");
    }
}

static size_t digits(struct reader *r)
{
    size_t n = 0;

    while (r->at < r->len && isdigit((unsigned char)r->text[r->at])) {
        r->at++;
        n++;
    }
    return n;
}

static int number(struct reader *r)
{
    size_t start = r->at;
    bool good;

    r->at += r->text[r->at] == '-';
    good = digits(r) > 0;
    if (good && r->at < r->len && r->text[r->at] == '.') {
        r->at++;
        good = digits(r) > 0;
    }
    if (good && r->at < r->len && (r->text[r->at] | 32) == 'e') {
        r->at++;
        if (r->at < r->len && (r->text[r->at] == '+' || r->text[r->at] == '-'))
            r->at++;
        good = digits(r) > 0;
    }
    if (!good)
        return fail(r, "a number has no digits where they belong");
    buf_clear(&r->word);
    buf_add(&r->word, r->text + start, r->at - start);
    return tell(r, JSON_NUMBER);
}

static int literal(struct reader *r)
{
    static const struct {
        const char *word;
        enum json_event ev;
    } words[] = {{"true", JSON_TRUE}, {"false", JSON_FALSE}, {"null", JSON_NULL}};

    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        size_t n = strlen(words[i].word);

        if (r->len - r->at >= n && !memcmp(r->text + r->at, words[i].word, n)) {
            r->at += n;
            buf_clear(&r->word);
            return tell(r, words[i].ev);
        }
    }
    return fail(r, "no value begins like this");
}

static int value(struct reader *r);

static int member(struct reader *r)
{
    int rc;

    if (peek(r) != '"')
        return fail(r, "a member begins with its name in quotes");
    rc = string(r);
    if (!rc)
        rc = tell(r, JSON_KEY);
    if (rc)
        return rc;
    if (peek(r) != ':')
        return fail(r, "a colon is missing");
    r->at++;
    return value(r);
}

/* Members or elements up to the closing bracket. */
static int items(struct reader *r, bool object)
{
    int close = object ? '}' : ']', rc;

    r->at++;
    buf_clear(&r->word);
    rc = tell(r, object ? JSON_OBJECT : JSON_ARRAY);
    if (!rc && peek(r) == close)
        goto out;
    while (!rc) {
        rc = object ? member(r) : value(r);
        if (rc)
            return rc;
        if (peek(r) == close)
            break;
        if (peek(r) != ',')
            return fail(r, "a comma or the closing bracket is missing");
        r->at++;
    }
out:
    if (rc)
        return rc;
    r->at++;
    buf_clear(&r->word);
    return tell(r, object ? JSON_OBJECT_END : JSON_ARRAY_END);
}

static int value(struct reader *r)
{
    int c = peek(r), rc;

    if (c == '{' || c == '[') {
        if (r->depth == JSON_DEPTH_MAX)
            return fail(r, "nested too deeply");
        r->depth++;
        rc = items(r, c == '{');
        r->depth--;
        return rc;
    }
    if (c == '"') {
        rc = string(r);
        return rc ? rc : tell(r, JSON_STRING);
    }
    if (c == '-' || (c >= '0' && c <= '9'))
        return number(r);
    return literal(r);
}

int json_parse(const char *text, size_t len, json_fn *fn, void *arg, struct err *e)
{
    struct reader r = {.text = text, .len = len, .fn = fn, .arg = arg, .e = e};
    int rc = value(&r);

    if (!rc && peek(&r) != -1)
        rc = fail(&r, "something stands behind the value");
    buf_fini(&r.word);
    return rc;
}
