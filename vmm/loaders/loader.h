/*
 * One row per image format. boot.c reads the file, asks the rows in order and calls the first
 * that recognises it. A loader trusts no header field before it has bounded it.
 * load.c has what several loaders need. All of it runs on the main thread.
 */
#ifndef VMM_LOADERS_LOADER_H
#define VMM_LOADERS_LOADER_H

#include "vmm/base/buf.h"
#include "vmm/base/le.h"
#include "vmm/boot.h"

struct load {
    const struct boot_config *cfg;
    const char *name;  /* the file's name, escaped, for sentences */
    struct bytes file; /* the whole image, read-only */
    struct mem *mem;
    struct boot_state *out; /* zeroed */
    struct err *err;
    unsigned segments;  /* counted by load_segment … */
    uint64_t low, high; /* … with the range [low, high) they span */
    char told[48];      /* what load_linux_cmdline added */
};

/* Options a format has a use for; boot.c refuses the others. */
#define TAKES_ADDR    1u
#define TAKES_MODE    2u
#define TAKES_APPEND  4u
#define TAKES_INITRD  8u
#define TAKES_MODULES 16u

struct loader {
    const char *name;
    enum boot_kind kind;
    unsigned takes; /* TAKES_* */
    const char *help;
    /* True when the bytes look like this format. The flat row recognises everything. */
    bool (*recognises)(struct bytes file);
    int (*load)(struct load *l);
};

/* Ended by a row without name; the order is the order of recognition. */
extern const struct loader loader_table[];

int flat_load(struct load *l);
bool flat_recognises(struct bytes file);
int elf_load(struct load *l);
bool elf_recognises(struct bytes file);
int pvh_load(struct load *l);
bool pvh_recognises(struct bytes file);
int multiboot_load(struct load *l);
bool multiboot_recognises(struct bytes file);
int multiboot2_load(struct load *l);
bool multiboot2_recognises(struct bytes file);
int linux_load(struct load *l);
bool linux_recognises(struct bytes file);

#define LOAD_BOOT_LOADER_NAME "vmscope"

/* "cannot load NAME: …": the form of every sentence about the image's content. -ENOEXEC. */
int load_bad(struct load *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Claims the range, copies file bytes to it and zeroes up to mem_len_bytes. `data` may not be
 * longer than that. */
int load_segment(struct load *l, uint64_t gpa, struct bytes data, uint64_t mem_len_bytes,
                 const char *what);
/* Reads a whole extra file (module, initrd) and places it page-aligned in [low, high). */
int load_file(struct load *l, const char *path, const char *what, uint64_t low, uint64_t high,
              bool top, uint64_t *gpa, uint64_t *len_bytes);

#define LOAD_MODULES_MAX (BOOT_MODULES_MAX + 1)
struct load_module {
    uint64_t gpa, len_bytes;
    const char *text; /* its arguments, else its file name; borrowed from the configuration */
};
/* Loads --initrd (first) and every --module as low as possible from `low` on, below 4 GiB. */
int load_modules(struct load *l, uint64_t low, struct load_module out[LOAD_MODULES_MAX],
                 unsigned *count);
/* A small stack in conventional memory, for formats that promise none but whose users love one.
 * `*rsp` points to a return address of 0 (4 or 8 bytes), aligned as the ABI wants it after a call,
 * so that an entry written in C works. */
int load_stack(struct load *l, unsigned word_bytes, uint64_t *rsp);

/* The command line for Linux. Where KVM emulates ring 0 two things go before what --append says,
 * unless that mentions them: not to test ciphers at boot, and not to count timer ticks by the
 * host's TSC. The caller ends the buffer. */
void load_linux_cmdline(struct load *l, struct buf *out);
/* Leaves the board's tables in memory, once the image has its place; out->rsdp tells where. */
void load_tables(struct load *l);
/* Appends a little-endian value of 1 to 8 bytes; zeroes up to a multiple of `align`. */
void put_le(struct buf *b, unsigned size_bytes, uint64_t v);
void put_align(struct buf *b, size_t align);
/* Appends the map of memory as Multiboot 2 and PVH have it: 24 bytes a range. */
void put_ranges(struct buf *b, const struct boot_range *range, unsigned ranges);
/* Puts a structure with pointers into itself into guest memory. `build` is called twice, with
 * base 0 to learn the length, then with its address, and must write as much both times. */
typedef void load_build_fn(struct buf *b, uint64_t base, const void *arg);
int load_info(struct load *l, load_build_fn *build, const void *arg, const char *what,
              uint64_t *gpa);

/* Ends out->summary with the segments and the entry, as every loader does. */
void load_summary(struct load *l, const char *format, const char *detail);
/* A header that only its checksum keeps from being Multiboot: one clause for people, else NULL. */
const char *multiboot_near_miss(struct bytes file);

#endif
