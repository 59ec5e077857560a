/*
 * Single steps through everything that hosts do differently: each stop must be at the
 * architectural next instruction, with the entered vector, on every KVM. One program runs in long
 * mode, goes to ring 3 and back by each way, and is stepped from `begin` to `end`.
 */
#include "tests/unit/guest_image.h"

#include <stdlib.h>
#include <unistd.h>

#include "debug/session.h"
#include "vmm/base/le.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

#define AT 0x8000ull

/* clang-format off */
asm(".pushsection .rodata\n"
    ".macro gate n, handler, dpl\n"
    "  lea \\handler(%rip), %rax\n"
    "  lea idt(%rip), %rdi\n"
    "  add $(16 * \\n), %rdi\n"
    "  mov %ax, (%rdi)\n"
    "  movw $0x10, 2(%rdi)\n"
    "  movw $(0x8e00 + (\\dpl << 13)), 4(%rdi)\n"
    "  shr $16, %rax\n"
    "  mov %ax, 6(%rdi)\n"
    ".endm\n"
    ".balign 16\n"
    "image: .code64\n"
    "  lea stack0(%rip), %rsp\n"
    "  lgdt gdtr(%rip)\n"
    "  lea tss(%rip), %rax\n"                 /* TSS descriptor: base */
    "  lea gdt(%rip), %rdi\n"
    "  mov %ax, 0x3a(%rdi)\n"
    "  lea stack0(%rip), %rbx\n"
    "  mov %rbx, 4(%rax)\n"                   /* RSP0 */
    "  mov $0x38, %ax\n  ltr %ax\n"
    "  mov $0x18, %ax\n  mov %ax, %ss\n"
    "  mov %cr3, %rsi\n"                      /* user bit in the first entries of each level */
    "  orb $4, (%rsi)\n"
    "  mov (%rsi), %rsi\n  and $~0xfff, %rsi\n  orb $4, (%rsi)\n"
    "  mov (%rsi), %rsi\n  and $~0xfff, %rsi\n  orb $4, (%rsi)\n"
    "  mov %cr3, %rsi\n  mov %rsi, %cr3\n"
    "  gate 0, h_de, 0\n  gate 1, h_db, 0\n  gate 3, h_plain, 3\n  gate 6, h_ud, 0\n  gate 13, h_gp, 0\n"
    "  gate 14, h_pf, 0\n  gate 0x40, h_plain, 3\n"
    "  lidt idtr(%rip)\n"
    "  mov $0xc0000081, %ecx\n  xor %eax, %eax\n  mov $0x00200010, %edx\n  wrmsr\n"
    "  inc %ecx\n  lea sysentry(%rip), %rax\n  xor %edx, %edx\n  wrmsr\n"
    "  mov $0xc0000084, %ecx\n  mov $0x100, %eax\n  xor %edx, %edx\n  wrmsr\n"
    "  mov $0xc0000080, %ecx\n  rdmsr\n  or $1, %eax\n  wrmsr\n"
    "  mov %cr3, %rsi\n"
    ".globl s_begin\n"
    "s_begin: pushfq\n"                       /* flags that the guest sees hold no trap flag */
    "s_1: pop %rax\n"
    "s_2: push %rax\n"
    "s_3: popfq\n"
    "s_4: mov %ss, %ax\n"
    "s_5: mov %ax, %ss\n"
    "s_6: sti\n"
    "s_7: nop\n"
    "s_8: cli\n"
    "s_9: int $0x40\n"
    "s_10: int3\n"
    "s_11: ud2\n"
    "s_12: movabs 0x7f0000000000, %al\n"         /* movabs: not mapped */
    "s_13: xor %ecx, %ecx\n"
    "s_14: div %ecx\n"
    "s_15: lea buf(%rip), %rdi\n"
    "s_16: mov $5, %ecx\n"
    "s_17: rep stosb\n"
    "s_18: lidt idtr(%rip)\n"
    "s_19: mov %cr3, %rax\n"
    "s_20: mov %rax, %cr3\n"
    "s_21: swapgs\n"
    "s_22: swapgs\n"
    "s_23: call s_sub\n"
    "s_24: out %al, $0x80\n"
    "s_25: in $0x80, %al\n"
    "s_26: mov $0x18, %eax\n  s_27: push %rax\n"
    "s_28: push %rsp\n  s_29: pushfq\n  s_30: mov $0x10, %eax\n  s_31: push %rax\n"
    "s_32: lea s_35(%rip), %rax\n  s_33: push %rax\n"
    "s_34: iretq\n"                           /* to the same ring */
    "s_35: mov $0x2b, %eax\n  s_36: push %rax\n"
    "s_37: lea stack3(%rip), %rax\n  s_38: push %rax\n"
    "s_39: pushq $0x202\n  s_40: pushq $0x33\n"
    "s_41: lea u_1(%rip), %rax\n  s_42: push %rax\n"
    "s_43: iretq\n"                           /* to ring 3 */
    "s_sub: ret\n"
    "u_1: nop\n"
    "u_2: pushfq\n"
    "u_3: pop %rax\n"
    "u_4: int $0x40\n"
    "u_5: int3\n"
    "u_6: hlt\n"                              /* #GP */
    "u_7: movabs 0x7f0000000000, %al\n"
    "u_8: lea buf(%rip), %rdi\n"
    "u_9: mov $3, %ecx\n"
    "u_10: rep stosb\n"
    "u_11: syscall\n"
    "u_12: mov %r11, %rbx\n"
    "u_13: int $0x41\n"                       /* no gate: #GP, ends the test */
    "h_plain: iretq\n"
    "h_ud: addq $2, (%rsp)\n"
    "h_ud2: iretq\n"
    "h_de: addq $2, (%rsp)\n"
    "h_de2: iretq\n"
    "h_pf: add $8, %rsp\n"
    "h_pf2: addq $9, (%rsp)\n"
    "h_pf3: iretq\n"
    "h_gp: add $8, %rsp\n"
    "h_gp2: incq (%rsp)\n"
    "h_gp3: iretq\n"
    "h_db: iretq\n"
    "sysentry: nop\n"
    "se_2: sysretq\n"
    ".balign 16\n"
    "gdt: .quad 0, 0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0x00cffb000000ffff\n"
    "  .quad 0x00cff3000000ffff, 0x00affb000000ffff, 0x0000890000000067, 0\n"
    "gdtr: .word 71\n .quad 0x8000 + gdt - image\n"
    "idtr: .word 0x41f\n .quad 0x8000 + idt - image\n"
    "buf: .skip 64\n"
    ".balign 16\n tss: .skip 102\n .word 0x68\n"
    ".balign 16\n idt: .skip 0x420\n"
    "  .skip 1024\n .balign 16\n stack0: .skip 16\n"
    "  .skip 512\n .balign 16\n stack3: .skip 16\n"
    "image_end:\n"
    ".purgem gate\n"
    ".popsection\n");
/* clang-format on */

extern const uint8_t image[], image_end[];

struct stop {
    const uint8_t *at;
    int vector; /* entered by this step; -1 none */
    const char *name;
};
#define L(label) extern const uint8_t label[];
/* clang-format off */
#define EACH(X) \
    X(s_begin) X(s_1) X(s_2) X(s_3) X(s_4) X(s_5) X(s_6) X(s_7) X(s_8) X(s_9) X(s_10) X(s_11) \
    X(s_12) X(s_13) X(s_14) X(s_15) X(s_16) X(s_17) X(s_18) X(s_19) X(s_20) X(s_21) X(s_22) \
    X(s_23) X(s_24) X(s_25) X(s_26) X(s_27) X(s_28) X(s_29) X(s_30) X(s_31) X(s_32) X(s_33) \
    X(s_34) X(s_35) X(s_36) X(s_37) X(s_38) X(s_39) X(s_40) X(s_41) X(s_42) X(s_43) X(s_sub) \
    X(u_1) X(u_2) X(u_3) X(u_4) X(u_5) X(u_6) X(u_7) X(u_8) X(u_9) X(u_10) X(u_11) X(u_12) \
    X(u_13) X(h_plain) X(h_ud) X(h_ud2) X(h_de) X(h_de2) X(h_pf) X(h_pf2) X(h_pf3) X(h_gp) \
    X(h_gp2) X(h_gp3) X(h_db) X(sysentry) X(se_2)
/* clang-format on */
EACH(L)

#define S(label)                                                                                   \
    {                                                                                              \
        label, -1, #label                                                                          \
    }
#define V(label, n)                                                                                \
    {                                                                                              \
        label, n, #label                                                                           \
    }
static const struct stop want[] = {
    S(s_1),      S(s_2),      S(s_3),   S(s_4),           S(s_5),      S(s_6),
    S(s_7),      S(s_8),      S(s_9),   V(h_plain, 0x40), S(s_10),     V(h_plain, 3),
    S(s_11),     V(h_ud, 6),  S(h_ud2), S(s_12),          V(h_pf, 14), S(h_pf2),
    S(h_pf3),    S(s_13),     S(s_14),  V(h_de, 0),       S(h_de2),    S(s_15),
    S(s_16),     S(s_17),     S(s_18),  S(s_19),          S(s_20),     S(s_21),
    S(s_22),     S(s_23),     S(s_sub), S(s_24),          S(s_25),     S(s_26),
    S(s_27),     S(s_28),     S(s_29),  S(s_30),          S(s_31),     S(s_32),
    S(s_33),     S(s_34),     S(s_35),  S(s_36),          S(s_37),     S(s_38),
    S(s_39),     S(s_40),     S(s_41),  S(s_42),          S(s_43),     S(u_1),
    S(u_2),      S(u_3),      S(u_4),   V(h_plain, 0x40), S(u_5),      V(h_plain, 3),
    S(u_6),      V(h_gp, 13), S(h_gp2), S(h_gp3),         S(u_7),      V(h_pf, 14),
    S(h_pf2),    S(h_pf3),    S(u_8),   S(u_9),           S(u_10),     S(u_11),
    S(sysentry), S(se_2),     S(u_12),  S(u_13),          V(h_gp, 13),
};

static struct session *s;

static uint64_t address(const uint8_t *label)
{
    return AT + ((uintptr_t)label - (uintptr_t)image);
}

static bool open_image(void)
{
    const struct session_config cfg = {.mem_bytes = 16 << 20, .boot = FLAT_AT(AT, BOOT_MODE_LONG)};

    return guest_open(&s, cfg, image, (uintptr_t)image_end - (uintptr_t)image);
}

static void close_image(void)
{
    guest_close(&s);
}

static bool go_until(const uint8_t *label)
{
    struct err e = {0};

    if (session_until(s, address(label), &e) < 0 || !session_wait(s, TEST_HANG_NS, NULL) ||
        session_last_stop(s)->kind != STOP_TEMPORARY) {
        test_fail(__FILE__, __LINE__, "did not arrive at 0x%llx: %.300s %.200s",
                  (unsigned long long)address(label), session_last_stop(s)->text, e.msg);
        return false;
    }
    return true;
}

static uint64_t reg(int id)
{
    struct reg_value v = {0};

    session_reg_get(s, 0, id, &v, NULL);
    return v.u;
}

static const char *name_of(uint64_t at)
{
#define NAME(label)                                                                                \
    if (at == address(label))                                                                      \
        return #label;
    EACH(NAME)
    return "nowhere";
}

static void check_steps(void)
{
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
        const struct stop_info *si;
        struct err e = {0};

        CHECK_EQ(session_step(s, 0, 1, &e), 0);
        CHECK(session_wait(s, TEST_HANG_NS, NULL));
        si = session_last_stop(s);
        if (si->kind != STOP_STEP || si->rip != address(want[i].at) || si->vector != want[i].vector)
            TEST_FAIL("step %zu ends at %s (0x%llx) vector %d, want %s vector %d: %.200s", i,
                      name_of(si->rip), (unsigned long long)si->rip, si->vector, want[i].name,
                      want[i].vector, si->text);
        if (want[i].at == s_2 || want[i].at == u_4)
            CHECK_EQ(reg(REG_rax) & 0x100, 0); /* pushf showed no trap flag */
        if (want[i].at == u_13)
            CHECK_EQ(reg(REG_rbx) & 0x100, 0); /* nor did R11 after syscall */
        CHECK_EQ(reg(REG_rflags) & 0x100, 0);
        CHECK_EQ(reg(REG_dr6), 0xffff0ff0);
    }
    CHECK_EQ(reg(REG_idtr_limit), 0x41f);
}

static void every_stop_is_right(void)
{
    if (!open_image())
        return;
    if (go_until(s_begin))
        check_steps();
    close_image();
}

/* The frame of each fault must not show that it was stepped. */
static void frames_are_clean(void)
{
    static const uint8_t *const handlers[] = {h_plain, h_plain, h_ud, h_pf, h_de};
    static const unsigned flags_at[] = {16, 16, 16, 24, 16};

    if (!open_image())
        return;
    if (go_until(s_9)) {
        for (size_t i = 0; i < 5 && !test_failed; i++) {
            uint64_t flags = 0;

            while (session_last_stop(s)->rip != address(handlers[i])) {
                if (session_step(s, 0, 1, NULL) < 0 || !session_wait(s, TEST_HANG_NS, NULL)) {
                    test_fail(__FILE__, __LINE__, "a step failed");
                    break;
                }
            }
            session_mem_read(s, 0, SPACE_LINEAR, reg(REG_rsp) + flags_at[i], &flags, 8);
            if (flags & 0x100 || !(flags & 2))
                test_fail(__FILE__, __LINE__, "frame %zu holds flags 0x%llx", i,
                          (unsigned long long)flags);
            session_step(s, 0, 1, NULL); /* on, so that the same handler counts again */
            session_wait(s, TEST_HANG_NS, NULL);
        }
    }
    close_image();
}

/* Breakpoints in ring 3 and in handlers, reached from a free run, each exactly once. */
static void points_in_every_ring(void)
{
    static const uint8_t *const at[] = {s_10, h_ud, s_35, u_1, u_5, u_9, sysentry, u_12};
    int ids[8];

    if (!open_image())
        return;
    if (go_until(u_1)) {
        session_reset(s, NULL);
        for (size_t i = 0; i < 8; i++) {
            struct point_spec spec = {.kind = POINT_BREAK, .addr = address(at[i]), .vcpu = -1};

            ids[i] = session_point_add(s, &spec, NULL);
        }
        for (size_t i = 0; i < 8 && !test_failed; i++) {
            struct err e = {0};

            if (session_run(s, &e) < 0 || !session_wait(s, TEST_HANG_NS, NULL) ||
                session_last_stop(s)->point_id != ids[i])
                test_fail(__FILE__, __LINE__, "want the point at %s (%s): %.300s %.100s",
                          name_of(address(at[i])), session_point(s, ids[i])->method,
                          session_last_stop(s)->text, e.msg);
        }
    }
    close_image();
}

/* ---- flags --------------------------------------------------------------------------------------
 */

#define TF   0x100u
#define IOPL 0x3000u
#define RF   0x10000u
#define AC   0x40000u

#define B(s)    s, sizeof(s) - 1
#define POPFQ   B("\x9d")
#define IRETQ   B("\x48\xcf")
#define SYSCALL B("\x0f\x05")

/* One step of an instruction at `at`: from the ring that the label is in, with these flags, and
 * with `image` for what it takes from the stack. */
static const struct flags_row {
    const char *what;
    const uint8_t *at;
    const char *code;
    size_t len;
    uint32_t flags, image, want;
    const uint8_t *to; /* of the step; NULL: the next instruction */
    int vector;
    uint32_t frame; /* flags where they were put: the handler's frame, or R11 */
    uint32_t sfmask;
} flags_rows[] = {
    {"popfq sets AC", u_1, POPFQ, 0x202, 0x202 | AC, 0x202 | AC, NULL, -1, 0, 0},
    {"popfq clears AC", u_1, POPFQ, 0x202 | AC, 0x202, 0x202, NULL, -1, 0, 0},
    {"popfq of ring 3 and IOPL, IF", u_1, POPFQ, 0x202, 0x2 | IOPL, 0x202, NULL, -1, 0, 0},
    {"popfq of ring 0 and IOPL, AC", s_1, POPFQ, 0x2, 0x2 | IOPL | AC, 0x2 | IOPL | AC, NULL, -1, 0,
     0},
    {"iretq of ring 3 sets no IOPL", u_1, IRETQ, 0x202, 0x202 | IOPL | AC, 0x202 | AC, u_7, -1, 0,
     0},
    {"iretq of ring 3 clears no IOPL", u_1, IRETQ, 0x202 | IOPL, 0x202, 0x202 | IOPL, u_7, -1, 0,
     0},
    {"popfq of ring 3 with IOPL 3, IF", u_1, POPFQ, 0x202 | IOPL, 0x2 | AC, 0x2 | IOPL | AC, NULL,
     -1, 0, 0},
    {"iretq of ring 3 with IOPL 3, IF", u_1, IRETQ, 0x202 | IOPL, 0x2, 0x2 | IOPL, u_7, -1, 0, 0},
    {"iretq to ring 3 sets IOPL", s_1, IRETQ, 0x2, 0x202 | IOPL | AC, 0x202 | IOPL | AC, u_7, -1, 0,
     0},
    {"syscall in R11", u_1, SYSCALL, 0x202, 0, 0x202, sysentry, -1, 0x202, 0},
    {"syscall, own TF, masked", u_1, SYSCALL, 0x202 | TF, 0, 0x202, sysentry, -1, 0x202 | TF, TF},
    {"syscall, own TF, kept", u_1, SYSCALL, 0x202 | TF, 0, 0x2, h_db, 1, 0x202 | TF, 0},
};

static bool set_reg(int id, uint64_t value)
{
    struct reg_value v = reg_from_u64(id, value);
    struct err e = {0};

    if (session_reg_set(s, 0, id, &v, &e) == 0)
        return true;
    test_fail(__FILE__, __LINE__, "register %d: %.300s", id, e.msg);
    return false;
}

static bool step_once(void)
{
    struct err e = {0};

    if (session_step(s, 0, 1, &e) == 0 && session_wait(s, TEST_HANG_NS, NULL) &&
        session_last_stop(s)->kind == STOP_STEP)
        return true;
    test_fail(__FILE__, __LINE__, "step: %.300s %.200s", session_last_stop(s)->text, e.msg);
    return false;
}

static void run_flags_row(const struct flags_row *r)
{
    uint64_t stack[5] = {r->image}, frame = 0, sp = reg(REG_rsp) - 64;
    const uint8_t *to = r->to ? r->to : r->at + r->len;
    const struct stop_info *si;

    if (r->to == u_7) {
        const uint64_t iret[5] = {address(u_7), 0x33, r->image, sp, 0x2b};

        memcpy(stack, iret, sizeof stack);
    }
    session_mem_write(s, 0, SPACE_LINEAR, address(r->at), r->code, r->len);
    session_mem_write(s, 0, SPACE_LINEAR, sp, stack, sizeof stack);
    if (!set_reg(REG_rsp, sp) || !set_reg(REG_rflags, r->flags) ||
        !set_reg(REG_msr_sfmask, r->sfmask) || !step_once())
        return;
    si = session_last_stop(s);
    if (r->vector >= 0)
        session_mem_read(s, 0, SPACE_LINEAR, reg(REG_rsp) + 16, &frame, 8);
    else
        frame = reg(REG_r11);
    if (si->rip != address(to) || si->vector != r->vector || reg(REG_rflags) != r->want ||
        (r->frame && frame != r->frame))
        test_fail(__FILE__, __LINE__, "%s: at %s (0x%llx), vector %d, flags 0x%llx, put 0x%llx",
                  r->what, name_of(si->rip), (unsigned long long)si->rip, si->vector,
                  (unsigned long long)reg(REG_rflags), (unsigned long long)frame);
}

static void flags_are_right(void)
{
    for (size_t i = 0; i < sizeof flags_rows / sizeof flags_rows[0] && !test_failed; i++) {
        if (!open_image())
            return;
        if (go_until(flags_rows[i].at))
            run_flags_row(&flags_rows[i]);
        close_image();
    }
}

/* ---- debug registers, strings -------------------------------------------------------------------
 */

/* The guest's own breakpoint register is met before the instruction, and once: the frame has RF. */
static void own_breakpoint(void)
{
    const uint8_t *const to[] = {h_db, s_7, s_8};
    const bool once = session_vm(s)->probe.hw_exec_honours_rf;
    uint64_t frame[3] = {0};

    if (!go_until(s_7) || !set_reg(REG_dr0, address(s_7)) || !set_reg(REG_dr7, 0x402))
        return;
    for (size_t i = 0; i < (once ? 3 : 1); i++) {
        if (!step_once())
            return;
        CHECK_EQ(session_last_stop(s)->rip, address(to[i]));
        CHECK_EQ(session_last_stop(s)->vector, i ? -1 : 1);
        if (!i)
            session_mem_read(s, 0, SPACE_LINEAR, reg(REG_rsp), frame, sizeof frame);
    }
    CHECK_EQ(frame[0], address(s_7));
    CHECK_EQ(frame[2] & RF, once ? RF : 0);
    CHECK_EQ(reg(REG_dr6) & 0xf, 1);
}

static void own_breakpoints_come_once(void)
{
    if (!open_image())
        return;
    own_breakpoint();
    close_image();
}

/* MOV ECX, 5 (as 16-bit code: MOV CX, 5; ADD [BX+SI], AL); REP STOSB; NOP */
#define REP_CODE "\xb9\x05\0\0\0\xf3\xaa\x90"
#define REP_AT   5u

static bool open_rep(bool real)
{
    struct session_config cfg = {.mem_bytes = 16 << 20, .boot = FLAT_AT(AT, BOOT_MODE_REAL)};

    if (!real)
        return open_image() && go_until(s_16);
    return guest_open(&s, cfg, image, 16) && set_reg(REG_rbx, AT + 0x7800);
}

static bool steps(unsigned n)
{
    struct err e = {0};

    return session_step(s, 0, n, &e) == 0 && session_wait(s, TEST_HANG_NS, NULL);
}

/* A repeated string is one step, alone and in a row of steps, however many watchpoints hold debug
 * registers; and these still stop. */
static void rep_among_watchpoints(uint64_t code, unsigned watched, unsigned before)
{
    const uint64_t buf = AT + 0x7000;
    struct err e = {0};
    int id = -1;

    session_mem_write(s, 0, SPACE_LINEAR, code, REP_CODE, sizeof REP_CODE - 1);
    CHECK(set_reg(REG_rip, before ? code : code + REP_AT) && set_reg(REG_rdi, buf));
    CHECK(set_reg(REG_rcx, 5));
    for (unsigned i = 0; i < watched; i++) {
        struct point_spec spec = {.kind = POINT_WATCH,
                                  .addr = buf + 0x100 + 8 * i,
                                  .len = 8,
                                  .access = WATCH_WRITE,
                                  .vcpu = -1};

        CHECK((id = session_point_add(s, &spec, &e)) > 0);
    }
    CHECK(steps(before + 1));
    CHECK_EQ(session_last_stop(s)->kind, STOP_STEP);
    CHECK_EQ(session_last_stop(s)->rip, code + REP_AT + 2);
    CHECK_EQ(session_last_stop(s)->vector, -1);
    CHECK_EQ(reg(REG_rcx), 0);
    CHECK_EQ(reg(REG_rdi), buf + 5);
    if (!watched)
        return;
    CHECK(set_reg(REG_rip, code + REP_AT) && set_reg(REG_rcx, 8));
    CHECK(set_reg(REG_rdi, buf + 0x100 + 8 * (watched - 1)) && steps(1));
    CHECK_EQ(session_last_stop(s)->kind, STOP_WATCHPOINT);
    CHECK_EQ(session_last_stop(s)->point_id, id);
    CHECK_EQ(session_last_stop(s)->by, code + REP_AT);
}

static void rep_is_one_step(void)
{
    for (unsigned i = 0; i < 24 && !test_failed; i++) {
        const bool real = i & 1;

        if (open_rep(real))
            rep_among_watchpoints(real ? AT + 0x100 : address(s_16), i / 4, i & 2 ? 1 + real : 0);
        close_image();
        if (test_skipped)
            return;
    }
}

/* However long: by a register behind it, where nothing hides the vectors, and not by its elements.
 */
static void long_rep(void)
{
    const uint64_t code = AT + 0x100;
    uint64_t before;
    struct vcpu *v;

    if (!open_rep(true))
        return;
    v = session_vm(s)->cpu[0];
    session_mem_write(s, 0, SPACE_LINEAR, code, REP_CODE, sizeof REP_CODE - 1);
    before = v->counts[KVM_EXIT_DEBUG];
    if (set_reg(REG_rip, code + REP_AT) && set_reg(REG_rdi, AT + 0x7000) && set_reg(REG_rcx, 300) &&
        steps(1) && (reg(REG_rcx) || v->counts[KVM_EXIT_DEBUG] - before > 1))
        test_fail(__FILE__, __LINE__, "%llu left, %llu exits", (unsigned long long)reg(REG_rcx),
                  (unsigned long long)(v->counts[KVM_EXIT_DEBUG] - before));
    close_image();
}

/* Several at once, which is another way inside, end where as many single ones do. */
static void steps_in_rows(void)
{
    const unsigned n = sizeof want / sizeof want[0];

    for (unsigned row = 2; row < 6 && !test_failed; row++) {
        unsigned i = row - 1;

        if (!open_image())
            return;
        if (!go_until(s_begin))
            i = n;
        for (; i < n && !test_failed; i += row) {
            if (!steps(row) || session_last_stop(s)->rip != address(want[i].at))
                test_fail(__FILE__, __LINE__, "%u steps end at %s, want %s: %.300s", row,
                          name_of(session_last_stop(s)->rip), want[i].name,
                          session_last_stop(s)->text);
        }
        close_image();
    }
}

/* ---- real mode ----------------------------------------------------------------------------------
 */

/* What faults without an IDT that could be hidden: the step ends at the handler. */
static const struct {
    const char *what, *code;
    size_t len;
    int vector; /* -1: none, and the step ends behind it */
} real_rows[] = {
    {"div", B("\xf7\xf1"), 0},
    {"bound", B("\x62\x06\x00\x70"), 5},
    {"ud2", B("\x0f\x0b"), 6},
    {"mov cr0", B("\x0f\x22\xc2"), 13},
    {"pause", B("\xf3\x90"), -1},
    {"rep stosb", B("\xf3\xaa"), -1},
    {"fninit, CR0.EM", B("\xdb\xe3"), 7},
};

static void real_row(size_t i)
{
    const uint64_t code = AT + 0x100;
    const struct stop_info *si;
    uint16_t frame[3] = {0};

    for (uint32_t n = 0; n < 32; n++) {
        const uint32_t gate = 0x9000 + 16 * n;

        session_mem_write(s, 0, SPACE_PHYS, 4 * n, &gate, 4);
    }
    session_mem_write(s, 0, SPACE_PHYS, code, real_rows[i].code, real_rows[i].len);
    if (!set_reg(REG_rip, code) || !set_reg(REG_rsp, 0x7800) || !set_reg(REG_rax, 5) ||
        !set_reg(REG_rdx, 0x80000000) || !set_reg(REG_rcx, real_rows[i].vector < 0 ? 3 : 0) ||
        !set_reg(REG_rdi, 0xa000) || !set_reg(REG_cr0, reg(REG_cr0) | 4) || !step_once())
        return;
    si = session_last_stop(s);
    if (si->vector != real_rows[i].vector ||
        si->rip != (si->vector < 0 ? code + real_rows[i].len : 0x9000u + 16 * si->vector))
        TEST_FAIL("%s: at 0x%llx, vector %d", real_rows[i].what, (unsigned long long)si->rip,
                  si->vector);
    if (si->vector < 0)
        return;
    session_mem_read(s, 0, SPACE_PHYS, reg(REG_rsp), frame, sizeof frame);
    CHECK_EQ(frame[0], code);
    CHECK_EQ(frame[2] & TF, 0);
}

static void real_faults(void)
{
    const struct session_config cfg = {.mem_bytes = 16 << 20, .boot = FLAT_AT(AT, BOOT_MODE_REAL)};

    for (size_t i = 0; i < sizeof real_rows / sizeof real_rows[0] && !test_failed; i++) {
        if (!guest_open(&s, cfg, image, 16))
            return;
        real_row(i);
        close_image();
    }
}

/* ---- passing a breakpoint -----------------------------------------------------------------------
 */

#define PAGE_END 0x40fffull /* its neighbour in the guest is elsewhere in memory */
#define FAR_PAGE 0x60000ull
#define PAGE_MAP 0x70000ull

/* In the boot's tables, the first 2 MB by small pages; the one behind PAGE_END is FAR_PAGE. */
static bool map_apart(void)
{
    uint64_t at = reg(REG_cr3) & ~0xfffull, entry;

    for (int level = 0; level < 2; level++) {
        if (session_mem_read(s, 0, SPACE_PHYS, at, &entry, 8) != 8)
            return false;
        at = entry & 0xffffffff000ull;
    }
    for (uint64_t page = 0; page < 512; page++) {
        entry = (page == (PAGE_END >> 12) + 1 ? FAR_PAGE : page << 12) | 3;
        session_mem_write(s, 0, SPACE_PHYS, PAGE_MAP + 8 * page, &entry, 8);
    }
    entry = PAGE_MAP | 3;
    return session_mem_write(s, 0, SPACE_PHYS, at, &entry, 8) == 8;
}

/* A loop whose instruction at the breakpoint is the last of its page, met at each turn. */
static void passes_a_page_end(void)
{
    static const uint8_t dec_jnz[] = {0xff, 0xc9, 0x75, 0xfb, 0xe6, 0xf4}; /* and out to 0xf4 */
    struct point_spec spec = {.kind = POINT_BREAK, .addr = PAGE_END, .vcpu = -1};
    const uint8_t nop = 0x90;
    struct err e = {0};

    CHECK(map_apart());
    session_mem_write(s, 0, SPACE_PHYS, PAGE_END, &nop, 1);
    session_mem_write(s, 0, SPACE_PHYS, FAR_PAGE, dec_jnz, sizeof dec_jnz);
    CHECK(set_reg(REG_rip, PAGE_END) && set_reg(REG_rcx, 3) && set_reg(REG_rax, 0));
    for (unsigned i = 0; i < 4; i++) { /* so that there is no debug register for it */
        struct point_spec other = {.kind = POINT_BREAK, .addr = 0x6000 + i, .vcpu = -1};

        CHECK(session_point_add(s, &other, &e) > 0);
    }
    CHECK(session_point_add(s, &spec, &e) > 0);
    for (unsigned left = 3; left; left--) {
        CHECK(session_run(s, &e) == 0 && session_wait(s, TEST_HANG_NS, NULL));
        CHECK_EQ(session_last_stop(s)->kind, STOP_BREAKPOINT);
        CHECK_EQ(reg(REG_rcx), left);
    }
    CHECK(session_run(s, &e) == 0 && session_wait(s, TEST_HANG_NS, NULL));
    CHECK_EQ(session_last_stop(s)->kind, STOP_DEBUG_EXIT);
}

static void passes_at_a_page_end(void)
{
    if (!open_image())
        return;
    passes_a_page_end();
    close_image();
}

/* A trap flag that POPFQ has just set is in force over the breakpoint behind it. */
static void passes_with_own_tf(void)
{
    struct point_spec spec = {.kind = POINT_BREAK, .addr = address(s_7), .vcpu = -1};
    struct point_spec handler = {.kind = POINT_BREAK, .addr = address(h_db), .vcpu = -1};
    uint64_t flags = 0x102, frame = 0;
    struct err e = {0};

    CHECK(go_until(s_6));
    session_mem_write(s, 0, SPACE_LINEAR, address(s_6), "\x9d", 1); /* POPFQ */
    session_mem_write(s, 0, SPACE_LINEAR, reg(REG_rsp) - 8, &flags, 8);
    CHECK(set_reg(REG_rsp, reg(REG_rsp) - 8) && step_once());
    CHECK_EQ(session_last_stop(s)->rip, address(s_7));
    CHECK(session_point_add(s, &spec, &e) > 0 && session_point_add(s, &handler, &e) > 0);
    CHECK(session_run(s, &e) == 0 && session_wait(s, TEST_HANG_NS, NULL));
    CHECK_EQ(session_last_stop(s)->rip, address(h_db));
    session_mem_read(s, 0, SPACE_LINEAR, reg(REG_rsp), &frame, 8);
    CHECK_EQ(frame, address(s_8));
}

static void passes_under_a_trap_flag(void)
{
    if (!open_image())
        return;
    passes_with_own_tf();
    close_image();
}

/* ---- trap flags that an instruction loads -------------------------------------------------------
 */

/* Stepped (or run with a point by single steps) over an instruction that loads the flags, and over
 * the next one: a trap flag of the guest's own traps behind that, none else does. What lies where
 * the flags of another operand size would be says the opposite. */
static const struct load_row {
    const char *what;
    const char *code;
    size_t len;
    unsigned word; /* bytes of each on the stack */
    bool iret;
} load_rows[] = {
    {"iretq", B("\x48\xcf"), 8, true},
    {"iretd", B("\xcf"), 4, true},
    {"iretw", B("\x66\xcf"), 2, true},
    {"iretq, 66", B("\x66\x48\xcf"), 8, true},
    {"popfq", B("\x9d"), 8, false},
    {"popfw", B("\x66\x9d"), 2, false},
    {"popfq, 66", B("\x66\x48\x9d"), 8, false},
};

enum load_way { BY_STEPS, BESIDE_POINT, BY_STEPPED_POINT, LOAD_WAYS };

static void put_frame(const struct load_row *r, bool user, uint64_t to, uint64_t sp, bool tf)
{
    const uint64_t flags = 0x2 | (tf ? TF : 0);
    const uint64_t iret[5] = {to, user ? 0x33 : 0x10, flags, sp, user ? 0x2b : 0x18};
    uint8_t frame[64];

    memset(frame, tf ? 0 : 0xff, sizeof frame);
    for (unsigned i = 0; i < (r->iret ? 5 : 1); i++)
        le_store(frame + i * r->word, r->word, r->iret ? iret[i] : flags);
    session_mem_write(s, 0, SPACE_LINEAR, sp, frame, sizeof frame);
}

/* To the instruction behind the next one, or to the handler. */
static bool arrive(enum load_way way, uint64_t next)
{
    struct point_spec spec = {.kind = POINT_BREAK, .addr = address(h_db), .vcpu = -1};
    struct point_spec behind = {.kind = POINT_BREAK, .addr = next, .vcpu = -1};
    struct err e = {0};

    if (way == BY_STEPPED_POINT)
        return session_allow_points(s, false, false),
               session_point_add(s, &spec, &e) > 0 && session_point_add(s, &behind, &e) > 0 &&
                   session_run(s, &e) == 0 && session_wait(s, TEST_HANG_NS, NULL);
    return step_once();
}

static void load_row(const struct load_row *r, bool user, bool tf, enum load_way way)
{
    const uint8_t *at = user ? u_1 : s_1, *next = user ? u_8 : s_37, *behind = user ? u_9 : s_38;
    uint64_t sp = reg(REG_rsp) - 128, frame[3] = {0};
    uint64_t to = r->iret ? address(next) : address(at) + r->len;
    struct point_spec spec = {.kind = POINT_BREAK, .addr = to, .vcpu = -1};
    const uint8_t nop = 0x90;
    struct err e = {0};

    session_mem_write(s, 0, SPACE_LINEAR, address(at), r->code, r->len);
    if (!r->iret)
        session_mem_write(s, 0, SPACE_LINEAR, to, &nop, 1);
    put_frame(r, user, to, sp, tf);
    if (way == BESIDE_POINT)
        CHECK(session_point_add(s, &spec, &e) > 0);
    CHECK(set_reg(REG_rsp, sp) && set_reg(REG_rflags, 2));
    if (way != BY_STEPPED_POINT) {
        CHECK(session_step(s, 0, 1, &e) == 0 && session_wait(s, TEST_HANG_NS, NULL));
        if (session_last_stop(s)->rip != to)
            TEST_FAIL("%s, ring %d, TF %d: at %s: %.300s", r->what, user ? 3 : 0, tf,
                      name_of(session_last_stop(s)->rip), session_last_stop(s)->text);
    }
    CHECK(arrive(way, r->iret ? address(behind) : to + 1));
    if (session_last_stop(s)->rip != (tf ? address(h_db) : r->iret ? address(behind) : to + 1))
        TEST_FAIL("%s, ring %d, TF %d, way %d: at %s (0x%llx): %.200s", r->what, user ? 3 : 0, tf,
                  way, name_of(session_last_stop(s)->rip),
                  (unsigned long long)session_last_stop(s)->rip, session_last_stop(s)->text);
    if (!tf)
        return;
    session_mem_read(s, 0, SPACE_LINEAR, reg(REG_rsp), frame, sizeof frame);
    CHECK_EQ(frame[0], r->iret ? address(behind) : to + 1);
    CHECK_EQ(frame[2] & TF, TF);
}

/* A KVM that emulates ring 0 makes #GP(0) of it, whatever is on the stack. */
static bool is_refused(const struct load_row *r, bool user)
{
    return session_vm(s)->probe.emulated && !user && r->iret && r->word < 8;
}

static void loaded_trap_flags(void)
{
    const unsigned rows = sizeof load_rows / sizeof load_rows[0];

    for (unsigned i = 0; i < rows * 4 * LOAD_WAYS && !test_failed; i++) {
        if (!open_image())
            return;
        if (!is_refused(&load_rows[i % rows], i / rows & 1) && go_until(i / rows & 1 ? u_1 : s_1))
            load_row(&load_rows[i % rows], i / rows & 1, i / rows & 2,
                     (enum load_way)(i / rows / 4));
        close_image();
    }
}

static const struct test tests[] = {
    {"every stop is at the next instruction", every_stop_is_right},
    {"frames are clean", frames_are_clean},
    {"points in every ring", points_in_every_ring},
    {"flags are right", flags_are_right},
    {"own breakpoints come once", own_breakpoints_come_once},
    {"rep is one step", rep_is_one_step},
    {"a long rep", long_rep},
    {"steps in rows", steps_in_rows},
    {"faults in real mode", real_faults},
    {"passes at a page's end", passes_at_a_page_end},
    {"passes under a trap flag", passes_under_a_trap_flag},
    {"loaded trap flags", loaded_trap_flags},
};
TEST_MAIN(tests)
