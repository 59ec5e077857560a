/*
 * What a point does when it is hit: the words behind `do`, shared by break, watch, catch and trace.
 * Main thread.
 */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "debug/commands/commands.h"
#include "vmm/base/x.h"

static const char *const words[] = {
    [DO_STOP] = "stop", [DO_LOG] = "log", [DO_COUNT] = "count", [DO_SCRIPT] = "script"};

#define WHAT "stop, log [\"FORMAT\", EXPR…], count or script FUNCTION"

/* The first `do` between blanks, outside quotes and parentheses. */
static char *find_do(char *line)
{
    const char *p = line;

    while (*(p = cmd_scan(p, 'd'))) {
        if ((p == line || isspace((unsigned char)p[-1])) && p[1] == 'o' &&
            (!p[2] || isspace((unsigned char)p[2])))
            return line + (p - line);
        p++;
    }
    return NULL;
}

int cmd_action_take(char *line, struct cmd_action *a, struct err *e)
{
    char *at = find_do(line);
    const char *rest = at ? at + 2 : "";
    char word[40];

    *a = (struct cmd_action){.kind = DO_STOP};
    if (!at)
        return 0;
    *at = 0;
    if (!cmd_word(&rest, word, sizeof word))
        return err_set(e, EINVAL, "behind `do` must stand " WHAT);
    while (a->kind <= DO_SCRIPT && strcmp(word, words[a->kind]))
        a->kind++;
    if (a->kind > DO_SCRIPT)
        return err_set(e, EINVAL, "a point cannot do `%s`: behind `do` must stand " WHAT, word);
    if (a->kind == DO_SCRIPT && !*rest)
        return err_set(
            e, EINVAL,
            "behind `do script` must stand a function: the name of one of a script's, or "
            "`function(e) … end`");
    if ((a->kind == DO_STOP || a->kind == DO_COUNT) && *rest)
        return err_set(e, EINVAL, "nothing may stand behind `do %s`, not `%.40s`", word, rest);
    a->text = *rest ? xstrdup(rest) : NULL;
    return 0;
}

void cmd_action_fini(struct cmd_action *a)
{
    free(a->text);
    a->text = NULL;
}

const char *cmd_action_name(enum point_do kind)
{
    return words[kind];
}

int cmd_point_add(struct cmd_client *c, struct point_spec *spec, const struct cmd_action *a,
                  struct err *e)
{
    const struct cmd_scripts *scripts = session_scripts(c->s);
    void *fn_arg = NULL;
    int id;

    spec->action = a->kind;
    spec->action_text = a->text;
    if (a->kind == DO_SCRIPT && !scripts)
        return err_set(e, ENOSYS, "scripts are not available here: no script host is open");
    if (a->kind == DO_SCRIPT && scripts->point(scripts->arg, a->text, &spec->hit, &fn_arg, e))
        return -EINVAL;
    if (fn_arg)
        spec->hit_arg = fn_arg;
    id = session_point_add(c->s, spec, e);
    if (fn_arg)
        scripts->pointed(scripts->arg, fn_arg, id);
    if (id > 0)
        cmd_var_set(c, "bpnum", (uint64_t)id);
    return id;
}
