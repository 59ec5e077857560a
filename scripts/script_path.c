/*
 * Looks for scripts by name.
 */
#include "scripts/script_path.h"

#include <ctype.h>
#include <dirent.h>
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

bool script_about(const char *path, struct buf *out)
{
    FILE *f = fopen(path, "re");
    char line[1024];
    size_t before = out->len;

    while (f && fgets(line, sizeof line, f) && !strncmp(line, "--", 2) && out->len < 65536)
        buf_adds(out, line + 2 + (line[2] == ' '));
    if (f)
        fclose(f);
    return out->len > before;
}

static int is_script(const struct dirent *d)
{
    size_t n = strlen(d->d_name);

    return n > 4 && d->d_name[0] != '.' && !strcmp(d->d_name + n - 4, ".lua");
}

void script_each(void (*fn)(void *arg, const char *name, const char *path), void *arg)
{
    find_folders();
    for (unsigned i = 0; i < FOLDERS; i++) {
        struct dirent **list;
        int n = scandir(folder[i], &list, is_script, alphasort);

        for (int k = 0; k < n; k++) {
            char *path = xasprintf("%s/%s", folder[i], list[k]->d_name);
            char *name = xasprintf("%.*s", (int)strlen(list[k]->d_name) - 4, list[k]->d_name);

            fn(arg, name, path);
            free(name);
            free(path);
            free(list[k]);
        }
        if (n >= 0)
            free(list);
    }
}
