/*
 * Guest RAM in one memfd. Called by vm.c, loaders, devices (DMA) and the debugger.
 */
#include "vmm/mem.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void add_region(struct mem *m, uint64_t gpa, uint64_t off, uint64_t len_bytes)
{
    if (!len_bytes)
        return;
    m->region[m->regions++] =
        (struct mem_region){.gpa = gpa, .len_bytes = len_bytes, .hva = m->base + off};
}

int mem_init(struct mem *m, uint64_t ram_bytes, struct err *e)
{
    uint64_t low;

    *m = (struct mem){.memfd = -1};
    if (ram_bytes < MEM_MIN_BYTES)
        return err_set(e, EINVAL, "guest memory of %llu bytes is too small: the least is 1M",
                       (unsigned long long)ram_bytes);
    if (ram_bytes > 1ull << 46)
        return err_set(e, EINVAL, "guest memory of %llu bytes is more than a processor addresses",
                       (unsigned long long)ram_bytes);
    ram_bytes = (ram_bytes + PAGE_BYTES - 1) & ~(uint64_t)(PAGE_BYTES - 1);
    m->memfd = memfd_create("guest-ram", MFD_CLOEXEC);
    if (m->memfd < 0)
        return err_set(e, errno, "cannot create guest memory: %s", strerror(errno));
    if (ftruncate(m->memfd, (off_t)ram_bytes) < 0)
        return err_set(e, errno, "cannot size guest memory to %llu bytes: %s",
                       (unsigned long long)ram_bytes, strerror(errno));
    /* NORESERVE: pages cost the host only once the guest touches them. */
    m->base =
        mmap(NULL, ram_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, m->memfd, 0);
    if (m->base == MAP_FAILED) {
        m->base = NULL;
        return err_set(e, errno, "cannot map %llu bytes of guest memory: %s; try a smaller -m",
                       (unsigned long long)ram_bytes, strerror(errno));
    }
    m->ram_bytes = ram_bytes;
    low = ram_bytes < MEM_HOLE_START ? ram_bytes : MEM_HOLE_START;
    add_region(m, 0, 0, low);
    add_region(m, MEM_HOLE_END, low, ram_bytes - low);
    return 0;
}

void mem_fini(struct mem *m)
{
    if (m->base)
        munmap(m->base, m->ram_bytes);
    if (m->memfd >= 0)
        close(m->memfd);
    *m = (struct mem){.memfd = -1};
}

static const struct mem_region *find(const struct mem *m, uint64_t gpa)
{
    for (unsigned i = 0; i < m->regions; i++)
        if (gpa - m->region[i].gpa < m->region[i].len_bytes)
            return &m->region[i];
    return NULL;
}

uint8_t *mem_ptr(const struct mem *m, uint64_t gpa, uint64_t len_bytes)
{
    const struct mem_region *r = find(m, gpa);

    if (!r || len_bytes > r->len_bytes - (gpa - r->gpa))
        return NULL;
    return r->hva + (gpa - r->gpa);
}

/* The longest run of RAM at `gpa` within one region, clipped to `want`; 0 when none. */
static size_t span(const struct mem *m, uint64_t gpa, size_t want, uint8_t **hva)
{
    const struct mem_region *r = find(m, gpa);
    uint64_t have;

    if (!r)
        return 0;
    have = r->len_bytes - (gpa - r->gpa);
    *hva = r->hva + (gpa - r->gpa);
    return want < have ? want : (size_t)have;
}

size_t mem_read(const struct mem *m, uint64_t gpa, void *dst, size_t len_bytes)
{
    size_t done = 0, n;
    uint8_t *hva;

    while (done < len_bytes && (n = span(m, gpa + done, len_bytes - done, &hva))) {
        memcpy((uint8_t *)dst + done, hva, n);
        done += n;
    }
    return done;
}

size_t mem_write(struct mem *m, uint64_t gpa, const void *src, size_t len_bytes)
{
    size_t done = 0, n;
    uint8_t *hva;

    while (done < len_bytes && (n = span(m, gpa + done, len_bytes - done, &hva))) {
        memcpy(hva, (const uint8_t *)src + done, n);
        done += n;
    }
    return done;
}

size_t mem_run(const struct mem *m, uint64_t gpa, size_t len_bytes)
{
    size_t done = 0, n;
    uint8_t *hva;

    while (done < len_bytes && (n = span(m, gpa + done, len_bytes - done, &hva)))
        done += n;
    return done;
}

uint64_t mem_low_end(const struct mem *m)
{
    return m->regions && m->region[0].gpa == 0 ? m->region[0].len_bytes : 0;
}
