/*
 * The picture of exits over time, alone (trace_out_svg.c) or in the page (trace_out_html.c).
 */
#ifndef DEBUG_TRACE_OUT_SVG_H
#define DEBUG_TRACE_OUT_SVG_H

#include <stdint.h>
#include <stdio.h>

#include "debug/trace/trace_out.h"

#define SVG_STEPS 240u
#define SVG_KINDS 80u
#define SVG_SHOWN 6u /* kinds with a colour of their own */

struct svg_picture {
    uint64_t first, step;
    uint32_t count[SVG_STEPS][SVG_KINDS];
    uint64_t total[SVG_KINDS];
    unsigned shown[SVG_SHOWN]; /* kinds, commonest first */
    unsigned kinds;
    uint64_t most; /* in one step */
};

void svg_init(struct svg_picture *pic, const struct trace_info *in);
/* A report_fn with the picture as its argument. */
void svg_put(void *arg, const struct exit_event *ev);
/* Once, after all records were put. */
void svg_write(struct svg_picture *pic, FILE *f);
/* Text for HTML and SVG. */
void svg_escape(FILE *f, const char *text);

#endif
