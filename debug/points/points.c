/*
 * The table of points, where each is placed, and the planted bytes. Main thread with all vCPUs
 * parked, except the look-ups.
 */
#include "debug/points/points.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "debug/fields.h"
#include "debug/points/point_log.h"
#include "vmm/base/x.h"
#include "vmm/vcpu.h"

#define PLANT_FREE UINT64_MAX
#define PLANT_DEAD (UINT64_MAX - 1)
/* Slots of the table that one look for overwritten bytes takes in. */
#define LOOK_PLANTS 64

const char *bp_method_name(enum bp_method m)
{
    static const char *const names[] = {
        [BP_NONE] = "disabled",
        [BP_PENDING] = "pending: nothing is mapped there yet",
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

/* ---- hashes -----------------------------------------------------------------------------------
 */

static unsigned hash(uint64_t key, unsigned slots)
{
    return (unsigned)((key * 0x9e3779b97f4a7c15u) >> 32) & (slots - 1);
}

struct plant *points_plant(const struct points *p, uint64_t gpa)
{
    if (!p->plants)
        return NULL;
    for (unsigned i = hash(gpa, p->plant_slots);; i = (i + 1) & (p->plant_slots - 1)) {
        if (p->plant[i].gpa == gpa)
            return &p->plant[i];
        if (p->plant[i].gpa == PLANT_FREE)
            return NULL;
    }
}

static void plant_table_grow(struct points *p)
{
    struct plant *old = p->plant;
    unsigned slots = p->plant_slots;

    p->plant_slots = p->plants * 4 < 64 ? 64 : 1;
    while (p->plant_slots < p->plants * 4)
        p->plant_slots *= 2;
    p->plant = xcalloc(p->plant_slots, sizeof *p->plant);
    for (unsigned i = 0; i < p->plant_slots; i++)
        p->plant[i].gpa = PLANT_FREE;
    for (unsigned i = 0; i < slots; i++) {
        unsigned j;

        if (old[i].gpa >= PLANT_DEAD)
            continue;
        for (j = hash(old[i].gpa, p->plant_slots); p->plant[j].gpa != PLANT_FREE;)
            j = (j + 1) & (p->plant_slots - 1);
        p->plant[j] = old[i];
    }
    p->plants_dead = 0;
    free(old);
}

static struct plant *plant_insert(struct points *p, uint64_t gpa)
{
    unsigned i;

    if ((p->plants + p->plants_dead + 1) * 2 > p->plant_slots)
        plant_table_grow(p);
    i = hash(gpa, p->plant_slots);
    while (p->plant[i].gpa < PLANT_DEAD)
        i = (i + 1) & (p->plant_slots - 1);
    if (p->plant[i].gpa == PLANT_DEAD)
        p->plants_dead--;
    p->plants++;
    p->plant[i] = (struct plant){.gpa = gpa};
    return &p->plant[i];
}

struct bp *points_at(const struct points *p, uint64_t linear)
{
    struct bp *b = p->addr_buckets ? p->by_addr[hash(linear, p->addr_buckets)] : NULL;

    while (b && b->pub.spec.addr != linear)
        b = b->same_addr;
    return b;
}

static void index_grow(struct points *p)
{
    free(p->by_addr);
    p->addr_buckets = p->addr_buckets ? p->addr_buckets * 4 : 64;
    p->by_addr = xcalloc(p->addr_buckets, sizeof(struct bp *));
    for (unsigned i = 0; i < p->count; i++) {
        struct bp *b = p->bp[i];

        if (b && b->method != BP_NONE && b->pub.spec.kind == POINT_BREAK &&
            b->pub.spec.space == SPACE_LINEAR) {
            struct bp **head = &p->by_addr[hash(b->pub.spec.addr, p->addr_buckets)];

            b->same_addr = *head;
            *head = b;
        }
    }
}

static void index_add(struct points *p, struct bp *b)
{
    struct bp **head;

    if (p->exec_points >= p->addr_buckets) {
        index_grow(p); /* takes `b` in, too: its method is already set */
        return;
    }
    head = &p->by_addr[hash(b->pub.spec.addr, p->addr_buckets)];
    b->same_addr = *head;
    *head = b;
}

static void index_del(struct points *p, struct bp *b)
{
    struct bp **at = &p->by_addr[hash(b->pub.spec.addr, p->addr_buckets)];

    while (*at && *at != b)
        at = &(*at)->same_addr;
    if (*at)
        *at = b->same_addr;
    b->same_addr = NULL;
}

/* ---- placing ------------------------------------------------------------------------------------
 */

/* Where the point's byte lies now, by the page tables of any vCPU that maps it. `user`: ring 3 may
 * execute it (and perhaps ring 0 as well, in kernels that map everything for both). */
static bool locate(struct points *p, const struct bp *b, uint64_t *gpa, bool *user, bool *real)
{
    *user = *real = false;
    if (b->pub.spec.unresolved)
        return false;
    if (b->pub.spec.space == SPACE_PHYS) {
        *gpa = b->pub.spec.addr;
        *real = !(p->vm->cpu[0]->sregs->cr0 & 1);
        return mem_ptr(&p->vm->mem, *gpa, 1) != NULL;
    }
    for (unsigned i = 0; i < p->vm->cpus; i++) {
        struct vcpu *v = p->vm->cpu[i];
        struct walk_regs r;
        struct walk w;

        vcpu_walk_regs(v, &r);
        walk(&p->vm->mem, &r, b->pub.spec.addr, &w);
        if (w.result == WALK_OK && mem_ptr(&p->vm->mem, w.gpa, 1)) {
            *gpa = w.gpa;
            *user = w.mode != PAGING_NONE && w.user;
            *real = !(v->sregs->cr0 & 1);
            return true;
        }
    }
    return false;
}

static int free_dr(const struct points *p)
{
    for (unsigned i = 0; i < p->dr_usable; i++)
        if (!p->dr_owner[i] && !p->watches.dr[i])
            return (int)i;
    return -1;
}

/* The row of the method table that stands for code at such an address. */
static enum probe_mode mode_there(const struct points *p, bool user, bool real)
{
    if (real)
        return PM_REAL;
    if (!(p->vm->cpu[0]->sregs->cr0 >> 31))
        return PM_PROT;
    return user ? PM_LONG3 : PM_LONG0;
}

/* The byte that leaves the guest on this host, or 0 when no byte does. With paging on a page may be
 * executed by ring 3 one day, where an emulating KVM catches only int3, at the guest's gate; in
 * ring 0 it refuses int3 with RIP at it, so that this serves both. */
static uint8_t plant_byte(const struct points *p, enum probe_mode mode, enum bp_method *m)
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

static bool by_register(const struct points *p, enum probe_mode mode)
{
    const struct method_pick *pick = &p->vm->methods.pick[MF_BREAK][mode];

    return pick->is_forced ? pick->ladder[0] == METHOD_DEBUG_REG
                           : method_usable(&p->vm->methods, MF_BREAK, mode, METHOD_DEBUG_REG);
}

static bool put_byte(struct points *p, uint64_t gpa, uint8_t byte)
{
    struct plant *pl = points_plant(p, gpa);
    uint8_t *hva = mem_ptr(&p->vm->mem, gpa, 1);

    if (!hva)
        return false;
    if (!pl) {
        pl = plant_insert(p, gpa);
        pl->original = *hva;
        pl->byte = byte;
    }
    pl->users++;
    *hva = pl->byte;
    return true;
}

static void take_byte(struct points *p, uint64_t gpa)
{
    struct plant *pl = points_plant(p, gpa);
    uint8_t *hva = mem_ptr(&p->vm->mem, gpa, 1);

    if (!pl || --pl->users)
        return;
    if (hva && *hva == pl->byte)
        *hva = pl->original;
    pl->gpa = PLANT_DEAD;
    p->plants--;
    p->plants_dead++;
}

bool points_plant_hook(struct points *p, uint64_t gpa)
{
    bool real = !(p->vm->cpu[0]->sregs->cr0 & 1);
    enum bp_method m;
    uint8_t byte = plant_byte(p, mode_there(p, false, real), &m);

    if (!byte || !put_byte(p, gpa, byte))
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
    take_byte(p, gpa);
}

static enum bp_method choose_byte(struct points *p, struct bp *b, bool there, enum probe_mode mode,
                                  uint64_t gpa)
{
    enum bp_method m;
    uint8_t byte = there && !p->no_bytes ? plant_byte(p, mode, &m) : 0;

    if (!byte || !put_byte(p, gpa, byte))
        return BP_PENDING;
    b->gpa = gpa;
    p->int3_planted |= m == BP_INT3;
    return m;
}

/* How many points rest on a byte that another mode does not give up. */
static void count_byte(struct points *p, enum bp_method m, int by)
{
    p->icebps += m == BP_ICEBP ? by : 0;
    p->gates += m == BP_GATE ? by : 0;
}

/* A byte that holds its point alone is guarded against the guest's writes. Points that live for one
 * step are not: slots take time. */
static bool is_guarded(const struct bp *b)
{
    return (b->method == BP_INT3 || b->method == BP_ICEBP || b->method == BP_GATE) &&
           !b->pub.spec.hidden;
}

static void guard(struct points *p, const struct bp *b, bool on)
{
    if (is_guarded(b))
        watch_guard(&p->watches, b->gpa, on);
}

bool points_leave_dr(struct points *p, unsigned dr)
{
    struct bp *b = p->dr_owner[dr];
    bool user, real, there;
    enum bp_method m = BP_INT3;
    uint64_t gpa;

    if (!b)
        return false;
    if (b->method != BP_BOTH) {
        there = locate(p, b, &gpa, &user, &real);
        m = choose_byte(p, b, there, mode_there(p, user, real), gpa);
    }
    if (m == BP_PENDING)
        return false;
    b->method = m;
    b->pub.method = bp_method_name(m);
    guard(p, b, true);
    count_byte(p, m, 1);
    p->dr_owner[dr] = NULL;
    return true;
}

/* Frees a debug register for a point that nothing else can hold, by moving a point that a byte can
 * hold as well. -1 when all holders need theirs. */
static int evict_dr(struct points *p)
{
    for (unsigned i = 0; i < p->dr_usable; i++)
        if (points_leave_dr(p, i))
            return (int)i;
    return -1;
}

int points_spare_dr(struct points *p)
{
    int dr = free_dr(p);

    return dr < 0 ? evict_dr(p) : dr;
}

/* Processors pass a debug register by when the guest returns there with RFLAGS.RF set, as handlers
 * of faults do, and right after MOV SS. There the byte is planted as well. */
static enum bp_method back_dr(struct points *p, struct bp *b)
{
    bool user, real, there;
    uint64_t gpa;

    if (!p->vm->methods.rf_skips_break)
        return BP_DR;
    there = locate(p, b, &gpa, &user, &real);
    return choose_byte(p, b, there, mode_there(p, user, real), gpa) == BP_INT3 ? BP_BOTH : BP_DR;
}

/* Where nothing is mapped yet single steps find what comes; but a guest is slowed down for that
 * only when it has no other breakpoints. */
static bool steps_to(const struct points *p, const struct bp *b, bool there, enum probe_mode mode)
{
    if (there)
        return method_usable(&p->vm->methods, MF_BREAK, mode, METHOD_STEPPING);
    return b->pub.spec.space == SPACE_LINEAR && !b->pub.spec.unresolved &&
           method_of(&p->vm->methods, MF_BREAK, mode) == METHOD_STEPPING;
}

static bool by_page(const struct points *p, struct bp *b, bool there, enum probe_mode mode,
                    uint64_t gpa)
{
    bool wanted = p->no_bytes || method_of(&p->vm->methods, MF_BREAK, mode) == METHOD_NO_SLOT;

    b->gpa = gpa;
    return there && wanted && method_usable(&p->vm->methods, MF_BREAK, mode, METHOD_NO_SLOT);
}

/* Chooses a method: a debug register is best (it survives overwriting, needs no page and no byte),
 * planted bytes come when they are used up. What stays below shows the guest its code unchanged, at
 * a price. */
static enum bp_method choose(struct points *p, struct bp *b)
{
    bool user, real, there, may_dr;
    enum bp_method m = BP_PENDING;
    enum probe_mode mode;
    uint64_t gpa;
    int dr;

    there = locate(p, b, &gpa, &user, &real);
    mode = mode_there(p, user, real);
    may_dr = b->pub.spec.space == SPACE_LINEAR && !b->pub.spec.unresolved && by_register(p, mode);
    dr = may_dr ? free_dr(p) : -1;
    if (dr < 0)
        m = choose_byte(p, b, there, mode, gpa);
    if (dr < 0 && m == BP_PENDING && may_dr)
        dr = evict_dr(p);
    if (dr < 0 && m == BP_PENDING && by_page(p, b, there, mode, gpa))
        return BP_PAGE;
    if (dr < 0 && m == BP_PENDING && steps_to(p, b, there, mode))
        return BP_STEPS;
    if (dr < 0)
        return m;
    p->dr_owner[dr] = b;
    b->dr = dr;
    return back_dr(p, b);
}

/* ---- catchpoints -------------------------------------------------------------------------------
 */

/* Where no byte leaves the guest its handlers cannot be watched either. */
static bool catches_by_steps(const struct points *p)
{
    return method_of(&p->vm->methods, MF_CATCH, PM_LONG0) == METHOD_STEPPING;
}

static void catch_sums(struct points *p)
{
    p->catch_vectors = 0;
    p->catch_steps = p->catch_texts = p->catch_cpuids = 0;
    for (unsigned i = 0; i < p->catches; i++) {
        const struct point_spec *spec = &p->catch_bp[i]->pub.spec;

        if (spec->catch_what == CATCH_EXCEPTION)
            p->catch_vectors |= spec->catch_vector < 0 ? UINT32_MAX : 1u << spec->catch_vector;
        p->catch_steps += spec->catch_what == CATCH_MODE || spec->catch_what == CATCH_CR3 ||
                          spec->catch_what == CATCH_CPUID;
        p->catch_steps += spec->catch_what == CATCH_EXCEPTION && catches_by_steps(p);
        p->catch_cpuids += spec->catch_what == CATCH_CPUID;
        p->catch_texts += spec->catch_what == CATCH_CONSOLE;
    }
}

static void catch_add(struct points *p, struct bp *b)
{
    if (p->catches == p->catch_cap) {
        p->catch_cap = p->catch_cap ? p->catch_cap * 2 : 16;
        p->catch_bp = xrealloc(p->catch_bp, p->catch_cap, sizeof(struct bp *));
    }
    p->catch_bp[p->catches++] = b;
    catch_sums(p);
}

static void catch_del(struct points *p, const struct bp *b)
{
    unsigned i = 0;

    while (p->catch_bp[i] != b)
        i++;
    memmove(&p->catch_bp[i], &p->catch_bp[i + 1], (p->catches - i - 1) * sizeof(struct bp *));
    p->catches--;
    catch_sums(p);
}

static const char *catch_method(const struct points *p, const struct point_spec *spec)
{
    switch (spec->catch_what) {
    case CATCH_EXCEPTION:
        return catches_by_steps(p) ? "single steps" : "break at the guest's handler";
    case CATCH_MODE:
    case CATCH_CR3:
    case CATCH_CPUID:
        return "single steps";
    case CATCH_CONSOLE:
        return "console output";
    default:
        return "exit";
    }
}

static int place(struct points *p, struct bp *b, struct err *e)
{
    if (b->pub.spec.kind == POINT_WATCH)
        return watch_place(&p->watches, b, e);
    if (b->pub.spec.kind == POINT_CATCH) {
        b->method = BP_CATCH;
        catch_add(p, b);
    } else {
        b->method = choose(p, b);
        guard(p, b, true);
        count_byte(p, b->method, 1);
        p->exec_points++;
        if (b->pub.spec.space == SPACE_LINEAR)
            index_add(p, b);
        else
            p->phys_points++;
        p->pending += b->method == BP_PENDING;
        p->step_points += b->method == BP_STEPS;
        p->page_points += b->method == BP_PAGE;
        if (b->method == BP_PAGE)
            watch_fetch(&p->watches, b->gpa, true);
    }
    b->pub.pending = b->method == BP_PENDING;
    b->pub.method = b->method == BP_CATCH    ? catch_method(p, &b->pub.spec)
                    : b->pub.spec.unresolved ? "pending: no symbol says where it is yet"
                                             : bp_method_name(b->method);
    return 0;
}

static void unplace(struct points *p, struct bp *b)
{
    bool is_exec = b->pub.spec.kind == POINT_BREAK;

    switch (b->method) {
    case BP_NONE:
        return;
    case BP_CATCH:
        catch_del(p, b);
        break;
    case BP_DR:
        p->dr_owner[b->dr] = NULL;
        break;
    case BP_BOTH:
        p->dr_owner[b->dr] = NULL;
        take_byte(p, b->gpa);
        break;
    case BP_INT3:
    case BP_ICEBP:
    case BP_GATE:
        guard(p, b, false);
        count_byte(p, b->method, -1);
        take_byte(p, b->gpa);
        break;
    case BP_WATCH:
        watch_unplace(&p->watches, b);
        break;
    case BP_PENDING:
        p->pending--;
        break;
    case BP_PAGE:
        p->page_points--;
        watch_fetch(&p->watches, b->gpa, false);
        break;
    case BP_STEPS:
        p->step_points--;
        break;
    }
    if (is_exec) {
        if (b->pub.spec.space == SPACE_LINEAR)
            index_del(p, b);
        else
            p->phys_points--;
        p->exec_points--;
    }
    b->method = BP_NONE;
    b->pub.method = bp_method_name(BP_NONE);
    b->pub.pending = false;
}

/* A debug register does not fire in ring 3 of an emulating KVM: is that where the point's page has
 * come to belong since it was placed? */
static bool outgrew_dr(struct points *p, const struct bp *b)
{
    bool user, real;
    uint64_t gpa;

    return b->method == BP_DR && !by_register(p, PM_LONG3) && locate(p, b, &gpa, &user, &real) &&
           user;
}

/* Paging came on since 0xF1 was planted: ring 3 may come to execute it, and does not give it up. Or
 * it went off since int3 was planted for both rings: real mode gives that to the guest. */
static bool outgrew_byte(const struct points *p, const struct bp *b)
{
    bool paging = p->vm->cpu[0]->sregs->cr0 >> 31;
    enum bp_method m, old = paging ? BP_ICEBP : BP_GATE;
    bool any = b ? b->method == old : paging ? p->icebps : p->gates;

    return any && plant_byte(p, paging ? PM_LONG0 : PM_REAL, &m) && m != old;
}

bool points_may_move(const struct points *p)
{
    bool may = p->pending || p->awaits || p->icebps || p->gates;

    for (unsigned i = 0; i < p->dr_usable && !by_register(p, PM_LONG3); i++)
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

bool points_refresh(struct points *p)
{
    bool changed = false;

    for (unsigned i = 0; i < p->dr_usable; i++) {
        struct bp *b = p->dr_owner[i];

        if (b && outgrew_dr(p, b)) {
            unplace(p, b);
            place(p, b, NULL);
            changed = true;
        }
        if (b && b->method == BP_DR && back_dr(p, b) == BP_BOTH) { /* its page has appeared */
            b->method = BP_BOTH;
            b->pub.method = bp_method_name(BP_BOTH);
        }
    }

    for (unsigned i = 0; outgrew_byte(p, NULL) && i < p->count; i++) {
        struct bp *b = p->bp[i];

        if (!b || !outgrew_byte(p, b))
            continue;
        unplace(p, b);
        place(p, b, NULL);
        changed = true;
    }
    for (unsigned i = 0; i < p->count && p->pending; i++) {
        struct bp *b = p->bp[i];

        if (b && b->method == BP_PENDING) {
            unplace(p, b);
            place(p, b, NULL);
            changed |= b->method != BP_PENDING;
        }
    }
    changed |= watch_refresh(&p->watches);
    watch_guard_apply(&p->watches);
    return changed | points_reassert(p);
}

static uint8_t *overwritten(const struct points *p, const struct plant *pl)
{
    bool is_there = pl->gpa < PLANT_DEAD && !pl->lifted;
    uint8_t *hva = is_there ? mem_ptr(&p->vm->mem, pl->gpa, 1) : NULL;

    return hva && *hva != pl->byte ? hva : NULL;
}

bool points_reassert(struct points *p)
{
    bool changed = false;

    for (unsigned i = 0; p->plants && i < p->plant_slots; i++) {
        uint8_t *hva = overwritten(p, &p->plant[i]);

        if (!hva)
            continue;
        p->plant[i].original = *hva; /* the guest loaded other code there */
        *hva = p->plant[i].byte;
        changed = true;
    }
    await_refresh(p);
    return changed;
}

bool points_overwritten(const struct points *p, unsigned *cursor)
{
    for (unsigned i = 0; i < LOOK_PLANTS && i < p->plant_slots; i++)
        if (overwritten(p, &p->plant[(*cursor)++ & (p->plant_slots - 1)]))
            return true;
    return false;
}

void points_allow(struct points *p, bool registers, bool bytes)
{
    p->no_bytes = !bytes;
    p->dr_usable = registers ? p->vm->probe.hw_exec_count : 0;
    points_replant(p);
    watch_guard_apply(&p->watches);
}

void points_replant(struct points *p)
{
    for (unsigned i = 0; i < p->count; i++) {
        struct bp *b = p->bp[i];

        if (!b || b->method == BP_NONE)
            continue;
        unplace(p, b);
        place(p, b, NULL);
    }
}

/* ---- the table
 * ----------------------------------------------------------------------------------- */

void points_init(struct points *p, struct vm *vm)
{
    *p = (struct points){.vm = vm};
    p->dr_usable = vm->probe.hw_exec_count;
    plant_table_grow(p);
    watches_init(&p->watches, p, vm);
}

static void bp_free(struct bp *b)
{
    free(b->watch.gpa); /* still placed when the session ends */
    expr_free(b->cond);
    expr_free(b->filter);
    point_log_free(b->log);
    free((char *)(uintptr_t)b->pub.spec.location);
    free((char *)(uintptr_t)b->pub.spec.condition);
    free((char *)(uintptr_t)b->pub.spec.catch_filter);
    free((char *)(uintptr_t)b->pub.spec.catch_text);
    free((char *)(uintptr_t)b->pub.spec.action_text);
    free((char *)(uintptr_t)b->pub.commands);
    free(b);
}

void points_fini(struct points *p)
{
    for (unsigned i = 0; i < p->count; i++)
        if (p->bp[i])
            bp_free(p->bp[i]);
    free(p->bp);
    free(p->plant);
    free(p->by_addr);
    free(p->catch_bp);
    watches_fini(&p->watches);
    *p = (struct points){0};
}

static const char *dup_or_null(const char *s)
{
    return s ? xstrdup(s) : NULL;
}

/* Only catchpoints are reached by something that has fields; elsewhere their words are free for the
 * guest's symbols and for registers. */
static struct expr_names names_for(const struct expr_names *names, const struct point_spec *spec)
{
    struct expr_names n = names ? *names : (struct expr_names){0};

    if (spec->kind != POINT_CATCH)
        n.field = NULL;
    return n;
}

/* The kind of record that a catchpoint's expressions are over; -1 when it varies. */
static int record_of(const struct point_spec *spec)
{
    switch (spec->catch_what) {
    case CATCH_EXIT:
        return (int)spec->catch_reason;
    case CATCH_EXCEPTION:
        return EXIT_INJECT;
    case CATCH_MODE:
    case CATCH_CR3:
    case CATCH_CPUID:
        return KVM_EXIT_DEBUG;
    case CATCH_TRIPLE:
        return KVM_EXIT_SHUTDOWN;
    case CATCH_DEBUG_EXIT:
        return KVM_EXIT_IO;
    default:
        return -1;
    }
}

/* A field that such a record never has is a mistake, to be told at once rather than at the hit. */
static int check_fields(const struct point_spec *spec, const struct expr *x, struct err *e)
{
    int reason = spec->kind == POINT_CATCH ? record_of(spec) : -1;
    struct exit_event ev;
    uint64_t value;

    memset(&ev, 1, sizeof ev); /* any values but none */
    ev.reason = (uint16_t)reason;
    for (int i = 0; x && reason >= 0 && field_table[i].name; i++)
        if (expr_uses_field(x, i) && !field_table[i].get(&ev, &value))
            return err_set(e, EINVAL, "`%s` is nothing that %s has; `help catch` names some fields",
                           field_table[i].name, exit_kind_name((unsigned)reason));
    return 0;
}

int points_add(struct points *p, const struct point_spec *spec, const struct expr_names *all,
               struct err *e)
{
    const struct expr_names own = names_for(all, spec), *names = &own;
    struct bp *b = xcalloc(1, sizeof *b);
    int rc;

    b->pub.spec = *spec;
    b->pub.spec.location = dup_or_null(spec->location);
    b->pub.spec.condition = dup_or_null(spec->condition);
    b->pub.spec.catch_filter = dup_or_null(spec->catch_filter);
    b->pub.spec.catch_text = dup_or_null(spec->catch_text);
    b->pub.spec.action_text = dup_or_null(spec->action_text);
    if ((spec->condition && !(b->cond = expr_compile(spec->condition, names, e))) ||
        (spec->catch_filter && !(b->filter = expr_compile(spec->catch_filter, names, e))) ||
        (spec->action == DO_LOG && spec->action_text &&
         !(b->log = point_log_new(spec->action_text, names, e))) ||
        check_fields(spec, b->cond, e) < 0) {
        bp_free(b);
        return -EINVAL;
    }
    if (p->count == p->cap) {
        p->cap = p->cap ? p->cap * 2 : 16;
        p->bp = xrealloc(p->bp, p->cap, sizeof *p->bp);
    }
    p->bp[p->count++] = b;
    b->pub.id = spec->hidden ? POINT_HIDDEN + ++p->last_hidden : ++p->last_id;
    b->pub.enabled = true;
    b->method = BP_NONE;
    atomic_store(&b->ignore_left, spec->ignore);
    rc = place(p, b, e);
    if (rc < 0) {
        p->count--;
        *(spec->hidden ? &p->last_hidden : &p->last_id) -= 1;
        bp_free(b);
        return rc;
    }
    return b->pub.id;
}

void points_move(struct points *p, int id, uint64_t addr)
{
    struct bp *b = points_get(p, id);
    bool placed = b && b->method != BP_NONE;

    if (!b || b->pub.spec.kind != POINT_BREAK)
        return;
    if (placed)
        unplace(p, b);
    b->pub.spec.addr = addr;
    b->pub.spec.unresolved = false;
    if (placed)
        place(p, b, NULL);
}

static void recompile(struct expr **x, const struct expr_names *names)
{
    struct expr *now = *x ? expr_compile(expr_text(*x), names, NULL) : NULL;

    if (!now)
        return;
    expr_free(*x);
    *x = now;
}

void points_recompile(struct points *p, const struct expr_names *all)
{
    for (unsigned i = 0; i < p->count; i++) {
        struct bp *b = p->bp[i];
        const struct expr_names own = names_for(all, &b->pub.spec), *names = &own;
        struct point_log *log = b->log ? point_log_new(b->pub.spec.action_text, names, NULL) : NULL;

        recompile(&b->cond, names);
        recompile(&b->filter, names);
        if (!log)
            continue;
        point_log_free(b->log);
        b->log = log;
    }
}

struct bp *points_next(const struct points *p, int id)
{
    struct bp *next = NULL;

    for (unsigned i = 0; i < p->count; i++)
        if (p->bp[i]->pub.id > id && (!next || p->bp[i]->pub.id < next->pub.id))
            next = p->bp[i];
    return next;
}

static int slot_of(const struct points *p, int id)
{
    for (unsigned i = 0; i < p->count; i++)
        if (p->bp[i] && p->bp[i]->pub.id == id)
            return (int)i;
    return -1;
}

struct bp *points_get(const struct points *p, int id)
{
    int slot = slot_of(p, id);

    return slot < 0 ? NULL : p->bp[slot];
}

int points_del(struct points *p, int id)
{
    int slot = slot_of(p, id);

    if (slot < 0)
        return -ENOENT;
    unplace(p, p->bp[slot]);
    bp_free(p->bp[slot]);
    memmove(&p->bp[slot], &p->bp[slot + 1], (p->count - (unsigned)slot - 1) * sizeof *p->bp);
    p->count--;
    return 0;
}

int points_enable(struct points *p, int id, bool on)
{
    struct bp *b = points_get(p, id);
    int rc;

    if (!b)
        return -ENOENT;
    if (on && !b->pub.enabled && (rc = place(p, b, NULL)) < 0)
        return rc;
    if (!on) {
        unplace(p, b);
        atomic_store(&b->stopped, 0);
    }
    b->pub.enabled = on;
    return 0;
}

int points_condition(struct points *p, int id, const char *text, const struct expr_names *names,
                     struct err *e)
{
    struct bp *b = points_get(p, id);
    struct expr_names own;
    struct expr *x = NULL;

    if (!b)
        return err_set(e, ENOENT, "there is no breakpoint %d", id);
    own = names_for(names, &b->pub.spec);
    if (text && (!(x = expr_compile(text, &own, e)) || check_fields(&b->pub.spec, x, e) < 0)) {
        expr_free(x);
        return -EINVAL;
    }
    expr_free(b->cond);
    b->cond = x;
    free((char *)(uintptr_t)b->pub.spec.condition);
    b->pub.spec.condition = dup_or_null(text);
    return 0;
}

void points_drop_hidden(struct points *p)
{
    for (unsigned i = p->count; i-- > 0;) {
        struct bp *b = p->bp[i];

        if (b->pub.spec.hidden && b->pub.spec.hit) /* of await.c, which knows when it is over */
            continue;
        if (b->pub.spec.hidden || (b->pub.spec.temporary && atomic_load(&b->stopped)))
            points_del(p, b->pub.id);
    }
}

static bool is_silent(const char *commands)
{
    return commands && !strncmp(commands, "silent\n", 7);
}

bool points_stopped(struct points *p, unsigned vcpu, struct buf *commands)
{
    bool silent = false, told = false;

    for (unsigned i = 0; i < p->count; i++) {
        struct bp *b = p->bp[i];
        uint32_t bit = 1u << vcpu;

        if (!(atomic_load(&b->stopped) & bit))
            continue;
        if (!b->pub.spec.temporary) /* such a one is still to be deleted */
            atomic_fetch_and(&b->stopped, ~bit);
        if (b->pub.commands)
            buf_adds(commands, b->pub.commands + (is_silent(b->pub.commands) ? 7 : 0));
        silent |= is_silent(b->pub.commands);
        told |= !is_silent(b->pub.commands) && !b->pub.spec.hidden;
        if (!b->pub.disables)
            continue;
        if (b->pub.stops_left > 1)
            b->pub.stops_left--;
        else
            points_enable(p, b->pub.id, false);
    }
    return silent && !told;
}

/* ---- what others see of memory
 * -------------------------------------------------------------------- */

void points_hide(const struct points *p, uint64_t gpa, uint8_t *bytes, size_t len)
{
    if (!p->plants)
        return;
    if (len < p->plant_slots) {
        for (size_t i = 0; i < len; i++) {
            const struct plant *pl = points_plant(p, gpa + i);

            if (pl)
                bytes[i] = pl->original;
        }
        return;
    }
    for (unsigned i = 0; i < p->plant_slots; i++)
        if (p->plant[i].gpa < PLANT_DEAD && p->plant[i].gpa - gpa < len)
            bytes[p->plant[i].gpa - gpa] = p->plant[i].original;
}

void points_write_through(struct points *p, uint64_t gpa, uint8_t *bytes, size_t len)
{
    if (!p->plants)
        return;
    for (unsigned i = 0; i < p->plant_slots; i++) {
        struct plant *pl = &p->plant[i];

        if (pl->gpa < PLANT_DEAD && pl->gpa - gpa < len) {
            pl->original = bytes[pl->gpa - gpa];
            bytes[pl->gpa - gpa] = pl->byte;
        }
    }
}
