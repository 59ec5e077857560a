/*
 * Readings of KVM's counters out of a trace file.
 */
#include "debug/trace/trace_counters.h"

#include <stdlib.h>
#include <string.h>

#include "debug/trace/kvmstats.h"
#include "vmm/base/esc.h"
#include "vmm/base/x.h"

/* A hostile file can ask for no more than 40 MB. */
#define NAMES_MAX  256u
#define POINTS_MAX 20000u

/* The next "name=value" line of *text; false at its end or at something else. */
static bool next_line(char **text, const char **name, uint64_t *value)
{
    char *line = *text, *eq, *end;

    if (!*line)
        return false;
    end = strchr(line, '\n');
    if (end)
        *end = 0;
    *text = end ? end + 1 : line + strlen(line);
    eq = strchr(line, '=');
    if (!eq || eq == line)
        return false;
    *eq = 0;
    *name = line;
    *value = strtoull(eq + 1, NULL, 10);
    return true;
}

/* The first reading says which counters there are. */
static void add_names(struct trace_counters *c, char *text)
{
    const char *name;
    uint64_t value;

    while (c->names < NAMES_MAX && next_line(&text, &name, &value)) {
        c->name = xrealloc(c->name, c->names + 1, sizeof *c->name);
        esc_cut(c->name[c->names++], COUNTER_NAME_BYTES, name, strlen(name));
    }
}

/* Later ones have the same counters in the same order; others are passed over. */
static void add_point(struct trace_counters *c, char *text, uint64_t at_ns, size_t *cap)
{
    uint64_t *row, value;
    const char *name;

    if (c->points == *cap) {
        *cap = *cap ? 2 * *cap : 16;
        c->at_ns = xrealloc(c->at_ns, *cap, sizeof *c->at_ns);
        c->value = xrealloc(c->value, *cap, c->names * sizeof *c->value);
    }
    row = c->value + c->points * c->names;
    memset(row, 0, c->names * sizeof *row);
    for (size_t i = 0; i < c->names && next_line(&text, &name, &value); i++)
        row[i] = value;
    c->at_ns[c->points++] = at_ns;
}

void counters_load(struct trace_counters *c, struct trace_reader *r)
{
    uint64_t at_ns;
    size_t cap = 0;
    char *text;

    *c = (struct trace_counters){0};
    for (unsigned n = 0; n < POINTS_MAX; n++) {
        text = trace_text(r, TRACE_COUNTERS, n, &at_ns);
        if (!text)
            break;
        if (!n) {
            char *copy = xstrdup(text);

            add_names(c, copy);
            free(copy);
        }
        if (c->names && (!c->points || at_ns > c->at_ns[c->points - 1]))
            add_point(c, text, at_ns, &cap);
        free(text);
    }
}

void counters_fini(struct trace_counters *c)
{
    free(c->name);
    free(c->at_ns);
    free(c->value);
    *c = (struct trace_counters){0};
}

uint64_t counters_growth(const struct trace_counters *c, size_t i)
{
    uint64_t first, last;

    if (c->points < 2)
        return 0;
    first = c->value[i];
    last = c->value[(c->points - 1) * c->names + i];
    return last > first ? last - first : 0;
}

void counters_print(const struct trace_counters *c, struct out *o)
{
    static const char *const columns[] = {"counter", ">count", ">per second", "meaning", NULL};
    double seconds = c->points > 1 ? (double)(c->at_ns[c->points - 1] - c->at_ns[0]) / 1e9 : 0;

    out_table(o, "counters",
              c->points ? "No counter of KVM grew while this was recorded."
                        : "The file has no counters: the kernel it was recorded on has none.",
              columns);
    for (size_t i = 0; i < c->names; i++) {
        uint64_t n = counters_growth(c, i);
        double rate = seconds > 0 ? (double)n / seconds : 0;
        const char *help = kvmstats_help(c->name[i]);

        if (!n)
            continue;
        out_row(o);
        out_cell(o, "%s", c->name[i]);
        out_cell_u64(o, n);
        out_cell_num(o, rate, rate < 100 ? "%.1f" : "%.0f", rate);
        out_cell(o, "%s", help ? help : "");
    }
    out_table_end(o);
}
