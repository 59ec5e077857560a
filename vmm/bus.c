/*
 * Dispatch of port and memory accesses to devices. Called by vCPU threads, the debugger and tests
 * with the machine lock held; every address, size and value comes from the guest.
 */
#include "vmm/bus.h"

#include <errno.h>

#include "vmm/machine.h"

int bus_claim_ports(struct bus *b, struct dev *d, unsigned first, unsigned count, struct err *e)
{
    if (first >= BUS_PORTS || count > BUS_PORTS - first)
        return err_set(e, EINVAL, "%s asks for ports 0x%x to 0x%x, past the last port 0xffff",
                       d->ops->name, first, first + count - 1);
    for (unsigned p = first; p < first + count; p++) {
        if (b->port[p])
            return err_set(e, EBUSY, "%s cannot have port 0x%x: device %u answers there already",
                           d->ops->name, p, b->port[p] - 1u);
    }
    for (unsigned p = first; p < first + count; p++)
        b->port[p] = (uint8_t)(d->id + 1);
    return 0;
}

int bus_claim_range(struct bus *b, struct dev *d, uint64_t gpa, uint64_t len_bytes, struct err *e)
{
    if (!len_bytes || gpa + len_bytes < gpa)
        return err_set(e, EINVAL, "%s asks for an empty or wrapping range at 0x%llx", d->ops->name,
                       (unsigned long long)gpa);
    for (unsigned i = 0; i < b->ranges; i++) {
        if (gpa < b->range[i].gpa + b->range[i].len_bytes && b->range[i].gpa < gpa + len_bytes)
            return err_set(e, EBUSY, "%s cannot have the range at 0x%llx: %s answers there",
                           d->ops->name, (unsigned long long)gpa, b->range[i].dev->ops->name);
    }
    if (b->ranges == BUS_RANGES_MAX)
        return err_set(e, ENOSPC, "%s cannot have the range at 0x%llx: all %d ranges are in use",
                       d->ops->name, (unsigned long long)gpa, BUS_RANGES_MAX);
    b->range[b->ranges].gpa = gpa;
    b->range[b->ranges].len_bytes = len_bytes;
    b->range[b->ranges++].dev = d;
    return 0;
}

void bus_release(struct bus *b, const struct dev *d)
{
    unsigned kept = 0;

    for (unsigned p = 0; p < BUS_PORTS; p++)
        if (b->port[p] == d->id + 1)
            b->port[p] = 0;
    for (unsigned i = 0; i < b->ranges; i++)
        if (b->range[i].dev != d)
            b->range[kept++] = b->range[i];
    b->ranges = kept;
}

static uint64_t mask(unsigned size)
{
    return size >= 8 ? UINT64_MAX : (1ull << size * 8) - 1;
}

static struct dev *port_dev(struct machine *m, unsigned port)
{
    unsigned id = port < BUS_PORTS ? m->bus.port[port] : 0;

    return id ? &m->dev[id - 1] : NULL;
}

struct dev *bus_port_dev(struct machine *m, uint16_t port)
{
    return port_dev(m, port);
}

struct dev *bus_mmio_dev(struct machine *m, uint64_t gpa, uint64_t *off)
{
    for (unsigned i = 0; i < m->bus.ranges; i++) {
        if (gpa - m->bus.range[i].gpa < m->bus.range[i].len_bytes) {
            if (off)
                *off = gpa - m->bus.range[i].gpa;
            return m->bus.range[i].dev;
        }
    }
    return NULL;
}

/*
 * A whole access goes to the device that owns its first and its last port, if the device decodes
 * such a width; any other is halved until it fits, down to single bytes that read as all ones
 * where nobody is. (First and last, not all: 0xCF9 is another chip's port inside a dword at
 * 0xCF8.)
 */
static bool pio(struct machine *m, unsigned port, unsigned size, bool write, uint64_t *value)
{
    struct dev *d = port_dev(m, port);
    unsigned half = size / 2;
    uint64_t low, high;
    bool any;

    if (d && d->ops->pio && port_dev(m, port + size - 1) == d &&
        (!d->ops->port_bytes || size <= d->ops->port_bytes)) {
        uint64_t r = d->ops->pio(d, (uint16_t)port, size, write, write ? *value & mask(size) : 0);

        if (!write)
            *value = r & mask(size);
        return true;
    }
    if (size == 1) {
        if (!write)
            *value = 0xff;
        return false;
    }
    low = *value & mask(half);
    high = *value >> half * 8;
    any = pio(m, port, half, write, &low);
    any |= pio(m, port + half, half, write, &high);
    if (!write)
        *value = low | high << half * 8;
    return any;
}

bool bus_pio(struct machine *m, uint16_t port, unsigned size, bool write, uint64_t *value)
{
    if (size != 1 && size != 2 && size != 4) {
        if (!write)
            *value = UINT64_MAX;
        return false;
    }
    return pio(m, port, size, write, value);
}

bool bus_mmio(struct machine *m, unsigned vcpu, uint64_t gpa, unsigned size, bool write,
              uint64_t *value)
{
    uint64_t result = 0;
    bool any = false;

    if (!size || size > 8) {
        if (!write)
            *value = UINT64_MAX;
        return false;
    }
    /* Usually one turn; an access across the end of a range is cut there. */
    for (unsigned done = 0, n; done < size; done += n) {
        uint64_t off = 0, part = UINT64_MAX;
        struct dev *d = bus_mmio_dev(m, gpa + done, &off);

        n = d ? 0 : 1;
        for (unsigned i = 0; d && i < size - done && bus_mmio_dev(m, gpa + done + i, NULL) == d;
             i++)
            n++;
        if (d && d->ops->mmio) {
            part = d->ops->mmio(d, vcpu, off, n, write, write ? *value >> done * 8 & mask(n) : 0);
            any = true;
        }
        result |= (part & mask(n)) << done * 8;
    }
    if (!write)
        *value = result;
    return any;
}
