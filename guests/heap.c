/*
 * heap: a small allocator and a program that misuses it on purpose, for heap checkers.
 *
 * build   make guests            gives o/guests/heap (ELF64, multiboot 1)
 * run     ./vmscope run --script heapcheck,alloc=heap_alloc,free=heap_free o/guests/heap
 * expect  status 33; COM1: "heap: 6 blocks given"; one block is freed twice, one pointer that was
 *         never given is freed, two blocks of 32 and 48 bytes are never freed
 */
#include "guests/lib/guest.h"

#define NOT_INLINE __attribute__((noinline))

static uint8_t pool[4096] __attribute__((aligned(16)));
static unsigned long used, given;

void *heap_alloc(unsigned long size);
void heap_free(void *block);

/* Nothing is used again, so what is misused does no harm here. */
NOT_INLINE void *heap_alloc(unsigned long size)
{
    void *block = pool + used;

    if (size > sizeof pool - used)
        return NULL;
    used += (size + 15) & ~15ul;
    given++;
    return block;
}

NOT_INLINE void heap_free(void *block)
{
    __asm__ volatile("" : : "r"(block) : "memory");
}

void guest_main(uintptr_t mbi)
{
    void *a = heap_alloc(16), *b = heap_alloc(24), *c = heap_alloc(100), *d = heap_alloc(7);

    (void)mbi;
    heap_alloc(32);
    heap_alloc(48);
    heap_free(a);
    heap_free(b);
    heap_free(c);
    heap_free(d);
    heap_free(b);
    heap_free((uint8_t *)c + 8);
    heap_free(NULL);
    GUEST_ASSERT(given == 6);
    printk("heap: %d blocks given\n", given);
    GUEST_PASS();
}
