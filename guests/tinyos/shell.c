/*
 * The prompt on COM1 and the keyboard, and its commands: one table, one function each.
 */
#include "guests/tinyos/tinyos.h"

#define LINE_MAX_BYTES 128
#define WORDS_MAX      8

struct command {
    const char *name, *args, *help;
    void (*run)(unsigned argc, char **argv);
};

static const struct command commands[];
static char line[LINE_MAX_BYTES], last_line[LINE_MAX_BYTES];
static char script[512];
static char *script_next; /* commands from the kernel's command line, or NULL */

void power_exit(uint8_t code)
{
    serial_flush();
    outb(TESTDEV_EXIT, code);
    printk("no debug exit port here: halted\n");
    serial_flush();
    for (;;)
        __asm__ volatile("cli; hlt");
}

static bool number_arg(unsigned argc, char **argv, unsigned i, uint64_t otherwise, uint64_t *out)
{
    *out = otherwise;
    if (i >= argc || str_number(argv[i], out))
        return true;
    printk("%s: \"%s\" is no number (decimal, or hex after 0x)\n", argv[0], argv[i]);
    return false;
}

static void cmd_help(unsigned argc, char **argv)
{
    (void)argc;
    (void)argv;
    for (const struct command *c = commands; c->name; c++)
        printk("  %-9s%-26s%s\n", c->name, c->args, c->help);
}

static void cmd_ticks(unsigned argc, char **argv)
{
    (void)argc;
    (void)argv;
    uint64_t t = timer_ticks();
    printk("%d ticks, %d seconds since the start\n", t, t / TIMER_HZ);
}

static void cmd_mem(unsigned argc, char **argv)
{
    static const char *const types[] = {"?",           "usable",   "reserved",
                                        "ACPI tables", "ACPI NVS", "bad"};
    (void)argc;
    (void)argv;
    for (unsigned i = 0; i < boot_info.ranges; i++) {
        const struct memory_range *r = &boot_info.range[i];
        printk("  %p - %p %10d KiB  %s\n", r->base, r->base + r->len, r->len / 1024,
               types[r->type < ARRAY_LEN(types) ? r->type : 0]);
    }
}

static void cmd_modules(unsigned argc, char **argv)
{
    (void)argc;
    (void)argv;
    if (!boot_info.modules)
        printk("no modules\n");
    for (unsigned i = 0; i < boot_info.modules; i++) {
        const struct module *m = &boot_info.module[i];
        printk("  %p - %p %10d bytes  \"%s\"\n", (uint64_t)m->start, (uint64_t)m->end,
               (uint64_t)(m->end - m->start), m->string);
    }
}

static void cmd_cmdline(unsigned argc, char **argv)
{
    (void)argc;
    (void)argv;
    printk("%s\n", boot_info.cmdline);
}

#define READ_REGISTER(name)                                                                        \
    ({                                                                                             \
        uint64_t v_;                                                                               \
        __asm__ volatile("mov %%" name ", %0" : "=r"(v_));                                         \
        v_;                                                                                        \
    })

static void cmd_regs(unsigned argc, char **argv)
{
    struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) gdtr, idtr;
    uint64_t rflags;
    uint16_t tr;
    (void)argc;
    (void)argv;
    __asm__ volatile("sgdt %0" : "=m"(gdtr));
    __asm__ volatile("sidt %0" : "=m"(idtr));
    __asm__ volatile("str %0" : "=r"(tr));
    __asm__ volatile("pushfq; popq %0" : "=r"(rflags));
    printk("  cr0  %p  cr2  %p  cr3  %p\n", READ_REGISTER("cr0"), READ_REGISTER("cr2"),
           READ_REGISTER("cr3"));
    printk("  cr4  %p  efer %p  rfl  %p\n", READ_REGISTER("cr4"), rdmsr(MSR_EFER), rflags);
    printk("  gdtr %p  limit %x\n", gdtr.base, (uint64_t)gdtr.limit);
    printk("  idtr %p  limit %x\n", idtr.base, (uint64_t)idtr.limit);
    printk("  cs %x  ss %x  tr %x  rsp %p\n", READ_REGISTER("cs"), READ_REGISTER("ss"),
           (uint64_t)tr, READ_REGISTER("rsp"));
}

static void cmd_cpuid(unsigned argc, char **argv)
{
    uint64_t leaf;
    uint32_t r[5] = {0}; /* the last word ends the vendor's name */
    if (!number_arg(argc, argv, 1, 0, &leaf))
        return;
    cpuid((uint32_t)leaf, &r[3], &r[0], &r[2], &r[1]); /* EBX EDX ECX: the name's order */
    printk("  leaf %x: eax %x ebx %x ecx %x edx %x\n", leaf, (uint64_t)r[3], (uint64_t)r[0],
           (uint64_t)r[2], (uint64_t)r[1]);
    if (leaf == 0) {
        r[3] = 0;
        printk("  vendor \"%s\"\n", (const char *)r);
    }
}

/* Addresses of the first GiB mean physical memory. False and a word when it is not mapped. */
static bool address_arg(unsigned argc, char **argv, uint64_t len, uint64_t *out)
{
    if (argc < 2) {
        printk("usage: %s ADDRESS ...\n", argv[0]);
        return false;
    }
    if (!number_arg(argc, argv, 1, 0, out))
        return false;
    if (*out < KERNEL_SIZE)
        *out += KERNEL_BASE;
    if (memory_is_mapped(*out, len, false))
        return true;
    printk("%s: %x is not mapped\n", argv[0], *out);
    return false;
}

static void cmd_peek(unsigned argc, char **argv)
{
    uint64_t at, words;
    if (!number_arg(argc, argv, 2, 1, &words) || words > 64 ||
        !address_arg(argc, argv, words * 8, &at))
        return;
    for (uint64_t i = 0; i < words; i++)
        printk("%s%p:%s%p%s", i % 2 ? "" : "  ", at + i * 8, " ",
               *(volatile uint64_t *)(at + i * 8), i % 2 || i + 1 == words ? "\n" : "  ");
}

static void cmd_poke(unsigned argc, char **argv)
{
    uint64_t at, value;
    if (argc != 3) {
        printk("usage: poke ADDRESS VALUE\n");
        return;
    }
    if (number_arg(argc, argv, 2, 0, &value) && address_arg(argc, argv, 8, &at)) {
        *(volatile uint64_t *)at = value;
        printk("  %p: %p\n", at, value);
    }
}

static void cmd_spin(unsigned argc, char **argv)
{
    (void)argc;
    (void)argv;
    uint64_t rounds = 0;
    printk("spinning until a key is pressed\n");
    while (console_poll() < 0)
        rounds++;
    printk("%d rounds\n", rounds);
}

static void cmd_storm(unsigned argc, char **argv)
{
    uint64_t n, made = 0;
    if (!number_arg(argc, argv, 1, 10000, &n))
        return;
    for (; made < n; made++)
        outb(TESTDEV_POST, (uint8_t)made);
    printk("storm: made %d writes to port 0x80\n", made);
}

static void cmd_user(unsigned argc, char **argv)
{
    uint64_t arg = argc > 1 && str_equal(argv[1], "fault");
    uint64_t code = process_run(arg);
    printk("process ended with %d\n", code);
}

static void fault_triple(void)
{
    const struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) nothing = {0, 0};
    serial_flush();
    __asm__ volatile("lidt %0; ud2" : : "m"(nothing));
}

static void cmd_fault(unsigned argc, char **argv)
{
    const char *kind = argc > 1 ? argv[1] : "";
    if (str_equal(kind, "pf"))
        __asm__ volatile("movq $1, (%0)" : : "r"(0x8ul) : "memory");
    else if (str_equal(kind, "ud"))
        __asm__ volatile("ud2");
    else if (str_equal(kind, "de"))
        __asm__ volatile("xorl %%edx, %%edx; xorl %%ecx, %%ecx; divl %%ecx"
                         :
                         : "a"(1)
                         : "rcx", "rdx", "cc");
    else if (str_equal(kind, "gp"))
        __asm__ volatile("mov %w0, %%ds" : : "r"(0x5550));
    else if (str_equal(kind, "triple"))
        fault_triple();
    else
        printk("usage: fault pf|ud|de|gp|triple\n");
}

static void cmd_sleep(unsigned argc, char **argv)
{
    uint64_t ms, before = timer_ticks();
    if (!number_arg(argc, argv, 1, 1000, &ms))
        return;
    timer_sleep_ms(ms);
    printk("slept %d ticks\n", timer_ticks() - before);
}

static void cmd_halt(unsigned argc, char **argv)
{
    (void)argc;
    (void)argv;
    printk("halted\n");
    serial_flush();
    for (;;)
        __asm__ volatile("cli; hlt");
}

static void cmd_reboot(unsigned argc, char **argv)
{
    (void)argc;
    (void)argv;
    printk("rebooting\n");
    serial_flush();
    outb(TESTDEV_KBC_CMD, TESTDEV_KBC_RESET);
    outb(TESTDEV_RESET_PORT, TESTDEV_RESET_VALUE);
    fault_triple();
}

static void cmd_exit(unsigned argc, char **argv)
{
    uint64_t code;
    if (number_arg(argc, argv, 1, 0, &code))
        power_exit((uint8_t)code);
}

static void cmd_poweroff(unsigned argc, char **argv)
{
    (void)argc;
    (void)argv;
    printk("good bye\n");
    serial_flush();
    outw(TESTDEV_PM1A_CNT, TESTDEV_POWER_OFF);
    timer_sleep_ms(100); /* the switch may take its time */
    printk("no power switch here\n");
}

static const struct command commands[] = {
    {"help", "", "this list", cmd_help},
    {"ticks", "", "timer ticks since the start", cmd_ticks},
    {"mem", "", "memory map from the loader", cmd_mem},
    {"modules", "", "modules from the loader", cmd_modules},
    {"cmdline", "", "the kernel's command line", cmd_cmdline},
    {"regs", "", "control and table registers", cmd_regs},
    {"cpuid", "[LEAF]", "what the processor says it is", cmd_cpuid},
    {"peek", "ADDRESS [WORDS]", "read memory, 8 bytes a word", cmd_peek},
    {"poke", "ADDRESS VALUE", "write 8 bytes of memory", cmd_poke},
    {"spin", "", "loop without an exit until a key", cmd_spin},
    {"storm", "[N]", "N writes to port 0x80", cmd_storm},
    {"user", "[fault]", "run the process in ring 3", cmd_user},
    {"fault", "pf|ud|de|gp|triple", "make an exception in ring 0", cmd_fault},
    {"sleep", "[MS]", "halt until the time is over", cmd_sleep},
    {"halt", "", "stop for ever", cmd_halt},
    {"reboot", "", "reset the machine", cmd_reboot},
    {"exit", "[N]", "leave by the debug exit port", cmd_exit},
    {"poweroff", "", "switch the machine off", cmd_poweroff},
    {NULL, NULL, NULL, NULL},
};

static unsigned split(char *s, char **words)
{
    unsigned n = 0;
    while (n < WORDS_MAX) {
        while (*s == ' ')
            s++;
        if (!*s)
            break;
        words[n++] = s;
        while (*s && *s != ' ')
            s++;
        if (!*s)
            break;
        *s++ = 0;
    }
    return n;
}

static void execute(char *text)
{
    char *words[WORDS_MAX];
    unsigned n = split(text, words);
    if (!n)
        return;
    for (const struct command *c = commands; c->name; c++) {
        if (str_equal(words[0], c->name)) {
            c->run(n, words);
            return;
        }
    }
    printk("\"%s\" is no command; help lists them\n", words[0]);
}

static void copy_line(char *to, const char *from)
{
    for (unsigned i = 0; i < LINE_MAX_BYTES; i++)
        to[i] = from[i];
}

/* After ESC: `[A`, the arrow up, brings the last line back; other sequences are dropped. */
static unsigned escape(unsigned len)
{
    if (console_getc() != '[' || console_getc() != 'A')
        return len;
    while (len--)
        console_write("\b \b", 3);
    copy_line(line, last_line);
    for (len = 0; line[len];)
        len++;
    console_write(line, len);
    return len;
}

/* Reads a line with echo; backspace, ^U and ^C take back. */
static void read_line(void)
{
    unsigned len = 0;
    for (;;) {
        char c = console_getc();
        if (c == '\r' || c == '\n')
            break;
        if (c == 0x1b) {
            len = escape(len);
        } else if (c == '\b' || c == 0x7f) {
            if (len) {
                len--;
                console_write("\b \b", 3);
            }
        } else if (c == 0x15 || c == 0x03) {
            for (; len; len--)
                console_write("\b \b", 3);
        } else if (c >= ' ' && len + 1 < LINE_MAX_BYTES) {
            line[len++] = c;
            console_write(&c, 1);
        }
    }
    line[len] = 0;
    console_write("\n", 1);
    if (len)
        copy_line(last_line, line);
}

/* The next command of do=…,…, with blanks for its plus signs; false at the end. */
static bool next_scripted(void)
{
    unsigned len = 0;
    if (!script_next)
        return false;
    while (*script_next && *script_next != ',') {
        if (len + 1 < LINE_MAX_BYTES)
            line[len++] = *script_next == '+' ? ' ' : *script_next;
        script_next++;
    }
    line[len] = 0;
    script_next = *script_next ? script_next + 1 : NULL;
    printk("%s\n", line);
    return true;
}

void shell_run(void)
{
    static bool is_started;
    if (!is_started && boot_option("do", script, sizeof script))
        script_next = script;
    is_started = true;
    __asm__ volatile("sti");
    for (;;) {
        printk("tinyos> ");
        if (!next_scripted())
            read_line();
        execute(line);
    }
}
