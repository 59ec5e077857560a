/*
 * The host's monotonic clock for logs, records and time-outs of our own. Devices never use it:
 * their time comes through the door (vmm/door.h).
 */
#ifndef VMM_BASE_CLOCK_H
#define VMM_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

/* CLOCK_MONOTONIC in nanoseconds; a vDSO call without a system call. Any thread. */
static inline uint64_t clock_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* How long somebody has waited, by looks at the clock PATIENCE_LOOK_NS apart or closer. None counts
 * for more than twice that: when this process was stopped, or the virtual machine that it runs in
 * paused, the clock went on, but nothing that is waited for could happen. */
#define PATIENCE_LOOK_NS 500000000u

struct patience {
    uint64_t last_ns, used_ns; /* the last look, 0 before the first; what has been waited */
};

/* Looks at the clock, which says `now_ns` (clock_ns; never 0): nanoseconds waited since the first
 * look. */
static inline uint64_t patience_used(struct patience *p, uint64_t now_ns)
{
    uint64_t gone = p->last_ns ? now_ns - p->last_ns : 0;

    p->used_ns += gone < 2 * PATIENCE_LOOK_NS ? gone : 2 * PATIENCE_LOOK_NS;
    p->last_ns = now_ns;
    return p->used_ns;
}

#endif
