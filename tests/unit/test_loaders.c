/*
 * vmm/boot.c and vmm/loaders: what good images leave in guest memory and ask of the processor.
 */
#include "tests/test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/images.h"
#include "vmm/base/x.h"
#include "vmm/boot.h"
#include "vmm/loaders/loader.h"

#define RAM (4u << 20)

static struct mem ram;
static struct boot_state st;
static struct boot_config cfg;
static struct err err;
static struct img img;
static char dir[] = "/tmp/test_loaders.XXXXXX";

/* A fresh machine and a plain request. */
static void start(enum boot_kind kind)
{
    mem_fini(&ram);
    if (mem_init(&ram, RAM, &err) < 0)
        abort();
    cfg = (struct boot_config){.kind = kind, .image = "img"};
    err = (struct err){0};
}

static int load(void)
{
    return boot_load_image(&cfg, img.b, img.n, &ram, &st, &err);
}

static uint64_t at(uint64_t gpa, unsigned size)
{
    uint8_t raw[8] = {0};

    mem_read(&ram, gpa, raw, size);
    return le_load(raw, size);
}

static const char *text_at(uint64_t gpa)
{
    static char text[64];

    text[mem_read(&ram, gpa, text, sizeof text - 1)] = 0;
    return text;
}

static const struct boot_claim *claim(const char *what)
{
    for (unsigned i = 0; i < st.claims.count; i++)
        if (!strcmp(st.claims.claim[i].what, what))
            return &st.claims.claim[i];
    return NULL;
}

/* A file in a folder of this program's own. */
static const char *file(const char *name, const void *bytes, size_t n)
{
    static char path[4][80];
    static unsigned turn;
    char *p = path[turn++ % 4];
    int fd;

    snprintf(p, sizeof path[0], "%s/%s", dir, name);
    fd = open(p, O_CREAT | O_TRUNC | O_WRONLY, 0600);
    if (fd < 0 || write(fd, bytes, n) != (ssize_t)n || close(fd) < 0)
        abort();
    return p;
}

static void boot_sector(void)
{
    start(BOOT_AUTO);
    img_sector(&img);
    CHECK_EQ(load(), 0);
    CHECK_STR(st.loader, "flat");
    CHECK_EQ(st.mode, BOOT_MODE_REAL);
    CHECK_EQ(st.cs, 0);
    CHECK_EQ(st.rip, 0x7c00);
    CHECK_EQ(st.rsp, 0x7c00);
    CHECK_EQ(st.rdx, 0x80);
    CHECK_EQ(st.entry, 0x7c00);
    CHECK_EQ(at(0x7c00, 3), 0xfdebf4);
    CHECK_EQ(at(0x7dfe, 2), 0xaa55);
    CHECK(!st.symbols);
    CHECK_STR(st.summary, "boot sector, 512 bytes at 0x7c00, real mode, entry 0000:7c00");
}

static void flat_addresses(void)
{
    static const struct {
        uint64_t addr;
        uint16_t cs, ip, ss;
        uint64_t rsp;
    } t[] = {
        {0x7c00, 0, 0x7c00, 0, 0x7c00},      {0, 0, 0, 0, 0xfffe},
        {0x8001, 0, 0x8001, 0, 0x8000},      {0x10000, 0x1000, 0, 0, 0xfffe},
        {0x12345, 0x1234, 5, 0, 0x7c00},     {0xf0000, 0xf000, 0, 0, 0x7c00},
        {0x10000f, 0xffff, 0x1f, 0, 0x7c00},
    };

    img_sector(&img);
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        start(BOOT_FLAT);
        cfg.has_load_addr = true;
        cfg.load_addr = t[i].addr;
        CHECK_EQ(load(), 0);
        CHECK_EQ(st.cs, t[i].cs);
        CHECK_EQ(st.rip, t[i].ip);
        CHECK_EQ(st.ds, t[i].cs);
        CHECK_EQ(st.ss, t[i].ss);
        CHECK_EQ(st.rsp, t[i].rsp);
        CHECK_EQ(at(t[i].addr, 1), 0xf4);
    }
}

static void flat_modes(void)
{
    img_sector(&img);
    start(BOOT_FLAT);
    cfg.has_load_addr = cfg.has_mode = true;
    cfg.load_addr = 0x200000;
    cfg.mode = BOOT_MODE_LONG;
    CHECK_EQ(load(), 0);
    CHECK_EQ(st.mode, BOOT_MODE_LONG);
    CHECK_EQ(st.rip, 0x200000);
    CHECK_EQ(st.rsp % 16, 8);
    CHECK(claim("stack"));
    CHECK_STR(st.summary, "boot sector, 512 bytes at 0x200000, long mode, entry 0x200000");
    start(BOOT_FLAT);
    cfg.has_mode = true;
    cfg.mode = BOOT_MODE_PROT;
    CHECK_EQ(load(), 0);
    CHECK_EQ(st.rip, 0x7c00);
    CHECK_EQ((st.rsp + 4) % 16, 0);
}

static void elf_higher_half(void)
{
    start(BOOT_AUTO);
    memset(mem_ptr(&ram, 0x100000, 0x3000), 0xff, 0x3000);
    img_elf64(&img);
    CHECK_EQ(load(), 0);
    CHECK_STR(st.loader, "elf");
    CHECK_EQ(st.mode, BOOT_MODE_LONG);
    CHECK_EQ(st.rip, 0x100004);
    CHECK_STR(text_at(0x100000), "ABCDEFGHIJKLMNOP");
    CHECK_EQ(at(0x101ff8, 8), 0);
    CHECK_EQ(at(0x102000, 8), 0x3837363534333231);
    CHECK_EQ(at(0x102008, 1), 0xff);
    CHECK_STR(st.symbols, "img");
    CHECK_STR(st.summary, "64-bit ELF, 2 segments in 0x100000-0x102007, entry 0x100004");
    CHECK_EQ(st.rsp % 16, 8);
    CHECK(claim("ELF segment 0") && claim("ELF segment 1"));
    start(BOOT_ELF);
    img_elf32(&img);
    CHECK_EQ(load(), 0);
    CHECK_EQ(st.mode, BOOT_MODE_PROT);
    CHECK_EQ(st.rip, 0x100004);
    CHECK_EQ(st.rsp % 16, 12);
}

/* Many small kernels link high but give a physical entry. */
static void elf_physical_entry(void)
{
    start(BOOT_AUTO);
    img_elf32(&img);
    img_put(&img, 24, 4, 0x10000c);
    CHECK_EQ(load(), 0);
    CHECK_EQ(st.rip, 0x10000c);
}

static void multiboot_state(void)
{
    uint64_t info, mods, map, elf;

    start(BOOT_AUTO);
    img_mb1_elf32(&img);
    cfg.append = "root=1 quiet";
    cfg.initrd = file("first.img", "initrd!", 7);
    cfg.modules = 1;
    cfg.module[0] = (struct boot_module){file("second", "module", 6), "second --fast"};
    CHECK_EQ(load(), 0);
    CHECK_STR(st.loader, "multiboot");
    CHECK_EQ(st.mode, BOOT_MODE_PROT);
    CHECK_EQ(st.rip, 0x100004);
    CHECK_EQ(st.rax, 0x2badb002);
    CHECK_EQ(st.rsp, 0);
    info = st.rbx;
    CHECK_EQ(at(info, 4), 0x126d);
    CHECK_EQ(at(info, 4) & 0x0d, 0x0d);
    CHECK_EQ(at(info + 4, 4), 639);
    CHECK_EQ(at(info + 8, 4), 3072);
    CHECK_STR(text_at(at(info + 16, 4)), "root=1 quiet");
    CHECK_STR(text_at(at(info + 64, 4)), "vmscope");
    CHECK_EQ(at(info + 20, 4), 2);
    mods = at(info + 24, 4);
    CHECK_EQ(at(mods, 4), 0x103000);
    CHECK_EQ(at(mods + 4, 4), 0x103007);
    CHECK_STR(text_at(at(mods, 4)), "initrd!");
    CHECK_STR(text_at(at(mods + 8, 4)), "first.img");
    CHECK_STR(text_at(at(mods + 16, 4)), "module");
    CHECK_STR(text_at(at(mods + 24, 4)), "second --fast");
    CHECK_EQ(at(info + 44, 4), 3 * 24);
    map = at(info + 48, 4);
    CHECK_EQ(at(map, 4), 20);
    CHECK_EQ(at(map + 12, 8), 0x9fc00);
    CHECK_EQ(at(map + 24 + 20, 4), 2);
    CHECK_EQ(at(map + 48 + 4, 8), 0x100000);
    CHECK_EQ(at(map + 48 + 12, 8), 0x300000);
    CHECK_EQ(at(info + 28, 4), 4);
    CHECK_EQ(at(info + 32, 4), 40);
    CHECK_EQ(at(info + 40, 4), 3);
    elf = at(info + 36, 4);
    CHECK_EQ(at(elf + 40 + 12, 4), 0x100000);
    CHECK_STR(text_at(at(elf + 80 + 12, 4)), "symbols-symbols.strings.");
    CHECK_STR(text_at(at(elf + 120 + 12, 4)), "strings.");
    CHECK_EQ(at(info + 88, 8), 0xb8000);
    CHECK_EQ(at(info + 109, 1), 2);
    CHECK_STR(st.summary,
              "Multiboot, 32-bit ELF, 2 modules, 2 segments in 0x100000-0x102007, entry 0x100004");
}

static void multiboot_containers(void)
{
    start(BOOT_AUTO);
    img_mb1_elf64(&img);
    CHECK_EQ(load(), 0);
    CHECK_STR(st.loader, "multiboot");
    CHECK_EQ(st.mode, BOOT_MODE_PROT);
    CHECK_EQ(st.rip, 0x100004);
    CHECK_EQ(at(st.rbx + 32, 4), 64);
    start(BOOT_AUTO);
    memset(mem_ptr(&ram, 0x200000, 0x1000), 0xff, 0x1000);
    img_mb1_raw(&img);
    CHECK_EQ(load(), 0);
    CHECK_STR(text_at(0x200000), "first");
    CHECK_STR(text_at(0x200040), "entry");
    CHECK_EQ(at(0x2000ff, 8), 0);
    CHECK_EQ(at(0x200ff8, 8), 0);
    CHECK_EQ(st.rip, 0x200040);
    CHECK_EQ(at(st.rbx, 4) & 0x20, 0);
    CHECK_STR(st.summary, "Multiboot, addresses in its header, 0 modules, 1 segment in "
                          "0x200000-0x200fff, entry 0x200040");
}

/* The tag's address, or 0; walks as a kernel does. */
static uint64_t find_tag(uint32_t type, unsigned nth)
{
    uint64_t end = st.rbx + at(st.rbx, 4);

    for (uint64_t t = st.rbx + 8; t + 8 <= end; t += (at(t + 4, 4) + 7) & ~7ull)
        if (at(t, 4) == type && !nth--)
            return t;
    return 0;
}

static void multiboot2_state(void)
{
    uint64_t t;

    start(BOOT_AUTO);
    img_elf64(&img);
    img_sections(&img, 64);
    img_header2(&img, IMG_HEADER);
    img_tag(&img, 1, 0, (const uint32_t[]){1, 6, 17}, 3); /* 17, an EFI map, is left out */
    img_tag(&img, 4, 0, (const uint32_t[]){3}, 1);
    img_tag(&img, 5, 1, (const uint32_t[]){1024, 768, 32}, 3);
    img_tag(&img, 6, 0, NULL, 0);
    img_tag(&img, 7, 1, NULL, 0);
    img_tag(&img, 99, 1, NULL, 0);
    img_tag(&img, 3, 0, (const uint32_t[]){0x100008}, 1);
    img_tag(&img, 0, 0, NULL, 0);
    cfg.append = "hello";
    cfg.modules = 2;
    cfg.module[0] = (struct boot_module){file("one", "1", 1), NULL};
    cfg.module[1] = (struct boot_module){file("two", "22", 2), "two x=y"};
    CHECK_EQ(load(), 0);
    CHECK_STR(st.loader, "multiboot2");
    CHECK_EQ(st.mode, BOOT_MODE_PROT);
    CHECK_EQ(st.rax, 0x36d76289);
    CHECK_EQ(st.rbx % 8, 0);
    CHECK_EQ(st.rip, 0x100008);
    CHECK_STR(text_at(find_tag(1, 0) + 8), "hello");
    CHECK_STR(text_at(find_tag(2, 0) + 8), "vmscope");
    t = find_tag(3, 0);
    CHECK_EQ(at(t + 8, 4) % 4096, 0);
    CHECK_EQ(at(t + 12, 4) - at(t + 8, 4), 1);
    CHECK_STR(text_at(t + 16), "one");
    t = find_tag(3, 1);
    CHECK_EQ(at(at(t + 8, 4), 2), 0x3232);
    CHECK_STR(text_at(t + 16), "two x=y");
    CHECK_EQ(at(find_tag(4, 0) + 12, 4), 3072);
    t = find_tag(6, 0);
    CHECK_EQ(at(t + 4, 4), 16 + 3 * 24);
    CHECK_EQ(at(t + 8, 4), 24);
    CHECK_EQ(at(t + 16 + 24, 8), 0x9fc00);
    t = find_tag(8, 0);
    CHECK_EQ(at(t + 4, 4), 32);
    CHECK_EQ(at(t + 8, 8), 0xb8000);
    CHECK_EQ(at(t + 29, 1), 2);
    t = find_tag(9, 0);
    CHECK_EQ(at(t + 8, 4), 4);
    CHECK_EQ(at(t + 12, 4), 64);
    CHECK_STR(text_at(at(t + 20 + 128 + 16, 8)), "symbols-symbols.strings.");
    CHECK_EQ(at(find_tag(21, 0) + 8, 4), 0x100000);
    CHECK_EQ(at(find_tag(0, 0) + 4, 4), 8);
    CHECK(!find_tag(17, 0));
}

static void multiboot2_raw_and_moved(void)
{
    start(BOOT_AUTO);
    img_mb2_raw(&img);
    CHECK_EQ(load(), 0);
    CHECK_STR(text_at(0x200100), "entry");
    CHECK_EQ(st.rip, 0x200100);
    CHECK_EQ(at(find_tag(21, 0) + 8, 4), 0x200000);
    CHECK(!find_tag(9, 0));
    start(BOOT_AUTO);
    img_put(&img, 0x38 + 8, 4, 0x300001); /* min_addr above the linked place */
    CHECK_EQ(load(), 0);
    CHECK_STR(text_at(0x301100), "entry");
    CHECK_EQ(st.rip, 0x301100);
    CHECK_EQ(at(find_tag(21, 0) + 8, 4), 0x301000);
    start(BOOT_AUTO);
    img_put(&img, 0x38 + 20, 4, 2); /* prefers the highest */
    CHECK_EQ(load(), 0);
    CHECK_EQ(st.rip, 0x3ff100);
    start(BOOT_AUTO);
    img_mb2_elf32(&img);
    CHECK_EQ(load(), 0);
    CHECK_EQ(st.mode, BOOT_MODE_PROT);
    CHECK_EQ(at(find_tag(9, 0) + 12, 4), 40);
}

static void pvh_state(void)
{
    uint64_t s, list;

    start(BOOT_AUTO);
    img_pvh(&img);
    cfg.append = "console=ttyS0";
    cfg.initrd = file("rd", "ramdisk", 7);
    CHECK_EQ(load(), 0);
    CHECK_STR(st.loader, "pvh");
    CHECK_EQ(st.mode, BOOT_MODE_PROT);
    CHECK_EQ(st.rip, 0x100008);
    s = st.rbx;
    CHECK_EQ(at(s, 4), 0x336ec578);
    CHECK_EQ(at(s + 4, 4), 1);
    CHECK_EQ(at(s + 12, 4), 1);
    list = at(s + 16, 8);
    CHECK_STR(text_at(at(list, 8)), "ramdisk");
    CHECK_EQ(at(list + 8, 8), 7);
    CHECK_STR(text_at(at(list + 16, 8)), "rd");
    CHECK_STR(text_at(at(s + 24, 8)), "console=ttyS0");
    CHECK_EQ(at(s + 32, 8), 0);
    CHECK_EQ(at(s + 48, 4), 3);
    CHECK_EQ(at(at(s + 40, 8) + 8, 8), 0x9fc00);
    CHECK_EQ(at(at(s + 40, 8) + 24 + 16, 4), 2);
}

static void linux_state(void)
{
    uint64_t bp;

    start(BOOT_AUTO);
    img_linux(&img);
    cfg.append = "console=ttyS0";
    cfg.initrd = file("rd", "ramdisk", 7);
    CHECK_EQ(load(), 0);
    CHECK_STR(st.loader, "linux");
    CHECK_EQ(st.mode, BOOT_MODE_LONG);
    CHECK_EQ(st.rip, 0x100200);
    CHECK_STR(text_at(0x100000), "start32");
    CHECK_STR(text_at(0x100200), "start64");
    CHECK_EQ(at(0x1003ff, 1), 0x99);
    CHECK_EQ(claim("Linux kernel (pref_address, init_size)")->len_bytes, 0x8000);
    bp = st.rsi;
    CHECK_EQ(bp % 4096, 0);
    CHECK_EQ(at(bp + 0x202, 4), 0x53726448);
    CHECK_EQ(at(bp + 0x210, 1), 0xff);
    CHECK_EQ(at(bp + 0x211, 1), 1);
    CHECK_EQ(at(bp + 0x214, 4), 0x100000);
    CHECK_EQ(at(bp + 0x218, 4), 0x2ff000);
    CHECK_EQ(at(bp + 0x21c, 4), 7);
    CHECK_STR(text_at(0x2ff000), "ramdisk");
    CHECK_STR(text_at(at(bp + 0x228, 4)), "console=ttyS0");
    CHECK_EQ(at(bp + 0x250, 8), 0);
    CHECK_EQ(at(bp + 0x1e8, 1), 3);
    CHECK_EQ(at(bp + 0x1ef, 1), 0);
    CHECK_EQ(at(bp + 0x2d0 + 8, 8), 0x9fc00);
    CHECK_EQ(at(bp + 0x2d0 + 20 + 16, 4), 2);
    CHECK_EQ(at(bp + 0x2d0 + 40, 8), 0x100000);
    CHECK_STR(st.summary, "Linux bzImage, protocol 2.12, 64-bit entry, initrd, 1 segment in "
                          "0x100000-0x107fff, entry 0x100200");
}

/* Where KVM emulates ring 0 Linux, and Linux alone, is told more than the user said. */
static void linux_is_told_more(void)
{
    static const struct {
        const char *release, *append, *want;
    } t[] = {
        {"6.1.0", "quiet -- x", "cryptomgr.notests no_timer_check quiet -- x"},
        {"6.1.0", NULL, "cryptomgr.notests no_timer_check"},
        {"6.1.0", "cryptomgr.notests=0", "no_timer_check cryptomgr.notests=0"},
        {"Memtest86+", "quiet", "quiet"},
    };

    for (unsigned i = 0; i < ARRAY_LEN(t); i++) {
        start(BOOT_AUTO);
        img_linux(&img);
        img_put(&img, 0x20e, 2, 0x80);
        memcpy(img.b + 0x280, t[i].release, strlen(t[i].release) + 1);
        cfg.append = t[i].append;
        cfg.emulated = true;
        CHECK_EQ(load(), 0);
        CHECK_STR(text_at(at(st.rsi + 0x228, 4)), t[i].want);
        CHECK_EQ(!strstr(st.summary, "told also"), i == 3);
    }
}

static void board_tables(void)
{
    start(BOOT_AUTO);
    img_pvh(&img);
    cfg.cpus = 2;
    CHECK_EQ(load(), 0);
    CHECK_EQ(st.rsdp, 0xe0000);
    CHECK_EQ(at(st.rbx + 32, 8), st.rsdp);
    CHECK_STR(claim("ACPI tables")->what, "ACPI tables");
    start(BOOT_AUTO);
    img_elf64(&img);
    img_header2(&img, IMG_HEADER);
    img_tag(&img, 0, 0, NULL, 0);
    cfg.cpus = 1;
    CHECK_EQ(load(), 0);
    CHECK_STR(st.loader, "multiboot2");
    CHECK_EQ(at(find_tag(14, 0) + 4, 4), 8 + 20);
    CHECK_EQ(at(find_tag(15, 0) + 8, 8), at(0xe0000, 8));
    CHECK_EQ(at(find_tag(15, 0) + 8 + 32, 4), at(0xe0020, 4));
}

static void linux_moves_and_32_bits(void)
{
    start(BOOT_AUTO);
    img_linux(&img);
    img_put(&img, 0x258, 8, 0x1000000); /* prefers 16 MiB, which is not there */
    CHECK_EQ(load(), 0);
    CHECK_EQ(st.rip, 0x100200);
    start(BOOT_AUTO);
    img_linux32(&img);
    CHECK_EQ(load(), 0);
    CHECK_EQ(st.mode, BOOT_MODE_PROT);
    CHECK_EQ(st.rip, 0x100000);
    CHECK_EQ(at(st.rsi + 0x258, 8), 0x100000);
}

static void recognition_order(void)
{
    start(BOOT_AUTO);
    img_pvh(&img);
    img_header1(&img, 0x900, 3);
    CHECK_EQ(load(), 0);
    CHECK_STR(st.loader, "multiboot");
    start(BOOT_AUTO);
    img_header2(&img, 0x800);
    img_tag(&img, 0, 0, NULL, 0);
    CHECK_EQ(load(), 0);
    CHECK_STR(st.loader, "multiboot2");
    start(BOOT_PVH);
    CHECK_EQ(load(), 0);
    CHECK_STR(st.loader, "pvh");
    start(BOOT_FLAT);
    CHECK_EQ(load(), 0);
    CHECK_STR(st.loader, "flat");
}

/* A kernel whose checksum is wrong still loads as what it is otherwise, but not silently. */
static void near_miss_is_told(void)
{
    start(BOOT_AUTO);
    img_mb1_elf32(&img);
    img_put(&img, IMG_HEADER + 8, 4, 1);
    CHECK_EQ(load(), 0);
    CHECK_STR(st.loader, "elf");
    CHECK_HAS(st.summary, "Multiboot header was passed over: the checksum is wrong");
}

static void names(void)
{
    CHECK_STR(boot_kind_name(BOOT_KINDS), "unknown");
    for (const struct loader *r = loader_table; r->name; r++) {
        CHECK_STR(boot_kind_name(r->kind), r->name);
        CHECK(strlen(r->help) > 20);
    }
}

static void memory_map_above_4g(void)
{
    struct boot_range r[BOOT_RANGES_MAX];
    struct mem m;

    CHECK_EQ(mem_init(&m, 5ull << 30, &err), 0);
    CHECK_EQ(boot_memory_map(&m, r), 4);
    CHECK_EQ(r[2].len_bytes, 0xc0000000 - 0x100000);
    CHECK_EQ(r[3].gpa, 1ull << 32);
    CHECK_EQ(r[3].len_bytes, 2ull << 30);
    mem_fini(&m);
    CHECK_EQ(mem_init(&m, 1 << 20, &err), 0);
    CHECK_EQ(boot_memory_map(&m, r), 2);
    mem_fini(&m);
}

static void placing(void)
{
    struct boot_claims c = {0};
    uint64_t gpa;

    start(BOOT_AUTO);
    CHECK_EQ(boot_claim(&c, &ram, "f", 0x100000, 0x1000, &err, "part %d", 1), 0);
    CHECK_EQ(boot_place(&c, &ram, 0x1000, 0x1000, 0x100000, RAM, false, "low", &gpa, &err), 0);
    CHECK_EQ(gpa, 0x101000);
    CHECK_EQ(boot_place(&c, &ram, 1, 0x1000, 0x100000, RAM, true, "top", &gpa, &err), 0);
    CHECK_EQ(gpa, RAM - 0x1000);
    CHECK_EQ(boot_place(&c, &ram, 0x800, 0x800, 0x100000, RAM, true, "top2", &gpa, &err), 0);
    CHECK_EQ(gpa, RAM - 0x800);
    CHECK_EQ(boot_claim(&c, &ram, "f", 0x100fff, 2, &err, "part %d", 2), -EEXIST);
    CHECK_STR(err.msg, "cannot load f: part 2 at 0x100fff-0x101000 overlaps part 1 at "
                       "0x100000-0x100fff");
    CHECK_EQ(boot_claim(&c, &ram, NULL, RAM - 1, 2, &err, "end"), -ENOSPC);
    CHECK_HAS(err.msg, "end needs 0x3fffff-0x400000, but RAM is 0x0-0x3fffff");
    CHECK_EQ(boot_claim(&c, &ram, "f", UINT64_MAX, 2, &err, "wrap"), -ENOSPC);
    CHECK_HAS(err.msg, "wraps around");
    CHECK_EQ(boot_place(&c, &ram, RAM, 1, 0, RAM, true, "all", &gpa, &err), -ENOSPC);
    CHECK_HAS(err.msg, "there is no room for all (0x400000 bytes");
    CHECK_EQ(c.count, 4);
    while (c.count < BOOT_CLAIMS_MAX)
        CHECK_EQ(boot_claim(&c, &ram, "f", 0x200000 + c.count, 1, &err, "x"), 0);
    CHECK_EQ(boot_claim(&c, &ram, "f", 0x300000, 1, &err, "one more"), -E2BIG);
    CHECK_EQ(boot_place_low(&c, &ram, 16, 16, "y", &gpa, &err), -E2BIG);
}

static void files(void)
{
    char path[100];
    int fd;

    img_sector(&img);
    start(BOOT_AUTO);
    cfg.image = file("sector", img.b, img.n);
    CHECK_EQ(boot_load(&cfg, &ram, &st, &err), 0);
    CHECK_EQ(st.rip, 0x7c00);
    cfg.image = file("empty", "", 0);
    CHECK_EQ(boot_load(&cfg, &ram, &st, &err), -EINVAL);
    CHECK_HAS(err.msg, "/empty: the file is empty");
    cfg.image = dir;
    CHECK_EQ(boot_load(&cfg, &ram, &st, &err), -EISDIR);
    CHECK_HAS(err.msg, "it is a directory");
    cfg.image = "/dev/zero";
    CHECK_EQ(boot_load(&cfg, &ram, &st, &err), -EINVAL);
    CHECK_HAS(err.msg, "not a regular file");
    snprintf(path, sizeof path, "%s/pipe\x1b[2J", dir);
    CHECK_EQ(mkfifo(path, 0600), 0);
    cfg.image = path;
    CHECK_EQ(boot_load(&cfg, &ram, &st, &err), -EINVAL);
    CHECK_HAS(err.msg, "pipe\\x1b[2J: it is not a regular file");
    unlink(path);
    cfg.image = "/nowhere/at/all";
    CHECK_EQ(boot_load(&cfg, &ram, &st, &err), -ENOENT);
    CHECK_HAS(err.msg, "cannot open image /nowhere/at/all: No such file");
    cfg.image = file("huge", "x", 1);
    fd = open(cfg.image, O_WRONLY);
    CHECK_EQ(ftruncate(fd, (2ll << 30) + 1), 0);
    close(fd);
    CHECK_EQ(boot_load(&cfg, &ram, &st, &err), -EFBIG);
    CHECK_HAS(err.msg, "are more than 2048 MiB");
    unlink(cfg.image);
}

static const struct test tests[] = {
    {"boot sector", boot_sector},
    {"flat addresses", flat_addresses},
    {"flat modes", flat_modes},
    {"ELF linked high", elf_higher_half},
    {"ELF with a physical entry", elf_physical_entry},
    {"Multiboot state and information", multiboot_state},
    {"Multiboot in ELF64 and raw", multiboot_containers},
    {"Multiboot 2 state and tags", multiboot2_state},
    {"Multiboot 2 raw, moved and ELF32", multiboot2_raw_and_moved},
    {"PVH state and start info", pvh_state},
    {"Linux state and boot_params", linux_state},
    {"Linux moved and 32 bits", linux_moves_and_32_bits},
    {"linux is told more", linux_is_told_more},
    {"board tables", board_tables},
    {"order of recognition", recognition_order},
    {"a near miss is told", near_miss_is_told},
    {"names of kinds", names},
    {"memory map", memory_map_above_4g},
    {"claims and places", placing},
    {"image files", files},
};

int main(int argc, char **argv)
{
    char command[64];
    int r;

    if (!mkdtemp(dir))
        return 1;
    r = test_main(tests, sizeof tests / sizeof tests[0], argc, argv);
    mem_fini(&ram);
    snprintf(command, sizeof command, "rm -rf %s", dir);
    return system(command) ? 1 : r;
}
