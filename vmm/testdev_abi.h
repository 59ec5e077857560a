/*
 * The board's addresses that guests and the machine must agree on. Preprocessor lines only: the
 * file is included by C on both sides and by the guests' assembly, in all processor modes.
 */
#ifndef VMM_TESTDEV_ABI_H
#define VMM_TESTDEV_ABI_H

/* Debug console: a byte written appears on the host; reading gives 0xE9 when it exists (Bochs). */
#define TESTDEV_CONSOLE       0xe9
#define TESTDEV_CONSOLE_MAGIC 0xe9

/* Debug exit, as QEMU's isa-debug-exit: a write ends the process. */
#define TESTDEV_EXIT              0xf4
#define TESTDEV_EXIT_STATUS(code) ((((code) << 1) | 1) & 0xff)

/* Exit codes of the guests under guests/. */
#define TESTDEV_CODE_PASS   0x10 /* status 33 */
#define TESTDEV_CODE_ASSERT 0x11 /* status 35: a GUEST_ASSERT failed */
#define TESTDEV_CODE_TRAP   0x12 /* status 37: an exception that the guest did not expect */

/* POST code port: writes have no effect, which makes them the cheapest exit. */
#define TESTDEV_POST 0x80

/* ACPI PM1a control, as QEMU's PC board has it: writing SLP_EN with sleep type 0 powers off. */
#define TESTDEV_PM1A_CNT  0x604
#define TESTDEV_POWER_OFF 0x2000

/* Ways to reset the board. */
#define TESTDEV_KBC_CMD      0x64
#define TESTDEV_KBC_RESET    0xfe
#define TESTDEV_RESET_PORT   0xcf9
#define TESTDEV_RESET_VALUE  0x06
#define TESTDEV_PORT92       0x92
#define TESTDEV_PORT92_RESET 0x01
#define TESTDEV_PORT92_A20   0x02

/* First serial port. */
#define TESTDEV_COM1     0x3f8
#define TESTDEV_COM1_IRQ 4

/* A page below 4 GiB where no device answers: reads give all ones, writes are dropped. */
#define TESTDEV_NO_DEVICE 0xfe000000

/* An MSR that no processor has: reading it is an exit, and then zero or #GP. */
#define TESTDEV_NO_MSR 0xe9e9

#endif
