/* The report on fabricated probes: complete in text and JSON, and the same methods as the engine.
 */
#include <stdlib.h>

#include "debug/doctor.h"
#include "tests/test.h"
#include "vmm/method.h"

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
        p.ro_slot_write[i] = HOW_MMIO;
    }
    p.step_iret = HOW_DEBUG;
    p.insn_wrong[PI_LZCNT] = true;
    p.inject_bp_rip_delta = 1;
    doctor_report(&p, &o);
    out_end(&o);
    CHECK_HAS(buf_str(&o.text), "hardware virtualisation and intercepts");
    CHECK_HAS(buf_str(&o.text), "debug register: debug exit");
    CHECK_HAS(buf_str(&o.text), "read-only-slot");
    CHECK_HAS(buf_str(&o.text), "lzcnt");
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

static const struct test tests[] = {
    {"empty_probe", empty_probe}, {"says_what_is_used", says_what_is_used}, {"forced", forced}};
TEST_MAIN(tests)
