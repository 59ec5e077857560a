/*
 * The frame of the storm guests: how many exits are wanted, and the last line, by which a tracer's
 * count can be compared. n=NUMBER on the command line changes the number.
 */
#ifndef GUESTS_LIB_STORM_H
#define GUESTS_LIB_STORM_H

#include "guests/lib/guest.h"

static inline unsigned long storm_count(unsigned long otherwise)
{
    return cmdline_number("n", otherwise);
}

static inline void storm_end(const char *guest, unsigned long made, const char *what)
{
    printk("%s: made %d %s\n", guest, made, what);
    GUEST_PASS();
}

#endif
