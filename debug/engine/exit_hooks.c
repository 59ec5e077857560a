/*
 * The hook table and its dispatch on vCPU threads. Changes come from any thread, under the lock.
 */
#include "debug/engine/exit_hooks.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "debug/engine/engine.h"
#include "debug/expr.h"
#include "debug/fields.h"
#include "debug/session_priv.h"
#include "vmm/base/x.h"

#define HOOKS_MAX 20000
#define NEEDS_MAX 4

struct exit_hook {
    struct hook_spec spec;
    int id;
    unsigned refs; /* tables it stands in, and the list */
    struct expr *filter;
    bool wants_answer; /* the filter names what only the device knows */
    /* Without these values the filter cannot hold: asked before the expression is evaluated. */
    struct {
        int field;
        uint64_t value;
        bool answer; /* only the device knows it */
    } needs[NEEDS_MAX];
    unsigned needs_count;
    bool has_key;
    uint64_t key;
};

struct span {
    unsigned start, count;
};

struct bucket {
    struct span at; /* count 0: free */
    unsigned slot;
    uint64_t key;
};

/* Never changed once it is published. `hook` is sorted: those for every kind, then slot by slot
 * the ones without key, then the keyed ones together by key; within each by id. */
struct hook_table {
    struct exit_hook **hook;
    unsigned count;
    struct span every, slot[EXIT_COUNTERS];
    struct bucket *bucket;
    unsigned mask; /* of buckets; 0: none */
    bool keyed[EXIT_COUNTERS];
    struct hook_table *next; /* retired */
};

/* ---- building ---------------------------------------------------------------------------------
 */

/* The field by which hooks of a kind are hashed. */
static const char *key_field(int reason)
{
    switch (reason) {
    case KVM_EXIT_IO:
        return "port";
    case KVM_EXIT_MMIO:
        return "gpa";
    case KVM_EXIT_X86_RDMSR:
    case KVM_EXIT_X86_WRMSR:
        return "msr";
    case EXIT_INJECT:
        return "vector";
    default:
        return NULL;
    }
}

static bool key_of(const struct exit_event *ev, uint64_t *key)
{
    struct exit_access a;

    if (ev->reason == EXIT_INJECT)
        *key = ev->u.inject.vector;
    else if (exit_access(ev, &a))
        *key = a.at;
    else
        return false;
    return true;
}

static unsigned hash(unsigned slot, uint64_t key)
{
    uint64_t h = (key ^ (uint64_t)slot << 56) * 0x9e3779b97f4a7c15u;

    return (unsigned)(h >> 40);
}

static int by_place(const void *a, const void *b)
{
    const struct exit_hook *x = *(struct exit_hook *const *)a, *y = *(struct exit_hook *const *)b;
    int sx = x->spec.reason < 0 ? -1 : (int)exit_counter((unsigned)x->spec.reason);
    int sy = y->spec.reason < 0 ? -1 : (int)exit_counter((unsigned)y->spec.reason);

    if (sx != sy)
        return sx < sy ? -1 : 1;
    if (x->has_key != y->has_key)
        return x->has_key ? 1 : -1;
    if (x->has_key && x->key != y->key)
        return x->key < y->key ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

static struct bucket *bucket_of(const struct hook_table *t, unsigned slot, uint64_t key)
{
    unsigned i = hash(slot, key) & t->mask;

    while (t->bucket[i].at.count && (t->bucket[i].slot != slot || t->bucket[i].key != key))
        i = (i + 1) & t->mask;
    return &t->bucket[i];
}

static void place(struct hook_table *t, unsigned i)
{
    struct exit_hook *h = t->hook[i];
    struct span *s = &t->every;

    if (h->spec.reason >= 0) {
        unsigned slot = exit_counter((unsigned)h->spec.reason);

        s = &t->slot[slot];
        if (h->has_key) {
            struct bucket *b = bucket_of(t, slot, h->key);

            t->keyed[slot] = true;
            b->slot = slot;
            b->key = h->key;
            s = &b->at;
        }
    }
    if (!s->count)
        s->start = i;
    s->count++;
}

static struct hook_table *table_new(struct exit_hook **hook, unsigned count)
{
    struct hook_table *t = xcalloc(1, sizeof *t);
    unsigned size = 2;

    while (size < 2 * count)
        size *= 2;
    t->count = count;
    t->hook = xcalloc(count, sizeof *t->hook);
    memcpy(t->hook, hook, count * sizeof *hook);
    qsort(t->hook, count, sizeof *t->hook, by_place);
    t->mask = size - 1;
    t->bucket = xcalloc(size, sizeof *t->bucket);
    for (unsigned i = 0; i < count; i++) {
        t->hook[i]->refs++;
        place(t, i);
    }
    return t;
}

static void hook_unref(struct exit_hook *h)
{
    if (--h->refs)
        return;
    expr_free(h->filter);
    free(h);
}

static void table_free(struct hook_table *t)
{
    for (unsigned i = 0; i < t->count; i++)
        hook_unref(t->hook[i]);
    free(t->hook);
    free(t->bucket);
    free(t);
}

static bool in_use(struct exit_hooks *h, const struct hook_table *t)
{
    for (unsigned i = 0; i < MACHINE_CPUS_MAX; i++)
        if (atomic_load(&h->using[i]) == t)
            return true;
    return false;
}

/* Lock held: makes a table of the present hooks the valid one. */
static void publish(struct exit_hooks *h)
{
    if (h->batch)
        return;
    struct hook_table *t = h->count ? table_new(h->hook, h->count) : NULL;
    struct hook_table *old = atomic_exchange(&h->table, t), **p;

    if (old) {
        old->next = h->retired;
        h->retired = old;
    }
    for (p = &h->retired; *p;) {
        struct hook_table *r = *p;

        if (in_use(h, r)) {
            p = &r->next;
            continue;
        }
        *p = r->next;
        table_free(r);
    }
}

void exit_hooks_init(struct exit_hooks *h)
{
    pthread_mutex_init(&h->lock, NULL);
}

void exit_hooks_fini(struct exit_hooks *h)
{
    h->batch = false;
    for (unsigned i = 0; i < h->count; i++)
        hook_unref(h->hook[i]);
    h->count = 0;
    publish(h);
    free(h->hook);
    pthread_mutex_destroy(&h->lock);
}

/* True for a field of a read that has no value before its device answered. */
static bool is_answer(const char *field)
{
    return !strcmp(field, "value") || !strcmp(field, "unclaimed");
}

static void note_needs(struct exit_hook *h)
{
    uint64_t value;

    for (int i = 0; field_table[i].name && h->needs_count < NEEDS_MAX; i++) {
        if (!expr_requires(h->filter, i, &value))
            continue;
        h->needs[h->needs_count].field = i;
        h->needs[h->needs_count].value = value;
        h->needs[h->needs_count++].answer = is_answer(field_table[i].name);
    }
}

static struct exit_hook *hook_new(struct session *s, const struct hook_spec *spec, struct err *e)
{
    struct expr_names names = session_names(s);
    struct exit_hook *h = xcalloc(1, sizeof *h);
    uint64_t kind;

    h->spec = *spec;
    h->spec.filter = NULL; /* the text belongs to the caller */
    h->refs = 1;
    if (!spec->filter)
        return h;
    h->filter = expr_compile(spec->filter, &names, e);
    if (!h->filter) {
        free(h);
        return NULL;
    }
    if (spec->reason < 0 && expr_requires(h->filter, field_by_name("kind"), &kind))
        h->spec.reason = (int)kind;
    if (key_field(h->spec.reason))
        h->has_key = expr_requires(h->filter, field_by_name(key_field(h->spec.reason)), &h->key);
    note_needs(h);
    h->wants_answer = expr_uses_field(h->filter, field_by_name("value")) ||
                      expr_uses_field(h->filter, field_by_name("unclaimed"));
    return h;
}

int session_hook_add(struct session *s, const struct hook_spec *spec, struct err *e)
{
    struct exit_hooks *h = &s->engine.exit_hooks;
    struct exit_hook *x = hook_new(s, spec, e);
    int id;

    if (!x)
        return -EINVAL;
    pthread_mutex_lock(&h->lock);
    if (h->count >= HOOKS_MAX) {
        pthread_mutex_unlock(&h->lock);
        hook_unref(x);
        return err_set(e, ENOSPC, "no more than %d hooks can be set", HOOKS_MAX);
    }
    if (h->count == h->cap) {
        h->cap = h->cap ? 2 * h->cap : 16;
        h->hook = xrealloc(h->hook, h->cap, sizeof *h->hook);
    }
    id = x->id = ++h->last_id;
    h->hook[h->count++] = x;
    publish(h);
    pthread_mutex_unlock(&h->lock);
    return id;
}

void session_hook_batch(struct session *s, bool on)
{
    struct exit_hooks *h = &s->engine.exit_hooks;

    pthread_mutex_lock(&h->lock);
    h->batch = on;
    publish(h);
    pthread_mutex_unlock(&h->lock);
}

int session_hook_del(struct session *s, int id)
{
    struct exit_hooks *h = &s->engine.exit_hooks;
    int rc = -ENOENT;

    pthread_mutex_lock(&h->lock);
    for (unsigned i = 0; i < h->count; i++) {
        if (h->hook[i]->id != id)
            continue;
        hook_unref(h->hook[i]);
        memmove(&h->hook[i], &h->hook[i + 1], (h->count - i - 1) * sizeof *h->hook);
        h->count--;
        publish(h);
        rc = 0;
        break;
    }
    pthread_mutex_unlock(&h->lock);
    return rc;
}

/* ---- dispatch on vCPU threads ------------------------------------------------------------------
 */

static const struct hook_table *enter(struct exit_hooks *h, unsigned cpu)
{
    struct hook_table *t;

    do {
        t = atomic_load(&h->table);
        atomic_store(&h->using[cpu], t); /* pairs with in_use */
    } while (t != atomic_load(&h->table));
    return t;
}

static void leave(struct exit_hooks *h, unsigned cpu)
{
    atomic_store_explicit(&h->using[cpu], NULL, memory_order_release);
}

static bool is_write(const struct exit_event *ev)
{
    struct exit_access a;

    return exit_access(ev, &a) && a.write;
}

static bool lacks(const struct exit_hook *h, const struct exit_event *ev, bool answered)
{
    for (unsigned i = 0; i < h->needs_count; i++) {
        uint64_t value;

        if (h->needs[i].answer && !answered)
            continue;
        if (!field_table[h->needs[i].field].get(ev, &value) || value != h->needs[i].value)
            return true;
    }
    return false;
}

static bool matches(const struct exit_hook *h, struct hook_call *c)
{
    bool asks = c->access && !is_write(c->ev);
    uint64_t value = 1;

    if (h->spec.reason >= 0 && h->spec.reason != c->ev->reason)
        return false;
    if (h->spec.vcpu >= 0 && h->spec.vcpu != (int)c->ev->vcpu)
        return false;
    if (!h->filter)
        return true;
    if (lacks(h, c->ev, !asks))
        return false;
    if (h->wants_answer && asks) {
        hook_serve(c);
        if (lacks(h, c->ev, true))
            return false;
    }
    /* A filter that has no value here (the port of an mmio exit) does not match. */
    return engine_eval(c->engine, c->v, h->filter, c->ev, &value, NULL) == 0 && value;
}

static void call(const struct exit_hook *h, struct hook_call *c)
{
    struct stop_info *si;

    c->stop_why = NULL;
    switch (h->spec.fn(h->spec.arg, c)) {
    case HOOK_GO:
        break;
    case HOOK_DROP:
        if (c->access && !c->answered) {
            static const uint8_t nobody[8] = {255, 255, 255, 255, 255, 255, 255, 255};

            hook_reply(c, nobody, c->ev->reason == KVM_EXIT_IO ? c->ev->size : 8);
        }
        break;
    case HOOK_STOP:
        si = engine_stop(c->engine, c->v, STOP_HOOK);
        c->ev->flags |= EXIT_F_STOPPED;
        if (si->kind == STOP_HOOK && c->stop_why)
            snprintf(si->text, sizeof si->text, "%.400s", c->stop_why);
        break;
    }
}

/* Up to three spans, merged by id, so that hooks run in the order they were made. */
static void run(const struct hook_table *t, struct hook_call *c)
{
    unsigned slot = exit_counter(c->ev->reason);
    struct span s[3] = {t->every, t->slot[slot], {0, 0}};
    uint64_t key;

    if (t->keyed[slot] && key_of(c->ev, &key))
        s[2] = bucket_of(t, slot, key)->at;
    for (;;) {
        int best = -1;

        for (int i = 0; i < 3; i++)
            if (s[i].count && (best < 0 || t->hook[s[i].start]->id < t->hook[s[best].start]->id))
                best = i;
        if (best < 0)
            return;
        s[best].count--;
        const struct exit_hook *h = t->hook[s[best].start++];

        if (matches(h, c))
            call(h, c);
    }
}

static void dispatch(struct engine *g, struct hook_call *c)
{
    struct exit_hooks *h = &g->exit_hooks;
    const struct hook_table *t = enter(h, c->v->id);

    if (t)
        run(t, c);
    leave(h, c->v->id);
}

bool exit_hooks_access(struct engine *g, struct vcpu *v, struct exit_event *ev)
{
    struct hook_call c = {.engine = g, .v = v, .ev = ev, .access = true};

    if (!exit_hooks_any(&g->exit_hooks))
        return false;
    dispatch(g, &c);
    return c.served || c.answered;
}

void exit_hooks_saw(struct engine *g, struct vcpu *v, struct exit_event *ev)
{
    struct hook_call c = {.engine = g, .v = v, .ev = ev};

    if (!exit_is_access(ev->reason)) /* accesses had their turn before the device */
        dispatch(g, &c);
}

bool exit_hook_point(struct engine *g, struct vcpu *v, struct exit_event *ev, hook_fn *fn,
                     void *arg, const char **why)
{
    struct exit_event here;
    struct hook_call c = {.engine = g, .v = v, .ev = ev ? ev : &here};

    if (!ev)
        vcpu_event_here(v, KVM_EXIT_DEBUG, &here);
    if (fn(arg, &c) != HOOK_STOP)
        return false;
    *why = c.stop_why;
    return true;
}
