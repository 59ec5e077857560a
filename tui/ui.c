/*
 * Keys and events to actions. See ui.h.
 */
#include "tui/ui.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "tui/prompt.h"
#include "vmm/base/x.h"

#define ANSWER_LINES 4000

void ui_init(struct ui *ui, struct session *s, struct cmd_client *c)
{
    *ui = (struct ui){.s = s, .c = c, .refill = true, .theme = theme_table};
    view_init(&ui->v, s);
    lines_init(&ui->answers, ANSWER_LINES);
}

void ui_fini(struct ui *ui)
{
    lines_fini(&ui->answers);
    view_fini(&ui->v);
}

void ui_message(struct ui *ui, enum style st, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    if (vsnprintf(ui->message, sizeof ui->message, fmt, ap) < 0)
        ui->message[0] = '\0';
    va_end(ap);
    ui->message_style = st;
}

/* Which panels have how much room. */
static void measure(struct ui *ui)
{
    memset(ui->v.rows, 0, sizeof ui->v.rows);
    memset(ui->v.cols, 0, sizeof ui->v.cols);
    if (ui->lay.too_small)
        return;
    if (ui->zoom) {
        ui->v.rows[ui->focus] = ui->lay.body.h - 1;
        ui->v.cols[ui->focus] = ui->lay.body.w;
        return;
    }
    for (unsigned i = 0; i < ui->lay.slots; i++) {
        const struct slot *s = &ui->lay.slot[i];
        struct rect r = layout_inner(s);

        ui->v.rows[s->panel[s->front]] = r.h;
        ui->v.cols[s->panel[s->front]] = r.w;
    }
}

void ui_resize(struct ui *ui, int w, int h)
{
    layout_make(&ui->lay, w, h, &ui->lay);
    if (!ui->lay.too_small)
        layout_front(&ui->lay, ui->focus);
    ui->refill = true;
}

void ui_fill(struct ui *ui)
{
    unsigned panes = ui->v.panes.count;

    measure(ui);
    ui->v.scripts = session_scripts(ui->s);
    view_fill(&ui->v, ui->s);
    if (!panes && ui->v.panes.count && !ui->lay.too_small) { /* a script's first pane is shown */
        layout_front(&ui->lay, PANEL_PANES);
        measure(ui);
        view_fill(&ui->v, ui->s);
    }
    ui->refill = false;
}

/* ---- commands ------------------------------------------------------------------------------ */

/* Adds text line by line, tabs widened. Returns how many. */
static unsigned add_answer(struct ui *ui, const char *text, enum style st)
{
    unsigned n = 0;
    struct buf line = {0};

    while (*text) {
        size_t len = strcspn(text, "\n");

        buf_clear(&line);
        for (size_t i = 0; i < len; i++) {
            if (text[i] == '\t')
                buf_pad(&line, (line.len | 7) + 1);
            else
                buf_addc(&line, text[i]);
        }
        lines_add(&ui->answers, buf_str(&line), (uint8_t)st);
        text += len + (text[len] == '\n');
        n++;
    }
    buf_fini(&line);
    return n;
}

/* Scroll at which the last answer shows from its beginning. */
static unsigned first_page(const struct ui *ui)
{
    unsigned rows = lines_rows(&ui->answers, ui->answer_lines, ui->lay.w);
    unsigned room = frame_answer_rows(ui);

    return rows > room ? rows - room : 0;
}

/* Whether the message needs more than its line. */
static bool too_long(const struct ui *ui)
{
    return !ui->lay.too_small && canvas_width(ui->message) > ui->lay.w;
}

/* The first line of an answer is also the message; the whole opens when it does not fit there. */
static void show_answer(struct ui *ui, const char *text, bool failed, bool typed)
{
    size_t first = strcspn(text, "\n");
    enum style st = failed ? ST_ERROR : ST_MESSAGE;
    unsigned lines = add_answer(ui, text, failed ? ST_ERROR : ST_NORMAL);

    ui->answer_lines = lines + typed;
    ui->answers_scroll = first_page(ui);
    ui_message(ui, st, "%.*s", (int)(first < 600 ? first : 600), text);
    if (typed || lines > 1 || too_long(ui))
        ui->answers_open = lines > 0;
}

void ui_answer(struct ui *ui, const char *text)
{
    show_answer(ui, text, false, true);
    ui->message[0] = '\0';
}

/* Runs one command and shows its answer. `typed`: by the user at the prompt. */
static void ui_command(struct ui *ui, const char *line, bool typed)
{
    struct out o;

    if (!typed && cmd_is_collecting(ui->c)) {
        ui_message(ui, ST_ERROR, "`commands` waits for its lines: type `end` at the prompt first.");
        return;
    }
    out_init(&o);
    if (typed) {
        char echo[300];

        snprintf(echo, sizeof echo, "> %s", line);
        lines_add(&ui->answers, echo, ST_PROMPT);
    }
    cmd_exec(ui->c, line, &o);
    show_answer(ui, buf_str(&o.text), o.failed, typed);
    out_fini(&o);
    ui->refill = true;
    if (ui->c->quit)
        ui->wish = UI_WISH_LEAVE;
}

static bool running(const struct ui *ui)
{
    return session_state(ui->s) == SS_RUNNING;
}

void ui_stopped(struct ui *ui)
{
    bool script = cmd_is_waiting(ui->c) ||
                  session_has_commands(ui->s); /* lines of -x and -e answer here too */
    bool was_open = ui->answers_open;
    const struct stop_info *stop = session_last_stop(ui->s);
    struct out o;

    view_stopped(&ui->v);
    out_init(&o);
    cmd_report_stop(ui->c, &o);
    out_end(&o);
    show_answer(ui, buf_str(&o.text), o.failed, script && o.text.len);
    if (!script && !o.failed && ui->mode == UI_PANELS)
        ui->answers_open = was_open;
    if (stop && stop->text[0] && !o.failed && !running(ui))
        ui_message(ui, ST_MESSAGE, "%s", stop->text);
    if (too_long(ui)) /* a fault's story is told whole */
        ui->answers_open = true;
    out_fini(&o);
    ui->refill = true;
    if (ui->c->quit)
        ui->wish = UI_WISH_LEAVE;
}

void ui_expand(const char *line, uint64_t cursor, int number, char *dst, size_t cap)
{
    struct buf b = {0};

    while (*line) {
        if (!strncmp(line, "{cursor}", 8)) {
            buf_addf(&b, "0x%" PRIx64, cursor);
            line += 8;
        } else if (!strncmp(line, "{number}", 8)) {
            buf_addf(&b, "%d", number);
            line += 8;
        } else {
            buf_addc(&b, *line++);
        }
    }
    snprintf(dst, cap, "%s", buf_str(&b));
    buf_fini(&b);
}

static void run_row(struct ui *ui, const char *line, int number)
{
    char text[160];

    ui_expand(line, ui->v.code.cursor, number, text, sizeof text);
    ui_command(ui, text, false);
}

static int point_at(const struct ui *ui, uint64_t addr)
{
    const struct point *pt = NULL;

    while ((pt = session_point_next(ui->s, pt ? pt->id : 0)) != NULL)
        if (pt->spec.kind == POINT_BREAK && pt->spec.addr == addr && !pt->pending)
            return pt->id;
    return 0;
}

/* ---- going places --------------------------------------------------------------------------- */

static void focus_panel(struct ui *ui, enum panel_id p)
{
    ui->focus = p;
    layout_front(&ui->lay, p);
    ui->refill = true;
}

static void go_code(struct ui *ui, uint64_t addr)
{
    view_goto_code(&ui->v, addr);
    focus_panel(ui, PANEL_CODE);
}

static void go_memory(struct ui *ui, uint64_t addr, enum space sp)
{
    view_goto_memory(&ui->v, addr, sp);
    focus_panel(ui, PANEL_MEMORY);
}

/* Whether Tab stops there. */
static bool can_focus(const struct ui *ui, enum panel_id p)
{
    if (ui->zoom)
        return p != PANEL_PANES || ui->v.panes.count;
    return layout_is_front(&ui->lay, p);
}

static void cycle_panel(struct ui *ui, int by)
{
    int p = (int)ui->focus;

    do {
        p = (p + by + PANELS) % PANELS;
    } while (p != (int)ui->focus && !can_focus(ui, (enum panel_id)p));
    focus_panel(ui, (enum panel_id)p);
}

static void carry_out(struct ui *ui, const struct panel_ask *ask)
{
    if (ask->line[0])
        ui_command(ui, ask->line, false);
    if (ask->type) {
        ui->mode = UI_TYPING;
        ui->v.console.typing = true;
        ui->v.console.scroll = 0;
        ui_message(ui, ST_MESSAGE,
                   running(ui) ? "Keys go to the guest's COM1; Ctrl-] leaves."
                               : "Keys go to COM1 and wait there: the guest is "
                                 "stopped. Ctrl-] leaves.");
    }
    if ((ask->to_code || ask->to_memory) && running(ui))
        ui_message(ui, ST_ERROR, "The guest runs: stop it (c) to look at an address.");
    else if (ask->to_code)
        go_code(ui, ask->addr);
    else if (ask->to_memory)
        go_memory(ui, ask->addr, ask->space);
}

static bool panel_takes(struct ui *ui, enum panel_id id, int key)
{
    const struct panel *p = panel_table[id];
    struct panel_ask ask = {0};
    unsigned answer = p->key(&ui->v, key, &ask);
    struct buf text = {0};

    if (answer == PANEL_IGNORED)
        return false;
    if (answer & PANEL_REFILL)
        ui_fill(ui);
    ui->message[0] = '\0';
    if (p->describe && key != K_ENTER)
        p->describe(&ui->v, &text);
    if (text.len)
        ui_message(ui, ST_MESSAGE, "%s", buf_str(&text));
    buf_fini(&text);
    carry_out(ui, &ask);
    return true;
}

/* ---- actions -------------------------------------------------------------------------------- */

static void open_prompt(struct ui *ui, bool to_go)
{
    ui->mode = UI_PROMPT;
    ui->prompt_goto = to_go;
    ui->goto_panel = ui->focus == PANEL_MEMORY ? PANEL_MEMORY : PANEL_CODE;
    prompt_open(!to_go                           ? cmd_is_collecting(ui->c) ? "commands> " : "> "
                : ui->goto_panel == PANEL_MEMORY ? "memory at: "
                                                 : "code at: ");
}

static void leave_prompt(struct ui *ui)
{
    ui->mode = UI_PANELS;
    ui->answers_open = false;
    ui->answers_scroll = 0;
    prompt_clear();
}

static void go_expression(struct ui *ui, const char *text)
{
    struct err e = {0};
    uint64_t addr;

    leave_prompt(ui);
    if (!*text)
        return;
    if (running(ui))
        ui_message(ui, ST_ERROR, "The guest runs: stop it (c) to look at an address.");
    else if (session_eval(ui->s, session_focus(ui->s), text, &addr, &e) < 0)
        ui_message(ui, ST_ERROR, "%s", e.msg);
    else if (ui->goto_panel == PANEL_MEMORY)
        go_memory(ui, addr, ui->v.memory.space);
    else
        go_code(ui, addr);
}

void ui_line(struct ui *ui, const char *line)
{
    if (ui->prompt_goto)
        go_expression(ui, line);
    else
        ui_command(ui, line, true);
    if (!ui->prompt_goto && ui->mode == UI_PROMPT)
        prompt_open(cmd_is_collecting(ui->c) ? "commands> " : "> ");
}

static void stop_guest(struct ui *ui)
{
    if (running(ui))
        session_stop(ui->s);
    else
        ui_message(ui, ST_MESSAGE, "The guest is %s already; q leaves vmscope.",
                   session_state(ui->s) == SS_ENDED ? "at its end" : "stopped");
}

static void act(struct ui *ui, const struct key_row *row, int key)
{
    int point;

    switch (row->action) {
    case ACT_NONE:
        run_row(ui, row->line, 0);
        break;
    case ACT_TOGGLE_RUN:
        if (running(ui))
            session_stop(ui->s);
        else
            run_row(ui, row->line, 0);
        break;
    case ACT_TOGGLE_POINT:
        point = point_at(ui, ui->v.code.cursor);
        run_row(ui, point ? row->line2 : row->line, point);
        break;
    case ACT_NEXT_CPU:
        run_row(ui, row->line, (int)((session_focus(ui->s) + 1) % session_cpus(ui->s)));
        break;
    case ACT_PROMPT:
        open_prompt(ui, false);
        break;
    case ACT_GOTO:
        open_prompt(ui, true);
        break;
    case ACT_HELP:
        ui->mode_before = ui->mode;
        ui->mode = UI_HELP;
        ui->help_scroll = 0;
        break;
    case ACT_QUIT:
        ui->mode_before = ui->mode;
        ui->mode = UI_QUIT;
        break;
    case ACT_NEXT_PANEL:
        cycle_panel(ui, 1);
        break;
    case ACT_PREV_PANEL:
        cycle_panel(ui, -1);
        break;
    case ACT_PANEL:
        focus_panel(ui, key == '0' ? PANEL_PANES : (enum panel_id)(key - '1'));
        break;
    case ACT_ZOOM:
        ui->zoom = !ui->zoom;
        ui->refill = true;
        break;
    case ACT_ANSWERS:
        ui->answers_open = !ui->answers_open && ui->answers.count;
        if (!ui->answers.count)
            ui_message(ui, ST_MESSAGE, "No answers yet: : types a command.");
        break;
    case ACT_HOME:
        focus_panel(ui, PANEL_CODE);
        view_goto_code(&ui->v, ui->v.code.rip_linear);
        break;
    case ACT_BACK:
        focus_panel(ui, PANEL_CODE);
        view_code_back(&ui->v);
        break;
    case ACT_THEME:
        ui->theme = theme_next(ui->theme, ui->has_colours);
        ui_message(ui, ST_MESSAGE, "theme %s: %s", ui->theme->name, ui->theme->help);
        break;
    case ACT_REDRAW:
        ui->wish = UI_WISH_REDRAW;
        break;
    case ACT_SUSPEND:
        ui->wish = UI_WISH_SUSPEND;
        break;
    case ACT_INTERRUPT:
        stop_guest(ui);
        break;
    }
}

/* ---- keys by mode --------------------------------------------------------------------------- */

static void scroll_answers(struct ui *ui, int by)
{
    unsigned all = lines_rows(&ui->answers, ui->answers.count, ui->lay.w);
    int at = (int)ui->answers_scroll + by;

    at = at < 0 ? 0 : at;
    ui->answers_scroll = at > (int)all - 1 ? all ? all - 1 : 0 : (unsigned)at;
    ui->answers_open = ui->answers.count > 0;
}

static void key_panels(struct ui *ui, int key)
{
    const struct key_row *row;

    if (key & KEY_ALT && (key & ~KEY_ALT) != K_ESC) { /* Escape and a key, typed fast */
        key_panels(ui, K_ESC);
        key &= ~KEY_ALT;
    }
    row = key_find(key);
    if (key == K_ESC) {
        ui->answers_open = false;
        ui->message[0] = '\0';
        return;
    }
    if (ui->answers_open && (key == K_PGUP || key == K_PGDN)) {
        scroll_answers(ui, key == K_PGUP ? ui->lay.body.h / 2 : -(ui->lay.body.h / 2));
        return;
    }
    if (panel_takes(ui, ui->focus, key))
        return;
    if (row) {
        if (row->action != ACT_SUSPEND && row->action != ACT_REDRAW)
            ui->answers_open = row->action == ACT_ANSWERS && ui->answers_open;
        act(ui, row, key);
    } else if (key == K_ENTER) {
        open_prompt(ui, false);
    }
}

static void key_prompt(struct ui *ui, int key)
{
    const struct key_row *row = key_find(key);

    if (key == K_ESC)
        leave_prompt(ui);
    else if (key == KEY_CTRL('c') && running(ui))
        stop_guest(ui);
    else if (key == KEY_CTRL('c'))
        prompt_clear();
    else if (key == K_PGUP || key == K_PGDN)
        scroll_answers(ui, key == K_PGUP ? ui->lay.body.h / 3 : -(ui->lay.body.h / 3));
    else if (row && ((key > K_F0 && key <= K_F12) || row->action == ACT_REDRAW ||
                     row->action == ACT_SUSPEND))
        act(ui, row, key);
    else
        prompt_key(key);
}

/* What a terminal would send for a key. */
static size_t key_bytes(int key, char dst[8])
{
    static const struct {
        int key;
        const char *bytes;
    } map[] = {{K_UP, "\033[A"},    {K_DOWN, "\033[B"}, {K_RIGHT, "\033[C"}, {K_LEFT, "\033[D"},
               {K_HOME, "\033[H"},  {K_END, "\033[F"},  {K_DEL, "\033[3~"},  {K_PGUP, "\033[5~"},
               {K_PGDN, "\033[6~"}, {K_ENTER, "\r"}};

    for (size_t i = 0; i < ARRAY_LEN(map); i++)
        if (map[i].key == key)
            return (size_t)snprintf(dst, 8, "%s", map[i].bytes);
    if (key & KEY_ALT || key >= K_UP)
        return 0;
    return prompt_utf8(key, dst);
}

static void key_typing(struct ui *ui, int key)
{
    const struct key_row *row = key_find(key);
    char bytes[8];
    size_t n;

    if (key == KEY_CTRL(']')) {
        ui->mode = UI_PANELS;
        ui->v.console.typing = false;
        ui->message[0] = '\0';
        return;
    }
    if (row && key > K_F0 && key <= K_F12) {
        act(ui, row, key);
        return;
    }
    n = key_bytes(key, bytes);
    if (n && session_input(ui->s, DOOR_COM1, bytes, n) < n)
        ui_message(ui, ST_ERROR, "The guest does not read COM1: its input queue is full.");
}

static void key_help(struct ui *ui, int key)
{
    unsigned last =
        ui->help_rows > (unsigned)ui->lay.body.h ? ui->help_rows - (unsigned)ui->lay.body.h : 0;

    if (!panel_scroll_key(key, last, (unsigned)ui->lay.body.h, &ui->help_scroll))
        ui->mode = ui->mode_before;
}

static void key_quit(struct ui *ui, int key)
{
    if (key == 'y' || key == 'Y')
        ui->wish = UI_WISH_LEAVE;
    else
        ui->mode = ui->mode_before;
    ui->message[0] = '\0';
}

static void mouse(struct ui *ui, int key, int x, int y)
{
    enum panel_id p = ui->zoom ? ui->focus : layout_hit(&ui->lay, x, y);

    if (p >= PANELS || ui->mode == UI_HELP || ui->mode == UI_QUIT)
        return;
    if (key == K_CLICK) {
        if (ui->mode == UI_PROMPT)
            leave_prompt(ui);
        if (ui->mode == UI_TYPING && p != PANEL_CONSOLE)
            key_typing(ui, KEY_CTRL(']'));
        focus_panel(ui, p);
    } else {
        panel_takes(ui, p, key);
    }
}

void ui_key(struct ui *ui, int key, int x, int y)
{
    if (key == K_WHEEL_UP || key == K_WHEEL_DOWN || key == K_CLICK) {
        mouse(ui, key, x, y);
        return;
    }
    switch (ui->mode) {
    case UI_PANELS:
        key_panels(ui, key);
        break;
    case UI_PROMPT:
        key_prompt(ui, key);
        break;
    case UI_TYPING:
        key_typing(ui, key);
        break;
    case UI_HELP:
        key_help(ui, key);
        break;
    case UI_QUIT:
        key_quit(ui, key);
        break;
    }
}
