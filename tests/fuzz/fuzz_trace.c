/* A trace file of any bytes: it opens with a sentence or not at all, and what it has is counted,
 * listed, explained and exported. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "debug/trace/explain.h"
#include "debug/trace/trace_file.h"
#include "debug/trace/trace_out.h"
#include "debug/trace/trace_scan.h"
#include "debug/trace/trace_table.h"
#include "vmm/base/x.h"

#define RECORDS_MAX 20000

static void use(struct trace_reader *r, struct trace_stats *t)
{
    struct exit_event ev;
    struct out o = {0};
    char text[100], *counters;
    uint64_t at;

    for (unsigned i = 0; i < RECORDS_MAX && trace_read(r, &ev, 1); i++) {
        stat_add(t, &ev, true);
        if (i < 20) {
            explain_print(&ev, trace_names(r), i & 1, &o);
            out_table(&o, "records", NULL, table_list_columns);
            table_list_row(&ev, trace_names(r), 0, &o);
            out_table_end(&o);
        }
    }
    for (unsigned by = 0; by < BY_COUNT; by++) {
        struct table_ask ask = {.by = (enum table_by)by, .top = 5};

        table_print(t, trace_names(r), &ask, &o);
    }
    trace_meta(r, "guest", text, sizeof text);
    counters = trace_text(r, TRACE_COUNTERS, 0, &at);
    free(counters);
    trace_seek(r, 3);
    (void)trace_read(r, &ev, 1);
    out_fini(&o);
}

/* Each export, to nowhere, and the browser's pass in slices. */
static void export_all(struct trace_reader *r, int fd)
{
    static FILE *nowhere;
    struct trace_scan *scan;
    struct err e = {0};
    char path[40];

    if (!nowhere)
        nowhere = fopen("/dev/null", "w");
    for (const struct trace_export *x = trace_exports; x->name && nowhere; x++) {
        struct report p = {.reader = r};

        stat_init(&p.stats);
        x->run(&p, nowhere);
        stat_fini(&p.stats);
    }
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    scan = scan_new(path, NULL, trace_names(r), &e);
    while (scan && scan_some(scan, 1000))
        ;
    scan_free(scan);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int fd = memfd_create("trace", MFD_CLOEXEC);
    struct trace_reader *r;
    struct err e = {0};

    if (fd < 0 || write(fd, data, size) != (ssize_t)size) {
        close(fd);
        return 0;
    }
    if (trace_open_fd(&r, fd, "fuzz", &e) < 0) {
        BUG_ON(!e.code || strlen(e.msg) < 20);
        return 0;
    }
    static struct trace_stats t;

    stat_init(&t);
    use(r, &t);
    if (trace_info(r)->records < RECORDS_MAX)
        export_all(r, fd);
    stat_fini(&t);
    trace_close(r);
    return 0;
}
