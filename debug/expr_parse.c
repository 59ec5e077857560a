/*
 * The parser: precedence climbing from tokens straight into the stack program. Recursion, program
 * and stack are bounded, for a text may come from a script or a packet.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "debug/expr_int.h"
#include "vmm/base/buf.h"
#include "vmm/base/esc.h"
#include "vmm/base/x.h"
#include "vmm/regs.h"

/* What is known of a value before it is computed. */
struct value {
    enum { V_NUMBER, V_POINTER, V_TEXT, V_STRING } kind;
    bool is_signed;  /* an explicit (sN) or a read of one */
    bool is_literal; /* takes the other side's signedness */
    uint8_t width;   /* POINTER: bits of what it points at */
    bool points_at_signed;
    int fn;        /* TEXT */
    size_t string; /* STRING: offset in the pool */
    unsigned column;
};

struct parser {
    const char *text;
    size_t pos;
    struct expr_token tok; /* the next one, not yet used */
    const struct expr_names *names;
    struct err *e;
    struct expr_op ops[EXPR_OPS_MAX];
    unsigned count, depth, nest;
    unsigned label;   /* no jump goes to an operation behind this one */
    unsigned open_if; /* `?` whose `:` is still to come, inside the present parentheses */
    struct buf strings;
};

#define FAIL(p, column, ...) expr_error((p)->text, (column), (p)->e, __VA_ARGS__)

static int parse(struct parser *p, unsigned min_power, struct value *out);

static int next(struct parser *p)
{
    return expr_lex(p->text, &p->pos, &p->tok, p->e);
}

static bool at_op(const struct parser *p, const char *op)
{
    return p->tok.kind == TOK_OPERATOR && !strcmp(p->tok.op, op);
}

/* Text of a name token, cut, into dst. */
static const char *name_of(const struct expr_token *t, char *dst, size_t cap)
{
    size_t n = t->len < cap - 1 ? t->len : cap - 1;

    memcpy(dst, t->at, n);
    dst[n] = '\0';
    return dst;
}

/* ---- the program -------------------------------------------------------------------------- */

/* An operator on two constants is one, now rather than at every evaluation. */
static bool fold(struct parser *p, const struct expr_op *op)
{
    struct expr_op ops[3];
    struct expr x = {.text = (char *)p->text, .ops = ops, .count = 3};
    uint64_t v;

    if (op->code < OP_MUL || p->count < p->label + 2 || p->ops[p->count - 1].code != OP_PUSH ||
        p->ops[p->count - 2].code != OP_PUSH)
        return false;
    ops[0] = p->ops[p->count - 2];
    ops[1] = p->ops[p->count - 1];
    ops[2] = *op;
    if (expr_eval(&x, NULL, &v, NULL) < 0)
        return false; /* who evaluates it is told */
    p->count--;
    p->ops[p->count - 1].imm = v;
    return true;
}

static int emit(struct parser *p, struct expr_op op, int depth_change)
{
    if (fold(p, &op)) {
        p->depth--;
        return 0;
    }
    if (p->count == EXPR_OPS_MAX)
        return FAIL(p, p->tok.column, "the expression is too long");
    p->depth = (unsigned)((int)p->depth + depth_change);
    if (p->depth > EXPR_STACK_MAX)
        return FAIL(p, p->tok.column, "the expression is nested too deeply");
    p->ops[p->count++] = op;
    return 0;
}

static int emit_push(struct parser *p, uint64_t v)
{
    return emit(p, (struct expr_op){.code = OP_PUSH, .imm = v}, 1);
}

static int want_number(struct parser *p, const struct value *v)
{
    if (v->kind == V_TEXT)
        return FAIL(p, v->column, "this is text: compare it with == or != and a \"string\"");
    if (v->kind == V_STRING)
        return FAIL(p, v->column, "a string can only be compared with text such as symbol(x)");
    return 0;
}

/* ---- types -------------------------------------------------------------------------------- */

struct type {
    uint8_t width;
    bool is_signed;
};

static const struct {
    const char *name;
    struct type type;
} types[] = {
    {"u8", {8, false}},        {"u16", {16, false}},      {"u32", {32, false}},
    {"u64", {64, false}},      {"s8", {8, true}},         {"s16", {16, true}},
    {"s32", {32, true}},       {"s64", {64, true}},       {"uint8_t", {8, false}},
    {"uint16_t", {16, false}}, {"uint32_t", {32, false}}, {"uint64_t", {64, false}},
    {"int8_t", {8, true}},     {"int16_t", {16, true}},   {"int32_t", {32, true}},
    {"int64_t", {64, true}},   {"char", {8, true}},       {"short", {16, true}},
    {"int", {32, true}},       {"long", {64, true}},
};

unsigned expr_type_bytes(const char *name, size_t len)
{
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        if (strlen(types[i].name) == len && !memcmp(types[i].name, name, len))
            return types[i].type.width / 8;
    return 0;
}

static bool type_by_name(const struct expr_token *t, struct type *out)
{
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        if (t->kind == TOK_NAME && strlen(types[i].name) == t->len &&
            !memcmp(types[i].name, t->at, t->len)) {
            *out = types[i].type;
            return true;
        }
    return false;
}

static bool is_word(const struct expr_token *t, const char *word)
{
    return t->kind == TOK_NAME && strlen(word) == t->len && !memcmp(word, t->at, t->len);
}

/* Behind "(": a type name, `unsigned` allowed before it, an optional `*` and ")". When all is
 * there, the tokens are used up. */
static bool parse_type(struct parser *p, struct type *type, bool *pointer)
{
    size_t pos = p->pos;
    struct expr_token t = p->tok;
    bool is_unsigned = is_word(&t, "unsigned");
    struct err ignored;

    *pointer = false;
    *type = (struct type){32, true};
    if (is_unsigned && expr_lex(p->text, &pos, &t, &ignored))
        return false;
    if (type_by_name(&t, type)) {
        if (expr_lex(p->text, &pos, &t, &ignored))
            return false;
    } else if (!is_unsigned) {
        return false;
    }
    type->is_signed = type->is_signed && !is_unsigned;
    if (t.kind == TOK_OPERATOR && !strcmp(t.op, "*")) {
        *pointer = true;
        if (expr_lex(p->text, &pos, &t, &ignored))
            return false;
    }
    if (t.kind != TOK_OPERATOR || strcmp(t.op, ")"))
        return false;
    p->tok = t;
    p->pos = pos;
    return true;
}

/* ---- operands ----------------------------------------------------------------------------- */

static int push_register(struct parser *p, const struct expr_token *t, const char *name)
{
    struct reg_part part;

    if (!reg_partial(name, &part))
        return FAIL(p, t->column, "there is no register $%s; `info registers all` lists them",
                    name);
    if (part.width > 64)
        return FAIL(p, t->column, "$%s has %u bits, expressions have 64", name, part.width);
    return emit(p,
                (struct expr_op){.code = OP_REG,
                                 .low = part.low,
                                 .width = part.width,
                                 .column = (uint16_t)t->column,
                                 .imm = (uint64_t)part.id},
                1);
}

/* A field, else a symbol or constant word, else a register's bare name. */
static int push_name(struct parser *p, const struct expr_token *t, const char *name)
{
    const struct expr_names *n = p->names;
    struct reg_part part;
    uint64_t v;
    int id = n && n->field ? n->field(n->arg, name) : -1;

    if (id >= 0)
        return emit(
            p,
            (struct expr_op){.code = OP_FIELD, .column = (uint16_t)t->column, .imm = (uint64_t)id},
            1);
    if (n && n->symbol && n->symbol(n->arg, name, &v))
        return emit_push(p, v);
    if (reg_partial(name, &part))
        return push_register(p, t, name);
    return FAIL(p, t->column, "there is no symbol \"%.60s\"%s", name,
                strspn(name, "0123456789abcdefABCDEF") == strlen(name)
                    ? "; hexadecimal numbers start with 0x"
                    : "");
}

static int parse_call(struct parser *p, const struct expr_token *t, const char *name,
                      struct value *out)
{
    const struct expr_names *n = p->names;
    unsigned open = p->open_if;
    struct value x;
    int fn = n && n->text_fn ? n->text_fn(n->arg, name) : -1;

    if (fn < 0)
        return FAIL(p, t->column, "there is no function \"%.60s\"", name);
    p->open_if = 0;
    if (next(p) || parse(p, 0, &x) || want_number(p, &x))
        return -EINVAL;
    p->open_if = open;
    if (!at_op(p, ")"))
        return FAIL(p, p->tok.column, "\")\" is missing behind the argument of %.60s", name);
    *out = (struct value){.kind = V_TEXT, .fn = fn, .column = t->column};
    return next(p);
}

static int parse_name(struct parser *p, struct value *out)
{
    struct expr_token t = p->tok;
    char name[200];

    if (t.len >= sizeof name)
        return FAIL(p, t.column, "the name is longer than %zu bytes", sizeof name - 1);
    name_of(&t, name, sizeof name);
    if (next(p))
        return -EINVAL;
    if (t.kind == TOK_NAME && at_op(p, "("))
        return parse_call(p, &t, name, out);
    return t.kind == TOK_REGISTER ? push_register(p, &t, name) : push_name(p, &t, name);
}

static int parse_string(struct parser *p, struct value *out)
{
    *out = (struct value){.kind = V_STRING, .string = p->strings.len, .column = p->tok.column};
    /* A NUL inside would end it early for the comparison too; that is fine for names. */
    buf_add(&p->strings, p->tok.string, strlen(p->tok.string) + 1);
    return next(p);
}

static int parse_primary(struct parser *p, struct value *out)
{
    unsigned open = p->open_if;

    *out = (struct value){.column = p->tok.column};
    switch (p->tok.kind) {
    case TOK_NUMBER:
        out->is_literal = true;
        return emit_push(p, p->tok.number) ? -EINVAL : next(p);
    case TOK_NAME:
    case TOK_REGISTER:
        return parse_name(p, out);
    case TOK_STRING:
        return parse_string(p, out);
    case TOK_END:
        return FAIL(p, p->tok.column, "a value is missing at the end");
    case TOK_OPERATOR:
        break;
    }
    if (!at_op(p, "("))
        return FAIL(p, p->tok.column, "a value is missing before \"%s\"", p->tok.op);
    p->open_if = 0;
    if (next(p) || parse(p, 0, out))
        return -EINVAL;
    p->open_if = open;
    if (!at_op(p, ")"))
        return FAIL(p, p->tok.column, "\")\" is missing");
    return next(p);
}

/* ---- unary operators ----------------------------------------------------------------------- */

static int parse_unary(struct parser *p, struct value *out);

static int parse_cast(struct parser *p, struct type type, bool pointer, struct value *out)
{
    unsigned column = p->tok.column;

    if (next(p) || parse_unary(p, out) || want_number(p, out))
        return -EINVAL;
    if (pointer) {
        *out = (struct value){.kind = V_POINTER,
                              .width = type.width,
                              .points_at_signed = type.is_signed,
                              .column = column};
        return 0;
    }
    *out = (struct value){.is_signed = type.is_signed, .column = column};
    return emit(p, (struct expr_op){.code = OP_CAST, .low = type.is_signed, .width = type.width},
                0);
}

static int parse_deref(struct parser *p, struct value *out)
{
    unsigned column = p->tok.column;
    bool is_signed = false;
    uint16_t width = 64;

    if (next(p) || parse_unary(p, out) || want_number(p, out))
        return -EINVAL;
    if (out->kind == V_POINTER) {
        width = out->width;
        is_signed = out->points_at_signed;
    }
    *out = (struct value){.is_signed = is_signed, .column = column};
    return emit(p,
                (struct expr_op){
                    .code = OP_LOAD, .low = is_signed, .width = width, .column = (uint16_t)column},
                0);
}

/* `&name` is what a name means anyway; gdb's users write it. */
static int parse_address(struct parser *p, struct value *out)
{
    if (next(p))
        return -EINVAL;
    if (p->tok.kind != TOK_NAME)
        return FAIL(p, p->tok.column, "\"&\" needs a symbol behind it");
    return parse_primary(p, out) || want_number(p, out) ? -EINVAL : 0;
}

static int parse_prefix(struct parser *p, enum expr_op_code code, struct value *out)
{
    if (next(p) || parse_unary(p, out) || want_number(p, out))
        return -EINVAL;
    out->kind = V_NUMBER;
    if (code == OP_NOT)
        out->is_signed = false;
    return emit(p, (struct expr_op){.code = (uint8_t)code}, 0);
}

static int parse_operator_first(struct parser *p, struct value *out)
{
    if (at_op(p, "*"))
        return parse_deref(p, out);
    if (at_op(p, "&"))
        return parse_address(p, out);
    if (at_op(p, "!"))
        return parse_prefix(p, OP_NOT, out);
    if (at_op(p, "~"))
        return parse_prefix(p, OP_INVERT, out);
    if (at_op(p, "-"))
        return parse_prefix(p, OP_NEGATE, out);
    if (at_op(p, "+"))
        return next(p) || parse_unary(p, out) || want_number(p, out) ? -EINVAL : 0;
    if (at_op(p, "(")) {
        size_t pos = p->pos;
        struct expr_token open = p->tok;
        struct type type;
        bool pointer;

        if (next(p))
            return -EINVAL;
        if (parse_type(p, &type, &pointer))
            return parse_cast(p, type, pointer, out);
        p->pos = pos;
        p->tok = open;
    }
    return parse_primary(p, out);
}

static int parse_unary(struct parser *p, struct value *out)
{
    int err;

    if (++p->nest > EXPR_NEST_MAX)
        return FAIL(p, p->tok.column, "the expression is nested too deeply");
    err = p->tok.kind == TOK_OPERATOR ? parse_operator_first(p, out) : parse_primary(p, out);
    p->nest--;
    return err;
}

/* ---- binary operators ---------------------------------------------------------------------- */

/* Binding powers, C's order; `swap` turns > into <. */
static const struct binary {
    const char *op;
    uint8_t power, code;
    bool truth, swap;
} binaries[] = {
    {":", 1, OP_SEGMENT, false, false}, {"?", 2, OP_IF, false, false},
    {"||", 3, OP_OR, true, false},      {"&&", 4, OP_AND, true, false},
    {"|", 5, OP_BITOR, false, false},   {"^", 6, OP_BITXOR, false, false},
    {"&", 7, OP_BITAND, false, false},  {"==", 8, OP_EQ, true, false},
    {"!=", 8, OP_NE, true, false},      {"<", 9, OP_LT, true, false},
    {"<=", 9, OP_LE, true, false},      {">", 9, OP_LT, true, true},
    {">=", 9, OP_LE, true, true},       {"<<", 10, OP_SHL, false, false},
    {">>", 10, OP_SHR, false, false},   {"+", 11, OP_ADD, false, false},
    {"-", 11, OP_SUB, false, false},    {"*", 12, OP_MUL, false, false},
    {"/", 12, OP_DIV, false, false},    {"%", 12, OP_MOD, false, false},
};

static const struct binary *binary_of(const struct parser *p)
{
    if (p->tok.kind != TOK_OPERATOR || (at_op(p, ":") && p->open_if))
        return NULL;
    for (size_t i = 0; i < ARRAY_LEN(binaries); i++)
        if (!strcmp(binaries[i].op, p->tok.op))
            return &binaries[i];
    return NULL;
}

static int parse_conditional(struct parser *p, struct value *left)
{
    unsigned to_else = p->count, to_end;
    struct value yes, no;

    if (want_number(p, left) || emit(p, (struct expr_op){.code = OP_IF}, -1))
        return -EINVAL;
    p->open_if++;
    if (next(p) || parse(p, 2, &yes) || want_number(p, &yes))
        return -EINVAL;
    if (!at_op(p, ":"))
        return FAIL(p, p->tok.column, "\":\" is missing: write condition ? this : that");
    p->open_if--;
    to_end = p->count;
    if (emit(p, (struct expr_op){.code = OP_GOTO}, -1))
        return -EINVAL;
    p->ops[to_else].imm = p->label = p->count;
    if (next(p) || parse(p, 2, &no) || want_number(p, &no))
        return -EINVAL;
    p->ops[to_end].imm = p->label = p->count;
    *left = (struct value){.is_signed = yes.is_signed && no.is_signed,
                           .is_literal = yes.is_literal && no.is_literal,
                           .column = left->column};
    return 0;
}

/* && and ||: the right side is computed only when it decides. */
static int parse_logic(struct parser *p, const struct binary *b, struct value *left)
{
    unsigned jump = p->count;
    struct value right;

    if (want_number(p, left) || emit(p, (struct expr_op){.code = b->code}, -1))
        return -EINVAL;
    if (next(p) || parse(p, b->power + 1u, &right) || want_number(p, &right) ||
        emit(p, (struct expr_op){.code = OP_BOOL}, 0))
        return -EINVAL;
    p->ops[jump].imm = p->label = p->count;
    *left = (struct value){.column = left->column};
    return 0;
}

static int emit_text(struct parser *p, const struct binary *b, struct value *left,
                     const struct value *right)
{
    const struct value *fn = left->kind == V_TEXT ? left : right;
    const struct value *s = left->kind == V_TEXT ? right : left;
    struct expr_op op = {.code = OP_TEXT, .column = (uint16_t)fn->column};

    if (b->code != OP_EQ && b->code != OP_NE)
        return FAIL(p, left->column, "text can only be compared with == and !=");
    if (fn->kind != V_TEXT || s->kind != V_STRING)
        return FAIL(p, right->column, "text is compared with a \"string\"");
    op.imm = (uint64_t)fn->fn;
    op.low = (uint8_t)(s->string & 0xff);
    op.width = (uint16_t)(s->string >> 8);
    *left = (struct value){.column = left->column};
    if (emit(p, op, 0))
        return -EINVAL;
    return b->code == OP_NE ? emit(p, (struct expr_op){.code = OP_NOT}, 0) : 0;
}

/* C's pointer arithmetic: the number counts elements. */
static int scale(struct parser *p, const struct value *left, const struct value *right)
{
    if (left->kind != V_POINTER || right->kind == V_POINTER)
        return 0;
    return emit_push(p, left->width / 8u) || emit(p, (struct expr_op){.code = OP_MUL}, -1) ? -EINVAL
                                                                                           : 0;
}

static int parse_binary(struct parser *p, const struct binary *b, struct value *left)
{
    unsigned column = p->tok.column;
    bool adds = b->code == OP_ADD || b->code == OP_SUB;
    struct value right;
    bool is_signed;

    if (next(p) || parse(p, b->power + 1u, &right))
        return -EINVAL;
    if (left->kind >= V_TEXT || right.kind >= V_TEXT)
        return emit_text(p, b, left, &right);
    if (adds && scale(p, left, &right))
        return -EINVAL;
    is_signed = (left->is_signed || right.is_signed) && (left->is_signed || left->is_literal) &&
                (right.is_signed || right.is_literal);
    if (b->code == OP_SHR || b->code == OP_SHL)
        is_signed = left->is_signed;
    struct expr_op op = {
        .code = b->code, .low = b->swap, .column = (uint16_t)column, .is_signed = is_signed};

    if (adds && left->kind == V_POINTER && right.kind != V_POINTER)
        return emit(p, op, -1);
    *left = (struct value){.is_signed = is_signed && !b->truth,
                           .is_literal = left->is_literal && right.is_literal && !b->truth,
                           .column = left->column};
    return emit(p, op, -1);
}

static int parse(struct parser *p, unsigned min_power, struct value *out)
{
    const struct binary *b;
    int err;

    if (++p->nest > EXPR_NEST_MAX)
        return FAIL(p, p->tok.column, "the expression is nested too deeply");
    err = parse_unary(p, out);
    while (!err && (b = binary_of(p)) && b->power >= min_power) {
        if (b->code == OP_IF)
            err = parse_conditional(p, out);
        else if (b->code == OP_AND || b->code == OP_OR)
            err = parse_logic(p, b, out);
        else
            err = parse_binary(p, b, out);
    }
    p->nest--;
    return err;
}

struct expr *expr_compile(const char *text, const struct expr_names *names, struct err *e)
{
    struct parser p = {.text = text, .names = names, .e = e};
    struct expr *x = NULL;
    struct value v = {0};

    if (strnlen(text, EXPR_TEXT_MAX + 1) > EXPR_TEXT_MAX) {
        err_set(e, EINVAL, "the expression is longer than %u bytes", EXPR_TEXT_MAX);
        return NULL;
    }
    if (next(&p) || parse(&p, 0, &v) || want_number(&p, &v))
        goto out;
    if (p.tok.kind != TOK_END) {
        FAIL(&p, p.tok.column,
             p.tok.kind == TOK_OPERATOR && !strcmp(p.tok.op, ")")
                 ? "\")\" closes nothing"
                 : "an operator is missing before this");
        goto out;
    }
    x = xcalloc(1, sizeof *x);
    x->text = xstrdup(text);
    x->strings = buf_take(&p.strings);
    x->ops = xcalloc(p.count, sizeof *x->ops);
    memcpy(x->ops, p.ops, p.count * sizeof *x->ops);
    x->count = p.count;
out:
    buf_fini(&p.strings);
    return x;
}
