/*
 * Guest-physical memory: one memfd, mapped once, seen by the guest at GPA 0 up to the PCI hole
 * (3 GiB) and, for what is left, from 4 GiB on. Knows no KVM: vm.c turns the regions into slots.
 *
 * Reads and writes here touch RAM only, never a device, so they have no side effects. Any thread
 * may call them; bytes that a running vCPU changes at the same moment may be seen torn.
 */
#ifndef VMM_MEM_H
#define VMM_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/base/err.h"

#define MEM_MIN_BYTES   (1ull << 20)
#define MEM_HOLE_START  0xc0000000ull /* PCI, IOAPIC, local APIC, firmware live in the hole */
#define MEM_HOLE_END    0x100000000ull
#define MEM_REGIONS_MAX 4
#define PAGE_BYTES      4096u

struct mem_region {
    uint64_t gpa;
    uint64_t len_bytes; /* a multiple of PAGE_BYTES */
    uint8_t *hva;
};

struct mem {
    int memfd; /* -1 when closed */
    uint64_t ram_bytes;
    uint8_t *base; /* the whole memfd */
    unsigned regions;
    struct mem_region region[MEM_REGIONS_MAX]; /* ascending, not overlapping */
};

/* `ram_bytes` is rounded up to a page; at least MEM_MIN_BYTES. Errors name the size and the
 * host's limit. The caller gives it back with mem_fini (also after an error). */
int mem_init(struct mem *m, uint64_t ram_bytes, struct err *e);
void mem_fini(struct mem *m);

/* The host address of [gpa, gpa+len) when all of it is RAM in one region, else NULL. */
uint8_t *mem_ptr(const struct mem *m, uint64_t gpa, uint64_t len_bytes);
/* Copies the prefix that is RAM; returns its length, 0 to len_bytes. Regions that touch are
 * crossed. */
size_t mem_read(const struct mem *m, uint64_t gpa, void *dst, size_t len_bytes);
size_t mem_write(struct mem *m, uint64_t gpa, const void *src, size_t len_bytes);
/* The length of the prefix that is RAM. */
size_t mem_run(const struct mem *m, uint64_t gpa, size_t len_bytes);
/* One past the highest RAM address below the PCI hole. */
uint64_t mem_low_end(const struct mem *m);

#endif
