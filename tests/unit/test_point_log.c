/* The lines of points that log: formats, values, and what is refused. */
#include <string.h>

#include "debug/points/point_log.h"
#include "tests/test.h"

/* A guest whose memory is one text at 0x1000. */
static bool memory(void *arg, uint64_t at, void *dst, size_t len)
{
    static const char text[] = "task\033[31m";

    (void)arg;
    if (at < 0x1000 || at + len > 0x1000 + sizeof text)
        return false;
    memcpy(dst, text + (at - 0x1000), len);
    return true;
}

static const struct expr_env env = {.mem = memory};

static void formats(void)
{
    static const struct {
        const char *text, *line;
    } rows[] = {
        {"\"plain\"", "plain"},
        {"  \"\"", ""},
        {"\"%d %u\", 0-1, 7", "-1 7"},
        {"\"%hhd %hd %hhx\", 0xff, 0xffff, 0x1234", "-1 -1 34"},
        {"\"%#lx|%5llx|%-5x|%05d\",16,16,16,16", "0x10|   10|10   |00016"},
        {"\"%p %c%c %%\", 4096, 'o', 107", "0x1000 ok %"},
        {"\"<%.4s>\", 0x1000", "<task>"},
        {"\"<%s>\", 0x10", "<>"},
        {"\"%x\", *(u8*)0", "<"},
        {"\"a\\tb\\\"\\\\\"", "a\tb\"\\"},
        {"\"%d\", (1, 2) ", NULL},
        {"\"%d\", ','", "44"},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct err e = {0};
        struct buf line = {0};
        struct point_log *l = point_log_new(rows[i].text, NULL, &e);

        if (!rows[i].line) {
            CHECK(!l && e.msg[0]);
            continue;
        }
        CHECK(l != NULL);
        point_log_format(l, &env, &line);
        CHECK(!strncmp(buf_str(&line), rows[i].line, strlen(rows[i].line)));
        buf_fini(&line);
        point_log_free(l);
    }
}

static void refused(void)
{
    static const char *const rows[] = {
        "",
        "x",
        "\"",
        "\"%",
        "\"%\"",
        "\"%n\", 1",
        "\"%*d\", 1, 2",
        "\"%999d\", 1",
        "\"%.999d\", 1",
        "\"%0000000000000000000001d\", 1",
        "\"%d\"",
        "\"%d\",",
        "\"%d\", nosuchname",
        "\"x\", 1",
        "\"x\" 1",
        "\"%d%d%d%d%d%d%d%d%d%d%d%d%d%d%d%d%d\",1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1",
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct err e = {0};

        CHECK(point_log_new(rows[i], NULL, &e) == NULL);
        CHECK(e.code && e.msg[0]);
    }
}

static const struct test tests[] = {{"formats", formats}, {"refused", refused}};
TEST_MAIN(tests)
