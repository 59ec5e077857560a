/*
 * garbage: everything that should not reach a terminal raw. Writes escape sequences (title,
 * colours, alternate screen, cursor, clear, device status query, an unfinished one), invalid
 * UTF-8, and all 256 byte values to COM1 and to port 0xE9.
 *
 * build   make guests            gives o/guests/garbage (ELF64, multiboot 1)
 * run     ./vmscope run o/guests/garbage | od -c
 * expect  status 33; COM1 and port 0xE9 get the same bytes, bit for bit, between the lines
 *         "garbage: begin" and "garbage: end"; a terminal that shows them stays usable
 */
#include "guests/lib/guest.h"

static void both(const char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        print_char(bytes[i]);
        outb(TESTDEV_CONSOLE, (uint8_t)bytes[i]);
    }
}

#define BOTH(literal) both(literal, sizeof(literal) - 1)

void guest_main(uintptr_t mbi)
{
    (void)mbi;
    BOTH("garbage: begin\n");
    BOTH("\033]0;title taken over\007\033]2;again\033\\");
    BOTH("\033[31;1mred\033[7mreverse\033[0m");
    BOTH("\033[?1049h\033[2J\033[H\033[999;999H\033[?25l\033[?1000h");
    BOTH("\033[6n\033[c\033Pq#0\033\\");
    BOTH("\033(0lqqqk\016\017");
    BOTH("\xc0\xaf\xed\xa0\x80\xff\xfe\xf8\x88\x80\x80\x80");
    BOTH("\xe2\x80\xae"
         "right to left\xe2\x80\xac");
    BOTH("\b\b\b\r\v\f\a\177");
    for (unsigned i = 0; i < 256; i++) {
        char c = (char)i;
        both(&c, 1);
    }
    BOTH("\033[38;5");
    BOTH("\ngarbage: end\n");
    GUEST_PASS();
}
