/*
 * The state of `vmscope run`, shared by its loop (batch.c) and what it prints (batch_out.c). Main
 * thread.
 */
#ifndef TUI_BATCH_INT_H
#define TUI_BATCH_INT_H

#include <stdbool.h>
#include <stdint.h>

#include "debug/cmd.h"
#include "debug/session.h"
#include "tui/commands_in.h"
#include "tui/console_io.h"
#include "tui/opts.h"
#include "vmm/base/buf.h"

struct checks;
struct log_line;
struct scripts;

struct batch {
    struct session *s;
    const struct opts *o;
    struct cmd_client c;
    struct commands_in in;
    struct scripts *scripts;
    struct checks *checks; /* NULL: none asked for */
    struct sink out, err, com1_file, debug_file;
    struct sink *com1, *debugcon; /* one of those */
    bool has_commands, has_scripts, terminal, interactive;
    bool stopped; /* a stop that was not told yet */
    bool started; /* the guest ran */
    bool done, failed, timed_out;
    bool stdin_to_com1;
    struct buf typed;      /* what COM1 has not taken yet */
    struct buf debug_line; /* unfinished line of the debug console */
    uint64_t start_ns, deadline_ns;
    int signal_fd, died_of;
};

/* A sentence of ours on standard error, on a line of its own. */
void batch_say(struct batch *b, const char *text, size_t len);
/* A line of standard output. */
void batch_out_line(struct batch *b, const struct buf *text);
/* Text of the debug console where it waits for whole lines; no bytes: all that waits. */
void batch_debug_lines(struct batch *b, const void *bytes, size_t len);
void batch_out_console(struct batch *b, const struct console_text *t);
void batch_out_storm(struct batch *b, const char *text);
void batch_out_log(struct batch *b, const struct log_line *l);
/* An answer: text to standard output, the sentence of an error to standard error; or a JSON line.
 */
void batch_out_answer(struct batch *b, const char *key, const char *line, const struct out *o);
/* What scripts print goes where the guest's text goes; `arg` is the batch. */
void batch_out_script(void *arg, const char *text, size_t len);

#endif
