/*
 * Ring 3 on a KVM that emulates ring 0: there int3 goes to the guest's own handler, `int n` becomes
 * #UD, and SYSCALL arrives at its entry still in ring 3 and faults. So a byte is planted at the
 * first instruction of the guest's handlers of #BP, #UD, #GP and #PF; when one is hit for such a
 * reason the frame is taken back and the right thing done, otherwise the guest's handler goes on.
 * vCPU threads.
 */
#ifndef DEBUG_HOOKS_H
#define DEBUG_HOOKS_H

#include <stdbool.h>
#include <stdint.h>

struct engine;
struct vcpu;
struct exit_event;

/* Plants, moves or removes hooks when the guest's IDT changed. Cheap when nothing did. */
void hooks_refresh(struct engine *g, struct vcpu *v);
/* Would that find nothing to do? False now and then in any case. */
bool hooks_same(struct engine *g, const struct vcpu *v);
/* The next refresh of this vCPU looks at its gates whatever it knows: it was not running freely. */
void hooks_look(struct engine *g, const struct vcpu *v);
/* The vCPU stands at a hook. True when the exception was ours: the vCPU is back in ring 3 at a
 * planted int3, or its call was carried out. */
bool hook_taken(struct engine *g, struct vcpu *v, struct exit_event *ev);
/* The same for an int3 of ring 3, planted or the guest's own, or a SYSCALL, whose exception was not
 * delivered: somebody wanted the vCPU before, or the handler's stack is a trapped page. */
bool hook_taken_early(struct engine *g, struct vcpu *v, struct exit_event *ev);
/* The vCPU stands at a hook because KVM refused the guest's paging with a #GP: its kind
 * (vcpu_paging_refused), with the vCPU back at the instruction; else NULL. */
const char *hook_paging(struct engine *g, struct vcpu *v);
/* Must the session look often: until hooks are in place, and while points hold debug registers that
 * do not fire in ring 3? */
bool hooks_wanted(const struct engine *g);
/* Does a catchpoint wait for an exception whose handler the guest has not set up yet? */
bool hooks_missing(const struct engine *g);
/* Exceptions whose handler begins where the vCPU stands, as a mask; of those that are hooked. */
uint32_t hook_vectors_here(const struct engine *g, const struct vcpu *v);
/* Forgets all (memory was reloaded). Main thread. */
void hooks_forget(struct engine *g);

#endif
