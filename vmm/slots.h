/*
 * KVM's memory slots: the regions of `struct mem` minus trapped pages. A trapped page is read-only
 * memory (its writes leave the guest) or no memory at all (so do its reads), and the exit names the
 * guest-physical address although there is RAM behind it. Owned by vm.c; the debugger's watchpoints
 * decide what is trapped.
 *
 * Slots change only while no vCPU is inside the guest: the main thread with all parked, or a vCPU
 * thread that is alone there. A vCPU whose page tables vanish for a moment would shut down.
 */
#ifndef VMM_SLOTS_H
#define VMM_SLOTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/base/err.h"
#include "vmm/mem.h"

enum slot_trap {
    SLOT_OPEN,      /* ordinary memory */
    SLOT_READ_ONLY, /* writes leave the guest (KVM_MEM_READONLY) */
    SLOT_ABSENT,    /* reads, writes and fetches do */
};

struct slot_page {
    uint64_t gpa;        /* of the page */
    enum slot_trap trap; /* never SLOT_OPEN */
    bool lifted;         /* ordinary memory for a moment, in a slot of its own */
};

struct slot {
    uint64_t gpa, len_bytes;
    uint8_t *hva;
    bool readonly;
    uint32_t id; /* KVM's number; slots_plan leaves it 0 */
};

struct slots {
    int vm; /* descriptor, not owned; -1: KVM is not told (tests) */
    const struct mem *mem;
    unsigned max; /* that KVM can hold */
    struct slot_page *page;
    size_t pages, page_cap; /* ascending */
    struct slot *now;       /* as KVM has them, ascending */
    size_t count;
    uint32_t *spare; /* ids below next_id that are free */
    size_t spares, spare_cap;
    uint32_t next_id;
    uint64_t changes; /* slot ioctls made so far */
};

/* Installs the regions. The caller gives it back with slots_fini, also after an error; KVM's slots
 * go with its VM. */
int slots_init(struct slots *s, int vm, const struct mem *m, unsigned max, struct err *e);
void slots_fini(struct slots *s);

/* What slots there have to be for these pages (ascending). Allocates *out; returns the count. Pages
 * outside RAM have no effect. Neighbours of the same kind share a slot; lifted pages keep their
 * own, so that to lift one touches no other. Pure. */
size_t slots_plan(const struct mem *m, const struct slot_page *page, size_t pages,
                  struct slot **out);

/* Sets the trap of the page that holds `gpa` (SLOT_OPEN: none). slots_apply makes it so. */
void slots_trap(struct slots *s, uint64_t gpa, enum slot_trap trap);
void slots_lift(struct slots *s, uint64_t gpa, bool lifted);
void slots_lift_all(struct slots *s, bool lifted);
/* The trapped page that holds `gpa`, or NULL. */
const struct slot_page *slots_page(const struct slots *s, uint64_t gpa);
/* Makes KVM's slots what the pages say, changing only those that differ. -ENOSPC when KVM cannot
 * hold so many: then nothing was changed. */
int slots_apply(struct slots *s, struct err *e);

#endif
