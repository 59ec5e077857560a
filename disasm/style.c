/*
 * Cuts an instruction's text into pieces with a class, for colouring. Knows both syntaxes.
 */
#include <string.h>

#include "disasm/disasm.h"
#include "vmm/base/x.h"

/* Intel's words that are neither register nor symbol. */
static const char *const words[] = {"byte",   "word",    "dword",   "fword",   "qword", "tbyte",
                                    "xword",  "xmmword", "ymmword", "zmmword", "ptr",   "oword",
                                    "offset", "short",   "far",     "near",    "opaque"};

static bool is_alpha(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static enum disasm_class class_of_word(const char *p, size_t len)
{
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (strlen(words[i]) == len && !memcmp(words[i], p, len))
            return DISASM_WORD;
    /* Every other word that Capstone prints is a register; symbols are known by place. */
    return DISASM_REGISTER;
}

static size_t piece(const struct insn *x, size_t at, enum disasm_class *class)
{
    const char *p = x->operands + at;
    size_t n = 1;

    *class = DISASM_PUNCTUATION;
    if (x->symbol_len && at == x->symbol_at) {
        *class = DISASM_SYMBOL;
        return x->symbol_len;
    }
    if (is_digit(*p)) {
        *class = DISASM_NUMBER;
        while (is_digit(p[n]) || is_alpha(p[n]))
            n++;
    } else if (is_alpha(*p) || (*p == '%' && is_alpha(p[1]))) {
        while (is_digit(p[n]) || is_alpha(p[n]))
            n++;
        *class = *p == '%' ? DISASM_REGISTER : class_of_word(p, n);
    } else {
        while (p[n] && !is_digit(p[n]) && !is_alpha(p[n]) && p[n] != '%' &&
               !(x->symbol_len && at + n == x->symbol_at))
            n++;
    }
    return n;
}

size_t disasm_tokens(const struct insn *i, struct disasm_token *out, size_t max)
{
    size_t used = 0, len = strnlen(i->operands, sizeof i->operands);

    if (used < max)
        out[used++] = (struct disasm_token){DISASM_MNEMONIC, i->mnemonic,
                                            (unsigned)strnlen(i->mnemonic, sizeof i->mnemonic)};
    for (size_t at = 0; at < len && used < max;) {
        enum disasm_class class;
        size_t n = piece(i, at, &class);

        if (n > len - at || used + 1 == max)
            n = len - at;
        out[used++] = (struct disasm_token){class, i->operands + at, (unsigned)n};
        at += n;
    }
    return used;
}
