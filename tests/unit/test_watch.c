/*
 * Watchpoints on real KVM, in every mode: who, old and new value for each kind of access; and the
 * guest ends as it does unwatched. VMSCOPE_FORCE_METHODS makes the same tests use other methods.
 */
#include "tests/unit/guest_image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "debug/points/points.h"
#include "debug/points/watch.h"
#include "debug/session.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"
#include "vmm/x86_bits.h"

#define AT    0x8000ull  /* code */
#define DATA  0xa000ull  /* this page and the next */
#define STACK 0xd000ull  /* its top */
#define TABLE 0x10000ull /* page tables, descriptors for ring 3 */
#define MEM   (4u << 20)

/* ---- the guest ------------------------------------------------------------------------------- */

/* The same program for each mode; the labels are where it does what. */
#define PROGRAM(name, code, sp, ax, bx, cx, si, di, extra)                                         \
    __asm__(".pushsection .rodata\n" code "\n"                                                     \
            "g_" #name "_begin:\n"                                                                 \
            "  mov $0xd000, %" sp "\n"                                                             \
            "g_" #name "_w1: movb $0x11, 0xa010\n"                                                 \
            "g_" #name "_w2: movw $0x2222, 0xa012\n"                                               \
            "g_" #name "_w4: movl $0x44444444, 0xa014\n"                                           \
            "  mov $3, %" cx "\n"                                                                  \
            "g_" #name "_r1: movb 0xa010, %cl\n"                                                   \
            "g_" #name "_r4: movl 0xa014, %ecx\n"                                                  \
            "g_" #name "_rmw: addl $1, 0xa014\n"                                                   \
            "  mov $0x77777777, %ecx\n"                                                            \
            "g_" #name "_xchg: xchgl %ecx, 0xa020\n"                                               \
            "g_" #name "_lock: lock incl 0xa020\n"                                                 \
            "g_" #name "_cross: movl $0x0f0e0d0c, 0xaffe\n"                                        \
            "g_" #name "_same: movb $0x11, 0xa010\n"                                               \
            "  mov $0xa100, %" sp "\n"                                                             \
            "  mov $0x1234, %" bx "\n"                                                             \
            "g_" #name "_push: push %" bx "\n"                                                     \
            "g_" #name "_pop: pop %" cx "\n"                                                       \
            "g_" #name "_call: call g_" #name "_callee\n"                                          \
            "g_" #name "_back: mov $0xd000, %" sp "\n"                                             \
            "  mov $0xa200, %" di "\n"                                                             \
            "  mov $16, %" cx "\n"                                                                 \
            "  mov $0x5a, %al\n  cld\n"                                                            \
            "g_" #name "_stos: rep stosb\n"                                                        \
            "  mov $0xa200, %" si "\n"                                                             \
            "  mov $0xa300, %" di "\n"                                                             \
            "  mov $16, %" cx "\n"                                                                 \
            "g_" #name "_movs: rep movsb\n"                                                        \
            "  std\n"                                                                              \
            "  mov $0xa50e, %" di "\n"                                                             \
            "  mov $8, %" cx "\n"                                                                  \
            "  mov $0x6b6b, %" ax "\n"                                                             \
            "g_" #name "_bstos: rep stosw\n"                                                       \
            "  mov $0xa50f, %" si "\n"                                                             \
            "  mov $0xa60f, %" di "\n"                                                             \
            "  mov $16, %" cx "\n"                                                                 \
            "g_" #name "_bmovs: rep movsb\n"                                                       \
            "  mov $0x5000, %dx\n"                                                                 \
            "  mov $0xa70e, %" di "\n"                                                             \
            "  mov $8, %" cx "\n"                                                                  \
            "g_" #name "_bins: rep insw\n"                                                         \
            "  cld\n" extra "g_" #name "_out: mov $0, %al\n"                                       \
            "  out %al, $0xf4\n"                                                                   \
            "  jmp .\n"                                                                            \
            "g_" #name "_callee: nop\n"                                                            \
            "g_" #name "_ret: ret\n"                                                               \
            "g_" #name "_end:\n"                                                                   \
            ".code64\n.popsection\n");                                                             \
    LABELS(name)
#define LABEL(name, l) extern const uint8_t g_##name##_##l[];
#define LABELS(n)                                                                                  \
    LABEL(n, begin)                                                                                \
    LABEL(n, w1)                                                                                   \
    LABEL(n, w2)                                                                                   \
    LABEL(n, w4)                                                                                   \
    LABEL(n, r1)                                                                                   \
    LABEL(n, r4)                                                                                   \
    LABEL(n, rmw)                                                                                  \
    LABEL(n, xchg)                                                                                 \
    LABEL(n, lock)                                                                                 \
    LABEL(n, cross)                                                                                \
    LABEL(n, same)                                                                                 \
    LABEL(n, push)                                                                                 \
    LABEL(n, pop)                                                                                  \
    LABEL(n, call)                                                                                 \
    LABEL(n, stos)                                                                                 \
    LABEL(n, movs)                                                                                 \
    LABEL(n, bstos)                                                                                \
    LABEL(n, bmovs)                                                                                \
    LABEL(n, bins)                                                                                 \
    LABEL(n, out)                                                                                  \
    LABEL(n, ret)                                                                                  \
    LABEL(n, end)

#define SSE(name)                                                                                  \
    "  movups 0xa300, %xmm0\n"                                                                     \
    "g_" name "_sse: movups %xmm0, 0xa404\n"

PROGRAM(real, ".code16", "sp", "ax", "bx", "cx", "si", "di", "")
PROGRAM(prot, ".code32", "esp", "eax", "ebx", "ecx", "esi", "edi", "")
PROGRAM(long0, ".code64", "rsp", "rax", "rbx", "rcx", "rsi", "rdi", "")
/* Enters ring 3 by the frame at 0x15f00. */
PROGRAM(long3,
        ".code64\n g_long3_entry: mov $0x15f00, %rsp\n mov %rbx, %cr3\n mov %cr4, %rcx\n or "
        "$0x200, %rcx\n mov %rcx, %cr4\n lgdt 0x15000\n iretq\n",
        "rsp", "rax", "rbx", "rcx", "rsi", "rdi", SSE("long3"))
extern const uint8_t g_long3_entry[], g_long3_sse[];

enum label {
    L_W1,
    L_W2,
    L_W4,
    L_R1,
    L_R4,
    L_RMW,
    L_XCHG,
    L_LOCK,
    L_CROSS,
    L_SAME,
    L_PUSH,
    L_POP,
    L_CALL,
    L_STOS,
    L_MOVS,
    L_BSTOS,
    L_BMOVS,
    L_BINS,
    L_RET,
    L_SSE,
    LABEL_COUNT,
};

struct program {
    const char *name;
    enum boot_mode mode;
    bool user;
    unsigned word; /* bytes of a push */
    const uint8_t *begin, *end;
    const uint8_t *at[LABEL_COUNT];
};

#define AT_LABELS(n)                                                                               \
    {                                                                                              \
        g_##n##_w1, g_##n##_w2, g_##n##_w4, g_##n##_r1, g_##n##_r4, g_##n##_rmw, g_##n##_xchg,     \
            g_##n##_lock, g_##n##_cross, g_##n##_same, g_##n##_push, g_##n##_pop, g_##n##_call,    \
            g_##n##_stos, g_##n##_movs, g_##n##_bstos, g_##n##_bmovs, g_##n##_bins, g_##n##_ret,   \
            NULL                                                                                   \
    }

static const struct program programs[] = {
    {"real", BOOT_MODE_REAL, false, 2, g_real_begin, g_real_end, AT_LABELS(real)},
    {"prot", BOOT_MODE_PROT, false, 4, g_prot_begin, g_prot_end, AT_LABELS(prot)},
    {"long0", BOOT_MODE_LONG, false, 8, g_long0_begin, g_long0_end, AT_LABELS(long0)},
    {"long3", BOOT_MODE_LONG, true, 8, g_long3_entry, g_long3_end, AT_LABELS(long3)},
};

static const struct program *pg;
static struct session *s;

static uint64_t addr_of(enum label l)
{
    const uint8_t *p = l == L_SSE ? g_long3_sse : pg->at[l];

    return AT + (uint64_t)(p - pg->begin);
}

static void put64(uint64_t at, uint64_t value)
{
    session_mem_write(s, 0, SPACE_PHYS, at, &value, 8);
}

/* Page tables that map 4 MB one to one for ring 3, descriptors, and the frame. */
static bool set_up_ring3(void)
{
    struct reg_value cr3 = reg_from_u64(REG_rbx, TABLE);
    struct err e = {0};

    put64(TABLE, (TABLE + 0x1000) | 7);
    put64(TABLE + 0x1000, (TABLE + 0x2000) | 7);
    put64(TABLE + 0x2000, (TABLE + 0x3000) | 7);
    put64(TABLE + 0x2008, 0x200000 | 0x87);
    for (uint64_t i = 0; i < 512; i++)
        put64(TABLE + 0x3000 + 8 * i, i << 12 | 7);
    put64(0x15000, 0x5f | 0x15010ull << 16); /* the descriptor table: limit, base */
    put64(0x15050, 0x00affb000000ffff);      /* code, ring 3, 64 bits */
    put64(0x15058, 0x00cff3000000ffff);
    put64(0x15f00, AT + ((uintptr_t)g_long3_begin - (uintptr_t)g_long3_entry));
    put64(0x15f08, 0x43);
    put64(0x15f10, 0x3002); /* IOPL 3: `out` ends the program */
    put64(0x15f18, STACK);
    put64(0x15f20, 0x4b);
    return session_reg_set(s, 0, REG_rbx, &cr3, &e) == 0;
}

/* Counts, so that who asks it twice gets something else. */
static unsigned asked;

static uint64_t count_up(void *arg, uint16_t port, unsigned size, bool write, uint64_t value)
{
    (void)arg, (void)port, (void)size, (void)write, (void)value;
    return 0x7000 + ++asked;
}

static bool open_program(const struct program *p, unsigned cpus)
{
    static const uint16_t ports[] = {0x5000, 0x5001};
    const struct device_spec dev = {.name = "counter", .port = ports, .ports = 2, .pio = count_up};
    const struct session_config cfg = {
        .mem_bytes = MEM, .cpus = cpus, .boot = FLAT_AT(AT, p->mode)};
    struct err e = {0};

    pg = p;
    if (!guest_open(&s, cfg, p->begin, (size_t)(p->end - p->begin)))
        return false;
    asked = 0;
    if (session_device_add(s, &dev, &e) < 0) {
        test_fail(__FILE__, __LINE__, "device: %.400s", e.msg);
        return false;
    }
    if (p->user && !set_up_ring3()) {
        test_fail(__FILE__, __LINE__, "cannot set up ring 3");
        return false;
    }
    return true;
}

static void close_program(void)
{
    guest_close(&s);
}

static void in_all_modes(void (*body)(void))
{
    for (size_t i = 0; i < sizeof programs / sizeof programs[0]; i++) {
        char why[sizeof test_why];

        if (open_program(&programs[i], 1)) {
            body();
            close_program();
        }
        if (test_failed || test_skipped) {
            memcpy(why, test_why, sizeof why);
            snprintf(test_why, sizeof test_why, "%.20s: %.500s", programs[i].name, why);
            return;
        }
    }
}

static bool go(void)
{
    struct err e = {0};

    if (session_run(s, &e) < 0) {
        test_fail(__FILE__, __LINE__, "run: %.400s", e.msg);
        return false;
    }
    if (!session_wait(s, TEST_HANG_NS, NULL)) {
        test_fail(__FILE__, __LINE__, "it does not end");
        return false;
    }
    return true;
}

static int watch(enum space sp, uint64_t addr, uint64_t len, enum watch_access access,
                 const char *condition)
{
    struct err e = {0};
    struct point_spec spec = {.kind = POINT_WATCH,
                              .space = sp,
                              .addr = addr,
                              .len = len,
                              .access = access,
                              .condition = condition,
                              .vcpu = -1};
    int id = session_point_add(s, &spec, &e);

    if (id < 0)
        test_fail(__FILE__, __LINE__, "watch 0x%llx: %.400s", (unsigned long long)addr, e.msg);
    return id;
}

/* ---- what the guest leaves behind --------------------------------------------------------------
 */

struct ending {
    uint8_t data[0x2000], stack[0x1000], code[512];
    struct kvm_regs regs;
};

static void take_ending(struct ending *x)
{
    memset(x, 0, sizeof *x);
    session_mem_read(s, 0, SPACE_PHYS, DATA, x->data, sizeof x->data);
    session_mem_read(s, 0, SPACE_PHYS, STACK - 0x1000, x->stack, sizeof x->stack);
    session_mem_read(s, 0, SPACE_PHYS, AT, x->code, sizeof x->code);
    x->regs = session_cpu(s, 0, VS_REGS)->regs;
}

static struct ending unwatched, watched;

static bool ended_as_unwatched(void)
{
    if (session_last_stop(s)->kind != STOP_DEBUG_EXIT) {
        test_fail(__FILE__, __LINE__, "ended with: %.400s", session_last_stop(s)->text);
        return false;
    }
    take_ending(&watched);
    if (memcmp(&watched.regs, &unwatched.regs, sizeof watched.regs))
        test_fail(__FILE__, __LINE__, "registers differ at the end");
    if (asked != 8)
        test_fail(__FILE__, __LINE__, "the device was asked %u times, not 8", asked);
    for (size_t i = 0; i < sizeof watched.data; i++)
        if (watched.data[i] != unwatched.data[i])
            test_fail(__FILE__, __LINE__, "data+0x%zx is %02x, unwatched %02x", i, watched.data[i],
                      unwatched.data[i]);
    if (memcmp(watched.stack, unwatched.stack, sizeof watched.stack))
        test_fail(__FILE__, __LINE__, "the stack differs at the end");
    if (memcmp(watched.code, unwatched.code, sizeof watched.code))
        test_fail(__FILE__, __LINE__, "the code differs at the end");
    return !test_failed;
}

static bool run_unwatched(const struct program *p)
{
    bool ok;

    if (!open_program(p, 1))
        return false;
    ok = go();
    if (ok && session_last_stop(s)->kind != STOP_DEBUG_EXIT) {
        test_fail(__FILE__, __LINE__, "unwatched: %.400s", session_last_stop(s)->text);
        ok = false;
    }
    take_ending(&unwatched);
    close_program();
    return ok;
}

/* ---- each kind
 * ----------------------------------------------------------------------------------- */

struct expect {
    enum label by;
    uint64_t old_value, new_value;
};

#define STOPS_MAX 8

struct row {
    const char *what;
    uint64_t addr, len;
    enum watch_access access;
    unsigned stops;
    struct expect stop[STOPS_MAX];
};

static const struct row rows[] = {
    {"write 1", DATA + 0x10, 1, WATCH_WRITE, 2, {{L_W1, 0, 0x11}, {L_SAME, 0x11, 0x11}}},
    {"change 1", DATA + 0x10, 1, WATCH_CHANGE, 1, {{L_W1, 0, 0x11}}},
    {"read 1", DATA + 0x10, 1, WATCH_READ, 1, {{L_R1, 0x11, 0x11}}},
    {"access 1",
     DATA + 0x10,
     1,
     WATCH_ACCESS,
     3,
     {{L_W1, 0, 0x11}, {L_R1, 0x11, 0x11}, {L_SAME, 0x11, 0x11}}},
    {"write 2", DATA + 0x12, 2, WATCH_WRITE, 1, {{L_W2, 0, 0x2222}}},
    {"write 4",
     DATA + 0x14,
     4,
     WATCH_WRITE,
     2,
     {{L_W4, 0, 0x44444444}, {L_RMW, 0x44444444, 0x44444445}}},
    {"third byte of 4", DATA + 0x16, 1, WATCH_CHANGE, 1, {{L_W4, 0, 0x44}}},
    {"read 4",
     DATA + 0x14,
     4,
     WATCH_READ,
     2,
     {{L_R4, 0x44444444, 0x44444444}, {L_RMW, 0x44444444, 0x44444445}}},
    {"untouched neighbours", DATA + 0x11, 1, WATCH_ACCESS, 0, {{0}}},
    {"xchg and lock",
     DATA + 0x20,
     4,
     WATCH_CHANGE,
     2,
     {{L_XCHG, 0, 0x77777777}, {L_LOCK, 0x77777777, 0x77777778}}},
    {"last byte of a page", DATA + 0xfff, 1, WATCH_CHANGE, 1, {{L_CROSS, 0, 0x0d}}},
    {"first byte of the next", DATA + 0x1000, 1, WATCH_CHANGE, 1, {{L_CROSS, 0, 0x0e}}},
    {"both sides", DATA + 0xffe, 4, WATCH_CHANGE, 1, {{L_CROSS, 0, 0x0f0e0d0c}}},
    {"odd range",
     DATA + 0x0f,
     7,
     WATCH_CHANGE,
     4,
     {{L_W1, 0, 0x1100},
      {L_W2, 0x1100, 0x2222001100},
      {L_W4, 0x2222001100, 0x44442222001100},
      {L_RMW, 0x44442222001100, 0x44452222001100}}},
    {"upper half of 16", DATA + 0x40e, 4, WATCH_CHANGE, 1, {{L_SSE, 0, 0x5a5a5a5a}}},
    {"both halves of 16", DATA + 0x404, 16, WATCH_WRITE, 1, {{L_SSE, 0, 0x5a5a5a5a5a5a5a5a}}},
    {"element of rep stos", DATA + 0x205, 1, WATCH_WRITE, 1, {{L_STOS, 0, 0x5a}}},
    {"two elements of rep stos", DATA + 0x205, 2, WATCH_WRITE, 1, {{L_STOS, 0, 0x5a5a}}},
    {"all of rep stos", DATA + 0x200, 16, WATCH_WRITE, 1, {{L_STOS, 0, 0x5a5a5a5a5a5a5a5a}}},
    {"its last element", DATA + 0x20f, 1, WATCH_CHANGE, 1, {{L_STOS, 0, 0x5a}}},
    {"rep stos and movs",
     DATA + 0x204,
     4,
     WATCH_ACCESS,
     2,
     {{L_STOS, 0, 0x5a5a5a5a}, {L_MOVS, 0x5a5a5a5a, 0x5a5a5a5a}}},
    {"all read by rep movs",
     DATA + 0x200,
     16,
     WATCH_READ,
     1,
     {{L_MOVS, 0x5a5a5a5a5a5a5a5a, 0x5a5a5a5a5a5a5a5a}}},
    {"read by rep movs", DATA + 0x205, 1, WATCH_READ, 1, {{L_MOVS, 0x5a, 0x5a}}},
    {"element of rep movs", DATA + 0x305, 1, WATCH_CHANGE, 1, {{L_MOVS, 0, 0x5a}}},
    /* Downwards: what it makes first, in the middle, last, and what is beside it. */
    {"first of rep stos down", DATA + 0x50e, 2, WATCH_WRITE, 1, {{L_BSTOS, 0, 0x6b6b}}},
    {"last of rep stos down", DATA + 0x500, 1, WATCH_CHANGE, 1, {{L_BSTOS, 0, 0x6b}}},
    {"above rep stos down", DATA + 0x510, 8, WATCH_ACCESS, 0, {{0}}},
    {"below rep stos down", DATA + 0x4f8, 8, WATCH_ACCESS, 0, {{0}}},
    {"read by rep movs down", DATA + 0x501, 1, WATCH_READ, 1, {{L_BMOVS, 0x6b, 0x6b}}},
    {"middle of rep movs down", DATA + 0x607, 3, WATCH_CHANGE, 1, {{L_BMOVS, 0, 0x6b6b6b}}},
    {"half of rep movs down", DATA + 0x600, 8, WATCH_WRITE, 1, {{L_BMOVS, 0, 0x6b6b6b6b6b6b6b6b}}},
    {"first of rep ins down", DATA + 0x70e, 2, WATCH_WRITE, 1, {{L_BINS, 0, 0x7001}}},
    {"middle of rep ins down", DATA + 0x706, 2, WATCH_CHANGE, 1, {{L_BINS, 0, 0x7005}}},
    {"all of rep ins down", DATA + 0x700, 16, WATCH_WRITE, 1, {{L_BINS, 0, 0x7005700670077008}}},
    {"above rep ins down", DATA + 0x710, 40, WATCH_ACCESS, 0, {{0}}},
};

static bool check_stop(const struct row *r, unsigned i)
{
    const struct stop_info *si = session_last_stop(s);
    const struct expect *x = &r->stop[i];

    if (i >= r->stops) {
        test_fail(__FILE__, __LINE__, "%s: a stop too many: %.300s", r->what, si->text);
        return false;
    }
    if (si->by != addr_of(x->by))
        test_fail(__FILE__, __LINE__, "%s: stop %u by 0x%llx, want 0x%llx: %.300s", r->what, i,
                  (unsigned long long)si->by, (unsigned long long)addr_of(x->by), si->text);
    else if (si->old_value != x->old_value || si->new_value != x->new_value)
        test_fail(__FILE__, __LINE__, "%s: stop %u: 0x%llx to 0x%llx, want 0x%llx to 0x%llx",
                  r->what, i, (unsigned long long)si->old_value, (unsigned long long)si->new_value,
                  (unsigned long long)x->old_value, (unsigned long long)x->new_value);
    else if (si->addr != r->addr || si->value_len != (r->len < 8 ? r->len : 8))
        test_fail(__FILE__, __LINE__, "%s: address 0x%llx, %u bytes", r->what,
                  (unsigned long long)si->addr, si->value_len);
    return !test_failed;
}

static void run_row(const struct row *r, enum space sp)
{
    unsigned n = 0;
    int id = watch(sp, r->addr, r->len, r->access, NULL);

    while (!test_failed && go() && session_last_stop(s)->kind == STOP_WATCHPOINT) {
        CHECK_EQ(session_last_stop(s)->point_id, id);
        if (!check_stop(r, n++))
            return;
    }
    if (test_failed)
        return;
    if (n != r->stops)
        TEST_FAIL("%s: %u stops, want %u (%s)", r->what, n, r->stops, session_point(s, id)->method);
    CHECK_EQ(session_point(s, id)->hits, n);
    ended_as_unwatched();
}

static void each_row(enum space sp)
{
    for (size_t p = 0; p < sizeof programs / sizeof programs[0]; p++) {
        char why[400];

        if (!run_unwatched(&programs[p]))
            return;
        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
            if (rows[i].stop[0].by == L_SSE && !programs[p].user)
                continue;
            if (!open_program(&programs[p], 1))
                return;
            run_row(&rows[i], sp);
            close_program();
            if (test_failed) {
                memcpy(why, test_why, sizeof why - 1);
                why[sizeof why - 1] = 0;
                TEST_FAIL("%s: %s", programs[p].name, why);
            }
        }
    }
}

static void linear_rows(void)
{
    each_row(SPACE_LINEAR);
}

static void physical_rows(void)
{
    each_row(SPACE_PHYS);
}

/* ---- the stack, calls -------------------------------------------------------------------------
 */

/* The word that `push`, and later `call`, put at the top of the stack in the data page. */
static void stack_words(void)
{
    const struct {
        const char *what;
        enum watch_access access;
        enum label by;
        unsigned after; /* which stop */
    } want[] = {{"push", WATCH_WRITE, L_PUSH, 0},
                {"pop", WATCH_READ, L_POP, 0},
                {"call", WATCH_WRITE, L_CALL, 1},
                {"ret", WATCH_READ, L_RET, 1}};

    for (size_t p = 0; p < sizeof programs / sizeof programs[0]; p++) {
        if (!run_unwatched(&programs[p]))
            return;
        for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
            unsigned word = programs[p].word;
            const struct stop_info *si;

            if (!open_program(&programs[p], 1))
                return;
            watch(SPACE_LINEAR, DATA + 0x100 - word, word, want[i].access, NULL);
            for (unsigned n = 0; n <= want[i].after && go(); n++)
                ;
            si = session_last_stop(s);
            if (!test_failed && (si->kind != STOP_WATCHPOINT || si->by != addr_of(want[i].by)))
                test_fail(__FILE__, __LINE__, "%s %s: want a stop by 0x%llx: %.300s",
                          programs[p].name, want[i].what, (unsigned long long)addr_of(want[i].by),
                          si->text);
            while (!test_failed && session_last_stop(s)->kind == STOP_WATCHPOINT && go())
                ;
            if (!test_failed)
                ended_as_unwatched();
            close_program();
            if (test_failed)
                return;
        }
    }
}

/* ---- pages that the processor uses itself
 * -------------------------------------------------------- */

/* A watchpoint that never stops, on all of one page; the guest must not notice. */
static void quiet_page(uint64_t page, enum watch_access access)
{
    for (size_t p = 0; p < sizeof programs / sizeof programs[0]; p++) {
        if (!run_unwatched(&programs[p]) || !open_program(&programs[p], 1))
            return;
        watch(SPACE_PHYS, page, 4096, access, "0");
        if (!test_failed && go())
            ended_as_unwatched();
        if (test_failed) {
            char why[400];

            memcpy(why, test_why, sizeof why - 1);
            why[sizeof why - 1] = 0;
            test_fail(__FILE__, __LINE__, "%s: %s", programs[p].name, why);
        }
        close_program();
        if (test_failed)
            return;
    }
}

static void code_page_written(void)
{
    quiet_page(AT, WATCH_WRITE);
}

static void code_page_read(void)
{
    quiet_page(AT, WATCH_ACCESS);
}

static void stack_page(void)
{
    quiet_page(STACK - 0x1000, WATCH_ACCESS);
}

static void table_page(void)
{
    for (uint64_t page = TABLE; page < TABLE + 0x4000 && !test_failed; page += 0x1000) {
        quiet_page(page, WATCH_WRITE);
        if (!test_failed)
            quiet_page(page, WATCH_ACCESS);
    }
}

static void descriptor_page(void)
{
    quiet_page(0x15000, WATCH_WRITE);
    if (!test_failed)
        quiet_page(0x15000, WATCH_ACCESS);
}

/* ---- as for breakpoints
 * ---------------------------------------------------------------------------- */

static void conditions_and_counts(void)
{
    int id = watch(SPACE_LINEAR, DATA + 0x14, 4, WATCH_WRITE, "*(u32*)0xa014 == 0x44444445");

    CHECK(go());
    CHECK_EQ(session_last_stop(s)->kind, STOP_WATCHPOINT);
    CHECK_EQ(session_last_stop(s)->by, addr_of(L_RMW));
    CHECK_EQ(session_point(s, id)->hits, 1);
    CHECK_EQ(session_point(s, id)->false_hits, 1);
    session_point_del(s, id);
    id = watch(SPACE_LINEAR, DATA + 0x20, 4, WATCH_WRITE, NULL);
    session_point_ignore(s, id, 1);
    CHECK(go());
    CHECK_EQ(session_last_stop(s)->kind, STOP_WATCHPOINT);
    CHECK_EQ(session_last_stop(s)->by, addr_of(L_LOCK));
    CHECK_EQ(session_point(s, id)->hits, 2);
    session_point_enable(s, id, false);
    CHECK(go());
    CHECK_EQ(session_last_stop(s)->kind, STOP_DEBUG_EXIT);
}

static void counts_in_all_modes(void)
{
    in_all_modes(conditions_and_counts);
}

/* Whatever a condition asks for is as after the instruction, although it may be asked before KVM
 * has completed it. */
static void conditions_see_the_result(void)
{
    char past[80];
    const struct {
        const char *text;
        uint64_t addr;
        enum watch_access access;
        unsigned hits, false_hits;
    } asks[] = {
        /* R4 loads it; RMW finds it there */
        {"$ecx == 0x44444444", DATA + 0x14, WATCH_READ, 2, 0},
        {"$cl == 0x11", DATA + 0x10, WATCH_READ, 1, 0},
        {"$edi == 0x44444444", DATA + 0x14, WATCH_READ, 0, 2},
        {past, DATA + 0x14, WATCH_READ, 1, 1},
        {"*(u32*)0xa014 == 0x44444445", DATA + 0x14, WATCH_ACCESS, 1, 2},
        {"*(u32*)0xa014 == 0x44444444 && $cs == $cs && $cr0 & 0x10", DATA + 0x14, WATCH_READ, 1, 1},
    };

    snprintf(past, sizeof past, "$cs_base + $rip == 0x%llx", (unsigned long long)addr_of(L_RMW));
    for (size_t i = 0; i < sizeof asks / sizeof asks[0]; i++) {
        struct err e = {0};
        int id = watch(SPACE_LINEAR, asks[i].addr, asks[i].addr == DATA + 0x10 ? 1 : 4,
                       asks[i].access, asks[i].text);

        CHECK(id > 0 && session_reset(s, &e) == 0);
        if (pg->user)
            CHECK(set_up_ring3());
        while (go() && session_last_stop(s)->kind == STOP_WATCHPOINT)
            ;
        CHECK_EQ(session_last_stop(s)->kind, STOP_DEBUG_EXIT);
        if (session_point(s, id)->hits != asks[i].hits ||
            session_point(s, id)->false_hits != asks[i].false_hits)
            TEST_FAIL("%s (%s): %llu hits and %llu false ones", asks[i].text,
                      session_point(s, id)->method, (unsigned long long)session_point(s, id)->hits,
                      (unsigned long long)session_point(s, id)->false_hits);
        session_point_del(s, id);
    }
}

static void results_in_all_modes(void)
{
    in_all_modes(conditions_see_the_result);
}

/* A planted byte in a page of which other bytes are watched, and read. */
static void breakpoint_beside(void)
{
    struct point_spec spec = {.kind = POINT_BREAK, .addr = addr_of(L_XCHG), .vcpu = -1};
    struct err e = {0};
    uint8_t was[16], now[16];
    unsigned stops = 0;

    session_mem_read(s, 0, SPACE_PHYS, addr_of(L_XCHG), was, sizeof was);
    watch(SPACE_PHYS, AT + 0x800, 8, WATCH_ACCESS, NULL);
    for (int i = 0; i < 6; i++) /* more than there are debug registers */
        CHECK(session_point_add(s, &spec, &e) > 0);
    while (go() && session_last_stop(s)->kind == STOP_BREAKPOINT)
        stops++;
    CHECK_EQ(session_last_stop(s)->kind, STOP_DEBUG_EXIT);
    CHECK_EQ(stops, 1);
    session_mem_read(s, 0, SPACE_PHYS, addr_of(L_XCHG), now, sizeof now);
    CHECK(!memcmp(was, now, sizeof now));
}

static void breakpoints_in_all_modes(void)
{
    in_all_modes(breakpoint_beside);
}

static void by_steps(void)
{
    struct err e = {0};
    const struct stop_info *si;
    int id = watch(SPACE_LINEAR, DATA + 0x14, 4, WATCH_CHANGE, NULL);

    CHECK_EQ(session_step(s, 0, 1000, &e), 0);
    CHECK(session_wait(s, TEST_HANG_NS, NULL));
    si = session_last_stop(s);
    CHECK_EQ(si->kind, STOP_WATCHPOINT);
    CHECK_EQ(si->point_id, id);
    CHECK_EQ(si->by, addr_of(L_W4));
    CHECK_EQ(si->new_value, 0x44444444);
}

static void steps_in_all_modes(void)
{
    in_all_modes(by_steps);
}

/* ---- many
 * -------------------------------------------------------------------------------------------- */

static void a_thousand(void)
{
    uint64_t exits;

    if (!run_unwatched(&programs[2]) || !open_program(&programs[2], 1))
        return;
    for (unsigned i = 0; i < 1000 && !test_failed; i++)
        watch(SPACE_PHYS, 0x100000 + 0x1000 * (i / 2) + 64 * (i & 1), 4, WATCH_ACCESS, NULL);
    exits = session_exit_count(s);
    if (go())
        ended_as_unwatched();
    if (!test_failed && !strstr(session_point(s, 1)->method, "steps") &&
        session_exit_count(s) - exits > 20)
        test_fail(__FILE__, __LINE__, "pages that nobody touches cost %llu exits",
                  (unsigned long long)(session_exit_count(s) - exits));
    for (int id = 1; id <= 1000 && !test_failed; id++)
        if (session_point_del(s, id) < 0)
            test_fail(__FILE__, __LINE__, "point %d is gone", id);
    if (!test_failed && session_vm(s)->slots.count != session_vm(s)->mem.regions)
        test_fail(__FILE__, __LINE__, "%zu slots are left", session_vm(s)->slots.count);
    close_program();
}

/* With page tables in the range the guest is stepped, and a rep is one hit. */
static void a_large_range(void)
{
    const struct stop_info *si;
    unsigned n = 0;

    if (!run_unwatched(&programs[2]) || !open_program(&programs[2], 1))
        return;
    watch(SPACE_PHYS, DATA, MEM - DATA, WATCH_CHANGE, NULL);
    while (go() && session_last_stop(s)->kind == STOP_WATCHPOINT)
        n++;
    si = session_last_stop(s);
    if (!test_failed && (si->kind != STOP_DEBUG_EXIT || n < 11))
        test_fail(__FILE__, __LINE__, "%u stops, then %.300s", n, si->text);
    if (!test_failed)
        ended_as_unwatched();
    close_program();
}

static void refusals(void)
{
    struct point_spec spec = {.kind = POINT_WATCH, .addr = 0x1000, .access = WATCH_WRITE};
    struct err e = {0};

    if (!open_program(&programs[0], 1))
        return;
    CHECK_EQ(session_point_add(s, &spec, &e), -EINVAL);
    spec.len = UINT64_MAX;
    CHECK_EQ(session_point_add(s, &spec, &e), -EINVAL);
    spec.len = MEM * 2ull;
    CHECK_EQ(session_point_add(s, &spec, &e), -EINVAL);
    spec.len = 8;
    spec.access = 0;
    CHECK_EQ(session_point_add(s, &spec, &e), -EINVAL);
    spec.access = WATCH_WRITE;
    spec.space = SPACE_PHYS;
    spec.addr = MEM - 4;
    CHECK_EQ(session_point_add(s, &spec, &e), -EFAULT);
    CHECK_HAS(e.msg, "no memory there");
    CHECK(!session_point_next(s, 0));
    CHECK_EQ(session_vm(s)->slots.count, session_vm(s)->mem.regions);
    close_program();
}

/* A debug register that fires in a step of a repeated string whose value is as before: whether the
 * elements that were made touched it. Hosts without such registers learn it here, too. */
static void string_hits(void)
{
    static const struct {
        uint64_t addr;
        bool down, touched;
    } row[] = {
        {DATA + 0x10, false, true}, {DATA + 0x16, false, true}, {DATA + 0x18, false, false},
        {DATA + 0xe, false, false}, {DATA + 0x10, true, true},  {DATA + 0xa, true, true},
        {DATA + 0x8, true, false},  {DATA + 0x12, true, false},
    };
    static struct points points;

    if (!open_program(&programs[0], 1))
        return;
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        struct vcpu *v = session_vm(s)->cpu[0];
        struct watches w = {.points = &points, .vm = session_vm(s)};
        struct bp b = {.pub.spec = {.kind = POINT_WATCH, .addr = row[i].addr, .len = 2}};
        struct watch_cpu *c = &w.cpu[0];

        b.pub.spec.access = WATCH_ACCESS;
        w.dr[0] = &b;
        c->step_from = AT;
        c->expect.count = 1; /* four words from there */
        c->expect.at[0].linear = DATA + 0x10;
        c->expect.at[0].len = 2;
        c->expect.at[0].write = c->expect.at[0].is_repeated = true;
        c->rcx = v->regs->rcx + 4;
        v->regs->rflags = (v->regs->rflags & ~RFLAGS_DF) | (row[i].down ? RFLAGS_DF : 0);
        watch_fired(&w, v, 1, true, false);
        if (c->hits != row[i].touched)
            test_fail(__FILE__, __LINE__, "row %zu: %u hits", i, c->hits);
        free(c->hit);
    }
    close_program();
}

static const struct test tests[] = {
    {"linear_rows", linear_rows},
    {"physical_rows", physical_rows},
    {"stack_words", stack_words},
    {"code_page_written", code_page_written},
    {"code_page_read", code_page_read},
    {"stack_page", stack_page},
    {"table_page", table_page},
    {"descriptor_page", descriptor_page},
    {"conditions_and_counts", counts_in_all_modes},
    {"conditions_see_the_result", results_in_all_modes},
    {"breakpoint_beside", breakpoints_in_all_modes},
    {"by_steps", steps_in_all_modes},
    {"a_thousand", a_thousand},
    {"a_large_range", a_large_range},
    {"string_hits", string_hits},
    {"refusals", refusals},
};
TEST_MAIN(tests)
