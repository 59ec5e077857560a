/*
 * The command table. Help, completion, apropos and the man page are printed from these rows.
 * Rows of one group stand together; the first line of a help text is its summary. Every text has
 * an example, which a test looks for.
 */
#include "debug/cmd.h"

#include <stddef.h>

#include "debug/commands/commands.h"

#define RUN "Running"
#define PTS "Breakpoints"
#define DAT "Data"
#define COD "Code and symbols"
#define STA "Status"
#define TAB "Processor tables"
#define GDB "Other debuggers"
#define CTL "Other programs"
#define IO_ "Guest input"
#define SUP "Support"
#define EXI "Exits"

#define STOPPED CMD_STOPPED
#define CONTROL (CMD_STOPPED | CMD_REPEAT | CMD_CONTROL)

#define LOCATION_HELP                                                                              \
    "A LOCATION is a symbol, an expression (`main+4`, `0x7c00`, `*$rax`), SEG:OFF, FILE.c:LINE "   \
    "when\nthe guest has debug information, or phys:ADDRESS."

/* clang-format off */
const struct cmd cmd_table[] = {
/* ---- running ---- */
{RUN, "continue", "c cont fg", "[N]",
 "Continue the guest.\n"
 "With N, the breakpoint it stands at is passed N-1 times without stopping.\n"
 "Example: continue 3",
 CONTROL, cmd_continue_run, NULL},
{RUN, "stepi", "si s step", "[N]",
 "Step one instruction, or N.\n"
 "Interrupts wait while stepping unless `set step-irq on`. An empty line steps again.\n"
 "Example: stepi 10",
 CONTROL, cmd_stepi_run, NULL},
{RUN, "stepto", NULL, "branch|call|ret|mode|cr3",
 "Step until the next instruction is a branch, call or return, or the mode or CR3 changed.\n"
 "Each instruction is stepped, so interrupts stay off as `set step-irq` says.\n"
 "Example: stepto call",
 CONTROL, cmd_stepto_run, NULL},
{RUN, "nexti", "ni n next", "[N]",
 "Step one instruction, or N, over calls.\n"
 "A call, a software interrupt and a rep string instruction count as one.\n"
 "Example: nexti",
 CONTROL, cmd_nexti_run, NULL},
{RUN, "finish", "fin", "",
 "Run until the present function returned to its caller.\n"
 "Out of an interrupt handler, whatever its language: to the instruction that was interrupted, which\n"
 "the processor's frame on the stack names (`until` when the handler returns elsewhere).\n"
 "Example: finish",
 CONTROL, cmd_finish_run, NULL},
{RUN, "until", "u advance", "LOCATION",
 "Run until a location is about to execute.\n" LOCATION_HELP "\n"
 "Example: until main",
 CMD_STOPPED | CMD_CONTROL, cmd_until_run, cmd_complete_expr},
{RUN, "stop", "interrupt halt", "",
 "Stop the running guest.\n"
 "It stands within milliseconds; the prompt's Ctrl-C does the same.\n"
 "Example: stop",
 0, cmd_stop_run, NULL},
{RUN, "reset", NULL, "",
 "Reset the board and load the image again; the guest stands at its entry.\n"
 "Breakpoints stay.\n"
 "Example: reset",
 STOPPED, cmd_reset_run, NULL},
{RUN, "run", "r", "",
 "Run the guest from the beginning: `reset` and `continue`.\n"
 "Example: run",
 CMD_STOPPED | CMD_CONTROL, cmd_run_run, NULL},
{RUN, "quit", "q kill exit", "[STATUS]",
 "End the guest and leave vmscope.\n"
 "STATUS (0 to 255) becomes the exit status.\n"
 "Example: quit 3",
 CMD_NO_SESSION, cmd_quit_run, NULL},

/* ---- breakpoints ---- */
{PTS, "break", "b br hbreak", "[LOCATION] [thread N] [if EXPR] [do ACTION]",
 "Set a breakpoint.\n" LOCATION_HELP "\n"
 "Without LOCATION: at the next instruction. How it is made on this host (int3, debug register,\n"
 "stepping) is chosen by what works here; `info breakpoints` says. `hbreak` is the same command.\n"
 "It waits (pending) where no page is mapped yet: `info breakpoints` says how. After `set breakpoint\n"
 "pending on` also for a symbol that `symbol-file` brings later. `help catch` explains ACTION, `help\n"
 "commands` what can run at its stop. vCPUs are counted from 0; `vcpu N` is the same as `thread N`.\n"
 "Example: break timer_isr if *(u32*)ticks > 100 && $rdi == 0x20",
 0, cmd_break_run, cmd_complete_expr},
{PTS, "tbreak", "tb thbreak", "[LOCATION] [thread N] [if EXPR]",
 "Set a breakpoint that is deleted when it stopped the guest.\n"
 "Example: tbreak *0x7c00",
 0, cmd_tbreak_run, cmd_complete_expr},
{PTS, "dprintf", NULL, "LOCATION,\"FORMAT\"[,EXPR…]",
 "Print a line whenever a location is reached; the guest goes on.\n"
 "The same as `break LOCATION do log \"FORMAT\", EXPR…`. Conversions are those of C's printf: d i u x\n"
 "X o c s p; %s is the text at that address in the guest.\n"
 "Example: dprintf guest_main,\"in main, sp is %x\\n\",$rsp",
 0, cmd_dprintf_run, cmd_complete_expr},
{PTS, "catch", NULL, "KIND [WHAT] [thread N] [if EXPR] [do ACTION]",
 "Stop at something that the guest does, other than reaching an address.\n"
 "io [in|out] [PORT[-PORT]]    mmio [read|write] [ADDR[-ADDR]]    msr [read|write] [INDEX[-INDEX]]\n"
 "irq [VECTOR]    an interrupt is given to a vCPU\n"
 "exception [VECTOR|NAME]    the guest enters its handler: 14 or pf, 13 or gp, …; int3\n"
 "post [CODE]    a POST code    console TEXT    output holds TEXT\n"
 "mode [to MODE] [ring N], cr3 [VALUE[-VALUE]]    they changed; cpuid [LEAF]    (by single steps: slow)\n"
 "triple [VECTOR|NAME], reset, debug-exit [CODE]    and every kind that `info exits` shows: hlt, …\n"
 "EXPR may use the exit's fields, such as port, value, write, gpa, mode and cpl. Console text is found\n"
 "across writes and escape sequences. Several at one exit are all counted, and told by one stop.\n"
 "ACTION is stop, or one that lets the guest go on: log (a line that says what happened), log\n"
 "\"FORMAT\", EXPR… (`help dprintf`), count (only `info breakpoints` tells), or script FUNCTION: a\n"
 "function of a Lua script, or `function(e) … end`, that stops by returning \"stop\".\n"
 "Example: catch io out 0x3f8 if value == 'A' do log \"A at %x\", rip",
 0, cmd_catch_run, NULL},
{PTS, "tcatch", NULL, "KIND [WHAT] [thread N] [if EXPR] [do ACTION]",
 "Make a catchpoint that is deleted when it stopped the guest; otherwise as `catch`.\n"
 "Example: tcatch console \"login:\"",
 0, cmd_tcatch_run, NULL},
{PTS, "watch", NULL, "[-l|-location] [-w] EXPR[,LENGTH] [thread N] [if EXPR] [do ACTION]",
 "Stop when memory changes.\n"
 "EXPR is a symbol, *(u32*)ADDRESS, *ADDRESS (4 bytes), phys:ADDRESS, or any address with a LENGTH.\n"
 "Any number and length, byte by byte. The stop names the instruction, the old and the new value.\n"
 "One instruction stops it once, a repeated string instruction at its end.\n"
 "-w: at each write, also one that stores the same value. How it is made here (debug register,\n"
 "trapped page, single steps) is shown by `info watchpoints`. `help catch` explains ACTION.\n"
 "Example: watch *(u32*)0x100000 if $rax > 5",
 0, cmd_watch_run, cmd_complete_expr},
{PTS, "rwatch", NULL, "[-l|-location] EXPR[,LENGTH] [thread N] [if EXPR] [do ACTION]",
 "Stop when memory is read; otherwise as `watch`.\n"
 "Example: rwatch *(u16*)0x7dfe",
 0, cmd_rwatch_run, cmd_complete_expr},
{PTS, "awatch", NULL, "[-l|-location] EXPR[,LENGTH] [thread N] [if EXPR] [do ACTION]",
 "Stop when memory is read or written; otherwise as `watch`.\n"
 "Example: awatch 0x7c00,512",
 0, cmd_awatch_run, cmd_complete_expr},
{PTS, "delete", "d", "[N…]",
 "Delete breakpoints, by number or range; without a number all.\n"
 "Example: delete 1 3-5",
 0, cmd_delete_run, NULL},
{PTS, "disable", NULL, "[N…]",
 "Disable breakpoints, by number or range; without a number all.\n"
 "Example: disable 2",
 0, cmd_disable_run, NULL},
{PTS, "enable", NULL, "[once|delete|count COUNT] [N…]",
 "Enable breakpoints, by number or range; without a number all.\n"
 "once: disabled again after the next stop; count: after COUNT stops; delete: deleted at the next.\n"
 "Example: enable count 3 1-2",
 0, cmd_enable_run, NULL},
{PTS, "condition", NULL, "N [EXPR]",
 "Stop at breakpoint N only if EXPR is true; without EXPR always.\n"
 "Example: condition 1 $rcx == 0",
 0, cmd_condition_run, cmd_complete_expr},
{PTS, "commands", NULL, "[N…]",
 "Run command lines whenever a breakpoint, watchpoint or catchpoint stopped the guest.\n"
 "The lines follow, up to one that is `end`; none at all takes them away. Without N: for the point\n"
 "made last. `silent` as the first line has the stop not told. What follows a line that sets the\n"
 "guest running, such as `continue`, is not run. `info breakpoints` shows them.\n"
 "Example: commands 1",
 0, cmd_commands_run, NULL},
{PTS, "end", NULL, "",
 "End the lines of `commands`.\n"
 "Example: end",
 CMD_NO_SESSION, cmd_end_run, NULL},
{PTS, "silent", NULL, "",
 "As the first line of `commands`: the stop is not told.\n"
 "Example: silent",
 CMD_NO_SESSION, cmd_silent_run, NULL},
{PTS, "ignore", NULL, "N COUNT",
 "Pass breakpoint N COUNT times without stopping.\n"
 "Example: ignore 1 99",
 0, cmd_ignore_run, NULL},

/* ---- data ---- */
{DAT, "print", "p inspect call", "[/FMT] EXPR",
 "Show the value of an expression, or assign.\n"
 "FMT is x d u o t a c f z s. A symbol is its address; memory needs its type: *(u32*)sym, u8 to\n"
 "u64 and s8 to s64. Values are kept as $1, $2, …; `$` is the last one. $pc and $sp are linear.\n"
 "Example: print/x *(u16*)($sp + 2)",
 STOPPED, cmd_print_run, cmd_complete_expr},
{DAT, "output", NULL, "[/FMT] EXPR",
 "Show a value alone, without keeping it.\n"
 "Example: output/x $cr3",
 STOPPED, cmd_output_run, cmd_complete_expr},
{DAT, "x", NULL, "[/NFU] [LOCATION]",
 "Examine memory.\n"
 "N is a count; F is x d u o t a c f s i z; U is b h w g for 1, 2, 4, 8 bytes. Without LOCATION it\n"
 "goes on behind what it showed last; so does an empty line. `/r` adds an instruction's bytes.\n"
 "Example: x/5i $pc",
 CMD_STOPPED | CMD_REPEAT | CMD_GO_ON, cmd_x_run, cmd_complete_expr},
{DAT, "xp", NULL, "[/NFU] [ADDRESS]",
 "Examine physical memory; like `x` without paging.\n"
 "Example: xp/8xg $cr3",
 CMD_STOPPED | CMD_REPEAT | CMD_GO_ON, cmd_xp_run, cmd_complete_expr},
{DAT, "display", NULL, "[/FMT] [EXPR]",
 "Show a value at each stop.\n"
 "With the format i or s, or a count, it shows memory as `x` does.\n"
 "Example: display/i $pc",
 STOPPED, cmd_display_run, cmd_complete_expr},
{DAT, "undisplay", NULL, "[N…]",
 "Cancel displays; without a number all.\n"
 "Example: undisplay 1",
 CMD_NO_SESSION, cmd_undisplay_run, NULL},
{DAT, "set", NULL, "OPTION VALUE | LEFT = EXPR",
 "Set an option, a register, a variable or memory.\n"
 "`show` lists the options. LEFT is $REGISTER, $VARIABLE, a symbol, or memory with its type.\n"
 "Example: set *(u32*)0x1000 = 7",
 0, cmd_set_run, cmd_complete_option},
{DAT, "set var", "variable", "LEFT = EXPR",
 "Assign, also when LEFT looks like an option.\n"
 "Example: set var $rax = 5",
 STOPPED, cmd_set_var_run, cmd_complete_expr},
{DAT, "show", NULL, "[OPTION]",
 "Show options and their values.\n"
 "Example: show step-irq",
 0, cmd_show_run, cmd_complete_option},
{DAT, "dump", NULL, "binary memory FILE START END",
 "Write memory to a file.\n"
 "END is the first address not written, or +LENGTH; START may be phys:ADDRESS.\n"
 "Example: dump binary memory vga.bin phys:0xb8000 +4000",
 STOPPED, cmd_dump_run, cmd_complete_file},
{DAT, "restore", NULL, "FILE binary ADDRESS",
 "Write a file into memory.\n"
 "Example: restore patch.bin binary 0x100000",
 STOPPED, cmd_restore_run, cmd_complete_file},
{DAT, "find", NULL, "[/UN] START, +LENGTH, VALUE…",
 "Search memory for bytes.\n"
 "U is b h w g, N the most to find; VALUE may be a \"text\". Instead of +LENGTH the last address\n"
 "may stand. $_ is the last match, $numfound their number.\n"
 "Example: find 0x7c00, +0x200, \"hello\"",
 STOPPED, cmd_find_run, cmd_complete_expr},

/* ---- code and symbols ---- */
{COD, "disassemble", "disas", "[LOCATION[,+LENGTH | ,END]] [/r]",
 "Disassemble a function or a range.\n"
 "Without LOCATION around the next instruction; /r shows the bytes. `set disassembly-flavor` takes\n"
 "intel or att.\n"
 "Example: disassemble main /r",
 STOPPED, cmd_disassemble_run, cmd_complete_expr},
{COD, "backtrace", "bt where", "[N]",
 "Show the callers of the present function, at most N.\n"
 "Of an interrupt handler: what it interrupted.\n"
 "Example: backtrace 5",
 STOPPED, cmd_backtrace_run, NULL},
{COD, "symbol-file", NULL, "[FILE [SLIDE]]",
 "Use the symbols of another file instead; without FILE none.\n"
 "SLIDE is added to every address.\n"
 "Example: symbol-file kernel.elf",
 0, cmd_symbol_file_run, cmd_complete_file},
{COD, "add-symbol-file", NULL, "FILE [SLIDE]",
 "Add the symbols of a file, moved by SLIDE.\n"
 "Example: add-symbol-file module.elf 0xffffffffc0000000",
 0, cmd_add_symbol_file_run, cmd_complete_file},

/* ---- status ---- */
{STA, "info", "i", "SUBCOMMAND",
 "Show things about the guest.\n"
 "Example: info registers",
 CMD_NO_SESSION, cmd_info_run, NULL},
{STA, "info registers", "r", "[NAME|GROUP…|all]",
 "Show registers.\n"
 "Groups are general segment control table debug x87 sse avx msr.\n"
 "Example: info registers rip control",
 STOPPED, cmd_info_registers_run, NULL},
{STA, "info all-registers", NULL, "",
 "Show every register.\n"
 "Example: info all-registers",
 STOPPED, cmd_info_all_registers_run, NULL},
{STA, "info breakpoints", "b points", "[N…]",
 "List breakpoints, watchpoints and catchpoints: their hits, what they do, how they are made here.\n"
 "Example: info breakpoints",
 0, cmd_info_breakpoints_run, NULL},
{STA, "info watchpoints", NULL, "[N…]",
 "List watchpoints, with their hits and how they are made here.\n"
 "Below each: by which method each of its pages is covered, and when changed mappings are noticed.\n"
 "Example: info watchpoints",
 0, cmd_info_watchpoints_run, NULL},
{STA, "info catchpoints", "catch", "[N…]",
 "List catchpoints and what `trace KIND` made, with their hits and what they do.\n"
 "Example: info catchpoints",
 0, cmd_info_catchpoints_run, NULL},
{STA, "info display", NULL, "",
 "List what is shown at each stop.\n"
 "Example: info display",
 CMD_NO_SESSION, cmd_info_display_run, NULL},
{STA, "info cpus", "threads vcpus", "",
 "List the vCPUs, their modes and where they are.\n"
 "Example: info cpus",
 0, cmd_info_cpus_run, NULL},
{STA, "info stop", "program", "",
 "Tell the last stop again, in full.\n"
 "Example: info stop",
 0, cmd_info_stop_run, NULL},
{STA, "info assists", NULL, "",
 "Count the instructions that vmscope carried out because this host's KVM cannot.\n"
 "Those that stand close together are carried out at once, and one exit tells of them.\n"
 "`info exits last 20 assist` shows the newest of them, `vmscope doctor` what is lacking.\n"
 "Example: info assists",
 0, cmd_info_assists_run, NULL},
{STA, "info line", NULL, "[LOCATION]",
 "Show the source line of an address.\n"
 "Example: info line *$pc",
 0, cmd_info_line_run, cmd_complete_expr},
{STA, "info symbol", NULL, "ADDRESS",
 "Show the symbol that holds an address.\n"
 "Example: info symbol 0x100000",
 0, cmd_info_symbol_run, cmd_complete_expr},
{STA, "info address", NULL, "SYMBOL",
 "Show the address of a symbol.\n"
 "Example: info address main",
 0, cmd_info_address_run, cmd_complete_expr},
{STA, "info functions", NULL, "[TEXT]",
 "List functions, or those with TEXT in their names.\n"
 "Example: info functions isr",
 0, cmd_info_functions_run, NULL},
{STA, "info devices", "device", "[NAME]",
 "List the devices of the board, or show the state of one.\n"
 "Example: info device pit",
 0, cmd_info_devices_run, NULL},
{STA, "info mem", NULL, "",
 "Show the physical memory map: RAM, what the loader placed, devices.\n"
 "Example: info mem",
 0, cmd_info_mem_run, NULL},
{STA, "info guest", "files", "",
 "Show what was loaded and how.\n"
 "Example: info guest",
 0, cmd_info_guest_run, NULL},
{STA, "info kvm", NULL, "",
 "Show what this host's KVM can do and the method chosen for each feature.\n"
 "Example: info kvm",
 CMD_NO_SESSION, cmd_info_kvm_run, NULL},
{STA, "info scripts", NULL, "",
 "List the hooks and devices of scripts, and scripts that wait.\n"
 "Example: info scripts",
 0, cmd_info_scripts_run, NULL},
{STA, "info log", NULL, "[COUNT]",
 "Show the newest lines of vmscope's log.\n"
 "Example: info log 50",
 CMD_NO_SESSION, cmd_info_log_run, NULL},
{STA, "vcpu", "thread t", "[N]",
 "Choose the vCPU that commands mean, or say which it is.\n"
 "Example: vcpu 1",
 0, cmd_vcpu_run, NULL},

/* ---- exits ---- */
{EXI, "info exits", NULL, "[by KEY] [top N] [sort ORDER] [if EXPR] | last [N] [KIND] | hist [KIND] | clear",
 "Count the guest's exits and what they cost.\n"
 "KEY is kind, port, gpa, msr, vector, rip, symbol, vcpu, device, what (the operation) or site (what\n"
 "and where); ORDER is count, time, mean, p99 or max. `exits` and `time` are shares of all exits and\n"
 "of the vCPUs' time: handlers, and a crossing into the guest and back each. Times are those of\n"
 "handlers, in microseconds. EXPR is over the exit's words (`help catch`). `last` shows the newest\n"
 "records, `hist` histograms of times, `clear` begins anew.\n"
 "Example: info exits by site top 10 if kind==io && port==0x3f8",
 0, cmd_info_exits_run, cmd_complete_exits},
{EXI, "trace", NULL, "[on FILE | off | filter EXPR | filter KIND… | filter off | kernel on|off|all|NAME… | stacks on [DEPTH]|off | KIND…]",
 "Stream the record of every exit to a file, and say what is counted.\n"
 "The file is compressed and can be read while it grows or after a crash: `vmscope report FILE`.\n"
 "A filter is an expression over the exit's words, as in `catch`; it decides what is counted by\n"
 "`info exits` and written to the file from then on. `kernel` adds what KVM deals with itself, from\n"
 "its trace points: exit, cpuid, msr, page_fault, inj_virq, inj_exception, apic, cr and hypercall, and\n"
 "with `all` or by name also entry, pio, mmio and emulate_insn; it needs root or CAP_PERFMON.\n"
 "`stacks` records the callers of the guest's code with each exit (16 unless given), by frame\n"
 "information or frame pointers, for flame graphs (`report --export folded`).\n"
 "`trace KIND [WHAT] [if EXPR] [do ACTION]` logs what `catch` would stop at; both have the same words,\n"
 "and `trace filter KIND [WHAT] [if EXPR]` has them too. Without arguments: how things stand.\n"
 "Example: trace filter kind==io && value<0x20 && symbol(rip)==\"uart_putc\"",
 0, cmd_trace_run, cmd_complete_trace},

{EXI, "explain", NULL, "[N | VCPU:N | device:N | kernel:N]",
 "Explain one exit: what happened, why it leaves the guest, what was answered.\n"
 "N is the record's number in `info exits last`; without it the newest one of the vCPU.\n"
 "Records of devices and of the kernel's trace points have numbers of their own.\n"
 "Ports, device registers and MSRs are named, the bits of their values decoded.\n"
 "Example: explain 98",
 0, cmd_explain_run, NULL},

{EXI, "info counters", NULL, "[all]",
 "Show KVM's own counters and their rates: exits the kernel dealt with, faults, emulation.\n"
 "They need no privileges; which there are depends on the kernel. `all` shows those at zero too.\n"
 "Example: info counters all",
 0, cmd_info_counters_run, NULL},
{EXI, "storm", NULL, "[rate N] [share PERCENT]",
 "Name the operations that flood the guest with exits, now and before.\n"
 "A storm is one operation (5000 exits a second and half of all, unless set otherwise); each is told\n"
 "with its place, rate, share of time, and what is known to cause and end it.\n"
 "Example: storm rate 20000 share 80",
 0, cmd_storm_run, NULL},

/* ---- processor tables ---- */
{TAB, "info walk", NULL, "ADDRESS",
 "Walk the page tables for an address and explain every entry.\n"
 "Example: info walk $rip",
 STOPPED, cmd_info_walk_run, cmd_complete_expr},
{TAB, "info tab", NULL, "",
 "List the linear address space: merged ranges with their physical places and rights.\n"
 "Example: info tab",
 STOPPED, cmd_info_tab_run, NULL},
{TAB, "info gdt", NULL, "[N]",
 "Decode the global descriptor table, or entry N.\n"
 "Example: info gdt 2",
 STOPPED, cmd_info_gdt_run, NULL},
{TAB, "info idt", NULL, "[VECTOR]",
 "Decode the interrupt descriptor table (in real mode the vector table), or one vector.\n"
 "Example: info idt 14",
 STOPPED, cmd_info_idt_run, NULL},
{TAB, "info tss", NULL, "",
 "Decode the task state segment.\n"
 "Example: info tss",
 STOPPED, cmd_info_tss_run, NULL},

{TAB, "kaslr", NULL, "",
 "Tell by how much a 64-bit Linux guest was moved (KASLR).\n"
 "Compares the processor's entry points with the symbols of vmlinux when they are loaded, else\n"
 "looks where the image is mapped. Prints the command that tells gdb.\n"
 "Example: kaslr",
 STOPPED, cmd_kaslr_run, NULL},

/* ---- gdb ---- */
{GDB, "gdb", NULL, "",
 "Tell where vmscope listens for gdb, and who is attached; the same as `gdb status`.\n"
 "Example: gdb",
 0, cmd_gdb_status_run, NULL},
{GDB, "gdb listen", NULL, "[HOST:]PORT|unix:PATH",
 "Let a gdb or lldb attach to the guest while everything here goes on.\n"
 "It listens on 127.0.0.1 unless HOST is given; port 0 takes a free one. In gdb: target remote :PORT\n"
 "Example: gdb listen 1234",
 0, cmd_gdb_listen_run, NULL},
{GDB, "gdb close", NULL, "",
 "End the connection of a debugger, and listen no more.\n"
 "Its breakpoints go; the guest stays as it is.\n"
 "Example: gdb close",
 0, cmd_gdb_close_run, NULL},
{GDB, "gdb status", NULL, "",
 "Tell where vmscope listens for gdb, and who is attached.\n"
 "Example: gdb status",
 0, cmd_gdb_status_run, NULL},

/* ---- control ---- */
{CTL, "control", NULL, "",
 "Tell where vmscope listens for control, and who is connected; the same as `control status`.\n"
 "Example: control",
 0, cmd_control_status_run, NULL},
{CTL, "control listen", NULL, "unix:PATH",
 "Let other programs drive this session by JSON-RPC, as docs/control.md says.\n"
 "The socket has mode 0600. Everything here goes on.\n"
 "Example: control listen unix:/tmp/vmscope.sock",
 0, cmd_control_listen_run, NULL},
{CTL, "control close", NULL, "",
 "End the connections of those programs, and listen no more.\n"
 "Example: control close",
 0, cmd_control_close_run, NULL},
{CTL, "control status", NULL, "",
 "Tell where vmscope listens for control, and who is connected.\n"
 "Example: control status",
 0, cmd_control_status_run, NULL},

/* ---- input ---- */
{IO_, "send", NULL, "[com1|com2] TEXT",
 "Send text to the guest's serial line.\n"
 "TEXT is sent as it is, with \\r \\n \\t \\e \\xNN; Enter on a serial line is \\r.\n"
 "Example: send root\\r",
 0, cmd_send_run, NULL},
{IO_, "type", NULL, "TEXT",
 "Type text on the guest's keyboard.\n"
 "\\n is the Enter key, \\b Backspace, \\t Tab, \\e Escape.\n"
 "Example: type ls -l\\n",
 0, cmd_type_run, NULL},

/* ---- support ---- */
{SUP, "help", "h", "[COMMAND|GROUP]",
 "Show the commands, or what one of them does.\n"
 "Example: help break",
 CMD_NO_SESSION, cmd_help_run, cmd_complete_command},
{SUP, "help lua", NULL, "[NAME]",
 "Show the scripting interface, or one name of it.\n"
 "Example: help lua vm.on",
 CMD_NO_SESSION, cmd_help_lua_run, NULL},
{SUP, "apropos", NULL, "WORD",
 "List commands whose help speaks of a word.\n"
 "Example: apropos memory",
 CMD_NO_SESSION, cmd_apropos_run, NULL},
{SUP, "echo", NULL, "TEXT",
 "Print text, with \\n \\t and the like.\n"
 "Example: echo at the prompt now",
 CMD_NO_SESSION, cmd_echo_run, NULL},
{SUP, "source", NULL, "FILE",
 "Run the commands of a file, or a Lua script (FILE.lua).\n"
 "A command that lets the guest run is waited for; the first that fails ends the file. Empty lines\n"
 "and lines that begin with # do nothing.\n"
 "Example: source setup.cmds",
 CMD_NO_SESSION, cmd_source_run, cmd_complete_file},
{SUP, "lua", NULL, "CODE",
 "Run Lua code; the value of an expression is shown.\n"
 "`help lua` lists what it can call; `source FILE.lua` runs a file.\n"
 "Example: lua print(vm.regs.rip)",
 0, cmd_lua_run, NULL},
{0},
};
