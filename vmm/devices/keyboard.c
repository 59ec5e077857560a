/*
 * A PS/2 keyboard. Source: IBM PS/2 Hardware Interface Technical Reference, "101/102-Key
 * Keyboard". Keys come from the door as codes of set 1 and are turned into the set that the guest
 * selected; the controller may translate set 2 back. Called by i8042.c.
 */
#include "vmm/devices/keyboard.h"

#include <string.h>

#include "vmm/door.h"

#define ACK    0xfa
#define RESEND 0xfe

/* Set 2 -> set 1 as the 8042 translates ("scan code translation table"); F7 (0x83) and SysRq
 * (0x84) lie outside it. */
static const uint8_t set1_of[0x80] = {
    0xff, 0x43, 0x41, 0x3f, 0x3d, 0x3b, 0x3c, 0x58, 0x64, 0x44, 0x42, 0x40, 0x3e, 0x0f, 0x29, 0x59,
    0x65, 0x38, 0x2a, 0x70, 0x1d, 0x10, 0x02, 0x5a, 0x66, 0x71, 0x2c, 0x1f, 0x1e, 0x11, 0x03, 0x5b,
    0x67, 0x2e, 0x2d, 0x20, 0x12, 0x05, 0x04, 0x5c, 0x68, 0x39, 0x2f, 0x21, 0x14, 0x13, 0x06, 0x5d,
    0x69, 0x31, 0x30, 0x23, 0x22, 0x15, 0x07, 0x5e, 0x6a, 0x72, 0x32, 0x24, 0x16, 0x08, 0x09, 0x5f,
    0x6b, 0x33, 0x25, 0x17, 0x18, 0x0b, 0x0a, 0x60, 0x6c, 0x34, 0x35, 0x26, 0x27, 0x19, 0x0c, 0x61,
    0x6d, 0x73, 0x28, 0x74, 0x1a, 0x0d, 0x62, 0x6e, 0x3a, 0x36, 0x1c, 0x1b, 0x75, 0x2b, 0x63, 0x76,
    0x55, 0x56, 0x77, 0x78, 0x79, 0x7a, 0x0e, 0x7b, 0x7c, 0x4f, 0x7d, 0x4b, 0x47, 0x7e, 0x7f, 0x6f,
    0x52, 0x53, 0x50, 0x4c, 0x4d, 0x48, 0x01, 0x45, 0x57, 0x4e, 0x51, 0x4a, 0x37, 0x49, 0x46, 0x54,
};

/* Keys whose code in set 3 is not that of set 2: {set 1, E0 before it, set 3}. */
static const struct set3 {
    uint8_t code, prefix, set3;
} set3_of[] = {
    {0x01, 0, 0x08}, {0x1d, 0, 0x11}, {0x2a, 0, 0x12}, {0x2b, 0, 0x5c}, {0x37, 0, 0x7e},
    {0x38, 0, 0x19}, {0x3a, 0, 0x14}, {0x3b, 0, 0x07}, {0x3c, 0, 0x0f}, {0x3d, 0, 0x17},
    {0x3e, 0, 0x1f}, {0x3f, 0, 0x27}, {0x40, 0, 0x2f}, {0x41, 0, 0x37}, {0x42, 0, 0x3f},
    {0x43, 0, 0x47}, {0x44, 0, 0x4f}, {0x45, 0, 0x76}, {0x46, 0, 0x5f}, {0x4a, 0, 0x84},
    {0x4e, 0, 0x7c}, {0x56, 0, 0x13}, {0x57, 0, 0x56}, {0x58, 0, 0x5e}, {0x1c, 1, 0x79},
    {0x1d, 1, 0x58}, {0x35, 1, 0x77}, {0x37, 1, 0x57}, {0x38, 1, 0x39}, {0x47, 1, 0x6e},
    {0x48, 1, 0x63}, {0x49, 1, 0x6f}, {0x4b, 1, 0x61}, {0x4d, 1, 0x6a}, {0x4f, 1, 0x65},
    {0x50, 1, 0x60}, {0x51, 1, 0x6d}, {0x52, 1, 0x67}, {0x53, 1, 0x64}, {0x5b, 1, 0x8b},
    {0x5c, 1, 0x8c}, {0x5d, 1, 0x8d},
};

uint8_t keyboard_to_set1(uint8_t code)
{
    if (code < sizeof set1_of)
        return set1_of[code];
    return code == 0x83 ? 0x41 : code == 0x84 ? 0x54 : code;
}

static uint8_t to_set2(uint8_t set1)
{
    if (set1 == 0x41)
        return 0x83;
    for (unsigned i = 0; i < sizeof set1_of; i++)
        if (set1_of[i] == set1)
            return (uint8_t)i;
    return set1;
}

static uint8_t to_set3(uint8_t set1, bool prefix)
{
    for (unsigned i = 0; i < sizeof set3_of / sizeof set3_of[0]; i++)
        if (set3_of[i].code == set1 && set3_of[i].prefix == prefix)
            return set3_of[i].set3;
    return to_set2(set1);
}

static void say(struct keyboard *k, uint8_t v)
{
    if (k->count < KEYBOARD_OUT)
        k->out[(k->head + k->count++) % KEYBOARD_OUT] = v;
}

void keyboard_defaults(struct keyboard *k)
{
    k->set = 2;
    k->typematic = 0x2b; /* 10.9 characters per second after 500 ms */
    k->command = 0;
}

static void parameter(struct keyboard *k, uint8_t v)
{
    uint8_t command = k->command;

    k->command = 0;
    if (command == 0xf0 && v > 3) {
        say(k, RESEND);
        return;
    }
    say(k, ACK);
    switch (command) {
    case 0xed:
        k->leds = v & 7;
        break;
    case 0xf0:
        if (v)
            k->set = v;
        else
            say(k, k->set);
        break;
    case 0xf3:
        k->typematic = v & 0x7f;
        break;
    default: /* 0xfb-0xfd: make and break types of set 3, kept as they are */
        break;
    }
}

void keyboard_write(struct keyboard *k, uint8_t v)
{
    if (k->command && v < 0xed) {
        parameter(k, v);
        return;
    }
    k->command = 0;
    if (v == 0xfe) {
        say(k, k->last);
        return;
    }
    k->head = k->count = 0; /* a command empties the output buffer */
    switch (v) {
    case 0xee:
        say(k, 0xee);
        return;
    case 0xed:
    case 0xf0:
    case 0xf3:
    case 0xfb:
    case 0xfc:
    case 0xfd:
        k->command = v;
        break;
    case 0xf4:
        k->scanning = 1;
        break;
    case 0xf5:
    case 0xf6:
        keyboard_defaults(k);
        k->scanning = v == 0xf6;
        break;
    default:
        break;
    }
    if (v < 0xed || v == 0xef || v == 0xf1) {
        say(k, RESEND); /* not a command */
        return;
    }
    say(k, ACK);
    if (v == 0xf2) {
        say(k, 0xab);
        say(k, 0x83);
    } else if (v == 0xff) {
        keyboard_defaults(k);
        k->scanning = 1;
        k->leds = 0;
        say(k, 0xaa); /* the self-test passed */
    }
}

/* One byte of set 1 becomes up to three of the set in use. */
static void key(struct keyboard *k, uint8_t v)
{
    bool prefix = k->prefix, up = v & 0x80;
    uint8_t code = v & 0x7f;

    if (k->set == 1) {
        say(k, v);
        return;
    }
    if (v == 0xe0 || v == 0xe1) {
        k->prefix = v == 0xe0;
        if (k->set == 2)
            say(k, v);
        return;
    }
    k->prefix = 0;
    if (k->set == 3 && prefix && (code == 0x2a || code == 0x36))
        return; /* set 3 has no shift around the grey keys */
    if (up)
        say(k, 0xf0);
    say(k, k->set == 2 ? to_set2(code) : to_set3(code, prefix));
}

bool keyboard_next(struct keyboard *k, struct door *door, uint8_t *byte)
{
    uint8_t v;

    while (!k->count) {
        if (!k->scanning || k->command || !door_pull(door, DOOR_KEYBOARD, &v, 1))
            return false;
        key(k, v);
    }
    *byte = k->out[k->head];
    k->head = (k->head + 1) % KEYBOARD_OUT;
    k->count--;
    if (*byte != RESEND)
        k->last = *byte;
    return true;
}
