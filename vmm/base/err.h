/*
 * One error value for every edge where a human will read it: what failed, on what, why, and
 * what to try. Inside a layer functions return 0 or -errno; where words are known they also
 * fill a `struct err`. The message is one sentence without a final newline.
 */
#ifndef VMM_BASE_ERR_H
#define VMM_BASE_ERR_H

struct err {
    int code;      /* positive errno, 0 when unset */
    char msg[600]; /* empty when unset; guest and file text in it is already escaped */
};

/* Fills `e` (which may be NULL) and returns -code, so that `return err_set(e, EINVAL, …)` is the
 * usual form. `code` is a positive errno. */
int err_set(struct err *e, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Puts "text: " before the present message. Returns -e->code, or -EINVAL for an unset error. */
int err_prefix(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
