/* Expressions: values, precedence, errors with their column, bounds against hostile text. */
#include <errno.h>
#include <stdlib.h>

#include "debug/expr.h"
#include "tests/test.h"
#include "vmm/base/le.h"
#include "vmm/base/x.h"
#include "vmm/regs.h"

static uint8_t memory[64];

static bool symbol(void *arg, const char *name, uint64_t *v)
{
    (void)arg;
    if (!strcmp(name, "main"))
        *v = 0x401000;
    else if (!strcmp(name, "table"))
        *v = 0x10;
    else if (!strcmp(name, "io"))
        *v = 2;
    else
        return false;
    return true;
}

static int field(void *arg, const char *name)
{
    (void)arg;
    return !strcmp(name, "kind") ? 0 : !strcmp(name, "port") ? 1 : !strcmp(name, "gpa") ? 2 : -1;
}

static int text_fn(void *arg, const char *name)
{
    (void)arg;
    return strcmp(name, "symbol") ? -1 : 7;
}

static bool get_reg(void *arg, int id, uint64_t *v)
{
    (void)arg;
    *v = id == REG_rax   ? 0x1122334455667788
         : id == REG_rip ? 0x401000
         : id == REG_cs  ? 0x7c0
         : id == REG_rbx ? 0xfffffffe
                         : 0;
    return id != REG_cr0;
}

static bool get_mem(void *arg, uint64_t at, void *dst, size_t len)
{
    (void)arg;
    if (at > sizeof memory || len > sizeof memory - at)
        return false;
    memcpy(dst, memory + at, len);
    return true;
}

static bool get_field(void *arg, int id, uint64_t *v)
{
    (void)arg;
    *v = id == 0 ? 2 : 0x3f8;
    return id != 2;
}

static bool get_text(void *arg, int id, uint64_t x, char *dst, size_t cap)
{
    (void)arg;
    if (id != 7 || x != 0x401000)
        return false;
    snprintf(dst, cap, "main");
    return true;
}

static const struct expr_names names = {NULL, symbol, field, text_fn};
static const struct expr_env env = {NULL, get_reg, get_mem, get_field, get_text};
static struct err err;

static int run(const char *text, uint64_t *v)
{
    struct expr *x = expr_compile(text, &names, &err);
    int rc = -1;

    if (x)
        rc = expr_eval(x, &env, v, &err);
    expr_free(x);
    return rc;
}

static void values(void)
{
    static const struct {
        const char *text;
        uint64_t want;
    } rows[] = {
        {"1", 1},
        {"0x7c00", 0x7c00},
        {"0b101", 5},
        {"0o17", 15},
        {"0", 0},
        {"18446744073709551615", UINT64_MAX},
        {"0XffUL", 255},
        {"4k", 4096},
        {"2M", 2u << 20},
        {"'A'", 65},
        {"'\\n'", 10},
        {"'\\x7f'", 127},
        {"'\\''", 39},
        {"1+2*3", 7},
        {"(1+2)*3", 9},
        {"10-3-2", 5},
        {"100/7/2", 7},
        {"7%4", 3},
        {"1<<4|1", 17},
        {"1|2^3&2", 1},
        {"6&3==3", 0},
        {"(6&3)==2", 1},
        {"1<2==1", 1},
        {"2<<1+1", 8},
        {"1<<64", 0},
        {"1<<63>>63", 1},
        {"1>>200", 0},
        {"~0", UINT64_MAX},
        {"!5", 0},
        {"!0", 1},
        {"-1", UINT64_MAX},
        {"- -1", 1},
        {"+5", 5},
        {"-1 > 0", 1},
        {"(s32)$ebx < 0", 1},
        {"(s32)$ebx", 0xfffffffffffffffe},
        {"$ebx < 0", 0},
        {"(s8)0x80", 0xffffffffffffff80},
        {"(u8)0x1ff", 0xff},
        {"(s64)-8/2", (uint64_t)-4},
        {"(s64)-8>>1", (uint64_t)-4},
        {"(s64)-8>>70", UINT64_MAX},
        {"(s64)0x8000000000000000/(s8)-1", 0x8000000000000000},
        {"(s64)0x8000000000000000%(s8)-1", 0},
        {"(s8)-1 < $rax", 0},
        {"1 ? 2 : 3", 2},
        {"0 ? 2 : 3", 3},
        {"0 ? 1 : 0 ? 2 : 3", 3},
        {"1 ? 0 ? 4 : 5 : 6", 5},
        {"1 ? (0x10:2) : 3", 0x102},
        {"0x7c0:0x10", 0x7c10},
        {"$cs:$eip+1", 0x7c00 + 0x401001},
        {"(1?0x10:0):1+1", 0x102},
        {"0 && 1/0", 0},
        {"1 || 1/0", 1},
        {"5 && 6", 1},
        {"0 || 7", 1},
        {"0 || 0", 0},
        {"1 && 0 || 1", 1},
        {"$rax", 0x1122334455667788},
        {"$eax", 0x55667788},
        {"$ah", 0x77},
        {"$AL", 0x88},
        {"rax", 0x1122334455667788},
        {"$pc == main", 1},
        {"main+4", 0x401004},
        {"&main", 0x401000},
        {"*(u8*)table", 0x10},
        {"*(u16*)(table+1)", 0x1211},
        {"*(u32 *)0x10", 0x13121110},
        {"*(u64*)0x10", 0x1716151413121110},
        {"*table", 0x1716151413121110},
        {"*(s8*)0x3f", 0xffffffffffffffff},
        {"*(unsigned char*)0x3f", 0xff},
        {"*(int*)0x10", 0x13121110},
        {"*(u32*)table+1", 0x13121111},
        {"*((u32*)table+1)", 0x17161514},
        {"*(u8*)*(u8*)table", 0x10},
        {"-*(u8*)table", (uint64_t)-0x10},
        {"kind==io", 1},
        {"kind==io && port==0x3f8", 1},
        {"symbol(rip)==\"main\"", 1},
        {"symbol($rip+0)!=\"main\"", 0},
        {"\"main\"==symbol(main)", 1},
        {"symbol(5)==\"\"", 1},
        {"symbol(5)==\"main\"", 0},
        {"1 ? symbol(rip)==\"main\" : 0", 1},
        {"  1 + \t1 ", 2},
        {"(1 ? 5 : 6) + 7", 12}, /* constants on two ways must not become one */
        {"(0 ? 5 : 6) + 7", 13},
        {"0 ? 1 : 2 + 3", 5},
        {"(0 || 2) + 3", 4},
        {"1 << 4 > 15", 1},
    };

    for (size_t i = 0; i < sizeof memory; i++)
        memory[i] = (uint8_t)i;
    memory[0x3f] = 0xff;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        uint64_t v = 0;

        if (run(rows[i].text, &v))
            TEST_FAIL("%s: %s", rows[i].text, err.msg);
        if (v != rows[i].want)
            TEST_FAIL("%s is 0x%llx, want 0x%llx", rows[i].text, (unsigned long long)v,
                      (unsigned long long)rows[i].want);
    }
}

static void errors(void)
{
    static const struct {
        const char *text;
        unsigned column;
        const char *part;
    } rows[] = {
        {"", 1, "missing at the end"},
        {"1 +", 4, "missing at the end"},
        {"1 + * ", 7, "missing at the end"},
        {"1 2", 3, "operator is missing"},
        {"(1", 3, "\")\" is missing"},
        {"1)", 2, "closes nothing"},
        {"$zax + 1", 1, "no register $zax"},
        {"1 + foo", 5, "no symbol \"foo\""},
        {"1 + c0de", 5, "start with 0x"},
        {"7c00", 1, "hexadecimal"},
        {"010", 1, "0o"},
        {"0x", 1, "digits are missing"},
        {"0x1g00", 1, "mean nothing"},
        {"18446744073709551616", 1, "64 bits"},
        {"17179869184g", 1, "64 bits"},
        {"port = 5", 6, "== compares"},
        {"1 @@", 3, "operator is missing"},
        {"1 # 2", 3, "no meaning"},
        {"'ab'", 1, "one character"},
        {"''", 1, "one character"},
        {"'a", 1, "closing"},
        {"\"a", 1, "closing"},
        {"'\\", 1, "closing"},
        {"'\\q'", 3, "escape"},
        {"\"x\"", 1, "only be compared"},
        {"symbol(1)", 1, "this is text"},
        {"symbol(1)+1", 1, "== and !="},
        {"symbol(1)<\"a\"", 1, "== and !="},
        {"\"a\"==\"a\"", 6, "with a \"string\""},
        {"symbol(1", 9, "\")\" is missing"},
        {"nofn(1)", 1, "no function"},
        {"1 ? 2", 6, "\":\" is missing"},
        {"$xmm0", 1, "128 bits"},
        {"$", 1, "name is missing"},
        {"&5", 2, "symbol"},
        {"1/0", 2, "division by zero"},
        {"1%(2-2)", 2, "division by zero"},
        {"*(u32*)0x100", 1, "cannot read 4 bytes at 0x100"},
        {"$cr0", 1, "no value here"},
        {"gpa", 1, "no value here"},
        {"1 + \033[2J", 5, "\\x1b"},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char column[20];
        uint64_t v;

        if (!run(rows[i].text, &v))
            TEST_FAIL("%s was taken", rows[i].text);
        snprintf(column, sizeof column, "column %u of", rows[i].column);
        if (!strstr(err.msg, rows[i].part) || !strstr(err.msg, column))
            TEST_FAIL("%s: \"%s\", want %s and \"%s\"", rows[i].text, err.msg, column,
                      rows[i].part);
        CHECK(!strchr(err.msg, '\033'));
    }
    CHECK_EQ(run("*0x1000", &(uint64_t){0}), -EFAULT);
    CHECK(!expr_compile("1+", NULL, NULL));
}

static char *repeat(const char *what, unsigned times, const char *end)
{
    size_t n = strlen(what);
    char *s = xcalloc(n * times + strlen(end) + 1, 1);

    for (unsigned i = 0; i < times; i++)
        memcpy(s + i * n, what, n);
    memcpy(s + n * times, end, strlen(end) + 1);
    return s;
}

static void hostile_text_is_bounded(void)
{
    static const struct {
        const char *piece;
        unsigned times;
        const char *end;
    } rows[] = {
        {"(", 1900, "1"},   {"-", 1900, "1"},    {"1+(", 600, "1"},   {"1?", 900, "1"},
        {"*", 1900, "1"},   {"$rax+", 390, "1"}, {"a", 1900, ""},     {"9", 1900, ""},
        {"\"", 1901, ""},   {"(u8)", 480, "1"},  {"$rax:", 390, "1"}, {"1", 2500, ""},
        {"1?1:", 480, "1"}, {"$", 1900, ""},     {"&", 1900, "main"}, {"symbol(", 200, "1"}};

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char *s = repeat(rows[i].piece, rows[i].times, rows[i].end);
        struct expr *x = expr_compile(s, &names, &err);

        if (x)
            TEST_FAIL("%s… was taken", rows[i].piece);
        CHECK(err.msg[0]);
        free(s);
    }
    char *s = repeat("1+", 150, "1");
    uint64_t v;

    CHECK(!run(s, &v));
    CHECK_EQ(v, 151);
    free(s);
}

static void keeps_its_text(void)
{
    static const char *const texts[] = {"1==1", "1 + (1==1)", "1?1<2:3<4", "symbol(1)==\"\""};

    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct expr *x = expr_compile(texts[i], &names, &err);

        CHECK(x);
        CHECK_STR(expr_text(x), texts[i]);
        expr_free(x);
    }
}

static void without_callbacks(void)
{
    struct expr *x = expr_compile("$rax + *(u8*)0", NULL, &err);
    uint64_t v;

    CHECK(x);
    CHECK_EQ(expr_eval(x, NULL, &v, &err), -EINVAL);
    CHECK_EQ(expr_eval(x, &(struct expr_env){0}, &v, NULL), -EINVAL);
    expr_free(x);
    x = expr_compile("1+1", NULL, NULL);
    CHECK(x && !expr_eval(x, NULL, &v, NULL) && v == 2);
    expr_free(x);
}

static const struct test tests[] = {
    {"expr: values", values},
    {"expr: errors point at their column", errors},
    {"expr: hostile text is bounded", hostile_text_is_bounded},
    {"expr: keeps its text", keeps_its_text},
    {"expr: without callbacks", without_callbacks},
};
TEST_MAIN(tests)
