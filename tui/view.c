/*
 * Fills the view from the session: status, exits, points, devices, log. See view.h.
 */
#include "tui/view.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tui/view_machine.h"
#include "vmm/base/clock.h"
#include "vmm/base/esc.h"
#include "vmm/base/log.h"
#include "vmm/base/x.h"

_Static_assert(VIEW_REGS >= REG_COUNT, "every register of the table has a place in the view");

#define CONSOLE_LINES 5000
#define RATE_NS       500000000u /* window over which exits per second are counted */

void view_init(struct view *v, struct session *s)
{
    const char *image = session_cfg(s)->boot.image, *slash = image ? strrchr(image, '/') : NULL;

    memset(v, 0, sizeof *v);
    v->past = xcalloc(1, sizeof *v->past);
    v->exits.ring = xcalloc(VIEW_EXITS, sizeof *v->exits.ring);
    v->exits.follow = true;
    lines_init(&v->console.lines, CONSOLE_LINES);
    if (image)
        esc_cut(v->status.guest, sizeof v->status.guest, slash ? slash + 1 : image,
                strlen(slash ? slash + 1 : image));
    session_trace_start(s, &v->exits.cursor, false);
    v->rate_at_ns = clock_ns();
    v->rate_exits = session_exit_count(s);
}

void view_fini(struct view *v)
{
    lines_fini(&v->console.lines);
    buf_fini(&v->console.open);
    buf_fini(&v->devices.text);
    buf_fini(&v->panes.pane.text);
    free(v->exits.ring);
    free(v->past);
    v->exits.ring = NULL;
    v->past = NULL;
}

/* ---- status --------------------------------------------------------------------------------- */

static bool is_fault(enum stop_kind k)
{
    return k == STOP_TRIPLE_FAULT || k == STOP_INTERNAL_ERROR || k == STOP_STUCK ||
           k == STOP_HOST_ERROR;
}

static void fill_rate(struct view *v)
{
    struct view_status *st = &v->status;
    uint64_t now = clock_ns(), span = now - v->rate_at_ns;

    if (st->state != SS_RUNNING) {
        st->exits_per_s = 0;
        v->rate_at_ns = now;
        v->rate_exits = st->exits;
    } else if (span >= RATE_NS) {
        st->exits_per_s = (st->exits - v->rate_exits) * 1000 / (span / 1000000);
        v->rate_at_ns = now;
        v->rate_exits = st->exits;
    }
}

static void fill_status(struct view *v, struct session *s)
{
    struct view_status *st = &v->status;
    const struct stop_info *stop = session_last_stop(s);

    st->state = session_state(s);
    st->cpus = session_cpus(s);
    st->vcpu = session_focus(s);
    st->guest_ns = session_guest_time(s);
    st->exits = session_exit_count(s);
    fill_rate(v);
    snprintf(st->cpu_status, sizeof st->cpu_status, "%s", session_cpu_status(s, st->vcpu));
    st->stop[0] = '\0';
    st->fault = stop && is_fault(stop->kind);
    if (stop && stop->point_id > 0)
        snprintf(st->stop, sizeof st->stop, "%s %d", stop_kind_name(stop->kind), stop->point_id);
    else if (stop)
        snprintf(st->stop, sizeof st->stop, "%s", stop_kind_name(stop->kind));
}

/* ---- exits ---------------------------------------------------------------------------------- */

static void take_exits(struct view_exits *ex, const struct session *s)
{
    struct exit_event some[128];
    size_t n, total = 0;

    while (total < 4 * VIEW_EXITS &&
           (n = session_trace_next(s, &ex->cursor, some, ARRAY_LEN(some))) != 0) {
        for (size_t i = 0; i < n; i++) {
            if (some[i].reason == EXIT_STACK)
                continue; /* a part of the exit before it */
            if (!ex->next)
                ex->first_ns = some[i].at_ns;
            ex->ring[ex->next++ % VIEW_EXITS] = some[i];
        }
        total += n;
    }
    ex->dropped = ex->cursor.dropped;
}

/* The access alone: direction, place, value, and who answered. `what` is the whole text. */
static void format_brief(const struct exit_event *ev, const char *reg_name, const char *what,
                         struct view_exit *out)
{
    bool io = ev->reason == KVM_EXIT_IO, write = io ? ev->u.io.write : ev->u.mmio.write;
    uint64_t value = io ? ev->u.io.value : ev->u.mmio.value;
    char text[8] = "";

    if (!io && ev->reason != KVM_EXIT_MMIO) {
        bool same = !strncmp(what, out->kind, strlen(out->kind));

        snprintf(out->brief, sizeof out->brief, "%s%s%s", same ? "" : out->kind, same ? "" : " ",
                 what);
        return;
    }
    if (ev->size == 1 && value >= 0x20 && value < 0x7f)
        snprintf(text, sizeof text, " '%c'", (char)value);
    snprintf(out->brief, sizeof out->brief, "%s %" PRIx64 " = %" PRIx64 "%s %s",
             io      ? write ? "out" : "in"
             : write ? "wr"
                     : "rd",
             io ? ev->u.io.port : ev->u.mmio.gpa, value, text,
             out->unclaimed ? "no device"
             : reg_name     ? reg_name
                            : "");
}

void view_exit_format(const struct exit_event *ev, const char *reg_name, const char *text,
                      uint64_t first_ns, struct view_exit *out)
{
    uint64_t ns = ev->at_ns > first_ns ? ev->at_ns - first_ns : 0;
    struct buf what = {0};

    *out = (struct view_exit){.vcpu = ev->vcpu,
                              .no_cpu = !exit_has_cpu(ev),
                              .source = ev->reason == EXIT_DEVICE   ? "device"
                                        : ev->reason == EXIT_KERNEL ? "kernel"
                                                                    : NULL,
                              .kind = exit_kind_name(ev->reason),
                              .rip = ev->mode == MODE_LONG64 ? ev->rip : ev->cs_base + ev->rip,
                              .seq = ev->seq,
                              .guest_ns = ev->guest_ns,
                              .host_ns = ev->host_ns,
                              .unclaimed = ev->flags & EXIT_F_UNCLAIMED};
    snprintf(out->when, sizeof out->when, "%" PRIu64 ".%06u", ns / 1000000000,
             (unsigned)(ns % 1000000000 / 1000));
    if (text) {
        snprintf(out->brief, sizeof out->brief, "%s", text);
        snprintf(out->what, sizeof out->what, "%s", text);
    } else {
        exit_format(ev, reg_name, &what);
        format_brief(ev, reg_name, buf_str(&what), out);
        snprintf(out->what, sizeof out->what, "%s", buf_str(&what));
    }
    /* Those are at no instruction. */
    if (ev->reason != EXIT_DEVICE && ev->reason != EXIT_RUN && ev->reason != EXIT_STOP)
        snprintf(out->where, sizeof out->where, "0x%" PRIx64, out->rip);
    buf_fini(&what);
}

static void format_exit(struct session *s, const struct view_exits *ex, uint64_t index,
                        struct view_exit *out)
{
    const struct exit_event *ev = &ex->ring[index % VIEW_EXITS];
    struct buf own = {0};
    bool has_own = session_exit_text(s, ev, &own);
    char name[sizeof out->where];

    view_exit_format(ev, session_reg_name(s, ev), has_own ? buf_str(&own) : NULL, ex->first_ns,
                     out);
    out->index = index;
    if (out->where[0] && view_symbol(s, out->rip, name, sizeof name))
        memcpy(out->where, name, sizeof name);
    buf_fini(&own);
}

static void fill_exits(struct view *v, struct session *s)
{
    struct view_exits *ex = &v->exits;
    unsigned rows = v->rows[PANEL_EXITS] > 0 ? (unsigned)v->rows[PANEL_EXITS] : 0;
    uint64_t low;

    take_exits(ex, s);
    rows = rows > VIEW_ROWS ? VIEW_ROWS : rows;
    low = ex->next > VIEW_EXITS ? ex->next - VIEW_EXITS : 0;
    if (ex->follow) {
        ex->top = ex->next - low > rows ? ex->next - rows : low;
        ex->sel = ex->next ? ex->next - 1 : 0;
    }
    ex->top = ex->top < low ? low : ex->top;
    ex->sel = ex->sel < ex->top ? ex->top : ex->sel;
    for (ex->rows = 0; ex->rows < rows && ex->top + ex->rows < ex->next; ex->rows++)
        format_exit(s, ex, ex->top + ex->rows, &ex->row[ex->rows]);
}

/* ---- points, devices, log ------------------------------------------------------------------- */

static void fill_point(struct view_point *out, const struct point *pt)
{
    static const char *const kinds[] = {"break", "watch", "catch"};
    const struct point_spec *spec = &pt->spec;

    *out = (struct view_point){.id = pt->id,
                               .addr = spec->addr,
                               .hits = pt->hits,
                               .enabled = pt->enabled,
                               .pending = pt->pending,
                               .code = spec->kind == POINT_BREAK};
    snprintf(out->kind, sizeof out->kind, "%s",
             spec->kind == POINT_WATCH && spec->access == WATCH_READ     ? "rwatch"
             : spec->kind == POINT_WATCH && spec->access == WATCH_ACCESS ? "awatch"
                                                                         : kinds[spec->kind]);
    if (spec->kind == POINT_CATCH && !spec->location)
        snprintf(out->what, sizeof out->what, "%s%s%s", exit_kind_name(spec->catch_reason),
                 spec->catch_filter ? " " : "", spec->catch_filter ? spec->catch_filter : "");
    else if (spec->location)
        snprintf(out->what, sizeof out->what, "%s", spec->location);
    else
        snprintf(out->what, sizeof out->what, "0x%" PRIx64, spec->addr);
    snprintf(out->condition, sizeof out->condition, "%s", spec->condition ? spec->condition : "");
    snprintf(out->method, sizeof out->method, "%s%s", pt->method ? pt->method : "",
             spec->action == DO_LOG     ? ", logs"
             : spec->action == DO_COUNT ? ", counts"
             : spec->hit                ? ", asks a script"
             : pt->commands             ? ", has commands"
                                        : "");
}

static void fill_points(struct view *v, struct session *s)
{
    struct view_points *pts = &v->points;
    const struct point *pt = NULL;

    pts->count = pts->more = 0;
    while ((pt = session_point_next(s, pt ? pt->id : 0)) != NULL) {
        if (pts->count < VIEW_POINTS)
            fill_point(&pts->point[pts->count++], pt);
        else
            pts->more++;
    }
    if (pts->sel >= pts->count)
        pts->sel = pts->count ? pts->count - 1 : 0;
    if (pts->first > pts->sel)
        pts->first = pts->sel;
}

static void fill_devices(struct view *v, struct session *s)
{
    struct view_devices *d = &v->devices;
    const char *name;

    if (v->rows[PANEL_DEVICES] <= 0)
        return;
    for (d->count = 0; d->count < ARRAY_LEN(d->name); d->count++) {
        name = session_device_name(s, d->count);
        if (!name)
            break;
        snprintf(d->name[d->count], sizeof d->name[0], "%s", name);
    }
    if (d->sel >= d->count)
        d->sel = 0;
    buf_clear(&d->text);
    if (d->count && session_device_describe(s, d->name[d->sel], &d->text) < 0)
        buf_adds(&d->text, "This device says nothing now.\n");
}

static void fill_log(struct view *v)
{
    struct view_log *log = &v->log;
    unsigned rows = v->rows[PANEL_LOG] > 0 ? (unsigned)v->rows[PANEL_LOG] : 0;
    unsigned long last, first;

    rows = rows > VIEW_ROWS ? VIEW_ROWS : rows;
    log->newest = log_newest();
    last = log->newest > log->scroll ? log->newest - log->scroll : 0;
    first = last > rows ? last - rows + 1 : 1;
    log->rows = 0;
    for (unsigned long n = first; n <= last && log->rows < rows; n++)
        if (log_line(n, log->row[log->rows]))
            log->rows++;
}

static void fill_panes(struct view *v)
{
    struct view_panes *d = &v->panes;
    const struct cmd_scripts *h = v->scripts;
    int rows = v->rows[PANEL_PANES], cols = v->cols[PANEL_PANES];

    for (d->count = 0; h && h->pane && h->pane(h->arg, d->count, 0, 0, NULL);)
        d->count++;
    if (d->sel >= d->count)
        d->sel = d->count ? d->count - 1 : 0;
    if (d->count && rows > 0 && cols > 0)
        h->pane(h->arg, d->sel, (unsigned)cols, (unsigned)rows, &d->pane);
}

/* ---- all ------------------------------------------------------------------------------------ */

static void fill_place(struct view *v, struct session *s, const struct vcpu_state *st)
{
    enum cpu_mode mode = session_mode(s, v->status.vcpu);
    struct view_code *code = &v->code;
    uint64_t before = code->rip_linear;

    snprintf(v->status.mode, sizeof v->status.mode, "%s", cpu_mode_name(mode));
    v->status.cpl = cpu_cpl(&st->sregs);
    code->bits = cpu_mode_bits(mode);
    code->segmented = mode == MODE_REAL || mode == MODE_V86;
    code->cs = st->sregs.cs.selector;
    code->cs_base = mode == MODE_LONG64 ? 0 : st->sregs.cs.base;
    code->rip = st->regs.rip;
    code->rip_linear = code->cs_base + code->rip;
    if (code->rip_linear != before) /* also when a command set it, or chose another vCPU */
        code->follow = true;
    view_symbol(s, code->rip_linear, v->status.where, sizeof v->status.where);
}

void view_fill(struct view *v, struct session *s)
{
    const struct vcpu_state *st = NULL;

    fill_status(v, s);
    if (v->status.state != SS_RUNNING)
        st = session_cpu(s, v->status.vcpu, VS_ALL);
    v->stale = !st;
    if (st) {
        v->have_state = true;
        fill_place(v, s, st);
        view_fill_registers(v, s, st);
        view_fill_code(v, s, st);
        view_fill_stack(v, s, st);
        view_fill_memory(v, s);
    }
    fill_exits(v, s);
    fill_points(v, s);
    fill_devices(v, s);
    fill_log(v);
    fill_panes(v);
}

void view_stopped(struct view *v)
{
    if (v->have_state)
        view_remember(v);
    v->code.follow = true;
    v->stack.scroll = 0;
    v->stack.sel = 0;
}
