/*
 * What a script's hooks cost a storm of port writes.
 */
#include "debug/cmd.h"
#include "scripts/lua_host.h"
#include "tests/bench/bench.h"

static struct rate storm(const void *arg)
{
    struct session *s = bench_open(&guest_storm);
    struct cmd_client client = {.s = s, .quit_status = -1};
    struct scripts_config sc = {0};
    struct scripts *h;
    struct err e = {0};
    struct rate r;
    const char *why;

    if (scripts_open(&h, s, &client, &sc, &e))
        die("%s", e.msg);
    if (arg && scripts_run_text(h, arg, "=bench", &e))
        die("%s", e.msg);
    r = bench_run(s, guest_storm.rounds);
    if (scripts_failed(h, &why))
        die("%s", why);
    scripts_close(h);
    session_close(s);
    cmd_client_fini(&client);
    return r;
}

void bench_scripts(void)
{
    static const char other[] = "n = 0 vm.on('io', 'port == 0x81', function() n = n + 1 end)";
    static const char value[] =
        "n = 0 vm.on('io', 'port == 0x80 && value == 77', function() n = n + 1 end)";
    static const char one[] = "n = 0 vm.on('io', 'port == 0x80', function() n = n + 1 end)";
    static const char many[] = "n = 0 for p = 0x80, 0x80 + 999 do\n"
                               "vm.on('io', 'port == ' .. p, function() n = n + 1 end) end";
    const struct row rows[] = {
        {"script, another port", "no script", "exits/s", storm, NULL, storm, other, 0.95},
        {"script, another value", "no script", "exits/s", storm, NULL, storm, value, 0.95},
        {"script that counts", "no script", "exits/s", storm, NULL, storm, one, 0.5},
        {"1,000 hooks, one matches", "one hook", "exits/s", storm, one, storm, many, 0.5},
    };

    for (unsigned i = 0; i < sizeof rows / sizeof rows[0]; i++)
        row_print(&rows[i]);
}
