/*
 * vFile: the one file of ours that a debugger may read, the kernel whose path qXfer:exec-file and
 * `exec` stops tell. With it gdb finds symbols by itself, and finds them again after an `exec`.
 *
 * The same file has a second name for real mode, with ":16" behind it. gdb takes the "greater" of
 * the target's architecture and the executable's when it holds them for compatible, so an i386
 * executable would make it disassemble 16-bit code as 32-bit code. Under the second name the ELF
 * header says that the code is for the x32 ABI, which is incompatible; target.xml calls it
 * compatible, and then the target's word, i8086, counts. Main thread.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "debug/gdb/stub.h"
#include "vmm/base/x.h"

/* Numbers of the File-I/O protocol; those of the few errors agree with Linux. */
#define FILE_EPERM  1
#define FILE_ENOENT 2
#define FILE_EBADF  9
#define FILE_EINVAL 22
#define FILE_EMFILE 24

static void fail(struct gdb *g, int code)
{
    buf_clear(&g->reply);
    reply_fmt(g, "F-1,%x", code);
}

static void file_close(struct gdb *g, uint64_t n)
{
    if (n < GDB_FILES && g->file[n].fd >= 0) {
        close(g->file[n].fd);
        g->file[n].fd = -1;
    }
}

void gdb_files_close(struct gdb *g)
{
    for (unsigned i = 0; i < GDB_FILES; i++)
        file_close(g, i);
}

/* "/path/of/kernel" or "/path/of/kernel:16". */
static bool asked_path(struct gdb *g, char *asked, bool *is_16)
{
    struct buf path = {0};
    size_t n = strlen(asked);
    bool same;

    gdb_exec_path(g, &path);
    *is_16 = n > 3 && !strcmp(asked + n - 3, ":16");
    if (*is_16)
        asked[n - 3] = 0;
    same = path.len && !strcmp(asked, buf_str(&path));
    buf_fini(&path);
    return same;
}

static int free_file(const struct gdb *g)
{
    for (int i = 0; i < GDB_FILES; i++)
        if (g->file[i].fd < 0)
            return i;
    return -1;
}

void pk_file_setfs(struct gdb *g, const char *p, const char *end)
{
    (void)p;
    (void)end;
    reply_str(g, "F0");
}

/* "vFile:open:hexpath,flags,mode": read-only, and nothing but the kernel. */
void pk_file_open(struct gdb *g, const char *p, const char *end)
{
    const char *comma = memchr(p, ',', (size_t)(end - p));
    int slot = free_file(g);
    char asked[4096];
    uint64_t flags;
    bool is_16;
    size_t n;

    if (!comma || p == end || !hex_bytes(p + 1, comma, asked, sizeof asked - 1, &n) ||
        (p = comma + 1, !hex_u64(&p, end, &flags))) {
        fail(g, FILE_EINVAL);
        return;
    }
    asked[n] = 0;
    if (flags & 3)
        fail(g, FILE_EPERM);
    else if (slot < 0)
        fail(g, FILE_EMFILE);
    else if (!asked_path(g, asked, &is_16) ||
             (g->file[slot].fd = open(asked, O_RDONLY | O_CLOEXEC)) < 0)
        fail(g, FILE_ENOENT);
    else {
        g->file[slot].is_16 = is_16;
        reply_fmt(g, "F%x", slot);
    }
}

void pk_file_close(struct gdb *g, const char *p, const char *end)
{
    uint64_t n = 0;

    if (p < end) {
        p++;
        hex_u64(&p, end, &n);
    }
    file_close(g, n);
    reply_str(g, "F0");
}

#define ELF_MACHINE 18 /* offset of e_machine; 3 is EM_386, 62 EM_X86_64 */

static void call_it_x32(int fd, uint8_t *bytes, size_t n, uint64_t off)
{
    uint8_t head[ELF_MACHINE + 2];

    if (off > ELF_MACHINE || off + n <= ELF_MACHINE ||
        pread(fd, head, sizeof head, 0) != sizeof head || memcmp(head, "\177ELF\1", 5) ||
        head[ELF_MACHINE] != 3)
        return;
    bytes[ELF_MACHINE - off] = 62;
}

void pk_file_pread(struct gdb *g, const char *p, const char *end)
{
    uint64_t fd, len, off;
    uint8_t *bytes;
    ssize_t n;

    if (p == end || (p++, !hex_u64(&p, end, &fd)) || p == end || *p++ != ',' ||
        !hex_u64(&p, end, &len) || p == end || *p++ != ',' || !hex_u64(&p, end, &off) ||
        off > INT64_MAX) {
        fail(g, FILE_EINVAL);
        return;
    }
    if (len > PACKET_MAX / 2)
        len = PACKET_MAX / 2;
    bytes = xmalloc(len + 1);
    n = fd >= GDB_FILES || g->file[fd].fd < 0 ? -1 : pread(g->file[fd].fd, bytes, len, (off_t)off);
    if (n < 0) {
        fail(g, FILE_EBADF);
    } else {
        reply_fmt(g, "F%zx;", (size_t)n);
        if (g->file[fd].is_16)
            call_it_x32(g->file[fd].fd, bytes, (size_t)n, off);
        buf_add(&g->reply, bytes, (size_t)n);
    }
    free(bytes);
}

static void add_be(uint8_t **p, unsigned bytes, uint64_t v)
{
    for (unsigned i = bytes; i-- > 0;)
        *(*p)++ = (uint8_t)(v >> 8 * i);
}

/* The protocol's struct stat: big-endian, 64 bytes. */
void pk_file_fstat(struct gdb *g, const char *p, const char *end)
{
    struct stat st;
    uint8_t raw[64], *at = raw;
    uint64_t n;

    if (p == end || (p++, !hex_u64(&p, end, &n)) || n >= GDB_FILES || g->file[n].fd < 0 ||
        fstat(g->file[n].fd, &st) < 0) {
        fail(g, FILE_EBADF);
        return;
    }
    add_be(&at, 4, st.st_dev);
    add_be(&at, 4, st.st_ino ^ g->file[n].is_16); /* gdb keeps files by that number */
    add_be(&at, 4, st.st_mode);
    add_be(&at, 4, st.st_nlink);
    add_be(&at, 4, st.st_uid);
    add_be(&at, 4, st.st_gid);
    add_be(&at, 4, st.st_rdev);
    add_be(&at, 8, (uint64_t)st.st_size);
    add_be(&at, 8, (uint64_t)st.st_blksize);
    add_be(&at, 8, (uint64_t)st.st_blocks);
    add_be(&at, 4, (uint64_t)st.st_atime);
    add_be(&at, 4, (uint64_t)st.st_mtime);
    add_be(&at, 4, (uint64_t)st.st_ctime);
    reply_str(g, "F40;");
    buf_add(&g->reply, raw, sizeof raw);
}
