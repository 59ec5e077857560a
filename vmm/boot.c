/*
 * Reads an image, finds its loader and keeps account of who owns which guest memory. Called by
 * vm.c on the main thread when a machine is made or reset; knows no format (see loaders/).
 */
#include "vmm/boot.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/esc.h"
#include "vmm/base/x.h"
#include "vmm/host_file.h"
#include "vmm/loaders/loader.h"

typedef unsigned long long ull;

static const char *const kind_names[] = {
    [BOOT_AUTO] = "auto",
    [BOOT_FLAT] = "flat",
    [BOOT_ELF] = "elf",
    [BOOT_MULTIBOOT] = "multiboot",
    [BOOT_MULTIBOOT2] = "multiboot2",
    [BOOT_LINUX] = "linux",
    [BOOT_PVH] = "pvh",
};
_Static_assert(ARRAY_LEN(kind_names) == BOOT_KINDS, "every kind has a name");

const char *boot_kind_name(enum boot_kind k)
{
    return (unsigned)k < BOOT_KINDS ? kind_names[k] : "unknown";
}

static const struct boot_claim *overlap(const struct boot_claims *c, uint64_t gpa,
                                        uint64_t len_bytes)
{
    for (unsigned i = 0; i < c->count; i++)
        if (c->claim[i].gpa < gpa + len_bytes && gpa < c->claim[i].gpa + c->claim[i].len_bytes)
            return &c->claim[i];
    return NULL;
}

/* "0x0-0x7ffffff and 0x100000000-0x13fffffff" */
static const char *describe_ram(const struct mem *m, char *dst, size_t cap)
{
    size_t used = 0;

    snprintf(dst, cap, "nowhere");
    for (unsigned i = 0; i < m->regions && used < cap; i++)
        used += (size_t)snprintf(dst + used, cap - used, "%s0x%llx-0x%llx", i ? " and " : "",
                                 (ull)m->region[i].gpa,
                                 (ull)(m->region[i].gpa + m->region[i].len_bytes - 1));
    return dst;
}

static int add_claim(struct boot_claims *c, uint64_t gpa, uint64_t len_bytes, const char *what,
                     struct err *e)
{
    struct boot_claim *n;

    if (c->count == BOOT_CLAIMS_MAX)
        return err_set(e, E2BIG,
                       "there is no room for %s: more than %d ranges of guest memory "
                       "are in use before the guest starts",
                       what, BOOT_CLAIMS_MAX);
    n = &c->claim[c->count++];
    *n = (struct boot_claim){.gpa = gpa, .len_bytes = len_bytes};
    snprintf(n->what, sizeof n->what, "%s", what);
    return 0;
}

static int claim(struct boot_claims *c, const struct mem *m, uint64_t gpa, uint64_t len_bytes,
                 const char *what, struct err *e)
{
    const struct boot_claim *other;
    char ram[120];

    if (!len_bytes)
        return 0;
    if (gpa + len_bytes - 1 < gpa)
        return err_set(e, ENOSPC, "%s of 0x%llx bytes at 0x%llx wraps around the address space",
                       what, (ull)len_bytes, (ull)gpa);
    if (!mem_ptr(m, gpa, len_bytes))
        return err_set(e, ENOSPC, "%s needs 0x%llx-0x%llx, but RAM is %s; %s", what, (ull)gpa,
                       (ull)(gpa + len_bytes - 1), describe_ram(m, ram, sizeof ram),
                       gpa + len_bytes <= 64ull << 30
                           ? "give the machine more with -m, or link the image lower"
                           : "link the image to a physical address (p_paddr) inside it");
    other = overlap(c, gpa, len_bytes);
    if (other)
        return err_set(e, EEXIST, "%s at 0x%llx-0x%llx overlaps %s at 0x%llx-0x%llx", what,
                       (ull)gpa, (ull)(gpa + len_bytes - 1), other->what, (ull)other->gpa,
                       (ull)(other->gpa + other->len_bytes - 1));
    return add_claim(c, gpa, len_bytes, what, e);
}

bool boot_loaded_at(const struct boot_state *bs, uint64_t linear, uint64_t *gpa)
{
    for (unsigned i = 0; i < bs->parts; i++) {
        const struct boot_part *part = &bs->part[i];

        if (linear - part->linear < part->len_bytes) {
            *gpa = part->gpa + (linear - part->linear);
            return true;
        }
    }
    return false;
}

int boot_claim(struct boot_claims *c, const struct mem *m, const char *file, uint64_t gpa,
               uint64_t len_bytes, struct err *e, const char *what, ...)
{
    char label[sizeof c->claim[0].what];
    va_list ap;
    int r;

    va_start(ap, what);
    vsnprintf(label, sizeof label, what, ap);
    va_end(ap);
    r = claim(c, m, gpa, len_bytes, label, e);
    if (r < 0 && file)
        err_prefix(e, "cannot load %s", file);
    return r;
}

/* The highest (or lowest) fit in one piece of RAM; false when there is none. Each round moves past
 * one claim, so it ends. `len_bytes` is at most high - low. */
static bool fit(const struct boot_claims *c, uint64_t low, uint64_t high, uint64_t len_bytes,
                uint64_t align, bool top, uint64_t *gpa)
{
    const struct boot_claim *other;
    uint64_t at = top ? (high - len_bytes) & ~(align - 1) : (low + align - 1) & ~(align - 1);

    for (;;) {
        if (at < low || at > high - len_bytes)
            return false;
        other = overlap(c, at, len_bytes);
        if (!other) {
            *gpa = at;
            return true;
        }
        if (top && other->gpa < len_bytes)
            return false;
        at = top ? (other->gpa - len_bytes) & ~(align - 1)
                 : (other->gpa + other->len_bytes + align - 1) & ~(align - 1);
    }
}

int boot_place(struct boot_claims *c, const struct mem *m, uint64_t len_bytes, uint64_t align,
               uint64_t low, uint64_t high, bool top, const char *what, uint64_t *gpa,
               struct err *e)
{
    char ram[120];

    BUG_ON(!len_bytes || !align || (align & (align - 1)));
    for (unsigned i = 0; i < m->regions; i++) {
        const struct mem_region *r = &m->region[top ? m->regions - 1 - i : i];
        uint64_t from = r->gpa > low ? r->gpa : low;
        uint64_t to = r->gpa + r->len_bytes < high ? r->gpa + r->len_bytes : high;

        if (from < to && len_bytes <= to - from && fit(c, from, to, len_bytes, align, top, gpa))
            return add_claim(c, *gpa, len_bytes, what, e);
    }
    return err_set(e, ENOSPC,
                   "there is no room for %s (0x%llx bytes, aligned to 0x%llx) in 0x%llx-0x%llx: "
                   "RAM is %s with %u ranges in use; give the machine more with -m",
                   what, (ull)len_bytes, (ull)align, (ull)low, (ull)(high - 1),
                   describe_ram(m, ram, sizeof ram), c->count);
}

int boot_place_low(struct boot_claims *c, const struct mem *m, uint64_t len_bytes, uint64_t align,
                   const char *what, uint64_t *gpa, struct err *e)
{
    if (!boot_place(c, m, len_bytes, align, BOOT_LOW_START, BOOT_LOW_END, true, what, gpa, NULL))
        return 0;
    return boot_place(c, m, len_bytes, align, BOOT_HIGH, MEM_HOLE_END, false, what, gpa, e);
}

unsigned boot_memory_map(const struct mem *m, struct boot_range out[BOOT_RANGES_MAX])
{
    unsigned n = 0;

    for (unsigned i = 0; i < m->regions; i++) {
        uint64_t gpa = m->region[i].gpa, end = gpa + m->region[i].len_bytes;

        if (gpa == 0) {
            out[n++] = (struct boot_range){0, BOOT_LOW_END, 1};
            out[n++] = (struct boot_range){BOOT_LOW_END, BOOT_HIGH - BOOT_LOW_END, 2};
            gpa = BOOT_HIGH;
        }
        if (gpa < end)
            out[n++] = (struct boot_range){gpa, end - gpa, 1};
    }
    return n;
}

/* An option that the format cannot pass on would silently do nothing, so it is refused. */
static int check_options(const struct loader *row, const struct boot_config *cfg, const char *name,
                         struct err *e)
{
    const struct {
        bool given;
        unsigned takes;
        const char *option, *why;
    } opt[] = {
        {cfg->has_load_addr, TAKES_ADDR, "--load-addr",
         "its own header says where it goes (only a flat binary takes one: --boot flat)"},
        {cfg->has_mode, TAKES_MODE, "--mode",
         "its format says in which mode it starts (only a flat binary takes one: --boot flat)"},
        {cfg->append, TAKES_APPEND, "--append",
         "the format has no command line (Multiboot, PVH and Linux have)"},
        {cfg->initrd, TAKES_INITRD, "--initrd",
         "the format has no modules (Multiboot, PVH and Linux take one)"},
        {cfg->modules, TAKES_MODULES, "--module",
         row->kind == BOOT_LINUX ? "Linux takes one --initrd instead"
                                 : "the format has no modules (Multiboot and PVH have)"},
    };

    for (size_t i = 0; i < ARRAY_LEN(opt); i++)
        if (opt[i].given && !(row->takes & opt[i].takes))
            return err_set(e, EINVAL, "cannot load %s as %s with %s: %s", name, row->name,
                           opt[i].option, opt[i].why);
    if (cfg->modules > BOOT_MODULES_MAX)
        return err_set(e, EINVAL, "cannot load %s with %u modules: %d are the most", name,
                       cfg->modules, BOOT_MODULES_MAX);
    return 0;
}

static const struct loader *choose(const struct boot_config *cfg, struct bytes file)
{
    const struct loader *row = loader_table;

    while (row->name && !(cfg->kind == BOOT_AUTO ? row->recognises(file) : row->kind == cfg->kind))
        row++;
    return row->name ? row : NULL;
}

/* A wrong checksum makes a kernel silently something else; its author wants to hear of it. */
static void add_near_miss(struct load *l, const struct loader *row)
{
    const char *miss = multiboot_near_miss(l->file);
    size_t used = strlen(l->out->summary);

    if (miss && (row->kind == BOOT_FLAT || row->kind == BOOT_ELF))
        snprintf(l->out->summary + used, sizeof l->out->summary - used, "; %s", miss);
}

int boot_load_image(const struct boot_config *cfg, const void *image, size_t len_bytes,
                    struct mem *m, struct boot_state *out, struct err *e)
{
    char name[160];
    struct load l = {
        .cfg = cfg, .name = name, .file = {image, len_bytes}, .mem = m, .out = out, .err = e};
    const struct loader *row;
    int r;

    *out = (struct boot_state){0};
    esc_cut(name, sizeof name, cfg->image, strlen(cfg->image));
    row = choose(cfg, l.file);
    if (!row)
        return err_set(e, EINVAL, "cannot load %s: there is no loader of kind %u", name,
                       (unsigned)cfg->kind);
    r = check_options(row, cfg, name, e);
    if (r < 0)
        return r;
    out->loader = row->name;
    r = row->load(&l);
    if (r < 0)
        return r;
    load_tables(&l); /* for those that look for them by themselves */
    if (cfg->kind == BOOT_AUTO)
        add_near_miss(&l, row);
    return 0;
}

int boot_load(const struct boot_config *cfg, struct mem *m, struct boot_state *out, struct err *e)
{
    struct host_file f;
    uint8_t *image;
    int r;

    *out = (struct boot_state){0};
    r = host_file_open(&f, cfg->image, "image", BOOT_FILE_MAX, e);
    if (r < 0)
        return r;
    image = malloc(f.len_bytes);
    if (!image)
        r = err_set(e, ENOMEM, "cannot load image %s: the host has no %llu bytes of memory left",
                    f.name, (ull)f.len_bytes);
    else
        r = host_file_read(&f, image, e);
    if (!r)
        r = boot_load_image(cfg, image, f.len_bytes, m, out, e);
    free(image);
    host_file_close(&f);
    return r;
}
