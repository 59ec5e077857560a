/*
 * The browser's loop: sleeps in poll on the terminal and signals; while records are still to be
 * counted it does that in slices between two looks at them.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tui/browse.h"
#include "tui/fullscreen.h"
#include "tui/prompt.h"
#include "tui/screen.h"
#include "tui/signals.h"
#include "vmm/base/clock.h"
#include "vmm/base/x.h"

#define FRAME_NS 50000000u /* between two redraws while records are counted */

struct browse_loop {
    struct browse b;
    bool busy; /* records are left to count */
    bool full; /* send every cell */
    uint64_t drawn_ns;
    int died_of;
};

static void draw(struct browse_loop *l)
{
    struct frame_prompt prompt = prompt_shown();
    struct frame_cursor cur;
    struct canvas c;

    browse_fill(&l->b);
    canvas_init(&c, l->b.w, l->b.h);
    browse_draw(&l->b, &prompt, &c, &cur);
    screen_draw(&c, l->b.theme, cur, l->full);
    canvas_fini(&c);
    l->full = false;
    l->drawn_ns = clock_ns();
}

static void on_line(void *arg, const char *line)
{
    browse_line(&((struct browse_loop *)arg)->b, line);
}

static char *on_complete(void *arg, const char *line, size_t n)
{
    (void)arg;
    return browse_complete(line, n);
}

static void on_list(void *arg, const char *text)
{
    (void)arg;
    (void)text;
}

static void take_key(struct browse_loop *l, int key, int x, int y)
{
    struct browse *b = &l->b;

    if (b->mode != BROWSE_PROMPT) {
        browse_key(b, key, x, y);
        if (b->mode == BROWSE_PROMPT)
            prompt_open(b->prompt);
    } else if (key == K_ESC || key == KEY_CTRL('c')) {
        b->mode = BROWSE_KEYS;
    } else {
        prompt_key(key);
    }
}

static void handle_keys(struct browse_loop *l)
{
    int key, x, y;

    while (!l->b.leave && screen_key(&key, &x, &y)) {
        if (key == K_NONE)
            continue;
        take_key(l, key, x, y);
        l->full |= l->b.redraw;
        l->b.redraw = false;
        if (l->b.suspend) {
            signals_suspend();
            l->b.suspend = false;
            l->full = true;
        }
    }
    l->busy = !scan_done(l->b.scan);
}

static void handle_signals(struct browse_loop *l)
{
    int w, h;

    signals_drain();
    if (signals_take(SIGWINCH)) {
        screen_size(&w, &h);
        browse_resize(&l->b, w, h);
    }
    if (signals_take(SIGCONT)) {
        screen_resume();
        l->full = true;
    }
    if (signals_take(SIGTSTP)) {
        signals_suspend();
        l->full = true;
    }
    if (signals_take(SIGINT))
        take_key(l, KEY_CTRL('c'), 0, 0);
    l->died_of = signals_ending();
}

static void run(struct browse_loop *l)
{
    bool now = true;

    while (!l->b.leave && !l->died_of) {
        struct pollfd p[2] = {{.fd = STDIN_FILENO, .events = POLLIN},
                              {.fd = signals_fd(), .events = POLLIN}};

        if (now || clock_ns() - l->drawn_ns >= FRAME_NS)
            draw(l);
        now = poll(p, 2, l->busy ? 0 : -1) > 0;
        if (p[1].revents)
            handle_signals(l);
        if (p[0].revents & POLLIN)
            handle_keys(l);
        else if (p[0].revents) /* the terminal is gone */
            l->died_of = SIGHUP;
        if (l->busy && !now) {
            l->busy = browse_work(&l->b);
            now = !l->busy;
        }
    }
}

static int open_screen(struct browse_loop *l, struct err *e)
{
    struct prompt_calls calls = {
        .arg = l, .done = on_line, .complete = on_complete, .list = on_list};
    int rc = fullscreen_open(&calls, e), w, h;

    if (rc < 0)
        return rc;
    l->b.has_colours = screen_has_colours();
    l->b.theme = theme_choose(l->b.has_colours);
    screen_size(&w, &h);
    browse_resize(&l->b, w, h);
    return 0;
}

int browse_run(const char *path, const char *symbols, struct err *e)
{
    struct browse_loop *l = xcalloc(1, sizeof *l);
    int rc = browse_open(&l->b, path, symbols, e);

    if (rc == 0)
        rc = open_screen(l, e);
    if (rc == 0) {
        l->busy = true;
        run(l);
        rc = fullscreen_close(l->died_of, e);
    }
    browse_close(&l->b);
    free(l);
    return rc;
}
