/*
 * timer_irq: PIC and PIT. Sleeps by HLT through 20 ticks of 100 Hz and checks that each sleep was
 * ended by exactly one interrupt, that the 8259 had it in service, and that the counter counts.
 *
 * build   make guests            gives o/guests/timer_irq (ELF64, multiboot 1)
 * run     ./vmscope run o/guests/timer_irq
 * expect  status 33; COM1: "timer_irq: 20 ticks, 20 halts"; 20 HLT exits (user-space interrupt
 *         chips), 20 interrupts with vector 0x20; about 0.2 seconds
 */
#include "guests/lib/guest.h"
#include "guests/lib/trap.h"

#define TICKS 20

static volatile unsigned ticks;
static volatile unsigned in_service;

static void on_timer(struct trap *t)
{
    GUEST_ASSERT(t->vector == PIC_VECTOR);
    outb(0x20, 0x0b); /* OCW3: the next read gives the in-service register */
    if (inb(0x20) & 1)
        in_service++;
    ticks++;
    t->rflags &= ~0x200ull; /* one for each sleep: a slow host has the next tick ready by now */
    pic_eoi(0);
}

static uint16_t pit_count(void)
{
    outb(0x43, 0x00); /* latch channel 0 */
    uint8_t low = inb(0x40);
    return (uint16_t)(inb(0x40) << 8 | low);
}

void guest_main(uintptr_t mbi)
{
    (void)mbi;
    unsigned halts = 0;
    trap_init();
    trap_handle(PIC_VECTOR, on_timer, 0);
    pic_init(1u << 0);
    pit_init(100);
    GUEST_ASSERT(pit_count() <= 11931);
    while (ticks < TICKS) {
        unsigned before = ticks;
        wait_interrupt();
        halts++;
        GUEST_ASSERT(ticks == before + 1);
    }
    GUEST_ASSERT(in_service == TICKS);
    printk("timer_irq: %d ticks, %d halts\n", (unsigned long)ticks, (unsigned long)halts);
    GUEST_PASS();
}
