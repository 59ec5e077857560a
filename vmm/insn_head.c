/*
 * Recognising a handful of opcodes at RIP.
 */
#include "vmm/insn_head.h"

#include "vmm/far.h"
#include "vmm/vcpu.h"

static bool is_prefix(uint8_t b)
{
    switch (b) {
    case 0x26:
    case 0x2e:
    case 0x36:
    case 0x3e:
    case 0x64:
    case 0x65:
    case 0x66:
    case 0x67:
    case 0xf0:
    case 0xf2:
    case 0xf3:
        return true;
    default:
        return false;
    }
}

/* ins, outs, movs, cmps, stos, lods, scas */
static bool is_string(uint8_t op)
{
    return (op >= 0x6c && op <= 0x6f) || (op >= 0xa4 && op <= 0xa7) || (op >= 0xaa && op <= 0xaf);
}

/* Returns the offset of the opcode. */
static unsigned take_prefixes(const struct vcpu *v, struct insn_head *h, unsigned *rexb)
{
    const uint8_t *b = h->b;
    unsigned i = 0;

    *rexb = 0;
    while (i < h->n && is_prefix(b[i])) {
        h->opsize |= b[i] == 0x66;
        h->locked |= b[i] == 0xf0;
        h->rep |= b[i] == 0xf2 || b[i] == 0xf3;
        i++;
    }
    if (i < h->n && far_is_64(v->sregs) && (b[i] & 0xf0) == 0x40) {
        h->rexw = b[i] >> 3 & 1;
        *rexb = b[i++] & 1;
    }
    return i;
}

/* The opcode is one of CC, CD, CE and F1. */
static void read_int(const struct vcpu *v, struct insn_head *h, unsigned i)
{
    uint8_t op = h->b[i];

    if (op == 0xcd && i + 1 >= h->n)
        return;
    if (op == 0xce && (!(v->regs->rflags & 0x800) || far_is_64(v->sregs)))
        return; /* into goes by; in 64-bit mode it is no instruction */
    h->special = SP_INT;
    h->icebp = op == 0xf1;
    h->is_int_n = op == 0xcd;
    h->vector = op == 0xcc ? 3 : op == 0xf1 ? 1 : op == 0xce ? 4 : h->b[i + 1];
    if (h->is_int_n)
        h->len = i + 2;
}

static void read_0f(struct insn_head *h, unsigned i)
{
    const uint8_t *b = h->b + i;
    unsigned n = h->n - i;

    if (n < 2)
        return;
    h->len = i + 2;
    if (b[1] == 0x05)
        h->special = SP_SYSCALL;
    else if (b[1] == 0x07)
        h->special = SP_SYSRET;
    else if (b[1] == 0x01 && n > 2 && b[2] == 0xf8) {
        h->special = SP_SWAPGS;
        h->len = i + 3;
    } else if (b[1] == 0x01)
        h->special = SP_IDT_INSN;
    else if (b[1] == 0xae && n > 2 && b[2] < 0xc0 && (b[2] >> 3 & 7) < 2)
        h->special = SP_FXSAVE;
}

void insn_head_read(struct vcpu *v, struct insn_head *h)
{
    const uint8_t *b = h->b;
    unsigned n, i, rexb;

    *h = (struct insn_head){.vector = -1, .ss_from = -1};
    h->n = (uint8_t)(n = vcpu_fetch(v, h->b));
    i = take_prefixes(v, h, &rexb);
    if (i >= n)
        return;
    h->opcode_at = (uint8_t)i;
    h->len = i + 1;
    h->locked |= b[i] == 0x86 || b[i] == 0x87;
    if (h->rep && is_string(b[i]))
        h->special = SP_REP;
    switch (b[i]) {
    case 0xf4:
        h->special = SP_HLT;
        break;
    case 0xcc:
    case 0xcd:
    case 0xce:
    case 0xf1:
        read_int(v, h, i);
        break;
    case 0xfb: /* sti */
    case 0x17: /* pop ss; no instruction in 64-bit mode */
        h->special = SP_SHADOW;
        break;
    case 0x8e:
        if (i + 1 < n && (b[i + 1] & 0xf8) == 0xd0) { /* mov reg, ss */
            h->special = SP_SHADOW;
            h->len = i + 2;
            h->ss_from = (int)(rexb << 3 | (b[i + 1] & 7));
        }
        break;
    case 0xcf:
        h->special = SP_IRET;
        break;
    case 0x9c:
        h->special = SP_PUSHF;
        break;
    case 0x9d:
        h->special = SP_POPF;
        break;
    case 0xcb:
        h->special = SP_RETF;
        break;
    case 0xca:
        if (i + 2 >= n)
            return;
        h->special = SP_RETF;
        h->imm = (uint16_t)(b[i + 1] | b[i + 2] << 8);
        h->len = i + 3;
        break;
    case 0x0f:
        read_0f(h, i);
        break;
    default:
        break;
    }
}
