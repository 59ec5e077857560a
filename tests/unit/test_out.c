/*
 * The sink of commands: what people see and what programs read come from the same calls.
 */
#include "debug/out.h"

#include "tests/test.h"

static void lines_and_pairs(void)
{
    struct out o = {0};

    out_line(&o, "hello %d", 1);
    out_kv_hex(&o, "last exit", 0x10);
    out_kv_u64(&o, "big", UINT64_MAX);
    out_kv_str(&o, "name", "a\"b");
    out_end(&o);
    CHECK_STR(buf_str(&o.text), "hello 1\n"
                                "last exit          0x10\n"
                                "big                18446744073709551615\n"
                                "name               a\"b\n");
    CHECK_STR(buf_str(&o.json), "{\"text\":[\"hello 1\"],\"last_exit\":16,"
                                "\"big\":\"18446744073709551615\",\"name\":\"a\\\"b\"}");
    CHECK(!o.failed);
    out_fini(&o);
}

static void empty_answer_is_an_object(void)
{
    struct out o = {0};

    out_end(&o);
    CHECK_STR(buf_str(&o.json), "{}");
    CHECK_EQ(o.text.len, 0);
    out_fini(&o);
}

static void an_error_is_the_last_line(void)
{
    struct out o = {0};

    out_line(&o, "before");
    out_error(&o, "cannot read %s", "it");
    out_end(&o);
    CHECK(o.failed);
    CHECK_STR(buf_str(&o.text), "before\ncannot read it\n");
    CHECK_STR(buf_str(&o.json), "{\"error\":\"cannot read it\",\"text\":[\"before\"]}");
    out_fini(&o);
}

static void tables_align(void)
{
    static const char *const columns[] = {"name", ">count", "at", NULL};
    struct out o = {0};

    out_table(&o, "things", "none", columns);
    out_row(&o);
    out_cell(&o, "a");
    out_cell_u64(&o, 5);
    out_cell_hex(&o, 0x1000);
    out_row(&o);
    out_cell(&o, "longer");
    out_cell_u64(&o, 12345);
    out_cell_hex(&o, UINT64_MAX);
    out_table_end(&o);
    out_end(&o);
    CHECK_STR(buf_str(&o.text), "name    count  at\n"
                                "a           5  0x1000\n"
                                "longer  12345  0xffffffffffffffff\n");
    CHECK_STR(buf_str(&o.json),
              "{\"things\":[{\"name\":\"a\",\"count\":5,\"at\":4096},"
              "{\"name\":\"longer\",\"count\":12345,\"at\":\"0xffffffffffffffff\"}]}");
    out_fini(&o);
}

/* Left out of the text when no cell says anything, never of the JSON. */
static void usual_columns(void)
{
    static const char *const columns[] = {"a", "~~b", "~all~c", "~0~>d", NULL};
    struct out o = {0};

    for (unsigned i = 0; i < 3; i++) {
        out_table(&o, "t", NULL, columns);
        for (unsigned row = 0; row < 2; row++) {
            out_row(&o);
            out_cell(&o, "x");
            out_cell(&o, "%s", i == 2 && row ? "y" : "");
            out_cell(&o, i == 1 && !row ? "al" : "all");
            out_cell_u64(&o, i == 2 ? 10 : 0);
        }
        out_table_end(&o);
    }
    out_end(&o);
    CHECK_STR(buf_str(&o.text), "a\nx\nx\na  c\nx  al\nx  all\na  b   d\nx     10\nx  y  10\n");
    CHECK_HAS(buf_str(&o.json), "{\"t\":[{\"a\":\"x\",\"b\":\"\",\"c\":\"all\",\"d\":0},");
    out_fini(&o);
}

static void empty_and_short_rows(void)
{
    static const char *const columns[] = {"a", "b c", NULL};
    struct out o = {0};

    out_table(&o, "t", "nothing here", columns);
    out_table_end(&o);
    out_table(&o, "t", NULL, columns);
    out_row(&o);
    out_row(&o);
    out_cell(&o, "x");
    out_cell_num(&o, 0.5, "50%%");
    out_end(&o); /* closes the table itself */
    CHECK_STR(buf_str(&o.text), "nothing here\na  b c\n\nx  50%\n");
    CHECK_STR(buf_str(&o.json), "{\"t\":[],\"t_2\":[{},{\"a\":\"x\",\"b_c\":0.5}]}");
    out_fini(&o);
}

static void records_have_no_text_of_their_own(void)
{
    static const char *const columns[] = {"a", NULL};
    struct out o = {0};

    out_records(&o, "r", columns);
    out_row(&o);
    out_cell(&o, "x");
    out_text(&o, "the x");
    out_table_end(&o);
    out_end(&o);
    CHECK_STR(buf_str(&o.text), "the x\n");
    CHECK_STR(buf_str(&o.json), "{\"r\":[{\"a\":\"x\"}]}");
    out_fini(&o);
}

static void guest_text_cannot_drive_the_terminal(void)
{
    static const char *const columns[] = {"a", NULL};
    struct out o = {0};

    out_line(&o, "bad \033[2J");
    out_error(&o, "bad \a");
    out_table(&o, "t", NULL, columns);
    out_row(&o);
    out_cell(&o, "two\nlines \033");
    out_end(&o);
    CHECK(!strchr(buf_str(&o.text), '\033') && !strchr(buf_str(&o.text), '\a'));
    CHECK_HAS(buf_str(&o.text), "two lines \\x1b\n");
    CHECK_HAS(buf_str(&o.json), "\\u001b[2J");
    out_fini(&o);
}

static void more_may_follow_an_end(void)
{
    struct out o = {0};

    out_line(&o, "one");
    out_end(&o);
    out_line(&o, "two");
    out_end(&o);
    CHECK_STR(buf_str(&o.json), "{\"text\":[\"one\",\"two\"]}");
    out_fini(&o);
}

static const struct test tests[] = {
    {"lines_and_pairs", lines_and_pairs},
    {"empty_answer_is_an_object", empty_answer_is_an_object},
    {"an_error_is_the_last_line", an_error_is_the_last_line},
    {"tables_align", tables_align},
    {"usual_columns", usual_columns},
    {"empty_and_short_rows", empty_and_short_rows},
    {"records_have_no_text_of_their_own", records_have_no_text_of_their_own},
    {"guest_text_cannot_drive_the_terminal", guest_text_cannot_drive_the_terminal},
    {"more_may_follow_an_end", more_may_follow_an_end},
};
TEST_MAIN(tests)
