/*
 * gdb's registers from the register table, and their values. The names and order of the features
 * org.gnu.gdb.i386.* are gdb's ("Standard Target Features, i386 Features" in its manual); what is
 * in no feature of gdb's follows group by group.
 */
#include "debug/gdb/desc.h"

#include <stdio.h>
#include <string.h>

#include "vmm/base/le.h"
#include "vmm/base/x.h"

#define CORE     "org.gnu.gdb.i386.core"
#define SSE      "org.gnu.gdb.i386.sse"
#define AVX      "org.gnu.gdb.i386.avx"
#define SEGMENTS "org.gnu.gdb.i386.segments"

const char *desc_arch_name(enum gdb_arch a)
{
    static const char *const names[GDB_ARCHES] = {"i8086", "i386", "i386:x86-64"};

    return names[a];
}

enum gdb_arch desc_arch_of(enum cpu_mode m)
{
    switch (cpu_mode_bits(m)) {
    case 16:
        return GDB_8086;
    case 32:
        return GDB_386;
    default:
        return GDB_X86_64;
    }
}

/* ---- building ----------------------------------------------------------------------------- */

static struct desc_reg *add(struct desc *d, const char *feature, const char *name, int id,
                            unsigned bytes, const char *type)
{
    struct desc_reg *r = &d->reg[d->count++];

    BUG_ON(d->count > DESC_MAX);
    *r = (struct desc_reg){
        .type = type, .feature = feature, .bytes = (uint16_t)bytes, .id = (int16_t)id};
    snprintf(r->name, sizeof r->name, "%s", name);
    return r;
}

static void add_general(struct desc *d)
{
    static const int order32[] = {REG_rax, REG_rcx, REG_rdx, REG_rbx,
                                  REG_rsp, REG_rbp, REG_rsi, REG_rdi};
    bool wide = d->arch == GDB_X86_64;

    for (unsigned i = 0; i < (wide ? 16u : ARRAY_LEN(order32)); i++) {
        int id = wide ? REG_rax + (int)i : order32[i];
        char name[20];
        bool pointer = id == REG_rsp || id == REG_rbp;

        snprintf(name, sizeof name, "%s%s", wide ? "" : "e", reg_table[id].name + (wide ? 0 : 1));
        add(d, CORE, name, id, wide ? 8 : 4, pointer ? "data_ptr" : wide ? "int64" : "int32");
        if (id == REG_rsp) {
            d->sp = d->count - 1;
            d->reg[d->sp].how = DR_SP;
        }
        if (id == REG_rbp)
            d->bp = d->count - 1;
    }
    d->pc = d->count;
    add(d, CORE, wide ? "rip" : "eip", REG_rip, wide ? 8 : 4, "code_ptr")->how = DR_PC;
    d->flags = d->count;
    add(d, CORE, "eflags", REG_rflags, 4, "i386_eflags");
    for (int id = REG_cs; id <= REG_gs; id++)
        add(d, CORE, reg_table[id].name, id, 4, "int32");
    d->core = d->count;
}

static void add_x87(struct desc *d)
{
    static const struct {
        const char *name;
        int id;
        enum desc_how how;
    } control[] = {
        {"fctrl", REG_fctrl, DR_WHOLE}, {"fstat", REG_fstat, DR_WHOLE},
        {"ftag", REG_ftag, DR_FTAG},    {"fiseg", REG_fip, DR_HIGH16},
        {"fioff", REG_fip, DR_LOW32},   {"foseg", REG_fdp, DR_HIGH16},
        {"fooff", REG_fdp, DR_LOW32},   {"fop", REG_fop, DR_WHOLE},
    };

    for (int id = REG_st0; id <= REG_st7; id++)
        add(d, CORE, reg_table[id].name, id, 10, "i387_ext");
    for (size_t i = 0; i < ARRAY_LEN(control); i++) {
        struct desc_reg *r = add(d, CORE, control[i].name, control[i].id, 4, "int");

        r->how = (uint8_t)control[i].how;
        r->group = "float";
    }
}

static void add_vectors(struct desc *d, bool avx)
{
    int n = d->arch == GDB_X86_64 ? 16 : 8;
    char name[20];

    for (int i = 0; i < n; i++)
        add(d, SSE, reg_table[REG_xmm0 + i].name, REG_xmm0 + i, 16, "vec128");
    add(d, SSE, "mxcsr", REG_mxcsr, 4, "i386_mxcsr")->group = "vector";
    for (int i = 0; avx && i < n; i++) {
        snprintf(name, sizeof name, "ymm%dh", i);
        add(d, AVX, name, REG_ymm0 + i, 16, "uint128")->how = DR_YMM_HIGH;
    }
}

/* gdb prints pointers with the symbol they point to. */
static const char *type_of(int id, unsigned bytes, bool wide)
{
    switch (wide ? id : -1) {
    case REG_msr_lstar:
    case REG_msr_cstar:
    case REG_msr_sysenter_eip:
        return "code_ptr";
    case REG_cr2:
    case REG_gdtr_base:
    case REG_idtr_base:
    case REG_tr_base:
    case REG_ldtr_base:
    case REG_dr0:
    case REG_dr1:
    case REG_dr2:
    case REG_dr3:
    case REG_msr_sysenter_esp:
    case REG_msr_kernel_gs_base:
        return "data_ptr";
    default:
        return bytes == 2 ? "uint16" : bytes == 4 ? "uint32" : "uint64";
    }
}

/* gdb assigns numbers to flags of their own size only, and its numbers are ints: with four bytes
 * `set $cr0 = 1` works. Nothing above bit 31 is in use there, but for CR4.FRED, XCR0.LWP and a
 * local APIC that was moved above 4 GiB; what is there stays as it is. */
static bool is_short(int id)
{
    return id == REG_cr0 || id == REG_cr4 || id == REG_xcr0 || id == REG_efer || id == REG_dr6 ||
           id == REG_dr7 || id == REG_apic_base;
}

/* A row that no feature of gdb's has. Flags need 4 or 8 bytes there. QEMU's name of the MSR that
 * swapgs exchanges is the one that gdb scripts know. */
static void add_row(struct desc *d, const char *feature, int id)
{
    const struct reg_desc *r = &reg_table[id];
    const char *name = !strncmp(r->name, "msr_", 4) ? r->name + 4 : r->name;
    unsigned bytes = r->bits / 8u;
    struct desc_reg *x;

    if (r->flags && (bytes < 4 || is_short(id)))
        bytes = 4;
    if (id == REG_msr_kernel_gs_base)
        name = "k_gs_base";
    x = add(d, feature, name, id, bytes,
            r->flags ? NULL : type_of(id, bytes, d->arch == GDB_X86_64));
    x->group = reg_group_names[r->group];
}

static void add_ours(struct desc *d)
{
    static const struct {
        enum reg_group group;
        const char *feature;
    } groups[] = {
        {RG_CONTROL, "org.vmscope.control"}, {RG_SEGMENT, "org.vmscope.segment"},
        {RG_TABLE, "org.vmscope.table"},     {RG_DEBUG, "org.vmscope.debug"},
        {RG_MSR, "org.vmscope.msr"},
    };
    bool wide = d->arch == GDB_X86_64;

    if (wide) {
        add(d, SEGMENTS, "fs_base", REG_fs_base, 8, "int64");
        add(d, SEGMENTS, "gs_base", REG_gs_base, 8, "int64");
    }
    for (size_t g = 0; g < ARRAY_LEN(groups); g++)
        for (int id = 0; id < REG_COUNT; id++) {
            if (reg_table[id].group != groups[g].group || (id >= REG_cs && id <= REG_gs) ||
                (wide && (id == REG_fs_base || id == REG_gs_base)))
                continue;
            add_row(d, groups[g].feature, id);
        }
}

void desc_build(struct desc *d, enum gdb_arch arch, bool avx)
{
    memset(d, 0, sizeof *d);
    d->arch = arch;
    add_general(d);
    add_x87(d);
    add_vectors(d, avx);
    add_ours(d);
}

/* ---- target.xml --------------------------------------------------------------------------- */

static void xml_flags(struct buf *out, const char *id, unsigned bytes, const struct reg_flag *f)
{
    buf_addf(out, "<flags id=\"%s\" size=\"%u\">\n", id, bytes);
    for (; f->name && f->low + f->width <= 8 * bytes; f++) {
        if (f->width >
            8) /* an address: gdb would print it in decimal, and it is seen in the value */
            continue;
        buf_addf(out, "<field name=\"%s\" start=\"%u\" end=\"%u\"%s/>\n", f->name, f->low,
                 f->low + f->width - 1, f->width > 1 ? " type=\"uint64\"" : "");
    }
    buf_adds(out, "</flags>\n");
}

static const struct reg_flag mxcsr_flags[] = {
    {"IE", 0, 1, ""},  {"DE", 1, 1, ""},  {"ZE", 2, 1, ""},  {"OE", 3, 1, ""},  {"UE", 4, 1, ""},
    {"PE", 5, 1, ""},  {"DAZ", 6, 1, ""}, {"IM", 7, 1, ""},  {"DM", 8, 1, ""},  {"ZM", 9, 1, ""},
    {"OM", 10, 1, ""}, {"UM", 11, 1, ""}, {"PM", 12, 1, ""}, {"FZ", 15, 1, ""}, {0}};

static void xml_vec128(struct buf *out)
{
    static const struct {
        const char *id, *type, *field;
        unsigned count;
    } v[] = {
        {"v4f", "ieee_single", "v4_float", 4}, {"v2d", "ieee_double", "v2_double", 2},
        {"v16i8", "int8", "v16_int8", 16},     {"v8i16", "int16", "v8_int16", 8},
        {"v4i32", "int32", "v4_int32", 4},     {"v2i64", "int64", "v2_int64", 2},
    };

    for (size_t i = 0; i < ARRAY_LEN(v); i++)
        buf_addf(out, "<vector id=\"%s\" type=\"%s\" count=\"%u\"/>\n", v[i].id, v[i].type,
                 v[i].count);
    buf_adds(out, "<union id=\"vec128\">\n");
    for (size_t i = 0; i < ARRAY_LEN(v); i++)
        buf_addf(out, "<field name=\"%s\" type=\"%s\"/>\n", v[i].field, v[i].id);
    buf_adds(out, "<field name=\"uint128\" type=\"uint128\"/>\n</union>\n");
}

/* The first register of its feature with these flags lends the type its name. */
static const char *flags_type(const struct desc *d, unsigned n)
{
    const struct reg_flag *f = reg_table[d->reg[n].id].flags;
    unsigned i = n;

    while (i && !strcmp(d->reg[i - 1].feature, d->reg[n].feature))
        i--;
    while (d->reg[i].type || reg_table[d->reg[i].id].flags != f)
        i++;
    return d->reg[i].name;
}

static void xml_types(const struct desc *d, unsigned n, struct buf *out)
{
    const char *feature = d->reg[n].feature;
    char id[40];

    if (!strcmp(feature, CORE))
        xml_flags(out, "i386_eflags", 4, reg_table[REG_rflags].flags);
    if (!strcmp(feature, SSE)) {
        xml_vec128(out);
        xml_flags(out, "i386_mxcsr", 4, mxcsr_flags);
    }
    for (unsigned i = n; i < d->count && !strcmp(d->reg[i].feature, feature); i++)
        if (!d->reg[i].type && flags_type(d, i) == d->reg[i].name) {
            snprintf(id, sizeof id, "%s_flags", d->reg[i].name);
            xml_flags(out, id, d->reg[i].bytes, reg_table[d->reg[i].id].flags);
        }
}

static void xml_reg(const struct desc *d, unsigned n, struct buf *out)
{
    const struct desc_reg *r = &d->reg[n];

    buf_addf(out, "<reg name=\"%s\" bitsize=\"%u\" regnum=\"%u\" type=\"", r->name, r->bytes * 8u,
             n);
    if (r->type)
        buf_adds(out, r->type);
    else
        buf_addf(out, "%s_flags", flags_type(d, n));
    buf_addc(out, '"');
    if (r->group)
        buf_addf(out, " group=\"%s\"", r->group);
    buf_adds(out, "/>\n");
}

/* An ELF file of the other word size would make gdb refuse the description: `compatible` tells it
 * that both run here. */
void desc_xml(const struct desc *d, struct buf *out)
{
    buf_addf(out,
             "<?xml version=\"1.0\"?>\n<!DOCTYPE target SYSTEM \"gdb-target.dtd\">\n"
             "<target version=\"1.0\">\n<architecture>%s</architecture>\n<osabi>none</osabi>\n",
             desc_arch_name(d->arch));
    if (d->arch == GDB_8086)
        buf_adds(out, "<compatible>i386:x64-32</compatible>\n");
    for (unsigned a = GDB_386; a < GDB_ARCHES; a++)
        if (a != d->arch)
            buf_addf(out, "<compatible>%s</compatible>\n", desc_arch_name((enum gdb_arch)a));
    for (unsigned n = 0; n < d->count; n++) {
        bool first = !n || strcmp(d->reg[n].feature, d->reg[n - 1].feature);

        if (first) {
            buf_addf(out, "%s<feature name=\"%s\">\n", n ? "</feature>\n" : "", d->reg[n].feature);
            xml_types(d, n, out);
        }
        xml_reg(d, n, out);
    }
    buf_adds(out, "</feature>\n</target>\n");
}

/* ---- values --------------------------------------------------------------------------------- */

uint32_t desc_parts(const struct desc *d, unsigned n)
{
    uint32_t parts = reg_table[d->reg[n].id].part;

    if (d->reg[n].how == DR_PC || d->reg[n].how == DR_SP)
        parts |= VS_SREGS;
    return parts;
}

/* What segmentation adds to RIP or RSP; nothing in 64-bit mode. */
static uint64_t base_of(const struct vcpu_state *st, enum desc_how how, bool linear)
{
    if (!linear || cpu_mode_of(&st->sregs, st->regs.rflags) == MODE_LONG64)
        return 0;
    return how == DR_PC ? st->sregs.cs.base : how == DR_SP ? st->sregs.ss.base : 0;
}

/* Two bits a physical register: 3 empty; the others by value: 0 valid, 1 zero, 2 special (Intel
 * SDM 1, 8.1.7). ST(i) is physical register (TOP + i) mod 8. */
static unsigned full_tag(const struct vcpu_state *st)
{
    struct reg_value abridged, status, v;
    unsigned tag = 0;

    reg_read(st, REG_ftag, &abridged);
    reg_read(st, REG_fstat, &status);
    for (unsigned phys = 0; phys < 8; phys++) {
        unsigned top = (unsigned)(status.u >> 11 & 7), two = 3, exponent;

        if (abridged.u >> phys & 1) {
            reg_read(st, REG_st0 + (int)((phys - top) & 7), &v);
            exponent = (unsigned)le_load(v.bytes + 8, 2) & 0x7fff;
            two = exponent == 0 ? (v.u ? 2 : 1) : exponent == 0x7fff || !(v.u >> 63) ? 2 : 0;
        }
        tag |= two << 2 * phys;
    }
    return tag;
}

static unsigned abridged_tag(uint64_t full)
{
    unsigned tag = 0;

    for (unsigned phys = 0; phys < 8; phys++)
        if ((full >> 2 * phys & 3) != 3)
            tag |= 1u << phys;
    return tag;
}

bool desc_read(const struct desc *d, unsigned n, const struct vcpu_state *st, bool linear,
               uint8_t dst[32])
{
    const struct desc_reg *r = &d->reg[n];
    struct reg_value v;

    memset(dst, 0, 32);
    if (reg_read(st, r->id, &v) < 0)
        return false;
    switch ((enum desc_how)r->how) {
    case DR_WHOLE:
        memcpy(dst, v.bytes, r->bytes < v.len ? r->bytes : v.len);
        break;
    case DR_PC:
    case DR_SP:
        le_store(dst, r->bytes, v.u + base_of(st, (enum desc_how)r->how, linear));
        break;
    case DR_FTAG:
        le_store(dst, 2, full_tag(st));
        break;
    case DR_LOW32:
        le_store(dst, 4, v.u);
        break;
    case DR_HIGH16:
        le_store(dst, 2, v.u >> 32);
        break;
    case DR_YMM_HIGH:
        memcpy(dst, v.bytes + 16, 16);
        break;
    }
    return true;
}

/* A linear address as an offset into the segment: it has to lie in it. */
static const char *to_offset(const struct vcpu_state *st, enum desc_how how, uint64_t base,
                             uint64_t *u)
{
    const struct kvm_segment *seg = how == DR_PC ? &st->sregs.cs : &st->sregs.ss;

    *u -= base;
    if (cpu_mode_of(&st->sregs, st->regs.rflags) == MODE_LONG64)
        return NULL;
    if ((base || how == DR_PC) && *u > seg->limit)
        return how == DR_PC ? "the address is outside CS; set cs first"
                            : "the address is outside SS; set ss first";
    return NULL;
}

const char *desc_write(const struct desc *d, unsigned n, const struct vcpu_state *st, bool linear,
                       const uint8_t *bytes, int *id, struct reg_value *v)
{
    const struct desc_reg *r = &d->reg[n];
    unsigned row_bytes = (reg_table[r->id].bits + 7u) / 8u;
    uint64_t u = le_load(bytes, r->bytes < 8 ? r->bytes : 8), base;
    const char *why = NULL;
    struct reg_value old;

    *id = r->id;
    if (reg_read(st, r->id, &old) < 0)
        return "this register is not available here";
    switch ((enum desc_how)r->how) {
    case DR_WHOLE:
        if (r->bytes < row_bytes && r->id != REG_rflags) { /* eax keeps the upper half of rax */
            memcpy(old.bytes, bytes, r->bytes);
            *v = reg_from_bytes(r->id, old.bytes, row_bytes);
        } else if (r->bytes > row_bytes && r->bytes <= 8 && u >> 8 * row_bytes) {
            why = "the value is wider than the register";
        } else {
            *v = r->bytes > 8 ? reg_from_bytes(r->id, bytes, r->bytes) : reg_from_u64(r->id, u);
        }
        break;
    case DR_PC:
    case DR_SP:
        base = base_of(st, (enum desc_how)r->how, linear);
        why = to_offset(st, (enum desc_how)r->how, base, &u);
        *v = reg_from_u64(r->id, u);
        break;
    case DR_FTAG:
        *v = reg_from_u64(r->id, abridged_tag(u));
        break;
    case DR_LOW32:
        *v = reg_from_u64(r->id, (old.u & ~0xffffffffull) | (u & 0xffffffff));
        break;
    case DR_HIGH16:
        *v = reg_from_u64(r->id, (old.u & 0xffffffff) | (u & 0xffff) << 32);
        break;
    case DR_YMM_HIGH:
        memcpy(old.bytes + 16, bytes, 16);
        *v = reg_from_bytes(r->id, old.bytes, 32);
        break;
    }
    return why;
}
