/*
 * What both Multiboot versions share: how the image itself is loaded, and what the guest is told.
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

/* Filled by the header's parser, then by mb_load. */
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

/* What both forms of the information structure say. */
struct mb_info {
    const char *cmdline;
    uint32_t upper_kib; /* from 1 MiB to the first hole, for "basic memory information" */
    unsigned modules, ranges;
    struct load_module module[LOAD_MODULES_MAX];
    struct boot_range range[BOOT_RANGES_MAX];
    struct elf_sections sections;
    const uint8_t *rsdp; /* ACPI's root pointer in guest memory, or NULL */
    uint64_t load_base;
};

/* What tells one version from the other, once its header has been read. */
struct mb_version {
    const char *name;     /* "Multiboot" */
    uint32_t eax;         /* at entry */
    load_build_fn *build; /* writes the information structure; its argument is a struct mb_info */
};

/* Loads the image by the addresses when given, else as ELF, moved when it allows and needs that;
 * then modules and the information structure, to which RBX points at entry. 0 or -errno. */
int mb_load(struct load *l, struct mb_image *img, const struct mb_version *version);
/* Appends the screen as both versions describe it, up to the kind of its colours: 80 by 25
 * characters of VGA text. */
void mb_put_screen(struct buf *b);
#define MB_LOWER_KIB ((uint32_t)(BOOT_LOW_END / 1024))

#endif
