/*
 * The key table. See keys.h.
 */
#include "tui/keys.h"

#include <stdio.h>

#include "vmm/base/x.h"

/* clang-format off */
const struct key_row key_table[] = {
    /* key             second     action            line / other line                bar          help */
    {'s',              K_F0 + 11, ACT_NONE,         "stepi", NULL,                   "step",      "one instruction"},
    {'n',              K_F0 + 8,  ACT_NONE,         "nexti", NULL,                   "over",      "one instruction, calls and interrupts at full speed"},
    {'f',              0,         ACT_NONE,         "finish", NULL,                  "finish",    "run until this function returned"},
    {'c',              K_F0 + 5,  ACT_TOGGLE_RUN,   "continue", "stop",              "go/stop",   "continue the guest, or stop it when it runs"},
    {KEY_CTRL('c'),    0,         ACT_INTERRUPT,    "stop", NULL,                    NULL,        "stop the guest"},
    {'b',              K_F0 + 9,  ACT_TOGGLE_POINT, "break *{cursor}", "delete {number}", "break",  "set or delete a breakpoint at the selected line of code"},
    {'u',              0,         ACT_NONE,         "until *{cursor}", NULL,         NULL,        "run until the selected line of code"},
    {'v',              0,         ACT_NEXT_CPU,     "vcpu {number}", NULL,           NULL,        "show the next vCPU"},
    {K_F0 + 7,         0,         ACT_NONE,         "stepi", NULL,                   NULL,        "one instruction"},
    {'g',              0,         ACT_GOTO,         NULL, NULL,                      "goto",      "show the address of an expression in code or memory"},
    {'.',              0,         ACT_HOME,         NULL, NULL,                      NULL,        "code back to the instruction pointer"},
    {K_BACKSPACE,      0,         ACT_BACK,         NULL, NULL,                      NULL,        "code back to where it was before the last jump"},
    {':',              0,         ACT_PROMPT,       NULL, NULL,                      "command",   "type a command; Tab completes, Esc leaves, PgUp scrolls answers"},
    {'a',              0,         ACT_ANSWERS,      NULL, NULL,                      NULL,        "show or hide the answers of commands"},
    {'z',              K_F0 + 6,  ACT_ZOOM,         NULL, NULL,                      "zoom",      "the focused panel on the whole screen, and back"},
    {K_TAB,            0,         ACT_NEXT_PANEL,   NULL, NULL,                      NULL,        "next panel"},
    {K_SHIFT_TAB,      0,         ACT_PREV_PANEL,   NULL, NULL,                      NULL,        "panel before"},
    {'1',              0,         ACT_PANEL,        NULL, NULL,                      NULL,        "code"},
    {'2',              0,         ACT_PANEL,        NULL, NULL,                      NULL,        "registers"},
    {'3',              0,         ACT_PANEL,        NULL, NULL,                      NULL,        "stack"},
    {'4',              0,         ACT_PANEL,        NULL, NULL,                      NULL,        "memory"},
    {'5',              0,         ACT_PANEL,        NULL, NULL,                      NULL,        "exits"},
    {'6',              0,         ACT_PANEL,        NULL, NULL,                      NULL,        "console; Enter there types to the guest"},
    {'7',              0,         ACT_PANEL,        NULL, NULL,                      NULL,        "breakpoints, watchpoints, catchpoints"},
    {'8',              0,         ACT_PANEL,        NULL, NULL,                      NULL,        "devices"},
    {'9',              0,         ACT_PANEL,        NULL, NULL,                      NULL,        "vmscope's own log"},
    {'0',              0,         ACT_PANEL,        NULL, NULL,                      NULL,        "panes of scripts"},
    {'T',              0,         ACT_THEME,        NULL, NULL,                      NULL,        "next theme (VMSCOPE_THEME chooses one at start)"},
    {KEY_CTRL('l'),    0,         ACT_REDRAW,       NULL, NULL,                      NULL,        "draw the screen anew"},
    {KEY_CTRL('z'),    0,         ACT_SUSPEND,      NULL, NULL,                      NULL,        "back to the shell; fg returns"},
    {'?',              K_F0 + 1,  ACT_HELP,         NULL, NULL,                      "help",      "this help"},
    {'q',              K_F0 + 10, ACT_QUIT,         NULL, NULL,                      "quit",      "leave vmscope, after a question"},
    {0},
};
/* clang-format on */

const struct key_row *key_find(int key)
{
    for (const struct key_row *r = key_table; r->help; r++)
        if (key && (r->key == key || r->key2 == key))
            return r;
    return NULL;
}

const char *key_text(int key, char *dst, size_t cap)
{
    static const struct {
        int key;
        const char *name;
    } names[] = {
        {K_TAB, "Tab"},         {K_ENTER, "Enter"}, {K_ESC, "Esc"},   {K_BACKSPACE, "Bksp"},
        {K_UP, "Up"},           {K_DOWN, "Down"},   {K_LEFT, "Left"}, {K_RIGHT, "Right"},
        {K_HOME, "Home"},       {K_END, "End"},     {K_PGUP, "PgUp"}, {K_PGDN, "PgDn"},
        {K_SHIFT_TAB, "S-Tab"}, {K_INS, "Ins"},     {K_DEL, "Del"},   {' ', "Space"}};

    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (names[i].key == key)
            return names[i].name;
    if (key > K_F0 && key <= K_F12)
        snprintf(dst, cap, "F%d", key - K_F0);
    else if (key > 0 && key < 0x20)
        snprintf(dst, cap, "Ctrl-%c", key + 0x40);
    else if (key > 0x20 && key < 0x7f)
        snprintf(dst, cap, "%c", key);
    else
        snprintf(dst, cap, "key %d", key);
    return dst;
}
