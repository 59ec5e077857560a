/*
 * find, match, gmatch and gsub with a look at the clock. Lua's own run in C from begin to end: one
 * pattern that backtracks without end would hold the guest, the terminal and Ctrl-C for years. The
 * language of patterns is that of the reference manual, 6.4.1. Also bounds for the few library
 * functions whose loops a script can make endless without running an instruction of its own.
 */
#include <ctype.h>
#include <string.h>

#include "scripts/lua_int.h"

#define CAPTURES_MAX 32
#define DEPTH_MAX    180 /* levels of this C stack */
#define STEPS_A_LOOK 20000
#define OPEN_CAPTURE (-1)
#define POSITION     (-2)
#define ELEMENTS_MAX 100000000

struct capture {
    const char *at;
    ptrdiff_t len; /* or OPEN_CAPTURE, POSITION */
};

struct matcher {
    lua_State *L;
    const char *text, *text_end, *pattern_end;
    int level; /* captures so far */
    int depth;
    unsigned steps;
    struct capture capture[CAPTURES_MAX];
};

static const char *match_here(struct matcher *m, const char *s, const char *p);

static void step(struct matcher *m)
{
    if (++m->steps < STEPS_A_LOOK)
        return;
    m->steps = 0;
    host_look(m->L);
}

/* ---- single characters -------------------------------------------------------------------------
 */

/* Behind the class that begins at p. */
static const char *class_end(struct matcher *m, const char *p)
{
    char c = *p++;

    if (c == '%') {
        if (p == m->pattern_end)
            luaL_error(m->L, "malformed pattern (ends with '%%')");
        return p + 1;
    }
    if (c != '[')
        return p;
    if (p < m->pattern_end && *p == '^')
        p++;
    do { /* a ']' at the start of the set is one of its characters */
        if (p == m->pattern_end)
            luaL_error(m->L, "malformed pattern (missing ']')");
        c = *p++;
        if (c == '%' && p < m->pattern_end)
            p++;
    } while (p == m->pattern_end || *p != ']');
    return p + 1;
}

/* %a, %D, %%: whether c is in the class of letter `cl`. */
static bool in_class(unsigned char c, unsigned char cl)
{
    bool is;

    switch (tolower(cl)) {
    case 'a':
        is = isalpha(c);
        break;
    case 'c':
        is = iscntrl(c);
        break;
    case 'd':
        is = isdigit(c);
        break;
    case 'g':
        is = isgraph(c);
        break;
    case 'l':
        is = islower(c);
        break;
    case 'p':
        is = ispunct(c);
        break;
    case 's':
        is = isspace(c);
        break;
    case 'u':
        is = isupper(c);
        break;
    case 'w':
        is = isalnum(c);
        break;
    case 'x':
        is = isxdigit(c);
        break;
    case 'z': /* not in the manual any more, but in Lua */
        is = c == 0;
        break;
    default:
        return cl == c;
    }
    return isupper(cl) ? !is : is;
}

/* p is at '[', `end` at the closing ']'. */
static bool in_set(unsigned char c, const char *p, const char *end)
{
    bool inside = true;

    if (p[1] == '^') {
        inside = false;
        p++;
    }
    while (++p < end) {
        if (*p == '%') {
            p++;
            if (in_class(c, (unsigned char)*p))
                return inside;
        } else if (p[1] == '-' && p + 2 < end) {
            if ((unsigned char)p[0] <= c && c <= (unsigned char)p[2])
                return inside;
            p += 2;
        } else if ((unsigned char)*p == c) {
            return inside;
        }
    }
    return !inside;
}

static bool one(const struct matcher *m, const char *s, const char *p, const char *end)
{
    unsigned char c;

    if (s >= m->text_end)
        return false;
    c = (unsigned char)*s;
    switch (*p) {
    case '.':
        return true;
    case '%':
        return in_class(c, (unsigned char)p[1]);
    case '[':
        return in_set(c, p, end - 1);
    default:
        return (unsigned char)*p == c;
    }
}

/* ---- items ------------------------------------------------------------------------------------
 */

static const char *longest(struct matcher *m, const char *s, const char *p, const char *end)
{
    ptrdiff_t n = 0;

    for (; one(m, s + n, p, end); n++)
        step(m);
    for (; n >= 0; n--) {
        const char *r = match_here(m, s + n, end + 1);

        if (r)
            return r;
    }
    return NULL;
}

static const char *shortest(struct matcher *m, const char *s, const char *p, const char *end)
{
    for (;;) {
        const char *r = match_here(m, s, end + 1);

        if (r)
            return r;
        if (!one(m, s, p, end))
            return NULL;
        s++;
    }
}

static const char *open_capture(struct matcher *m, const char *s, const char *p, ptrdiff_t what)
{
    const char *r;

    if (m->level >= CAPTURES_MAX)
        luaL_error(m->L, "too many captures");
    m->capture[m->level++] = (struct capture){s, what};
    r = match_here(m, s, p);
    if (!r)
        m->level--;
    return r;
}

static const char *close_capture(struct matcher *m, const char *s, const char *p)
{
    int i = m->level - 1;
    const char *r;

    while (i >= 0 && m->capture[i].len != OPEN_CAPTURE)
        i--;
    if (i < 0)
        luaL_error(m->L, "invalid pattern capture");
    m->capture[i].len = s - m->capture[i].at;
    r = match_here(m, s, p);
    if (!r)
        m->capture[i].len = OPEN_CAPTURE;
    return r;
}

/* %bxy: behind the y that balances; p is at x. */
static const char *balanced(struct matcher *m, const char *s, const char *p)
{
    int open = 1;

    if (p + 1 >= m->pattern_end)
        luaL_error(m->L, "malformed pattern (missing arguments to '%%b')");
    if (s >= m->text_end || *s != p[0])
        return NULL;
    while (++s < m->text_end) {
        step(m);
        if (*s == p[1]) {
            if (--open == 0)
                return s + 1;
        } else if (*s == p[0]) {
            open++;
        }
    }
    return NULL;
}

/* %f[set]: p is behind the f. */
static const char *frontier(struct matcher *m, const char *s, const char *p)
{
    const char *end;
    char before = s == m->text ? 0 : s[-1], here = s < m->text_end ? *s : 0;

    if (p >= m->pattern_end || *p != '[')
        luaL_error(m->L, "missing '[' after '%%f' in pattern");
    end = class_end(m, p);
    if (in_set((unsigned char)before, p, end - 1) || !in_set((unsigned char)here, p, end - 1))
        return NULL;
    return match_here(m, s, end);
}

/* %1 to %9 */
static const char *same_again(struct matcher *m, const char *s, char digit)
{
    int i = digit - '1';
    const struct capture *c;

    if (i < 0 || i >= m->level || m->capture[i].len == OPEN_CAPTURE)
        luaL_error(m->L, "invalid capture index %%%d", i + 1);
    c = &m->capture[i];
    if (c->len < 0 || m->text_end - s < c->len || memcmp(c->at, s, (size_t)c->len))
        return NULL;
    return s + c->len;
}

/* A single character class and what may follow it. */
static const char *match_single(struct matcher *m, const char *s, const char *p)
{
    const char *end = class_end(m, p), *r;
    char suffix = end < m->pattern_end ? *end : 0;

    switch (suffix) {
    case '*':
        return longest(m, s, p, end);
    case '+':
        return one(m, s, p, end) ? longest(m, s + 1, p, end) : NULL;
    case '-':
        return shortest(m, s, p, end);
    case '?':
        if (one(m, s, p, end) && (r = match_here(m, s + 1, end + 1)))
            return r;
        return match_here(m, s, end + 1);
    default:
        return one(m, s, p, end) ? match_here(m, s + 1, end) : NULL;
    }
}

static const char *match_escape(struct matcher *m, const char *s, const char *p)
{
    char c = p + 1 < m->pattern_end ? p[1] : 0;

    if (c == 'b') {
        s = balanced(m, s, p + 2);
        return s ? match_here(m, s, p + 4) : NULL;
    }
    if (c == 'f')
        return frontier(m, s, p + 2);
    if (isdigit((unsigned char)c)) {
        s = same_again(m, s, c);
        return s ? match_here(m, s, p + 2) : NULL;
    }
    return match_single(m, s, p);
}

/* A run of plain characters is passed without recursion, which is what most patterns are of. */
static const char *match_here(struct matcher *m, const char *s, const char *p)
{
    const char *r;

    step(m);
    while (p < m->pattern_end && !strchr("()%.[$", *p) &&
           (p + 1 == m->pattern_end || !strchr("*+-?", p[1]) || !p[1])) {
        if (s >= m->text_end || *s != *p)
            return NULL;
        s++;
        p++;
    }
    if (p == m->pattern_end)
        return s;
    if (++m->depth > DEPTH_MAX)
        luaL_error(m->L, "pattern too complex");
    switch (*p) {
    case '(':
        r = p + 1 < m->pattern_end && p[1] == ')' ? open_capture(m, s, p + 2, POSITION)
                                                  : open_capture(m, s, p + 1, OPEN_CAPTURE);
        break;
    case ')':
        r = close_capture(m, s, p + 1);
        break;
    case '$':
        r = p + 1 == m->pattern_end ? (s == m->text_end ? s : NULL) : match_single(m, s, p);
        break;
    case '%':
        r = match_escape(m, s, p);
        break;
    default:
        r = match_single(m, s, p);
        break;
    }
    m->depth--;
    return r;
}

static const char *match_from(struct matcher *m, const char *s, const char *p)
{
    m->level = m->depth = 0;
    return match_here(m, s, p);
}

/* ---- results -----------------------------------------------------------------------------------
 */

static void push_capture(struct matcher *m, int i, const char *s, const char *end)
{
    if (i == 0 && m->level == 0) {
        lua_pushlstring(m->L, s, (size_t)(end - s));
        return;
    }
    if (i >= m->level)
        luaL_error(m->L, "invalid capture index %%%d", i + 1);
    if (m->capture[i].len == OPEN_CAPTURE)
        luaL_error(m->L, "unfinished capture");
    if (m->capture[i].len == POSITION)
        lua_pushinteger(m->L, m->capture[i].at - m->text + 1);
    else
        lua_pushlstring(m->L, m->capture[i].at, (size_t)m->capture[i].len);
}

/* All captures, or (`whole`) the match when there are none. */
static int push_captures(struct matcher *m, const char *s, const char *end, bool whole)
{
    int n = m->level ? m->level : whole;

    luaL_checkstack(m->L, n, "too many captures");
    for (int i = 0; i < n; i++)
        push_capture(m, i, s, end);
    return n;
}

static void begin(struct matcher *m, lua_State *L, const char *text, size_t len,
                  const char *pattern, size_t pattern_len)
{
    m->L = L;
    m->text = text;
    m->text_end = text + len;
    m->pattern_end = pattern + pattern_len;
    m->steps = 0;
}

/* Argument `arg` as an offset from 0, at most len + 1. */
static size_t start_arg(lua_State *L, int arg, size_t len)
{
    lua_Integer i = luaL_optinteger(L, arg, 1);

    if (i > 0)
        return (size_t)i - 1 > len ? len + 1 : (size_t)i - 1;
    if (i == 0 || i < -(lua_Integer)len)
        return 0;
    return len + (size_t)i;
}

static int find_or_match(lua_State *L, bool find)
{
    size_t len, plen, at;
    const char *s = luaL_checklstring(L, 1, &len), *p = luaL_checklstring(L, 2, &plen), *here;
    struct matcher m;
    bool anchor;

    at = start_arg(L, 3, len);
    if (at > len) {
        luaL_pushfail(L);
        return 1;
    }
    if (find && (lua_toboolean(L, 4) || !strpbrk(p, "^$*+?.([%-")) &&
        (lua_toboolean(L, 4) || strlen(p) == plen)) {
        const char *r = plen ? memmem(s + at, len - at, p, plen) : s + at;

        if (!r) {
            luaL_pushfail(L);
            return 1;
        }
        lua_pushinteger(L, r - s + 1);
        lua_pushinteger(L, r - s + (ptrdiff_t)plen);
        return 2;
    }
    anchor = plen && *p == '^';
    begin(&m, L, s, len, p, plen);
    here = s + at;
    do {
        const char *end = match_from(&m, here, p + anchor);

        if (!end)
            continue;
        if (!find)
            return push_captures(&m, here, end, true);
        lua_pushinteger(L, here - s + 1);
        lua_pushinteger(L, end - s);
        return push_captures(&m, here, end, false) + 2;
    } while (here++ < s + len && !anchor);
    luaL_pushfail(L);
    return 1;
}

static int str_find(lua_State *L)
{
    return find_or_match(L, true);
}

static int str_match(lua_State *L)
{
    return find_or_match(L, false);
}

/* Upvalues: text, pattern, offset of the next try, offset where the last match ended or -1. */
static int gmatch_next(lua_State *L)
{
    size_t len, plen;
    const char *s = lua_tolstring(L, lua_upvalueindex(1), &len);
    const char *p = lua_tolstring(L, lua_upvalueindex(2), &plen);
    lua_Integer at = lua_tointeger(L, lua_upvalueindex(3));
    lua_Integer last = lua_tointeger(L, lua_upvalueindex(4));
    struct matcher m;

    begin(&m, L, s, len, p, plen);
    for (; at <= (lua_Integer)len; at++) {
        const char *end = match_from(&m, s + at, p);

        if (!end || end - s == last)
            continue;
        lua_pushinteger(L, end - s);
        lua_copy(L, -1, lua_upvalueindex(3));
        lua_replace(L, lua_upvalueindex(4));
        return push_captures(&m, s + at, end, true);
    }
    return 0;
}

static int str_gmatch(lua_State *L)
{
    size_t len;

    luaL_checklstring(L, 1, &len);
    luaL_checkstring(L, 2);
    lua_pushinteger(L, (lua_Integer)start_arg(L, 3, len));
    lua_insert(L, 3);
    lua_settop(L, 3);
    lua_pushinteger(L, -1);
    lua_pushcclosure(L, gmatch_next, 4);
    return 1;
}

/* A replacement text: %0 to %9 and %% in it. */
static void add_text(struct matcher *m, luaL_Buffer *b, const char *s, const char *end)
{
    size_t len;
    const char *r = lua_tolstring(m->L, 3, &len), *last = r + len;

    for (; r < last; r++) {
        if (*r != '%') {
            luaL_addchar(b, *r);
            continue;
        }
        r++;
        if (r < last && *r == '%') {
            luaL_addchar(b, '%');
        } else if (r < last && *r == '0') {
            luaL_addlstring(b, s, (size_t)(end - s));
        } else if (r < last && isdigit((unsigned char)*r)) {
            push_capture(m, *r - '1', s, end);
            luaL_tolstring(m->L, -1, NULL); /* a position is a number */
            lua_remove(m->L, -2);
            luaL_addvalue(b);
        } else {
            luaL_error(m->L, "invalid use of '%%' in replacement string");
        }
    }
}

/* Adds what stands in for [s, end). */
static void add_value(struct matcher *m, luaL_Buffer *b, const char *s, const char *end, int kind)
{
    lua_State *L = m->L;

    if (kind == LUA_TFUNCTION) {
        int n;

        lua_pushvalue(L, 3);
        n = push_captures(m, s, end, true);
        lua_call(L, n, 1);
    } else if (kind == LUA_TTABLE) {
        push_capture(m, 0, s, end);
        lua_gettable(L, 3);
    } else {
        add_text(m, b, s, end);
        return;
    }
    if (!lua_toboolean(L, -1)) {
        lua_pop(L, 1);
        luaL_addlstring(b, s, (size_t)(end - s));
    } else if (!lua_isstring(L, -1)) {
        luaL_error(L, "invalid replacement value (a %s)", luaL_typename(L, -1));
    } else {
        luaL_addvalue(b);
    }
}

static int str_gsub(lua_State *L)
{
    size_t len, plen;
    const char *s = luaL_checklstring(L, 1, &len), *p = luaL_checklstring(L, 2, &plen);
    const char *here = s, *last = NULL;
    int kind = lua_type(L, 3);
    lua_Integer max = luaL_optinteger(L, 4, (lua_Integer)len + 1), n = 0;
    bool anchor = plen && *p == '^';
    struct matcher m;
    luaL_Buffer b;

    luaL_argexpected(L,
                     kind == LUA_TNUMBER || kind == LUA_TSTRING || kind == LUA_TFUNCTION ||
                         kind == LUA_TTABLE,
                     3, "string/function/table");
    if (kind == LUA_TNUMBER)
        lua_tostring(L, 3);
    begin(&m, L, s, len, p, plen);
    luaL_buffinit(L, &b);
    while (n < max) {
        const char *end = match_from(&m, here, p + anchor);

        if (end && end != last) {
            n++;
            add_value(&m, &b, here, end, kind);
            here = last = end;
        } else if (here < m.text_end) {
            luaL_addchar(&b, *here++);
        } else {
            break;
        }
        if (anchor)
            break;
    }
    luaL_addlstring(&b, here, (size_t)(m.text_end - here));
    luaL_pushresult(&b);
    lua_pushinteger(L, n);
    return 2;
}

/* ---- loops in C
 * ---------------------------------------------------------------------------------- */

/* Upvalue 1: the library's function. */
static int pass_on(lua_State *L)
{
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
    return lua_gettop(L);
}

/* ("").rep("", 1 << 60) makes nothing, very slowly. */
static int str_rep(lua_State *L)
{
    size_t len, between = 0;

    luaL_checklstring(L, 1, &len);
    if (!lua_isnoneornil(L, 3))
        luaL_checklstring(L, 3, &between);
    luaL_checkinteger(L, 2);
    if (!len && !between) {
        lua_pushliteral(L, "");
        return 1;
    }
    return pass_on(L);
}

static int tab_move(lua_State *L)
{
    lua_Integer first = luaL_checkinteger(L, 2), last = luaL_checkinteger(L, 3);

    if (last >= first && (lua_Unsigned)last - (lua_Unsigned)first > ELEMENTS_MAX)
        return luaL_argerror(L, 3, "too many elements to move");
    return pass_on(L);
}

/* A table may claim any length through __len. */
static int tab_bounded(lua_State *L)
{
    if (lua_type(L, 1) == LUA_TTABLE && luaL_len(L, 1) > ELEMENTS_MAX)
        return luaL_argerror(L, 1, "too many elements");
    return pass_on(L);
}

static void wrap(lua_State *L, const char *name, lua_CFunction fn)
{
    lua_getfield(L, -1, name);
    lua_pushcclosure(L, fn, 1);
    lua_setfield(L, -2, name);
}

void lua_open_pattern(lua_State *L)
{
    static const luaL_Reg list[] = {{"find", str_find},
                                    {"match", str_match},
                                    {"gmatch", str_gmatch},
                                    {"gsub", str_gsub},
                                    {NULL, NULL}};
    static const char *const by_length[] = {"insert", "remove", "sort", "concat", "unpack"};

    lua_getglobal(L, "string");
    luaL_setfuncs(L, list, 0);
    wrap(L, "rep", str_rep);
    lua_pop(L, 1);
    lua_getglobal(L, "table");
    wrap(L, "move", tab_move);
    for (size_t i = 0; i < sizeof by_length / sizeof by_length[0]; i++)
        wrap(L, by_length[i], tab_bounded);
    lua_pop(L, 1);
}
