/*
 * The remote stub: a gdb, lldb or IDE as one more client of the session. It subscribes like the
 * others and has its descriptors watched by the session, so no front end knows of it. Main thread.
 */
#ifndef DEBUG_GDB_GDB_H
#define DEBUG_GDB_GDB_H

#include <stdbool.h>

#include "vmm/base/buf.h"
#include "vmm/base/err.h"

struct session;

/* Listens at `where`: "[HOST:]PORT" (HOST is 127.0.0.1 unless given, port 0 takes a free one) or
 * "unix:PATH" (made with mode 0600). -EALREADY when it listens already; every refusal is a
 * sentence. */
int gdb_listen(struct session *s, const char *where, struct err *e);
/* Ends the connection and the listening; nothing happens when there is none. */
void gdb_close(struct session *s);
bool gdb_is_listening(const struct session *s);
/* True while a debugger holds the guest or may still come for it. */
bool gdb_holds(const struct session *s);
/* True when the last stop ended one step of the debugger's. */
bool gdb_stepped(const struct session *s);
/* "listening on 127.0.0.1:1234; gdb 13 is attached, …" as lines for people. */
void gdb_describe(const struct session *s, struct buf *out);
/* The port it listens on (0 for a Unix socket): what port 0 became. */
unsigned gdb_port(const struct session *s);
/* A .gdbinit for a guest: how to connect and what the file's symbols are. */
void gdb_init_text(const char *image, const char *symbols, const char *where, struct buf *out);

#endif
