/*
 * The shape of one x86 instruction: prefixes, opcode map, ModRM, displacement and immediate, enough
 * to sort the instructions that an emulating KVM refuses, to compute their operand's address and to
 * write them anew with another operand. No disassembler: names and operands are disasm's. Pure
 * functions of their arguments; any thread.
 * Source: Intel SDM volume 2, chapter 2 and appendix A.
 */
#ifndef VMM_INSN_SHAPE_H
#define VMM_INSN_SHAPE_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>

#define INSN_BYTES_MAX 15

/* What kind of instruction it is, as far as the assist cares. */
enum insn_class {
    IC_NONE, /* nothing that the assist carries out */
    IC_FWAIT,
    IC_X87,
    IC_MMX,
    IC_SSE,
    IC_AVX,
    IC_AVX512,
    IC_BITS, /* popcnt, crc32, movbe, ADX, BMI: general registers only */
    IC_CX16, /* cmpxchg16b */
    IC_XSAVE,
    IC_XSAVE_SYSTEM, /* xsaves, xrstors */
    IC_XGETBV,
    IC_RDTSCP,
    IC_RDPID,
    IC_SMAP,    /* clac, stac */
    IC_CACHE,   /* clwb, clzero, movdiri, movdir64b: unprivileged stores and hints */
    IC_SEGMENT, /* lar, lsl, verr, verw */
    IC_INVPCID,
    IC_SYSENTER,
    IC_SYSEXIT,
    IC_MONITOR, /* monitor, mwait and AMD's */
    IC_BCD,     /* aaa, aas, daa, das */
    IC_BOUND,
    IC_ENTER,
    IC_ARPL,
    IC_UNDEFINED, /* raises #UD on every processor, or on those whose VMX is off */
    IC_FAR,       /* call and jmp with a far pointer */
    IC_NOP,       /* hints: endbr, rdssp without CET, and what else became one */
    IC_VMCALL,
};

enum insn_vex { VEX_NO, VEX_2, VEX_3, VEX_EVEX };

struct insn_shape {
    uint8_t b[INSN_BYTES_MAX];
    uint8_t bits; /* 16, 32, 64 */
    uint8_t len;
    bool opsize, addrsize, lock; /* prefixes 66, 67, F0 */
    uint8_t rep;                 /* F2, F3 or 0 */
    int8_t seg;                  /* 0 to 5: es cs ss ds fs gs by prefix; -1 none */
    uint8_t rex;
    enum insn_vex vex;
    uint8_t vvvv;      /* of VEX and EVEX, not inverted */
    uint8_t map;       /* 0 one byte, 1 0F, 2 0F38, 3 0F3A */
    uint8_t opcode;    /* the last opcode byte */
    uint8_t opcode_at; /* offset of the first byte after the legacy prefixes */
    uint8_t modrm_at;  /* 0: no ModRM */
    uint8_t modrm;
    uint8_t imm_len;
    int32_t disp;
    bool edited; /* the caller changed opcode or ModRM: the bytes no longer tell */
};

/* Reads the shape of the instruction in `bytes` (n of them) for code of `bits`. False when they
 * end too early or are longer than an instruction may be. Lengths are right for the classes above
 * and where insn_is_plain says yes; for other instructions only the class (IC_NONE) means
 * something. */
bool insn_shape(struct insn_shape *s, unsigned bits, const uint8_t *bytes, unsigned n);
enum insn_class insn_classify(const struct insn_shape *s);
/* Is it a move or an integer operation of 64-bit code that means the same in every ring: no stack,
 * no jump, no segment register, no string? */
bool insn_is_plain(const struct insn_shape *s);
/* Is its memory operand relative to RIP? */
bool insn_rip_relative(const struct insn_shape *s);
/* Does the ModRM name memory? */
bool insn_has_memory(const struct insn_shape *s);
/* The offset of the memory operand within its segment, cut to the address size, and which segment
 * (0 to 5 as `seg`) it uses. Vector indices (gathers) are not understood: they give the base. */
uint64_t insn_offset(const struct insn_shape *s, const struct kvm_regs *r, int *seg);
/* Its linear address: with the segment's base, cut to 32 bits outside 64-bit code. */
uint64_t insn_linear(const struct insn_shape *s, const struct kvm_regs *r,
                     const struct kvm_sregs *sr);
/* The address width in bits: 16, 32 or 64. */
unsigned insn_address_bits(const struct insn_shape *s);
/* General register by its number in the encoding, 0 to 15. */
uint64_t *insn_reg(struct kvm_regs *r, unsigned number);

/* Writes the instruction as 64-bit code that means the same, with the memory operand (if it has
 * one) replaced by [register], and returns its length; 0 when that cannot be written. `*holder` is
 * the register (8 to 15) that must hold the operand's linear address, or -1. */
unsigned insn_rewrite(const struct insn_shape *s, uint8_t out[INSN_BYTES_MAX + 4], int *holder);

#endif
