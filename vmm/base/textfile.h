/*
 * Text files that a person names: what is no file must not hang the program. Any thread.
 */
#ifndef VMM_BASE_TEXTFILE_H
#define VMM_BASE_TEXTFILE_H

#include <stdio.h>

#include "vmm/base/buf.h"

/* fopen(path, "re"), but a named pipe that nobody writes to is refused with ENXIO, where opening it
 * would wait for ever. NULL with errno. */
FILE *textfile_open(const char *path);
/* All of it, appended; -EFBIG past `max` bytes, or another -errno. */
int textfile_read(const char *path, size_t max, struct buf *out);

#endif
