/*
 * The ring-3 program of the ring3 guest: linked at 1 GiB by image.ld, shares nothing with the
 * kernel but ring3.h. Makes system calls by both instructions and ends by a forbidden read.
 */
#include "guests/ring3.h"

#define ROUNDS 4

void user_main(void);

static long by_int80(long number, long a, long b, long c)
{
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c) : "memory");
    return result;
}

static long by_syscall(long number, long a, long b, long c)
{
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result), "+D"(a), "+S"(b), "+d"(c)
                     : "a"(number)
                     : "rcx", "r8", "r9", "r10", "r11", "memory", "cc");
    return result;
}

#define WRITE(how, text) how(SYS_WRITE, (long)(text), sizeof(text) - 1, 0)

/* The first function of the program: image.ld puts this object's text first. */
void user_main(void)
{
    static const char hello_int80[] = "ring3: hello by INT 0x80\n";
    static const char hello_syscall[] = "ring3: hello by SYSCALL\n";
    int good = 1;
    good &= WRITE(by_int80, hello_int80) == sizeof hello_int80 - 1;
    good &= WRITE(by_syscall, hello_syscall) == sizeof hello_syscall - 1;
    for (long i = 0; i < ROUNDS; i++) {
        good &= by_int80(SYS_ADD, i, 10, 100) == i + 110;
        good &= by_syscall(SYS_ADD, i, 20, 200) == i + 220;
    }
    by_syscall(SYS_DONE, good, 0, 0);
    (void)*(volatile long *)KERNEL_SECRET; /* the kernel ends the run here */
    for (;;)
        ;
}
