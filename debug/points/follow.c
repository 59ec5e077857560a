/*
 * Points follow the guest's page tables: its pages come, go and are exchanged for others. Main
 * thread with all vCPUs parked, or a vCPU that is alone.
 */
#include "debug/points/place.h"

#include "debug/points/points_int.h"
#include "vmm/vcpu.h"

/* A debug register does not fire in ring 3 of an emulating KVM: is that where the point's page has
 * come to belong since it was placed? */
static bool outgrew_dr(struct points *p, const struct bp *b)
{
    struct spot s;

    return b->method == BP_DR && !place_by_register(p, PM_LONG3) && place_locate(p, b, &s) &&
           s.user;
}

/* Paging came on since 0xF1 was planted: ring 3 may come to execute it, and does not give it up. Or
 * it went off since int3 was planted for both rings: real mode gives that to the guest. */
static bool outgrew_byte(const struct points *p, const struct bp *b)
{
    bool paging = p->vm->cpu[0]->sregs->cr0 >> 31;
    enum bp_method m, old = paging ? BP_ICEBP : BP_GATE;
    bool any = b ? b->method == old : paging ? p->icebps : p->gates;

    return any && place_byte(p, paging ? PM_LONG0 : PM_REAL, &m) && m != old;
}

/* Does the address still lead there, by the tables by which it did? */
static bool still_leads(const struct points *p, const struct bp *b, const struct bp_place *at)
{
    struct walk_regs r;
    uint64_t gpa;

    vcpu_walk_regs(p->vm->cpu[0], &r);
    r.cr3 = at->cr3;
    return walk_gpa(&p->vm->mem, &r, b->pub.spec.addr, &gpa) && gpa == at->gpa;
}

/* One more way to the same frame counts as a place of its own where tables are watched. */
static bool is_known(const struct bp *b, const struct bp_place *at)
{
    for (unsigned i = 0; i < b->places; i++)
        if (b->at[i].gpa == at->gpa && b->at[i].leaf == at->leaf)
            return true;
    return false;
}

static bool follows(const struct bp *b)
{
    return b->places && b->pub.spec.space == SPACE_LINEAR;
}

/* A place that `b` lacks, by the tables of this vCPU. */
static bool find_new(struct points *p, const struct bp *b, const struct vcpu *v, struct spot *s)
{
    const struct bp_place *newest = &b->at[b->places - 1];

    if (v->sregs->cr3 == newest->cr3 && still_leads(p, b, newest))
        return false;
    place_look_up(p, v, b->pub.spec.addr, s);
    return s->there && !is_known(b, &s->at);
}

static bool has_moved(struct points *p, const struct bp *b, const struct vcpu *v)
{
    struct spot s;

    if (!follows(b))
        return false;
    for (unsigned i = 0; i < b->places; i++)
        if (!still_leads(p, b, &b->at[i]))
            return true;
    return find_new(p, b, v, &s);
}

static bool follow(struct points *p, struct bp *b)
{
    struct spot s;
    bool changed = false;

    for (unsigned i = b->places; i-- > 0;) {
        if (still_leads(p, b, &b->at[i]))
            continue;
        changed = true;
        if (b->places == 1) { /* nothing is left, perhaps */
            place_again(p, b);
            return true;
        }
        place_let_go(p, b, i);
    }
    for (unsigned i = 0; i < p->vm->cpus; i++)
        if (place_has_tables(p, i) && find_new(p, b, p->vm->cpu[i], &s)) {
            place_hold(p, b, &s.at);
            changed = true;
        }
    p->changes += changed;
    return changed;
}

/* Of the points that may have moved so many are looked at between two full looks, others each time.
 */
#define LOOK_MOVED 64u

bool points_moved(struct points *p, const struct vcpu *v, unsigned *cursor)
{
    unsigned n = p->count < LOOK_MOVED ? p->count : LOOK_MOVED;

    for (unsigned i = 0; p->movable && i < n; i++) {
        const struct bp *b = p->bp[(*cursor)++ % p->count];

        if (b->pub.spec.kind == POINT_BREAK && has_moved(p, b, v))
            return true;
    }
    return false;
}

bool points_may_move(const struct points *p)
{
    bool may = p->pending || p->icebps || p->gates || watch_waits(&p->watches);

    for (unsigned i = 0; i < p->dr_usable && !place_by_register(p, PM_LONG3); i++)
        may |= p->dr_owner[i] != NULL;
    return may;
}

bool points_stale(struct points *p)
{
    if (outgrew_byte(p, NULL))
        return true;
    for (unsigned i = 0; i < p->dr_usable; i++)
        if (p->dr_owner[i] && outgrew_dr(p, p->dr_owner[i]))
            return true;
    return p->pending || watch_stale(&p->watches) || await_stale(p);
}

/* Those in debug registers: out where they do not fire, and with a byte behind where one is needed
 * and has come to be possible. */
static bool refresh_registers(struct points *p)
{
    bool changed = false;

    for (unsigned i = 0; i < p->dr_usable; i++) {
        struct bp *b = p->dr_owner[i];
        struct spot s;

        if (b && outgrew_dr(p, b)) {
            place_again(p, b);
            changed = true;
        } else if (b && b->method == BP_DR && place_locate(p, b, &s) &&
                   place_in_dr(p, b, &s) == BP_BOTH) {
            b->method = BP_BOTH;
            b->pub.method = bp_method_name(BP_BOTH);
            place_hold(p, b, &s.at);
            p->movable++;
            p->changes++;
        }
    }
    return changed;
}

/* Is there a debug register that a waiting point could have: free, or of a point whose page has
 * come? */
static bool has_spare(const struct points *p)
{
    struct spot s;

    for (unsigned i = 0; i < p->dr_usable; i++)
        if (p->dr_owner[i] && place_locate(p, p->dr_owner[i], &s))
            return true;
    return place_free_dr(p) >= 0;
}

/* Thousands may wait, so one is only touched when something has come of it. */
static bool refresh_pending(struct points *p, struct bp *b, bool *spare)
{
    struct spot s;

    if (!*spare && !place_locate(p, b, &s))
        return false;
    place_again(p, b);
    if (b->method == BP_PENDING)
        return false;
    *spare = has_spare(p);
    return true;
}

bool points_refresh(struct points *p)
{
    bool written = atomic_exchange(&p->look, 0);
    bool changed = refresh_registers(p), moves = written || !await_covers(p) || await_stale(p);
    bool spare = p->pending && has_spare(p);

    for (unsigned i = 0; i < p->count; i++) {
        struct bp *b = p->bp[i];
        bool is_break = b->pub.spec.kind == POINT_BREAK;

        if (is_break && outgrew_byte(p, b)) {
            place_again(p, b);
            changed = true;
        } else if (is_break && moves && follows(b)) {
            changed |= follow(p, b);
        }
        if (b->method == BP_PENDING)
            changed |= refresh_pending(p, b, &spare);
    }
    changed |= watch_refresh(&p->watches);
    points_guard(p);
    changed |= points_reassert(p);
    await_refresh(p); /* when all are where the tables lead, and no sooner */
    return changed;
}
