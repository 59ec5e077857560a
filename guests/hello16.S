/*
 * hello16: a boot sector in real mode says hello on COM1 and on the debug console, and leaves.
 *
 * build   make guests            gives o/guests/hello16.bin (512 bytes) and hello16.elf (symbols)
 * run     ./vmscope run --symbols o/guests/hello16.elf o/guests/hello16.bin
 * expect  status 33; COM1: "hello16: by COM1 in real mode"; port 0xE9: "hello16: by port 0xE9"
 *         exactly 31 writes to 0x3F8, 23 to 0xE9, 1 to 0xF4, no other exits to user space
 */
#include "vmm/testdev_abi.h"

    .code16
    .section .text
    .globl  _start
    .type   _start, @function
_start:
    ljmp    $0, $1f                     /* some loaders come as 07c0:0000 */
1:  cli
    cld
    xor     %ax, %ax
    mov     %ax, %ds
    mov     %ax, %ss
    mov     $0x7c00, %sp

    mov     $com1_text, %si
    mov     $TESTDEV_COM1, %dx
    call    print
    mov     $debug_text, %si
    mov     $TESTDEV_CONSOLE, %dx
    call    print

    mov     $TESTDEV_CODE_PASS, %al
    out     %al, $TESTDEV_EXIT
halt:
    hlt
    jmp     halt
    .size   _start, . - _start

/* Prints the string at DS:SI, ended by zero, to port DX. */
    .type   print, @function
print:
    lodsb
    test    %al, %al
    jz      1f
    out     %al, %dx
    jmp     print
1:  ret
    .size   print, . - print

com1_text:
    .asciz  "hello16: by COM1 in real mode\r\n"
debug_text:
    .asciz  "hello16: by port 0xE9\r\n"

    .org    510
    .word   0xaa55
