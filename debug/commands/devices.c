/*
 * The board and what was loaded into it: devices, memory map, guest, console input. Main thread.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "debug/commands/commands.h"
#include "debug/doctor.h"
#include "vmm/base/near.h"
#include "vmm/base/x.h"
#include "vmm/kvm.h"
#include "vmm/probe.h"

/* "name  value…" lines as a table. */
static void device_lines(const char *text, struct out *o)
{
    static const char *const columns[] = {"field", "value", NULL};

    out_records(o, "fields", columns);
    while (*text) {
        size_t n = strcspn(text, "\n"), name = strcspn(text, " \n");

        if (n) {
            char *line = xasprintf("%.*s", (int)n, text);

            out_text(o, "%s", line);
            out_row(o);
            out_cell(o, "%.*s", (int)(name < n ? name : n), line);
            out_cell(o, "%s", name < n ? cmd_blanks(line + name) : "");
            free(line);
        }
        text += n + (text[n] == '\n');
    }
    out_table_end(o);
}

static int one_device(struct cmd_client *c, const char *name, struct out *o)
{
    struct near near = {.word = name};
    struct buf b = {0};
    const char *known;
    int r = session_device_describe(c->s, name, &b);

    if (!r) {
        out_json_str(o, "device", name);
        device_lines(buf_str(&b), o);
    } else {
        for (unsigned i = 0; (known = session_device_name(c->s, i)); i++)
            near_offer(&near, known);
        out_error(o, "there is no device `%s`%s%s%s: `info devices` lists them", name,
                  near.best ? ", did you mean `" : "", near.best ? near.best : "",
                  near.best ? "`?" : "");
    }
    buf_fini(&b);
    return r;
}

int cmd_info_devices_run(struct cmd_client *c, const char *args, struct out *o)
{
    static const char *const columns[] = {"device", "what", NULL};
    const char *name;

    if (*args)
        return one_device(c, args, o);
    out_table(o, "devices", "The board has no devices of vmscope's own.", columns);
    for (unsigned i = 0; (name = session_device_name(c->s, i)); i++) {
        const char *help = "";

        for (unsigned k = 0; dev_table[k]; k++) {
            if (!strcmp(dev_table[k]->name, name))
                help = dev_table[k]->help;
        }
        out_row(o);
        out_cell(o, "%s", name);
        out_cell(o, "%s", help);
    }
    out_table_end(o);
    return 0;
}

/* ---- memory map --------------------------------------------------------------------------------
 */

struct range {
    uint64_t first, end;
    const char *kind, *what;
};

static int by_address(const void *a, const void *b)
{
    const struct range *x = a, *y = b;

    return x->first < y->first ? -1 : x->first > y->first ? 1 : x->end > y->end ? -1 : 1;
}

int cmd_info_mem_run(struct cmd_client *c, const char *args, struct out *o)
{
    static const char *const columns[] = {"first", "last", ">bytes", "kind", "what", NULL};
    /* Fixed places of a PC that are not RAM. */
    static const struct range board[] = {
        {0xfec00000, 0xfec01000, "device", "I/O APIC"},
        {0xfee00000, 0xfee01000, "device", "local APIC"},
    };
    const struct mem *mem = session_mem(c->s);
    const struct boot_claims *claims = &session_boot(c->s)->claims;
    struct range *list;
    size_t n = 0;

    (void)args;
    list = xcalloc(MEM_REGIONS_MAX + BOOT_CLAIMS_MAX + ARRAY_LEN(board), sizeof *list);
    for (unsigned i = 0; i < mem->regions; i++)
        list[n++] = (struct range){mem->region[i].gpa,
                                   mem->region[i].gpa + mem->region[i].len_bytes, "RAM", ""};
    for (unsigned i = 0; i < claims->count; i++)
        list[n++] =
            (struct range){claims->claim[i].gpa, claims->claim[i].gpa + claims->claim[i].len_bytes,
                           "loaded", claims->claim[i].what};
    for (size_t i = 0; i < ARRAY_LEN(board); i++)
        list[n++] = board[i];
    qsort(list, n, sizeof *list, by_address);
    out_table(o, "memory", NULL, columns);
    for (size_t i = 0; i < n; i++) {
        out_row(o);
        out_cell_hex(o, list[i].first);
        out_cell_hex(o, list[i].end - 1);
        out_cell_u64(o, list[i].end - list[i].first);
        out_cell(o, "%s", list[i].kind);
        out_cell(o, "%s", list[i].what);
    }
    out_table_end(o);
    free(list);
    return 0;
}

/* ---- guest
 * --------------------------------------------------------------------------------------- */

int cmd_info_guest_run(struct cmd_client *c, const char *args, struct out *o)
{
    static const char *const modes[] = {"real", "protected, 32 bits", "long, 64 bits"};
    const struct session_config *cfg = session_cfg(c->s);
    const struct boot_state *boot = session_boot(c->s);
    char name[200];

    (void)args;
    out_kv_str(o, "image", cfg->boot.image ? cfg->boot.image : "");
    out_kv_str(o, "loader", boot->loader ? boot->loader : "");
    out_kv_str(o, "loaded", boot->summary);
    out_kv_hex(o, "entry", boot->entry);
    if (*cmd_symbol(c, boot->entry, name, sizeof name))
        out_kv_str(o, "entry symbol", name + 1);
    out_kv_str(o, "mode at entry", modes[boot->mode <= BOOT_MODE_LONG ? boot->mode : 0]);
    if (cfg->boot.append)
        out_kv_str(o, "command line", cfg->boot.append);
    if (cfg->boot.initrd)
        out_kv_str(o, "initrd", cfg->boot.initrd);
    for (unsigned i = 0; i < cfg->boot.modules; i++)
        out_kv_str(o, "module", cfg->boot.module[i].path);
    out_kv_u64(o, "memory bytes", session_mem(c->s)->ram_bytes);
    out_kv_u64(o, "cpus", session_cpus(c->s));
    out_kv_str(o, "irqchip", cfg->irqchip_kernel ? "kernel" : "user");
    out_kv_u64(o, "symbols", symbols_count(session_symbols(c->s)));
    out_kv_u64(o, "guest ns", session_guest_time(c->s));
    out_kv_u64(o, "exits", session_exit_count(c->s));
    out_kv_u64(o, "resets", session_resets(c->s));
    return 0;
}

int cmd_info_kvm_run(struct cmd_client *c, const char *args, struct out *o)
{
    struct probe *p = xcalloc(1, sizeof *p);
    struct err e = {0};
    int kvm = kvm_open(&e), r;

    (void)c;
    (void)args;
    r = kvm < 0 ? kvm : probe_cached(kvm, p, &e);
    if (r < 0)
        cmd_fail(o, &e);
    else
        doctor_report(p, o);
    if (kvm >= 0)
        close(kvm);
    free(p);
    return r < 0 ? r : 0;
}

/* ---- input
 * ----------------------------------------------------------------------------------------- */

int cmd_send_run(struct cmd_client *c, const char *args, struct out *o)
{
    enum door_input to = DOOR_COM1;
    struct buf b = {0};
    struct err e = {0};
    size_t n;
    int r;

    if (cmd_keyword(&args, "com2"))
        to = DOOR_COM2;
    else
        cmd_keyword(&args, "com1");
    if (!*args) {
        out_error(o, "the text is missing, as in `send root\\r`");
        return -EINVAL;
    }
    r = cmd_text(args, &b, &e);
    if (r) {
        cmd_fail(o, &e);
    } else {
        n = session_input(c->s, to, buf_str(&b), b.len);
        out_json_u64(o, "taken", n);
        if (n < b.len) {
            out_error(o,
                      "the serial line took %zu of %zu bytes: the guest has not read what was "
                      "sent before",
                      n, b.len);
            r = -EAGAIN;
        }
    }
    buf_fini(&b);
    return r;
}

int cmd_type_run(struct cmd_client *c, const char *args, struct out *o)
{
    struct buf b = {0};
    struct err e = {0};
    size_t n;
    int r;

    if (!*args) {
        out_error(o, "the text is missing, as in `type ls\\n`");
        return -EINVAL;
    }
    r = cmd_text(args, &b, &e);
    if (r) {
        cmd_fail(o, &e);
    } else {
        n = session_type(c->s, buf_str(&b));
        out_json_u64(o, "taken", n);
        if (n < b.len) {
            out_error(o,
                      "the keyboard took %zu of %zu characters: the rest has no key, or the "
                      "guest has not read what was typed before",
                      n, b.len);
            r = -EAGAIN;
        }
    }
    buf_fini(&b);
    return r;
}
