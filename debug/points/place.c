/*
 * Where each point is placed and by which method. Main thread with all vCPUs parked, or a vCPU that
 * is alone.
 */
#include <errno.h>
#include <string.h>

#include "debug/points/place.h"
#include "debug/points/points_int.h"
#include "vmm/bus.h"
#include "vmm/vcpu.h"

const char *bp_method_name(enum bp_method m)
{
    static const char *const names[] = {
        [BP_NONE] = "disabled",
        [BP_PENDING] = "waiting: looked for at exits",
        [BP_DR] = "debug register",
        [BP_BOTH] = "debug register and int3",
        [BP_INT3] = "int3",
        [BP_ICEBP] = "icebp",
        [BP_GATE] = "int3; in ring 3 caught at the guest's gate",
        [BP_PAGE] = "page without memory",
        [BP_STEPS] = "single steps",
        [BP_CATCH] = "exit",
        [BP_WATCH] = "watched",
    };

    return names[m];
}

bool place_has_tables(const struct points *p, unsigned cpu)
{
    return !cpu || atomic_load(&p->vm->cpu[cpu]->idle) != VCPU_WAIT_SIPI;
}

void place_look_up(const struct points *p, const struct vcpu *v, uint64_t linear, struct spot *s)
{
    struct walk_regs r;
    struct walk w;

    vcpu_walk_regs(v, &r);
    walk(&p->vm->mem, &r, linear, &w);
    *s = (struct spot){.there = w.result == WALK_OK && mem_ptr(&p->vm->mem, w.gpa, 1),
                       .real = !(r.cr0 & 1)};
    s->user = s->there && w.mode != PAGING_NONE && w.user;
    s->at = (struct bp_place){.gpa = w.gpa, .cr3 = r.cr3};
    if (w.steps)
        s->at.leaf = w.step[w.steps - 1].entry_gpa;
}

bool place_locate(const struct points *p, const struct bp *b, struct spot *s)
{
    *s = (struct spot){.at.gpa = b->pub.spec.addr};
    if (b->pub.spec.unresolved)
        return false;
    if (b->pub.spec.space == SPACE_PHYS) {
        s->real = !(p->vm->cpu[0]->sregs->cr0 & 1);
        s->there = mem_ptr(&p->vm->mem, s->at.gpa, 1) != NULL;
    }
    for (unsigned i = 0; b->pub.spec.space == SPACE_LINEAR && i < p->vm->cpus && !s->there; i++)
        if (place_has_tables(p, i))
            place_look_up(p, p->vm->cpu[i], b->pub.spec.addr, s);
    if (!s->there)
        s->user = s->real = false;
    return s->there;
}

int place_free_dr(const struct points *p)
{
    for (unsigned i = 0; i < p->dr_usable; i++)
        if (!p->dr_owner[i] && !p->watches.dr[i])
            return (int)i;
    return -1;
}

/* The row of the method table that stands for code at such an address. */
static enum probe_mode mode_there(const struct points *p, const struct spot *s)
{
    if (s->real)
        return PM_REAL;
    if (!(p->vm->cpu[0]->sregs->cr0 >> 31))
        return PM_PROT;
    return s->user ? PM_LONG3 : PM_LONG0;
}

uint8_t place_byte(const struct points *p, enum probe_mode mode, enum bp_method *m)
{
    const struct method_pick *pick = &p->vm->methods.pick[MF_BREAK][mode];

    for (unsigned i = 0; i < METHOD_RUNGS_MAX; i++) {
        switch (pick->ladder[i]) {
        case METHOD_INT3:
            *m = BP_INT3;
            return 0xcc;
        case METHOD_GATE:
            *m = BP_GATE;
            return 0xcc;
        case METHOD_ICEBP:
            *m = BP_ICEBP;
            return 0xf1;
        default:
            break;
        }
    }
    return 0;
}

bool place_by_register(const struct points *p, enum probe_mode mode)
{
    const struct method_pick *pick = &p->vm->methods.pick[MF_BREAK][mode];

    return pick->is_forced ? pick->ladder[0] == METHOD_DEBUG_REG
                           : method_usable(&p->vm->methods, MF_BREAK, mode, METHOD_DEBUG_REG);
}

/* Hooks are bytes also where breakpoints are to be something else. */
static uint8_t hook_byte(const struct points *p, enum probe_mode mode, enum bp_method *m)
{
    const struct probe *probe = &p->vm->probe;
    uint8_t byte = place_byte(p, mode, m);

    if (byte)
        return byte;
    *m = probe->int3[mode] == HOW_DEBUG || probe->int3[mode] == HOW_INTERNAL ? BP_INT3 : BP_ICEBP;
    return *m == BP_INT3 ? 0xcc : probe->icebp[mode] == HOW_INTERNAL ? 0xf1 : 0;
}

bool points_plant_hook(struct points *p, uint64_t gpa)
{
    struct spot ring0 = {.real = !(p->vm->cpu[0]->sregs->cr0 & 1)};
    enum bp_method m;
    uint8_t byte = hook_byte(p, mode_there(p, &ring0), &m);

    if (!byte || !plant_put(p, gpa, byte))
        return false;
    p->int3_planted |= m == BP_INT3;
    points_plant(p, gpa)->hook = true;
    points_plant(p, gpa)->byte = byte; /* also where a point's own was before */
    *(uint8_t *)mem_ptr(&p->vm->mem, gpa, 1) = byte;
    return true;
}

void points_unplant_hook(struct points *p, uint64_t gpa)
{
    struct plant *pl = points_plant(p, gpa);

    if (pl)
        pl->hook = false;
    plant_take(p, gpa);
}

/* The byte that can hold the point at this spot, by what it is called; BP_PENDING: none. */
static enum bp_method choose_byte(struct points *p, struct bp *b, const struct spot *s)
{
    enum bp_method m = BP_PENDING;

    b->byte = s->there && !p->no_bytes ? place_byte(p, mode_there(p, s), &m) : 0;
    return b->byte ? m : BP_PENDING;
}

/* How many points rest on a byte that another mode does not give up. */
static void count_byte(struct points *p, enum bp_method m, int by)
{
    p->icebps += m == BP_ICEBP ? by : 0;
    p->gates += m == BP_GATE ? by : 0;
}

static bool has_byte(const struct bp *b)
{
    return b->method == BP_INT3 || b->method == BP_ICEBP || b->method == BP_GATE;
}

/* A byte that holds its point alone is guarded against the guest's writes. Points that live for one
 * step are not: slots take time. */
static bool is_guarded(const struct bp *b)
{
    return has_byte(b) && !b->pub.spec.hidden;
}

void place_let_go(struct points *p, struct bp *b, unsigned i)
{
    uint64_t gpa = b->at[i].gpa;

    b->places--;
    memmove(&b->at[i], &b->at[i + 1], (b->places - i) * sizeof b->at[0]);
    if (b->method == BP_PAGE) {
        watch_need(&p->watches, gpa, NEED_FETCH, false);
        return;
    }
    if (is_guarded(b))
        watch_need(&p->watches, gpa, NEED_GUARD, false);
    plant_take(p, gpa);
}

void place_hold(struct points *p, struct bp *b, const struct bp_place *at)
{
    if (b->places == BP_PLACES)
        place_let_go(p, b, 0);
    if (b->method == BP_PAGE) {
        watch_need(&p->watches, at->gpa, NEED_FETCH, true);
    } else {
        if (!plant_put(p, at->gpa, b->byte))
            return;
        p->int3_planted |= b->method == BP_INT3 || b->method == BP_BOTH;
        if (is_guarded(b))
            watch_need(&p->watches, at->gpa, NEED_GUARD, true);
    }
    b->at[b->places++] = *at;
}

/* No KVM tells of a new CR3, and processors not of a page that the guest maps. But where a kernel
 * is linked high its code is in memory from the start, and is mapped there before it runs: a
 * waiting point's byte is planted where the image was loaded. It is a hit when it is executed at
 * the point's address, and passed at any other (hit.c). */
static void foresee(struct points *p, struct bp *b)
{
    const struct point_spec *spec = &b->pub.spec;
    enum bp_method m = BP_PENDING;
    uint64_t gpa;

    if (p->no_bytes || spec->space != SPACE_LINEAR || spec->unresolved ||
        !boot_loaded_at(&p->vm->boot, spec->addr, &gpa))
        return;
    b->byte = place_byte(p, PM_LONG0, &m);
    if (!b->byte || !plant_put(p, gpa, b->byte))
        return;
    p->int3_planted |= m == BP_INT3;
    watch_need(&p->watches, gpa, NEED_GUARD, true);
    b->is_foreseen = true;
    b->foreseen = gpa;
}

static void forget_foreseen(struct points *p, struct bp *b)
{
    if (!b->is_foreseen)
        return;
    b->is_foreseen = false;
    watch_need(&p->watches, b->foreseen, NEED_GUARD, false);
    plant_take(p, b->foreseen);
}

bool points_leave_dr(struct points *p, unsigned dr)
{
    struct bp *b = p->dr_owner[dr];
    enum bp_method m = BP_INT3;
    struct spot s;

    if (!b)
        return false;
    if (b->method != BP_BOTH) {
        place_locate(p, b, &s);
        m = choose_byte(p, b, &s);
    }
    if (m == BP_PENDING)
        return false;
    p->movable += b->method == BP_DR;
    if (b->method == BP_BOTH) {
        for (unsigned i = 0; i < b->places && !b->pub.spec.hidden; i++)
            watch_need(&p->watches, b->at[i].gpa, NEED_GUARD, true);
        b->method = m;
    } else {
        b->method = m;
        place_hold(p, b, &s.at);
    }
    b->pub.method = bp_method_name(m);
    count_byte(p, m, 1);
    p->dr_owner[dr] = NULL;
    p->changes++;
    return true;
}

bool points_guards(struct points *p, const struct bp *b)
{
    struct spot s;

    return place_locate(p, b, &s) && watch_can_guard(&p->watches, s.at.gpa);
}

/* Frees a debug register for a point that nothing else can hold, by moving a point that a byte can
 * hold as well: one whose byte is guarded then (`only_guarded`), or any. -1: none can be moved. */
static int evict_dr(struct points *p, bool only_guarded)
{
    for (unsigned i = 0; i < p->dr_usable; i++)
        if (p->dr_owner[i] && points_guards(p, p->dr_owner[i]) && points_leave_dr(p, i))
            return (int)i;
    for (unsigned i = 0; i < p->dr_usable && !only_guarded; i++)
        if (points_leave_dr(p, i))
            return (int)i;
    return -1;
}

int points_spare_dr(struct points *p)
{
    int dr = place_free_dr(p);

    return dr < 0 ? evict_dr(p, false) : dr;
}

enum bp_method place_in_dr(struct points *p, struct bp *b, const struct spot *s)
{
    return p->vm->methods.rf_skips_break && choose_byte(p, b, s) == BP_INT3 ? BP_BOTH : BP_DR;
}

/* Where nothing is mapped yet single steps find what comes; but a guest is slowed down for that
 * only when it has no other breakpoints. */
static bool steps_to(const struct points *p, const struct bp *b, const struct spot *s)
{
    enum probe_mode mode = mode_there(p, s);

    if (s->there)
        return method_usable(&p->vm->methods, MF_BREAK, mode, METHOD_STEPPING);
    return b->pub.spec.space == SPACE_LINEAR && !b->pub.spec.unresolved &&
           method_of(&p->vm->methods, MF_BREAK, mode) == METHOD_STEPPING;
}

static bool by_page(const struct points *p, const struct spot *s)
{
    enum probe_mode mode = mode_there(p, s);
    bool wanted = p->no_bytes || method_of(&p->vm->methods, MF_BREAK, mode) == METHOD_NO_SLOT;

    return s->there && wanted && method_usable(&p->vm->methods, MF_BREAK, mode, METHOD_NO_SLOT);
}

/* Chooses a method: a debug register is best (it survives overwriting, needs no page and no byte),
 * planted bytes come when they are used up. What stays below shows the guest its code unchanged, at
 * a price. */
static enum bp_method choose(struct points *p, struct bp *b, struct spot *s)
{
    enum bp_method m = BP_PENDING;
    bool may_dr;
    int dr;

    place_locate(p, b, s);
    may_dr = b->pub.spec.space == SPACE_LINEAR && !b->pub.spec.unresolved &&
             place_by_register(p, mode_there(p, s));
    dr = may_dr ? place_free_dr(p) : -1;
    if (dr < 0)
        m = choose_byte(p, b, s);
    if (dr < 0 && m == BP_PENDING && may_dr)
        dr = evict_dr(p, false);
    if (dr < 0 && m == BP_PENDING && by_page(p, s))
        return BP_PAGE;
    if (dr < 0 && m == BP_PENDING && steps_to(p, b, s))
        return BP_STEPS;
    if (dr < 0)
        return m;
    p->dr_owner[dr] = b;
    b->dr = dr;
    return place_in_dr(p, b, s);
}

static bool has_places(const struct bp *b)
{
    return has_byte(b) || b->method == BP_BOTH || b->method == BP_PAGE;
}

static void place_break(struct points *p, struct bp *b)
{
    struct spot s;

    b->method = choose(p, b, &s);
    if (has_places(b))
        place_hold(p, b, &s.at);
    if (b->method == BP_PENDING)
        foresee(p, b);
    count_byte(p, b->method, 1);
    p->exec_points++;
    if (b->pub.spec.space == SPACE_LINEAR)
        points_index_add(p, b);
    else
        p->phys_points++;
    p->movable += has_places(b) && b->pub.spec.space == SPACE_LINEAR;
    p->pending += b->method == BP_PENDING;
    p->step_points += b->method == BP_STEPS;
    p->page_points += b->method == BP_PAGE;
    p->changes++;
}

int point_canonical(uint64_t addr, uint64_t len, struct err *e)
{
    uint64_t last = addr + len - 1;

    if ((int64_t)(addr << 7) >> 7 == (int64_t)addr && (int64_t)(last << 7) >> 7 == (int64_t)last)
        return 0;
    return err_set(e, EINVAL,
                   "0x%llx is no address that a page can be mapped at: bits 56 to 63 of it must be "
                   "equal, with four levels of page tables bits 47 to 63",
                   (unsigned long long)addr);
}

/* Memory does not come later, as a mapping may. */
static int check_address(const struct points *p, const struct point_spec *spec, struct err *e)
{
    if (spec->space != SPACE_PHYS)
        return point_canonical(spec->addr, 1, e);
    if (mem_ptr(&p->vm->mem, spec->addr, 1))
        return 0;
    if (bus_mmio_dev(&p->vm->m, spec->addr, NULL))
        return err_set(e, EFAULT,
                       "no code can run at physical 0x%llx: a device answers there, not memory; "
                       "`catch mmio 0x%llx` stops at accesses to it",
                       (unsigned long long)spec->addr, (unsigned long long)spec->addr);
    return err_set(e, EFAULT,
                   "no code can run at physical 0x%llx: there is no memory there (the guest has "
                   "%llu MiB)",
                   (unsigned long long)spec->addr,
                   (unsigned long long)(p->vm->mem.ram_bytes >> 20));
}

int point_place(struct points *p, struct bp *b, struct err *e)
{
    if (b->pub.spec.kind == POINT_WATCH)
        return watch_place(&p->watches, b, e);
    if (b->pub.spec.kind == POINT_CATCH) {
        b->method = BP_CATCH;
        catch_add(p, b);
    } else {
        int rc = check_address(p, &b->pub.spec, e);

        if (rc < 0)
            return rc;
        place_break(p, b);
    }
    b->pub.pending = b->method == BP_PENDING;
    b->pub.method = b->method == BP_CATCH    ? catch_method(p, &b->pub.spec)
                    : b->pub.spec.unresolved ? "pending: no symbol says where it is yet"
                                             : bp_method_name(b->method);
    return 0;
}

static void unplace_break(struct points *p, struct bp *b)
{
    p->movable -= has_places(b) && b->pub.spec.space == SPACE_LINEAR;
    while (b->places)
        place_let_go(p, b, b->places - 1);
    forget_foreseen(p, b);
    if (b->method == BP_DR || b->method == BP_BOTH) {
        p->dr_owner[b->dr] = NULL;
        p->watches.guards_stale |= p->watches.unguarded != 0; /* one of those may have it */
    }
    count_byte(p, b->method, -1);
    p->pending -= b->method == BP_PENDING;
    p->page_points -= b->method == BP_PAGE;
    p->step_points -= b->method == BP_STEPS;
    if (b->pub.spec.space == SPACE_LINEAR)
        points_index_del(p, b);
    else
        p->phys_points--;
    p->exec_points--;
    p->changes++;
}

void point_unplace(struct points *p, struct bp *b)
{
    switch (b->method) {
    case BP_NONE:
        return;
    case BP_CATCH:
        catch_del(p, b);
        break;
    case BP_WATCH:
        watch_unplace(&p->watches, b);
        break;
    default:
        unplace_break(p, b);
        break;
    }
    b->method = BP_NONE;
    b->pub.method = bp_method_name(BP_NONE);
    b->pub.pending = false;
}

void place_again(struct points *p, struct bp *b)
{
    point_unplace(p, b);
    point_place(p, b, NULL);
}

/* May the guest write new code over a planted byte without an exit that shows it? */
static bool is_unguarded(const struct points *p, const struct bp *b)
{
    for (unsigned i = 0; i < b->places && has_byte(b); i++) {
        const struct watch_page *page = watch_page_at(&p->watches, b->at[i].gpa);

        if (page && page->how == WATCH_OPEN)
            return true;
    }
    return false;
}

static const char *how_unguarded(enum bp_method m)
{
    return m == BP_INT3    ? "int3; new code there is seen at exits"
           : m == BP_ICEBP ? "icebp; new code there is seen at exits"
                           : "int3; in ring 3 caught at the guest's gate; new code there is seen "
                             "at exits";
}

/* Where the guest may write new code over a byte unseen, a debug register holds the point better.
 */
static bool wants_dr(struct points *p, const struct bp *b)
{
    struct spot s;

    return is_unguarded(p, b) && is_guarded(b) && b->pub.spec.space == SPACE_LINEAR &&
           place_locate(p, b, &s) && place_by_register(p, mode_there(p, &s));
}

void points_guard(struct points *p)
{
    watch_guard_apply(&p->watches);
    for (unsigned i = 0; p->watches.unguarded && i < p->count; i++) {
        if (!wants_dr(p, p->bp[i]))
            continue;
        if (place_free_dr(p) < 0 && evict_dr(p, true) < 0)
            break;
        place_again(p, p->bp[i]);
    }
    watch_guard_apply(&p->watches);
}

const char *points_how(const struct points *p, const struct bp *b)
{
    struct spot s;

    if (b->pub.spec.kind != POINT_BREAK || b->pub.spec.unresolved)
        return b->pub.method;
    if (b->method == BP_PENDING && await_has(p, b))
        return "waiting: page tables watched";
    if (b->is_foreseen)
        return "waiting: int3 where its image was loaded";
    if (b->method == BP_DR && !place_locate(p, b, &s))
        return "waiting: debug register";
    if (is_unguarded(p, b))
        return how_unguarded(b->method);
    return bp_method_name(b->method);
}

void points_allow(struct points *p, bool registers, bool bytes)
{
    p->no_bytes = !bytes;
    p->dr_usable = registers ? p->vm->probe.hw_exec_count : 0;
    points_replant(p);
    points_guard(p);
}

void points_replant(struct points *p)
{
    for (unsigned i = 0; i < p->count; i++) {
        struct bp *b = p->bp[i];

        if (b->method != BP_NONE)
            place_again(p, b);
    }
}
