/*
 * From the loader to C. Multiboot 2 enters at _start in flat 32-bit protected mode, paging off, EAX
 * the magic, EBX the physical address of the boot information (Multiboot2 Specification 2.0,
 * sections 3.1 and 3.3). This file is linked where it is loaded (1 MiB); the rest of the kernel is
 * linked KERNEL_BASE higher.
 */
#define KERNEL_BASE     0xffffffff80000000
#define MB2_MAGIC       0xe85250d6
#define MB2_I386        0
#define MB2_TAG_END     0
#define MB2_TAG_REQUEST 1

#define CR0_WP          (1 << 16)
#define CR0_PG          (1 << 31)
#define CR4_PAE         (1 << 5)
#define MSR_EFER        0xc0000080
#define EFER_LME        (1 << 8)
#define PTE_P_W         0x03
#define PTE_P_W_2M      0x83

    .section .boot.header, "a"
    .balign 8
header:
    .long   MB2_MAGIC
    .long   MB2_I386
    .long   header_end - header
    .long   -(MB2_MAGIC + MB2_I386 + (header_end - header))
1:  .word   MB2_TAG_REQUEST
    .word   0
    .long   2f - 1b
    .long   1, 2, 3, 6                  /* command line, loader's name, modules, memory map */
2:  .balign 8
    .word   MB2_TAG_END
    .word   0
    .long   8
header_end:

    .section .boot.text, "ax"
    .code32
    .globl  _start
    .type   _start, @function
_start:
    cli
    cld
    mov     %eax, %edi                  /* first and second argument of kernel_main */
    mov     %ebx, %esi

    mov     %cr4, %eax
    or      $CR4_PAE, %eax
    mov     %eax, %cr4
    mov     $boot_pml4, %eax
    mov     %eax, %cr3
    mov     $MSR_EFER, %ecx
    rdmsr
    or      $EFER_LME, %eax
    wrmsr
    mov     %cr0, %eax
    or      $(CR0_PG | CR0_WP), %eax
    mov     %eax, %cr0                  /* long mode, but still 32-bit code */
    lgdt    boot_gdtr
    ljmp    $0x08, $start64
    .size   _start, . - _start

    .code64
    .type   start64, @function
start64:
    mov     $start_high, %rax           /* same page, other address: leave the low mapping */
    jmp     *%rax
    .size   start64, . - start64

    .balign 8
boot_gdt:
    .quad   0
    .quad   0x00af9b000000ffff          /* 0x08 code, 64-bit */
    .quad   0x00cf93000000ffff          /* 0x10 data */
boot_gdtr:
    .word   . - boot_gdt - 1
    .long   boot_gdt

/*
 * The first GiB in pages of 2 MiB, twice: one to one until start_high, and at KERNEL_BASE for good.
 * memory.c takes the first away (entry 0) and gives that half to the process.
 */
    .section .boot.data, "aw"
    .balign 4096
    .globl  boot_pml4
boot_pml4:
    .quad   boot_pdpt_low + PTE_P_W
    .fill   510, 8, 0
    .quad   boot_pdpt_high + PTE_P_W
boot_pdpt_low:
    .quad   boot_pd + PTE_P_W
    .fill   511, 8, 0
boot_pdpt_high:
    .fill   510, 8, 0
    .quad   boot_pd + PTE_P_W
    .quad   0
boot_pd:
    .set    page, 0
    .rept   512
    .quad   page + PTE_P_W_2M
    .set    page, page + 0x200000
    .endr

    .section .text
    .type   start_high, @function
start_high:
    xor     %eax, %eax
    mov     %eax, %fs
    mov     %eax, %gs
    mov     $0x10, %eax
    mov     %eax, %ds
    mov     %eax, %es
    mov     %eax, %ss
    mov     $kernel_stack_top, %rsp
    xor     %ebp, %ebp                  /* ends backtraces */
    call    kernel_main
1:  cli
    hlt
    jmp     1b
    .size   start_high, . - start_high

/* void shell_restart(void): a fresh stack, back to the prompt. */
    .globl  shell_restart
    .type   shell_restart, @function
shell_restart:
    mov     $kernel_stack_top, %rsp
    xor     %ebp, %ebp
    call    shell_run
    .size   shell_restart, . - shell_restart

    .section .bss
    .balign 4096
kernel_stack:
    .skip   16384
    .globl  kernel_stack_top
kernel_stack_top:
