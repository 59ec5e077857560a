/*
 * Readline's callback interface with its input taken from a queue of our own and its output drawn
 * by the frame: it neither reads nor writes the terminal. Every key arrives decoded, so special
 * keys are given to readline in the one spelling it always knows (ANSI), whatever the terminal.
 */
#include "tui/prompt.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <readline/history.h>
#include <readline/readline.h>

#include "vmm/base/log.h"
#include "vmm/base/x.h"

#define HISTORY_LINES  2000
#define LINE_MAX_BYTES 4000
#define COUNT_MAX      100
#define COMPLETIONS    400

static struct prompt_calls calls;
static const char *label = "> ";
static char queue[64];
static size_t queued, taken;
static bool keep_history; /* lines of the command prompt, not of questions */
static FILE *nowhere;
static char *history_path;

size_t prompt_utf8(int ch, char *dst)
{
    unsigned c = (unsigned)ch;
    size_t n = 0;

    if (c < 0x80) {
        dst[n++] = (char)c;
    } else if (c < 0x800) {
        dst[n++] = (char)(0xc0 | c >> 6);
        dst[n++] = (char)(0x80 | (c & 0x3f));
    } else if (c < 0x10000) {
        dst[n++] = (char)(0xe0 | c >> 12);
        dst[n++] = (char)(0x80 | (c >> 6 & 0x3f));
        dst[n++] = (char)(0x80 | (c & 0x3f));
    } else if (c < 0x110000) {
        dst[n++] = (char)(0xf0 | c >> 18);
        dst[n++] = (char)(0x80 | (c >> 12 & 0x3f));
        dst[n++] = (char)(0x80 | (c >> 6 & 0x3f));
        dst[n++] = (char)(0x80 | (c & 0x3f));
    }
    dst[n] = '\0';
    return n;
}

/* ---- readline's callbacks ------------------------------------------------------------------- */

static int next_byte(FILE *unused)
{
    (void)unused;
    return taken < queued ? (unsigned char)queue[taken++] : EOF;
}

static int has_byte(void)
{
    return taken < queued;
}

static void draw_nothing(void)
{
}

static void prepare_nothing(int unused)
{
    (void)unused;
}

static void line_done(char *line)
{
    char *text;

    if (!line) /* Ctrl-D on an empty line: nothing to end here */
        return;
    text = xstrdup(line);
    free(line);
    if (keep_history && *text) {
        HIST_ENTRY *last = history_length ? history_get(history_base + history_length - 1) : NULL;

        if (!last || strcmp(last->line, text))
            add_history(text);
    }
    calls.done(calls.arg, text);
    free(text);
}

/* Length of what all of `list` begin with. */
static size_t common_prefix(char *const *list, size_t n)
{
    size_t len = strlen(list[0]);

    for (size_t i = 1; i < n; i++)
        for (size_t k = 0; k < len; k++)
            if (list[i][k] != list[0][k])
                len = k;
    return len;
}

static void list_them(char *const *list, size_t n)
{
    struct buf text = {0};

    for (size_t i = 0; i < n; i++)
        buf_addf(&text, "%s\n", list[i]);
    if (n == COMPLETIONS)
        buf_adds(&text, "and more\n");
    calls.list(calls.arg, buf_str(&text));
    buf_fini(&text);
}

/* Tab: as far as all completions agree; when that is nowhere, shows them. */
static int complete(int count, int key)
{
    char *line = xstrdup(rl_line_buffer), *rest = xstrdup(rl_line_buffer + rl_point);
    char *list[COMPLETIONS];
    size_t n = 0, len;

    (void)count;
    (void)key;
    line[rl_point] = '\0';
    while (keep_history && n < COMPLETIONS && (list[n] = calls.complete(calls.arg, line, n)))
        n++;
    if (n) {
        struct buf whole = {0};

        len = common_prefix(list, n);
        if (n > 1 && len <= strlen(line)) {
            list_them(list, n);
        } else {
            buf_add(&whole, list[0], len);
            if (n == 1 && len && list[0][len - 1] != ' ')
                buf_addc(&whole, ' ');
            len = whole.len;
            buf_adds(&whole, rest);
            rl_replace_line(buf_str(&whole), 0);
            rl_point = (int)len;
        }
        buf_fini(&whole);
    }
    for (size_t i = 0; i < n; i++)
        free(list[i]);
    free(line);
    free(rest);
    return 0;
}

/* ---- history file --------------------------------------------------------------------------- */

static char *history_file(void)
{
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    char *path;

    if (state && *state == '/')
        path = xasprintf("%s/vmscope/history", state);
    else if (home && *home)
        path = xasprintf("%s/.local/state/vmscope/history", home);
    else
        return NULL;
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(path, 0700) < 0 && errno != EEXIST)
            log_warn("no history: cannot make %s: %s", path, strerror(errno));
        *slash = '/';
    }
    return path;
}

/* The spellings that prompt_key uses, where ~/.inputrc does not bind them. Readline 8.2
 * runs into a null pointer when an escape sequence follows the Ctrl-X prefix in callback mode. */
static void bind_keys(void)
{
    static const struct {
        const char *bytes;
        rl_command_func_t *fn;
    } keys[] = {{"\033[A", rl_get_previous_history},
                {"\033[B", rl_get_next_history},
                {"\033[C", rl_forward_char},
                {"\033[D", rl_backward_char},
                {"\033[H", rl_beg_of_line},
                {"\033[F", rl_end_of_line},
                {"\033[3~", rl_delete},
                {"\t", complete}};

    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        rl_bind_keyseq_if_unbound(keys[i].bytes, keys[i].fn);
    rl_bind_key('\t', complete);
    rl_unbind_key(KEY_CTRL('x'));
}

void prompt_init(const struct prompt_calls *c)
{
    calls = *c;
    nowhere = fopen("/dev/null", "w");
    rl_readline_name = "vmscope";
    rl_catch_signals = 0;
    rl_catch_sigwinch = 0;
    rl_change_environment = 0;
    rl_outstream = nowhere;
    rl_getc_function = next_byte;
    rl_input_available_hook = has_byte;
    rl_redisplay_function = draw_nothing;
    rl_prep_term_function = prepare_nothing;
    rl_deprep_term_function = draw_nothing;
    rl_callback_handler_install("", line_done);
    rl_variable_bind("bell-style", "none");
    rl_variable_bind("keyseq-timeout", "0");
    bind_keys();
    using_history();
    stifle_history(HISTORY_LINES);
    history_path = history_file();
    if (history_path)
        read_history(history_path);
}

void prompt_fini(void)
{
    rl_callback_handler_remove();
    if (history_path && history_length && write_history(history_path) != 0)
        log_warn("cannot write %s: %s", history_path, strerror(errno));
    free(history_path);
    history_path = NULL;
    clear_history();
    rl_outstream = NULL;
    if (nowhere && fclose(nowhere) != 0)
        log_warn("closing /dev/null failed");
    nowhere = NULL;
}

/* ---- keys ----------------------------------------------------------------------------------- */

/* A count of thousands would keep readline busy for minutes over a key. */
static void feed(const char *bytes, size_t n)
{
    if (n > sizeof queue || (rl_end > LINE_MAX_BYTES && n == 1 && (unsigned char)*bytes >= 0x20))
        return;
    if (rl_numeric_arg > COUNT_MAX || rl_numeric_arg < -COUNT_MAX)
        rl_numeric_arg = COUNT_MAX;
    memcpy(queue, bytes, n);
    queued = n;
    taken = 0;
    while (taken < queued)
        rl_callback_read_char();
}

void prompt_open(const char *text)
{
    label = text;
    keep_history = !strcmp(text, "> ");
    prompt_clear();
}

void prompt_clear(void)
{
    rl_replace_line("", 1);
    rl_point = rl_mark = 0;
    using_history();
}

void prompt_key(int key)
{
    static const struct {
        int key;
        const char *bytes;
    } map[] = {{K_UP, "\033[A"},   {K_DOWN, "\033[B"}, {K_RIGHT, "\033[C"},
               {K_LEFT, "\033[D"}, {K_HOME, "\033[H"}, {K_END, "\033[F"},
               {K_DEL, "\033[3~"}, {K_ENTER, "\r"},    {K_BACKSPACE, "\177"}};
    char bytes[8] = {'\033'};

    for (size_t i = 0; i < ARRAY_LEN(map); i++)
        if (map[i].key == key) {
            feed(map[i].bytes, strlen(map[i].bytes));
            return;
        }
    if (key & KEY_ALT && (key & ~KEY_ALT) < 0x80)
        feed(bytes, 1 + prompt_utf8(key & ~KEY_ALT, bytes + 1));
    else if (key > 0 && key < K_UP)
        feed(bytes, prompt_utf8(key, bytes));
}

struct frame_prompt prompt_shown(void)
{
    bool searching = rl_display_prompt && *rl_display_prompt; /* Ctrl-R puts its text there */

    return (struct frame_prompt){.label = searching ? rl_display_prompt : label,
                                 .line = rl_line_buffer ? rl_line_buffer : "",
                                 .cursor = rl_point > 0 ? (size_t)rl_point : 0};
}
