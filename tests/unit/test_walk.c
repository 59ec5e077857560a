/* The page walk over tables made by hand: every mode, every size, and tables that mean harm. */
#include "tests/test.h"
#include "vmm/base/le.h"
#include "vmm/mem.h"
#include "vmm/walk.h"

#define RAM  (8u << 20)
#define PG   0x80000001ull
#define PSE  0x10ull
#define PAE  0x20ull
#define LA57 0x1000ull
#define LMA  0x500ull
#define NXE  0x800ull
#define NX   (1ull << 63)

/* Table pages the tests use; data pages lie from 1 MiB on. */
enum { T0 = 0x1000, T1 = 0x2000, T2 = 0x3000, T3 = 0x4000, T4 = 0x5000, DATA = 0x100000 };

static uint8_t ram[RAM];
static struct mem m;
static struct walk w;

static void fresh(void)
{
    memset(ram, 0, sizeof ram);
    m = (struct mem){.memfd = -1, .ram_bytes = RAM, .base = ram, .regions = 1};
    m.region[0] = (struct mem_region){0, RAM, ram};
}

static void pte(uint64_t table, unsigned index, uint64_t v)
{
    le_store(ram + table + index * 8, 8, v);
}

static void pde32(uint64_t table, unsigned index, uint32_t v)
{
    le_store(ram + table + index * 4, 4, v);
}

static struct walk_regs long_mode(void)
{
    return (struct walk_regs){.cr0 = PG, .cr3 = T0, .cr4 = PAE, .efer = LMA | NXE};
}

static void paging_off(void)
{
    struct walk_regs r = {.cr0 = 1, .cr3 = T0};

    fresh();
    walk(&m, &r, 0x12345, &w);
    CHECK(w.result == WALK_OK && w.gpa == 0x12345 && w.mode == PAGING_NONE && w.steps == 0);
    CHECK(w.page_bytes == 4096 && w.writable && w.executable);
}

static void legacy_4k(void)
{
    struct walk_regs r = {.cr0 = PG, .cr3 = T0 | 0x18};

    fresh();
    pde32(T0, 1, T1 | 7 | 0x20);
    pde32(T1, 2, DATA | 0x65);
    walk(&m, &r, 0x402123, &w);
    CHECK_EQ(w.result, WALK_OK);
    CHECK_EQ(w.gpa, DATA | 0x123);
    CHECK(w.steps == 2 && w.step[0].entry_gpa == T0 + 4 && w.step[1].entry_gpa == T1 + 8);
    CHECK(w.step[0].entry_size == 4 && w.step[0].level == 2);
    CHECK(!w.writable && w.user && w.executable && w.accessed && w.dirty && !w.global);
    walk(&m, &r, 0x403000, &w);
    CHECK(w.result == WALK_NOT_PRESENT && w.steps == 2);
    walk(&m, &r, 0, &w);
    CHECK(w.result == WALK_NOT_PRESENT && w.steps == 1);
    walk(&m, &r, 1ull << 32, &w);
    CHECK_EQ(w.result, WALK_NON_CANONICAL);
}

static void legacy_4m(void)
{
    struct walk_regs r = {.cr0 = PG, .cr3 = T0, .cr4 = PSE, .maxphyaddr = 36};

    fresh();
    pde32(T0, 0x3ff, 0x00400000 | 0x83);
    walk(&m, &r, 0xffc12345, &w);
    CHECK(w.result == WALK_OK && w.gpa == 0x412345 && w.page_bytes == 4u << 20);
    /* PSE-36: bits 16:13 are address bits 35:32; above MAXPHYADDR they are reserved. */
    pde32(T0, 0, 0x00800000 | 0x83 | 0xfu << 13);
    walk(&m, &r, 0x10, &w);
    CHECK(w.result == WALK_OK && w.gpa == 0xf00800010);
    pde32(T0, 0, 0x00800000 | 0x83 | 1u << 17);
    walk(&m, &r, 0x10, &w);
    CHECK_EQ(w.result, WALK_RESERVED_BIT);
    r.maxphyaddr = 40;
    walk(&m, &r, 0x10, &w);
    CHECK(w.result == WALK_OK && w.gpa == 0x1000800010);
    pde32(T0, 0, 0x00800000 | 0x83 | 1u << 21);
    walk(&m, &r, 0x10, &w);
    CHECK_EQ(w.result, WALK_RESERVED_BIT);
    /* Without CR4.PSE the bit is ignored and the entry is a table. */
    r.cr4 = 0;
    pde32(T0, 0, T1 | 0x83);
    pde32(T1, 0, DATA | 1);
    walk(&m, &r, 0x10, &w);
    CHECK(w.result == WALK_OK && w.gpa == (DATA | 0x10));
}

static void pae(void)
{
    struct walk_regs r = {.cr0 = PG, .cr3 = 0x1020, .cr4 = PAE, .efer = NXE, .maxphyaddr = 40};

    fresh();
    pte(0x1020, 3, T1 | 1);
    pte(T1, 511, 0x200000 | 0xe7 | NX);
    pte(T1, 0, T2 | 7);
    pte(T2, 5, DATA | 3 | 0x100);
    walk(&m, &r, 0xffe00abc, &w);
    CHECK(w.result == WALK_OK && w.gpa == 0x200abc && w.page_bytes == 2u << 20 && w.steps == 2);
    CHECK(w.writable && w.user && !w.executable);
    walk(&m, &r, 0xc0005000, &w);
    CHECK(w.result == WALK_OK && w.gpa == DATA && !w.user && w.executable && !w.global);
    CHECK_EQ(w.step[0].entry_gpa, 0x1020 + 24);
    pte(0x1020, 3, T1 | 3);
    walk(&m, &r, 0xc0005000, &w);
    CHECK(w.result == WALK_RESERVED_BIT && w.steps == 1);
    pte(0x1020, 3, T1 | 1);
    pte(T2, 5, DATA | 3 | 1ull << 41);
    walk(&m, &r, 0xc0005000, &w);
    CHECK_EQ(w.result, WALK_RESERVED_BIT);
    r.efer = 0;
    walk(&m, &r, 0xffe00abc, &w);
    CHECK_EQ(w.result, WALK_RESERVED_BIT);
}

static void four_levels(void)
{
    struct walk_regs r = long_mode();

    fresh();
    r.cr4 |= 0x80;
    pte(T0, 256, T1 | 7);
    pte(T1, 1, T2 | 7);
    pte(T2, 2, T3 | 7);
    pte(T3, 3, DATA | 0x107 | NX);
    pte(T2, 4, 0x400000 | 0x83);
    pte(T1, 5, (1ull << 30) | 0x83);
    walk(&m, &r, 0xffff800040403fff, &w);
    CHECK(w.result == WALK_OK && w.gpa == DATA + 0xfff && w.steps == 4 && w.global);
    CHECK(w.writable && w.user && !w.executable);
    walk(&m, &r, 0xffff800040800123, &w);
    CHECK(w.result == WALK_OK && w.gpa == 0x400123 && w.page_bytes == 2u << 20 && !w.user);
    walk(&m, &r, 0xffff800140000123, &w);
    CHECK(w.result == WALK_OK && w.gpa == 0x40000123 && w.page_bytes == 1u << 30);
    walk(&m, &r, 0x0000800000000000, &w);
    CHECK(w.result == WALK_NON_CANONICAL && w.steps == 0);
    pte(T1, 5, (1ull << 30) | 0x83 | 1 << 13);
    walk(&m, &r, 0xffff800140000123, &w);
    CHECK_EQ(w.result, WALK_RESERVED_BIT);
    pte(T0, 256, T1 | 0x87);
    walk(&m, &r, 0xffff800040403fff, &w);
    CHECK(w.result == WALK_RESERVED_BIT && w.steps == 1);
    pte(T0, 256, (1ull << 40) | 7);
    walk(&m, &r, 0xffff800040403fff, &w);
    CHECK(w.result == WALK_TABLE_NOT_RAM && w.steps == 2 && w.step[1].entry == 0);
    r.maxphyaddr = 39;
    walk(&m, &r, 0xffff800040403fff, &w);
    CHECK_EQ(w.result, WALK_RESERVED_BIT);
}

static void five_levels(void)
{
    struct walk_regs r = long_mode();

    fresh();
    r.cr4 |= LA57;
    pte(T0, 256, T1 | 7);
    pte(T1, 0, T2 | 7);
    pte(T2, 0, T3 | 7);
    pte(T3, 0, T4 | 7);
    pte(T4, 1, DATA | 7);
    walk(&m, &r, 0xff00000000001008, &w);
    CHECK(w.result == WALK_OK && w.gpa == DATA + 8 && w.steps == 5 && w.step[0].level == 5);
    walk(&m, &r, 0x0100000000000000, &w);
    CHECK_EQ(w.result, WALK_NON_CANONICAL);
    CHECK_STR(walk_level_name(w.mode, 5), "PML5");
    CHECK_STR(walk_mode_name(w.mode), "5-level");
}

static void copies_cross_pages(void)
{
    struct walk_regs r = long_mode();
    char buf[32] = "";

    fresh();
    pte(T0, 0, T1 | 7);
    pte(T1, 0, T2 | 7);
    pte(T2, 0, T3 | 7);
    pte(T3, 0, DATA | 1);
    pte(T3, 1, (DATA + 0x5000) | 1);
    pte(T3, 3, (RAM - 0x1000) | 1);
    pte(T3, 4, RAM | 1);
    CHECK_EQ(walk_write(&m, &r, 0xffc, "abcdefgh", 8), 8);
    CHECK(!memcmp(ram + DATA + 0xffc, "abcd", 4) && !memcmp(ram + DATA + 0x5000, "efgh", 4));
    CHECK_EQ(walk_read(&m, &r, 0xffc, buf, 8), 8);
    CHECK_STR(buf, "abcdefgh");
    CHECK_EQ(walk_read(&m, &r, 0x1ff0, buf, 32), 16);
    CHECK_EQ(walk_read(&m, &r, 0x3ff8, buf, 32), 8);
    CHECK_EQ(walk_read(&m, &r, 0x2000, buf, 1), 0);
    CHECK_EQ(walk_read(&m, &r, 0, buf, 0), 0);
    r = (struct walk_regs){.cr0 = 1};
    CHECK_EQ(walk_read(&m, &r, RAM - 4, buf, 32), 4);
    CHECK_EQ(walk_read(&m, &r, UINT64_MAX - 3, buf, 32), 0);
}

struct seen {
    unsigned count, stop_after;
    uint64_t last_end;
    bool disordered;
    struct walk_range range[8];
};

static bool see(void *arg, const struct walk_range *r)
{
    struct seen *s = arg;

    if (s->count < 8)
        s->range[s->count] = *r;
    s->disordered |= s->count && r->linear < s->last_end;
    s->last_end = r->linear + r->len_bytes;
    return ++s->count != s->stop_after;
}

static void ranges_are_merged(void)
{
    struct walk_regs r = long_mode();
    struct seen s = {0};

    fresh();
    pte(T0, 0, T1 | 7);
    pte(T0, 511, T1 | 3);
    pte(T1, 0, T2 | 7);
    pte(T2, 0, T3 | 7);
    for (unsigned i = 0; i < 4; i++)
        pte(T3, i, (DATA + i * 0x1000) | 7);
    pte(T3, 4, (DATA + 0x4000) | 5);
    pte(T3, 6, (DATA + 0x6000) | 7 | NX);
    CHECK(walk_ranges(&m, &r, 1 << 20, see, &s));
    CHECK_EQ(s.count, 6);
    CHECK(!s.disordered);
    CHECK(s.range[0].linear == 0 && s.range[0].len_bytes == 0x4000 && s.range[0].gpa == DATA);
    CHECK(s.range[0].writable && s.range[0].user && s.range[0].executable);
    CHECK(s.range[1].linear == 0x4000 && s.range[1].len_bytes == 0x1000 && !s.range[1].writable);
    CHECK(s.range[2].linear == 0x6000 && !s.range[2].executable);
    CHECK_EQ(s.range[3].linear, 0xffffff8000000000);
    CHECK(!s.range[3].user && s.range[3].len_bytes == 0x4000);
    s = (struct seen){.stop_after = 2};
    CHECK(walk_ranges(&m, &r, 1 << 20, see, &s));
    CHECK_EQ(s.count, 2);
    s = (struct seen){0};
    CHECK(!walk_ranges(&m, &r, 512, see, &s));
    r.cr0 = 0;
    s = (struct seen){0};
    CHECK(walk_ranges(&m, &r, 0, see, &s));
    CHECK(s.count == 1 && s.range[0].len_bytes == 1ull << 32);
}

/* Each table is its own child: 2^48 bytes are mapped, all in one page of tables. */
static void tables_that_contain_themselves(void)
{
    struct walk_regs r = long_mode();
    struct seen s = {0};

    fresh();
    for (unsigned i = 0; i < 512; i++)
        pte(T0, i, T0 | 7);
    walk(&m, &r, 0x823456789abc, &w);
    CHECK_EQ(w.result, WALK_NON_CANONICAL);
    walk(&m, &r, 0x7f3456789abc, &w);
    CHECK(w.result == WALK_OK && w.gpa == (T0 | 0xabc) && w.steps == 4);
    CHECK(!walk_ranges(&m, &r, 100000, see, &s));
    CHECK(s.count > 1000 && !s.disordered);
}

static void random_tables(void)
{
    uint64_t x = 88172645463325252ull;
    static const uint64_t cr4s[] = {0, PSE, PAE, PAE | LA57};

    fresh();
    for (size_t i = 0; i < 0x10000; i += 8) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        le_store(ram + i, 8, x & 0xff7f);
    }
    for (unsigned i = 0; i < 40000; i++) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        struct walk_regs r = {.cr0 = PG, .cr3 = x & 0xffff, .cr4 = cr4s[i & 3]};
        struct seen s = {0};

        r.efer = i & 2 ? (i & 4 ? LMA : 0) | (i & 8 ? NXE : 0) : 0;
        walk(&m, &r, x >> (i % 40), &w);
        CHECK(w.steps <= WALK_LEVELS_MAX);
        if (i % 100 == 0) {
            walk_ranges(&m, &r, 5000, see, &s);
            CHECK(!s.disordered);
        }
    }
}

static void names(void)
{
    CHECK_STR(walk_result_name(WALK_OK), "mapped");
    CHECK_STR(walk_level_name(PAGING_32, 3), "?");
}

static const struct test tests[] = {
    {"walk: paging off", paging_off},
    {"walk: 32-bit, 4 KiB", legacy_4k},
    {"walk: 32-bit, 4 MiB and PSE-36", legacy_4m},
    {"walk: PAE", pae},
    {"walk: 4 levels", four_levels},
    {"walk: 5 levels", five_levels},
    {"walk: copies cross pages", copies_cross_pages},
    {"walk: ranges are merged", ranges_are_merged},
    {"walk: tables that contain themselves", tables_that_contain_themselves},
    {"walk: random tables", random_tables},
    {"walk: names", names},
};
TEST_MAIN(tests)
