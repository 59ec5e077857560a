/*
 * What every chip in vmm/devices/ is made of. A device is one row in devices/table.c, one plain
 * state struct and one field table that describes it: inspection, JSON, documentation and later
 * snapshots all read that table.
 *
 * Every function of a device runs with the machine lock held, on the thread of the vCPU that made
 * the access or on the main thread; it never sleeps, never asks the host for time or input
 * (door.h does), and treats every guest value as hostile.
 */
#ifndef VMM_DEV_H
#define VMM_DEV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/base/buf.h"
#include "vmm/base/err.h"

struct machine;
struct dev;

/* One field of a state struct. */
struct field {
    const char *name;
    uint32_t offset;
    uint8_t size;            /* bytes of one element: 1, 2, 4 or 8 */
    uint16_t count;          /* elements; 1 for a scalar */
    const char *const *bits; /* names of bit 0, 1, …, ended by NULL; or NULL */
    const char *help;        /* half a line */
    uint8_t min_cpus;        /* shown only on a machine with at least so many vCPUs */
};
#define FIELD(type, member, bits_, help_)                                                          \
    {                                                                                              \
        .name = #member, .offset = offsetof(type, member), .size = sizeof(((type *)0)->member),    \
        .count = 1, .bits = bits_, .help = help_                                                   \
    }
#define FIELD_ARRAY(type, member, help_)                                                           \
    {                                                                                              \
        .name = #member, .offset = offsetof(type, member), .size = sizeof(((type *)0)->member[0]), \
        .count = ARRAY_LEN(((type *)0)->member), .help = help_                                     \
    }

struct dev_ops {
    const char *name; /* unique, as in `info device NAME` */
    const char *help; /* one line for people */
    size_t state_bytes;
    const struct field *fields; /* ended by a row without name */
    bool in_kernel;             /* left out with --irqchip kernel: KVM has its own */
    uint8_t port_bytes;         /* widest port access it decodes, 1, 2 or 4; 0: all of them */

    /* Claims ports and ranges on the bus, listens at the door. State is zeroed before. */
    int (*init)(struct dev *d, struct err *e);
    void (*fini)(struct dev *d);
    /* Power-on state; also called once after init. */
    void (*reset)(struct dev *d);
    /* A port access of 1, 2 or 4 bytes; `value` holds zeros above the size. The return value is
     * used for reads and cut to the size. */
    uint64_t (*pio)(struct dev *d, uint16_t port, unsigned size, bool write, uint64_t value);
    /* A memory access of 1 to 8 bytes at `off` from the start of the claimed range, made by
     * vCPU `vcpu`. */
    uint64_t (*mmio)(struct dev *d, unsigned vcpu, uint64_t off, unsigned size, bool write,
                     uint64_t value);
    /* Optional: adds what the field table cannot say (decoded meaning) as lines of text. */
    void (*describe)(const struct dev *d, struct buf *out);
    /* Optional: the name of a register for traces: "i8042 status"; NULL when unknown. `off` is
     * the port for port devices, the offset for memory ones. */
    const char *(*reg_name)(const struct dev *d, uint64_t off, bool write);
};

struct dev {
    const struct dev_ops *ops;
    struct machine *m;
    void *state; /* ops->state_bytes, zeroed; owned by the machine */
    unsigned id; /* index in machine.dev[] */
};

/* The device table, ended by NULL: order is order of init and reset. */
extern const struct dev_ops *const dev_table[];

/* Text of every field of `d`: "name  value  [BIT NAMES]  help" lines, after the device's own words
 * (ops->describe) where it has some. */
void dev_describe(const struct dev *d, struct buf *out);

#endif
