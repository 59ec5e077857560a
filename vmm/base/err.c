/*
 * The error value. Any thread; a value belongs to one caller.
 */
#include "vmm/base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Whatever could not be opened then: the way out is the same. */
static void add_remedy(struct err *e)
{
    size_t used = strlen(e->msg);

    if ((e->code == EMFILE || e->code == ENFILE) && !strstr(e->msg, "ulimit"))
        snprintf(e->msg + used, sizeof e->msg - used,
                 "; raise the limit with `ulimit -n 4096` and try again");
}

int err_set(struct err *e, int code, const char *fmt, ...)
{
    va_list ap;

    if (e) {
        e->code = code;
        va_start(ap, fmt);
        vsnprintf(e->msg, sizeof e->msg, fmt, ap);
        va_end(ap);
        add_remedy(e);
    }
    return -code;
}

int err_prefix(struct err *e, const char *fmt, ...)
{
    char old[sizeof e->msg];
    va_list ap;
    size_t used;

    if (!e || !e->code)
        return -EINVAL;
    memcpy(old, e->msg, sizeof old);
    va_start(ap, fmt);
    vsnprintf(e->msg, sizeof e->msg, fmt, ap);
    va_end(ap);
    used = strlen(e->msg);
    snprintf(e->msg + used, sizeof e->msg - used, ": %s", old);
    return -e->code;
}
