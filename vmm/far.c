/*
 * Descriptors, privilege and stacks of far transfers (far.h). vCPU thread.
 */
#include "vmm/far.h"

#include "vmm/base/le.h"
#include "vmm/guest_access.h"
#include "vmm/vcpu.h"

#define PUSHES_MAX 40 /* a call gate copies 31 parameters */

void far_begin(struct far *f, struct vcpu *v, struct assist_event *raise)
{
    f->v = v;
    f->regs = *v->regs;
    f->sregs = *v->sregs;
    if (v->idt_hidden)
        f->sregs.idt.limit = v->idt_limit_real;
    f->raise = raise;
    f->ext = 0;
    *raise = (struct assist_event){.vector = -1};
}

void far_commit(struct far *f)
{
    if (f->v->idt_hidden)
        f->sregs.idt.limit = f->v->sregs->idt.limit;
    f->sregs.cr2 = f->v->sregs->cr2;
    *f->v->regs = f->regs;
    *f->v->sregs = f->sregs;
    vcpu_dirty(f->v, VS_REGS | VS_SREGS);
}

bool far_fault(struct far *f, int vector, unsigned selector)
{
    *f->raise =
        (struct assist_event){.vector = vector, .has_ec = true, .ec = (selector & 0xfffc) | f->ext};
    return false;
}

bool far_read(struct far *f, uint64_t linear, void *dst, size_t len)
{
    return guest_read_as(f->v, GUEST_SUPERVISOR | GUEST_IMPLICIT, linear, dst, len, f->raise);
}

bool far_write(struct far *f, uint64_t linear, const void *src, size_t len)
{
    return guest_write_as(f->v, GUEST_SUPERVISOR | GUEST_IMPLICIT | GUEST_TOLD, linear, src, len,
                          f->raise);
}

/* ---- descriptors ----------------------------------------------------------------------------- */

static void parse(struct descriptor *d)
{
    const uint8_t *b = d->raw;
    struct kvm_segment *s = &d->seg;

    *s = (struct kvm_segment){.selector = d->selector,
                              .base = le_load(b + 2, 3) | (uint64_t)b[7] << 24,
                              .limit = (uint32_t)(le_load(b, 2) | (b[6] & 15u) << 16),
                              .type = b[5] & 15,
                              .s = b[5] >> 4 & 1,
                              .dpl = b[5] >> 5 & 3,
                              .present = b[5] >> 7,
                              .avl = b[6] >> 4 & 1,
                              .l = b[6] >> 5 & 1,
                              .db = b[6] >> 6 & 1,
                              .g = b[6] >> 7};
    if (s->g)
        s->limit = s->limit << 12 | 0xfff;
    if (!s->s)
        s->base |= le_load(b + 8, 4) << 32;
}

/* The table of a selector: where it begins and how long it is; false: there is no LDT. */
static bool table(const struct kvm_sregs *s, uint16_t selector, uint64_t *base, uint32_t *limit)
{
    *base = selector & 4 ? s->ldt.base : s->gdt.base;
    *limit = selector & 4 ? s->ldt.limit : s->gdt.limit;
    return !(selector & 4) || (!s->ldt.unusable && s->ldt.present);
}

bool far_descriptor(struct far *f, uint16_t selector, int vector, struct descriptor *d)
{
    uint32_t limit;
    uint64_t base;

    *d = (struct descriptor){.selector = selector};
    if (!(selector & 0xfffc))
        return far_fault(f, vector, 0);
    if (!table(&f->sregs, selector, &base, &limit) || (selector | 7u) > limit)
        return far_fault(f, vector, selector);
    d->at = base + (selector & 0xfff8u);
    if (!far_read(f, d->at, d->raw, 8))
        return false;
    if (far_is_long(&f->sregs) && !(d->raw[5] & 0x10)) {
        if ((selector | 15u) > limit)
            return far_fault(f, vector, selector);
        if (!far_read(f, d->at + 8, d->raw + 8, 8))
            return false;
    }
    parse(d);
    return true;
}

static bool put_type(struct far *f, struct descriptor *d, unsigned type)
{
    if (d->seg.type == type)
        return true;
    d->seg.type = (uint8_t)type;
    d->raw[5] = (uint8_t)((d->raw[5] & 0xf0) | type);
    return far_write(f, d->at + 5, &d->raw[5], 1);
}

bool far_accessed(struct far *f, struct descriptor *d)
{
    return put_type(f, d, d->seg.type | 1u);
}

bool far_busy(struct far *f, struct descriptor *d, bool busy)
{
    return put_type(f, d, (d->seg.type & ~2u) | (busy ? 2u : 0));
}

bool far_load_cs(struct far *f, struct descriptor *d, unsigned cpl, uint64_t rip)
{
    bool is_64 = far_is_long(&f->sregs) && d->seg.l;

    if (is_64 ? (uint64_t)((int64_t)(rip << 16) >> 16) != rip : rip > d->seg.limit)
        return far_fault(f, FAR_GP, 0);
    if (!far_accessed(f, d))
        return false;
    f->sregs.cs = d->seg;
    f->sregs.cs.selector = (uint16_t)((d->selector & 0xfffc) | cpl);
    f->regs.rip = rip;
    return true;
}

/* ---- stacks ---------------------------------------------------------------------------------- */

bool far_stack_segment(struct far *f, uint16_t selector, unsigned cpl, int vector,
                       struct kvm_segment *out)
{
    struct descriptor d;

    if (!far_descriptor(f, selector, vector, &d))
        return false;
    /* Writable data of that very privilege. */
    if ((selector & 3u) != cpl || d.seg.dpl != cpl || !d.seg.s || (d.seg.type & 10) != 2)
        return far_fault(f, vector, selector);
    if (!d.seg.present)
        return far_fault(f, FAR_SS, selector);
    if (!far_accessed(f, &d))
        return false;
    *out = d.seg;
    return true;
}

/* The null stack segment of an inner ring in long mode; KVM keeps the privilege level in it. */
static struct kvm_segment null_stack(unsigned cpl)
{
    return (struct kvm_segment){
        .selector = (uint16_t)cpl, .dpl = (uint8_t)cpl, .unusable = 1, .db = 1, .g = 1};
}

static bool inner_stack64(struct far *f, unsigned cpl, unsigned ist)
{
    unsigned at = ist ? 28 + ist * 8 : 4 + cpl * 8;
    uint8_t raw[8];

    if (at + 7 > f->sregs.tr.limit)
        return far_fault(f, FAR_TS, f->sregs.tr.selector);
    if (!far_read(f, f->sregs.tr.base + at, raw, 8))
        return false;
    f->regs.rsp = le_load(raw, 8);
    if (cpl != cpu_cpl(&f->sregs))
        f->sregs.ss = null_stack(cpl);
    return true;
}

bool far_inner_stack(struct far *f, unsigned cpl, unsigned ist)
{
    bool big = f->sregs.tr.type & 8;
    unsigned at = big ? 4 + cpl * 8 : 2 + cpl * 4, n = big ? 6 : 4;
    struct kvm_segment ss;
    uint8_t raw[6];

    if (far_is_long(&f->sregs))
        return inner_stack64(f, cpl, ist);
    if (at + n - 1 > f->sregs.tr.limit)
        return far_fault(f, FAR_TS, f->sregs.tr.selector);
    if (!far_read(f, f->sregs.tr.base + at, raw, n) ||
        !far_stack_segment(f, (uint16_t)le_load(raw + n - 2, 2), cpl, FAR_TS, &ss))
        return false;
    f->sregs.ss = ss;
    f->regs.rsp = le_load(raw, n - 2);
    return true;
}

static uint64_t stack_mask(const struct kvm_sregs *s)
{
    return far_is_64(s) ? UINT64_MAX : s->ss.db ? 0xffffffff : 0xffff;
}

/* Does [at, at+len) lie in the stack segment? */
static bool in_stack(const struct kvm_sregs *s, uint64_t at, uint64_t len)
{
    uint64_t last = at + len - 1, limit = s->ss.limit;

    if (far_is_64(s))
        return true;
    if ((s->ss.type & 12) == 4) /* expand-down: above the limit */
        return at > limit && last <= (s->ss.db ? 0xffffffff : 0xffff);
    return last <= limit;
}

/* A stack at an address that is not canonical is #SS. */
static bool stack_fault(struct far *f)
{
    if (f->raise->vector == FAR_GP)
        far_fault(f, FAR_SS, 0);
    return false;
}

static uint64_t stack_linear(const struct kvm_sregs *s, uint64_t at)
{
    return far_is_64(s) ? at : (uint32_t)(s->ss.base + at);
}

bool far_push(struct far *f, const uint64_t *value, unsigned n, unsigned size, unsigned cpl,
              unsigned named)
{
    uint64_t mask = stack_mask(&f->sregs), total = (uint64_t)n * size;
    uint64_t bottom = (f->regs.rsp - total) & mask;
    uint8_t raw[8 * PUSHES_MAX];

    for (unsigned i = 0; i < n; i++)
        le_store(raw + (n - 1 - i) * size, size, value[i]);
    /* A frame that wraps around the segment's end comes in two parts. */
    if (bottom + total - 1 > mask) {
        unsigned high = (unsigned)((mask - bottom + 1) / size);

        return high && high < n && far_push(f, value, n - high, size, cpl, named) &&
               far_push(f, value + (n - high), high, size, cpl, named);
    }
    if (!in_stack(&f->sregs, bottom, total))
        return far_fault(f, FAR_SS, named);
    if (!guest_write_as(f->v, cpl | GUEST_TOLD, stack_linear(&f->sregs, bottom), raw, total,
                        f->raise))
        return stack_fault(f);
    f->regs.rsp = (f->regs.rsp & ~mask) | bottom;
    return true;
}

bool far_pop(struct far *f, uint64_t *value, unsigned n, unsigned size, unsigned skip)
{
    uint64_t mask = stack_mask(&f->sregs);
    uint8_t raw[8];

    for (unsigned i = 0; i < n; i++) {
        uint64_t at = (f->regs.rsp + skip + (uint64_t)i * size) & mask;

        if (!in_stack(&f->sregs, at, size))
            return far_fault(f, FAR_SS, 0);
        if (!guest_read_as(f->v, cpu_cpl(&f->sregs), stack_linear(&f->sregs, at), raw, size,
                           f->raise))
            return stack_fault(f);
        value[i] = le_load(raw, size);
    }
    far_drop(f, n * size + skip);
    return true;
}

void far_drop(struct far *f, unsigned bytes)
{
    uint64_t mask = stack_mask(&f->sregs);

    f->regs.rsp = (f->regs.rsp & ~mask) | ((f->regs.rsp + bytes) & mask);
}

/* ---- data segments --------------------------------------------------------------------------- */

void far_drop_inner(struct far *f, unsigned cpl)
{
    struct kvm_segment *const data[] = {&f->sregs.ds, &f->sregs.es, &f->sregs.fs, &f->sregs.gs};

    for (unsigned i = 0; i < 4; i++) {
        bool conforming = (data[i]->type & 12) == 12;

        if (!data[i]->unusable && data[i]->dpl < cpl && !conforming)
            *data[i] = (struct kvm_segment){.unusable = 1};
    }
}

struct kvm_segment far_v86_segment(uint16_t selector)
{
    return (struct kvm_segment){.selector = selector,
                                .base = (uint64_t)selector << 4,
                                .limit = 0xffff,
                                .type = 3,
                                .present = 1,
                                .dpl = 3,
                                .s = 1};
}
