/*
 * See ticks.h.
 */
#include "vmm/base/ticks.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "vmm/base/clock.h"

#define SOURCE "/sys/devices/system/clocksource/clocksource0/current_clocksource"

#define MEASURE_NS 1000000u    /* the least to measure a rate over */
#define GOOD_NS    1000000u    /* the longest without a comparison */
#define RENEW_NS   5000000000u /* the clock is slewed: a rate is that of the last seconds */
#define GAP_NS     1000000000u /* the host may have slept meanwhile: measure anew */

/* Does the kernel make the clock of the counter? Then it has found that it runs evenly and is the
 * same on all processors. */
static bool is_trusted(void)
{
    char name[16] = "";
    int fd = open(SOURCE, O_RDONLY | O_CLOEXEC);
    ssize_t n;

    if (fd < 0)
        return false;
    n = read(fd, name, sizeof name - 1);
    close(fd);
    return n > 0 && !strcmp(name, "tsc\n");
}

/* Both at one moment; returns how long that took. */
static uint64_t read_pair(struct ticks_pair *p)
{
    uint64_t before = __builtin_ia32_rdtsc(), after;

    p->ns = clock_ns();
    after = __builtin_ia32_rdtsc();
    p->tsc = before + (after - before) / 2;
    return after - before;
}

static void restart(struct ticks *t, const struct ticks_pair *p)
{
    t->old = t->mid = t->at = *p;
    t->good = t->rate = 0;
}

void ticks_init(struct ticks *t)
{
    struct ticks_pair p;

    *t = (struct ticks){.off = !is_trusted(), .width = UINT64_MAX};
    for (unsigned i = 0; i < 8 && !t->off; i++) {
        uint64_t width = read_pair(&p);

        if (width < t->width)
            t->width = width;
    }
    if (!t->off)
        restart(t, &p);
}

static uint64_t rate_of(const struct ticks_pair *from, const struct ticks_pair *to)
{
    __extension__ typedef unsigned __int128 wide;

    return (uint64_t)(((wide)(to->ns - from->ns) << 32) / (to->tsc - from->tsc));
}

/* Takes over a pair that was read without a break. */
static void take(struct ticks *t, const struct ticks_pair *p)
{
    uint64_t rate, gone, most;

    if (p->tsc <= t->at.tsc || p->ns - t->at.ns > GAP_NS) {
        restart(t, p);
        return;
    }
    if (p->ns - t->mid.ns > RENEW_NS) {
        t->old = t->mid;
        t->mid = *p;
    }
    t->good = 0;
    if (p->ns - t->old.ns < MEASURE_NS)
        return;
    rate = rate_of(&t->old, p);
    if (t->rate && (rate > t->rate + t->rate / 1000 || rate < t->rate - t->rate / 1000)) {
        restart(t, p);
        return;
    }
    t->at = *p;
    t->rate = rate;
    gone = (p->tsc - t->old.tsc) / 4; /* what the pairs are off by counts a quarter */
    most = ((uint64_t)GOOD_NS << 32) / rate;
    t->good = gone < most ? gone : most;
}

uint64_t ticks_sync(struct ticks *t)
{
    struct ticks_pair p;
    uint64_t width, gone;

    if (t->off)
        return clock_ns();
    width = read_pair(&p);
    gone = p.tsc - t->at.tsc < t->good ? p.tsc - t->at.tsc : t->good;
    if (t->said < t->at.ns + (gone * t->rate >> 32))
        t->said = t->at.ns + (gone * t->rate >> 32);
    if (t->said < p.ns)
        t->said = p.ns;
    p.ns = t->said;
    if (width <= 4 * t->width)
        take(t, &p);
    else
        t->good = 0; /* another program ran in between */
    return t->said;
}
