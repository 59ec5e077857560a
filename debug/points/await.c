/*
 * Watching page tables for points. See await.h.
 */
#include "debug/points/await.h"

#include <stdlib.h>
#include <string.h>

#include "debug/points/points.h"
#include "vmm/base/le.h"
#include "vmm/base/x.h"
#include "vmm/vcpu.h"
#include "vmm/x86_bits.h"

#define NOT_MAPPED  UINT64_MAX
#define WATCHED_MAX 64u /* pages of one watchpoint whose tables are watched */

void await_init(struct points *p)
{
    p->await = (struct await){.complete = true};
}

void await_fini(struct points *p)
{
    free(p->await.entry);
    p->await.entry = NULL;
}

/* ---- which entries -----------------------------------------------------------------------------
 */

/* Only where KVM itself walks the guest's tables: processors write Accessed and Dirty bits, which a
 * read-only page turns into nonsense. */
static bool can_watch(const struct points *p)
{
    return p->vm->probe.emulated &&
           method_usable(&p->vm->methods, MF_WATCH_WRITE, PM_LONG0, METHOD_RO_SLOT);
}

/* A debug register fires wherever the page is, but on such hosts not in ring 3. */
static bool waits(const struct points *p, const struct bp *b)
{
    return b->method == BP_PENDING ||
           (b->method == BP_DR &&
            !method_usable(&p->vm->methods, MF_BREAK, PM_LONG3, METHOD_DEBUG_REG));
}

/* Trapped pages make several vCPUs take turns: worth it for points that wait, not for good. */
static bool may_move(const struct points *p, const struct bp *b)
{
    return b->places && p->vm->cpus == 1 && !b->pub.spec.hidden;
}

static bool depends(const struct points *p, const struct bp *b)
{
    const struct point_spec *spec = &b->pub.spec;

    return spec->kind == POINT_BREAK && spec->space == SPACE_LINEAR && !spec->unresolved &&
           (waits(p, b) || may_move(p, b));
}

/* Is the point's page where it is going to be? One that is mapped for ring 0 alone may become ring
 * 3's as well, but so may each page of a kernel's, and hardly any ever does: kicks look at these.
 * Not so when the last entry is open for ring 3 and another on the way is not yet. */
static bool has_come(const struct points *p, const struct walk *w)
{
    return w->result == WALK_OK && mem_ptr(&p->vm->mem, w->gpa, 1) &&
           (w->user || !(w->step[w->steps - 1].entry & PTE_U));
}

static void add_entry(struct points *p, const struct walk_step *s, bool is_wanted, bool is_live)
{
    struct await *a = &p->await;

    if (!mem_ptr(&p->vm->mem, s->entry_gpa, s->entry_size))
        return;
    if (a->entries == a->cap) {
        a->cap = a->cap ? a->cap * 2 : 64;
        a->entry = xrealloc(a->entry, a->cap, sizeof *a->entry);
    }
    a->entry[a->entries++] = (struct await_entry){
        .gpa = s->entry_gpa, .level = s->level, .is_wanted = is_wanted, .is_live = is_live};
}

enum way {
    WAY_PLACE,   /* led to a place of the point */
    WAY_SPACE,   /* of another address space */
    WAY_PRESENT, /* of one that a vCPU is in */
};

/* One linear address of a point: of a breakpoint, or in one page of a watchpoint. */
struct want {
    uint64_t linear;
    const struct bp *bp;
    uint64_t page; /* where the watchpoint's page is; NOT_MAPPED: nowhere yet */
};

static bool is_place(const struct want *t, uint64_t gpa)
{
    if (t->bp->pub.spec.kind == POINT_WATCH)
        return t->page == (gpa & ~(uint64_t)(PAGE_BYTES - 1));
    for (unsigned i = 0; i < t->bp->places; i++)
        if (t->bp->at[i].gpa == gpa)
            return true;
    return false;
}

/* Each of the entries on the way may be the one that is changed. Of the present tables, where they
 * lead to a place of the point, those that are not on the way there are left out: kernels are the
 * same in each address space, and a watch on each one's uppermost table would change with each. */
static bool add_way(struct points *p, const struct want *t, const struct walk_regs *r, enum way way)
{
    bool known;
    struct walk w;

    walk(&p->vm->mem, r, t->linear, &w);
    known = w.result == WALK_OK && is_place(t, w.gpa);
    if (w.mode == PAGING_NONE || (t->bp->method == BP_DR && has_come(p, &w)) ||
        (known ? way == WAY_SPACE : way == WAY_PLACE))
        return known;
    for (unsigned i = 0; i < w.steps; i++)
        add_entry(p, &w.step[i], way != WAY_PRESENT || !known, way == WAY_PRESENT);
    return known;
}

static void add_spaces(struct points *p, const struct want *t)
{
    struct walk_regs r;

    vcpu_walk_regs(p->vm->cpu[0], &r);
    for (unsigned i = 0; i < p->await.spaces; i++) {
        r.cr3 = p->await.space[i];
        add_way(p, t, &r, WAY_SPACE);
    }
    for (unsigned i = 0; i < p->vm->cpus; i++) {
        vcpu_walk_regs(p->vm->cpu[i], &r);
        add_way(p, t, &r, WAY_PRESENT);
    }
}

static void add_point(struct points *p, const struct bp *b)
{
    struct want t = {.linear = b->pub.spec.addr, .bp = b};
    struct walk_regs r;

    vcpu_walk_regs(p->vm->cpu[0], &r);
    for (unsigned i = 0; i < b->places; i++) {
        r.cr3 = b->at[i].cr3;
        add_way(p, &t, &r, WAY_PLACE);
    }
    add_spaces(p, &t);
}

/* By the tables that led to the page; when those are gone, by those of a vCPU that lead there. */
static void add_watched_page(struct points *p, struct bp *b, const struct want *t)
{
    struct walk_regs r;
    bool known;

    vcpu_walk_regs(p->vm->cpu[0], &r);
    r.cr3 = b->watch.cr3;
    known = add_way(p, t, &r, WAY_PLACE);
    for (unsigned i = 0; i < p->vm->cpus && !known; i++) {
        vcpu_walk_regs(p->vm->cpu[i], &r);
        known = add_way(p, t, &r, WAY_PLACE);
        if (known)
            b->watch.cr3 = r.cr3;
    }
    add_spaces(p, t);
}

static void add_watch(struct points *p, struct bp *b)
{
    for (unsigned i = 0; i < b->watch.pages && i < WATCHED_MAX; i++)
        add_watched_page(p, b,
                         &(struct want){.linear = b->pub.spec.addr + (uint64_t)i * PAGE_BYTES,
                                        .bp = b,
                                        .page = b->watch.gpa[i]});
}

static int by_gpa(const void *x, const void *y)
{
    const struct await_entry *a = x, *b = y;

    return a->gpa < b->gpa ? -1 : a->gpa > b->gpa;
}

/* The same entry of several points becomes one. */
static void merge(struct await *a)
{
    size_t n = 0, to;

    qsort(a->entry, a->entries, sizeof *a->entry, by_gpa);
    for (size_t i = 0; i < a->entries; i = to) {
        struct await_entry e = a->entry[i];

        for (to = i; to < a->entries && a->entry[to].gpa == e.gpa; to++) {
            e.is_wanted |= a->entry[to].is_wanted;
            e.is_live |= a->entry[to].is_live;
        }
        if (e.is_wanted)
            a->entry[n++] = e;
    }
    a->entries = n;
}

static void collect(struct points *p)
{
    p->await.entries = 0;
    for (unsigned i = 0; i < p->count; i++) {
        struct bp *b = p->bp[i];

        if (depends(p, b))
            add_point(p, b);
        else if (b->method == BP_WATCH && b->pub.spec.space == SPACE_LINEAR)
            add_watch(p, b);
    }
    if (p->await.entries)
        merge(&p->await);
}

static bool knows_space(const struct await *a, uint64_t cr3)
{
    for (unsigned i = 0; i < a->spaces; i++)
        if (a->space[i] == cr3)
            return true;
    return false;
}

static void note_spaces(struct points *p)
{
    struct await *a = &p->await;

    for (unsigned i = 0; i < p->vm->cpus; i++) {
        struct walk_regs r;

        vcpu_walk_regs(p->vm->cpu[i], &r);
        if (walk_mode(&r) == PAGING_NONE || knows_space(a, r.cr3))
            continue;
        a->spaces += a->spaces < AWAIT_SPACES;
        memmove(&a->space[1], &a->space[0], (a->spaces - 1) * sizeof a->space[0]);
        a->space[0] = r.cr3;
    }
}

/* ---- watching them -----------------------------------------------------------------------------
 */

/* KVM leaves Accessed and Dirty bits alone in read-only memory, and a guest that relies on them
 * would lose what it wrote: here they are set before they are due, which processors may do for the
 * one and guests must bear for the other. */
static void set_bits(struct points *p, uint64_t gpa, unsigned level)
{
    uint8_t *raw = mem_ptr(&p->vm->mem, gpa, 8);
    uint64_t e = raw ? le_load(raw, 8) : 0;
    bool is_leaf = level == 1 || (level <= 3 && (e & PTE_PS));

    if (e & PTE_P)
        le_store(raw, 8, e | PTE_A | (is_leaf && (e & PTE_W) ? PTE_D : 0));
}

/* The first entry that ends above `gpa`. */
static size_t lower(const struct await *a, uint64_t gpa)
{
    size_t lo = 0, hi = a->entries;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;

        if (a->entry[mid].gpa + 8 <= gpa)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* In whichever table of the page `gpa` is. */
static void set_bits_from(struct points *p, uint64_t gpa, uint64_t len)
{
    const struct await *a = &p->await;
    uint64_t page = gpa & ~(uint64_t)(PAGE_BYTES - 1);
    size_t i = lower(a, page);

    while (i < a->entries && a->entry[i].gpa - page < PAGE_BYTES && !a->entry[i].is_live)
        i++;
    if (i == a->entries || a->entry[i].gpa - page >= PAGE_BYTES)
        return;
    for (uint64_t at = gpa & ~7ull; at < gpa + len; at += 8)
        set_bits(p, at, a->entry[i].level);
}

/* Watches the pages of the entries, and those no longer that were watched before. */
static void choose_pages(struct points *p)
{
    struct await *a = &p->await;
    uint64_t old[AWAIT_PAGES];
    unsigned olds = a->pages, o = 0;

    memcpy(old, a->page, olds * sizeof old[0]);
    a->pages = 0;
    a->complete = true;
    for (size_t i = 0; i < a->entries; i++) {
        uint64_t page = a->entry[i].gpa & ~(uint64_t)(PAGE_BYTES - 1);

        if (a->pages && a->page[a->pages - 1] == page)
            continue;
        if (a->pages == AWAIT_PAGES) {
            a->complete = false;
            break;
        }
        a->page[a->pages++] = page;
    }
    for (unsigned i = 0; i < a->pages; i++) {
        while (o < olds && old[o] < a->page[i])
            watch_need(&p->watches, old[o++], NEED_TABLE, false);
        if (o < olds && old[o] == a->page[i])
            o++;
        else
            watch_need(&p->watches, a->page[i], NEED_TABLE, true);
        set_bits_from(p, a->page[i], PAGE_BYTES);
    }
    while (o < olds)
        watch_need(&p->watches, old[o++], NEED_TABLE, false);
    watch_guard_apply(&p->watches);
}

/* Each bit of `h` depends on all before, so that a small change cannot undo another. */
static uint64_t mix(uint64_t h, uint64_t x)
{
    h = (h ^ x) * 0x9e3779b97f4a7c15ull;
    return h ^ h >> 32;
}

/* Points in debug registers whose page has come are not watched for: where they lead may change
 * unseen. */
static uint64_t mix_registers(const struct points *p, uint64_t h)
{
    struct walk_regs r;
    struct walk w;

    vcpu_walk_regs(p->vm->cpu[0], &r);
    for (unsigned i = 0; i < p->dr_usable; i++) {
        const struct bp *b = p->dr_owner[i];

        if (!b || !depends(p, b))
            continue;
        walk(&p->vm->mem, &r, b->pub.spec.addr, &w);
        h = mix(h, has_come(p, &w));
        for (unsigned k = 0; k < w.steps; k++)
            h = mix(h, w.step[k].entry_gpa);
    }
    return h;
}

/* What the choice depends on, but for the entries that are watched. */
static uint64_t signature(const struct points *p)
{
    /* Both only grow: no two of their sums are alike. */
    uint64_t h = mix_registers(p, mix(0, p->changes + p->watches.changes + 1));

    for (unsigned i = 0; i < p->vm->cpus; i++) {
        struct walk_regs r;

        vcpu_walk_regs(p->vm->cpu[i], &r);
        h = mix(mix(mix(mix(h, r.cr0 & 0x80000001), r.cr3), r.cr4 & 0x1030), r.efer);
    }
    return h;
}

bool await_stale(struct points *p)
{
    return can_watch(p) && (p->await.seen != signature(p));
}

void await_refresh(struct points *p)
{
    struct await *a = &p->await;
    uint64_t now = signature(p);

    if (!can_watch(p) || a->seen == now)
        return;
    a->seen = now; /* a device may write meanwhile */
    note_spaces(p);
    collect(p);
    choose_pages(p);
}

/* ---- asking ------------------------------------------------------------------------------------
 */

static bool is_watched(const struct points *p, uint64_t gpa)
{
    const struct watch_page *w = watch_page_at(&p->watches, gpa);

    return w && w->tables && w->how != WATCH_OPEN;
}

bool await_covers(const struct points *p)
{
    const struct await *a = &p->await;

    if (!can_watch(p) || !a->complete || p->vm->cpus > 1)
        return false;
    for (unsigned i = 0; i < a->pages; i++)
        if (!is_watched(p, a->page[i]))
            return false;
    return true;
}

static bool is_way_watched(const struct points *p, uint64_t cr3, uint64_t linear)
{
    struct walk_regs r;
    struct walk w;

    vcpu_walk_regs(p->vm->cpu[0], &r);
    r.cr3 = cr3;
    walk(&p->vm->mem, &r, linear, &w);
    for (unsigned i = 0; i < w.steps; i++) {
        const struct watch_page *page = watch_page_at(&p->watches, w.step[i].entry_gpa);

        if (page && (page->idle >= WATCH_IDLE_MAX || page->parts))
            return false;
    }
    return w.steps != 0;
}

bool await_has(const struct points *p, const struct bp *b)
{
    uint64_t cr3 = p->vm->cpu[0]->sregs->cr3;
    const struct watch *w = &b->watch;

    if (!can_watch(p) || !p->await.complete || p->watches.no_guards)
        return false;
    if (b->pub.spec.kind != POINT_WATCH)
        return is_way_watched(p, cr3, b->pub.spec.addr);
    for (unsigned i = 0; i < w->pages; i++)
        if (i == WATCHED_MAX ||
            !is_way_watched(p, w->gpa[i] == NOT_MAPPED || !w->cr3 ? cr3 : w->cr3,
                            b->pub.spec.addr + (uint64_t)i * PAGE_BYTES))
            return false;
    return true;
}

bool await_written(struct points *p, uint64_t gpa, uint64_t len)
{
    struct await *a = &p->await;
    size_t i = lower(a, gpa);
    bool counts = i < a->entries && a->entry[i].gpa < gpa + len;

    if (counts) {
        a->seen = 0;
        atomic_store(&p->look, 1);
    }
    return counts;
}

bool await_stored(struct points *p, uint64_t gpa, uint64_t len)
{
    /* Else what is live is looked at anew before the guest goes on; the registers of several vCPUs
     * are compared when no other moves. */
    if (p->vm->cpus == 1 && !await_stale(p))
        set_bits_from(p, gpa, len);
    return await_written(p, gpa, len);
}
