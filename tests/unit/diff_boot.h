/*
 * Sessions whose guest is a program of diff_program.h.
 */
#ifndef TESTS_UNIT_DIFF_BOOT_H
#define TESTS_UNIT_DIFF_BOOT_H

#include <stdlib.h>

#include "tests/unit/diff_program.h"
#include "tests/unit/guest_image.h"

static unsigned dp_cpus = 1;

/* Opens *s, which stands at the program's entry, with methods as VMSCOPE_FORCE_METHODS would have
 * them (NULL: as the host suits). False: the test has failed or is skipped. */
static bool dp_open(struct session **s, const struct program *p, const char *force)
{
    static const enum boot_mode modes[] = {BOOT_MODE_REAL, BOOT_MODE_PROT, BOOT_MODE_LONG,
                                           BOOT_MODE_LONG};
    const struct session_config cfg = {.mem_bytes = 2 << 20,
                                       .cpus = dp_cpus,
                                       .ring_records = 1024,
                                       .boot = FLAT_AT(DP_AT, modes[p->kind])};

    if (force)
        setenv("VMSCOPE_FORCE_METHODS", force, 1);
    else
        unsetenv("VMSCOPE_FORCE_METHODS");
    return guest_open(s, cfg, p->image, DP_BYTES);
}

#endif
