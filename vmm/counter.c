/*
 * Single counters out of KVM's binary statistics.
 */
#include "vmm/counter.h"

#include <linux/kvm.h>
#include <string.h>
#include <unistd.h>

#include "vmm/kvm.h"

off_t counter_find(int fd, const char *name)
{
    struct kvm_stats_header h;
    char desc[sizeof(struct kvm_stats_desc) + 256];
    size_t size;

    if (pread(fd, &h, sizeof h, 0) != (ssize_t)sizeof h || h.name_size > 255)
        return -1;
    size = sizeof(struct kvm_stats_desc) + h.name_size;
    for (uint32_t i = 0; i < h.num_desc && i < 4096; i++) {
        struct kvm_stats_desc *d = (struct kvm_stats_desc *)desc;

        if (pread(fd, desc, size, (off_t)(h.desc_offset + i * size)) != (ssize_t)size)
            return -1;
        desc[size] = 0;
        if (!strcmp(d->name, name))
            return (off_t)h.data_offset + d->offset;
    }
    return -1;
}

bool counter_read(int fd, off_t at, uint64_t *value)
{
    return fd >= 0 && at >= 0 && pread(fd, value, sizeof *value, at) == (ssize_t)sizeof *value;
}

bool kvm_work_read(struct kvm_work *w, int vcpu_fd, uint64_t *sum)
{
    uint64_t exits, insns;

    if (!w->asked) {
        w->asked = true;
        w->fd = kvm_get_stats_fd(vcpu_fd);
        w->exits = w->fd < 0 ? -1 : counter_find(w->fd, "exits");
        w->insns = w->fd < 0 ? -1 : counter_find(w->fd, "insn_emulation");
    }
    if (!counter_read(w->fd, w->exits, &exits) || !counter_read(w->fd, w->insns, &insns))
        return false;
    *sum = exits + insns;
    return true;
}

void kvm_work_close(struct kvm_work *w)
{
    if (w->asked && w->fd >= 0)
        close(w->fd);
    *w = (struct kvm_work){0};
}
