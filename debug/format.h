/*
 * gdb's output formats: the `/NFU` after print, x and display, and one value as text. Plain data;
 * any thread.
 */
#ifndef DEBUG_FORMAT_H
#define DEBUG_FORMAT_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/base/buf.h"
#include "vmm/base/err.h"

#define FORMAT_COUNT_MAX 65536

struct format {
    unsigned count; /* 1 to FORMAT_COUNT_MAX; 0 when not given */
    char letter;    /* x d u o t a c f s i z; 0 when not given */
    uint8_t size;   /* bytes of a unit: 1 2 4 8; 0 when not given */
    bool raw;       /* /r: with the bytes of instructions */
};

/* Parses "/12xw" at *text (blanks may follow) and moves *text behind it; without a slash all is
 * "not given". -EINVAL with a sentence. */
int format_parse(const char **text, struct format *out, struct err *e);
/* The same the way it was typed, "/12xw"; empty when nothing was given. Returns dst (32 bytes). */
const char *format_text(const struct format *f, char dst[32]);

/* Appends `v` cut to `size` bytes (1, 2, 4, 8) in the way of `letter`; `padded` prints x, o, t and
 * z with all their digits, as `x` does. Letters s and i are not values: they print as x. */
void format_value(struct buf *out, uint64_t v, unsigned size, char letter, bool padded);
/* Units on one line of `x`. */
unsigned format_per_line(char letter, unsigned size);

#endif
