/* The control server on real KVM, spoken to over its socket: what it answers, what it tells, and
 * that clients which are rude, slow, or gone cost nobody else anything. */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "debug/control/rpc.h"
#include "debug/session.h"
#include "tests/test.h"
#include "vmm/base/clock.h"

/* Real mode at 0x7c00:
 *   xor ax,ax; mov ds,ax; mov dx,0x3f8
 * 7: mov al,'x'; out dx,al; inc bx; jmp 7
 */
static const uint8_t image[] = {0x31, 0xc0, 0x8e, 0xd8, 0xba, 0xf8, 0x03,
                                0xb0, 'x',  0xee, 0x43, 0xeb, 0xfa, 0x90};
#define LOOP 0x7c07

static char image_path[] = "/tmp/vmscope_control_XXXXXX", sock_path[64];
static struct session *s;
static const char *why_skip;

struct peer {
    int fd;
    struct buf in;
};
static struct peer a, b;

static void hang_up(struct peer *p)
{
    if (p->fd > 0)
        close(p->fd);
    p->fd = 0;
    buf_fini(&p->in);
}

static void close_session(void)
{
    hang_up(&a);
    hang_up(&b);
    session_close(s);
    s = NULL;
    if (!strstr(image_path, "XXXXXX"))
        unlink(image_path);
    memcpy(image_path + strlen(image_path) - 6, "XXXXXX", 6);
}

static bool open_session(void)
{
    struct session_config cfg = {.mem_bytes = 2u << 20};
    struct err e = {0};
    char where[80];
    int fd;

    close_session(); /* of a test that failed */
    why_skip = "there is no usable /dev/kvm";
    if (access("/dev/kvm", R_OK | W_OK))
        return false;
    why_skip = NULL;
    fd = mkstemp(image_path);
    if (fd < 0 || write(fd, image, sizeof image) != sizeof image)
        return false;
    close(fd);
    snprintf(sock_path, sizeof sock_path, "%s.sock", image_path);
    snprintf(where, sizeof where, "unix:%s", sock_path);
    cfg.boot.image = image_path;
    cfg.control = where;
    if (session_open(&s, &cfg, &e) < 0)
        printf("cannot open a session: %s\n", e.msg);
    return s != NULL;
}

#define BEGIN()                                                                                    \
    if (!open_session()) {                                                                         \
        if (why_skip)                                                                              \
            SKIP("%s", why_skip);                                                                  \
        TEST_FAIL("no session");                                                                   \
    }

static bool dial(struct peer *p)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};

    memcpy(to.sun_path, sock_path, strlen(sock_path) + 1);
    p->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    return p->fd > 0 && !connect(p->fd, (struct sockaddr *)&to, sizeof to);
}

/* Lets the session work until it has nothing to do for a moment, at most `turns` times. */
static void settle(int turns)
{
    struct pollfd p = {.fd = session_fd(s), .events = POLLIN};

    for (int i = 0; i < turns && poll(&p, 1, 20) > 0; i++)
        session_dispatch(s);
}

static bool put(struct peer *p, const char *bytes, size_t len)
{
    while (len) {
        ssize_t n = send(p->fd, bytes, len, MSG_NOSIGNAL);

        if (n < 0 && errno != EAGAIN)
            return false;
        if (n > 0) {
            bytes += n;
            len -= (size_t)n;
        } else {
            settle(10);
        }
    }
    return true;
}

static bool say(struct peer *p, const char *text)
{
    return put(p, text, strlen(text));
}

/* The next line, parsed; the caller gives it back. NULL when none comes or the server hung up. */
static json_t *hear(struct peer *p)
{
    uint64_t end = clock_ns() + TEST_HANG_NS;

    while (clock_ns() < end) {
        struct pollfd f[2] = {{.fd = session_fd(s), .events = POLLIN},
                              {.fd = p->fd, .events = POLLIN}};
        char *nl = p->in.len ? memchr(p->in.data, '\n', p->in.len) : NULL, bytes[65536];
        ssize_t n;

        if (nl) {
            size_t len = (size_t)(nl - p->in.data);
            json_t *v = json_loadb(p->in.data, len, JSON_ALLOW_NUL, NULL);

            buf_eat(&p->in, len + 1);
            return v;
        }
        if (poll(f, 2, 1000) > 0 && f[0].revents)
            session_dispatch(s);
        n = recv(p->fd, bytes, sizeof bytes, MSG_DONTWAIT);
        if (n > 0)
            buf_add(&p->in, bytes, (size_t)n);
        else if (n == 0)
            return NULL;
    }
    return NULL;
}

/* The answer with that id; notifications before it are passed over. */
static json_t *answer(struct peer *p, int id)
{
    json_t *v;

    while ((v = hear(p))) {
        if (json_integer_value(json_object_get(v, "id")) == id)
            return v;
        json_decref(v);
    }
    return NULL;
}

/* The next notification of that name, with its params. */
static json_t *told(struct peer *p, const char *name)
{
    json_t *v;

    while ((v = hear(p))) {
        const char *method = json_string_value(json_object_get(v, "method"));

        if (method && !strcmp(method, name))
            return v;
        json_decref(v);
    }
    return NULL;
}

static json_t *ask(struct peer *p, int id, const char *rest)
{
    char line[1000];

    snprintf(line, sizeof line, "{\"jsonrpc\":\"2.0\",\"id\":%d,%s}\n", id, rest);
    return say(p, line) ? answer(p, id) : NULL;
}

static json_t *member(const json_t *v, const char *one, const char *two)
{
    v = json_object_get(v, one);
    return two ? json_object_get(v, two) : (json_t *)v;
}

static const char *text_of(const json_t *v, const char *one, const char *two)
{
    const char *t = json_string_value(member(v, one, two));

    return t ? t : "";
}

static int code_of(const json_t *v)
{
    return (int)json_integer_value(member(v, "error", "code"));
}

/* ---- tests ------------------------------------------------------------------------------------
 */

static void test_hello(void)
{
    struct stat st;
    json_t *v;

    BEGIN();
    CHECK(!stat(sock_path, &st));
    CHECK_EQ(st.st_mode & 0777, 0600);
    CHECK(dial(&a));
    v = ask(&a, 1, "\"method\":\"hello\",\"params\":{\"protocol\":1,\"client\":\"test\"}");
    CHECK_EQ(json_integer_value(member(v, "result", "protocol")), CONTROL_PROTOCOL);
    CHECK(json_array_size(member(v, "result", "methods")) > 20);
    json_decref(v);
    v = ask(&a, 2, "\"method\":\"hello\",\"params\":{\"protocol\":99}");
    CHECK_EQ(code_of(v), RPC_PROTOCOL);
    json_decref(v);
    close_session();
    CHECK(stat(sock_path, &st) < 0); /* nothing is left behind */
}

static void test_errors(void)
{
    static const struct {
        const char *line;
        int code;
    } rows[] = {
        {"garbage\n", RPC_PARSE},
        {"{\"a\":1,\"a\":2}\n", RPC_PARSE},
        {"[]\n", RPC_INVALID},
        {"{\"jsonrpc\":\"2.0\",\"id\":{},\"method\":\"run\"}\n", RPC_INVALID},
        {"{\"jsonrpc\":\"1.0\",\"id\":1,\"method\":\"run\"}\n", RPC_INVALID},
        {"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"rnu\"}\n", RPC_NO_METHOD},
        {"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"run\",\"params\":[]}\n", RPC_PARAMS},
        {"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"step\",\"params\":{\"n\":1}}\n", RPC_PARAMS},
        {"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"step\",\"params\":{\"count\":0}}\n",
         RPC_PARAMS},
        {"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"command\"}\n", RPC_PARAMS},
        {"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"command\",\"params\":{\"line\":\"nosuch\"}}\n",
         RPC_COMMAND},
        {"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"memory.read\",\"params\":"
         "{\"address\":\"nosuch\",\"length\":1}}\n",
         RPC_PARAMS},
        {"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"memory.read\",\"params\":"
         "{\"address\":0,\"length\":99999999}}\n",
         RPC_PARAMS},
        {"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"memory.read\",\"params\":"
         "{\"address\":\"0xfff00000000\",\"space\":\"physical\",\"length\":1}}\n",
         RPC_REFUSED},
        {"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"registers.read\",\"params\":"
         "{\"names\":[\"rix\"]}}\n",
         RPC_PARAMS},
        {"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"subscribe\",\"params\":"
         "{\"events\":[\"stopt\"]}}\n",
         RPC_PARAMS},
        {"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"subscribe\",\"params\":"
         "{\"events\":[\"trace\"],\"filter\":\"prot==1\"}}\n",
         RPC_PARAMS},
        {"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"breakpoints.delete\",\"params\":{\"id\":7}}\n",
         RPC_REFUSED},
    };

    BEGIN();
    CHECK(dial(&a));
    /* Those that are owed no answer get none, whatever is wrong with them. */
    CHECK(say(&a, "\n \n{\"jsonrpc\":\"2.0\",\"method\":\"rnu\"}\n"));
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        json_t *v;

        CHECK(say(&a, rows[i].line));
        v = hear(&a);
        if (code_of(v) != rows[i].code || !*text_of(v, "error", "message"))
            TEST_FAIL("%s gives %d (%s)", rows[i].line, code_of(v), text_of(v, "error", "message"));
        json_decref(v);
    }
    close_session();
}

static void test_state(void)
{
    json_t *v;

    BEGIN();
    CHECK(dial(&a));
    v = ask(&a, 1,
            "\"method\":\"memory.write\",\"params\":{\"address\":4096,\"bytes\":\"00ffA5\"}");
    CHECK_EQ(json_integer_value(member(v, "result", "length")), 3);
    json_decref(v);
    v = ask(&a, 2,
            "\"method\":\"memory.read\",\"params\":{\"address\":\"0xfff+1\",\"length\":3,"
            "\"space\":\"physical\"}");
    CHECK_STR(text_of(v, "result", "bytes"), "00ffa5");
    json_decref(v);
    v = ask(&a, 3,
            "\"method\":\"registers.write\",\"params\":{\"values\":{\"rbx\":\"0x1122334455667788\","
            "\"rcx\":5}}");
    CHECK_EQ(code_of(v), 0);
    json_decref(v);
    v = ask(&a, 4,
            "\"method\":\"registers.read\",\"params\":{\"names\":[\"rbx\",\"ebx\",\"rcx\"]}");
    CHECK_STR(text_of(member(v, "result", NULL), "registers", "rbx"), "0x1122334455667788");
    CHECK_STR(text_of(member(v, "result", NULL), "registers", "ebx"), "0x55667788");
    CHECK_STR(text_of(member(v, "result", NULL), "registers", "rcx"), "0x5");
    json_decref(v);
    v = ask(&a, 5, "\"method\":\"command\",\"params\":{\"line\":\"print 6*7\"}");
    CHECK_HAS(text_of(v, "result", "text"), "42");
    CHECK(json_is_object(member(v, "result", "data")));
    json_decref(v);
    close_session();
}

static void test_moves(void)
{
    json_t *v;

    BEGIN();
    CHECK(dial(&a));
    v = ask(&a, 1, "\"method\":\"step\",\"params\":{\"count\":3,\"wait\":true}");
    CHECK_STR(text_of(member(v, "result", NULL), "stop", "reason"), "step");
    CHECK_STR(text_of(member(v, "result", NULL), "stop", "rip"), "0x7c07");
    json_decref(v);
    /* A plain list of lines: each waits for the one before it. */
    CHECK(say(&a, "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"breakpoints.add\",\"params\":"
                  "{\"location\":\"*0x7c0a\",\"condition\":\"$rbx == 20\"}}\n"
                  "{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"run\",\"params\":{\"wait\":true}}\n"
                  "{\"jsonrpc\":\"2.0\",\"id\":4,\"method\":\"registers.read\"}\n"));
    v = answer(&a, 3);
    CHECK_STR(text_of(member(v, "result", NULL), "stop", "reason"), "breakpoint");
    json_decref(v);
    v = answer(&a, 4);
    CHECK_STR(text_of(member(v, "result", NULL), "registers", "rbx"), "0x14");
    json_decref(v);
    v = ask(&a, 5, "\"method\":\"breakpoints.change\",\"params\":{\"id\":1,\"enabled\":false}");
    CHECK_EQ(code_of(v), 0);
    json_decref(v);
    v = ask(&a, 6, "\"method\":\"run\",\"params\":{\"wait\":true,\"timeout\":0.05}");
    CHECK_EQ(code_of(v), RPC_TIMEOUT);
    json_decref(v);
    v = ask(&a, 7, "\"method\":\"registers.read\"");
    CHECK_EQ(code_of(v), RPC_RUNNING);
    json_decref(v);
    /* `stop` passes a request that waits. */
    CHECK(say(&a, "{\"jsonrpc\":\"2.0\",\"id\":8,\"method\":\"wait\"}\n"
                  "{\"jsonrpc\":\"2.0\",\"id\":9,\"method\":\"stop\"}\n"));
    v = answer(&a, 8);
    CHECK_STR(text_of(member(v, "result", NULL), "stop", "reason"), "interrupted");
    json_decref(v);
    v = ask(&a, 10, "\"method\":\"reset\"");
    CHECK_STR(text_of(member(v, "result", NULL), "stop", "reason"), "entry");
    json_decref(v);
    v = ask(&a, 11, "\"method\":\"quit\",\"params\":{\"status\":9}");
    CHECK_EQ(code_of(v), 0);
    json_decref(v);
    int status = 0;
    CHECK(session_quit_asked(s, &status) && status == 9);
    close_session();
}

static void test_events(void)
{
    json_t *v;

    BEGIN();
    CHECK(dial(&a) && dial(&b));
    v = ask(&b, 1,
            "\"method\":\"subscribe\",\"params\":{\"events\":[\"stopped\",\"running\",\"console\","
            "\"mode\",\"reset\",\"trace\"],\"filter\":\"kind==io && value=='x'\"}");
    CHECK_EQ(json_array_size(member(v, "result", "events")), 6);
    json_decref(v);
    v = ask(&a, 1,
            "\"method\":\"breakpoints.add\",\"params\":{\"location\":\"*0x7c0a\","
            "\"condition\":\"$rbx == 500\"}");
    json_decref(v);
    v = ask(&a, 2, "\"method\":\"run\",\"params\":{\"wait\":true}");
    json_decref(v);
    v = told(&b, "running");
    CHECK(v);
    json_decref(v);
    v = told(&b, "trace");
    CHECK_STR(text_of(v, "params", "kind"), "io");
    json_decref(v);
    v = told(&b, "console");
    CHECK_STR(text_of(v, "params", "channel"), "com1");
    CHECK(text_of(v, "params", "text")[0] == 'x');
    json_decref(v);
    v = told(&b, "stopped");
    CHECK_STR(text_of(member(v, "params", NULL), "stop", "reason"), "breakpoint");
    json_decref(v);
    v = ask(&a, 3, "\"method\":\"reset\"");
    json_decref(v);
    v = told(&b, "reset");
    CHECK(v);
    json_decref(v);
    close_session();
}

/* Lines of a file that wait for a stop are carried out at it, and told. */
static void test_source(void)
{
    char path[80], line[200];
    json_t *v;
    FILE *f;

    BEGIN();
    snprintf(path, sizeof path, "%s.cmds", image_path);
    f = fopen(path, "we");
    CHECK(f);
    fputs("stepi 3\nprint $rip\nnosuch\n", f);
    fclose(f);
    CHECK(dial(&a));
    snprintf(line, sizeof line, "\"method\":\"command\",\"params\":{\"line\":\"source %s\"}", path);
    v = ask(&a, 1, line);
    CHECK_EQ(code_of(v), 0);
    json_decref(v);
    v = told(&a, "sourced");
    unlink(path);
    CHECK_HAS(text_of(v, "params", "text"), "0x7c07");
    CHECK_HAS(text_of(v, "params", "text"), "nosuch");
    CHECK(json_is_true(member(v, "params", "failed")));
    json_decref(v);
    close_session();
}

/* A client that never reads, on a guest that prints all the time: memory stays bounded, the other
 * is served, and the first learns how much it missed. */
static void test_deaf(void)
{
    json_t *v;

    BEGIN();
    CHECK(dial(&a) && dial(&b));
    CHECK(say(&b, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"subscribe\",\"params\":"
                  "{\"events\":[\"trace\",\"console\"]}}\n"));
    v = ask(&a, 1, "\"method\":\"run\"");
    CHECK_EQ(code_of(v), 0);
    json_decref(v);
    for (int i = 0; i < 400; i++) {
        struct buf text = {0};
        bool lost;

        settle(50);
        control_describe(s, &text);
        lost = strstr(buf_str(&text), "dropped") != NULL;
        buf_fini(&text);
        if (lost)
            break;
    }
    v = ask(&a, 2, "\"method\":\"stop\"");
    json_decref(v);
    v = ask(&a, 3, "\"method\":\"wait\"");
    CHECK_STR(text_of(v, "result", "state"), "stopped");
    json_decref(v);
    v = told(&b, "lost");
    CHECK(json_integer_value(member(v, "params", "count")) > 0);
    json_decref(v);
    close_session();
}

/* A line that is too long is refused, and the next one is understood. */
static void test_long_line(void)
{
    struct buf line = {0};
    json_t *v;

    BEGIN();
    CHECK(dial(&a));
    buf_adds(&line, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"");
    while (line.len < 3 * CONTROL_LINE_MAX)
        buf_adds(&line, "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef");
    buf_adds(&line, "\"}\n");
    CHECK(put(&a, line.data, line.len));
    buf_fini(&line);
    v = hear(&a);
    CHECK_EQ(code_of(v), RPC_INVALID);
    json_decref(v);
    v = ask(&a, 2, "\"method\":\"status\"");
    CHECK_STR(text_of(v, "result", "state"), "stopped");
    json_decref(v);
    close_session();
}

/* Each prefix of a conversation, and then the client is dead. */
static void test_dies_anywhere(void)
{
    static const char lines[] = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"subscribe\",\"params\":"
                                "{\"events\":[\"trace\"]}}\n{\"jsonrpc\":\"2.0\",\"id\":2,"
                                "\"method\":\"step\",\"params\":{\"count\":2,\"wait\":true}}\n";
    json_t *v;

    BEGIN();
    for (size_t n = 0; n < sizeof lines; n++) {
        CHECK(dial(&b));
        CHECK(put(&b, lines, n));
        if (n % 3)
            settle(3);
        hang_up(&b);
        settle(3);
    }
    CHECK(dial(&a));
    v = ask(&a, 1, "\"method\":\"stop\",\"params\":{\"wait\":true}");
    CHECK_STR(text_of(v, "result", "state"), "stopped");
    json_decref(v);
    settle(100);
    CHECK_EQ(control_clients(s), 1);
    close_session();
}

/* Who has said all and listens gets its answers, also that of an unfinished last line. */
static void test_half_closed(void)
{
    json_t *v;

    BEGIN();
    CHECK(dial(&a));
    CHECK(say(&a, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"step\",\"params\":{\"wait\":true}}\n"
                  "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"status\"}"));
    CHECK(!shutdown(a.fd, SHUT_WR));
    v = answer(&a, 1);
    CHECK_STR(text_of(v, "result", "state"), "stopped");
    json_decref(v);
    v = answer(&a, 2);
    CHECK_STR(text_of(v, "result", "state"), "stopped");
    json_decref(v);
    CHECK(!hear(&a)); /* and then the server hangs up */
    settle(10);
    CHECK_EQ(control_clients(s), 0);
    close_session();
}

static void test_too_many(void)
{
    struct peer p[CONTROL_CLIENTS_MAX + 1] = {{0}};
    json_t *v;

    BEGIN();
    for (int i = 0; i <= CONTROL_CLIENTS_MAX; i++) {
        CHECK(dial(&p[i]));
        settle(2);
    }
    v = hear(&p[CONTROL_CLIENTS_MAX]);
    CHECK_EQ(code_of(v), RPC_FULL);
    json_decref(v);
    v = ask(&p[3], 1, "\"method\":\"status\"");
    CHECK_STR(text_of(v, "result", "state"), "stopped");
    json_decref(v);
    for (int i = 0; i <= CONTROL_CLIENTS_MAX; i++)
        hang_up(&p[i]);
    close_session();
}

static void test_close_from_inside(void)
{
    json_t *v;

    BEGIN();
    CHECK(dial(&a));
    v = ask(&a, 1, "\"method\":\"command\",\"params\":{\"line\":\"control close\"}");
    CHECK_HAS(text_of(v, "result", "text"), "No longer");
    json_decref(v);
    CHECK(!hear(&a));
    CHECK(!control_is_listening(s));
    close_session();
}

static void test_where(void)
{
    struct err e = {0};

    BEGIN();
    CHECK_EQ(control_listen(s, "unix:/tmp/other", &e), -EALREADY);
    control_close(s);
    CHECK(control_listen(s, "tcp:1234", &e) < 0);
    CHECK_HAS(e.msg, "unix:PATH");
    CHECK(control_listen(s, "unix:", &e) < 0);
    CHECK(control_listen(s, "unix:/nowhere/at/all", &e) < 0);
    CHECK_HAS(e.msg, "/nowhere/at/all");
    CHECK(control_listen(s, image_path, &e) < 0);
    CHECK(!control_is_listening(s));
    close_session();
}

static const struct test tests[] = {
    {"hello", test_hello},
    {"errors", test_errors},
    {"state", test_state},
    {"moves", test_moves},
    {"events", test_events},
    {"source from a client", test_source},
    {"a client that never reads", test_deaf},
    {"a line that is too long", test_long_line},
    {"a client that dies anywhere", test_dies_anywhere},
    {"a client that has said all", test_half_closed},
    {"too many clients", test_too_many},
    {"control close from a client", test_close_from_inside},
    {"where to listen", test_where},
};

TEST_MAIN(tests)
