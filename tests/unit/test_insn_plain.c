/*
 * insn_plain lets instructions run without the guard of a single step, so a wrong yes loses the
 * guest. Rows say yes and no for instructions of each kind and operands of each kind; then every
 * opcode with every prefix is compared with what the disassembler knows of it. No KVM.
 */
#include "tests/test.h"

#include <stdlib.h>

#include "disasm/disasm.h"
#include "vmm/base/le.h"
#include "vmm/base/x.h"
#include "vmm/insn_head.h"
#include "vmm/insn_plain.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"
#include "vmm/x86_bits.h"

#define CODE    0x8000u
#define DATA    0x20000u
#define TABLES  0x70000u
#define EFER_LM 0x500u

static struct vm *vm;
static struct vcpu *v;

static void segment(struct kvm_segment *s, unsigned bits, bool code)
{
    *s = (struct kvm_segment){.limit = bits == 16 ? 0xffff : 0xffffffff,
                              .type = code && bits != 16 ? 11 : 3,
                              .present = 1,
                              .db = bits == 32,
                              .l = code && bits == 64,
                              .s = 1,
                              .g = bits != 16};
}

/* A vCPU in ring 0 of real, 32-bit protected or long mode, all of memory mapped as it is. */
static void set_up(unsigned bits)
{
    struct kvm_sregs *sr = v->sregs;

    memset(sr, 0, sizeof *sr);
    memset(v->regs, 0, sizeof *v->regs);
    segment(&sr->cs, bits, true);
    segment(&sr->ss, bits, false);
    sr->ds = sr->es = sr->fs = sr->gs = sr->ss;
    v->regs->rip = CODE;
    v->regs->rsp = 0x7800;
    v->regs->rflags = 2;
    v->regs->rbx = bits == 16 ? 0x2000 : DATA;
    v->regs->rsi = bits == 16 ? 0x100 : DATA + 0x100;
    if (bits != 16)
        sr->cr0 = CR0_PE;
    if (bits != 64)
        return;
    sr->cr0 |= CR0_PG;
    sr->cr4 = 0x20;
    sr->efer = EFER_LM;
    sr->cr3 = TABLES;
    memset(mem_ptr(&vm->mem, TABLES, 0x4000), 0, 0x4000);
    le_store(mem_ptr(&vm->mem, TABLES, 8), 8, (TABLES + 0x1000) | 7);
    le_store(mem_ptr(&vm->mem, TABLES + 0x1000, 8), 8, (TABLES + 0x2000) | 7);
    le_store(mem_ptr(&vm->mem, TABLES + 0x2000, 8), 8, (TABLES + 0x3000) | 7);
    for (unsigned i = 0; i < 0x100; i++) /* 1 MiB in small pages, of which some rows change one */
        le_store(mem_ptr(&vm->mem, TABLES + 0x3000 + 8 * i, 8), 8, (uint64_t)i * PAGE_BYTES | 3);
}

static bool open_machine(void)
{
    struct err e = {0};

    vm = xcalloc(1, sizeof *vm);
    v = xcalloc(1, sizeof *v);
    v->vm = vm;
    v->regs = xcalloc(1, sizeof *v->regs);
    v->sregs = xcalloc(1, sizeof *v->sregs);
    v->events = xcalloc(1, sizeof *v->events);
    if (mem_init(&vm->mem, 1 << 20, &e) == 0 && slots_init(&vm->slots, -1, &vm->mem, 100, &e) == 0)
        return true;
    test_fail(__FILE__, __LINE__, "%s", e.msg);
    return false;
}

static void close_machine(void)
{
    slots_fini(&vm->slots);
    mem_fini(&vm->mem);
    free(v->regs);
    free(v->sregs);
    free(v->events);
    free(v);
    free(vm);
}

/* What is said of these bytes at CS:RIP. */
static bool plain(const void *bytes, size_t n, unsigned *falls)
{
    uint8_t code[16];
    struct insn_head h;

    memset(code, 0x90, sizeof code);
    memcpy(code, bytes, n);
    mem_write(&vm->mem, v->sregs->cs.base + v->regs->rip, code, sizeof code);
    insn_head_read(v, &h);
    return insn_plain(v, &h, falls);
}

/* ---- kinds of instructions ------------------------------------------------------------------- */

enum answer { NO, FALLS, JUMPS };

#define B(s) (s), sizeof(s) - 1
static const struct row {
    const char *name;
    const char *code;
    size_t len;
    uint8_t a16, a32, a64; /* enum answer */
} rows[] = {
    /* clang-format off */
    {"nop",               B("\x90"),                     FALLS, FALLS, FALLS},
    {"mov reg, reg",      B("\x89\xd8"),                 FALLS, FALLS, FALLS},
    {"add reg, [ebx/rbx]", B("\x03\x03"),                NO,    FALLS, FALLS}, /* [bp+di]: checked below */
    {"mov [bx]/[edi]",    B("\x88\x07"),                 FALLS, FALLS, FALLS},
    {"cmp al, imm",       B("\x3c\x05"),                 FALLS, FALLS, FALLS},
    {"inc/rex",           B("\x40\x90"),                 FALLS, FALLS, FALLS},
    {"push ax",           B("\x50"),                     FALLS, FALLS, FALLS},
    {"pop bx",            B("\x5b"),                     FALLS, FALLS, FALLS},
    {"push imm8",         B("\x6a\x01"),                 FALLS, FALLS, FALLS},
    {"jmp short",         B("\xeb\x10"),                 JUMPS, JUMPS, JUMPS},
    {"jz",                B("\x74\x10"),                 JUMPS, JUMPS, JUMPS},
    {"loop",              B("\xe2\xfe"),                 JUMPS, JUMPS, JUMPS},
    {"neg",               B("\xf7\xd8"),                 FALLS, FALLS, FALLS},
    {"lea",               B("\x8d\x07"),                 FALLS, FALLS, FALLS},
    {"setz",              B("\x0f\x94\xc0"),             FALLS, FALLS, FALLS},
    {"movzx",             B("\x0f\xb6\xc3"),             FALLS, FALLS, FALLS},
    /* what faults by its nature, or by what it is given */
    {"div",               B("\xf7\xf3"),                 NO, NO, NO},
    {"idiv",              B("\xf6\xfb"),                 NO, NO, NO},
    {"ud2",               B("\x0f\x0b"),                 NO, NO, NO},
    {"bound/evex",        B("\x62\x07"),                 NO, NO, NO},
    {"into",              B("\xce"),                     NO, NO, NO},
    {"lea reg, reg",      B("\x8d\xc0"),                 NO, NO, NO},
    {"mov, bad group",    B("\xc7\xc8\0\0\0\0"),         NO, NO, NO},
    {"fld1",              B("\xd9\xe8"),                 NO, NO, NO},
    {"fwait",             B("\x9b"),                     NO, NO, NO},
    {"movaps",            B("\x0f\x28\xc1"),             NO, NO, NO},
    {"cmpxchg16b",        B("\x0f\xc7\x0f"),             NO, NO, NO},
    {"popcnt",            B("\xf3\x0f\xb8\xc3"),         NO, NO, NO},
    {"lock add",          B("\xf0\x01\x07"),             NO, NO, NO},
    {"xchg mem",          B("\x87\x07"),                 NO, NO, NO},
    /* mode changing, and what loads segments or tables */
    {"mov cr0, eax",      B("\x0f\x22\xc0"),             NO, NO, NO},
    {"lmsw",              B("\x0f\x01\xf0"),             NO, NO, NO},
    {"jmp far",           B("\xea\0\0\0\0\x08\0"),       NO, NO, NO},
    {"call far mem",      B("\xff\x1f"),                 NO, NO, NO},
    {"jmp near mem",      B("\xff\x27"),                 NO, NO, NO},
    {"call near reg",     B("\xff\xd0"),                 NO, NO, NO},
    {"push mem",          B("\xff\x37"),                 NO, NO, NO},
    {"ret",               B("\xc3"),                     NO, NO, NO},
    {"retf",              B("\xcb"),                     NO, NO, NO},
    {"iret",              B("\xcf"),                     NO, NO, NO},
    {"mov ds, ax",        B("\x8e\xd8"),                 NO, NO, NO},
    {"mov ss, ax",        B("\x8e\xd0"),                 NO, NO, NO},
    {"pop ss",            B("\x17"),                     NO, NO, NO},
    {"lds/vex",           B("\xc5\x07"),                 NO, NO, NO},
    {"wrmsr",             B("\x0f\x30"),                 NO, NO, NO},
    {"syscall",           B("\x0f\x05"),                 NO, NO, NO},
    {"sysret",            B("\x0f\x07"),                 NO, NO, NO},
    {"sysenter",          B("\x0f\x34"),                 NO, NO, NO},
    {"swapgs",            B("\x0f\x01\xf8"),             NO, NO, NO},
    {"xbegin",            B("\xc7\xf8\0\0\0\0"),         NO, NO, NO},
    /* strings, repeated or not: several accesses, or direction and registers */
    {"movs",              B("\xa4"),                     NO, NO, NO},
    {"rep stos",          B("\xf3\xab"),                 NO, NO, NO},
    {"repne scas",        B("\xf2\xae"),                 NO, NO, NO},
    {"rep nop (pause)",   B("\xf3\x90"),                 NO, NO, NO},
    {"outs",              B("\x6e"),                     NO, NO, NO},
    {"pusha",             B("\x60"),                     NO, NO, NO},
    {"enter",             B("\xc8\x10\0\x01"),           NO, NO, NO},
    {"leave",             B("\xc9"),                     NO, NO, NO},
    /* privileged, I/O, flags that matter */
    {"hlt",               B("\xf4"),                     NO, NO, NO},
    {"cli",               B("\xfa"),                     NO, NO, NO},
    {"sti",               B("\xfb"),                     NO, NO, NO},
    {"pushf",             B("\x9c"),                     NO, NO, NO},
    {"popf",              B("\x9d"),                     NO, NO, NO},
    {"in",                B("\xe4\x60"),                 NO, NO, NO},
    {"out dx",            B("\xee"),                     NO, NO, NO},
    {"cpuid",             B("\x0f\xa2"),                 NO, NO, NO},
    {"rdtsc",             B("\x0f\x31"),                 NO, NO, NO},
    {"vmcall",            B("\x0f\x01\xc1"),             NO, NO, NO},
    {"lgdt",              B("\x0f\x01\x17"),             NO, NO, NO},
    {"lidt",              B("\x0f\x01\x1f"),             NO, NO, NO},
    {"ltr",               B("\x0f\x00\xd8"),             NO, NO, NO},
    {"mov dr7, eax",      B("\x0f\x23\xf8"),             NO, NO, NO},
    {"invlpg",            B("\x0f\x01\x3f"),             NO, NO, NO},
    {"int3",              B("\xcc"),                     NO, NO, NO},
    {"int1",              B("\xf1"),                     NO, NO, NO},
    {"int 0x80",          B("\xcd\x80"),                 NO, NO, NO},
    /* clang-format on */
};

static void kinds(void)
{
    static const unsigned bits[] = {16, 32, 64};

    if (!open_machine())
        return;
    for (unsigned m = 0; m < 3 && !test_failed; m++) {
        for (unsigned i = 0; i < ARRAY_LEN(rows) && !test_failed; i++) {
            const struct row *r = &rows[i];
            enum answer want = m == 0 ? r->a16 : m == 1 ? r->a32 : r->a64, got;
            unsigned falls;

            set_up(bits[m]);
            v->regs->rdi = DATA;
            v->regs->rbp = 0x3000;
            if (m == 0)
                v->sregs->cr0 = 0;
            got = !plain(r->code, r->len, &falls) ? NO : falls ? FALLS : JUMPS;
            /* [bp+di] is at 0x3000 + (uint16_t)DATA: plain too */
            if (m == 0 && !strcmp(r->name, "add reg, [ebx/rbx]"))
                want = FALLS;
            if (got != want)
                test_fail(__FILE__, __LINE__, "%s in %u-bit code: %d, want %d", r->name, bits[m],
                          (int)got, (int)want);
        }
    }
    close_machine();
}

/* ---- operands, stacks and places ------------------------------------------------------------- */

static const char store[] = "\x88\x07"; /* mov [edi/rdi], al; in 16-bit code [bx] */

#define SAYS(want, bytes)                                                                          \
    do {                                                                                           \
        unsigned falls_;                                                                           \
        if (plain(bytes, sizeof(bytes) - 1, &falls_) != (want))                                    \
            test_fail(__FILE__, __LINE__, "want %d", (int)(want));                                 \
    } while (0)

static uint8_t *entry_of(uint64_t linear)
{
    return mem_ptr(&vm->mem, TABLES + 0x3000 + 8 * (linear / PAGE_BYTES), 8);
}

static void operands(void)
{
    unsigned falls = 1;

    if (!open_machine())
        return;
    set_up(64);
    v->regs->rdi = DATA;
    SAYS(true, store);
    le_store(entry_of(DATA), 8, DATA | 1); /* read-only */
    SAYS(false, store);
    le_store(entry_of(DATA), 8, 0); /* not present */
    SAYS(false, store);
    le_store(entry_of(DATA), 8, 0xfe000000 | 3); /* a device */
    SAYS(false, store);
    le_store(entry_of(DATA), 8, DATA | 7); /* ring 3's, with SMAP */
    SAYS(true, store);
    v->sregs->cr4 |= 1u << 21;
    SAYS(false, store);
    set_up(64);
    v->regs->rdi = DATA + PAGE_BYTES - 3; /* may reach into the next page */
    SAYS(false, store);
    v->regs->rdi = 1ull << 47; /* not canonical */
    SAYS(false, store);
    v->regs->rdi = CODE + 0x100; /* its own page: the next instruction may be another then */
    if (!plain(store, 2, &falls) || falls)
        test_fail(__FILE__, __LINE__, "falls %u", falls);
    set_up(64);
    v->regs->rdi = DATA;
    slots_trap(&vm->slots, DATA, SLOT_READ_ONLY);
    SAYS(false, store);
    slots_trap(&vm->slots, DATA, SLOT_ABSENT);
    SAYS(false, store);
    slots_trap(&vm->slots, DATA, SLOT_OPEN);
    SAYS(true, store);
    /* Bytes planted in a page make it read-only, which code does not mind. */
    slots_trap(&vm->slots, CODE, SLOT_READ_ONLY);
    SAYS(true, "\x90");
    slots_trap(&vm->slots, CODE, SLOT_ABSENT);
    SAYS(false, "\x90");
    slots_trap(&vm->slots, CODE, SLOT_OPEN);
    close_machine();
}

static void stacks_and_places(void)
{
    if (!open_machine())
        return;
    set_up(64);
    le_store(entry_of(0x7000), 8, 0);
    SAYS(false, "\x50");
    SAYS(true, "\x90");
    set_up(32);
    v->sregs->ss.limit = 0x7000;
    SAYS(false, "\x50");
    set_up(32);
    v->sregs->ss.type = 7; /* expand-down */
    SAYS(false, "\x50");
    set_up(16);
    v->regs->rsp = 2; /* wraps */
    SAYS(false, "\x50");
    set_up(32);
    v->regs->rdi = DATA;
    v->sregs->ds.limit = 0x1000;
    SAYS(false, store);
    v->sregs->ds.unusable = 1;
    SAYS(false, store);
    set_up(32);
    v->regs->rdi = DATA;
    v->sregs->ds.type = 1; /* not writable */
    SAYS(false, store);
    SAYS(false, "\x2e\x88\x07"); /* through CS */
    set_up(32);
    v->sregs->cs.limit = CODE + 1; /* what follows two bytes is beyond */
    SAYS(true, "\x90");
    SAYS(false, "\x89\xd8");
    set_up(64);
    v->regs->rip = CODE + PAGE_BYTES - 1;
    SAYS(true, "\x90");
    SAYS(false, "\x89\xd8");
    set_up(64);
    le_store(entry_of(CODE), 8, CODE | 1ull << 63 | 3); /* no-execute */
    v->sregs->efer |= 0x800;
    SAYS(false, "\x90");
    set_up(64);
    v->regs->rflags |= 0x100; /* a trap flag of the guest's own */
    SAYS(false, "\x90");
    set_up(64);
    v->sregs->cs.selector = v->sregs->ss.selector = 3; /* ring 3 */
    v->sregs->cs.dpl = v->sregs->ss.dpl = 3;
    SAYS(false, "\x90");
    close_machine();
}

/* ---- every opcode against the disassembler --------------------------------------------------- */

/* All that may be plain; "j" is each conditional jump, "set" and "cmov" likewise. */
static bool may_be_plain(const char *mnemonic)
{
    static const char *const words[] = {
        "add",  "or",   "adc",  "sbb", "and",  "sub",   "xor",   "cmp",   "inc",   "dec",
        "push", "pop",  "imul", "mul", "test", "xchg",  "mov",   "lea",   "nop",   "cwde",
        "cbw",  "cdqe", "cwd",  "cdq", "cqo",  "call",  "jmp",   "loop",  "loope", "loopne",
        "not",  "neg",  "rol",  "ror", "rcl",  "rcr",   "shl",   "shr",   "sal",   "sar",
        "cmc",  "clc",  "stc",  "cld", "std",  "movzx", "movsx", "movabs"};

    for (unsigned i = 0; i < ARRAY_LEN(words); i++)
        if (!strcmp(words[i], mnemonic))
            return true;
    return !strncmp(mnemonic, "set", 3) || !strncmp(mnemonic, "cmov", 4) || mnemonic[0] == 'j';
}

static bool is_long_nop(const uint8_t *b)
{
    return (b[0] == 0x0f && b[1] == 0x1f) || (b[1] == 0x0f && b[2] == 0x1f);
}

static void compare(struct disasm *d, unsigned bits, const uint8_t *bytes, unsigned n,
                    unsigned *yes)
{
    const uint32_t never = INSN_RET | INSN_INT | INSN_IRET | INSN_SYSCALL | INSN_SYSRET | INSN_HLT |
                           INSN_IO | INSN_REP | INSN_PRIV | INSN_BAD | INSN_FAR;
    unsigned falls;
    struct insn in;

    if (!plain(bytes, n, &falls))
        return;
    ++*yes;
    disasm_one(d, bits, CODE, bytes, n, &in);
    if (is_long_nop(bytes)) /* in forms that the disassembler does not know */
        return;
    if (!may_be_plain(in.mnemonic) || (in.effects & never))
        test_fail(__FILE__, __LINE__, "%u-bit: `%s %s` (%02x %02x %02x %02x) is called plain", bits,
                  in.mnemonic, in.operands, bytes[0], bytes[1], bytes[2], bytes[3]);
    else if (in.effects & INSN_BRANCH ? falls != 0 : falls && falls != in.len)
        test_fail(__FILE__, __LINE__, "%u-bit: `%s %s` (%02x %02x %02x %02x) falls %u, has %u",
                  bits, in.mnemonic, in.operands, bytes[0], bytes[1], bytes[2], bytes[3], falls,
                  in.len);
}

static void every_opcode(void)
{
    static const uint8_t prefixes[] = {0, 0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x2e, 0x64, 0x41, 0x48};
    static const unsigned widths[] = {16, 32, 64};
    static const uint8_t modrms[] = {0x00, 0x05, 0x07, 0x0b, 0x14, 0x1d, 0x26, 0x2c, 0x33, 0x3d,
                                     0x43, 0x4c, 0x54, 0x5d, 0x83, 0x8c, 0x96, 0x9d, 0xa4, 0xc0,
                                     0xc8, 0xd1, 0xd9, 0xe2, 0xea, 0xf3, 0xf8, 0xff};
    struct disasm *d = disasm_new();
    unsigned yes = 0;

    if (!open_machine())
        return;
    for (unsigned m = 0; m < 3; m++) {
        set_up(widths[m]);
        for (unsigned p = 0; p < ARRAY_LEN(prefixes); p++) {
            for (unsigned op = 0; op < 512 && !test_failed; op++) {
                for (unsigned k = 0; k < ARRAY_LEN(modrms) && !test_failed; k++) {
                    /* SIB 24 is [rsp]; displacement and immediate bytes are small. */
                    const uint8_t tail[] = {modrms[k], 0x24, 0, 0x20, 0, 0, 1, 0, 0, 0};
                    uint8_t bytes[15] = {0};
                    unsigned n = 0;

                    if (prefixes[p])
                        bytes[n++] = prefixes[p];
                    if (op > 255)
                        bytes[n++] = 0x0f;
                    bytes[n++] = (uint8_t)op;
                    memcpy(bytes + n, tail, sizeof tail);
                    compare(d, widths[m], bytes, sizeof bytes, &yes);
                }
            }
        }
    }
    disasm_free(d);
    close_machine();
    if (!test_failed && yes < 5000)
        test_fail(__FILE__, __LINE__, "only %u were plain: the rows above did not reach it", yes);
}

static const struct test tests[] = {
    {"kinds", kinds},
    {"operands", operands},
    {"stacks and places", stacks_and_places},
    {"every opcode", every_opcode},
};
TEST_MAIN(tests)
