/*
 * Plain ELF kernels without any boot protocol: ELF32 starts in protected mode, ELF64 in long mode
 * with all RAM identity-mapped. Segments go to p_paddr. A kernel linked high starts at the
 * physical address behind e_entry and maps its virtual addresses itself.
 */
#include "vmm/loaders/elf_image.h"

#include <stdio.h>
#include <string.h>

bool elf_recognises(struct bytes file)
{
    return le_has(file, 0, 4) && !memcmp(file.p,
                                         "\x7f"
                                         "ELF",
                                         4);
}

int elf_load(struct load *l)
{
    struct boot_state *out = l->out;
    struct elf f;
    char detail[32];
    int r = elf_open(l, &f);

    if (r < 0)
        return r;
    if (f.type == ELF_TYPE_DYN)
        return load_bad(l, "ELF e_type 3 is position-independent and needs a program that "
                           "relocates it: link it with -no-pie (or -static) at a fixed address");
    r = elf_load_segments(l, &f, 0);
    if (!r)
        r = elf_to_phys(l, &f, f.entry, "ELF e_entry", &out->entry);
    if (!r)
        r = load_stack(l, f.bits / 8, &out->rsp);
    if (r < 0)
        return r;
    out->mode = f.bits == 64 ? BOOT_MODE_LONG : BOOT_MODE_PROT;
    out->rip = out->entry;
    out->symbols = l->cfg->image;
    snprintf(detail, sizeof detail, "%u-bit ELF", f.bits);
    load_summary(l, "", detail);
    return 0;
}
