/*
 * The packet table: name, what may follow it, when it is allowed, who answers. An unknown packet
 * gets the empty reply, as the protocol asks.
 */
#include <errno.h>
#include <string.h>

#include "debug/gdb/stub.h"
#include "vmm/base/esc.h"
#include "vmm/base/log.h"

/* clang-format off */
const struct packet_row packet_table[] = {
    {"?", "", 0, pk_why, "why the guest stands"},
    {"!", "", 0, pk_extended, "extended mode: the connection outlives the guest"},
    {"g", "", PK_STOPPED, pk_g, "read the general registers"},
    {"g", ";", PK_STOPPED, pk_g, "the same of a thread (lldb)"},
    {"G", NULL, PK_STOPPED | PK_WRITES, pk_G, "write the general registers"},
    {"p", NULL, PK_STOPPED, pk_p, "read one register"},
    {"P", NULL, PK_STOPPED | PK_WRITES, pk_P, "write one register"},
    {"m", NULL, PK_STOPPED, pk_m, "read memory as hex"},
    {"M", NULL, PK_STOPPED | PK_WRITES, pk_M, "write memory as hex"},
    {"x", NULL, PK_STOPPED, pk_x, "read memory as bytes"},
    {"X", NULL, PK_STOPPED | PK_WRITES, pk_X, "write memory as bytes"},
    {"Z", NULL, 0, pk_Z, "insert a breakpoint or watchpoint"},
    {"z", NULL, 0, pk_z, "remove one"},
    {"c", NULL, 0, pk_c, "continue"},
    {"C", NULL, 0, pk_C, "continue with a signal, which is ignored"},
    {"s", NULL, 0, pk_s, "step"},
    {"S", NULL, 0, pk_S, "step with a signal"},
    {"vCont?", "", 0, pk_vcont_query, "actions of vCont"},
    {"vCont", ";", 0, pk_vcont, "continue, step, step a range or stop, by thread"},
    {"vStopped", "", 0, pk_vstopped, "non-stop: the next stop"},
    {"vCtrlC", "", 0, pk_vctrlc, "interrupt"},
    {"bs", "", 0, pk_reverse, "step back: there is no history"},
    {"bc", "", 0, pk_reverse, "continue back: there is no history"},
    {"D", "", 0, pk_detach, "let the guest go and leave"},
    {"D", ";", 0, pk_detach, "the same, with a process"},
    {"k", "", 0, pk_kill, "kill: reset the guest and leave"},
    {"vKill", ";", 0, pk_vkill, "kill, with an answer"},
    {"R", NULL, 0, pk_restart, "reset the guest"},
    {"vRun", ";", 0, pk_vrun, "reset the guest and stop at its entry"},
    {"vAttach", ";", 0, pk_vattach, "stop the guest"},
    {"H", NULL, 0, pk_H, "choose a thread"},
    {"T", NULL, 0, pk_T, "is a thread alive?"},
    {"qC", "", 0, pk_qC, "the current thread"},
    {"qfThreadInfo", "", 0, pk_threads_first, "list of threads"},
    {"qsThreadInfo", "", 0, pk_threads_next, "its continuation"},
    {"qThreadExtraInfo", ",", 0, pk_thread_extra, "a thread in words"},
    {"qXfer:threads:read::", NULL, 0, pk_threads_xml, "threads as XML"},
    {"qXfer:features:read:", NULL, PK_STOPPED, pk_features, "registers as XML"},
    {"qXfer:memory-map:read::", NULL, 0, pk_map, "memory map as XML"},
    {"qXfer:exec-file:read:", NULL, 0, pk_exec_file, "path of the kernel"},
    {"qSupported", ":", 0, pk_supported, "what both sides can"},
    {"qSupported", "", 0, pk_supported, "the same, of a silent client"},
    {"QStartNoAckMode", "", 0, pk_no_ack, "no + and - any more"},
    {"qAttached", ":", 0, pk_attached, "attached, not started"},
    {"qAttached", "", 0, pk_attached, "attached, not started"},
    {"qRcmd", ",", 0, pk_rcmd, "a command of vmscope's (monitor)"},
    {"qSearch:memory", ":", PK_STOPPED, pk_search, "find bytes"},
    {"qCRC", ":", PK_STOPPED, pk_crc, "checksum of memory"},
    {"qOffsets", "", 0, pk_offsets, "where the kernel was moved"},
    {"qSymbol", ":", 0, pk_symbol, "symbols: none are needed"},
    {"qTStatus", "", 0, pk_tstatus, "tracepoints: none"},
    {"QNonStop", ":", 0, pk_non_stop, "stop all threads, or each alone"},
    {"QThreadEvents", ":", 0, pk_thread_events, "threads neither come nor go"},
    {"qqemu.sstepbits", "", 0, pk_sstepbits, "bits of qqemu.sstep"},
    {"Qqemu.sstepbits", "", 0, pk_sstepbits, "the same: QEMU takes each with q and with Q"},
    {"qqemu.sstep", "", 0, pk_sstep_get, "what a step lets happen"},
    {"Qqemu.sstep", "", 0, pk_sstep_get, "what a step lets happen"},
    {"qqemu.sstep", "=", 0, pk_sstep_set, "choose that"},
    {"Qqemu.sstep", "=", 0, pk_sstep_set, "choose that"},
    {"Qqemu.sstep", ":", 0, pk_sstep_set, "choose that"},
    {"qqemu.PhyMemMode", "", 0, pk_phys_get, "are addresses physical?"},
    {"Qqemu.PhyMemMode", ":", 0, pk_phys_set, "choose that"},
    {"vFile:setfs", ":", 0, pk_file_setfs, "file system: ours"},
    {"vFile:open", ":", 0, pk_file_open, "open the kernel's file"},
    {"vFile:close", ":", 0, pk_file_close, "close it"},
    {"vFile:pread", ":", 0, pk_file_pread, "read it"},
    {"vFile:fstat", ":", 0, pk_file_fstat, "its size"},
    {"qHostInfo", "", 0, pk_host_info, "lldb: the machine"},
    {"qProcessInfo", "", 0, pk_process_info, "lldb: the process"},
    {"qRegisterInfo", NULL, PK_STOPPED, pk_register_info, "lldb: one register"},
    {"jThreadsInfo", "", PK_STOPPED, pk_threads_json, "lldb: threads as JSON"},
    {"QListThreadsInStopReply", "", 0, pk_list_threads, "lldb: threads in stop replies"},
    {"QThreadSuffixSupported", "", 0, pk_suffix, "lldb: ;thread:… behind packets"},
    {"QEnableErrorStrings", "", 0, pk_error_strings, "lldb: sentences in errors"},
    {"qMemoryRegionInfo", ":", PK_STOPPED, pk_memory_region, "lldb: what is mapped"},
    {0},
};
/* clang-format on */

/* The longest name that fits wins: vCont? before vCont, qC before q…. */
const struct packet_row *packet_find(const char *body, size_t len, const char **rest)
{
    const struct packet_row *best = NULL;
    size_t best_len = 0;

    for (const struct packet_row *r = packet_table; r->name && len; r++) {
        size_t n;

        if (*r->name != *body)
            continue;
        n = strlen(r->name);
        if (n > len || memcmp(body, r->name, n) || n < best_len)
            continue;
        if (r->next && (*r->next ? len == n || body[n] != *r->next : len != n))
            continue;
        best = r;
        best_len = n;
        *rest = body + n;
    }
    return best;
}

/* lldb puts ";thread:2;" behind packets that mean a thread; it is taken off here. */
static void take_suffix(struct gdb *g, const char *body, size_t *len)
{
    const char *end = body + *len, *at = end, *p;
    int vcpu;

    if (!g->client.suffix || *len < 10 || body[*len - 1] != ';')
        return;
    while (at > body && (at == end || *at != ';' || end - at < 9 || memcmp(at, ";thread:", 8)))
        at--;
    if (at == body)
        return;
    p = at + 8;
    if (thread_id(g, &p, end, &vcpu) && vcpu >= 0 && p + 1 == end) {
        g->thread = (unsigned)vcpu;
        *len = (size_t)(at - body);
    }
}

/* Where hex is expected gdb 13 takes a sentence for bad hex, which throws it out of the middle of a
 * disassembly and ends it. */
static void refuse_running(struct gdb *g, const struct packet_row *r)
{
    if (r->flags & PK_WRITES)
        reply_error(g, "the guest is running");
    else
        reply_errno(g, EBUSY);
}

void gdb_packet(struct gdb *g, const char *body, size_t len)
{
    const struct packet_row *r;
    const char *rest = body;
    bool held = false;

    if (log_wants(LOG_DEBUG, __FILE__)) {
        char text[160];

        log_debug("< %s", esc_cut(text, sizeof text, body, len));
    }
    buf_clear(&g->reply);
    g->no_reply = false;
    take_suffix(g, body, &len);
    r = packet_find(body, len, &rest);
    if (r && (r->flags & PK_STOPPED) && g->non_stop)
        held = session_hold(g->s);
    if (r && (r->flags & PK_STOPPED) && session_state(g->s) == SS_RUNNING)
        refuse_running(g, r);
    else if (r)
        r->fn(g, rest, body + len);
    if (held)
        session_unhold(g->s);
    if (!g->no_reply)
        gdb_send(g, buf_str(&g->reply), g->reply.len);
    gdb_ahead_make(g);
    if (g->non_stop)
        gdb_ns_after_reply(g);
}
