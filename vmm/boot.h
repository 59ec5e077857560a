/*
 * Between a loader and the first instruction: what to load, and the processor state a loader asks
 * for. x86_boot.c turns a boot_state into vCPU registers (and lays out GDT and page tables).
 * Called by the main thread while no vCPU runs.
 */
#ifndef VMM_BOOT_H
#define VMM_BOOT_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/base/err.h"
#include "vmm/mem.h"

enum boot_kind {
    BOOT_AUTO,
    BOOT_FLAT,
    BOOT_ELF,
    BOOT_MULTIBOOT,
    BOOT_MULTIBOOT2,
    BOOT_LINUX,
    BOOT_PVH,
    BOOT_KINDS,
};

enum boot_mode { BOOT_MODE_REAL, BOOT_MODE_PROT, BOOT_MODE_LONG };

#define BOOT_MODULES_MAX 32
#define BOOT_FILE_MAX    (2ull << 30)

/* The PC's first MiB: conventional memory, then what a firmware and a video card own. Memory maps
 * call the second reserved, and nothing is placed there (an image may be linked there). */
#define BOOT_LOW_START 0x1000ull /* vectors and BIOS data stay free */
#define BOOT_LOW_END   0x9fc00ull
#define BOOT_HIGH      0x100000ull

struct boot_module {
    const char *path;
    const char *args; /* NULL: the file name alone */
};

/* What the user asked for. Strings are borrowed and live as long as the machine. */
struct boot_config {
    enum boot_kind kind;
    const char *image;
    bool has_load_addr;
    uint64_t load_addr; /* flat: where it goes (default 0x7c00); others refuse it */
    bool has_mode;
    enum boot_mode mode; /* flat: mode at entry (default real); others refuse it */
    const char *append;  /* command line, or NULL */
    const char *initrd;  /* path, or NULL; Multiboot and PVH take it as the first module */
    unsigned modules;
    struct boot_module module[BOOT_MODULES_MAX];
    bool emulated; /* this host's KVM emulates ring 0: Linux is told to skip what takes for ever */
    unsigned cpus; /* processors that the board's tables tell of; 0: no tables (acpi.h) */
};

/* Ranges of guest memory in use, so that nothing is placed on top of anything. */
#define BOOT_CLAIMS_MAX 128
struct boot_claim {
    uint64_t gpa, len_bytes;
    char what[40]; /* "segment 2", "initrd", "page tables" */
};
struct boot_claims {
    unsigned count;
    struct boot_claim claim[BOOT_CLAIMS_MAX];
};

/* Which linear addresses parts of the image were made for, and where they were loaded. */
#define BOOT_PARTS_MAX 32
struct boot_part {
    uint64_t linear, gpa, len_bytes;
};

/* The processor at entry. Real mode takes the three selectors (base = selector * 16; `ds` also
 * goes to ES, FS and GS); protected and long mode get flat segments from a GDT in guest memory. */
struct boot_state {
    enum boot_mode mode;
    uint16_t cs, ds, ss; /* real mode only */
    uint64_t rip, rsp;
    uint64_t rax, rbx, rcx, rdx, rsi, rdi, rbp;
    const char *loader;  /* name of the row that loaded it */
    const char *symbols; /* file with ELF symbols for this image, or NULL (borrowed: cfg->image) */
    uint64_t entry;      /* linear address of the first instruction, for people */
    uint64_t gdt;        /* where x86_boot_apply put them; 0 before, and where it made none */
    uint64_t page_tables;
    bool is_linux; /* which finds out how fast it runs, and ticks too often for some hosts */
    uint64_t rsdp; /* the root of ACPI's tables, or 0 */
    struct boot_claims claims;
    unsigned parts; /* those that say both (ELF); more than fit are not kept */
    struct boot_part part[BOOT_PARTS_MAX];
    char summary[320]; /* "Multiboot 2, 64-bit ELF, 3 segments in 0x100000-0x123fff, entry …" */
};

/* One line of the memory map that guests are told. Types as in E820: 1 usable, 2 reserved. */
#define BOOT_RANGES_MAX (MEM_REGIONS_MAX + 2)
struct boot_range {
    uint64_t gpa, len_bytes;
    uint32_t type;
};

/* Where the image's byte for this linear address was loaded; false: the image has none, or does not
 * say. */
bool boot_loaded_at(const struct boot_state *bs, uint64_t linear, uint64_t *gpa);
/* Claims [gpa, gpa+len) for `what`, a short label: -ENOSPC when it is not all RAM, -EEXIST when
 * it overlaps a claim, -E2BIG when the table is full. The sentence names both parties and `file`
 * (escaped; NULL when no file is to blame). A length of 0 claims nothing. */
int boot_claim(struct boot_claims *c, const struct mem *m, const char *file, uint64_t gpa,
               uint64_t len_bytes, struct err *e, const char *what, ...)
    __attribute__((format(printf, 7, 8)));
/* Finds and claims `len_bytes` (not 0) free bytes of RAM with `align` (a power of two) in
 * [low, high), the highest such place when `top`, else the lowest. -ENOSPC with a sentence. */
int boot_place(struct boot_claims *c, const struct mem *m, uint64_t len_bytes, uint64_t align,
               uint64_t low, uint64_t high, bool top, const char *what, uint64_t *gpa,
               struct err *e);
/* The same for our own tables: as high as possible in conventional memory, where kernels expect a
 * boot loader's leavings, else the lowest place above 1 MiB. */
int boot_place_low(struct boot_claims *c, const struct mem *m, uint64_t len_bytes, uint64_t align,
                   const char *what, uint64_t *gpa, struct err *e);
/* The memory map, ascending; returns the number of ranges. */
unsigned boot_memory_map(const struct mem *m, struct boot_range out[BOOT_RANGES_MAX]);

/* Reads the image, recognises it (or takes cfg->kind), loads it and fills `out`. Every failure is
 * one sentence that names the file, the field and what is wrong. Nothing of the host is kept. */
int boot_load(const struct boot_config *cfg, struct mem *m, struct boot_state *out, struct err *e);
/* The same for an image that is already in memory; cfg->image is only its name. */
int boot_load_image(const struct boot_config *cfg, const void *image, size_t len_bytes,
                    struct mem *m, struct boot_state *out, struct err *e);

/* "auto", "flat", … by kind. */
const char *boot_kind_name(enum boot_kind k);

#endif
