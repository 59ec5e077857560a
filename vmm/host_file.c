/*
 * Whole files of the host, opened with every surprise answered by a sentence.
 */
#include "vmm/host_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/base/esc.h"

typedef unsigned long long ull;

static int check(struct host_file *f, uint64_t max_bytes, struct err *e)
{
    struct stat st;

    if (fstat(f->fd, &st) < 0)
        return err_set(e, errno, "cannot look at %s %s: %s", f->role, f->name, strerror(errno));
    if (S_ISDIR(st.st_mode))
        return err_set(e, EISDIR, "cannot load %s %s: it is a directory", f->role, f->name);
    if (!S_ISREG(st.st_mode))
        return err_set(e, EINVAL,
                       "cannot load %s %s: it is not a regular file; copy its bytes to one first",
                       f->role, f->name);
    if (st.st_size <= 0)
        return err_set(e, EINVAL, "cannot load %s %s: the file is empty", f->role, f->name);
    if ((uint64_t)st.st_size > max_bytes)
        return err_set(e, EFBIG, "cannot load %s %s: its %llu bytes are more than %llu MiB",
                       f->role, f->name, (ull)st.st_size, (ull)(max_bytes >> 20));
    f->len_bytes = (uint64_t)st.st_size;
    return 0;
}

int host_file_open(struct host_file *f, const char *path, const char *role, uint64_t max_bytes,
                   struct err *e)
{
    int r;

    *f = (struct host_file){.role = role};
    esc_cut(f->name, sizeof f->name, path, strlen(path));
    /* NONBLOCK: opening a FIFO without a writer would wait for ever. */
    f->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (f->fd < 0)
        return err_set(e, errno, "cannot open %s %s: %s", role, f->name, strerror(errno));
    r = check(f, max_bytes, e);
    if (r < 0)
        host_file_close(f);
    return r;
}

int host_file_read(struct host_file *f, void *dst, struct err *e)
{
    uint64_t done = 0;

    while (done < f->len_bytes) {
        ssize_t n = pread(f->fd, (uint8_t *)dst + done, f->len_bytes - done, (off_t)done);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set(e, errno, "cannot read %s %s at byte %llu: %s", f->role, f->name,
                           (ull)done, strerror(errno));
        if (n == 0)
            return err_set(e, EIO, "cannot read %s %s: it shrank from %llu to %llu bytes meanwhile",
                           f->role, f->name, (ull)f->len_bytes, (ull)done);
        done += (uint64_t)n;
    }
    return 0;
}

void host_file_close(struct host_file *f)
{
    if (f->fd >= 0)
        close(f->fd);
    f->fd = -1;
}
