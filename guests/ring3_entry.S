/*
 * The way into ring 3 and, for SYSCALL, back: ring3.c sets the MSRs and the per-processor record.
 */
#define RECORD_KERNEL_RSP   0   /* struct record in ring3.c */
#define RECORD_USER_RSP     8
#define USER_CS             0x2b
#define USER_SS             0x23

    .section .text
    .code64

/* enter_user(rip, rsp): never returns. */
    .globl  enter_user
    .type   enter_user, @function
enter_user:
    push    $USER_SS
    push    %rsi
    push    $0x202                      /* IF */
    push    $USER_CS
    push    %rdi
    xor     %eax, %eax                  /* nothing of the kernel leaks */
    xor     %ebx, %ebx
    xor     %ecx, %ecx
    xor     %edx, %edx
    xor     %esi, %esi
    xor     %edi, %edi
    xor     %ebp, %ebp
    iretq
    .size   enter_user, . - enter_user

/*
 * SYSCALL comes here: RCX is the user's RIP, R11 its RFLAGS, the stack is still the user's.
 * Number in RAX, arguments in RDI, RSI, RDX.
 */
    .globl  syscall_entry
    .type   syscall_entry, @function
syscall_entry:
    swapgs
    mov     %rsp, %gs:RECORD_USER_RSP
    mov     %gs:RECORD_KERNEL_RSP, %rsp
    push    %rcx
    push    %r11
    mov     %rdx, %rcx                  /* system_call(number, a, b, c) */
    mov     %rsi, %rdx
    mov     %rdi, %rsi
    mov     %rax, %rdi
    call    syscall_by_syscall
    pop     %r11
    pop     %rcx
    mov     %gs:RECORD_USER_RSP, %rsp
    swapgs
    sysretq
    .size   syscall_entry, . - syscall_entry
