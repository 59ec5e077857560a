/*
 * Where the code and memory panels look; the next view_fill goes there. Pure.
 */
#include <string.h>

#include "tui/view.h"

void view_goto_code(struct view *v, uint64_t linear)
{
    struct view_code *code = &v->code;

    if (code->backs == VIEW_BACK)
        memmove(code->back, code->back + 1, --code->backs * sizeof code->back[0]);
    code->back[code->backs++] = code->cursor;
    code->cursor = linear;
    code->jumped = true;
    code->follow = false;
}

void view_code_back(struct view *v)
{
    struct view_code *code = &v->code;

    if (!code->backs)
        return;
    code->cursor = code->back[--code->backs];
    code->jumped = true;
}

void view_goto_memory(struct view *v, uint64_t addr, enum space sp)
{
    v->memory.placed = true;
    v->memory.space = sp;
    v->memory.cursor = addr;
    v->memory.base = addr & ~7ull;
}
