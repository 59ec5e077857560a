/*
 * Puts the parts of an explanation together: the texts of the reason, the record's own fields, and
 * what the port, address or MSR is known for.
 */
#include "debug/trace/explain.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "debug/stacks.h"
#include "debug/trace/known.h"
#include "debug/trace/trace_stat.h"
#include "vmm/regs.h"

#define WIDTH  92u
#define INDENT 16u

/* "title         text, filled to the width". */
static void paragraph(struct out *o, const char *key, const char *title, const char *text)
{
    struct buf b = {0};
    size_t at = INDENT;

    if (!text || !*text)
        return;
    buf_adds(&b, title);
    buf_pad(&b, INDENT);
    for (const char *p = text; *p;) {
        size_t n = strcspn(p, " ");

        if (at > INDENT && at + n > WIDTH) {
            buf_addc(&b, '\n');
            buf_pad(&b, INDENT);
            at = INDENT;
        }
        buf_add(&b, p, n);
        at += n + 1;
        p += n;
        if (*p == ' ') {
            p++;
            if (*p && at + strcspn(p, " ") <= WIDTH)
                buf_addc(&b, ' ');
        }
    }
    out_text(o, "%s", buf_str(&b));
    out_json_str(o, key, text);
    buf_fini(&b);
}

/* The fields of struct kvm_run that carry this exit. */
static void run_fields(const struct exit_event *ev, struct buf *b)
{
    const struct exit_kind *k;

    if (ev->reason >= EXIT_OUR_FIRST) {
        if (ev->reason == EXIT_KICK)
            buf_adds(b, "errno EINTR (4), immediate_exit 1; no exit_reason");
        if (ev->reason == EXIT_ERROR)
            buf_addf(b, "errno %d; no exit_reason", ev->u.fail.errno_);
        return;
    }
    buf_addf(b, "exit_reason %u", ev->reason);
    for (unsigned i = 0; (k = exit_kind_at(i)); i++)
        if (k->reason == ev->reason)
            buf_addf(b, " (%s)", k->kvm_name);
    switch (ev->reason) {
    case KVM_EXIT_IO:
        buf_addf(b,
                 ", io.direction %u (%s), io.size %u, io.port 0x%x, io.count %u, data 0x%" PRIx64,
                 ev->u.io.write, ev->u.io.write ? "out" : "in", ev->size, ev->u.io.port,
                 ev->u.io.count, ev->u.io.value);
        break;
    case KVM_EXIT_MMIO:
        buf_addf(b,
                 ", mmio.phys_addr 0x%" PRIx64 ", mmio.len %u, mmio.is_write %u, data 0x%" PRIx64,
                 ev->u.mmio.gpa, ev->size, ev->u.mmio.write, ev->u.mmio.value);
        break;
    case KVM_EXIT_X86_RDMSR:
    case KVM_EXIT_X86_WRMSR:
        buf_addf(b, ", msr.index 0x%x, msr.reason %u, msr.data 0x%" PRIx64 ", msr.error %u",
                 ev->u.msr.index, ev->u.msr.why, ev->u.msr.value, ev->u.msr.error);
        break;
    case KVM_EXIT_DEBUG:
        buf_addf(b,
                 ", debug.arch.exception %u, dr6 0x%" PRIx64 ", dr7 0x%" PRIx64 ", pc 0x%" PRIx64,
                 ev->u.debug.exception, ev->u.debug.dr6, ev->u.debug.dr7, ev->u.debug.pc);
        break;
    case KVM_EXIT_INTERNAL_ERROR:
        buf_addf(b, ", internal.suberror %u, ndata %u", ev->u.internal.suberror,
                 ev->u.internal.ndata);
        break;
    case KVM_EXIT_FAIL_ENTRY:
        buf_addf(b, ", fail_entry.hardware_entry_failure_reason 0x%" PRIx64,
                 ev->u.fail.hardware_reason);
        break;
    case KVM_EXIT_SYSTEM_EVENT:
        buf_addf(b, ", system_event.type %u", ev->u.system.type);
        break;
    case KVM_EXIT_HLT:
    case KVM_EXIT_SHUTDOWN:
        buf_adds(b, "; it has no fields");
        break;
    default:
        break;
    }
}

static void place(const struct exit_event *ev, const struct trace_names *n, struct buf *b)
{
    static const char *const rings[] = {"ring 0, the kernel", "ring 1", "ring 2",
                                        "ring 3, a user program"};
    uint64_t linear = ev->cs_base + ev->rip;
    char name[200];

    names_place(n, linear, ev->flags & EXIT_F_PAST, name, sizeof name);
    buf_addf(b, "RIP 0x%" PRIx64 "%s%s%s", linear, name[0] ? " <" : "", name, name[0] ? ">" : "");
    if (ev->reason == EXIT_KERNEL) /* trace points tell no more */
        return;
    buf_addf(b, ", %s, %s", cpu_mode_name((enum cpu_mode)ev->mode), rings[ev->cpl & 3]);
    if (ev->flags & EXIT_F_PAST)
        buf_adds(b, "; RIP is already behind the instruction");
    if (ev->flags & EXIT_F_STEPPED)
        buf_adds(b, "; a single step was being made");
}

static void known_text(const struct exit_event *ev, const struct known *k, struct buf *b)
{
    struct exit_access a = {0};
    struct buf bits = {0};

    buf_addf(b, "%s. %s", k->name, k->help);
    if (known_access(ev, &a))
        known_value(k, a.value, &bits);
    if (bits.len)
        buf_addf(b, " 0x%" PRIx64 " means: %s.", a.value, buf_str(&bits));
    buf_fini(&bits);
}

static void times(const struct exit_event *ev, struct buf *b)
{
    if (stat_is_note(ev->reason))
        return;
    buf_addf(b, "%.1f us inside KVM_RUN before it (guest, entry and exit), %.1f us in the handler",
             ev->guest_ns / 1000.0, ev->host_ns / 1000.0);
}

void explain_print(const struct exit_event *ev, const struct trace_names *n, bool emulated,
                   struct out *o)
{
    const struct explain_kind *k = explain_event(ev);
    const struct known *known = known_of(ev);
    struct buf b = {0};

    names_what(n, ev, &b);
    if (exit_has_cpu(ev))
        out_text(o, "#%" PRIu64 " on vCPU %u: %s: %s", ev->seq, ev->vcpu,
                 exit_kind_name(ev->reason), buf_str(&b));
    else
        out_text(o, "#%" PRIu64 ": %s: %s", ev->seq, exit_kind_name(ev->reason), buf_str(&b));
    out_json_u64(o, "seq", ev->seq);
    if (exit_has_cpu(ev))
        out_json_u64(o, "vcpu", ev->vcpu);
    out_json_str(o, "kind", exit_kind_name(ev->reason));
    out_json_str(o, "what", buf_str(&b));
    buf_clear(&b);
    if (ev->reason != EXIT_DEVICE && ev->reason != EXIT_RUN && ev->reason != EXIT_STOP)
        place(ev, n, &b);
    paragraph(o, "where", "where", buf_str(&b));
    paragraph(o, "did", "what happened", k ? k->did : exit_kind_help(ev->reason));
    if (known) {
        buf_clear(&b);
        known_text(ev, known, &b);
        paragraph(o, "known", "what is there", buf_str(&b));
    } else if (ev->flags & EXIT_F_UNCLAIMED) {
        paragraph(o, "known", "what is there", "Nothing that this machine has.");
    }
    if (k) {
        paragraph(o, "vtx", "on VT-x", k->vtx);
        paragraph(o, "svm", "on SVM", k->svm);
        paragraph(o, "here", emulated ? "on this host" : "", emulated ? k->here : NULL);
    }
    buf_clear(&b);
    run_fields(ev, &b);
    paragraph(o, "kvm_run", "kvm_run", buf_str(&b));
    if (k)
        paragraph(o, "answer", "vmscope", k->answer);
    if (k)
        paragraph(o, "next", "the guest sees", k->next);
    buf_clear(&b);
    times(ev, &b);
    paragraph(o, "times", "time", buf_str(&b));
    if (k)
        paragraph(o, "manual", "read", k->manual);
    buf_fini(&b);
}

void explain_callers(const struct stack_frames *s, const struct trace_names *n, struct out *o)
{
    struct buf b = {0};
    char name[200];

    for (unsigned i = 0; i < s->count; i++) {
        buf_adds(&b, i ? ", from " : "");
        if (names_place(n, s->frame[i], false, name, sizeof name)[0])
            buf_adds(&b, name);
        else
            buf_addf(&b, "0x%" PRIx64, s->frame[i]);
    }
    paragraph(o, "callers", "called from", buf_str(&b));
    buf_fini(&b);
}
