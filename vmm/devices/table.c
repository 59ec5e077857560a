/*
 * The device table. Order is order of init and reset: the PIT drives its output high at reset
 * before the 8259s forget the edges they saw.
 */
#include "vmm/devices/table.h"

const struct dev_ops *const dev_table[] = {
    &lapic_dev, &pit_dev,   &pic_dev,   &ioapic_dev,    &rtc_dev, &com1_dev,
    &com2_dev,  &i8042_dev, &power_dev, &debugport_dev, NULL,
};
