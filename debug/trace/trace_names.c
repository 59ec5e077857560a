/*
 * Names of ports, registers and code, kept apart from the machine that has them.
 */
#include "debug/trace/trace_names.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "debug/session.h"
#include "debug/symbols/sym.h"
#include "disasm/disasm.h"
#include "vmm/assist.h"
#include "vmm/base/esc.h"
#include "vmm/base/x.h"
#include "vmm/vm.h"

/* A register table of a memory device is at most so long; larger ranges (frame buffers) have no
 * registers worth a name behind it. */
#define REGS_BYTES_MAX 0x4000u
#define SYMBOLS_MAX    4000000u
#define NAME_MAX_BYTES 500u

struct reg_entry {
    uint64_t addr;
    uint8_t write;
    uint32_t dev, reg; /* offsets in text; 0: none */
};

struct range_entry {
    uint64_t gpa, len;
    uint32_t dev;
};

struct sym_entry {
    uint64_t addr, size;
    uint32_t name;
    bool function;
};

struct trace_names {
    struct buf text; /* NUL-terminated names; offset 0 is "" */
    struct reg_entry *port, *mmio;
    size_t ports, port_cap, mmios, mmio_cap;
    struct range_entry *range;
    size_t ranges, range_cap;
    struct sym_entry *sym;
    size_t syms, sym_cap;
    struct names_live live;
    uint32_t dev[MACHINE_DEVS_MAX]; /* names by number */
};

struct trace_names *names_new(void)
{
    struct trace_names *n = xcalloc(1, sizeof *n);

    buf_addc(&n->text, 0);
    return n;
}

void names_free(struct trace_names *n)
{
    if (!n)
        return;
    buf_fini(&n->text);
    free(n->port);
    free(n->mmio);
    free(n->range);
    free(n->sym);
    free(n);
}

/* ---- building -------------------------------------------------------------------------------- */

static uint32_t add_text(struct trace_names *n, const char *text)
{
    size_t at = n->text.len;

    if (!text || !*text || at > UINT32_MAX / 2)
        return 0;
    buf_add(&n->text, text, strlen(text) + 1);
    return (uint32_t)at;
}

static void *more(void *items, size_t count, size_t *cap, size_t size)
{
    if (count < *cap)
        return items;
    *cap = *cap ? 2 * *cap : 64;
    return xrealloc(items, *cap, size);
}

static void add_reg(struct trace_names *n, bool port, uint64_t addr, bool write, const char *dev,
                    const char *reg)
{
    struct reg_entry e = {
        .addr = addr, .write = write, .dev = add_text(n, dev), .reg = add_text(n, reg)};

    if (port) {
        n->port = more(n->port, n->ports, &n->port_cap, sizeof e);
        n->port[n->ports++] = e;
    } else {
        n->mmio = more(n->mmio, n->mmios, &n->mmio_cap, sizeof e);
        n->mmio[n->mmios++] = e;
    }
}

static void add_range(struct trace_names *n, uint64_t gpa, uint64_t len, const char *dev)
{
    n->range = more(n->range, n->ranges, &n->range_cap, sizeof *n->range);
    n->range[n->ranges++] = (struct range_entry){gpa, len, add_text(n, dev)};
}

static void add_symbol(struct trace_names *n, uint64_t addr, uint64_t size, bool function,
                       const char *name)
{
    if (n->syms >= SYMBOLS_MAX)
        return;
    n->sym = more(n->sym, n->syms, &n->sym_cap, sizeof *n->sym);
    n->sym[n->syms++] = (struct sym_entry){addr, size, add_text(n, name), function};
}

static bool add_dev(struct trace_names *n, uint64_t id, const char *name)
{
    if (id >= ARRAY_LEN(n->dev))
        return false;
    n->dev[id] = add_text(n, name);
    return true;
}

static int by_reg(const void *a, const void *b)
{
    const struct reg_entry *x = a, *y = b;

    return x->addr != y->addr ? (x->addr < y->addr ? -1 : 1) : x->write - y->write;
}

/* The wider one first, so that the innermost is met first from behind. */
static int by_addr(const void *a, const void *b)
{
    const struct sym_entry *x = a, *y = b;

    if (x->addr != y->addr)
        return x->addr < y->addr ? -1 : 1;
    if (x->size != y->size)
        return x->size > y->size ? -1 : 1;
    return x->name < y->name ? -1 : x->name > y->name;
}

static void sort(struct trace_names *n)
{
    if (n->ports)
        qsort(n->port, n->ports, sizeof *n->port, by_reg);
    if (n->mmios)
        qsort(n->mmio, n->mmios, sizeof *n->mmio, by_reg);
    if (n->syms)
        qsort(n->sym, n->syms, sizeof *n->sym, by_addr);
}

void names_set_symbols(struct trace_names *n, const struct symbols *t)
{
    n->syms = 0;
    for (size_t i = 0; i < symbols_count(t); i++) {
        const struct symbol *s = symbols_at(t, i);

        add_symbol(n, s->addr, s->size, s->is_function, s->name);
    }
    sort(n);
}

static void machine_names(struct trace_names *n, struct machine *m)
{
    for (unsigned i = 0; i < m->devs; i++)
        add_dev(n, i, m->dev[i].ops->name);
    for (unsigned p = 0; p < BUS_PORTS; p++) {
        struct dev *d = bus_port_dev(m, (uint16_t)p);

        for (int w = 0; d && w < 2; w++)
            add_reg(n, true, p, w, d->ops->name,
                    d->ops->reg_name ? d->ops->reg_name(d, p, w) : NULL);
    }
    for (unsigned i = 0; i < m->bus.ranges; i++) {
        struct dev *d = m->bus.range[i].dev;
        uint64_t len = m->bus.range[i].len_bytes;

        add_range(n, m->bus.range[i].gpa, len, d->ops->name);
        for (uint64_t off = 0; d->ops->reg_name && off < len && off < REGS_BYTES_MAX; off += 4) {
            for (int w = 0; w < 2; w++) {
                const char *reg = d->ops->reg_name(d, off, w);

                if (reg)
                    add_reg(n, false, m->bus.range[i].gpa + off, w, d->ops->name, reg);
            }
        }
    }
}

struct trace_names *names_of_machine(struct session *s)
{
    struct trace_names *n = names_new();
    struct machine *m = &session_vm(s)->m;

    pthread_mutex_lock(&m->lock);
    machine_names(n, m);
    pthread_mutex_unlock(&m->lock);
    sort(n);
    return n;
}

static void *copy_of(const void *items, size_t count, size_t size)
{
    void *copy = count ? xmalloc(count * size) : NULL;

    if (count)
        memcpy(copy, items, count * size);
    return copy;
}

struct trace_names *names_with_symbols(const struct trace_names *n, const struct symbols *t)
{
    struct trace_names *c = xcalloc(1, sizeof *c);

    buf_add(&c->text, n->text.data, n->text.len);
    c->port = copy_of(n->port, n->ports, sizeof *n->port);
    c->ports = c->port_cap = n->ports;
    c->mmio = copy_of(n->mmio, n->mmios, sizeof *n->mmio);
    c->mmios = c->mmio_cap = n->mmios;
    c->range = copy_of(n->range, n->ranges, sizeof *n->range);
    c->ranges = c->range_cap = n->ranges;
    c->live = n->live;
    memcpy(c->dev, n->dev, sizeof c->dev);
    names_set_symbols(c, t);
    return c;
}

void names_set_live(struct trace_names *n, const struct names_live *live)
{
    n->live = *live;
}

/* ---- look-ups -------------------------------------------------------------------------------- */

static const struct reg_entry *find_reg(const struct reg_entry *list, size_t count, uint64_t addr,
                                        bool write)
{
    struct reg_entry want = {.addr = addr, .write = write};

    return count ? bsearch(&want, list, count, sizeof *list, by_reg) : NULL;
}

static const struct reg_entry *reg_of(const struct trace_names *n, const struct exit_event *ev)
{
    if (ev->reason == KVM_EXIT_IO)
        return find_reg(n->port, n->ports, ev->u.io.port, ev->u.io.write);
    if (ev->reason == KVM_EXIT_MMIO)
        return find_reg(n->mmio, n->mmios, ev->u.mmio.gpa, ev->u.mmio.write != 0);
    return NULL;
}

const char *names_dev(const struct trace_names *n, const struct exit_event *ev)
{
    const struct reg_entry *r = reg_of(n, ev);

    if (r)
        return n->text.data + r->dev;
    if (ev->reason == EXIT_DEVICE && ev->u.device.id < ARRAY_LEN(n->dev) && n->dev[ev->u.device.id])
        return n->text.data + n->dev[ev->u.device.id];
    for (size_t i = 0; ev->reason == KVM_EXIT_MMIO && i < n->ranges; i++)
        if (ev->u.mmio.gpa - n->range[i].gpa < n->range[i].len)
            return n->text.data + n->range[i].dev;
    return NULL;
}

const char *names_reg(const struct trace_names *n, const struct exit_event *ev)
{
    const struct reg_entry *r = reg_of(n, ev);

    return r && r->reg ? n->text.data + r->reg : names_dev(n, ev);
}

const char *names_assisted(const struct exit_event *ev, char *dst, size_t cap)
{
    struct disasm *d = disasm_new();
    const char *kind = assist_name(ev->u.assist.what);
    struct insn in = {.effects = INSN_BAD};

    if (ev->u.assist.insn_len && ev->u.assist.insn_len <= sizeof ev->u.assist.insn &&
        ev->mode < CPU_MODES)
        disasm_one(d, cpu_mode_bits((enum cpu_mode)ev->mode), ev->cs_base + ev->rip,
                   ev->u.assist.insn, ev->u.assist.insn_len, &in);
    if (in.effects & INSN_BAD)
        snprintf(dst, cap, "%s", kind ? kind : "instruction");
    else
        snprintf(dst, cap, "%s%s%s", in.mnemonic, in.operands[0] ? " " : "", in.operands);
    disasm_free(d);
    return dst;
}

static void add_callers(const struct trace_names *n, const struct exit_stack *s, struct buf *out)
{
    char name[200];

    for (unsigned i = 0; i < s->count && i < ARRAY_LEN(s->frame); i++) {
        buf_adds(out, i ? ", " : s->first ? "\u2026 from " : "called from ");
        if (names_place(n, s->frame[i], false, name, sizeof name)[0])
            buf_adds(out, name);
        else
            buf_addf(out, "0x%" PRIx64, s->frame[i]);
    }
}

void names_what(const struct trace_names *n, const struct exit_event *ev, struct buf *out)
{
    char text[200];

    if (n->live.what && n->live.what(n->live.arg, ev, out))
        return;
    if (ev->reason == EXIT_STACK) {
        add_callers(n, &ev->u.stack, out);
        return;
    }
    exit_format(
        ev, ev->reason == EXIT_ASSIST ? names_assisted(ev, text, sizeof text) : names_reg(n, ev),
        out);
}

const char *names_symbol(const struct trace_names *n, uint64_t addr, uint64_t *start)
{
    size_t low = 0, high = n->syms;

    while (low < high) {
        size_t mid = low + (high - low) / 2;

        if (n->sym[mid].addr <= addr)
            low = mid + 1;
        else
            high = mid;
    }
    /* A function that ended before may lie inside a wider one; so many deep they do not nest. */
    for (size_t i = low, tried = 0; i-- && tried < 64; tried++) {
        const struct sym_entry *e = &n->sym[i];

        if (addr - e->addr < e->size) {
            *start = e->addr;
            return n->text.data + e->name;
        }
    }
    if (low && !n->sym[low - 1].size && n->sym[low - 1].name) {
        *start = n->sym[low - 1].addr;
        return n->text.data + n->sym[low - 1].name;
    }
    return NULL;
}

const char *names_place(const struct trace_names *n, uint64_t addr, bool past, char *dst,
                        size_t cap)
{
    uint64_t start;
    const char *name = names_symbol(n, addr - (past ? 1 : 0), &start);

    if (!name)
        dst[0] = 0;
    else if (addr == start)
        snprintf(dst, cap, "%s", name);
    else
        snprintf(dst, cap, "%s+0x%" PRIx64, name, addr - start);
    return dst;
}

bool names_address(const struct trace_names *n, const char *name, uint64_t *addr)
{
    for (size_t i = 0; i < n->syms; i++) {
        if (!strcmp(n->text.data + n->sym[i].name, name)) {
            *addr = n->sym[i].addr;
            return true;
        }
    }
    return false;
}

/* ---- as text --------------------------------------------------------------------------------- */

/* One line each, fields parted by tabs: D number 0 dev; P port write dev reg; M gpa write dev reg;
 * R gpa len dev; S addr size function name. Numbers are hexadecimal. */
void names_save(const struct trace_names *n, struct buf *out)
{
    const char *t = n->text.data;

    for (size_t i = 0; i < ARRAY_LEN(n->dev); i++)
        if (n->dev[i])
            buf_addf(out, "D\t%zx\t0\t%s\n", i, t + n->dev[i]);
    for (size_t i = 0; i < n->ports; i++)
        buf_addf(out, "P\t%" PRIx64 "\t%u\t%s\t%s\n", n->port[i].addr, n->port[i].write,
                 t + n->port[i].dev, t + n->port[i].reg);
    for (size_t i = 0; i < n->mmios; i++)
        buf_addf(out, "M\t%" PRIx64 "\t%u\t%s\t%s\n", n->mmio[i].addr, n->mmio[i].write,
                 t + n->mmio[i].dev, t + n->mmio[i].reg);
    for (size_t i = 0; i < n->ranges; i++)
        buf_addf(out, "R\t%" PRIx64 "\t%" PRIx64 "\t%s\n", n->range[i].gpa, n->range[i].len,
                 t + n->range[i].dev);
    for (size_t i = 0; i < n->syms; i++)
        buf_addf(out, "S\t%" PRIx64 "\t%" PRIx64 "\t%u\t%s\n", n->sym[i].addr, n->sym[i].size,
                 n->sym[i].function, t + n->sym[i].name);
}

#define FIELDS_MAX 5

/* Splits a line (changed in place) at tabs. */
static unsigned split(char *line, char *field[FIELDS_MAX])
{
    unsigned count = 0;

    while (count < FIELDS_MAX) {
        field[count++] = line;
        line = strchr(line, '\t');
        if (!line)
            break;
        *line++ = 0;
    }
    return count;
}

static bool hex(const char *text, uint64_t *v)
{
    char *end;

    if (!*text || *text == '-')
        return false;
    *v = strtoull(text, &end, 16);
    return !*end;
}

static const char *safe(const char *text, struct buf *tmp)
{
    size_t len = strlen(text);

    buf_clear(tmp);
    esc_line(tmp, text, len > NAME_MAX_BYTES ? NAME_MAX_BYTES : len);
    return buf_str(tmp);
}

static bool load_line(struct trace_names *n, char *line, struct buf *dev, struct buf *name)
{
    char *f[FIELDS_MAX];
    unsigned count = split(line, f);
    uint64_t a, b;

    if (count < 4 || f[0][1] || !hex(f[1], &a) || !hex(f[2], &b))
        return false;
    switch (f[0][0]) {
    case 'P':
    case 'M':
        if (count < 5)
            return false;
        add_reg(n, f[0][0] == 'P', a, b != 0, safe(f[3], dev), safe(f[4], name));
        return true;
    case 'D':
        return add_dev(n, a, safe(f[3], dev));
    case 'R':
        add_range(n, a, b, safe(f[3], dev));
        return true;
    case 'S':
        if (count < 5)
            return false;
        add_symbol(n, a, b, f[3][0] == '1', safe(f[4], name));
        return true;
    default:
        return false;
    }
}

bool names_load(struct trace_names *n, const char *text, size_t len)
{
    struct buf line = {0}, dev = {0}, name = {0};
    bool any = false;

    while (len) {
        const char *nl = memchr(text, '\n', len);
        size_t got = nl ? (size_t)(nl - text) : len;

        buf_clear(&line);
        buf_add(&line, text, got);
        /* A NUL inside would end a field early; such a line is no name of ours. */
        if (got && !memchr(text, 0, got))
            any |= load_line(n, line.data, &dev, &name);
        text += got + (nl ? 1 : 0);
        len -= got + (nl ? 1 : 0);
    }
    buf_fini(&line);
    buf_fini(&dev);
    buf_fini(&name);
    sort(n);
    return any;
}

const char *names_place_now(const struct trace_names *n, const struct exit_event *ev, char *dst,
                            size_t cap)
{
    uint64_t addr = ev->cs_base + ev->rip;

    names_place(n, addr, ev->flags & EXIT_F_PAST, dst, cap);
    if (!dst[0] && n->live.symbols)
        symbols_format(n->live.symbols, addr, dst, cap);
    return dst;
}
