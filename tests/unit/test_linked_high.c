/*
 * A kernel that is linked high sets its page tables up and calls into the upper half at once: none
 * of its break- and watchpoints, set before it started, may be passed, however many there are. The
 * same code at the addresses where it was loaded is no hit.
 */
#include <string.h>

#include "tests/unit/guest_image.h"
#include "vmm/base/le.h"

#define LOADED    0x100000u
#define HIGH      0xffffffff80100000ull
#define FUNCTIONS 0x1000u /* these and the tables: offsets in the image */
#define PML4      0x2000u
#define PDPT      0x3000u /* of both halves */
#define PD        0x4000u
#define DATA      0x5000u
#define END       0x6000u
#define HEADER    0x1000u /* of the file, before the image */
#define POINTS    20u
#define ROUNDS    3u

static uint8_t file[HEADER + END], *const image = file + HEADER;
static unsigned at;

static void put(const void *bytes, size_t n)
{
    memcpy(image + at, bytes, n);
    at += (unsigned)n;
}

#define CODE(...) put((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

static void call(uint64_t base, unsigned i)
{
    CODE(0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xd0); /* mov rax, function; call rax */
    le_store(image + at - 10, 8, base + FUNCTIONS + 16 * i);
}

/* `low`: the functions are called where they were loaded, too. */
static void make_image(bool low)
{
    unsigned round;

    at = 0;
    CODE(0xbc, 0x00, 0x00, 0x18, 0x00, 0x31, 0xdb); /* mov esp, 0x180000; xor ebx, ebx */
    for (unsigned i = 0; i < POINTS && low; i++)
        call(LOADED, i);
    CODE(0xb8, 0, 0, 0, 0, 0x0f, 0x22, 0xd8, 0xb9, ROUNDS, 0, 0, 0); /* CR3; mov ecx, ROUNDS */
    le_store(image + at - 12, 4, LOADED + PML4);
    round = at;
    for (unsigned i = 0; i < POINTS; i++)
        call(HIGH, i);
    CODE(0xff, 0xc9, 0x0f, 0x85, 0, 0, 0, 0); /* dec ecx; jnz round */
    le_store(image + at - 4, 4, round - at);
    CODE(0xe6, 0xf4, 0xf4); /* out 0xf4, al; hlt */
    for (unsigned i = 0; i < POINTS; i++) {
        at = FUNCTIONS + 16 * i;
        CODE(0xff, 0xc3, 0x89, 0x1d, 0, 0, 0, 0, 0xc3); /* inc ebx; mov [DATA + 8 i], ebx; ret */
        le_store(image + at - 5, 4, DATA + 8 * i - (at - 1));
    }
    le_store(image + PML4, 8, LOADED + PDPT + 3);
    le_store(image + PML4 + 511 * 8, 8, LOADED + PDPT + 3);
    le_store(image + PDPT, 8, LOADED + PD + 3);
    le_store(image + PDPT + 510 * 8, 8, LOADED + PD + 3);
    le_store(image + PD, 8, 0x83); /* 2 MiB */
}

static void field(unsigned offset, unsigned bytes, uint64_t value)
{
    le_store(file + offset, bytes, value);
}

/* System V gABI, chapters 4 and 5: the header, and one loadable segment. */
static void make_file(bool low)
{
    memset(file, 0, sizeof file);
    memcpy(file,
           "\x7f"
           "ELF\2\1\1",
           7);
    field(16, 2, 2);  /* ET_EXEC */
    field(18, 2, 62); /* x86-64 */
    field(20, 4, 1);
    field(24, 8, LOADED); /* entry */
    field(32, 8, 64);     /* program headers */
    field(52, 2, 64);
    field(54, 2, 56);
    field(56, 2, 1);
    field(64, 4, 1); /* PT_LOAD */
    field(68, 4, 7);
    field(72, 8, HEADER);
    field(80, 8, HIGH);
    field(88, 8, LOADED);
    field(96, 8, END);
    field(104, 8, END);
    field(112, 8, 0x1000);
    make_image(low);
}

static int add(struct session *s, enum point_kind kind, unsigned i, bool stops)
{
    struct point_spec spec = {.kind = kind,
                              .addr = HIGH + FUNCTIONS + 16 * i,
                              .vcpu = -1,
                              .space = SPACE_LINEAR,
                              .condition = stops ? NULL : "$rip == 0"};

    if (kind == POINT_WATCH) {
        spec.addr = HIGH + DATA + 8 * i;
        spec.len = 4;
        spec.access = WATCH_WRITE;
    }
    return session_point_add(s, &spec, NULL);
}

static void all_are_hit(enum point_kind kind, const char *force, bool stops)
{
    const struct session_config cfg = {.mem_bytes = 4 << 20, .boot = {.kind = BOOT_ELF}};
    struct session *s;
    struct err e = {0};
    unsigned stopped = 0;

    setenv("VMSCOPE_FORCE_METHODS", force, 1);
    make_file(kind == POINT_BREAK);
    if (!guest_open(&s, cfg, file, sizeof file))
        return;
    for (unsigned i = 0; i < POINTS; i++)
        CHECK(add(s, kind, i, stops) > 0);
    for (;;) {
        CHECK(session_run(s, &e) == 0);
        if (!session_wait(s, TEST_HANG_NS, NULL))
            TEST_FAIL("%s: it does not end", force);
        if (session_last_stop(s)->kind != (kind == POINT_WATCH ? STOP_WATCHPOINT : STOP_BREAKPOINT))
            break;
        stopped++;
    }
    if (session_last_stop(s)->kind != STOP_DEBUG_EXIT)
        TEST_FAIL("%s: %.300s", force, session_last_stop(s)->text);
    CHECK_EQ(stopped, stops ? POINTS * ROUNDS : 0);
    for (const struct point *p = session_point_next(s, 0); p; p = session_point_next(s, p->id)) {
        if ((stops ? p->hits : p->false_hits) != ROUNDS)
            TEST_FAIL("%s: number %d (%s): %llu hits, %llu false, of %u", force, p->id, p->method,
                      (unsigned long long)p->hits, (unsigned long long)p->false_hits, ROUNDS);
    }
    CHECK_EQ(session_cpu(s, 0, VS_REGS)->regs.rbx, POINTS * (ROUNDS + (kind == POINT_BREAK)));
    guest_close(&s);
}

static void no_breakpoint_is_passed(void)
{
    static const char *const forces[] = {"", "break=int3", "break=debug-register"};

    for (unsigned i = 0; i < 2 * sizeof forces / sizeof forces[0] && !test_failed; i++)
        all_are_hit(POINT_BREAK, forces[i / 2], i & 1);
}

static void no_watchpoint_is_passed(void)
{
    static const char *const forces[] = {"", "watch-write=read-only-slot", "watch-write=stepping"};

    for (unsigned i = 0; i < 2 * sizeof forces / sizeof forces[0] && !test_failed; i++)
        all_are_hit(POINT_WATCH, forces[i / 2], i & 1);
}

static const struct test tests[] = {
    {"no breakpoint is passed", no_breakpoint_is_passed},
    {"no watchpoint is passed", no_watchpoint_is_passed},
};
TEST_MAIN(tests)
