/*
 * Inside a handler that has no frame information, as those written in assembly: from each gate the
 * code is read to its end, through jumps and past calls, and for every instruction on the way it is
 * noted how far below the processor's frame the stack pointer is then and what was saved where.
 * Instructions that move the stack pointer in ways not known here end a path; and a frame found so
 * must still look like one (unwind_take_frame).
 */
#include <stdlib.h>
#include <string.h>

#include "debug/symbols/unwind_int.h"
#include "disasm/disasm.h"
#include "vmm/base/x.h"

#define ENTRIES    8192u /* a power of two; half of them are used */
#define FOLLOW_MAX 192u  /* instructions of one handler */
#define FORKS      16u
#define NOT_SAVED  INT32_MIN
#define GPRS       16u
#define R_SP       4u
#define R_BP       5u
#define DEPTH_MAX  0x10000

/* Before an instruction: bytes from the stack pointer up to the frame's RIP. */
struct depth {
    int32_t sp, bp; /* bp: where RBP points, while it is a frame pointer */
    bool knows_sp, knows_bp;
    int32_t saved[GPRS]; /* where, in bytes below the frame's RIP; by the processor's numbers */
};

struct unwind_stub {
    struct {
        uint64_t at; /* 0: free */
        struct depth d;
    } entry[ENTRIES];
    unsigned used;
};

static const struct depth *look(struct unwind_stub *t, uint64_t at, const struct depth *put)
{
    unsigned i = (unsigned)(at * 0x9e3779b97f4a7c15ull >> 40) & (ENTRIES - 1);

    while (t->entry[i].at && t->entry[i].at != at)
        i = (i + 1) & (ENTRIES - 1);
    if (t->entry[i].at)
        return &t->entry[i].d;
    if (put) {
        t->entry[i].at = at;
        t->entry[i].d = *put;
        t->used++;
    }
    return NULL;
}

/* ---- what an instruction does to the stack pointer ------------------------------------------ */

struct code {
    const uint8_t *b; /* behind the prefixes */
    unsigned n, width;
    uint8_t rex;
};

static struct code code_of(const struct insn *in, unsigned bits)
{
    struct code c = {.b = in->bytes, .n = in->len, .width = bits / 8};

    for (; c.n > 1; c.b++, c.n--) {
        if (*c.b == 0x66)
            c.width = bits == 16 ? 4 : 2;
        else if (bits == 64 && (*c.b & 0xf0) == 0x40)
            c.rex = *c.b;
        else if (*c.b != 0xf2 && *c.b != 0xf3 && *c.b != 0x2e)
            break;
    }
    return c;
}

static void push(struct depth *d, unsigned width, unsigned gpr)
{
    d->sp += (int32_t)width;
    if (gpr < GPRS && d->saved[gpr] == NOT_SAVED && d->knows_sp)
        d->saved[gpr] = d->sp;
}

static int32_t immediate(const uint8_t *b, unsigned n)
{
    return n >= 4   ? (int32_t)((uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 |
                              (uint32_t)b[3] << 24)
           : n >= 2 ? (int16_t)(b[0] | b[1] << 8)
           : n      ? (int8_t)b[0]
                    : 0;
}

/* Arithmetic and moves with RSP or RBP. False: it is none of those. */
static bool moves_pointer(const struct code *c, struct depth *d)
{
    const uint8_t *b = c->b;
    uint8_t modrm = c->n > 1 ? b[1] : 0;

    if ((*b == 0x83 || *b == 0x81) && (modrm & 0xc7) == 0xc4) { /* …, rsp by an immediate */
        int32_t by = immediate(b + 2, c->n - 2);

        if ((modrm & 0x38) == 0x28) /* sub */
            d->sp += by;
        else if ((modrm & 0x38) == 0) /* add */
            d->sp -= by;
        else if ((modrm & 0x38) != 0x38) /* and, …; cmp changes nothing */
            d->knows_sp = false;
        return true;
    }
    if (*b == 0x8d && (modrm & 0x3f) == 0x24 && c->n > 3 && b[2] == 0x24) { /* lea N(rsp), rsp */
        d->sp -= immediate(b + 3, c->n - 3);
        return true;
    }
    if ((*b == 0x89 && modrm == 0xe5) || (*b == 0x8b && modrm == 0xec)) { /* rbp = rsp */
        d->bp = d->sp;
        d->knows_bp = d->knows_sp;
        return true;
    }
    if ((*b == 0x89 && modrm == 0xec) || (*b == 0x8b && modrm == 0xe5)) { /* rsp = rbp */
        d->sp = d->bp;
        d->knows_sp = d->knows_bp;
        return true;
    }
    if (*b == 0xc9) { /* leave */
        d->sp = d->bp - (int32_t)c->width;
        d->knows_sp = d->knows_bp;
        d->knows_bp = false;
        return true;
    }
    return false;
}

/* mov reg, N(rsp) saves as a push does. */
static void stores(const struct code *c, struct depth *d)
{
    unsigned gpr = (c->n > 1 ? c->b[1] >> 3 & 7u : 0) | (c->rex & 4u ? 8u : 0);

    if (*c->b != 0x89 || c->n < 3 || (c->b[1] & 7) != 4 || c->b[1] >> 6 == 3 || c->b[2] != 0x24)
        return;
    if (d->knows_sp && d->saved[gpr] == NOT_SAVED)
        d->saved[gpr] = d->sp - immediate(c->b + 3, c->n - 3);
}

/* Other instructions that write RSP, as far as they occur in handlers: the path is lost. */
static bool loads_pointer(const struct code *c)
{
    uint8_t modrm = c->n > 1 ? c->b[1] : 0;

    return (*c->b == 0x8b && (modrm & 0x38) == 0x20 && !(c->rex & 4)) ||
           (*c->b == 0x89 && (modrm & 0xc7) == 0xc4 && !(c->rex & 1)) ||
           ((*c->b & 0xfe) == 0x86 && (modrm & 0xc7) == 0xc4) || *c->b == 0xbc || *c->b == 0x94 ||
           *c->b == 0xc8;
}

static void apply(const struct code *c, struct depth *d)
{
    uint8_t b = *c->b, second = c->n > 1 ? c->b[1] : 0;
    unsigned high = c->rex & 1u ? 8 : 0;

    if ((b & 0xf8) == 0x50) {
        push(d, c->width, (b & 7u) | high);
    } else if ((b & 0xf8) == 0x58) {
        d->sp -= (int32_t)c->width;
        d->knows_bp &= ((b & 7u) | high) != R_BP;
    } else if (b == 0x60) { /* pusha */
        for (unsigned r = 0; r < 8; r++)
            push(d, c->width, r == R_SP ? GPRS : r);
    } else if (b == 0x61) {
        d->sp -= 8 * (int32_t)c->width;
    } else if (b == 0x68 || b == 0x6a || b == 0x9c || (b < 0x20 && (b & 7) == 6) ||
               (b == 0x0f && (second == 0xa0 || second == 0xa8)) ||
               (b == 0xff && (second & 0x38) == 0x30)) {
        push(d, c->width, GPRS);
    } else if (b == 0x9d || b == 0x07 || b == 0x17 || b == 0x1f ||
               (b == 0x0f && (second == 0xa1 || second == 0xa9)) || b == 0x8f) {
        d->sp -= (int32_t)c->width;
    } else if (!moves_pointer(c, d)) {
        stores(c, d);
        if (loads_pointer(c))
            d->knows_sp = false;
    }
}

/* ---- paths ---------------------------------------------------------------------------------- */

struct path {
    uint64_t at;
    struct depth d;
};

static bool decode(const struct unwind_env *env, uint64_t at, struct insn *in)
{
    uint8_t b[15];
    unsigned n = sizeof b;

    while (n && !env->mem(env->arg, at, b, n))
        n--;
    return n && disasm_one(env->disasm, env->bits, at, b, n, in) && !(in->effects & INSN_BAD);
}

/* Follows one handler; of a conditional jump both ways. */
static void follow(const struct unwind_env *env, struct unwind_stub *t, const struct path *from)
{
    struct path todo[FORKS] = {*from};
    unsigned forks = 1, made = 0;

    while (forks) {
        struct path p = todo[--forks];
        struct insn in;
        struct code c;

        for (; made < FOLLOW_MAX && t->used < ENTRIES / 2; made++) {
            if (look(t, p.at, &p.d) || !decode(env, p.at, &in))
                break;
            if (in.effects & (INSN_RET | INSN_IRET | INSN_SYSRET))
                break;
            if (in.effects & INSN_JMP) {
                if (!in.has_target)
                    break;
                p.at = in.target;
                continue;
            }
            if ((in.effects & INSN_JCC) && in.has_target && forks < FORKS)
                todo[forks++] = (struct path){in.target, p.d};
            c = code_of(&in, env->bits);
            apply(&c, &p.d);
            if ((!p.d.knows_sp && !p.d.knows_bp) || p.d.sp < -DEPTH_MAX || p.d.sp > DEPTH_MAX)
                break;
            p.at += in.len;
        }
    }
}

static struct unwind_stub *read_stubs(const struct unwind_env *env, const struct unwind_gates *g)
{
    struct unwind_stub *t = xcalloc(1, sizeof *t);

    for (unsigned i = 0; i < g->count; i++) {
        struct path p = {.at = g->gate[i].to, .d.knows_sp = true};

        p.d.sp = g->gate[i].with_code ? (int32_t)env->bits / 8 : 0;
        for (unsigned r = 0; r < GPRS; r++)
            p.d.saved[r] = NOT_SAVED;
        follow(env, t, &p);
    }
    return t;
}

/* Registers that the interrupted code had: those saved are on the stack, others still the same as
 * far as they are known. */
static void take_saved(const struct unwind_env *env, const struct depth *d, uint64_t frame,
                       struct unwind_regs *r, uint64_t ss_base)
{
    static const uint8_t dwarf[GPRS] = {0, 2, 1, 3, 7, 6, 4, 5, 8, 9, 10, 11, 12, 13, 14, 15};
    unsigned width = env->bits / 8;

    for (unsigned i = 0; i < GPRS; i++) {
        uint8_t raw[8] = {0};
        uint64_t v = 0;

        if (d->saved[i] == NOT_SAVED)
            continue;
        if (!env->mem(env->arg, ss_base + frame - (uint64_t)(int64_t)d->saved[i], raw, width)) {
            r->known &= ~(1u << dwarf[i]);
            continue;
        }
        for (unsigned k = width; k-- > 0;)
            v = v << 8 | raw[k];
        unwind_set(r, dwarf[i], v);
    }
    if (d->knows_bp && d->saved[R_BP] == NOT_SAVED)
        r->known &= ~(1u << DW_RBP);
}

bool unwind_stub(const struct unwind_env *env, struct unwind_gates *g, uint64_t pc,
                 struct unwind_regs *r, struct unwind_bases *bases)
{
    const struct depth *d;
    struct unwind_regs out = *r;
    uint64_t frame;

    if (!env->disasm || !g->count)
        return false;
    if (!g->stub)
        g->stub = read_stubs(env, g);
    d = look(g->stub, pc, NULL);
    if (!d || !(d->knows_sp || unwind_knows(r, DW_RBP)))
        return false;
    frame = d->knows_sp ? r->v[DW_RSP] + (uint64_t)(int64_t)d->sp
                        : r->v[DW_RBP] + (uint64_t)(int64_t)d->bp;
    take_saved(env, d, frame, &out, bases->ss);
    if (!unwind_take_frame(env, frame, &out, bases))
        return false;
    *r = out;
    return true;
}
