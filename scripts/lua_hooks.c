/*
 * vm.on, vm.break_at, vm.watch, vm.catch: functions that the host calls. Exit hooks and points run
 * on the vCPU's thread and answer at once; the others run on the main thread.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "debug/expr.h"
#include "debug/fields.h"
#include "debug/out.h"
#include "scripts/lua_int.h"
#include "vmm/base/clock.h"
#include "vmm/base/x.h"

#define HOOK_META      "vmscope.hook"
#define HOOKS_MADE_MAX 200000

/* ---- errors --------------------------------------------------------------------------------- */

void hook_failed(struct lua_hook *k, const char *text)
{
    struct scripts *h = k->h;

    if (!h->failed)
        h->failed = xstrdup(text);
    host_printf(h, "script error in hook %s (%s): %s\n", k->where, k->text, text);
    if (++k->errors < ERRORS_IN_A_ROW || k->dead)
        return;
    k->dead = true;
    if (k->id && !k->is_point) {
        host_batch(h);
        session_hook_del(h->s, k->id);
    }
    host_printf(h,
                "the hook %s (%s) is disabled: it failed %d times in a row; mend it and set it "
                "again\n",
                k->where, k->text, ERRORS_IN_A_ROW);
}

/* ---- on vCPU threads ------------------------------------------------------------------------ */

/* The two results of a hook are on top of L. False: they mean nothing. */
static bool answer_of(struct scripts *h, lua_State *L, struct hook_call *c, enum hook_answer *a)
{
    const char *word = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : NULL;
    unsigned cpu = c->ev->vcpu;
    const char *why;

    *a = HOOK_GO;
    if (lua_isnil(L, -2))
        return true;
    if (!word)
        return false;
    if (!strcmp(word, "continue") || !strcmp(word, "answered"))
        return true;
    if (!strcmp(word, "drop")) {
        *a = HOOK_DROP;
        return true;
    }
    if (!strcmp(word, "log")) {
        struct buf text = {0};

        if (!extend_format(h, c->ev, &text))
            exit_format(c->ev, session_reg_name(h->s, c->ev), &text);
        host_printf(h, "vCPU %u 0x%llx: %s\n", cpu,
                    (unsigned long long)(c->ev->cs_base + c->ev->rip), buf_str(&text));
        buf_fini(&text);
        return true;
    }
    if (strcmp(word, "stop"))
        return false;
    *a = HOOK_STOP;
    why = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "";
    strncpy(h->why[cpu], why, sizeof h->why[cpu] - 1);
    if (*why)
        c->stop_why = h->why[cpu];
    return true;
}

static void wrong_answer(struct lua_hook *k, lua_State *L)
{
    char text[200];

    snprintf(text, sizeof text,
             "it returned a %s, but a hook returns nothing, \"stop\", \"continue\", \"drop\", "
             "\"log\" or e:reply(…)",
             luaL_typename(L, -2));
    hook_failed(k, text);
}

static enum hook_answer call_hook(struct lua_hook *k, struct hook_call *c, lua_State *L)
{
    unsigned cpu = c->ev->vcpu;
    struct event_box *box = k->h->cpu_event[cpu], outer = *box;
    enum hook_answer a = HOOK_GO;
    int status;

    *box = (struct event_box){.ev = c->ev, .call = c};
    k->hits++;
    lua_rawgeti(L, LUA_REGISTRYINDEX, k->fn);
    lua_rawgeti(L, LUA_REGISTRYINDEX, k->h->cpu_event_ref[cpu]);
    status = host_pcall(L, 1, 2);
    *box = outer;
    if (status != LUA_OK) {
        hook_failed(k, host_error_text(L));
        lua_pop(L, 1);
        return HOOK_GO;
    }
    if (answer_of(k->h, L, c, &a))
        k->errors = 0;
    else
        wrong_answer(k, L);
    lua_pop(L, 2);
    return a;
}

/* hook_fn of every exit hook and point. */
static enum hook_answer on_vcpu(void *arg, struct hook_call *c)
{
    struct lua_hook *k = arg;
    struct scripts *h = k->h;
    struct entry in = {.call = c};
    enum hook_answer a = HOOK_GO;
    unsigned cpu = c->ev->vcpu;

    if (k->what == HOOK_MODE) { /* only this vCPU's thread looks at its slot */
        bool same = k->mode[cpu] == c->ev->mode + 1;

        k->mode[cpu] = (uint8_t)(c->ev->mode + 1);
        if (same)
            return HOOK_GO;
    }
    host_enter(h, &in, h->cpu[cpu], (uint64_t)h->cfg.hook_ms * 1000000);
    if (!k->dead && !h->closing)
        a = call_hook(k, c, h->cpu[cpu]);
    host_leave(&in);
    return a;
}

/* ---- making them ---------------------------------------------------------------------------- */

static struct lua_hook *hook_new(lua_State *L, int fn_arg, enum hook_what what, const char *text)
{
    struct scripts *h = host_of(L);
    struct lua_hook *k;
    int ref;

    luaL_checktype(L, fn_arg, LUA_TFUNCTION);
    if (h->hooks_made >= HOOKS_MADE_MAX)
        luaL_error(L,
                   "%d hooks were set in this session, and removed ones are kept until its end: "
                   "set one and let its function decide",
                   HOOKS_MADE_MAX);
    h->hooks_made++;
    lua_pushvalue(L, fn_arg);
    ref = luaL_ref(L, LUA_REGISTRYINDEX);
    k = xcalloc(1, sizeof *k);
    k->h = h;
    k->what = what;
    k->fn = ref;
    k->reason = -1;
    k->where = host_where(L);
    k->text = xstrdup(text);
    k->next = h->hooks;
    h->hooks = k;
    return k;
}

/* The hook as the script holds it. */
static int push_hook(lua_State *L, struct lua_hook *k)
{
    struct lua_hook **box = lua_newuserdatauv(L, sizeof *box, 0);

    *box = k;
    luaL_setmetatable(L, HOOK_META);
    return 1;
}

static struct lua_hook *check_hook(lua_State *L)
{
    return *(struct lua_hook **)luaL_checkudata(L, 1, HOOK_META);
}

static int hook_remove(lua_State *L)
{
    struct lua_hook *k = check_hook(L);
    struct scripts *h = k->h;

    if (k->dead && !k->id)
        return 0;
    if (k->is_point) {
        host_need_main(L, "remove of a point");
        host_release(h);
        session_point_del(h->s, k->id);
        host_retake(h);
    } else if (k->id) {
        host_batch(h);
        session_hook_del(h->s, k->id);
    }
    k->id = 0;
    k->dead = true;
    luaL_unref(L, LUA_REGISTRYINDEX, k->fn);
    k->fn = LUA_NOREF;
    return 0;
}

static int hook_index(lua_State *L)
{
    struct lua_hook *k = check_hook(L);
    const char *name = luaL_checkstring(L, 2);

    if (!strcmp(name, "remove"))
        lua_pushcfunction(L, hook_remove);
    else if (!strcmp(name, "hits"))
        lua_pushinteger(L, (lua_Integer)k->hits);
    else if (!strcmp(name, "errors"))
        lua_pushinteger(L, k->errors);
    else if (!strcmp(name, "id"))
        lua_pushinteger(L, k->id);
    else if (!strcmp(name, "enabled"))
        lua_pushboolean(L, !k->dead);
    else
        return luaL_error(L, "a hook has hits, errors, id, enabled and remove(), not %s", name);
    return 1;
}

/* Words of vm.on beside the kinds of exits. */
static const struct {
    const char *word;
    enum hook_what what;
} host_kinds[] = {
    {"stop", HOOK_STOPS}, {"console", HOOK_CONSOLE}, {"reset", HOOK_RESET},
    {"tick", HOOK_TICK},  {"trace", HOOK_TRACE},     {"end", HOOK_END},
};

/* "msr" is both ways of access: any kind, and this in the filter. */
#define MSR_FILTER "(kind == rdmsr || kind == wrmsr)"

static int exit_reason(lua_State *L, const char *kind)
{
    int reason;

    if (!strcmp(kind, "exit"))
        return -1;
    reason = exit_kind_by_name(!strcmp(kind, "irq") ? "inject" : kind);
    if (reason < 0)
        luaL_error(
            L,
            "there is no event \"%s\": it is exit (all), a kind of exit (io, mmio, msr, rdmsr, "
            "wrmsr, hlt, irq, hypercall, shutdown, debug, internal, …), mode, stop, console, "
            "reset, tick, trace or end",
            kind);
    return reason;
}

/* The reason of `kind`, -1 for any. A kind that is two adds to the filter, argument 2 of 3, or
 * becomes it. */
static int reason_and_filter(lua_State *L, const char *kind, int *args)
{
    if (strcmp(kind, "msr"))
        return exit_reason(L, kind);
    if (*args == 3) {
        lua_pushfstring(L, MSR_FILTER " && (%s)", lua_tostring(L, 2));
        lua_replace(L, 2);
    } else {
        lua_pushliteral(L, MSR_FILTER);
        lua_insert(L, 2);
        *args = 3;
    }
    return -1;
}

/* A table {port=0x3f8, write=true} as an expression; pushes it. */
static void filter_text(lua_State *L, int arg)
{
    int n = 0, top = lua_gettop(L);

    if (lua_type(L, arg) != LUA_TTABLE) {
        luaL_checkstring(L, arg);
        lua_pushvalue(L, arg);
        return;
    }
    lua_pushliteral(L, "");
    for (lua_pushnil(L); lua_next(L, arg); lua_settop(L, top + 2)) {
        const char *key = luaL_checkstring(L, top + 2);
        lua_Integer v =
            lua_isboolean(L, top + 3) ? lua_toboolean(L, top + 3) : luaL_checkinteger(L, top + 3);
        char number[24];

        snprintf(number, sizeof number, "0x%llx", (unsigned long long)v);
        lua_pushfstring(L, "%s%s%s == %s", lua_tostring(L, top + 1), n++ ? " && " : "", key,
                        number);
        lua_replace(L, top + 1);
    }
}

/* (kind, [filter,] fn) on the stack, as hook_args leaves them */
static int on_exit_kind(lua_State *L, const char *kind, int args)
{
    struct scripts *h = host_of(L);
    bool mode = !strcmp(kind, "mode");
    const char *filter;
    int reason = mode ? -1 : reason_and_filter(L, kind, &args);
    struct hook_spec spec = {.reason = reason, .vcpu = -1, .fn = on_vcpu};
    struct lua_hook *k;
    struct err e = {0};
    int id;

    spec.filter = filter = args == 3 ? lua_tostring(L, 2) : NULL;
    lua_pushfstring(L, "%s%s%s", kind, filter ? " " : "", filter ? filter : "");
    k = hook_new(L, args, mode ? HOOK_MODE : HOOK_EXIT, lua_tostring(L, -1));
    spec.arg = k;
    host_batch(h);
    id = session_hook_add(h->s, &spec, &e);
    if (id < 0) {
        k->dead = true;
        return host_raise(L, &e);
    }
    k->id = id;
    return push_hook(L, k);
}

static bool trace_field(void *arg, int id, uint64_t *value)
{
    return field_table[id].get(arg, value);
}

static int field_name(void *arg, const char *name)
{
    (void)arg;
    return field_by_name(name);
}

static bool word(void *arg, const char *name, uint64_t *value)
{
    (void)arg;
    return field_constant(name, value);
}

static int on_host_kind(lua_State *L, enum hook_what what, const char *kind, int args, int fn)
{
    const struct expr_names names = {.field = field_name, .symbol = word};
    struct scripts *h = host_of(L);
    struct lua_hook *k;
    struct err e = {0};
    double seconds = 1;
    struct expr *x = NULL;

    if (what == HOOK_TICK && args == 3) {
        seconds = luaL_checknumber(L, 2);
        luaL_argcheck(L, seconds >= 0.001 && seconds <= 1e6, 2, "a period is 1 ms or more");
    } else if ((what == HOOK_TRACE || what == HOOK_FORMAT) && args == 3) {
        filter_text(L, 2);
        x = expr_compile(lua_tostring(L, -1), &names, &e);
        if (!x)
            return host_raise(L, &e);
    } else if (args == 3) {
        return luaL_error(L, "\"%s\" takes no filter", kind);
    }
    lua_pushfstring(L, "%s%s%s%s", what == HOOK_FORMAT ? "words for " : "", kind, x ? " " : "",
                    x ? lua_tostring(L, -1) : "");
    k = hook_new(L, fn, what, lua_tostring(L, -1));
    k->filter = x;
    k->period_ns = (uint64_t)(seconds * 1e9);
    k->due_ns = clock_ns() + k->period_ns;
    if (what == HOOK_TRACE && !h->cursor_set) {
        session_trace_start(h->s, &h->cursor, true);
        h->cursor_set = true;
    }
    host_ring(h);
    return push_hook(L, k);
}

/* Leaves kind, perhaps a filter, and fn on the stack; returns how many. A filter of exits becomes
 * text. */
static int hook_args(lua_State *L, bool of_exits)
{
    int args;

    host_self(L);
    args = lua_gettop(L);
    luaL_checkstring(L, 1);
    luaL_argcheck(L, args == 2 || args == 3, args, "a kind, perhaps a filter, and a function");
    luaL_checktype(L, args, LUA_TFUNCTION);
    if (args == 3 && lua_isnil(L, 2)) {
        lua_remove(L, 2);
        return 2;
    }
    if (args == 3 && of_exits) {
        filter_text(L, 2);
        lua_replace(L, 2);
    }
    return args;
}

/* vm.formatter(kind, [filter,] fn) */
static int vm_formatter(lua_State *L)
{
    int args = hook_args(L, true), reason;
    const char *kind = lua_tostring(L, 1);

    host_need_main(L, "vm.formatter");
    reason = reason_and_filter(L, kind, &args);
    on_host_kind(L, HOOK_FORMAT, kind, args, args);
    host_of(L)->hooks->reason = reason;
    host_of(L)->formatters++;
    session_changed(host_of(L)->s);
    return 1;
}

/* vm.on(kind, [filter,] fn) */
static int vm_on(lua_State *L)
{
    int args = hook_args(L, false);
    const char *kind = lua_tostring(L, 1);

    for (size_t i = 0; i < sizeof host_kinds / sizeof host_kinds[0]; i++)
        if (!strcmp(kind, host_kinds[i].word)) {
            if (host_kinds[i].what != HOOK_TRACE && host_kinds[i].what != HOOK_STOPS)
                host_need_main(L, "vm.on of this kind");
            return on_host_kind(L, host_kinds[i].what, kind, args, args);
        }
    if (args == 3) {
        filter_text(L, 2);
        lua_replace(L, 2);
    }
    return on_exit_kind(L, kind, args);
}

/* ---- points --------------------------------------------------------------------------------- */

static int add_point(lua_State *L, struct point_spec *spec, struct lua_hook *k)
{
    struct scripts *h = host_of(L);
    struct err e = {0};
    int id;

    host_release(h);
    id = session_point_add(h->s, spec, &e);
    host_retake(h);
    if (id < 0) {
        if (k)
            k->dead = true;
        return host_raise(L, &e);
    }
    if (!k) {
        lua_pushinteger(L, id);
        return 1;
    }
    k->id = id;
    k->is_point = true;
    return push_hook(L, k);
}

/* What `do script` of a command means. */
struct point_ask {
    const char *function;
    struct lua_hook *k;
};

static int function_in_lua(lua_State *L)
{
    struct point_ask *ask = lua_touserdata(L, 1);
    const char *code = lua_pushfstring(L, "return %s", ask->function);

    if (luaL_loadbufferx(L, code, strlen(code), "=do script", "t") != LUA_OK)
        return lua_error(L);
    lua_call(L, 0, 1);
    if (lua_isnil(L, -1))
        return luaL_error(L, "no script has defined `%s`: `source FILE.lua` runs one that does",
                          ask->function);
    if (!lua_isfunction(L, -1))
        return luaL_error(L, "`%s` is no function of a script but a %s", ask->function,
                          luaL_typename(L, -1));
    lua_replace(L, 1);
    lua_settop(L, 1);
    ask->k = hook_new(L, 1, HOOK_POINT, lua_pushfstring(L, "do script %s", ask->function));
    return 0;
}

int hooks_point(struct scripts *h, const char *function, hook_fn **fn, void **fn_arg, struct err *e)
{
    struct point_ask ask = {.function = function};
    struct entry in = {.is_main = true};
    struct quiet quiet;
    bool good;
    char *why;

    host_enter(h, &in, h->L, host_main_ns(h));
    host_quiet(h, &quiet);
    good = host_protect(h, function_in_lua, &ask);
    why = host_loud(h, &quiet);
    if (!good) {
        const char *text = why ? why : "the script failed";
        const char *trace = strstr(text, "\nstack traceback:"); /* of one line: it tells nothing */

        err_set(e, EINVAL, "%.*s", trace ? (int)(trace - text) : 500, text);
    }
    free(why);
    host_leave(&in);
    *fn = on_vcpu;
    *fn_arg = ask.k;
    return good ? 0 : -EINVAL;
}

void hooks_pointed(struct lua_hook *k, int id)
{
    k->is_point = id > 0;
    k->dead = id <= 0;
    k->id = id > 0 ? id : 0;
}

/* A linear address: a number, or an expression. `text` gets what to call it. */
static uint64_t address_arg(lua_State *L, int arg, const char **text)
{
    struct scripts *h = host_of(L);
    struct err e = {0};
    uint64_t v = 0;
    int rc;

    *text = NULL;
    if (lua_isinteger(L, arg))
        return (uint64_t)lua_tointeger(L, arg);
    *text = luaL_checkstring(L, arg);
    host_release(h);
    rc = session_eval(h->s, session_focus(h->s), *text, &v, &e);
    host_retake(h);
    if (rc < 0)
        host_raise(L, &e);
    return v;
}

static const char *field_string(lua_State *L, int table, const char *name)
{
    if (lua_type(L, table) != LUA_TTABLE)
        return NULL;
    return lua_getfield(L, table, name) == LUA_TNIL ? NULL : luaL_checkstring(L, -1);
}

/* vm.break_at(where, [fn or {condition=, temporary=, ignore=, vcpu=},] fn) */
static int vm_break_at(lua_State *L)
{
    struct point_spec spec = {.kind = POINT_BREAK, .vcpu = -1};
    struct lua_hook *k = NULL;
    int fn, opts;

    host_self(L);
    host_need_main(L, "vm.break_at");
    opts = lua_type(L, 2) == LUA_TTABLE ? 2 : 0;
    fn = opts ? 3 : 2;
    lua_settop(L, 3);
    spec.addr = address_arg(L, 1, &spec.location);
    if (opts) {
        spec.condition = field_string(L, opts, "condition");
        lua_getfield(L, opts, "temporary");
        spec.temporary = lua_toboolean(L, -1) != 0;
        lua_getfield(L, opts, "ignore");
        spec.ignore = (uint64_t)luaL_optinteger(L, -1, 0);
        lua_getfield(L, opts, "vcpu");
        spec.vcpu = (int)luaL_optinteger(L, -1, -1);
    }
    if (!lua_isnil(L, fn)) {
        lua_pushfstring(L, "break at %s", spec.location ? spec.location : "an address");
        k = hook_new(L, fn, HOOK_POINT, lua_tostring(L, -1));
        spec.hit = on_vcpu;
        spec.hit_arg = k;
    }
    return add_point(L, &spec, k);
}

/* vm.watch(where, [{len=, access=, condition=},] [fn]) */
static int vm_watch(lua_State *L)
{
    static const char *const words_of[] = {"write", "read", "access", "change", NULL};
    static const enum watch_access access[] = {WATCH_WRITE, WATCH_READ, WATCH_ACCESS, WATCH_CHANGE};
    struct point_spec spec = {.kind = POINT_WATCH, .vcpu = -1, .len = 8, .access = WATCH_WRITE};
    struct lua_hook *k = NULL;
    int fn, opts;

    host_self(L);
    host_need_main(L, "vm.watch");
    opts = lua_type(L, 2) == LUA_TTABLE ? 2 : 0;
    fn = opts ? 3 : 2;
    lua_settop(L, 3);
    spec.addr = address_arg(L, 1, &spec.location);
    if (opts) {
        lua_getfield(L, opts, "len");
        spec.len = (uint64_t)luaL_optinteger(L, -1, 8);
        lua_getfield(L, opts, "access");
        spec.access = access[luaL_checkoption(L, -1, "write", words_of)];
        spec.condition = field_string(L, opts, "condition");
    }
    if (!lua_isnil(L, fn)) {
        lua_pushfstring(L, "watch %s", spec.location ? spec.location : "an address");
        k = hook_new(L, fn, HOOK_HIT, lua_tostring(L, -1));
    }
    return add_point(L, &spec, k);
}

/* vm.catch(kind, [filter,] [fn]) */
static int vm_catch(lua_State *L)
{
    struct point_spec spec = {.kind = POINT_CATCH, .vcpu = -1};
    struct lua_hook *k = NULL;
    const char *kind;
    int fn = 2;

    host_self(L);
    host_need_main(L, "vm.catch");
    kind = luaL_checkstring(L, 1);
    lua_settop(L, 3);
    spec.catch_reason = (unsigned)exit_reason(L, kind);
    spec.location = kind;
    if (lua_type(L, 2) == LUA_TSTRING || lua_type(L, 2) == LUA_TTABLE) {
        filter_text(L, 2);
        spec.catch_filter = lua_tostring(L, -1);
        fn = 3;
    }
    if (!lua_isnil(L, fn)) {
        lua_pushfstring(L, "catch %s", kind);
        k = hook_new(L, fn, HOOK_HIT, lua_tostring(L, -1));
    }
    return add_point(L, &spec, k);
}

/* ---- on the main thread --------------------------------------------------------------------- */

struct main_call {
    struct lua_hook *k;
    const struct stop_info *si;
    const char *text;
    size_t len;
    int chan;
};

/* As a story, since a stop hook may step and wait. */
static int story_in_lua(lua_State *L)
{
    struct main_call *c = lua_touserdata(L, 1);

    lua_rawgeti(L, LUA_REGISTRYINDEX, c->k->fn);
    if (c->si)
        story_push_stop(L, c->si);
    c->k->hits++;
    story_start(c->k->h, L, c->si != NULL, c->k->where, c->k);
    return 0;
}

static void as_story(struct lua_hook *k, const struct stop_info *si)
{
    struct main_call c = {.k = k, .si = si};
    struct entry in = {.is_main = true};

    host_enter(k->h, &in, k->h->L, host_main_ns(k->h));
    if (!k->dead)
        host_protect(k->h, story_in_lua, &c);
    host_leave(&in);
}

void hooks_on_stop(struct scripts *h, const struct stop_info *si)
{
    struct stop_info copy = *si; /* the hook may let the guest run on */

    for (struct lua_hook *k = h->hooks; k; k = k->next) {
        if (k->dead)
            continue;
        if (k->what == HOOK_STOPS || (k->what == HOOK_HIT && copy.point_id == k->id))
            as_story(k, &copy);
    }
}

void hooks_on_reset(struct scripts *h)
{
    for (struct lua_hook *k = h->hooks; k; k = k->next)
        if (!k->dead && k->what == HOOK_RESET)
            as_story(k, NULL);
}

void hooks_on_end(struct scripts *h)
{
    for (struct lua_hook *k = h->hooks; k; k = k->next)
        if (!k->dead && k->what == HOOK_END)
            as_story(k, NULL);
}

uint64_t hooks_on_time(struct scripts *h, uint64_t now)
{
    uint64_t next = UINT64_MAX;

    for (struct lua_hook *k = h->hooks; k; k = k->next) {
        if (k->dead || k->what != HOOK_TICK)
            continue;
        if (k->due_ns <= now) {
            k->due_ns = now + k->period_ns;
            as_story(k, NULL);
        }
        if (k->due_ns < next)
            next = k->due_ns;
    }
    return next;
}

static int line_in_lua(lua_State *L)
{
    static const char *const names[] = {"com1", "com2", "debug"};
    struct main_call *c = lua_touserdata(L, 1);

    lua_rawgeti(L, LUA_REGISTRYINDEX, c->k->fn);
    lua_pushlstring(L, c->text, c->len);
    lua_pushstring(L, names[c->chan]);
    lua_call(L, 2, 1);
    return 1;
}

static int trace_in_lua(lua_State *L)
{
    struct main_call *c = lua_touserdata(L, 1);

    lua_rawgeti(L, LUA_REGISTRYINDEX, c->k->fn);
    lua_rawgeti(L, LUA_REGISTRYINDEX, c->k->h->trace_event_ref);
    lua_call(L, 1, 1);
    return 1;
}

/* Without a story of its own: there may be many. "stop" stops the guest. */
static void plain_call(struct lua_hook *k, lua_CFunction fn, struct main_call *c)
{
    struct scripts *h = k->h;
    struct entry in = {.is_main = true};
    bool stop = false;

    host_enter(h, &in, h->call, (uint64_t)h->cfg.hook_ms * 1000000);
    k->hits++;
    lua_pushcfunction(h->call, fn);
    lua_pushlightuserdata(h->call, c);
    if (host_pcall(h->call, 1, 1) != LUA_OK) {
        hook_failed(k, host_error_text(h->call));
    } else {
        k->errors = 0;
        stop = lua_type(h->call, -1) == LUA_TSTRING && !strcmp(lua_tostring(h->call, -1), "stop");
    }
    lua_pop(h->call, 1);
    host_leave(&in);
    if (stop)
        session_stop(h->s);
}

void hooks_on_line(struct scripts *h, int chan, const char *text, size_t len)
{
    for (struct lua_hook *k = h->hooks; k; k = k->next) {
        struct main_call c = {.k = k, .text = text, .len = len, .chan = chan};

        if (!k->dead && k->what == HOOK_CONSOLE)
            plain_call(k, line_in_lua, &c);
    }
}

bool hook_wants(const struct lua_hook *k, const struct exit_event *ev)
{
    struct expr_env env = {.arg = (void *)(uintptr_t)ev, .field = trace_field};
    uint64_t value;

    if (k->reason >= 0 && k->reason != ev->reason)
        return false;
    return !k->filter || (expr_eval(k->filter, &env, &value, NULL) == 0 && value);
}

void hooks_on_trace(struct scripts *h)
{
    struct exit_event ev;
    unsigned n = 0;

    if (!h->cursor_set)
        return;
    for (; n < TRACE_PER_TURN && session_trace_next(h->s, &h->cursor, &ev, 1); n++) {
        for (struct lua_hook *k = h->hooks; k; k = k->next) {
            struct main_call c = {.k = k};

            if (k->dead || k->what != HOOK_TRACE || !hook_wants(k, &ev))
                continue;
            *h->trace_event = (struct event_box){.ev = &ev};
            plain_call(k, trace_in_lua, &c);
            h->trace_event->ev = NULL;
        }
    }
    if (n == TRACE_PER_TURN) { /* more waits */
        h->trace_news = true;
        host_ring(h);
    }
}

/* ---- the end -------------------------------------------------------------------------------- */

void hooks_list(struct scripts *h, struct out *o)
{
    static const char *const columns[] = {"hook", "at", ">calls", ">errors", "state", NULL};

    out_table(o, "hooks", "No script has set a hook.", columns);
    for (struct lua_hook *k = h->hooks; k; k = k->next) {
        bool failed = k->errors >= ERRORS_IN_A_ROW;

        if (k->dead && !failed)
            continue; /* removed */
        out_row(o);
        out_cell(o, "%s", k->text);
        out_cell(o, "%s", k->where);
        out_cell_u64(o, k->hits);
        out_cell_u64(o, k->errors);
        out_cell(o, "%s", failed ? "failed" : "on");
    }
    out_table_end(o);
}

void hooks_free(struct scripts *h)
{
    struct lua_hook *k;

    session_hook_batch(h->s, true);
    while ((k = h->hooks)) {
        h->hooks = k->next;
        if (k->id && k->is_point)
            session_point_del(h->s, k->id);
        else if (k->id)
            session_hook_del(h->s, k->id);
        expr_free(k->filter);
        free(k->where);
        free(k->text);
        free(k);
    }
    session_hook_batch(h->s, false);
}

void lua_open_hooks(lua_State *L)
{
    static const luaL_Reg list[] = {
        {"on", vm_on},       {"formatter", vm_formatter}, {"break_at", vm_break_at},
        {"watch", vm_watch}, {"catch", vm_catch},         {NULL, NULL},
    };

    luaL_setfuncs(L, list, 0);
    luaL_newmetatable(L, HOOK_META);
    lua_pushcfunction(L, hook_index);
    lua_setfield(L, -2, "__index");
    lua_pushboolean(L, false);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
    lua_open_event(L);
}
