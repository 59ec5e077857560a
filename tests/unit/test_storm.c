/*
 * Storms: each known pattern is recognised among what comes with it, named and given its hint; what
 * is none stays unnamed. Records are made here as the guests of that kind make them.
 */
#include "tests/test.h"

#include <stdlib.h>
#include <string.h>

#include "debug/trace/storm.h"
#include "vmm/base/x.h"

static const char known_names[] = "P\t20\t1\tpic\tPIC1 command\n"
                                  "P\t40\t0\tpit\tPIT channel 0\n"
                                  "P\t43\t1\tpit\tPIT control\n"
                                  "P\t61\t0\tpit\tport B\n"
                                  "P\t64\t0\ti8042\ti8042 status\n"
                                  "P\t3f8\t1\tcom1\tCOM1 THR\n"
                                  "P\t3fd\t0\tcom1\tCOM1 LSR\n"
                                  "P\t1f0\t0\tide\tIDE data\n"
                                  "M\tfee000b0\t1\tlapic\tEOI\n"
                                  "M\tfee00300\t1\tlapic\tICR low\n"
                                  "M\tfee00310\t1\tlapic\tICR high\n"
                                  "S\t1000\t100\t1\tkbd_wait\n"
                                  "S\t2000\t100\t1\thandler\n";

static struct exit_event io(uint16_t port, bool write)
{
    struct exit_event ev = {.reason = KVM_EXIT_IO, .size = 1, .rip = 0x1012};

    ev.u.io.port = port;
    ev.u.io.write = write;
    ev.u.io.count = 1;
    return ev;
}

static struct exit_event mmio(uint64_t gpa, bool write)
{
    struct exit_event ev = {.reason = KVM_EXIT_MMIO, .size = 4, .rip = 0x1020};

    ev.u.mmio.gpa = gpa;
    ev.u.mmio.write = write;
    return ev;
}

static struct exit_event plain(unsigned reason)
{
    return (struct exit_event){.reason = (uint16_t)reason, .rip = 0x1030};
}

static struct exit_event irq(unsigned vector)
{
    struct exit_event ev = {.reason = EXIT_INJECT, .rip = 0x1040};

    ev.u.inject.vector = vector;
    return ev;
}

static struct exit_event kernel(unsigned event, uint32_t number, bool write)
{
    struct exit_event ev = {.reason = EXIT_KERNEL, .rip = 0x1050};

    ev.u.kernel.event = (uint16_t)event;
    ev.u.kernel.number = number;
    ev.u.kernel.write = write;
    return ev;
}

static struct exit_event msr(uint32_t index, bool write)
{
    struct exit_event ev = {
        .reason = write ? KVM_EXIT_X86_WRMSR : KVM_EXIT_X86_RDMSR, .rip = 0x1060, .size = 8};

    ev.u.msr.index = index;
    ev.u.msr.write = write;
    return ev;
}

#define ROUNDS  10000u
#define WINDOW  500000000u
#define EACH_NS (WINDOW / ROUNDS)

static struct storm_watch *watch;

/* A loop that makes these records in turn, for one window; the storm it is, or NULL. */
static const struct storm *storm_of(const struct exit_event *turn, unsigned n)
{
    struct trace_names *names = names_new();
    struct trace_stats t;
    uint64_t now = 1000000;

    watch = xcalloc(1, sizeof *watch);
    names_load(names, known_names, strlen(known_names));
    stat_init(&t);
    storm_init(watch);
    storm_window(watch, &t, names, now);
    for (unsigned r = 0; r < ROUNDS; r++) {
        for (unsigned i = 0; i < n; i++) {
            struct exit_event ev = turn[i];

            now += EACH_NS / n;
            ev.at_ns = now;
            ev.guest_ns = 2000;
            ev.host_ns = 500;
            stat_add(&t, &ev, true);
        }
        if (r % 50 == 0) { /* what always comes in between */
            struct exit_event kick = plain(EXIT_KICK);

            kick.at_ns = now;
            stat_add(&t, &kick, true);
        }
    }
    storm_window(watch, &t, names, now);
    stat_fini(&t);
    names_free(names);
    return watch->storms && !watch->storm[watch->storms - 1].end_ns
               ? &watch->storm[watch->storms - 1]
               : NULL;
}

static void is(const char *what, const char *hint, const struct exit_event *turn, unsigned n)
{
    const struct storm *s = storm_of(turn, n);

    if (!s)
        test_fail(__FILE__, __LINE__, "no storm, want \"%s\"", what);
    else if (!strstr(s->text, what) || !strstr(s->text, hint))
        test_fail(__FILE__, __LINE__, "want \"%s\" and \"%s\": %s", what, hint, s->text);
    free(watch);
}
#define IS(what, hint, ...)                                                                        \
    do {                                                                                           \
        const struct exit_event turn[] = {__VA_ARGS__};                                            \
        is(what, hint, turn, ARRAY_LEN(turn));                                                     \
    } while (0)

static void polling(void)
{
    IS("1-byte reads of port 0x64 (i8042 status) at kbd_wait+0x12", "IRQ 1", io(0x64, false));
    IS("1-byte reads of port 0x61", "PIT is polled", io(0x61, false));
    IS("port 0x40", "TSC", io(0x43, true), io(0x40, false), io(0x40, false));
    IS("port 0x3fd", "FIFO", io(0x3fd, false), io(0x3fd, false), io(0x3fd, false), io(0x3f8, true));
}

static void bytes_one_by_one(void)
{
    IS("COM1", "FIFO (16 bytes)", io(0x3f8, true), io(0x3fd, false));
    IS("port 0x1f0", "rep insw", io(0x1f0, false));
}

static void interrupts(void)
{
    /* The timer far too fast: each wakes a halt, each is ended. */
    IS("hlt", "wakes and sleeps", plain(KVM_EXIT_HLT), irq(0x20), io(0x20, true));
    /* A handler that does not remove the cause: nothing but the interrupt and its end. */
    IS("interrupt 0x24", "does not remove the cause", irq(0x24), io(0x20, true));
    IS("interrupt 0x41", "does not remove the cause", irq(0x41), mmio(0xfee000b0, true));
    /* Without records of what was given the ends are all that is known. */
    IS("port 0x20", "end", io(0x20, true));
    IS("0xfee000b0", "end", mmio(0xfee000b0, true));
    /* Two processors that interrupt each other. */
    IS("0xfee00300", "processors interrupt each other", mmio(0xfee00310, true),
       mmio(0xfee00300, true), irq(0xf0), mmio(0xfee000b0, true));
    IS("irq_window", "wait until the guest enables them", plain(KVM_EXIT_IRQ_WINDOW_OPEN));
}

static void registers(void)
{
    IS("0x6e0", "timer is set at every tick", msr(0x6e0, true));
    IS("kernel: wrmsr 0x6e0", "timer is set at every tick", kernel(KERNEL_MSR, 0x6e0, true));
    IS("0xc0000100", "FSGSBASE", msr(0xc0000100, true));
}

static void inside_the_kernel(void)
{
    IS("cpuid", "barrier", kernel(KERNEL_CPUID, 0, false));
    IS("page fault", "touched for the first time", kernel(KERNEL_FAULT, 0, false));
    IS("exception 14", "removed the cause", kernel(KERNEL_EXCEPTION, 14, false));
}

static void what_is_none(void)
{
    const struct exit_event mix[] = {io(0x64, false), io(0x1f0, false), io(0x3f8, true),
                                     mmio(0x1000, true), msr(0x10, false)};
    const struct exit_event devices[] = {{.reason = EXIT_DEVICE}, {.reason = EXIT_DEVICE}};

    CHECK(!storm_of(mix, ARRAY_LEN(mix)));
    free(watch);
    CHECK(!storm_of(devices, ARRAY_LEN(devices)));
    free(watch);
    CHECK(!storm_of(mix, 0));
    free(watch);
}

static const struct test tests[] = {
    {"storm: polling", polling},
    {"storm: bytes one by one", bytes_one_by_one},
    {"storm: interrupts", interrupts},
    {"storm: registers", registers},
    {"storm: inside the kernel", inside_the_kernel},
    {"storm: what is none", what_is_none},
};
TEST_MAIN(tests)
