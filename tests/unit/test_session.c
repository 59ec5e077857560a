/*
 * The session on real KVM: control, points, memory views, reset, in every mode that a flat image
 * can start in.
 */
#include "tests/unit/guest_image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "debug/session.h"
#include "disasm/disasm.h"
#include "vmm/vcpu.h"

#define AT 0x8000ull

/* One program for 16, 32 and 64 bits, run with CX = 100:
 *  8000       nop
 *  8001       call 8010
 *  loop_at    loop 8000
 *  out_at     out %al,$0xf4; hlt; jmp back to hlt
 *  8010       nop; nop; ret */
struct mode_case {
    const char *name;
    enum boot_mode mode;
    uint8_t code[32];
    uint64_t loop_at, out_at;
};

static const struct mode_case modes[] = {
    {"real",
     BOOT_MODE_REAL,
     {0x90, 0xe8, 0x0c, 0x00, 0xe2, 0xfa, 0xe6, 0xf4, 0xf4, 0xeb, 0xfd, 0, 0, 0, 0, 0, 0x90, 0x90,
      0xc3},
     AT + 4,
     AT + 6},
    {"prot",
     BOOT_MODE_PROT,
     {0x90, 0xe8, 0x0a, 0x00, 0x00, 0x00, 0xe2, 0xf8, 0xe6, 0xf4, 0xf4, 0xeb, 0xfd, 0, 0, 0, 0x90,
      0x90, 0xc3},
     AT + 6,
     AT + 8},
    {"long",
     BOOT_MODE_LONG,
     {0x90, 0xe8, 0x0a, 0x00, 0x00, 0x00, 0xe2, 0xf8, 0xe6, 0xf4, 0xf4, 0xeb, 0xfd, 0, 0, 0, 0x90,
      0x90, 0xc3},
     AT + 6,
     AT + 8},
};

static struct session *s;
static const struct mode_case *mc;

static bool open_case(const struct mode_case *c, unsigned cpus)
{
    const struct session_config cfg = {
        .mem_bytes = 4 << 20, .cpus = cpus, .boot = FLAT_AT(AT, c->mode)};
    struct reg_value count = reg_from_u64(REG_rcx, 100);
    struct err e = {0};

    mc = c;
    if (!guest_open(&s, cfg, c->code, sizeof c->code))
        return false;
    if (session_reg_set(s, 0, REG_rcx, &count, &e) < 0) {
        test_fail(__FILE__, __LINE__, "%.500s", e.msg);
        return false;
    }
    return true;
}

static void close_case(void)
{
    guest_close(&s);
}

/* Every test body runs once a mode; a failure names the mode. */
static void in_all_modes(void (*body)(void))
{
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        char why[sizeof test_why];

        if (open_case(&modes[i], 1)) {
            body();
            close_case();
        }
        if (test_failed || test_skipped) {
            memcpy(why, test_why, sizeof why);
            snprintf(test_why, sizeof test_why, "%.20s: %.500s", modes[i].name, why);
            return;
        }
    }
}

#define GO(call)                                                                                   \
    do {                                                                                           \
        struct err e_ = {0};                                                                       \
        if ((call) < 0)                                                                            \
            TEST_FAIL("%s: %.400s", #call, e_.msg);                                                \
        if (!session_wait(s, TEST_HANG_NS, NULL))                                                  \
            TEST_FAIL("%s: still running", #call);                                                 \
    } while (0)
#define E (&e_)

static uint64_t linear_rip(void)
{
    const struct stop_info *si = session_last_stop(s);

    return si->cs_base + si->rip;
}

static enum stop_kind kind(void)
{
    return session_last_stop(s)->kind;
}

static int add_break(uint64_t at, const char *condition)
{
    struct point_spec spec = {.kind = POINT_BREAK, .addr = at, .condition = condition, .vcpu = -1};
    struct err e = {0};
    int id = session_point_add(s, &spec, &e);

    if (id < 0)
        test_fail(__FILE__, __LINE__, "session_point_add: %.400s", e.msg);
    return id;
}

static uint64_t reg(int id)
{
    struct reg_value v = {0};

    session_reg_get(s, 0, id, &v, NULL);
    return v.u;
}

/* ---- bodies ---------------------------------------------------------------------------------- */

static void body_runs_to_debug_exit(void)
{
    CHECK_EQ(session_state(s), SS_STOPPED);
    CHECK_EQ(kind(), STOP_ENTRY);
    CHECK_EQ(linear_rip(), AT);
    GO(session_run(s, E));
    CHECK_EQ(kind(), STOP_DEBUG_EXIT);
    CHECK_EQ(session_state(s), SS_ENDED);
    CHECK_EQ(reg(REG_rcx), 0);
    CHECK_EQ(session_run(s, NULL), -ESRCH);
}

static void body_steps_and_over(void)
{
    GO(session_step(s, 0, 1, E));
    CHECK_EQ(kind(), STOP_STEP);
    CHECK_EQ(linear_rip(), AT + 1);
    GO(session_step(s, 0, 1, E)); /* into the call */
    CHECK_EQ(linear_rip(), AT + 0x10);
    GO(session_finish(s, 0, E));
    CHECK_EQ(kind(), STOP_TEMPORARY);
    CHECK_EQ(linear_rip(), mc->loop_at);
    GO(session_step(s, 0, 2, E)); /* loop, nop */
    CHECK_EQ(linear_rip(), AT + 1);
    GO(session_step_over(s, 0, 1, E));
    CHECK_EQ(linear_rip(), mc->loop_at);
    GO(session_step_over(s, 0, 3, E)); /* loop, nop, call */
    CHECK_EQ(linear_rip(), mc->loop_at);
    GO(session_until(s, mc->out_at, E));
    CHECK_EQ(linear_rip(), mc->out_at);
    CHECK_EQ(reg(REG_rcx), 0);
    CHECK(session_point_next(s, 0) == NULL); /* helpers of ours are gone and were never listed */
}

static void body_breakpoint_hits(void)
{
    int id = add_break(AT + 0x11, NULL);

    for (unsigned i = 1; i <= 3; i++) {
        GO(session_run(s, E));
        CHECK_EQ(kind(), STOP_BREAKPOINT);
        CHECK_EQ(session_last_stop(s)->point_id, id);
        CHECK_EQ(linear_rip(), AT + 0x11);
        CHECK_EQ(session_point(s, id)->hits, i);
        CHECK_EQ(reg(REG_rcx), 101 - i);
    }
    CHECK_EQ(session_point_condition(s, id, "$rcx == 5", NULL), 0);
    GO(session_run(s, E));
    CHECK_EQ(reg(REG_rcx), 5);
    CHECK_EQ(session_point(s, id)->false_hits, 92);
    CHECK_EQ(session_point_condition(s, id, NULL, NULL), 0);
    CHECK_EQ(session_point_ignore(s, id, 3), 0);
    GO(session_run(s, E));
    CHECK_EQ(reg(REG_rcx), 1);
    CHECK_EQ(session_point_del(s, id), 0);
    GO(session_run(s, E));
    CHECK_EQ(kind(), STOP_DEBUG_EXIT);
}

/* More points than debug registers: the rest is planted, and nobody sees the bytes. */
static void body_many_points_are_invisible(void)
{
    static const unsigned offs[] = {0x11, 0x12, 0x10, 0x00, 0x01};
    uint8_t seen[32];
    int ids[7];

    for (unsigned i = 0; i < 5; i++)
        ids[i] = add_break(AT + offs[i], NULL);
    ids[5] = add_break(mc->loop_at, NULL);
    ids[6] = add_break(mc->out_at, NULL);
    if (test_failed)
        return;
    CHECK_EQ(session_mem_read(s, 0, SPACE_LINEAR, AT, seen, sizeof seen), sizeof seen);
    CHECK(!memcmp(seen, mc->code, sizeof seen));
    for (unsigned round = 0; round < 3; round++) {
        static const unsigned order[] = {3, 4, 2, 0, 1, 5};

        for (unsigned i = 0; i < 6; i++) {
            GO(session_run(s, E));
            CHECK_EQ(kind(), STOP_BREAKPOINT);
            CHECK_EQ(session_last_stop(s)->point_id, ids[order[i]]);
        }
    }
    for (unsigned i = 0; i < 6; i++)
        CHECK_EQ(session_point_enable(s, ids[i], false), 0);
    GO(session_run(s, E));
    CHECK_EQ(session_last_stop(s)->point_id, ids[6]);
    GO(session_run(s, E));
    CHECK_EQ(kind(), STOP_DEBUG_EXIT);
    CHECK_EQ(session_mem_read(s, 0, SPACE_PHYS, AT, seen, sizeof seen), sizeof seen);
    CHECK(!memcmp(seen, mc->code, sizeof seen));
}

/* A write by the user over a planted byte changes what the guest executes, and the point stays. */
static void body_writes_go_under_points(void)
{
    static const uint8_t inc_dx[] = {0x42}; /* inc dx/edx; in long mode REX.X before the next */
    static const uint8_t cld[] = {0xfc};
    const uint8_t *other = mc->mode == BOOT_MODE_LONG ? cld : inc_dx;
    uint8_t seen;

    for (unsigned i = 0; i < 6; i++)
        add_break(AT + 0x10 + (i & 1), i < 4 ? "0" : NULL);
    if (test_failed)
        return;
    CHECK_EQ(session_mem_write(s, 0, SPACE_LINEAR, AT + 0x11, other, 1), 1);
    CHECK_EQ(session_mem_read(s, 0, SPACE_LINEAR, AT + 0x11, &seen, 1), 1);
    CHECK_EQ(seen, *other);
    for (unsigned i = 0; i < 4; i++) {
        GO(session_run(s, E));
        CHECK_EQ(linear_rip(), AT + 0x10 + (i & 1));
    }
    if (mc->mode != BOOT_MODE_LONG)
        CHECK_EQ(reg(REG_rdx) & 0xff, (mc->mode == BOOT_MODE_REAL ? 0x80 : 0) + 1);
}

static void body_reset_starts_over(void)
{
    int id = add_break(AT + 0x10, NULL);

    GO(session_run(s, E));
    CHECK_EQ(linear_rip(), AT + 0x10);
    CHECK_EQ(session_reset(s, NULL), 0);
    CHECK_EQ(kind(), STOP_ENTRY);
    CHECK_EQ(linear_rip(), AT);
    GO(session_run(s, E));
    CHECK_EQ(session_last_stop(s)->point_id, id);
    CHECK_EQ(session_point(s, id)->hits, 2);
}

static bool count_step(void *arg, const struct vcpu *v)
{
    uint64_t *n = arg;

    return v->regs->rcx != 90 && ++*n;
}

static void body_step_each_sees_registers(void)
{
    uint64_t n = 0;

    CHECK_EQ(session_step_each(s, 0, 1000000, count_step, &n, NULL), n + 1);
    CHECK_EQ(reg(REG_rcx), 90);
    CHECK_EQ(n, 10 * 6 - 1);
}

static void body_stop_interrupts_a_loop(void)
{
    static const uint8_t spin[] = {0xeb, 0xfe};
    struct err e = {0};

    CHECK_EQ(session_mem_write(s, 0, SPACE_LINEAR, AT, spin, 2), 2);
    CHECK_EQ(session_run(s, &e), 0);
    CHECK_EQ(session_run(s, &e), -EBUSY);
    CHECK(session_cpu(s, 0, VS_REGS) == NULL);
    CHECK_EQ(session_stop(s), 0);
    CHECK(session_wait(s, TEST_HANG_NS, NULL));
    CHECK_EQ(kind(), STOP_USER);
    CHECK_EQ(linear_rip(), AT);
    /* A point set while it runs takes effect at once. */
    CHECK_EQ(session_run(s, &e), 0);
    CHECK(add_break(AT, NULL) > 0);
    CHECK(session_wait(s, TEST_HANG_NS, NULL));
    CHECK_EQ(kind(), STOP_BREAKPOINT);
}

static void body_trace_is_complete(void)
{
    struct trace_cursor c;
    struct exit_event ev[8];
    uint64_t counts[EXIT_COUNTERS], outs = 0;
    size_t n;

    GO(session_run(s, E));
    session_trace_start(s, &c, false);
    while ((n = session_trace_next(s, &c, ev, 8)))
        for (size_t i = 0; i < n; i++)
            outs += ev[i].reason == KVM_EXIT_IO && ev[i].u.io.port == 0xf4 && ev[i].u.io.write;
    session_exit_counts(s, counts);
    CHECK_EQ(outs, 1);
    CHECK_EQ(counts[KVM_EXIT_IO], 1);
    CHECK_EQ(c.dropped, 0);
}

/* A step from a halted processor ends in the handler of the interrupt that wakes it, also while
 * steps hold interrupts off. */
static void step_wakes_from_halt(void)
{
    /* PIC at vector 0x20 with IRQ 0 alone, PIT at its slowest, then sti; hlt; the handler is iret.
     */
    static const uint8_t code[] = {0xb0, 0x11, 0xe6, 0x20, 0xb0, 0x20, 0xe6, 0x21, 0xb0,
                                   0x04, 0xe6, 0x21, 0xb0, 0x01, 0xe6, 0x21, 0xb0, 0xfe,
                                   0xe6, 0x21, 0xb0, 0x34, 0xe6, 0x43, 0xb0, 0x00, 0xe6,
                                   0x40, 0xe6, 0x40, 0xfb, 0xf4, 0x90, 0xeb, 0xfe};
    static const uint8_t vector[] = {0x00, 0x90, 0x00, 0x00};
    static const uint8_t iret = 0xcf;

    if (!open_case(&modes[0], 1))
        return;
    session_mem_write(s, 0, SPACE_PHYS, AT, code, sizeof code);
    session_mem_write(s, 0, SPACE_PHYS, 0x20 * 4, vector, sizeof vector);
    session_mem_write(s, 0, SPACE_PHYS, 0x9000, &iret, 1);
    GO(session_until(s, AT + 0x1f, E));
    GO(session_step(s, 0, 1, E));
    CHECK_EQ(linear_rip(), AT + 0x20);
    CHECK_STR(session_cpu_status(s, 0), "halted");
    GO(session_step(s, 0, 1, E));
    CHECK_EQ(linear_rip(), 0x9000);
    CHECK_EQ(session_last_stop(s)->vector, 0x20);
    GO(session_step(s, 0, 1, E));
    CHECK_EQ(linear_rip(), AT + 0x20);
    close_case();
}

#define ALL_MODES(name)                                                                            \
    static void name(void)                                                                         \
    {                                                                                              \
        in_all_modes(body_##name);                                                                 \
    }
ALL_MODES(runs_to_debug_exit)
ALL_MODES(steps_and_over)
ALL_MODES(breakpoint_hits)
ALL_MODES(many_points_are_invisible)
ALL_MODES(writes_go_under_points)
ALL_MODES(reset_starts_over)
ALL_MODES(step_each_sees_registers)
ALL_MODES(stop_interrupts_a_loop)
ALL_MODES(trace_is_complete)

static void refuses_what_cannot_be(void)
{
    struct session_config cfg = {.mem_bytes = 4096};
    struct err e = {0};

    cfg.boot.image = "/dev/null";
    CHECK(session_open(&s, &cfg, &e) < 0);
    CHECK_HAS(e.msg, "1M");
    if (!open_case(&modes[0], 2))
        return;
    CHECK(session_step(s, 1, 1, &e) < 0);
    CHECK_HAS(e.msg, "start-up IPI");
    CHECK(session_set_focus(s, 2, &e) < 0);
    CHECK_HAS(e.msg, "this machine has 2");
    CHECK(add_break(AT, "$rcx +") < 0);
    test_failed = false;
    CHECK(session_point_next(s, 0) == NULL);
    close_case();
}

static const struct test tests[] = {
    {"runs to debug exit", runs_to_debug_exit},
    {"steps, over, finish, until", steps_and_over},
    {"breakpoint hits, conditions, ignore", breakpoint_hits},
    {"many points are invisible", many_points_are_invisible},
    {"writes go under points", writes_go_under_points},
    {"reset starts over", reset_starts_over},
    {"step each sees registers", step_each_sees_registers},
    {"stop interrupts a loop", stop_interrupts_a_loop},
    {"trace is complete", trace_is_complete},
    {"a step wakes from halt", step_wakes_from_halt},
    {"refuses what cannot be", refuses_what_cannot_be},
};
TEST_MAIN(tests)
