/*
 * Aligns the exits of one vCPU in two recordings. Each exit is told by a hash of what two runs of a
 * deterministic guest have in common: kind, port or address, place, what was written. Where the
 * streams part, the nearest place is searched at which ANCHOR exits in a row agree again; what was
 * passed over is a difference. Look-ahead and search are bounded, so that two recordings that have
 * nothing in common cost no more than reading them.
 */
#include <stdlib.h>
#include <string.h>

#include "debug/trace/report_int.h"
#include "vmm/base/x.h"

#define LOOK       1024u
#define ANCHOR     8u
#define SEARCH_MAX 300000000u /* comparisons for a vCPU */

struct stream {
    struct trace_reader *r;
    const struct trace_names *n;
    unsigned vcpu;
    struct exit_event batch[64];
    size_t at, have;
    /* what was looked at ahead: a queue */
    struct exit_event ev[LOOK];
    uint64_t key[LOOK];
    unsigned first, count;
    bool ended;
    uint64_t taken; /* exits before the queue */
    /* the place that was asked for last */
    uint64_t rip, place;
};

/* Kicks, interrupts and steps differ from run to run. */
static bool matters(const struct exit_event *ev, unsigned vcpu)
{
    return ev->vcpu == vcpu && ev->reason != EXIT_KICK && !stat_is_note(ev->reason) &&
           ev->reason != KVM_EXIT_IRQ_WINDOW_OPEN && ev->reason != KVM_EXIT_DEBUG;
}

static uint64_t mix(uint64_t h, uint64_t v)
{
    h = (h ^ v) * 0x9e3779b97f4a7c15u;
    return h ^ h >> 29;
}

/* A function's name and the offset in it, so that functions that moved are still the same. */
static uint64_t place(struct stream *s, const struct stat_key *k)
{
    uint64_t start, h = 0;
    const char *name;

    if (s->place && s->rip == k->rip)
        return s->place;
    name = names_symbol(s->n, k->rip - (k->flags & EXIT_F_PAST ? 1 : 0), &start);
    for (const char *p = name; p && *p; p++)
        h = mix(h, (uint8_t)*p);
    s->rip = k->rip;
    s->place = mix(h, name ? k->rip - start : k->rip) | 1;
    return s->place;
}

static uint64_t key_of(struct stream *s, const struct exit_event *ev)
{
    struct stat_key k = stat_key_of(ev);
    uint64_t h = mix(place(s, &k), k.what);

    h = mix(h, (uint64_t)k.reason << 32 | (uint64_t)k.size << 16 | (uint64_t)k.write << 8 | k.cpl);
    if (ev->reason == KVM_EXIT_IO && ev->u.io.write)
        h = mix(h, ev->u.io.value);
    else if (ev->reason == KVM_EXIT_MMIO && ev->u.mmio.write)
        h = mix(h, ev->u.mmio.value);
    else if (ev->reason == KVM_EXIT_X86_WRMSR)
        h = mix(h, ev->u.msr.value);
    return h;
}

static bool next(struct stream *s, struct exit_event *ev)
{
    for (;;) {
        while (s->at < s->have) {
            *ev = s->batch[s->at++];
            if (matters(ev, s->vcpu))
                return true;
        }
        s->have = trace_read(s->r, s->batch, ARRAY_LEN(s->batch));
        s->at = 0;
        if (!s->have)
            return false;
    }
}

/* The i-th exit ahead, or NULL when the stream ends before it (or the queue is full). */
static const struct exit_event *ahead(struct stream *s, unsigned i)
{
    while (s->count <= i && s->count < LOOK && !s->ended) {
        unsigned at = (s->first + s->count) % LOOK;

        if (!next(s, &s->ev[at])) {
            s->ended = true;
            break;
        }
        s->key[at] = key_of(s, &s->ev[at]);
        s->count++;
    }
    return i < s->count ? &s->ev[(s->first + i) % LOOK] : NULL;
}

static void drop(struct stream *s, unsigned n)
{
    s->first = (s->first + n) % LOOK;
    s->count -= n;
    s->taken += n;
}

/* How many exits in a row agree from there on, up to ANCHOR; the common end of both counts. */
static bool agree(struct stream *a, unsigned i, struct stream *b, unsigned j)
{
    for (unsigned n = 0; n < ANCHOR; n++) {
        bool more_a = ahead(a, i + n) != NULL, more_b = ahead(b, j + n) != NULL;

        if (!more_a || !more_b)
            return !more_a && !more_b && a->ended && b->ended;
        if (a->key[(a->first + i + n) % LOOK] != b->key[(b->first + j + n) % LOOK])
            return false;
    }
    return true;
}

/* The nearest place at which both agree again: exits to pass over in each. */
static bool meet(struct stream *a, struct stream *b, uint64_t *budget, unsigned *skip_a,
                 unsigned *skip_b)
{
    for (unsigned d = 1; d < 2 * (LOOK - ANCHOR); d++) {
        for (unsigned i = d < LOOK - ANCHOR ? 0 : d - (LOOK - ANCHOR) + 1;
             i <= d && i < LOOK - ANCHOR; i++) {
            if (!*budget)
                return false;
            --*budget;
            if (!agree(a, i, b, d - i))
                continue;
            *skip_a = i;
            *skip_b = d - i;
            return true;
        }
        if (a->ended && b->ended && d > a->count + b->count)
            return false;
    }
    return false;
}

static void note(struct alignment *al, struct stream *a, struct stream *b, unsigned skip_a,
                 unsigned skip_b)
{
    if (al->differences++ < ALIGN_SHOWN) {
        struct difference *d = &al->difference[al->differences - 1];
        const struct exit_event *x = ahead(a, 0), *y = ahead(b, 0);

        *d = (struct difference){
            .at_a = a->taken, .at_b = b->taken, .only_a = skip_a, .only_b = skip_b};
        d->a_ended = !x;
        d->b_ended = !y;
        if (x)
            d->a = *x;
        if (y)
            d->b = *y;
    }
    al->only_a += skip_a;
    al->only_b += skip_b;
}

/* What is left of both, when they do not meet any more. */
static void give_up(struct alignment *al, struct stream *a, struct stream *b)
{
    uint64_t n_a = 0, n_b = 0;

    note(al, a, b, 0, 0);
    for (; ahead(a, 0); n_a++)
        drop(a, 1);
    for (; ahead(b, 0); n_b++)
        drop(b, 1);
    if (al->differences <= ALIGN_SHOWN) {
        al->difference[al->differences - 1].only_a = n_a;
        al->difference[al->differences - 1].only_b = n_b;
    }
    al->only_a += n_a;
    al->only_b += n_b;
    al->lost = n_a && n_b;
}

void align(struct report *x, struct report *y, unsigned vcpu, struct alignment *al)
{
    struct stream *a = xcalloc(1, sizeof *a), *b = xcalloc(1, sizeof *b);
    uint64_t budget = SEARCH_MAX;

    *al = (struct alignment){0};
    a->r = x->reader;
    b->r = y->reader;
    a->n = trace_names(a->r);
    b->n = trace_names(b->r);
    a->vcpu = b->vcpu = vcpu;
    trace_seek(a->r, 0);
    trace_seek(b->r, 0);
    for (;;) {
        bool more_a = ahead(a, 0) != NULL, more_b = ahead(b, 0) != NULL;
        unsigned skip_a, skip_b;

        if (!more_a && !more_b)
            break;
        if (more_a && more_b && a->key[a->first] == b->key[b->first]) {
            drop(a, 1);
            drop(b, 1);
            al->alike++;
            continue;
        }
        if (!more_a || !more_b || !meet(a, b, &budget, &skip_a, &skip_b)) {
            give_up(al, a, b);
            break;
        }
        note(al, a, b, skip_a, skip_b);
        drop(a, skip_a);
        drop(b, skip_b);
    }
    al->exits_a = a->taken;
    al->exits_b = b->taken;
    free(a);
    free(b);
}
