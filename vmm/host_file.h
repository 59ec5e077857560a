/*
 * Regular files of the host that are read whole: images, modules, firmware. Any thread.
 */
#ifndef VMM_HOST_FILE_H
#define VMM_HOST_FILE_H

#include <stdint.h>

#include "vmm/base/err.h"

struct host_file {
    int fd; /* -1 when closed */
    uint64_t len_bytes;
    const char *role; /* borrowed */
    char name[160];   /* escaped */
};

/* Opens a regular file of 1 to max_bytes bytes. `role` ("image", "initrd") is for sentences. Never
 * blocks on a pipe or a device: those are refused. Close it after success. */
int host_file_open(struct host_file *f, const char *path, const char *role, uint64_t max_bytes,
                   struct err *e);
/* Reads all len_bytes to `dst`; a file that shrank meanwhile is an error. */
int host_file_read(struct host_file *f, void *dst, struct err *e);
void host_file_close(struct host_file *f);

#endif
