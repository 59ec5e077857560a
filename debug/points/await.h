/*
 * Page tables that points depend on. A KVM that interprets ring 0 lets the guest map a page and
 * touch it without any exit in between: break- and watchpoints that wait for a page, or whose page
 * is exchanged (a copy on write), would be passed. So the tables on the way there are made
 * read-only memory: a write to an entry on the way leaves the guest, and points are placed anew
 * before it goes on.
 */
#ifndef DEBUG_AWAIT_H
#define DEBUG_AWAIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bp;
struct points;

/* Pages of tables watched at once. */
#define AWAIT_PAGES 256u

/* Address spaces whose tables are watched although no vCPU is in them at the moment. */
#define AWAIT_SPACES 8u

struct await_entry {
    uint64_t gpa; /* of 8 bytes; of 4 in 32-bit paging, where 8 are as good */
    uint8_t level;
    bool is_wanted; /* else only of interest for: */
    bool is_live;   /* the tables of some vCPU, not what a former table may have become */
};

struct await {
    struct await_entry *entry; /* ascending */
    size_t entries, cap;
    uint64_t page[AWAIT_PAGES]; /* ascending; those of the entries */
    unsigned pages;
    uint64_t space[AWAIT_SPACES]; /* CR3s seen, the latest first */
    unsigned spaces;
    uint64_t seen; /* what they were chosen by */
    bool complete; /* nothing that matters was left out */
};

/* Part of points_init and points_fini. */
void await_init(struct points *p);
void await_fini(struct points *p);
/* Watches the entries that count now and forgets others. Points are where the tables lead: what is
 * written from now on counts as unseen. Parked or alone, from points_refresh. */
void await_refresh(struct points *p);
/* Has an entry been written, or CR3 or the points changed since? As await_refresh. */
bool await_stale(struct points *p);
/* Are all entries watched that points depend on in the present address spaces? */
bool await_covers(const struct points *p);
/* Are those of this waiting break- or placed watchpoint, or will they be when the guest runs? */
bool await_has(const struct points *p, const struct bp *b);
/* [gpa, gpa+len) was written, by whomever. Any thread; true when points have to be looked at. */
bool await_written(struct points *p, uint64_t gpa, uint64_t len);
/* The same for a store of the guest's that has been carried out: sets the bits of the entries that
 * the processor would have set later. */
bool await_stored(struct points *p, uint64_t gpa, uint64_t len);

#endif
