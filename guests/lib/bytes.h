/*
 * As <string.h> has them.
 */
#ifndef GUESTS_LIB_BYTES_H
#define GUESTS_LIB_BYTES_H

#include <stddef.h>

void *memset(void *dst, int c, size_t n);
void *memcpy(void *dst, const void *src, size_t n);

#endif
