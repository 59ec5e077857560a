/*
 * Counting of exit records by site. The hot path (stat_add) is a hash look-up and a dozen
 * additions; everything else is made when somebody asks.
 */
#include "debug/trace/trace_stat.h"

#include <stdlib.h>
#include <string.h>

#include "vmm/base/x.h"

#define FIRST_CELLS 256u

/* ---- histograms ------------------------------------------------------------------------------ */

unsigned stat_bucket(uint32_t ns)
{
    unsigned octave;

    if (ns < 8)
        return ns;
    octave = 31u - (unsigned)__builtin_clz(ns);
    return (octave - 2) * 8 + (ns >> (octave - 3) & 7);
}

uint64_t stat_bucket_floor(unsigned b)
{
    if (b < 8)
        return b;
    return (uint64_t)(8 + b % 8) << (b / 8 - 1);
}

uint32_t stat_quantile(const uint32_t hist[STAT_BUCKETS], double q, uint32_t min, uint32_t max)
{
    uint64_t total = 0, below = 0, want;

    for (unsigned b = 0; b < STAT_BUCKETS; b++)
        total += hist[b];
    if (!total)
        return 0;
    want = (uint64_t)(q * (double)total);
    if (want >= total)
        want = total - 1;
    for (unsigned b = 0; b < STAT_BUCKETS; b++) {
        below += hist[b];
        if (below > want) {
            uint64_t mid = (stat_bucket_floor(b) + stat_bucket_floor(b + 1)) / 2;

            return mid < min ? min : mid > max ? max : (uint32_t)mid;
        }
    }
    return max;
}

/* ---- cells ----------------------------------------------------------------------------------- */

void stat_init(struct trace_stats *t)
{
    *t = (struct trace_stats){0};
    t->cap = FIRST_CELLS;
    t->slots = 2 * FIRST_CELLS;
    t->cell = xcalloc(t->cap, sizeof *t->cell);
    t->slot = xcalloc(t->slots, sizeof *t->slot);
}

void stat_fini(struct trace_stats *t)
{
    free(t->cell);
    free(t->slot);
    *t = (struct trace_stats){0};
}

void stat_clear(struct trace_stats *t)
{
    struct trace_stats fresh;

    stat_init(&fresh);
    for (unsigned i = 0; i < MACHINE_CPUS_MAX; i++) {
        fresh.cpu[i].end_ns = t->cpu[i].end_ns;
        fresh.cpu[i].next_seq = t->cpu[i].next_seq;
    }
    stat_fini(t);
    *t = fresh;
}

static uint64_t hash(const struct stat_key *k)
{
    uint64_t w[3], h;

    memcpy(w, k, sizeof w);
    /* Three products that do not wait for each other, then one to spread their bits. */
    h = w[0] * 0x9e3779b97f4a7c15u ^ w[1] * 0xbf58476d1ce4e5b9u ^ w[2] * 0x94d049bb133111ebu;
    h = (h ^ h >> 32) * 0xd6e8feb86659fd93u;
    return h ^ h >> 32;
}

static bool same(const struct stat_key *a, const struct stat_key *b)
{
    uint64_t x[3], y[3];

    memcpy(x, a, sizeof x);
    memcpy(y, b, sizeof y);
    return x[0] == y[0] && x[1] == y[1] && x[2] == y[2];
}

static void grow(struct trace_stats *t)
{
    t->cap *= 2;
    t->slots *= 2;
    t->cell = xrealloc(t->cell, t->cap, sizeof *t->cell);
    free(t->slot);
    t->slot = xcalloc(t->slots, sizeof *t->slot);
    for (unsigned i = 0; i < t->cells; i++) {
        uint64_t at = hash(&t->cell[i].key) & (t->slots - 1);

        while (t->slot[at])
            at = (at + 1) & (t->slots - 1);
        t->slot[at] = i + 1;
    }
}

static struct stat_cell *find(struct trace_stats *t, const struct stat_key *k)
{
    uint64_t at = hash(k) & (t->slots - 1);
    struct stat_cell *c;

    for (; t->slot[at]; at = (at + 1) & (t->slots - 1)) {
        c = &t->cell[t->slot[at] - 1];
        if (same(&c->key, k))
            return c;
    }
    if (t->cells >= STAT_CELLS_MAX && !(k->flags & STAT_FOLDED)) {
        struct stat_key folded = {.reason = k->reason, .vcpu = k->vcpu, .flags = STAT_FOLDED};

        t->folded++;
        return find(t, &folded);
    }
    if (t->cells == t->cap) {
        grow(t);
        return find(t, k);
    }
    c = &t->cell[t->cells++];
    memset(c, 0, sizeof *c);
    c->key = *k;
    c->host_min = c->guest_min = UINT32_MAX;
    t->slot[at] = t->cells;
    return c;
}

/* ---- keys ------------------------------------------------------------------------------------ */

struct stat_key stat_key_of(const struct exit_event *ev)
{
    struct stat_key k = {
        .rip = ev->cs_base + ev->rip,
        .reason = ev->reason,
        .vcpu = ev->vcpu,
        .size = ev->size,
        .flags = ev->flags & (EXIT_F_UNCLAIMED | EXIT_F_PAST | EXIT_F_STRING),
        .mode = ev->mode,
        .cpl = ev->cpl,
    };

    switch (ev->reason) {
    case KVM_EXIT_IO:
        k.what = ev->u.io.port;
        k.write = ev->u.io.write != 0;
        break;
    case KVM_EXIT_MMIO:
        k.what = ev->u.mmio.gpa;
        k.write = ev->u.mmio.write != 0;
        break;
    case KVM_EXIT_X86_RDMSR:
    case KVM_EXIT_X86_WRMSR:
        k.what = ev->u.msr.index;
        k.write = ev->u.msr.write != 0;
        break;
    case KVM_EXIT_DEBUG:
        k.what = ev->u.debug.exception;
        break;
    case KVM_EXIT_INTERNAL_ERROR:
        k.what = ev->u.internal.suberror;
        break;
    case KVM_EXIT_SHUTDOWN:
        k.what = (uint32_t)ev->u.shutdown.vector;
        break;
    case KVM_EXIT_SYSTEM_EVENT:
        k.what = ev->u.system.type;
        break;
    case EXIT_INJECT:
        k.what = ev->u.inject.vector | (uint64_t)ev->u.inject.kind << 32 |
                 (uint64_t)ev->u.inject.line << 48;
        break;
    case EXIT_ASSIST:
        k.what = ev->u.assist.what;
        break;
    case EXIT_KERNEL:
        k.what = (uint64_t)ev->u.kernel.event << 40 | ev->u.kernel.number;
        if (ev->u.kernel.event == KERNEL_EXIT)
            k.what |= (ev->u.kernel.value[2] & 3) << 32;
        k.write = ev->u.kernel.write != 0;
        break;
    case EXIT_DEVICE:
        k.what = (uint64_t)ev->u.device.event << 48 | (uint64_t)ev->u.device.id << 40 |
                 (uint64_t)ev->u.device.cpu << 32 | (uint64_t)ev->u.device.line << 16 |
                 ev->u.device.vector;
        k.write = ev->u.device.write != 0;
        break;
    default:
        break;
    }
    return k;
}

void stat_key_event(const struct stat_key *k, struct exit_event *ev)
{
    *ev = (struct exit_event){
        .rip = k->rip,
        .reason = k->reason,
        .flags = (uint16_t)(k->flags & (EXIT_F_UNCLAIMED | EXIT_F_PAST | EXIT_F_STRING)),
        .vcpu = k->vcpu,
        .mode = k->mode,
        .cpl = k->cpl,
        .size = k->size,
    };
    switch (k->reason) {
    case KVM_EXIT_IO:
        ev->u.io.port = (uint16_t)k->what;
        ev->u.io.write = k->write;
        ev->u.io.count = 1;
        break;
    case KVM_EXIT_MMIO:
        ev->u.mmio.gpa = k->what;
        ev->u.mmio.write = k->write;
        break;
    case KVM_EXIT_X86_RDMSR:
    case KVM_EXIT_X86_WRMSR:
        ev->u.msr.index = (uint32_t)k->what;
        ev->u.msr.write = k->write;
        break;
    case KVM_EXIT_DEBUG:
        ev->u.debug.exception = (uint32_t)k->what;
        break;
    case KVM_EXIT_INTERNAL_ERROR:
        ev->u.internal.suberror = (uint32_t)k->what;
        break;
    case KVM_EXIT_SHUTDOWN:
        ev->u.shutdown.vector = (int32_t)(uint32_t)k->what;
        break;
    case KVM_EXIT_SYSTEM_EVENT:
        ev->u.system.type = (uint32_t)k->what;
        break;
    case EXIT_INJECT:
        ev->u.inject.vector = (uint32_t)k->what;
        ev->u.inject.kind = (uint16_t)(k->what >> 32);
        ev->u.inject.line = (uint16_t)(k->what >> 48);
        break;
    case EXIT_ASSIST:
        ev->u.assist.what = (uint32_t)k->what;
        break;
    case EXIT_KERNEL:
        ev->u.kernel.event = (uint16_t)(k->what >> 40);
        ev->u.kernel.number = (uint32_t)k->what;
        ev->u.kernel.value[2] = k->what >> 32 & 3;
        ev->u.kernel.write = k->write;
        break;
    case EXIT_DEVICE:
        ev->u.device = (struct exit_device){
            .event = (uint16_t)(k->what >> 48),
            .id = (uint8_t)(k->what >> 40),
            .cpu = (uint8_t)(k->what >> 32),
            .line = (uint16_t)(k->what >> 16),
            .vector = (uint16_t)k->what,
            .write = k->write,
        };
        break;
    default:
        break;
    }
}

/* ---- counting -------------------------------------------------------------------------------- */

bool stat_is_note(unsigned reason)
{
    return reason == EXIT_INJECT || reason == EXIT_RUN || reason == EXIT_STOP ||
           reason == EXIT_KERNEL || reason == EXIT_DEVICE || reason == EXIT_STACK;
}

/* Follows the vCPU's clock from its last exit to this one. */
static void add_time(struct trace_stats *t, const struct exit_event *ev)
{
    struct stat_cpu *cpu = &t->cpu[ev->vcpu % MACHINE_CPUS_MAX];
    uint64_t entered = ev->at_ns - ev->guest_ns;
    uint64_t gap = cpu->end_ns && entered > cpu->end_ns ? entered - cpu->end_ns : 0;

    if (cpu->halt_cell && cpu->halt_cell <= t->cells)
        t->cell[cpu->halt_cell - 1].wait_sum += gap;
    cpu->halt_cell = 0;
    cpu->active_ns += gap + ev->guest_ns + ev->host_ns;
    cpu->end_ns = ev->at_ns + ev->host_ns;
    if (exit_is_access(ev->reason) && !(ev->flags & EXIT_F_STEPPED))
        t->trip_hist[stat_bucket(ev->guest_ns)]++;
}

/* The machine started or stopped: what lies between is nobody's time. */
static void add_mark(struct trace_stats *t, const struct exit_event *ev)
{
    for (unsigned i = 0; i < MACHINE_CPUS_MAX; i++) {
        struct stat_cpu *cpu = &t->cpu[i];

        if (ev->reason == EXIT_STOP && cpu->halt_cell && cpu->halt_cell <= t->cells &&
            cpu->end_ns && ev->at_ns > cpu->end_ns) {
            t->cell[cpu->halt_cell - 1].wait_sum += ev->at_ns - cpu->end_ns;
            cpu->active_ns += ev->at_ns - cpu->end_ns;
        }
        /* A halted vCPU goes on waiting when the machine goes on. */
        cpu->end_ns = ev->reason == EXIT_RUN ? ev->at_ns : 0;
    }
}

static void count(struct trace_stats *t, const struct exit_event *ev)
{
    struct stat_key k = stat_key_of(ev);
    struct stat_cell *c = find(t, &k);

    c->count++;
    c->host_sum += ev->host_ns;
    c->guest_sum += ev->guest_ns;
    if (ev->host_ns < c->host_min)
        c->host_min = ev->host_ns;
    if (ev->host_ns > c->host_max)
        c->host_max = ev->host_ns;
    if (ev->guest_ns < c->guest_min)
        c->guest_min = ev->guest_ns;
    if (ev->guest_ns > c->guest_max)
        c->guest_max = ev->guest_ns;
    if (stat_is_note(ev->reason)) {
        t->notes++;
        return;
    }
    c->host_hist[stat_bucket(ev->host_ns)]++;
    t->guest_hist[exit_counter(ev->reason)][stat_bucket(ev->guest_ns)]++;
    t->records++;
    if (ev->reason == KVM_EXIT_HLT)
        t->cpu[ev->vcpu % MACHINE_CPUS_MAX].halt_cell = (uint32_t)(c - t->cell) + 1;
}

void stat_add(struct trace_stats *t, const struct exit_event *ev, bool counted)
{
    if (ev->reason == EXIT_STACK)
        return; /* a part of the exit before it */
    if (!t->first_ns)
        t->first_ns = ev->at_ns - ev->guest_ns;
    if (ev->at_ns > t->last_ns)
        t->last_ns = ev->at_ns;
    if (ev->reason == EXIT_RUN || ev->reason == EXIT_STOP) {
        add_mark(t, ev);
        return;
    }
    if (!stat_is_note(ev->reason))
        add_time(t, ev);
    if (counted)
        count(t, ev);
    else
        t->skipped++;
}

void stat_mark(struct trace_stats *t)
{
    for (unsigned i = 0; i < t->cells; i++)
        t->cell[i].marked = t->cell[i].count;
}

/* ---- sums ------------------------------------------------------------------------------------ */

void stat_sum_add(struct stat_sum *s, const struct stat_cell *c)
{
    if (!s->count || c->host_min < s->host_min)
        s->host_min = c->host_min;
    if (!s->count || c->guest_min < s->guest_min)
        s->guest_min = c->guest_min;
    if (c->host_max > s->host_max)
        s->host_max = c->host_max;
    if (c->guest_max > s->guest_max)
        s->guest_max = c->guest_max;
    s->count += c->count;
    s->host_sum += c->host_sum;
    s->guest_sum += c->guest_sum;
    for (unsigned b = 0; b < STAT_BUCKETS; b++)
        s->hist[b] += c->host_hist[b];
}

uint32_t stat_trip_ns(const struct trace_stats *t)
{
    return stat_quantile(t->trip_hist, 0.01, 0, UINT32_MAX);
}

uint64_t stat_span_ns(const struct trace_stats *t)
{
    uint64_t most = 0;

    for (unsigned i = 0; i < MACHINE_CPUS_MAX; i++)
        if (t->cpu[i].active_ns > most)
            most = t->cpu[i].active_ns;
    return most;
}

uint64_t stat_active_ns(const struct trace_stats *t)
{
    uint64_t all = 0;

    for (unsigned i = 0; i < MACHINE_CPUS_MAX; i++)
        all += t->cpu[i].active_ns;
    return all;
}

uint64_t stat_cost_ns(const struct stat_sum *s, uint32_t trip_ns)
{
    uint64_t trips = s->count * trip_ns;

    return s->host_sum + (trips < s->guest_sum ? trips : s->guest_sum);
}
