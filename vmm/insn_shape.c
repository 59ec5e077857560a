/*
 * Prefixes, opcode map, ModRM. The assist calls it on vCPU threads.
 */
#include "vmm/insn_shape.h"

#include <stddef.h>
#include <string.h>

/* ---- reading --------------------------------------------------------------------------------- */

static int segment_prefix(uint8_t b)
{
    switch (b) {
    case 0x26:
        return 0;
    case 0x2e:
        return 1;
    case 0x36:
        return 2;
    case 0x3e:
        return 3;
    case 0x64:
        return 4;
    case 0x65:
        return 5;
    default:
        return -1;
    }
}

/* True when `b` is a legacy prefix, and takes note of it. */
static bool take_prefix(struct insn_shape *s, uint8_t b)
{
    int seg = segment_prefix(b);

    if (seg >= 0)
        s->seg = (int8_t)seg;
    else if (b == 0x66)
        s->opsize = true;
    else if (b == 0x67)
        s->addrsize = true;
    else if (b == 0xf0)
        s->lock = true;
    else if (b == 0xf2 || b == 0xf3)
        s->rep = b;
    else
        return false;
    return true;
}

/* C4, C5 and 62 are LDS, LES and BOUND outside 64-bit code unless what would be their ModRM names
 * registers. */
static enum insn_vex vex_kind(const struct insn_shape *s, uint8_t b, uint8_t next)
{
    if (s->bits != 64 && (next & 0xc0) != 0xc0)
        return VEX_NO;
    return b == 0xc5 ? VEX_2 : b == 0xc4 ? VEX_3 : b == 0x62 ? VEX_EVEX : VEX_NO;
}

/* The opcode's escape bytes; returns the offset of the opcode's last byte. */
static unsigned take_map(struct insn_shape *s, unsigned i)
{
    uint8_t b = s->b[i], next = s->b[i + 1];

    s->vex = vex_kind(s, b, next);
    switch (s->vex) {
    case VEX_2:
        s->map = 1;
        s->rex = (uint8_t)(0x40 | (next & 0x80 ? 0 : 4));
        s->vvvv = (uint8_t)(~next >> 3 & 15);
        return i + 2;
    case VEX_3:
    case VEX_EVEX:
        s->map = next & (s->vex == VEX_3 ? 31 : 7);
        s->rex = (uint8_t)(0x40 | (~next >> 5 & 7) | (s->b[i + 2] & 0x80 ? 8 : 0));
        s->vvvv = (uint8_t)(~s->b[i + 2] >> 3 & 15);
        return i + (s->vex == VEX_3 ? 3 : 4);
    case VEX_NO:
        break;
    }
    if (b != 0x0f)
        return i;
    if (next == 0x38 || next == 0x3a) {
        s->map = next == 0x38 ? 2 : 3;
        return i + 2;
    }
    s->map = 1;
    return i + 1;
}

/* POP to memory where ModRM.reg is 0; AMD's XOP, which no processor made today has, otherwise. */
#define POP_GROUP 0x8f

/* One-byte opcodes with a ModRM: the arithmetic of the first four rows, and by rows below. */
static bool plain_modrm(uint8_t o)
{
    return (o < 0x40 && (o & 7) < 4) || o == 0x69 || o == 0x6b || (o >= 0x80 && o <= 0x8b) ||
           o == 0x8d || o == POP_GROUP || o == 0xc0 || o == 0xc1 || o == 0xc6 || o == 0xc7 ||
           (o >= 0xd0 && o <= 0xd3) || o == 0xf6 || o == 0xf7 || o == 0xfe || o == 0xff;
}

static bool has_modrm(const struct insn_shape *s)
{
    uint8_t o = s->opcode;

    if (s->map >= 2)
        return true;
    if (s->map == 0)
        return (o >= 0xd8 && o <= 0xdf) || o == 0x62 || o == 0x63 || plain_modrm(o);
    /* Two-byte opcodes without ModRM. */
    return !((o >= 0x05 && o <= 0x0b) || o == 0x0e || (o >= 0x30 && o <= 0x37) || o == 0x77 ||
             (o >= 0x80 && o <= 0x8f) || (o >= 0xa0 && o <= 0xa2) || (o >= 0xa8 && o <= 0xaa) ||
             (o >= 0xc8 && o <= 0xcf));
}

/* Immediates of one-byte opcodes in 64-bit code. */
static uint8_t plain_immediate(const struct insn_shape *s)
{
    uint8_t o = s->opcode, word = s->opsize && !(s->rex & 8) ? 2 : 4;
    bool test = (s->modrm >> 3 & 7) < 2; /* of groups F6 and F7 */

    if (o < 0x40)
        return (o & 7) == 4 ? 1 : (o & 7) == 5 ? word : 0;
    if (o == 0x69 || o == 0x81 || o == 0xa9 || o == 0xc7)
        return word;
    if (o == 0x6b || o == 0x80 || o == 0x82 || o == 0x83 || o == 0xa8 || o == 0xc0 || o == 0xc1 ||
        o == 0xc6 || (o >= 0xb0 && o <= 0xb7))
        return 1;
    if (o >= 0xb8 && o <= 0xbf)
        return s->rex & 8 ? 8 : word;
    return !test ? 0 : o == 0xf6 ? 1 : o == 0xf7 ? word : 0;
}

static uint8_t immediate_bytes(const struct insn_shape *s)
{
    uint8_t o = s->opcode;

    if (s->map == 0 && s->bits != 64 && (o == 0x9a || o == 0xea)) /* a far pointer */
        return (s->bits == 16) == s->opsize ? 6 : 4;
    if (s->map == 0)
        return o == 0xc8 ? 3 : s->bits == 64 ? plain_immediate(s) : 0;
    if (s->map == 3)
        return 1;
    if (s->map == 1 && s->vex == VEX_NO && (o == 0xa4 || o == 0xac || o == 0xba))
        return 1;
    if (s->map == 1 && ((o >= 0x70 && o <= 0x73) || o == 0xc2 || (o >= 0xc4 && o <= 0xc6)))
        return 1;
    return 0;
}

unsigned insn_address_bits(const struct insn_shape *s)
{
    if (s->bits == 64)
        return s->addrsize ? 32 : 64;
    return (s->bits == 32) != s->addrsize ? 32 : 16;
}

bool insn_has_memory(const struct insn_shape *s)
{
    return s->modrm_at && s->modrm >> 6 != 3;
}

/* SIB and displacement bytes after the ModRM. */
static unsigned address_bytes(const struct insn_shape *s, unsigned *disp_bytes)
{
    unsigned mod = s->modrm >> 6, rm = s->modrm & 7, sib = 0;

    *disp_bytes = 0;
    if (mod == 3)
        return 0;
    if (insn_address_bits(s) == 16) {
        *disp_bytes = mod == 1 ? 1 : mod == 2 || rm == 6 ? 2 : 0;
        return *disp_bytes;
    }
    if (rm == 4) {
        sib = 1;
        if (mod == 0 && s->modrm_at + 1u < INSN_BYTES_MAX && (s->b[s->modrm_at + 1] & 7) == 5)
            *disp_bytes = 4;
    } else if (rm == 5 && mod == 0) {
        *disp_bytes = 4;
    }
    if (mod == 1)
        *disp_bytes = 1;
    else if (mod == 2)
        *disp_bytes = 4;
    return sib + *disp_bytes;
}

static int32_t load_disp(const uint8_t *b, unsigned n)
{
    uint32_t v = 0;

    for (unsigned i = 0; i < n; i++)
        v |= (uint32_t)b[i] << 8 * i;
    if (n == 1)
        return (int8_t)v;
    return n == 2 ? (int16_t)v : (int32_t)v;
}

bool insn_shape(struct insn_shape *s, unsigned bits, const uint8_t *bytes, unsigned n)
{
    unsigned i = 0, at, end, disp = 0;

    *s = (struct insn_shape){.bits = (uint8_t)bits, .seg = -1};
    if (n > INSN_BYTES_MAX)
        n = INSN_BYTES_MAX;
    memcpy(s->b, bytes, n);
    while (i < n && take_prefix(s, s->b[i]))
        i++;
    s->opcode_at = (uint8_t)i;
    if (i < n && bits == 64 && (s->b[i] & 0xf0) == 0x40)
        s->rex = s->b[i++];
    if (i + 1 > n || i + 4 > INSN_BYTES_MAX)
        return false;
    at = take_map(s, i);
    if (at >= n)
        return false;
    s->opcode = s->b[at];
    end = at + 1;
    if (has_modrm(s)) {
        if (end >= n)
            return false;
        s->modrm_at = (uint8_t)end;
        s->modrm = s->b[end];
        end += 1 + address_bytes(s, &disp);
        if (end > n)
            return false;
        s->disp = load_disp(s->b + end - disp, disp);
    }
    s->imm_len = immediate_bytes(s);
    s->len = (uint8_t)(end + s->imm_len);
    return s->len <= n;
}

/* ---- sorting --------------------------------------------------------------------------------- */

static enum insn_class classify_one_byte(const struct insn_shape *s)
{
    uint8_t o = s->opcode;

    if (o == 0x9b)
        return IC_FWAIT;
    if (o >= 0xd8 && o <= 0xdf)
        return IC_X87;
    if (o == 0xc8)
        return IC_ENTER;
    if (o == 0x27 || o == 0x2f || o == 0x37 || o == 0x3f)
        return s->bits == 64 ? IC_UNDEFINED : IC_BCD;
    if (o == 0xff && insn_has_memory(s) && ((s->modrm >> 3 & 7) == 3 || (s->modrm >> 3 & 7) == 5))
        return IC_FAR;
    if ((o == POP_GROUP && s->modrm >> 3 & 7) || (o == 0xfe && (s->modrm >> 3 & 7) > 1))
        return IC_UNDEFINED;
    if (s->bits == 64)
        return IC_NONE;
    if (o == 0x9a || o == 0xea)
        return IC_FAR;
    return o == 0x62 ? IC_BOUND : o == 0x63 ? IC_ARPL : IC_NONE;
}

/* 0F 01 with a register form: an opcode in the whole ModRM byte. */
static enum insn_class classify_group7(uint8_t modrm)
{
    switch (modrm) {
    case 0xc1: /* vmcall */
    case 0xd9: /* vmmcall */
        return IC_VMCALL;
    case 0xc8:
    case 0xc9:
    case 0xfa:
    case 0xfb:
        return IC_MONITOR;
    case 0xca:
    case 0xcb:
        return IC_SMAP;
    case 0xd0:
        return IC_XGETBV;
    case 0xf9:
        return IC_RDTSCP;
    case 0xfc:
        return IC_CACHE;
    default:
        return IC_NONE;
    }
}

static enum insn_class classify_groups(const struct insn_shape *s)
{
    unsigned reg = s->modrm >> 3 & 7;
    bool mem = insn_has_memory(s);

    switch (s->opcode) {
    case 0x00:
        return reg > 5 ? IC_UNDEFINED : reg > 3 ? IC_SEGMENT : IC_NONE;
    case 0x01:
        return mem ? IC_NONE : classify_group7(s->modrm);
    case 0xae:
        if (!mem)
            return IC_NONE; /* fences, rdfsbase and relatives: KVM knows them */
        if (s->rep)
            return IC_NONE;
        if (s->opsize)
            return reg == 6 || reg == 7 ? IC_CACHE : IC_NONE;
        if (reg == 0 || reg == 1 || reg == 4 || reg == 5 || reg == 6)
            return IC_XSAVE;
        return reg == 7 ? IC_CACHE : IC_SSE; /* ldmxcsr, stmxcsr */
    case 0xc7:
        if (!mem) /* rdpid; rdrand, rdseed */
            return s->rep == 0xf3 && reg == 7 ? IC_RDPID : reg >= 6 && !s->rep ? IC_BITS : IC_NONE;
        if (reg == 1)
            return IC_CX16;
        if (reg == 3 || reg == 5)
            return IC_XSAVE_SYSTEM;
        return reg == 4 ? IC_XSAVE : IC_UNDEFINED; /* 6 and 7: VMPTRLD, VMPTRST and relatives */
    default:
        return IC_NONE;
    }
}

static bool is_sse_opcode(uint8_t o)
{
    return (o >= 0x10 && o <= 0x17) || (o >= 0x28 && o <= 0x2f) || (o >= 0x50 && o <= 0x7f) ||
           (o >= 0xc2 && o <= 0xc6 && o != 0xc3) || (o >= 0xd0 && o <= 0xfe);
}

/* MMX: the packed-integer opcodes without a mandatory prefix, and EMMS. */
static bool is_mmx(const struct insn_shape *s)
{
    uint8_t o = s->opcode;

    if (s->opsize || s->rep)
        return false;
    return (o >= 0x60 && o <= 0x7f) || o == 0xc4 || o == 0xc5 || (o >= 0xd1 && o <= 0xfe);
}

/* Opcodes without a meaning on Intel's and AMD's processors, among them UD0, UD1 and UD2, at which
 * compilers and kernels trap on purpose. (Intel SDM 2, appendix A; AMD APM 3, appendix A.) */
static bool is_undefined(uint8_t o)
{
    return o == 0x04 || o == 0x0a || o == 0x0b || o == 0x0c || (o >= 0x24 && o <= 0x27) ||
           o == 0x36 || o == 0x39 || (o >= 0x3b && o <= 0x3f) || o == 0xa6 || o == 0xa7 ||
           o == 0xb9 || o == 0xff;
}

static enum insn_class classify_two_byte(const struct insn_shape *s)
{
    if (is_undefined(s->opcode))
        return IC_UNDEFINED;
    if (s->opcode >= 0x19 && s->opcode <= 0x1e) /* KVM knows 18, prefetches, and 1F */
        return IC_NOP;
    switch (s->opcode) {
    case 0x00:
    case 0x01:
    case 0xae:
    case 0xc7:
        return classify_groups(s);
    case 0x02:
    case 0x03:
        return IC_SEGMENT;
    case 0x0e:
        return IC_MMX;
    case 0x34:
        return IC_SYSENTER;
    case 0x35:
        return IC_SYSEXIT;
    case 0x78: /* vmread, vmwrite; with prefixes they are SSE4a's */
    case 0x79:
        return s->opsize || s->rep ? IC_SSE : IC_UNDEFINED;
    case 0xb8:
        return s->rep == 0xf3 ? IC_BITS : IC_NONE;
    case 0xbc:
    case 0xbd:
        return s->rep == 0xf3 ? IC_BITS : IC_NONE;
    default:
        return !is_sse_opcode(s->opcode) ? IC_NONE : is_mmx(s) ? IC_MMX : IC_SSE;
    }
}

static enum insn_class classify_38(const struct insn_shape *s)
{
    switch (s->opcode) {
    case 0x80: /* INVEPT, INVVPID */
    case 0x81:
    case 0x83:
        return IC_UNDEFINED;
    case 0x82:
        return IC_INVPCID;
    case 0xf0:
    case 0xf1:
    case 0xf6:
        return IC_BITS;
    case 0xf8:
    case 0xf9:
        return IC_CACHE;
    case 0xf5:
        return IC_NONE;
    default:
        return IC_SSE;
    }
}

static enum insn_class classify_vex(const struct insn_shape *s)
{
    uint8_t o = s->opcode;

    if (s->vex == VEX_EVEX)
        return IC_AVX512;
    if (s->map == 2 && (o == 0xf2 || o == 0xf3 || o == 0xf5 || o == 0xf6 || o == 0xf7))
        return IC_BITS;
    if (s->map == 3 && o == 0xf0)
        return IC_BITS;
    return s->map < 1 || s->map > 3 ? IC_UNDEFINED : IC_AVX;
}

enum insn_class insn_classify(const struct insn_shape *s)
{
    if (s->vex != VEX_NO)
        return classify_vex(s);
    switch (s->map) {
    case 0:
        return classify_one_byte(s);
    case 1:
        return classify_two_byte(s);
    case 2:
        return classify_38(s);
    default:
        return s->opcode == 0xf0 ? IC_NONE : IC_SSE;
    }
}

static bool plain_one_byte(uint8_t o, unsigned reg)
{
    if (o < 0x40)
        return (o & 7) < 6;
    if (o == 0xc6 || o == 0xc7)
        return reg == 0;
    if (o == 0xfe || o == 0xff)
        return reg < 2; /* the rest of FF are jumps and PUSH */
    return o == 0x63 || o == 0x69 || o == 0x6b || o == 0x80 || o == 0x81 ||
           (o >= 0x83 && o <= 0x8b) || o == 0x8d || (o >= 0x90 && o <= 0x99) || o == 0xa8 ||
           o == 0xa9 || (o >= 0xb0 && o <= 0xc1) || (o >= 0xd0 && o <= 0xd3) || o == 0xf6 ||
           o == 0xf7;
}

static bool plain_two_byte(uint8_t o, unsigned reg)
{
    return o == 0x18 || o == 0x1f || (o >= 0x40 && o <= 0x4f) || (o >= 0x90 && o <= 0x9f) ||
           (o >= 0xa3 && o <= 0xa5) || (o >= 0xab && o <= 0xad) || o == 0xaf || o == 0xb0 ||
           o == 0xb1 || o == 0xb3 || o == 0xb6 || o == 0xb7 || (o == 0xba && reg >= 4) ||
           (o >= 0xbb && o <= 0xc1) || (o >= 0xc8 && o <= 0xcf);
}

bool insn_is_plain(const struct insn_shape *s)
{
    unsigned reg = s->modrm >> 3 & 7;

    if (s->bits != 64 || s->vex != VEX_NO || s->rep || s->map > 1)
        return false;
    return s->map ? plain_two_byte(s->opcode, reg) : plain_one_byte(s->opcode, reg);
}

bool insn_rip_relative(const struct insn_shape *s)
{
    return s->bits == 64 && s->modrm_at && (s->modrm & 0xc7) == 5;
}

/* ---- operands -------------------------------------------------------------------------------- */

uint64_t *insn_reg(struct kvm_regs *r, unsigned number)
{
    static const size_t at[16] = {
        offsetof(struct kvm_regs, rax), offsetof(struct kvm_regs, rcx),
        offsetof(struct kvm_regs, rdx), offsetof(struct kvm_regs, rbx),
        offsetof(struct kvm_regs, rsp), offsetof(struct kvm_regs, rbp),
        offsetof(struct kvm_regs, rsi), offsetof(struct kvm_regs, rdi),
        offsetof(struct kvm_regs, r8),  offsetof(struct kvm_regs, r9),
        offsetof(struct kvm_regs, r10), offsetof(struct kvm_regs, r11),
        offsetof(struct kvm_regs, r12), offsetof(struct kvm_regs, r13),
        offsetof(struct kvm_regs, r14), offsetof(struct kvm_regs, r15),
    };

    return (uint64_t *)(void *)((char *)r + at[number & 15]);
}

static uint64_t value_of(const struct kvm_regs *r, unsigned number)
{
    return *insn_reg((struct kvm_regs *)(uintptr_t)r, number);
}

static uint64_t offset16(const struct insn_shape *s, const struct kvm_regs *r, bool *stack)
{
    unsigned rm = s->modrm & 7, mod = s->modrm >> 6;
    uint64_t base[8] = {r->rbx + r->rsi, r->rbx + r->rdi, r->rbp + r->rsi, r->rbp + r->rdi,
                        r->rsi,          r->rdi,          r->rbp,          r->rbx};

    if (mod == 0 && rm == 6)
        return (uint16_t)s->disp;
    *stack = rm == 2 || rm == 3 || rm == 6;
    return (uint16_t)(base[rm] + (uint64_t)s->disp);
}

static uint64_t offset_sib(const struct insn_shape *s, const struct kvm_regs *r, bool *stack)
{
    uint8_t sib = s->b[s->modrm_at + 1];
    unsigned base = (sib & 7) | (s->rex & 1u) << 3, index = (sib >> 3 & 7) | (s->rex & 2u) << 2;
    uint64_t at = (uint64_t)s->disp;

    if ((sib & 7) != 5 || s->modrm >> 6) {
        at += value_of(r, base);
        *stack = base == 4 || base == 5;
    }
    if (index != 4)
        at += value_of(r, index) << (sib >> 6);
    return at;
}

uint64_t insn_offset(const struct insn_shape *s, const struct kvm_regs *r, int *seg)
{
    unsigned rm = s->modrm & 7, bits = insn_address_bits(s);
    bool stack = false;
    uint64_t at;

    if (bits == 16) {
        at = offset16(s, r, &stack);
    } else if (rm == 4) {
        at = offset_sib(s, r, &stack);
    } else if (rm == 5 && s->modrm >> 6 == 0) {
        at = (uint64_t)s->disp + (s->bits == 64 ? r->rip + s->len : 0);
    } else {
        at = (uint64_t)s->disp + value_of(r, rm | (s->rex & 1u) << 3);
        stack = (rm | (s->rex & 1u) << 3) == 5 || (rm | (s->rex & 1u) << 3) == 4;
    }
    *seg = s->seg >= 0 ? s->seg : stack ? 2 : 3;
    return bits == 32 ? (uint32_t)at : bits == 16 ? (uint16_t)at : at;
}

uint64_t insn_linear(const struct insn_shape *s, const struct kvm_regs *r,
                     const struct kvm_sregs *sr)
{
    const struct kvm_segment *const segs[6] = {&sr->es, &sr->cs, &sr->ss,
                                               &sr->ds, &sr->fs, &sr->gs};
    int seg;
    uint64_t at = insn_offset(s, r, &seg);

    if (s->bits == 64)
        return at + (seg >= 4 ? segs[seg]->base : 0);
    return (uint32_t)(at + segs[seg]->base);
}

/* ---- writing --------------------------------------------------------------------------------- */

/* A register that the instruction itself does not name, nor use silently; with R15 and R14 the
 * ModRM needs neither SIB nor displacement. */
static int free_register(const struct insn_shape *s)
{
    for (int r = 15; r >= 14; r--)
        if ((int)((s->modrm >> 3 & 7) | (s->rex & 4u) << 1) != r && s->vvvv != r)
            return r;
    return 11;
}

/* In 16-bit code 66 selects 32-bit operands. For instructions where it is part of the opcode it
 * means the same everywhere. */
static bool want_opsize(const struct insn_shape *s)
{
    enum insn_class c = insn_classify(s);
    bool is_adx = s->map == 2 && s->opcode == 0xf6;

    if (s->bits == 16 && s->vex == VEX_NO && (c == IC_X87 || (c == IC_BITS && !is_adx)))
        return !s->opsize;
    return s->opsize;
}

static unsigned put_vex(const struct insn_shape *s, uint8_t *out, unsigned rex)
{
    const uint8_t *v = s->b + s->opcode_at;
    uint8_t rxb = (uint8_t)(~rex << 5 & 0xe0);

    if (s->vex == VEX_EVEX) {
        out[0] = 0x62;
        out[1] = (uint8_t)((v[1] & 0x1f) | rxb);
        out[2] = v[2];
        out[3] = v[3];
        return 4;
    }
    out[0] = 0xc4;
    out[1] = (uint8_t)(s->map | rxb);
    out[2] = s->vex == VEX_3 ? v[2] : v[1] & 0x7f; /* C5 keeps vvvv, L and pp there; W is 0 */
    return 3;
}

unsigned insn_rewrite(const struct insn_shape *s, uint8_t out[INSN_BYTES_MAX + 4], int *holder)
{
    bool mem = insn_has_memory(s);
    unsigned rex = s->rex & 15u, n = 0;

    *holder = mem ? free_register(s) : -1;
    if (mem && s->vex == VEX_EVEX)
        return 0; /* its displacements are scaled by the operand's size */
    if (mem)
        rex = (rex & 12u) | 1u; /* the operand's index is gone, its base is R8 to R15 */
    if (s->lock)
        out[n++] = 0xf0;
    if (s->rep)
        out[n++] = s->rep;
    if (want_opsize(s))
        out[n++] = 0x66;
    if (s->vex != VEX_NO) {
        if (s->map < 1 || s->map > 3)
            return 0;
        n += put_vex(s, out + n, rex);
    } else {
        if (rex || s->rex)
            out[n++] = (uint8_t)(0x40 | rex);
        if (s->map)
            out[n++] = 0x0f;
        if (s->map >= 2)
            out[n++] = s->map == 2 ? 0x38 : 0x3a;
    }
    out[n++] = s->opcode;
    if (s->modrm_at)
        out[n++] = mem ? (uint8_t)((s->modrm & 0x38) | (*holder & 7)) : s->modrm;
    if (n + s->imm_len > INSN_BYTES_MAX)
        return 0;
    memcpy(out + n, s->b + s->len - s->imm_len, s->imm_len);
    return n + s->imm_len;
}
