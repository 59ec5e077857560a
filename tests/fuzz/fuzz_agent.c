/* Agent expressions: whatever the check lets pass runs within its stack and ends. */
#include <stdint.h>
#include <string.h>

#include "debug/gdb/agent.h"

static bool reg(void *arg, unsigned number, uint64_t *v)
{
    (void)arg;
    *v = number * 0x0101010101010101u;
    return number % 7 != 6;
}
static bool mem(void *arg, uint64_t addr, void *dst, size_t len)
{
    (void)arg;
    memset(dst, (int)addr, len);
    return (addr & 0xf) != 0xf;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf print = {0};
    const struct agent_env env = {.reg = reg, .mem = mem, .print = &print};
    struct agent *a = agent_compile(data, size, NULL);
    uint64_t v;

    if (a)
        (void)agent_run(a, &env, &v, NULL);
    agent_free(a);
    buf_fini(&print);
    return 0;
}
