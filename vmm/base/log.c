/*
 * The log ring and file. Any thread: one mutex, never held while calling out.
 */
#include "vmm/base/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/clock.h"

#define LOG_LINES 512 /* power of two: the last half thousand lines explain most crashes */
#define LOG_RULES 16

static struct {
    pthread_mutex_t lock;
    char line[LOG_LINES][LOG_LINE_CAP];
    unsigned long newest; /* count of all lines ever; line n lives at n % LOG_LINES */
    FILE *file;
    struct {
        char module[24];
        enum log_level level;
    } rule[LOG_RULES];
    unsigned rules;
    enum log_level level; /* of modules without a rule */
} g = {.lock = PTHREAD_MUTEX_INITIALIZER, .level = LOG_INFO};

static size_t module_of(const char *file, const char **name)
{
    const char *base = strrchr(file, '/');
    const char *dot;

    base = base ? base + 1 : file;
    dot = strchr(base, '.');
    *name = base;
    return dot ? (size_t)(dot - base) : strlen(base);
}

bool log_wants(enum log_level level, const char *file)
{
    const char *name;
    size_t len = module_of(file, &name);

    for (unsigned i = 0; i < g.rules; i++)
        if (strlen(g.rule[i].module) == len && !memcmp(g.rule[i].module, name, len))
            return level <= g.rule[i].level;
    return level <= g.level;
}

void log_at(enum log_level level, const char *file, const char *fmt, ...)
{
    const char *name;
    size_t len = module_of(file, &name);
    uint64_t ns = clock_ns();
    char text[LOG_LINE_CAP - 64]; /* room for time and module */
    va_list ap;

    if (!log_wants(level, file))
        return;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    pthread_mutex_lock(&g.lock);
    g.newest++;
    snprintf(g.line[g.newest % LOG_LINES], LOG_LINE_CAP, "%llu.%06llu %.*s: %s",
             (unsigned long long)(ns / 1000000000), (unsigned long long)(ns / 1000 % 1000000),
             len > 24 ? 24 : (int)len, name, text);
    if (g.file) {
        fprintf(g.file, "%s\n", g.line[g.newest % LOG_LINES]);
        fflush(g.file);
    }
    pthread_mutex_unlock(&g.lock);
}

void log_levels(const char *spec)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};
    char *copy = strdup(spec ? spec : "");
    char *save = NULL;

    if (!copy)
        return;
    for (char *w = strtok_r(copy, ",", &save); w; w = strtok_r(NULL, ",", &save)) {
        char *colon = strchr(w, ':');
        const char *word = colon ? colon + 1 : w;
        size_t level = 0;

        while (level < 4 && strcmp(names[level], word))
            level++;
        if (level == 4 || (colon && (colon == w || g.rules == LOG_RULES))) {
            log_warn("log level \"%s\" is not understood; use module:error|warn|info|debug", w);
        } else if (colon) {
            *colon = 0;
            snprintf(g.rule[g.rules].module, sizeof g.rule[0].module, "%.23s", w);
            g.rule[g.rules++].level = (enum log_level)level;
        } else {
            g.level = (enum log_level)level;
        }
    }
    free(copy);
}

int log_open(const char *path)
{
    FILE *f = fopen(path, "ae");

    if (!f)
        return -errno;
    pthread_mutex_lock(&g.lock);
    if (g.file)
        fclose(g.file);
    g.file = f;
    pthread_mutex_unlock(&g.lock);
    return 0;
}

unsigned long log_newest(void)
{
    unsigned long n;

    pthread_mutex_lock(&g.lock);
    n = g.newest;
    pthread_mutex_unlock(&g.lock);
    return n;
}

bool log_line(unsigned long n, char dst[LOG_LINE_CAP])
{
    bool have;

    pthread_mutex_lock(&g.lock);
    have = n && n <= g.newest && g.newest - n < LOG_LINES;
    if (have)
        memcpy(dst, g.line[n % LOG_LINES], LOG_LINE_CAP);
    pthread_mutex_unlock(&g.lock);
    return have;
}
