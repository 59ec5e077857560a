/*
 * The script host: one Lua state over one session. Front ends open it, hand it files and code, and
 * ask whether scripts still wait for something. No Lua in this header.
 *
 * Threads: every function here is for the main thread. Inside, one lock guards the Lua state: vCPU
 * threads enter it for hooks and devices, the main thread for everything else, and whoever calls
 * into the session from Lua gives the lock back meanwhile, so that neither waits for the other
 * (docs/lua.md, last section).
 */
#ifndef SCRIPTS_LUA_HOST_H
#define SCRIPTS_LUA_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "debug/cmd.h"
#include "vmm/base/buf.h"
#include "vmm/base/err.h"

struct scripts;
struct session;

struct scripts_config {
    bool sandbox;         /* no io, os, package, debug: only the guest can be reached */
    uint64_t mem_bytes;   /* most that Lua may hold; 0: 256 MiB */
    unsigned hook_ms;     /* processor time of a hook at most; 0: 1000 */
    unsigned main_ms;     /* of other code without waiting; 0: 10000 */
    uint64_t deadline_ns; /* CLOCK_MONOTONIC: when the whole run is over; 0: never */
    /* True when somebody wants the main thread back at once; asked while a script runs. NULL:
     * nobody does. */
    bool (*interrupted)(void);
    /* Text that scripts print; main thread. NULL: vmscope's log. */
    void (*print)(void *arg, const char *text, size_t len);
    void *arg;
};

/* `c` is the front end's client: it learns of `vm.quit` there. Commands of all clients reach it.
 * Fails only when the state cannot be made. The session must outlive it. */
int scripts_open(struct scripts **out, struct session *s, struct cmd_client *c,
                 const struct scripts_config *cfg, struct err *e);
void scripts_close(struct scripts *h); /* takes NULL */

/* Starts a script; it runs up to its end or its first wait. `name` is a path, or the name of a
 * script in one of the script folders; behind a comma may stand KEY=VALUE,… which the script gets
 * as a table in `...`; NAME,help prints what the script says of itself and quits. 0, or -errno with
 * the error and its traceback. */
int scripts_run_file(struct scripts *h, const char *name, struct err *e);
int scripts_run_text(struct scripts *h, const char *code, const char *chunk, struct err *e);
/* The run is over: calls the "end" hooks, once. The guest should stand. scripts_close does it too.
 * Takes NULL. */
void scripts_end(struct scripts *h);
/* Some script waits for a stop, for output or for time. */
bool scripts_waiting(const struct scripts *h);
/* Nothing waits and nothing is left to be delivered. */
/* (takes NULL) */
bool scripts_idle(const struct scripts *h);
/* A script of scripts_run_file or vm.spawn ended with an error. (A hook that fails is told and goes
 * on.) Takes NULL. */
bool scripts_broken(const struct scripts *h);
/* True once any script ended with an error; the first one's text. */
bool scripts_failed(const struct scripts *h, const char **why);

/* The interface as annotations for editors (LuaLS), and as the reference of docs/lua.md. Any
 * thread. */
void scripts_types(struct buf *out);
void scripts_reference(struct buf *out);

#endif
