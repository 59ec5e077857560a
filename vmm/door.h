/*
 * The door: the only way by which time and input enter the machine. Devices ask here and
 * never the host, so that a run can later be recorded and replayed, and so that a test can drive
 * a device with a clock it moves by hand.
 *
 * Guest time is a virtual nanosecond count that runs while at least one vCPU runs and stands while
 * the machine is stopped: a timer never fires because a person looked at a breakpoint. It may run
 * slower than the host's clock: a KVM that emulates carries out a thousandth of the instructions
 * that a guest expects between two ticks.
 *
 * All calls need the machine lock (machine.h) unless said otherwise.
 */
#ifndef VMM_DOOR_H
#define VMM_DOOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Input channels; a device pulls from its channel and is told when bytes arrive. */
enum door_input { DOOR_COM1, DOOR_COM2, DOOR_KEYBOARD, DOOR_INPUTS };

#define DOOR_NEVER UINT64_MAX

/* A one-shot alarm owned by the device that embeds it. */
struct alarm {
    uint64_t at_ns; /* guest time; DOOR_NEVER when not armed */
    void (*fn)(void *arg);
    void *arg;
    uint8_t dev;        /* the device's number in its machine, for records */
    uint8_t cpu;        /* 1 + the vCPU whose timer it is, 0 none */
    struct alarm *next; /* sorted by at_ns, the door's own */
};

/* What happened to an alarm. */
enum alarm_news { ALARM_SET, ALARM_OFF, ALARM_FIRED };

struct door_queue;

struct door {
    bool manual;         /* tests: time moves only by door_advance */
    bool running;        /* live: guest time follows the host's clock */
    uint64_t base_ns;    /* guest time when it last started or stopped */
    uint64_t host_at_ns; /* host clock at that moment */
    unsigned slow;       /* nanoseconds of the host that make one of the guest, 1 and up */
    int64_t wall_offset; /* seconds: wall clock minus guest time, fixed at start and by reset */
    struct alarm *alarms;
    struct door_queue *input[DOOR_INPUTS];
    struct {
        void (*fn)(void *arg);
        void *arg;
    } arrived[DOOR_INPUTS];
    /* Optional: told of each change, before an alarm's own function runs. */
    void (*news)(void *arg, const struct alarm *a, enum alarm_news what);
    void *news_arg;
};

/* Guest time 0, standing. `manual`: time moves by door_advance alone. No lock. */
void door_init(struct door *d, bool manual);
void door_fini(struct door *d);

/* Guest time in ns since power-on. Monotonic. */
uint64_t door_now(const struct door *d);
/* The host's clock when a running door's guest time will be `at_ns`; 1, long past, when it was. */
uint64_t door_host_time(const struct door *d, uint64_t at_ns);
/* Starts and stops guest time; calling twice is harmless. */
void door_run(struct door *d);
void door_pause(struct door *d);
/* Wall clock as seconds since 1970-01-01 UTC, moving with guest time. */
int64_t door_wall(const struct door *d);
/* The board was reset: a live door fixes the wall clock to the host's again. */
void door_reset(struct door *d);

/* Arms `a` for guest time `at_ns` (replacing its former time); `fn` runs from door_run_alarms
 * with the machine lock held and may arm again. */
void door_alarm(struct door *d, struct alarm *a, uint64_t at_ns);
void door_alarm_off(struct door *d, struct alarm *a);
/* Guest time of the next alarm, DOOR_NEVER when there is none. */
uint64_t door_next(const struct door *d);
/* Fires every alarm that is due now, in order of time. Returns how many. */
unsigned door_run_alarms(struct door *d);
/* Manual doors: moves time forward by `ns`, firing alarms at their own times on the way. */
void door_advance(struct door *d, uint64_t ns);

/* The front end's side: queues bytes for a channel and tells its device. Returns how many were
 * taken (a queue holds DOOR_QUEUE_BYTES; the rest is refused, never dropped silently). */
#define DOOR_QUEUE_BYTES 65536
size_t door_push(struct door *d, enum door_input in, const void *bytes, size_t len);
/* The device's side: takes up to `len` bytes. */
size_t door_pull(struct door *d, enum door_input in, void *bytes, size_t len);
size_t door_waiting(const struct door *d, enum door_input in);
/* `fn` is called after each door_push on the channel. One device a channel. */
void door_listen(struct door *d, enum door_input in, void (*fn)(void *arg), void *arg);

#endif
