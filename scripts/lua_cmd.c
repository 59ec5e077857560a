/*
 * Commands for scripts, both ways: vm.cmd runs any command and gives its answer as text and as
 * data; vm.command adds one. Main thread.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "debug/out.h"
#include "scripts/lua_int.h"
#include "vmm/base/x.h"

#define OUT_META       "vmscope.out"
#define JSON_BYTES_MAX (16u << 20)
#define COMMANDS_DEEP  16

/* ---- JSON to Lua ---------------------------------------------------------------------------- */

/* A value and all below it; depth is bounded by the parser. */
static void push_value(lua_State *L, const json_t *v)
{
    const char *key;
    json_t *item;
    size_t i;

    luaL_checkstack(L, 4, "JSON");
    switch (json_typeof(v)) {
    case JSON_OBJECT:
        lua_newtable(L);
        json_object_foreach((json_t *)v, key, item)
        {
            lua_pushstring(L, key);
            push_value(L, item);
            lua_rawset(L, -3);
        }
        return;
    case JSON_ARRAY:
        lua_newtable(L);
        json_array_foreach(v, i, item)
        {
            push_value(L, item);
            lua_rawseti(L, -2, (lua_Integer)i + 1);
        }
        return;
    case JSON_STRING:
        lua_pushlstring(L, json_string_value(v), json_string_length(v));
        return;
    case JSON_INTEGER:
        lua_pushinteger(L, json_integer_value(v));
        return;
    case JSON_REAL:
        lua_pushnumber(L, json_real_value(v));
        return;
    case JSON_TRUE:
    case JSON_FALSE:
        lua_pushboolean(L, json_is_true(v));
        return;
    case JSON_NULL:
        lua_pushnil(L);
        return;
    }
}

static int push_in_lua(lua_State *L)
{
    push_value(L, lua_touserdata(L, 1));
    return 1;
}

static int lua_push_json(lua_State *L, const char *text, size_t len, struct err *e)
{
    json_error_t why;
    json_t *root;
    int status;

    if (len > JSON_BYTES_MAX) /* the tree is not counted as Lua's memory */
        return err_set(e, E2BIG, "JSON of more than %u MiB", JSON_BYTES_MAX >> 20);
    root = json_loadb(text, len, JSON_DECODE_ANY | JSON_ALLOW_NUL, &why);
    if (!root)
        return err_set(e, EINVAL, "JSON, byte %d: %s", why.position, why.text);
    /* Protected: memory may run out, and the tree is not Lua's to free. */
    lua_pushcfunction(L, push_in_lua);
    lua_pushlightuserdata(L, root);
    status = lua_pcall(L, 1, 1, 0);
    json_decref(root);
    return status == LUA_OK ? 0 : lua_error(L);
}

/* ---- running commands ----------------------------------------------------------------------- */

static int out_gc(lua_State *L)
{
    out_fini(luaL_checkudata(L, 1, OUT_META));
    return 0;
}

/* vm._cmd(line) -> good, text, data, the guest was set running by a stepping command */
static int vm_cmd(lua_State *L)
{
    struct scripts *h = host_of(L);
    const char *line = luaL_checkstring(L, 1), *p = line;
    struct err e = {0};
    const struct cmd *row = cmd_find(&p, &e);
    bool steps = row && (row->flags & CMD_CONTROL) && strcmp(row->name, "continue") &&
                 strcmp(row->name, "run");
    struct out *o;
    int rc;

    host_need_main(L, "vm.cmd");
    o = lua_newuserdatauv(L, sizeof *o, 0);
    *o = (struct out){0};
    luaL_setmetatable(L, OUT_META);
    host_release(h);
    rc = cmd_exec(&h->own, line, o);
    host_retake(h);
    if (h->own.quit) {
        h->own.quit = false;
        h->quit_asked = true;
        h->quit_status = h->own.quit_status;
        host_ring(h);
    }
    lua_pushboolean(L, rc == 0);
    lua_pushlstring(L, buf_str(&o->text), o->text.len);
    if (lua_push_json(L, buf_str(&o->json), o->json.len, &e))
        lua_newtable(L);
    lua_pushboolean(L, steps && session_state(h->s) == SS_RUNNING);
    out_fini(o);
    *o = (struct out){0};
    return 4;
}

/* vm.json(text) -> value */
static int vm_json(lua_State *L)
{
    struct err e = {0};
    size_t len;
    const char *text;

    host_self(L);
    text = luaL_checklstring(L, 1, &len);
    return lua_push_json(L, text, len, &e) ? host_raise(L, &e) : 1;
}

/* ---- adding commands ------------------------------------------------------------------------ */

struct lua_command {
    struct scripts *h;
    struct cmd_added row;
    int fn, complete; /* registry */
    bool added;
    struct lua_command *next;
};

struct command_call {
    struct lua_command *c;
    const char *args;
    bool failed;
};

static int command_in_lua(lua_State *L)
{
    struct command_call *a = lua_touserdata(L, 1);

    lua_getfield(L, LUA_REGISTRYINDEX, "vm");
    lua_getfield(L, -1, "_run_command");
    lua_rawgeti(L, LUA_REGISTRYINDEX, a->c->fn);
    lua_pushstring(L, a->args);
    a->failed = story_start(a->c->h, L, 2, a->c->row.row.name, NULL)->failed;
    return 0;
}

static int run_command(void *arg, struct cmd_client *client, const char *args, struct out *o)
{
    struct lua_command *c = arg;
    struct scripts *h = c->h;
    struct command_call a = {.c = c, .args = args};
    struct entry in = {.is_main = true};
    struct out *outer = h->out;
    struct quiet quiet;
    char *why;
    bool good;

    (void)client;
    if (h->command_depth >= COMMANDS_DEEP) {
        out_error(o, "commands of scripts run each other %d deep: does %s run itself?",
                  COMMANDS_DEEP, c->row.row.name);
        return -ELOOP;
    }
    h->command_depth++;
    h->out = o;
    host_enter(h, &in, h->L, host_main_ns(h));
    host_quiet(h, &quiet);
    good = host_protect(h, command_in_lua, &a) && !a.failed;
    why = host_loud(h, &quiet);
    if (!good)
        out_error(o, "%s", why ? why : "the command failed");
    free(why);
    host_leave(&in);
    h->out = outer;
    h->command_depth--;
    host_ring(h);
    return good ? 0 : -EINVAL;
}

struct complete_call {
    struct lua_command *c;
    const char *args;
    size_t n;
    char *found; /* malloc'ed */
};

/* complete(before, word) -> list of words; those that begin with the word count. */
static int complete_in_lua(lua_State *L)
{
    struct complete_call *a = lua_touserdata(L, 1);
    size_t len = strlen(a->args), cut = len, left = a->n;

    while (cut && a->args[cut - 1] != ' ')
        cut--;
    lua_rawgeti(L, LUA_REGISTRYINDEX, a->c->complete);
    lua_pushlstring(L, a->args, cut);
    lua_pushstring(L, a->args + cut);
    lua_call(L, 2, 1);
    if (lua_type(L, -1) != LUA_TTABLE)
        return 0;
    for (lua_Integer i = 1; i <= luaL_len(L, 2); i++) {
        size_t n;
        const char *word;

        lua_geti(L, 2, i);
        word = lua_type(L, -1) == LUA_TSTRING ? lua_tolstring(L, -1, &n) : NULL;
        if (word && n < 200 && n >= len - cut && !memcmp(word, a->args + cut, len - cut) &&
            !left--) {
            a->found = xasprintf("%.*s%s", (int)cut, a->args, word);
            return 0;
        }
        lua_pop(L, 1);
    }
    return 0;
}

static char *complete_command(void *arg, const char *args, size_t n)
{
    struct lua_command *c = arg;
    struct scripts *h = c->h;
    struct complete_call a = {.c = c, .args = args, .n = n};
    struct entry in = {.is_main = true};

    if (c->complete == LUA_NOREF || host_is_held(h))
        return NULL;
    host_enter(h, &in, h->call, (uint64_t)h->cfg.hook_ms * 1000000);
    lua_pushcfunction(h->call, complete_in_lua);
    lua_pushlightuserdata(h->call, &a);
    if (host_pcall(h->call, 1, 0) != LUA_OK) {
        host_fail(h, host_error_text(h->call));
        lua_pop(h->call, 1);
    }
    host_leave(&in);
    return a.found;
}

static bool good_name(const char *name)
{
    size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-_");

    return n && n < 32 && !name[n];
}

/* vm.command{name=, usage=, help=, run=function(args, words) … end, complete=function(before, word)
 * … end} */
static int vm_command(lua_State *L)
{
    struct scripts *h = host_of(L);
    const char *name, *usage, *help;
    struct lua_command *c;
    struct err e = {0};
    int fn, complete;

    host_self(L);
    host_need_main(L, "vm.command");
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    lua_getfield(L, 1, "name");
    lua_getfield(L, 1, "usage");
    lua_getfield(L, 1, "help");
    name = luaL_checkstring(L, 2);
    usage = luaL_optstring(L, 3, "");
    help = luaL_optstring(L, 4, "A command of a script.");
    luaL_argcheck(L, good_name(name), 1, "a command's name is of a-z, 0-9, - and _");
    luaL_argcheck(L, lua_getfield(L, 1, "run") == LUA_TFUNCTION, 1, "run is no function");
    fn = luaL_ref(L, LUA_REGISTRYINDEX);
    complete = lua_getfield(L, 1, "complete") == LUA_TFUNCTION ? luaL_ref(L, LUA_REGISTRYINDEX)
                                                               : LUA_NOREF;
    c = xcalloc(1, sizeof *c);
    c->h = h;
    c->fn = fn;
    c->complete = complete;
    c->row.row = (struct cmd){
        .group = "Scripts", .name = xstrdup(name), .usage = xstrdup(usage), .help = xstrdup(help)};
    c->row.run = run_command;
    c->row.complete = complete_command;
    c->row.arg = c;
    c->next = h->commands;
    h->commands = c;
    c->added = cmd_add(&c->row, &e) == 0;
    return c->added ? 0 : host_raise(L, &e);
}

void commands_free(struct scripts *h)
{
    struct lua_command *c;

    while ((c = h->commands)) {
        h->commands = c->next;
        if (c->added)
            cmd_remove(&c->row);
        free((char *)(uintptr_t)c->row.row.name);
        free((char *)(uintptr_t)c->row.row.usage);
        free((char *)(uintptr_t)c->row.row.help);
        free(c);
    }
}

void lua_open_cmd(lua_State *L)
{
    static const luaL_Reg list[] = {
        {"_cmd", vm_cmd},
        {"json", vm_json},
        {"command", vm_command},
        {NULL, NULL},
    };

    luaL_setfuncs(L, list, 0);
    luaL_newmetatable(L, OUT_META);
    lua_pushcfunction(L, out_gc);
    lua_setfield(L, -2, "__gc");
    lua_pushboolean(L, false);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
}
