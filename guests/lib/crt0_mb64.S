/*
 * Start of 64-bit guests under multiboot 1. The file is an ELF64 so that debuggers see 64-bit
 * code; the header therefore carries load addresses (flag 16), which every multiboot loader takes
 * whatever the container. Entered in 32-bit protected mode; goes to long mode with 2 MiB pages:
 * the first GiB and the last GiB below 4 GiB (local APIC, I/O APIC), both one to one.
 */
#define MULTIBOOT_MAGIC 0x1badb002
#define MULTIBOOT_FLAGS 0x00010003      /* page-aligned modules, memory map, addresses below */

#define CR0_PG      (1 << 31)
#define CR0_WP      (1 << 16)
#define CR4_PAE     (1 << 5)
#define MSR_EFER    0xc0000080
#define EFER_LME    (1 << 8)
#define PTE_P_W     0x03
#define PTE_P_W_PS  0x83

    .section .multiboot, "a"
    .balign 4
multiboot_header:
    .long   MULTIBOOT_MAGIC
    .long   MULTIBOOT_FLAGS
    .long   -(MULTIBOOT_MAGIC + MULTIBOOT_FLAGS)
    .long   multiboot_header
    .long   load_start
    .long   load_end
    .long   bss_end
    .long   _start

    .section .text.start, "ax"
    .code32
    .globl  _start
    .type   _start, @function
_start:
    cli
    cld
    mov     $stack_top, %esp
    mov     %eax, guest_multiboot_magic
    mov     %ebx, guest_multiboot_info

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
    mov     %eax, %cr0                  /* now in compatibility mode */
    lgdt    boot_gdtr
    ljmp    $0x08, $start64
    .size   _start, . - _start

    .code64
    .type   start64, @function
start64:
    mov     $0x10, %eax
    mov     %eax, %ds
    mov     %eax, %es
    mov     %eax, %ss
    xor     %eax, %eax
    mov     %eax, %fs
    mov     %eax, %gs
    mov     $stack_top, %rsp
    xor     %ebp, %ebp                  /* ends backtraces */
    call    console_init
    mov     guest_multiboot_info, %rdi
    call    guest_main
    mov     $0x10, %edi                 /* a guest that returns has passed */
    call    guest_done
    .size   start64, . - start64

    .section .rodata
    .balign 8
    .globl  boot_gdt, boot_gdtr
boot_gdt:
    .quad   0
    .quad   0x00af9b000000ffff          /* 0x08 code, 64-bit, ring 0 */
    .quad   0x00cf93000000ffff          /* 0x10 data */
boot_gdt_end:
boot_gdtr:
    .word   boot_gdt_end - boot_gdt - 1
    .quad   boot_gdt

/* Written out by the assembler: a page walk shows them before the first instruction has run. */
    .section .data
    .balign 4096
    .globl  boot_pml4
boot_pml4:
    .quad   boot_pdpt + PTE_P_W
    .fill   511, 8, 0
boot_pdpt:
    .quad   boot_pd_low + PTE_P_W
    .quad   0, 0
    .quad   boot_pd_high + PTE_P_W
    .fill   508, 8, 0
boot_pd_low:
    .set    page, 0
    .rept   512
    .quad   page + PTE_P_W_PS
    .set    page, page + 0x200000
    .endr
boot_pd_high:
    .rept   512
    .quad   page + 0x80000000 + PTE_P_W_PS
    .set    page, page + 0x200000
    .endr

    .section .bss
    .balign 16
stack:
    .skip   16384
stack_top:
