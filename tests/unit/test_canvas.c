/*
 * Cells, the pen and lines: nothing leaves its rectangle, nothing unsafe becomes a cell.
 */
#include "tui/canvas.h"

#include <stdlib.h>

#include "tests/test.h"
#include "tui/lines.h"
#include "vmm/base/x.h"

static char *dump(struct canvas *c, bool styles)
{
    struct buf b = {0};

    canvas_dump(c, styles, &b);
    canvas_fini(c);
    return buf_take(&b);
}

static void clips(void)
{
    struct canvas c;
    struct pen p;

    canvas_init(&c, 6, 3);
    p = pen_new(&c, (struct rect){1, 1, 4, 1});
    CHECK(pen_row(&p, 0));
    pen_put(&p, ST_ADDR, "%s", "abcdefgh");
    pen_put(&p, ST_ADDR, "more");
    CHECK(!pen_row(&p, 1));
    pen_put(&p, ST_ADDR, "below");
    canvas_put(&c, -1, 0, 'x', ST_ADDR);
    canvas_put(&c, 6, 2, 'x', ST_ADDR);
    canvas_fill(&c, (struct rect){4, 2, 100, 100}, '#', ST_DIM);
    char *text = dump(&c, true);
    CHECK_STR(text, "\n abc\u2026\n    ##\n---- styles\n\n.aaad\n....dd\n");
    free(text);
}

static void exact_fit_has_no_mark(void)
{
    struct canvas c;
    struct pen p;

    canvas_init(&c, 4, 1);
    p = pen_new(&c, (struct rect){0, 0, 4, 1});
    pen_row(&p, 0);
    pen_text(&p, ST_NORMAL, "abcd");
    pen_text(&p, ST_NORMAL, "");
    CHECK_EQ(pen_left(&p), 0);
    char *text = dump(&c, false);
    CHECK_STR(text, "abcd\n");
    free(text);
}

static void cells_pad_and_cut(void)
{
    struct canvas c;
    struct pen p;

    canvas_init(&c, 12, 1);
    p = pen_new(&c, (struct rect){0, 0, 12, 1});
    pen_row(&p, 0);
    pen_cell(&p, ST_NORMAL, 4, "ab");
    pen_cell(&p, ST_NORMAL, 4, "abcdef");
    pen_cell(&p, ST_NORMAL, 4, "xyz");
    char *text = dump(&c, false);
    CHECK_STR(text, "ab  abc\u2026xyz\n");
    free(text);
}

static void unsafe_becomes_a_question_mark(void)
{
    static const uint32_t bad[] = {0,      7,      0x1b,   0x7f,    0x9b,    0xad,
                                   0x300,  0x200b, 0x202e, 0xfeff,  0x1f600, 0x4e00,
                                   0xd800, 0x1100, 0x2028, 0x10ffff};
    struct canvas c;
    uint32_t ch;

    canvas_init(&c, 1, 1);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        canvas_put(&c, 0, 0, bad[i], ST_NORMAL);
        CHECK_EQ(canvas_at(&c, 0, 0)->ch, '?');
    }
    canvas_put(&c, 0, 0, CH_ARROW, ST_NORMAL);
    CHECK_EQ(canvas_at(&c, 0, 0)->ch, CH_ARROW);
    canvas_fini(&c);
    CHECK_EQ(canvas_utf8("\xc3\xa9", 2, &ch), 2);
    CHECK_EQ(ch, 0xe9);
    CHECK_EQ(canvas_utf8("\xc3", 1, &ch), 1);
    CHECK_EQ(ch, '?');
    CHECK_EQ(canvas_utf8("\xe2\x82x", 3, &ch), 2);
    CHECK_EQ(canvas_utf8("\xc0\x80", 2, &ch), 1);
    CHECK_EQ(canvas_utf8("\xff", 1, &ch), 1);
    CHECK_EQ(canvas_ascii(CH_ARROW), '>');
    CHECK_EQ(canvas_ascii(0x416), '?');
}

static void every_style_has_its_letter(void)
{
    for (int i = 0; i < STYLES; i++)
        for (int k = 0; k < i; k++)
            if (theme_letter((enum style)i) == theme_letter((enum style)k))
                TEST_FAIL("styles %d and %d share '%c'", i, k, theme_letter((enum style)i));
}

static void themes_are_chosen(void)
{
    for (const struct theme *t = theme_table; t->name; t++)
        CHECK(theme_by_name(t->name) == t && *t->help);
    setenv("NO_COLOR", "", 1);
    unsetenv("VMSCOPE_THEME");
    CHECK_STR(theme_choose(true)->name, "dark");
    CHECK_STR(theme_choose(false)->name, "mono");
    setenv("NO_COLOR", "1", 1);
    CHECK_STR(theme_choose(true)->name, "mono");
    unsetenv("NO_COLOR");
    setenv("VMSCOPE_THEME", "light", 1);
    CHECK_STR(theme_choose(true)->name, "light");
    setenv("VMSCOPE_THEME", "nonsense", 1);
    CHECK_STR(theme_choose(true)->name, "dark");
    for (int i = 0; i < STYLES; i++)
        CHECK(theme_by_name("mono")->look[i].fg == -1 && theme_by_name("mono")->look[i].bg == -1);
}

static void lines_wrap_and_scroll(void)
{
    static const enum style styles[] = {ST_NORMAL, ST_ERROR};
    struct lines l;
    struct canvas c;

    lines_init(&l, 3);
    for (int i = 0; i < 5; i++) {
        char text[20];

        snprintf(text, sizeof text, "line %d", i);
        lines_add(&l, text, i & 1);
    }
    lines_add(&l, "abcdefghijk", 0);
    CHECK_EQ(l.count, 3);
    CHECK_STR(lines_at(&l, 0)->text, "line 3");
    CHECK_EQ(lines_rows(&l, 99, 6), 4);
    canvas_init(&c, 6, 3);
    lines_draw(&l, "open", &c, (struct rect){0, 0, 6, 3}, 1, styles);
    char *text = dump(&c, false);
    CHECK_STR(text, "line 4\nabcdef\nghijk\n");
    free(text);
    canvas_init(&c, 6, 3);
    lines_draw(&l, NULL, &c, (struct rect){0, 0, 6, 3}, 1000000, styles);
    text = dump(&c, false);
    CHECK_STR(text, "\n\n\n");
    free(text);
    lines_fini(&l);
}

static const struct test tests[] = {
    {"clips", clips},
    {"exact_fit_has_no_mark", exact_fit_has_no_mark},
    {"cells_pad_and_cut", cells_pad_and_cut},
    {"unsafe_becomes_a_question_mark", unsafe_becomes_a_question_mark},
    {"every_style_has_its_letter", every_style_has_its_letter},
    {"themes_are_chosen", themes_are_chosen},
    {"lines_wrap_and_scroll", lines_wrap_and_scroll},
};
TEST_MAIN(tests)
