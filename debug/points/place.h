/*
 * Where points are placed: what place.c does for follow.c. Main thread with all vCPUs parked, or a
 * vCPU that is alone.
 */
#ifndef DEBUG_POINTS_PLACE_H
#define DEBUG_POINTS_PLACE_H

#include "debug/points/points.h"

/* What lies behind a point's address in the tables of one vCPU. `user`: ring 3 may execute it (and
 * perhaps ring 0 as well, in kernels that map everything for both). */
struct spot {
    bool there, user, real;
    struct bp_place at;
};

/* False: vCPU `cpu` was never started, and has neither paging nor anything to do with the guest's
 * addresses. */
bool place_has_tables(const struct points *p, unsigned cpu);
/* Fills *s by the tables of this vCPU. */
void place_look_up(const struct points *p, const struct vcpu *v, uint64_t linear, struct spot *s);
/* By those of the first vCPU that maps it; false (and s->there): none does. */
bool place_locate(const struct points *p, const struct bp *b, struct spot *s);
/* A debug register that nobody has, or -1. */
int place_free_dr(const struct points *p);
/* Is a debug register what holds points in this mode? */
bool place_by_register(const struct points *p, enum probe_mode mode);
/* The byte that leaves the guest on this host, or 0 when no byte does. With paging on a page may be
 * executed by ring 3 one day, where an emulating KVM catches only int3, at the guest's gate; in
 * ring 0 it refuses int3 with RIP at it, so that this serves both. *m: what that is called. */
uint8_t place_byte(const struct points *p, enum probe_mode mode, enum bp_method *m);
/* What a point with a debug register is called: BP_DR, or BP_BOTH. Processors pass a debug register
 * by when the guest returns there with RFLAGS.RF set, as handlers of faults do, and right after MOV
 * SS. There b->byte is to be planted as well. */
enum bp_method place_in_dr(struct points *p, struct bp *b, const struct spot *s);
/* Gives up place `i` < b->places. */
void place_let_go(struct points *p, struct bp *b, unsigned i);
/* Plants at one more place, or takes its page out of memory, as b->method says; the oldest place
 * goes when there are too many. */
void place_hold(struct points *p, struct bp *b, const struct bp_place *at);
/* Chooses b's method and place anew, whatever it had. */
void place_again(struct points *p, struct bp *b);

#endif
