/*
 * What scripts read and change: registers, memory, symbols, expressions. On the main thread it goes
 * through the session and needs a stopped guest; inside a hook it means the vCPU that stands there.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "debug/symbols/sym.h"
#include "disasm/disasm.h"
#include "scripts/lua_int.h"
#include "vmm/base/le.h"
#include "vmm/base/x.h"

#define REGS_META "vmscope.regs"
#define MEM_META  "vmscope.mem"
#define WORD_META "vmscope.words"
#define SYMS_META "vmscope.symbols"
#define READ_MAX  (64u << 20)

/* Whose registers: -1 the focus, or the vCPU of the hook. */
struct regs_box {
    int vcpu;
};

static unsigned cpu_of(struct scripts *h, const struct regs_box *b)
{
    return b->vcpu < 0 ? session_focus(h->s) : (unsigned)b->vcpu;
}

/* The hook's call when this thread is in one; NULL on the main thread. Raises inside a device,
 * which does not know a vCPU. */
static struct hook_call *call_of(lua_State *L, const char *what)
{
    struct entry *e = host_entry(host_of(L));

    if (e->in_device)
        luaL_error(L, "%s cannot be used inside a device: only vm.phys can", what);
    return e->call;
}

/* ---- registers ------------------------------------------------------------------------------ */

/* Upvalue 1 remembers names: id | low << 16 | width << 24. */
static bool find_reg(lua_State *L, struct reg_part *p)
{
    lua_Integer packed;
    const char *name;

    lua_pushvalue(L, 2);
    if (lua_rawget(L, lua_upvalueindex(1)) == LUA_TNUMBER) {
        packed = lua_tointeger(L, -1);
        lua_pop(L, 1);
        *p = (struct reg_part){.id = (int)(packed & 0xffff),
                               .low = (uint8_t)(packed >> 16),
                               .width = (uint16_t)(packed >> 24)};
        return true;
    }
    lua_pop(L, 1);
    name = luaL_checkstring(L, 2);
    if (!reg_partial(name, p))
        return false;
    lua_pushvalue(L, 2);
    lua_pushinteger(L, p->id | (lua_Integer)p->low << 16 | (lua_Integer)p->width << 24);
    lua_rawset(L, lua_upvalueindex(1));
    return true;
}

static int no_reg(lua_State *L)
{
    return luaL_error(L, "there is no register %s; `info registers all` lists them",
                      lua_tostring(L, 2));
}

static void reg_get(lua_State *L, const struct regs_box *b, int id, struct reg_value *v)
{
    struct scripts *h = host_of(L);
    struct hook_call *c = call_of(L, "vm.regs");
    struct err e = {0};
    int rc;

    if (c) {
        rc = hook_reg_get(c, id, v);
        if (rc < 0)
            luaL_error(L, "register %s does not exist here", reg_table[id].name);
        return;
    }
    host_release(h);
    rc = session_reg_get(h->s, cpu_of(h, b), id, v, &e);
    host_retake(h);
    if (rc < 0)
        host_raise(L, &e);
}

/* Registers wider than 64 bits are strings of bytes. */
static int regs_index(lua_State *L)
{
    struct regs_box *b = luaL_checkudata(L, 1, REGS_META);
    struct reg_part p;
    struct reg_value v;

    if (!find_reg(L, &p))
        return no_reg(L);
    reg_get(L, b, p.id, &v);
    if (p.width > 64)
        lua_pushlstring(L, (const char *)v.bytes, v.len);
    else
        lua_pushinteger(L, (lua_Integer)reg_part_get(&p, v.u));
    return 1;
}

static int regs_newindex(lua_State *L)
{
    struct scripts *h = host_of(L);
    struct regs_box *b = luaL_checkudata(L, 1, REGS_META);
    struct hook_call *c = call_of(L, "vm.regs");
    struct reg_part p;
    struct reg_value v;
    struct err e = {0};
    int rc;

    if (!find_reg(L, &p))
        return no_reg(L);
    if (p.width > 64) {
        size_t len;
        const char *bytes = luaL_checklstring(L, 3, &len);

        v = reg_from_bytes(p.id, bytes, (unsigned)(len > 64 ? 64 : len));
    } else {
        uint64_t u = (uint64_t)luaL_checkinteger(L, 3);

        if (p.width < reg_table[p.id].bits) {
            reg_get(L, b, p.id, &v);
            u = reg_part_put(&p, v.u, u);
        }
        v = reg_from_u64(p.id, u);
    }
    if (c) {
        rc = hook_reg_set(c, p.id, &v, &e);
    } else {
        host_release(h);
        rc = session_reg_set(h->s, cpu_of(h, b), p.id, &v, &e);
        host_retake(h);
    }
    return rc < 0 ? host_raise(L, &e) : 0;
}

static void push_regs(lua_State *L, int vcpu)
{
    struct regs_box *b = lua_newuserdatauv(L, sizeof *b, 0);

    b->vcpu = vcpu;
    luaL_setmetatable(L, REGS_META);
}

static int vm_cpu(lua_State *L)
{
    lua_Integer n;

    host_self(L);
    n = luaL_checkinteger(L, 1);
    host_need_main(L, "vm.cpu");
    luaL_argcheck(L, n >= 0 && n < session_cpus(host_of(L)->s), 1, "no such vCPU");
    push_regs(L, (int)n);
    return 1;
}

/* ---- memory --------------------------------------------------------------------------------- */

struct words_box {
    enum space space;
    uint8_t size;
    bool is_signed;
};

static int64_t get_mem(lua_State *L, enum space sp, uint64_t addr, void *dst, size_t len)
{
    struct scripts *h = host_of(L);
    struct entry *e = host_entry(h);
    int64_t n;

    if (e->call && !e->in_device)
        return hook_mem_read(e->call, sp, addr, dst, len);
    if (sp == SPACE_PHYS && (e->in_device || session_state(h->s) == SS_RUNNING))
        return session_dma(h->s, addr, dst, NULL, len);
    call_of(L, "vm.mem");
    host_release(h);
    n = session_mem_read(h->s, session_focus(h->s), sp, addr, dst, len);
    host_retake(h);
    return n;
}

static int64_t put_mem(lua_State *L, enum space sp, uint64_t addr, const void *src, size_t len)
{
    struct scripts *h = host_of(L);
    struct entry *e = host_entry(h);
    int64_t n;

    if (e->call && !e->in_device)
        return hook_mem_write(e->call, sp, addr, src, len);
    if (sp == SPACE_PHYS && (e->in_device || session_state(h->s) == SS_RUNNING))
        return session_dma(h->s, addr, NULL, src, len);
    call_of(L, "vm.mem");
    host_release(h);
    n = session_mem_write(h->s, session_focus(h->s), sp, addr, src, len);
    host_retake(h);
    return n;
}

static int no_memory(lua_State *L, int64_t n, enum space sp, uint64_t addr)
{
    char at[24];

    snprintf(at, sizeof at, "0x%llx", (unsigned long long)(addr + (uint64_t)(n > 0 ? n : 0)));
    if (n == -EBUSY)
        return luaL_error(L,
                          "memory at %s cannot be reached now: the guest is running (vm:stop() "
                          "first), or a breakpoint lies there",
                          at);
    return luaL_error(L, "there is no %smemory at %s", sp == SPACE_PHYS ? "physical " : "", at);
}

/* Little-endian integers of Lua; `size` 1 to 8. */
static void lua_push_le(lua_State *L, const void *bytes, size_t size, bool is_signed)
{
    uint64_t v = le_load(bytes, (unsigned)size);

    if (is_signed && size < 8) {
        uint64_t top = 1ull << (8 * size - 1);

        v = (v ^ top) - top;
    }
    lua_pushinteger(L, (lua_Integer)v);
}

/* vm.mem.u32[addr] */
static int words_index(lua_State *L)
{
    struct words_box *w = luaL_checkudata(L, 1, WORD_META);
    uint64_t addr = (uint64_t)luaL_checkinteger(L, 2);
    uint8_t bytes[8];
    int64_t n = get_mem(L, w->space, addr, bytes, w->size);

    if (n < w->size)
        return no_memory(L, n, w->space, addr);
    lua_push_le(L, bytes, w->size, w->is_signed);
    return 1;
}

/* All of it or nothing: half a number in memory would be neither the old nor the new one. */
static int words_newindex(lua_State *L)
{
    struct words_box *w = luaL_checkudata(L, 1, WORD_META);
    uint64_t addr = (uint64_t)luaL_checkinteger(L, 2);
    lua_Integer v = luaL_checkinteger(L, 3);
    uint8_t bytes[8];
    int64_t n;

    if (w->size < 8 && (v < -(1ll << (8 * w->size - 1)) || v >= 1ll << 8 * w->size))
        return luaL_error(L, "%I does not fit into %d bits", v, 8 * w->size);
    n = get_mem(L, w->space, addr, bytes, w->size);
    if (n == w->size) {
        le_store(bytes, 8, (uint64_t)v);
        n = put_mem(L, w->space, addr, bytes, w->size);
    }
    return n < w->size ? no_memory(L, n, w->space, addr) : 0;
}

/* vm.mem[addr], vm.mem.u7: a slip of the pen that must not be nil and nothing. */
static int space_index(lua_State *L)
{
    if (lua_isnumber(L, 2))
        return luaL_error(L, "how wide? vm.mem.u8[addr], or u16, u32, u64, s8, s16, s32, s64");
    return luaL_error(
        L, "memory has u8, u16, u32, u64, s8, s16, s32, s64, read, write and find, not %s",
        luaL_tolstring(L, 2, NULL));
}

static int read_bytes(lua_State *L, enum space sp, int arg)
{
    uint64_t addr = (uint64_t)luaL_checkinteger(L, arg);
    lua_Integer len = luaL_checkinteger(L, arg + 1);
    luaL_Buffer b;
    char *dst;
    int64_t n;

    luaL_argcheck(L, len >= 0 && len <= READ_MAX, arg + 1, "a length is 0 to 64M");
    dst = luaL_buffinitsize(L, &b, (size_t)len);
    n = get_mem(L, sp, addr, dst, (size_t)len);
    if (n < len)
        return no_memory(L, n, sp, addr);
    luaL_pushresultsize(&b, (size_t)n);
    return 1;
}

static int write_bytes(lua_State *L, enum space sp, int arg)
{
    uint64_t addr = (uint64_t)luaL_checkinteger(L, arg);
    size_t len;
    const char *src = luaL_checklstring(L, arg + 1, &len);
    int64_t n = put_mem(L, sp, addr, src, len);

    return n < (int64_t)len ? no_memory(L, n, sp, addr) : 0;
}

static int vm_read(lua_State *L)
{
    host_self(L);
    return read_bytes(L, SPACE_LINEAR, 1);
}

static int vm_write(lua_State *L)
{
    host_self(L);
    return write_bytes(L, SPACE_LINEAR, 1);
}

static int phys_read(lua_State *L)
{
    return read_bytes(L, SPACE_PHYS, 2);
}

static int phys_write(lua_State *L)
{
    return write_bytes(L, SPACE_PHYS, 2);
}

static int mem_read_method(lua_State *L)
{
    return read_bytes(L, SPACE_LINEAR, 2);
}

static int mem_write_method(lua_State *L)
{
    return write_bytes(L, SPACE_LINEAR, 2);
}

/* A zero-terminated text, at most 4096 bytes. */
static int vm_string(lua_State *L)
{
    uint64_t addr;
    size_t max, n = 0;
    luaL_Buffer b;
    uint8_t c;

    host_self(L);
    addr = (uint64_t)luaL_checkinteger(L, 1);
    max = (size_t)luaL_optinteger(L, 2, 4096);
    luaL_argcheck(L, max <= READ_MAX, 2, "too long");
    luaL_buffinit(L, &b);
    for (; n < max; n++) {
        if (get_mem(L, SPACE_LINEAR, addr + n, &c, 1) != 1)
            return no_memory(L, 0, SPACE_LINEAR, addr + n);
        if (!c)
            break;
        luaL_addchar(&b, (char)c);
    }
    luaL_pushresult(&b);
    return 1;
}

#define FIND_CHUNK   65536u
#define FIND_PATTERN 4096

/* (start, length, bytes [, max]) from `arg` on -> list of addresses. What has no memory is passed
 * over, page by page. */
static int find_bytes(lua_State *L, enum space sp, int arg)
{
    uint64_t start = (uint64_t)luaL_checkinteger(L, arg), at = 0;
    lua_Integer len = luaL_checkinteger(L, arg + 1), max = luaL_optinteger(L, arg + 3, 100),
                found = 0;
    size_t want;
    const char *bytes = luaL_checklstring(L, arg + 2, &want);
    uint8_t *chunk;

    luaL_argcheck(L, want > 0 && want <= FIND_PATTERN, arg + 2, "1 to 4096 bytes to look for");
    luaL_argcheck(L, len >= 0 && len <= 16 * (lua_Integer)READ_MAX, arg + 1, "a length is 0 to 1G");
    if ((uint64_t)len > UINT64_MAX - start)
        len = (lua_Integer)(UINT64_MAX - start);
    chunk = lua_newuserdatauv(L, FIND_CHUNK + FIND_PATTERN, 0);
    lua_newtable(L);
    while (at < (uint64_t)len && found < max) {
        uint64_t left = (uint64_t)len - at;
        size_t n = left < FIND_CHUNK + want - 1 ? (size_t)left : FIND_CHUNK + want - 1;
        int64_t got = get_mem(L, sp, start + at, chunk, n);
        size_t good = got > 0 ? (size_t)got : 0;
        bool hole = good < n;
        const uint8_t *p = chunk, *end = chunk + good;

        if (got == -EBUSY)
            return no_memory(L, got, sp, start + at);
        while (found < max && (p = memmem(p, (size_t)(end - p), bytes, want)) &&
               (hole || p < chunk + FIND_CHUNK)) {
            lua_pushinteger(L, (lua_Integer)(start + at + (uint64_t)(p - chunk)));
            lua_rawseti(L, -2, ++found);
            p++;
        }
        at = hole ? ((start + at + good) | 4095) + 1 - start : at + FIND_CHUNK;
    }
    return 1;
}

static int vm_find(lua_State *L)
{
    host_self(L);
    return find_bytes(L, SPACE_LINEAR, 1);
}

static int mem_find_method(lua_State *L)
{
    return find_bytes(L, SPACE_LINEAR, 2);
}

static int phys_find(lua_State *L)
{
    return find_bytes(L, SPACE_PHYS, 2);
}

/* vm.translate(linear) -> gpa, or nil and why */
static int vm_translate(lua_State *L)
{
    struct scripts *h = host_of(L);
    struct hook_call *c;
    uint64_t addr;
    struct walk w;
    int rc = 0;

    host_self(L);
    addr = (uint64_t)luaL_checkinteger(L, 1);
    c = call_of(L, "vm.translate");
    if (c) {
        hook_walk(c, addr, &w);
    } else {
        host_release(h);
        rc = session_walk(h->s, session_focus(h->s), addr, &w);
        host_retake(h);
    }
    if (rc < 0)
        return luaL_error(L, "the guest is running: vm:stop() first");
    if (w.result != WALK_OK) {
        lua_pushnil(L);
        lua_pushstring(L, walk_result_name(w.result));
        return 2;
    }
    lua_pushinteger(L, (lua_Integer)w.gpa);
    return 1;
}

/* ---- meaning -------------------------------------------------------------------------------- */

static int vm_eval(lua_State *L)
{
    struct scripts *h = host_of(L);
    struct hook_call *c;
    const char *text;
    uint64_t v = 0;
    struct err e = {0};
    int rc;

    host_self(L);
    text = luaL_checkstring(L, 1);
    c = call_of(L, "vm.eval");
    if (c) {
        rc = hook_eval(c, text, &v, &e);
    } else {
        host_release(h);
        rc = session_eval(h->s, session_focus(h->s), text, &v, &e);
        host_retake(h);
    }
    if (rc < 0)
        return host_raise(L, &e);
    lua_pushinteger(L, (lua_Integer)v);
    return 1;
}

/* vm.symbols.main -> address; vm.symbols[0x100000] -> "main+4" */
static int symbols_index(lua_State *L)
{
    struct symbols *t = session_symbols(host_of(L)->s);
    const struct symbol *y;

    if (lua_isinteger(L, 2)) {
        char name[512];

        if (!symbols_format(t, (uint64_t)lua_tointeger(L, 2), name, sizeof name))
            return 0;
        lua_pushstring(L, name);
        return 1;
    }
    y = symbols_find(t, luaL_checkstring(L, 2));
    if (!y)
        return 0;
    lua_pushinteger(L, (lua_Integer)y->addr);
    return 1;
}

static int symbols_newindex(lua_State *L)
{
    struct scripts *h = host_of(L);
    const char *name = luaL_checkstring(L, 2);
    uint64_t addr = (uint64_t)luaL_checkinteger(L, 3);

    host_need_main(L, "adding a symbol");
    if (session_state(h->s) == SS_RUNNING)
        return luaL_error(L, "symbols can be added while the guest is stopped; it runs");
    symbols_add(session_symbols(h->s), name, addr, 0, true);
    return 0;
}

static int symbols_len(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)symbols_count(session_symbols(host_of(L)->s)));
    return 1;
}

static void push_symbol(lua_State *L, const struct symbol *y)
{
    lua_createtable(L, 0, 4);
    lua_pushstring(L, y->name);
    lua_setfield(L, -2, "name");
    lua_pushinteger(L, (lua_Integer)y->addr);
    lua_setfield(L, -2, "addr");
    lua_pushinteger(L, (lua_Integer)y->size);
    lua_setfield(L, -2, "size");
    lua_pushboolean(L, y->is_function);
    lua_setfield(L, -2, "is_function");
}

/* vm.symbol(addr or name) -> {name, addr, size, is_function}; vm.functions() -> list */
static int vm_symbol(lua_State *L)
{
    struct symbols *t = session_symbols(host_of(L)->s);
    const struct symbol *y;

    host_self(L);
    y = lua_isinteger(L, 1) ? symbols_lookup(t, (uint64_t)lua_tointeger(L, 1))
                            : symbols_find(t, luaL_checkstring(L, 1));
    if (!y)
        return 0;
    push_symbol(L, y);
    return 1;
}

static int vm_functions_list(lua_State *L)
{
    struct symbols *t = session_symbols(host_of(L)->s);
    lua_Integer n = 0;

    lua_newtable(L);
    for (size_t i = 0; i < symbols_count(t); i++) {
        const struct symbol *y = symbols_at(t, i);

        if (!y->is_function)
            continue;
        push_symbol(L, y);
        lua_rawseti(L, -2, ++n);
    }
    return 1;
}

/* vm.line(addr) -> file, line */
static int vm_line(lua_State *L)
{
    struct scripts *h = host_of(L);
    const char *file;
    int line;

    host_self(L);
    host_need_main(L, "vm.line");
    if (!symbols_line(session_symbols(h->s), (uint64_t)luaL_checkinteger(L, 1), &file, &line))
        return 0;
    lua_pushstring(L, file);
    lua_pushinteger(L, line);
    return 2;
}

static void push_insn(lua_State *L, const struct insn *in)
{
    lua_createtable(L, 0, 8);
    lua_pushinteger(L, (lua_Integer)in->addr);
    lua_setfield(L, -2, "addr");
    lua_pushinteger(L, in->len);
    lua_setfield(L, -2, "len");
    lua_pushlstring(L, (const char *)in->bytes, in->len);
    lua_setfield(L, -2, "bytes");
    lua_pushstring(L, in->mnemonic);
    lua_setfield(L, -2, "mnemonic");
    lua_pushstring(L, in->operands);
    lua_setfield(L, -2, "operands");
    lua_pushfstring(L, "%s%s%s", in->mnemonic, *in->operands ? " " : "", in->operands);
    lua_setfield(L, -2, "text");
    lua_pushboolean(L, (in->effects & INSN_CALL) != 0);
    lua_setfield(L, -2, "is_call");
    lua_pushboolean(L, (in->effects & INSN_RET) != 0);
    lua_setfield(L, -2, "is_ret");
    lua_pushboolean(L, (in->effects & INSN_BRANCH) != 0);
    lua_setfield(L, -2, "is_branch");
    if (in->has_target) {
        lua_pushinteger(L, (lua_Integer)in->target);
        lua_setfield(L, -2, "target");
    }
}

/* vm.disasm([addr [, count]]) -> list of instructions */
static int vm_disasm(lua_State *L)
{
    struct scripts *h = host_of(L);
    const struct vcpu_state *st;
    struct insn *in;
    uint64_t addr;
    lua_Integer count, n = 0;
    bool good = true;

    host_self(L);
    host_need_main(L, "vm.disasm");
    st = session_cpu(h->s, session_focus(h->s), VS_REGS | VS_SREGS);
    if (!st)
        return luaL_error(L, "the guest is running: vm:stop() first");
    addr = (uint64_t)luaL_optinteger(L, 1, (lua_Integer)(st->sregs.cs.base + st->regs.rip));
    count = luaL_optinteger(L, 2, 1);
    luaL_argcheck(L, count >= 1 && count <= 100000, 2, "a count is 1 to 100000");
    in = lua_newuserdatauv(L, sizeof *in, 0);
    lua_newtable(L);
    while (n < count && good) {
        host_release(h);
        good = session_insn(h->s, session_focus(h->s), addr, in);
        host_retake(h);
        if (!good)
            break;
        push_insn(L, in);
        lua_rawseti(L, -2, ++n);
        addr += in->len;
    }
    return 1;
}

static int vm_mode(lua_State *L)
{
    struct scripts *h = host_of(L);
    struct hook_call *c = call_of(L, "vm.mode");
    enum cpu_mode m;

    if (c) {
        lua_pushstring(L, cpu_mode_name((enum cpu_mode)c->ev->mode));
        return 1;
    }
    if (session_state(h->s) == SS_RUNNING)
        return luaL_error(L, "the guest is running: vm:stop() first");
    host_release(h);
    m = session_mode(h->s, session_focus(h->s));
    host_retake(h);
    lua_pushstring(L, cpu_mode_name(m));
    return 1;
}

/* vm.exits() -> total, {io=12, …} */
static int vm_exits(lua_State *L)
{
    struct scripts *h = host_of(L);
    uint64_t counts[EXIT_COUNTERS];

    session_exit_counts(h->s, counts);
    lua_pushinteger(L, (lua_Integer)session_exit_count(h->s));
    lua_newtable(L);
    for (unsigned i = 0; i < EXIT_COUNTERS; i++) {
        if (!counts[i])
            continue;
        lua_pushinteger(L, (lua_Integer)counts[i]);
        lua_setfield(L, -2, exit_kind_name(i < 64 ? i : EXIT_OUR_FIRST + i - 64));
    }
    return 2;
}

static int vm_cpus(lua_State *L)
{
    lua_pushinteger(L, session_cpus(host_of(L)->s));
    return 1;
}

static int vm_image(lua_State *L)
{
    lua_pushstring(L, session_cfg(host_of(L)->s)->boot.image);
    return 1;
}

/* ---- making the tables ---------------------------------------------------------------------- */

static void meta(lua_State *L, const char *name, lua_CFunction index, lua_CFunction newindex)
{
    luaL_newmetatable(L, name);
    lua_newtable(L); /* both share it: names that were found */
    lua_pushvalue(L, -1);
    lua_pushcclosure(L, index, 1);
    lua_setfield(L, -3, "__index");
    lua_pushcclosure(L, newindex, 1);
    lua_setfield(L, -2, "__newindex");
    lua_pushboolean(L, false);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
}

static void push_space(lua_State *L, enum space sp)
{
    static const struct {
        const char *name;
        uint8_t size;
        bool is_signed;
    } types[] = {{"u8", 1, false}, {"u16", 2, false}, {"u32", 4, false}, {"u64", 8, false},
                 {"s8", 1, true},  {"s16", 2, true},  {"s32", 4, true},  {"s64", 8, true}};

    lua_newtable(L);
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        struct words_box *w = lua_newuserdatauv(L, sizeof *w, 0);

        *w =
            (struct words_box){.space = sp, .size = types[i].size, .is_signed = types[i].is_signed};
        luaL_setmetatable(L, WORD_META);
        lua_setfield(L, -2, types[i].name);
    }
    lua_pushcfunction(L, sp == SPACE_PHYS ? phys_read : mem_read_method);
    lua_setfield(L, -2, "read");
    lua_pushcfunction(L, sp == SPACE_PHYS ? phys_write : mem_write_method);
    lua_setfield(L, -2, "write");
    lua_pushcfunction(L, sp == SPACE_PHYS ? phys_find : mem_find_method);
    lua_setfield(L, -2, "find");
    lua_createtable(L, 0, 3);
    lua_pushcfunction(L, space_index);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, space_index);
    lua_setfield(L, -2, "__newindex");
    lua_pushboolean(L, false);
    lua_setfield(L, -2, "__metatable");
    lua_setmetatable(L, -2);
}

void lua_open_state(lua_State *L)
{
    static const luaL_Reg list[] = {
        {"cpu", vm_cpu},       {"read", vm_read},     {"write", vm_write},
        {"string", vm_string}, {"find", vm_find},     {"translate", vm_translate},
        {"eval", vm_eval},     {"symbol", vm_symbol}, {"functions", vm_functions_list},
        {"line", vm_line},     {"disasm", vm_disasm}, {"mode", vm_mode},
        {"exits", vm_exits},   {"cpus", vm_cpus},     {"image", vm_image},
        {NULL, NULL},
    };

    luaL_setfuncs(L, list, 0);
    meta(L, REGS_META, regs_index, regs_newindex);
    meta(L, WORD_META, words_index, words_newindex);
    meta(L, SYMS_META, symbols_index, symbols_newindex);
    luaL_getmetatable(L, SYMS_META);
    lua_pushcfunction(L, symbols_len);
    lua_setfield(L, -2, "__len");
    lua_pop(L, 1);
    push_regs(L, -1);
    lua_setfield(L, -2, "regs");
    push_space(L, SPACE_LINEAR);
    lua_setfield(L, -2, "mem");
    push_space(L, SPACE_PHYS);
    lua_setfield(L, -2, "phys");
    lua_newuserdatauv(L, 1, 0);
    luaL_setmetatable(L, SYMS_META);
    lua_setfield(L, -2, "symbols");
}
