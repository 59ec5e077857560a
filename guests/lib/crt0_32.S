/*
 * Start of 32-bit guests: multiboot 1, an ELF32 that the loader puts where it is linked. Entered
 * in flat protected mode without paging (Multiboot Specification 0.6.96, section 3.2).
 */
#define MULTIBOOT_MAGIC 0x1badb002
#define MULTIBOOT_FLAGS 0x00000003      /* modules page-aligned, memory map wanted */

    .section .multiboot, "a"
    .balign 4
    .long   MULTIBOOT_MAGIC
    .long   MULTIBOOT_FLAGS
    .long   -(MULTIBOOT_MAGIC + MULTIBOOT_FLAGS)

    .section .text.start, "ax"
    .code32
    .globl  _start
    .type   _start, @function
_start:
    cli
    cld
    mov     $stack_top, %esp
    xor     %ebp, %ebp                  /* ends backtraces */
    mov     %eax, guest_multiboot_magic
    mov     %ebx, guest_multiboot_info
    call    console_init
    pushl   guest_multiboot_info
    call    guest_main
    pushl   $0x10                       /* a guest that returns has passed */
    call    guest_done
    .size   _start, . - _start

    .section .bss
    .balign 16
stack:
    .skip   16384
stack_top:
