/*
 * Sockets in the file system: see the header.
 */
#include "debug/local_socket.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "vmm/base/esc.h"

#define BACKLOG 8

/* What is there already: a socket that somebody left behind is removed, anything else is in the
 * way. `word` is the path for people. */
static int make_room(const struct sockaddr_un *a, const char *what, const char *word, struct err *e)
{
    struct stat st;
    bool alive;
    int probe;

    if (lstat(a->sun_path, &st) < 0)
        return 0;
    if (!S_ISSOCK(st.st_mode))
        return err_set(e, EEXIST,
                       "cannot listen for %s at %s: there is a %s already; give another path", what,
                       word, S_ISDIR(st.st_mode) ? "directory" : "file");
    probe = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    alive = probe < 0 || connect(probe, (const struct sockaddr *)a, sizeof *a) == 0 ||
            errno != ECONNREFUSED;
    if (probe >= 0)
        close(probe);
    if (alive)
        return err_set(e, EADDRINUSE,
                       "cannot listen for %s at %s: another program does; give another path", what,
                       word);
    if (unlink(a->sun_path) < 0)
        return err_set(e, errno, "cannot listen for %s: the old socket %s cannot be removed: %s",
                       what, word, strerror(errno));
    return 0;
}

int local_socket_listen(const char *what, const char *path, struct err *e)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    char word[120];
    mode_t old;
    int fd, rc;

    if (!*path || strlen(path) >= sizeof a.sun_path)
        return err_set(e, EINVAL, "cannot listen for %s: the path of a socket has 1 to %zu bytes",
                       what, sizeof a.sun_path - 1);
    memcpy(a.sun_path, path, strlen(path) + 1);
    esc_cut(word, sizeof word, path, strlen(path));
    rc = make_room(&a, what, word, e);
    if (rc < 0)
        return rc;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    old = umask(0177);
    rc = fd < 0 ? -1 : bind(fd, (struct sockaddr *)&a, sizeof a);
    umask(old);
    if (rc == 0 && listen(fd, BACKLOG) == 0)
        return fd;
    rc = err_set(e, errno, "cannot listen for %s at %s: %s", what, word, strerror(errno));
    if (fd >= 0)
        close(fd);
    return rc;
}
