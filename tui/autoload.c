/*
 * Finds, shows, asks, remembers. See autoload.h. Decisions are lines `WORD SHA-256 PATH` in
 * vmscope/autoload of the user's state folder; the last one for a content counts.
 */
#include "tui/autoload.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tui/console_io.h"
#include "vmm/base/buf.h"
#include "vmm/base/esc.h"
#include "vmm/base/sha256.h"
#include "vmm/base/textfile.h"
#include "vmm/base/x.h"

#define SCRIPT_MAX (4 << 20)
#define STATE_MAX  (1 << 20)

struct beside {
    char path[PATH_MAX], sum[65];
    struct buf text;
};

/* ---- the file ------------------------------------------------------------------------------- */

static bool read_all(const char *path, size_t max, struct buf *out)
{
    FILE *f = textfile_open(path);
    char bytes[4096];
    struct stat st;
    size_t n;
    bool good;

    if (!f)
        return false;
    good = !fstat(fileno(f), &st) && S_ISREG(st.st_mode);
    while (good && out->len <= max && (n = fread(bytes, 1, sizeof bytes, f)) > 0)
        buf_add(out, bytes, n);
    good = good && !ferror(f) && out->len <= max;
    fclose(f);
    return good;
}

/* kernel.elf has kernel.elf.lua, or kernel.lua. */
static bool find(const char *image, struct beside *b)
{
    const char *slash = strrchr(image, '/'), *name = slash ? slash + 1 : image;
    const char *dot = strrchr(name, '.');

    if (strlen(image) + 5 > sizeof b->path)
        return false;
    snprintf(b->path, sizeof b->path, "%s.lua", image);
    if (access(b->path, F_OK) && dot && dot != name && strcmp(dot, ".lua"))
        snprintf(b->path, sizeof b->path, "%.*s.lua", (int)(dot - image), image);
    if (access(b->path, F_OK) || !read_all(b->path, SCRIPT_MAX, &b->text))
        return false;
    sha256_hex(buf_str(&b->text), b->text.len, b->sum);
    return true;
}

/* ---- what was decided before ------------------------------------------------------------------
 */

static bool state_path(char dst[PATH_MAX], bool make)
{
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    char folder[PATH_MAX - 16];
    int n;

    if (state && *state == '/')
        n = snprintf(folder, sizeof folder, "%s/vmscope", state);
    else if (home && *home == '/')
        n = snprintf(folder, sizeof folder, "%s/.local/state/vmscope", home);
    else
        return false;
    if (n < 0 || (size_t)n >= sizeof folder)
        return false;
    for (char *p = folder + 1; make; *p++ = '/') {
        p = strchrnul(p, '/');
        bool last = !*p;

        *p = '\0';
        if (mkdir(folder, 0700) && errno != EEXIST)
            return false;
        if (last)
            break;
    }
    snprintf(dst, PATH_MAX, "%s/autoload", folder);
    return true;
}

/* 'a' always, 'n' never, 0 nothing. */
static char remembered(const char *sum)
{
    char path[PATH_MAX], word = 0;
    struct buf text = {0};
    const char *p;

    if (state_path(path, false) && read_all(path, STATE_MAX, &text)) {
        for (p = buf_str(&text); *p; p += strcspn(p, "\n"), p += *p == '\n') {
            if (!strncmp(p, "always ", 7) && !strncmp(p + 7, sum, 64))
                word = 'a';
            if (!strncmp(p, "never ", 6) && !strncmp(p + 6, sum, 64))
                word = 'n';
        }
    }
    buf_fini(&text);
    return word;
}

static void remember(const struct beside *b, bool always)
{
    char path[PATH_MAX];
    struct buf name = {0};
    FILE *f = state_path(path, true) ? fopen(path, "ae") : NULL;

    esc_line(&name, b->path, strlen(b->path));
    if (!f || fprintf(f, "%s %s %s\n", always ? "always" : "never", b->sum, buf_str(&name)) < 0 ||
        fclose(f))
        console_complain("this answer cannot be remembered in %s: %s", path, strerror(errno));
    buf_fini(&name);
}

/* ---- asking -----------------------------------------------------------------------------------
 */

static void print_safe(const char *text, size_t len)
{
    struct buf safe = {0};

    esc_console(&safe, text, len);
    fwrite(buf_str(&safe), 1, safe.len, stdout);
    buf_fini(&safe);
}

/* What its author says of it: the comment at its beginning. */
static void print_comment(const struct beside *b)
{
    const char *p = buf_str(&b->text);

    for (int lines = 0; lines < 8 && !strncmp(p, "--", 2); lines++) {
        size_t n = strcspn(p, "\n");

        fputs("    ", stdout);
        print_safe(p, n);
        fputs("\n", stdout);
        p += n + (p[n] == '\n');
    }
}

static unsigned lines_of(const struct beside *b)
{
    unsigned n = 0;

    for (size_t i = 0; i < b->text.len; i++)
        n += b->text.data[i] == '\n';
    return n;
}

static char ask_person(const struct beside *b, bool sandbox)
{
    char answer[64];

    fputs("Beside the guest lies a script, ", stdout);
    print_safe(b->path, strlen(b->path));
    printf(" (%u lines).\n", lines_of(b));
    print_comment(b);
    printf(
        "It would run now, before the guest starts: it can do with the guest all that you can%s\n",
        sandbox ? "; files and programs of this host it cannot reach (--script-sandbox)."
                : ", and read and\nwrite your files (--script-sandbox takes that away).");
    for (;;) {
        fputs("Run it? yes, no, always or never (until it changes), show: ", stdout);
        fflush(stdout);
        if (!fgets(answer, sizeof answer, stdin))
            return 'n';
        switch (answer[0]) {
        case 'y':
        case 'a':
            return answer[0];
        case 'n':
            return answer[1] == 'e' ? 'N' : 'n';
        case 's':
            print_safe(buf_str(&b->text), b->text.len);
            break;
        default:
            break;
        }
    }
}

static bool may_run(const struct beside *b, const struct opts *o, bool ask)
{
    char answer;

    if (o->autoload == AUTOLOAD_YES)
        return true;
    if (!ask) {
        console_complain("the script %s beside the guest was not run: --autoload yes runs it, "
                         "--autoload no says nothing",
                         b->path);
        return false;
    }
    answer = remembered(b->sum);
    if (answer)
        return answer == 'a';
    answer = ask_person(b, o->script_sandbox);
    if (answer == 'a' || answer == 'N')
        remember(b, answer == 'a');
    return answer == 'y' || answer == 'a';
}

int autoload(struct scripts *h, const struct opts *o, bool ask, bool *ran, struct err *e)
{
    struct beside b = {.path = ""};
    char *chunk;
    int r = 0;

    *ran = false;
    if (o->autoload != AUTOLOAD_NO && find(o->session.boot.image, &b) && may_run(&b, o, ask)) {
        *ran = true;
        chunk = xasprintf("@%s", b.path);
        if (memchr(buf_str(&b.text), 0, b.text.len))
            r = err_set(e, EINVAL, "%s is no script: it has zero bytes", b.path);
        else /* what was read and asked about, not what the file is by now */
            r = scripts_run_text(h, buf_str(&b.text), chunk, e);
        free(chunk);
    }
    buf_fini(&b.text);
    return r;
}
