/*
 * Panes: what scripts draw beside the panels of the workbench. A pane is drawn when it is looked at
 * and something happened since: a stop, a key, its own refresh, a new size, or its period. Main
 * thread; the screen asks by cmd_scripts.pane.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "debug/out.h"
#include "scripts/lua_int.h"
#include "vmm/base/clock.h"
#include "vmm/base/esc.h"
#include "vmm/base/x.h"

#define LINES_MAX  1000
#define LINE_BYTES 1000 /* bytes */

struct lua_pane {
    struct scripts *h;
    char *name, *title, *where;
    char keys[160];
    int table; /* registry: what tui.pane got */
    uint64_t every_ns, due_ns;
    unsigned cols, rows, errors;
    bool stale, dead, drawing;
    struct buf text; /* as it was drawn last */
    struct lua_pane *next;
};

static const char *const style_names[] = {
    [PANE_NORMAL] = "normal",   [PANE_DIM] = "dim",     [PANE_TITLE] = "title",
    [PANE_ADDR] = "addr",       [PANE_NAME] = "name",   [PANE_NUMBER] = "number",
    [PANE_CHANGED] = "changed", [PANE_ERROR] = "error",
};

/* ---- what draw returned ------------------------------------------------------------------------
 */

static void add_run(struct buf *out, size_t *left, const char *text, size_t len, unsigned style)
{
    if (len > *left)
        len = *left;
    *left -= len;
    buf_addc(out, (char)(style + 1));
    esc_line(out, text, len);
}

static unsigned style_arg(lua_State *L, int at)
{
    const char *name = lua_tostring(L, at);

    if (!name)
        return PANE_NORMAL;
    for (unsigned i = 0; i < PANE_STYLES; i++)
        if (!strcmp(style_names[i], name))
            return i;
    return (unsigned)luaL_error(
        L,
        "there is no style \"%s\": it is normal, dim, title, addr, name, number, changed or error",
        name);
}

/* The part on top: a text, or {text, style}. Pops it. */
static void add_part(lua_State *L, struct buf *out, size_t *left)
{
    unsigned style = PANE_NORMAL;
    size_t len;
    const char *text;

    if (lua_type(L, -1) == LUA_TTABLE) {
        lua_geti(L, -1, 2);
        style = style_arg(L, -1);
        lua_pop(L, 1);
        lua_geti(L, -1, 1);
        lua_remove(L, -2);
    }
    text = luaL_tolstring(L, -1, &len);
    add_run(out, left, text, len, style);
    lua_pop(L, 2);
}

/* One line: a text, or a list of parts. */
static void add_line(lua_State *L, struct buf *out)
{
    size_t left = LINE_BYTES;

    buf_addc(out, PANE_NORMAL + 1);
    if (lua_type(L, -1) == LUA_TTABLE) {
        lua_Integer n = luaL_len(L, -1);

        for (lua_Integer i = 1; i <= n && left; i++) {
            lua_geti(L, -1, i);
            add_part(L, out, &left);
        }
        lua_pop(L, 1);
    } else {
        add_part(L, out, &left);
    }
    buf_addc(out, '\n');
}

/* A text of many lines, or a list of lines. */
static void take_lines(lua_State *L, struct buf *out)
{
    const char *p;
    size_t len;

    if (lua_type(L, -1) == LUA_TSTRING) {
        p = lua_tolstring(L, -1, &len);
        for (int n = 0; len && n < LINES_MAX; n++) {
            const char *end = memchr(p, '\n', len);
            size_t one = end ? (size_t)(end - p) : len, left = LINE_BYTES;

            add_run(out, &left, p, one, PANE_NORMAL);
            buf_addc(out, '\n');
            p += one + (end != NULL);
            len -= one + (end != NULL);
        }
    } else if (lua_type(L, -1) == LUA_TTABLE) {
        lua_Integer n = luaL_len(L, -1);

        for (lua_Integer i = 1; i <= n && i <= LINES_MAX; i++) {
            lua_geti(L, -1, i);
            add_line(L, out);
        }
    } else if (!lua_isnil(L, -1)) {
        luaL_error(L, "draw returned a %s, but a pane is a text or a list of lines",
                   luaL_typename(L, -1));
    }
}

static int draw_in_lua(lua_State *L)
{
    struct lua_pane *p = lua_touserdata(L, 1);

    lua_rawgeti(L, LUA_REGISTRYINDEX, p->table);
    lua_getfield(L, -1, "draw");
    lua_pushinteger(L, p->cols);
    lua_pushinteger(L, p->rows);
    lua_call(L, 2, 1);
    take_lines(L, &p->text);
    return 0;
}

static void failed(struct lua_pane *p, const char *why)
{
    struct scripts *h = p->h;
    size_t left = LINE_BYTES;
    const char *end = strchr(why, '\n');

    if (!h->failed)
        h->failed = xstrdup(why);
    host_printf(h, "script error in pane %s (%s): %s\n", p->name, p->where, why);
    p->dead = ++p->errors >= ERRORS_IN_A_ROW;
    buf_clear(&p->text);
    add_run(&p->text, &left, why, end ? (size_t)(end - why) : strlen(why), PANE_ERROR);
    if (p->dead)
        buf_addf(&p->text, "\n%cThe pane failed %d times in a row and is not drawn any more.",
                 PANE_ERROR + 1, ERRORS_IN_A_ROW);
}

static void draw(struct lua_pane *p)
{
    struct scripts *h = p->h;
    struct entry in = {.is_main = true};

    p->stale = false;
    p->due_ns = clock_ns() + p->every_ns;
    if (p->dead || p->drawing)
        return;
    buf_clear(&p->text);
    p->drawing = true;
    host_enter(h, &in, h->call, (uint64_t)h->cfg.hook_ms * 1000000);
    lua_pushcfunction(h->call, draw_in_lua);
    lua_pushlightuserdata(h->call, p);
    if (host_pcall(h->call, 1, 0) == LUA_OK) {
        p->errors = 0;
    } else {
        failed(p, host_error_text(h->call));
        lua_pop(h->call, 1);
    }
    p->drawing = false;
    host_leave(&in);
}

bool panes_draw(void *host, unsigned i, unsigned cols, unsigned rows, struct pane *out)
{
    struct scripts *h = host;
    struct lua_pane *p = h->panes;

    for (; p && i; i--)
        p = p->next;
    if (!p || !out)
        return p != NULL;
    if (p->stale || p->cols != cols || p->rows != rows || clock_ns() >= p->due_ns) {
        p->cols = cols;
        p->rows = rows;
        if (!host_is_held(h))
            draw(p);
    }
    snprintf(out->name, sizeof out->name, "%s", p->name);
    snprintf(out->title, sizeof out->title, "%s", p->title);
    snprintf(out->keys, sizeof out->keys, "%s", p->keys);
    buf_clear(&out->text);
    buf_add(&out->text, buf_str(&p->text), p->text.len);
    return true;
}

void panes_on_stop(struct scripts *h)
{
    for (struct lua_pane *p = h->panes; p; p = p->next)
        p->stale = true;
}

/* ---- making them -------------------------------------------------------------------------------
 */

static struct lua_pane *find_pane(struct scripts *h, const char *name)
{
    struct lua_pane *p = h->panes;

    while (p && strcmp(p->name, name))
        p = p->next;
    return p;
}

static void pane_free(struct lua_pane *p)
{
    free(p->name);
    free(p->title);
    free(p->where);
    buf_fini(&p->text);
    free(p);
}

/* keys = {d = fn, Enter = fn}: their names as " d Enter ". */
static void take_keys(lua_State *L, struct lua_pane *p)
{
    size_t len = 1;

    memcpy(p->keys, " ", 2);
    if (lua_getfield(L, 1, "keys") == LUA_TTABLE)
        for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
            const char *key = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "";
            size_t n = strlen(key);

            if (!n || strpbrk(key, " \n") || len + n + 2 > sizeof p->keys)
                continue;
            memcpy(p->keys + len, key, n);
            len += n;
            memcpy(p->keys + len++, " ", 2);
        }
    lua_pop(L, 1);
}

static const char *text_of(lua_State *L, const char *field)
{
    const char *s;

    lua_getfield(L, 1, field);
    s = luaL_optstring(L, -1, NULL);
    return s; /* stays on the stack */
}

static char *safe_dup(const char *text)
{
    struct buf b = {0};
    char *s;

    esc_line(&b, text, strlen(text));
    s = xstrdup(buf_str(&b));
    buf_fini(&b);
    return s;
}

/* tui._pane{name=, title=, draw=, keys=, every=} */
static int tui_pane(lua_State *L)
{
    struct scripts *h = host_of(L);
    const char *name, *title;
    struct lua_pane *p, **end = &h->panes;
    double every;

    host_need_main(L, "tui.pane");
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    name = text_of(L, "name");
    title = text_of(L, "title");
    luaL_argcheck(L, name && *name && strlen(name) < 32 && !strpbrk(name, " \t\n"), 1,
                  "a pane needs a name of one word");
    luaL_argcheck(L, !find_pane(h, name), 1, "there is a pane of that name already");
    lua_getfield(L, 1, "every");
    every = luaL_optnumber(L, -1, 1e6);
    luaL_argcheck(L, every >= 0.02 && every <= 1e6, 1, "every: seconds, 0.02 or more");
    luaL_argcheck(L, lua_getfield(L, 1, "draw") == LUA_TFUNCTION, 1, "draw is no function");
    p = xcalloc(1, sizeof *p);
    p->h = h;
    p->name = safe_dup(name);
    p->title = safe_dup(title ? title : name);
    p->where = host_where(L);
    p->every_ns = (uint64_t)(every * 1e9);
    p->stale = true;
    p->table = LUA_NOREF;
    while (*end)
        end = &(*end)->next;
    *end = p;
    take_keys(L, p);
    lua_pushvalue(L, 1);
    p->table = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

/* tui._refresh(name) */
static int tui_refresh(lua_State *L)
{
    struct scripts *h = host_of(L);
    struct lua_pane *p = find_pane(h, luaL_checkstring(L, 1));

    host_need_main(L, "refresh of a pane");
    if (p)
        p->stale = true;
    host_release(h);
    session_changed(h->s);
    host_retake(h);
    return 0;
}

/* tui._remove(name) */
static int tui_remove(lua_State *L)
{
    struct scripts *h = host_of(L);
    struct lua_pane **at = &h->panes, *p = find_pane(h, luaL_checkstring(L, 1));

    host_need_main(L, "remove of a pane");
    if (!p)
        return 0;
    if (p->drawing)
        return luaL_error(L, "a pane cannot be removed while it is drawn");
    while (*at != p)
        at = &(*at)->next;
    *at = p->next;
    luaL_unref(L, LUA_REGISTRYINDEX, p->table);
    pane_free(p);
    return 0;
}

/* tui._text(name, cols, rows): a pane as plain text, for where there is no screen; draws it anew */
static int tui_text(lua_State *L)
{
    struct scripts *h = host_of(L);
    struct lua_pane *p = find_pane(h, luaL_checkstring(L, 1));
    luaL_Buffer b;

    host_need_main(L, "a pane's text");
    if (!p)
        return 0;
    p->cols = (unsigned)luaL_checkinteger(L, 2);
    p->rows = (unsigned)luaL_checkinteger(L, 3);
    host_release(h);
    draw(p);
    host_retake(h);
    luaL_buffinit(L, &b);
    for (size_t i = 0; i < p->text.len; i++)
        if (p->text.data[i] == '\n' || (uint8_t)p->text.data[i] > PANE_STYLES)
            luaL_addchar(&b, p->text.data[i]);
    luaL_pushresult(&b);
    return 1;
}

void panes_list(struct scripts *h, struct out *o)
{
    static const char *const columns[] = {"pane", "at", ">errors", "state", NULL};

    out_table(o, "panes", NULL, columns);
    for (const struct lua_pane *p = h->panes; p; p = p->next) {
        out_row(o);
        out_cell(o, "%s", p->name);
        out_cell(o, "%s", p->where);
        out_cell_u64(o, p->errors);
        out_cell(o, "%s", p->dead ? "failed" : "on");
    }
    out_table_end(o);
}

void panes_free(struct scripts *h)
{
    struct lua_pane *p;

    while ((p = h->panes)) {
        h->panes = p->next;
        pane_free(p);
    }
}

void lua_open_pane(lua_State *L)
{
    static const luaL_Reg list[] = {{"_pane", tui_pane},
                                    {"_refresh", tui_refresh},
                                    {"_remove", tui_remove},
                                    {"_text", tui_text},
                                    {NULL, NULL}};

    luaL_newlib(L, list);
    lua_setglobal(L, "tui");
}
