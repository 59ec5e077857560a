/*
 * The chips of the board by name, for the device table and for those that are wired together.
 */
#ifndef VMM_DEVICES_TABLE_H
#define VMM_DEVICES_TABLE_H

#include "vmm/dev.h"

extern const struct dev_ops lapic_dev, pit_dev, pic_dev, ioapic_dev;
extern const struct dev_ops rtc_dev, com1_dev, com2_dev, i8042_dev;
extern const struct dev_ops power_dev, debugport_dev;

#endif
