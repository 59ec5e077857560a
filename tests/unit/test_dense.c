/*
 * A breakpoint at each byte of a program, so that every instruction has several inside, changes
 * nothing: random programs end as they do without, in each mode.
 */
#include "tests/test.h"

#include "debug/session.h"
#include "tests/unit/diff_boot.h"

#define SEEDS 2u

static struct program prog;

/* Runs it to its end; false: the test has failed or is skipped. */
static bool run(bool with_points, struct kvm_regs *end, uint64_t *hits)
{
    struct session *s;
    struct err e = {0};
    const struct vcpu_state *st;

    if (!dp_open(&s, &prog, NULL))
        return false;
    for (uint32_t at = DP_CODE; with_points && at < prog.end_of_units; at++) {
        struct point_spec spec = {.kind = POINT_BREAK, .addr = at, .vcpu = -1, .action = DO_COUNT};

        if (session_point_add(s, &spec, &e) < 0)
            test_fail(__FILE__, __LINE__, "0x%x: %.300s", at, e.msg);
    }
    if (session_run(s, &e) < 0 || !session_wait(s, TEST_HANG_NS, NULL) ||
        session_last_stop(s)->kind != STOP_DEBUG_EXIT)
        test_fail(__FILE__, __LINE__, "%s: %.300s", dp_kind_name[prog.kind],
                  session_last_stop(s) ? session_last_stop(s)->text : "still runs");
    st = session_cpu(s, 0, VS_REGS);
    if (st)
        *end = st->regs;
    *hits = 0;
    for (const struct point *p = session_point_next(s, 0); p; p = session_point_next(s, p->id))
        *hits += p->hits;
    guest_close(&s);
    return !test_failed;
}

static void programs(enum dp_kind kind)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct kvm_regs freely, now;
        uint64_t hits;

        dp_make(&prog, kind, seed);
        if (!run(false, &freely, &hits) || !run(true, &now, &hits))
            return;
        freely.rflags &= ~0x10000ull; /* RF */
        now.rflags &= ~0x10000ull;
        CHECK(hits > 20);
        CHECK(!memcmp(&freely, &now, sizeof now));
    }
}

DP_TESTS(programs)

static const struct test tests[] = {
    {"points at every byte, real mode", real16},
    {"points at every byte, protected mode", prot32},
    {"points at every byte, long mode ring 0", long_ring0},
    {"points at every byte, long mode ring 3", long_ring3},
};
TEST_MAIN(tests)
