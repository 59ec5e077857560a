/* For tests/gdb/frames16.sh: calls in real mode, three deep. */
    .code16
    .text
    .globl  _start, outer, inner
_start:
    xor     %ax, %ax
    mov     %ax, %ss
    mov     $0x7c00, %sp
    xor     %bp, %bp
    call    outer
1:  hlt
    jmp     1b
outer:
    push    %bp
    mov     %sp, %bp
    sub     $6, %sp
    call    inner
    leave
    ret
inner:
    push    %bp
    mov     %sp, %bp
    nop
    pop     %bp
    ret
    .org    510
    .word   0xaa55
