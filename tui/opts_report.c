/*
 * Setters for the options of `vmscope report`, and --trace. Words are checked where they are used;
 * here only numbers are.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tui/opts.h"
#include "tui/opts_values.h"

static int number(const char *value, uint64_t max, uint64_t *out, struct err *e)
{
    char *end;

    errno = 0;
    *out = strtoull(value, &end, 0);
    if (*end || !*value || *value == '-' || errno || !*out || *out > max)
        return err_set(e, EINVAL, "`%s` is not a number from 1 to %llu", value,
                       (unsigned long long)max);
    return 0;
}

int opt_trace(struct opts *o, const char *value, struct err *e)
{
    (void)e;
    o->trace = value;
    return 0;
}

int opt_visible(struct opts *o, const char *value, struct err *e)
{
    if (strcmp(value, "all") && strcmp(value, "default"))
        return err_set(e, EINVAL, "`%s` is neither `all` nor `default`", value);
    o->session.visible_all = !strcmp(value, "all");
    return 0;
}

#define TEXT(name)                                                                                 \
    int opt_report_##name(struct opts *o, const char *value, struct err *e)                        \
    {                                                                                              \
        (void)e;                                                                                   \
        o->report.name = value;                                                                    \
        return 0;                                                                                  \
    }
TEXT(by)
TEXT(sort)
TEXT(filter)
TEXT(diff)
TEXT(fail_if)
TEXT(export)
TEXT(output)

int opt_report_top(struct opts *o, const char *value, struct err *e)
{
    uint64_t n;
    int rc = number(value, 1000000, &n, e);

    o->report.top = (unsigned)n;
    return rc;
}

int opt_report_list(struct opts *o, const char *value, struct err *e)
{
    return number(value, 1u << 30, &o->report.list, e);
}

int opt_report_from(struct opts *o, const char *value, struct err *e)
{
    return number(value, UINT64_MAX, &o->report.from, e);
}

int opt_report_explain(struct opts *o, const char *value, struct err *e)
{
    return number(value, UINT64_MAX, &o->report.explain, e);
}

int opt_report_hist(struct opts *o, const char *value, struct err *e)
{
    (void)value;
    (void)e;
    o->report.hist = true;
    return 0;
}

int opt_report_counters(struct opts *o, const char *value, struct err *e)
{
    (void)value;
    (void)e;
    o->report.counters = true;
    return 0;
}

int opt_report_storms(struct opts *o, const char *value, struct err *e)
{
    (void)value;
    (void)e;
    o->report.storms = true;
    return 0;
}
