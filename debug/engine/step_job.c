/*
 * A vCPU that was asked for steps: how many, or until what. vCPU threads.
 */
#include "debug/engine/engine_int.h"

#include "debug/points/catch.h"
#include "debug/points/watch_run.h"
#include "disasm/disasm.h"
#include "vmm/onestep.h"

static void report_steps(struct engine *g, struct vcpu *v, const struct onestep_info *info)
{
    struct stop_info *si = engine_stop(g, v, STOP_STEP);

    si->vector = info->vector;
}

/* Does the step job end here by what it was to look for? */
static bool arrived(struct engine *g, const struct cpu_job *job, struct vcpu *v,
                    const struct catch_before *before)
{
    uint32_t want = job->to == STEP_TO_BRANCH ? INSN_BRANCH
                    : job->to == STEP_TO_CALL ? INSN_CALL
                    : job->to == STEP_TO_RET  ? INSN_RET | INSN_IRET | INSN_SYSRET
                                              : 0;
    const struct plant *pl = engine_plant_here(g, v);
    struct catch_before now;
    struct insn in;
    uint8_t bytes[15];
    unsigned n;

    switch (job->to) {
    case STEP_TO_COUNT:
        return false;
    case STEP_TO_MODE:
        catch_look(g, v, &now);
        return now.mode != before->mode || now.cpl != before->cpl;
    case STEP_TO_CR3:
        return v->sregs->cr3 != before->cr3;
    default:
        break;
    }
    n = vcpu_fetch(v, bytes);
    if (!n)
        return true; /* nothing more can be executed */
    if (pl)
        bytes[0] = pl->original;
    disasm_one(job->disasm, cpu_mode_bits(cpu_mode_of(v->sregs, v->regs->rflags)),
               vcpu_linear_rip(v), bytes, n, &in);
    return in.effects & want;
}

static void count_step(struct engine *g, struct vcpu *v, struct cpu_job *job,
                       const struct catch_before *before)
{
    job->made++;
    job->steps--;
    if ((job->each && !job->each(job->each_arg, v)) || arrived(g, job, v, before))
        job->steps = 0;
}

/* Does nobody want to look between two steps? Points, catches and watches change only while this
 * vCPU is parked or paused; for what others ask of it meanwhile see steps_again. */
static bool steps_unseen(const struct engine *g, const struct vcpu *v, const struct cpu_job *job)
{
    const struct points *p = &g->points;

    return job->steps > 1 && job->to != STEP_TO_MODE && job->to != STEP_TO_CR3 && !p->exec_points &&
           !p->plants && !p->catches && !p->watches.pages && !v->data.dr7 &&
           !g->vm->methods.step_enters_free;
}

/* A step of a job was made, by `steps_unseen`. Others who want something of the vCPU kick it, or
 * set what the body looks at. */
static bool steps_again(void *arg, struct vcpu *v)
{
    struct engine *g = arg;
    struct cpu_job *job = &g->job[v->id];

    count_step(g, v, job, NULL);
    if (!job->steps || vcpu_parking(v) || atomic_load_explicit(&v->kicked, memory_order_relaxed) ||
        exit_hooks_any(&g->exit_hooks) ||
        atomic_load_explicit(&g->alone_wanted, memory_order_relaxed) ||
        atomic_load_explicit(&g->points.look, memory_order_relaxed) ||
        (!v->hold_irq &&
         atomic_load_explicit(&g->vm->m.cpu[v->id].attention, memory_order_relaxed)))
        return false;
    g->before[v->id] = *v->regs;
    return true;
}

void engine_step_job(struct engine *g, struct vcpu *v, struct cpu_job *job)
{
    struct onestep_info info;
    struct catch_before before;
    bool made, stopped;

    catch_look(g, v, &before);
    made = engine_make_steps(g, v, &info, steps_unseen(g, v, job) ? steps_again : NULL, TRAPS_STAY);
    stopped = watch_noted(g, v) && watch_judge(g, v);
    if (!made || info.partial) /* the rest of a repeated string instruction is not another one */
        return;
    if (!info.told)
        count_step(g, v, job, &before);
    if (g->points.catch_steps)
        stopped |= catch_changes(g, v, &before);
    if (g->points.catch_vectors && info.vector >= 0 && info.vector < 32)
        stopped |= catch_exceptions(g, v, 1u << info.vector);
    if (stopped)
        return;
    if (engine_points_here(g, v)) {
        if (engine_points_hit(g, v)) {
            g->report[v->id].info.vector = info.vector;
            return;
        }
    }
    if (!job->steps)
        report_steps(g, v, &info);
}
