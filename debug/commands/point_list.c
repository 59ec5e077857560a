/*
 * Lists of points. Main thread.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "debug/commands/commands.h"
#include "vmm/base/x.h"

static const char *point_type(const struct point_spec *spec)
{
    if (spec->kind == POINT_BREAK)
        return spec->action == DO_LOG ? "dprintf" : "breakpoint";
    if (spec->kind == POINT_CATCH)
        return "catchpoint";
    return spec->access == WATCH_READ     ? "read watchpoint"
           : spec->access == WATCH_ACCESS ? "acc watchpoint"
           : spec->access == WATCH_WRITE  ? "write watchpoint"
                                          : "watchpoint";
}

/* Names of what a catchpoint waits for, where it is no kind of exit. */
static const char *catch_name(const struct point_spec *spec)
{
    static const char *const names[] = {
        [CATCH_EXCEPTION] = "exception",
        [CATCH_MODE] = "mode",
        [CATCH_CR3] = "cr3",
        [CATCH_CPUID] = "cpuid",
        [CATCH_CONSOLE] = "console",
        [CATCH_RESET] = "reset",
        [CATCH_TRIPLE] = "triple",
        [CATCH_DEBUG_EXIT] = "debug-exit",
    };

    if (spec->catch_what != CATCH_EXIT)
        return names[spec->catch_what];
    return spec->catch_reason_last ? "msr" : exit_kind_name(spec->catch_reason);
}

static void action_cell(const struct point *p, struct out *o)
{
    const struct point_spec *spec = &p->spec;

    if (spec->action == DO_STOP && spec->hit)
        out_cell(o, "script");
    else
        out_cell(o, "%s%s%s", cmd_action_name(spec->action), spec->action_text ? " " : "",
                 spec->action_text ? spec->action_text : "");
}

/* How the bytes of a watchpoint are covered, under its row. */
static void coverage_note(struct cmd_client *c, int id, struct out *o)
{
    struct buf text = {0};

    session_point_coverage(c->s, id, &text);
    if (text.len)
        out_row_note(o, "Coverage", "%s", buf_str(&text));
    buf_fini(&text);
}

static void point_row(struct cmd_client *c, const struct point *p, struct out *o)
{
    char name[200];

    out_row(o);
    out_cell_u64(o, (uint64_t)p->id);
    out_cell(o, "%s", point_type(&p->spec));
    out_cell(o, "%s", p->spec.temporary ? "del" : p->disables ? "dis" : "keep");
    out_cell_bool(o, p->enabled);
    if (p->spec.kind == POINT_CATCH)
        out_cell(o, "%s", catch_name(&p->spec));
    else if (p->pending)
        out_cell(o, "<pending>");
    else
        out_cell(o, "%s0x%016llx", p->spec.space == SPACE_PHYS ? "phys:" : "",
                 (unsigned long long)p->spec.addr);
    cmd_symbol(c, p->spec.addr, name, sizeof name);
    if (p->spec.kind != POINT_BREAK || p->pending || !*name || p->spec.space == SPACE_PHYS)
        out_cell(o, "%s", p->spec.location ? p->spec.location : "");
    else
        out_cell(o, "%s", name + 1);
    out_cell_u64(o, p->hits);
    out_cell(o, "%s", p->method ? p->method : "");
    action_cell(p, o);
    out_cell(o, "%s",
             p->spec.condition      ? p->spec.condition
             : p->spec.catch_filter ? p->spec.catch_filter
                                    : "");
    if (p->spec.vcpu >= 0)
        out_cell(o, "vcpu %d", p->spec.vcpu);
    else
        out_cell(o, "all");
    out_cell_u64(o, p->spec.ignore);
    out_cell_u64(o, p->false_hits);
    if (p->disables && p->enabled && p->stops_left > 1)
        out_row_note(o, NULL, "disable after %llu more stops", (unsigned long long)p->stops_left);
    if (p->commands)
        out_row_note(o, "Commands", "%s", p->commands);
}

/* Besides all: the numbers of enum point_kind. */
enum which { ALL_POINTS, WATCHPOINTS = POINT_WATCH, CATCHPOINTS = POINT_CATCH };

struct wanted {
    int *id;
    size_t ids;
};

static int want(struct cmd_client *c, int id, void *arg)
{
    struct wanted *w = arg;

    if (!session_point(c->s, id))
        return -1;
    w->id = xrealloc(w->id, w->ids + 1, sizeof *w->id);
    w->id[w->ids++] = id;
    return 0;
}

static bool is_wanted(const struct wanted *w, int id)
{
    for (size_t i = 0; i < w->ids; i++)
        if (w->id[i] == id)
            return true;
    return w->ids == 0;
}

static int list_points(struct cmd_client *c, const char *args, enum which which, const char *none,
                       struct out *o)
{
    static const char *const columns[] = {
        "Num", "Type",     "Disp", "Enb",       "Address",    "What",      ">Hits",
        "How", "~stop~Do", "~~If", "~all~Cpus", "~0~>Ignore", "~0~>False", NULL};
    static const char *const keys[] = {"breakpoints", "watchpoints", "catchpoints"};
    struct wanted w = {0};
    int id = 0, r = *args ? cmd_each_point(c, args, o, want, &w) : 0;

    if (!r) {
        out_table(o, keys[which], none, columns);
        for (const struct point *p; (p = session_point_next(c->s, id)); id = p->id)
            if (is_wanted(&w, p->id) && (which == ALL_POINTS || (int)p->spec.kind == (int)which)) {
                point_row(c, p, o);
                if (which == WATCHPOINTS)
                    coverage_note(c, p->id, o);
            }
        out_table_end(o);
    }
    free(w.id);
    return r;
}

int cmd_info_breakpoints_run(struct cmd_client *c, const char *args, struct out *o)
{
    return list_points(c, args, ALL_POINTS,
                       "No breakpoints: `break LOCATION` makes one, `watch` one for data, `catch "
                       "KIND` one for exits.",
                       o);
}

int cmd_info_watchpoints_run(struct cmd_client *c, const char *args, struct out *o)
{
    return list_points(c, args, WATCHPOINTS, "No watchpoints: `watch EXPR` makes one.", o);
}

int cmd_info_catchpoints_run(struct cmd_client *c, const char *args, struct out *o)
{
    return list_points(c, args, CATCHPOINTS,
                       "No catchpoints: `catch KIND` makes one, `trace KIND` one that logs.", o);
}
