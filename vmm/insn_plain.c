/*
 * A table of the common integer instructions, and a look at the one operand in memory that they may
 * have: its segment's limit, its page's rights, and that RAM is behind it.
 */
#include "vmm/insn_plain.h"

#include <string.h>

#include "vmm/insn_head.h"
#include "vmm/insn_shape.h"
#include "vmm/vcpu.h"
#include "vmm/x86_bits.h"

/* No operand here is longer; an access that close to a page's or segment's end is not plain. */
#define OPERAND_MAX 8

#define LEA 0x8d

/* What an opcode has; 0: not in the table. */
enum {
    OP_BARE = 1, /* nothing but itself: registers only */
    OP_MODRM = 2,
    OP_IMM8 = 4,
    OP_IMM = 8, /* 2 or 4 bytes, by the operand size */
    OP_JUMP = 16,
    OP_STACK = 32, /* one slot of the stack is read or written */
    OP_NOT64 = 64, /* another instruction, or none, in 64-bit code */
    OP_GROUP = 128 /* ModRM.reg decides: group_is_plain */
};

#define ALU(o)                                                                                     \
    [o] = OP_MODRM, [(o) + 1] = OP_MODRM, [(o) + 2] = OP_MODRM, [(o) + 3] = OP_MODRM,              \
    [(o) + 4] = OP_BARE | OP_IMM8, [(o) + 5] = OP_BARE | OP_IMM

/* clang-format off */
static const uint8_t one_byte[256] = {
    ALU(0x00), ALU(0x08), ALU(0x10), ALU(0x18), ALU(0x20), ALU(0x28), ALU(0x30), ALU(0x38),
    [0x40 ... 0x4f] = OP_BARE | OP_NOT64,
    [0x50 ... 0x5f] = OP_BARE | OP_STACK,
    [0x68] = OP_BARE | OP_IMM | OP_STACK, [0x6a] = OP_BARE | OP_IMM8 | OP_STACK,
    [0x69] = OP_MODRM | OP_IMM, [0x6b] = OP_MODRM | OP_IMM8,
    [0x70 ... 0x7f] = OP_BARE | OP_IMM8 | OP_JUMP,
    [0x80] = OP_MODRM | OP_IMM8, [0x81] = OP_MODRM | OP_IMM, [0x83] = OP_MODRM | OP_IMM8,
    [0x84 ... 0x8b] = OP_MODRM, [LEA] = OP_MODRM,
    [0x90 ... 0x99] = OP_BARE,
    [0xa8] = OP_BARE | OP_IMM8, [0xa9] = OP_BARE | OP_IMM,
    [0xb0 ... 0xb7] = OP_BARE | OP_IMM8, [0xb8 ... 0xbf] = OP_BARE | OP_IMM,
    [0xc0 ... 0xc1] = OP_MODRM | OP_IMM8, [0xd0 ... 0xd3] = OP_MODRM,
    [0xc6] = OP_MODRM | OP_IMM8 | OP_GROUP, [0xc7] = OP_MODRM | OP_IMM | OP_GROUP,
    [0xeb] = OP_BARE | OP_IMM8 | OP_JUMP,
    [0xe0 ... 0xe3] = OP_BARE | OP_IMM8 | OP_JUMP,
    [0xe9] = OP_BARE | OP_IMM | OP_JUMP,
    [0xe8] = OP_BARE | OP_IMM | OP_JUMP | OP_STACK,
    [0xf5] = OP_BARE, [0xf8 ... 0xf9] = OP_BARE, [0xfc ... 0xfd] = OP_BARE,
    [0xf6 ... 0xf7] = OP_MODRM | OP_GROUP, [0xfe ... 0xff] = OP_MODRM | OP_GROUP,
};

static const uint8_t two_byte[256] = {
    [0x1f] = OP_MODRM, [0x40 ... 0x4f] = OP_MODRM, [0x80 ... 0x8f] = OP_BARE | OP_IMM | OP_JUMP,
    [0x90 ... 0x9f] = OP_MODRM, [0xaf] = OP_MODRM, [0xb6 ... 0xb7] = OP_MODRM,
    [0xbe ... 0xbf] = OP_MODRM,
};
/* clang-format on */

/* What ModRM.reg chooses: mov; test, not, neg, mul, imul; inc, dec. */
static bool group_is_plain(uint8_t opcode, unsigned reg)
{
    switch (opcode) {
    case 0xc6:
    case 0xc7:
        return reg == 0;
    case 0xf6:
    case 0xf7:
        return reg >= 2 && reg <= 5; /* test has an immediate besides; 6 and 7 divide */
    default:
        return reg <= 1;
    }
}

struct plain {
    const struct vcpu *v;
    struct insn_shape s; /* only what insn_offset reads */
    bool long64, paged;
    uint64_t code_gpa; /* page of the first byte */
    bool near_code;    /* data may be in a page of the code */
};

static bool page_is_plain(struct plain *p, uint64_t linear, bool fetch)
{
    const struct kvm_sregs *sr = p->v->sregs;
    const struct slot_page *trap;
    struct walk_regs r;
    struct walk w = {.gpa = linear};

    if (p->paged) {
        vcpu_walk_regs(p->v, &r);
        walk(&p->v->vm->mem, &r, linear, &w);
        if (w.result != WALK_OK || (fetch ? !w.executable : !w.writable) ||
            (w.user && (sr->cr4 & (fetch ? CR4_SMEP : CR4_SMAP))))
            return false;
    }
    trap = slots_page(&p->v->vm->slots, w.gpa);
    if (trap && (!fetch || trap->trap != SLOT_READ_ONLY)) /* the access leaves the guest */
        return false;
    if (fetch)
        p->code_gpa = w.gpa / PAGE_BYTES;
    else
        p->near_code |= w.gpa / PAGE_BYTES == p->code_gpa;
    return mem_ptr(&p->v->vm->mem, w.gpa, 1) != NULL;
}

/* `len` bytes that begin at `offset` of a segment, read and written. */
static bool data_is_plain(struct plain *p, const struct kvm_segment *seg, bool fs_gs,
                          uint64_t offset)
{
    uint64_t linear = offset + (p->long64 && !fs_gs ? 0 : seg->base);

    if (!p->long64) {
        linear &= UINT32_MAX;
        if (seg->unusable || !seg->present || !(seg->type & 2) || offset > UINT32_MAX ||
            offset + OPERAND_MAX - 1 > seg->limit)
            return false;
        /* Expand-down data; and code, which protected mode does not write. */
        if ((seg->type & 0xc) == 4 || ((seg->type & 8) && (p->v->sregs->cr0 & CR0_PE)))
            return false;
    }
    if ((linear & (PAGE_BYTES - 1)) > PAGE_BYTES - OPERAND_MAX)
        return false;
    return page_is_plain(p, linear, false);
}

static bool stack_is_plain(struct plain *p)
{
    const struct kvm_segment *ss = &p->v->sregs->ss;
    uint64_t rsp = p->v->regs->rsp;

    if (!p->long64)
        rsp &= ss->db ? UINT32_MAX : UINT16_MAX;
    return rsp >= OPERAND_MAX && data_is_plain(p, ss, false, rsp - OPERAND_MAX) &&
           data_is_plain(p, ss, false, rsp);
}

static bool operand_is_plain(struct plain *p)
{
    const struct kvm_sregs *sr = p->v->sregs;
    const struct kvm_segment *segs[] = {&sr->es, &sr->cs, &sr->ss, &sr->ds, &sr->fs, &sr->gs};
    uint64_t offset;
    int seg;

    if (!insn_has_memory(&p->s))
        return true;
    offset = insn_offset(&p->s, p->v->regs, &seg);
    return seg >= 0 && seg < 6 && data_is_plain(p, segs[seg], seg >= 4, offset);
}

/* ModRM, SIB and displacement at `i`; the offset behind them, or 0. */
static unsigned take_operand(struct plain *p, const struct insn_head *h, unsigned i)
{
    unsigned mod, rm, disp = 0;
    struct insn_shape *s = &p->s;

    if (i >= h->n)
        return 0;
    s->modrm_at = (uint8_t)i;
    s->modrm = h->b[i++];
    mod = s->modrm >> 6;
    rm = s->modrm & 7;
    if (mod == 3)
        return i;
    if (insn_address_bits(s) == 16) {
        disp = mod == 1 ? 1 : mod == 2 || rm == 6 ? 2 : 0;
    } else {
        disp = mod == 1 ? 1 : mod == 2 || rm == 5 ? 4 : 0;
        if (rm == 4) {
            if (i >= h->n)
                return 0;
            disp = mod == 0 && (h->b[i] & 7) == 5 ? 4 : disp;
            i++;
        }
    }
    if (i + disp > h->n)
        return 0;
    for (unsigned k = 0; k < disp; k++)
        s->disp |= (int32_t)((uint32_t)h->b[i + k] << 8 * k);
    if (disp == 1)
        s->disp = (int8_t)s->disp;
    else if (disp == 2)
        s->disp = (int16_t)s->disp;
    return i + disp;
}

static void take_prefixes(struct insn_shape *s, const struct insn_head *h)
{
    static const uint8_t seg[] = {0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65};

    for (unsigned i = 0; i < h->opcode_at; i++) {
        for (unsigned k = 0; k < sizeof seg; k++)
            if (h->b[i] == seg[k])
                s->seg = (int8_t)k;
        s->addrsize |= h->b[i] == 0x67;
    }
    if (h->opcode_at && s->bits == 64 && (h->b[h->opcode_at - 1] & 0xf0) == 0x40)
        s->rex = h->b[h->opcode_at - 1];
}

/* The row of the opcode, and where what follows it begins. */
static unsigned opcode_of(const struct insn_head *h, uint8_t *opcode, unsigned *at, bool *escaped)
{
    unsigned i = h->opcode_at;

    *escaped = i < h->n && h->b[i] == 0x0f;
    i += *escaped;
    if (i >= h->n)
        return 0;
    *opcode = h->b[i];
    *at = i + 1;
    return *escaped ? two_byte[*opcode] : one_byte[*opcode];
}

static unsigned immediate_bytes(const struct plain *p, const struct insn_head *h, unsigned row,
                                uint8_t opcode)
{
    bool wide = p->s.bits == 16 ? h->opsize : !h->opsize;

    if (row & OP_IMM8)
        return 1;
    if (!(row & OP_IMM))
        return 0;
    if (h->rexw && opcode >= 0xb8 && opcode <= 0xbf)
        return 8;
    return wide || h->rexw ? 4 : 2;
}

/* All of its bytes are within the segment and in one page, which ring 0 executes. */
static bool fetch_is_plain(struct plain *p, unsigned len)
{
    const struct kvm_segment *cs = &p->v->sregs->cs;
    uint64_t rip = p->v->regs->rip, linear = cs->base + rip;

    if (!p->long64 && (rip > UINT32_MAX || rip + len > cs->limit))
        return false;
    return linear % PAGE_BYTES + len <= PAGE_BYTES && page_is_plain(p, linear, true);
}

/* The target of a near jump: within the segment, canonical. */
static bool jump_is_plain(const struct plain *p, const struct insn_head *h)
{
    uint64_t rip = p->v->regs->rip;

    if (p->long64)
        return !h->opsize && (rip >> 46 == 0 || rip >> 46 == UINT64_MAX >> 46);
    return !h->opsize && p->v->sregs->cs.limit >= (p->s.bits == 16 ? UINT16_MAX : UINT32_MAX);
}

bool insn_plain(struct vcpu *v, const struct insn_head *h, unsigned *falls)
{
    struct plain p = {.v = v, .s.seg = -1};
    unsigned row, at = 0, end;
    uint8_t opcode = 0;
    bool escaped;

    *falls = 0;
    p.long64 = (v->sregs->efer & EFER_LMA) && v->sregs->cs.l;
    p.paged = v->sregs->cr0 & CR0_PG;
    p.s.bits = p.long64 ? 64 : v->sregs->cs.db ? 32 : 16;
    row = opcode_of(h, &opcode, &at, &escaped);
    if (!row || h->special != SP_NONE || h->rep || h->locked || (p.long64 && (row & OP_NOT64)) ||
        (v->regs->rflags & RFLAGS_TF) || cpu_cpl(v->sregs))
        return false;
    memcpy(p.s.b, h->b, sizeof p.s.b);
    take_prefixes(&p.s, h);
    end = row & OP_MODRM ? take_operand(&p, h, at) : at;
    if (!end || ((row & OP_GROUP) && !group_is_plain(opcode, p.s.modrm >> 3 & 7)))
        return false;
    end += row & (OP_IMM | OP_IMM8) ? immediate_bytes(&p, h, row, escaped ? 0 : opcode) : 0;
    p.s.len = (uint8_t)end;
    if (end > h->n || !fetch_is_plain(&p, end) || ((row & OP_JUMP) && !jump_is_plain(&p, h)) ||
        ((row & OP_STACK) && !stack_is_plain(&p)))
        return false;
    if (opcode == LEA && !escaped ? !insn_has_memory(&p.s) : !operand_is_plain(&p))
        return false;
    *falls = (row & OP_JUMP) || p.near_code ? 0 : end;
    return true;
}
