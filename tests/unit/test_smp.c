/*
 * Several vCPUs: all of them stop, and no breakpoint is lost when they pass the same one at once.
 */
#include "tests/unit/guest_image.h"

#include <stdlib.h>
#include <unistd.h>

#include "debug/session.h"

#define AT      0x7000ull
#define AP_AT   0x8000ull
#define COUNTER 0x6000ull
#define ROUNDS  2000

/* The boot processor starts the others by INIT and SIPI, waits until they have counted to ROUNDS
 * together, and leaves. They count in real mode at 0x8000, the instruction under test first. */
/* clang-format off */
asm(".pushsection .rodata\n"
    "smp_image: .code32\n"
    "  mov $0xfee00000, %ebx\n"
    "  movl $0xc4500, 0x300(%ebx)\n"          /* INIT, all but self */
    "  movl $0xc4608, 0x300(%ebx)\n"          /* SIPI, vector 8 */
    "1: cmpl $2000, 0x6000\n"
    "  jb 1b\n"
    "  out %al, $0xf4\n"
    "2: hlt\n"
    "  jmp 2b\n"
    ".org smp_image + 0x1000\n"
    ".code16\n"
    "smp_ap: lock incl 0x6000\n"
    "smp_ap_next: nop\n"
    "  nop\n"
    "  nop\n"
    "  nop\n"
    "  jmp smp_ap\n"
    ".code64\n"
    "smp_end:\n"
    ".popsection\n");
/* clang-format on */

extern const uint8_t smp_image[], smp_end[], smp_ap[], smp_ap_next[];

static struct session *s;

static bool open_smp(unsigned cpus)
{
    const struct session_config cfg = {
        .mem_bytes = 4 << 20, .cpus = cpus, .boot = FLAT_AT(AT, BOOT_MODE_PROT)};

    return guest_open(&s, cfg, smp_image, (uintptr_t)smp_end - (uintptr_t)smp_image);
}

static void close_smp(void)
{
    guest_close(&s);
}

static uint32_t counter(void)
{
    uint32_t n = 0;

    session_mem_read(s, 0, SPACE_PHYS, COUNTER, &n, sizeof n);
    return n;
}

static int add(uint64_t at, const char *condition)
{
    struct point_spec spec = {.kind = POINT_BREAK, .addr = at, .condition = condition, .vcpu = -1};

    return session_point_add(s, &spec, NULL);
}

/* With `extra` points on other addresses the one under test has to be planted in shared memory. */
static void count_every_pass(unsigned cpus, unsigned extra)
{
    uint64_t passes, n;
    int id = 0;

    if (!open_smp(cpus))
        return;
    for (unsigned i = 0; i < extra; i++)
        add(0x100000 + i, NULL);
    id = add(AP_AT, "0");
    if (session_run(s, NULL) < 0 || !session_wait(s, TEST_HANG_NS, NULL)) {
        test_fail(__FILE__, __LINE__, "still running, counted %u", counter());
    } else {
        passes = session_point(s, id)->false_hits;
        n = counter();
        if (session_last_stop(s)->kind != STOP_DEBUG_EXIT)
            test_fail(__FILE__, __LINE__, "%.300s", session_last_stop(s)->text);
        else if (n < ROUNDS || passes < n || passes > n + cpus)
            test_fail(__FILE__, __LINE__, "%llu passes for %llu executions (%s)",
                      (unsigned long long)passes, (unsigned long long)n,
                      session_point(s, id)->method);
    }
    close_smp();
}

static void register_points_count_every_pass(void)
{
    count_every_pass(4, 0);
}

static void planted_points_count_every_pass(void)
{
    count_every_pass(4, 6);
}

static void sixteen_are_not_too_many(void)
{
    count_every_pass(16, 6);
}

/* Whoever stops at a point is reported; the others stand, too, and go on when it goes on. */
static void each_is_reported(void)
{
    unsigned seen = 0, stops = 0;
    int id;

    if (!open_smp(4))
        return;
    id = add(AP_AT + ((uintptr_t)smp_ap_next - (uintptr_t)smp_ap), NULL);
    for (unsigned i = 0; i < 200 && !test_failed; i++) {
        const struct stop_info *si;
        uint32_t n;

        if (session_run(s, NULL) < 0 || !session_wait(s, TEST_HANG_NS, NULL)) {
            test_fail(__FILE__, __LINE__, "stop %u did not come", i);
            break;
        }
        si = session_last_stop(s);
        if (si->kind != STOP_BREAKPOINT || si->vcpu == 0 || session_focus(s) != si->vcpu)
            test_fail(__FILE__, __LINE__, "%.300s", si->text);
        seen |= 1u << si->vcpu;
        stops++;
        n = counter();
        if (n < stops || n > stops + 2) /* the two others may stand at it, unreported */
            test_fail(__FILE__, __LINE__, "%u executions for %u stops", n, stops);
        for (unsigned c = 0; c < 4; c++)
            if (!strcmp(session_cpu_status(s, c), "running"))
                test_fail(__FILE__, __LINE__, "vCPU %u runs while stopped", c);
    }
    if (!test_failed && seen != 0xe)
        test_fail(__FILE__, __LINE__, "only vCPUs 0x%x were reported", seen);
    CHECK(session_point(s, id)->hits >= stops);
    close_smp();
}

/* With the scheduler locked a step moves one vCPU alone. */
static void a_step_moves_one(void)
{
    struct reg_value before, after;
    const struct stop_info *si;

    if (!open_smp(4))
        return;
    add(AP_AT, NULL);
    if (session_run(s, NULL) < 0 || !session_wait(s, TEST_HANG_NS, NULL) ||
        session_last_stop(s)->kind != STOP_BREAKPOINT)
        test_fail(__FILE__, __LINE__, "%.300s", session_last_stop(s)->text);
    si = session_last_stop(s);
    for (unsigned i = 0; i < 20 && !test_failed; i++) {
        unsigned stepped = session_focus(s);
        uint32_t n = counter();

        session_reg_get(s, 0, REG_rip, &before, NULL);
        if (session_step(s, stepped, 1, NULL) < 0 || !session_wait(s, TEST_HANG_NS, NULL))
            test_fail(__FILE__, __LINE__, "step %u failed", i);
        session_reg_get(s, 0, REG_rip, &after, NULL);
        if (before.u != after.u || counter() > n + 1 || si->vcpu != stepped)
            test_fail(__FILE__, __LINE__, "another vCPU moved in step %u", i);
    }
    close_smp();
}

static const struct test tests[] = {
    {"register points count every pass", register_points_count_every_pass},
    {"planted points count every pass", planted_points_count_every_pass},
    {"sixteen are not too many", sixteen_are_not_too_many},
    {"each is reported", each_is_reported},
    {"a step moves one", a_step_moves_one},
};
TEST_MAIN(tests)
