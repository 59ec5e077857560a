/*
 * ELF containers, 32 and 64 bits, little-endian x86: bounded access to headers, loading by
 * physical address, sections for Multiboot, notes for PVH. Source: System V gABI, chapters 4, 5.
 */
#ifndef VMM_LOADERS_ELF_IMAGE_H
#define VMM_LOADERS_ELF_IMAGE_H

#include "vmm/loaders/loader.h"

struct elf {
    unsigned bits; /* 32 or 64 */
    uint64_t type, machine, entry;
    uint64_t phoff, phnum, phentsize;
    uint64_t shoff, shnum, shentsize, shstrndx;
};

#define ELF_PT_LOAD    1u
#define ELF_PT_INTERP  3u
#define ELF_PT_NOTE    4u
#define ELF_TYPE_REL   1u
#define ELF_TYPE_EXEC  2u
#define ELF_TYPE_DYN   3u
#define ELF_MACH_386   3u
#define ELF_MACH_AMD64 62u

struct elf_segment {
    uint32_t type;
    uint64_t offset, vaddr, paddr, filesz, memsz, align;
};

/* Reads the file header and bounds the program header table. A sentence in l->err (which may be
 * NULL) when it is no ELF for x86. */
int elf_open(struct load *l, struct elf *f);
/* Program header `i` < f->phnum. */
struct elf_segment elf_segment_at(struct bytes file, const struct elf *f, uint64_t i);
/* Physical range of all loadable segments; -ENOEXEC with a sentence when there is none or one
 * wraps around. */
int elf_span(struct load *l, const struct elf *f, uint64_t *low, uint64_t *high);
/* Loads every segment at p_paddr + delta. */
int elf_load_segments(struct load *l, const struct elf *f, uint64_t delta);
/* The physical address of `virt`: through the segments' virtual ranges, else, when it lies in a
 * physical range, as it is (kernels linked high often give a physical entry). `field` names it in
 * the sentence. Without delta. */
int elf_to_phys(struct load *l, const struct elf *f, uint64_t virt, const char *field,
                uint64_t *phys);

/* True when a loaded segment holds this physical address. */
bool elf_holds_phys(struct load *l, const struct elf *f, uint64_t phys);

struct elf_sections {
    uint64_t num, entsize, shndx;
    struct buf headers; /* with sh_addr of loaded contents filled in; the caller frees */
};
/* Puts the contents of sections that no segment holds (symbols, strings, debug data) in guest
 * memory from `low` on and gives their headers, as boot loaders do. num is 0 without sections. */
int elf_load_sections(struct load *l, const struct elf *f, uint64_t low, struct elf_sections *out);

/* Looks for a note with this owner and type: 1 found, 0 not, or -ENOEXEC with a sentence. */
int elf_note(struct load *l, const struct elf *f, const char *owner, uint32_t type,
             struct bytes *desc);

#endif
