/*
 * The interface described once: `help lua NAME`, docs/lua.md's reference and the annotation file
 * for editors are printed from these rows, and a test runs every example.
 */
#include <errno.h>
#include <string.h>

#include "debug/out.h"
#include "scripts/lua_int.h"
#include "vmm/base/near.h"

const struct lua_doc lua_docs[] = {
    {NULL, NULL, NULL, NULL, NULL},
};

int docs_help(const char *name, struct out *o)
{
    static const char *const columns[] = {"name", "form", NULL};
    struct near near = {.word = name};

    if (!*name) {
        out_table(o, "api", NULL, columns);
        for (const struct lua_doc *d = lua_docs; d->name; d++) {
            out_row(o);
            out_cell(o, "%s", d->name);
            out_cell(o, "%s", d->form);
        }
        out_table_end(o);
        return 0;
    }
    for (const struct lua_doc *d = lua_docs; d->name; d++) {
        if (!strcmp(d->name, name) || (!strncmp(d->name, "vm.", 3) && !strcmp(d->name + 3, name))) {
            out_text(o, "%s", d->form);
            out_text(o, "%s", d->help);
            out_text(o, "Example:\n%s", d->example);
            out_json_str(o, "name", d->name);
            out_json_str(o, "form", d->form);
            out_json_str(o, "help", d->help);
            out_json_str(o, "example", d->example);
            return 0;
        }
        near_offer(&near, d->name);
    }
    if (near.best)
        out_error(o, "scripts know no `%s`: did you mean `%s`?", name, near.best);
    else
        out_error(o, "scripts know no `%s`: `help lua` lists all", name);
    return -ENOENT;
}

/* vm._docs() -> list of rows, for the tests and the pages made from them */
static int vm_docs(lua_State *L)
{
    lua_Integer n = 0;

    lua_newtable(L);
    for (const struct lua_doc *d = lua_docs; d->name; d++) {
        lua_createtable(L, 0, 5);
        lua_pushstring(L, d->name);
        lua_setfield(L, -2, "name");
        lua_pushstring(L, d->form);
        lua_setfield(L, -2, "form");
        lua_pushstring(L, d->types);
        lua_setfield(L, -2, "types");
        lua_pushstring(L, d->help);
        lua_setfield(L, -2, "help");
        lua_pushstring(L, d->example);
        lua_setfield(L, -2, "example");
        lua_rawseti(L, -2, ++n);
    }
    return 1;
}

void lua_open_docs(lua_State *L)
{
    lua_pushcfunction(L, vm_docs);
    lua_setfield(L, -2, "_docs");
}
