/*
 * A recording as a page for people who would rather look than read: what it is, storms, the exits
 * over time, tables, histograms, what devices did, what KVM counted. No scripts, no fonts, nothing
 * is fetched; light and dark as the reader's screen is.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "debug/trace/kvmstats.h"
#include "debug/trace/storm.h"
#include "debug/trace/trace_counters.h"
#include "debug/trace/trace_out_svg.h"
#include "vmm/base/x.h"

#define ROWS 15u

struct page {
    struct report *p;
    FILE *f;
    struct svg_picture pic;
    struct storm_watch storms;
};

static void step(void *arg, const struct exit_event *ev)
{
    struct page *g = arg;

    svg_put(&g->pic, ev);
    storm_follow(&g->storms, &g->p->stats, trace_names(g->p->reader), ev->at_ns, false);
}

/* ---- head ------------------------------------------------------------------------------------ */

static void card(FILE *f, const char *name, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static void card(FILE *f, const char *name, const char *fmt, ...)
{
    char text[120];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    fputs("<div><b>", f);
    svg_escape(f, text);
    fprintf(f, "</b>%s</div>\n", name);
}

static void head(FILE *f, const char *guest)
{
    fputs("<!DOCTYPE html><html lang=en><meta charset=utf-8>"
          "<meta name=viewport content='width=device-width'><title>VM exits of ",
          f);
    svg_escape(f, guest);
    fputs(
        "</title><style>"
        ":root{color-scheme:light dark;--bg:#fff;--fg:#222;--dim:#667;--line:#dde;--even:#f5f6f8;"
        "--bar:#cfe0f3;--warn:#fff3d6}"
        "@media(prefers-color-scheme:dark){:root{--bg:#181a1d;--fg:#ddd;--dim:#99a;--line:#333840;"
        "--even:#1f2226;--bar:#2c4a6b;--warn:#4a3c14}}"
        "body{font:14px/1.45 sans-serif;margin:2em auto;padding:0 1.5em;max-width:72em;"
        "background:var(--bg);color:var(--fg)}h1{font-size:1.6em}h2{font-size:1.15em;"
        "margin:2em 0 .5em}p{max-width:60em}"
        ".cards{display:flex;flex-wrap:wrap;gap:.6em}.cards div{border:1px solid var(--line);"
        "border-radius:6px;padding:.5em 1em;color:var(--dim)}.cards b{display:block;"
        "font-size:1.3em;color:var(--fg)}"
        ".storm{background:var(--warn);border-radius:6px;padding:.6em 1em}"
        "svg{width:100%;height:auto;margin-top:1em}"
        ".t{overflow-x:auto}table{border-collapse:collapse}"
        "td,th{padding:2px 10px;text-align:right;font-weight:normal;white-space:nowrap;"
        "font-variant-numeric:tabular-nums}"
        "thead th{color:var(--dim);border-bottom:1px solid var(--line)}"
        "th:first-child{text-align:left}tbody th:first-child{font-family:monospace;"
        "white-space:normal;min-width:6em}"
        "tbody tr:nth-child(even){background:var(--even)}td.l{text-align:left;white-space:normal}"
        ".b{background:linear-gradient(to right,var(--bar) var(--w),transparent 0)}"
        "</style><h1>VM exits of ",
        f);
    svg_escape(f, guest);
    fputs("</h1>\n", f);
}

static void summary(struct page *g)
{
    const struct trace_info *in = trace_info(g->p->reader);
    const struct trace_stats *t = &g->p->stats;
    double seconds = (double)stat_span_ns(t) / 1e9;
    time_t when = (time_t)(in->start_real_ns / 1000000000u);
    uint64_t wait = 0;
    char kvm[60], date[40] = "";
    struct tm tm;

    for (unsigned i = 0; i < t->cells; i++)
        wait += t->cell[i].wait_sum;
    trace_meta(g->p->reader, "kvm", kvm, sizeof kvm);
    if (gmtime_r(&when, &tm))
        strftime(date, sizeof date, "%Y-%m-%d %H:%M UTC", &tm);
    fputs("<div class=cards>", g->f);
    card(g->f, "exits", "%" PRIu64, t->records);
    card(g->f, "of running", "%.3f s", seconds);
    card(g->f, "exits a second", "%.0f", seconds > 0 ? (double)t->records / seconds : 0);
    if (stat_active_ns(t))
        card(g->f, "of the time halted", "%.1f%%",
             100.0 * (double)wait / (double)stat_active_ns(t));
    card(g->f, "to leave the guest and come back", "%.1f us", stat_trip_ns(t) / 1000.0);
    card(g->f, in->cpus == 1 ? "vCPU" : "vCPUs", "%u", in->cpus);
    if (kvm[0])
        card(g->f, "the KVM it ran on", "%s", kvm);
    card(g->f, "recorded", "%s", date);
    if (t->dropped)
        card(g->f, "records lost", "%" PRIu64, t->dropped);
    fputs("</div>\n", g->f);
    if (in->problem[0]) {
        fputs("<p class=storm>", g->f);
        svg_escape(g->f, in->problem);
        fputs("</p>\n", g->f);
    }
}

static void storms(struct page *g)
{
    const struct trace_info *in = trace_info(g->p->reader);

    for (unsigned i = 0; i < g->storms.storms; i++) {
        const struct storm *s = &g->storms.storm[i];
        uint64_t end = s->end_ns ? s->end_ns : in->last_ns;

        fprintf(g->f, "<p class=storm><b>Storm</b> at %.3f s for %.1f s: ",
                (double)(int64_t)(s->begin_ns - in->first_ns) / 1e9,
                (double)(int64_t)(end - s->begin_ns) / 1e9);
        svg_escape(g->f, s->text);
        fputs("</p>\n", g->f);
    }
}

/* ---- tables ---------------------------------------------------------------------------------- */

static void begin_table(FILE *f, const char *title, const char *first, const char *heads)
{
    fprintf(f, "<h2>%s</h2><div class=t><table><thead><tr><th>%s</th>%s</tr></thead><tbody>\n",
            title, first, heads);
}

static void end_table(FILE *f)
{
    fputs("</tbody></table></div>\n", f);
}

static void cell_us(FILE *f, uint64_t ns)
{
    fprintf(f, "<td>%.2f</td>", (double)ns / 1000);
}

static double seconds_of(const struct trace_stats *t)
{
    double s = (double)stat_span_ns(t) / 1e9;

    return s > 0 ? s : 1;
}

static void label(struct page *g, enum table_by by, const struct table_row *r)
{
    struct buf text = {0};

    table_label(by, &r->example->key, trace_names(g->p->reader), &text);
    fputs("<tr><th>", g->f);
    svg_escape(g->f, buf_str(&text));
    fprintf(g->f, "</th><td>%" PRIu64 "</td><td>%.0f</td>", r->sum.count,
            (double)r->sum.count / seconds_of(&g->p->stats));
    buf_fini(&text);
}

/* Exits by a key, without what is none. */
static void exits(struct page *g, enum table_by by, const char *title)
{
    struct table_ask ask = {.by = by};
    const struct trace_stats *t = &g->p->stats;
    uint32_t trip = stat_trip_ns(t);
    size_t rows, shown = 0;
    struct table_row *row = table_rows(t, trace_names(g->p->reader), &ask, &rows);

    for (size_t i = 0; i < rows && shown < ROWS; i++) {
        const struct stat_sum *s = &row[i].sum;
        double share = t->records ? 100.0 * (double)s->count / (double)t->records : 0;
        double time = stat_active_ns(t)
                          ? 100.0 * (double)stat_cost_ns(s, trip) / (double)stat_active_ns(t)
                          : 0;

        if (stat_is_note(row[i].example->key.reason))
            continue;
        if (!shown++)
            begin_table(g->f, title, table_by_names[by],
                        "<th>count</th><th>a second</th><th>of exits</th><th>of time</th>"
                        "<th>min us</th><th>mean</th><th>p50</th><th>p99</th><th>max</th>");
        label(g, by, &row[i]);
        fprintf(g->f,
                "<td class=b style='--w:%.1f%%'>%.1f%%</td><td class=b style='--w:%.1f%%'>%.1f%%"
                "</td>",
                share, share, time, time);
        cell_us(g->f, s->host_min);
        cell_us(g->f, s->count ? s->host_sum / s->count : 0);
        cell_us(g->f, stat_quantile(s->hist, 0.5, s->host_min, s->host_max));
        cell_us(g->f, stat_quantile(s->hist, 0.99, s->host_min, s->host_max));
        cell_us(g->f, s->host_max);
        fputs("</tr>\n", g->f);
    }
    if (shown)
        end_table(g->f);
    free(row);
}

static void notes(struct page *g)
{
    struct table_ask ask = {.by = BY_WHAT};
    size_t rows, shown = 0;
    struct table_row *row = table_rows(&g->p->stats, trace_names(g->p->reader), &ask, &rows);

    for (size_t i = 0; i < rows && shown < ROWS; i++) {
        if (!stat_is_note(row[i].example->key.reason))
            continue;
        if (!shown++)
            begin_table(g->f, "Interrupts, devices, and what KVM told", "event",
                        "<th>count</th><th>a second</th>");
        label(g, BY_WHAT, &row[i]);
        fputs("</tr>\n", g->f);
    }
    if (shown)
        end_table(g->f);
    free(row);
}

static void counters(struct page *g)
{
    struct trace_counters c;
    bool any = false;

    counters_load(&c, g->p->reader);
    for (size_t i = 0; i < c.names; i++) {
        double seconds = c.points > 1 ? (double)(c.at_ns[c.points - 1] - c.at_ns[0]) / 1e9 : 1;
        uint64_t n = counters_growth(&c, i);
        const char *help = kvmstats_help(c.name[i]);

        if (!n)
            continue;
        if (!any)
            begin_table(g->f, "What KVM itself counted", "counter",
                        "<th>count</th><th>a second</th><th></th>");
        any = true;
        fputs("<tr><th>", g->f);
        svg_escape(g->f, c.name[i]);
        fprintf(g->f, "</th><td>%" PRIu64 "</td><td>%.0f</td><td class=l>", n,
                seconds > 0 ? (double)n / seconds : 0);
        svg_escape(g->f, help ? help : "");
        fputs("</td></tr>\n", g->f);
    }
    if (any)
        end_table(g->f);
    counters_fini(&c);
}

/* ---- histograms ------------------------------------------------------------------------------ */

static void ns_text(FILE *f, double ns)
{
    if (ns >= 1e9)
        fprintf(f, "%.3g s", ns / 1e9);
    else if (ns >= 1e6)
        fprintf(f, "%.3g ms", ns / 1e6);
    else if (ns >= 1e3)
        fprintf(f, "%.3g us", ns / 1e3);
    else
        fprintf(f, "%.0f ns", ns);
}

static void hist(struct page *g, const char *title, const uint64_t octave[33])
{
    uint64_t most = 0, total = 0;
    unsigned first = 33, last = 0;

    for (unsigned k = 0; k < 33; k++) {
        most = octave[k] > most ? octave[k] : most;
        total += octave[k];
        if (octave[k]) {
            first = k < first ? k : first;
            last = k;
        }
    }
    if (!most)
        return;
    begin_table(g->f, title, "from", "<th>count</th><th></th>");
    for (unsigned k = first; k <= last; k++) {
        fputs("<tr><th>", g->f);
        ns_text(g->f, k ? (double)(1ull << k) : 0);
        fprintf(g->f,
                "</th><td>%" PRIu64 "</td><td class=b style='--w:%.1f%%;min-width:26em'>%.1f%%"
                "</td></tr>\n",
                octave[k], 100.0 * (double)octave[k] / (double)most,
                100.0 * (double)octave[k] / (double)total);
    }
    end_table(g->f);
}

static void add_octaves(uint64_t octave[33], const uint32_t buckets[STAT_BUCKETS])
{
    for (unsigned b = 0; b < STAT_BUCKETS; b++) {
        uint64_t low = stat_bucket_floor(b);

        octave[low ? 63u - (unsigned)__builtin_clzll(low) : 0] += buckets[b];
    }
}

static void hists(struct page *g)
{
    const struct trace_stats *t = &g->p->stats;
    uint64_t host[33] = {0}, guest[33] = {0};

    for (unsigned i = 0; i < t->cells; i++)
        add_octaves(host, t->cell[i].host_hist);
    for (unsigned k = 0; k < ARRAY_LEN(t->guest_hist); k++)
        add_octaves(guest, t->guest_hist[k]);
    hist(g, "Time in handlers", host);
    hist(g, "Time inside KVM_RUN before an exit", guest);
}

void export_html(struct report *p, FILE *f)
{
    struct page *g = xcalloc(1, sizeof *g);
    char guest[200];

    g->p = p;
    g->f = f;
    svg_init(&g->pic, trace_info(p->reader));
    storm_init(&g->storms);
    report_count(p, step, g);
    storm_follow(&g->storms, &p->stats, trace_names(p->reader), trace_info(p->reader)->last_ns,
                 true);
    trace_meta(p->reader, "guest", guest, sizeof guest);
    head(f, guest[0] ? guest : "an unknown guest");
    summary(g);
    storms(g);
    svg_write(&g->pic, f);
    exits(g, BY_KIND, "By kind");
    exits(g, BY_WHAT, "By operation");
    exits(g, BY_SYMBOL, "By function");
    exits(g, BY_SITE, "By place");
    hists(g);
    notes(g);
    counters(g);
    fputs(
        "<p>Times are those of handlers unless said otherwise; the share of time has the crossing "
        "out of the guest and back in it. Made by vmscope report --export html.</p></html>\n",
        f);
    free(g);
}
