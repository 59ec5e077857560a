/*
 * A recorded trace on the screen, without a machine: records with a time line above them, tables,
 * storms, histograms, KVM's counters, explanations. browse.c holds the state and what keys and
 * commands do, browse_draw.c draws it on a canvas, browse_loop.c has the terminal. The first two
 * know no terminal, so tests drive them. Main thread.
 */
#ifndef TUI_BROWSE_H
#define TUI_BROWSE_H

#include <stdbool.h>
#include <stdint.h>

#include "debug/trace/trace_scan.h"
#include "debug/trace/trace_table.h"
#include "tui/lines.h"
#include "tui/ui.h"
#include "tui/view.h"

enum browse_page {
    PAGE_RECORDS,
    PAGE_TABLE,
    PAGE_STORMS,
    PAGE_HIST,
    PAGE_COUNTERS,
    PAGES,
};

enum browse_mode { BROWSE_KEYS, BROWSE_PROMPT, BROWSE_HELP };

#define BROWSE_ROWS    1000u /* of a table */
#define BROWSE_GRAPH_H 2

struct browse {
    char *path, *name; /* name: safe for a terminal */
    struct trace_reader *reader;
    struct trace_filter *filter; /* NULL: everything */
    struct trace_scan *scan;     /* counts what the filter lets pass */
    bool emulated;               /* the host that recorded it interpreted ring 0 */
    enum browse_page page;
    enum browse_mode mode;
    const char *prompt; /* label of the prompt: what its line is for */
    /* records: positions among those that match */
    uint64_t top, sel;
    uint64_t known; /* matches found so far (all, without a filter) */
    struct view v;  /* rows for the exits panel */
    uint64_t row_record[VIEW_ROWS];
    struct exit_event selected;
    uint64_t selected_record;
    bool has_selected, explain_open;
    /* time line: records in each step of time */
    uint64_t step[SCAN_STEPS]; /* thousandths, as far as the index knows */
    /* table */
    enum table_by by;
    enum table_sort sort;
    struct table_row *row;
    size_t rows, row_top, row_sel;
    /* other pages, help and explanations are text */
    struct buf text, explain;
    unsigned text_scroll, explain_scroll;
    uint64_t text_read; /* scan_read when `text` or `row` was made */
    char message[300];
    enum style message_style;
    int w, h;
    const struct theme *theme;
    bool has_colours;
    bool stale, redraw, suspend, leave;
};

/* `symbols` as for the option, or NULL. 0, or -errno with a sentence and nothing to close. */
int browse_open(struct browse *b, const char *path, const char *symbols, struct err *e);
void browse_close(struct browse *b);
void browse_resize(struct browse *b, int w, int h);
void browse_key(struct browse *b, int key, int x, int y);
/* A finished line of the prompt: a command, or what the prompt asked for. */
void browse_line(struct browse *b, const char *line);
/* The n-th completion of a line (malloc'ed), NULL past the end. */
char *browse_complete(const char *line, size_t n);
/* A slice of the work that is left; false when there is none. */
bool browse_work(struct browse *b);
/* Brings what is shown up to date; before browse_draw. */
void browse_fill(struct browse *b);
void browse_draw(struct browse *b, const struct frame_prompt *prompt, struct canvas *c,
                 struct frame_cursor *cur);
/* Rows that the list (or text) has beside an open explanation. */
int browse_list_rows(const struct browse *b);

/* Keys and commands for help; ended by a row without help. */
struct browse_key_row {
    int key, key2;
    const char *bar, *help;
};
extern const struct browse_key_row browse_keys[];
struct browse_command {
    const char *name, *usage, *help;
    void (*run)(struct browse *b, const char *args);
};
extern const struct browse_command browse_commands[];

/* The terminal's loop: returns when the user leaves. 0, or -errno with a sentence. */
int browse_run(const char *path, const char *symbols, struct err *e);

#endif
