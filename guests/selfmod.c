/*
 * selfmod: code that changes itself. Rewrites an immediate and calls the function again; builds a
 * function in a data page; overwrites the instruction that is executed next.
 *
 * build   make guests            gives o/guests/selfmod (ELF64, multiboot 1)
 * run     ./vmscope run o/guests/selfmod
 * expect  status 33; COM1: "selfmod: immediate 100 times, sum 4950", "selfmod: built function says
 *         0x2a", "selfmod: next instruction replaced"; breakpoints planted in `patched` are
 *         overwritten by the guest
 */
#include "guests/lib/guest.h"

#define ROUNDS 100

/* patched: mov $imm32, %eax; ret. The immediate is at patched + 1. The text pages are mapped
 * writable by crt0. */
__asm__(".section .text\n"
        ".globl patched\n"
        ".type patched, @function\n"
        "patched: movl $0x11111111, %eax\n"
        "ret\n"
        ".size patched, . - patched\n"
        /* Makes `add $1, %eax` of the `nop`s right behind the store. */
        ".globl replace_next\n"
        ".type replace_next, @function\n"
        "replace_next: xorl %eax, %eax\n"
        "movl $0x9001c083, 1f(%rip)\n"
        "jmp 1f\n" /* serialises the fetch on old processors */
        "1: nop; nop; nop; nop\n"
        "ret\n"
        ".size replace_next, . - replace_next\n"
        ".previous\n");

extern uint8_t patched[];
unsigned replace_next(void);

static uint8_t page[4096] __attribute__((aligned(4096)));

static unsigned call(const void *code)
{
    unsigned value;
    __asm__ volatile("call *%1" : "=&a"(value) : "r"(code) : "memory", "cc");
    return value;
}

void guest_main(uintptr_t mbi)
{
    static const uint8_t built[] = {0xb8, 0x2a, 0, 0, 0, 0xc3}; /* mov $42, %eax; ret */
    unsigned long sum = 0;
    (void)mbi;

    for (unsigned i = 0; i < ROUNDS; i++) {
        *(volatile uint32_t *)(patched + 1) = i;
        unsigned got = call(patched);
        GUEST_ASSERT(got == i);
        sum += got;
    }
    printk("selfmod: immediate %d times, sum %d\n", (unsigned long)ROUNDS, sum);

    for (unsigned i = 0; i < sizeof built; i++)
        ((volatile uint8_t *)page)[i] = built[i];
    unsigned long answer = call(page);
    GUEST_ASSERT(answer == 42);
    printk("selfmod: built function says %x\n", answer);

    GUEST_ASSERT(replace_next() == 1);
    print("selfmod: next instruction replaced\n");
    GUEST_PASS();
}
