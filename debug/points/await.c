/*
 * Watching page tables for points that wait. See await.h.
 */
#include "debug/points/await.h"

#include <string.h>

#include "debug/points/points.h"
#include "vmm/vcpu.h"

struct entry {
    uint64_t gpa;
    unsigned size;
};

static enum hook_answer on_write(void *arg, struct hook_call *c)
{
    (void)c;
    atomic_store(&((struct points *)arg)->look, 1);
    return HOOK_GO;
}

static bool waits(const struct points *p, const struct bp *b)
{
    const struct point_spec *spec = &b->pub.spec;

    return spec->kind == POINT_BREAK && spec->space == SPACE_LINEAR && !spec->unresolved &&
           (b->method == BP_PENDING ||
            (b->method == BP_DR &&
             !method_usable(&p->vm->methods, MF_BREAK, PM_LONG3, METHOD_DEBUG_REG)));
}

static unsigned add(struct entry want[AWAIT_MAX], unsigned n, const struct walk_step *s)
{
    unsigned i = 0;

    while (i < n && want[i].gpa != s->entry_gpa)
        i++;
    if (i < n || n == AWAIT_MAX)
        return n;
    want[n] = (struct entry){.gpa = s->entry_gpa, .size = s->entry_size};
    return n + 1;
}

/* Is the point's page where it is going to be? One that is mapped for ring 0 alone may become ring
 * 3's as well, but so may each page of a kernel's, and hardly any ever does: kicks look at these.
 * Not so when the last entry is open for ring 3 and another on the way is not yet. */
static bool has_come(const struct points *p, const struct walk *w)
{
    return w->result == WALK_OK && mem_ptr(&p->vm->mem, w->gpa, 1) &&
           (w->user || !(w->step[w->steps - 1].entry & 4));
}

/* Each of the entries on the way may be the one that is changed. */
static unsigned add_way(struct points *p, const struct vcpu *v, uint64_t linear,
                        struct entry want[AWAIT_MAX], unsigned n)
{
    struct walk_regs r;
    struct walk w;

    vcpu_walk_regs(v, &r);
    walk(&p->vm->mem, &r, linear, &w);
    if (w.mode == PAGING_NONE || has_come(p, &w))
        return n;
    for (unsigned i = 0; i < w.steps; i++)
        if (mem_ptr(&p->vm->mem, w.step[i].entry_gpa, w.step[i].entry_size))
            n = add(want, n, &w.step[i]);
    return n;
}

static unsigned add_ways(struct points *p, uint64_t linear, struct entry want[AWAIT_MAX],
                         unsigned n)
{
    for (unsigned k = 0; k < p->vm->cpus && n < AWAIT_MAX; k++)
        n = add_way(p, p->vm->cpu[k], linear, want, n);
    return n;
}

static unsigned add_point(struct points *p, const struct bp *b, struct entry want[AWAIT_MAX],
                          unsigned n)
{
    return waits(p, b) ? add_ways(p, b->pub.spec.addr, want, n) : n;
}

/* Pages of a watchpoint that are not mapped. */
static unsigned add_watch(struct points *p, const struct bp *b, struct entry want[AWAIT_MAX],
                          unsigned n)
{
    for (unsigned i = 0; b->pub.pending && i < b->watch.pages && n < AWAIT_MAX; i++)
        if (b->watch.gpa[i] == UINT64_MAX)
            n = add_ways(p, (b->pub.spec.addr & ~(uint64_t)(PAGE_BYTES - 1)) + i * PAGE_BYTES, want,
                         n);
    return n;
}

/* Thousands of points that are in their place cost nothing here. */
static unsigned collect(struct points *p, struct entry want[AWAIT_MAX])
{
    unsigned n = 0;

    for (unsigned i = 0; i < p->dr_usable; i++)
        if (p->dr_owner[i])
            n = add_point(p, p->dr_owner[i], want, n);
    for (unsigned i = 0; p->pending && i < p->count && n < AWAIT_MAX; i++)
        if (p->bp[i] && p->bp[i]->method == BP_PENDING)
            n = add_point(p, p->bp[i], want, n);
    for (unsigned i = 0; watch_waits(&p->watches) && i < p->count && n < AWAIT_MAX; i++)
        if (p->bp[i] && p->bp[i]->method == BP_WATCH)
            n = add_watch(p, p->bp[i], want, n);
    return n;
}

static void forget(struct points *p)
{
    while (p->awaits)
        (void)points_del(p, p->await_id[--p->awaits]);
}

static bool is_same(const struct points *p, const struct entry *want, unsigned n)
{
    for (unsigned i = 0; i < n && n == p->awaits; i++) {
        const struct bp *b = points_get(p, p->await_id[i]);

        if (!b || b->pub.spec.addr != want[i].gpa)
            return false;
    }
    return n == p->awaits;
}

static unsigned wanted(struct points *p, struct entry want[AWAIT_MAX])
{
    return p->vm->probe.emulated ? collect(p, want) : 0;
}

bool await_stale(struct points *p)
{
    struct entry want[AWAIT_MAX] = {{0, 0}};

    return !is_same(p, want, wanted(p, want));
}

void await_refresh(struct points *p)
{
    struct entry want[AWAIT_MAX] = {{0, 0}};
    unsigned n = wanted(p, want);

    if (is_same(p, want, n))
        return;
    forget(p);
    for (unsigned i = 0; i < n; i++) {
        struct point_spec spec = {
            .kind = POINT_WATCH,
            .space = SPACE_PHYS,
            .addr = want[i].gpa,
            .len = want[i].size,
            .access = WATCH_WRITE,
            .hidden = true,
            .vcpu = -1,
            .hit = on_write,
            .hit_arg = p,
        };
        int id = points_add(p, &spec, NULL, NULL);

        if (id > 0) /* else this host cannot watch: the next kick has to do */
            p->await_id[p->awaits++] = id;
    }
}
