/*
 * Stepping of a session: jobs for vCPUs, step over, finish, until. Main thread.
 */
#include "debug/session_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "debug/symbols/unwind.h"
#include "disasm/disasm.h"
#include "vmm/base/le.h"
#include "vmm/base/x.h"
#include "vmm/kvm.h"
#include "vmm/onestep.h"

/* Nothing will start it as things stand. */
static bool waits_for_start(struct session *s, unsigned vcpu)
{
    struct machine *m = &s->vm->m;
    bool started;

    if (vcpu_waits(s->vm->cpu[vcpu]) != VCPU_WAIT_SIPI)
        return false;
    pthread_mutex_lock(&m->lock);
    started = m->cpu[vcpu].sipi_vector >= 0; /* sent while it stood */
    pthread_mutex_unlock(&m->lock);
    return !started;
}

static int check(struct session *s, unsigned vcpu, struct err *e)
{
    int rc = session_can_run(s, e);

    if (rc == 0 && vcpu >= s->vm->cpus)
        rc = err_set(e, EINVAL, "there is no vCPU %u", vcpu);
    if (rc == 0 && waits_for_start(s, vcpu))
        rc = err_set(e, EINVAL, "vCPU %u waits for its start-up IPI: it has nothing to step", vcpu);
    return rc;
}

static uint32_t every_cpu(const struct session *s)
{
    return (uint32_t)((1ull << s->vm->cpus) - 1);
}

static void all_run(struct session *s)
{
    for (unsigned i = 0; i < s->vm->cpus; i++)
        s->engine.job[i] = (struct cpu_job){.kind = JOB_RUN};
}

/* Lets all run freely (with scheduler-locking on: the focus alone). */
static void session_launch_all(struct session *s)
{
    all_run(s);
    session_launch(s, s->sched == SCHED_ON ? 1u << s->focus : every_cpu(s));
}

void session_go(struct session *s)
{
    s->over_left = 0;
    session_launch_all(s);
    session_publish(s, EV_RUNNING, NULL);
}

static int add_hidden(struct session *s, unsigned vcpu, uint64_t linear, uint64_t min_rsp,
                      bool any_cpu, struct err *e)
{
    struct point_spec spec = {
        .kind = POINT_BREAK,
        .space = SPACE_LINEAR,
        .addr = linear,
        .hidden = true,
        .vcpu = any_cpu ? -1 : (int)vcpu,
    };
    struct expr_names names = session_names(s);
    int id = points_add(&s->engine.points, &spec, &names, e);

    if (id > 0)
        points_get(&s->engine.points, id)->min_rsp = min_rsp;
    return id;
}

/* For session_resume: a step of a vCPU that sleeps would end in the handler of the interrupt that
 * wakes it, where a remote client's user does not want to be. Unless that is asked for, the step is
 * over when the handler has returned. */
static bool wakes_instead(struct session *s, unsigned vcpu)
{
    const struct vcpu *v = s->vm->cpu[vcpu];

    if (s->engine.step_irq || vcpu_waits(v) != VCPU_HALTED ||
        add_hidden(s, vcpu, vcpu_linear_rip(v), v->regs->rsp, false, NULL) < 0)
        return false;
    s->told_rip[vcpu] = UINT64_MAX; /* it has not executed what it stands at: no passing there */
    return true;
}

/* Steps `vcpu`; the others run or stand by the scheduler setting. */
static void launch_step(struct session *s, unsigned vcpu, uint64_t n)
{
    all_run(s);
    s->engine.job[vcpu] = (struct cpu_job){.kind = JOB_STEP, .steps = n};
    session_launch(s, s->sched == SCHED_OFF ? every_cpu(s) : 1u << vcpu);
}

bool session_hold(struct session *s)
{
    if (s->state != SS_RUNNING)
        return false;
    vm_park(s->vm);
    s->state = SS_STOPPED;
    return true;
}

void session_unhold(struct session *s)
{
    bool reported = s->user_stop;

    for (unsigned i = 0; i < s->vm->cpus; i++) {
        s->cpu[i].have = 0;
        reported |= s->engine.report[i].present;
    }
    s->state = SS_RUNNING;
    if (!reported) /* else the next dispatch tells the stop */
        vm_run(s->vm, s->run_mask);
}

void session_unhold_stopped(struct session *s)
{
    s->state = SS_RUNNING;
    session_stop(s);
}

const struct stop_info *session_stop_of(const struct session *s, unsigned vcpu)
{
    const struct stop_report *r = &s->engine.report[vcpu];

    return r->present ? &r->info : NULL;
}

int session_resume(struct session *s, const struct resume *r, struct err *e)
{
    int rc = session_can_run(s, e);

    for (unsigned i = 0; rc == 0 && i < s->vm->cpus; i++)
        if (r->step >> i & 1)
            rc = check(s, i, e);
    if (rc < 0)
        return rc;
    s->over_left = 0;
    all_run(s);
    for (unsigned i = 0; i < s->vm->cpus; i++)
        if ((r->step >> i & 1) && !wakes_instead(s, i))
            s->engine.job[i] = (struct cpu_job){
                .kind = JOB_STEP,
                .steps = r->each ? UINT64_MAX : 1,
                .each = r->each,
                .each_arg = r->each_arg[i],
            };
    session_launch(s, r->run | r->step);
    s->brief = !r->run && !r->each && !(r->step & (r->step - 1));
    session_publish(s, EV_RUNNING, NULL);
    return 0;
}

int session_step(struct session *s, unsigned vcpu, uint64_t n, struct err *e)
{
    int rc = check(s, vcpu, e);

    if (rc < 0)
        return rc;
    s->over_left = 0;
    launch_step(s, vcpu, n ? n : 1);
    session_publish(s, EV_RUNNING, NULL);
    return 0;
}

int session_step_to(struct session *s, unsigned vcpu, enum step_to to, struct err *e)
{
    int rc = check(s, vcpu, e);

    if (rc < 0)
        return rc;
    s->over_left = 0;
    all_run(s);
    if (!s->step_disasm)
        s->step_disasm = disasm_new();
    s->engine.job[vcpu] =
        (struct cpu_job){.kind = JOB_STEP, .steps = UINT64_MAX, .to = to, .disasm = s->step_disasm};
    session_launch(s, s->sched == SCHED_OFF ? every_cpu(s) : 1u << vcpu);
    session_publish(s, EV_RUNNING, NULL);
    return 0;
}

/* Does it come back? A call of the next instruction, by which code learns its own address, does
 * not. */
static bool comes_back(const struct insn *in)
{
    return (in->effects & (INSN_CALL | INSN_INT | INSN_REP | INSN_SYSCALL)) &&
           !(in->effects & INSN_BAD) &&
           !((in->effects & INSN_CALL) && in->has_target && in->target == in->addr + in->len);
}

/* Where the near call at RIP will push its return address. */
static void note_slot(struct session *s, unsigned vcpu, struct bp *b)
{
    const struct vcpu *v = s->vm->cpu[vcpu];

    b->slot_bytes = cpu_mode_bits(session_mode(s, vcpu)) / 8;
    b->return_slot = v->sregs->ss.base + v->regs->rsp - b->slot_bytes;
}

void session_over_once(struct session *s, unsigned vcpu)
{
    struct vcpu *v = s->vm->cpu[vcpu];
    uint64_t at = vcpu_linear_rip(v);
    struct insn in;

    s->state = SS_STOPPED;
    if (session_insn(s, vcpu, at, &in) && comes_back(&in)) {
        int id = add_hidden(s, vcpu, at + in.len, v->regs->rsp, false, NULL);

        if (id > 0) {
            if ((in.effects & (INSN_CALL | INSN_FAR)) == INSN_CALL)
                note_slot(s, vcpu, points_get(&s->engine.points, id));
            session_launch_all(s);
            return;
        }
    }
    launch_step(s, vcpu, 1);
}

int session_step_over(struct session *s, unsigned vcpu, uint64_t n, struct err *e)
{
    int rc = check(s, vcpu, e);

    if (rc < 0)
        return rc;
    s->over_left = n ? n : 1;
    session_over_once(s, vcpu);
    session_publish(s, EV_RUNNING, NULL);
    return 0;
}

/* Is the top of the stack the return address of a call that went to where the vCPU stands? It is at
 * the first instruction of a function, which no frame information is needed to know. */
static bool just_called(struct session *s, unsigned vcpu, uint64_t *ret)
{
    const struct vcpu *v = s->vm->cpu[vcpu];
    unsigned size = cpu_mode_bits(session_mode(s, vcpu)) / 8;
    uint64_t at = vcpu_linear_rip(v);
    uint8_t raw[8];
    struct insn in;

    if (session_mem_read(s, vcpu, SPACE_LINEAR, v->sregs->ss.base + v->regs->rsp, raw, size) !=
        (int64_t)size)
        return false;
    *ret = v->sregs->cs.base + le_load(raw, size);
    for (unsigned back = 2; back <= 7; back++)
        if (session_insn(s, vcpu, *ret - back, &in) && in.len == back && (in.effects & INSN_CALL) &&
            (!in.has_target || in.target == at))
            return true;
    return false;
}

/* Where the processor's frame at `f->slot` returns to, and the rest of it into `raw`. */
static bool frame_return(struct session *s, const struct finish_frame *f, uint8_t raw[5 * 8],
                         uint64_t *ret)
{
    bool real = !(s->vm->cpu[f->vcpu]->sregs->cr0 & 1);

    if (session_mem_read(s, f->vcpu, SPACE_LINEAR, f->slot, raw, 5 * f->bytes) !=
        (int64_t)5 * f->bytes)
        return false;
    *ret = le_load(raw, f->bytes) + (real ? le_load(raw + f->bytes, f->bytes) << 4 : 0);
    return true;
}

/* Is the vCPU at the first instruction of a handler? Then the processor's frame says what it
 * returns to, whatever the handler's language is. */
static bool just_interrupted(struct session *s, unsigned vcpu, struct finish_frame *f,
                             uint64_t *ret)
{
    struct vcpu *v = s->vm->cpu[vcpu];
    bool real = !(v->sregs->cr0 & 1), wide = v->sregs->efer & 0x400, has_code;
    uint64_t at = vcpu_linear_rip(v), target, from;
    unsigned slot = real ? 2 : wide ? 8 : 4, vector = 0;
    uint8_t raw[5 * 8];

    while (vector < 256 && !(vcpu_gate_target(v, (int)vector, &target) && target == at))
        vector++;
    if (vector == 256)
        return false;
    has_code = !real && (vector == 8 || (vector >= 10 && vector <= 14) || vector == 17);
    from = v->regs->rsp + (has_code ? slot : 0);
    *f = (struct finish_frame){.vcpu = vcpu, .slot = v->sregs->ss.base + from, .bytes = slot};
    if (!frame_return(s, f, raw, ret))
        return false;
    f->rsp = wide || (!real && (le_load(raw + slot, slot) & 3)) ? le_load(raw + 3 * slot, slot)
                                                                : from + 3 * slot;
    return true;
}

/* The caller's address and the stack pointer after the return. */
static int caller(struct session *s, unsigned vcpu, struct finish_frame *f, uint64_t *ret,
                  struct err *e)
{
    struct unwind_frame frames[2];
    char end[160];

    if (just_called(s, vcpu, ret)) {
        f->rsp = s->vm->cpu[vcpu]->regs->rsp + cpu_mode_bits(session_mode(s, vcpu)) / 8;
        return 0;
    }
    if (just_interrupted(s, vcpu, f, ret))
        return 0;
    if (session_backtrace(s, vcpu, frames, 2, end) < 2)
        return err_set(e, EFAULT, "cannot find the caller: %s; use `until` with an address", end);
    *ret = frames[1].pc;
    f->rsp = frames[1].sp - s->vm->cpu[vcpu]->sregs->ss.base;
    return 0;
}

/* The next run ends at `ret`, or where the handler goes that changes that: one that passes over
 * what it could not mend. */
static int stop_at_return(struct session *s, const struct finish_frame *f, uint64_t ret,
                          struct err *e)
{
    struct point_spec spec = {.kind = POINT_WATCH,
                              .space = SPACE_LINEAR,
                              .addr = f->slot,
                              .len = f->bytes,
                              .access = WATCH_WRITE,
                              .hidden = true,
                              .vcpu = (int)f->vcpu};
    struct expr_names names = session_names(s);
    int rc = add_hidden(s, f->vcpu, ret, f->rsp, false, e);

    if (rc < 0)
        return rc;
    s->finish = *f;
    s->finish.point = 0;
    if (f->bytes && (rc = points_add(&s->engine.points, &spec, &names, NULL)) > 0)
        s->finish.point = rc;
    return 0;
}

void session_finish_follow(struct session *s)
{
    struct finish_frame f = s->finish;
    uint8_t raw[5 * 8];
    uint64_t ret;

    s->state = SS_STOPPED;
    points_drop_hidden(&s->engine.points);
    s->told_rip[f.vcpu] = vcpu_linear_rip(s->vm->cpu[f.vcpu]); /* the points here were asked */
    if (frame_return(s, &f, raw, &ret))
        (void)stop_at_return(s, &f, ret, NULL);
    session_launch_all(s);
}

int session_finish(struct session *s, unsigned vcpu, struct err *e)
{
    struct finish_frame f = {.vcpu = vcpu};
    uint64_t ret = 0;
    int rc = check(s, vcpu, e);

    if (rc == 0)
        rc = caller(s, vcpu, &f, &ret, e);
    if (rc == 0)
        rc = stop_at_return(s, &f, ret, e);
    if (rc < 0)
        return rc;
    session_go(s);
    return 0;
}

int session_until(struct session *s, uint64_t linear, struct err *e)
{
    int rc = session_can_run(s, e);

    if (rc == 0)
        rc = add_hidden(s, 0, linear, 0, true, e);
    if (rc < 0)
        return rc;
    session_go(s);
    return 0;
}

int64_t session_step_each(struct session *s, unsigned vcpu, uint64_t n,
                          bool (*fn)(void *arg, const struct vcpu *v), void *arg, struct err *e)
{
    int rc = check(s, vcpu, e);
    int64_t made;

    if (rc < 0)
        return rc;
    s->over_left = 0;
    all_run(s);
    s->engine.job[vcpu] =
        (struct cpu_job){.kind = JOB_STEP, .steps = n, .each = fn, .each_arg = arg};
    session_launch(s, 1u << vcpu);
    session_wait(s, UINT64_MAX, NULL);
    made = (int64_t)s->engine.job[vcpu].made;
    s->engine.job[vcpu] = (struct cpu_job){.kind = JOB_RUN};
    return made;
}
