/*
 * Finds the row for a line, checks what it needs, runs it, and keeps what waits for a stop.
 * Called by every front end; main thread. Never prints.
 */
#include "debug/cmd.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "debug/commands/commands.h"
#include "vmm/base/near.h"
#include "vmm/base/x.h"

#define NAME_CAP 48
/* `source` within `source`; also the lines one stop may run before the loop gets its turn. */
#define WAITING_MAX 100000u

struct cmd_state *cmd_state(struct cmd_client *c)
{
    if (!c->state) {
        c->state = xcalloc(1, sizeof *c->state);
        c->state->waiting_end = &c->state->waiting;
    }
    return c->state;
}

static struct waiting *waiting_take(struct cmd_state *st)
{
    struct waiting *w = st->waiting;

    if (w) {
        st->waiting = w->next;
        if (!st->waiting)
            st->waiting_end = &st->waiting;
    }
    return w;
}

static void waiting_free(struct waiting *w)
{
    if (w) {
        free(w->line);
        free(w->file);
        free(w);
    }
}

static void waiting_drop(struct cmd_state *st)
{
    struct waiting *w;

    while ((w = waiting_take(st)))
        waiting_free(w);
}

void cmd_client_fini(struct cmd_client *c)
{
    struct cmd_state *st = c->state;

    if (!st)
        return;
    waiting_drop(st);
    cmd_collect_drop(st);
    free(st->last_args);
    free(st->value);
    for (size_t i = 0; i < st->vars; i++)
        free(st->var[i].name);
    free(st->var);
    for (size_t i = 0; i < st->displays; i++)
        free(st->display[i].expr);
    free(st->display);
    free(st);
    c->state = NULL;
}

/* ---- the rows ---------------------------------------------------------------------------------
 */

#define ADDED_MAX 256u

/* Rows have no owner but their clients, and completion knows none: one list for the program. */
static const struct cmd_added *added[ADDED_MAX];
static size_t added_count;

const struct cmd *cmd_at(size_t i)
{
    static size_t fixed;

    while (!fixed || cmd_table[fixed].name)
        fixed++;
    if (i < fixed)
        return &cmd_table[i];
    return i - fixed < added_count ? &added[i - fixed]->row : NULL;
}

int cmd_add(const struct cmd_added *row, struct err *e)
{
    const struct cmd *r;

    for (size_t i = 0; (r = cmd_at(i)); i++)
        if (!strcmp(r->name, row->row.name))
            return err_set(e, EEXIST, "there is a command `%s` already", row->row.name);
    if (added_count == ADDED_MAX)
        return err_set(e, ENOSPC, "no more than %u commands can be added", ADDED_MAX);
    added[added_count++] = row;
    return 0;
}

void cmd_remove(const struct cmd_added *row)
{
    for (size_t i = 0; i < added_count; i++) {
        if (added[i] != row)
            continue;
        memmove(&added[i], &added[i + 1], (added_count - i - 1) * sizeof added[0]);
        added_count--;
        return;
    }
}

/* ---- finding the row ------------------------------------------------------------------------ */

static bool is_name_char(char ch)
{
    return isalnum((unsigned char)ch) || ch == '-' || ch == '_';
}

static size_t name_len(const char *p)
{
    size_t n = 0;

    while (is_name_char(p[n]))
        n++;
    return n;
}

/* The word of `name` behind the words in `path`, and its length; NULL when the name has none or
 * begins with other words. */
static const char *next_word(const char *name, const char *path, size_t *len)
{
    size_t n = strlen(path);

    if (strncmp(name, path, n) || (n && name[n] != ' '))
        return NULL;
    name += n ? n + 1 : 0;
    *len = strcspn(name, " ");
    return *len ? name : NULL;
}

static bool has_alias(const struct cmd *row, const char *word, size_t len)
{
    const char *a = row->alias;

    while (a && *a) {
        size_t n = strcspn(a, " ");

        if (n == len && !strncmp(a, word, n))
            return true;
        a += n;
        a += *a == ' ';
    }
    return false;
}

static const struct cmd *row_named(const char *name)
{
    const struct cmd *r;

    for (size_t i = 0; (r = cmd_at(i)); i++) {
        if (!strcmp(r->name, name))
            return r;
    }
    return NULL;
}

enum match { MATCH_NONE, MATCH_ONE, MATCH_MANY };

/* Chooses the word that continues `path` and is meant by word[0..len): the exact one, an alias, or
 * the only one it begins. `path` gets it appended; `list` gets the choices of MATCH_MANY. */
static enum match match_word(char path[NAME_CAP], const char *word, size_t len, struct buf *list)
{
    const char *best = NULL;
    size_t best_len = 0, n, have = strlen(path);
    bool many = false;

    const struct cmd *r;

    for (size_t i = 0; (r = cmd_at(i)); i++) {
        const char *w = next_word(r->name, path, &n);

        if (!w)
            continue;
        if ((n == len && !strncmp(w, word, len)) || (!w[n] && has_alias(r, word, len))) {
            best = w;
            best_len = n;
            many = false;
            break;
        }
        if (n < len || strncmp(w, word, len) || (best && n == best_len && !strncmp(best, w, n)))
            continue;
        many |= best != NULL;
        best = w;
        best_len = n;
        buf_addf(list, "%s%.*s", list->len ? ", " : "", (int)n, w);
    }
    if (!best || many || have + best_len + 2 > NAME_CAP)
        return many ? MATCH_MANY : MATCH_NONE;
    if (have)
        path[have++] = ' ';
    memcpy(path + have, best, best_len);
    path[have + best_len] = 0;
    return MATCH_ONE;
}

static int unknown(const char *word, size_t len, struct err *e)
{
    char name[NAME_CAP];
    struct near near = {.word = name};

    if (!len)
        return err_set(e, EINVAL,
                       "a line begins with the name of a command; to see the value of an "
                       "expression use `print`, for all commands `help`");
    if (len >= sizeof name)
        len = sizeof name - 1;
    memcpy(name, word, len);
    name[len] = 0;
    const struct cmd *r;

    for (size_t i = 0; (r = cmd_at(i)); i++) {
        if (!strchr(r->name, ' '))
            near_offer(&near, r->name);
    }
    if (near.best)
        return err_set(e, EINVAL, "there is no command `%s`: did you mean `%s`?", name, near.best);
    return err_set(e, EINVAL, "there is no command `%s`: `help` lists all", name);
}

const struct cmd *cmd_find(const char **line, struct err *e)
{
    const struct cmd *row = NULL;
    char path[NAME_CAP] = "";
    struct buf list = {0};
    const char *p = cmd_blanks(*line);
    size_t len = name_len(p);

    /* gdb's habit `p$rax`, `p*addr`, `x/4i`: the name ends where its letters end. */
    while ((len = name_len(p)) || !row) {
        enum match m;

        buf_clear(&list);
        m = len ? match_word(path, p, len, &list) : MATCH_NONE;
        if (m == MATCH_MANY) {
            err_set(e, EINVAL, "`%s%s%.*s` is ambiguous: %s", path, *path ? " " : "", (int)len, p,
                    buf_str(&list));
            row = NULL;
            break;
        }
        if (m == MATCH_NONE) {
            if (!row)
                unknown(p, len, e);
            break;
        }
        row = row_named(path);
        BUG_ON(!row);
        p += len;
        *line = p = cmd_blanks(p);
    }
    buf_fini(&list);
    return row;
}

/* ---- running -------------------------------------------------------------------------------- */

int cmd_need_stopped(struct cmd_client *c, struct out *o)
{
    if (!c->s) {
        out_error(o, "no guest is open: start vmscope with the file of one");
        return -ENODEV;
    }
    if (session_state(c->s) == SS_RUNNING) {
        out_error(o, "the guest is running: stop it first (`stop`, or Ctrl-C)");
        return -EBUSY;
    }
    return 0;
}

static int run_added(const struct cmd_added *a, struct cmd_client *c, const char *args,
                     struct out *o)
{
    return a->run(a->arg, c, args, o);
}

static int run_row(struct cmd_client *c, const struct cmd *row, const char *args, struct out *o)
{
    int r;

    if (!(row->flags & CMD_NO_SESSION) && !c->s) {
        out_error(o, "`%s` needs a guest, and none is open: start vmscope with the file of one",
                  row->name);
        return -ENODEV;
    }
    if ((row->flags & CMD_STOPPED) && c->s) {
        r = cmd_need_stopped(c, o);
        if (r)
            return r;
    }
    r = row->run ? row->run(c, args, o) : run_added((const struct cmd_added *)row, c, args, o);
    if (o->table)
        out_table_end(o);
    return r;
}

static void remember(struct cmd_state *st, const struct cmd *row, const char *args)
{
    char *copy = row->flags & CMD_REPEAT ? xstrdup(row->flags & CMD_GO_ON ? "" : args) : NULL;

    free(st->last_args); /* only now: `args` may be it */
    st->last_args = copy;
    st->last = copy ? row : NULL;
}

static int exec_line(struct cmd_client *c, const char *line, struct out *o)
{
    struct cmd_state *st = cmd_state(c);
    const char *p = cmd_blanks(line);
    const struct cmd *row;
    struct err e = {0};
    char *args;
    int r;

    if (*p == '#')
        return 0;
    if (strlen(p) > CMD_LINE_MAX) {
        out_error(o, "the line is longer than %u characters", CMD_LINE_MAX);
        return -E2BIG;
    }
    if (st->collecting)
        return cmd_collect_line(c, line, o);
    if (!*p) {
        if (!st->last)
            return 0;
        row = st->last;
        args = xstrdup(st->last_args);
    } else {
        row = cmd_find(&p, &e);
        if (!row)
            return cmd_fail(o, &e);
        args = cmd_trim_dup(p, strlen(p));
    }
    remember(st, row, args);
    r = run_row(c, row, args, o);
    free(args);
    return r;
}

/* A file that ends between `commands` and `end` is broken: what follows it is not meant for there.
 */
static int check_collected(struct cmd_client *c, const struct waiting *w, struct out *o)
{
    const struct waiting *next = cmd_state(c)->waiting;

    if (!w->file || !cmd_is_collecting(c) || (next && next->file && !strcmp(next->file, w->file)))
        return 0;
    cmd_collect_drop(cmd_state(c));
    out_error(o, "the `end` of `commands` is missing");
    return -EINVAL;
}

/* Runs waiting lines while the guest stands. */
static int run_waiting(struct cmd_client *c, struct out *o)
{
    struct cmd_state *st = cmd_state(c);
    struct waiting *w;
    int r = 0;

    for (unsigned n = 0; !r && !c->quit && st->waiting; n++) {
        if (c->s && session_state(c->s) == SS_RUNNING)
            break;
        if (n >= WAITING_MAX) {
            out_error(o, "more than %u lines ran without the guest: a file that sources itself?",
                      WAITING_MAX);
            r = -ELOOP;
            break;
        }
        w = waiting_take(st);
        /* In a file an empty line is only an empty line. */
        st->of_point = w->of_point;
        r = *cmd_blanks(w->line) ? exec_line(c, w->line, o) : 0;
        st->of_point = false;
        if (!r)
            r = check_collected(c, w, o);
        if (r && w->file)
            out_error_from(o, w->file, w->number);
        /* As in gdb: what a point has to run ends where it sets the guest running. */
        while (w->of_point && st->waiting && st->waiting->of_point &&
               session_state(c->s) == SS_RUNNING)
            waiting_free(waiting_take(st));
        waiting_free(w);
    }
    if (r)
        waiting_drop(st);
    return r;
}

int cmd_exec(struct cmd_client *c, const char *line, struct out *o)
{
    struct cmd_state *st = cmd_state(c);
    int r;

    st->depth++;
    r = exec_line(c, line, o);
    if (!r && st->depth == 1)
        r = run_waiting(c, o);
    st->depth--;
    if (!st->depth)
        out_end(o);
    return r;
}

void cmd_queue(struct cmd_client *c, const char *line, const char *file, unsigned number)
{
    struct cmd_state *st = cmd_state(c);
    struct waiting *w = xcalloc(1, sizeof *w);

    w->line = xstrdup(line);
    w->file = file ? xstrdup(file) : NULL;
    w->number = number;
    *st->waiting_end = w;
    st->waiting_end = &w->next;
}

bool cmd_is_waiting(const struct cmd_client *c)
{
    return c->state && c->state->waiting;
}

/* In front of what waits already. */
static void queue_first(struct cmd_client *c, const char *lines)
{
    struct cmd_state *st = cmd_state(c);
    struct waiting *rest = st->waiting, **rest_end = st->waiting_end;
    unsigned number = 0;

    st->waiting = NULL;
    st->waiting_end = &st->waiting;
    while (*lines) {
        size_t n = strcspn(lines, "\n");
        char *line = cmd_trim_dup(lines, n);
        struct waiting **at = st->waiting_end;

        cmd_queue(c, line, "commands", ++number);
        (*at)->of_point = true;
        free(line);
        lines += n + (lines[n] == '\n');
    }
    *st->waiting_end = rest;
    if (rest)
        st->waiting_end = rest_end;
}

int cmd_stop_commands(struct cmd_client *c, struct out *o, bool *silent)
{
    char *lines = session_take_commands(c->s, silent);

    if (!lines)
        return 0;
    queue_first(c, lines);
    free(lines);
    return o ? run_waiting(c, o) : 0;
}

static void report_position(struct cmd_client *c, const struct stop_info *stop, struct out *o)
{
    const char *file;
    uint64_t pc;
    int line;
    char name[160];
    struct insn *in;

    if (!cmd_pc(c, &pc))
        return;
    symbols_format(session_symbols(c->s), pc, name, sizeof name);
    out_json_str(o, "symbol", name);
    if (symbols_line(session_symbols(c->s), pc, &file, &line)) {
        out_text(o, "%s:%d", file, line);
        out_json_str(o, "file", file);
        out_json_u64(o, "line", (uint64_t)line);
    }
    in = xcalloc(1, sizeof *in);
    out_records(o, "insn", cmd_insn_columns);
    if (session_insn(c->s, stop->vcpu, pc, in))
        cmd_print_insn(c, in, true, false, NULL, o);
    else
        out_text(o, "=> 0x%llx:\tnothing is mapped here", (unsigned long long)pc);
    out_table_end(o);
    free(in);
}

/* As gdb tells it, and then who did it. */
static void report_watch(struct cmd_client *c, const struct stop_info *stop, struct out *o)
{
    const struct point *p = session_point(c->s, stop->point_id);
    enum watch_access access = p ? p->spec.access : WATCH_CHANGE;
    const char *what = stop->access == WATCH_READ    ? "Read"
                       : stop->access == WATCH_WRITE ? "Written"
                                                     : "Read and written";
    unsigned digits = 2 * stop->value_len;
    char name[160], on[32] = "";

    if (session_cpus(c->s) > 1)
        snprintf(on, sizeof on, " on vCPU %u", stop->vcpu);
    out_text(o, "%s %d: %s",
             access == WATCH_READ     ? "Hardware read watchpoint"
             : access == WATCH_ACCESS ? "Hardware access (read/write) watchpoint"
                                      : "Hardware watchpoint",
             stop->point_id, p && p->spec.location ? p->spec.location : "");
    out_text(o, "%s", "");
    if (stop->access == WATCH_READ || stop->old_value == stop->new_value) {
        out_text(o, "Value = 0x%0*llx", (int)digits, (unsigned long long)stop->new_value);
    } else {
        out_text(o, "Old value = 0x%0*llx", (int)digits, (unsigned long long)stop->old_value);
        out_text(o, "New value = 0x%0*llx", (int)digits, (unsigned long long)stop->new_value);
    }
    if (stop->device)
        out_text(o, "%s at 0x%llx by device %s (DMA)", what, (unsigned long long)stop->addr,
                 stop->device);
    else if (stop->by)
        out_text(o, "%s at 0x%llx by 0x%llx%s%s", what, (unsigned long long)stop->addr,
                 (unsigned long long)stop->by, cmd_symbol(c, stop->by, name, sizeof name), on);
    if (stop->others)
        out_text(o, "At once: %s", stop->text + stop->others);
    out_json_hex(o, "address", stop->addr);
    out_json_hex(o, "old", stop->old_value);
    out_json_hex(o, "new", stop->new_value);
    out_json_hex(o, "by", stop->by);
    if (stop->device)
        out_json_str(o, "device", stop->device);
}

static void tell_stop(struct cmd_client *c, const struct stop_info *stop, struct out *o)
{
    if (stop->kind == STOP_WATCHPOINT)
        report_watch(c, stop, o);
    else
        out_text(o, "%s", stop->text[0] ? stop->text : stop_kind_name(stop->kind));
    out_json_str(o, "reason", stop_kind_name(stop->kind));
    out_json_str(o, "sentence", stop->text);
    out_json_u64(o, "vcpu", stop->vcpu);
    out_json_hex(o, "rip", stop->rip);
    if (stop->point_id > 0)
        out_json_u64(o, "point", (uint64_t)stop->point_id);
    report_position(c, stop, o);
    cmd_displays(c, o);
}

int cmd_report_stop(struct cmd_client *c, struct out *o)
{
    const struct stop_info *stop = c->s ? session_last_stop(c->s) : NULL;
    bool silent = false;
    int r = 0;

    if (stop && session_state(c->s) != SS_RUNNING) {
        cmd_stop_commands(c, NULL, &silent);
        if (!silent)
            tell_stop(c, stop, o);
        r = run_waiting(c, o);
    }
    out_end(o);
    return r;
}

/* ---- completion ------------------------------------------------------------------------------ */

/* The n-th distinct word that continues `path` and begins with the partial word. */
static const char *nth_word(const char *path, const char *part, size_t part_len, size_t *n,
                            size_t *len)
{
    const struct cmd *r;

    for (size_t i = 0; (r = cmd_at(i)); i++) {
        const char *w = next_word(r->name, path, len);
        bool seen = false;

        if (!w || *len < part_len || strncmp(w, part, part_len))
            continue;
        for (size_t j = 0; j < i && !seen; j++) {
            size_t other;
            const char *v = next_word(cmd_at(j)->name, path, &other);

            seen = v && other == *len && !strncmp(v, w, other);
        }
        if (!seen && !(*n)--)
            return w;
    }
    return NULL;
}

static char *complete_args(struct cmd_client *c, const struct cmd *row, const char *args, size_t n)
{
    const struct cmd_added *a = (const struct cmd_added *)row;

    if (row->run)
        return row->complete ? row->complete(c, args, n) : NULL;
    return a->complete ? a->complete(a->arg, args, n) : NULL;
}

char *cmd_complete(struct cmd_client *c, const char *line, size_t n)
{
    const struct cmd *row = NULL;
    char path[NAME_CAP] = "", *tail, *whole;
    const char *p = cmd_blanks(line), *w;
    struct buf list = {0};
    size_t len, word_len;

    while ((len = name_len(p)) && (p[len] == ' ' || p[len] == '\t')) {
        if (match_word(path, p, len, &list) != MATCH_ONE)
            break;
        row = row_named(path);
        p = cmd_blanks(p + len);
    }
    buf_fini(&list);
    if (!p[len = name_len(p)]) {
        w = nth_word(path, p, len, &n, &word_len);
        if (w)
            return xasprintf("%.*s%.*s", (int)(p - line), line, (int)word_len, w);
    }
    if (!row)
        return NULL;
    tail = complete_args(c, row, p, n);
    if (!tail)
        return NULL;
    whole = xasprintf("%.*s%s", (int)(p - line), line, tail);
    free(tail);
    return whole;
}
