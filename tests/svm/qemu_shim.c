/*
 * Preloaded into QEMU by tests/svm-rig: mends what QEMU's SVM, as of version 10, does otherwise
 * than an AMD processor where a debugger would see it. It puts itself before functions that QEMU
 * calls through pointers; where those are not found it says so and QEMU stays as it is.
 *
 * - INT3 passes the #BP intercept by, since QEMU asks for the INTn intercept instead.
 * - VMLOAD keeps the busy bit in TR's type, which QEMU itself never sets; the next entry to ring 0
 *   through a 32-bit TSS then aborts QEMU.
 * - A write to CR8 in a VM with a virtual interrupt pending aborts QEMU, for want of its big lock.
 * - VMRUN that injects an interrupt leaves its vector as a pending exception. If another processor
 *   wants this one's attention before the next VM exit, the guest gets the interrupt twice.
 * - A lock that QEMU cannot carry out beside other processors (one that crosses an alignment) is
 *   carried out with them stopped. A trap or VM exit at its end loses the arithmetic flags and DF.
 * - SETcc puts the flags in place of what they are computed from, before its store. If the store
 *   leaves the guest, they are computed again, from themselves.
 * - IN and OUT whose right to the port is looked up in the TSS fail with other flags, when the
 * flags were not computed before: QEMU prepares that only after the look-up.
 * - A frame of an exception that is pushed to data under a debug register: QEMU begins the access
 *   anew from the instruction, as for an access of an instruction's own, takes its big lock twice
 *   and aborts, or loses the event.
 * - A debug register for execution in a segment with a base: found by its linear address, but then
 *   compared with EIP alone, which sends the stop to a gdb that is not there; QEMU crashes.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    VECTOR_DB = 1,
    VECTOR_BP = 3,
    SVM_EXIT_EXCP_BASE = 0x40,
    VMCB_TR_ATTRIB = 0x400 + 0x92,
    TSS_BUSY = 2,
    ACCEL_OPS_WORDS = 32,
    CLASS_WORDS = 128, /* of QEMU's CPUClass that are searched */
    INTERRUPT_DEBUG = 0x80,
    HIT_SHIFT = 6,
    ENV_EIP = 16, /* words of QEMU's processor state, in which RAX is the first */
    ENV_CC_DST = 18,
    ENV_CC_SRC = 19,
    ENV_CC_OP = 21,
    ENV_MODE = 22,
    MODE_GUEST = 1 << 21,
    IO_BYTES_SHIFT = 4,
    ENV_CS_BASE = 27,
    ACCESS = 3, /* read and write among a watchpoint's flags */
};

/* Where the functions of QEMU's TCGCPUOps that matter here lie. */
enum {
    OP_INITIALIZE,
    OP_TRANSLATE,
    OP_RESTORE = 3,
    OP_ENTER,
    OP_EXIT,
    OP_DEBUG,
    OP_CHECK = 15,
    OPS_WORDS = 48
};

/* QEMU's CPUWatchpoint, as far as it matters. */
struct watchpoint {
    uint64_t address, bytes, hit_address, attributes;
    int flags;
};

/* The beginning of QEMU's TranslationBlock. */
struct block {
    uint64_t address, code_segment, flags, sizes;
    uintptr_t code, code_bytes;
};

/* QEMU's own. */
static void (*raise_interrupt)(void *env, int vector, int length);
static void (*vmload)(void *env, int aflag);
static void (*vmrun)(void *env, int aflag, int length);
static uint64_t (*compute_flags)(uint64_t dst, uint64_t src, uint64_t src2, int op);
static void (*check_io)(void *env, uint32_t port, uint32_t bytes);
static void (*svm_check_io)(void *env, uint32_t port, uint32_t what, uint32_t length);
static void (*restore)(void *cpu, const struct block *block, const uint64_t *data);
static void (*cpu_svm_check_intercept_param)(void *env, uint32_t type, uint64_t param,
                                             uintptr_t ra);
static void (*cpu_physical_memory_rw)(uint64_t addr, void *buf, uint64_t len, bool write);
static void **(*cpus_get_accel)(void);
static void (*tcg_handle_interrupt)(void *cpu, int mask);
static bool (*bql_locked)(void);
static void (*bql_lock_impl)(const char *file, int line);
static void (*bql_unlock)(void);
static void *(*object_get_class)(void *object);
static void *tcg_x86_init, *x86_translate_code;
static void (*breakpoint_handler)(void *cpu);
static bool (*check_hw_breakpoints)(void *env, bool force);
static void (*raise_exception)(void *env, int vector);
static void (*cpu_loop_exit_noexc)(void *cpu);
static void (*cpu_exec_enter)(void *cpu);
static void (*cpu_exec_exit)(void *cpu);
static void (*jump)(sigjmp_buf to, int value) __attribute__((noreturn));
static void (*jump_checked)(sigjmp_buf to, int value) __attribute__((noreturn));

static __thread void *my_env, *my_cpu;
static __thread bool is_inside, in_vmrun;
static __thread struct watchpoint *pending;
static void *ops[OPS_WORDS];

static void complain(const char *what)
{
    fprintf(stderr, "svm-rig: warning: cannot hook into this QEMU: %s\n", what);
}

/* ---- software breakpoints -------------------------------------------------------------------- */

/* A length of one byte tells INT3 (CC) from INT 3 (CD 03). */
static void raise_interrupt_hook(void *env, int vector, int length)
{
    if (vector == VECTOR_BP && length == 1)
        cpu_svm_check_intercept_param(env, SVM_EXIT_EXCP_BASE + VECTOR_BP, 0, 0);
    raise_interrupt(env, vector, length);
}

/* ---- interrupts ------------------------------------------------------------------------------ */

static void handle_interrupt_hook(void *cpu, int mask)
{
    bool locked = bql_locked();

    if (!locked)
        bql_lock_impl(__FILE__, __LINE__);
    tcg_handle_interrupt(cpu, mask);
    if (!locked)
        bql_unlock();
}

/* The accelerator's table is there by the time a VM runs. */
static void hook_interrupts(void)
{
    void **accel = cpus_get_accel();

    for (int i = 0; i < ACCEL_OPS_WORDS; i++)
        if (!memcmp(&accel[i], &tcg_handle_interrupt, sizeof accel[i]))
            accel[i] = handle_interrupt_hook;
}

/* ---- flags after a lock that ran alone ------------------------------------------------------- */

/* Entering takes the flags out of QEMU's EFLAGS, exiting puts them back. */
static void enter_hook(void *cpu)
{
    if (is_inside)
        cpu_exec_exit(cpu);
    cpu_exec_enter(cpu);
    is_inside = true;
    my_cpu = cpu;
}

static void exit_hook(void *cpu)
{
    cpu_exec_exit(cpu);
    is_inside = false;
}

/* ---- flags that an instruction computed before it failed ---------------------------------------
 */

static __thread struct {
    uint64_t from[3]; /* as from ENV_CC_DST on */
    uint64_t flags;
    uint32_t op;
    uintptr_t caller; /* in the code of a block */
} computed;

static uint64_t compute_flags_hook(uint64_t dst, uint64_t src, uint64_t src2, int op)
{
    computed.from[0] = dst;
    computed.from[1] = src;
    computed.from[2] = src2;
    computed.op = (uint32_t)op;
    computed.caller = (uintptr_t)__builtin_return_address(0);
    computed.flags = compute_flags(dst, src, src2, op);
    return computed.flags;
}

/* Back to the start of the instruction that failed in a block. QEMU knows how its flags were to be
 * computed there, but no longer what from. */
static void restore_hook(void *cpu, const struct block *block, const uint64_t *data)
{
    uint64_t *env = my_env;

    restore(cpu, block, data);
    if (env && cpu == my_cpu && computed.caller - block->code < block->code_bytes &&
        (uint32_t)env[ENV_CC_OP] == computed.op && env[ENV_CC_SRC] == computed.flags)
        memcpy(&env[ENV_CC_DST], computed.from, sizeof computed.from);
}

static __thread bool owes_check;

/* In a guest the intercept is looked up next, at which all is prepared. */
static void check_io_hook(void *env, uint32_t port, uint32_t bytes)
{
    owes_check = ((uint64_t *)env)[ENV_MODE] & MODE_GUEST;
    if (!owes_check)
        check_io(env, port, bytes);
}

static void svm_check_io_hook(void *env, uint32_t port, uint32_t what, uint32_t length)
{
    bool owed = owes_check;

    owes_check = false; /* first: it may not return */
    if (owed)
        check_io(env, port, what >> IO_BYTES_SHIFT & 7);
    svm_check_io(env, port, what, length);
}

/* ---- frames under a debug register ----------------------------------------------------------- */

/* Exceptions are delivered under the big lock, injected interrupts by VMRUN; an instruction's own
 * accesses know neither. False: the access just goes on. */
static bool check_hook(void *cpu, struct watchpoint *wp)
{
    if (!in_vmrun && !bql_locked())
        return true;
    pending = wp;
    handle_interrupt_hook(cpu, INTERRUPT_DEBUG);
    return false;
}

/* At the first instruction of the event's handler. */
static void raise_pending(void *cpu)
{
    pending->flags |= (pending->flags & ACCESS) << HIT_SHIFT;
    pending = NULL;
    if (check_hw_breakpoints(my_env, false))
        raise_exception(my_env, VECTOR_DB);
    cpu_loop_exit_noexc(cpu);
}

/* ---- breakpoints in segments with a base ------------------------------------------------------
 */

static void debug_hook(void *cpu)
{
    uint64_t *eip = (uint64_t *)my_env + ENV_EIP, offset = *eip;
    bool is_hit;

    if (pending)
        raise_pending(cpu);
    breakpoint_handler(cpu);
    /* It returned: what QEMU found at the linear address is not at EIP. */
    *eip = (uint32_t)(offset + ((uint64_t *)my_env)[ENV_CS_BASE]);
    is_hit = check_hw_breakpoints(my_env, true);
    *eip = offset;
    if (is_hit)
        raise_exception(my_env, VECTOR_DB);
    cpu_loop_exit_noexc(cpu);
}

/* ---- VMRUN and VMLOAD ------------------------------------------------------------------------ */

/* QEMU leaves what it does, VMRUN too, by long jumps. */
__attribute__((noreturn)) void siglongjmp(sigjmp_buf to, int value)
{
    in_vmrun = false;
    jump(to, value);
}

__attribute__((noreturn)) void __longjmp_chk(sigjmp_buf to, int value)
{
    in_vmrun = false;
    jump_checked(to, value);
}

static void vmrun_hook(void *env, int aflag, int length)
{
    pending = NULL; /* what it pointed to went with the VM exit */
    in_vmrun = true;
    vmrun(env, aflag, length);
    in_vmrun = false;
    cpu_loop_exit_noexc(my_cpu); /* drops the vector */
}

/* The pointer in the processor's class to its table of functions, which itself is constant. */
static void **find_ops(void)
{
    void **class = object_get_class(my_cpu);
    Dl_info info;

    for (int i = 0; i < CLASS_WORDS; i++) {
        void **at = class[i];

        if (at && !((uintptr_t)at & 7) && dladdr(at, &info) && at[OP_INITIALIZE] == tcg_x86_init)
            return &class[i];
    }
    return NULL;
}

static void hook_ops(void)
{
    void **class_ops = find_ops();

    if (!class_ops) {
        complain("no table of functions");
        return;
    }
    memcpy(ops, *class_ops, sizeof ops);
    if (ops[OP_TRANSLATE] != x86_translate_code ||
        memcmp(&ops[OP_DEBUG], &breakpoint_handler, sizeof ops[0]) || ops[OP_CHECK]) {
        complain("its table of functions is another");
        return;
    }
    memcpy(&restore, &ops[OP_RESTORE], sizeof ops[0]);
    memcpy(&cpu_exec_enter, &ops[OP_ENTER], sizeof ops[0]);
    memcpy(&cpu_exec_exit, &ops[OP_EXIT], sizeof ops[0]);
    ops[OP_RESTORE] = restore_hook;
    ops[OP_ENTER] = enter_hook;
    ops[OP_EXIT] = exit_hook;
    ops[OP_DEBUG] = debug_hook;
    ops[OP_CHECK] = check_hook;
    *class_ops = ops;
}

static void hook_rest(void)
{
    hook_interrupts();
    hook_ops();
}

/* The VMCB's address is in RAX, the first field of QEMU's processor state. */
static void vmload_hook(void *env, int aflag)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    uint64_t vmcb;
    uint8_t attrib;

    my_env = env;
    my_cpu = *(void **)dlsym(RTLD_DEFAULT, "current_cpu"); /* each thread's own */
    pthread_once(&once, hook_rest);
    memcpy(&vmcb, env, sizeof vmcb);
    cpu_physical_memory_rw(vmcb + VMCB_TR_ATTRIB, &attrib, 1, false);
    if (attrib & TSS_BUSY) {
        attrib &= ~TSS_BUSY;
        cpu_physical_memory_rw(vmcb + VMCB_TR_ATTRIB, &attrib, 1, true);
    }
    vmload(env, aflag);
}

/* ---- set-up ---------------------------------------------------------------------------------- */

static bool find_in(void *where, const char *name, void *function)
{
    void *address = dlsym(where, name);

    memcpy(function, &address, sizeof address);
    return address;
}

/* QEMU calls its helpers through the first field of helper_info_NAME. */
static bool hook(const char *info_name, const char *name, void *original, void *replacement)
{
    void **info = dlsym(RTLD_DEFAULT, info_name);

    if (!info || !find_in(RTLD_DEFAULT, name, original) || memcmp(info, original, sizeof *info))
        return false;
    *info = replacement;
    return true;
}

#define FIND(function) find_in(RTLD_DEFAULT, #function, &function)

__attribute__((constructor)) static void init(void)
{
    unsetenv("LD_PRELOAD");
    find_in(RTLD_NEXT, "siglongjmp", &jump);
    find_in(RTLD_NEXT, "__longjmp_chk", &jump_checked);
    if (!FIND(cpu_svm_check_intercept_param) || !FIND(cpu_physical_memory_rw) ||
        !FIND(cpus_get_accel) || !FIND(tcg_handle_interrupt) || !FIND(bql_locked) ||
        !FIND(bql_lock_impl) || !FIND(bql_unlock) || !FIND(object_get_class) ||
        !FIND(tcg_x86_init) || !FIND(x86_translate_code) || !FIND(breakpoint_handler) ||
        !FIND(check_hw_breakpoints) || !FIND(raise_exception) || !FIND(cpu_loop_exit_noexc) ||
        !hook("helper_info_raise_interrupt", "helper_raise_interrupt", &raise_interrupt,
              raise_interrupt_hook) ||
        !hook("helper_info_cc_compute_all", "helper_cc_compute_all", &compute_flags,
              compute_flags_hook) ||
        !hook("helper_info_check_io", "helper_check_io", &check_io, check_io_hook) ||
        !hook("helper_info_svm_check_io", "helper_svm_check_io", &svm_check_io,
              svm_check_io_hook) ||
        !hook("helper_info_vmrun", "helper_vmrun", &vmrun, vmrun_hook) ||
        !hook("helper_info_vmload", "helper_vmload", &vmload, vmload_hook))
        complain("software breakpoints will not work");
}
