/*
 * Sentences for what this host's KVM could not do: exits that nobody can serve, instructions that
 * it refuses or spins at, and KVM_RUN failing. Each says what failed, where, why as far as KVM
 * tells, and what to try. Main thread, machine parked.
 */
#ifndef DEBUG_STOP_ERROR_H
#define DEBUG_STOP_ERROR_H

#include "debug/session.h"

/* Is it a stop of this kind? Then `ev` is the exit that led to it. */
bool stop_is_error(enum stop_kind k);
/* Adds the sentence for such a stop of `si->vcpu` at `at` (an address with its symbol). */
void stop_error_describe(struct session *s, const struct stop_info *si, const struct exit_event *ev,
                         const char *at, struct buf *out);

/* A triple fault, likewise; `name` is its vector's. */
void stop_error_triple(struct session *s, const struct stop_info *si, const char *at,
                       const char *name, struct buf *out);

#endif
