/*
 * Memory slots: regions and traps in, slots out. KVM is not told.
 */
#include "tests/test.h"

#include <errno.h>
#include <stdlib.h>

#include "vmm/slots.h"

#define MB (1ull << 20)

static uint8_t *const base = (uint8_t *)0x10000000;

/* 1 MB at 0 and 1 MB at 4 GB. */
static struct mem two_regions(void)
{
    struct mem m = {.memfd = -1, .ram_bytes = 2 * MB, .base = base, .regions = 2};

    m.region[0] = (struct mem_region){.gpa = 0, .len_bytes = MB, .hva = base};
    m.region[1] = (struct mem_region){.gpa = 4096 * MB, .len_bytes = MB, .hva = base + MB};
    return m;
}

/* "0-100000 100000000-100100000", read-only ones with r. */
static const char *plan_text(const struct mem *m, const struct slot_page *page, size_t pages)
{
    static char text[400];
    struct slot *slot;
    size_t n = slots_plan(m, page, pages, &slot), at = 0;

    text[0] = 0;
    for (size_t i = 0; i < n; i++) {
        const struct mem_region *r = &m->region[slot[i].gpa >= 4096 * MB];

        if (slot[i].hva != r->hva + (slot[i].gpa - r->gpa))
            return "hva";
        at += (size_t)snprintf(text + at, sizeof text - at, "%s%llx-%llx%s", i ? " " : "",
                               (unsigned long long)slot[i].gpa,
                               (unsigned long long)(slot[i].gpa + slot[i].len_bytes),
                               slot[i].readonly ? "r" : "");
    }
    free(slot);
    return text;
}

#define PLAN(want, ...)                                                                            \
    do {                                                                                           \
        struct slot_page p_[] = {__VA_ARGS__};                                                     \
        struct mem m_ = two_regions();                                                             \
        CHECK_STR(plan_text(&m_, p_, sizeof p_ / sizeof *p_), want);                               \
    } while (0)

static void no_traps(void)
{
    struct mem m = two_regions();

    CHECK_STR(plan_text(&m, NULL, 0), "0-100000 100000000-100100000");
}

static void page_in_the_middle(void)
{
    PLAN("0-5000 5000-6000r 6000-100000 100000000-100100000", {0x5000, SLOT_READ_ONLY, false});
    PLAN("0-5000 6000-100000 100000000-100100000", {0x5000, SLOT_ABSENT, false});
}

static void pages_at_the_ends(void)
{
    PLAN("0-1000r 1000-100000 100000000-1000ff000", {0, SLOT_READ_ONLY, false},
         {4096 * MB + 0xff000, SLOT_ABSENT, false});
    PLAN("0-ff000 100001000-100100000", {0xff000, SLOT_ABSENT, false},
         {4096 * MB, SLOT_ABSENT, false});
}

static void neighbours_share_a_slot(void)
{
    PLAN("0-5000 5000-7000r 8000-100000 100000000-100100000", {0x5000, SLOT_READ_ONLY, false},
         {0x6000, SLOT_READ_ONLY, false}, {0x7000, SLOT_ABSENT, false});
}

static void lifted_pages_stand_alone(void)
{
    PLAN("0-5000 5000-6000r 6000-7000 7000-8000r 8000-9000 9000-100000 100000000-100100000",
         {0x5000, SLOT_READ_ONLY, false}, {0x6000, SLOT_READ_ONLY, true},
         {0x7000, SLOT_READ_ONLY, false}, {0x8000, SLOT_ABSENT, true});
}

static void pages_outside_ram(void)
{
    PLAN("0-100000 100000000-100100000", {0xfee00000, SLOT_READ_ONLY, false});
}

static void every_page_trapped(void)
{
    struct slot_page page[256];
    struct mem m = two_regions();

    for (unsigned i = 0; i < 256; i++)
        page[i] = (struct slot_page){.gpa = i * PAGE_BYTES, .trap = SLOT_ABSENT};
    CHECK_STR(plan_text(&m, page, 256), "100000000-100100000");
}

/* Only what differs is changed, and numbers are used again. */
static void changes(void)
{
    struct mem m = two_regions();
    struct slots s;

    CHECK_EQ(slots_init(&s, -1, &m, 16, NULL), 0);
    CHECK_EQ(s.changes, 2);
    slots_trap(&s, 0x5123, SLOT_READ_ONLY);
    CHECK(slots_page(&s, 0x5fff) && !slots_page(&s, 0x6000) && !slots_page(&s, 0x4fff));
    CHECK_EQ(slots_apply(&s, NULL), 0);
    CHECK_EQ(s.changes, 6); /* one gone, three made */
    CHECK_EQ(slots_apply(&s, NULL), 0);
    CHECK_EQ(s.changes, 6);
    slots_lift(&s, 0x5000, true);
    CHECK_EQ(slots_apply(&s, NULL), 0);
    CHECK_EQ(s.changes, 8); /* its own slot alone */
    slots_lift_all(&s, false);
    CHECK_EQ(slots_apply(&s, NULL), 0);
    CHECK_EQ(s.changes, 10);
    slots_trap(&s, 0x5000, SLOT_OPEN);
    CHECK_EQ(slots_apply(&s, NULL), 0);
    CHECK_EQ(s.count, 2);
    CHECK_EQ(s.next_id - s.spares, 2);
    for (int i = 0; i < 100; i++) {
        slots_trap(&s, 0x9000, i & 1 ? SLOT_OPEN : SLOT_ABSENT);
        CHECK_EQ(slots_apply(&s, NULL), 0);
    }
    CHECK(s.next_id <= 4);
    slots_fini(&s);
}

static void too_many(void)
{
    struct mem m = two_regions();
    struct err e = {0};
    struct slots s;

    CHECK_EQ(slots_init(&s, -1, &m, 6, NULL), 0);
    slots_trap(&s, 0x5000, SLOT_READ_ONLY);
    slots_trap(&s, 0x7000, SLOT_READ_ONLY);
    CHECK_EQ(slots_apply(&s, NULL), 0);
    slots_trap(&s, 0x9000, SLOT_READ_ONLY);
    CHECK_EQ(slots_apply(&s, &e), -ENOSPC);
    CHECK_HAS(e.msg, "8 memory slots");
    CHECK_EQ(s.count, 6);
    slots_trap(&s, 0x9000, SLOT_OPEN);
    CHECK_EQ(slots_apply(&s, NULL), 0);
    slots_fini(&s);
}

/* Against a page-by-page model. */
static void random_traps(void)
{
    struct mem m = two_regions();
    uint64_t seed = 1;
    struct slots s;

    CHECK_EQ(slots_init(&s, -1, &m, 4000, NULL), 0);
    for (int round = 0; round < 2000; round++) {
        uint8_t seen[256] = {0};

        seed = seed * 6364136223846793005u + 1442695040888963407u;
        slots_trap(&s, (seed >> 33 & 0xff) * PAGE_BYTES, (enum slot_trap)(seed >> 50) % 3);
        if (seed >> 60 & 1)
            slots_lift(&s, (seed >> 41 & 0xff) * PAGE_BYTES, seed >> 61 & 1);
        CHECK_EQ(slots_apply(&s, NULL), 0);
        for (size_t i = 0; i < s.count && s.now[i].gpa < MB; i++)
            for (uint64_t at = s.now[i].gpa; at < s.now[i].gpa + s.now[i].len_bytes;
                 at += PAGE_BYTES) {
                CHECK(at < MB && !seen[at / PAGE_BYTES]);
                seen[at / PAGE_BYTES] = s.now[i].readonly ? 2 : 1;
            }
        for (unsigned i = 0; i < 256; i++) {
            const struct slot_page *p = slots_page(&s, i * PAGE_BYTES);

            CHECK_EQ(seen[i], !p || p->lifted ? 1 : p->trap == SLOT_READ_ONLY ? 2 : 0);
        }
    }
    for (size_t i = 0; i < s.count; i++)
        for (size_t j = 0; j < i; j++)
            CHECK(s.now[i].id != s.now[j].id);
    slots_fini(&s);
}

static const struct test tests[] = {
    {"no_traps", no_traps},
    {"page_in_the_middle", page_in_the_middle},
    {"pages_at_the_ends", pages_at_the_ends},
    {"neighbours_share_a_slot", neighbours_share_a_slot},
    {"lifted_pages_stand_alone", lifted_pages_stand_alone},
    {"pages_outside_ram", pages_outside_ram},
    {"every_page_trapped", every_page_trapped},
    {"changes", changes},
    {"too_many", too_many},
    {"random_traps", random_traps},
};
TEST_MAIN(tests)
