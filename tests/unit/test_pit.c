/*
 * The 8254 against its data sheet, in exact guest time.
 */
#include "tests/unit/board.h"

#include "vmm/base/x.h"
#include "vmm/devices/ticks.h"

#define HZ 1193182u

/* Moves time to the first nanosecond of tick `t`. */
static void to_tick(uint64_t t)
{
    uint64_t at = ticks_ns(t, HZ);

    if (at > door_now(&board.door))
        advance(at - door_now(&board.door));
}

static uint64_t tick(void)
{
    return ticks_at(door_now(&board.door), HZ);
}

static void control(unsigned ch, unsigned mode, unsigned access)
{
    out8(0x43, (uint8_t)(ch << 6 | access << 4 | mode << 1));
}

static void count16(unsigned ch, uint16_t n)
{
    out8((uint16_t)(0x40 + ch), (uint8_t)n);
    out8((uint16_t)(0x40 + ch), (uint8_t)(n >> 8));
}

static uint16_t read16(unsigned ch)
{
    uint64_t low = in8((uint16_t)(0x40 + ch));

    return (uint16_t)(low | in8((uint16_t)(0x40 + ch)) << 8);
}

static uint16_t latched(unsigned ch)
{
    out8(0x43, (uint8_t)(ch << 6));
    return read16(ch);
}

/* Ticks are exact: no rounding ever accumulates. */
static void ticks_do_not_drift(void)
{
    CHECK_EQ(ticks_at(1000000000, HZ), HZ);
    CHECK_EQ(ticks_at(86400ull * 365 * 1000000000u, HZ), 86400ull * 365 * HZ);
    CHECK_EQ(ticks_at(999999999, HZ), HZ - 1);
    for (uint64_t t = 0; t < 3 * HZ; t += 977) {
        CHECK_EQ(ticks_at(ticks_ns(t, HZ), HZ), t);
        if (t)
            CHECK_EQ(ticks_at(ticks_ns(t, HZ) - 1, HZ), t - 1);
    }
}

static void mode2_gives_irq0_at_exact_times(void)
{
    uint64_t t0;

    if (!board_up(1))
        return;
    pics_up(1, 1);
    control(0, 2, 3);
    t0 = tick();
    count16(0, 11932); /* 99.998 Hz */
    CHECK_EQ(intr_vector(&board, 0), -1);
    for (unsigned i = 1; i <= 250; i++) {
        uint64_t due = ticks_ns(t0 + 1 + 11932ull * i, HZ);

        advance(due - 1 - door_now(&board.door));
        if (intr_vector(&board, 0) != -1)
            TEST_FAIL("interrupt %u is early", i);
        advance(1);
        CHECK_EQ(intr_ack(&board, 0), 0x20);
        out8(0x20, 0x20);
    }
    CHECK_EQ(board.gsi_raised[0], 251); /* and once at power-on */
    board_down();
}

static void mode2_counts_down(void)
{
    uint64_t t0;

    if (!board_up(1))
        return;
    control(2, 2, 3);
    out8(0x61, 1);
    t0 = tick();
    count16(2, 1000);
    to_tick(t0 + 1);
    CHECK_EQ(latched(2), 1000);
    to_tick(t0 + 1 + 1);
    CHECK_EQ(latched(2), 999);
    to_tick(t0 + 1 + 999);
    CHECK_EQ(latched(2), 1);
    CHECK_EQ(in8(0x61) & 0x20, 0); /* OUT is low for the last clock */
    to_tick(t0 + 1 + 1000);
    CHECK_EQ(latched(2), 1000);
    CHECK_EQ(in8(0x61) & 0x20, 0x20);
    /* A new count waits for the end of the cycle. */
    count16(2, 500);
    to_tick(t0 + 1 + 1999);
    CHECK_EQ(latched(2), 1);
    to_tick(t0 + 1 + 2000);
    CHECK_EQ(latched(2), 500);
    to_tick(t0 + 1 + 2500);
    CHECK_EQ(latched(2), 500);
    board_down();
}

static void mode3_is_square(void)
{
    uint64_t t0;

    if (!board_up(1))
        return;
    out8(0x61, 1);
    control(2, 3, 3);
    t0 = tick();
    count16(2, 10);
    to_tick(t0 + 1);
    CHECK_EQ(latched(2), 10);
    CHECK_EQ(in8(0x61) & 0x20, 0x20);
    to_tick(t0 + 1 + 4);
    CHECK_EQ(latched(2), 2);
    CHECK_EQ(in8(0x61) & 0x20, 0x20);
    to_tick(t0 + 1 + 5);
    CHECK_EQ(latched(2), 10);
    CHECK_EQ(in8(0x61) & 0x20, 0);
    to_tick(t0 + 1 + 10);
    CHECK_EQ(in8(0x61) & 0x20, 0x20);
    /* Odd counts: high one clock longer than low. */
    control(2, 3, 3);
    t0 = tick();
    count16(2, 5);
    to_tick(t0 + 1 + 2);
    CHECK_EQ(latched(2), 0);
    CHECK_EQ(in8(0x61) & 0x20, 0x20);
    to_tick(t0 + 1 + 3);
    CHECK_EQ(latched(2), 4);
    CHECK_EQ(in8(0x61) & 0x20, 0);
    to_tick(t0 + 1 + 5);
    CHECK_EQ(in8(0x61) & 0x20, 0x20);
    /* A new count takes over at the half. */
    control(2, 3, 3);
    t0 = tick();
    count16(2, 100);
    to_tick(t0 + 1 + 10);
    count16(2, 40);
    to_tick(t0 + 1 + 50);
    CHECK_EQ(latched(2), 40);
    CHECK_EQ(in8(0x61) & 0x20, 0);
    to_tick(t0 + 1 + 70);
    CHECK_EQ(in8(0x61) & 0x20, 0x20);
    board_down();
}

static void mode0_counts_once(void)
{
    uint64_t t0;

    if (!board_up(1))
        return;
    pics_up(1, 1);
    control(0, 0, 3);
    CHECK(!(board.gsi_level & 1));
    t0 = tick();
    count16(0, 100);
    /* OUT rises N + 1 clocks after the count was written. */
    to_tick(t0 + 100);
    CHECK_EQ(intr_vector(&board, 0), -1);
    to_tick(t0 + 101);
    CHECK_EQ(intr_ack(&board, 0), 0x20);
    CHECK_EQ(latched(0), 0);
    to_tick(t0 + 102);
    CHECK_EQ(latched(0), 0xffff); /* it goes on counting */
    out8(0x20, 0x20);
    advance(1000 * MS);
    CHECK_EQ(intr_vector(&board, 0), -1);
    CHECK(board.gsi_level & 1);
    /* The first byte of a new count stops it, the second starts it. */
    out8(0x40, 50);
    CHECK(!(board.gsi_level & 1));
    advance(10 * MS);
    CHECK(!(board.gsi_level & 1));
    t0 = tick();
    out8(0x40, 0);
    to_tick(t0 + 51);
    CHECK_EQ(intr_ack(&board, 0), 0x20);
    board_down();
}

static void mode0_holds_while_the_gate_is_closed(void)
{
    uint64_t t0;

    if (!board_up(1))
        return;
    out8(0x61, 1);
    control(2, 0, 3);
    t0 = tick();
    count16(2, 1000);
    to_tick(t0 + 1 + 300);
    out8(0x61, 0);
    CHECK_EQ(latched(2), 700);
    advance(50 * MS);
    CHECK_EQ(latched(2), 700);
    t0 = tick();
    out8(0x61, 1);
    to_tick(t0 + 699);
    CHECK_EQ(in8(0x61) & 0x20, 0);
    to_tick(t0 + 700);
    CHECK_EQ(in8(0x61) & 0x20, 0x20);
    board_down();
}

static void mode1_is_triggered_by_the_gate(void)
{
    uint64_t t0;

    if (!board_up(1))
        return;
    control(2, 1, 3);
    count16(2, 1000);
    advance(10 * MS);
    CHECK_EQ(in8(0x61) & 0x20, 0x20);
    t0 = tick();
    out8(0x61, 1);
    to_tick(t0 + 1);
    CHECK_EQ(in8(0x61) & 0x20, 0);
    to_tick(t0 + 500);
    out8(0x61, 0); /* only the rise counts; it starts anew */
    out8(0x61, 1);
    to_tick(t0 + 500 + 1000);
    CHECK_EQ(in8(0x61) & 0x20, 0);
    to_tick(t0 + 500 + 1001);
    CHECK_EQ(in8(0x61) & 0x20, 0x20);
    board_down();
}

static void modes_4_and_5_strobe(void)
{
    uint64_t t0;

    if (!board_up(1))
        return;
    out8(0x61, 1);
    control(2, 4, 3);
    t0 = tick();
    count16(2, 20);
    to_tick(t0 + 1 + 19);
    CHECK_EQ(in8(0x61) & 0x20, 0x20);
    to_tick(t0 + 1 + 20);
    CHECK_EQ(in8(0x61) & 0x20, 0);
    to_tick(t0 + 1 + 21);
    CHECK_EQ(in8(0x61) & 0x20, 0x20);
    out8(0x61, 0);
    control(2, 5, 3);
    count16(2, 20);
    advance(MS);
    t0 = tick();
    out8(0x61, 1);
    to_tick(t0 + 1 + 20);
    CHECK_EQ(in8(0x61) & 0x20, 0);
    to_tick(t0 + 1 + 21);
    CHECK_EQ(in8(0x61) & 0x20, 0x20);
    board_down();
}

static void bytes_latches_and_status(void)
{
    uint64_t t0;

    if (!board_up(1))
        return;
    out8(0x61, 1);
    out8(0x43, 0xb4);          /* channel 2, both bytes, mode 2 */
    out8(0x43, 0xe8);          /* read-back: status only */
    CHECK_EQ(in8(0x42), 0xf4); /* OUT high, null count, both, mode 2 */
    t0 = tick();
    count16(2, 0x1234);
    to_tick(t0 + 1 + 0x34);
    out8(0x43, 0x80);
    advance(5 * MS);
    out8(0x43, 0x80); /* ignored: the first one is not read yet */
    CHECK_EQ(in8(0x42), 0x00);
    CHECK_EQ(in8(0x42), 0x12);
    out8(0x43, 0xc8); /* status and count together: status first */
    CHECK_EQ(in8(0x42), 0xb4);
    CHECK(in8(0x42) != 0x100);
    in8(0x42);
    /* Low byte only. */
    out8(0x43, 0x94);
    t0 = tick();
    out8(0x42, 200);
    to_tick(t0 + 1 + 7);
    CHECK_EQ(in8(0x42), 193);
    CHECK_EQ(in8(0x42), 193);
    /* High byte only. */
    out8(0x43, 0xa4);
    t0 = tick();
    out8(0x42, 0x20);
    to_tick(t0 + 1);
    CHECK_EQ(in8(0x42), 0x20);
    to_tick(t0 + 2);
    CHECK_EQ(in8(0x42), 0x1f);
    CHECK_EQ(in8(0x43), 0xff);
    board_down();
}

static void bcd_and_zero(void)
{
    uint64_t t0;

    if (!board_up(1))
        return;
    out8(0x61, 1);
    out8(0x43, 0xb5); /* mode 2, BCD */
    t0 = tick();
    count16(2, 0x1000);
    to_tick(t0 + 1 + 1);
    CHECK_EQ(latched(2), 0x0999);
    out8(0x43, 0xb5);
    t0 = tick();
    count16(2, 0); /* 10000 */
    to_tick(t0 + 1);
    CHECK_EQ(latched(2), 0);
    to_tick(t0 + 2);
    CHECK_EQ(latched(2), 0x9999);
    out8(0x43, 0xb4);
    t0 = tick();
    count16(2, 0); /* 65536 */
    to_tick(t0 + 1);
    CHECK_EQ(latched(2), 0);
    to_tick(t0 + 2);
    CHECK_EQ(latched(2), 0xffff);
    board_down();
}

static void late_hosts_do_not_flood(void)
{
    struct dev *d;
    uint64_t raised;

    if (!board_up(1))
        return;
    pics_up(1, 1);
    d = machine_dev(&board, "pit");
    control(0, 2, 3);
    count16(0, 1193); /* 1 kHz */
    raised = board.gsi_raised[0];
    /* The host slept: time moved, but nobody ran the alarms. */
    board.door.base_ns += 100 * MS;
    CHECK_EQ(door_run_alarms(&board.door), 1);
    CHECK_EQ(board.gsi_raised[0], raised + 1);
    CHECK_EQ(intr_ack(&board, 0), 0x20);
    out8(0x20, 0x20);
    {
        struct buf b = {0};

        d->ops->describe(d, &b);
        CHECK_HAS(buf_str(&b), "IRQ 0: 1 given, 99 missed");
        CHECK_HAS(buf_str(&b), "mode 2 (rate generator), count 1193, 1000.152 Hz");
        buf_fini(&b);
    }
    advance(MS);
    CHECK_EQ(intr_ack(&board, 0), 0x20); /* and in step again */
    /* The fastest setting is bounded too. */
    control(0, 2, 3);
    count16(0, 2);
    raised = board.gsi_raised[0];
    advance(MS);
    CHECK(board.gsi_raised[0] - raised <= 101);
    CHECK(board.gsi_raised[0] - raised >= 90);
    board_down();
}

static void port_61(void)
{
    uint64_t a, changes = 0;

    if (!board_up(1))
        return;
    CHECK_EQ(in8(0x61) & 0xcf, 0);
    out8(0x61, 0xff);
    CHECK_EQ(in8(0x61) & 0xcf, 0x0f);
    a = in8(0x61) & 0x10;
    for (unsigned i = 0; i < 1000; i++) { /* the refresh bit toggles every 15 us */
        uint64_t b;

        advance(US);
        b = in8(0x61) & 0x10;
        changes += a != b;
        a = b;
    }
    CHECK_EQ(changes, 66);
    board_down();
}

static const struct test tests[] = {
    {"ticks do not drift", ticks_do_not_drift},
    {"mode 2 gives irq 0 at exact times", mode2_gives_irq0_at_exact_times},
    {"mode 2 counts down", mode2_counts_down},
    {"mode 3 is square", mode3_is_square},
    {"mode 0 counts once", mode0_counts_once},
    {"mode 0 holds while the gate is closed", mode0_holds_while_the_gate_is_closed},
    {"mode 1 is triggered by the gate", mode1_is_triggered_by_the_gate},
    {"modes 4 and 5 strobe", modes_4_and_5_strobe},
    {"bytes, latches and status", bytes_latches_and_status},
    {"bcd and zero", bcd_and_zero},
    {"late hosts do not flood", late_hosts_do_not_flood},
    {"port 0x61", port_61},
};
TEST_MAIN(tests)
