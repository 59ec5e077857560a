/*
 * Watchpoints: placing them on pages and debug registers, and noting who touches them. See watch.h
 * for threads; watch_pages.c chooses how a page is watched, the engine decides about stops.
 */
#include "debug/points/watch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "debug/operands.h"
#include "debug/points/points.h"
#include "debug/points/watch_pages.h"
#include "disasm/disasm.h"
#include "vmm/base/le.h"
#include "vmm/base/log.h"
#include "vmm/base/x.h"
#include "vmm/insn_head.h"

#define EFER_LMA   0x400u
#define NOT_MAPPED UINT64_MAX
#define INSN_MAX   15
#define OUTS_MAX   4 /* its prefixes that matter, and the opcode */

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

/* Physical page of a linear one by the tables of any vCPU, vCPU 0 first. */
static uint64_t linear_page(const struct watches *w, uint64_t linear)
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

    return b->pub.spec.space == SPACE_LINEAR ? linear_page(w, at) : at;
}

/* Bytes of a watchpoint from `off` on, as the guest sees them; what is not mapped reads as 0. */
static uint64_t value(const struct watches *w, const struct bp *b, uint64_t off, unsigned len)
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
            gpa = linear_page(w, at);
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

void watch_guard(struct watches *w, uint64_t gpa, bool on)
{
    struct watch_page *p = on ? page_get(w, page_of(gpa)) : watch_page_at(w, gpa);

    if (!p)
        return;
    w->guards_stale = true;
    p->plants += on ? 1 : -1u;
    if (!is_used(p))
        page_drop(w, p);
}

void watch_table(struct watches *w, uint64_t gpa, bool on)
{
    struct watch_page *p = on ? page_get(w, page_of(gpa)) : watch_page_at(w, gpa);

    if (!p)
        return;
    w->guards_stale = true;
    p->tables += on ? 1 : -1u;
    if (!is_used(p))
        page_drop(w, p);
}

void watch_fetch(struct watches *w, uint64_t gpa, bool on)
{
    struct watch_page *p = on ? page_get(w, page_of(gpa)) : watch_page_at(w, gpa);

    if (!p)
        return;
    w->guards_stale = true;
    p->parts += on ? 1 : -1u;
    p->readers += on ? 1 : -1u;
    if (!is_used(p))
        page_drop(w, p);
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

/* ---- on debug registers -----------------------------------------------------------------------
 */

/* Cuts [addr, addr+len) into aligned pieces of 8, 4, 2, 1; returns how many (5: more than four). */
static unsigned cut(uint64_t addr, uint64_t len, uint64_t at[4], unsigned size[4])
{
    unsigned n = 0;

    while (len && n < 5) {
        unsigned s = 8;

        while (s > len || addr & (s - 1))
            s /= 2;
        if (n < 4) {
            at[n] = addr;
            size[n] = s;
        }
        n++;
        addr += s;
        len -= s;
    }
    return n;
}

/* Debug registers are right when they fire in every mode that the guest may get into. There is no
 * kind that fires on reads alone. */
static bool dr_suits(const struct watches *w, const struct point_spec *spec)
{
    enum method_feature f = spec->access & WATCH_READ ? MF_WATCH_ACCESS : MF_WATCH_WRITE;

    if (spec->space != SPACE_LINEAR || spec->access == WATCH_READ || spec->len > 32)
        return false;
    for (unsigned m = 0; m < PROBE_MODES; m++)
        if (method_of(&w->vm->methods, f, (enum probe_mode)m) == METHOD_DEBUG_REG)
            return true;
    return false;
}

static bool put_on_drs(struct watches *w, struct bp *b)
{
    const struct point_spec *spec = &b->pub.spec;
    uint64_t at[4];
    unsigned size[4], n = cut(spec->addr, spec->len, at, size), mask = 0;

    if (n > 4 || !dr_suits(w, spec))
        return false;
    for (unsigned k = 0; k < n; k++) {
        int dr = points_spare_dr(w->points);

        if (dr < 0)
            break;
        w->dr[dr] = b;
        mask |= 1u << dr;
    }
    b->watch.drs = mask;
    if ((unsigned)__builtin_popcount(mask) < n) {
        for (unsigned i = 0; i < 4; i++)
            if (mask >> i & 1)
                w->dr[i] = NULL;
        b->watch.drs = 0;
        return false;
    }
    for (unsigned i = 0, k = 0; i < 4; i++) {
        unsigned rw = spec->access & WATCH_READ ? 3 : 1;

        if (!(mask >> i & 1))
            continue;
        for (unsigned c = 0; c < w->vm->cpus; c++) {
            struct vcpu_debug *d = &w->vm->cpu[c]->data;

            d->dr[i] = at[k];
            d->dr7 |= 2u << 2 * i | (rw | ((size[k] == 8 ? 2u : size[k] - 1) << 2)) << (16 + 4 * i);
        }
        k++;
    }
    return true;
}

static void take_off_drs(struct watches *w, struct bp *b)
{
    for (unsigned i = 0; i < 4; i++) {
        if (!(b->watch.drs >> i & 1))
            continue;
        w->dr[i] = NULL;
        for (unsigned c = 0; c < w->vm->cpus; c++)
            w->vm->cpu[c]->data.dr7 &= ~(uint64_t)(3u << 2 * i | 0xfu << (16 + 4 * i));
    }
    b->watch.drs = 0;
}

unsigned watch_dr_bits(const struct watches *w)
{
    unsigned bits = 0;

    for (unsigned i = 0; i < 4; i++)
        bits |= w->dr[i] ? 1u << i : 0;
    return bits;
}

static void dr_remember(const struct watches *w, struct bp *b)
{
    for (unsigned i = 0; i < b->pub.spec.len; i++)
        b->watch.seen[i] = (uint8_t)value(w, b, i, 1);
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
        return err_set(e, EINVAL, "a watchpoint needs a length of at least 1 that does not wrap");
    if (spec->len > w->vm->mem.ram_bytes)
        return err_set(e, EINVAL, "%llu bytes are more than the guest's memory",
                       (unsigned long long)spec->len);
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
    if (put_on_drs(w, b)) {
        dr_remember(w, b);
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
    w->placed++;
    b->method = BP_WATCH;
    tell_methods(w);
    tell_method(w, b);
    return 0;
}

void watch_unplace(struct watches *w, struct bp *b)
{
    w->placed--;
    set_pending(w, b, false);
    if (b->watch.drs) {
        take_off_drs(w, b);
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
            dr_remember(w, w->dr[i]);
    for (size_t i = 0; w->stepped && i < w->pages; i++)
        if (w->page[i]->how == WATCH_STEPS)
            watch_remember(w, w->page[i]);
}

/* ---- hits ------------------------------------------------------------------------------------ */

static struct watch_hit *hit_find(const struct watch_cpu *c, const struct bp *b)
{
    for (unsigned i = 0; i < c->hits; i++)
        if (c->hit[i].bp == b)
            return &c->hit[i];
    return NULL;
}

static struct watch_hit *hit_slot(struct watch_cpu *c, struct bp *b)
{
    struct watch_hit *h = hit_find(c, b);

    if (h)
        return h;
    if (c->hits == c->cap) {
        c->cap = c->cap ? c->cap * 2 : 8;
        c->hit = xrealloc(c->hit, c->cap, sizeof *c->hit);
    }
    c->hit[c->hits] = (struct watch_hit){.bp = b, .by = c->dma ? 0 : c->step_from, .dma = c->dma};
    return &c->hit[c->hits++];
}

/* The hit of this watchpoint by the present instruction; `touched`: offset of the first byte. */
static struct watch_hit *hit_get(struct watches *w, struct vcpu *v, struct bp *b, uint64_t touched,
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
    h->old_value = h->new_value = value(w, b, h->off, h->len);
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
        h = hit_get(w, v, n->bp, n->off + (from > n->from ? from - n->from : 0), write);
        h->read |= !write;
        h->write |= write;
        if (!h->by && !h->dma && !write) /* at a read RIP is still at the instruction */
            h->by = v->sregs->cs.base + v->regs->rip;
    }
}

static void note_access(struct watches *w, struct vcpu *v, const struct watch_page *p,
                        unsigned from, unsigned to, bool write)
{
    note_nodes(w, v, p->whole, from, to, write);
    if (!p->line)
        return;
    for (unsigned i = from / WATCH_LINE_BYTES; i <= (to - 1) / WATCH_LINE_BYTES; i++)
        note_nodes(w, v, p->line[i], from, to, write);
}

/* An access that KVM or we carried out passes no debug register of the processor's. */
static void note_drs(struct watches *w, struct vcpu *v, uint64_t gpa, unsigned len, bool write)
{
    for (unsigned i = 0; i < 4; i++) {
        struct bp *b = w->dr[i];
        uint64_t from = 0, at;

        if (!b || (i && b == w->dr[i - 1]))
            continue;
        while (from < b->pub.spec.len) {
            at = linear_page(w, b->pub.spec.addr + from);
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

static void take_new_values(struct watches *w, struct vcpu *v)
{
    struct watch_cpu *c = &w->cpu[v->id];

    for (unsigned i = 0; i < c->hits; i++) {
        c->hit[i].new_value = value(w, c->hit[i].bp, c->hit[i].off, c->hit[i].len);
        if (c->hit[i].bp->watch.drs)
            dr_remember(w, c->hit[i].bp);
    }
}

bool watch_is_push(const struct vcpu *v, uint64_t gpa)
{
    struct walk_regs r;
    struct walk k;

    if ((v->sregs->efer & 0x400) && v->vm->probe.emulated)
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

void watch_trapped(struct watches *w, struct vcpu *v, uint64_t gpa, unsigned len, bool write,
                   uint8_t *bytes)
{
    struct watch_page *p = watch_page_at(w, gpa);
    unsigned from = (unsigned)(gpa & (PAGE_BYTES - 1));
    const uint8_t *hva = mem_ptr(&w->vm->mem, gpa, len);
    uint64_t was = write && hva ? le_load(hva, len < 8 ? len : 8) : 0;

    if (p && write && !p->troubled && watch_is_push(v, gpa)) {
        p->troubled = true;
        atomic_store(&w->stale, 1);
    }
    if (p && len)
        note_access(w, v, p, from, from + len < PAGE_BYTES ? from + len : PAGE_BYTES, write);
    if (v->data.dr7)
        note_drs(w, v, gpa, len, write);
    store_bytes(w, gpa, len, write, bytes);
    if (write && p && p->tables)
        table_written(w, p, gpa, len);
    if (write)
        take_new_values(w, v);
    if (write && p && watch_pages_suspect(w, p, was, le_load(bytes, len < 8 ? len : 8)))
        atomic_store(&w->stale, 1);
}

/* The part of a device's access that lies in one page. */
static void dma_part(struct watches *w, struct vcpu *v, uint64_t gpa, unsigned len, bool write,
                     uint8_t *bytes)
{
    struct watch_page *p = watch_page_at(w, gpa);
    unsigned from = (unsigned)(gpa & (PAGE_BYTES - 1));

    if (v && p)
        note_access(w, v, p, from, from + len, write);
    if (v && v->data.dr7)
        note_drs(w, v, gpa, len, write);
    store_bytes(w, gpa, len, write, bytes);
    if (write && p && p->tables)
        table_written(w, p, gpa, len);
    if (write && p && p->old) /* it is told of as this, not found by comparing */
        mem_read(&w->vm->mem, gpa, p->old + from, len);
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
        dma_part(w, v, gpa + done, (unsigned)n, !dst, dst ? (uint8_t *)dst + done : page);
    }
    if (!v)
        return;
    if (!dst)
        take_new_values(w, v);
    w->cpu[v->id].dma = NULL;
}

/* ---- by operands -------------------------------------------------------------------------------
 */

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
        note_access(w, v, p, from, from + len, write);
    if (p && p->tables && write)
        (void)await_written(w->points, k.gpa, len);
    if (w->cpu[v->id].no_traps && v->data.dr7 && k.result == WALK_OK)
        note_drs(w, v, k.gpa, len, write);
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
    for (int i = 0; i < c->expect.count; i++)
        if (c->expect.at[i].is_repeated)
            expect_elements(w, v, i);
    take_new_values(w, v);
}

/* Elements that KVM has stored behind the back of the debug registers: as expect_elements, with the
 * old values that were remembered. */
static void stored_elements(struct watches *w, struct vcpu *v, int i, uint64_t by)
{
    struct watch_cpu *c = &w->cpu[v->id];
    unsigned before = c->hits;

    c->no_traps = true;
    expect_elements(w, v, i);
    c->no_traps = false;
    for (unsigned k = before; k < c->hits; k++) {
        struct watch_hit *h = &c->hit[k];
        unsigned len = (unsigned)h->bp->pub.spec.len;

        h->by = by;
        if (!h->bp->watch.drs)
            continue;
        for (unsigned at = 0; len > 8 && at < len; at++)
            if (h->bp->watch.seen[at] != (uint8_t)value(w, h->bp, at, 1)) {
                h->off = at;
                h->len = len - at < 8 ? len - at : 8;
                break;
            }
        h->old_value = le_load(&h->bp->watch.seen[h->off], h->len);
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
    for (int i = 0; i < c->expect.count; i++)
        if (c->expect.at[i].is_repeated)
            stored_elements(w, v, i, at);
    take_new_values(w, v);
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

    expect_range(w, v, v->sregs->ss.base + v->regs->rsp, len, true);
    take_new_values(w, v);
}

/* ---- by debug registers ------------------------------------------------------------------------
 */

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

void watch_fired(struct watches *w, struct vcpu *v, uint64_t dr6, bool stepped, bool merged)
{
    for (unsigned i = 0; i < 4; i++) {
        struct bp *b = w->dr[i];
        const struct watch_hit *was;
        struct watch_hit *h;
        bool again;
        uint8_t now[32];
        unsigned at = 0, len;

        if (!b || !(dr6 >> i & 1))
            continue;
        len = (unsigned)b->pub.spec.len;
        for (unsigned k = 0; k < len; k++)
            now[k] = (uint8_t)value(w, b, k, 1);
        while (at < len && now[at] == b->watch.seen[at])
            at++;
        if (at == len && is_old_report(&w->cpu[v->id], v, b, stepped, merged))
            continue;
        was = hit_find(&w->cpu[v->id], b);
        again = was && (b->pub.spec.len <= 8 || was->old_value != was->new_value);
        h = hit_get(w, v, b, at < len ? at : v->data.dr[i] - b->pub.spec.addr, true);
        /* The value as before: read, or written again; watch_by.c tells from the instruction. */
        h->write = true;
        h->read |= at == len && (b->pub.spec.access & WATCH_READ);
        if (!again) /* else it is another iteration of the same instruction */
            h->old_value = le_load(&b->watch.seen[h->off], h->len);
        h->new_value = le_load(&now[h->off], h->len);
    }
    for (unsigned i = 0; i < 4; i++)
        if (w->dr[i] && (dr6 >> i & 1))
            dr_remember(w, w->dr[i]);
}

/* ---- comparing
 * ----------------------------------------------------------------------------------- */

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
    h = hit_get(w, v, n->bp, n->off + (at - n->from), true);
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
