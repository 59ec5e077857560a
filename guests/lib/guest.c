/*
 * Console, command line and the end of the run for guests in C. See guest.h.
 */
#include "guests/lib/guest.h"

#include <stdarg.h>

uint32_t guest_multiboot_magic;
uintptr_t guest_multiboot_info;

#define MULTIBOOT1_LOADED  0x2badb002
#define MULTIBOOT1_CMDLINE 4u /* flag: the word at offset 16 points to the command line */

#define UART_LSR  (TESTDEV_COM1 + 5)
#define UART_THRE 0x20

void console_init(void)
{
    outb(TESTDEV_COM1 + 1, 0x00); /* no interrupts */
    outb(TESTDEV_COM1 + 3, 0x80); /* divisor latch */
    outb(TESTDEV_COM1 + 0, 0x01);
    outb(TESTDEV_COM1 + 1, 0x00);
    outb(TESTDEV_COM1 + 3, 0x03); /* 8N1 */
    outb(TESTDEV_COM1 + 2, 0x07); /* FIFOs on and empty */
    outb(TESTDEV_COM1 + 4, 0x03);
}

void print_char(char c)
{
    while (!(inb(UART_LSR) & UART_THRE))
        __asm__ volatile("pause");
    outb(TESTDEV_COM1, (uint8_t)c);
}

void print(const char *s)
{
    while (*s)
        print_char(*s++);
}

void print_dec(unsigned long v)
{
    char digits[21];
    unsigned i = sizeof digits - 1;
    digits[i] = 0;
    do
        digits[--i] = (char)('0' + v % 10);
    while (v /= 10);
    print(&digits[i]);
}

void print_hex(unsigned long v)
{
    char digits[17];
    unsigned i = sizeof digits - 1;
    digits[i] = 0;
    do
        digits[--i] = "0123456789abcdef"[v & 15];
    while (v >>= 4);
    print("0x");
    print(&digits[i]);
}

void printk(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    for (; *fmt; fmt++) {
        if (*fmt != '%') {
            print_char(*fmt);
            continue;
        }
        switch (*++fmt) {
        case 's':
            print(va_arg(ap, const char *));
            break;
        case 'c':
            print_char((char)va_arg(ap, int));
            break;
        case 'd':
            print_dec(va_arg(ap, unsigned long));
            break;
        case 'x':
            print_hex(va_arg(ap, unsigned long));
            break;
        case 0:
            va_end(ap);
            return;
        default:
            print_char(*fmt);
        }
    }
    va_end(ap);
}

void debug_print(const char *s)
{
    while (*s)
        outb(TESTDEV_CONSOLE, (uint8_t)*s++);
}

static const char *multiboot_cmdline(void)
{
    const uint32_t *mbi = (const uint32_t *)guest_multiboot_info;
    if (guest_multiboot_magic != MULTIBOOT1_LOADED || !mbi || !(mbi[0] & MULTIBOOT1_CMDLINE))
        return "";
    return (const char *)(uintptr_t)mbi[4];
}

static unsigned long parse_number(const char *s)
{
    unsigned base = 10;
    unsigned long v = 0;
    if (s[0] == '0' && s[1] == 'x') {
        base = 16;
        s += 2;
    }
    for (;; s++) {
        unsigned d;
        if (*s >= '0' && *s <= '9')
            d = (unsigned)(*s - '0');
        else if (base == 16 && *s >= 'a' && *s <= 'f')
            d = (unsigned)(*s - 'a') + 10;
        else
            return v;
        v = v * base + d;
    }
}

unsigned long cmdline_number(const char *name, unsigned long otherwise)
{
    const char *s = multiboot_cmdline();
    while (*s) {
        const char *n = name;
        while (*n && *s == *n) {
            s++;
            n++;
        }
        if (!*n && *s == '=')
            return parse_number(s + 1);
        while (*s && *s != ' ')
            s++;
        while (*s == ' ')
            s++;
    }
    return otherwise;
}

void guest_done(uint8_t code)
{
    outb(TESTDEV_EXIT, code);
    for (;;) /* a board without the port */
        __asm__ volatile("cli; hlt");
}

void guest_assert_failed(const char *what, const char *file, unsigned line)
{
    printk("%s:%d: assertion failed: %s\n", file, (unsigned long)line, what);
    guest_done(TESTDEV_CODE_ASSERT);
}
