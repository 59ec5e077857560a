/*
 * Hostile lines: the first byte chooses between a line for cmd_exec (without a guest, so that no
 * command reaches a machine) with its completions, a format, and the words of a command line.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "debug/cmd.h"
#include "debug/format.h"
#include "tui/opts.h"
#include "vmm/base/x.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What would read files or probe the host. */
static bool leaves_the_process(const char *line)
{
    struct err e = {0};
    const struct cmd *r = cmd_find(&line, &e);

    return r && (!strcmp(r->name, "source") || !strcmp(r->name, "info kvm"));
}

static void exec(const char *line)
{
    struct cmd_client c = {0};
    struct out o = {0};

    if (!leaves_the_process(line)) {
        (void)!cmd_exec(&c, line, &o);
        BUG_ON(o.json.len < 2);
        cmd_queue(&c, line, "file", 1);
        (void)!cmd_exec(&c, "", &o);
    }
    out_fini(&o);
    for (size_t i = 0; i < 5; i++)
        free(cmd_complete(&c, line, i));
    cmd_client_fini(&c);
}

static void words(char *line)
{
    char *argv[32] = {(char *)"vmscope"}, *save = NULL;
    int argc = 1;
    struct opts o;
    struct err e = {0};

    for (char *w = strtok_r(line, "\n", &save); w && argc < 31; w = strtok_r(NULL, "\n", &save))
        argv[argc++] = w;
    BUG_ON(opts_parse(&o, argc, argv, &e) && !e.msg[0]);
    opts_fini(&o);
}

static void format(const char *line)
{
    struct format f;
    struct err e = {0};
    struct buf b = {0};
    char text[32];

    if (!format_parse(&line, &f, &e)) {
        format_text(&f, text);
        format_value(&b, 0x8123456789abcdef, f.size ? f.size : 8, f.letter, f.count & 1);
    }
    buf_fini(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *line;

    if (size < 1 || size > 65536)
        return 0;
    line = xasprintf("%.*s", (int)(size - 1), (const char *)data + 1);
    switch (data[0] % 3) {
    case 0:
        exec(line);
        break;
    case 1:
        words(line);
        break;
    default:
        format(line);
    }
    free(line);
    return 0;
}
