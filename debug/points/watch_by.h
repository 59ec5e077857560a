/*
 * Which instruction made the access that a watchpoint reported? RIP is past it by then.
 */
#ifndef DEBUG_WATCH_BY_H
#define DEBUG_WATCH_BY_H

struct session;
struct stop_info;

/* Fills `by` of a watchpoint's stop when it is not known: found by decoding backwards from RIP,
 * with calls and string instructions told apart by what they leave behind. 0 stays when nothing
 * fits. Main thread, stopped. */
void watch_find_by(struct session *s, struct stop_info *si);

#endif
