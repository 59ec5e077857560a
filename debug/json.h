/*
 * A JSON reader that makes events (RFC 8259): no tree, no allocation beyond one string at a time.
 * Input is hostile: depth is bounded, strings are UTF-8 afterwards. Any thread.
 */
#ifndef DEBUG_JSON_H
#define DEBUG_JSON_H

#include <stdbool.h>
#include <stddef.h>

#include "vmm/base/err.h"

#define JSON_DEPTH_MAX 64

enum json_event {
    JSON_OBJECT,
    JSON_OBJECT_END,
    JSON_ARRAY,
    JSON_ARRAY_END,
    JSON_KEY,    /* text */
    JSON_STRING, /* text */
    JSON_NUMBER, /* text as written */
    JSON_TRUE,
    JSON_FALSE,
    JSON_NULL,
};

/* `text` is NUL-terminated (a string may hold more NULs: see len) and valid during the call.
 * Returning false ends the parse with -ECANCELED. */
typedef bool json_fn(void *arg, enum json_event ev, const char *text, size_t len);

/* One value and nothing behind it but blanks. 0, or -EINVAL with a sentence that names the byte. */
int json_parse(const char *text, size_t len, json_fn *fn, void *arg, struct err *e);

#endif
