/*
 * The workbench: a screen on a session. Main thread.
 */
#ifndef TUI_TUI_H
#define TUI_TUI_H

#include "vmm/base/err.h"

struct session;
struct cmd_client;

/* Opens the screen and returns when the user leaves it: 0, or -errno with a sentence (no terminal,
 * an unknown one, ended by a signal). The session stays open, `c->quit_status` tells what `quit N`
 * asked for. The terminal is restored on every way out, also on fatal signals and bug(). */
int tui_run(struct session *s, struct cmd_client *c, struct err *e);

#endif
