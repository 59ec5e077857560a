/*
 * What the second processor of apic_smp runs first: copied to AP_PAGE, entered there in real mode
 * by the start-up IPI, goes to long mode on the boot processor's page tables and calls ap_main.
 */
#define AP_PAGE     0x8000
#define HERE(x)     (x - ap_start + AP_PAGE)

    .section .text
    .code16
    .globl  ap_start, ap_end
    .type   ap_start, @function
ap_start:
    cli
    cld
    xor     %ax, %ax
    mov     %ax, %ds
    lgdtl   HERE(ap_gdtr)
    mov     %cr0, %eax
    or      $1, %eax
    mov     %eax, %cr0
    ljmpl   $0x18, $HERE(ap_protected)

    .code32
ap_protected:
    mov     $0x10, %eax
    mov     %eax, %ds
    mov     %eax, %es
    mov     %eax, %ss
    mov     %cr4, %eax
    or      $0x20, %eax                 /* PAE */
    mov     %eax, %cr4
    mov     $boot_pml4, %eax
    mov     %eax, %cr3
    mov     $0xc0000080, %ecx           /* EFER.LME */
    rdmsr
    or      $0x100, %eax
    wrmsr
    mov     %cr0, %eax
    and     $~0x60000000, %eax          /* INIT leaves the caches off (CD, NW) */
    or      $0x80010000, %eax           /* PG, WP */
    mov     %eax, %cr0
    ljmp    $0x08, $HERE(ap_long)

    .code64
ap_long:
    lgdt    boot_gdtr                   /* same selectors, and it outlives this page */
    mov     $ap_stack_top, %rsp
    xor     %ebp, %ebp
    mov     $ap_main, %rax              /* this code runs elsewhere than it is linked */
    call    *%rax
1:  cli
    hlt
    jmp     1b

    .balign 8
ap_gdt:
    .quad   0
    .quad   0x00af9b000000ffff          /* 0x08 code, 64-bit */
    .quad   0x00cf93000000ffff          /* 0x10 data */
    .quad   0x00cf9b000000ffff          /* 0x18 code, 32-bit */
ap_gdtr:
    .word   . - ap_gdt - 1
    .long   HERE(ap_gdt)
ap_end:
    .size   ap_start, . - ap_start

    .section .bss
    .balign 16
    .skip   8192
ap_stack_top:
