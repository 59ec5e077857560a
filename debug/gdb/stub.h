/*
 * The inside of the remote stub, shared by the files of debug/gdb. Main thread, except what says
 * otherwise.
 *
 * A packet is answered by its handler (packets.c has the table), which puts the body of the reply
 * into g->reply. Resuming packets answer later: with the stop reply that EV_STOPPED brings.
 */
#ifndef DEBUG_GDB_STUB_H
#define DEBUG_GDB_STUB_H

#include <pthread.h>

#include "debug/cmd.h"
#include "debug/gdb/agent.h"
#include "debug/gdb/desc.h"
#include "debug/gdb/gdb.h"
#include "debug/gdb/packet.h"
#include "debug/session_priv.h"
#include "vmm/base/clock.h"

enum gdb_state {
    GDB_NOBODY,  /* listening */
    GDB_COMING,  /* connected; the guest is being stopped, packets wait */
    GDB_STOPPED, /* the client knows that the guest stands */
    GDB_WAITING, /* the client waits for a stop reply */
};

/* What the client said it understands. */
struct gdb_client {
    bool swbreak, hwbreak, exec_events;
    bool lldb;          /* speaks lldb's dialect */
    bool error_strings; /* QEnableErrorStrings */
    bool suffix;        /* QThreadSuffixSupported */
    bool list_threads;  /* QListThreadsInStopReply */
    bool plain_x;       /* `x` replies without the leading b */
};

/* A condition and commands of a Z packet, as a test of the session's points. */
struct gdb_test;

#define GDB_FILES 8
#define GDB_TSCS  16u /* a call within a call within a … */

struct gdb_point {
    int type; /* of Z: 0 to 4 */
    uint64_t addr, len;
    int id;        /* of the session */
    uint64_t wide; /* the same with an upper half that the client cut off, as `wide_id`; or 0 */
    int wide_id;   /* 0: none */
    bool inserted; /* false: taken out by z, deleted at the next resume */
    bool persist;  /* its commands go on after the client left */
    struct gdb_test *test;
    char *text; /* conditions and commands as sent, to know them again */
};

/* vCont of one thread. */
enum gdb_action { ACT_NONE, ACT_CONTINUE, ACT_STEP, ACT_RANGE, ACT_STOP };

struct gdb_range {
    uint64_t start, end; /* of the program counter, linear */
    enum cpu_mode mode;  /* a change of mode ends it */
};

struct gdb_nonstop {
    uint32_t running;                        /* as the client believes */
    enum gdb_action act[MACHINE_CPUS_MAX];   /* of those */
    uint32_t queued;                         /* stops to tell */
    unsigned order[MACHINE_CPUS_MAX], count; /* in this order */
    struct stop_info info[MACHINE_CPUS_MAX];
    bool notified; /* the client was told of one and asks for the next by vStopped */
    bool tell;
};

/* The reply to the memory request that is expected next. */
struct gdb_ahead {
    bool wanted, made;
    uint64_t follows; /* where the last request ended */
    uint64_t addr;
    size_t len;
    uint8_t *bytes; /* PACKET_MAX / 2, or NULL */
    struct buf frame;
};

struct gdb {
    struct session *s;
    int sub;
    struct cmd_client cmd;

    /* serve.c */
    int listen_fd, fd; /* -1: none */
    unsigned events;   /* of fd that are watched */
    char *where, *path, *peer;
    unsigned port;
    bool open_to_all; /* others than this machine's users reach it */
    struct packet_in in;
    struct buf unread; /* bytes that wait, while GDB_COMING or while much is unsent */
    struct buf out;    /* frames to send; `sent` of it are gone */
    size_t sent;
    struct buf last; /* the last frame, for '-' */
    bool no_ack, no_ack_next;
    bool lost;        /* the client is gone, or is to go */
    bool busy;        /* with its packets or its breakpoints' commands */
    bool close_asked; /* gdb_close was called by one of those */

    /* the conversation */
    enum gdb_state state;
    struct gdb_client client;
    struct buf reply;
    uint8_t *scratch; /* PACKET_MAX bytes for memory packets, or NULL */
    struct gdb_ahead ahead;
    bool no_reply; /* the handler answers later, or never */
    bool extended, killed, detached;
    bool reset_asked; /* when the guest stands; outlives the client that asked */
    bool run_asked;   /* and that client waits to hear of it */
    bool over; /* to the client there is no process: it ended, was killed or left to itself */
    unsigned thread, run_thread; /* Hg, Hc: vCPU + 0; run_thread UINT32_MAX: all */
    bool phys;                   /* PhyMemMode */
    bool soon;                   /* a monitor command that let the guest go is to be answered */
    int soon_fd;                 /* timer, when to look again whether it stopped */
    struct patience soon_waited;
    uint64_t tsc[GDB_TSCS]; /* the last values told of it, see registers.c */
    unsigned tscs;

    /* what it was told */
    struct desc desc[GDB_ARCHES];
    bool desc_made[GDB_ARCHES];
    enum gdb_arch arch; /* of the description that the client has */
    bool arch_told;
    bool arch_pinned;
    enum gdb_arch arch_pin;
    bool linear; /* monitor realmode */
    bool non_stop;
    struct gdb_nonstop ns;
    bool step_hides; /* the stop being told answers a step, and a SIGTRAP would seem its end */
    bool stop_owed;  /* an `exec` was told; the stop itself comes with the next resume */
    bool moved;      /* another client moved the guest since the last stop reply */
    bool stepping;   /* the guest was last let go for one step of the client's */
    bool ours;       /* this resume or command is the client's own */
    bool monitoring; /* a command of monitor's, which moves the guest without gdb's knowing */
    struct buf xml, map, threads_xml; /* as of the last offset 0 */
    struct {
        int fd;        /* -1: free */
        bool is_16;    /* opened by its name for real mode */
    } file[GDB_FILES]; /* vFile; gdb keeps what it has opened */

    struct gdb_point *point;
    unsigned points, points_cap;
    struct gdb_range range[MACHINE_CPUS_MAX];

    /* What breakpoint commands print, vCPU threads fill it. */
    pthread_mutex_t print_lock;
    struct buf print;
    int print_fd;
};

/* ---- packets.c ----------------------------------------------------------------------------- */

/* Handlers get what follows the packet's name: [p, end). */
typedef void gdb_handler(struct gdb *g, const char *p, const char *end);
struct packet_row {
    const char *name;
    const char *next; /* characters that may follow the name; "" none; NULL anything */
    unsigned flags;   /* PK_* */
    gdb_handler *fn;
    const char *help;
};
#define PK_STOPPED 1u /* needs a guest that stands */
#define PK_WRITES  2u /* answers OK or an error: a sentence is never taken for data */
extern const struct packet_row packet_table[];
/* The row for a packet, or NULL; the rest of it in *rest. */
const struct packet_row *packet_find(const char *body, size_t len, const char **rest);
/* Answers one packet. */
void gdb_packet(struct gdb *g, const char *body, size_t len);

/* ---- reply.c ------------------------------------------------------------------------------- */

void reply_ok(struct gdb *g);
void reply_str(struct gdb *g, const char *s);
void reply_fmt(struct gdb *g, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* "E0e": for packets whose reply is data, where older clients know nothing else. */
void reply_errno(struct gdb *g, int code);
/* A sentence, in the form that the client takes. */
void reply_error(struct gdb *g, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Text for the client's console; allowed only while it waits for a stop or for qRcmd. */
void gdb_console(struct gdb *g, const char *text, size_t len);
/* Sends what commands of breakpoints have printed since. */
void gdb_flush_print(struct gdb *g);
/* A part of `text` as qXfer wants it; `p` is "offset,length". */
void reply_xfer(struct gdb *g, const struct buf *text, const char *p, const char *end);
/* "1", "-1", "0", "p1.2", "p1.-1": vCPU number, or -1 for all. False when it is not a thread id. */
bool thread_id(struct gdb *g, const char **p, const char *end, int *vcpu);

/* ---- serve.c ------------------------------------------------------------------------------- */

/* Frames and sends a body. */
void gdb_send(struct gdb *g, const void *body, size_t len);
/* Sends what packet_frame made. */
void gdb_send_frame(struct gdb *g, const struct buf *frame);
/* The same as a notification. */
void gdb_notify(struct gdb *g, const void *body, size_t len);
/* Answers the packets that wait, and sees to what came of it: a connection that is over is closed,
 * and so may the stub be; the caller is done with `g`. */
void gdb_feed(struct gdb *g);
/* From stop.c's side: EV_STOPPED and EV_RUNNING. */
void gdb_event(void *arg, unsigned event, const void *data);

/* ---- registers.c --------------------------------------------------------------------------- */

const struct desc *gdb_desc(struct gdb *g);
/* The description for the mode `vcpu` is in now, as far as it is not pinned. */
enum gdb_arch gdb_arch_wanted(struct gdb *g, unsigned vcpu);
/* Appends the hex of a register, x's when it has none. */
void gdb_reg_hex(struct gdb *g, unsigned vcpu, unsigned n, struct buf *out);
gdb_handler pk_g, pk_G, pk_p, pk_P;

/* ---- memory.c ------------------------------------------------------------------------------ */

gdb_handler pk_m, pk_M, pk_x, pk_X, pk_search, pk_crc, pk_phys_get, pk_phys_set;

/* RAM at an address as the client means it; the readable prefix, see session_mem_read. */
int64_t gdb_mem_read(struct gdb *g, uint64_t addr, void *dst, size_t len);

/* ---- ahead.c ------------------------------------------------------------------------------- */

/* Memory was asked for as hex and read: sends the reply if it was made already. */
bool gdb_ahead_send(struct gdb *g, uint64_t addr, const uint8_t *bytes, size_t len);
/* Makes the reply that is expected next, if one is. */
void gdb_ahead_make(struct gdb *g);
void gdb_ahead_fini(struct gdb *g);

/* ---- resume.c, stop.c ---------------------------------------------------------------------- */

gdb_handler pk_c, pk_C, pk_s, pk_S, pk_vcont, pk_vcont_query, pk_vctrlc, pk_why, pk_reverse;
gdb_handler pk_detach, pk_kill, pk_vkill, pk_restart, pk_vrun, pk_vattach, pk_extended;
void gdb_interrupt(struct gdb *g);
/* Sends the stop reply for how things stand now. */
void gdb_tell_stop(struct gdb *g);
/* The body of the stop reply for `si`, any stop of the session; `news`: not for somebody who has
 * just come. */
void gdb_stop_of(struct gdb *g, const struct stop_info *si, bool news, struct buf *out);
/* Whether a stop is none of those that debuggers have words for; si->text then tells it. */
bool gdb_needs_words(const struct gdb *g, const struct stop_info *si);
/* Appends "Wxx" when the stop is the guest's end. */
bool gdb_end_of(const struct stop_info *si, struct buf *out);
/* Jobs for vCPUs; ranges are in g->range. */
void gdb_fill_resume(struct gdb *g, const enum gdb_action act[], struct resume *r);
/* The guest stands, and somebody waited for it. */
void gdb_stopped(struct gdb *g);

/* ---- nonstop.c ------------------------------------------------------------------------------ */

gdb_handler pk_vstopped;
void gdb_ns_why(struct gdb *g);
void gdb_ns_vcont(struct gdb *g, const enum gdb_action act[], const struct gdb_range range[]);
void gdb_ns_stopped(struct gdb *g);
void gdb_ns_after_reply(struct gdb *g);
/* The client leaves: a machine that runs runs with all its vCPUs. */
void gdb_ns_leave(struct gdb *g);

/* ---- breakpoints.c ------------------------------------------------------------------------- */

gdb_handler pk_Z, pk_z;
/* Deletes what z took out; with `all` everything of this client. */
void gdb_points_sync(struct gdb *g, bool all);
/* Deletes what z took out if the client keeps its points in while the guest stands. */
void gdb_points_tidy(struct gdb *g);
/* The client is about to forget what it inserted, without a z. */
void gdb_points_forgotten(struct gdb *g);
/* The client's point that a stop is about, or NULL. */
const struct gdb_point *gdb_point_of(const struct gdb *g, const struct stop_info *si);
/* True when it is about one that z took out for a sole step: to the client the step ended. */
bool gdb_point_is_out(const struct gdb *g, const struct stop_info *si);

/* ---- point_test.c -------------------------------------------------------------------------- */

/* What follows a Z packet's address; NULL when nothing does, or with a sentence in *e. *persist:
 * its commands go on without the client. */
struct gdb_test *gdb_test_new(struct gdb *g, const char *p, const char *end, bool *persist,
                              struct err *e);
void gdb_test_free(struct gdb_test *t); /* takes NULL */

/* ---- widen.c ------------------------------------------------------------------------------- */

/* The address in the upper half that the kernel's symbols or else sign extension give to one that
 * the client cut to 32 bits; 0 when it sends addresses whole or none comes into question. */
uint64_t gdb_widen(const struct gdb *g, uint64_t addr);

/* ---- query.c, threads.c, files.c, monitor.c, lldb.c ----------------------------------------- */

gdb_handler pk_supported, pk_no_ack, pk_attached, pk_offsets, pk_symbol, pk_features, pk_map,
    pk_exec_file, pk_sstepbits, pk_sstep_get, pk_sstep_set, pk_non_stop, pk_thread_events,
    pk_tstatus;
gdb_handler pk_H, pk_T, pk_qC, pk_threads_first, pk_threads_next, pk_thread_extra, pk_threads_xml;
gdb_handler pk_rcmd;
gdb_handler pk_file_open, pk_file_close, pk_file_pread, pk_file_fstat, pk_file_setfs;
gdb_handler pk_host_info, pk_process_info, pk_register_info, pk_threads_json, pk_list_threads,
    pk_suffix, pk_memory_region, pk_error_strings;

/* The path whose symbols belong to the guest, absolute; empty when there is none. */
void gdb_exec_path(const struct gdb *g, struct buf *out);
/* The same as it is told to the client for its present architecture; never empty. */
void gdb_exec_name(const struct gdb *g, struct buf *out);
void gdb_files_close(struct gdb *g);
/* The guest that a monitor command let go stands: answers, unless gdb_soon_forget came first. */
void gdb_soon_over(struct gdb *g);
void gdb_soon_forget(struct gdb *g);
/* Of g->soon_fd: it has not stopped yet. */
void gdb_on_soon(void *arg, unsigned events);
/* After commands of the client's ran: one may have been `quit`. */
void gdb_take_quit(struct gdb *g);

#endif
