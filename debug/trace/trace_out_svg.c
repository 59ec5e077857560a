/*
 * A recording as a picture: exits over time by kind. Self-contained; light and dark as the reader's
 * screen is.
 */
#include "debug/trace/trace_out_svg.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/x.h"

#define WIDTH  960.0
#define HEIGHT 260.0
#define LEFT   70.0
#define BOTTOM 30.0
#define TOP    34.0

static const char *const colours[SVG_SHOWN + 1] = {"#4477aa", "#ee6677", "#228833", "#ccbb44",
                                                   "#66ccee", "#aa3377", "#888888"};

void svg_escape(FILE *f, const char *text)
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

void svg_put(void *arg, const struct exit_event *ev)
{
    struct svg_picture *pic = arg;
    uint64_t at = ev->at_ns > pic->first ? (ev->at_ns - pic->first) / pic->step : 0;
    unsigned k = exit_counter(ev->reason);

    if (stat_is_note(ev->reason))
        return;
    pic->count[at < SVG_STEPS ? at : SVG_STEPS - 1][k]++;
    pic->total[k]++;
}

static void choose(struct svg_picture *pic)
{
    bool used[SVG_KINDS] = {false};

    for (pic->kinds = 0; pic->kinds < SVG_SHOWN; pic->kinds++) {
        unsigned best = SVG_KINDS;

        for (unsigned k = 0; k < SVG_KINDS; k++)
            if (!used[k] && pic->total[k] &&
                (best == SVG_KINDS || pic->total[k] > pic->total[best]))
                best = k;
        if (best == SVG_KINDS)
            break;
        used[best] = true;
        pic->shown[pic->kinds] = best;
    }
    for (unsigned i = 0; i < SVG_STEPS; i++) {
        uint64_t sum = 0;

        for (unsigned k = 0; k < SVG_KINDS; k++)
            sum += pic->count[i][k];
        if (sum > pic->most)
            pic->most = sum;
    }
}

void svg_init(struct svg_picture *pic, const struct trace_info *in)
{
    *pic = (struct svg_picture){.first = in->first_ns};
    pic->step = (in->last_ns > in->first_ns ? in->last_ns - in->first_ns : 0) / SVG_STEPS + 1;
}

/* ---- SVG ------------------------------------------------------------------------------------- */

static uint64_t shown_count(const struct svg_picture *pic, unsigned step, unsigned i)
{
    uint64_t n = 0;

    if (i < pic->kinds)
        return pic->count[step][pic->shown[i]];
    for (unsigned k = 0; k < SVG_KINDS; k++) {
        bool own = false;

        for (unsigned s = 0; s < pic->kinds; s++)
            own |= pic->shown[s] == k;
        n += own ? 0 : pic->count[step][k];
    }
    return n;
}

static void bars(const struct svg_picture *pic, FILE *f)
{
    double width = (WIDTH - LEFT - 10) / SVG_STEPS, room = HEIGHT - TOP - BOTTOM;

    for (unsigned i = 0; i < SVG_STEPS; i++) {
        double y = HEIGHT - BOTTOM;

        for (unsigned k = 0; k <= pic->kinds; k++) {
            uint64_t n = shown_count(pic, i, k);
            double h = room * (double)n / (double)pic->most;

            if (!n)
                continue;
            y -= h;
            fprintf(
                f,
                "<rect x='%.2f' y='%.2f' width='%.2f' height='%.2f' fill='%s'><title>%" PRIu64 " ",
                LEFT + i * width, y, width * 0.92, h, colours[k < pic->kinds ? k : SVG_SHOWN], n);
            svg_escape(f, k < pic->kinds ? kind_name(pic->shown[k]) : "others");
            fprintf(f, " at %.4g s</title></rect>\n", (double)(pic->step * i) / 1e9);
        }
    }
}

static const char *rate_text(double rate, char *dst, size_t cap)
{
    if (rate >= 1e6)
        snprintf(dst, cap, "%.3gM/s", rate / 1e6);
    else if (rate >= 1e3)
        snprintf(dst, cap, "%.3gk/s", rate / 1e3);
    else
        snprintf(dst, cap, "%.3g/s", rate);
    return dst;
}

static void axes(const struct svg_picture *pic, FILE *f)
{
    double seconds = (double)(pic->step * SVG_STEPS) / 1e9;
    char text[24];

    for (int i = 0; i <= 4; i++) {
        double y = HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * i / 4;
        double rate = (double)pic->most * 1e9 / (double)pic->step * i / 4;
        double x = LEFT + (WIDTH - LEFT - 10) * i / 4;

        fprintf(f,
                "<line class='g' x1='%.0f' x2='%.0f' y1='%.1f' y2='%.1f'/>"
                "<text x='%.0f' y='%.1f' text-anchor='end'>%s</text>"
                "<text x='%.0f' y='%.0f' text-anchor='%s'>%.3g s</text>\n",
                LEFT, WIDTH - 10, y, y, LEFT - 6, y + 4, rate_text(rate, text, sizeof text), x,
                HEIGHT - 10,
                i == 0   ? "start"
                : i == 4 ? "end"
                         : "middle",
                seconds * i / 4);
    }
}

static void legend(const struct svg_picture *pic, FILE *f)
{
    double x = LEFT;

    for (unsigned k = 0; k < pic->kinds; k++) {
        const char *name = kind_name(pic->shown[k]);

        fprintf(f, "<rect x='%.0f' y='8' width='12' height='12' fill='%s'/><text x='%.0f' y='18'>",
                x, colours[k], x + 16);
        svg_escape(f, name);
        fprintf(f, " %" PRIu64 "</text>\n", pic->total[pic->shown[k]]);
        x += 40 + 8 * (double)(strlen(name) + 9);
    }
}

void svg_write(struct svg_picture *pic, FILE *f)
{
    choose(pic);
    fprintf(f,
            "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 %.0f %.0f' width='%.0f' "
            "height='%.0f' font-family='sans-serif' font-size='11' role='img'>\n"
            "<style>svg{color:#222;background:#fff}text{fill:currentColor}.g{stroke:#8884}"
            "@media(prefers-color-scheme:dark){svg{color:#ddd;background:#181a1d}}</style>"
            "<title>VM exits over time</title>\n",
            WIDTH, HEIGHT, WIDTH, HEIGHT);
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
    struct svg_picture *pic = xcalloc(1, sizeof *pic);

    svg_init(pic, trace_info(p->reader));
    report_count(p, svg_put, pic);
    svg_write(pic, f);
    free(pic);
}
