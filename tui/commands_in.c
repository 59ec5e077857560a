/*
 * Lines of -x and -e. Main thread.
 */
#include "tui/commands_in.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "debug/cmd.h"
#include "vmm/base/buf.h"
#include "vmm/base/textfile.h"
#include "vmm/base/x.h"

#define FILE_LINES_MAX 1000000u

static void add(struct commands_in *in, const char *text, const char *file, unsigned number)
{
    if (!(in->count & (in->count + 1)))
        in->line = xrealloc(in->line, 2 * (in->count + 1), sizeof *in->line);
    in->line[in->count++] = (struct command_line){text ? xstrdup(text) : NULL, file, number};
}

static int load_file(struct commands_in *in, const char *path, struct err *e)
{
    FILE *f = textfile_open(path);
    struct buf line = {0};
    unsigned n = 0;
    int r = 0;

    if (!f)
        return err_set(e, errno, "cannot read the commands in %s: %s", path,
                       errno == ENXIO ? "it is a pipe that nobody writes to" : strerror(errno));
    errno = 0;
    while (n < FILE_LINES_MAX && line.len <= CMD_LINE_MAX &&
           buf_read_line(&line, f, CMD_LINE_MAX + 1))
        add(in, buf_str(&line), path, ++n); /* one that is too long is the last: it fails */
    if (ferror(f))
        r = err_set(e, EINVAL, "cannot read the commands in %s: %s", path, strerror(errno));
    if (n == FILE_LINES_MAX)
        r = err_set(e, E2BIG, "%s has more than %u lines", path, FILE_LINES_MAX);
    buf_fini(&line);
    fclose(f);
    return r;
}

int commands_in_load(struct commands_in *in, const struct opts *o, struct err *e)
{
    *in = (struct commands_in){0};
    for (unsigned i = 0; i < o->commands; i++) {
        const struct opt_command *c = &o->command[i];
        int r = 0;

        if (!c->is_file) {
            add(in, c->text, NULL, 0);
        } else if (!strcmp(c->text, "-")) {
            in->use_stdin = true;
            add(in, NULL, "standard input", 0);
        } else {
            r = load_file(in, c->text, e);
        }
        if (r)
            return r;
    }
    if (!in->count && o->stop_at_entry && !isatty(STDIN_FILENO)) {
        in->use_stdin = true;
        add(in, NULL, "standard input", 0);
    }
    return 0;
}

void commands_in_fini(struct commands_in *in)
{
    for (size_t i = 0; i < in->count; i++)
        free(in->line[i].text);
    free(in->line);
    free(in->current);
    buf_fini(&in->pending);
    *in = (struct commands_in){0};
}

static bool has_line(const struct commands_in *in)
{
    return in->pending.len && (in->eof || memchr(in->pending.data, '\n', in->pending.len));
}

bool commands_in_wants(const struct commands_in *in)
{
    return in->next < in->count && !in->line[in->next].text && !in->eof && !has_line(in);
}

void commands_in_read(struct commands_in *in)
{
    char chunk[4096];
    ssize_t n = read(STDIN_FILENO, chunk, sizeof chunk);

    if (n > 0)
        buf_add(&in->pending, chunk, (size_t)n);
    else if (n == 0 || (errno != EINTR && errno != EAGAIN))
        in->eof = true;
}

bool commands_in_next(struct commands_in *in, struct command_line *out)
{
    while (in->next < in->count) {
        struct command_line *l = &in->line[in->next];
        const char *nl;
        size_t n;

        if (l->number || !l->file) { /* -e, or a line of a file */
            *out = *l;
            in->next++;
            return true;
        }
        if (has_line(in)) {
            nl = memchr(in->pending.data, '\n', in->pending.len);
            n = nl ? (size_t)(nl - in->pending.data) : in->pending.len;
            out->text = xasprintf("%.*s", (int)n, in->pending.data);
            buf_eat(&in->pending, n + (nl != NULL));
            out->file = l->file;
            out->number = ++in->stdin_line;
            free(in->current);
            in->current = out->text;
            return true;
        }
        if (!in->eof)
            return false;
        in->next++;
    }
    return false;
}
