/*
 * What the files that keep `struct points` share. Changed as points.h says.
 */
#ifndef DEBUG_POINTS_INT_H
#define DEBUG_POINTS_INT_H

#include "debug/points/points.h"

/* place.c: chooses the method of `b` and places it; -errno with a sentence only for watchpoints. */
int point_place(struct points *p, struct bp *b, struct err *e);
/* 0 when `len` bytes at a linear address may be mapped in some mode, else -EINVAL with a sentence.
 */
int point_canonical(uint64_t addr, uint64_t len, struct err *e);
/* Takes it back, whatever its method: BP_NONE afterwards. */
void point_unplace(struct points *p, struct bp *b);

/* points.c: execution points by linear address, while they are placed. */
void points_index_add(struct points *p, struct bp *b);
void points_index_del(struct points *p, struct bp *b);

/* plants.c. A slot of a table of `slots`, a power of two. */
unsigned point_hash(uint64_t key, unsigned slots);
void plants_init(struct points *p);
/* One more user of a byte at `gpa`, planted with the first. False without RAM there. */
bool plant_put(struct points *p, uint64_t gpa, uint8_t byte);
void plant_take(struct points *p, uint64_t gpa);

/* catch_list.c: enabled catchpoints. */
void catch_add(struct points *p, struct bp *b);
void catch_del(struct points *p, const struct bp *b);
/* How such a one is noticed, for people. */
const char *catch_method(const struct points *p, const struct point_spec *spec);

#endif
