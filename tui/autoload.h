/*
 * The script that lies beside a guest: GUEST.lua, or the guest's name with .lua for its ending. A
 * script is code, so a person is asked first; what is said once and for all is remembered by the
 * script's content. Main thread, before a screen is open.
 */
#ifndef TUI_AUTOLOAD_H
#define TUI_AUTOLOAD_H

#include <stdbool.h>

#include "scripts/lua_host.h"
#include "tui/opts.h"

/* Runs it if it may run. `ask`: a person is at the terminal; else nothing runs without
 * `--autoload yes`, and a sentence on standard error says so. *ran tells whether it ran. 0, or
 * -errno with the script's error. */
int autoload(struct scripts *h, const struct opts *o, bool ask, bool *ran, struct err *e);

#endif
