/*
 * Guest nanoseconds <-> ticks of a fixed frequency, without drift and without overflow: tick t
 * begins at the first nanosecond for which ticks_at() says t.
 */
#ifndef VMM_DEVICES_TICKS_H
#define VMM_DEVICES_TICKS_H

#include <stdint.h>

#define NS_PER_S 1000000000u

/* `hz` up to 4 GHz. */
static inline uint64_t ticks_at(uint64_t ns, uint32_t hz)
{
    return ns / NS_PER_S * hz + ns % NS_PER_S * hz / NS_PER_S;
}

static inline uint64_t ticks_ns(uint64_t ticks, uint32_t hz)
{
    return ticks / hz * NS_PER_S + (ticks % hz * NS_PER_S + hz - 1) / hz;
}

#endif
