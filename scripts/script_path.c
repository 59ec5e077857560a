/*
 * Looks for scripts by name.
 */
#include "scripts/script_path.h"

#include <ctype.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vmm/base/x.h"

#define FOLDERS 3

static char folder[FOLDERS][PATH_MAX];
static char sentence[FOLDERS * PATH_MAX + 32];

static void find_folders(void)
{
    const char *config = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
    char exe[PATH_MAX] = "", *slash;
    ssize_t n;

    if (*sentence)
        return;
    if (config && *config)
        snprintf(folder[0], sizeof folder[0], "%.3000s/vmscope/scripts", config);
    else
        snprintf(folder[0], sizeof folder[0], "%.3000s/.config/vmscope/scripts", home ? home : "");
    n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    exe[n > 0 ? n : 0] = 0;
    slash = strrchr(exe, '/');
    if (slash)
        *slash = 0;
    snprintf(folder[1], sizeof folder[1], "%.3000s/scripts/lib", exe);
    snprintf(folder[2], sizeof folder[2], "%.3000s/../share/vmscope/lib", exe);
    snprintf(sentence, sizeof sentence, "%s, %s or %s", folder[0], folder[1], folder[2]);
}

const char *script_folders(void)
{
    find_folders();
    return sentence;
}

char *script_path(const char *name)
{
    size_t n = strlen(name);
    bool suffix = n > 4 && !strcmp(name + n - 4, ".lua");

    find_folders();
    for (const char *p = name; *p; p++)
        if (!isalnum((unsigned char)*p) && !strchr("_-.", *p))
            return NULL;
    if (!n || name[0] == '.')
        return NULL;
    for (unsigned i = 0; i < FOLDERS; i++) {
        char *path = xasprintf("%s/%s%s", folder[i], name, suffix ? "" : ".lua");

        if (!access(path, R_OK))
            return path;
        free(path);
    }
    return NULL;
}
