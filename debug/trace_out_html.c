/*
 * A recording as a picture: exits over time by kind (SVG), and around it a page with tables and
 * histograms. Self-contained: no scripts, no fonts, nothing is fetched.
 */
#include "debug/trace_out.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/x.h"

#define STEPS  240u
#define KINDS  80u
#define SHOWN  6u /* kinds with a colour of their own */
#define WIDTH  960.0
#define HEIGHT 260.0
#define LEFT   70.0
#define BOTTOM 30.0
#define TOP    34.0
#define BARS   12u

static const char *const colours[SHOWN + 1] = {"#4477aa", "#ee6677", "#228833", "#ccbb44",
                                               "#66ccee", "#aa3377", "#bbbbbb"};

struct picture {
    uint64_t first, step;
    uint32_t count[STEPS][KINDS];
    uint64_t total[KINDS];
    unsigned shown[SHOWN]; /* kinds, commonest first */
    unsigned kinds;
    uint64_t most; /* in one step */
};

static void escape(FILE *f, const char *text)
{
    for (; *text; text++) {
        switch (*text) {
        case '<':
            fputs("&lt;", f);
            break;
        case '>':
            fputs("&gt;", f);
            break;
        case '&':
            fputs("&amp;", f);
            break;
        case '"':
            fputs("&quot;", f);
            break;
        default:
            fputc((unsigned char)*text < ' ' ? '?' : *text, f);
        }
    }
}

static const char *kind_name(unsigned counter)
{
    return exit_kind_name(counter < 64 ? counter : EXIT_OUR_FIRST + counter - 64);
}

/* ---- counting -------------------------------------------------------------------------------- */

static void put(void *arg, const struct exit_event *ev)
{
    struct picture *pic = arg;
    uint64_t at = ev->at_ns > pic->first ? (ev->at_ns - pic->first) / pic->step : 0;
    unsigned k = stat_counter(ev->reason);

    if (stat_is_note(ev->reason))
        return;
    pic->count[at < STEPS ? at : STEPS - 1][k]++;
    pic->total[k]++;
}

static void choose(struct picture *pic)
{
    bool used[KINDS] = {false};

    for (pic->kinds = 0; pic->kinds < SHOWN; pic->kinds++) {
        unsigned best = KINDS;

        for (unsigned k = 0; k < KINDS; k++)
            if (!used[k] && pic->total[k] && (best == KINDS || pic->total[k] > pic->total[best]))
                best = k;
        if (best == KINDS)
            break;
        used[best] = true;
        pic->shown[pic->kinds] = best;
    }
    for (unsigned i = 0; i < STEPS; i++) {
        uint64_t sum = 0;

        for (unsigned k = 0; k < KINDS; k++)
            sum += pic->count[i][k];
        if (sum > pic->most)
            pic->most = sum;
    }
}

static struct picture *picture(struct report *p)
{
    const struct trace_info *in = trace_info(p->reader);
    struct picture *pic = xcalloc(1, sizeof *pic);

    pic->first = in->first_ns;
    pic->step = (in->last_ns > in->first_ns ? in->last_ns - in->first_ns : 0) / STEPS + 1;
    report_count(p, put, pic);
    choose(pic);
    return pic;
}

/* ---- SVG ------------------------------------------------------------------------------------- */

static uint64_t shown_count(const struct picture *pic, unsigned step, unsigned i)
{
    uint64_t n = 0;

    if (i < pic->kinds)
        return pic->count[step][pic->shown[i]];
    for (unsigned k = 0; k < KINDS; k++) {
        bool own = false;

        for (unsigned s = 0; s < pic->kinds; s++)
            own |= pic->shown[s] == k;
        n += own ? 0 : pic->count[step][k];
    }
    return n;
}

static void bars(const struct picture *pic, FILE *f)
{
    double width = (WIDTH - LEFT - 10) / STEPS, room = HEIGHT - TOP - BOTTOM;

    for (unsigned i = 0; i < STEPS; i++) {
        double y = HEIGHT - BOTTOM;

        for (unsigned k = 0; k <= pic->kinds; k++) {
            double h = room * (double)shown_count(pic, i, k) / (double)pic->most;

            if (h <= 0)
                continue;
            y -= h;
            fprintf(f, "<rect x='%.2f' y='%.2f' width='%.2f' height='%.2f' fill='%s'/>\n",
                    LEFT + i * width, y, width, h, colours[k < pic->kinds ? k : SHOWN]);
        }
    }
}

static void axes(const struct picture *pic, FILE *f)
{
    double seconds = (double)(pic->step * STEPS) / 1e9;

    for (int i = 0; i <= 4; i++) {
        double y = HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * i / 4;
        double rate = (double)pic->most * 1e9 / (double)pic->step * i / 4;
        double x = LEFT + (WIDTH - LEFT - 10) * i / 4;

        fprintf(f,
                "<line x1='%.0f' x2='%.0f' y1='%.1f' y2='%.1f' stroke='#ddd'/>"
                "<text x='%.0f' y='%.1f' text-anchor='end'>%.4g/s</text>"
                "<text x='%.0f' y='%.0f' text-anchor='%s'>%.3g s</text>\n",
                LEFT, WIDTH - 10, y, y, LEFT - 6, y + 4, rate, x, HEIGHT - 10,
                i == 0   ? "start"
                : i == 4 ? "end"
                         : "middle",
                seconds * i / 4);
    }
}

static void legend(const struct picture *pic, FILE *f)
{
    double x = LEFT;

    for (unsigned k = 0; k < pic->kinds; k++) {
        const char *name = kind_name(pic->shown[k]);

        fprintf(f, "<rect x='%.0f' y='8' width='12' height='12' fill='%s'/><text x='%.0f' y='18'>",
                x, colours[k], x + 16);
        escape(f, name);
        fprintf(f, " %" PRIu64 "</text>\n", pic->total[pic->shown[k]]);
        x += 40 + 8 * (double)(strlen(name) + 9);
    }
}

static void svg(const struct picture *pic, FILE *f)
{
    fprintf(f,
            "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 %.0f %.0f' width='%.0f' "
            "height='%.0f' font-family='sans-serif' font-size='11'>\n"
            "<title>VM exits over time</title><rect width='%.0f' height='%.0f' fill='white'/>\n",
            WIDTH, HEIGHT, WIDTH, HEIGHT, WIDTH, HEIGHT);
    if (!pic->most) {
        fprintf(f, "<text x='%.0f' y='%.0f'>no exits</text>\n", LEFT, HEIGHT / 2);
    } else {
        axes(pic, f);
        bars(pic, f);
        legend(pic, f);
    }
    fputs("</svg>\n", f);
}

void export_svg(struct report *p, FILE *f)
{
    struct picture *pic = picture(p);

    svg(pic, f);
    free(pic);
}

/* ---- HTML ------------------------------------------------------------------------------------ */

static void cell_us(FILE *f, uint64_t ns)
{
    fprintf(f, "<td>%.2f</td>", (double)ns / 1000);
}

static void table(struct report *p, enum table_by by, const char *title, FILE *f)
{
    struct table_ask ask = {.by = by};
    const struct trace_stats *t = &p->stats;
    uint32_t trip = stat_trip_ns(t);
    size_t rows;
    struct table_row *row = table_rows(t, trace_names(p->reader), &ask, &rows);

    if (rows)
        fprintf(f,
                "<h2>%s</h2><table><tr><th>%s</th><th>count</th><th>exits</th><th>time</th>"
                "<th>min us</th><th>mean</th><th>p50</th><th>p99</th><th>max</th></tr>\n",
                title, table_by_names[by]);
    for (size_t i = 0; i < rows && i < BARS; i++) {
        const struct stat_sum *s = &row[i].sum;
        struct buf label = {0};
        double share = t->records ? 100.0 * (double)s->count / (double)t->records : 0;
        double time = stat_active_ns(t)
                          ? 100.0 * (double)stat_cost_ns(s, trip) / (double)stat_active_ns(t)
                          : 0;

        table_label(by, &row[i].example->key, trace_names(p->reader), &label);
        fputs("<tr><th>", f);
        escape(f, buf_str(&label));
        fprintf(
            f, "</th><td>%" PRIu64 "</td><td class=b style='--w:%.1f%%'>%.1f%%</td><td>%.1f%%</td>",
            s->count, share, share, time);
        cell_us(f, s->host_min);
        cell_us(f, s->count ? s->host_sum / s->count : 0);
        cell_us(f, stat_quantile(s->hist, 0.5, s->host_min, s->host_max));
        cell_us(f, stat_quantile(s->hist, 0.99, s->host_min, s->host_max));
        cell_us(f, s->host_max);
        fputs("</tr>\n", f);
        buf_fini(&label);
    }
    if (rows)
        fputs("</table>\n", f);
    free(row);
}

static void hist(struct report *p, FILE *f)
{
    uint64_t octave[33] = {0}, most = 0;

    for (unsigned i = 0; i < p->stats.cells; i++) {
        for (unsigned b = 0; b < STAT_BUCKETS; b++) {
            uint64_t low = stat_bucket_floor(b);
            unsigned k = low ? 63u - (unsigned)__builtin_clzll(low) : 0;

            octave[k] += p->stats.cell[i].host_hist[b];
            if (octave[k] > most)
                most = octave[k];
        }
    }
    if (!most)
        return;
    fputs("<h2>Time in handlers</h2><table><tr><th>from ns</th><th>count</th><th></th></tr>\n", f);
    for (unsigned k = 0; k < 32; k++)
        if (octave[k])
            fprintf(f,
                    "<tr><th>%llu</th><td>%" PRIu64
                    "</td><td class=b style='--w:%.1f%%;width:30em'>"
                    "</td></tr>\n",
                    k ? 1ull << k : 0, octave[k], 100.0 * (double)octave[k] / (double)most);
    fputs("</table>\n", f);
}

void export_html(struct report *p, FILE *f)
{
    struct picture *pic = picture(p);
    const struct trace_info *in = trace_info(p->reader);
    char guest[200];

    trace_meta(p->reader, "guest", guest, sizeof guest);
    fputs("<!DOCTYPE html><html lang=en><meta charset=utf-8><title>VM exits of ", f);
    escape(f, guest);
    fputs(
        "</title><style>body{font:14px sans-serif;margin:2em;max-width:70em}"
        "table{border-collapse:collapse}td,th{padding:2px 8px;text-align:right;font-weight:normal}"
        "th:first-child{text-align:left;font-family:monospace}tr:nth-child(even){background:#"
        "f4f4f4}"
        ".b{background:linear-gradient(to right,#cfe0f3 var(--w),transparent 0)}"
        "</style><h1>VM exits of ",
        f);
    escape(f, guest);
    fprintf(f,
            "</h1><p>%" PRIu64
            " exits in %.3f s of running on %u vCPU%s; a crossing into the guest "
            "and back costs %.1f us.",
            p->stats.records, (double)stat_span_ns(&p->stats) / 1e9, in->cpus,
            in->cpus == 1 ? "" : "s", stat_trip_ns(&p->stats) / 1000.0);
    if (p->stats.dropped)
        fprintf(f, " %" PRIu64 " records were overwritten before they could be written.",
                p->stats.dropped);
    fputs("</p>\n", f);
    svg(pic, f);
    table(p, BY_KIND, "By kind", f);
    table(p, BY_WHAT, "By operation", f);
    table(p, BY_SYMBOL, "By function", f);
    table(p, BY_SITE, "By place", f);
    hist(p, f);
    fputs("</html>\n", f);
    free(pic);
}
