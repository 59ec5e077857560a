/*
 * The delivery of events (deliver.h). vCPU thread.
 */
#include "vmm/deliver.h"

#include "vmm/base/le.h"
#include "vmm/far.h"
#include "vmm/vcpu.h"
#include "vmm/x86_bits.h"

#define VECTOR_DF 8
#define VECTOR_PF 14

enum gate { GATE_TASK = 5, GATE_INT16 = 6, GATE_TRAP16 = 7, GATE_INT32 = 14, GATE_TRAP32 = 15 };

/* A fault's frame holds flags with RF set, those of traps, aborts and interrupts do not (SDM volume
 * 3, "Instruction-Breakpoint Exception Condition"). */
static bool event_is_fault(const struct assist_event *ev)
{
    int n = ev->vector;

    if (ev->is_before)
        return true;
    return !ev->is_interrupt && !ev->is_soft && n < 32 && n != 1 && n != 2 && n != 3 && n != 4 &&
           n != VECTOR_DF && n != 18;
}

/* Faults on the way name the IDT's entry. */
static bool gate_fault(struct far *f, int vector, int of)
{
    *f->raise = (struct assist_event){
        .vector = vector, .has_ec = true, .ec = (uint32_t)of << 3 | 2 | f->ext};
    return false;
}

/* ---- real mode ------------------------------------------------------------------------------- */

static bool enter_real(struct far *f, const struct assist_event *ev)
{
    uint64_t frame[] = {(uint16_t)f->regs.rflags, f->sregs.cs.selector, (uint16_t)f->regs.rip};
    unsigned at = (unsigned)ev->vector * 4;
    uint8_t raw[4];

    if (at + 3 > f->sregs.idt.limit) {
        *f->raise = (struct assist_event){.vector = FAR_GP};
        return false;
    }
    if (!far_read(f, f->sregs.idt.base + at, raw, 4))
        return false;
    if (!far_push(f, frame, 3, 2, 0, 0)) {
        f->raise->has_ec = false; /* there are none in real mode */
        return false;
    }
    f->regs.rip = le_load(raw, 2);
    f->sregs.cs.selector = (uint16_t)le_load(raw + 2, 2);
    f->sregs.cs.base = (uint64_t)f->sregs.cs.selector << 4;
    f->regs.rflags &= ~(uint64_t)(FAR_FLAG_TF | FAR_FLAG_IF | FAR_FLAG_RF | FAR_FLAG_AC);
    return true;
}

/* ---- protected and long mode ----------------------------------------------------------------- */

/* What a gate says. */
struct entry {
    unsigned type, ist;
    uint16_t selector;
    uint64_t offset;
    unsigned size; /* of what it pushes: 2, 4 or 8 bytes */
    bool is_trap;
};

static bool read_gate(struct far *f, const struct assist_event *ev, struct entry *g)
{
    bool lm = far_is_long(&f->sregs);
    unsigned n = lm ? 16 : 8, at = (unsigned)ev->vector * n;
    uint8_t raw[16] = {0};

    if (at + n - 1 > f->sregs.idt.limit)
        return gate_fault(f, FAR_GP, ev->vector);
    if (!far_read(f, f->sregs.idt.base + at, raw, n))
        return false;
    g->type = raw[5] & 31; /* bit 4 is clear in every gate */
    g->selector = (uint16_t)le_load(raw + 2, 2);
    g->offset = le_load(raw, 2) | (g->type & 8 ? le_load(raw + 6, 2) << 16 : 0);
    g->offset |= lm ? le_load(raw + 8, 4) << 32 : 0;
    g->ist = lm ? raw[4] & 7 : 0;
    g->size = lm ? 8 : g->type & 8 ? 4 : 2;
    g->is_trap = g->type & 1;
    if (g->type != GATE_INT32 && g->type != GATE_TRAP32 &&
        (lm || (g->type != GATE_TASK && g->type != GATE_INT16 && g->type != GATE_TRAP16)))
        return gate_fault(f, FAR_GP, ev->vector);
    if (ev->is_soft && (raw[5] >> 5 & 3u) < cpu_cpl(&f->sregs))
        return gate_fault(f, FAR_GP, ev->vector);
    return raw[5] & 0x80 || gate_fault(f, FAR_NP, ev->vector);
}

/* The handler's code segment, and the privilege that it runs with. */
static bool handler_segment(struct far *f, uint16_t selector, struct descriptor *d, unsigned *cpl)
{
    unsigned now = cpu_cpl(&f->sregs);
    bool from_v86 = f->regs.rflags & FAR_FLAG_VM;

    *cpl = now;
    if (!far_descriptor(f, selector, FAR_GP, d))
        return false;
    if (!d->seg.s || !(d->seg.type & 8) || d->seg.dpl > now)
        return far_fault(f, FAR_GP, selector);
    if (far_is_long(&f->sregs) && (!d->seg.l || d->seg.db))
        return far_fault(f, FAR_GP, selector);
    if (!d->seg.present)
        return far_fault(f, FAR_NP, selector);
    *cpl = d->seg.type & 4 ? now : d->seg.dpl;
    /* Virtual-8086 mode is left for ring 0 only. */
    return !from_v86 || *cpl == 0 || far_fault(f, FAR_GP, selector);
}

/* What the frame holds of the interrupted program, in the order of pushing. */
static unsigned frame_of(const struct far *f, const struct assist_event *ev, bool with_stack,
                         uint64_t out[10])
{
    const struct kvm_sregs *s = &f->sregs;
    unsigned n = 0;

    if (f->regs.rflags & FAR_FLAG_VM) {
        out[n++] = s->gs.selector;
        out[n++] = s->fs.selector;
        out[n++] = s->ds.selector;
        out[n++] = s->es.selector;
    }
    if (with_stack) {
        out[n++] = s->ss.selector;
        out[n++] = f->regs.rsp;
    }
    out[n++] = f->regs.rflags;
    out[n++] = s->cs.selector;
    out[n++] = f->regs.rip;
    if (ev->has_ec)
        out[n++] = ev->ec;
    return n;
}

static void leave_v86(struct far *f)
{
    f->sregs.ds = f->sregs.es = f->sregs.fs = f->sregs.gs = (struct kvm_segment){.unusable = 1};
}

static bool enter_gate(struct far *f, const struct assist_event *ev, const struct entry *g)
{
    bool lm = far_is_long(&f->sregs);
    uint16_t named = 0;
    uint64_t frame[10];
    struct descriptor d;
    unsigned cpl, n;
    bool inner;

    if (!handler_segment(f, g->selector, &d, &cpl))
        return false;
    inner = cpl != cpu_cpl(&f->sregs);
    n = frame_of(f, ev, inner || lm, frame);
    if ((inner || g->ist) && !far_inner_stack(f, cpl, g->ist))
        return false;
    if (inner && !lm)
        named = f->sregs.ss.selector;
    if (!far_load_cs(f, &d, cpl, g->offset))
        return false;
    if (lm)
        f->regs.rsp &= ~15ull;
    if (!far_push(f, frame, n, g->size, cpl, named))
        return false;
    if (f->regs.rflags & FAR_FLAG_VM)
        leave_v86(f);
    f->regs.rflags &= ~(uint64_t)(FAR_FLAG_TF | FAR_FLAG_NT | FAR_FLAG_RF | FAR_FLAG_VM);
    if (!g->is_trap)
        f->regs.rflags &= ~(uint64_t)FAR_FLAG_IF;
    return true;
}

/* A task of its own. The error code goes on the new task's stack. */
static bool enter_task(struct far *f, const struct assist_event *ev, uint16_t selector)
{
    struct vcpu *v = f->v;
    uint64_t ec = ev->ec;
    struct descriptor d;

    if (selector & 4)
        return far_fault(f, FAR_GP, selector);
    if (!far_descriptor(f, selector, FAR_GP, &d))
        return false;
    if (d.seg.s || (d.seg.type != 1 && d.seg.type != 9))
        return far_fault(f, FAR_GP, selector);
    if (!d.seg.present)
        return far_fault(f, FAR_NP, selector);
    v->regs->rflags = f->regs.rflags;
    if (!far_task(f, &d, TASK_EVENT, f->regs.rip))
        return false;
    if (!ev->has_ec)
        return true;
    f->regs = *v->regs;
    f->sregs = *v->sregs;
    if (!far_push(f, &ec, 1, d.seg.type & 8 ? 4 : 2, cpu_cpl(&f->sregs), 0))
        return false;
    far_commit(f);
    return true;
}

/* INT n of virtual-8086 mode wants IOPL 3, which INT3 and INTO do not. (With CR4.VME it may go to
 * the program's own table instead: left to KVM.) */
static bool may_ask(struct far *f, const struct assist_event *ev)
{
    if (!(f->regs.rflags & FAR_FLAG_VM) || !ev->is_soft || !ev->is_interrupt ||
        (f->regs.rflags & FAR_FLAG_IOPL) == FAR_FLAG_IOPL)
        return true;
    return f->sregs.cr4 & CR4_VME ? false : far_fault(f, FAR_GP, 0);
}

/* ---- an event, and the fault that it may end in ---------------------------------------------- */

/* One try. True: entered, and committed. */
static bool enter(struct vcpu *v, const struct assist_event *ev, struct assist_event *fault)
{
    struct far f;
    struct entry g;

    far_begin(&f, v, fault);
    f.ext = !ev->is_soft;
    f.regs.rflags &= ~(uint64_t)FAR_FLAG_RF;
    if (event_is_fault(ev))
        f.regs.rflags |= FAR_FLAG_RF;
    if (!(f.sregs.cr0 & CR0_PE)) {
        if (!enter_real(&f, ev))
            return false;
        far_commit(&f);
        return true;
    }
    if (!may_ask(&f, ev) || !read_gate(&f, ev, &g))
        return false;
    if (g.type == GATE_TASK)
        return enter_task(&f, ev, g.selector);
    if (!enter_gate(&f, ev, &g))
        return false;
    far_commit(&f);
    return true;
}

static bool is_contributory(const struct assist_event *ev)
{
    int n = ev->vector;

    return !ev->is_interrupt && !ev->is_soft && (n == 0 || (n >= 10 && n <= 13));
}

static bool is_page_fault(const struct assist_event *ev)
{
    return !ev->is_interrupt && !ev->is_soft && ev->vector == VECTOR_PF;
}

/* SDM volume 3, table "Conditions for Generating a Double Fault". */
static bool is_double(const struct assist_event *first, const struct assist_event *second)
{
    if (is_page_fault(first))
        return is_contributory(second) || is_page_fault(second);
    return is_contributory(first) && is_contributory(second);
}

enum delivered deliver_event(struct vcpu *v, struct assist_event *ev)
{
    uint16_t task = v->sregs->tr.selector;
    struct assist_event first = *ev, fault;
    struct kvm_regs regs = *v->regs;

    while (!enter(v, ev, &fault)) {
        if (fault.vector < 0 || ev->vector == VECTOR_DF) {
            *v->regs = regs;
            if (fault.vector < 0)
                return DELIVER_CANNOT;
            *ev = first;
            return DELIVER_SHUTDOWN;
        }
        /* The instruction that asked for it has faulted instead, unless its task was left. */
        if (v->sregs->tr.selector == task)
            v->regs->rip -= ev->insn_len;
        if (is_double(ev, &fault))
            *ev = (struct assist_event){.vector = VECTOR_DF, .has_ec = v->sregs->cr0 & CR0_PE};
        else
            *ev = fault;
    }
    return DELIVER_ENTERED;
}

/* ---- the way of all events ------------------------------------------------------------------- */

/* Nothing waits any more, and the shadow of an STI or MOV SS is over. */
static void clear_queue(struct vcpu *v)
{
    struct kvm_vcpu_events *e = v->events;

    if (!e->exception.injected && !e->exception.pending && !e->interrupt.injected &&
        !e->interrupt.shadow)
        return;
    e->exception.injected = e->exception.pending = 0;
    e->interrupt.injected = e->interrupt.shadow = 0;
    vcpu_dirty(v, VS_EVENTS);
}

/* KVM tells nobody of an int3 or into that it has still to deliver ("injected" and "pending" stay
 * 0), so that a kick in between would hide it: they are given as interrupts, whose frame is the
 * same. */
static bool is_hidden(int vector)
{
    return vector == 3 || vector == 4;
}

void event_queue(struct vcpu *v, const struct assist_event *ev)
{
    struct kvm_vcpu_events *e = v->events;

    clear_queue(v);
    if (ev->is_interrupt || is_hidden(ev->vector)) {
        e->interrupt.injected = 1;
        e->interrupt.nr = (uint8_t)ev->vector;
        e->interrupt.soft = 0; /* RIP is already past the instruction */
    } else {
        e->exception.injected = 1;
        e->exception.nr = (uint8_t)ev->vector;
        e->exception.has_error_code = ev->has_ec;
        e->exception.error_code = ev->ec;
    }
    v->regs->rflags &= ~(uint64_t)FAR_FLAG_RF;
    v->regs->rflags |= event_is_fault(ev) ? FAR_FLAG_RF : 0;
    vcpu_dirty(v, VS_REGS | VS_EVENTS);
}

/* May the present privilege level use software interrupt `vector`? */
static bool gate_allows(struct vcpu *v, int vector)
{
    struct assist_event fault;
    struct entry g;
    struct far f;

    if (cpu_cpl(v->sregs) == 0)
        return true;
    far_begin(&f, v, &fault);
    return read_gate(&f, &(struct assist_event){.vector = vector, .is_soft = true}, &g);
}

enum delivered event_give(struct vcpu *v, struct assist_event *ev)
{
    enum delivered done;

    if (v->vm->probe.emulated) {
        clear_queue(v);
        vcpu_give_tf(v);
        done = deliver_event(v, ev);
        if (done != DELIVER_CANNOT)
            return done;
    } else if (ev->is_soft && !gate_allows(v, ev->vector)) {
        v->regs->rip -= ev->insn_len;
        *ev = (struct assist_event){
            .vector = FAR_GP, .has_ec = true, .ec = (uint32_t)ev->vector << 3 | 2};
    }
    event_queue(v, ev);
    return DELIVER_QUEUED;
}
