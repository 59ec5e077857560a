/*
 * Watchpoints in debug registers that fired, and whose access it was: of a repeated string
 * instruction that goes on, or of an instruction that is over. See watch.h for threads.
 */
#include "debug/points/watch_int.h"

#include "debug/points/points.h"
#include "disasm/disasm.h"
#include "vmm/base/clock.h"
#include "vmm/base/le.h"
#include "vmm/insn_head.h"

#define INSN_MAX 15

/* `elements`: how many a repeated string instruction made. */
static bool touches_linear(const struct vcpu *v, const struct operands *o, uint64_t elements,
                           uint64_t from, uint64_t len)
{
    for (int i = 0; i < o->count; i++) {
        uint64_t n = o->at[i].is_repeated ? elements : 1, at = o->at[i].linear;

        if (v->regs->rflags >> 10 & 1)
            at -= (n - 1) * o->at[i].len;
        if (n && at < from + len && from < at + n * o->at[i].len)
            return true;
    }
    return false;
}

/* The instruction just before RIP, by every start that ends there. */
static bool touched_before(struct watch_cpu *c, struct vcpu *v, uint64_t from, uint64_t len)
{
    uint64_t at = v->sregs->cs.base + v->regs->rip;
    struct operands o;

    if (!c->disasm)
        c->disasm = disasm_new();
    for (unsigned n = 1; n <= INSN_MAX; n++)
        if (operands_read(c->disasm, v, at - n, true, &o) && o.insn_len == n &&
            touches_linear(v, &o, 1, from, len))
            return true;
    return false;
}

/* How far a processor may have got past the element that it reports: fast string operations end a
 * group of up to 64 bytes first. */
#define STRING_GROUP 64u

static bool string_made(struct watch_cpu *c, struct vcpu *v, const struct operands *o)
{
    const struct kvm_run *run = v->run;

    if (run->exit_reason == KVM_EXIT_MMIO)
        return operands_touch(o, v, run->mmio.phys_addr, run->mmio.len, run->mmio.is_write);
    for (unsigned i = 0; i < c->hits; i++) {
        const struct point_spec *spec = &c->hit[i].bp->pub.spec;

        if (touches_linear(v, o, STRING_GROUP, spec->addr, spec->len))
            return true;
    }
    return false;
}

/* Of two that fit, the instruction before: it would have had to touch the same element. */
static bool made_before(struct watch_cpu *c, struct vcpu *v)
{
    for (unsigned i = 0; i < c->hits; i++) {
        const struct point_spec *spec = &c->hit[i].bp->pub.spec;

        if (spec->space == SPACE_LINEAR && touched_before(c, v, spec->addr + c->hit[i].off, 1))
            return true;
    }
    return false;
}

/* KVM gathers what INS reads, and stores it at once: the first part of such a block. */
#define INS_BLOCK 1024u
static bool may_be_ins(const struct vcpu *v, uint64_t to)
{
    uint64_t behind = (to - v->run->mmio.phys_addr) & (PAGE_BYTES - 1);

    return behind <= INS_BLOCK && v->run->mmio.len == (behind < 8 ? behind : 8) &&
           !(v->regs->rflags >> 10 & 1);
}

static bool is_ins(const struct insn_head *h)
{
    return (h->b[h->opcode_at] & 0xfe) == 0x6c;
}

/* Not looking at code yet, which most accesses need not pay for: strings are stored at ES:RDI, and
 * in 64-bit code loaded from there or from RSI, with a segment's base or without. */
bool watch_may_be_string(const struct vcpu *v)
{
    const struct kvm_sregs *s = v->sregs;
    const struct kvm_run *run = v->run;
    uint64_t to = s->es.base + v->regs->rdi;

    if (run->exit_reason == KVM_EXIT_DEBUG)
        return true;
    if (run->exit_reason != KVM_EXIT_MMIO)
        return false;
    for (uint64_t size = 1; run->mmio.is_write && size <= 8; size *= 2) {
        uint64_t last = v->regs->rflags >> 10 & 1 ? to + size : to - size;

        if (!((last ^ run->mmio.phys_addr) & (PAGE_BYTES - 1)))
            return true;
    }
    if (run->mmio.is_write)
        return may_be_ins(v, to);
    for (unsigned i = 0; i < 4 && s->cs.l; i++) {
        const uint64_t from[] = {v->regs->rdi, v->regs->rsi, v->regs->rsi + s->fs.base,
                                 v->regs->rsi + s->gs.base};

        if (!((from[i] ^ run->mmio.phys_addr) & (PAGE_BYTES - 1)))
            return true;
    }
    return !s->cs.l;
}

bool watch_in_string(struct watches *w, struct vcpu *v)
{
    uint64_t at = v->sregs->cs.base + v->regs->rip;
    struct watch_cpu *c = &w->cpu[v->id];
    struct insn_head h;
    struct operands o;

    if (!watch_may_be_string(v) && !(c->hits && c->hit[0].by == at))
        return false;
    insn_head_read(v, &h);
    if (h.special != SP_REP)
        return false;
    for (unsigned i = 0; i < c->hits; i++)
        if (c->hit[i].by) /* a read; or the step that was made began there */
            return c->hit[i].by == at;
    if (is_ins(&h) && v->run->exit_reason == KVM_EXIT_MMIO && v->run->mmio.is_write &&
        may_be_ins(v, v->sregs->es.base + v->regs->rdi))
        return true;
    if (!c->disasm)
        c->disasm = disasm_new();
    return operands_read(c->disasm, v, at, true, &o) && string_made(c, v, &o) && !made_before(c, v);
}

/* Steps that run to a handler take a register for it, and that may be this watchpoint's. */
static bool was_armed(const struct vcpu *v, const struct bp *b)
{
    for (unsigned i = 0; i < 4; i++)
        if (v->debug_set.dr7 >> (16 + 4 * i) & 3 &&
            v->debug_set.dr[i] - b->pub.spec.addr < b->pub.spec.len)
            return true;
    return false;
}

/* A value that is as before was read, or written again, or not touched at all: an emulated
 * processor (QEMU's) goes on reporting its last hit. */
static bool is_old_report(struct watch_cpu *c, struct vcpu *v, const struct bp *b, bool stepped,
                          bool merged)
{
    uint64_t from = b->pub.spec.addr, len = b->pub.spec.len;

    if (stepped && c->step_from && c->expect.count < 0)
        return !was_armed(v, b);
    if (stepped && c->step_from)
        return !touches_linear(v, &c->expect, c->rcx - v->regs->rcx, from, len);
    return merged && !touched_before(c, v, from, len);
}

/* The value that a hit of this vCPU is compared with. Of several that wrote at once the first that
 * is told finds what all of them have written: what was there before it is the old value of the
 * others, who have been in the guest since, too. Else changes of theirs would be taken for none. */
const uint8_t *watch_dr_old(const struct bp *b, const struct vcpu *v)
{
    const struct watch *p = &b->watch;

    return (b->pub.spec.access & WATCH_CHANGE) && p->changed_by != v->id &&
                   p->changed_ns >= v->last_ns
               ? p->before
               : p->seen;
}

static void note_change(struct bp *b, const struct vcpu *v, const uint8_t *now)
{
    struct watch *p = &b->watch;
    size_t len = b->pub.spec.len;

    if (!memcmp(p->seen, now, len))
        return;
    memcpy(p->before, p->seen, len);
    memcpy(p->seen, now, len);
    p->changed_by = v->id;
    p->changed_ns = clock_ns();
}

static void fired(struct watches *w, struct vcpu *v, unsigned i, const uint8_t *now, bool stepped,
                  bool merged)
{
    struct bp *b = w->dr[i];
    const uint8_t *old = watch_dr_old(b, v);
    unsigned at = 0, len = (unsigned)b->pub.spec.len;
    const struct watch_hit *was;
    struct watch_hit *h;
    bool again;

    while (at < len && now[at] == old[at])
        at++;
    if (!memcmp(now, b->watch.seen, len) && is_old_report(&w->cpu[v->id], v, b, stepped, merged))
        return;
    was = watch_hit_find(&w->cpu[v->id], b);
    again = was && (len <= 8 || was->old_value != was->new_value);
    h = watch_hit_get(w, v, b, at < len ? at : v->data.dr[i] - b->pub.spec.addr, true);
    /* The value as before: read, or written again; watch_by.c tells from the instruction. */
    h->write = true;
    h->read |= at == len && (b->pub.spec.access & WATCH_READ);
    if (!again) /* else it is another iteration of the same instruction */
        h->old_value = le_load(&old[h->off], h->len);
    h->new_value = le_load(&now[h->off], h->len);
}

void watch_dr_told(const struct watches *w, struct bp *b, const struct vcpu *v)
{
    uint8_t now[sizeof b->watch.seen] = {0};

    for (unsigned i = 0; i < b->pub.spec.len; i++)
        now[i] = (uint8_t)watch_value(w, b, i, 1);
    note_change(b, v, now);
}

void watch_fired(struct watches *w, struct vcpu *v, uint64_t dr6, bool stepped, bool merged)
{
    uint8_t now[4][sizeof w->dr[0]->watch.seen];

    pthread_mutex_lock(&w->vm->m.lock); /* other vCPUs compare with the same values */
    for (unsigned i = 0; i < 4; i++) {
        if (!w->dr[i] || !(dr6 >> i & 1))
            continue;
        for (unsigned k = 0; k < w->dr[i]->pub.spec.len; k++)
            now[i][k] = (uint8_t)watch_value(w, w->dr[i], k, 1);
        fired(w, v, i, now[i], stepped, merged);
    }
    for (unsigned i = 0; i < 4; i++)
        if (w->dr[i] && (dr6 >> i & 1))
            note_change(w->dr[i], v, now[i]);
    pthread_mutex_unlock(&w->vm->m.lock);
}
