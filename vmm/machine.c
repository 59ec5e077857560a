/*
 * The board: builds the devices of dev_table[], resets them, and carries their wishes, output and
 * attention bits to whoever embeds it. Threads: see the lock in machine.h.
 */
#include "vmm/machine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/x.h"

/* ---- records of what devices do -------------------------------------------------------------- */

void machine_event(struct machine *m, const struct exit_device *what)
{
    if (m->hooks.event)
        m->hooks.event(m->hooks.arg, what);
}

size_t machine_dma(struct dev *d, uint64_t gpa, void *dst, const void *src, size_t len)
{
    struct machine *m = d->m;

    machine_event(m, &(struct exit_device){.event = DEVICE_DMA,
                                           .id = (uint8_t)d->id,
                                           .cpu = DEVICE_NO_CPU,
                                           .line = EXIT_NO_LINE,
                                           .vector = EXIT_NO_VECTOR,
                                           .value = gpa,
                                           .len = len,
                                           .write = dst == NULL});
    if (!m->hooks.dma)
        return dst ? mem_read(m->mem, gpa, dst, len) : mem_write(m->mem, gpa, src, len);
    len = mem_run(m->mem, gpa, len);
    m->hooks.dma(m->hooks.arg, d, gpa, dst, src, len);
    return len;
}

static void board_event(struct machine *m, enum device_event event)
{
    machine_event(m, &(struct exit_device){.event = (uint16_t)event,
                                           .id = DEVICE_NO_ID,
                                           .cpu = DEVICE_NO_CPU,
                                           .line = EXIT_NO_LINE,
                                           .vector = EXIT_NO_VECTOR});
}

static void on_alarm_news(void *arg, const struct alarm *a, enum alarm_news what)
{
    static const uint16_t events[] = {[ALARM_SET] = DEVICE_TIMER_SET,
                                      [ALARM_OFF] = DEVICE_TIMER_OFF,
                                      [ALARM_FIRED] = DEVICE_TIMER};
    struct machine *m = arg;
    struct exit_device ev = {
        .event = events[what],
        .id = a->dev,
        .cpu = a->cpu ? (uint8_t)(a->cpu - 1) : DEVICE_NO_CPU,
        .line = EXIT_NO_LINE,
        .vector = EXIT_NO_VECTOR,
    };
    uint64_t now;

    if (!m->hooks.event)
        return;
    if (what == ALARM_SET) {
        now = door_now(&m->door);
        ev.value = a->at_ns > now ? a->at_ns - now : 0;
    }
    machine_event(m, &ev);
}

/* ---- building ------------------------------------------------------------------------------- */

static int add_dev(struct machine *m, const struct dev_ops *ops, struct err *e)
{
    struct dev *d = &m->dev[m->devs];
    int r;

    if (m->devs == MACHINE_DEVS_MAX)
        return err_set(e, ENOSPC, "no room for device %s: the board holds %d", ops->name,
                       MACHINE_DEVS_MAX);
    *d = (struct dev){.ops = ops, .m = m, .id = m->devs};
    d->state = xcalloc(1, ops->state_bytes);
    r = ops->init ? ops->init(d, e) : 0;
    if (r) {
        bus_release(&m->bus, d);
        free(d->state);
        *d = (struct dev){0};
        return r;
    }
    m->devs++;
    return 0;
}

static void reset_all(struct machine *m)
{
    m->wish = WISH_NONE;
    m->wish_value = 0;
    /* KVM cannot mask address line 20, and no firmware here runs with it masked. */
    m->a20 = true;
    for (unsigned i = 0; i < MACHINE_CPUS_MAX; i++) {
        atomic_store(&m->cpu[i].attention, 0);
        m->cpu[i].sipi_vector = -1;
    }
    door_reset(&m->door);
    for (unsigned i = 0; i < m->devs; i++)
        if (m->dev[i].ops->reset)
            m->dev[i].ops->reset(&m->dev[i]);
}

int machine_init(struct machine *m, unsigned cpus, struct mem *mem, bool irqchip_kernel,
                 bool manual, const struct machine_hooks *hooks, struct err *e)
{
    int r = 0;

    memset(m, 0, sizeof *m);
    if (!cpus || cpus > MACHINE_CPUS_MAX)
        return err_set(e, EINVAL, "a machine of %u vCPUs cannot be built: 1 to %d are possible",
                       cpus, MACHINE_CPUS_MAX);
    pthread_mutex_init(&m->lock, NULL);
    pthread_mutex_lock(&m->lock);
    door_init(&m->door, manual);
    m->mem = mem;
    m->cpus = cpus;
    m->irqchip_kernel = irqchip_kernel;
    if (hooks)
        m->hooks = *hooks;
    m->door.news = on_alarm_news;
    m->door.news_arg = m;
    for (unsigned i = 0; !r && dev_table[i]; i++)
        if (!(irqchip_kernel && dev_table[i]->in_kernel))
            r = add_dev(m, dev_table[i], e);
    if (!r)
        reset_all(m);
    pthread_mutex_unlock(&m->lock);
    if (r)
        machine_fini(m);
    return r;
}

void machine_fini(struct machine *m)
{
    if (!m->cpus)
        return;
    pthread_mutex_lock(&m->lock);
    while (m->devs) {
        struct dev *d = &m->dev[--m->devs];

        if (d->ops->fini)
            d->ops->fini(d);
        free(d->state);
        *d = (struct dev){0};
    }
    door_fini(&m->door);
    m->cpus = 0;
    pthread_mutex_unlock(&m->lock);
    pthread_mutex_destroy(&m->lock);
}

int machine_add(struct machine *m, const struct dev_ops *ops, struct err *e)
{
    int r;

    pthread_mutex_lock(&m->lock);
    r = machine_dev(m, ops->name) ? err_set(e, EEXIST, "there is a device %s already", ops->name)
                                  : add_dev(m, ops, e);
    if (!r && ops->reset)
        ops->reset(&m->dev[m->devs - 1]);
    pthread_mutex_unlock(&m->lock);
    return r;
}

void machine_reset(struct machine *m)
{
    pthread_mutex_lock(&m->lock);
    board_event(m, DEVICE_RESET);
    reset_all(m);
    pthread_mutex_unlock(&m->lock);
}

struct dev *machine_dev(struct machine *m, const char *name)
{
    for (unsigned i = 0; i < m->devs; i++)
        if (!strcmp(m->dev[i].ops->name, name))
            return &m->dev[i];
    return NULL;
}

void *machine_state(const struct machine *m, const struct dev_ops *ops)
{
    for (unsigned i = 0; i < m->devs; i++)
        if (m->dev[i].ops == ops)
            return m->dev[i].state;
    return NULL;
}

void machine_wish(struct machine *m, enum board_wish wish, uint32_t value)
{
    if (m->wish != WISH_NONE)
        return; /* the first one stands until the machine has stopped for it */
    m->wish = wish;
    m->wish_value = value;
    if (wish == WISH_POWER_OFF)
        board_event(m, DEVICE_POWER_OFF);
}

void machine_console(struct machine *m, enum console_chan chan, const void *bytes, size_t len)
{
    if (m->hooks.console && len)
        m->hooks.console(m->hooks.arg, chan, bytes, len);
}

void machine_attention(struct machine *m, unsigned cpu, unsigned attn)
{
    unsigned before;

    if (cpu >= m->cpus)
        return;
    before = atomic_fetch_or(&m->cpu[cpu].attention, attn);
    if ((before & attn) != attn && m->hooks.kick)
        m->hooks.kick(m->hooks.arg, cpu);
}
