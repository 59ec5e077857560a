/*
 * For smp.sh, a flat image at 0x7000 that is entered in protected mode: processor 0 resets
 * processor 1 and starts it, over and over.
 */
    .globl _start, sipi, sent, ap, work
    .code32
_start:
    mov $0xfee00000, %ebx
1:  movl $0x1000000, 0x310(%ebx)
    movl $0x4500, 0x300(%ebx) /* INIT */
    movl $0x1000000, 0x310(%ebx)
sipi:
    movl $0x4608, 0x300(%ebx) /* SIPI: 0x8000 */
sent:
    mov $2000, %ecx
2:  loop 2b
    jmp 1b
    .org 0x1000
    .code16
ap: mov $0x9000, %sp
    incl 0x6004
work:
    incl 0x6008
    jmp work
