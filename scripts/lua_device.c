/*
 * Devices written in Lua: vm.device for ports, vm.mmio for memory. Their functions run with the
 * machine locked, on the thread of the vCPU that made the access.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "debug/out.h"
#include "scripts/lua_int.h"
#include "vmm/base/x.h"

/* Lives until the session's end: the board keeps it. After the host's end it answers all ones. */
struct lua_device {
    struct scripts *h; /* NULL: the host is gone */
    char *name, *where;
    int read, write, reset; /* registry */
    unsigned errors;
    uint64_t accesses;
    bool dead;
    struct lua_device *next;
};

static int ref_of(lua_State *L, const char *field)
{
    int type = lua_getfield(L, 1, field);

    if (type == LUA_TNIL) {
        lua_pop(L, 1);
        return LUA_NOREF;
    }
    if (type != LUA_TFUNCTION)
        luaL_error(L, "the device's %s is not a function", field);
    return luaL_ref(L, LUA_REGISTRYINDEX);
}

static void device_failed(struct lua_device *d, lua_State *L)
{
    struct scripts *h = d->h;

    if (!h->failed)
        h->failed = xstrdup(host_error_text(L));
    host_printf(h, "script error in device %s (%s): %s\n", d->name, d->where, host_error_text(L));
    if (++d->errors < ERRORS_IN_A_ROW || d->dead)
        return;
    d->dead = true;
    host_printf(h, "the device %s is switched off: it failed %d times in a row\n", d->name,
                ERRORS_IN_A_ROW);
}

/* One access: fn(at, size) reads, fn(at, value, size) writes. */
static uint64_t access_device(struct lua_device *d, uint64_t at, unsigned size, bool write,
                              uint64_t value)
{
    struct scripts *h = d->h;
    struct entry in = {.in_device = true};
    uint64_t answer = UINT64_MAX;
    int fn = write ? d->write : d->read;
    lua_State *L;

    if (!h || d->dead || fn == LUA_NOREF)
        return answer;
    L = h->dev; /* the machine lock lets one device access happen at a time */
    host_enter(h, &in, L, (uint64_t)h->cfg.hook_ms * 1000000);
    d->accesses++;
    lua_rawgeti(L, LUA_REGISTRYINDEX, fn);
    lua_pushinteger(L, (lua_Integer)at);
    if (write)
        lua_pushinteger(L, (lua_Integer)value);
    lua_pushinteger(L, size);
    if (host_pcall(L, write ? 3 : 2, 1) != LUA_OK) {
        device_failed(d, L);
    } else {
        d->errors = 0;
        if (lua_isinteger(L, -1))
            answer = (uint64_t)lua_tointeger(L, -1);
    }
    lua_pop(L, 1);
    host_leave(&in);
    return answer;
}

static uint64_t on_pio(void *arg, uint16_t port, unsigned size, bool write, uint64_t value)
{
    return access_device(arg, port, size, write, value);
}

static uint64_t on_mmio(void *arg, uint64_t off, unsigned size, bool write, uint64_t value)
{
    return access_device(arg, off, size, write, value);
}

static void on_reset(void *arg)
{
    struct lua_device *d = arg;
    struct entry in = {.in_device = true};

    if (!d->h || d->dead || d->reset == LUA_NOREF)
        return;
    host_enter(d->h, &in, d->h->dev, (uint64_t)d->h->cfg.hook_ms * 1000000);
    lua_rawgeti(d->h->dev, LUA_REGISTRYINDEX, d->reset);
    if (host_pcall(d->h->dev, 0, 0) != LUA_OK) {
        device_failed(d, d->h->dev);
        lua_pop(d->h->dev, 1);
    }
    host_leave(&in);
}

static void on_gone(void *arg)
{
    struct lua_device *d = arg;

    free(d->name);
    free(d->where);
    free(d);
}

static struct lua_device *device_new(lua_State *L)
{
    int read = ref_of(L, "read"), write = ref_of(L, "write"), reset = ref_of(L, "reset");
    struct lua_device *d = xcalloc(1, sizeof *d);

    d->h = host_of(L);
    d->read = read;
    d->write = write;
    d->reset = reset;
    d->where = host_where(L);
    return d;
}

static int add(lua_State *L, struct lua_device *d, struct device_spec *spec)
{
    struct scripts *h = d->h;
    struct err e = {0};
    int rc;

    d->name = xstrdup(spec->name);
    spec->arg = d;
    spec->reset = on_reset;
    spec->gone = on_gone;
    host_release(h);
    rc = session_device_add(h->s, spec, &e);
    host_retake(h);
    if (rc < 0) {
        on_gone(d);
        return host_raise(L, &e);
    }
    d->next = h->devices;
    h->devices = d;
    return 0;
}

static const char *text_field(lua_State *L, const char *field, const char *dflt)
{
    if (lua_getfield(L, 1, field) == LUA_TNIL)
        return dflt;
    return luaL_checkstring(L, -1); /* stays on the stack */
}

/* vm.device{name=, ports={0x510, 0x511}, read=function(port, size), write=function(port, value,
 * size), reset=function()} */
static int vm_device(lua_State *L)
{
    struct device_spec spec = {.pio = on_pio};
    uint16_t *ports;
    size_t n;

    host_self(L);
    luaL_checktype(L, 1, LUA_TTABLE);
    host_need_main(L, "vm.device");
    spec.name = text_field(L, "name", "lua");
    spec.help = text_field(L, "help", NULL);
    luaL_argcheck(L, lua_getfield(L, 1, "ports") == LUA_TTABLE, 1, "ports = {0x510, …} is missing");
    n = lua_rawlen(L, -1);
    luaL_argcheck(L, n >= 1 && n <= 65536, 1, "ports is a list of port numbers");
    ports = lua_newuserdatauv(L, n * sizeof *ports, 0);
    for (size_t i = 0; i < n; i++) {
        lua_rawgeti(L, -2, (lua_Integer)i + 1);
        lua_Integer p = luaL_checkinteger(L, -1);

        luaL_argcheck(L, p >= 0 && p <= 0xffff, 1, "a port is 0 to 0xffff");
        ports[i] = (uint16_t)p;
        lua_pop(L, 1);
    }
    spec.port = ports;
    spec.ports = (unsigned)n;
    return add(L, device_new(L), &spec);
}

/* vm.mmio{name=, base=, size=, read=function(offset, size), write=function(offset, value, size)} */
static int vm_mmio(lua_State *L)
{
    struct device_spec spec = {.mmio = on_mmio};

    host_self(L);
    luaL_checktype(L, 1, LUA_TTABLE);
    host_need_main(L, "vm.mmio");
    spec.name = text_field(L, "name", "lua-mmio");
    spec.help = text_field(L, "help", NULL);
    lua_getfield(L, 1, "base");
    spec.gpa = (uint64_t)luaL_checkinteger(L, -1);
    lua_getfield(L, 1, "size");
    spec.len_bytes = (uint64_t)luaL_checkinteger(L, -1);
    luaL_argcheck(L, spec.len_bytes > 0, 1, "size is the number of bytes, 1 or more");
    return add(L, device_new(L), &spec);
}

/* vm.irq(gsi, level) */
static int vm_irq(lua_State *L)
{
    struct scripts *h = host_of(L);
    lua_Integer gsi;
    bool level, inside = h->inside->in_device;
    int rc;

    host_self(L);
    gsi = luaL_checkinteger(L, 1);
    level = lua_toboolean(L, 2) != 0;
    luaL_argcheck(L, gsi >= 0 && gsi < MACHINE_GSIS, 1, "an interrupt line is 0 to 23");
    if (!inside)
        host_release(h);
    rc = session_irq(h->s, (unsigned)gsi, level);
    if (!inside)
        host_retake(h);
    return rc < 0 ? luaL_error(L, "there is no interrupt line %d", (int)gsi) : 0;
}

/* vm.console_put(text [, channel]): as if a device had printed it */
static int vm_console_put(lua_State *L)
{
    static const char *const names[] = {"com1", "com2", "debug", NULL};
    struct scripts *h = host_of(L);
    bool inside = h->inside->in_device;
    const char *text;
    size_t len;
    int chan;

    host_self(L);
    text = luaL_checklstring(L, 1, &len);
    chan = luaL_checkoption(L, 2, "debug", names);
    if (!inside)
        host_release(h);
    session_console_put(h->s, (enum console_chan)chan, text, len);
    if (!inside)
        host_retake(h);
    return 0;
}

void devices_list(struct scripts *h, struct out *o)
{
    static const char *const columns[] = {"device", "at", ">accesses", ">errors", "state", NULL};

    out_table(o, "devices", NULL, columns);
    for (struct lua_device *d = h->devices; d; d = d->next) {
        out_row(o);
        out_cell(o, "%s", d->name);
        out_cell(o, "%s", d->where);
        out_cell_u64(o, d->accesses);
        out_cell_u64(o, d->errors);
        out_cell(o, "%s", d->dead ? "off" : "on");
    }
    out_table_end(o);
}

/* The board keeps them; they only forget the host. The guest stands. */
void devices_free(struct scripts *h)
{
    for (struct lua_device *d = h->devices; d; d = d->next)
        d->h = NULL;
    h->devices = NULL;
}

void lua_open_device(lua_State *L)
{
    static const luaL_Reg list[] = {
        {"device", vm_device},           {"mmio", vm_mmio}, {"irq", vm_irq},
        {"console_put", vm_console_put}, {NULL, NULL},
    };

    luaL_setfuncs(L, list, 0);
}
