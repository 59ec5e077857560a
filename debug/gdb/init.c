/*
 * The text of `vmscope gdbinit`. Touches no machine.
 */
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "debug/gdb/gdb.h"
#include "vmm/base/esc.h"
#include "vmm/base/x.h"

static bool is_elf(const char *path)
{
    char magic[4];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool yes = fd >= 0 && read(fd, magic, 4) == 4 && !memcmp(magic, "\177ELF", 4);

    if (fd >= 0)
        close(fd);
    return yes;
}

/* "FILE[@ADDRESS]" as a command that loads it. */
static void add_symbols(const char *spec, struct buf *out)
{
    char *file = xstrdup(spec), *at = strrchr(file, '@'), *full;

    if (at)
        *at++ = 0;
    full = realpath(file, NULL);
    if (full && strpbrk(full, " \t\"'\\\n"))
        buf_adds(out, "# The kernel's path has characters that gdb commands cannot hold.\n");
    else if (full && is_elf(full))
        buf_addf(out, at ? "symbol-file -o %s %s\n" : "file %s\n", at ? at : full, full);
    else
        buf_adds(out, "# No ELF file with symbols is known: add `file KERNEL.elf` here.\n");
    free(full);
    free(file);
}

void gdb_init_text(const char *image, const char *symbols, const char *where, struct buf *out)
{
    char name[200];
    const char *at = where ? where : "127.0.0.1:1234";

    esc_cut(name, sizeof name, image, strlen(image));
    buf_addf(out,
             "# gdb for %s under vmscope:  vmscope -S --gdb %s %s\n"
             "# Save as .gdbinit and start `gdb`, or start `gdb -x FILE`.\n"
             "set pagination off\n"
             "set confirm off\n"
             "set disassemble-next-line on\n"
             "set tcp connect-timeout 10\n",
             name, where ? where : "1234", name);
    add_symbols(symbols ? symbols : image, out);
    if (!strncmp(at, "unix:", 5))
        at += 5;
    buf_addf(out,
             "target remote %s%s\n"
             "# A step moves one vCPU; the others stand meanwhile.\n"
             "set scheduler-locking step\n",
             strchr(at, ':') || *at == '/' || *at == '.' ? "" : ":", at);
}
