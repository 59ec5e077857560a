/*
 * Multiboot 1. Source: Multiboot Specification 0.6.96 (header 3.1, machine state 3.2, information
 * 3.3). The stack pointer at entry is undefined there and 0 here, so that a kernel which forgot
 * its stack is found out.
 */
#include "vmm/loaders/multiboot_image.h"

#include <stdio.h>
#include <string.h>

typedef unsigned long long ull;

#define SEARCH_BYTES  8192u
#define MAGIC         0x1badb002u
#define ENTRY_EAX     0x2badb002u
#define WANT_ALIGNED  (1u << 0)
#define WANT_MEMORY   (1u << 1)
#define WANT_VIDEO    (1u << 2)
#define HAS_ADDRESSES (1u << 16)
#define KNOWN         (WANT_ALIGNED | WANT_MEMORY | WANT_VIDEO)
#define REQUIRED      0xffffu

#define INFO_BYTES   116u
#define INFO_MEMORY  (1u << 0)
#define INFO_CMDLINE (1u << 2)
#define INFO_MODULES (1u << 3)
#define INFO_ELF     (1u << 5)
#define INFO_MAP     (1u << 6)
#define INFO_LOADER  (1u << 9)
#define INFO_SCREEN  (1u << 12)

static bool find_magic(struct bytes file, uint64_t magic, unsigned step, uint64_t search,
                       unsigned fields, bool want_sum, uint64_t *off)
{
    struct bytes head = le_sub(file, 0, search);

    for (uint64_t at = 0; le_has(head, at, 4ull * fields); at += step) {
        uint32_t sum = 0;

        if (le_at(head, at, 4) != magic)
            continue;
        for (unsigned i = 0; i < fields; i++)
            sum += (uint32_t)le_at(head, at + 4ull * i, 4);
        if (!sum == want_sum) {
            *off = at;
            return true;
        }
    }
    return false;
}

const char *multiboot_near_miss(struct bytes file)
{
    uint64_t off;

    if (find_magic(file, 0xe85250d6, 8, 32768, 4, false, &off))
        return "its Multiboot 2 header was passed over: the checksum is wrong";
    if (find_magic(file, MAGIC, 4, SEARCH_BYTES, 3, false, &off))
        return "its Multiboot header was passed over: the checksum is wrong";
    return NULL;
}

bool multiboot_recognises(struct bytes file)
{
    uint64_t off;

    return find_magic(file, MAGIC, 4, SEARCH_BYTES, 3, true, &off);
}

static int parse_header(struct load *l, struct mb_image *img)
{
    struct bytes head = le_sub(l->file, 0, SEARCH_BYTES);
    uint64_t at;
    uint32_t flags, unknown;

    if (!find_magic(l->file, MAGIC, 4, SEARCH_BYTES, 3, true, &img->header_off))
        return load_bad(l,
                        "no Multiboot header (magic 0x1badb002 with a right checksum, on a "
                        "4-byte boundary) in the first 8192 bytes%s%s",
                        multiboot_near_miss(l->file) ? "; " : "",
                        multiboot_near_miss(l->file) ? multiboot_near_miss(l->file) : "");
    at = img->header_off;
    flags = (uint32_t)le_at(head, at + 4, 4);
    unknown = flags & REQUIRED & ~KNOWN;
    if (unknown)
        return load_bad(l,
                        "Multiboot header requires bit %d of its flags 0x%x, which has no meaning "
                        "in the specification",
                        __builtin_ctz(unknown), flags);
    if (!(flags & HAS_ADDRESSES) && !(flags & WANT_VIDEO))
        return 0;
    if (!le_has(head, at, flags & WANT_VIDEO ? 48 : 32))
        return load_bad(l,
                        "Multiboot header at 0x%llx with flags 0x%x is longer than what is left "
                        "of the first 8192 bytes of the file",
                        (ull)at, flags);
    if (!(flags & HAS_ADDRESSES))
        return 0;
    img->has_addresses = img->has_entry = true;
    img->addresses = (struct mb_addresses){
        .header_addr = le_at(head, at + 12, 4),
        .load_addr = le_at(head, at + 16, 4),
        .load_end = le_at(head, at + 20, 4),
        .bss_end = le_at(head, at + 24, 4),
    };
    img->entry = le_at(head, at + 28, 4);
    return 0;
}

static void put_string(struct buf *b, const char *s)
{
    buf_add(b, s, strlen(s) + 1);
}

/* The fixed part, then the map, the module list, section headers and strings. */
static void build(struct buf *b, uint64_t base, const void *arg)
{
    const struct mb_info *s = arg;
    uint64_t map = base + INFO_BYTES, map_len = 24ull * s->ranges, list = map + map_len;
    uint64_t headers = (list + 16ull * s->modules + 15) & ~15ull;
    uint64_t loader = headers + s->sections.headers.len;
    uint64_t cmdline = loader + sizeof LOAD_BOOT_LOADER_NAME;
    uint64_t text = cmdline + strlen(s->cmdline) + 1;

    put_le(b, 4,
           INFO_MEMORY | INFO_CMDLINE | INFO_MODULES | INFO_MAP | INFO_LOADER | INFO_SCREEN |
               (s->sections.num ? INFO_ELF : 0));
    put_le(b, 4, MB_LOWER_KIB);
    put_le(b, 4, s->upper_kib);
    put_le(b, 4, 0); /* boot_device: none, and its flag is clear */
    put_le(b, 4, cmdline);
    put_le(b, 4, s->modules);
    put_le(b, 4, s->modules ? list : 0);
    put_le(b, 4, s->sections.num);
    put_le(b, 4, s->sections.entsize);
    put_le(b, 4, s->sections.num ? headers : 0);
    put_le(b, 4, s->sections.shndx);
    put_le(b, 4, map_len);
    put_le(b, 4, map);
    put_le(b, 8, 0); /* drives */
    put_le(b, 4, 0); /* configuration table */
    put_le(b, 4, loader);
    put_le(b, 4, 0); /* APM */
    put_le(b, 8, 0); /* VBE: information blocks, */
    put_le(b, 8, 0); /* mode and interface */
    mb_put_screen(b);
    put_le(b, 6, 0);
    for (unsigned i = 0; i < s->ranges; i++) {
        put_le(b, 4, 20); /* size, not counting itself */
        put_le(b, 8, s->range[i].gpa);
        put_le(b, 8, s->range[i].len_bytes);
        put_le(b, 4, s->range[i].type);
    }
    for (unsigned i = 0; i < s->modules; i++) {
        put_le(b, 4, s->module[i].gpa);
        put_le(b, 4, s->module[i].gpa + s->module[i].len_bytes);
        put_le(b, 4, text);
        put_le(b, 4, 0);
        text += strlen(s->module[i].text) + 1;
    }
    while (base + b->len < headers)
        buf_addc(b, 0);
    buf_add(b, s->sections.headers.data, s->sections.headers.len);
    put_string(b, LOAD_BOOT_LOADER_NAME);
    put_string(b, s->cmdline);
    for (unsigned i = 0; i < s->modules; i++)
        put_string(b, s->module[i].text);
}

int multiboot_load(struct load *l)
{
    static const struct mb_version version = {"Multiboot", ENTRY_EAX, build};
    struct mb_image img = {0};
    int r = parse_header(l, &img);

    return r < 0 ? r : mb_load(l, &img, &version);
}
