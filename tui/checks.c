/*
 * Watches the console and the exits of a run against what was asked. Main thread, but for the
 * count of exits.
 */
#include "tui/checks.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <regex.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "debug/cmd.h"
#include "debug/session.h"
#include "tui/batch.h"
#include "vmm/base/clock.h"
#include "vmm/base/esc.h"
#include "vmm/base/log.h"
#include "vmm/base/x.h"

#define LINE_KEEP    65536u
#define CONSOLE_KEEP (8u << 20)

struct pattern {
    const char *text;
    regex_t re;
    bool seen;
    char *line; /* where it was seen */
};

struct checks {
    struct session *s;
    const struct opts *o;
    struct pattern *expect, *fail;
    int subscription, hook;
    struct buf line[CONSOLE_CHANS]; /* the unfinished line */
    struct buf console;             /* all channels, for the folder */
    uint64_t start_ns;
    _Atomic uint64_t exits; /* counted by the hook on vCPU threads */
    _Atomic bool too_many;
    bool failed; /* a --fail pattern was seen */
    char *kept;  /* the folder */
};

static bool has_checks(const struct opts *o)
{
    return o->expects || o->fails || o->max_exits;
}

/* ---- watching ------------------------------------------------------------------------------- */

static void look(struct pattern *list, unsigned n, const char *line)
{
    for (unsigned i = 0; i < n; i++) {
        if (list[i].seen || regexec(&list[i].re, line, 0, NULL, 0))
            continue;
        list[i].seen = true;
        list[i].line = xstrdup(line);
    }
}

/* `line` as text: a NUL of the guest's would end it. */
static void look_at(struct checks *k, struct buf *line)
{
    for (size_t i = 0; i < line->len; i++)
        if (!line->data[i])
            line->data[i] = ' ';
    look(k->expect, k->o->expects, buf_str(line));
    look(k->fail, k->o->fails, buf_str(line));
    for (unsigned i = 0; i < k->o->fails; i++)
        k->failed |= k->fail[i].seen;
}

/* Lines are looked at when they end and, since a prompt does not end, whenever output pauses. */
static void on_console(struct checks *k, const struct console_text *t)
{
    struct buf *line = &k->line[t->chan];
    const char *p = t->bytes;

    if (k->console.len < CONSOLE_KEEP)
        buf_add(&k->console, t->bytes, t->len);
    for (size_t i = 0; i < t->len; i++) {
        if (p[i] == '\n') {
            if (line->len && line->data[line->len - 1] == '\r')
                line->data[--line->len] = 0;
            look_at(k, line);
            buf_clear(line);
        } else if (line->len < LINE_KEEP) {
            buf_addc(line, p[i]);
        }
    }
    look_at(k, line);
}

static bool all_seen(const struct checks *k)
{
    for (unsigned i = 0; i < k->o->expects; i++)
        if (!k->expect[i].seen)
            return false;
    return true;
}

static void on_event(void *arg, unsigned event, const void *data)
{
    struct checks *k = arg;

    if (event != EV_CONSOLE)
        return;
    on_console(k, data);
    if (checks_over(k))
        session_stop(k->s);
}

static enum hook_answer on_exit_counted(void *arg, struct hook_call *c)
{
    struct checks *k = arg;

    (void)c;
    if (atomic_fetch_add(&k->exits, 1) + 1 < k->o->max_exits)
        return HOOK_GO;
    atomic_store(&k->too_many, true);
    return HOOK_STOP;
}

bool checks_over(const struct checks *k)
{
    if (!k)
        return false;
    return k->failed || atomic_load(&k->too_many) || (k->o->expects && all_seen(k));
}

static struct pattern *compile(const char **list, unsigned n)
{
    struct pattern *p = xcalloc(n ? n : 1, sizeof *p);

    for (unsigned i = 0; i < n; i++) {
        p[i].text = list[i];
        BUG_ON(regcomp(&p[i].re, list[i], REG_EXTENDED | REG_NOSUB)); /* opts.c tried it */
    }
    return p;
}

struct checks *checks_new(struct session *s, const struct opts *o)
{
    struct checks *k;

    if (!has_checks(o) && !o->junit && !o->result)
        return NULL;
    k = xcalloc(1, sizeof *k);
    k->s = s;
    k->o = o;
    k->start_ns = clock_ns();
    k->expect = compile(o->expect, o->expects);
    k->fail = compile(o->fail, o->fails);
    k->subscription = session_subscribe(s, EV_CONSOLE, on_event, k);
    if (o->max_exits) {
        struct hook_spec spec = {.reason = -1, .vcpu = -1, .fn = on_exit_counted, .arg = k};

        k->hook = session_hook_add(s, &spec, NULL);
    }
    return k;
}

static void free_patterns(struct pattern *p, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        regfree(&p[i].re);
        free(p[i].line);
    }
    free(p);
}

void checks_free(struct checks *k)
{
    if (!k)
        return;
    session_unsubscribe(k->s, k->subscription);
    if (k->hook > 0)
        session_hook_del(k->s, k->hook);
    free_patterns(k->expect, k->o->expects);
    free_patterns(k->fail, k->o->fails);
    for (int i = 0; i < CONSOLE_CHANS; i++)
        buf_fini(&k->line[i]);
    buf_fini(&k->console);
    free(k->kept);
    free(k);
}

/* ---- files ---------------------------------------------------------------------------------- */

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
        fprintf(stderr, "vmscope: cannot write %s: %s\n", path, strerror(errno));
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

static void add_rerun(struct buf *b, const struct opts *o)
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

    if (dir) {
        if (mkdir(dir, 0777) && errno != EEXIST) {
            fprintf(stderr, "vmscope: cannot make the folder %s: %s\n", dir, strerror(errno));
            return false;
        }
        k->kept = xstrdup(dir);
        return true;
    }
    k->kept = xasprintf("%s/vmscope-failed-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (mkdtemp(k->kept))
        return true;
    fprintf(stderr, "vmscope: cannot make a folder like %s: %s\n", k->kept, strerror(errno));
    free(k->kept);
    k->kept = NULL;
    return false;
}

static void keep_all(struct checks *k, struct cmd_client *c, const char *why)
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
    add_rerun(&b, k->o);
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

static void write_junit(const struct checks *k, int status, const char *why)
{
    const struct opts *o = k->o;
    unsigned failures = status != 0;
    struct buf cases = {0}, b = {0};

    add_case(&cases, "run", "", status ? why : NULL);
    for (unsigned i = 0; i < o->expects; i++) {
        failures += !k->expect[i].seen;
        add_case(&cases, "expect", o->expect[i], k->expect[i].seen ? NULL : "it was not printed");
    }
    for (unsigned i = 0; i < o->fails; i++) {
        failures += k->fail[i].seen;
        add_case(&cases, "fail", o->fail[i], k->fail[i].seen ? k->fail[i].line : NULL);
    }
    buf_adds(&b, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n  <testsuite name=\"");
    add_xml(&b, o->session.boot.image);
    buf_addf(&b, "\" tests=\"%u\" failures=\"%u\" time=\"%.3f\">\n", 1 + o->expects + o->fails,
             failures, (double)(clock_ns() - k->start_ns) / 1e9);
    buf_add(&b, cases.data, cases.len);
    buf_adds(&b, "  </testsuite>\n</testsuites>\n");
    write_file(o->junit, buf_str(&b), b.len);
    buf_fini(&cases);
    buf_fini(&b);
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

static void write_result(const struct checks *k, int status, const char *why)
{
    struct buf b = {0}, rerun = {0};

    add_rerun(&rerun, k->o);
    buf_addf(&b, "{\"status\":%d,\"exits\":%" PRIu64 ",\"seconds\":%.3f", status,
             session_exit_count(k->s), (double)(clock_ns() - k->start_ns) / 1e9);
    add_json_text(&b, "guest", k->o->session.boot.image);
    add_json_text(&b, "sentence", why);
    add_json_text(&b, "stop", stop_kind_name(session_last_stop(k->s)->kind));
    add_json_patterns(&b, "expect", k->expect, k->o->expects);
    add_json_patterns(&b, "fail", k->fail, k->o->fails);
    if (k->kept)
        add_json_text(&b, "kept", k->kept);
    add_json_text(&b, "rerun", buf_str(&rerun));
    buf_adds(&b, "}\n");
    write_file(k->o->result, buf_str(&b), b.len);
    buf_fini(&b);
    buf_fini(&rerun);
}

/* ---- the verdict ---------------------------------------------------------------------------- */

/* Why the checks fail; false when they do not. */
static bool fails(const struct checks *k, int status, bool aborted, struct buf *why)
{
    for (unsigned i = 0; i < k->o->fails; i++) {
        char line[200];

        if (!k->fail[i].seen)
            continue;
        buf_clear(why);
        esc_cut(line, sizeof line, k->fail[i].line, strlen(k->fail[i].line));
        buf_addf(why, "the guest printed \"%s\", which matches --fail '%s'", line, k->o->fail[i]);
        return true;
    }
    if (atomic_load(&k->too_many)) {
        buf_clear(why);
        buf_addf(why, "the guest made %" PRIu64 " exits, as many as --max-exits allows",
                 k->o->max_exits);
        return true;
    }
    if (aborted)
        return true;
    for (unsigned i = 0; i < k->o->expects; i++) {
        struct buf end = {0};

        if (k->expect[i].seen)
            continue;
        buf_add(&end, why->data, why->len);
        buf_clear(why);
        buf_addf(why, "the guest did not print what --expect '%s' asks for: %s", k->o->expect[i],
                 buf_str(&end));
        buf_fini(&end);
        return true;
    }
    return !k->o->expects && (status == STATUS_TRIPLE_FAULT || status == STATUS_INTERNAL);
}

int checks_verdict(struct checks *k, int status, bool aborted, struct buf *why,
                   struct cmd_client *c)
{
    struct buf rerun = {0};

    if (!k)
        return status;
    if (has_checks(k->o)) {
        bool bad = fails(k, status, aborted, why);

        if (!bad && k->o->expects) {
            buf_clear(why);
            buf_adds(why, "the guest printed all that was expected");
        }
        status = bad ? STATUS_COMMAND : STATUS_OK;
    }
    if (status && (has_checks(k->o) || k->o->keep)) {
        keep_all(k, c, buf_str(why));
        add_rerun(&rerun, k->o);
        if (k->kept)
            fprintf(stderr, "vmscope: console, registers, exits and screen are in %s\n", k->kept);
        fprintf(stderr, "vmscope: again: %s\n", buf_str(&rerun));
        buf_fini(&rerun);
    }
    if (k->o->junit)
        write_junit(k, status, buf_str(why));
    if (k->o->result)
        write_result(k, status, buf_str(why));
    return status;
}
