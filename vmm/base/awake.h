/*
 * Waiting awake for what comes in a few microseconds: to sleep and to be woken takes longer. It
 * never lasts, and it stops for a while when others turn out to need the processor. Each waiting
 * thread has a struct of its own, zero at first.
 */
#ifndef VMM_BASE_AWAKE_H
#define VMM_BASE_AWAKE_H

#include <stdbool.h>
#include <stdint.h>

struct awake {
    uint64_t now_ns, until_ns;
    uint64_t tired_until_ns; /* no waiting awake before */
};

/* Begins to wait for at most `max_ns`. */
void awake_begin(struct awake *a, uint64_t max_ns);
/* To be called while what is waited for has not come: lets others run, and says whether to go on.
 * False: sleep for it. */
bool awake_on(struct awake *a);

#endif
