/*
 * `vmscope report`: reads a trace file once, counts, and prints.
 */
#include "debug/trace/report.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "debug/stacks.h"
#include "debug/symbols/sym.h"
#include "debug/trace/explain.h"
#include "debug/trace/report_int.h"
#include "debug/trace/storm.h"
#include "debug/trace/trace_counters.h"
#include "debug/trace/trace_out.h"
#include "vmm/base/x.h"

#define TOP_DEFAULT 20u

/* ---- opening --------------------------------------------------------------------------------- */

/* FILE[@ADDRESS], as for a guest. */
static int use_symbols(struct trace_reader *r, const char *spec, struct err *e)
{
    const char *at = strrchr(spec, '@');
    char *path = xstrdup(spec), *end = NULL;
    int64_t slide = at ? (int64_t)strtoull(at + 1, &end, 0) : 0, n;
    struct symbols *t = symbols_new();

    if (at && at[1] && !*end)
        path[at - spec] = 0;
    else
        slide = 0;
    n = symbols_load(t, path, slide, e);
    free(path);

    if (n >= 0)
        names_set_symbols(trace_names(r), t);
    symbols_free(t);
    return n < 0 ? (int)n : 0;
}

int report_open_reader(struct trace_reader **r, const char *path, const struct report_ask *ask,
                       struct err *e)
{
    int rc = trace_open(r, path, e);

    if (rc == 0 && ask->symbols)
        rc = use_symbols(*r, ask->symbols, e);
    return rc;
}

int report_open(struct report *p, const char *path, const struct report_ask *ask, struct err *e)
{
    int rc;

    *p = (struct report){0};
    stat_init(&p->stats);
    rc = report_open_reader(&p->reader, path, ask, e);
    if (rc == 0 && ask->filter &&
        !(p->filter = filter_compile(ask->filter, trace_names(p->reader), e)))
        rc = err_prefix(e, "--if");
    return rc;
}

void report_close(struct report *p)
{
    filter_free(p->filter);
    stat_fini(&p->stats);
    trace_close(p->reader);
}

void report_count(struct report *p, report_fn *each, void *arg)
{
    static struct exit_event batch[REPORT_BATCH];
    struct filter_stream stream = {0};
    size_t n;

    p->read = 0;
    trace_seek(p->reader, 0);
    while ((n = trace_read(p->reader, batch, REPORT_BATCH))) {
        p->read += n;
        for (size_t i = 0; i < n; i++) {
            bool wanted = !p->filter || filter_next(&stream, p->filter, &batch[i]);

            stat_add(&p->stats, &batch[i], wanted);
            if (each && wanted)
                each(arg, &batch[i]);
        }
    }
    p->stats.dropped = trace_info(p->reader)->dropped;
}

/* ---- what is asked --------------------------------------------------------------------------- */

static int parse_ask(const struct report_ask *ask, struct table_ask *t, struct err *e)
{
    int by = ask->by ? table_by_name(ask->by) : BY_KIND;
    int sort = ask->sort ? table_sort_name(ask->sort) : SORT_COUNT;

    if (by < 0)
        return err_set(e, EINVAL,
                       "--by %s: exits are counted by kind, port, gpa, msr, vector, rip, symbol, "
                       "vcpu, device, what or site",
                       ask->by);
    if (sort < 0)
        return err_set(e, EINVAL, "--sort %s: the orders are count, time, mean, p99 and max",
                       ask->sort);
    t->empty = "The file has no exits.";
    t->by = (enum table_by)by;
    t->sort = (enum table_sort)sort;
    t->top = ask->top ? ask->top : by == BY_KIND || by == BY_VCPU ? 0 : TOP_DEFAULT;
    return 0;
}

/* ---- printing -------------------------------------------------------------------------------- */

static void print_head(struct report *p, struct out *o)
{
    const struct trace_info *in = trace_info(p->reader);
    time_t when = (time_t)(in->start_real_ns / 1000000000u);
    char guest[200], kvm[60], date[40] = "";
    struct tm tm;

    trace_meta(p->reader, "guest", guest, sizeof guest);
    trace_meta(p->reader, "kvm", kvm, sizeof kvm);
    if (gmtime_r(&when, &tm))
        strftime(date, sizeof date, "%Y-%m-%d %H:%M:%S UTC", &tm);
    out_text(o, "%s on %u vCPU%s%s%s%s, recorded %s: %" PRIu64 " records in %.1f MB",
             guest[0] ? guest : "(unknown guest)", in->cpus, in->cpus == 1 ? "" : "s",
             kvm[0] ? " (" : "", kvm, kvm[0] ? ")" : "", date, in->records,
             (double)in->bytes / 1e6);
    out_json_str(o, "guest", guest);
    out_json_str(o, "recorded", date);
    out_json_u64(o, "records", in->records);
    out_json_u64(o, "bytes", in->bytes);
    out_json_bool(o, "finished", in->finished);
}

static void print_problem(struct report *p, struct out *o)
{
    const struct trace_info *in = trace_info(p->reader);

    if (!in->problem[0])
        return;
    out_text(o, "%s", in->problem);
    if (in->damaged > 1)
        out_text(o, "%u blocks are damaged in all", in->damaged);
    if (p->read)
        out_text(o, "%" PRIu64 " of %" PRIu64 " records could be read", p->read, in->records);
    out_json_u64(o, "read", p->read);
    out_json_str(o, "problem", in->problem);
    out_json_u64(o, "damaged_blocks", in->damaged);
}

static void print_list(struct report *p, const struct report_ask *ask, struct out *o)
{
    struct exit_event ev;
    uint64_t zero = trace_info(p->reader)->first_ns, left = ask->list;
    struct filter_stream stream = {0};

    out_table(o, "records", "No record matches.", table_list_columns);
    trace_seek(p->reader, ask->from ? ask->from - 1 : 0);
    while (left && trace_read(p->reader, &ev, 1)) {
        if (!filter_next(&stream, p->filter, &ev))
            continue;
        table_list_row(&ev, trace_names(p->reader), zero, o);
        left--;
    }
    out_table_end(o);
}

static void print_counters(struct report *p, struct out *o)
{
    struct trace_counters c;

    counters_load(&c, p->reader);
    counters_print(&c, o);
    counters_fini(&c);
}

#define CALLERS_WITHIN 200u /* other records may stand between */

void explain_following(const struct exit_event *ev, struct trace_reader *r, struct out *o)
{
    struct stack_frames frames = {0};
    struct exit_event next;

    if (ev->reason >= EXIT_OUR_FIRST)
        return;
    for (unsigned i = 0; i < CALLERS_WITHIN && trace_read(r, &next, 1); i++) {
        if (next.vcpu != ev->vcpu || next.reason == EXIT_DEVICE || next.reason == EXIT_KERNEL)
            continue;
        if (next.reason != EXIT_STACK || !stacks_take(&frames, &next))
            break;
    }
    explain_callers(&frames, trace_names(r), o);
}

static int explain(struct report *p, uint64_t number, struct out *o, struct err *e)
{
    struct exit_event ev;
    char kvm[60];

    trace_seek(p->reader, number - 1);
    if (!trace_read(p->reader, &ev, 1))
        return err_set(e, ENOENT, "--explain %" PRIu64 ": %s", number,
                       !trace_info(p->reader)->records ? "the trace has no records"
                       : number > trace_info(p->reader)->records
                           ? "the trace has fewer records"
                           : "that record cannot be read: its block is damaged");
    trace_meta(p->reader, "kvm", kvm, sizeof kvm);
    explain_print(&ev, trace_names(p->reader), !strncmp(kvm, "emulating", 9), o);
    explain_following(&ev, p->reader, o);
    return 0;
}

/* ---- storms ---------------------------------------------------------------------------------- */

struct storm_pass {
    struct storm_watch watch;
    struct report *p;
};

static void storm_step(void *arg, const struct exit_event *ev)
{
    struct storm_pass *s = arg;

    storm_follow(&s->watch, &s->p->stats, trace_names(s->p->reader), ev->at_ns, false);
}

static void print_storms(struct report *p, struct out *o)
{
    struct storm_pass *s = xcalloc(1, sizeof *s);
    uint64_t zero = trace_info(p->reader)->first_ns, last = trace_info(p->reader)->last_ns;

    storm_init(&s->watch);
    s->p = p;
    report_count(p, storm_step, s);
    storm_follow(&s->watch, &p->stats, trace_names(p->reader), last, true);
    storm_print(&s->watch, zero, last, o);
    free(s);
}

/* ---- what was asked -------------------------------------------------------------------------- */

static void check_step(void *arg, const struct exit_event *ev)
{
    check_add(arg, ev);
}

/* 0, 1 when --fail-if is true, or -errno. */
static int print_check(struct report_check *check, const struct trace_stats *stats, struct out *o,
                       struct err *e)
{
    struct buf told = {0};
    int rc = check_value(check, stats, &told, e);

    if (rc >= 0)
        out_text(o, "%s", buf_str(&told));
    out_json_bool(o, "failed", rc > 0);
    buf_fini(&told);
    return rc;
}

static int print_tables(struct report *p, const struct report_ask *ask, struct out *o,
                        struct err *e)
{
    struct report_check check = {0};
    struct table_ask t = {0};
    int rc = parse_ask(ask, &t, e);

    if (rc == 0 && ask->fail_if)
        rc = check_parse(&check, ask->fail_if, trace_names(p->reader), false, e);
    if (rc < 0) {
        check_fini(&check);
        return rc;
    }
    print_head(p, o);
    if (ask->list) {
        print_list(p, ask, o);
    } else if (ask->counters) {
        print_counters(p, o);
    } else if (ask->storms) {
        print_storms(p, o);
    } else {
        report_count(p, ask->fail_if ? check_step : NULL, &check);
        if (ask->hist)
            table_hist(&p->stats, NULL, -1, o);
        else
            table_print(&p->stats, trace_names(p->reader), &t, o);
    }
    print_problem(p, o);
    if (ask->fail_if && (ask->list || ask->counters || ask->storms)) {
        stat_clear(&p->stats);
        report_count(p, check_step, &check);
    }
    if (ask->fail_if)
        rc = print_check(&check, &p->stats, o, e);
    check_fini(&check);
    return rc;
}

static int print_diff(struct report *b, const struct report_ask *ask, struct out *o, struct err *e)
{
    struct report_check check = {0};
    struct check_diff found;
    struct table_ask t = {0};
    struct report a;
    int rc = report_open(&a, ask->diff, ask, e);

    if (rc == 0)
        rc = parse_ask(ask, &t, e);
    if (rc == 0 && ask->fail_if)
        rc = check_parse(&check, ask->fail_if, trace_names(b->reader), true, e);
    if (rc == 0) {
        print_head(&a, o);
        print_head(b, o);
        diff_print(&a, b, &t, ask->fail_if ? &check : NULL, &found, o);
        print_problem(&a, o);
        print_problem(b, o);
        check.diff = &found;
        if (ask->fail_if)
            rc = print_check(&check, &b->stats, o, e);
    }
    check_fini(&check);
    report_close(&a);
    return rc;
}

static int export(struct report *p, const struct report_ask *ask, struct err *e)
{
    const struct trace_export *x = trace_exports;
    FILE *f = stdout;
    bool good;

    while (x->name && strcmp(x->name, ask->export))
        x++;
    if (!x->name)
        return err_set(e, EINVAL,
                       "--export %s: there are perfetto, folded, csv, jsonl, svg and html",
                       ask->export);
    if (ask->output && !(f = fopen(ask->output, "we")))
        return err_set(e, errno, "cannot write %s: %s", ask->output, strerror(errno));
    x->run(p, f);
    good = !ferror(f) && !fflush(f);
    if (f != stdout && fclose(f))
        good = false;
    if (!good)
        return err_set(e, EIO, "%s could not be written to its end: %s",
                       ask->output ? ask->output : "standard output", strerror(errno));
    if (trace_info(p->reader)->problem[0])
        fprintf(stderr, "vmscope: %s\n", trace_info(p->reader)->problem);
    return 0;
}

static int flush(struct out *o, bool json)
{
    const struct buf *b;

    out_end(o);
    b = json ? &o->json : &o->text;
    if (fwrite(buf_str(b), 1, b->len, stdout) != b->len || (json && putchar('\n') == EOF) ||
        fflush(stdout))
        return REPORT_ERROR;
    return REPORT_OK;
}

static int fail(const struct err *e)
{
    fprintf(stderr, "vmscope: %s\n", e->msg);
    return REPORT_ERROR;
}

int report_main(const struct report_ask *ask)
{
    struct report p;
    struct out o = {0};
    struct err e = {0};
    int rc = report_open(&p, ask->file, ask, &e), status;

    if (rc == 0 && ask->export)
        rc = export(&p, ask, &e);
    else if (rc == 0 && ask->explain)
        rc = explain(&p, ask->explain, &o, &e);
    else if (rc == 0 && ask->diff)
        rc = print_diff(&p, ask, &o, &e);
    else if (rc == 0)
        rc = print_tables(&p, ask, &o, &e);
    status = rc < 0 ? fail(&e) : ask->export ? REPORT_OK : flush(&o, ask->json);
    if (rc > 0 && status == REPORT_OK)
        status = REPORT_FAILED;
    out_fini(&o);
    report_close(&p);
    return status;
}
