/*
 * The PS/2 keyboard: scan code set 1 as the 8042 translates it, US layout, shift keys.
 */
#include "guests/tinyos/tinyos.h"

#define DATA        0x60
#define STATUS      0x64
#define STATUS_FULL 0x01
#define RELEASED    0x80
#define EXTENDED    0xe0
#define LEFT_SHIFT  0x2a
#define RIGHT_SHIFT 0x36

static const char plain[] = "\0\033"
                            "1234567890-=\b\tqwertyuiop[]\r\0asdfghjkl;'`\0\\zxcvbnm,./\0*\0 ";
static const char shifted[] = "\0\033"
                              "!@#$%^&*()_+\b\tQWERTYUIOP{}\r\0ASDFGHJKL:\"~\0|ZXCVBNM<>?\0*\0 ";

static bool is_shift, is_extended;

static void key(uint8_t code)
{
    bool is_release = code & RELEASED;
    unsigned k = code & (RELEASED - 1);
    if (code == EXTENDED) {
        is_extended = true;
        return;
    }
    if (k == LEFT_SHIFT || k == RIGHT_SHIFT) {
        is_shift = !is_release;
    } else if (!is_release && !is_extended && k < sizeof plain - 1) {
        char c = is_shift ? shifted[k] : plain[k];
        if (c)
            console_typed(c);
    }
    is_extended = false;
}

void keyboard_interrupt(void)
{
    for (unsigned n = 0; n < 16 && inb(STATUS) & STATUS_FULL; n++)
        key(inb(DATA));
}
