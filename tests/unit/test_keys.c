/*
 * The key table: each row explains itself, no key is bound twice, every command line is one that
 * the command table knows.
 */
#include "tui/keys.h"

#include <string.h>

#include "debug/cmd.h"
#include "tests/test.h"
#include "tui/panel.h"
#include "tui/ui.h"

static void rows_are_whole(void)
{
    for (const struct key_row *r = key_table; r->help; r++) {
        CHECK(r->key);
        CHECK(r->help[0]);
        CHECK((r->action == ACT_NONE) <= (r->line != NULL));
        for (const struct key_row *o = key_table; o < r; o++)
            if (r->key == o->key || r->key == o->key2 || (r->key2 && r->key2 == o->key) ||
                (r->key2 && r->key2 == o->key2))
                TEST_FAIL("\"%s\" and \"%s\" share a key", r->help, o->help);
        CHECK(key_find(r->key) == r);
        CHECK(!r->key2 || key_find(r->key2) == r);
    }
    CHECK(!key_find(K_NONE));
    CHECK(!key_find('Q'));
}

static const struct cmd *command_of(const char *line)
{
    size_t n = strcspn(line, " ");

    for (const struct cmd *c = cmd_table; c->name; c++)
        if (strlen(c->name) == n && !strncmp(c->name, line, n))
            return c;
    return NULL;
}

static void lines_are_commands(void)
{
    for (const struct key_row *r = key_table; r->help; r++) {
        if (r->line && !command_of(r->line))
            TEST_FAIL("\"%s\" is no command", r->line);
        if (r->line2 && !command_of(r->line2))
            TEST_FAIL("\"%s\" is no command", r->line2);
    }
    CHECK(command_of("delete 1") && command_of("enable 1") && command_of("disable 1"));
}

static void places_are_filled_in(void)
{
    char dst[40];

    ui_expand("break *{cursor}", 0x7c00, 3, dst, sizeof dst);
    CHECK_STR(dst, "break *0x7c00");
    ui_expand("delete {number} {", 0, 3, dst, sizeof dst);
    CHECK_STR(dst, "delete 3 {");
    ui_expand("{cursor}{cursor}{cursor}", UINT64_MAX, 0, dst, sizeof dst);
    CHECK_EQ(strlen(dst), sizeof dst - 1);
}

static void keys_have_names(void)
{
    char dst[16];

    CHECK_STR(key_text(K_F0 + 5, dst, sizeof dst), "F5");
    CHECK_STR(key_text(KEY_CTRL('c'), dst, sizeof dst), "Ctrl-C");
    CHECK_STR(key_text(':', dst, sizeof dst), ":");
    CHECK_STR(key_text(K_PGUP, dst, sizeof dst), "PgUp");
}

/* The bar fits the narrowest screen with every word. */
static void bar_fits(void)
{
    size_t n = 0;
    char dst[16];

    for (const struct key_row *r = key_table; r->help; r++)
        if (r->bar)
            n += strlen(key_text(r->key, dst, sizeof dst)) + strlen(r->bar) + 2;
    CHECK(n - 1 <= LAYOUT_MIN_W);
}

static void help_names_everything(void)
{
    struct buf text = {0};

    frame_help(&text);
    for (const struct key_row *r = key_table; r->help; r++)
        if (r->action != ACT_PANEL)
            CHECK_HAS(buf_str(&text), r->help);
    for (unsigned i = 0; panel_table[i]; i++)
        CHECK_HAS(buf_str(&text), panel_table[i]->keys);
    buf_fini(&text);
}

static const struct test tests[] = {
    {"rows_are_whole", rows_are_whole},
    {"lines_are_commands", lines_are_commands},
    {"places_are_filled_in", places_are_filled_in},
    {"keys_have_names", keys_have_names},
    {"bar_fits", bar_fits},
    {"help_names_everything", help_names_everything},
};
TEST_MAIN(tests)
