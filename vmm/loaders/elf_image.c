/*
 * ELF headers and segments. Nothing is believed before it is bounded by the file or by RAM.
 */
#include "vmm/loaders/elf_image.h"

#include <stdio.h>
#include <string.h>

typedef unsigned long long ull;

/* Where a field lies in a 32- and in a 64-bit structure. */
struct place {
    uint8_t off32, size32, off64, size64;
};
/* clang-format off */
static const struct place
    eh_type      = {16, 2, 16, 2}, eh_machine   = {18, 2, 18, 2}, eh_entry    = {24, 4, 24, 8},
    eh_phoff     = {28, 4, 32, 8}, eh_shoff     = {32, 4, 40, 8},
    eh_phentsize = {42, 2, 54, 2}, eh_phnum     = {44, 2, 56, 2},
    eh_shentsize = {46, 2, 58, 2}, eh_shnum     = {48, 2, 60, 2}, eh_shstrndx = {50, 2, 62, 2},
    ph_type      = { 0, 4,  0, 4}, ph_offset    = { 4, 4,  8, 8}, ph_vaddr    = { 8, 4, 16, 8},
    ph_paddr     = {12, 4, 24, 8}, ph_filesz    = {16, 4, 32, 8}, ph_memsz    = {20, 4, 40, 8},
    ph_align     = {28, 4, 48, 8};
/* clang-format on */

static uint64_t get(struct bytes b, const struct elf *f, struct place p)
{
    return f->bits == 64 ? le_at(b, p.off64, p.size64) : le_at(b, p.off32, p.size32);
}

static int check_ident(struct load *l, struct elf *f)
{
    struct bytes b = l->file;

    if (!le_has(b, 0, 4) || memcmp(b.p,
                                   "\x7f"
                                   "ELF",
                                   4))
        return load_bad(l, "it is not an ELF file: the first four bytes are not 7f 45 4c 46");
    if (!le_has(b, 0, 20))
        return load_bad(l, "ELF header is cut off after %zu bytes", b.n);
    if (b.p[4] != 1 && b.p[4] != 2)
        return load_bad(l, "ELF e_ident class is %u, neither 32-bit (1) nor 64-bit (2)", b.p[4]);
    f->bits = b.p[4] == 2 ? 64 : 32;
    if (b.p[5] != 1)
        return load_bad(l, "ELF e_ident data encoding is %u: only little-endian (1) runs on x86",
                        b.p[5]);
    if (!le_has(b, 0, f->bits == 64 ? 64 : 52))
        return load_bad(l, "ELF header is cut off after %zu bytes", b.n);
    return 0;
}

static int check_machine(struct load *l, const struct elf *f)
{
    uint64_t want = f->bits == 64 ? ELF_MACH_AMD64 : ELF_MACH_386;

    if (f->machine != want)
        return load_bad(l, "ELF e_machine is %llu, but a %u-bit x86 kernel has %llu (%s)",
                        (ull)f->machine, f->bits, (ull)want,
                        f->bits == 64 ? "EM_X86_64" : "EM_386");
    if (f->type == ELF_TYPE_REL)
        return load_bad(l, "ELF e_type 1 is an unlinked object file: link it first (ld -o)");
    if (f->type != ELF_TYPE_EXEC && f->type != ELF_TYPE_DYN)
        return load_bad(l, "ELF e_type is %llu, not an executable (2)", (ull)f->type);
    return 0;
}

int elf_open(struct load *l, struct elf *f)
{
    struct bytes b = l->file;
    unsigned ph_len;
    int r = check_ident(l, f);

    if (r < 0)
        return r;
    ph_len = f->bits == 64 ? 56 : 32;
    f->type = get(b, f, eh_type);
    f->machine = get(b, f, eh_machine);
    f->entry = get(b, f, eh_entry);
    f->phoff = get(b, f, eh_phoff);
    f->phnum = get(b, f, eh_phnum);
    f->phentsize = get(b, f, eh_phentsize);
    f->shoff = get(b, f, eh_shoff);
    f->shnum = get(b, f, eh_shnum);
    f->shentsize = get(b, f, eh_shentsize);
    f->shstrndx = get(b, f, eh_shstrndx);
    r = check_machine(l, f);
    if (r < 0)
        return r;
    if (!f->phnum)
        return load_bad(l, "ELF e_phnum is 0: there is no segment to load");
    if (f->phentsize != ph_len)
        return load_bad(l, "ELF e_phentsize is %llu instead of %u", (ull)f->phentsize, ph_len);
    if (!le_has(b, f->phoff, f->phnum * ph_len))
        return load_bad(l,
                        "ELF program headers (e_phoff 0x%llx, %llu of %u bytes) go past the end "
                        "of the file at 0x%zx",
                        (ull)f->phoff, (ull)f->phnum, ph_len, b.n);
    return 0;
}

struct elf_segment elf_segment_at(struct bytes file, const struct elf *f, uint64_t i)
{
    struct bytes b = le_sub(file, f->phoff + i * f->phentsize, f->phentsize);

    return (struct elf_segment){
        .type = (uint32_t)get(b, f, ph_type),
        .offset = get(b, f, ph_offset),
        .vaddr = get(b, f, ph_vaddr),
        .paddr = get(b, f, ph_paddr),
        .filesz = get(b, f, ph_filesz),
        .memsz = get(b, f, ph_memsz),
        .align = get(b, f, ph_align),
    };
}

static bool is_loadable(const struct elf_segment *s)
{
    return s->type == ELF_PT_LOAD && (s->memsz || s->filesz);
}

static int check_segment(struct load *l, const struct elf_segment *s, uint64_t i)
{
    if (s->filesz > s->memsz)
        return load_bad(l, "ELF segment %llu: p_filesz 0x%llx is larger than p_memsz 0x%llx",
                        (ull)i, (ull)s->filesz, (ull)s->memsz);
    if (!le_has(l->file, s->offset, s->filesz))
        return load_bad(l,
                        "ELF segment %llu: p_offset 0x%llx with p_filesz 0x%llx goes past the end "
                        "of the file at 0x%zx",
                        (ull)i, (ull)s->offset, (ull)s->filesz, l->file.n);
    if (s->paddr + s->memsz < s->paddr)
        return load_bad(l,
                        "ELF segment %llu: p_paddr 0x%llx with p_memsz 0x%llx wraps around the "
                        "address space",
                        (ull)i, (ull)s->paddr, (ull)s->memsz);
    if (s->align & (s->align - 1))
        return load_bad(l, "ELF segment %llu: p_align 0x%llx is not a power of two", (ull)i,
                        (ull)s->align);
    return 0;
}

int elf_span(struct load *l, const struct elf *f, uint64_t *low, uint64_t *high)
{
    *low = UINT64_MAX;
    *high = 0;
    for (uint64_t i = 0; i < f->phnum; i++) {
        struct elf_segment s = elf_segment_at(l->file, f, i);
        int r;

        if (s.type == ELF_PT_INTERP)
            return load_bad(l,
                            "ELF segment %llu names a dynamic loader (PT_INTERP): this is an "
                            "operating system's program, not a kernel; link it with -static",
                            (ull)i);
        if (!is_loadable(&s))
            continue;
        r = check_segment(l, &s, i);
        if (r < 0)
            return r;
        *low = s.paddr < *low ? s.paddr : *low;
        *high = s.paddr + s.memsz > *high ? s.paddr + s.memsz : *high;
    }
    if (!*high)
        return load_bad(l, "none of the ELF file's %llu segments is loadable (PT_LOAD)",
                        (ull)f->phnum);
    return 0;
}

int elf_load_segments(struct load *l, const struct elf *f, uint64_t delta)
{
    uint64_t low, high;
    int r = elf_span(l, f, &low, &high);

    for (uint64_t i = 0; !r && i < f->phnum; i++) {
        struct elf_segment s = elf_segment_at(l->file, f, i);
        char what[32];

        if (!is_loadable(&s))
            continue;
        snprintf(what, sizeof what, "ELF segment %u", (unsigned)i);
        r = load_segment(l, s.paddr + delta, le_sub(l->file, s.offset, s.filesz), s.memsz, what);
        if (!r && l->out->parts < BOOT_PARTS_MAX)
            l->out->part[l->out->parts++] = (struct boot_part){s.vaddr, s.paddr + delta, s.memsz};
    }
    return r;
}

bool elf_holds_phys(struct load *l, const struct elf *f, uint64_t phys)
{
    for (uint64_t i = 0; i < f->phnum; i++) {
        struct elf_segment s = elf_segment_at(l->file, f, i);

        if (is_loadable(&s) && phys - s.paddr < s.memsz)
            return true;
    }
    return false;
}

int elf_to_phys(struct load *l, const struct elf *f, uint64_t virt, const char *field,
                uint64_t *phys)
{
    for (uint64_t i = 0; i < f->phnum; i++) {
        struct elf_segment s = elf_segment_at(l->file, f, i);

        if (is_loadable(&s) && virt - s.vaddr < s.memsz) {
            *phys = s.paddr + (virt - s.vaddr);
            return 0;
        }
    }
    *phys = virt;
    if (elf_holds_phys(l, f, virt))
        return 0;
    return load_bad(l, "%s 0x%llx lies in none of the loaded segments", field, (ull)virt);
}
