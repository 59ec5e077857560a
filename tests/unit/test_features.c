/*
 * Every feature of the debugger in every mode and ring: one script a row, run against the same
 * program in each mode. What each stop tells must be what tests/golden/features.txt holds, which
 * is one file for all hosts. With the argument --print the lines are printed instead.
 */
#include "tests/test.h"

#include <ctype.h>

#include "debug/cmd.h"
#include "tests/unit/diff_boot.h"
#include "tests/unit/features_program.h"
#include "vmm/vm.h"

#define GOLDEN    "tests/golden/features.txt"
#define STOPS_MAX 40u

static const char *const mode_name[DP_KINDS] = {"real16", "prot32", "long0", "long3"};

/* ---- the features: lines of commands, @NAME a label; `all` goes on to the end of the program ----
 */

#define REAL_PROT (1u << DP_REAL | 1u << DP_PROT)
#define NOT_REAL  (1u << DP_PROT | 1u << DP_LONG0 | 1u << DP_LONG3)
#define NOT_PROT  (1u << DP_REAL | 1u << DP_LONG0 | 1u << DP_LONG3)
#define REAL      (1u << DP_REAL)
#define NO_BASE   "ring 3 stays in 64-bit code"
#define NO_LIMIT  "only a segment's limit protects there, which QEMU's processor does not heed"
#define NO_TRIPLE "an emulating KVM heeds no limit of real mode's vectors"
#define LONG3     (1u << DP_LONG3)
#define NOT_LONG3 (1u << DP_REAL | 1u << DP_PROT | 1u << DP_LONG0)

struct row {
    const char *name, *script;
    unsigned skip; /* modes in which it means nothing, */
    const char *why;
};

static const struct row first_rows[] = {
    {"break", "break @function;all", 0, NULL},
    {"break pending", "until @begin;break @mapped;all", REAL_PROT,
     "every address is mapped without paging"},
    {"break physical", "break phys:@function;all", 0, NULL},
    {"break temporary", "tbreak @function;all", 0, NULL},
    {"break ignore", "break @function;ignore 1 2;all", 0, NULL},
    {"break condition", "break @function if $rbx == 1 || $rbx == 3;all", 0, NULL},
    {"break commands", "break @call2;commands 1;print $rbx;stepi;print $rip;end;continue", 0, NULL},
    {"break log", "break @function do log \"bx %d\", $rbx;all", 0, NULL},
    {"break many",
     "break @begin;break @call1;break @call2;break @call3;break @call4;break @return;all", 0, NULL},
    {"break thread", "break @function thread 0;all", 0, NULL},
    {"break segment and offset", "break 0xb00:0x800;break 0:@call2;all", NOT_REAL,
     "addresses are linear"},
    {"break disabled", "break @function;tbreak @call3;continue;disable 1;continue;enable 1;all", 0,
     NULL},
    {"break at handlers", "break @int_handler;break @de_handler;break @bp_handler;all", 0, NULL},
    {"break here", "until @body;break @body;all", 0, NULL},
    {"break within", "break @fill;break @fill+1;break @body;break @body+1;all", 0, NULL},
    {"break behind a prefix", "break @fill+1;break @body;ignore 2 4;all", LONG3,
     "there an int3 behind a prefix is one to the guest's gate, too"},
    {"break deletes itself",
     "break @function;commands 1;print $rbx;delete 1;continue;end;break @call3;all", 0, NULL},
    {"break disables itself",
     "break @function;commands 1;disable 1;continue;end;break @call3;continue;enable 1;continue", 0,
     NULL},
    {"break deletes another at its place",
     "break @function;break @function;commands 1;delete 2;end;continue;continue;delete 1;all", 0,
     NULL},
    {"break once", "break @function;enable once 1;continue;continue", 0, NULL},
    {"break a number of times", "break @function;enable count 2 1;all", 0, NULL},
    {"break in the way of steps", "break @call1;until @begin;stepi 10;stepi 2", 0, NULL},
    {"watch write", "until @accesses;watch -w @watched,2;all", 0, NULL},
    {"watch read", "until @accesses;rwatch @watched,2;all", 0, NULL},
    {"watch access", "until @accesses;awatch @watched,2;all", 0, NULL},
    {"watch change", "until @accesses;watch @watched,2;all", 0, NULL},
    {"watch physical", "until @accesses;watch -w phys:@watched,2;all", 0, NULL},
    {"watch condition", "until @accesses;watch -w @watched,2 if $rip > @store_same;all", 0, NULL},
    {"watch stack", "until @call1;watch -w $rsp-4,4;continue;continue;print $rbx", 0, NULL},
    {"watch beside code", "until @accesses;awatch @body,2;all", 0, NULL},
    {"watch page tables", "until @begin;watch -w 0x12010,8;continue", REAL_PROT,
     "there are no page tables"},
    {"watch ignore", "until @accesses;watch -w @watched,2;ignore 1 2;all", 0, NULL},
    {"watch log", "until @accesses;watch -w @watched,2 do log \"at %x\", $rip;all", 0, NULL},
    {"stepi", "until @begin;stepi;stepi 2", 0, NULL},
    {"stepi call", "until @call1;stepi;stepi 3;stepi", 0, NULL},
    {"stepi rep", "until @rep;stepi;stepi", 0, NULL},
    {"stepi int", "until @int;stepi;stepi;stepi", 0, NULL},
    {"stepi mov ss", "until @mov_ss;stepi;stepi;stepi", 0, NULL},
    {"stepi pushf popf",
     "until @pushf;stepi;print *(u16*)$sp & 0x100;stepi;print $rflags & 0x100;stepi", 0, NULL},
    {"stepi sti", "until @sti;stepi;stepi;stepi", 0, NULL},
    {"stepi fault", "until @divide;stepi;stepi;stepi", 0, NULL},
    {"stepi ud2 int3", "until @undefined;stepi;stepi;stepi;stepi;stepi", 0, NULL},
    {"stepi out in", "until @out;stepi 2;stepi", 0, NULL},
    {"stepi hlt", "until @hlt;stepi;stepi", 0, NULL},
    {"stepi syscall", "until @syscall;stepi;stepi 2;stepi", NOT_LONG3,
     "SYSCALL needs 64-bit code outside ring 0"},
    {"stepi mmio", "until @mmio;stepi;stepi;stepi", NOT_PROT, "the other programs have none"},
    {"stepi mode", "until @mode;stepi 3;stepi 3", 0, NULL},
    {"nexti call", "until @call1;nexti;nexti", 0, NULL},
    {"nexti rep int", "until @rep;nexti 2;nexti", 0, NULL},
    {"finish", "until @body;finish", 0, NULL},
    {"finish a handler", "until @int;stepi;finish;stepi", 0, NULL},
    {"finish a handler that moves on", "until @undefined;stepi;finish;stepi", 0, NULL},
    {"until", "until @call4;until @int", 0, NULL},
    {"stepto branch", "until @sti;stepto branch;stepto branch", 0, NULL},
    {"stepto call", "until @begin;stepto call;stepto call", 0, NULL},
    {"stepto ret", "until @begin;stepto ret", 0, NULL},
    {"stepto mode", "until @mode;stepto mode;stepto mode", 0, NULL},
    {"stepto cr3", "until @cr3;stepto cr3", 0, NULL},
    {"catch io", "catch io out 0xe9 if value == 0x41;catch io in 0x80;all", 0, NULL},
    {"catch exception", "catch exception de;catch exception ud;all", 0, NULL},
    {"catch int3", "catch int3;all", 0, NULL},
    {"catch mmio", "catch mmio write;catch mmio read;all", NOT_PROT,
     "the other programs have none"},
    {"catch post", "catch post;all", 0, NULL},
    {"catch console", "catch console \"A\";all", 0, NULL},
    {"catch hlt", "catch hlt;all", 0, NULL},
    {"catch debug exit", "catch debug-exit;until @hlt;print $rip = @end;continue", 0, NULL},
    {"catch cpuid", "catch cpuid;all", 0, NULL},
    {"catch condition", "catch io out if port == 0xe9 && value == 0x41 do log \"%x\", value;all", 0,
     NULL},
    {"catch mode", "until @mode;catch mode;all", 0, NULL},
    {"catch cr3", "until @cr3;catch cr3;all", 0, NULL},
    {"own trap flag", "until @own_end;print *(u8*)0xaf00", 0, NULL},
    {"own trap flag stepped",
     "until @own;stepi 5;print $rflags & 0x100;stepi;stepi;stepi;print $rflags & 0x100;stepi;"
     "until @own_end;print *(u8*)0xaf00;print $rflags & 0x100",
     0, NULL},
    {"own trap flag and points",
     "until @own;break @own_first do count;break @own_second;continue;watch -w 0xaf00,1 do count;"
     "until @own_end;print *(u8*)0xaf00",
     0, NULL},
    {"to the end", "all", 0, NULL},
};

static const struct row second_rows[] = {
    {"stepi outs", "until @outs;stepi;stepi", 0, NULL},
    {"stepi ins", "until @ins;stepi;stepi;stepi;stepi", 0, NULL},
    {"nexti outs ins", "until @outs;nexti;until @ins;nexti;nexti;nexti", 0, NULL},
    {"watch ins", "until @ins;watch -w @watched,2;all", 0, NULL},
    {"watch ins change", "until @ins;watch @watched,2;all", 0, NULL},
    {"watch outs", "rwatch @watched,2;all", 0, NULL},
    {"break after ins", "break @ins;break @ins_end;break @out_one;all", 0, NULL},
    {"catch ins", "until @outs;catch io in 0x5000;all", 0, NULL},
    {"catch outs", "catch io out 0xe9 if value == 0x6e;all", 0, NULL},
    {"catch console text", "catch console \"panic\";all", 0, NULL},
    {"catch post code", "catch post 0x77;catch post 0x78;all", 0, NULL},
    {"catch temporary", "tcatch io out 0xe9;all", 0, NULL},
    {"catch ignore", "catch io out 0xe9;ignore 1 8;all", 0, NULL},
    {"catch commands", "catch post 0x77;commands 1;print $rip;stepi;print $rip;end;continue", 0,
     NULL},
    {"watch dma", "watch -w @watched,2;until @dma;continue;continue", 0, NULL},
    {"watch dma change", "until @dma;watch @watched,2;all", 0, NULL},
    {"watch dma physical", "until @dma;watch -w phys:@watched,2;all", 0, NULL},
    {"watch dma read", "until @dma;rwatch @watched,2;all", 0, NULL},
    {"watch dma access", "until @dma;awatch @watched,2;all", 0, NULL},
    {"watch dma stepped", "until @dma;watch -w @watched,2;stepi 3;stepi", 0, NULL},
    {"watch dma to code", "until @dma;watch -w @rewritten,1;all", 0, NULL},
    {"break in code by dma", "break @rewritten;all;print $rbx", 0, NULL},
    {"break behind code by dma", "break @rewritten_next;all;print $rbx", 0, NULL},
    {"break physical in code by dma", "break phys:@rewritten;all;print $rbx", 0, NULL},
    {"catch irq", "catch irq 0x25;all", 0, NULL},
    {"catch irq other", "catch irq 0x24;all", 0, NULL},
    {"break at an interrupt's handler", "break @irq_handler;all", 0, NULL},
    {"stepi without interrupts", "until @irq;stepi 3;stepi 4;break @irq_handler;all", 0, NULL},
    {"stepi with interrupts", "set step irq on;until @irq;stepi 3;stepi;stepi;stepi", 0, NULL},
    {"nexti with interrupts", "set step irq on;until @irq;nexti 3;nexti;nexti;nexti", 0, NULL},
    {"stepi iret", "until @iret_itself;stepi;stepi", 0, NULL},
    {"nexti iret", "until @iret_itself;nexti;nexti", 0, NULL},
    {"break behind iret", "break @iret_end;until @iret_itself;continue;continue", 0, NULL},
    {"stepi protection", "until @protection;stepi 2;stepi 2;stepi", REAL, NO_LIMIT},
    {"stepi page fault", "until @page_fault;stepi;stepi 2;stepi", REAL_PROT, "there are no pages"},
    {"catch protection", "catch exception gp;until @protection;continue", REAL, NO_LIMIT},
    {"catch page fault", "catch exception pf;all", REAL_PROT, "there are no pages"},
    {"stepi msr", "until @rdmsr;stepi;stepi;stepi;stepi;stepi", LONG3, "they are of ring 0"},
    {"catch msr", "catch msr;all", LONG3, "they are of ring 0"},
    {"catch msr write", "catch msr read;catch msr write 0xe9e9 if value != 0;all", LONG3,
     "they are of ring 0"},
    {"catch triple", "until @begin;print $rip = @die;catch triple;continue", REAL, NO_TRIPLE},
    {"triple fault", "until @begin;print $rip = @die;continue", REAL, NO_TRIPLE},
    {"stepi triple", "until @begin;print $rip = @die;stepi 2;stepi", REAL, NO_TRIPLE},
    {"catch reset", "until @begin;print $rip = @reset;catch reset;continue;continue", 0, NULL},
    {"second program to the end", "all", 0, NULL},
};

static const struct row third_rows[] = {
    {"break in a segment with a base",
     "break @based;break @based_function;break @from_based;break @unbased;all", LONG3, NO_BASE},
    {"break physical in a segment with a base",
     "break phys:@based;break phys:@based_function;break phys:@unbased;all", LONG3, NO_BASE},
    {"stepi in a segment with a base", "until @to_based;stepi 2;stepi;stepi;stepi;stepi;stepi",
     LONG3, NO_BASE},
    {"stepi out of a segment with a base", "until @from_based;stepi;stepi", LONG3, NO_BASE},
    {"nexti in a segment with a base", "until @based_call;nexti;nexti", LONG3, NO_BASE},
    {"finish in a segment with a base", "until @based_function;finish", LONG3, NO_BASE},
    {"break across pages", "until @begin;break 0x1efffe do log \"%x\", $rip;until @across2;all",
     REAL_PROT, "there are no pages"},
    {"break stop across pages", "until @begin;break 0x1efffe;break @page_handler;all", REAL_PROT,
     "there are no pages"},
    {"stepi across pages", "until @across1;stepi;stepi;stepi;stepi;stepi;stepi;print $rax",
     REAL_PROT, "there are no pages"},
    {"nexti across pages", "until @across1;nexti;nexti;print $rax", REAL_PROT,
     "there are no pages"},
    {"catch across pages", "until @begin;catch exception pf;all", REAL_PROT, "there are no pages"},
    {"watch at a triple fault", "until @begin;awatch 0x1effc0,64;print $rip = @die_across;continue",
     REAL_PROT | LONG3, "it takes pages, and LIDT"},
    {"third program to the end", "all;print $rax", 0, NULL},
};

static const struct {
    void (*make)(enum dp_kind kind);
    const struct row *row;
    size_t rows;
} programs[] = {
    {make_first, first_rows, ARRAY_LEN(first_rows)},
    {make_second, second_rows, ARRAY_LEN(second_rows)},
    {make_third, third_rows, ARRAY_LEN(third_rows)},
};

/* ---- one cell ---------------------------------------------------------------------------------
 */

static struct buf lines; /* what the cells of a mode told */
static struct cmd_client client;

static bool find_label(const char *name, size_t len, uint32_t *at)
{
    static const struct label fixed[] = {{"function", FUNCTION},
                                         {"mapped", MAPPED + FUNCTION},
                                         {"watched", DP_WATCHED},
                                         {"rewritten", REWRITTEN},
                                         {"de_handler", DP_HANDLERS},
                                         {"bp_handler", DP_HANDLERS + 0x40},
                                         {"int_handler", DP_HANDLERS + 5 * 0x40}};

    for (unsigned i = 0; i < label_count + ARRAY_LEN(fixed); i++) {
        const struct label *l = i < label_count ? &labels[i] : &fixed[i - label_count];

        if (strlen(l->name) == len && !memcmp(l->name, name, len)) {
            *at = l->at;
            return true;
        }
    }
    return false;
}

/* The next line of a script with its labels as numbers. False at the end. */
static bool next_line(const char **script, struct buf *line)
{
    const char *p = *script;

    buf_clear(line);
    if (!*p)
        return false;
    while (*p && *p != ';') {
        size_t len = 1;
        uint32_t at = 0;

        if (*p != '@') {
            buf_add(line, p++, 1);
            continue;
        }
        while (isalnum((unsigned char)p[len]) || p[len] == '_')
            len++;
        if (find_label(p + 1, len - 1, &at))
            buf_addf(line, "0x%x", at);
        p += len;
    }
    *script = p + (*p == ';');
    return true;
}

static void tell_place(uint64_t at)
{
    const struct label *best = NULL;

    for (unsigned i = 0; i < label_count; i++)
        if (labels[i].at <= at && at - labels[i].at < 24 && (!best || labels[i].at > best->at))
            best = &labels[i];
    buf_addf(&lines, " %llx", (unsigned long long)at);
    if (best)
        buf_addf(&lines, "<%s+%u>", best->name, (unsigned)(at - best->at));
}

static void tell_stop(const struct stop_info *si)
{
    buf_addf(&lines, "  %s", stop_kind_name(si->kind));
    if (si->point_id > 0 && si->kind != STOP_TEMPORARY)
        buf_addf(&lines, " %d", si->point_id);
    if (si->kind != STOP_TRIPLE_FAULT) /* after which some processors' KVM has reset the vCPU */
        tell_place(si->cs_base + si->rip);
    if (si->kind == STOP_STEP && si->vector >= 0)
        buf_addf(&lines, " vector %d", si->vector);
    if (si->kind == STOP_WATCHPOINT) {
        buf_addf(&lines, " %s%s [%llx,%u] %llx to %llx by", si->access & WATCH_READ ? "r" : "",
                 si->access & WATCH_WRITE ? "w" : "", (unsigned long long)si->addr, si->value_len,
                 (unsigned long long)si->old_value, (unsigned long long)si->new_value);
        if (si->device)
            buf_addf(&lines, " %s", si->device);
        else
            tell_place(si->by);
    }
    buf_addf(&lines, "\n");
}

static void tell_text(struct out *o)
{
    const char *p = buf_str(&o->text);

    while (*p) {
        size_t len = strcspn(p, "\n");

        buf_addf(&lines, "  \"%.*s\"\n", (int)len, p);
        p += len + (p[len] == '\n');
    }
}

static void tell_log(void *arg, unsigned event, const void *data)
{
    const struct log_line *l = data;

    (void)arg;
    (void)event;
    buf_addf(&lines, "  log %d \"%s\"\n", l->point_id, l->text);
}

/* The device of the second program. */
static uint64_t on_pio(void *arg, uint16_t port, unsigned size, bool write, uint64_t value)
{
    uint8_t *next = arg, bytes[4] = {(uint8_t)value, (uint8_t)(value + 1), 3, 4};

    (void)size;
    if (port == DP_INPUT && !write)
        return (*next)++;
    switch (write ? port : 0) {
    case DP_DMA:
        session_dma(client.s, DP_WATCHED - 1, NULL, bytes, sizeof bytes);
        break;
    case DP_DMA_READ:
        session_dma(client.s, DP_WATCHED - 1, bytes, NULL, sizeof bytes);
        break;
    case DP_DMA_CODE:
        session_dma(client.s, REWRITTEN, NULL, bytes, 1);
        break;
    case DP_LINE:
        session_irq(client.s, LINE, value & 1);
        break;
    default:
        break;
    }
    return 0;
}

static bool add_device(uint8_t *next)
{
    static const uint16_t ports[] = {DP_INPUT, DP_DMA, DP_DMA_READ, DP_DMA_CODE, DP_LINE};
    struct device_spec dev = {
        .name = "test", .port = ports, .ports = ARRAY_LEN(ports), .arg = next, .pio = on_pio};

    struct err e = {0};

    if (session_device_add(client.s, &dev, &e) >= 0)
        return true;
    test_fail(__FILE__, __LINE__, "%.400s", e.msg);
    return false;
}

/* Waits as long as it runs, also for what the points' own commands set going. False when it will
 * not run again. */
static bool settle(void)
{
    struct session *s = client.s;

    for (unsigned i = 0; session_state(s) == SS_RUNNING && i < STOPS_MAX; i++) {
        struct out o = {0};
        bool silent = false;

        if (!session_wait(s, TEST_HANG_NS, NULL)) {
            buf_addf(&lines, "  still runs\n");
            return false;
        }
        tell_stop(session_last_stop(s));
        cmd_stop_commands(&client, &o, &silent);
        tell_text(&o);
        out_fini(&o);
    }
    return session_state(s) == SS_STOPPED && session_last_stop(s)->kind <= STOP_TEMPORARY;
}

static void run_line(const char *line)
{
    bool all = !strcmp(line, "all");
    unsigned stops = 0;

    do {
        struct out o = {0};
        int rc = cmd_exec(&client, all ? "continue" : line, &o);

        if (rc < 0 || !strncmp(line, "print", 5))
            tell_text(&o);
        out_fini(&o);
        if (rc < 0)
            return;
    } while (settle() && all && ++stops < STOPS_MAX);
}

static const char *forced; /* methods for the cells, as in VMSCOPE_FORCE_METHODS */

static void run_cell(const struct row *r)
{
    struct buf line = {0};
    const char *script = r->script;
    uint8_t next = 0x30;

    buf_addf(&lines, "%s, %s\n", mode_name[prog.kind], r->name);
    if (r->skip & 1u << prog.kind) {
        buf_addf(&lines, "  SKIP %s\n", r->why);
        return;
    }
    if (!dp_open(&client.s, &prog, forced) || !add_device(&next)) {
        buf_addf(&lines, "  %s\n", test_why);
        return;
    }
    session_subscribe(client.s, EV_LOG, tell_log, NULL);
    while (next_line(&script, &line))
        run_line(buf_str(&line));
    buf_fini(&line);
    cmd_client_fini(&client);
    guest_close(&client.s);
    client = (struct cmd_client){0};
}

static void run_mode(enum dp_kind kind)
{
    buf_clear(&lines);
    for (size_t n = 0; n < ARRAY_LEN(programs); n++) {
        programs[n].make(kind);
        for (size_t i = 0; i < programs[n].rows; i++)
            run_cell(&programs[n].row[i]);
    }
}

/* ---- against the file -------------------------------------------------------------------------
 */

static void compare(const char *want)
{
    const char *got = buf_str(&lines), *cell = got;

    while (*got || *want) {
        size_t g = strcspn(got, "\n"), w = strcspn(want, "\n");

        if (*got && *got != ' ')
            cell = got;
        if (g != w || memcmp(got, want, g))
            TEST_FAIL("%.*s: \"%.*s\", want \"%.*s\"", (int)strcspn(cell, "\n"), cell, (int)g, got,
                      (int)w, want);
        got += g + (got[g] == '\n');
        want += w + (want[w] == '\n');
    }
}

/* The lines of one mode: from its first cell to an empty line. */
static bool read_golden(enum dp_kind kind, struct buf *out)
{
    FILE *f = fopen(GOLDEN, "r");
    char line[400];
    size_t len = strlen(mode_name[kind]);
    bool in = false;

    if (!f)
        return false;
    while (fgets(line, sizeof line, f)) {
        if (line[0] != ' ')
            in = !strncmp(line, mode_name[kind], len) && line[len] == ',';
        if (in)
            buf_add(out, line, strlen(line));
    }
    return fclose(f) == 0 && out->len;
}

/* ---- by every method --------------------------------------------------------------------------
 */

/* Which rows a feature's methods have a part in, by how their names begin. */
static const struct {
    enum method_feature feature;
    const char *const row[4];
    enum method method[7];
} ways[] = {
    {MF_BREAK,
     {"break", "until", "finish", "nexti call"},
     {METHOD_DEBUG_REG, METHOD_INT3, METHOD_GATE, METHOD_ICEBP, METHOD_STEPPING, METHOD_NO_SLOT}},
    {MF_WATCH_WRITE,
     {"watch"},
     {METHOD_DEBUG_REG, METHOD_RO_SLOT, METHOD_NO_SLOT, METHOD_STEPPING}},
    {MF_WATCH_ACCESS, {"watch"}, {METHOD_DEBUG_REG, METHOD_NO_SLOT, METHOD_STEPPING}},
    {MF_STEP, {"stepi", "nexti", "stepto", "own"}, {METHOD_TRAP, METHOD_EXACT}},
    {MF_CATCH,
     {"catch exception", "catch int3", "catch protection", "catch page"},
     {METHOD_HANDLERS, METHOD_STEPPING}},
};

static bool has_part(size_t way, const struct row *r, enum dp_kind kind)
{
    for (size_t i = 0; i < ARRAY_LEN(ways[way].row) && !(r->skip & 1u << kind); i++)
        if (ways[way].row[i] && !strncmp(r->name, ways[way].row[i], strlen(ways[way].row[i])))
            return true;
    return false;
}

/* What the golden has of one cell, with its head. */
static void cut_cell(const char *golden, enum dp_kind kind, const struct row *r, struct buf *out)
{
    struct buf head = {0};
    const char *at, *end;

    buf_clear(out);
    buf_addf(&head, "%s, %s\n", mode_name[kind], r->name);
    for (at = strstr(golden, buf_str(&head)); at && at != golden && at[-1] != '\n';)
        at = strstr(at + 1, buf_str(&head));
    buf_fini(&head);
    if (!at)
        return;
    for (end = strchr(at, '\n') + 1; *end == ' ';)
        end = strchr(end, '\n') + 1;
    buf_add(out, at, (size_t)(end - at));
}

/* Can this host do it there, and would not by itself? If it cannot it says so, and forcing it
 * changes nothing. */
static bool is_another(const struct probe *p, size_t way, enum method how, enum dp_kind kind)
{
    static const enum probe_mode modes[DP_KINDS] = {PM_REAL, PM_PROT, PM_LONG0, PM_LONG3};
    struct methods plain, chosen;
    struct buf said = {0};
    bool usable;

    methods_choose_forced(p, NULL, &plain, NULL);
    methods_choose_forced(p, forced, &chosen, &said);
    usable = method_usable(&plain, ways[way].feature, modes[kind], how);
    if (usable != (method_of(&chosen, ways[way].feature, modes[kind]) == how))
        test_fail(__FILE__, __LINE__, "%s in %s: forcing it does not do as the ladder says", forced,
                  mode_name[kind]);
    if (!usable && !strstr(buf_str(&said), "cannot do that"))
        test_fail(__FILE__, __LINE__, "%s in %s is not refused: \"%s\"", forced, mode_name[kind],
                  buf_str(&said));
    buf_fini(&said);
    return usable && method_of(&plain, ways[way].feature, modes[kind]) != how;
}

/* Processors' page tables are not watched for planted bytes, as `info breakpoints` tells: what is
 * mapped and executed at once may be passed. */
static bool may_miss(const struct probe *p, const struct row *r)
{
    return !p->emulated && !strcmp(forced, "break=int3") && !strcmp(r->name, "break pending");
}

static void run_way(const struct probe *p, const char *golden, size_t way, unsigned nth,
                    enum dp_kind kind)
{
    /* Emulated processors are slow: there each method has a third of the rows. */
    unsigned every = getenv("VMSCOPE_IN_RIG") ? 3 : 1;
    struct buf want = {0};

    for (size_t n = 0; n < ARRAY_LEN(programs) && !test_failed; n++) {
        programs[n].make(kind);
        for (size_t i = 0; i < programs[n].rows && !test_failed; i++) {
            if (!has_part(way, &programs[n].row[i], kind) || may_miss(p, &programs[n].row[i]) ||
                i % every != nth % every)
                continue;
            buf_clear(&lines);
            run_cell(&programs[n].row[i]);
            cut_cell(golden, kind, &programs[n].row[i], &want);
            compare(buf_str(&want));
        }
    }
    if (test_failed)
        snprintf(test_why + strlen(test_why), sizeof test_why - strlen(test_why), ", by %s",
                 forced);
    buf_fini(&want);
}

static void check_ways(const char *golden, enum dp_kind kind)
{
    struct buf force = {0};
    struct probe probe;

    if (!dp_open(&client.s, &prog, NULL))
        return;
    probe = session_vm(client.s)->probe;
    guest_close(&client.s);
    for (size_t way = 0; way < ARRAY_LEN(ways); way++)
        for (const enum method *how = ways[way].method; *how && !test_failed; how++) {
            buf_clear(&force);
            buf_addf(&force, "%s=%s", method_feature_name(ways[way].feature), method_name(*how));
            forced = buf_str(&force);
            if (is_another(&probe, way, *how, kind))
                run_way(&probe, golden, way, (unsigned)*how, kind);
        }
    forced = NULL;
    buf_fini(&force);
}

static void check_mode(enum dp_kind kind)
{
    struct buf want = {0};

    CHECK(read_golden(kind, &want));
    run_mode(kind);
    if (!test_skipped)
        compare(buf_str(&want));
    if (!test_skipped && !test_failed)
        check_ways(buf_str(&want), kind);
    buf_fini(&want);
    buf_fini(&lines);
}

DP_TESTS(check_mode)

static const struct test tests[] = {
    {"features, real mode", real16},
    {"features, protected mode", prot32},
    {"features, long mode ring 0", long_ring0},
    {"features, long mode ring 3", long_ring3},
};

int main(int argc, char **argv)
{
    if (argc < 2 || strcmp(argv[1], "--print"))
        return test_main(tests, ARRAY_LEN(tests), argc, argv);
    for (enum dp_kind k = DP_REAL; k < DP_KINDS; k++) {
        run_mode(k);
        fputs(buf_str(&lines), stdout);
    }
    buf_fini(&lines);
    return 0;
}
