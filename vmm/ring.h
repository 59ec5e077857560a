/*
 * The ring of exit records of one vCPU: one writer (the vCPU's thread, never blocked), any number
 * of readers with their own cursors. Old records are overwritten; a reader that was too slow sees
 * by the sequence numbers how many it missed. Words are copied as relaxed atomics, and a reader
 * checks after copying that the writer has not come round.
 */
#ifndef VMM_RING_H
#define VMM_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "vmm/exit.h"

#define RING_WORDS (sizeof(struct exit_event) / sizeof(uint64_t))

struct exit_ring {
    _Atomic uint64_t *word; /* records * RING_WORDS */
    uint64_t mask;          /* records - 1 */
    _Atomic uint64_t head;  /* records ever written = seq of the next one */
};

/* `records` is a power of two. */
void ring_init(struct exit_ring *r, unsigned records);
void ring_fini(struct exit_ring *r);
/* Writer: stores `ev` with its seq set to the next number, which is returned. */
uint64_t ring_put(struct exit_ring *r, struct exit_event *ev);
/* Oldest and one past the newest sequence number that can be read now. */
void ring_range(const struct exit_ring *r, uint64_t *oldest, uint64_t *end);
/* False when the record is not there yet, or no longer. */
bool ring_get(const struct exit_ring *r, uint64_t seq, struct exit_event *out);

#endif
