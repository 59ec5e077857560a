/*
 * Runs files through a fuzz target where there is no libFuzzer: `fuzz_x FILE…` in silence, and
 * `fuzz_x FOLDER` for a whole corpus with a line of result.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "vmm/base/x.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static int one(const char *path)
{
    struct stat st;
    FILE *f = fopen(path, "rb");
    uint8_t *data;
    size_t n;

    if (!f || fstat(fileno(f), &st) < 0) {
        perror(path);
        return 1;
    }
    /* Exactly as long as the input, so that a sanitizer sees the first byte past it. */
    data = xmalloc(st.st_size ? (size_t)st.st_size : 1);
    n = fread(data, 1, (size_t)st.st_size, f);
    fclose(f);
    LLVMFuzzerTestOneInput(data, n);
    free(data);
    return 0;
}

static int folder(const char *path)
{
    const char *name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    struct dirent *entry;
    unsigned files = 0;
    int bad = 0;
    DIR *d = opendir(path);

    while (d && (entry = readdir(d))) {
        char *file;

        if (entry->d_name[0] == '.')
            continue;
        file = xasprintf("%s/%s", path, entry->d_name);
        bad += one(file);
        files++;
        free(file);
    }
    if (d)
        closedir(d);
    if (bad || !files)
        printf("FAIL fuzz corpus %s: %d of %u files could not be read\n", name, bad, files);
    else
        printf("ok fuzz corpus %s (%u files)\n", name, files);
    return bad || !files;
}

int main(int argc, char **argv)
{
    int bad = 0;

    for (int i = 1; i < argc; i++) {
        struct stat st;
        size_t n = strlen(argv[i]);

        while (n > 1 && argv[i][n - 1] == '/')
            argv[i][--n] = 0;
        bad |= !stat(argv[i], &st) && S_ISDIR(st.st_mode) ? folder(argv[i]) : one(argv[i]);
    }
    return bad;
}
