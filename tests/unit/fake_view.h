/*
 * A view as a session would fill it, for drawing without a machine. The texts are hostile where
 * guest or file text may be.
 */
#ifndef TESTS_FAKE_VIEW_H
#define TESTS_FAKE_VIEW_H

#include <stdlib.h>

#include "tui/view.h"
#include "vmm/base/x.h"

static void fake_reg(struct view *v, const char *name, unsigned group, unsigned bits,
                     uint64_t value, bool changed, const char *note)
{
    struct view_reg *r = &v->regs.reg[v->regs.count++];

    *r = (struct view_reg){
        .group = (uint8_t)group, .bits = (uint16_t)bits, .value = value, .changed = changed};
    snprintf(r->name, sizeof r->name, "%s", name);
    snprintf(r->note, sizeof r->note, "%s", note);
    for (unsigned i = 0; i < 8; i++)
        r->bytes[i] = (uint8_t)(value >> (8 * i));
}

static void fake_regs(struct view *v)
{
    static const char *const gpr[] = {"rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp",
                                      "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
    static const char *const seg[] = {"cs", "ss", "ds", "es", "fs", "gs"};

    for (unsigned i = 0; i < 16; i++)
        fake_reg(v, gpr[i], RG_GENERAL, 64, i == 3 ? 0xffffffff81000000 : i * 0x1111, i % 5 == 3,
                 "");
    fake_reg(v, "rip", RG_GENERAL, 64, 0x100012, true, "kmain+0x12");
    fake_reg(v, "rflags", RG_GENERAL, 64, 0x246, false, "PF ZF IF");
    for (unsigned i = 0; i < 6; i++)
        fake_reg(v, seg[i], RG_SEGMENT, 16, i ? 0x10 : 8, false, "");
    fake_reg(v, "cr0", RG_CONTROL, 64, 0x80000011, false, "PG ET PE");
    fake_reg(v, "cr3", RG_CONTROL, 64, 0x1000, false, "");
    fake_reg(v, "xmm0", RG_SSE, 128, 0x1122334455667788, true, "");
}

static struct view_insn *fake_insn(struct view *v, uint64_t addr, unsigned len,
                                   const char *mnemonic, const char *operands)
{
    struct view_insn *in = &v->code.row[v->code.rows++];

    *in = (struct view_insn){.addr = addr, .len = (uint8_t)len, .mapped = true};
    for (unsigned i = 0; i < len; i++)
        in->bytes[i] = (uint8_t)(0x90 + i);
    snprintf(in->mnemonic, sizeof in->mnemonic, "%s", mnemonic);
    snprintf(in->operands, sizeof in->operands, "%s", operands);
    return in;
}

static void fake_code(struct view *v)
{
    struct view_insn *in;

    v->code.bits = 64;
    v->code.rip = v->code.rip_linear = v->code.cursor = 0x100012;
    v->code.top = 0x100000;
    in = fake_insn(v, 0x100000, 0, "", "");
    in->is_label = true;
    snprintf(in->label, sizeof in->label, "kmain");
    snprintf(in->source, sizeof in->source, "main.c:12");
    fake_insn(v, 0x100000, 1, "push", "rbp");
    in = fake_insn(v, 0x100001, 10, "movabs", "rax, 0xffffffff81000000");
    in->point = 1;
    in->point_enabled = true;
    in = fake_insn(v, 0x10000b, 7, "mov", "qword ptr [rip + 0x1234], rax");
    in->has_mem = true;
    in->mem = 0x101246;
    v->code.sel = v->code.rows;
    in = fake_insn(v, 0x100012, 2, "jne", "kmain+0x1");
    in->is_rip = in->branch = in->has_target = true;
    in->target = 0x100001;
    snprintf(in->hint, sizeof in->hint, "not taken");
    in = fake_insn(v, 0x100014, 5, "call", "a_function_with_a_very_long_name_indeed+0x1234");
    in->branch = in->has_target = true;
    in->target = 0x200000;
    in = fake_insn(v, 0x100019, 1, "(bad)", "");
    in->bad = true;
    in->point = 2;
    in = fake_insn(v, 0x10001a, 0, "", "");
    in->mapped = false;
    snprintf(v->code.where, sizeof v->code.where, "kmain+0x12 main.c:14");
}

static void fake_stack(struct view *v)
{
    static const struct view_word words[] = {
        {.value = 0x100019, .mapped = true, .is_code = true, .note = "kmain+0x19"},
        {.value = 0x7ff0, .mapped = true, .changed = true},
        {.value = 0x7ff8, .mapped = true, .is_frame = true, .note = "\"hello \x1b[31m\""},
        {.value = 0, .mapped = false},
    };

    v->stack.sp = 0x7fd0;
    v->stack.word = 8;
    for (unsigned i = 0; i < ARRAY_LEN(words); i++) {
        v->stack.row[i] = words[i];
        v->stack.row[i].addr = 0x7fd0 + 8 * i;
    }
    v->stack.rows = ARRAY_LEN(words);
}

static void fake_memory(struct view *v, unsigned per_row)
{
    v->memory.base = v->memory.cursor = 0x101240;
    v->memory.cursor += 2;
    v->memory.placed = true;
    v->memory.per_row = per_row;
    v->memory.len = 3 * per_row;
    for (unsigned i = 0; i < v->memory.len; i++) {
        v->memory.byte[i] = (uint8_t)(i < 26 ? 'A' + i : i * 7);
        v->memory.ok[i] = i < 2 * per_row + 3;
        v->memory.changed[i] = i == 9;
    }
}

static void fake_exit(struct view *v, const char *kind, const char *what, bool unclaimed)
{
    struct view_exit *ev = &v->exits.row[v->exits.rows];

    *ev = (struct view_exit){.index = v->exits.rows,
                             .vcpu = v->exits.rows & 1,
                             .kind = kind,
                             .rip = 0x100012,
                             .seq = v->exits.rows,
                             .guest_ns = 900 << v->exits.rows * 3,
                             .host_ns = 1500,
                             .unclaimed = unclaimed};
    snprintf(ev->when, sizeof ev->when, "%u.%06u", v->exits.rows * 100, v->exits.rows * 77);
    snprintf(ev->what, sizeof ev->what, "%s", what);
    snprintf(ev->brief, sizeof ev->brief, "brief %.20s", what[0] ? what : kind);
    snprintf(ev->where, sizeof ev->where, "kmain+0x12");
    v->exits.rows++;
    v->exits.next++;
}

static void fake_point(struct view *v, int id, const char *kind, const char *what, bool enabled)
{
    struct view_point *p = &v->points.point[v->points.count++];

    *p = (struct view_point){.id = id, .addr = 0x100000, .hits = id, .enabled = enabled};
    snprintf(p->kind, sizeof p->kind, "%s", kind);
    snprintf(p->what, sizeof p->what, "%s", what);
    snprintf(p->method, sizeof p->method, "int3");
    if (id == 2)
        snprintf(p->condition, sizeof p->condition, "$rax > 3");
}

static void fake_console(struct view *v, const char *text)
{
    view_console_add(v, CONSOLE_COM1, text, strlen(text));
}

static struct view *fake_view_empty(void)
{
    struct view *v = xcalloc(1, sizeof *v);

    lines_init(&v->console.lines, 100);
    v->exits.follow = true;
    v->status.cpus = 1;
    for (unsigned i = 0; i < PANELS; i++) {
        v->rows[i] = 8;
        v->cols[i] = 40;
    }
    return v;
}

static struct view *fake_view(unsigned per_row)
{
    struct view *v = fake_view_empty();

    v->have_state = true;
    v->status.state = SS_STOPPED;
    v->status.guest_ns = 1234567890;
    v->status.exits = 4;
    snprintf(v->status.guest, sizeof v->status.guest, "hello64");
    snprintf(v->status.stop, sizeof v->status.stop, "breakpoint 1");
    snprintf(v->status.where, sizeof v->status.where, "kmain+0x12");
    snprintf(v->status.mode, sizeof v->status.mode, "long64");
    fake_regs(v);
    fake_code(v);
    fake_stack(v);
    fake_memory(v, per_row);
    fake_exit(v, "io", "out 0x3f8 (COM1 data) 1 byte = 0x41 'A'", false);
    fake_exit(v, "mmio", "read 0xfee00020 4 bytes = 0x0", false);
    fake_exit(v, "io", "in 0x60 (keyboard) 1 byte = 0xff", true);
    fake_exit(v, "hlt", "", false);
    v->exits.sel = 3;
    fake_console(v, "Hello from 64-bit mode\r\nred: \033[31mx\033[0m bad: \033]0;t\007\rover\n"
                    "a line that is longer than the panel is wide and wraps at its edge\n");
    view_console_add(v, CONSOLE_DEBUG, "port e9\nopen", 12);
    fake_point(v, 1, "break", "kmain", true);
    fake_point(v, 2, "watch", "*(u32*)0x1000", false);
    snprintf(v->devices.name[0], sizeof v->devices.name[0], "uart");
    snprintf(v->devices.name[1], sizeof v->devices.name[1], "pit");
    v->devices.count = 2;
    v->panes.count = 2;
    snprintf(v->panes.pane.name, sizeof v->panes.pane.name, "tasks");
    snprintf(v->panes.pane.title, sizeof v->panes.pane.title, "Tasks of the guest");
    snprintf(v->panes.pane.keys, sizeof v->panes.pane.keys, " d Enter ");
    buf_adds(&v->panes.pane.text, "\x01\x03pid  name\n\x01\x06"
                                  "1\x01    init\n"
                                  "\x07"
                                  "2    shell that is far too long for the narrowest of panels\n");
    buf_adds(&v->devices.text, "ier  0x01  [RX]\nlcr  0x03\n");
    snprintf(v->log.row[0], sizeof v->log.row[0], "0.000001 vm: opened");
    v->log.rows = 1;
    v->log.newest = 1;
    return v;
}

static void fake_view_free(struct view *v)
{
    lines_fini(&v->console.lines);
    buf_fini(&v->console.open);
    buf_fini(&v->devices.text);
    buf_fini(&v->panes.pane.text);
    free(v);
}

#endif
