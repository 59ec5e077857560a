/* The exit table, and the text of records: hand-made, of every kind, and of random bytes. */
#include <errno.h>

#include "tests/test.h"
#include "vmm/exit.h"

static const char *text(const struct exit_event *ev, const char *reg_name)
{
    static char line[400];
    struct buf b = {0};

    exit_format(ev, reg_name, &b);
    snprintf(line, sizeof line, "%s", buf_str(&b));
    buf_fini(&b);
    return line;
}

static void rows_are_whole(void)
{
    unsigned n = 0;

    for (const struct exit_kind *k; (k = exit_kind_at(n)) != NULL; n++) {
        if (!k->help[0] || !k->name[0])
            TEST_FAIL("row %u has no help or name", n);
        if (exit_kind_by_name(k->name) != k->reason || exit_kind_by_name(k->kvm_name) != k->reason)
            TEST_FAIL("%s is not found", k->name);
        if (strcmp(exit_kind_name(k->reason), k->name))
            TEST_FAIL("row %u (%s) is out of order", n, k->name);
        for (const char *c = k->name; *c; c++)
            if (!strchr("abcdefghijklmnopqrstuvwxyz0123456789_", *c))
                TEST_FAIL("%s is no identifier", k->name);
    }
    CHECK_EQ(n, 50);
    CHECK(!exit_kind_at(n));
}

static void names(void)
{
    CHECK_STR(exit_kind_name(KVM_EXIT_IO), "io");
    CHECK_STR(exit_kind_name(39), "memory_fault");
    CHECK_STR(exit_kind_name(41), "kvm_41");
    CHECK_STR(exit_kind_name(EXIT_KICK), "kick");
    CHECK_STR(exit_kind_name(EXIT_OUR_END), "kvm_new");
    CHECK_STR(exit_kind_name(UINT32_MAX), "kvm_new");
    CHECK_EQ(exit_kind_by_name("kvm_41"), 41);
    CHECK_EQ(exit_kind_by_name("irq-window"), KVM_EXIT_IRQ_WINDOW_OPEN);
    CHECK(exit_kind_by_name("") == -1 && exit_kind_by_name("i") == -1);
    CHECK(exit_kind_by_name("iox") == -1);
    CHECK(exit_kind_help(77)[0]);
    CHECK_STR(exit_vector_name(14), "#PF");
    CHECK(!exit_vector_name(32) && !exit_vector_name(UINT32_MAX));
}

static void accesses(void)
{
    struct exit_event ev = {.reason = KVM_EXIT_IO, .size = 1};

    ev.u.io.port = 0x3f8;
    ev.u.io.write = 1;
    ev.u.io.count = 1;
    ev.u.io.value = 'A';
    CHECK_STR(text(&ev, NULL), "out 0x3f8 1 byte = 0x41 'A'");
    CHECK_STR(text(&ev, "COM1 data"), "out 0x3f8 (COM1 data) 1 byte = 0x41 'A'");
    ev.u.io.count = 12;
    CHECK_STR(text(&ev, NULL), "outs 0x3f8 1 byte x 12, first = 0x41 'A'");
    ev.u.io.write = 0;
    ev.u.io.count = 1;
    ev.u.io.value = 0x1b;
    ev.flags = EXIT_F_UNCLAIMED;
    CHECK_STR(text(&ev, NULL), "in 0x3f8 1 byte = 0x1b, no device there");
    ev = (struct exit_event){.reason = KVM_EXIT_MMIO, .size = 4};
    ev.u.mmio.gpa = 0xfee000b0;
    ev.u.mmio.write = 1;
    CHECK_STR(text(&ev, "EOI"), "write 0xfee000b0 (EOI) 4 bytes = 0x0");
    ev = (struct exit_event){.reason = KVM_EXIT_X86_RDMSR};
    ev.u.msr.index = 0xc0000082;
    ev.u.msr.value = 5;
    ev.u.msr.why = KVM_MSR_EXIT_REASON_FILTER;
    CHECK_STR(text(&ev, NULL), "rdmsr 0xc0000082 (lstar) = 0x5, filtered");
    ev.u.msr.index = 0x1234;
    ev.u.msr.why = KVM_MSR_EXIT_REASON_UNKNOWN;
    ev.u.msr.error = 1;
    CHECK_STR(text(&ev, NULL), "rdmsr 0x1234, unknown to KVM, answered with #GP");
}

static void access_of_an_exit(void)
{
    struct exit_event ev = {.reason = KVM_EXIT_IO,
                            .u.io = {.port = 0x3f8, .write = 1, .count = 3, .value = 'A'}};
    struct exit_access a = {.at = 7};

    CHECK(exit_access(&ev, &a) && a.space == EXIT_PORT && a.write && a.at == 0x3f8);
    CHECK_EQ(a.value, 'A');
    ev = (struct exit_event){.reason = KVM_EXIT_MMIO, .u.mmio = {.gpa = 1ull << 40, .value = 5}};
    CHECK(exit_access(&ev, &a) && a.space == EXIT_GPA && !a.write && a.at == 1ull << 40);
    ev = (struct exit_event){.reason = KVM_EXIT_X86_WRMSR, .u.msr = {.index = 0x10, .write = 1}};
    CHECK(exit_access(&ev, &a) && a.space == EXIT_MSR && a.write && a.at == 0x10);
    for (unsigned reason = 0; reason < EXIT_OUR_FIRST + 32; reason++) {
        ev.reason = (uint16_t)reason;
        CHECK_EQ(exit_access(&ev, &a), exit_is_access(reason));
    }
    ev.reason = EXIT_INJECT;
    a.at = 7;
    CHECK(!exit_access(&ev, &a) && a.at == 7);
}

static void stops_and_failures(void)
{
    struct exit_event ev = {.reason = KVM_EXIT_DEBUG};

    ev.u.debug.exception = 1;
    ev.u.debug.pc = 0x7c00;
    ev.u.debug.dr6 = 0xffff4ff2;
    CHECK_STR(text(&ev, NULL), "breakpoint register 1, step at 0x7c00");
    ev.u.debug.exception = 3;
    CHECK_STR(text(&ev, NULL), "int3 at 0x7c00");
    ev = (struct exit_event){.reason = KVM_EXIT_INTERNAL_ERROR};
    ev.u.internal.suberror = 1;
    ev.u.internal.insn_len = 2;
    ev.u.internal.insn[0] = 0x0f;
    ev.u.internal.insn[1] = 0xff;
    CHECK_STR(text(&ev, NULL), "cannot emulate the instruction: 0f ff");
    ev.u.internal.insn_len = 0;
    CHECK_HAS(text(&ev, NULL), "could not be fetched");
    ev.u.internal.suberror = 99;
    CHECK_STR(text(&ev, NULL), "suberror 99");
    ev = (struct exit_event){.reason = KVM_EXIT_SHUTDOWN};
    ev.u.shutdown.vector = 14;
    ev.u.shutdown.has_error_code = 1;
    ev.u.shutdown.error_code = 2;
    CHECK_STR(text(&ev, NULL), "triple fault, could not deliver #PF (14) error code 0x2");
    ev.u.shutdown.vector = -1;
    CHECK_STR(text(&ev, NULL), "triple fault");
    ev = (struct exit_event){.reason = KVM_EXIT_FAIL_ENTRY};
    ev.u.fail.hardware_reason = 0x80000021;
    CHECK_STR(text(&ev, NULL), "the guest's state is not valid, hardware reason 0x80000021");
    ev = (struct exit_event){.reason = EXIT_ERROR};
    ev.u.fail.errno_ = EFAULT;
    CHECK_STR(text(&ev, NULL), "KVM_RUN: Bad address (errno 14)");
    ev = (struct exit_event){.reason = EXIT_INJECT};
    ev.u.inject.vector = 0x20;
    CHECK_STR(text(&ev, NULL), "interrupt 0x20");
    ev.u.inject.kind = 2;
    ev.u.inject.vector = 6;
    CHECK_STR(text(&ev, NULL), "exception #UD (6)");
    ev.reason = KVM_EXIT_HLT;
    CHECK_STR(text(&ev, NULL), "hlt");
}

/* Records also come from files. */
static void any_bytes_give_a_line(void)
{
    uint32_t x = 1;
    struct exit_event ev;

    for (unsigned round = 0; round < 20000; round++) {
        uint8_t *p = (uint8_t *)&ev;

        for (size_t i = 0; i < sizeof ev; i++)
            p[i] = (uint8_t)((x = x * 1664525u + 1013904223u) >> 24);
        ev.reason = (uint16_t)(round % 48 < 42 ? round % 48 : EXIT_OUR_FIRST + round % 48 - 42);
        const char *t = text(&ev, NULL);

        if (!t[0] || strchr(t, '\n'))
            TEST_FAIL("reason %u gives \"%s\"", ev.reason, t);
    }
}

static const struct test tests[] = {
    {"exit: every row is whole", rows_are_whole},
    {"exit: names", names},
    {"exit: accesses", accesses},
    {"exit: the access of an exit", access_of_an_exit},
    {"exit: stops and failures", stops_and_failures},
    {"exit: any bytes give a line", any_bytes_give_a_line},
};
TEST_MAIN(tests)
