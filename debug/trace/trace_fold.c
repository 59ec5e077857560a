/*
 * Folded stacks, as flame graph tools read them: one line for each place and operation with how
 * often it came. Where the recording has the callers of its exits (`trace stacks on`) they are the
 * frames, outermost first; else the function at RIP is the only one.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "debug/stacks.h"
#include "debug/trace/trace_out.h"
#include "vmm/base/x.h"

/* Beyond so many different stacks exits are counted without their callers. */
#define FOLDS_MAX 400000u

struct fold {
    struct stat_key key;
    uint64_t count;
    unsigned frames;
    uint64_t *frame;
};

struct folds {
    struct fold *fold;
    uint32_t *slot; /* open-addressed: fold + 1 */
    size_t count, cap, slots;
    /* each vCPU's last exit, whose callers may still come */
    struct {
        bool open;
        struct stat_key key;
        struct stack_frames frames;
    } cpu[MACHINE_CPUS_MAX];
};

static uint64_t hash(const struct stat_key *k, const struct stack_frames *s)
{
    uint64_t w[3], h = s->count;

    memcpy(w, k, sizeof w);
    for (unsigned i = 0; i < 3; i++)
        h = (h ^ w[i]) * 0x9e3779b97f4a7c15u, h ^= h >> 29;
    for (unsigned i = 0; i < s->count; i++)
        h = (h ^ s->frame[i]) * 0x9e3779b97f4a7c15u, h ^= h >> 29;
    return h;
}

static bool same(const struct fold *f, const struct stat_key *k, const struct stack_frames *s)
{
    return !memcmp(&f->key, k, sizeof *k) && f->frames == s->count &&
           (!s->count || !memcmp(f->frame, s->frame, s->count * sizeof s->frame[0]));
}

static void grow(struct folds *t)
{
    t->slots = t->slots ? 2 * t->slots : 1024;
    free(t->slot);
    t->slot = xcalloc(t->slots, sizeof *t->slot);
    for (size_t i = 0; i < t->count; i++) {
        struct stack_frames s = {.count = t->fold[i].frames};
        size_t at;

        if (s.count)
            memcpy(s.frame, t->fold[i].frame, s.count * sizeof s.frame[0]);
        for (at = hash(&t->fold[i].key, &s) & (t->slots - 1); t->slot[at];)
            at = (at + 1) & (t->slots - 1);
        t->slot[at] = (uint32_t)i + 1;
    }
}

static void add(struct folds *t, const struct stat_key *k, const struct stack_frames *s)
{
    static const struct stack_frames none;
    struct fold *f;
    size_t at;

    if (t->count * 2 >= t->slots)
        grow(t);
    for (at = hash(k, s) & (t->slots - 1); t->slot[at]; at = (at + 1) & (t->slots - 1)) {
        f = &t->fold[t->slot[at] - 1];
        if (!same(f, k, s))
            continue;
        f->count++;
        return;
    }
    if (t->count >= FOLDS_MAX && s->count) {
        add(t, k, &none);
        return;
    }
    if (t->count == t->cap) {
        t->cap = t->cap ? 2 * t->cap : 256;
        t->fold = xrealloc(t->fold, t->cap, sizeof *t->fold);
    }
    f = &t->fold[t->count++];
    *f = (struct fold){.key = *k, .count = 1, .frames = s->count};
    if (s->count) {
        f->frame = xmalloc(s->count * sizeof *f->frame);
        memcpy(f->frame, s->frame, s->count * sizeof *f->frame);
    }
    t->slot[at] = (uint32_t)t->count;
}

static void end_exit(struct folds *t, unsigned cpu)
{
    if (t->cpu[cpu].open)
        add(t, &t->cpu[cpu].key, &t->cpu[cpu].frames);
    t->cpu[cpu].open = false;
}

static void step(void *arg, const struct exit_event *ev)
{
    struct folds *t = arg;
    unsigned cpu = ev->vcpu % MACHINE_CPUS_MAX;

    if (ev->reason == EXIT_STACK) {
        if (t->cpu[cpu].open)
            stacks_take(&t->cpu[cpu].frames, ev);
        return;
    }
    if (ev->reason == EXIT_DEVICE || ev->reason == EXIT_RUN || ev->reason == EXIT_STOP)
        return;                    /* at no instruction */
    if (ev->reason != EXIT_KERNEL) /* its events come beside the vCPU's own */
        end_exit(t, cpu);
    if (stat_is_note(ev->reason)) {
        static const struct stack_frames none;
        struct stat_key k = stat_key_of(ev);

        add(t, &k, &none);
        return;
    }
    t->cpu[cpu].open = true;
    t->cpu[cpu].key = stat_key_of(ev);
    t->cpu[cpu].frames.count = 0;
}

/* ---- writing --------------------------------------------------------------------------------- */

/* A frame's name must not have the characters that part frames and count. */
static void frame(struct buf *out, const char *name)
{
    buf_addc(out, ';');
    for (; *name; name++)
        buf_addc(out, *name == ';' ? ':' : *name);
}

static void code_frame(struct buf *out, const struct trace_names *n, uint64_t pc, uint64_t look)
{
    uint64_t start;
    const char *name = names_symbol(n, look, &start);
    char text[24];

    snprintf(text, sizeof text, "0x%" PRIx64, pc);
    frame(out, name ? name : text);
}

static char *line_dup(const struct fold *k, const struct trace_names *n)
{
    struct buf line = {0}, what = {0};

    buf_addf(&line, "vCPU %u", k->key.vcpu);
    frame(&line, k->key.cpl == 3 ? "user" : "kernel");
    for (unsigned i = k->frames; i-- > 0;)
        code_frame(&line, n, k->frame[i], k->frame[i]);
    code_frame(&line, n, k->key.rip, k->key.rip - (k->key.flags & EXIT_F_PAST ? 1 : 0));
    table_label(BY_WHAT, &k->key, n, &what);
    frame(&line, buf_str(&what));
    buf_fini(&what);
    return buf_take(&line);
}

struct line {
    char *text;
    uint64_t count;
};

static int by_text(const void *a, const void *b)
{
    return strcmp(((const struct line *)a)->text, ((const struct line *)b)->text);
}

/* Places of one function are one frame, so that several folds may be one line. */
static void write_folds(const struct folds *t, const struct trace_names *n, FILE *f)
{
    struct line *l = xcalloc(t->count + 1, sizeof *l);

    for (size_t i = 0; i < t->count; i++)
        l[i] = (struct line){line_dup(&t->fold[i], n), t->fold[i].count};
    if (t->count)
        qsort(l, t->count, sizeof *l, by_text);
    for (size_t i = 0, end; i < t->count; i = end) {
        uint64_t sum = 0;

        for (end = i; end < t->count && !by_text(&l[i], &l[end]); end++)
            sum += l[end].count;
        fprintf(f, "%s %" PRIu64 "\n", l[i].text, sum);
    }
    for (size_t i = 0; i < t->count; i++)
        free(l[i].text);
    free(l);
}

void export_folded(struct report *p, FILE *f)
{
    struct folds *t = xcalloc(1, sizeof *t);

    report_count(p, step, t);
    for (unsigned i = 0; i < MACHINE_CPUS_MAX; i++)
        end_exit(t, i);
    write_folds(t, trace_names(p->reader), f);
    for (size_t i = 0; i < t->count; i++)
        free(t->fold[i].frame);
    free(t->fold);
    free(t->slot);
    free(t);
}
