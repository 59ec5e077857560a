/*
 * Symbols and source lines from ELF and DWARF (libelf, libdw). Files are hostile: bounded, and a
 * broken file is a sentence, not a crash. Main thread loads; look-ups are read-only afterwards
 * and may be made on any thread while nothing is being loaded.
 */
#ifndef DEBUG_SYM_H
#define DEBUG_SYM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/base/err.h"

struct symbols;

struct symbol {
    const char *name; /* owned by the table, safe for a terminal, at most 500 bytes */
    uint64_t addr, size;
    bool is_function;
};

/* An empty table; never NULL. */
struct symbols *symbols_new(void);
void symbols_free(struct symbols *t); /* takes NULL */
/* Adds the symbols of an ELF file of either class (functions, objects, labels; .symtab and
 * .dynsym), moved by `slide`, and keeps the file open for lines and frames. Returns the count, 0
 * for a stripped file, or -errno with a sentence. Pointers to symbols stay valid until
 * symbols_clear, but for doubles. */
int64_t symbols_load(struct symbols *t, const char *path, int64_t slide, struct err *e);
/* Adds one symbol (scripts, map files); it wins over others of its name or address. */
void symbols_add(struct symbols *t, const char *name, uint64_t addr, uint64_t size,
                 bool is_function);
/* Forgets all symbols and files; the client that knows more stays. */
void symbols_clear(struct symbols *t);
size_t symbols_count(const struct symbols *t);
/* In ascending order of address. */
const struct symbol *symbols_at(const struct symbols *t, size_t i);
/* By exact name (the global one before a local one of that name); NULL when unknown. */
const struct symbol *symbols_find(const struct symbols *t, const char *name);
/* The same among the table's own names, without asking the client that knows more. */
const struct symbol *symbols_find_own(const struct symbols *t, const char *name);
/* The symbol that holds `addr`, or the nearest label (no size) before it in the same section; NULL
 * when none. Labels inside a sized function do not hide the function; of nested ones the innermost
 * is meant. */
const struct symbol *symbols_lookup(const struct symbols *t, uint64_t addr);
/* "name+0x12" (or "name"); false and an empty string when unknown. */
bool symbols_format(const struct symbols *t, uint64_t addr, char *dst, size_t cap);
/* The source line of an address ("main.c", 12); false without debug information. `file` is as the
 * compiler wrote it, owned by the table, safe for a terminal. */
bool symbols_line(const struct symbols *t, uint64_t addr, const char **file, int *line);
/* The lowest address of a source line, or of the next line with code after it; `file` may be the
 * last part of the path. False when unknown. */
bool symbols_line_addr(const struct symbols *t, const char *file, int line, uint64_t *addr);
/* A client that knows more names: asked for an address that no sized symbol holds and for a name
 * that is not in the table. Its answers are kept until symbols_forget. */
struct symbols_answer {
    char name[200];
    uint64_t addr, size; /* where it begins; 0: unknown */
};
struct symbols_client {
    void *arg;
    /* 1: answered, 0: unknown, -1: cannot say now. The thread of whoever looks a symbol up; they
     * must refuse where they cannot work. */
    int (*name_of)(void *arg, uint64_t addr, struct symbols_answer *out);
    int (*addr_of)(void *arg, const char *name, uint64_t *addr);
};
/* NULL takes it away. Main thread, while no vCPU runs. */
void symbols_set_client(struct symbols *t, const struct symbols_client *c);
/* What the client did not know, or (`all`) whatever it said. Any thread. */
void symbols_forget(struct symbols *t, bool all);
/* Completion: the n-th (from 0) name that starts with `prefix`, or NULL. */
const char *symbols_complete(const struct symbols *t, const char *prefix, size_t n);

#endif
