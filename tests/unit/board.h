/*
 * A machine without vCPUs for device tests: accesses go through the bus, time moves by hand, and
 * what devices say to the outside is collected.
 */
#ifndef TESTS_UNIT_BOARD_H
#define TESTS_UNIT_BOARD_H

#include "tests/test.h"

#include "vmm/base/buf.h"
#include "vmm/base/x.h"
#include "vmm/machine.h"

#define MS 1000000ull
#define US 1000ull

static struct machine board;
static struct buf board_out[CONSOLE_CHANS];
static unsigned board_kicks[MACHINE_CPUS_MAX];
static bool board_gsi[MACHINE_GSIS];
static struct exit_device board_event[64];
static unsigned board_events; /* of these; more are counted only */

static inline void board_console(void *arg, enum console_chan chan, const void *bytes, size_t len)
{
    (void)arg;
    buf_add(&board_out[chan], bytes, len);
}

static inline void board_kick(void *arg, unsigned cpu)
{
    (void)arg;
    board_kicks[cpu]++;
}

static inline void board_set_gsi(void *arg, unsigned gsi, bool level)
{
    (void)arg;
    board_gsi[gsi] = level;
}

static inline void board_on_event(void *arg, const struct exit_device *what)
{
    (void)arg;
    if (board_events < ARRAY_LEN(board_event))
        board_event[board_events] = *what;
    board_events++;
}

static inline bool board_up_with(unsigned cpus, struct mem *mem, bool irqchip_kernel)
{
    struct machine_hooks hooks = {
        .console = board_console,
        .kick = board_kick,
        .event = board_on_event,
        .gsi = board_set_gsi,
    };
    struct err e = {0};

    memset(board_kicks, 0, sizeof board_kicks);
    memset(board_gsi, 0, sizeof board_gsi);
    for (unsigned i = 0; i < CONSOLE_CHANS; i++)
        buf_clear(&board_out[i]);
    if (machine_init(&board, cpus, mem, irqchip_kernel, true, &hooks, &e) == 0)
        return true;
    test_fail(__FILE__, __LINE__, "machine_init: %s", e.msg);
    return false;
}

static inline bool board_up(unsigned cpus)
{
    return board_up_with(cpus, NULL, false);
}

static inline void board_down(void)
{
    machine_fini(&board);
    for (unsigned i = 0; i < CONSOLE_CHANS; i++)
        buf_fini(&board_out[i]);
}

static inline uint64_t in_size(uint16_t port, unsigned size)
{
    uint64_t v = 0;

    bus_pio(&board, port, size, false, &v);
    return v;
}

static inline uint64_t in8(uint16_t port)
{
    return in_size(port, 1);
}

static inline void out_size(uint16_t port, unsigned size, uint64_t v)
{
    bus_pio(&board, port, size, true, &v);
}

static inline void out8(uint16_t port, uint8_t v)
{
    out_size(port, 1, v);
}

static inline uint32_t mmio_get(unsigned cpu, uint64_t gpa)
{
    uint64_t v = 0;

    bus_mmio(&board, cpu, gpa, 4, false, &v);
    return (uint32_t)v;
}

static inline void mmio_put(unsigned cpu, uint64_t gpa, uint32_t v)
{
    uint64_t v64 = v;

    bus_mmio(&board, cpu, gpa, 4, true, &v64);
}

static inline void advance(uint64_t ns)
{
    door_advance(&board.door, ns);
}

/* A short pulse, as on an edge-triggered line. */
static inline void irq_pulse(struct machine *m, unsigned gsi)
{
    irq_set(m, gsi, true);
    irq_set(m, gsi, false);
}

static inline unsigned attention(unsigned cpu)
{
    return atomic_load(&board.cpu[cpu].attention);
}

/* Both 8259s as every PC kernel sets them: vectors 0x20 and 0x28, nothing masked. */
static inline void pics_up(uint8_t icw4_master, uint8_t icw4_slave)
{
    out8(0x20, 0x11);
    out8(0x21, 0x20);
    out8(0x21, 0x04);
    out8(0x21, icw4_master);
    out8(0xa0, 0x11);
    out8(0xa1, 0x28);
    out8(0xa1, 0x02);
    out8(0xa1, icw4_slave);
    out8(0x21, 0);
    out8(0xa1, 0);
}

#endif
