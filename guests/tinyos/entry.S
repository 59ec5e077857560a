/*
 * The ways into the kernel (exceptions, interrupts, INT 0x80, SYSCALL) and the way to ring 3. All
 * of them make the same frame, struct trap in tinyos.h.
 */
#define SEL_KERNEL_DATA 0x10
#define SEL_USER_DATA   0x23
#define SEL_USER_CODE   0x2b
#define VECTOR_SYSCALL  0x80

    .section .text
    .code64

/* 256 stubs of 16 bytes; cpu.c points the IDT to them. */
    .balign 16
    .globl  trap_stubs
trap_stubs:
    .set    vector, 0
    .rept   256
    .balign 16
    /* Vectors 8, 10-14, 17, 21, 29 and 30 come with an error code. */
    .if     !(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21 || vector == 29 || vector == 30)
    push    $0
    .endif
    push    $vector
    jmp     trap_entry
    .set    vector, vector + 1
    .endr
    .balign 16

    .type   trap_entry, @function
trap_entry:
    push    %rax
    push    %rbx
    push    %rcx
    push    %rdx
    push    %rsi
    push    %rdi
    push    %rbp
    push    %r8
    push    %r9
    push    %r10
    push    %r11
    push    %r12
    push    %r13
    push    %r14
    push    %r15
    cld
    mov     %rsp, %rdi
    call    trap_dispatch
    pop     %r15
    pop     %r14
    pop     %r13
    pop     %r12
    pop     %r11
    pop     %r10
    pop     %r9
    pop     %r8
    pop     %rbp
    pop     %rdi
    pop     %rsi
    pop     %rdx
    pop     %rcx
    pop     %rbx
    pop     %rax
    add     $16, %rsp                   /* vector, error */
    iretq
    .size   trap_entry, . - trap_entry

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
    push    %rax
    push    %rbx
    push    %rcx
    push    %rdx
    push    %rsi
    push    %rdi
    push    %rbp
    push    %r8
    push    %r9
    push    %r10
    push    %r11
    push    %r12
    push    %r13
    push    %r14
    push    %r15
    cld
    mov     %rsp, %rdi
    call    trap_dispatch
    pop     %r15
    pop     %r14
    pop     %r13
    pop     %r12
    pop     %r11
    pop     %r10
    pop     %r9
    pop     %r8
    pop     %rbp
    pop     %rdi
    pop     %rsi
    pop     %rdx
    add     $8, %rsp                    /* RCX comes from the frame's RIP below */
    pop     %rbx
    pop     %rax
    add     $16, %rsp                   /* vector, error */
    pop     %rcx
    add     $8, %rsp                    /* CS */
    pop     %r11
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
