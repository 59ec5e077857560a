/*
 * The session: one machine with what is known of it, opened and closed. Main thread, except what
 * the machine calls.
 */
#include "debug/session.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "debug/control/control.h"
#include "debug/gdb/gdb.h"
#include "debug/session_priv.h"
#include "debug/symbols/sym.h"
#include "debug/trace/tracer.h"
#include "disasm/disasm.h"
#include "vmm/base/x.h"

static void on_parked(void *arg, struct vcpu *v)
{
    struct engine *g = arg;

    if (vm_all_parked(v->vm))
        session_ring(g->session);
}

static bool symbol_text(void *arg, uint64_t addr, char *dst, size_t cap)
{
    const struct symbol *y = symbols_lookup(((struct session *)arg)->symbols, addr);

    if (!y || strlen(y->name) >= cap)
        return false;
    memcpy(dst, y->name, strlen(y->name) + 1);
    return true;
}

static bool symbol_name(void *arg, uint64_t addr, char *dst, size_t cap)
{
    return symbols_format(arg, addr, dst, cap);
}

int session_open(struct session **out, const struct session_config *cfg, struct err *e)
{
    struct session *s = xcalloc(1, sizeof *s);
    struct vm_config vc = {
        .mem_bytes = cfg->mem_bytes ? cfg->mem_bytes : 128ull << 20,
        .cpus = cfg->cpus ? cfg->cpus : 1,
        .cpu_features = cfg->cpu_features,
        .irqchip_kernel = cfg->irqchip_kernel,
        .slow_clock = cfg->slow_clock,
        .visible_all = cfg->visible_all,
        .boot = cfg->boot,
        .ring_records = cfg->ring_records ? cfg->ring_records : 65536,
        .arg = &s->engine,
        .body = engine_body,
        .access = engine_access,
        .console = session_on_console,
        .trapped = engine_trapped,
        .dma = engine_dma,
        .parked = on_parked,
    };
    int rc;

    *out = NULL;
    s->cfg = *cfg;
    s->engine.session = s;
    s->engine.assist_off = cfg->assist_off;
    s->sched = SCHED_STEP;
    s->bell_fd = s->watch_fd = s->poll_fd = -1;
    s->symbols = symbols_new();
    s->disasm = disasm_new();
    disasm_symbols(s->disasm, symbol_name, s->symbols);
    pthread_mutex_init(&s->console_lock, NULL);
    rc = session_open_loop(s, e);
    if (rc == 0)
        rc = vm_open(&s->vm, &vc, e);
    if (rc == 0) {
        engine_init(&s->engine, s->vm);
        s->engine.stack_symbols = s->symbols;
        s->engine.symbol_text = symbol_text;
        s->engine.symbol_arg = s;
        s->engine.log = session_on_log;
        s->engine.log_arg = s;
        rc = session_read_symbols(s, s->symbols, &s->symbol_file, e);
    }
    if (rc < 0) {
        session_close(s);
        return rc;
    }
    s->tracer = tracer_new(s);
    session_stopped_at_entry(s);
    if ((cfg->gdb && gdb_listen(s, cfg->gdb, e) < 0) ||
        (cfg->control && control_listen(s, cfg->control, e) < 0)) {
        session_close(s);
        return -e->code;
    }
    *out = s;
    return 0;
}

void session_close(struct session *s)
{
    if (!s)
        return;
    gdb_close(s);
    control_close(s);
    if (s->vm) {
        vm_park(s->vm);
        tracer_free(s->tracer);
        engine_fini(&s->engine);
        vm_close(s->vm);
    }
    for (unsigned i = 0; i < CONSOLE_CHANS; i++)
        buf_fini(&s->console[i]);
    buf_fini(&s->logs);
    buf_fini(&s->commands);
    symbols_free(s->symbols);
    disasm_free(s->disasm);
    disasm_free(s->step_disasm);
    if (s->kernel_ring_on)
        ring_fini(&s->kernel_ring);
    if (s->bell_fd >= 0)
        close(s->bell_fd);
    if (s->watch_fd >= 0)
        close(s->watch_fd);
    if (s->poll_fd >= 0)
        close(s->poll_fd);
    pthread_mutex_destroy(&s->console_lock);
    free(s);
}

const struct session_config *session_cfg(const struct session *s)
{
    return &s->cfg;
}

const struct boot_state *session_boot(const struct session *s)
{
    return &s->vm->boot;
}

struct vm *session_vm(struct session *s)
{
    return s->vm;
}

struct tracer *session_tracer(struct session *s)
{
    return s->tracer;
}

void session_set_exit_text(struct session *s,
                           bool (*fn)(void *arg, const struct exit_event *ev, struct buf *out),
                           void *arg)
{
    s->live = (struct names_live){.what = fn, .arg = arg, .symbols = s->symbols};
    tracer_set_live(s->tracer, &s->live);
}

bool session_exit_text(struct session *s, const struct exit_event *ev, struct buf *out)
{
    return s->live.what && s->live.what(s->live.arg, ev, out);
}

struct symbols *session_symbols(struct session *s)
{
    return s->symbols;
}

struct disasm *session_disasm(struct session *s)
{
    return s->disasm;
}

bool session_is_held(const struct session *s)
{
    return gdb_holds(s) || control_holds(s);
}

bool session_stepped_from_outside(const struct session *s)
{
    return gdb_stepped(s);
}

void session_quit(struct session *s, int status)
{
    s->quit_asked = true;
    s->quit_status = status;
}

bool session_quit_asked(const struct session *s, int *status)
{
    if (status && s->quit_asked)
        *status = s->quit_status;
    return s->quit_asked;
}

void session_set_scripts(struct session *s, const struct cmd_scripts *scripts)
{
    s->scripts = scripts;
}

const struct cmd_scripts *session_scripts(const struct session *s)
{
    return s->scripts;
}

enum session_state session_state(const struct session *s)
{
    return s->state;
}

const struct stop_info *session_last_stop(const struct session *s)
{
    return &s->last;
}

unsigned session_cpus(const struct session *s)
{
    return s->vm->cpus;
}

unsigned session_focus(const struct session *s)
{
    return s->focus;
}

int session_set_focus(struct session *s, unsigned vcpu, struct err *e)
{
    if (vcpu >= s->vm->cpus)
        return err_set(e, EINVAL, "there is no vCPU %u: this machine has %u (0 to %u)", vcpu,
                       s->vm->cpus, s->vm->cpus - 1);
    s->focus = vcpu;
    session_publish(s, EV_STATE, NULL);
    return 0;
}

const char *session_cpu_status(const struct session *s, unsigned vcpu)
{
    return vcpu < s->vm->cpus ? vcpu_status(s->vm->cpu[vcpu]) : "absent";
}

void session_set_step_irq(struct session *s, bool on)
{
    s->engine.step_irq = on;
}

bool session_step_irq(const struct session *s)
{
    return s->engine.step_irq;
}

void session_set_sched_lock(struct session *s, enum sched_lock v)
{
    s->sched = v;
}

enum sched_lock session_sched_lock(const struct session *s)
{
    return s->sched;
}
