/*
 * The image part of Multiboot 1 and 2: ELF of both sizes or addresses in the header, with the
 * relocation of version 2.
 */
#include "vmm/loaders/multiboot_image.h"

#include <stdio.h>

#include "vmm/acpi.h"

typedef unsigned long long ull;

static bool is_free(const struct load *l, uint64_t low, uint64_t high)
{
    struct boot_claims scratch = l->out->claims;

    return !boot_claim(&scratch, l->mem, NULL, low, high - low, NULL, "image");
}

/* How far the image moves: not at all when its own place will do. */
static int choose_delta(struct load *l, const struct mb_image *img, uint64_t low, uint64_t high,
                        uint64_t *delta)
{
    const struct mb_relocation *want = &img->relocation;
    struct boot_claims scratch = l->out->claims;
    uint64_t gpa;
    int r;

    *delta = 0;
    if (!img->has_relocation ||
        (low >= want->min && high - 1 <= want->max && is_free(l, low, high)))
        return 0;
    r = boot_place(&scratch, l->mem, high - low, want->align, want->min, want->max + 1,
                   want->prefers_high, "the relocatable image", &gpa, l->err);
    if (r < 0)
        return err_prefix(l->err, "cannot load %s", l->name);
    *delta = gpa - low;
    return 0;
}

static int load_addresses(struct load *l, struct mb_image *img, uint64_t *delta)
{
    const struct mb_addresses *a = &img->addresses;
    uint64_t skipped, off, file_len, mem_len, end;
    int r;

    if (a->header_addr < a->load_addr)
        return load_bad(l, "Multiboot header_addr 0x%llx is below load_addr 0x%llx",
                        (ull)a->header_addr, (ull)a->load_addr);
    skipped = a->header_addr - a->load_addr;
    if (skipped > img->header_off)
        return load_bad(l,
                        "Multiboot load_addr 0x%llx is 0x%llx below header_addr, but the header "
                        "is at 0x%llx of the file",
                        (ull)a->load_addr, (ull)skipped, (ull)img->header_off);
    off = img->header_off - skipped;
    file_len = l->file.n - off;
    if (a->load_end && a->load_end <= a->load_addr)
        return load_bad(l, "Multiboot load_end_addr 0x%llx is not above load_addr 0x%llx",
                        (ull)a->load_end, (ull)a->load_addr);
    if (a->load_end && a->load_end - a->load_addr > file_len)
        return load_bad(l,
                        "Multiboot load_end_addr 0x%llx wants 0x%llx bytes, but the file has only "
                        "0x%llx from load_addr on",
                        (ull)a->load_end, (ull)(a->load_end - a->load_addr), (ull)file_len);
    if (a->load_end)
        file_len = a->load_end - a->load_addr;
    end = a->load_addr + file_len;
    if (a->bss_end && a->bss_end < end)
        return load_bad(l, "Multiboot bss_end_addr 0x%llx is below the end of the data at 0x%llx",
                        (ull)a->bss_end, (ull)end);
    mem_len = a->bss_end ? a->bss_end - a->load_addr : file_len;
    if (img->entry - a->load_addr >= mem_len)
        return load_bad(l, "Multiboot entry_addr 0x%llx lies outside the image at 0x%llx-0x%llx",
                        (ull)img->entry, (ull)a->load_addr, (ull)(a->load_addr + mem_len - 1));
    r = choose_delta(l, img, a->load_addr, a->load_addr + mem_len, delta);
    if (r < 0)
        return r;
    img->load_base = a->load_addr + *delta;
    return load_segment(l, img->load_base, le_sub(l->file, off, file_len), mem_len,
                        "Multiboot image");
}

static int load_elf(struct load *l, struct mb_image *img, uint64_t *delta)
{
    uint64_t low, high;
    int r;

    if (!elf_recognises(l->file))
        return load_bad(l,
                        "it has a Multiboot header at 0x%llx, but it is neither an ELF file nor "
                        "does the header give load addresses",
                        (ull)img->header_off);
    r = elf_open(l, &img->elf);
    if (!r)
        r = elf_span(l, &img->elf, &low, &high);
    if (!r)
        r = choose_delta(l, img, low, high, delta);
    if (!r)
        r = elf_load_segments(l, &img->elf, *delta);
    if (r < 0)
        return r;
    img->is_elf = true;
    img->load_base = low + *delta;
    if (!img->has_entry)
        return elf_to_phys(l, &img->elf, img->elf.entry, "ELF e_entry", &img->entry);
    if (!elf_holds_phys(l, &img->elf, img->entry))
        return load_bad(l, "Multiboot entry_addr 0x%llx lies in none of the loaded segments",
                        (ull)img->entry);
    return 0;
}

static int load_image(struct load *l, struct mb_image *img)
{
    struct boot_state *out = l->out;
    uint64_t delta = 0;
    int r = img->has_addresses ? load_addresses(l, img, &delta) : load_elf(l, img, &delta);

    if (r < 0)
        return r;
    img->entry += delta;
    if (img->entry > UINT32_MAX)
        return load_bad(l,
                        "the entry 0x%llx is above 4 GiB, but Multiboot starts in 32-bit "
                        "protected mode",
                        (ull)img->entry);
    out->mode = BOOT_MODE_PROT;
    out->rip = out->entry = img->entry;
    if (elf_recognises(l->file))
        out->symbols = l->cfg->image;
    return 0;
}

static uint32_t upper_kib(const struct mem *m)
{
    uint64_t end = mem_low_end(m);

    return end > BOOT_HIGH ? (uint32_t)((end - BOOT_HIGH) / 1024) : 0;
}

/* The words of out->summary before the segments. */
static void summarise(struct load *l, const struct mb_image *img, const char *version,
                      unsigned modules)
{
    char kind[40], what[32], detail[64];

    snprintf(kind, sizeof kind, "%s, ", version);
    if (img->is_elf)
        snprintf(what, sizeof what, "%u-bit ELF", img->elf.bits);
    else
        snprintf(what, sizeof what, "addresses in its header");
    snprintf(detail, sizeof detail, "%s, %u module%s", what, modules, modules == 1 ? "" : "s");
    load_summary(l, kind, detail);
}

void mb_put_screen(struct buf *b)
{
    put_le(b, 8, 0xb8000);
    put_le(b, 4, 160); /* bytes a line */
    put_le(b, 4, 80);
    put_le(b, 4, 25);
    put_le(b, 1, 16); /* bits a cell */
    put_le(b, 1, 2);  /* EGA text */
}

int mb_load(struct load *l, struct mb_image *img, const struct mb_version *version)
{
    struct mb_info s = {.cmdline = l->cfg->append ? l->cfg->append : ""};
    char what[40];
    int r = load_image(l, img);

    if (!r)
        r = load_modules(l, l->high, s.module, &s.modules);
    if (!r && img->is_elf)
        r = elf_load_sections(l, &img->elf, l->high, &s.sections);
    if (r < 0)
        return r;
    s.load_base = img->load_base;
    s.upper_kib = upper_kib(l->mem);
    s.ranges = boot_memory_map(l->mem, s.range);
    load_tables(l);
    s.rsdp = l->out->rsdp ? mem_ptr(l->mem, l->out->rsdp, ACPI_RSDP_BYTES) : NULL;
    snprintf(what, sizeof what, "%s information", version->name);
    r = load_info(l, version->build, &s, what, &l->out->rbx);
    buf_fini(&s.sections.headers);
    if (r < 0)
        return r;
    l->out->rax = version->eax;
    summarise(l, img, version->name, s.modules);
    return 0;
}
