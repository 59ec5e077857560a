/*
 * Canvas to curses, and curses to keys. The input window is a pad, for reading from a window
 * refreshes it, and nothing but screen_draw may draw.
 */
#include "tui/screen.h"

#include <errno.h>
#include <langinfo.h>
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <curses.h>
#include <term.h>

#include "tui/keys.h"
#include "vmm/base/clock.h"
#include "vmm/base/x.h"

/* curses.h defines KEY_* macros of its own; ours in keys.h are K_*, KEY_CTRL and KEY_ALT. */

static SCREEN *screen;
static WINDOW *input;
static bool utf8, colours, mouse_on;
static struct canvas last; /* what the terminal shows */
static const struct theme *last_theme;
static short pairs_used;
static struct {
    int8_t fg, bg;
} pair_of[64];

/* Read by the signal handlers: written once before `active` is set. */
static volatile sig_atomic_t active;
static struct termios saved;
static char restore[256];
static size_t restore_len;

/* ---- emergency ------------------------------------------------------------------------------ */

static bool has_string(const char *name)
{
    const char *s = tigetstr(name);

    return s && s != (char *)-1;
}

/* Adds a capability without its $<padding> marks. */
static void add_restore(const char *name)
{
    const char *s = tigetstr(name);

    if (!s || s == (char *)-1)
        return;
    while (*s && restore_len < sizeof restore - 40) {
        if (s[0] == '$' && s[1] == '<' && strchr(s, '>'))
            s = strchr(s, '>') + 1;
        else
            restore[restore_len++] = *s++;
    }
}

static void build_restore(void)
{
    static const char *const caps[] = {"sgr0", "rmkx", "cnorm", "rmcup"};
    static const char no_mouse[] = "\033[?1000l\033[?1006l";

    restore_len = 0;
    if (mouse_on) {
        memcpy(restore, no_mouse, sizeof no_mouse - 1);
        restore_len = sizeof no_mouse - 1;
    }
    for (size_t i = 0; i < ARRAY_LEN(caps); i++)
        add_restore(caps[i]);
}

void screen_emergency(void)
{
    size_t at = 0;

    if (!active)
        return;
    active = 0;
    while (at < restore_len) {
        ssize_t n = write(STDOUT_FILENO, restore + at, restore_len - at);

        if (n <= 0)
            break;
        at += (size_t)n;
    }
    tcsetattr(STDIN_FILENO, TCSANOW, &saved);
}

/* ---- open and close ------------------------------------------------------------------------- */

static void set_up(void)
{
    raw();
    noecho();
    nonl();
    set_escdelay(25);
    if (start_color() == OK && COLORS >= 8 && has_colors()) {
        colours = true;
        use_default_colors();
    }
    input = newpad(1, 1);
    BUG_ON(!input);
    keypad(input, TRUE);
    nodelay(input, TRUE);
    mouse_on = mousemask(BUTTON1_PRESSED | BUTTON4_PRESSED | BUTTON5_PRESSED, NULL) != 0;
    mouseinterval(0);
}

int screen_open(struct err *e)
{
    const char *term = getenv("TERM");
    int known;

    if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
        return err_set(e, ENOTTY,
                       "cannot open the workbench: standard input or output is no terminal; "
                       "\"vmscope run\" works without one");
    if (tcgetattr(STDIN_FILENO, &saved) < 0)
        return err_set(e, errno, "cannot read the terminal's settings: %s", strerror(errno));
    setlocale(LC_CTYPE, "");
    utf8 = !strcmp(nl_langinfo(CODESET), "UTF-8");
    if (setupterm(NULL, STDOUT_FILENO, &known) == OK && !has_string("cup"))
        return err_set(e, EINVAL,
                       "cannot open the workbench: a terminal of type TERM=%s cannot move its "
                       "cursor; try TERM=xterm or \"vmscope run\"",
                       term ? term : "(not set)");
    screen = newterm(NULL, stdout, stdin);
    if (!screen)
        return err_set(e, EINVAL,
                       "cannot open the workbench: the terminal type TERM=%s is unknown here; try "
                       "TERM=xterm or \"vmscope run\"",
                       term ? term : "(not set)");
    set_up();
    build_restore();
    active = 1;
    return 0;
}

void screen_close(void)
{
    if (!screen)
        return;
    mousemask(0, NULL);
    if (!has_string("rmcup")) { /* no other screen to go back to: leave no half of ours */
        erase();
        refresh();
    }
    endwin();
    active = 0;
    delwin(input);
    delscreen(screen);
    screen = NULL;
    input = NULL;
    canvas_fini(&last);
    tcsetattr(STDIN_FILENO, TCSANOW, &saved);
}

void screen_suspend(void)
{
    mousemask(0, NULL);
    endwin();
    active = 0;
}

void screen_resume(void)
{
    mouse_on = mousemask(BUTTON1_PRESSED | BUTTON4_PRESSED | BUTTON5_PRESSED, NULL) != 0;
    canvas_fini(&last);
    active = 1;
    clearok(curscr, TRUE);
    refresh();
}

bool screen_has_colours(void)
{
    return colours;
}

void screen_size(int *w, int *h)
{
    struct winsize ws;

    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &ws) == 0 && ws.ws_col && ws.ws_row &&
        (ws.ws_col != COLS || ws.ws_row != LINES))
        resizeterm(ws.ws_row, ws.ws_col);
    *w = COLS;
    *h = LINES;
}

/* ---- drawing -------------------------------------------------------------------------------- */

/* Colour pairs are made as themes need them; without a free one the text stays plain. */
static short pair_for(int8_t fg, int8_t bg)
{
    if (!colours || (fg < 0 && bg < 0))
        return 0;
    for (short i = 0; i < pairs_used; i++)
        if (pair_of[i].fg == fg && pair_of[i].bg == bg)
            return (short)(i + 1);
    if ((size_t)pairs_used >= ARRAY_LEN(pair_of) - 1 || pairs_used + 1 >= COLOR_PAIRS)
        return 0;
    pair_of[pairs_used].fg = fg;
    pair_of[pairs_used].bg = bg;
    pairs_used++;
    init_pair(pairs_used, fg, bg);
    return pairs_used;
}

static void put_cell(int x, int y, const struct cell *p, const struct theme *theme)
{
    const struct look *look = &theme->look[p->style < STYLES ? p->style : ST_NORMAL];
    wchar_t text[2] = {utf8 ? (wchar_t)p->ch : canvas_ascii(p->ch), 0};
    attr_t attr = 0;
    cchar_t cell;

    attr |= look->attr & LOOK_BOLD ? A_BOLD : 0;
    attr |= look->attr & LOOK_DIM ? A_DIM : 0;
    attr |= look->attr & LOOK_UNDER ? A_UNDERLINE : 0;
    attr |= !(look->attr & LOOK_REVERSE) != !p->selected ? A_REVERSE : 0;
    if (setcchar(&cell, text, attr, pair_for(look->fg, look->bg), NULL) == OK)
        mvadd_wch(y, x, &cell);
}

void screen_draw(const struct canvas *c, const struct theme *theme, struct frame_cursor cur,
                 bool full)
{
    bool all = full || last.w != c->w || last.h != c->h || theme != last_theme;

    if (full)
        clearok(curscr, TRUE);
    if (all) {
        canvas_fini(&last);
        canvas_init(&last, c->w, c->h);
        erase();
    }
    for (int y = 0; y < c->h && y < LINES; y++) {
        size_t row = (size_t)y * (size_t)c->w, bytes = (size_t)c->w * sizeof *c->cell;

        if (!all && !memcmp(c->cell + row, last.cell + row, bytes))
            continue;
        for (int x = 0; x < c->w && x < COLS; x++)
            put_cell(x, y, &c->cell[row + (size_t)x], theme);
        memcpy(last.cell + row, c->cell + row, bytes);
    }
    last_theme = theme;
    curs_set(cur.x >= 0);
    move(cur.y >= 0 && cur.y < LINES ? cur.y : LINES - 1,
         cur.x >= 0 && cur.x < COLS ? cur.x : COLS - 1);
    refresh();
}

/* ---- keys ----------------------------------------------------------------------------------- */

static int special(wint_t code)
{
    static const struct {
        wint_t code;
        int key;
    } map[] = {{KEY_UP, K_UP},
               {KEY_DOWN, K_DOWN},
               {KEY_LEFT, K_LEFT},
               {KEY_RIGHT, K_RIGHT},
               {KEY_HOME, K_HOME},
               {KEY_END, K_END},
               {KEY_PPAGE, K_PGUP},
               {KEY_NPAGE, K_PGDN},
               {KEY_IC, K_INS},
               {KEY_DC, K_DEL},
               {KEY_BTAB, K_SHIFT_TAB},
               {KEY_ENTER, K_ENTER},
               {KEY_BACKSPACE, K_BACKSPACE},
               {KEY_SR, K_UP},
               {KEY_SF, K_DOWN}};

    for (size_t i = 0; i < ARRAY_LEN(map); i++)
        if (map[i].code == code)
            return map[i].key;
    if (code > KEY_F0 && code <= KEY_F0 + 12)
        return K_F0 + (int)(code - KEY_F0);
    return K_NONE;
}

static int mouse_key(int *x, int *y)
{
    MEVENT ev;

    if (getmouse(&ev) != OK)
        return K_NONE;
    *x = ev.x;
    *y = ev.y;
    return ev.bstate & BUTTON4_PRESSED   ? K_WHEEL_UP
           : ev.bstate & BUTTON5_PRESSED ? K_WHEEL_DOWN
           : ev.bstate & BUTTON1_PRESSED ? K_CLICK
                                         : K_NONE;
}

static int plain(wint_t ch)
{
    return ch == '\n' ? K_ENTER : ch == 8 ? K_BACKSPACE : (int)ch;
}

static bool put_back; /* by screen_interrupted */

bool screen_key(int *key, int *x, int *y)
{
    wint_t ch;
    int got = wget_wch(input, &ch);

    *x = *y = 0;
    if (got == ERR) {
        put_back = false;
        return false;
    }
    if (got == KEY_CODE_YES) {
        *key = ch == KEY_MOUSE ? mouse_key(x, y) : special(ch);
        return true;
    }
    *key = plain(ch);
    /* Escape alone has nothing behind it by now; with a character it is Alt. */
    if (ch == K_ESC && (got = wget_wch(input, &ch)) != ERR)
        *key = got == KEY_CODE_YES ? special(ch) : plain(ch) | KEY_ALT;
    return true;
}

#define HELD_NS 300000000u

static uint64_t held_ns; /* since when the loop has been without a turn; 0: nobody asked yet */

void screen_turn(void)
{
    held_ns = 0;
}

bool screen_put_back(void)
{
    return put_back;
}

bool screen_interrupted(void)
{
    struct pollfd p = {.fd = STDIN_FILENO, .events = POLLIN};
    uint64_t now = clock_ns();
    unsigned char bytes[64];
    ssize_t n;

    if (!held_ns)
        held_ns = now;
    if (!active || now - held_ns < HELD_NS || poll(&p, 1, 0) <= 0)
        return false;
    n = read(STDIN_FILENO, bytes, sizeof bytes);
    if (n > 0 && memchr(bytes, KEY_CTRL('c'), (size_t)n))
        return true;
    put_back |= n > 0;
    while (n-- > 0)
        ungetch(bytes[n]);
    return false;
}
