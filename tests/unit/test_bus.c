/*
 * The bus, the device table, the debug and power ports, and hostile accesses everywhere.
 */
#include "tests/unit/board.h"

#include "vmm/base/clock.h"
#include "vmm/base/x.h"
#include "vmm/devices/power.h"

static void every_device_is_documented(void)
{
    for (unsigned i = 0; dev_table[i]; i++) {
        const struct dev_ops *o = dev_table[i];

        CHECK(o->name && o->name[0] && o->help && o->help[0]);
        CHECK(o->state_bytes && o->fields && o->fields[0].name && o->reset && o->reg_name);
        for (unsigned k = 0; k < i; k++)
            CHECK(strcmp(o->name, dev_table[k]->name));
        for (const struct field *f = o->fields; f->name; f++) {
            if (!f->help || !f->help[0])
                TEST_FAIL("%s: field %s has no help", o->name, f->name);
            if (f->size != 1 && f->size != 2 && f->size != 4 && f->size != 8)
                TEST_FAIL("%s: field %s has size %u", o->name, f->name, f->size);
            CHECK(f->count >= 1);
            CHECK(f->offset + (size_t)f->size * f->count <= o->state_bytes);
            for (const struct field *g = o->fields; g != f; g++)
                CHECK(strcmp(f->name, g->name));
        }
    }
}

static void every_device_describes_itself(void)
{
    struct buf b = {0};

    if (!board_up(2))
        return;
    for (unsigned i = 0; i < board.devs; i++) {
        const struct dev *d = &board.dev[i];

        buf_clear(&b);
        dev_describe(d, &b);
        for (const struct field *f = d->ops->fields; f->name; f++)
            if (f->min_cpus <= 2)
                CHECK_HAS(buf_str(&b), f->name);
        CHECK_EQ(b.data[b.len - 1], '\n');
    }
    dev_describe(machine_dev(&board, "lapic"), &b);
    CHECK_HAS(buf_str(&b), "cpu[1].svr");
    CHECK(!strstr(buf_str(&b), "cpu[2].svr"));
    buf_fini(&b);
    board_down();
}

static void claims_are_exclusive(void)
{
    struct err e = {0};
    struct dev *d;

    if (!board_up(1))
        return;
    d = machine_dev(&board, "com1");
    CHECK(d);
    CHECK(bus_claim_ports(&board.bus, d, 0x60, 1, &e) < 0);
    CHECK_HAS(e.msg, "0x60");
    CHECK(bus_claim_ports(&board.bus, d, 0xffff, 2, &e) < 0);
    CHECK_EQ(bus_claim_ports(&board.bus, d, 0xffff, 1, &e), 0);
    CHECK(bus_claim_range(&board.bus, d, 0xfec00ff0, 0x20, &e) < 0);
    CHECK(bus_claim_range(&board.bus, d, UINT64_MAX, 2, &e) < 0);
    CHECK(bus_claim_range(&board.bus, d, 0xd0000000, 0, &e) < 0);
    CHECK(!machine_dev(&board, "toaster"));
    CHECK(bus_port_dev(&board, 0x3f8) == d);
    CHECK(!bus_port_dev(&board, 0x3f7));
    board_down();
}

static void wide_accesses_split(void)
{
    uint64_t v = 0;

    if (!board_up(1))
        return;
    pics_up(1, 1);
    out_size(0x21, 2, 0x5aa5); /* 0x22 is nobody's */
    CHECK_EQ(in8(0x21), 0xa5);
    CHECK_EQ(in_size(0x21, 2), 0xffa5);
    CHECK(!bus_pio(&board, 0x5000, 4, false, &v));
    CHECK_EQ(v, 0xffffffff);
    CHECK(!bus_pio(&board, 0x5000, 4, true, &v));
    CHECK(!bus_pio(&board, 0xffff, 4, false, &v));
    CHECK(!bus_pio(&board, 0x20, 8, false, &v));
    /* A word to a register pair of an 8-bit chip reaches both. */
    out8(0x3fb, 0x80);
    out_size(0x3f8, 2, 0x0123);
    CHECK_EQ(in8(0x3f8), 0x23);
    CHECK_EQ(in8(0x3f9), 0x01);
    CHECK_EQ(in_size(0x3f8, 2), 0x0123);
    board_down();
}

static void mmio_is_cut_at_the_range(void)
{
    uint64_t v = 0, off = 9;

    if (!board_up(1))
        return;
    CHECK(!bus_mmio(&board, 0, 0xd0000000, 8, false, &v));
    CHECK_EQ(v, UINT64_MAX);
    CHECK(bus_mmio(&board, 0, 0xfee00030, 4, false, &v));
    CHECK_EQ(v, 0x50014);
    CHECK(bus_mmio(&board, 0, 0xfee00fff, 2, false, &v));
    CHECK_EQ(v, 0xff00);
    CHECK(bus_mmio(&board, 0, 0xfebfffff, 2, false, &v));
    CHECK_EQ(v, 0x00ff);
    CHECK(bus_mmio_dev(&board, 0xfec00010, &off) == machine_dev(&board, "ioapic"));
    CHECK_EQ(off, 0x10);
    CHECK(!bus_mmio(&board, 0, 0xfec00000, 9, false, &v));
    board_down();
}

static void debug_ports(void)
{
    const struct dev *d;

    if (!board_up(1))
        return;
    d = machine_dev(&board, "debugport");
    out8(0x80, 0x11);
    out8(0x80, 0x22);
    CHECK_EQ(in8(0x80), 0x22);
    CHECK_EQ(((const uint8_t *)d->state)[1], 0x11);
    CHECK_EQ(in8(0xe9), 0xe9);
    out8(0xe9, 'h');
    out8(0xe9, 'i');
    CHECK_STR(buf_str(&board_out[CONSOLE_DEBUG]), "hi");
    CHECK_EQ(board.wish, WISH_NONE);
    out_size(0xf4, 4, 0x12345678);
    CHECK_EQ(board.wish, WISH_DEBUG_EXIT);
    CHECK_EQ(board.wish_value, 0x12345678);
    out8(0xf4, 1); /* the first wish stands */
    CHECK_EQ(board.wish_value, 0x12345678);
    machine_reset(&board);
    CHECK_EQ(board.wish, WISH_NONE);
    CHECK_EQ(in8(0x80), 0);
    out_size(0xf4, 2, 0xbeef);
    CHECK_EQ(board.wish_value, 0xbeef);
    CHECK_STR(d->ops->reg_name(d, 0xf4, true), "debug exit");
    board_down();
}

static void power_and_reset(void)
{
    static const struct {
        uint16_t port;
        unsigned size;
        uint32_t value;
        enum board_wish wish;
    } t[] = {
        {0x604, 2, 0x2000, WISH_POWER_OFF},  {0xb004, 2, 0x2000, WISH_POWER_OFF},
        {0x4004, 2, 0x3400, WISH_POWER_OFF}, {0x604, 4, 0x2000, WISH_POWER_OFF},
        {0x604, 2, 0x2001, WISH_POWER_OFF},  {0x604, 1, 0x00, WISH_NONE},
        {0x4004, 2, 0x2000, WISH_NONE},      {0xcf9, 1, 0x06, WISH_RESET},
        {0xcf9, 1, 0x02, WISH_NONE},         {0x92, 1, 0x03, WISH_RESET},
        {0x92, 1, 0x02, WISH_NONE},          {0x64, 1, 0xfe, WISH_RESET},
        {0x64, 1, 0xff, WISH_NONE},
    };

    if (!board_up(1))
        return;
    for (unsigned i = 0; i < ARRAY_LEN(t); i++) {
        machine_reset(&board);
        out_size(t[i].port, t[i].size, t[i].value);
        if (board.wish != t[i].wish)
            TEST_FAIL("row %u: port 0x%x gave wish %d", i, t[i].port, (int)board.wish);
    }
    machine_reset(&board);
    CHECK_EQ(in8(0x92), 2);
    out8(0x92, 0);
    CHECK(!board.a20);
    CHECK_EQ(in8(0x92), 0);
    CHECK_EQ(in8(0xcf9), 0);
    board_down();
}

/* The registers that ACPI's tables tell of (vmm/acpi.c). */
static void power_management(void)
{
    if (!board_up(1))
        return;
    CHECK_EQ(in_size(POWER_PM1_CONTROL, 2), 1); /* in ACPI mode from the start */
    out_size(POWER_PM1_CONTROL, 2, 0x1c00);
    CHECK_EQ(in_size(POWER_PM1_CONTROL, 2), 0x1c01);
    CHECK_EQ(in8(POWER_PM1_CONTROL + 1), 0x1c);
    out_size(POWER_PM1_EVENT, 2, 0xffff);
    CHECK_EQ(in_size(POWER_PM1_EVENT, 2), 0);
    out_size(POWER_PM1_EVENT + 2, 2, 0x120);
    CHECK_EQ(in_size(POWER_PM1_EVENT, 4), 0x1200000);
    CHECK_EQ(in_size(POWER_PM_TIMER, 4), 0);
    door_advance(&board.door, 1000000000);
    CHECK_EQ(in_size(POWER_PM_TIMER, 4), POWER_PM_TIMER_HZ);
    door_advance(&board.door, 9000000000);
    CHECK_EQ(in_size(POWER_PM_TIMER, 4), 10ull * POWER_PM_TIMER_HZ & 0xffffff);
    CHECK_EQ(in8(POWER_PM_TIMER + 3), 0);
    board_down();
}

static void kernel_irqchip_leaves_chips_out(void)
{
    if (!board_up_with(1, NULL, true))
        return;
    CHECK(!machine_dev(&board, "pic"));
    CHECK(!machine_dev(&board, "lapic"));
    CHECK(!machine_dev(&board, "ioapic"));
    CHECK(!machine_dev(&board, "pit"));
    irq_set(&board, 4, true);
    CHECK(board_gsi[4]);
    irq_pulse(&board, 4);
    CHECK(!board_gsi[4]);
    CHECK_EQ(intr_vector(&board, 0), UINT64_MAX);
    CHECK_EQ(intr_ack(&board, 0), UINT64_MAX);
    out8(0x3f9, 2);
    out8(0x3fc, 8);
    CHECK(board_gsi[4]);
    board_down();
}

static void gsi_edges_are_counted(void)
{
    if (!board_up(1))
        return;
    irq_set(&board, 5, true);
    irq_set(&board, 5, true);
    irq_pulse(&board, 5);
    irq_pulse(&board, 5);
    CHECK_EQ(board.gsi_raised[5], 2);
    irq_set(&board, 99, true);
    board_down();
}

static void bad_machines_are_refused(void)
{
    struct err e = {0};

    CHECK(machine_init(&board, 0, NULL, false, true, NULL, &e) < 0);
    CHECK(machine_init(&board, 17, NULL, false, true, NULL, &e) < 0);
    CHECK_HAS(e.msg, "17");
    machine_fini(&board);
}

static void any_access_is_harmless(void)
{
    static const unsigned sizes[] = {1, 2, 4};
    struct buf text = {0};
    uint64_t x = 42;

    if (!board_up(3))
        return;
    for (unsigned i = 0; i < 200000; i++) {
        uint64_t r, v;
        unsigned kind;

        x = x * 6364136223846793005u + 1442695040888963407u;
        r = x >> 20;
        v = x ^ x >> 32;
        kind = (unsigned)(x >> 60);
        if (kind < 6) /* mostly ports that somebody has */
            bus_pio(&board, (uint16_t)(r & 0x3ff), sizes[r >> 16 & 3 ? r >> 18 & 1 : 2],
                    r >> 24 & 1, &v);
        else if (kind < 8)
            bus_pio(&board, (uint16_t)r, sizes[r >> 16 & 1], r >> 24 & 1, &v);
        else if (kind < 11)
            bus_mmio(&board, r >> 16 & 3, 0xfee00000 + (r & (r >> 30 & 1 ? 0x3f0 : 0xfff)),
                     1 + (r >> 20 & 7), r >> 24 & 1, &v);
        else if (kind < 13)
            bus_mmio(&board, r & 3, 0xfec00000 + (r >> 30 & 1 ? r & 0x10 : r & 0xfff),
                     1 + (r >> 20 & 7), r >> 24 & 1, &v);
        else if (kind == 13)
            irq_set(&board, r & 31, r >> 8 & 1);
        else if (kind == 14)
            intr_ack(&board, r & 3);
        else
            advance(r & 0xfffff);
        if (i % 1000 == 0) {
            uint8_t key = (uint8_t)v;

            door_push(&board.door, i / 1000 % DOOR_INPUTS, &key, 1);
            buf_clear(&text);
            for (unsigned k = 0; k < board.devs; k++) {
                dev_describe(&board.dev[k], &text);
                board.dev[k].ops->reg_name(&board.dev[k], r & 0xffff, r >> 24 & 1);
            }
            for (unsigned c = 0; c < CONSOLE_CHANS; c++)
                buf_clear(&board_out[c]);
        }
        if (i % 50000 == 49999)
            machine_reset(&board);
    }
    for (unsigned p = 0; p < BUS_PORTS; p++)
        for (unsigned k = 0; k < 3; k++)
            in_size((uint16_t)p, sizes[k]);
    for (unsigned off = 0; off < 0x1000; off++)
        for (unsigned size = 1; size <= 8; size++) {
            uint64_t v = UINT64_MAX;

            bus_mmio(&board, off % 3, 0xfee00000 + off, size, off & 1, &v);
            bus_mmio(&board, off % 3, 0xfec00000 + off, size, off & 1, &v);
        }
    advance(3000 * MS); /* whatever timers were left running: bounded work */
    buf_fini(&text);
    board_down();
}

/* A live door whose time runs slower than the host's: what alarms wait for is host time. */
static void slow_clock(void)
{
    struct door d;
    uint64_t before, after;

    door_init(&d, false);
    d.slow = 1000;
    door_run(&d);
    d.base_ns = 5000;
    CHECK_EQ(door_host_time(&d, 5000), 1);
    CHECK_EQ(door_host_time(&d, 4999), 1);
    CHECK_EQ(door_host_time(&d, 5003), d.host_at_ns + 3000);
    CHECK_EQ(door_host_time(&d, DOOR_NEVER), DOOR_NEVER);
    before = clock_ns();
    while ((after = clock_ns()) < before + 3000000)
        ;
    CHECK(door_now(&d) >= 8000);
    CHECK(door_now(&d) <= 5000 + (clock_ns() - d.host_at_ns) / 1000);
    after = door_now(&d);
    door_pause(&d);
    CHECK(d.base_ns >= after && door_now(&d) == d.base_ns);
    door_fini(&d);
}

static const struct test tests[] = {
    {"slow clock", slow_clock},
    {"every device is documented", every_device_is_documented},
    {"every device describes itself", every_device_describes_itself},
    {"claims are exclusive", claims_are_exclusive},
    {"wide accesses split", wide_accesses_split},
    {"mmio is cut at the range", mmio_is_cut_at_the_range},
    {"debug ports", debug_ports},
    {"power and reset", power_and_reset},
    {"power management", power_management},
    {"kernel irqchip leaves chips out", kernel_irqchip_leaves_chips_out},
    {"gsi edges are counted", gsi_edges_are_counted},
    {"bad machines are refused", bad_machines_are_refused},
    {"any access is harmless", any_access_is_harmless},
};
TEST_MAIN(tests)
