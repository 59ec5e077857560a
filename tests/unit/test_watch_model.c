/*
 * Watchpoints against a model: a program of one instruction of each kind that touches memory, with
 * what it reads and writes written beside it, is single-stepped once, and memory compared after
 * each step. Then random watchpoints are set on it, of any kind and length, aligned or not, by
 * every method: each must stop exactly at the instructions that the model says, once, and tell who
 * it was, the old and the new value to the byte.
 *
 *   MODEL_SEED=N    first seed    MODEL_ROUNDS=N  so many sets of watchpoints for each mode
 *   MODEL_TRUE=1    no conditions that are false
 *   MODEL_KIND=N    only that mode (0 real16, 1 prot32, 2 long ring 0, 3 long ring 3)
 */
#include "tests/test.h"

#include "tests/unit/diff_boot.h"
#include "vmm/base/x.h"
#include "vmm/vcpu.h"

#define DATA_BYTES 0x2000u
#define STEPS_MAX  400u
#define WATCH_MAX  4u

/* ---- the programs ------------------------------------------------------------------------------
 *
 * I r1, n1, r2, n2, w, n, w2, n2, "instruction": reads n1 bytes at r1 and n2 at r2, writes n at w.
 * A call, and what follows a repeated string, stand at the next row's label.
 */
struct row {
    uint64_t at;
    uint32_t read[2][2], write[2][2]; /* address, bytes */
};

__asm__(".macro I ra, ral, rb, rbl, wa, wal, wb, wbl, text\n"
        "  .pushsection watch_rows, \"aw\"\n"
        "  .quad 7771f\n"
        "  .long \\ra, \\ral, \\rb, \\rbl, \\wa, \\wal, \\wb, \\wbl\n"
        "  .popsection\n"
        "7771: \\text\n"
        ".endm\n"
        ".macro N text\n"
        "  I 0,0,0,0,0,0,0,0,\"\\text\"\n"
        ".endm\n"
        ".macro R addr, len, text\n"
        "  I \\addr,\\len,0,0,0,0,0,0,\"\\text\"\n"
        ".endm\n"
        ".macro W addr, len, text\n"
        "  I 0,0,0,0,\\addr,\\len,0,0,\"\\text\"\n"
        ".endm\n"
        ".macro M addr, len, text\n"
        "  I \\addr,\\len,0,0,\\addr,\\len,0,0,\"\\text\"\n"
        ".endm\n");

/* `ax` and others: registers of the mode's width; w: its bytes; far: bytes of SGDT. */
#define PROGRAM(name, code, ax, bx, cx, si, di, sp, bp, w, far, imm, extra)                        \
    __asm__(".pushsection watch_rows, \"aw\"\nm_" #name "_rows:\n.popsection\n"                    \
            ".pushsection .rodata\n" code "\nm_" #name "_begin:\n"                                 \
            " N \"cld\"\n"                                                                         \
            " W 0xa010, 1, \"movb $0x11, 0xa010\"\n"                                               \
            " W 0xa010, 1, \"movb $0x11, 0xa010\"\n"                                               \
            " W 0xa013, 2, \"movw $0x2222, 0xa013\"\n"                                             \
            " W 0xa017, 4, \"movl $0x44332211, 0xa017\"\n"                                         \
            " W 0xa03e, 4, \"movl $0x55667788, 0xa03e\"\n"                                         \
            " W 0xaffe, 4, \"movl $0x0f0e0d0c, 0xaffe\"\n"                                         \
            " W 0xafff, 2, \"movw $0x1a1b, 0xafff\"\n"                                             \
            " R 0xa010, 1, \"movb 0xa010, %al\"\n"                                                 \
            " R 0xa013, 2, \"movw 0xa013, %ax\"\n"                                                 \
            " R 0xa017, 4, \"movl 0xa017, %eax\"\n"                                                \
            " R 0xaffe, 4, \"movl 0xaffe, %eax\"\n"                                                \
            " R 0xa010, 1, \"movzbl 0xa010, %eax\"\n"                                              \
            " R 0xa013, 2, \"movswl 0xa013, %eax\"\n"                                              \
            " R 0xa010, 1, \"cmpb $1, 0xa010\"\n"                                                  \
            " R 0xa017, 4, \"testl %eax, 0xa017\"\n"                                               \
            " R 0xa017, 4, \"addl 0xa017, %eax\"\n"                                                \
            " M 0xa017, 4, \"addl $1, 0xa017\"\n"                                                  \
            " M 0xa017, 4, \"adcl %eax, 0xa017\"\n"                                                \
            " M 0xa03e, 4, \"xorl $0x01000000, 0xa03e\"\n"                                         \
            " M 0xaffd, 4, \"orl $0x80000001, 0xaffd\"\n"                                          \
            " M 0xa010, 1, \"incb 0xa010\"\n"                                                      \
            " M 0xa013, 2, \"negw 0xa013\"\n"                                                      \
            " M 0xa017, 4, \"notl 0xa017\"\n"                                                      \
            " M 0xa017, 4, \"shll $1, 0xa017\"\n"                                                  \
            " M 0xa013, 2, \"rorw $3, 0xa013\"\n"                                                  \
            " M 0xa020, 4, \"shldl $4, %eax, 0xa020\"\n"                                           \
            " M 0xa020, 4, \"xchgl %eax, 0xa020\"\n"                                               \
            " M 0xa020, 4, \"lock incl 0xa020\"\n"                                                 \
            " M 0xa020, 4, \"lock xaddl %eax, 0xa020\"\n"                                          \
            " R 0xa020, 4, \"movl 0xa020, %eax\"\n"                                                \
            " M 0xa020, 4, \"lock cmpxchgl %ecx, 0xa020\"\n"                                       \
            " M 0xa024, 4, \"btsl $3, 0xa024\"\n"                                                  \
            " R 0xa024, 4, \"btl $3, 0xa024\"\n"                                                   \
            " N \"movl $100, %eax\"\n"                                                             \
            " R 0xa034, 4, \"btl %eax, 0xa028\"\n"                                                 \
            " M 0xa034, 4, \"btcl %eax, 0xa028\"\n"                                                \
            " W 0xa011, 1, \"sete 0xa011\"\n"                                                      \
            " N \"mov $0xa050, %" bx "\"\n"                                                        \
            " N \"leal 0xa010, %ecx\"\n"                                                           \
            " N \"nopl 0xa010\"\n"                                                                 \
            " N \"mov $5, %" ax "\"\n"                                                             \
            " R 0xa055, 1, \"xlat\"\n"                                                             \
            " W 0xa100, " far ", \"sgdt 0xa100\"\n"                                                \
            " W 0xa110, " far ", \"sidt 0xa110\"\n"                                                \
            " W 0xa120, 2, \"smsw 0xa120\"\n" /* x87 and SSE */                                    \
            " N \"fninit\"\n"                                                                      \
            " R 0xa017, 4, \"fildl 0xa017\"\n"                                                     \
            " W 0xa130, 4, \"fistl 0xa130\"\n"                                                     \
            " W 0xa134, 8, \"fstl 0xa134\"\n"                                                      \
            " R 0xa134, 8, \"fldl 0xa134\"\n"                                                      \
            " W 0xa140, 10, \"fstpt 0xa140\"\n"                                                    \
            " R 0xa140, 10, \"fldt 0xa140\"\n"                                                     \
            " W 0xaffc, 8, \"fstpl 0xaffc\"\n"                                                     \
            " W 0xa150, 2, \"fnstcw 0xa150\"\n"                                                    \
            " R 0xa150, 2, \"fldcw 0xa150\"\n"                                                     \
            " W 0xa152, 2, \"fnstsw 0xa152\"\n"                                                    \
            " R 0xa134, 16, \"movups 0xa134, %xmm0\"\n"                                            \
            " W 0xa163, 16, \"movups %xmm0, 0xa163\"\n"                                            \
            " W 0xa180, 16, \"movaps %xmm0, 0xa180\"\n"                                            \
            " R 0xa180, 16, \"addps 0xa180, %xmm0\"\n"                                             \
            " W 0xaff4, 16, \"movdqu %xmm0, 0xaff4\"\n"                                            \
            " R 0xaff4, 16, \"movdqu 0xaff4, %xmm1\"\n"                                            \
            " W 0xa190, 4, \"movss %xmm0, 0xa190\"\n"                                              \
            " R 0xa134, 8, \"movsd 0xa134, %xmm2\"\n"                                              \
            " W 0xa198, 8, \"movq %xmm2, 0xa198\"\n"                                               \
            " W 0xa1a0, 8, \"movhps %xmm0, 0xa1a0\"\n"                                             \
            " W 0xa1b0, 16, \"movntps %xmm0, 0xa1b0\"\n"                                           \
            " W 0xa1c0, 4, \"stmxcsr 0xa1c0\"\n"                                                   \
            " R 0xa1c0, 4, \"ldmxcsr 0xa1c0\"\n"                                                   \
            " R 0xa1c0, 2, \"pinsrw $1, 0xa1c0, %xmm2\"\n"                                         \
            " R 0xa1c0, 4, \"cvtsi2ssl 0xa1c0, %xmm2\"\n"                                          \
            " R 0xa1c0, 16, \"pxor 0xa1c0, %xmm1\"\n"                                              \
            " W 0xa1d0, 16, \"movntdq %xmm0, 0xa1d0\"\n"                                           \
            " M 0xa024, 8, \"cmpxchg8b 0xa024\"\n"                                                 \
            " R 0xa020, 4, \"bsfl 0xa020, %eax\"\n"                                                \
            " R 0xa020, 4, \"cmovel 0xa020, %eax\"\n"                                              \
            " R 0xa020, 4, \"cmovnel 0xa020, %eax\"\n"                                             \
            " R 0xa013, 2, \"imulw $3, 0xa013, %ax\"\n"                                            \
            " N \"prefetcht0 0xa010\"\n" /* strings */                                             \
            " N \"mov $0xa200, %" di "\"\n N \"mov $0xa010, %" si "\"\n"                           \
            " I 0xa010,1,0,0,0xa200,1,0,0,\"movsb\"\n"                                             \
            " N \"mov $0x5a6b, %" ax "\"\n"                                                        \
            " W 0xa201, 2, \"stosw\"\n"                                                            \
            " R 0xa011, 4, \"lodsl\"\n"                                                            \
            " R 0xa203, 1, \"scasb\"\n"                                                            \
            " I 0xa015,1,0xa204,1,0,0,0,0,\"cmpsb\"\n"                                             \
            " N \"mov $5, %" cx "\"\n N \"mov $0xa213, %" di "\"\n"                                \
            " W 0xa213, 20, \"rep stosl\"\n"                                                       \
            " N \"mov $7, %" cx "\"\n N \"mov $0xa219, %" si "\"\n N \"mov $0xa246, %" di "\"\n"   \
            " N \"std\"\n"                                                                         \
            " I 0xa213,7,0,0,0xa240,7,0,0,\"rep movsb\"\n"                                         \
            " N \"mov $3, %" cx "\"\n N \"mov $0xa266, %" di "\"\n"                                \
            " W 0xa262, 6, \"rep stosw\"\n"                                                        \
            " N \"cld\"\n"                                                                         \
            " N \"mov $20, %" cx "\"\n N \"mov $0xaff6, %" di "\"\n N \"mov $0xa200, %" si "\"\n"  \
            " I 0xa200,20,0,0,0xaff6,20,0,0,\"rep movsb\"\n"                                       \
            " N \"mov $0, %" cx "\"\n"                                                             \
            " N \"rep stosb\"\n"                                                                   \
            " W 0xa300, 4, \"movl $0x03020100, 0xa300\"\n"                                         \
            " N \"mov $9, %" cx "\"\n N \"mov $0xa300, %" di "\"\n N \"mov $2, %al\"\n"            \
            " R 0xa300, 3, \"repne scasb\"\n"                                                      \
            " W 0xa310, 4, \"movl $0x03090100, 0xa310\"\n"                                         \
            " N \"mov $9, %" cx "\"\n N \"mov $0xa300, %" di "\"\n N \"mov $0xa310, %" si "\"\n"   \
            " I 0xa310,3,0xa300,3,0,0,0,0,\"repe cmpsb\"\n" /* the stack, in the second page */    \
            " N \"mov $0xb800, %" sp "\"\n"                                                        \
            " W 0xb800-" w "," w ",\"push %" bx "\"\n"                                             \
            " R 0xb800-" w "," w ",\"pop %" cx "\"\n"                                              \
            " W 0xb800-" w "," w ",\"push $0x12\"\n"                                               \
            " I 0xb800-" w "," w ",0,0,0xb700," w ",0,0,\"pop 0xb700\"\n"                          \
            " I 0xb700," w ",0,0,0xb800-" w "," w ",0,0,\"push 0xb700\"\n"                         \
            " R 0xb800-" w "," w ",\"popf\"\n"                                                     \
            " W 0xb800-" w "," w ",\"call 1f\"\n"                                                  \
            " N \"jmp 2f\"\n"                                                                      \
            " 1:\n R 0xb800-" w "," w ",\"ret\"\n"                                                 \
            " 2:\n W 0xb710, 4, \"movl $(3f - m_" #name "_begin + 0x8000), 0xb710\"\n"             \
            " W 0xb714, 4, \"movl $0, 0xb714\"\n"                                                  \
            " I 0xb710," w ",0,0,0xb800-" w "," w ",0,0,\"call *0xb710\"\n"                        \
            " N \"jmp 4f\"\n"                                                                      \
            " 3:\n R 0xb800-" w "," w ",\"ret $" imm "\"\n"                                        \
            " 4:\n N \"mov $0xb7c0, %" sp "\"\n N \"mov $0xb7d0, %" bp "\"\n"                      \
            " W 0xb7c0-" w "," w ",\"enter $16, $0\"\n"                                            \
            " R 0xb7c0-" w "," w ",\"leave\"\n"                                                    \
            " W 0xb710, 4, \"movl $(5f - m_" #name "_begin + 0x8000), 0xb710\"\n"                  \
            " R 0xb710, " w ", \"jmp *0xb710\"\n 5:\n" extra " N \"mov $0xd000, %" sp              \
            "\"\n N \"mov $0, %al\"\n"                                                             \
            " N \"out %al, $0xf4\"\n N \"jmp .\"\n"                                                \
            "m_" #name "_end: .code64\n.popsection\n"                                              \
            ".pushsection watch_rows, \"aw\"\nm_" #name "_last:\n.popsection\n");                  \
    extern const uint8_t m_##name##_begin[], m_##name##_end[];                                     \
    extern const struct row m_##name##_rows[], m_##name##_last[];

/* Ring 0: an interrupt through vector 64, whose gate is at `vec`, and back; descriptor tables;
 * ports. `far`, `frame`: bytes of SGDT and of the frame. */
#define RING0(name, vec, frame, iret, far, cx, si, di, sp)                                         \
    " N \"movw $(8f - m_" #name "_begin + 0x8000), " vec "\"\n"                                    \
    " N \"mov $0xb7c0, %" sp "\"\n"                                                                \
    " I 0,0,0,0,0xb7c0-" frame "," frame ",0,0,\"int $0x40\"\n"                                    \
    " R 0xa017, 4, \"movl 0xa017, %eax\"\n"                                                        \
    " N \"jmp 9f\"\n"                                                                              \
    " 8:\n W 0xa3f0, 2, \"movw $0x1234, 0xa3f0\"\n"                                                \
    " R 0xb7c0-" frame "," frame ",\"" iret "\"\n"                                                 \
    " 9:\n R 0xa110, " far ", \"lidt 0xa110\"\n"                                                   \
    " R 0xa100, " far ", \"lgdt 0xa100\"\n"                                                        \
    " W 0xa3f4, 2, \"movw %ds, 0xa3f4\"\n N \"invlpg 0xa010\"\n"                                   \
    " N \"mov $0x9990, %dx\"\n N \"mov $0xa2f0, %" di "\"\n N \"mov $0xa2fe, %" si "\"\n"          \
    " W 0xa2f0, 1, \"insb\"\n"                                                                     \
    " R 0xa2fe, 2, \"outsw\"\n"                                                                    \
    " N \"mov $6, %" cx "\"\n"                                                                     \
    " W 0xa2f1, 6, \"rep insb\"\n"                                                                 \
    " N \"mov $3, %" cx "\"\n N \"mov $0xa012, %" si "\"\n"                                        \
    " R 0xa012, 12, \"rep outsl\"\n"                                                               \
    " N \"mov $100, %" cx "\"\n N \"mov $0xaf9c, %" di "\"\n"                                      \
    " W 0xaf9c, 200, \"rep insw\"\n"
/* A segment that begins elsewhere. */
#define SEGMENT(si, di)                                                                            \
    " R 0xa010, 1, \"movb %fs:0x9010, %al\"\n"                                                     \
    " W 0xa3f8, 4, \"movl %eax, %fs:0x93f8\"\n"                                                    \
    " M 0xaffe, 4, \"incl %fs:0x9ffe\"\n"                                                          \
    " N \"mov $0x9013, %" si "\"\n N \"mov $0xa3fc, %" di "\"\n"                                   \
    " I 0xa013,1,0,0,0xa3fc,1,0,0,\"movsb %fs:(%" si "), %es:(%" di ")\"\n"

#define PUSHA(n)                                                                                   \
    " N \"mov $0xb780, %esp\"\n W 0xb780-" n "," n ",\"pusha\"\n"                                  \
    " R 0xa300, 8, \"movq 0xa300, %xmm3\"\n"
#define ONLY64                                                                                     \
    " W 0xa321, 8, \"movq $0x12345678, 0xa321\"\n"                                                 \
    " R 0xa321, 8, \"movq 0xa321, %rax\"\n"                                                        \
    " M 0xa321, 8, \"addq %rax, 0xa321\"\n"                                                        \
    " R 0xa323, 4, \"movslq 0xa323, %rcx\"\n"                                                      \
    " N \"xor %eax, %eax\"\n N \"xor %edx, %edx\"\n N \"mov $7, %ebx\"\n N \"mov $9, %ecx\"\n"     \
    " W 0xa330, 8, \"movq $0, 0xa330\"\n W 0xa338, 8, \"movq $0, 0xa338\"\n"                       \
    " M 0xa330, 16, \"lock cmpxchg16b 0xa330\"\n"                                                  \
    " N \"mov $4, %ecx\"\n N \"mov $0xafe9, %edi\"\n N \"mov $0xa200, %esi\"\n"                    \
    " I 0xa200,32,0,0,0xafe9,32,0,0,\"rep movsq\"\n"                                               \
    " W 0xa350, 8, \"movnti %rax, 0xa350\"\n"

#define REAL_FAR                                                                                   \
    " N \"movw $0, 0x102\"\n N \"mov $0x100, %ax\"\n N \"mov %ax, %fs\"\n" SEGMENT(                \
        "si", "di") " N \"mov $0xb7c0, %sp\"\n"                                                    \
                    " W 0xb7bc, 4, \"lcall $0, $(6f - m_real16_begin + 0x8000)\"\n"                \
                    " N \"jmp 7f\"\n 6:\n R 0xb7bc, 4, \"lret\"\n 7:\n"
#define LONG_FS                                                                                    \
    " N \"mov $0xc0000100, %ecx\"\n N \"mov $0x1000, %eax\"\n N \"xor %edx, %edx\"\n"              \
    " N \"wrmsr\"\n" SEGMENT("rsi", "rdi")

PROGRAM(real16, ".code16", "ax", "bx", "cx", "si", "di", "sp", "bp", "2", "6", "2",
        PUSHA("16") REAL_FAR RING0(real16, "0x100", "6", "iret", "6", "cx", "si", "di", "sp"))
PROGRAM(prot32, ".code32", "eax", "ebx", "ecx", "esi", "edi", "esp", "ebp", "4", "6", "4",
        PUSHA("32") RING0(prot32, "0x14200", "12", "iret", "6", "ecx", "esi", "edi", "esp"))
PROGRAM(long0, ".code64", "rax", "rbx", "rcx", "rsi", "rdi", "rsp", "rbp", "8", "10", "8",
        ONLY64 LONG_FS RING0(long0, "0x14400", "40", "iretq", "10", "rcx", "rsi", "rdi", "rsp"))
PROGRAM(long3, ".code64", "rax", "rbx", "rcx", "rsi", "rdi", "rsp", "rbp", "8", "10", "8", ONLY64)

static const struct {
    const uint8_t *begin, *end;
    const struct row *row, *last;
} programs[DP_KINDS] = {
    {m_real16_begin, m_real16_end, m_real16_rows, m_real16_last},
    {m_prot32_begin, m_prot32_end, m_prot32_rows, m_prot32_last},
    {m_long0_begin, m_long0_end, m_long0_rows, m_long0_last},
    {m_long3_begin, m_long3_end, m_long3_rows, m_long3_last},
};

static struct program prog;
static struct session *s;
static uint64_t rng;

static unsigned below(unsigned n)
{
    return (unsigned)(dp_random(&rng) % n);
}

static bool complain(const char *what)
{
    if (!test_failed)
        test_fail(__FILE__, __LINE__, "%s: %.400s", dp_kind_name[prog.kind], what);
    return false;
}

/* At the entry, with SSE switched on. */
static bool make_ready(void)
{
    const struct vcpu_state *st = session_cpu(s, 0, VS_SREGS);
    struct reg_value cr4 = reg_from_u64(REG_cr4, (st ? st->sregs.cr4 : 0) | 0x200);
    struct err e = {0};

    if (session_reg_set(s, 0, REG_cr4, &cr4, &e) < 0)
        return complain(e.msg);
    return true;
}

static bool open_program(enum dp_kind kind, const char *force)
{
    size_t len = (size_t)(programs[kind].end - programs[kind].begin);

    dp_make(&prog, kind, 1);
    memcpy(prog.image + DP_CODE - DP_AT, programs[kind].begin, len);
    return dp_open(&s, &prog, force) && make_ready();
}

static void close_program(void)
{
    guest_close(&s);
}

/* ---- the model ---------------------------------------------------------------------------------
 */

static struct model {
    unsigned steps;
    const struct row *row[STEPS_MAX]; /* of each step */
    uint8_t data[STEPS_MAX + 1][DATA_BYTES];
    struct kvm_regs regs[STEPS_MAX]; /* after it */
    uint64_t at;                     /* where the next step begins */
} model;

static uint64_t place(const struct row *r)
{
    return DP_CODE + (r->at - (uintptr_t)programs[prog.kind].begin);
}

static bool each_step(void *arg, const struct vcpu *v)
{
    const struct row *r = programs[prog.kind].row;

    (void)arg;
    while (r < programs[prog.kind].last && place(r) != model.at)
        r++;
    if (r < programs[prog.kind].last && model.steps < STEPS_MAX) {
        model.regs[model.steps] = *v->regs;
        model.row[model.steps++] = r;
        session_dma(s, DP_DATA, model.data[model.steps], NULL, DATA_BYTES);
    }
    model.at = v->sregs->cs.base + v->regs->rip;
    return model.steps < STEPS_MAX;
}

static bool run_model(void)
{
    struct err e = {0};

    memset(&model, 0, sizeof model);
    session_mem_read(s, 0, SPACE_PHYS, DP_DATA, model.data[0], DATA_BYTES);
    if (session_step_each(s, 0, 5000, each_step, NULL, &e) < 0)
        return complain(e.msg);
    if (session_last_stop(s)->kind != STOP_DEBUG_EXIT)
        return complain(session_last_stop(s)->text);
    return model.steps > 80 || complain("the model made too few steps");
}

static bool overlap(const uint32_t what[2], uint64_t addr, uint64_t len)
{
    return what[1] && what[0] < addr + len && addr < what[0] + what[1];
}

/* ---- watchpoints ------------------------------------------------------------------------------
 */

static const struct {
    const char *text;
    size_t at;
    unsigned shift;
    uint64_t mask;
} regs[] = {
    {"$rax", offsetof(struct kvm_regs, rax), 0, UINT64_MAX},
    {"$eax", offsetof(struct kvm_regs, rax), 0, 0xffffffff},
    {"$al", offsetof(struct kvm_regs, rax), 0, 0xff},
    {"$ah", offsetof(struct kvm_regs, rax), 8, 0xff},
    {"$rcx", offsetof(struct kvm_regs, rcx), 0, UINT64_MAX},
    {"$rsp", offsetof(struct kvm_regs, rsp), 0, UINT64_MAX},
    {"$rip", offsetof(struct kvm_regs, rip), 0, UINT64_MAX},
    {"($rflags & 0x8d5)", offsetof(struct kvm_regs, rflags), 0, 0x8d5},
};

static struct watched {
    int id;
    uint64_t addr, len;
    enum watch_access access;
    bool is_false;
    int reg; /* its condition compares that with `value`; -1: none */
    uint64_t value;
    unsigned want, want_false;
} watched[WATCH_MAX];
static unsigned count;

/* Old and new bytes of [addr, addr+len) in the data pages. */
static bool differs(unsigned step, uint64_t addr, uint64_t len)
{
    uint64_t from = addr < DP_DATA ? DP_DATA : addr, to = addr + len;

    if (to > DP_DATA + DATA_BYTES)
        to = DP_DATA + DATA_BYTES;
    return from < to && memcmp(&model.data[step][from - DP_DATA],
                               &model.data[step + 1][from - DP_DATA], to - from) != 0;
}

static bool counts(const struct watched *w, unsigned step)
{
    const struct row *r = model.row[step];
    bool reads = overlap(r->read[0], w->addr, w->len) || overlap(r->read[1], w->addr, w->len);
    bool writes = overlap(r->write[0], w->addr, w->len) || overlap(r->write[1], w->addr, w->len);

    if (w->access & WATCH_CHANGE)
        return writes && differs(step, w->addr, w->len);
    return (reads && (w->access & WATCH_READ)) || (writes && (w->access & WATCH_WRITE));
}

static uint64_t reg_after(int reg, unsigned step)
{
    uint64_t x;

    memcpy(&x, (const char *)&model.regs[step] + regs[reg].at, sizeof x);
    return x >> regs[reg].shift & regs[reg].mask;
}

/* Is its condition true behind the step? */
static bool holds(const struct watched *w, unsigned step)
{
    return !w->is_false && (w->reg < 0 || reg_after(w->reg, step) == w->value);
}

static bool add(uint64_t addr, uint64_t len, enum watch_access access)
{
    struct watched *w = &watched[count];
    struct point_spec spec = {.kind = POINT_WATCH,
                              .space = below(2) ? SPACE_PHYS : SPACE_LINEAR,
                              .addr = addr,
                              .len = len,
                              .access = access,
                              .vcpu = -1};
    unsigned kind = getenv("MODEL_TRUE") ? 7 : below(8);
    struct err e = {0};
    char text[60];

    *w = (struct watched){
        .addr = addr, .len = len, .access = access, .is_false = kind < 2, .reg = -1};
    if (w->is_false)
        spec.condition = below(2) ? "$rip == 1" : "*(u8*)0x8000 == 0";
    if (kind == 2 || kind == 3) {
        w->reg = (int)below(ARRAY_LEN(regs));
        w->value = reg_after(w->reg, below(model.steps));
        snprintf(text, sizeof text, "%s == 0x%llx", regs[w->reg].text,
                 (unsigned long long)w->value);
        spec.condition = text;
    }
    w->id = session_point_add(s, &spec, &e);
    if (w->id < 0)
        return complain(e.msg);
    for (unsigned i = 0; i < model.steps; i++) {
        w->want += counts(w, i) && holds(w, i);
        w->want_false += counts(w, i) && !holds(w, i);
    }
    count++;
    return true;
}

static bool add_some(void)
{
    static const enum watch_access kinds[] = {WATCH_WRITE, WATCH_READ, WATCH_ACCESS, WATCH_CHANGE};
    static const unsigned lens[] = {1, 1, 2, 4, 8, 3, 5, 16, 24, 64, 200, 4096, 6000};

    for (unsigned n = 1 + below(WATCH_MAX); n--;) {
        const struct row *r = model.row[below(model.steps)];
        const uint32_t *near = below(2) && r->read[0][1] ? r->read[0] : r->write[0];
        unsigned len = lens[below(ARRAY_LEN(lens))];
        uint64_t addr = near[1] ? near[0] + below(near[1] + 3) - 1 : DP_DATA + below(0x400);

        if (len > 100)
            addr -= below(len);
        if (addr < DP_DATA - 0x800)
            addr = DP_DATA - 0x800;
        if (!add(addr, len, kinds[below(4)]))
            return false;
    }
    return true;
}

static uint64_t value_at(unsigned step, uint64_t addr, unsigned len)
{
    return le_load(&model.data[step][addr - DP_DATA], len);
}

static bool tell_wrong(const char *what, unsigned step, const struct watched *w, const char *method)
{
    const struct stop_info *si = session_last_stop(s);
    char line[500];

    snprintf(line, sizeof line,
             "%s: step %u at 0x%llx, watchpoint 0x%llx+%llu kind %u (%s): by 0x%llx, 0x%llx+%u, "
             "0x%llx to 0x%llx; %.150s",
             what, step, (unsigned long long)place(model.row[step]), (unsigned long long)w->addr,
             (unsigned long long)w->len, w->access, method, (unsigned long long)si->by,
             (unsigned long long)si->addr, si->value_len, (unsigned long long)si->old_value,
             (unsigned long long)si->new_value, si->text);
    return complain(line);
}

/* Is the present stop that of step `step`? */
static bool check_stop(unsigned step)
{
    const struct stop_info *si = session_last_stop(s);
    const struct watched *w = NULL;
    const char *method;

    for (unsigned i = 0; i < count; i++)
        if (watched[i].id == si->point_id)
            w = &watched[i];
    if (!w)
        return complain("a stop for an unknown point");
    method = session_point(s, w->id)->method;
    if (!holds(w, step) || !counts(w, step))
        return tell_wrong("the model has no hit", step, w, method);
    if (si->by != place(model.row[step]))
        return tell_wrong("another instruction", step, w, method);
    if (si->addr < w->addr || si->addr + si->value_len > w->addr + w->len ||
        (w->len <= 8 && si->value_len != w->len))
        return tell_wrong("another place", step, w, method);
    if (si->addr < DP_DATA || si->addr + si->value_len > DP_DATA + DATA_BYTES)
        return true;
    if (si->old_value != value_at(step, si->addr, si->value_len) ||
        si->new_value != value_at(step + 1, si->addr, si->value_len))
        return tell_wrong("another value", step, w, method);
    return true;
}

static bool go(void)
{
    struct err e = {0};

    if (session_run(s, &e) < 0)
        return complain(e.msg);
    return session_wait(s, TEST_HANG_NS, NULL) || complain("it does not end");
}

static bool follow(void)
{
    for (unsigned step = 0; step < model.steps; step++) {
        const struct watched *due = NULL;

        for (unsigned i = 0; i < count; i++)
            if (holds(&watched[i], step) && counts(&watched[i], step))
                due = &watched[i];
        if (!due)
            continue;
        if (!go())
            return false;
        if (session_last_stop(s)->kind != STOP_WATCHPOINT)
            return tell_wrong("no stop", step, due, session_point(s, due->id)->method);
        if (!check_stop(step))
            return false;
    }
    if (!go())
        return false;
    return session_last_stop(s)->kind == STOP_DEBUG_EXIT || complain(session_last_stop(s)->text);
}

static bool ended_alike(void)
{
    static uint8_t now[DATA_BYTES];
    char line[300];

    for (unsigned i = 0; i < count; i++) {
        const struct point *p = session_point(s, watched[i].id);

        if (p->hits == watched[i].want && p->false_hits == watched[i].want_false)
            continue;
        snprintf(line, sizeof line,
                 "0x%llx+%llu kind %u (%s): %llu hits, %llu false, want %u and %u%s%s",
                 (unsigned long long)watched[i].addr, (unsigned long long)watched[i].len,
                 watched[i].access, p->method, (unsigned long long)p->hits,
                 (unsigned long long)p->false_hits, watched[i].want, watched[i].want_false,
                 watched[i].reg < 0 ? "" : ", by ",
                 watched[i].reg < 0 ? "" : regs[watched[i].reg].text);
        return complain(line);
    }
    session_mem_read(s, 0, SPACE_PHYS, DP_DATA, now, DATA_BYTES);
    return !memcmp(now, model.data[model.steps], DATA_BYTES) || complain("memory differs");
}

static uint64_t number(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);

    return text && *text ? strtoull(text, NULL, 0) : otherwise;
}

static bool one_round(uint64_t seed, const char *force)
{
    char why[sizeof test_why];
    bool ok;

    rng = seed * 7919 + prog.kind;
    count = 0;
    ok = open_program(prog.kind, force) && add_some() && follow() && ended_alike();
    close_program();
    if (!ok && !test_skipped) {
        memcpy(why, test_why, sizeof why);
        snprintf(test_why, sizeof test_why, "seed %llu, %s: %.400s", (unsigned long long)seed,
                 force ? force : "as it is", why);
    }
    return ok;
}

static void in_mode(enum dp_kind kind)
{
    static const char *const forces[] = {NULL, "watch-write=read-only-slot,watch-access=no-slot",
                                         "watch-write=stepping,watch-access=stepping",
                                         "watch-write=no-slot,watch-access=no-slot"};
    uint64_t rounds = number("MODEL_ROUNDS", 5), seed = number("MODEL_SEED", 1);

    if (number("MODEL_KIND", kind) != kind)
        return;
    for (unsigned f = 0; f < ARRAY_LEN(forces) && !test_failed; f++) {
        bool ok = open_program(kind, forces[f]) && run_model();

        close_program();
        for (uint64_t i = 0; ok && i < rounds; i++)
            ok = one_round(seed + i, forces[f]);
        if (test_skipped)
            return;
    }
}

DP_TESTS(in_mode)

static const struct test tests[] = {
    {"real16", real16},
    {"prot32", prot32},
    {"long ring 0", long_ring0},
    {"long ring 3", long_ring3},
};
TEST_MAIN(tests)
