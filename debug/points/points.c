/*
 * The table of points: making, changing and deleting them. Main thread with all vCPUs parked,
 * except the look-ups.
 */
#include "debug/points/points.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "debug/fields.h"
#include "debug/points/point_log.h"
#include "debug/points/points_int.h"
#include "vmm/base/x.h"
#include "vmm/vcpu.h"

struct bp *points_at(const struct points *p, uint64_t linear)
{
    struct bp *b = p->addr_buckets ? p->by_addr[point_hash(linear, p->addr_buckets)] : NULL;

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

        if (b->method != BP_NONE && b->pub.spec.kind == POINT_BREAK &&
            b->pub.spec.space == SPACE_LINEAR) {
            struct bp **head = &p->by_addr[point_hash(b->pub.spec.addr, p->addr_buckets)];

            b->same_addr = *head;
            *head = b;
        }
    }
}

void points_index_add(struct points *p, struct bp *b)
{
    struct bp **head;

    if (p->exec_points >= p->addr_buckets) {
        index_grow(p); /* takes `b` in, too: its method is already set */
        return;
    }
    head = &p->by_addr[point_hash(b->pub.spec.addr, p->addr_buckets)];
    b->same_addr = *head;
    *head = b;
}

void points_index_del(struct points *p, struct bp *b)
{
    struct bp **at = &p->by_addr[point_hash(b->pub.spec.addr, p->addr_buckets)];

    while (*at && *at != b)
        at = &(*at)->same_addr;
    if (*at)
        *at = b->same_addr;
    b->same_addr = NULL;
}

void points_init(struct points *p, struct vm *vm)
{
    *p = (struct points){.vm = vm};
    p->dr_usable = vm->probe.hw_exec_count;
    plants_init(p);
    await_init(p);
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
    await_fini(p);
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
    rc = point_place(p, b, e);
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
        point_unplace(p, b);
    b->pub.spec.addr = addr;
    b->pub.spec.unresolved = false;
    if (placed)
        point_place(p, b, NULL);
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
        if (p->bp[i]->pub.id == id)
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
    point_unplace(p, p->bp[slot]);
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
    if (on && !b->pub.enabled && (rc = point_place(p, b, NULL)) < 0)
        return rc;
    if (!on) {
        point_unplace(p, b);
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
