/*
 * The part of the view that needs a stopped guest: registers, code, stack, memory.
 */
#include "tui/view_machine.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "debug/symbols/sym.h"
#include "disasm/disasm.h"
#include "vmm/base/x.h"

#define NEAR_BYTES 4096 /* how far behind a symbol without a size still counts as in it */

static uint64_t mask_bits(uint64_t value, unsigned bits)
{
    return bits >= 64 ? value : value & ((1ull << bits) - 1);
}

/* ---- symbols ------------------------------------------------------------------------------- */

/* The symbol an address lies in, without the guesses that symbols_lookup makes far away. */
static const struct symbol *symbol_in(struct session *s, uint64_t addr)
{
    struct symbols *t = session_symbols(s);
    const struct symbol *sym = t ? symbols_lookup(t, addr) : NULL;

    if (!sym || addr - sym->addr >= (sym->size ? sym->size : NEAR_BYTES))
        return NULL;
    return sym;
}

bool view_symbol(struct session *s, uint64_t addr, char *dst, size_t cap)
{
    const struct symbol *sym = symbol_in(s, addr);

    if (!sym)
        dst[0] = '\0';
    else if (addr == sym->addr)
        snprintf(dst, cap, "%s", sym->name);
    else
        snprintf(dst, cap, "%s+0x%" PRIx64, sym->name, addr - sym->addr);
    return sym != NULL;
}

/* ---- registers ------------------------------------------------------------------------------ */

static bool past_reg(const struct view_past *past, const struct view_reg *r)
{
    for (unsigned i = 0; i < past->regs; i++)
        if (!strcmp(past->reg[i].name, r->name))
            return memcmp(past->reg[i].bytes, r->bytes, sizeof r->bytes) != 0;
    return false;
}

/* Outside 64-bit code people know the 32-bit names, and r8 to r15 do not exist. */
static bool wanted(int id, unsigned bits)
{
    return bits == 64 || id < REG_r8 || id > REG_r15;
}

static void name_reg(struct view_reg *out, const struct reg_desc *d, unsigned bits)
{
    bool shorten = d->group == RG_GENERAL && bits < 64 && d->name[0] == 'r';

    snprintf(out->name, sizeof out->name, "%s%s", shorten ? "e" : "", d->name + shorten);
    out->bits = shorten ? 32 : d->bits;
}

static void fill_reg(struct view *v, struct session *s, const struct vcpu_state *st, int id,
                     unsigned bits)
{
    const struct reg_desc *d = &reg_table[id];
    struct reg_value value;
    struct view_reg *out;

    if (!wanted(id, bits) || v->regs.count >= VIEW_REGS || reg_read(st, id, &value) < 0)
        return;
    out = &v->regs.reg[v->regs.count++];
    *out = (struct view_reg){.group = d->group};
    name_reg(out, d, bits);
    out->value = mask_bits(value.u, out->bits);
    memcpy(out->bytes, value.bytes, value.len < sizeof out->bytes ? value.len : sizeof out->bytes);
    out->changed = past_reg(v->past, out);
    if (d->flags)
        reg_flags_text(id, value.u, out->note, sizeof out->note);
    else if (id == REG_rip)
        view_symbol(s, v->code.rip_linear, out->note, sizeof out->note);
    for (char *p = out->note; *p == ' ';) /* the table's text may start with a blank */
        memmove(p, p + 1, strlen(p));
}

/* People look for selectors and control registers before bases and limits. */
static unsigned register_rank(const struct reg_desc *d)
{
    static const uint8_t ranks[RG_GROUPS] = {
        [RG_SEGMENT] = 4, [RG_CONTROL] = 2, [RG_TABLE] = 3, [RG_DEBUG] = 5,
        [RG_X87] = 7,     [RG_SSE] = 8,     [RG_AVX] = 9,   [RG_MSR] = 6};

    return d->group == RG_SEGMENT && d->kind == 'R' && d->bits == 16 ? 1 : ranks[d->group];
}

void view_fill_registers(struct view *v, struct session *s, const struct vcpu_state *st)
{
    v->regs.count = 0;
    for (unsigned rank = 0; rank < 10; rank++)
        for (int id = 0; id < REG_COUNT; id++)
            if (register_rank(&reg_table[id]) == rank)
                fill_reg(v, s, st, id, v->code.bits);
    if (v->regs.sel >= v->regs.count)
        v->regs.sel = 0;
}

/* ---- code ----------------------------------------------------------------------------------- */

static uint64_t next_row(struct session *s, unsigned vcpu, uint64_t addr)
{
    struct insn in;

    if (session_insn(s, vcpu, addr, &in))
        return addr + in.len;
    return (addr | (PAGE_BYTES - 1)) + 1; /* one row stands for what is left of the page */
}

/* Decodes from a symbol's start: exact, where the bytes before an address are ambiguous. Returns
 * how many instructions lie between, and the address of the one `count` before `addr`. */
static unsigned back_from(struct session *s, unsigned vcpu, uint64_t start, uint64_t addr,
                          unsigned count, uint64_t *out)
{
    uint64_t ring[VIEW_ROWS], at = start;
    unsigned n = 0;

    while (at < addr) {
        ring[n++ % VIEW_ROWS] = at;
        at = next_row(s, vcpu, at);
    }
    if (at != addr || !n)
        return 0;
    count = count > n ? n : count;
    *out = ring[(n - count) % VIEW_ROWS];
    return count;
}

static uint64_t back_blind(struct session *s, const struct view *v, uint64_t addr, unsigned count)
{
    uint8_t before[512];
    unsigned vcpu = v->status.vcpu;
    uint64_t want = addr < sizeof before ? addr : sizeof before;
    struct disasm *d = session_disasm(s);
    size_t back;

    if (!want || !d)
        return addr;
    if (session_mem_read(s, vcpu, SPACE_LINEAR, addr - want, before, want) != (int64_t)want) {
        want = (addr - 1) % PAGE_BYTES + 1;
        want = want > sizeof before ? sizeof before : want;
        if (session_mem_read(s, vcpu, SPACE_LINEAR, addr - want, before, want) != (int64_t)want)
            return (addr - 1) & ~(uint64_t)(PAGE_BYTES - 1);
    }
    back = disasm_back(d, v->code.bits, addr, before, want, count);
    return addr - (back ? back : 1);
}

static uint64_t insn_back(struct session *s, const struct view *v, uint64_t addr, unsigned count)
{
    unsigned vcpu = v->status.vcpu;

    count = count >= VIEW_ROWS ? VIEW_ROWS - 1 : count;
    for (unsigned guard = 0; count && addr && guard < VIEW_ROWS; guard++) {
        const struct symbol *sym = symbol_in(s, addr - 1);
        uint64_t at = addr;
        unsigned n = sym ? back_from(s, vcpu, sym->addr, addr, count, &at) : 0;

        if (!n) {
            unsigned few = count > 8 ? 8 : count;

            at = back_blind(s, v, addr, few);
            n = few;
        }
        addr = at;
        count -= n;
    }
    return addr;
}

/* Whether a conditional jump will be taken: Intel SDM volume 1, appendix B. */
static const struct {
    const char *name;
    uint8_t cond;
} jumps[] = {{"jo", 0},   {"jno", 1},  {"jb", 2},   {"jc", 2},   {"jnae", 2}, {"jae", 3},
             {"jnc", 3},  {"jnb", 3},  {"je", 4},   {"jz", 4},   {"jne", 5},  {"jnz", 5},
             {"jbe", 6},  {"jna", 6},  {"ja", 7},   {"jnbe", 7}, {"js", 8},   {"jns", 9},
             {"jp", 10},  {"jpe", 10}, {"jnp", 11}, {"jpo", 11}, {"jl", 12},  {"jnge", 12},
             {"jge", 13}, {"jnl", 13}, {"jle", 14}, {"jng", 14}, {"jg", 15},  {"jnle", 15}};

static bool condition(unsigned cond, uint64_t fl)
{
    bool c = fl & 1, p = fl & 4, z = fl & 0x40, sf = fl & 0x80, o = fl & 0x800;
    bool value[] = {o, c, z, c || z, sf, p, sf != o, z || sf != o};

    return value[cond >> 1] != (cond & 1);
}

static void hint_jump(struct view_insn *row, uint64_t rflags)
{
    for (size_t i = 0; i < ARRAY_LEN(jumps); i++)
        if (!strcmp(jumps[i].name, row->mnemonic))
            snprintf(row->hint, sizeof row->hint, "%s",
                     condition(jumps[i].cond, rflags) ? "taken" : "not taken");
}

static void mark_points(struct session *s, struct view_code *code)
{
    const struct point *pt = NULL;

    while ((pt = session_point_next(s, pt ? pt->id : 0)) != NULL) {
        if (pt->spec.kind != POINT_BREAK || pt->pending)
            continue;
        for (unsigned i = 0; i < code->rows; i++)
            if (!code->row[i].is_label && code->row[i].addr == pt->spec.addr) {
                code->row[i].point = pt->id;
                code->row[i].point_enabled = pt->enabled;
            }
    }
}

/* "main.c:12", without the folders that a title has no room for. */
static bool source_line(struct session *s, uint64_t addr, char *dst, size_t cap)
{
    struct symbols *t = session_symbols(s);
    const char *file, *slash;
    int line;

    dst[0] = '\0';
    if (!t || !symbols_line(t, addr, &file, &line))
        return false;
    slash = strrchr(file, '/');
    snprintf(dst, cap, "%s:%d", slash ? slash + 1 : file, line);
    return true;
}

/* A row of its own with the name of what starts here. */
static bool add_label(struct session *s, struct view_code *code, uint64_t addr)
{
    const struct symbol *sym = symbol_in(s, addr);
    struct view_insn *row = &code->row[code->rows];

    if (!sym || sym->addr != addr)
        return false;
    *row = (struct view_insn){.addr = addr, .is_label = true};
    snprintf(row->label, sizeof row->label, "%s", sym->name);
    source_line(s, addr, row->source, sizeof row->source);
    return true;
}

static void copy_insn(struct view_insn *row, const struct insn *in)
{
    row->len = in->len;
    memcpy(row->bytes, in->bytes, sizeof row->bytes);
    snprintf(row->mnemonic, sizeof row->mnemonic, "%s", in->mnemonic);
    snprintf(row->operands, sizeof row->operands, "%s", in->operands);
    row->mapped = true;
    row->branch = in->effects & INSN_BRANCH;
    row->bad = in->effects & INSN_BAD;
    row->has_target = in->has_target;
    row->target = in->target;
    row->has_mem = in->has_mem_abs;
    row->mem = in->mem_abs;
}

/* Fills rows from code->top on. Returns the row of RIP, or -1. */
static int build_rows(struct view *v, struct session *s, unsigned rows, uint64_t rflags)
{
    struct view_code *code = &v->code;
    uint64_t addr = code->top;
    int rip_row = -1;

    for (code->rows = 0; code->rows < rows;) {
        struct view_insn *row;
        struct insn in;

        if (code->rows + 1 < rows && add_label(s, code, addr))
            code->rows++;
        row = &code->row[code->rows];
        *row = (struct view_insn){.addr = addr};
        if (session_insn(s, v->status.vcpu, addr, &in))
            copy_insn(row, &in);
        if (addr == code->rip_linear) {
            rip_row = (int)code->rows;
            row->is_rip = true;
            hint_jump(row, rflags);
        }
        code->rows++;
        addr = row->mapped ? addr + row->len : (addr | (PAGE_BYTES - 1)) + 1;
        if (!row->mapped && !session_insn(s, v->status.vcpu, addr, &in))
            break; /* one row says it for all that follows */
    }
    return rip_row;
}

static void select_row(struct view_code *code, bool keep_row)
{
    bool found = false;

    for (unsigned i = 0; i < code->rows && !keep_row && !found; i++)
        if (!code->row[i].is_label && code->row[i].addr == code->cursor) {
            code->sel = i;
            found = true;
        }
    if (found)
        return;
    if (code->sel >= code->rows)
        code->sel = code->rows ? code->rows - 1 : 0;
    if (code->rows && code->row[code->sel].is_label && code->sel + 1 < code->rows)
        code->sel++;
    if (code->rows)
        code->cursor = code->row[code->sel].addr;
}

/* Some instructions before a place to show; none where a symbol starts behind bytes that belong to
 * nobody, for padding decoded as instructions tells nothing. */
static uint64_t before(struct session *s, const struct view *v, uint64_t addr, unsigned count)
{
    const struct symbol *sym = symbol_in(s, addr);

    if (addr && sym && sym->addr == addr && !symbol_in(s, addr - 1))
        return addr;
    return insn_back(s, v, addr, count);
}

/* Chooses the top for a new RIP or a jump; false: the top stays. */
static void place_top(struct view *v, struct session *s, unsigned rows, uint64_t rflags)
{
    struct view_code *code = &v->code;
    int row;

    if (code->follow) {
        code->cursor = code->rip_linear;
        row = build_rows(v, s, rows, rflags);
        if (row < 0 || row + 1 + (rows > 4) >= (int)rows || (!row && rows > 4))
            code->top = before(s, v, code->rip_linear, rows / 3);
        if (build_rows(v, s, rows, rflags) < 0)
            code->top = code->rip_linear;
    } else if (code->jumped) {
        code->top = before(s, v, code->cursor, rows / 4);
    }
    for (; code->scroll > 0; code->scroll--)
        code->top = next_row(s, v->status.vcpu, code->top);
    if (code->scroll < 0)
        code->top = insn_back(s, v, code->top, (unsigned)-code->scroll);
}

void view_fill_code(struct view *v, struct session *s, const struct vcpu_state *st)
{
    struct view_code *code = &v->code;
    unsigned rows = v->rows[PANEL_CODE] > 0 ? (unsigned)v->rows[PANEL_CODE] : 1;
    bool scrolled = code->scroll != 0;
    char source[48];

    rows = rows > VIEW_ROWS ? VIEW_ROWS : rows;
    place_top(v, s, rows, st->regs.rflags);
    build_rows(v, s, rows, st->regs.rflags);
    mark_points(s, code);
    select_row(code, scrolled);
    code->scroll = 0;
    code->follow = code->jumped = false;
    if (view_symbol(s, code->cursor, code->where, sizeof code->where) &&
        source_line(s, code->cursor, source, sizeof source)) {
        size_t n = strlen(code->where);

        snprintf(code->where + n, sizeof code->where - n, " %s", source);
    }
}

/* ---- stack ---------------------------------------------------------------------------------- */

/* What a value points to: a symbol, or text. */
static void note_value(struct session *s, unsigned vcpu, struct view_word *w)
{
    const struct symbol *sym = symbol_in(s, w->value);
    char text[20] = {0};
    int64_t got;
    unsigned n = 0;

    if (sym) {
        view_symbol(s, w->value, w->note, sizeof w->note);
        w->is_code = sym->is_function;
        return;
    }
    if (w->value < 0x500) /* small numbers are numbers, not pointers into the vector table */
        return;
    got = session_mem_read(s, vcpu, SPACE_LINEAR, w->value, text, sizeof text - 1);
    while (got > 0 && n < (unsigned)got && text[n] >= 0x20 && text[n] < 0x7f)
        n++;
    if (n >= 4)
        snprintf(w->note, sizeof w->note, "\"%.*s\"", (int)n, text);
}

static bool past_word(const struct view_past *past, const struct view_word *w)
{
    for (unsigned i = 0; i < past->words; i++)
        if (past->word[i].addr == w->addr)
            return past->word[i].mapped && past->word[i].value != w->value;
    return false;
}

void view_fill_stack(struct view *v, struct session *s, const struct vcpu_state *st)
{
    struct view_stack *stack = &v->stack;
    bool is_long = v->code.bits == 64, wide = is_long || st->sregs.ss.db;
    uint64_t base = is_long ? 0 : st->sregs.ss.base;
    unsigned bits = is_long ? 64 : wide ? 32 : 16;
    uint64_t frame = base + mask_bits(st->regs.rbp, bits);

    stack->word = is_long ? 8 : v->code.bits == 32 ? 4 : 2;
    stack->sp = base + mask_bits(st->regs.rsp, bits);
    stack->rows = v->rows[PANEL_STACK] > 0 ? (unsigned)v->rows[PANEL_STACK] : 0;
    if (stack->rows > VIEW_ROWS)
        stack->rows = VIEW_ROWS;
    for (unsigned i = 0; i < stack->rows; i++) {
        struct view_word *w = &stack->row[i];
        uint8_t bytes[8] = {0};

        *w = (struct view_word){.addr = stack->sp +
                                        (uint64_t)(stack->scroll + (int64_t)i) * stack->word};
        w->mapped = session_mem_read(s, v->status.vcpu, SPACE_LINEAR, w->addr, bytes,
                                     stack->word) == stack->word;
        for (unsigned k = stack->word; k-- > 0;)
            w->value = w->value << 8 | bytes[k];
        w->is_frame = w->addr == frame && w->addr != stack->sp;
        if (!w->mapped)
            continue;
        w->changed = past_word(v->past, w);
        note_value(s, v->status.vcpu, w);
    }
    if (stack->sel >= stack->rows)
        stack->sel = stack->rows ? stack->rows - 1 : 0;
}

/* ---- memory --------------------------------------------------------------------------------- */

static unsigned bytes_per_row(int cols, uint64_t base)
{
    int digits = base > UINT32_MAX ? 16 : 8;

    return cols >= digits + 1 + 4 * 32 ? 32 : cols >= digits + 1 + 4 * 16 ? 16 : 8;
}

static void read_bytes(struct view *v, struct session *s)
{
    struct view_memory *m = &v->memory;
    unsigned at = 0;

    memset(m->ok, 0, sizeof m->ok);
    while (at < m->len) {
        uint64_t addr = m->base + at, room = PAGE_BYTES - addr % PAGE_BYTES;
        unsigned n = m->len - at < room ? m->len - at : (unsigned)room;
        int64_t got = session_mem_read(s, v->status.vcpu, m->space, addr, m->byte + at, n);

        if (got > 0)
            memset(m->ok + at, 1, got < (int64_t)n ? (size_t)got : n);
        at += n;
    }
}

static void mark_changed(struct view_memory *m, const struct view_past *past)
{
    memset(m->changed, 0, sizeof m->changed);
    if (past->mem_space != m->space)
        return;
    for (unsigned i = 0; i < m->len; i++) {
        uint64_t k = m->base + i - past->mem_base;

        m->changed[i] =
            k < past->mem_len && past->mem_ok[k] && m->ok[i] && past->mem[k] != m->byte[i];
    }
}

/* Nobody chose a place: the operand of the next instruction if it has a fixed address, else where
 * it was as long as something is there, else the code. */
static void place_memory(struct view *v, struct session *s)
{
    struct view_memory *m = &v->memory;
    const struct view_code *code = &v->code;
    uint8_t byte;

    for (unsigned i = 0; i < code->rows; i++)
        if (code->row[i].is_rip && code->row[i].has_mem) {
            uint64_t at = code->row[i].mem;

            if (at < m->base || at - m->base >= m->len)
                m->base = at & ~7ull;
            m->cursor = at;
            return;
        }
    if (!m->base || session_mem_read(s, v->status.vcpu, m->space, m->base, &byte, 1) != 1)
        m->base = m->cursor = code->rip_linear & ~7ull;
}

void view_fill_memory(struct view *v, struct session *s)
{
    struct view_memory *m = &v->memory;
    unsigned rows = v->rows[PANEL_MEMORY] > 0 ? (unsigned)v->rows[PANEL_MEMORY] : 0;

    if (!m->placed)
        place_memory(v, s);
    m->per_row = bytes_per_row(v->cols[PANEL_MEMORY], m->base);
    m->len = rows * m->per_row > VIEW_MEM_BYTES ? VIEW_MEM_BYTES : rows * m->per_row;
    read_bytes(v, s);
    mark_changed(m, v->past);
    if (m->space == SPACE_LINEAR)
        view_symbol(s, m->cursor, m->where, sizeof m->where);
    else
        m->where[0] = '\0';
}

/* ---- what was ------------------------------------------------------------------------------- */

void view_remember(struct view *v)
{
    struct view_past *past = v->past;

    memcpy(past->reg, v->regs.reg, sizeof past->reg);
    past->regs = v->regs.count;
    memcpy(past->word, v->stack.row, sizeof past->word);
    past->words = v->stack.rows;
    past->mem_base = v->memory.base;
    past->mem_len = v->memory.len;
    past->mem_space = v->memory.space;
    memcpy(past->mem, v->memory.byte, sizeof past->mem);
    memcpy(past->mem_ok, v->memory.ok, sizeof past->mem_ok);
}
