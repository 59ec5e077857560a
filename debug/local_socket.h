/*
 * Listening at a path of the file system, for the servers that this machine's user alone may reach:
 * the gdb stub and the control server. Main thread.
 */
#ifndef DEBUG_LOCAL_SOCKET_H
#define DEBUG_LOCAL_SOCKET_H

#include "vmm/base/err.h"

/* A non-blocking Unix socket that listens at `path`, made with mode 0600; a socket that nobody
 * listens at any more is replaced. `what` is who will come ("gdb"), for the sentences. The
 * descriptor, or -errno; the caller closes it and unlinks `path`. */
int local_socket_listen(const char *what, const char *path, struct err *e);

#endif
