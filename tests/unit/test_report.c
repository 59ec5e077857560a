/*
 * Comparing recordings: exits that were inserted, removed or changed are found as such, wherever
 * they are, and what has nothing in common ends soon.
 */
#include "tests/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "debug/trace/report_int.h"
#include "vmm/base/x.h"

static char path_a[300], path_b[300];
static struct alignment *al;

/* An exit of a guest's loop: its ports take turns, its values count. */
static struct exit_event at(unsigned i)
{
    struct exit_event ev = {.reason = KVM_EXIT_IO,
                            .size = 1,
                            .at_ns = 1000000 + i * 7000ull,
                            .guest_ns = 5000,
                            .host_ns = 300,
                            .rip = 0x1000 + i % 3 * 8};

    ev.u.io.port = (uint16_t)(0x80 + i % 3);
    ev.u.io.write = i % 3 != 0;
    ev.u.io.count = 1;
    ev.u.io.value = i % 50;
    return ev;
}

struct edit {
    unsigned at;
    int count; /* > 0: exits inserted before it; < 0: removed from it on; 0: its value changed */
};

static bool make(const char *path, unsigned exits, const struct edit *edits, unsigned n)
{
    struct trace_names *names = names_new();
    struct trace_writer *w;
    struct err e = {0};
    uint64_t seq = 0;

    if (trace_create(&w, path, 1, "guest=x\n", names, &e) < 0)
        return false;
    for (unsigned i = 0; i < exits; i++) {
        struct exit_event ev = at(i);
        bool removed = false;

        for (unsigned k = 0; k < n; k++) {
            removed |= edits[k].count < 0 && i >= edits[k].at &&
                       i < edits[k].at + (unsigned)-edits[k].count;
            if (edits[k].at != i || edits[k].count < 0)
                continue;
            for (int j = 0; j < edits[k].count; j++) {
                struct exit_event more = {.reason = KVM_EXIT_HLT, .rip = 0x5000, .seq = seq++};

                more.at_ns = ev.at_ns - 1;
                trace_put(w, &more);
            }
            if (!edits[k].count) {
                ev.u.io.write = 1;
                ev.u.io.value = 0xee;
            }
        }
        if (removed)
            continue;
        ev.seq = seq++;
        trace_put(w, &ev);
    }
    names_free(names);
    return trace_finish(w, &e) == 0;
}

static bool compare(unsigned exits_a, unsigned exits_b, const struct edit *edits, unsigned n)
{
    const char *dir = getenv("TEST_DIR");
    const struct report_ask ask = {0};
    struct report a, b;
    struct err e = {0};
    bool good;

    snprintf(path_a, sizeof path_a, "%s/a.vtr", dir ? dir : ".");
    snprintf(path_b, sizeof path_b, "%s/b.vtr", dir ? dir : ".");
    al = xcalloc(1, sizeof *al);
    good = make(path_a, exits_a, NULL, 0) && make(path_b, exits_b, edits, n);
    good = report_open(&a, path_a, &ask, &e) == 0 && good;
    good = report_open(&b, path_b, &ask, &e) == 0 && good;
    if (good)
        align(&a, &b, 0, al);
    else
        test_fail(__FILE__, __LINE__, "the files could not be made: %s", e.msg);
    report_close(&a);
    report_close(&b);
    unlink(path_a);
    unlink(path_b);
    return good;
}

static void the_same_is_alike(void)
{
    if (compare(5000, 5000, NULL, 0)) {
        CHECK_EQ(al->alike, 5000);
        CHECK_EQ(al->differences, 0);
    }
    free(al);
}

static void edits_are_found(void)
{
    static const struct edit edits[] = {{1000, 3}, {2000, -5}, {3000, 0}, {4990, 100}};

    if (compare(5000, 5000, edits, ARRAY_LEN(edits))) {
        CHECK_EQ(al->differences, 4);
        CHECK(!al->lost);
        CHECK(al->difference[0].at_a == 1000 && al->difference[0].at_b == 1000);
        CHECK(al->difference[0].only_a == 0 && al->difference[0].only_b == 3);
        CHECK(al->difference[1].at_a == 2000 && al->difference[1].at_b == 2003);
        CHECK(al->difference[1].only_a == 5 && al->difference[1].only_b == 0);
        CHECK(al->difference[2].at_a == 3000 && al->difference[2].at_b == 2998);
        CHECK(al->difference[2].only_a == 1 && al->difference[2].only_b == 1);
        CHECK(al->difference[3].only_b == 100);
        CHECK_EQ(al->alike, 5000 - 5 - 1);
        CHECK(al->only_a == 6 && al->only_b == 104);
    }
    free(al);
}

static void one_ends_before_the_other(void)
{
    if (compare(5000, 4000, NULL, 0)) {
        CHECK_EQ(al->differences, 1);
        CHECK(al->difference[0].b_ended && !al->difference[0].a_ended);
        CHECK(al->alike == 4000 && al->only_a == 1000 && al->only_b == 0 && !al->lost);
    }
    free(al);
}

static void strangers_are_given_up(void)
{
    static struct edit edits[3000];

    for (unsigned i = 0; i < ARRAY_LEN(edits); i++)
        edits[i] = (struct edit){100 + i, 0};
    if (compare(100000, 100000, edits, ARRAY_LEN(edits))) {
        CHECK(al->lost);
        CHECK_EQ(al->alike, 100);
        CHECK_EQ(al->exits_a, 100000);
        CHECK_EQ(al->exits_b, 100000);
    }
    free(al);
}

static void nothing_is_alike_with_nothing(void)
{
    if (compare(0, 0, NULL, 0))
        CHECK(!al->alike && !al->differences);
    free(al);
}

static const struct test tests[] = {
    {"diff: the same is alike", the_same_is_alike},
    {"diff: edits are found", edits_are_found},
    {"diff: one ends before the other", one_ends_before_the_other},
    {"diff: strangers are given up", strangers_are_given_up},
    {"diff: nothing is alike with nothing", nothing_is_alike_with_nothing},
};
TEST_MAIN(tests)
