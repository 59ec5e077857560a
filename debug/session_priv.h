/*
 * The inside of a session, shared by session*.c. Main thread, except what says otherwise.
 */
#ifndef DEBUG_SESSION_PRIV_H
#define DEBUG_SESSION_PRIV_H

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "debug/engine/engine.h"
#include "debug/session.h"
#include "debug/trace/trace_names.h"
#include "vmm/base/awake.h"

#define SUBSCRIBERS_MAX 16
#define SESSION_FDS     32

/* `events` are EPOLLIN, EPOLLOUT, EPOLLHUP, EPOLLERR as they came. */
typedef void session_fd_fn(void *arg, unsigned events);
struct gdb;
struct control;
struct cmd_scripts;

/* A file as it was when it was read. */
struct symbol_file {
    bool known;
    uint64_t ino;
    int64_t bytes;
    struct timespec mtime;
};

/* A frame that the processor pushed, which its handler may change before it returns. */
struct finish_frame {
    int point; /* a hidden watchpoint at the return address; 0: none */
    unsigned vcpu, bytes;
    uint64_t slot; /* linear */
    uint64_t rsp;  /* after the return */
};

struct session {
    struct session_config cfg;
    struct vm *vm;
    struct engine engine;
    struct symbols *symbols;
    struct symbol_file symbol_file;
    bool symbols_chosen; /* by a command: they are not what the file has */
    struct tracer *tracer;
    struct names_live live; /* session_set_exit_text's */
    struct disasm *disasm;
    char insn_text[176];        /* what session_reg_name said last of an assist */
    struct disasm *step_disasm; /* for the vCPU that makes a session_step_to; NULL until then */

    enum session_state state;
    struct stop_info last;
    unsigned focus;
    enum sched_lock sched;
    bool user_stop;                          /* session_stop was called for this run */
    uint64_t over_left;                      /* step-overs still to make */
    struct finish_frame finish;              /* of the present finish, if it leaves a handler */
    uint32_t run_mask;                       /* vCPUs of the present or last run */
    uint64_t told_rip[MACHINE_CPUS_MAX];     /* where its stop was told; UINT64_MAX none */
    struct vcpu_state cpu[MACHINE_CPUS_MAX]; /* cache; .have is 0 after every run */

    struct {
        unsigned mask;
        session_fn *fn;
        void *arg;
    } sub[SUBSCRIBERS_MAX];

    struct {
        int fd;
        uint32_t uses;                 /* how often the row was given away */
        void (*fn)(void *arg, int fd); /* session_fd_add's; with both NULL the row is free */
        session_fd_fn *watch;          /* session_watch_fd's */
        void *arg;
    } client_fd[SESSION_FDS];
    struct gdb *gdb;         /* the stub, or NULL */
    struct control *control; /* the control server, or NULL */
    const struct cmd_scripts *scripts;
    bool quit_asked;
    int quit_status;

    int bell_fd, watch_fd, poll_fd;
    long watch_ns;                /* period of the watch timer, 0 off */
    long unlooked_ns;             /* since page tables were looked at last */
    bool brief;                   /* what was set going is one step */
    struct awake awake;           /* to wait for it */
    _Atomic int bell_rung;        /* vCPU threads: written once until the main thread looks */
    struct exit_ring kernel_ring; /* events of trace points, written by the tracer */
    _Atomic bool kernel_ring_on;
    uint64_t trace_seen;
    pthread_mutex_t console_lock; /* guards the next two, vCPU threads write them */
    struct buf console[CONSOLE_CHANS];
    uint64_t console_dropped;
    struct buf logs; /* what points logged; the same lock */
    uint64_t logs_dropped;
    struct buf commands; /* of the points that made the last stop */
    bool silent;         /* they want nothing told */
    uint64_t resets;     /* by the guest, followed by another start */
};

/* The descriptors that the main loop waits for. */
int session_open_loop(struct session *s, struct err *e);
/* All vCPUs of a running session stand: tells why, or lets them go on. */
void session_all_parked(struct session *s);
/* The state of a machine that has just been loaded. */
void session_stopped_at_entry(struct session *s);
/* Symbols that the options ask for, "FILE[@ADDR]", into `t`; without --symbols the image's own,
 * whose lack is no error. *f: the file as it was. */
int session_read_symbols(struct session *s, struct symbols *t, struct symbol_file *f,
                         struct err *e);
/* The image was loaded again: symbols of a file that was built anew since are, too. */
void session_renew_symbols(struct session *s);
/* machine's `console`; vCPU threads, `arg` is the engine. */
void session_on_console(void *arg, enum console_chan chan, const void *bytes, size_t len);
/* Publishes what the guest printed. */
void session_deliver_console(struct session *s);
/* Publishes a line of ours. */
void session_tell_line(struct session *s, const char *text);
/* What the points of this vCPU's stop ask for is remembered; those whose time is over go. */
void session_points_told(struct session *s, unsigned vcpu);
/* engine.log; vCPU threads. */
void session_on_log(void *arg, const struct vcpu *v, int id, const char *text, bool is_whole);
/* Publishes the lines that wait. */
void session_deliver_logs(struct session *s);
/* Adds a record that is no vCPU's; the tracer alone, under its lock. */
void session_kernel_put(struct session *s, struct exit_event *ev);
/* Wakes the main loop for a dispatch; any thread. */
void session_ring(struct session *s);
void session_publish(struct session *s, unsigned event, const void *data);
/* Lets the vCPUs of `mask` go with the jobs already set. */
void session_launch(struct session *s, uint32_t mask);
/* Lets all run freely (with scheduler-locking on: the focus alone) for a command: step-overs still
 * to make are forgotten, and EV_RUNNING is published. */
void session_go(struct session *s);
/* What names mean in expressions of this session. */
struct expr_names session_names(struct session *s);
/* How often running vCPUs are looked at from outside: dead and stuck ones are found, pending points
 * placed. Often while gate hooks wait for the guest to set up its IDT (hooks.h), or a watchpoint
 * for its page; several vCPUs, of which each look stops all, less so: else they would get nowhere
 * on a host with few processors. */
#define SESSION_WATCH_NS         200000000u
#define SESSION_WATCH_FAST_NS(s) (2000000u * (s)->vm->cpus)
void session_set_watch(struct session *s);
/* Calls fn(arg, events) from session_dispatch when `fd` has what `events` (EPOLLIN, EPOLLOUT) asks
 * for. Again for the same fd changes the events; 0 forgets it, before it is closed. 0 or -errno. */
int session_watch_fd(struct session *s, int fd, unsigned events, session_fd_fn *fn, void *arg);
/* Lets the vCPUs of `run` go and makes those of `step` take one instruction, or as many as `each`
 * (vCPU thread) returns true after; `state` is an array by vCPU for it. A step of a vCPU that
 * sleeps in HLT is over (STOP_TEMPORARY) where it stands, after the handler of the interrupt that
 * woke it. EV_STOPPED follows. */
struct resume {
    uint32_t run, step;
    bool (*each)(void *arg, const struct vcpu *v);
    void *each_arg[MACHINE_CPUS_MAX];
};
int session_resume(struct session *s, const struct resume *r, struct err *e);
/* Holds a running guest for a moment, so that state can be read and written, and lets it go on
 * where it was; nobody is told. False when it does not run. session_resume ends a hold, too. */
bool session_hold(struct session *s);
void session_unhold(struct session *s);
/* Ends a hold as session_stop would. */
void session_unhold_stopped(struct session *s);
/* How a vCPU stopped by itself at the last stop, or NULL. */
const struct stop_info *session_stop_of(const struct session *s, unsigned vcpu);
/* 0, or why the guest cannot run now. */
int session_can_run(const struct session *s, struct err *e);
/* Starts one step-over of `vcpu`. */
void session_over_once(struct session *s, unsigned vcpu);
/* The handler that the present finish leaves has written its return address: goes on to there. */
void session_finish_follow(struct session *s);

#endif
