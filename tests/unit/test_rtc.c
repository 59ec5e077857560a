/*
 * Clock and CMOS memory. A manual door starts at 2001-09-09 01:46:40, a Sunday.
 */
#include "tests/unit/board.h"

#include "vmm/base/x.h"

#define SECOND (1000 * MS)

static uint64_t cmos(uint8_t i)
{
    out8(0x70, i);
    return in8(0x71);
}

static void set_cmos(uint8_t i, uint8_t v)
{
    out8(0x70, i);
    out8(0x71, v);
}

static bool irq8(void)
{
    return board.gsi_level >> 8 & 1;
}

static void shows_the_wall_clock(void)
{
    if (!board_up(1))
        return;
    CHECK_EQ(cmos(0), 0x40);
    CHECK_EQ(cmos(2), 0x46);
    CHECK_EQ(cmos(4), 0x01);
    CHECK_EQ(cmos(6), 0x01);
    CHECK_EQ(cmos(7), 0x09);
    CHECK_EQ(cmos(8), 0x09);
    CHECK_EQ(cmos(9), 0x01);
    CHECK_EQ(cmos(0x32), 0x20);
    CHECK_EQ(cmos(0x0d), 0x80);
    CHECK_EQ(in8(0x70), 0xff);
    advance(SECOND - 1);
    CHECK_EQ(cmos(0), 0x40);
    advance(1);
    CHECK_EQ(cmos(0), 0x41);
    advance(19 * SECOND);
    CHECK_EQ(cmos(0), 0x00);
    CHECK_EQ(cmos(2), 0x47);
    board_down();
}

static void formats(void)
{
    if (!board_up(1))
        return;
    set_cmos(0x0b, 0x06); /* binary, 24 hours */
    CHECK_EQ(cmos(0), 40);
    CHECK_EQ(cmos(2), 46);
    CHECK_EQ(cmos(0x32), 20);
    advance(13ull * 3600 * SECOND); /* 14:46:40 */
    CHECK_EQ(cmos(4), 14);
    set_cmos(0x0b, 0x00); /* BCD, 12 hours */
    CHECK_EQ(cmos(4), 0x82);
    advance(9ull * 3600 * SECOND + 14ull * 60 * SECOND); /* 00:00:40 next day */
    CHECK_EQ(cmos(4), 0x12);
    CHECK_EQ(cmos(7), 0x10);
    CHECK_EQ(cmos(6), 0x02);
    advance(12ull * 3600 * SECOND); /* noon */
    CHECK_EQ(cmos(4), 0x92);
    board_down();
}

static void setting_the_time(void)
{
    if (!board_up(1))
        return;
    advance(300 * MS);
    set_cmos(0x0b, 0x82); /* SET: the clock stands */
    advance(5 * SECOND);
    CHECK_EQ(cmos(0), 0x40);
    CHECK_EQ(cmos(0x0a) & 0x80, 0);
    set_cmos(0, 0x58);
    set_cmos(2, 0x59);
    set_cmos(4, 0x23);
    set_cmos(7, 0x28);
    set_cmos(8, 0x02);
    set_cmos(9, 0x24);
    set_cmos(6, 0x04);
    set_cmos(0x0b, 0x02);
    CHECK_EQ(cmos(0), 0x58);
    advance(700 * MS - 1); /* the phase of the second was kept */
    CHECK_EQ(cmos(0), 0x58);
    advance(1);
    CHECK_EQ(cmos(0), 0x59);
    advance(SECOND);
    CHECK_EQ(cmos(7), 0x29); /* a leap year */
    CHECK_EQ(cmos(8), 0x02);
    CHECK_EQ(cmos(6), 0x05);
    set_cmos(0x32, 0x21); /* without SET: at once */
    CHECK_EQ(cmos(9), 0x24);
    CHECK_EQ(cmos(0x32), 0x21);
    set_cmos(8, 0x99); /* nonsense is carried, not believed */
    CHECK(cmos(8) <= 0x12);
    board_down();
}

static void update_in_progress(void)
{
    if (!board_up(1))
        return;
    CHECK_EQ(cmos(0x0a), 0x26);
    advance(SECOND - 2228001);
    CHECK_EQ(cmos(0x0a), 0x26);
    advance(1);
    CHECK_EQ(cmos(0x0a), 0xa6);
    advance(2228000 - 1);
    CHECK_EQ(cmos(0x0a), 0xa6);
    advance(1);
    CHECK_EQ(cmos(0x0a), 0x26);
    board_down();
}

static void divider_reset(void)
{
    if (!board_up(1))
        return;
    advance(123 * MS);
    set_cmos(0x0a, 0x76);
    advance(10 * SECOND);
    CHECK_EQ(cmos(0), 0x40);
    set_cmos(0x0a, 0x26);
    advance(500 * MS - 1); /* the first update comes half a second later */
    CHECK_EQ(cmos(0), 0x40);
    advance(1);
    CHECK_EQ(cmos(0), 0x41);
    advance(SECOND);
    CHECK_EQ(cmos(0), 0x42);
    board_down();
}

static void update_and_flags(void)
{
    if (!board_up(1))
        return;
    CHECK_EQ(cmos(0x0c), 0);
    advance(SECOND);
    CHECK_EQ(cmos(0x0c) & 0x50, 0x50); /* flags without interrupts, for pollers */
    CHECK_EQ(cmos(0x0c), 0);
    CHECK(!irq8());
    set_cmos(0x0b, 0x12);
    advance(SECOND - 1);
    CHECK(!irq8());
    advance(1);
    CHECK(irq8());
    advance(3 * SECOND);
    CHECK_EQ(board.gsi_raised[8], 1); /* the line waits for register C */
    CHECK_EQ(cmos(0x0c) & 0x90, 0x90);
    CHECK(!irq8());
    advance(SECOND);
    CHECK_EQ(board.gsi_raised[8], 2);
    set_cmos(0x0b, 0x92); /* SET clears UIE */
    CHECK_EQ(cmos(0x0b), 0x82);
    board_down();
}

static void periodic(void)
{
    if (!board_up(1))
        return;
    set_cmos(0x0b, 0x42);
    for (unsigned i = 1; i <= 2048; i++) { /* 1024 Hz */
        uint64_t due = (i * 1000000000ull + 1023) / 1024;

        advance(due - 1 - door_now(&board.door));
        if (irq8())
            TEST_FAIL("interrupt %u is early", i);
        advance(1);
        if (!irq8())
            TEST_FAIL("interrupt %u is late", i);
        CHECK_EQ(cmos(0x0c) & 0xc0, 0xc0);
    }
    CHECK_EQ(door_now(&board.door), 2 * SECOND);
    set_cmos(0x0a, 0x2f); /* 2 Hz */
    cmos(0x0c);
    advance(500 * MS - 1);
    CHECK(!irq8());
    advance(1);
    CHECK(irq8());
    cmos(0x0c);
    set_cmos(0x0a, 0x21); /* 256 Hz, an odd row of the table */
    cmos(0x0c);
    advance(3906250 - 1);
    CHECK(!irq8());
    advance(1);
    CHECK(irq8());
    set_cmos(0x0a, 0x20); /* none */
    cmos(0x0c);
    advance(2 * SECOND);
    CHECK(!irq8());
    board_down();
}

static void alarm_interrupt(void)
{
    if (!board_up(1))
        return;
    set_cmos(1, 0x05);
    set_cmos(3, 0x50);
    set_cmos(5, 0x01);
    set_cmos(0x0b, 0x22);
    advance(205 * SECOND - 1); /* 01:46:40 to 01:50:05 */
    CHECK(!irq8());
    advance(1);
    CHECK(irq8());
    CHECK_EQ(cmos(0x0c) & 0xa0, 0xa0);
    advance(86400ull * SECOND - 1);
    CHECK(!irq8());
    advance(1);
    CHECK(irq8());
    cmos(0x0c);
    set_cmos(3, 0xff); /* every hour … */
    set_cmos(5, 0xc0);
    advance(60 * SECOND - 1);
    CHECK(!irq8());
    advance(1);
    CHECK(irq8()); /* … and minute: at second 5 */
    cmos(0x0c);
    set_cmos(1, 0x77); /* never */
    advance(200000ull * SECOND);
    CHECK(!irq8());
    board_down();
}

static void memory_sizes(void)
{
    struct mem mem;
    struct err e = {0};
    uint64_t sum = 0;

    CHECK_EQ(mem_init(&mem, 5ull << 30, &e), 0);
    if (!board_up_with(2, &mem, false))
        return;
    CHECK_EQ(cmos(0x15) | cmos(0x16) << 8, 640);
    CHECK_EQ(cmos(0x17) | cmos(0x18) << 8, 0xffff);
    CHECK_EQ(cmos(0x30) | cmos(0x31) << 8, 0xffff);
    CHECK_EQ(cmos(0x34) | cmos(0x35) << 8, (3072 - 16) * 16); /* up to the hole at 3 GiB */
    CHECK_EQ(cmos(0x5b) | cmos(0x5c) << 8 | cmos(0x5d) << 16, 2048 * 16);
    CHECK_EQ(cmos(0x5f), 1);
    for (uint8_t i = 0x10; i < 0x2e; i++)
        sum += cmos(i);
    CHECK_EQ(cmos(0x2e) << 8 | cmos(0x2f), sum);
    board_down();
    mem_fini(&mem);
    CHECK_EQ(mem_init(&mem, 8 << 20, &e), 0);
    if (!board_up_with(1, &mem, false))
        return;
    CHECK_EQ(cmos(0x17) | cmos(0x18) << 8, 7 * 1024);
    CHECK_EQ(cmos(0x34) | cmos(0x35) << 8, 0);
    board_down();
    mem_fini(&mem);
}

static void memory_survives_reset(void)
{
    const struct dev *d;

    if (!board_up(1))
        return;
    set_cmos(0x0f, 0x05);
    set_cmos(0x7f, 0xaa);
    set_cmos(0x0b, 0x76);
    machine_reset(&board);
    CHECK_EQ(cmos(0x0f), 0x05);
    CHECK_EQ(cmos(0x7f), 0xaa);
    CHECK_EQ(cmos(0x0b), 0x06);
    out8(0x70, 0x8f); /* bit 7 masks NMI, it is not part of the index */
    CHECK_EQ(in8(0x71), 0x05);
    d = machine_dev(&board, "rtc");
    CHECK_STR(d->ops->reg_name(d, 0x70, true), "CMOS index");
    CHECK_STR(d->ops->reg_name(d, 0x71, false), "CMOS shutdown");
    board_down();
}

static const struct test tests[] = {
    {"shows the wall clock", shows_the_wall_clock},
    {"formats", formats},
    {"setting the time", setting_the_time},
    {"update in progress", update_in_progress},
    {"divider reset", divider_reset},
    {"update and flags", update_and_flags},
    {"periodic", periodic},
    {"alarm interrupt", alarm_interrupt},
    {"memory sizes", memory_sizes},
    {"memory survives reset", memory_survives_reset},
};
TEST_MAIN(tests)
