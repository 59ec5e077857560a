/* Symbols and lines of ELF files made by gcc, of files that are none, and of broken ones. */
#include <errno.h>
#include <sys/mman.h>

#include "debug/symbols/sym.h"
#include "tests/test.h"
#include "tests/unit/elf_fixture.h"
#include "vmm/base/x.h"

static const char source[] =
    "int counter = 5;\n"
    "static int helper(int x)\n"
    "{\n"
    "    return x + counter;\n"
    "}\n"
    "__attribute__((noinline)) int twice(int x)\n"
    "{\n"
    "    int a = helper(x);\n"
    "    __asm__ volatile(\"inside: nop\");\n"
    "    return a * 2;\n"
    "}\n"
    "void _start(void)\n"
    "{\n"
    "    counter = twice(3);\n"
    "    for (;;)\n"
    "        ;\n"
    "}\n"
    "__asm__(\".section .boot,\\\"ax\\\"\\n boot: nop\\n mid: nop\\n nop\\n\"\n"
    "        \".globl SIZE\\n .set SIZE, 0x1234\\n .text\\n\");\n";

#define FLAGS "-O0 -g -Wl,-Ttext=0x100000 -Wl,--section-start=.boot=0x7c00"

static struct err err;

static const char *plain(void)
{
    static const char *path;

    if (!path)
        path = fixture_build("plain", source, FLAGS);
    return path;
}

static void symbols_of_a_program(void)
{
    struct symbols *t = symbols_new();
    const struct symbol *s, *inside;
    char text[60];

    if (!plain())
        SKIP("no gcc here to make an ELF file");
    CHECK(symbols_load(t, plain(), 0, &err) > 5);
    s = symbols_find(t, "twice");
    CHECK(s && s->is_function && s->size > 4);
    inside = symbols_find(t, "inside");
    CHECK(inside && inside->addr > s->addr && inside->addr < s->addr + s->size);
    CHECK_STR(symbols_lookup(t, inside->addr)->name, "twice");
    CHECK(symbols_format(t, inside->addr, text, sizeof text));
    CHECK_HAS(text, "twice+0x");
    CHECK(symbols_format(t, s->addr, text, sizeof text));
    CHECK_STR(text, "twice");
    CHECK(symbols_format(t, 0x7c00, text, sizeof text));
    CHECK_STR(text, "boot");
    CHECK(symbols_format(t, 0x7c02, text, sizeof text));
    CHECK_STR(text, "mid+0x1");
    CHECK(!symbols_format(t, 0x7d00, text, sizeof text) && !text[0]);
    CHECK(!symbols_lookup(t, 0) && !symbols_lookup(t, UINT64_MAX));
    CHECK(symbols_find(t, "SIZE") && symbols_find(t, "SIZE")->addr == 0x1234);
    CHECK(!symbols_lookup(t, 0x1234));
    CHECK(!symbols_find(t, "twic") && !symbols_find(t, "twice2") && !symbols_find(t, ""));
    for (size_t i = 1; i < symbols_count(t); i++)
        CHECK(symbols_at(t, i)->addr >= symbols_at(t, i - 1)->addr);
    CHECK(!symbols_at(t, symbols_count(t)));
    symbols_free(t);
}

static void lines(void)
{
    struct symbols *t = symbols_new();
    const char *file;
    uint64_t addr;
    int line;

    if (!plain())
        SKIP("no gcc here to make an ELF file");
    CHECK(symbols_load(t, plain(), 0x1000, &err) > 0);
    CHECK(symbols_line(t, symbols_find(t, "twice")->addr, &file, &line));
    CHECK_EQ(line, 7);
    CHECK_HAS(file, "plain.c");
    CHECK(symbols_line(t, symbols_find(t, "inside")->addr, &file, &line));
    CHECK_EQ(line, 9);
    CHECK(!symbols_line(t, 0x50, &file, &line) && !file);
    CHECK(symbols_line_addr(t, "plain.c", 7, &addr));
    CHECK_EQ(addr, symbols_find(t, "twice")->addr);
    CHECK(!symbols_line_addr(t, "plain.c", 9999, &addr));
    CHECK(!symbols_line_addr(t, "other.c", 7, &addr));
    symbols_free(t);
}

static void slide_moves_all(void)
{
    struct symbols *t = symbols_new();

    if (!plain())
        SKIP("no gcc here to make an ELF file");
    CHECK(symbols_load(t, plain(), 0x400000, &err) > 0);
    CHECK_EQ(symbols_find(t, "boot")->addr, 0x407c00);
    CHECK_STR(symbols_lookup(t, 0x407c02)->name, "mid");
    CHECK(symbols_load(t, plain(), 0, &err) > 0);
    CHECK_STR(symbols_lookup(t, 0x7c02)->name, "mid");
    symbols_clear(t);
    CHECK(!symbols_count(t) && !symbols_find(t, "boot"));
    CHECK(symbols_load(t, plain(), -0x100, &err) > 0);
    CHECK_EQ(symbols_find(t, "boot")->addr, 0x7b00);
    symbols_free(t);
}

static void other_kinds(void)
{
    struct symbols *t = symbols_new();
    const char *p32 = fixture_build("m32", "int v; void _start(void) { v = 1; for (;;); }\n",
                                    "-m32 -g -Wl,-Ttext=0x8000"),
               *stripped = fixture_build("stripped", "void _start(void) { for (;;); }\n", "-s");
    const char *object = fixture_build("object", "void f(void) { }\n", "-c");

    if (!p32 || !stripped || !object)
        SKIP("no gcc here that makes 32-bit files");
    CHECK(symbols_load(t, p32, 0, &err) > 1);
    CHECK_EQ(symbols_find(t, "_start")->addr, 0x8000);
    symbols_clear(t);
    CHECK_EQ(symbols_load(t, stripped, 0, &err), 0);
    CHECK_EQ(symbols_load(t, object, 0, &err), -EINVAL);
    CHECK_HAS(err.msg, "object file");
    symbols_free(t);
}

static void files_that_are_none(void)
{
    struct symbols *t = symbols_new();

    CHECK_EQ(symbols_load(t, "/nonexistent/\033[2J", 0, &err), -ENOENT);
    CHECK_HAS(err.msg, "No such file");
    CHECK(!strchr(err.msg, '\033'));
    CHECK_EQ(symbols_load(t, "/", 0, &err), -EINVAL);
    CHECK_HAS(err.msg, "no regular file");
    CHECK_EQ(symbols_load(t, "/etc/passwd", 0, &err), -EINVAL);
    CHECK_HAS(err.msg, "no ELF file");
    CHECK_EQ(symbols_load(t, "/dev/null", 0, NULL), -EINVAL);
    CHECK_EQ(symbols_count(t), 0);
    symbols_free(t);
    symbols_free(NULL);
}

static void added_by_hand(void)
{
    struct symbols *t = symbols_new();
    char text[8];

    symbols_add(t, "b", 0x200, 0x10, true);
    symbols_add(t, "a", 0x100, 0, false);
    symbols_add(t, "abc", 0x300, 0, false);
    symbols_add(t, "ab", 0x180, UINT64_MAX, true);
    symbols_add(t, "abc", 0x400, 0, false);
    symbols_add(t, "x\033[2Jy z", 0x500, 4, false);
    CHECK_STR(symbols_lookup(t, 0x150)->name, "a");
    CHECK_STR(symbols_lookup(t, 0x205)->name, "b");
    CHECK_STR(symbols_lookup(t, 0x300)->name, "ab");
    CHECK_STR(symbols_find(t, "x?[2Jy?z")->name, "x?[2Jy?z");
    CHECK_STR(symbols_complete(t, "a", 0), "a");
    CHECK_STR(symbols_complete(t, "a", 1), "ab");
    CHECK_STR(symbols_complete(t, "a", 2), "abc");
    CHECK(!symbols_complete(t, "a", 3) && !symbols_complete(t, "zz", 0));
    CHECK(symbols_format(t, 0x501, text, sizeof text));
    CHECK_EQ(strlen(text), 7);
    CHECK(symbols_find(t, "abc"));
    for (unsigned i = 0; i < 3000; i++) {
        char name[20];

        snprintf(name, sizeof name, "n%u", i * 7919 % 3000);
        symbols_add(t, name, 0x10000 + i * 7919 % 3000 * 16, 16, true);
    }
    CHECK_STR(symbols_lookup(t, 0x10000 + 1234 * 16 + 5)->name, "n1234");
    CHECK_EQ(symbols_find(t, "n2999")->addr, 0x10000 + 2999 * 16);
    symbols_free(t);
}

static void try_bytes(const unsigned char *b, size_t n)
{
    struct symbols *t = symbols_new();
    int fd = memfd_create("sym", 0);
    char path[40];
    const char *file;
    uint64_t addr;
    int line;

    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (fd >= 0 && write(fd, b, n) == (ssize_t)n && symbols_load(t, path, 0, &err) >= 0) {
        (void)symbols_line(t, 0x100000, &file, &line);
        (void)symbols_line_addr(t, "plain.c", 7, &addr);
        (void)symbols_lookup(t, 0x100004);
    }
    close(fd);
    symbols_free(t);
}

static void broken_files(void)
{
    unsigned char *b, *copy;
    uint32_t r = 1;
    size_t n;

    if (!plain())
        SKIP("no gcc here to make an ELF file");
    b = fixture_bytes(plain(), &n);
    CHECK(b && n > 1000);
    copy = xmalloc(n);
    for (unsigned i = 0; i < 64; i++)
        try_bytes(b, n * i / 64);
    for (unsigned round = 0; round < 400; round++) {
        memcpy(copy, b, n);
        for (unsigned k = 0; k < 1 + round % 8; k++) {
            r = r * 1664525u + 1013904223u;
            size_t range = round & 1 ? n : round & 2 ? 64 : n / 8;
            size_t at = round & 4 ? n - 1 - (r >> 8) % range : (r >> 8) % range;

            copy[at] = (unsigned char)(r >> 3 & 1 ? 0xff : r >> 24);
        }
        try_bytes(copy, n);
    }
    free(copy);
    free(b);
}

static const struct test tests[] = {
    {"sym: symbols of a program", symbols_of_a_program},
    {"sym: lines", lines},
    {"sym: a slide moves all", slide_moves_all},
    {"sym: 32-bit, stripped and object files", other_kinds},
    {"sym: files that are none", files_that_are_none},
    {"sym: added by hand", added_by_hand},
    {"sym: broken files", broken_files},
};
TEST_MAIN(tests)
