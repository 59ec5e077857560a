/*
 * CLOCK_MONOTONIC by the processor's time stamp counter, for those who read it at every exit: a
 * tenth of what the vDSO takes behind a switch to another context. The counter is compared with the
 * clock every millisecond, so that both go together within a microsecond; where the kernel does not
 * trust the counter itself, every reading is the clock's. One struct a thread.
 */
#ifndef VMM_BASE_TICKS_H
#define VMM_BASE_TICKS_H

#include <stdbool.h>
#include <stdint.h>

struct ticks_pair {
    uint64_t tsc, ns;
};

struct ticks {
    struct ticks_pair at;       /* of the last comparison */
    uint64_t good;              /* counts from there on that `rate` may be used for */
    uint64_t rate;              /* nanoseconds a count, times 2^32 */
    struct ticks_pair old, mid; /* what the rate is measured from */
    uint64_t width;             /* counts that a comparison takes at best */
    uint64_t said;              /* the latest time that was told, up to the last comparison */
    bool off;                   /* no counter to be trusted */
};

/* The first comparison. A struct ticks belongs to one thread. */
void ticks_init(struct ticks *t);
/* Compares anew and returns the clock's time. Never less than what was read before. */
uint64_t ticks_sync(struct ticks *t);

/* The time in nanoseconds, as clock_ns(). */
static inline uint64_t ticks_ns(struct ticks *t)
{
    uint64_t gone = __builtin_ia32_rdtsc() - t->at.tsc;

    if (__builtin_expect(gone < t->good, 1))
        return t->at.ns + (gone * t->rate >> 32);
    return ticks_sync(t);
}

#endif
