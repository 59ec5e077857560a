/*
 * A guest that maps a page, or another page in its place, and calls into it or stores to it at once
 * hits the break- or watchpoints there each time: for one and for many of them, in both rings of
 * long mode, by every method.
 */
#include "tests/test.h"

#include "debug/session.h"
#include "tests/unit/diff_boot.h"

#define PML4 DP_TABLES
#define PD   (DP_TABLES + 0x2000)
#define PT   (DP_TABLES + 0x3000) /* of the first 2 MiB */

/* Tables that the guest makes. */
#define PT_ONE   0x20000u
#define PT_TWO   0x21000u
#define PML4_TWO 0x22000u /* another address space, with tables of its own */
#define PDPT_TWO 0x23000u
#define PD_TWO   0x24000u
#define PT_THREE 0x25000u

#define FRAME_ONE 0xa000u /* functions that add 1 to BX, */
#define FRAME_TWO 0xb000u /* and 256 */
#define MAPPED    0x400000u
#define FUNCTIONS (MAPPED + FRAME_ONE)
#define SET_CR3   0x50u /* vector of the gate through which ring 3 loads CR3 from RAX */

#define STORE_AT   12u /* behind a function */
#define POINTS_MAX 20u
#define P          7u /* present, writable, for ring 3 */

static struct program prog;
static uint32_t tables_made; /* where in it the guest has made its tables */

#define CODE(...) DP_CODE_BYTES(&prog, __VA_ARGS__)

struct layout {
    unsigned points;
    bool spread; /* each in a page of its own */
    bool stores; /* watchpoints behind the functions, which are written instead of called */
    bool by_xmm; /* entries are stored by an instruction that KVM's emulator refuses */
};

/* What the guest does before it calls all functions. */
enum act { MAP, REMAP, UNMAP_MAP, OTHER_TABLE, LARGE_PAGE, OTHER_SPACE, BACK, ACTS };

static const uint16_t adds[ACTS] = {1, 0x100, 1, 0x100, 1, 1, 0x100};

static uint32_t function(const struct layout *l, unsigned i)
{
    return FUNCTIONS + 16 * i + (l->spread ? i * 0x1000 : 0);
}

static void put_functions(void)
{
    for (unsigned i = 0; i < POINTS_MAX; i++) {
        prog.at = FRAME_ONE + 16 * i;
        CODE(0x66, 0x83, 0xc3, 0x01, 0xc3); /* add bx, 1; ret */
        prog.at = FRAME_TWO + 16 * i;
        CODE(0x66, 0x81, 0xc3, 0x00, 0x01, 0xc3); /* add bx, 256; ret */
    }
}

static void store(uint32_t at, uint32_t value)
{
    CODE(0xc7);
    dp_modrm_abs(&prog, 0, at);
    dp_put(&prog, value, 4);
}

static void store_by_xmm(uint32_t at, uint32_t value)
{
    dp_mov_imm(&prog, 0, value);
    CODE(0x66, 0x0f, 0x6e, 0xc0, 0x66, 0x0f, 0xd6); /* movd xmm0, eax; movq [at], xmm0 */
    dp_modrm_abs(&prog, 0, at);
}

/* Entries of `table` for all pages of functions; 0: none. */
static void fill(const struct layout *l, uint32_t table, uint32_t entry)
{
    for (unsigned i = 0; i < (l->spread ? l->points : 1); i++)
        (l->by_xmm ? store_by_xmm : store)(table + 8 * ((FUNCTIONS >> 12 & 511) + i), entry);
}

static void load_cr3(uint32_t cr3)
{
    dp_mov_imm(&prog, 0, cr3);
    if (prog.kind == DP_LONG3)
        CODE(0xcd, SET_CR3);
    else
        CODE(0x0f, 0x22, 0xd8);
}

/* No host sees each change of CR3: the next exit shows it. */
static void leave(void)
{
    CODE(0xe6, TESTDEV_POST);
}

static void call_all(const struct layout *l)
{
    for (unsigned i = 0; i < l->points; i++) {
        if (l->stores) {
            store(function(l, i) + STORE_AT, i);
            continue;
        }
        dp_mov_imm(&prog, 0, function(l, i));
        CODE(0xff, 0xd0);
    }
}

static void put_act(const struct layout *l, enum act a)
{
    uint32_t entry = PD + 8 * (MAPPED >> 21);

    switch (a) {
    case MAP:
        store(entry, PT_ONE | P);
        fill(l, PT_ONE, FRAME_ONE | P);
        break;
    case REMAP:
        fill(l, PT_ONE, FRAME_TWO | P);
        load_cr3(PML4);
        break;
    case UNMAP_MAP:
        fill(l, PT_ONE, 0);
        load_cr3(PML4);
        fill(l, PT_ONE, FRAME_ONE | P);
        break;
    case OTHER_TABLE:
        store(entry, PT_TWO | P);
        load_cr3(PML4);
        break;
    case LARGE_PAGE:
        store(entry, 0x80 | P);
        load_cr3(PML4);
        break;
    case OTHER_SPACE:
        store(entry, 0);
        load_cr3(PML4_TWO);
        leave();
        break;
    default:
        load_cr3(PML4);
        store(entry, PT_TWO | P);
        break;
    }
    call_all(l);
}

static void put_gate(void)
{
    uint32_t handler = DP_HANDLERS + 0x400;

    dp_store(&prog, DP_IDT + SET_CR3 * 16, handler | X86_SEL_CODE << 16, 8);
    dp_store(&prog, DP_IDT + SET_CR3 * 16 + 4, 0xee00, 4);
    dp_store(&prog, DP_IDT + 0xff0, 0x50f, 2);
    prog.at = handler;
    CODE(0x0f, 0x22, 0xd8, 0x48, 0xcf); /* mov cr3, rax; iretq */
}

/* The acts of mask `acts`. */
static unsigned make(enum dp_kind kind, const struct layout *l, unsigned acts)
{
    unsigned sum = 0;

    dp_make(&prog, kind, 1);
    prog.kind = DP_LONG3; /* the same tables in both rings */
    dp_tables(&prog);
    prog.kind = kind;
    put_gate();
    put_functions();
    prog.at = DP_CODE;
    if (kind == DP_LONG0)
        load_cr3(PML4);
    leave();
    dp_mov_imm(&prog, 3, 0);
    fill(l, PT_TWO, FRAME_TWO | P);
    fill(l, PT_THREE, FRAME_ONE | P);
    store(PD_TWO, PT | P);
    store(PD_TWO + 8 * (MAPPED >> 21), PT_THREE | P);
    store(PDPT_TWO, PD_TWO | P);
    store(PML4_TWO, PDPT_TWO | P);
    store(PD + 8 * (MAPPED >> 21), 0);
    tables_made = prog.at;
    for (enum act a = 0; a < ACTS; a++) {
        if (!(acts >> a & 1))
            continue;
        put_act(l, a);
        sum += l->stores ? 0 : l->points * adds[a];
    }
    dp_exit(&prog);
    return sum & 0xffff;
}

static int add(struct session *s, const struct layout *l, unsigned i)
{
    struct point_spec spec = {.kind = POINT_BREAK,
                              .addr = function(l, i),
                              .vcpu = -1,
                              .space = SPACE_LINEAR,
                              .action = DO_COUNT};

    if (l->stores) {
        spec.kind = POINT_WATCH;
        spec.access = WATCH_WRITE;
        spec.addr += STORE_AT;
        spec.len = 4;
    }
    return session_point_add(s, &spec, NULL);
}

/* Does the point say that it will not miss the page? */
static bool is_sure(struct session *s, const struct layout *l, int id)
{
    struct buf how = {0};
    bool sure;

    if (!l->stores)
        return strcmp(session_point(s, id)->method, "waiting: looked for at exits") != 0;
    session_point_coverage(s, id, &how);
    sure = !strstr(how.data, "looked up");
    buf_fini(&how);
    return sure;
}

static void run(enum dp_kind kind, const struct layout *l, const char *force)
{
    unsigned acts = (1u << ACTS) - 1 - (l->spread ? 1u << LARGE_PAGE : 0);
    unsigned sum = make(kind, l, acts), wanted = (unsigned)__builtin_popcount(acts);
    bool sure[POINTS_MAX];
    struct session *s;
    struct err e = {0};
    int id[POINTS_MAX];

    if (!dp_open(&s, &prog, force))
        return;
    for (unsigned i = 0; i < l->points; i++) {
        id[i] = add(s, l, i);
        CHECK(id[i] > 0);
        sure[i] = is_sure(s, l, id[i]);
    }
    CHECK(session_run(s, &e) == 0);
    if (!session_wait(s, TEST_HANG_NS, NULL))
        TEST_FAIL("%s, %s: still runs", dp_kind_name[kind], force ? force : "any method");
    if (session_last_stop(s)->kind != STOP_DEBUG_EXIT)
        TEST_FAIL("%s, %s: %.200s", dp_kind_name[kind], force ? force : "any method",
                  session_last_stop(s)->text);
    for (unsigned i = 0; i < l->points; i++) {
        const struct point *p = session_point(s, id[i]);

        if (p->hits > wanted || (p->hits < wanted && sure[i]))
            TEST_FAIL("%s, %s, point %u of %u%s (%s): %llu hits, not %u", dp_kind_name[kind],
                      force ? force : "any method", i + 1, l->points, l->spread ? ", spread" : "",
                      p->method, (unsigned long long)p->hits, wanted);
    }
    CHECK_EQ(session_cpu(s, 0, VS_REGS)->regs.rbx & 0xffff, sum);
    guest_close(&s);
}

static void all_ways(enum dp_kind kind)
{
    static const char *const forces[] = {NULL,         "break=int3",           "break=icebp",
                                         "break=gate", "break=debug-register", "break=stepping"};
    static const unsigned counts[] = {1, 4, 5, 20};

    for (size_t i = 0; i < sizeof forces / sizeof forces[0]; i++)
        for (unsigned k = 0; k < 8 && !test_failed && !test_skipped; k++)
            run(kind, &(struct layout){counts[k / 2], k % 2, false, false}, forces[i]);
    for (unsigned k = 0; k < 4 && !test_failed && !test_skipped; k++)
        run(kind, &(struct layout){counts[k / 2], k % 2, false, true}, NULL);
}

static void watched(void)
{
    static const char *const forces[] = {NULL, "watch-write=read-only-slot", "watch-write=no-slot",
                                         "watch-write=stepping"};
    static const unsigned counts[] = {1, 5, 20};

    for (enum dp_kind kind = DP_LONG0; kind <= DP_LONG3; kind++)
        for (size_t i = 0; i < sizeof forces / sizeof forces[0]; i++)
            for (unsigned k = 0; k < 6 && !test_failed && !test_skipped; k++)
                run(kind, &(struct layout){counts[k / 2], k % 2, true, k == 4}, forces[i]);
}

/* A stop in the guest's code, where the point that led there makes room for a watchpoint; `before`:
 * points that came and went in between. */
static void watch_at_stop(enum dp_kind kind, unsigned before)
{
    const struct layout l = {.points = 1, .stores = true};
    struct point_spec here = {
        .kind = POINT_BREAK, .vcpu = -1, .space = SPACE_LINEAR, .temporary = true};
    unsigned acts = 1u << MAP | 1u << REMAP | 1u << UNMAP_MAP;
    struct session *s;
    struct err e = {0};
    bool sure;
    int id;

    make(kind, &l, acts);
    here.addr = tables_made;
    if (!dp_open(&s, &prog, NULL))
        return;
    CHECK(session_point_add(s, &here, NULL) > 0);
    CHECK(session_run(s, &e) == 0);
    CHECK(session_wait(s, TEST_HANG_NS, NULL));
    CHECK_EQ(session_cpu(s, 0, VS_REGS)->regs.rip, here.addr);
    for (unsigned i = 0; i < before; i++) {
        id = session_point_add(s, &here, NULL);
        CHECK(id > 0);
        CHECK(session_point_del(s, id) == 0);
    }
    id = add(s, &l, 0);
    CHECK(id > 0);
    sure = is_sure(s, &l, id);
    CHECK(session_run(s, &e) == 0);
    CHECK(session_wait(s, TEST_HANG_NS, NULL));
    CHECK(session_last_stop(s)->kind == STOP_DEBUG_EXIT);
    if (sure && session_point(s, id)->hits != 3)
        TEST_FAIL("%s, %u vCPUs, %u points in between: %llu hits, not 3", dp_kind_name[kind],
                  dp_cpus, before, (unsigned long long)session_point(s, id)->hits);
    session_close(s);
}

static void watched_later(void)
{
    for (dp_cpus = 1; dp_cpus <= 2; dp_cpus++)
        for (enum dp_kind kind = DP_LONG0; kind <= DP_LONG3; kind++)
            for (unsigned before = 0; before < 4 && !test_failed && !test_skipped; before++)
                watch_at_stop(kind, before);
    dp_cpus = 1;
}

static void long_ring0(void)
{
    all_ways(DP_LONG0);
}

static void long_ring3(void)
{
    all_ways(DP_LONG3);
}

static const struct test tests[] = {
    {"code that is mapped and called, ring 0", long_ring0},
    {"code that is mapped and called, ring 3", long_ring3},
    {"data that is mapped and stored to", watched},
    {"data that is watched from a stop on, then mapped and stored to", watched_later},
};
TEST_MAIN(tests)
