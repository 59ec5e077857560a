/*
 * What the screen shows, as plain data: the loop fills it from the session at each stop, and at
 * most 30 times a second while the guest runs (view_fill). Panels read it while drawing and change
 * only the "wanted" part (positions, selections) when a key arrives, so a panel never calls the
 * machine. Every text in it is safe for a terminal. Main thread.
 */
#ifndef TUI_VIEW_H
#define TUI_VIEW_H

#include <stdbool.h>
#include <stdint.h>

#include "debug/cmd.h"
#include "debug/session.h"
#include "tui/lines.h"
#include "vmm/base/buf.h"

enum panel_id {
    PANEL_CODE,
    PANEL_REGISTERS,
    PANEL_STACK,
    PANEL_MEMORY,
    PANEL_EXITS,
    PANEL_CONSOLE,
    PANEL_POINTS,
    PANEL_DEVICES,
    PANEL_LOG,
    PANEL_PANES,
    PANELS,
};

#define VIEW_ROWS      200 /* rows of any panel; taller screens show blank lines */
#define VIEW_REGS      160
#define VIEW_MEM_BYTES 8192
#define VIEW_EXITS     8192 /* records kept for scrolling */
#define VIEW_POINTS    64
#define VIEW_BACK      32 /* places to go back to */
#define VIEW_LOG_ROWS  VIEW_ROWS

struct view_status {
    char guest[80];
    enum session_state state;
    char stop[40];       /* short reason: "breakpoint 1", "step" */
    char where[80];      /* symbol at RIP */
    bool fault;          /* the stop is something that went wrong */
    unsigned cpus, vcpu; /* vcpu: the focused one */
    char cpu_status[24];
    char mode[16]; /* empty when not known */
    unsigned cpl;
    uint64_t guest_ns, exits, exits_per_s;
};

struct view_reg {
    char name[12];
    uint8_t group; /* enum reg_group */
    uint16_t bits;
    uint8_t bytes[32]; /* little-endian */
    uint64_t value;    /* the low 64 bits */
    bool changed;
    char note[96]; /* set flags, or the symbol at the value */
};
struct view_registers {
    unsigned count, first, sel; /* first: row at the top; sel: index of a register */
    struct view_reg reg[VIEW_REGS];
};

struct view_insn {
    uint64_t addr;
    uint8_t len, bytes[15];
    bool is_label;   /* a row of its own above an instruction: label and source only */
    char label[64];  /* "kmain" when a symbol starts here */
    char source[48]; /* "main.c:12" when a line starts here */
    char mnemonic[24];
    char operands[136];
    bool mapped, is_rip, branch, bad;
    bool has_target, has_mem;
    uint64_t target, mem;
    char hint[24]; /* at RIP: "taken", "not taken" */
    int point;     /* id of a breakpoint here, 0 none */
    bool point_enabled;
};
struct view_code {
    uint64_t top;    /* linear address of the first row */
    uint64_t cursor; /* address of the selected row */
    bool follow;     /* keeps RIP in sight at each stop */
    bool jumped;     /* top is a place to show, not yet aligned in the panel */
    int scroll;      /* rows to move at the next fill */
    unsigned rows, sel;
    struct view_insn row[VIEW_ROWS];
    unsigned backs;
    uint64_t back[VIEW_BACK];
    unsigned bits;  /* 16, 32, 64 */
    bool segmented; /* real mode: cs:ip means something to people */
    uint16_t cs;
    uint64_t rip, rip_linear, cs_base;
    char where[80]; /* symbol of the top row */
};

struct view_word {
    uint64_t addr, value;
    bool mapped, changed, is_frame;
    bool is_code;  /* the value points into a function */
    char note[80]; /* symbol or text it points to */
};
struct view_stack {
    uint64_t sp;    /* linear */
    int64_t scroll; /* words from the stack pointer */
    unsigned word;  /* bytes of one: 2, 4, 8 */
    unsigned rows, sel;
    struct view_word row[VIEW_ROWS];
};

struct view_memory {
    enum space space;
    bool placed; /* the user chose the place; until then it goes where the code points */
    uint64_t base, cursor;
    unsigned per_row; /* bytes of a row, set by the panel's width */
    unsigned len;
    uint8_t byte[VIEW_MEM_BYTES], ok[VIEW_MEM_BYTES], changed[VIEW_MEM_BYTES];
    char where[80];
};

struct view_exit {
    uint64_t index; /* position in all exits since the screen opened */
    char when[20];  /* seconds since the first record */
    unsigned vcpu;
    bool no_cpu;        /* concerns no vCPU */
    const char *source; /* what `explain` calls where it comes from; NULL: the vCPU */
    const char *kind;
    char what[120];
    char brief[80]; /* the same for narrow panels */
    char where[64]; /* symbol at RIP, or its address */
    uint64_t rip, seq;
    uint32_t guest_ns, host_ns;
    bool unclaimed;
};
struct view_exits {
    struct exit_event *ring; /* VIEW_EXITS records; index modulo VIEW_EXITS */
    uint64_t next;           /* index of the next record */
    uint64_t dropped;        /* lost before they could be read */
    uint64_t first_ns;       /* time of the first record */
    bool follow;             /* newest at the bottom */
    uint64_t top, sel;       /* indices */
    unsigned rows;
    struct view_exit row[VIEW_ROWS];
    struct trace_cursor cursor;
};

struct view_console {
    struct lines lines; /* finished lines */
    struct buf open;    /* the line being written */
    enum console_chan open_chan;
    unsigned esc; /* bytes of a terminal escape seen so far */
    char esc_bytes[32];
    bool cr;
    bool typing;     /* keys go to COM1 */
    unsigned scroll; /* rows up from the newest */
    uint64_t bytes;
};

struct view_point {
    int id;
    char kind[12], what[64], condition[64], method[24];
    uint64_t addr, hits;
    bool enabled, pending, code;
};
struct view_points {
    unsigned count, first, sel;
    struct view_point point[VIEW_POINTS];
    unsigned more; /* points beyond the table */
};

struct view_devices {
    unsigned count, sel;
    char name[32][24];
    struct buf text; /* of the selected one */
    unsigned first;  /* line at the top */
};

struct view_log {
    unsigned long newest;
    unsigned scroll; /* lines up from the newest */
    unsigned rows;
    char row[VIEW_LOG_ROWS][240];
};

struct view_panes {
    unsigned count, sel;
    unsigned first;   /* line at the top */
    struct pane pane; /* the chosen one; its text has style bytes (cmd.h) */
};

struct view {
    int rows[PANELS], cols[PANELS]; /* room of each panel, 0 when it is not on screen */
    bool stale;                     /* the guest runs: state is that of the last stop */
    bool have_state;                /* there was a stop at all */
    struct view_status status;
    struct view_registers regs;
    struct view_code code;
    struct view_stack stack;
    struct view_memory memory;
    struct view_exits exits;
    struct view_console console;
    struct view_points points;
    struct view_devices devices;
    struct view_log log;
    struct view_panes panes;
    const struct cmd_scripts *scripts; /* who draws panes; NULL: nobody */
    uint64_t rate_at_ns, rate_exits;   /* where counting exits per second began */
    struct view_past *past;            /* what the last stop looked like: view.c's own */
};

void view_init(struct view *v, struct session *s);
void view_fini(struct view *v);
/* Reads what the visible panels want. While the guest runs only status, exits, console and log
 * are brought up to date. */
void view_fill(struct view *v, struct session *s);
/* Call at each stop, before view_fill: what is shown now becomes "the last stop", against which
 * changes are marked. */
void view_stopped(struct view *v);
/* Guest output; any bytes. */
void view_console_add(struct view *v, enum console_chan chan, const void *bytes, size_t len);
/* Shows an address in the code or memory panel at the next fill. */
void view_goto_code(struct view *v, uint64_t linear);
void view_goto_memory(struct view *v, uint64_t addr, enum space sp);
void view_code_back(struct view *v);

/* One record for the exits panel: `reg_name` as in exit_format, `text` a client's own words or
 * NULL; `where` is an address until a symbol is put there. */
void view_exit_format(const struct exit_event *ev, const char *reg_name, const char *text,
                      uint64_t first_ns, struct view_exit *out);

#endif
