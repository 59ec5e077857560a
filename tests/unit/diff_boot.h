/*
 * A session whose guest is a program of diff_program.h.
 */
#ifndef TESTS_UNIT_DIFF_BOOT_H
#define TESTS_UNIT_DIFF_BOOT_H

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "debug/session.h"
#include "tests/unit/diff_program.h"

/* Stands at the program's entry. NULL with a sentence. */
static struct session *dp_boot(const struct program *p, struct err *e)
{
    static const enum boot_mode modes[] = {BOOT_MODE_REAL, BOOT_MODE_PROT, BOOT_MODE_LONG,
                                           BOOT_MODE_LONG};
    char image[] = "/tmp/vmscope-test-XXXXXX";
    struct session_config cfg = {.mem_bytes = 2 << 20, .ring_records = 1024};
    struct session *s;
    int fd = mkstemp(image), rc;

    if (fd < 0 || write(fd, p->image, DP_BYTES) != DP_BYTES || close(fd) < 0) {
        err_set(e, EIO, "cannot write %s", image);
        return NULL;
    }
    cfg.boot = (struct boot_config){.kind = BOOT_FLAT,
                                    .image = image,
                                    .has_load_addr = true,
                                    .load_addr = DP_AT,
                                    .has_mode = true,
                                    .mode = modes[p->kind]};
    rc = session_open(&s, &cfg, e);
    unlink(image);
    return rc < 0 ? NULL : s;
}

#endif
