/*
 * The inside of the script host, shared by scripts/lua_*.c; the only header that knows Lua.
 *
 * Rule: code between host_release and host_retake touches no Lua state; all calls into the session
 * that take a lock or wait are made there.
 */
#ifndef SCRIPTS_LUA_INT_H
#define SCRIPTS_LUA_INT_H

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <pthread.h>
#include <stdatomic.h>

#include "debug/engine/exit_hooks.h"
#include "debug/session.h"
#include "scripts/lua_host.h"
#include "vmm/base/buf.h"

#define ERRORS_IN_A_ROW    10
#define SCRIPT_BYTES_MAX   (16u << 20)
#define LAST_NS            2000000000ull /* for "end" hooks of a run whose time is over */
#define COUNT_INSTRUCTIONS 5000          /* between two looks at the clock */
#define OUTPUT_MAX         (4u << 20)    /* printed by vCPU threads and not taken yet */
#define CONSOLE_KEEP       (256u << 10)  /* per channel, for wait_console */
#define TRACE_PER_TURN     2048

/* Who is inside Lua on this thread; entries nest (a hook asks a device that is a script). */
struct entry {
    struct entry *outer;
    struct scripts *h;
    uint64_t limit_ns, from_ns; /* of this thread's processor time; from its first look, 0 before */
    struct hook_call *call;     /* an exit hook's, or NULL */
    bool struck;                /* its time was up, or a signal came: errors unwind it */
    bool interrupted;           /* the user wants it to end */
    bool is_main;               /* on the main thread: the session may be called */
    bool in_device;             /* the machine lock is held */
};

enum hook_what {
    HOOK_EXIT,  /* a session hook */
    HOOK_MODE,  /* a session hook that looks for changes of the mode */
    HOOK_POINT, /* asked on the vCPU's thread when a point is hit */
    HOOK_HIT,   /* called on the main thread when a point stopped the guest */
    HOOK_STOPS,
    HOOK_CONSOLE,
    HOOK_RESET,
    HOOK_TICK,
    HOOK_TRACE,
    HOOK_END,
    HOOK_FORMAT, /* gives the text of exits; main thread, or inside another hook */
};

/* A function that the host calls. Lives until the host is closed, so that a vCPU that just picked
 * it finds it; `dead` is looked at under the lock. */
struct lua_hook {
    struct scripts *h;
    enum hook_what what;
    int id; /* of the session's hook or point; 0 none */
    bool is_point;
    _Atomic bool dead;
    int fn;                  /* registry */
    _Atomic unsigned errors; /* in a row */
    uint64_t hits;
    char *where; /* "t.lua:12" */
    char *text;  /* kind and filter, for lists */
    uint8_t mode[MACHINE_CPUS_MAX];
    uint64_t period_ns, due_ns; /* HOOK_TICK */
    struct expr *filter;        /* HOOK_TRACE, HOOK_FORMAT */
    int reason;                 /* HOOK_FORMAT; -1 any */
    struct lua_hook *next;
};

enum wait_kind { WAIT_NOTHING, WAIT_STOP, WAIT_CONSOLE, WAIT_TIME };

/* A coroutine of a script. */
struct story {
    lua_State *co;
    int ref;
    char *name;
    enum wait_kind wait;
    uint64_t deadline_ns;      /* UINT64_MAX: none */
    char *pattern;             /* WAIT_CONSOLE */
    int chan;                  /* -1: any */
    struct lua_hook *for_hook; /* its errors count there, its result decides; or NULL */
    bool ended, failed, counts;
    struct story *next;
};

struct console_tail {
    struct buf text;
    size_t seen; /* wait_console has used up so much */
};

struct lua_device;
struct lua_command;
struct lua_pane;

struct scripts {
    struct scripts_config cfg;
    struct session *s;
    struct cmd_client *client; /* the front end's */
    struct cmd_client own;     /* of vm.cmd */
    struct cmd_scripts ops;
    lua_State *L;

    pthread_mutex_t lock; /* guards Lua and all below that both threads use */
    struct entry *inside; /* of the thread that holds the lock */
    size_t mem_used;
    lua_State *cpu[MACHINE_CPUS_MAX]; /* a coroutine each, for hooks */
    struct event_box *cpu_event[MACHINE_CPUS_MAX];
    lua_State *dev, *call; /* for devices; for functions that cannot wait, on the main thread */
    lua_State *ask;        /* for resolvers and formatters, which any of those may need */
    bool asking;           /* it is in use */
    bool batch;            /* changes of hooks wait */
    struct event_box *trace_event, *format_event;
    int cpu_event_ref[MACHINE_CPUS_MAX], trace_event_ref, format_event_ref;
    int places, places_count; /* registry: names of addresses that events gave out, and how many */
    char why[MACHINE_CPUS_MAX][400]; /* of a hook that stopped the guest */
    struct buf output;               /* printed, not taken by the front end yet */
    uint64_t output_lost;
    int deferred; /* registry: list of functions for the main thread */
    unsigned deferred_count;
    _Atomic bool quit_asked; /* by a hook on any vCPU thread; the main thread takes it */
    _Atomic int quit_status;
    _Atomic bool
        closing; /* set by the main thread: a hook that is entered from now on does nothing */

    struct lua_hook *hooks;
    unsigned hooks_made;
    struct lua_device *devices;
    struct lua_command *commands;
    unsigned formatters;
    bool resolving;         /* the session's symbols ask us */
    pthread_t main;         /* who opened the host */
    struct lua_pane *panes; /* main thread */
    /* main thread only */
    struct story *stories;
    struct story *running; /* innermost that is resumed */
    struct console_tail console[CONSOLE_CHANS];
    struct buf console_line[CONSOLE_CHANS];
    struct trace_cursor cursor;
    bool cursor_set, stop_news, reset_news, trace_news, ended;
    struct out *out; /* print goes here while a command runs; or NULL */
    unsigned command_depth;
    char *failed; /* the first error that nobody caught, or NULL */
    bool broken;  /* a story that counts failed */
    bool quiet;   /* errors go to `failed` alone */
    int bell_fd, timer_fd, subscription;
    uint64_t timer_at; /* what it is set to; UINT64_MAX: to nothing */
};

/* ---- lua_enter.c --------------------------------------------------------------------------- */

struct scripts *host_of(lua_State *L);
/* Takes the lock for this thread; `limit_ns` bounds what follows, from now on. */
void host_enter(struct scripts *h, struct entry *e, lua_State *L, uint64_t limit_ns);
void host_leave(struct entry *e);
/* How long a function may run on the main thread, in ns. */
uint64_t host_main_ns(const struct scripts *h);
/* Before hooks of the session are set or removed: the changes take effect with the next
 * host_release or host_leave. Lock held. */
void host_batch(struct scripts *h);
/* Around calls into the session. */
void host_release(struct scripts *h);
void host_retake(struct scripts *h);
/* The innermost entry of this thread. */
struct entry *host_entry(struct scripts *h);
/* This thread holds the lock: it is inside Lua. */
bool host_is_held(const struct scripts *h);
/* Raises a Lua error unless on the main thread. `what` begins the sentence: "vm.cmd". */
void host_need_main(lua_State *L, const char *what);
/* For long work in C: raises when the time of what runs is up, or a signal came. */
void host_look(lua_State *L);
/* Counts instructions of this coroutine anew. */
void host_arm(lua_State *L);
/* Raises the sentence of `e`. */
int host_raise(lua_State *L, const struct err *e);
/* lua_pcall with a traceback; on failure the text is on the stack top. Returns Lua's status. */
int host_pcall(lua_State *L, int args, int results);
/* The error on top of L. */
const char *host_error_text(lua_State *L);
/* Runs fn(lightuserdata arg) in the main state; an error is told and makes it false. Everything
 * that may allocate runs under this or another pcall. Main thread, lock held. */
bool host_protect(struct scripts *h, lua_CFunction fn, void *arg);

/* ---- lua_output.c -------------------------------------------------------------------------- */

/* What host_quiet keeps of the state before it. */
struct quiet {
    char *failed;
    bool quiet;
};

/* Lock held; vCPU threads only add to what the main thread takes. */
void host_print(struct scripts *h, const char *text, size_t len);
void host_printf(struct scripts *h, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Hands over what was printed. Main thread, lock held. */
void host_flush(struct scripts *h);
/* An error that nobody caught: the first is kept, each is printed unless kept quiet. Lock held. */
void host_fail(struct scripts *h, const char *why);
/* From here on errors are kept and not printed, since whoever runs the script gets them as an
 * answer. These nest: a command of a script runs others. Main thread, lock held. */
void host_quiet(struct scripts *h, struct quiet *q);
/* Ends what host_quiet began and puts back what was before. The first error meanwhile, which is the
 * caller's to free, or NULL. */
char *host_loud(struct scripts *h, struct quiet *q);

/* ---- lua_base.c ---------------------------------------------------------------------------- */

/* Makes h->L with everything in it, and the coroutines for vCPUs and devices. 0, or -ENOMEM with a
 * sentence; h->L stays for scripts_close. Main thread, lock not held. */
int host_make_state(struct scripts *h, struct err *e);
/* Loads a file of at most SCRIPT_BYTES_MAX, its first line passed over if it begins with #. Pushes
 * the function, or a sentence; returns Lua's status. */
int host_load(lua_State *L, const char *path);
/* "t.lua:12": who called the running C function. malloc'ed. */
char *host_where(lua_State *L);
/* Drops `vm` as first argument, so that vm.f(…) and vm:f(…) are the same. */
void host_self(lua_State *L);

/* ---- lua_turn.c: main thread, lock not held ------------------------------------------------ */

/* Bell and timer, by which the session's loop comes to have a turn. 0, or -errno with a sentence.
 */
int turn_open(struct scripts *h, struct err *e);
/* From now on events of the session are taken for the next turn. */
void turn_listen(struct scripts *h);
/* Has a turn at once. */
void turn_now(struct scripts *h);
/* Tells console hooks the whole lines that the guest printed since. */
void turn_console_lines(struct scripts *h);
void turn_close(struct scripts *h);
/* Has the main thread look soon; any thread. */
void host_ring(struct scripts *h);

/* ---- lua_story.c --------------------------------------------------------------------------- */

/* A new story of the function and its `args` arguments on top of L; they are popped. Runs it up to
 * its first wait. Lock held, on the main thread. The story is freed by stories_sweep. */
struct story *story_start(struct scripts *h, lua_State *L, int args, const char *name,
                          struct lua_hook *for_hook);
/* Lets go on whoever can; lock not held. */
void stories_wake(struct scripts *h);
void stories_free(struct scripts *h);
uint64_t stories_deadline(const struct scripts *h);
void story_push_stop(lua_State *L, const struct stop_info *si);
void lua_open_story(lua_State *L);

/* ---- lua_hooks.c --------------------------------------------------------------------------- */

/* What a script sees of an exit; valid during the call only. */
struct event_box {
    const struct exit_event *ev; /* NULL: over */
    struct hook_call *call;      /* NULL: the record alone */
};
struct event_box *event_new(lua_State *L);
void lua_open_hooks(lua_State *L);
void lua_open_event(lua_State *L); /* lua_event.c */
void hooks_free(struct scripts *h);
/* Main thread, lock not held. */
void hooks_on_stop(struct scripts *h, const struct stop_info *si);
void hooks_on_line(struct scripts *h, int chan, const char *text, size_t len);
void hooks_on_reset(struct scripts *h);
void hooks_on_end(struct scripts *h);
void hooks_on_trace(struct scripts *h);
uint64_t hooks_on_time(struct scripts *h, uint64_t now); /* returns when the next tick is due */
/* Whether a filter of HOOK_TRACE or HOOK_FORMAT holds. */
bool hook_wants(const struct lua_hook *k, const struct exit_event *ev);
/* An error of a hook: told, counted, and after ten in a row its end. Lock held. */
void hook_failed(struct lua_hook *k, const char *text);
void hooks_list(struct scripts *h, struct out *o);
/* cmd_scripts.point and .pointed (cmd.h). */
int hooks_point(struct scripts *h, const char *function, hook_fn **fn, void **fn_arg,
                struct err *e);
void hooks_pointed(struct lua_hook *k, int id);

/* ---- lua_pattern.c -----------------------------------------------------------------------------
 */

void lua_open_pattern(lua_State *L); /* replaces functions of string and table */

/* ---- the rest ------------------------------------------------------------------------------ */

void lua_open_state(lua_State *L);  /* registers, memory, symbols, expressions */
void lua_open_device(lua_State *L); /* vm.device, vm.mmio, vm.irq */
void lua_open_cmd(lua_State *L);    /* vm.cmd, vm.command */
void devices_free(struct scripts *h);
void devices_list(struct scripts *h, struct out *o);
void commands_free(struct scripts *h);

/* ---- lua_extend.c: what scripts add to the debugger's own words -------------------------------
 */

void lua_open_extend(lua_State *L); /* vm.table, and what vm.resolver needs */
/* The text of an exit by vm.formatter; false: none knows better. Any thread. */
bool extend_format(struct scripts *h, const struct exit_event *ev, struct buf *out);
/* Has the session ask the resolvers and formatters, or no more. Main thread. */
void extend_begin(struct scripts *h);
void extend_on_stop(struct scripts *h);
void extend_end(struct scripts *h);

/* ---- lua_pane.c: panes; main thread ------------------------------------------------------------
 */

void lua_open_pane(lua_State *L); /* the table `tui` */
bool panes_draw(void *host, unsigned i, unsigned cols, unsigned rows, struct pane *out);
void panes_on_stop(struct scripts *h);
void panes_list(struct scripts *h, struct out *o);
void panes_free(struct scripts *h);

struct lua_doc {
    const char *name;  /* "vm.on" */
    const char *form;  /* "vm.on(kind, [filter,] fn) -> hook" */
    const char *types; /* LuaLS annotations, lines without the ---@; may be "" */
    const char *help;
    const char *example; /* runs as it stands, on a stopped guest */
};
extern const struct lua_doc lua_docs[];
int docs_help(const char *name, struct out *o);
void lua_open_docs(lua_State *L);
extern const char lua_prelude[], lua_prelude_more[];

#endif
