/*
 * The table of the scripting interface as files: annotations that editors read (LuaLS), and the
 * reference in docs/lua.md. Any thread.
 */
#include <stdio.h>
#include <string.h>

#include "scripts/lua_int.h"

/* One line of d->types behind *p, which is moved; false past the end. */
static bool next_type(const char **p, const char **line, size_t *len)
{
    if (!**p)
        return false;
    *line = *p;
    *len = strcspn(*p, "\n");
    *p += *len + ((*p)[*len] == '\n');
    return true;
}

static bool begins(const char *line, size_t len, const char *word)
{
    size_t n = strlen(word);

    return len > n && !strncmp(line, word, n) && line[n] == ' ';
}

/* "param fn fun(e: event)": the name and the type. */
static void param_of(const char *line, size_t len, char name[32], const char **type,
                     size_t *type_len)
{
    const char *p = line + strlen("param "), *end = line + len;
    size_t n = strcspn(p, " ");

    snprintf(name, 32, "%.*s", (int)n, p);
    *type = p + n + 1;
    *type_len = (size_t)(end - *type);
}

static bool is_function(const struct lua_doc *d)
{
    return strchr(d->name, '.') && strpbrk(d->form, "({") && strcmp(d->name, "vm.phys");
}

/* ---- annotations -------------------------------------------------------------------------------
 */

static void add_help(const char *help, struct buf *out)
{
    while (*help) {
        size_t n = strcspn(help, "\n");

        buf_addf(out, "---%.*s\n", (int)n, help);
        help += n + (help[n] == '\n');
    }
}

/* A class of its own: "class event" and the fields behind it. */
static void add_class(const struct lua_doc *d, struct buf *out)
{
    const char *p = d->types, *line;
    size_t len;

    if (!is_function(d))
        add_help(d->help, out);
    while (next_type(&p, &line, &len))
        if (begins(line, len, "class") || begins(line, len, "field"))
            buf_addf(out, "---@%.*s\n", (int)len, line);
    buf_adds(out, "\n");
}

/* vm.f(x) and vm:f(x) are the same. */
static void add_overload(const struct lua_doc *d, struct buf *out)
{
    const char *p = d->types, *line, *type, *between = "";
    size_t len, type_len;
    char name[32];

    buf_addf(out, "---@overload fun(self: %.*s", (int)strcspn(d->name, "."), d->name);
    while (next_type(&p, &line, &len)) {
        if (!begins(line, len, "param"))
            continue;
        param_of(line, len, name, &type, &type_len);
        if (!strcmp(name, "..."))
            buf_addf(out, ", ...: %.*s", (int)type_len, type);
        else
            buf_addf(out, ", %s: %.*s", name, (int)type_len, type);
    }
    buf_adds(out, ")");
    p = d->types;
    while (next_type(&p, &line, &len)) {
        if (!begins(line, len, "return"))
            continue;
        buf_addf(out, "%s%.*s", *between ? between : ": ", (int)(len - 7), line + 7);
        between = ", ";
    }
    buf_adds(out, "\n");
}

static void add_function(const struct lua_doc *d, struct buf *out)
{
    const char *p = d->types, *line, *type, *between = "";
    struct buf names = {0};
    size_t len, type_len;
    char name[32];

    add_help(d->help, out);
    while (next_type(&p, &line, &len)) {
        if (begins(line, len, "param")) {
            param_of(line, len, name, &type, &type_len);
            buf_addf(&names, "%s%s", between, name);
            between = ", ";
        }
        if (begins(line, len, "param") || begins(line, len, "return") ||
            begins(line, len, "overload"))
            buf_addf(out, "---@%.*s\n", (int)len, line);
    }
    add_overload(d, out);
    buf_addf(out, "function %s(%s) end\n\n", d->name, buf_str(&names));
    buf_fini(&names);
}

void scripts_types(struct buf *out)
{
    buf_adds(out, "---@meta\n"
                  "-- What vmscope's scripts see, for editors that understand LuaLS annotations.\n"
                  "-- Printed by `vmscope --dump-lua types`.\n\n");
    for (const struct lua_doc *d = lua_docs; d->name; d++)
        if (!strncmp(d->types, "class ", 6))
            add_class(d, out);
    buf_adds(out, "---@class vm\n");
    for (const struct lua_doc *d = lua_docs; d->name; d++)
        if (!is_function(d) && !strncmp(d->types, "field ", 6)) {
            const char *p = d->types, *line;
            size_t len;

            while (next_type(&p, &line, &len))
                buf_addf(out, "---@%.*s\n", (int)len, line);
        }
    buf_adds(out, "vm = {}\n\n---@class tui\ntui = {}\n\n");
    for (const struct lua_doc *d = lua_docs; d->name; d++)
        if (is_function(d))
            add_function(d, out);
}

/* ---- reference ---------------------------------------------------------------------------------
 */

static void add_types(const struct lua_doc *d, struct buf *out)
{
    const char *p = d->types, *line, *type;
    size_t len, type_len;
    char name[32];
    bool any = false;

    while (next_type(&p, &line, &len)) {
        if (begins(line, len, "param") || begins(line, len, "field")) {
            param_of(line, len, name, &type, &type_len);
            buf_addf(out, "- `%s`: `%.*s`\n", name, (int)type_len, type);
        } else if (begins(line, len, "return")) {
            buf_addf(out, "- returns `%.*s`\n", (int)(len - 7), line + 7);
        } else {
            continue;
        }
        any = true;
    }
    if (any)
        buf_adds(out, "\n");
}

void scripts_reference(struct buf *out)
{
    for (const struct lua_doc *d = lua_docs; d->name; d++) {
        buf_addf(out, "### %s\n\n`%s`\n\n%s\n\n", d->name, d->form, d->help);
        add_types(d, out);
        buf_addf(out, "```lua\n%s\n```\n\n", d->example);
    }
}
