/*
 * What scripts add to the debugger's own words: names of addresses that no file has, and the text
 * of exits. The session asks on whatever thread needs it; where Lua cannot be entered it gets no
 * answer. Also vm.table, with which scripts print as commands do.
 */
#include <stdlib.h>
#include <string.h>

#include "debug/out.h"
#include "debug/symbols/sym.h"
#include "scripts/lua_int.h"
#include "vmm/base/esc.h"
#include "vmm/base/x.h"

#define TEXT_MAX 300 /* of an exit's row */

/* ---- being asked ------------------------------------------------------------------------------
 */

struct question {
    struct scripts *h;
    struct entry in;
    bool entered;
};

/* Makes h->ask usable on this thread. False where nothing can be asked: a thread that is neither
 * the main one nor in Lua already, or the answer to a question that an answer asks. */
static bool ask_begin(struct question *q, struct scripts *h)
{
    *q = (struct question){.h = h, .in = {.is_main = true}};
    if (!host_is_held(h)) {
        if (!pthread_equal(pthread_self(), h->main))
            return false;
        host_enter(h, &q->in, h->ask, (uint64_t)h->cfg.hook_ms * 1000000);
        q->entered = true;
    }
    if (h->asking || h->closing) {
        if (q->entered)
            host_leave(&q->in);
        return false;
    }
    h->asking = true;
    host_arm(h->ask);
    return true;
}

static void ask_end(struct question *q)
{
    lua_settop(q->h->ask, 0);
    q->h->asking = false;
    if (q->entered)
        host_leave(&q->in);
}

/* ---- exits ------------------------------------------------------------------------------------
 */

static bool format_by(struct lua_hook *k, lua_State *L, const struct exit_event *ev,
                      struct buf *out)
{
    struct scripts *h = k->h;
    bool said = false;
    size_t len;

    *h->format_event = (struct event_box){.ev = ev};
    k->hits++;
    lua_rawgeti(L, LUA_REGISTRYINDEX, k->fn);
    lua_rawgeti(L, LUA_REGISTRYINDEX, h->format_event_ref);
    if (host_pcall(L, 1, 1) != LUA_OK) {
        hook_failed(k, host_error_text(L));
    } else {
        k->errors = 0;
        if (lua_type(L, -1) == LUA_TSTRING) {
            const char *text = lua_tolstring(L, -1, &len);

            esc_line(out, text, len < TEXT_MAX ? len : TEXT_MAX);
            said = true;
        }
    }
    h->format_event->ev = NULL;
    lua_pop(L, 1);
    return said;
}

bool extend_format(struct scripts *h, const struct exit_event *ev, struct buf *out)
{
    struct question q;
    bool said = false;

    if (!h->formatters || !ask_begin(&q, h))
        return false;
    for (struct lua_hook *k = h->hooks; k && !said; k = k->next)
        if (k->what == HOOK_FORMAT && !k->dead && hook_wants(k, ev))
            said = format_by(k, h->ask, ev, out);
    ask_end(&q);
    return said;
}

static bool exit_text(void *arg, const struct exit_event *ev, struct buf *out)
{
    return extend_format(arg, ev, out);
}

/* ---- names -------------------------------------------------------------------------------------
 */

/* Calls field `which` of the resolvers' table in the registry, whose argument is on top; the
 * results, up to three, are left on the stack. */
static bool ask_resolvers(struct scripts *h, const char *which)
{
    lua_State *L = h->ask;

    lua_getfield(L, LUA_REGISTRYINDEX, which);
    lua_insert(L, -2);
    if (host_pcall(L, 1, 3) == LUA_OK)
        return !lua_isnil(L, -3);
    host_fail(h, host_error_text(L));
    lua_pop(L, 1);
    return false;
}

static int name_of(void *arg, uint64_t addr, struct symbols_answer *out)
{
    struct scripts *h = arg;
    struct question q;
    int rc = 0;

    if (!ask_begin(&q, h))
        return -1;
    lua_pushinteger(h->ask, (lua_Integer)addr);
    if (ask_resolvers(h, "resolve_addr")) {
        const char *name = lua_tostring(h->ask, -3);

        if (name) {
            strncpy(out->name, name, sizeof out->name - 1);
            out->addr = lua_isinteger(h->ask, -2) ? (uint64_t)lua_tointeger(h->ask, -2) : addr;
            out->size = lua_isinteger(h->ask, -1) ? (uint64_t)lua_tointeger(h->ask, -1) : 0;
            rc = 1;
        } else {
            rc = -1; /* a resolver failed; it may know later */
        }
    }
    ask_end(&q);
    return rc;
}

static int addr_of(void *arg, const char *name, uint64_t *addr)
{
    struct scripts *h = arg;
    struct question q;
    int rc = 0;

    if (!ask_begin(&q, h))
        return -1;
    lua_pushstring(h->ask, name);
    if (ask_resolvers(h, "resolve_name") && lua_isinteger(h->ask, -3)) {
        *addr = (uint64_t)lua_tointeger(h->ask, -3);
        rc = 1;
    }
    ask_end(&q);
    return rc;
}

/* Names that events gave out may be wrong now, too. Lock held. */
static void forget_places(lua_State *L)
{
    struct scripts *h = host_of(L);

    lua_newtable(L);
    lua_rawseti(L, LUA_REGISTRYINDEX, h->places);
    h->places_count = 0;
}

/* vm._resolvers(by_addr, by_name): the two functions that ask all resolvers */
static int vm_resolvers(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TFUNCTION);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    lua_settop(L, 2);
    lua_setfield(L, LUA_REGISTRYINDEX, "resolve_name");
    lua_setfield(L, LUA_REGISTRYINDEX, "resolve_addr");
    return 0;
}

/* vm._asked(): a resolver came or went, or knows more now */
static int vm_asked(lua_State *L)
{
    static const struct symbols_client ours = {.name_of = name_of, .addr_of = addr_of};
    struct scripts *h = host_of(L);
    struct symbols_client c = ours;

    host_need_main(L, "a resolver's change");
    forget_places(L);
    if (h->resolving) {
        symbols_forget(session_symbols(h->s), true);
    } else {
        if (session_state(h->s) == SS_RUNNING)
            return luaL_error(L,
                              "vm.resolver can be used first while the guest is stopped; it runs");
        c.arg = h;
        symbols_set_client(session_symbols(h->s), &c);
        h->resolving = true;
    }
    host_release(h);
    session_changed(h->s);
    host_retake(h);
    return 0;
}

void extend_begin(struct scripts *h)
{
    session_set_exit_text(h->s, exit_text, h);
}

/* The guest may have made new code, so what was unknown is asked again. */
void extend_on_stop(struct scripts *h)
{
    if (h->resolving)
        symbols_forget(session_symbols(h->s), false);
}

void extend_end(struct scripts *h)
{
    session_set_exit_text(h->s, NULL, NULL);
    if (h->resolving)
        symbols_set_client(session_symbols(h->s), NULL);
}

/* ---- tables ------------------------------------------------------------------------------------
 */

#define COLUMNS_MAX 32

static void cell(lua_State *L, struct out *o)
{
    size_t len;
    const char *text;

    if (lua_isinteger(L, -1) && lua_tointeger(L, -1) >= 0) {
        out_cell_u64(o, (uint64_t)lua_tointeger(L, -1));
    } else if (lua_isnil(L, -1)) {
        out_cell(o, "%s", "");
    } else {
        text = luaL_tolstring(L, -1, &len);
        out_cell(o, "%.*s", (int)(len < 2000 ? len : 2000), text);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

struct table_job {
    struct out *o, own;
    const char *columns[COLUMNS_MAX + 1];
    int n;
};

/* Arguments: rows, columns, name, and the job. Lua may raise here; the job is given back by who
 * called. */
static int fill_table(lua_State *L)
{
    struct table_job *job = lua_touserdata(L, 4);
    lua_Integer rows = luaL_len(L, 1);

    for (lua_Integer i = 1; i <= rows; i++) {
        bool by_name;

        lua_geti(L, 1, i);
        luaL_checktype(L, -1, LUA_TTABLE);
        by_name = lua_geti(L, -1, 1) == LUA_TNIL;
        lua_pop(L, 1);
        out_row(job->o);
        for (int c = 0; c < job->n; c++) {
            const char *name = job->columns[c] + (job->columns[c][0] == '>');

            if (by_name)
                lua_getfield(L, -1, name);
            else
                lua_geti(L, -1, c + 1);
            cell(L, job->o);
        }
        lua_pop(L, 1);
    }
    return 0;
}

/* vm.table(rows, columns [, name]): to where print goes, as a table of text and JSON */
static int vm_table(lua_State *L)
{
    struct scripts *h = host_of(L);
    struct table_job *job;
    int status;

    host_self(L);
    host_need_main(L, "vm.table");
    luaL_checktype(L, 1, LUA_TTABLE);
    luaL_checktype(L, 2, LUA_TTABLE);
    luaL_optstring(L, 3, "rows");
    lua_settop(L, 3);
    job = lua_newuserdatauv(L, sizeof *job, 0);
    *job = (struct table_job){.n = (int)luaL_len(L, 2)};
    luaL_argcheck(L, job->n >= 1 && job->n <= COLUMNS_MAX, 2, "1 to 32 columns");
    for (int i = 0; i < job->n; i++) {
        luaL_argcheck(L, lua_geti(L, 2, i + 1) == LUA_TSTRING, 2, "names of columns are texts");
        job->columns[i] = lua_tostring(L, -1); /* the table on the stack holds it */
        lua_pop(L, 1);
    }
    job->o = h->out ? h->out : &job->own;
    host_flush(h); /* what was printed before comes before */
    out_table(job->o, luaL_optstring(L, 3, "rows"), NULL, job->columns);
    lua_pushcfunction(L, fill_table);
    for (int i = 1; i <= 4; i++)
        lua_pushvalue(L, i);
    status = lua_pcall(L, 4, 0, 0);
    out_table_end(job->o);
    if (job->o == &job->own) {
        host_print(h, buf_str(&job->own.text), job->own.text.len);
        out_fini(&job->own);
    }
    return status == LUA_OK ? 0 : lua_error(L);
}

void lua_open_extend(lua_State *L)
{
    static const luaL_Reg list[] = {
        {"_resolvers", vm_resolvers}, {"_asked", vm_asked}, {"table", vm_table}, {NULL, NULL}};

    luaL_setfuncs(L, list, 0);
}
