/*
 * The symbol table: entries in two orders, look-ups by binary search. Files are read by sym_elf.c,
 * lines by sym_line.c. The main thread loads; look-ups only read.
 */
#include "debug/symbols/sym.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "debug/symbols/sym_int.h"
#include "vmm/base/x.h"

#define NAME_MAX_BYTES 500u
/* A hostile file can make everything overlap; a look-up gives up behind so many neighbours. */
#define LOOK_BACK_MAX 20000u

struct symbols *symbols_new(void)
{
    struct symbols *t = xcalloc(1, sizeof *t);

    BUG_ON(pthread_mutex_init(&t->dwarf_lock, NULL) != 0);
    return t;
}

void symbols_clear(struct symbols *t)
{
    BUG_ON(pthread_mutex_lock(&t->dwarf_lock) != 0);
    while (t->images) {
        struct sym_image *m = t->images;

        t->images = m->next;
        sym_image_free(m);
    }
    BUG_ON(pthread_mutex_unlock(&t->dwarf_lock) != 0);
    for (size_t i = 0; i < t->count; i++) {
        free((void *)(uintptr_t)t->by_addr[i]->s.name);
        free(t->by_addr[i]);
    }
    t->count = 0;
}

void symbols_free(struct symbols *t)
{
    if (!t)
        return;
    symbols_clear(t);
    symbols_set_client(t, NULL);
    free(t->by_addr);
    free(t->by_name);
    free(t->max_end);
    pthread_mutex_destroy(&t->dwarf_lock);
    free(t);
}

char *sym_safe_name_dup(const char *name)
{
    size_t n = strnlen(name, NAME_MAX_BYTES);
    char *s = xmalloc(n + 1);

    for (size_t i = 0; i < n; i++)
        s[i] = name[i] > ' ' && name[i] < 0x7f ? name[i] : '?';
    s[n] = '\0';
    return s;
}

/* ---- order -------------------------------------------------------------------------------- */

static int compare_addr(const struct sym_entry *x, const struct sym_entry *y)
{
    if (x->s.addr != y->s.addr)
        return x->s.addr < y->s.addr ? -1 : 1;
    if (x->rank != y->rank)
        return x->rank < y->rank ? -1 : 1;
    /* Of two alike the shorter name, and then the first in the alphabet, is shown: last here. */
    size_t a = strlen(x->s.name), b = strlen(y->s.name);

    return a != b ? (a > b ? -1 : 1) : strcmp(y->s.name, x->s.name);
}

static int compare_name(const struct sym_entry *x, const struct sym_entry *y)
{
    int c = strcmp(x->s.name, y->s.name);

    if (c)
        return c;
    return x->rank != y->rank ? (x->rank > y->rank ? -1 : 1) : compare_addr(x, y);
}

static int by_addr(const void *a, const void *b)
{
    return compare_addr(*(struct sym_entry *const *)a, *(struct sym_entry *const *)b);
}

static int by_name(const void *a, const void *b)
{
    return compare_name(*(struct sym_entry *const *)a, *(struct sym_entry *const *)b);
}

static void reach_from(struct symbols *t, size_t i)
{
    uint64_t max = i ? t->max_end[i - 1] : 0;

    for (; i < t->count; i++) {
        const struct sym_entry *e = t->by_addr[i];

        if (e->s.size && !e->is_absolute && e->end > max)
            max = e->end;
        t->max_end[i] = max;
    }
}

static void grow(struct symbols *t)
{
    if (t->count < t->cap)
        return;
    t->cap = t->cap ? t->cap * 2 : 256;
    t->by_addr = xrealloc(t->by_addr, t->cap, sizeof(struct sym_entry *));
    t->by_name = xrealloc(t->by_name, t->cap, sizeof(struct sym_entry *));
    t->max_end = xrealloc(t->max_end, t->cap, sizeof *t->max_end);
}

void sym_append(struct symbols *t, const struct sym_entry *e)
{
    struct sym_entry *copy = xmalloc(sizeof *copy);

    grow(t);
    *copy = *e;
    t->by_addr[t->count++] = copy;
}

void sym_index(struct symbols *t)
{
    size_t kept = 0;

    if (!t->count)
        return;
    qsort(t->by_addr, t->count, sizeof(struct sym_entry *), by_addr);
    for (size_t i = 0; i < t->count; i++) {
        struct sym_entry *e = t->by_addr[i], *last = kept ? t->by_addr[kept - 1] : NULL;

        /* The same symbol stands in .symtab and .dynsym. */
        if (last && last->s.addr == e->s.addr && !strcmp(last->s.name, e->s.name)) {
            free((void *)(uintptr_t)last->s.name);
            free(last);
            t->by_addr[kept - 1] = e;
        } else {
            t->by_addr[kept++] = e;
        }
    }
    t->count = kept;
    memcpy(t->by_name, t->by_addr, kept * sizeof(struct sym_entry *));
    qsort(t->by_name, kept, sizeof(struct sym_entry *), by_name);
    reach_from(t, 0);
}

/* The first place whose entry does not come before `e`. */
static size_t place(struct sym_entry **list, size_t n, const struct sym_entry *e,
                    int (*compare)(const struct sym_entry *, const struct sym_entry *))
{
    size_t low = 0;

    while (low < n) {
        size_t mid = low + (n - low) / 2;

        if (compare(list[mid], e) < 0)
            low = mid + 1;
        else
            n = mid;
    }
    return low;
}

static void insert(struct sym_entry **list, size_t n, size_t at, struct sym_entry *e)
{
    memmove(list + at + 1, list + at, (n - at) * sizeof(struct sym_entry *));
    list[at] = e;
}

void symbols_add(struct symbols *t, const char *name, uint64_t addr, uint64_t size,
                 bool is_function)
{
    struct sym_entry *e = xcalloc(1, sizeof *e);
    size_t at;

    e->s = (struct symbol){sym_safe_name_dup(name), addr, size, is_function};
    e->end = size && size <= UINT64_MAX - addr ? addr + size : UINT64_MAX;
    e->rank = 255; /* what a user says wins */
    grow(t);
    at = place(t->by_addr, t->count, e, compare_addr);
    insert(t->by_addr, t->count, at, e);
    insert(t->by_name, t->count, place(t->by_name, t->count, e, compare_name), e);
    t->count++;
    reach_from(t, at);
}

/* ---- look-ups ------------------------------------------------------------------------------ */

size_t symbols_count(const struct symbols *t)
{
    return t->count;
}

const struct symbol *symbols_at(const struct symbols *t, size_t i)
{
    return i < t->count ? &t->by_addr[i]->s : NULL;
}

/* First index in by_name whose name is not below `name`. */
static size_t name_bound(const struct symbols *t, const char *name)
{
    size_t low = 0, n = t->count;

    while (low < n) {
        size_t mid = low + (n - low) / 2;

        if (strcmp(t->by_name[mid]->s.name, name) < 0)
            low = mid + 1;
        else
            n = mid;
    }
    return low;
}

const struct symbol *symbols_find_own(const struct symbols *t, const char *name)
{
    size_t i = name_bound(t, name);

    return i < t->count && !strcmp(t->by_name[i]->s.name, name) ? &t->by_name[i]->s : NULL;
}

const struct symbol *symbols_find(const struct symbols *t, const char *name)
{
    const struct symbol *own = symbols_find_own(t, name);

    return own || !t->ask ? own : sym_ask_name(t->ask, name);
}

/* Number of entries that start at or before `addr`. */
static size_t addr_bound(const struct symbols *t, uint64_t addr)
{
    size_t low = 0, n = t->count;

    while (low < n) {
        size_t mid = low + (n - low) / 2;

        if (t->by_addr[mid]->s.addr <= addr)
            low = mid + 1;
        else
            n = mid;
    }
    return low;
}

const struct symbol *symbols_lookup(const struct symbols *t, uint64_t addr)
{
    const struct sym_entry *label = NULL;
    size_t n = addr_bound(t, addr), looked = 0;
    bool passed = false;

    for (size_t i = n; i-- > 0 && looked < LOOK_BACK_MAX; looked++) {
        const struct sym_entry *e = t->by_addr[i];

        if (e->is_absolute)
            continue;
        if (e->s.size && addr < e->end)
            return &e->s;
        /* Only the nearest one can be the label: behind a symbol that ended is a gap. */
        if (!e->s.size && !passed && addr < e->end)
            label = e;
        passed = true;
        if (t->max_end[i] <= addr)
            break;
    }
    /* A label says only what came before; a client may know what is there. */
    const struct symbol *said = t->ask ? sym_ask_addr(t->ask, addr) : NULL;

    return said ? said : label ? &label->s : NULL;
}

bool symbols_format(const struct symbols *t, uint64_t addr, char *dst, size_t cap)
{
    const struct symbol *s = symbols_lookup(t, addr);

    if (!cap)
        return false;
    dst[0] = '\0';
    if (!s)
        return false;
    if (addr == s->addr)
        snprintf(dst, cap, "%s", s->name);
    else
        snprintf(dst, cap, "%s+0x%llx", s->name, (unsigned long long)(addr - s->addr));
    return true;
}

const char *symbols_complete(const struct symbols *t, const char *prefix, size_t n)
{
    size_t len = strlen(prefix);
    const char *last = NULL;

    for (size_t i = name_bound(t, prefix); i < t->count; i++) {
        const char *name = t->by_name[i]->s.name;

        if (strncmp(name, prefix, len))
            return NULL;
        if (last && !strcmp(last, name))
            continue;
        last = name;
        if (n-- == 0)
            return name;
    }
    return NULL;
}
