/*
 * The frame outside a handler that stands at its first instruction: what was interrupted, or where
 * SYSCALL was. The processor itself says so: a gate of the IDT or IA32_LSTAR names this address,
 * and the frame that it pushed (or RCX) has the rest. Called by unwind.c for the innermost frame.
 * Source: Intel SDM 3A, 6.12 and 6.14; SDM 2B, SYSCALL.
 */
#include "debug/symbols/unwind_int.h"

#include "vmm/base/le.h"
#include "vmm/regs.h"

#define VECTORS    256u
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
    if (!(gate[5] & 0x80) || (gate[5] & 0x1e) != 0xe)
        return false;
    *to = le_load(gate, 2) | le_load(gate + 6, 2) << 16;
    if (bits == 64)
        *to |= le_load(gate + 8, 4) << 32;
    return true;
}

/* Which gates lead to `pc`: bit 0 one that pushes no error code, bit 1 one that does. */
static unsigned gates_to(const struct unwind_env *env, uint64_t pc)
{
    unsigned bytes = env->bits == 64 ? 16 : 8, found = 0;
    uint8_t table[VECTORS * GATE_MAX];
    uint64_t base, limit, to;

    if (!reg(env, REG_idtr_base, &base) || !reg(env, REG_idtr_limit, &limit))
        return 0;
    for (unsigned i = 0; i < VECTORS && (i + 1) * bytes <= limit + 1; i++) {
        uint8_t *gate = table + (size_t)i * bytes;

        if (env->mem(env->arg, base + (uint64_t)i * bytes, gate, bytes) &&
            gate_target(gate, env->bits, &to) && to == pc)
            found |= i < 32 && (WITH_CODE >> i & 1) ? 2 : 1;
    }
    return found;
}

/* The pushed frame at `sp`, when it can be one. */
static bool take_frame(const struct unwind_env *env, uint64_t sp, struct unwind_regs *r)
{
    unsigned width = env->bits / 8;
    uint64_t slot[5] = {0}, cs;
    uint8_t raw[8];
    bool outer;

    if (!reg(env, REG_cs, &cs))
        return false;
    for (unsigned i = 0; i < 5; i++) {
        outer = width == 8 || (slot[1] & 3) > (cs & 3);
        if (i >= 3 && !outer)
            break;
        if (!env->mem(env->arg, sp + (uint64_t)i * width, raw, width))
            return false;
        slot[i] = le_load(raw, width);
    }
    outer = width == 8 || (slot[1] & 3) > (cs & 3);
    if (!slot[1] || (slot[1] & 0xffff) < 4 || (width == 8 && slot[1] > 0xffff) ||
        !(slot[2] & FLAGS_ONE) || (slot[2] & FLAGS_ZERO) || slot[2] >> 32)
        return false;
    unwind_set(r, DW_RIP, slot[0]);
    unwind_set(r, DW_RSP, outer ? slot[3] : sp + 3 * width);
    return true;
}

bool unwind_event(const struct unwind_env *env, uint64_t pc, struct unwind_regs *r)
{
    uint64_t lstar;
    unsigned gates;

    if (env->bits == 16 || env->foreign_thread)
        return false;
    if (env->bits == 64 && reg(env, REG_msr_lstar, &lstar) && lstar == pc && pc &&
        unwind_knows(r, 2)) {
        unwind_set(r, DW_RIP, r->v[2]); /* RCX */
        return true;
    }
    gates = gates_to(env, pc);
    return ((gates & 2) && take_frame(env, r->v[DW_RSP] + env->bits / 8, r)) ||
           ((gates & 1) && take_frame(env, r->v[DW_RSP], r));
}
