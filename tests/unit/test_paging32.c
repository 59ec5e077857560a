/*
 * Points, watches and steps in a guest of 32-bit and of PAE paging, in a function whose linear
 * address is not its physical one. Only for a KVM that has such paging, which is the one that runs
 * on a processor.
 */
#include "tests/unit/guest_image.h"

#include <stdlib.h>

#include "vmm/base/le.h"
#include "vmm/kvm.h"
#include "vmm/probe.h"

#define AT      0x7000u
#define TABLES  0x10000u
#define END     0x14000u
#define PHYS    0x9000u   /* the function, */
#define LINEAR  0x400000u /* and where it is mapped */
#define COUNTER 0x800u    /* in its page */
#define ROUNDS  3
#define PRESENT 7u

static uint8_t image[END - AT];
static struct session *s;
static bool is_pae;

static void entry(uint32_t table, unsigned index, uint32_t value)
{
    le_store(image + table - AT + index * (is_pae ? 8 : 4), 4, value);
}

static void make_tables(void)
{
    unsigned entries = is_pae ? 512 : 1024;
    uint32_t top = TABLES;

    if (is_pae) {
        entry(TABLES, 0, (TABLES + 0x1000) | 1);
        top += 0x1000;
    }
    entry(top, 0, (top + 0x1000) | PRESENT);
    entry(top, LINEAR >> (is_pae ? 21 : 22), (top + 0x2000) | PRESENT);
    for (unsigned i = 0; i < entries; i++)
        entry(top + 0x1000, i, i << 12 | PRESENT);
    entry(top + 0x2000, 0, PHYS | PRESENT);
}

/* CR3, CR4.PAE, CR0.PG; then ROUNDS calls of the function, which counts. */
static uint32_t make_code(void)
{
    static const uint8_t start[] = {
        0xb8, 0x00, 0x00, 0x01, 0x00,   0x0f, 0x22, 0xd8,       /* cr3 = TABLES */
        0x0f, 0x20, 0xe0, 0x83, 0xc8,   0x00, 0x0f, 0x22, 0xe0, /* cr4 |= PAE or nothing */
        0x0f, 0x20, 0xc0, 0x0d, 0x00,   0x00, 0x00, 0x80,       /* cr0 |= PG */
        0x0f, 0x22, 0xc0, 0xb9, ROUNDS, 0,    0,    0,          /* ecx = ROUNDS */
    };
    static const uint8_t loop[] = {
        0xb8, 0x00, 0x00, 0x40, 0x00, 0xff, 0xd0, /* call LINEAR */
        0x49, 0x75, 0xf6, 0xe6, 0xf4, 0xf4,       /* dec, jnz, out, hlt */
    };
    static const uint8_t function[] = {0xff, 0x05, 0x00, 0x08, 0x40, 0x00, 0xc3};

    memcpy(image, start, sizeof start);
    image[13] = is_pae ? 0x20 : 0;
    memcpy(image + sizeof start, loop, sizeof loop);
    memcpy(image + PHYS - AT, function, sizeof function);
    return AT + sizeof start;
}

static bool can(void)
{
    struct err e = {0};
    struct probe p;
    int kvm = kvm_open(&e), rc = kvm < 0 ? kvm : probe_cached(kvm, &p, &e);

    if (kvm >= 0)
        close(kvm);
    if (rc < 0)
        snprintf(test_why, sizeof test_why, "%.500s", e.msg);
    else if (!(is_pae ? p.paging_pae : p.paging32))
        snprintf(test_why, sizeof test_why, "this KVM has no %s paging", is_pae ? "PAE" : "32-bit");
    else
        return true;
    test_skipped = true;
    return false;
}

/* Stands before the first call, with paging on. */
static bool open_loop(const char *force)
{
    const struct session_config cfg = {.mem_bytes = 1 << 20, .boot = FLAT_AT(AT, BOOT_MODE_PROT)};
    uint32_t loop;

    memset(image, 0, sizeof image);
    make_tables();
    loop = make_code();
    setenv("VMSCOPE_FORCE_METHODS", force, 1);
    if (!guest_open(&s, cfg, image, sizeof image))
        return false;
    if (session_until(s, loop, NULL) == 0 && session_wait(s, TEST_HANG_NS, NULL) &&
        session_last_stop(s)->rip == loop)
        return true;
    test_fail(__FILE__, __LINE__, "%.300s", session_last_stop(s)->text);
    guest_close(&s);
    return false;
}

static bool go(int rc, enum stop_kind kind, uint64_t rip)
{
    const struct stop_info *si = session_last_stop(s);

    if (rc == 0 && session_wait(s, TEST_HANG_NS, NULL) && si->kind == kind &&
        (!rip || si->rip == rip))
        return true;
    test_fail(__FILE__, __LINE__, "%d, %.300s", rc, si->text);
    return false;
}

static uint32_t counter(void)
{
    uint32_t linear = 0, physical = 1;

    session_mem_read(s, 0, SPACE_LINEAR, LINEAR + COUNTER, &linear, 4);
    session_mem_read(s, 0, SPACE_PHYS, PHYS + COUNTER, &physical, 4);
    return linear == physical ? linear : UINT32_MAX;
}

static void breaks(const char *force, enum space space, uint64_t at)
{
    struct point_spec spec = {.kind = POINT_BREAK, .addr = at, .space = space, .vcpu = -1};

    if (!open_loop(force))
        return;
    session_point_add(s, &spec, NULL);
    for (unsigned i = 0; i < ROUNDS && go(session_run(s, NULL), STOP_BREAKPOINT, LINEAR); i++)
        if (counter() != i)
            test_fail(__FILE__, __LINE__, "%s: counted %u, not %u", force, counter(), i);
    if (!test_failed)
        go(session_run(s, NULL), STOP_DEBUG_EXIT, 0);
    guest_close(&s);
}

static void watches(const char *force, enum space space, uint64_t at)
{
    struct point_spec spec = {.kind = POINT_WATCH,
                              .addr = at,
                              .len = 4,
                              .access = WATCH_WRITE,
                              .space = space,
                              .vcpu = -1};

    if (!open_loop(force))
        return;
    session_point_add(s, &spec, NULL);
    for (unsigned i = 0; i < ROUNDS && go(session_run(s, NULL), STOP_WATCHPOINT, LINEAR + 6); i++)
        if (session_last_stop(s)->old_value != i || session_last_stop(s)->new_value != i + 1)
            test_fail(__FILE__, __LINE__, "%s: %.300s", force, session_last_stop(s)->text);
    if (!test_failed)
        go(session_run(s, NULL), STOP_DEBUG_EXIT, 0);
    guest_close(&s);
}

static void steps(void)
{
    static const uint32_t next[] = {5, LINEAR, LINEAR + 6, 7};
    uint64_t loop;

    if (!open_loop(""))
        return;
    loop = session_last_stop(s)->rip;
    for (unsigned i = 0; i < sizeof next / sizeof next[0] && !test_failed; i++)
        go(session_step(s, 0, 1, NULL), STOP_STEP, next[i] < LINEAR ? loop + next[i] : next[i]);
    if (!test_failed)
        go(session_run(s, NULL), STOP_DEBUG_EXIT, 0);
    if (!test_failed && counter() != ROUNDS)
        test_fail(__FILE__, __LINE__, "counted %u", counter());
    guest_close(&s);
}

static void all(void)
{
    static const char *const how_break[] = {"", "break=int3", "break=stepping"};
    static const char *const how_watch[] = {"", "watch-write=read-only-slot", "watch-write=no-slot",
                                            "watch-write=stepping"};

    if (!can())
        return;
    steps();
    for (unsigned i = 0; i < 3 && !test_failed; i++) {
        breaks(how_break[i], SPACE_LINEAR, LINEAR);
        if (!test_failed)
            breaks(how_break[i], SPACE_PHYS, PHYS);
    }
    for (unsigned i = 0; i < 4 && !test_failed; i++) {
        watches(how_watch[i], SPACE_LINEAR, LINEAR + COUNTER);
        if (!test_failed)
            watches(how_watch[i], SPACE_PHYS, PHYS + COUNTER);
    }
    unsetenv("VMSCOPE_FORCE_METHODS");
}

static void two_levels(void)
{
    is_pae = false;
    all();
}

static void pae(void)
{
    is_pae = true;
    all();
}

static const struct test tests[] = {
    {"paging of 32 bits is debugged", two_levels},
    {"PAE is debugged", pae},
};
TEST_MAIN(tests)
