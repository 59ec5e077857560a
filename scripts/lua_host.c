/*
 * The host of scripts as its clients see it: opening and closing, running files and lines, and the
 * commands of the session that scripts serve. Main thread.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "debug/out.h"
#include "scripts/lua_int.h"
#include "scripts/script_path.h"
#include "vmm/base/clock.h"
#include "vmm/base/x.h"

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

    if (a->path ? host_load(L, a->path)
                : luaL_loadbufferx(L, a->code, strlen(a->code), a->chunk, "t"))
        return lua_error(L);
    push_args(L, a->args);
    st = story_start(a->h, L, 1, a->path ? a->path : a->chunk + 1, NULL);
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
    struct quiet quiet;
    char *why;
    bool good;
    int rc = 0;

    host_enter(h, &in, h->L, host_main_ns(h));
    host_quiet(h, &quiet);
    if (h->mem_used > h->cfg.mem_bytes / 8)
        lua_gc(h->L, LUA_GCCOLLECT); /* what a script before this one left */
    good = host_protect(h, start_in_lua, a) && !a->failed;
    why = host_loud(h, &quiet);
    if (!good)
        rc = err_set(e, EINVAL, "%.580s", why ? why : "the script failed");
    if (h->failed || (a->out && !a->path))
        free(why);
    else
        h->failed = why;
    host_flush(h);
    host_leave(&in);
    turn_now(h);
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
    rc = turn_open(h, e);
    if (!rc)
        rc = host_make_state(h, e);
    if (rc) {
        scripts_close(h);
        return rc;
    }
    turn_listen(h);
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
        h->cfg.deadline_ns = clock_thread_ns() + LAST_NS;
    turn_console_lines(h);
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
    turn_close(h);
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
