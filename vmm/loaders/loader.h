/*
 * One row per image format. boot.c reads the file, asks the rows in order and calls the first
 * that recognises it. A loader trusts no header field before it has bounded it.
 */
#ifndef VMM_LOADERS_LOADER_H
#define VMM_LOADERS_LOADER_H

#include "vmm/base/le.h"
#include "vmm/boot.h"

struct load {
    const struct boot_config *cfg;
    const char *name;  /* the file's name, escaped, for sentences */
    struct bytes file; /* the whole image, read-only */
    struct mem *mem;
    struct boot_state *out; /* zeroed */
    struct err *err;
};

struct loader {
    const char *name;
    enum boot_kind kind;
    const char *help;
    /* True when the bytes look like this format. The flat row recognises everything. */
    bool (*recognises)(struct bytes file);
    int (*load)(struct load *l);
};

/* Ended by a row without name; the order is the order of recognition. */
extern const struct loader loader_table[];

/* Copies file bytes to guest memory and zeroes up to mem_len after claiming the range. */
int load_segment(struct load *l, uint64_t gpa, struct bytes data, uint64_t mem_len_bytes,
                 const char *what);
/* Reads a whole extra file (module, initrd) and places it page-aligned in [low, high). */
int load_file(struct load *l, const char *path, const char *what, uint64_t low, uint64_t high,
              bool top, uint64_t *gpa, uint64_t *len_bytes);

#endif
