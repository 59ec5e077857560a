/*
 * rep_io: string I/O. REP OUTSB to COM1 and port 0xE9 (forwards and, with the direction flag,
 * backwards), REP OUTSW and OUTSL to the POST port, REP INSB from COM1's scratch register.
 *
 * build   make guests            gives o/guests/rep_io (ELF64, multiboot 1)
 * run     ./vmscope run o/guests/rep_io
 * expect  status 33; COM1: "rep_io: forwards", "rep_io: backwards", "rep_io: 32 bytes read";
 *         port 0xE9: "rep_io: debug console"; 16 word and 8 long writes to 0x80, 32 reads of 0x3FF
 *         (one exit an element, or fewer where KVM hands over several elements at once)
 */
#include "guests/lib/guest.h"

#define COM1_SCRATCH (TESTDEV_COM1 + 7)

static const void *outsb(uint16_t port, const void *from, size_t n)
{
    __asm__ volatile("rep outsb" : "+S"(from), "+c"(n) : "d"(port) : "memory");
    GUEST_ASSERT(n == 0);
    return from;
}

static const void *outsb_down(uint16_t port, const void *from, size_t n)
{
    __asm__ volatile("std; rep outsb; cld" : "+S"(from), "+c"(n) : "d"(port) : "memory", "cc");
    GUEST_ASSERT(n == 0);
    return from;
}

void guest_main(uintptr_t mbi)
{
    static const char forwards[] = "rep_io: forwards\n";
    static const char backwards[] = "\nsdrawkcab :oi_per";
    static const char debug[] = "rep_io: debug console\n";
    static uint8_t buffer[34];
    static uint32_t words[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    (void)mbi;

    const char *end = outsb(TESTDEV_COM1, forwards, sizeof forwards - 1);
    GUEST_ASSERT(end == forwards + sizeof forwards - 1);
    end = outsb_down(TESTDEV_COM1, backwards + sizeof backwards - 2, sizeof backwards - 1);
    GUEST_ASSERT(end == backwards - 1);
    (void)outsb(TESTDEV_CONSOLE, debug, sizeof debug - 1);

    const void *from = words;
    size_t n = 16;
    __asm__ volatile("rep outsw" : "+S"(from), "+c"(n) : "d"(TESTDEV_POST) : "memory");
    GUEST_ASSERT(n == 0 && from == words + 8);
    from = words;
    n = 8;
    __asm__ volatile("rep outsl" : "+S"(from), "+c"(n) : "d"(TESTDEV_POST) : "memory");
    GUEST_ASSERT(n == 0 && from == words + 8);

    outb(COM1_SCRATCH, 0x5a);
    void *to = buffer + 1;
    n = 32;
    __asm__ volatile("rep insb" : "+D"(to), "+c"(n) : "d"(COM1_SCRATCH) : "memory");
    GUEST_ASSERT(n == 0 && to == buffer + 33);
    GUEST_ASSERT(buffer[0] == 0 && buffer[33] == 0);
    for (unsigned i = 1; i <= 32; i++)
        GUEST_ASSERT(buffer[i] == 0x5a);
    printk("rep_io: %d bytes read\n", 32ul);
    GUEST_PASS();
}
