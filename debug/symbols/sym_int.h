/*
 * Inside of the symbol table: entries, loaded images, and the lock around libdw, which parses and
 * caches while it looks things up. Private to this folder.
 */
#ifndef DEBUG_SYM_INT_H
#define DEBUG_SYM_INT_H

#include <elfutils/libdw.h>
#include <gelf.h>
#include <pthread.h>

#include "debug/symbols/sym.h"

struct sym_entry {
    struct symbol s;
    uint64_t end; /* first address behind it; without a size, where its section ends */
    /* Among symbols of one address the highest rank is the one to show. */
    uint8_t rank;
    bool is_absolute; /* a number of the linker, no place */
};

struct sym_file_name {
    const char *raw; /* libdw's */
    char *safe;
};

/* A loaded file, kept open for its lines and call frame information. */
struct sym_image {
    struct sym_image *next;
    int fd;
    Elf *elf;
    Dwarf *dwarf;      /* NULL: no debug information */
    Dwarf_CFI *eh_cfi; /* opened at first use */
    bool eh_cfi_tried;
    int64_t slide;      /* run address = file address + slide */
    uint64_t low, high; /* file addresses of its loaded segments */
    struct sym_file_name *names;
    size_t name_count;
};

struct sym_ask;

struct symbols {
    struct sym_entry **by_addr; /* ascending (addr, rank) */
    struct sym_entry **by_name; /* ascending name, then descending rank */
    uint64_t *max_end;          /* of by_addr[0..i]: how far back a look-up must go */
    size_t count, cap;
    struct sym_image *images;
    pthread_mutex_t dwarf_lock;
    struct sym_ask *ask; /* NULL: no client */
};

/* sym_ask.c: what the client says; NULL when it does not know. */
const struct symbol *sym_ask_addr(struct sym_ask *a, uint64_t addr);
const struct symbol *sym_ask_name(struct sym_ask *a, const char *name);

/* Symbol names and file names come from files and go to terminals: control bytes and bytes above
 * ASCII become '?', and long ones are cut. The caller frees. */
char *sym_safe_name_dup(const char *name);
/* Appends without order; sym_index puts all in order and drops doubles. */
void sym_append(struct symbols *t, const struct sym_entry *e);
void sym_index(struct symbols *t);
void sym_image_free(struct sym_image *m);

#endif
