/*
 * One evaluator for addresses, conditions and exit filters: C's operators and precedence over
 * unsigned 64-bit values. `$rax` registers, `sym` and `sym+4` symbols, `*(u32*)addr` and
 * `*(s8*)addr` memory (u8 u16 u32 u64 s8 … s64), 0x/0b/0 numbers, 'c', comparisons, && || ! ?:,
 * string equality on names (`symbol(rip)=="f"`, `kind==io`), seg:off pairs. Compiled once to a
 * small stack program, evaluated without allocation, on any thread, through callbacks.
 */
#ifndef DEBUG_EXPR_H
#define DEBUG_EXPR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/base/err.h"

struct expr;

/* Names are looked up at compile time. */
struct expr_names {
    void *arg;
    /* A symbol's address, or a constant word such as `io`; false when unknown. */
    bool (*symbol)(void *arg, const char *name, uint64_t *value);
    /* A field such as `port`, `value`, `kind`: returns its id (0 and up), or -1. */
    int (*field)(void *arg, const char *name);
    /* Text functions such as symbol(x): id of the function, or -1. */
    int (*text_fn)(void *arg, const char *name);
};

/* Values are asked for at run time. Each returns false when it has no value: the evaluation then
 * fails with that reason. Any member may be NULL. */
struct expr_env {
    void *arg;
    bool (*reg)(void *arg, int reg_id, uint64_t *value);
    bool (*mem)(void *arg, uint64_t linear, void *dst, size_t len);
    bool (*field)(void *arg, int field_id, uint64_t *value);
    /* Text of text_fn(id)(x) into dst. */
    bool (*text)(void *arg, int fn_id, uint64_t x, char *dst, size_t cap);
};

/* NULL with a sentence that points at the offending column. `names` may be NULL. */
struct expr *expr_compile(const char *text, const struct expr_names *names, struct err *e);
void expr_free(struct expr *x);
const char *expr_text(const struct expr *x);
/* 0 and *value, or -errno with a sentence (division by zero, unreadable memory, …). Does not
 * allocate; thread-safe for one `x` on many threads. */
int expr_eval(const struct expr *x, const struct expr_env *env, uint64_t *value, struct err *e);
/* True when the last operator makes a truth value (comparison, !, &&, ||): for `print`. */
bool expr_is_truth(const struct expr *x);

#endif
