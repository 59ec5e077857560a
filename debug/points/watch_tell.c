/*
 * What a watchpoint covers, in words for people. Called by session_points.c; main thread, with the
 * vCPUs parked.
 */
#include "debug/points/points.h"
#include "debug/points/watch.h"
#include "debug/points/watch_pages.h"

/* Why a page is stepped. */
enum slow { SLOW_TABLE, SLOW_STACK, SLOW_SYSTEM, SLOW_TROUBLE, SLOW_METHOD, SLOWS };

static enum slow why_slow(const struct watch_page *p)
{
    return p->is_table    ? SLOW_TABLE
           : p->is_stack  ? SLOW_STACK
           : p->is_system ? SLOW_SYSTEM
           : p->troubled  ? SLOW_TROUBLE
                          : SLOW_METHOD;
}

struct sums {
    unsigned by[WATCH_HOWS], slow[SLOWS], missing;
};

static struct sums count(const struct watches *w, const struct bp *b)
{
    struct sums n = {.missing = 0};

    for (unsigned i = 0; i < b->watch.pages; i++) {
        const struct watch_page *p = watch_page_at(w, b->watch.gpa[i]);

        if (!p) {
            n.missing++;
            continue;
        }
        n.by[p->how]++;
        if (p->how == WATCH_STEPS)
            n.slow[why_slow(p)]++;
    }
    return n;
}

/* "3 pages: 2 by read-only page, 1 by single steps, comparing (a stack)". */
static void tell_pages(const struct watches *w, const struct bp *b, struct buf *out)
{
    static const char *const reasons[SLOWS] = {
        [SLOW_TABLE] = "in use as page table",
        [SLOW_STACK] = "in use as stack",
        [SLOW_SYSTEM] = "in use as a table of the processor",
        [SLOW_TROUBLE] = "its trap was in the way too often",
        [SLOW_METHOD] = "no trap to be had",
    };
    struct sums n = count(w, b);
    const char *sep = ":";

    buf_addf(out, "%u page%s", b->watch.pages, b->watch.pages == 1 ? "" : "s");
    for (unsigned how = 0; how < WATCH_HOWS; how++) {
        if (!n.by[how])
            continue;
        if (n.by[how] == b->watch.pages)
            buf_addf(out, " by %s", watch_how_name(how));
        else
            buf_addf(out, "%s %u by %s", sep, n.by[how], watch_how_name(how));
        sep = ",";
        for (unsigned i = 0; how == WATCH_STEPS && i < SLOWS; i++)
            if (n.slow[i])
                buf_addf(out, " (%s)", reasons[i]);
    }
    if (n.missing == b->watch.pages)
        buf_adds(out, " not mapped yet");
    else if (n.missing)
        buf_addf(out, "%s %u not mapped yet", sep, n.missing);
}

void watch_coverage(const struct watches *w, const struct bp *b, struct buf *out)
{
    const char *sep = "debug registers ";

    if (b->method != BP_WATCH)
        return;
    if (!b->watch.drs) {
        tell_pages(w, b, out);
        return;
    }
    for (unsigned i = 0; i < 4; i++) {
        if (!(b->watch.drs >> i & 1))
            continue;
        buf_addf(out, "%sDR%u", sep, i);
        sep = ", ";
    }
}
