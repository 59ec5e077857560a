/*
 * Source lines through libdw. It parses at the first look-up and caches, so a lock makes look-ups
 * safe on any thread.
 */
#include <stdlib.h>
#include <string.h>

#include "debug/symbols/sym_int.h"
#include "vmm/base/x.h"

#define UNITS_MAX 200000u

/* The name for people, made once per name of libdw's. */
static const char *safe_name(struct sym_image *m, const char *raw)
{
    for (size_t i = 0; i < m->name_count; i++)
        if (m->names[i].raw == raw)
            return m->names[i].safe;
    m->names = xrealloc(m->names, m->name_count + 1, sizeof *m->names);
    m->names[m->name_count] = (struct sym_file_name){raw, sym_safe_name_dup(raw)};
    return m->names[m->name_count++].safe;
}

/* The unit that holds `addr`: by .debug_aranges, and where the compiler wrote none (clang), by
 * asking each unit. */
static Dwarf_Die *unit_of(Dwarf *dw, Dwarf_Addr addr, Dwarf_Die *mem)
{
    Dwarf_Off at = 0, next;
    size_t header;

    if (dwarf_addrdie(dw, addr, mem))
        return mem;
    for (unsigned i = 0; i < UNITS_MAX; i++, at = next) {
        if (dwarf_nextcu(dw, at, &next, &header, NULL, NULL, NULL) || next <= at)
            return NULL;
        if (dwarf_offdie(dw, at + header, mem) && dwarf_haspc(mem, addr) == 1)
            return mem;
    }
    return NULL;
}

static bool line_in_image(struct sym_image *m, uint64_t addr, const char **file, int *line)
{
    Dwarf_Die mem, *unit = unit_of(m->dwarf, addr, &mem);
    Dwarf_Line *l = unit ? dwarf_getsrc_die(unit, addr) : NULL;
    const char *raw = l ? dwarf_linesrc(l, NULL, NULL) : NULL;

    if (!raw || dwarf_lineno(l, line) || *line <= 0)
        return false;
    *file = safe_name(m, raw);
    return true;
}

bool symbols_line(const struct symbols *t, uint64_t addr, const char **file, int *line)
{
    pthread_mutex_t *lock = (pthread_mutex_t *)(uintptr_t)&t->dwarf_lock;
    bool found = false;

    *file = NULL;
    *line = 0;
    BUG_ON(pthread_mutex_lock(lock) != 0);
    for (struct sym_image *m = t->images; m && !found; m = m->next) {
        uint64_t at = addr - (uint64_t)m->slide;

        if (m->dwarf && at >= m->low && at < m->high)
            found = line_in_image(m, at, file, line);
    }
    BUG_ON(pthread_mutex_unlock(lock) != 0);
    return found;
}

/* Whether `raw` is `file` or ends in "/file". */
static bool names_file(const char *raw, const char *file)
{
    size_t have = strlen(raw), want = strlen(file);

    return have >= want && !strcmp(raw + have - want, file) &&
           (have == want || raw[have - want - 1] == '/');
}

/* The best line of one unit: the lowest number from `line` on, and of those the lowest address.
 * *best is 0 before the first find. */
static void line_addr_in_unit(Dwarf_Die *unit, const char *file, int line, int *best,
                              uint64_t *addr)
{
    const char *last = NULL;
    Dwarf_Lines *lines;
    bool named = false;
    size_t n;

    if (dwarf_getsrclines(unit, &lines, &n))
        return;
    for (size_t i = 0; i < n; i++) {
        Dwarf_Line *l = dwarf_onesrcline(lines, i);
        const char *raw = l ? dwarf_linesrc(l, NULL, NULL) : NULL;
        bool is_stmt = false;
        Dwarf_Addr at;
        int no;

        if (!raw || dwarf_lineno(l, &no) || no < line || no <= 0 || (*best && no > *best))
            continue;
        if (raw != last)
            named = names_file(raw, file);
        last = raw;
        if (!named || dwarf_lineaddr(l, &at) || dwarf_linebeginstatement(l, &is_stmt) || !is_stmt)
            continue;
        if (!*best || no < *best || at < *addr) {
            *best = no;
            *addr = at;
        }
    }
}

/* Not dwarf_getsrc_file: elfutils 0.188 leaks in it when a line table is broken. */
static bool line_addr_in_image(const struct sym_image *m, const char *file, int line,
                               uint64_t *addr)
{
    Dwarf_Off at = 0, next;
    size_t header;
    int best = 0;

    for (unsigned i = 0; i < UNITS_MAX; i++, at = next) {
        Dwarf_Die unit;

        if (dwarf_nextcu(m->dwarf, at, &next, &header, NULL, NULL, NULL) || next <= at)
            break;
        if (dwarf_offdie(m->dwarf, at + header, &unit))
            line_addr_in_unit(&unit, file, line, &best, addr);
    }
    return best != 0;
}

bool symbols_line_addr(const struct symbols *t, const char *file, int line, uint64_t *addr)
{
    pthread_mutex_t *lock = (pthread_mutex_t *)(uintptr_t)&t->dwarf_lock;
    bool found = false;

    *addr = 0;
    BUG_ON(pthread_mutex_lock(lock) != 0);
    for (const struct sym_image *m = t->images; m && !found; m = m->next)
        if (m->dwarf && line_addr_in_image(m, file, line, addr)) {
            *addr += (uint64_t)m->slide;
            found = true;
        }
    BUG_ON(pthread_mutex_unlock(lock) != 0);
    return found;
}
