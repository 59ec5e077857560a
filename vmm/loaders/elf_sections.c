/*
 * ELF notes (PVH) and sections (Multiboot's symbol information).
 */
#include "vmm/loaders/elf_image.h"

#include <string.h>

typedef unsigned long long ull;

#define SHT_NULL   0u
#define SHT_NOBITS 8u

static uint64_t align_up(uint64_t n, uint64_t align)
{
    return (n + align - 1) & ~(align - 1);
}

/* One PT_NOTE segment: name and descriptor are padded to 4, in segments aligned to 8 to 8. */
static int scan_notes(struct load *l, uint64_t i, const struct elf_segment *s, const char *owner,
                      uint32_t type, struct bytes *desc)
{
    struct bytes notes = le_sub(l->file, s->offset, s->filesz);
    uint64_t align = s->align == 8 ? 8 : 4, owner_len = strlen(owner) + 1, at = 0;

    if (!le_has(l->file, s->offset, s->filesz))
        return load_bad(l, "ELF note segment %llu goes past the end of the file at 0x%zx", (ull)i,
                        l->file.n);
    while (le_has(notes, at, 12)) {
        uint64_t name_len = le_at(notes, at, 4), desc_len = le_at(notes, at + 4, 4);
        uint64_t name_at = at + 12, desc_at = align_up(name_at + name_len, align);

        if (!le_has(notes, name_at, name_len) || !le_has(notes, desc_at, desc_len))
            return load_bad(l,
                            "ELF note at 0x%llx of segment %llu (name of %llu, descriptor of %llu "
                            "bytes) goes past the segment's 0x%llx bytes",
                            (ull)at, (ull)i, (ull)name_len, (ull)desc_len, (ull)s->filesz);
        if (le_at(notes, at + 8, 4) == type && name_len == owner_len &&
            !memcmp(notes.p + name_at, owner, owner_len)) {
            *desc = le_sub(notes, desc_at, desc_len);
            return 1;
        }
        at = align_up(desc_at + desc_len, align);
    }
    return 0;
}

int elf_note(struct load *l, const struct elf *f, const char *owner, uint32_t type,
             struct bytes *desc)
{
    int r = 0;

    for (uint64_t i = 0; !r && i < f->phnum; i++) {
        struct elf_segment s = elf_segment_at(l->file, f, i);

        if (s.type == ELF_PT_NOTE)
            r = scan_notes(l, i, &s, owner, type, desc);
    }
    return r;
}

struct section {
    uint64_t type, addr, offset, size, align;
};

static struct section section_at(struct load *l, const struct elf *f, uint64_t i)
{
    struct bytes b = le_sub(l->file, f->shoff + i * f->shentsize, f->shentsize);

    if (f->bits == 64)
        return (struct section){.type = le_at(b, 4, 4),
                                .addr = le_at(b, 16, 8),
                                .offset = le_at(b, 24, 8),
                                .size = le_at(b, 32, 8),
                                .align = le_at(b, 48, 8)};
    return (struct section){.type = le_at(b, 4, 4),
                            .addr = le_at(b, 12, 4),
                            .offset = le_at(b, 16, 4),
                            .size = le_at(b, 20, 4),
                            .align = le_at(b, 32, 4)};
}

/* No segment has it, but it has contents in the file. */
static bool is_extra(const struct section *s)
{
    return s->type != SHT_NULL && s->type != SHT_NOBITS && !s->addr && s->size;
}

/* Offset of the next section's contents; an absurd alignment does not matter for data that only
 * a symbol reader looks at. */
static uint64_t extra_start(const struct section *s, uint64_t used)
{
    bool is_sane = s->align && s->align <= PAGE_BYTES && !(s->align & (s->align - 1));

    return align_up(used, is_sane ? s->align : 1);
}

static int measure_extra(struct load *l, const struct elf *f, uint64_t *total)
{
    *total = 0;
    for (uint64_t i = 0; i < f->shnum; i++) {
        struct section s = section_at(l, f, i);

        if (!is_extra(&s))
            continue;
        if (!le_has(l->file, s.offset, s.size))
            return load_bad(l,
                            "ELF section %llu: sh_offset 0x%llx with sh_size 0x%llx goes past the "
                            "end of the file at 0x%zx",
                            (ull)i, (ull)s.offset, (ull)s.size, l->file.n);
        *total = extra_start(&s, *total) + s.size;
    }
    return 0;
}

static void copy_extra(struct load *l, const struct elf *f, uint64_t gpa, struct elf_sections *out)
{
    uint64_t used = 0;

    for (uint64_t i = 0; i < f->shnum; i++) {
        struct section s = section_at(l, f, i);
        uint8_t *header = (uint8_t *)out->headers.data + i * f->shentsize;

        if (!is_extra(&s))
            continue;
        used = extra_start(&s, used);
        mem_write(l->mem, gpa + used, l->file.p + s.offset, s.size);
        le_store(header + (f->bits == 64 ? 16 : 12), f->bits / 8, gpa + used);
        used += s.size;
    }
}

static int check_table(struct load *l, const struct elf *f)
{
    unsigned want = f->bits == 64 ? 64 : 40;

    if (f->shentsize != want)
        return load_bad(l, "ELF e_shentsize is %llu instead of %u", (ull)f->shentsize, want);
    if (!le_has(l->file, f->shoff, f->shnum * want))
        return load_bad(l,
                        "ELF section headers (e_shoff 0x%llx, %llu of %u bytes) go past the end "
                        "of the file at 0x%zx",
                        (ull)f->shoff, (ull)f->shnum, want, l->file.n);
    if (f->shstrndx >= f->shnum)
        return load_bad(l, "ELF e_shstrndx is %llu, but there are %llu sections", (ull)f->shstrndx,
                        (ull)f->shnum);
    return 0;
}

int elf_load_sections(struct load *l, const struct elf *f, uint64_t low, struct elf_sections *out)
{
    uint64_t total, gpa = 0;
    int r;

    *out = (struct elf_sections){0};
    if (!f->shoff || !f->shnum)
        return 0;
    r = check_table(l, f);
    if (!r)
        r = measure_extra(l, f, &total);
    if (!r && total) {
        r = boot_place(&l->out->claims, l->mem, total, PAGE_BYTES,
                       low < BOOT_HIGH ? BOOT_HIGH : low, MEM_HOLE_END, false, "ELF sections", &gpa,
                       l->err);
        if (r < 0)
            err_prefix(l->err, "cannot load %s", l->name);
    }
    if (r < 0)
        return r;
    *out = (struct elf_sections){.num = f->shnum, .entsize = f->shentsize, .shndx = f->shstrndx};
    buf_add(&out->headers, l->file.p + f->shoff, f->shnum * f->shentsize);
    copy_extra(l, f, gpa, out);
    return 0;
}
