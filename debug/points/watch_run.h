/*
 * Watchpoints while the guest runs: the decision to stop, traps that get in the processor's way,
 * and turns when several vCPUs meet traps. vCPU threads, called by the engine.
 */
#ifndef DEBUG_WATCH_RUN_H
#define DEBUG_WATCH_RUN_H

#include <stdbool.h>

struct engine;
struct exit_event;
struct onestep_ops;
struct onestep_info;
struct user_frame;
struct vcpu;

/* Anything noted since the last judgement? */
bool watch_noted(const struct engine *g, const struct vcpu *v);
/* A repeated string instruction is one instruction, and told of once: hosts leave it after an
 * element, after a group of them, or at its end. After watch_in_string said so, makes the rest of
 * it, up to its end or to the handler of its fault; a vCPU that is wanted elsewhere tells of the
 * part. */
void watch_finish_string(struct engine *g, struct vcpu *v);
/* Completes the access, then looks at conditions and counts. True when the guest stops. */
bool watch_judge(struct engine *g, struct vcpu *v);

/* An exit that a trapped page may have caused: an instruction that KVM cannot emulate there, code,
 * a frame or a table that the processor could not reach. Lifts the traps in question, makes one
 * exact step, and arms them again. True when the instruction was carried out. */
bool watch_recover(struct engine *g, struct vcpu *v, const struct exit_event *ev,
                   const struct onestep_ops *ops, struct onestep_info *info);
/* At the exit for a port, whose device has answered: of an INS that runs downwards KVM asks for
 * many elements at once, stores them one by one, and when a trapped page ends that, forgets the
 * rest and asks the device again. Has them stored with the traps lifted, and notes it. */
void watch_store_down(struct engine *g, struct vcpu *v, const struct exit_event *ev);
/* At the first instruction of the guest's handler of double faults, with its frame: an emulating
 * KVM that cannot push a frame to a trapped page tries #DF, whose stack may not be trapped. Then
 * the frame is taken back and the event delivered with the trap lifted. False: a real double fault.
 */
bool watch_double_fault(struct engine *g, struct vcpu *v, const struct user_frame *f);
/* After the kick `ev`: looks at mappings anew. True when the one before found the vCPU at the same
 * place: it may be unable to get past a trap without ever leaving the kernel. */
bool watch_stands(struct engine *g, struct vcpu *v, const struct exit_event *ev);

/* Before an entry: gives an event that waits, with trapped pages out of the way that it may need. A
 * processor that meets a trap while it pushes a frame makes KVM carry out the instruction at RIP
 * instead. True when the vCPU stands at the handler, or somebody wants it; else `info->last` may be
 * the guest's end. */
bool watch_deliver(struct engine *g, struct vcpu *v, struct onestep_info *info);
/* Chooses methods of pages again when the last access asked for it, or the guest has other tables.
 */
void watch_renew(struct engine *g, struct vcpu *v);

/* With traps armed and several vCPUs, one is inside the guest at a time: KVM carries out a locked
 * instruction on a trapped page as a read and a write. False: look at the flags first. */
bool watch_turn_take(struct engine *g, struct vcpu *v);
void watch_turn_give(struct engine *g);

#endif
