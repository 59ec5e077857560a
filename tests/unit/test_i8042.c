/*
 * Keyboard controller and keyboard.
 */
#include "tests/unit/board.h"

#include "vmm/base/x.h"

static void keys(const void *codes, size_t n)
{
    door_push(&board.door, DOOR_KEYBOARD, codes, n);
}

static bool full(void)
{
    return in8(0x64) & 1;
}

/* The bytes that a driver reads now, at most 16. */
static struct buf got;

static const char *drain(void)
{
    buf_clear(&got);
    for (unsigned i = 0; i < 16 && full(); i++)
        buf_addf(&got, "%s%02x", i ? " " : "", (unsigned)in8(0x60));
    return buf_str(&got);
}

static void controller(uint8_t command, int data)
{
    out8(0x64, command);
    if (data >= 0)
        out8(0x60, (uint8_t)data);
}

static void self_test_and_memory(void)
{
    if (!board_up(1))
        return;
    CHECK_EQ(in8(0x64), 0x14);
    controller(0xaa, -1);
    CHECK_EQ(in8(0x64), 0x1d);
    CHECK_STR(drain(), "55");
    controller(0xab, -1);
    CHECK_STR(drain(), "00");
    controller(0x20, -1);
    CHECK_STR(drain(), "65");
    controller(0x60, 0x47);
    controller(0x20, -1);
    CHECK_STR(drain(), "47");
    controller(0x71, 0x99); /* a byte of its memory */
    controller(0x31, -1);
    CHECK_STR(drain(), "99");
    controller(0x99, -1); /* no such command */
    CHECK(!full());
    board_down();
}

static void keys_arrive_with_interrupts(void)
{
    if (!board_up(1))
        return;
    keys("\x1e\x9e", 2); /* A down, A up */
    CHECK(board.gsi_level & 2);
    CHECK_EQ(board.gsi_raised[1], 1);
    CHECK_EQ(in8(0x64) & 0x21, 1);
    CHECK_EQ(in8(0x60), 0x1e);
    CHECK_EQ(board.gsi_raised[1], 2); /* an edge for each byte */
    CHECK_EQ(in8(0x60), 0x9e);
    CHECK(!(board.gsi_level & 2));
    CHECK_EQ(in8(0x60), 0x9e); /* the buffer keeps its last byte */
    controller(0x60, 0x44);    /* without interrupt */
    keys("\x1f", 1);
    CHECK(!(board.gsi_level & 2));
    CHECK_STR(drain(), "1f");
    board_down();
}

static void scan_code_sets(void)
{
    /* A, cursor up, Pause, Print Screen */
    static const char typed[] = "\x1e\x9e\xe0\x48\xe0\xc8";

    if (!board_up(1))
        return;
    keys(typed, 6);
    CHECK_STR(drain(), "1e 9e e0 48 e0 c8"); /* set 2, translated back */
    controller(0x60, 0x05);                  /* translation off: raw set 2 */
    keys(typed, 6);
    CHECK_STR(drain(), "1c f0 1c e0 75 e0 f0 75");
    keys("\x41\xc1\xe1\x1d\x45\xe1\x9d\xc5", 8); /* F7, Pause */
    CHECK_STR(drain(), "83 f0 83 e1 14 77 e1 f0 14 f0 77");
    out8(0x60, 0xf0);
    CHECK_STR(drain(), "fa");
    out8(0x60, 0);
    CHECK_STR(drain(), "fa 02");
    out8(0x60, 0xf0);
    out8(0x60, 1);
    CHECK_STR(drain(), "fa fa");
    keys(typed, 6);
    CHECK_STR(drain(), "1e 9e e0 48 e0 c8");
    out8(0x60, 0xf0);
    out8(0x60, 3);
    CHECK_STR(drain(), "fa fa");
    keys(typed, 6);
    CHECK_STR(drain(), "1c f0 1c 63 f0 63");
    out8(0x60, 0xf0);
    out8(0x60, 9);
    CHECK_STR(drain(), "fa fe");
    board_down();
}

/* Every key of set 1 survives the way through set 2 and back. */
static void translation_round_trip(void)
{
    if (!board_up(1))
        return;
    for (unsigned c = 1; c < 0x59; c++) {
        uint8_t pair[2] = {(uint8_t)c, (uint8_t)(c | 0x80)};
        uint64_t down, up;

        if (c == 0x55 || c == 0x54) /* SysRq has a code of its own; 0x55 is no key */
            continue;
        keys(pair, 2);
        down = in8(0x60);
        up = in8(0x60);
        CHECK_EQ(down, c);
        CHECK_EQ(up, c | 0x80);
    }
    board_down();
}

static void keyboard_commands(void)
{
    if (!board_up(1))
        return;
    out8(0x60, 0xff);
    CHECK_STR(drain(), "fa aa");
    out8(0x60, 0xee);
    CHECK_STR(drain(), "ee");
    out8(0x60, 0xf2);
    CHECK_STR(drain(), "fa ab 41"); /* 83 translated */
    out8(0x60, 0xed);
    keys("\x1e", 1); /* held back while the keyboard waits for the LED byte */
    CHECK_STR(drain(), "fa");
    out8(0x60, 0x07);
    CHECK_STR(drain(), "fa 1e");
    out8(0x60, 0xf3);
    out8(0x60, 0x20);
    CHECK_STR(drain(), "fa fa");
    out8(0x60, 0xf5);
    CHECK_STR(drain(), "fa");
    keys("\x1e", 1);
    CHECK(!full());
    out8(0x60, 0xf4);
    CHECK_STR(drain(), "fa 1e");
    out8(0x60, 0xf6);
    CHECK_STR(drain(), "fa");
    out8(0x60, 0xfe);
    CHECK_STR(drain(), "fa"); /* resend */
    out8(0x60, 0x12);
    CHECK_STR(drain(), "fe"); /* not a command */
    board_down();
}

static void disabling_holds_keys(void)
{
    if (!board_up(1))
        return;
    controller(0xad, -1);
    keys("\x1e\x9e", 2);
    CHECK(!full());
    controller(0x20, -1);
    CHECK_STR(drain(), "75");
    controller(0xae, -1);
    CHECK_STR(drain(), "1e 9e");
    board_down();
}

static void no_mouse(void)
{
    if (!board_up(1))
        return;
    controller(0xa9, -1);
    CHECK_STR(drain(), "00");
    controller(0xa8, -1);
    controller(0x20, -1);
    CHECK_STR(drain(), "45");
    controller(0x60, 0x47);
    controller(0xd4, 0xff);
    CHECK_EQ(in8(0x64) & 0x61, 0x61); /* data, from the second port, time-out */
    CHECK(board.gsi_level >> 12 & 1);
    CHECK_STR(drain(), "fe");
    CHECK_EQ(in8(0x64) & 0x61, 0);
    controller(0xd3, 0x77);
    CHECK_EQ(in8(0x64) & 0x61, 0x21);
    CHECK_STR(drain(), "77");
    controller(0xd2, 0x66);
    CHECK_EQ(in8(0x64) & 0x61, 0x01);
    CHECK_STR(drain(), "66");
    controller(0xa7, -1);
    controller(0x20, -1);
    CHECK_STR(drain(), "67");
    board_down();
}

static void a20_and_reset(void)
{
    if (!board_up(1))
        return;
    controller(0xd0, -1);
    CHECK_STR(drain(), "cf");
    controller(0xd1, 0xdd);
    CHECK(!board.a20);
    CHECK_EQ(in8(0x92) & 2, 0);
    controller(0xd1, 0xdf);
    CHECK(board.a20);
    controller(0xdd, -1);
    CHECK(!board.a20);
    controller(0xdf, -1);
    CHECK(board.a20);
    CHECK_EQ(board.wish, WISH_NONE);
    controller(0xd1, 0xde);
    CHECK_EQ(board.wish, WISH_RESET);
    machine_reset(&board);
    controller(0xfe, -1);
    CHECK_EQ(board.wish, WISH_RESET);
    board_down();
}

static void pasted_text_is_not_lost(void)
{
    if (!board_up(1))
        return;
    for (unsigned i = 0; i < 1000; i++)
        keys("\x1e\x9e", 2);
    for (unsigned i = 0; i < 1000; i++) {
        CHECK(full());
        CHECK_EQ(in8(0x60), 0x1e);
        CHECK_EQ(in8(0x60), 0x9e);
    }
    CHECK(!full());
    board_down();
}

static const struct test tests[] = {
    {"self-test and memory", self_test_and_memory},
    {"keys arrive with interrupts", keys_arrive_with_interrupts},
    {"scan code sets", scan_code_sets},
    {"translation round trip", translation_round_trip},
    {"keyboard commands", keyboard_commands},
    {"disabling holds keys", disabling_holds_keys},
    {"no mouse", no_mouse},
    {"a20 and reset", a20_and_reset},
    {"pasted text is not lost", pasted_text_is_not_lost},
};
TEST_MAIN(tests)
