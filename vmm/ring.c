/*
 * Exit record ring: single writer, many readers.
 */
#include "vmm/ring.h"

#include <stdlib.h>
#include <string.h>

#include "vmm/base/x.h"

void ring_init(struct exit_ring *r, unsigned records)
{
    BUG_ON(!records || (records & (records - 1)));
    r->word = xcalloc(records, sizeof(struct exit_event));
    r->mask = records - 1;
    atomic_store(&r->head, 0);
}

void ring_fini(struct exit_ring *r)
{
    free((void *)r->word);
    r->word = NULL;
}

uint64_t ring_put(struct exit_ring *r, struct exit_event *ev)
{
    uint64_t seq = atomic_load_explicit(&r->head, memory_order_relaxed);
    _Atomic uint64_t *slot = r->word + (seq & r->mask) * RING_WORDS;
    const uint64_t *raw = (const uint64_t *)ev; /* built without strict aliasing */

    ev->seq = seq;
    for (unsigned i = 0; i < RING_WORDS; i++)
        atomic_store_explicit(&slot[i], raw[i], memory_order_relaxed);
    atomic_store_explicit(&r->head, seq + 1, memory_order_release);
    /* A reader on another processor may have the next one, and an entry waits for stores. */
    slot = r->word + ((seq + 1) & r->mask) * RING_WORDS;
    __builtin_prefetch((const void *)slot, 1);
    __builtin_prefetch((const void *)(slot + RING_WORDS - 1), 1);
    return seq;
}

void ring_range(const struct exit_ring *r, uint64_t *oldest, uint64_t *end)
{
    uint64_t head = atomic_load_explicit(&r->head, memory_order_acquire);

    *end = head;
    /* The slot after the newest is being overwritten at any moment, so it does not count. */
    *oldest = head > r->mask ? head - r->mask : 0;
}

bool ring_get(const struct exit_ring *r, uint64_t seq, struct exit_event *out)
{
    const _Atomic uint64_t *slot = r->word + (seq & r->mask) * RING_WORDS;
    uint64_t raw[RING_WORDS], oldest, end;

    ring_range(r, &oldest, &end);
    if (seq < oldest || seq >= end)
        return false;
    for (unsigned i = 0; i < RING_WORDS; i++)
        raw[i] = atomic_load_explicit(&slot[i], memory_order_relaxed);
    atomic_thread_fence(memory_order_acquire);
    ring_range(r, &oldest, &end);
    if (seq < oldest)
        return false;
    memcpy(out, raw, sizeof *out);
    return true;
}
