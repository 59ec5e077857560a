/*
 * The state of a run's checks, shared by checks.c (watching, verdict) and checks_files.c (what is
 * written about it). Main thread, except the counters of exits.
 */
#ifndef TUI_CHECKS_INT_H
#define TUI_CHECKS_INT_H

#include <regex.h>
#include <stdatomic.h>

#include "debug/session.h"
#include "tui/checks.h"

struct pattern {
    const char *text;
    regex_t re;
    bool seen;
    char *line; /* where it was seen */
};

/* --check: what became of it; `told` is the expression with its counts filled in. */
struct condition {
    enum { CONDITION_UNKNOWN, CONDITION_HOLDS, CONDITION_FAILS } is;
    char *told; /* owned, or NULL */
};

struct checks {
    struct session *s;
    const struct opts *o;
    struct pattern *expect, *fail;
    struct condition *condition;
    unsigned sent; /* of the options' sends */
    int subscription, hook;
    struct buf line[CONSOLE_CHANS]; /* the unfinished line */
    struct buf console;             /* all channels, for the folder */
    uint64_t start_ns;
    _Atomic uint64_t exits; /* counted by the hook on vCPU threads */
    _Atomic bool too_many;
    bool failed; /* a --fail pattern was seen */
    char *kept;  /* the folder */
};

/* Makes the folder of a failed check and fills it: all that tells why. */
void checks_keep(struct checks *k, struct cmd_client *c, const char *why);
/* Whether the files that are asked for can be written, before the guest runs for it. */
int checks_try_files(const struct opts *o, struct err *e);
/* Writes them; false, after a sentence on standard error, when one could not be. */
bool checks_write(const struct checks *k, int status, const char *why);
/* The command that runs it again. */
void checks_add_rerun(struct buf *b, const struct opts *o);

#endif
