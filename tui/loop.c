/*
 * The workbench's loop: sleeps in poll on the terminal, the session and signals; redraws at most
 * 30 times a second, at once after a key or a stop. While the guest stands nothing wakes it.
 */
#include "tui/tui.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tui/fullscreen.h"
#include "tui/prompt.h"
#include "tui/screen.h"
#include "tui/signals.h"
#include "tui/ui.h"
#include "vmm/base/clock.h"
#include "vmm/base/log.h"
#include "vmm/base/x.h"

#define FRAME_NS  33000000u  /* between two redraws that nobody waits for */
#define STATUS_NS 250000000u /* guest time and rates while it runs without events */
#define BUSY_NS   66000000u  /* the same while its exits are counting up */
#define BURST_MAX 16         /* dispatches in one frame before the rest waits for the next */
#define STEP_NS   100000000u /* keys typed ahead wait this long for a step to end */
#define KEYS_MAX  64         /* keys taken between two looks at everything else */

struct loop {
    struct ui ui;
    bool dirty;   /* something changed that can wait for the next frame */
    bool urgent;  /* redraw now */
    bool full;    /* send every cell */
    bool stopped; /* EV_STOPPED arrived during this dispatch */
    uint64_t drawn_ns;
    struct patience step; /* of keys that wait for the run that the last key began */
    bool holds_keys;
    unsigned burst; /* dispatches since the last frame */
    int died_of;    /* signal that ends us */
};

/* ---- signals -------------------------------------------------------------------------------- */

static void suspend(struct loop *l)
{
    signals_suspend();
    l->full = l->urgent = true;
}

static void handle_size(struct loop *l)
{
    int w, h;

    screen_size(&w, &h);
    if (w != l->ui.lay.w || h != l->ui.lay.h)
        ui_resize(&l->ui, w, h);
    l->dirty = true;
}

static void handle_signals(struct loop *l)
{
    int ending;

    signals_drain();
    if (signals_take(SIGWINCH))
        handle_size(l);
    if (signals_take(SIGCONT)) { /* someone else stopped and continued us */
        screen_resume();
        l->full = l->urgent = true;
    }
    if (signals_take(SIGTSTP))
        suspend(l);
    if (signals_take(SIGINT)) {
        ui_key(&l->ui, KEY_CTRL('c'), 0, 0);
        l->urgent = true;
    }
    ending = signals_ending();
    if (ending)
        l->died_of = ending;
}

/* ---- session -------------------------------------------------------------------------------- */

static void on_event(void *arg, unsigned event, const void *data)
{
    struct loop *l = arg;

    if (event & EV_CONSOLE) {
        const struct console_text *t = data;

        view_console_add(&l->ui.v, t->chan, t->bytes, t->len);
    }
    if (event & EV_LOG) {
        const struct log_line *log = data;

        lines_add(&l->ui.answers, log->text, ST_NORMAL);
        ui_message(&l->ui, ST_MESSAGE, "%s", log->text);
    }
    if (event & EV_STORM)
        ui_message(&l->ui, ST_CHANGED, "exit storm: %s", (const char *)data);
    if (event & EV_STOPPED)
        l->stopped = true;
    if (event & (EV_STOPPED | EV_RUNNING | EV_POINTS | EV_STATE))
        l->urgent = true;
    l->ui.refill = true;
    l->dirty = true;
}

static void handle_stop(struct loop *l)
{
    if (!l->stopped)
        return;
    l->stopped = false;
    ui_stopped(&l->ui);
}

/* ---- keys ----------------------------------------------------------------------------------- */

static void carry_wish(struct loop *l)
{
    enum ui_wish wish = l->ui.wish;

    if (wish == UI_WISH_LEAVE)
        return;
    l->ui.wish = UI_WISH_NONE;
    if (wish == UI_WISH_SUSPEND)
        suspend(l);
    if (wish == UI_WISH_REDRAW)
        l->full = true;
}

static bool runs(const struct loop *l)
{
    return session_state(l->ui.s) == SS_RUNNING;
}

/* `s` typed ahead must be as many steps, though a step ends only when the session says so. */
static bool keys_wait(struct loop *l)
{
    l->holds_keys = l->holds_keys && runs(l) && patience_used(&l->step, clock_ns()) < STEP_NS;
    return l->holds_keys;
}

static void handle_keys(struct loop *l)
{
    int key, x, y;

    for (int i = 0;
         i < KEYS_MAX && l->ui.wish != UI_WISH_LEAVE && !keys_wait(l) && screen_key(&key, &x, &y);
         i++) {
        bool ran = runs(l);

        if (key == K_NONE)
            continue;
        ui_key(&l->ui, key, x, y);
        if (!ran && runs(l)) {
            l->step = (struct patience){.look_ns = FRAME_NS};
            l->holds_keys = true;
        }
        handle_stop(l);
        carry_wish(l);
        l->urgent = true;
    }
}

static void on_line(void *arg, const char *line)
{
    ui_line(arg, line);
}

static char *on_complete(void *arg, const char *line, size_t n)
{
    struct ui *ui = arg;

    return cmd_complete(ui->c, line, n);
}

static void on_list(void *arg, const char *text)
{
    ui_answer(arg, text);
}

/* ---- drawing -------------------------------------------------------------------------------- */

static void draw(struct loop *l)
{
    struct frame_prompt prompt = prompt_shown();
    struct frame_cursor cur;
    struct canvas c;

    if (l->ui.refill || session_state(l->ui.s) == SS_RUNNING)
        ui_fill(&l->ui);
    canvas_init(&c, l->ui.lay.w, l->ui.lay.h);
    frame_draw(&l->ui, &prompt, &c, &cur);
    screen_draw(&c, l->ui.theme, cur, l->full);
    canvas_fini(&c);
    l->drawn_ns = clock_ns();
    l->dirty = l->urgent = l->full = false;
    l->burst = 0;
}

/* Milliseconds until something must be done without an event; -1: never. */
static int time_left(const struct loop *l)
{
    uint64_t since = clock_ns() - l->drawn_ns;
    bool soon = l->dirty || l->burst > BURST_MAX || l->holds_keys;
    bool busy = session_exit_count(l->ui.s) != l->ui.v.status.exits;
    uint64_t due = soon ? FRAME_NS : busy ? BUSY_NS : STATUS_NS;

    if (!runs(l) && !l->dirty && l->burst <= BURST_MAX)
        return -1;
    return since >= due ? 0 : (int)((due - since) / 1000000) + 1;
}

/* A guest in a storm of exits makes the session's descriptor readable all the time: after some
 * dispatches the rest waits for the next frame, and the processor is the guest's. */
static void wait_and_serve(struct loop *l)
{
    bool calm = l->burst <= BURST_MAX, wait = keys_wait(l);
    struct pollfd p[3] = {{.fd = wait ? -1 : STDIN_FILENO, .events = POLLIN},
                          {.fd = signals_fd(), .events = POLLIN},
                          {.fd = calm ? session_fd(l->ui.s) : -1, .events = POLLIN}};
    int n = poll(p, 3, time_left(l));

    screen_turn();
    if (n < 0 && errno != EINTR)
        l->died_of = SIGHUP;
    if (n == 0) {
        l->dirty = true;
        l->burst = 0;
    }
    if (p[1].revents)
        handle_signals(l);
    if (p[2].revents) {
        session_dispatch(l->ui.s);
        l->burst++;
        handle_stop(l);
    }
    if (p[0].revents & POLLIN || wait || screen_put_back())
        handle_keys(l);
    else if (p[0].revents) /* the terminal is gone */
        l->died_of = SIGHUP;
}

static void run(struct loop *l)
{
    while (l->ui.wish != UI_WISH_LEAVE && !l->died_of &&
           !session_quit_asked(l->ui.s, &l->ui.c->quit_status)) {
        if (l->urgent || l->full || (l->dirty && clock_ns() - l->drawn_ns >= FRAME_NS))
            draw(l);
        wait_and_serve(l);
    }
}

static int open_all(struct loop *l, struct session *s, struct cmd_client *c, struct err *e)
{
    struct prompt_calls calls = {
        .arg = &l->ui, .done = on_line, .complete = on_complete, .list = on_list};
    int rc = fullscreen_open(&calls, e), w, h;

    if (rc < 0)
        return rc;
    ui_init(&l->ui, s, c);
    l->ui.has_colours = screen_has_colours();
    l->ui.theme = theme_choose(l->ui.has_colours);
    screen_size(&w, &h);
    ui_resize(&l->ui, w, h);
    return 0;
}

int tui_run(struct session *s, struct cmd_client *c, struct err *e)
{
    struct loop *l = xcalloc(1, sizeof *l);
    int handle, rc = open_all(l, s, c, e);

    if (rc < 0) {
        free(l);
        return rc;
    }
    handle = session_subscribe(s,
                               EV_STOPPED | EV_RUNNING | EV_CONSOLE | EV_POINTS | EV_STATE |
                                   EV_TRACE | EV_STORM | EV_LOG,
                               on_event, l);
    session_dispatch(s); /* what the guest said and did before the screen opened */
    ui_stopped(&l->ui);
    l->stopped = false;
    l->urgent = true;
    run(l);
    session_unsubscribe(s, handle);
    rc = fullscreen_close(l->died_of, e);
    ui_fini(&l->ui);
    free(l);
    return rc;
}
