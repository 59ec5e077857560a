/*
 * The page walk in software. One decoder classifies an entry for both uses: walking one address
 * with every entry kept, and listing all that is mapped. Tables are the guest's and hostile:
 * nothing here recurses deeper than the paging mode has levels. Any thread.
 */
#include "vmm/walk.h"

#include <stdio.h>
#include <string.h>

#include "vmm/base/le.h"
#include "vmm/mem.h"
#include "vmm/x86_bits.h"

#define ADDR_52 0x000ffffffffff000ull

/* Shape of each mode: index `bits` of level n start at bit 12 + (n - 1) * bits, but PAE's top
 * level has only 2. */
static const struct shape {
    uint8_t levels, entry_bytes, bits, top_bits, linear_bits;
} shapes[] = {
    [PAGING_NONE] = {0, 0, 0, 0, 64},   [PAGING_32] = {2, 4, 10, 10, 32},
    [PAGING_PAE] = {3, 8, 9, 2, 32},    [PAGING_4LEVEL] = {4, 8, 9, 9, 48},
    [PAGING_5LEVEL] = {5, 8, 9, 9, 57},
};

enum entry_kind { ENTRY_ABSENT, ENTRY_RESERVED, ENTRY_TABLE, ENTRY_PAGE };

/* What a walk knows on its way down. */
struct decoder {
    const struct shape *shape;
    enum paging_mode mode;
    unsigned maxphyaddr;
    bool nxe, pse, pge;
};

struct rights {
    bool writable, user, executable, accessed;
};

enum paging_mode walk_mode(const struct walk_regs *r)
{
    if (!(r->cr0 & CR0_PG))
        return PAGING_NONE;
    if (r->efer & EFER_LMA)
        return r->cr4 & CR4_LA57 ? PAGING_5LEVEL : PAGING_4LEVEL;
    return r->cr4 & CR4_PAE ? PAGING_PAE : PAGING_32;
}

static struct decoder decoder_of(const struct walk_regs *r)
{
    enum paging_mode mode = walk_mode(r);
    unsigned max = r->maxphyaddr;

    return (struct decoder){
        .shape = &shapes[mode],
        .mode = mode,
        .maxphyaddr = max < 32 || max > 52 ? 52 : max,
        .nxe = r->efer & EFER_NXE,
        .pse = r->cr4 & CR4_PSE,
        .pge = r->cr4 & CR4_PGE,
    };
}

static uint64_t root_of(const struct decoder *d, uint64_t cr3)
{
    if (d->mode == PAGING_PAE)
        return cr3 & 0xffffffe0u;
    return d->mode == PAGING_32 ? cr3 & 0xfffff000u : cr3 & ADDR_52;
}

static unsigned level_shift(const struct decoder *d, unsigned level)
{
    return 12 + (level - 1) * d->shape->bits;
}

static unsigned level_entries(const struct decoder *d, unsigned level)
{
    return 1u << (level == d->shape->levels ? d->shape->top_bits : d->shape->bits);
}

/* Bits [low, high] set; high below 64. */
static uint64_t bits(unsigned low, unsigned high)
{
    return high < low ? 0 : (UINT64_MAX >> (63 - high)) & (UINT64_MAX << low);
}

static bool is_page(const struct decoder *d, unsigned level, uint64_t entry)
{
    if (level == 1)
        return true;
    if (!(entry & PTE_PS))
        return false;
    if (d->mode == PAGING_32)
        return d->pse;
    return level == 2 || (level == 3 && d->mode != PAGING_PAE);
}

/* Reserved bits of a present entry: SDM 3A, tables 4-4 to 4-19. */
static uint64_t reserved_bits(const struct decoder *d, unsigned level, bool page)
{
    uint64_t r = 0;

    if (d->mode == PAGING_32) {
        unsigned max = d->maxphyaddr < 40 ? d->maxphyaddr : 40;

        /* PSE-36: bits 13 and up of a 4 MiB entry are address bits 32 and up. */
        return page && level == 2 ? bits(max - 19, 21) : 0;
    }
    r = bits(d->maxphyaddr, d->mode == PAGING_PAE ? 62 : 51);
    /* Of a directory pointer bit 5 is reserved, too, when CR3 is loaded; then processors no longer
     * look at it, and an emulated one (QEMU's) sets it as Accessed. */
    if (d->mode == PAGING_PAE && level == 3)
        return r | PTE_NX | bits(1, 2) | bits(6, 8);
    if (!d->nxe)
        r |= PTE_NX;
    if (level >= 4)
        r |= PTE_PS;
    if (page && level > 1)
        r |= bits(13, level_shift(d, level) - 1);
    return r;
}

/* `addr` becomes the next table or the page. */
static enum entry_kind decode(const struct decoder *d, unsigned level, uint64_t entry,
                              uint64_t *addr)
{
    bool page = is_page(d, level, entry);

    *addr = 0;
    if (!(entry & PTE_P))
        return ENTRY_ABSENT;
    if (entry & reserved_bits(d, level, page))
        return ENTRY_RESERVED;
    *addr = entry & ADDR_52;
    if (page && level > 1) {
        *addr &= ~bits(0, level_shift(d, level) - 1);
        if (d->mode == PAGING_32)
            *addr = (entry & 0xffc00000u) | (entry >> 13 & 0xff) << 32;
    }
    return page ? ENTRY_PAGE : ENTRY_TABLE;
}

static void narrow(const struct decoder *d, unsigned level, uint64_t entry, struct rights *r)
{
    /* A PAE directory pointer carries no rights and no Accessed bit. */
    if (d->mode == PAGING_PAE && level == 3)
        return;
    r->writable &= !!(entry & PTE_W);
    r->user &= !!(entry & PTE_U);
    r->accessed &= !!(entry & PTE_A);
    if (d->nxe && d->shape->entry_bytes == 8)
        r->executable &= !(entry & PTE_NX);
}

static bool linear_is_valid(const struct decoder *d, uint64_t linear)
{
    unsigned width = d->shape->linear_bits;

    if (width == 64)
        return true;
    if (width == 32)
        return linear >> 32 == 0;
    return linear >> (width - 1) == 0 || linear >> (width - 1) == UINT64_MAX >> (width - 1);
}

static bool read_entry(const struct mem *m, struct walk_step *s)
{
    uint8_t raw[8] = {0};

    if (mem_read(m, s->entry_gpa, raw, s->entry_size) != s->entry_size)
        return false;
    s->entry = le_load(raw, s->entry_size);
    return true;
}

static void finish(const struct decoder *d, const struct walk_step *leaf, uint64_t base,
                   uint64_t linear, struct walk *out)
{
    uint64_t offset_mask = bits(0, level_shift(d, leaf->level) - 1);

    out->result = WALK_OK;
    out->page_bytes = offset_mask + 1;
    out->gpa = base | (linear & offset_mask);
    out->dirty = leaf->entry & PTE_D;
    out->global = d->pge && (leaf->entry & PTE_G);
}

void walk(const struct mem *m, const struct walk_regs *r, uint64_t linear, struct walk *out)
{
    struct decoder d = decoder_of(r);
    struct rights rights = {true, true, true, true};
    uint64_t table = root_of(&d, r->cr3);

    *out = (struct walk){.mode = d.mode};
    if (d.mode == PAGING_NONE) {
        *out = (struct walk){.mode = d.mode,
                             .gpa = linear,
                             .page_bytes = PAGE_BYTES,
                             .writable = true,
                             .user = true,
                             .executable = true};
        return;
    }
    out->result = WALK_NON_CANONICAL;
    if (!linear_is_valid(&d, linear))
        return;
    for (unsigned level = d.shape->levels; level > 0; level--) {
        struct walk_step *s = &out->step[out->steps++];
        uint64_t index = linear >> level_shift(&d, level) & (level_entries(&d, level) - 1);
        enum entry_kind kind;

        s->level = (uint8_t)level;
        s->entry_size = d.shape->entry_bytes;
        s->entry_gpa = table + index * s->entry_size;
        out->result = WALK_TABLE_NOT_RAM;
        if (!read_entry(m, s))
            return;
        kind = decode(&d, level, s->entry, &table);
        out->result = kind == ENTRY_ABSENT ? WALK_NOT_PRESENT : WALK_RESERVED_BIT;
        if (kind == ENTRY_ABSENT || kind == ENTRY_RESERVED)
            return;
        narrow(&d, level, s->entry, &rights);
        out->writable = rights.writable;
        out->user = rights.user;
        out->executable = rights.executable;
        out->accessed = rights.accessed;
        if (kind == ENTRY_PAGE) {
            finish(&d, s, table, linear, out);
            return;
        }
    }
}

/* The same walk for those who want the address alone, many times a millisecond. */
static bool descend(const struct mem *m, const struct walk_regs *r, uint64_t linear, uint64_t *gpa,
                    uint64_t *page_bytes)
{
    struct decoder d = decoder_of(r);
    uint64_t at = root_of(&d, r->cr3);

    *gpa = linear;
    *page_bytes = PAGE_BYTES;
    if (d.mode == PAGING_NONE)
        return true;
    if (!linear_is_valid(&d, linear))
        return false;
    for (unsigned level = d.shape->levels; level > 0; level--) {
        uint64_t index = linear >> level_shift(&d, level) & (level_entries(&d, level) - 1);
        unsigned size = d.shape->entry_bytes;
        const uint8_t *raw = mem_ptr(m, at + index * size, size);

        if (!raw)
            return false;
        switch (decode(&d, level, le_load(raw, size), &at)) {
        case ENTRY_TABLE:
            break;
        case ENTRY_PAGE:
            *page_bytes = 1ull << level_shift(&d, level);
            *gpa = at | (linear & (*page_bytes - 1));
            return true;
        default:
            return false;
        }
    }
    return false;
}

bool walk_gpa(const struct mem *m, const struct walk_regs *r, uint64_t linear, uint64_t *gpa)
{
    uint64_t page_bytes;

    return descend(m, r, linear, gpa, &page_bytes);
}

/* ---- copies ------------------------------------------------------------------------------ */

/* How much of [linear, linear+len) lies in one page. */
static size_t page_rest(uint64_t page_bytes, uint64_t linear, size_t len)
{
    uint64_t rest = page_bytes - (linear & (page_bytes - 1));

    return rest < len ? (size_t)rest : len;
}

static size_t copy(const struct mem *m, struct mem *wm, const struct walk_regs *r, uint64_t linear,
                   uint8_t *dst, const uint8_t *src, size_t len)
{
    size_t done = 0;

    while (done < len) {
        uint64_t gpa, page_bytes;
        size_t part, got;

        if (!descend(m, r, linear + done, &gpa, &page_bytes) || linear + done < linear)
            break;
        part = page_rest(page_bytes, linear + done, len - done);
        got = dst ? mem_read(m, gpa, dst + done, part) : mem_write(wm, gpa, src + done, part);
        done += got;
        if (got < part)
            break;
    }
    return done;
}

size_t walk_read(const struct mem *m, const struct walk_regs *r, uint64_t linear, void *dst,
                 size_t len_bytes)
{
    return len_bytes ? copy(m, NULL, r, linear, dst, NULL, len_bytes) : 0;
}

size_t walk_write(struct mem *m, const struct walk_regs *r, uint64_t linear, const void *src,
                  size_t len_bytes)
{
    return len_bytes ? copy(m, m, r, linear, NULL, src, len_bytes) : 0;
}

/* ---- all that is mapped ------------------------------------------------------------------ */

struct lister {
    const struct mem *m;
    struct decoder d;
    uint64_t budget; /* entries that may still be read */
    bool (*fn)(void *arg, const struct walk_range *range);
    void *arg;
    struct walk_range open; /* being merged; empty when len_bytes is 0 */
    bool stopped, cut;
};

static void flush(struct lister *l)
{
    if (l->open.len_bytes && !l->fn(l->arg, &l->open))
        l->stopped = true;
    l->open.len_bytes = 0;
}

static void add_page(struct lister *l, const struct walk_range *p)
{
    struct walk_range *o = &l->open;

    if (o->len_bytes && o->linear + o->len_bytes == p->linear && o->gpa + o->len_bytes == p->gpa &&
        o->page_bytes == p->page_bytes && o->writable == p->writable && o->user == p->user &&
        o->executable == p->executable && o->global == p->global) {
        o->len_bytes += p->len_bytes;
        return;
    }
    flush(l);
    *o = *p;
}

/* Bits above the translated ones repeat the highest of them. */
static uint64_t sign_extend(const struct decoder *d, uint64_t linear)
{
    unsigned width = d->shape->linear_bits;

    if (width > 32 && linear >> (width - 1) & 1)
        linear |= UINT64_MAX << width;
    return linear;
}

static void list_table(struct lister *l, unsigned level, uint64_t table, uint64_t linear,
                       struct rights rights)
{
    const struct decoder *d = &l->d;
    unsigned entries = level_entries(d, level), size = d->shape->entry_bytes;
    uint8_t raw[PAGE_BYTES];
    size_t got = mem_read(l->m, table, raw, entries * size);

    for (unsigned i = 0; i < entries && (i + 1) * size <= got && !l->stopped; i++) {
        uint64_t entry = le_load(raw + i * size, size), addr;
        uint64_t at = linear | (uint64_t)i << level_shift(d, level);
        struct rights below = rights;

        if (l->budget == 0) {
            l->cut = l->stopped = true;
            return;
        }
        l->budget--;
        enum entry_kind kind = decode(d, level, entry, &addr);

        if (kind == ENTRY_ABSENT || kind == ENTRY_RESERVED)
            continue;
        narrow(d, level, entry, &below);
        if (kind == ENTRY_TABLE) {
            list_table(l, level - 1, addr, at, below);
            continue;
        }
        uint64_t page_bytes = 1ull << level_shift(d, level);

        add_page(l, &(struct walk_range){.linear = sign_extend(d, at),
                                         .gpa = addr,
                                         .len_bytes = page_bytes,
                                         .page_bytes = page_bytes,
                                         .writable = below.writable,
                                         .user = below.user,
                                         .executable = below.executable,
                                         .global = d->pge && (entry & PTE_G)});
    }
}

bool walk_ranges(const struct mem *m, const struct walk_regs *r, uint64_t max_entries,
                 bool (*fn)(void *arg, const struct walk_range *range), void *arg)
{
    struct lister l = {.m = m, .d = decoder_of(r), .budget = max_entries, .fn = fn, .arg = arg};

    if (l.d.mode == PAGING_NONE) {
        l.open = (struct walk_range){.len_bytes = 1ull << 32,
                                     .page_bytes = PAGE_BYTES,
                                     .writable = true,
                                     .user = true,
                                     .executable = true};
    } else {
        list_table(&l, l.d.shape->levels, root_of(&l.d, r->cr3), 0,
                   (struct rights){true, true, true, true});
    }
    if (!l.stopped || l.cut)
        flush(&l);
    return !l.cut;
}

/* ---- names ------------------------------------------------------------------------------- */

const char *walk_mode_name(enum paging_mode mode)
{
    static const char *const names[] = {
        [PAGING_NONE] = "off",       [PAGING_32] = "32-bit",      [PAGING_PAE] = "PAE",
        [PAGING_4LEVEL] = "4-level", [PAGING_5LEVEL] = "5-level",
    };

    return (unsigned)mode < sizeof names / sizeof names[0] ? names[mode] : "?";
}

const char *walk_result_name(enum walk_result result)
{
    static const char *const names[] = {
        [WALK_OK] = "mapped",
        [WALK_NOT_PRESENT] = "not present",
        [WALK_RESERVED_BIT] = "a reserved bit is set",
        [WALK_NON_CANONICAL] = "the address is not canonical",
        [WALK_TABLE_NOT_RAM] = "the table is not in memory",
    };

    return (unsigned)result < sizeof names / sizeof names[0] ? names[result] : "?";
}

const char *walk_level_name(enum paging_mode mode, unsigned level)
{
    static const char *const names[] = {"?", "PT", "PD", "PDPT", "PML4", "PML5"};

    return (unsigned)mode <= PAGING_5LEVEL && level <= shapes[mode].levels ? names[level] : "?";
}
