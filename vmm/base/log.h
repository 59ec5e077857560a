/*
 * The log: to a ring of the last lines and, when opened, a file; never to the terminal. The module
 * is the file's base name. `VMSCOPE_LOG=gdb:debug,vcpu:info` sets levels (default: info).
 * Any thread. Text from guests must be escaped by the caller (esc.h).
 */
#ifndef VMM_BASE_LOG_H
#define VMM_BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

#define log_error(...) log_at(LOG_ERROR, __FILE__, __VA_ARGS__)
#define log_warn(...)  log_at(LOG_WARN, __FILE__, __VA_ARGS__)
#define log_info(...)  log_at(LOG_INFO, __FILE__, __VA_ARGS__)
#define log_debug(...)                                                                             \
    do {                                                                                           \
        if (log_wants(LOG_DEBUG, __FILE__))                                                        \
            log_at(LOG_DEBUG, __FILE__, __VA_ARGS__);                                              \
    } while (0)

void log_at(enum log_level level, const char *file, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
bool log_wants(enum log_level level, const char *file);

/* Reads a level list as in VMSCOPE_LOG; an unknown word is ignored and logged. */
void log_levels(const char *spec);
/* Appends every line to `path` from now on; 0 or -errno. */
int log_open(const char *path);

#define LOG_LINE_CAP 240
/* Number of the newest line (0: none yet). */
unsigned long log_newest(void);
/* Copies line `n` ("12.345678 module: text") into dst; false when it was overwritten or is not
 * there yet. */
bool log_line(unsigned long n, char dst[LOG_LINE_CAP]);

#endif
