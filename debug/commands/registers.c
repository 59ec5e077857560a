/*
 * `info registers`: name, hex, and the natural form of each register, as gdb prints them.
 * Main thread.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "debug/commands/commands.h"
#include "vmm/base/near.h"
#include "vmm/base/x.h"

static const char *const columns[] = {"name", "hex", "text", "bits", "group", NULL};

/* The bytes of a wide register as one hexadecimal number. */
static void wide_hex(const struct reg_value *v, struct buf *out)
{
    unsigned n = v->len;

    while (n > 1 && !v->bytes[n - 1])
        n--;
    buf_addf(out, "0x%x", v->bytes[n - 1]);
    while (n-- > 1)
        buf_addf(out, "%02x", v->bytes[n - 1]);
}

/* An 80-bit value as the x87 reads it. */
static void x87_text(const struct reg_value *v, struct buf *out)
{
    long double ld = 0;

    memcpy(&ld, v->bytes, 10);
    buf_addf(out, "%.18Lg", ld);
}

static void natural(struct cmd_client *c, int id, const struct reg_value *v, struct buf *out)
{
    const struct reg_desc *d = &reg_table[id];
    char flags[300], name[200];

    if (d->bits == 80) {
        x87_text(v, out);
    } else if (d->bits > 64) {
        buf_adds(out, "{");
        for (unsigned i = 0; i + 4 <= v->len; i += 4)
            buf_addf(out, "%s0x%x", i ? ", " : "",
                     (unsigned)v->bytes[i] | (unsigned)v->bytes[i + 1] << 8 |
                         (unsigned)v->bytes[i + 2] << 16 | (unsigned)v->bytes[i + 3] << 24);
        buf_adds(out, "}");
    } else if (d->flags) {
        reg_flags_text(id, v->u, flags, sizeof flags);
        buf_addf(out, "[%s%s ]", *flags ? " " : "", flags);
    } else if (id == REG_rip) {
        uint64_t pc = v->u;

        cmd_pc(c, &pc);
        buf_addf(out, "0x%llx%s", (unsigned long long)v->u, cmd_symbol(c, pc, name, sizeof name));
    } else if (id == REG_rsp || id == REG_rbp || strstr(d->name, "base") ||
               strstr(d->name, "star") || (d->group == RG_DEBUG && id <= REG_dr3) ||
               id == REG_cr2 || id == REG_cr3) {
        buf_addf(out, "0x%llx%s", (unsigned long long)v->u, cmd_symbol(c, v->u, name, sizeof name));
    } else {
        format_value(out, v->u, d->bits >= 64 ? 8 : d->bits > 16 ? 4 : 8, 'd', false);
    }
}

static void print_register(struct cmd_client *c, int id, const struct reg_value *v, struct out *o)
{
    const struct reg_desc *d = &reg_table[id];
    struct buf hex = {0}, text = {0};

    wide_hex(v, &hex);
    natural(c, id, v, &text);
    out_row(o);
    out_cell(o, "%s", d->name);
    out_cell(o, "%s", buf_str(&hex));
    out_cell(o, "%s", buf_str(&text));
    out_cell_u64(o, d->bits);
    out_cell(o, "%s", reg_group_names[d->group]);
    out_text(o, "%-14s %-18s %s", d->name, buf_str(&hex), buf_str(&text));
    buf_fini(&hex);
    buf_fini(&text);
}

/* gdb's choice of the registers that people look at, with what a kernel needs. */
static bool is_usual(int id)
{
    const struct reg_desc *d = &reg_table[id];

    return d->group == RG_GENERAL ||
           (d->group == RG_SEGMENT && d->flags == NULL && d->bits == 16) || id == REG_fs_base ||
           id == REG_gs_base || (d->group == RG_CONTROL && id != REG_xcr0 && id != REG_apic_base);
}

enum choice { ONE_REGISTER, ONE_GROUP, USUAL, ALL };

static bool is_chosen(int id, enum choice how, int which)
{
    switch (how) {
    case ONE_REGISTER:
        return id == which;
    case ONE_GROUP:
        return reg_table[id].group == which;
    case USUAL:
        return is_usual(id);
    case ALL:
        break;
    }
    return true;
}

static int print_chosen(struct cmd_client *c, enum choice how, int which, struct out *o)
{
    struct reg_value v;
    struct err e = {0};
    int r;

    for (int id = 0; id < REG_COUNT; id++) {
        if (!is_chosen(id, how, which))
            continue;
        e = (struct err){0};
        r = session_reg_get(c->s, session_focus(c->s), id, &v, &e);
        if (!r)
            print_register(c, id, &v, o);
        else if (how == ONE_REGISTER || r == -EBUSY)
            return cmd_fail(o, &e);
    }
    return 0;
}

static int unknown(const char *name, struct out *o)
{
    struct near near = {.word = name};

    for (int i = 0; i < REG_COUNT; i++)
        near_offer(&near, reg_table[i].name);
    for (int i = 0; i < RG_GROUPS; i++)
        near_offer(&near, reg_group_names[i]);
    if (near.best)
        out_error(o, "there is no register or group `%s`: did you mean `%s`?", name, near.best);
    else
        out_error(o,
                  "there is no register or group `%s`: `info registers all` shows every "
                  "register, groups are general segment control table debug x87 sse avx msr",
                  name);
    return -EINVAL;
}

/* A part such as eax, al or ip: gdb shows it under its own name. */
static int print_part(struct cmd_client *c, const char *name, const struct reg_part *part,
                      struct out *o)
{
    struct reg_value v;
    struct err e = {0};
    struct buf text = {0};
    uint64_t u;

    if (session_reg_get(c->s, session_focus(c->s), part->id, &v, &e))
        return cmd_fail(o, &e);
    u = reg_part_get(part, v.u);
    if (reg_table[part->id].flags) {
        char flags[300];

        buf_addf(&text, "[ %s ]", reg_flags_text(part->id, u, flags, sizeof flags));
    } else {
        format_value(&text, u,
                     part->width > 32   ? 8
                     : part->width > 16 ? 4
                     : part->width > 8  ? 2
                                        : 1,
                     'd', false);
    }
    out_row(o);
    out_cell(o, "%s", name);
    out_cell(o, "0x%llx", (unsigned long long)u);
    out_cell(o, "%s", buf_str(&text));
    out_cell_u64(o, part->width);
    out_cell(o, "%s", reg_group_names[reg_table[part->id].group]);
    out_text(o, "%-14s 0x%-16llx %s", name, (unsigned long long)u, buf_str(&text));
    buf_fini(&text);
    return 0;
}

static int print_named(struct cmd_client *c, const char *name, struct out *o)
{
    struct reg_part part;

    if (!strcmp(name, "all"))
        return print_chosen(c, ALL, 0, o);
    for (int g = 0; g < RG_GROUPS; g++) {
        if (!strcasecmp(name, reg_group_names[g]))
            return print_chosen(c, ONE_GROUP, g, o);
    }
    for (int id = 0; id < REG_COUNT; id++) {
        if (!strcasecmp(name, reg_table[id].name))
            return print_chosen(c, ONE_REGISTER, id, o);
    }
    if (!strcmp(name, "pc"))
        return print_chosen(c, ONE_REGISTER, REG_rip, o);
    if (reg_partial(name, &part))
        return print_part(c, name, &part, o);
    return unknown(name, o);
}

int cmd_info_registers_run(struct cmd_client *c, const char *args, struct out *o)
{
    char word[40];
    int r = 0;

    out_records(o, "registers", columns);
    if (!*args)
        r = print_chosen(c, USUAL, 0, o);
    while (!r && cmd_word(&args, word, sizeof word))
        r = print_named(c, word[0] == '$' ? word + 1 : word, o);
    out_table_end(o);
    return r;
}

int cmd_info_all_registers_run(struct cmd_client *c, const char *args, struct out *o)
{
    (void)args;
    return cmd_info_registers_run(c, "all", o);
}
