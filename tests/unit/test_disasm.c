/* Disassembly in three code sizes and two syntaxes: text, effects, targets, going backwards. */
#include "disasm/disasm.h"
#include "tests/test.h"
#include "vmm/base/x.h"

static struct disasm *d;
static struct insn x;

static size_t from_hex(const char *hex, uint8_t *dst)
{
    size_t n = 0;
    unsigned v;

    for (; sscanf(hex, " %2x", &v) == 1; hex += strspn(hex, " ") + 2)
        dst[n++] = (uint8_t)v;
    return n;
}

static const char *text(unsigned bits, uint64_t addr, const char *hex)
{
    static char line[200];
    uint8_t b[64];
    size_t n = from_hex(hex, b);

    disasm_one(d, bits, addr, b, n, &x);
    snprintf(line, sizeof line, "%s%s%s", x.mnemonic, x.operands[0] ? " " : "", x.operands);
    return line;
}

static void open_intel(void)
{
    disasm_free(d);
    d = disasm_new();
}

static void lines(void)
{
    static const struct {
        unsigned bits;
        uint64_t addr;
        const char *hex, *text;
        unsigned len;
    } rows[] = {
        {64, 0x401000, "48 89 e5", "mov rbp, rsp", 3},
        {64, 0x401000, "e8 10 00 00 00", "call 0x401015", 5},
        {64, 0x401000, "48 8b 05 00 01 00 00", "mov rax, qword ptr [rip + 0x100]", 7},
        {32, 0x100000, "0f 22 c0", "mov cr0, eax", 3},
        {16, 0x7c00, "eb fe", "jmp 0x7c00", 2},
        {16, 0x7c00, "e8 10 00", "call 0x7c13", 3},
        {16, 0xffff0, "e9 10 00", "jmp 0x100003", 3},
        {16, 0x10010, "74 f0", "je 0x10002", 2},
        {16, 0x7c00, "ea 00 7c 00 00", "ljmp 0:0x7c00", 5},
        {16, 0x7c00, "8e d8", "mov ds, ax", 2},
        {64, 0, "f3 a4", "rep movsb byte ptr [rdi], byte ptr [rsi]", 2},
        {32, 0, "66 f3 ab", "rep stosw word ptr es:[edi], ax", 3},
        {64, 0, "66 f3 a5", "rep movsw word ptr [rdi], word ptr [rsi]", 3},
        {16, 0, "66 0f d6 16 98 a1", "movq qword ptr [0xa198], xmm2", 6},
        {16, 0, "f3 0f 7e 1e 00 a3", "movq xmm3, qword ptr [0xa300]", 6},
        {16, 0, "64 f3 0f 7e 2e c0 a6", "movq xmm5, qword ptr fs:[0xa6c0]", 7},
        {16, 0, "67 f2 0f 10 2e", "movsd xmm5, qword ptr [esi]", 5},
        {16, 0, "65 66 0f ef 2e c0 a6", "pxor xmm5, xmmword ptr gs:[0xa6c0]", 7},
        {16, 0, "f3 0f b8 2e c0 a6", "popcnt bp, word ptr [0xa6c0]", 6},
        {16, 0, "66 f3 0f b8 2e c0 a6", "popcnt ebp, dword ptr [0xa6c0]", 7},
        {32, 0, "f2 64 0f 10 06", "movsd xmm0, qword ptr fs:[esi]", 5},
        {32, 0, "f3 66 0f b8 06", "popcnt ax, word ptr [esi]", 5},
        {64, 0, "f3 64 0f 7e 06", "movq xmm0, qword ptr fs:[rsi]", 5},
        {64, 0, "f3 64 48 0f 2a 06", "cvtsi2ss xmm0, qword ptr fs:[rsi]", 6},
        {64, 0, "0f 01 ee", "rdpkru", 3},
        {16, 0, "f3 90", "pause", 2},
        {32, 0, "f3 0f 1e fb", "endbr32", 4},
        {64, 0, "f3 0f c7 f8", "rdpid eax", 4},
        {64, 0, "48 0f 07", "sysretq", 3},
        {64, 0, "48 cf", "iretq", 2},
        {64, 0, "06", "(bad)", 1},
        {64, 0, "0f", "(bad)", 1},
        {64, 0, "48 8b 05 00 01", "(bad)", 1},
        {64, 0, "66 0f 38 f8 00", "(bad)", 1},
        {64, 0, "", "(bad)", 1},
        {64, 0, "66 66 66 66 66 66 66 66 66 66 66 66 66 66 66 90", "(bad)", 1},
    };

    open_intel();
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const char *t = text(rows[i].bits, rows[i].addr, rows[i].hex);

        if (strcmp(t, rows[i].text) || x.len != rows[i].len)
            TEST_FAIL("%s (%u bits): \"%s\", length %u", rows[i].hex, rows[i].bits, t, x.len);
    }
}

static void effects(void)
{
    static const struct {
        unsigned bits;
        const char *hex;
        uint32_t want;
    } rows[] = {
        {64, "e8 00 00 00 00", INSN_CALL},
        {64, "ff 10", INSN_CALL | INSN_LOADS},
        {64, "ff 18", INSN_CALL | INSN_FAR | INSN_LOADS},
        {64, "c3", INSN_RET},
        {64, "48 cb", INSN_RET | INSN_FAR},
        {64, "ff e0", INSN_JMP},
        {32, "ea 00 10 00 00 08 00", INSN_JMP | INSN_FAR},
        {64, "74 00", INSN_JCC},
        {64, "e2 fe", INSN_JCC},
        {64, "e3 fe", INSN_JCC},
        {64, "cc", INSN_INT},
        {64, "f1", INSN_INT},
        {64, "cd 80", INSN_INT},
        {32, "ce", INSN_INT},
        {64, "48 cf", INSN_IRET | INSN_FAR},
        {16, "cf", INSN_IRET | INSN_FAR},
        {64, "0f 05", INSN_SYSCALL | INSN_FAR},
        {64, "0f 34", INSN_SYSCALL | INSN_FAR},
        {64, "48 0f 07", INSN_SYSRET | INSN_FAR | INSN_PRIV},
        {64, "f4", INSN_HLT | INSN_PRIV},
        {64, "ec", INSN_IO},
        {64, "e6 80", INSN_IO},
        {64, "f3 6c", INSN_IO | INSN_REP | INSN_STORES},
        {64, "f3 6e", INSN_IO | INSN_REP | INSN_LOADS},
        {64, "f3 a4", INSN_REP | INSN_LOADS | INSN_STORES},
        {64, "f3 48 ab", INSN_REP | INSN_STORES},
        {64, "f2 ae", INSN_REP | INSN_LOADS},
        {64, "f3 a5", INSN_REP | INSN_LOADS | INSN_STORES},
        {64, "f2 0f 10 00", INSN_LOADS},
        {64, "f3 c3", INSN_RET},
        {64, "0f 30", INSN_PRIV},
        {64, "0f 32", INSN_PRIV},
        {64, "0f 20 c0", INSN_PRIV},
        {64, "0f 06", INSN_PRIV},
        {64, "0f 01 10", INSN_PRIV | INSN_LOADS},
        {64, "0f 01 38", INSN_PRIV},
        {64, "8e d8", 0},
        {64, "0f 01 c1", 0},
        {64, "8b 00", INSN_LOADS},
        {64, "89 00", INSN_STORES},
        {64, "83 00 01", INSN_LOADS | INSN_STORES},
        {64, "f0 0f b1 0b", INSN_LOADS | INSN_STORES},
        {64, "48 8d 00", 0},
        {64, "0f 1f 00", 0},
        {64, "50", 0},
        {64, "87 c3", 0},
        {64, "06", INSN_BAD},
    };

    open_intel();
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const char *t = text(rows[i].bits, 0x1000, rows[i].hex);

        if (x.effects != rows[i].want)
            TEST_FAIL("%s (%s): effects 0x%x, want 0x%x", t, rows[i].hex, x.effects, rows[i].want);
    }
}

static bool name(void *arg, uint64_t addr, char *dst, size_t cap)
{
    uint64_t base = *(uint64_t *)arg;

    if (addr < base || addr >= base + 16)
        return false;
    if (addr == base)
        snprintf(dst, cap, "main");
    else
        snprintf(dst, cap, "main+0x%x", (unsigned)(addr - base));
    return true;
}

static void symbols(void)
{
    uint64_t base = 0x401015;

    open_intel();
    disasm_symbols(d, name, &base);
    CHECK_STR(text(64, 0x401000, "e8 10 00 00 00"), "call main");
    CHECK(x.has_target && x.target == 0x401015);
    CHECK_STR(text(64, 0x401000, "eb 17"), "jmp main+0x4");
    CHECK_STR(text(64, 0x401000, "48 8d 05 0e 00 00 00"), "lea rax, [rip + main]");
    CHECK(x.has_mem_abs && x.mem_abs == 0x401015);
    CHECK_STR(text(64, 0x401010, "c6 05 fe ff ff ff 05"), "mov byte ptr [rip + main], 5");
    CHECK_STR(text(64, 0, "8b 04 25 15 10 40 00"), "mov eax, dword ptr [main]");
    CHECK_STR(text(64, 0, "64 8b 04 25 15 10 40 00"), "mov eax, dword ptr fs:[0x401015]");
    CHECK(!x.has_mem_abs);
    CHECK_STR(text(32, 0, "ff 25 15 10 40 00"), "jmp dword ptr [main]");
    CHECK(!x.has_target && x.has_mem_abs);
    disasm_syntax(d, DISASM_ATT);
    CHECK_STR(text(64, 0x401000, "e8 10 00 00 00"), "callq main");
    CHECK_STR(text(64, 0x401000, "48 8d 05 0e 00 00 00"), "leaq main(%rip), %rax");
    CHECK_STR(text(64, 0x401010, "c6 05 fe ff ff ff 05"), "movb $5, main(%rip)");
    CHECK_STR(text(32, 0, "8b 04 25 15 10 40 00"), "movl main, %eax");
    CHECK_STR(text(32, 0, "ff 25 15 10 40 00"), "jmpl *main");
    CHECK_STR(text(32, 0, "c7 05 15 10 40 00 15 10 40 00"), "movl $0x401015, main");
    base = 0x7c10;
    disasm_syntax(d, DISASM_INTEL);
    CHECK_STR(text(16, 0, "a1 12 7c"), "mov ax, word ptr [main+0x2]");
    disasm_symbols(d, NULL, NULL);
    CHECK_STR(text(16, 0, "a1 12 7c"), "mov ax, word ptr [0x7c12]");
}

static bool long_name(void *arg, uint64_t addr, char *dst, size_t cap)
{
    (void)arg;
    (void)addr;
    memset(dst, 'z', cap);
    return true;
}

static void long_symbols_are_cut(void)
{
    open_intel();
    disasm_symbols(d, long_name, NULL);
    text(64, 0, "e8 00 00 00 00");
    CHECK_EQ(strlen(x.operands), sizeof x.operands - 1);
    text(64, 0, "c7 84 25 00 00 00 00 00 00 00 00");
    text(64, 0, "c6 05 fe ff ff ff 05");
    CHECK(strlen(x.operands) < sizeof x.operands);
}

static void far_targets(void)
{
    open_intel();
    text(32, 0, "ea 00 10 00 00 08 00");
    CHECK(x.has_target && x.target == 0x1000);
    text(16, 0, "ea 00 10 08 00");
    CHECK(!x.has_target);
    text(16, 0, "66 ea 00 00 10 00 08 00");
    CHECK(x.has_target && x.target == 0x100000);
    text(64, 0, "ff e0");
    CHECK(!x.has_target);
}

static void backwards(void)
{
    uint8_t b[64];
    /* push rbp; mov rbp,rsp; sub rsp,0x10; mov dword [rbp-4],0; call; nop */
    size_t n = from_hex("55 48 89 e5 48 83 ec 10 c7 45 fc 00 00 00 00 e8 01 02 03 04 90", b);
    static const unsigned want[] = {1, 6, 13, 17, 20, 21};

    open_intel();
    for (unsigned i = 0; i < ARRAY_LEN(want); i++)
        CHECK_EQ(disasm_back(d, 64, 0x1000 + n, b, n, i + 1), want[i]);
    CHECK_EQ(disasm_back(d, 64, 0x1000 + n, b, n, 50), 21);
    CHECK_EQ(disasm_back(d, 64, 0x1000, b, 0, 1), 0);
    CHECK_EQ(disasm_back(d, 64, 0x1000, b, 5, 0), 0);
    b[0] = 0x06;
    CHECK_EQ(disasm_back(d, 64, 1, b, 1, 3), 1);
}

static void random_bytes(void)
{
    static const unsigned sizes[] = {16, 32, 64};
    uint8_t b[40];
    uint32_t r = 1;

    open_intel();
    disasm_symbols(d, long_name, NULL);
    for (unsigned i = 0; i < 60000; i++) {
        size_t n = 1 + r % sizeof b;

        for (size_t k = 0; k < sizeof b; k++)
            b[k] = (uint8_t)((r = r * 1664525u + 1013904223u) >> 24);
        disasm_syntax(d, i & 1 ? DISASM_ATT : DISASM_INTEL);
        disasm_one(d, sizes[i % 3], r, b, n, &x);
        if (x.len < 1 || x.len > 15 || x.len > n || !x.mnemonic[0])
            TEST_FAIL("length %u of %zu", x.len, n);
        if (i % 64 == 0)
            CHECK(disasm_back(d, sizes[i % 3], r, b, n, 3) <= n);
    }
}

static const struct test tests[] = {
    {"disasm: lines", lines},
    {"disasm: effects", effects},
    {"disasm: symbols", symbols},
    {"disasm: long symbols are cut", long_symbols_are_cut},
    {"disasm: far targets", far_targets},
    {"disasm: backwards", backwards},
    {"disasm: random bytes", random_bytes},
};
TEST_MAIN(tests)
