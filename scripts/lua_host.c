/*
 * The Lua state: its making, its limits, its lock, its errors and what it prints; and the turn of
 * the main thread that delivers what happened. See lua_int.h for the threads.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "debug/out.h"
#include "scripts/lua_int.h"
#include "scripts/script_path.h"
#include "vmm/base/clock.h"
#include "vmm/base/esc.h"
#include "vmm/base/log.h"
#include "vmm/base/textfile.h"
#include "vmm/base/x.h"

/* The innermost entry of this thread; one host at a time is inside on a thread. */
static _Thread_local struct entry *tls_inside;
static _Thread_local const struct scripts *tls_held; /* whose lock this thread holds */

struct scripts *host_of(lua_State *L)
{
    return *(struct scripts **)lua_getextraspace(L);
}

/* ---- limits --------------------------------------------------------------------------------- */

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

static void on_count(lua_State *L, lua_Debug *ar);

/* After the deadline it strikes at every instruction, so that no pcall of the script's can swallow
 * it for good. */
void host_look(lua_State *L)
{
    struct scripts *h = host_of(L);
    struct entry *e = h->inside;
    uint64_t now = clock_ns();
    bool over = e->is_main && h->cfg.deadline_ns && now >= h->cfg.deadline_ns;

    /* Once for all: a pcall may swallow the error, and a key is typed once. */
    if (e->is_main && !e->interrupted && h->cfg.interrupted)
        e->interrupted = h->cfg.interrupted();
    if (now < e->deadline_ns && !e->interrupted && !over)
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
    e->L = L;
    e->deadline_ns = clock_ns() + limit_ns;
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

/* ---- errors and output ---------------------------------------------------------------------- */

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

void host_ring(struct scripts *h)
{
    uint64_t one = 1;

    if (write(h->bell_fd, &one, sizeof one) < 0 && errno != EAGAIN)
        log_error("cannot wake the script host: %s", strerror(errno));
}

static void give_lines(struct out *o, const char *text, size_t len)
{
    while (len) {
        const char *end = memchr(text, '\n', len);
        size_t n = end ? (size_t)(end - text) : len;

        out_line(o, "%.*s", (int)n, text);
        text += n + (end != NULL);
        len -= n + (end != NULL);
    }
}

/* Main thread, lock held: hands over what was printed. */
void host_flush(struct scripts *h)
{
    struct buf text = h->output;
    uint64_t lost = h->output_lost;
    struct out *o = h->out;

    h->output = (struct buf){0};
    h->output_lost = 0;
    if (lost)
        buf_addf(&text, "(%llu bytes that scripts printed were too fast and are lost)\n",
                 (unsigned long long)lost);
    if (!text.len) {
        buf_fini(&text);
        return;
    }
    host_release(h);
    if (o)
        give_lines(o, text.data, text.len);
    else if (h->cfg.print)
        h->cfg.print(h->cfg.arg, text.data, text.len);
    else
        log_info("script: %s", text.data);
    host_retake(h);
    buf_fini(&text);
}

void host_print(struct scripts *h, const char *text, size_t len)
{
    if (h->output.len + len > OUTPUT_MAX)
        h->output_lost += len;
    else
        buf_add(&h->output, text, len);
    if (h->inside && h->inside->is_main)
        host_flush(h);
    else
        host_ring(h);
}

void host_printf(struct scripts *h, const char *fmt, ...)
{
    struct buf b = {0};
    va_list ap;

    va_start(ap, fmt);
    buf_vaddf(&b, fmt, ap);
    va_end(ap);
    host_print(h, buf_str(&b), b.len);
    buf_fini(&b);
}

void host_fail(struct scripts *h, const char *why)
{
    if (!h->failed)
        h->failed = xstrdup(why);
    if (!h->quiet) /* else it is told as the answer to who runs it */
        host_printf(h, "script error: %s\n", why);
}

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
        if (h->inside->is_main)
            h->inside->deadline_ns = clock_ns() + host_main_ns(h);
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

static int load_path(lua_State *L, const char *path)
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
    if (load_path(L, path)) {
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

static int make_state(struct scripts *h, struct err *e)
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

/* ---- the main thread's turn ----------------------------------------------------------------- */

static int deferred_in_lua(lua_State *L)
{
    struct scripts *h = lua_touserdata(L, 1);
    unsigned n = h->deferred_count;

    lua_rawgeti(L, LUA_REGISTRYINDEX, h->deferred);
    lua_newtable(L); /* those that come meanwhile wait for the next turn */
    lua_rawseti(L, LUA_REGISTRYINDEX, h->deferred);
    h->deferred_count = 0;
    for (unsigned i = 1; i <= n; i++) {
        lua_rawgeti(L, 2, i);
        story_start(h, L, 0, "deferred", NULL, NULL);
    }
    return 0;
}

static void run_deferred(struct scripts *h)
{
    struct entry in = {.is_main = true};

    host_enter(h, &in, h->L, host_main_ns(h));
    if (h->deferred_count)
        host_protect(h, deferred_in_lua, h);
    host_flush(h);
    host_leave(&in);
}

static void quit(struct scripts *h)
{
    if (!h->quit_asked)
        return;
    h->quit_asked = false;
    h->client->quit = true;
    if (h->quit_status >= 0)
        h->client->quit_status = h->quit_status;
    session_stop(h->s);
}

static void set_timer(struct scripts *h, uint64_t at)
{
    struct itimerspec when = {0};

    if (at == h->timer_at)
        return;
    h->timer_at = at;
    if (at != UINT64_MAX) {
        at++; /* a time of 0 would disarm it */
        when.it_value.tv_sec = (time_t)(at / 1000000000);
        when.it_value.tv_nsec = (long)(at % 1000000000);
    }
    if (timerfd_settime(h->timer_fd, TFD_TIMER_ABSTIME, &when, NULL) < 0)
        log_error("cannot set the script timer: %s", strerror(errno));
}

static void console_lines(struct scripts *h)
{
    for (int c = 0; c < CONSOLE_CHANS; c++) {
        struct buf *b = &h->console_line[c];
        const char *end;

        while (b->len && (end = memchr(b->data, '\n', b->len))) {
            size_t n = (size_t)(end - b->data), text = n;

            while (text && b->data[text - 1] == '\r')
                text--;
            hooks_on_line(h, c, b->data, text);
            buf_eat(b, n + 1);
        }
        if (b->len > CONSOLE_KEEP)
            buf_clear(b); /* no line is that long */
    }
}

static void turn(void *arg, int fd)
{
    struct scripts *h = arg;
    uint64_t n, at, tick;

    if (fd >= 0 && read(fd, &n, sizeof n) < 0 && errno != EAGAIN)
        log_error("cannot read a descriptor of the script host: %s", strerror(errno));
    if (fd == h->timer_fd)
        h->timer_at = UINT64_MAX; /* it is over */
    console_lines(h);
    if (h->reset_news) {
        h->reset_news = false;
        hooks_on_reset(h);
    }
    if (h->trace_news) {
        h->trace_news = false;
        hooks_on_trace(h);
    }
    if (h->stop_news) {
        h->stop_news = false;
        hooks_on_stop(h, session_last_stop(h->s));
    }
    run_deferred(h);
    tick = hooks_on_time(h, clock_ns());
    stories_wake(h);
    quit(h);
    at = stories_deadline(h);
    set_timer(h, at < tick ? at : tick);
}

static void keep_console(struct scripts *h, const struct console_text *t)
{
    struct console_tail *c = &h->console[t->chan];

    buf_add(&c->text, t->bytes, t->len);
    buf_add(&h->console_line[t->chan], t->bytes, t->len);
    if (c->text.len > 2 * CONSOLE_KEEP) {
        size_t cut = c->text.len - CONSOLE_KEEP;

        buf_eat(&c->text, cut);
        c->seen = c->seen > cut ? c->seen - cut : 0;
    }
}

static void on_event(void *arg, unsigned event, const void *data)
{
    struct scripts *h = arg;

    switch (event) {
    case EV_STOPPED:
        panes_on_stop(h);
        extend_on_stop(h);
        if (!h->hooks && !h->stories)
            return; /* nobody waits: steps are made by the thousand */
        h->stop_news = true;
        break;
    case EV_CONSOLE:
        keep_console(h, data);
        break;
    case EV_RESET:
        h->reset_news = true;
        break;
    case EV_TRACE:
        if (!h->cursor_set)
            return;
        h->trace_news = true;
        break;
    default:
        return;
    }
    host_ring(h);
}

/* ---- for front ends ------------------------------------------------------------------------- */

struct start {
    struct scripts *h;
    const char *code, *path, *chunk;
    const char *args; /* "KEY=VALUE,…", or NULL */
    struct out *out;
    bool failed;
};

/* "KEY=VALUE,FLAG" as a table of texts; a key without value is true. */
static void push_args(lua_State *L, const char *p)
{
    lua_newtable(L);
    while (p && *p) {
        size_t n = strcspn(p, ","), key = strcspn(p, "=,");

        lua_pushlstring(L, p, key);
        if (key < n)
            lua_pushlstring(L, p + key + 1, n - key - 1);
        else
            lua_pushboolean(L, true);
        lua_rawset(L, -3);
        p += n + (p[n] == ',');
    }
}

static int start_in_lua(lua_State *L)
{
    struct start *a = lua_touserdata(L, 1);
    struct story *st;

    if (a->path ? load_path(L, a->path)
                : luaL_loadbufferx(L, a->code, strlen(a->code), a->chunk, "t"))
        return lua_error(L);
    push_args(L, a->args);
    st = story_start(a->h, L, 1, a->path ? a->path : a->chunk + 1, NULL, a->out);
    st->counts = true;
    a->failed = st->failed;
    return 0;
}

/* Loads code or a file and runs it up to its first wait. At a prompt (`a->out`) an error is the
 * answer; elsewhere it also makes the run a failed one. */
static int run(struct start *a, struct err *e)
{
    struct scripts *h = a->h;
    struct entry in = {.is_main = true};
    char *before = h->failed;
    int rc = 0;

    host_enter(h, &in, h->L, host_main_ns(h));
    h->failed = NULL;
    h->quiet = true;
    if (h->mem_used > h->cfg.mem_bytes / 8)
        lua_gc(h->L, LUA_GCCOLLECT); /* what a script before this one left */
    if (!host_protect(h, start_in_lua, a) || a->failed)
        rc = err_set(e, EINVAL, "%.580s", h->failed ? h->failed : "the script failed");
    h->quiet = false;
    if (before || (a->out && !a->path)) {
        free(h->failed);
        h->failed = before;
    }
    host_flush(h);
    host_leave(&in);
    turn(h, -1);
    return rc;
}

/* NAME,help: what the script says of itself, and the end. */
static int tell_about(struct scripts *h, const char *path)
{
    struct entry in = {.is_main = true};
    struct buf about = {0};

    if (!script_about(path, &about))
        buf_addf(&about, "%s says nothing of itself: it begins without a comment.\n", path);
    host_enter(h, &in, h->L, host_main_ns(h));
    host_print(h, buf_str(&about), about.len);
    host_leave(&in);
    buf_fini(&about);
    h->quit_status = 0;
    h->quit_asked = true;
    host_ring(h);
    return 0;
}

int scripts_run_file(struct scripts *h, const char *name, struct err *e)
{
    char *word = xasprintf("%.*s", (int)strcspn(name, ","), name), *path;
    const char *args = name + strlen(word);
    int rc;

    path = access(word, R_OK) ? script_path(word) : xstrdup(word);
    free(word);
    if (!path)
        return err_set(e, ENOENT,
                       "there is no script %s: neither a file of that name nor one in %s", name,
                       script_folders());
    args += *args == ',';
    rc = !strcmp(args, "help") ? tell_about(h, path)
                               : run(&(struct start){.h = h, .path = path, .args = args}, e);
    free(path);
    return rc;
}

int scripts_run_text(struct scripts *h, const char *code, const char *chunk, struct err *e)
{
    return run(&(struct start){.h = h, .code = code, .chunk = chunk}, e);
}

bool scripts_waiting(const struct scripts *h)
{
    for (const struct story *st = h->stories; st; st = st->next)
        if (st->counts && !st->ended)
            return true;
    return false;
}

bool scripts_idle(const struct scripts *h)
{
    return !h || (!scripts_waiting(h) && !h->stop_news && !h->quit_asked && !h->deferred_count);
}

bool scripts_broken(const struct scripts *h)
{
    return h && h->broken;
}

bool scripts_failed(const struct scripts *h, const char **why)
{
    const char *text = h ? h->failed : NULL;

    if (why)
        *why = text ? text : "";
    return text != NULL;
}

/* ---- for commands --------------------------------------------------------------------------- */

static bool parses(struct scripts *h, const struct buf *code)
{
    struct entry in = {.is_main = true};
    bool good;

    host_enter(h, &in, h->L, host_main_ns(h));
    good = luaL_loadbufferx(h->L, buf_str(code), code->len, "=lua", "t") == LUA_OK;
    lua_pop(h->L, 1);
    host_leave(&in);
    return good;
}

static int op_run(void *arg, const char *code, bool is_file, struct out *o)
{
    struct scripts *h = arg;
    struct out *outer = h->out;
    struct err e = {0};
    struct buf text = {0};
    char *path = NULL;
    int rc;

    if (is_file) {
        path = access(code, R_OK) ? script_path(code) : xstrdup(code);
        if (!path) {
            out_error(o, "there is no script %s: neither a file of that name nor one in %s", code,
                      script_folders());
            return -ENOENT;
        }
    }
    h->out = o;
    /* An expression is shown, as at Lua's own prompt. */
    buf_addf(&text, "return vm._show(%s\n)", code);
    if (!is_file && !parses(h, &text)) {
        buf_clear(&text);
        buf_adds(&text, code);
    }
    rc = run(
        &(struct start){.h = h, .code = buf_str(&text), .path = path, .chunk = "=lua", .out = o},
        &e);
    h->out = outer;
    if (rc)
        out_error(o, "%s", e.msg);
    buf_fini(&text);
    free(path);
    return rc;
}

static int op_point(void *arg, const char *function, hook_fn **fn, void **fn_arg, struct err *e)
{
    return hooks_point(arg, function, fn, fn_arg, e);
}

static void op_pointed(void *arg, void *fn_arg, int id)
{
    (void)arg;
    hooks_pointed(fn_arg, id);
}

static int op_help(void *arg, const char *name, struct out *o)
{
    (void)arg;
    return docs_help(name, o);
}

static int op_list(void *arg, struct out *o)
{
    struct scripts *h = arg;
    static const char *const columns[] = {"script", "waits for", NULL};
    static const char *const waits[] = {"its turn", "a stop", "console output", "time"};

    hooks_list(h, o);
    devices_list(h, o);
    panes_list(h, o);
    out_table(o, "waiting", NULL, columns);
    for (const struct story *st = h->stories; st; st = st->next) {
        if (st->ended)
            continue;
        out_row(o);
        out_cell(o, "%s", st->name);
        out_cell(o, "%s", waits[st->wait]);
    }
    out_table_end(o);
    out_kv_u64(o, "bytes in use", h->mem_used);
    return 0;
}

/* ---- open and close ------------------------------------------------------------------------- */

static int open_fds(struct scripts *h, struct err *e)
{
    h->bell_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    h->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (h->bell_fd < 0 || h->timer_fd < 0 || session_fd_add(h->s, h->bell_fd, turn, h) < 0 ||
        session_fd_add(h->s, h->timer_fd, turn, h) < 0)
        return err_set(e, errno ? errno : ENOSPC, "cannot make descriptors for scripts");
    return 0;
}

int scripts_open(struct scripts **out, struct session *s, struct cmd_client *c,
                 const struct scripts_config *cfg, struct err *e)
{
    struct scripts *h = xcalloc(1, sizeof *h);
    pthread_mutexattr_t attr;
    int rc;

    *out = NULL;
    h->cfg = *cfg;
    h->cfg.mem_bytes = cfg->mem_bytes ? cfg->mem_bytes : 256u << 20;
    h->cfg.hook_ms = cfg->hook_ms ? cfg->hook_ms : 1000;
    h->cfg.main_ms = cfg->main_ms ? cfg->main_ms : 10000;
    h->s = s;
    h->client = c;
    h->main = pthread_self();
    h->own = (struct cmd_client){.s = s, .quit_status = -1};
    h->ops = (struct cmd_scripts){.arg = h,
                                  .run = op_run,
                                  .help = op_help,
                                  .point = op_point,
                                  .pointed = op_pointed,
                                  .list = op_list,
                                  .pane = panes_draw};
    h->bell_fd = h->timer_fd = h->subscription = -1;
    h->timer_at = UINT64_MAX;
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_ERRORCHECK);
    pthread_mutex_init(&h->lock, &attr);
    pthread_mutexattr_destroy(&attr);
    rc = open_fds(h, e);
    if (!rc)
        rc = make_state(h, e);
    if (rc) {
        scripts_close(h);
        return rc;
    }
    h->subscription =
        session_subscribe(s, EV_STOPPED | EV_CONSOLE | EV_RESET | EV_TRACE, on_event, h);
    session_set_scripts(s, &h->ops);
    extend_begin(h);
    *out = h;
    return 0;
}

void scripts_end(struct scripts *h)
{
    struct entry in = {.is_main = true};

    if (!h || h->ended || !h->L)
        return;
    h->ended = true;
    if (h->cfg.deadline_ns) /* last words may take a moment */
        h->cfg.deadline_ns = clock_ns() + LAST_NS;
    console_lines(h);
    hooks_on_trace(h);
    hooks_on_end(h);
    host_enter(h, &in, h->L, host_main_ns(h));
    host_flush(h);
    host_leave(&in);
}

void scripts_close(struct scripts *h)
{
    if (!h)
        return;
    scripts_end(h);
    h->closing = true;
    extend_end(h);
    session_unsubscribe(h->s, h->subscription);
    if (session_scripts(h->s) == &h->ops)
        session_set_scripts(h->s, NULL);
    if (session_state(h->s) == SS_RUNNING && !session_stop(h->s))
        session_wait(h->s, 2000000000u, NULL);
    if (h->bell_fd >= 0) {
        session_fd_del(h->s, h->bell_fd);
        close(h->bell_fd);
    }
    if (h->timer_fd >= 0) {
        session_fd_del(h->s, h->timer_fd);
        close(h->timer_fd);
    }
    hooks_free(h);
    devices_free(h);
    commands_free(h);
    panes_free(h);
    stories_free(h);
    if (h->L) {
        pthread_mutex_lock(&h->lock);
        lua_close(h->L);
        pthread_mutex_unlock(&h->lock);
    }
    cmd_client_fini(&h->own);
    for (int i = 0; i < CONSOLE_CHANS; i++) {
        buf_fini(&h->console[i].text);
        buf_fini(&h->console_line[i]);
    }
    buf_fini(&h->output);
    free(h->failed);
    pthread_mutex_destroy(&h->lock);
    free(h);
}
