/*
 * The report of doctor.h. It decides nothing: methods come from vmm/method.c, where the engine gets
 * them too.
 */
#include "debug/doctor.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "vmm/base/x.h"
#include "vmm/cpuid.h"
#include "vmm/kvm.h"
#include "vmm/method.h"

struct row {
    const char *name;
    size_t offset; /* of the enum probe_how [PROBE_MODES] */
};

static const struct row mode_rows[] = {
    {"single step", offsetof(struct probe, step)},
    {"int3 (cc)", offsetof(struct probe, int3)},
    {"icebp (f1)", offsetof(struct probe, icebp)},
    {"exec debug reg.", offsetof(struct probe, hw_exec)},
    {"write debug reg.", offsetof(struct probe, hw_write)},
    {"access debug reg.", offsetof(struct probe, hw_access)},
    {"write, read-only slot", offsetof(struct probe, ro_slot_write)},
    {"read, no slot", offsetof(struct probe, hole_read)},
    {"fetch, no slot", offsetof(struct probe, hole_fetch)},
};

static const struct row single_rows[] = {
    {"HLT in ring 0", offsetof(struct probe, planted_hlt)},
    {"single step over HLT", offsetof(struct probe, step_hlt)},
    {"single step over IRETQ", offsetof(struct probe, step_iret)},
    {"single step onto a fault", offsetof(struct probe, step_fault)},
    {"ring-3 step, hidden IDT", offsetof(struct probe, step_hidden)},
    {"debug register on a gate", offsetof(struct probe, gate_exec)},
    {"filtered MSR", offsetof(struct probe, msr_filter)},
    {"SYSCALL from ring 3", offsetof(struct probe, syscall_ring3)},
    {"INT n from ring 3", offsetof(struct probe, int_ring3)},
};

static const char *host_kind(const struct probe *p)
{
    if (p->emulated)
        return "This KVM runs 64-bit ring-3 code natively and all else in its own emulator: slow, "
               "with gaps.";
    if (p->int3[PM_LONG0] == HOW_DEBUG && p->hw_exec[PM_LONG0] == HOW_DEBUG)
        return "This KVM uses hardware virtualisation and intercepts what a debugger needs.";
    return "This KVM uses hardware virtualisation but loses debug events: other methods stand in.";
}

/* "key   value" with room for long keys; JSON has the same. */
static void fact(struct out *o, const char *key, const char *value)
{
    out_text(o, "%-41s %s", key, value);
    out_json_str(o, key, value);
}

static void fact_bool(struct out *o, const char *key, bool value)
{
    out_text(o, "%-41s %s", key, value ? "yes" : "no");
    out_json_bool(o, key, value);
}

/* A heading and its words below, folded to a terminal's width. */
static void fact_list(struct out *o, const char *key, const char *words)
{
    out_text(o, "%s:", key);
    out_json_str(o, key, words);
    while (*words) {
        size_t len = strlen(words);

        if (len > 76) {
            len = 76;
            while (len > 1 && words[len] != ' ')
                len--;
        }
        out_text(o, "  %.*s", (int)len, words);
        words += len;
        words += strspn(words, " ");
    }
}

/* For information alone; nothing is decided by it. */
static const char *module_name(void)
{
    static const char *const known[] = {"kvm_amd", "kvm_intel", "kvm_pvm"};
    char path[64];

    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        snprintf(path, sizeof path, "/sys/module/%s", known[i]);
        if (!access(path, F_OK))
            return known[i];
    }
    return "not known";
}

static void host_name(struct out *o)
{
    char line[256], name[128] = "not known";
    FILE *f = fopen("/proc/cpuinfo", "re");
    struct utsname u;

    while (f && fgets(line, sizeof line, f)) {
        char *colon = strchr(line, ':');

        if (!strncmp(line, "model name", 10) && colon && colon[1]) {
            colon[strcspn(colon, "\n")] = 0;
            snprintf(name, sizeof name, "%.100s", colon + 2);
            break;
        }
    }
    if (f)
        fclose(f);
    out_kv_str(o, "processor", name);
    if (!uname(&u)) {
        snprintf(line, sizeof line, "%s %s", u.sysname, u.release);
        out_kv_str(o, "kernel", line);
    }
    out_kv_str(o, "module", module_name());
}

static enum probe_how how_in(const struct probe *p, const struct row *r, unsigned mode)
{
    return ((const enum probe_how *)(const void *)((const char *)p + r->offset))[mode];
}

static void report_events(const struct probe *p, struct out *o)
{
    static const char *const columns[] = {"event",       "real",          "prot32", "long ring 0",
                                          "long ring 3", "32-bit ring 3", NULL};

    out_text(o, "%s", "");
    out_text(o, "What becomes of an event (debug, mmio, halt, msr: a clean exit; fails: emulation "
                "failure");
    out_text(o, "exit at the instruction; guest: the guest's own handler; never: not noticed):");
    out_table(o, "events", NULL, columns);
    for (size_t i = 0; i < ARRAY_LEN(mode_rows); i++) {
        out_row(o);
        out_cell(o, "%s", mode_rows[i].name);
        for (unsigned mode = 0; mode < PROBE_MODES; mode++)
            out_cell(o, "%s", probe_how_key(how_in(p, &mode_rows[i], mode)));
    }
    out_table_end(o);
}

/* Two results mean something special there. */
static const char *single_text(const struct row *r, enum probe_how how)
{
    if (r->offset == offsetof(struct probe, step_fault))
        return how == HOW_OTHER   ? "stops after the handler's first instruction"
               : how == HOW_GUEST ? "the handler runs freely"
                                  : probe_how_name(how);
    if (r->offset == offsetof(struct probe, step_iret) && how == HOW_NEVER)
        return "runs on";
    return probe_how_name(how);
}

static void report_single(const struct probe *p, struct out *o)
{
    static const char *const columns[] = {"other event", "result", NULL};

    out_text(o, "%s", "");
    out_table(o, "other_events", NULL, columns);
    for (size_t i = 0; i < ARRAY_LEN(single_rows); i++) {
        out_row(o);
        out_cell(o, "%s", single_rows[i].name);
        out_cell(o, "%s", single_text(&single_rows[i], how_in(p, &single_rows[i], 0)));
    }
    out_table_end(o);
}

/* "prot long0", or "all". */
static void where_text(unsigned modes, char dst[64])
{
    size_t len = 0;

    dst[0] = 0;
    for (unsigned mode = 0; mode < PROBE_MODES; mode++)
        if (modes >> mode & 1 && len < 50)
            len +=
                (size_t)snprintf(dst + len, 64 - len, "%s%s", len ? " " : "", probe_mode_key(mode));
    if (modes == (1u << PROBE_MODES) - 1)
        snprintf(dst, 64, "all");
}

/* One row for all modes that share method and reason. */
/* What is taken where the first is used up or does not reach. */
static void then_cell(const struct methods *m, enum method_feature f, enum probe_mode mode,
                      struct out *o)
{
    const struct method_pick *pick = &m->pick[f][mode];
    struct buf b = {0};

    for (unsigned i = 1; i < METHOD_RUNGS_MAX && pick->ladder[i] != METHOD_NONE; i++)
        buf_addf(&b, "%s%s", b.len ? ", " : "", method_name(pick->ladder[i]));
    out_cell(o, "%s", buf_str(&b));
    buf_fini(&b);
}

static void report_feature(const struct probe *p, const struct methods *m, enum method_feature f,
                           struct out *o)
{
    unsigned done = 0;

    for (enum probe_mode mode = 0; mode < PROBE_MODES; mode++) {
        struct buf why = {0};
        unsigned same = 0;
        char where[64];

        if (done >> mode & 1 || !method_applies(f, mode))
            continue;
        method_reason(p, m, f, mode, &why);
        for (enum probe_mode k = mode; k < PROBE_MODES; k++) {
            struct buf other = {0};

            method_reason(p, m, f, k, &other);
            if (method_applies(f, k) &&
                !memcmp(&m->pick[f][k], &m->pick[f][mode], sizeof m->pick[f][k]) &&
                !strcmp(buf_str(&other), buf_str(&why)))
                same |= 1u << k;
            buf_fini(&other);
        }
        done |= same;
        where_text(same, where);
        out_row(o);
        out_cell(o, "%s", method_feature_name(f));
        out_cell(o, "%s", where);
        out_cell(o, "%s", method_name(method_of(m, f, mode)));
        then_cell(m, f, mode, o);
        out_cell(o, "%s", buf_str(&why));
        buf_fini(&why);
    }
}

static void report_methods(const struct probe *p, struct out *o)
{
    static const char *const columns[] = {"feature", "where", "method", "then", "because", NULL};
    bool used[METHODS] = {false};
    struct methods m;

    methods_choose(p, &m);
    out_text(o, "%s", "");
    out_text(o, "The debugger's methods here:");
    out_table(o, "methods", NULL, columns);
    for (enum method_feature f = 0; f < METHOD_FEATURES; f++) {
        report_feature(p, &m, f, o);
        for (enum probe_mode mode = 0; mode < PROBE_MODES; mode++)
            for (unsigned i = 0; i < METHOD_RUNGS_MAX; i++)
                used[m.pick[f][mode].ladder[i]] |= method_applies(f, mode);
    }
    out_table_end(o);
    out_text(o, "%s", "");
    for (enum method how = METHOD_NONE + 1; how < METHODS; how++)
        if (used[how])
            out_text(o, "  %-15s %s", method_name(how), method_help(how));
}

/* Names of the instructions that `pick` selects, or "none". */
static void report_insns(const struct probe *p, struct out *o, const char *key,
                         bool (*pick)(const struct probe *, enum probe_insn))
{
    struct buf b = {0};

    for (enum probe_insn i = 0; i < PROBE_INSNS; i++)
        if (pick(p, i))
            buf_addf(&b, "%s%s", b.len ? ", " : "", probe_insn_name(i));
    fact_list(o, key, b.len ? b.data : "none");
    buf_fini(&b);
}

static bool is_failing(const struct probe *p, enum probe_insn i)
{
    return p->insn[i] != HOW_RUNS && p->insn[i] != HOW_GUEST;
}

static bool is_refused(const struct probe *p, enum probe_insn i)
{
    return p->insn[i] == HOW_GUEST;
}

static bool is_wrong(const struct probe *p, enum probe_insn i)
{
    return p->insn_wrong[i];
}

static void report_cpuid(struct out *o)
{
    struct buf names = {0};
    int fd = kvm_open(NULL);

    if (fd >= 0 && !cpuid_forced(fd, &names))
        fact_list(o, "CPUID features that cannot be hidden", names.len ? names.data : "none");
    if (fd >= 0)
        close(fd);
    buf_fini(&names);
}

static void report_facts(const struct probe *p, struct out *o)
{
    char text[80];

    out_text(o, "%s", "");
    fact_bool(o, "32-bit paging", p->paging32);
    fact_bool(o, "PAE paging", p->paging_pae);
    if (!p->paging32)
        out_text(o, "  (a kernel that pages without long mode cannot run on this host)");
    snprintf(text, sizeof text, "%u", p->hw_exec_count);
    fact(o, "execution breakpoints in debug registers", text);
    fact_bool(o, "RFLAGS.RF passes them", p->hw_exec_honours_rf);
    fact_bool(o, "registers survive a triple fault", p->shutdown_keeps_state);
    fact_bool(o, "hidden IDT is an exception trap", p->hidden_idt);
    fact_bool(o, "RIP is past OUT at its exit", p->out_exit_past);
    if (p->inject_bp_rip_delta == PROBE_NO_DELTA)
        snprintf(text, sizeof text, "is lost");
    else
        snprintf(text, sizeof text, "pushes RIP%+d", p->inject_bp_rip_delta);
    fact(o, "injected #BP", text);
    fact_bool(o, "registers shared with KVM_RUN", p->sync_regs);
    fact_bool(o, "interrupts held while stepping", p->block_irq);
    fact_bool(o, "exact instruction counter", p->insn_counter_exact);
    out_text(o, "%s", "");
    report_insns(p, o, "instructions that stop the guest in ring 0", is_failing);
    report_insns(p, o, "instructions with wrong results", is_wrong);
    report_insns(p, o, "instructions that raise an exception", is_refused);
    report_cpuid(o);
}

static void report_speeds(const struct probe *p, struct out *o)
{
    char text[64];

    out_text(o, "%s", "");
    snprintf(text, sizeof text, "%.1f million instructions a second", p->ring0_minsn);
    fact(o, "speed in ring 0", text);
    snprintf(text, sizeof text, "%.0f million instructions a second", p->ring3_minsn);
    fact(o, "speed in ring 3", text);
    snprintf(text, sizeof text, "%.0f", p->pio_exits_s);
    fact(o, "port exits a second", text);
    snprintf(text, sizeof text, "%.0f", p->steps_s);
    fact(o, "single steps a second", text);
    snprintf(text, sizeof text, "%.1f ms", (double)p->took_ns / 1e6);
    fact(o, "this examination took", text);
}

void doctor_report(const struct probe *p, struct out *o)
{
    out_text(o, "%s", host_kind(p));
    out_json_str(o, "summary", host_kind(p));
    out_json_bool(o, "emulated", p->emulated);
    out_text(o, "%s", "");
    host_name(o);
    report_events(p, o);
    report_single(p, o);
    report_methods(p, o);
    report_facts(p, o);
    report_speeds(p, o);
}

int doctor_main(bool json)
{
    struct out o = {0};
    struct err e = {0};
    struct probe p;
    int fd = kvm_open(&e);
    const struct buf *text;
    bool failed;
    FILE *stream;

    if (fd >= 0 && !probe_run(fd, &p, &e))
        doctor_report(&p, &o);
    else
        out_error(&o, "%s", e.msg);
    if (fd >= 0)
        close(fd);
    out_end(&o);
    text = json ? &o.json : &o.text;
    stream = o.failed && !json ? stderr : stdout;
    failed = fwrite(buf_str(text), 1, text->len, stream) != text->len;
    if (json)
        failed |= putchar('\n') < 0;
    failed |= o.failed;
    out_fini(&o);
    return failed || fflush(stdout) ? 2 : 0;
}
