/*
 * backtrace: frames found by unwind.c, in gdb's look. Main thread.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "debug/commands/commands.h"
#include "debug/symbols/unwind.h"
#include "vmm/base/x.h"

#define FRAMES_MAX 200u

static void print_frame(struct cmd_client *c, size_t n, const struct unwind_frame *f, struct out *o)
{
    const struct symbols *t = session_symbols(c->s);
    const struct symbol *s = symbols_lookup(t, f->symbol_pc);
    const char *name = s ? s->name : "??", *file;
    int line;

    out_row(o);
    out_cell_u64(o, n);
    out_cell_hex(o, f->pc);
    out_cell_hex(o, f->sp);
    out_cell(o, "%s", s ? s->name : "");
    out_cell_u64(o, s ? f->pc - s->addr : 0);
    out_cell(o, "%s", unwind_how_name(f->how));
    if (symbols_line(t, f->symbol_pc, &file, &line)) {
        out_cell(o, "%s:%d", file, line);
        out_text(o, "#%-3zu 0x%016" PRIx64 " in %s () at %s:%d", n, f->pc, name, file, line);
    } else {
        out_text(o, "#%-3zu 0x%016" PRIx64 " in %s ()", n, f->pc, name);
    }
}

int cmd_backtrace_run(struct cmd_client *c, const char *args, struct out *o)
{
    static const char *const columns[] = {"frame",  "pc",  "sp",   "symbol",
                                          "offset", "how", "line", NULL};
    struct unwind_frame *frames;
    char end[160];
    uint64_t max;
    size_t n;

    if (cmd_count(c, args, FRAMES_MAX, &max, o))
        return -EINVAL;
    if (max > FRAMES_MAX)
        max = FRAMES_MAX;
    frames = xcalloc(max, sizeof *frames);
    n = session_backtrace(c->s, session_focus(c->s), frames, max, end);
    out_records(o, "frames", columns);
    for (size_t i = 0; i < n; i++)
        print_frame(c, i, &frames[i], o);
    out_table_end(o);
    free(frames);
    if (!n) {
        out_error(o, "the registers of vCPU %u cannot be read now", session_focus(c->s));
        return -EBUSY;
    }
    if (n == max)
        out_text(o, "(More stack frames follow...)");
    else if (end[0])
        out_text(o, "The trace ends here: %s.", end);
    out_json_str(o, "end", n == max ? "" : end);
    return 0;
}
