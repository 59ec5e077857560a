/*
 * Instructions that this host's KVM may refuse, in ring 0 of a guest: carried out by the assist
 * there, natively on hosts without gaps. Expected values come from this very program running the
 * same bytes on the processor itself. Needs KVM; skips without.
 */
#include "tests/unit/guest_image.h"

#include <cpuid.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "debug/session.h"
#include "vmm/base/le.h"

/* ---- what runs on both sides ------------------------------------------------------------------
 * A blob loads registers and flags from the block that RDI points to, runs the instructions under
 * test with RBP at the block, stores everything back and returns. */
struct block {
    uint64_t gpr[16]; /* rax rcx rdx rbx rsp rbp rsi rdi r8 …; rsp and rbp unused */
    uint64_t flags;
    uint64_t spare;
    uint8_t xmm[16][16];
    uint8_t data[2048]; /* at 0x190; operands live here */
};
#define DATA offsetof(struct block, data)

#define AT       0x8000u /* the image: start, handlers */
#define BLOB_AT  0xa000u
#define BLOCK_AT 0x12ff0u /* so that data crosses a page at 0x13000 */
#define IDT_AT   0x14000u
#define FAULT_AT 0x15000u /* what the handler saw: vector, error code, rip, cr2 */
#define RO_AT    0x200000u
#define HOLE_AT  0x400000u

__asm__(".pushsection .rodata\n"
        "guest_start:\n"
        "  mov $0x7000, %esp\n"
        "  lidt idtr(%rip)\n"
        "  out %al, $0x80\n" /* an exit, at which the new IDT is seen */
        "  mov %cr0, %rax\n"
        "  and $~0xc, %eax\n"   /* no EM, no TS */
        "  or $0x10022, %eax\n" /* WP NE MP */
        "  mov %rax, %cr0\n"
        "  mov %cr4, %rax\n"
        "  or $0x600, %eax\n" /* OSFXSR OSXMMEXCPT */
        "  mov %rax, %cr4\n"
        "  mov $1, %eax\n"
        "  cpuid\n"
        "  bt $26, %ecx\n"
        "  jnc 1f\n"
        "  mov %cr4, %rax\n"
        "  or $0x40000, %eax\n" /* OSXSAVE */
        "  mov %rax, %cr4\n"
        "  mov %ecx, %ebx\n"
        "  mov $3, %eax\n"
        "  bt $28, %ebx\n"
        "  jnc 2f\n"
        "  mov $7, %eax\n"
        "2: xor %edx, %edx\n"
        "  xor %ecx, %ecx\n"
        "  xsetbv\n"
        "1: mov $0x12ff0, %edi\n"
        "  mov $0xa000, %eax\n"
        "  call *%rax\n"
        "  mov $1, %al\n"
        "  out %al, $0xf4\n"
        "  hlt\n"
        "idtr: .word 0x1ff\n"
        "  .quad 0x14000\n"
        /* Handlers, 16 bytes apart: vector number pushed, for those without an error code 0 too. */
        "  .balign 16\n"
        "handlers:\n"
        "  .set vec, 0\n"
        "  .rept 32\n"
        "  .balign 16\n"
        "  .if vec == 8 || (vec >= 10 && vec <= 14) || vec == 17\n"
        "  .else\n"
        "  push $0\n"
        "  .endif\n"
        "  push $vec\n"
        "  jmp caught\n"
        "  .set vec, vec + 1\n"
        "  .endr\n"
        "caught:\n"
        "  mov $0x15000, %eax\n"
        "  pop (%rax)\n"
        "  pop 8(%rax)\n"
        "  mov (%rsp), %rcx\n"
        "  mov %rcx, 16(%rax)\n"
        "  mov %cr2, %rcx\n"
        "  mov %rcx, 24(%rax)\n"
        "  mov $2, %al\n"
        "  out %al, $0xf4\n"
        "  hlt\n"
        "guest_end:\n"
        /* The blob's two halves. */
        "blob_head:\n"
        "  push %rbx\n  push %rbp\n  push %r12\n  push %r13\n  push %r14\n  push %r15\n"
        "  mov %rdi, %rbp\n"
        "  push $0x1f80\n"
        "  ldmxcsr (%rsp)\n"
        "  pop %rax\n"
        "  fninit\n"
        "  .rept 8\n"
        "  fldz\n" /* registers that are empty keep what was in them, and FXSAVE shows it */
        "  .endr\n"
        "  fninit\n"
        "  .irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n"
        "  movups 144 + 16 * \\n(%rbp), %xmm\\n\n"
        "  .endr\n"
        "  push 128(%rbp)\n"
        "  popf\n"
        "  mov (%rbp), %rax\n  mov 8(%rbp), %rcx\n  mov 16(%rbp), %rdx\n  mov 24(%rbp), %rbx\n"
        "  mov 48(%rbp), %rsi\n  mov 56(%rbp), %rdi\n  mov 64(%rbp), %r8\n  mov 72(%rbp), %r9\n"
        "  mov 80(%rbp), %r10\n  mov 88(%rbp), %r11\n  mov 96(%rbp), %r12\n"
        "  mov 104(%rbp), %r13\n  mov 112(%rbp), %r14\n  mov 120(%rbp), %r15\n"
        "blob_head_end:\n"
        "blob_tail:\n"
        "  mov %rax, (%rbp)\n  mov %rcx, 8(%rbp)\n  mov %rdx, 16(%rbp)\n  mov %rbx, 24(%rbp)\n"
        "  mov %rsi, 48(%rbp)\n  mov %rdi, 56(%rbp)\n  mov %r8, 64(%rbp)\n  mov %r9, 72(%rbp)\n"
        "  mov %r10, 80(%rbp)\n  mov %r11, 88(%rbp)\n  mov %r12, 96(%rbp)\n"
        "  mov %r13, 104(%rbp)\n  mov %r14, 112(%rbp)\n  mov %r15, 120(%rbp)\n"
        "  pushf\n"
        "  pop 128(%rbp)\n"
        "  .irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n"
        "  movups %xmm\\n, 144 + 16 * \\n(%rbp)\n"
        "  .endr\n"
        "  pop %r15\n  pop %r14\n  pop %r13\n  pop %r12\n  pop %rbp\n  pop %rbx\n"
        "  ret\n"
        "blob_tail_end:\n"
        ".popsection\n");
extern const uint8_t guest_start[], handlers[], guest_end[];
extern const uint8_t blob_head[], blob_head_end[], blob_tail[], blob_tail_end[];

/* ---- instructions under test ------------------------------------------------------------------
 * Assembled here, referred to by name. RBP is the block, operands at DATA (0x190). */
#define CODE(name, text)                                                                           \
    __asm__(".pushsection .rodata\ncode_" #name ":\n" text "\ncode_" #name                         \
            "_end:\n.popsection\n");                                                               \
    extern const uint8_t code_##name[], code_##name##_end[]

/* What FXSAVE leaves, without what depends on addresses and what it need not write. */
#define CLEAN_FX                                                                                   \
    "movl $0, 28(%rsi)\n movq $0, 8(%rsi)\n movq $0, 16(%rsi)\n movw $0, 6(%rsi)\n"                \
    ".irp n,416,424,432,440,448,456,464,472,480,488,496,504\n movq $0, \\n(%rsi)\n .endr\n"

CODE(popcnt, "popcnt %rbx, %rax\n popcnt 0x190(%rbp), %ecx\n popcnt %bx, %dx");
CODE(crc32, "crc32b %bl, %eax\n crc32q 0x198(%rbp), %rcx\n crc32w %si, %edx");
CODE(cx16, "lea 0x190(%rbp), %rsi\n and $-16, %rsi\n add $16, %rsi\n"
           "mov %rax, (%rsi)\n mov %rdx, 8(%rsi)\n lock cmpxchg16b (%rsi)\n"
           "setz %r8b\n inc %rax\n cmpxchg16b (%rsi)\n setz %r9b\n mov $0, %esi");
CODE(sse,
     "movaps %xmm1, %xmm0\n addps %xmm2, %xmm0\n mulsd 0x1a0(%rbp), %xmm3\n pxor %xmm4, %xmm4\n"
     "pcmpeqb %xmm5, %xmm5\n pshufd $0x1b, %xmm6, %xmm7\n movd %eax, %xmm8\n movq %xmm9, %rbx\n"
     "cvtsi2sd %rcx, %xmm10\n sqrtpd %xmm10, %xmm11\n pmovmskb %xmm1, %r10d\n"
     "movntdq %xmm12, 0x2f0(%rbp)\n ucomisd %xmm3, %xmm10\n cvttsd2si %xmm11, %r9\n"
     "stmxcsr 0x2c0(%rbp)\n movss %xmm13, 0x2c8(%rbp)\n maskmovdqu %xmm1, %xmm1\n mov $0, %edi");
CODE(sse_fix, "lea 0x1d0(%rbp), %rdi");
CODE(x87, "fninit\n fld1\n fldpi\n faddp\n fildl 0x190(%rbp)\n fsqrt\n fmul %st(1), %st\n fwait\n"
          "fstpt 0x2d0(%rbp)\n fnstsw %ax\n fstpl 0x2e0(%rbp)\n fnstcw 0x2e8(%rbp)\n"
          "fldcw 0x2e8(%rbp)\n emms");
CODE(fxsave, "lea 0x390(%rbp), %rsi\n and $-64, %rsi\n fninit\n fldpi\n fxsave64 (%rsi)\n"
             "movups %xmm1, %xmm2\n xorps %xmm1, %xmm1\n fninit\n fxrstor64 (%rsi)\n"
             "fstpt 0x2d0(%rbp)\n" CLEAN_FX "mov $0, %esi");
CODE(xsave,
     "lea 0x390(%rbp), %rsi\n and $-64, %rsi\n mov $3, %eax\n xor %edx, %edx\n"
     ".irp n,512,520,528,536,544,552,560,568\n movq $0, \\n(%rsi)\n .endr\n"
     "fninit\n fldpi\n movups %xmm7, %xmm3\n xsave64 (%rsi)\n xorps %xmm3, %xmm3\n xorps %xmm7, "
     "%xmm7\n"
     "xrstor64 (%rsi)\n mov 512(%rsi), %rbx\n " CLEAN_FX "movq $0, 512(%rsi)\n mov $0, %esi");
CODE(avx, "vpxor %ymm1, %ymm1, %ymm1\n vaddps %ymm2, %ymm3, %ymm4\n vmovups %ymm4, 0x290(%rbp)\n"
          "vinsertf128 $1, %xmm5, %ymm6, %ymm7\n vextractf128 $1, %ymm7, %xmm8\n"
          "vmovdqu 0x1c1(%rbp), %ymm9\n vmovups %ymm9, 0x2c7(%rbp)\n vzeroupper");
CODE(bmi, "andn %rbx, %rcx, %rax\n bextr %rdx, 0x190(%rbp), %rsi\n blsr %r8, %r9\n pdep %r10, "
          "%r11, %r12\n"
          "pext 0x1a0(%rbp), %r13, %r14\n mulx %rbx, %r15, %rdi\n rorx $13, %rbx, %r10\n"
          "shlx %rcx, %r8, %r11");
CODE(movbe, "movbe 0x190(%rbp), %rax\n movbe %rbx, 0x1a0(%rbp)\n movbe 0x1b0(%rbp), %cx");
/* Operands across the page at 0x13000 (block offset 0x10), and 16 bytes unaligned. */
CODE(crossing, "lea 8(%rbp), %rsi\n mov $0x1122334455667788, %rax\n mov %rax, (%rsi)\n"
               "mov %rax, 8(%rsi)\n movd %eax, %xmm1\n lddqu (%rsi), %xmm2\n popcnt 4(%rsi), %rcx\n"
               "crc32q 5(%rsi), %rdx\n movq %xmm2, 3(%rsi)\n mov 3(%rsi), %rbx\n mov $0, %esi");

/* ---- harness --------------------------------------------------------------------------------- */

static struct session *s;
static uint8_t blob[4096];
static size_t blob_len;

static uint64_t seed = 0x2545f4914f6cdd1dull;
static uint64_t rnd(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

static bool cpu_has(unsigned leaf, unsigned reg, unsigned bit)
{
    unsigned r[4] = {0};

    return __get_cpuid_count(leaf, 0, &r[0], &r[1], &r[2], &r[3]) && (r[reg] >> bit & 1);
}

static void blob_start(void)
{
    blob_len = (size_t)(blob_head_end - blob_head);
    memcpy(blob, blob_head, blob_len);
}

static void blob_add(const void *code, size_t n)
{
    memcpy(blob + blob_len, code, n);
    blob_len += n;
}
#define ADD(name) blob_add(code_##name, (size_t)(code_##name##_end - code_##name))

static void blob_end(void)
{
    blob_add(blob_tail, (size_t)(blob_tail_end - blob_tail));
}

static void fill_block(struct block *b)
{
    for (size_t i = 0; i + 8 <= sizeof *b; i += 8)
        le_store((uint8_t *)b + i, 8, rnd());
    b->flags = (rnd() & 0x8d5) | 2;
    for (unsigned i = 0; i < 16; i++)
        for (unsigned k = 0; k < 4; k++) { /* finite numbers, so that arithmetic says something */
            float f = (float)(int32_t)rnd() / 65536;

            memcpy(b->xmm[i] + 4 * k, &f, 4);
        }
}

static void run_here(struct block *b)
{
    void *p = mmap(NULL, sizeof blob, PROT_READ | PROT_WRITE | PROT_EXEC,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    /* The same place within a page pair, so that page crossings are alike. */
    uint8_t *room = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct block *at = (void *)(room + 0xff0);
    void (*fn)(void *);

    memcpy(p, blob, blob_len);
    memcpy(at, b, sizeof *b);
    memcpy(&fn, &p, sizeof fn);
    fn(at);
    memcpy(b, at, sizeof *b);
    munmap(room, 8192);
    munmap(p, sizeof blob);
}

static const char *cpu_features;

static bool open_guest(void)
{
    const struct session_config cfg = {
        .mem_bytes = 16 << 20, .cpu_features = cpu_features, .boot = FLAT_AT(AT, BOOT_MODE_LONG)};

    return guest_open(&s, cfg, guest_start, (size_t)(guest_end - guest_start));
}

static void close_guest(void)
{
    guest_close(&s);
}

static bool put(uint64_t at, const void *src, size_t n)
{
    return session_mem_write(s, 0, SPACE_PHYS, at, src, n) == (int64_t)n;
}

static bool get(uint64_t at, void *dst, size_t n)
{
    return session_mem_read(s, 0, SPACE_PHYS, at, dst, n) == (int64_t)n;
}

static bool put_idt(void)
{
    uint8_t idt[32 * 16] = {0};
    const struct vcpu_state *st = session_cpu(s, 0, VS_SREGS);

    for (unsigned v = 0; v < 32; v++) {
        uint64_t at = AT + (uint64_t)(handlers - guest_start) + v * 16;

        le_store(idt + v * 16, 2, at);
        le_store(idt + v * 16 + 2, 2, st->sregs.cs.selector);
        idt[v * 16 + 5] = 0x8e;
    }
    return put(IDT_AT, idt, sizeof idt);
}

/* Marks the 2 MB of `linear` in the boot tables: clears `bits`. */
static bool strip(uint64_t linear, uint64_t bits)
{
    struct walk w;
    uint8_t raw[8];
    const struct walk_step *last;

    if (session_walk(s, 0, linear, &w) < 0 || w.result != WALK_OK)
        return false;
    last = &w.step[w.steps - 1];
    le_store(raw, 8, last->entry & ~bits);
    return put(last->entry_gpa, raw, 8);
}

/* Runs the blob in ring 0 of the guest from the start. 1: it ended; 2: an exception; else wrong. */
static uint32_t run_guest(struct block *b, bool step)
{
    struct err e = {0};
    const struct stop_info *si;
    int rc;

    if (!put(BLOB_AT, blob, blob_len) || !put(BLOCK_AT, b, sizeof *b) || !put_idt())
        return 0;
    rc = step ? session_step(s, 0, 100000, &e) : session_run(s, &e);
    if (rc < 0 || !session_wait(s, TEST_HANG_NS, NULL)) {
        test_fail(__FILE__, __LINE__, "it does not end: %.300s", e.msg);
        return 0;
    }
    si = session_last_stop(s);
    if (si->kind != STOP_DEBUG_EXIT) {
        test_fail(__FILE__, __LINE__, "%.400s", si->text);
        return 0;
    }
    get(BLOCK_AT, b, sizeof *b);
    return si->code;
}

/* What the guest's handler saw. */
static const char *exception_text(void)
{
    static char text[80];
    uint8_t f[32] = {0};

    get(FAULT_AT, f, 32);
    snprintf(text, sizeof text, "exception %u at 0x%llx, in the blob 0x%llx", (unsigned)f[0],
             (unsigned long long)le_load(f + 16, 8),
             (unsigned long long)(le_load(f + 16, 8) - BLOB_AT));
    return text;
}

static bool same(const struct block *a, const struct block *b)
{
    const uint8_t *x = (const void *)a, *y = (const void *)b;
    size_t flags = offsetof(struct block, flags);

    for (size_t i = 0; i < sizeof *a; i++) {
        uint8_t mask = i == flags ? 0xd5 : i == flags + 1 ? 0x08 : 0xff;

        if (i >= flags + 2 && i < flags + 8)
            continue;
        if (i >= 32 && i < 48)
            continue; /* rsp, rbp */
        if ((x[i] ^ y[i]) & mask) {
            test_fail(__FILE__, __LINE__, "byte 0x%zx of the block is %02x, want %02x", i, x[i],
                      y[i]);
            return false;
        }
    }
    return true;
}

static void both(bool step)
{
    struct block here, there;

    fill_block(&here);
    here.gpr[7] = 0; /* rdi is an operand of few */
    there = here;
    if (!open_guest())
        return;
    run_here(&here);
    if (run_guest(&there, step) != 1) {
        if (!test_failed) {
            test_fail(__FILE__, __LINE__, "%s", exception_text());
        }
    } else {
        same(&there, &here);
    }
    close_guest();
}

#define BOTH(test, name)                                                                           \
    static void test(void)                                                                         \
    {                                                                                              \
        blob_start();                                                                              \
        ADD(name);                                                                                 \
        blob_end();                                                                                \
        both(false);                                                                               \
        if (!test_failed && !test_skipped)                                                         \
            both(true);                                                                            \
    }
#define NEED(leaf, reg, bit, what)                                                                 \
    do {                                                                                           \
        if (!cpu_has(leaf, reg, bit))                                                              \
            SKIP("this processor has no %s", what);                                                \
    } while (0)

BOTH(run_popcnt, popcnt)
BOTH(run_crc32, crc32)
BOTH(run_cx16, cx16)
BOTH(run_x87, x87)
BOTH(run_fxsave, fxsave)
BOTH(run_crossing, crossing)
BOTH(run_movbe, movbe)

static void popcnt(void)
{
    NEED(1, 2, 23, "popcnt");
    run_popcnt();
}

static void crc32(void)
{
    NEED(1, 2, 20, "crc32");
    run_crc32();
}

static void cmpxchg16b(void)
{
    NEED(1, 2, 13, "cmpxchg16b");
    run_cx16();
}

static void sse(void)
{
    blob_start();
    ADD(sse_fix); /* rdi: where maskmovdqu writes */
    ADD(sse);
    blob_end();
    both(false);
}

static void x87(void)
{
    run_x87();
}

static void fxsave(void)
{
    run_fxsave();
}

static void page_crossing(void)
{
    NEED(1, 2, 20, "crc32");
    run_crossing();
}

/* KVM may answer it with #UD: done over at the guest's handler, which is found after an exit. */
static void movbe(void)
{
    NEED(1, 2, 22, "movbe");
    run_movbe();
}

static void xsave(void)
{
    NEED(1, 2, 26, "xsave");
    blob_start();
    ADD(xsave);
    blob_end();
    both(false);
}

static void avx(void)
{
    NEED(1, 2, 28, "avx");
    blob_start();
    ADD(avx);
    blob_end();
    both(false);
}

static void bmi(void)
{
    NEED(7, 1, 8, "bmi2");
    blob_start();
    ADD(bmi);
    blob_end();
    both(false);
}

/* ---- faults ---------------------------------------------------------------------------------- */

/* What runs before the instruction that faults, so that it is not the first. */
CODE(flags_only, "clc\n stc");
/* Refused ones and plain ones, which may be carried out together with it. */
CODE(batch, "movd %eax, %xmm0\n mov %rax, %rbx\n add $5, %rbx\n paddd %xmm0, %xmm1\n fld1\n"
            "movzwl %bx, %ecx\n pxor %xmm2, %xmm2");
static const uint8_t *before = code_flags_only, *before_end = code_flags_only_end;

/* Runs `code` with RSI = address; the guest must see `vector` with `ec` at the instruction, and
 * CR2 for a page fault. */
static void expect_fault(const uint8_t *code, size_t n, uint64_t rsi, unsigned vector, uint64_t ec,
                         uint64_t cr2, bool step)
{
    struct block b;
    uint8_t f[32];
    uint32_t end;

    fill_block(&b);
    b.gpr[6] = rsi;
    blob_start();
    blob_add(before, (size_t)(before_end - before));
    blob_add(code, n);
    blob_end();
    if (!open_guest())
        return;
    if (!strip(RO_AT, 2) || !strip(HOLE_AT, 1)) {
        test_fail(__FILE__, __LINE__, "the boot tables do not map 2 MB pages");
        close_guest();
        return;
    }
    end = run_guest(&b, step);
    get(FAULT_AT, f, sizeof f);
    close_guest();
    if (test_failed)
        return;
    CHECK_EQ(end, 2);
    CHECK_EQ(le_load(f, 8), vector);
    CHECK_EQ(le_load(f + 8, 8), ec);
    CHECK_EQ(le_load(f + 16, 8),
             BLOB_AT + (uint64_t)(blob_head_end - blob_head) + (uint64_t)(before_end - before));
    if (vector == 14)
        CHECK_EQ(le_load(f + 24, 8), cr2);
}

#define FAULT(code, rsi, vector, ec, cr2)                                                          \
    do {                                                                                           \
        expect_fault(code_##code, (size_t)(code_##code##_end - code_##code), rsi, vector, ec, cr2, \
                     false);                                                                       \
        if (test_failed || test_skipped)                                                           \
            return;                                                                                \
        expect_fault(code_##code, (size_t)(code_##code##_end - code_##code), rsi, vector, ec, cr2, \
                     true);                                                                        \
        if (test_failed)                                                                           \
            return;                                                                                \
    } while (0)

CODE(load_popcnt, "popcnt (%rsi), %rax");
CODE(store_sse, "movss %xmm0, (%rsi)");
CODE(store_both, "movlps %xmm0, (%rsi)");
CODE(cx16_at, "lock cmpxchg16b (%rsi)");
CODE(aligned, "paddd (%rsi), %xmm0");

static void fault_not_present(void)
{
    FAULT(load_popcnt, HOLE_AT + 0x123, 14, 0, HOLE_AT + 0x123);
    FAULT(store_sse, HOLE_AT + 0x88, 14, 2, HOLE_AT + 0x88);
}

static void fault_read_only(void)
{
    FAULT(store_sse, RO_AT + 0x10, 14, 3, RO_AT + 0x10);
    /* Compare-and-exchange writes whatever it finds. */
    FAULT(cx16_at, RO_AT + 0x20, 14, 3, RO_AT + 0x20);
}

/* The second half of an operand lies in the page that may not be written: CR2 is its first byte,
 * and the half before stays as it was. */
static void fault_crossing(void)
{
    FAULT(store_both, RO_AT - 4, 14, 3, RO_AT);
    FAULT(load_popcnt, HOLE_AT - 3, 14, 0, HOLE_AT);
}

static void fault_protection(void)
{
    FAULT(aligned, 0x3001, 13, 0, 0);
    FAULT(load_popcnt, 0x8000000000000000, 13, 0, 0);
}

CODE(ud0, ".byte 0x0f,0xff,0xc0");
CODE(ud1, ".byte 0x0f,0xb9,0xc0");
CODE(no_opcode, ".byte 0x0f,0x0a");
CODE(aaa, ".byte 0x37");
CODE(das, ".byte 0x2f");

static void fault_undefined(void)
{
    FAULT(ud0, 0, 6, 0, 0);
    FAULT(ud1, 0, 6, 0, 0);
    FAULT(no_opcode, 0, 6, 0, 0);
    FAULT(aaa, 0, 6, 0, 0);
    FAULT(das, 0, 6, 0, 0);
}

static void fault_in_a_batch(void)
{
    before = code_batch;
    before_end = code_batch_end;
    fault_not_present();
    if (!test_failed && !test_skipped)
        fault_read_only();
    if (!test_failed && !test_skipped)
        fault_crossing();
    if (!test_failed && !test_skipped)
        fault_protection();
    before = code_flags_only;
    before_end = code_flags_only_end;
}

/* With CR0.TS set the FPU belongs to somebody else: #NM, for what uses it, and only for that. */
CODE(ts_sse, "movd %eax, %xmm0");
CODE(ts_x87, "fld1");
CODE(ts_wait, "fwait");
CODE(set_ts, "mov %cr0, %rax\n or $8, %eax\n mov %rax, %cr0");
CODE(ts_popcnt, "popcnt %rbx, %rax\n clts");

static void fault_under_ts(const uint8_t *code, size_t n)
{
    struct block b;
    uint8_t f[8];
    uint32_t end;

    fill_block(&b);
    blob_start();
    ADD(set_ts);
    blob_add(code, n);
    blob_end();
    if (!open_guest())
        return;
    end = run_guest(&b, false);
    get(FAULT_AT, f, sizeof f);
    close_guest();
    if (test_failed)
        return;
    CHECK_EQ(end, 2);
    CHECK_EQ(le_load(f, 8), 7);
}

static void fault_task_switched(void)
{
    struct block b;

    fault_under_ts(code_ts_sse, (size_t)(code_ts_sse_end - code_ts_sse));
    if (!test_failed && !test_skipped)
        fault_under_ts(code_ts_x87, (size_t)(code_ts_x87_end - code_ts_x87));
    if (!test_failed && !test_skipped)
        fault_under_ts(code_ts_wait, (size_t)(code_ts_wait_end - code_ts_wait));
    if (test_failed || test_skipped)
        return;
    fill_block(&b);
    blob_start();
    ADD(set_ts);
    ADD(ts_popcnt);
    blob_end();
    if (!open_guest())
        return;
    CHECK_EQ(run_guest(&b, false), 1);
    CHECK_EQ(b.gpr[0], __builtin_popcountll(b.gpr[3]));
    close_guest();
}

/* ---- system instructions, which have no like in this process --------------------------------- */

CODE(system, "xor %ecx, %ecx\n xgetbv\n mov %rax, %r8\n"
             "rdtsc\n shl $32, %rdx\n or %rax, %rdx\n mov %rdx, %rsi\n"
             "rdtscp\n shl $32, %rdx\n or %rax, %rdx\n sub %rsi, %rdx\n mov %rdx, %r9\n"
             "mov %cs, %ebx\n lar %ebx, %r10d\n lsl %ebx, %r11d\n setz %r12b\n"
             "xor %edi, %edi\n lar %edi, %edi\n setz %r13b\n"
             "mov %ss, %ebx\n verw %bx\n setz %r14b\n mov %cs, %ebx\n verw %bx\n setz %r15b\n"
             "enter $16, $3\n leave");

static void system_instructions(void)
{
    struct block b;

    NEED(1, 2, 26, "xsave");
    fill_block(&b);
    blob_start();
    ADD(system);
    blob_end();
    cpu_features = "+xsave,+rdtscp";
    if (!open_guest())
        return;
    cpu_features = NULL;
    if (run_guest(&b, false) != 1)
        test_fail(__FILE__, __LINE__, "%s", exception_text());
    else if (b.gpr[8] != (cpu_has(1, 2, 28) ? 7 : 3))
        test_fail(__FILE__, __LINE__, "xgetbv gives 0x%llx", (unsigned long long)b.gpr[8]);
    else if (b.gpr[9] >> 40 || !b.gpr[9]) /* later than rdtsc, by less than minutes */
        test_fail(__FILE__, __LINE__, "rdtscp gives 0x%llx", (unsigned long long)b.gpr[9]);
    else if ((b.gpr[10] & 0xf09800) != 0xa09800 || (b.gpr[12] & 0xff) != 1)
        test_fail(__FILE__, __LINE__, "lar, lsl give 0x%llx 0x%llx", (unsigned long long)b.gpr[10],
                  (unsigned long long)b.gpr[11]);
    else if (b.gpr[13] & 0xff)
        test_fail(__FILE__, __LINE__, "lar of a null selector succeeds");
    else if ((b.gpr[14] & 0xff) != 1 || (b.gpr[15] & 0xff))
        test_fail(__FILE__, __LINE__, "verw: 0x%llx 0x%llx", (unsigned long long)b.gpr[14],
                  (unsigned long long)b.gpr[15]);
    close_guest();
}

/* ---- the guest changes its own tables ---------------------------------------------------------
 */

/* Page 0x200000's table entry is pointed to another page between two assisted loads; both loads
 * must see the memory that was mapped at their time. RSI is the entry, RDI its new value. */
CODE(remap, "crc32q 0x200000, %rax\n popcnt 0x200000, %rbx\n mov %rdi, (%rsi)\n"
            "invlpg 0x200000\n popcnt 0x200000, %rcx");

static void follows_the_guest_tables(void)
{
    uint64_t one = 1, many = UINT64_MAX;
    struct block b;
    struct walk w;

    NEED(1, 2, 20, "crc32");
    fill_block(&b);
    blob_start();
    ADD(remap);
    blob_end();
    if (!open_guest())
        return;
    if (session_walk(s, 0, RO_AT, &w) < 0 || w.result != WALK_OK) {
        close_guest();
        TEST_FAIL("no mapping at 2 MB");
    }
    put(RO_AT, &one, 8);
    put(HOLE_AT, &many, 8);
    b.gpr[6] = w.step[w.steps - 1].entry_gpa;
    b.gpr[7] = w.step[w.steps - 1].entry + (HOLE_AT - RO_AT);
    if (run_guest(&b, false) != 1)
        test_fail(__FILE__, __LINE__, "it ended in an exception");
    else if (b.gpr[3] != 1 || b.gpr[1] != 64)
        test_fail(__FILE__, __LINE__, "popcnt gave %llu, then %llu", (unsigned long long)b.gpr[3],
                  (unsigned long long)b.gpr[1]);
    close_guest();
}

/* ---- random sequences ------------------------------------------------------------------------ */

/* Legacy SSE: mandatory prefix, opcode below 0F, immediate or not. */
/* clang-format off */
static const uint8_t sse_ops[][3] = {
    {0x66, 0xef, 0}, {0x66, 0xfe, 0}, {0x66, 0x74, 0}, {0x66, 0x60, 0}, {0x66, 0x6c, 0},
    {0x66, 0x70, 1}, {0xf3, 0x70, 1}, {0xf2, 0x70, 1}, {0x66, 0xd5, 0}, {0x66, 0xf4, 0},
    {0x66, 0xdb, 0}, {0x66, 0xdf, 0}, {0x66, 0xeb, 0}, {0x66, 0x63, 0}, {0x66, 0x67, 0},
    {0x00, 0x58, 0}, {0x66, 0x58, 0}, {0xf3, 0x58, 0}, {0xf2, 0x58, 0}, {0x00, 0x59, 0},
    {0xf2, 0x5c, 0}, {0x00, 0x5e, 0}, {0xf3, 0x51, 0}, {0x00, 0x5b, 0}, {0x66, 0x5a, 0},
    {0xf2, 0x5a, 0}, {0xf3, 0xe6, 0}, {0x00, 0xc2, 1}, {0x66, 0xc6, 1}, {0x00, 0x14, 0},
    {0x66, 0x2e, 0}, {0x00, 0x2f, 0}, {0xf3, 0x10, 0}, {0xf2, 0x10, 0}, {0x66, 0xd6, 0},
    {0xf3, 0x11, 0}, {0x66, 0x13, 0}, {0x66, 0xfa, 0}, {0x66, 0xe3, 0}, {0x00, 0x53, 0},
};

static const uint8_t x87_ops[][2] = {
    {0xd9, 0xe8}, {0xd9, 0xeb}, {0xd9, 0xee}, {0xd8, 0xc1}, {0xd8, 0xca}, {0xdc, 0xc3},
    {0xde, 0xc1}, {0xd9, 0xc9}, {0xd9, 0xcb}, {0xd9, 0xfa}, {0xd9, 0xe0}, {0xd9, 0xe1},
    {0xd8, 0xf1}, {0xd8, 0xe2}, {0xdb, 0xf1}, {0xda, 0xe9}, {0xd9, 0xc2}, {0xdd, 0xd9},
    {0xd9, 0xfc}, {0xd9, 0xe5}, {0x9b, 0x90}, {0xd9, 0xf6}, {0xdd, 0xc3}, {0xda, 0xc1},
};

/* Opcode map, opcode, pp, of VEX instructions with three registers of which the last may be
 * memory. */
static const uint8_t bmi_ops[][3] = {
    {2, 0xf2, 0}, {2, 0xf7, 0}, {2, 0xf7, 1}, {2, 0xf7, 2}, {2, 0xf7, 3},
    {2, 0xf5, 0}, {2, 0xf5, 2}, {2, 0xf5, 3}, {2, 0xf6, 3},
};
static const uint8_t avx_ops[][3] = {
    {1, 0x58, 0}, {1, 0x59, 1}, {1, 0x57, 0}, {1, 0x54, 1}, {1, 0xef, 1}, {2, 0x0c, 1},
};

/* clang-format on */

static unsigned any_gpr(void)
{
    unsigned r;

    do
        r = rnd() & 15;
    while (r == 4 || r == 5);
    return r;
}

/* ModRM for `reg` and either the register `rm` or data at RBP; returns bytes written. */
static unsigned put_modrm(uint8_t *p, unsigned reg, unsigned rm, bool mem, unsigned align)
{
    if (!mem) {
        p[0] = (uint8_t)(0xc0 | (reg & 7) << 3 | (rm & 7));
        return 1;
    }
    p[0] = (uint8_t)(0x80 | (reg & 7) << 3 | 5);
    le_store(p + 1, 4, DATA + (rnd() % 0x180 & ~(uint64_t)(align - 1)));
    return 5;
}

static unsigned put_sse(uint8_t *p)
{
    const uint8_t *op = sse_ops[rnd() % (sizeof sse_ops / sizeof sse_ops[0])];
    unsigned reg = rnd() & 15, rm = rnd() & 15, n = 0;
    bool mem = op[1] == 0x13 || (rnd() & 1);

    if (op[0])
        p[n++] = op[0];
    p[n++] = (uint8_t)(0x40 | (reg >> 3) << 2 | (mem ? 0 : rm >> 3));
    p[n++] = 0x0f;
    p[n++] = op[1];
    n += put_modrm(p + n, reg, rm, mem, 16);
    if (op[2])
        p[n++] = (uint8_t)rnd();
    return n;
}

static unsigned put_vex(uint8_t *p, const uint8_t op[3], bool avx)
{
    unsigned reg = avx ? rnd() & 15 : any_gpr(), rm = avx ? rnd() & 15 : any_gpr();
    unsigned v = avx ? rnd() & 15 : any_gpr();
    bool mem = rnd() & 1;

    p[0] = 0xc4;
    p[1] = (uint8_t)((reg & 8 ? 0 : 0x80) | 0x40 | (!mem && (rm & 8) ? 0 : 0x20) | op[0]);
    p[2] = (uint8_t)((avx ? 0 : (rnd() & 1) << 7) | (~v & 15) << 3 | op[2]);
    p[3] = op[1];
    return 4 + put_modrm(p + 4, reg, rm, mem, 1);
}

/* popcnt and crc32 with every operand size they have. */
static unsigned put_bits(uint8_t *p)
{
    unsigned reg = any_gpr(), rm = any_gpr(), n = 0;
    bool mem = rnd() & 1, crc = rnd() & 1, wide = rnd() & 1;

    if (!wide && (rnd() & 1))
        p[n++] = 0x66;
    p[n++] = crc ? 0xf2 : 0xf3;
    p[n++] = (uint8_t)(0x40 | (wide ? 8 : 0) | (reg >> 3) << 2 | (mem ? 0 : rm >> 3));
    p[n++] = 0x0f;
    if (crc)
        p[n++] = 0x38;
    p[n++] = crc ? 0xf1 : 0xb8;
    return n + put_modrm(p + n, reg, rm, mem, 1);
}

/* One-byte opcodes with a ModRM and an immediate of so many bytes (4: of the operand's size), and a
 * fixed reg field or -1. */
/* clang-format off */
static const int16_t plain_ops[][3] = {
    {0x00, 0, -1}, {0x01, 0, -1}, {0x03, 0, -1}, {0x09, 0, -1}, {0x0a, 0, -1}, {0x11, 0, -1},
    {0x1b, 0, -1}, {0x21, 0, -1}, {0x29, 0, -1}, {0x2a, 0, -1}, {0x31, 0, -1}, {0x39, 0, -1},
    {0x3a, 0, -1}, {0x63, 0, -1}, {0x69, 4, -1}, {0x6b, 1, -1}, {0x80, 1, -1}, {0x81, 4, -1},
    {0x83, 1, -1}, {0x84, 0, -1}, {0x85, 0, -1}, {0x87, 0, -1}, {0x88, 0, -1}, {0x89, 0, -1},
    {0x8a, 0, -1}, {0x8b, 0, -1}, {0xc0, 1, 4},  {0xc1, 1, 5},  {0xc1, 1, 0},  {0xc6, 1, 0},
    {0xc7, 4, 0},  {0xd1, 0, 7},  {0xf6, 1, 0},  {0xf7, 4, 0},  {0xf7, 0, 2},
    {0xf7, 0, 3},  {0xf7, 0, 4},  {0xfe, 0, 0},  {0xff, 0, 0},  {0xff, 0, 1},
};
static const uint8_t plain_0f[] = {0x44, 0x4c, 0x92, 0x9f, 0xa3, 0xab, 0xaf, 0xb0, 0xb6,
                                   0xb7, 0xbb, 0xbe, 0xbf, 0xc0, 0xc1};
/* clang-format on */

static unsigned put_immediate(uint8_t *p, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        p[i] = (uint8_t)rnd();
    return bytes;
}

/* Integer instructions that KVM knows as well. */
static unsigned put_plain(uint8_t *p)
{
    const int16_t *op = plain_ops[rnd() % (sizeof plain_ops / sizeof plain_ops[0])];
    unsigned reg = any_gpr(), rm = any_gpr(), n = 0, kind = rnd() % 8;
    bool wide = rnd() & 1, small = !wide && (rnd() & 1), mem = rnd() & 1;

    if (small)
        p[n++] = 0x66;
    if (kind > 2 && op[2] >= 0)
        reg = (unsigned)op[2];
    p[n++] = (uint8_t)(0x40 | (wide ? 8 : 0) | (reg >> 3) << 2 | (mem ? 0 : rm >> 3));
    switch (kind) {
    case 0: /* mov $…, reg */
        p[n - 1] = (uint8_t)(0x40 | (wide ? 8 : 0) | rm >> 3);
        p[n++] = (uint8_t)(0xb8 | (rm & 7));
        return n + put_immediate(p + n, wide ? 8 : small ? 2 : 4);
    case 1: /* bt… $…, and the like */
        p[n++] = 0x0f;
        p[n++] = plain_0f[rnd() % sizeof plain_0f];
        if (p[n - 1] == 0xa3 || p[n - 1] == 0xab || p[n - 1] == 0xbb) {
            p[n - 3] |= (uint8_t)(rm >> 3); /* with memory the bit may be far away */
            return n + put_modrm(p + n, reg, rm, false, 1);
        }
        return n + put_modrm(p + n, reg, rm, mem, 1);
    case 2: /* lea …(reg), reg: the block lies elsewhere here than in the guest, so not of RBP */
        rm = (rm & 7) == 4 ? 3 : rm;
        p[n - 1] = (uint8_t)(0x40 | (wide ? 8 : 0) | (reg >> 3) << 2 | rm >> 3);
        p[n++] = 0x8d;
        p[n++] = (uint8_t)(0x80 | (reg & 7) << 3 | (rm & 7));
        return n + put_immediate(p + n, 4);
    default:
        p[n++] = (uint8_t)op[0];
        n += put_modrm(p + n, reg, rm, mem, 1);
        n += put_immediate(p + n, op[1] == 4 && small ? 2 : (unsigned)op[1]);
        if (op[0] == 0xc0 || op[0] == 0xc1)
            p[n - 1] = 1; /* other shifts leave flags undefined, and differing */
        return n;
    }
}

static unsigned put_any(uint8_t *p)
{
    switch (rnd() % 9) {
    case 6:
    case 7:
    case 8:
        return put_plain(p);
    case 0:
    case 1:
        return put_sse(p);
    case 2:
        memcpy(p, x87_ops[rnd() % (sizeof x87_ops / sizeof x87_ops[0])], 2);
        return 2;
    case 3:
        if (cpu_has(7, 1, 8))
            return put_vex(p, bmi_ops[rnd() % (sizeof bmi_ops / sizeof bmi_ops[0])], false);
        return put_sse(p);
    case 4:
        if (cpu_has(1, 2, 28))
            return put_vex(p, avx_ops[rnd() % (sizeof avx_ops / sizeof avx_ops[0])], true);
        return put_sse(p);
    default:
        return cpu_has(1, 2, 20) && cpu_has(1, 2, 23) ? put_bits(p) : put_sse(p);
    }
}

CODE(random_head, "fninit\n fldl 0x190(%rbp)\n fldl 0x198(%rbp)\n fildl 0x1a0(%rbp)\n fldpi");
/* The x87 state at a fixed place, without what depends on addresses. */
CODE(random_tail, "pushf\n lea 0x590(%rbp), %rsi\n and $-64, %rsi\n fxsave64 (%rsi)\n" CLEAN_FX
                  "mov $0, %esi\n popf");

static void random_sequences(void)
{
    for (unsigned round = 0; round < 12 && !test_failed && !test_skipped; round++) {
        uint64_t from = seed;

        blob_start();
        ADD(random_head);
        for (unsigned i = 0; i < 60; i++) {
            uint8_t insn[16];

            blob_add(insn, put_any(insn));
        }
        ADD(random_tail);
        blob_end();
        both(false);
        if (test_failed) {
            char why[sizeof test_why];

            memcpy(why, test_why, sizeof why);
            snprintf(test_why, sizeof test_why, "seed 0x%llx: %.500s", (unsigned long long)from,
                     why);
        }
    }
}

static const struct test tests[] = {
    {"popcnt", popcnt},
    {"crc32", crc32},
    {"cmpxchg16b", cmpxchg16b},
    {"sse", sse},
    {"x87", x87},
    {"fxsave", fxsave},
    {"xsave", xsave},
    {"avx", avx},
    {"bmi", bmi},
    {"movbe", movbe},
    {"page crossing", page_crossing},
    {"system instructions", system_instructions},
    {"fault: not present", fault_not_present},
    {"fault: read only", fault_read_only},
    {"fault: crossing", fault_crossing},
    {"fault: protection", fault_protection},
    {"fault: undefined", fault_undefined},
    {"fault: in a batch", fault_in_a_batch},
    {"fault: task switched", fault_task_switched},
    {"follows the guest's tables", follows_the_guest_tables},
    {"random sequences", random_sequences},
};

TEST_MAIN(tests)
