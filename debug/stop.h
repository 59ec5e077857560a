/*
 * The story of a stop in one sentence, and helpers that finish and step-over need. Main thread.
 */
#ifndef DEBUG_STOP_H
#define DEBUG_STOP_H

#include "debug/session.h"

/* Fills si->text (keeping what is already there as detail) from the other fields. `ev` is the exit
 * that could not be dealt with (stop_error.h), else NULL. The machine is parked. */
void stop_describe(struct session *s, struct stop_info *si, const struct exit_event *ev);

#endif
