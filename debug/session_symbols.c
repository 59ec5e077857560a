/*
 * The file that symbols came from: read at the start, and again when a reset finds another. Main
 * thread.
 */
#include "debug/session_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "debug/symbols/sym.h"
#include "debug/trace/tracer.h"
#include "vmm/base/log.h"
#include "vmm/base/x.h"

/* Size and time of the file that symbols came from, to see whether it is the same at a reset. */
static void look_at_file(const char *path, struct symbol_file *f)
{
    struct stat st;

    *f = (struct symbol_file){.known = !stat(path, &st)};
    if (!f->known)
        return;
    f->ino = st.st_ino;
    f->bytes = st.st_size;
    f->mtime = st.st_mtim;
}

/* "FILE[@ADDR]"; without --symbols the image's own, whose lack is no error. Into `t`. */
int session_read_symbols(struct session *s, struct symbols *t, struct symbol_file *f, struct err *e)
{
    const char *spec = s->cfg.symbols, *at = spec ? strrchr(spec, '@') : NULL;
    int64_t slide = 0, n;
    char *path, *end;

    if (!spec) {
        struct err quiet = {0};

        *f = (struct symbol_file){0};
        if (!s->vm->boot.symbols)
            return 0;
        look_at_file(s->vm->boot.symbols, f);
        if (symbols_load(t, s->vm->boot.symbols, 0, &quiet) < 0)
            log_info("no symbols: %s", quiet.msg);
        return 0;
    }
    path = xstrdup(spec);
    if (at) {
        slide = (int64_t)strtoull(at + 1, &end, 0);
        if (!at[1] || *end) {
            free(path);
            return err_set(e, EINVAL, "--symbols %s: \"%s\" is not an address", spec, at + 1);
        }
        path[at - spec] = 0;
    }
    look_at_file(path, f);
    n = symbols_load(t, path, slide, e);
    free(path);
    return n < 0 ? (int)n : 0;
}

static bool same_file(const struct symbol_file *a, const struct symbol_file *b)
{
    return a->known == b->known && a->ino == b->ino && a->bytes == b->bytes &&
           a->mtime.tv_sec == b->mtime.tv_sec && a->mtime.tv_nsec == b->mtime.tv_nsec;
}

/* The image was loaded again: symbols of a file that was built anew since are, too. */
void session_renew_symbols(struct session *s)
{
    struct symbols *probe = symbols_new();
    struct symbol_file now = {0};
    struct err e = {0};
    struct buf told = {0};
    int rc = session_read_symbols(s, probe, &now, &e);

    symbols_free(probe);
    if (!now.known || same_file(&now, &s->symbol_file))
        return;
    if (rc < 0 || s->symbols_chosen) {
        session_tell_line(
            s, rc < 0 ? "The file with the symbols has changed and cannot be read; the old ones "
                        "stay."
                      : "The file of the guest has changed; `symbol-file` reads symbols anew.");
        s->symbol_file = now;
        return;
    }
    (void)tracer_lock(s->tracer); /* its thread looks names up */
    symbols_clear(s->symbols);
    (void)session_read_symbols(s, s->symbols, &s->symbol_file, NULL);
    tracer_unlock(s->tracer);
    buf_adds(&told, "The file with the symbols has changed: they were read again.");
    session_tell_line(s, buf_str(&told));
    buf_clear(&told);
    session_points_resolve(s, &told);
    if (told.len)
        session_tell_line(s, (told.data[told.len - 1] = 0, buf_str(&told)));
    buf_fini(&told);
}
