/* Backtraces over hand-made stacks, by frame information of real ELF files, and over stacks that
 * mean harm. */
#include "debug/symbols/sym.h"
#include "debug/symbols/unwind.h"
#include "tests/test.h"
#include "tests/unit/elf_fixture.h"
#include "vmm/base/le.h"
#include "vmm/base/x.h"
#include "vmm/regs.h"

/* Code at 0x1000, stack at 0x8000 to 0x9000; a second code area for loaded files. */
static uint8_t ram[0x10000];
static uint64_t image_at;
static const uint8_t *image;
static size_t image_len;
static uint64_t regs[REG_COUNT];

static bool get_reg(void *arg, int id, uint64_t *v)
{
    (void)arg;
    *v = regs[id];
    return true;
}

static bool get_mem(void *arg, uint64_t at, void *dst, size_t len)
{
    (void)arg;
    if (image && at >= image_at && at - image_at < image_len && len <= image_len - (at - image_at))
        return memcpy(dst, image + (at - image_at), len);
    if (at < 0x1000 || at >= sizeof ram || len > sizeof ram - at)
        return false;
    return memcpy(dst, ram + at, len);
}

static struct unwind_frame f[64];
static struct unwind_env env;

static void fresh(unsigned bits)
{
    memset(ram, 0x90, sizeof ram);
    memset(ram + 0x8000, 0, 0x1000);
    memset(regs, 0, sizeof regs);
    image = NULL;
    env = (struct unwind_env){.bits = bits, .reg = get_reg, .mem = get_mem};
    regs[REG_rip] = 0x1000;
    regs[REG_rsp] = 0x8000;
    regs[REG_rbp] = 0x8010;
}

static void put(uint64_t at, unsigned size, uint64_t v)
{
    le_store(ram + at, size, v);
}

static void pointers_64(void)
{
    fresh(64);
    put(0x8010, 8, 0x8040);
    put(0x8018, 8, 0x1100);
    put(0x8040, 8, 0);
    put(0x8048, 8, 0x1200);
    CHECK_EQ(unwind(&env, f, ARRAY_LEN(f)), 3);
    CHECK(f[0].pc == 0x1000 && f[0].symbol_pc == 0x1000 && f[0].how == UNWIND_FIRST);
    CHECK(f[1].pc == 0x1100 && f[1].symbol_pc == 0x10ff && f[1].sp == 0x8020);
    CHECK_EQ(f[1].how, UNWIND_POINTER);
    CHECK_EQ(f[2].pc, 0x1200);
    CHECK_HAS(env.end, "frame pointer is 0");
    CHECK_EQ(unwind(&env, f, 2), 2);
    CHECK_HAS(env.end, "only 2");
    CHECK_EQ(unwind(&env, f, 0), 0);
}

static void pointers_32_with_bases(void)
{
    fresh(32);
    regs[REG_cs_base] = 0x1000;
    regs[REG_ss_base] = 0x8000;
    regs[REG_rip] = 0xffffffff00000100;
    regs[REG_rsp] = 0x10;
    regs[REG_rbp] = 0x20;
    put(0x8020, 4, 0x40);
    put(0x8024, 4, 0x180);
    put(0x8040, 4, 0);
    put(0x8044, 4, 0);
    CHECK_EQ(unwind(&env, f, ARRAY_LEN(f)), 2);
    CHECK(f[0].pc == 0x1100 && f[0].sp == 0x8010);
    CHECK(f[1].pc == 0x1180 && f[1].sp == 0x8028);
    CHECK_HAS(env.end, "return address is 0");
}

static void pointers_16(void)
{
    fresh(16);
    regs[REG_cs_base] = 0x1000;
    regs[REG_ss_base] = 0x8000;
    regs[REG_rip] = 0x20;
    regs[REG_rsp] = 0xf0;
    regs[REG_rbp] = 0x100;
    put(0x8100, 2, 0x200);
    put(0x8102, 2, 0x30);
    put(0x8200, 2, 0);
    put(0x8202, 2, 0x44);
    CHECK_EQ(unwind(&env, f, ARRAY_LEN(f)), 3);
    CHECK(f[1].pc == 0x1030 && f[2].pc == 0x1044 && f[1].sp == 0x8104);
}

static void entry_and_return(void)
{
    static const struct {
        unsigned bits;
        const char *code;
        unsigned len, slots;
    } rows[] = {{64, "\x55\x48\x89\xe5", 4, 0}, {64, "\x48\x89\xe5", 3, 1}, {64, "\xc3", 1, 0},
                {64, "\xf3\x0f\x1e\xfa", 4, 0}, {32, "\x55\x89\xe5", 3, 0}, {32, "\x89\xe5", 2, 1},
                {16, "\x55\x89\xe5", 3, 0},     {16, "\xc2\x04\x00", 3, 0}};

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        unsigned width = rows[i].bits / 8;

        fresh(rows[i].bits);
        memcpy(ram + 0x1000, rows[i].code, rows[i].len);
        put(0x8000, width, 0x8080);
        put(0x8000 + rows[i].slots * width, width, 0x1500);
        regs[REG_rbp] = rows[i].slots ? 0x8040 : 0x8080;
        put(0x8080 + width, width, 0x1600);
        if (unwind(&env, f, ARRAY_LEN(f)) != 3)
            TEST_FAIL("row %zu: %s", i, env.end);
        CHECK(f[1].pc == 0x1500 && f[1].how == UNWIND_ENTRY);
        CHECK(f[2].pc == 0x1600 && f[2].how == UNWIND_POINTER);
    }
}

static void function_start_by_symbol(void)
{
    struct symbols *t = symbols_new();

    fresh(64);
    symbols_add(t, "leaf", 0x1000, 16, true);
    env.symbols = t;
    put(0x8000, 8, 0x1700);
    put(0x8010, 8, 0);
    put(0x8018, 8, 0x1800);
    CHECK_EQ(unwind(&env, f, ARRAY_LEN(f)), 3);
    CHECK(f[1].pc == 0x1700 && f[1].how == UNWIND_ENTRY && f[2].pc == 0x1800);
    symbols_free(t);
}

/* At a handler's first instruction the processor's own frame tells what was interrupted. */
static void interrupted(void)
{
    static const struct {
        unsigned vector;
        uint64_t cs, flags;
        bool found;
    } rows[] = {{3, 0x33, 0x202, true},   {14, 0x33, 0x10246, true}, {32, 0x10, 0x2, true},
                {14, 0, 0x202, false},    {14, 0x33, 0x200, false},  {32, 0x10, 0x100000002, false},
                {300, 0x33, 0x202, false}};

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        unsigned v = rows[i].vector;
        uint64_t sp = 0x8000 + (v == 14) * 8, gate = 0x4000 + 16 * (uint64_t)v;

        fresh(64);
        regs[REG_cs] = 0x10;
        regs[REG_rbp] = 0x9000;
        regs[REG_idtr_base] = 0x4000;
        regs[REG_idtr_limit] = 0xfff;
        memset(ram + 0x4000, 0, 0x2000);
        put(gate, 8, 0x8e0000101000);
        put(gate + 8, 8, 0);
        put(0x8000, 8, 6);
        put(sp, 8, 0x1900);
        put(sp + 8, 8, rows[i].cs);
        put(sp + 16, 8, rows[i].flags);
        put(sp + 24, 8, 0x8800);
        put(sp + 32, 8, 0x2b);
        if ((unwind(&env, f, 2) == 2 && f[1].how == UNWIND_EVENT) != rows[i].found)
            TEST_FAIL("row %zu: how %d", i, (int)f[1].how);
        if (rows[i].found)
            CHECK(f[1].pc == 0x1900 && f[1].symbol_pc == 0x1900 && f[1].sp == 0x8800);
    }
    fresh(64);
    regs[REG_msr_lstar] = 0x1000;
    regs[REG_rcx] = 0x1a00;
    CHECK(unwind(&env, f, 2) == 2 && f[1].pc == 0x1a00 && f[1].how == UNWIND_EVENT);
    CHECK_EQ(f[1].sp, 0x8000);
}

/* 32-bit code: no stack pointer is pushed unless the ring changed. */
static void interrupted_32(void)
{
    for (unsigned ring = 0; ring < 4; ring += 3) {
        fresh(32);
        regs[REG_cs] = 8;
        regs[REG_idtr_base] = 0x4000;
        regs[REG_idtr_limit] = 0x7ff;
        memset(ram + 0x4000, 0, 0x800);
        put(0x4000 + 8 * 13, 8, 0x8e0000081000);
        put(0x8000, 4, 0x18);
        put(0x8004, 4, 0x1900);
        put(0x8008, 4, 0x18 | ring);
        put(0x800c, 4, 0x246);
        put(0x8010, 4, 0x8700);
        put(0x8014, 4, 0x23);
        CHECK(unwind(&env, f, 2) == 2 && f[1].pc == 0x1900 && f[1].how == UNWIND_EVENT);
        CHECK_EQ(f[1].sp, ring ? 0x8700 : 0x8010);
    }
}

static void hostile_stacks(void)
{
    uint32_t r = 7;

    fresh(64);
    put(0x8010, 8, 0x8010);
    put(0x8018, 8, 0x1100);
    CHECK_EQ(unwind(&env, f, ARRAY_LEN(f)), 2);
    CHECK_HAS(env.end, "below the stack pointer");
    fresh(64);
    regs[REG_rbp] = 0xffffffffffffffff;
    CHECK_EQ(unwind(&env, f, ARRAY_LEN(f)), 1);
    CHECK_HAS(env.end, "cannot be read");
    fresh(64);
    put(0x8018, 8, 0xdeadbeef0000);
    CHECK_EQ(unwind(&env, f, ARRAY_LEN(f)), 1);
    CHECK_HAS(env.end, "not mapped");
    for (unsigned i = 0; i < 20000; i++) {
        fresh(16u << i % 3);
        for (unsigned k = 0x8000; k < 0x8200; k += 2)
            put(k, 2, (r = r * 1664525u + 1013904223u) >> (i % 7 ? 16 : 20));
        regs[REG_rbp] = 0x8000 + (r >> 20) % 0x200;
        size_t n = unwind(&env, f, ARRAY_LEN(f));

        CHECK(n >= 1 && n <= ARRAY_LEN(f) && env.end[0]);
    }
}

/* ---- real frame information ---------------------------------------------------------------- */

/* Without frame pointers: only the tables tell where the return addresses are. */
static const char source[] =
    "__attribute__((noinline)) long third(long x) { char b[200]; b[x] = 1;\n"
    "    __asm__ volatile(\"here: nop\" : : \"r\"(b) : \"memory\"); return b[x]; }\n"
    "__attribute__((noinline)) long second(long x) { char b[64]; __asm__ volatile(\"\" : : "
    "\"r\"(b)\n"
    "    : \"memory\", \"ebx\"); return third(x + 1) + 3; }\n"
    "__attribute__((noinline)) long first(long x) { return second(x * 5) + 1; }\n"
    "void _start(void) { first(2); for (;;); }\n";

/* A tiny interpreter is not at hand, so the stack is laid out by what the compiler was asked for:
 * find each caller's return address in the code and let CFI tell where it must lie. */
static uint64_t return_into(struct symbols *t, const char *caller, const char *callee)
{
    const struct symbol *from = symbols_find(t, caller), *to = symbols_find(t, callee);

    for (uint64_t i = from->addr; i + 5 <= from->addr + from->size; i++) {
        const uint8_t *p = image + (i - image_at);

        if (p[0] == 0xe8 && (uint32_t)(i + 5 + le_load(p + 1, 4)) == (uint32_t)to->addr)
            return i + 5;
    }
    return 0;
}

/* Points `image` at the bytes of the loaded segment that holds `addr`. */
static bool find_image(const uint8_t *bin, size_t len, bool is_64, uint64_t addr)
{
    struct bytes b = {bin, len};
    uint64_t at = is_64 ? le_at(b, 32, 8) : le_at(b, 28, 4), count = le_at(b, is_64 ? 56 : 44, 2);

    for (; count > 0; count--, at += is_64 ? 56 : 32) {
        uint64_t offset = le_at(b, at + (is_64 ? 8 : 4), is_64 ? 8 : 4);
        uint64_t vaddr = le_at(b, at + (is_64 ? 16 : 8), is_64 ? 8 : 4);
        uint64_t filled = le_at(b, at + (is_64 ? 32 : 16), is_64 ? 8 : 4);

        if (le_at(b, at, 4) == 1 && addr >= vaddr && addr - vaddr < filled &&
            le_has(b, offset, filled)) {
            image = bin + offset;
            image_at = vaddr;
            image_len = filled;
            return true;
        }
    }
    return false;
}

static void by_information(const char *name, const char *flags, unsigned bits)
{
    const char *path = fixture_build(name, source, flags);
    struct symbols *t = symbols_new();
    uint64_t ret[2];
    unsigned width = bits / 8, found = 0;
    unsigned char *bin;
    size_t n;
    struct err err;

    if (!path) {
        symbols_free(t);
        SKIP("no gcc here that makes these files");
    }
    bin = fixture_bytes(path, &n);
    CHECK(bin && symbols_load(t, path, 0, &err) > 3);
    fresh(bits);
    CHECK(find_image(bin, n, bits == 64, symbols_find(t, "third")->addr));
    CHECK(return_into(t, "second", "third") && return_into(t, "first", "second"));
    ret[0] = return_into(t, "second", "third");
    ret[1] = return_into(t, "first", "second");
    regs[REG_rip] = symbols_find(t, "here")->addr;
    env.symbols = t;
    regs[REG_rbp] = 0;
    /* Fill the stack with one candidate address at a time: CFI must pick its slots, and the same
     * slots for every candidate. */
    for (unsigned slot = 0; slot < 0x400; slot += width) {
        memset(ram + 0x8000, 0, 0x1000);
        put(0x8000 + slot, width, ret[0]);
        if (unwind(&env, f, ARRAY_LEN(f)) < 2 || f[1].pc != ret[0])
            continue;
        found++;
        CHECK_EQ(f[1].how, UNWIND_CFI);
        CHECK_EQ(f[1].sp, 0x8000 + slot + width);
        CHECK(slot >= 64);
        for (unsigned up = slot + width; up < 0x800; up += width) {
            memset(ram + 0x8000 + slot + width, 0, 0x800);
            put(0x8000 + up, width, ret[1]);
            if (unwind(&env, f, ARRAY_LEN(f)) < 3 || f[2].pc != ret[1])
                continue;
            found++;
            CHECK_STR(symbols_lookup(t, f[1].symbol_pc)->name, "second");
            CHECK_STR(symbols_lookup(t, f[2].symbol_pc)->name, "first");
            CHECK_HAS(env.end, "outermost");
        }
    }
    CHECK_EQ(found, 2);
    symbols_free(t);
    image = NULL;
    free(bin);
}

#define CFI_FLAGS                                                                                  \
    "-O1 -fomit-frame-pointer -fno-stack-protector -mgeneral-regs-only "                           \
    "-Wl,-Ttext=0x100000 "

static void eh_frame_64(void)
{
    by_information("eh64", CFI_FLAGS "-fasynchronous-unwind-tables", 64);
}

static void debug_frame_64(void)
{
    by_information("debug64", CFI_FLAGS "-g -fno-asynchronous-unwind-tables -fno-unwind-tables",
                   64);
}

static void debug_frame_32(void)
{
    by_information("debug32",
                   CFI_FLAGS "-m32 -g -fno-asynchronous-unwind-tables -fno-unwind-tables", 32);
}

static const struct test tests[] = {
    {"unwind: 64-bit frame pointers", pointers_64},
    {"unwind: 32-bit frame pointers with segment bases", pointers_32_with_bases},
    {"unwind: 16-bit frame pointers", pointers_16},
    {"unwind: at entry and at return", entry_and_return},
    {"unwind: at a function's first instruction", function_start_by_symbol},
    {"unwind: what a handler interrupted", interrupted},
    {"unwind: what a handler of 32-bit code interrupted", interrupted_32},
    {"unwind: hostile stacks", hostile_stacks},
    {"unwind: .eh_frame", eh_frame_64},
    {"unwind: .debug_frame", debug_frame_64},
    {"unwind: .debug_frame of 32-bit code", debug_frame_32},
};
TEST_MAIN(tests)
