/*
 * Devices that a client adds to the board. They sit on the bus like the built-in ones: their
 * functions run with the machine lock held, on the thread of the vCPU that made the access, or on
 * the main thread for resets.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "debug/session_priv.h"
#include "vmm/base/x.h"
#include "vmm/vm.h"

/* The row of the device table that serves this device; found from d->ops. */
struct added {
    struct dev_ops ops;
    struct device_spec spec;
    const uint16_t *ports; /* only while it is added */
};

/* The one that this thread is inside of, and so holds the machine lock; or NULL. */
static _Thread_local struct dev *inside;

static struct added *added_of(const struct dev *d)
{
    return (struct added *)(uintptr_t)d->ops;
}

static int added_init(struct dev *d, struct err *e)
{
    struct added *a = added_of(d);
    int r = 0;

    for (unsigned i = 0; !r && i < a->spec.ports; i++)
        r = bus_claim_ports(&d->m->bus, d, a->ports[i], 1, e);
    if (!r && a->spec.len_bytes)
        r = bus_claim_range(&d->m->bus, d, a->spec.gpa, a->spec.len_bytes, e);
    return r;
}

static void added_fini(struct dev *d)
{
    struct added *a = added_of(d);

    if (a->spec.gone)
        a->spec.gone(a->spec.arg);
    free((char *)(uintptr_t)a->ops.name);
    free((char *)(uintptr_t)a->ops.help);
    free(a);
}

static void added_reset(struct dev *d)
{
    struct added *a = added_of(d);
    struct dev *outer = inside;

    inside = d;
    if (a->spec.reset)
        a->spec.reset(a->spec.arg);
    inside = outer;
}

static uint64_t added_pio(struct dev *d, uint16_t port, unsigned size, bool write, uint64_t value)
{
    struct added *a = added_of(d);
    struct dev *outer = inside;

    inside = d;
    value = a->spec.pio ? a->spec.pio(a->spec.arg, port, size, write, value) : UINT64_MAX;
    inside = outer;
    return value;
}

static uint64_t added_mmio(struct dev *d, unsigned vcpu, uint64_t off, unsigned size, bool write,
                           uint64_t value)
{
    struct added *a = added_of(d);
    struct dev *outer = inside;

    (void)vcpu;
    inside = d;
    value = a->spec.mmio ? a->spec.mmio(a->spec.arg, off, size, write, value) : UINT64_MAX;
    inside = outer;
    return value;
}

int session_device_add(struct session *s, const struct device_spec *spec, struct err *e)
{
    static const struct field none[] = {{.name = NULL}};
    struct added *a = xcalloc(1, sizeof *a);
    int r;

    a->spec = *spec;
    a->ports = spec->port;
    a->ops = (struct dev_ops){
        .name = xstrdup(spec->name),
        .help = xstrdup(spec->help ? spec->help : "added by a script"),
        .state_bytes = 1,
        .fields = none,
        .init = added_init,
        .fini = added_fini,
        .reset = added_reset,
        .pio = added_pio,
        .mmio = added_mmio,
    };
    r = machine_add(&s->vm->m, &a->ops, e);
    a->ports = NULL;
    if (r) {
        free((char *)(uintptr_t)a->ops.name);
        free((char *)(uintptr_t)a->ops.help);
        free(a);
    }
    return r;
}

int session_irq(struct session *s, unsigned gsi, bool level)
{
    struct machine *m = &s->vm->m;

    if (gsi >= MACHINE_GSIS)
        return -EINVAL;
    if (!inside)
        pthread_mutex_lock(&m->lock);
    irq_set(m, gsi, level);
    if (!inside)
        pthread_mutex_unlock(&m->lock);
    return 0;
}

void session_console_put(struct session *s, enum console_chan chan, const void *bytes, size_t len)
{
    struct machine *m = &s->vm->m;

    if (!inside)
        pthread_mutex_lock(&m->lock);
    machine_console(m, chan, bytes, len);
    if (!inside)
        pthread_mutex_unlock(&m->lock);
}

int64_t session_dma(struct session *s, uint64_t gpa, void *dst, const void *src, size_t len)
{
    struct mem *m = &s->vm->mem;

    if (inside)
        return (int64_t)machine_dma(inside, gpa, dst, src, len);
    return (int64_t)(dst ? mem_read(m, gpa, dst, len) : mem_write(m, gpa, src, len));
}
