/*
 * The two 8259 interrupt controllers and the 8254 timer: 100 ticks a second on IRQ 0.
 */
#include "guests/tinyos/tinyos.h"

#define PIC1         0x20
#define PIC2         0xa0
#define PIC_EOI      0x20
#define PIC_READ_ISR 0x0b
#define PIT_DATA     0x40
#define PIT_MODE     0x43
#define PIT_INPUT_HZ 1193182
#define LINES_OPEN   (1u << 0 | 1u << 1 | 1u << 2 | 1u << TESTDEV_COM1_IRQ) /* 2: the second chip */

static volatile uint64_t ticks;

static void pic_init(void)
{
    outb(PIC1, 0x11); /* initialise: edge-triggered, cascaded */
    outb(PIC2, 0x11);
    outb(PIC1 + 1, VECTOR_IRQ0);
    outb(PIC2 + 1, VECTOR_IRQ0 + 8);
    outb(PIC1 + 1, 0x04); /* the second chip hangs on line 2 */
    outb(PIC2 + 1, 0x02);
    outb(PIC1 + 1, 0x01); /* 8086 mode */
    outb(PIC2 + 1, 0x01);
    outb(PIC1 + 1, (uint8_t)~LINES_OPEN);
    outb(PIC2 + 1, 0xff);
}

void timer_init(void)
{
    unsigned divisor = PIT_INPUT_HZ / TIMER_HZ;
    pic_init();
    outb(PIT_MODE, 0x34); /* channel 0, two bytes, rate generator */
    outb(PIT_DATA, (uint8_t)divisor);
    outb(PIT_DATA, (uint8_t)(divisor >> 8));
}

void timer_interrupt(void)
{
    ticks++;
}

uint64_t timer_ticks(void)
{
    return ticks;
}

/* Always the full time: the tick that is running does not count. */
void timer_sleep_ms(uint64_t ms)
{
    uint64_t flags = irq_save();
    uint64_t end = ticks + (ms * TIMER_HZ + 999) / 1000 + (ms ? 1 : 0);
    while (ticks < end)
        cpu_wait();
    irq_restore(flags);
}

bool pic_is_spurious(unsigned irq)
{
    if (irq != 7 && irq != 15)
        return false;
    uint16_t chip = irq == 7 ? PIC1 : PIC2;
    outb(chip, PIC_READ_ISR);
    if (inb(chip) & 0x80)
        return false;
    if (irq == 15)
        outb(PIC1, PIC_EOI); /* the first chip did see line 2 */
    return true;
}

void pic_end_of_interrupt(unsigned irq)
{
    if (irq >= 8)
        outb(PIC2, PIC_EOI);
    outb(PIC1, PIC_EOI);
}
