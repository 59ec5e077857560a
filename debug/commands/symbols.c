/*
 * Symbols, lines and files of symbols. Main thread.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "debug/commands/commands.h"
#include "vmm/base/near.h"
#include "vmm/base/x.h"

int cmd_info_symbol_run(struct cmd_client *c, const char *args, struct out *o)
{
    const struct symbol *sym;
    struct location at;
    struct err e = {0};

    if (cmd_location(c, args, &at, &e))
        return cmd_fail(o, &e);
    sym = symbols_lookup(session_symbols(c->s), at.addr);
    if (!sym) {
        out_line(o, "No symbol matches %s.", args);
        return 0;
    }
    out_json_str(o, "symbol", sym->name);
    out_json_u64(o, "offset", at.addr - sym->addr);
    if (at.addr == sym->addr)
        out_text(o, "%s", sym->name);
    else
        out_text(o, "%s + %" PRIu64, sym->name, at.addr - sym->addr);
    return 0;
}

static int no_symbol(struct cmd_client *c, const char *name, struct out *o)
{
    const struct symbols *t = session_symbols(c->s);
    struct near near = {.word = name};

    for (size_t i = 0; i < symbols_count(t); i++)
        near_offer(&near, symbols_at(t, i)->name);
    if (near.best)
        out_error(o, "there is no symbol `%s`: did you mean `%s`?", name, near.best);
    else
        out_error(o, "there is no symbol `%s` among %zu: `symbol-file FILE` loads others", name,
                  symbols_count(t));
    return -ENOENT;
}

int cmd_info_address_run(struct cmd_client *c, const char *args, struct out *o)
{
    const struct symbol *sym;

    if (!*args) {
        out_error(o, "the name of a symbol is missing, as in `info address main`");
        return -EINVAL;
    }
    sym = symbols_find(session_symbols(c->s), args);
    if (!sym)
        return no_symbol(c, args, o);
    out_text(o, "Symbol \"%s\" is %s at address 0x%" PRIx64 ", %" PRIu64 " bytes.", sym->name,
             sym->is_function ? "a function" : "data", sym->addr, sym->size);
    out_json_str(o, "symbol", sym->name);
    out_json_hex(o, "address", sym->addr);
    out_json_u64(o, "bytes", sym->size);
    out_json_bool(o, "function", sym->is_function);
    return 0;
}

int cmd_info_line_run(struct cmd_client *c, const char *args, struct out *o)
{
    struct location at = {0};
    struct err e = {0};
    const char *file;
    char name[200];
    int line;

    if (!*args) {
        if (cmd_need_stopped(c, o))
            return -EBUSY;
        cmd_pc(c, &at.addr);
    } else if (cmd_location(c, args, &at, &e)) {
        return cmd_fail(o, &e);
    }
    cmd_symbol(c, at.addr, name, sizeof name);
    if (!symbols_line(session_symbols(c->s), at.addr, &file, &line)) {
        out_text(o, "No line number information available for address 0x%" PRIx64 "%s", at.addr,
                 name);
        return 0;
    }
    out_text(o, "Line %d of \"%s\" is at address 0x%" PRIx64 "%s.", line, file, at.addr, name);
    out_json_str(o, "file", file);
    out_json_u64(o, "line", (uint64_t)line);
    out_json_hex(o, "address", at.addr);
    return 0;
}

int cmd_info_functions_run(struct cmd_client *c, const char *args, struct out *o)
{
    static const char *const columns[] = {"address", ">bytes", "name", NULL};
    const struct symbols *t = session_symbols(c->s);

    out_table(o, "functions",
              *args ? "No function has this in its name."
                    : "No symbols are loaded: `symbol-file FILE` loads them from an ELF file.",
              columns);
    for (size_t i = 0; i < symbols_count(t); i++) {
        const struct symbol *sym = symbols_at(t, i);

        if (!sym->is_function || (*args && !strstr(sym->name, args)))
            continue;
        out_row(o);
        out_cell_hex(o, sym->addr);
        out_cell_u64(o, sym->size);
        out_cell(o, "%s", sym->name);
    }
    out_table_end(o);
    return 0;
}

/* Points follow their symbols. */
static void follow(struct cmd_client *c, struct out *o)
{
    struct buf told = {0};

    session_symbols_chosen(c->s);
    session_points_resolve(c->s, &told);
    if (told.len)
        out_line(o, "%.*s", (int)told.len - 1, told.data);
    buf_fini(&told);
}

static int load(struct cmd_client *c, const char *args, bool replace, struct out *o)
{
    struct symbols *t = session_symbols(c->s);
    struct err e = {0};
    char path[1024];
    uint64_t slide = 0;
    int64_t n;

    if (!cmd_word(&args, path, sizeof path)) {
        if (!replace) {
            out_error(o, "the name of an ELF file is missing");
            return -EINVAL;
        }
        symbols_clear(t);
        out_line(o, "No symbols now.");
        return 0;
    }
    if (*args && cmd_eval(c, args, &slide, &e))
        return cmd_fail(o, &e);
    if (replace) { /* a file that cannot be read must not cost the symbols that are there */
        struct symbols *probe = symbols_new();

        n = symbols_load(probe, path, (int64_t)slide, &e);
        symbols_free(probe);
        if (n < 0)
            return cmd_fail(o, &e);
        symbols_clear(t);
    }
    n = symbols_load(t, path, (int64_t)slide, &e);
    if (n < 0)
        return cmd_fail(o, &e);
    out_text(o, "%" PRId64 " symbols read from %s%s.", n, path,
             n ? "" : " (it is stripped: keep the unstripped file beside it)");
    out_json_u64(o, "symbols", (uint64_t)n);
    follow(c, o);
    return 0;
}

int cmd_symbol_file_run(struct cmd_client *c, const char *args, struct out *o)
{
    return load(c, args, true, o);
}

int cmd_add_symbol_file_run(struct cmd_client *c, const char *args, struct out *o)
{
    return load(c, args, false, o);
}
