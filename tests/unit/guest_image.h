/*
 * A session over a guest that the test carries as bytes: they are written to a file of their own,
 * since images come from files. Where /dev/kvm cannot be used the test is skipped.
 */
#ifndef TESTS_GUEST_IMAGE_H
#define TESTS_GUEST_IMAGE_H

#include <stdlib.h>
#include <unistd.h>

#include "debug/session.h"
#include "tests/test.h"

static char guest_image[] = "/tmp/vmscope-test-XXXXXX";

/* How boot_config says: these bytes at `at`, begun in `how`. */
#define FLAT_AT(at, how)                                                                           \
    (struct boot_config)                                                                           \
    {                                                                                              \
        .kind = BOOT_FLAT, .has_load_addr = true, .load_addr = (at), .has_mode = true,             \
        .mode = (how)                                                                              \
    }

/* Opens *s as `cfg` says, but for the image's name. False: the test has failed or is skipped. */
static bool guest_open(struct session **s, struct session_config cfg, const void *code, size_t len)
{
    struct err e = {0};
    int fd;

    memcpy(guest_image + sizeof guest_image - 7, "XXXXXX", 6);
    fd = mkstemp(guest_image);
    if (fd < 0 || write(fd, code, len) != (ssize_t)len || close(fd) < 0) {
        test_fail(__FILE__, __LINE__, "cannot write %s", guest_image);
        return false;
    }
    cfg.boot.image = guest_image;
    if (session_open(s, &cfg, &e) == 0)
        return true;
    unlink(guest_image);
    if (access("/dev/kvm", R_OK | W_OK) < 0) {
        snprintf(test_why, sizeof test_why, "%.500s", e.msg);
        test_skipped = true;
    } else {
        test_fail(__FILE__, __LINE__, "session_open: %.500s", e.msg);
    }
    return false;
}

static void guest_close(struct session **s)
{
    session_close(*s);
    *s = NULL;
    unlink(guest_image);
}

#endif
