/*
 * The x86 page walk in software, for every paging mode, with each entry kept so that it can be
 * explained. Reads tables from RAM only, sets no Accessed or Dirty bit. Any thread.
 * Source: Intel SDM volume 3, chapter "Paging"; AMD APM volume 2, chapter 5.
 */
#ifndef VMM_WALK_H
#define VMM_WALK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mem;

enum paging_mode { PAGING_NONE, PAGING_32, PAGING_PAE, PAGING_4LEVEL, PAGING_5LEVEL };

/* The registers that decide a walk. */
struct walk_regs {
    uint64_t cr0, cr3, cr4, efer;
    unsigned maxphyaddr; /* from CPUID 0x80000008; 0 means 52 */
};

enum walk_result {
    WALK_OK,
    WALK_NOT_PRESENT,
    WALK_RESERVED_BIT,
    WALK_NON_CANONICAL,
    WALK_TABLE_NOT_RAM, /* a table lies outside guest memory */
};

#define WALK_LEVELS_MAX 5

struct walk_step {
    uint8_t level;      /* 5 = PML5 … 1 = page table */
    uint8_t entry_size; /* 4 or 8 bytes */
    uint64_t entry_gpa;
    uint64_t entry; /* 0 when it could not be read */
};

struct walk {
    enum walk_result result;
    enum paging_mode mode;
    unsigned steps; /* entries looked at, also on a fault */
    struct walk_step step[WALK_LEVELS_MAX];
    uint64_t gpa;        /* valid when result is WALK_OK */
    uint64_t page_bytes; /* size of the mapping: 4K, 2M, 4M, 1G; 4K with paging off */
    /* Combined over the levels looked at, before CR0.WP, SMEP, SMAP. */
    bool writable, user, executable, accessed;
    bool global, dirty; /* of the last entry, when result is WALK_OK */
};

/* By CR0.PG, EFER.LMA, CR4.PAE and CR4.LA57. */
enum paging_mode walk_mode(const struct walk_regs *r);
/* Never fails by itself: the result is in out->result. With paging off the address is the GPA. In
 * 32-bit and PAE paging an address above 4 GiB counts as not canonical. PAE's four top entries are
 * read from memory, though the processor keeps the ones it loaded with CR3. */
void walk(const struct mem *m, const struct walk_regs *r, uint64_t linear, struct walk *out);
/* Only where it leads; false when not WALK_OK. Much cheaper than walk. */
bool walk_gpa(const struct mem *m, const struct walk_regs *r, uint64_t linear, uint64_t *gpa);
/* Copies from virtual memory, crossing pages; returns the prefix that is mapped to RAM. Rights are
 * not asked: a debugger may read and write what the guest may not. */
size_t walk_read(const struct mem *m, const struct walk_regs *r, uint64_t linear, void *dst,
                 size_t len_bytes);
size_t walk_write(struct mem *m, const struct walk_regs *r, uint64_t linear, const void *src,
                  size_t len_bytes);
const char *walk_mode_name(enum paging_mode mode);
const char *walk_result_name(enum walk_result result);
/* Name of a level's table in this mode: "PML4", "PDPT", "PD", "PT". */
const char *walk_level_name(enum paging_mode mode, unsigned level);

/* Visits every mapped range of the address space in ascending order; contiguous pages of equal
 * size and rights are merged; `fn` returns false to stop. At most `max_entries` table entries are
 * looked at (hostile tables can map 2^57 bytes); returns false when that bound cut the visit
 * short. With paging off there is one range: the first 4 GiB. */
struct walk_range {
    uint64_t linear, gpa, len_bytes, page_bytes;
    bool writable, user, executable, global;
};
bool walk_ranges(const struct mem *m, const struct walk_regs *r, uint64_t max_entries,
                 bool (*fn)(void *arg, const struct walk_range *range), void *arg);

#endif
