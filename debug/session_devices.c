/*
 * Devices of a session as clients see them. Main thread, except session_reg_name.
 */
#include "debug/session_priv.h"

#include <errno.h>

#include "debug/trace/trace_names.h"

size_t session_input(struct session *s, enum door_input in, const void *bytes, size_t len)
{
    return vm_input(s->vm, in, bytes, len);
}

const char *session_device_name(struct session *s, unsigned i)
{
    return i < s->vm->m.devs ? s->vm->m.dev[i].ops->name : NULL;
}

int session_device_describe(struct session *s, const char *name, struct buf *out)
{
    struct dev *d;

    pthread_mutex_lock(&s->vm->m.lock);
    d = machine_dev(&s->vm->m, name);
    if (d)
        dev_describe(d, out);
    pthread_mutex_unlock(&s->vm->m.lock);
    return d ? 0 : -ENOENT;
}

const char *session_reg_name(struct session *s, const struct exit_event *ev)
{
    struct machine *m = &s->vm->m;
    const char *name = NULL;
    struct dev *d = NULL;
    uint64_t off = 0;
    bool write = false;

    if (ev->reason == EXIT_ASSIST)
        return names_assisted(ev, s->insn_text, sizeof s->insn_text);
    if (ev->reason == EXIT_DEVICE)
        return ev->u.device.id < m->devs ? m->dev[ev->u.device.id].ops->name : NULL;
    if (ev->reason == KVM_EXIT_IO) {
        d = bus_port_dev(m, ev->u.io.port); /* the port map does not change while it runs */
        off = ev->u.io.port;
        write = ev->u.io.write;
    } else if (ev->reason == KVM_EXIT_MMIO) {
        if (ev->flags & EXIT_F_RAM)
            return "watched memory";
        d = bus_mmio_dev(m, ev->u.mmio.gpa, &off);
        write = ev->u.mmio.write != 0;
    }
    if (d && d->ops->reg_name)
        name = d->ops->reg_name(d, off, write);
    return name ? name : d ? d->ops->name : NULL;
}

uint64_t session_guest_time(struct session *s)
{
    uint64_t now;

    pthread_mutex_lock(&s->vm->m.lock);
    now = door_now(&s->vm->m.door);
    pthread_mutex_unlock(&s->vm->m.lock);
    return now;
}
