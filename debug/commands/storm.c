/*
 * `storm`: which operation floods the guest with exits, now and before. Main thread.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "debug/commands/commands.h"
#include "debug/trace/tracer.h"
#include "vmm/base/clock.h"
#include "vmm/base/x.h"

static int set(struct tracer *t, const struct storm_watch *w, const char *args, struct out *o)
{
    double rate = w->min_rate, share = w->min_share, v;
    char word[40], *end;

    while (*args) {
        bool is_rate = cmd_keyword(&args, "rate");

        if (!is_rate && !cmd_keyword(&args, "share")) {
            out_error(o, "`storm` takes `rate N` (exits a second) and `share PERCENT`, not `%.60s`",
                      args);
            return -EINVAL;
        }
        if (!cmd_word(&args, word, sizeof word) || (v = strtod(word, &end), *end) || !(v > 0) ||
            v > (is_rate ? 1e9 : 100)) {
            out_error(o, "behind `%s` stands a number above 0%s", is_rate ? "rate" : "share",
                      is_rate ? "" : " and up to 100");
            return -EINVAL;
        }
        *(is_rate ? &rate : &share) = is_rate ? v : v / 100;
    }
    tracer_storm_limits(t, rate, share);
    out_line(o, "A storm is one operation with %.0f exits a second or more and %.0f%% of all.",
             rate, share * 100);
    return 0;
}

int cmd_storm_run(struct cmd_client *c, const char *args, struct out *o)
{
    static const char *const columns[] = {"ms ago", "ms", "exits", "peak_rate", "on", "text", NULL};
    struct tracer *t = session_tracer(c->s);
    struct storm_watch *w = xcalloc(1, sizeof *w);
    uint64_t now = clock_ns();
    int rc = 0;

    tracer_storms(t, w);
    if (*args) {
        rc = set(t, w, args, o);
        free(w);
        return rc;
    }
    out_records(o, "storms", columns);
    for (unsigned i = 0; i < w->storms; i++) {
        const struct storm *s = &w->storm[i];
        bool on = !s->end_ns && session_state(c->s) == SS_RUNNING;
        uint64_t end = s->end_ns ? s->end_ns : w->window_ns;

        out_row(o);
        out_cell_u64(o, (now - s->begin_ns) / 1000000);
        out_cell_u64(o, (end - s->begin_ns) / 1000000);
        out_cell_u64(o, s->exits);
        out_cell_num(o, s->peak_rate, "%.0f", s->peak_rate);
        out_cell_bool(o, on);
        out_cell(o, "%s", s->text);
        out_text(o, "%s%.1f s, %" PRIu64 " exits: %s", on ? "now, for " : "",
                 (double)(end - s->begin_ns) / 1e9, s->exits, s->text);
    }
    out_table_end(o);
    if (!w->storms)
        out_text(o, "No storm so far: no operation had %.0f exits a second and %.0f%% of all.",
                 w->min_rate, w->min_share * 100);
    free(w);
    return 0;
}
