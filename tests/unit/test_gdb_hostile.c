/* Clients of the remote stub that leave at the wrong moment, ask for what does not go together,
 * never read or send nonsense: the session goes on, and the next one is served. */
#include <netinet/in.h>

#include "debug/gdb/stub.h"
#include "tests/unit/gdb_client.h"

static void next_client(void)
{
    hang_up();
    fd = dial();
}

/* Lets the guest run, and the client know that it does. */
static void go(void)
{
    request("c", 1);
    until_running();
}

/* ---- kills and restarts of a guest that runs ---------------------------------------------------
 */

/* The next client comes before the guest stands. */
static void kill_outlives_its_client(void)
{
    WITH_SESSION(1, false);
    for (int i = 0; i < 20; i++) {
        CHECK_HAS(ask("vCont;s:1"), "T05");
        go();
        request("k", 1);
        next_client();
        CHECK_HAS(ask("?"), "T05");
        CHECK_STR(ask("p8"), "007c0000");
    }
    close_session();
}

/* Nobody comes any more: it is reset all the same. */
static void kill_resets_for_nobody(void)
{
    WITH_SESSION(1, false);
    go();
    request("k", 1);
    CHECK_STR(reply(), "(closed)");
    hang_up();
    CHECK(session_wait(s, UINT64_MAX, NULL));
    CHECK_EQ(session_last_stop(s)->kind, STOP_ENTRY);
    close_session();
}

static void restarts_while_running(void)
{
    WITH_SESSION(1, false);
    CHECK_STR(ask("!"), "OK");
    go();
    request("R00", 3); /* has no answer */
    CHECK_HAS(ask("?"), "T05");
    CHECK_STR(ask("p8"), "007c0000");
    go();
    CHECK_HAS(ask("vRun;"), "T05");
    CHECK_STR(ask("p8"), "007c0000");
    go();
    CHECK_STR(ask("vKill;1"), "OK");
    CHECK_HAS(ask("vAttach;1"), "T05"); /* and no stop of what ran before comes first */
    CHECK_STR(ask("p8"), "007c0000");
    close_session();
}

static void restarts_in_non_stop_mode(void)
{
    static const char *const again[] = {"vRun;", "vAttach;1"};

    WITH_SESSION(2, false);
    CHECK_STR(ask("!"), "OK");
    CHECK_STR(ask("QNonStop:1"), "OK");
    for (int i = 0; i < 2; i++) {
        CHECK_HAS(ask("?"), "thread:1;");
        CHECK_STR(ask("vCont;c"), "OK");
        if (i)
            CHECK_STR(ask("vKill;1"), "OK");
        CHECK_HAS(ask(again[i]), i ? "OK" : "T05");
        CHECK(session_wait(s, UINT64_MAX, NULL));
        CHECK_STR(ask("p8"), "007c0000");
    }
    close_session();
}

/* ---- non-stop mode
 * ------------------------------------------------------------------------------- */

/* The next notification, which is taken out of what was received. */
static bool notified(const char *text)
{
    uint64_t end = clock_ns() + TEST_HANG_NS;

    while (clock_ns() < end) {
        char *at = in.len ? memmem(in.data, in.len, text, strlen(text)) : NULL;
        char bytes[4096];
        ssize_t n;

        if (at) {
            buf_eat(&in, (size_t)(at - in.data) + strlen(text));
            return true;
        }
        n = turn(fd) ? recv(fd, bytes, sizeof bytes, MSG_DONTWAIT) : 0;
        if (n <= 0)
            return false;
        buf_add(&in, bytes, (size_t)n);
    }
    return false;
}

/* A vCPU that waits for its start cannot step; the others are not held up by that. */
static void steps_nobody(void)
{
    WITH_SESSION(2, false);
    CHECK_STR(ask("QNonStop:1"), "OK");
    CHECK_HAS(ask("?"), "thread:1;");
    CHECK_STR(ask("vStopped"), "OK");
    CHECK_STR(ask("vCont;t:2"), "OK");
    CHECK(notified("%Stop:T00thread:2;"));
    CHECK_STR(ask("vStopped"), "OK");
    CHECK_STR(ask("c"), "OK"); /* as good as vCont */
    CHECK_STR(ask("vCont;t:2"), "OK");
    CHECK(notified("%Stop:T00thread:2;"));
    CHECK_STR(ask("vStopped"), "OK");
    CHECK_STR(ask("vCont;s:2"), "OK");
    CHECK(notified("%Stop:T00thread:2;"));
    CHECK_STR(ask("vStopped"), "OK");
    CHECK_EQ(session_state(s), SS_RUNNING);
    CHECK_STR(ask("vCont;t:1"), "OK");
    CHECK(notified("%Stop:T00thread:1;"));
    settle(); /* nobody runs: all others are told that, too */
    CHECK_EQ(session_state(s), SS_STOPPED);
    close_session();
}

/* ---- one client's leavings
 * ----------------------------------------------------------------------- */

/* Lines for `commands`, and what breakpoints print, are not the next one's. */
static void begins_and_leaves(void)
{
    WITH_SESSION(1, false);
    CHECK_STR(ask("Z0,7c0e,1"), "OK");
    CHECK_HAS(ask("qRcmd,636f6d6d616e64732031"), "O"); /* commands 1 */
    CHECK_STR(reply(), "OK");
    next_client();
    CHECK_HAS(ask("qRcmd,696e666f2063707573"), "O"); /* info cpus */
    CHECK_STR(reply(), "OK");
    CHECK(!session_point_next(s, 0));
    close_session();
}

/* A breakpoint's commands close the stub under the client that waits for it. */
static void closes_at_a_stop(void)
{
    const struct point *p;

    WITH_SESSION(1, false);
    CHECK_STR(ask("Z0,7c0e,1"), "OK");
    p = session_point_next(s, 0);
    CHECK(p);
    CHECK_EQ(session_point_commands(s, p->id, "gdb close"), 0);
    go();
    CHECK_HAS(stop_reply(), "T05");
    CHECK_STR(reply(), "(closed)");
    CHECK(!gdb_is_listening(s));
    close_session();
}

/* More than is read at once waits while the guest is brought to stand; all of it is answered. */
static void sends_before_it_stands(void)
{
    static char many[3u << 20];
    struct err e = {0};

    WITH_SESSION(1, false);
    memset(many, '+', sizeof many);
    hang_up();
    settle();
    CHECK(!session_run(s, &e));
    CHECK(attach());
    put(many, sizeof many);
    CHECK_STR(ask("qC"), "QC1");
    close_session();
}

/* ---- two clients, garbage, silence
 * ---------------------------------------------------------------- */

static void second_client(void)
{
    char bytes[256];
    ssize_t n;
    int other;

    WITH_SESSION(1, false);
    CHECK_HAS(ask("?"), "T05");
    other = dial();
    CHECK(other >= 0);
    CHECK(turn(other));
    n = recv(other, bytes, sizeof bytes - 1, 0);
    CHECK(n > 0);
    bytes[n] = 0;
    CHECK_HAS(bytes, "another debugger is attached");
    close(other);
    CHECK_HAS(ask("?"), "T05");
    hang_up();
    settle();
    CHECK(attach());
    CHECK_HAS(ask("?"), "T05");
    close_session();
}

static void garbage(void)
{
    uint32_t x = 1;
    char bytes[4096];

    WITH_SESSION(1, false);
    for (int round = 0; round < 100; round++) {
        for (size_t i = 0; i < sizeof bytes; i++) {
            x = x * 1664525 + 1013904223;
            bytes[i] = x >> 28 ? (char)(x >> 16) : "$#}*+-"[x >> 20 & 3];
        }
        put(bytes, sizeof bytes);
    }
    settle();
    hang_up();
    settle();
    CHECK(attach());
    CHECK_HAS(ask("?"), "T");
    /* every prefix of a conversation, cut there */
    static const char talk[] =
        "+$qSupported:swbreak+#7e$?#3f$m7c00,20#c8$Z0,7c0e,1#0b$vCont;c#a8\x03";
    for (size_t n = 0; n < sizeof talk; n++) {
        hang_up();
        settle();
        CHECK(attach());
        put(talk, n);
        settle();
    }
    hang_up();
    settle();
    CHECK(!session_point_next(s, 0));
    CHECK(attach());
    CHECK_HAS(ask("?"), "T");
    close_session();
}

#define KEPT_MAX (4u << 20) /* bytes for a client, however it behaves */

/* Many requests for much, none of which run lengths make short. */
static void ask_for_much(struct buf *out)
{
    static const char body[] = "x21234,1abcd";
    static uint8_t noise[0x20000];
    uint32_t x = 1;

    for (size_t i = 0; i < sizeof noise; i++)
        noise[i] = (uint8_t)((x = x * 1664525 + 1013904223) >> 24);
    session_mem_write(s, 0, SPACE_PHYS, 0x20000, noise, sizeof noise);
    while (out->len < 60000)
        packet_frame(out, body, sizeof body - 1);
}

/* Asks for a lot and reads nothing: memory stays bounded, and others are served. */
static void never_reads(void)
{
    struct buf many = {0};
    struct err e = {0};
    size_t asked = 0;
    ssize_t n;

    WITH_SESSION(1, false);
    ask_for_much(&many);
    while (asked < 100 * many.len && (n = send(fd, many.data, many.len, MSG_NOSIGNAL)) > 0) {
        asked += (size_t)n;
        settle();
    }
    CHECK(asked < 100 * many.len); /* it is not even read any more */
    buf_fini(&many);
    CHECK(s->gdb->out.len > 1u << 20);
    CHECK(s->gdb->out.cap < KEPT_MAX);
    CHECK(s->gdb->unread.cap < KEPT_MAX);
    CHECK(!session_step(s, 0, 10, &e));
    CHECK(session_wait(s, UINT64_MAX, NULL));
    next_client();
    CHECK_HAS(ask("?"), "T");
    close_session();
}

/* Reads, but there is always more: what was read is not kept. */
static void reads_slowly(void)
{
    static char part[1u << 16];
    struct buf many = {0};
    size_t got = 0;

    WITH_SESSION(1, false);
    ask_for_much(&many);
    CHECK_EQ(send(fd, many.data, many.len, MSG_NOSIGNAL), (ssize_t)many.len);
    buf_fini(&many);
    while (got < 64u << 20) {
        ssize_t n = turn(fd) ? recv(fd, part, sizeof part, MSG_DONTWAIT) : 0;

        CHECK(n > 0);
        got += (size_t)n;
        CHECK(s->gdb->out.cap < KEPT_MAX);
    }
    close_session();
}

/* ---- where it listens
 * ------------------------------------------------------------------------------ */

static bool refuses(const char *where, const char *sentence)
{
    struct err e = {0};
    int rc = gdb_listen(s, where, &e);

    if (rc < 0 && strstr(e.msg, sentence) && !gdb_is_listening(s))
        return true;
    printf("%s: %d \"%s\", not \"%s\"\n", where, rc, e.msg, sentence);
    return false;
}

static void refuses_bad_addresses(void)
{
    char where[300], taken[100];
    struct err e = {0};

    WITH_SESSION(1, false);
    hang_up();
    CHECK(gdb_listen(s, "1234", &e) == -EALREADY);
    gdb_close(s);
    CHECK(access(sock_path, F_OK) < 0);
    CHECK(refuses("", "[HOST:]PORT"));
    CHECK(refuses("x", "[HOST:]PORT"));
    CHECK(refuses("70000", "[HOST:]PORT"));
    CHECK(refuses("1234x", "[HOST:]PORT"));
    CHECK(refuses(":", "[HOST:]PORT"));
    CHECK(refuses("no.such.host.invalid:1", "no.such.host.invalid"));
    CHECK(refuses("unix:", "path of a socket"));
    CHECK(refuses("unix:/tmp", "a directory already"));
    CHECK(refuses("unix:/no/such/folder/x", "No such file"));
    snprintf(where, sizeof where, "unix:/tmp/%0200d", 1);
    CHECK(refuses(where, "path of a socket"));
    snprintf(where, sizeof where, "unix:%s", image_path);
    CHECK(refuses(where, "a file already"));
    CHECK(!access(image_path, F_OK));
    CHECK(!gdb_listen(s, "0", &e));
    CHECK(gdb_port(s) > 0);
    snprintf(taken, sizeof taken, "127.0.0.1:%u", gdb_port(s));
    gdb_close(s);
    CHECK(!gdb_listen(s, taken, &e)); /* at once again */
    close_session();
}

/* Somebody who died left a socket behind; somebody who lives keeps his. */
static void takes_a_stale_socket(void)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    struct err e = {0};
    char where[100];
    struct stat st;
    int other = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    WITH_SESSION(1, false);
    hang_up();
    gdb_close(s);
    memcpy(a.sun_path, sock_path, strlen(sock_path) + 1);
    CHECK(other >= 0);
    CHECK(!bind(other, (struct sockaddr *)&a, sizeof a));
    CHECK(!listen(other, 1));
    snprintf(where, sizeof where, "unix:%s", sock_path);
    for (int i = 0; i < 3; i++) /* its queue is full in the end, which is no reason to wait */
        CHECK(refuses(where, "another program"));
    CHECK(!access(sock_path, F_OK));
    close(other);
    CHECK(!gdb_listen(s, where, &e));
    CHECK(!stat(sock_path, &st));
    CHECK_EQ(st.st_mode & 0777, 0600);
    CHECK(attach());
    CHECK_HAS(ask("?"), "T05");
    close_session();
}

static bool describes(const char *where, const char *text, const char *not_that)
{
    struct buf b = {0};
    struct err e = {0};
    bool right;

    if (gdb_listen(s, where, &e) < 0) {
        printf("%s\n", e.msg);
        return false;
    }
    gdb_describe(s, &b);
    right = strstr(buf_str(&b), text) && !strstr(buf_str(&b), not_that);
    if (!right)
        printf("%s: %s\n", where, buf_str(&b));
    buf_fini(&b);
    gdb_close(s);
    return right;
}

static void warns_of_open_ports(void)
{
    int six = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    bool have_six = six >= 0 && !bind(six, (struct sockaddr *)&a, sizeof a);

    if (six >= 0)
        close(six);
    WITH_SESSION(1, false);
    hang_up();
    gdb_close(s);
    CHECK(describes("0", "127.0.0.1:", "Warning"));
    CHECK(describes("127.0.0.2:0", "127.0.0.2:", "Warning"));
    CHECK(describes("0.0.0.0:0", "Warning: that port is open to the network", "[::"));
    if (have_six) {
        CHECK(describes("[::1]:0", "[::1]:", "Warning"));
        CHECK(describes("[::]:0", "Warning: that port is open to the network", "127"));
    }
    close_session();
}

static const struct test tests[] = {
    {"kill_outlives_its_client", kill_outlives_its_client},
    {"kill_resets_for_nobody", kill_resets_for_nobody},
    {"restarts_while_running", restarts_while_running},
    {"restarts_in_non_stop_mode", restarts_in_non_stop_mode},
    {"steps_nobody", steps_nobody},
    {"begins_and_leaves", begins_and_leaves},
    {"closes_at_a_stop", closes_at_a_stop},
    {"sends_before_it_stands", sends_before_it_stands},
    {"second_client", second_client},
    {"garbage", garbage},
    {"never_reads", never_reads},
    {"reads_slowly", reads_slowly},
    {"refuses_bad_addresses", refuses_bad_addresses},
    {"takes_a_stale_socket", takes_a_stale_socket},
    {"warns_of_open_ports", warns_of_open_ports},
};
TEST_MAIN(tests)
