/*
 * A vCPU's thread from its start to its end, and the kick by which others reach it: see vcpu.h.
 * vm.c starts, commands and ends it.
 */
#include "vmm/vcpu_int.h"

#include <errno.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "vmm/base/clock.h"
#include "vmm/base/x.h"
#include "vmm/native.h"

/* A condition that a kicked vCPU is to make true is looked at again after this long. */
#define KICK_AGAIN_NS 20000000u
/* After so many kicks in one place those by the clock come no faster than this. */
#define STOOD_KICKS 8
#define STOOD_NS    50000000u
/* After a run shorter than the one, which is a step's, the thread waits awake for the other. */
#define SHORT_RUN_NS 100000u
#define AWAKE_NS     100000u

static __thread struct vcpu *self;

struct vcpu *vcpu_self(void)
{
    return self;
}

/* Not a real-time signal: those queue, one entry for each kick, in a queue that all processes of a
 * user share; while it is full kicks are lost and nobody can make a timer. SIGURG waits once
 * however often it is sent, and debuggers pass it on without a stop. */
#define SIG_KICK SIGURG

/* The only signal handler of vCPU threads: two stores. */
static void on_kick(int sig)
{
    (void)sig;
    if (self) {
        self->run->immediate_exit = 1;
        atomic_store(&self->kicked, 1);
    }
}

static long futex(_Atomic uint32_t *word, int op, uint32_t value)
{
    return syscall(SYS_futex, (uint32_t *)word, op, value, NULL, NULL, 0);
}

void vcpu_kick(struct vcpu *v)
{
    if (self == v)
        return; /* its own flags are looked at before the next entry anyway */
    atomic_store(&v->kicked, 1);
    futex(&v->kicked, FUTEX_WAKE_PRIVATE, 1);
    (void)pthread_kill(v->thread, SIG_KICK); /* fails only for a thread that has ended */
}

void vcpu_tick(struct vcpu *v)
{
    uint64_t now = clock_ns();

    if (atomic_load_explicit(&v->stood, memory_order_relaxed) >= STOOD_KICKS &&
        now < v->ticked_ns + STOOD_NS)
        return;
    v->ticked_ns = now;
    vcpu_kick(v);
}

void vcpu_sleep(struct vcpu *v)
{
    futex(&v->kicked, FUTEX_WAIT_PRIVATE, 0);
}

bool vcpu_wait_a_while(pthread_cond_t *cond, pthread_mutex_t *lock)
{
    struct timespec at = clock_timespec(clock_ns() + KICK_AGAIN_NS);

    return pthread_cond_clockwait(cond, lock, CLOCK_MONOTONIC, &at) != ETIMEDOUT;
}

/* ---- thread ---------------------------------------------------------------------------------- */

static int setup_kvm(struct vcpu *v, const struct cpuid_table *cpuid)
{
    struct vm *vm = v->vm;
    int bytes, rc;

    v->fd = kvm_create_vcpu(vm->fd, v->id);
    if (v->fd < 0)
        return v->fd;
    bytes = kvm_vcpu_mmap_bytes(vm->kvm);
    if (bytes < 0)
        return bytes;
    v->run_bytes = (size_t)bytes;
    v->run = mmap(NULL, v->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
    if (v->run == MAP_FAILED) {
        v->run = NULL;
        return -errno;
    }
    v->regs = &v->run->s.regs.regs;
    v->sregs = &v->run->s.regs.sregs;
    v->events = &v->run->s.regs.events;
    rc = kvm_set_cpuid(v->fd, cpuid);
    if (rc < 0)
        return rc;
    rc = vcpu_run_nothing(v); /* fills the shared registers */
    return rc == 0 || rc == -EINTR ? 0 : rc;
}

static int make_timer(struct vcpu *v)
{
    struct sigevent se = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIG_KICK};

    se._sigev_un._tid = (pid_t)syscall(SYS_gettid);
    if (timer_create(CLOCK_MONOTONIC, &se, &v->timer) < 0)
        return -errno;
    v->timer_made = true;
    return 0;
}

/* Under vm->ctl. */
static void rest(struct vcpu *v)
{
    if (v->vm->m.irqchip_kernel)
        v->idle_inside = vcpu_ask_idle(v);
    v->parked = true;
}

/* Who steps wants the next step soon. */
static void wait_awake(struct vcpu *v, uint64_t began_ns)
{
    struct awake *a = &v->awake;

    awake_begin(a, AWAKE_NS);
    if (a->now_ns - began_ns > SHORT_RUN_NS)
        return;
    while (!atomic_load_explicit(&v->wanted, memory_order_relaxed) && awake_on(a))
        ;
}

static void *thread_main(void *arg)
{
    struct vcpu *v = arg;
    struct vm *vm = v->vm;
    int rc = setup_kvm(v, v->cpuid);
    uint64_t began;

    if (rc == 0)
        rc = make_timer(v);
    ticks_init(&v->ticks);
    self = rc == 0 ? v : NULL;
    pthread_mutex_lock(&vm->ctl);
    v->start_rc = rc;
    rest(v);
    pthread_cond_broadcast(&vm->acked);
    while (rc == 0) {
        while (!v->go && !v->call && !v->quit)
            pthread_cond_wait(&v->wake, &vm->ctl);
        if (v->quit)
            break;
        atomic_store(&v->wanted, false);
        pthread_mutex_unlock(&vm->ctl);
        if (v->call) {
            v->call(v->call_arg, v);
            pthread_mutex_lock(&vm->ctl);
            v->call = NULL;
            rest(v);
        } else {
            v->last_ns = began = ticks_sync(&v->ticks);
            vm->cfg.body(vm->cfg.arg, v);
            pthread_mutex_lock(&vm->ctl);
            v->go = false;
            rest(v);
            atomic_fetch_sub(&vm->running, 1);
            pthread_mutex_unlock(&vm->ctl);
            vm->cfg.parked(vm->cfg.arg, v);
            pthread_cond_broadcast(&vm->acked);
            wait_awake(v, began);
            pthread_mutex_lock(&vm->ctl);
        }
        pthread_cond_broadcast(&vm->acked);
    }
    pthread_mutex_unlock(&vm->ctl);
    self = NULL;
    return NULL;
}

static int start_thread(struct vcpu *v)
{
    struct sigaction sa = {.sa_handler = on_kick};
    sigset_t block, old;
    int rc;

    sigemptyset(&sa.sa_mask);
    if (sigaction(SIG_KICK, &sa, NULL) < 0)
        return -errno;
    /* Every signal but the kick belongs to the main thread. */
    sigfillset(&block);
    sigdelset(&block, SIG_KICK);
    sigdelset(&block, SIGSEGV);
    sigdelset(&block, SIGBUS);
    sigdelset(&block, SIGFPE);
    sigdelset(&block, SIGILL);
    sigdelset(&block, SIGABRT);
    pthread_sigmask(SIG_SETMASK, &block, &old);
    rc = -pthread_create(&v->thread, NULL, thread_main, v);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return rc;
}

int vcpu_start(struct vm *vm, unsigned id, const struct cpuid_table *cpuid, struct err *e)
{
    struct vcpu *v = xcalloc(1, sizeof *v);
    int rc;

    v->vm = vm;
    v->id = id;
    v->fd = v->injected = -1;
    v->cpuid = cpuid;
    pthread_cond_init(&v->wake, NULL);
    ring_init(&v->ring, vm->cfg.ring_records);
    rc = start_thread(v);
    if (rc == 0) {
        pthread_mutex_lock(&vm->ctl);
        while (!v->parked)
            pthread_cond_wait(&vm->acked, &vm->ctl);
        rc = v->start_rc;
        pthread_mutex_unlock(&vm->ctl);
        v->started = true;
    }
    vm->cpu[id] = v;
    v->cpuid = NULL;
    if (rc < 0)
        return err_set(e, -rc, "cannot make vCPU %u: %s", id, strerror(-rc));
    return 0;
}

void vcpu_end(struct vcpu *v)
{
    struct vm *vm = v->vm;

    if (v->started) {
        pthread_mutex_lock(&vm->ctl);
        v->quit = true;
        atomic_store(&v->wanted, true);
        pthread_cond_signal(&v->wake);
        pthread_mutex_unlock(&vm->ctl);
        pthread_join(v->thread, NULL);
    }
    if (v->timer_made)
        timer_delete(v->timer);
    native_free(v->native);
    if (v->run)
        munmap(v->run, v->run_bytes);
    kvm_work_close(&v->work);
    if (v->fd >= 0)
        close(v->fd);
    ring_fini(&v->ring);
    pthread_cond_destroy(&v->wake);
    free(v);
}
