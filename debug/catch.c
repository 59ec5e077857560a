/*
 * Catchpoints other than by address. See catch.h.
 */
#include "debug/catch.h"

#include <stdio.h>
#include <string.h>

#include "debug/engine.h"
#include "vmm/base/le.h"

static bool is_of(const struct bp *b, enum catch_what what)
{
    return b->pub.spec.catch_what == what;
}

/* The record's filter comes first and is no hit that was refused: it says which exits are meant. */
static bool meant(struct engine *g, struct vcpu *v, const struct bp *b, const struct exit_event *ev)
{
    uint64_t value;

    return !b->filter || engine_eval(g, v, b->filter, ev, &value, NULL) < 0 || value;
}

void catch_exits(struct engine *g, struct vcpu *v, struct exit_event *ev)
{
    for (unsigned i = 0; i < g->points.catches; i++) {
        struct bp *b = g->points.catch_bp[i];

        if (is_of(b, CATCH_EXIT) && b->pub.spec.catch_reason == ev->reason &&
            !(ev->flags & EXIT_F_RAM) && meant(g, v, b, ev) && engine_point_hit(g, v, b, ev))
            ev->flags |= EXIT_F_STOPPED;
    }
}

/* What the frame on the handler's stack tells of the instruction that faulted. */
static void tell_exception(struct vcpu *v, int vector, struct stop_info *si)
{
    bool real = !(v->sregs->cr0 & 1), has_code;
    unsigned slot = real ? 2 : v->sregs->efer & 0x400 ? 8 : 4;
    char code[40] = "", address[40] = "";
    uint8_t raw[16] = {0};
    struct walk_regs r;

    has_code = !real && (vector == 8 || (vector >= 10 && vector <= 14) || vector == 17);
    vcpu_walk_regs(v, &r);
    if (walk_read(&v->vm->mem, &r, v->sregs->ss.base + v->regs->rsp, raw, slot * 2) != slot * 2)
        return;
    if (has_code)
        snprintf(code, sizeof code, ", error code 0x%llx", (unsigned long long)le_load(raw, slot));
    if (vector == 14)
        snprintf(address, sizeof address, ", address 0x%llx", (unsigned long long)v->sregs->cr2);
    snprintf(si->text, sizeof si->text, "vector %d (%s)%s%s, raised at 0x%llx", vector,
             exit_vector_name((unsigned)vector), code, address,
             (unsigned long long)le_load(raw + (has_code ? slot : 0), slot));
}

bool catch_exceptions(struct engine *g, struct vcpu *v, uint32_t vectors)
{
    bool stops = false;

    for (unsigned i = 0; i < g->points.catches; i++) {
        struct bp *b = g->points.catch_bp[i];
        int want = b->pub.spec.catch_vector;
        uint32_t match = want < 0 ? vectors : vectors & 1u << want;
        struct stop_info *si;

        if (!is_of(b, CATCH_EXCEPTION) || !match)
            continue;
        si = engine_point_hit(g, v, b, NULL);
        if (!si)
            continue;
        stops = true;
        si->vector = __builtin_ctz(match);
        if (si->point_id == b->pub.id && !si->text[0])
            tell_exception(v, si->vector, si);
    }
    return stops;
}

void catch_look(const struct vcpu *v, struct catch_before *before)
{
    before->mode = cpu_mode_of(v->sregs, v->regs->rflags);
    before->cpl = cpu_cpl(v->sregs);
    before->cr3 = v->sregs->cr3;
}

bool catch_changes(struct engine *g, struct vcpu *v, const struct catch_before *before)
{
    struct catch_before now;
    bool stops = false;

    catch_look(v, &now);
    for (unsigned i = 0; i < g->points.catches; i++) {
        struct bp *b = g->points.catch_bp[i];
        bool mode = is_of(b, CATCH_MODE) && (now.mode != before->mode || now.cpl != before->cpl);
        bool cr3 = is_of(b, CATCH_CR3) && now.cr3 != before->cr3;
        struct stop_info *si = mode || cr3 ? engine_point_hit(g, v, b, NULL) : NULL;

        if (!si)
            continue;
        stops = true;
        if (si->text[0])
            continue;
        if (mode)
            snprintf(si->text, sizeof si->text, "from %s, ring %u, to %s, ring %u",
                     cpu_mode_name(before->mode), before->cpl, cpu_mode_name(now.mode), now.cpl);
        else
            snprintf(si->text, sizeof si->text, "CR3 from 0x%llx to 0x%llx",
                     (unsigned long long)before->cr3, (unsigned long long)now.cr3);
    }
    return stops;
}

int catch_of(struct engine *g, struct vcpu *v, enum catch_what what)
{
    for (unsigned i = 0; i < g->points.catches; i++) {
        struct bp *b = g->points.catch_bp[i];

        if (is_of(b, what) && engine_point_hit(g, v, b, NULL))
            return b->pub.id;
    }
    return -1;
}

void catch_console(struct engine *g, enum console_chan chan, const void *bytes, size_t len)
{
    struct console_match *m = &g->console;
    char *tail = m->tail[chan];

    for (size_t i = 0; i < len; i++) {
        if (m->len[chan] == CONSOLE_MATCH_MAX)
            memmove(tail, tail + 1, --m->len[chan]);
        tail[m->len[chan]++] = ((const char *)bytes)[i];
        for (unsigned k = 0; k < g->points.catches; k++) {
            struct bp *b = g->points.catch_bp[k];
            size_t n = is_of(b, CATCH_CONSOLE) ? strlen(b->pub.spec.catch_text) : 0;

            if (!n || n > m->len[chan] ||
                memcmp(tail + m->len[chan] - n, b->pub.spec.catch_text, n))
                continue;
            atomic_store(&b->text_seen, 1);
            atomic_store(&m->due, 1);
        }
    }
}

void catch_texts(struct engine *g, struct vcpu *v)
{
    atomic_store(&g->console.due, 0);
    for (unsigned i = 0; i < g->points.catches; i++) {
        struct bp *b = g->points.catch_bp[i];

        if (is_of(b, CATCH_CONSOLE) && atomic_exchange(&b->text_seen, 0))
            engine_point_hit(g, v, b, NULL);
    }
}
