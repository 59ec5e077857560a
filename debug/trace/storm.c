/*
 * Recognising storms. A window is a pass over the cells; nothing is remembered but the storms.
 */
#include "debug/trace/storm.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "debug/trace/known.h"
#include "debug/trace/trace_table.h"
#include "vmm/base/x.h"

/* So many quiet windows end a storm: a pause for a disk is none. */
#define CALM_WINDOWS 2u

void storm_init(struct storm_watch *w)
{
    *w = (struct storm_watch){.min_rate = 5000, .min_share = 0.5};
}

/* ---- hints ----------------------------------------------------------------------------------- */

/* What KVM deals with itself never comes to us as an exit, but its trace points tell. */
static const char *kernel_hint(unsigned event)
{
    switch (event) {
    case KERNEL_CPUID:
        return "CPUID always leaves the guest, and some use it as a barrier: ask once and keep the "
               "answer, LFENCE or SERIALIZE as barrier";
    case KERNEL_FAULT:
        return "page faults that KVM must fix: memory touched for the first time (it ends by "
               "itself), dirty logging, or a page that is taken away again and again";
    case KERNEL_MSR:
        return "an MSR is written or read on a hot path: the timer's deadline, segment bases, or "
               "speculation limits";
    case KERNEL_EXCEPTION:
        return "the guest gets the same exception again and again: a handler that returns without "
               "having removed the cause";
    case KERNEL_VIRQ:
        return "interrupts faster than the guest's work: a timer, or two processors that wake each "
               "other";
    case KERNEL_APIC:
        return "the local APIC is accessed on a hot path: end of interrupt, timer, or interrupts "
               "between processors";
    default:
        return NULL;
    }
}

static const char *kind_hint(const struct stat_key *k)
{
    switch (k->reason) {
    case KVM_EXIT_HLT:
        return "the guest wakes and sleeps again at once: two processors that wait for each other, "
               "or a timer far faster than its work; see which interrupt ends the halts "
               "(`info exits by vector`)";
    case EXIT_INJECT:
        return "the same interrupt comes again and again: its handler does not remove the cause, "
               "or ends the interrupt of a level-triggered line too early";
    case KVM_EXIT_IRQ_WINDOW_OPEN:
        return "interrupts wait until the guest enables them: it keeps them off for long, or "
               "interrupts come faster than it takes them";
    case KVM_EXIT_DEBUG:
        return "a breakpoint with a condition, or single steps: each costs an exit; a more precise "
               "place costs fewer";
    case KVM_EXIT_X86_RDMSR:
    case KVM_EXIT_X86_WRMSR:
        return "an MSR that this machine does not have is tried in a loop";
    case EXIT_ASSIST:
        return "an instruction that this host's KVM cannot run is carried out by vmscope each "
               "time; hardware KVM runs it without an exit";
    case EXIT_KERNEL:
        return kernel_hint((unsigned)(k->what >> 40));
    case EXIT_KICK:
        return "somebody wakes the vCPU all the time: timers of devices, or interrupts that it "
               "cannot take yet";
    default:
        return NULL;
    }
}

/* What is known about masses of such exits: "the guest polls …"; NULL when nothing is. */
static const char *storm_hint(const struct stat_key *k)
{
    const struct known *known;
    struct exit_event ev;

    stat_key_event(k, &ev);
    known = known_of(&ev);
    if (known && known->storm)
        return known->storm;
    if (k->flags & EXIT_F_UNCLAIMED)
        return "no device is there: the guest waits for, or looks for, hardware that this machine "
               "does not have";
    return kind_hint(k);
}

/* ---- a window -------------------------------------------------------------------------------- */

/* One operation in the window, wherever it was made. */
struct group {
    uint64_t g[2];
    uint64_t window;
    const struct stat_cell *cell; /* its commonest place */
    uint64_t cell_window;
    uint64_t host_sum, count; /* ever: for what one costs */
    const char *dev;          /* who answers it, or NULL */
    bool note, effect;
};

#define TOP_GROUPS 32u

static int by_group(const void *a, const void *b)
{
    const struct group *x = a, *y = b;

    if (x->g[0] != y->g[0])
        return x->g[0] < y->g[0] ? -1 : 1;
    return x->g[1] < y->g[1] ? -1 : x->g[1] > y->g[1];
}

static int by_window(const void *a, const void *b)
{
    const struct group *x = a, *y = b;

    if (x->window != y->window)
        return x->window > y->window ? -1 : 1;
    return by_group(a, b);
}

static void what_of(const struct stat_key *k, uint64_t g[2])
{
    g[0] = k->what;
    g[1] = (uint64_t)k->reason << 16 | (uint64_t)k->size << 8 | k->write;
}

/* The end of an interrupt follows from whatever made it come: such exits are told as a storm of
 * their own only where nothing else is as common. */
static bool is_effect(const struct stat_key *k)
{
    return (k->reason == KVM_EXIT_IO && k->write && (k->what == 0x20 || k->what == 0xa0)) ||
           (k->reason == KVM_EXIT_MMIO && k->write && k->what == 0xfee000b0);
}

struct found {
    uint64_t all;     /* exits in the window */
    uint64_t window;  /* of the storm: the operation, others of its device, ends of interrupts */
    uint64_t present; /* of the storm that goes on, if there is one */
    struct group face;
};

static bool same_what(const struct stat_key *a, const struct stat_key *b)
{
    /* Reads and writes of one register in turn are one storm. */
    return a->reason == b->reason && a->what == b->what && a->size == b->size;
}

static bool same_dev(const char *a, const char *b)
{
    return a && b && !strcmp(a, b);
}

/* Operations of the window, those of different places added up; the caller frees. */
static struct group *groups(const struct trace_stats *t, const struct trace_names *names,
                            size_t *count, uint64_t *all)
{
    struct group *list = xcalloc(t->cells + 1, sizeof *list);
    size_t n = 0, kept = 0;

    *all = 0;
    for (unsigned i = 0; i < t->cells; i++) {
        const struct stat_cell *c = &t->cell[i];
        bool flood = c->key.reason == EXIT_DEVICE ||
                     (c->key.reason == EXIT_KERNEL &&
                      (c->key.what >> 40 == KERNEL_INSN || c->key.what >> 40 == KERNEL_ENTRY));
        uint64_t window = c->count - c->marked;

        if (!window || flood) /* of each there are many without any storm */
            continue;
        list[n] = (struct group){.window = window,
                                 .cell = c,
                                 .cell_window = window,
                                 .host_sum = c->host_sum,
                                 .count = c->count,
                                 .note = stat_is_note(c->key.reason),
                                 .effect = is_effect(&c->key)};
        what_of(&c->key, list[n].g);
        *all += list[n++].note ? 0 : window;
    }
    qsort(list, n, sizeof *list, by_group);
    for (size_t i = 0; i < n; i++) {
        struct group *g = kept ? &list[kept - 1] : NULL;

        if (!g || by_group(g, &list[i])) {
            list[kept++] = list[i];
            continue;
        }
        g->window += list[i].window;
        g->host_sum += list[i].host_sum;
        g->count += list[i].count;
        if (list[i].window > g->cell_window) {
            g->cell_window = list[i].window;
            g->cell = list[i].cell;
        }
    }
    qsort(list, kept, sizeof *list, by_window);
    for (size_t i = 0; i < kept && i < TOP_GROUPS; i++) {
        struct exit_event ev;

        stat_key_event(&list[i].cell->key, &ev);
        list[i].dev = names_dev(names, &ev);
    }
    *count = kept < TOP_GROUPS ? kept : TOP_GROUPS;
    return list;
}

/* The operation, with its device's others and, if it is what makes them come, the ends of
 * interrupts. */
static uint64_t total(const struct group *list, size_t n, const struct group *face, uint64_t ends)
{
    uint64_t sum = 0;

    if (face->effect)
        return ends;
    for (size_t i = 0; i < n; i++)
        if (&list[i] == face ||
            (!list[i].effect && !list[i].note && !face->note && same_dev(list[i].dev, face->dev)))
            sum += list[i].window;
    return sum + (!face->note && face->window * 5 >= ends * 2 ? ends : 0);
}

/* What counts as the storm `s` that is on. */
static bool belongs(const struct storm *s, const struct group *g)
{
    return same_what(&s->key, &g->cell->key) || (s->dev[0] && same_dev(s->dev, g->dev));
}

static void look(const struct trace_stats *t, const struct trace_names *names,
                 const struct storm *present, struct found *f)
{
    uint64_t ends = 0, best = 0;
    const struct group *face = NULL, *given = NULL;
    struct group *list;
    size_t n;

    *f = (struct found){0};
    list = groups(t, names, &n, &f->all);
    for (size_t i = 0; i < n; i++) {
        ends += list[i].effect ? list[i].window : 0;
        if (present && belongs(present, &list[i]))
            f->present += list[i].window;
        if (list[i].cell->key.reason == EXIT_INJECT && !given)
            given = &list[i];
    }
    for (size_t i = 0; i < n; i++) {
        uint64_t sum = total(list, n, &list[i], ends);

        /* What is no exit must be far more common than any exit to be the storm. */
        if (list[i].note)
            sum /= 2;
        if (sum > best || (sum == best && face && face->effect)) {
            best = sum;
            face = &list[i];
        }
    }
    /* Nothing but ends of interrupts: the interrupt itself is the storm. */
    if (face && face->effect && given && given->window * 5 >= ends * 4)
        face = given;
    if (face) {
        f->face = *face;
        f->window = total(list, n, face, ends);
    }
    free(list);
}

/* ---- the sentence ---------------------------------------------------------------------------- */

static void rate_text(double rate, char *dst, size_t cap)
{
    if (rate >= 10000)
        snprintf(dst, cap, "%.0fk/s", rate / 1000);
    else if (rate >= 1000)
        snprintf(dst, cap, "%.1fk/s", rate / 1000);
    else
        snprintf(dst, cap, "%.0f/s", rate);
}

static void name_it(const struct stat_key *k, const struct trace_names *n, struct buf *b)
{
    struct exit_event ev;
    const char *reg;

    stat_key_event(k, &ev);
    reg = names_reg(n, &ev);
    if (k->reason == KVM_EXIT_IO)
        buf_addf(b, "%u-byte %s port 0x%" PRIx64, k->size, k->write ? "writes to" : "reads of",
                 k->what);
    else if (k->reason == KVM_EXIT_MMIO)
        buf_addf(b, "%u-byte %s 0x%" PRIx64, k->size, k->write ? "writes to" : "reads of", k->what);
    else
        table_label(BY_WHAT, k, n, b);
    if (reg && (k->reason == KVM_EXIT_IO || k->reason == KVM_EXIT_MMIO))
        buf_addf(b, " (%s)", reg);
    else if (k->flags & EXIT_F_UNCLAIMED)
        buf_adds(b, " (no device)");
}

static void describe(struct storm *s, const struct trace_stats *t, const struct trace_names *n,
                     const struct found *f, uint64_t window_ns)
{
    const struct group *g = &f->face;
    double seconds = (double)window_ns / 1e9;
    double mean = g->count ? (double)g->host_sum / (double)g->count : 0;
    double busy = (double)f->window * (mean + stat_trip_ns(t)) / (double)window_ns * 100;
    const char *hint = storm_hint(&g->cell->key);
    char rate[24], place[200];
    struct buf b = {0};

    rate_text((double)f->window / seconds, rate, sizeof rate);
    if (!g->note)
        buf_addf(&b,
                 "%.0f%% of exits: ", f->all ? 100.0 * (double)f->window / (double)f->all : 100.0);
    if (!g->note && g->window * 10 < f->window * 9)
        buf_addf(&b, "%.0f%% of them ", 100.0 * (double)g->window / (double)f->window);
    name_it(&g->cell->key, n, &b);
    names_place(n, g->cell->key.rip, g->cell->key.flags & EXIT_F_PAST, place, sizeof place);
    if (place[0])
        buf_addf(&b, " at %s", place);
    else
        buf_addf(&b, " at 0x%" PRIx64, g->cell->key.rip);
    if (g->cell_window * 10 < g->window * 9)
        buf_addf(&b, " (%.0f%% there)", 100.0 * (double)g->cell_window / (double)g->window);
    buf_addf(&b, ", %s", rate);
    if (!g->note)
        buf_addf(&b, ", %.0f%% of time", busy < 100 ? busy : 100);
    if (hint)
        buf_addf(&b, "; %s", hint);
    snprintf(s->text, sizeof s->text, "%s", buf_str(&b));
    buf_fini(&b);
}

/* ---- begin and end --------------------------------------------------------------------------- */

static struct storm *begin(struct storm_watch *w, uint64_t at)
{
    if (w->storms == STORMS_MAX) {
        memmove(w->storm, w->storm + 1, (STORMS_MAX - 1) * sizeof w->storm[0]);
        w->storms--;
    }
    w->seen++;
    w->storm[w->storms] = (struct storm){.begin_ns = at};
    return &w->storm[w->storms++];
}

static bool is_storm(const struct storm_watch *w, uint64_t exits, uint64_t all, uint64_t window_ns,
                     double part)
{
    return (double)exits * 1e9 / (double)window_ns >= w->min_rate * part &&
           (double)exits >= w->min_share * (double)all * part;
}

static bool judge(struct storm_watch *w, const struct trace_stats *t, const struct trace_names *n,
                  uint64_t window_ns, uint64_t now_ns)
{
    struct storm *s =
        w->storms && !w->storm[w->storms - 1].end_ns ? &w->storm[w->storms - 1] : NULL;
    struct found f;
    bool top, fresh = false;
    double rate;

    look(t, n, s, &f);
    top = f.face.cell && is_storm(w, f.window, f.all, window_ns, 1);
    /* It goes on while half of what began it blows, so that two that alternate are not many. */
    if (s && !is_storm(w, f.present, f.all, window_ns, 0.5)) {
        if (!top && ++w->calm < CALM_WINDOWS)
            return false;
        s->end_ns = now_ns - window_ns;
        s = NULL;
    }
    if (!s && !top)
        return false;
    w->calm = 0;
    if (!s) {
        s = begin(w, now_ns - window_ns);
        s->key = f.face.cell->key;
        snprintf(s->dev, sizeof s->dev, "%s", f.face.dev && !f.face.note ? f.face.dev : "");
        f.present = f.window;
        fresh = true;
    }
    s->exits += f.present;
    rate = (double)f.window * 1e9 / (double)window_ns;
    /* The sentence is about its worst moment. */
    if (f.face.cell && (same_what(&s->key, &f.face.cell->key) || same_dev(s->dev, f.face.dev)) &&
        rate > s->peak_rate) {
        s->peak_rate = rate;
        s->key = f.face.cell->key;
        describe(s, t, n, &f, window_ns);
    }
    return fresh;
}

bool storm_window(struct storm_watch *w, struct trace_stats *t, const struct trace_names *n,
                  uint64_t now_ns)
{
    bool fresh = false;

    if (w->window_ns && now_ns > w->window_ns)
        fresh = judge(w, t, n, now_ns - w->window_ns, now_ns);
    w->window_ns = now_ns;
    stat_mark(t);
    return fresh;
}

bool storm_follow(struct storm_watch *w, struct trace_stats *t, const struct trace_names *n,
                  uint64_t at_ns, bool end)
{
    if (!w->window_ns) {
        w->window_ns = at_ns;
        return false;
    }
    if (at_ns <= w->window_ns + (end ? STORM_WINDOW_NS / 10 : STORM_WINDOW_NS / 2))
        return false;
    return storm_window(w, t, n, at_ns);
}

void storm_print(const struct storm_watch *w, uint64_t zero_ns, uint64_t last_ns, struct out *o)
{
    static const char *const columns[] = {"at s", "seconds", "exits", "text", NULL};

    out_records(o, "storms", columns);
    for (unsigned i = 0; i < w->storms; i++) {
        const struct storm *t = &w->storm[i];
        double at = (double)(int64_t)(t->begin_ns - zero_ns) / 1e9;
        double seconds = (double)((t->end_ns ? t->end_ns : last_ns) - t->begin_ns) / 1e9;

        out_row(o);
        out_cell_num(o, at, "%.3f", at);
        out_cell_num(o, seconds, "%.3f", seconds);
        out_cell_u64(o, t->exits);
        out_cell(o, "%s", t->text);
        out_text(o, "at %.3f s for %.1f s, %" PRIu64 " exits: %s", at, seconds, t->exits, t->text);
    }
    out_table_end(o);
    if (!w->storms)
        out_text(o, "No storm: no operation had %.0f exits a second and %.0f%% of all.",
                 w->min_rate, w->min_share * 100);
}
