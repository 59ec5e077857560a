/*
 * Signals by a handler that stores and writes a byte to a pipe.
 */
#include "tui/signals.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "tui/screen.h"
#include "vmm/base/log.h"
#include "vmm/base/x.h"

static const int watched[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH, SIGTSTP, SIGCONT};
static const int fatal[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};
static volatile sig_atomic_t arrived[NSIG];
static int wake_pipe[2] = {-1, -1};
static struct sigaction old_watched[ARRAY_LEN(watched)], old_fatal[ARRAY_LEN(fatal)];

static void on_signal(int sig)
{
    int keep = errno;
    ssize_t n;

    arrived[sig] = 1;
    n = write(wake_pipe[1], "", 1); /* a full pipe wakes as well */
    (void)n;
    errno = keep;
}

static void on_fatal(int sig)
{
    screen_emergency();
    signal(sig, SIG_DFL);
    raise(sig);
}

static void on_bug(const char *sentence)
{
    (void)sentence; /* bug() prints it; the terminal must be fit to show it */
    screen_emergency();
}

int signals_open(struct err *e)
{
    static char stack[65536]; /* a stack overflow needs another stack to tell of it */
    stack_t alt = {.ss_sp = stack, .ss_size = sizeof stack};
    struct sigaction sa = {.sa_handler = on_signal, .sa_flags = SA_RESTART};

    if (pipe2(wake_pipe, O_CLOEXEC | O_NONBLOCK) < 0)
        return err_set(e, errno, "cannot make a pipe for signals: %s", strerror(errno));
    if (sigaltstack(&alt, NULL) < 0)
        log_warn("no signal stack: %s", strerror(errno));
    sigfillset(&sa.sa_mask);
    for (size_t i = 0; i < ARRAY_LEN(watched); i++)
        sigaction(watched[i], &sa, &old_watched[i]);
    sa.sa_handler = on_fatal;
    sa.sa_flags = (int)(SA_ONSTACK | SA_NODEFER | SA_RESETHAND);
    sigemptyset(&sa.sa_mask);
    for (size_t i = 0; i < ARRAY_LEN(fatal); i++)
        sigaction(fatal[i], &sa, &old_fatal[i]);
    bug_hook(on_bug);
    return 0;
}

void signals_close(void)
{
    for (size_t i = 0; i < ARRAY_LEN(watched); i++)
        sigaction(watched[i], &old_watched[i], NULL);
    for (size_t i = 0; i < ARRAY_LEN(fatal); i++)
        sigaction(fatal[i], &old_fatal[i], NULL);
    for (int i = 0; i < 2; i++) {
        close(wake_pipe[i]);
        wake_pipe[i] = -1;
    }
}

bool signals_take(int sig)
{
    bool was = arrived[sig];

    arrived[sig] = 0;
    return was;
}

int signals_fd(void)
{
    return wake_pipe[0];
}

void signals_drain(void)
{
    char drain[64];

    while (read(wake_pipe[0], drain, sizeof drain) > 0)
        ;
}

int signals_ending(void)
{
    static const int ending[] = {SIGTERM, SIGHUP, SIGQUIT};

    for (size_t i = 0; i < ARRAY_LEN(ending); i++)
        if (signals_take(ending[i]))
            return ending[i];
    return 0;
}

void signals_suspend(void)
{
    struct sigaction sa = {.sa_handler = SIG_DFL}, ours;
    struct pollfd p = {.fd = wake_pipe[0], .events = POLLIN};
    char byte;

    screen_suspend();
    arrived[SIGCONT] = 0;
    sigaction(SIGTSTP, &sa, &ours);
    kill(0, SIGTSTP);
    while (!arrived[SIGCONT] && poll(&p, 1, 1000) > 0 && read(wake_pipe[0], &byte, 1) == 1)
        ;
    sigaction(SIGTSTP, &ours, NULL);
    arrived[SIGCONT] = arrived[SIGTSTP] = 0;
    screen_resume();
}

bool signals_wait(void)
{
    return arrived[SIGTERM] || arrived[SIGHUP] || arrived[SIGQUIT] || arrived[SIGINT];
}
