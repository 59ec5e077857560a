/*
 * `vmscope report`: reads a trace file once, counts, and prints.
 */
#include "debug/report.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "debug/report_int.h"
#include "debug/sym.h"
#include "vmm/base/x.h"

#define TOP_DEFAULT 20u

/* ---- opening --------------------------------------------------------------------------------- */

static int use_symbols(struct trace_reader *r, const char *path, struct err *e)
{
    struct symbols *t = symbols_new();
    int64_t n = symbols_load(t, path, 0, e);

    if (n >= 0)
        names_set_symbols(trace_names(r), t);
    symbols_free(t);
    return n < 0 ? (int)n : 0;
}

int report_open(struct report *p, const char *path, const struct report_ask *ask, struct err *e)
{
    int rc;

    *p = (struct report){0};
    stat_init(&p->stats);
    rc = trace_open(&p->reader, path, e);
    if (rc == 0 && ask->symbols)
        rc = use_symbols(p->reader, ask->symbols, e);
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
    size_t n;

    trace_seek(p->reader, 0);
    while ((n = trace_read(p->reader, batch, REPORT_BATCH))) {
        for (size_t i = 0; i < n; i++) {
            bool wanted = !p->filter || filter_match(p->filter, &batch[i]);

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
    out_text(o, "%s on %u vCPU%s (%s), recorded %s: %" PRIu64 " records in %.1f MB",
             guest[0] ? guest : "(unknown guest)", in->cpus, in->cpus == 1 ? "" : "s", kvm, date,
             in->records, (double)in->bytes / 1e6);
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
    out_json_str(o, "problem", in->problem);
    out_json_u64(o, "damaged_blocks", in->damaged);
}

static void print_list(struct report *p, const struct report_ask *ask, struct out *o)
{
    struct exit_event ev;
    uint64_t zero = trace_info(p->reader)->first_ns, left = ask->list;

    out_table(o, "records", "No record matches.", table_list_columns);
    trace_seek(p->reader, ask->from ? ask->from - 1 : 0);
    while (left && trace_read(p->reader, &ev, 1)) {
        if (!filter_match(p->filter, &ev))
            continue;
        table_list_row(&ev, trace_names(p->reader), zero, o);
        left--;
    }
    out_table_end(o);
}

static int print_tables(struct report *p, const struct report_ask *ask, struct out *o,
                        struct err *e)
{
    struct table_ask t = {0};
    int rc = parse_ask(ask, &t, e);

    if (rc < 0)
        return rc;
    print_head(p, o);
    if (ask->list) {
        print_list(p, ask, o);
    } else {
        report_count(p, NULL, NULL);
        if (ask->hist)
            table_hist(&p->stats, NULL, -1, o);
        else
            table_print(&p->stats, trace_names(p->reader), &t, o);
    }
    print_problem(p, o);
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
    int rc = report_open(&p, ask->file, ask, &e), status = REPORT_OK;

    if (rc == 0)
        rc = print_tables(&p, ask, &o, &e);
    status = rc < 0 ? fail(&e) : flush(&o, ask->json);
    out_fini(&o);
    report_close(&p);
    return status;
}
