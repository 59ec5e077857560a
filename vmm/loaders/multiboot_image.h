/*
 * What both Multiboot versions share: how the image itself is loaded.
 */
#ifndef VMM_LOADERS_MULTIBOOT_IMAGE_H
#define VMM_LOADERS_MULTIBOOT_IMAGE_H

#include "vmm/loaders/elf_image.h"

/* Addresses that a header gives in place of an ELF file's (the "a.out kludge", the address tag). */
struct mb_addresses {
    uint64_t header_addr, load_addr, load_end, bss_end;
};

/* Where a relocatable Multiboot 2 image may go. */
struct mb_relocation {
    uint64_t min, max, align; /* max: the last byte */
    bool prefers_high;
};

/* Filled by the header's parser, then by mb_image_load. */
struct mb_image {
    uint64_t header_off;
    bool has_addresses, has_entry, has_relocation;
    struct mb_addresses addresses;
    struct mb_relocation relocation;
    uint64_t entry; /* physical; given with has_entry, else found in the ELF header */
    bool is_elf;    /* loaded by its ELF headers */
    struct elf elf;
    uint64_t load_base;
};

/* Loads by the addresses when given, else as ELF, moved when the image allows and needs it. */
int mb_image_load(struct load *l, struct mb_image *img);
/* KiB from 1 MiB to the first hole, for "basic memory information". */
uint32_t mb_upper_kib(const struct mem *m);
#define MB_LOWER_KIB ((uint32_t)(BOOT_LOW_END / 1024))

#endif
