/*
 * A session on real KVM with a client of its remote stub that speaks raw packets: for tests of the
 * stub. Everything is static, one session at a time.
 */
#ifndef TESTS_GDB_CLIENT_H
#define TESTS_GDB_CLIENT_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "debug/gdb/gdb.h"
#include "debug/gdb/packet.h"
#include "debug/session.h"
#include "tests/test.h"
#include "vmm/base/clock.h"

/* Real mode at 0x7c00:
 *   xor ax,ax; mov ds,ax
 * 4: inc ax; mov [0x7000],ax; call 0x7c0e; jmp 4
 * e: nop; nop; ret
 */
static const uint8_t image[] = {0x31, 0xc0, 0x8e, 0xd8, 0x40, 0xa3, 0x00, 0x70, 0xe8,
                                0x03, 0x00, 0xeb, 0xf7, 0x90, 0x90, 0x90, 0xc3};
#define LOOP 0x7c04
#define FUNC 0x7c0e

static char image_path[] = "/tmp/vmscope_gdb_XXXXXX", sock_path[64];
static struct session *s;
static int fd = -1;
static struct buf in; /* bytes received and not looked at */

static const char *why_skip;

static inline bool have_kvm(void)
{
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);

    if (kvm < 0)
        return false;
    close(kvm);
    return true;
}

static inline void hang_up(void)
{
    if (fd >= 0)
        close(fd);
    fd = -1;
    buf_clear(&in);
}

static inline void close_session(void)
{
    hang_up();
    if (s)
        session_close(s);
    s = NULL;
    if (!strstr(image_path, "XXXXXX"))
        unlink(image_path);
    memcpy(image_path + strlen(image_path) - 6, "XXXXXX", 6);
    buf_fini(&in);
}

static inline bool open_session(unsigned cpus, bool kernel)
{
    struct session_config cfg = {.mem_bytes = 2u << 20, .cpus = cpus, .irqchip_kernel = kernel};
    struct err e = {0};
    char where[80];
    int image_fd;

    close_session(); /* of a test that failed */
    image_fd = mkstemp(image_path);
    why_skip = "there is no /dev/kvm";
    if (image_fd < 0 || write(image_fd, image, sizeof image) != sizeof image)
        return false;
    close(image_fd);
    snprintf(sock_path, sizeof sock_path, "%s.sock", image_path);
    snprintf(where, sizeof where, "unix:%s", sock_path);
    cfg.boot.image = image_path;
    cfg.gdb = where;
    if (!have_kvm())
        return false;
    why_skip = NULL;
    if (session_open(&s, &cfg, &e) < 0) {
        printf("cannot open a session: %s\n", e.msg);
        return false;
    }
    return true;
}

static inline int dial(void)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int c = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    memcpy(a.sun_path, sock_path, strlen(sock_path) + 1);
    if (c >= 0 && connect(c, (struct sockaddr *)&a, sizeof a) < 0) {
        close(c);
        c = -1;
    }
    return c;
}

/* Lets the session work until `c` can be read; false when it hangs. */
static inline bool turn(int c)
{
    uint64_t end = clock_ns() + TEST_HANG_NS;

    while (clock_ns() < end) {
        struct pollfd p[2] = {{.fd = session_fd(s), .events = POLLIN}, {.fd = c, .events = POLLIN}};

        if (poll(p, 2, 1000) <= 0)
            continue;
        if (p[1].revents)
            return true;
        if (p[0].revents)
            session_dispatch(s);
    }
    return false;
}

/* The session's work that is there, without waiting for more. */
static inline void settle(void)
{
    struct pollfd p = {.fd = session_fd(s), .events = POLLIN};

    for (int i = 0; i < 50 && poll(&p, 1, 5) > 0; i++)
        session_dispatch(s);
}

static inline void until_running(void)
{
    struct pollfd p = {.fd = session_fd(s), .events = POLLIN};

    while (session_state(s) != SS_RUNNING && poll(&p, 1, 20000) > 0)
        session_dispatch(s);
}

static inline void put(const void *bytes, size_t len)
{
    const char *p = bytes;

    while (len) {
        ssize_t n = send(fd, p, len, MSG_NOSIGNAL);

        if (n > 0) {
            p += n;
            len -= (size_t)n;
        } else if (errno == EAGAIN) {
            settle();
        } else {
            return;
        }
    }
}

static inline void request(const void *body, size_t len)
{
    struct buf b = {0};
    uint8_t sum = 0;

    buf_addc(&b, '$');
    for (size_t i = 0; i < len; i++) {
        char c = ((const char *)body)[i];

        if (strchr("#$}*", c) && c) {
            buf_addc(&b, '}');
            c ^= 0x20;
            sum = (uint8_t)(sum + '}');
        }
        buf_addc(&b, c);
        sum = (uint8_t)(sum + (uint8_t)c);
    }
    buf_addf(&b, "#%02x", sum);
    put(b.data, b.len);
    buf_fini(&b);
}

/* The next reply, run lengths and escapes undone; NULL when none comes. */
static struct buf reply_buf;
static inline const char *reply(void)
{
    buf_clear(&reply_buf);
    for (;;) {
        char *start = in.len ? memchr(in.data, '$', in.len) : NULL, *p, *hash;
        char bytes[65536];
        ssize_t n;

        hash = start ? memchr(start, '#', in.len - (size_t)(start - in.data)) : NULL;
        if (hash && (size_t)(hash - in.data) + 3 <= in.len) {
            for (p = start + 1; p < hash; p++) {
                if (*p == '*') {
                    for (int k = (uint8_t) * ++p - 29; k > 0; k--)
                        buf_addc(&reply_buf, reply_buf.data[reply_buf.len - 1]);
                } else {
                    buf_addc(&reply_buf, *p == '}' ? (char)(*++p ^ 0x20) : *p);
                }
            }
            buf_eat(&in, (size_t)(hash - in.data) + 3);
            return buf_str(&reply_buf);
        }
        if (!turn(fd))
            return "(no answer)";
        n = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);
        if (n <= 0)
            return "(closed)";
        buf_add(&in, bytes, (size_t)n);
    }
}

/* Skips console output. */
static inline const char *stop_reply(void)
{
    const char *r = reply();

    while (r[0] == 'O' && r[1] != 'K')
        r = reply();
    return r;
}

static inline const char *ask_len(const void *body, size_t len)
{
    request(body, len);
    return reply();
}
static inline const char *ask(const char *body)
{
    return ask_len(body, strlen(body));
}

static inline bool attach(void)
{
    fd = dial();
    return fd >= 0;
}

#define WITH_SESSION(cpus, kernel)                                                                 \
    if (!open_session(cpus, kernel)) {                                                             \
        if (why_skip)                                                                              \
            SKIP("%s", why_skip);                                                                  \
        TEST_FAIL("no session");                                                                   \
    }                                                                                              \
    if (!attach())                                                                                 \
    TEST_FAIL("cannot connect: %s", strerror(errno))

#endif
