/*
 * The PS/2 keyboard behind the 8042: commands, scan code sets, keys from the door. Part of the
 * i8042's state; machine lock.
 */
#ifndef VMM_DEVICES_KEYBOARD_H
#define VMM_DEVICES_KEYBOARD_H

#include <stdbool.h>
#include <stdint.h>

struct door;

#define KEYBOARD_OUT 16u

struct keyboard {
    uint8_t scanning;
    uint8_t set; /* 1, 2 or 3 */
    uint8_t leds, typematic;
    uint8_t command; /* waits for its parameter, 0: none */
    uint8_t last;    /* for the resend command */
    uint8_t prefix;  /* 0xE0 was taken from the door */
    uint8_t out[KEYBOARD_OUT];
    uint8_t head, count;
};

/* The settings of a keyboard after power-on: codes of set 2, 10.9 keys a second after 500 ms, no
 * command begun. */
void keyboard_defaults(struct keyboard *k);
/* A byte from the controller: a command or its parameter. */
void keyboard_write(struct keyboard *k, uint8_t v);
/* The next byte it sends, answers before keys; keys are pulled from the door only when asked for.
 * False when it has nothing to say. */
bool keyboard_next(struct keyboard *k, struct door *door, uint8_t *byte);
/* The controller's translation of one code of set 2. */
uint8_t keyboard_to_set1(uint8_t code);

#endif
