/*
 * Checked allocation. Running out of memory ends the program in here, so no caller tests for
 * NULL. Sizes that come from a guest or a file are bounded by the caller first.
 * Any thread. The caller owns what is returned and gives it to free().
 */
#ifndef VMM_BASE_X_H
#define VMM_BASE_X_H

#include <stddef.h>

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

/* Hidden, for libreadline exports functions of the same names with other arguments: without this
 * the program's would take their place inside that library. */
#pragma GCC visibility push(hidden)
void *xmalloc(size_t len_bytes);
void *xcalloc(size_t count, size_t len_bytes);
/* Like realloc for `count` items of `len_bytes`; an overflowing product ends the program. */
void *xrealloc(void *p, size_t count, size_t len_bytes);
char *xstrdup(const char *s);
/* Never NULL; the caller frees. */
char *xasprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
#pragma GCC visibility pop

/* For what only our own mistake can break; stays on in release. Prints where, and aborts. The
 * front end may install a hook that first restores the terminal and saves a report. */
#define BUG_ON(cond)                                                                               \
    do {                                                                                           \
        if (cond)                                                                                  \
            bug(__FILE__, __LINE__, #cond);                                                        \
    } while (0)
void bug(const char *file, int line, const char *what) __attribute__((noreturn));
/* `fn` runs first in bug(); one hook, set by the main thread before other threads exist. */
void bug_hook(void (*fn)(const char *sentence));

#endif
