/*
 * The register table: one row per register in regs.def, in gdb's order for the first part. Rows
 * give name, width, group, where the value lives, flag names and help; register panels, `info
 * registers`, expressions, gdb's target.xml and comparisons of states all read it.
 * Plain data: touches no machine.
 */
#ifndef VMM_REGS_H
#define VMM_REGS_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>

enum reg_group {
    RG_GENERAL, /* rax … r15, rip, rflags */
    RG_SEGMENT, /* selectors, bases, limits, attributes */
    RG_CONTROL, /* CR0-CR4, CR8, EFER, XCR0 */
    RG_TABLE,   /* GDTR, IDTR, LDTR, TR */
    RG_DEBUG,   /* DR0-DR7 */
    RG_X87,
    RG_SSE,
    RG_AVX,
    RG_MSR,
    RG_GROUPS,
};

/* Everything of one vCPU that the table can reach, as KVM hands it out. `have` tells which parts
 * were fetched; vcpu.c fills them on demand. */
#define VS_REGS   1u
#define VS_SREGS  2u
#define VS_EVENTS 4u
#define VS_DEBUG  8u
#define VS_XSAVE  16u
#define VS_XCRS   32u
#define VS_MSRS   64u
#define VS_ALL    127u

#define VS_MSRS_MAX 24

struct vcpu_state {
    uint32_t have;
    struct kvm_regs regs;
    struct kvm_sregs sregs;
    struct kvm_vcpu_events events;
    struct kvm_debugregs debug;
    struct kvm_xsave xsave;
    struct kvm_xcrs xcrs;
    uint64_t msr[VS_MSRS_MAX]; /* in the order of the M() rows in regs.def */
    bool msr_known[VS_MSRS_MAX];
};

/* R  an integer of the named part; V  a vector or x87 value in the XSAVE image; M  an MSR. */
enum reg_id {
#define R(id, bits, group, part, member, flags, help)   REG_##id,
#define A(id, bits, group, seg, flags, help)            REG_##id,
#define V(id, bits, group, off, hi_off, help)           REG_##id,
#define M(id, index, flags, help)                       REG_##id,
#include "vmm/regs.def"
#undef R
#undef A
#undef V
#undef M
    REG_COUNT,
};

/* A bit or bit field of a flags register: bits [low, low+width). */
struct reg_flag {
    const char *name;
    uint8_t low, width;
    const char *help;
};

struct reg_desc {
    const char *name;
    const char *help;
    const struct reg_flag *flags; /* ended by a row without name; NULL for plain numbers */
    uint16_t bits;                /* 8 to 256 */
    uint8_t group;                /* enum reg_group */
    uint8_t kind;                 /* 'R', 'A', 'V', 'M' */
    uint32_t part;                /* VS_* that must be present */
    uint16_t offset;              /* in struct vcpu_state */
    uint16_t size;                /* bytes there */
    uint16_t hi_offset;           /* V: offset of the upper half (AVX) in XSAVE, or 0 */
    uint32_t msr_index;           /* M */
    uint8_t msr_slot;             /* M: position in vcpu_state.msr */
};

/* Little-endian; `len` is bits/8 rounded up. Integers are also in `u` (low 64 bits). */
struct reg_value {
    uint64_t u;
    uint8_t bytes[32];
    unsigned len;
};

extern const struct reg_desc reg_table[REG_COUNT];
extern const char *const reg_group_names[RG_GROUPS];

/* By name, without '$', case ignored; also the partial names (eax, ax, al, ah, eip, ip, eflags,
 * r8d, …) through `reg_partial`. -1 when unknown. */
int reg_by_name(const char *name);

/* A partial register: bits [low, low+width) of `id`. True when `name` is one (or a whole one). */
struct reg_part {
    int id;
    uint8_t low;
    uint16_t width;
};
bool reg_partial(const char *name, struct reg_part *out);

/* 0, or -ENODATA when the part was not fetched or the MSR/vector does not exist here. */
int reg_read(const struct vcpu_state *s, int id, struct reg_value *out);
/* Changes `s` only; -EINVAL with a hint in *why (static text) for a value the register cannot
 * hold. Marks nothing: the caller writes the whole part back. */
int reg_write(struct vcpu_state *s, int id, const struct reg_value *v, const char **why);
/* Sets .u, .bytes and .len from an integer. */
struct reg_value reg_from_u64(int id, uint64_t u);
/* " PF ZF IF CPL=3"-like text of the set flags into dst; returns dst. */
const char *reg_flags_text(int id, uint64_t value, char *dst, unsigned cap);

/* The CPU mode the state is in. */
enum cpu_mode { MODE_REAL, MODE_V86, MODE_PROT16, MODE_PROT32, MODE_COMPAT16, MODE_COMPAT32,
                MODE_LONG64, CPU_MODES };
enum cpu_mode cpu_mode_of(const struct kvm_sregs *s, uint64_t rflags);
const char *cpu_mode_name(enum cpu_mode m);
/* 16, 32 or 64: the default code size there. */
unsigned cpu_mode_bits(enum cpu_mode m);
/* Current privilege level. */
static inline unsigned cpu_cpl(const struct kvm_sregs *s)
{
    return s->ss.dpl;
}

/* Indices of the M() rows, for vcpu.c. */
extern const uint32_t reg_msr_index[];
extern const unsigned reg_msr_count;

#endif
