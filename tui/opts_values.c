/*
 * Values of options. Main thread.
 */
#include "tui/opts_values.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <regex.h>
#include <stdlib.h>
#include <string.h>

#include "debug/cmd.h"
#include "tui/opts.h"
#include "vmm/base/near.h"
#include "vmm/base/x.h"

/* Index of `value` in a list ended by NULL, or -1 with a sentence. */
static int choose(const char *value, const char *const *names, struct err *e)
{
    struct near near = {.word = value};
    struct buf list = {0};

    for (int i = 0; names[i]; i++) {
        if (!strcmp(names[i], value)) {
            buf_fini(&list);
            return i;
        }
        near_offer(&near, names[i]);
        buf_addf(&list, "%s%s", !i ? "" : names[i + 1] ? ", " : " or ", names[i]);
    }
    if (near.best)
        err_set(e, EINVAL, "`%s` is none of %s: did you mean `%s`?", value, buf_str(&list),
                near.best);
    else
        err_set(e, EINVAL, "`%s` is none of %s", value, buf_str(&list));
    buf_fini(&list);
    return -1;
}

static int number(const char *value, const char *what, uint64_t *out, struct err *e)
{
    char *end;

    errno = 0;
    *out = strtoull(value, &end, 0);
    if (!isdigit((unsigned char)*value) || *end || errno)
        return err_set(e, EINVAL, "`%s` is not %s", value, what);
    return 0;
}

int opt_memory(struct opts *o, const char *value, struct err *e)
{
    static const char units[] = "KMGT";
    const char *unit;
    char *end;
    uint64_t n;
    unsigned shift = 0;

    errno = 0;
    n = strtoull(value, &end, 0);
    unit = *end ? strchr(units, toupper((unsigned char)*end)) : NULL;
    if (unit) {
        shift = 10 * ((unsigned)(unit - units) + 1);
        end += 1;
        end += toupper((unsigned char)*end) == 'B';
    }
    if (!isdigit((unsigned char)*value) || *end || errno)
        return err_set(e, EINVAL, "`%s` is not a size of memory: 64M and 2G are", value);
    if (shift && n > UINT64_MAX >> shift)
        return err_set(e, EINVAL, "%s of memory is more than can be counted", value);
    n <<= shift;
    if (n < MEM_MIN_BYTES)
        return err_set(e, EINVAL, "%s is less than 1M of memory%s%s%s", value,
                       !shift && n ? ", for a number alone counts bytes: did you mean " : "",
                       !shift && n ? value : "", !shift && n ? "M?" : "");
    o->session.mem_bytes = n;
    return 0;
}

int opt_cpus(struct opts *o, const char *value, struct err *e)
{
    uint64_t n;

    if (number(value, "a number of vCPUs (cpus)", &n, e))
        return -EINVAL;
    if (n < 1 || n > MACHINE_CPUS_MAX)
        return err_set(e, EINVAL, "a guest has 1 to %d vCPUs (cpus), not %s", MACHINE_CPUS_MAX,
                       value);
    o->session.cpus = (unsigned)n;
    return 0;
}

int opt_cpu(struct opts *o, const char *value, struct err *e)
{
    (void)e; /* names are checked with the host's CPUID */
    o->session.cpu_features = value;
    return 0;
}

int opt_boot(struct opts *o, const char *value, struct err *e)
{
    const char *names[BOOT_KINDS + 1] = {0};
    int k;

    for (int i = 0; i < BOOT_KINDS; i++)
        names[i] = boot_kind_name((enum boot_kind)i);
    k = choose(value, names, e);
    if (k < 0)
        return -EINVAL;
    o->session.boot.kind = (enum boot_kind)k;
    return 0;
}

int opt_load_addr(struct opts *o, const char *value, struct err *e)
{
    o->session.boot.has_load_addr = true;
    return number(value, "an address", &o->session.boot.load_addr, e);
}

int opt_mode(struct opts *o, const char *value, struct err *e)
{
    static const char *const names[] = {"real", "prot", "long", NULL};
    static const enum boot_mode modes[] = {BOOT_MODE_REAL, BOOT_MODE_PROT, BOOT_MODE_LONG};
    int k = choose(value, names, e);

    if (k < 0)
        return -EINVAL;
    o->session.boot.has_mode = true;
    o->session.boot.mode = modes[k];
    return 0;
}

int opt_append(struct opts *o, const char *value, struct err *e)
{
    (void)e;
    o->session.boot.append = value;
    return 0;
}

int opt_initrd(struct opts *o, const char *value, struct err *e)
{
    (void)e;
    o->session.boot.initrd = value;
    return 0;
}

int opt_module(struct opts *o, const char *value, struct err *e)
{
    struct boot_config *b = &o->session.boot;
    const char *comma = strchr(value, ',');
    char *path;

    if (b->modules == BOOT_MODULES_MAX)
        return err_set(e, EINVAL, "there are more than %d modules", BOOT_MODULES_MAX);
    if (comma == value)
        return err_set(e, EINVAL, "`%s` does not begin with the name of a file", value);
    path = comma ? xasprintf("%.*s", (int)(comma - value), value) : xstrdup(value);
    o->owned = xrealloc(o->owned, o->owned_count + 1, sizeof *o->owned);
    o->owned[o->owned_count++] = path;
    b->module[b->modules++] = (struct boot_module){path, comma ? comma + 1 : NULL};
    return 0;
}

/* `names` end with "file:PATH", which `kinds` need not cover. */
static int serial(struct serial_choice *s, const char *value, const char *const *names,
                  const enum serial_kind *kinds, struct err *e)
{
    int k;

    if (!strncmp(value, "file:", 5) && strcmp(value, "file:PATH")) {
        if (!value[5])
            return err_set(e, EINVAL, "behind `file:` the name of a file is missing");
        *s = (struct serial_choice){SERIAL_FILE, value + 5};
        return 0;
    }
    k = choose(value, names, e);
    if (k < 0)
        return -EINVAL;
    *s = (struct serial_choice){kinds[k], "PATH"};
    return 0;
}

int opt_serial(struct opts *o, const char *value, struct err *e)
{
    static const char *const names[] = {"stdio", "pty", "none", "file:PATH", NULL};
    static const enum serial_kind kinds[] = {SERIAL_STDIO, SERIAL_PTY, SERIAL_NONE, SERIAL_FILE};

    return serial(&o->serial, value, names, kinds, e);
}

int opt_debugcon(struct opts *o, const char *value, struct err *e)
{
    static const char *const names[] = {"stderr", "stdio", "none", "file:PATH", NULL};
    static const enum serial_kind kinds[] = {SERIAL_STDERR, SERIAL_STDIO, SERIAL_NONE, SERIAL_FILE};

    return serial(&o->debugcon, value, names, kinds, e);
}

int opt_irqchip(struct opts *o, const char *value, struct err *e)
{
    static const char *const names[] = {"user", "kernel", NULL};
    int k = choose(value, names, e);

    o->session.irqchip_kernel = k == 1;
    return k < 0 ? -EINVAL : 0;
}

int opt_slow_clock(struct opts *o, const char *value, struct err *e)
{
    uint64_t n;

    if (number(value, "a factor", &n, e))
        return -EINVAL;
    if (n < 1 || n > 1000)
        return err_set(e, EINVAL, "`%s` is not a factor of 1 to 1000", value);
    o->session.slow_clock = (unsigned)n;
    return 0;
}

static int add_command(struct opts *o, bool is_file, const char *text)
{
    o->command = xrealloc(o->command, o->commands + 1, sizeof *o->command);
    o->command[o->commands++] = (struct opt_command){is_file, text};
    return 0;
}

int opt_command_file(struct opts *o, const char *value, struct err *e)
{
    (void)e;
    return add_command(o, true, value);
}

int opt_command_text(struct opts *o, const char *value, struct err *e)
{
    (void)e;
    return add_command(o, false, value);
}

int opt_timeout(struct opts *o, const char *value, struct err *e)
{
    char *end;
    double s = strtod(value, &end);

    if (!isdigit((unsigned char)*value) || *end || !isfinite(s) || s <= 0 || s > 1e9)
        return err_set(e, EINVAL, "`%s` is not a number of seconds above 0", value);
    o->timeout_ns = (uint64_t)(s * 1e9);
    return 0;
}

int opt_triple(struct opts *o, const char *value, struct err *e)
{
    static const char *const names[] = {"stop", "reset", "exit", NULL};
    int k = choose(value, names, e);

    if (k < 0)
        return -EINVAL;
    o->session.on_triple_fault = k == 1   ? ON_TRIPLE_RESET
                                 : k == 2 ? ON_TRIPLE_EXIT
                                          : ON_TRIPLE_STOP;
    return 0;
}

int opt_symbols(struct opts *o, const char *value, struct err *e)
{
    const char *at = strrchr(value, '@');
    uint64_t n;

    if (at == value)
        return err_set(e, EINVAL, "`%s` does not begin with the name of a file", value);
    if (at && isdigit((unsigned char)at[1]) && number(at + 1, "an address", &n, e))
        return -EINVAL;
    o->session.symbols = value;
    return 0;
}

int opt_assist(struct opts *o, const char *value, struct err *e)
{
    static const char *const names[] = {"on", "off", NULL};
    int k = choose(value, names, e);

    o->session.assist_off = k == 1;
    return k < 0 ? -EINVAL : 0;
}

int opt_gdb(struct opts *o, const char *value, struct err *e)
{
    (void)e; /* session_open listens there, and says what is wrong with it */
    o->session.gdb = value;
    return 0;
}

/* ---- scripts and checks ---------------------------------------------------------------------- */

static int add_text(const char ***list, unsigned *count, const char *value)
{
    *list = xrealloc(*list, *count + 1, sizeof **list);
    (*list)[(*count)++] = value;
    return 0;
}

int opt_script(struct opts *o, const char *value, struct err *e)
{
    (void)e;
    return add_text(&o->script, &o->scripts, value);
}

int opt_autoload(struct opts *o, const char *value, struct err *e)
{
    static const char *const words[] = {"ask", "yes", "no"};

    for (unsigned i = 0; i < ARRAY_LEN(words); i++)
        if (!strcmp(value, words[i])) {
            o->autoload = i;
            return 0;
        }
    return err_set(e, EINVAL, "it is ask, yes or no, not `%s`", value);
}

int opt_sandbox(struct opts *o, const char *value, struct err *e)
{
    (void)value;
    (void)e;
    o->script_sandbox = true;
    return 0;
}

static int check_regex(const char *value, struct err *e)
{
    char why[200];
    regex_t re;
    int r = regcomp(&re, value, REG_EXTENDED | REG_NOSUB);

    if (r) {
        regerror(r, &re, why, sizeof why);
        return err_set(e, EINVAL, "`%s` is no regular expression: %s", value, why);
    }
    regfree(&re);
    return 0;
}

int opt_expect(struct opts *o, const char *value, struct err *e)
{
    int r = check_regex(value, e);

    return r ? r : add_text(&o->expect, &o->expects, value);
}

int opt_fail(struct opts *o, const char *value, struct err *e)
{
    int r = check_regex(value, e);

    return r ? r : add_text(&o->fail, &o->fails, value);
}

int opt_check(struct opts *o, const char *value, struct err *e)
{
    (void)e; /* it is tried when the guest's symbols are known */
    return add_text(&o->condition, &o->conditions, value);
}

int opt_send(struct opts *o, const char *value, struct err *e)
{
    struct buf b = {0};
    int r = cmd_text(value, &b, e);

    buf_fini(&b);
    if (r < 0)
        return r;
    o->send = xrealloc(o->send, o->sends + 1, sizeof *o->send);
    o->send[o->sends++] = (struct opt_send){.text = value, .after = o->expects};
    return 0;
}

int opt_max_exits(struct opts *o, const char *value, struct err *e)
{
    char *end;
    unsigned long long n;

    errno = 0;
    n = strtoull(value, &end, 10);
    if (!isdigit((unsigned char)*value) || *end || errno || !n)
        return err_set(e, EINVAL, "`%s` is not a number of exits above 0", value);
    o->max_exits = n;
    return 0;
}

#define PATH_OPTION(name)                                                                          \
    int opt_##name(struct opts *o, const char *value, struct err *e)                               \
    {                                                                                              \
        (void)e;                                                                                   \
        o->name = value;                                                                           \
        return 0;                                                                                  \
    }
PATH_OPTION(junit)
PATH_OPTION(keep)

int opt_json(struct opts *o, const char *value, struct err *e)
{
    if (*value && o->sub != SUB_RUN)
        return err_set(e, EINVAL, "only `vmscope run` takes a file here");
    o->json |= !*value;
    if (*value)
        o->json_file = value;
    return 0;
}

int opt_control(struct opts *o, const char *value, struct err *e)
{
    if (strncmp(value, "unix:", 5) || !value[5])
        return err_set(e, EINVAL, "`%s` is not unix:PATH, the socket to listen on", value);
    o->session.control = value;
    return 0;
}
