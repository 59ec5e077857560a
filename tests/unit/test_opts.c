/*
 * The command line: every option, sizes, and a sentence for each mistake.
 */
#include "tui/opts.h"

#include "tests/test.h"

static struct opts o;
static struct err err;

/* Parses up to 9 words, the last NULL. */
static int parse(const char *a, const char *b, const char *c, const char *d, const char *f)
{
    char name[] = "vmscope";
    char *argv[] = {name, (char *)a, (char *)b, (char *)c, (char *)d, (char *)f, NULL};
    int argc = 0;

    while (argv[argc])
        argc++;
    opts_fini(&o);
    err = (struct err){0};
    return opts_parse(&o, argc, argv, &err);
}

static void subcommands(void)
{
    CHECK_EQ(parse("kernel", NULL, NULL, NULL, NULL), 0);
    CHECK_EQ(o.sub, SUB_WORKBENCH);
    CHECK_STR(o.session.boot.image, "kernel");
    CHECK_EQ(parse("run", "kernel", NULL, NULL, NULL), 0);
    CHECK_EQ(o.sub, SUB_RUN);
    CHECK_EQ(parse("doctor", "--json", NULL, NULL, NULL), 0);
    CHECK_EQ(o.sub, SUB_DOCTOR);
    CHECK(o.json);
    CHECK_EQ(parse("run", "--", "-weird-name", NULL, NULL), 0);
    CHECK_STR(o.session.boot.image, "-weird-name");
    opts_fini(&o);
}

static void forms_of_an_option(void)
{
    CHECK_EQ(parse("run", "-m", "64M", "k", NULL), 0);
    CHECK_EQ(o.session.mem_bytes, 64u << 20);
    CHECK_EQ(parse("run", "-m2g", "-c4", "k", NULL), 0);
    CHECK_EQ(o.session.mem_bytes, 2ull << 30);
    CHECK_EQ(o.session.cpus, 4);
    CHECK_EQ(parse("run", "--memory=1M", "k", "-S", NULL), 0);
    CHECK_EQ(o.session.mem_bytes, 1u << 20);
    CHECK(o.stop_at_entry);
    CHECK_EQ(parse("run", "--memory", "4194304", "-Sc2", "k"), 0);
    CHECK_EQ(o.session.mem_bytes, 4u << 20);
    CHECK_EQ(o.session.cpus, 2);
    opts_fini(&o);
}

static void values(void)
{
    CHECK_EQ(parse("run", "--boot=multiboot2", "--mode=prot", "--load-addr=0x8000", "k"), 0);
    CHECK_EQ(o.session.boot.kind, BOOT_MULTIBOOT2);
    CHECK(o.session.boot.has_mode && o.session.boot.mode == BOOT_MODE_PROT);
    CHECK(o.session.boot.has_load_addr && o.session.boot.load_addr == 0x8000);
    CHECK_EQ(parse("run", "--append", "", "--irqchip=kernel", "k"), 0);
    CHECK_STR(o.session.boot.append, "");
    CHECK(o.session.irqchip_kernel);
    CHECK_EQ(parse("run", "--slow-clock=20", "-c", "2", "k"), 0);
    CHECK_EQ(o.session.slow_clock, 20);
    CHECK(parse("run", "--slow-clock=0", "-c", "2", "k") < 0);
    CHECK(parse("run", "--slow-clock=1001", "-c", "2", "k") < 0);
    CHECK(parse("run", "--slow-clock=2x", "-c", "2", "k") < 0);
    CHECK_EQ(parse("run", "--module=a,b c", "--module=d", "--cpu=-cx16", "k"), 0);
    CHECK_EQ(o.session.boot.modules, 2);
    CHECK_STR(o.session.boot.module[0].path, "a");
    CHECK_STR(o.session.boot.module[0].args, "b c");
    CHECK(!o.session.boot.module[1].args);
    CHECK_STR(o.session.cpu_features, "-cx16");
    CHECK_EQ(parse("run", "--serial=file:x", "--debugcon=none", "--assist=off", "k"), 0);
    CHECK_EQ(o.serial.kind, SERIAL_FILE);
    CHECK_STR(o.serial.path, "x");
    CHECK_EQ(o.debugcon.kind, SERIAL_NONE);
    CHECK(o.session.assist_off);
    CHECK_EQ(parse("run", "-e", "info registers", "-xfile", "k"), 0);
    CHECK_EQ(o.commands, 2);
    CHECK(!o.command[0].is_file && o.command[1].is_file);
    CHECK_STR(o.command[0].text, "info registers");
    CHECK_EQ(parse("run", "--expect=a", "--send", "b", "k"), 0);
    CHECK_EQ(o.sends, 1);
    CHECK_EQ(o.send[0].after, 1);
    CHECK_EQ(parse("run", "--json=f", "--gdb", "[::1]:1", "k"), 0);
    CHECK(!o.json);
    CHECK_STR(o.json_file, "f");
    CHECK_STR(o.session.gdb, "[::1]:1");
    CHECK_EQ(parse("run", "--timeout=1.5", "--on-triple-fault=reset", "--symbols=f@0x10", "k"), 0);
    CHECK_EQ(o.timeout_ns, 1500000000);
    CHECK_EQ(o.session.on_triple_fault, ON_TRIPLE_RESET);
    CHECK_STR(o.session.symbols, "f@0x10");
    opts_fini(&o);
}

static void wrong(const char *a, const char *b, const char *c, const char *why)
{
    CHECK(parse(a, b, c, NULL, NULL) < 0);
    CHECK_HAS(err.msg, why);
    opts_fini(&o);
}

static void mistakes(void)
{
    wrong("run", NULL, NULL, "the guest is missing: `vmscope run FILE`");
    wrong(NULL, NULL, NULL, "the guest is missing");
    wrong("run", "--timeot", "3", "did you mean `--timeout`?");
    wrong("run", "--bogus", "k", "there is no option `--bogus`");
    wrong("run", "-Z", "k", "there is no option `-Z`");
    wrong("run", "k", "--timeout", "--timeout needs a value: SECONDS");
    wrong("run", "--timeout=", "k", "needs a value");
    wrong("run", "-S=1", "k", "there is no option");
    wrong("run", "--script-sandbox=1", "k", "takes no value");
    wrong("run", "--json=", "k", "needs a value");
    wrong("doctor", "--json=f", NULL, "only `vmscope run`");
    wrong("run", "--send=a\\q", "k", "backslash");
    wrong("run", "--control=tcp:1", "k", "not unix:PATH");
    wrong("run", "a", "b", "two guests, `a` and `b`");
    wrong("rnu", "k", NULL, "there is no file `rnu`: did you mean `vmscope run`?");
    wrong("docter", NULL, NULL, "did you mean `vmscope doctor`?");
    wrong("help", NULL, NULL, "did you mean `vmscope --help`?");
    wrong("run", "-m0", "k", "-m: 0 is less than 1M of memory");
    wrong("run", "-m64", "k", "did you mean 64M?");
    wrong("run", "-m12q", "k", "`12q` is not a size of memory");
    wrong("run", "-m-1", "k", "not a size");
    wrong("run", "-m99999999999T", "k", "more than can be counted");
    wrong("run", "-c0", "k", "1 to 16 vCPUs");
    wrong("run", "-c17", "k", "1 to 16 vCPUs");
    wrong("run", "--boot=multibot", "k", "did you mean `multiboot`?");
    wrong("run", "--mode=virtual", "k", "none of real, prot or long");
    wrong("run", "--serial=file:", "k", "name of a file is missing");
    wrong("run", "--serial=usb", "k", "none of stdio, pty, none or file:PATH");
    wrong("run", "--timeout=-1", "k", "seconds above 0");
    wrong("run", "--timeout=nan", "k", "seconds above 0");
    wrong("run", "--symbols=f@12z", "k", "not an address");
    wrong("doctor", "k", NULL, "takes no guest");
    wrong("doctor", "-S", NULL, "not for `vmscope doctor`");
    wrong("k", "--timeout=3", NULL, "not for `vmscope`");
    wrong("k", "--serial=stdio", NULL, "need `vmscope run`");
}

static void the_rest_needs_no_guest(void)
{
    CHECK_EQ(parse("--help", NULL, NULL, NULL, NULL), 0);
    CHECK(o.help);
    CHECK_EQ(parse("run", "-h", NULL, NULL, NULL), 0);
    CHECK(o.help && o.sub == SUB_RUN);
    CHECK_EQ(parse("--version", NULL, NULL, NULL, NULL), 0);
    CHECK(o.version);
    CHECK_EQ(parse("--dump-docs", NULL, NULL, NULL, NULL), 0);
    CHECK(o.dump_docs);
    opts_fini(&o);
}

static void help_fits_the_screen(void)
{
    struct buf b = {0};
    const char *p;

    opts_help(SUB_WORKBENCH, &b);
    CHECK_HAS(buf_str(&b), "usage:\n  vmscope [OPTIONS] GUEST");
    CHECK_HAS(buf_str(&b), "-m, --memory SIZE");
    CHECK(!strstr(buf_str(&b), "dump-docs"));
    for (p = buf_str(&b); *p; p += strcspn(p, "\n") + 1) {
        if (strcspn(p, "\n") > 90)
            TEST_FAIL("a line is too long: %.*s", (int)strcspn(p, "\n"), p);
    }
    buf_clear(&b);
    opts_help(SUB_DOCTOR, &b);
    CHECK(!strstr(buf_str(&b), "--memory"));
    CHECK_HAS(buf_str(&b), "--json");
    buf_clear(&b);
    opts_docs(&b);
    CHECK_HAS(buf_str(&b), ".It Fl m , Fl -memory Ar \"SIZE\"\n");
    CHECK_HAS(buf_str(&b), ".It Ic stepi Ar \"[N]\"\n");
    buf_fini(&b);
}

static const struct test tests[] = {
    {"subcommands", subcommands},
    {"forms_of_an_option", forms_of_an_option},
    {"values", values},
    {"mistakes", mistakes},
    {"the_rest_needs_no_guest", the_rest_needs_no_guest},
    {"help_fits_the_screen", help_fits_the_screen},
};
TEST_MAIN(tests)
