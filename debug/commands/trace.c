/*
 * `info exits`: statistics and newest records of a live guest; `trace`: its file and filter. Main
 * thread. The tables themselves are made in trace_table.c, for `vmscope report` as well.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "debug/commands/commands.h"
#include "debug/trace/trace_table.h"
#include "debug/trace/tracer.h"
#include "vmm/base/near.h"
#include "vmm/base/x.h"
#include "vmm/vm.h"

#define LAST_MAX 100000u
#define TOP_MAX  1000000u

static int need_number(const char **args, unsigned max, unsigned *n, struct err *e)
{
    char word[40], *end;
    unsigned long v;

    if (!cmd_word(args, word, sizeof word))
        return err_set(e, EINVAL, "a number from 1 to %u is missing", max);
    v = strtoul(word, &end, 10);
    if (*end || v < 1 || v > max)
        return err_set(e, EINVAL, "`%s` is not a number from 1 to %u", word, max);
    *n = (unsigned)v;
    return 0;
}

static int need_name(const char **args, const char *const *names, const char *what, int *index,
                     struct err *e)
{
    char word[40];
    struct near near = {.word = word};

    if (!cmd_word(args, word, sizeof word))
        return err_set(e, EINVAL, "%s is missing", what);
    for (*index = 0; names[*index]; ++*index) {
        if (!strcmp(names[*index], word))
            return 0;
        near_offer(&near, names[*index]);
    }
    return err_set(e, EINVAL, "`%s` is not %s%s%s%s", word, what,
                   near.best ? ": did you mean `" : "", near.best ? near.best : "",
                   near.best ? "`?" : "");
}

/* "if EXPR" to the end of the line. */
static int need_filter(struct cmd_client *c, const char *args, struct trace_filter **f,
                       struct err *e)
{
    if (!*args)
        return err_set(e, EINVAL, "an expression is missing behind `if`");
    *f = filter_compile(args, tracer_names(session_tracer(c->s)), e);
    return *f ? 0 : -EINVAL;
}

static int sites_only(const struct trace_filter *f, struct err *e)
{
    const char *word;

    if (!filter_needs_records(f, &word))
        return 0;
    return err_set(e, EINVAL,
                   "the statistics do not keep `%s` of each exit: `trace filter` counts only what "
                   "matches from now on, and `vmscope report --if` looks at every record of a "
                   "trace file",
                   word);
}

/* ---- tables ---------------------------------------------------------------------------------- */

static int parse_table(struct cmd_client *c, const char *args, struct table_ask *ask,
                       struct trace_filter **f, struct err *e)
{
    bool top = false;
    int rc = 0, index;

    while (rc == 0 && *args) {
        if (cmd_keyword(&args, "by")) {
            rc = need_name(&args, table_by_names, "what exits are counted by", &index, e);
            ask->by = (enum table_by)index;
        } else if (cmd_keyword(&args, "sort")) {
            rc = need_name(&args, table_sort_names, "an order", &index, e);
            ask->sort = (enum table_sort)index;
        } else if (cmd_keyword(&args, "top")) {
            rc = need_number(&args, TOP_MAX, &ask->top, e);
            top = true;
        } else if (cmd_keyword(&args, "if")) {
            rc = need_filter(c, args, f, e);
            args = "";
        } else {
            rc = err_set(e, EINVAL,
                         "`info exits` takes `by KEY`, `top N`, `sort ORDER` and `if "
                         "EXPR`, or one of `hist`, `last` and `clear`, not `%.60s`",
                         args);
        }
    }
    if (!top)
        ask->top = ask->by == BY_KIND || ask->by == BY_VCPU ? 0 : 20;
    return rc ? rc : sites_only(*f, e);
}

static int table(struct cmd_client *c, const char *args, struct out *o)
{
    struct tracer *t = session_tracer(c->s);
    struct table_ask ask = {0};
    struct trace_filter *f = NULL;
    struct err e = {0};
    int rc = parse_table(c, args, &ask, &f, &e);

    if (rc == 0) {
        const struct trace_names *names = tracer_names(t);

        ask.filter = f;
        table_print(tracer_lock(t), names, &ask, o);
        tracer_unlock(t);
    }
    filter_free(f);
    return rc ? cmd_fail(o, &e) : 0;
}

/* [KIND] [if EXPR] */
static int hist(struct cmd_client *c, const char *args, struct out *o)
{
    struct tracer *t = session_tracer(c->s);
    struct trace_filter *f = NULL;
    struct err e = {0};
    int reason = -1, rc = 0;
    char word[40];

    if (*args && strncmp(args, "if ", 3) && cmd_word(&args, word, sizeof word) &&
        (reason = exit_kind_by_name(word)) < 0)
        rc = err_set(&e, EINVAL, "`%s` is not a kind of exit: `help catch` lists them", word);
    if (rc == 0 && cmd_keyword(&args, "if")) {
        rc = need_filter(c, args, &f, &e);
        if (rc == 0)
            rc = sites_only(f, &e);
    }
    if (rc == 0) {
        table_hist(tracer_lock(t), f, reason, o);
        tracer_unlock(t);
    }
    filter_free(f);
    return rc ? cmd_fail(o, &e) : 0;
}

/* ---- newest records -------------------------------------------------------------------------- */

/* The newest `n` records that match, oldest first; the caller frees. */
static struct exit_event *newest(struct cmd_client *c, size_t n, int reason,
                                 const struct trace_filter *f, size_t *count, uint64_t *dropped)
{
    struct exit_event *ring = xcalloc(n, sizeof *ring), *chunk = xcalloc(512, sizeof *chunk), *out;
    struct trace_cursor *cur = xcalloc(1, sizeof *cur);
    size_t seen = 0, got;
    uint64_t limit = session_exit_count(c->s) + 1; /* a running guest would feed us for ever */

    session_trace_start(c->s, cur, false);
    while (limit && (got = session_trace_next(c->s, cur, chunk, limit < 512 ? limit : 512))) {
        for (size_t i = 0; i < got; i++) {
            if ((reason < 0 || chunk[i].reason == reason) && filter_match(f, &chunk[i]))
                ring[seen++ % n] = chunk[i];
        }
        limit -= got;
    }
    *dropped = cur->dropped;
    *count = seen < n ? seen : n;
    out = xcalloc(*count + 1, sizeof *out);
    for (size_t i = 0; i < *count; i++)
        out[i] = ring[(seen - *count + i) % n];
    free(ring);
    free(chunk);
    free(cur);
    return out;
}

/* [COUNT] [KIND] [if EXPR] */
static int last(struct cmd_client *c, const char *args, struct out *o)
{
    struct trace_filter *f = NULL;
    struct err e = {0};
    struct exit_event *ev;
    unsigned long n = 20;
    char word[40], *end;
    int reason = -1, rc = 0;
    size_t count;
    uint64_t dropped;

    while (rc == 0 && *args) {
        unsigned long v;

        if (cmd_keyword(&args, "if")) {
            rc = need_filter(c, args, &f, &e);
            break;
        }
        cmd_word(&args, word, sizeof word);
        v = strtoul(word, &end, 10);
        if (!*end && v >= 1 && v <= LAST_MAX)
            n = v;
        else if ((reason = exit_kind_by_name(word)) < 0)
            rc = err_set(&e, EINVAL,
                         "`%s` is neither a count from 1 to %u nor a kind of exit: `help catch` "
                         "lists the kinds",
                         word, LAST_MAX);
    }
    if (rc < 0) {
        filter_free(f);
        return cmd_fail(o, &e);
    }
    ev = newest(c, n, reason, f, &count, &dropped);
    out_table(o, "records", "There is no such record: the guest has not left KVM_RUN for it yet.",
              table_list_columns);
    for (size_t i = 0; i < count; i++)
        table_list_row(&ev[i], tracer_names(session_tracer(c->s)), ev[0].at_ns, o);
    out_table_end(o);
    out_json_u64(o, "dropped", dropped);
    free(ev);
    filter_free(f);
    return 0;
}

int cmd_info_exits_run(struct cmd_client *c, const char *args, struct out *o)
{
    if (cmd_keyword(&args, "last"))
        return last(c, args, o);
    if (cmd_keyword(&args, "hist"))
        return hist(c, args, o);
    if (cmd_keyword(&args, "clear")) {
        stat_clear(tracer_lock(session_tracer(c->s)));
        tracer_unlock(session_tracer(c->s));
        out_line(o, "Exits are counted from here on.");
        return 0;
    }
    return table(c, args, o);
}

char *cmd_complete_exits(struct cmd_client *c, const char *args, size_t n)
{
    static const char *const words[] = {"by",    "top",    "sort", "if",   "hist",   "last",
                                        "clear", "kind",   "port", "gpa",  "msr",    "vector",
                                        "rip",   "symbol", "vcpu", "site", "device", "what",
                                        "count", "time",   "mean", "p99",  "max",    NULL};

    (void)c;
    return cmd_complete_words(words, args, n);
}

/* ---- trace ----------------------------------------------------------------------------------- */

static int status(struct tracer *t, struct out *o)
{
    struct tracer_status st;

    tracer_status(t, &st);
    if (st.writing)
        out_text(o, "Tracing to %s: %" PRIu64 " records, %" PRIu64 " bytes written", st.path,
                 st.records, st.bytes);
    else
        out_text(o, "No trace file is being written: `trace on FILE` begins one.");
    if (st.lost)
        out_text(o, "%" PRIu64 " records could not be written", st.lost);
    if (st.filter[0])
        out_text(o, "Only exits that match are counted and written: %s", st.filter);
    if (st.kernel[0])
        out_text(o, "Events inside KVM are recorded: %s", st.kernel);
    if (st.kernel_lost)
        out_text(o, "%" PRIu64 " events inside KVM came too fast and are lost", st.kernel_lost);
    out_json_str(o, "kernel", st.kernel);
    out_json_u64(o, "kernel_lost", st.kernel_lost);
    out_json_bool(o, "tracing", st.writing);
    if (st.writing) {
        out_json_str(o, "file", st.path);
        out_json_u64(o, "records", st.records);
        out_json_u64(o, "bytes", st.bytes);
        out_json_u64(o, "lost", st.lost);
    }
    out_json_str(o, "filter", st.filter);
    return 0;
}

static int trace_off(struct tracer *t, struct out *o)
{
    struct tracer_status st;
    struct err e = {0};

    tracer_status(t, &st);
    if (!st.writing) {
        out_line(o, "No trace file is being written.");
        return 0;
    }
    if (tracer_file_end(t, &e) < 0)
        return cmd_fail(o, &e);
    out_line(o, "%" PRIu64 " records are in %s", st.records, st.path);
    return 0;
}

static int trace_filter(struct cmd_client *c, const char *args, struct out *o)
{
    struct tracer *t = session_tracer(c->s);
    struct buf filter = {0};
    struct err e = {0};
    bool off = !strcmp(args, "off");
    int rc;

    if (!*args)
        return status(t, o);
    rc = off ? 0 : cmd_catch_filter(c, args, &filter, &e);
    if (rc == 0)
        rc = tracer_filter(t, off ? NULL : buf_str(&filter), &e);
    buf_fini(&filter);
    if (rc < 0)
        return cmd_fail(o, &e);
    if (off)
        out_line(o, "Every exit is counted and traced.");
    else
        out_line(o, "Only exits that match are counted and traced from here on.");
    return 0;
}

/* "on", "off", "all" or names of trace points. */
static int trace_kernel(struct cmd_client *c, const char *args, struct out *o)
{
    struct tracer *t = session_tracer(c->s);
    struct tracer_status st;
    struct buf told = {0};
    struct err e = {0};
    int rc;

    if (!*args)
        return status(t, o);
    rc = cmd_need_stopped(c, o);
    if (rc < 0)
        return rc;
    rc = tracer_kernel(t, !strcmp(args, "off") ? NULL : !strcmp(args, "on") ? "" : args, &told, &e);
    if (told.len)
        out_line(o, "%.*s", (int)told.len - 1, told.data);
    buf_fini(&told);
    if (rc < 0)
        return cmd_fail(o, &e);
    tracer_status(t, &st);
    if (!st.kernel[0])
        out_line(o, "The kernel's trace points are off.");
    else
        out_line(o, "Events inside KVM are records of kind `kernel` from here on: %s", st.kernel);
    if (st.kernel[0] && session_vm(c->s)->probe.emulated)
        out_line(o,
                 "This host's KVM interprets ring 0: kvm_exit, kvm_entry and kvm_page_fault never "
                 "come, as the processor is not asked.");
    return 0;
}

int cmd_trace_run(struct cmd_client *c, const char *args, struct out *o)
{
    struct tracer *t = session_tracer(c->s);
    struct err e = {0};

    if (!*args)
        return status(t, o);
    if (cmd_keyword(&args, "on")) {
        char *path = cmd_trim_dup(args, strlen(args));
        int rc = *path ? tracer_file(t, path, &e)
                       : err_set(&e, EINVAL, "`trace on` needs the name of a file");

        free(path);
        if (rc < 0)
            return cmd_fail(o, &e);
        return status(t, o);
    }
    if (cmd_keyword(&args, "off"))
        return trace_off(t, o);
    if (cmd_keyword(&args, "filter"))
        return trace_filter(c, args, o);
    if (cmd_keyword(&args, "kernel"))
        return trace_kernel(c, args, o);
    if (cmd_keyword(&args, "stacks"))
        return cmd_trace_stacks(c, args, o);
    return cmd_catch_point(c, args, DO_LOG, false, o);
}

char *cmd_complete_trace(struct cmd_client *c, const char *args, size_t n)
{
    static const char *const words[] = {"on", "off", "filter", "kernel", "all", "stacks", NULL};

    if (!strncmp(args, "on ", 3))
        return cmd_complete_file(c, args, n);
    return cmd_complete_words(words, args, n);
}
