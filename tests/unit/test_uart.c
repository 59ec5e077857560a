/*
 * The 16550A serial ports.
 */
#include "tests/unit/board.h"

#include "vmm/base/x.h"

#define RBR 0x3f8
#define IER 0x3f9
#define IIR 0x3fa
#define LCR 0x3fb
#define MCR 0x3fc
#define LSR 0x3fd
#define MSR 0x3fe
#define SCR 0x3ff

static void type(const char *text)
{
    door_push(&board.door, DOOR_COM1, text, strlen(text));
}

static bool irq4(void)
{
    return board.gsi_level >> 4 & 1;
}

static void start(uint8_t fcr, uint8_t ier)
{
    out8(LCR, 0x83);
    out8(RBR, 1);
    out8(IER, 0);
    out8(LCR, 3);
    out8(IIR, fcr);
    out8(MCR, 0x0b);
    out8(IER, ier);
}

static void transmits_at_once(void)
{
    if (!board_up(1))
        return;
    CHECK_EQ(in8(LSR), 0x60);
    out8(RBR, 'o');
    out8(RBR, 'k');
    CHECK_EQ(in8(LSR), 0x60);
    CHECK_STR(buf_str(&board_out[CONSOLE_COM1]), "ok");
    out8(0x2f8, '2');
    CHECK_STR(buf_str(&board_out[CONSOLE_COM2]), "2");
    CHECK_EQ(in8(0x2fd), 0x60);
    board_down();
}

static void registers(void)
{
    if (!board_up(1))
        return;
    CHECK_EQ(in8(IIR), 0x01);
    CHECK_EQ(in8(MSR), 0xb0);
    out8(SCR, 0x5a);
    CHECK_EQ(in8(SCR), 0x5a);
    out8(IER, 0xff);
    CHECK_EQ(in8(IER), 0x0f);
    out8(MCR, 0xff);
    CHECK_EQ(in8(MCR), 0x1f);
    out8(LCR, 0x80);
    CHECK_EQ(in8(RBR), 12); /* 9600 baud */
    out8(RBR, 0x34);
    out8(IER, 0x12);
    CHECK_EQ(in8(RBR), 0x34);
    CHECK_EQ(in8(IER), 0x12);
    out8(LCR, 0x03);
    CHECK_EQ(in8(IER), 0x0f);
    out8(IIR, 0xc6); /* without bit 0 the rest does not count */
    CHECK_EQ(in8(IIR) & 0xc0, 0);
    out8(IIR, 0xc7);
    CHECK_EQ(in8(IIR) & 0xc0, 0xc0);
    board_down();
}

static void transmitter_interrupts(void)
{
    uint64_t edges;

    if (!board_up(1))
        return;
    start(0, 2);
    CHECK(irq4()); /* enabled while empty: raised */
    CHECK_EQ(in8(IIR), 0x02);
    CHECK_EQ(in8(IIR), 0x01); /* reading it was the answer */
    CHECK(!irq4());
    edges = board.gsi_raised[4];
    for (unsigned i = 0; i < 10; i++)
        out8(RBR, 'x');
    CHECK_EQ(board.gsi_raised[4], edges + 10); /* each byte gives an edge */
    out8(MCR, 0x03);                           /* OUT2 disconnects */
    CHECK(!irq4());
    CHECK_EQ(in8(IIR), 0x02);
    board_down();
}

static void receives_without_fifo(void)
{
    if (!board_up(1))
        return;
    start(0, 1);
    CHECK(!irq4());
    type("ab");
    CHECK(irq4());
    CHECK_EQ(door_waiting(&board.door, DOOR_COM1), 1); /* one fits, the other waits */
    CHECK_EQ(in8(LSR), 0x61);
    CHECK_EQ(in8(IIR), 0x04);
    CHECK_EQ(in8(RBR), 'a');
    CHECK(irq4());
    CHECK_EQ(in8(LSR), 0x61);
    CHECK_EQ(in8(RBR), 'b');
    CHECK(!irq4());
    CHECK_EQ(in8(LSR), 0x60);
    CHECK_EQ(in8(RBR), 'b'); /* nothing new */
    board_down();
}

static void polling_needs_no_interrupt(void)
{
    char got[8] = {0};
    unsigned n = 0;

    if (!board_up(1))
        return;
    type("hello");
    start(0xc7, 0); /* a driver that resets its FIFOs loses nothing typed before */
    while (n < 7 && in8(LSR) & 1)
        got[n++] = (char)in8(RBR);
    CHECK_STR(got, "hello");
    board_down();
}

static void fifo_triggers_and_times_out(void)
{
    if (!board_up(1))
        return;
    start(0x81, 1); /* trigger at 8 */
    type("1234567");
    CHECK(!irq4());
    CHECK_EQ(in8(IIR), 0xc1);
    CHECK_EQ(in8(LSR), 0x61);
    /* Four characters of 10 bits at 115200 baud. */
    advance(4 * 86805 - 1);
    CHECK(!irq4());
    advance(1);
    CHECK(irq4());
    CHECK_EQ(in8(IIR), 0xcc);
    CHECK_EQ(in8(RBR), '1');
    CHECK(!irq4());
    CHECK_EQ(in8(IIR), 0xc1);
    type("89");
    CHECK(irq4());
    CHECK_EQ(in8(IIR), 0xc4);
    CHECK_EQ(in8(RBR), '2');
    CHECK_EQ(in8(IIR), 0xc1); /* 7 left */
    for (char c = '3'; c <= '9'; c++)
        CHECK_EQ(in8(RBR), c);
    advance(10 * MS);
    CHECK(!irq4()); /* no time-out of an empty FIFO */
    board_down();
}

static void nothing_is_lost(void)
{
    char sent[1000];
    unsigned got = 0;

    if (!board_up(1))
        return;
    for (unsigned i = 0; i < sizeof sent; i++)
        sent[i] = (char)('!' + i % 90);
    start(0xc1, 1);
    CHECK_EQ(door_push(&board.door, DOOR_COM1, sent, sizeof sent), sizeof sent);
    CHECK_EQ(door_waiting(&board.door, DOOR_COM1), sizeof sent - 16);
    while (irq4() || got < sizeof sent) {
        CHECK((in8(IIR) & 0x0f) == 4 || (in8(IIR) & 0x0f) == 12 || (advance(MS), irq4()));
        while (in8(LSR) & 1) {
            CHECK(got < sizeof sent);
            CHECK_EQ(in8(RBR), (uint8_t)sent[got]);
            got++;
        }
    }
    CHECK_EQ(got, sizeof sent);
    board_down();
}

static void loopback(void)
{
    if (!board_up(1))
        return;
    start(0, 0);
    in8(MSR);
    out8(MCR, 0x1e);          /* RTS, OUT1, OUT2 */
    CHECK_EQ(in8(MSR), 0xd2); /* RI, CTS, DCD; DSR went away */
    CHECK_EQ(in8(MSR), 0xd0);
    type("x"); /* the outside is cut off */
    out8(RBR, 0xae);
    CHECK_EQ(in8(LSR), 0x61);
    CHECK_EQ(in8(RBR), 0xae);
    CHECK_EQ(in8(LSR), 0x60);
    out8(RBR, 1);
    out8(RBR, 2); /* overruns: the newer byte stays */
    CHECK_EQ(in8(LSR), 0x63);
    CHECK_EQ(in8(LSR), 0x61); /* read once, gone */
    CHECK_EQ(in8(RBR), 2);
    out8(LCR, 0x43); /* a break */
    CHECK_EQ(in8(LSR), 0x71);
    CHECK_EQ(in8(RBR), 0);
    out8(LCR, 3);
    out8(MCR, 0x1a); /* RI falls: its trailing edge */
    CHECK_EQ(in8(MSR), 0x94);
    CHECK_STR(buf_str(&board_out[CONSOLE_COM1]), "");
    out8(MCR, 0x0b);
    CHECK_EQ(in8(LSR), 0x61);
    CHECK_EQ(in8(RBR), 'x');
    board_down();
}

static void interrupt_priorities(void)
{
    if (!board_up(1))
        return;
    start(0, 0x0f);
    in8(IIR);
    in8(MSR);
    out8(MCR, 0x12);
    out8(RBR, 1);
    out8(RBR, 2);
    CHECK_EQ(in8(IIR), 0x06); /* overrun */
    in8(LSR);
    CHECK_EQ(in8(IIR), 0x04);
    in8(RBR);
    CHECK_EQ(in8(IIR), 0x02);
    CHECK_EQ(in8(IIR), 0x00); /* modem lines moved with loopback */
    in8(MSR);
    CHECK_EQ(in8(IIR), 0x01);
    board_down();
}

static void fifo_keeps_what_it_has(void)
{
    if (!board_up(1))
        return;
    start(0xc1, 0);
    out8(MCR, 0x10);
    for (unsigned i = 0; i < 17; i++)
        out8(RBR, (uint8_t)i);
    CHECK_EQ(in8(LSR), 0x63);
    for (unsigned i = 0; i < 16; i++)
        CHECK_EQ(in8(RBR), i);
    CHECK_EQ(in8(LSR), 0x60);
    out8(RBR, 9);
    out8(IIR, 0xc3); /* receiver reset */
    CHECK_EQ(in8(LSR), 0x60);
    board_down();
}

static void names_and_words(void)
{
    struct buf b = {0};
    const struct dev *d;

    if (!board_up(1))
        return;
    d = machine_dev(&board, "com1");
    CHECK_STR(d->ops->reg_name(d, LSR, false), "COM1 LSR");
    CHECK_STR(d->ops->reg_name(d, RBR, true), "COM1 THR");
    start(0x81, 0);
    dev_describe(d, &b);
    CHECK_HAS(buf_str(&b), "115200 baud, 8N1, FIFO on (interrupt at 8)");
    CHECK_HAS(buf_str(&b), "[DTR RTS OUT2]");
    out8(LCR, 0x80);
    CHECK_STR(d->ops->reg_name(d, IER, true), "COM1 divisor high");
    d = machine_dev(&board, "com2");
    CHECK_STR(d->ops->reg_name(d, 0x2fa, true), "COM2 FCR");
    buf_fini(&b);
    board_down();
}

static const struct test tests[] = {
    {"transmits at once", transmits_at_once},
    {"registers", registers},
    {"transmitter interrupts", transmitter_interrupts},
    {"receives without fifo", receives_without_fifo},
    {"polling needs no interrupt", polling_needs_no_interrupt},
    {"fifo triggers and times out", fifo_triggers_and_times_out},
    {"nothing is lost", nothing_is_lost},
    {"loopback", loopback},
    {"interrupt priorities", interrupt_priorities},
    {"fifo keeps what it has", fifo_keeps_what_it_has},
    {"names and words", names_and_words},
};
TEST_MAIN(tests)
