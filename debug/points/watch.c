/*
 * Watchpoints: placing them on pages, or on debug registers (watch_drs.c). See watch.h for threads;
 * watch_pages.c chooses how a page is watched, watch_note.c notes who touches it, the engine
 * decides about stops.
 */
#include "debug/points/watch_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "debug/points/points.h"
#include "debug/points/points_int.h"
#include "debug/points/watch_pages.h"
#include "disasm/disasm.h"
#include "vmm/base/le.h"
#include "vmm/base/log.h"
#include "vmm/base/x.h"

#define NOT_MAPPED UINT64_MAX

static uint64_t page_of(uint64_t at)
{
    return at & ~(uint64_t)(PAGE_BYTES - 1);
}

void watches_init(struct watches *w, struct points *p, struct vm *vm)
{
    *w = (struct watches){.points = p, .vm = vm};
}

/* Frees the nodes of one watchpoint (NULL: of all); true when there were any. */
static bool drop_nodes(struct watch_node **at, const struct bp *b)
{
    bool had = false;

    while (*at) {
        struct watch_node *n = *at;

        if (b && n->bp != b) {
            at = &n->next;
            continue;
        }
        *at = n->next;
        free(n);
        had = true;
    }
    return had;
}

static void page_free(struct watch_page *p)
{
    drop_nodes(&p->whole, NULL);
    for (unsigned i = 0; p->line && i < WATCH_LINES; i++)
        drop_nodes(&p->line[i], NULL);
    free(p->line);
    free(p->old);
    free(p);
}

void watches_fini(struct watches *w)
{
    for (size_t i = 0; i < w->pages; i++)
        page_free(w->page[i]);
    free(w->page);
    for (unsigned i = 0; i < MACHINE_CPUS_MAX; i++) {
        free(w->cpu[i].hit);
        disasm_free(w->cpu[i].disasm);
    }
    *w = (struct watches){0};
}

/* ---- the table of pages ---------------------------------------------------------------------- */

static size_t lower(const struct watches *w, uint64_t gpa)
{
    size_t lo = 0, hi = w->pages;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;

        if (w->page[mid]->gpa < gpa)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

struct watch_page *watch_page_at(const struct watches *w, uint64_t gpa)
{
    size_t i = lower(w, page_of(gpa));

    return i < w->pages && w->page[i]->gpa == page_of(gpa) ? w->page[i] : NULL;
}

static struct watch_page *page_get(struct watches *w, uint64_t gpa)
{
    size_t at = lower(w, gpa);
    struct watch_page *p;

    if (at < w->pages && w->page[at]->gpa == gpa)
        return w->page[at];
    if (w->pages == w->cap) {
        w->cap = w->cap ? w->cap * 2 : 16;
        w->page = xrealloc(w->page, w->cap, sizeof *w->page);
    }
    p = xcalloc(1, sizeof *p);
    p->gpa = gpa;
    p->how = WATCH_HOWS; /* not chosen yet */
    memmove(&w->page[at + 1], &w->page[at], (w->pages - at) * sizeof *w->page);
    w->page[at] = p;
    w->pages++;
    return p;
}

static bool is_used(const struct watch_page *p)
{
    return p->parts || p->plants || p->tables;
}

static void page_drop(struct watches *w, struct watch_page *p)
{
    size_t at = lower(w, p->gpa);

    slots_trap(&w->vm->slots, p->gpa, SLOT_OPEN);
    memmove(&w->page[at], &w->page[at + 1], (w->pages - at - 1) * sizeof *w->page);
    w->pages--;
    page_free(p);
}

/* ---- where the bytes lie --------------------------------------------------------------------- */

static uint64_t first_page(const struct bp *b)
{
    return page_of(b->pub.spec.addr);
}

static unsigned page_count(const struct point_spec *spec)
{
    return (unsigned)((page_of(spec->addr + spec->len - 1) - page_of(spec->addr)) / PAGE_BYTES + 1);
}

uint64_t watch_linear_page(const struct watches *w, uint64_t linear)
{
    for (unsigned i = 0; i < w->vm->cpus; i++) {
        struct walk_regs r;
        struct walk k;

        vcpu_walk_regs(w->vm->cpu[i], &r);
        walk(&w->vm->mem, &r, linear, &k);
        if (k.result == WALK_OK && mem_ptr(&w->vm->mem, page_of(k.gpa), PAGE_BYTES))
            return page_of(k.gpa);
    }
    return NOT_MAPPED;
}

static uint64_t resolve(const struct watches *w, const struct bp *b, unsigned i)
{
    uint64_t at = first_page(b) + (uint64_t)i * PAGE_BYTES;

    return b->pub.spec.space == SPACE_LINEAR ? watch_linear_page(w, at) : at;
}

uint64_t watch_value(const struct watches *w, const struct bp *b, uint64_t off, unsigned len)
{
    uint8_t raw[8] = {0};

    for (unsigned i = 0, n; i < len; i += n) {
        const uint8_t *hva;
        uint64_t at = b->pub.spec.addr + off + i, room = PAGE_BYTES - (at & (PAGE_BYTES - 1));
        uint64_t gpa = at;

        n = room < len - i ? (unsigned)room : len - i;
        if (b->watch.pages)
            gpa = b->watch.gpa[(at - first_page(b)) / PAGE_BYTES];
        else if (b->pub.spec.space == SPACE_LINEAR)
            gpa = watch_linear_page(w, at);
        if (gpa == NOT_MAPPED)
            continue;
        gpa = page_of(gpa) | (at & (PAGE_BYTES - 1));
        hva = mem_ptr(&w->vm->mem, gpa, n);
        if (!hva)
            continue;
        memcpy(&raw[i], hva, n);
        points_hide(w->points, gpa, &raw[i], n);
    }
    return le_load(raw, len);
}

/* ---- on pages -------------------------------------------------------------------------------- */

static void add_node(struct watch_node **head, struct watch_node like)
{
    struct watch_node *n = xcalloc(1, sizeof *n);

    *n = like;
    n->next = *head;
    *head = n;
}

static void add_part(struct watches *w, struct bp *b, uint64_t gpa, unsigned from, unsigned to,
                     uint64_t off)
{
    struct watch_node n = {.bp = b, .from = (uint16_t)from, .to = (uint16_t)to, .off = off};
    struct watch_page *p = page_get(w, gpa);

    if (to - from == PAGE_BYTES) {
        add_node(&p->whole, n);
    } else {
        if (!p->line)
            p->line = xcalloc(WATCH_LINES, sizeof *p->line);
        for (unsigned i = from / WATCH_LINE_BYTES; i <= (to - 1) / WATCH_LINE_BYTES; i++)
            add_node(&p->line[i], n);
    }
    p->parts++;
    p->readers += (b->pub.spec.access & WATCH_READ) != 0;
}

static void drop_part(struct watches *w, struct bp *b, uint64_t gpa)
{
    struct watch_page *p = watch_page_at(w, gpa);
    bool had;

    if (!p)
        return;
    had = drop_nodes(&p->whole, b);
    for (unsigned i = 0; p->line && i < WATCH_LINES; i++)
        had |= drop_nodes(&p->line[i], b);
    if (!had)
        return;
    p->parts--;
    p->readers -= (b->pub.spec.access & WATCH_READ) != 0;
    if (!is_used(p))
        page_drop(w, p);
}

void watch_need(struct watches *w, uint64_t gpa, enum watch_need need, bool on)
{
    struct watch_page *p = on ? page_get(w, page_of(gpa)) : watch_page_at(w, gpa);
    unsigned one = on ? 1 : -1u;

    if (!p)
        return;
    w->guards_stale = true;
    switch (need) {
    case NEED_GUARD:
        p->plants += one;
        break;
    case NEED_TABLE:
        p->tables += one;
        break;
    case NEED_FETCH: /* as a watchpoint on reads would */
        p->parts += one;
        p->readers += one;
        break;
    }
    if (!is_used(p))
        page_drop(w, p);
}

/* A page that nobody has mapped yet: a kernel that is linked high has its data in memory before it
 * maps itself, and stores to them at once when it has. */
static uint64_t foreseen(const struct watches *w, const struct bp *b, uint64_t linear)
{
    uint64_t gpa;

    if (b->pub.spec.space != SPACE_LINEAR || !boot_loaded_at(&w->vm->boot, linear, &gpa) ||
        (gpa ^ linear) & (PAGE_BYTES - 1) || !mem_ptr(&w->vm->mem, page_of(gpa), PAGE_BYTES))
        return NOT_MAPPED;
    return page_of(gpa);
}

static void put_on_pages(struct watches *w, struct bp *b)
{
    const struct point_spec *spec = &b->pub.spec;
    unsigned pages = page_count(spec);

    w->changes++;
    b->watch.pages = pages;
    b->watch.gpa = xcalloc(pages, sizeof *b->watch.gpa);
    for (unsigned i = 0; i < pages; i++) {
        uint64_t base = first_page(b) + (uint64_t)i * PAGE_BYTES;
        uint64_t from = base < spec->addr ? spec->addr - base : 0;
        uint64_t to = spec->addr + spec->len - base;

        b->watch.gpa[i] = resolve(w, b, i);
        if (b->watch.gpa[i] == NOT_MAPPED)
            b->watch.gpa[i] = foreseen(w, b, base + from);
        if (b->watch.gpa[i] != NOT_MAPPED)
            add_part(w, b, b->watch.gpa[i], (unsigned)from,
                     (unsigned)(to < PAGE_BYTES ? to : PAGE_BYTES), base + from - spec->addr);
    }
}

static void take_off_pages(struct watches *w, struct bp *b)
{
    for (unsigned i = 0; i < b->watch.pages; i++)
        if (b->watch.gpa[i] != NOT_MAPPED)
            drop_part(w, b, b->watch.gpa[i]);
    free(b->watch.gpa);
    b->watch.gpa = NULL;
    b->watch.pages = 0;
    w->changes++;
}

/* ---- placing -----------------------------------------------------------------------------------
 */

static void set_pending(struct watches *w, struct bp *b, bool pending)
{
    if (pending != b->pub.pending)
        atomic_fetch_add(&w->waiting, pending ? 1 : -1);
    b->pub.pending = pending;
}

static void tell_method(struct watches *w, struct bp *b)
{
    enum watch_how how = WATCH_BY_DR;
    bool pending = false;

    for (unsigned i = 0; i < b->watch.pages; i++) {
        const struct watch_page *p = watch_page_at(w, b->watch.gpa[i]);

        if (!p)
            pending = true;
        else if (p->how > how && p->how < WATCH_HOWS)
            how = p->how;
    }
    set_pending(w, b, pending);
    if (pending && how == WATCH_BY_DR)
        b->pub.method = watch_how_name(WATCH_HOWS);
    else
        b->pub.method = watch_how_name(how);
}

static void tell_methods(struct watches *w)
{
    for (unsigned i = 0; i < w->points->count; i++)
        if (w->points->bp[i]->method == BP_WATCH)
            tell_method(w, w->points->bp[i]);
}

static int check(const struct watches *w, const struct point_spec *spec, struct err *e)
{
    if (!spec->len || spec->addr + spec->len - 1 < spec->addr)
        return err_set(
            e, EINVAL,
            "cannot watch %llu bytes at 0x%llx: a length of 1 and up is needed that does "
            "not reach beyond the last address",
            (unsigned long long)spec->len, (unsigned long long)spec->addr);
    if (spec->len > w->vm->mem.ram_bytes)
        return err_set(e, EINVAL,
                       "cannot watch %llu bytes at 0x%llx: the guest has %llu MiB of memory",
                       (unsigned long long)spec->len, (unsigned long long)spec->addr,
                       (unsigned long long)(w->vm->mem.ram_bytes >> 20));
    if (spec->space != SPACE_PHYS && point_canonical(spec->addr, spec->len, e) < 0)
        return -EINVAL;
    if (!(spec->access & (WATCH_ACCESS | WATCH_CHANGE)))
        return err_set(e, EINVAL, "a watchpoint needs a kind: write, read, access or change");
    for (unsigned i = 0; spec->space == SPACE_PHYS && i < page_count(spec); i++) {
        uint64_t gpa = page_of(spec->addr) + (uint64_t)i * PAGE_BYTES;

        if (mem_ptr(&w->vm->mem, gpa, 1))
            continue;
        if (bus_mmio_dev(&w->vm->m, gpa, NULL))
            return err_set(e, EFAULT,
                           "cannot watch physical 0x%llx: a device answers there, not memory; "
                           "`catch mmio 0x%llx-0x%llx` stops at accesses to it",
                           (unsigned long long)spec->addr, (unsigned long long)spec->addr,
                           (unsigned long long)(spec->addr + spec->len - 1));
        return err_set(e, EFAULT,
                       "cannot watch physical 0x%llx: there is no memory there (the guest has "
                       "%llu MiB)",
                       (unsigned long long)spec->addr,
                       (unsigned long long)(w->vm->mem.ram_bytes >> 20));
    }
    return 0;
}

int watch_place(struct watches *w, struct bp *b, struct err *e)
{
    int rc = check(w, &b->pub.spec, e);

    if (rc < 0)
        return rc;
    if (watch_drs_put(w, b)) {
        watch_dr_remember(w, b);
    } else {
        put_on_pages(w, b);
        rc = watch_pages_choose(w, e);
        if (rc < 0) {
            take_off_pages(w, b);
            watch_pages_choose(w, NULL);
            return rc;
        }
        w->by_linear += b->pub.spec.space == SPACE_LINEAR;
    }
    b->method = BP_WATCH;
    tell_methods(w);
    tell_method(w, b);
    return 0;
}

void watch_unplace(struct watches *w, struct bp *b)
{
    set_pending(w, b, false);
    if (b->watch.drs) {
        watch_drs_take(w, b);
        return;
    }
    w->by_linear -= b->pub.spec.space == SPACE_LINEAR;
    take_off_pages(w, b);
    watch_pages_choose(w, NULL);
    b->method = BP_NONE;
    tell_methods(w);
}

void watch_guard_apply(struct watches *w)
{
    struct err e = {0};

    if (!w->guards_stale)
        return;
    w->guards_stale = false;
    if (watch_pages_choose(w, &e) >= 0)
        return;
    w->no_guards = true;
    if (watch_pages_choose(w, &e) < 0)
        log_error("watchpoints: %s", e.msg);
}

bool watch_waits(const struct watches *w)
{
    return atomic_load(&w->waiting) > 0;
}

static bool mapping_changed(const struct watches *w, const struct bp *b)
{
    for (unsigned i = 0; i < b->watch.pages; i++) {
        uint64_t now = resolve(w, b, i);

        /* What is not mapped now may be in another address space: keep what was found. */
        if (now != NOT_MAPPED && now != b->watch.gpa[i])
            return true;
    }
    return false;
}

bool watch_stale(const struct watches *w)
{
    for (unsigned i = 0; watch_waits(w) && i < w->points->count; i++) {
        const struct bp *b = w->points->bp[i];

        if (b->method == BP_WATCH && b->pub.pending && mapping_changed(w, b))
            return true;
    }
    return false;
}

bool watch_refresh(struct watches *w)
{
    bool changed = false;
    struct err e = {0};
    int rc;

    for (unsigned i = 0; w->by_linear && i < w->points->count; i++) {
        struct bp *b = w->points->bp[i];

        if (b->method != BP_WATCH || b->pub.spec.space != SPACE_LINEAR || !mapping_changed(w, b))
            continue;
        take_off_pages(w, b);
        put_on_pages(w, b);
        changed = true;
    }
    if (!w->pages && !changed)
        return false;
    w->guards_stale = false;
    rc = watch_pages_choose(w, &e);
    if (rc < 0)
        log_error("watchpoints: %s", e.msg);
    if (rc != 0 || changed)
        tell_methods(w);
    return changed;
}

void watch_resync(struct watches *w)
{
    for (unsigned i = 0; i < 4; i++)
        if (w->dr[i])
            watch_dr_remember(w, w->dr[i]);
    for (size_t i = 0; w->stepped && i < w->pages; i++)
        if (w->page[i]->how == WATCH_STEPS)
            watch_remember(w, w->page[i]);
}
