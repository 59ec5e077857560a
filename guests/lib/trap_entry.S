/*
 * Entry of every exception and interrupt of a 64-bit guest: 256 stubs of 16 bytes that make one
 * frame, one common path to trap_dispatch and back.
 */
#include "guests/lib/registers.inc"

    .section .text
    .code64

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
    jmp     trap_common
    .set    vector, vector + 1
    .endr
    .balign 16

    .type   trap_common, @function
trap_common:
    push_registers
    cld
    mov     %rsp, %rdi
    call    trap_dispatch
    .globl  trap_return                 /* leaves by the frame at %rsp */
trap_return:
    pop_registers
    iretq
    .size   trap_common, . - trap_common
