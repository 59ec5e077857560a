/*
 * Sentences for what this host's KVM could not do: exits that nobody can serve, instructions that
 * it refuses or spins at, and KVM_RUN failing. Each says what failed, where, why as far as KVM
 * tells, and what to try. Main thread, machine parked.
 */
#ifndef DEBUG_STOP_ERROR_H
#define DEBUG_STOP_ERROR_H

#include "debug/session.h"

/* Adds the sentence for a stop of `si->vcpu` at `at` (an address with its symbol) whose kind is
 * STOP_INTERNAL_ERROR, STOP_STUCK or STOP_HOST_ERROR; `ev` is the exit that led to it. */
void stop_error_describe(struct session *s, const struct stop_info *si, const struct exit_event *ev,
                         const char *at, struct buf *out);

/* A triple fault, likewise; `name` is its vector's. */
void stop_error_triple(struct session *s, const struct stop_info *si, const char *at,
                       const char *name, struct buf *out);

#endif
