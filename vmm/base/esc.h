/*
 * Guest bytes, file names and packets never reach a terminal or a log raw: they pass here.
 */
#ifndef VMM_BASE_ESC_H
#define VMM_BASE_ESC_H

#include <stddef.h>

#include "vmm/base/buf.h"

/* Appends `bytes` with printable ASCII as it is, backslash doubled and all else as \xNN, so the
 * result is one safe line and can be read back unambiguously. Any thread. */
void esc_line(struct buf *out, const void *bytes, size_t len);

/* For console output: as esc_line, but newline and tab pass, carriage return before a newline is
 * dropped, backslash is left alone, and complete printable UTF-8 sequences pass. Control bytes
 * and terminal escapes become \xNN. Any thread. */
void esc_console(struct buf *out, const void *bytes, size_t len);

/* The same as esc_line into a small fixed buffer, cut with "..." when it does not fit; for error
 * messages. Returns dst. */
const char *esc_cut(char *dst, size_t cap, const void *bytes, size_t len);

/* Appends a JSON string literal with its quotes; invalid UTF-8 becomes U+FFFD (RFC 8259 7). */
void esc_json(struct buf *out, const void *bytes, size_t len);

#endif
