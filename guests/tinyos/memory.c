/*
 * Page tables. boot.S has mapped the first GiB at KERNEL_BASE; the lower half belongs to the
 * process, and what is not its own faults: so does the null pointer.
 */
#include "guests/tinyos/tinyos.h"

#define PTE_PRESENT 0x001ul
#define PTE_WRITE   0x002ul
#define PTE_USER    0x004ul
#define PTE_LARGE   0x080ul
#define PTE_ADDRESS 0x000ffffffffff000ul

static uint64_t user_pdpt[512] __attribute__((aligned(4096)));
static uint64_t user_pd[512] __attribute__((aligned(4096)));
static uint64_t user_pts[4][512] __attribute__((aligned(4096)));

static uint64_t *pml4(void)
{
    uint64_t cr3;
    __asm__ volatile("mov %%cr3, %0" : "=r"(cr3));
    return phys_to_virt(cr3 & PTE_ADDRESS);
}

static void flush(void)
{
    uint64_t cr3;
    __asm__ volatile("mov %%cr3, %0; mov %0, %%cr3" : "=r"(cr3) : : "memory");
}

/* 8 MiB of page tables for the process: 4 tables of 2 MiB each. */
void memory_init(void)
{
    const uint64_t flags = PTE_PRESENT | PTE_WRITE | PTE_USER;
    for (unsigned i = 0; i < ARRAY_LEN(user_pts); i++)
        user_pd[i] = virt_to_phys(user_pts[i]) | flags;
    user_pdpt[0] = virt_to_phys(user_pd) | flags;
    pml4()[0] = virt_to_phys(user_pdpt) | flags;
    flush();
}

void memory_map_user(uint64_t virt, uint64_t phys, bool writable)
{
    unsigned table = (unsigned)(virt >> 21);
    if (table >= ARRAY_LEN(user_pts))
        return;
    user_pts[table][virt >> 12 & 511] = phys | PTE_PRESENT | PTE_USER | (writable ? PTE_WRITE : 0);
    flush();
}

/* The processor's walk, by hand. */
static bool is_page_mapped(uint64_t virt, bool user)
{
    uint64_t upper = virt >> 47;
    if (upper != 0 && upper != 0x1ffff)
        return false; /* not canonical */
    const uint64_t need = PTE_PRESENT | (user ? PTE_USER : 0);
    const uint64_t *table = pml4();
    for (unsigned shift = 39;; shift -= 9) {
        uint64_t entry = table[virt >> shift & 511];
        if ((entry & need) != need)
            return false;
        if (shift == 12 || (shift < 39 && entry & PTE_LARGE))
            return true;
        table = phys_to_virt(entry & PTE_ADDRESS);
    }
}

bool memory_is_mapped(uint64_t virt, uint64_t len, bool user)
{
    if (len == 0)
        return true;
    uint64_t last = virt + len - 1;
    if (last < virt)
        return false;
    for (uint64_t page = virt & ~0xffful; page <= last; page += 4096) {
        if (!is_page_mapped(page, user))
            return false;
        if (page >= ~0xffful) /* the topmost page: the next would be zero again */
            break;
    }
    return true;
}
