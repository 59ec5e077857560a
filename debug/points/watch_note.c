/*
 * Who touches what: the hits of a vCPU's present instruction, from traps that leave the guest, from
 * devices, and from pages that are compared. See watch.h for threads.
 */
#include "debug/points/watch_int.h"

#include <string.h>

#include "debug/points/await.h"
#include "debug/points/points.h"
#include "debug/points/watch_pages.h"
#include "debug/points/watch_push.h"
#include "vmm/base/le.h"
#include "vmm/base/x.h"
#include "vmm/x86_bits.h"

struct watch_hit *watch_hit_find(const struct watch_cpu *c, const struct bp *b)
{
    for (unsigned i = 0; i < c->hits; i++)
        if (c->hit[i].bp == b)
            return &c->hit[i];
    return NULL;
}

static struct watch_hit *hit_slot(struct watch_cpu *c, struct bp *b)
{
    struct watch_hit *h = watch_hit_find(c, b);

    if (h)
        return h;
    if (!c->hits)
        c->told_len = 0;
    if (c->hits == c->cap) {
        c->cap = c->cap ? c->cap * 2 : 8;
        c->hit = xrealloc(c->hit, c->cap, sizeof *c->hit);
    }
    c->hit[c->hits] = (struct watch_hit){.bp = b, .by = c->dma ? 0 : c->step_from, .dma = c->dma};
    return &c->hit[c->hits++];
}

/* The hit of this watchpoint by the present instruction; `touched`: offset of the first byte. */
struct watch_hit *watch_hit_get(struct watches *w, struct vcpu *v, struct bp *b, uint64_t touched,
                                bool write)
{
    struct watch_cpu *c = &w->cpu[v->id];
    struct watch_hit *h;
    uint64_t len = b->pub.spec.len;

    h = hit_slot(c, b);
    if (h->len && (len <= 8 || !write || h->old_value != h->new_value))
        return h;
    if (len > 8) { /* the part that changed, when there is one */
        h->off = touched;
        len = len - touched < 8 ? len - touched : 8;
    }
    h->len = (unsigned)len;
    h->old_value = h->new_value = watch_value(w, b, h->off, h->len);
    return h;
}

/* Bytes to and from memory, past planted ones. */
static void move_bytes(struct watches *w, uint64_t gpa, unsigned len, bool write, uint8_t *bytes)
{
    for (unsigned i = 0; i < len; i++) {
        struct plant *pl = points_plant(w->points, gpa + i);
        uint8_t *hva = mem_ptr(&w->vm->mem, gpa + i, 1);

        if (write && pl)
            pl->original = bytes[i];
        if (write && (!pl || pl->lifted))
            *hva = bytes[i];
        else if (write)
            continue;
        else
            bytes[i] = pl ? pl->original : *hva;
    }
}

static void store_bytes(struct watches *w, uint64_t gpa, unsigned len, bool write, uint8_t *bytes)
{
    uint8_t *hva = mem_ptr(&w->vm->mem, gpa, len);

    if (w->points->plants || !hva)
        move_bytes(w, gpa, len, write, bytes);
    else if (write)
        memcpy(hva, bytes, len);
    else
        memcpy(bytes, hva, len);
}

static void note_nodes(struct watches *w, struct vcpu *v, const struct watch_node *n, unsigned from,
                       unsigned to, bool write)
{
    for (; n; n = n->next) {
        struct watch_hit *h;

        if (from >= n->to || to <= n->from)
            continue;
        h = watch_hit_get(w, v, n->bp, n->off + (from > n->from ? from - n->from : 0), write);
        h->read |= !write;
        h->write |= write;
        if (!h->by && !h->dma && !write) /* at a read RIP is still at the instruction */
            h->by = v->sregs->cs.base + v->regs->rip;
    }
}

void watch_note_access(struct watches *w, struct vcpu *v, const struct watch_page *p, unsigned from,
                       unsigned to, bool write)
{
    note_nodes(w, v, p->whole, from, to, write);
    if (!p->line)
        return;
    for (unsigned i = from / WATCH_LINE_BYTES; i <= (to - 1) / WATCH_LINE_BYTES; i++)
        note_nodes(w, v, p->line[i], from, to, write);
}

/* An access that KVM or we carried out passes no debug register of the processor's. */
void watch_note_drs(struct watches *w, struct vcpu *v, uint64_t gpa, unsigned len, bool write)
{
    for (unsigned i = 0; i < 4; i++) {
        struct bp *b = w->dr[i];
        uint64_t from = 0, at;

        if (!b || (i && b == w->dr[i - 1]))
            continue;
        while (from < b->pub.spec.len) {
            at = watch_linear_page(w, b->pub.spec.addr + from);
            at |= (b->pub.spec.addr + from) & (PAGE_BYTES - 1);
            if (at - gpa < len) {
                struct watch_node n = {.bp = b, .to = 1, .off = from};

                note_nodes(w, v, &n, 0, 1, write);
                break;
            }
            from++;
        }
    }
}

void watch_take_values(struct watches *w, struct vcpu *v)
{
    struct watch_cpu *c = &w->cpu[v->id];

    for (unsigned i = 0; i < c->hits; i++) {
        c->hit[i].new_value = watch_value(w, c->hit[i].bp, c->hit[i].off, c->hit[i].len);
        if (c->hit[i].bp->watch.drs)
            watch_dr_told(w, c->hit[i].bp, v);
    }
}

/* Is the store at `gpa` a push where stacks are not trapped? Its page must be compared instead. */
static bool watch_is_push(const struct vcpu *v, uint64_t gpa)
{
    struct walk_regs r;
    struct walk k;

    if ((v->sregs->efer & EFER_LMA) && v->vm->probe.emulated)
        return false;
    vcpu_walk_regs(v, &r);
    walk(&v->vm->mem, &r, v->sregs->ss.base + v->regs->rsp, &k);
    return k.result == WALK_OK && gpa - k.gpa < 8;
}

static void table_written(struct watches *w, struct watch_page *p, uint64_t gpa, uint64_t len)
{
    if (await_stored(w->points, gpa, len)) {
        p->idle = 0;
    } else if (++p->idle == WATCH_IDLE_MAX) {
        atomic_store(&w->stale, 1);
    }
}

/* An access that no trap has seen, or the part of it that lies in one page. */
static void unseen_part(struct watches *w, struct vcpu *v, uint64_t gpa, unsigned len, bool write,
                        uint8_t *bytes)
{
    struct watch_page *p = watch_page_at(w, gpa);
    unsigned from = (unsigned)(gpa & (PAGE_BYTES - 1));

    if (v && p)
        watch_note_access(w, v, p, from, from + len, write);
    if (v && v->data.dr7)
        watch_note_drs(w, v, gpa, len, write);
    store_bytes(w, gpa, len, write, bytes);
    if (write && p && p->tables)
        table_written(w, p, gpa, len);
    if (write && p && p->old) /* it is told of as this, not found by comparing */
        mem_read(&w->vm->mem, gpa, p->old + from, len);
}

/* What KVM has lost of an instruction's stores, of which it told the one at `gpa` alone. Those to
 * pages that are not trapped are made. */
static void mend_pushes(struct watches *w, struct vcpu *v, uint64_t gpa, const struct pushes *lost)
{
    struct walk_regs r;

    vcpu_walk_regs(v, &r);
    for (unsigned i = 0; i < lost->count * lost->size; i++) {
        uint8_t byte = (uint8_t)(lost->word[i / lost->size] >> 8 * (i % lost->size));
        struct walk k;

        walk(&w->vm->mem, &r, lost->top + i, &k);
        if (k.result == WALK_OK && k.gpa - gpa >= lost->size && slots_page(&w->vm->slots, k.gpa))
            unseen_part(w, v, k.gpa, 1, true, &byte);
    }
}

void watch_trapped(struct watches *w, struct vcpu *v, uint64_t gpa, unsigned len, bool write,
                   uint8_t *bytes)
{
    struct watch_page *p = watch_page_at(w, gpa);
    unsigned from = (unsigned)(gpa & (PAGE_BYTES - 1));
    const uint8_t *hva = mem_ptr(&w->vm->mem, gpa, len);
    uint64_t was = write && hva ? le_load(hva, len < 8 ? len : 8) : 0;
    struct watch_cpu *c = &w->cpu[v->id];
    bool first = !c->hits;
    struct pushes pushes;

    if (p && write && !p->troubled && watch_is_push(v, gpa)) {
        p->troubled = true;
        atomic_store(&w->stale, 1);
    }
    if (p && len)
        watch_note_access(w, v, p, from, from + len < PAGE_BYTES ? from + len : PAGE_BYTES, write);
    if (v->data.dr7)
        watch_note_drs(w, v, gpa, len, write);
    if (write && first && c->hits)
        c->told_len = len;
    store_bytes(w, gpa, len, write, bytes);
    if (write && p && p->tables)
        table_written(w, p, gpa, len);
    if (write && watch_may_be_pushes(v, gpa) && watch_pushes(w, v, gpa, len, &pushes))
        mend_pushes(w, v, gpa, &pushes);
    if (write)
        watch_take_values(w, v);
    if (write && p && watch_pages_suspect(w, p, was, le_load(bytes, len < 8 ? len : 8)))
        atomic_store(&w->stale, 1);
}

void watch_dma(struct watches *w, struct vcpu *v, const struct dev *d, uint64_t gpa, void *dst,
               const void *src, size_t len)
{
    uint8_t page[PAGE_BYTES];

    if (v)
        w->cpu[v->id].dma = d;
    for (size_t done = 0, n; done < len; done += n) {
        size_t room = PAGE_BYTES - (size_t)((gpa + done) & (PAGE_BYTES - 1));

        n = len - done < room ? len - done : room;
        if (!dst)
            memcpy(page, (const uint8_t *)src + done, n);
        unseen_part(w, v, gpa + done, (unsigned)n, !dst, dst ? (uint8_t *)dst + done : page);
    }
    if (!v)
        return;
    if (!dst)
        watch_take_values(w, v);
    w->cpu[v->id].dma = NULL;
}

/* ---- comparing ------------------------------------------------------------------------------- */

void watch_remember(struct watches *w, struct watch_page *p)
{
    if (!p->old)
        p->old = xmalloc(PAGE_BYTES);
    mem_read(&w->vm->mem, p->gpa, p->old, PAGE_BYTES);
}

static void compare_node(struct watches *w, struct vcpu *v, struct watch_page *p,
                         const struct watch_node *n, const uint8_t *now)
{
    struct watch_hit *h;
    unsigned at = n->from;

    while (at < n->to && p->old[at] == now[at])
        at++;
    if (at == n->to)
        return;
    h = watch_hit_get(w, v, n->bp, n->off + (at - n->from), true);
    h->write = true;
    /* The old bytes: of this page from the copy, of others as they are. */
    for (unsigned i = 0; i < h->len; i++) {
        uint64_t off = h->off + i;

        if (off < n->off || off - n->off >= (uint64_t)(n->to - n->from))
            continue;
        h->old_value &= ~(0xffull << 8 * i);
        h->old_value |= (uint64_t)p->old[n->from + (off - n->off)] << 8 * i;
    }
}

void watch_compare_page(struct watches *w, struct vcpu *v, struct watch_page *p)
{
    const uint8_t *now = mem_ptr(&w->vm->mem, p->gpa, PAGE_BYTES);

    if (!now || !p->old || !memcmp(now, p->old, PAGE_BYTES))
        return;
    if (p->tables)
        (void)await_written(w->points, p->gpa, PAGE_BYTES);
    for (const struct watch_node *n = p->whole; n; n = n->next)
        compare_node(w, v, p, n, now);
    for (unsigned i = 0; p->line && i < WATCH_LINES; i++) {
        unsigned at = i * WATCH_LINE_BYTES;

        if (!p->line[i] || !memcmp(now + at, p->old + at, WATCH_LINE_BYTES))
            continue;
        for (const struct watch_node *n = p->line[i]; n; n = n->next)
            compare_node(w, v, p, n, now);
    }
    memcpy(p->old, now, PAGE_BYTES);
}

void watch_compare(struct watches *w, struct vcpu *v)
{
    pthread_mutex_lock(&w->vm->m.lock); /* other vCPUs compare with the same copies */
    for (size_t i = 0; i < w->pages; i++)
        if (w->page[i]->how == WATCH_STEPS)
            watch_compare_page(w, v, w->page[i]);
    pthread_mutex_unlock(&w->vm->m.lock);
}

bool watch_counts(const struct watch_hit *h)
{
    unsigned access = h->bp->pub.spec.access;

    if (access & WATCH_CHANGE)
        return h->write && h->old_value != h->new_value;
    return (h->read && (access & WATCH_READ)) || (h->write && (access & WATCH_WRITE));
}
