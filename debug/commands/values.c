/*
 * print, output, set and assignments. Main thread.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "debug/commands/commands.h"
#include "vmm/base/le.h"
#include "vmm/base/x.h"

/* ---- assignment ------------------------------------------------------------------------------ */

/* Position of an assignment's `=` at the top level, or NULL. */
static const char *cmd_find_assign(const char *text)
{
    for (const char *p = text; *(p = cmd_scan(p, '=')); p++) {
        if (p[1] == '=') {
            p++;
            continue;
        }
        if (p == text || !strchr("=!<>", p[-1]))
            return p;
    }
    return NULL;
}

static int assign_register(struct cmd_client *c, const char *name, const struct reg_part *part,
                           uint64_t v, struct err *e)
{
    struct reg_value old, value;
    uint64_t mask = part->width < 64 ? (1ull << part->width) - 1 : UINT64_MAX;
    int r;

    if (reg_table[part->id].bits > 64 && part->width > 64)
        return err_set(e, EINVAL,
                       "$%s has %u bits and is set as a whole: $%s = 0x… with at most "
                       "%u hexadecimal digits",
                       name, part->width, name, part->width / 4);
    if (v & ~mask && v >> (part->width - 1) != UINT64_MAX >> (part->width - 1))
        return err_set(e, ERANGE, "0x%llx does not fit $%s, which has %u bits",
                       (unsigned long long)v, name, part->width);
    r = session_reg_get(c->s, session_focus(c->s), part->id, &old, e);
    if (r)
        return r;
    value = reg_from_u64(part->id, reg_part_put(part, old.u, v));
    return session_reg_set(c->s, session_focus(c->s), part->id, &value, e);
}

/* A vector register takes one long hexadecimal number. */
static int assign_wide(struct cmd_client *c, const char *name, int id, const char *text,
                       struct err *e)
{
    struct reg_value v = {.len = (reg_table[id].bits + 7u) / 8u};
    const char *p = cmd_blanks(text);
    size_t n;

    if (strncmp(p, "0x", 2) || !(n = strspn(p + 2, "0123456789abcdefABCDEF")) ||
        *cmd_blanks(p + 2 + n) || n > 2 * v.len)
        return err_set(e, EINVAL, "$%s takes one hexadecimal number of at most %u digits", name,
                       2 * v.len);
    for (size_t i = 0; i < n; i++) {
        char ch = p[2 + n - 1 - i];
        unsigned d = isdigit((unsigned char)ch) ? (unsigned)(ch - '0')
                                                : (unsigned)(tolower((unsigned char)ch) - 'a' + 10);

        v.bytes[i / 2] |= (uint8_t)(d << (i % 2 * 4));
    }
    v.u = le_load(v.bytes, 8);
    return session_reg_set(c->s, session_focus(c->s), id, &v, e);
}

static int write_memory(struct cmd_client *c, uint64_t addr, unsigned size, uint64_t v,
                        struct err *e)
{
    uint8_t bytes[8];
    int64_t n;

    le_store(bytes, 8, v);
    if (size < 8 && v >> 8 * size && v >> (8 * size - 1) != UINT64_MAX >> (8 * size - 1))
        return err_set(e, ERANGE, "0x%llx does not fit %u byte%s", (unsigned long long)v, size,
                       size == 1 ? "" : "s");
    n = session_mem_write(c->s, session_focus(c->s), SPACE_LINEAR, addr, bytes, size);
    if (n == (int64_t)size)
        return 0;
    return err_set(e, EFAULT,
                   "Cannot access memory at address 0x%llx: it is not mapped to RAM (`info walk "
                   "0x%llx` says why)",
                   (unsigned long long)addr + (uint64_t)(n > 0 ? n : 0), (unsigned long long)addr);
}

/* "*(u32*)EXPR" or "{u32}EXPR": the size of the type and the expression behind it. */
static unsigned memory_operand(const char *lhs, const char **addr)
{
    static const char *const names[] = {"u8", "s8", "u16", "s16", "u32", "s32", "u64", "s64"};
    bool braces = *lhs == '{';
    const char *p = cmd_blanks(lhs + 1);

    if (!braces && (*lhs != '*' || *p != '('))
        return 0;
    if (!braces)
        p = cmd_blanks(p + 1);
    for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
        size_t n = strlen(names[i]);

        if (strncmp(p, names[i], n) || isalnum((unsigned char)p[n]))
            continue;
        p = cmd_blanks(p + n);
        if (!braces && *p++ != '*')
            return 0;
        p = cmd_blanks(p);
        if (*p++ != (braces ? '}' : ')'))
            return 0;
        *addr = p;
        return 1u << i / 2;
    }
    return 0;
}

static int assign_memory(struct cmd_client *c, const char *lhs, uint64_t v, struct err *e)
{
    const struct symbol *sym;
    const char *expr;
    unsigned size = memory_operand(lhs, &expr);
    uint64_t addr;
    int r;

    if (size) {
        r = cmd_eval(c, expr, &addr, e);
        return r ? r : write_memory(c, addr, size, v, e);
    }
    sym = symbols_find(session_symbols(c->s), lhs);
    if (sym && (sym->size == 1 || sym->size == 2 || sym->size == 4 || sym->size == 8))
        return write_memory(c, sym->addr, (unsigned)sym->size, v, e);
    if (sym)
        return err_set(e, EINVAL, "`%s` has %llu bytes: say which to write, as in *(u32*)%s = …",
                       lhs, (unsigned long long)sym->size, lhs);
    return err_set(e, EINVAL,
                   "`%s` cannot be assigned to: use $REGISTER, $VARIABLE, a symbol, or memory with "
                   "its type such as *(u32*)0x1000 = 7",
                   lhs);
}

static bool is_var_name(const char *name)
{
    if (!isalpha((unsigned char)*name) && *name != '_')
        return false;
    while (isalnum((unsigned char)*name) || *name == '_')
        name++;
    return !*name;
}

/* LHS = RHS: register, variable, typed memory or symbol. */
static int cmd_assign(struct cmd_client *c, const char *text, uint64_t *value, struct err *e)
{
    const char *eq = cmd_find_assign(text);
    struct reg_part part;
    char *lhs;
    int r;

    if (!eq)
        return err_set(e, EINVAL, "an assignment has the form LEFT = EXPRESSION");
    lhs = cmd_trim_dup(text, (size_t)(eq - text));
    if (*lhs == '$' && reg_partial(lhs + 1, &part) && part.width > 64) {
        *value = 0;
        r = assign_wide(c, lhs + 1, part.id, eq + 1, e);
        goto out;
    }
    r = cmd_eval(c, eq + 1, value, e);
    if (r)
        goto out;
    if (*lhs == '$' && reg_partial(!strcmp(lhs, "$pc") ? "rip" : lhs + 1, &part))
        r = assign_register(c, lhs + 1, &part, *value, e);
    else if (*lhs == '$' && is_var_name(lhs + 1))
        cmd_var_set(c, lhs + 1, *value);
    else
        r = assign_memory(c, lhs, *value, e);
out:
    free(lhs);
    return r;
}

/* ---- print ----------------------------------------------------------------------------------- */

/* True when the whole text names a register; for its natural look. */
static bool is_register(const char *text, struct reg_part *part)
{
    char *name;
    bool yes;

    if (*text != '$')
        return false;
    name = cmd_trim_dup(text + 1, strlen(text + 1));
    yes = reg_partial(name, part);
    free(name);
    return yes;
}

static int print_wide(struct cmd_client *c, int id, struct out *o)
{
    struct reg_value v;
    struct err e = {0};
    struct buf b = {0};

    if (session_reg_get(c->s, session_focus(c->s), id, &v, &e))
        return cmd_fail(o, &e);
    for (unsigned i = v.len; i-- > 0;)
        buf_addf(&b, "%02x", v.bytes[i]);
    out_text(o, "$%s = 0x%s", reg_table[id].name, buf_str(&b));
    out_json_str(o, "value", buf_str(&b));
    buf_fini(&b);
    return 0;
}

/* Without a format: decimal, hexadecimal beside it, and the symbol that has exactly or nearly
 * this address. */
static void natural(struct cmd_client *c, uint64_t v, const char *text, struct buf *out)
{
    struct reg_part part;
    char name[200], flags[300];

    if (is_register(text, &part) && reg_table[part.id].flags && part.low == 0) {
        reg_flags_text(part.id, v, flags, sizeof flags);
        buf_addf(out, "0x%llx [%s%s ]", (unsigned long long)v, *flags ? " " : "", flags);
        return;
    }
    format_value(out, v, 8, 'd', false);
    if (v > 9)
        buf_addf(out, " (0x%llx)", (unsigned long long)v);
    if (v > 0xff)
        buf_adds(out, cmd_symbol(c, v, name, sizeof name));
}

static unsigned print_size(const struct format *f, const char *text)
{
    struct reg_part part;

    if (f->size)
        return f->size;
    if (is_register(text, &part) && part.width <= 64)
        return part.width > 32 ? 8 : part.width > 16 ? 4 : part.width > 8 ? 2 : 1;
    return 8;
}

static int print_string(struct cmd_client *c, uint64_t v, struct out *o)
{
    struct format f = {.letter = 's', .count = 1};

    return cmd_examine(c, &f, SPACE_LINEAR, v, o);
}

static void print_value(struct cmd_client *c, const struct format *f, const char *text, uint64_t v,
                        struct buf *b)
{
    char name[200];

    if (f->letter)
        format_value(b, v, print_size(f, text), f->letter, false);
    else
        natural(c, v, text, b);
    if (f->letter == 'a')
        buf_adds(b, cmd_symbol(c, v, name, sizeof name));
}

/* /FMT and the value of an expression or assignment. */
static int evaluate(struct cmd_client *c, const char **args, struct format *f, uint64_t *v,
                    struct err *e)
{
    int r = format_parse(args, f, e);

    if (r)
        return r;
    if (f->count)
        return err_set(e, EINVAL, "`print` shows one value: a count belongs to `x`");
    if (!**args) {
        if (!cmd_var_get(c, "", v))
            return err_set(e, EINVAL, "there is no last value yet: give `print` an expression");
        return 0;
    }
    return cmd_find_assign(*args) ? cmd_assign(c, *args, v, e) : cmd_eval(c, *args, v, e);
}

int cmd_print_run(struct cmd_client *c, const char *args, struct out *o)
{
    struct format f;
    struct reg_part part;
    struct err e = {0};
    struct buf b = {0};
    uint64_t v;
    size_t n;

    if (is_register(args, &part) && part.width > 64)
        return print_wide(c, part.id, o);
    if (evaluate(c, &args, &f, &v, &e))
        return cmd_fail(o, &e);
    if (f.letter == 's' || f.letter == 'i') {
        if (f.letter == 's')
            return print_string(c, v, o);
        out_error(o, "the format `i` belongs to `x`: x/i %s", args);
        return -EINVAL;
    }
    print_value(c, &f, args, v, &b);
    n = cmd_value_add(c, v);
    out_text(o, "$%zu = %s", n, buf_str(&b));
    out_json_u64(o, "number", n);
    out_json_hex(o, "value", v);
    out_json_str(o, "shown", buf_str(&b));
    buf_fini(&b);
    return 0;
}

int cmd_output_run(struct cmd_client *c, const char *args, struct out *o)
{
    struct format f;
    struct err e = {0};
    struct buf b = {0};
    uint64_t v;

    if (!*args || *args == '$') {
        struct reg_part part;

        if (is_register(args, &part) && part.width > 64)
            return print_wide(c, part.id, o);
    }
    if (evaluate(c, &args, &f, &v, &e))
        return cmd_fail(o, &e);
    print_value(c, &f, args, v, &b);
    out_text(o, "%s", buf_str(&b));
    out_json_hex(o, "value", v);
    buf_fini(&b);
    return 0;
}

/* ---- set ---------------------------------------------------------------------------------------
 */

int cmd_set_var_run(struct cmd_client *c, const char *args, struct out *o)
{
    struct err e = {0};
    uint64_t v;

    if (cmd_need_stopped(c, o))
        return -EBUSY;
    if (!cmd_find_assign(args)) {
        /* `set $x` alone makes a variable, as in gdb. */
        if (*args == '$' && is_var_name(args + 1)) {
            struct reg_part part;

            if (!reg_partial(args + 1, &part)) {
                cmd_var_set(c, args + 1, 0);
                return 0;
            }
        }
        out_error(o, "an assignment has the form LEFT = EXPRESSION, as in `set $rax = 5`");
        return -EINVAL;
    }
    return cmd_assign(c, args, &v, &e) ? cmd_fail(o, &e) : 0;
}

int cmd_set_run(struct cmd_client *c, const char *args, struct out *o)
{
    if (!*args) {
        out_error(o, "`set` takes an option and its value, or an assignment: `help set`");
        return -EINVAL;
    }
    if (!cmd_find_assign(args))
        return *args == '$' ? cmd_set_var_run(c, args, o) : cmd_option_set(c, args, o);
    return cmd_set_var_run(c, args, o);
}

int cmd_show_run(struct cmd_client *c, const char *args, struct out *o)
{
    return cmd_option_show(c, args, o);
}
