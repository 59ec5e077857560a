/*
 * What an instruction touches on pages whose trap is lifted or that nothing traps, by its operands:
 * noted before a step, and for accesses that KVM makes itself. See watch.h for threads.
 */
#include "debug/points/watch_int.h"

#include "debug/points/await.h"
#include "debug/points/points.h"
#include "disasm/disasm.h"
#include "vmm/base/le.h"
#include "vmm/insn_head.h"
#include "vmm/x86_bits.h"

#define OUTS_MAX 4 /* its prefixes that matter, and the opcode */

static bool is_open(const struct watches *w, const struct watch_page *p)
{
    const struct slot_page *s = slots_page(&w->vm->slots, p->gpa);

    return !s || s->lifted;
}

static void expect(struct watches *w, struct vcpu *v, uint64_t linear, unsigned len, bool write)
{
    unsigned from = (unsigned)(linear & (PAGE_BYTES - 1));
    const struct watch_page *p;
    struct walk_regs r;
    struct walk k;

    vcpu_walk_regs(v, &r);
    walk(&w->vm->mem, &r, linear, &k);
    p = k.result == WALK_OK ? watch_page_at(w, k.gpa) : NULL;
    if (p && (w->cpu[v->id].no_traps || is_open(w, p)))
        watch_note_access(w, v, p, from, from + len, write);
    if (p && p->tables && write)
        (void)await_written(w->points, k.gpa, len);
    if (w->cpu[v->id].no_traps && v->data.dr7 && k.result == WALK_OK)
        watch_note_drs(w, v, k.gpa, len, write);
}

static void expect_range(struct watches *w, struct vcpu *v, uint64_t linear, uint64_t len,
                         bool write)
{
    while (len) {
        uint64_t room = PAGE_BYTES - (linear & (PAGE_BYTES - 1));
        uint64_t n = len < room ? len : room;

        expect(w, v, linear, (unsigned)n, write);
        linear += n;
        len -= n;
    }
}

/* Elements of a string instruction that the step made. Old values come from watch_compare. */
static void expect_elements(struct watches *w, struct vcpu *v, int i)
{
    const struct watch_cpu *c = &w->cpu[v->id];
    uint64_t done = c->rcx - v->regs->rcx, len = c->expect.at[i].len;
    uint64_t from = c->expect.at[i].linear;

    if (!done || done > UINT32_MAX)
        return;
    if (v->regs->rflags >> 10 & 1)
        from -= (done - 1) * len;
    if (c->expect.at[i].read)
        expect_range(w, v, from, done * len, false);
    if (c->expect.at[i].write)
        expect_range(w, v, from, done * len, true);
}

void watch_expect(struct watches *w, struct vcpu *v)
{
    struct watch_cpu *c = &w->cpu[v->id];
    uint64_t from = c->step_from;
    struct operands o;

    c->expect.count = -1;
    if (v->injected >= 0)
        return; /* the step ends at the interrupt's handler */
    if (!c->disasm)
        c->disasm = disasm_new();
    if (!operands_read(c->disasm, v, v->sregs->cs.base + v->regs->rip, false, &o))
        return;
    c->expect = o;
    c->rcx = v->regs->rcx;
    c->step_from = v->sregs->cs.base + v->regs->rip;
    for (int i = 0; i < o.count; i++) {
        if (o.at[i].is_repeated)
            continue; /* how many elements the step makes is known after it */
        if (o.at[i].read)
            expect_range(w, v, o.at[i].linear, o.at[i].len, false);
        if (o.at[i].write)
            expect_range(w, v, o.at[i].linear, o.at[i].len, true);
    }
    c->step_from = from;
}

void watch_expect_all(struct watches *w, struct vcpu *v)
{
    w->cpu[v->id].no_traps = true;
    watch_expect(w, v);
    w->cpu[v->id].no_traps = false;
}

void watch_expected(struct watches *w, struct vcpu *v, bool made)
{
    struct watch_cpu *c = &w->cpu[v->id];

    if (!made) {
        c->hits = 0;
        return;
    }
    pthread_mutex_lock(&w->vm->m.lock);
    for (int i = 0; i < c->expect.count; i++)
        if (c->expect.at[i].is_repeated)
            expect_elements(w, v, i);
    watch_take_values(w, v);
    pthread_mutex_unlock(&w->vm->m.lock);
}

/* Elements that KVM has stored behind the back of the debug registers: as expect_elements, with the
 * old values that were remembered. */
static void stored_elements(struct watches *w, struct vcpu *v, int i, uint64_t by)
{
    struct watch_cpu *c = &w->cpu[v->id];
    unsigned before = c->hits;
    const uint8_t *old;

    c->no_traps = true;
    expect_elements(w, v, i);
    c->no_traps = false;
    for (unsigned k = before; k < c->hits; k++) {
        struct watch_hit *h = &c->hit[k];
        unsigned len = (unsigned)h->bp->pub.spec.len;

        h->by = by;
        if (!h->bp->watch.drs)
            continue;
        old = watch_dr_old(h->bp, v);
        for (unsigned at = 0; len > 8 && at < len; at++)
            if (old[at] != (uint8_t)watch_value(w, h->bp, at, 1)) {
                h->off = at;
                h->len = len - at < 8 ? len - at : 8;
                break;
            }
        h->old_value = le_load(&old[h->off], h->len);
    }
}

/* OUTS at its exit: KVM has read the element, and the registers are those after it. */
static void loaded_element(struct watches *w, struct vcpu *v)
{
    uint64_t at = v->sregs->cs.base + v->regs->rip, step_from = w->cpu[v->id].step_from;
    struct watch_cpu *c = &w->cpu[v->id];
    struct operands o;

    if (!c->disasm)
        c->disasm = disasm_new();
    for (unsigned n = 0; n <= OUTS_MAX; n++) { /* repeated it stands at RIP, else before */
        struct walk_regs r;
        uint8_t last;

        if (!operands_read(c->disasm, v, at - n, true, &o) || (n && o.insn_len != n))
            continue;
        vcpu_walk_regs(v, &r);
        if (walk_read(&w->vm->mem, &r, at - n + o.insn_len - 1, &last, 1) != 1 ||
            (last & 0xfe) != 0x6e || !o.count || o.at[0].is_repeated != !n)
            continue;
        c->no_traps = true;
        c->step_from = at - n;
        expect_range(w, v, o.at[0].linear, o.at[0].len, false);
        c->step_from = step_from;
        c->no_traps = false;
        return;
    }
}

void watch_passed_by(struct watches *w, struct vcpu *v, bool out)
{
    uint64_t at = v->sregs->cs.base + v->regs->rip;
    struct watch_cpu *c = &w->cpu[v->id];
    struct insn_head h;
    uint8_t op;

    if (out) {
        loaded_element(w, v);
        return;
    }
    insn_head_read(v, &h);
    op = h.b[h.opcode_at] & 0xfe;
    if (h.special != SP_REP || (op != 0x6c && op != 0xa4)) /* INS, MOVS */
        return;
    c->no_traps = true;
    watch_expect(w, v);
    c->no_traps = false;
    vcpu_settle(v);
    pthread_mutex_lock(&w->vm->m.lock);
    for (int i = 0; i < c->expect.count; i++)
        if (c->expect.at[i].is_repeated)
            stored_elements(w, v, i, at);
    watch_take_values(w, v);
    pthread_mutex_unlock(&w->vm->m.lock);
}

/* Bytes of the frame of an exception or interrupt at the stack's top; 0 when it cannot be read. An
 * error code is told by what lies above it, the address of the instruction that faulted: software's
 * own interrupts of the same vectors have none. */
static uint64_t frame_bytes(const struct watches *w, const struct vcpu *v, uint64_t fault_at)
{
    bool real = !(v->sregs->cr0 & 1), is_long = v->sregs->efer & EFER_LMA;
    unsigned slot = real ? 2 : is_long ? 8 : 4, code;
    struct walk_regs r;
    uint8_t raw[24];

    if (real)
        return 6;
    vcpu_walk_regs(v, &r);
    if (walk_read(&w->vm->mem, &r, v->sregs->ss.base + v->regs->rsp, raw, 3 * slot) != 3 * slot)
        return 0;
    code = le_load(raw + slot, slot) == fault_at && le_load(raw, slot) != fault_at;
    /* Outside long mode SS and SP are there only when the stack was changed. */
    return (3 + code + (is_long || (raw[(1 + code) * slot] & 3u) > cpu_cpl(v->sregs) ? 2 : 0)) *
           slot;
}

void watch_entered(struct watches *w, struct vcpu *v)
{
    uint64_t len = frame_bytes(w, v, w->cpu[v->id].step_from);

    pthread_mutex_lock(&w->vm->m.lock);
    expect_range(w, v, v->sregs->ss.base + v->regs->rsp, len, true);
    watch_take_values(w, v);
    pthread_mutex_unlock(&w->vm->m.lock);
}
