/*
 * SYSCALL, and the way to ring 3 and back. Exceptions, interrupts and INT 0x80 enter in
 * guests/lib/trap_entry.S; all of them make the same frame.
 */
#include "guests/lib/registers.inc"

#define SEL_KERNEL_DATA 0x10
#define SEL_USER_DATA   0x23
#define SEL_USER_CODE   0x2b
#define VECTOR_SYSCALL  0x80

    .section .text
    .code64

/*
 * SYSCALL: the processor has put RIP into RCX and RFLAGS into R11, masked interrupts (SFMASK) and
 * left RSP alone. There is one processor, so the kernel's stack pointer is a plain variable; a
 * kernel for several would find it by SWAPGS.
 */
    .globl  syscall_entry
    .type   syscall_entry, @function
syscall_entry:
    mov     %rsp, syscall_user_rsp
    mov     syscall_rsp, %rsp
    push    $SEL_USER_DATA
    push    syscall_user_rsp
    push    %r11
    push    $SEL_USER_CODE
    push    %rcx
    push    $0
    push    $VECTOR_SYSCALL
    push_registers
    cld
    mov     %rsp, %rdi
    call    trap_dispatch
    pop_registers                       /* of which SYSRET wants other values: */
    pop     %rcx                        /* RIP */
    add     $8, %rsp                    /* CS */
    pop     %r11                        /* RFLAGS */
    pop     %rsp
    sysretq
    .size   syscall_entry, . - syscall_entry

/*
 * uint64_t user_enter(rip, rsp, arg): keeps the kernel's registers on its stack, tells where that
 * stack is free, and goes to ring 3.
 */
    .globl  user_enter
    .type   user_enter, @function
user_enter:
    push    %rbp
    mov     %rsp, %rbp
    push    %rbx
    push    %r12
    push    %r13
    push    %r14
    push    %r15
    pushfq
    cli
    mov     %rsp, user_enter_rsp
    mov     %rdi, %r12
    mov     %rsi, %r13
    mov     %rdx, %r14
    mov     %rsp, %rdi
    and     $-16, %rdi
    mov     %rdi, %rsp
    call    cpu_set_kernel_stack
    push    $SEL_USER_DATA
    push    %r13
    push    $0x202                      /* interrupts on */
    push    $SEL_USER_CODE
    push    %r12
    mov     %r14, %rdi
    xor     %eax, %eax                  /* nothing of the kernel leaks */
    xor     %ebx, %ebx
    xor     %ecx, %ecx
    xor     %edx, %edx
    xor     %esi, %esi
    xor     %ebp, %ebp
    xor     %r8d, %r8d
    xor     %r9d, %r9d
    xor     %r10d, %r10d
    xor     %r11d, %r11d
    xor     %r12d, %r12d
    xor     %r13d, %r13d
    xor     %r14d, %r14d
    xor     %r15d, %r15d
    iretq
    .size   user_enter, . - user_enter

/* void user_leave(code): user_enter returns `code`. */
    .globl  user_leave
    .type   user_leave, @function
user_leave:
    mov     %rdi, %rax
    mov     $SEL_KERNEL_DATA, %ecx      /* an interrupt from ring 3 has emptied SS */
    mov     %ecx, %ss
    mov     user_enter_rsp, %rsp
    popfq
    pop     %r15
    pop     %r14
    pop     %r13
    pop     %r12
    pop     %rbx
    pop     %rbp
    ret
    .size   user_leave, . - user_leave

    .section .bss
    .balign 8
user_enter_rsp:
    .skip   8
syscall_user_rsp:
    .skip   8
    .globl  syscall_rsp
syscall_rsp:
    .skip   8
