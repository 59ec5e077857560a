/*
 * What --expect, --fail and --max-exits ask of a run, and what is written about it: JUnit XML,
 * JSON, and after a failure a folder with all that tells why. Used by batch.c. Main thread.
 */
#ifndef TUI_CHECKS_H
#define TUI_CHECKS_H

#include <stdbool.h>

#include "tui/opts.h"
#include "vmm/base/buf.h"

struct checks;
struct cmd_client;

/* NULL when the options ask for no check and no file. Listens to the session from now on. */
struct checks *checks_new(struct session *s, const struct opts *o);
void checks_free(struct checks *k); /* takes NULL; before the session is closed */
/* Nothing is left to wait for: all was seen, or something failed. */
bool checks_over(const struct checks *k);
/* The verdict: 0 or STATUS_COMMAND. `status` and `why` are what the run would have ended with
 * without checks, `aborted` says that it was cut short (a time-out, a failed command or script); on
 * failure `why` becomes the check's sentence. Writes the files. Takes NULL: then `status`. */
int checks_verdict(struct checks *k, int status, bool aborted, struct buf *why,
                   struct cmd_client *c);

#endif
