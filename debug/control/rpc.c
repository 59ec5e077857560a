/*
 * One line of a client: parsed, checked against the table of methods, carried out, answered. What
 * the line holds is hostile until the method's row has accepted it. Main thread.
 */
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "debug/control/rpc.h"
#include "vmm/base/clock.h"
#include "vmm/base/esc.h"
#include "vmm/base/log.h"
#include "vmm/base/near.h"
#include "vmm/base/x.h"

/* ---- values -----------------------------------------------------------------------------------
 */

json_t *rpc_hex(uint64_t v)
{
    return json_sprintf("0x%llx", (unsigned long long)v);
}

json_t *rpc_text(const void *bytes, size_t len)
{
    json_t *text = json_stringn(bytes, len);
    struct buf b = {0};

    if (text)
        return text;
    esc_json(&b, bytes, len);
    text = json_loadb(buf_str(&b), b.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    buf_fini(&b);
    return text ? text : json_string("");
}

json_t *rpc_bytes(const void *bytes, size_t len)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *p = bytes;
    char *hex = xmalloc(2 * len + 1);
    json_t *text;

    for (size_t i = 0; i < len; i++) {
        hex[2 * i] = digits[p[i] >> 4];
        hex[2 * i + 1] = digits[p[i] & 15];
    }
    text = json_stringn(hex, 2 * len);
    free(hex);
    return text;
}

static int digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)tolower((unsigned char)c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool rpc_bytes_of(const char *hex, struct buf *out)
{
    for (; *hex; hex += 2) {
        int high = digit(hex[0]), low = high < 0 ? -1 : digit(hex[1]);

        if (low < 0)
            return false;
        buf_addc(out, (char)(high << 4 | low));
    }
    return true;
}

/* ---- answers ----------------------------------------------------------------------------------
 */

static void send_json(struct client *cl, json_t *message)
{
    char *text = json_dumps(message, JSON_COMPACT);

    BUG_ON(!text);
    buf_adds(&cl->out, text);
    buf_addc(&cl->out, '\n');
    free(text);
    json_decref(message);
    client_push(cl);
}

static json_t *id_of(const json_t *id)
{
    return id ? json_incref((json_t *)id) : json_null();
}

void rpc_reply(struct client *cl, const json_t *id, json_t *result)
{
    send_json(cl,
              json_pack("{s:s, s:o, s:o}", "jsonrpc", "2.0", "id", id_of(id), "result", result));
}

void rpc_error(struct client *cl, const json_t *id, int code, const char *sentence, json_t *data)
{
    json_t *error =
        json_pack("{s:i, s:o}", "code", code, "message", rpc_text(sentence, strlen(sentence)));

    if (data)
        json_object_set_new(error, "data", data);
    send_json(cl, json_pack("{s:s, s:o, s:o}", "jsonrpc", "2.0", "id", id_of(id), "error", error));
}

static void notification(struct client *cl, const char *method, json_t *params)
{
    send_json(cl,
              json_pack("{s:s, s:s, s:o}", "jsonrpc", "2.0", "method", method, "params", params));
}

bool rpc_has_room(struct client *cl)
{
    uint64_t lost = cl->lost;

    if (cl->out.len - cl->sent > CONTROL_UNSENT_MAX)
        return false;
    cl->lost = 0;
    if (lost)
        notification(cl, "lost", json_pack("{s:I}", "count", (json_int_t)lost));
    return true;
}

void rpc_notify(struct client *cl, const char *method, json_t *params)
{
    if (rpc_has_room(cl)) {
        notification(cl, method, params);
    } else {
        cl->lost++;
        cl->lost_ever++;
        json_decref(params);
    }
}

void rpc_too_long(struct client *cl)
{
    char why[120];

    snprintf(why, sizeof why, "the line is longer than %u bytes, so it was skipped",
             CONTROL_LINE_MAX);
    rpc_error(cl, NULL, RPC_INVALID, why, NULL);
}

/* ---- parameters -------------------------------------------------------------------------------
 */

/* Of a row's "name?:t": the name's length, whether it may be absent, its type; NULL past the last.
 */
static const char *spec_next(const char *p, size_t *len, bool *optional, char *type)
{
    p += strspn(p, " ");
    if (!*p)
        return NULL;
    *len = strcspn(p, "?:");
    *optional = p[*len] == '?';
    *type = p[*len + (*optional ? 2 : 1)];
    return p;
}

static const char *type_text(char type)
{
    switch (type) {
    case 's':
        return "a text";
    case 'b':
        return "true or false";
    case 'u':
        return "a number from 0 on";
    case 'a':
        return "an address: a number, or a text that is evaluated";
    case 'n':
        return "a number of seconds from 0 on";
    case 'o':
        return "an object";
    default:
        return "a list of texts";
    }
}

static bool is_list_of_texts(const json_t *v)
{
    size_t i;
    json_t *item;

    json_array_foreach(v, i, item) if (!json_is_string(item)) return false;
    return json_is_array(v);
}

/* Without zero bytes, which would end it where it is used. */
static bool is_text(const json_t *v)
{
    return json_is_string(v) && strlen(json_string_value(v)) == json_string_length(v);
}

static bool has_type(const json_t *v, char type)
{
    switch (type) {
    case 's':
        return is_text(v);
    case 'b':
        return json_is_boolean(v);
    case 'u':
    case 'a':
        return is_text(v) || (json_is_integer(v) && json_integer_value(v) >= 0);
    case 'n':
        return json_is_number(v) && json_number_value(v) >= 0 && json_number_value(v) <= 1e9;
    case 'o':
        return json_is_object(v);
    default:
        return is_list_of_texts(v);
    }
}

#define WAIT_PARAMS " wait?:b timeout?:n"

static bool spec_has(const char *spec, const char *name)
{
    size_t len;
    bool optional;
    char type;

    for (const char *p = spec; (p = spec_next(p, &len, &optional, &type)); p += strcspn(p, " "))
        if (strlen(name) == len && !strncmp(p, name, len))
            return true;
    return false;
}

static int check_known(const struct rpc_method *m, const char *spec, const json_t *params,
                       struct err *e)
{
    const char *name;
    json_t *v;

    json_object_foreach((json_t *)params, name, v)
    {
        char word[60];

        if (!spec_has(spec, name))
            return err_set(e, EINVAL, "%s has no parameter \"%s\"%s%s%s", m->name,
                           esc_cut(word, sizeof word, name, strlen(name)),
                           *spec ? "; it takes " : "", spec + strspn(spec, " "), "");
    }
    return 0;
}

static int check_params(const struct rpc_method *m, const json_t *params, struct err *e)
{
    char *spec = xasprintf("%s%s", m->params, m->waits ? WAIT_PARAMS : "");
    int r = check_known(m, spec, params, e);
    size_t len;
    bool optional;
    char type;

    for (const char *p = spec; !r && (p = spec_next(p, &len, &optional, &type));
         p += strcspn(p, " ")) {
        char name[40];
        const json_t *v;

        snprintf(name, sizeof name, "%.*s", (int)len, p);
        v = json_object_get(params, name);
        if (!v && !optional)
            r = err_set(e, EINVAL, "%s needs the parameter \"%s\", which is %s", m->name, name,
                        type_text(type));
        else if (v && !has_type(v, type))
            r = err_set(e, EINVAL, "the parameter \"%s\" of %s is %s", name, m->name,
                        type_text(type));
    }
    free(spec);
    return r;
}

const char *call_text(const struct call *q, const char *name)
{
    return json_string_value(json_object_get(q->params, name));
}

bool call_bool(const struct call *q, const char *name)
{
    return json_is_true(json_object_get(q->params, name));
}

int call_vcpu(struct call *q, unsigned *vcpu)
{
    uint64_t n;
    int r = call_number(q, "vcpu", session_focus(q->s), &n);

    if (!r && n >= session_cpus(q->s))
        r = err_set(&q->e, EINVAL, "there is no vCPU %llu: this guest has %u (from 0)",
                    (unsigned long long)n, session_cpus(q->s));
    *vcpu = r ? 0 : (unsigned)n;
    return r;
}

int call_number(struct call *q, const char *name, uint64_t dflt, uint64_t *out)
{
    const json_t *v = json_object_get(q->params, name);
    const char *text = json_string_value(v);
    char word[60], *end;

    *out = v ? (uint64_t)json_integer_value(v) : dflt;
    if (!text)
        return 0;
    errno = 0;
    *out = strtoull(text, &end, 0);
    if (isdigit((unsigned char)*text) && !*end && !errno)
        return 0;
    return err_set(&q->e, EINVAL, "\"%s\", \"%s\", is no number", name,
                   esc_cut(word, sizeof word, text, strlen(text)));
}

/* ---- one request ------------------------------------------------------------------------------
 */

static const struct rpc_method *find(const char *name, struct err *e)
{
    struct near near = {.word = name};
    char word[60];

    for (const struct rpc_method *m = method_table; m->name; m++) {
        if (!strcmp(m->name, name))
            return m;
        near_offer(&near, m->name);
    }
    esc_cut(word, sizeof word, name, strlen(name));
    if (near.best)
        err_set(e, ENOENT, "there is no method \"%s\": did you mean \"%s\"?", word, near.best);
    else
        err_set(e, ENOENT, "there is no method \"%s\": hello lists all", word);
    return NULL;
}

static int code_of(const struct call *q)
{
    if (q->code)
        return q->code;
    switch (q->e.code) {
    case EBUSY:
        return RPC_RUNNING;
    case ESRCH:
        return RPC_ENDED;
    case EINVAL:
        return RPC_PARAMS;
    default:
        return RPC_REFUSED;
    }
}

static uint64_t deadline(const json_t *params)
{
    const json_t *t = json_object_get(params, "timeout");

    return t ? clock_ns() + (uint64_t)(json_number_value(t) * 1e9) : UINT64_MAX;
}

/* The answer now, or with the next stop. */
static void answer(struct call *q, const struct rpc_method *m, const json_t *id)
{
    bool waits =
        m->waits && !q->cl->wait.result && (call_bool(q, "wait") || !strcmp(m->name, "wait"));

    if (waits && session_state(q->s) == SS_RUNNING) {
        control_wait(q->cl, id, q->result, deadline(q->params));
        q->result = NULL;
        return;
    }
    if (m->waits)
        control_add_state(q->s, q->result);
    if (id)
        rpc_reply(q->cl, id, json_incref(q->result));
}

static void carry_out(struct client *cl, const struct rpc_method *m, const json_t *params,
                      const json_t *id)
{
    struct control *c = cl->c;
    struct call q = {.cl = cl, .s = c->s, .params = params};
    bool was = c->busy;
    int r = check_params(m, params, &q.e);

    if (r < 0) {
        q.code = RPC_PARAMS;
    } else if (!q.s) {
        r = err_set(&q.e, ENODEV, "no guest is open");
    } else {
        q.result = json_object();
        c->busy = true;
        r = m->run(&q);
        c->busy = was;
    }
    if (!r)
        answer(&q, m, id);
    else if (id)
        rpc_error(cl, id, code_of(&q), q.e.msg, q.data ? json_incref(q.data) : NULL);
    json_decref(q.result);
    json_decref(q.data);
    if (c->close_asked)
        control_later(c);
}

static bool is_id(const json_t *id)
{
    return !id || json_is_string(id) || json_is_number(id) || json_is_null(id);
}

/* A notification is owed no answer, not even this one. */
static void refuse(struct client *cl, const json_t *id, int code, const char *sentence)
{
    if (id)
        rpc_error(cl, id, code, sentence, NULL);
}

/* False when it must wait. */
static bool request(struct client *cl, const json_t *root)
{
    const json_t *id = json_object_get(root, "id"), *params = json_object_get(root, "params");
    const json_t *name = json_object_get(root, "method");
    const char *version = json_string_value(json_object_get(root, "jsonrpc"));
    const struct rpc_method *m = is_text(name) ? find(json_string_value(name), NULL) : NULL;
    struct err e = {0};

    if (cl->wait.result && !(m && m->urgent))
        return false;
    if (!json_is_object(root) || !is_id(id))
        rpc_error(cl, NULL, RPC_INVALID,
                  "a request is one object whose id is a text, a number or absent", NULL);
    else if (!version || strcmp(version, "2.0") || !is_text(name))
        rpc_error(cl, id, RPC_INVALID,
                  "a request has the members \"jsonrpc\": \"2.0\" and \"method\"", NULL);
    else if (params && !json_is_object(params))
        refuse(cl, id, RPC_PARAMS, "params is an object: parameters go by name");
    else if (!find(json_string_value(name), &e))
        refuse(cl, id, RPC_NO_METHOD, e.msg);
    else
        carry_out(cl, m, params, id);
    return true;
}

bool rpc_line(struct client *cl, const char *line, size_t len)
{
    json_error_t why;
    json_t *root;
    bool done = true;

    if (strspn(line, " \t\r") == len)
        return true;
    if (log_wants(LOG_DEBUG, __FILE__)) {
        char text[160];

        log_debug("client %u: %s", cl->number, esc_cut(text, sizeof text, line, len));
    }
    root = json_loadb(line, len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &why);
    if (root) {
        done = request(cl, root);
    } else {
        char sentence[JSON_ERROR_TEXT_LENGTH + 60], cut[JSON_ERROR_TEXT_LENGTH];

        esc_cut(cut, sizeof cut, why.text, strlen(why.text));
        snprintf(sentence, sizeof sentence, "this is not JSON: byte %d: %s", why.position, cut);
        rpc_error(cl, NULL, RPC_PARSE, sentence, NULL);
    }
    json_decref(root);
    return done;
}
