/*
 * Where: the LOCATION argument of break, until, disassemble, info line. Main thread.
 */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "debug/commands/commands.h"
#include "vmm/base/x.h"

/* A function this large is not searched for a line byte by byte. */
#define FUNCTION_MAX (1u << 20)

static bool same_file(const char *have, const char *want)
{
    size_t h = strlen(have), w = strlen(want);

    return h >= w && !strcmp(have + h - w, want) && (h == w || have[h - w - 1] == '/');
}

/* The lowest address of a line inside one function; also the nearest later line, for a line
 * without code. */
static void line_in(const struct symbols *t, const struct symbol *f, const char *want, int line,
                    int *best_line, uint64_t *best)
{
    const char *file;
    int at;

    for (uint64_t a = f->addr; a - f->addr < f->size; a++) {
        if (!symbols_line(t, a, &file, &at))
            return; /* a function has lines for all of its code, or none */
        if (at < line || !same_file(file, want) || (*best_line && at >= *best_line))
            continue;
        *best_line = at;
        *best = a;
    }
}

static int by_line(struct cmd_client *c, const char *text, const char *colon, struct location *out,
                   struct err *e)
{
    const struct symbols *t = session_symbols(c->s);
    char *file = cmd_trim_dup(text, (size_t)(colon - text));
    long line = strtol(colon + 1, NULL, 10);
    int best_line = 0, r = 0;

    for (size_t i = 0; i < symbols_count(t) && best_line != line; i++) {
        const struct symbol *f = symbols_at(t, i);

        if (f->is_function && f->size && f->size < FUNCTION_MAX && line > 0 && line < 1 << 24)
            line_in(t, f, file, (int)line, &best_line, &out->addr);
    }
    if (!best_line)
        r = err_set(e, ENOENT,
                    "no code is known for %s:%ld: the guest's file needs debug information (gcc "
                    "-g) and the line must hold code",
                    file, line);
    out->space = SPACE_LINEAR;
    free(file);
    return r;
}

static bool is_line_spec(const char *text, const char *colon)
{
    const char *dot = memchr(text, '.', (size_t)(colon - text));
    const char *p = colon + 1;

    if (!dot || !isdigit((unsigned char)*p))
        return false;
    while (isdigit((unsigned char)*p))
        p++;
    return !*cmd_blanks(p);
}

int cmd_location(struct cmd_client *c, const char *text, struct location *out, struct err *e)
{
    const char *colon;

    *out = (struct location){.space = SPACE_LINEAR};
    text = cmd_blanks(text);
    if (!*text)
        return err_set(e, EINVAL,
                       "a location is missing: a symbol, an address expression, SEG:OFF, "
                       "FILE.c:LINE or phys:ADDR");
    if (!strncmp(text, "phys:", 5)) {
        out->space = SPACE_PHYS;
        return cmd_eval(c, text + 5, &out->addr, e);
    }
    colon = strchr(text, ':');
    if (colon && is_line_spec(text, colon))
        return by_line(c, text, colon, out, e);
    /* gdb's *EXPR; a typed access such as *(u32*)p is an expression and keeps its star. */
    if (*text == '*' && *cmd_blanks(text + 1) != '(')
        text++;
    else if (*text == '*') {
        const char *type = cmd_blanks(text + 2);

        while (isalnum((unsigned char)*type))
            type++;
        if (*cmd_blanks(type) != '*')
            text++;
    }
    return cmd_eval(c, text, &out->addr, e);
}
