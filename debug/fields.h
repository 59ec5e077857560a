/*
 * The fields of an exit record as words of expressions (`kind==io && port==0x3f8`): one table for
 * catchpoints, filters and help. Any thread.
 */
#ifndef DEBUG_FIELDS_H
#define DEBUG_FIELDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/exit.h"

struct field_word {
    const char *name;
    const char *help;
    bool (*get)(const struct exit_event *ev, uint64_t *value); /* false: has none */
};

/* Ended by a row without name. */
extern const struct field_word field_table[];

/* Index in field_table, or -1. */
int field_by_name(const char *name);
/* Words with fixed values: the kinds of exits (io, mmio, hlt, …), in, out, read, write. */
bool field_constant(const char *name, uint64_t *value);

#endif
