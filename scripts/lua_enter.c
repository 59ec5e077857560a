/*
 * Entering Lua: the lock that one thread at a time holds, the limits of what runs inside, and how
 * errors come out. Any thread; see lua_int.h.
 */
#include <string.h>

#include "scripts/lua_int.h"
#include "vmm/base/clock.h"
#include "vmm/base/x.h"

/* The innermost entry of this thread; one host at a time is inside on a thread. */
static _Thread_local struct entry *tls_inside;
static _Thread_local const struct scripts *tls_held; /* whose lock this thread holds */

struct scripts *host_of(lua_State *L)
{
    return *(struct scripts **)lua_getextraspace(L);
}

/* ---- limits --------------------------------------------------------------------------------- */

static void on_count(lua_State *L, lua_Debug *ar);

/* Whether it computed too long. Processor time: on a busy host a script gets little of the clock's.
 */
static bool spent(struct entry *e)
{
    uint64_t now = clock_thread_ns();

    if (!e->from_ns)
        e->from_ns = now;
    return now - e->from_ns >= e->limit_ns;
}

/* Whether the time of the whole run is over; for its "end" hooks that is processor time, too. */
static bool run_is_over(const struct scripts *h)
{
    uint64_t end = h->cfg.deadline_ns;

    return end && (h->ended ? clock_thread_ns() : clock_ns()) >= end;
}

/* After its time it strikes at every instruction, so that no pcall of the script's can swallow it
 * for good. */
void host_look(lua_State *L)
{
    struct scripts *h = host_of(L);
    struct entry *e = h->inside;
    bool over = e->is_main && run_is_over(h);

    /* Once for all: a pcall may swallow the error, and a key is typed once. */
    if (e->is_main && !e->interrupted && h->cfg.interrupted)
        e->interrupted = h->cfg.interrupted();
    if (!spent(e) && !e->interrupted && !over)
        return;
    e->struck = true;
    lua_sethook(L, on_count, LUA_MASKCOUNT, 1);
    luaL_error(L, e->interrupted ? "interrupted"
                  : over         ? "the time of this run is over"
                  : e->is_main ? "this script ran too long without waiting; vm:sleep() lets others "
                                 "have a turn"
                               : "this hook ran too long, and the guest waits for it");
}

/* Looks at the clock now and then. */
static void on_count(lua_State *L, lua_Debug *ar)
{
    (void)ar;
    host_look(L);
    lua_sethook(L, on_count, LUA_MASKCOUNT, COUNT_INSTRUCTIONS);
}

uint64_t host_main_ns(const struct scripts *h)
{
    return (uint64_t)h->cfg.main_ms * 1000000;
}

/* ---- the lock ------------------------------------------------------------------------------- */

void host_enter(struct scripts *h, struct entry *e, lua_State *L, uint64_t limit_ns)
{
    BUG_ON(pthread_mutex_lock(&h->lock) != 0);
    e->outer = tls_inside;
    e->h = h;
    e->limit_ns = limit_ns;
    e->from_ns = 0;
    tls_inside = e;
    tls_held = h;
    h->inside = e;
    host_arm(L);
}

void host_arm(lua_State *L)
{
    lua_sethook(L, on_count, LUA_MASKCOUNT, COUNT_INSTRUCTIONS);
}

/* Hooks that were set and removed take effect together: by itself each is a pass over all. */
static void publish_hooks(struct scripts *h)
{
    if (h->batch)
        session_hook_batch(h->s, false);
    h->batch = false;
}

void host_batch(struct scripts *h)
{
    if (!h->batch)
        session_hook_batch(h->s, true);
    h->batch = true;
}

void host_leave(struct entry *e)
{
    struct scripts *h = e->h;

    publish_hooks(h);
    tls_inside = e->outer;
    tls_held = NULL;
    h->inside = NULL;
    pthread_mutex_unlock(&h->lock);
}

void host_release(struct scripts *h)
{
    publish_hooks(h);
    tls_held = NULL;
    h->inside = NULL;
    pthread_mutex_unlock(&h->lock);
}

void host_retake(struct scripts *h)
{
    BUG_ON(pthread_mutex_lock(&h->lock) != 0);
    tls_held = h;
    h->inside = tls_inside;
}

bool host_is_held(const struct scripts *h)
{
    return tls_held == h;
}

struct entry *host_entry(struct scripts *h)
{
    return h->inside;
}

void host_need_main(lua_State *L, const char *what)
{
    struct entry *e = host_of(L)->inside;

    if (!e->is_main)
        luaL_error(L,
                   "%s cannot be called inside %s, because the guest waits for it there: return "
                   "\"stop\" and do it in a \"stop\" hook, or hand it to vm.defer",
                   what, e->in_device ? "a device" : "a hook");
}

/* ---- errors --------------------------------------------------------------------------------- */

int host_raise(lua_State *L, const struct err *e)
{
    luaL_where(L, 1);
    lua_pushstring(L, e->msg[0] ? e->msg : strerror(e->code));
    lua_concat(L, 2);
    return lua_error(L);
}

#define ERROR_TEXT_MAX 2000

static int on_error(lua_State *L)
{
    size_t len;
    const char *text = luaL_tolstring(L, 1, &len);

    if (len > ERROR_TEXT_MAX) { /* with the tracebacks of what it went through already */
        lua_pushlstring(L, text, ERROR_TEXT_MAX);
        lua_pushliteral(L, "…");
        lua_concat(L, 2);
        return 1;
    }
    luaL_traceback(L, L, text, 1);
    return 1;
}

int host_pcall(lua_State *L, int args, int results)
{
    int base = lua_gettop(L) - args, status;

    lua_pushcfunction(L, on_error);
    lua_insert(L, base);
    status = lua_pcall(L, args, results, base);
    lua_remove(L, base);
    return status;
}

const char *host_error_text(lua_State *L)
{
    return lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "an error without a text";
}

bool host_protect(struct scripts *h, lua_CFunction fn, void *arg)
{
    bool good;

    lua_pushcfunction(h->L, fn);
    lua_pushlightuserdata(h->L, arg);
    good = host_pcall(h->L, 1, 0) == LUA_OK;
    if (!good) {
        host_fail(h, host_error_text(h->L));
        lua_pop(h->L, 1);
    }
    return good;
}
