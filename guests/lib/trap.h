/*
 * Exceptions and interrupts for 64-bit guests: an IDT, one frame layout, a table of handlers, and
 * the two interrupt controllers' basics.
 */
#ifndef GUESTS_LIB_TRAP_H
#define GUESTS_LIB_TRAP_H

#include <stdint.h>

#include "guests/lib/trap_frame.h"

enum { TRAP_UD = 6, TRAP_DF = 8, TRAP_GP = 13, TRAP_PF = 14 };

typedef void trap_fn(struct trap *t);

/* Builds the IDT (vectors without a handler report and end the run with TESTDEV_CODE_TRAP) and
 * loads it. The code selector is 0x08. */
void trap_init(void);
/* Loads the same IDT on another processor. */
void trap_load(void);
/* Calls `fn` for `vector`; `dpl` 3 lets ring 3 reach it by INT. */
void trap_handle(unsigned vector, trap_fn *fn, unsigned dpl);

#define PIC_VECTOR 0x20 /* IRQ 0 arrives here, IRQ 8 at 0x28 */
/* Remaps the 8259s to PIC_VECTOR with only the lines of `open_mask` (bit n: IRQ n) unmasked. */
void pic_init(uint16_t open_mask);
void pic_eoi(unsigned irq);
/* Programs PIT channel 0 as a rate generator, `hz` from 19 to 1193182. */
void pit_init(unsigned hz);

static inline void interrupts_on(void)
{
    __asm__ volatile("sti" : : : "memory");
}

static inline void interrupts_off(void)
{
    __asm__ volatile("cli" : : : "memory");
}

/* Sleeps until an interrupt has been served; call and return with interrupts off, so that no
 * wake-up is missed between a test and the sleep (STI takes effect after the HLT). */
static inline void wait_interrupt(void)
{
    __asm__ volatile("sti; hlt; cli" : : : "memory");
}

#endif
