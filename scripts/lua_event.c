/*
 * The event as hooks see it: one userdata a vCPU, filled for the call, so that an exit makes no
 * garbage. Fields are found by a table from name to number. The thread of the hook.
 */
#include <string.h>

#include "debug/symbols/sym.h"
#include "scripts/lua_int.h"
#include "vmm/base/le.h"

#define EVENT_META "vmscope.event"

enum field_id {
    F_KIND = 1,
    F_PORT,
    F_SIZE,
    F_VALUE,
    F_WRITE,
    F_COUNT,
    F_GPA,
    F_MSR,
    F_VECTOR,
    F_RIP,
    F_CS_BASE,
    F_SYMBOL,
    F_CR3,
    F_CPL,
    F_VCPU,
    F_MODE,
    F_SEQ,
    F_AT,
    F_GUEST_NS,
    F_HOST_NS,
    F_UNCLAIMED,
    F_STRING,
    F_STEPPED,
    F_REGISTER,
    F_TEXT,
    F_REASON,
    F_EXCEPTION,
    F_DR6,
    F_LINE,
    F_EVENT,
    F_TARGET,
};

static const struct {
    const char *name;
    enum field_id id;
} field_names[] = {
    {"kind", F_KIND},         {"port", F_PORT},       {"size", F_SIZE},
    {"value", F_VALUE},       {"write", F_WRITE},     {"count", F_COUNT},
    {"gpa", F_GPA},           {"msr", F_MSR},         {"vector", F_VECTOR},
    {"rip", F_RIP},           {"cs_base", F_CS_BASE}, {"symbol", F_SYMBOL},
    {"cr3", F_CR3},           {"cpl", F_CPL},         {"vcpu", F_VCPU},
    {"mode", F_MODE},         {"seq", F_SEQ},         {"at", F_AT},
    {"guest_ns", F_GUEST_NS}, {"host_ns", F_HOST_NS}, {"unclaimed", F_UNCLAIMED},
    {"string", F_STRING},     {"stepped", F_STEPPED}, {"register", F_REGISTER},
    {"text", F_TEXT},         {"reason", F_REASON},   {"exception", F_EXCEPTION},
    {"dr6", F_DR6},           {"line", F_LINE},       {"event", F_EVENT},
    {"target", F_TARGET},
};

struct event_box *event_new(lua_State *L)
{
    struct event_box *b = lua_newuserdatauv(L, sizeof *b, 0);

    *b = (struct event_box){0};
    luaL_setmetatable(L, EVENT_META);
    return b;
}

static struct event_box *check(lua_State *L)
{
    struct event_box *b = luaL_checkudata(L, 1, EVENT_META);

    if (!b->ev)
        luaL_error(L, "this event is over: an event lives during the call, so keep its fields, "
                      "not the event");
    return b;
}

static bool is_write(const struct exit_event *ev)
{
    struct exit_access a;

    return exit_access(ev, &a) && a.write;
}

/* What a read answers is known once the device was asked. */
static void ask_device(lua_State *L, struct event_box *b)
{
    struct scripts *h = host_of(L);

    if (!b->call || !b->call->access || is_write(b->ev))
        return;
    host_release(h);
    hook_serve(b->call);
    host_retake(h);
}

static void push_u64(lua_State *L, uint64_t v)
{
    lua_pushinteger(L, (lua_Integer)v);
}

static int push_value(lua_State *L, struct event_box *b)
{
    struct exit_access a;

    if (!exit_is_access(b->ev->reason))
        return 0;
    ask_device(L, b);
    exit_access(b->ev, &a);
    push_u64(L, a.value);
    return 1;
}

/* Names of places are kept, so that asking again for that of the same instruction makes no string;
 * not for long, since symbols may come. */
#define PLACES_MAX 1000

static int push_symbol(lua_State *L, const struct exit_event *ev)
{
    struct scripts *h = host_of(L);
    lua_Integer at = (lua_Integer)(ev->cs_base + ev->rip);
    char name[256];

    lua_rawgeti(L, LUA_REGISTRYINDEX, h->places);
    if (lua_rawgeti(L, -1, at) != LUA_TNIL)
        return 1;
    lua_pop(L, 1);
    if (!symbols_format(session_symbols(h->s), (uint64_t)at, name, sizeof name))
        return 0;
    if (h->places_count == PLACES_MAX) {
        lua_newtable(L);
        lua_replace(L, -2);
        lua_pushvalue(L, -1);
        lua_rawseti(L, LUA_REGISTRYINDEX, h->places);
        h->places_count = 0;
    }
    lua_pushstring(L, name);
    lua_pushvalue(L, -1);
    lua_rawseti(L, -3, at);
    h->places_count++;
    return 1;
}

static int push_text(lua_State *L, struct event_box *b)
{
    struct buf text = {0};

    ask_device(L, b);
    exit_format(b->ev, session_reg_name(host_of(L)->s, b->ev), &text);
    lua_pushlstring(L, buf_str(&text), text.len); /* may raise and leak; the text is short */
    buf_fini(&text);
    return 1;
}

static int push_line(lua_State *L, const struct exit_event *ev)
{
    if (ev->reason == EXIT_INJECT && ev->u.inject.line)
        lua_pushinteger(L, ev->u.inject.line - 1);
    else if (ev->reason == EXIT_DEVICE && ev->u.device.line != EXIT_NO_LINE)
        lua_pushinteger(L, ev->u.device.line);
    else
        return 0;
    return 1;
}

static int push_device_event(lua_State *L, const struct exit_event *ev)
{
    if (ev->reason != EXIT_DEVICE || ev->u.device.event >= DEVICE_EVENTS)
        return 0;
    lua_pushstring(L, exit_device_name(ev->u.device.event));
    return 1;
}

static int push_vector(lua_State *L, const struct exit_event *ev)
{
    if (ev->reason == EXIT_DEVICE && ev->u.device.vector != EXIT_NO_VECTOR) {
        lua_pushinteger(L, ev->u.device.vector);
        return 1;
    }
    if (ev->reason == EXIT_INJECT)
        lua_pushinteger(L, ev->u.inject.vector);
    else if (ev->reason == KVM_EXIT_SHUTDOWN && ev->u.shutdown.vector >= 0)
        lua_pushinteger(L, ev->u.shutdown.vector);
    else
        return 0;
    return 1;
}

static int push_number(lua_State *L, bool has, uint64_t v)
{
    if (!has)
        return 0;
    push_u64(L, v);
    return 1;
}

static int push_field(lua_State *L, struct event_box *b, enum field_id id)
{
    const struct exit_event *ev = b->ev;
    const char *name;

    switch (id) {
    case F_KIND:
        lua_pushstring(L, exit_kind_name(ev->reason));
        return 1;
    case F_PORT:
        return push_number(L, ev->reason == KVM_EXIT_IO, ev->u.io.port);
    case F_SIZE:
        return push_number(L, true, ev->size);
    case F_VALUE:
        return push_value(L, b);
    case F_WRITE:
        lua_pushboolean(L, is_write(ev));
        return 1;
    case F_COUNT:
        return push_number(L, ev->reason == KVM_EXIT_IO, ev->u.io.count);
    case F_GPA:
        return push_number(L, ev->reason == KVM_EXIT_MMIO, ev->u.mmio.gpa);
    case F_MSR:
        return push_number(L, ev->reason == KVM_EXIT_X86_RDMSR || ev->reason == KVM_EXIT_X86_WRMSR,
                           ev->u.msr.index);
    case F_VECTOR:
        return push_vector(L, ev);
    case F_RIP:
        return push_number(L, true, ev->cs_base + ev->rip);
    case F_CS_BASE:
        return push_number(L, true, ev->cs_base);
    case F_SYMBOL:
        return push_symbol(L, ev);
    case F_CR3:
        return push_number(L, true, ev->cr3);
    case F_CPL:
        return push_number(L, true, ev->cpl);
    case F_VCPU:
        return push_number(L, true, ev->vcpu);
    case F_MODE:
        lua_pushstring(L, cpu_mode_name((enum cpu_mode)ev->mode));
        return 1;
    case F_SEQ:
        return push_number(L, true, ev->seq);
    case F_AT:
        lua_pushnumber(L, (double)ev->at_ns / 1e9);
        return 1;
    case F_GUEST_NS:
        return push_number(L, true, ev->guest_ns);
    case F_HOST_NS:
        return push_number(L, true, ev->host_ns);
    case F_UNCLAIMED:
        ask_device(L, b);
        lua_pushboolean(L, (ev->flags & EXIT_F_UNCLAIMED) != 0);
        return 1;
    case F_STRING:
        lua_pushboolean(L, (ev->flags & EXIT_F_STRING) != 0);
        return 1;
    case F_STEPPED:
        lua_pushboolean(L, (ev->flags & EXIT_F_STEPPED) != 0);
        return 1;
    case F_REGISTER:
        name = session_reg_name(host_of(L)->s, ev);
        lua_pushstring(L, name);
        return 1;
    case F_TEXT:
        return push_text(L, b);
    case F_REASON:
        return push_number(L, true, ev->reason);
    case F_EXCEPTION:
        return push_number(L, ev->reason == KVM_EXIT_DEBUG, ev->u.debug.exception);
    case F_LINE:
        return push_line(L, ev);
    case F_EVENT:
        return push_device_event(L, ev);
    case F_TARGET:
        return push_number(L, ev->reason == EXIT_DEVICE && ev->u.device.cpu != DEVICE_NO_CPU,
                           ev->u.device.cpu);
    case F_DR6:
        return push_number(L, ev->reason == KVM_EXIT_DEBUG, ev->u.debug.dr6);
    }
    return 0;
}

/* Upvalue 1: names to numbers and methods. */
static int event_index(lua_State *L)
{
    struct event_box *b = check(L);

    lua_settop(L, 2);
    lua_rawget(L, lua_upvalueindex(1));
    if (lua_type(L, 2) == LUA_TFUNCTION)
        return 1;
    if (!lua_isinteger(L, 2))
        return luaL_error(L, "an event has no such field; `help lua event` lists them");
    return push_field(L, b, (enum field_id)lua_tointeger(L, 2));
}

static int event_reply(lua_State *L)
{
    struct event_box *b = check(L);
    uint8_t word[8];

    if (!b->call || !b->call->access)
        return luaL_error(L, "only an io, mmio, rdmsr or wrmsr exit can be answered");
    if (lua_type(L, 2) == LUA_TSTRING) {
        size_t len;
        const char *bytes = lua_tolstring(L, 2, &len);

        luaL_argcheck(L, len > 0, 2, "an answer has a byte at least");
        hook_reply(b->call, bytes, len);
    } else {
        le_store(word, 8, (uint64_t)luaL_checkinteger(L, 2));
        hook_reply(b->call, word, b->ev->size ? b->ev->size : 8);
    }
    lua_pushliteral(L, "answered");
    return 1;
}

static int event_tostring(lua_State *L)
{
    struct event_box *b = luaL_checkudata(L, 1, EVENT_META);

    if (!b->ev) {
        lua_pushliteral(L, "event (over)");
        return 1;
    }
    return push_text(L, b);
}

void lua_open_event(lua_State *L)
{
    luaL_newmetatable(L, EVENT_META);
    lua_createtable(L, 0, 40);
    for (size_t i = 0; i < sizeof field_names / sizeof field_names[0]; i++) {
        lua_pushinteger(L, field_names[i].id);
        lua_setfield(L, -2, field_names[i].name);
    }
    lua_pushcfunction(L, event_reply);
    lua_setfield(L, -2, "reply");
    lua_pushcclosure(L, event_index, 1);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, event_tostring);
    lua_setfield(L, -2, "__tostring");
    lua_pushboolean(L, false);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
}
