/*
 * Effects of an instruction by Capstone's id and operands. Capstone's own groups are used only
 * where they hold: its "privileged" group also has iret, vmcall and `mov ds`, and lacks rdmsr.
 */
#include "disasm/flow.h"

#include <string.h>

#include "vmm/base/x.h"

static const struct {
    uint16_t id;
    uint32_t effects;
} effects[] = {
    {X86_INS_CALL, INSN_CALL},
    {X86_INS_LCALL, INSN_CALL | INSN_FAR},
    {X86_INS_RET, INSN_RET},
    {X86_INS_RETF, INSN_RET | INSN_FAR},
    {X86_INS_RETFQ, INSN_RET | INSN_FAR},
    {X86_INS_JMP, INSN_JMP},
    {X86_INS_LJMP, INSN_JMP | INSN_FAR},
    {X86_INS_JCXZ, INSN_JCC},
    {X86_INS_JECXZ, INSN_JCC},
    {X86_INS_JRCXZ, INSN_JCC},
    {X86_INS_LOOP, INSN_JCC},
    {X86_INS_LOOPE, INSN_JCC},
    {X86_INS_LOOPNE, INSN_JCC},
    {X86_INS_JA, INSN_JCC},
    {X86_INS_JAE, INSN_JCC},
    {X86_INS_JB, INSN_JCC},
    {X86_INS_JBE, INSN_JCC},
    {X86_INS_JE, INSN_JCC},
    {X86_INS_JNE, INSN_JCC},
    {X86_INS_JG, INSN_JCC},
    {X86_INS_JGE, INSN_JCC},
    {X86_INS_JL, INSN_JCC},
    {X86_INS_JLE, INSN_JCC},
    {X86_INS_JO, INSN_JCC},
    {X86_INS_JNO, INSN_JCC},
    {X86_INS_JP, INSN_JCC},
    {X86_INS_JNP, INSN_JCC},
    {X86_INS_JS, INSN_JCC},
    {X86_INS_JNS, INSN_JCC},
    {X86_INS_INT, INSN_INT},
    {X86_INS_INT1, INSN_INT},
    {X86_INS_INT3, INSN_INT},
    {X86_INS_INTO, INSN_INT},
    {X86_INS_IRET, INSN_IRET | INSN_FAR},
    {X86_INS_IRETD, INSN_IRET | INSN_FAR},
    {X86_INS_IRETQ, INSN_IRET | INSN_FAR},
    {X86_INS_SYSCALL, INSN_SYSCALL | INSN_FAR},
    {X86_INS_SYSENTER, INSN_SYSCALL | INSN_FAR},
    {X86_INS_SYSRET, INSN_SYSRET | INSN_FAR | INSN_PRIV},
    {X86_INS_SYSEXIT, INSN_SYSRET | INSN_FAR | INSN_PRIV},
    {X86_INS_HLT, INSN_HLT | INSN_PRIV},
    {X86_INS_IN, INSN_IO},
    {X86_INS_OUT, INSN_IO},
    {X86_INS_INSB, INSN_IO | INSN_STORES},
    {X86_INS_INSW, INSN_IO | INSN_STORES},
    {X86_INS_INSD, INSN_IO | INSN_STORES},
    {X86_INS_OUTSB, INSN_IO | INSN_LOADS},
    {X86_INS_OUTSW, INSN_IO | INSN_LOADS},
    {X86_INS_OUTSD, INSN_IO | INSN_LOADS},
    {X86_INS_CLI, INSN_PRIV},
    {X86_INS_STI, INSN_PRIV},
    {X86_INS_CLTS, INSN_PRIV},
    {X86_INS_CLAC, INSN_PRIV},
    {X86_INS_STAC, INSN_PRIV},
    {X86_INS_INVD, INSN_PRIV},
    {X86_INS_WBINVD, INSN_PRIV},
    {X86_INS_INVLPG, INSN_PRIV},
    {X86_INS_INVLPGA, INSN_PRIV},
    {X86_INS_INVPCID, INSN_PRIV},
    {X86_INS_LGDT, INSN_PRIV},
    {X86_INS_LIDT, INSN_PRIV},
    {X86_INS_LLDT, INSN_PRIV},
    {X86_INS_LTR, INSN_PRIV},
    {X86_INS_LMSW, INSN_PRIV},
    {X86_INS_RDMSR, INSN_PRIV},
    {X86_INS_WRMSR, INSN_PRIV},
    {X86_INS_SWAPGS, INSN_PRIV},
    {X86_INS_XSETBV, INSN_PRIV},
    {X86_INS_MONITOR, INSN_PRIV},
    {X86_INS_MWAIT, INSN_PRIV},
    {X86_INS_RSM, INSN_PRIV},
    {X86_INS_VMXON, INSN_PRIV},
    {X86_INS_VMXOFF, INSN_PRIV},
    {X86_INS_VMLAUNCH, INSN_PRIV},
    {X86_INS_VMRESUME, INSN_PRIV},
    {X86_INS_VMPTRLD, INSN_PRIV},
    {X86_INS_VMPTRST, INSN_PRIV},
    {X86_INS_VMCLEAR, INSN_PRIV},
    {X86_INS_VMREAD, INSN_PRIV},
    {X86_INS_VMWRITE, INSN_PRIV},
    {X86_INS_INVEPT, INSN_PRIV},
    {X86_INS_INVVPID, INSN_PRIV},
    {X86_INS_VMRUN, INSN_PRIV},
    {X86_INS_VMLOAD, INSN_PRIV},
    {X86_INS_VMSAVE, INSN_PRIV},
    {X86_INS_CLGI, INSN_PRIV},
    {X86_INS_STGI, INSN_PRIV},
    {X86_INS_SKINIT, INSN_PRIV},
    /* Capstone calls their memory operand read-only. */
    {X86_INS_CMPXCHG, INSN_STORES},
    {X86_INS_CMPXCHG8B, INSN_STORES},
    {X86_INS_CMPXCHG16B, INSN_STORES},
    {X86_INS_XADD, INSN_STORES},
    {X86_INS_XCHG, INSN_STORES},
    {X86_INS_BTS, INSN_STORES},
    {X86_INS_BTR, INSN_STORES},
    {X86_INS_BTC, INSN_STORES},
};

/* Their memory operand is an address, or a hint. */
static const uint16_t touches_nothing[] = {
    X86_INS_LEA,        X86_INS_NOP,         X86_INS_INVLPG,     X86_INS_INVLPGA,
    X86_INS_PREFETCH,   X86_INS_PREFETCHNTA, X86_INS_PREFETCHT0, X86_INS_PREFETCHT1,
    X86_INS_PREFETCHT2, X86_INS_PREFETCHW,   X86_INS_CLFLUSH,    X86_INS_CLFLUSHOPT,
    X86_INS_CLWB,
};

static bool is_string(unsigned id)
{
    switch (id) {
    case X86_INS_INSB:
    case X86_INS_INSW:
    case X86_INS_INSD:
    case X86_INS_OUTSB:
    case X86_INS_OUTSW:
    case X86_INS_OUTSD:
    case X86_INS_MOVSB:
    case X86_INS_MOVSW:
    case X86_INS_MOVSD:
    case X86_INS_MOVSQ:
    case X86_INS_STOSB:
    case X86_INS_STOSW:
    case X86_INS_STOSD:
    case X86_INS_STOSQ:
    case X86_INS_LODSB:
    case X86_INS_LODSW:
    case X86_INS_LODSD:
    case X86_INS_LODSQ:
    case X86_INS_CMPSB:
    case X86_INS_CMPSW:
    case X86_INS_CMPSD:
    case X86_INS_CMPSQ:
    case X86_INS_SCASB:
    case X86_INS_SCASW:
    case X86_INS_SCASD:
    case X86_INS_SCASQ:
        return true;
    default:
        return false;
    }
}

/* movsd and cmpsd are also SSE instructions, whose f2 prefix is part of the opcode; the opcodes of
 * string instructions are 6c to 6f and a4 to af. */
bool flow_is_string(const cs_insn *in)
{
    unsigned row = in->detail->x86.opcode[0] >> 4;

    return is_string(in->id) && (row == 0x6 || row == 0xa);
}

static bool is_repeated(const cs_insn *in)
{
    const cs_x86 *x = &in->detail->x86;

    return flow_is_string(in) && (x->prefix[0] == 0xf3 || x->prefix[0] == 0xf2);
}

static bool is_control_or_debug(unsigned reg)
{
    return (reg >= X86_REG_CR0 && reg <= X86_REG_CR15) ||
           (reg >= X86_REG_DR0 && reg <= X86_REG_DR15);
}

/* Their first operand is only written, though Capstone 4 often calls it read. */
static bool is_store(const char *mnemonic)
{
    static const char *const stems[] = {
        "mov",   "vmov",  "fst",   "fist",  "fnst",   "fbst",  "pextr",    "vpextr",   "extrac",
        "vextr", "stmxc", "vstmx", "fxsav", "fnsave", "xsave", "vmaskmov", "vpmaskmov"};

    for (size_t i = 0; i < ARRAY_LEN(stems); i++)
        if (!strncmp(mnemonic, stems[i], strlen(stems[i])))
            return true;
    return false;
}

unsigned flow_access(const cs_insn *in, unsigned i)
{
    const cs_x86_op *op = &in->detail->x86.operands[i];

    if (in->id == X86_INS_TEST || in->id == X86_INS_BT)
        return CS_AC_READ;
    if (i == 0 && op->type == X86_OP_MEM && is_store(in->mnemonic))
        return CS_AC_WRITE;
    return op->access;
}

static uint32_t access_of(const cs_insn *in)
{
    const cs_x86 *x = &in->detail->x86;
    unsigned id = in->id;
    uint32_t e = 0;

    for (size_t i = 0; i < ARRAY_LEN(touches_nothing); i++)
        if (touches_nothing[i] == id)
            return 0;
    for (unsigned i = 0; i < x->op_count; i++) {
        const cs_x86_op *op = &x->operands[i];

        if (op->type != X86_OP_MEM)
            continue;
        if (flow_access(in, i) & CS_AC_READ)
            e |= INSN_LOADS;
        if (flow_access(in, i) & CS_AC_WRITE)
            e |= INSN_STORES;
        if (op->access == CS_AC_INVALID && !is_string(id))
            e |= INSN_LOADS | INSN_STORES;
    }
    return e;
}

static bool has_memory(const cs_x86 *x)
{
    for (unsigned i = 0; i < x->op_count; i++)
        if (x->operands[i].type == X86_OP_MEM)
            return true;
    return false;
}

static uint32_t effects_of(const cs_insn *in)
{
    const cs_x86 *x = &in->detail->x86;
    uint32_t e = access_of(in);

    for (size_t i = 0; i < ARRAY_LEN(effects); i++)
        if (effects[i].id == in->id)
            e |= effects[i].effects;
    if (!has_memory(x))
        e &= ~(uint32_t)(INSN_LOADS | INSN_STORES);
    if (in->id == X86_INS_MOV)
        for (unsigned i = 0; i < x->op_count; i++)
            if (x->operands[i].type == X86_OP_REG && is_control_or_debug(x->operands[i].reg))
                e |= INSN_PRIV;
    if (is_repeated(in))
        e |= INSN_REP;
    return e;
}

/* Capstone counts from `addr` and then cuts to the operand size; in 16-bit code that loses the
 * upper half of a linear address, so the distance is taken back out. */
static uint64_t near_target(const cs_x86_op *op, unsigned bits, const struct insn *out)
{
    uint64_t next = out->addr + out->len, v = (uint64_t)op->imm;

    if (bits == 16 && op->size == 2)
        return next + (uint64_t)(int64_t)(int16_t)(uint16_t)(v - next);
    return bits == 64 ? v : v & 0xffffffffu;
}

static void find_target(const cs_x86 *x, unsigned bits, struct insn *out)
{
    const cs_x86_op *op = x->operands;

    if (!(out->effects & (INSN_CALL | INSN_JMP | INSN_JCC)))
        return;
    if (x->op_count == 1 && op[0].type == X86_OP_IMM && !(out->effects & INSN_FAR)) {
        out->has_target = true;
        out->target = near_target(&op[0], bits, out);
    }
    /* Selector and offset: with 16 bits each, only the mode tells where that is. */
    if (x->op_count == 2 && op[0].type == X86_OP_IMM && op[1].type == X86_OP_IMM &&
        op[1].size == 4) {
        out->has_target = true;
        out->target = (uint64_t)op[1].imm & 0xffffffffu;
    }
}

static bool segment_is_flat(unsigned segment, unsigned bits)
{
    if (segment == X86_REG_INVALID || segment == X86_REG_DS)
        return true;
    return bits == 64 && segment != X86_REG_FS && segment != X86_REG_GS;
}

static void find_memory(const cs_x86 *x, unsigned bits, struct insn *out)
{
    for (unsigned i = 0; i < x->op_count; i++) {
        const x86_op_mem *m = &x->operands[i].mem;

        if (x->operands[i].type != X86_OP_MEM || m->index != X86_REG_INVALID ||
            !segment_is_flat(m->segment, bits))
            continue;
        if (m->base == X86_REG_RIP || m->base == X86_REG_EIP) {
            out->has_mem_abs = true;
            out->mem_abs = out->addr + out->len + (uint64_t)m->disp;
        } else if (m->base == X86_REG_INVALID) {
            out->has_mem_abs = true;
            out->mem_abs = (uint64_t)m->disp;
        }
        if (bits == 16)
            out->mem_abs &= 0xffff;
        else if (bits == 32 || m->base == X86_REG_EIP)
            out->mem_abs &= 0xffffffffu;
    }
}

void flow_of(const cs_insn *in, unsigned bits, struct insn *out)
{
    const cs_x86 *x = &in->detail->x86;

    out->effects = effects_of(in);
    find_target(x, bits, out);
    find_memory(x, bits, out);
}
