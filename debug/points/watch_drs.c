/*
 * Watchpoints on debug registers: whether those suit one, and taking and giving them back. For
 * watch.c, parked; what fires is watch_registers.c's.
 */
#include "debug/points/points.h"
#include "debug/points/watch_int.h"

/* Cuts [addr, addr+len) into aligned pieces of 8, 4, 2, 1; returns how many (5: more than four). */
static unsigned cut(uint64_t addr, uint64_t len, uint64_t at[4], unsigned size[4])
{
    unsigned n = 0;

    while (len && n < 5) {
        unsigned s = 8;

        while (s > len || addr & (s - 1))
            s /= 2;
        if (n < 4) {
            at[n] = addr;
            size[n] = s;
        }
        n++;
        addr += s;
        len -= s;
    }
    return n;
}

/* Debug registers are right when they fire in every mode that the guest may get into. There is no
 * kind that fires on reads alone. */
static bool dr_suits(const struct watches *w, const struct point_spec *spec)
{
    enum method_feature f = spec->access & WATCH_READ ? MF_WATCH_ACCESS : MF_WATCH_WRITE;

    if (spec->space != SPACE_LINEAR || spec->access == WATCH_READ || spec->len > 32)
        return false;
    for (unsigned m = 0; m < PROBE_MODES; m++)
        if (method_of(&w->vm->methods, f, (enum probe_mode)m) == METHOD_DEBUG_REG)
            return true;
    return false;
}

bool watch_drs_put(struct watches *w, struct bp *b)
{
    const struct point_spec *spec = &b->pub.spec;
    uint64_t at[4];
    unsigned size[4], n = cut(spec->addr, spec->len, at, size), mask = 0;

    if (n > 4 || !dr_suits(w, spec))
        return false;
    for (unsigned k = 0; k < n; k++) {
        int dr = points_spare_dr(w->points);

        if (dr < 0)
            break;
        w->dr[dr] = b;
        mask |= 1u << dr;
    }
    b->watch.drs = mask;
    if ((unsigned)__builtin_popcount(mask) < n) {
        for (unsigned i = 0; i < 4; i++)
            if (mask >> i & 1)
                w->dr[i] = NULL;
        b->watch.drs = 0;
        return false;
    }
    for (unsigned i = 0, k = 0; i < 4; i++) {
        unsigned rw = spec->access & WATCH_READ ? 3 : 1;

        if (!(mask >> i & 1))
            continue;
        for (unsigned c = 0; c < w->vm->cpus; c++) {
            struct vcpu_debug *d = &w->vm->cpu[c]->data;

            d->dr[i] = at[k];
            d->dr7 |= 2u << 2 * i | (rw | ((size[k] == 8 ? 2u : size[k] - 1) << 2)) << (16 + 4 * i);
        }
        k++;
    }
    return true;
}

void watch_drs_take(struct watches *w, struct bp *b)
{
    for (unsigned i = 0; i < 4; i++) {
        if (!(b->watch.drs >> i & 1))
            continue;
        w->dr[i] = NULL;
        for (unsigned c = 0; c < w->vm->cpus; c++)
            w->vm->cpu[c]->data.dr7 &= ~(uint64_t)(3u << 2 * i | 0xfu << (16 + 4 * i));
    }
    b->watch.drs = 0;
}

unsigned watch_dr_bits(const struct watches *w)
{
    unsigned bits = 0;

    for (unsigned i = 0; i < 4; i++)
        bits |= w->dr[i] ? 1u << i : 0;
    return bits;
}

void watch_dr_remember(const struct watches *w, struct bp *b)
{
    for (unsigned i = 0; i < b->pub.spec.len; i++)
        b->watch.seen[i] = (uint8_t)watch_value(w, b, i, 1);
}
