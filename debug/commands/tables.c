/*
 * The processor's tables explained: page walk, mappings, GDT, IDT, TSS. Main thread.
 * Sources: Intel SDM volume 3, chapters "Paging", "Protected-Mode Memory Management",
 * "Interrupt and Exception Handling", "Task Management".
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "debug/commands/commands.h"
#include "vmm/base/le.h"
#include "vmm/base/x.h"
#include "vmm/x86_bits.h"

/* ---- info walk ---------------------------------------------------------------------------------
 */

struct bit_name {
    uint8_t bit;
    const char *set, *clear; /* clear: what it says when 0; NULL nothing */
};

static void add_bits(struct buf *b, uint64_t v, const struct bit_name *names, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const char *s = v >> names[i].bit & 1 ? names[i].set : names[i].clear;

        if (s)
            buf_addf(b, "%s%s", b->len ? " " : "", s);
    }
}

/* Flags of an entry in the words of the manual: P, R/W, U/S, PWT, PCD, A, D, PS, G, PAT, XD. */
static void entry_flags(const struct walk *w, const struct walk_step *step, bool is_leaf,
                        struct buf *b)
{
    static const struct bit_name common[] = {
        {0, "present", "NOT PRESENT"},
        {1, "writable", "read-only"},
        {2, "user", "supervisor"},
        {3, "PWT", NULL},
        {4, "PCD", NULL},
        {5, "accessed", NULL},
    };
    static const struct bit_name leaf[] = {{6, "dirty", NULL}, {8, "global", NULL}};
    static const struct bit_name pae_pdpt[] = {
        {0, "present", "NOT PRESENT"}, {3, "PWT", NULL}, {4, "PCD", NULL}};

    if (w->mode == PAGING_PAE && step->level == 3) {
        add_bits(b, step->entry, pae_pdpt, ARRAY_LEN(pae_pdpt));
        return;
    }
    add_bits(b, step->entry, common, step->entry & 1 ? ARRAY_LEN(common) : 1);
    if (!(step->entry & 1))
        return;
    if (is_leaf)
        add_bits(b, step->entry, leaf, ARRAY_LEN(leaf));
    if (step->level > 1 && step->entry & 0x80)
        buf_adds(b, step->level == 3        ? " 1G-page"
                    : step->entry_size == 4 ? " 4M-page"
                                            : " 2M-page");
    if (is_leaf && step->entry >> (step->level == 1 ? 7 : 12) & 1)
        buf_adds(b, " PAT");
    if (step->entry_size == 8 && step->entry >> 63)
        buf_adds(b, " no-execute");
    if (step->entry >> 9 & 7)
        buf_addf(b, " avl=%u", (unsigned)(step->entry >> 9 & 7));
    if (is_leaf && step->entry_size == 8 && w->mode >= PAGING_4LEVEL && step->entry >> 59 & 15)
        buf_addf(b, " key=%u", (unsigned)(step->entry >> 59 & 15));
}

/* Index into the table at this level. */
static unsigned entry_index(const struct walk *w, const struct walk_step *step)
{
    /* PAE's top table has 4 entries and is aligned to 32 bytes only. */
    unsigned table = w->mode == PAGING_PAE && step->level == 3 ? 32 : PAGE_BYTES;

    return (unsigned)(step->entry_gpa % table / step->entry_size);
}

static void walk_table(const struct walk *w, struct out *o)
{
    static const char *const columns[] = {"level",     ">index", "entry at", "entry",
                                          "points to", "flags",  NULL};

    out_table(o, "walk", NULL, columns);
    for (unsigned i = 0; i < w->steps; i++) {
        const struct walk_step *s = &w->step[i];
        bool is_leaf = s->level == 1 || (s->entry & 0x80 && s->level < 4 &&
                                         !(w->mode == PAGING_PAE && s->level == 3));
        struct buf flags = {0};

        out_row(o);
        out_cell(o, "%s", walk_level_name(w->mode, s->level));
        out_cell_u64(o, entry_index(w, s));
        out_cell_hex(o, s->entry_gpa);
        out_cell_hex(o, s->entry);
        if (w->result == WALK_OK && i + 1 == w->steps)
            out_cell_hex(o, w->gpa & ~(w->page_bytes - 1));
        else if (s->entry & 1)
            out_cell_hex(o, s->entry & (s->entry_size == 4 ? 0xfffff000 : 0x000ffffffffff000));
        else
            out_cell(o, "-");
        entry_flags(w, s, is_leaf && i + 1 == w->steps, &flags);
        out_cell(o, "%s", buf_str(&flags));
        buf_fini(&flags);
    }
    out_table_end(o);
}

static const char *page_size(uint64_t bytes, char dst[16])
{
    if (bytes >= 1u << 30)
        snprintf(dst, 16, "%" PRIu64 " GiB", bytes >> 30);
    else if (bytes >= 1u << 20)
        snprintf(dst, 16, "%" PRIu64 " MiB", bytes >> 20);
    else
        snprintf(dst, 16, "%" PRIu64 " KiB", bytes >> 10);
    return dst;
}

static void walk_verdict(struct cmd_client *c, uint64_t linear, const struct walk *w,
                         const struct walk_regs *regs, struct out *o)
{
    char size[16];

    (void)c;
    if (w->result != WALK_OK) {
        out_text(o, "0x%" PRIx64 " is not mapped: %s", linear, walk_result_name(w->result));
        return;
    }
    if (w->mode == PAGING_NONE) {
        out_text(o, "0x%" PRIx64 " is physical 0x%" PRIx64 ": paging is off", linear, w->gpa);
        return;
    }
    out_text(o, "0x%" PRIx64 " is physical 0x%" PRIx64 " in a page of %s: %s, %s, %s%s%s", linear,
             w->gpa, page_size(w->page_bytes, size),
             w->writable           ? "writable"
             : regs->cr0 & 0x10000 ? "read-only"
                                   : "read-only (but the kernel may write: CR0.WP is 0)",
             w->user ? "user" : "supervisor only", w->executable ? "executable" : "no-execute",
             w->global ? ", global" : "",
             w->dirty      ? ", dirty"
             : w->accessed ? ", accessed"
                           : "");
}

int cmd_info_walk_run(struct cmd_client *c, const char *args, struct out *o)
{
    struct walk_regs regs;
    struct walk w;
    struct location at;
    struct err e = {0};
    int r;

    if (cmd_location(c, args, &at, &e))
        return cmd_fail(o, &e);
    r = session_walk_regs(c->s, session_focus(c->s), &regs);
    if (!r)
        r = session_walk(c->s, session_focus(c->s), at.addr, &w);
    if (r) {
        out_error(o, "cannot walk 0x%" PRIx64 ": %s", at.addr, strerror(-r));
        return r;
    }
    out_text(o, "%s, CR3 0x%" PRIx64, walk_mode_name(w.mode), regs.cr3);
    out_json_str(o, "mode", walk_mode_name(w.mode));
    out_json_u64(o, "linear", at.addr);
    out_json_str(o, "result", walk_result_name(w.result));
    if (w.steps)
        walk_table(&w, o);
    walk_verdict(c, at.addr, &w, &regs, o);
    if (w.result == WALK_OK) {
        out_json_u64(o, "physical", w.gpa);
        out_json_u64(o, "page_bytes", w.page_bytes);
        out_json_bool(o, "writable", w.writable);
        out_json_bool(o, "user", w.user);
        out_json_bool(o, "executable", w.executable);
    }
    return 0;
}

/* ---- info tab ----------------------------------------------------------------------------------
 */

#define TAB_ENTRIES (1u << 22) /* table entries looked at */
#define TAB_ROWS    5000u

struct tab {
    struct out *o;
    unsigned rows;
};

static bool tab_row(void *arg, const struct walk_range *r)
{
    struct tab *t = arg;
    char size[16];

    if (t->rows++ >= TAB_ROWS)
        return false;
    out_row(t->o);
    out_cell(t->o, "0x%016" PRIx64 "-0x%016" PRIx64, r->linear, r->linear + r->len_bytes - 1);
    out_cell(t->o, "0x%" PRIx64 "-0x%" PRIx64, r->gpa, r->gpa + r->len_bytes - 1);
    out_cell_u64(t->o, r->len_bytes);
    out_cell(t->o, "%s", page_size(r->page_bytes, size));
    out_cell(t->o, "%s%c%c%s", r->user ? "u" : "s", r->writable ? 'w' : 'r',
             r->executable ? 'x' : '-', r->global ? " global" : "");
    return true;
}

int cmd_info_tab_run(struct cmd_client *c, const char *args, struct out *o)
{
    static const char *const columns[] = {"linear", "physical", ">bytes", ">page", "rights", NULL};
    struct tab t = {.o = o};
    struct walk_regs regs;
    int r = session_walk_regs(c->s, session_focus(c->s), &regs);
    bool whole;

    (void)args;
    if (r) {
        out_error(o, "cannot read the control registers: %s", strerror(-r));
        return r;
    }
    out_json_str(o, "mode", walk_mode_name(walk_mode(&regs)));
    if (walk_mode(&regs) == PAGING_NONE) {
        out_text(o, "Paging is off: every linear address is the physical one.");
        return 0;
    }
    out_text(o, "%s, CR3 0x%" PRIx64, walk_mode_name(walk_mode(&regs)), regs.cr3);
    out_table(o, "mappings", "Nothing is mapped.", columns);
    whole = walk_ranges(session_mem(c->s), &regs, TAB_ENTRIES, tab_row, &t);
    out_table_end(o);
    if (!whole || t.rows > TAB_ROWS)
        out_line(o, "The list is cut: there are more than %u ranges or %u table entries.", TAB_ROWS,
                 TAB_ENTRIES);
    return 0;
}

/* ---- descriptors
 * --------------------------------------------------------------------------------- */

struct cpu_tables {
    const struct kvm_sregs *s;
    bool is_long, is_real;
};

static int get_tables(struct cmd_client *c, struct cpu_tables *t, struct out *o)
{
    const struct vcpu_state *cpu = session_cpu(c->s, session_focus(c->s), VS_REGS | VS_SREGS);

    if (!cpu) {
        out_error(o, "the registers of vCPU %u cannot be read now", session_focus(c->s));
        return -EBUSY;
    }
    t->s = &cpu->sregs;
    t->is_long = cpu->sregs.efer & EFER_LMA;
    t->is_real = !(cpu->sregs.cr0 & 1);
    return 0;
}

static bool read_linear(struct cmd_client *c, uint64_t addr, void *dst, size_t len)
{
    return session_mem_read(c->s, session_focus(c->s), SPACE_LINEAR, addr, dst, len) ==
           (int64_t)len;
}

static const char *system_type(unsigned type, bool is_long)
{
    static const char *const legacy[] = {"reserved",
                                         "16-bit TSS (available)",
                                         "LDT",
                                         "16-bit TSS (busy)",
                                         "16-bit call gate",
                                         "task gate",
                                         "16-bit interrupt gate",
                                         "16-bit trap gate",
                                         "reserved",
                                         "32-bit TSS (available)",
                                         "reserved",
                                         "32-bit TSS (busy)",
                                         "32-bit call gate",
                                         "reserved",
                                         "32-bit interrupt gate",
                                         "32-bit trap gate"};
    static const char *const in_long[] = {"upper half",
                                          "reserved",
                                          "LDT",
                                          "reserved",
                                          "reserved",
                                          "reserved",
                                          "reserved",
                                          "reserved",
                                          "reserved",
                                          "64-bit TSS (available)",
                                          "reserved",
                                          "64-bit TSS (busy)",
                                          "64-bit call gate",
                                          "reserved",
                                          "64-bit interrupt gate",
                                          "64-bit trap gate"};

    return is_long ? in_long[type & 15] : legacy[type & 15];
}

static void segment_text(uint64_t d, struct buf *b)
{
    unsigned type = d >> 40 & 15;
    bool is_code = type & 8;

    buf_addf(b, "%s %s",
             d >> 53 & 1 && is_code ? "64-bit"
             : d >> 54 & 1          ? "32-bit"
                                    : "16-bit",
             is_code ? "code" : "data");
    if (is_code)
        buf_addf(b, ", %s%s", type & 2 ? "readable" : "execute-only",
                 type & 4 ? ", conforming" : "");
    else
        buf_addf(b, ", %s%s", type & 2 ? "writable" : "read-only",
                 type & 4 ? ", expands down" : "");
    if (type & 1)
        buf_adds(b, ", accessed");
}

static uint64_t descriptor_base(uint64_t d)
{
    return (d >> 16 & 0xffffff) | (d >> 32 & 0xff000000);
}

static uint64_t descriptor_limit(uint64_t d)
{
    uint64_t limit = (d & 0xffff) | (d >> 32 & 0xf0000);

    return d >> 55 & 1 ? limit << 12 | 0xfff : limit;
}

static void gdt_row(const struct cpu_tables *t, unsigned selector, uint64_t d, uint64_t high,
                    struct out *o)
{
    bool is_segment = d >> 44 & 1, is_wide = d && !is_segment && t->is_long;
    struct buf text = {0};

    out_row(o);
    out_cell_hex(o, selector);
    out_cell(o, "0x%016" PRIx64, d);
    if (is_segment)
        segment_text(d, &text);
    else
        buf_adds(&text, d ? system_type(d >> 40 & 15, t->is_long) : "null");
    out_cell_hex(o, descriptor_base(d) | (is_wide ? high << 32 : 0));
    out_cell_hex(o, descriptor_limit(d));
    out_cell_u64(o, d >> 45 & 3);
    out_cell_bool(o, d >> 47 & 1);
    for (unsigned i = 0; i < 6; i++) {
        static const char *const names[] = {"CS", "SS", "DS", "ES", "FS", "GS"};
        const uint16_t have[] = {t->s->cs.selector, t->s->ss.selector, t->s->ds.selector,
                                 t->s->es.selector, t->s->fs.selector, t->s->gs.selector};

        if (selector && (have[i] & ~7u) == selector && !(have[i] & 4))
            buf_addf(&text, " <- %s", names[i]);
    }
    if (selector && (t->s->tr.selector & ~7u) == selector)
        buf_adds(&text, " <- TR");
    if (selector && (t->s->ldt.selector & ~7u) == selector && !t->s->ldt.unusable)
        buf_adds(&text, " <- LDTR");
    out_cell(o, "%s", buf_str(&text));
    buf_fini(&text);
}

/* An optional index in `args`: [*first, *end) of at most `count` entries. */
static int index_range(struct cmd_client *c, const char *args, unsigned count, const char *what,
                       unsigned *first, unsigned *end, struct out *o)
{
    struct err e = {0};
    uint64_t n;

    *first = 0;
    *end = count;
    if (!*args)
        return 0;
    if (cmd_eval(c, args, &n, &e))
        return cmd_fail(o, &e);
    if (n >= count) {
        out_error(o, "the %s ends before entry %" PRIu64 ": it has %u", what, n, count);
        return -ERANGE;
    }
    *first = (unsigned)n;
    *end = *first + 1;
    return 0;
}

int cmd_info_gdt_run(struct cmd_client *c, const char *args, struct out *o)
{
    static const char *const columns[] = {">selector", "bytes", ">base", ">limit",
                                          ">DPL",      "P",     "what",  NULL};
    struct cpu_tables t;
    unsigned first, end;
    int r = get_tables(c, &t, o);

    if (!r)
        r = index_range(c, args, (t.s->gdt.limit + 1u) / 8, "GDT", &first, &end, o);
    if (r)
        return r;
    out_text(o, "GDT at 0x%" PRIx64 ", limit 0x%x", (uint64_t)t.s->gdt.base, t.s->gdt.limit);
    out_json_u64(o, "base", t.s->gdt.base);
    out_json_u64(o, "limit", t.s->gdt.limit);
    out_table(o, "gdt", "The GDT is empty.", columns);
    for (unsigned i = first; i < end; i++) {
        uint8_t raw[16] = {0};
        uint64_t d, high;

        if (!read_linear(c, t.s->gdt.base + 8ull * i, raw, 8)) {
            out_error(o, "the GDT at 0x%" PRIx64 " is not mapped to RAM from entry %u on",
                      (uint64_t)t.s->gdt.base, i);
            return -EFAULT;
        }
        d = le_load(raw, 8);
        if (!d && end - first > 1 && i)
            continue; /* unused */
        high = read_linear(c, t.s->gdt.base + 8ull * i + 8, raw + 8, 8) ? le_load(raw + 8, 8) : 0;
        gdt_row(&t, 8 * i, d, high, o);
        if (d && t.is_long && !(d >> 44 & 1))
            i++; /* its upper half */
    }
    out_table_end(o);
    return 0;
}

static const char *vector_name(unsigned v)
{
    static const char *const names[] = {"#DE divide",
                                        "#DB debug",
                                        "NMI",
                                        "#BP breakpoint",
                                        "#OF overflow",
                                        "#BR bounds",
                                        "#UD invalid opcode",
                                        "#NM no FPU",
                                        "#DF double fault",
                                        "",
                                        "#TS invalid TSS",
                                        "#NP not present",
                                        "#SS stack",
                                        "#GP protection",
                                        "#PF page fault",
                                        "",
                                        "#MF x87",
                                        "#AC alignment",
                                        "#MC machine check",
                                        "#XM SIMD",
                                        "#VE virtualization",
                                        "#CP control"};

    return v < ARRAY_LEN(names) ? names[v] : "";
}

static void ivt_row(struct cmd_client *c, unsigned v, const uint8_t *raw, struct out *o)
{
    uint64_t off = le_load(raw, 2), seg = le_load(raw + 2, 2);
    char name[200];

    out_cell(o, "%04" PRIx64 ":%04" PRIx64, seg, off);
    out_cell(o, "0x%" PRIx64 "%s", seg * 16 + off,
             cmd_symbol(c, seg * 16 + off, name, sizeof name));
    out_cell(o, "real mode");
    out_cell(o, "%s", "");
    out_cell_bool(o, true);
    out_cell(o, "%s", vector_name(v));
}

static void gate_row(struct cmd_client *c, const struct cpu_tables *t, unsigned v,
                     const uint8_t *raw, struct out *o)
{
    uint64_t d = le_load(raw, 8), at = (d & 0xffff) | (d >> 32 & 0xffff0000);
    unsigned ist = t->is_long ? d >> 32 & 7 : 0;
    char name[200];

    if (t->is_long)
        at |= le_load(raw + 8, 4) << 32;
    out_cell(o, "0x%x", (unsigned)(d >> 16 & 0xffff));
    out_cell(o, "0x%" PRIx64 "%s", at, cmd_symbol(c, at, name, sizeof name));
    if (ist)
        out_cell(o, "%s, IST%u", system_type(d >> 40 & 15, t->is_long), ist);
    else
        out_cell(o, "%s", system_type(d >> 40 & 15, t->is_long));
    out_cell_u64(o, d >> 45 & 3);
    out_cell_bool(o, d >> 47 & 1);
    out_cell(o, "%s", vector_name(v));
}

int cmd_info_idt_run(struct cmd_client *c, const char *args, struct out *o)
{
    static const char *const columns[] = {">vector", "selector", "handler", "gate",
                                          ">DPL",    "P",        "for",     NULL};
    struct cpu_tables t;
    unsigned first, end, size, count;
    int r = get_tables(c, &t, o);

    if (r)
        return r;
    size = t.is_real ? 4 : t.is_long ? 16 : 8;
    count = (t.s->idt.limit + 1u) / size;
    r = index_range(c, args, count < 256 ? count : 256, t.is_real ? "interrupt table" : "IDT",
                    &first, &end, o);
    if (r)
        return r;
    out_text(o, "IDT at 0x%" PRIx64 ", limit 0x%x", (uint64_t)t.s->idt.base, t.s->idt.limit);
    out_json_u64(o, "base", t.s->idt.base);
    out_json_u64(o, "limit", t.s->idt.limit);
    out_table(o, "idt", "No vector has a handler.", columns);
    for (unsigned v = first; v < end; v++) {
        uint8_t raw[16];

        if (!read_linear(c, t.s->idt.base + (uint64_t)v * size, raw, size)) {
            out_error(o, "the IDT at 0x%" PRIx64 " is not mapped to RAM from vector %u on",
                      (uint64_t)t.s->idt.base, v);
            return -EFAULT;
        }
        if (!le_load(raw, size > 8 ? 8 : size) && end - first > 1)
            continue;
        out_row(o);
        out_cell_u64(o, v);
        if (t.is_real)
            ivt_row(c, v, raw, o);
        else
            gate_row(c, &t, v, raw, o);
    }
    out_table_end(o);
    return 0;
}

/* ---- TSS ---------------------------------------------------------------------------------------
 */

struct tss_field {
    const char *name;
    uint8_t at, size;
};

static const struct tss_field tss64[] = {{"rsp0", 4, 8},  {"rsp1", 12, 8},   {"rsp2", 20, 8},
                                         {"ist1", 36, 8}, {"ist2", 44, 8},   {"ist3", 52, 8},
                                         {"ist4", 60, 8}, {"ist5", 68, 8},   {"ist6", 76, 8},
                                         {"ist7", 84, 8}, {"iomap", 102, 2}, {0}};
static const struct tss_field tss32[] = {{"link", 0, 2},    {"esp0", 4, 4},    {"ss0", 8, 2},
                                         {"esp1", 12, 4},   {"ss1", 16, 2},    {"esp2", 20, 4},
                                         {"ss2", 24, 2},    {"cr3", 28, 4},    {"eip", 32, 4},
                                         {"eflags", 36, 4}, {"eax", 40, 4},    {"ecx", 44, 4},
                                         {"edx", 48, 4},    {"ebx", 52, 4},    {"esp", 56, 4},
                                         {"ebp", 60, 4},    {"esi", 64, 4},    {"edi", 68, 4},
                                         {"es", 72, 2},     {"cs", 76, 2},     {"ss", 80, 2},
                                         {"ds", 84, 2},     {"fs", 88, 2},     {"gs", 92, 2},
                                         {"ldt", 96, 2},    {"iomap", 102, 2}, {0}};
static const struct tss_field tss16[] = {{"link", 0, 2},
                                         {"sp0", 2, 2},
                                         {"ss0", 4, 2},
                                         {"sp1", 6, 2},
                                         {"ss1", 8, 2},
                                         {"sp2", 10, 2},
                                         {"ss2", 12, 2},
                                         {"ip", 14, 2},
                                         {"flags", 16, 2},
                                         {"ax", 18, 2},
                                         {"cx", 20, 2},
                                         {"dx", 22, 2},
                                         {"bx", 24, 2},
                                         {"sp", 26, 2},
                                         {"bp", 28, 2},
                                         {"si", 30, 2},
                                         {"di", 32, 2},
                                         {"es", 34, 2},
                                         {"cs", 36, 2},
                                         {"ss", 38, 2},
                                         {"ds", 40, 2},
                                         {"ldt", 42, 2},
                                         {0}};

int cmd_info_tss_run(struct cmd_client *c, const char *args, struct out *o)
{
    static const char *const columns[] = {"field", ">offset", ">value", NULL};
    const struct tss_field *f;
    struct cpu_tables t;
    int r = get_tables(c, &t, o);

    (void)args;
    if (r)
        return r;
    if (t.is_real || !(t.s->tr.selector & ~7u)) {
        out_line(o, "No task state segment is loaded (TR is %s).",
                 t.is_real ? "unused in real mode" : "0");
        return 0;
    }
    f = t.is_long ? tss64 : t.s->tr.type & 8 ? tss32 : tss16;
    out_text(o, "TSS at 0x%" PRIx64 ", limit 0x%x, selector 0x%x", (uint64_t)t.s->tr.base,
             t.s->tr.limit, t.s->tr.selector);
    out_json_u64(o, "base", t.s->tr.base);
    out_table(o, "tss", NULL, columns);
    for (; f->name && f->at + f->size <= t.s->tr.limit + 1ull; f++) {
        uint8_t raw[8];

        if (!read_linear(c, t.s->tr.base + f->at, raw, f->size)) {
            out_error(o, "the TSS at 0x%" PRIx64 " is not mapped to RAM", (uint64_t)t.s->tr.base);
            return -EFAULT;
        }
        out_row(o);
        out_cell(o, "%s", f->name);
        out_cell_u64(o, f->at);
        out_cell_hex(o, le_load(raw, f->size));
    }
    out_table_end(o);
    return 0;
}
