/*
 * The line that a point logs: a format in the manner of C's printf with its values. Made on the
 * main thread, formatted on vCPU threads.
 *
 *   "read of %x by %s\n", port, task_name
 *
 * Conversions are d i u x X o c s p and %%, with flags, width and precision. Values have 64 bits;
 * hh and h cut them to 8 and 16 bits, l, ll, z and j are accepted and change nothing. %s is the
 * text at that address in the guest, up to its NUL. \n \t \r \a \e \" \\ stand for what they do in
 * C.
 */
#ifndef DEBUG_POINT_LOG_H
#define DEBUG_POINT_LOG_H

#include "debug/expr.h"
#include "vmm/base/buf.h"
#include "vmm/base/err.h"

struct point_log;

/* NULL with a sentence. `names` is not kept. Free with point_log_free, which takes NULL too. */
struct point_log *point_log_new(const char *text, const struct expr_names *names, struct err *e);
void point_log_free(struct point_log *l);
/* Appends the line. What cannot be read is named in its place. Any thread. */
void point_log_format(const struct point_log *l, const struct expr_env *env, struct buf *out);

#endif
