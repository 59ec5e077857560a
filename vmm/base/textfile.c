/*
 * Opens and reads text files. Any thread.
 */
#include "vmm/base/textfile.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

/* Pipes of a shell (`<(command)`) have no name and had a writer; they end by themselves. */
static bool is_named_pipe(int fd)
{
    struct stat st;
    struct statfs fs;

    return !fstat(fd, &st) && S_ISFIFO(st.st_mode) && !fstatfs(fd, &fs) &&
           fs.f_type != PIPEFS_MAGIC;
}

FILE *textfile_open(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), saved;
    char first = 0;
    ssize_t n = -1;
    FILE *f;

    if (fd < 0)
        return NULL;
    /* Without a writer a read ends at once; with one it has something, or would wait. */
    if (is_named_pipe(fd) && (n = read(fd, &first, 1)) == 0) {
        close(fd);
        errno = ENXIO;
        return NULL;
    }
    f = fcntl(fd, F_SETFL, O_RDONLY) < 0 ? NULL : fdopen(fd, "r");
    if (!f) {
        saved = errno;
        close(fd);
        errno = saved;
        return NULL;
    }
    if (n == 1)
        ungetc((unsigned char)first, f);
    return f;
}

int textfile_read(const char *path, size_t max, struct buf *out)
{
    FILE *f = textfile_open(path);
    char chunk[65536];
    size_t n, all = 0;
    int rc = 0;

    if (!f)
        return -errno;
    errno = 0;
    while (!rc && (n = fread(chunk, 1, sizeof chunk, f)) > 0) {
        all += n;
        rc = all > max ? -EFBIG : 0;
        buf_add(out, chunk, n);
    }
    if (!rc && ferror(f))
        rc = errno ? -errno : -EIO;
    fclose(f);
    return rc;
}
