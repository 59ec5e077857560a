/*
 * At every size panels tile the body: none overlaps, none is lost, none leaves the screen.
 */
#include "tui/layout.h"

#include "tests/test.h"

static void covers_all(int w, int h)
{
    struct layout l;
    bool seen[PANELS] = {false};

    layout_make(&l, w, h, NULL);
    CHECK_EQ(l.too_small, w < LAYOUT_MIN_W || h < LAYOUT_MIN_H);
    if (l.too_small)
        return;
    for (int y = l.body.y; y < l.body.y + l.body.h; y++)
        for (int x = 0; x < w; x++) {
            int hits = x == l.divider[0] || x == l.divider[1];

            for (unsigned i = 0; i < l.slots; i++) {
                const struct rect *r = &l.slot[i].r;

                hits += x >= r->x && x < r->x + r->w && y >= r->y && y < r->y + r->h;
            }
            if (hits != 1)
                TEST_FAIL("%dx%d: %d owners of column %d row %d", w, h, hits, x, y);
        }
    for (unsigned i = 0; i < l.slots; i++) {
        CHECK(l.slot[i].r.h >= 3);
        CHECK(l.slot[i].r.w >= 30);
        for (unsigned k = 0; k < l.slot[i].count; k++) {
            CHECK(!seen[l.slot[i].panel[k]]);
            seen[l.slot[i].panel[k]] = true;
        }
    }
    for (unsigned i = 0; i < PANELS; i++)
        if (!seen[i])
            TEST_FAIL("%dx%d: panel %u has no place", w, h, i);
}

static void tiles_at_every_size(void)
{
    for (int w = 1; w < 260 && !test_failed; w += w < 79 ? 13 : 1)
        for (int h = 1; h < 100 && !test_failed; h += h < 23 ? 11 : 1)
            covers_all(w, h);
}

static void smallest_shows_the_main_panels(void)
{
    static const enum panel_id front[] = {PANEL_CODE,   PANEL_REGISTERS, PANEL_STACK,
                                          PANEL_MEMORY, PANEL_EXITS,     PANEL_CONSOLE};
    struct layout l;

    layout_make(&l, 80, 24, NULL);
    for (size_t i = 0; i < sizeof front / sizeof front[0]; i++)
        CHECK(layout_is_front(&l, front[i]));
}

static void front_survives_a_resize(void)
{
    struct layout l;

    layout_make(&l, 80, 24, NULL);
    layout_front(&l, PANEL_DEVICES);
    CHECK(layout_is_front(&l, PANEL_DEVICES));
    CHECK(!layout_is_front(&l, PANEL_CONSOLE));
    layout_make(&l, 82, 25, &l);
    CHECK(layout_is_front(&l, PANEL_DEVICES));
    layout_make(&l, 20, 5, &l);
    CHECK(l.too_small);
    CHECK(!layout_slot(&l, PANEL_CODE));
    layout_front(&l, PANEL_CODE);
    layout_make(&l, 80, 24, &l);
    CHECK(layout_is_front(&l, PANEL_CODE));
}

static void hits(void)
{
    struct layout l;

    layout_make(&l, 80, 24, NULL);
    CHECK_EQ(layout_hit(&l, 0, 1), PANEL_CODE);
    CHECK_EQ(layout_hit(&l, 79, 1), PANEL_REGISTERS);
    CHECK_EQ(layout_hit(&l, 0, 0), PANELS);
    CHECK_EQ(layout_hit(&l, 0, 23), PANELS);
    CHECK_EQ(layout_hit(&l, -5, 900), PANELS);
}

static const struct test tests[] = {
    {"tiles_at_every_size", tiles_at_every_size},
    {"smallest_shows_the_main_panels", smallest_shows_the_main_panels},
    {"front_survives_a_resize", front_survives_a_resize},
    {"hits", hits},
};
TEST_MAIN(tests)
