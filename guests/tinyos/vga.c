/*
 * The text screen at 0xB8000, a mirror of COM1: 80x25 cells of character and colour. A copy in
 * memory is scrolled and then copied, since the screen's own memory is slow to read.
 */
#include "guests/tinyos/tinyos.h"

#define COLUMNS 80
#define ROWS    25
#define COLOUR  0x0700 /* light grey on black */
#define SCREEN  0xb8000

static uint16_t cells[ROWS * COLUMNS];
static unsigned at; /* cell of the cursor */
static bool present;

static void copy_words(void *to, const void *from, size_t words)
{
    __asm__ volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(words) : : "memory");
}

static void show(unsigned cell)
{
    ((volatile uint16_t *)phys_to_virt(SCREEN))[cell] = cells[cell];
}

static void show_all(void)
{
    copy_words(phys_to_virt(SCREEN), cells, sizeof cells / 8);
}

/* A machine without a screen has nothing there that keeps what is written. */
void vga_init(void)
{
    volatile uint16_t *probe = phys_to_virt(SCREEN);
    *probe = 0x5aa5;
    present = *probe == 0x5aa5;
    for (unsigned i = 0; i < ARRAY_LEN(cells); i++)
        cells[i] = COLOUR | ' ';
    if (present)
        show_all();
}

static void scroll(void)
{
    copy_words(cells, cells + COLUMNS, (ROWS - 1) * COLUMNS * 2 / 8);
    for (unsigned i = (ROWS - 1) * COLUMNS; i < ROWS * COLUMNS; i++)
        cells[i] = COLOUR | ' ';
    at -= COLUMNS;
    show_all();
}

static void put(char c)
{
    switch (c) {
    case '\n':
        at += COLUMNS - at % COLUMNS;
        break;
    case '\r':
        at -= at % COLUMNS;
        break;
    case '\b':
        at -= at > 0;
        break;
    default:
        if (c < ' ')
            return;
        cells[at] = (uint16_t)(COLOUR | (unsigned char)c);
        show(at++);
    }
    if (at >= ROWS * COLUMNS)
        scroll();
}

void vga_write(const char *bytes, size_t len)
{
    for (size_t i = 0; present && i < len; i++)
        put(bytes[i]);
}
