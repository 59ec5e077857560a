/*
 * Console output and terminal modes of `vmscope run`. Main thread; terminal_restore also from
 * signal handlers.
 */
#include "tui/console_io.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "vmm/base/clock.h"
#include "vmm/base/esc.h"
#include "vmm/base/x.h"

/* A write of this size does not block once poll said that the descriptor is writable. */
#define CHUNK 4096u

/* ---- output -------------------------------------------------------------------------------- */

static int open_pty(struct sink *s, struct err *e)
{
    struct termios t;
    char name[80];

    s->fd = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (s->fd < 0 || grantpt(s->fd) || unlockpt(s->fd) || ptsname_r(s->fd, name, sizeof name))
        return err_set(e, errno, "cannot make a pseudo-terminal: %s", strerror(errno));
    s->owned = true;
    s->lossy = true;
    /* Kept open: a terminal without a user of its other side would read as hung up for ever. */
    s->slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (s->slave < 0)
        return err_set(e, errno, "cannot open %s: %s", name, strerror(errno));
    if (!tcgetattr(s->slave, &t)) {
        cfmakeraw(&t);
        tcsetattr(s->slave, TCSANOW, &t);
    }
    if (fcntl(s->fd, F_SETFL, O_NONBLOCK))
        return err_set(e, errno, "cannot use %s: %s", name, strerror(errno));
    fprintf(stderr, "vmscope: the serial line is %s\n", name);
    return 0;
}

int sink_open(struct sink *s, const struct serial_choice *c, int stdio_fd, struct err *e)
{
    *s = (struct sink){.fd = -1, .slave = -1};
    switch (c->kind) {
    case SERIAL_NONE:
        return 0;
    case SERIAL_PTY:
        return open_pty(s, e);
    case SERIAL_FILE:
        s->fd = open(c->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
        s->owned = true;
        if (s->fd < 0)
            return err_set(e, errno, "cannot write the serial line to %s: %s", c->path,
                           strerror(errno));
        return 0;
    case SERIAL_STDIO:
        stdio_fd = STDOUT_FILENO;
        break;
    case SERIAL_STDERR:
        stdio_fd = STDERR_FILENO;
        break;
    case SERIAL_DEFAULT:
        break;
    }
    s->fd = stdio_fd;
    s->escape = isatty(stdio_fd);
    return 0;
}

void sink_close(struct sink *s)
{
    if (s->owned && s->fd >= 0 && close(s->fd) && !s->error)
        s->error = errno;
    if (s->slave >= 0)
        close(s->slave);
    buf_fini(&s->held);
    s->fd = s->slave = -1;
}

/* Waits until `fd` can be written; false at the deadline. */
static bool wait_writable(int fd, uint64_t deadline_ns)
{
    for (;;) {
        struct pollfd p = {.fd = fd, .events = POLLOUT};
        uint64_t now = clock_ns(), left = deadline_ns > now ? deadline_ns - now : 0;
        int ms = -1;

        if (deadline_ns != UINT64_MAX) /* past it, what needs no waiting is still said */
            ms = !left ? 0 : left / 1000000 < 1000000 ? (int)(left / 1000000 + 1) : 1000000;
        if (poll(&p, 1, ms) > 0)
            return true;
        if (!left)
            return false;
    }
}

static void write_out(struct sink *s, const char *p, size_t n, uint64_t deadline_ns)
{
    if (s->fd < 0 || s->error || !n)
        return;
    s->mid_line = p[n - 1] != '\n';
    while (n) {
        ssize_t w;

        if (!s->lossy && !wait_writable(s->fd, deadline_ns)) {
            s->error = ETIME;
            return;
        }
        w = write(s->fd, p, n < CHUNK ? n : CHUNK);
        if (w < 0 && errno == EINTR)
            continue;
        if (w < 0 && s->lossy) {
            s->dropped += n;
            return;
        }
        if (w < 0) {
            s->error = errno;
            return;
        }
        p += w;
        n -= (size_t)w;
    }
}

/* Bytes at the end of `b` that begin a UTF-8 sequence whose rest may still come. */
static size_t unfinished(const struct buf *b)
{
    for (size_t back = 1; back <= 3 && back <= b->len; back++) {
        unsigned char c = (unsigned char)b->data[b->len - back];
        size_t need = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : c >= 0xc2 ? 2 : 0;

        if (c < 0x80)
            return 0;
        if (need)
            return need > back ? back : 0;
    }
    return 0;
}

static void flush_held(struct sink *s, size_t keep, uint64_t deadline_ns)
{
    struct buf out = {0};

    esc_console(&out, buf_str(&s->held), s->held.len - keep);
    buf_eat(&s->held, s->held.len - keep);
    write_out(s, buf_str(&out), out.len, deadline_ns);
    buf_fini(&out);
}

void sink_guest(struct sink *s, const void *bytes, size_t len, uint64_t deadline_ns)
{
    if (!s->escape) {
        write_out(s, bytes, len, deadline_ns);
        return;
    }
    buf_add(&s->held, bytes, len);
    flush_held(s, unfinished(&s->held), deadline_ns);
}

void sink_text(struct sink *s, const char *text, size_t len, uint64_t deadline_ns)
{
    if (s->held.len)
        flush_held(s, 0, deadline_ns);
    if (s->mid_line && len)
        write_out(s, "\n", 1, deadline_ns);
    write_out(s, text, len, deadline_ns);
}

void console_complain(const char *fmt, ...)
{
    struct buf text = {0}, safe = {0};
    va_list ap;

    va_start(ap, fmt);
    buf_vaddf(&text, fmt, ap);
    va_end(ap);
    esc_console(&safe, buf_str(&text), text.len);
    fprintf(stderr, "vmscope: %s\n", buf_str(&safe));
    buf_fini(&text);
    buf_fini(&safe);
}

/* ---- the terminal --------------------------------------------------------------------------- */

static struct termios saved;
static volatile sig_atomic_t is_saved, is_changed;

void terminal_restore(void)
{
    if (is_saved && is_changed)
        tcsetattr(STDIN_FILENO, TCSADRAIN, &saved);
    is_changed = 0;
}

static void on_fatal(int sig)
{
    terminal_restore();
    signal(sig, SIG_DFL);
    raise(sig);
}

static void on_bug(const char *sentence)
{
    (void)sentence;
    terminal_restore();
}

bool terminal_open(void)
{
    static const int fatal[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};

    if (!isatty(STDIN_FILENO) || tcgetpgrp(STDIN_FILENO) != getpgrp() ||
        tcgetattr(STDIN_FILENO, &saved))
        return false;
    is_saved = 1;
    for (size_t i = 0; i < ARRAY_LEN(fatal); i++)
        signal(fatal[i], on_fatal);
    bug_hook(on_bug);
    return atexit(terminal_restore) == 0;
}

void terminal_guest(void)
{
    struct termios t = saved;

    if (!is_saved)
        return;
    t.c_lflag &= ~(tcflag_t)(ICANON | ECHO | IEXTEN);
    t.c_iflag &= ~(tcflag_t)(ICRNL | INLCR | IXON);
    t.c_cc[VMIN] = 1;
    t.c_cc[VTIME] = 0;
    is_changed = 1;
    tcsetattr(STDIN_FILENO, TCSADRAIN, &t);
}
