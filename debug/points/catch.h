/*
 * Catchpoints: what the guest does that is not reaching an address. Asked by the engine at the
 * places where such things can be seen. vCPU threads, except catch_console.
 */
#ifndef DEBUG_CATCH_H
#define DEBUG_CATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "debug/session.h"

struct engine;
struct vcpu;

/* An exit's record: CATCH_EXIT. Marks `ev` when the guest stops. */
void catch_exits(struct engine *g, struct vcpu *v, struct exit_event *ev);
/* The vCPU is about to execute the first instruction of a handler of one of `vectors`. True when
 * the guest stops. */
bool catch_exceptions(struct engine *g, struct vcpu *v, uint32_t vectors);
/* What an instruction may have changed, as it was before. */
struct catch_before {
    enum cpu_mode mode;
    unsigned cpl;
    uint64_t cr3, rip;      /* rip: linear */
    bool is_cpuid;          /* looked at only while somebody waits for it */
    uint32_t leaf, subleaf; /* what CPUID is asked */
};
/* Before the instruction at RIP; registers read. */
void catch_look(const struct engine *g, struct vcpu *v, struct catch_before *before);
/* After a step: CATCH_MODE, CATCH_CR3, CATCH_CPUID. True when the guest stops. */
bool catch_changes(struct engine *g, struct vcpu *v, const struct catch_before *before);
/* All enabled catchpoints of that sort: the id of the first that stops the guest now, or -1. `ev`
 * is the exit that led here, or NULL. */
int catch_of(struct engine *g, struct vcpu *v, enum catch_what what, struct exit_event *ev);
/* Output bytes, with the machine lock held: looks for texts. The stop follows from catch_texts, at
 * the end of the access that printed. */
void catch_console(struct engine *g, enum console_chan chan, const void *bytes, size_t len);
void catch_texts(struct engine *g, struct vcpu *v);

#endif
