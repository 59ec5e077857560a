/*
 * The programs of test_features.c, with labels: one of calls, accesses, exceptions and modes, one
 * of devices, interrupts, string I/O and ends, and one of code in odd places.
 */
#ifndef TESTS_UNIT_FEATURES_PROGRAM_H
#define TESTS_UNIT_FEATURES_PROGRAM_H

#include "tests/unit/diff_program.h"
#include "vmm/base/x.h"

#define FUNCTION    0xb800u
#define REWRITTEN   0xb900u   /* a function that a device writes over */
#define MAPPED      0x400000u /* the first 2 MiB once more, after the program has made the entry */
#define OTHER_CR3   0x16000u
#define SET_CR3     0x50u /* vector of the gate through which ring 3 changes CR3, */
#define DIE         0x51u /* and by which it comes to its end */
#define LINE        5u    /* of the interrupt controllers, which DP_LINE sets */
#define LINE_VECTOR 0x25u

/* Ports of the test's own device: one gives bytes, the others do what they say with what is
 * written. */
enum { DP_INPUT = DP_PORT, DP_DMA, DP_DMA_READ, DP_DMA_CODE, DP_LINE };

static struct program prog;

/* ---- the program ------------------------------------------------------------------------------
 */

static struct label {
    const char *name;
    uint32_t at;
} labels[64];
static unsigned label_count;

static void label(const char *name)
{
    if (label_count < ARRAY_LEN(labels))
        labels[label_count++] = (struct label){name, prog.at};
}

#define CODE(...) DP_CODE_BYTES(&prog, __VA_ARGS__)

static void imm(uint32_t value)
{
    dp_put(&prog, value, dp_imm_bytes(&prog));
}

/* An instruction of these bytes with a byte register or extension and an absolute address. */
static void absolute(uint8_t opcode, unsigned reg, uint32_t addr)
{
    dp_put(&prog, opcode, 1);
    dp_modrm_abs(&prog, reg, addr);
}

static void call_function(void)
{
    CODE(0xe8);
    imm(FUNCTION - prog.at - dp_imm_bytes(&prog));
}

static void put_function(void)
{
    prog.at = FUNCTION;
    CODE(0x55); /* push bp; mov bp, sp; inc bx */
    if (prog.bits == 64)
        CODE(0x48);
    CODE(0x89, 0xe5, 0xff, 0xc3);
    label("body");
    CODE(0x90, 0x5d);
    label("return");
    CODE(0xc3);
}

static void put_tables(void)
{
    uint32_t handler = DP_HANDLERS + 0x400;

    if (prog.kind == DP_LONG0)
        dp_paging(&prog);
    dp_store(&prog, OTHER_CR3, (DP_TABLES + 0x1000) | 7, 8);
    if (prog.kind != DP_LONG3)
        return;
    dp_store(&prog, DP_IDT + SET_CR3 * 16, handler | X86_SEL_CODE << 16, 8);
    dp_store(&prog, DP_IDT + SET_CR3 * 16 + 4, 0xee00, 4);
    dp_store(&prog, DP_IDT + 0xff0, 0x50f, 2);
    prog.at = handler;
    CODE(0x50, 0xb8);
    dp_put(&prog, OTHER_CR3, 4);
    label("set_cr3");
    CODE(0x0f, 0x22, 0xd8, 0x58, 0x48, 0xcf);
}

static void put_start(void)
{
    if (prog.kind == DP_LONG0) {
        dp_mov_imm(&prog, 0, DP_TABLES);
        CODE(0x0f, 0x22, 0xd8);
    }
    dp_mov_imm(&prog, 3, 0);
    CODE(0xfc); /* cld */
    label("begin");
    CODE(0x90, 0x90, 0x90);
}

static void put_calls(void)
{
    for (unsigned i = 0; i < 4; i++) {
        static const char *const before[] = {"call1", "call2", "call3", "call4"};

        label(before[i]);
        call_function();
        CODE(0x90);
    }
    if (prog.bits == 64) {
        CODE(0xc7);
        dp_modrm_abs(&prog, 0, DP_TABLES + 0x2010);
        imm((DP_TABLES + 0x3000) | 7);
        dp_mov_imm(&prog, 0, MAPPED + FUNCTION);
        label("call_mapped");
        CODE(0xff, 0xd0);
    }
}

/* Accesses to the two bytes at DP_WATCHED and to those beside them. */
static void put_accesses(void)
{
    label("accesses");
    absolute(0xc6, 0, DP_WATCHED);
    CODE(0x11);
    absolute(0xc6, 0, DP_WATCHED - 1);
    CODE(0x22);
    absolute(0x8a, 0, DP_WATCHED + 2);
    label("load");
    absolute(0x8a, 0, DP_WATCHED + 1);
    label("store");
    absolute(0xc6, 0, DP_WATCHED);
    CODE(0x5a);
    label("store_same");
    absolute(0xc6, 0, DP_WATCHED);
    CODE(0x5a);
    label("increment");
    absolute(0xfe, 0, DP_WATCHED + 1);
    label("load_across");
    absolute(0x8b, 1, DP_WATCHED - 1);
    dp_mov_imm(&prog, 7, DP_WATCHED - 3); /* two of its bytes are watched, which hosts tell of */
    dp_mov_imm(&prog, 1, 6);              /* after each, after a group, or at the end */
    CODE(0xb0, 0x33);
    label("fill");
    CODE(0xf3, 0xaa);
    label("accessed");
    CODE(0x90);
}

static void put_steps(void)
{
    dp_mov_imm(&prog, 7, DP_DATA);
    dp_mov_imm(&prog, 1, 5);
    label("rep");
    CODE(0xf3, 0xaa, 0x90);
    label("int");
    CODE(0xcd, 0x40, 0x90);
    label("mov_ss");
    CODE(0x8c, 0xd0, 0x8e, 0xd0, 0x90, 0x90); /* mov ax, ss; mov ss, ax */
    label("pushf");
    CODE(0x9c);
    label("popf");
    CODE(0x9d, 0x90);
    label("sti");
    CODE(0xfb, 0x90, 0x90);
    if (prog.kind != DP_LONG3)
        CODE(0xfa);
    label("jump");
    CODE(0xeb, 0x00);
    call_function();
    if (prog.kind == DP_LONG3) {
        label("syscall");
        CODE(0x0f, 0x05, 0x90);
    }
}

static void put_events(void)
{
    label("out");
    CODE(0xb0, 0x41, 0xe6, 0xe9, 0xe4, 0x80);
    dp_mov_imm(&prog, 0, 1);
    dp_mov_imm(&prog, 1, 0);
    dp_mov_imm(&prog, 2, 0);
    if (prog.kind == DP_PROT) {
        dp_mov_imm(&prog, 6, DP_MMIO);
        label("mmio");
        CODE(0x88, 0x0e, 0x8a, 0x06); /* mov [esi], cl; mov al, [esi] */
        dp_mov_imm(&prog, 0, 1);
    }
    label("divide");
    CODE(0xf7, 0xf1);
    label("undefined");
    CODE(0x0f, 0x0b);
    label("int3");
    CODE(0xcc, 0x90);
}

/* To another mode and back; ring 3 by a gate. */
static void put_mode_change(void)
{
    label("mode");
    switch (prog.kind) {
    case DP_REAL:
        CODE(0x0f, 0x20, 0xc0, 0x0c, 0x01, 0x0f, 0x22, 0xc0); /* CR0.PE on */
        CODE(0x24, 0xfe, 0x0f, 0x22, 0xc0);                   /* and off */
        break;
    case DP_PROT:
        CODE(0xea);
        dp_put(&prog, prog.at + 6, 4);
        dp_put(&prog, DP_OTHER_CS, 2);
        CODE(0x66, 0xea);
        dp_put(&prog, prog.at + 6, 4);
        dp_put(&prog, X86_SEL_CODE, 2);
        break;
    case DP_LONG0:
        CODE(0x6a, DP_OTHER_CS, 0x68);
        dp_put(&prog, prog.at + 6, 4);
        CODE(0x48, 0xcb); /* retfq */
        CODE(0xea);
        dp_put(&prog, prog.at + 6, 4);
        dp_put(&prog, X86_SEL_CODE, 2);
        break;
    default:
        CODE(0xcd, 0x40);
        break;
    }
    CODE(0x90);
}

static void put_cr3_change(void)
{
    label("cr3");
    if (prog.kind == DP_LONG3) {
        CODE(0xcd, SET_CR3, 0x90);
        return;
    }
    if (prog.kind == DP_REAL)
        CODE(0x66);
    CODE(0xb8);
    dp_put(&prog, OTHER_CR3, 4);
    CODE(0x0f, 0x22, 0xd8, 0x90);
}

/* The guest steps itself for a while; its handler counts. */
static void put_own_steps(void)
{
    label("own");
    dp_trap_flag(&prog, true);
    label("own_first");
    CODE(0x90);
    label("own_second");
    CODE(0xff, 0xc3); /* inc bx */
    dp_trap_flag(&prog, false);
    label("own_end");
    CODE(0x90);
}

static void make_first(enum dp_kind kind)
{
    label_count = 0;
    dp_make(&prog, kind, 1);
    put_tables();
    put_function();
    prog.at = DP_CODE;
    put_start();
    put_calls();
    put_accesses();
    put_steps();
    put_events();
    put_mode_change();
    put_cr3_change();
    put_own_steps();
    label("hlt");
    CODE(0xf4, 0x90);
    label("end");
    dp_exit(&prog);
}

/* ---- the second program ------------------------------------------------------------------------
 */

static void put_gate(unsigned vector, uint32_t handler)
{
    unsigned bytes = prog.bits == 64 ? 16 : 8;

    if (prog.kind == DP_REAL)
        return;
    dp_store(&prog, DP_IDT + vector * bytes,
             handler | X86_SEL_CODE << 16 |
                 (prog.bits == 64 ? 0xee0000000000ull : 0x8e0000000000ull),
             8);
}

static void out_port(uint16_t port, uint8_t value)
{
    dp_mov_imm(&prog, 2, port);
    CODE(0xb0, value, 0xee);
}

/* Handlers: the line's acknowledges, the other ends the guest. */
static void put_handlers(void)
{
    uint32_t at = DP_HANDLERS + 0x480;

    dp_store(&prog, DP_IDT + 0xff0, prog.bits == 64 ? 0x51f : 0x28f, 2);
    put_gate(LINE_VECTOR, at);
    put_gate(DIE, at + 0x40);
    prog.at = at;
    label("irq_handler");
    CODE(0x50, 0x52);
    absolute(0xfe, 0, DP_COUNTER);
    out_port(DP_LINE, 0);
    CODE(0xb0, 0x20, 0xe6, 0x20, 0x5a, 0x58);
    if (prog.bits == 64)
        CODE(0x48);
    CODE(0xcf);
    prog.at = at + 0x40;
    label("die_handler");
    CODE(0x0f, 0x01); /* no IDT, which is then asked for */
    dp_modrm_abs(&prog, 3, DP_IDT + 0xfe0);
    label("last");
    CODE(0x0f, 0x0b);
}

/* Never reached but by who sets RIP. */
static void put_ends(void)
{
    label("die");
    if (prog.kind == DP_LONG3) {
        CODE(0xcd, DIE);
    } else {
        CODE(0xe9);
        imm(DP_HANDLERS + 0x4c0 - prog.at - dp_imm_bytes(&prog));
    }
    label("reset");
    CODE(0xb0, TESTDEV_KBC_RESET, 0xe6, TESTDEV_KBC_CMD, 0xeb, 0xfe);
}

static void put_rewritten(void)
{
    prog.at = REWRITTEN;
    CODE(0xf8); /* clc, which a device makes stc; adc bx, 0 */
    label("rewritten_next");
    CODE(0x83, 0xd3, 0x00, 0xc3);
}

static void put_controllers(void)
{
    static const uint8_t words[][2] = {{0x20, 0x11},
                                       {0x21, LINE_VECTOR - LINE},
                                       {0x21, 4},
                                       {0x21, 1},
                                       {0x21, 0xff & ~(1u << LINE)}};

    for (unsigned i = 0; i < ARRAY_LEN(words); i++)
        CODE(0xb0, words[i][1], 0xe6, words[i][0]);
    if (prog.kind != DP_REAL)
        return;
    for (unsigned i = 0; i < 2; i++) {
        CODE(0xc7, 0x06);
        dp_put(&prog, LINE_VECTOR * 4 + 2 * i, 2);
        dp_put(&prog, i ? 0 : DP_HANDLERS + 0x480, 2);
    }
}

static void string_io(const char *name, const char *after, unsigned index, uint16_t port,
                      uint8_t opcode)
{
    dp_mov_imm(&prog, index, DP_WATCHED - 1);
    dp_mov_imm(&prog, 1, 4);
    dp_mov_imm(&prog, 2, port);
    label(name);
    CODE(0xf3, opcode);
    label(after);
    CODE(0x90);
}

static void put_strings(void)
{
    static const char text[] = "a panic";

    string_io("outs", "outs_end", 6, TESTDEV_CONSOLE, 0x6e);
    string_io("ins", "ins_end", 7, DP_INPUT, 0x6c);
    label("in_one");
    CODE(0x6c); /* insb */
    label("out_one");
    CODE(0x6e);
    label("printed");
    for (unsigned i = 0; text[i]; i++)
        CODE(0xb0, (uint8_t)text[i], 0xe6, TESTDEV_CONSOLE);
    label("post");
    CODE(0xb0, 0x77, 0xe6, TESTDEV_POST, 0x90);
}

static void put_dma(void)
{
    label("dma");
    out_port(DP_DMA, 0x61);
    label("dma_written");
    CODE(0x90);
    out_port(DP_DMA_READ, 0);
    label("dma_read");
    CODE(0x90);
    for (unsigned i = 0; i < 3; i++) {
        static const char *const names[] = {"code1", "code2", "code3"};

        out_port(DP_DMA_CODE, i == 1 ? 0xf8 : 0xf9);
        label(names[i]);
        CODE(0xe8);
        imm(REWRITTEN - prog.at - dp_imm_bytes(&prog));
    }
}

/* Ring 3 runs with interrupts on and cannot turn them off. An emulating KVM gives an interrupt when
 * it comes to it, so that the program waits. */
static void put_interrupt(void)
{
    uint32_t wait;

    absolute(0xc6, 0, DP_COUNTER);
    CODE(0);
    label("irq");
    out_port(DP_LINE, 1);
    label("raised");
    if (prog.kind != DP_LONG3)
        CODE(0xfb);
    CODE(0x90);
    label("enabled");
    CODE(0x90, 0x90);
    wait = prog.at;
    absolute(0x80, 7, DP_COUNTER); /* cmp */
    CODE(0, 0x74, (uint8_t)(wait - prog.at - 3));
    label("taken");
    if (prog.kind != DP_LONG3)
        CODE(0xfa);
    CODE(0x90);
}

static void put_returns(void)
{
    label("iret");
    if (prog.bits == 64) { /* a frame of what would be the same, but for the place */
        bool ring3 = prog.kind == DP_LONG3;

        CODE(0x54, 0x58, 0x6a, ring3 ? DP_USER_SS : X86_SEL_DATA, 0x50, 0x9c);
        CODE(0x6a, ring3 ? DP_USER_CS : X86_SEL_CODE, 0x68);
        imm(prog.at + 4 + 3);
        label("iret_itself");
        CODE(0x48);
    } else {
        CODE(0x9c, 0x0e, 0x68);
        imm(prog.at + dp_imm_bytes(&prog) + 2);
        label("iret_itself");
    }
    CODE(0xcf, 0x90);
    label("iret_end");
    CODE(0x90);
}

/* An exception with an error code, or where there are none the same without. */
static void put_faults(void)
{
    label("protection");
    if (prog.kind == DP_LONG3) {
        CODE(0xf4);
    } else if (prog.kind == DP_REAL) {
        dp_mov_imm(&prog, 7, 0xffff);
        label("protection_itself");
        CODE(0x8b, 0x05);
    } else {
        dp_mov_imm(&prog, 0, 0xfff8);
        label("protection_itself");
        CODE(0x8e, 0xd8);
    }
    label("page_fault");
    if (prog.bits == 64) {
        CODE(0x40, 0xc6, 0x04, 0x25);
        dp_put(&prog, MAPPED, 4);
        CODE(0x01);
    }
    CODE(0x90);
}

static void put_registers(void)
{
    if (prog.kind == DP_LONG3)
        return;
    dp_mov32(&prog, 1, 0x174);
    label("rdmsr");
    CODE(0x0f, 0x32);
    label("wrmsr");
    CODE(0x0f, 0x30);
    label("msr_end");
    dp_mov32(&prog, 1, TESTDEV_NO_MSR); /* which leaves the guest, and is then refused */
    label("no_msr");
    CODE(0x0f, 0x30, 0x90);
}

static void make_second(enum dp_kind kind)
{
    label_count = 0;
    dp_make(&prog, kind, 1);
    put_tables();
    put_handlers();
    put_rewritten();
    prog.at = DP_CODE;
    put_start();
    put_controllers();
    put_strings();
    put_dma();
    put_interrupt();
    put_returns();
    put_faults();
    put_registers();
    label("hlt");
    CODE(0xf4, 0x90);
    dp_exit(&prog);
    put_ends();
}

/* ---- the third program -------------------------------------------------------------------------
 */

#define ACROSS   0x1efffeu /* an instruction whose second page comes when it is touched */
#define ACROSS_1 0xa000u   /* the frames of the two */
#define ACROSS_2 0xb000u
#define CS_BASE  0x1000u

static uint16_t based_code(void)
{
    return prog.kind == DP_REAL ? CS_BASE >> 4 : DP_ABSENT;
}

/* A code segment with a base, of another width than the code before where there are modes. */
static void put_based(void)
{
    uint64_t code = prog.kind == DP_PROT ? 0x9b000000ffff : 0xcf9b000000ffff;
    unsigned bytes = prog.kind == DP_PROT ? 2 : 4;

    dp_store(&prog, DP_GDT + DP_ABSENT, code | (uint64_t)CS_BASE << 16, 8);
    if (prog.kind == DP_LONG3)
        return;
    label("to_based");
    if (prog.kind == DP_LONG0) {
        CODE(0x6a, DP_ABSENT, 0x68);
        imm(prog.at + 6 - CS_BASE);
        CODE(0x48, 0xcb);
    } else {
        CODE(0xea);
        imm(prog.at + dp_imm_bytes(&prog) + 2 - CS_BASE);
        dp_put(&prog, based_code(), 2);
    }
    label("based");
    CODE(0x90);
    label("based_call");
    CODE(0xe8);
    if (prog.kind == DP_REAL)
        bytes = 2;
    dp_put(&prog, 3, bytes); /* over what follows */
    label("based_jump");
    CODE(0x90, 0xeb, 0x02);
    label("based_function");
    CODE(0x90, 0xc3);
    label("from_based");
    if (prog.kind == DP_PROT)
        CODE(0x66);
    CODE(0xea);
    if (prog.kind == DP_REAL)
        dp_put(&prog, prog.at + 4, 2);
    else
        dp_put(&prog, prog.at + 6, 4);
    dp_put(&prog, prog.kind == DP_REAL ? 0 : X86_SEL_CODE, 2);
    label("unbased");
    CODE(0x90);
}

/* mov eax, 0x11223344; ret */
static void put_across(void)
{
    uint32_t entries = DP_TABLES + 0x3000, second = entries + 8 * ((ACROSS >> 12) + 1);

    if (prog.bits != 64)
        return;
    dp_store(&prog, entries + 8 * (ACROSS >> 12), ACROSS_1 | 7, 8);
    dp_store(&prog, second, ACROSS_2 | 6, 8);
    dp_store(&prog, ACROSS_1 + (ACROSS & 0xfff), 0x44b8, 2);
    dp_store(&prog, ACROSS_2, 0xc3112233, 4);
    prog.at = DP_HANDLERS + 0x4c0;
    put_gate(14, prog.at);
    label("page_handler");
    absolute(0x80, 1, second); /* or: it is present */
    CODE(0x01, 0x48, 0x83, 0xc4, 0x08, 0x48, 0xcf);
}

static void call_across(const char *name)
{
    dp_mov_imm(&prog, 0, ACROSS);
    label(name);
    CODE(0xff, 0xd0, 0x90);
}

/* Never reached but by who sets RIP: no IDT, and a load that KVM's emulator does not know from two
 * pages, of which the second is not there. */
static void put_die_across(void)
{
    label("die_across");
    CODE(0x0f, 0x01);
    dp_modrm_abs(&prog, 3, DP_IDT + 0xfe0);
    CODE(0xdb); /* fld tbyte */
    dp_modrm_abs(&prog, 5, ACROSS - 6);
}

static void make_third(enum dp_kind kind)
{
    label_count = 0;
    dp_make(&prog, kind, 1);
    put_tables();
    put_across();
    prog.at = DP_CODE;
    put_start();
    if (prog.bits == 64) {
        call_across("across1");
        call_across("across2");
    }
    put_based();
    label("hlt");
    CODE(0xf4, 0x90);
    dp_exit(&prog);
    put_die_across();
}

#endif
