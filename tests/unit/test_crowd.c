/*
 * Many vCPUs that reach the same thing at once: each arrival is told for its vCPU once, none is
 * lost and none doubled, whatever method stops there. The guest's vCPUs wait for each other and
 * then pass one instruction a known number of times each, so every count here is exact.
 */
#include "tests/unit/guest_image.h"

#include "debug/session.h"
#include "vmm/base/le.h"

#define AT         0x7000ull
#define SHARED     0x6000u /* all count here */
#define CROWD      0x600cu /* how many take part */
#define ROUNDS     0x6010u /* passes of each */
#define PORT_BYTES 0x6040u /* what some read from a port */
#define IN_PROT                                                                                    \
    0x6014u          /* all take part, in protected mode; else the started ones, in real mode      \
                      */
#define OWN  0x6100u /* a counter for each that takes part */
#define CPUS 16

/* clang-format off */
asm(".macro crowd_work\n"
    "  mov $1, %eax\n"
    "  lock xaddl %eax, 0x6004\n"             /* who am I? */
    "  mov %eax, %esi\n"
    "  lea 0x6100(,%esi,4), %edi\n"
    "9: mov 0x6004, %eax\n"
    "  cmpl 0x600c, %eax\n"                   /* until all are there */
    "  jb 9b\n"
    "  mov 0x6010, %ecx\n"
    ".endm\n"
    ".macro crowd_rest\n"
    "  incl (%edi)\n"
    "  mov %esi, %eax\n"
    "  out %al, $0x80\n"
    "  mov $'x', %al\n"
    "  out %al, $0xe9\n"
    "  dec %ecx\n"
    ".endm\n"
    ".pushsection .rodata\n"
    "crowd_image: .code32\n"
    "  mov $0xfee00000, %ebx\n"
    "  movl $0xc4500, 0x300(%ebx)\n"          /* INIT, all but self */
    "  movl $0xc4608, 0x300(%ebx)\n"          /* SIPI, vector 8 */
    "  mov $1, %ebp\n"
    "  cmpl $0, 0x6014\n"
    "  je crowd_wait\n"
    "crowd_prot:\n"
    "  crowd_work\n"
    "crowd_here: lock incl 0x6000\n"
    "crowd_next:\n"
    "  crowd_rest\n"
    "  jnz crowd_here\n"
    "  lock incl 0x6008\n"
    "  cmp $1, %ebp\n"
    "  jne crowd_end\n"
    "crowd_wait: mov 0x6008, %eax\n"
    "  cmpl 0x600c, %eax\n"
    "  jb crowd_wait\n"
    "  out %al, $0xf4\n"
    "crowd_end: cli\n"
    "  hlt\n"
    "  jmp crowd_end\n"
    "crowd_to_ins: mov $(crowd_ins - crowd_image + 0x7000), %edx\n"
    "  jmp *%edx\n"
    "crowd_ins: mov %ecx, %esp\n"
    "  mov %edi, %ebx\n"
    "  mov $0x6040, %edi\n"
    "  mov $2, %ecx\n"
    "  mov $0x80, %edx\n"
    "  rep insb\n"
    "  lock incl 0x6000\n"
    "  mov %ebx, %edi\n"
    "  mov %esp, %ecx\n"
    "  mov $(crowd_next - crowd_image + 0x7000), %edx\n"
    "  jmp *%edx\n"
    "crowd_gdt: .quad 0, 0xcf9a000000ffff, 0xcf92000000ffff\n"
    "crowd_gdtr: .word 23\n"
    "  .long crowd_gdt - crowd_image + 0x7000\n"
    ".org crowd_image + 0x1000\n"
    ".code16\n"
    "  cli\n"
    "  cmpl $0, 0x6014\n"
    "  je crowd_real\n"
    "  lgdtl crowd_gdtr - crowd_image + 0x7000\n"
    "  mov %cr0, %eax\n"
    "  or $1, %al\n"
    "  mov %eax, %cr0\n"
    "  mov $16, %ax\n"
    "  mov %ax, %ds\n"
    "  mov %ax, %ss\n"
    "  xor %ebp, %ebp\n"
    "  ljmpl $8, $(crowd_prot - crowd_image + 0x7000)\n"
    "crowd_real:\n"
    "  crowd_work\n"
    "crowd_real_here: lock incl 0x6000\n"
    "crowd_real_next:\n"
    "  crowd_rest\n"
    "  jnz crowd_real_here\n"
    "  lock incl 0x6008\n"
    "1: hlt\n"
    "  jmp 1b\n"
    ".code64\n"
    "crowd_image_end:\n"
    ".popsection\n");
/* clang-format on */

extern const uint8_t crowd_image[], crowd_image_end[], crowd_here[], crowd_next[],
    crowd_real_here[], crowd_real_next[], crowd_to_ins[], crowd_ins[];

static struct session *s;
static unsigned crowd, rounds; /* who takes part, and how often each passes */
static uint64_t here, next;
static unsigned stops[CPUS], told; /* by vCPU, and all */

static uint32_t word(uint32_t at)
{
    uint8_t raw[4] = {0};

    session_mem_read(s, 0, SPACE_PHYS, at, raw, sizeof raw);
    return (uint32_t)le_load(raw, 4);
}

static void set_word(uint32_t at, uint32_t v)
{
    uint8_t raw[4];

    le_store(raw, 4, v);
    session_mem_write(s, 0, SPACE_PHYS, at, raw, sizeof raw);
}

static uint64_t address_of(const uint8_t *label)
{
    return AT + (uint64_t)((uintptr_t)label - (uintptr_t)crowd_image);
}

/* So many vCPUs, in protected mode (all) or real mode (all but the first, which waits). */
static bool open_crowd(unsigned cpus, bool prot, unsigned passes)
{
    const struct session_config cfg = {
        .mem_bytes = 4 << 20, .cpus = cpus, .boot = FLAT_AT(AT, BOOT_MODE_PROT)};

    if (!guest_open(&s, cfg, crowd_image, (uintptr_t)crowd_image_end - (uintptr_t)crowd_image))
        return false;
    crowd = prot ? cpus : cpus - 1;
    rounds = passes;
    here = address_of(prot ? crowd_here : crowd_real_here);
    next = address_of(prot ? crowd_next : crowd_real_next);
    set_word(CROWD, crowd);
    set_word(ROUNDS, rounds);
    set_word(IN_PROT, prot);
    memset(stops, 0, sizeof stops);
    told = 0;
    return true;
}

static void close_crowd(void)
{
    guest_close(&s);
}

static int point_at(uint64_t addr)
{
    struct point_spec spec = {.kind = POINT_BREAK, .addr = addr, .vcpu = -1};

    return session_point_add(s, &spec, NULL);
}

/* Takes the debug registers away, so that what follows has to be planted. */
static void fill_registers(void)
{
    for (unsigned i = 0; i < 4; i++)
        point_at(0x100000 + i);
}

/* Runs to the end of the guest and counts who stopped; `each` (or NULL) looks at a stop. */
static void run_out(void (*each)(const struct stop_info *si))
{
    const struct stop_info *si;

    for (;;) {
        if (session_run(s, NULL) < 0 || !session_wait(s, TEST_HANG_NS, NULL)) {
            test_fail(__FILE__, __LINE__, "still running: %u stops, %u passes", told, word(SHARED));
            return;
        }
        si = session_last_stop(s);
        if (si->kind == STOP_DEBUG_EXIT)
            break;
        if (si->point_id < 0 || si->vcpu >= CPUS || session_focus(s) != si->vcpu) {
            test_fail(__FILE__, __LINE__, "after %u stops: %.300s", told, si->text);
            return;
        }
        for (unsigned c = 0; c < session_cpus(s); c++)
            if (!strcmp(session_cpu_status(s, c), "running"))
                test_fail(__FILE__, __LINE__, "vCPU %u runs while stopped", c);
        stops[si->vcpu]++;
        told++;
        if (each)
            each(si);
        if (test_failed)
            return;
    }
    if (word(SHARED) != crowd * rounds)
        test_fail(__FILE__, __LINE__, "the guest counted %u instead of %u", word(SHARED),
                  crowd * rounds);
}

/* Each of the crowd stopped `n` times, and the point counted all. */
static void check_each(int id, unsigned n)
{
    unsigned first = session_cpus(s) - crowd;

    for (unsigned c = 0; c < session_cpus(s) && !test_failed; c++)
        if (stops[c] != (c >= first ? n : 0))
            test_fail(__FILE__, __LINE__, "vCPU %u stopped %u times instead of %u (%s)", c,
                      stops[c], c >= first ? n : 0, session_point(s, id)->method);
    if (!test_failed && session_point(s, id)->hits != (uint64_t)crowd * n)
        test_fail(__FILE__, __LINE__, "%llu hits instead of %u (%s)",
                  (unsigned long long)session_point(s, id)->hits, crowd * n,
                  session_point(s, id)->method);
}

static void at_point(const struct stop_info *si)
{
    if (si->kind != STOP_BREAKPOINT || si->cs_base + si->rip != here)
        test_fail(__FILE__, __LINE__, "%.300s", si->text);
}

/* ---- breakpoints by each method ------------------------------------------------------------- */

enum how { REGISTERS, BYTES, PHYSICAL };

static void all_stop(unsigned cpus, bool prot, enum how how, unsigned passes)
{
    struct point_spec spec = {.kind = POINT_BREAK, .vcpu = -1};
    int id;

    if (!open_crowd(cpus, prot, passes))
        return;
    if (how == BYTES)
        fill_registers();
    spec.addr = here;
    spec.space = how == PHYSICAL ? SPACE_PHYS : SPACE_LINEAR;
    id = session_point_add(s, &spec, NULL);
    run_out(at_point);
    if (!test_failed)
        check_each(id, rounds);
    close_crowd();
}

#define EACH_CROWD(name, how)                                                                      \
    static void name##_2(void)                                                                     \
    {                                                                                              \
        all_stop(2, true, how, 50);                                                                \
    }                                                                                              \
    static void name##_4(void)                                                                     \
    {                                                                                              \
        all_stop(4, true, how, 30);                                                                \
    }                                                                                              \
    static void name##_4_real(void)                                                                \
    {                                                                                              \
        all_stop(4, false, how, 30);                                                               \
    }                                                                                              \
    static void name##_16(void)                                                                    \
    {                                                                                              \
        all_stop(16, true, how, 6);                                                                \
    }
EACH_CROWD(registers, REGISTERS)
EACH_CROWD(bytes, BYTES)
EACH_CROWD(physical, PHYSICAL)

/* Four vCPUs in protected mode pass a planted point of that sort; its id, or 0. close_crowd follows
 * unless 0. */
static int pass_by(struct point_spec spec, unsigned passes,
                   void (*each)(const struct stop_info *si))
{
    int id;

    if (!open_crowd(4, true, passes))
        return 0;
    fill_registers();
    spec.kind = POINT_BREAK;
    spec.addr = here;
    id = session_point_add(s, &spec, NULL);
    run_out(each);
    return id;
}

/* ---- what a point may be told to do --------------------------------------------------------- */

static void ignore_counts_are_exact(void)
{
    int id = pass_by((struct point_spec){.vcpu = -1, .ignore = 100}, 50, at_point);

    if (!id)
        return;
    if (!test_failed && (told != 100 || session_point(s, id)->hits != 200))
        test_fail(__FILE__, __LINE__, "%u stops and %llu hits", told,
                  (unsigned long long)session_point(s, id)->hits);
    close_crowd();
}

static void points_for_one_vcpu(void)
{
    int id = pass_by((struct point_spec){.vcpu = 2}, 40, at_point);

    if (!id)
        return;
    if (!test_failed && (stops[2] != 40 || told != 40 || session_point(s, id)->hits != 40))
        test_fail(__FILE__, __LINE__, "%u stops, %u of vCPU 2", told, stops[2]);
    close_crowd();
}

/* Only odd rounds of the even ones: registers of whoever stands there are meant. */
static void conditions_ask_the_right_vcpu(void)
{
    const struct point_spec spec = {.vcpu = -1, .condition = "($esi & 1) == 0 && ($ecx & 1)"};
    int id = pass_by(spec, 40, at_point);
    const struct point *p;

    if (!id)
        return;
    p = session_point(s, id);
    if (!test_failed && (told != 40 || p->hits != 40 || p->false_hits != 120))
        test_fail(__FILE__, __LINE__, "%u stops, %llu hits, %llu false ones", told,
                  (unsigned long long)p->hits, (unsigned long long)p->false_hits);
    close_crowd();
}

static void a_temporary_one_stops_once(void)
{
    int id = pass_by((struct point_spec){.vcpu = -1, .temporary = true}, 40, at_point);

    if (!id)
        return;
    if (!test_failed && (told != 1 || session_point(s, id)))
        test_fail(__FILE__, __LINE__, "%u stops", told);
    close_crowd();
}

static void take_commands(const struct stop_info *si)
{
    bool silent;
    char *lines = session_take_commands(s, &silent);

    at_point(si);
    if (!lines || strcmp(lines, "info registers\n"))
        test_fail(__FILE__, __LINE__, "stop %u has the commands \"%s\"", told, lines ? lines : "");
    free(lines);
}

static void commands_go_with_each_stop(void)
{
    int id;

    if (!open_crowd(4, true, 25))
        return;
    fill_registers();
    id = point_at(here);
    session_point_commands(s, id, "info registers\n");
    run_out(take_commands);
    if (!test_failed)
        check_each(id, rounds);
    close_crowd();
}

/* Two at one address and one behind: the first is told, and each counts. */
static void neighbours_count_all(void)
{
    int id[3];

    if (!open_crowd(4, true, 25))
        return;
    fill_registers();
    id[0] = point_at(here);
    id[1] = point_at(here);
    id[2] = point_at(next);
    run_out(NULL);
    for (unsigned i = 0; i < 3 && !test_failed; i++)
        if (session_point(s, id[i])->hits != 100)
            test_fail(__FILE__, __LINE__, "point %u was hit %llu times", i,
                      (unsigned long long)session_point(s, id[i])->hits);
    if (!test_failed && told != 200)
        test_fail(__FILE__, __LINE__, "%u stops instead of 200", told);
    close_crowd();
}

static bool count_one(void *arg, const struct vcpu *v)
{
    (void)v;
    ++*(unsigned *)arg;
    return true;
}

/* Whoever is told is stepped past by itself, and by steps of it alone. */
static void step_on(const struct stop_info *si)
{
    unsigned vcpu = si->vcpu, made = 0;
    struct reg_value rip = {0};

    at_point(si);
    if (session_step_each(s, vcpu, 1, count_one, &made, NULL) != 1 || made != 1)
        test_fail(__FILE__, __LINE__, "the step of vCPU %u was not made", vcpu);
    session_reg_get(s, vcpu, REG_rip, &rip, NULL);
    if (!test_failed && rip.u != next)
        test_fail(__FILE__, __LINE__, "a step of vCPU %u came to 0x%llx", vcpu,
                  (unsigned long long)rip.u);
}

static void steps_between_lose_nothing(void)
{
    int id = pass_by((struct point_spec){.vcpu = -1}, 25, step_on);

    if (!id)
        return;
    if (!test_failed)
        check_each(id, rounds);
    close_crowd();
}

/* While the first is stepped with the others running, they come to the point. */
static void others_stop_a_step(void)
{
    int id;

    if (!open_crowd(4, true, 20))
        return;
    fill_registers();
    session_set_sched_lock(s, SCHED_OFF);
    id = point_at(here);
    for (;;) {
        const struct stop_info *si;
        int rc = session_state(s) == SS_ENDED ? -1 : session_step(s, 0, 1000000, NULL);

        if (rc < 0 || !session_wait(s, TEST_HANG_NS, NULL)) {
            test_fail(__FILE__, __LINE__, "still running: %u stops", told);
            break;
        }
        si = session_last_stop(s);
        if (si->kind == STOP_DEBUG_EXIT)
            break;
        if (si->kind == STOP_STEP)
            continue;
        at_point(si);
        if (test_failed)
            break;
        stops[si->vcpu]++;
        told++;
    }
    if (!test_failed)
        check_each(id, rounds);
    close_crowd();
}

/* ---- catchpoints and watchpoints ------------------------------------------------------------ */

static void is_own_output(const struct stop_info *si)
{
    struct reg_value who = {0};

    session_reg_get(s, si->vcpu, REG_rax, &who, NULL);
    if (si->kind != STOP_CATCH)
        test_fail(__FILE__, __LINE__, "%.300s", si->text);
}

static void caught(struct point_spec spec, unsigned each)
{
    int id;

    if (!open_crowd(4, true, 30))
        return;
    spec.kind = POINT_CATCH;
    id = session_point_add(s, &spec, NULL);
    run_out(is_own_output);
    if (!test_failed && spec.vcpu < 0)
        check_each(id, each);
    else if (!test_failed && (told != each || stops[spec.vcpu] != each))
        test_fail(__FILE__, __LINE__, "%u stops, %u of vCPU %d", told, stops[spec.vcpu], spec.vcpu);
    close_crowd();
}

static void accesses_are_told_for_each(void)
{
    caught((struct point_spec){.catch_what = CATCH_EXIT,
                               .catch_reason = KVM_EXIT_IO,
                               .catch_filter = "port == 0x80 && write",
                               .vcpu = -1},
           30);
}

static void printed_text_is_told_for_each(void)
{
    caught((struct point_spec){.catch_what = CATCH_CONSOLE, .catch_text = "x", .vcpu = -1}, 30);
}

static void printed_text_of_one(void)
{
    caught((struct point_spec){.catch_what = CATCH_CONSOLE, .catch_text = "x", .vcpu = 3}, 30);
}

/* A debug register tells that there was a write, not what it wrote: others may have been as quick.
 */
static void one_more(const struct stop_info *si)
{
    bool told_late = strstr(session_point(s, si->point_id)->method, "debug reg");
    uint64_t more = si->new_value - si->old_value;

    if (si->kind != STOP_WATCHPOINT || (told_late ? more > crowd : more != 1))
        test_fail(__FILE__, __LINE__, "%.300s", si->text);
}

/* A word that four vCPUs count up: each of their writes is told, by whom it was. */
static void watched(unsigned cpus, bool prot, enum watch_access access, unsigned passes)
{
    struct point_spec spec = {
        .kind = POINT_WATCH, .addr = SHARED, .len = 4, .access = access, .vcpu = -1};
    int id;

    if (!open_crowd(cpus, prot, passes))
        return;
    id = session_point_add(s, &spec, NULL);
    run_out(one_more);
    if (!test_failed)
        check_each(id, rounds);
    close_crowd();
}

static void written_by_four(void)
{
    watched(4, true, WATCH_WRITE, 25);
}

static void written_and_compared(void)
{
    setenv("VMSCOPE_FORCE_METHODS", "watch-write=stepping", 1);
    watched(4, true, WATCH_WRITE, 12);
    unsetenv("VMSCOPE_FORCE_METHODS");
}

static void changed_by_four(void)
{
    watched(4, false, WATCH_CHANGE, 25);
}

static void accessed_by_sixteen(void)
{
    watched(16, true, WATCH_ACCESS, 4);
}

/* The same without a stop: nothing slows the vCPUs down but the trap itself. */
static void counted_accesses_are_exact(void)
{
    struct point_spec spec = {.kind = POINT_WATCH,
                              .addr = SHARED,
                              .len = 4,
                              .access = WATCH_WRITE,
                              .vcpu = -1,
                              .action = DO_COUNT};
    int id;

    if (!open_crowd(4, true, 500))
        return;
    id = session_point_add(s, &spec, NULL);
    run_out(NULL);
    if (!test_failed && session_point(s, id)->hits != 2000)
        test_fail(__FILE__, __LINE__, "%llu hits instead of 2000",
                  (unsigned long long)session_point(s, id)->hits);
    close_crowd();
}

/* What KVM itself stores for a string of port input, where no debug register sees it. */
static void stored_from_a_port(void)
{
    struct point_spec spec = {.kind = POINT_WATCH,
                              .addr = PORT_BYTES,
                              .len = 2,
                              .access = WATCH_WRITE,
                              .vcpu = -1,
                              .action = DO_COUNT};
    int id;

    if (!open_crowd(4, true, 100))
        return;
    session_mem_write(s, 0, SPACE_PHYS, here, crowd_to_ins, (size_t)(crowd_ins - crowd_to_ins));
    id = session_point_add(s, &spec, NULL);
    run_out(NULL);
    if (!test_failed && session_point(s, id)->hits != 400)
        test_fail(__FILE__, __LINE__, "%llu hits instead of 400 (%s)",
                  (unsigned long long)session_point(s, id)->hits, session_point(s, id)->method);
    close_crowd();
}

/* ---- the end -------------------------------------------------------------------------------- */

/* What ends the guest waits until the stops of the same moment are told, and is told then. */
static void the_end_is_not_lost(void)
{
    struct point_spec end = {.kind = POINT_CATCH, .catch_what = CATCH_DEBUG_EXIT, .vcpu = -1};

    if (!open_crowd(4, true, 3))
        return;
    CHECK(session_point_add(s, &end, NULL) > 0);
    run_out(NULL);
    if (!test_failed && told != 1)
        test_fail(__FILE__, __LINE__, "the debug exit was caught %u times", told);
    close_crowd();
}

static const struct test tests[] = {
    {"registers, 2 vCPUs", registers_2},
    {"registers, 4 vCPUs", registers_4},
    {"registers, 4 vCPUs in real mode", registers_4_real},
    {"registers, 16 vCPUs", registers_16},
    {"bytes, 2 vCPUs", bytes_2},
    {"bytes, 4 vCPUs", bytes_4},
    {"bytes, 4 vCPUs in real mode", bytes_4_real},
    {"bytes, 16 vCPUs", bytes_16},
    {"physical, 2 vCPUs", physical_2},
    {"physical, 4 vCPUs", physical_4},
    {"physical, 4 vCPUs in real mode", physical_4_real},
    {"physical, 16 vCPUs", physical_16},
    {"ignore counts are exact", ignore_counts_are_exact},
    {"points for one vCPU", points_for_one_vcpu},
    {"conditions ask the right vCPU", conditions_ask_the_right_vcpu},
    {"a temporary one stops once", a_temporary_one_stops_once},
    {"commands go with each stop", commands_go_with_each_stop},
    {"neighbours count all", neighbours_count_all},
    {"steps between lose nothing", steps_between_lose_nothing},
    {"others stop a step", others_stop_a_step},
    {"accesses are told for each", accesses_are_told_for_each},
    {"printed text is told for each", printed_text_is_told_for_each},
    {"printed text of one", printed_text_of_one},
    {"written by four", written_by_four},
    {"written by four, compared after each step", written_and_compared},
    {"changed by four", changed_by_four},
    {"accessed by sixteen", accessed_by_sixteen},
    {"counted accesses are exact", counted_accesses_are_exact},
    {"stored from a port", stored_from_a_port},
    {"the end is not lost", the_end_is_not_lost},
};
TEST_MAIN(tests)
