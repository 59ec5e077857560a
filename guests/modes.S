/*
 * modes: one processor through all its modes and back. A boot sector and more sectors, one flat
 * image; prints a line in each mode:
 *   real, unreal, real-mode interrupt, 16-bit protected, 32-bit protected, compatibility, long,
 *   compatibility, 32-bit protected, real again.
 *
 * build   make guests            gives o/guests/modes.bin and modes.elf (symbols)
 * run     ./vmscope run --symbols o/guests/modes.elf o/guests/modes.bin
 *         (loaded whole at 0x7c00; under a BIOS, as a disk, it fetches its other sectors itself)
 * expect  status 33; COM1: eleven lines, the last "modes: real mode again"
 *
 * Memory: 0x7c00 this image, stack below it; 0x10000 PML4, 0x11000 PDPT, 0x12000 page directory.
 */
#include "vmm/testdev_abi.h"

#define STACK       0x7c00
#define PML4        0x10000
#define PDPT        0x11000
#define PD          0x12000
#define ABOVE_1M    0x200000
#define CR0_PE      0x00000001
#define CR0_PG      0x80000000
#define CR4_PAE     0x00000020
#define MSR_EFER    0xc0000080
#define EFER_LME    0x00000100
#define INT_TEST    0x60

#define SEL_CODE64  0x08
#define SEL_DATA    0x10        /* flat, 4 GiB */
#define SEL_CODE32  0x18
#define SEL_CODE16  0x20
#define SEL_DATA16  0x28        /* base 0, limit 64 KiB: what real mode wants to inherit */

/* Works in every mode: the operands are small, all segments begin at 0. */
    .macro  say text
    mov     $\text, %esi
    mov     $TESTDEV_COM1, %dx
    call    print
    .endm

    .section .text
    .code16
    .globl  _start
    .type   _start, @function
_start:
    ljmp    $0, $1f                     /* some loaders come as 07c0:0000 */
1:  cli
    cld
    xor     %ax, %ax
    mov     %ax, %ds
    mov     %ax, %es
    mov     %ax, %ss
    mov     $STACK, %sp
    cmpl    $0x65646f6d, signature      /* a BIOS loads the first sector only */
    je      real_mode
    mov     $(0x0200 + SECTORS_MINUS_1), %ax
    mov     $0x0002, %cx                /* cylinder 0, sector 2 */
    mov     $0, %dh
    mov     $second_sector, %bx
    int     $0x13
    cli
    jnc     real_mode
    mov     $TESTDEV_CODE_ASSERT, %al
    out     %al, $TESTDEV_EXIT
    .size   _start, . - _start

/*
 * Prints the string at RSI, ended by zero, to port DX. These bytes mean the same in 16-, 32- and
 * 64-bit code (LODSB goes by SI, ESI or RSI, RET pops what CALL of that mode pushed), so that one
 * copy serves all.
 */
    .type   print, @function
print:
    lodsb
    test    %al, %al
    jz      1f
    out     %al, %dx
    jmp     print
1:  ret
    .size   print, . - print

    .org    510
    .word   0xaa55

second_sector:
signature:
    .ascii  "mode"

    .type   real_mode, @function
real_mode:
    say     text_real
    in      $TESTDEV_PORT92, %al        /* address line 20 on, and no reset by accident */
    or      $TESTDEV_PORT92_A20, %al
    and     $~TESTDEV_PORT92_RESET, %al
    out     %al, $TESTDEV_PORT92
    lgdt    gdtr

/* Unreal: FS gets a 4 GiB limit in protected mode and keeps it in real mode. */
    mov     %cr0, %eax
    or      $CR0_PE, %al
    mov     %eax, %cr0
    jmp     1f
1:  mov     $SEL_DATA, %bx
    mov     %bx, %fs
    and     $~CR0_PE, %al
    mov     %eax, %cr0
    jmp     unreal_mode
    .size   real_mode, . - real_mode

    .type   unreal_mode, @function
unreal_mode:
    mov     $ABOVE_1M, %ebx
    movl    $0x600dcafe, %fs:(%ebx)
    cmpl    $0x600dcafe, %fs:(%ebx)
    jne     fail16
    cmpl    $0x600dcafe, %fs:0          /* equal only if address line 20 were off */
    je      fail16
    say     text_unreal

    movw    $on_interrupt, INT_TEST * 4
    movw    $0, INT_TEST * 4 + 2
    mov     $0, %cx
    int     $INT_TEST
    cmp     $1, %cx
    jne     fail16
    say     text_after_int

    mov     %cr0, %eax
    or      $CR0_PE, %al
    mov     %eax, %cr0
    ljmp    $SEL_CODE16, $protected16
fail16:
    mov     $TESTDEV_CODE_ASSERT, %al
    out     %al, $TESTDEV_EXIT
    hlt
    .size   unreal_mode, . - unreal_mode

    .type   on_interrupt, @function
on_interrupt:
    inc     %cx
    push    %cx
    say     text_int
    pop     %cx
    iret
    .size   on_interrupt, . - on_interrupt

    .type   protected16, @function
protected16:
    mov     $SEL_DATA, %ax
    mov     %ax, %ds
    mov     %ax, %es
    mov     %ax, %ss
    say     text_protected16
    ljmpl   $SEL_CODE32, $protected32
    .size   protected16, . - protected16

    .code32
    .type   protected32, @function
protected32:
    mov     $STACK, %esp
    say     text_protected32

/* One 2 MiB page is all this program needs. */
    xor     %eax, %eax
    mov     $PML4, %edi
    mov     $(3 * 4096 / 4), %ecx
    rep stosl
    movl    $(PDPT + 3), PML4
    movl    $(PD + 3), PDPT
    movl    $0x83, PD
    mov     %cr4, %eax
    or      $CR4_PAE, %eax
    mov     %eax, %cr4
    mov     $PML4, %eax
    mov     %eax, %cr3
    mov     $MSR_EFER, %ecx
    rdmsr
    or      $EFER_LME, %eax
    wrmsr
    mov     %cr0, %eax
    or      $CR0_PG, %eax
    mov     %eax, %cr0
    jmp     compatibility
    .size   protected32, . - protected32

    .type   compatibility, @function
compatibility:
    say     text_compatibility
    ljmp    $SEL_CODE64, $long_mode
    .size   compatibility, . - compatibility

    .code64
    .type   long_mode, @function
long_mode:
    mov     $STACK, %esp
    mov     $0x123456789abcdef0, %rax   /* registers are wide here */
    mov     %rax, %r15
    shr     $32, %r15
    cmp     $0x12345678, %r15d
    jne     fail64
    say     text_long
    push    $SEL_CODE32
    mov     $compatibility_again, %eax
    push    %rax
    lretq
fail64:
    mov     $TESTDEV_CODE_ASSERT, %al
    out     %al, $TESTDEV_EXIT
    hlt
    .size   long_mode, . - long_mode

    .code32
    .type   compatibility_again, @function
compatibility_again:
    say     text_compatibility_again
    mov     %cr0, %eax                  /* paging off ends long mode (SDM volume 3, 9.8.5.4) */
    and     $~CR0_PG, %eax
    mov     %eax, %cr0
    mov     $MSR_EFER, %ecx
    rdmsr
    and     $~EFER_LME, %eax
    wrmsr
    mov     %cr4, %eax
    and     $~CR4_PAE, %eax
    mov     %eax, %cr4
    say     text_protected_again
    ljmp    $SEL_CODE16, $leave_protected
    .size   compatibility_again, . - compatibility_again

    .code16
    .type   leave_protected, @function
leave_protected:
    mov     $SEL_DATA16, %ax            /* limits of 64 KiB before real mode keeps them */
    mov     %ax, %ds
    mov     %ax, %es
    mov     %ax, %fs
    mov     %ax, %ss
    mov     %cr0, %eax
    and     $~CR0_PE, %al
    mov     %eax, %cr0
    ljmp    $0, $real_again
    .size   leave_protected, . - leave_protected

    .type   real_again, @function
real_again:
    xor     %ax, %ax
    mov     %ax, %ds
    mov     %ax, %es
    mov     %ax, %fs
    mov     %ax, %ss
    mov     $STACK, %sp
    say     text_real_again
    mov     $TESTDEV_CODE_PASS, %al
    out     %al, $TESTDEV_EXIT
1:  hlt
    jmp     1b
    .size   real_again, . - real_again

    .balign 8
gdt:
    .quad   0
    .quad   0x00af9b000000ffff          /* SEL_CODE64 */
    .quad   0x00cf93000000ffff          /* SEL_DATA */
    .quad   0x00cf9b000000ffff          /* SEL_CODE32 */
    .quad   0x00009b000000ffff          /* SEL_CODE16 */
    .quad   0x000093000000ffff          /* SEL_DATA16 */
gdtr:
    .word   . - gdt - 1
    .long   gdt

text_real:                  .asciz "modes: real mode\r\n"
text_unreal:                .asciz "modes: unreal mode, wrote at 2 MiB\r\n"
text_int:                   .asciz "modes: real-mode interrupt\r\n"
text_after_int:             .asciz "modes: back from the interrupt\r\n"
text_protected16:           .asciz "modes: 16-bit protected mode\r\n"
text_protected32:           .asciz "modes: 32-bit protected mode\r\n"
text_compatibility:         .asciz "modes: compatibility mode\r\n"
text_long:                  .asciz "modes: long mode\r\n"
text_compatibility_again:   .asciz "modes: compatibility mode again\r\n"
text_protected_again:       .asciz "modes: 32-bit protected mode again\r\n"
text_real_again:            .asciz "modes: real mode again\r\n"

    .balign 512, 0
    .set    SECTORS_MINUS_1, (. - _start) / 512 - 1
