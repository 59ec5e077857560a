/*
 * Walks from the innermost frame outwards. The stack is the guest's and may be anything: every
 * step must rise, repeats end the trace, and the number of frames is bounded.
 */
#include "debug/symbols/unwind.h"

#include <stdio.h>
#include <string.h>

#include "debug/symbols/sym.h"
#include "debug/symbols/unwind_int.h"
#include "vmm/base/le.h"
#include "vmm/base/x.h"
#include "vmm/regs.h"

struct walker {
    struct unwind_env *env;
    struct unwind_regs regs; /* of the present frame; RIP and RSP relative to their segments */
    struct unwind_bases base;
    struct unwind_gates *gates;
    unsigned width; /* bytes of a stack slot */
};

enum step { STEP_OK, STEP_END };

#define END(w, ...) (snprintf((w)->env->end, sizeof(w)->env->end, __VA_ARGS__), STEP_END)

static unsigned long long ull(uint64_t v)
{
    return v;
}

static uint64_t clip(const struct walker *w, uint64_t v)
{
    return w->width == 8 ? v : v & ((1ull << w->width * 8) - 1);
}

static uint64_t linear_pc(const struct walker *w)
{
    return w->base.cs + w->regs.v[DW_RIP];
}

static bool read_slot(const struct walker *w, uint64_t offset, uint64_t *v)
{
    uint8_t raw[8] = {0};

    if (!w->env->mem(w->env->arg, w->base.ss + clip(w, offset), raw, w->width))
        return false;
    *v = le_load(raw, w->width);
    return true;
}

static bool begin(struct walker *w)
{
    static const struct {
        int reg;
        unsigned dwarf;
    } map[] = {{REG_rax, 0},  {REG_rdx, 1},      {REG_rcx, 2},      {REG_rbx, 3},  {REG_rsi, 4},
               {REG_rdi, 5},  {REG_rbp, DW_RBP}, {REG_rsp, DW_RSP}, {REG_r8, 8},   {REG_r9, 9},
               {REG_r10, 10}, {REG_r11, 11},     {REG_r12, 12},     {REG_r13, 13}, {REG_r14, 14},
               {REG_r15, 15}, {REG_rip, DW_RIP}};
    struct unwind_env *env = w->env;
    uint64_t v;

    for (size_t i = 0; i < ARRAY_LEN(map); i++)
        if (env->reg(env->arg, map[i].reg, &v))
            unwind_set(&w->regs, map[i].dwarf, clip(w, v));
    /* In 64-bit code CS and SS have no base. */
    if (env->bits != 64 && env->reg(env->arg, REG_cs_base, &v))
        w->base.cs = v;
    if (env->bits != 64 && env->reg(env->arg, REG_ss_base, &v))
        w->base.ss = v;
    return unwind_knows(&w->regs, DW_RIP) && unwind_knows(&w->regs, DW_RSP);
}

/* ---- without frame information ------------------------------------------------------------- */

/* The return address lies at `slot`; a saved RBP right below it when `saves_fp`. */
static enum step return_from(struct walker *w, uint64_t slot, bool saves_fp)
{
    struct unwind_regs out = {0};
    uint64_t pc, fp;
    uint8_t byte;

    if (!read_slot(w, slot, &pc))
        return END(w, "the return address at 0x%llx cannot be read",
                   ull(w->base.ss + clip(w, slot)));
    if (saves_fp) {
        if (!read_slot(w, slot - w->width, &fp))
            return END(w, "the saved frame pointer at 0x%llx cannot be read",
                       ull(w->base.ss + clip(w, slot - w->width)));
        unwind_set(&out, DW_RBP, fp);
    } else if (unwind_knows(&w->regs, DW_RBP)) {
        unwind_set(&out, DW_RBP, w->regs.v[DW_RBP]);
    }
    if (pc == 0)
        return END(w, "the return address is 0: the outermost frame");
    if (!w->env->mem(w->env->arg, w->base.cs + pc, &byte, 1))
        return END(w, "the return address 0x%llx is not mapped", ull(w->base.cs + pc));
    unwind_set(&out, DW_RIP, pc);
    unwind_set(&out, DW_RSP, clip(w, slot + w->width));
    w->regs = out;
    return STEP_OK;
}

static bool starts(const uint8_t *code, const char *bytes, size_t n)
{
    return !memcmp(code, bytes, n);
}

/* Where no frame exists yet, or no more: slots between the stack pointer and the return address,
 * or -1. Only the bytes at the pc are looked at. */
static int frameless_slots(const struct walker *w)
{
    uint8_t code[4] = {0};
    uint64_t pc = linear_pc(w);
    const struct symbol *s =
        w->env->symbols && !w->env->foreign_thread ? symbols_lookup(w->env->symbols, pc) : NULL;

    if (!w->env->mem(w->env->arg, pc, code, sizeof code) && !w->env->mem(w->env->arg, pc, code, 1))
        return -1;
    if (code[0] == 0x55 || code[0] == 0xc3 || code[0] == 0xc2) /* push rbp, ret */
        return 0;
    if (starts(code, "\xf3\x0f\x1e\xfa", 4) || starts(code, "\xf3\x0f\x1e\xfb", 4)) /* endbr */
        return 0;
    if (w->width == 8 && (starts(code, "\x48\x89\xe5", 3) || starts(code, "\x48\x8b\xec", 3)))
        return 1; /* mov rbp, rsp */
    if (w->width != 8 && (starts(code, "\x89\xe5", 2) || starts(code, "\x8b\xec", 2)))
        return 1;
    return s && s->is_function && s->addr == pc ? 0 : -1;
}

static enum step by_pointer(struct walker *w)
{
    uint64_t fp = w->regs.v[DW_RBP];

    if (!unwind_knows(&w->regs, DW_RBP))
        return END(w, "there is no frame information here, and the frame pointer is not known");
    if (fp == 0)
        return END(w, "the frame pointer is 0: the outermost frame");
    if (fp < w->regs.v[DW_RSP])
        return END(w, "the frame pointer 0x%llx lies below the stack pointer 0x%llx", ull(fp),
                   ull(w->regs.v[DW_RSP]));
    return return_from(w, fp + w->width, true);
}

/* ---- one frame outwards -------------------------------------------------------------------- */

static enum step by_information(struct walker *w, uint64_t pc, bool *tried, bool *is_signal)
{
    uint64_t old_sp = w->regs.v[DW_RSP];
    uint8_t byte;

    *tried = true;
    switch (unwind_cfi(w->env, pc, &w->regs, is_signal)) {
    case CFI_NONE:
        *tried = false;
        return STEP_OK;
    case CFI_OUTERMOST:
        return END(w, "the frame information says that nothing called this");
    case CFI_FAILED:
        return END(w,
                   "the frame information for 0x%llx cannot be followed: the stack cannot be "
                   "read, or a register is lost",
                   ull(pc));
    case CFI_OK:
        break;
    }
    if (w->regs.v[DW_RIP] == 0)
        return END(w, "the return address is 0: the outermost frame");
    if (!*is_signal && w->regs.v[DW_RSP] <= old_sp)
        return END(w, "the stack does not rise: 0x%llx after 0x%llx", ull(w->regs.v[DW_RSP]),
                   ull(old_sp));
    if (!w->env->mem(w->env->arg, linear_pc(w), &byte, 1))
        return END(w, "the return address 0x%llx is not mapped", ull(linear_pc(w)));
    return STEP_OK;
}

/* A handler that a compiler made returns through what the processor pushed, of which its frame
 * information knows the first slot only: the others follow. */
static bool was_handler(struct walker *w, uint64_t symbol_pc)
{
    const struct symbol *s = w->env->symbols && !w->env->foreign_thread
                                 ? symbols_lookup(w->env->symbols, symbol_pc)
                                 : NULL;

    return s && unwind_is_handler(w->gates, s->addr) &&
           unwind_take_frame(w->env, w->regs.v[DW_RSP] - w->width, &w->regs, &w->base);
}

static enum step outwards(struct walker *w, uint64_t symbol_pc, bool first, bool *is_signal,
                          enum unwind_how *how)
{
    bool tried;
    enum step s;
    int slots;

    *how = UNWIND_EVENT;
    *is_signal = first && unwind_event(w->env, w->gates, linear_pc(w), &w->regs, &w->base);
    if (*is_signal)
        return STEP_OK;
    *how = UNWIND_CFI;
    s = by_information(w, symbol_pc, &tried, is_signal);
    if (tried && s == STEP_OK && !*is_signal && was_handler(w, symbol_pc)) {
        *how = UNWIND_EVENT;
        *is_signal = true;
    }
    if (tried)
        return s;
    *how = UNWIND_EVENT;
    *is_signal = unwind_stub(w->env, w->gates, linear_pc(w), &w->regs, &w->base);
    if (*is_signal)
        return STEP_OK;
    slots = first ? frameless_slots(w) : -1;
    if (slots < 0) {
        *how = UNWIND_POINTER;
        return by_pointer(w);
    }
    *how = UNWIND_ENTRY;
    return return_from(w, w->regs.v[DW_RSP] + (uint64_t)slots * w->width, slots == 1);
}

static bool seen(const struct unwind_frame *frames, size_t n, const struct unwind_frame *f)
{
    for (size_t i = 0; i < n; i++)
        if (frames[i].pc == f->pc && frames[i].sp == f->sp)
            return true;
    return false;
}

static struct unwind_frame frame_of(const struct walker *w, enum unwind_how how, bool exact)
{
    struct unwind_frame f = {.pc = linear_pc(w), .sp = w->base.ss + w->regs.v[DW_RSP], .how = how};

    /* A return address may already belong to the next function (after a call that never comes
     * back); the byte before it is the call's. */
    f.symbol_pc = exact || f.pc == 0 ? f.pc : f.pc - 1;
    return f;
}

size_t unwind(struct unwind_env *env, struct unwind_frame *frames, size_t max)
{
    struct walker w = {.env = env, .width = env->bits == 64 ? 8 : env->bits == 32 ? 4 : 2};
    enum unwind_how how = UNWIND_FIRST;
    size_t n = 1;

    if (max > UNWIND_FRAMES_MAX)
        max = UNWIND_FRAMES_MAX;
    snprintf(env->end, sizeof env->end, "RIP or RSP is not known");
    if (max == 0 || !begin(&w))
        return 0;
    w.gates = unwind_gates_new(env);
    frames[0] = frame_of(&w, how, true);
    for (; n < max; n++) {
        bool is_signal = false;

        if (outwards(&w, frames[n - 1].symbol_pc, n == 1, &is_signal, &how) == STEP_END)
            break;
        frames[n] = frame_of(&w, how, is_signal);
        if (seen(frames, n, &frames[n])) {
            snprintf(env->end, sizeof env->end, "the frames repeat");
            break;
        }
    }
    if (n == max)
        snprintf(env->end, sizeof env->end, "only %zu frames were asked for", max);
    unwind_gates_free(w.gates);
    return n;
}

const char *unwind_how_name(enum unwind_how how)
{
    static const char *const names[UNWIND_HOWS] = {
        [UNWIND_FIRST] = "register",        [UNWIND_CFI] = "frame information",
        [UNWIND_POINTER] = "frame pointer", [UNWIND_ENTRY] = "code at entry or return",
        [UNWIND_EVENT] = "interrupted",
    };

    return (unsigned)how < UNWIND_HOWS ? names[how] : "?";
}
