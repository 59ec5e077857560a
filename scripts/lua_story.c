/*
 * Scripts as coroutines: they wait for a stop, for console output or for time, and the main thread
 * lets them go on. Control of the guest is here too. Main thread.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "scripts/lua_int.h"
#include "vmm/base/clock.h"
#include "vmm/base/esc.h"
#include "vmm/base/x.h"

#define TURNS_MAX 1000 /* resumptions before the front end gets its turn */

/* ---- their life ----------------------------------------------------------------------------- */

static void ended(struct story *st, lua_State *L)
{
    luaL_unref(L, LUA_REGISTRYINDEX, st->ref);
    st->ended = true;
    st->wait = WAIT_NOTHING;
}

static void failed(struct scripts *h, struct story *st, lua_State *L)
{
    bool is_sentence = luaL_getmetafield(st->co, -1, "__tostring") != LUA_TNIL;
    const char *text;

    if (is_sentence)
        lua_pop(st->co, 1);
    text = luaL_tolstring(st->co, -1, NULL);
    if (is_sentence) /* an error object that speaks for itself is for users */
        lua_pushstring(L, text);
    else
        luaL_traceback(L, st->co, text, 0);
    st->failed = true;
    if (st->for_hook)
        hook_failed(st->for_hook, host_error_text(L));
    else
        host_fail(h, host_error_text(L));
    h->broken |= st->counts;
    lua_pop(L, 1);
    lua_resetthread(st->co); /* closes what it had open */
    ended(st, L);
}

/* What a main-thread hook answered: its story's first result. */
static void decide(struct scripts *h, struct story *st)
{
    const char *answer =
        lua_gettop(st->co) && lua_type(st->co, 1) == LUA_TSTRING ? lua_tostring(st->co, 1) : NULL;
    bool go_on = st->for_hook->what == HOOK_HIT;
    struct err e = {0};

    st->for_hook->errors = 0;
    if (answer && !strcmp(answer, "continue"))
        go_on = true;
    else if (answer && !strcmp(answer, "stop"))
        go_on = false;
    host_release(h);
    if (go_on && session_state(h->s) == SS_STOPPED)
        session_run(h->s, &e);
    else if (answer && !strcmp(answer, "stop"))
        session_stop(h->s);
    host_retake(h);
    if (e.code)
        host_printf(h, "cannot continue: %s\n", e.msg);
}

/* Lets it run up to its next wait or its end; `args` values are on its stack. Protected. */
static void resume(struct scripts *h, struct story *st, lua_State *L, int args)
{
    struct story *outer = h->running;
    uint64_t limit = h->inside->limit_ns, from = h->inside->from_ns;
    int status, results = 0;

    st->wait = WAIT_NOTHING;
    st->deadline_ns = UINT64_MAX;
    h->running = st;
    h->inside->struck = false;
    h->inside->limit_ns = host_main_ns(h);
    h->inside->from_ns = 0;
    host_arm(st->co);
    status = lua_resume(st->co, L, args, &results);
    h->inside->limit_ns = limit;
    h->inside->from_ns = from;
    h->running = outer;
    if (status == LUA_YIELD) {
        lua_pop(st->co, results);
        if (st->wait == WAIT_NOTHING) { /* a bare coroutine.yield(): until the next turn */
            st->wait = WAIT_TIME;
            st->deadline_ns = clock_ns();
        }
        return;
    }
    if (status != LUA_OK) {
        failed(h, st, L);
        return;
    }
    if (st->for_hook)
        decide(h, st);
    ended(st, L);
}

struct story *story_start(struct scripts *h, lua_State *L, int args, const char *name,
                          struct lua_hook *for_hook)
{
    lua_State *co = lua_newthread(L);
    int ref = luaL_ref(L, LUA_REGISTRYINDEX);
    struct story *st = xcalloc(1, sizeof *st);

    lua_xmove(L, co, args + 1);
    st->co = co;
    st->ref = ref;
    st->name = xstrdup(name);
    st->for_hook = for_hook;
    st->next = h->stories;
    h->stories = st;
    resume(h, st, L, args);
    return st;
}

static void sweep(struct scripts *h)
{
    for (struct story **p = &h->stories; *p;) {
        struct story *st = *p;

        if (!st->ended || st == h->running) {
            p = &st->next;
            continue;
        }
        *p = st->next;
        free(st->pattern);
        free(st->name);
        free(st);
    }
}

void stories_free(struct scripts *h)
{
    for (struct story *st = h->stories; st; st = st->next)
        st->ended = true;
    h->running = NULL;
    sweep(h);
}

uint64_t stories_deadline(const struct scripts *h)
{
    uint64_t first = UINT64_MAX;

    for (const struct story *st = h->stories; st; st = st->next)
        if (!st->ended && st->wait != WAIT_NOTHING && st->deadline_ns < first)
            first = st->deadline_ns;
    return first;
}

/* ---- waiting -------------------------------------------------------------------------------- */

/* Raises unless the running code may wait: before anything is set going. */
static int vm_may_wait(lua_State *L)
{
    struct scripts *h = host_of(L);

    host_need_main(L, "a function that waits");
    if (!h->running || h->running->co != L)
        return luaL_error(L, "this waits, and only a script itself can: inside a coroutine or a "
                             "callback use vm.spawn(function() … end)");
    return 0;
}

/* Ends the running story's turn until `kind` (C functions return its result). */
static int story_wait(lua_State *L, enum wait_kind kind, uint64_t timeout_ns)
{
    struct story *st = host_of(L)->running;

    vm_may_wait(L);
    st->wait = kind;
    st->deadline_ns = timeout_ns == UINT64_MAX ? UINT64_MAX : clock_ns() + timeout_ns;
    return lua_yield(L, 0);
}

void story_push_stop(lua_State *L, const struct stop_info *si)
{
    lua_createtable(L, 0, 12);
    lua_pushstring(L, stop_kind_name(si->kind));
    lua_setfield(L, -2, "kind");
    lua_pushstring(L, si->text);
    lua_setfield(L, -2, "text");
    lua_pushinteger(L, si->vcpu);
    lua_setfield(L, -2, "vcpu");
    lua_pushinteger(L, (lua_Integer)(si->cs_base + si->rip));
    lua_setfield(L, -2, "rip");
    lua_pushinteger(L, (lua_Integer)si->steps);
    lua_setfield(L, -2, "steps");
    if (si->point_id >= 0) {
        lua_pushinteger(L, si->point_id);
        lua_setfield(L, -2, "point");
    }
    if (si->vector >= 0) {
        lua_pushinteger(L, si->vector);
        lua_setfield(L, -2, "vector");
    }
    lua_pushinteger(L, si->code);
    lua_setfield(L, -2, "code");
    if (si->kind == STOP_WATCHPOINT) {
        lua_pushinteger(L, (lua_Integer)si->addr);
        lua_setfield(L, -2, "addr");
        lua_pushinteger(L, (lua_Integer)si->old_value);
        lua_setfield(L, -2, "old");
        lua_pushinteger(L, (lua_Integer)si->new_value);
        lua_setfield(L, -2, "new");
        if (si->by) {
            lua_pushinteger(L, (lua_Integer)si->by);
            lua_setfield(L, -2, "by");
        }
        if (si->device) {
            lua_pushstring(L, si->device);
            lua_setfield(L, -2, "device");
        }
    }
}

/* Looks for the pattern in what a channel printed and nobody waited for yet; pushes the match (its
 * first capture) on `co`. */
static bool find_in(struct scripts *h, lua_State *L, struct story *st, int chan)
{
    struct console_tail *c = &h->console[chan];
    int top = lua_gettop(L);
    bool found = false;

    if (c->text.len == c->seen)
        return false;
    lua_getfield(L, LUA_REGISTRYINDEX, "find");
    lua_pushlstring(L, c->text.data + c->seen, c->text.len - c->seen);
    lua_pushstring(L, st->pattern);
    lua_call(L, 2, 3);
    if (!lua_isnil(L, top + 1)) {
        size_t first = (size_t)lua_tointeger(L, top + 1), last = (size_t)lua_tointeger(L, top + 2);

        if (lua_isnil(L, top + 3))
            lua_pushlstring(L, c->text.data + c->seen + first - 1, last - first + 1);
        lua_xmove(L, st->co, 1);
        c->seen += last;
        found = true;
    }
    lua_settop(L, top);
    return found;
}

static bool found_output(struct scripts *h, lua_State *L, struct story *st)
{
    for (int i = 0; i < CONSOLE_CHANS; i++)
        if ((st->chan < 0 || st->chan == i) && find_in(h, L, st, i))
            return true;
    return false;
}

/* Puts the reason why the wait is over on the story's stack; returns how many values, 0: it is
 * not over. */
static int over(struct scripts *h, lua_State *L, struct story *st)
{
    bool late = clock_ns() >= st->deadline_ns, stands = session_state(h->s) != SS_RUNNING;

    switch (st->wait) {
    case WAIT_STOP:
        if (stands) {
            story_push_stop(st->co, session_last_stop(h->s));
            return 1;
        }
        break;
    case WAIT_CONSOLE:
        if (found_output(h, L, st))
            return 1;
        if (stands && !late) {
            lua_pushnil(st->co);
            lua_pushfstring(st->co, "the guest stands (%s) and has not printed \"%s\"",
                            session_last_stop(h->s)->text, st->pattern);
            return 2;
        }
        break;
    case WAIT_TIME:
        if (late) {
            lua_pushboolean(st->co, true);
            return 1;
        }
        return 0;
    case WAIT_NOTHING:
        return 0;
    }
    if (!late)
        return 0;
    lua_pushnil(st->co);
    if (st->wait == WAIT_STOP)
        lua_pushliteral(st->co, "the time ran out before the guest stopped");
    else
        lua_pushfstring(st->co, "the time ran out before the guest printed \"%s\"", st->pattern);
    return 2;
}

static int wake_in_lua(lua_State *L)
{
    struct story *st = lua_touserdata(L, 1);
    struct scripts *h = host_of(L);
    int n;

    lua_settop(L, 0);
    n = over(h, L, st);
    if (n)
        resume(h, st, L, n);
    lua_pushboolean(L, n != 0);
    return 1;
}

static bool wake(struct scripts *h, struct story *st)
{
    bool went;

    lua_pushcfunction(h->L, wake_in_lua);
    lua_pushlightuserdata(h->L, st);
    if (host_pcall(h->L, 1, 1) == LUA_OK) {
        went = lua_toboolean(h->L, -1) != 0;
    } else {
        host_fail(h, host_error_text(h->L));
        st->failed = st->ended = true; /* e.g. a bad pattern: it cannot go on */
        went = true;
    }
    lua_pop(h->L, 1);
    return went;
}

void stories_wake(struct scripts *h)
{
    struct entry in = {.is_main = true};
    unsigned turns = 0;
    bool again;

    host_enter(h, &in, h->L, host_main_ns(h));
    do {
        again = false;
        for (struct story *st = h->stories; st && !again; st = st->next)
            if (!st->ended && st->wait != WAIT_NOTHING && st != h->running)
                again = wake(h, st);
        /* The list may have changed under us: from its start again. */
    } while (again && ++turns < TURNS_MAX);
    if (again)
        host_ring(h);
    if (!h->running)
        sweep(h);
    host_leave(&in);
}

static uint64_t timeout_arg(lua_State *L, int arg)
{
    double s;

    if (lua_isnoneornil(L, arg))
        return UINT64_MAX;
    s = luaL_checknumber(L, arg);
    luaL_argcheck(L, s >= 0 && s <= 1e9, arg, "seconds");
    return (uint64_t)(s * 1e9);
}

static int vm_wait_stop(lua_State *L)
{
    return story_wait(L, WAIT_STOP, timeout_arg(L, 1));
}

static int vm_wait_console(lua_State *L)
{
    struct scripts *h = host_of(L);
    const char *pattern = luaL_checkstring(L, 1);
    int chan = (int)luaL_optinteger(L, 3, -1);

    luaL_argcheck(L, chan >= -1 && chan < CONSOLE_CHANS, 3, "no such channel");
    if (h->running && h->running->co == L) {
        free(h->running->pattern);
        h->running->pattern = xstrdup(pattern);
        h->running->chan = chan;
    }
    host_ring(h); /* it may be there already */
    return story_wait(L, WAIT_CONSOLE, timeout_arg(L, 2));
}

static int vm_sleep(lua_State *L)
{
    host_self(L);
    return story_wait(L, WAIT_TIME, timeout_arg(L, 1));
}

static int vm_spawn(lua_State *L)
{
    struct scripts *h = host_of(L);
    char *name;
    struct story *st;

    host_self(L);
    luaL_checktype(L, 1, LUA_TFUNCTION);
    host_need_main(L, "vm.spawn");
    name = host_where(L);
    lua_pushstring(L, name);
    free(name);
    lua_insert(L, 1);
    st = story_start(h, L, lua_gettop(L) - 2, lua_tostring(L, 1), NULL);
    st->counts = true;
    host_ring(h); /* the timer follows */
    return 0;
}

/* ---- control -------------------------------------------------------------------------------- */

/* A control call of the session without the lock; raises its sentence. */
#define CONTROL(L, what, call)                                                                     \
    do {                                                                                           \
        struct scripts *h_ = host_of(L);                                                           \
        struct err e_ = {0};                                                                       \
        int rc_;                                                                                   \
        host_need_main(L, what);                                                                   \
        host_release(h_);                                                                          \
        rc_ = (int)(call);                                                                         \
        host_retake(h_);                                                                           \
        if (rc_ < 0)                                                                               \
            return host_raise(L, &e_);                                                             \
    } while (0)
#define S host_of(L)->s

static unsigned vcpu_arg(lua_State *L, int arg)
{
    lua_Integer n = luaL_optinteger(L, arg, session_focus(S));

    luaL_argcheck(L, n >= 0 && n < session_cpus(S), arg, "no such vCPU");
    return (unsigned)n;
}

static uint64_t count_arg(lua_State *L, int arg)
{
    lua_Integer n = luaL_optinteger(L, arg, 1);

    luaL_argcheck(L, n >= 1, arg, "a count is 1 or more");
    return (uint64_t)n;
}

static int vm_go(lua_State *L)
{
    CONTROL(L, "vm.cont", session_run(S, &e_));
    return 0;
}

static int vm_halt(lua_State *L)
{
    CONTROL(L, "vm.stop", session_stop(S));
    return 0;
}

static int vm_step(lua_State *L)
{
    uint64_t n = count_arg(L, 1);
    unsigned cpu = vcpu_arg(L, 2);

    CONTROL(L, "vm.step", session_step(S, cpu, n, &e_));
    return 0;
}

static int vm_over(lua_State *L)
{
    uint64_t n = count_arg(L, 1);
    unsigned cpu = vcpu_arg(L, 2);

    CONTROL(L, "vm.over", session_step_over(S, cpu, n, &e_));
    return 0;
}

static int vm_finish(lua_State *L)
{
    unsigned cpu = vcpu_arg(L, 1);

    CONTROL(L, "vm.finish", session_finish(S, cpu, &e_));
    return 0;
}

static int vm_until(lua_State *L)
{
    uint64_t at = (uint64_t)luaL_checkinteger(L, 1);

    CONTROL(L, "vm.until", session_until(S, at, &e_));
    return 0;
}

static int vm_reset(lua_State *L)
{
    host_self(L);
    CONTROL(L, "vm.reset", session_reset(S, &e_));
    return 0;
}

static int vm_state(lua_State *L)
{
    static const char *const names[] = {"stopped", "running", "ended"};

    lua_pushstring(L, names[session_state(S)]);
    return 1;
}

static int vm_last_stop(lua_State *L)
{
    host_need_main(L, "vm.last_stop");
    story_push_stop(L, session_last_stop(S));
    return 1;
}

static const char *const input_names[] = {"com1", "com2", NULL};

static int vm_send(lua_State *L)
{
    struct scripts *h = host_of(L);
    size_t len, taken;
    const char *text;
    int chan;

    host_self(L);
    text = luaL_checklstring(L, 1, &len);
    chan = luaL_checkoption(L, 2, "com1", input_names);
    host_need_main(L, "vm.send");
    host_release(h);
    taken = session_input(h->s, chan ? DOOR_COM2 : DOOR_COM1, text, len);
    host_retake(h);
    lua_pushinteger(L, (lua_Integer)taken);
    return 1;
}

static int vm_type(lua_State *L)
{
    struct scripts *h = host_of(L);
    const char *text;
    size_t taken;

    host_self(L);
    text = luaL_checkstring(L, 1);
    host_need_main(L, "vm.type");
    host_release(h);
    taken = session_type(h->s, text);
    host_retake(h);
    lua_pushinteger(L, (lua_Integer)taken);
    return 1;
}

static int vm_console(lua_State *L)
{
    static const char *const names[] = {"com1", "com2", "debug", NULL};
    const struct buf *b;

    host_self(L);
    host_need_main(L, "vm.console");
    b = &host_of(L)->console[luaL_checkoption(L, 1, "com1", names)].text;
    lua_pushlstring(L, buf_str(b), b->len);
    return 1;
}

void lua_open_story(lua_State *L)
{
    static const luaL_Reg list[] = {
        {"_wait_stop", vm_wait_stop},
        {"_wait_console", vm_wait_console},
        {"_may_wait", vm_may_wait},
        {"sleep", vm_sleep},
        {"spawn", vm_spawn},
        {"_go", vm_go},
        {"_halt", vm_halt},
        {"_step", vm_step},
        {"_over", vm_over},
        {"_finish", vm_finish},
        {"_until", vm_until},
        {"reset", vm_reset},
        {"state", vm_state},
        {"last_stop", vm_last_stop},
        {"send", vm_send},
        {"type", vm_type},
        {"console", vm_console},
        {NULL, NULL},
    };

    luaL_setfuncs(L, list, 0);
    lua_getglobal(L, "string");
    lua_getfield(L, -1, "find");
    lua_setfield(L, LUA_REGISTRYINDEX, "find");
    lua_pop(L, 1);
}
