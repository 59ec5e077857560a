/*
 * See watch_ask.h. What is told of a hit is made by watch_note.c and watch_run.c alone; this file
 * only finds out that there is nothing to tell.
 */
#include "debug/points/watch_ask.h"

#include "debug/engine/engine.h"
#include "debug/points/watch_pages.h"
#include "debug/points/watch_push.h"
#include "debug/points/watch_rest.h"
#include "vmm/base/le.h"

#define ASKED_MAX 4

/* Watchpoints that the access touches. */
struct asked {
    struct bp *bp[ASKED_MAX];
    unsigned count;
};

/* False when there are too many. A long one stands in several lines. */
static bool collect(struct asked *a, const struct watch_node *n, unsigned from, unsigned to,
                    unsigned access)
{
    for (; n; n = n->next) {
        bool had = false;

        if (from >= n->to || to <= n->from || !(n->bp->pub.spec.access & access))
            continue;
        for (unsigned i = 0; i < a->count; i++)
            had |= a->bp[i] == n->bp;
        if (had)
            continue;
        if (a->count == ASKED_MAX)
            return false;
        a->bp[a->count++] = n->bp;
    }
    return true;
}

static bool touched(struct asked *a, const struct watch_page *p, unsigned from, unsigned to,
                    bool write)
{
    unsigned access = write ? WATCH_WRITE | WATCH_CHANGE : WATCH_READ;

    a->count = 0;
    if (!collect(a, p->whole, from, to, access))
        return false;
    if (!p->line)
        return true;
    for (unsigned i = from / WATCH_LINE_BYTES; i <= (to - 1) / WATCH_LINE_BYTES; i++)
        if (!collect(a, p->line[i], from, to, access))
            return false;
    return true;
}

static bool is_planted(const struct points *p, uint64_t gpa, unsigned len)
{
    for (unsigned i = 0; p->plants && i < len; i++)
        if (points_plant(p, gpa + i))
            return true;
    return false;
}

/* May this one be asked now? What it counts must not depend on the rest of the instruction. */
static bool can_ask(const struct bp *b, const struct vcpu *v)
{
    const struct point_spec *spec = &b->pub.spec;

    return b->cond && !spec->test && !(spec->access & WATCH_CHANGE) &&
           (spec->vcpu < 0 || spec->vcpu == (int)v->id);
}

/* Is the condition of each false? */
static bool all_false(struct engine *g, struct vcpu *v, const struct asked *a)
{
    struct watch_cpu *c = &g->points.watches.cpu[v->id];
    uint64_t value;

    for (unsigned i = 0; i < a->count; i++)
        if (engine_eval(g, v, a->bp[i]->cond, NULL, &value, NULL) < 0 || value || !c->asking)
            return false;
    for (unsigned i = 0; i < a->count; i++)
        atomic_fetch_add_explicit(&a->bp[i]->false_hits, 1, memory_order_relaxed);
    return true;
}

/* At most 8 bytes; most are 4 or 8. */
static uint64_t load(const uint8_t *from, unsigned len)
{
    return len == 4 ? le_load(from, 4) : len == 8 ? le_load(from, 8) : le_load(from, len);
}

static void store(uint8_t *to, unsigned len, uint64_t x)
{
    if (len == 4)
        le_store(to, 4, x);
    else if (len == 8)
        le_store(to, 8, x);
    else
        le_store(to, len, x);
}

/* The access is the whole instruction's, and the registers after it are known. No plain load is a
 * string's. */
static bool is_whole(struct watches *w, struct vcpu *v, bool write)
{
    return !(write && watch_may_be_string(v)) && watch_rest_open(w, v);
}

static bool ask(struct engine *g, struct vcpu *v, struct asked *a, uint8_t *hva, uint64_t was,
                unsigned len, bool write, uint8_t *bytes)
{
    struct watches *w = &g->points.watches;
    bool none;

    for (unsigned i = 0; i < a->count; i++)
        if (!can_ask(a->bp[i], v))
            return false;
    if (!is_whole(w, v, write))
        return false;
    store(write ? hva : bytes, len, write ? load(bytes, len) : was);
    w->cpu[v->id].asking = true;
    none = all_false(g, v, a);
    w->cpu[v->id].asking = false;
    watch_rest_close(w, v);
    if (!none && write)
        store(hva, len, was); /* it is made, and seen, once more */
    return none;
}

bool watch_ask(struct engine *g, struct vcpu *v, uint64_t gpa, unsigned len, bool write,
               uint8_t *bytes)
{
    struct watches *w = &g->points.watches;
    const struct watch_cpu *c = &w->cpu[v->id];
    struct watch_page *p = watch_page_at(w, gpa);
    unsigned from = (unsigned)(gpa & (PAGE_BYTES - 1));
    uint8_t *hva;
    uint64_t was;
    struct asked a;

    if (!p || c->hits || c->step_from || v->data.dr7 || is_planted(w->points, gpa, len) ||
        (write && p->tables))
        return false;
    hva = mem_ptr(&w->vm->mem, gpa, len);
    if (!hva || !touched(&a, p, from, from + len, write) || (write && watch_may_be_pushes(v, gpa)))
        return false;
    was = load(hva, len);
    if (!a.count)
        store(write ? hva : bytes, len, write ? load(bytes, len) : was);
    else if (!ask(g, v, &a, hva, was, len, write, bytes))
        return false;
    if (write && watch_pages_suspect(w, p, was, load(bytes, len)))
        atomic_store(&w->stale, 1);
    return true;
}
