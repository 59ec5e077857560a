/* Expression text, with names, registers and memory that always answer. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "debug/expr.h"

static bool symbol(void *arg, const char *name, uint64_t *v)
{
    (void)arg;
    *v = strlen(name);
    return name[0] != 'f';
}
static int text_fn(void *arg, const char *name)
{
    (void)arg;
    return name[0] == 'f';
}
static bool mem(void *arg, uint64_t at, void *dst, size_t len)
{
    (void)arg;
    memset(dst, (int)at, len);
    return at & 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct expr_names names = {NULL, symbol, NULL, text_fn};
    const struct expr_env env = {.mem = mem};
    char *text = strndup((const char *)data, size);
    struct expr *x = expr_compile(text, &names, NULL);
    uint64_t v;
    if (x)
        (void)expr_eval(x, &env, &v, NULL);
    expr_free(x);
    free(text);
    return 0;
}
