/*
 * The table of methods, and those that greet, move the guest and subscribe. docs/control.md
 * describes each; `hello` hands the table out. Main thread.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "debug/control/rpc.h"
#include "debug/trace/tracer.h"
#include "vmm/base/esc.h"
#include "vmm/base/near.h"
#include "vmm/base/version.h"
#include "vmm/base/x.h"

static int method_hello(struct call *q);

/* ---- the state of things ----------------------------------------------------------------------
 */

static int method_status(struct call *q)
{
    json_t *cpus = json_array();

    for (unsigned i = 0; i < session_cpus(q->s); i++)
        json_array_append_new(cpus, json_string(session_cpu_status(q->s, i)));
    control_add_state(q->s, q->result);
    json_object_set_new(q->result, "vcpu", json_integer(session_focus(q->s)));
    json_object_set_new(q->result, "vcpus", cpus);
    json_object_set_new(q->result, "exits", json_integer((json_int_t)session_exit_count(q->s)));
    json_object_set_new(q->result, "guest_ns", json_integer((json_int_t)session_guest_time(q->s)));
    json_object_set_new(q->result, "lost", json_integer((json_int_t)q->cl->lost_ever));
    return 0;
}

/* ---- commands ---------------------------------------------------------------------------------
 */

/* The client's wish goes to whoever runs the program. */
static void take_quit(struct call *q)
{
    struct cmd_client *c = &q->cl->cmd;

    if (!c->quit)
        return;
    c->quit = false;
    session_quit(q->s, c->quit_status);
}

static int method_command(struct call *q)
{
    struct out o = {0};
    int r = cmd_exec(&q->cl->cmd, call_text(q, "line"), &o);
    json_t *text = rpc_text(buf_str(&o.text), o.text.len);
    json_t *data = json_loadb(buf_str(&o.json), o.json.len, JSON_ALLOW_NUL, NULL);

    take_quit(q);
    if (!data)
        data = json_object();
    if (r < 0) {
        err_set(&q->e, EIO, "%.580s", buf_str(&o.error));
        q->code = RPC_COMMAND;
        q->data = json_pack("{s:o, s:o}", "text", text, "data", data);
    } else {
        json_object_set_new(q->result, "text", text);
        json_object_set_new(q->result, "data", data);
    }
    out_fini(&o);
    return r < 0 ? r : 0;
}

static int method_complete(struct call *q)
{
    json_t *lines = json_array();
    char *full;

    for (size_t n = 0; n < 200 && (full = cmd_complete(&q->cl->cmd, call_text(q, "line"), n));
         n++) {
        json_array_append_new(lines, rpc_text(full, strlen(full)));
        free(full);
    }
    json_object_set_new(q->result, "lines", lines);
    return 0;
}

/* ---- moving the guest -------------------------------------------------------------------------
 */

static int method_run(struct call *q)
{
    return session_run(q->s, &q->e);
}

static int method_stop(struct call *q)
{
    int r = session_stop(q->s);

    return r < 0 ? err_set(&q->e, -r, "cannot stop the guest: %s", strerror(-r)) : 0;
}

static int method_step(struct call *q)
{
    uint64_t count;
    unsigned vcpu;
    int r = call_number(q, "count", 1, &count);

    if (!r)
        r = call_vcpu(q, &vcpu);
    if (!r && !count)
        r = err_set(&q->e, EINVAL, "\"count\" is a number from 1 on");
    if (r < 0)
        return r;
    return call_bool(q, "over") ? session_step_over(q->s, vcpu, count, &q->e)
                                : session_step(q->s, vcpu, count, &q->e);
}

/* The answer is what every method that waits gives. */
static int method_wait(struct call *q)
{
    (void)q;
    return 0;
}

static int method_reset(struct call *q)
{
    return session_reset(q->s, &q->e);
}

static int method_quit(struct call *q)
{
    uint64_t status;
    int r = call_number(q, "status", 256, &status);

    if (r < 0)
        return r;
    if (status > 255 && json_object_get(q->params, "status"))
        return err_set(&q->e, EINVAL, "an exit status is a number from 0 to 255");
    session_quit(q->s, status > 255 ? -1 : (int)status);
    return 0;
}

/* ---- subscriptions ----------------------------------------------------------------------------
 */

static json_t *told(const struct client *cl)
{
    json_t *list = json_array();

    for (unsigned i = 0; control_events[i]; i++)
        if (cl->tells >> i & 1)
            json_array_append_new(list, json_string(control_events[i]));
    return list;
}

static int bit_of(const char *name, unsigned *bits, struct err *e)
{
    struct near near = {.word = name};
    char word[60];

    for (unsigned i = 0; control_events[i]; i++) {
        near_offer(&near, control_events[i]);
        if (!strcmp(control_events[i], name)) {
            *bits |= 1u << i;
            return 0;
        }
    }
    return err_set(e, EINVAL, "there is no event \"%s\"%s%s%s: hello lists all",
                   esc_cut(word, sizeof word, name, strlen(name)),
                   near.best ? ", did you mean \"" : "", near.best ? near.best : "",
                   near.best ? "\"?" : "");
}

static int bits_of(struct call *q, unsigned *bits)
{
    const json_t *list = json_object_get(q->params, "events"), *item;
    size_t i;
    int r = 0;

    *bits = 0;
    json_array_foreach(list, i, item) if (!r) r = bit_of(json_string_value(item), bits, &q->e);
    return r;
}

static int method_subscribe(struct call *q)
{
    struct client *cl = q->cl;
    const char *text = call_text(q, "filter");
    struct trace_filter *filter = NULL;
    unsigned bits, cursor = TELL_TRACE | TELL_MODE;
    int r = bits_of(q, &bits);

    if (r < 0)
        return r;
    if (text && !(bits & TELL_TRACE))
        return err_set(&q->e, EINVAL, "\"filter\" is for the event \"trace\"");
    if (text && *text) {
        filter = filter_compile(text, tracer_names(session_tracer(q->s)), &q->e);
        if (!filter)
            return -EINVAL;
    }
    if (bits & TELL_TRACE) {
        filter_free(cl->filter);
        cl->filter = filter;
    }
    if ((bits & cursor) && !(cl->tells & cursor))
        session_trace_start(q->s, &cl->cursor, true);
    if (bits & TELL_MODE)
        memset(cl->mode, 0, sizeof cl->mode);
    cl->tells |= bits;
    json_object_set_new(q->result, "events", told(cl));
    return 0;
}

static int method_unsubscribe(struct call *q)
{
    unsigned bits;
    int r = bits_of(q, &bits);

    if (r < 0)
        return r;
    q->cl->tells &= ~bits;
    json_object_set_new(q->result, "events", told(q->cl));
    return 0;
}

/* ---- the table --------------------------------------------------------------------------------
 */

/* clang-format off */
const struct rpc_method method_table[] = {
{"hello", "protocol?:u client?:s", "say who you are; learn the protocol, methods, events and limits", false, false, method_hello},
{"status", "", "state of the guest and of its vCPUs, the last stop, exits so far", false, false, method_status},
{"command", "line:s", "a command as at the prompt: its text and its data", false, true, method_command},
{"complete", "line:s", "how a command line can go on", false, false, method_complete},
{"run", "", "let the guest run", false, true, method_run},
{"stop", "", "stop the guest", true, true, method_stop},
{"step", "count?:u over?:b vcpu?:u", "make single steps, over calls if asked for", false, true, method_step},
{"wait", "", "answer when the guest stands", false, true, method_wait},
{"reset", "", "the guest as at the start, standing at its entry", false, true, method_reset},
{"memory.read", "address:a length:u space?:s vcpu?:u", "bytes, as hex digits", false, false, method_memory_read},
{"memory.write", "address:a bytes:s space?:s vcpu?:u", "write bytes given as hex digits", false, false, method_memory_write},
{"registers.read", "names?:l vcpu?:u", "registers by name; the general ones unless named", false, false, method_registers_read},
{"registers.write", "values:o vcpu?:u", "set registers: an object of name and value", false, false, method_registers_write},
{"breakpoints.list", "", "all break-, watch- and catchpoints", false, false, method_points_list},
{"breakpoints.add", "location:s kind?:s condition?:s ignore?:u vcpu?:u",
 "a point; kind is break, tbreak, watch, rwatch, awatch or catch", false, false, method_points_add},
{"breakpoints.change", "id:u enabled?:b condition?:s ignore?:u", "change a point", false, false, method_points_change},
{"breakpoints.delete", "id:u", "delete a point", false, false, method_points_delete},
{"console.send", "text?:s bytes?:s channel?:s", "input for com1 or com2, as text or hex digits", false, false, method_console_send},
{"keyboard.type", "text:s", "text typed on the guest's keyboard", false, false, method_keyboard_type},
{"subscribe", "events:l filter?:s", "be told of events; filter is for trace", false, false, method_subscribe},
{"unsubscribe", "events:l", "be told no more", false, false, method_unsubscribe},
{"quit", "status?:u", "end vmscope", true, false, method_quit},
{NULL, NULL, NULL, false, false, NULL},
};
/* clang-format on */

/* ---- hello ------------------------------------------------------------------------------------
 */

static json_t *methods_json(void)
{
    json_t *list = json_array();

    for (const struct rpc_method *m = method_table; m->name; m++)
        json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:b}", "name", m->name, "params",
                                              m->params, "help", m->help, "waits", m->waits));
    return list;
}

static json_t *limits_json(void)
{
    return json_pack("{s:i, s:i, s:i}", "line_bytes", (int)CONTROL_LINE_MAX, "memory_bytes",
                     (int)CONTROL_MEMORY_MAX, "clients", CONTROL_CLIENTS_MAX);
}

static int method_hello(struct call *q)
{
    const char *name = call_text(q, "client"), *image = session_cfg(q->s)->boot.image;
    json_t *events = json_array();
    uint64_t protocol;
    char word[60];
    int r = call_number(q, "protocol", CONTROL_PROTOCOL, &protocol);

    if (!r && protocol != CONTROL_PROTOCOL) {
        q->code = RPC_PROTOCOL;
        r = err_set(&q->e, EPROTONOSUPPORT, "this vmscope speaks protocol %d, not %llu",
                    CONTROL_PROTOCOL, (unsigned long long)protocol);
    }
    if (r < 0) {
        json_decref(events);
        return r;
    }
    if (name) {
        free(q->cl->name);
        q->cl->name = xstrdup(esc_cut(word, sizeof word, name, strlen(name)));
    }
    for (unsigned i = 0; control_events[i]; i++)
        json_array_append_new(events, json_string(control_events[i]));
    json_object_set_new(q->result, "protocol", json_integer(CONTROL_PROTOCOL));
    json_object_set_new(q->result, "program", json_string("vmscope"));
    json_object_set_new(q->result, "version", json_string(VMSCOPE_VERSION));
    json_object_set_new(q->result, "guest", rpc_text(image, strlen(image)));
    json_object_set_new(q->result, "vcpus", json_integer(session_cpus(q->s)));
    json_object_set_new(q->result, "methods", methods_json());
    json_object_set_new(q->result, "events", events);
    json_object_set_new(q->result, "limits", limits_json());
    return 0;
}
