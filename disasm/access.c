/*
 * Memory operands from Capstone's operands, and the stack traffic that it does not list.
 */
#include "disasm/access.h"

#include <string.h>

#include "disasm/disasm_int.h"
#include "disasm/flow.h"
#include "vmm/base/x.h"

/* ---- registers ------------------------------------------------------------------------------- */

static int8_t number_of(unsigned reg)
{
    static const uint16_t sized[][4] = {
        {X86_REG_RAX, X86_REG_EAX, X86_REG_AX},    {X86_REG_RCX, X86_REG_ECX, X86_REG_CX},
        {X86_REG_RDX, X86_REG_EDX, X86_REG_DX},    {X86_REG_RBX, X86_REG_EBX, X86_REG_BX},
        {X86_REG_RSP, X86_REG_ESP, X86_REG_SP},    {X86_REG_RBP, X86_REG_EBP, X86_REG_BP},
        {X86_REG_RSI, X86_REG_ESI, X86_REG_SI},    {X86_REG_RDI, X86_REG_EDI, X86_REG_DI},
        {X86_REG_R8, X86_REG_R8D, X86_REG_R8W},    {X86_REG_R9, X86_REG_R9D, X86_REG_R9W},
        {X86_REG_R10, X86_REG_R10D, X86_REG_R10W}, {X86_REG_R11, X86_REG_R11D, X86_REG_R11W},
        {X86_REG_R12, X86_REG_R12D, X86_REG_R12W}, {X86_REG_R13, X86_REG_R13D, X86_REG_R13W},
        {X86_REG_R14, X86_REG_R14D, X86_REG_R14W}, {X86_REG_R15, X86_REG_R15D, X86_REG_R15W},
    };

    for (size_t i = 0; reg != X86_REG_INVALID && i < ARRAY_LEN(sized); i++)
        if (sized[i][0] == reg || sized[i][1] == reg || sized[i][2] == reg)
            return (int8_t)i;
    return ACCESS_NONE;
}

static const uint16_t high_bytes[] = {X86_REG_AH, X86_REG_CH, X86_REG_DH, X86_REG_BH};

static bool is_high_byte(unsigned reg)
{
    return reg == X86_REG_AH || reg == X86_REG_CH || reg == X86_REG_DH || reg == X86_REG_BH;
}

/* Of whatever width; AH, CH, DH and BH belong to the first four. */
static int8_t gpr_of(unsigned reg)
{
    static const uint16_t bytes[] = {X86_REG_AL,   X86_REG_CL,   X86_REG_DL,   X86_REG_BL,
                                     X86_REG_SPL,  X86_REG_BPL,  X86_REG_SIL,  X86_REG_DIL,
                                     X86_REG_R8B,  X86_REG_R9B,  X86_REG_R10B, X86_REG_R11B,
                                     X86_REG_R12B, X86_REG_R13B, X86_REG_R14B, X86_REG_R15B};

    for (size_t i = 0; i < ARRAY_LEN(bytes); i++)
        if (bytes[i] == reg || (i < ARRAY_LEN(high_bytes) && high_bytes[i] == reg))
            return (int8_t)i;
    return number_of(reg);
}

static uint8_t segment_of(unsigned reg, int base)
{
    switch (reg) {
    case X86_REG_ES:
        return ACCESS_ES;
    case X86_REG_CS:
        return ACCESS_CS;
    case X86_REG_SS:
        return ACCESS_SS;
    case X86_REG_DS:
        return ACCESS_DS;
    case X86_REG_FS:
        return ACCESS_FS;
    case X86_REG_GS:
        return ACCESS_GS;
    default:
        return base == 4 || base == 5 ? ACCESS_SS : ACCESS_DS;
    }
}

/* ---- the stack ---------------------------------------------------------------------------------
 */

/* Pushes (negative) and pops, in words; 8 at once for pusha. Far transfers as within a ring. */
static int stack_words(unsigned id, unsigned bits)
{
    switch (id) {
    case X86_INS_LCALL:
        return -2;
    case X86_INS_RETF:
    case X86_INS_RETFQ:
        return 2;
    case X86_INS_IRET:
    case X86_INS_IRETD:
    case X86_INS_IRETQ:
        return bits == 64 ? 5 : 3;
    case X86_INS_PUSH:
    case X86_INS_PUSHF:
    case X86_INS_PUSHFD:
    case X86_INS_PUSHFQ:
    case X86_INS_CALL:
    case X86_INS_ENTER:
        return -1;
    case X86_INS_POP:
    case X86_INS_POPF:
    case X86_INS_POPFD:
    case X86_INS_POPFQ:
    case X86_INS_RET:
    case X86_INS_LEAVE:
        return 1;
    case X86_INS_PUSHAW:
    case X86_INS_PUSHAL:
        return -8;
    case X86_INS_POPAW:
    case X86_INS_POPAL:
        return 8;
    default:
        return 0;
    }
}

static unsigned word_size(const cs_insn *in, unsigned bits)
{
    bool small = in->detail->x86.prefix[2] == 0x66;
    bool is_far = in->id == X86_INS_LCALL || in->id == X86_INS_RETF || in->id == X86_INS_RETFQ ||
                  in->id == X86_INS_IRET || in->id == X86_INS_IRETD || in->id == X86_INS_IRETQ;

    if (bits == 64 && is_far) /* these do not grow by themselves */
        return in->detail->x86.rex & 8 ? 8 : small ? 2 : 4;
    if (in->id == X86_INS_CALL || in->id == X86_INS_RET)
        small = small && bits != 64;
    if (bits == 64)
        return small ? 2 : 8;
    return small == (bits == 32) ? 2 : 4;
}

static bool stack_access(const cs_insn *in, unsigned bits, struct access *a)
{
    int words = stack_words(in->id, bits);
    unsigned size = word_size(in, bits);
    int move = words * (int)size;

    if (!words)
        return false;
    *a = (struct access){.read = words > 0,
                         .write = words < 0,
                         .size = (uint16_t)(move < 0 ? -move : move),
                         .segment = ACCESS_SS,
                         .base = in->id == X86_INS_LEAVE ? 5 : 4,
                         .index = ACCESS_NONE,
                         .bit = ACCESS_NONE,
                         .addr_bits = (uint8_t)bits,
                         .disp = move < 0 ? move : 0,
                         .step = (int8_t)move};
    return true;
}

/* ---- operands ----------------------------------------------------------------------------------
 */

/* Areas whose size Capstone does not know: the legacy one, the least with a header, and words of
 * the x87. */
static unsigned area_bytes(const cs_insn *in, unsigned size)
{
    if (strstr(in->mnemonic, "fxsave") || strstr(in->mnemonic, "fxrstor"))
        return 512;
    if (strstr(in->mnemonic, "xsave") || strstr(in->mnemonic, "xrstor"))
        return 576;
    if (strstr(in->mnemonic, "fnsave") || strstr(in->mnemonic, "frstor"))
        return 94;
    if (strstr(in->mnemonic, "stsw") || strstr(in->mnemonic, "stcw") ||
        strstr(in->mnemonic, "fldcw"))
        return 2;
    return size ? size : 1;
}

static int8_t bit_of(const cs_insn *in, unsigned i)
{
    const cs_x86 *x = &in->detail->x86;
    bool by_bit = in->id == X86_INS_BT || in->id == X86_INS_BTS || in->id == X86_INS_BTR ||
                  in->id == X86_INS_BTC;

    if (!by_bit || i || x->op_count < 2 || x->operands[1].type != X86_OP_REG)
        return ACCESS_NONE;
    return gpr_of(x->operands[1].reg);
}

/* XLAT has no operand for Capstone. */
static bool xlat_access(const cs_insn *in, struct access *a)
{
    static const uint8_t override[] = {0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65};
    uint8_t prefix = in->detail->x86.prefix[1];

    if (in->id != X86_INS_XLATB)
        return false;
    *a = (struct access){.read = true,
                         .size = 1,
                         .segment = ACCESS_DS,
                         .base = 3,
                         .index = 0,
                         .index_bits = 8,
                         .scale = 1,
                         .bit = ACCESS_NONE,
                         .addr_bits = (uint8_t)(in->detail->x86.addr_size * 8)};
    for (size_t i = 0; i < ARRAY_LEN(override); i++)
        if (prefix == override[i])
            a->segment = (uint8_t)i;
    return true;
}

static void operand_access(const cs_insn *in, unsigned i, uint64_t next, uint32_t effects,
                           struct access *a)
{
    const cs_x86_op *op = &in->detail->x86.operands[i];
    const cs_x86 *x = &in->detail->x86;
    const x86_op_mem *m = &op->mem;
    bool is_string = flow_is_string(in);

    *a = (struct access){.size = (uint16_t)area_bytes(in, op->size),
                         .base = number_of(m->base),
                         .index = number_of(m->index),
                         .scale = (uint8_t)m->scale,
                         .disp = m->disp,
                         .bit = bit_of(in, i),
                         .addr_bits = (uint8_t)(x->addr_size * 8)};
    a->segment = segment_of(m->segment, a->base);
    if (m->base == X86_REG_RIP || m->base == X86_REG_EIP)
        a->disp += (int64_t)next;
    if (is_string) {
        a->is_string = true;
        a->is_repeated = effects & INSN_REP;
        a->step = (int8_t)a->size;
        if (a->base == 7)
            a->segment = ACCESS_ES;
        a->write = a->base == 7 && (effects & INSN_STORES);
        a->read = !a->write;
        return;
    }
    /* Where Capstone calls an operand read-only although it is written, flow.c knows better. */
    a->write = flow_access(in, i) & CS_AC_WRITE || (effects & INSN_STORES);
    a->read = flow_access(in, i) != CS_AC_WRITE;
    if (in->id == X86_INS_CALL || in->id == X86_INS_PUSH || in->id == X86_INS_JMP)
        a->write = false;
}

int disasm_accesses(struct disasm *d, unsigned bits, uint64_t addr, const uint8_t *bytes, size_t n,
                    struct access out[ACCESS_MAX], unsigned *len)
{
    const cs_insn *in = disasm_decode(d, bits, addr, bytes, n);
    struct insn effects = {.addr = addr};
    int count = 0;

    if (!in)
        return -1;
    *len = in->size;
    effects.len = (uint8_t)in->size;
    flow_of(in, bits, &effects);
    for (unsigned i = 0; i < in->detail->x86.op_count && count < ACCESS_MAX - 1; i++) {
        const cs_x86_op *op = &in->detail->x86.operands[i];

        if (op->type == X86_OP_MEM && (effects.effects & (INSN_LOADS | INSN_STORES)))
            operand_access(in, i, addr + in->size, effects.effects, &out[count++]);
    }
    count += xlat_access(in, &out[count]);
    count += stack_access(in, bits, &out[count]);
    return count;
}

static bool only_loads(unsigned id)
{
    static const uint16_t ids[] = {X86_INS_MOV,    X86_INS_MOVABS, X86_INS_MOVZX, X86_INS_MOVSX,
                                   X86_INS_MOVSXD, X86_INS_ADD,    X86_INS_ADC,   X86_INS_SUB,
                                   X86_INS_SBB,    X86_INS_AND,    X86_INS_OR,    X86_INS_XOR,
                                   X86_INS_CMP,    X86_INS_TEST};

    for (size_t i = 0; i < ARRAY_LEN(ids); i++)
        if (ids[i] == id)
            return true;
    return false;
}

static void find_target(const cs_insn *in, struct load *out)
{
    const cs_x86_op *op = in->detail->x86.operands;
    bool is_move = in->id == X86_INS_MOV || in->id == X86_INS_MOVABS || in->id == X86_INS_MOVZX ||
                   in->id == X86_INS_MOVSX || in->id == X86_INS_MOVSXD;

    out->into = ACCESS_NONE;
    if (!is_move || in->detail->x86.op_count != 2 || op[0].type != X86_OP_REG ||
        op[1].type != X86_OP_MEM)
        return;
    out->into = gpr_of(op[0].reg);
    out->low = is_high_byte(op[0].reg) ? 8 : 0;
    out->bits = (uint8_t)(op[0].size * 8);
    out->is_signed = in->id == X86_INS_MOVSX || in->id == X86_INS_MOVSXD;
}

bool disasm_load(struct disasm *d, unsigned bits, uint64_t addr, const uint8_t *bytes, size_t n,
                 struct load *out)
{
    struct access a[ACCESS_MAX];
    const cs_insn *in;

    if (disasm_accesses(d, bits, addr, bytes, n, a, &out->len) != 1 || a[0].write || !a[0].read ||
        a[0].is_string || a[0].size > 8)
        return false;
    in = disasm_decode(d, bits, addr, bytes, n);
    if (!in || !only_loads(in->id))
        return false;
    out->access = a[0];
    out->gprs = 0;
    for (unsigned i = 0; i < in->detail->x86.op_count; i++) {
        const cs_x86_op *op = &in->detail->x86.operands[i];
        int8_t reg = op->type == X86_OP_REG ? gpr_of(op->reg) : ACCESS_NONE;

        if (op->type == X86_OP_REG && reg == ACCESS_NONE)
            return false; /* a segment register */
        if (reg != ACCESS_NONE)
            out->gprs |= (uint16_t)(1u << reg);
    }
    find_target(in, out);
    return true;
}

/* Bytes from the operand to the one of `size` bytes that holds the bit. */
static uint64_t bit_offset(uint64_t bit, unsigned size)
{
    unsigned bits = size * 8;
    int64_t n = bits == 64 ? (int64_t)bit : bits == 32 ? (int32_t)bit : (int16_t)bit;

    return (uint64_t)((n >= 0 ? n / bits : -((bits - 1 - n) / bits)) * (int64_t)size);
}

uint64_t access_address(const struct access *a, const struct access_regs *r, bool after)
{
    uint64_t at = (uint64_t)a->disp;
    int64_t step = after ? a->step : 0;

    if (a->is_string && r->df)
        step = -step;
    if (a->base != ACCESS_NONE)
        at += r->gpr[a->base] - (uint64_t)step;
    if (a->index != ACCESS_NONE) {
        uint64_t index = r->gpr[a->index];

        at += (a->index_bits ? index & ((1ull << a->index_bits) - 1) : index) * a->scale;
    }
    if (a->bit != ACCESS_NONE)
        at += bit_offset(r->gpr[a->bit], a->size);
    if (a->addr_bits == 16)
        at &= 0xffff;
    else if (a->addr_bits == 32)
        at &= 0xffffffff;
    if (r->is_long && a->segment != ACCESS_FS && a->segment != ACCESS_GS)
        return at;
    at += r->base[a->segment];
    return r->is_long ? at : at & 0xffffffff;
}
