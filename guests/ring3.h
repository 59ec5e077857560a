/*
 * What the kernel and the user program of the ring3 guest agree on: system call numbers (RAX) and
 * the registers of their arguments (RDI, RSI, RDX; result in RAX), the same for INT 0x80 and
 * SYSCALL.
 */
#ifndef GUESTS_RING3_H
#define GUESTS_RING3_H

#define SYS_WRITE 1 /* text, length: prints, returns the length */
#define SYS_ADD   2 /* three numbers: returns their sum */
#define SYS_DONE  3 /* result: 1 when the program saw no error; the fault comes next */

#define USER_STACK_TOP 0x40100000ul
#define KERNEL_SECRET  0x100000ul /* a kernel address that the program must not read */

#endif
