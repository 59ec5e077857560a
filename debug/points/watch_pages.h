/*
 * How each watched page is watched: what the processor itself uses it for, the trap or comparison
 * that suits, and KVM's slots for it. Parked or alone, as watch.h says.
 */
#ifndef DEBUG_WATCH_PAGES_H
#define DEBUG_WATCH_PAGES_H

#include "debug/points/watch.h"

/* Chooses for every page and tells KVM. 1: something changed, 0: nothing, or -errno with a
 * sentence. */
int watch_pages_choose(struct watches *w, struct err *e);
/* A store of `value` over `was` to a trapped page may make a page table of it, which must not be
 * trapped: then the page is suspected from now on. */
bool watch_pages_suspect(const struct watches *w, struct watch_page *p, uint64_t was,
                         uint64_t value);
/* Physical pages that the processor needs by itself for the next instruction or event of `v`: code,
 * stacks, descriptor tables, TSS and the page tables of these. Returns how many of them are trapped
 * and lifts those (slots_lift); the caller applies. */
unsigned watch_pages_lift_system(struct watches *w, struct vcpu *v);
/* What the method is called for people. */
const char *watch_how_name(enum watch_how how);

#endif
