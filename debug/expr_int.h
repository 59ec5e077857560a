/*
 * Inside of the expression evaluator: tokens and the stack program. Private to debug/expr*.c.
 */
#ifndef DEBUG_EXPR_INT_H
#define DEBUG_EXPR_INT_H

#include "debug/expr.h"

/* Bounds that hostile text cannot pass. */
#define EXPR_TEXT_MAX   2000u /* bytes of source */
#define EXPR_OPS_MAX    400u
#define EXPR_STACK_MAX  48u
#define EXPR_NEST_MAX   60u
#define EXPR_STRING_MAX 256u /* bytes of a text value, with its NUL */

enum expr_token_kind { TOK_END, TOK_NUMBER, TOK_NAME, TOK_REGISTER, TOK_STRING, TOK_OPERATOR };

struct expr_token {
    enum expr_token_kind kind;
    unsigned column; /* from 1 */
    const char *at;  /* NAME and REGISTER (without '$'): in the source, `len` bytes */
    unsigned len;
    uint64_t number;
    char op[3]; /* OPERATOR: "+", "<<", … */
    char string[EXPR_STRING_MAX];
};

/* Reads the token at text[*pos] and moves *pos behind it. 0, or -EINVAL with a sentence. */
int expr_lex(const char *text, size_t *pos, struct expr_token *out, struct err *e);
/* The one form of our errors: `column 5 of "a + + b": sentence`. Returns -EINVAL. */
int expr_error(const char *text, unsigned column, struct err *e, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

enum expr_op_code {
    OP_PUSH,  /* imm */
    OP_REG,   /* register imm, bits [low, low+width) */
    OP_FIELD, /* field imm */
    OP_LOAD,  /* pops an address, pushes width/8 bytes there; low: sign-extend */
    OP_CAST,  /* cuts to width bits; low: sign-extend */
    OP_TEXT,  /* pops x, pushes whether text_fn imm of x equals the string at `low|width<<8` */
    OP_NOT,   /* ! */
    OP_INVERT,
    OP_NEGATE,
    OP_BOOL,
    OP_AND, /* pops; 0: pushes 0 and goes to imm */
    OP_OR,  /* pops; not 0: pushes 1 and goes to imm */
    OP_IF,  /* pops; 0: goes to imm */
    OP_GOTO,
    OP_MUL,
    OP_DIV,
    OP_MOD,
    OP_ADD,
    OP_SUB,
    OP_SHL,
    OP_SHR,
    OP_LT,
    OP_LE,
    OP_EQ,
    OP_NE,
    OP_BITAND,
    OP_BITXOR,
    OP_BITOR,
    OP_SEGMENT, /* pops off, seg; pushes seg * 16 + off */
};

struct expr_op {
    uint8_t code;
    uint8_t low;
    uint16_t width;
    uint16_t column; /* for errors at run time */
    bool is_signed;  /* DIV, MOD, SHR, LT, LE */
    uint64_t imm;
};

struct expr {
    char *text;
    char *strings; /* NUL-terminated ones, one behind the other */
    struct expr_op *ops;
    unsigned count;
};

#endif
