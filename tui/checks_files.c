/*
 * What is written about the checks of a run: JUnit XML, JSON, and after a failure a folder. Main
 * thread.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "debug/cmd.h"
#include "tui/checks_int.h"
#include "tui/console_io.h"
#include "vmm/base/clock.h"
#include "vmm/base/esc.h"
#include "vmm/base/x.h"

static bool write_file(const char *path, const char *bytes, size_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    bool good = fd >= 0;

    while (good && len) {
        ssize_t n = write(fd, bytes, len);

        if (n < 0 && errno == EINTR)
            continue;
        good = n > 0;
        bytes += n > 0 ? n : 0;
        len -= n > 0 ? (size_t)n : 0;
    }
    if (fd >= 0 && close(fd))
        good = false;
    if (!good)
        console_complain("cannot write %s: %s", path, strerror(errno));
    return good;
}

/* Quoted for a shell where that is needed. */
static void add_word(struct buf *b, const char *word)
{
    bool plain = *word != 0;

    for (const char *p = word; *p; p++)
        plain &= (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9') ||
                 strchr("_-./=,:+@%", *p);
    if (plain) {
        buf_adds(b, word);
        return;
    }
    buf_addc(b, '\'');
    for (const char *p = word; *p; p++) {
        if (*p == '\'')
            buf_adds(b, "'\\''");
        else
            buf_addc(b, *p);
    }
    buf_addc(b, '\'');
}

void checks_add_rerun(struct buf *b, const struct opts *o)
{
    char dir[4096];

    if (getcwd(dir, sizeof dir)) {
        buf_adds(b, "cd ");
        add_word(b, dir);
        buf_adds(b, " && ");
    }
    for (int i = 0; i < o->argc; i++) {
        if (i)
            buf_addc(b, ' ');
        add_word(b, o->argv[i]);
    }
}

static void keep(const struct checks *k, const char *name, const char *text, size_t len)
{
    char *path = xasprintf("%s/%s", k->kept, name);

    write_file(path, text, len);
    free(path);
}

/* The answer of a command, as the person would see it. */
static void keep_command(const struct checks *k, struct cmd_client *c, const char *name,
                         const char *line)
{
    struct out o = {0};

    cmd_exec(c, line, &o);
    keep(k, name, buf_str(&o.text), o.text.len);
    out_fini(&o);
}

/* The VGA text screen as lines. */
static void keep_screen(const struct checks *k)
{
    uint8_t cells[80 * 25 * 2];
    struct buf b = {0};

    if (session_dma(k->s, 0xb8000, cells, NULL, sizeof cells) != sizeof cells)
        return;
    for (unsigned y = 0; y < 25; y++) {
        size_t last = b.len;

        for (unsigned x = 0; x < 80; x++) {
            uint8_t ch = cells[2 * (80 * y + x)];

            buf_addc(&b, ch >= 0x20 && ch < 0x7f ? (char)ch : ' ');
            if (ch > 0x20)
                last = b.len;
        }
        b.len = last;
        b.data[last] = 0;
        buf_addc(&b, '\n');
    }
    keep(k, "screen.txt", buf_str(&b), b.len);
    buf_fini(&b);
}

static bool make_folder(struct checks *k)
{
    const char *dir = k->o->keep, *tmp = getenv("TMPDIR");
    struct stat st;

    k->kept =
        dir ? xstrdup(dir) : xasprintf("%s/vmscope-failed-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (dir ? !mkdir(dir, 0777) || (!stat(dir, &st) && S_ISDIR(st.st_mode))
            : mkdtemp(k->kept) != NULL)
        return true;
    console_complain("cannot make the folder %s: %s", k->kept, strerror(errno));
    free(k->kept);
    k->kept = NULL;
    return false;
}

void checks_keep(struct checks *k, struct cmd_client *c, const char *why)
{
    struct buf b = {0};

    if (!make_folder(k))
        return;
    keep(k, "console.txt", buf_str(&k->console), k->console.len);
    keep_command(k, c, "registers.txt", "info all-registers");
    keep_command(k, c, "stop.txt", "info stop");
    keep_command(k, c, "backtrace.txt", "backtrace");
    keep_command(k, c, "exits.txt", "info exits last 10000");
    keep_screen(k);
    checks_add_rerun(&b, k->o);
    buf_addf(&b, "\n");
    keep(k, "rerun.sh", buf_str(&b), b.len);
    buf_clear(&b);
    buf_addf(&b, "%s\n", why);
    keep(k, "why.txt", buf_str(&b), b.len);
    buf_fini(&b);
}

static void add_xml(struct buf *b, const char *text)
{
    struct buf safe = {0};

    esc_line(&safe, text, strlen(text));
    for (const char *p = buf_str(&safe); *p; p++) {
        switch (*p) {
        case '<':
            buf_adds(b, "&lt;");
            break;
        case '>':
            buf_adds(b, "&gt;");
            break;
        case '&':
            buf_adds(b, "&amp;");
            break;
        case '"':
            buf_adds(b, "&quot;");
            break;
        default:
            buf_addc(b, *p);
        }
    }
    buf_fini(&safe);
}

static void add_case(struct buf *b, const char *what, const char *text, const char *why)
{
    buf_adds(b, "    <testcase classname=\"vmscope\" name=\"");
    add_xml(b, what);
    if (*text) {
        buf_addc(b, ' ');
        add_xml(b, text);
    }
    buf_adds(b, "\"");
    if (!why) {
        buf_adds(b, "/>\n");
        return;
    }
    buf_adds(b, ">\n      <failure message=\"");
    add_xml(b, why);
    buf_adds(b, "\"/>\n    </testcase>\n");
}

static bool write_junit(const struct checks *k, int status, const char *why)
{
    const struct opts *o = k->o;
    unsigned failures = status != 0;
    struct buf cases = {0}, b = {0};
    bool good;

    add_case(&cases, "run", "", status ? why : NULL);
    for (unsigned i = 0; i < o->expects; i++) {
        failures += !k->expect[i].seen;
        add_case(&cases, "expect", o->expect[i], k->expect[i].seen ? NULL : "it was not printed");
    }
    for (unsigned i = 0; i < o->fails; i++) {
        failures += k->fail[i].seen;
        add_case(&cases, "fail", o->fail[i], k->fail[i].seen ? k->fail[i].line : NULL);
    }
    for (unsigned i = 0; i < o->conditions; i++) {
        const struct condition *c = &k->condition[i];

        failures += c->is != CONDITION_HOLDS;
        add_case(&cases, "check", o->condition[i],
                 c->is == CONDITION_HOLDS ? NULL
                 : c->told                ? c->told
                                          : "the run did not get that far");
    }
    buf_adds(&b, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n  <testsuite name=\"");
    add_xml(&b, o->session.boot.image);
    buf_addf(&b, "\" tests=\"%u\" failures=\"%u\" time=\"%.3f\">\n",
             1 + o->expects + o->fails + o->conditions, failures,
             (double)(clock_ns() - k->start_ns) / 1e9);
    buf_add(&b, cases.data, cases.len);
    buf_adds(&b, "  </testsuite>\n</testsuites>\n");
    good = write_file(o->junit, buf_str(&b), b.len);
    buf_fini(&cases);
    buf_fini(&b);
    return good;
}

static void add_json_conditions(struct buf *b, const struct checks *k)
{
    buf_adds(b, ",\"check\":[");
    for (unsigned i = 0; i < k->o->conditions; i++) {
        buf_adds(b, i ? ",{\"expression\":" : "{\"expression\":");
        esc_json(b, k->o->condition[i], strlen(k->o->condition[i]));
        buf_addf(b, ",\"holds\":%s}", k->condition[i].is == CONDITION_HOLDS ? "true" : "false");
    }
    buf_addc(b, ']');
}

static void add_json_text(struct buf *b, const char *key, const char *text)
{
    buf_addf(b, ",\"%s\":", key);
    esc_json(b, text, strlen(text));
}

static void add_json_patterns(struct buf *b, const char *key, const struct pattern *p, unsigned n)
{
    buf_addf(b, ",\"%s\":[", key);
    for (unsigned i = 0; i < n; i++) {
        buf_adds(b, i ? ",{\"regex\":" : "{\"regex\":");
        esc_json(b, p[i].text, strlen(p[i].text));
        buf_addf(b, ",\"seen\":%s}", p[i].seen ? "true" : "false");
    }
    buf_addc(b, ']');
}

static bool write_json(const struct checks *k, int status, const char *why)
{
    struct buf b = {0}, rerun = {0};
    bool good;

    checks_add_rerun(&rerun, k->o);
    buf_addf(&b, "{\"status\":%d,\"exits\":%" PRIu64 ",\"seconds\":%.3f", status,
             session_exit_count(k->s), (double)(clock_ns() - k->start_ns) / 1e9);
    add_json_text(&b, "guest", k->o->session.boot.image);
    add_json_text(&b, "sentence", why);
    add_json_text(&b, "stop", stop_kind_name(session_last_stop(k->s)->kind));
    add_json_patterns(&b, "expect", k->expect, k->o->expects);
    add_json_patterns(&b, "fail", k->fail, k->o->fails);
    add_json_conditions(&b, k);
    if (k->kept)
        add_json_text(&b, "kept", k->kept);
    add_json_text(&b, "rerun", buf_str(&rerun));
    buf_adds(&b, "}\n");
    good = write_file(k->o->json_file, buf_str(&b), b.len);
    buf_fini(&b);
    buf_fini(&rerun);
    return good;
}

bool checks_write(const struct checks *k, int status, const char *why)
{
    bool good = !k->o->junit || write_junit(k, status, why);

    return (!k->o->json_file || write_json(k, status, why)) && good;
}

int checks_try_files(const struct opts *o, struct err *e)
{
    const char *const files[] = {o->junit, o->json_file};

    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        int fd = files[i] ? open(files[i], O_WRONLY | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0666) : -1;

        if (files[i] && fd < 0)
            return err_set(e, errno, "cannot write %s: %s", files[i], strerror(errno));
        if (fd >= 0 && close(fd) < 0)
            return err_set(e, errno, "cannot write %s: %s", files[i], strerror(errno));
    }
    return 0;
}
