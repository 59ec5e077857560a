/*
 * The register table and its readers and writers. The rows are in regs.def, the flag names in
 * regs_flags.h. Works on a struct vcpu_state that somebody fetched; any thread that owns it.
 */
#include "vmm/regs.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "vmm/base/le.h"
#include "vmm/base/x.h"
#include "vmm/regs_check.h"
#include "vmm/regs_flags.h"

#define PART_regs  VS_REGS
#define PART_sregs VS_SREGS
#define PART_debug VS_DEBUG
#define PART_xcrs  VS_XCRS

#define MEMBER_SIZE(part, member) sizeof(((struct vcpu_state *)0)->part.member)
#define XSAVE_AT(off)             (offsetof(struct vcpu_state, xsave) + (off))

/* The legacy region of XSAVE and the header behind it: Intel SDM 1, 13.4. */
#define XSAVE_LEGACY_BYTES 416u /* x87 and SSE state without what is reserved behind it */
#define XSAVE_MXCSR        24u
#define XSAVE_MXCSR_MASK   28u
#define XSAVE_ST0          32u
#define XSAVE_XMM0         160u
#define XSAVE_XSTATE_BV    512u
#define XSAVE_AVX          576u
#define XSAVE_AVX_BYTES    256u
#define XSTATE_X87         1u
#define XSTATE_SSE         2u
#define XSTATE_AVX         4u
#define FCW_INITIAL        0x37fu
#define MXCSR_INITIAL      0x1f80u

/* Positions of the M rows among themselves. */
enum {
#define R(id, bits, group, part, member, flags, help)
#define A(id, bits, group, seg, flags, help)
#define V(id, bits, group, off, hi_off, help)
#define M(id, index, flags, help) SLOT_##id,
#include "vmm/regs.def"
#undef R
#undef A
#undef V
#undef M
    SLOT_COUNT,
};
_Static_assert(SLOT_COUNT <= VS_MSRS_MAX, "vcpu_state has a place for every M row");
_Static_assert(sizeof(struct vcpu_state) < 65536, "offsets fit reg_desc");

/* clang-format off */
const struct reg_desc reg_table[REG_COUNT] = {
#define R(id, bits_, group_, part_, member, flags_, help_)                                         \
    [REG_##id] = {.name = #id, .help = help_, .flags = flags_, .bits = bits_, .group = group_,     \
                  .kind = 'R', .part = PART_##part_,                                               \
                  .offset = offsetof(struct vcpu_state, part_.member),                             \
                  .size = MEMBER_SIZE(part_, member)},
#define A(id, bits_, group_, seg, flags_, help_)                                                   \
    [REG_##id] = {.name = #id, .help = help_, .flags = flags_, .bits = bits_, .group = group_,     \
                  .kind = 'A', .part = VS_SREGS,                                                   \
                  .offset = offsetof(struct vcpu_state, sregs.seg),                                \
                  .size = sizeof(struct kvm_segment)},
#define V(id, bits_, group_, off, hi_off, help_)                                                   \
    [REG_##id] = {.name = #id, .help = help_, .bits = bits_, .group = group_, .kind = 'V',         \
                  .part = VS_XSAVE, .offset = XSAVE_AT(off),                                       \
                  .size = (hi_off) ? 16 : (bits_) / 8,                                             \
                  .hi_offset = (hi_off) ? XSAVE_AT(hi_off) : 0},
#define M(id, index, flags_, help_)                                                                \
    [REG_##id] = {.name = #id, .help = help_, .flags = flags_, .bits = 64, .group = RG_MSR,        \
                  .kind = 'M', .part = VS_MSRS,                                                    \
                  .offset = offsetof(struct vcpu_state, msr) + SLOT_##id * sizeof(uint64_t),       \
                  .size = sizeof(uint64_t), .msr_index = index, .msr_slot = SLOT_##id},
#include "vmm/regs.def"
#undef R
#undef A
#undef V
#undef M
};

const uint32_t reg_msr_index[] = {
#define R(id, bits, group, part, member, flags, help)
#define A(id, bits, group, seg, flags, help)
#define V(id, bits, group, off, hi_off, help)
#define M(id, index, flags, help) index,
#include "vmm/regs.def"
#include "vmm/x86_bits.h"
#undef R
#undef A
#undef V
#undef M
};
/* clang-format on */
const unsigned reg_msr_count = SLOT_COUNT;

const char *const reg_group_names[RG_GROUPS] = {
    [RG_GENERAL] = "general", [RG_SEGMENT] = "segment", [RG_CONTROL] = "control",
    [RG_TABLE] = "table",     [RG_DEBUG] = "debug",     [RG_X87] = "x87",
    [RG_SSE] = "sse",         [RG_AVX] = "avx",         [RG_MSR] = "msr",
};

/* ---- reading ----------------------------------------------------------------------------- */

static uint8_t *xsave_bytes(struct vcpu_state *s)
{
    return (uint8_t *)&s->xsave;
}

static uint64_t xstate_bv(const struct vcpu_state *s)
{
    return le_load((const uint8_t *)&s->xsave + XSAVE_XSTATE_BV, 8);
}

/* XSTATE_BV bits without which a V row holds its initial value; MXCSR is saved with SSE and with
 * AVX (SDM 1, 13.7), so either bit will do. */
static uint64_t state_bits(int id)
{
    if (id == REG_mxcsr)
        return XSTATE_SSE | XSTATE_AVX;
    return reg_table[id].group == RG_X87 ? XSTATE_X87 : XSTATE_SSE;
}

static void read_vector(const struct vcpu_state *s, int id, struct reg_value *out)
{
    const struct reg_desc *d = &reg_table[id];
    const uint8_t *base = (const uint8_t *)s;
    uint64_t bv = xstate_bv(s);

    if (bv & state_bits(id))
        memcpy(out->bytes, base + d->offset, d->size);
    else if (id == REG_fctrl)
        le_store(out->bytes, 2, FCW_INITIAL);
    else if (id == REG_mxcsr)
        le_store(out->bytes, 4, MXCSR_INITIAL);
    if (d->hi_offset && (bv & XSTATE_AVX))
        memcpy(out->bytes + 16, base + d->hi_offset, 16);
    out->u = le_load(out->bytes, 8);
}

static uint64_t segment_attributes(const struct kvm_segment *g)
{
    bool present = g->present && !g->unusable;

    return (g->type & 15u) | (g->s & 1u) << 4 | (g->dpl & 3u) << 5 | (unsigned)present << 7 |
           (g->avl & 1u) << 12 | (g->l & 1u) << 13 | (g->db & 1u) << 14 | (g->g & 1u) << 15;
}

static int present(const struct vcpu_state *s, int id)
{
    const struct reg_desc *d = &reg_table[id];

    if (!(s->have & d->part))
        return -ENODATA;
    if (d->kind == 'M' && !s->msr_known[d->msr_slot])
        return -ENODATA;
    if (id == REG_xcr0 && !s->xcrs.nr_xcrs)
        return -ENODATA;
    return 0;
}

int reg_read(const struct vcpu_state *s, int id, struct reg_value *out)
{
    *out = (struct reg_value){0};
    if (id < 0 || id >= REG_COUNT)
        return -EINVAL;

    const struct reg_desc *d = &reg_table[id];
    const uint8_t *at = (const uint8_t *)s + d->offset;

    if (present(s, id))
        return -ENODATA;
    out->len = (d->bits + 7u) / 8u;
    if (d->kind == 'V') {
        read_vector(s, id, out);
        return 0;
    }
    out->u = d->kind == 'A' ? segment_attributes((const struct kvm_segment *)(const void *)at)
                            : le_load(at, d->size);
    le_store(out->bytes, 8, out->u);
    return 0;
}

/* ---- writing ----------------------------------------------------------------------------- */

/* Marks the states in `want` as in use; one that was not gets its initial value first, for what
 * lies in its place may be stale. */
static void use_state(struct vcpu_state *s, uint64_t want)
{
    uint8_t *x = xsave_bytes(s);
    uint64_t bv = xstate_bv(s), fresh = want & ~bv;

    if (fresh & XSTATE_X87) {
        memset(x, 0, XSAVE_MXCSR);
        le_store(x, 2, FCW_INITIAL);
        memset(x + XSAVE_ST0, 0, XSAVE_XMM0 - XSAVE_ST0);
    }
    if (fresh & XSTATE_SSE)
        memset(x + XSAVE_XMM0, 0, XSAVE_LEGACY_BYTES - XSAVE_XMM0);
    if (fresh & XSTATE_AVX)
        memset(x + XSAVE_AVX, 0, XSAVE_AVX_BYTES);
    if (!(bv & (XSTATE_SSE | XSTATE_AVX)) && (fresh & (XSTATE_SSE | XSTATE_AVX)))
        le_store(x + XSAVE_MXCSR, 4, MXCSR_INITIAL);
    le_store(x + XSAVE_XSTATE_BV, 8, bv | want);
}

static int write_vector(struct vcpu_state *s, int id, const struct reg_value *v, const char **why)
{
    const struct reg_desc *d = &reg_table[id];
    uint8_t *base = (uint8_t *)s;

    if (id == REG_mxcsr) {
        uint64_t mask = le_load(xsave_bytes(s) + XSAVE_MXCSR_MASK, 4);

        if (le_load(v->bytes, 4) & ~(mask ? mask : 0xffffu)) {
            *why = "bits are set that this processor's MXCSR does not have";
            return -EINVAL;
        }
    }
    use_state(s, d->group == RG_X87 ? XSTATE_X87
                 : d->hi_offset     ? XSTATE_SSE | XSTATE_AVX
                                    : XSTATE_SSE);
    memcpy(base + d->offset, v->bytes, d->size);
    if (d->hi_offset)
        memcpy(base + d->hi_offset, v->bytes + 16, 16);
    return 0;
}

static void set_segment_attributes(struct kvm_segment *g, uint64_t v)
{
    g->type = v & 15;
    g->s = v >> 4 & 1;
    g->dpl = v >> 5 & 3;
    g->present = v >> 7 & 1;
    g->unusable = !g->present;
    g->avl = v >> 12 & 1;
    g->l = v >> 13 & 1;
    g->db = v >> 14 & 1;
    g->g = v >> 15 & 1;
}

/* What else the processor changes with this register; `s` holds the new value already. */
static void write_effects(struct vcpu_state *s, int id, uint64_t old)
{
    static const struct {
        int id;
        uint16_t offset;
    } selectors[] = {
        {REG_cs, offsetof(struct kvm_sregs, cs)}, {REG_ss, offsetof(struct kvm_sregs, ss)},
        {REG_ds, offsetof(struct kvm_sregs, ds)}, {REG_es, offsetof(struct kvm_sregs, es)},
        {REG_fs, offsetof(struct kvm_sregs, fs)}, {REG_gs, offsetof(struct kvm_sregs, gs)},
    };
    bool v86 = (s->have & VS_REGS) && (s->regs.rflags & RFLAGS_VM);

    if (id == REG_cr0) {
        bool lma = (s->sregs.efer & EFER_LME) && (s->sregs.cr0 & CR0_PG);

        s->sregs.efer = (s->sregs.efer & ~(uint64_t)EFER_LMA) | (lma ? EFER_LMA : 0);
    }
    if ((s->sregs.cr0 & CR0_PE) && !v86)
        return;
    for (size_t i = 0; i < ARRAY_LEN(selectors); i++)
        if (selectors[i].id == id) {
            struct kvm_segment *g = (void *)((uint8_t *)&s->sregs + selectors[i].offset);

            if (g->selector != old)
                g->base = (uint64_t)g->selector << 4;
        }
}

int reg_write(struct vcpu_state *s, int id, const struct reg_value *v, const char **why)
{
    const char *none;

    if (!why)
        why = &none;
    *why = "this register is not available here";
    if (id < 0 || id >= REG_COUNT)
        return -EINVAL;

    const struct reg_desc *d = &reg_table[id];
    uint8_t *at = (uint8_t *)s + d->offset;
    uint64_t u = v->u;

    if (present(s, id))
        return -ENODATA;
    if (d->kind == 'V')
        return write_vector(s, id, v, why);
    if (d->bits < 64 && u >> d->bits) {
        *why = "the value is wider than the register";
        return -EINVAL;
    }
    *why = reg_refusal(s, id, &u);
    if (*why)
        return -EINVAL;
    if (d->kind == 'A') {
        set_segment_attributes((struct kvm_segment *)(void *)at, u);
        return 0;
    }
    uint64_t old = le_load(at, d->size);

    le_store(at, d->size, u);
    write_effects(s, id, old);
    return 0;
}

struct reg_value reg_from_bytes(int id, const void *bytes, unsigned len)
{
    struct reg_value v = {.len = (reg_table[id].bits + 7u) / 8u};

    memcpy(v.bytes, bytes, len < v.len ? len : v.len);
    v.u = le_load(v.bytes, 8);
    return v;
}

struct reg_value reg_from_u64(int id, uint64_t u)
{
    struct reg_value v = {.u = u, .len = (reg_table[id].bits + 7u) / 8u};

    le_store(v.bytes, 8, u);
    return v;
}

/* ---- text -------------------------------------------------------------------------------- */

static void add_word(char *dst, unsigned cap, const char *word)
{
    size_t n = strlen(dst);

    if (n < cap)
        snprintf(dst + n, cap - n, "%s%s", n ? " " : "", word);
}

const char *reg_flags_text(int id, uint64_t value, char *dst, unsigned cap)
{
    char word[48];

    if (!cap)
        return dst;
    dst[0] = '\0';
    if (id < 0 || id >= REG_COUNT || !reg_table[id].flags)
        return dst;
    /* Bits that are always one say nothing. */
    if (id == REG_rflags)
        value &= ~RFLAGS_ONE;
    if (id == REG_dr6)
        value &= ~DR6_ONES;
    if (id == REG_dr7)
        value &= ~DR7_ONE;
    for (const struct reg_flag *f = reg_table[id].flags; f->name; f++) {
        uint64_t field = value >> f->low & ((1ull << f->width) - 1);

        if (!field)
            continue;
        value &= ~(((1ull << f->width) - 1) << f->low);
        if (f->width == 1)
            snprintf(word, sizeof word, "%s", f->name);
        else
            snprintf(word, sizeof word, field < 10 ? "%s=%llu" : "%s=0x%llx", f->name,
                     (unsigned long long)field);
        add_word(dst, cap, word);
    }
    if (value) {
        snprintf(word, sizeof word, "+0x%llx", (unsigned long long)value);
        add_word(dst, cap, word);
    }
    return dst;
}

/* ---- modes ------------------------------------------------------------------------------- */

enum cpu_mode cpu_mode_of(const struct kvm_sregs *s, uint64_t rflags)
{
    if (!(s->cr0 & CR0_PE))
        return MODE_REAL;
    if (s->efer & EFER_LMA)
        return s->cs.l ? MODE_LONG64 : s->cs.db ? MODE_COMPAT32 : MODE_COMPAT16;
    if (rflags & RFLAGS_VM)
        return MODE_V86;
    return s->cs.db ? MODE_PROT32 : MODE_PROT16;
}

static const struct {
    const char *name;
    uint8_t bits;
} modes[CPU_MODES] = {
    [MODE_REAL] = {"real", 16},         [MODE_V86] = {"v86", 16},
    [MODE_PROT16] = {"prot16", 16},     [MODE_PROT32] = {"prot32", 32},
    [MODE_COMPAT16] = {"compat16", 16}, [MODE_COMPAT32] = {"compat32", 32},
    [MODE_LONG64] = {"long64", 64},
};

const char *cpu_mode_name(enum cpu_mode m)
{
    return (unsigned)m < CPU_MODES ? modes[m].name : "?";
}

unsigned cpu_mode_bits(enum cpu_mode m)
{
    return (unsigned)m < CPU_MODES ? modes[m].bits : 16;
}

unsigned cpu_code_bits(const struct kvm_sregs *s, const struct kvm_segment *cs)
{
    if (!(s->cr0 & CR0_PE))
        return 16;
    return (s->efer & EFER_LMA) && cs->l ? 64 : cs->db ? 32 : 16;
}
