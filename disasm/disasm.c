/*
 * Capstone 4 behind disasm_one. What Capstone gets wrong or does not know is corrected here and in
 * flow.c, so that nobody else meets it.
 */
#include "disasm/disasm.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "disasm/disasm_int.h"
#include "disasm/flow.h"
#include "vmm/base/x.h"

struct disasm {
    csh handle[3]; /* 16, 32 and 64 bits: a handle's mode cannot be switched in Capstone 4 */
    cs_insn *scratch;
    enum disasm_syntax syntax;
    disasm_symbol_fn *symbol;
    void *symbol_arg;
};

/* Capstone sorts a table of its own at the first instruction, and locks nothing for that. */
static void sort_tables(void)
{
    const uint8_t nop = 0x90;
    cs_insn *in = NULL;
    size_t n;
    csh h;

    BUG_ON(cs_open(CS_ARCH_X86, CS_MODE_64, &h) != CS_ERR_OK);
    BUG_ON(cs_option(h, CS_OPT_DETAIL, CS_OPT_ON) != CS_ERR_OK);
    n = cs_disasm(h, &nop, 1, 0, 1, &in);
    cs_free(in, n); /* not in one: `in` might be read first */
    cs_close(&h);
}

struct disasm *disasm_new(void)
{
    static pthread_once_t sorted = PTHREAD_ONCE_INIT;
    static const cs_mode modes[] = {CS_MODE_16, CS_MODE_32, CS_MODE_64};
    struct disasm *d = xcalloc(1, sizeof *d);

    BUG_ON(pthread_once(&sorted, sort_tables) != 0);
    for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
        BUG_ON(cs_open(CS_ARCH_X86, modes[i], &d->handle[i]) != CS_ERR_OK);
        BUG_ON(cs_option(d->handle[i], CS_OPT_DETAIL, CS_OPT_ON) != CS_ERR_OK);
    }
    d->scratch = cs_malloc(d->handle[2]);
    BUG_ON(!d->scratch);
    return d;
}

void disasm_free(struct disasm *d)
{
    if (!d)
        return;
    cs_free(d->scratch, 1);
    for (size_t i = 0; i < ARRAY_LEN(d->handle); i++)
        cs_close(&d->handle[i]);
    free(d);
}

void disasm_syntax(struct disasm *d, enum disasm_syntax syntax)
{
    size_t v = syntax == DISASM_ATT ? CS_OPT_SYNTAX_ATT : CS_OPT_SYNTAX_INTEL;

    d->syntax = syntax;
    for (size_t i = 0; i < ARRAY_LEN(d->handle); i++)
        BUG_ON(cs_option(d->handle[i], CS_OPT_SYNTAX, v) != CS_ERR_OK);
}

void disasm_symbols(struct disasm *d, disasm_symbol_fn *fn, void *arg)
{
    d->symbol = fn;
    d->symbol_arg = arg;
}

static void put(char *dst, size_t cap, const char *src)
{
    size_t n = strnlen(src, cap - 1);

    memcpy(dst, src, n);
    dst[n] = '\0';
}

/* ---- what Capstone 4 does not know -------------------------------------------------------- */

/* Instructions without operands that are newer than Capstone 4, or that it misses in some modes.
 * Sources: Intel SDM 2 and AMD APM 3, opcode maps; Intel's FRED specification. */
static const struct extra {
    uint8_t len, bytes[4];
    const char *name;
    uint32_t effects;
} extras[] = {
    {2, {0xf3, 0x90}, "pause", 0},
    {4, {0xf3, 0x0f, 0x1e, 0xfa}, "endbr64", 0},
    {4, {0xf3, 0x0f, 0x1e, 0xfb}, "endbr32", 0},
    {3, {0x0f, 0x01, 0xc5}, "pconfig", INSN_PRIV},
    {3, {0x0f, 0x01, 0xc6}, "wrmsrns", INSN_PRIV},
    {4, {0xf3, 0x0f, 0x01, 0xc6}, "wrmsrlist", INSN_PRIV},
    {4, {0xf2, 0x0f, 0x01, 0xc6}, "rdmsrlist", INSN_PRIV},
    {4, {0xf3, 0x0f, 0x01, 0xca}, "eretu", INSN_PRIV | INSN_IRET | INSN_FAR},
    {4, {0xf2, 0x0f, 0x01, 0xca}, "erets", INSN_PRIV | INSN_IRET | INSN_FAR},
    {3, {0x0f, 0x01, 0xe8}, "serialize", 0},
    {4, {0xf3, 0x0f, 0x01, 0xe8}, "setssbsy", INSN_PRIV},
    {4, {0xf2, 0x0f, 0x01, 0xe8}, "xsusldtrk", 0},
    {4, {0xf2, 0x0f, 0x01, 0xe9}, "xresldtrk", 0},
    {4, {0xf3, 0x0f, 0x01, 0xea}, "saveprevssp", 0},
    {4, {0xf3, 0x0f, 0x01, 0xec}, "uiret", INSN_IRET},
    {4, {0xf3, 0x0f, 0x01, 0xed}, "testui", 0},
    {4, {0xf3, 0x0f, 0x01, 0xee}, "clui", 0},
    {4, {0xf3, 0x0f, 0x01, 0xef}, "stui", 0},
    {3, {0x0f, 0x01, 0xee}, "rdpkru", 0},
    {3, {0x0f, 0x01, 0xef}, "wrpkru", 0},
    {4, {0xf3, 0x0f, 0x01, 0xfa}, "mcommit", 0},
    {3, {0x0f, 0x01, 0xfd}, "rdpru", 0},
    {3, {0x0f, 0x01, 0xfe}, "invlpgb", INSN_PRIV},
    {3, {0x0f, 0x01, 0xff}, "tlbsync", INSN_PRIV},
};

static bool decode_extra(const uint8_t *bytes, size_t n, struct insn *out)
{
    for (const struct extra *x = extras; x < extras + ARRAY_LEN(extras); x++)
        if (n >= x->len && !memcmp(bytes, x->bytes, x->len)) {
            out->len = x->len;
            out->effects = x->effects;
            put(out->mnemonic, sizeof out->mnemonic, x->name);
            return true;
        }
    return false;
}

static void correct_name(const cs_insn *in, struct insn *out)
{
    const uint8_t *b = in->bytes;
    unsigned rex = in->size > 3 && (b[1] & 0xf0) == 0x40;

    /* f3 0f c7 /7 with a register reads the processor number; Capstone 4 takes it for rdseed. */
    if (in->id == X86_INS_RDSEED && b[0] == 0xf3 && b[1 + rex] == 0x0f)
        put(out->mnemonic, sizeof out->mnemonic, "rdpid");
    if (in->id == X86_INS_SYSRET && (in->detail->x86.rex & 8))
        put(out->mnemonic, sizeof out->mnemonic, "sysretq");
    if (in->id == X86_INS_SYSEXIT && (in->detail->x86.rex & 8))
        put(out->mnemonic, sizeof out->mnemonic, "sysexitq");
}

/* ---- names in operands -------------------------------------------------------------------- */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* The number in Intel or AT&T text that stands for out->mem_abs: "+ 0x100" of "[rip + 0x100]", or
 * the whole of "[0x1000]", "0x100" of "0x100(%rip)". False when the text has another shape. */
static bool find_address(const struct disasm *d, const char *text, bool rip, size_t *at,
                         size_t *len)
{
    const char *p, *end;

    if (d->syntax == DISASM_INTEL) {
        p = strstr(text, rip ? "[rip" : "[");
        end = p ? strchr(p, ']') : NULL;
        if (!end)
            return false;
        p += rip ? strlen("[rip") : 1;
    } else if (rip) {
        end = strstr(text, "(%rip)");
        if (!end)
            return false;
        for (p = end; p > text && !strchr(" ,*:", p[-1]);)
            p--;
    } else {
        for (p = text; *p && !(is_digit(*p) && (p == text || strchr(" *", p[-1])));)
            p++;
        end = p + strcspn(p, ", ");
        if (p == end)
            return false;
    }
    *at = (size_t)(p - text);
    *len = (size_t)(end - p);
    return true;
}

/* Puts `name` in the place of text[at, at+len). */
static void splice(struct insn *out, const char *text, size_t at, size_t len, const char *lead,
                   const char *name)
{
    size_t cap = sizeof out->operands;
    int start = snprintf(out->operands, cap, "%.*s%s", (int)at, text, lead);
    size_t used = (size_t)start < cap ? (size_t)start : cap - 1;
    size_t room = cap - 1 - used, n = strlen(name);

    if (n > room)
        n = room;
    memcpy(out->operands + used, name, n);
    put(out->operands + used + n, cap - used - n, text + at + len);
}

static void name_operands(struct disasm *d, const cs_insn *in, struct insn *out)
{
    char name[sizeof out->operands] = "";
    size_t at, len;
    bool rip;

    if (out->has_target && !(out->effects & INSN_FAR)) {
        if (d->symbol && d->symbol(d->symbol_arg, out->target, name, sizeof name)) {
            name[sizeof name - 1] = '\0';
            splice(out, "", 0, 0, "", name);
        } else {
            snprintf(out->operands, sizeof out->operands, "0x%llx",
                     (unsigned long long)out->target);
        }
        return;
    }
    put(out->operands, sizeof out->operands, in->op_str);
    if (!out->has_mem_abs || !d->symbol ||
        !d->symbol(d->symbol_arg, out->mem_abs, name, sizeof name))
        return;
    name[sizeof name - 1] = '\0';
    rip = strstr(in->op_str, "rip") != NULL;
    if (find_address(d, in->op_str, rip, &at, &len))
        splice(out, in->op_str, at, len, rip && d->syntax == DISASM_INTEL ? " + " : "", name);
}

/* ---- one instruction ---------------------------------------------------------------------- */

static bool is_prefix(uint8_t b)
{
    return b == 0x66 || b == 0x67 || (b & 0xe7) == 0x26 || (b & 0xfe) == 0x64 || b == 0xf0 ||
           (b & 0xfe) == 0xf2;
}

/* 0F opcodes, of vectors and of bit counts, of which 66, F2 or F3 is a part. */
static bool is_vector(uint8_t op)
{
    return (op >= 0x10 && op <= 0x17) || (op >= 0x28 && op <= 0x2f) || op == 0x38 || op == 0x3a ||
           (op >= 0x50 && op <= 0x7f) || (op >= 0xc4 && op <= 0xc6) || op == 0xc2 || op >= 0xd0;
}

static bool is_bit_count(uint8_t op)
{
    return op == 0xb8 || op == 0xbc || op == 0xbd; /* popcnt, tzcnt, lzcnt */
}

/* Such an instruction, whose prefix Capstone 4 sees as a part of the opcode only directly before
 * that, and in 16-bit code hardly ever. `to` gets the bytes with it there and, for 16-bit code, as
 * 32-bit code of the same meaning. Returns their number, 0 when that is not the matter; `*added`:
 * how many more than before. */
static size_t vector_rewritten(unsigned bits, const uint8_t *b, size_t n, uint8_t to[17],
                               int *added)
{
    bool narrow = false, wide = false;
    size_t end = 0, at = 0, op;
    uint8_t part = 0;

    for (; end < n && is_prefix(b[end]); end++) {
        narrow |= b[end] == 0x66;
        wide |= b[end] == 0x67;
        part = (b[end] & 0xfe) == 0xf2 ? b[end] : part;
    }
    part = !part && narrow ? 0x66 : part;
    op = end < n && bits == 64 && (b[end] & 0xf0) == 0x40 ? end + 1 : end;
    if (!part || op + 1 >= n || b[op] != 0x0f ||
        !(is_vector(b[op + 1]) || (part == 0xf3 && is_bit_count(b[op + 1]))) ||
        (bits != 16 && b[end - 1] == part))
        return 0;
    if (bits == 16 && !wide)
        to[at++] = 0x67;
    if (is_bit_count(b[op + 1]) && narrow == (bits != 16))
        to[at++] = 0x66;
    for (size_t i = 0; i < end; i++)
        if (b[i] != part && b[i] != 0x66 && !(bits == 16 && b[i] == 0x67))
            to[at++] = b[i];
    to[at++] = part;
    *added = (int)at - (int)end;
    n = n - end > 17 - at ? 17 - at : n - end;
    memcpy(to + at, b + end, n);
    return at + n;
}

/* Makes an address of 16-bit code, which became a sign-extended one, short again. */
static void shorten_address(char *text)
{
    char *wide = strstr(text, "0xffff");

    if (wide && strspn(wide + 2, "0123456789abcdef") == 8)
        memmove(wide + 2, wide + 6, strlen(wide + 6) + 1);
}

/* Before F2 or F3 Capstone 4 overlooks the operand size of a string instruction: 66 F3 AB is rep
 * stosw. Behind them it sees it. `to` gets the bytes with 66 as their last prefix; false when that
 * is not the matter. */
static bool string_reordered(unsigned bits, const uint8_t *b, size_t n, uint8_t *to)
{
    size_t end = 0, at = 0, op;

    while (end < n && is_prefix(b[end]))
        end++;
    op = end < n && bits == 64 && (b[end] & 0xf0) == 0x40 ? end + 1 : end;
    if (end < 2 || op >= n ||
        !((b[op] & 0xfc) == 0x6c || (b[op] & 0xfc) == 0xa4 || (b[op] >= 0xaa && b[op] <= 0xaf)))
        return false;
    for (size_t i = 0; i < end; i++)
        if (b[i] != 0x66)
            to[at++] = b[i];
    if (at == end)
        return false;
    memset(to + at, 0x66, end - at);
    memcpy(to + end, b + end, n - end);
    return true;
}

static bool decode(struct disasm *d, unsigned bits, uint64_t addr, const uint8_t *bytes, size_t n)
{
    size_t rest = n < 15 ? n : 15, rewritten;
    const uint8_t *from = bytes;
    uint8_t other[17];
    unsigned size = bits;
    int added = 0;

    rewritten = vector_rewritten(bits, bytes, rest, other, &added);
    if (rewritten) {
        bytes = other;
        rest = rewritten;
        size = bits == 16 ? 32 : bits;
    } else if (string_reordered(bits, bytes, rest, other)) {
        bytes = other;
    }
    if (!cs_disasm_iter(d->handle[size == 64   ? 2
                                  : size == 32 ? 1
                                               : 0],
                        &bytes, &rest, &addr, d->scratch) ||
        d->scratch->size <= added || d->scratch->size - added > 15)
        return false;
    d->scratch->size = (uint16_t)(d->scratch->size - added);
    memcpy(d->scratch->bytes, from, d->scratch->size);
    if (size != bits)
        shorten_address(d->scratch->op_str);
    return true;
}

const cs_insn *disasm_decode(struct disasm *d, unsigned bits, uint64_t addr, const uint8_t *bytes,
                             size_t n)
{
    return n && decode(d, bits, addr, bytes, n) ? d->scratch : NULL;
}

unsigned disasm_one(struct disasm *d, unsigned bits, uint64_t addr, const uint8_t *bytes, size_t n,
                    struct insn *out)
{
    const cs_insn *in = d->scratch;

    *out = (struct insn){.addr = addr, .len = 1};
    if (n == 0) {
        out->effects = INSN_BAD;
        put(out->mnemonic, sizeof out->mnemonic, "(bad)");
        return 1;
    }
    if (decode_extra(bytes, n, out)) {
        /* done */
    } else if (decode(d, bits, addr, bytes, n)) {
        out->len = (uint8_t)in->size;
        put(out->mnemonic, sizeof out->mnemonic, in->mnemonic);
        flow_of(in, bits, out);
        correct_name(in, out);
        name_operands(d, in, out);
    } else {
        out->effects = INSN_BAD;
        put(out->mnemonic, sizeof out->mnemonic, "(bad)");
    }
    memcpy(out->bytes, bytes, out->len);
    return out->len;
}

/* ---- backwards ---------------------------------------------------------------------------- */

/* For each offset: where decoding from it goes next, and how many offsets lead to it. */
struct chain {
    uint16_t next, votes;
    bool good;
};

/* The start whose instruction ends at `end` and that most offsets lead to; `end` when none does. */
static size_t best_before(const struct chain *c, size_t end)
{
    size_t best = end;

    for (size_t i = end > 15 ? end - 15 : 0; i < end; i++)
        if (c[i].next == end && (best == end || c[i].votes > c[best].votes))
            best = i;
    return best;
}

size_t disasm_back(struct disasm *d, unsigned bits, uint64_t addr, const uint8_t *before, size_t n,
                   unsigned count)
{
    struct chain c[DISASM_BACK_MAX + 1] = {0};
    size_t at;

    if (n == 0 || count == 0)
        return 0;
    if (n > DISASM_BACK_MAX) {
        before += n - DISASM_BACK_MAX;
        n = DISASM_BACK_MAX;
    }
    for (size_t i = 0; i < n; i++) {
        struct insn x = {.len = 1};

        c[i].good = decode_extra(before + i, n - i, &x);
        if (!c[i].good && decode(d, bits, addr - n + i, before + i, n - i)) {
            x.len = (uint8_t)d->scratch->size;
            c[i].good = true;
        }
        c[i].next = (uint16_t)(i + x.len);
        /* A byte that is no instruction has a place in a chain but speaks for none. */
        if (!c[i].good)
            continue;
        c[i].votes++;
        c[c[i].next].votes = (uint16_t)(c[c[i].next].votes + c[i].votes);
    }
    for (at = n; count > 0 && at > 0; count--) {
        size_t start = best_before(c, at);

        if (start == at)
            break;
        at = start;
    }
    return at == n ? 1 : n - at;
}
