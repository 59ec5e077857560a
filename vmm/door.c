/*
 * The door, live and manual. Called with the machine lock held, on any thread.
 */
#include "vmm/door.h"

#include <stdlib.h>
#include <string.h>

#include "vmm/base/clock.h"
#include "vmm/base/x.h"

struct door_queue {
    uint8_t byte[DOOR_QUEUE_BYTES];
    size_t head, count;
};

void door_init(struct door *d, bool manual)
{
    *d = (struct door){.manual = manual, .slow = 1};
    for (unsigned i = 0; i < DOOR_INPUTS; i++)
        d->input[i] = xcalloc(1, sizeof *d->input[i]);
    /* 2001-09-09 01:46:40, the same in every test */
    d->wall_offset = manual ? 1000000000 : (int64_t)time(NULL);
}

void door_fini(struct door *d)
{
    for (unsigned i = 0; i < DOOR_INPUTS; i++)
        free(d->input[i]);
    *d = (struct door){0};
}

uint64_t door_now(const struct door *d)
{
    return d->base_ns + (d->running && !d->manual ? (clock_ns() - d->host_at_ns) / d->slow : 0);
}

uint64_t door_host_time(const struct door *d, uint64_t at_ns)
{
    uint64_t wait = at_ns > d->base_ns ? at_ns - d->base_ns : 0;

    if (!wait)
        return 1;
    return wait < (UINT64_MAX - d->host_at_ns) / d->slow ? d->host_at_ns + wait * d->slow
                                                         : DOOR_NEVER;
}

void door_run(struct door *d)
{
    if (d->running)
        return;
    d->host_at_ns = clock_ns();
    d->running = true;
}

void door_pause(struct door *d)
{
    d->base_ns = door_now(d);
    d->running = false;
}

int64_t door_wall(const struct door *d)
{
    return d->wall_offset + (int64_t)(door_now(d) / 1000000000u);
}

void door_reset(struct door *d)
{
    if (!d->manual)
        d->wall_offset = (int64_t)time(NULL) - (int64_t)(door_now(d) / 1000000000u);
}

static void tell(struct door *d, const struct alarm *a, enum alarm_news what)
{
    if (d->news)
        d->news(d->news_arg, a, what);
}

static void unlink_alarm(struct door *d, struct alarm *a)
{
    for (struct alarm **p = &d->alarms; *p; p = &(*p)->next) {
        if (*p == a) {
            *p = a->next;
            break;
        }
    }
    a->next = NULL;
    a->at_ns = DOOR_NEVER;
}

void door_alarm_off(struct door *d, struct alarm *a)
{
    bool armed = a->at_ns != DOOR_NEVER;

    unlink_alarm(d, a);
    if (armed)
        tell(d, a, ALARM_OFF);
}

void door_alarm(struct door *d, struct alarm *a, uint64_t at_ns)
{
    struct alarm **p = &d->alarms;

    if (a->at_ns == at_ns)
        return; /* devices ask at each access; most change nothing */
    if (at_ns == DOOR_NEVER) {
        door_alarm_off(d, a);
        return;
    }
    unlink_alarm(d, a);
    while (*p && (*p)->at_ns <= at_ns)
        p = &(*p)->next;
    a->at_ns = at_ns;
    a->next = *p;
    *p = a;
    tell(d, a, ALARM_SET);
}

uint64_t door_next(const struct door *d)
{
    return d->alarms ? d->alarms->at_ns : DOOR_NEVER;
}

unsigned door_run_alarms(struct door *d)
{
    uint64_t now = door_now(d);
    unsigned fired = 0;

    while (d->alarms && d->alarms->at_ns <= now) {
        struct alarm *a = d->alarms;

        unlink_alarm(d, a);
        tell(d, a, ALARM_FIRED);
        a->fn(a->arg);
        fired++;
    }
    return fired;
}

void door_advance(struct door *d, uint64_t ns)
{
    uint64_t end = d->base_ns + ns;

    BUG_ON(!d->manual);
    while (d->alarms && d->alarms->at_ns <= end) {
        if (d->alarms->at_ns > d->base_ns)
            d->base_ns = d->alarms->at_ns;
        door_run_alarms(d);
    }
    d->base_ns = end;
}

size_t door_push(struct door *d, enum door_input in, const void *bytes, size_t len)
{
    struct door_queue *q = d->input[in];
    size_t room = DOOR_QUEUE_BYTES - q->count;

    if (len > room)
        len = room;
    for (size_t i = 0; i < len; i++)
        q->byte[(q->head + q->count++) % DOOR_QUEUE_BYTES] = ((const uint8_t *)bytes)[i];
    if (len && d->arrived[in].fn)
        d->arrived[in].fn(d->arrived[in].arg);
    return len;
}

size_t door_pull(struct door *d, enum door_input in, void *bytes, size_t len)
{
    struct door_queue *q = d->input[in];

    if (len > q->count)
        len = q->count;
    for (size_t i = 0; i < len; i++) {
        ((uint8_t *)bytes)[i] = q->byte[q->head];
        q->head = (q->head + 1) % DOOR_QUEUE_BYTES;
    }
    q->count -= len;
    return len;
}

size_t door_waiting(const struct door *d, enum door_input in)
{
    return d->input[in]->count;
}

void door_listen(struct door *d, enum door_input in, void (*fn)(void *arg), void *arg)
{
    d->arrived[in].fn = fn;
    d->arrived[in].arg = arg;
}
