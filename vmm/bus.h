/*
 * Port and memory ranges -> devices. Part of struct machine; calls need the machine lock.
 */
#ifndef VMM_BUS_H
#define VMM_BUS_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/base/err.h"

struct dev;

#define BUS_PORTS      65536
#define BUS_RANGES_MAX 64

struct bus {
    uint8_t port[BUS_PORTS]; /* device id + 1; 0: nobody */
    unsigned ranges;
    struct {
        uint64_t gpa, len_bytes;
        struct dev *dev;
    } range[BUS_RANGES_MAX];
};

/* Claims ports [first, first+count) / [gpa, gpa+len). -EBUSY with a sentence when taken. */
int bus_claim_ports(struct bus *b, struct dev *d, unsigned first, unsigned count, struct err *e);
int bus_claim_range(struct bus *b, struct dev *d, uint64_t gpa, uint64_t len_bytes, struct err *e);
/* Gives back all that a device has claimed. */
void bus_release(struct bus *b, const struct dev *d);

struct machine;
/* One access of `size` bytes. On a read *value is filled; nobody there reads as all ones. False
 * when no device claimed the address (the caller marks the record so). An access wider than the
 * ports that a device claimed is split as an ISA bus splits it. */
bool bus_pio(struct machine *m, uint16_t port, unsigned size, bool write, uint64_t *value);
bool bus_mmio(struct machine *m, unsigned vcpu, uint64_t gpa, unsigned size, bool write,
              uint64_t *value);
/* Who answers there, or NULL. */
struct dev *bus_port_dev(struct machine *m, uint16_t port);
struct dev *bus_mmio_dev(struct machine *m, uint64_t gpa, uint64_t *off);

#endif
