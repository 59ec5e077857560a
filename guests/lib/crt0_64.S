/*
 * Start of a plain ELF64 guest: the machine begins in long mode with the first memory mapped one
 * to one, as `vmscope --boot elf` does. Brings only its own stack.
 */
    .section .text.start, "ax"
    .code64
    .globl  _start
    .type   _start, @function
_start:
    cli
    cld
    mov     $stack_top, %rsp
    xor     %ebp, %ebp                  /* ends backtraces */
    call    console_init
    xor     %edi, %edi
    call    guest_main
    mov     $0x10, %edi                 /* a guest that returns has passed */
    call    guest_done
    .size   _start, . - _start

    .section .bss
    .balign 16
stack:
    .skip   16384
stack_top:
