/*
 * The session's records: reading the rings of all that write some, merged by time, and counts. Main
 * thread.
 */
#include "debug/session.h"

#include <stdlib.h>
#include <string.h>

#include "debug/session_priv.h"
#include "debug/trace/tracer.h"
#include "vmm/base/x.h"

unsigned session_trace_devices(const struct session *s)
{
    return s->vm->cpus;
}

unsigned session_trace_kernel(const struct session *s)
{
    return s->vm->cpus + 1;
}

/* The kernel's ring is made when its first event comes. */
static unsigned trace_sources(const struct session *s)
{
    return session_trace_kernel(s) +
           (atomic_load_explicit(&s->kernel_ring_on, memory_order_acquire) ? 1 : 0);
}

static const struct exit_ring *trace_ring(const struct session *s, unsigned i)
{
    return i < s->vm->cpus                 ? &s->vm->cpu[i]->ring
           : i == session_trace_devices(s) ? &s->vm->board
                                           : &s->kernel_ring;
}

void session_kernel_put(struct session *s, struct exit_event *ev)
{
    if (!atomic_load_explicit(&s->kernel_ring_on, memory_order_relaxed)) {
        ring_init(&s->kernel_ring, s->cfg.ring_records ? s->cfg.ring_records : 65536);
        atomic_store_explicit(&s->kernel_ring_on, true, memory_order_release);
    }
    ring_put(&s->kernel_ring, ev);
}

void session_trace_start(const struct session *s, struct trace_cursor *c, bool tail)
{
    unsigned sources = trace_sources(s);

    *c = (struct trace_cursor){0};
    for (unsigned i = 0; i < sources; i++) {
        uint64_t oldest, end;

        ring_range(trace_ring(s, i), &oldest, &end);
        c->next[i] = tail ? end : oldest;
    }
}

/* The next record of one vCPU, catching up when the writer overtook the cursor. */
static bool cursor_peek(const struct session *s, struct trace_cursor *c, unsigned i,
                        struct exit_event *ev)
{
    const struct exit_ring *r = trace_ring(s, i);
    uint64_t oldest, end;

    for (;;) {
        ring_range(r, &oldest, &end);
        if (c->next[i] < oldest) {
            c->dropped += oldest - c->next[i];
            c->next[i] = oldest;
        }
        if (c->next[i] >= end)
            return false;
        if (ring_get(r, c->next[i], ev))
            return true;
    }
}

size_t session_trace_next(const struct session *s, struct trace_cursor *c, struct exit_event *out,
                          size_t max)
{
    struct exit_event head[MACHINE_CPUS_MAX + 2];
    bool have[MACHINE_CPUS_MAX + 2];
    unsigned sources = trace_sources(s);
    size_t n = 0;

    for (unsigned i = 0; i < sources; i++)
        have[i] = cursor_peek(s, c, i, &head[i]);
    while (n < max) {
        unsigned best = sources;

        for (unsigned i = 0; i < sources; i++)
            if (have[i] && (best == sources || head[i].at_ns < head[best].at_ns))
                best = i;
        if (best == sources)
            break;
        out[n++] = head[best];
        c->next[best] = head[best].seq + 1;
        have[best] = cursor_peek(s, c, best, &head[best]);
    }
    return n;
}

bool session_trace_get(const struct session *s, unsigned source, uint64_t seq,
                       struct exit_event *out)
{
    return source < trace_sources(s) && ring_get(trace_ring(s, source), seq, out);
}

void session_set_stacks(struct session *s, unsigned depth)
{
    atomic_store(&s->engine.stack_depth, depth);
}

unsigned session_stacks(const struct session *s)
{
    return atomic_load(&s->engine.stack_depth);
}

uint64_t session_exit_count(const struct session *s)
{
    uint64_t n = 0, oldest, end;

    for (unsigned i = 0; i < s->vm->cpus; i++) {
        ring_range(&s->vm->cpu[i]->ring, &oldest, &end);
        n += end - atomic_load_explicit(&s->vm->cpu[i]->counts[exit_counter(EXIT_STACK)],
                                        memory_order_relaxed);
    }
    return n;
}

void session_exit_counts(const struct session *s, uint64_t counts[EXIT_COUNTERS])
{
    memset(counts, 0, EXIT_COUNTERS * sizeof counts[0]);
    for (unsigned i = 0; i < s->vm->cpus; i++)
        for (unsigned k = 0; k < EXIT_COUNTERS; k++)
            counts[k] += atomic_load_explicit(&s->vm->cpu[i]->counts[k], memory_order_relaxed);
}

void session_assist_counts(const struct session *s, uint64_t counts[ASSIST_KINDS])
{
    for (unsigned k = 0; k < ASSIST_KINDS; k++) {
        counts[k] = 0;
        for (unsigned i = 0; i < s->vm->cpus; i++)
            counts[k] += vcpu_assist_count(s->vm->cpu[i], k);
    }
}

bool session_assist_on(const struct session *s)
{
    return !s->engine.assist_off;
}
