/*
 * Catchpoints where the features' table does not go: texts cut up by writes and escape sequences,
 * several points at one exit, and both places for the interrupt chips. Needs KVM; skips without.
 */
#include "tests/unit/guest_image.h"

#include "debug/session_priv.h"

static struct session *s;

static bool add(struct point_spec spec)
{
    struct err e = {0};

    spec.kind = POINT_CATCH;
    spec.vcpu = -1;
    if (session_point_add(s, &spec, &e) >= 0)
        return true;
    test_fail(__FILE__, __LINE__, "%.400s", e.msg);
    return false;
}

/* Runs to the next stop, which must be of this kind and have all this to tell. */
static bool stops(enum stop_kind kind, const char *const has[3])
{
    const struct stop_info *si;
    struct err e = {0};

    if (session_run(s, &e) < 0 || !session_wait(s, TEST_HANG_NS, NULL)) {
        test_fail(__FILE__, __LINE__, "it does not stop: %.400s", e.msg);
        return false;
    }
    si = session_last_stop(s);
    if (si->kind != kind)
        test_fail(__FILE__, __LINE__, "%s: %.400s", stop_kind_name(si->kind), si->text);
    for (unsigned i = 0; !test_failed && i < 3 && has[i]; i++)
        if (!strstr(si->text, has[i]))
            test_fail(__FILE__, __LINE__, "no \"%s\" in: %.400s", has[i], si->text);
    return !test_failed;
}

/* Long mode: prints `text` to port 0xE9 byte by byte, then writes 0 to port 0xF4. */
static bool open_printer(const char *text, bool kernel)
{
    struct session_config cfg = {
        .mem_bytes = 4 << 20, .irqchip_kernel = kernel, .boot = FLAT_AT(0x8000, BOOT_MODE_LONG)};
    uint8_t code[300] = {0xbe, 0x14, 0x80, 0,    0,     /* mov $text,%esi */
                         0xb9, 0,    0,    0,    0,     /* mov $len,%ecx */
                         0xac,                          /* 800a: lods */
                         0xe6, 0xe9, 0xe2, 0xfb,        /* out; loop 800a */
                         0x31, 0xc0, 0xe6, 0xf4, 0xf4}; /* 800f */
    size_t len = strlen(text);

    code[6] = (uint8_t)len;
    memcpy(code + 0x14, text, len);
    return guest_open(&s, cfg, code, 0x14 + len);
}

static void console_texts(void)
{
    static const struct {
        const char *printed, *text;
        bool is_found;
    } rows[] = {
        {"kernel panic now", "panic", true},
        {"pa\033[1;31mni\033[0mc", "panic", true},
        {"p\033]0;a title with panik\007anic", "panic", true},
        {"pa\033]2;t\033\\nic", "panic", true},
        {"\033(Bpani\0337c", "panic", true},
        {"pa nic", "panic", false},
        {"\033]0;panic\007", "panic", false},
        {"ppapanpanipanic", "panic", true},
        {"x\033[2Jy", "\033[2J", true},
        {"\033[31mpanic", "\033[31mpanic", true},
    };

    for (unsigned i = 0; !test_failed && i < sizeof rows / sizeof rows[0]; i++) {
        if (!open_printer(rows[i].printed, i & 1))
            return;
        if (add((struct point_spec){.catch_what = CATCH_CONSOLE, .catch_text = rows[i].text}))
            stops(rows[i].is_found ? STOP_CATCH : STOP_DEBUG_EXIT, (const char *const[3]){0});
        if (test_failed)
            fprintf(stderr, "row %u\n", i);
        guest_close(&s);
    }
}

/* One exit, three points: each counts, one stop names them all. */
static void several_at_once(void)
{
    const char *const first[3] = {"Catchpoint 1", "out 0xe9",
                                  "; at once catchpoint 3, catchpoint 4"};

    if (!open_printer("a", false))
        return;
    if (add((struct point_spec){.catch_reason = KVM_EXIT_IO}) &&
        add((struct point_spec){.catch_reason = KVM_EXIT_IO, .catch_filter = "port == 1"}) &&
        add((struct point_spec){.catch_reason = KVM_EXIT_IO, .catch_filter = "value == 'a'"}) &&
        add((struct point_spec){.catch_what = CATCH_CONSOLE, .catch_text = "a"}) &&
        stops(STOP_CATCH, first)) {
        for (int id = 1; id <= 4; id++)
            if (session_point(s, id)->hits != (id != 2))
                test_fail(__FILE__, __LINE__, "point %d has %llu hits", id,
                          (unsigned long long)session_point(s, id)->hits);
    }
    guest_close(&s);
}

/* What a condition asks for must be there to be asked. */
static void fields_of_another_kind(void)
{
    struct point_spec spec = {
        .kind = POINT_CATCH, .vcpu = -1, .catch_reason = KVM_EXIT_HLT, .condition = "port == 1"};
    struct err e = {0};

    if (!open_printer("a", false))
        return;
    if (session_point_add(s, &spec, &e) >= 0 || !strstr(e.msg, "`port` is nothing that hlt has"))
        test_fail(__FILE__, __LINE__, "%.400s", e.msg);
    spec.condition = "mode == long64 && cpl == 0";
    if (session_point_add(s, &spec, &e) < 0)
        test_fail(__FILE__, __LINE__, "%.400s", e.msg);
    guest_close(&s);
}

/* A refusal that is carried out is an assist and no internal error; each is one only when KVM
 * emulates ring 0, and a processor runs to the end. */
static void assists(void)
{
    /* mov ebx, 0ffh; popcnt eax, ebx; cli; int 5, without an IDT */
    static const uint8_t code[] = {0xbb, 0xff, 0, 0, 0, 0xf3, 0x0f, 0xb8, 0xc3, 0xfa, 0xcd, 5};
    const char *const first[3] = {"Catchpoint 1", "popcnt eax, ebx", "carried out at 0x8005"};
    const char *const end[3] = {"vector 5"};
    struct session_config cfg = {.mem_bytes = 4 << 20, .boot = FLAT_AT(0x8000, BOOT_MODE_LONG)};

    if (!guest_open(&s, cfg, code, sizeof code))
        return;
    if (!s->vm->probe.emulated) {
        snprintf(test_why, sizeof test_why, "nothing is assisted on this host");
        test_skipped = true;
    } else if (add((struct point_spec){.catch_reason = EXIT_ASSIST}) &&
               add((struct point_spec){.catch_reason = KVM_EXIT_INTERNAL_ERROR}) &&
               stops(STOP_CATCH, first) && stops(STOP_TRIPLE_FAULT, end)) {
        CHECK_EQ(session_point(s, 1)->hits, 2);
        CHECK_EQ(session_point(s, 2)->hits, 0);
    }
    guest_close(&s);
}

static const struct test tests[] = {
    {"console texts", console_texts},
    {"several at once", several_at_once},
    {"fields of another kind", fields_of_another_kind},
    {"assists", assists},
};
TEST_MAIN(tests)
