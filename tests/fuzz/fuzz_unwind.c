/* An ELF file with frame information, and a stack that is made of the file's own bytes. */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "debug/symbols/sym.h"
#include "debug/symbols/unwind.h"

static const uint8_t *bytes;
static size_t count;

static bool reg(void *arg, int id, uint64_t *v)
{
    *v = id == 16 ? *(uint64_t *)arg : 0x1000u + (unsigned)id * 8u; /* row 16 is RIP */
    return true;
}
static bool mem(void *arg, uint64_t at, void *dst, size_t len)
{
    (void)arg;
    return len <= count && at % 4096 <= count - len && memcpy(dst, bytes + at % 4096, len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct symbols *t = symbols_new();
    struct unwind_frame f[40];
    uint64_t pc;
    struct unwind_env env = {.arg = &pc, .bits = 64, .symbols = t, .reg = reg, .mem = mem};
    int fd = memfd_create("unwind", MFD_CLOEXEC);
    char path[40];

    bytes = data;
    count = size;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (fd >= 0 && write(fd, data, size) == (ssize_t)size && symbols_load(t, path, 0, NULL) >= 0)
        for (size_t i = 0; i < symbols_count(t) * 3 && i < 60; i++) {
            pc = symbols_at(t, i / 3)->addr + i % 3 * 4;
            env.bits = i & 1 ? 64 : 32;
            (void)unwind(&env, f, 40);
        }
    close(fd);
    symbols_free(t);
    return 0;
}
