/*
 * Arguments of commands: words, counts, texts, expressions with the client's own variables.
 * Used by every row; main thread.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "debug/commands/commands.h"
#include "vmm/base/x.h"

int cmd_fail(struct out *o, const struct err *e)
{
    out_error(o, "%s", e->msg[0] ? e->msg : "the command failed without saying why");
    return e->code ? -e->code : -EINVAL;
}

const char *cmd_blanks(const char *p)
{
    while (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r')
        p++;
    return p;
}

bool cmd_word(const char **p, char *dst, size_t cap)
{
    const char *s = cmd_blanks(*p);
    size_t n = strcspn(s, " \t\n\r");

    snprintf(dst, cap, "%.*s", (int)(n < cap ? n : cap - 1), s);
    *p = cmd_blanks(s + n);
    return n > 0;
}

bool cmd_keyword(const char **p, const char *word)
{
    const char *s = cmd_blanks(*p);
    size_t n = strcspn(s, " \t\n\r");

    if (n != strlen(word) || strncmp(s, word, n))
        return false;
    *p = cmd_blanks(s + n);
    return true;
}

char *cmd_trim_dup(const char *s, size_t len)
{
    while (len && isspace((unsigned char)*s)) {
        s++;
        len--;
    }
    while (len && isspace((unsigned char)s[len - 1]))
        len--;
    return xasprintf("%.*s", (int)len, s);
}

const char *cmd_scan(const char *p, char stop)
{
    int depth = 0;
    char quote = 0;

    for (; *p; p++) {
        if (quote) {
            if (*p == '\\' && p[1])
                p++;
            else if (*p == quote)
                quote = 0;
        } else if (*p == stop && depth == 0) {
            break;
        } else if (*p == '"' || *p == '\'') {
            quote = *p;
        } else if (strchr("([{", *p)) {
            depth++;
        } else if (strchr(")]}", *p)) {
            depth -= depth > 0;
        }
    }
    return p;
}

/* ---- variables and values -------------------------------------------------------------------- */

static struct variable *var_find(struct cmd_state *st, const char *name)
{
    for (size_t i = 0; i < st->vars; i++) {
        if (!strcmp(st->var[i].name, name))
            return &st->var[i];
    }
    return NULL;
}

void cmd_var_set(struct cmd_client *c, const char *name, uint64_t v)
{
    struct cmd_state *st = cmd_state(c);
    struct variable *var = var_find(st, name);

    if (!var) {
        st->var = xrealloc(st->var, st->vars + 1, sizeof *st->var);
        var = &st->var[st->vars++];
        var->name = xstrdup(name);
    }
    var->value = v;
}

/* Registers of the vCPU in focus; NULL while it runs. */
static const struct vcpu_state *focus_regs(struct cmd_client *c)
{
    if (!c->s || session_state(c->s) == SS_RUNNING)
        return NULL;
    return session_cpu(c->s, session_focus(c->s), VS_REGS | VS_SREGS);
}

bool cmd_pc(struct cmd_client *c, uint64_t *pc)
{
    const struct vcpu_state *cpu = focus_regs(c);

    if (!cpu)
        return false;
    *pc = cpu->sregs.cs.base + cpu->regs.rip;
    if (!(cpu->sregs.efer & 0x400))
        *pc &= 0xffffffff;
    return true;
}

static bool stack_pointer(struct cmd_client *c, uint64_t *sp)
{
    const struct vcpu_state *cpu = focus_regs(c);

    if (!cpu)
        return false;
    *sp = cpu->sregs.ss.base + cpu->regs.rsp;
    return true;
}

bool cmd_var_get(struct cmd_client *c, const char *name, uint64_t *v)
{
    struct cmd_state *st = cmd_state(c);
    const struct variable *var;

    if (!*name || *name == '$' || isdigit((unsigned char)*name)) {
        /* $ the last, $5 the fifth, $$ the one before the last, $$2 two before it */
        size_t n = *name == '$' ? strtoul(name[1] ? name + 1 : "1", NULL, 10)
                   : *name      ? strtoul(name, NULL, 10)
                                : st->values;

        if (*name == '$')
            n = n < st->values ? st->values - n : 0;
        if (!n || n > st->values)
            return false;
        *v = st->value[n - 1];
        return true;
    }
    if (!strcmp(name, "pc"))
        return cmd_pc(c, v);
    if (!strcmp(name, "sp"))
        return stack_pointer(c, v);
    var = var_find(st, name);
    if (var)
        *v = var->value;
    return var != NULL;
}

size_t cmd_value_add(struct cmd_client *c, uint64_t v)
{
    struct cmd_state *st = cmd_state(c);

    if (!(st->values & (st->values + 1)))
        st->value = xrealloc(st->value, 2 * (st->values + 1), sizeof *st->value);
    st->value[st->values++] = v;
    return st->values;
}

/* Copies `text` with the client's `$names` replaced by numbers; registers stay for expr.c. */
static int expand(struct cmd_client *c, const char *text, struct buf *out, struct err *e)
{
    for (const char *p = text; *p;) {
        char name[64];
        struct reg_part part;
        uint64_t v;
        size_t n = 0;

        if (*p == '"' || *p == '\'') { /* a quoted text is no place for variables */
            const char *end = p + 1;

            while (*end && *end != *p)
                end += *end == '\\' && end[1] ? 2 : 1;
            end += *end != 0;
            buf_add(out, p, (size_t)(end - p));
            p = end;
            continue;
        }
        if (*p != '$') {
            buf_addc(out, *p++);
            continue;
        }
        n = p[1] == '$';
        while (isalnum((unsigned char)p[n + 1]) || p[n + 1] == '_')
            n++;
        if (n >= sizeof name)
            return err_set(e, EINVAL, "the name behind `$` is longer than %zu letters",
                           sizeof name - 1);
        memcpy(name, p + 1, n);
        name[n] = 0;
        if ((strcmp(name, "sp") && n && reg_partial(name, &part)))
            buf_add(out, p, n + 1);
        else if (cmd_var_get(c, name, &v))
            buf_addf(out, "0x%llx", (unsigned long long)v);
        else if (!n || *name == '$' || isdigit((unsigned char)*name))
            return err_set(e, EINVAL, "there is no value $%s: `print` made %zu so far", name,
                           cmd_state(c)->values);
        else
            return err_set(e, EINVAL,
                           "$%s is neither a register nor a variable that was set (`set $%s = 1` "
                           "makes one)",
                           name, name);
        p += n + 1;
    }
    return 0;
}

int cmd_eval(struct cmd_client *c, const char *text, uint64_t *v, struct err *e)
{
    struct buf b = {0};
    int r;

    if (!*cmd_blanks(text))
        return err_set(e, EINVAL, "an expression is missing");
    if (!c->s)
        return err_set(e, ENODEV, "an expression needs a guest, and none is open");
    r = expand(c, text, &b, e);
    if (!r)
        r = session_eval(c->s, session_focus(c->s), buf_str(&b), v, e);
    buf_fini(&b);
    return r;
}

int cmd_count(struct cmd_client *c, const char *args, uint64_t dflt, uint64_t *n, struct out *o)
{
    struct err e = {0};
    char *end;

    *n = dflt;
    if (!*args)
        return 0;
    errno = 0;
    *n = strtoull(args, &end, 0);
    if (*cmd_blanks(end) || !isdigit((unsigned char)*args) || errno) {
        if (cmd_eval(c, args, n, &e))
            return cmd_fail(o, &e);
    }
    if (!*n || *n > INT64_MAX) { /* -1 is no count either */
        out_error(o, "`%s` is no count: it must be 1 or more, and less than 2^63", args);
        return -EINVAL;
    }
    return 0;
}

/* ---- text ------------------------------------------------------------------------------------ */

static int hex_digit(char ch)
{
    return isdigit((unsigned char)ch)    ? ch - '0'
           : isxdigit((unsigned char)ch) ? tolower((unsigned char)ch) - 'a' + 10
                                         : -1;
}

static const char *escape(const char *p, struct buf *bytes, struct err *e)
{
    static const char letters[] = "abtnvfre\\\"'";
    static const char values[] = "\a\b\t\n\v\f\r\033\\\"'";
    const char *at = *p ? strchr(letters, *p) : NULL;
    int v = 0;

    if (at) {
        buf_addc(bytes, values[at - letters]);
        return p + 1;
    }
    if (*p == 'x' && hex_digit(p[1]) >= 0) {
        for (p++, v = 0; hex_digit(*p) >= 0 && v < 16; p++)
            v = v * 16 + hex_digit(*p);
        buf_addc(bytes, (char)v);
        return p;
    }
    if (*p >= '0' && *p <= '7') {
        for (int i = 0; i < 3 && *p >= '0' && *p <= '7'; i++, p++)
            v = v * 8 + (*p - '0');
        buf_addc(bytes, (char)v);
        return p;
    }
    err_set(e, EINVAL, "a backslash must be followed by one of a b t n v f r e \\ \" ' xNN NNN");
    return NULL;
}

int cmd_text(const char *text, struct buf *bytes, struct err *e)
{
    size_t len = strlen(text);
    bool quoted = len >= 2 && text[0] == '"' && text[len - 1] == '"';
    const char *end = text + len - quoted;

    for (const char *p = text + quoted; p < end;) {
        if (*p != '\\') {
            buf_addc(bytes, *p++);
            continue;
        }
        p = escape(p + 1, bytes, e);
        if (!p)
            return -EINVAL;
    }
    return 0;
}

const char *cmd_symbol(struct cmd_client *c, uint64_t addr, char *dst, size_t cap)
{
    char name[200];

    *dst = 0;
    if (c->s && symbols_format(session_symbols(c->s), addr, name, sizeof name))
        snprintf(dst, cap, " <%s>", name);
    return dst;
}

/* ---- completion ------------------------------------------------------------------------------ */

static size_t last_word(const char *args, const char *stops)
{
    size_t at = 0;

    for (size_t i = 0; args[i]; i++) {
        if (strchr(stops, args[i]))
            at = i + 1;
    }
    return at;
}

char *cmd_complete_words(const char *const *words, const char *args, size_t n)
{
    size_t at = last_word(args, " \t");
    size_t len = strlen(args + at);

    for (; *words; words++) {
        if (!strncmp(*words, args + at, len) && !n--)
            return xasprintf("%.*s%s", (int)at, args, *words);
    }
    return NULL;
}

static const char *nth_dollar(struct cmd_client *c, const char *part, size_t *n)
{
    struct cmd_state *st = cmd_state(c);
    size_t len = strlen(part);

    for (int i = 0; i < REG_COUNT; i++) {
        if (!strncmp(reg_table[i].name, part, len) && !(*n)--)
            return reg_table[i].name;
    }
    for (unsigned i = 0; reg_alias_at(i); i++) {
        if (!strncmp(reg_alias_at(i), part, len) && !(*n)--)
            return reg_alias_at(i);
    }
    for (size_t i = 0; i < st->vars; i++) {
        if (!strncmp(st->var[i].name, part, len) && !(*n)--)
            return st->var[i].name;
    }
    return NULL;
}

char *cmd_complete_expr(struct cmd_client *c, const char *args, size_t n)
{
    size_t at = last_word(args, " \t()+-*/&|!=<>,:");
    const char *name;

    if (args[at] == '$') {
        name = nth_dollar(c, args + at + 1, &n);
        return name ? xasprintf("%.*s$%s", (int)at, args, name) : NULL;
    }
    name = c->s ? symbols_complete(session_symbols(c->s), args + at, n) : NULL;
    return name ? xasprintf("%.*s%s", (int)at, args, name) : NULL;
}

char *cmd_complete_file(struct cmd_client *c, const char *args, size_t n)
{
    size_t at = last_word(args, " \t"), slash = last_word(args, " \t/");
    char *dir = slash > at ? xasprintf("%.*s", (int)(slash - at), args + at) : xstrdup("."),
         *s = NULL;
    DIR *d = opendir(dir);
    struct dirent *ent;
    size_t len = strlen(args + slash);

    (void)c;
    free(dir);
    if (!d)
        return NULL;
    while (!s && (ent = readdir(d))) {
        if (strncmp(ent->d_name, args + slash, len) || (!len && ent->d_name[0] == '.'))
            continue;
        if (!n--)
            s = xasprintf("%.*s%s%s", (int)slash, args, ent->d_name,
                          ent->d_type == DT_DIR ? "/" : "");
    }
    closedir(d);
    return s;
}
