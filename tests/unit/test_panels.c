/*
 * Panels and the whole frame against tests/golden/panels/NAME-WxH.txt: text, then a letter for
 * the style of each cell. GENERATE=1 writes the files instead of comparing.
 */
#include <stdlib.h>

#include "tests/test.h"
#include "tests/unit/fake_view.h"
#include "tui/panel.h"
#include "tui/ui.h"

static void slurp(const char *path, struct buf *out)
{
    FILE *f = fopen(path, "r");
    char some[4096];
    size_t n;

    while (f && (n = fread(some, 1, sizeof some, f)) != 0)
        buf_add(out, some, n);
    if (f)
        fclose(f);
}

static void compare(const char *name, struct canvas *c)
{
    char path[200];
    struct buf have = {0}, want = {0};
    const char *gen = getenv("GENERATE");

    snprintf(path, sizeof path, "tests/golden/panels/%s-%dx%d.txt", name, c->w, c->h);
    canvas_dump(c, true, &have);
    if (gen && *gen == '1') {
        FILE *f = fopen(path, "w");

        if (!f || fputs(buf_str(&have), f) < 0 || fclose(f))
            test_fail(__FILE__, __LINE__, "cannot write %s", path);
    } else {
        slurp(path, &want);
        if (strcmp(buf_str(&have), buf_str(&want)) && !test_failed) {
            test_fail(__FILE__, __LINE__, "%s differs (GENERATE=1 rewrites it)", path);
            fprintf(stderr, "%s now:\n%s", path, buf_str(&have));
        }
    }
    buf_fini(&have);
    buf_fini(&want);
    canvas_fini(c);
}

static void golden(const struct panel *p, const char *name, const struct view *v, int w, int h,
                   bool focus)
{
    struct canvas c;

    canvas_init(&c, w, h);
    p->draw(v, &c, (struct rect){0, 0, w, h}, focus);
    compare(name, &c);
}

static void goldens(void)
{
    static const struct {
        int w, h;
        unsigned per_row;
    } sizes[] = {{38, 6, 8}, {41, 12, 8}, {80, 10, 16}, {132, 14, 16}};

    for (unsigned i = 0; panel_table[i]; i++)
        for (size_t k = 0; k < ARRAY_LEN(sizes); k++) {
            struct view *v = fake_view(sizes[k].per_row);

            golden(panel_table[i], panel_table[i]->name, v, sizes[k].w, sizes[k].h, k == 1);
            fake_view_free(v);
        }
}

static void empty_panels_teach(void)
{
    struct view *v = fake_view_empty();

    for (unsigned i = 0; panel_table[i]; i++) {
        char name[40];

        snprintf(name, sizeof name, "%s-empty", panel_table[i]->name);
        golden(panel_table[i], name, v, 38, 4, true);
    }
    fake_view_free(v);
}

static void two_cpus_and_stale(void)
{
    struct view *v = fake_view(8);

    v->status.cpus = 2;
    v->stale = true;
    golden(&panel_exits, "exits-smp", v, 60, 4, false);
    golden(&panel_code, "code-stale", v, 38, 8, true);
    golden(&panel_registers, "registers-stale", v, 41, 12, false);
    v->stale = false;
    fake_view_free(v);
}

/* Any rectangle, also an absurd one, is survived and not left. */
static void no_size_breaks_a_panel(void)
{
    struct view *v = fake_view(16);

    for (unsigned i = 0; panel_table[i] && !test_failed; i++)
        for (int w = 0; w < 90; w += w < 12 ? 1 : 9)
            for (int h = 0; h < 9; h++) {
                struct canvas c;

                canvas_init(&c, 100, 12);
                canvas_fill(&c, (struct rect){0, 0, 100, 12}, '#', ST_ERROR);
                panel_table[i]->draw(v, &c, (struct rect){2, 1, w, h}, true);
                for (int y = 0; y < 12; y++)
                    for (int x = 0; x < 100; x++) {
                        bool in = x >= 2 && x < 2 + w && y >= 1 && y < 1 + h;

                        if (!in && canvas_at(&c, x, y)->ch != '#')
                            test_fail(__FILE__, __LINE__, "%s %dx%d writes at %d,%d",
                                      panel_table[i]->name, w, h, x - 2, y - 1);
                    }
                canvas_fini(&c);
            }
    fake_view_free(v);
}

/* Keys in any order keep selections inside what exists. */
static void no_key_breaks_a_panel(void)
{
    static const int keys[] = {K_UP,         K_DOWN,  K_LEFT, K_RIGHT, K_HOME, K_END,
                               K_PGUP,       K_PGDN,  K_DEL,  'd',     ' ',    K_WHEEL_UP,
                               K_WHEEL_DOWN, K_ENTER, 'p',    'Z'};
    unsigned dice = 1;

    for (int full = 0; full < 2; full++) {
        struct view *v = full ? fake_view(8) : fake_view_empty();

        for (int n = 0; n < 20000 && !test_failed; n++) {
            struct panel_ask ask = {0};
            struct buf text = {0};
            const struct panel *p;
            struct canvas c;

            dice = dice * 1103515245 + 12345;
            p = panel_table[(dice >> 16) % PANELS];
            p->key(v, keys[(dice >> 8) % ARRAY_LEN(keys)], &ask);
            v->code.scroll = 0; /* carried out by view_fill */
            if (p->describe)
                p->describe(v, &text);
            buf_fini(&text);
            if (n % 16)
                continue;
            canvas_init(&c, 40, 8);
            p->draw(v, &c, (struct rect){0, 0, 40, 8}, true);
            canvas_fini(&c);
            CHECK(v->code.sel <= v->code.rows);
            CHECK(v->regs.sel <= v->regs.count);
            CHECK(v->points.sel <= v->points.count);
            CHECK(v->memory.cursor - v->memory.base < 8 * 8 || !v->memory.per_row);
        }
        fake_view_free(v);
    }
}

static void following(void)
{
    struct view *v = fake_view(8);
    struct panel_ask ask = {0};

    v->exits.sel = 1;
    panel_exits.key(v, K_ENTER, &ask);
    CHECK(ask.to_code);
    CHECK_EQ(ask.addr, 0x100012);
    ask = (struct panel_ask){0};
    panel_code.key(v, K_ENTER, &ask); /* at the jne */
    CHECK(ask.to_code);
    CHECK_EQ(ask.addr, 0x100001);
    ask = (struct panel_ask){0};
    panel_code.key(v, K_UP, &ask);
    panel_code.key(v, K_ENTER, &ask); /* at the RIP-relative mov */
    CHECK(ask.to_memory);
    CHECK_EQ(ask.addr, 0x101246);
    ask = (struct panel_ask){0};
    panel_points.key(v, ' ', &ask);
    CHECK_STR(ask.line, "disable 1");
    panel_points.key(v, K_DOWN, &ask);
    panel_points.key(v, 'd', &ask);
    CHECK_STR(ask.line, "delete 2");
    fake_view_free(v);
}

static void jumps_can_be_taken_back(void)
{
    struct view *v = fake_view(8);

    for (unsigned i = 0; i < 2 * VIEW_BACK; i++)
        view_goto_code(v, 0x1000 + i);
    CHECK_EQ(v->code.backs, VIEW_BACK);
    view_code_back(v);
    CHECK_EQ(v->code.cursor, 0x1000 + 2 * VIEW_BACK - 2);
    for (unsigned i = 0; i < 2 * VIEW_BACK; i++)
        view_code_back(v);
    CHECK_EQ(v->code.backs, 0);
    fake_view_free(v);
}

static void console_text(void)
{
    struct view *v = fake_view_empty();
    const struct lines *l = &v->console.lines;
    struct buf long_line = {0};

    fake_console(v,
                 "one\r\ntwo\rTWO\nab\bc\n\033[1;31mred\033[0m\033[K\n\033[2Jhid\033c\n\x9b\x07");
    CHECK_STR(lines_at(l, 0)->text, "one");
    CHECK_STR(lines_at(l, 1)->text, "TWO");
    CHECK_STR(lines_at(l, 2)->text, "ac");
    CHECK_STR(lines_at(l, 3)->text, "red");
    CHECK_STR(lines_at(l, 4)->text, "\\x1b[2Jhid\\x1bc");
    CHECK_STR(buf_str(&v->console.open), "\\x9b\\x07");
    /* An escape that never ends, split over calls. */
    fake_console(v, "\n\033");
    fake_console(v, "[");
    for (int i = 0; i < 100; i++)
        fake_console(v, "1;");
    CHECK_HAS(buf_str(&v->console.open), "\\x1b[1;1;");
    view_console_add(v, CONSOLE_DEBUG, "e9", 2);
    CHECK_STR(buf_str(&v->console.open), "e9");
    for (int i = 0; i < 100000; i++)
        buf_addc(&long_line, 'x');
    view_console_add(v, CONSOLE_DEBUG, long_line.data, long_line.len);
    CHECK(v->console.open.len < 8192);
    CHECK_EQ(l->count, 5 + 2 + 19 > 100 ? 100 : l->count);
    buf_fini(&long_line);
    fake_view_free(v);
}

static void frame(const char *name, struct ui *ui, int w, int h)
{
    struct frame_prompt prompt = {"> ", "info registers r", 14};
    struct frame_cursor cur;
    struct canvas c;

    layout_make(&ui->lay, w, h, NULL);
    canvas_init(&c, w, h);
    frame_draw(ui, &prompt, &c, &cur);
    compare(name, &c);
}

static void frames(void)
{
    struct view *v = fake_view(8);
    struct ui *ui = xcalloc(1, sizeof *ui);

    ui->v = *v;
    lines_init(&ui->answers, 20);
    lines_add(&ui->answers, "> info registers", ST_PROMPT);
    lines_add(&ui->answers, "rax 0x0", ST_NORMAL);
    lines_add(&ui->answers, "no such thing", ST_ERROR);
    frame("frame", ui, 80, 24);
    frame("frame", ui, 100, 30);
    frame("frame", ui, 132, 43);
    frame("frame", ui, 200, 60);
    frame("frame", ui, 20, 5);
    ui->mode = UI_PROMPT;
    ui->answers_open = true;
    ui->answer_lines = 3;
    frame("frame-prompt", ui, 80, 24);
    ui->answers_open = false;
    ui->mode = UI_QUIT;
    frame("frame-quit", ui, 80, 24);
    ui->mode = UI_HELP;
    frame("frame-help", ui, 80, 24);
    ui->mode = UI_PANELS;
    ui->v.status.state = SS_RUNNING;
    ui->v.status.exits_per_s = 123456;
    ui->v.stale = true;
    frame("frame-running", ui, 80, 24);
    ui->zoom = true;
    ui->focus = PANEL_EXITS;
    frame("frame-zoom", ui, 80, 24);
    lines_fini(&ui->answers);
    free(ui);
    fake_view_free(v);
}

static void durations(void)
{
    static const struct {
        uint64_t ns;
        const char *text;
    } rows[] = {{0, "0ns"},           {999, "999ns"},       {1000, "1.0us"},
                {9999, "9.9us"},      {123456, "123us"},    {1500000, "1.5ms"},
                {2000000000, "2.0s"}, {UINT32_MAX, "4.2s"}, {90000000000, "90s"}};
    char dst[16];

    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        CHECK_STR(panel_duration(dst, sizeof dst, rows[i].ns), rows[i].text);
}

static void every_panel_explains_itself(void)
{
    for (unsigned i = 0; i < PANELS; i++) {
        const struct panel *p = panel_table[i];

        CHECK_EQ(p->id, i);
        CHECK(p->name[0] && p->title[0] && p->help[0] && p->keys[0] && p->draw && p->key);
        for (unsigned k = 0; k < i; k++)
            CHECK(strcmp(panel_table[k]->name, p->name));
    }
}

static const struct test tests[] = {
    {"goldens", goldens},
    {"empty_panels_teach", empty_panels_teach},
    {"two_cpus_and_stale", two_cpus_and_stale},
    {"no_size_breaks_a_panel", no_size_breaks_a_panel},
    {"no_key_breaks_a_panel", no_key_breaks_a_panel},
    {"following", following},
    {"jumps_can_be_taken_back", jumps_can_be_taken_back},
    {"console_text", console_text},
    {"frames", frames},
    {"durations", durations},
    {"every_panel_explains_itself", every_panel_explains_itself},
};
TEST_MAIN(tests)
