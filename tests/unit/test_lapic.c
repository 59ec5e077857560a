/*
 * Local APICs and the I/O APIC: registers, priorities, IPIs, timer, and the way from a pin to a
 * vCPU.
 */
#include "tests/unit/board.h"

#include "vmm/base/x.h"
#include "vmm/devices/ioapic.h"
#include "vmm/devices/lapic.h"

#define L(reg) (LAPIC_BASE + (reg))

static uint32_t get(unsigned cpu, unsigned reg)
{
    return mmio_get(cpu, L(reg));
}

static void put(unsigned cpu, unsigned reg, uint32_t v)
{
    mmio_put(cpu, L(reg), v);
}

static void enable(unsigned cpu)
{
    put(cpu, 0xf0, 0x1ff);
}

static void io_put(unsigned reg, uint32_t v)
{
    mmio_put(0, IOAPIC_BASE, reg);
    mmio_put(0, IOAPIC_BASE + 0x10, v);
}

static uint32_t io_get(unsigned reg)
{
    mmio_put(0, IOAPIC_BASE, reg);
    return mmio_get(0, IOAPIC_BASE + 0x10);
}

static void redirect(unsigned pin, uint32_t low, uint8_t dest)
{
    io_put(0x11 + 2 * pin, (uint32_t)dest << 24);
    io_put(0x10 + 2 * pin, low);
}

static unsigned taken(unsigned cpu)
{
    return (unsigned)intr_ack(&board, cpu);
}

#define NONE ((unsigned)-1)

static void registers_after_reset(void)
{
    if (!board_up(3))
        return;
    CHECK_EQ(get(0, 0x20), 0);
    CHECK_EQ(get(2, 0x20), 0x02000000);
    CHECK_EQ(get(0, 0x30), 0x00050014);
    CHECK_EQ(get(0, 0xf0), 0xff);
    CHECK_EQ(get(0, 0xe0), 0xffffffff);
    CHECK_EQ(get(0, 0x320), 0x10000);
    CHECK_EQ(get(0, 0x350), 0x700);   /* virtual wire on the boot processor */
    CHECK_EQ(get(1, 0x350), 0x10000); /* and there alone */
    CHECK_EQ(get(0, 0x360), 0x400);
    CHECK_EQ(get(0, 0x390), 0);
    CHECK_EQ(get(0, 0x300), 0);
    /* Only aligned 32-bit accesses count. */
    {
        uint64_t v = 0x40;

        bus_mmio(&board, 0, L(0x80), 1, true, &v);
        CHECK_EQ(get(0, 0x80), 0);
        bus_mmio(&board, 0, L(0x84), 4, true, &v);
        CHECK_EQ(get(0, 0x80), 0);
    }
    CHECK_EQ(get(9, 0x20), 0); /* no such vCPU */
    board_down();
}

static void priorities_and_eoi(void)
{
    if (!board_up(1))
        return;
    CHECK(!lapic_message(&board, 0, false, 0, 0x41, false)); /* software-disabled */
    enable(0);
    CHECK(lapic_message(&board, 0, false, 0, 0x41, false));
    CHECK_EQ(attention(0), CPU_ATTN_INTR);
    CHECK_EQ(get(0, 0x220), 0x00000002);
    CHECK_EQ(intr_vector(&board, 0), 0x41);
    CHECK_EQ(taken(0), 0x41);
    CHECK_EQ(get(0, 0x220), 0);
    CHECK_EQ(get(0, 0x120), 0x00000002);
    CHECK_EQ(get(0, 0xa0), 0x40); /* PPR */
    lapic_message(&board, 0, false, 0, 0x4f, false);
    CHECK_EQ(intr_vector(&board, 0), -1); /* the same class waits */
    lapic_message(&board, 0, false, 0, 0x51, false);
    CHECK_EQ(taken(0), 0x51);
    put(0, 0xb0, 0);
    CHECK_EQ(get(0, 0x120), 0x00000002);
    CHECK_EQ(intr_vector(&board, 0), -1);
    put(0, 0xb0, 0);
    CHECK_EQ(taken(0), 0x4f);
    put(0, 0xb0, 0);
    put(0, 0xb0, 0); /* nothing in service: harmless */
    CHECK_EQ(get(0, 0xa0), 0);
    board_down();
}

static void task_priority_blocks(void)
{
    if (!board_up(1))
        return;
    enable(0);
    put(0, 0x80, 0x50);
    lapic_message(&board, 0, false, 0, 0x5f, false);
    CHECK_EQ(intr_vector(&board, 0), -1);
    CHECK_EQ(lapic_cr8(&board, 0), 5);
    atomic_store(&board.cpu[0].attention, 0);
    lapic_set_cr8(&board, 0, 4);
    CHECK_EQ(attention(0), CPU_ATTN_INTR);
    CHECK_EQ(get(0, 0x80), 0x40);
    CHECK_EQ(intr_vector(&board, 0), 0x5f);
    board_down();
}

static void destinations(void)
{
    if (!board_up(4))
        return;
    for (unsigned i = 0; i < 4; i++) {
        enable(i);
        put(i, 0xd0, 1u << (24 + i));
    }
    lapic_message(&board, 0x0a, true, 0, 0x60, false); /* logical flat: 1 and 3 */
    CHECK_EQ(taken(0), NONE);
    CHECK_EQ(taken(1), 0x60);
    CHECK_EQ(taken(2), NONE);
    CHECK_EQ(taken(3), 0x60);
    CHECK(!lapic_message(&board, 9, false, 0, 0x61, false)); /* nobody has this ID */
    lapic_message(&board, 0xff, false, 0, 0x70, false);
    for (unsigned i = 0; i < 4; i++)
        CHECK_EQ(taken(i), 0x70);
    for (unsigned i = 0; i < 4; i++) { /* cluster model: clusters 0 and 1, two members each */
        put(i, 0xe0, 0x0fffffff);
        put(i, 0xd0, (i / 2 << 28) | (1u << (24 + i % 2)));
    }
    CHECK_EQ(get(0, 0xe0), 0x0fffffff);
    lapic_message(&board, 0x12, true, 0, 0x80, false);
    CHECK_EQ(taken(1), NONE);
    CHECK_EQ(taken(2), NONE);
    CHECK_EQ(taken(3), 0x80);
    board_down();
}

static void lowest_priority_goes_round(void)
{
    if (!board_up(3))
        return;
    for (unsigned i = 0; i < 3; i++)
        enable(i);
    put(1, 0x80, 0x20);
    lapic_message(&board, 0xff, false, 1, 0x40, false);
    lapic_message(&board, 0xff, false, 1, 0x41, false);
    CHECK_EQ(taken(0), 0x40);
    CHECK_EQ(taken(1), NONE);
    CHECK_EQ(taken(2), 0x41);
    board_down();
}

static void ipis(void)
{
    if (!board_up(3))
        return;
    for (unsigned i = 0; i < 3; i++)
        enable(i);
    put(0, 0x310, 2u << 24);
    put(0, 0x300, 0x4031);
    CHECK_EQ(taken(2), 0x31);
    CHECK_EQ(get(0, 0x310), 2u << 24);
    CHECK_EQ(get(0, 0x300), 0x4031); /* delivery status idle */
    put(1, 0x300, 0x40033);          /* self */
    CHECK_EQ(taken(1), 0x33);
    put(1, 0x300, 0x80055); /* all */
    put(1, 0x300, 0xc0066); /* all but self */
    CHECK_EQ(taken(0), 0x66);
    CHECK_EQ(taken(1), 0x55);
    CHECK_EQ(taken(2), 0x66);
    put(0, 0x300, 0xc0400); /* NMI to the others */
    CHECK(!(attention(0) & CPU_ATTN_NMI));
    CHECK(attention(1) & attention(2) & CPU_ATTN_NMI);
    board_down();
}

static void init_and_startup(void)
{
    if (!board_up(2))
        return;
    enable(0);
    put(0, 0x310, 1u << 24);
    put(0, 0x300, 0x4608); /* a start-up message that INIT makes void */
    CHECK_EQ(board.cpu[1].sipi_vector, 8);
    put(0, 0x300, 0xc500); /* INIT, level assert */
    CHECK_EQ(board.cpu[1].sipi_vector, -1);
    CHECK_EQ(attention(1), CPU_ATTN_INIT);
    CHECK_EQ(board_kicks[1], 2);
    atomic_store(&board.cpu[1].attention, 0);
    put(0, 0x300, 0x8500); /* INIT, level de-assert: nothing */
    CHECK_EQ(attention(1), 0);
    put(0, 0x300, 0x4699);
    CHECK_EQ(attention(1), CPU_ATTN_SIPI);
    CHECK_EQ(board.cpu[1].sipi_vector, 0x99);
    put(0, 0x300, 0xcc500); /* to all but self */
    CHECK(!(attention(0) & CPU_ATTN_INIT));
    CHECK(attention(1) & CPU_ATTN_INIT);
    /* What the vCPU does with it. */
    enable(1);
    put(1, 0x80, 0x77);
    lapic_init_cpu(&board, 1);
    CHECK_EQ(get(1, 0x80), 0);
    CHECK_EQ(get(1, 0xf0), 0xff);
    CHECK_EQ(get(1, 0x20), 0x01000000);
    board_down();
}

static void errors(void)
{
    if (!board_up(1))
        return;
    enable(0);
    put(0, 0x370, 0xfe); /* error vector */
    put(0, 0x300, 0x40005);
    CHECK_EQ(get(0, 0x280), 0); /* latched by a write only */
    put(0, 0x280, 0);
    CHECK_EQ(get(0, 0x280), 0x20);
    CHECK_EQ(taken(0), 0xfe);
    put(0, 0xb0, 0);
    lapic_message(&board, 0, false, 0, 3, false);
    get(0, 0x3f0); /* no such register */
    put(0, 0x280, 0);
    CHECK_EQ(get(0, 0x280), 0xc0);
    put(0, 0x310, 9u << 24); /* a message to nobody is none */
    put(0, 0x300, 0x4040);
    put(0, 0x280, 0);
    CHECK_EQ(get(0, 0x280), 0);
    board_down();
}

static void timer_one_shot(void)
{
    if (!board_up(1))
        return;
    enable(0);
    put(0, 0x3e0, 0xb); /* divide by 1: a count is a nanosecond */
    put(0, 0x320, 0x40);
    put(0, 0x380, 1000000);
    CHECK_EQ(get(0, 0x390), 1000000);
    advance(999999);
    CHECK_EQ(get(0, 0x390), 1);
    CHECK_EQ(intr_vector(&board, 0), -1);
    advance(1);
    CHECK_EQ(get(0, 0x390), 0);
    CHECK_EQ(taken(0), 0x40);
    put(0, 0xb0, 0);
    advance(10 * MS);
    CHECK_EQ(intr_vector(&board, 0), -1);
    put(0, 0x380, 500);
    put(0, 0x380, 0); /* stopped */
    advance(MS);
    CHECK_EQ(intr_vector(&board, 0), -1);
    board_down();
}

static void timer_periodic(void)
{
    struct buf b = {0};

    if (!board_up(1))
        return;
    enable(0);
    put(0, 0x3e0, 0x3); /* divide by 16 */
    put(0, 0x320, 0x20041);
    put(0, 0x380, 62500); /* 1 ms */
    for (unsigned i = 0; i < 20; i++) {
        advance(MS - 1);
        CHECK_EQ(intr_vector(&board, 0), -1);
        advance(1);
        CHECK_EQ(taken(0), 0x41);
        put(0, 0xb0, 0);
    }
    CHECK_EQ(get(0, 0x390), 62500);
    advance(16 * 100);
    CHECK_EQ(get(0, 0x390), 62400);
    put(0, 0x320, 0x30041); /* masked: it runs on without interrupts */
    advance(5 * MS);
    CHECK_EQ(intr_vector(&board, 0), -1);
    CHECK_EQ(get(0, 0x390), 62400);
    put(0, 0x320, 0x20041);
    /* A late host gets one interrupt and a count of the rest. */
    board.door.base_ns += 10 * MS;
    door_run_alarms(&board.door);
    CHECK_EQ(taken(0), 0x41);
    put(0, 0xb0, 0);
    CHECK_EQ(intr_vector(&board, 0), -1);
    machine_dev(&board, "lapic")->ops->describe(machine_dev(&board, "lapic"), &b);
    CHECK_HAS(buf_str(&b), "timer: periodic, vector 0x41, divide by 16");
    CHECK_HAS(buf_str(&b), "21 given, 9 missed");
    buf_fini(&b);
    put(0, 0x380, 1); /* 16 ns a turn: bounded work */
    advance(100 * MS);
    board_down();
}

static void software_disable_masks(void)
{
    if (!board_up(1))
        return;
    enable(0);
    put(0, 0x320, 0x40);
    put(0, 0xf0, 0xff);
    CHECK_EQ(get(0, 0x320), 0x10040);
    put(0, 0x320, 0x40);
    CHECK_EQ(get(0, 0x320), 0x10040);
    enable(0);
    put(0, 0x320, 0x40);
    CHECK_EQ(get(0, 0x320), 0x40);
    board_down();
}

static void virtual_wire(void)
{
    if (!board_up(2))
        return;
    pics_up(1, 1);
    irq_pulse(&board, 3);
    CHECK_EQ(intr_vector(&board, 0), 0x23); /* disabled APIC: straight through */
    CHECK_EQ(intr_vector(&board, 1), -1);
    enable(0);
    CHECK_EQ(intr_vector(&board, 0), 0x23); /* LINT0 is ExtINT */
    put(0, 0x350, 0x10700);
    CHECK_EQ(intr_vector(&board, 0), -1);
    CHECK_EQ(intr_ack(&board, 0), -1);
    atomic_store(&board.cpu[0].attention, 0);
    put(0, 0x350, 0x700);
    CHECK_EQ(attention(0), CPU_ATTN_INTR);
    CHECK_EQ(taken(0), 0x23);
    out8(0x20, 0x20);
    put(0, 0x350, 0x400); /* as NMI: an old watchdog's trick */
    irq_pulse(&board, 4);
    CHECK(attention(0) & CPU_ATTN_NMI);
    CHECK_EQ(intr_vector(&board, 0), -1);
    board_down();
}

static void ioapic_registers(void)
{
    if (!board_up(1))
        return;
    CHECK_EQ(io_get(1), 0x00170011);
    CHECK_EQ(io_get(0x10), 0x00010000);
    CHECK_EQ(io_get(0x3f), 0);
    CHECK_EQ(io_get(0x40), 0);
    io_put(0, 0xffffffff);
    CHECK_EQ(io_get(0), 0x0f000000);
    CHECK_EQ(io_get(2), 0x0f000000);
    io_put(1, 0);
    CHECK_EQ(io_get(1), 0x00170011);
    io_put(0x12, 0xffffffff);
    CHECK_EQ(io_get(0x12), 0x0001afff); /* status and remote IRR are read-only */
    io_put(0x13, 0xffffffff);
    CHECK_EQ(io_get(0x13), 0xff000000);
    CHECK_EQ(mmio_get(0, IOAPIC_BASE), 0x13);
    board_down();
}

static void ioapic_edges(void)
{
    if (!board_up(2))
        return;
    enable(0);
    enable(1);
    redirect(4, 0x44, 1);
    irq_set(&board, 4, true);
    CHECK_EQ(taken(1), 0x44);
    CHECK_EQ(taken(0), NONE);
    put(1, 0xb0, 0);
    CHECK_EQ(taken(1), NONE);
    redirect(4, 0x10044, 1);
    irq_set(&board, 4, false);
    irq_set(&board, 4, true); /* masked: lost */
    redirect(4, 0x44, 1);
    CHECK_EQ(taken(1), NONE);
    redirect(2, 0x50, 0); /* the timer's line arrives at pin 2 */
    out8(0x43, 0x34);
    out8(0x40, 0);
    out8(0x40, 0x10);
    advance(4 * MS);
    CHECK_EQ(taken(0), 0x50);
    redirect(20, 0x500 << 0, 1); /* INIT as a message */
    irq_pulse(&board, 20);
    CHECK(attention(1) & CPU_ATTN_INIT);
    board_down();
}

static void ioapic_levels(void)
{
    if (!board_up(1))
        return;
    redirect(17, 0x8059, 0);
    irq_set(&board, 17, true);
    CHECK_EQ(io_get(0x32), 0x8059); /* no local APIC took it */
    enable(0);                      /* now one does */
    CHECK_EQ(io_get(0x32), 0xc059);
    CHECK_EQ(get(0, 0x1a0), 1u << 25); /* TMR */
    CHECK_EQ(taken(0), 0x59);
    put(0, 0xb0, 0);
    CHECK_EQ(taken(0), 0x59); /* still asserted */
    irq_set(&board, 17, false);
    put(0, 0xb0, 0);
    CHECK_EQ(io_get(0x32), 0x8059);
    CHECK_EQ(taken(0), NONE);
    irq_set(&board, 17, true);
    CHECK_EQ(io_get(0x32), 0xc059);
    io_put(0x32, 0x10059); /* made an edge: remote IRR goes */
    CHECK_EQ(io_get(0x32), 0x10059);
    board_down();
}

static void ioapic_extint(void)
{
    if (!board_up(2))
        return;
    pics_up(1, 1);
    enable(0);
    enable(1);
    put(0, 0x350, 0x10000);
    redirect(0, 0x700, 1); /* the 8259s through pin 0, to vCPU 1 */
    irq_pulse(&board, 6);
    CHECK_EQ(intr_vector(&board, 0), -1);
    CHECK_EQ(taken(1), 0x26);
    CHECK_EQ(intr_vector(&board, 1), -1);
    board_down();
}

static void names_for_traces(void)
{
    const struct dev *d;

    if (!board_up(1))
        return;
    d = machine_dev(&board, "lapic");
    CHECK_STR(d->ops->reg_name(d, 0xb0, true), "LAPIC EOI");
    CHECK_STR(d->ops->reg_name(d, 0x230, false), "LAPIC IRR");
    CHECK(!d->ops->reg_name(d, 0x3f0, false));
    d = machine_dev(&board, "ioapic");
    mmio_put(0, IOAPIC_BASE, 0x11);
    CHECK_STR(d->ops->reg_name(d, 0x10, true), "IOAPIC redirection, high half");
    board_down();
}

static const struct test tests[] = {
    {"registers after reset", registers_after_reset},
    {"priorities and eoi", priorities_and_eoi},
    {"task priority blocks", task_priority_blocks},
    {"destinations", destinations},
    {"lowest priority goes round", lowest_priority_goes_round},
    {"ipis", ipis},
    {"init and startup", init_and_startup},
    {"errors", errors},
    {"timer one-shot", timer_one_shot},
    {"timer periodic", timer_periodic},
    {"software disable masks", software_disable_masks},
    {"virtual wire", virtual_wire},
    {"ioapic registers", ioapic_registers},
    {"ioapic edges", ioapic_edges},
    {"ioapic levels", ioapic_levels},
    {"ioapic extint", ioapic_extint},
    {"names for traces", names_for_traces},
};
TEST_MAIN(tests)
