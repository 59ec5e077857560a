/*
 * The frame outside a handler: what was interrupted, or where SYSCALL was. The processor itself
 * says so: a gate of the IDT (in real mode an entry of the vector table) or IA32_LSTAR names the
 * handler's first instruction, and the frame that it pushed (or RCX) has the rest. Further into a
 * handler unwind_stub.c knows how far below that frame the stack pointer is. Called by unwind.c.
 * Source: Intel SDM 3A, 6.12 and 6.14; 3B, 21.1.4; 2B, SYSCALL.
 */
#include "debug/symbols/unwind_int.h"

#include <stdlib.h>
#include <string.h>

#include "vmm/base/le.h"
#include "vmm/base/x.h"
#include "vmm/regs.h"

#define GATE_MAX   16u
#define WITH_CODE  0x60227d00u /* vectors below 32 that push an error code */
#define FLAGS_ONE  2u          /* always set … */
#define FLAGS_ZERO 0xffc08028u /* … and never */

static bool reg(const struct unwind_env *env, int id, uint64_t *v)
{
    return env->reg(env->arg, id, v);
}

/* Where a gate leads; false for one that is absent or no interrupt or trap gate. */
static bool gate_target(const uint8_t *gate, unsigned bits, uint64_t *to)
{
    if (bits == 16) { /* real mode */
        *to = le_load(gate, 2) + (le_load(gate + 2, 2) << 4);
        return le_load(gate, 4) != 0;
    }
    if (!(gate[5] & 0x80) || (gate[5] & 0x1e) != 0xe)
        return false;
    *to = le_load(gate, 2) | le_load(gate + 6, 2) << 16;
    if (bits == 64)
        *to |= le_load(gate + 8, 4) << 32;
    return true;
}

struct unwind_gates *unwind_gates_new(const struct unwind_env *env)
{
    unsigned bytes = env->bits == 64 ? 16 : env->bits == 32 ? 8 : 4;
    struct unwind_gates *g = xcalloc(1, sizeof *g);
    uint8_t gate[GATE_MAX];
    uint64_t base, limit, cr0, to;

    if (env->foreign_thread || !reg(env, REG_idtr_base, &base) ||
        !reg(env, REG_idtr_limit, &limit) ||
        (env->bits == 16 && (!reg(env, REG_cr0, &cr0) || (cr0 & 1))))
        return g;
    for (unsigned i = 0; i < UNWIND_VECTORS && (i + 1) * bytes <= limit + 1; i++) {
        if (!env->mem(env->arg, base + (uint64_t)i * bytes, gate, bytes) ||
            !gate_target(gate, env->bits, &to))
            continue;
        g->gate[g->count].to = to;
        g->gate[g->count++].with_code = env->bits != 16 && i < 32 && (WITH_CODE >> i & 1);
    }
    return g;
}

void unwind_gates_free(struct unwind_gates *g)
{
    if (g)
        free(g->stub);
    free(g);
}

/* Can these be what the processor pushed? */
static bool is_frame(const struct unwind_env *env, const uint64_t slot[5], unsigned width)
{
    uint8_t byte;
    uint64_t at = slot[0] + (width == 2 ? slot[1] << 4 : 0);

    if (width > 2 &&
        (!slot[1] || (slot[1] & 0xffff) < 4 || (width == 8 && slot[1] > 0xffff) || slot[2] >> 32))
        return false;
    return (slot[2] & FLAGS_ONE) && !(slot[2] & (width == 2 ? FLAGS_ZERO & 0x7fff : FLAGS_ZERO)) &&
           env->mem(env->arg, at, &byte, 1);
}

bool unwind_take_frame(const struct unwind_env *env, uint64_t sp, struct unwind_regs *r,
                       struct unwind_bases *bases)
{
    unsigned width = env->bits / 8;
    uint64_t slot[5] = {0}, cs;
    uint8_t raw[8];
    bool outer = width == 8;

    if (!reg(env, REG_cs, &cs))
        return false;
    for (unsigned i = 0; i < (outer ? 5 : 3); i++) {
        if (!env->mem(env->arg, bases->ss + sp + (uint64_t)i * width, raw, width))
            return false;
        slot[i] = le_load(raw, width);
        outer |= width == 4 && i == 1 && (slot[1] & 3) > (cs & 3);
    }
    if (!is_frame(env, slot, width))
        return false;
    if (width == 2)
        bases->cs = slot[1] << 4;
    unwind_set(r, DW_RIP, slot[0]);
    unwind_set(r, DW_RSP, outer ? slot[3] : sp + 3 * width);
    return true;
}

bool unwind_event(const struct unwind_env *env, const struct unwind_gates *g, uint64_t pc,
                  struct unwind_regs *r, struct unwind_bases *bases)
{
    uint64_t lstar;
    bool plain = false, with_code = false;

    if (env->foreign_thread)
        return false;
    if (env->bits == 64 && reg(env, REG_msr_lstar, &lstar) && lstar == pc && pc &&
        unwind_knows(r, 2)) {
        unwind_set(r, DW_RIP, r->v[2]); /* RCX */
        return true;
    }
    for (unsigned i = 0; i < g->count; i++) {
        plain |= g->gate[i].to == pc && !g->gate[i].with_code;
        with_code |= g->gate[i].to == pc && g->gate[i].with_code;
    }
    return (with_code && unwind_take_frame(env, r->v[DW_RSP] + env->bits / 8, r, bases)) ||
           (plain && unwind_take_frame(env, r->v[DW_RSP], r, bases));
}

bool unwind_is_handler(const struct unwind_gates *g, uint64_t start)
{
    for (unsigned i = 0; i < g->count; i++)
        if (g->gate[i].to == start)
            return true;
    return false;
}
