/*
 * Methods over the state of the guest: memory, registers, points, input. Main thread.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "debug/control/rpc.h"
#include "vmm/base/esc.h"
#include "vmm/base/x.h"

/* ---- memory -----------------------------------------------------------------------------------
 */

struct place {
    unsigned vcpu;
    enum space space;
    uint64_t addr;
};

static int standing(struct call *q)
{
    if (session_state(q->s) != SS_RUNNING)
        return 0;
    return err_set(&q->e, EBUSY, "the guest is running: stop it first");
}

static int place_of(struct call *q, struct place *at)
{
    const char *space = call_text(q, "space"), *text = call_text(q, "address");
    int r = standing(q);

    if (!r)
        r = call_vcpu(q, &at->vcpu);
    if (r < 0)
        return r;
    at->space = space && !strcmp(space, "physical") ? SPACE_PHYS : SPACE_LINEAR;
    if (space && strcmp(space, "physical") && strcmp(space, "linear"))
        return err_set(&q->e, EINVAL, "\"space\" is linear or physical");
    if (text)
        return session_eval(q->s, at->vcpu, text, &at->addr, &q->e);
    at->addr = (uint64_t)json_integer_value(json_object_get(q->params, "address"));
    return 0;
}

static int too_much(struct call *q)
{
    return err_set(&q->e, EINVAL, "one request moves 1 to %u bytes", CONTROL_MEMORY_MAX);
}

/* `n` is what session_mem_… gave for `len` bytes. */
static int check_moved(struct call *q, const struct place *at, int64_t n, uint64_t len)
{
    if (n < 0)
        return err_set(&q->e, (int)-n, "the guest's memory cannot be reached now");
    if (!n && len)
        return err_set(&q->e, EFAULT, "nothing is mapped at %s0x%" PRIx64,
                       at->space == SPACE_PHYS ? "phys:" : "", at->addr);
    json_object_set_new(q->result, "address", rpc_hex(at->addr));
    json_object_set_new(q->result, "length", json_integer(n));
    return 0;
}

int method_memory_read(struct call *q)
{
    struct place at = {0};
    uint64_t len;
    uint8_t *bytes;
    int64_t n;
    int r = call_number(q, "length", 0, &len);

    if (!r && (!len || len > CONTROL_MEMORY_MAX))
        r = too_much(q);
    if (!r)
        r = place_of(q, &at);
    if (r < 0)
        return r;
    bytes = xmalloc(len);
    n = session_mem_read(q->s, at.vcpu, at.space, at.addr, bytes, len);
    r = check_moved(q, &at, n, len);
    if (!r)
        json_object_set_new(q->result, "bytes", rpc_bytes(bytes, (size_t)n));
    free(bytes);
    return r;
}

int method_memory_write(struct call *q)
{
    struct place at = {0};
    struct buf bytes = {0};
    int r = place_of(q, &at);

    if (!r && !rpc_bytes_of(call_text(q, "bytes"), &bytes))
        r = err_set(&q->e, EINVAL, "\"bytes\" is a text of hex digits, two a byte");
    if (!r && (!bytes.len || bytes.len > CONTROL_MEMORY_MAX))
        r = too_much(q);
    if (!r)
        r = check_moved(q, &at,
                        session_mem_write(q->s, at.vcpu, at.space, at.addr, bytes.data, bytes.len),
                        bytes.len);
    buf_fini(&bytes);
    return r;
}

/* ---- registers --------------------------------------------------------------------------------
 */

/* Wide ones with all their digits, the highest byte first. */
static json_t *value_json(int reg, const struct reg_value *v)
{
    char text[2 + 2 * sizeof v->bytes + 1] = "0x";

    if (reg_table[reg].bits <= 64)
        return rpc_hex(v->u);
    for (unsigned i = 0; i < v->len; i++)
        snprintf(text + 2 + 2 * i, 3, "%02x", v->bytes[v->len - 1 - i]);
    return json_string(text);
}

static int no_register(struct call *q, const char *name)
{
    char word[60];

    return err_set(&q->e, EINVAL, "there is no register \"%s\": `info all-registers` lists all",
                   esc_cut(word, sizeof word, name, strlen(name)));
}

static int read_one(struct call *q, unsigned vcpu, const char *name, json_t *into)
{
    struct reg_value v;
    struct reg_part part;
    uint64_t u;
    int r;

    if (!reg_partial(name, &part))
        return no_register(q, name);
    if (part.width != reg_table[part.id].bits && part.width <= 64) {
        r = session_eval(q->s, vcpu, name[0] == '$' ? name + 1 : name, &u, &q->e);
        if (r < 0)
            return r;
        json_object_set_new(into, name, rpc_hex(u));
        return 0;
    }
    r = session_reg_get(q->s, vcpu, part.id, &v, &q->e);
    if (r < 0)
        return r;
    json_object_set_new(into, name, value_json(part.id, &v));
    return 0;
}

static int read_general(struct call *q, unsigned vcpu, json_t *into)
{
    int r = 0;

    for (int i = 0; !r && i < REG_COUNT; i++)
        if (reg_table[i].group == RG_GENERAL)
            r = read_one(q, vcpu, reg_table[i].name, into);
    return r;
}

int method_registers_read(struct call *q)
{
    const json_t *names = json_object_get(q->params, "names"), *item;
    json_t *values = json_object();
    unsigned vcpu;
    size_t i;
    int r = standing(q);

    if (!r)
        r = call_vcpu(q, &vcpu);
    if (!r && !names)
        r = read_general(q, vcpu, values);
    json_array_foreach(names, i, item) if (!r) r =
        read_one(q, vcpu, json_string_value(item), values);
    json_object_set_new(q->result, "registers", values);
    return r;
}

/* A number, or a text that is evaluated. Whole registers of up to 64 bits. */
static int write_one(struct call *q, unsigned vcpu, const char *name, const json_t *value)
{
    int reg = reg_by_name(name), r = 0;
    uint64_t u = (uint64_t)json_integer_value(value);
    struct reg_value v;

    if (reg < 0)
        return no_register(q, name);
    if (!json_is_integer(value) && !json_is_string(value))
        return err_set(&q->e, EINVAL, "the value of %s is neither a number nor a text", name);
    if (json_is_string(value))
        r = session_eval(q->s, vcpu, json_string_value(value), &u, &q->e);
    if (r < 0)
        return r;
    if (reg_table[reg].bits > 64)
        return err_set(&q->e, EINVAL, "%s is wider than 64 bits: the command `set` writes it",
                       reg_table[reg].name);
    v = reg_from_u64(reg, u);
    return session_reg_set(q->s, vcpu, reg, &v, &q->e);
}

int method_registers_write(struct call *q)
{
    json_t *values = json_object_get(q->params, "values"), *value;
    const char *name;
    unsigned vcpu;
    int r = standing(q);

    if (!r)
        r = call_vcpu(q, &vcpu);
    json_object_foreach(values, name, value) if (!r) r = write_one(q, vcpu, name, value);
    return r;
}

/* ---- points -----------------------------------------------------------------------------------
 */

/* Points are made by the same words as at the prompt, so that both mean the same. */
static int exec(struct call *q, const char *line, json_t **data)
{
    struct out o = {0};
    int r = cmd_exec(&q->cl->cmd, line, &o);

    *data = json_loadb(buf_str(&o.json), o.json.len, JSON_ALLOW_NUL, NULL);
    if (r < 0)
        err_set(&q->e, -r, "%.580s", buf_str(&o.error));
    out_fini(&o);
    return r < 0 ? r : 0;
}

int method_points_add(struct call *q)
{
    static const char *const kinds[] = {"break", "tbreak", "watch", "rwatch", "awatch", "catch"};
    const char *kind = call_text(q, "kind"), *condition = call_text(q, "condition");
    uint64_t ignore, vcpu;
    struct buf line = {0};
    json_t *data = NULL;
    bool known = !kind;
    int r = call_number(q, "ignore", 0, &ignore);

    for (size_t i = 0; kind && i < ARRAY_LEN(kinds); i++)
        known |= !strcmp(kind, kinds[i]);
    if (!r && !known)
        r = err_set(&q->e, EINVAL,
                    "\"kind\" is one of break, tbreak, watch, rwatch, awatch and catch");
    if (!r)
        r = call_number(q, "vcpu", UINT64_MAX, &vcpu);
    if (r < 0)
        return r;
    buf_addf(&line, "%s %s", kind ? kind : "break", call_text(q, "location"));
    if (vcpu != UINT64_MAX)
        buf_addf(&line, " vcpu %" PRIu64, vcpu);
    if (condition && *condition)
        buf_addf(&line, " if %s", condition);
    r = exec(q, buf_str(&line), &data);
    if (!r) {
        json_object_update(q->result, data);
        if (ignore)
            session_point_ignore(q->s, (int)json_integer_value(json_object_get(data, "id")),
                                 ignore);
    }
    json_decref(data);
    buf_fini(&line);
    return r;
}

static int id_of(struct call *q, int *id)
{
    uint64_t n;
    int r = call_number(q, "id", 0, &n);

    *id = n <= INT32_MAX ? (int)n : 0;
    if (!r && (!*id || !session_point(q->s, *id)))
        r = err_set(&q->e, ENOENT, "there is no point %llu: breakpoints.list lists all",
                    (unsigned long long)n);
    return r;
}

int method_points_change(struct call *q)
{
    const json_t *enabled = json_object_get(q->params, "enabled");
    const char *condition = call_text(q, "condition");
    uint64_t ignore;
    int id, r = id_of(q, &id);

    if (!r)
        r = call_number(q, "ignore", 0, &ignore);
    if (!r && condition)
        r = session_point_condition(q->s, id, *condition ? condition : NULL, &q->e);
    if (!r && json_object_get(q->params, "ignore"))
        r = session_point_ignore(q->s, id, ignore);
    if (!r && enabled)
        r = session_point_enable(q->s, id, json_is_true(enabled));
    if (r < 0 && !q->e.code)
        err_set(&q->e, -r, "cannot change point %d: %s", id, strerror(-r));
    return r;
}

int method_points_delete(struct call *q)
{
    int id, r = id_of(q, &id);

    if (r < 0)
        return r;
    r = session_point_del(q->s, id);
    return r < 0 ? err_set(&q->e, -r, "cannot delete point %d: %s", id, strerror(-r)) : 0;
}

int method_points_list(struct call *q)
{
    json_t *data = NULL;
    int r = exec(q, "info breakpoints", &data);

    if (!r)
        json_object_update(q->result, data);
    json_decref(data);
    return r;
}

/* ---- input ------------------------------------------------------------------------------------
 */

int method_console_send(struct call *q)
{
    const char *channel = call_text(q, "channel"), *hex = call_text(q, "bytes");
    const json_t *text = json_object_get(q->params, "text");
    enum door_input to = channel && !strcmp(channel, "com2") ? DOOR_COM2 : DOOR_COM1;
    struct buf b = {0};
    int r = 0;

    if (channel && strcmp(channel, "com1") && strcmp(channel, "com2"))
        return err_set(&q->e, EINVAL, "\"channel\" is com1 or com2");
    if (!text == !hex)
        return err_set(&q->e, EINVAL, "console.send takes either \"text\" or \"bytes\"");
    if (text)
        buf_add(&b, json_string_value(text), json_string_length(text));
    else if (!rpc_bytes_of(hex, &b))
        r = err_set(&q->e, EINVAL, "\"bytes\" is a text of hex digits, two a byte");
    if (!r)
        json_object_set_new(q->result, "taken",
                            json_integer((json_int_t)session_input(q->s, to, buf_str(&b), b.len)));
    buf_fini(&b);
    return r;
}

int method_keyboard_type(struct call *q)
{
    json_object_set_new(q->result, "taken",
                        json_integer((json_int_t)session_type(q->s, call_text(q, "text"))));
    return 0;
}
