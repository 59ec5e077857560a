/*
 * The agent expression machine. Opcodes and their meaning: appendix "The GDB Agent Expression
 * Mechanism" of the gdb manual.
 */
#include "debug/gdb/agent.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/esc.h"
#include "vmm/base/le.h"
#include "vmm/base/x.h"

#define STACK_MAX 64u
#define STEPS_MAX 10000u
#define CODE_MAX  0x8000u
#define PRINT_MAX 4096u

enum op {
    OP_FLOAT = 0x01,
    OP_ADD,
    OP_SUB,
    OP_MUL,
    OP_DIV_S,
    OP_DIV_U,
    OP_REM_S,
    OP_REM_U,
    OP_LSH,
    OP_RSH_S,
    OP_RSH_U,
    OP_TRACE,
    OP_TRACE_QUICK,
    OP_LOG_NOT,
    OP_AND,
    OP_OR,
    OP_XOR,
    OP_NOT,
    OP_EQUAL,
    OP_LESS_S,
    OP_LESS_U,
    OP_EXT,
    OP_REF8,
    OP_REF16,
    OP_REF32,
    OP_REF64,
    OP_IF_GOTO = 0x20,
    OP_GOTO,
    OP_CONST8,
    OP_CONST16,
    OP_CONST32,
    OP_CONST64,
    OP_REG,
    OP_END,
    OP_DUP,
    OP_POP,
    OP_ZERO_EXT,
    OP_SWAP,
    OP_GETV,
    OP_SETV,
    OP_TRACEV,
    OP_TRACENZ,
    OP_TRACE16,
    OP_PICK = 0x32,
    OP_ROT,
    OP_PRINTF,
    OP_COUNT,
};

/* Operand bytes behind the opcode, stack items taken and given. Rows without a name are refused:
 * floating point, and what belongs to tracepoints and their variables. */
static const struct {
    const char *name;
    uint8_t operands, takes, gives;
} ops[OP_COUNT] = {
    [OP_ADD] = {"add", 0, 2, 1},
    [OP_SUB] = {"sub", 0, 2, 1},
    [OP_MUL] = {"mul", 0, 2, 1},
    [OP_DIV_S] = {"div_signed", 0, 2, 1},
    [OP_DIV_U] = {"div_unsigned", 0, 2, 1},
    [OP_REM_S] = {"rem_signed", 0, 2, 1},
    [OP_REM_U] = {"rem_unsigned", 0, 2, 1},
    [OP_LSH] = {"lsh", 0, 2, 1},
    [OP_RSH_S] = {"rsh_signed", 0, 2, 1},
    [OP_RSH_U] = {"rsh_unsigned", 0, 2, 1},
    [OP_LOG_NOT] = {"log_not", 0, 1, 1},
    [OP_AND] = {"bit_and", 0, 2, 1},
    [OP_OR] = {"bit_or", 0, 2, 1},
    [OP_XOR] = {"bit_xor", 0, 2, 1},
    [OP_NOT] = {"bit_not", 0, 1, 1},
    [OP_EQUAL] = {"equal", 0, 2, 1},
    [OP_LESS_S] = {"less_signed", 0, 2, 1},
    [OP_LESS_U] = {"less_unsigned", 0, 2, 1},
    [OP_EXT] = {"ext", 1, 1, 1},
    [OP_REF8] = {"ref8", 0, 1, 1},
    [OP_REF16] = {"ref16", 0, 1, 1},
    [OP_REF32] = {"ref32", 0, 1, 1},
    [OP_REF64] = {"ref64", 0, 1, 1},
    [OP_IF_GOTO] = {"if_goto", 2, 1, 0},
    [OP_GOTO] = {"goto", 2, 0, 0},
    [OP_CONST8] = {"const8", 1, 0, 1},
    [OP_CONST16] = {"const16", 2, 0, 1},
    [OP_CONST32] = {"const32", 4, 0, 1},
    [OP_CONST64] = {"const64", 8, 0, 1},
    [OP_REG] = {"reg", 2, 0, 1},
    [OP_END] = {"end", 0, 0, 0},
    [OP_DUP] = {"dup", 0, 1, 2},
    [OP_POP] = {"pop", 0, 1, 0},
    [OP_ZERO_EXT] = {"zero_ext", 1, 1, 1},
    [OP_SWAP] = {"swap", 0, 2, 2},
    [OP_PICK] = {"pick", 1, 0, 1},
    [OP_ROT] = {"rot", 0, 3, 3},
    [OP_PRINTF] = {"printf", 0, 0, 0}, /* variable: see printf_operands */
};

struct agent {
    size_t len;
    uint8_t code[];
};

static uint64_t load_be(const uint8_t *p, unsigned bytes)
{
    uint64_t v = 0;

    for (unsigned i = 0; i < bytes; i++)
        v = v << 8 | p[i];
    return v;
}

/* ---- checking ------------------------------------------------------------------------------ */

/* printf: count of arguments, length of the format (2 bytes), the format with its final zero. The
 * stack has the arguments, the function and the channel. */
static bool printf_size(const struct agent *a, size_t at, size_t *operands, unsigned *takes)
{
    size_t len;

    if (a->len - at < 4)
        return false;
    len = (size_t)load_be(a->code + at + 2, 2);
    *operands = 3 + len;
    *takes = a->code[at + 1] + 2u;
    return len && a->len - at - 4 >= len && !a->code[at + 3 + len];
}

struct check {
    const struct agent *a;
    uint8_t *depth; /* by place: 1 + items on the stack there; 0: not reached */
    uint16_t *todo;
    size_t todos;
};

/* Control reaches `at` with `depth` items. */
static const char *flow_to(struct check *c, size_t at, unsigned depth)
{
    if (at >= c->a->len)
        return "it runs past its end";
    if (c->depth[at])
        return c->depth[at] == depth + 1 ? NULL : "its stack depends on the way taken";
    c->depth[at] = (uint8_t)(depth + 1);
    c->todo[c->todos++] = (uint16_t)at;
    return NULL;
}

static const char *check_one(struct check *c, size_t at)
{
    const struct agent *a = c->a;
    unsigned op = a->code[at], depth = c->depth[at] - 1u, takes, gives;
    const char *bad = NULL;
    size_t operands;

    if (op >= OP_COUNT || !ops[op].name)
        return "it has an instruction that is not for conditions";
    operands = ops[op].operands;
    takes = ops[op].takes;
    gives = ops[op].gives;
    if (op == OP_PRINTF && !printf_size(a, at, &operands, &takes))
        return "its printf has no proper format";
    if (a->len - at - 1 < operands)
        return "its last instruction is cut";
    if (op == OP_PICK && a->code[at + 1] >= depth)
        return "it picks below its stack";
    if ((op == OP_EXT || op == OP_ZERO_EXT) && (!a->code[at + 1] || a->code[at + 1] > 64))
        return "it extends from an impossible width";
    if (depth < takes)
        return "it takes from an empty stack";
    depth = depth - takes + gives;
    if (depth > STACK_MAX)
        return "its stack grows too high";
    if (op == OP_IF_GOTO || op == OP_GOTO)
        bad = flow_to(c, (size_t)load_be(a->code + at + 1, 2), depth);
    if (!bad && op != OP_GOTO && op != OP_END)
        bad = flow_to(c, at + 1 + operands, depth);
    return bad;
}

static const char *check_all(const struct agent *a)
{
    struct check c = {.a = a, .depth = xcalloc(a->len + 1, 1), .todo = xcalloc(a->len + 1, 2)};
    const char *bad = flow_to(&c, 0, 0);

    while (!bad && c.todos)
        bad = check_one(&c, c.todo[--c.todos]);
    free(c.depth);
    free(c.todo);
    return bad;
}

struct agent *agent_compile(const void *code, size_t len, struct err *e)
{
    struct agent *a;
    const char *bad;

    if (len > CODE_MAX) {
        err_set(e, E2BIG, "the agent expression is longer than %u bytes", CODE_MAX);
        return NULL;
    }
    a = xmalloc(sizeof *a + len);
    a->len = len;
    memcpy(a->code, code, len);
    bad = check_all(a);
    if (bad) {
        err_set(e, EINVAL, "the agent expression is not valid: %s", bad);
        free(a);
        return NULL;
    }
    return a;
}

void agent_free(struct agent *a)
{
    free(a);
}

/* ---- running -------------------------------------------------------------------------------- */

struct run {
    const struct agent_env *env;
    struct err *e;
    uint64_t stack[STACK_MAX];
    unsigned depth;
};

static uint64_t shift_left(uint64_t a, uint64_t n)
{
    return n > 63 ? 0 : a << n;
}

static uint64_t shift_right(uint64_t a, uint64_t n, bool is_signed)
{
    uint64_t fill = is_signed && a >> 63 ? UINT64_MAX : 0;

    if (n > 63)
        return fill;
    return a >> n | (n ? fill << (64 - n) : 0);
}

/* INT64_MIN / -1 wraps, as gdb's own arithmetic does. */
static uint64_t divide(unsigned op, uint64_t a, uint64_t b)
{
    bool negate = (op == OP_DIV_S || op == OP_REM_S) && b == UINT64_MAX;

    switch (op) {
    case OP_DIV_S:
        return negate ? 0 - a : (uint64_t)((int64_t)a / (int64_t)b);
    case OP_REM_S:
        return negate ? 0 : (uint64_t)((int64_t)a % (int64_t)b);
    case OP_DIV_U:
        return a / b;
    default:
        return a % b;
    }
}

static int binary(struct run *r, unsigned op)
{
    uint64_t b = r->stack[--r->depth], *top = &r->stack[r->depth - 1], a = *top;

    switch (op) {
    case OP_ADD:
        *top = a + b;
        break;
    case OP_SUB:
        *top = a - b;
        break;
    case OP_MUL:
        *top = a * b;
        break;
    case OP_LSH:
        *top = shift_left(a, b);
        break;
    case OP_RSH_S:
    case OP_RSH_U:
        *top = shift_right(a, b, op == OP_RSH_S);
        break;
    case OP_AND:
        *top = a & b;
        break;
    case OP_OR:
        *top = a | b;
        break;
    case OP_XOR:
        *top = a ^ b;
        break;
    case OP_EQUAL:
        *top = a == b;
        break;
    case OP_LESS_S:
        *top = (int64_t)a < (int64_t)b;
        break;
    case OP_LESS_U:
        *top = a < b;
        break;
    default:
        if (!b)
            return err_set(r->e, EINVAL, "it divides by zero");
        *top = divide(op, a, b);
    }
    return 0;
}

static int reference(struct run *r, unsigned bytes)
{
    uint64_t *top = &r->stack[r->depth - 1];
    uint8_t raw[8];

    if (!r->env->mem || !r->env->mem(r->env->arg, *top, raw, bytes))
        return err_set(r->e, EFAULT, "nothing can be read at 0x%llx", (unsigned long long)*top);
    *top = le_load(raw, bytes);
    return 0;
}

static void extend(struct run *r, unsigned bits, bool is_signed)
{
    uint64_t *top = &r->stack[r->depth - 1];

    if (bits > 63)
        return;
    *top &= (1ull << bits) - 1;
    if (is_signed && *top >> (bits - 1))
        *top |= ~0ull << bits;
}

static int push_reg(struct run *r, unsigned number)
{
    uint64_t v = 0;

    if (!r->env->reg || !r->env->reg(r->env->arg, number, &v))
        return err_set(r->e, EINVAL, "register %u has no value here", number);
    r->stack[r->depth++] = v;
    return 0;
}

static void print_string(struct run *r, struct buf *text, uint64_t addr)
{
    char c;

    for (unsigned i = 0; i < 256; i++) {
        if (!r->env->mem || !r->env->mem(r->env->arg, addr + i, &c, 1) || !c)
            return;
        buf_addc(text, c);
    }
}

/* One conversion: `p` behind the %; returns what follows it. Widths and flags are passed over: the
 * text is for people, and no format of a client's reaches printf. */
static const char *print_one(struct run *r, struct buf *text, const char *p, const char *end,
                             const uint64_t *arg)
{
    unsigned longs = 0;
    uint64_t v = arg ? *arg : 0;

    while (p < end && strchr("-+ #0123456789.hljzt", *p))
        longs += *p++ == 'l';
    if (p == end)
        return p;
    switch (*p) {
    case 'd':
    case 'i':
        buf_addf(text, "%lld", longs ? (long long)v : (long long)(int32_t)v);
        break;
    case 'u':
        buf_addf(text, "%llu", longs ? (unsigned long long)v : (unsigned long long)(uint32_t)v);
        break;
    case 'o':
        buf_addf(text, "%llo", (unsigned long long)v);
        break;
    case 'x':
    case 'X':
        buf_addf(text, *p == 'x' ? "%llx" : "%llX",
                 longs ? (unsigned long long)v : (unsigned long long)(uint32_t)v);
        break;
    case 'p':
        buf_addf(text, "0x%llx", (unsigned long long)v);
        break;
    case 'c':
        buf_addc(text, (char)v);
        break;
    case 's':
        print_string(r, text, v);
        break;
    default:
        buf_addc(text, *p);
    }
    return p + 1;
}

/* gdb sends the format as the user typed it. `p` behind the backslash; returns what follows. */
static const char *print_escape(struct buf *text, const char *p, const char *end)
{
    static const char from[] = "abefnrtv", to[] = "\a\b\033\f\n\r\t\v";
    const char *at = p < end ? strchr(from, *p) : NULL;
    unsigned v = 0, n = 0;

    while (n < 3 && p + n < end && p[n] >= '0' && p[n] <= '7')
        v = v * 8 + (unsigned)(p[n++] - '0');
    if (n) {
        buf_addc(text, (char)v);
        return p + n;
    }
    if (p == end)
        return p;
    buf_addc(text, at ? to[at - from] : *p);
    return p + 1;
}

static void print(struct run *r, const uint8_t *operands)
{
    unsigned args = operands[0], next = 0;
    const char *p = (const char *)operands + 3, *end = p + strlen(p);
    uint64_t *first;
    struct buf text = {0};

    r->depth -= 2; /* function and channel: ours is always the same */
    r->depth -= args;
    first = &r->stack[r->depth];
    while (p < end && text.len < PRINT_MAX) {
        if (*p == '\\') {
            p = print_escape(&text, p + 1, end);
        } else if (*p != '%') {
            buf_addc(&text, *p++);
        } else if (p + 1 < end && p[1] == '%') {
            buf_addc(&text, '%');
            p += 2;
        } else {
            p = print_one(r, &text, p + 1, end, next < args ? &first[next] : NULL);
            next++;
        }
    }
    if (r->env->print)
        buf_add(r->env->print, buf_str(&text), text.len);
    buf_fini(&text);
}

/* Everything but jumps and the end. */
static int step(struct run *r, unsigned op, const uint8_t *operands)
{
    uint64_t *s = r->stack, t;
    unsigned d = r->depth;

    switch (op) {
    case OP_LOG_NOT:
        s[d - 1] = !s[d - 1];
        return 0;
    case OP_NOT:
        s[d - 1] = ~s[d - 1];
        return 0;
    case OP_EXT:
    case OP_ZERO_EXT:
        extend(r, operands[0], op == OP_EXT);
        return 0;
    case OP_REF8:
    case OP_REF16:
    case OP_REF32:
    case OP_REF64:
        return reference(r, 1u << (op - OP_REF8));
    case OP_CONST8:
    case OP_CONST16:
    case OP_CONST32:
    case OP_CONST64:
        s[r->depth++] = load_be(operands, ops[op].operands);
        return 0;
    case OP_REG:
        return push_reg(r, (unsigned)load_be(operands, 2));
    case OP_DUP:
        s[r->depth++] = s[d - 1];
        return 0;
    case OP_POP:
        r->depth--;
        return 0;
    case OP_SWAP:
        t = s[d - 1];
        s[d - 1] = s[d - 2];
        s[d - 2] = t;
        return 0;
    case OP_PICK:
        s[r->depth++] = s[d - 1 - operands[0]];
        return 0;
    case OP_ROT: /* a b c => c a b */
        t = s[d - 1];
        s[d - 1] = s[d - 2];
        s[d - 2] = s[d - 3];
        s[d - 3] = t;
        return 0;
    case OP_PRINTF:
        print(r, operands);
        return 0;
    default:
        return binary(r, op);
    }
}

int agent_run(const struct agent *a, const struct agent_env *env, uint64_t *value, struct err *e)
{
    struct run r;
    size_t at = 0;

    r.env = env;
    r.e = e;
    r.depth = 0;
    for (unsigned steps = 0; steps < STEPS_MAX; steps++) {
        unsigned op = a->code[at], takes;
        size_t operands = ops[op].operands;
        int rc;

        if (op == OP_END) {
            *value = r.depth ? r.stack[r.depth - 1] : 0;
            return 0;
        }
        if (op == OP_GOTO || (op == OP_IF_GOTO && r.stack[--r.depth])) {
            at = (size_t)load_be(a->code + at + 1, 2);
            continue;
        }
        if (op == OP_PRINTF)
            printf_size(a, at, &operands, &takes);
        rc = op == OP_IF_GOTO ? 0 : step(&r, op, a->code + at + 1);
        if (rc < 0)
            return rc;
        at += 1 + operands;
    }
    return err_set(e, ELOOP, "it does not end within %u instructions", STEPS_MAX);
}
