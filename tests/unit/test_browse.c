/*
 * The trace browser without a terminal: a file is made, keys and lines go in, cells come out.
 */
#include "tests/test.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "debug/trace/trace_file.h"
#include "tui/browse.h"
#include "tui/keys.h"
#include "vmm/base/x.h"

#define RECORDS 50000u

static struct browse *b; /* large */
static char path[200];

/* Every tenth is an in of 0x64 with CPL 3, the others outs to 0x80; one each 10 us. */
static bool make_file(unsigned records)
{
    struct trace_names *n = names_new();
    struct trace_writer *w;
    struct err e = {0};
    const char *dir = getenv("TEST_DIR");

    snprintf(path, sizeof path, "%s/browse.vtr", dir ? dir : ".");
    if (trace_create(&w, path, 1, "guest=guest\ncpus=1\nkvm=emulating ring 0\n", n, &e) < 0) {
        test_fail(__FILE__, __LINE__, "%s", e.msg);
        return false;
    }
    for (unsigned i = 0; i < records; i++) {
        struct exit_event ev = {.seq = i,
                                .at_ns = 1000000 + i * 10000ull,
                                .guest_ns = 4000,
                                .host_ns = 300,
                                .rip = i % 10 ? 0x1000 : 0x2000,
                                .reason = KVM_EXIT_IO,
                                .mode = 3,
                                .cpl = i % 10 ? 0 : 3,
                                .size = 1};

        ev.u.io.port = i % 10 ? 0x80 : 0x64;
        ev.u.io.write = i % 10 != 0;
        ev.u.io.count = 1;
        ev.u.io.value = i & 0xff;
        trace_put(w, &ev);
    }
    names_free(n);
    return trace_finish(w, &e) == 0;
}

static bool up(unsigned records)
{
    struct err e = {0};

    b = xcalloc(1, sizeof *b);
    if (!make_file(records))
        return false;
    if (browse_open(b, path, NULL, &e) < 0) {
        test_fail(__FILE__, __LINE__, "%s", e.msg);
        return false;
    }
    browse_resize(b, 100, 30);
    return true;
}

static void count_all(void)
{
    while (browse_work(b))
        ;
}

static void down(void)
{
    browse_close(b);
    free(b);
    unlink(path);
}

/* The screen as text; the caller frees. */
static char *screen(void)
{
    struct frame_prompt prompt = {.label = b->prompt ? b->prompt : "", .line = ""};
    struct frame_cursor cur;
    struct buf text = {0};
    struct canvas c;

    browse_fill(b);
    canvas_init(&c, b->w, b->h);
    browse_draw(b, &prompt, &c, &cur);
    canvas_dump(&c, false, &text);
    canvas_fini(&c);
    return buf_take(&text);
}

static void shows(const char *what)
{
    char *text = screen();

    if (!strstr(text, what))
        TEST_FAIL("\"%s\" is not on the screen:\n%s", what, text);
    free(text);
}

static void hides(const char *what)
{
    char *text = screen();

    if (strstr(text, what))
        TEST_FAIL("\"%s\" is on the screen:\n%s", what, text);
    free(text);
}

static void keys(const char *text)
{
    for (; *text; text++)
        browse_key(b, *text, 0, 0);
}

static void line(const char *text)
{
    keys(":");
    CHECK_EQ(b->mode, BROWSE_PROMPT);
    browse_line(b, text);
    CHECK_EQ(b->mode, BROWSE_KEYS);
}

static void records_show_and_scroll(void)
{
    if (!up(RECORDS))
        return;
    shows("browse.vtr  recorded  50000 records, 0.500 s, 1 vCPU");
    shows("record 1 of 50000");
    shows("in 0x64 1 byte = 0x0");
    browse_key(b, K_END, 0, 0);
    shows("record 50000 of 50000");
    browse_key(b, K_PGUP, 0, 0);
    hides("record 50000 of");
    line("goto 12346");
    shows("record 12346 of 50000");
    line("goto 100ms");
    shows("record 10001 of 50000");
    keys("]");
    shows("record 1100");
    browse_key(b, K_CLICK, 99, 1);
    shows("record 50000 of 50000");
    browse_key(b, K_ENTER, 0, 0);
    shows("Explanation of record 50000");
    shows("what happened   The guest executed IN");
    line("goto 0");
    shows("have numbers from 1 to 50000");
    line("goto 3 weeks");
    shows("is no unit of time");
    line("dance");
    shows("there is no command `dance`");
    count_all();
    shows("\xe2\x96\x88"); /* the time line */
    down();
}

static void filters_find_what_matches(void)
{
    if (!up(RECORDS))
        return;
    count_all();
    keys("/");
    browse_line(b, "port==0x64");
    shows("0 match: port==0x64");
    count_all();
    shows("5000 match: port==0x64");
    shows("record 1 of");
    browse_key(b, K_DOWN, 0, 0);
    shows("record 11 of");
    browse_key(b, K_END, 0, 0);
    shows("record 49991 of");
    line("goto 25000");
    shows("record 25001 of");
    keys("F");
    shows("record 25001 of"); /* stays where it was */
    hides("match:");
    keys("/");
    browse_line(b, "prot==1");
    shows("prot");
    shows("record"); /* a wrong expression changes nothing */
    keys("/");
    browse_line(b, "port==0x99");
    count_all();
    shows("No record matches the filter");
    down();
}

static void tables_lead_to_records(void)
{
    if (!up(RECORDS))
        return;
    count_all();
    keys("2");
    shows("out 0x80, 1 byte");
    shows("45000");
    shows("90.0%");
    line("by port");
    shows("0x64 in");
    line("by colour");
    shows("records are counted by");
    line("by site");
    browse_key(b, K_DOWN, 0, 0);
    browse_key(b, K_ENTER, 0, 0);
    count_all();
    shows("5000 match: kind==io && port==0x64");
    keys("F3");
    count_all();
    shows("of exits: 1-byte writes to port 0x80");
    keys("4");
    shows("time in handlers");
    keys("5");
    shows("no counters");
    browse_key(b, K_TAB, 0, 0);
    CHECK_EQ(b->page, PAGE_RECORDS);
    keys("?");
    shows("Commands");
    keys("x");
    hides("Commands");
    keys("q");
    CHECK(b->leave);
    down();
}

static void small_and_empty(void)
{
    struct err e = {0};

    if (!up(0))
        return;
    count_all();
    shows("has no records");
    keys("2");
    keys("3");
    shows("No storm");
    keys("1ee[]");
    browse_key(b, K_END, 0, 0);
    browse_key(b, K_ENTER, 0, 0);
    line("goto 1");
    line("goto 1s");
    browse_resize(b, 60, 10);
    shows("60x10 here: enlarge");
    browse_resize(b, 80, 24);
    shows("1 Records");
    for (int key = 1; key < 256; key++)
        if (key != 'q')
            browse_key(b, key, 5, 5);
    free(screen());
    browse_close(b);
    CHECK(browse_open(b, "/nonexistent.vtr", NULL, &e) < 0 && e.msg[0]);
    free(b);
    unlink(path);
}

static void words_complete(void)
{
    char *one = browse_complete("fi", 0);

    CHECK(one && !strcmp(one, "filter"));
    free(one);
    CHECK(!browse_complete("fi", 1));
    CHECK(!browse_complete("xyz", 0));
}

static const struct test tests[] = {
    {"browse: records show and scroll", records_show_and_scroll},
    {"browse: filters find what matches", filters_find_what_matches},
    {"browse: tables lead to records", tables_lead_to_records},
    {"browse: small and empty", small_and_empty},
    {"browse: words complete", words_complete},
};
TEST_MAIN(tests)
