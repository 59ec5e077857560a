/*
 * Bytes planted in guest memory: what each hides, and what others see in their place. Which are
 * wanted is place.c's. Changed as points.h says, looked up by any thread.
 */
#include <stdlib.h>

#include "debug/points/points_int.h"
#include "vmm/base/x.h"

#define PLANT_FREE UINT64_MAX
#define PLANT_DEAD (UINT64_MAX - 1)
/* Slots of the table that one look for overwritten bytes takes in. */
#define LOOK_PLANTS 64

unsigned point_hash(uint64_t key, unsigned slots)
{
    return (unsigned)((key * 0x9e3779b97f4a7c15u) >> 32) & (slots - 1);
}

struct plant *points_plant(const struct points *p, uint64_t gpa)
{
    if (!p->plants)
        return NULL;
    for (unsigned i = point_hash(gpa, p->plant_slots);; i = (i + 1) & (p->plant_slots - 1)) {
        if (p->plant[i].gpa == gpa)
            return &p->plant[i];
        if (p->plant[i].gpa == PLANT_FREE)
            return NULL;
    }
}

static void plants_grow(struct points *p)
{
    struct plant *old = p->plant;
    unsigned slots = p->plant_slots;

    p->plant_slots = p->plants * 4 < 64 ? 64 : 1;
    while (p->plant_slots < p->plants * 4)
        p->plant_slots *= 2;
    p->plant = xcalloc(p->plant_slots, sizeof *p->plant);
    for (unsigned i = 0; i < p->plant_slots; i++)
        p->plant[i].gpa = PLANT_FREE;
    for (unsigned i = 0; i < slots; i++) {
        unsigned j;

        if (old[i].gpa >= PLANT_DEAD)
            continue;
        for (j = point_hash(old[i].gpa, p->plant_slots); p->plant[j].gpa != PLANT_FREE;)
            j = (j + 1) & (p->plant_slots - 1);
        p->plant[j] = old[i];
    }
    p->plants_dead = 0;
    free(old);
}

void plants_init(struct points *p)
{
    plants_grow(p);
}

static struct plant *plant_insert(struct points *p, uint64_t gpa)
{
    unsigned i;

    if ((p->plants + p->plants_dead + 1) * 2 > p->plant_slots)
        plants_grow(p);
    i = point_hash(gpa, p->plant_slots);
    while (p->plant[i].gpa < PLANT_DEAD)
        i = (i + 1) & (p->plant_slots - 1);
    if (p->plant[i].gpa == PLANT_DEAD)
        p->plants_dead--;
    p->plants++;
    p->plant[i] = (struct plant){.gpa = gpa};
    return &p->plant[i];
}

bool plant_put(struct points *p, uint64_t gpa, uint8_t byte)
{
    struct plant *pl = points_plant(p, gpa);
    uint8_t *hva = mem_ptr(&p->vm->mem, gpa, 1);

    if (!hva)
        return false;
    if (!pl) {
        pl = plant_insert(p, gpa);
        pl->original = *hva;
        pl->byte = byte;
    }
    pl->users++;
    *hva = pl->byte;
    return true;
}

void plant_take(struct points *p, uint64_t gpa)
{
    struct plant *pl = points_plant(p, gpa);
    uint8_t *hva = mem_ptr(&p->vm->mem, gpa, 1);

    if (!pl || --pl->users)
        return;
    if (hva && *hva == pl->byte)
        *hva = pl->original;
    pl->gpa = PLANT_DEAD;
    p->plants--;
    p->plants_dead++;
}

static uint8_t *overwritten(const struct points *p, const struct plant *pl)
{
    bool is_there = pl->gpa < PLANT_DEAD && !pl->lifted;
    uint8_t *hva = is_there ? mem_ptr(&p->vm->mem, pl->gpa, 1) : NULL;

    return hva && *hva != pl->byte ? hva : NULL;
}

bool points_reassert(struct points *p)
{
    bool changed = false;

    for (unsigned i = 0; p->plants && i < p->plant_slots; i++) {
        uint8_t *hva = overwritten(p, &p->plant[i]);

        if (!hva)
            continue;
        p->plant[i].original = *hva; /* the guest loaded other code there */
        *hva = p->plant[i].byte;
        changed = true;
    }
    return changed;
}

bool points_overwritten(const struct points *p, unsigned *cursor)
{
    for (unsigned i = 0; i < LOOK_PLANTS && i < p->plant_slots; i++)
        if (overwritten(p, &p->plant[(*cursor)++ & (p->plant_slots - 1)]))
            return true;
    return false;
}

void points_hide(const struct points *p, uint64_t gpa, uint8_t *bytes, size_t len)
{
    if (!p->plants)
        return;
    if (len < p->plant_slots) {
        for (size_t i = 0; i < len; i++) {
            const struct plant *pl = points_plant(p, gpa + i);

            if (pl)
                bytes[i] = pl->original;
        }
        return;
    }
    for (unsigned i = 0; i < p->plant_slots; i++)
        if (p->plant[i].gpa < PLANT_DEAD && p->plant[i].gpa - gpa < len)
            bytes[p->plant[i].gpa - gpa] = p->plant[i].original;
}

void points_write_through(struct points *p, uint64_t gpa, uint8_t *bytes, size_t len)
{
    (void)await_written(p, gpa, len);
    if (!p->plants)
        return;
    for (unsigned i = 0; i < p->plant_slots; i++) {
        struct plant *pl = &p->plant[i];

        if (pl->gpa < PLANT_DEAD && pl->gpa - gpa < len) {
            pl->original = bytes[pl->gpa - gpa];
            bytes[pl->gpa - gpa] = pl->byte;
        }
    }
}
