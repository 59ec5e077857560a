/*
 * The I/O APIC at 0xFEC00000, 24 pins: what irq.c and the local APIC call. Machine lock.
 */
#ifndef VMM_DEVICES_IOAPIC_H
#define VMM_DEVICES_IOAPIC_H

#include <stdbool.h>
#include <stdint.h>

struct machine;

#define IOAPIC_BASE 0xfec00000ull

/* Pin `pin` (0 to 23) has this level now; others are passed over. Machine lock. */
void ioapic_line(struct machine *m, unsigned pin, bool level);
/* A local APIC's EOI of a level-triggered vector. */
void ioapic_eoi(struct machine *m, uint8_t vector);
/* Offers again the level-triggered requests that no local APIC took (one was just enabled). */
void ioapic_retry(struct machine *m);

/* The line whose pin sends this vector, -1 when none is open for it. */
int ioapic_gsi(struct machine *m, uint8_t vector);

#endif
