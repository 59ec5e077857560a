/* The guest's CPUID from fabricated tables; one test reads back what this KVM makes of it. */
#include <ctype.h>
#include <unistd.h>

#include "tests/test.h"
#include "vmm/cpuid.h"

static struct cpuid_table t;
static struct probe p;
static struct buf notes;
static struct err e;

static void add(uint32_t leaf, uint32_t sub, bool indexed, uint32_t a, uint32_t b, uint32_t c,
                uint32_t d)
{
    t.entry[t.head.nent++] =
        (struct kvm_cpuid_entry2){.function = leaf,
                                  .index = sub,
                                  .flags = indexed ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0,
                                  .eax = a,
                                  .ebx = b,
                                  .ecx = c,
                                  .edx = d};
}

/* A full processor of either vendor. */
static void make(bool amd)
{
    memset(&t, 0, sizeof t);
    memset(&p, 0, sizeof p);
    for (int i = 0; i < PROBE_INSNS; i++)
        p.insn[i] = HOW_RUNS;
    buf_clear(&notes);
    memset(&e, 0, sizeof e);
    add(0, 0, false, 0x1f, amd ? 0x68747541 : 0x756e6547, 0, 0);
    add(1, 0, false, 0x663, 0x07ff0800, 0xffffffff, 0xffffffff);
    add(4, 0, true, 0xffffc121, 0, 0, 0);
    add(4, 3, true, 0x163, 0, 0, 0);
    add(4, 4, true, 0, 0, 0, 0);
    add(7, 0, true, 1, 0xffffffff, 0xffffffff, 0xffffffff);
    add(7, 1, true, 0xffffffff, 0, 0, 0);
    add(0xb, 0, true, 0, 0, 0, 0);
    add(0xd, 0, true, 7, 0x340, 0x340, 0);
    add(0xd, 1, true, 0xf, 0, 0, 0);
    add(0x40000000, 0, false, 0x40000001, 1, 2, 3);
    add(0x40000001, 0, false, 0x01007efb, 0, 0, 0);
    add(0x80000000, 0, false, 0x8000001f, 0, 0, 0);
    add(0x80000001, 0, false, 0, 0, 0xffffffff, 0xffffffff);
    add(0x80000008, 0, false, 0x3028, 0xffffffff, 0, 0);
}

static bool has(const char *name)
{
    const struct cpu_feature *f = cpu_feature_find(name, strlen(name));

    return f && cpuid_has(&t, f);
}

static int adjust(const char *features, unsigned id, unsigned cpus)
{
    struct cpu_choice c = {.features = features, .cpus = cpus};

    return cpuid_adjust(&p, &c, id, &t, &notes, &e);
}

static void table(void)
{
    const struct cpu_feature *f, *g;
    unsigned n = 0;

    for (f = cpu_feature_table; f->name; f++, n++) {
        CHECK(*f->name && strlen(f->name) < 31 && f->help && *f->help);
        CHECK(strchr("abcd", f->reg) && f->bit < 32);
        for (const char *s = f->name; *s; s++)
            CHECK(islower((unsigned char)*s) || isdigit((unsigned char)*s) || *s == '_');
        for (g = f + 1; g->name; g++) {
            CHECK(strcmp(f->name, g->name));
            CHECK(f->leaf != g->leaf || f->subleaf != g->subleaf || f->reg != g->reg ||
                  f->bit != g->bit);
        }
    }
    CHECK(n > 200);
    CHECK(cpu_feature_find("CX16", 4) && cpu_feature_find("CX16", 4)->bit == 13);
    CHECK(!cpu_feature_find("cx1", 3));
}

static void plain(void)
{
    make(true);
    CHECK_EQ(adjust(NULL, 0, 1), 0);
    CHECK(has("cx16") && has("avx") && has("lm") && has("hypervisor"));
    CHECK(!has("x2apic") && !has("tsc_deadline_timer"));
    CHECK(!cpuid_find(&t, 0x40000000, 0) && !cpuid_find(&t, 0x40000001, 0));
    CHECK(cpuid_find(&t, 0x80000008, 0));
    CHECK_STR(buf_str(&notes), "");
    CHECK_EQ(cpuid_maxphyaddr(&t), 0x28);
}

static void switching(void)
{
    make(true);
    CHECK_EQ(adjust("-cx16,-FPU,+kvm,,-avx,+cx16,-cx16", 0, 1), 0);
    CHECK(!has("cx16") && !has("fpu"));
    CHECK_EQ(cpuid_find(&t, 0x80000001, 0)->edx & 1, 0); /* AMD's copy of fpu */
    CHECK(cpuid_find(&t, 0x40000000, 0) && cpuid_find(&t, 0x40000001, 0));
    CHECK(!has("avx2") && !has("fma") && !has("avx512f") && !has("avx512_bf16")); /* need avx */
    CHECK(has("xsave") && has("aes"));
    make(false);
    CHECK_EQ(adjust("-xsave", 0, 1), 0);
    CHECK(!has("avx") && !has("xsaveopt") && !has("amx_bf16"));
    CHECK_EQ(cpuid_find(&t, 0xd, 0)->eax, 0);
}

static void wrong_names(void)
{
    make(true);
    CHECK(adjust("-cx61", 0, 1) < 0);
    CHECK_HAS(e.msg, "\"cx61\"");
    make(true);
    CHECK(adjust("+sse42", 0, 1) < 0);
    CHECK_HAS(e.msg, "sse4_2");
    make(true);
    CHECK(adjust("avx512", 0, 1) < 0);
    CHECK_HAS(e.msg, "avx512f");
    make(true);
    CHECK(adjust("-zzzzzzzzzz", 0, 1) < 0);
    CHECK_HAS(e.msg, "/proc/cpuinfo");
    make(true);
    CHECK(adjust("+", 0, 1) < 0);
    CHECK_HAS(e.msg, "sign without a name");
    make(true);
    CHECK(
        adjust("\033[2Jaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
               0, 1) < 0);
    CHECK(!strchr(e.msg, 27));
}

static void impossible(void)
{
    make(true);
    cpuid_find(&t, 7, 0)->ebx = 0;
    CHECK(adjust("+avx512f", 0, 1) < 0);
    CHECK_HAS(e.msg, "does not offer");
    make(true);
    CHECK(adjust("+x2apic", 0, 1) < 0);
    CHECK_HAS(e.msg, "--irqchip kernel");
    make(true);
    struct cpu_choice c = {.features = "+x2apic", .cpus = 1, .x2apic = true, .tsc_deadline = true};
    CHECK_EQ(cpuid_adjust(&p, &c, 0, &t, &notes, &e), 0);
    CHECK(has("x2apic") && has("tsc_deadline_timer"));
    make(true);
    CHECK(adjust(NULL, 2, 2) < 0);
    CHECK(adjust(NULL, 0, 0) < 0);
}

static void hidden_by_probe(void)
{
    make(true);
    p.insn[PI_CMPXCHG16B] = HOW_INTERNAL;
    p.insn[PI_XGETBV] = HOW_INTERNAL;
    p.insn[PI_PXOR] = HOW_INTERNAL;
    p.insn_wrong[PI_LZCNT] = true;
    p.emulated = true;
    CHECK_EQ(adjust("+popcnt", 0, 1), 0);
    CHECK(!has("cx16") && !has("xsave") && !has("avx") && !has("abm") && !has("aes"));
    CHECK(has("popcnt") && has("sse2") && has("fpu"));
    CHECK_HAS(buf_str(&notes), "cx16 is hidden");
    CHECK_HAS(buf_str(&notes), "--cpu +cx16");
    CHECK_HAS(buf_str(&notes), "abm is hidden");
    CHECK_HAS(buf_str(&notes), "wrong results");
    CHECK_HAS(buf_str(&notes), "sse2 stay visible");
    /* Asked for, it is shown, and no note claims otherwise. */
    make(true);
    p.insn[PI_CMPXCHG16B] = HOW_INTERNAL;
    CHECK_EQ(adjust("+cx16", 0, 1), 0);
    CHECK(has("cx16"));
    CHECK_STR(buf_str(&notes), "");
    /* An emulating KVM lists less than it can: + works there. */
    make(true);
    cpuid_find(&t, 1, 0)->ecx = 0;
    p.emulated = true;
    CHECK_EQ(adjust("+popcnt", 0, 1), 0);
    CHECK(has("popcnt"));
    CHECK_HAS(buf_str(&notes), "popcnt is shown");
}

static void topology(void)
{
    for (unsigned cpus = 1; cpus <= 9; cpus++)
        for (unsigned id = 0; id < cpus; id++)
            for (int amd = 0; amd < 2; amd++) {
                struct kvm_cpuid_entry2 *x;
                unsigned shift;

                make(amd);
                CHECK_EQ(adjust(NULL, id, cpus), 0);
                x = cpuid_find(&t, 0xb, 1);
                CHECK(x);
                shift = x->eax;
                CHECK(1u << shift >= cpus && (!shift || 1u << (shift - 1) < cpus));
                CHECK_EQ(x->ebx, cpus);
                CHECK_EQ(x->ecx, 0x201);
                CHECK_EQ(x->edx, id);
                x = cpuid_find(&t, 0xb, 0);
                CHECK(x && x->eax == 0 && x->ebx == 1 && x->ecx == 0x100 && x->edx == id);
                x = cpuid_find(&t, 0xb, 2);
                CHECK(x && x->ebx == 0 && x->ecx == 2 && x->edx == id);
                x = cpuid_find(&t, 1, 0);
                CHECK_EQ(x->ebx >> 24, id);
                CHECK_EQ(x->ebx >> 16 & 0xff, 1u << shift);
                CHECK_EQ(x->ebx & 0xffff, 0x0800);
                CHECK_EQ(x->edx >> 28 & 1, cpus > 1);
                x = cpuid_find(&t, 4, 0);
                CHECK_EQ(x->eax >> 26, (1u << shift) - 1);
                CHECK_EQ(x->eax >> 14 & 0xfff, 0); /* L1: its own */
                x = cpuid_find(&t, 4, 3);
                CHECK_EQ(x->eax >> 14 & 0xfff, (1u << shift) - 1); /* L3: shared */
                CHECK_EQ(cpuid_find(&t, 4, 4)->eax, 0);
                if (!amd)
                    continue;
                x = cpuid_find(&t, 0x80000008, 0);
                CHECK_EQ(x->ecx, shift << 12 | (cpus - 1));
                x = cpuid_find(&t, 0x8000001e, 0);
                CHECK(x && x->eax == id && x->ebx == id);
            }
}

static void full_table(void)
{
    make(true);
    while (t.head.nent < KVM_CPUID_MAX)
        add(0x7000 + t.head.nent, 0, false, 0, 0, 0, 0);
    CHECK_EQ(adjust("+kvm", 0, 4), 0);
    CHECK(t.head.nent <= KVM_CPUID_MAX);
    memset(&t, 0, sizeof t);
    CHECK_EQ(adjust(NULL, 0, 4), 0);
    CHECK_EQ(cpuid_maxphyaddr(&t), 36);
}

static void forced_bits(void)
{
    struct cpuid_table asked;
    struct buf b = {0};

    make(true);
    CHECK_EQ(adjust("-popcnt", 0, 1), 0);
    asked = t;
    cpuid_check(&asked, &t, &b);
    CHECK_STR(buf_str(&b), "");
    cpuid_find(&t, 1, 0)->ecx |= 1u << 23;
    cpuid_check(&asked, &t, &b);
    CHECK_STR(buf_str(&b),
              "popcnt is visible to the guest although it was left out: this KVM forces it in\n");
    buf_fini(&b);
}

static void real_kvm(void)
{
    struct cpu_choice c = {.cpus = 2};
    struct cpuid_table got;
    int fd = kvm_open(&e), vm, vcpu;

    if (fd < 0)
        SKIP("%s", e.msg);
    vm = kvm_create_vm(fd);
    CHECK(vm >= 0);
    CHECK_EQ(cpuid_build(fd, NULL, &c, 1, &t, NULL, &e), 0);
    vcpu = kvm_create_vcpu(vm, 1);
    CHECK(vcpu >= 0);
    CHECK_EQ(kvm_set_cpuid(vcpu, &t), 0);
    CHECK_EQ(kvm_get_cpuid(vcpu, &got), 0);
    /* Some KVMs drop empty leaves, so only what matters is compared. */
    CHECK(got.head.nent > 4 && got.head.nent <= t.head.nent);
    CHECK(!cpuid_find(&t, 0xb, 1) || cpuid_find(&got, 0xb, 1)->ebx == 2);
    CHECK_EQ(cpuid_find(&got, 1, 0)->ebx >> 24, 1);
    CHECK(!cpuid_find(&got, 0x40000000, 0));
    buf_clear(&notes);
    cpuid_check(&t, &got, &notes);
    CHECK(cpuid_maxphyaddr(&got) >= 32);
    close(vcpu);
    close(vm);
    close(fd);
}

static void done(void)
{
    buf_fini(&notes);
}

static const struct test tests[] = {
    {"table", table},
    {"plain", plain},
    {"switching", switching},
    {"wrong_names", wrong_names},
    {"impossible", impossible},
    {"hidden_by_probe", hidden_by_probe},
    {"topology", topology},
    {"full_table", full_table},
    {"forced_bits", forced_bits},
    {"real_kvm", real_kvm},
    {"done", done},
};
TEST_MAIN(tests)
