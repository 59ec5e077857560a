/*
 * Choosing how pages are watched. See watch_pages.h.
 */
#include "debug/points/watch_pages.h"

#include <stdlib.h>

#include "vmm/base/le.h"
#include "vmm/x86_bits.h"

/* Table entries looked at for one vCPU: hostile tables can refer to themselves for ever. */
#define ENTRIES_MAX (4u << 20)

const char *watch_how_name(enum watch_how how)
{
    static const char *const names[WATCH_HOWS] = {
        [WATCH_BY_DR] = "debug register",
        [WATCH_READ_ONLY] = "read-only page",
        [WATCH_NO_SLOT] = "page without memory",
        [WATCH_STEPS] = "single steps, comparing",
        [WATCH_OPEN] = "not watched",
    };

    return how < WATCH_HOWS ? names[how] : "pending";
}

/* ---- what the processor uses -------------------------------------------------------------------
 */

struct tables {
    struct watches *w;
    unsigned entry_size, left;
};

/* Marks watched pages among the tables below `gpa`, a table of `level`. */
static void mark_tables(struct tables *t, uint64_t gpa, unsigned level, unsigned entries)
{
    const uint8_t *raw = mem_ptr(&t->w->vm->mem, gpa, (uint64_t)entries * t->entry_size);
    struct watch_page *p = watch_page_at(t->w, gpa);

    if (p)
        p->is_table = true;
    if (!raw || level == 1)
        return;
    for (unsigned i = 0; i < entries && t->left; i++) {
        uint64_t e = le_load(raw + i * t->entry_size, t->entry_size);
        bool is_leaf = (e & 0x80) && level <= 3;

        t->left--;
        if (!(e & 1) || is_leaf)
            continue;
        mark_tables(t, e & (t->entry_size == 4 ? 0xfffff000u : 0xffffffffff000ull), level - 1,
                    PAGE_BYTES / t->entry_size);
    }
}

static void mark_cpu_tables(struct watches *w, const struct vcpu *v)
{
    struct tables t = {.w = w, .entry_size = 8, .left = ENTRIES_MAX};
    struct walk_regs r;

    vcpu_walk_regs(v, &r);
    switch (walk_mode(&r)) {
    case PAGING_NONE:
        break;
    case PAGING_32:
        t.entry_size = 4;
        mark_tables(&t, r.cr3 & 0xfffff000, 2, 1024);
        break;
    case PAGING_PAE:
        mark_tables(&t, r.cr3 & 0xffffffe0, 3, 4);
        break;
    case PAGING_4LEVEL:
        mark_tables(&t, r.cr3 & 0xffffffffff000ull, 4, 512);
        break;
    case PAGING_5LEVEL:
        mark_tables(&t, r.cr3 & 0xffffffffff000ull, 5, 512);
        break;
    }
}

static bool is_entry(const struct watches *w, uint64_t e)
{
    uint64_t end = w->vm->mem.ram_bytes > 1ull << 32 ? 2 * w->vm->mem.ram_bytes : 1ull << 32;

    return (e & 3) == 3 && !(e >> 52 & 0x7ff) && (e & 0xffffffffff000ull) < end;
}

/* Nothing but present, writable entries of RAM or devices, of 8 or of 4 bytes. A table that the
 * guest has made ready is known by that before CR3 or CR0.PG make it one. */
static bool looks_like_table(const struct watches *w, const struct watch_page *p, unsigned size)
{
    const uint8_t *raw = mem_ptr(&w->vm->mem, p->gpa, PAGE_BYTES);
    unsigned entries = 0;

    for (unsigned at = 0; raw && at < PAGE_BYTES; at += size) {
        uint64_t e = le_load(raw + at, size);

        if (!e)
            continue;
        if (!is_entry(w, e))
            return false;
        entries++;
    }
    return entries != 0;
}

/* The first rung that is a page's; the mode is that of vCPU 0. */
static enum method page_method(const struct watches *w, enum method_feature f)
{
    const struct vcpu *v = w->vm->cpu[0];
    enum probe_mode mode = probe_mode_of(cpu_mode_of(v->sregs, v->regs->rflags), cpu_cpl(v->sregs));
    const struct method_pick *pick = &w->vm->methods.pick[f][mode];

    for (unsigned i = 0; i < METHOD_RUNGS_MAX; i++)
        if (pick->ladder[i] != METHOD_DEBUG_REG)
            return pick->ladder[i];
    return METHOD_NONE;
}

/* Where KVM itself walks tables of the guest, a hole makes it tell the guest of faults that are
 * none; processors write Accessed and Dirty bits, which a read-only page turns into nonsense. */
static bool table_minds(const struct watches *w, const struct watch_page *p)
{
    return p->readers || !w->vm->probe.emulated || page_method(w, MF_WATCH_WRITE) == METHOD_NO_SLOT;
}

/* Alone in its page, a counter reads as an entry every fourth time; but entries are not written
 * over other numbers. */
bool watch_pages_suspect(const struct watches *w, struct watch_page *p, uint64_t was,
                         uint64_t value)
{
    if (!is_entry(w, value) || (was && !is_entry(w, was)) || p->how == WATCH_STEPS ||
        p->how == WATCH_OPEN || !table_minds(w, p))
        return false;
    p->suspect |= looks_like_table(w, p, 8) || looks_like_table(w, p, 4);
    return p->suspect;
}

struct seen {
    struct watches *w;
    struct vcpu *v;
    void (*fn)(struct watches *w, uint64_t gpa);
    bool with_tables;
};

static void see(const struct seen *s, uint64_t linear)
{
    struct walk_regs r;
    struct walk k;

    vcpu_walk_regs(s->v, &r);
    walk(&s->w->vm->mem, &r, linear, &k);
    for (unsigned i = 0; s->with_tables && i < k.steps; i++)
        s->fn(s->w, k.step[i].entry_gpa);
    if (k.result == WALK_OK)
        s->fn(s->w, k.gpa);
}

static void see_range(const struct seen *s, uint64_t linear, uint64_t len)
{
    for (uint64_t at = linear & ~(uint64_t)(PAGE_BYTES - 1); at < linear + len; at += PAGE_BYTES)
        see(s, at);
}

/* Stacks that frames are pushed to: the present one and those in the TSS. */
static void see_stacks(const struct seen *s)
{
    const struct vcpu *v = s->v;
    uint64_t sp = v->sregs->ss.base + v->regs->rsp;
    bool is_long = v->sregs->efer & EFER_LMA;
    struct walk_regs r;
    uint8_t tss[104];

    see(s, sp);
    see(s, sp - 64);
    if (!(v->sregs->cr0 & 1))
        return;
    vcpu_walk_regs(v, &r);
    if (walk_read(&v->vm->mem, &r, v->sregs->tr.base, tss, sizeof tss) != sizeof tss)
        return;
    if (!is_long) {
        see(s, le_load(tss + 4, 4) - 1);
        return;
    }
    for (unsigned i = 0; i < 3; i++)
        see(s, le_load(tss + 4 + 8 * i, 8) - 1);
    for (unsigned i = 0; i < 7; i++)
        if (le_load(tss + 36 + 8 * i, 8))
            see(s, le_load(tss + 36 + 8 * i, 8) - 1);
}

static void mark_stack(struct watches *w, uint64_t gpa)
{
    struct watch_page *p = watch_page_at(w, gpa);

    if (p)
        p->is_stack = true;
}

/* A hole under a table of the processor's own: KVM's emulator takes it for an answer where it reads
 * the I/O permissions of a task state, forgets the interrupt flag when an `int` of real mode finds
 * its vector in one, and makes of a descriptor that it cannot read a fault, whose frame is on the
 * guest's stack before the delivery fails. A processor that meets a trap in any of them can make
 * KVM go round in circles. */
static void mark_system(struct watches *w, uint64_t gpa)
{
    struct watch_page *p = watch_page_at(w, gpa);

    if (p)
        p->is_system = true;
}

#define TSS_BYTES_MAX (104u + 32 + 8192 + 1) /* with the maps of interrupts and ports */
#define IVT_BYTES     1024u
#define IDT_BYTES_MAX (256u * 16)

static void mark_cpu_system(struct watches *w, struct vcpu *v)
{
    struct seen s = {.w = w, .v = v, .fn = mark_system};
    uint32_t limit = v->sregs->tr.limit;

    w->cpu[v->id].gdt = v->sregs->gdt.base;
    w->cpu[v->id].idt = v->sregs->idt.base;
    if (v->sregs->cr0 & 1)
        see_range(&s, v->sregs->tr.base, (limit < TSS_BYTES_MAX ? limit : TSS_BYTES_MAX) + 1);
    else
        see_range(&s, v->sregs->idt.base, IVT_BYTES);
    if (!(v->sregs->cr0 & 1))
        return;
    /* After a reset their limits are 64 KiB; but gates are 256, and no table has the null selector.
     */
    see_range(&s, v->sregs->idt.base,
              v->sregs->idt.limit < IDT_BYTES_MAX ? v->sregs->idt.limit + 1u : IDT_BYTES_MAX);
    see_range(&s, v->sregs->gdt.base, v->sregs->gdt.limit + 1u);
    if (!v->sregs->ldt.unusable && v->sregs->ldt.selector > 3)
        see_range(&s, v->sregs->ldt.base, (v->sregs->ldt.limit & 0xffff) + 1u);
}

static void lift_one(struct watches *w, uint64_t gpa)
{
    slots_lift(&w->vm->slots, gpa, true);
}

unsigned watch_pages_lift_system(struct watches *w, struct vcpu *v)
{
    struct seen s = {.w = w, .v = v, .fn = lift_one, .with_tables = true};
    uint64_t ip = v->sregs->cs.base + v->regs->rip;
    unsigned n = 0;

    see_stacks(&s);
    see(&s, ip);
    see(&s, ip + 14);
    see_range(&s, v->sregs->idt.base,
              (v->idt_hidden ? v->idt_limit_real : v->sregs->idt.limit) + 1u);
    see_range(&s, v->sregs->gdt.base, v->sregs->gdt.limit + 1u);
    if (v->sregs->cr0 & 1)
        see_range(&s, v->sregs->tr.base, 104);
    for (size_t i = 0; i < w->vm->slots.pages; i++)
        n += w->vm->slots.page[i].lifted;
    return n;
}

/* ---- choosing
 * ------------------------------------------------------------------------------------ */

static bool is_long(const struct watches *w)
{
    return w->vm->cpu[0]->sregs->efer & EFER_LMA;
}

/* Outside long mode a stack is not trapped: of an instruction that writes several times (PUSHA, a
 * far call, INT in real mode) KVM's emulator reports only the last write, the others are lost.
 * Where a frame pushed to a trapped page keeps the processor's state and is redelivered once the
 * trap is lifted (a KVM that emulates), stacks may be trapped. Elsewhere KVM may spin on it, or
 * carry out the instruction at RIP before the handler. */
static enum watch_how choose(const struct watches *w, const struct watch_page *p)
{
    enum method m = page_method(w, p->readers ? MF_WATCH_ACCESS : MF_WATCH_WRITE);

    /* A KVM that emulates reads a trapped table well, but sets no accessed bits there: good enough
     * for breakpoints, whose await.c sets them, too little for a user's watchpoint. */
    if (p->troubled || (p->is_table && (p->parts || m == METHOD_NO_SLOT || !w->vm->probe.emulated)))
        return WATCH_STEPS;
    if (p->is_stack && (!is_long(w) || !w->vm->probe.emulated))
        return WATCH_STEPS;
    /* Boot code and its GDT tend to share a page. Planted bytes there are guarded all the same:
     * code that is rewritten and run at once has no other guard, and `troubled` ends a circle. */
    if (p->is_system && (m == METHOD_NO_SLOT || (p->parts && !w->vm->probe.emulated)))
        return WATCH_STEPS;
    return m == METHOD_RO_SLOT   ? WATCH_READ_ONLY
           : m == METHOD_NO_SLOT ? WATCH_NO_SLOT
                                 : WATCH_STEPS;
}

/* A page that only planted bytes are in, or tables. A read-only slot takes the guest's
 * read-modify-writes apart, so that vCPUs would have to take turns: too much for a guard, but not
 * while a breakpoint waits. */
static enum watch_how choose_guard(const struct watches *w, const struct watch_page *p,
                                   enum watch_how how)
{
    bool asked = p->tables && p->idle < WATCH_IDLE_MAX;

    return how == WATCH_READ_ONLY && (w->vm->cpus == 1 || asked) && (p->plants || asked) &&
                   !w->no_guards
               ? how
               : WATCH_OPEN;
}

static bool apply_one(struct watches *w, struct watch_page *p, enum watch_how how)
{
    if (p->how == how)
        return false;
    p->how = how;
    slots_trap(&w->vm->slots, p->gpa,
               how == WATCH_READ_ONLY ? SLOT_READ_ONLY
               : how == WATCH_NO_SLOT ? SLOT_ABSENT
                                      : SLOT_OPEN);
    if (how == WATCH_STEPS)
        watch_remember(w, p);
    return true;
}

/* Marks each page with what the processors use it for. */
static void mark_pages(struct watches *w)
{
    for (size_t i = 0; i < w->pages; i++)
        w->page[i]->is_table = w->page[i]->is_stack = w->page[i]->is_system = false;
    for (unsigned i = 0; w->pages && i < w->vm->cpus; i++) {
        struct seen s = {.w = w, .v = w->vm->cpu[i], .fn = mark_stack};

        mark_cpu_tables(w, w->vm->cpu[i]);
        see_stacks(&s);
        mark_cpu_system(w, w->vm->cpu[i]);
    }
}

/* For a page that is marked. */
static enum watch_how suits(const struct watches *w, struct watch_page *p)
{
    enum watch_how how;

    /* Stores that no trap has seen may have made a table of it. */
    p->suspect |= p->how >= WATCH_STEPS || p->lifted_last;
    p->suspect &= looks_like_table(w, p, 8) || looks_like_table(w, p, 4);
    p->is_table |= p->suspect && table_minds(w, p);
    how = choose(w, p);
    return p->parts ? how : choose_guard(w, p, how);
}

bool watch_can_guard(struct watches *w, uint64_t gpa)
{
    bool stale = w->guards_stale, can;

    if (w->vm->cpus > 1 || w->no_guards)
        return false;
    watch_need(w, gpa, NEED_GUARD, true); /* as if a byte were there */
    mark_pages(w);
    can = suits(w, watch_page_at(w, gpa)) != WATCH_OPEN;
    watch_need(w, gpa, NEED_GUARD, false);
    w->guards_stale = stale;
    return can;
}

int watch_pages_choose(struct watches *w, struct err *e)
{
    bool changed = false;
    int rc;

    atomic_store(&w->stale, 0);
    mark_pages(w);
    w->trapped = w->stepped = w->unguarded = 0;
    for (size_t i = 0; i < w->pages; i++) {
        struct watch_page *p = w->page[i];

        changed |= apply_one(w, p, suits(w, p));
        w->stepped += p->how == WATCH_STEPS;
        w->trapped += p->how == WATCH_READ_ONLY || p->how == WATCH_NO_SLOT;
        w->unguarded += p->plants && (p->how == WATCH_STEPS || p->how == WATCH_OPEN);
    }
    rc = slots_apply(&w->vm->slots, e);
    return rc < 0 ? rc : changed;
}
