/*
 * PVH direct boot: an ELF whose Xen note 18 gives a 32-bit physical entry; EBX points to a
 * hvm_start_info. Source: Xen docs/misc/pvh.pandoc and xen/include/public/arch-x86/hvm/
 * start_info.h (facts and offsets).
 */
#include "vmm/loaders/elf_image.h"

#include <stdio.h>
#include <string.h>

typedef unsigned long long ull;

#define NOTE_PHYS32_ENTRY 18u
#define NOTE_LINUX_SALT   0x100u /* each Linux since 4.18 has one */
#define START_MAGIC       0x336ec578u
#define START_BYTES       56u
#define MODULE_BYTES      32u

static int find_entry(struct load *l, struct elf *f, uint64_t *entry)
{
    struct bytes desc;
    int r = elf_open(l, f);

    if (!r)
        r = elf_note(l, f, "Xen", NOTE_PHYS32_ENTRY, &desc);
    if (r < 0)
        return r;
    if (!r)
        return load_bad(l, "no ELF note of owner Xen and type 18 (PHYS32_ENTRY): it cannot start "
                           "by PVH; try --boot auto");
    if (desc.n != 4 && desc.n != 8)
        return load_bad(l, "ELF note PHYS32_ENTRY has %zu bytes instead of 4 or 8", desc.n);
    *entry = le_at(desc, 0, (unsigned)desc.n);
    return 0;
}

bool pvh_recognises(struct bytes file)
{
    struct load quiet = {.file = file, .name = ""};
    struct bytes desc;
    struct elf f;

    return !elf_open(&quiet, &f) && elf_note(&quiet, &f, "Xen", NOTE_PHYS32_ENTRY, &desc) == 1;
}

struct start {
    const char *cmdline;
    unsigned modules, ranges;
    struct load_module module[LOAD_MODULES_MAX];
    struct boot_range range[BOOT_RANGES_MAX];
    uint64_t rsdp;
};

/* Start info, memory map, module list, then all strings. */
static void build(struct buf *b, uint64_t base, const void *arg)
{
    const struct start *s = arg;
    uint64_t map = base + START_BYTES, list = map + 24ull * s->ranges;
    uint64_t text = list + MODULE_BYTES * (uint64_t)s->modules;
    uint64_t cmdline = text;

    put_le(b, 4, START_MAGIC);
    put_le(b, 4, 1); /* version: has a memory map */
    put_le(b, 4, 0);
    put_le(b, 4, s->modules);
    put_le(b, 8, s->modules ? list : 0);
    put_le(b, 8, cmdline);
    put_le(b, 8, s->rsdp);
    put_le(b, 8, map);
    put_le(b, 4, s->ranges);
    put_le(b, 4, 0);
    put_ranges(b, s->range, s->ranges);
    text += strlen(s->cmdline) + 1;
    for (unsigned i = 0; i < s->modules; i++) {
        put_le(b, 8, s->module[i].gpa);
        put_le(b, 8, s->module[i].len_bytes);
        put_le(b, 8, text);
        put_le(b, 8, 0);
        text += strlen(s->module[i].text) + 1;
    }
    buf_add(b, s->cmdline, strlen(s->cmdline) + 1);
    for (unsigned i = 0; i < s->modules; i++)
        buf_add(b, s->module[i].text, strlen(s->module[i].text) + 1);
}

int pvh_load(struct load *l)
{
    struct boot_state *out = l->out;
    struct start s = {0};
    struct buf cmdline = {0};
    struct bytes salt;
    char detail[64];
    struct elf f;
    uint64_t entry = 0;
    int r = find_entry(l, &f, &entry);

    if (!r)
        r = elf_load_segments(l, &f, 0);
    if (r < 0)
        return r;
    if (!elf_holds_phys(l, &f, entry))
        return load_bad(l,
                        "ELF note PHYS32_ENTRY 0x%llx lies in none of the loaded segments (it is "
                        "a physical address)",
                        (ull)entry);
    if (entry > UINT32_MAX)
        return load_bad(l, "ELF note PHYS32_ENTRY 0x%llx is above 4 GiB", (ull)entry);
    r = load_modules(l, l->high, s.module, &s.modules);
    if (r < 0)
        return r;
    s.ranges = boot_memory_map(l->mem, s.range);
    load_tables(l);
    s.rsdp = out->rsdp;
    if (elf_note(l, &f, "Linux", NOTE_LINUX_SALT, &salt) == 1)
        load_linux_cmdline(l, &cmdline);
    else
        buf_adds(&cmdline, l->cfg->append ? l->cfg->append : "");
    s.cmdline = buf_str(&cmdline);
    r = load_info(l, build, &s, "PVH start info", &out->rbx);
    buf_fini(&cmdline);
    if (r < 0)
        return r;
    out->mode = BOOT_MODE_PROT;
    out->rip = out->entry = entry;
    out->symbols = l->cfg->image;
    snprintf(detail, sizeof detail, "%u-bit ELF, %u module%s", f.bits, s.modules,
             s.modules == 1 ? "" : "s");
    load_summary(l, "PVH, ", detail);
    return 0;
}
