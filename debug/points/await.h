/*
 * Points whose page is not mapped yet: breakpoints that no debug register holds in ring 3, and
 * watchpoints. On a KVM that interprets ring 0 a page can be mapped and touched without any exit in
 * between, so the entries of page tables that must change first are watched.
 */
#ifndef DEBUG_AWAIT_H
#define DEBUG_AWAIT_H

#include <stdbool.h>

struct points;

/* Entries watched at once; further points are found at the next kick. */
#define AWAIT_MAX 64

/* Watches the entries that count now and forgets others. Parked or alone, after each change of
 * points. A write to one sets points.look. */
void await_refresh(struct points *p);
/* Would that change something? As await_refresh. */
bool await_stale(struct points *p);

#endif
