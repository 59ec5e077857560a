/*
 * vCPUs, the last stop, the log; echo, source, help. Main thread.
 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "debug/commands/commands.h"
#include "vmm/base/log.h"
#include "vmm/base/textfile.h"
#include "vmm/base/x.h"

/* ---- vCPUs ----------------------------------------------------------------------------------- */

int cmd_info_cpus_run(struct cmd_client *c, const char *args, struct out *o)
{
    static const char *const columns[] = {"focus", ">vcpu", "mode", "ring", "status", "at", NULL};
    bool stands = session_state(c->s) != SS_RUNNING;

    (void)args;
    out_table(o, "cpus", NULL, columns);
    for (unsigned i = 0; i < session_cpus(c->s); i++) {
        const struct vcpu_state *cpu = stands ? session_cpu(c->s, i, VS_REGS | VS_SREGS) : NULL;
        char name[200];

        out_row(o);
        out_cell(o, "%s", i == session_focus(c->s) ? "*" : "");
        out_cell_u64(o, i);
        if (cpu) {
            uint64_t pc = cpu->sregs.cs.base + cpu->regs.rip;

            out_cell(o, "%s", cpu_mode_name(session_mode(c->s, i)));
            out_cell(o, "%u", cpu_cpl(&cpu->sregs));
            out_cell(o, "%s", session_cpu_status(c->s, i));
            out_cell(o, "0x%" PRIx64 "%s", pc, cmd_symbol(c, pc, name, sizeof name));
        } else {
            out_cell(o, "-");
            out_cell(o, "-");
            out_cell(o, "%s", session_cpu_status(c->s, i));
        }
    }
    out_table_end(o);
    return 0;
}

int cmd_vcpu_run(struct cmd_client *c, const char *args, struct out *o)
{
    struct err e = {0};
    uint64_t n;

    if (!*args) {
        out_text(o, "[Current vCPU is %u]", session_focus(c->s));
        out_json_u64(o, "vcpu", session_focus(c->s));
        return 0;
    }
    if (!isdigit((unsigned char)*args) ? cmd_eval(c, args, &n, &e)
                                       : (n = strtoull(args, NULL, 0), 0))
        return cmd_fail(o, &e);
    if (n >= session_cpus(c->s)) {
        out_error(o, "there is no vCPU %" PRIu64 ": this guest has %u (from 0)", n,
                  session_cpus(c->s));
        return -EINVAL;
    }
    if (session_set_focus(c->s, (unsigned)n, &e))
        return cmd_fail(o, &e);
    out_text(o, "[Switching to vCPU %u]", (unsigned)n);
    out_json_u64(o, "vcpu", n);
    return 0;
}

int cmd_info_stop_run(struct cmd_client *c, const char *args, struct out *o)
{
    const struct stop_info *s = session_last_stop(c->s);
    static const char *const states[] = {"stopped", "running", "ended"};

    (void)args;
    out_kv_str(o, "state", states[session_state(c->s)]);
    out_kv_str(o, "reason", stop_kind_name(s->kind));
    out_kv_str(o, "story", s->text);
    out_kv_u64(o, "vcpu", s->vcpu);
    out_kv_hex(o, "rip", s->rip);
    if (s->point_id > 0)
        out_kv_u64(o, "point", (uint64_t)s->point_id);
    if (s->kind == STOP_WATCHPOINT) {
        out_kv_hex(o, "address", s->addr);
        out_kv_hex(o, "old value", s->old_value);
        out_kv_hex(o, "new value", s->new_value);
        out_kv_hex(o, "by", s->by);
        if (s->device)
            out_kv_str(o, "device", s->device);
    }
    if (s->kind == STOP_DEBUG_EXIT || s->kind == STOP_HOST_ERROR)
        out_kv_u64(o, "code", s->code);
    return 0;
}

/* ---- log ---------------------------------------------------------------------------------------
 */

int cmd_info_log_run(struct cmd_client *c, const char *args, struct out *o)
{
    static const char *const columns[] = {"line", NULL};
    unsigned long newest = log_newest(), n = 20, first;
    char line[LOG_LINE_CAP], *end;

    (void)c;
    if (*args) {
        n = strtoul(args, &end, 10);
        if (*end || !n) {
            out_error(o, "`info log` takes the number of lines to show, not `%s`", args);
            return -EINVAL;
        }
    }
    out_records(o, "log", columns);
    first = newest > n ? newest - n + 1 : 1;
    for (unsigned long i = first; i <= newest; i++) {
        if (!log_line(i, line))
            continue;
        out_row(o);
        out_cell(o, "%s", line);
        out_text(o, "%s", line);
    }
    out_table_end(o);
    if (!newest)
        out_text(o, "The log is empty: VMSCOPE_LOG=debug or --log FILE shows more.");
    return 0;
}

/* ---- small ones
 * ---------------------------------------------------------------------------------- */

int cmd_echo_run(struct cmd_client *c, const char *args, struct out *o)
{
    struct buf b = {0};
    struct err e = {0};
    int r = cmd_text(args, &b, &e);

    (void)c;
    if (r)
        cmd_fail(o, &e);
    else
        out_line(o, "%s", buf_str(&b));
    buf_fini(&b);
    return r;
}

#define SOURCE_LINES_MAX 10000u

static int no_scripts(struct out *o)
{
    out_error(o, "scripts are not available here: no guest is open");
    return -ENOSYS;
}

static const struct cmd_scripts *scripts_of(const struct cmd_client *c)
{
    return c->s ? session_scripts(c->s) : NULL;
}

int cmd_lua_run(struct cmd_client *c, const char *args, struct out *o)
{
    const struct cmd_scripts *scripts = scripts_of(c);

    if (!scripts)
        return no_scripts(o);
    if (!*args) {
        out_error(o, "what shall run is missing, as in `lua print(vm.regs.rip)`");
        return -EINVAL;
    }
    return scripts->run(scripts->arg, args, false, o);
}

int cmd_help_lua_run(struct cmd_client *c, const char *args, struct out *o)
{
    const struct cmd_scripts *scripts = scripts_of(c);

    return scripts ? scripts->help(scripts->arg, args, o) : no_scripts(o);
}

int cmd_info_scripts_run(struct cmd_client *c, const char *args, struct out *o)
{
    const struct cmd_scripts *scripts = scripts_of(c);

    (void)args;
    return scripts ? scripts->list(scripts->arg, o) : no_scripts(o);
}

static bool is_lua(const char *path)
{
    size_t n = strlen(path);

    return n > 4 && !strcmp(path + n - 4, ".lua");
}

int cmd_source_run(struct cmd_client *c, const char *args, struct out *o)
{
    const struct cmd_scripts *scripts = scripts_of(c);
    struct cmd_state *st = cmd_state(c);
    struct waiting *rest = st->waiting, **rest_end = st->waiting_end;
    struct buf line = {0};
    unsigned n = 0, waiting = 0;
    FILE *f;

    if (!*args) {
        out_error(o, "the name of a file with commands is missing");
        return -EINVAL;
    }
    if (is_lua(args))
        return scripts ? scripts->run(scripts->arg, args, true, o) : no_scripts(o);
    f = textfile_open(args);
    if (!f) {
        int r = -errno;

        out_error(o, "cannot read commands from %s: %s", args,
                  r == -ENXIO ? "it is a pipe that nobody writes to" : strerror(-r));
        return r;
    }
    for (const struct waiting *w = rest; w; w = w->next)
        waiting++;
    /* In front of what waits already: a file that is read inside another one comes first. */
    st->waiting = NULL;
    st->waiting_end = &st->waiting;
    while (waiting + n < SOURCE_LINES_MAX && line.len <= CMD_LINE_MAX &&
           buf_read_line(&line, f, CMD_LINE_MAX + 1))
        cmd_queue(c, buf_str(&line), args, ++n); /* one that is too long is the last: it fails */
    *st->waiting_end = rest;
    if (rest)
        st->waiting_end = rest_end;
    buf_fini(&line);
    if (ferror(f) || waiting + n >= SOURCE_LINES_MAX) {
        out_error(o,
                  ferror(f) ? "%s cannot be read as a file of commands"
                            : "%s brings more than 10000 waiting lines: does it source itself?",
                  args);
        fclose(f);
        return -EINVAL;
    }
    fclose(f);
    return 0;
}
