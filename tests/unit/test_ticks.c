/*
 * The counter's clock against the kernel's: whatever runs in between, a reading lies between two
 * readings of the other, give or take what a comparison may be off by.
 */
#include "tests/test.h"

#include "vmm/base/clock.h"
#include "vmm/base/ticks.h"

#define OFF_NS 2000u

static void goes_together(void)
{
    uint64_t last = 0, end = clock_ns() + 30000000;
    struct ticks t;

    ticks_init(&t);
    for (uint64_t before = clock_ns(), now, after; before < end; before = after) {
        now = ticks_ns(&t);
        after = clock_ns();
        CHECK(now >= last);
        CHECK(now + OFF_NS >= before);
        CHECK(now <= after + OFF_NS);
        last = now;
    }
}

static void compares_again(void)
{
    struct ticks t;
    uint64_t now;

    ticks_init(&t);
    for (uint64_t end = clock_ns() + 3000000; clock_ns() < end;)
        ticks_ns(&t);
    now = ticks_ns(&t);
    CHECK(ticks_sync(&t) >= now);
    t.at.tsc += 1000000; /* a processor that is behind */
    now = clock_ns();
    CHECK(ticks_ns(&t) + OFF_NS >= now);
    t.off = true;
    now = clock_ns();
    CHECK(ticks_sync(&t) >= now);
}

static const struct test tests[] = {
    {"goes together with the clock", goes_together},
    {"compares again", compares_again},
};
TEST_MAIN(tests)
