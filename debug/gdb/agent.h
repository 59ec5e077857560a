/*
 * gdb's agent expressions ("The GDB Agent Expression Mechanism" in its manual): conditions and
 * commands of breakpoints as byte code. Compiled once, which checks everything that can be known
 * (instructions, jumps, the depth of the stack at each place), then run on vCPU threads through
 * the callbacks of expr.h, without allocation.
 */
#ifndef DEBUG_GDB_AGENT_H
#define DEBUG_GDB_AGENT_H

#include <stddef.h>
#include <stdint.h>

#include "debug/expr.h"
#include "vmm/base/buf.h"
#include "vmm/base/err.h"

struct agent;

/* NULL with a sentence when the code is not valid. The caller frees with agent_free (takes NULL).
 * Any thread. */
struct agent *agent_compile(const void *code, size_t len, struct err *e);
void agent_free(struct agent *a);

/* What a run may ask for. `reg` maps gdb's register number to its value; false: it has none. */
struct agent_env {
    void *arg;
    bool (*reg)(void *arg, unsigned number, uint64_t *value);
    bool (*mem)(void *arg, uint64_t addr, void *dst, size_t len);
    struct buf *print; /* where printf goes, or NULL */
};

/* Runs to the end and gives the value on top of the stack (0 when it is empty). -EFAULT, -EINVAL or
 * -ELOOP (too many instructions) with a sentence. Many threads may run one `a`. */
int agent_run(const struct agent *a, const struct agent_env *env, uint64_t *value, struct err *e);

#endif
