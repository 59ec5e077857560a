/*
 * The command line: keys in, lines out, no terminal anywhere.
 */
#include "tui/prompt.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/test.h"
#include "vmm/base/x.h"

static struct buf got, listed;

/* Readline forgets some undo lists of edited history lines; random keys make many. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libreadline";
}

static void done(void *arg, const char *line)
{
    (void)arg;
    buf_addf(&got, "[%s]", line);
}

static char *complete(void *arg, const char *line, size_t n)
{
    static const char *const words[] = {"info breakpoints", "info registers", "quit"};

    (void)arg;
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (!strncmp(words[i], line, strlen(line)) && n-- == 0)
            return xstrdup(words[i]);
    return NULL;
}

static void list(void *arg, const char *text)
{
    (void)arg;
    buf_adds(&listed, text);
}

static void type(const char *text)
{
    for (; *text; text++)
        prompt_key(*text == '\n' ? K_ENTER : (unsigned char)*text);
}

static void begin(void)
{
    static const struct prompt_calls calls = {.done = done, .complete = complete, .list = list};

    buf_clear(&got);
    buf_clear(&listed);
    prompt_init(&calls);
    prompt_open("> ");
}

static void edits(void)
{
    begin();
    type("abd");
    prompt_key(K_LEFT);
    type("c");
    CHECK_STR(prompt_shown().line, "abcd");
    CHECK_EQ(prompt_shown().cursor, 3);
    prompt_key(K_HOME);
    prompt_key(K_DEL);
    prompt_key(K_END);
    prompt_key(K_BACKSPACE);
    CHECK_STR(prompt_shown().line, "bc");
    prompt_key(0xe9); /* é arrives as one key and is two bytes */
    CHECK_STR(prompt_shown().line, "bc\xc3\xa9");
    prompt_key('w' & 0x1f);
    type("\n");
    CHECK_STR(buf_str(&got), "[]");
    type("next one");
    prompt_key(KEY_ALT | 'b');
    prompt_key('k' & 0x1f);
    type("\n");
    CHECK_STR(buf_str(&got), "[][next ]");
    prompt_fini();
}

static void completes(void)
{
    begin();
    type("q\t");
    CHECK_STR(prompt_shown().line, "quit ");
    prompt_clear();
    type("i\t");
    CHECK_STR(prompt_shown().line, "info ");
    CHECK_STR(buf_str(&listed), "");
    type("\t");
    CHECK_STR(buf_str(&listed), "info breakpoints\ninfo registers\n");
    type("r\t\n");
    CHECK_STR(buf_str(&got), "[info registers ]");
    type("zzz\t\n");
    CHECK_HAS(buf_str(&got), "[zzz]");
    prompt_fini();
}

static void remembers(void)
{
    struct stat st;
    char *path = xasprintf("%s/vmscope/history", getenv("XDG_STATE_HOME"));

    begin();
    type("first\nsecond\nsecond\n");
    prompt_open("code at: ");
    type("0x1000\n");
    prompt_open("> ");
    prompt_key(K_UP);
    CHECK_STR(prompt_shown().line, "second");
    prompt_key(K_UP);
    CHECK_STR(prompt_shown().line, "first");
    prompt_fini();
    CHECK(stat(path, &st) == 0);
    free(path);
    CHECK_EQ(st.st_mode & 0777, 0600);
    begin();
    prompt_key(K_UP);
    CHECK_STR(prompt_shown().line, "second");
    prompt_key('r' & 0x1f); /* the search shows in place of the label */
    type("fir");
    CHECK_HAS(prompt_shown().label, "search");
    type("\n");
    CHECK_STR(buf_str(&got), "[first]");
    prompt_fini();
}

static void survives_anything(void)
{
    unsigned dice = 7;

    begin();
    for (int i = 0; i < 20000; i++) {
        dice = dice * 1103515245 + 12345;
        int key = (int)(dice >> 16 & 0xff);

        prompt_key(i % 7 ? key ? key : 1 : (int)(K_UP + (key & 15)));
        CHECK(prompt_shown().cursor <= strlen(prompt_shown().line));
    }
    prompt_fini();
}

static const struct test tests[] = {
    {"edits", edits},
    {"completes", completes},
    {"remembers", remembers},
    {"survives_anything", survives_anything},
};

int main(int argc, char **argv)
{
    char dir[] = "/tmp/vmscope-prompt-XXXXXX";

    if (!mkdtemp(dir))
        return 1;
    setenv("XDG_STATE_HOME", dir, 1);
    setenv("INPUTRC", "/dev/null", 1);
    return test_main(tests, ARRAY_LEN(tests), argc, argv);
}
