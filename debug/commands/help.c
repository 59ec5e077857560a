/*
 * Help printed from the command table: help, apropos, info. Main thread.
 */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "debug/commands/commands.h"
#include "vmm/base/x.h"

static const char *const columns[] = {"command", "summary", NULL};

static void summary_row(const struct cmd *r, struct out *o)
{
    out_row(o);
    out_cell(o, "%s%s%s", r->name, *r->usage ? " " : "", r->usage);
    out_cell(o, "%.*s", (int)strcspn(r->help, "\n"), r->help);
}

static void one(const struct cmd *r, struct out *o)
{
    size_t len = strlen(r->name);
    bool parent = false;

    out_text(o, "%s%s%s", r->name, *r->usage ? " " : "", r->usage);
    if (r->alias)
        out_text(o, "also: %s", r->alias);
    out_text(o, "%s", r->help);
    out_json_str(o, "command", r->name);
    out_json_str(o, "usage", r->usage);
    out_json_str(o, "aliases", r->alias ? r->alias : "");
    out_json_str(o, "help", r->help);
    const struct cmd *q;

    for (size_t i = 0; (q = cmd_at(i)); i++) {
        if (strncmp(q->name, r->name, len) || q->name[len] != ' ')
            continue;
        if (!parent)
            out_table(o, "commands", NULL, columns);
        parent = true;
        summary_row(q, o);
    }
    out_table_end(o);
}

static void group(const char *name, struct out *o)
{
    out_text(o, "%s", name);
    out_table(o, name, NULL, columns);
    const struct cmd *r;

    for (size_t i = 0; (r = cmd_at(i)); i++) {
        if (!strcmp(r->group, name))
            summary_row(r, o);
    }
    out_table_end(o);
}

static void everything(struct out *o)
{
    const char *last = "";

    const struct cmd *r;

    for (size_t i = 0; (r = cmd_at(i)); i++) {
        if (!strcmp(r->group, last))
            continue;
        if (*last)
            out_text(o, "%s", "");
        group(r->group, o);
        last = r->group;
    }
    out_text(o, "\n`help COMMAND` says more; names may be cut while they are unambiguous; an empty "
                "line repeats a step.");
}

/* Help of one command, of a group, or (empty) the list; used by `help` and the man page. False
 * with an error in `o` for an unknown name. */
static bool cmd_help(const char *name, struct out *o)
{
    const struct cmd *row;
    const char *p = name;
    struct err e = {0};

    if (!*cmd_blanks(name)) {
        everything(o);
        return true;
    }
    const struct cmd *r;

    for (size_t i = 0; (r = cmd_at(i)); i++) {
        if (!strcasecmp(r->group, name)) {
            group(r->group, o);
            return true;
        }
    }
    row = cmd_find(&p, &e);
    if (!row) {
        cmd_fail(o, &e);
        return false;
    }
    one(row, o);
    return true;
}

int cmd_help_run(struct cmd_client *c, const char *args, struct out *o)
{
    static const char *const kinds[] = {"kind", "meaning", NULL};

    (void)c;
    if (!cmd_help(args, o))
        return -ENOENT;
    if (!strcmp(args, "catch")) {
        out_table(o, "kinds", NULL, kinds);
        for (unsigned i = 0; exit_kind_at(i); i++) {
            out_row(o);
            out_cell(o, "%s", exit_kind_at(i)->name);
            out_cell(o, "%s", exit_kind_at(i)->help);
        }
        out_table_end(o);
    }
    return 0;
}

int cmd_apropos_run(struct cmd_client *c, const char *args, struct out *o)
{
    (void)c;
    if (!*args) {
        out_error(o, "a word to search for is missing, as in `apropos break`");
        return -EINVAL;
    }
    out_table(o, "commands", "No command speaks of that.", columns);
    const struct cmd *r;

    for (size_t i = 0; (r = cmd_at(i)); i++) {
        if (strcasestr(r->name, args) || strcasestr(r->help, args))
            summary_row(r, o);
    }
    out_table_end(o);
    return 0;
}

/* `info` alone, or with a word that is none of its commands. */
int cmd_info_run(struct cmd_client *c, const char *args, struct out *o)
{
    (void)c;
    if (*args) {
        out_error(o, "there is no `info %s`: `help info` lists what there is", args);
        return -EINVAL;
    }
    return cmd_help("info", o) ? 0 : -EINVAL;
}

char *cmd_complete_command(struct cmd_client *c, const char *args, size_t n)
{
    return cmd_complete(c, args, n);
}
