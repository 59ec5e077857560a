/*
 * COM1 of the workbench copied to a file, beside its panel (--serial file:PATH). Main thread.
 */
#ifndef TUI_SERIAL_H
#define TUI_SERIAL_H

#include "tui/opts.h"

struct serial;

/* *out stays NULL when there is nothing to copy. -errno with a sentence. */
int serial_attach(struct serial **out, struct session *s, const struct serial_choice *c,
                  struct err *e);
void serial_detach(struct serial *serial);

#endif
