/*
 * What every PC has at the usual ports, physical addresses and MSRs: one table for `explain` and
 * for the hints of storms. Static text; any thread.
 */
#ifndef DEBUG_KNOWN_H
#define DEBUG_KNOWN_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/base/buf.h"
#include "vmm/exit.h"

enum known_dir { KNOWN_ANY, KNOWN_READ, KNOWN_WRITE };

struct known_bit {
    uint32_t mask, value;
    const char *text;
};

struct known {
    enum exit_space space;
    enum known_dir dir;
    uint64_t first, last;
    const char *name;
    const char *help;             /* one or two sentences for students */
    const char *storm;            /* why it may come in masses, and what would end that; or NULL */
    const struct known_bit *bits; /* of the value, ended by a row without text; or NULL */
};

/* The access that a record tells of, KVM's own included: of an exit, or of a kernel record. False,
 * and *a as it was, for other records. */
bool known_access(const struct exit_event *ev, struct exit_access *a);
/* The narrowest row for a record's access, or NULL; of records that known_access refuses, NULL. */
const struct known *known_of(const struct exit_event *ev);
/* Appends what a value means by the row's bits: "transmitter empty, no data"; nothing without. */
void known_value(const struct known *k, uint64_t value, struct buf *out);

#endif
