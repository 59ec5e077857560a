/*
 * The report of doctor.h. It decides nothing: methods come from vmm/method.c, where the engine gets
 * them too.
 */
#include "debug/doctor.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "vmm/assist.h"
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

/* Nothing is wider: a terminal of 80 columns is what a serial line or a rescue system has. */
#define WIDTH 79

/* Text folded at blanks, its first line behind `first`, the others behind as many blanks. */
static void fold(struct out *o, const char *first, const char *text)
{
    char blanks[WIDTH / 2] = "";
    size_t indent = strlen(first), room;

    indent = indent < sizeof blanks ? indent : sizeof blanks - 1;
    room = WIDTH - indent;
    memset(blanks, ' ', indent);

    do {
        size_t len = strlen(text);

        if (len > room) {
            len = room;
            while (len > 1 && text[len] != ' ')
                len--;
        }
        out_text(o, "%s%.*s", first, (int)len, text);
        text += len;
        text += strspn(text, " ");
        first = blanks;
    } while (*text);
}

/* "key   value" with room for long keys; in JSON under a name that needs no quotes in filters. */
static void fact_bool(struct out *o, const char *key, const char *json, bool value)
{
    out_text(o, "%-41s %s", key, value ? "yes" : "no");
    out_json_bool(o, json, value);
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
    static const char *const columns[] = {"event", "real",    "prot", "long0",
                                          "long3", "compat3", NULL};

    out_text(o, "%s", "");
    fold(o, "",
         "What becomes of an event (debug, mmio, halt, msr: a clean exit; fails: emulation "
         "failure exit at the instruction; guest: the guest's own handler; never: not noticed), in "
         "real, protected and long mode, ring 0, and in 64-bit and 32-bit ring 3:");
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

/* What is taken where the first is used up or does not reach. */
static void then_text(const struct method_pick *pick, struct buf *b)
{
    for (unsigned i = 1; i < METHOD_RUNGS_MAX && pick->ladder[i] != METHOD_NONE; i++)
        buf_addf(b, "%s%s", b->len ? ", " : "", method_name(pick->ladder[i]));
}

/* JSON: one row for each feature and mode. */
static void record_method(const struct probe *p, const struct methods *m, enum method_feature f,
                          enum probe_mode mode, struct out *o)
{
    struct buf why = {0}, then = {0};

    method_reason(p, m, f, mode, &why);
    then_text(&m->pick[f][mode], &then);
    out_row(o);
    out_cell(o, "%s", method_feature_name(f));
    out_cell(o, "%s", method_feature_help(f));
    out_cell(o, "%s", probe_mode_key(mode));
    out_cell(o, "%s", method_name(method_of(m, f, mode)));
    out_cell(o, "%s", buf_str(&then));
    out_cell(o, "%s", buf_str(&why));
    buf_fini(&why);
    buf_fini(&then);
}

/* Text: modes that share method and reason share the lines. */
static void tell_method(const struct probe *p, const struct methods *m, enum method_feature f,
                        enum probe_mode mode, unsigned modes, struct out *o)
{
    struct buf why = {0}, line = {0};
    char where[64], head[100];

    where_text(modes, where);
    buf_addf(&line, "%s", method_name(method_of(m, f, mode)));
    if (m->pick[f][mode].ladder[0] != METHOD_NONE && m->pick[f][mode].ladder[1] != METHOD_NONE) {
        buf_adds(&line, ", then ");
        struct buf then = {0};

        then_text(&m->pick[f][mode], &then);
        buf_adds(&line, buf_str(&then));
        buf_fini(&then);
    }
    snprintf(head, sizeof head, "  %-12s %-18s ", method_feature_name(f), where);
    fold(o, head, buf_str(&line));
    method_reason(p, m, f, mode, &why);
    if (why.len)
        fold(o, "               ", buf_str(&why));
    buf_fini(&why);
    buf_fini(&line);
}

static unsigned modes_like(const struct probe *p, const struct methods *m, enum method_feature f,
                           enum probe_mode mode)
{
    struct buf why = {0};
    unsigned same = 0;

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
    buf_fini(&why);
    return same;
}

static void report_feature(const struct probe *p, const struct methods *m, enum method_feature f,
                           struct out *o)
{
    unsigned done = 0;

    for (enum probe_mode mode = 0; mode < PROBE_MODES; mode++) {
        unsigned same;

        if (!method_applies(f, mode))
            continue;
        record_method(p, m, f, mode, o);
        if (done >> mode & 1)
            continue;
        same = modes_like(p, m, f, mode);
        done |= same;
        tell_method(p, m, f, mode, same, o);
    }
}

static void report_methods(const struct probe *p, struct out *o)
{
    static const char *const columns[] = {"feature", "help",    "mode", "method",
                                          "then",    "because", NULL};
    bool used[METHODS] = {false};
    struct methods m;

    methods_choose(p, &m);
    out_text(o, "%s", "");
    out_text(o, "The debugger's methods here, by mode, and why:");
    out_records(o, "methods", columns);
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

/* What vmscope does about an instruction that this KVM refuses; -1: nothing. */
static const int assist_of[PROBE_INSNS] = {
    [PI_CMPXCHG16B] = ASSIST_CX16, [PI_POPCNT] = ASSIST_BITS,
    [PI_LZCNT] = ASSIST_BITS,      [PI_TZCNT] = ASSIST_BITS,
    [PI_MOVBE] = ASSIST_BITS,      [PI_RDTSCP] = ASSIST_RDTSCP,
    [PI_XGETBV] = ASSIST_XGETBV,   [PI_FWAIT] = ASSIST_FWAIT,
    [PI_FLD1] = ASSIST_X87,        [PI_PXOR] = ASSIST_SSE,
    [PI_MOVD] = ASSIST_SSE,        [PI_LDMXCSR] = ASSIST_SSE,
    [PI_VPXOR] = ASSIST_AVX,       [PI_BMI_ANDN] = ASSIST_BITS,
    [PI_CRC32] = ASSIST_BITS,      [PI_RDPID] = ASSIST_RDTSCP,
    [PI_CLAC] = ASSIST_SMAP,       [PI_INT_N] = ASSIST_INT,
    [PI_INT3] = ASSIST_INT,        [PI_INT_HIGH] = ASSIST_INT,
    [PI_IRET_PROT] = ASSIST_IRET,  [PI_LRET_OUTER] = ASSIST_RETF,
    [PI_INVPCID] = ASSIST_INVPCID, [PI_FXSAVE] = ASSIST_XSAVE,
    [PI_XSAVE] = ASSIST_XSAVE,     [PI_VMCALL] = -1,
};

static const char *insn_result(const struct probe *p, enum probe_insn i)
{
    return p->insn_wrong[i] ? "wrong result" : probe_how_key(p->insn[i]);
}

/* An assist needs an exit: an instruction that gives a wrong result, or the guest an exception,
 * makes none. */
static const char *insn_remedy(const struct probe *p, enum probe_insn i)
{
    switch (p->insn[i]) {
    case HOW_INTERNAL:
        return assist_of[i] >= 0 ? assist_name((unsigned)assist_of[i]) : "none";
    case HOW_STUCK:
        return assist_of[i] >= 0 ? assist_name((unsigned)assist_of[i]) : "stop: stuck";
    case HOW_RUNS:
        return p->insn_wrong[i] ? "none: unseen" : "";
    default:
        return "none";
    }
}

/* What KVM lists as supported, and what it shows whatever is asked for. */
struct cpuid_seen {
    struct cpuid_table supported;
    char forced[2000]; /* names, each between blanks */
};

#define NAMES_MAX 28 /* characters; the list of what is forced has all */

/* Adds those of `list` that are forced, or that are not but would be there. */
static void add_names(const char *list, const struct cpuid_seen *seen, bool forced, struct buf *b)
{
    size_t begin = b->len;

    for (size_t len; *list; list += len + (list[len] == ' ')) {
        const struct cpu_feature *f;
        char name[40];

        len = strcspn(list, " ");
        f = cpu_feature_find(list, len);
        snprintf(name, sizeof name, " %.*s ", (int)len, list);
        if (!f || (strstr(seen->forced, name) != NULL) != forced ||
            (!forced && !cpuid_has(&seen->supported, f)))
            continue;
        if (b->len - begin > NAMES_MAX) {
            buf_adds(b, " …");
            return;
        }
        if (b->len == begin)
            buf_addf(b, "%s%s", begin ? "; " : "", forced ? "forced:" : "hidden:");
        buf_addf(b, " %.*s", (int)len, list);
    }
}

/* Instructions that ring 0 does without, and what becomes of each. */
static void report_insns(const struct probe *p, const struct cpuid_seen *seen, struct out *o)
{
    static const char *const columns[] = {"instruction", "in ring 0", "assist", "in CPUID", NULL};

    fold(o, "",
         "Instructions that ring 0 cannot rely on, which assist carries them out, and what a "
         "guest finds in CPUID about them:");
    out_table(o, "instructions", "Every instruction that was tried works in ring 0.", columns);
    for (enum probe_insn i = 0; i < PROBE_INSNS; i++) {
        struct buf cpuid = {0};

        if (p->insn[i] == HOW_UNKNOWN || (p->insn[i] == HOW_RUNS && !p->insn_wrong[i]))
            continue;
        if (i == PI_VMCALL)
            buf_adds(&cpuid, "hidden: kvm");
        add_names(cpuid_features_of(i), seen, false, &cpuid);
        add_names(cpuid_features_of(i), seen, true, &cpuid);
        out_row(o);
        out_cell(o, "%s", probe_insn_name(i));
        out_cell(o, "%s", insn_result(p, i));
        out_cell(o, "%s", insn_remedy(p, i));
        out_cell(o, "%s", buf_str(&cpuid));
        buf_fini(&cpuid);
    }
    out_table_end(o);
}

static void report_cpuid(const struct probe *p, struct out *o)
{
    struct cpuid_seen seen = {.supported.head.nent = 0};
    struct buf names = {0};
    int fd = kvm_open(NULL);
    bool known = fd >= 0 && !cpuid_forced(fd, &names) && !kvm_supported_cpuid(fd, &seen.supported);

    snprintf(seen.forced, sizeof seen.forced, " %s ", buf_str(&names));
    report_insns(p, &seen, o);
    if (known) {
        out_text(o, "%s", "");
        out_text(o, "CPUID features that cannot be hidden (forced):");
        fold(o, "  ", names.len ? names.data : "none");
        out_json_str(o, "forced_features", buf_str(&names));
    }
    if (fd >= 0)
        close(fd);
    buf_fini(&names);
}

static void report_facts(const struct probe *p, struct out *o)
{
    char text[80];

    out_text(o, "%s", "");
    fact_bool(o, "32-bit paging", "paging32", p->paging32);
    fact_bool(o, "PAE paging", "paging_pae", p->paging_pae);
    if (!p->paging32)
        out_text(o, "  (a kernel that pages without long mode cannot run on this host)");
    out_text(o, "%-41s %u", "execution breakpoints in debug registers", p->hw_exec_count);
    out_json_u64(o, "exec_registers", p->hw_exec_count);
    fact_bool(o, "RFLAGS.RF passes them", "exec_registers_honour_rf", p->hw_exec_honours_rf);
    fact_bool(o, "registers survive a triple fault", "shutdown_keeps_state",
              p->shutdown_keeps_state);
    fact_bool(o, "hidden IDT is an exception trap", "hidden_idt", p->hidden_idt);
    fact_bool(o, "RIP is past OUT at its exit", "out_exit_past", p->out_exit_past);
    if (p->inject_bp_rip_delta == PROBE_NO_DELTA)
        snprintf(text, sizeof text, "is lost");
    else
        snprintf(text, sizeof text, "pushes RIP%+d", p->inject_bp_rip_delta);
    out_text(o, "%-41s %s", "injected #BP", text);
    out_json_str(o, "injected_bp", text);
    fact_bool(o, "registers shared with KVM_RUN", "sync_regs", p->sync_regs);
    fact_bool(o, "interrupts held while stepping", "block_irq", p->block_irq);
    fact_bool(o, "exact instruction counter", "instruction_counter_exact", p->insn_counter_exact);
    out_text(o, "%s", "");
    report_cpuid(p, o);
}

static void report_speeds(const struct probe *p, struct out *o)
{
    out_text(o, "%s", "");
    out_text(o, "%-41s %.1f million instructions a second", "speed in ring 0", p->ring0_minsn);
    out_json_u64(o, "ring0_instructions_s", (uint64_t)(p->ring0_minsn * 1e6));
    out_text(o, "%-41s %.0f million instructions a second", "speed in ring 3", p->ring3_minsn);
    out_json_u64(o, "ring3_instructions_s", (uint64_t)(p->ring3_minsn * 1e6));
    out_text(o, "%-41s %.0f", "port exits a second", p->pio_exits_s);
    out_json_u64(o, "port_exits_s", (uint64_t)p->pio_exits_s);
    out_text(o, "%-41s %.0f", "single steps a second", p->steps_s);
    out_json_u64(o, "single_steps_s", (uint64_t)p->steps_s);
    out_text(o, "%-41s %.1f ms", "this examination took", (double)p->took_ns / 1e6);
    out_json_u64(o, "took_us", p->took_ns / 1000);
}

void doctor_report(const struct probe *p, struct out *o)
{
    fold(o, "", host_kind(p));
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
    if (fflush(stdout) || failed) {
        fprintf(stderr, "vmscope: cannot write the report: %s\n", strerror(errno));
        failed = true;
    }
    failed |= o.failed;
    out_fini(&o);
    return failed ? 2 : 0;
}
