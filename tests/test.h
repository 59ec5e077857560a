/*
 * A test program is an array of tests and TEST_MAIN. Each prints one line: `ok NAME`,
 * `FAIL NAME: where and what`, or `SKIP NAME: reason`; tests/run counts these lines. The exit
 * status is the number of failures, at most 100.
 */
#ifndef TESTS_TEST_H
#define TESTS_TEST_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* How long to wait, in nanoseconds, for what comes for certain unless something hangs. A machine
 * that is ten times slower, or taken away for most of each second, must not reach it; it is below
 * what tests/run gives a program, so that the test can say what hung. */
#define TEST_HANG_NS 300000000000ull

struct test {
    const char *name;
    void (*fn)(void);
};

static bool test_failed, test_skipped;
static char test_why[600];

static inline __attribute__((format(printf, 3, 4))) void test_fail(const char *file, int line,
                                                                   const char *fmt, ...)
{
    va_list ap;
    int n = snprintf(test_why, sizeof test_why, "%s:%d: ", file, line);

    va_start(ap, fmt);
    vsnprintf(test_why + n, sizeof test_why - (size_t)n, fmt, ap);
    va_end(ap);
    test_failed = true;
}

#define TEST_FAIL(...)                                                                             \
    do {                                                                                           \
        test_fail(__FILE__, __LINE__, __VA_ARGS__);                                                \
        return;                                                                                    \
    } while (0)
/* Ends the running test as skipped; only for what this host cannot do. */
#define SKIP(...)                                                                                  \
    do {                                                                                           \
        snprintf(test_why, sizeof test_why, __VA_ARGS__);                                          \
        test_skipped = true;                                                                       \
        return;                                                                                    \
    } while (0)
#define CHECK(cond)                                                                                \
    do {                                                                                           \
        if (!(cond))                                                                               \
            TEST_FAIL("%s", #cond);                                                                \
    } while (0)
#define CHECK_EQ(a, b)                                                                             \
    do {                                                                                           \
        unsigned long long a_ = (unsigned long long)(a), b_ = (unsigned long long)(b);             \
        if (a_ != b_)                                                                              \
            TEST_FAIL("%s is 0x%llx, %s is 0x%llx", #a, a_, #b, b_);                               \
    } while (0)
#define CHECK_STR(a, b)                                                                            \
    do {                                                                                           \
        const char *a_ = (a), *b_ = (b);                                                           \
        if (strcmp(a_, b_))                                                                        \
            TEST_FAIL("%s is \"%s\", want \"%s\"", #a, a_, b_);                                    \
    } while (0)
#define CHECK_HAS(text, part)                                                                      \
    do {                                                                                           \
        const char *t_ = (text), *p_ = (part);                                                     \
        if (!strstr(t_, p_))                                                                       \
            TEST_FAIL("\"%s\" is not in \"%s\"", p_, t_);                                          \
    } while (0)

static int test_main(const struct test *t, size_t count, int argc, char **argv)
{
    int failures = 0;

    for (size_t i = 0; i < count; i++) {
        if (argc > 1 && !strstr(t[i].name, argv[1]))
            continue;
        test_failed = test_skipped = false;
        t[i].fn();
        if (test_failed)
            printf("FAIL %s: %s\n", t[i].name, test_why);
        else if (test_skipped)
            printf("SKIP %s: %s\n", t[i].name, test_why);
        else
            printf("ok %s\n", t[i].name);
        fflush(stdout);
        failures += test_failed;
    }
    return failures > 100 ? 100 : failures;
}
#define TEST_MAIN(tests)                                                                           \
    int main(int argc, char **argv)                                                                \
    {                                                                                              \
        return test_main(tests, sizeof(tests) / sizeof((tests)[0]), argc, argv);                   \
    }

#endif
