/*
 * vFile: the one file of ours that a debugger may read, the kernel whose path qXfer:exec-file and
 * `exec` stops tell. With it gdb finds symbols by itself, and finds them again after an `exec`.
 * Main thread.
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

static void fail(struct gdb *g, int code)
{
    buf_clear(&g->reply);
    reply_fmt(g, "F-1,%x", code);
}

void gdb_file_close(struct gdb *g)
{
    if (g->file_fd >= 0)
        close(g->file_fd);
    g->file_fd = -1;
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
    struct buf path = {0};
    char asked[4096];
    uint64_t flags;
    size_t n;

    if (!comma || p == end || !hex_bytes(p + 1, comma, asked, sizeof asked - 1, &n) ||
        (p = comma + 1, !hex_u64(&p, end, &flags))) {
        fail(g, FILE_EINVAL);
        return;
    }
    asked[n] = 0;
    gdb_exec_path(g, &path);
    if (flags & 3)
        fail(g, FILE_EPERM);
    else if (!path.len || strcmp(asked, buf_str(&path)) ||
             (gdb_file_close(g), g->file_fd = open(asked, O_RDONLY | O_CLOEXEC)) < 0)
        fail(g, FILE_ENOENT);
    else
        reply_str(g, "F3");
    buf_fini(&path);
}

void pk_file_close(struct gdb *g, const char *p, const char *end)
{
    (void)p;
    (void)end;
    gdb_file_close(g);
    reply_str(g, "F0");
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
    n = g->file_fd < 0 ? -1 : pread(g->file_fd, bytes, len, (off_t)off);
    if (n < 0) {
        fail(g, FILE_EBADF);
    } else {
        reply_fmt(g, "F%zx;", (size_t)n);
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

    (void)p;
    (void)end;
    if (g->file_fd < 0 || fstat(g->file_fd, &st) < 0) {
        fail(g, FILE_EBADF);
        return;
    }
    add_be(&at, 4, st.st_dev);
    add_be(&at, 4, st.st_ino);
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
