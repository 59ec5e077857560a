/*
 * Control from outside: programs that connect to a Unix socket and speak line-delimited JSON-RPC
 * (docs/control.md). A client of the session like the screen and gdb: it subscribes like the others
 * and has its descriptors watched by the session, so no front end knows of it. Main thread.
 */
#ifndef DEBUG_CONTROL_CONTROL_H
#define DEBUG_CONTROL_CONTROL_H

#include <stdbool.h>
#include <stddef.h>

#include "vmm/base/buf.h"
#include "vmm/base/err.h"

struct session;

/* Grows when a client that knows this number would misunderstand; what is only added leaves it. */
#define CONTROL_PROTOCOL 1

/* Listens at "unix:PATH" (mode 0600). -EALREADY when it listens already; every refusal is a
 * sentence. */
int control_listen(struct session *s, const char *where, struct err *e);
/* Ends all connections and the listening; nothing happens when there is none. From inside a request
 * it happens once the answer is sent. */
void control_close(struct session *s);
bool control_is_listening(const struct session *s);
/* True while a client is connected, or may still come to a guest that has not ended. */
bool control_holds(const struct session *s);
/* "Listening at …; 2 clients" as lines for people. */
void control_describe(const struct session *s, struct buf *out);
/* Clients that are connected. */
unsigned control_clients(const struct session *s);

#endif
