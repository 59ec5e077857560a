/*
 * pagefault: demand paging by hand. The handler checks CR2 and the error code, maps the missing
 * page and lets the instruction run again; then a page is made read-only and written.
 *
 * build   make guests            gives o/guests/pagefault (ELF64, multiboot 1)
 * run     ./vmscope run o/guests/pagefault
 * expect  status 33; COM1: "pagefault: fault 1 at 0x50001238 error 0x2", "… fault 2 at 0x50002000
 *         error 0x0", "… fault 3 at 0x50001ff8 error 0x3", "pagefault: 3 faults repaired"
 */
#include "guests/lib/guest.h"
#include "guests/lib/trap.h"

#define WINDOW     0x50000000ul /* in the second GiB: nothing is mapped there at the start */
#define PAGES      4
#define PTE_P      1ul
#define PTE_W      2ul
#define PF_PRESENT 1ul
#define PF_WRITE   2ul

extern uint64_t boot_pml4[512];

static uint64_t pd[512] __attribute__((aligned(4096)));
static uint64_t pt[512] __attribute__((aligned(4096)));
static uint8_t pages[PAGES][4096] __attribute__((aligned(4096)));

static volatile unsigned faults;
static volatile uint64_t last_address, last_error;

static void on_page_fault(struct trap *t)
{
    uint64_t cr2;
    __asm__ volatile("mov %%cr2, %0" : "=r"(cr2));
    unsigned page = (unsigned)((cr2 - WINDOW) >> 12);
    GUEST_ASSERT(cr2 >= WINDOW && page < PAGES);
    faults++;
    last_address = cr2;
    last_error = t->error;
    printk("pagefault: fault %d at %x error %x\n", (unsigned long)faults, cr2, t->error);
    pt[page] = (uint64_t)pages[page] | PTE_P | PTE_W;
    if (t->error & PF_PRESENT)
        __asm__ volatile("invlpg (%0)" : : "r"(cr2) : "memory");
}

static void expect_fault(unsigned number, uint64_t address, uint64_t error)
{
    GUEST_ASSERT(faults == number);
    GUEST_ASSERT(last_address == address);
    GUEST_ASSERT(last_error == error);
}

void guest_main(uintptr_t mbi)
{
    (void)mbi;
    uint64_t *pdpt = (uint64_t *)(boot_pml4[0] & ~0xffful);
    pdpt[WINDOW >> 30] = (uint64_t)pd | PTE_P | PTE_W;
    pd[WINDOW >> 21 & 511] = (uint64_t)pt | PTE_P | PTE_W;
    trap_init();
    trap_handle(TRAP_PF, on_page_fault, 0);

    volatile uint64_t *p = (volatile uint64_t *)(WINDOW + 0x1238);
    *p = 0x1122334455667788;
    expect_fault(1, WINDOW + 0x1238, PF_WRITE);
    GUEST_ASSERT(*p == 0x1122334455667788);
    GUEST_ASSERT(*(uint64_t *)&pages[1][0x238] == 0x1122334455667788);

    *(uint64_t *)pages[2] = 42;
    GUEST_ASSERT(*(volatile uint64_t *)(WINDOW + 0x2000) == 42);
    expect_fault(2, WINDOW + 0x2000, 0);

    pt[1] &= ~PTE_W;
    __asm__ volatile("invlpg (%0)" : : "r"(WINDOW + 0x1000) : "memory");
    *(volatile uint64_t *)(WINDOW + 0x1ff8) = 7;
    expect_fault(3, WINDOW + 0x1ff8, PF_PRESENT | PF_WRITE);
    GUEST_ASSERT(faults == 3);

    printk("pagefault: %d faults repaired\n", (unsigned long)faults);
    GUEST_PASS();
}
