/*
 * COM1 by interrupts, both ways (National Semiconductor PC16550D data sheet). What does not fit
 * into the transmitter's FIFO waits in a queue until the chip says that it is empty.
 */
#include "guests/tinyos/tinyos.h"

#define DATA (TESTDEV_COM1 + 0)
#define IER  (TESTDEV_COM1 + 1) /* interrupt enable */
#define IIR  (TESTDEV_COM1 + 2) /* read: interrupt identification; write: FIFO control */
#define LCR  (TESTDEV_COM1 + 3)
#define MCR  (TESTDEV_COM1 + 4)
#define LSR  (TESTDEV_COM1 + 5)

#define IER_RECEIVED 0x01
#define IER_SENT     0x02
#define IIR_NONE     0x01
#define LSR_RECEIVED 0x01
#define LSR_SENT     0x20
#define FIFO_BYTES   16
#define QUEUE_MAX    1024 /* a power of two */

static char queue[QUEUE_MAX];
static unsigned head, tail;

void serial_init(void)
{
    outb(IER, 0);
    outb(LCR, 0x80); /* divisor 1: 115200 baud */
    outb(DATA, 1);
    outb(IER, 0);
    outb(LCR, 0x03); /* 8 bits, no parity, one stop bit */
    outb(IIR, 0x07); /* FIFOs on and empty, interrupt at the first byte */
    outb(MCR, 0x0b); /* DTR, RTS, and OUT2, which lets the interrupt through on a PC */
    outb(IER, IER_RECEIVED);
}

/* The 8259 forgets at ICW1 what it was asked before and then wants a rising edge, which a line that
 * is high already never gives: so the line is let down once the controller is ready. */
void serial_listen(void)
{
    outb(IER, 0);
    outb(IER, IER_RECEIVED | IER_SENT);
}

/* Moves as much as the transmitter takes; interrupts are off. */
static void pump(void)
{
    if (head == tail || !(inb(LSR) & LSR_SENT))
        return;
    for (unsigned n = 0; n < FIFO_BYTES && head != tail; n++)
        outb(DATA, (uint8_t)queue[tail++ % QUEUE_MAX]);
}

static void put(char c)
{
    while (head - tail == QUEUE_MAX)
        pump();
    queue[head++ % QUEUE_MAX] = c;
}

void serial_write(const char *bytes, size_t len)
{
    uint64_t flags = irq_save();
    for (size_t i = 0; i < len; i++) {
        if (bytes[i] == '\n')
            put('\r');
        put(bytes[i]);
    }
    pump();
    if (head != tail)
        outb(IER, IER_RECEIVED | IER_SENT);
    irq_restore(flags);
}

void serial_flush(void)
{
    uint64_t flags = irq_save();
    while (head != tail)
        pump();
    irq_restore(flags);
}

void serial_interrupt(void)
{
    while (!(inb(IIR) & IIR_NONE)) {
        while (inb(LSR) & LSR_RECEIVED)
            console_typed((char)inb(DATA));
        pump();
        if (head == tail)
            outb(IER, IER_RECEIVED);
    }
}
