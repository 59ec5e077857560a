/*
 * Linux bzImage by the 32- and 64-bit boot protocols; the 16-bit setup code is not run. Source:
 * Linux Documentation/arch/x86/boot.rst and zero-page.rst (names and offsets). memtest86+ takes
 * the same way.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "vmm/base/x.h"
#include "vmm/loaders/loader.h"

typedef unsigned long long ull;

/* The setup header: the same offsets in the file and in struct boot_params. */
#define HDR_START          0x1f1u
#define HDR_SETUP_SECTS    0x1f1u
#define HDR_SYSSIZE        0x1f4u
#define HDR_VID_MODE       0x1fau
#define HDR_BOOT_FLAG      0x1feu
#define HDR_JUMP_LEN       0x201u
#define HDR_MAGIC          0x202u
#define HDR_VERSION        0x206u
#define HDR_KERNEL_VERSION 0x20eu /* plus a sector: a string in the file */
#define HDR_LOADER_TYPE    0x210u
#define HDR_LOADFLAGS      0x211u
#define HDR_CODE32_START   0x214u
#define HDR_RAMDISK_IMAGE  0x218u
#define HDR_RAMDISK_SIZE   0x21cu
#define HDR_CMD_LINE_PTR   0x228u
#define HDR_INITRD_MAX     0x22cu
#define HDR_ALIGNMENT      0x230u
#define HDR_RELOCATABLE    0x234u
#define HDR_XLOADFLAGS     0x236u
#define HDR_CMDLINE_SIZE   0x238u
#define HDR_END_2_06       0x23cu
#define HDR_SETUP_DATA     0x250u
#define HDR_PREF_ADDRESS   0x258u
#define HDR_INIT_SIZE      0x260u
#define HDR_END_2_10       0x264u
#define HDR_END_MAX        0x290u /* where boot_params goes on with something else */

#define BP_BYTES       4096u
#define BP_VIDEO_MODE  0x06u
#define BP_VIDEO_COLS  0x07u
#define BP_VIDEO_LINES 0x0eu
#define BP_IS_VGA      0x0fu
#define BP_FONT_POINTS 0x10u
#define BP_ACPI_RSDP   0x70u /* since protocol 2.14 */
#define BP_E820_COUNT  0x1e8u
#define BP_E820_TABLE  0x2d0u

#define MAGIC            0x53726448u /* "HdrS" */
#define LOADED_HIGH      1u
#define XLF_KERNEL_64    1u
#define LOADER_UNDEFINED 0xffu
#define ENTRY_64         0x200u
#define SECTOR_BYTES     512u

struct bzimage {
    struct bytes kernel; /* the protected-mode part */
    unsigned version;
    uint64_t header_end;
    bool is_64, is_relocatable;
    uint64_t align, pref, run_bytes, initrd_max, cmdline_max;
    uint64_t addr;
};

bool linux_recognises(struct bytes file)
{
    return le_at(file, HDR_BOOT_FLAG, 2) == 0xaa55 && le_at(file, HDR_MAGIC, 4) == MAGIC;
}

static int read_version(struct load *l, struct bzimage *z)
{
    uint64_t need;

    if (!linux_recognises(l->file))
        return load_bad(l, "it is not a Linux bzImage: no \"HdrS\" at 0x202 and 0xaa55 at 0x1fe");
    z->version = (unsigned)le_at(l->file, HDR_VERSION, 2);
    if (z->version < 0x206)
        return load_bad(l, "Linux boot protocol %u.%02u is too old: 2.06 is the least",
                        z->version >> 8, z->version & 0xff);
    z->header_end = HDR_MAGIC + le_at(l->file, HDR_JUMP_LEN, 1);
    need = z->version >= 0x20a ? HDR_END_2_10 : HDR_END_2_06;
    if (z->header_end < need)
        return load_bad(l,
                        "Linux setup header ends at 0x%llx by its jump at 0x200, but protocol "
                        "%u.%02u reaches to 0x%llx",
                        (ull)z->header_end, z->version >> 8, z->version & 0xff, (ull)need);
    if (z->header_end > HDR_END_MAX)
        z->header_end = HDR_END_MAX;
    if (!le_has(l->file, 0, z->header_end))
        return load_bad(l, "the file is cut off inside the Linux setup header, at 0x%zx of 0x%llx",
                        l->file.n, (ull)z->header_end);
    return 0;
}

/* Splits the file into setup and kernel. syssize counts 16-byte units, rounded up; signatures may
 * follow the kernel. */
static int read_kernel(struct load *l, struct bzimage *z)
{
    uint64_t sects = le_at(l->file, HDR_SETUP_SECTS, 1), setup, declared, rest;

    setup = ((sects ? sects : 4) + 1) * SECTOR_BYTES;
    declared = le_at(l->file, HDR_SYSSIZE, 4) * 16;
    if (setup >= l->file.n)
        return load_bad(l,
                        "Linux setup_sects %llu puts the kernel at 0x%llx, past the end of the "
                        "file at 0x%zx",
                        (ull)sects, (ull)setup, l->file.n);
    rest = l->file.n - setup;
    if (!declared)
        return load_bad(l, "Linux syssize is 0: the header declares no kernel");
    if (declared > rest + 15)
        return load_bad(l,
                        "Linux syssize declares a kernel of 0x%llx bytes, but the file has only "
                        "0x%llx after its setup code: it is cut off",
                        (ull)declared, (ull)rest);
    z->kernel = le_sub(l->file, setup, declared);
    return 0;
}

static int read_fields(struct load *l, struct bzimage *z)
{
    struct bytes b = l->file;

    if (!(le_at(b, HDR_LOADFLAGS, 1) & LOADED_HIGH))
        return load_bad(l, "Linux loadflags has no LOADED_HIGH: this is a zImage, which needs the "
                           "16-bit protocol; build a bzImage");
    /* iPXE and the like wrap themselves as a kernel, to be started by its real-mode setup code. */
    if (!le_at(b, HDR_CODE32_START, 4))
        return load_bad(l, "Linux code32_start is 0, so it can only be entered in real mode, where "
                           "its setup code calls the BIOS; vmscope has no BIOS");
    z->is_relocatable = le_at(b, HDR_RELOCATABLE, 1);
    z->align = le_at(b, HDR_ALIGNMENT, 4);
    z->pref = z->version >= 0x20a ? le_at(b, HDR_PREF_ADDRESS, 8) : BOOT_HIGH;
    z->run_bytes = z->version >= 0x20a ? le_at(b, HDR_INIT_SIZE, 4) : 0;
    if (z->run_bytes < z->kernel.n)
        z->run_bytes = z->kernel.n;
    z->initrd_max = le_at(b, HDR_INITRD_MAX, 4);
    z->cmdline_max = le_at(b, HDR_CMDLINE_SIZE, 4);
    z->is_64 = z->version >= 0x20c && (le_at(b, HDR_XLOADFLAGS, 2) & XLF_KERNEL_64);
    if (z->is_relocatable && (!z->align || (z->align & (z->align - 1))))
        return load_bad(l, "Linux kernel_alignment 0x%llx is not a power of two", (ull)z->align);
    if (z->is_relocatable && (z->pref & (z->align - 1)))
        return load_bad(l, "Linux pref_address 0x%llx is not a multiple of kernel_alignment 0x%llx",
                        (ull)z->pref, (ull)z->align);
    if (z->is_64 && z->kernel.n <= ENTRY_64)
        return load_bad(l,
                        "Linux XLF_KERNEL_64 promises an entry at 0x200, but the kernel has only "
                        "0x%zx bytes",
                        z->kernel.n);
    return 0;
}

/* Where the kernel prefers to run, else (when it can) the lowest free place; init_size bytes
 * there are the decompressor's. */
static int place_kernel(struct load *l, struct bzimage *z)
{
    struct boot_claims *c = &l->out->claims;
    int r = boot_claim(c, l->mem, l->name, z->pref, z->run_bytes, l->err,
                       "Linux kernel (pref_address, init_size)");

    z->addr = z->pref;
    if (r < 0 && z->is_relocatable) {
        r = boot_place(c, l->mem, z->run_bytes, z->align, BOOT_HIGH, MEM_HOLE_END, false,
                       "Linux kernel (init_size)", &z->addr, l->err);
        if (r < 0)
            err_prefix(l->err, "cannot load %s", l->name);
    }
    if (r < 0)
        return r;
    if (z->addr + z->kernel.n > MEM_HOLE_END)
        return load_bad(l,
                        "Linux pref_address 0x%llx is above 4 GiB and the kernel is not "
                        "relocatable",
                        (ull)z->pref);
    BUG_ON(mem_write(l->mem, z->addr, z->kernel.p, z->kernel.n) != z->kernel.n);
    l->segments = 1;
    l->low = z->addr;
    l->high = z->addr + z->run_bytes;
    return 0;
}

static int place_initrd(struct load *l, const struct bzimage *z, uint64_t *gpa, uint64_t *len)
{
    uint64_t high = z->initrd_max + 1; /* the field is the last usable byte */

    *gpa = *len = 0;
    if (!l->cfg->initrd)
        return 0;
    return load_file(l, l->cfg->initrd, "initrd", BOOT_HIGH, high, true, gpa, len);
}

static void build_cmdline(struct buf *b, uint64_t base, const void *arg)
{
    (void)base;
    buf_add(b, arg, strlen(arg) + 1);
}

/* memtest86+ names itself where Linux has its release. */
static bool is_linux(const struct load *l)
{
    uint64_t version = le_at(l->file, HDR_KERNEL_VERSION, 2);
    uint64_t first = version ? le_at(l->file, version + SECTOR_BYTES, 1) : 0;

    return first >= '0' && first <= '9';
}

static int place_cmdline(struct load *l, const struct bzimage *z, uint64_t *gpa)
{
    struct buf text = {0};
    int r;

    if (is_linux(l))
        load_linux_cmdline(l, &text);
    else
        buf_adds(&text, l->cfg->append ? l->cfg->append : "");
    if (text.len > z->cmdline_max)
        r = err_set(l->err, E2BIG,
                    "cannot load %s: the command line of --append has %zu bytes, but the "
                    "kernel's cmdline_size is %llu",
                    l->name, text.len, (ull)z->cmdline_max);
    else
        r = load_info(l, build_cmdline, buf_str(&text), "command line", gpa);
    buf_fini(&text);
    return r;
}

struct params {
    uint8_t raw[BP_BYTES];
};

static void build_params(struct buf *b, uint64_t base, const void *arg)
{
    (void)base;
    buf_add(b, ((const struct params *)arg)->raw, BP_BYTES);
}

static void fill_screen(uint8_t *bp)
{
    bp[BP_VIDEO_MODE] = 3; /* 80x25 text at 0xb8000 */
    bp[BP_VIDEO_COLS] = 80;
    bp[BP_VIDEO_LINES] = 25;
    bp[BP_IS_VGA] = 1;
    bp[BP_FONT_POINTS] = 16;
}

static int place_params(struct load *l, const struct bzimage *z)
{
    struct params p = {0};
    struct boot_range range[BOOT_RANGES_MAX];
    unsigned ranges = boot_memory_map(l->mem, range);
    uint64_t initrd, initrd_len, cmdline;
    uint8_t *bp = p.raw;
    int r = place_initrd(l, z, &initrd, &initrd_len);

    if (!r)
        r = place_cmdline(l, z, &cmdline);
    if (r < 0)
        return r;
    memcpy(bp + HDR_START, l->file.p + HDR_START, z->header_end - HDR_START);
    fill_screen(bp);
    bp[HDR_LOADER_TYPE] = LOADER_UNDEFINED;
    le_store(bp + HDR_VID_MODE, 2, 0xffff); /* "normal" */
    le_store(bp + HDR_CODE32_START, 4, z->addr);
    le_store(bp + HDR_RAMDISK_IMAGE, 4, initrd);
    le_store(bp + HDR_RAMDISK_SIZE, 4, initrd_len);
    le_store(bp + HDR_CMD_LINE_PTR, 4, cmdline);
    if (z->header_end >= HDR_SETUP_DATA + 8)
        le_store(bp + HDR_SETUP_DATA, 8, 0); /* a pointer of ours to give, and there is none */
    load_tables(l);
    if (z->version >= 0x20e)
        le_store(bp + BP_ACPI_RSDP, 8, l->out->rsdp);
    bp[BP_E820_COUNT] = (uint8_t)ranges;
    for (unsigned i = 0; i < ranges; i++) {
        uint8_t *entry = bp + BP_E820_TABLE + 20 * i;

        le_store(entry, 8, range[i].gpa);
        le_store(entry + 8, 8, range[i].len_bytes);
        le_store(entry + 16, 4, range[i].type);
    }
    return load_info(l, build_params, &p, "Linux boot_params", &l->out->rsi);
}

int linux_load(struct load *l)
{
    struct boot_state *out = l->out;
    struct bzimage z = {0};
    char detail[64];
    int r = read_version(l, &z);

    if (!r)
        r = read_kernel(l, &z);
    if (!r)
        r = read_fields(l, &z);
    if (!r)
        r = place_kernel(l, &z);
    if (!r)
        r = place_params(l, &z);
    if (!r)
        r = load_stack(l, z.is_64 ? 8 : 4, &out->rsp);
    if (r < 0)
        return r;
    out->mode = z.is_64 ? BOOT_MODE_LONG : BOOT_MODE_PROT;
    out->entry = out->rip = z.addr + (z.is_64 ? ENTRY_64 : 0);
    snprintf(detail, sizeof detail, "protocol %u.%02u, %u-bit entry%s", z.version >> 8,
             z.version & 0xff, z.is_64 ? 64u : 32u, l->cfg->initrd ? ", initrd" : "");
    load_summary(l, "Linux bzImage, ", detail);
    return 0;
}
