/*
 * Multiboot 2. Source: Multiboot2 Specification 2.0 (header 3.1, i386 machine state 3.3, boot
 * information 3.6). The kernel always starts in 32-bit protected mode, whatever its ELF class; the
 * stack pointer is 0, see multiboot.c. A required tag or request that nobody here understands is
 * refused by name; understood information that does not exist on this machine is left out, as the
 * specification says.
 */
#include "vmm/loaders/multiboot_image.h"

#include <stdio.h>
#include <string.h>

#include "vmm/acpi.h"
#include "vmm/base/x.h"

typedef unsigned long long ull;

#define SEARCH_BYTES 32768u
#define MAGIC        0xe85250d6u
#define ENTRY_EAX    0x36d76289u
#define HEADER_BYTES 16u
#define TAG_OPTIONAL 1u
#define LAST_REQUEST 21u

#define CONSOLE_REQUIRED 1u
#define CONSOLE_EGA_TEXT 2u

enum info_tag {
    INFO_END,
    INFO_CMDLINE,
    INFO_LOADER,
    INFO_MODULE,
    INFO_MEMORY,
    INFO_MAP = 6,
    INFO_SCREEN = 8,
    INFO_ELF = 9,
    INFO_ACPI_OLD = 14,
    INFO_ACPI_NEW = 15,
    INFO_LOAD_BASE = 21,
};

struct tag {
    struct bytes body; /* with its 8-byte head */
    uint64_t off;      /* in the file */
    bool is_optional;
};

static int tag_request(struct load *l, const struct tag *t, struct mb_image *img)
{
    (void)img;
    for (uint64_t at = 8; le_has(t->body, at, 4); at += 4) {
        uint64_t type = le_at(t->body, at, 4);

        if (!t->is_optional && (type == 0 || type > LAST_REQUEST))
            return load_bad(l,
                            "Multiboot 2 information request tag requires information of type "
                            "%llu, which the specification does not know",
                            (ull)type);
    }
    return 0;
}

static int tag_address(struct load *l, const struct tag *t, struct mb_image *img)
{
    (void)l;
    img->has_addresses = true;
    img->addresses = (struct mb_addresses){
        .header_addr = le_at(t->body, 8, 4),
        .load_addr = le_at(t->body, 12, 4),
        .load_end = le_at(t->body, 16, 4),
        .bss_end = le_at(t->body, 20, 4),
    };
    return 0;
}

static int tag_entry(struct load *l, const struct tag *t, struct mb_image *img)
{
    (void)l;
    img->has_entry = true;
    img->entry = le_at(t->body, 8, 4);
    return 0;
}

static int tag_console(struct load *l, const struct tag *t, struct mb_image *img)
{
    uint64_t flags = le_at(t->body, 8, 4);

    (void)img;
    if (!t->is_optional && (flags & CONSOLE_REQUIRED) && !(flags & CONSOLE_EGA_TEXT))
        return load_bad(l,
                        "Multiboot 2 console flags 0x%llx require a console but not EGA text, "
                        "the only one this machine has",
                        (ull)flags);
    return 0;
}

static int tag_framebuffer(struct load *l, const struct tag *t, struct mb_image *img)
{
    (void)img;
    if (t->is_optional)
        return 0;
    return load_bad(l,
                    "Multiboot 2 framebuffer tag requires a graphics mode (%llux%llu), but this "
                    "machine has EGA text only; mark the tag optional (flags 1) to get that",
                    (ull)le_at(t->body, 8, 4), (ull)le_at(t->body, 12, 4));
}

static int tag_nothing(struct load *l, const struct tag *t, struct mb_image *img)
{
    (void)l, (void)t, (void)img;
    return 0;
}

static int tag_efi(struct load *l, const struct tag *t, struct mb_image *img)
{
    static const char *const names[] = {"EFI boot services", "EFI i386 entry address",
                                        "EFI amd64 entry address"};

    (void)img;
    if (t->is_optional)
        return 0;
    return load_bad(l,
                    "Multiboot 2 tag %llu (%s) is required, but this machine has no EFI; mark "
                    "the tag optional (flags 1)",
                    (ull)le_at(t->body, 0, 2), names[le_at(t->body, 0, 2) - 7]);
}

static int tag_relocatable(struct load *l, const struct tag *t, struct mb_image *img)
{
    struct mb_relocation *r = &img->relocation;

    *r = (struct mb_relocation){
        .min = le_at(t->body, 8, 4),
        .max = le_at(t->body, 12, 4),
        .align = le_at(t->body, 16, 4),
        .prefers_high = le_at(t->body, 20, 4) == 2,
    };
    if (!r->align || (r->align & (r->align - 1)))
        return load_bad(l, "Multiboot 2 relocatable tag: align 0x%llx is not a power of two",
                        (ull)r->align);
    if (r->min > r->max)
        return load_bad(l, "Multiboot 2 relocatable tag: min_addr 0x%llx is above max_addr 0x%llx",
                        (ull)r->min, (ull)r->max);
    img->has_relocation = true;
    return 0;
}

/* By type; type 0 ends the list. */
static const struct {
    const char *name;
    uint32_t bytes; /* at least */
    int (*parse)(struct load *l, const struct tag *t, struct mb_image *img);
} tag_table[] = {
    {"end", 8, NULL},
    {"information request", 8, tag_request},
    {"address", 24, tag_address},
    {"entry address", 12, tag_entry},
    {"console flags", 12, tag_console},
    {"framebuffer", 20, tag_framebuffer},
    {"module alignment", 8, tag_nothing}, /* modules are page-aligned anyway */
    {"EFI boot services", 8, tag_efi},
    {"EFI i386 entry address", 12, tag_efi},
    {"EFI amd64 entry address", 12, tag_efi},
    {"relocatable", 24, tag_relocatable},
};

static bool find_header(struct bytes file, uint64_t *off)
{
    struct bytes head = le_sub(file, 0, SEARCH_BYTES);

    for (*off = 0; le_has(head, *off, HEADER_BYTES); *off += 8) {
        uint32_t sum = 0;

        for (unsigned i = 0; i < 4; i++)
            sum += (uint32_t)le_at(head, *off + 4 * i, 4);
        if (le_at(head, *off, 4) == MAGIC && sum == 0)
            return true;
    }
    return false;
}

bool multiboot2_recognises(struct bytes file)
{
    uint64_t off;

    return find_header(file, &off);
}

static int parse_tag(struct load *l, struct bytes header, uint64_t at, struct mb_image *img)
{
    uint64_t type = le_at(header, at, 2), size = le_at(header, at + 4, 4);
    struct tag t = {.body = le_sub(header, at, size),
                    .off = img->header_off + at,
                    .is_optional = le_at(header, at + 2, 2) & TAG_OPTIONAL};

    if (size < 8 || !le_has(header, at, size))
        return load_bad(l,
                        "Multiboot 2 header tag at 0x%llx (type %llu) has size %llu, which does "
                        "not fit in the header",
                        (ull)t.off, (ull)type, (ull)size);
    if (type >= ARRAY_LEN(tag_table))
        return t.is_optional ? 0
                             : load_bad(l,
                                        "Multiboot 2 header tag at 0x%llx has the unknown type "
                                        "%llu and is not optional",
                                        (ull)t.off, (ull)type);
    if (size < tag_table[type].bytes)
        return load_bad(l, "Multiboot 2 %s tag at 0x%llx has size %llu instead of %u",
                        tag_table[type].name, (ull)t.off, (ull)size, tag_table[type].bytes);
    return tag_table[type].parse(l, &t, img);
}

static int parse_header(struct load *l, struct mb_image *img)
{
    const char *miss = multiboot_near_miss(l->file);
    struct bytes header;
    uint64_t len, at = HEADER_BYTES;
    int r;

    if (!find_header(l->file, &img->header_off))
        return load_bad(l,
                        "no Multiboot 2 header (magic 0xe85250d6 with a right checksum, on an "
                        "8-byte boundary) in the first 32768 bytes%s%s",
                        miss ? "; " : "", miss ? miss : "");
    header = le_sub(l->file, img->header_off, l->file.n);
    if (le_at(header, 4, 4) != 0)
        return load_bad(l, "Multiboot 2 header is for architecture %llu, not for i386 (0)",
                        (ull)le_at(header, 4, 4));
    len = le_at(header, 8, 4);
    if (len < HEADER_BYTES + 8 || !le_has(header, 0, len) || img->header_off + len > SEARCH_BYTES)
        return load_bad(l,
                        "Multiboot 2 header_length %llu at 0x%llx does not fit in the first 32768 "
                        "bytes of the file",
                        (ull)len, (ull)img->header_off);
    header = le_sub(header, 0, len);
    while (le_has(header, at, 8)) {
        if (le_at(header, at, 2) == 0)
            return 0;
        r = parse_tag(l, header, at, img);
        if (r < 0)
            return r;
        at += (le_at(header, at + 4, 4) + 7) & ~7ull;
    }
    return load_bad(l, "Multiboot 2 header of %llu bytes has no end tag (type 0, size 8)",
                    (ull)len);
}

/* Head of a tag with `bytes` after it. */
static void put_tag(struct buf *b, enum info_tag type, uint64_t bytes)
{
    put_align(b, 8);
    put_le(b, 4, type);
    put_le(b, 4, 8 + bytes);
}

static void put_text_tag(struct buf *b, enum info_tag type, const char *text)
{
    put_tag(b, type, strlen(text) + 1);
    buf_add(b, text, strlen(text) + 1);
}

static void put_map(struct buf *b, const struct mb_info *s)
{
    put_tag(b, INFO_MAP, 8 + 24ull * s->ranges);
    put_le(b, 4, 24);
    put_le(b, 4, 0);
    put_ranges(b, s->range, s->ranges);
}

static void put_screen(struct buf *b)
{
    put_tag(b, INFO_SCREEN, 24);
    mb_put_screen(b);
    put_le(b, 2, 0);
}

/* A copy of the root pointer: of the part that ACPI 1.0 knows, and of all of it. */
static void put_acpi(struct buf *b, const uint8_t *rsdp)
{
    put_tag(b, INFO_ACPI_OLD, 20);
    buf_add(b, rsdp, 20);
    put_tag(b, INFO_ACPI_NEW, ACPI_RSDP_BYTES);
    buf_add(b, rsdp, ACPI_RSDP_BYTES);
}

static void build(struct buf *b, uint64_t base, const void *arg)
{
    const struct mb_info *s = arg;

    (void)base;
    put_le(b, 8, 0); /* total size, at the end */
    put_text_tag(b, INFO_CMDLINE, s->cmdline);
    put_text_tag(b, INFO_LOADER, LOAD_BOOT_LOADER_NAME);
    for (unsigned i = 0; i < s->modules; i++) {
        put_tag(b, INFO_MODULE, 8 + strlen(s->module[i].text) + 1);
        put_le(b, 4, s->module[i].gpa);
        put_le(b, 4, s->module[i].gpa + s->module[i].len_bytes);
        buf_add(b, s->module[i].text, strlen(s->module[i].text) + 1);
    }
    put_tag(b, INFO_MEMORY, 8);
    put_le(b, 4, MB_LOWER_KIB);
    put_le(b, 4, s->upper_kib);
    put_map(b, s);
    put_screen(b);
    if (s->sections.num) {
        put_tag(b, INFO_ELF, 12 + s->sections.headers.len);
        put_le(b, 4, s->sections.num);
        put_le(b, 4, s->sections.entsize);
        put_le(b, 4, s->sections.shndx);
        buf_add(b, s->sections.headers.data, s->sections.headers.len);
    }
    if (s->rsdp)
        put_acpi(b, s->rsdp);
    put_tag(b, INFO_LOAD_BASE, 4);
    put_le(b, 4, s->load_base);
    put_tag(b, INFO_END, 0);
    le_store((uint8_t *)b->data, 4, b->len);
}

int multiboot2_load(struct load *l)
{
    static const struct mb_version version = {"Multiboot 2", ENTRY_EAX, build};
    struct mb_image img = {0};
    int r = parse_header(l, &img);

    if (r < 0)
        return r;
    if (img.has_addresses && !img.has_entry)
        return load_bad(l, "Multiboot 2 header has an address tag but no entry address tag");
    return mb_load(l, &img, &version);
}
