/* The report on fabricated probes: complete in text and JSON, and the same methods as the engine.
 */
#include <stdlib.h>

#include "debug/doctor.h"
#include "tests/test.h"
#include "vmm/method.h"

/* Lines that an 80-column terminal would break; characters, not bytes. */
static void check_width(const char *text)
{
    while (*text && !test_failed) {
        const char *end = strchrnul(text, '\n');
        int cells = 0;

        for (const char *p = text; p < end; p++)
            cells += (*p & 0xc0) != 0x80;
        if (cells > 79)
            test_fail(__FILE__, __LINE__, "%d columns: %.*s", cells, (int)(end - text), text);
        text = end + (*end != 0);
    }
}

/* Whatever a host answers: no line is too long, and each mode has its method. */
static void any_answers(void)
{
    struct probe p;

    for (int how = 0; how < PROBE_HOWS && !test_failed; how++) {
        enum probe_how *fields = (enum probe_how *)(void *)&p;
        struct out o = {0};

        memset(&p, 0, sizeof p);
        for (unsigned i = 0; i < 9 * PROBE_MODES; i++) /* step to hole_fetch */
            fields[i] = (enum probe_how)how;
        for (int i = 0; i < PROBE_INSNS; i++) {
            p.insn[i] = (enum probe_how)how;
            p.insn_wrong[i] = how == HOW_RUNS;
        }
        p.planted_hlt = p.step_hlt = p.step_iret = p.step_fault = p.step_hidden = p.gate_exec =
            p.msr_filter = p.syscall_ring3 = p.int_ring3 = (enum probe_how)how;
        p.hidden_idt = how & 1;
        doctor_report(&p, &o);
        out_end(&o);
        check_width(buf_str(&o.text));
        for (int mode = 0; mode < PROBE_MODES; mode++) {
            char row[80];

            snprintf(row, sizeof row,
                     "\"feature\":\"step\",\"help\":\"single step\",\"mode\":\"%s\"",
                     probe_mode_key((enum probe_mode)mode));
            CHECK_HAS(buf_str(&o.json), row);
        }
        out_fini(&o);
    }
}

static void empty_probe(void)
{
    struct out o = {0};
    struct probe p;

    memset(&p, 0, sizeof p);
    doctor_report(&p, &o);
    out_end(&o);
    CHECK_HAS(buf_str(&o.text), "single step");
    CHECK_HAS(buf_str(&o.json), "\"methods\"");
    CHECK(!o.failed);
    out_fini(&o);
}

static void says_what_is_used(void)
{
    struct out o = {0};
    struct probe p;

    memset(&p, 0, sizeof p);
    for (int i = 0; i < PROBE_MODES; i++) {
        p.step[i] = p.int3[i] = p.hw_exec[i] = HOW_DEBUG;
        p.hw_write[i] = p.hw_access[i] = HOW_DEBUG;
        p.ro_slot_write[i] = p.hole_read[i] = HOW_MMIO;
    }
    p.step_iret = HOW_DEBUG;
    p.insn[PI_LZCNT] = HOW_RUNS;
    p.insn_wrong[PI_LZCNT] = true;
    p.inject_bp_rip_delta = 1;
    doctor_report(&p, &o);
    out_end(&o);
    check_width(buf_str(&o.text));
    CHECK_HAS(buf_str(&o.text), "hardware virtualisation and intercepts");
    CHECK_HAS(buf_str(&o.text), "debug register: debug exit");
    CHECK_HAS(buf_str(&o.text), "read-only-slot");
    CHECK_HAS(buf_str(&o.text), "wrong result  none: unseen");
    CHECK_HAS(buf_str(&o.text), "pushes RIP+1");
    CHECK_HAS(buf_str(&o.json), "\"method\":\"debug-register\",\"then\":\"int3, stepping\"");
    out_fini(&o);
}

/* Forcing changes the report as it changes the engine. */
static void forced(void)
{
    struct out o = {0};
    struct probe p;

    memset(&p, 0, sizeof p);
    for (int i = 0; i < PROBE_MODES; i++)
        p.int3[i] = p.hw_exec[i] = HOW_DEBUG;
    setenv("VMSCOPE_FORCE_METHODS", "break.long0=int3", 1);
    doctor_report(&p, &o);
    unsetenv("VMSCOPE_FORCE_METHODS");
    out_end(&o);
    CHECK_HAS(buf_str(&o.text), "forced; int3: debug exit");
    out_fini(&o);
}

static const struct test tests[] = {{"empty_probe", empty_probe},
                                    {"says_what_is_used", says_what_is_used},
                                    {"forced", forced},
                                    {"any_answers", any_answers}};
TEST_MAIN(tests)
