/* The ladders, on fabricated probes of the three kinds of host and on an empty one. */
#include <stdlib.h>

#include "tests/test.h"
#include "vmm/base/buf.h"
#include "vmm/method.h"

static void fill(enum probe_how *a, enum probe_how h)
{
    for (int i = 0; i < PROBE_MODES; i++)
        a[i] = h;
}

/* What every kind has: memory slots. */
static void slots(struct probe *p)
{
    memset(p, 0, sizeof *p);
    fill(p->ro_slot_write, HOW_MMIO);
    fill(p->hole_read, HOW_MMIO);
    fill(p->hole_fetch, HOW_INTERNAL);
    p->planted_hlt = HOW_HLT;
    p->msr_filter = HOW_MSR;
    p->sync_regs = true;
}

/* A host without virtualisation extension: ring 0 in KVM's emulator. */
static void make_sw(struct probe *p)
{
    slots(p);
    fill(p->step, HOW_DEBUG);
    p->step[PM_LONG3] = HOW_GUEST;
    fill(p->int3, HOW_INTERNAL);
    p->int3[PM_REAL] = p->int3[PM_LONG3] = p->int3[PM_COMPAT3] = HOW_GUEST;
    p->int3_vector[PM_REAL] = p->int3_vector[PM_LONG3] = 3;
    p->int3_vector[PM_COMPAT3] = 6;
    fill(p->icebp, HOW_INTERNAL);
    p->icebp[PM_LONG3] = p->icebp[PM_COMPAT3] = HOW_GUEST;
    fill(p->hw_exec, HOW_DEBUG);
    p->hw_exec[PM_LONG3] = HOW_NEVER;
    fill(p->hw_write, HOW_NEVER);
    fill(p->hw_access, HOW_NEVER);
    p->hw_exec_count = 4;
    p->step_hlt = HOW_DEBUG;
    p->step_iret = HOW_NEVER;
    p->step_fault = HOW_OTHER;
    p->step_hidden = HOW_SHUTDOWN;
    p->gate_exec = HOW_DEBUG;
    p->syscall_ring3 = HOW_GUEST;
    p->int_ring3 = HOW_GUEST;
    for (int i = 0; i < PROBE_INSNS; i++)
        p->insn[i] = HOW_INTERNAL;
    p->shutdown_keeps_state = p->hidden_idt = p->out_exit_past = true;
    p->insn_counter_exact = p->emulated = true;
}

/* Ordinary SVM. */
static void make_hw(struct probe *p)
{
    slots(p);
    fill(p->step, HOW_DEBUG);
    fill(p->int3, HOW_DEBUG);
    fill(p->icebp, HOW_GUEST);
    fill(p->hw_exec, HOW_DEBUG);
    fill(p->hw_write, HOW_DEBUG);
    fill(p->hw_access, HOW_DEBUG);
    p->hole_fetch[PM_LONG3] = p->hole_fetch[PM_COMPAT3] = HOW_GUEST;
    p->hw_exec_count = 4;
    p->hw_exec_honours_rf = true;
    p->step_hlt = HOW_HLT;
    p->step_iret = HOW_DEBUG;
    p->step_fault = HOW_GUEST;
    p->step_hidden = HOW_DEBUG;
    p->gate_exec = HOW_DEBUG;
    p->syscall_ring3 = p->int_ring3 = HOW_RUNS;
    for (int i = 0; i < PROBE_INSNS; i++)
        p->insn[i] = HOW_RUNS;
    p->inject_bp_rip_delta = 1;
    p->paging32 = p->paging_pae = true;
}

/* SVM as an old emulator of processors shows it: no INT3 intercept, no debug registers. */
static void make_third(struct probe *p)
{
    make_hw(p);
    fill(p->int3, HOW_GUEST);
    fill(p->hw_exec, HOW_NEVER);
    fill(p->hw_write, HOW_NEVER);
    fill(p->hw_access, HOW_NEVER);
    p->gate_exec = HOW_GUEST;
    p->hw_exec_count = 0;
    p->hw_exec_honours_rf = false;
    p->inject_bp_rip_delta = PROBE_NO_DELTA;
}

static struct probe p;
static struct methods m;

#define PICK(f, mode) method_name(method_of(&m, MF_##f, PM_##mode))

static void sw(void)
{
    make_sw(&p);
    methods_choose_forced(&p, NULL, &m, NULL);
    CHECK_STR(PICK(STEP, REAL), "trap");
    CHECK_STR(PICK(STEP, PROT), "exact");
    CHECK_STR(PICK(STEP, LONG0), "exact");
    CHECK_STR(PICK(STEP, LONG3), "exact");
    CHECK_STR(PICK(STEP, COMPAT3), "exact");
    CHECK_STR(PICK(BREAK, REAL), "debug-register");
    CHECK_STR(PICK(BREAK, PROT), "debug-register");
    CHECK_STR(PICK(BREAK, LONG0), "debug-register");
    CHECK_STR(PICK(BREAK, LONG3), "gate");
    CHECK_STR(PICK(BREAK, COMPAT3), "gate");
    CHECK_EQ(m.pick[MF_BREAK][PM_PROT].ladder[1], METHOD_ICEBP);
    CHECK_EQ(m.pick[MF_BREAK][PM_LONG0].ladder[1], METHOD_GATE);
    CHECK_EQ(m.pick[MF_BREAK][PM_LONG3].ladder[1], METHOD_STEPPING);
    CHECK(!method_usable(&m, MF_BREAK, PM_LONG3, METHOD_DEBUG_REG));
    CHECK_STR(PICK(WATCH_WRITE, LONG0), "read-only-slot");
    CHECK_STR(PICK(WATCH_ACCESS, LONG3), "no-slot");
    CHECK_STR(PICK(CATCH, LONG0), "handlers");
    CHECK_STR(PICK(CATCH, REAL), "handlers");
    CHECK_STR(PICK(HALT, LONG0), "decode");
    CHECK_STR(PICK(REINJECT, LONG0), "inject-past");
    CHECK_STR(PICK(SYSCALL, LONG3), "rescue");
    CHECK_STR(PICK(SOFT_INT, LONG0), "rescue");
    CHECK_STR(PICK(SOFT_INT, LONG3), "rescue");
    CHECK_STR(PICK(AUTOPSY, LONG0), "live");
    CHECK(!m.rf_skips_break && !m.step_enters_free);
}

static void hw(void)
{
    make_hw(&p);
    methods_choose_forced(&p, NULL, &m, NULL);
    for (int mode = 0; mode < PROBE_MODES; mode++) {
        CHECK_EQ(method_of(&m, MF_STEP, mode), METHOD_TRAP);
        CHECK_EQ(method_of(&m, MF_BREAK, mode), METHOD_DEBUG_REG);
        CHECK_EQ(m.pick[MF_BREAK][mode].ladder[1], METHOD_INT3);
        CHECK_EQ(method_of(&m, MF_WATCH_WRITE, mode), METHOD_DEBUG_REG);
        CHECK_EQ(method_of(&m, MF_WATCH_ACCESS, mode), METHOD_DEBUG_REG);
        CHECK_EQ(method_of(&m, MF_CATCH, mode), METHOD_HANDLERS);
        /* The fifth watchpoint has somewhere to go. */
        CHECK_EQ(m.pick[MF_WATCH_WRITE][mode].ladder[1], METHOD_RO_SLOT);
    }
    CHECK_STR(PICK(HALT, LONG0), "exit");
    CHECK_STR(PICK(REINJECT, LONG0), "inject-at");
    CHECK_STR(PICK(SYSCALL, LONG3), "native");
    CHECK_STR(PICK(SOFT_INT, LONG0), "native");
    CHECK_STR(PICK(AUTOPSY, LONG0), "history");
    CHECK(m.rf_skips_break && m.step_enters_free);
}

static void third_kind(void)
{
    make_third(&p);
    methods_choose_forced(&p, NULL, &m, NULL);
    CHECK_STR(PICK(STEP, LONG0), "trap");
    CHECK_STR(PICK(BREAK, REAL), "stepping");
    CHECK_STR(PICK(BREAK, LONG0), "stepping");
    CHECK_STR(PICK(BREAK, LONG3), "stepping");
    CHECK_STR(PICK(WATCH_WRITE, LONG3), "read-only-slot");
    CHECK_STR(PICK(WATCH_ACCESS, LONG3), "no-slot");
    CHECK_STR(PICK(CATCH, LONG3), "stepping");
    CHECK_STR(PICK(REINJECT, LONG0), "rescue");
}

/* A host that can do nothing gets no promise, and nothing crashes on it. */
static void nothing(void)
{
    struct buf b = {0};

    memset(&p, 0, sizeof p);
    p.inject_bp_rip_delta = PROBE_NO_DELTA;
    methods_choose_forced(&p, NULL, &m, NULL);
    for (int mode = 0; mode < PROBE_MODES; mode++) {
        CHECK_EQ(method_of(&m, MF_STEP, mode), METHOD_NONE);
        CHECK_EQ(method_of(&m, MF_BREAK, mode), METHOD_NONE);
        CHECK_EQ(method_of(&m, MF_WATCH_WRITE, mode), METHOD_NONE);
        for (int f = 0; f < METHOD_FEATURES; f++)
            method_reason(&p, &m, f, mode, &b);
    }
    buf_fini(&b);
}

static void forcing(void)
{
    struct buf b = {0};

    make_sw(&p);
    methods_choose_forced(&p, "step=trap,break.prot=icebp,break.long3=stepping", &m, &b);
    CHECK_STR(buf_str(&b),
              "VMSCOPE_FORCE_METHODS: \"step=trap\" is ignored: this host cannot do that "
              "in long3\n");
    buf_clear(&b);
    CHECK_STR(PICK(STEP, LONG0), "trap");
    CHECK_STR(PICK(STEP, LONG3), "exact"); /* the guest gets the trap there: unchanged */
    CHECK_STR(PICK(BREAK, PROT), "icebp");
    CHECK(!method_usable(&m, MF_BREAK, PM_PROT, METHOD_DEBUG_REG));
    CHECK_STR(PICK(BREAK, LONG0), "debug-register");
    CHECK_STR(PICK(BREAK, LONG3), "stepping");
    CHECK(m.pick[MF_BREAK][PM_PROT].is_forced && !m.pick[MF_BREAK][PM_LONG0].is_forced);
    /* A page of ring 0 may come to be executed by ring 3, where the guest gets icebp. */
    methods_choose_forced(&p, "break.long0=icebp", &m, &b);
    CHECK_STR(buf_str(&b),
              "VMSCOPE_FORCE_METHODS: \"break.long0=icebp\" is ignored: this host cannot "
              "do that\n");
    buf_clear(&b);
    make_hw(&p);
    methods_choose_forced(&p, "watch-write=read-only-slot,watch-access=no-slot", &m, &b);
    CHECK_STR(buf_str(&b), "");
    CHECK_STR(PICK(WATCH_WRITE, LONG3), "read-only-slot");
    buf_fini(&b);
}

static void forcing_nonsense(void)
{
    static const char *const bad[] = {"step", "step=fly",      "fly=trap",      "step.moon=trap",
                                      "=",    "step=",         "break=icebp",   "step=none",
                                      ".=.",  "\033[31m=trap", "step=trap=trap"};
    struct methods plain;

    make_hw(&p);
    methods_choose_forced(&p, NULL, &plain, NULL);
    for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct buf b = {0};

        methods_choose_forced(&p, bad[i], &m, &b);
        CHECK_HAS(buf_str(&b), "is ignored");
        CHECK(!strchr(buf_str(&b), 27));
        CHECK(!memcmp(&m, &plain, sizeof m));
        buf_fini(&b);
    }
    methods_choose_forced(&p, ",,,", &m, NULL);
    CHECK(!memcmp(&m, &plain, sizeof m));
    setenv("VMSCOPE_FORCE_METHODS", "break=int3", 1);
    methods_choose(&p, &m);
    CHECK_STR(PICK(BREAK, LONG0), "int3");
    CHECK_STR(PICK(WATCH_WRITE, LONG0), "debug-register");
    unsetenv("VMSCOPE_FORCE_METHODS");
}

static void reasons(void)
{
    struct buf b = {0};

    make_sw(&p);
    methods_choose_forced(&p, NULL, &m, NULL);
    method_reason(&p, &m, MF_BREAK, PM_LONG0, &b);
    CHECK_STR(buf_str(&b), "debug register: debug exit");
    buf_clear(&b);
    method_reason(&p, &m, MF_WATCH_WRITE, PM_LONG0, &b);
    CHECK_STR(buf_str(&b), "debug register: not noticed; write to a read-only slot: MMIO exit");
    buf_clear(&b);
    method_reason(&p, &m, MF_STEP, PM_LONG0, &b);
    CHECK_HAS(buf_str(&b), "step over iretq: not noticed");
    buf_clear(&b);
    method_reason(&p, &m, MF_AUTOPSY, PM_LONG0, &b);
    CHECK_STR(buf_str(&b), "registers after a shutdown exit: yes");
    buf_clear(&b);
    make_hw(&p);
    methods_choose_forced(&p, NULL, &m, NULL);
    method_reason(&p, &m, MF_AUTOPSY, PM_LONG0, &b);
    CHECK_STR(buf_str(&b), "registers after a shutdown exit: no");
    buf_fini(&b);
}

/* Every picked method has words, every applicable cell a reason. */
static void words(void)
{
    void (*const kinds[])(struct probe *) = {make_sw, make_hw, make_third};

    for (int i = 0; i < METHODS; i++)
        CHECK(*method_name(i) && *method_help(i));
    for (unsigned k = 0; k < 3; k++) {
        kinds[k](&p);
        methods_choose_forced(&p, NULL, &m, NULL);
        for (int f = 0; f < METHOD_FEATURES; f++)
            for (int mode = 0; mode < PROBE_MODES; mode++) {
                struct buf b = {0};

                CHECK(*method_feature_name(f) && *method_feature_help(f));
                CHECK_EQ(method_applies(f, mode), method_of(&m, f, mode) != METHOD_NONE);
                method_reason(&p, &m, f, mode, &b);
                CHECK(b.len > 0 || !method_applies(f, mode));
                buf_fini(&b);
            }
    }
}

static void modes(void)
{
    CHECK_EQ(probe_mode_of(MODE_REAL, 0), PM_REAL);
    CHECK_EQ(probe_mode_of(MODE_PROT32, 0), PM_PROT);
    CHECK_EQ(probe_mode_of(MODE_PROT32, 3), PM_COMPAT3);
    CHECK_EQ(probe_mode_of(MODE_COMPAT32, 0), PM_PROT);
    CHECK_EQ(probe_mode_of(MODE_LONG64, 0), PM_LONG0);
    CHECK_EQ(probe_mode_of(MODE_LONG64, 3), PM_LONG3);
}

static const struct test tests[] = {
    {"sw", sw},           {"hw", hw},           {"third_kind", third_kind},
    {"nothing", nothing}, {"forcing", forcing}, {"forcing_nonsense", forcing_nonsense},
    {"reasons", reasons}, {"words", words},     {"modes", modes},
};
TEST_MAIN(tests)
