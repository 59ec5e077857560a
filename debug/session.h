/*
 * The waist. TUI, batch, gdb stub, Lua and tests are clients of a session; none can do what
 * another cannot. A session owns one machine and everything known about it.
 *
 * Threads: every call is made on the main thread (the one that called session_open). Subscribers
 * are called on it too, from session_dispatch or from the control call that caused the event.
 * Control is asynchronous: session_run and the steppers return at once, and the end arrives as
 * one EV_STOPPED. Calls that need a stopped machine return -EBUSY with a sentence while it runs.
 *
 * Errors: 0 (or a count) or -errno; where a `struct err *` is taken it gets a whole sentence.
 */
#ifndef DEBUG_SESSION_H
#define DEBUG_SESSION_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/assist.h"
#include "vmm/base/buf.h"
#include "vmm/base/err.h"
#include "vmm/boot.h"
#include "vmm/exit.h"
#include "vmm/machine.h"
#include "vmm/regs.h"
#include "vmm/walk.h"

struct session;
struct vcpu;
struct symbols;
struct tracer;
struct disasm;
struct insn;
struct unwind_frame;
struct vm;

struct session_config {
    uint64_t mem_bytes;       /* 0: 128 MiB */
    unsigned cpus;            /* 0: 1 */
    const char *cpu_features; /* "-cx16,+…", or NULL */
    bool irqchip_kernel;
    unsigned slow_clock; /* guest time runs that many times slower than the host's; 0: as fits */
    struct boot_config boot;
    const char *symbols;   /* FILE[@ADDR] that replaces the image's own, or NULL */
    unsigned ring_records; /* per vCPU, a power of two; 0: 65536 */
    enum { ON_TRIPLE_STOP, ON_TRIPLE_RESET, ON_TRIPLE_EXIT } on_triple_fault;
    enum { ON_RESET_RESET, ON_RESET_STOP } on_reset;
    bool visible_all;    /* have KVM hand over every MSR access that it can */
    bool assist_off;     /* do not carry out what this KVM refuses */
    const char *gdb;     /* where to listen for gdb ([HOST:]PORT or unix:PATH), or NULL */
    const char *control; /* where to listen for control (unix:PATH), or NULL */
};

enum session_state {
    SS_STOPPED, /* the guest stands; state may be read and changed */
    SS_RUNNING,
    SS_ENDED, /* the guest powered off or left by debug exit: can be inspected and reset */
};

enum stop_kind {
    STOP_NONE,
    STOP_ENTRY,      /* before the first instruction, and after a reset */
    STOP_STEP,       /* the asked steps were made */
    STOP_BREAKPOINT, /* point_id */
    STOP_WATCHPOINT, /* point_id, addr, old_value, new_value, value_len, by, device, access */
    STOP_CATCH,      /* point_id */
    STOP_TEMPORARY,  /* until, finish, nexti arrived */
    STOP_USER,       /* session_stop */
    STOP_HALTED,     /* every vCPU halted with interrupts off: nothing can wake the guest */
    STOP_POWER_OFF,
    STOP_DEBUG_EXIT, /* code: what was written to port 0xF4 */
    STOP_RESET,
    STOP_TRIPLE_FAULT,
    STOP_INTERNAL_ERROR, /* this KVM could not go on: see text */
    STOP_STUCK,          /* a vCPU burns time at one RIP inside the kernel */
    STOP_HOOK,           /* a hook (session_hook_add) asked for it; text says why */
    STOP_HOST_ERROR,     /* KVM_RUN failed: code is the errno */
    STOP_KINDS,
};

struct stop_info {
    enum stop_kind kind;
    unsigned vcpu;
    uint64_t rip, cs_base;
    int point_id; /* -1 when none */
    uint32_t code;
    uint64_t addr, old_value, new_value;
    unsigned value_len; /* watchpoint: bytes of the values, from `addr` on, 1 to 8 */
    unsigned access;    /* watchpoint: WATCH_READ, WATCH_WRITE or both */
    uint64_t by;        /* watchpoint: linear address of the instruction; 0 when unknown */
    const char *device; /* watchpoint: whose DMA it was, by name, and not an instruction; or NULL.
                           Lives as long as the session */
    uint64_t steps;     /* instructions made by this step request */
    int vector;         /* exception or interrupt entered during the last step, -1 none */
    char text[600];     /* the whole story in one sentence, safe for a terminal */
    unsigned others;    /* where in `text` the points begin that were hit at once; 0: none */
};

/* Short name ("breakpoint"), static text. */
const char *stop_kind_name(enum stop_kind k);

int session_open(struct session **out, const struct session_config *cfg, struct err *e);
void session_close(struct session *s);
const struct session_config *session_cfg(const struct session *s);
const struct boot_state *session_boot(const struct session *s);

/* ---- control ---------------------------------------------------------------------------- */

enum session_state session_state(const struct session *s);
/* How often the guest reset itself and was started again. */
uint64_t session_resets(const struct session *s);
const struct stop_info *session_last_stop(const struct session *s);
unsigned session_cpus(const struct session *s);
/* The vCPU that unqualified commands mean; the stop's after each stop. */
unsigned session_focus(const struct session *s);
int session_set_focus(struct session *s, unsigned vcpu, struct err *e);
/* "running", "halted", "waiting for SIPI", "stopped". Static text, any state. */
const char *session_cpu_status(const struct session *s, unsigned vcpu);

/* Lets all vCPUs go. -ESRCH when the guest has ended, -EBUSY when it runs already. */
int session_run(struct session *s, struct err *e);
/* Asks all vCPUs to park; EV_STOPPED follows (within a few ms). 0 also when already stopped. */
int session_stop(struct session *s);
/* `n` instructions on one vCPU (1 and up). A stop by a point ends it early. */
int session_step(struct session *s, unsigned vcpu, uint64_t n, struct err *e);
/* Single steps on one vCPU until the next instruction is of that sort, or the mode or CR3 changed.
 */
enum step_to {
    STEP_TO_COUNT,
    STEP_TO_BRANCH,
    STEP_TO_CALL,
    STEP_TO_RET,
    STEP_TO_MODE,
    STEP_TO_CR3
};
int session_step_to(struct session *s, unsigned vcpu, enum step_to to, struct err *e);
/* As step, but a call, interrupt instruction or rep counts as one. */
int session_step_over(struct session *s, unsigned vcpu, uint64_t n, struct err *e);
/* Until the present function returned to its caller. */
int session_finish(struct session *s, unsigned vcpu, struct err *e);
/* Runs until the linear address is about to execute on any vCPU. */
int session_until(struct session *s, uint64_t linear, struct err *e);
/* Board reset: devices, vCPUs and the image as at the start; points stay. Ends stopped. */
int session_reset(struct session *s, struct err *e);
/* Steps `n` instructions on the vCPU and calls `fn` after each, on the vCPU's thread, which may
 * read v->regs and v->sregs there (the IDT's limit may be a step's); `fn` returning false ends it.
 * Waits for the end and returns the number of steps made, or -errno. */
int64_t session_step_each(struct session *s, unsigned vcpu, uint64_t n,
                          bool (*fn)(void *arg, const struct vcpu *v), void *arg, struct err *e);

/* `step.irq`: whether a stepped vCPU takes interrupts (default off). `scheduler`: what other
 * vCPUs do meanwhile. */
enum sched_lock { SCHED_OFF, SCHED_ON, SCHED_STEP };
/* What points may use: debug registers, which the guest may want for its own debugging, and bytes
 * planted in its code, which it may read. Both unless said otherwise. What is left is slower. */
void session_allow_points(struct session *s, bool registers, bool bytes);
bool session_registers_allowed(const struct session *s);
bool session_bytes_allowed(const struct session *s);
void session_set_step_irq(struct session *s, bool on);
bool session_step_irq(const struct session *s);
void session_set_sched_lock(struct session *s, enum sched_lock v);
enum sched_lock session_sched_lock(const struct session *s);

/* ---- state: only while not running ------------------------------------------------------- */

/* All of one vCPU; valid until the guest moves or a register is written. NULL while running. The
 * parts in `want` (VS_*) are fetched when missing. */
const struct vcpu_state *session_cpu(struct session *s, unsigned vcpu, uint32_t want);
int session_reg_get(struct session *s, unsigned vcpu, int reg, struct reg_value *out,
                    struct err *e);
int session_reg_set(struct session *s, unsigned vcpu, int reg, const struct reg_value *v,
                    struct err *e);
enum cpu_mode session_mode(struct session *s, unsigned vcpu);

/* Address spaces of memory calls. LINEAR goes through the vCPU's page tables. */
enum space { SPACE_LINEAR, SPACE_PHYS };
/* Copies RAM only, never asks a device; planted breakpoint bytes are hidden. Returns the length
 * of the readable prefix (0 to len), or -EBUSY. */
int64_t session_mem_read(struct session *s, unsigned vcpu, enum space sp, uint64_t addr, void *dst,
                         size_t len);
int64_t session_mem_write(struct session *s, unsigned vcpu, enum space sp, uint64_t addr,
                          const void *src, size_t len);
/* Page walk of a linear address with every entry. */
int session_walk(struct session *s, unsigned vcpu, uint64_t linear, struct walk *out);
int session_walk_regs(struct session *s, unsigned vcpu, struct walk_regs *out);
const struct mem *session_mem(const struct session *s);

/* ---- hooks: decide on exits while they happen (exit_hooks.h) ------------------------------- */

enum hook_answer {
    HOOK_GO,
    HOOK_STOP,
    HOOK_DROP, /* an access reaches no device: writes vanish, reads answer all ones */
};
struct hook_call;
/* On the vCPU's thread; must not block on the main thread and calls no function of this header
 * unless that says so. */
typedef enum hook_answer hook_fn(void *arg, struct hook_call *c);

struct hook_spec {
    int reason;         /* KVM_EXIT_* or EXIT_*; -1: every kind */
    int vcpu;           /* -1: all */
    const char *filter; /* expression over the exit's fields, registers and memory, or NULL */
    hook_fn *fn;
    void *arg;
};
/* Any thread, any state. Returns the id (1 and up), or -EINVAL with a sentence about the filter. */
int session_hook_add(struct session *s, const struct hook_spec *spec, struct err *e);
int session_hook_del(struct session *s, int id);
/* Changes between `on` and off take effect with the latter, all at once: each change by itself
 * costs a pass over all hooks. */
void session_hook_batch(struct session *s, bool on);

/* ---- points ------------------------------------------------------------------------------ */

enum point_kind { POINT_BREAK, POINT_WATCH, POINT_CATCH };
/* What a catchpoint waits for. */
enum catch_what {
    CATCH_EXIT,       /* an exit of reason catch_reason for which catch_filter holds */
    CATCH_EXCEPTION,  /* the guest enters its handler of exception catch_vector (-1: of any) */
    CATCH_MODE,       /* the processor mode or privilege level changed; runs by single steps */
    CATCH_CR3,        /* CR3 changed; runs by single steps */
    CATCH_CPUID,      /* CPUID was executed (of catch_leaf); runs by single steps */
    CATCH_CONSOLE,    /* catch_text came out of a console channel */
    CATCH_RESET,      /* the guest asked for a reset: it stops instead */
    CATCH_TRIPLE,     /* triple fault; the guest stops instead of being reset */
    CATCH_DEBUG_EXIT, /* port 0xF4 was written */
};
/* What happens at a hit. */
enum point_do {
    DO_STOP,
    DO_LOG,    /* a line is told (EV_LOG); the guest goes on */
    DO_COUNT,  /* nothing but the count; the guest goes on */
    DO_SCRIPT, /* `hit` is asked */
};
enum watch_access { WATCH_WRITE = 1, WATCH_READ = 2, WATCH_ACCESS = 3, WATCH_CHANGE = 4 };

struct expr_env;
struct point_test;

struct point_spec {
    enum point_kind kind;
    enum space space;
    uint64_t addr;
    uint64_t len; /* watch: bytes, at least 1 */
    enum watch_access access;
    bool unresolved;       /* execution: the location means nothing yet (session_points_resolve) */
    const char *location;  /* what the user typed, for lists and for pending symbols; copied */
    const char *condition; /* expression, or NULL; copied */
    uint64_t ignore;       /* hits to pass over first */
    bool temporary;        /* deleted when it stopped the machine */
    bool hidden;           /* ours (until, finish): not in lists */
    int vcpu;              /* -1: all */
    enum catch_what catch_what;
    unsigned catch_reason;      /* CATCH_EXIT: KVM_EXIT_* or EXIT_* */
    unsigned catch_reason_last; /* CATCH_EXIT: the last one meant when there are several, or 0 */
    int catch_vector;           /* CATCH_EXCEPTION: 0 to 31, or -1 */
    bool catch_has_leaf;
    uint32_t catch_leaf;      /* CATCH_CPUID */
    const char *catch_text;   /* CATCH_CONSOLE: not empty; copied */
    const char *catch_filter; /* catch: expression over the exit's fields, or NULL; copied */
    enum point_do action;
    /* DO_LOG: a format and its values as `"x=%x", EXPR` (point_log.h), or NULL: where and what.
     * DO_SCRIPT: what to call it in lists. Copied. */
    const char *action_text;
    hook_fn *hit;  /* asked on the vCPU's thread when all else says yes, and stops only with */
    void *hit_arg; /* HOOK_STOP; or NULL */
    /* Asked after `condition`, or NULL; the client's, and must live as long as the point. */
    const struct point_test *test;
};

/* A condition in a client's own language. */
struct point_test {
    /* Called on the vCPU's thread when the point is reached: >0 stop, 0 pass, <0 the sentence in
     * `why` tells what went wrong (the guest then stops). The stop is hidden from others, so it
     * must not call back into the session. */
    int (*holds)(const struct point_test *t, const struct expr_env *env, struct err *why);
};

struct point {
    int id;
    struct point_spec spec; /* strings owned by the session */
    bool enabled;
    bool pending;         /* its page or symbol is not there yet */
    uint64_t hits;        /* times it was reached with its condition true */
    uint64_t false_hits;  /* times the condition said no */
    const char *method;   /* how it is done on this host ("int3", "debug register", …) */
    const char *commands; /* lines for the front end to run at its stop, or NULL */
    bool disables;        /* it is disabled after `stops_left` more stops */
    uint64_t stops_left;
};

/* Allowed at any time (the machine is parked for a moment when it runs). Returns the id (1 and
 * up), or -errno. */
int session_point_add(struct session *s, const struct point_spec *spec, struct err *e);
int session_point_del(struct session *s, int id);
int session_point_enable(struct session *s, int id, bool on);
int session_point_condition(struct session *s, int id, const char *condition, struct err *e);
int session_point_ignore(struct session *s, int id, uint64_t count);
/* Lines that the front end runs when this point stopped the guest; NULL or "": none. Copied. */
int session_point_commands(struct session *s, int id, const char *lines);
/* What becomes of the point: POINT_DISABLE after `stops` more stops, POINT_DELETE at the next. */
enum point_end { POINT_KEEP, POINT_DELETE, POINT_DISABLE };
int session_point_dispose(struct session *s, int id, enum point_end end, uint64_t stops);
/* After symbols changed: conditions are read anew, and points whose location means another address
 * move there, or get placed at last. A line about each is appended to `told` (may be NULL). */
void session_points_resolve(struct session *s, struct buf *told);
/* A client has put other symbols in the place of the guest's own. */
void session_symbols_chosen(struct session *s);
/* The lines of all points that made the last stop, each line ended; malloc'ed, NULL when there are
 * none. The first who asks gets them. *silent: the stop shall not be told. */
char *session_take_commands(struct session *s, bool *silent);
bool session_has_commands(const struct session *s);
/* By id; NULL when there is none. Valid until the next change of points. */
const struct point *session_point(const struct session *s, int id);
/* A watchpoint's coverage in words: pages by method, what is not mapped, and how a page that is
 * mapped there instead is noticed. Empty for others. Any time; parks a running machine for a
 * moment. */
void session_point_coverage(struct session *s, int id, struct buf *out);
/* The next visible point after `id` (0: the first), or NULL. */
const struct point *session_point_next(struct session *s, int id);

/* ---- observation ------------------------------------------------------------------------- */

#define EV_STOPPED 1u   /* arg: const struct stop_info * */
#define EV_RUNNING 2u   /* arg: NULL */
#define EV_CONSOLE 4u   /* arg: const struct console_text *; raw guest bytes */
#define EV_POINTS  8u   /* points changed; arg: NULL */
#define EV_STATE   16u  /* registers, memory or focus changed by a client; arg: NULL */
#define EV_RESET   64u  /* the board was reset, also when the guest asked for it; arg: NULL */
#define EV_TRACE   32u  /* new exit records exist (at most one event a dispatch); arg: NULL */
#define EV_STORM   128u /* an exit storm began; arg: const char *, a sentence about it */
#define EV_LOG                                                                                     \
    256u /* a line: of a point with DO_LOG, or of the session; arg: const struct log_line * */

struct console_text {
    enum console_chan chan;
    const void *bytes;
    size_t len;
};

/* One line that a point logged, or that the session has to say, without its end; safe for a
 * terminal. */
struct log_line {
    int point_id; /* -1: the session says it */
    unsigned vcpu;
    const char *text;
};

typedef void session_fn(void *arg, unsigned event, const void *data);
/* Returns a handle for session_unsubscribe. */
int session_subscribe(struct session *s, unsigned mask, session_fn *fn, void *arg);
void session_unsubscribe(struct session *s, int handle);

/* Records of all vCPUs, of the devices and of the kernel in order of time. A cursor starts at the
 * oldest record kept (or the newest, `tail`). */
struct trace_cursor {
    uint64_t next[MACHINE_CPUS_MAX + 2]; /* next seq of each source */
    uint64_t dropped;                    /* records overwritten before this cursor saw them */
};
/* Any state. */
void session_trace_start(const struct session *s, struct trace_cursor *c, bool tail);
/* Copies up to `max` next records; returns how many. Any state. */
size_t session_trace_next(const struct session *s, struct trace_cursor *c, struct exit_event *out,
                          size_t max);
/* Where records come from: vCPUs by their number, behind them these two. */
unsigned session_trace_devices(const struct session *s);
unsigned session_trace_kernel(const struct session *s);
/* One record by source and seq; false when it is gone. */
bool session_trace_get(const struct session *s, unsigned source, uint64_t seq,
                       struct exit_event *out);
/* A client's own words for exits, in the place of exit_format's: `fn` appends one line and returns
 * true, or false when it knows no better. NULL takes it away. Asked on the main thread alone. */
void session_set_exit_text(struct session *s,
                           bool (*fn)(void *arg, const struct exit_event *ev, struct buf *out),
                           void *arg);
bool session_exit_text(struct session *s, const struct exit_event *ev, struct buf *out);
/* Tells all clients that something they show may look different now (EV_STATE). */
void session_changed(struct session *s);
/* Callers recorded with each exit from now on (stacks.h), 0 none; and how many it is now. */
void session_set_stacks(struct session *s, unsigned depth);
unsigned session_stacks(const struct session *s);
/* Statistics, trace file, filter (tracer.h). */
struct tracer *session_tracer(struct session *s);
/* Count of all records of all vCPUs since start. */
uint64_t session_exit_count(const struct session *s);
/* Counts by reason (exit_counter). */
void session_exit_counts(const struct session *s, uint64_t counts[EXIT_COUNTERS]);
/* How often an instruction of each kind was carried out for the guest (vmm/assist.h). */
void session_assist_counts(const struct session *s, uint64_t counts[ASSIST_KINDS]);
bool session_assist_on(const struct session *s);

/* ---- guest console ------------------------------------------------------------------------ */

/* Queues input for COM1, COM2 or the keyboard (set-1 scan codes); returns how many were taken. */
size_t session_input(struct session *s, enum door_input in, const void *bytes, size_t len);
/* Text typed on the i8042 keyboard as make and break codes; returns characters taken. */
size_t session_type(struct session *s, const char *text);

/* ---- machine ------------------------------------------------------------------------------- */

/* Names and text of devices for `info device`. NULL past the end. */
const char *session_device_name(struct session *s, unsigned i);
int session_device_describe(struct session *s, const char *name, struct buf *out);
/* Name of a port or MMIO register for traces ("i8042 status"), or NULL. */
const char *session_reg_name(struct session *s, const struct exit_event *ev);
/* Guest time in ns. */
uint64_t session_guest_time(struct session *s);
struct vm *session_vm(struct session *s); /* for doctor-like commands and tests */

/* A device that a client adds to the board; it stays until the session is closed. */
struct device_spec {
    const char *name, *help; /* copied; help may be NULL */
    const uint16_t *port;    /* `ports` of them, borrowed for the call */
    unsigned ports;
    uint64_t gpa, len_bytes; /* len_bytes 0: no memory range */
    void *arg;
    /* With the machine locked, on the thread of the vCPU that made the access (reset: main or any).
     * The result counts for reads. Any may be NULL. */
    uint64_t (*pio)(void *arg, uint16_t port, unsigned size, bool write, uint64_t value);
    uint64_t (*mmio)(void *arg, uint64_t off, unsigned size, bool write, uint64_t value);
    void (*reset)(void *arg);
    void (*gone)(void *arg); /* the session closes: the last call */
};
/* -EBUSY with a sentence when its name, ports or memory are taken. */
int session_device_add(struct session *s, const struct device_spec *spec, struct err *e);
/* Any thread, also inside a device's function. -EINVAL for a GSI that does not exist. */
int session_irq(struct session *s, unsigned gsi, bool level);
/* As if a device had printed it. Any thread, also inside a device's function. */
void session_console_put(struct session *s, enum console_chan chan, const void *bytes, size_t len);
/* Copies guest-physical memory, to `dst`, or from `src` when dst is NULL. Any thread, any state.
 * Inside a device's function it is that device's DMA: recorded, seen by watchpoints, and bytes
 * planted for breakpoints are neither read nor lost. Elsewhere RAM as it is, with them. Returns the
 * length of the prefix that is RAM. */
int64_t session_dma(struct session *s, uint64_t gpa, void *dst, const void *src, size_t len);

/* Has `fn` called from session_dispatch when `fd` can be read: timers and sockets of clients share
 * session_fd. At most SESSION_FDS at once; -ENOSPC. */
int session_fd_add(struct session *s, int fd, void (*fn)(void *arg, int fd), void *arg);
void session_fd_del(struct session *s, int fd);

/* ---- meaning -------------------------------------------------------------------------------- */

/* The session's own; they live as long as it does. */
struct symbols *session_symbols(struct session *s);
struct disasm *session_disasm(struct session *s);
/* Disassembles at a linear address in the vCPU's mode; false when nothing is mapped there. */
bool session_insn(struct session *s, unsigned vcpu, uint64_t linear, struct insn *out);
/* The same as code of 16, 32 or 64 bits, whatever mode the vCPU is in. */
bool session_insn_of(struct session *s, unsigned vcpu, unsigned bits, uint64_t linear,
                     struct insn *out);
/* The callers, innermost first (unwind.h); `end` says why the trace ends where it does. */
size_t session_backtrace(struct session *s, unsigned vcpu, struct unwind_frame *frames, size_t max,
                         char end[160]);
/* Evaluates an expression (expr.h) in the vCPU's context. */
int session_eval(struct session *s, unsigned vcpu, const char *text, uint64_t *out, struct err *e);

/* ---- the loop -------------------------------------------------------------------------------- */

/* True while a client outside (gdb, control) may still want the guest: a front end without a screen
 * waits for it instead of ending with a stopped guest. */
bool session_is_held(const struct session *s);
/* True while the last stop is the end of one step that gdb asked for: it makes thousands in a row,
 * and a front end that prints stops leaves those out. */
bool session_stepped_from_outside(const struct session *s);
/* A client that is no front end wants the program to end: with an exit status, or -1. */
void session_quit(struct session *s, int status);
/* For front ends, after a dispatch. *status (may be NULL) is what session_quit was told. */
bool session_quit_asked(const struct session *s, int *status);
/* The script host that commands of every client reach; borrowed, NULL: none. */
struct cmd_scripts;
void session_set_scripts(struct session *s, const struct cmd_scripts *scripts);
const struct cmd_scripts *session_scripts(const struct session *s);
/* The one descriptor to poll for POLLIN; then session_dispatch. */
int session_fd(const struct session *s);
/* Delivers what happened. Never blocks. */
void session_dispatch(struct session *s);
/* Polls and dispatches until the machine no longer runs, `timeout_ns` passed (UINT64_MAX: no
 * limit; time in which this process could not run counts little, see clock.h) or `interrupt`
 * became nonzero. True when it no longer runs. For batch and tests. */
bool session_wait(struct session *s, uint64_t timeout_ns, const volatile int *interrupt);

#endif
