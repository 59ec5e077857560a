/*
 * Rights and faults of the guest's accesses (guest_access.h).
 */
#include "vmm/guest_access.h"

#include <string.h>

#include "vmm/assist.h"
#include "vmm/vcpu.h"
#include "vmm/x86_bits.h"

static int verdict_as(const struct vcpu *v, const struct walk *w, bool write, unsigned as)
{
    bool user = (as & 3) == 3, bad;
    int ec = (write ? 2 : 0) | (user ? 4 : 0);

    if (w->result == WALK_RESERVED_BIT)
        return ec | 9;
    if (w->result != WALK_OK)
        return ec;
    if (w->mode == PAGING_NONE)
        return -1;
    bad = user && !w->user;
    bad |= write && !w->writable && (user || (v->sregs->cr0 & CR0_WP));
    /* SMAP: a supervisor keeps off user pages unless AC is set. */
    bad |= !user && w->user && (v->sregs->cr4 & CR4_SMAP) &&
           ((as & GUEST_IMPLICIT) || !(v->regs->rflags & RFLAGS_AC));
    return bad ? ec | 1 : -1;
}

int guest_verdict(const struct vcpu *v, const struct walk *w, bool write)
{
    return verdict_as(v, w, write, cpu_cpl(v->sregs));
}

static void set_entry_bits(const struct mem *m, const struct walk_step *s, unsigned bits)
{
    uint8_t *e = mem_ptr(m, s->entry_gpa, s->entry_size);

    if (e && (*e & bits) != bits)
        __atomic_fetch_or(e, (uint8_t)bits, __ATOMIC_SEQ_CST);
}

void guest_mark(const struct vcpu *v, const struct walk *w, bool write)
{
    for (unsigned i = 0; i < w->steps; i++) {
        bool last = i + 1 == w->steps;

        if (w->mode == PAGING_PAE && w->step[i].level == 3)
            continue; /* PAE's four top entries have no such bits */
        set_entry_bits(&v->vm->mem, &w->step[i], PTE_A | (last && write ? PTE_D : 0));
    }
}

/* Where one piece of an access within a page lies. */
static uint8_t *find(struct vcpu *v, unsigned as, uint64_t linear, size_t len, bool write,
                     uint64_t *gpa, struct assist_event *raise)
{
    struct walk_regs r;
    struct walk w;
    int ec;

    vcpu_walk_regs(v, &r);
    walk(&v->vm->mem, &r, linear, &w);
    *raise = (struct assist_event){.vector = -1};
    if (w.result == WALK_NON_CANONICAL) {
        *raise = (struct assist_event){.vector = 13, .has_ec = true};
        return NULL;
    }
    if (w.result == WALK_TABLE_NOT_RAM)
        return NULL;
    ec = verdict_as(v, &w, write, as);
    if (ec >= 0) {
        *raise = (struct assist_event){.vector = 14, .has_ec = true, .ec = (uint32_t)ec};
        v->sregs->cr2 = linear;
        vcpu_dirty(v, VS_SREGS);
        return NULL;
    }
    guest_mark(v, &w, write);
    *gpa = w.gpa;
    return mem_ptr(&v->vm->mem, w.gpa, len);
}

/* An access of at most one page: its two pieces. */
struct pieces {
    uint8_t *at[2];
    uint64_t gpa[2];
    size_t len[2];
};

static bool find_pieces(struct vcpu *v, unsigned as, uint64_t linear, size_t len, bool write,
                        struct pieces *p, struct assist_event *raise)
{
    size_t room = PAGE_BYTES - (linear & (PAGE_BYTES - 1));

    *p = (struct pieces){.len = {room < len ? room : len, room < len ? len - room : 0}};
    p->at[0] = find(v, as, linear, p->len[0], write, &p->gpa[0], raise);
    if (p->at[0] && p->len[1])
        p->at[1] = find(v, as, linear + p->len[0], p->len[1], write, &p->gpa[1], raise);
    return p->at[0] && (!p->len[1] || p->at[1]);
}

bool guest_read_as(struct vcpu *v, unsigned as, uint64_t linear, void *dst, size_t len,
                   struct assist_event *raise)
{
    struct pieces p;

    if (!find_pieces(v, as, linear, len, false, &p, raise))
        return false;
    memcpy(dst, p.at[0], p.len[0]);
    if (p.at[1])
        memcpy((uint8_t *)dst + p.len[0], p.at[1], p.len[1]);
    return true;
}

/* As the exit would at which a trapped page is served (access.c): in pieces of at most 8 bytes. */
static void store_told(struct vcpu *v, uint64_t gpa, const uint8_t *src, size_t len)
{
    struct vm *vm = v->vm;
    uint8_t bytes[8];

    pthread_mutex_lock(&vm->m.lock);
    for (size_t i = 0; i < len; i += sizeof bytes) {
        size_t n = len - i < sizeof bytes ? len - i : sizeof bytes;

        memcpy(bytes, src + i, n);
        vm->cfg.trapped(vm->cfg.arg, v, gpa + i, (unsigned)n, true, bytes);
    }
    pthread_mutex_unlock(&vm->m.lock);
}

static void store(struct vcpu *v, unsigned as, uint8_t *at, uint64_t gpa, const uint8_t *src,
                  size_t len)
{
    const struct slot_page *page =
        (as & GUEST_TOLD) && v->vm->cfg.trapped ? slots_page(&v->vm->slots, gpa) : NULL;

    if (page && !page->lifted)
        store_told(v, gpa, src, len);
    else
        memcpy(at, src, len);
}

bool guest_write_as(struct vcpu *v, unsigned as, uint64_t linear, const void *src, size_t len,
                    struct assist_event *raise)
{
    struct pieces p;

    if (!find_pieces(v, as, linear, len, true, &p, raise))
        return false;
    store(v, as, p.at[0], p.gpa[0], src, p.len[0]);
    if (p.at[1])
        store(v, as, p.at[1], p.gpa[1], (const uint8_t *)src + p.len[0], p.len[1]);
    return true;
}

bool guest_read(struct vcpu *v, uint64_t linear, void *dst, size_t len, struct assist_event *raise)
{
    return guest_read_as(v, cpu_cpl(v->sregs), linear, dst, len, raise);
}

bool guest_write(struct vcpu *v, uint64_t linear, const void *src, size_t len,
                 struct assist_event *raise)
{
    return guest_write_as(v, cpu_cpl(v->sregs), linear, src, len, raise);
}
