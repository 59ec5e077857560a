/*
 * Units of the random programs of diff_program.h that leave the straight way: faults, interrupts
 * and returns, jumps and calls, code that changes itself, and the trap flag. Each leaves the stack
 * as it was.
 */
#ifndef TESTS_UNIT_DIFF_FLOW_H
#define TESTS_UNIT_DIFF_FLOW_H

#include "tests/unit/diff_units.h"

/* A load or store of AL or eAX at a 64-bit address: 9 bytes. */
static void dp_far_access(struct program *p, uint64_t addr)
{
    dp_start(p);
    dp_put(p, 0xa0 + dp_below(p, 4), 1);
    dp_put(p, addr, 8);
}

static void dp_fault(struct program *p)
{
    if (p->no_events)
        return;
    switch (dp_below(p, 7)) {
    case 0:
        DP_I(p, 0x0f, 0x0b); /* ud2 */
        break;
    case 1:
        dp_mov_imm(p, 0, 0);
        dp_mov_imm(p, 2, 0);
        DP_I(p, 0xf7, 0xf0); /* div by zero */
        break;
    case 2:
        DP_I(p, 0xcc);
        break;
    case 3:
        if (p->kind == DP_LONG3) {
            DP_I(p, 0xf4); /* #GP */
        } else if (p->kind != DP_REAL) {
            dp_mov_imm(p, 0, 0xfff8);
            DP_I(p, 0x8e, 0xc0); /* #GP: no such descriptor */
        }
        break;
    case 4:
        if (p->kind == DP_PROT || p->kind == DP_LONG0) {
            dp_mov_imm(p, 0, DP_ABSENT);
            DP_I(p, 0x8e, 0xc0); /* #NP */
        }
        break;
    case 5:
        DP_I(p, 0xf1);
        break;
    default:
        if (p->bits == 64) /* #PF: not mapped, or no right to it */
            dp_far_access(p, p->kind == DP_LONG3 && dp_below(p, 2)
                                 ? DP_NO_PAGE + 0x1000 * dp_below(p, 3)
                                 : 0x7f0000000000);
        break;
    }
}

/* In 32-bit code of long mode an emulating KVM makes it a #GP. */
static void dp_iret(struct program *p)
{
    uint32_t patch;

    if (p->kind == DP_LONG0 && p->bits != 64)
        return;
    if (p->bits == 64) {
        unsigned r = p->cx_busy ? 2 : 1;

        DP_I(p, 0x89, (uint8_t)(0xe0 | r)); /* mov esp, r */
        dp_start(p);
        dp_put(p, 0x68, 1);
        dp_put(p, p->kind == DP_LONG3 ? DP_USER_SS : X86_SEL_DATA, 4);
        DP_I(p, (uint8_t)(0x50 + r));
        DP_I(p, 0x9c);
        dp_start(p);
        dp_put(p, 0x68, 1);
        dp_put(p, p->kind == DP_LONG3 ? DP_USER_CS : X86_SEL_CODE, 4);
    } else {
        DP_I(p, 0x9c);
        DP_I(p, 0x0e);
    }
    dp_start(p);
    dp_put(p, 0x68, 1);
    patch = p->at;
    dp_put(p, 0, dp_imm_bytes(p));
    if (p->bits == 64)
        DP_I(p, 0x48, 0xcf);
    else
        DP_I(p, 0xcf);
    if (dp_below(p, 2))
        dp_put(p, 0x0b0f, 2); /* never reached */
    le_store(p->image + patch - DP_AT, dp_imm_bytes(p), p->at - p->cs_base);
}

static void dp_soft_int(struct program *p)
{
    if (!p->no_events)
        DP_I(p, 0xcd, dp_below(p, 4) ? 0x40 : 3);
}

/* A conditional branch over a few units. */
static void dp_branch(struct program *p)
{
    uint32_t patch;
    bool near = dp_below(p, 2);

    dp_start(p);
    if (near) {
        DP_CODE_BYTES(p, 0x0f, (uint8_t)(0x80 | dp_below(p, 16)));
        dp_put(p, 0, dp_imm_bytes(p));
        patch = p->at;
        dp_units(p, 1 + dp_below(p, 2));
        le_store(p->image + patch - dp_imm_bytes(p) - DP_AT, dp_imm_bytes(p), p->at - patch);
        return;
    }
    DP_CODE_BYTES(p, dp_below(p, 16) ? (uint8_t)(0x70 | dp_below(p, 16)) : 0xe3, 0);
    patch = p->at;
    dp_alu_reg(p);
    dp_alu_reg(p);
    p->image[patch - 1 - DP_AT] = (uint8_t)(p->at - patch);
}

static void dp_loop(struct program *p)
{
    uint32_t top;

    if (p->cx_busy)
        return;
    dp_mov_imm(p, 1, 1 + dp_below(p, 6));
    p->cx_busy = true;
    top = p->at;
    dp_units(p, 1 + dp_below(p, 3));
    if (p->at - top < 120) {
        DP_I(p, 0xe2, (uint8_t)(top - p->at - 2));
    } else {
        DP_I(p, 0xff, 0xc9); /* dec cx */
        DP_I(p, 0x0f, 0x85);
        dp_put(p, top - p->at - dp_imm_bytes(p), dp_imm_bytes(p));
    }
    p->cx_busy = false;
}

/* Not from where the stack has a base, or no event may come: subroutines know nothing of it. */
static void dp_call(struct program *p)
{
    if (p->in_sub || p->based || p->calls == 64)
        return;
    p->call_sub[p->calls] = (uint8_t)dp_below(p, DP_SUBS);
    if (dp_below(p, 2)) {
        DP_I(p, 0xe8);
        p->call_at[p->calls++] = p->at;
        dp_put(p, 0, dp_imm_bytes(p));
        return;
    }
    DP_I(p, 0xb8);
    p->call_at[p->calls++] = p->at | 1u << 31; /* absolute */
    dp_put(p, 0, dp_imm_bytes(p));
    DP_I(p, 0xff, 0xd0);
}

/* Writes the immediate of the next instruction but one. */
static void dp_self_modify(struct program *p)
{
    uint32_t patch, r = dp_reg(p, false);

    dp_start(p);
    dp_put(p, 0xc6, 1);
    dp_modrm_abs(p, 0, 0);
    patch = p->at - dp_imm_bytes(p);
    dp_put(p, dp_below(p, 256), 1);
    DP_I(p, 0xeb, 0); /* older processors want a jump here */
    le_store(p->image + patch - DP_AT, dp_imm_bytes(p), p->at + 1 + dp_below(p, 2));
    dp_mov_imm(p, r, dp_random(&p->rng));
}

static void dp_trap_flag(struct program *p, bool on)
{
    DP_I(p, 0x9c);
    DP_I(p, 0x58);
    dp_start(p);
    dp_put(p, on ? 0x0d : 0x25, 1); /* or, and ax */
    dp_put(p, on ? 0x100 : ~0x100u, dp_imm_bytes(p));
    DP_I(p, 0x50);
    DP_I(p, 0x9d);
}

/* The guest steps itself: its handler counts. In real mode KVM's emulator traps behind INT as well,
 * where a processor has cleared the flag. */
static void dp_own_steps(struct program *p)
{
    static void (*const emit[])(struct program *) = {dp_alu_reg, dp_misc_reg, dp_load_imm,
                                                     dp_alu_mem, dp_pushf,    dp_soft_int};

    if (p->no_events)
        return;
    dp_trap_flag(p, true);
    for (unsigned n = 1 + dp_below(p, 4); n--;)
        emit[dp_below(p, p->kind == DP_REAL ? 5 : 6)](p);
    dp_trap_flag(p, false);
}

#endif
