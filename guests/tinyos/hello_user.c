/*
 * The program that `user` runs in ring 3. Linked at 4 MiB by tinyos.ld, shares nothing with the
 * kernel but syscall.h; constants and the stack are all its memory. The argument says how it ends:
 * 0 by exit(42), 1 by reading the kernel's memory.
 */
#include "guests/tinyos/syscall.h"

#define KERNEL_ADDRESS 0xffffffff80100000ul

void user_main(unsigned long arg);

static long by_int80(long number, long a, long b)
{
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "D"(a), "S"(b) : "memory");
    return result;
}

static long by_syscall(long number, long a, long b)
{
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b)
                     : "rcx", "r11", "memory");
    return result;
}

static void print(const char *s)
{
    long len = 0;
    while (s[len])
        len++;
    by_syscall(SYS_WRITE, (long)s, len);
}

static void print_number(unsigned long v)
{
    char digits[21];
    unsigned i = sizeof digits - 1;
    digits[i] = 0;
    do
        digits[--i] = (char)('0' + v % 10);
    while (v /= 10);
    print(&digits[i]);
}

void user_main(unsigned long arg)
{
    static const char hello[] = "user: hello from ring 3 by INT 0x80\n";
    by_int80(SYS_WRITE, (long)hello, sizeof hello - 1);
    print("user: and by SYSCALL\n");

    unsigned long before = (unsigned long)by_int80(SYS_GETTICKS, 0, 0);
    by_syscall(SYS_SLEEP, 100, 0);
    unsigned long slept = (unsigned long)by_syscall(SYS_GETTICKS, 0, 0) - before;
    print("user: slept 100 ms, ");
    print_number(slept);
    print(" ticks\n");

    if (by_syscall(SYS_WRITE, (long)KERNEL_ADDRESS, 16) == -1)
        print("user: the kernel does not print its own memory for me\n");
    if (arg == 1) {
        print("user: so I read it myself\n");
        (void)*(volatile long *)KERNEL_ADDRESS;
    }
    print("user: exit(42)\n");
    by_int80(SYS_EXIT, 42, 0);
}
