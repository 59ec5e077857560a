/*
 * Six processors for smp.sh, a flat image at 0x7000 that is entered in protected mode. Processor 0
 * spins with interrupts off until somebody else has counted to LAST; 1 halts with interrupts on, 2
 * with interrupts off; 3 and 4 count at 0x6000 + 4 * number, past `work` each time; 5 waits for its
 * start-up IPI for ever.
 */
#define LAST 300000
    .globl _start, spin, ap, work, asleep, dead
    .code32
_start:
    mov $0xfee00000, %ebx
    mov $1, %ecx
1:  mov %ecx, %eax
    shl $24, %eax
    mov %eax, 0x310(%ebx)
    movl $0x4500, 0x300(%ebx) /* INIT */
    mov %eax, 0x310(%ebx)
    movl $0x4608, 0x300(%ebx) /* SIPI: 0x8000 */
    inc %ecx
    cmp $5, %ecx
    jb 1b
spin:
    cmpl $LAST, 0x600c
    jb spin
    mov $0, %al
    out %al, $0xf4
    .org 0x1000
    .code16
ap: mov $1, %eax
    cpuid
    shr $24, %ebx
    cmp $1, %bl
    je asleep
    cmp $2, %bl
    je dead
    shl $2, %bx
    add $0x6000, %bx
work:
    incl (%bx)
    nop
    nop
    jmp work
asleep:
    sti
    hlt
    jmp asleep
dead:
    cli
    hlt
    jmp dead
