/*
 * Operand addresses of an instruction on a vCPU.
 */
#include "debug/operands.h"

#include "vmm/vcpu.h"
#include "vmm/x86_bits.h"

/* The vCPU's registers as access_address wants them. */
static void operands_regs(const struct vcpu *v, struct access_regs *r)
{
    const struct kvm_regs *g = v->regs;
    const struct kvm_sregs *s = v->sregs;

    *r = (struct access_regs){
        .gpr = {g->rax, g->rcx, g->rdx, g->rbx, g->rsp, g->rbp, g->rsi, g->rdi, g->r8, g->r9,
                g->r10, g->r11, g->r12, g->r13, g->r14, g->r15},
        .base = {s->es.base, s->cs.base, s->ss.base, s->ds.base, s->fs.base, s->gs.base},
        .df = g->rflags >> 10 & 1,
        .is_long = (s->efer & EFER_LMA) && s->cs.l,
    };
}

bool operands_read(struct disasm *d, const struct vcpu *v, uint64_t linear, bool after,
                   struct operands *out)
{
    unsigned bits = cpu_mode_bits(cpu_mode_of(v->sregs, v->regs->rflags));
    struct access a[ACCESS_MAX];
    struct access_regs regs;
    struct walk_regs r;
    uint8_t bytes[15];
    size_t n;

    vcpu_walk_regs(v, &r);
    n = walk_read(&v->vm->mem, &r, linear, bytes, sizeof bytes);
    out->count = disasm_accesses(d, bits, linear - v->sregs->cs.base, bytes, n, a, &out->insn_len);
    if (out->count < 0)
        return false;
    operands_regs(v, &regs);
    for (int i = 0; i < out->count; i++) {
        out->at[i].linear = access_address(&a[i], &regs, after);
        out->at[i].len = a[i].size;
        out->at[i].read = a[i].read;
        out->at[i].write = a[i].write;
        out->at[i].is_repeated = a[i].is_repeated;
    }
    return true;
}

/* [linear, linear+len) within one page. */
static bool part_touches(const struct vcpu *v, uint64_t linear, unsigned part, uint64_t gpa,
                         unsigned len)
{
    struct walk_regs r;
    struct walk w;

    vcpu_walk_regs(v, &r);
    walk(&v->vm->mem, &r, linear, &w);
    return w.result == WALK_OK && w.gpa < gpa + len && gpa < w.gpa + part;
}

bool operands_touch(const struct operands *o, const struct vcpu *v, uint64_t gpa, unsigned len,
                    bool write)
{
    for (int i = 0; i < o->count; i++) {
        uint64_t at = o->at[i].linear;
        unsigned left = o->at[i].len;

        if (write ? !o->at[i].write : !o->at[i].read)
            continue;
        while (left) {
            unsigned room = PAGE_BYTES - (unsigned)(at & (PAGE_BYTES - 1));
            unsigned part = left < room ? left : room;

            if (part_touches(v, at, part, gpa, len))
                return true;
            at += part;
            left -= part;
        }
    }
    return false;
}
