/*
 * What --expect, --fail, --check and --max-exits ask of a run, what --send says to the guest, and
 * what is written about it: JUnit XML, JSON, and after a failure a folder with all that tells why.
 * Used by batch.c. Main thread.
 */
#ifndef TUI_CHECKS_H
#define TUI_CHECKS_H

#include <stdbool.h>

#include "tui/opts.h"
#include "vmm/base/buf.h"
#include "vmm/base/err.h"

struct checks;
struct cmd_client;

/* *out is NULL when the options ask for nothing of that. Listens to the session from now on.
 * -EINVAL with a sentence about a --check that cannot be understood. */
int checks_new(struct checks **out, struct session *s, const struct opts *o, struct err *e);
void checks_free(struct checks *k); /* takes NULL; before the session is closed */
/* Nothing is left to wait for: all was seen, or something failed. */
bool checks_over(const struct checks *k);
/* Appends the next --send when every --expect that stands before it was seen. Takes NULL. */
bool checks_send(struct checks *k, struct buf *to);
/* The verdict: 0 or STATUS_COMMAND. `status` and `why` are what the run would have ended with
 * without checks, `aborted` says that it was cut short (a time-out, a failed command or script); on
 * failure `why` becomes the check's sentence, and `told` gets lines about what was kept. Writes the
 * files. Takes NULL: then `status`. */
int checks_verdict(struct checks *k, int status, bool aborted, struct buf *why, struct buf *told,
                   struct cmd_client *c);

#endif
