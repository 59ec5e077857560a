/*
 * System calls of tinyos: number in RAX, arguments in RDI, RSI, RDX, result in RAX (-1: refused).
 * INT 0x80 and SYSCALL mean the same; SYSCALL destroys RCX and R11.
 */
#ifndef TINYOS_SYSCALL_H
#define TINYOS_SYSCALL_H

#define SYS_EXIT     0 /* code */
#define SYS_WRITE    1 /* text, length: returns the length */
#define SYS_SLEEP    2 /* milliseconds */
#define SYS_GETTICKS 3 /* returns timer ticks since the start, 100 a second */

#endif
