/*
 * One evaluator for addresses, conditions and exit filters, compiled once to a small stack program
 * and evaluated without allocation, on any thread, through callbacks. The language:
 *
 *   numbers    4096  0x1000  0b101  0o17  4k 2M 1G  'A' '\n' '\x7f'; u and l suffixes are ignored
 *   registers  $rax, partial ones ($al, $eip), MSRs ($lstar); bare rax where no symbol has the name
 *   names      main, main+4, &main: a symbol is its address; fields such as port, value, kind
 *   memory     *(u32*)addr, *(s8*)addr, types u8 … u64, s8 … s64, C's and stdint's names; plain
 *              *addr reads 8 bytes; pointers add in elements as in C
 *   operators  C's, with C's precedence: ! ~ - + * / % << >> < <= > >= == != & ^ | && || ?:
 *   seg:off    0x7c0:0x10 is seg * 16 + off; binds weakest, and only where no ? waits for its :
 *   text       symbol(rip) == "main", != too, with the text functions the caller offers; a value
 *              without a text equals ""
 *
 * Values are unsigned 64-bit, so -1 > 0. A cast to s8 … s64 cuts and sign-extends, and while both
 * sides of / % < <= > >= are such casts, reads of signed memory or plain numbers, the operator is
 * signed too: (s32)$eax < 0. Shifts by 64 and more give 0 (a signed right shift: the sign).
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
    /* Text of text_fn(id)(x) into dst; false is the same as "". */
    bool (*text)(void *arg, int fn_id, uint64_t x, char *dst, size_t cap);
};

/* NULL with a sentence that points at the offending column. `names` may be NULL and is not kept.
 * The caller frees with expr_free, which takes NULL too. */
struct expr *expr_compile(const char *text, const struct expr_names *names, struct err *e);
void expr_free(struct expr *x);
const char *expr_text(const struct expr *x);
/* 0 and *value, or -errno with a sentence: -EFAULT for unreadable memory, -EINVAL for division by
 * zero and absent values. `env` may be NULL. Does not allocate; one `x` may be evaluated on many
 * threads at once. */
int expr_eval(const struct expr *x, const struct expr_env *env, uint64_t *value, struct err *e);
/* Bytes of a type that a cast knows ("u32", "uint64_t", "int"), 0 for other names. */
unsigned expr_type_bytes(const char *name, size_t len);
/* For dispatch: true when the expression can only be true (not 0) while the field has the value
 * that is put into *value, as in `port == 0x3f8 && …`. False when that cannot be seen. */
bool expr_requires(const struct expr *x, int field_id, uint64_t *value);
/* Whether evaluating it may ask for the field. */
bool expr_uses_field(const struct expr *x, int field_id);

#endif
