/*
 * The Lua state and what is in it from the start: memory that is counted, the libraries that a
 * sandbox may have, loading of files, the small functions of `vm`, and the tables of all other
 * lua_*.c. Made on the main thread; its functions run on any that is inside Lua.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "scripts/lua_int.h"
#include "scripts/script_path.h"
#include "vmm/base/clock.h"
#include "vmm/base/textfile.h"
#include "vmm/base/x.h"

char *host_where(lua_State *L)
{
    lua_Debug ar;

    for (int level = 1; level < 6 && lua_getstack(L, level, &ar); level++)
        if (lua_getinfo(L, "Sl", &ar) && ar.currentline > 0 && strcmp(ar.source, "=prelude"))
            return xasprintf("%s:%d", ar.short_src, ar.currentline);
    return xstrdup("?");
}

void host_self(lua_State *L)
{
    if (lua_type(L, 1) == LUA_TTABLE) {
        lua_getfield(L, LUA_REGISTRYINDEX, "vm");
        bool self = lua_rawequal(L, 1, -1) != 0;

        lua_pop(L, 1);
        if (self)
            lua_remove(L, 1);
    }
}

/* ---- small functions of vm ------------------------------------------------------------------ */

static int vm_print(lua_State *L)
{
    int n = lua_gettop(L);
    luaL_Buffer b;
    size_t len;
    const char *text;

    luaL_buffinit(L, &b);
    for (int i = 1; i <= n; i++) {
        if (i > 1)
            luaL_addchar(&b, '\t');
        luaL_tolstring(L, i, NULL);
        luaL_addvalue(&b);
    }
    luaL_addchar(&b, '\n');
    luaL_pushresult(&b);
    text = lua_tolstring(L, -1, &len);
    host_print(host_of(L), text, len);
    return 0;
}

static int vm_print_raw(lua_State *L)
{
    int n = lua_gettop(L);

    for (int i = 1; i <= n; i++) {
        size_t len;
        const char *text = luaL_checklstring(L, i, &len);

        host_print(host_of(L), text, len);
    }
    return 0;
}

static int vm_quit(lua_State *L)
{
    struct scripts *h = host_of(L);
    lua_Integer status;

    host_self(L);
    status = luaL_optinteger(L, 1, -1);
    luaL_argcheck(L, status >= -1 && status <= 255, 1, "an exit status is 0 to 255");
    h->quit_status = (int)status;
    h->quit_asked = true; /* last: the main thread reads the status once it sees this */
    host_ring(h);
    return 0;
}

static int vm_defer(lua_State *L)
{
    struct scripts *h = host_of(L);

    host_self(L);
    luaL_checktype(L, 1, LUA_TFUNCTION);
    if (h->deferred_count >= 10000)
        return luaL_error(L, "10000 deferred functions wait already: is the main thread busy?");
    lua_rawgeti(L, LUA_REGISTRYINDEX, h->deferred);
    lua_pushvalue(L, 1);
    lua_rawseti(L, -2, ++h->deferred_count);
    host_ring(h);
    return 0;
}

static int vm_now(lua_State *L)
{
    lua_pushnumber(L, (double)clock_ns() / 1e9);
    return 1;
}

static int vm_limit(lua_State *L)
{
    struct scripts *h = host_of(L);

    host_self(L);
    luaL_checktype(L, 1, LUA_TTABLE);
    if (lua_getfield(L, 1, "hook") != LUA_TNIL) {
        double s = luaL_checknumber(L, -1);

        luaL_argcheck(L, s >= 0.001 && s <= 3600, 1, "hook: seconds from 0.001 to 3600");
        h->cfg.hook_ms = (unsigned)(s * 1000);
    }
    if (lua_getfield(L, 1, "main") != LUA_TNIL) {
        double s = luaL_checknumber(L, -1);

        luaL_argcheck(L, s >= 0.001 && s <= 36000, 1, "main: seconds from 0.001 to 36000");
        h->cfg.main_ms = (unsigned)(s * 1000);
        if (h->inside->is_main) {
            h->inside->limit_ns = host_main_ns(h);
            h->inside->from_ns = 0;
        }
    }
    return 0;
}

/* Upvalue 1: the script's handler. An error raised by on_count calls it with hooks off, where it
 * could run for ever: then it is passed over. */
static int guarded_handler(lua_State *L)
{
    if (host_of(L)->inside->struck) {
        lua_settop(L, 1);
        return 1;
    }
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, 1);
    return 1;
}

/* The arguments of xpcall with the handler guarded; the prelude hands them on. */
static int guarded_xpcall(lua_State *L)
{
    luaL_checkany(L, 2);
    lua_pushvalue(L, 2);
    lua_pushcclosure(L, guarded_handler, 1);
    lua_replace(L, 2);
    return lua_gettop(L);
}

/* setmetatable without __gc: a finalizer runs where no limit can reach it. */
static int safe_setmetatable(lua_State *L)
{
    int type = lua_type(L, 2);

    luaL_checktype(L, 1, LUA_TTABLE);
    luaL_argexpected(L, type == LUA_TNIL || type == LUA_TTABLE, 2, "nil or table");
    if (type == LUA_TTABLE) {
        lua_pushliteral(L, "__gc");
        if (lua_rawget(L, 2) != LUA_TNIL)
            return luaL_error(L, "__gc cannot be used in scripts: finalizers run without limits; "
                                 "`local x <close> = …` can");
        lua_pop(L, 1);
    }
    if (luaL_getmetafield(L, 1, "__metatable") != LUA_TNIL)
        return luaL_error(L, "cannot change a protected metatable");
    lua_settop(L, 2);
    lua_setmetatable(L, 1);
    return 1;
}

/* The standard load, but never of binary chunks: Lua does not check them. */
static int text_load(lua_State *L)
{
    lua_settop(L, lua_gettop(L) >= 4 ? 4 : 3); /* a given environment, even nil, counts */
    lua_pushliteral(L, "t");
    lua_replace(L, 3);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
    return lua_gettop(L);
}

int host_load(lua_State *L, const char *path)
{
    struct buf text = {0};
    int rc = textfile_read(path, SCRIPT_BYTES_MAX, &text);
    size_t skip = text.len && text.data[0] == '#' ? strcspn(text.data, "\n") : 0;

    if (rc < 0) {
        lua_pushfstring(L, "cannot read %s: %s", path,
                        rc == -ENXIO   ? "it is a pipe that nobody writes to"
                        : rc == -EFBIG ? "it is too long for a script"
                                       : strerror(-rc));
        rc = LUA_ERRFILE;
    } else {
        lua_pushfstring(L, "@%s", path);
        rc = luaL_loadbufferx(L, buf_str(&text) + skip, text.len - skip, lua_tostring(L, -1), "t");
        lua_remove(L, -2);
    }
    buf_fini(&text);
    return rc;
}

/* require(name): NAME.lua from the script folders, once. */
static int vm_require(lua_State *L)
{
    const char *name = luaL_checkstring(L, 1);
    char *path;

    lua_getfield(L, LUA_REGISTRYINDEX, "modules");
    if (lua_getfield(L, -1, name) != LUA_TNIL)
        return 1;
    path = script_path(name);
    if (!path)
        return luaL_error(L, "there is no module %s.lua in %s", name, script_folders());
    if (host_load(L, path)) {
        free(path);
        return lua_error(L);
    }
    free(path);
    lua_pushvalue(L, 1);
    lua_call(L, 1, 1);
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        lua_pushboolean(L, true);
    }
    lua_getfield(L, LUA_REGISTRYINDEX, "modules");
    lua_pushvalue(L, -2);
    lua_setfield(L, -2, name);
    lua_pop(L, 1);
    return 1;
}

static const luaL_Reg vm_functions[] = {
    {"quit", vm_quit},   {"defer", vm_defer},      {"now", vm_now},
    {"limit", vm_limit}, {"_print", vm_print_raw}, {NULL, NULL},
};

/* ---- making the state ----------------------------------------------------------------------- */

static void *alloc(void *arg, void *p, size_t old, size_t size)
{
    struct scripts *h = arg;
    void *q;

    if (!p)
        old = 0; /* Lua gives the kind of object instead */
    if (!size) {
        h->mem_used -= old;
        free(p);
        return NULL;
    }
    if (size > old && h->mem_used + (size - old) > h->cfg.mem_bytes)
        return NULL; /* "not enough memory", which the script may catch */
    q = realloc(p, size);
    if (q)
        h->mem_used += size - old;
    return q;
}

static void libraries(lua_State *L, bool sandbox)
{
    static const luaL_Reg pure[] = {
        {LUA_GNAME, luaopen_base},        {LUA_TABLIBNAME, luaopen_table},
        {LUA_STRLIBNAME, luaopen_string}, {LUA_MATHLIBNAME, luaopen_math},
        {LUA_UTF8LIBNAME, luaopen_utf8},  {LUA_COLIBNAME, luaopen_coroutine},
        {LUA_DBLIBNAME, luaopen_debug},   {NULL, NULL}};
    static const luaL_Reg reach[] = {
        {LUA_IOLIBNAME, luaopen_io}, {LUA_OSLIBNAME, luaopen_os}, {NULL, NULL}};

    for (const luaL_Reg *l = pure; l->name; l++) {
        luaL_requiref(L, l->name, l->func, 1);
        lua_pop(L, 1);
    }
    for (const luaL_Reg *l = reach; !sandbox && l->name; l++) {
        luaL_requiref(L, l->name, l->func, 1);
        lua_pop(L, 1);
    }
    lua_open_pattern(L);
    lua_getglobal(L, "load");
    lua_pushcclosure(L, text_load, 1);
    lua_setglobal(L, "load");
    lua_register(L, "_guard", guarded_xpcall);
    lua_register(L, "setmetatable", safe_setmetatable);
    lua_register(L, "require", vm_require);
    lua_register(L, "print", vm_print);
}

static void prelude(lua_State *L, const char *text)
{
    if (luaL_loadbufferx(L, text, strlen(text), "=prelude", "t"))
        lua_error(L);
    lua_pushboolean(L, host_of(L)->cfg.sandbox);
    lua_call(L, 1, 0);
}

static int open_all(lua_State *L)
{
    struct scripts *h = host_of(L);

    libraries(L, h->cfg.sandbox);
    lua_newtable(L);
    lua_setfield(L, LUA_REGISTRYINDEX, "modules");
    lua_newtable(L);
    h->deferred = luaL_ref(L, LUA_REGISTRYINDEX);
    luaL_newlib(L, vm_functions);
    lua_pushvalue(L, -1);
    lua_setfield(L, LUA_REGISTRYINDEX, "vm");
    lua_pushvalue(L, -1);
    lua_setglobal(L, "vm");
    lua_open_state(L); /* each adds to the table on top */
    lua_open_hooks(L);
    lua_open_story(L);
    lua_open_device(L);
    lua_open_cmd(L);
    lua_open_docs(L);
    lua_open_extend(L);
    lua_pop(L, 1);
    lua_open_pane(L);
    for (unsigned i = 0; i < session_cpus(h->s); i++) {
        h->cpu[i] = lua_newthread(L);
        luaL_ref(L, LUA_REGISTRYINDEX);
        h->cpu_event[i] = event_new(L);
        h->cpu_event_ref[i] = luaL_ref(L, LUA_REGISTRYINDEX);
    }
    h->dev = lua_newthread(L);
    luaL_ref(L, LUA_REGISTRYINDEX);
    h->call = lua_newthread(L);
    luaL_ref(L, LUA_REGISTRYINDEX);
    h->ask = lua_newthread(L);
    luaL_ref(L, LUA_REGISTRYINDEX);
    h->trace_event = event_new(L);
    h->trace_event_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    h->format_event = event_new(L);
    h->format_event_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_newtable(L);
    h->places = luaL_ref(L, LUA_REGISTRYINDEX);
    prelude(L, lua_prelude);
    prelude(L, lua_prelude_more);
    return 0;
}

int host_make_state(struct scripts *h, struct err *e)
{
    struct entry in = {.is_main = true};
    int rc = 0;

    h->L = lua_newstate(alloc, h);
    if (!h->L)
        return err_set(e, ENOMEM, "cannot make a Lua state within %zu bytes",
                       (size_t)h->cfg.mem_bytes);
    *(struct scripts **)lua_getextraspace(h->L) = h;
    host_enter(h, &in, h->L, host_main_ns(h));
    lua_pushcfunction(h->L, open_all);
    if (host_pcall(h->L, 0, 0)) {
        rc = err_set(e, ENOMEM, "cannot set up Lua: %s", host_error_text(h->L));
        lua_pop(h->L, 1);
    }
    host_leave(&in);
    return rc;
}
