/*
 * Readline by its callback interface, so that the loop keeps polling. Main thread.
 */
#include "tui/batch_prompt.h"

#include <stdio.h>
#include <stdlib.h>

#include <readline/history.h>
#include <readline/readline.h>

#include "debug/cmd.h"

static struct {
    bool is_open;
    struct cmd_client *c;
    void (*done)(void *arg, const char *line);
    void *arg;
} prompt;

/* The whole line is the word that is completed. */
static char *generator(const char *text, int state)
{
    static size_t n;

    n = state ? n + 1 : 0;
    return cmd_complete(prompt.c, text, n);
}

static char **completion(const char *text, int start, int end)
{
    (void)start;
    (void)end;
    rl_attempted_completion_over = 1;
    rl_completion_append_character = '\0';
    return rl_completion_matches(text, generator);
}

static void on_line(char *line)
{
    char *copy = line;

    batch_prompt_close();
    if (!line)
        putchar('\n');
    else if (*line)
        add_history(line);
    prompt.done(prompt.arg, copy);
    free(line);
}

void batch_prompt_open(struct cmd_client *c, void (*done)(void *arg, const char *line), void *arg)
{
    prompt.c = c;
    prompt.done = done;
    prompt.arg = arg;
    prompt.is_open = true;
    rl_readline_name = "vmscope";
    rl_catch_signals = 0; /* the loop reads them */
    rl_attempted_completion_function = completion;
    rl_completer_word_break_characters = (char *)"";
    rl_callback_handler_install(cmd_is_collecting(c) ? ">" : "(vmscope) ", on_line);
}

void batch_prompt_read(void)
{
    rl_callback_read_char();
}

void batch_prompt_redraw(void)
{
    if (!prompt.is_open)
        return;
    rl_prep_terminal(1);
    rl_forced_update_display();
}

void batch_prompt_close(void)
{
    if (!prompt.is_open)
        return;
    prompt.is_open = false;
    rl_callback_handler_remove();
}

bool batch_prompt_is_open(void)
{
    return prompt.is_open;
}
