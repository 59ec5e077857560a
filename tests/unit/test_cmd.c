/*
 * The command table and its parser, without a guest.
 */
#include "debug/cmd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "debug/format.h"
#include "vmm/base/near.h"

#include "tests/test.h"

static struct cmd_client client;
static struct out out;

/* Runs one line with an empty sink. */
static int run(const char *line)
{
    out_fini(&out);
    return cmd_exec(&client, line, &out);
}

static const char *text(void)
{
    return buf_str(&out.text);
}

static void fini(void)
{
    out_fini(&out);
    cmd_client_fini(&client);
    client = (struct cmd_client){0};
}

static void every_row_is_whole(void)
{
    for (const struct cmd *r = cmd_table; r->name; r++) {
        if (!r->help || !r->usage || !r->group || !r->run)
            TEST_FAIL("%s lacks help, usage, group or function", r->name);
        if (!strchr(r->help, '\n') || !strstr(r->help, "Example: "))
            TEST_FAIL("%s has no example", r->name);
        if (strcspn(r->help, "\n") > 110)
            TEST_FAIL("the summary of %s is too long for a list", r->name);
        for (const char *p = r->help; *p; p += strcspn(p, "\n") + (p[strcspn(p, "\n")] == '\n')) {
            if (strcspn(p, "\n") > 110)
                TEST_FAIL("a help line of %s is too long", r->name);
        }
    }
}

/* The example of every row is a line that the parser takes for that row. */
static void examples_name_their_command(void)
{
    for (const struct cmd *r = cmd_table; r->name; r++) {
        const char *p = strstr(r->help, "Example: ") + strlen("Example: ");
        struct err e = {0};
        const struct cmd *found = cmd_find(&p, &e);

        if (found != r && strcmp(r->name, "info"))
            TEST_FAIL("the example of %s runs %s%s", r->name, found ? found->name : "", e.msg);
    }
}

static bool alias_is(const struct cmd *r, const char *word, size_t len)
{
    for (const char *a = r->alias; a && *a; a += strspn(a, " ")) {
        size_t n = strcspn(a, " ");

        if (n == len && !strncmp(a, word, n))
            return true;
        a += n;
    }
    return false;
}

static void names_are_unique(void)
{
    for (const struct cmd *r = cmd_table; r->name; r++) {
        for (const struct cmd *q = cmd_table; q->name; q++) {
            size_t words = 0, prefix = 0;

            if (q == r)
                continue;
            if (!strcmp(q->name, r->name))
                TEST_FAIL("%s is there twice", r->name);
            for (const char *p = r->name; *p; p++)
                words += *p == ' ';
            for (const char *p = q->name; *p; p++)
                prefix += *p == ' ';
            if (words || prefix)
                continue;
            if (alias_is(q, r->name, strlen(r->name)))
                TEST_FAIL("%s is an alias of %s", r->name, q->name);
            for (const char *a = r->alias; a && *a; a += strspn(a, " ")) {
                size_t n = strcspn(a, " ");

                if (alias_is(q, a, n))
                    TEST_FAIL("%.*s is an alias of %s and %s", (int)n, a, r->name, q->name);
                a += n;
            }
        }
    }
}

static void names_of_two_words_have_a_parent(void)
{
    for (const struct cmd *r = cmd_table; r->name; r++) {
        size_t n = strcspn(r->name, " ");
        bool found = !r->name[n];

        for (const struct cmd *q = cmd_table; q->name; q++)
            found |= strlen(q->name) == n && !strncmp(q->name, r->name, n);
        if (!found)
            TEST_FAIL("%s has no row for its first word", r->name);
    }
}

static void finds(const char *line, const char *name, const char *rest)
{
    const char *p = line;
    struct err e = {0};
    const struct cmd *r = cmd_find(&p, &e);

    if (!r)
        TEST_FAIL("%s: %s", line, e.msg);
    CHECK_STR(r->name, name);
    CHECK_STR(p, rest);
}

static void one_letter_forms(void)
{
    finds("c", "continue", "");
    finds("b main", "break", "main");
    finds("d 1", "delete", "1");
    finds("h", "help", "");
    finds("i r", "info registers", "");
    finds("i b", "info breakpoints", "");
    finds("n", "nexti", "");
    finds("p $rax", "print", "$rax");
    finds("p/x 1", "print", "/x 1");
    finds("p$rax", "print", "$rax");
    finds("q 3", "quit", "3");
    finds("r", "run", "");
    finds("s", "stepi", "");
    finds("si 5", "stepi", "5");
    finds("u 0x10", "until", "0x10");
    finds("x/4i $pc", "x", "/4i $pc");
    finds("  bt", "backtrace", "");
    finds("hbreak f", "break", "f");
    finds("thbreak f", "tbreak", "f");
    finds("t 1", "vcpu", "1");
}

static void prefixes(void)
{
    finds("cont", "continue", "");
    finds("info reg rax", "info registers", "rax");
    finds("inf all-reg", "info all-registers", "");
    finds("info dev pit", "info devices", "pit");
    finds("info device pit", "info devices", "pit");
    finds("set var $rax = 1", "set var", "$rax = 1");
    finds("set $rax = 1", "set", "$rax = 1");
    finds("info threads", "info cpus", "");
    finds("und", "undisplay", "");
    finds("xp/x 0", "xp", "/x 0");
}

static void does_not_find(const char *line, const char *why)
{
    struct err e = {0};

    CHECK(!cmd_find(&line, &e));
    CHECK_HAS(e.msg, why);
}

static void errors_say_what_to_type(void)
{
    does_not_find("dis", "ambiguous: disable, display, disassemble");
    does_not_find("conitnue", "did you mean `continue`");
    does_not_find("frobnicate", "`help` lists all");
    does_not_find("$rax", "`print`");
    does_not_find("info s", "ambiguous: stop, symbol");
    does_not_find("", "name of a command");
}

static void without_a_guest(void)
{
    CHECK(run("stepi") == -ENODEV);
    CHECK(out.failed);
    CHECK_HAS(text(), "no");
    CHECK(run("print 1") == -ENODEV);
    CHECK(run("bogus") < 0);
    CHECK_HAS(buf_str(&out.json), "\"error\":");
    CHECK_EQ(run("# a comment"), 0);
    CHECK_EQ(out.text.len, 0);
    CHECK_EQ(run(""), 0);
    CHECK_EQ(run("echo hello \\x41"), 0);
    CHECK_STR(text(), "hello A\n");
    CHECK(run("echo \\q") < 0);
    fini();
}

static void quit_asks_for_a_status(void)
{
    CHECK_EQ(run("quit"), 0);
    CHECK(client.quit);
    CHECK(client.quit_status == -1);
    client.quit = false;
    CHECK(run("quit x") < 0);
    CHECK(!client.quit);
    CHECK(run("quit 256") < 0);
    CHECK_EQ(run("q 0x10"), 0);
    CHECK_EQ(client.quit_status, 16);
    fini();
}

static void help_is_printed_from_the_table(void)
{
    CHECK_EQ(run("help"), 0);
    for (const struct cmd *r = cmd_table; r->name; r++)
        CHECK_HAS(text(), r->name);
    CHECK_EQ(run("help break"), 0);
    CHECK_HAS(text(), "break [LOCATION] [thread N] [if EXPR]");
    CHECK_EQ(run("help info"), 0);
    CHECK_HAS(text(), "info registers");
    CHECK_EQ(run("help running"), 0);
    CHECK_HAS(text(), "continue [N]");
    CHECK(!strstr(text(), "backtrace"));
    CHECK(run("help nothing-like-this") < 0);
    CHECK_EQ(run("help catch"), 0);
    CHECK_HAS(text(), "mmio");
    CHECK_EQ(run("apropos page"), 0);
    CHECK_HAS(text(), "info walk");
    fini();
}

static void completes(const char *line, size_t n, const char *want)
{
    char *s = cmd_complete(&client, line, n);

    if (!s || !want) {
        if (s || want)
            TEST_FAIL("completion %zu of `%s` is %s", n, line, s ? s : "none");
        return;
    }
    CHECK_STR(s, want);
    free(s);
}

static void completion(void)
{
    completes("conti", 0, "continue");
    completes("conti", 1, NULL);
    completes("dis", 0, "disable");
    completes("dis", 1, "display");
    completes("print $r1", 0, "print $r10");
    completes("print $ea", 0, "print $eax");
    completes("print $ea", 1, NULL);
    completes("info reg", 0, "info registers");
    completes("i re", 0, "i registers");
    completes("info a", 0, "info all-registers");
    completes("info a", 1, "info assists");
    completes("info a", 2, "info address");
    completes("help apr", 0, "help apropos");
    completes("print $ra", 0, "print $rax");
    completes("p 1+$gdtr_b", 0, "p 1+$gdtr_base");
    completes("set dis", 0, "set disassembly-flavor");
    completes("set disassembly-flavor a", 0, "set disassembly-flavor att");
    completes("nothing", 0, NULL);
    completes("", 10000, NULL);
    fini();
}

static void source_runs_a_file(void)
{
    char path[] = "/tmp/vmscope-test-XXXXXX";
    int fd = mkstemp(path);
    char line[80];

    CHECK(fd >= 0);
    CHECK(dprintf(fd, "# comment\n\necho one\necho two\nbogus\necho three\n") > 0);
    close(fd);
    snprintf(line, sizeof line, "source %s", path);
    CHECK(run(line) < 0);
    CHECK_HAS(text(), "one\ntwo\n");
    CHECK_HAS(text(), ":5: there is no command `bogus`");
    CHECK(!strstr(text(), "three"));
    CHECK(!cmd_is_waiting(&client));
    fd = open(path, O_TRUNC | O_WRONLY);
    CHECK(dprintf(fd, "echo again\nsource %s\n", path) > 0);
    close(fd);
    CHECK(run(line) < 0); /* sources itself */
    CHECK_HAS(text(), "sources itself");
    unlink(path);
    CHECK(run("source /no/such/file") < 0);
    CHECK_HAS(text(), "No such file");
    fini();
}

static void json_of_every_answer(void)
{
    static const char *const lines[] = {"help",  "help x",   "apropos e",
                                        "bogus", "info log", "echo a"};

    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        (void)!run(lines[i]);
        CHECK(out.json.len > 2);
        CHECK_EQ(out.json.data[0], '{');
        CHECK_EQ(out.json.data[out.json.len - 1], '}');
    }
    fini();
}

/* ---- formats -----------------------------------------------------------------------------------
 */

static void shows(uint64_t v, unsigned size, char letter, bool padded, const char *want)
{
    struct buf b = {0};

    format_value(&b, v, size, letter, padded);
    CHECK_STR(buf_str(&b), want);
    buf_fini(&b);
}

static void format_letters(void)
{
    shows(42, 8, 'x', false, "0x2a");
    shows(42, 4, 'x', true, "0x0000002a");
    shows(0, 8, 'x', false, "0x0");
    shows(UINT64_MAX, 8, 'd', false, "-1");
    shows(0xff, 1, 'd', false, "-1");
    shows(0xffff, 4, 'd', false, "65535");
    shows(UINT64_MAX, 4, 'u', false, "4294967295");
    shows(42, 4, 'o', false, "052");
    shows(0, 4, 'o', false, "0");
    shows(42, 8, 't', false, "101010");
    shows(0, 8, 't', false, "0");
    shows(5, 1, 't', true, "00000101");
    shows('A', 1, 'c', false, "65 'A'");
    shows('\n', 1, 'c', false, "10 '\\n'");
    shows(0, 1, 'c', false, "0 '\\000'");
    shows(0x80, 1, 'c', false, "-128 '\\200'");
    shows(0x1000, 8, 'a', false, "0x1000");
    shows(42, 8, 'z', false, "0x000000000000002a");
    shows(0x3f800000, 4, 'f', false, "1");
    shows(0x4000000000000000, 8, 'f', false, "2");
    shows(0x123456789, 2, 'x', false, "0x6789");
}

static void parses(const char *spec, unsigned count, char letter, unsigned size, const char *rest)
{
    struct format f;
    struct err e = {0};

    if (format_parse(&spec, &f, &e))
        TEST_FAIL("%s: %s", spec, e.msg);
    CHECK_EQ(f.count, count);
    CHECK_EQ(f.letter, letter);
    CHECK_EQ(f.size, size);
    CHECK_STR(spec, rest);
}

static void refuses(const char *spec, const char *why)
{
    struct format f;
    struct err e = {0};

    CHECK(format_parse(&spec, &f, &e) < 0);
    CHECK_HAS(e.msg, why);
}

static void format_specs(void)
{
    parses("/4xw 0x10", 4, 'x', 4, "0x10");
    parses("/i $pc", 0, 'i', 0, "$pc");
    parses("/xg", 0, 'x', 8, "");
    parses("/gx", 0, 'x', 8, "");
    parses(" $rax", 0, 0, 0, "$rax");
    parses("/2bx$rsp", 2, 'x', 1, "$rsp");
    refuses("/4q", "format letter");
    refuses("/0x", "count");
    refuses("/99999999x", "too large");
}

static void near_names(void)
{
    struct near n = {.word = "timeot"};

    CHECK_EQ(near_distance("abc", "abc"), 0);
    CHECK_EQ(near_distance("abc", "acb"), 1);
    CHECK_EQ(near_distance("", "abc"), 3);
    near_offer(&n, "memory");
    CHECK(!n.best);
    near_offer(&n, "timeout");
    CHECK_STR(n.best, "timeout");
}

static const struct test tests[] = {
    {"every_row_is_whole", every_row_is_whole},
    {"examples_name_their_command", examples_name_their_command},
    {"names_are_unique", names_are_unique},
    {"names_of_two_words_have_a_parent", names_of_two_words_have_a_parent},
    {"one_letter_forms", one_letter_forms},
    {"prefixes", prefixes},
    {"errors_say_what_to_type", errors_say_what_to_type},
    {"without_a_guest", without_a_guest},
    {"quit_asks_for_a_status", quit_asks_for_a_status},
    {"help_is_printed_from_the_table", help_is_printed_from_the_table},
    {"completion", completion},
    {"source_runs_a_file", source_runs_a_file},
    {"json_of_every_answer", json_of_every_answer},
    {"format_letters", format_letters},
    {"format_specs", format_specs},
    {"near_names", near_names},
};
TEST_MAIN(tests)
