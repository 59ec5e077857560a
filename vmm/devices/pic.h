/*
 * The two 8259A interrupt controllers: what irq.c calls. Machine lock.
 */
#ifndef VMM_DEVICES_PIC_H
#define VMM_DEVICES_PIC_H

#include <stdbool.h>

struct machine;

/* Line `irq` (0 to 15, not the cascade) has this level now; others are passed over. Machine lock,
 * as for all below. */
void pic_line(struct machine *m, unsigned irq, bool level);
/* Output pin of the master. */
bool pic_output(struct machine *m);
/* The vector that pic_inta would give now, -1 without a request. Changes nothing. */
int pic_vector(struct machine *m);
/* The INTA cycle: the vector (a spurious IRQ 7 or 15 when the request went away). */
int pic_inta(struct machine *m);
/* The line of the last pic_inta, -1 when that was spurious. */
int pic_gsi(struct machine *m);

#endif
