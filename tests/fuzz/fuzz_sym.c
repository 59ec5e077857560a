/* An ELF file with symbols, lines and frames. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "debug/symbols/sym.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct symbols *t = symbols_new();
    int fd = memfd_create("sym", MFD_CLOEXEC), line;
    char path[40], text[64];
    const char *file;
    uint64_t addr;

    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (fd >= 0 && write(fd, data, size) == (ssize_t)size && symbols_load(t, path, 0, NULL) >= 0) {
        for (size_t i = 0; i < symbols_count(t) && i < 50; i++) {
            const struct symbol *s = symbols_at(t, i);

            if (!symbols_find(t, s->name))
                abort();
            (void)symbols_format(t, s->addr + 1, text, sizeof text);
            (void)symbols_line(t, s->addr, &file, &line);
        }
        (void)symbols_line_addr(t, "a.c", 2, &addr);
    }
    close(fd);
    symbols_free(t);
    return 0;
}
