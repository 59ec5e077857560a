/*
 * Builds the guest's CPUID (cpuid.h). Order matters: what KVM supports, then what the probe saw
 * failing is hidden, then the user's words, then what follows from missing features, and last the
 * topology, which nobody may switch off.
 */
#include "vmm/cpuid.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "vmm/base/esc.h"
#include "vmm/base/x.h"

#define FEATURES_MAX 320

/* Bits that leaf 0x80000001 EDX repeats from leaf 1 EDX on AMD processors. */
#define AMD_REPEATED 0x0183f3ffu

/* A feature that fell away takes these with it. */
static const struct {
    const char *base, *needs_it;
} implied[] = {
    {"xsave", "avx xsaveopt xsavec xgetbv1 xsaves xfd pku mpx amx_tile"},
    {"avx", "avx2 fma f16c fma4 xop vaes vpclmulqdq avx_vnni avx_ifma avx512f"},
    {"avx512f", "avx512dq avx512ifma avx512pf avx512er avx512cd avx512bw avx512vl avx512vbmi "
                "avx512_vbmi2 avx512_vnni avx512_bitalg avx512_vpopcntdq avx512_4vnniw "
                "avx512_4fmaps avx512_vp2intersect avx512_fp16 avx512_bf16"},
    {"amx_tile", "amx_bf16 amx_int8 amx_fp16"},
};

/* Features whose instructions stand or fall with one that the probe tried in ring 0. */
static const struct {
    enum probe_insn insn;
    const char *features;
} probed[] = {
    {PI_CMPXCHG16B, "cx16"},
    {PI_POPCNT, "popcnt"},
    {PI_LZCNT, "abm"},
    {PI_TZCNT, "bmi1"},
    {PI_BMI_ANDN, "bmi1 bmi2 adx"},
    {PI_MOVBE, "movbe"},
    {PI_RDTSCP, "rdtscp"},
    {PI_RDPID, "rdpid"},
    {PI_XGETBV, "xsave"},
    {PI_XSAVE, "xsave"},
    {PI_VPXOR, "avx"},
    {PI_CRC32, "sse4_2"},
    {PI_PXOR, "pni ssse3 sse4_1 sse4_2 sse4a aes pclmulqdq sha_ni gfni"},
    {PI_CLAC, "smap"},
    {PI_INVPCID, "invpcid"},
};

const char *cpuid_features_of(enum probe_insn insn)
{
    for (size_t i = 0; i < ARRAY_LEN(probed); i++)
        if (probed[i].insn == insn)
            return probed[i].features;
    return "";
}

/* What the user said about each row of the table, and about "kvm". */
struct wishes {
    int8_t of[FEATURES_MAX]; /* -1 off, 1 on, 0 not mentioned */
    int8_t kvm;
};

static size_t feature_count(void)
{
    size_t n = 0;

    while (cpu_feature_table[n].name)
        n++;
    BUG_ON(n > FEATURES_MAX);
    return n;
}

const struct cpu_feature *cpu_feature_find(const char *name, size_t len)
{
    for (const struct cpu_feature *f = cpu_feature_table; f->name; f++)
        if (strlen(f->name) == len && !strncasecmp(f->name, name, len))
            return f;
    return NULL;
}

struct kvm_cpuid_entry2 *cpuid_find(struct cpuid_table *c, uint32_t leaf, uint32_t subleaf)
{
    for (uint32_t i = 0; i < c->head.nent && i < KVM_CPUID_MAX; i++) {
        struct kvm_cpuid_entry2 *x = &c->entry[i];

        if (x->function == leaf &&
            (x->index == subleaf || !(x->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX)))
            return x;
    }
    return NULL;
}

static uint32_t *feature_word(struct cpuid_table *c, const struct cpu_feature *f)
{
    struct kvm_cpuid_entry2 *x = cpuid_find(c, f->leaf, f->subleaf);

    if (!x)
        return NULL;
    return f->reg == 'a' ? &x->eax : f->reg == 'b' ? &x->ebx : f->reg == 'c' ? &x->ecx : &x->edx;
}

bool cpuid_has(const struct cpuid_table *c, const struct cpu_feature *f)
{
    const uint32_t *word = feature_word((struct cpuid_table *)c, f);

    return word && (*word >> f->bit & 1);
}

static bool is_amd(struct cpuid_table *c)
{
    const struct kvm_cpuid_entry2 *x = cpuid_find(c, 0, 0);

    return x && (x->ebx == 0x68747541 /* Auth */ || x->ebx == 0x6f677948 /* Hygo */);
}

static void set_feature(struct cpuid_table *c, const struct cpu_feature *f, bool is_on)
{
    uint32_t *word = feature_word(c, f), bit = 1u << f->bit;
    struct kvm_cpuid_entry2 *ext = cpuid_find(c, 0x80000001, 0);

    if (word)
        *word = is_on ? *word | bit : *word & ~bit;
    if (f->leaf == 1 && f->reg == 'd' && (bit & AMD_REPEATED) && ext && is_amd(c))
        ext->edx = is_on ? ext->edx | bit : ext->edx & ~bit;
}

static void set_named(struct cpuid_table *c, const char *name, bool is_on)
{
    const struct cpu_feature *f = cpu_feature_find(name, strlen(name));

    BUG_ON(!f);
    set_feature(c, f, is_on);
}

/* Calls fn for each blank-separated name of our own lists. */
static void each_name(const char *list, void (*fn)(void *arg, const struct cpu_feature *f),
                      void *arg)
{
    while (*list) {
        size_t len = strcspn(list, " ");
        const struct cpu_feature *f = cpu_feature_find(list, len);

        BUG_ON(!f);
        fn(arg, f);
        list += len + (list[len] == ' ');
    }
}

/* Levenshtein distance of two names, cut off at 3. */
static unsigned distance(const char *a, size_t a_len, const char *b)
{
    unsigned row[32];
    size_t b_len = strlen(b);

    if (a_len > 30 || b_len > 30)
        return 3;
    for (unsigned j = 0; j <= b_len; j++)
        row[j] = j;
    for (size_t i = 1; i <= a_len; i++) {
        unsigned diagonal = row[0];

        row[0] = (unsigned)i;
        for (size_t j = 1; j <= b_len; j++) {
            unsigned cost = diagonal + (strncasecmp(a + i - 1, b + j - 1, 1) != 0);

            diagonal = row[j];
            if (cost > row[j] + 1)
                cost = row[j] + 1;
            if (cost > row[j - 1] + 1)
                cost = row[j - 1] + 1;
            row[j] = cost;
        }
    }
    return row[b_len] > 3 ? 3 : row[b_len];
}

static bool contains(const char *text, size_t len, const char *name)
{
    char part[32];

    if (len < 3 || len >= sizeof part)
        return false;
    memcpy(part, text, len);
    part[len] = 0;
    return strcasestr(name, part) || (strlen(name) > 2 && strcasestr(part, name));
}

static int unknown_feature(const char *name, size_t len, struct err *e)
{
    struct buf near = {0};
    unsigned found = 0;
    char text[60];
    int r;

    /* Distance 1, then names that contain each other, then distance 2. */
    for (unsigned pass = 0; pass < 3 && found < 6; pass++)
        for (const struct cpu_feature *f = cpu_feature_table; f->name && found < 6; f++) {
            unsigned d = distance(name, len, f->name);
            unsigned rank = d <= 1 ? 0 : contains(name, len, f->name) ? 1 : d == 2 ? 2 : 3;

            if (rank == pass) {
                buf_addf(&near, "%s%s", found ? ", " : "", f->name);
                found++;
            }
        }
    esc_cut(text, sizeof text, name, len);
    r = err_set(e, EINVAL, "unknown CPU feature \"%s\" in --cpu; %s%s%s", text,
                found ? "near it are: " : "names are those of /proc/cpuinfo, with a + or - before",
                buf_str(&near), found ? "" : ", as in --cpu -cx16,+kvm");
    buf_fini(&near);
    return r;
}

static int read_wishes(const char *text, struct wishes *w, struct err *e)
{
    *w = (struct wishes){0};
    while (text && *text) {
        size_t len = strcspn(text, ",");
        const char *name = text;
        size_t name_len = len;
        int8_t on = 1;

        if (len && (*name == '+' || *name == '-')) {
            on = *name == '-' ? -1 : 1;
            name++;
            name_len--;
        }
        if (name_len == 3 && !strncasecmp(name, "kvm", 3)) {
            w->kvm = on;
        } else if (name_len) {
            const struct cpu_feature *f = cpu_feature_find(name, name_len);

            if (!f)
                return unknown_feature(name, name_len, e);
            w->of[f - cpu_feature_table] = on;
        } else if (len) {
            return err_set(e, EINVAL,
                           "a sign without a name in --cpu: write +NAME or -NAME, "
                           "as in --cpu -cx16,+kvm");
        }
        text += len + (text[len] == ',');
    }
    return 0;
}

struct hiding {
    struct cpuid_table *c;
    const struct wishes *w;
    const struct probe *p;
    enum probe_insn insn;
    struct buf *notes;
};

static void hide_probed(void *arg, const struct cpu_feature *f)
{
    struct hiding *h = arg;
    const char *why =
        h->p->insn_wrong[h->insn] ? "gives wrong results" : probe_how_name(h->p->insn[h->insn]);

    if (!cpuid_has(h->c, f) || h->w->of[f - cpu_feature_table])
        return;
    set_feature(h->c, f, false);
    if (h->notes)
        buf_addf(h->notes,
                 "%s is hidden: in ring 0 this KVM cannot run it (%s: %s); --cpu +%s shows it\n",
                 f->name, probe_insn_name(h->insn), why, f->name);
}

/* Not where the processor simply lacks the instruction (an exception in the guest is then right),
 * but the features' bits decide that: only shown ones are hidden. */
static void hide_by_probe(struct cpuid_table *c, const struct probe *p, const struct wishes *w,
                          struct buf *notes)
{
    for (unsigned i = 0; i < ARRAY_LEN(probed); i++) {
        enum probe_how how = p->insn[probed[i].insn];
        struct hiding h = {c, w, p, probed[i].insn, notes};

        if (how != HOW_UNKNOWN && (how != HOW_RUNS || p->insn_wrong[probed[i].insn]))
            each_name(probed[i].features, hide_probed, &h);
    }
    if (notes && (p->insn[PI_PXOR] == HOW_INTERNAL || p->insn[PI_FLD1] == HOW_INTERNAL))
        buf_addf(notes, "fpu, sse and sse2 stay visible although this KVM cannot run them in ring "
                        "0: a 64-bit guest takes them for granted\n");
}

static int apply_wishes(struct cpuid_table *c, const struct probe *p,
                        const struct cpu_choice *choice, const struct wishes *w, struct buf *notes,
                        struct err *e)
{
    for (const struct cpu_feature *f = cpu_feature_table; f->name; f++) {
        int8_t wish = w->of[f - cpu_feature_table];
        bool is_apic = !strcmp(f->name, "x2apic")
                           ? !choice->x2apic
                           : !strcmp(f->name, "tsc_deadline_timer") && !choice->tsc_deadline;

        if (wish > 0 && is_apic)
            return err_set(e, EINVAL,
                           "--cpu +%s is not possible with vmscope's own interrupt controllers: "
                           "only those of the kernel have it, start with --irqchip kernel",
                           f->name);
        if (wish > 0 && !cpuid_has(c, f)) {
            if (!(p && p->emulated))
                return err_set(e, EINVAL,
                               "--cpu +%s is not possible: this processor or its KVM does not "
                               "offer it (KVM_GET_SUPPORTED_CPUID, leaf 0x%x)",
                               f->name, f->leaf);
            /* An emulating KVM under-reports what ring 3 can use. */
            if (notes)
                buf_addf(notes, "%s is shown although this KVM does not list it as supported\n",
                         f->name);
        }
        if (wish)
            set_feature(c, f, wish > 0);
    }
    return 0;
}

static void drop_feature(void *arg, const struct cpu_feature *f)
{
    set_feature(arg, f, false);
}

static void drop_implied(struct cpuid_table *c)
{
    struct kvm_cpuid_entry2 *x;

    for (unsigned i = 0; i < ARRAY_LEN(implied); i++) {
        const struct cpu_feature *f = cpu_feature_find(implied[i].base, strlen(implied[i].base));

        BUG_ON(!f);
        if (!cpuid_has(c, f))
            each_name(implied[i].needs_it, drop_feature, c);
    }
    /* Without XSAVE there is nothing to enumerate about its areas. */
    if (!cpuid_has(c, cpu_feature_find("xsave", 5)))
        for (uint32_t i = 0; i < c->head.nent; i++) {
            x = &c->entry[i];
            if (x->function == 0xd)
                x->eax = x->ebx = x->ecx = x->edx = 0;
        }
}

static void drop_hypervisor(struct cpuid_table *c)
{
    uint32_t to = 0;

    for (uint32_t i = 0; i < c->head.nent; i++)
        if (c->entry[i].function >> 28 != 4)
            c->entry[to++] = c->entry[i];
    memset(&c->entry[to], 0, (c->head.nent - to) * sizeof c->entry[0]);
    c->head.nent = to;
}

/* The entry of a leaf, made when it is missing; NULL when the table is full. */
static struct kvm_cpuid_entry2 *need(struct cpuid_table *c, uint32_t leaf, uint32_t subleaf,
                                     bool has_index)
{
    struct kvm_cpuid_entry2 *x = cpuid_find(c, leaf, subleaf);

    if (x && has_index && !(x->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) && subleaf)
        x = NULL;
    if (!x && c->head.nent < KVM_CPUID_MAX) {
        x = &c->entry[c->head.nent++];
        *x = (struct kvm_cpuid_entry2){.function = leaf, .index = subleaf};
    }
    if (x && has_index)
        x->flags |= KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
    return x;
}

/* One level of leaves 0xb and 0x1f: how far to shift the APIC id, how many below, which type. */
static void set_level(struct cpuid_table *c, uint32_t leaf, uint32_t level, uint32_t shift,
                      uint32_t count, uint32_t type, unsigned id)
{
    struct kvm_cpuid_entry2 *x = need(c, leaf, level, true);

    if (!x)
        return;
    x->eax = shift;
    x->ebx = count;
    x->ecx = level | type << 8;
    x->edx = id;
}

static void set_caches(struct cpuid_table *c, unsigned shift)
{
    uint32_t cores = (1u << shift) - 1;

    for (uint32_t i = 0; i < c->head.nent; i++) {
        struct kvm_cpuid_entry2 *x = &c->entry[i];
        uint32_t level = x->eax >> 5 & 7;

        if ((x->function != 4 && x->function != 0x8000001d) || !(x->eax & 31))
            continue;
        x->eax &= 0x3fff;
        if (level >= 3)
            x->eax |= cores << 14; /* the last level is everybody's */
        if (x->function == 4)
            x->eax |= (cores > 63 ? 63 : cores) << 26;
    }
}

static void set_topology(struct cpuid_table *c, unsigned id, unsigned cpus)
{
    const struct kvm_cpuid_entry2 *zero = cpuid_find(c, 0, 0);
    struct kvm_cpuid_entry2 *x = cpuid_find(c, 1, 0);
    bool amd = is_amd(c);
    unsigned shift = 0;

    while (1u << shift < cpus)
        shift++;
    if (x) {
        uint32_t logical = 1u << shift;

        x->ebx = (x->ebx & 0xffff) | (id & 0xff) << 24 | (logical > 255 ? 255 : logical) << 16;
        set_named(c, "ht", cpus > 1);
    }
    set_caches(c, shift);
    if (zero && zero->eax >= 0xb) {
        set_level(c, 0xb, 0, 0, 1, 1, id);
        set_level(c, 0xb, 1, shift, cpus, 2, id);
        set_level(c, 0xb, 2, 0, 0, 0, id);
    }
    x = cpuid_find(c, 0x1f, 0);
    if (x && zero && zero->eax >= 0x1f) {
        set_level(c, 0x1f, 0, 0, 1, 1, id);
        set_level(c, 0x1f, 1, shift, cpus, 2, id);
        set_level(c, 0x1f, 2, 0, 0, 0, id);
    }
    if (!amd)
        return;
    set_named(c, "cmp_legacy", cpus > 1);
    x = cpuid_find(c, 0x80000008, 0);
    if (x)
        x->ecx = (x->ecx & ~0xf0ffu) | shift << 12 | (cpus - 1 > 255 ? 255 : cpus - 1);
    x = cpuid_find(c, 0x80000000, 0);
    if (cpuid_has(c, cpu_feature_find("topoext", 7)) && x && x->eax >= 0x8000001e) {
        x = need(c, 0x8000001e, 0, false);
        if (x) {
            x->eax = id;
            x->ebx = id & 0xff; /* one thread a core */
            x->ecx = x->edx = 0;
        }
    }
}

int cpuid_adjust(const struct probe *p, const struct cpu_choice *choice, unsigned id,
                 struct cpuid_table *out, struct buf *notes, struct err *e)
{
    struct wishes w;
    int r = read_wishes(choice->features, &w, e);

    if (r)
        return r;
    if (!choice->cpus || id >= choice->cpus)
        return err_set(e, EINVAL, "processor %u does not exist in a machine of %u", id,
                       choice->cpus);
    (void)feature_count(); /* checks that the wishes have room */
    set_named(out, "hypervisor", true);
    set_named(out, "x2apic", choice->x2apic);
    set_named(out, "tsc_deadline_timer", choice->tsc_deadline);
    if (p)
        hide_by_probe(out, p, &w, notes);
    r = apply_wishes(out, p, choice, &w, notes, e);
    if (r)
        return r;
    drop_implied(out);
    if (w.kvm <= 0)
        drop_hypervisor(out);
    set_topology(out, id, choice->cpus);
    return 0;
}

int cpuid_build(int kvm, const struct probe *p, const struct cpu_choice *choice, unsigned id,
                struct cpuid_table *out, struct buf *notes, struct err *e)
{
    int r = kvm_supported_cpuid(kvm, out);

    if (r)
        return err_set(e, -r, "cannot ask KVM which CPU features it supports: %s", strerror(-r));
    return cpuid_adjust(p, choice, id, out, notes, e);
}

void cpuid_check(const struct cpuid_table *asked, const struct cpuid_table *got, struct buf *notes)
{
    for (const struct cpu_feature *f = cpu_feature_table; f->name; f++)
        if (!cpuid_has(asked, f) && cpuid_has(got, f))
            buf_addf(notes,
                     "%s is visible to the guest although it was left out: this KVM forces it in\n",
                     f->name);
}

/* Everything off but what a 64-bit guest cannot be without. */
static void strip(struct cpuid_table *c)
{
    for (const struct cpu_feature *f = cpu_feature_table; f->name; f++)
        if (!(f->reg == 'd' && (f->leaf == 1 || f->leaf == 0x80000001)))
            set_feature(c, f, false);
    drop_hypervisor(c);
    drop_implied(c);
}

int cpuid_forced(int kvm, struct buf *names)
{
    struct cpuid_table asked, got;
    int vm = kvm_create_vm(kvm), vcpu = vm < 0 ? vm : kvm_create_vcpu(vm, 0);
    int r = vcpu < 0 ? vcpu : kvm_supported_cpuid(kvm, &asked);

    if (!r) {
        strip(&asked);
        r = kvm_set_cpuid(vcpu, &asked);
    }
    if (!r)
        r = kvm_get_cpuid(vcpu, &got);
    for (const struct cpu_feature *f = cpu_feature_table; !r && f->name; f++)
        if (!cpuid_has(&asked, f) && cpuid_has(&got, f))
            buf_addf(names, "%s%s", names->len ? " " : "", f->name);
    if (vcpu >= 0)
        close(vcpu);
    if (vm >= 0)
        close(vm);
    return r;
}

unsigned cpuid_maxphyaddr(const struct cpuid_table *c)
{
    const struct kvm_cpuid_entry2 *x = cpuid_find((struct cpuid_table *)c, 0x80000008, 0);
    unsigned bits = x ? x->eax & 0xff : 0;

    return bits >= 32 && bits <= 52 ? bits : 36;
}
