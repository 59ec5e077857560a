/*
 * Where a Linux guest runs compared with where it was linked. Main thread, guest stopped.
 */
#ifndef DEBUG_KASLR_H
#define DEBUG_KASLR_H

#include <stdint.h>

#include "vmm/base/err.h"

struct session;

struct kaslr {
    int64_t slide;      /* what to add to addresses of vmlinux */
    uint64_t at;        /* the address that told */
    const char *symbol; /* whose it is, or NULL: found by the mapping alone */
};

/* Compares the entry points that the processor holds (LSTAR, the page fault gate) with the
 * symbols loaded for the guest; without these looks where the kernel's image is mapped. -ENOENT
 * with a sentence when the guest is not a 64-bit Linux, or not that far yet. */
int kaslr_find(struct session *s, unsigned vcpu, struct kaslr *out, struct err *e);

#endif
