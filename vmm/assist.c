/*
 * The assist: instructions that an emulating KVM refuses, carried out here. vCPU thread.
 */
#include "vmm/assist.h"

#include <string.h>

#include "vmm/insn_head.h"
#include "vmm/transfer.h"
#include "vmm/vcpu.h"

enum assist_what {
    ASSIST_INT,
    ASSIST_IRET,
    ASSIST_RETF,
    ASSIST_SYSCALL,
    ASSIST_USER_INT,
};

const char *assist_name(unsigned what)
{
    static const char *const names[] = {
        [ASSIST_INT] = "software interrupt",
        [ASSIST_IRET] = "iret",
        [ASSIST_RETF] = "far return",
        [ASSIST_SYSCALL] = "syscall from ring 3",
        [ASSIST_USER_INT] = "software interrupt from ring 3",
    };

    return what < sizeof names / sizeof names[0] ? names[what] : NULL;
}

static void become_record(struct vcpu *v, struct exit_event *ev, enum assist_what what)
{
    uint8_t insn[15];
    unsigned n = vcpu_fetch(v, insn);

    ev->reason = EXIT_ASSIST;
    memset(&ev->u, 0, sizeof ev->u);
    ev->u.assist.what = what;
    ev->u.assist.insn_len = (uint8_t)n;
    memcpy(ev->u.assist.insn, insn, n);
}

bool vcpu_assist(struct vcpu *v, struct exit_event *ev)
{
    struct exit_event was = *ev;
    struct insn_head h;

    if (!(v->sregs->cr0 & 1))
        return false;
    insn_head_read(v, &h);
    switch (h.special) {
    case SP_INT:
        become_record(v, ev, ASSIST_INT);
        if (!h.icebp && !soft_int_allowed(v, h.vector)) {
            queue_event(v, 13, false, true, (uint32_t)h.vector << 3 | 2);
            return true;
        }
        v->regs->rip += h.len;
        queue_event(v, h.vector, h.is_int_n, false, 0);
        return true;
    case SP_IRET:
    case SP_RETF:
        become_record(v, &was, h.special == SP_IRET ? ASSIST_IRET : ASSIST_RETF);
        if (!far_return(v, &h, h.special == SP_IRET))
            return false;
        *ev = was;
        return true;
    default:
        return false;
    }
}

void vcpu_assist_note(struct vcpu *v, struct exit_event *ev, bool is_syscall)
{
    become_record(v, ev, is_syscall ? ASSIST_SYSCALL : ASSIST_USER_INT);
}
