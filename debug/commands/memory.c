/*
 * Memory: x, xp, disassemble, display, dump, restore, find. Main thread.
 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "debug/commands/commands.h"
#include "vmm/base/esc.h"
#include "vmm/base/le.h"
#include "vmm/base/x.h"

#define STRING_MAX 200 /* characters of one x/s line, as gdb's `print elements` */

static int64_t read_at(struct cmd_client *c, enum space sp, uint64_t addr, void *dst, size_t len)
{
    return session_mem_read(c->s, session_focus(c->s), sp, addr, dst, len);
}

static int cannot_access(struct out *o, enum space sp, uint64_t addr)
{
    if (sp == SPACE_PHYS)
        out_error(o,
                  "Cannot access physical memory at address 0x%" PRIx64 ": no RAM is there "
                  "(`info mem` shows where it is)",
                  addr);
    else
        out_error(o,
                  "Cannot access memory at address 0x%" PRIx64 ": it is not mapped to RAM "
                  "(`info walk 0x%" PRIx64 "` says why)",
                  addr, addr);
    return -EFAULT;
}

/* "0x7c00 <start+4>:" */
static void address_text(struct cmd_client *c, enum space sp, uint64_t addr, struct buf *b)
{
    char name[200];

    buf_addf(b, "0x%" PRIx64 "%s:", addr,
             sp == SPACE_LINEAR ? cmd_symbol(c, addr, name, sizeof name) : "");
}

/* ---- instructions -------------------------------------------------------------------------- */

const char *const cmd_insn_columns[] = {"address", "symbol", "bytes",   "mnemonic", "operands",
                                        "text",    "target", "current", NULL};

void cmd_print_insn(struct cmd_client *c, const struct insn *in, bool is_current, bool raw,
                    const struct symbol *base, struct out *o)
{
    struct buf line = {0}, bytes = {0};
    char name[200];

    for (unsigned i = 0; i < in->len; i++)
        buf_addf(&bytes, "%s%02x", i ? " " : "", in->bytes[i]);
    buf_adds(&line, is_current ? "=> " : "   ");
    if (base)
        buf_addf(&line, "0x%016" PRIx64 " <+%" PRIu64 ">:", in->addr, in->addr - base->addr);
    else
        address_text(c, SPACE_LINEAR, in->addr, &line);
    buf_addc(&line, '\t');
    if (raw)
        buf_addf(&line, "%s\t", buf_str(&bytes));
    buf_adds(&line, in->mnemonic);
    if (in->operands[0])
        buf_addf(&line, " %s", in->operands);
    out_row(o);
    out_cell_hex(o, in->addr);
    cmd_symbol(c, in->addr, name, sizeof name);
    if (*name)
        name[strlen(name) - 1] = 0;
    out_cell(o, "%s", *name ? name + 2 : "");
    out_cell(o, "%s", buf_str(&bytes));
    out_cell(o, "%s", in->mnemonic);
    out_cell(o, "%s", in->operands);
    out_cell(o, "%s%s%s", in->mnemonic, in->operands[0] ? " " : "", in->operands);
    if (in->has_target)
        out_cell_hex(o, in->target);
    else
        out_cell(o, "%s", "");
    out_cell_bool(o, is_current);
    out_text(o, "%s", buf_str(&line));
    buf_fini(&line);
    buf_fini(&bytes);
}

/* `count` instructions from *addr, which is moved behind them. The table is open. */
static int examine_insns(struct cmd_client *c, unsigned count, bool raw, uint64_t *addr,
                         struct out *o)
{
    struct insn *in = xcalloc(1, sizeof *in);
    uint64_t pc = 0;
    bool known = cmd_pc(c, &pc);
    int r = 0;

    for (unsigned i = 0; i < count && !r; i++) {
        if (!session_insn(c->s, session_focus(c->s), *addr, in)) {
            r = cannot_access(o, SPACE_LINEAR, *addr);
        } else {
            cmd_print_insn(c, in, known && *addr == pc, raw, NULL, o);
            *addr += in->len;
        }
    }
    free(in);
    return r;
}

/* Physical memory has no mode of its own: the vCPU's code size is taken. */
static int examine_phys_insns(struct cmd_client *c, unsigned count, bool raw, uint64_t *addr,
                              struct out *o)
{
    unsigned bits = cpu_mode_bits(session_mode(c->s, session_focus(c->s)));
    struct insn *in = xcalloc(1, sizeof *in);
    int r = 0;

    for (unsigned i = 0; i < count && !r; i++) {
        uint8_t bytes[15];
        int64_t n = read_at(c, SPACE_PHYS, *addr, bytes, sizeof bytes);

        if (n < 1) {
            r = cannot_access(o, SPACE_PHYS, *addr);
        } else {
            disasm_one(session_disasm(c->s), bits, *addr, bytes, (size_t)n, in);
            cmd_print_insn(c, in, false, raw, NULL, o);
            *addr += in->len;
        }
    }
    free(in);
    return r;
}

/* ---- x -----------------------------------------------------------------------------------------
 */

static int examine_strings(struct cmd_client *c, unsigned count, enum space sp, uint64_t *addr,
                           struct out *o)
{
    for (unsigned i = 0; i < count; i++) {
        uint8_t bytes[STRING_MAX];
        int64_t n = read_at(c, sp, *addr, bytes, sizeof bytes);
        struct buf b = {0};
        size_t len = 0;

        if (n < 1)
            return cannot_access(o, sp, *addr);
        while (len < (size_t)n && bytes[len])
            len++;
        address_text(c, sp, *addr, &b);
        buf_adds(&b, "\t\"");
        for (size_t k = 0; k < len; k++) {
            if (bytes[k] == '"')
                buf_adds(&b, "\\\"");
            else if (bytes[k] == '\n')
                buf_adds(&b, "\\n");
            else if (bytes[k] == '\t')
                buf_adds(&b, "\\t");
            else
                esc_line(&b, &bytes[k], 1);
        }
        buf_adds(&b, len == sizeof bytes ? "\"..." : "\"");
        out_text(o, "%s", buf_str(&b));
        out_row(o);
        out_cell_hex(o, *addr);
        out_cell(o, "%.*s", (int)len, (const char *)bytes);
        *addr += len + (len < (size_t)n);
        buf_fini(&b);
    }
    return 0;
}

static int examine_units(struct cmd_client *c, const struct format *f, enum space sp,
                         uint64_t *addr, struct out *o)
{
    unsigned line = format_per_line(f->letter, f->size);
    struct buf b = {0};
    int r = 0;

    for (unsigned i = 0; i < f->count; i++) {
        uint8_t bytes[8] = {0};
        char name[200];
        uint64_t v;

        if (read_at(c, sp, *addr, bytes, f->size) < (int64_t)f->size) {
            r = -EFAULT; /* told below, behind what could be read */
            break;
        }
        v = le_load(bytes, f->size);
        if (i % line == 0) {
            if (b.len)
                out_text(o, "%s", buf_str(&b));
            buf_clear(&b);
            address_text(c, sp, *addr, &b);
        }
        buf_addc(&b, '\t');
        format_value(&b, v, f->size, f->letter, true);
        if (f->letter == 'a')
            buf_adds(&b, cmd_symbol(c, v, name, sizeof name));
        out_row(o);
        out_cell_hex(o, *addr);
        out_cell_hex(o, v);
        *addr += f->size;
        cmd_var_set(c, "__", v);
    }
    if (b.len)
        out_text(o, "%s", buf_str(&b));
    buf_fini(&b);
    return r ? cannot_access(o, sp, *addr) : 0;
}

/* What is not given: the last letter and size used with x (gdb's rule). */
static void complete_format(struct cmd_client *c, struct format *f)
{
    const struct format *last = &cmd_state(c)->x_format;

    if (!f->count)
        f->count = 1;
    if (!f->letter)
        f->letter = last->letter ? last->letter : 'x';
    if (f->letter == 'a' && !f->size)
        f->size = (uint8_t)(cpu_mode_bits(session_mode(c->s, session_focus(c->s))) / 8);
    if (f->letter == 'c' && !f->size)
        f->size = 1;
    if (!f->size)
        f->size = last->size ? last->size : 4;
}

int cmd_examine(struct cmd_client *c, const struct format *given, enum space sp, uint64_t addr,
                struct out *o)
{
    static const char *const units[] = {"address", "value", NULL};
    struct cmd_state *st = cmd_state(c);
    struct format f = *given;
    uint64_t at = addr;
    int r;

    complete_format(c, &f);
    out_records(o, "memory", f.letter == 'i' ? cmd_insn_columns : units);
    if (f.letter == 'i')
        r = sp == SPACE_PHYS ? examine_phys_insns(c, f.count, f.raw, &at, o)
                             : examine_insns(c, f.count, f.raw, &at, o);
    else if (f.letter == 's')
        r = examine_strings(c, f.count, sp, &at, o);
    else
        r = examine_units(c, &f, sp, &at, o);
    if (o->table)
        out_table_end(o);
    if (at != addr) {
        cmd_var_set(c, "_", addr);
        st->x_format = f;
        st->x_space = sp;
        st->x_next = at;
        st->x_known = true;
    }
    return r;
}

static int examine(struct cmd_client *c, const char *args, enum space sp, struct out *o)
{
    struct cmd_state *st = cmd_state(c);
    struct location at = {.space = sp};
    struct format f;
    struct err e = {0};

    if (format_parse(&args, &f, &e))
        return cmd_fail(o, &e);
    if (!*args) {
        if (!st->x_known) {
            out_error(o, "an address is missing, as in `x/4xw 0x7c00` or `x/5i $pc`");
            return -EINVAL;
        }
        at = (struct location){.space = st->x_space, .addr = st->x_next};
    } else if (sp == SPACE_PHYS ? cmd_eval(c, args, &at.addr, &e)
                                : cmd_location(c, args, &at, &e)) {
        return cmd_fail(o, &e);
    }
    return cmd_examine(c, &f, at.space, at.addr, o);
}

int cmd_x_run(struct cmd_client *c, const char *args, struct out *o)
{
    return examine(c, args, SPACE_LINEAR, o);
}

int cmd_xp_run(struct cmd_client *c, const char *args, struct out *o)
{
    return examine(c, args, SPACE_PHYS, o);
}

/* ---- disassemble
 * --------------------------------------------------------------------------------- */

#define DUMP_MAX (1u << 20)

/* [start, end) of "LOCATION[,+LEN | ,END]"; *base is the function when one was meant. */
static int dump_range(struct cmd_client *c, const char *args, uint64_t *start, uint64_t *end,
                      const struct symbol **base, struct err *e)
{
    const char *comma = cmd_scan(args, ','), *p;
    char *where = cmd_trim_dup(args, (size_t)(comma - args));
    struct location at = {0};
    int r = 0;

    *base = NULL;
    if (!*where)
        r = cmd_pc(c, &at.addr) ? 0 : err_set(e, EBUSY, "the guest is running");
    else
        r = cmd_location(c, where, &at, e);
    free(where);
    if (!r && at.space == SPACE_PHYS)
        r = err_set(e, EINVAL, "`disassemble` takes linear addresses; for physical ones use xp/i");
    *start = at.addr;
    if (r)
        return r;
    if (*comma) {
        p = cmd_blanks(comma + 1);
        r = cmd_eval(c, *p == '+' ? p + 1 : p, end, e);
        if (!r && *p == '+')
            *end += *start;
        if (!r && (*end <= *start || *end - *start > DUMP_MAX))
            r = err_set(e, EINVAL,
                        "the range ends at 0x%" PRIx64 ", which is not 1 to %u bytes "
                        "behind 0x%" PRIx64,
                        *end, DUMP_MAX, *start);
        return r;
    }
    *base = symbols_lookup(session_symbols(c->s), *start);
    if (*base && (*base)->size && *start - (*base)->addr < (*base)->size &&
        (*base)->size <= DUMP_MAX) {
        *start = (*base)->addr;
        *end = *start + (*base)->size;
    } else {
        *base = NULL;
        *end = 0; /* a few instructions */
    }
    return 0;
}

static int dump_code(struct cmd_client *c, uint64_t start, uint64_t end, bool raw,
                     const struct symbol *base, struct out *o)
{
    struct insn *in = xcalloc(1, sizeof *in);
    uint64_t pc = 0, at = start;
    bool known = cmd_pc(c, &pc);
    int r = 0;

    out_records(o, "code", cmd_insn_columns);
    for (unsigned n = 0; !r && (end ? at < end : n < 16); n++) {
        if (!session_insn(c->s, session_focus(c->s), at, in)) {
            r = cannot_access(o, SPACE_LINEAR, at);
        } else {
            cmd_print_insn(c, in, known && at == pc, raw, base, o);
            at += in->len;
        }
    }
    if (o->table)
        out_table_end(o);
    free(in);
    return r;
}

int cmd_disassemble_run(struct cmd_client *c, const char *args, struct out *o)
{
    const struct symbol *base;
    struct format f;
    struct err e = {0};
    uint64_t start, end;
    char *text, *slash;
    int r;

    if (format_parse(&args, &f, &e))
        return cmd_fail(o, &e);
    text = xstrdup(args);
    slash = strstr(text, "/r"); /* also behind the location */
    if (slash && !cmd_blanks(slash + 2)[0]) {
        f.raw = true;
        while (slash > text && slash[-1] == ' ')
            slash--;
        text[slash - text] = 0;
    }
    r = dump_range(c, text, &start, &end, &base, &e);
    free(text);
    if (r)
        return cmd_fail(o, &e);
    if (base)
        out_text(o, "Dump of assembler code for function %s:", base->name);
    else if (end)
        out_text(o, "Dump of assembler code from 0x%" PRIx64 " to 0x%" PRIx64 ":", start, end);
    r = dump_code(c, start, end, f.raw, base, o);
    if (!r && end)
        out_text(o, "End of assembler dump.");
    return r;
}

/* ---- display
 * --------------------------------------------------------------------------------------- */

static void show_display(struct cmd_client *c, const struct display *d, struct out *o)
{
    struct err e = {0};
    struct buf b = {0};
    char fmt[32];
    uint64_t v;

    format_text(&d->format, fmt);
    if (d->format.letter == 'i' || d->format.letter == 's' || d->format.count) {
        out_text(o, "%d: x%s %s", d->id, fmt, d->expr);
        if (cmd_eval(c, d->expr, &v, &e))
            out_text(o, "%s", e.msg);
        else
            cmd_examine(c, &d->format, SPACE_LINEAR, v, o);
        return;
    }
    if (cmd_eval(c, d->expr, &v, &e)) {
        out_text(o, "%d: %s%s%s = <error: %s>", d->id, fmt, *fmt ? " " : "", d->expr, e.msg);
        return;
    }
    if (d->format.letter)
        format_value(&b, v, d->format.size ? d->format.size : 8, d->format.letter, false);
    else
        buf_addf(&b, "%" PRId64 "%s", (int64_t)v, "");
    if (!d->format.letter && v > 9)
        buf_addf(&b, " (0x%" PRIx64 ")", v);
    out_text(o, "%d: %s%s%s = %s", d->id, fmt, *fmt ? " " : "", d->expr, buf_str(&b));
    out_json_u64(o, "display", (uint64_t)d->id);
    out_json_str(o, "expression", d->expr);
    out_json_hex(o, "value", v);
    buf_fini(&b);
}

void cmd_displays(struct cmd_client *c, struct out *o)
{
    struct cmd_state *st = cmd_state(c);
    bool failed = o->failed;
    /* A display that cannot read its memory says so and is no failed command; `x` typed next goes
     * on where the person was. */
    struct format format = st->x_format;
    uint64_t next = st->x_next;
    bool known = st->x_known;

    for (size_t i = 0; i < st->displays; i++) {
        if (st->display[i].enabled)
            show_display(c, &st->display[i], o);
    }
    o->failed = failed;
    st->x_format = format;
    st->x_next = next;
    st->x_known = known;
}

int cmd_display_run(struct cmd_client *c, const char *args, struct out *o)
{
    struct cmd_state *st = cmd_state(c);
    struct format f;
    struct err e = {0};
    struct display *d;
    uint64_t v;

    if (!*args) {
        if (!cmd_need_stopped(c, o))
            cmd_displays(c, o);
        return o->failed ? -EBUSY : 0;
    }
    if (format_parse(&args, &f, &e) || cmd_eval(c, args, &v, &e))
        return cmd_fail(o, &e);
    st->display = xrealloc(st->display, st->displays + 1, sizeof *st->display);
    d = &st->display[st->displays++];
    *d = (struct display){
        .id = ++st->last_display, .enabled = true, .format = f, .expr = xstrdup(args)};
    show_display(c, d, o);
    return 0;
}

int cmd_undisplay_run(struct cmd_client *c, const char *args, struct out *o)
{
    struct cmd_state *st = cmd_state(c);
    char word[40];

    if (!*args) {
        for (size_t i = 0; i < st->displays; i++)
            free(st->display[i].expr);
        st->displays = 0;
    }
    while (cmd_word(&args, word, sizeof word)) {
        int id = (int)strtol(word, NULL, 10);
        size_t i = 0;

        while (i < st->displays && st->display[i].id != id)
            i++;
        if (i == st->displays) {
            out_error(o, "there is no display %s: `info display` lists them", word);
            return -ENOENT;
        }
        free(st->display[i].expr);
        memmove(&st->display[i], &st->display[i + 1], (--st->displays - i) * sizeof *st->display);
    }
    return 0;
}

int cmd_info_display_run(struct cmd_client *c, const char *args, struct out *o)
{
    static const char *const columns[] = {">Num", "Enb", "Format", "Expression", NULL};
    struct cmd_state *st = cmd_state(c);
    char fmt[32];

    (void)args;
    out_table(o, "displays", "There are no auto-display expressions now: `display EXPR` makes one.",
              columns);
    for (size_t i = 0; i < st->displays; i++) {
        out_row(o);
        out_cell_u64(o, (uint64_t)st->display[i].id);
        out_cell_bool(o, st->display[i].enabled);
        out_cell(o, "%s", format_text(&st->display[i].format, fmt));
        out_cell(o, "%s", st->display[i].expr);
    }
    out_table_end(o);
    return 0;
}
