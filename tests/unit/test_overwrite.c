/*
 * A guest that writes other code over a function and calls it at once hits the breakpoint there
 * each time, and runs the new code: in each mode, by every method.
 */
#include "tests/test.h"

#include "debug/session.h"
#include "tests/unit/diff_boot.h"
#include "vmm/vm.h"

#define ROUNDS 40u
#define STC    0xf9
#define CLC    0xf8
#define COPY   0xa100u /* the function once more, for copying all of it */
#define NEVER  0x7f00u /* never executed; breakpoints there hold the debug registers */
/* In the page of the stack, which cannot be trapped everywhere. */
#define STACKED (DP_STACK_TOP - 0xf00)

static struct program prog;

/* Carry flag as the first instruction says, added up in BX. */
static void put_function(uint32_t at, uint8_t first)
{
    prog.at = at;
    DP_CODE_BYTES(&prog, first, 0x83, 0xd3, 0x00, 0xc3);
}

static void put_store(uint32_t at, uint8_t byte)
{
    dp_put(&prog, 0xc6, 1);
    dp_modrm_abs(&prog, 0, at);
    dp_put(&prog, byte, 1);
}

static void put_call(uint32_t to)
{
    dp_put(&prog, 0xe8, 1);
    dp_put(&prog, to - prog.at - dp_imm_bytes(&prog), dp_imm_bytes(&prog));
}

/* Each round calls the function as stc, as clc, and as a copy of the first. */
static void make(enum dp_kind kind, uint32_t function)
{
    uint32_t top;

    dp_make(&prog, kind, 1);
    dp_cut(&prog, 0);
    put_function(function, 0x90);
    put_function(COPY, STC);
    prog.at = DP_CODE;
    dp_mov_imm(&prog, 3, 0);
    dp_mov_imm(&prog, 2, ROUNDS);
    DP_CODE_BYTES(&prog, 0xfc);
    top = prog.at;
    put_store(function, STC);
    put_call(function);
    put_store(function, CLC);
    put_call(function);
    dp_mov_imm(&prog, 6, COPY);
    dp_mov_imm(&prog, 7, function);
    dp_mov_imm(&prog, 1, 5);
    DP_CODE_BYTES(&prog, 0xf3, 0xa4);
    put_call(function);
    DP_CODE_BYTES(&prog, 0x83, 0xea, 0x01, 0x0f, 0x85); /* sub dx, 1; jnz */
    dp_put(&prog, top - prog.at - dp_imm_bytes(&prog), dp_imm_bytes(&prog));
    dp_exit(&prog);
}

static int add(struct session *s, uint64_t at, bool phys, const char *condition)
{
    struct point_spec spec = {.kind = POINT_BREAK,
                              .addr = at,
                              .vcpu = -1,
                              .space = phys ? SPACE_PHYS : SPACE_LINEAR,
                              .condition = condition};
    return session_point_add(s, &spec, NULL);
}

/* What else is placed: nothing; four more, which have the debug registers; or one of them is gone
 * again. */
enum others { ALONE, FOUR_MORE, ONE_GONE };

static void run(enum dp_kind kind, uint32_t function, const char *force, enum others others,
                bool stops)
{
    struct session *s;
    struct err e = {0};
    const struct point *p;
    unsigned stopped = 0;
    int id, more[4];

    make(kind, function);
    if (!dp_open(&s, &prog, force))
        return;
    for (unsigned i = 0; i < 4 && others != ALONE; i++)
        more[i] = add(s, NEVER + 16 * i, false, NULL);
    id = add(s, function, others == FOUR_MORE && stops && function != STACKED,
             stops ? NULL : "$rip == 0");
    CHECK(id > 0);
    if (others == ONE_GONE)
        CHECK(session_point_del(s, more[1]) == 0);
    for (;;) {
        CHECK(session_run(s, &e) == 0);
        if (!session_wait(s, TEST_HANG_NS, NULL))
            TEST_FAIL("%s, %s: still runs", dp_kind_name[kind], force ? force : "any method");
        if (session_last_stop(s)->kind != STOP_BREAKPOINT)
            break;
        stopped++;
    }
    p = session_point(s, id);
    if (session_last_stop(s)->kind != STOP_DEBUG_EXIT)
        TEST_FAIL("%s, %s (%s): %.200s", dp_kind_name[kind], force ? force : "any method",
                  p->method, session_last_stop(s)->text);
    if ((stops ? p->hits : p->false_hits) != 3 * ROUNDS || stopped != (stops ? 3 * ROUNDS : 0))
        TEST_FAIL("%s, function at 0x%x, %d others, %s (%s): %llu hits, %llu false, of %u",
                  dp_kind_name[kind], function, others, force ? force : "any method", p->method,
                  (unsigned long long)p->hits, (unsigned long long)p->false_hits, 3 * ROUNDS);
    CHECK_EQ(session_cpu(s, 0, VS_REGS)->regs.rbx & 0xffff, 2 * ROUNDS);
    guest_close(&s);
}

/* Debug registers stop nothing in ring 3 of a KVM that emulates. */
static bool has_registers(enum dp_kind kind)
{
    struct session *s;
    bool has;

    if (!dp_open(&s, &prog, NULL))
        return false;
    has = kind != DP_LONG3 || session_vm(s)->probe.hw_exec[PM_LONG3] == HOW_DEBUG;
    guest_close(&s);
    return has;
}

static void all_ways(enum dp_kind kind)
{
    static const char *const forces[] = {NULL,         "break=int3",           "break=icebp",
                                         "break=gate", "break=debug-register", "break=stepping"};
    static const uint32_t at[] = {0xb800, DP_CODE + 0x800}; /* alone in its page; beside the code */

    for (size_t i = 0; i < sizeof forces / sizeof forces[0]; i++)
        for (unsigned k = 0; k < 8 && (i != 2 || kind != DP_LONG3); k++) /* icebp: ring 0 only */
            run(kind, at[k & 1], forces[i], k & 2 ? FOUR_MORE : ALONE, k & 4);
    /* Where no byte is guarded a debug register has to hold it. */
    for (unsigned k = 0; k < 4; k++)
        run(kind, STACKED, NULL, k & 2 ? FOUR_MORE : ALONE, k & 1);
    dp_cpus = 2;
    for (unsigned k = 0; k < 4 && has_registers(kind); k++)
        run(kind, at[k & 1], NULL, ONE_GONE, k & 2);
    dp_cpus = 1;
}

DP_TESTS(all_ways)

static const struct test tests[] = {
    {"rewritten code, real mode", real16},
    {"rewritten code, protected mode", prot32},
    {"rewritten code, long mode ring 0", long_ring0},
    {"rewritten code, long mode ring 3", long_ring3},
};
TEST_MAIN(tests)
