/*
 * Runs compiled expressions: a stack machine without allocation, so that breakpoint conditions and
 * exit filters may be asked on any thread. The parser (expr_parse.c) bounds depth and jumps.
 */
#include "debug/expr.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "debug/expr_int.h"
#include "vmm/base/le.h"
#include "vmm/base/x.h"

struct machine {
    const struct expr *x;
    const struct expr_env *env;
    struct err *e;
    unsigned depth;
    uint64_t stack[EXPR_STACK_MAX];
};

static uint64_t cut(uint64_t v, unsigned low, unsigned width)
{
    return width < 64 ? v >> low & ((1ull << width) - 1) : v;
}

static uint64_t sign_extend(uint64_t v, unsigned width)
{
    uint64_t top = 1ull << (width - 1);

    return width < 64 ? ((v & ((top << 1) - 1)) ^ top) - top : v;
}

static void push(struct machine *m, uint64_t v)
{
    BUG_ON(m->depth >= EXPR_STACK_MAX);
    m->stack[m->depth++] = v;
}

static uint64_t pop(struct machine *m)
{
    BUG_ON(m->depth == 0);
    return m->stack[--m->depth];
}

#define FAIL(m, op, ...) expr_error((m)->x->text, (op)->column, (m)->e, __VA_ARGS__)

/* ---- operands ----------------------------------------------------------------------------- */

static int run_register(struct machine *m, const struct expr_op *op)
{
    uint64_t v = 0;

    if (!m->env || !m->env->reg || !m->env->reg(m->env->arg, (int)op->imm, &v))
        return FAIL(m, op, "this register has no value here");
    push(m, cut(v, op->low, op->width));
    return 0;
}

static int run_field(struct machine *m, const struct expr_op *op)
{
    uint64_t v = 0;

    if (!m->env || !m->env->field || !m->env->field(m->env->arg, (int)op->imm, &v))
        return FAIL(m, op, "this field has no value here");
    push(m, v);
    return 0;
}

static int run_load(struct machine *m, const struct expr_op *op)
{
    uint64_t addr = pop(m), v;
    unsigned len = op->width / 8u;
    uint8_t raw[8] = {0};

    if (!m->env || !m->env->mem)
        return FAIL(m, op, "there is no memory to read here");
    if (!m->env->mem(m->env->arg, addr, raw, len)) {
        FAIL(m, op, "cannot read %u byte%s at 0x%llx: not mapped to memory", len,
             len == 1 ? "" : "s", (unsigned long long)addr);
        if (m->e)
            m->e->code = EFAULT;
        return -EFAULT;
    }
    v = le_load(raw, len);
    push(m, op->low ? sign_extend(v, op->width) : v);
    return 0;
}

static int run_text(struct machine *m, const struct expr_op *op)
{
    const char *want = m->x->strings + (op->low | (size_t)op->width << 8);
    char have[EXPR_STRING_MAX] = "";
    uint64_t v = pop(m);

    if (!m->env || !m->env->text || !m->env->text(m->env->arg, (int)op->imm, v, have, sizeof have))
        have[0] = '\0'; /* no name: equal to "" only */
    have[sizeof have - 1] = '\0';
    push(m, !strcmp(have, want));
    return 0;
}

/* ---- operators ---------------------------------------------------------------------------- */

static uint64_t divide(uint64_t a, uint64_t b, bool is_signed, bool modulo)
{
    int64_t sa = (int64_t)a, sb = (int64_t)b;

    if (!is_signed)
        return modulo ? a % b : a / b;
    if (sb == -1) /* INT64_MIN / -1 would trap */
        return modulo ? 0 : 0 - a;
    return (uint64_t)(modulo ? sa % sb : sa / sb);
}

static uint64_t shift_right(uint64_t a, uint64_t count, bool is_signed)
{
    bool negative = is_signed && a >> 63;

    if (count >= 64)
        return negative ? UINT64_MAX : 0;
    a >>= count;
    return negative && count ? a | UINT64_MAX << (64 - count) : a;
}

static bool less(uint64_t a, uint64_t b, bool is_signed)
{
    return is_signed ? (int64_t)a < (int64_t)b : a < b;
}

static int run_binary(struct machine *m, const struct expr_op *op)
{
    uint64_t b = pop(m), a = pop(m), v = 0;

    if (op->low) { /* > and >= are < and <= with their sides changed */
        v = a;
        a = b;
        b = v;
    }
    switch ((enum expr_op_code)op->code) {
    case OP_MUL:
        v = a * b;
        break;
    case OP_DIV:
    case OP_MOD:
        if (b == 0)
            return FAIL(m, op, "division by zero");
        v = divide(a, b, op->is_signed, op->code == OP_MOD);
        break;
    case OP_ADD:
        v = a + b;
        break;
    case OP_SUB:
        v = a - b;
        break;
    case OP_SHL:
        v = b < 64 ? a << b : 0;
        break;
    case OP_SHR:
        v = shift_right(a, b, op->is_signed);
        break;
    case OP_LT:
        v = less(a, b, op->is_signed);
        break;
    case OP_LE:
        v = !less(b, a, op->is_signed);
        break;
    case OP_EQ:
        v = a == b;
        break;
    case OP_NE:
        v = a != b;
        break;
    case OP_BITAND:
        v = a & b;
        break;
    case OP_BITXOR:
        v = a ^ b;
        break;
    case OP_BITOR:
        v = a | b;
        break;
    case OP_SEGMENT:
        v = (a << 4) + b;
        break;
    default:
        BUG_ON(true);
    }
    push(m, v);
    return 0;
}

/* ---- the loop ------------------------------------------------------------------------------ */

/* Jumps go forward only, so a program always ends. */
static int step(struct machine *m, unsigned *pc)
{
    const struct expr_op *op = &m->x->ops[(*pc)++];
    uint64_t v;

    switch ((enum expr_op_code)op->code) {
    case OP_PUSH:
        push(m, op->imm);
        return 0;
    case OP_REG:
        return run_register(m, op);
    case OP_FIELD:
        return run_field(m, op);
    case OP_LOAD:
        return run_load(m, op);
    case OP_TEXT:
        return run_text(m, op);
    case OP_CAST:
        v = cut(pop(m), 0, op->width);
        push(m, op->low ? sign_extend(v, op->width) : v);
        return 0;
    case OP_NOT:
        push(m, !pop(m));
        return 0;
    case OP_INVERT:
        push(m, ~pop(m));
        return 0;
    case OP_NEGATE:
        push(m, 0 - pop(m));
        return 0;
    case OP_BOOL:
        push(m, pop(m) != 0);
        return 0;
    case OP_AND:
    case OP_OR:
        v = pop(m) != 0;
        if (v == (op->code == OP_OR)) {
            push(m, v);
            *pc = (unsigned)op->imm;
        }
        return 0;
    case OP_IF:
        if (!pop(m))
            *pc = (unsigned)op->imm;
        return 0;
    case OP_GOTO:
        *pc = (unsigned)op->imm;
        return 0;
    default:
        return run_binary(m, op);
    }
}

int expr_eval(const struct expr *x, const struct expr_env *env, uint64_t *value, struct err *e)
{
    struct machine m; /* without zeroing the stack: conditions are asked at every hit */

    m.x = x;
    m.env = env;
    m.e = e;
    m.depth = 0;
    *value = 0;
    for (unsigned pc = 0; pc < x->count;) {
        const struct expr_op *op = &x->ops[pc];
        int err;

        if (op->code == OP_PUSH && op + 1 < x->ops + x->count && op[1].code == OP_EQ && m.depth) {
            m.stack[m.depth - 1] = m.stack[m.depth - 1] == op->imm; /* most end by this */
            pc += 2;
            continue;
        }
        err = step(&m, &pc);
        if (err)
            return err;
    }
    *value = pop(&m);
    BUG_ON(m.depth != 0);
    return 0;
}

void expr_free(struct expr *x)
{
    if (!x)
        return;
    free(x->text);
    free(x->strings);
    free(x->ops);
    free(x);
}

const char *expr_text(const struct expr *x)
{
    return x->text;
}

/* ---- what can be seen without evaluating ---------------------------------------------------- */

bool expr_uses_field(const struct expr *x, int field_id)
{
    for (unsigned i = 0; i < x->count; i++)
        if (x->ops[i].code == OP_FIELD && x->ops[i].imm == (uint64_t)field_id)
            return true;
    return false;
}

/* Whether a 0 on the stack before op `pc` is the whole expression's result. */
static bool zero_ends(const struct expr *x, uint64_t pc)
{
    while (pc < x->count) {
        if (x->ops[pc].code == OP_AND)
            pc = x->ops[pc].imm;
        else if (x->ops[pc].code == OP_BOOL)
            pc++;
        else
            return false;
    }
    return true;
}

bool expr_requires(const struct expr *x, int field_id, uint64_t *value)
{
    for (unsigned i = 0; i + 2 < x->count; i++) {
        const struct expr_op *a = &x->ops[i], *b = &x->ops[i + 1];
        bool jumps = a->code == OP_OR || a->code == OP_IF || a->code == OP_GOTO;

        if (jumps || (a->code == OP_AND && !zero_ends(x, a->imm)))
            return false; /* what follows may be passed over by a way that ends true */
        if (x->ops[i + 2].code != OP_EQ || !zero_ends(x, i + 3))
            continue;
        if (a->code == OP_PUSH) {
            a = b;
            b = &x->ops[i];
        }
        if (a->code == OP_FIELD && a->imm == (uint64_t)field_id && b->code == OP_PUSH) {
            *value = b->imm;
            return true;
        }
    }
    return false;
}
