/*
 * A subscriber that writes COM1 to a file. Main thread.
 */
#include "tui/serial.h"

#include <stdlib.h>
#include <string.h>

#include "tui/console_io.h"
#include "vmm/base/log.h"
#include "vmm/base/x.h"

struct serial {
    struct session *s;
    struct sink sink;
    int handle;
};

static void on_console(void *arg, unsigned event, const void *data)
{
    struct serial *serial = arg;
    const struct console_text *t = data;

    (void)event;
    if (t->chan == CONSOLE_COM1)
        sink_guest(&serial->sink, t->bytes, t->len, UINT64_MAX);
}

int serial_attach(struct serial **out, struct session *s, const struct serial_choice *c,
                  struct err *e)
{
    struct serial *serial;
    int r;

    *out = NULL;
    if (c->kind != SERIAL_FILE)
        return 0;
    serial = xcalloc(1, sizeof *serial);
    r = sink_open(&serial->sink, c, -1, e);
    if (r) {
        sink_close(&serial->sink);
        free(serial);
        return r;
    }
    serial->s = s;
    serial->handle = session_subscribe(s, EV_CONSOLE, on_console, serial);
    *out = serial;
    return 0;
}

void serial_detach(struct serial *serial)
{
    if (!serial)
        return;
    session_unsubscribe(serial->s, serial->handle);
    sink_close(&serial->sink);
    if (serial->sink.error)
        log_error("the copy of the serial line is not whole: %s", strerror(serial->sink.error));
    free(serial);
}
