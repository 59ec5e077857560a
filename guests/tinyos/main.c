/*
 * tinyos: a teaching kernel for 64-bit PCs, small enough to read in an evening. Start reading in
 * tinyos.h.
 *
 * build   make guests            gives o/guests/tinyos (ELF64, multiboot 2, debug info; the ring-3
 *                                program's symbols are in the same file)
 * run     ./vmscope run o/guests/tinyos          then type `help`
 *         --append 'do=user,mem,exit+16'  runs commands instead of asking (+ is a blank)
 *         --module FILE,TEXT              shows under `modules`
 * expect  COM1: a banner, "tinyos> "; `exit N` ends with status ((N << 1) | 1) & 255, `poweroff`
 *         with 0, `fault triple` with 6; idle it halts and wakes 100 times a second
 */
#include "guests/tinyos/tinyos.h"

void kernel_main(uint32_t magic, uint32_t info);

static void banner(void)
{
    printk("\n"
           "   _   _                \n"
           "  | |_(_)_ _ _  _ ___ ___\n"
           "  |  _| | ' \\ || / _ (_-<\n"
           "   \\__|_|_||_\\_, \\___/__/   a kernel to look into\n"
           "             |__/\n\n");
}

static uint64_t usable_bytes(void)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < boot_info.ranges; i++)
        if (boot_info.range[i].type == 1)
            sum += boot_info.range[i].len;
    return sum;
}

void kernel_main(uint32_t magic, uint32_t info)
{
    cpu_init();
    serial_init();
    vga_init();
    banner();
    if (!multiboot_init(magic, info)) {
        printk("not started by a multiboot 2 loader (magic %x)\n", (uint64_t)magic);
        power_exit(TESTDEV_CODE_ASSERT);
    }
    memory_init();
    timer_init();
    serial_listen();
    printk("loaded by %s, command line \"%s\"\n", boot_info.loader, boot_info.cmdline);
    printk("%d KiB of memory, %d modules, timer at %d Hz\n", usable_bytes() / 1024,
           (uint64_t)boot_info.modules, (uint64_t)TIMER_HZ);
    printk("type help for the commands\n\n");
    shell_run();
}
