/*
 * Hooks on a real machine: dispatch by kind, key and filter, their answers, and added devices.
 */
#include "tests/unit/guest_image.h"

#include <stdlib.h>
#include <unistd.h>

#include "debug/engine/exit_hooks.h"
#include "debug/expr.h"
#include "debug/fields.h"
#include "debug/session.h"

/* in al,0x71 -> out 0x80,al (twice, ports 0x80 and 0x81), then al to 0xf4 and hlt:
 * mov dx,0x510; in al,dx; out 0x80,al; out 0x81,al; mov al,5; out 0xf4,al; hlt */
static const uint8_t code[] = {0xba, 0x10, 0x05, 0xec, 0xe6, 0x80, 0xe6,
                               0x81, 0xb0, 0x05, 0xe6, 0xf4, 0xf4};
static struct session *s;

static bool open_guest(void)
{
    const struct session_config cfg = {.mem_bytes = 2 << 20, .boot.kind = BOOT_FLAT};

    return guest_open(&s, cfg, code, sizeof code);
}

static void close_guest(void)
{
    guest_close(&s);
}

static bool run(void)
{
    struct err e = {0};

    return !session_run(s, &e) && session_wait(s, TEST_HANG_NS, NULL);
}

struct note {
    unsigned calls;
    uint64_t last;
    enum hook_answer answer;
    int reply; /* -1: none */
};

static enum hook_answer note_hook(void *arg, struct hook_call *c)
{
    struct note *n = arg;

    n->calls++;
    n->last = c->ev->u.io.value;
    if (n->reply >= 0) {
        uint8_t b = (uint8_t)n->reply;

        hook_reply(c, &b, 1);
    }
    return n->answer;
}

static int hook(int reason, const char *filter, struct note *n)
{
    struct hook_spec spec = {
        .reason = reason, .vcpu = -1, .filter = filter, .fn = note_hook, .arg = n};
    struct err e = {0};

    return session_hook_add(s, &spec, &e);
}

#define NOTE(a)                                                                                    \
    {                                                                                              \
        .answer = a, .reply = -1                                                                   \
    }

static void test_dispatch(void)
{
    struct note all = NOTE(HOOK_GO), port = NOTE(HOOK_GO), none = NOTE(HOOK_GO),
                loose = NOTE(HOOK_GO), value = NOTE(HOOK_GO), halt = NOTE(HOOK_GO);

    if (!open_guest())
        return;
    CHECK(hook(-1, NULL, &all) > 0);
    CHECK(hook(KVM_EXIT_IO, "port == 0x80", &port) > 0);
    CHECK(hook(KVM_EXIT_IO, "port == 0x82", &none) > 0);
    CHECK(hook(KVM_EXIT_IO, "port == 0x80 || port == 0x81", &loose) > 0);
    CHECK(hook(-1, "kind == io && unclaimed && value == 0xff", &value) > 0);
    CHECK(hook(KVM_EXIT_MMIO, NULL, &halt) > 0);
    CHECK(hook(KVM_EXIT_IO, "port ==", &none) < 0);
    CHECK(run());
    CHECK_EQ(session_last_stop(s)->kind, STOP_DEBUG_EXIT);
    CHECK(all.calls >= 4);
    CHECK_EQ(port.calls, 1);
    CHECK_EQ(none.calls, 0);
    CHECK_EQ(loose.calls, 2);
    CHECK(value.calls >= 1);
    CHECK_EQ(halt.calls, 0);
    close_guest();
}

static void test_reply_and_drop(void)
{
    struct note reply = {.answer = HOOK_GO, .reply = 0x1d}, post = NOTE(HOOK_GO),
                drop = NOTE(HOOK_DROP);
    int id;

    if (!open_guest())
        return;
    CHECK(hook(KVM_EXIT_IO, "port == 0x510", &reply) > 0);
    id = hook(KVM_EXIT_IO, "port == 0x80", &post);
    CHECK(hook(KVM_EXIT_IO, "port == 0xf4", &drop) > 0);
    CHECK(run());
    CHECK_EQ(post.last, 0x1d);
    CHECK_EQ(drop.calls, 1);
    CHECK_EQ(session_last_stop(s)->kind, STOP_HALTED); /* the debug exit was dropped */
    CHECK_EQ(session_hook_del(s, id), 0);
    CHECK(session_hook_del(s, id) < 0);
    close_guest();
}

static void test_stop(void)
{
    struct note stop = NOTE(HOOK_STOP);

    if (!open_guest())
        return;
    CHECK(hook(KVM_EXIT_IO, "port == 0x81 && write", &stop) > 0);
    CHECK(run());
    CHECK_EQ(session_last_stop(s)->kind, STOP_HOOK);
    CHECK_HAS(session_last_stop(s)->text, "hook");
    CHECK(run());
    CHECK_EQ(session_last_stop(s)->kind, STOP_DEBUG_EXIT);
    CHECK_EQ(stop.calls, 1);
    close_guest();
}

static enum hook_answer change_rax(void *arg, struct hook_call *c)
{
    struct reg_value v = reg_from_u64(REG_rax, 0x77), got;
    uint8_t byte = 0;

    (void)arg;
    if (hook_reg_get(c, REG_rip, &got) || hook_reg_set(c, REG_rax, &v, NULL))
        return HOOK_STOP;
    if (hook_mem_read(c, SPACE_LINEAR, 0x7c00, &byte, 1) != 1 || byte != 0xba)
        return HOOK_STOP;
    return HOOK_GO;
}

static void test_point_hit(void)
{
    struct note after = NOTE(HOOK_GO);
    struct point_spec spec = {.kind = POINT_BREAK, .addr = 0x7c04, .vcpu = -1, .hit = change_rax};
    struct err e = {0};
    int id;

    if (!open_guest())
        return;
    id = session_point_add(s, &spec, &e);
    CHECK(id > 0);
    CHECK(hook(KVM_EXIT_IO, "port == 0x80", &after) > 0);
    CHECK(run());
    CHECK_EQ(session_last_stop(s)->kind, STOP_DEBUG_EXIT);
    CHECK_EQ(after.last, 0x77);
    CHECK_EQ(session_point(s, id)->hits, 1);
    close_guest();
}

static uint64_t answer_42(void *arg, uint16_t port, unsigned size, bool write, uint64_t value)
{
    (void)port;
    (void)size;
    (void)value;
    if (!write)
        ++*(unsigned *)arg;
    return 42;
}

static void gone(void *arg)
{
    ++*(unsigned *)arg;
}

static void test_device(void)
{
    struct note post = NOTE(HOOK_GO);
    const uint16_t port = 0x510, taken = 0x3f8;
    unsigned reads = 0;
    struct device_spec spec = {
        .name = "answer", .port = &port, .ports = 1, .arg = &reads, .pio = answer_42, .gone = gone};
    struct err e = {0};

    if (!open_guest())
        return;
    CHECK_EQ(session_device_add(s, &spec, &e), 0);
    CHECK(session_device_add(s, &spec, &e) < 0);
    CHECK_HAS(e.msg, "already");
    spec.name = "other";
    spec.port = &taken;
    CHECK(session_device_add(s, &spec, &e) < 0);
    CHECK_EQ(reads, 0);
    CHECK(hook(KVM_EXIT_IO, "port == 0x80", &post) > 0);
    CHECK(run());
    CHECK_EQ(post.last, 42);
    CHECK_EQ(reads, 1);
    close_guest();
    CHECK_EQ(reads, 2);
}

static int field(void *arg, const char *name)
{
    (void)arg;
    return field_by_name(name);
}

static bool word(void *arg, const char *name, uint64_t *value)
{
    (void)arg;
    return field_constant(name, value);
}

static void test_key(void)
{
    static const struct {
        const char *text;
        bool has;
        uint64_t key;
    } t[] = {
        {"port == 0x80", true, 0x80},
        {"0x80 == port", true, 0x80},
        {"port == 0x80 && write", true, 0x80},
        {"write && size == 1 && port == 5", true, 5},
        {"write && (size == 1 && port == 5)", true, 5},
        {"(write || size == 1) && port == 5", false, 0}, /* could be seen, is not worth it */
        {"port == 5 && (write || size == 1)", true, 5},
        {"port == 1 || port == 2", false, 0},
        {"write || port == 2", false, 0},
        {"!(port == 2)", false, 0},
        {"(port == 2) == 0", false, 0},
        {"port == 2 ? 1 : size", false, 0},
        {"write ? port == 2 : 1", false, 0},
        {"port + 1 == 2", false, 0},
        {"port != 2", false, 0},
        {"port", false, 0},
        {"(port == 2) + 1", false, 0},
    };
    const struct expr_names names = {.field = field, .symbol = word};

    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        struct err e = {0};
        struct expr *x = expr_compile(t[i].text, &names, &e);
        uint64_t key = 0;
        bool has;

        CHECK(x);
        has = expr_requires(x, field_by_name("port"), &key);
        expr_free(x);
        if (has != t[i].has || key != t[i].key)
            TEST_FAIL("%s: %d 0x%llx", t[i].text, has, (unsigned long long)key);
    }
}

static const struct test tests[] = {
    {"key", test_key},   {"dispatch", test_dispatch},   {"reply_and_drop", test_reply_and_drop},
    {"stop", test_stop}, {"point_hit", test_point_hit}, {"device", test_device},
};
TEST_MAIN(tests)
