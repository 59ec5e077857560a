/*
 * Bytes to packets and back, for GDB's remote serial protocol ("GDB Remote Serial Protocol",
 * Overview, in the gdb manual). No I/O and no meaning: serve.c feeds it, packets.c understands the
 * result. Main thread.
 */
#ifndef DEBUG_GDB_PACKET_H
#define DEBUG_GDB_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/base/buf.h"

/* The longest packet we take, as told in qSupported (PacketSize, which counts the text between $
 * and #). gdb asks for memory in replies of this size, so it decides the speed of a dump. */
#define PACKET_MAX 0x40000

enum packet_event {
    PACKET_NONE,      /* all bytes are used up */
    PACKET_READY,     /* in->body holds one, unescaped */
    PACKET_BAD,       /* wrong checksum or too long: to be refused with '-' */
    PACKET_ACK,       /* '+' */
    PACKET_NACK,      /* '-' */
    PACKET_INTERRUPT, /* Ctrl-C outside a packet */
};

enum packet_state { IN_IDLE, IN_BODY, IN_ESCAPE, IN_SUM1, IN_SUM2 };

/* Zero-initialise; packet_in_fini frees. */
struct packet_in {
    enum packet_state state;
    bool too_long;
    uint8_t sum, want;
    struct buf body;
};

/* Takes bytes until one event is complete; *used says how many were taken (all of them for
 * PACKET_NONE). Bytes between packets that mean nothing are passed over. */
enum packet_event packet_feed(struct packet_in *in, const void *bytes, size_t len, size_t *used);
void packet_in_fini(struct packet_in *in);

/* Appends "$body#xx" to `out`: '#', '$', '}' and '*' escaped, runs of equal bytes shortened. */
void packet_frame(struct buf *out, const void *body, size_t len);
/* Appends a notification, "%body#xx". */
void packet_notify(struct buf *out, const void *body, size_t len);

/* Hex, two digits a byte, lower case. */
void hex_add(struct buf *out, const void *bytes, size_t len);
/* The value of a digit, or -1. */
int hex_digit(int c);
/* Reads digits from *p on as one number and moves *p behind them; false without a digit or past 64
 * bits. */
bool hex_u64(const char **p, const char *end, uint64_t *out);
/* Reads pairs of digits into dst; false unless all of [p, end) is pairs and fits. */
bool hex_bytes(const char *p, const char *end, void *dst, size_t cap, size_t *len);

#endif
