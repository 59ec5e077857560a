/*
 * Names that no file has: a client (a script that knows a JIT's tables) is asked for what ELF and
 * the user did not name, and its answers are kept. Look-ups come from any thread; the client says
 * nothing where it cannot be asked.
 */
#include <stdlib.h>
#include <string.h>

#include "debug/symbols/sym_int.h"
#include "vmm/base/x.h"

#define BY_ADDR 4096u /* slots, one answer each */
#define BY_NAME 512u
/* Answers that were given out live on: a caller may still look at one. So many are kept, and then
 * the older half goes. */
#define KEPT_MAX 32768u

struct known_addr {
    uint64_t addr;
    const struct symbol *y; /* NULL: the client does not know it */
    bool used;
};

struct known_name {
    char *name;
    const struct symbol *y;
};

struct sym_ask {
    struct symbols_client client;
    pthread_mutex_t lock; /* guards what follows; not held while the client is asked */
    struct known_addr addr[BY_ADDR];
    struct known_name name[BY_NAME];
    struct symbol *kept[KEPT_MAX];
    size_t count;
};

static struct known_addr *addr_slot(struct sym_ask *a, uint64_t addr)
{
    return &a->addr[(addr * 0x9e3779b97f4a7c15u) >> 52];
}

static struct known_name *name_slot(struct sym_ask *a, const char *name)
{
    uint64_t h = 0xcbf29ce484222325u;

    for (; *name; name++)
        h = (h ^ (uint8_t)*name) * 0x100000001b3u;
    return &a->name[h % BY_NAME];
}

static void symbol_free(struct symbol *y)
{
    free((void *)(uintptr_t)y->name);
    free(y);
}

/* Lock held. */
static void forget(struct sym_ask *a, bool all)
{
    for (unsigned i = 0; i < BY_ADDR; i++)
        if (all || !a->addr[i].y)
            a->addr[i].used = false;
    for (unsigned i = 0; i < BY_NAME; i++) {
        if (!all && a->name[i].y)
            continue;
        free(a->name[i].name);
        a->name[i].name = NULL;
    }
}

/* Lock held. The client's answer as a symbol that stays; one like it is taken again. */
static const struct symbol *keep(struct sym_ask *a, const struct symbols_answer *said)
{
    struct symbol *y;

    for (size_t i = a->count; i-- > 0 && i + 64 > a->count;)
        if (a->kept[i]->addr == said->addr && !strcmp(a->kept[i]->name, said->name))
            return a->kept[i];
    if (a->count == KEPT_MAX) {
        forget(a, true);
        for (size_t i = 0; i < KEPT_MAX / 2; i++)
            symbol_free(a->kept[i]);
        a->count = KEPT_MAX - KEPT_MAX / 2;
        memmove(a->kept, a->kept + KEPT_MAX / 2, a->count * sizeof a->kept[0]);
    }
    y = xcalloc(1, sizeof *y);
    *y = (struct symbol){sym_safe_name_dup(said->name), said->addr, said->size, true};
    return a->kept[a->count++] = y;
}

const struct symbol *sym_ask_addr(struct sym_ask *a, uint64_t addr)
{
    struct symbols_answer said = {.addr = addr};
    struct known_addr *k = addr_slot(a, addr);
    const struct symbol *y = NULL;
    int rc;

    pthread_mutex_lock(&a->lock);
    if (k->used && k->addr == addr) {
        y = k->y;
        pthread_mutex_unlock(&a->lock);
        return y;
    }
    pthread_mutex_unlock(&a->lock);
    rc = a->client.name_of(a->client.arg, addr, &said);
    if (rc < 0)
        return NULL; /* it could not be asked: ask again */
    pthread_mutex_lock(&a->lock);
    if (rc > 0 && said.name[0] && said.addr <= addr)
        y = keep(a, &said);
    *k = (struct known_addr){.addr = addr, .y = y, .used = true};
    pthread_mutex_unlock(&a->lock);
    return y;
}

const struct symbol *sym_ask_name(struct sym_ask *a, const char *name)
{
    struct symbols_answer said = {0};
    struct known_name *k = name_slot(a, name);
    const struct symbol *y = NULL;
    int rc;

    pthread_mutex_lock(&a->lock);
    if (k->name && !strcmp(k->name, name)) {
        y = k->y;
        pthread_mutex_unlock(&a->lock);
        return y;
    }
    pthread_mutex_unlock(&a->lock);
    rc = a->client.addr_of(a->client.arg, name, &said.addr);
    if (rc < 0)
        return NULL;
    pthread_mutex_lock(&a->lock);
    if (rc > 0) {
        strncpy(said.name, name, sizeof said.name - 1);
        y = keep(a, &said);
    }
    free(k->name);
    *k = (struct known_name){.name = xstrdup(name), .y = y};
    pthread_mutex_unlock(&a->lock);
    return y;
}

void symbols_set_client(struct symbols *t, const struct symbols_client *c)
{
    struct sym_ask *a = t->ask;

    if (c) {
        if (!a) {
            a = xcalloc(1, sizeof *a);
            BUG_ON(pthread_mutex_init(&a->lock, NULL) != 0);
        }
        a->client = *c;
        t->ask = a;
        symbols_forget(t, true);
        return;
    }
    if (!a)
        return;
    t->ask = NULL;
    forget(a, true);
    for (size_t i = 0; i < a->count; i++)
        symbol_free(a->kept[i]);
    pthread_mutex_destroy(&a->lock);
    free(a);
}

void symbols_forget(struct symbols *t, bool all)
{
    if (!t->ask)
        return;
    pthread_mutex_lock(&t->ask->lock);
    forget(t->ask, all);
    pthread_mutex_unlock(&t->ask->lock);
}
