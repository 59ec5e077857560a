/*
 * Task switches by hardware (SDM volume 3, "Task Management", "Task Switching"). vCPU thread.
 */
#include "vmm/base/le.h"
#include "vmm/far.h"
#include "vmm/insn_shape.h"
#include "vmm/vcpu.h"
#include "vmm/x86_bits.h"

/* Where a task state keeps things: 386 and 286. Only the first has CR3, FS, GS. */
struct layout {
    unsigned min_limit, ip, word; /* `word`: bytes of a register; they follow IP and flags */
    unsigned segments, count, ldt;
    unsigned save_from, save_to; /* what is written when a task is left */
};

static const struct layout layouts[2] = {
    {.min_limit = 0x2b,
     .ip = 0x0e,
     .word = 2,
     .segments = 0x22,
     .count = 4,
     .ldt = 0x2a,
     .save_from = 0x0e,
     .save_to = 0x2a},
    {.min_limit = 0x67,
     .ip = 0x20,
     .word = 4,
     .segments = 0x48,
     .count = 6,
     .ldt = 0x60,
     .save_from = 0x20,
     .save_to = 0x60},
};
#define TSS_CR3   0x1c
#define TSS_BYTES 0x68

static const struct layout *layout_of(unsigned type)
{
    return &layouts[type >> 3 & 1];
}

/* Segment registers in the order of the task state. */
static struct kvm_segment *segment(struct kvm_sregs *s, unsigned i)
{
    struct kvm_segment *const order[6] = {&s->es, &s->cs, &s->ss, &s->ds, &s->fs, &s->gs};

    return order[i];
}

/* ---- leaving --------------------------------------------------------------------------------- */

static bool save(struct far *f, enum task_how how, uint64_t next)
{
    const struct layout *l = layout_of(f->sregs.tr.type);
    uint64_t at = f->sregs.tr.base, flags = f->regs.rflags;
    uint8_t t[TSS_BYTES] = {0};

    if (f->sregs.tr.limit < l->min_limit)
        return far_fault(f, FAR_TS, f->sregs.tr.selector);
    if (how == TASK_IRET)
        flags &= ~(uint64_t)FAR_FLAG_NT;
    if (!far_read(f, at + l->save_from, t + l->save_from, l->save_to - l->save_from))
        return false;
    le_store(t + l->ip, l->word, next);
    le_store(t + l->ip + l->word, l->word, flags);
    for (unsigned i = 0; i < 8; i++)
        le_store(t + l->ip + (2 + i) * l->word, l->word, *insn_reg(&f->regs, i));
    for (unsigned i = 0; i < l->count; i++)
        le_store(t + l->segments + i * l->word, 2, segment(&f->sregs, i)->selector);
    return far_write(f, at + l->save_from, t + l->save_from, l->save_to - l->save_from);
}

/* ---- arriving: faults are the new task's from here on ---------------------------------------- */

static bool load_ldt(struct far *f, uint16_t selector)
{
    struct descriptor d;

    f->sregs.ldt = (struct kvm_segment){.selector = selector, .type = 2, .unusable = 1};
    if (!(selector & 0xfffc))
        return true;
    if (selector & 4)
        return far_fault(f, FAR_TS, selector);
    if (!far_descriptor(f, selector, FAR_TS, &d))
        return false;
    if (d.seg.s || d.seg.type != 2 || !d.seg.present)
        return far_fault(f, FAR_TS, selector);
    f->sregs.ldt = d.seg;
    return true;
}

static bool load_code(struct far *f, uint16_t selector, unsigned cpl)
{
    bool conforming;
    struct descriptor d;

    if (!far_descriptor(f, selector, FAR_TS, &d))
        return false;
    conforming = d.seg.type & 4;
    if (!d.seg.s || !(d.seg.type & 8) || (conforming ? d.seg.dpl > cpl : d.seg.dpl != cpl))
        return far_fault(f, FAR_TS, selector);
    if (!d.seg.present)
        return far_fault(f, FAR_NP, selector);
    if (!far_accessed(f, &d))
        return false;
    f->sregs.cs = d.seg;
    return true;
}

static bool load_data(struct far *f, uint16_t selector, unsigned cpl, struct kvm_segment *out)
{
    struct descriptor d;
    bool conforming;

    *out = (struct kvm_segment){.selector = selector, .unusable = 1};
    if (!(selector & 0xfffc))
        return true;
    if (!far_descriptor(f, selector, FAR_TS, &d))
        return false;
    conforming = (d.seg.type & 12) == 12;
    /* Data, or code that can be read. */
    if (!d.seg.s || (d.seg.type & 10) == 8 ||
        (!conforming && (d.seg.dpl < cpl || d.seg.dpl < (selector & 3u))))
        return far_fault(f, FAR_TS, selector);
    if (!d.seg.present)
        return far_fault(f, FAR_NP, selector);
    if (!far_accessed(f, &d))
        return false;
    *out = d.seg;
    return true;
}

/* Selectors are in the registers already, without what they stand for. */
static bool load_segments(struct far *f, uint16_t ldt)
{
    unsigned cpl = f->sregs.cs.selector & 3;
    struct kvm_segment ss;

    if (!load_ldt(f, ldt))
        return false;
    if (f->regs.rflags & FAR_FLAG_VM) {
        for (unsigned i = 0; i < 6; i++)
            *segment(&f->sregs, i) = far_v86_segment(segment(&f->sregs, i)->selector);
        return true;
    }
    f->sregs.ss.dpl = (uint8_t)cpl; /* KVM keeps the privilege level there */
    if (!load_code(f, f->sregs.cs.selector, cpl) ||
        !far_stack_segment(f, f->sregs.ss.selector, cpl, FAR_TS, &ss))
        return false;
    f->sregs.ss = ss;
    for (unsigned i = 0; i < 6; i++)
        if (i != 1 && i != 2 &&
            !load_data(f, segment(&f->sregs, i)->selector, cpl, segment(&f->sregs, i)))
            return false;
    return f->regs.rip <= f->sregs.cs.limit || far_fault(f, FAR_GP, 0);
}

/* The general registers, flags and bare selectors of the new task. */
static void load_plain(struct far *f, const struct layout *l, const uint8_t *t)
{
    f->regs.rip = le_load(t + l->ip, l->word);
    f->regs.rflags = (le_load(t + l->ip + l->word, l->word) & 0x3f7fd5) | 2;
    for (unsigned i = 0; i < 8; i++) {
        uint64_t *r = insn_reg(&f->regs, i), x = le_load(t + l->ip + (2 + i) * l->word, l->word);

        *r = l->word == 2 ? (*r & 0xffff0000u) | x : x;
    }
    for (unsigned i = 0; i < 6; i++) {
        uint16_t selector = i < l->count ? (uint16_t)le_load(t + l->segments + i * l->word, 2) : 0;

        *segment(&f->sregs, i) = (struct kvm_segment){.selector = selector, .unusable = 1};
    }
}

/* Both descriptors' busy bits and the way back. */
static bool mark(struct far *f, struct descriptor *d, enum task_how how)
{
    uint16_t old = f->sregs.tr.selector;
    struct descriptor was;
    uint8_t link[2];

    if (how == TASK_JMP || how == TASK_IRET) {
        if (!far_descriptor(f, old, FAR_TS, &was) || !far_busy(f, &was, false))
            return false;
    } else {
        le_store(link, 2, old);
        if (!far_write(f, d->seg.base, link, 2))
            return false;
    }
    return how == TASK_IRET || far_busy(f, d, true);
}

bool far_task(struct far *f, struct descriptor *d, enum task_how how, uint64_t next)
{
    const struct layout *l = layout_of(d->seg.type);
    struct vcpu *v = f->v;
    uint8_t t[TSS_BYTES];
    bool ok;

    f->regs = *v->regs;
    if (d->seg.limit < l->min_limit)
        return far_fault(f, FAR_TS, d->selector);
    if (!far_read(f, d->seg.base, t, l->min_limit + 1) || !save(f, how, next) || !mark(f, d, how))
        return false;
    load_plain(f, l, t);
    if (how == TASK_CALL || how == TASK_EVENT)
        f->regs.rflags |= FAR_FLAG_NT;
    f->sregs.tr = d->seg;
    f->sregs.tr.type |= 2;
    f->sregs.cr0 |= CR0_TS;
    if (l->word == 4 && (f->sregs.cr0 & CR0_PG))
        f->sregs.cr3 = le_load(t + TSS_CR3, 4);
    far_commit(f); /* what fails from here on fails in the new task, by its tables */
    ok = load_segments(f, (uint16_t)le_load(t + l->ldt, 2));
    far_commit(f);
    return ok;
}
