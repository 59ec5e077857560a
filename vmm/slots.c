/*
 * Memory slots: planning them, and telling KVM the difference. See slots.h for threads.
 */
#include "vmm/slots.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/log.h"
#include "vmm/base/x.h"
#include "vmm/kvm.h"

static uint64_t page_of(uint64_t gpa)
{
    return gpa & ~(uint64_t)(PAGE_BYTES - 1);
}

/* Index of the first page at or above `gpa`. */
static size_t lower(const struct slots *s, uint64_t gpa)
{
    size_t lo = 0, hi = s->pages;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;

        if (s->page[mid].gpa < gpa)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static struct slot_page *find(const struct slots *s, uint64_t gpa)
{
    size_t i = lower(s, page_of(gpa));

    return i < s->pages && s->page[i].gpa == page_of(gpa) ? &s->page[i] : NULL;
}

const struct slot_page *slots_page(const struct slots *s, uint64_t gpa)
{
    return find(s, gpa);
}

void slots_trap(struct slots *s, uint64_t gpa, enum slot_trap trap)
{
    size_t at = lower(s, page_of(gpa));
    bool there = at < s->pages && s->page[at].gpa == page_of(gpa);

    if (trap == SLOT_OPEN) {
        if (!there)
            return;
        memmove(&s->page[at], &s->page[at + 1], (s->pages - at - 1) * sizeof *s->page);
        s->pages--;
        return;
    }
    if (!there) {
        if (s->pages == s->page_cap) {
            s->page_cap = s->page_cap ? s->page_cap * 2 : 16;
            s->page = xrealloc(s->page, s->page_cap, sizeof *s->page);
        }
        memmove(&s->page[at + 1], &s->page[at], (s->pages - at) * sizeof *s->page);
        s->pages++;
    }
    s->page[at] = (struct slot_page){.gpa = page_of(gpa), .trap = trap};
}

void slots_lift(struct slots *s, uint64_t gpa, bool lifted)
{
    struct slot_page *p = find(s, gpa);

    if (p)
        p->lifted = lifted;
}

void slots_lift_all(struct slots *s, bool lifted)
{
    for (size_t i = 0; i < s->pages; i++)
        s->page[i].lifted = lifted;
}

/* ---- planning -------------------------------------------------------------------------------- */

struct plan {
    const struct mem_region *r;
    struct slot *slot;
    size_t count, cap;
};

static void put(struct plan *p, uint64_t from, uint64_t to, bool readonly)
{
    if (from >= to)
        return;
    if (p->count == p->cap) {
        p->cap = p->cap ? p->cap * 2 : 8;
        p->slot = xrealloc(p->slot, p->cap, sizeof *p->slot);
    }
    p->slot[p->count++] = (struct slot){.gpa = from,
                                        .len_bytes = to - from,
                                        .hva = p->r->hva + (from - p->r->gpa),
                                        .readonly = readonly};
}

static bool joins(const struct slot_page *a, const struct slot_page *b)
{
    return !a->lifted && !b->lifted && a->trap == b->trap && b->gpa == a->gpa + PAGE_BYTES;
}

/* One region: `at` walks over the pages in it. */
static void plan_region(struct plan *p, const struct slot_page *page, size_t pages)
{
    uint64_t at = p->r->gpa, end = p->r->gpa + p->r->len_bytes;

    for (size_t i = 0; i < pages;) {
        size_t n = 1;
        uint64_t to;

        if (page[i].gpa < p->r->gpa || page[i].gpa >= end) {
            i++;
            continue;
        }
        while (i + n < pages && page[i + n].gpa < end && joins(&page[i + n - 1], &page[i + n]))
            n++;
        to = page[i].gpa + n * PAGE_BYTES;
        put(p, at, page[i].gpa, false);
        if (page[i].lifted || page[i].trap == SLOT_READ_ONLY)
            put(p, page[i].gpa, to, !page[i].lifted);
        at = to;
        i += n;
    }
    put(p, at, end, false);
}

size_t slots_plan(const struct mem *m, const struct slot_page *page, size_t pages,
                  struct slot **out)
{
    struct plan p = {0};

    for (unsigned i = 0; i < m->regions; i++) {
        p.r = &m->region[i];
        plan_region(&p, page, pages);
    }
    *out = p.slot;
    return p.count;
}

/* ---- telling KVM ----------------------------------------------------------------------------- */

static uint32_t take_id(struct slots *s)
{
    return s->spares ? s->spare[--s->spares] : s->next_id++;
}

static void give_id(struct slots *s, uint32_t id)
{
    if (s->spares == s->spare_cap) {
        s->spare_cap = s->spare_cap ? s->spare_cap * 2 : 16;
        s->spare = xrealloc(s->spare, s->spare_cap, sizeof *s->spare);
    }
    s->spare[s->spares++] = id;
}

static int tell(struct slots *s, const struct slot *x, bool there)
{
    s->changes++;
    return s->vm < 0 ? 0
                     : kvm_set_slot(s->vm, x->id, x->gpa, there ? x->len_bytes : 0, x->hva,
                                    there && x->readonly ? KVM_MEM_READONLY : 0);
}

static bool same(const struct slot *a, const struct slot *b)
{
    return a->gpa == b->gpa && a->len_bytes == b->len_bytes && a->readonly == b->readonly;
}

/* Both lists ascend: slots in both keep their id, the others of `now` are deleted. */
static int drop_old(struct slots *s, struct slot *want, size_t count, bool *kept)
{
    size_t w = 0;
    int rc = 0;

    for (size_t i = 0; i < s->count && rc == 0; i++) {
        while (w < count && want[w].gpa < s->now[i].gpa)
            w++;
        if (w < count && same(&want[w], &s->now[i])) {
            want[w].id = s->now[i].id;
            kept[w] = true;
            continue;
        }
        rc = tell(s, &s->now[i], false);
        give_id(s, s->now[i].id);
    }
    return rc;
}

int slots_apply(struct slots *s, struct err *e)
{
    struct slot *want;
    size_t count = slots_plan(s->mem, s->page, s->pages, &want);
    bool *kept;
    int rc;

    if (count > s->max) {
        free(want);
        return err_set(e, ENOSPC,
                       "%zu memory slots would be needed, and this KVM holds %u: watch fewer "
                       "pages, or pages that touch",
                       count, s->max);
    }
    kept = xcalloc(count ? count : 1, sizeof *kept);
    rc = drop_old(s, want, count, kept);
    for (size_t i = 0; i < count && rc == 0; i++) {
        if (kept[i])
            continue;
        want[i].id = take_id(s);
        rc = tell(s, &want[i], true);
    }
    free(kept);
    free(s->now);
    s->now = want;
    s->count = count;
    if (rc < 0)
        return err_set(e, -rc, "KVM refused a change of guest memory slots: %s", strerror(-rc));
    return 0;
}

int slots_init(struct slots *s, int vm, const struct mem *m, unsigned max, struct err *e)
{
    *s = (struct slots){.vm = vm, .mem = m, .max = max};
    return slots_apply(s, e);
}

void slots_fini(struct slots *s)
{
    free(s->page);
    free(s->now);
    free(s->spare);
    *s = (struct slots){.vm = -1};
}
