/*
 * All-stop: whatever the vCPUs are doing, all of them come to stand when one is asked to, and go on
 * where they were.
 */
#include "tests/unit/guest_image.h"

#include "debug/session.h"
#include "vmm/base/clock.h"

#define AT   0x7000ull
#define CPUS 10u

/* Processor 0 spins in protected mode. Of the others each does something else in real mode, by the
 * order in which they come; 9 is never started. */
/* clang-format off */
asm(".pushsection .rodata\n"
    "park_image: .code32\n"
    "  mov $0xfee00000, %ebx\n"
    "  mov $1, %ecx\n"
    "1: mov %ecx, %eax\n"
    "  shl $24, %eax\n"
    "  mov %eax, 0x310(%ebx)\n"
    "  movl $0x4500, 0x300(%ebx)\n"           /* INIT */
    "  mov %eax, 0x310(%ebx)\n"
    "  movl $0x4608, 0x300(%ebx)\n"           /* SIPI: 0x8000 */
    "  inc %ecx\n"
    "  cmp $9, %ecx\n"
    "  jb 1b\n"
    "2: incl 0x6000\n"
    "  jmp 2b\n"
    ".org park_image + 0x1000\n"
    ".code16\n"
    "  mov $1, %eax\n"
    "  lock xaddl %eax, 0x6004\n"
    "  shl $6, %eax\n"
    "  add $park_roles - park_image + 0x7000, %eax\n"
    "  mov %ax, 0x6008\n"
    "  mov %cs, %bx\n"
    "  shl $4, %bx\n"
    "  sub %bx, %ax\n"
    "  mov $0x9000, %sp\n"
    "  jmp *%ax\n"
    ".balign 64\n"
    "park_roles:\n"
    "1: sti\n"                                /* asleep */
    "  hlt\n"
    "  jmp 1b\n"
    ".balign 64\n"
    "1: cli\n"                                /* asleep for good */
    "  hlt\n"
    "  jmp 1b\n"
    ".balign 64\n"
    "1: out %al, $0x80\n"                     /* nothing but exits */
    "  incl 0x6010\n"
    "  jmp 1b\n"
    ".balign 64\n"
    "1: fninit\n"                             /* refused by an emulating KVM, and assisted */
    "  fld1\n"
    "  fstpl 0x6020\n"
    "  incl 0x6014\n"
    "  jmp 1b\n"
    ".balign 64\n"
    "1: mov $0xffff, %cx\n"                   /* one instruction of many exits */
    "  xor %si, %si\n"
    "  mov $0xe9, %dx\n"
    "  rep outsb\n"
    "  jmp 1b\n"
    ".balign 64\n"
    "1: mov $0x8000, %cx\n"                   /* one that takes long */
    "  mov $0x8000, %di\n"
    "  mov $0x4000, %ax\n"
    "  mov %ax, %es\n"
    "  rep stosb\n"
    "  jmp 1b\n"
    ".balign 64\n"
    "1: mov $0, %al\n"                        /* a device that computes: the PIT's counter */
    "  out %al, $0x43\n"
    "  in $0x40, %al\n"
    "  in $0x40, %al\n"
    "  in $0x71, %al\n"
    "  jmp 1b\n"
    ".balign 64\n"
    "1: int $0x41\n"                          /* delivered by hand: the vector is set to iret */
    "  incl 0x6018\n"
    "  jmp 1b\n"
    "park_iret: iret\n"
    ".code64\n"
    "park_image_end:\n"
    ".popsection\n");
/* clang-format on */

extern const uint8_t park_image[], park_image_end[], park_iret[];

static struct session *s;

static bool open_park(void)
{
    const struct session_config cfg = {
        .mem_bytes = 4 << 20, .cpus = CPUS, .boot = FLAT_AT(AT, BOOT_MODE_PROT)};
    uint16_t vector[2] = {(uint16_t)(AT + (uint64_t)(park_iret - park_image)), 0};

    if (!guest_open(&s, cfg, park_image, (uintptr_t)park_image_end - (uintptr_t)park_image))
        return false;
    session_mem_write(s, 0, SPACE_PHYS, 0x41 * 4, vector, sizeof vector);
    return true;
}

static uint32_t count_at(uint64_t at)
{
    uint32_t n = 0;

    session_mem_read(s, 0, SPACE_PHYS, at, &n, sizeof n);
    return n;
}

/* Waits for a stop; all stand then. */
static bool all_stand(const char *what, unsigned round, enum stop_kind kind)
{
    if (!session_wait(s, TEST_HANG_NS, NULL)) {
        test_fail(__FILE__, __LINE__, "%s %u: still running", what, round);
        return false;
    }
    if (session_last_stop(s)->kind != kind)
        test_fail(__FILE__, __LINE__, "%s %u: %.300s", what, round, session_last_stop(s)->text);
    for (unsigned c = 0; c < CPUS; c++)
        if (!strcmp(session_cpu_status(s, c), "running"))
            test_fail(__FILE__, __LINE__, "%s %u: vCPU %u runs", what, round, c);
    return !test_failed;
}

/* Lets the guest run for a while that is another each time. */
static void run_a_bit(unsigned round)
{
    uint64_t until = clock_ns() + (uint64_t)(round * 37 % 50) * 100000;

    while (clock_ns() < until && session_state(s) == SS_RUNNING)
        session_dispatch(s);
}

/* All the roles are taken, and those that count have begun to. */
static bool under_way(void)
{
    for (unsigned i = 0; i < 2000; i++) {
        if (session_run(s, NULL) < 0)
            return false;
        run_a_bit(i);
        session_stop(s);
        if (!all_stand("start", i, STOP_USER))
            return false;
        if (count_at(0x6004) == 8 && count_at(0x6010) && count_at(0x6014) && count_at(0x6018))
            return true;
    }
    test_fail(__FILE__, __LINE__, "%u vCPUs came; %u accesses, %u assists, %u interrupts",
              count_at(0x6004), count_at(0x6010), count_at(0x6014), count_at(0x6018));
    return false;
}

static void everybody_parks(void)
{
    uint32_t before;

    if (!open_park())
        return;
    for (unsigned i = 0; under_way() && i < 60 && !test_failed; i++) {
        before = count_at(0x6000);
        session_run(s, NULL);
        run_a_bit(i);
        session_stop(s);
        all_stand("stop", i, STOP_USER);
        CHECK(count_at(0x6000) >= before);
    }
    guest_close(&s);
}

/* Each of them is stepped while the others run or stand, and the steps are broken off. */
static void steps_are_broken_off(void)
{
    static const enum sched_lock locks[] = {SCHED_OFF, SCHED_ON, SCHED_STEP};

    if (!open_park())
        return;
    for (unsigned i = 0; (i || under_way()) && i < 3 * (CPUS - 1) && !test_failed; i++) {
        struct err e = {0};

        session_set_sched_lock(s, locks[i / (CPUS - 1)]);
        if (session_step(s, i % (CPUS - 1), 100000000, &e) < 0) {
            test_fail(__FILE__, __LINE__, "%.300s", e.msg);
            break;
        }
        run_a_bit(i);
        session_stop(s);
        if (!session_wait(s, TEST_HANG_NS, NULL))
            test_fail(__FILE__, __LINE__, "steps of vCPU %u do not end", i % (CPUS - 1));
        else if (session_last_stop(s)->kind != STOP_USER)
            test_fail(__FILE__, __LINE__, "steps of vCPU %u: %.300s", i % (CPUS - 1),
                      session_last_stop(s)->text);
    }
    guest_close(&s);
}

/* Many steps over, between two of which nobody is told anything. */
static void steps_over_are_broken_off(void)
{
    if (!open_park())
        return;
    for (unsigned i = 0; (i || under_way()) && i < 10 && !test_failed; i++) {
        session_step_over(s, 0, 1000000, NULL);
        run_a_bit(i);
        session_stop(s);
        all_stand("steps over", i, STOP_USER);
    }
    guest_close(&s);
}

/* Memory is read, points are set and taken away while all run. */
static void held_for_a_moment(void)
{
    struct point_spec spec = {
        .kind = POINT_BREAK, .addr = AT + 0x1000, .vcpu = -1, .condition = "0"};

    if (!open_park())
        return;
    if (under_way() && session_run(s, NULL) == 0) {
        for (unsigned i = 0; i < 40 && !test_failed; i++) {
            int id = session_point_add(s, &spec, NULL);

            run_a_bit(i);
            if (id <= 0 || session_state(s) != SS_RUNNING)
                test_fail(__FILE__, __LINE__, "point %u: %.300s", i, session_last_stop(s)->text);
            session_point_del(s, id);
        }
        session_stop(s);
        if (!test_failed)
            all_stand("the last", 0, STOP_USER);
    }
    guest_close(&s);
}

static const struct test tests[] = {
    {"everybody parks", everybody_parks},
    {"steps are broken off", steps_are_broken_off},
    {"steps over are broken off", steps_over_are_broken_off},
    {"held for a moment", held_for_a_moment},
};
TEST_MAIN(tests)
