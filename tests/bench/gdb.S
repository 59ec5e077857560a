/* For tests/bench/gdb.py: a 32-bit multiboot kernel that calls a small function for ever. */
    .section .multiboot, "a"
    .align  4
    .long   0x1badb002, 0, -0x1badb002
    .text
    .globl  _start, work
_start:
    mov     $stack_top, %esp
    xor     %esi, %esi
1:  call    work
    inc     %esi
    jmp     1b
work:
    mov     %esi, value
    mov     value, %eax
    add     $1, %eax
    ret
    .bss
    .lcomm  value, 4
    .lcomm  stack, 4096
    .set    stack_top, stack + 4096
