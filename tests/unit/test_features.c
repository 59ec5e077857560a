/*
 * Every feature of the debugger in every mode and ring: one script a row, run against the same
 * program in each mode. What each stop tells must be what tests/golden/features.txt holds, which
 * is one file for all hosts. With the argument --print the lines are printed instead.
 */
#include "tests/test.h"

#include <ctype.h>

#include "debug/cmd.h"
#include "tests/unit/diff_boot.h"
#include "vmm/base/x.h"

#define GOLDEN    "tests/golden/features.txt"
#define TIMEOUT   60000000000ull
#define FUNCTION  0xb800u
#define MAPPED    0x400000u /* the first 2 MiB once more, after the program has made the entry */
#define OTHER_CR3 0x16000u
#define SET_CR3   0x50u /* vector of the gate through which ring 3 changes CR3 */
#define STOPS_MAX 40u

static const char *const mode_name[DP_KINDS] = {"real16", "prot32", "long0", "long3"};

static struct program prog;

/* ---- the program ------------------------------------------------------------------------------
 */

static struct label {
    const char *name;
    uint32_t at;
} labels[64];
static unsigned label_count;

static void label(const char *name)
{
    if (label_count < ARRAY_LEN(labels))
        labels[label_count++] = (struct label){name, prog.at};
}

#define CODE(...) DP_CODE_BYTES(&prog, __VA_ARGS__)

static void imm(uint32_t value)
{
    dp_put(&prog, value, dp_imm_bytes(&prog));
}

/* An instruction of these bytes with a byte register or extension and an absolute address. */
static void absolute(uint8_t opcode, unsigned reg, uint32_t addr)
{
    dp_put(&prog, opcode, 1);
    dp_modrm_abs(&prog, reg, addr);
}

static void call_function(void)
{
    CODE(0xe8);
    imm(FUNCTION - prog.at - dp_imm_bytes(&prog));
}

static void put_function(void)
{
    prog.at = FUNCTION;
    CODE(0x55); /* push bp; mov bp, sp; inc bx */
    if (prog.bits == 64)
        CODE(0x48);
    CODE(0x89, 0xe5, 0xff, 0xc3);
    label("body");
    CODE(0x90, 0x5d);
    label("return");
    CODE(0xc3);
}

static void put_tables(void)
{
    uint32_t handler = DP_HANDLERS + 0x400;

    if (prog.kind == DP_LONG0)
        dp_paging(&prog);
    dp_store(&prog, OTHER_CR3, (DP_TABLES + 0x1000) | 7, 8);
    if (prog.kind != DP_LONG3)
        return;
    dp_store(&prog, DP_IDT + SET_CR3 * 16, handler | X86_SEL_CODE << 16, 8);
    dp_store(&prog, DP_IDT + SET_CR3 * 16 + 4, 0xee00, 4);
    dp_store(&prog, DP_IDT + 0xff0, 0x50f, 2);
    prog.at = handler;
    CODE(0x50, 0xb8);
    dp_put(&prog, OTHER_CR3, 4);
    label("set_cr3");
    CODE(0x0f, 0x22, 0xd8, 0x58, 0x48, 0xcf);
}

static void put_start(void)
{
    if (prog.kind == DP_LONG0) {
        dp_mov_imm(&prog, 0, DP_TABLES);
        CODE(0x0f, 0x22, 0xd8);
    }
    dp_mov_imm(&prog, 3, 0);
    CODE(0xfc); /* cld */
    label("begin");
    CODE(0x90, 0x90, 0x90);
}

static void put_calls(void)
{
    for (unsigned i = 0; i < 4; i++) {
        static const char *const before[] = {"call1", "call2", "call3", "call4"};

        label(before[i]);
        call_function();
        CODE(0x90);
    }
    if (prog.bits == 64) {
        CODE(0xc7);
        dp_modrm_abs(&prog, 0, DP_TABLES + 0x2010);
        imm((DP_TABLES + 0x3000) | 7);
        dp_mov_imm(&prog, 0, MAPPED + FUNCTION);
        label("call_mapped");
        CODE(0xff, 0xd0);
    }
}

/* Accesses to the two bytes at DP_WATCHED and to those beside them. */
static void put_accesses(void)
{
    label("accesses");
    absolute(0xc6, 0, DP_WATCHED);
    CODE(0x11);
    absolute(0xc6, 0, DP_WATCHED - 1);
    CODE(0x22);
    absolute(0x8a, 0, DP_WATCHED + 2);
    label("load");
    absolute(0x8a, 0, DP_WATCHED + 1);
    label("store");
    absolute(0xc6, 0, DP_WATCHED);
    CODE(0x5a);
    label("store_same");
    absolute(0xc6, 0, DP_WATCHED);
    CODE(0x5a);
    label("increment");
    absolute(0xfe, 0, DP_WATCHED + 1);
    label("load_across");
    absolute(0x8b, 1, DP_WATCHED - 1);
    dp_mov_imm(&prog, 7, DP_WATCHED - 3); /* two of its bytes are watched, which hosts tell of */
    dp_mov_imm(&prog, 1, 6);              /* after each, after a group, or at the end */
    CODE(0xb0, 0x33);
    label("fill");
    CODE(0xf3, 0xaa);
    label("accessed");
    CODE(0x90);
}

static void put_steps(void)
{
    dp_mov_imm(&prog, 7, DP_DATA);
    dp_mov_imm(&prog, 1, 5);
    label("rep");
    CODE(0xf3, 0xaa, 0x90);
    label("int");
    CODE(0xcd, 0x40, 0x90);
    label("mov_ss");
    CODE(0x8c, 0xd0, 0x8e, 0xd0, 0x90, 0x90); /* mov ax, ss; mov ss, ax */
    label("pushf");
    CODE(0x9c);
    label("popf");
    CODE(0x9d, 0x90);
    label("sti");
    CODE(0xfb, 0x90, 0x90);
    if (prog.kind != DP_LONG3)
        CODE(0xfa);
    label("jump");
    CODE(0xeb, 0x00);
    call_function();
    if (prog.kind == DP_LONG3) {
        label("syscall");
        CODE(0x0f, 0x05, 0x90);
    }
}

static void put_events(void)
{
    label("out");
    CODE(0xb0, 0x41, 0xe6, 0xe9, 0xe4, 0x80);
    dp_mov_imm(&prog, 0, 1);
    dp_mov_imm(&prog, 1, 0);
    dp_mov_imm(&prog, 2, 0);
    if (prog.kind == DP_PROT) {
        dp_mov_imm(&prog, 6, DP_MMIO);
        label("mmio");
        CODE(0x88, 0x0e, 0x8a, 0x06); /* mov [esi], cl; mov al, [esi] */
        dp_mov_imm(&prog, 0, 1);
    }
    label("divide");
    CODE(0xf7, 0xf1);
    label("undefined");
    CODE(0x0f, 0x0b);
    label("int3");
    CODE(0xcc, 0x90);
}

/* To another mode and back; ring 3 by a gate. */
static void put_mode_change(void)
{
    label("mode");
    switch (prog.kind) {
    case DP_REAL:
        CODE(0x0f, 0x20, 0xc0, 0x0c, 0x01, 0x0f, 0x22, 0xc0); /* CR0.PE on */
        CODE(0x24, 0xfe, 0x0f, 0x22, 0xc0);                   /* and off */
        break;
    case DP_PROT:
        CODE(0xea);
        dp_put(&prog, prog.at + 6, 4);
        dp_put(&prog, DP_OTHER_CS, 2);
        CODE(0x66, 0xea);
        dp_put(&prog, prog.at + 6, 4);
        dp_put(&prog, X86_SEL_CODE, 2);
        break;
    case DP_LONG0:
        CODE(0x6a, DP_OTHER_CS, 0x68);
        dp_put(&prog, prog.at + 6, 4);
        CODE(0x48, 0xcb); /* retfq */
        CODE(0xea);
        dp_put(&prog, prog.at + 6, 4);
        dp_put(&prog, X86_SEL_CODE, 2);
        break;
    default:
        CODE(0xcd, 0x40);
        break;
    }
    CODE(0x90);
}

static void put_cr3_change(void)
{
    label("cr3");
    if (prog.kind == DP_LONG3) {
        CODE(0xcd, SET_CR3, 0x90);
        return;
    }
    if (prog.kind == DP_REAL)
        CODE(0x66);
    CODE(0xb8);
    dp_put(&prog, OTHER_CR3, 4);
    CODE(0x0f, 0x22, 0xd8, 0x90);
}

/* The guest steps itself for a while; its handler counts. */
static void put_own_steps(void)
{
    label("own");
    dp_trap_flag(&prog, true);
    label("own_first");
    CODE(0x90);
    label("own_second");
    CODE(0xff, 0xc3); /* inc bx */
    dp_trap_flag(&prog, false);
    label("own_end");
    CODE(0x90);
}

static void make(enum dp_kind kind)
{
    label_count = 0;
    dp_make(&prog, kind, 1);
    put_tables();
    put_function();
    prog.at = DP_CODE;
    put_start();
    put_calls();
    put_accesses();
    put_steps();
    put_events();
    put_mode_change();
    put_cr3_change();
    put_own_steps();
    label("hlt");
    CODE(0xf4, 0x90);
    label("end");
    dp_exit(&prog);
}

/* ---- the features: lines of commands, @NAME a label; `all` goes on to the end of the program ----
 */

#define REAL_PROT (1u << DP_REAL | 1u << DP_PROT)
#define NOT_REAL  (1u << DP_PROT | 1u << DP_LONG0 | 1u << DP_LONG3)
#define NOT_PROT  (1u << DP_REAL | 1u << DP_LONG0 | 1u << DP_LONG3)
#define NOT_LONG3 (1u << DP_REAL | 1u << DP_PROT | 1u << DP_LONG0)

static const struct row {
    const char *name, *script;
    unsigned skip; /* modes in which it means nothing, */
    const char *why;
} rows[] = {
    {"break", "break @function;all", 0, NULL},
    {"break pending", "break @mapped;all", REAL_PROT, "every address is mapped without paging"},
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

/* ---- one cell ---------------------------------------------------------------------------------
 */

static struct buf lines; /* what the cells of a mode told */
static struct cmd_client client;

static bool find_label(const char *name, size_t len, uint32_t *at)
{
    static const struct label fixed[] = {{"function", FUNCTION},
                                         {"mapped", MAPPED + FUNCTION},
                                         {"watched", DP_WATCHED},
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
    tell_place(si->cs_base + si->rip);
    if (si->kind == STOP_STEP && si->vector >= 0)
        buf_addf(&lines, " vector %d", si->vector);
    if (si->kind == STOP_WATCHPOINT) {
        buf_addf(&lines, " %s%s [%llx,%u] %llx to %llx by", si->access & WATCH_READ ? "r" : "",
                 si->access & WATCH_WRITE ? "w" : "", (unsigned long long)si->addr, si->value_len,
                 (unsigned long long)si->old_value, (unsigned long long)si->new_value);
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

/* Waits as long as it runs, also for what the points' own commands set going. False when it will
 * not run again. */
static bool settle(void)
{
    struct session *s = client.s;

    for (unsigned i = 0; session_state(s) == SS_RUNNING && i < STOPS_MAX; i++) {
        struct out o = {0};
        bool silent = false;

        if (!session_wait(s, TIMEOUT, NULL)) {
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

static void run_cell(const struct row *r)
{
    struct buf line = {0};
    const char *script = r->script;

    buf_addf(&lines, "%s, %s\n", mode_name[prog.kind], r->name);
    if (r->skip & 1u << prog.kind) {
        buf_addf(&lines, "  SKIP %s\n", r->why);
        return;
    }
    if (!dp_open(&client.s, &prog, NULL)) {
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
    make(kind);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        run_cell(&rows[i]);
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

static void check_mode(enum dp_kind kind)
{
    struct buf want = {0};

    CHECK(read_golden(kind, &want));
    run_mode(kind);
    if (!test_skipped)
        compare(buf_str(&want));
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
