/*
 * Text as the scan codes (set 1) that a US keyboard sends for it. Main thread.
 */
#include "debug/session.h"

#include <string.h>

#define SHIFT      0x2a
#define BREAK_CODE 0x80

/* Position in each row is the scan code minus the row's first. */
static const struct {
    uint8_t first;
    const char *plain, *shifted;
} rows[] = {
    {0x02, "1234567890-=\b\tqwertyuiop[]\n", "!@#$%^&*()_+\b\tQWERTYUIOP{}\n"},
    {0x1e, "asdfghjkl;'`", "ASDFGHJKL:\"~"},
    {0x2b, "\\zxcvbnm,./", "|ZXCVBNM<>?"},
    {0x39, " ", " "},
    {0x01, "\x1b", "\x1b"},
};

static bool code_of(char c, uint8_t *code, bool *shift)
{
    for (size_t r = 0; c && r < sizeof rows / sizeof rows[0]; r++) {
        const char *at = strchr(rows[r].plain, c);

        *shift = !at;
        if (!at && (at = strchr(rows[r].shifted, c))) {
            *code = (uint8_t)(rows[r].first + (at - rows[r].shifted));
            return true;
        }
        if (at) {
            *code = (uint8_t)(rows[r].first + (at - rows[r].plain));
            return true;
        }
    }
    return false;
}

size_t session_type(struct session *s, const char *text)
{
    size_t n = 0;

    for (; text[n]; n++) {
        uint8_t seq[4], code;
        size_t len = 0;
        bool shift;

        if (!code_of(text[n] == '\r' ? '\n' : text[n], &code, &shift))
            continue; /* no key makes it */
        if (shift)
            seq[len++] = SHIFT;
        seq[len++] = code;
        seq[len++] = code | BREAK_CODE;
        if (shift)
            seq[len++] = SHIFT | BREAK_CODE;
        if (session_input(s, DOOR_KEYBOARD, seq, len) < len)
            break;
    }
    return n;
}
