/*
 * Parts of view_fill that need a stopped guest. Used by view.c alone; main thread.
 */
#ifndef TUI_VIEW_MACHINE_H
#define TUI_VIEW_MACHINE_H

#include "tui/view.h"

/* The screen at the last stop: what changes are measured against. */
struct view_past {
    unsigned regs, words;
    struct view_reg reg[VIEW_REGS];
    struct view_word word[VIEW_ROWS];
    uint64_t mem_base;
    unsigned mem_len;
    enum space mem_space;
    uint8_t mem[VIEW_MEM_BYTES], mem_ok[VIEW_MEM_BYTES];
};

void view_fill_registers(struct view *v, struct session *s, const struct vcpu_state *st);
void view_fill_code(struct view *v, struct session *s, const struct vcpu_state *st);
void view_fill_stack(struct view *v, struct session *s, const struct vcpu_state *st);
void view_fill_memory(struct view *v, struct session *s);
/* Keeps what is in the view now as the last stop. */
void view_remember(struct view *v);
/* "name+0x12" when `addr` lies in or right behind a symbol; else false and an empty string. */
bool view_symbol(struct session *s, uint64_t addr, char *dst, size_t cap);

#endif
