/*
 * The few instructions that stepping and assisting must know by their opcode: those which transfer
 * control through tables, or show what a debugger does. vCPU thread.
 */
#ifndef VMM_INSN_HEAD_H
#define VMM_INSN_HEAD_H

#include <stdbool.h>
#include <stdint.h>

struct vcpu;

enum special {
    SP_NONE,
    SP_HLT,
    SP_INT, /* int n, int3, int1, into that overflows: operand is the vector */
    SP_IRET,
    SP_SYSRET,
    SP_SYSCALL,
    SP_RETF,
    SP_SWAPGS,
    SP_SHADOW, /* sti, mov ss, pop ss: a processor holds traps back for one instruction more */
    SP_REP,    /* a repeated string instruction */
    SP_PUSHF,
    SP_POPF,
    SP_FXSAVE,   /* and FXRSTOR: an emulating KVM forgets the trap after them */
    SP_IDT_INSN, /* 0F 01: lidt, sidt and relatives must see the real IDT */
};

struct insn_head {
    enum special special;
    unsigned len; /* up to the opcode; whole for all but IDT_INSN and FXSAVE */
    int vector;
    uint16_t imm; /* SP_RETF: bytes to drop */
    bool rexw, opsize;
    bool is_int_n, icebp; /* which of the SP_INT kind */
    bool locked;          /* read-modify-write as one: lock prefix, xchg */
    int ss_from;          /* mov ss, reg: number of that register; -1 no such instruction */
    bool rep;
    uint8_t b[15], n;  /* the bytes at CS:RIP, as many as can be read */
    uint8_t opcode_at; /* offset of the opcode's first byte, behind prefixes and REX */
};

/* Reads the bytes at CS:RIP. SP_NONE also when they cannot be read. */
void insn_head_read(struct vcpu *v, struct insn_head *h);

#endif
