/*
 * Checked allocation and the last stop for our own mistakes. Any thread.
 */
#include "vmm/base/x.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void (*hook)(const char *sentence);

void bug_hook(void (*fn)(const char *sentence))
{
    hook = fn;
}

void bug(const char *file, int line, const char *what)
{
    char sentence[256];

    snprintf(sentence, sizeof sentence, "vmscope has a bug: %s at %s:%d", what, file, line);
    if (hook)
        hook(sentence);
    fprintf(stderr, "%s\n", sentence);
    abort();
}

static void *checked(void *p, size_t len_bytes)
{
    if (!p && len_bytes) {
        fprintf(stderr, "vmscope: out of memory: %zu bytes were asked for\n", len_bytes);
        abort();
    }
    return p;
}

void *xmalloc(size_t len_bytes)
{
    return checked(malloc(len_bytes), len_bytes);
}

void *xcalloc(size_t count, size_t len_bytes)
{
    return checked(calloc(count, len_bytes), count && len_bytes ? SIZE_MAX : 0);
}

void *xrealloc(void *p, size_t count, size_t len_bytes)
{
    return checked(reallocarray(p, count, len_bytes), count && len_bytes ? SIZE_MAX : 0);
}

char *xstrdup(const char *s)
{
    return checked(strdup(s), strlen(s) + 1);
}

char *xasprintf(const char *fmt, ...)
{
    va_list ap;
    char *s = NULL;

    va_start(ap, fmt);
    if (vasprintf(&s, fmt, ap) < 0)
        s = NULL;
    va_end(ap);
    return checked(s, 1);
}
