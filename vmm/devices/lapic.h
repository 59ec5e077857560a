/*
 * The local APICs, one device for all vCPUs: what other chips and the vCPU loop call. Register
 * layout: Intel SDM volume 3, chapter "Advanced Programmable Interrupt Controller". Machine lock.
 */
#ifndef VMM_DEVICES_LAPIC_H
#define VMM_DEVICES_LAPIC_H

#include <stdbool.h>
#include <stdint.h>

struct machine;

#define LAPIC_BASE 0xfee00000ull

/* A message as the IOAPIC or an IPI sends it. `dest_mode_logical`, `delivery` (0 fixed, 1 lowest
 * priority, 2 SMI, 4 NMI, 5 INIT, 6 SIPI, 7 ExtINT) as in the SDM's ICR. False when no local
 * APIC took it. */
bool lapic_message(struct machine *m, uint8_t dest, bool dest_mode_logical, unsigned delivery,
                   uint8_t vector, bool level_triggered);
/* Highest vector above the processor priority, or -1. */
int lapic_pending(struct machine *m, unsigned cpu);
/* Moves it from request to service. */
int lapic_ack(struct machine *m, unsigned cpu);
/* True when the 8259s' output reaches this vCPU (APIC disabled, or LINT0 set to ExtINT). */
bool lapic_accepts_extint(struct machine *m, unsigned cpu);
/* The 8259s' output changed: level of the line on LINT0 of the boot processor. */
void lapic_pic_output(struct machine *m, bool level);
/* Takes the request for an ExtINT cycle that came as a message, if there is one. */
void lapic_extint_done(struct machine *m, unsigned cpu);
/* CR8 <-> TPR[7:4]. */
void lapic_set_cr8(struct machine *m, unsigned cpu, uint8_t cr8);
uint8_t lapic_cr8(struct machine *m, unsigned cpu);
/* INIT on this vCPU: registers as after reset, ID kept. */
void lapic_init_cpu(struct machine *m, unsigned cpu);

#endif
