/*
 * The format table. boot.c asks the rows from the top, so the more particular format comes first:
 * a Multiboot or PVH kernel is an ELF file too, and everything is a flat binary.
 */
#include "vmm/loaders/loader.h"

#define MODULAR (TAKES_APPEND | TAKES_INITRD | TAKES_MODULES)

/* clang-format off */
const struct loader loader_table[] = {
    {"linux", BOOT_LINUX, TAKES_APPEND | TAKES_INITRD,
     "Linux bzImage (boot protocol 2.06 and later), entered in 64 or 32 bits",
     linux_recognises, linux_load},
    {"multiboot2", BOOT_MULTIBOOT2, MODULAR,
     "Multiboot 2 kernel in ELF32, ELF64 or with an address tag",
     multiboot2_recognises, multiboot2_load},
    {"multiboot", BOOT_MULTIBOOT, MODULAR,
     "Multiboot 1 kernel in ELF32, ELF64 or with load addresses in its header",
     multiboot_recognises, multiboot_load},
    {"pvh", BOOT_PVH, MODULAR,
     "ELF with a Xen PHYS32_ENTRY note (PVH), entered in 32-bit protected mode",
     pvh_recognises, pvh_load},
    {"elf", BOOT_ELF, 0,
     "plain ELF: ELF32 starts in protected mode, ELF64 in long mode, identity-mapped",
     elf_recognises, elf_load},
    {"flat", BOOT_FLAT, TAKES_ADDR | TAKES_MODE,
     "raw bytes, as a boot sector at 0000:7c00 unless --load-addr and --mode say otherwise",
     flat_recognises, flat_load},
    {0},
};
/* clang-format on */
