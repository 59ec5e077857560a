/*
 * stack: calls that go deep and come back, for backtraces, `finish`, `up` and `until`.
 *
 * build   make guests            gives o/guests/stack (ELF64, multiboot 1)
 * run     ./vmscope run o/guests/stack
 * expect  status 33; COM1: "stack: bottom reached, depth 10", "stack: sum 55, ping-pong 20";
 *         at `bottom`: ten frames of `descend`, then `guest_main`, `start64`, and the end (rbp 0);
 *         `finish` from descend(n) returns n * (n + 1) / 2
 */
#include "guests/lib/guest.h"

#define DEPTH 10

#define NOT_INLINE __attribute__((noinline))

NOT_INLINE static unsigned long bottom(unsigned long depth)
{
    printk("stack: bottom reached, depth %d\n", depth);
    return 0;
}

NOT_INLINE static unsigned long descend(unsigned long n, unsigned long depth)
{
    volatile unsigned long here = n; /* a local to look at in every frame */
    unsigned long below = n == 0 ? bottom(depth) : descend(n - 1, depth + 1);
    return below + here;
}

static unsigned long pong(unsigned long n);

NOT_INLINE static unsigned long ping(unsigned long n)
{
    return n == 0 ? 0 : pong(n - 1) + 1;
}

NOT_INLINE static unsigned long pong(unsigned long n)
{
    return n == 0 ? 0 : ping(n - 1) + 1;
}

void guest_main(uintptr_t mbi)
{
    (void)mbi;
    unsigned long sum = descend(DEPTH, 0);
    unsigned long rallies = ping(2 * DEPTH);
    GUEST_ASSERT(sum == DEPTH * (DEPTH + 1) / 2);
    GUEST_ASSERT(rallies == 2 * DEPTH);
    printk("stack: sum %d, ping-pong %d\n", sum, rallies);
    GUEST_PASS();
}
