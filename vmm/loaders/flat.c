/*
 * Raw bytes. By default what a BIOS does with a boot sector: at 0000:7c00 in real mode with the
 * drive number in DL and the stack below. All of the file is loaded, not only 512 bytes, so a
 * boot sector with its kernel behind it needs no disk driver.
 */
#include <errno.h>
#include <stdio.h>

#include "vmm/loaders/loader.h"

typedef unsigned long long ull;

#define BOOT_SECTOR_ADDR 0x7c00u
#define BIOS_FIRST_DISK  0x80u
#define REAL_TOP         0x10ffefull /* ffff:ffff */

bool flat_recognises(struct bytes file)
{
    return file.n > 0;
}

/* SP just below the image as on a PC; where that would run into the vectors, above it, and for an
 * image that leaves no room there either, in the last segment of conventional memory. */
static void real_stack(struct load *l, uint64_t addr)
{
    struct boot_state *out = l->out;

    out->ss = 0;
    if (addr >= BOOT_LOW_START && addr <= 0x10000)
        out->rsp = (addr - (addr == 0x10000)) & ~1ull;
    else if (addr > 0x10000)
        out->rsp = BOOT_SECTOR_ADDR;
    else if (addr + l->file.n <= 0xf000)
        out->rsp = 0xfffe;
    else {
        out->ss = 0x8fc0;
        out->rsp = 0xfffe;
    }
}

static int real_entry(struct load *l, uint64_t addr)
{
    struct boot_state *out = l->out;

    if (addr > REAL_TOP)
        return err_set(l->err, EINVAL,
                       "cannot load %s at 0x%llx in real mode, which ends at 0x%llx; try --mode "
                       "prot or --mode long",
                       l->name, (ull)addr, REAL_TOP);
    if (addr <= 0xffff)
        out->cs = 0;
    else
        out->cs = (uint16_t)(addr >> 4 > 0xffff ? 0xffff : addr >> 4);
    out->ds = out->cs;
    out->rip = addr - ((uint64_t)out->cs << 4);
    out->rdx = BIOS_FIRST_DISK;
    real_stack(l, addr);
    return 0;
}

static void summarise(struct load *l, uint64_t addr)
{
    static const char *const modes[] = {"real", "protected", "long"};
    struct boot_state *out = l->out;
    bool sector = le_at(l->file, 510, 2) == 0xaa55;
    int n =
        snprintf(out->summary, sizeof out->summary, "%s, %zu bytes at 0x%llx, %s mode, entry ",
                 sector ? "boot sector" : "flat binary", l->file.n, (ull)addr, modes[out->mode]);

    if (out->mode == BOOT_MODE_REAL)
        snprintf(out->summary + n, sizeof out->summary - (size_t)n, "%04x:%04llx", out->cs,
                 (ull)out->rip);
    else
        snprintf(out->summary + n, sizeof out->summary - (size_t)n, "0x%llx", (ull)out->entry);
}

int flat_load(struct load *l)
{
    const struct boot_config *cfg = l->cfg;
    struct boot_state *out = l->out;
    uint64_t addr = cfg->has_load_addr ? cfg->load_addr : BOOT_SECTOR_ADDR;
    int r;

    if (!l->file.n)
        return load_bad(l, "the image is empty");
    out->mode = cfg->has_mode ? cfg->mode : BOOT_MODE_REAL;
    out->rip = out->entry = addr;
    if (out->mode == BOOT_MODE_REAL) {
        r = real_entry(l, addr);
        if (r < 0)
            return r;
    } else if (out->mode == BOOT_MODE_PROT && addr > UINT32_MAX) {
        return err_set(l->err, EINVAL,
                       "cannot load %s at 0x%llx in protected mode, which ends at 4 GiB; try "
                       "--mode long",
                       l->name, (ull)addr);
    }
    r = load_segment(l, addr, l->file, l->file.n, "flat image");
    if (r < 0)
        return r;
    if (out->mode != BOOT_MODE_REAL) {
        r = load_stack(l, out->mode == BOOT_MODE_LONG ? 8 : 4, &out->rsp);
        if (r < 0)
            return r;
    }
    summarise(l, addr);
    return 0;
}
