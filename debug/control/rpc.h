/*
 * The inside of the control server, shared by debug/control/: one server a session, its clients,
 * and the table of methods. Main thread.
 */
#ifndef DEBUG_CONTROL_RPC_H
#define DEBUG_CONTROL_RPC_H

#include <jansson.h>

#include "debug/cmd.h"
#include "debug/control/control.h"
#include "debug/session.h"
#include "debug/trace/trace_filter.h"
#include "vmm/base/buf.h"

#define CONTROL_CLIENTS_MAX 16
/* A request is one line. Longer ones are skipped and refused. */
#define CONTROL_LINE_MAX (1u << 20)
/* While this much is unsent no request is read, and notifications are dropped and counted. */
#define CONTROL_UNSENT_MAX (1u << 20)
#define CONTROL_MEMORY_MAX (256u << 10) /* bytes of one read or write */

/* Codes of errors: those of JSON-RPC 2.0, then ours. */
enum {
    RPC_PARSE = -32700,
    RPC_INVALID = -32600,
    RPC_NO_METHOD = -32601,
    RPC_PARAMS = -32602,
    RPC_REFUSED = -32000,  /* any other refusal; the sentence says why */
    RPC_RUNNING = -32001,  /* the guest must stand for that */
    RPC_ENDED = -32002,    /* the guest has ended: reset it first */
    RPC_TIMEOUT = -32003,  /* it did not stop in time */
    RPC_COMMAND = -32004,  /* a command failed; data has its text and data */
    RPC_PROTOCOL = -32005, /* the client asks for a protocol that we do not speak */
    RPC_FULL = -32006,     /* as many clients as there may be */
};

/* What a client can subscribe to; bits in the order of control_events. */
enum {
    TELL_STOPPED = 1,
    TELL_RUNNING = 2,
    TELL_CONSOLE = 4,
    TELL_STORM = 8,
    TELL_MODE = 16,
    TELL_RESET = 32,
    TELL_TRACE = 64,
    TELL_POINTS = 128,
    TELL_STATE = 256,
};
/* Names of the bits, ended by NULL. */
extern const char *const control_events[];

/* An answer that comes with the next stop; requests behind it wait. */
struct wait {
    json_t *result; /* owned: what the stop is added to; NULL: none is owed */
    json_t *id;     /* owned; NULL for a notification, which is answered by silence */
    uint64_t deadline_ns;
};

struct client {
    struct control *c;
    int fd; /* -1: not a socket but a test */
    unsigned number;
    char *name; /* what it called itself; owned, safe for a terminal */
    struct cmd_client cmd;
    struct buf in; /* of an unfinished line */
    bool skips;    /* the rest of a line that is too long */
    struct buf out;
    size_t sent;
    unsigned tells;                 /* TELL_* */
    struct trace_filter *filter;    /* NULL: every record */
    struct trace_cursor cursor;     /* where trace and mode go on */
    uint8_t mode[MACHINE_CPUS_MAX]; /* last told, plus 1 */
    uint64_t lost, lost_ever;       /* notifications dropped since that was told, and at all */
    struct wait wait;
    bool held;   /* the line at the front of `in` is one that must wait for that */
    bool eof;    /* it has said all; it goes when it has its answers */
    bool corked; /* many small answers follow: they go out together */
    bool gone;
};

struct control {
    struct session *s;
    char *path;
    int listen_fd, later_fd, timer_fd, sub;
    struct client *client[CONTROL_CLIENTS_MAX];
    unsigned numbers;
    bool busy;        /* a request is being carried out */
    bool close_asked; /* by it */
};

/* One request while it is carried out. */
struct call {
    struct client *cl;
    struct session *s;
    const json_t *params; /* an object, checked against the method's row; or NULL */
    json_t *result;       /* an object, to be filled */
    json_t *data;         /* goes with an error; NULL: none */
    struct err e;
    int code; /* RPC_*, or 0: by e.code */
};

struct rpc_method {
    const char *name;
    /* "line:s wait?:b": s text, b boolean, u number from 0 on (also as a text "0x…"), a address (a
     * number, or a text that is evaluated), n seconds, o object, l list of texts. */
    const char *params;
    const char *help;
    bool urgent; /* is carried out even while the client waits */
    bool waits;  /* takes wait and timeout too: the answer then comes with the next stop */
    int (*run)(struct call *q);
};
/* Ended by a row without name. */
extern const struct rpc_method method_table[];

/* ---- serve.c ------------------------------------------------------------------------------- */

/* Takes bytes of a client apart into lines and answers each; stops at one that must wait for room.
 * Exported for tests: a client without a socket keeps its answers in `out`. */
void client_feed(struct client *cl, const void *bytes, size_t len);
/* Everything but the struct itself. */
void client_fini(struct client *cl);
/* Has something sent, or waits until it can be. */
void client_push(struct client *cl);
/* The turn that comes once the present one is over. */
void control_later(struct control *c);

/* ---- rpc.c --------------------------------------------------------------------------------- */

/* Carries one line out and appends the answer, if one is owed. False, with nothing done, for one
 * that must wait for the stop that the client waits for. */
bool rpc_line(struct client *cl, const char *line, size_t len);
void rpc_too_long(struct client *cl);
/* Takes `result`; `id` is borrowed. */
void rpc_reply(struct client *cl, const json_t *id, json_t *result);
/* Takes `data`, which may be NULL. */
void rpc_error(struct client *cl, const json_t *id, int code, const char *sentence, json_t *data);
/* Takes `params`; drops and counts it when the client does not read. */
void rpc_notify(struct client *cl, const char *method, json_t *params);
/* False while the client does not read. Tells it first what it lost. */
bool rpc_has_room(struct client *cl);
/* Params of a checked call. Each is 0 (or NULL, or `dflt`) when absent. */
const char *call_text(const struct call *q, const char *name);
bool call_bool(const struct call *q, const char *name);
/* -EINVAL with a sentence when the text is no number or the expression has no value. */
int call_number(struct call *q, const char *name, uint64_t dflt, uint64_t *out);
int call_vcpu(struct call *q, unsigned *vcpu);
/* "0x…": what may not fit a double is text everywhere. */
json_t *rpc_hex(uint64_t v);
/* Text from guests and files: bytes that are not UTF-8 become U+FFFD. */
json_t *rpc_text(const void *bytes, size_t len);
/* Two digits a byte. */
json_t *rpc_bytes(const void *bytes, size_t len);
bool rpc_bytes_of(const char *hex, struct buf *out);

/* ---- events.c ------------------------------------------------------------------------------ */

void control_event(void *arg, unsigned event, const void *data);
/* The members "state" and, when the guest stands, "stop". */
void control_add_state(struct session *s, json_t *to);
/* Owes the client, which waits for nothing, an answer at the next stop; takes `result`. */
void control_wait(struct client *cl, const json_t *id, json_t *result, uint64_t deadline_ns);
void wait_fini(struct wait *w);
/* Answers those whose time is over, and sets the timer for the next. */
void control_timeouts(struct control *c);
/* Records since the client's cursor; true when there are more. */
bool control_trace(struct client *cl);

/* ---- methods: state.c ---------------------------------------------------------------------- */

int method_memory_read(struct call *q);
int method_memory_write(struct call *q);
int method_registers_read(struct call *q);
int method_registers_write(struct call *q);
int method_points_add(struct call *q);
int method_points_change(struct call *q);
int method_points_delete(struct call *q);
int method_points_list(struct call *q);
int method_console_send(struct call *q);
int method_keyboard_type(struct call *q);

#endif
