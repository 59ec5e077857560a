/*
 * kaslr: the slide of a Linux guest. Main thread.
 */
#include "debug/symbols/kaslr.h"

#include <stdio.h>

#include "debug/commands/commands.h"

int cmd_kaslr_run(struct cmd_client *c, const char *args, struct out *o)
{
    struct kaslr k = {0};
    struct err e = {0};
    char sign[2] = "";

    (void)args;
    if (kaslr_find(c->s, session_focus(c->s), &k, &e) < 0)
        return cmd_fail(o, &e);
    if (k.slide < 0)
        sign[0] = '-';
    out_text(o, "KASLR slide: %s0x%llx (%s at 0x%llx)", sign,
             (unsigned long long)(k.slide < 0 ? -k.slide : k.slide),
             k.symbol ? k.symbol : "the image begins", (unsigned long long)k.at);
    out_text(o, "In gdb: symbol-file -o %s0x%llx vmlinux", sign,
             (unsigned long long)(k.slide < 0 ? -k.slide : k.slide));
    out_json_u64(o, "slide", (uint64_t)k.slide);
    out_json_hex(o, "address", k.at);
    return 0;
}
