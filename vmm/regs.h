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
 * were fetched; vcpu_state.c fills them on demand. */
#define VS_REGS   1u
#define VS_SREGS  2u
#define VS_EVENTS 4u
#define VS_DEBUG  8u
#define VS_XSAVE  16u
#define VS_XCRS   32u
#define VS_MSRS   64u
#define VS_ALL    127u
#define VS_SHARED (VS_REGS | VS_SREGS | VS_EVENTS) /* kept in struct kvm_run by KVM itself */

#define VS_MSRS_MAX 24

struct vcpu_state {
    uint32_t have;
    struct kvm_regs regs;
    struct kvm_sregs sregs;
    struct kvm_vcpu_events events;
    struct kvm_debugregs debug;
    struct kvm_xcrs xcrs;
    uint64_t msr[VS_MSRS_MAX]; /* in the order of the M() rows in regs.def */
    bool msr_known[VS_MSRS_MAX];
    struct kvm_xsave xsave; /* last: the kernel's struct ends in a flexible array */
};

/* R  an integer of the named part; A  segment attributes; V  a vector or x87 value in the XSAVE
 * image; M  an MSR. */
enum reg_id {
#define R(id, bits, group, part, member, flags, help) REG_##id,
#define A(id, bits, group, seg, flags, help)          REG_##id,
#define V(id, bits, group, off, hi_off, help)         REG_##id,
#define M(id, index, flags, help)                     REG_##id,
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
    uint16_t hi_offset;           /* V: where the upper half (AVX) is in vcpu_state, or 0 */
    uint32_t msr_index;           /* M */
    uint8_t msr_slot;             /* M: position in vcpu_state.msr */
};

/* Little-endian; `len` is bits/8 rounded up. Integers are also in `u` (low 64 bits). Make one with
 * reg_from_u64 or reg_from_bytes: R, A and M rows are written from `u`, V rows from `bytes`. */
struct reg_value {
    uint64_t u;
    uint8_t bytes[32];
    unsigned len;
};

extern const struct reg_desc reg_table[REG_COUNT];
extern const char *const reg_group_names[RG_GROUPS];

_Static_assert(REG_rip == 16 && REG_rflags == 17 && REG_gs == 23,
               "the first 24 rows are gdb's i386:x86-64 core registers, in its order");
_Static_assert(REG_COUNT == 127, "a row came or went: recount, and look at what prints tables");

/* By name, without '$', case ignored: names of rows, gdb's words for whole registers (pc, sp, fp,
 * k_gs_base), `gdtr` and `idtr` (their bases), and MSRs without "msr_". Narrower names are
 * reg_partial's. -1 when unknown. Any thread. */
int reg_by_name(const char *name);

/* A partial register: bits [low, low+width) of `id`. */
struct reg_part {
    int id;
    uint8_t low;
    uint16_t width;
};
/* True when `name` (case ignored) is a partial register (eax, ax, al, ah, r8d, r8w, r8b, spl, eip,
 * ip, eflags, flags, …) or a whole one. `sp` is the whole of RSP, as in gdb. Any thread. */
bool reg_partial(const char *name, struct reg_part *out);
/* The names reg_partial knows beside the rows' own, for completion; NULL past the end. */
const char *reg_alias_at(unsigned i);
/* The part's value in that of its register, whose low 64 bits are `whole`; for parts of at most 64
 * bits. Any thread. */
uint64_t reg_part_get(const struct reg_part *p, uint64_t whole);
/* `whole` with the part's bits changed to the low ones of `v`: writing eax keeps the upper half of
 * rax, as gdb does. For parts of at most 64 bits. Any thread. */
uint64_t reg_part_put(const struct reg_part *p, uint64_t whole, uint64_t v);

/* 0, or -ENODATA when the part was not fetched or the MSR does not exist here. x87, SSE and AVX
 * state that XSTATE_BV calls unused reads as its initial value (Intel SDM 1, 13.6). */
int reg_read(const struct vcpu_state *s, int id, struct reg_value *out);
/* Changes `s` only; -EINVAL with a reason in *why (static text, a clause that can follow "cannot
 * set cr0: ") for a value the register cannot hold, -ENODATA as reg_read. Marks nothing: the
 * caller writes the whole part back. Some writes reach further, as on the processor:
 *   cr0        EFER.LMA follows LME and PG
 *   cs … gs    in real and virtual-8086 mode a changed selector also sets base = selector * 16;
 *              in protected mode base, limit and attributes stay: write them too
 *   *_attr     P clear makes the segment unusable, P set usable
 *   st, xmm, ymm, mxcsr  set the bit in XSTATE_BV and give the rest of that state initial values
 * RIP takes any value, canonical or not: KVM_SET_REGS does, and the next entry faults. */
int reg_write(struct vcpu_state *s, int id, const struct reg_value *v, const char **why);
/* Sets .u, .bytes and .len; the value is cut to the register's width only by reg_write's check. */
struct reg_value reg_from_u64(int id, uint64_t u);
/* The same from `len` little-endian bytes; missing ones are 0, surplus ones ignored. */
struct reg_value reg_from_bytes(int id, const void *bytes, unsigned len);
/* "PF ZF IF IOPL=3": the set flags, lowest first, "+0x8000" for bits without a name; empty for
 * registers without flags. Cut to `cap`. Returns dst. */
const char *reg_flags_text(int id, uint64_t value, char *dst, unsigned cap);

/* The CPU mode the state is in. */
enum cpu_mode {
    MODE_REAL,
    MODE_V86,
    MODE_PROT16,
    MODE_PROT32,
    MODE_COMPAT16,
    MODE_COMPAT32,
    MODE_LONG64,
    CPU_MODES,
};
/* By CR0.PE, EFER.LMA, RFLAGS.VM and CS.L and .D (SDM 3, "Modes of Operation"). */
enum cpu_mode cpu_mode_of(const struct kvm_sregs *s, uint64_t rflags);
const char *cpu_mode_name(enum cpu_mode m);
/* 16, 32 or 64: the default code size there. */
unsigned cpu_mode_bits(enum cpu_mode m);
/* The same of code in `cs`, which may be another segment than the present one. */
unsigned cpu_code_bits(const struct kvm_sregs *s, const struct kvm_segment *cs);
/* Current privilege level: SS.DPL, which KVM keeps equal to it (also 3 in virtual-8086 mode); real
 * mode is 0 whatever the cached descriptor says. */
static inline unsigned cpu_cpl(const struct kvm_sregs *s)
{
    return s->cr0 & 1 ? s->ss.dpl : 0;
}

/* Indices of the M() rows, for vcpu_state.c. */
extern const uint32_t reg_msr_index[];
extern const unsigned reg_msr_count;

#endif
