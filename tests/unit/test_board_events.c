/*
 * What devices tell the trace: interrupt lines, requests, ends, timers, DMA, resets; once each, in
 * order, and nothing when nothing happens.
 */
#include "tests/unit/board.h"

#include <string.h>

#include "vmm/base/x.h"
#include "vmm/devices/lapic.h"

static void lapic_write(unsigned cpu, uint32_t reg, uint64_t v)
{
    bus_mmio(&board, cpu, LAPIC_BASE + reg, 4, true, &v);
}

static unsigned id_of(const char *name)
{
    const struct dev *d = machine_dev(&board, name);

    return d ? d->id : DEVICE_NO_ID;
}

/* The n-th event of a kind since board_events was last zeroed, or NULL. */
static const struct exit_device *find(enum device_event event, unsigned n)
{
    for (unsigned i = 0; i < board_events && i < ARRAY_LEN(board_event); i++)
        if (board_event[i].event == event && !n--)
            return &board_event[i];
    return NULL;
}

static void pic_on(void)
{
    static const uint8_t words[] = {0x11, 0x20, 0x04, 0x01}, slave[] = {0x11, 0x28, 0x02, 0x01};

    for (unsigned i = 0; i < 4; i++) {
        out8(i ? 0x21 : 0x20, words[i]);
        out8(i ? 0xa1 : 0xa0, slave[i]);
    }
    out8(0x21, 0);
    out8(0xa1, 0);
}

static void a_timer_tick_is_told_from_begin_to_end(void)
{
    const struct exit_device *ev;

    if (!board_up(1))
        return;
    pic_on();
    board_events = 0;
    out8(0x43, 0x34); /* channel 0, rate generator */
    out8(0x40, 0xa9); /* 1193 ticks: a millisecond */
    out8(0x40, 0x04);
    ev = find(DEVICE_TIMER_SET, 0);
    CHECK(ev && ev->id == id_of("pit") && ev->cpu == DEVICE_NO_CPU);
    CHECK(ev && ev->value > 900 * US && ev->value < 1100 * US);
    board_events = 0;
    door_advance(&board.door, 1100 * US);
    CHECK(find(DEVICE_TIMER, 0) && !find(DEVICE_TIMER, 1));
    ev = find(DEVICE_LINE, 0);
    CHECK(ev && ev->line == 0 && !find(DEVICE_LINE, 1));
    CHECK(find(DEVICE_TIMER_SET, 0)); /* for the next tick */
    CHECK_EQ(intr_ack(&board, 0), 0x20);
    CHECK_EQ(board.cpu[0].line, 1); /* GSI 0 */
    board_events = 0;
    out8(0x20, 0x20);
    ev = find(DEVICE_EOI, 0);
    CHECK(ev && ev->vector == 0x20 && ev->line == 0 && ev->id == id_of("pic"));
    out8(0x20, 0x20); /* ends nothing */
    CHECK_EQ(board_events, 1);
    board_down();
}

static void the_second_chip_ends_once(void)
{
    const struct exit_device *ev;

    if (!board_up(1))
        return;
    pic_on();
    irq_pulse(&board, 12);
    CHECK_EQ(intr_ack(&board, 0), 0x2c);
    CHECK_EQ(board.cpu[0].line, 13);
    board_events = 0;
    out8(0xa0, 0x20);
    out8(0x20, 0x20); /* the cascade's: no interrupt of its own */
    ev = find(DEVICE_EOI, 0);
    CHECK(ev && ev->vector == 0x2c && ev->line == 12);
    CHECK_EQ(board_events, 1);
    board_down();
}

static void the_apics_tell_whose_interrupt_it_is(void)
{
    const struct exit_device *ev;

    if (!board_up(2))
        return;
    lapic_write(0, 0xf0, 0x1ff);
    lapic_write(1, 0xf0, 0x1ff);
    board_events = 0;
    lapic_write(0, 0x310, 1u << 24);
    lapic_write(0, 0x300, 0x4000 | 0x41); /* to vCPU 1 */
    ev = find(DEVICE_REQUEST, 0);
    CHECK(ev && ev->cpu == 1 && ev->vector == 0x41 && ev->line == EXIT_NO_LINE);
    CHECK_EQ(intr_ack(&board, 1), 0x41);
    CHECK_EQ(board.cpu[1].line, 0);
    lapic_write(1, 0xb0, 0);
    ev = find(DEVICE_EOI, 0);
    CHECK(ev && ev->cpu == 1 && ev->vector == 0x41 && ev->id == id_of("lapic"));
    lapic_write(0, 0x300, 0x4500);
    lapic_write(0, 0x300, 0x4608);
    ev = find(DEVICE_SIPI, 0);
    CHECK(find(DEVICE_INIT, 0) && ev && ev->cpu == 1 && ev->vector == 8);
    lapic_write(0, 0x3e0, 0xb); /* the timer: divide by 1 */
    lapic_write(0, 0x320, 0x50);
    lapic_write(0, 0x380, 1000000);
    ev = find(DEVICE_TIMER_SET, 0);
    CHECK(ev && ev->cpu == 0 && ev->id == id_of("lapic") && ev->value == 1000000);
    lapic_write(0, 0x380, 0);
    CHECK(find(DEVICE_TIMER_OFF, 0));
    board_down();
}

static void the_board_tells_of_itself(void)
{
    const struct exit_device *ev;
    uint8_t sector[512] = {7};
    struct mem mem = {.memfd = -1};
    struct err e = {0};
    uint64_t v = 0;

    if (mem_init(&mem, 1 << 20, &e) < 0)
        TEST_FAIL("%.200s", e.msg);
    if (!board_up_with(1, &mem, false))
        return;
    board_events = 0;
    machine_reset(&board);
    CHECK(find(DEVICE_RESET, 0) && !find(DEVICE_RESET, 1));
    board_events = 0;
    for (unsigned i = 0; i < 1000; i++) {
        bus_pio(&board, 0x80, 1, true, &v);
        bus_pio(&board, 0x61, 1, false, &v);
        bus_pio(&board, 0x64, 1, false, &v);
    }
    CHECK_EQ(board_events, 0);
    CHECK_EQ(machine_dma(machine_dev(&board, "pit"), 0x1000, NULL, sector, 512), 512);
    ev = find(DEVICE_DMA, 0);
    CHECK(ev && ev->write && ev->value == 0x1000 && ev->len == 512 && ev->id == id_of("pit"));
    CHECK(!memcmp(mem_ptr(&mem, 0x1000, 512), sector, 512));
    CHECK_EQ(machine_dma(machine_dev(&board, "pit"), 0x1000, sector + 1, NULL, 1), 1);
    ev = find(DEVICE_DMA, 1);
    CHECK(ev && !ev->write && ev->len == 1 && sector[1] == 7);
    CHECK_EQ(machine_dma(machine_dev(&board, "pit"), (1 << 20) - 2, NULL, sector, 512), 2);
    CHECK_EQ(machine_dma(machine_dev(&board, "pit"), 1ull << 40, sector, NULL, 1), 0);
    board_down();
    mem_fini(&mem);
}

static void every_event_has_words(void)
{
    struct buf text = {0};

    for (unsigned i = 0; exit_device_name(i); i++) {
        struct exit_device d = {
            .event = (uint16_t)i, .cpu = DEVICE_NO_CPU, .line = 4, .vector = 0x24};

        buf_clear(&text);
        exit_device_what(&d, "uart", &text);
        CHECK(text.len > 8 && !strstr(buf_str(&text), "event"));
    }
    CHECK(!exit_device_name(DEVICE_EVENTS));
    buf_clear(&text);
    exit_device_what(&(struct exit_device){.event = 999, .line = EXIT_NO_LINE}, NULL, &text);
    CHECK_STR(buf_str(&text), "event 999");
    buf_fini(&text);
}

static const struct test tests[] = {
    {"events: a timer tick is told from begin to end", a_timer_tick_is_told_from_begin_to_end},
    {"events: the second chip ends once", the_second_chip_ends_once},
    {"events: the APICs tell whose interrupt it is", the_apics_tell_whose_interrupt_it_is},
    {"events: the board tells of itself", the_board_tells_of_itself},
    {"events: every event has words", every_event_has_words},
};
TEST_MAIN(tests)
