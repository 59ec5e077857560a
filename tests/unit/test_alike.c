/*
 * Small programs that are hard on a debugger, one for each way in which random ones (test_diff.c)
 * have come to another end: each runs freely, then with a watch- or breakpoint, and must leave the
 * same memory and registers.
 */
#include "tests/unit/diff_boot.h"

#define MEM       (2u << 20)
#define STOPS_MAX 1000u

/* Code that starts at DP_CODE and falls into the program's end. */
#define PROGRAM(name, code, text)                                                                  \
    __asm__(".pushsection .rodata\n" code "\na_" #name "_begin:\n" text                            \
            "\n mov $0, %al\n out %al, $0xf4\n jmp .\n"                                            \
            "a_" #name "_end: .code64\n.popsection\n");                                            \
    extern const uint8_t a_##name##_begin[], a_##name##_end[];

PROGRAM(fxsave16, ".code16", " fxsave 0xba00\n fxrstor 0xba00")
PROGRAM(int16, ".code16", " sti\n mov $0xa100, %sp\n int $0x40\n mov $0xd000, %sp\n cli")
PROGRAM(pusha16, ".code16", " mov $0xa100, %sp\n pusha\n popa\n mov $0xd000, %sp")
PROGRAM(far16, ".code16",
        " mov $0xa100, %sp\n lcall $0, $(1f - a_far16_begin + 0x8000)\n jmp 2f\n"
        "1: lret\n2: mov $0xd000, %sp")
PROGRAM(pusha32, ".code32", " mov $0xa100, %esp\n pusha\n popa\n mov $0xd000, %esp")
PROGRAM(popa16, ".code16", " mov $0xa0c0, %sp\n popa\n mov $0xd000, %sp")
PROGRAM(popa32, ".code32", " mov $0xa0c0, %esp\n popa\n mov %esp, %eax\n mov $0xd000, %esp")
PROGRAM(far32, ".code32",
        " mov $0xa100, %esp\n lcall $0x10, $(1f - a_far32_begin + 0x8000)\n jmp 2f\n"
        "1: lret\n2: mov $0xd000, %esp")
#define FAR64                                                                                      \
    " movl $(1f - a_far64_begin + 0x8000), 0xbf00\n movw $0x10, 0xbf04\n lcall *0xbf00\n jmp 2f\n" \
    "1: lret\n2:\n"
PROGRAM(far64, ".code64", FAR64)
PROGRAM(retf64, ".code64",
        " mov $0x10, %eax\n push %rax\n lea 1f(%rip), %rax\n push %rax\n lretq\n"
        "1: movl $(2f - a_retf64_begin + 0x8000), -8(%rsp)\n movl $0x10, -4(%rsp)\n"
        " sub $8, %rsp\n lret $0x10\n2: sub $0x10, %rsp")
PROGRAM(iretq, ".code64",
        " mov %rsp, %rax\n push $0x18\n push %rax\n pushf\n push $0x10\n"
        " push $(1f - a_iretq_begin + 0x8000)\n iretq\n1:")

/* What comes before the store looks like a part of it, and no branch says where it begins. */
PROGRAM(store, ".code64",
        " mov $(a_store_by - a_store_begin + 0x8000), %eax\n jmp *%rax\n .fill 40, 1, 0x90\n"
        " .byte 0x66\na_store_by: mov %ebp, 0xa7c0")
extern const uint8_t a_store_by[];

/* The code before the store is of another size: read as 64-bit code, DEC and MOV are one MOV that
 * takes the far jump's first byte, whose last is then one with the store's prefix. */
PROGRAM(back, ".code64",
        " movl $(1f - a_back_begin + 0x8000), 0xbf00\n movw $0x60, 0xbf04\n ljmp *0xbf00\n"
        " .code32\n1: out %al, $0x80\n .org a_back_begin + 0x148, 0x90\n"
        " dec %eax\n mov $0, %eax\n nop\n nop\n nop\n"
        " ljmp $0x10, $(a_back_by - a_back_begin + 0x8000)\n"
        " .code64\na_back_by: .byte 0xf0\n adc %bx, 0xa7c0")
extern const uint8_t a_back_by[];

/* The interrupt that ends HLT, sent to itself, comes before what stands behind. */
PROGRAM(halt, ".code64",
        " mov $0xfee000f0, %esi\n movl $0x1ff, (%rsi)\n mov $0xfee00300, %esi\n"
        " movl $0x40040, (%rsi)\n sti\n hlt\na_halt_behind: cli")
extern const uint8_t a_halt_behind[];

/* The same when it has waited for longer than a KVM that emulates ring 0 is trusted to notice that
 * it may come, and a handler all of whose instructions but the last exit. */
PROGRAM(starved, ".code64",
        " mov $0xfee000f0, %esi\n movl $0x1ff, (%rsi)\n mov $0xfee00300, %esi\n"
        " movl $0x40040, (%rsi)\n mov $2000, %ecx\n1: mov (%rsi), %eax\n loop 1b\n sti\n hlt\n"
        " cli\n xor %eax, %eax")

static const struct row {
    const char *name;
    enum dp_kind kind;
    const uint8_t *begin, *end;
    uint64_t watch;
    unsigned len;
    enum watch_access access;
    bool stops; /* at its first instruction, and goes on from there */
} rows[] = {
#define CODE(name) a_##name##_begin, a_##name##_end
    {"FXSAVE to a page without memory", DP_REAL, CODE(fxsave16), DP_FX, 1, WATCH_ACCESS, true},
    {"INT to a read-only page", DP_REAL, CODE(int16), DP_DATA, 8, WATCH_WRITE, false},
    {"INT to a page without memory", DP_REAL, CODE(int16), DP_DATA, 8, WATCH_ACCESS, false},
    {"PUSHA to a read-only page", DP_REAL, CODE(pusha16), DP_DATA, 8, WATCH_WRITE, false},
    {"far call to a read-only page", DP_REAL, CODE(far16), DP_DATA, 8, WATCH_WRITE, false},
    {"32-bit PUSHA to a read-only page", DP_PROT, CODE(pusha32), DP_DATA, 8, WATCH_WRITE, false},
    {"POPA from a page without memory", DP_REAL, CODE(popa16), DP_DATA, 8, WATCH_ACCESS, false},
    {"32-bit POPA from a page without memory", DP_PROT, CODE(popa32), DP_DATA, 8, WATCH_ACCESS,
     false},
    {"32-bit far call to a read-only page", DP_PROT, CODE(far32), DP_DATA, 8, WATCH_WRITE, false},
    {"64-bit far call on a watched stack", DP_LONG0, CODE(far64), DP_STACK_TOP - 0x800, 8,
     WATCH_WRITE, false},
    {"far returns on a stack whose reads are watched", DP_LONG0, CODE(retf64), DP_STACK_TOP - 0x800,
     8, WATCH_ACCESS, false},
    {"IRETQ with a descriptor table that is watched", DP_LONG0, CODE(iretq), DP_GDT, 0x80,
     WATCH_ACCESS, true},
    {"HLT whose interrupt has waited long", DP_LONG0, CODE(starved), DP_DATA, 8, WATCH_ACCESS,
     false},
};

static struct program prog;
static struct session *s;

static struct ending {
    struct kvm_regs regs;
    uint8_t ram[MEM];
} ending[2];
static struct ending *const freely = &ending[0], *const now = &ending[1];

static bool complain(const struct row *r, const char *why)
{
    if (!test_failed)
        test_fail(__FILE__, __LINE__, "%s: %.400s", r->name, why);
    return false;
}

static bool wait_end(const struct row *r)
{
    if (session_wait(s, TEST_HANG_NS, NULL))
        return true;
    return complain(r, "it does not end");
}

static bool to_the_end(const struct row *r, struct ending *x)
{
    struct err e = {0};

    for (unsigned i = 0; i < STOPS_MAX; i++) {
        if (session_run(s, &e) < 0)
            return complain(r, e.msg);
        if (!wait_end(r))
            return false;
        if (session_last_stop(s)->kind == STOP_DEBUG_EXIT)
            break;
        if (session_last_stop(s)->kind != STOP_WATCHPOINT)
            return complain(r, session_last_stop(s)->text);
    }
    x->regs = session_cpu(s, 0, VS_REGS)->regs;
    return session_mem_read(s, 0, SPACE_PHYS, 0, x->ram, MEM) == MEM ||
           complain(r, "cannot read memory");
}

/* Accessed and dirty bits of the loader's tables are set early where breakpoints depend on them. */
static bool same(const struct row *r)
{
    char why[100];

    for (size_t i = 0; i < MEM; i++) {
        if (freely->ram[i] == now->ram[i] || (i >= 0x96000 && i < 0x9c000))
            continue;
        snprintf(why, sizeof why, "memory at 0x%zx is %02x, freely %02x", i, now->ram[i],
                 freely->ram[i]);
        return complain(r, why);
    }
    return !memcmp(&freely->regs, &now->regs, sizeof now->regs) ||
           complain(r, "the registers differ");
}

static bool watch(const struct row *r, const char *condition)
{
    struct point_spec spec = {.kind = POINT_WATCH,
                              .space = SPACE_PHYS,
                              .addr = r->watch,
                              .len = r->len,
                              .access = r->access,
                              .condition = condition,
                              .vcpu = -1};
    struct err e = {0};

    return session_point_add(s, &spec, &e) > 0 || complain(r, e.msg);
}

/* Up to the program's first instruction. */
static bool to_the_start(const struct row *r)
{
    struct err e = {0};

    if (session_until(s, DP_CODE, &e) < 0)
        return complain(r, e.msg);
    return wait_end(r) && (session_last_stop(s)->kind == STOP_TEMPORARY ||
                           complain(r, session_last_stop(s)->text));
}

static bool again(const struct row *r)
{
    struct err e = {0};

    return session_reset(s, &e) == 0 || complain(r, e.msg);
}

static bool one_row(const struct row *r)
{
    bool ok;

    dp_make(&prog, r->kind, 1);
    memcpy(prog.image + DP_CODE - DP_AT, r->begin, (size_t)(r->end - r->begin));
    if (!dp_open(&s, &prog, NULL))
        return false;
    ok = to_the_end(r, freely) && again(r) && (!r->stops || to_the_start(r)) &&
         watch(r, "$rip == 0") && to_the_end(r, now) && same(r);
    guest_close(&s);
    return ok;
}

static void watched(void)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0] && one_row(&rows[i]); i++)
        ;
}

static void who(void)
{
    static const struct {
        struct row row;
        const uint8_t *by;
    } whos[] = {
        {{"store behind a jump", DP_LONG0, CODE(store), DP_WATCHED, 4, WATCH_WRITE, true},
         a_store_by},
        {{"store behind 32-bit code", DP_LONG0, CODE(back), DP_WATCHED, 4, WATCH_WRITE, true},
         a_back_by},
    };

    for (size_t i = 0; i < sizeof whos / sizeof whos[0]; i++) {
        const struct row *r = &whos[i].row;
        uint64_t by = DP_CODE + (uint64_t)(whos[i].by - r->begin);
        struct err e = {0};

        dp_make(&prog, r->kind, 1);
        memcpy(prog.image + DP_CODE - DP_AT, r->begin, (size_t)(r->end - r->begin));
        if (!dp_open(&s, &prog, NULL))
            return;
        if (to_the_start(r) && watch(r, NULL) && session_run(s, &e) == 0 && wait_end(r) &&
            (session_last_stop(s)->kind != STOP_WATCHPOINT || session_last_stop(s)->by != by))
            complain(r, session_last_stop(s)->text);
        guest_close(&s);
    }
}

static bool each(void *arg, const struct vcpu *v)
{
    (void)arg;
    (void)v;
    return true;
}

/* A breakpoint behind HLT counts once, whether the guest runs or is stepped there. */
static void behind_a_halt(void)
{
    static const struct row r = {"breakpoint behind HLT", DP_LONG0, CODE(halt), .stops = true};
    const struct point_spec spec = {.kind = POINT_BREAK,
                                    .addr = DP_CODE + (uint64_t)(a_halt_behind - a_halt_begin),
                                    .condition = "$rip == 0",
                                    .vcpu = -1};

    for (unsigned way = 0; way < 3 && !test_failed && !test_skipped; way++) {
        const struct point *p;
        struct err e = {0};
        int id;

        dp_make(&prog, r.kind, 1);
        memcpy(prog.image + DP_CODE - DP_AT, r.begin, (size_t)(r.end - r.begin));
        if (!dp_open(&s, &prog, NULL))
            return;
        if (way == 2) /* by steps, too */
            session_allow_points(s, false, false);
        id = session_point_add(s, &spec, &e);
        if (id < 0 || (way == 1 && session_step_each(s, 0, 100000, each, NULL, &e) < 0))
            complain(&r, e.msg);
        else if (way == 1 || to_the_end(&r, now)) {
            p = session_point(s, id);
            if (!p || p->false_hits != 1)
                complain(&r, way == 1 ? "stepped, not once" : "not once");
        }
        guest_close(&s);
    }
}

static const struct test tests[] = {
    {"watched_pages", watched},
    {"who_stored", who},
    {"behind_a_halt", behind_a_halt},
};
TEST_MAIN(tests)
