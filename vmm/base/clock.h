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

/* What the calling thread has been given of the processors, in nanoseconds: for limits on work,
 * which must not depend on who else is served. A system call. Any thread. */
static inline uint64_t clock_thread_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Such a time, or a span, as timers and waits take it. */
static inline struct timespec clock_timespec(uint64_t ns)
{
    return (struct timespec){.tv_sec = (time_t)(ns / 1000000000u),
                             .tv_nsec = (long)(ns % 1000000000u)};
}

/* How long somebody has waited, by looks at the clock `look_ns` apart or closer. None counts for
 * more than twice that: when this process was stopped, or the virtual machine that it runs in
 * paused, the clock went on, but nothing that is waited for could happen. */
#define PATIENCE_LOOK_NS 500000000u

struct patience {
    uint64_t last_ns, used_ns; /* the last look, 0 before the first; what has been waited */
    uint64_t look_ns;          /* 0: PATIENCE_LOOK_NS */
};

/* Looks at the clock, which says `now_ns` (clock_ns; never 0): nanoseconds waited since the first
 * look. */
static inline uint64_t patience_used(struct patience *p, uint64_t now_ns)
{
    uint64_t gone = p->last_ns ? now_ns - p->last_ns : 0;
    uint64_t most = 2 * (p->look_ns ? p->look_ns : PATIENCE_LOOK_NS);

    p->used_ns += gone < most ? gone : most;
    p->last_ns = now_ns;
    return p->used_ns;
}

#endif
