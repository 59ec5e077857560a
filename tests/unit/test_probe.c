/* What must hold of a probe on any host, its text form, and its cache. */
#include <cpuid.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include "tests/test.h"
#include "vmm/base/buf.h"
#include "vmm/kvm.h"
#include "vmm/probe.h"

static struct probe first;
static bool have_first;
static struct err e;

/* The host's probe, run once; false without a usable KVM. */
static bool get_first(void)
{
    int fd = have_first ? -1 : kvm_open(&e);

    if (fd >= 0) {
        have_first = !probe_run(fd, &first, &e);
        close(fd);
    }
    return have_first;
}

#define NEED_KVM()                                                                                 \
    do {                                                                                           \
        if (!get_first())                                                                          \
            SKIP("%s", e.msg);                                                                     \
    } while (0)

static void every_field_filled(void)
{
    NEED_KVM();
    for (int m = 0; m < PROBE_MODES; m++) {
        const enum probe_how all[] = {
            first.step[m],          first.int3[m],      first.icebp[m],
            first.hw_exec[m],       first.hw_write[m],  first.hw_access[m],
            first.ro_slot_write[m], first.hole_read[m], first.hole_fetch[m]};

        for (unsigned i = 0; i < sizeof all / sizeof all[0]; i++)
            if (all[i] == HOW_UNKNOWN || (unsigned)all[i] >= PROBE_HOWS)
                TEST_FAIL("field %u of %s is %d", i, probe_mode_key(m), all[i]);
    }
    for (int i = 0; i < PROBE_INSNS; i++)
        CHECK(first.insn[i] != HOW_UNKNOWN);
    CHECK(first.planted_hlt && first.step_hlt && first.step_iret && first.step_fault);
    CHECK(first.step_hidden && first.gate_exec && first.msr_filter);
    CHECK(first.syscall_ring3 && first.int_ring3);
    CHECK(first.took_ns > 0);
}

/* Facts that follow from each other on whatever host. */
static void consistent(void)
{
    NEED_KVM();
    CHECK(first.hw_exec_count <= 4);
    CHECK((first.hw_exec[PM_LONG0] == HOW_DEBUG) == (first.hw_exec_count > 0));
    CHECK(!first.hidden_idt || first.shutdown_keeps_state);
    CHECK(!first.hw_exec_honours_rf || first.hw_exec_count);
    for (int m = 0; m < PROBE_MODES; m++)
        CHECK((first.int3[m] == HOW_GUEST) == (first.int3_vector[m] != 0));
    for (int i = 0; i < PROBE_INSNS; i++)
        CHECK(!first.insn_wrong[i] || first.insn[i] == HOW_RUNS);
    CHECK(first.ring0_minsn > 0);
    CHECK(first.ring3_minsn > 0);
    CHECK(first.pio_exits_s > 0);
}

/* What is known of the two kinds of host that have been looked at closely (docs/kvm-notes.md): one
 * that emulates ring 0, and a kvm_amd, told apart by what does not depend on the questions below.
 */
static void as_known(void)
{
    unsigned a, b, c, d;

    NEED_KVM();
    CHECK(first.block_irq && first.sync_regs);
    if (first.insn[PI_PXOR] == HOW_INTERNAL) {
        CHECK_EQ(first.step_fault, HOW_OTHER);
        CHECK_EQ(first.step_iret, HOW_NEVER);
        CHECK_EQ(first.step_hidden, HOW_SHUTDOWN);
        CHECK(!first.hw_exec_honours_rf && first.out_exit_past && first.emulated);
        CHECK(first.hidden_idt && first.insn_counter_exact && !first.paging32 && !first.paging_pae);
        CHECK(__get_cpuid(0x80000001, &a, &b, &c, &d));
        CHECK_EQ(first.insn_wrong[PI_LZCNT], c >> 5 & 1);
    } else if (__get_cpuid(0, &a, &b, &c, &d) && b == signature_AMD_ebx) {
        CHECK_EQ(first.step_fault, HOW_GUEST);
        CHECK(!first.out_exit_past && !first.emulated && !first.insn_wrong[PI_LZCNT]);
        CHECK(first.paging32 && first.paging_pae && !first.insn_counter_exact);
    }
}

static void repeatable(void)
{
    struct probe again;
    const char *why = "";
    int fd;

    NEED_KVM();
    fd = kvm_open(&e);
    CHECK(fd >= 0);
    CHECK_EQ(probe_run(fd, &again, &e), 0);
    close(fd);
    if (!probe_equal(&first, &again, &why))
        TEST_FAIL("%s differs between two runs", why);
}

static void *probe_thread(void *arg)
{
    struct err err = {0};
    int fd = kvm_open(&err);

    if (fd >= 0 && probe_run(fd, arg, &err))
        memset(arg, 0, sizeof(struct probe));
    if (fd >= 0)
        close(fd);
    return NULL;
}

/* Two at once with a process-wide timer running: neither may be disturbed. */
static void threads_and_timers(void)
{
    struct itimerval t = {.it_value.tv_sec = 1000}, left = {0};
    struct probe p[2];
    const char *why = "";
    pthread_t id[2];
    sigset_t before, after;

    NEED_KVM();
    pthread_sigmask(SIG_SETMASK, NULL, &before);
    setitimer(ITIMER_REAL, &t, NULL);
    for (int i = 0; i < 2; i++)
        CHECK(!pthread_create(&id[i], NULL, probe_thread, &p[i]));
    for (int i = 0; i < 2; i++)
        pthread_join(id[i], NULL);
    getitimer(ITIMER_REAL, &left);
    setitimer(ITIMER_REAL, &(struct itimerval){{0, 0}, {0, 0}}, NULL);
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    CHECK(!memcmp(&before, &after, 8)); /* the kernel's part of the set */
    CHECK(left.it_value.tv_sec > 0);
    for (int i = 0; i < 2; i++)
        if (!probe_equal(&first, &p[i], &why))
            TEST_FAIL("%s differs in thread %d", why, i);
}

static void text_and_back(void)
{
    struct buf b = {0}, c = {0};
    struct probe p, q;

    memset(&p, 0, sizeof p);
    p.step[PM_LONG3] = HOW_GUEST;
    p.insn_wrong[PI_LZCNT] = true;
    p.inject_bp_rip_delta = PROBE_NO_DELTA;
    p.ring0_minsn = 1.75;
    p.took_ns = 123456789;
    probe_to_text(&p, &b);
    CHECK(probe_from_text(b.data, &q));
    CHECK(probe_equal(&p, &q, NULL));
    CHECK(q.ring0_minsn > 1.74 && q.ring0_minsn < 1.76);
    CHECK_EQ(q.took_ns, p.took_ns);
    probe_to_text(&q, &c);
    CHECK_STR(buf_str(&c), buf_str(&b));
    q.icebp[1] = HOW_HLT;
    CHECK(!probe_equal(&p, &q, NULL));
    buf_fini(&b);
    buf_fini(&c);
}

static void hostile_text(void)
{
    static const char *const bad[] = {"",
                                      "step",
                                      "step 0",
                                      "step 0 0 0 0 99\n",
                                      "step x 0 0 0 0\n",
                                      "step 0 0 0 0 0 0\n",
                                      "step -1 0 0 0 0\n"};
    struct buf b = {0};
    struct probe p, q;
    char *cut;

    memset(&p, 0, sizeof p);
    for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++)
        CHECK(!probe_from_text(bad[i], &q));
    probe_to_text(&p, &b);
    CHECK(probe_from_text(b.data, &q));
    for (size_t len = 0; len < b.len; len++) {
        cut = strndup(b.data, len);
        bool taken = probe_from_text(cut, &q);
        free(cut);
        CHECK(!taken);
    }
    /* Every single wrong byte is either refused or still a value in range. */
    for (size_t at = 0; at < b.len; at++)
        for (int v = 1; v < 256; v += 7) {
            char keep = b.data[at];

            b.data[at] = (char)v;
            if (probe_from_text(b.data, &q)) {
                CHECK((unsigned)q.step[0] < PROBE_HOWS);
                CHECK(q.hw_exec_count <= 4);
            }
            b.data[at] = keep;
        }
    buf_adds(&b, "more\n");
    CHECK(!probe_from_text(b.data, &q));
    buf_fini(&b);
}

static void cache(void)
{
    char dir[] = "/tmp/vmscope-cache-XXXXXX", path[64];
    struct probe a, b;
    const char *why = "";
    struct stat st;
    FILE *f;
    int fd;

    NEED_KVM();
    CHECK(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/vmscope-probe", dir);
    setenv("XDG_RUNTIME_DIR", dir, 1);
    fd = kvm_open(&e);
    CHECK(fd >= 0);
    CHECK_EQ(probe_cached(fd, &a, &e), 0);
    CHECK(!stat(path, &st) && (st.st_mode & 0777) == 0600);
    /* A descriptor that is no KVM proves that the second answer came from the file. */
    CHECK_EQ(probe_cached(-1, &b, &e), 0);
    if (!probe_equal(&a, &b, &why) || !probe_equal(&first, &b, &why))
        TEST_FAIL("%s differs in the cache", why);
    /* Writable by others, cut, or a link: not believed. */
    CHECK(!chmod(path, 0622));
    CHECK(probe_cached(-1, &b, &e) < 0);
    CHECK(!chmod(path, 0600));
    CHECK_EQ(probe_cached(-1, &b, &e), 0);
    CHECK(!truncate(path, st.st_size - 3));
    CHECK(probe_cached(-1, &b, &e) < 0);
    f = fopen(path, "w");
    CHECK(f);
    fputs("garbage", f);
    fclose(f);
    CHECK_EQ(probe_cached(fd, &b, &e), 0);
    CHECK_EQ(probe_cached(-1, &b, &e), 0);
    unlink(path);
    CHECK(!symlink("/dev/zero", path));
    CHECK(probe_cached(-1, &b, &e) < 0);
    unlink(path);
    CHECK(!mkfifo(path, 0600));
    CHECK(probe_cached(-1, &b, &e) < 0);
    close(fd);
    unlink(path);
    rmdir(dir);
}

static void names(void)
{
    for (int i = 0; i < PROBE_HOWS; i++)
        CHECK(probe_how_name(i) && *probe_how_name(i));
    for (int i = 0; i < PROBE_MODES; i++)
        CHECK(*probe_mode_key(i) && *probe_mode_key(i));
    for (int i = 0; i < PROBE_INSNS; i++)
        CHECK(probe_insn_name(i) && *probe_insn_name(i));
    CHECK_STR(probe_how_name(PROBE_HOWS), "?");
}

static void no_kvm(void)
{
    struct probe p;

    memset(&e, 0, sizeof e);
    CHECK(probe_run(-1, &p, &e) < 0);
    CHECK(e.msg[0]);
}

static const struct test tests[] = {
    {"names", names},
    {"text_and_back", text_and_back},
    {"hostile_text", hostile_text},
    {"no_kvm", no_kvm},
    {"every_field_filled", every_field_filled},
    {"consistent", consistent},
    {"as_known", as_known},
    {"repeatable", repeatable},
    {"threads_and_timers", threads_and_timers},
    {"cache", cache},
};
TEST_MAIN(tests)
