/*
 * The one program of the test's initramfs: says on the console that ring 3 was reached, sleeps for
 * a moment, so that the processor halts, does what the stories stop at, and leaves by vmscope's
 * debug exit, with the processor's reset as a second way out. No C library.
 */
#define SYS_WRITE  1
#define SYS_SLEEP  35
#define SYS_GETPID 39
#define SYS_REBOOT 169
#define SYS_IOPERM 173

static long call(long n, long a, long b, long c)
{
    long r;

    __asm__ volatile("syscall" : "=a"(r) : "a"(n), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
    return r;
}

/* Watched, and a page that is not there before the first touch. */
volatile long counter;
volatile char room[3 * 4096] __attribute__((aligned(4096)));

__attribute__((noinline, noclone)) long add(long x)
{
    counter += x;
    return counter;
}

__attribute__((noinline, noclone)) void touch(void)
{
    room[4096] = 1;
}

void _start(void)
{
    static const long nap[] = {0, 20000000}; /* seconds, nanoseconds */
    static const char text[] = "vmscope-init: ring 3 reached\n";

    call(SYS_WRITE, 1, (long)text, sizeof text - 1);
    call(SYS_SLEEP, (long)nap, 0, 0);
    add(1);
    add(2);
    call(SYS_GETPID, 0, 0, 0);
    touch();
    add(3);
    call(SYS_IOPERM, 0xf4, 1, 1);
    __asm__ volatile("outb %%al, %%dx" : : "a"((char)0x10), "d"(0xf4));
    call(SYS_REBOOT, (long)0xfee1dead, 672274793, 0x01234567);
    for (;;)
        ;
}
