/*
 * All-stop: how long it takes until every vCPU stands, from whatever it was doing, against threads
 * in bare KVMs that are kicked out of a loop. Microseconds, in the middle and at the worst.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include "tests/bench/bench.h"
#include "vmm/base/clock.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

#define ROUNDS    200 /* a quarter of that with several vCPUs */
#define CPUS_MAX  16u
#define RUN_NS    300000u
#define TARGET_US 1000.0 /* more than the bare loop's, in the middle */

enum doing { RUNS, STEPS, READS_WATCHED };

struct case_of {
    const char *what;
    const struct guest *guest;
    unsigned cpus;
    enum doing doing;
};

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

struct spread {
    double mid, p99;
};

static int rounds_of(unsigned cpus)
{
    return cpus > 1 ? ROUNDS / 4 : ROUNDS;
}

static struct spread spread_of(double *us, int rounds)
{
    qsort(us, (size_t)rounds, sizeof *us, by_value);
    return (struct spread){us[rounds / 2], us[rounds * 99 / 100]};
}

/* ---- bare --------------------------------------------------------------------------------------
 */

struct spinner {
    struct bare b;
    pthread_t thread;
    int rounds;
    _Atomic int go, out; /* rounds begun, and ended */
};
static _Thread_local struct kvm_run *own_run;

static void on_kick(int sig)
{
    (void)sig;
    if (own_run)
        own_run->immediate_exit = 1;
}

static void *spin(void *arg)
{
    struct spinner *s = arg;

    own_run = s->b.run;
    for (int i = 1; i <= s->rounds; i++) {
        while (atomic_load(&s->go) < i)
            sched_yield();
        own_run->immediate_exit = 0;
        while (ioctl(s->b.cpu, KVM_RUN, 0) == 0)
            ;
        if (errno != EINTR)
            need(-1, "KVM_RUN");
        atomic_store(&s->out, i);
    }
    own_run = NULL;
    return NULL;
}

static void spend(uint64_t ns)
{
    for (uint64_t until = clock_ns() + ns; clock_ns() < until;)
        sched_yield();
}

static struct spread bare_stops(unsigned cpus)
{
    static const struct sigaction kick = {.sa_handler = on_kick};
    static struct spinner s[CPUS_MAX];
    double us[ROUNDS];

    need(sigaction(SIGUSR1, &kick, NULL), "sigaction");
    for (unsigned c = 0; c < cpus; c++) {
        s[c].rounds = rounds_of(cpus);
        atomic_store(&s[c].go, 0);
        atomic_store(&s[c].out, 0);
        bare_open(&s[c].b, &guest_spin[IN_RING0]);
        if (pthread_create(&s[c].thread, NULL, spin, &s[c]))
            die("no thread");
    }
    for (int i = 0; i < rounds_of(cpus); i++) {
        uint64_t from;

        for (unsigned c = 0; c < cpus; c++)
            atomic_store(&s[c].go, i + 1);
        spend(RUN_NS);
        from = clock_ns();
        for (unsigned c = 0; c < cpus; c++)
            pthread_kill(s[c].thread, SIGUSR1);
        for (unsigned c = 0; c < cpus; c++)
            while (atomic_load(&s[c].out) <= i) {
                if (clock_ns() - from > 20000000) /* it came before the entry */
                    pthread_kill(s[c].thread, SIGUSR1);
                sched_yield();
            }
        us[i] = (double)(clock_ns() - from) / 1e3;
    }
    for (unsigned c = 0; c < cpus; c++) {
        pthread_join(s[c].thread, NULL);
        bare_close(&s[c].b);
    }
    return spread_of(us, rounds_of(cpus));
}

/* ---- ours --------------------------------------------------------------------------------------
 */

static void start(struct session *s, const struct case_of *k)
{
    struct err e = {0};

    if (k->doing == STEPS ? session_step(s, 0, 1000000000, &e) : session_run(s, &e))
        die("%s", e.msg);
}

static struct spread stops(const struct case_of *k)
{
    struct session *s = bench_open_cpus(k->guest, k->cpus);
    double us[ROUNDS];

    if (k->doing == READS_WATCHED)
        bench_point(s, &(struct point_spec){.kind = POINT_WATCH,
                                            .space = SPACE_LINEAR,
                                            .addr = GUEST_DATA,
                                            .len = 64,
                                            .access = WATCH_READ,
                                            .vcpu = -1,
                                            .condition = "$rax == 1 << 30"});
    for (int i = 0; i < rounds_of(k->cpus); i++) {
        uint64_t from;

        start(s, k);
        spend(RUN_NS);
        from = clock_ns();
        session_stop(s);
        if (!session_wait(s, 60000000000u, NULL))
            die("%s: still running after a minute", k->what);
        us[i] = (double)(clock_ns() - from) / 1e3;
        if (session_last_stop(s)->kind != STOP_USER)
            die("%s: %s", k->what, session_last_stop(s)->text);
    }
    session_close(s);
    return spread_of(us, rounds_of(k->cpus));
}

void bench_stops(void)
{
    static const struct case_of cases[] = {
        {"stop, spinning", &guest_spin[IN_RING0], 1, RUNS},
        {"stop, spinning in ring 3", &guest_spin[IN_RING3], 1, RUNS},
        {"stop, halted", &guest_sleep, 1, RUNS},
        {"stop, nothing but exits", &guest_exits, 1, RUNS},
        {"stop, reading what is watched", &guest_peek, 1, READS_WATCHED},
        {"stop, stepping", &guest_spin[IN_RING0], 1, STEPS},
        {"stop, 4 vCPUs", &guest_spin[IN_RING0], 4, RUNS},
        {"stop, 16 vCPUs", &guest_spin[IN_RING0], 16, RUNS},
    };
    struct spread bare = {0, 0};

    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct case_of *k = &cases[i];
        struct spread ours;

        if (!row_wanted(k->what))
            continue;
        if (bare.mid == 0 || k->cpus != 1)
            bare = bare_stops(k->cpus);
        ours = stops(k);
        printf("%-30s %7.0f us, p99 %7.0f   bare kick %7.0f us, p99 %7.0f  target +%.0f us  ",
               k->what, ours.mid, ours.p99, bare.mid, bare.p99, TARGET_US);
        verdict(ours.mid <= bare.mid + TARGET_US);
    }
}
