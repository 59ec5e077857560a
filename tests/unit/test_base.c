/*
 * vmm/base: the pieces that everything else trusts.
 */
#include "tests/test.h"

#include <errno.h>
#include <stdlib.h>

#include "vmm/base/buf.h"
#include "vmm/base/clock.h"
#include "vmm/base/err.h"
#include "vmm/base/esc.h"
#include "vmm/base/le.h"
#include "vmm/base/log.h"
#include "vmm/base/sha256.h"

static void buf_grows_and_eats(void)
{
    struct buf b = {0};

    for (int i = 0; i < 1000; i++)
        buf_addf(&b, "%d,", i);
    CHECK_EQ(b.len, 10 * 2 + 90 * 3 + 900 * 4);
    CHECK_EQ(strlen(buf_str(&b)), b.len);
    buf_eat(&b, b.len - 4);
    CHECK_STR(buf_str(&b), "999,");
    buf_eat(&b, 100);
    CHECK_EQ(b.len, 0);
    buf_adds(&b, "a\nbc");
    buf_pad(&b, 5);
    CHECK_STR(buf_str(&b), "a\nbc   ");
    buf_fini(&b);
    CHECK_STR(buf_str(&b), "");
}

static void esc_stops_terminal_codes(void)
{
    struct buf b = {0};
    char small[12];

    esc_line(&b, "a\x1b[2J\\\n", 7);
    CHECK_STR(buf_str(&b), "a\\x1b[2J\\\\\\x0a");
    buf_clear(&b);
    esc_console(&b, "x\r\ny\x1b]0;t\x07\xc3\xa9\xc2\x9b\xe2\x80\xae\xff", 18);
    CHECK_STR(buf_str(&b), "x\ny\\x1b]0;t\\x07\xc3\xa9\\xc2\\x9b\\xe2\\x80\\xae\\xff");
    buf_clear(&b);
    esc_json(&b, "\"\\\x01\xff", 4);
    CHECK_STR(buf_str(&b), "\"\\\"\\\\\\u0001\\ufffd\"");
    CHECK_STR(esc_cut(small, sizeof small, "abcdefghijklmnop", 16), "abcdefgh...");
    CHECK_STR(esc_cut(small, sizeof small, "abc", 3), "abc");
    buf_fini(&b);
}

static void le_is_bounded(void)
{
    static const uint8_t raw[] = {1, 2, 3, 4};
    struct bytes b = {raw, 4};
    uint64_t v;

    CHECK(le_get(b, 0, 4, &v));
    CHECK_EQ(v, 0x04030201);
    CHECK(!le_get(b, 1, 4, &v));
    CHECK(!le_get(b, UINT64_MAX, 2, &v));
    CHECK_EQ(le_sub(b, 3, 10).n, 1);
    CHECK_EQ(le_sub(b, UINT64_MAX, 10).n, 0);
}

static void err_prefixes(void)
{
    struct err e = {0};

    CHECK_EQ(err_set(&e, EINVAL, "bad %d", 7), -EINVAL);
    CHECK_EQ(err_prefix(&e, "file %s", "x"), -EINVAL);
    CHECK_STR(e.msg, "file x: bad 7");
    CHECK_EQ(err_set(NULL, ENOENT, "nobody reads"), -ENOENT);
}

static void log_levels_by_module(void)
{
    char line[LOG_LINE_CAP];

    log_levels("test_base:debug,other:error");
    log_debug("seen %d", 1);
    CHECK(log_line(log_newest(), line));
    CHECK_HAS(line, "test_base: seen 1");
    CHECK(!log_wants(LOG_WARN, "x/other.c"));
    CHECK(log_wants(LOG_INFO, "x/third.c"));
    CHECK(!log_line(log_newest() + 1, line));
}

static void sha256_of_known_texts(void)
{
    char hex[65], a[120];

    sha256_hex("", 0, hex);
    CHECK_STR(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    sha256_hex("abc", 3, hex);
    CHECK_STR(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    memset(a, 'a', sizeof a); /* the length goes into a block of its own */
    sha256_hex(a, 119, hex);
    CHECK_STR(hex, "31eba51c313a5c08226adf18d4a359cfdfd8d2e816b13f4af952f7ea6584dcfb");
    sha256_hex(a, 120, hex);
    CHECK_STR(hex, "2f3d335432c70b580af0e8e1b3674a7c020d683aa5f73aaaedfdc55af904c21c");
}

static void patience_outlasts_a_pause(void)
{
    const uint64_t ms = 1000000, start = 5;
    struct patience p = {0};

    CHECK_EQ(patience_used(&p, start), 0);
    CHECK_EQ(patience_used(&p, start + 400 * ms), 400 * ms);
    CHECK_EQ(patience_used(&p, start + 60400 * ms), 1400 * ms); /* a minute's pause */
    CHECK_EQ(patience_used(&p, start + 60401 * ms), 1401 * ms);
    p = (struct patience){.look_ns = 50 * ms};
    CHECK_EQ(patience_used(&p, start), 0);
    CHECK_EQ(patience_used(&p, start + 900 * ms), 100 * ms);
}

static const struct test tests[] = {
    {"sha256_of_known_texts", sha256_of_known_texts},
    {"buf grows and eats", buf_grows_and_eats},
    {"esc stops terminal codes", esc_stops_terminal_codes},
    {"le is bounded", le_is_bounded},
    {"err prefixes", err_prefixes},
    {"log levels by module", log_levels_by_module},
    {"patience outlasts a pause", patience_outlasts_a_pause},
};
TEST_MAIN(tests)
