/*
 * Where the power management block is, for the tables that tell of it (vmm/acpi.c). The ports are
 * those of QEMU's PC board, which hobby kernels know by heart.
 */
#ifndef VMM_DEVICES_POWER_H
#define VMM_DEVICES_POWER_H

#define POWER_PM1_EVENT   0x600 /* status and enable, two bytes each */
#define POWER_PM1_CONTROL 0x604 /* two bytes */
#define POWER_PM_TIMER    0x608 /* four bytes, of which 24 bits count */
#define POWER_PM_TIMER_HZ 3579545u
#define POWER_SCI         9 /* the line of ACPI's events, of which there are none */
#define POWER_OFF_TYPE    0 /* SLP_TYP that switches off */
#define POWER_RESET       0xcf9
#define POWER_RESET_VALUE 6

#endif
