/*
 * What every guest written in C stands on: port access, the COM1 console, asserts and the end of
 * the run. Freestanding; compiled for 32-bit protected mode and for long mode. One processor uses
 * the console at a time.
 */
#ifndef GUESTS_LIB_GUEST_H
#define GUESTS_LIB_GUEST_H

#include <stddef.h>
#include <stdint.h>

#include "guests/lib/cpu.h"
#include "vmm/testdev_abi.h"

/* COM1, 115200 8N1, polled. crt0 has set it up before guest_main. */
void console_init(void);
void print_char(char c);
void print(const char *s);
void print_dec(unsigned long v);
void print_hex(unsigned long v); /* 0x and as many digits as needed */
/* Printf's little sister: %s %c %d (unsigned long) %x (unsigned long, with 0x) %%. */
void printk(const char *fmt, ...);
/* The debug console at port 0xE9. */
void debug_print(const char *s);

/* The number given as NAME=… (decimal, or hex after 0x) on the multiboot command line, else
 * `otherwise`. */
unsigned long cmdline_number(const char *name, unsigned long otherwise);

/* Ends the run through the debug exit port; the process status is ((code << 1) | 1) & 0xff. */
void guest_done(uint8_t code) __attribute__((noreturn));
void guest_assert_failed(const char *what, const char *file, unsigned line)
    __attribute__((noreturn));

#define GUEST_DONE(code) guest_done(code)
#define GUEST_PASS()     guest_done(TESTDEV_CODE_PASS)
#define GUEST_ASSERT(x)                                                                            \
    do {                                                                                           \
        if (!(x))                                                                                  \
            guest_assert_failed(#x, __FILE__, __LINE__);                                           \
    } while (0)

/* Written by each guest. `mbi` is the multiboot information, 0 when it was not started so. */
void guest_main(uintptr_t mbi);
/* crt0 stores here what it was given. */
extern uint32_t guest_multiboot_magic;
extern uintptr_t guest_multiboot_info;

#endif
