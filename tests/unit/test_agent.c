/* gdb's agent expressions. */
#include <errno.h>

#include "debug/gdb/agent.h"
#include "tests/test.h"

static bool reg(void *arg, unsigned number, uint64_t *value)
{
    (void)arg;
    *value = number * 0x100u;
    return number < 16;
}

/* Memory that holds its own address, byte by byte, below 64 KiB. */
static bool mem(void *arg, uint64_t addr, void *dst, size_t len)
{
    (void)arg;
    if (addr + len > 0x10000)
        return false;
    for (size_t i = 0; i < len; i++)
        ((uint8_t *)dst)[i] = (uint8_t)(addr + i);
    return true;
}

/* The value of a program, or -errno of compiling (×1000) or running it. */
static int64_t run(const char *code, size_t len, struct buf *print)
{
    struct agent_env env = {.reg = reg, .mem = mem, .print = print};
    struct err e = {0};
    struct agent *a = agent_compile(code, len, &e);
    uint64_t v = 0;
    int rc;

    if (!a)
        return -1000ll * e.code;
    rc = agent_run(a, &env, &v, &e);
    agent_free(a);
    return rc < 0 ? rc : (int64_t)v;
}
#define RUN(code) run(code, sizeof code - 1, NULL)

static void arithmetic(void)
{
    CHECK_EQ(RUN("\x22\x05\x22\x03\x02\x27"), 8);          /* 5 + 3 */
    CHECK_EQ(RUN("\x22\x05\x22\x03\x03\x27"), 2);          /* 5 - 3 */
    CHECK_EQ(RUN("\x22\x05\x22\x03\x04\x27"), 15);         /* 5 * 3 */
    CHECK_EQ(RUN("\x22\xfb\x16\x08\x22\x02\x05\x27"), -2); /* (s8)0xfb / 2 */
    CHECK_EQ(RUN("\x22\x11\x22\x05\x08\x27"), 2);          /* 17 % 5 */
    CHECK_EQ(RUN("\x22\x01\x22\x3f\x09\x22\x3f\x0b\x27"), 1);
    CHECK_EQ(RUN("\x22\x01\x22\x40\x09\x27"), 0);         /* shifts by 64 */
    CHECK_EQ(RUN("\x22\xff\x16\x08\x22\x05\x14\x27"), 1); /* -1 < 5 signed */
    CHECK_EQ(RUN("\x22\xff\x16\x08\x22\x05\x15\x27"), 0); /* not unsigned */
    CHECK_EQ(RUN("\x22\x00\x0e\x27"), 1);
    CHECK_EQ(RUN("\x22\x00\x12\x27"), -1);
    CHECK_EQ(RUN("\x25\x12\x34\x56\x78\x9a\xbc\xde\xf0\x27"), 0x123456789abcdef0);
    CHECK_EQ(RUN("\x22\xff\x2a\x04\x27"), 0xf);
}

static void division_never_traps(void)
{
    CHECK_EQ(RUN("\x22\x05\x22\x00\x05\x27"), -EINVAL);
    CHECK_EQ(RUN("\x22\x05\x22\x00\x08\x27"), -EINVAL);
    /* INT64_MIN / -1 and its remainder */
    CHECK_EQ(RUN("\x25\x80\0\0\0\0\0\0\0\x22\xff\x16\x08\x05\x27"), INT64_MIN);
    CHECK_EQ(RUN("\x25\x80\0\0\0\0\0\0\0\x22\xff\x16\x08\x07\x27"), 0);
}

static void registers_and_memory(void)
{
    CHECK_EQ(RUN("\x26\x00\x02\x27"), 0x200);
    CHECK_EQ(RUN("\x26\x00\x20\x27"), -EINVAL);
    CHECK_EQ(RUN("\x23\x10\x20\x17\x27"), 0x20);
    CHECK_EQ(RUN("\x23\x10\x20\x19\x27"), 0x23222120);
    CHECK_EQ(RUN("\x24\x00\x10\x00\x00\x17\x27"), -EFAULT);
}

static void stack_order(void)
{
    CHECK_EQ(RUN("\x22\x01\x22\x02\x2b\x03\x27"), 1);             /* swap: 2 - 1 */
    CHECK_EQ(RUN("\x22\x01\x22\x02\x22\x03\x33\x29\x29\x27"), 3); /* rot: c at the bottom */
    CHECK_EQ(RUN("\x22\x07\x22\x02\x32\x01\x27"), 7);             /* pick */
    CHECK_EQ(RUN("\x22\x07\x28\x02\x27"), 14);
    CHECK_EQ(RUN("\x27"), 0);
}

static void jumps(void)
{
    /* if reg2 == 0x200 then 1 else 9 */
    CHECK_EQ(RUN("\x26\x00\x02\x23\x02\x00\x13\x20\x00\x0d\x22\x09\x27\x22\x01\x27"), 1);
    CHECK_EQ(RUN("\x26\x00\x03\x23\x02\x00\x13\x20\x00\x0d\x22\x09\x27\x22\x01\x27"), 9);
    CHECK_EQ(RUN("\x21\x00\x00"), -ELOOP);
}

static void refuses_bad_code(void)
{
    CHECK_EQ(RUN(""), -1000ll * EINVAL);
    CHECK_EQ(RUN("\x02\x27"), -1000ll * EINVAL);             /* empty stack */
    CHECK_EQ(RUN("\x22"), -1000ll * EINVAL);                 /* cut operand */
    CHECK_EQ(RUN("\x22\x01"), -1000ll * EINVAL);             /* no end */
    CHECK_EQ(RUN("\x21\x01\x00"), -1000ll * EINVAL);         /* jump outside */
    CHECK_EQ(RUN("\x22\x01\x21\x00\x00"), -1000ll * EINVAL); /* a stack that grows */
    CHECK_EQ(RUN("\x1b\x27"), -1000ll * EINVAL);             /* floating point */
    CHECK_EQ(RUN("\xff"), -1000ll * EINVAL);
    CHECK_EQ(RUN("\x22\x01\x32\x01\x27"), -1000ll * EINVAL); /* pick below */
    CHECK_EQ(RUN("\x22\x01\x16\x41\x27"), -1000ll * EINVAL); /* 65 bits */
    CHECK_EQ(RUN("\x34\x00\x00\x05%d\x27"), -1000ll * EINVAL);
}

static void prints(void)
{
    struct buf b = {0};
    /* args, function, channel, printf */
    static const char code[] = "\x22\x2a\x22\x10\x22\x00\x22\x00\x34\x02\x00\x0cx=%d p=%lx%%\0\x27";
    static const char fine[] = "\x22\x2a\x22\x10\x22\x00\x22\x00\x34\x02\x00\x0dx=%d p=%lx%%\0\x27";

    CHECK_EQ(run(code, sizeof code - 1, &b), -1000ll * EINVAL);
    CHECK_EQ(run(fine, sizeof fine - 1, &b), 0);
    CHECK_STR(buf_str(&b), "x=42 p=10%");
    buf_clear(&b);
    static const char escapes[] = "\x22\x00\x22\x00\x34\x00\x00\x0d"
                                  "a\\n\\t\\\\\\101\\"
                                  "\0\x27";
    CHECK_EQ(run(escapes, sizeof escapes - 1, &b), 0);
    CHECK_STR(buf_str(&b), "a\n\t\\A");
    buf_clear(&b);
    /* more conversions than arguments, and one that nobody knows */
    static const char odd[] = "\x22\x00\x22\x00\x34\x00\x00\x09%d %n %s\0\x27";
    CHECK_EQ(run(odd, sizeof odd - 1, &b), 0);
    buf_fini(&b);
}

static const struct test tests[] = {
    {"arithmetic", arithmetic},
    {"division_never_traps", division_never_traps},
    {"registers_and_memory", registers_and_memory},
    {"stack_order", stack_order},
    {"jumps", jumps},
    {"refuses_bad_code", refuses_bad_code},
    {"prints", prints},
};
TEST_MAIN(tests)
