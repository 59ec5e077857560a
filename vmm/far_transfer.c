/*
 * Far calls, jumps and returns (SDM volume 2, CALL, JMP, RET, IRET). vCPU thread.
 */
#include "vmm/base/le.h"
#include "vmm/far.h"
#include "vmm/vcpu.h"
#include "vmm/x86_bits.h"

#define TYPE_TSS16  1
#define TYPE_GATE16 4
#define TYPE_TASK   5
#define TYPE_TSS32  9
#define TYPE_GATE32 12

/* ---- calls and jumps ------------------------------------------------------------------------- */

/* A far call or jump being made. */
struct call {
    bool is_call;
    uint64_t offset, next;
    unsigned size; /* of what is pushed */
};

static bool is_code(const struct descriptor *d)
{
    return d->seg.s && (d->seg.type & 8);
}

static bool is_conforming(const struct descriptor *d)
{
    return d->seg.type & 4;
}

static unsigned cpl_of(const struct far *f)
{
    return cpu_cpl(&f->sregs);
}

/* To code segment `d`, with the present privilege. */
static bool enter_same(struct far *f, struct descriptor *d, const struct call *c)
{
    uint64_t back[] = {f->sregs.cs.selector, c->next};

    if (!far_load_cs(f, d, cpl_of(f), c->offset))
        return false;
    return !c->is_call || far_push(f, back, 2, c->size, cpl_of(f), 0);
}

static bool to_code(struct far *f, struct descriptor *d, const struct call *c)
{
    unsigned cpl = cpl_of(f);

    if (is_conforming(d) ? d->seg.dpl > cpl : (d->selector & 3u) > cpl || d->seg.dpl != cpl)
        return far_fault(f, FAR_GP, d->selector);
    if (!d->seg.present)
        return far_fault(f, FAR_NP, d->selector);
    return enter_same(f, d, c);
}

/* Through a call gate to an inner ring: another stack, on which the outer one's place and the
 * parameters are. */
static bool enter_inner(struct far *f, struct descriptor *d, const struct call *c, unsigned params)
{
    uint64_t pushed[40] = {f->sregs.ss.selector, f->regs.rsp},
             back[] = {f->sregs.cs.selector, c->next};
    unsigned cpl = d->seg.dpl, n = 2;
    struct far outer = *f;
    bool lm = far_is_long(&f->sregs);

    if (params && !far_pop(&outer, pushed + n, params, c->size, 0))
        return false;
    /* The last one pushed there lies lowest, and is copied last. */
    for (unsigned i = 0; i < params / 2; i++) {
        uint64_t x = pushed[n + i];

        pushed[n + i] = pushed[n + params - 1 - i];
        pushed[n + params - 1 - i] = x;
    }
    n += params;
    pushed[n++] = back[0];
    pushed[n++] = back[1];
    if (!far_inner_stack(f, cpl, 0) || !far_load_cs(f, d, cpl, c->offset))
        return false;
    return far_push(f, pushed, n, c->size, cpl, lm ? 0 : f->sregs.ss.selector);
}

/* The gate's privilege against that of the program and of its selector. */
static bool gate_allowed(struct far *f, const struct descriptor *gate)
{
    if (gate->seg.dpl < cpl_of(f) || gate->seg.dpl < (gate->selector & 3u))
        return far_fault(f, FAR_GP, gate->selector);
    return gate->seg.present || far_fault(f, FAR_NP, gate->selector);
}

static bool to_call_gate(struct far *f, const struct descriptor *gate, const struct call *from)
{
    bool lm = far_is_long(&f->sregs), big = gate->seg.type == TYPE_GATE32;
    uint16_t selector = (uint16_t)le_load(gate->raw + 2, 2);
    unsigned params = lm ? 0 : gate->raw[4] & 31, cpl = cpl_of(f);
    struct call c = *from;
    struct descriptor d;

    if (!gate_allowed(f, gate))
        return false;
    c.size = lm ? 8 : big ? 4 : 2;
    c.offset = le_load(gate->raw, 2) | (big ? le_load(gate->raw + 6, 2) << 16 : 0);
    c.offset |= lm ? le_load(gate->raw + 8, 4) << 32 : 0;
    if (lm && (gate->raw[13] & 31)) /* what would be the type of a second descriptor */
        return far_fault(f, FAR_GP, gate->selector);
    if (!far_descriptor(f, selector, FAR_GP, &d))
        return false;
    if (!is_code(&d) || d.seg.dpl > cpl || (lm && (!d.seg.l || d.seg.db)))
        return far_fault(f, FAR_GP, selector);
    if (!c.is_call && !is_conforming(&d) && d.seg.dpl != cpl)
        return far_fault(f, FAR_GP, selector);
    if (!d.seg.present)
        return far_fault(f, FAR_NP, selector);
    if (!is_conforming(&d) && d.seg.dpl < cpl)
        return enter_inner(f, &d, &c, params);
    return enter_same(f, &d, &c);
}

static bool to_task(struct far *f, struct descriptor *d, const struct call *c)
{
    if (!d->seg.present)
        return far_fault(f, FAR_NP, d->selector);
    return far_task(f, d, c->is_call ? TASK_CALL : TASK_JMP, c->next);
}

static bool to_task_gate(struct far *f, const struct descriptor *gate, const struct call *c)
{
    uint16_t selector = (uint16_t)le_load(gate->raw + 2, 2);
    struct descriptor d;

    if (!gate_allowed(f, gate))
        return false;
    if (selector & 4)
        return far_fault(f, FAR_GP, selector);
    if (!far_descriptor(f, selector, FAR_GP, &d))
        return false;
    if (d.seg.s || (d.seg.type != TYPE_TSS16 && d.seg.type != TYPE_TSS32))
        return far_fault(f, FAR_GP, selector);
    return to_task(f, &d, c);
}

bool far_call(struct vcpu *v, uint16_t selector, uint64_t offset, unsigned size, uint64_t next,
              bool call, struct assist_event *raise)
{
    struct call c = {.is_call = call, .offset = offset, .next = next, .size = size};
    struct descriptor d;
    struct far f;
    bool lm, ok;

    far_begin(&f, v, raise);
    lm = far_is_long(&f.sregs);
    if (!far_descriptor(&f, selector, FAR_GP, &d))
        return false;
    if (d.seg.s) {
        ok = is_code(&d) && !(lm && d.seg.l && d.seg.db) ? to_code(&f, &d, &c)
                                                         : far_fault(&f, FAR_GP, selector);
    } else if (d.seg.type == TYPE_GATE32 || (d.seg.type == TYPE_GATE16 && !lm)) {
        ok = to_call_gate(&f, &d, &c);
    } else if (d.seg.type == TYPE_TASK && !lm) {
        return to_task_gate(&f, &d, &c);
    } else if ((d.seg.type == TYPE_TSS16 || d.seg.type == TYPE_TSS32) && !lm) {
        if (d.seg.dpl < cpl_of(&f) || d.seg.dpl < (selector & 3u))
            return far_fault(&f, FAR_GP, selector);
        return to_task(&f, &d, &c);
    } else {
        ok = far_fault(&f, FAR_GP, selector);
    }
    if (ok)
        far_commit(&f);
    return ok;
}

/* ---- returns --------------------------------------------------------------------------------- */

/* A popped code segment: the ring that it leads to may not be an inner one. */
static bool return_segment(struct far *f, uint16_t selector, struct descriptor *d)
{
    unsigned rpl = selector & 3;

    if (!far_descriptor(f, selector, FAR_GP, d))
        return false;
    if (!is_code(d) || rpl < cpl_of(f) || (is_conforming(d) ? d->seg.dpl > rpl : d->seg.dpl != rpl))
        return far_fault(f, FAR_GP, selector);
    return d->seg.present || far_fault(f, FAR_NP, selector);
}

/* A popped stack segment. It may be null where 64-bit code other than ring 3's is returned to. */
static bool return_stack(struct far *f, uint16_t selector, unsigned cpl, bool to_64)
{
    struct kvm_segment ss;

    if (!(selector & 0xfffc) && to_64 && cpl != 3) {
        f->sregs.ss = (struct kvm_segment){
            .selector = selector, .dpl = (uint8_t)cpl, .unusable = 1, .db = 1, .g = 1};
        return true;
    }
    if (!far_stack_segment(f, selector, cpl, FAR_GP, &ss))
        return false;
    f->sregs.ss = ss;
    return true;
}

/* To `cs:rip`, and `ss:rsp` where `stack` says so. */
static bool return_to(struct far *f, const uint64_t cs_rip[2], const uint64_t *stack)
{
    unsigned was = cpl_of(f), cpl = cs_rip[1] & 3;
    struct descriptor d;
    bool to_64;

    if (!return_segment(f, (uint16_t)cs_rip[1], &d))
        return false;
    to_64 = far_is_long(&f->sregs) && d.seg.l;
    if (stack && !return_stack(f, (uint16_t)stack[1], cpl, to_64))
        return false;
    if (!far_load_cs(f, &d, cpl, cs_rip[0]))
        return false;
    if (stack) {
        uint64_t mask = to_64 ? UINT64_MAX : f->sregs.ss.db ? 0xffffffff : 0xffff;

        f->regs.rsp = mask == 0xffff ? (f->regs.rsp & ~mask) | (stack[0] & mask) : stack[0] & mask;
    }
    if (cpl > was)
        far_drop_inner(f, cpl);
    return true;
}

bool far_return(struct vcpu *v, unsigned size, unsigned imm, struct assist_event *raise)
{
    uint64_t frame[2], stack[2];
    struct far f;
    bool outer;

    far_begin(&f, v, raise);
    if (!far_pop(&f, frame, 2, size, 0))
        return false;
    frame[1] &= 0xffff;
    outer = (frame[1] & 3) > cpl_of(&f);
    far_drop(&f, imm);
    if (outer && !far_pop(&f, stack, 2, size, 0))
        return false;
    if (!return_to(&f, frame, outer ? stack : NULL))
        return false;
    if (outer)
        far_drop(&f, imm);
    far_commit(&f);
    return true;
}

/* What IRET may change of the flags, by privilege and width (SDM volume 2, IRET). */
static uint64_t flags_after(const struct far *f, uint64_t image, unsigned size, unsigned cpl)
{
    uint64_t may = 0xdd5 | FAR_FLAG_NT;

    if (size > 2)
        may |= FAR_FLAG_RF | FAR_FLAG_AC | FAR_FLAG_ID;
    if (cpl <= (f->regs.rflags >> 12 & 3))
        may |= FAR_FLAG_IF;
    if (cpl == 0)
        may |= FAR_FLAG_IOPL | (size > 2 ? FAR_FLAG_VIF | FAR_FLAG_VIP : 0);
    return (f->regs.rflags & ~may) | (image & may) | 2;
}

/* Into virtual-8086 mode; `frame` holds EIP, CS and EFLAGS. */
static bool iret_to_v86(struct far *f, const uint64_t frame[3])
{
    uint64_t more[6]; /* ESP SS ES DS FS GS */

    if (!far_pop(f, more, 6, 4, 0))
        return false;
    if (frame[0] > 0xffff)
        return far_fault(f, FAR_GP, 0);
    f->regs.rip = frame[0];
    f->regs.rflags = (frame[2] & 0x3f7fd5) | 2;
    f->regs.rsp = more[0];
    f->sregs.cs = far_v86_segment((uint16_t)frame[1]);
    f->sregs.ss = far_v86_segment((uint16_t)more[1]);
    f->sregs.es = far_v86_segment((uint16_t)more[2]);
    f->sregs.ds = far_v86_segment((uint16_t)more[3]);
    f->sregs.fs = far_v86_segment((uint16_t)more[4]);
    f->sregs.gs = far_v86_segment((uint16_t)more[5]);
    return true;
}

/* Within virtual-8086 mode, where IOPL must be 3 (CR4.VME's way around that is not done). */
static bool iret_in_v86(struct far *f, unsigned size)
{
    uint64_t frame[3], kept = FAR_FLAG_IOPL | FAR_FLAG_VM | FAR_FLAG_VIF | FAR_FLAG_VIP;

    if ((f->regs.rflags & FAR_FLAG_IOPL) != FAR_FLAG_IOPL)
        return (f->sregs.cr4 & CR4_VME) && size == 2 ? false : far_fault(f, FAR_GP, 0);
    if (!far_pop(f, frame, 3, size, 0))
        return false;
    if (frame[0] > 0xffff)
        return far_fault(f, FAR_GP, 0);
    kept |= size == 2 ? 0xffff0000 : 0;
    f->regs.rip = frame[0];
    f->sregs.cs = far_v86_segment((uint16_t)frame[1]);
    f->regs.rflags = (f->regs.rflags & kept) | (frame[2] & 0x257fd5 & ~kept) | 2;
    return true;
}

/* To the task that the present one is nested in. */
static bool iret_task(struct far *f, uint64_t next)
{
    struct descriptor d;
    uint8_t link[2];

    if (far_is_long(&f->sregs))
        return far_fault(f, FAR_GP, 0);
    if (!far_read(f, f->sregs.tr.base, link, 2))
        return false;
    if (le_load(link, 2) & 4)
        return far_fault(f, FAR_TS, (unsigned)le_load(link, 2));
    if (!far_descriptor(f, (uint16_t)le_load(link, 2), FAR_TS, &d))
        return false;
    if (d.seg.s || (d.seg.type & ~8u) != (TYPE_TSS16 | 2)) /* a busy one */
        return far_fault(f, FAR_TS, d.selector);
    if (!d.seg.present)
        return far_fault(f, FAR_NP, d.selector);
    return far_task(f, &d, TASK_IRET, next);
}

static bool iret_protected(struct far *f, unsigned size)
{
    uint64_t frame[3], stack[2], flags;
    unsigned cpl = cpl_of(f);
    bool with_stack;

    if (!far_pop(f, frame, 3, size, 0))
        return false;
    frame[1] &= 0xffff;
    if ((frame[2] & FAR_FLAG_VM) && size == 4 && cpl == 0 && !far_is_long(&f->sregs))
        return iret_to_v86(f, frame);
    flags = flags_after(f, frame[2], size, cpl);
    with_stack = (frame[1] & 3) > cpl || far_is_64(&f->sregs);
    if (with_stack && !far_pop(f, stack, 2, size, 0))
        return false;
    if (!return_to(f, frame, with_stack ? stack : NULL))
        return false;
    f->regs.rflags = flags;
    return true;
}

bool far_iret(struct vcpu *v, unsigned size, uint64_t next, struct assist_event *raise)
{
    struct far f;
    bool ok;

    far_begin(&f, v, raise);
    if (f.regs.rflags & FAR_FLAG_VM)
        ok = iret_in_v86(&f, size);
    else if (f.regs.rflags & FAR_FLAG_NT)
        return iret_task(&f, next);
    else
        ok = iret_protected(&f, size);
    if (ok)
        far_commit(&f);
    return ok;
}
