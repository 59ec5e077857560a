/*
 * What the files of the watchpoints share: watch.c and watch_drs.c place, watch_note.c,
 * watch_operands.c and watch_registers.c note who touches. Threads as in watch.h.
 */
#ifndef DEBUG_WATCH_INT_H
#define DEBUG_WATCH_INT_H

#include <stdbool.h>
#include <stdint.h>

#include "debug/points/watch.h"

/* The `len` (1 to 8) bytes of a watchpoint from `off` on, as the guest sees them; what is not
 * mapped reads as 0. */
uint64_t watch_value(const struct watches *w, const struct bp *b, uint64_t off, unsigned len);
/* Physical page of a linear one by the tables of any vCPU, vCPU 0 first; UINT64_MAX: none. */
uint64_t watch_linear_page(const struct watches *w, uint64_t linear);
/* Has debug registers of every vCPU watch `b`, as many of four as its pieces take, from the next
 * entry on. False, and nothing changed: they do not suit it on this host, or too few are free.
 * Parked. */
bool watch_drs_put(struct watches *w, struct bp *b);
/* Gives back what watch_drs_put took; nothing where it took none. Parked. */
void watch_drs_take(struct watches *w, struct bp *b);
/* Takes a debug register's present value for the old one of its next hit. */
void watch_dr_remember(const struct watches *w, struct bp *b);

/* The value, in as many bytes as `b` has, that a hit of this vCPU is compared with, and: what is in
 * memory now was told of by it. With the machine's lock. */
const uint8_t *watch_dr_old(const struct bp *b, const struct vcpu *v);
void watch_dr_told(const struct watches *w, struct bp *b, const struct vcpu *v);

/* The hit of this watchpoint that the vCPU's present instruction has already; NULL: none. */
struct watch_hit *watch_hit_find(const struct watch_cpu *c, const struct bp *b);
/* The same, made when there is none; `touched`: offset of the first byte in the watchpoint. */
struct watch_hit *watch_hit_get(struct watches *w, struct vcpu *v, struct bp *b, uint64_t touched,
                                bool write);
/* Bytes `from` to `to` (excluded) of a page are touched. */
void watch_note_access(struct watches *w, struct vcpu *v, const struct watch_page *p, unsigned from,
                       unsigned to, bool write);
/* An access that KVM or vmscope carried out, which passes no debug register of the processor's. */
void watch_note_drs(struct watches *w, struct vcpu *v, uint64_t gpa, unsigned len, bool write);
/* The new values of all that is noted are those in memory now. With the machine's lock, as other
 * vCPUs compare with the values of debug registers. */
void watch_take_values(struct watches *w, struct vcpu *v);

#endif
