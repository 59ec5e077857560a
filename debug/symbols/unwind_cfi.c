/*
 * Call frame information through libdw: finds the rule for a pc and computes the caller's
 * registers. The rules are DWARF expressions out of a file that may be hostile: bounded stack, no
 * loops, and a rule with an unknown operation fails.
 */
#include <dwarf.h>
#include <stdlib.h>
#include <string.h>

#include "debug/symbols/sym_int.h"
#include "debug/symbols/unwind_int.h"
#include "vmm/base/le.h"
#include "vmm/base/x.h"

#define STACK_MAX 16u

/* DWARF's numbers of i386 (psABI i386 2.4) to ours. */
static const uint8_t numbers_32[] = {0, 2, 1, DW_RBX, DW_RSP, DW_RBP, 4, 5, DW_RIP};

struct eval {
    const struct unwind_env *env;
    const struct unwind_regs *regs;
    bool is_32;
    uint64_t cfa;
    bool has_cfa;
    uint64_t stack[STACK_MAX];
    unsigned depth;
    bool failed;
};

static void push(struct eval *x, uint64_t v)
{
    if (x->depth == STACK_MAX)
        x->failed = true;
    else
        x->stack[x->depth++] = x->is_32 ? v & 0xffffffffu : v;
}

static uint64_t pop(struct eval *x)
{
    if (x->depth == 0) {
        x->failed = true;
        return 0;
    }
    return x->stack[--x->depth];
}

static int our_number(const struct eval *x, uint64_t n)
{
    if (!x->is_32)
        return n < DW_REGS ? (int)n : -1;
    return n < ARRAY_LEN(numbers_32) ? numbers_32[n] : -1;
}

static uint64_t reg_value(struct eval *x, uint64_t n)
{
    int i = our_number(x, n);

    if (i < 0 || !unwind_knows(x->regs, (unsigned)i)) {
        x->failed = true;
        return 0;
    }
    return x->regs->v[i];
}

static uint64_t load(struct eval *x, uint64_t at)
{
    uint8_t raw[8] = {0};
    unsigned len = x->is_32 ? 4 : 8;

    if (!x->env->mem(x->env->arg, at, raw, len))
        x->failed = true;
    return le_load(raw, len);
}

static void eval_binary(struct eval *x, unsigned op)
{
    uint64_t b = pop(x), a = pop(x);

    switch (op) {
    case DW_OP_plus:
        push(x, a + b);
        break;
    case DW_OP_minus:
        push(x, a - b);
        break;
    case DW_OP_mul:
        push(x, a * b);
        break;
    case DW_OP_and:
        push(x, a & b);
        break;
    case DW_OP_or:
        push(x, a | b);
        break;
    case DW_OP_xor:
        push(x, a ^ b);
        break;
    case DW_OP_shl:
        push(x, b < 64 ? a << b : 0);
        break;
    case DW_OP_shr:
        push(x, b < 64 ? a >> b : 0);
        break;
    case DW_OP_eq:
        push(x, a == b);
        break;
    case DW_OP_ne:
        push(x, a != b);
        break;
    case DW_OP_ge:
        push(x, (int64_t)a >= (int64_t)b);
        break;
    case DW_OP_gt:
        push(x, (int64_t)a > (int64_t)b);
        break;
    case DW_OP_le:
        push(x, (int64_t)a <= (int64_t)b);
        break;
    case DW_OP_lt:
        push(x, (int64_t)a < (int64_t)b);
        break;
    default:
        x->failed = true;
    }
}

static void eval_op(struct eval *x, const Dwarf_Op *op)
{
    unsigned a = op->atom;

    if (a >= DW_OP_breg0 && a <= DW_OP_breg31)
        push(x, reg_value(x, a - DW_OP_breg0) + op->number);
    else if (a == DW_OP_bregx)
        push(x, reg_value(x, op->number) + op->number2);
    else if (a >= DW_OP_lit0 && a <= DW_OP_lit31)
        push(x, a - DW_OP_lit0);
    else if (a == DW_OP_addr || (a >= DW_OP_const1u && a <= DW_OP_consts))
        push(x, op->number);
    else if (a == DW_OP_plus_uconst)
        push(x, pop(x) + op->number);
    else if (a == DW_OP_deref)
        push(x, load(x, pop(x)));
    else if (a == DW_OP_call_frame_cfa && x->has_cfa)
        push(x, x->cfa);
    else if (a == DW_OP_dup && x->depth)
        push(x, x->stack[x->depth - 1]);
    else if (a != DW_OP_nop)
        eval_binary(x, a);
}

/* The value of an expression; *is_value tells that it ends in DW_OP_stack_value, that is, it is
 * no address. */
static bool eval(struct eval *x, const Dwarf_Op *ops, size_t n, uint64_t *out, bool *is_value)
{
    *is_value = false;
    x->depth = 0;
    x->failed = n == 0 || n > 64;
    for (size_t i = 0; i < n && !x->failed; i++) {
        if (ops[i].atom == DW_OP_stack_value)
            *is_value = true;
        else
            eval_op(x, &ops[i]);
    }
    *out = pop(x);
    return !x->failed;
}

/* A caller's register n (DWARF's number): 1 known, 0 not known, -1 the rule failed. */
static int caller_reg(struct eval *x, Dwarf_Frame *frame, int n, uint64_t *v)
{
    Dwarf_Op mem[3], *ops = NULL;
    size_t count = 0;
    bool is_value;
    int ours = our_number(x, (uint64_t)n);

    if (dwarf_frame_register(frame, n, mem, &ops, &count))
        return -1;
    if (count == 0) {
        /* No operations: kept as it was when `ops` is NULL, lost when it is our memory. */
        *v = ours >= 0 ? x->regs->v[ours] : 0;
        return !ops && ours >= 0 && unwind_knows(x->regs, (unsigned)ours);
    }
    if (count == 1 && ops[0].atom >= DW_OP_reg0 && ops[0].atom <= DW_OP_reg31) {
        x->failed = false;
        *v = reg_value(x, ops[0].atom - DW_OP_reg0);
        return x->failed ? -1 : 1;
    }
    if (!eval(x, ops, count, v, &is_value))
        return -1;
    if (!is_value)
        *v = load(x, *v);
    return x->failed ? -1 : 1;
}

static enum cfi_result apply(struct eval *x, Dwarf_Frame *frame, int ra, struct unwind_regs *r)
{
    struct unwind_regs out = {0};
    Dwarf_Op *ops;
    size_t n;
    bool is_value;
    uint64_t v;
    int count = x->is_32 ? (int)ARRAY_LEN(numbers_32) : DW_REGS, known;

    if (dwarf_frame_cfa(frame, &ops, &n) || !eval(x, ops, n, &x->cfa, &is_value))
        return CFI_FAILED;
    x->has_cfa = true;
    /* The stack pointer of the caller is the CFA unless a rule says otherwise. */
    unwind_set(&out, DW_RSP, x->cfa);
    known = caller_reg(x, frame, ra, &v);
    if (known <= 0)
        return known ? CFI_FAILED : CFI_OUTERMOST;
    unwind_set(&out, DW_RIP, v);
    for (int i = 0; i < count; i++) {
        int ours = our_number(x, (uint64_t)i);

        if (i == ra || ours < 0 || ours == DW_RIP || ours == DW_RSP)
            continue;
        if (caller_reg(x, frame, i, &v) == 1)
            unwind_set(&out, (unsigned)ours, v);
    }
    *r = out;
    return CFI_OK;
}

static Dwarf_Frame *find_frame(struct sym_image *m, uint64_t at)
{
    Dwarf_Frame *frame = NULL;
    Dwarf_CFI *cfi = m->dwarf ? dwarf_getcfi(m->dwarf) : NULL;

    if (cfi && !dwarf_cfi_addrframe(cfi, at, &frame))
        return frame;
    if (!m->eh_cfi_tried) {
        m->eh_cfi_tried = true;
        m->eh_cfi = dwarf_getcfi_elf(m->elf);
    }
    if (m->eh_cfi && !dwarf_cfi_addrframe(m->eh_cfi, at, &frame))
        return frame;
    return NULL;
}

static enum cfi_result step_in(const struct unwind_env *env, struct sym_image *m, uint64_t pc,
                               struct unwind_regs *r, bool *is_signal)
{
    struct eval x = {.env = env, .regs = r, .is_32 = gelf_getclass(m->elf) == ELFCLASS32};
    Dwarf_Frame *frame = find_frame(m, pc - (uint64_t)m->slide);
    enum cfi_result result;
    int ra;

    if (!frame)
        return CFI_NONE;
    ra = dwarf_frame_info(frame, NULL, NULL, is_signal);
    result = ra < 0 ? CFI_FAILED : apply(&x, frame, ra, r);
    free(frame);
    return result;
}

enum cfi_result unwind_cfi(const struct unwind_env *env, uint64_t pc, struct unwind_regs *r,
                           bool *is_signal)
{
    enum cfi_result result = CFI_NONE;
    pthread_mutex_t *lock;

    *is_signal = false;
    /* No compiler describes 16-bit frames; -m16 code has rules for 32-bit pushes, which hold. */
    if (!env->symbols)
        return CFI_NONE;
    lock = (pthread_mutex_t *)(uintptr_t)&env->symbols->dwarf_lock;
    BUG_ON(pthread_mutex_lock(lock) != 0);
    for (struct sym_image *m = env->symbols->images; m && result == CFI_NONE; m = m->next) {
        uint64_t at = pc - (uint64_t)m->slide;
        bool fits = (gelf_getclass(m->elf) == ELFCLASS64) == (env->bits == 64);

        if (fits && at >= m->low && at < m->high)
            result = step_in(env, m, pc, r, is_signal);
    }
    BUG_ON(pthread_mutex_unlock(lock) != 0);
    return result;
}
