/*
 * Small ELF files for the tests of symbols and frames, made by the host's gcc in a folder of their
 * own. Without a compiler the tests that need them are skipped.
 */
#ifndef TESTS_UNIT_ELF_FIXTURE_H
#define TESTS_UNIT_ELF_FIXTURE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char fixture_dir[64];

static void fixture_remove(void)
{
    char cmd[120];

    snprintf(cmd, sizeof cmd, "rm -rf '%s'", fixture_dir);
    if (fixture_dir[0] && system(cmd) != 0)
        fprintf(stderr, "cannot remove %s\n", fixture_dir);
}

/* Compiles `source` with `flags` to a file `name` and returns its path (static, one per call
 * site), or NULL when this host cannot. */
static const char *fixture_build(const char *name, const char *source, const char *flags)
{
    static char path[8][120];
    static unsigned turn;
    char *out = path[turn++ % 8], cmd[1000], c[140];
    FILE *f;

    if (!fixture_dir[0]) {
        snprintf(fixture_dir, sizeof fixture_dir, "/tmp/vmscope-test-XXXXXX");
        if (!mkdtemp(fixture_dir)) {
            fixture_dir[0] = '\0';
            return NULL;
        }
        atexit(fixture_remove);
    }
    snprintf(out, sizeof path[0], "%s/%s", fixture_dir, name);
    snprintf(c, sizeof c, "%s.c", out);
    f = fopen(c, "w");
    if (!f)
        return NULL;
    fputs(source, f);
    if (fclose(f))
        return NULL;
    snprintf(cmd, sizeof cmd,
             "gcc -ffreestanding -nostdlib -static -fno-pic -no-pie -fcf-protection=none "
             "-Wl,--build-id=none -Wl,-z,noexecstack %s -o '%s' '%s' 2>/dev/null",
             flags, out, c);
    return system(cmd) == 0 ? out : NULL;
}

/* The whole file; the caller frees. NULL when it cannot be read. */
static unsigned char *fixture_bytes(const char *path, size_t *len)
{
    FILE *f = fopen(path, "rb");
    unsigned char *b = NULL;
    long n = -1;

    *len = 0;
    if (f && !fseek(f, 0, SEEK_END) && (n = ftell(f)) >= 0 && !fseek(f, 0, SEEK_SET)) {
        b = malloc((size_t)n + 1);
        if (b)
            *len = fread(b, 1, (size_t)n, f);
    }
    if (f)
        fclose(f);
    return b;
}

#endif
