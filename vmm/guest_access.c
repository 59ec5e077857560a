/*
 * Rights and faults of the guest's accesses (guest_access.h).
 */
#include "vmm/guest_access.h"

#include <string.h>

#include "vmm/assist.h"
#include "vmm/vcpu.h"

#define CR0_WP   0x10000u
#define CR4_SMAP 0x200000u
#define FLAG_AC  0x40000u
#define PTE_A    0x20u
#define PTE_D    0x40u

int guest_verdict_as(const struct vcpu *v, const struct walk *w, bool write, unsigned cpl,
                     bool implicit)
{
    bool user = cpl == 3, bad;
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
           (implicit || !(v->regs->rflags & FLAG_AC));
    return bad ? ec | 1 : -1;
}

int guest_verdict(const struct vcpu *v, const struct walk *w, bool write)
{
    return guest_verdict_as(v, w, write, cpu_cpl(v->sregs), false);
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
static uint8_t *find(struct vcpu *v, uint64_t linear, size_t len, bool write,
                     struct assist_event *raise)
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
    ec = guest_verdict(v, &w, write);
    if (ec >= 0) {
        *raise = (struct assist_event){.vector = 14, .has_ec = true, .ec = (uint32_t)ec};
        v->sregs->cr2 = linear;
        vcpu_dirty(v, VS_SREGS);
        return NULL;
    }
    guest_mark(v, &w, write);
    return mem_ptr(&v->vm->mem, w.gpa, len);
}

/* Both pieces of an access of at most one page. */
static bool pieces(struct vcpu *v, uint64_t linear, size_t len, bool write, uint8_t *at[2],
                   size_t *first, struct assist_event *raise)
{
    *first = PAGE_BYTES - (linear & (PAGE_BYTES - 1));
    *first = *first < len ? *first : len;
    at[0] = find(v, linear, *first, write, raise);
    at[1] = NULL;
    if (at[0] && *first < len)
        at[1] = find(v, linear + *first, len - *first, write, raise);
    return at[0] && (*first == len || at[1]);
}

bool guest_read(struct vcpu *v, uint64_t linear, void *dst, size_t len, struct assist_event *raise)
{
    uint8_t *at[2];
    size_t first;

    if (!pieces(v, linear, len, false, at, &first, raise))
        return false;
    memcpy(dst, at[0], first);
    if (at[1])
        memcpy((uint8_t *)dst + first, at[1], len - first);
    return true;
}

bool guest_write(struct vcpu *v, uint64_t linear, const void *src, size_t len,
                 struct assist_event *raise)
{
    uint8_t *at[2];
    size_t first;

    if (!pieces(v, linear, len, true, at, &first, raise))
        return false;
    memcpy(at[0], src, first);
    if (at[1])
        memcpy(at[1], (const uint8_t *)src + first, len - first);
    return true;
}
