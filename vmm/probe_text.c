/*
 * The probe's result as text and back, and compared: all from one table of the fields. The text is
 * what the cache holds, so reading treats it as hostile.
 */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/buf.h"
#include "vmm/base/x.h"
#include "vmm/probe.h"

enum kind { K_HOW, K_BOOL, K_BYTE, K_UINT, K_INT, K_DOUBLE, K_NS };

struct field {
    const char *name;
    uint16_t offset;
    uint8_t kind, count;
};

#define F(kind, name, count)                                                                       \
    {                                                                                              \
#name, (uint16_t)offsetof(struct probe, name), kind, count                                 \
    }
static const struct field fields[] = {
    F(K_HOW, step, PROBE_MODES),
    F(K_HOW, int3, PROBE_MODES),
    F(K_HOW, icebp, PROBE_MODES),
    F(K_HOW, hw_exec, PROBE_MODES),
    F(K_HOW, hw_write, PROBE_MODES),
    F(K_HOW, hw_access, PROBE_MODES),
    F(K_HOW, ro_slot_write, PROBE_MODES),
    F(K_HOW, hole_read, PROBE_MODES),
    F(K_HOW, hole_fetch, PROBE_MODES),
    F(K_BYTE, int3_vector, PROBE_MODES),
    F(K_HOW, planted_hlt, 1),
    F(K_HOW, step_hlt, 1),
    F(K_HOW, step_iret, 1),
    F(K_HOW, step_fault, 1),
    F(K_HOW, step_hidden, 1),
    F(K_HOW, gate_exec, 1),
    F(K_HOW, msr_filter, 1),
    F(K_HOW, syscall_ring3, 1),
    F(K_HOW, int_ring3, 1),
    F(K_HOW, insn, PROBE_INSNS),
    F(K_BOOL, insn_wrong, PROBE_INSNS),
    F(K_BOOL, hw_exec_honours_rf, 1),
    F(K_UINT, hw_exec_count, 1),
    F(K_BOOL, paging32, 1),
    F(K_BOOL, paging_pae, 1),
    F(K_BOOL, shutdown_keeps_state, 1),
    F(K_BOOL, hidden_idt, 1),
    F(K_BOOL, out_exit_past, 1),
    F(K_BOOL, sync_regs, 1),
    F(K_BOOL, block_irq, 1),
    F(K_BOOL, insn_counter_exact, 1),
    F(K_INT, inject_bp_rip_delta, 1),
    F(K_BOOL, emulated, 1),
    F(K_DOUBLE, ring0_minsn, 1),
    F(K_DOUBLE, ring3_minsn, 1),
    F(K_DOUBLE, pio_exits_s, 1),
    F(K_DOUBLE, steps_s, 1),
    F(K_NS, took_ns, 1),
};
#undef F

static const size_t kind_bytes[] = {
    [K_HOW] = sizeof(enum probe_how), [K_BOOL] = sizeof(bool), [K_BYTE] = sizeof(uint8_t),
    [K_UINT] = sizeof(unsigned),      [K_INT] = sizeof(int),   [K_DOUBLE] = sizeof(double),
    [K_NS] = sizeof(uint64_t),
};

static void put(struct buf *out, unsigned kind, const void *at)
{
    switch ((enum kind)kind) {
    case K_HOW:
        buf_addf(out, " %u", (unsigned)*(const enum probe_how *)at);
        break;
    case K_BOOL:
        buf_addf(out, " %u", *(const bool *)at);
        break;
    case K_BYTE:
        buf_addf(out, " %u", *(const uint8_t *)at);
        break;
    case K_UINT:
        buf_addf(out, " %u", *(const unsigned *)at);
        break;
    case K_INT:
        buf_addf(out, " %d", *(const int *)at);
        break;
    case K_DOUBLE: /* thousandths: no locale, no rounding of the text */
        buf_addf(out, " %.0f", *(const double *)at * 1000);
        break;
    case K_NS:
        buf_addf(out, " %llu", (unsigned long long)*(const uint64_t *)at);
        break;
    }
}

/* False when `v` is nothing that a probe could have put there. */
static bool get(long long v, unsigned kind, void *at)
{
    static const long long max[] = {
        [K_HOW] = PROBE_HOWS - 1,
        [K_BOOL] = 1,
        [K_BYTE] = 31,
        [K_UINT] = 4,
        [K_INT] = 15,
        [K_DOUBLE] = 1000000000000000,
        [K_NS] = 1000000000000,
    };

    if (v > max[kind] || v < (kind == K_INT ? PROBE_NO_DELTA : 0))
        return false;
    switch ((enum kind)kind) {
    case K_HOW:
        *(enum probe_how *)at = (enum probe_how)v;
        break;
    case K_BOOL:
        *(bool *)at = v;
        break;
    case K_BYTE:
        *(uint8_t *)at = (uint8_t)v;
        break;
    case K_UINT:
        *(unsigned *)at = (unsigned)v;
        break;
    case K_INT:
        *(int *)at = (int)v;
        break;
    case K_DOUBLE:
        *(double *)at = (double)v / 1000;
        break;
    case K_NS:
        *(uint64_t *)at = (uint64_t)v;
        break;
    }
    return true;
}

void probe_to_text(const struct probe *p, struct buf *out)
{
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        const char *at = (const char *)p + fields[i].offset;

        buf_adds(out, fields[i].name);
        for (unsigned n = 0; n < fields[i].count; n++, at += kind_bytes[fields[i].kind])
            put(out, fields[i].kind, at);
        buf_addc(out, '\n');
    }
}

bool probe_from_text(const char *text, struct probe *out)
{
    memset(out, 0, sizeof *out);
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        char *at = (char *)out + fields[i].offset, *end;
        size_t len = strlen(fields[i].name);

        if (strncmp(text, fields[i].name, len))
            return false;
        text += len;
        for (unsigned n = 0; n < fields[i].count; n++, at += kind_bytes[fields[i].kind]) {
            if (*text != ' ' || (text[1] != '-' && (text[1] < '0' || text[1] > '9')))
                return false;
            if (!get(strtoll(text + 1, &end, 10), fields[i].kind, at) || end == text + 1)
                return false;
            text = end;
        }
        if (*text++ != '\n')
            return false;
    }
    return !*text;
}

bool probe_equal(const struct probe *a, const struct probe *b, const char **why)
{
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        const struct field *f = &fields[i];

        if (f->kind == K_DOUBLE || f->kind == K_NS)
            continue;
        if (memcmp((const char *)a + f->offset, (const char *)b + f->offset,
                   f->count * kind_bytes[f->kind])) {
            if (why)
                *why = f->name;
            return false;
        }
    }
    return true;
}
