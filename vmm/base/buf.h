/*
 * Growable bytes, the only string builder. `data` is NUL-terminated after every call that adds,
 * so a buffer is also a C string. Zero-initialise with `= {0}`; free with buf_fini. One thread.
 */
#ifndef VMM_BASE_BUF_H
#define VMM_BASE_BUF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct buf {
    char *data; /* NULL until something was added */
    size_t len; /* bytes, without the final NUL */
    size_t cap;
};

/* Appends; there is no error, as memory that is lacking ends the program (x.h). */
void buf_add(struct buf *b, const void *bytes, size_t len);
void buf_addc(struct buf *b, char c);
void buf_adds(struct buf *b, const char *s);
void buf_addf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void buf_vaddf(struct buf *b, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));
/* Pads with blanks until the text since the last newline is `column` wide (bytes). */
void buf_pad(struct buf *b, size_t column);
/* Removes the first `len` bytes (at most what there is). */
void buf_eat(struct buf *b, size_t len);
/* Empties it and keeps its memory. */
void buf_clear(struct buf *b);
/* Replaces the text by the next line of `f`, with its newline, but no more than `max` bytes: what a
 * person names may be /dev/zero. A zero byte becomes a 1, so that the text is whole as a C string
 * too. False at the end and on an error (ferror). */
bool buf_read_line(struct buf *b, FILE *f, size_t max);
/* Never NULL; valid until the next call on `b`. */
const char *buf_str(const struct buf *b);
/* Hands the text to the caller, who frees it; the buffer is empty afterwards. Never NULL. */
char *buf_take(struct buf *b);
void buf_fini(struct buf *b);

#endif
