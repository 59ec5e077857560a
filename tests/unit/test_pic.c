/*
 * The 8259As alone and behind the vCPU's view of interrupts.
 */
#include "tests/unit/board.h"

#include "vmm/base/x.h"
#include "vmm/devices/pic.h"

static uint8_t isr_of(uint16_t port)
{
    out8(port, 0x0b);
    return (uint8_t)in8(port);
}

static uint8_t irr_of(uint16_t port)
{
    out8(port, 0x0a);
    return (uint8_t)in8(port);
}

static void silent_until_initialised(void)
{
    if (!board_up(1))
        return;
    irq_set(&board, 1, true);
    CHECK(!pic_output(&board));
    CHECK_EQ(intr_vector(&board, 0), -1);
    out8(0x20, 0x11);
    out8(0x21, 0x20);
    out8(0x21, 0x04);
    CHECK(!pic_output(&board));
    out8(0x21, 0x01);
    /* ICW1 reset the edge sense: the line must rise anew. */
    CHECK(!pic_output(&board));
    irq_set(&board, 1, false);
    irq_set(&board, 1, true);
    CHECK(pic_output(&board));
    CHECK_EQ(intr_vector(&board, 0), 0x21);
    board_down();
}

static void an_edge_is_served_once(void)
{
    if (!board_up(1))
        return;
    pics_up(1, 1);
    irq_set(&board, 4, true);
    CHECK_EQ(attention(0), CPU_ATTN_INTR);
    CHECK(board_kicks[0] >= 1);
    CHECK_EQ(irr_of(0x20), 0x10);
    CHECK_EQ(intr_vector(&board, 0), 0x24);
    CHECK_EQ(intr_vector(&board, 0), 0x24); /* asking changes nothing */
    CHECK_EQ(intr_ack(&board, 0), 0x24);
    CHECK_EQ(irr_of(0x20), 0);
    CHECK_EQ(isr_of(0x20), 0x10);
    CHECK_EQ(intr_vector(&board, 0), -1);
    CHECK_EQ(intr_ack(&board, 0), -1);
    out8(0x20, 0x20);
    CHECK_EQ(isr_of(0x20), 0);
    CHECK_EQ(intr_vector(&board, 0), -1); /* the line is still high: no new edge */
    irq_pulse(&board, 5);
    CHECK_EQ(intr_ack(&board, 0), 0x25);
    board_down();
}

static void priorities_nest(void)
{
    if (!board_up(1))
        return;
    pics_up(1, 1);
    irq_pulse(&board, 7);
    irq_pulse(&board, 3);
    CHECK_EQ(intr_ack(&board, 0), 0x23);
    CHECK_EQ(intr_vector(&board, 0), -1); /* 7 waits for 3 */
    irq_pulse(&board, 1);
    CHECK_EQ(intr_ack(&board, 0), 0x21); /* 1 interrupts 3 */
    CHECK_EQ(isr_of(0x20), 0x0a);
    out8(0x20, 0x20); /* non-specific: ends the most urgent, 1 */
    CHECK_EQ(isr_of(0x20), 0x08);
    out8(0x20, 0x60 | 3); /* specific */
    CHECK_EQ(isr_of(0x20), 0);
    CHECK_EQ(intr_ack(&board, 0), 0x27);
    board_down();
}

static void masks_hold_requests(void)
{
    if (!board_up(1))
        return;
    pics_up(1, 1);
    out8(0x21, 0xff);
    irq_pulse(&board, 6);
    CHECK_EQ(in8(0x21), 0xff);
    CHECK_EQ(irr_of(0x20), 0x40);
    CHECK_EQ(intr_vector(&board, 0), -1);
    atomic_store(&board.cpu[0].attention, 0);
    out8(0x21, 0xbf);
    CHECK_EQ(attention(0), CPU_ATTN_INTR);
    CHECK_EQ(intr_vector(&board, 0), 0x26);
    board_down();
}

static void slave_through_the_cascade(void)
{
    if (!board_up(1))
        return;
    pics_up(1, 1);
    irq_pulse(&board, 12);
    irq_pulse(&board, 8);
    CHECK_EQ(intr_vector(&board, 0), 0x28);
    CHECK_EQ(intr_ack(&board, 0), 0x28);
    CHECK_EQ(isr_of(0x20), 0x04);
    CHECK_EQ(isr_of(0xa0), 0x01);
    out8(0xa0, 0x20);
    CHECK_EQ(intr_vector(&board, 0), -1); /* the master still serves the cascade */
    out8(0x20, 0x20);
    CHECK_EQ(intr_ack(&board, 0), 0x2c);
    irq_set(&board, 2, true); /* the cascade input is no device's */
    CHECK_EQ(irr_of(0x20), 0);
    board_down();
}

static void special_fully_nested(void)
{
    if (!board_up(1))
        return;
    pics_up(0x11, 1); /* the master lets a more urgent slave input through */
    irq_pulse(&board, 12);
    CHECK_EQ(intr_ack(&board, 0), 0x2c);
    irq_pulse(&board, 8);
    CHECK_EQ(intr_ack(&board, 0), 0x28);
    CHECK_EQ(isr_of(0xa0), 0x11);
    irq_pulse(&board, 3);
    CHECK_EQ(intr_vector(&board, 0), -1);
    board_down();
}

static void spurious_7_and_15(void)
{
    if (!board_up(1))
        return;
    pics_up(1, 1);
    CHECK_EQ(pic_inta(&board), 0x27); /* INTA with no request */
    CHECK_EQ(isr_of(0x20), 0);
    /* A slave's request goes away after the master has latched it. */
    out8(0x4d1, 0x02);
    irq_set(&board, 9, true);
    irq_set(&board, 9, false);
    CHECK_EQ(intr_vector(&board, 0), 0x2f);
    CHECK_EQ(intr_ack(&board, 0), 0x2f);
    CHECK_EQ(isr_of(0xa0), 0);
    CHECK_EQ(isr_of(0x20), 0x04); /* the master is owed an EOI */
    board_down();
}

static void level_lines_repeat(void)
{
    if (!board_up(1))
        return;
    pics_up(1, 1);
    out8(0x4d0, 0xff);
    out8(0x4d1, 0xff);
    CHECK_EQ(in8(0x4d0), 0xf8); /* timer, keyboard, cascade stay edges */
    CHECK_EQ(in8(0x4d1), 0xde);
    irq_set(&board, 5, true);
    CHECK_EQ(intr_ack(&board, 0), 0x25);
    CHECK_EQ(intr_vector(&board, 0), -1);
    out8(0x20, 0x20);
    CHECK_EQ(intr_ack(&board, 0), 0x25); /* still asserted */
    irq_set(&board, 5, false);
    out8(0x20, 0x20);
    CHECK_EQ(intr_vector(&board, 0), -1);
    irq_set(&board, 5, true);
    irq_set(&board, 5, false);
    CHECK_EQ(intr_vector(&board, 0), -1); /* nothing is latched */
    board_down();
}

static void automatic_eoi_and_rotation(void)
{
    if (!board_up(1))
        return;
    pics_up(3, 1);
    irq_pulse(&board, 3);
    CHECK_EQ(intr_ack(&board, 0), 0x23);
    CHECK_EQ(isr_of(0x20), 0);
    out8(0x20, 0x80); /* rotate in automatic EOI */
    irq_pulse(&board, 3);
    CHECK_EQ(intr_ack(&board, 0), 0x23);
    irq_pulse(&board, 3);
    irq_pulse(&board, 6);
    CHECK_EQ(intr_ack(&board, 0), 0x26); /* 3 is now the lowest */
    CHECK_EQ(intr_ack(&board, 0), 0x23);
    board_down();
}

static void rotation_commands(void)
{
    if (!board_up(1))
        return;
    pics_up(1, 1);
    out8(0x20, 0xc0 | 4); /* set priority: 4 lowest, 5 highest */
    irq_pulse(&board, 1);
    irq_pulse(&board, 5);
    CHECK_EQ(intr_ack(&board, 0), 0x25);
    out8(0x20, 0xa0); /* rotate on non-specific EOI: 5 lowest */
    CHECK_EQ(isr_of(0x20), 0);
    irq_pulse(&board, 5);
    irq_pulse(&board, 6);
    CHECK_EQ(intr_ack(&board, 0), 0x26);
    out8(0x20, 0xe0 | 6); /* rotate on specific EOI */
    CHECK_EQ(intr_ack(&board, 0), 0x21);
    out8(0x20, 0x20);
    CHECK_EQ(intr_ack(&board, 0), 0x25);
    board_down();
}

static void special_mask_lets_lower_through(void)
{
    if (!board_up(1))
        return;
    pics_up(1, 1);
    irq_pulse(&board, 3);
    CHECK_EQ(intr_ack(&board, 0), 0x23);
    irq_pulse(&board, 6);
    CHECK_EQ(intr_vector(&board, 0), -1);
    out8(0x21, 0x08);
    out8(0x20, 0x68); /* set special mask mode */
    CHECK_EQ(intr_ack(&board, 0), 0x26);
    out8(0x20, 0x20); /* a masked in-service bit is not ended by a non-specific EOI */
    CHECK_EQ(isr_of(0x20), 0x08);
    out8(0x20, 0x48);
    irq_pulse(&board, 6);
    CHECK_EQ(intr_vector(&board, 0), -1);
    board_down();
}

static void poll_acknowledges(void)
{
    if (!board_up(1))
        return;
    pics_up(1, 1);
    out8(0x20, 0x0c);
    CHECK_EQ(in8(0x20), 0);
    irq_pulse(&board, 4);
    out8(0x20, 0x0c);
    CHECK_EQ(in8(0x21), 0x84); /* either port */
    CHECK_EQ(in8(0x21), 0x00); /* the mask again */
    CHECK_EQ(isr_of(0x20), 0x10);
    CHECK_EQ(intr_vector(&board, 0), -1);
    board_down();
}

static void initialisation_sequences(void)
{
    const struct dev *d;

    if (!board_up(1))
        return;
    d = machine_dev(&board, "pic");
    CHECK_STR(d->ops->reg_name(d, 0x20, true), "PIC1 command/ICW1");
    out8(0x20, 0x12); /* single, no ICW4 */
    CHECK_STR(d->ops->reg_name(d, 0x21, true), "PIC1 ICW2 (vector base)");
    out8(0x21, 0x47); /* the low bits are not the guest's */
    CHECK_STR(d->ops->reg_name(d, 0x21, true), "PIC1 mask/OCW1");
    CHECK_EQ(in8(0x21), 0);
    irq_pulse(&board, 1);
    CHECK_EQ(intr_ack(&board, 0), 0x41);
    out8(0x21, 0xfe);
    out8(0x20, 0x11); /* a second ICW1 forgets masks and service */
    CHECK_EQ(isr_of(0x20), 0);
    board_down();
}

static void describes_for_people(void)
{
    struct buf b = {0};

    if (!board_up(1))
        return;
    dev_describe(machine_dev(&board, "pic"), &b);
    CHECK_HAS(buf_str(&b), "8259A master, IRQ 0-7: not initialised");
    pics_up(1, 1);
    out8(0x21, 0x10);
    irq_set(&board, 4, true);
    irq_set(&board, 10, true);
    buf_clear(&b);
    dev_describe(machine_dev(&board, "pic"), &b);
    CHECK_HAS(buf_str(&b), "8259A slave, IRQ 8-15: vectors 0x28-0x2f");
    CHECK_HAS(buf_str(&b), "IRQ 4  line high, edge, requested, masked");
    CHECK_HAS(buf_str(&b), "next: IRQ 10, vector 0x2a");
    CHECK_HAS(buf_str(&b), "[IR4]");
    buf_fini(&b);
    board_down();
}

static const struct test tests[] = {
    {"silent until initialised", silent_until_initialised},
    {"an edge is served once", an_edge_is_served_once},
    {"priorities nest", priorities_nest},
    {"masks hold requests", masks_hold_requests},
    {"slave through the cascade", slave_through_the_cascade},
    {"special fully nested", special_fully_nested},
    {"spurious 7 and 15", spurious_7_and_15},
    {"level lines repeat", level_lines_repeat},
    {"automatic eoi and rotation", automatic_eoi_and_rotation},
    {"rotation commands", rotation_commands},
    {"special mask lets lower through", special_mask_lets_lower_through},
    {"poll acknowledges", poll_acknowledges},
    {"initialisation sequences", initialisation_sequences},
    {"describes for people", describes_for_people},
};
TEST_MAIN(tests)
