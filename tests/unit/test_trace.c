/*
 * Statistics and trace files: counts, quantiles, round trips, and every way in which a file can be
 * broken.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "debug/trace/trace_disk.h"
#include "debug/trace/trace_file.h"
#include "debug/trace/trace_filter.h"
#include "debug/trace/trace_stat.h"
#include "debug/trace/trace_table.h"
#include "vmm/base/x.h"

#include "tests/test.h"

static char path[64];
static struct trace_writer *killed[64];
static unsigned kills;

static uint32_t chance(void)
{
    static uint32_t r = 12345;

    r = r * 1664525 + 1013904223;
    return r >> 8;
}

static struct exit_event storm_event(uint64_t i)
{
    struct exit_event ev = {
        .seq = i,
        .at_ns = 1000000 + i * 7000,
        .guest_ns = 6000,
        .host_ns = 400,
        .rip = 0x100000 + (i & 1) * 0x40,
        .reason = i & 1 ? KVM_EXIT_IO : KVM_EXIT_MMIO,
        .size = 1,
    };

    if (ev.reason == KVM_EXIT_IO) {
        ev.u.io.port = 0x3f8;
        ev.u.io.write = 1;
        ev.u.io.count = 1;
        ev.u.io.value = i & 0xff;
    } else {
        ev.u.mmio.gpa = 0xfee00020;
        ev.u.mmio.value = i;
    }
    return ev;
}

static struct exit_event random_event(void)
{
    uint64_t raw[PACK_WORDS];
    struct exit_event ev;

    for (unsigned i = 0; i < PACK_WORDS; i++)
        raw[i] = (uint64_t)chance() << 40 ^ (uint64_t)chance() << 20 ^ chance();
    memcpy(&ev, raw, sizeof ev);
    return ev;
}

/* ---- packing --------------------------------------------------------------------------------- */

static void packing_is_exact(void)
{
    static struct exit_event in[2000], out[2000];
    static uint8_t bytes[2000 * PACK_BYTES_MAX];
    static struct pack p;
    const uint8_t *at = bytes;
    size_t len = 0;

    for (unsigned i = 0; i < 2000; i++) {
        in[i] = i % 3 ? storm_event(i) : random_event();
        in[i].vcpu &= 15;
        len += pack_put(&p, &in[i], bytes + len);
    }
    memset(&p, 0, sizeof p);
    CHECK_EQ(pack_get(&p, &at, bytes + len, out, 2000), 2000);
    CHECK(at == bytes + len);
    CHECK(!memcmp(in, out, sizeof in));
}

static void a_cut_pack_gives_whole_records(void)
{
    static struct exit_event out[8];
    uint8_t bytes[8 * PACK_BYTES_MAX];
    struct pack p = {0};
    size_t len = 0, ends[8];

    for (unsigned i = 0; i < 8; i++) {
        struct exit_event ev = storm_event(i);

        len += pack_put(&p, &ev, bytes + len);
        ends[i] = len;
    }
    for (size_t cut = 0; cut < len; cut++) {
        uint8_t *copy = xmalloc(cut ? cut : 1); /* so that a sanitizer sees the byte past it */
        const uint8_t *at = copy;
        size_t want = 0, got;

        while (ends[want] <= cut)
            want++;
        memcpy(copy, bytes, cut);
        p = (struct pack){0};
        got = pack_get(&p, &at, copy + cut, out, 8);
        free(copy);
        if (got != want)
            TEST_FAIL("cut at %zu gives %zu records, want %zu", cut, got, want);
    }
}

/* ---- files ----------------------------------------------------------------------------------- */

static struct trace_names *some_names(void)
{
    static const char text[] = "P\t3f8\t1\tuart\tCOM1 data\nS\t100000\t40\t1\tread_apic\n"
                               "S\t100040\t20\t1\tuart_putc\nR\tfee00000\t1000\tlapic\n";
    struct trace_names *n = names_new();

    names_load(n, text, sizeof text - 1);
    return n;
}

/* `finish` false: as a writer that was killed after a flush. */
static int write_file(unsigned records, bool finish)
{
    struct trace_names *n = some_names();
    struct trace_writer *w;
    struct err e = {0};
    int rc;

    snprintf(path, sizeof path, "/tmp/vmscope-trace.%d.vtr", getpid());
    unlink(path);
    rc = trace_create(&w, path, 1, "guest=a test\ncpus=1\n", n, &e);
    names_free(n);
    if (rc < 0)
        return rc;
    for (unsigned i = 0; i < records; i++) {
        struct exit_event ev = storm_event(i);

        trace_put(w, &ev);
    }
    trace_put_dropped(w, 17);
    if (finish)
        return trace_finish(w, &e);
    trace_flush(w);
    killed[kills++ % 64] = w; /* a killed process frees nothing either */
    return 0;
}

static uint64_t read_all(struct trace_reader *r, bool *exact)
{
    struct exit_event ev;
    uint64_t n = 0;

    *exact = true;
    trace_seek(r, 0);
    while (trace_read(r, &ev, 1)) {
        struct exit_event want = storm_event(n);

        *exact &= !memcmp(&ev, &want, sizeof ev);
        n++;
    }
    return n;
}

#define MANY (3 * TRACE_BLOCK_RECORDS + 1000)

static void files_keep_everything(void)
{
    struct trace_reader *r;
    struct err e = {0};
    struct exit_event ev = storm_event(1);
    char text[40];
    bool exact;

    CHECK_EQ(write_file(MANY, true), 0);
    CHECK_EQ(trace_open(&r, path, &e), 0);
    CHECK_EQ(trace_info(r)->records, MANY);
    CHECK_EQ(trace_info(r)->dropped, 17);
    CHECK(trace_info(r)->finished);
    CHECK_STR(trace_info(r)->problem, "");
    CHECK_EQ(read_all(r, &exact), MANY);
    CHECK(exact);
    CHECK(trace_meta(r, "guest", text, sizeof text));
    CHECK_STR(text, "a test");
    CHECK(!trace_meta(r, "uest", text, sizeof text));
    CHECK_STR(names_reg(trace_names(r), &ev), "COM1 data");
    CHECK_STR(names_place(trace_names(r), 0x100044, false, text, sizeof text), "uart_putc+0x4");
    /* behind the last instruction of read_apic */
    CHECK_STR(names_place(trace_names(r), 0x100040, true, text, sizeof text), "read_apic+0x40");
    trace_seek(r, 2 * TRACE_BLOCK_RECORDS + 5);
    CHECK_EQ(trace_read(r, &ev, 1), 1);
    CHECK_EQ(ev.seq, 2 * TRACE_BLOCK_RECORDS + 5);
    trace_seek(r, MANY);
    CHECK_EQ(trace_read(r, &ev, 1), 0);
    trace_close(r);
    unlink(path);
}

static void killed_writers_leave_what_was_flushed(void)
{
    struct trace_reader *r;
    struct err e = {0};
    bool exact;

    CHECK_EQ(write_file(MANY, false), 0);
    CHECK_EQ(trace_open(&r, path, &e), 0);
    CHECK_EQ(read_all(r, &exact), MANY);
    CHECK(exact);
    CHECK(!trace_info(r)->finished);
    CHECK_HAS(trace_info(r)->problem, "no index");
    trace_close(r);
    unlink(path);
}

static void cut_files_give_their_whole_blocks(void)
{
    struct stat st;
    struct err e = {0};

    for (unsigned i = 1; i < 40; i++) {
        struct trace_reader *r;
        uint64_t n;
        bool exact;
        int rc;

        CHECK_EQ(write_file(MANY, true), 0);
        CHECK(!stat(path, &st));
        CHECK(!truncate(path, st.st_size * i / 40));
        rc = trace_open(&r, path, &e);
        CHECK(rc == 0 || strlen(e.msg) > 20);
        if (rc < 0)
            continue;
        n = read_all(r, &exact);
        CHECK(exact && (n == MANY || n % TRACE_BLOCK_RECORDS == 0));
        CHECK(trace_info(r)->problem[0]);
        trace_close(r);
    }
    unlink(path);
}

/* One damaged byte costs at most one block. */
static void damage_costs_one_block(void)
{
    struct stat st;
    struct err e = {0};

    for (unsigned i = 1; i < 60; i++) {
        struct trace_reader *r;
        uint64_t n;
        bool exact;
        uint8_t b;
        off_t at;
        int fd;

        CHECK_EQ(write_file(MANY, i & 1), 0);
        CHECK(!stat(path, &st));
        at = 64 + (st.st_size - 64) * i / 61;
        fd = open(path, O_RDWR);
        CHECK(fd >= 0 && pread(fd, &b, 1, at) == 1);
        b ^= 0x40;
        CHECK(pwrite(fd, &b, 1, at) == 1 && !close(fd));
        CHECK_EQ(trace_open(&r, path, &e), 0);
        n = read_all(r, &exact);
        if (n + TRACE_BLOCK_RECORDS < MANY)
            TEST_FAIL("a byte at %lld of %lld costs %llu of %u records", (long long)at,
                      (long long)st.st_size, (unsigned long long)(MANY - n), MANY);
        CHECK(n == MANY || trace_info(r)->problem[0]);
        trace_close(r);
    }
    unlink(path);
}

static void other_files_are_refused(void)
{
    struct trace_names *n = names_new();
    struct trace_reader *r;
    struct trace_writer *w;
    struct err e = {0};
    int fd;

    CHECK(trace_open(&r, "/nowhere/at/all", &e) < 0);
    CHECK_HAS(e.msg, "/nowhere/at/all");
    CHECK(trace_open(&r, "/dev/null", &e) < 0);
    CHECK(trace_open(&r, "/", &e) < 0);
    CHECK(trace_open(&r, "/proc/self/exe", &e) < 0);
    CHECK_HAS(e.msg, "no trace file");
    snprintf(path, sizeof path, "/tmp/vmscope-trace.%d.elf", getpid());
    fd = open(path, O_CREAT | O_WRONLY, 0600);
    CHECK(fd >= 0 && write(fd, "\177ELF precious", 13) == 13 && !close(fd));
    CHECK_EQ(trace_create(&w, path, 1, "", n, &e), -EEXIST);
    CHECK_HAS(e.msg, "left alone");
    unlink(path);
    CHECK_EQ(write_file(10, true), 0);
    fd = open(path, O_WRONLY);
    CHECK(fd >= 0 && pwrite(fd, "\x09", 1, 8) == 1 && !close(fd));
    CHECK_EQ(trace_open(&r, path, &e), -ENOTSUP);
    CHECK_HAS(e.msg, "format 9");
    names_free(n);
    unlink(path);
}

/* ---- statistics ------------------------------------------------------------------------------ */

/* Bytes this process has read by system calls, from /proc/self/io; 0 when it does not say. */
static uint64_t bytes_read(void)
{
    FILE *f = fopen("/proc/self/io", "r");
    unsigned long long n = 0;

    if (f && fscanf(f, "rchar: %llu", &n) != 1)
        n = 0;
    if (f)
        fclose(f);
    return n;
}

/* A storm as it is recorded, as many records as wanted. */
static bool write_storm(const char *file, uint64_t records)
{
    struct trace_names *names = names_new();
    struct trace_writer *w;
    struct err e = {0};
    bool good;

    good = trace_create(&w, file, 1, "guest=long\n", names, &e) == 0;
    for (uint64_t i = 0; good && i < records; i++) {
        struct exit_event ev = {.seq = i,
                                .at_ns = 1000000 + i * 7000,
                                .guest_ns = 6000,
                                .host_ns = 300,
                                .rip = 0x100000,
                                .reason = KVM_EXIT_IO,
                                .size = 1};

        ev.u.io.port = 0x80;
        ev.u.io.count = 1;
        ev.u.io.value = i;
        trace_put(w, &ev);
    }
    good = good && trace_finish(w, &e) == 0;
    names_free(names);
    return good;
}

/* Opening reads the index alone, however long the file is, and any record is a block away. In the
 * slow tests the file has 100 million records, and opening it may take 2 s of processor time. */
static void long_files_open_by_their_index(void)
{
    const char *slow = getenv("TESTS_SLOW"), *dir = getenv("TEST_DIR");
    uint64_t records = slow && !strcmp(slow, "true") ? 100000000 : 1000000, before, used;
    struct timespec a, b;
    struct trace_reader *r;
    struct exit_event ev;
    struct err e = {0};
    char file[300];

    snprintf(file, sizeof file, "%s/long.vtr", dir ? dir : ".");
    CHECK(write_storm(file, records));
    before = bytes_read();
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &a);
    CHECK_EQ(trace_open(&r, file, &e), 0);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &b);
    used = bytes_read() - before;
    CHECK_EQ(trace_info(r)->records, records);
    CHECK(trace_info(r)->finished && !trace_info(r)->problem[0]);
    if (before)
        CHECK(used < 8192 + records / TRACE_BLOCK_RECORDS * 64);
    if (records > 1000000)
        CHECK(b.tv_sec - a.tv_sec < 2);
    for (uint64_t at = 12345; at < records; at += records / 7) {
        trace_seek(r, at);
        CHECK_EQ(trace_position(r), at);
        CHECK_EQ(trace_read(r, &ev, 1), 1);
        CHECK_EQ(ev.seq, at);
    }
    trace_close(r);
    unlink(file);
}

static void buckets(void)
{
    unsigned last = 0;

    for (uint64_t v = 0; v <= UINT32_MAX; v += v / 100 + 1) {
        unsigned b = stat_bucket((uint32_t)v);

        CHECK(b < STAT_BUCKETS && b >= last);
        CHECK(stat_bucket_floor(b) <= v && v < stat_bucket_floor(b + 1));
        last = b;
    }
    CHECK_EQ(stat_bucket(UINT32_MAX), STAT_BUCKETS - 1);
}

static void quantiles(void)
{
    uint32_t hist[STAT_BUCKETS] = {0};

    CHECK_EQ(stat_quantile(hist, 0.5, 0, UINT32_MAX), 0);
    for (uint32_t v = 1; v <= 10000; v++)
        hist[stat_bucket(v)]++;
    for (unsigned q = 1; q < 100; q++) {
        double got = stat_quantile(hist, q / 100.0, 1, 10000), want = q * 100;

        if (got < want * 0.87 || got > want * 1.13)
            TEST_FAIL("p%u is %.0f, want about %.0f", q, got, want);
    }
}

static void counts_are_exact(void)
{
    struct trace_stats t;
    struct table_ask ask = {.by = BY_WHAT};
    struct trace_names *n = some_names();
    struct table_row *row;
    struct buf label = {0};
    size_t rows;

    stat_init(&t);
    for (unsigned i = 0; i < 10001; i++) {
        struct exit_event ev = storm_event(i);

        stat_add(&t, &ev, true);
    }
    CHECK_EQ(t.records, 10001);
    row = table_rows(&t, n, &ask, &rows);
    CHECK_EQ(rows, 2);
    CHECK_EQ(row[0].sum.count, 5001);
    CHECK_EQ(row[1].sum.count, 5000);
    CHECK_EQ(row[1].sum.host_sum, 5000 * 400);
    CHECK_EQ(stat_span_ns(&t), 10000ull * 7000 + 6400);
    table_label(BY_SITE, &row[1].example->key, n, &label);
    CHECK_STR(buf_str(&label), "out 0x3f8 (COM1 data), 1 byte at 0x100040 <uart_putc>");
    buf_fini(&label);
    free(row);
    names_free(n);
    stat_fini(&t);
}

static void sites_are_bounded(void)
{
    struct trace_stats t;

    stat_init(&t);
    for (unsigned i = 0; i < 3 * STAT_CELLS_MAX; i++) {
        struct exit_event ev = storm_event(1);

        ev.rip = i;
        stat_add(&t, &ev, true);
    }
    CHECK(t.cells <= STAT_CELLS_MAX + 80);
    CHECK_EQ(t.records, 3 * STAT_CELLS_MAX);
    CHECK_EQ(t.folded, 2 * STAT_CELLS_MAX);
    stat_fini(&t);
}

/* Waiting in a halt is the halt's; the time while the machine is stopped is nobody's. */
static void halts_and_stops(void)
{
    struct trace_stats t;
    struct exit_event hlt = {.at_ns = 1000000, .guest_ns = 1000, .reason = KVM_EXIT_HLT},
                      stop = {.at_ns = 1500000, .reason = EXIT_STOP},
                      run = {.at_ns = 9000000, .reason = EXIT_RUN},
                      io = {.at_ns = 9400000, .guest_ns = 1000, .reason = KVM_EXIT_IO};

    stat_init(&t);
    stat_add(&t, &hlt, true);
    stat_add(&t, &stop, true);
    stat_add(&t, &stop, true);
    stat_add(&t, &run, true);
    stat_add(&t, &io, true);
    CHECK_EQ(t.records, 2);
    CHECK_EQ(t.cell[0].wait_sum, 500000 + 399000);
    CHECK_EQ(stat_span_ns(&t), 1000 + 500000 + 399000 + 1000);
    stat_fini(&t);
}

static void filters(void)
{
    struct trace_names *n = some_names();
    struct err e = {0};
    struct exit_event io = storm_event(0x21), mmio = storm_event(2);
    const char *word = NULL;
    struct trace_filter *f = filter_compile(
        "kind==io && port==0x3f8 && value>0x20 && symbol(rip)==\"uart_putc\"", n, &e);

    CHECK(f);
    CHECK(filter_match(f, &io));
    CHECK(!filter_match(f, &mmio));
    CHECK(filter_needs_records(f, &word));
    CHECK_STR(word, "value");
    filter_free(f);
    CHECK(!filter_compile("port==", n, &e));
    CHECK(!filter_compile("prot==1", n, &e));
    CHECK(filter_match(NULL, &io));
    f = filter_compile("rip==uart_putc", n, &e);
    CHECK(f && filter_match(f, &io) && !filter_match(f, &mmio) && !filter_needs_records(f, &word));
    filter_free(f);
    names_free(n);
}

static const struct test tests[] = {
    {"trace: packing is exact", packing_is_exact},
    {"trace: a cut pack gives whole records", a_cut_pack_gives_whole_records},
    {"trace: files keep everything", files_keep_everything},
    {"trace: killed writers leave what was flushed", killed_writers_leave_what_was_flushed},
    {"trace: cut files give their whole blocks", cut_files_give_their_whole_blocks},
    {"trace: damage costs one block", damage_costs_one_block},
    {"trace: other files are refused", other_files_are_refused},
    {"trace: long files open by their index", long_files_open_by_their_index},
    {"trace: buckets", buckets},
    {"trace: quantiles", quantiles},
    {"trace: counts are exact", counts_are_exact},
    {"trace: sites are bounded", sites_are_bounded},
    {"trace: halts and stops", halts_and_stops},
    {"trace: filters", filters},
};
TEST_MAIN(tests)
