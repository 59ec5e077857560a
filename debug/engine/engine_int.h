/*
 * What the engine's files say to each other. All of it for the thread of the vCPU that is given.
 */
#ifndef DEBUG_ENGINE_ENGINE_INT_H
#define DEBUG_ENGINE_ENGINE_INT_H

#include "debug/engine/engine.h"

struct assist_event;
struct onestep_info;
struct onestep_ops;

/* What comes after an exit. */
enum verdict {
    GO,      /* enter again */
    GO_PAST, /* the point at RIP was looked at: step over it first */
    STOPPED, /* engine_stop was called */
};

/* -- engine.c: what the machine calls -- */

/* Every exit, on any path, passes here before its record is kept (onestep_ops.saw). */
void engine_saw(void *arg, struct vcpu *v, struct exit_event *ev);
/* Hooks and catchpoints have their turn with it. */
void engine_tell(struct engine *g, struct vcpu *v, struct exit_event *ev);

/* -- alone.c -- */

/* Another vCPU wants to be alone: stands here until it is done. */
void engine_alone_pause(struct engine *g);
/* The vCPU comes to the body (+1) or leaves it (-1). */
void engine_body_count(struct engine *g, int change);

/* -- eval.c -- */

/* A condition, none being true. One that cannot be evaluated holds, and *why says what is wrong: a
 * breakpoint is never lost silently. */
bool engine_holds(struct engine *g, struct vcpu *v, const struct expr *x,
                  const struct exit_event *ev, struct err *why);
/* The same for a condition in a client's own language. */
bool engine_test_holds(struct engine *g, struct vcpu *v, const struct point_test *t,
                       struct err *why);
/* DO_LOG: the line with its values, or what is known of the hit. */
void engine_log_point(struct engine *g, struct vcpu *v, const struct bp *b,
                      const struct exit_event *ev, const char *detail);

/* -- hit.c -- */

/* By the vCPU's page tables; false when nothing is mapped there. */
bool engine_linear_to_gpa(struct vcpu *v, uint64_t linear, uint64_t *gpa);
/* The byte of ours that is planted at RIP, or NULL. */
struct plant *engine_plant_here(struct engine *g, struct vcpu *v);
/* May there be a point at RIP that nothing but a look finds? */
bool engine_stepped_here(struct engine *g, struct vcpu *v);
/* May there be any point at RIP, and does the instruction there come next? */
bool engine_points_here(struct engine *g, struct vcpu *v);

/* -- reports.c -- */

/* A device asked for power-off, a reset or the end. */
void engine_board_wish(struct engine *g, struct vcpu *v, struct exit_event *ev);
/* A stop that stop_error.c has the words for. */
void engine_report_exit(struct engine *g, struct vcpu *v, enum stop_kind kind,
                        struct exit_event *ev);
void engine_report_stuck(struct engine *g, struct vcpu *v);
/* The guest turned on paging of a `kind` that this host's KVM cannot do. */
void engine_report_paging(struct engine *g, struct vcpu *v, const char *kind);
void engine_report_shutdown(struct engine *g, struct vcpu *v, struct exit_event *ev);
/* All vCPUs halted with interrupts off, or still waiting for their start: the end. */
void engine_check_dead(struct engine *g, struct vcpu *v);
/* With the kernel's interrupt chips HLT never leaves the kernel: a kick shows whether the vCPU is
 * halted with interrupts off. */
void engine_check_kernel_halt(struct engine *g, struct vcpu *v);

/* -- assists.c -- */

/* The guest takes an event (vmm/deliver.h), because of the exit `ev`. A shutdown on the way is as
 * one that KVM tells of. */
enum verdict engine_give(struct engine *g, struct vcpu *v, struct assist_event *event,
                         const struct exit_event *ev);
/* The instruction that KVM refused is carried out, and an event that it raises is given: then
 * `next` says whether that ended the guest. */
bool engine_assisted(struct engine *g, struct vcpu *v, struct exit_event *ev, enum verdict *next);
/* A kick found the vCPU where KVM spins (vcpu_spins): it may have come there just now, and
 * to carry the instruction out is right all the same. Kicks come more often from then on. */
bool engine_spun(struct engine *g, struct vcpu *v, struct exit_event *ev, enum verdict *next);
/* engine_assisted for a step (onestep_ops.undefined): an #UD under it is a refusal, too, when the
 * processor has the instruction. */
bool engine_undefined(void *arg, struct vcpu *v, struct exit_event *ev, struct assist_event *raise);
/* A step stands before an instruction that KVM refused: carried out here, up to the first
 * instruction of the handler when it raises something. `lifted`: the plant whose byte is out of the
 * way, so that what was refused is the guest's own instruction. */
bool engine_assisted_step(struct engine *g, struct vcpu *v, const struct onestep_ops *ops,
                          const struct plant *lifted, struct onestep_info *info);

/* -- exits.c -- */

/* Deals with one exit that no device answers; `want` is what the entry asked to debug. */
enum verdict engine_on_exit(struct engine *g, struct vcpu *v, const struct vcpu_debug *want,
                            struct exit_event *ev);
/* KVM forgets the guest's own trap flag when a store leaves the guest, which no store to memory
 * does unless its page is trapped: it traps after all. `parks`: with the next entry, so that the
 * vCPU is shown behind the store. */
enum verdict engine_trap_store(struct engine *g, struct vcpu *v, const struct exit_event *ev,
                               bool parks);
/* The vCPU's last instruction entered (`yes`) a handler on purpose: a gate hook there is not to
 * take it back. Another handler's hook may be reached as soon as that one has returned, without an
 * exit in between. */
void engine_note_delivered(struct engine *g, struct vcpu *v, bool yes);
/* Does it still stand there? */
bool engine_was_delivered(const struct engine *g, const struct vcpu *v);

/* -- steps.c -- */

enum traps { TRAPS_STAY, TRAPS_LIFTED };
/* engine_one_step, or with `go_on` as many of a job that nobody interrupts as may follow at once;
 * those before the last are counted, and `info->told` says whether that one is. TRAPS_LIFTED: no
 * page is trapped meanwhile, for a vCPU that may be unable to get past a trap. */
bool engine_make_steps(struct engine *g, struct vcpu *v, struct onestep_info *info,
                       bool (*go_on)(void *arg, struct vcpu *v), enum traps traps);
/* Is a byte of ours behind RIP where the instruction there may reach, and none at RIP? Then what
 * KVM met may not be the guest's instruction; a step lifts such bytes. */
bool engine_plants_ahead(struct engine *g, struct vcpu *v);
/* Planted bytes that no trap guards: the guest may have put other code there. */
void engine_plant_again(struct engine *g, struct vcpu *v);

/* -- step_job.c -- */

/* The next step, or steps, of a JOB_STEP. A point at the new RIP ends the job early, as it would
 * end a run. */
void engine_step_job(struct engine *g, struct vcpu *v, struct cpu_job *job);

#endif
