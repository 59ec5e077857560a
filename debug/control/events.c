/*
 * What clients are told without asking: events they subscribed to, and the answers that waited for
 * a stop. Main thread, called by the session.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>

#include "debug/control/rpc.h"
#include "debug/session_priv.h"
#include "debug/symbols/sym.h"
#include "debug/trace/trace_out.h"
#include "debug/trace/tracer.h"
#include "vmm/base/clock.h"
#include "vmm/base/log.h"
#include "vmm/base/x.h"

/* Console text of one notification, so that much of it is not dropped at once. */
#define CONSOLE_PIECE 16384u
/* Records looked at before others get their turn. */
#define TRACE_TURN 16384u

const char *const control_events[] = {"stopped", "running", "console", "storm", "mode",
                                      "reset",   "trace",   "points",  "state", NULL};

/* ---- the guest's state ------------------------------------------------------------------------
 */

static json_t *stop_json(struct session *s)
{
    const struct stop_info *i = session_last_stop(s);
    uint64_t linear = i->cs_base + i->rip;
    char place[160];
    json_t *stop = json_pack("{s:s, s:o, s:i, s:o, s:I}", "reason", stop_kind_name(i->kind),
                             "sentence", rpc_text(i->text, strlen(i->text)), "vcpu", (int)i->vcpu,
                             "rip", rpc_hex(linear), "steps", (json_int_t)i->steps);

    if (symbols_format(session_symbols(s), linear, place, sizeof place))
        json_object_set_new(stop, "place", rpc_text(place, strlen(place)));
    if (i->point_id > 0)
        json_object_set_new(stop, "point", json_integer(i->point_id));
    if (i->kind == STOP_DEBUG_EXIT)
        json_object_set_new(stop, "code", json_integer(i->code));
    if (i->kind == STOP_WATCHPOINT) {
        json_object_set_new(stop, "address", rpc_hex(i->addr));
        json_object_set_new(stop, "old", rpc_hex(i->old_value));
        json_object_set_new(stop, "new", rpc_hex(i->new_value));
        json_object_set_new(stop, "by", rpc_hex(i->by));
        if (i->device)
            json_object_set_new(stop, "device", rpc_text(i->device, strlen(i->device)));
    }
    return stop;
}

static const char *state_name(const struct session *s)
{
    static const char *const names[] = {
        [SS_STOPPED] = "stopped", [SS_RUNNING] = "running", [SS_ENDED] = "ended"};

    return names[session_state(s)];
}

void control_add_state(struct session *s, json_t *to)
{
    json_object_set_new(to, "state", json_string(state_name(s)));
    if (session_state(s) != SS_RUNNING)
        json_object_set_new(to, "stop", stop_json(s));
}

/* ---- answers at a stop ------------------------------------------------------------------------
 */

void wait_fini(struct wait *w)
{
    json_decref(w->id);
    json_decref(w->result);
    *w = (struct wait){0};
}

void control_wait(struct client *cl, const json_t *id, json_t *result, uint64_t deadline_ns)
{
    cl->wait = (struct wait){
        .id = id ? json_incref((json_t *)id) : NULL, .result = result, .deadline_ns = deadline_ns};
    control_timeouts(cl->c);
}

/* The requests that it held back are not carried out from inside an event. */
static void wait_over(struct client *cl)
{
    wait_fini(&cl->wait);
    cl->held = false;
    control_later(cl->c);
}

static void answer_wait(struct client *cl)
{
    if (!cl->wait.result)
        return;
    control_add_state(cl->c->s, cl->wait.result);
    if (cl->wait.id)
        rpc_reply(cl, cl->wait.id, json_incref(cl->wait.result));
    wait_over(cl);
}

static void too_late(struct client *cl, uint64_t now, uint64_t *next)
{
    const struct wait *w = &cl->wait;

    if (!w->result)
        return;
    if (w->deadline_ns > now) {
        *next = w->deadline_ns < *next ? w->deadline_ns : *next;
        return;
    }
    if (w->id)
        rpc_error(cl, w->id, RPC_TIMEOUT, "the guest did not stop within that time; it still runs",
                  NULL);
    wait_over(cl);
}

void control_timeouts(struct control *c)
{
    struct itimerspec when = {0};
    uint64_t next = UINT64_MAX, now = clock_ns();

    for (unsigned i = 0; i < CONTROL_CLIENTS_MAX; i++)
        if (c->client[i])
            too_late(c->client[i], now, &next);
    if (next != UINT64_MAX)
        when.it_value = clock_timespec(next);
    if (timerfd_settime(c->timer_fd, TFD_TIMER_ABSTIME, &when, NULL) < 0)
        log_error("cannot set the timer of control: %s", strerror(errno));
}

/* ---- events -----------------------------------------------------------------------------------
 */

static void tell_console(struct client *cl, const struct console_text *t)
{
    static const char *const names[CONSOLE_CHANS] = {"com1", "com2", "debug"};
    const char *p = t->bytes;

    for (size_t at = 0; at < t->len;) {
        size_t n = t->len - at < CONSOLE_PIECE ? t->len - at : CONSOLE_PIECE;
        json_t *params =
            json_pack("{s:s, s:o}", "channel", names[t->chan], "text", rpc_text(p + at, n));
        const json_t *text = json_object_get(params, "text");

        /* What is not UTF-8 is given once more, exactly. */
        if (json_string_length(text) != n || memcmp(json_string_value(text), p + at, n))
            json_object_set_new(params, "bytes", rpc_bytes(p + at, n));
        rpc_notify(cl, "console", params);
        at += n;
    }
}

static void tell_stop(struct client *cl)
{
    /* What led to the stop comes first. */
    if ((cl->tells & (TELL_TRACE | TELL_MODE)) && control_trace(cl))
        control_later(cl->c);
    if (cl->tells & TELL_STOPPED) {
        json_t *params = json_object();

        control_add_state(cl->c->s, params);
        rpc_notify(cl, "stopped", params);
    }
    answer_wait(cl);
    /* `source FILE` goes on when the guest stops; not from inside this event, for others are still
     * to be told of the stop. */
    if (cmd_is_waiting(&cl->cmd))
        control_later(cl->c);
}

static void tell(struct client *cl, unsigned event, const void *data)
{
    if (event == EV_STOPPED)
        tell_stop(cl);
    else if (event == EV_RUNNING && (cl->tells & TELL_RUNNING))
        rpc_notify(cl, "running", json_object());
    else if (event == EV_CONSOLE && (cl->tells & TELL_CONSOLE))
        tell_console(cl, data);
    else if (event == EV_STORM && (cl->tells & TELL_STORM))
        rpc_notify(cl, "storm", json_pack("{s:o}", "sentence", rpc_text(data, strlen(data))));
    else if (event == EV_RESET && (cl->tells & TELL_RESET))
        rpc_notify(cl, "reset", json_object());
    else if (event == EV_POINTS && (cl->tells & TELL_POINTS))
        rpc_notify(cl, "points", json_object());
    else if (event == EV_STATE && (cl->tells & TELL_STATE))
        rpc_notify(cl, "state", json_object());
    else if (event == EV_TRACE && (cl->tells & (TELL_TRACE | TELL_MODE)) && control_trace(cl))
        control_later(cl->c);
}

void control_event(void *arg, unsigned event, const void *data)
{
    struct control *c = arg;

    for (unsigned i = 0; i < CONTROL_CLIENTS_MAX; i++)
        if (c->client[i] && !c->client[i]->gone)
            tell(c->client[i], event, data);
}

/* ---- records ----------------------------------------------------------------------------------
 */

static void tell_mode(struct client *cl, const struct exit_event *ev)
{
    if (ev->reason == EXIT_DEVICE || ev->reason == EXIT_KERNEL || ev->vcpu >= MACHINE_CPUS_MAX ||
        cl->mode[ev->vcpu] == ev->mode + 1)
        return;
    cl->mode[ev->vcpu] = (uint8_t)(ev->mode + 1);
    rpc_notify(cl, "mode",
               json_pack("{s:i, s:s, s:o}", "vcpu", ev->vcpu, "mode",
                         cpu_mode_name((enum cpu_mode)ev->mode), "rip",
                         rpc_hex(ev->cs_base + ev->rip)));
}

static void tell_record(struct client *cl, const struct exit_event *ev,
                        const struct trace_names *names)
{
    struct buf b = {0};
    json_t *record;

    if (!filter_match(cl->filter, ev))
        return;
    if (!rpc_has_room(cl)) { /* not made only to be dropped */
        cl->lost++;
        cl->lost_ever++;
        return;
    }
    export_json_record(ev, names, &b);
    record = json_loadb(buf_str(&b), b.len, 0, NULL);
    buf_fini(&b);
    if (record)
        rpc_notify(cl, "trace", record);
}

bool control_trace(struct client *cl)
{
    const struct trace_names *names = tracer_names(session_tracer(cl->c->s));
    struct exit_event ev[64];
    size_t n, all = 0;

    filter_names(cl->filter, names);
    cl->corked = true;
    do {
        n = session_trace_next(cl->c->s, &cl->cursor, ev, ARRAY_LEN(ev));
        for (size_t i = 0; i < n; i++) {
            if (cl->tells & TELL_MODE)
                tell_mode(cl, &ev[i]);
            if (cl->tells & TELL_TRACE)
                tell_record(cl, &ev[i], names);
        }
        all += n;
    } while (n && all < TRACE_TURN && !cl->gone);
    cl->lost += cl->cursor.dropped; /* the ring was faster */
    cl->lost_ever += cl->cursor.dropped;
    cl->cursor.dropped = 0;
    cl->corked = false;
    client_push(cl);
    return n && !cl->gone;
}
