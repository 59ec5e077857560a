/*
 * See awake.h.
 */
#include "vmm/base/awake.h"

#include <sched.h>

#include "vmm/base/clock.h"

#define TAKEN_NS 30000u      /* nobody else ran while we yielded: it takes no longer */
#define TIRED_NS 1000000000u /* once they did */

void awake_begin(struct awake *a, uint64_t max_ns)
{
    a->now_ns = clock_ns();
    a->until_ns = a->now_ns < a->tired_until_ns ? 0 : a->now_ns + max_ns;
}

bool awake_on(struct awake *a)
{
    uint64_t before = a->now_ns;

    if (before >= a->until_ns)
        return false;
    sched_yield();
    a->now_ns = clock_ns();
    if (a->now_ns - before > TAKEN_NS)
        a->tired_until_ns = a->now_ns + TIRED_NS;
    return a->now_ns - before <= TAKEN_NS;
}
