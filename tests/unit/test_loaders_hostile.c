/*
 * Images that lie: each row breaks one good image and names the sentence that must come.
 */
#include "tests/test.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/unit/images.h"
#include "vmm/boot.h"

#define RAM (4u << 20)

struct patch {
    uint32_t off;
    uint8_t size;
    uint64_t value;
};

struct lie {
    void (*build)(struct img *);
    enum boot_kind kind;
    size_t cut; /* 0, or the file ends here */
    struct patch patch[3];
    const char *sentence; /* a part of it */
};

static void mb2_tag(struct img *i, unsigned type, unsigned flags, const uint32_t *words, size_t n)
{
    img_elf64(i);
    img_header2(i, IMG_HEADER);
    img_tag(i, type, flags, words, n);
    img_tag(i, 0, 0, NULL, 0);
}
#define MB2_TAG(name, type, flags, n, ...)                                                         \
    static void name(struct img *i)                                                                \
    {                                                                                              \
        mb2_tag(i, type, flags, (const uint32_t[]){__VA_ARGS__}, n);                               \
    }
MB2_TAG(mb2_request_22, 1, 0, 2, 1, 22)
MB2_TAG(mb2_entry_away, 3, 0, 1, 0x300000)
MB2_TAG(mb2_console, 4, 0, 1, 1)
MB2_TAG(mb2_framebuffer, 5, 0, 3, 1024, 768, 32)
MB2_TAG(mb2_efi, 7, 0, 0, 0)
MB2_TAG(mb2_efi32, 8, 0, 1, 0)
MB2_TAG(mb2_efi64, 9, 0, 1, 0)
MB2_TAG(mb2_unknown, 11, 0, 0, 0)
MB2_TAG(mb2_align_3, 10, 0, 4, 0, 0xffffffff, 3, 0)
MB2_TAG(mb2_min_over_max, 10, 0, 4, 0x300000, 0x200000, 4096, 0)
MB2_TAG(mb2_nowhere, 10, 0, 4, 0x300000, 0x300fff, 4096, 0)
MB2_TAG(mb2_address_only, 2, 0, 4, 0x100800, 0x100000, 0, 0)

static void mb2_no_end(struct img *i)
{
    img_elf64(i);
    img_header2(i, IMG_HEADER);
    img_tag(i, 6, 0, NULL, 0);
}

static void mb1_bare(struct img *i)
{
    *i = (struct img){0};
    img_header1(i, 0x100, 3);
}

static void mb1_late(struct img *i)
{
    *i = (struct img){0};
    img_header1(i, 8192 - 12, 0x10003);
    img_put(i, 8300, 1, 0);
}

/* Offsets of program header fields. */
#define P64(nr, field) (64 + 56 * (nr) + (field))
#define P32(nr, field) (52 + 32 * (nr) + (field))
#define S64(nr, field) (IMG_SHDRS + 64 * (nr) + (field))

/* clang-format off */
static const struct lie elf_lies[] = {
    {img_sector, BOOT_ELF, 0, {{0}}, "it is not an ELF file: the first four bytes"},
    {img_elf64, 0, 6, {{0}}, "ELF header is cut off after 6 bytes"},
    {img_elf64, 0, 63, {{0}}, "ELF header is cut off after 63 bytes"},
    {img_elf32, 0, 51, {{0}}, "ELF header is cut off after 51 bytes"},
    {img_elf64, 0, 0, {{4, 1, 3}}, "ELF e_ident class is 3"},
    {img_elf64, 0, 0, {{5, 1, 2}}, "ELF e_ident data encoding is 2"},
    {img_elf64, 0, 0, {{18, 2, 183}}, "ELF e_machine is 183, but a 64-bit x86 kernel has 62"},
    {img_elf32, 0, 0, {{18, 2, 62}}, "ELF e_machine is 62, but a 32-bit x86 kernel has 3"},
    {img_elf64, 0, 0, {{16, 2, 1}}, "ELF e_type 1 is an unlinked object file"},
    {img_elf64, 0, 0, {{16, 2, 3}}, "ELF e_type 3 is position-independent"},
    {img_elf64, 0, 0, {{16, 2, 4}}, "ELF e_type is 4, not an executable"},
    {img_elf64, 0, 0, {{56, 2, 0}}, "ELF e_phnum is 0"},
    {img_elf64, 0, 0, {{54, 2, 32}}, "ELF e_phentsize is 32 instead of 56"},
    {img_elf32, 0, 0, {{42, 2, 56}}, "ELF e_phentsize is 56 instead of 32"},
    {img_elf64, 0, 0, {{32, 8, 0x100000}}, "ELF program headers (e_phoff 0x100000, 2 of 56 bytes)"},
    {img_elf64, 0, 0, {{32, 8, UINT64_MAX - 8}}, "ELF program headers (e_phoff 0xfffffffffffffff7"},
    {img_elf64, 0, 0, {{56, 2, 65535}}, "65535 of 56 bytes) go past the end of the file at 0x1018"},
    {img_elf64, 0, 0, {{P64(0, 0), 4, 3}}, "ELF segment 0 names a dynamic loader (PT_INTERP)"},
    {img_elf64, 0, 0, {{P64(0, 0), 4, 6}, {P64(1, 0), 4, 7}}, "none of the ELF file's 2 segments"},
    {img_elf64, 0, 0, {{P64(0, 32), 8, 0x2001}}, "p_filesz 0x2001 is larger than p_memsz 0x2000"},
    {img_elf64, 0, 0, {{P64(0, 8), 8, 0x2000}}, "ELF segment 0: p_offset 0x2000 with p_filesz 0x10"},
    {img_elf64, 0, 0, {{P64(0, 8), 8, UINT64_MAX}}, "p_offset 0xffffffffffffffff with p_filesz"},
    {img_elf64, 0, 0x1014, {{0}}, "ELF segment 1: p_offset 0x1010 with p_filesz 0x8 goes past"},
    {img_elf64, 0, 0, {{P64(0, 40), 8, UINT64_MAX}}, "p_memsz 0xffffffffffffffff wraps around"},
    {img_elf64, 0, 0, {{P64(0, 48), 8, 3}}, "ELF segment 0: p_align 0x3 is not a power of two"},
    {img_elf64, 0, 0, {{P64(1, 24), 8, 0x101fff}}, "ELF segment 1 at 0x101fff-0x102006 overlaps ELF segment 0"},
    {img_elf64, 0, 0, {{P64(1, 24), 8, 0xffffffff80102000}}, "link the image to a physical address (p_paddr)"},
    {img_elf64, 0, 0, {{P64(1, 40), 8, 0x10000000}}, "but RAM is 0x0-0x3fffff; give the machine more with -m"},
    {img_elf32, 0, 0, {{P32(1, 12), 4, 0xfffffff8}}, "ELF segment 1 needs 0xfffffff8-0xffffffff, but RAM"},
    {img_elf64, 0, 0, {{24, 8, 0x300000}}, "ELF e_entry 0x300000 lies in none of the loaded segments"},
    {img_elf64, 0, 0, {{24, 8, 0xffffffff80102008}}, "ELF e_entry 0xffffffff80102008 lies in none"},
    {img_elf32, 0, 0, {{24, 4, 0}}, "ELF e_entry 0x0 lies in none"},
    {img_elf64, 0, 0, {{P64(0, 24), 8, 0}, {P64(0, 40), 8, 0x101000}, {P64(1, 40), 8, 0x2fe000}}, "there is no room for stack"},
};

static const struct lie multiboot_lies[] = {
    {img_elf32, BOOT_MULTIBOOT, 0, {{0}}, "no Multiboot header (magic 0x1badb002"},
    {img_mb1_elf32, BOOT_MULTIBOOT, IMG_HEADER + 8, {{0}}, "no Multiboot header"},
    {img_mb1_elf32, 0, 0, {{IMG_HEADER + 4, 4, 0x13}}, "requires bit 4 of its flags 0x13"},
    {img_mb1_elf32, 0, 0, {{IMG_HEADER + 4, 4, 0x8003}}, "requires bit 15 of its flags"},
    {mb1_bare, 0, 0, {{0}}, "neither an ELF file nor does the header give load addresses"},
    {mb1_bare, 0, 0, {{0x104, 4, 7}}, "Multiboot header at 0x100 with flags 0x7 is longer"},
    {mb1_late, 0, 0, {{0}}, "Multiboot header at 0x1ff4 with flags 0x10003 is longer"},
    {img_mb1_elf32, 0, 0x1000, {{0}}, "ELF segment 0: p_offset 0x1000"},
    {img_mb1_elf32, 0, 0, {{24, 4, 0x99}}, "ELF e_entry 0x99 lies in none"},
    {img_mb1_raw, 0, 0, {{0x2c, 4, 0x1fffff}}, "header_addr 0x1fffff is below load_addr 0x200000"},
    {img_mb1_raw, 0, 0, {{0x30, 4, 0x1ffff0}, {0x2c, 4, 0x200011}}, "load_addr 0x1ffff0 is 0x21 below header_addr, but the header is at 0x20"},
    {img_mb1_raw, 0, 0, {{0x34, 4, 0x200000}}, "load_end_addr 0x200000 is not above load_addr"},
    {img_mb1_raw, 0, 0, {{0x34, 4, 0x200201}}, "load_end_addr 0x200201 wants 0x201 bytes, but the file has only 0x1f0"},
    {img_mb1_raw, 0, 0, {{0x38, 4, 0x2000ff}}, "bss_end_addr 0x2000ff is below the end of the data at 0x200100"},
    {img_mb1_raw, 0, 0, {{0x38, 4, 0xffffffff}}, "Multiboot image needs 0x200000-0xfffffffe, but RAM"},
    {img_mb1_raw, 0, 0, {{0x3c, 4, 0x201000}}, "entry_addr 0x201000 lies outside the image at 0x200000-0x200fff"},
    {img_mb1_raw, 0, 0, {{0x3c, 4, 0}}, "entry_addr 0x0 lies outside the image"},
    {img_mb1_elf64, 0, 0, {{58, 2, 40}}, "ELF e_shentsize is 40 instead of 64"},
    {img_mb1_elf64, 0, 0, {{40, 8, UINT64_MAX}}, "ELF section headers (e_shoff 0xffffffffffffffff"},
    {img_mb1_elf64, 0, 0, {{60, 2, 0xffff}}, "65535 of 64 bytes) go past the end of the file"},
    {img_mb1_elf64, 0, 0, {{62, 2, 4}}, "ELF e_shstrndx is 4, but there are 4 sections"},
    {img_mb1_elf64, 0, 0, {{S64(2, 24), 8, 0x9000}}, "ELF section 2: sh_offset 0x9000 with sh_size 0x10"},
    {img_mb1_elf64, 0, 0, {{S64(3, 32), 8, UINT64_MAX}}, "ELF section 3: sh_offset 0x1810 with sh_size 0xffffffffffffffff"},
    {img_elf64, BOOT_MULTIBOOT2, 0, {{0}}, "no Multiboot 2 header (magic 0xe85250d6"},
    {img_mb2_elf64, 0, 0, {{IMG_HEADER + 4, 4, 4}}, "is for architecture 4, not for i386"},
    {img_mb2_elf64, 0, 0, {{IMG_HEADER + 8, 4, 16}}, "header_length 16 at 0x800 does not fit"},
    {img_mb2_elf64, 0, 0, {{IMG_HEADER + 8, 4, 0xfffffff0}}, "header_length 4294967280 at 0x800 does not fit"},
    {img_mb2_elf64, 0, IMG_HEADER + 20, {{0}}, "header_length 24 at 0x800 does not fit"},
    {mb2_no_end, 0, 0, {{0}}, "has no end tag"},
    {mb2_framebuffer, 0, 0, {{IMG_HEADER + 16 + 4, 4, 7}}, "tag at 0x810 (type 5) has size 7, which does not fit"},
    {mb2_framebuffer, 0, 0, {{IMG_HEADER + 16 + 4, 4, 0xfffffff8}}, "has size 4294967288, which does not fit"},
    {mb2_framebuffer, 0, 0, {{IMG_HEADER + 16 + 4, 4, 16}}, "framebuffer tag at 0x810 has size 16 instead of 20"},
    {mb2_framebuffer, 0, 0, {{0}}, "requires a graphics mode (1024x768), but this machine has EGA text only"},
    {mb2_request_22, 0, 0, {{0}}, "requires information of type 22"},
    {mb2_entry_away, 0, 0, {{0}}, "entry_addr 0x300000 lies in none of the loaded segments"},
    {mb2_console, 0, 0, {{0}}, "console flags 0x1 require a console but not EGA text"},
    {mb2_efi, 0, 0, {{0}}, "tag 7 (EFI boot services) is required, but this machine has no EFI"},
    {mb2_efi32, 0, 0, {{0}}, "tag 8 (EFI i386 entry address) is required"},
    {mb2_efi64, 0, 0, {{0}}, "tag 9 (EFI amd64 entry address) is required"},
    {mb2_unknown, 0, 0, {{0}}, "tag at 0x810 has the unknown type 11 and is not optional"},
    {mb2_align_3, 0, 0, {{0}}, "relocatable tag: align 0x3 is not a power of two"},
    {mb2_min_over_max, 0, 0, {{0}}, "min_addr 0x300000 is above max_addr 0x200000"},
    {mb2_nowhere, 0, 0, {{0}}, "there is no room for the relocatable image"},
    {mb2_address_only, 0, 0, {{0}}, "address tag but no entry address tag"},
    {img_mb2_raw, 0, 0, {{0x10 + 16, 4, 0x210000}}, "load_end_addr 0x210000 wants 0x10000 bytes"},
    {img_mb2_raw, 0, 0, {{0x28 + 8, 4, 0x1fffff}}, "entry_addr 0x1fffff lies outside the image"},
};

static const struct lie other_lies[] = {
    {img_elf64, BOOT_PVH, 0, {{0}}, "no ELF note of owner Xen and type 18 (PHYS32_ENTRY)"},
    {img_sector, BOOT_PVH, 0, {{0}}, "it is not an ELF file"},
    {img_pvh, BOOT_PVH, 0x1420, {{0}}, "ELF note segment 2 goes past the end of the file"},
    {img_pvh, BOOT_PVH, 0, {{0x1400, 4, 0xffffffff}}, "ELF note at 0x0 of segment 2 (name of 4294967295"},
    {img_pvh, BOOT_PVH, 0, {{0x1418, 4, 0x1000}}, "descriptor of 4096 bytes) goes past"},
    {img_pvh, BOOT_PVH, 0, {{0x141c, 4, 17}}, "no ELF note of owner Xen"},
    {img_pvh, 0, 0, {{0x1418, 4, 5}}, "ELF note PHYS32_ENTRY has 5 bytes"},
    {img_pvh, 0, 0, {{0x1424, 8, 0x300000}}, "ELF note PHYS32_ENTRY 0x300000 lies in none"},
    {img_pvh, 0, 0, {{0x1424, 8, 0xffffffff80100000}}, "(it is a physical address)"},
    {img_sector, BOOT_LINUX, 0, {{0}}, "it is not a Linux bzImage"},
    {img_linux, 0, 0x230, {{0}}, "cut off inside the Linux setup header, at 0x230 of 0x268"},
    {img_linux, 0, 0, {{0x206, 2, 0x205}}, "Linux boot protocol 2.05 is too old"},
    {img_linux, 0, 0, {{0x201, 1, 0x10}}, "setup header ends at 0x212 by its jump at 0x200, but protocol 2.12 reaches to 0x264"},
    {img_linux32, 0, 0, {{0x201, 1, 0x30}}, "but protocol 2.06 reaches to 0x23c"},
    {img_linux, 0, 0, {{0x1f1, 1, 3}}, "Linux setup_sects 3 puts the kernel at 0x800, past the end"},
    {img_linux, 0, 0, {{0x1f1, 1, 0}}, "Linux setup_sects 0 puts the kernel at 0xa00"},
    {img_linux, 0, 0, {{0x1f4, 4, 0}}, "Linux syssize is 0"},
    {img_linux, 0, 0, {{0x214, 4, 0}}, "Linux code32_start is 0, so it can only be entered in real mode"},
    {img_linux, 0, 0, {{0x1f4, 4, 0x41}}, "Linux syssize declares a kernel of 0x410 bytes, but the file has only 0x400"},
    {img_linux, 0, 0, {{0x1f4, 4, UINT32_MAX}}, "a kernel of 0xffffffff0 bytes"},
    {img_linux, 0, 0x7f0, {{0}}, "it is cut off"},
    {img_linux, 0, 0, {{0x211, 1, 0}}, "loadflags has no LOADED_HIGH"},
    {img_linux, 0, 0, {{0x230, 4, 0x30000}}, "kernel_alignment 0x30000 is not a power of two"},
    {img_linux, 0, 0, {{0x230, 4, 0}}, "kernel_alignment 0x0 is not a power of two"},
    {img_linux, 0, 0, {{0x258, 8, 0x101000}}, "pref_address 0x101000 is not a multiple of kernel_alignment 0x10000"},
    {img_linux, 0, 0, {{0x260, 4, 0x10000000}}, "no room for Linux kernel (init_size) (0x10000000 bytes"},
    {img_linux, 0, 0, {{0x234, 1, 0}, {0x258, 8, 0x1000000}}, "Linux kernel (pref_address, init_size) needs 0x1000000-"},
    {img_linux, 0, 0, {{0x234, 1, 0}, {0x258, 8, UINT64_MAX}}, "wraps around the address space"},
    {img_linux, 0, 0, {{0x1f4, 4, 0x20}}, "promises an entry at 0x200, but the kernel has only 0x200 bytes"},
};
/* clang-format on */

static struct mem ram;
static struct img img;

/* True (with test_why untouched) when the lie is found out by its sentence. */
static bool refused(const struct lie *lie, size_t nr)
{
    struct boot_config cfg = {.kind = lie->kind, .image = "bad\x1b.img"};
    static struct boot_state st;
    struct err e = {0};
    uint8_t *exact;
    int r;

    lie->build(&img);
    for (size_t i = 0; i < 3 && lie->patch[i].size; i++)
        img_put(&img, lie->patch[i].off, lie->patch[i].size, lie->patch[i].value);
    if (lie->patch[0].size)
        img_seal(&img);
    if (lie->cut)
        img.n = lie->cut;
    /* A buffer of the exact length lets a sanitizer see one byte too many. */
    exact = malloc(img.n);
    if (!exact)
        abort();
    memcpy(exact, img.b, img.n);
    r = boot_load_image(&cfg, exact, img.n, &ram, &st, &e);
    free(exact);
    if (r < 0 && e.code == -r && strstr(e.msg, lie->sentence) &&
        !strncmp(e.msg, "cannot load bad\\x1b.img: ", 25) && !strchr(e.msg, '\n'))
        return true;
    test_fail(__FILE__, __LINE__, "row %zu wants \"%s\", got %d \"%.300s\"", nr, lie->sentence, r,
              r < 0 ? e.msg : st.summary);
    return false;
}

static void run(const struct lie *lie, size_t n)
{
    struct err e;

    if (mem_init(&ram, RAM, &e) < 0)
        TEST_FAIL("no guest memory (error %d)", e.code);
    for (size_t i = 0; i < n; i++)
        if (!refused(&lie[i], i))
            break;
    mem_fini(&ram);
}

static void elf(void)
{
    run(elf_lies, sizeof elf_lies / sizeof elf_lies[0]);
}

static void multiboot(void)
{
    run(multiboot_lies, sizeof multiboot_lies / sizeof multiboot_lies[0]);
}

static void other(void)
{
    run(other_lies, sizeof other_lies / sizeof other_lies[0]);
}

/* Requests that fit no image of their format. */
static void wrong_requests(void)
{
    static const struct {
        void (*build)(struct img *);
        struct boot_config cfg;
        const char *sentence;
    } t[] = {
        {img_elf64, {.has_load_addr = true}, "as elf with --load-addr: its own header says where"},
        {img_linux, {.has_mode = true}, "as linux with --mode: its format says in which mode"},
        {img_elf64, {.append = "x"}, "as elf with --append: the format has no command line"},
        {img_sector, {.initrd = "x"}, "as flat with --initrd: the format has no modules"},
        {img_sector, {.modules = 1}, "as flat with --module: the format has no modules"},
        {img_linux, {.modules = 1}, "as linux with --module: Linux takes one --initrd instead"},
        {img_mb1_elf32, {.modules = 33}, "with 33 modules: 32 are the most"},
        {img_mb1_elf32, {.initrd = "/nowhere"}, "cannot open initrd /nowhere: No such file"},
        {img_mb2_elf32,
         {.modules = 1, .module = {{"/dev", NULL}}},
         "cannot load module /dev: it is a directory"},
        {img_pvh,
         {.modules = 1, .module = {{"/dev/null", NULL}}},
         "cannot load module /dev/null: it is not a regular file"},
        {img_linux, {.initrd = "/dev/null"}, "cannot load initrd /dev/null"},
        {img_sector,
         {.has_load_addr = true, .load_addr = 0x10fff0},
         "in real mode, which ends at 0x10ffef"},
        {img_sector,
         {.has_load_addr = true, .load_addr = RAM - 1, .has_mode = true, .mode = BOOT_MODE_PROT},
         "flat image needs 0x3fffff-0x4001fe, but RAM is 0x0-0x3fffff"},
        {img_sector,
         {.has_load_addr = true, .load_addr = UINT64_MAX, .has_mode = true, .mode = BOOT_MODE_LONG},
         "flat image of 0x200 bytes at 0xffffffffffffffff wraps"},
        {img_sector,
         {.has_load_addr = true, .load_addr = 1ull << 32, .has_mode = true, .mode = BOOT_MODE_PROT},
         "in protected mode, which ends at 4 GiB"},
        {img_sector, {.kind = (enum boot_kind)77}, "there is no loader of kind 77"},
    };
    static struct boot_state st;
    struct err e = {0};

    CHECK_EQ(mem_init(&ram, RAM, &e), 0);
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        struct boot_config cfg = t[i].cfg;

        cfg.image = "img";
        t[i].build(&img);
        e = (struct err){0};
        CHECK(boot_load_image(&cfg, img.b, img.n, &ram, &st, &e) < 0);
        CHECK_HAS(e.msg, t[i].sentence);
    }
    mem_fini(&ram);
}

static void long_command_line(void)
{
    static char text[400];
    struct boot_config cfg = {.image = "img", .append = text};
    static struct boot_state st;
    struct err e = {0};

    memset(text, 'a', 256);
    CHECK_EQ(mem_init(&ram, RAM, &e), 0);
    img_linux(&img);
    CHECK_EQ(boot_load_image(&cfg, img.b, img.n, &ram, &st, &e), -E2BIG);
    CHECK_HAS(e.msg, "--append has 256 bytes, but the kernel's cmdline_size is 255");
    text[255] = 0;
    CHECK_EQ(boot_load_image(&cfg, img.b, img.n, &ram, &st, &e), 0);
    mem_fini(&ram);
}

/* An initrd that fits in RAM but not below the kernel's initrd_addr_max. */
static void initrd_below_its_limit(void)
{
    char path[] = "/tmp/test_loaders_initrd.XXXXXX";
    struct boot_config cfg = {.image = "img", .initrd = path};
    static struct boot_state st;
    struct err e = {0};
    int fd = mkstemp(path);

    CHECK(fd >= 0);
    CHECK_EQ(ftruncate(fd, 0x180000), 0);
    CHECK_EQ(close(fd), 0);
    CHECK_EQ(mem_init(&ram, RAM, &e), 0);
    img_linux(&img);
    CHECK_EQ(boot_load_image(&cfg, img.b, img.n, &ram, &st, &e), 0);
    img_put(&img, 0x22c, 4, 0x1fffff);
    CHECK_EQ(boot_load_image(&cfg, img.b, img.n, &ram, &st, &e), -ENOSPC);
    unlink(path);
    CHECK_HAS(e.msg, "no room for initrd (0x180000 bytes, aligned to 0x1000) in "
                     "0x100000-0x1fffff");
    mem_fini(&ram);
}

static const struct test tests[] = {
    {"ELF files that lie", elf},
    {"Multiboot headers that lie", multiboot},
    {"PVH and Linux headers that lie", other},
    {"requests that do not fit", wrong_requests},
    {"command line too long for Linux", long_command_line},
    {"initrd limit of Linux", initrd_below_its_limit},
};

TEST_MAIN(tests)
